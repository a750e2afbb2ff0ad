#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Ruby hook before every verdict there is, and every way in which a call ends.

A scripted libmiddlepipe (LD_PRELOAD) says what a file says and writes down what
it is told, so each case is exact and there is no scheduler: 50-ruby.t has one.
The application is ruby/calls.rb.
"""

import glob
import json
import os
import socket
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "lib"))
import mp
from mp import is_, like, ok

ABI = mp.run([mp.RUBY, "-rrbconfig", "-e", "print RbConfig::CONFIG['ruby_version']"])[1] \
    if mp.shutil.which(mp.RUBY) else ""
mp.need(mp.RUBY, os.path.join(mp.HOOKS, "ruby", ABI, "middlepipe_ext.so"), "gcc")

FOLDER = mp.workdir()
SCRIPT = os.path.join(FOLDER, "script")
LOG = os.path.join(FOLDER, "log")
LIBRARY = os.path.join(FOLDER, "scripted.so")
SOURCE = (glob.glob(os.path.join(HERE, "*", "scripted.c")) or ["scripted.c"])[0]
CALLS = os.path.join(HERE, "ruby", "calls.rb")
CLIENT = mp.run([mp.RUBY, "-e", "require 'httpclient'"])[0] == 0
mp.need(os.path.abspath(SOURCE))
if mp.run(["gcc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-I" + os.path.join(mp.ROOT, "include"),
           "-o", LIBRARY, SOURCE])[0]:
    mp.skip_all("the scripted library does not compile")


def app(*steps, env=None):
    """Takes the steps; returns their results and what the library was told."""
    open(LOG, "w").close()
    environment = dict(mp.hook_env(), LD_PRELOAD=LIBRARY, MP_SCRIPT=SCRIPT, MP_LOG=LOG,
                       MIDDLEPIPE_SOCK="/nowhere", **(env or {}))
    code, out, err = mp.run([mp.RUBY, CALLS], env=environment, input="".join(json.dumps(step) + "\n" for step in steps))
    if code or err:
        mp.note("exit %s: %s" % (code, err))
    with open(LOG, errors="replace") as log:
        return [json.loads(line) for line in out.splitlines()], log.read().splitlines()


def script(*lines):
    return {"do": "script", "text": "\n".join(lines) + "\n"}


def do(name, **more):
    return dict({"do": name}, **more)


def last(*steps, **more):
    results, log = app(*steps, **more)
    return results[-1] or {}, log


def told(log, *words):
    """The lines of the log that begin with one of the words."""
    return [line for line in log if line.split()[0] in words]


REFUSE = ("raise 1", "type breaker", "pipe guard", "state open", "retry_after 4",
          "field Retry-After: 4", "rbody refused")
STATIC = ("status 203", "field X-From: guard", "field Middlepipe: breaker;state=open", "rbody fallback")
# Ways to make one call; what each connection style must have in common.
WAYS = ["get_response", "once", "kept"] + (["client", "client_async"] if CLIENT else [])
service = mp.Service(headers={"X-A": "1", "Middlepipe": "forged"}, body="hello")
URL = service.url("/a?b=1")


def mark():
    return service.connections, service.count


def used(before):
    return service.connections - before[0], service.count - before[1]


# ------------------------------------------------------------------ observing

for way in WAYS:
    got, log = last(script("begin GO"), do(way, url=URL))
    is_((got.get("status"), got.get("body")), ("200", "hello"), "%s: goes through" % way)
    is_(told(log, "begin", "request", "end"),
        ["begin http 127.0.0.1 %d %s" % (service.port, "/a" if way.startswith("client") else "/a?b=1"),
         "end 200 error=0"], "%s: one exchange, not asked" % way)
    ok("middlepipe" not in got.get("fields", {}), "%s: a marker from the network is taken out" % way)

got, log = last(script("begin NONE"), do("get_response", url=URL))
is_((got["status"], "middlepipe" in got["fields"], told(log, "end")), ("200", True, []),
    "no chain: nothing is done")

# ------------------------------------------------------------------- refusing

for way in WAYS:
    before = mark()
    got, log = last(script("begin REPLY", *REFUSE), do(way, url=URL))
    base = "HTTPClient::BadResponseError" if "client" in way else "Net::ProtocolError"
    ok(base in got.get("kinds", []) and "Middlepipe::Refused" in got.get("kinds", []),
       "%s: refused with a %s" % (way, base))
    is_([got.get(k) for k in ("pipe", "type", "state", "retry_after")], ["guard", "breaker", "open", 4],
        "%s: the error says who and why" % way)
    is_(got.get("text"), "[127.0.0.1:%d] middlepipe guard is open, retry after 4 s" % service.port,
        "%s: and in words" % way)
    is_((got.get("response") or {}).get("body"), "refused", "%s: with the response" % way)
    is_((used(before), len(told(log, "begin")), len(told(log, "end"))), ((0, 0), 1, 1),
        "%s: once, without a connection" % way)

REQUIRED = ("begin REPLY", "raise 1", "type middlepipe", "state unavailable", "retry_after 1")
for url, where in (("http://payments.internal/", "payments.internal"),
                   ("http://payments.internal:8080/", "payments.internal:8080")):
    for way in WAYS:
        got, log = last(script(*REQUIRED), do(way, url=url))
        is_(got.get("text"), "[%s] middlepipe is unavailable, retry after 1 s" % where,
            "%s: %s: all of Middlepipe is not there" % (way, where))

dead = "http://127.0.0.1:%d/" % mp.dead_port()
got, log = last(script("begin REPLY", *REFUSE), do("get_response", url=dead))
is_(got["error"], "Middlepipe::NetHTTPRefused", "a dead service is not dialled while the circuit is open")
got, log = last(script("begin ASK", "ask REPLY", *REFUSE), do("get_response", url=dead))
is_(got["error"], "Middlepipe::NetHTTPRefused", "nor while the chain has to be asked")

# ---------------------------------------------------------- replies for a service

for way in WAYS:
    for begin in ("begin REPLY", "begin ASK"):
        before = mark()
        got, log = last(script(begin, "ask REPLY", *STATIC), do(way, url=URL))
        is_([got.get("status"), got.get("body"), got.get("fields", {}).get("x-from"), used(before)],
            ["203", "fallback", ["guard"], (0, 0)], "%s, %s: answered for the service" % (way, begin[6:]))
        is_((got.get("uri"), got.get("fields", {}).get("content-length"),
             got.get("fields", {}).get("middlepipe")),
            ("" if way == "kept" else URL, ["8"], ["breaker;state=open"]), "%s: as a response of the library's own" % way)

got, log = last(script("begin REPLY", "status 404", "rbody no"), do("get_response", url=URL))
is_((got["class"], got["message"], got["again"]),
    ("Net::HTTPNotFound", "Not Found", "Net::HTTPNotFound#read_body called twice"),
    "the class goes by the status, and it was read by the library")
for way in ("get_response", "once") + (("client",) if CLIENT else ()):
    got, log = last(script("begin REPLY", *STATIC), do(way, url=URL, stream=True))
    is_(got["body"], "fallback", "%s: a block gets the parts of its body" % way)
for way in ("once",) + (("client",) if CLIENT else ()):
    got, log = last(script("begin REPLY", *STATIC), do(way, url=URL, verb="HEAD"))
    is_((got["status"], got["body"] or ""), ("203", ""), "%s: HEAD has no body" % way)

# -------------------------------------------------- kept connections stay as they are

before = mark()
results, log = app(script("begin GO"), do("kept", url=URL), script("begin REPLY", *REFUSE), do("kept", url=URL),
                   script("begin REPLY", *STATIC), do("kept", url=URL), script("begin GO"), do("kept", url=URL))
is_([r and r.get("status", r.get("error")) for r in results[1::2]],
    ["200", "Middlepipe::NetHTTPRefused", "203", "200"], "each request of a session is judged for itself")
is_(used(before), (1, 2), "on one connection")
before = mark()
results, log = app(script("begin REPLY", *REFUSE), do("kept", url=URL), script("begin GO"),
                   do("kept", url=URL, times=3), do("finish"))
is_((results[1]["error"], results[3]["status"], used(before)), ("Middlepipe::NetHTTPRefused", "200", (1, 3)),
    "start while the circuit is open connects at the first request that may go")
got, log = last(script("begin ASK"), do("started", url=dead))
is_((got.get("started"), got.get("finished")), (True, True), "a deferred session says started, and can be finished")
before = mark()
last(script("begin GO"), do("start_only", url=URL))
mp.wait_for(lambda: used(before) == (1, 0), "a connection without a request")
ok(True, "a session through a standing PASS connects at once")

# --------------------------------------------------------------------- asking

got, log = last(script("begin ASK", "wants 1"), do("once", url=URL, verb="POST", body="question", headers={"X-Two": "2"}))
is_(told(log, "request"), ["request POST http 127.0.0.1:%d /a?b=1 body=question complete=1" % service.port],
    "the chain is told method, authority, path and body")
ok("  field X-Two: 2" in log and "  field Content-Type: text/plain" in log, "and the fields as they are sent")
got, log = last(script("begin ASK"), do("once", url=URL, verb="POST", body="question"))
like("\n".join(log), r"request POST .* body= complete=0", "but no body when it wants none")
if CLIENT:
    got, log = last(script("begin ASK", "wants 1"), do("client", url=URL, verb="POST", body="question"))
    is_(told(log, "request"), ["request POST http 127.0.0.1:%d /a?b=1 body=question complete=1" % service.port],
        "HTTPClient: the same")

EDITS = ("begin ASK", "set X-Set: one", "add X-Two: more", "remove User-Agent:", "path /edited?c", "body other")
for way in ("once",) + (("client",) if CLIENT else ()):
    got, log = last(script(*EDITS), do(way, url=URL, verb="POST", body="question", headers={"X-Two": "2"}))
    seen = service.requests[-1]
    is_((seen.path, seen.body, seen.get("X-Set"), seen.get("Content-Length")), ("/edited?c", b"other", "one", "5"),
        "%s: edits of path, body and fields are made" % way)
    two = [v for k, v in seen.headers if k.lower() == "x-two"]
    ok(two in (["2", "more"], ["2, more"]), "%s: a field is added to its own kind" % way)
    is_(got["uri"], URL, "%s: the response names the address that was called" % way)
got, log = last(script(*EDITS), do("once", url=URL))
is_(service.requests[-1].get("User-Agent"), None, "a field is removed")
got, log = last(script(*EDITS), do("reuse", url=URL))
is_((got["fields"].get("x-set"), got["path"], service.requests[-1].get("X-Two")), (None, "/a?b=1", "more"),
    "the application's own request object is not edited")
last(script("begin ASK", "set Content-Length: 99", "set Transfer-Encoding: chunked"), do("once", url=URL, verb="POST", body="x"))
is_((service.requests[-1].get("Content-Length"), service.requests[-1].body), ("1", b"x"),
    "the framing of a body is not a chain's business")
last(script("begin ASK", "remove Accept-Encoding:", "set Accept-Encoding: gzip"), do("once", url=URL))
is_(service.requests[-1].get("Accept-Encoding"), "gzip", "nor whose Accept-Encoding it is the library's")

other = mp.Service(body="other service")
for way in WAYS:
    before = mark()
    got, log = last(script("begin ASK", "authority " + other.authority), do(way, url=URL))
    is_((got.get("body"), other.requests[-1].get("Host"), used(before)), ("other service", other.authority, (0, 0)),
        "%s: goes to the authority that the chain says" % way)
    is_(got.get("uri"), "" if way == "kept" else URL, "%s: which the response does not show" % way)
count = other.connections
results, log = app(script("begin ASK", "authority " + other.authority), do("kept", url=URL, times=3),
                   script("begin GO"), do("kept", url=URL, times=2),
                   script("begin ASK", "authority " + other.authority), do("kept", url=URL, times=2))
is_((other.connections - count, results[3]["body"], results[5]["body"]), (1, "hello", "other service"),
    "connections there are kept, and so is the session's own")

for way in ("get_response",) + (("client",) if CLIENT else ()):
    got, log = last(script("begin ASK", "ask DELAY", "delay_ms 20", "set X-Late: 1"), do(way, url=URL))
    is_((got["status"], service.requests[-1].get("X-Late")), ("200", "1"), "%s: a delay is slept, then it goes on" % way)
got, log = last(script("begin ASK", "ask HOLD", "held 3", "set X-Held: 1"), do("get_response", url=URL))
is_((got["status"], len(told(log, "resume")), service.requests[-1].get("X-Held")), ("200", 3, "1"),
    "a held call waits until it is let go")
got, log = last(script("begin ASK", "ask HOLD", "held 2", "then REPLY", *REFUSE), do("get_response", url=URL))
is_(got["error"], "Middlepipe::NetHTTPRefused", "or refused")

# --------------------------------------------------------- bodies that are streams

big = os.path.join(FOLDER, "big")
with open(big, "wb") as out:
    out.write(b"0123456789" * 5000)
for begin in ("begin GO", "begin ASK"):
    got, log = last(script(begin, "wants 1"), do("upload", url=URL, **{"from": "file:" + big}))
    is_(service.requests[-1].body, open(big, "rb").read(), "%s: a file goes out whole" % begin[6:])
like("\n".join(told(log, "request")), "complete=0", "the chain is told that it saw a part of it")
got, log = last(script("begin ASK", "wants 1"), do("upload", url=URL, text="short", chunked=True))
is_((service.requests[-1].body, told(log, "request")[0].split(" body=")[1]), (b"short", "short complete=1"),
    "a short one is shown whole, and sent whole")
got, log = last(script("begin ASK", "wants 1"), do("upload", url=URL, text="piped", chunked=True, **{"from": "pipe"}))
is_((service.requests[-1].body, told(log, "request")[0].split(" body=")[1]), (b"piped", " complete=0"),
    "what cannot be read twice is not read")
if CLIENT:
    got, log = last(script("begin ASK", "wants 1"), do("client", url=URL, verb="POST", file=big))
    is_(service.requests[-1].body, open(big, "rb").read(), "HTTPClient: a file goes out whole")

# -------------------------------------------------- responses: observed, decided

COPY, DECIDE, BODY = 4, 2, 8
chunked = mp.Service()
chunked.behave(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-C: 1\r\n\r\n"
                   b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n")
until_close = mp.Service()
until_close.behave(raw=b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
long_ = mp.Service(body="x" * 200000)
for wants, word in ((COPY, "observed"), (DECIDE, "decided")):
    for way in ("get_response", "once") + (("client",) if CLIENT else ()):
        for stream in (False, True):
            for begin in ("GO", "ASK"):
                name = "%s %s%s after %s" % (way, word, ", streamed" if stream else "", begin)
                got, log = last(script("begin " + begin, "wants %d" % (wants | BODY)),
                                do(way, url=URL, stream=stream))
                is_((got["body"], told(log, "response")), ("hello", ["response 200 error=0 body=hello complete=1"]),
                    name)
                is_(len(told(log, "request")), 1, name + ": the request is told once")
        for where, want in ((chunked, "hello world"), (until_close, "until the end")):
            got, log = last(script("begin GO", "wants %d" % (wants | BODY)), do(way, url=where.url(), stream=True))
            is_((got["body"], told(log, "response")), (want, ["response 200 error=0 body=%s complete=1" % want]),
                "%s %s: %s" % (way, word, want))
        got, log = last(script("begin GO", "wants %d" % (wants | BODY)), do(way, url=long_.url(), stream=True))
        is_((len(got["body"]), told(log, "response")[0][-10:]), (200000, "complete=0"),
            "%s %s: past the limit the chain is told, and the stream is whole" % (way, word))
    got, log = last(script("begin GO", "wants %d" % wants), do("get_response", url=URL))
    is_(told(log, "response"), ["response 200 error=0 body= complete=0"], "%s without a body" % word)

RESPONSE = ("begin GO", "wants 2", "rset X-A: two", "radd X-B: three", "rstatus 404")
for way in ("get_response", "kept") + (("client",) if CLIENT else ()):
    got, log = last(script(*RESPONSE), do(way, url=URL))
    is_((got["status"], got["body"], got["fields"].get("x-a"), got["fields"].get("x-b")),
        ("404", "hello", ["two"], ["three"]), "%s: edits of a response are made" % way)
    like("\n".join(log), "end 200 error=0", "%s: the outcome is the service's own" % way)
    got, log = last(script("begin GO", "wants 2", "rbody replaced"), do(way, url=URL, **({"stream": True} if way != "kept" else {})))
    is_((got["body"], got["fields"].get("content-length")), ("replaced", ["8"]), "%s: another body" % way)
    got, log = last(script("begin GO", "wants 2", "respond REPLY", *STATIC), do(way, url=URL))
    is_((got["status"], got["body"], got["fields"].get("x-a")), ("203", "fallback", None), "%s: another response" % way)
    got, log = last(script("begin GO", "wants 2", "respond REPLY", *REFUSE), do(way, url=URL))
    ok("Middlepipe::Refused" in got.get("kinds", []), "%s: an error instead of a response" % way)
before = mark()
results, log = app(*[step for what in (RESPONSE, ("begin GO", "wants 2", "rbody replaced"),
                                       ("begin GO", "wants 2", "respond REPLY") + STATIC,
                                       ("begin GO", "wants 2", "respond REPLY") + REFUSE, ("begin GO",))
                     for step in (script(*what), do("kept", url=URL))])
is_((used(before), [r.get("status", r.get("error")) for r in results[1::2]]),
    ((1, 5), ["404", "200", "203", "Middlepipe::NetHTTPRefused", "200"]), "all of that on one connection")
got, log = last(script("begin GO", "wants 2", "rstatus 500", "rset Content-Length: 1"), do("once", url=chunked.url()))
is_((got["class"], got["body"]), ("Net::HTTPInternalServerError", "hello world"), "a chunked body under another status")

# ----------------------------------------------------------- ways to fail, retries

REFUSED, TIMEOUT, BROKEN, PROTOCOL, CANCELLED, OTHER = range(1, 7)


def ends(log):
    return told(log, "end")


for way in ("get_response", "once", "kept") + (("client",) if CLIENT else ()):
    got, log = last(script("begin GO"), do(way, url=dead))
    is_((got["error"], ends(log)), ("Errno::ECONNREFUSED", ["end 0 error=%d" % REFUSED]),
        "%s: a refused connection is one failure, and the library's own error" % way)
got, log = last(script("begin GO"), do("once", url="http://no-such-host.invalid/"))
is_((got["error"], ends(log)), ("SocketError", ["end 0 error=%d" % REFUSED]), "no such host likewise")

broken = mp.Service(abort=True)
got, log = last(script("begin GO"), do("once", url=broken.url()))
is_((got["error"], ends(log), broken.count), ("EOFError", ["end 0 error=%d" % BROKEN] * 2, 2),
    "a service that breaks off: each attempt of the library is an exchange")
got, log = last(script("begin GO"), do("once", url=broken.url(), verb="POST", body="x"))
is_((ends(log), broken.count), (["end 0 error=%d" % BROKEN], 3), "POST is not tried again")
got, log = last(script("begin GO"), do("kept", url=broken.url(), retries=3))
is_(len(ends(log)), 4, "as often as the application wants")
silent = mp.Service(hang=True)
got, log = last(script("begin GO"), do("once", url=silent.url(), timeout=1, verb="POST", body="x"))
is_((got["error"], ends(log)), ("Net::ReadTimeout", ["end 0 error=%d" % TIMEOUT]), "a service that hangs times out")
babble = mp.Service(raw=b"what is this\r\n\r\n")
got, log = last(script("begin GO"), do("once", url=babble.url()))
is_((got["error"], ends(log)), ("Net::HTTPBadResponse", ["end 0 error=%d" % PROTOCOL]), "what is not HTTP")
cut = mp.Service(raw=b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
got, log = last(script("begin GO"), do("once", url=cut.url(), verb="POST", body="x"))
is_((got["error"], ends(log)), ("EOFError", ["end 0 error=%d" % BROKEN]), "a body that breaks off")
if CLIENT:
    got, log = last(script("begin GO"), do("client", url=broken.url()))
    is_((got["error"], ends(log)), ("HTTPClient::KeepAliveDisconnected", ["end 0 error=%d" % BROKEN] * 2),
        "HTTPClient: a service that breaks off")

# A service that goes away between two requests of a session.
flaky = mp.Service(close=True)
flaky.behave(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
results, log = app(script("begin GO"), do("kept", url=flaky.url(), times=2))
is_((results[-1]["status"], [line for line in ends(log) if "200" not in line and "error=%d" % CANCELLED not in line]),
    ("200", []), "a kept connection that the service closed is nobody's failure")

# The library's retry meets another verdict, and may go elsewhere.
for verdict, want in ((("begin REPLY",) + REFUSE, "Middlepipe::NetHTTPRefused"), (("begin REPLY",) + STATIC, "203")):
    def turn(request, verdict=verdict):
        with open(SCRIPT, "w") as out:
            out.write("\n".join(verdict) + "\n")
        return {"abort": True}
    broken.behave(reply=turn)
    count = broken.count
    got, log = last(script("begin GO"), do("once", url=broken.url()))
    is_((got.get("error", got.get("status")), broken.count - count, len(told(log, "begin"))), (want, 1, 2),
        "a retry is judged for itself: %s" % want)

elsewhere = mp.Service()
for way in ("once", "kept"):
    def back(request):
        with open(SCRIPT, "w") as out:
            out.write("begin GO\n")
        return {"abort": True}
    elsewhere.behave(reply=back)
    count = elsewhere.count
    results, log = app(script("begin ASK", "authority " + elsewhere.authority), do(way, url=URL), do(way, url=URL))
    is_(([r.get("body") for r in results[1:]], elsewhere.count - count), (["hello"] * 2, 1),
        "%s: a retry goes where its own verdict says" % way)

LEFT = {"break": "end 200 error=0", "throw": "end 200 error=0", "raise": "end 200 error=0"}
for how, want in LEFT.items():
    got, log = last(script("begin GO"), do("leave", url=URL, how=how))
    is_(ends(log), [want], "left by %s after the head: the response counts" % how)
for how in ("timeout", "kill"):
    got, log = last(script("begin GO"), do("leave", url=silent.url(), how=how))
    is_(ends(log), ["end 0 error=%d" % CANCELLED], "left by %s before it: cancelled" % how)
got, log = last(script("begin GO"), do("nested", url=URL, inner=dead))
is_((got["error"], sorted(ends(log))), ("Errno::ECONNREFUSED", ["end 0 error=1", "end 200 error=0"]),
    "a call that fails within another's block is not the other's failure")

# ------------------------------------------------------------- where calls go

got, log = last(script("begin GO"), do("open_uri", url=URL))
is_(told(log, "begin", "end")[-1:] + [got["body"]], ["end 200 error=0", "hello"], "open-uri goes through Net::HTTP")
proxy = mp.Service(body="by proxy")
got, log = last(script("begin GO"), do("proxied", url="http://payments.internal:9292/x", proxy=proxy.url()))
is_((got["body"], told(log, "begin")), ("by proxy", ["begin http payments.internal 9292 /x"]),
    "through a proxy the destination is the origin")
path = os.path.join(FOLDER, "s.sock")
unix = mp.Service(unix=path, body="by path")
got, log = last(script("begin GO"), do("unix", path=path))
like(got.get("body", "") + "\n".join(told(log, "begin")), "by path.*unix:" + path, "a Unix socket as net_http_unix does it")
if mp.shutil.which("openssl"):
    key, certificate = os.path.join(FOLDER, "key"), os.path.join(FOLDER, "certificate")
    mp.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2",
            "-keyout", key, "-out", certificate])
    tls = mp.Service(tls=(certificate, key), body="secret")
    for way in ("once", "kept") + (("client",) if CLIENT else ()):
        got, log = last(script("begin GO"), do(way, url=tls.url()))
        is_((got.get("body"), told(log, "begin", "end")), ("secret", ["begin https 127.0.0.1 %d /" % tls.port, "end 200 error=0"]),
            "%s: https" % way)
        count = tls.connections
        got, log = last(script("begin REPLY", *REFUSE), do(way, url=tls.url()))
        ok("Middlepipe::Refused" in got["kinds"] and tls.connections == count, "%s: https, refused before the handshake" % way)
    got, log = last(script("begin GO", "wants 10"), do("once", url=tls.url(), stream=True))
    is_(told(log, "response"), ["response 200 error=0 body=secret complete=1"], "https: a body is looked at")
    got, log = last(script("begin ASK"), do("started", url=tls.url()))
    is_((got.get("started"), got.get("peer")), (True, "/CN=localhost"), "https: a deferred session can be asked for its peer")
    plain = mp.Service()
    got, log = last(script("begin GO"), do("once", url="https://127.0.0.1:%d/" % plain.port))
    is_((got["error"], ends(log)[:1]), ("OpenSSL::SSL::SSLError", ["end 0 error=%d" % PROTOCOL]), "https: a failed handshake")
else:
    mp.skip("https", "openssl is not there")
try:
    six = mp.Service(host="::1", body="six")
    for way in ("get_response",) + (("client",) if CLIENT else ()):
        got, log = last(script("begin GO"), do(way, url=six.url()))
        like("%s %s" % (got.get("body"), told(log, "begin")), r"six.*begin http \[?::1\]? %d" % six.port, "%s: IPv6" % way)
        got, log = last(script("begin ASK", "authority " + six.authority), do(way, url=URL))
        is_(got.get("body"), "six", "%s: IPv6 as an edit" % way)
except OSError:
    mp.skip("IPv6", "no ::1 here")

# ------------------------------------------------------- beside the test doubles

if CLIENT:
    got, log = last(do("client", url=URL), script("begin REPLY", *REFUSE), do("client_loopback", url=URL))
    is_((got["body"], told(log, "begin")), ("canned", ["begin http 127.0.0.1 %d /a" % service.port]), "HTTPClient's own loopback wins")

# ----------------------------------------- the same calls with and without the hook


class Recorder:
    """Relays to the service and keeps each connection's bytes, as the client sent them."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sent = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            self.sent.append(bytearray())
            server = socket.create_connection(("127.0.0.1", echo.port))
            threading.Thread(target=self.relay, args=(client, server, self.sent[-1]), daemon=True).start()
            threading.Thread(target=self.relay, args=(server, client, None), daemon=True).start()

    def relay(self, source, sink, copy):
        try:
            while True:
                data = source.recv(65536)
                if copy is not None:
                    copy += data
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def take(self):
        """The connections so far, without what differs from second to second."""
        sent, self.sent = self.sent, []
        return [mp.re.sub(rb"Date: [^\r]*", b"Date: -", bytes(data)) for data in sent]


echo = mp.Service(reply=lambda r: {"status": 500 if "fail" in r.path else 200, "close": "close" in r.path, "body": r.path})
recorder = Recorder()
there = "http://127.0.0.1:%d" % recorder.port
PROGRAM = [do("get_response", url=there + "/1"), do("once", url=there + "/2?x", stream=True),
           do("kept", url=there + "/3", times=4), do("kept", url=there + "/4", verb="PUT", body="put"),
           do("kept", url=there + "/5", verb="HEAD"), do("kept", url=there + "/fail"),
           do("kept", url=there + "/close"), do("kept", url=there + "/6", times=2), do("finish"),
           do("form", url=there + "/7", fields={"a": "1", "b": "2"}), do("start_only", url=there),
           do("upload", url=there + "/8", text="text"), do("upload", url=there + "/9", **{"from": "file:" + big}),
           do("upload", url=there + "/10", text="piped", chunked=True, **{"from": "pipe"}), do("open_uri", url=there + "/11"),
           do("leave", url=there + "/12", how="break")]
if CLIENT:
    PROGRAM += [do("client", url=there + "/13"), do("client", url=there + "/14", verb="POST", body="post"),
                do("client", url=there + "/15", verb="PUT", file=big), do("client", url=there + "/close"),
                do("client", url=there + "/16", stream=True), do("client_async", url=there + "/17")]
plain = [json.loads(line) for line in mp.run([mp.RUBY, CALLS], input="".join(json.dumps(step) + "\n" for step in PROGRAM))[1].splitlines()]
bytes_plain = recorder.take()
for lines in (("begin NONE",), ("begin GO",), ("begin GO", "wants %d" % COPY), ("begin GO", "wants %d" % (COPY | BODY | 1))):
    results, log = app(script(*lines), *PROGRAM)
    recorded = recorder.take()
    is_(len(recorded), len(bytes_plain), "%s: as many connections as without the hook" % "; ".join(lines))
    ok(recorded == bytes_plain, "the same bytes on each")
    ok(results[1:] == plain, "and the same results")

mp.done()

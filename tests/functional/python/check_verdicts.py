# SPDX-License-Identifier: Apache-2.0
"""Verdicts on requests: counted once, refused, answered, edited, delayed, held."""

import os

import mp
from harness import (HERE, REFUSAL, WANT_REQUEST_BODY, WANT_RESPONSE_BODY, WANT_COPY, Recorder)

# The class that each library's users catch, and the one that carries the attributes.
BASES = {
    "http": ("HTTPException", "OSError"),
    "urllib": ("URLError", "OSError"),
    "urllib3": ("HTTPError",),
    "requests": ("ConnectionError", "RequestException"),
}


def check(app):
    counted(app)
    observed(app)
    refused(app)
    answered(app)
    edited(app)
    rerouted(app)
    waited(app)
    bodies(app)


def counted(app):
    """One exchange a call, whichever libraries are stacked."""
    service = mp.Service()
    for lib in app.libs:
        got = app.calls("begin GO\n", {"lib": lib, "url": service.url("/a?b=c"), "count": 3})
        mp.is_([r.get("status") for r in got], [200] * 3, app.name(lib + " passes"))
        want = ["http 127.0.0.1 %d /a?b=c" % service.port] * 3
        mp.is_(app.told("begin"), want, app.name(lib + ": one exchange a call"))
        mp.is_(app.ends(), [(200, 0)] * 3, app.name(lib + ": each ended by its status"))
    service.behave(status=500)
    app.calls("begin GO\n", {"lib": "http", "url": service.url()})
    mp.is_(app.ends(), [(500, 0)], app.name("a failing status is told"))
    app.calls("begin NONE\n", {"lib": app.libs[-1], "url": service.url()})
    mp.is_(app.told("end"), [], app.name("without a chain nothing ends"))
    service.stop()


def observed(app):
    """A chain that only observes changes neither bytes nor connections."""
    recorder = Recorder()
    wants = WANT_REQUEST_BODY | WANT_COPY | WANT_RESPONSE_BODY
    scripts = {"standing": "begin GO\n", "asked": "begin ASK\n",
               "copied": "begin GO\nwants %d\n" % wants,
               "asked and copied": "begin ASK\nwants %d\n" % wants}
    calls = [{"lib": lib, "url": recorder.url("/p"), "count": 2, **more} for lib in app.libs
             for more in ({}, {"method": "POST", "body": "some text"},
                          {"method": "PUT", "body": {"iter": ["a", "bc"]}},
                          {"method": "POST", "body": {"io": "in memory"}},
                          {"method": "POST", "body": {"file": __file__}},
                          {"method": "HEAD"})]
    plain = app.calls("", *calls, hooked=False)
    want = recorder.take()
    for name, script in scripts.items():
        got = app.calls(script, *calls)
        mp.is_(got, plain, app.name("%s: the app sees the same" % name))
        sent = recorder.take()
        mp.is_(len(sent), len(want), app.name("%s: as many connections (%d)" % (name, len(want))))
        mp.ok(sent == want, app.name("%s: the same %d bytes" % (name, sum(map(len, want)))))
        mp.is_(len(app.told("end")), len(plain), app.name("%s: every call counted" % name))


def refused(app):
    """No connection, no retries, the library's own kind of exception."""
    dead = "http://127.0.0.1:%d/" % mp.dead_port()
    for lib in app.libs:
        got = app.calls(REFUSAL, {"lib": lib, "url": dead, "retry": 5, "method": "POST",
                                  "body": {"iter": ["never", "read"]}})[0]
        for base in BASES[lib]:
            mp.ok(base in got.get("error", []), app.name("%s: refusal is a %s" % (lib, base)))
        inner = got.get("reason", got)
        mp.is_([inner.get(k) for k in ("pipe", "type", "state", "retry_after")],
               ["guard", "breaker", "open", 4], app.name(lib + ": its attributes"))
        mp.is_([inner.get("response"), inner.get("response_body")], [503, "sorry"],
               app.name(lib + ": its response"))
        mp.like(inner.get("text"), r"^\[127\.0\.0\.1:\d+\] middlepipe guard is open, "
                r"retry after 4 s$", app.name(lib + ": its message"))
        mp.is_(len(app.told("begin")), 1, app.name(lib + ": not retried (total=5)"))
    required = ("begin REPLY\nraise 1\ntype middlepipe\nstate unavailable\nretry_after 1\n"
                "rbody sorry\n")
    for where in ("payments.internal", "payments.internal:8080"):
        for lib in app.libs:
            got = app.calls(required, {"lib": lib, "url": "http://%s/" % where})[0]
            mp.is_(got.get("reason", got).get("text"),
                   "[%s] middlepipe is unavailable, retry after 1 s" % where,
                   app.name("%s: %s: all of Middlepipe is not there" % (lib, where)))
    out = app.run([os.path.join(HERE, "pickled.py"), dead], REFUSAL)
    mp.is_(out, "guard 4\n" * (2 if "requests" in app.libs else 1),
           app.name("refusals can be pickled"))


def answered(app):
    """Replies in the library's own class; the connection in use stays."""
    service = mp.Service()
    reply = REFUSAL.replace("raise 1", "raise 0").replace("status", "status")
    for lib in app.libs:
        got = app.calls(reply + "status 429\n", {"lib": lib, "url": service.url()})[0]
        want = {"http": "HTTPResponse", "urllib": "HTTPError", "urllib3": "HTTPResponse",
                "requests": "Response"}[lib]
        mp.is_([got.get(k) for k in ("status", "body", "class")], [429, "sorry", want],
               app.name(lib + ": a reply"))
        names = [name.lower() for name, _ in got.get("headers", [])]
        mp.is_(sorted(names), ["content-length", "middlepipe", "retry-after"],
               app.name(lib + ": its fields, marker included"))
        streamed = app.calls(reply + "status 200\n", {"lib": lib, "url": service.url(),
                                                      "stream": 2, "lines": True})[0]
        mp.is_(streamed.get("body"), "sorry", app.name(lib + ": a streamed reply"))
        head = app.calls(reply + "status 200\n", {"lib": lib, "url": service.url(),
                                                  "method": "HEAD"})[0]
        mp.is_([head.get("status"), head.get("body")], [200, ""], app.name(lib + ": to HEAD"))
        again = app.calls(reply + "status 503\n",
                          {"lib": lib, "url": service.url(), "retry": 5})[0]
        mp.is_([again.get("status"), len(app.told("begin"))], [503, 1],
               app.name(lib + ": a reply is not retried either"))
    mp.is_(service.connections, 0, app.name("replies connect nowhere"))
    for careless in (False, True):
        app.run([os.path.join(HERE, "alternate.py"), service.url(), str(int(careless))],
                REFUSAL)
        mp.is_(service.connections, len(app.libs) - 1,
               app.name("connections outlive %s" % ("refusals" if careless else "replies")))
        service.forget()
    service.stop()


def edited(app):
    script = ("begin ASK\nset X-A: 1\nadd X-B: 2\nadd X-B: 3\nremove X-Gone\n"
              "path /other?q=1\nbody hello world\n")
    for lib in app.libs:
        service = mp.Service()
        app.calls(script, {"lib": lib, "url": service.url("/p"), "method": "POST",
                           "body": {"iter": ["old"]}, "headers": {"X-a": "0", "X-Gone": "1"}})
        seen = service.requests[-1] if service.requests else None
        service.stop()
        if not mp.ok(seen is not None, app.name(lib + ": an edited request arrives")):
            continue
        fields = [(k.lower(), v) for k, v in seen.headers if k.lower().startswith(("x-", "tran"))]
        mp.is_(fields, [("x-a", "1"), ("x-b", "2"), ("x-b", "3")], app.name(lib + ": fields"))
        mp.is_([seen.path, seen.body], ["/other?q=1", b"hello world"],
               app.name(lib + ": path and body"))
        mp.ok(("x-gone", "1") in app.fields() and ("host", service.authority) in app.fields(),
              app.name(lib + ": the chain saw the fields as sent"))


def rerouted(app):
    """An authority: connect there, set Host, and leave the app's connection alone."""
    for lib in app.libs:
        here, there = mp.Service(), mp.Service(host="::1")
        app.run([os.path.join(HERE, "reroute.py"), lib, here.url("/r"), there.authority],
                "begin ASK\n")
        mp.is_([here.count, there.count], [2, 3], app.name(lib + ": rerouted"))
        kept = [2, 3] if lib == "urllib" else [1, 1]
        mp.is_([here.connections, there.connections], kept,
               app.name(lib + ": both connections kept"))
        mp.is_({r.get("Host") for r in there.requests}, {there.authority},
               app.name(lib + ": Host"))
        here.stop()
        there.stop()


def waited(app):
    service = mp.Service()
    lib = app.libs[-1]
    got = app.calls("begin ASK\nask DELAY\ndelay_ms 30\nset X-A: late\n",
                    {"lib": lib, "url": service.url()})
    mp.is_([got[0].get("status"), service.requests[-1].get("X-A")], [200, "late"],
           app.name("DELAY goes on, with its edits"))
    app.calls("begin ASK\nask HOLD\nheld 3\nset X-A: held\n",
              {"lib": lib, "url": service.url()})
    mp.is_([len(app.told("resume")), service.requests[-1].get("X-A")], [3, "held"],
           app.name("HOLD is resumed until it passes"))
    got = app.calls("begin ASK\nask HOLD\nheld 2\nthen REPLY\nstatus 418\n",
                    {"lib": lib, "url": service.url()})
    mp.is_([got[0].get("status"), service.count], [418, 2], app.name("HOLD ends in a reply"))
    out = app.run([os.path.join(HERE, "interrupt.py"), service.url()],
                  "begin ASK\nask DELAY\ndelay_ms 60000\n")
    mp.is_([out, app.ends(), service.count], ["KeyboardInterrupt\n", [(0, 5)], 2],
           app.name("an interrupted delay is a cancelled call"))
    service.stop()


def bodies(app):
    """Bodies are shown when they are in memory, cut at the limit, never consumed."""
    service = mp.Service()
    script = "begin ASK\nwants 1\nbody_limit 8\n"
    shown = {
        "text": ("12345678", "body=12345678 complete=1"),
        "long text": ("123456789", "body=12345678 complete=0"),
        "a generator": ({"iter": ["123", "456"]}, "body= complete=0"),
        "memory": ({"io": "in mem"}, "body=in mem complete=1"),
        "no body": (None, "body= complete=1"),
    }
    for lib in app.libs:
        for name, (body, want) in shown.items():
            app.calls(script, {"lib": lib, "url": service.url(), "method": "POST", "body": body})
            mp.ok(app.told("request") and app.told("request")[0].endswith(want),
                  app.name("%s: %s is shown" % (lib, name)))
            sent = body.get("io") or "".join(body["iter"]) if isinstance(body, dict) else body
            mp.is_(service.requests[-1].body, (sent or "").encode(),
                   app.name("%s: %s is sent whole" % (lib, name)))
    service.stop()

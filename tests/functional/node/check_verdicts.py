# SPDX-License-Identifier: Apache-2.0
"""Verdicts on requests: what the app gets, what the service gets."""

import mp
import node_harness as h

RAISED = {"name": "MiddlepipeError", "code": "EMIDDLEPIPE", "syscall": "connect",
          "hostname": "127.0.0.1", "pipe": "guard", "type": "breaker", "state": "open",
          "retryAfter": 4, "retry_after": 4, "isError": True}


def check(app):
    service = h.Recorder()
    check_pass(app, service)
    check_raise(app, service)
    check_reply(app, service)
    check_reply_shapes(app, service)
    check_edits(app, service)
    check_elsewhere(app, service)
    check_waits(app, service)
    check_headers_late(app, service)


def head_of(data):
    lines = data.split(b"\r\n\r\n")[0].decode().split("\r\n")
    return lines[0], dict((line.split(": ", 1)[0].lower(), line.split(": ", 1)[1])
                          for line in lines[1:])


def check_pass(app, service):
    alone = {}
    for lib, _ in app.both("", url=service.url("/a?b=c"), count=3, hooked=False):
        alone[lib] = len(service.take())
    for begin in ("NONE", "GO", "ASK"):
        for lib, got in app.both("begin %s\n" % begin, url=service.url("/a?b=c"), count=3):
            mp.is_([(r.get("status"), r.get("body")) for r in got], [(200, "hello")] * 3,
                   app.name("%s: %s: three calls pass" % (lib, begin)))
            mp.is_(app.ends(), [] if begin == "NONE" else [(200, 0)] * 3,
                   app.name("%s: %s: each ends once" % (lib, begin)))
            mp.is_(len(service.take()), alone[lib],
                   app.name("%s: %s: as many connections as without" % (lib, begin)))
            mp.is_(set(app.told("begin")), {"http 127.0.0.1 %d /a" % service.port},
                   app.name("%s: %s: where it goes" % (lib, begin)))
    for lib, _ in app.both("begin ASK\n", url=service.url("/a?b=c"), headers={"X-One": "1"}):
        mp.is_(app.told("request"),
               ["GET http 127.0.0.1:%d /a?b=c body= complete=1" % service.port],
               app.name("%s: what the chain is shown" % lib))
        mp.ok(("x-one", "1") in app.fields(), app.name("%s: and the fields" % lib))
    service.take()


def check_raise(app, service):
    want = dict(RAISED, message="[127.0.0.1:%d] middlepipe guard is open, retry after 4 s"
                % service.port)
    for script, how in ((h.REFUSAL, "standing"),
                        (h.REFUSAL.replace("begin REPLY", "begin ASK\nask REPLY"), "asked")):
        for lib, got in app.both(script, url=service.url(), method="POST", chunks=["x"]):
            error = dict(h.cause(got))
            response = error.pop("response", {})
            mp.is_(error, want, app.name("%s: %s: the error" % (lib, how)))
            mp.is_((response.get("status"), response.get("body"),
                    response.get("headers", {}).get("middlepipe")), (503, "sorry", h.MARKER),
                   app.name("%s: %s: its response" % (lib, how)))
            app.once(lib, how, (0, 0))
            if lib == "http":
                mp.is_(got["events"], ["error", "close"], app.name("http: %s: events" % how))
            else:
                mp.is_((got["error"]["name"], got["error"]["message"]),
                       ("TypeError", "fetch failed"), app.name("fetch: %s: rejects" % how))
    required = "begin REPLY\nraise 1\ntype middlepipe\nstate unavailable\nretry_after 1\n"
    for where in ("payments.internal", "payments.internal:8080"):
        for lib, got in app.both(required, url="http://%s/" % where):
            mp.is_(h.cause(got).get("message"),
                   "[%s] middlepipe is unavailable, retry after 1 s" % where,
                   app.name("%s: %s: all of Middlepipe is not there" % (lib, where)))
    for lib, got in app.both("begin REPLY\nraise 1\ntype breaker\n", url=service.url()):
        mp.like(h.cause(got).get("message"), r"\] middlepipe breaker refused the call$",
                app.name("%s: a refusal that says little" % lib))
        mp.is_(h.cause(got).get("retryAfter"), None, app.name("%s: no time to retry at" % lib))
    mp.is_(service.take(), [], app.name("nothing of it reaches the service"))


def check_reply(app, service):
    for begin in ("begin REPLY", "begin ASK\nask REPLY"):
        script = h.REPLY.replace("begin REPLY", begin)
        for lib, got in app.both(script, url="http://no-such-name.invalid/"):
            mp.is_((got.get("status"), got.get("reason"), got.get("body"), got.get("real")),
                   (503, "Service Unavailable", "sorry", True),
                   app.name("%s: %s: a response of its class" % (lib, begin[-5:])))
            mp.is_((got.get("headers") or {}).get("middlepipe"), "breaker;state=open",
                   app.name("%s: %s: with its marker" % (lib, begin[-5:])))
            app.once(lib, begin[-5:], (0, 0))
            if lib == "http":
                mp.is_(got.get("events"), ["socket", "finish", "response", "end", "close"],
                       app.name("http: %s: events" % begin[-5:]))


def check_reply_shapes(app, service):
    for lib, got in app.both(h.REPLY, url=service.url(), method="HEAD"):
        mp.is_((got.get("status"), got.get("body"), got["headers"].get("content-length")),
               (503, "", "5"), app.name("%s: HEAD has no body" % lib))
    for lib, got in app.both("begin REPLY\nstatus 204\n", url=service.url(), method="DELETE"):
        mp.is_((got.get("status"), got.get("body")), (204, ""), app.name("%s: 204" % lib))
    framed = h.REPLY + "field Transfer-Encoding: chunked\nfield Connection: close\nfield Set-Cookie: a\nfield Set-Cookie: b\n"
    for lib, got in app.both(framed, url=service.url()):
        mp.is_((got.get("body"), got["headers"].get("content-length")), ("sorry", "5"),
               app.name("%s: the framing is the hook's" % lib))
    # A body that is written after the answer, and more than any buffer holds.
    chunks = ["x" * 40000] * 8
    got = app.calls(h.REPLY, dict(url=service.url(), method="PUT", chunks=chunks, gap=2))
    mp.is_((got.get("status"), got["events"].count("finish"), got["events"].count("close")),
           (503, 1, 1), app.name("http: a body that is still written is taken"))
    got = app.calls(h.REPLY, dict(lib="fetch", url=service.url(), method="PUT", chunks=["x"], gap=1))
    mp.is_((got.get("status"), got.get("body")), (503, "sorry"), app.name("fetch: likewise"))
    got = app.calls(h.REPLY, dict(url=service.url(), silent=True))
    mp.is_(got.get("events"), ["socket", "finish", "close"],
           app.name("http: a reply that nobody listens to is discarded"))
    got = app.calls(h.REPLY, dict(url=service.url(), method="POST", first=30,
                                  headers={"Expect": "100-continue"}))
    mp.is_((got.get("status"), "continue" in got["events"]), (503, False),
           app.name("http: Expect: 100-continue is answered at once"))
    service.take()
    service = h.Recorder()  # of connections that are made, and dropped at some time
    for agent in ("none", "own", "connect", "foreign"):
        got = app.calls(h.REPLY, dict(url=service.url(), agent=agent, count=2))
        mp.is_([r.get("status") for r in got], [503, 503], app.name("http: agent %s: reply" % agent))
        got = app.calls(h.REFUSAL, dict(url=service.url(), agent=agent, count=2))
        mp.is_([h.cause(r).get("code") for r in got], ["EMIDDLEPIPE"] * 2,
               app.name("http: agent %s: error" % agent))


def check_edits(app, service):
    script = ("begin ASK\nset X-One: new\nadd X-Two: more\nremove X-Three\npath /other?q\n")
    headers = {"X-One": "old", "X-Two": "two", "X-Three": "three"}
    for lib, got in app.both(script, url=service.url("/a"), headers=headers):
        line, fields = head_of(service.take()[0])
        mp.is_(line, "GET /other?q HTTP/1.1", app.name("%s: path" % lib))
        mp.is_((fields.get("x-one"), fields.get("x-three"), got.get("status")), ("new", None, 200),
               app.name("%s: fields set and removed" % lib))
        mp.ok("more" in fields.get("x-two", ""), app.name("%s: field added" % lib))
    flat = ["Host", "h", "X-One", "old", "X-Three", "three"]
    app.calls(script, dict(url=service.url("/a"), headers=flat))
    line, fields = head_of(service.take()[0])
    mp.is_((line, fields.get("x-one"), fields.get("x-three"), fields.get("host")),
           ("GET /other?q HTTP/1.1", "new", None, "h"), app.name("http: headers given as an array"))
    body = "begin ASK\nwants 1\nbody changed\n"
    for case in (dict(chunks=["one", "two"]), dict(chunks=["one", "two"], gap=80),
                 dict(chunks=[]), dict(chunks=["x" * 9], first=80),
                 dict(chunks=["x" * 30000] * 9)):
        for lib, got in app.both(body, url=service.url("/a"), method="POST", **case):
            raw = service.take()
            mp.is_((len(raw), got.get("status"), raw[0].split(b"\r\n\r\n")[1] if raw else None,
                    head_of(raw[0])[1].get("content-length") if raw else None),
                   (1, 200, b"changed", "7"), app.name("%s: body replaced: %.40r" % (lib, case)))
            mp.ok(raw and b"chunked" not in raw[0].lower(), app.name("%s: and not chunked" % lib))


def check_elsewhere(app, service):
    other = h.Recorder(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")
    script = "begin ASK\nauthority 127.0.0.1:%d\n" % other.port
    for lib, got in app.both(script, url=service.url("/a")):
        raw = other.take()
        mp.is_((got.get("body"), len(raw), service.take()), ("other", 1, []),
               app.name("%s: another authority: connects there" % lib))
        mp.is_(head_of(raw[0])[1].get("host"), "127.0.0.1:%d" % other.port,
               app.name("%s: and says so in Host" % lib))


def check_waits(app, service):
    for script, what in (("begin ASK\nask DELAY\ndelay_ms 60\nadd X-A: 1\n", "DELAY"),
                         ("begin ASK\nask HOLD\nheld 5\nadd X-A: 1\n", "HOLD")):
        for lib, got in app.both(script, url=service.url()):
            raw = service.take()
            mp.is_((got.get("status"), len(raw), head_of(raw[0])[1].get("x-a")), (200, 1, "1"),
                   app.name("%s: %s: goes on, edited" % (lib, what)))
            app.once(lib, what, (200, 0))
        mp.is_(len(app.told("resume")), 5 if what == "HOLD" else 0,
               app.name("%s: looked at until it goes" % what))
        for lib, got in app.both(script.replace("held 5", "held 500"), url=service.url(), abort=25):
            app.once(lib, what + " and given up", (0, h.CANCELLED))
            mp.ok(h.cause(got).get("code") == "ECONNRESET" or got["error"]["name"] == "AbortError", app.name("%s: %s: given up" % (lib, what)))
    for lib, got in app.both(h.REFUSAL.replace("begin REPLY", "begin ASK\nask HOLD\nthen REPLY\nheld 3"),
                             url=service.url()):
        mp.is_(h.cause(got).get("code"), "EMIDDLEPIPE", app.name("%s: HOLD, then refused" % lib))
    got = app.calls("begin ASK\n", dict(url=service.url(), abort=-1))
    mp.is_(got.get("events"), ["error", "close"], app.name("http: destroyed before it is asked"))
    app.once("http", "destroyed", (0, h.CANCELLED))
    service.take()


def check_headers_late(app, service):
    """The app ends its request later: then its fields are not rendered when it is asked."""
    got = app.calls("begin ASK\nset X-A: 1\npath /p\n", dict(url=service.url("/a"), first=40))
    line, fields = head_of(service.take()[0])
    mp.is_((got.get("status"), line, fields.get("x-a")), (200, "GET /p HTTP/1.1", "1"),
           app.name("http: edits before the app writes"))

# SPDX-License-Identifier: Apache-2.0
"""Responses that a chain decides on or looks at."""

import mp
import node_harness as h

HELD = "begin GO\nwants 2\n"
BODY = "begin GO\nwants 10\nbody_limit 100\n"
BIG = "x" * 200000
REPLIED = "respond REPLY\nstatus 418\nfield X-From: chain\nrbody instead\n"


def check(app):
    service = mp.Service()
    check_edit(app, service)
    check_replied(app, service)
    check_copied(app, service)
    check_streams(app, service)
    check_failed(app)
    check_marker(app, service)
    service.stop()


def check_edit(app, service):
    service.behave(headers=[("X-One", "old"), ("X-Two", "two")], body="hello")
    for wants, what in ((HELD, "head"), (BODY, "body"), (HELD.replace("GO", "ASK"), "asked")):
        script = wants + "rset X-One: new\nradd X-Two: more\nrremove Date\nrstatus 202\n"
        for lib, got in app.both(script, url=service.url(), count=2):
            for result in got:
                headers = result.get("headers") or {}
                mp.is_((result.get("status"), result.get("reason"), headers.get("x-one"),
                        headers.get("x-two"), result.get("body")),
                       (202, "Accepted", "new", "two, more", "hello"),
                       app.name("%s: %s: edited" % (lib, what)))
            app.once(lib, what, (200, 0))
            mp.ok(all("200 error=0" in line for line in app.told("response")),
                  app.name("%s: %s: the chain sees the service's own status" % (lib, what)))
    for wants in (HELD, BODY):
        for lib, got in app.both(wants + "rbody other\n", url=service.url(), count=3):
            mp.is_([(r.get("status"), r.get("body"), r["headers"].get("content-length")) for r in got],
                   [(200, "other", "5")] * 3, app.name("%s: %s: body replaced" % (lib, wants[9:16].strip())))
    service.forget()
    app.calls(BODY + "rbody other\n", dict(url=service.url(), count=5))
    mp.is_(service.connections, 1, app.name("http: a replaced body leaves the connection usable"))


def check_replied(app, service):
    service.behave(body="hello")
    for wants in (HELD, BODY):
        for lib, got in app.both(wants + REPLIED, url=service.url(), count=2):
            mp.is_([(r.get("status"), r.get("body"), r["headers"].get("x-from")) for r in got],
                   [(418, "instead", "chain")] * 2, app.name("%s: replied: %s" % (lib, wants[9:16].strip())))
        raised = wants + REPLIED + "raise 1\npipe guard\nstate open\n"
        for lib, got in app.both(raised, url=service.url(), count=2):
            mp.is_([(h.cause(r).get("code"), h.cause(r).get("pipe")) for r in got],
                   [("EMIDDLEPIPE", "guard")] * 2, app.name("%s: raised: %s" % (lib, wants[9:16].strip())))
            app.once(lib, "raised", (200, 0))
    service.forget()
    app.calls(HELD + REPLIED, dict(url=service.url(), count=5))
    mp.is_(service.connections, 1, app.name("http: a replaced response leaves its connection usable"))
    for wants in (HELD, BODY):
        for lib, got in app.both(wants + REPLIED, url=service.url(), method="HEAD"):
            mp.is_((got.get("status"), got.get("body")), (418, ""),
                   app.name("%s: HEAD is replaced without a body: %s" % (lib, wants[9:16].strip())))
        for lib, got in app.both(wants + REPLIED.replace("418", "204"), url=service.url()):
            mp.is_((got.get("status"), got.get("body")), (204, ""),
                   app.name("%s: 204 is replaced without a body: %s" % (lib, wants[9:16].strip())))


def check_copied(app, service):
    service.behave(body="hello", headers=[("X-One", "1")])
    for script, body in (("begin GO\nwants 4\n", ""), ("begin GO\nwants 12\n", "hello"),
                         ("begin ASK\nwants 12\n", "hello")):
        for lib, got in app.both(script, url=service.url(), count=2):
            mp.is_([(r.get("status"), r.get("body")) for r in got], [(200, "hello")] * 2,
                   app.name("%s: copied: passes" % lib))
            mp.is_(app.told("response"), ["200 error=0 body=%s complete=%d" % (body, bool(body))] * 2,
                   app.name("%s: copied: %r" % (lib, body)))
            app.once(lib, "copied", (200, 0))
            asked = "ASK" in script
            mp.is_(len(app.told("request")), 2, app.name("%s: with its request %s" %
                                                         (lib, "asked" if asked else "afterwards")))


def check_streams(app, service):
    service.behave(body=BIG)
    for script, what in ((BODY, "decided on"), (BODY.replace("10", "12", 1), "copied")):
        for lib, got in app.both(script, url=service.url()):
            mp.is_((got.get("status"), got.get("body") == BIG), (200, True),
                   app.name("%s: a long body, %s, is whole" % (lib, what)))
            mp.like(app.told("response")[0][-12:], "complete=0", app.name("%s: and told incomplete" % lib))
    service.behave(raw=b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    for lib, got in app.both(BODY, url=service.url()):
        mp.is_((got.get("status"), got.get("body")), (200, "data: 1\n\n"),
               app.name("%s: an event stream is not waited for" % lib))
        mp.is_(app.told("response"), ["200 error=0 body= complete=0"],
               app.name("%s: and shown without its body" % lib))
    for raw, what in ((b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\nhalf", "cut off"),):
        service.behave(raw=raw)
        for lib, got in app.both(BODY, url=service.url()):
            mp.ok("error" in got, app.name("%s: held and %s: fails" % (lib, what)))
            app.once(lib, what, (0, h.BROKEN))
        for lib, got in app.both(BODY.replace("10", "12", 1), url=service.url()):
            mp.ok("error" in got and got.get("status", 200) == 200,
                  app.name("%s: copied and %s: fails" % (lib, what)))
            app.once(lib, what, (0, h.BROKEN))
            mp.is_(app.told("response"), ["0 error=3 body=half complete=0"],
                   app.name("%s: what the chain is shown of it" % lib))


def check_failed(app):
    """The chain answers for a service that is not there."""
    dead = "http://127.0.0.1:%d/" % mp.dead_port()
    for lib, got in app.both(HELD, url=dead):
        mp.is_((h.cause(got).get("code"), app.told("response")),
               ("ECONNREFUSED", ["0 error=1 body= complete=0"]), app.name("%s: failed: shown" % lib))
        app.once(lib, "failed", (0, h.REFUSED))
    broken = h.Breaker()
    for url in (dead, broken.url()):
        for begin in ("GO", "ASK"):
            for lib, got in app.both(HELD.replace("GO", begin) + REPLIED, url=url, method="POST",
                                     chunks=["body"]):
                mp.is_((got.get("status"), got.get("body")), (418, "instead"),
                       app.name("%s: %s: failed, and replied to" % (lib, begin)))
                if lib == "http":
                    mp.is_((got["events"].count("error"), got["events"].count("close")), (0, 1),
                           app.name("http: the failure is not told"))
    for lib, got in app.both(HELD + REPLIED + "raise 1\nstate open\n", url=dead):
        mp.is_(h.cause(got).get("code"), "EMIDDLEPIPE", app.name("%s: failed, and raised" % lib))


def check_marker(app, service):
    """What a network sends under our name is no marker."""
    service.behave(headers=[("Middlepipe", h.MARKER), ("X-One", "1")], body="hello")
    for script in ("begin GO\n", "begin ASK\n", HELD, BODY, "begin GO\nwants 12\n"):
        for lib, got in app.both(script, url=service.url(), count=2):
            for result in got:
                headers = result.get("headers") or {}
                mp.is_((result.get("status"), headers.get("middlepipe"), headers.get("x-one")),
                       (200, None, "1"), app.name("%s: %.18r: a marker of the network's is stripped"
                                                  % (lib, script)))
    for lib, got in app.both("begin NONE\n", url=service.url()):
        mp.is_(got["headers"].get("middlepipe"), h.MARKER,
               app.name("%s: but not from calls that no chain has to do with" % lib))

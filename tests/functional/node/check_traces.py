# SPDX-License-Identifier: Apache-2.0
"""What an app sees when it does something unusual: as without the hook."""

import json

import mp
import node_harness as h

GO, ASK = "begin GO\n", "begin ASK\n"
ASK_BODY = "begin ASK\nwants 1\nbody_limit 100\n"
COPY = "begin GO\nwants 13\nbody_limit 100\n"
DECIDE = "begin GO\nwants 10\nbody_limit 100\n"
PASSING = (("passed", GO), ("asked", ASK), ("asked with its body", ASK_BODY), ("copied", COPY),
           ("decided on", DECIDE))
# What a reply of the chain must look like to the app: a service's.
AS_REPLIED = ("throws in data", "destroys in socket", "destroys in response",
              "destroys in response, with an error", "a signal given before",
              "a timeout that is never over", "throws in response")


class Service(h.Recorder):
    """One that says 100 (Continue) before it reads the body of who expects that."""

    def _talk(self, conn, mine):
        pending, told = b"", False
        try:
            while True:
                data = conn.recv(65536)
                if not data:
                    return
                pending += data
                if b"100-continue" in pending and not told:
                    conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                    told = True
                while h.harness._complete(pending):
                    pending = pending[h.harness._complete(pending):]
                    conn.sendall(self.answer)
        except OSError:
            return


def check(app):
    service = Service()
    check_http(app, service)
    check_fetch(app, service)
    check_reuse(app)


def seen(app, program, *argv, script="", hooked=True):
    out = app.run([h.HERE + "/" + program, *argv], script, hooked=hooked)
    try:
        return json.loads(out)
    except ValueError:
        mp.note("no result: " + out + app.err)
        return {}


def check_http(app, service):
    argv = ("traces.cjs", service.url(), str(mp.dead_port()))
    alone = seen(app, *argv, hooked=False)
    mp.ok(len(alone) > 8, app.name("http: the program runs"))
    for what, script in PASSING:
        got = seen(app, *argv, script=script)
        for case in alone:
            mp.is_(got.get(case), alone[case], app.name("http: %s: %s" % (what, case)))
        mp.is_(len(app.ends()), len(app.told("begin")),
               app.name("http: %s: each call ends once" % what))
    replied = seen(app, *argv, *AS_REPLIED, script=h.REPLY)
    for case in AS_REPLIED:
        mp.is_(replied.get(case), alone[case], app.name("http: replied to: %s" % case))
    got = seen(app, *argv, "expects to continue", "a signal given before", script=h.REPLY)
    mp.is_(got.get("expects to continue"), "socket response finish end close",
           app.name("http: replied to: what expects to continue"))
    got = seen(app, *argv, "a signal given before", script=h.REFUSAL)
    mp.is_((got.get("a signal given before"), app.ends()), ("error:ABORT_ERR close", [(0, h.CANCELLED)]),
           app.name("http: what the app has aborted is not refused"))


def check_fetch(app, service):
    alone = seen(app, "fetches.cjs", service.url(), hooked=False)
    mp.ok(len(alone) > 14, app.name("fetch: the program runs"))
    for what, script in PASSING:
        got = seen(app, "fetches.cjs", service.url(), script=script)
        for way in alone:
            mp.is_(got.get(way), alone[way], app.name("fetch: %s: %s" % (what, way)))
        # The app's own doing: a body that fails, and what it aborts before the response.
        mp.is_((sorted(set(app.ends())), app.ends().count((0, h.CANCELLED))),
               ([(0, h.CANCELLED), (200, 0)], 3), app.name("fetch: %s: each call's end" % what))
    got = seen(app, "fetches.cjs", service.url(), script=h.REFUSAL)
    early = ("aborted before", "aborted in the same tick")
    mp.is_({way: result for way, result in got.items() if way not in early},
           {way: "TypeError EMIDDLEPIPE" for way in alone if way not in early},
           app.name("fetch: refused, however it is called"))
    mp.is_([got.get(way) for way in early], [alone[way] for way in early],
           app.name("fetch: what the app has aborted is not refused"))
    got = app.calls(h.REPLY.replace("status 503", "status 302") + "field Location: /elsewhere\n",
                    dict(lib="fetch", url=service.url(), options={"redirect": "manual"}))
    mp.is_((got.get("status"), got["headers"].get("location")), (302, "/elsewhere"),
           app.name("fetch: a redirect of the chain's"))


def check_reuse(app):
    """A connection that is kept alive stays so through replies and refusals."""
    service = h.Recorder()
    for lib in h.LIBS:
        app.calls("", dict(lib=lib, url=service.url(), count=3), hooked=False)
        alone = len(service.take())
        got = app.calls(GO, *(dict(lib=lib, url=service.url(), script=script)
                              for script in (GO, h.REPLY, h.REFUSAL, ASK, h.REPLY, GO)))
        mp.is_([r.get("status", h.cause(r).get("code")) for r in got],
               [200, 503, "EMIDDLEPIPE", 200, 503, 200], app.name("%s: calls of all kinds" % lib))
        mp.is_(len(service.take()), alone, app.name("%s: by as many connections as three calls" % lib))

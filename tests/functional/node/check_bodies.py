# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests that a chain wants to see: bounded, and never in the way."""

import mp
import node_harness as h

WANT = "begin ASK\nwants 1\nbody_limit 100\n"
WAIT_MS = 50  # that the hook waits for a body
TRIES = 50


def check(app):
    service = h.Recorder()
    check_shown(app, service)
    check_sent(app, service)
    check_after(app, service)
    check_met_late(app, service)


def shown(app):
    """The body that the chain was shown, and whether it was all of it."""
    line = app.told("request")[0] if app.told("request") else " body= complete=?"
    body, _, complete = line.partition(" body=")[2].rpartition(" complete=")
    return body, complete


def both_in_time(app, **call):
    """As app.both(); a body that took the app longer than the hook waits for one is written again."""
    for lib in h.LIBS:
        for _ in range(TRIES):
            got = app.calls(WANT, dict(call, lib=lib, clock=True))
            if got.get("wrote", 0) < WAIT_MS - 5:
                break
        yield lib, got


def check_shown(app, service):
    cases = (
        (dict(chunks=["one", "two"]), ("onetwo", "1"), "written at once"),
        (dict(chunks=["one", "two"], gap=5), ("onetwo", "1"), "written in pieces"),
        (dict(chunks=["x" * 60, "y" * 60]), None, "longer than the limit"),
        (dict(chunks=["one", "two"], gap=150), ("one", "0"), "written slowly"),
        (dict(chunks=[]), ("", "1"), "empty"),
    )
    for call, want, what in cases:
        both = both_in_time if want == ("onetwo", "1") else lambda app, **call: app.both(WANT, **call)
        for lib, got in both(app, url=service.url("/a"), method="POST", **call):
            mp.is_(got.get("status"), 200, app.name("%s: %s: passes" % (lib, what)))
            body, complete = shown(app)
            if want is None:
                mp.ok(complete == "0" or lib == "fetch" and len(body) == 120,
                      app.name("%s: %s: is told incomplete" % (lib, what)))
            else:
                mp.is_((body, complete), want, app.name("%s: %s: what is shown" % (lib, what)))
            app.once(lib, what, (200, 0))
    for lib, _ in app.both(WANT, url=service.url("/a")):
        mp.is_(shown(app), ("", "1"), app.name("%s: GET: no body is complete" % lib))
    got = app.calls(WANT, dict(url=service.url("/a"), method="PUT", chunks=["x"], first=60,
                               headers={"Expect": "100-continue", "Content-Length": "1"}))
    mp.is_((got.get("status"), shown(app)), (200, ("", "0")),
           app.name("http: Expect: 100-continue is asked about without the body"))
    service.take()


def check_sent(app, service):
    """The service gets the same bytes with a chain that looks at bodies and without one."""
    for call in (dict(chunks=["one", "two"]), dict(chunks=["a" * 70000] * 5, gap=1),
                 dict(chunks=["one", "two", "three"], gap=60), dict(chunks=[])):
        for lib in h.LIBS:
            sent = []
            for script in ("", WANT):
                app.calls(script, dict(call, lib=lib, url=service.url("/a"), method="POST"),
                          hooked=script != "")
                sent.append([whole(raw) for raw in service.take()])
            mp.ok(sent[0] == sent[1], app.name("%s: the same bytes are sent: %.40r" % (lib, call)))


def whole(raw):
    """A request with a chunked body in one piece: how it is cut depends on the time."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return head, body
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        out += body[:int(size, 16)]
        body = body[int(size, 16) + 2:]
    return head, out


def check_after(app, service):
    """A call that is not asked about shows its request with its response."""
    copy = "begin GO\nwants 5\nbody_limit 100\n"
    for call, what in ((dict(chunks=["one", "two"]), "at once"),
                       (dict(chunks=["one", "two"], gap=100), "slowly: nothing waits for it")):
        for lib, got in app.both(copy, url=service.url("/a"), method="POST", **call):
            # A stream's end is not told by Debian 12's undici.
            end = "0" if lib == "fetch" and "gap" in call and app.major < 20 else "1"
            mp.is_((got.get("status"), shown(app)), (200, ("onetwo", end)),
                   app.name("%s: copied afterwards, written %s" % (lib, what)))
    for lib, got in app.both(copy, url=service.url("/a"), method="POST", chunks=["x" * 60, "y" * 60]):
        mp.is_(shown(app), ("x" * 60 + "y" * 40, "0"), app.name("%s: copied up to the limit" % lib))
    service.take()


def check_met_late(app, service):
    """A request that is met with its connection: what it has written by then is not shown."""
    for call, want in ((dict(), ("", "1")), (dict(method="POST", chunks=["one"]), ("", "0"))):
        got = app.calls(WANT, dict(call, url=service.url("/a"), agent="foreign"))
        mp.is_((got.get("status"), shown(app)), (200, want),
               app.name("http: met late: %s" % call.get("method", "GET")))
    mp.ok(b"one" in b"".join(service.take()), app.name("http: met late: the service gets it"))

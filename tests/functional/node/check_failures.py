# SPDX-License-Identifier: Apache-2.0
"""Outcomes: what the chain is told of calls that fail, and that each ends once."""

import mp
import node_harness as h


def check(app):
    service = mp.Service()
    check_kinds(app, service)
    check_cancelled(app, service)
    check_late(app, service)
    check_statuses(app, service)
    service.stop()


def check_kinds(app, service):
    cases = (
        ("http://127.0.0.1:%d/" % mp.dead_port(), h.REFUSED, "refused"),
        ("http://no-such-name.invalid/", h.REFUSED, "no such host"),
        (h.Breaker().url(), h.BROKEN, "closed without an answer"),
        (h.Breaker(reset=True).url(), h.BROKEN, "reset"),
        (h.Breaker(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf").url(), h.BROKEN, "cut off"),
        (h.Breaker(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", reset=True).url(),
         h.BROKEN, "cut off by a reset"),
        (h.Breaker(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel").url(),
         h.BROKEN, "cut off within a chunk"),
        (h.Breaker(b"not HTTP at all\r\n\r\n").url(), h.PROTOCOL, "not HTTP"),
    )
    for url, kind, what in cases:
        for begin in ("GO", "ASK"):
            for lib, got in app.both("begin %s\n" % begin, url=url):
                mp.ok("error" in got, app.name("%s: %s: fails" % (lib, what)))
                app.once(lib, "%s: %s" % (begin, what), (0, kind))
    certificate = h.certificate()
    if certificate:
        plain = mp.Service(tls=certificate)
        for lib, got in app.both("begin GO\n", url=plain.url(), agent="none"):
            mp.ok("error" in got, app.name("%s: a certificate that nobody knows: fails" % lib))
            app.once(lib, "certificate", (0, h.PROTOCOL))
        plain.stop()
    service.behave(hang=True)
    for lib, got in app.both("begin GO\n", url=service.url(), timeout=60):
        mp.ok("error" in got, app.name("%s: a timeout" % lib))
        # undici forgets the reason of a signal when it is not connected yet, and before version 6.
        mp.ok(app.ends() in ([(0, h.TIMEOUT)], [(0, h.CANCELLED)][:lib == "fetch"]),
              app.name("%s: a timeout: ends once" % lib))


def check_cancelled(app, service):
    service.behave(hang=True)
    for begin in ("GO", "ASK"):
        for lib, got in app.both("begin %s\n" % begin, url=service.url(), abort=40):
            app.once(lib, "%s: given up" % begin, (0, h.CANCELLED))
    got = app.calls("begin GO\n", dict(url=service.url(), abort=-1))
    mp.is_(got.get("events"), ["error", "close"], app.name("http: destroyed at once"))
    app.once("http", "destroyed at once", (0, h.CANCELLED))
    code = ("const { request } = require('http'); const c = new AbortController();"
            "const r = request('%s', { signal: c.signal }).on('error', (e) => console.log(e.name));"
            "r.end(); setTimeout(() => c.abort(), 30);" % service.url())
    mp.is_(app.run(["-e", code], "begin GO\n").strip(), "AbortError", app.name("http: a signal"))
    app.once("http", "a signal", (0, h.CANCELLED))
    code = code.replace("setTimeout(() => c.abort(), 30)", "r.abort()")
    app.run(["-e", code], "begin GO\n")
    app.once("http", "abort()", (0, h.CANCELLED))
    code = ("const r = require('http').get('%s').on('error', (e) => console.log(e.code));"
            "setTimeout(() => r.destroy(Object.assign(new Error('t'), { code: 'ETIMEDOUT' })), 30);"
            % service.url())
    app.run(["-e", code], "begin GO\n")
    app.once("http", "destroyed by a library's own timeout", (0, h.TIMEOUT))


def check_late(app, service):
    """Calls that do not end by themselves: unread, endless, dropped."""
    service.behave(body="x" * 3000000)
    for lib, got in app.both("begin GO\n", url=service.url(), drop=True):
        app.once(lib, "the app drops the body", (200, 0))
    unread = ("const http = require('http'); const e = [];"
              "http.get('%s', () => {}); setTimeout(() => process.exit(0), 2600);" % service.url())
    app.run(["-e", unread], "begin GO\n")
    mp.is_(app.ends(), [(200, 0)], app.name("http: a body that nobody reads ends soon"))
    unread = "fetch('%s'); setTimeout(() => process.exit(0), 2600);" % service.url()
    app.run(["-e", unread], "begin GO\n")
    mp.is_(app.ends(), [(200, 0)], app.name("fetch: a body that nobody reads ends soon"))
    app.run(["-e", unread], "begin GO\nwants 12\n")
    mp.is_((app.ends(), len(app.told("response"))), ([(200, 0)], 1),
           app.name("fetch: copied, it is shown as far as it came"))


def check_statuses(app, service):
    for status in (200, 204, 301, 304, 404, 503):
        service.behave(status=status, headers=[("Location", "/x")] if status == 301 else [])
        for lib, got in app.both("begin GO\n", url=service.url(), options={"redirect": "manual"}):
            app.once(lib, "status %d" % status, (status, 0))
    service.behave(reply=lambda r: dict(status=302, headers={"Location": "/b"}) if r.path == "/a" else None)
    got = app.calls("begin GO\n", dict(lib="fetch", url=service.url("/a")))
    mp.is_((got.get("status"), app.ends()), (200, [(302, 0), (200, 0)]),
           app.name("fetch: a redirect is a call of its own"))
    service.behave(body="x" * 100)
    for lib, got in app.both("begin GO\n", url=service.url(), count=40, together=True):
        mp.is_((len(got), app.ends()), (40, [(200, 0)] * 40), app.name("%s: 40 calls at once" % lib))
    got = app.calls("begin GO\n", dict(url=service.url(), agent="own", count=10, together=True))
    mp.is_(app.ends(), [(200, 0)] * 10, app.name("http: an agent of one socket each"))
    got = app.calls("begin GO\n", dict(url=service.url(), silent=True))
    mp.is_((app.ends(), got.get("events")), ([(200, 0)], ["socket", "finish", "close"]),
           app.name("http: a response that nobody listens to is discarded as without us"))

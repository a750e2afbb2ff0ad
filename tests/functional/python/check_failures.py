# SPDX-License-Identifier: Apache-2.0
"""Calls that fail: the chain learns how, the app gets its library's own exception."""

import socket
import threading

import mp
from harness import (BROKEN, CANCELLED, HERE, PROTOCOL, REFUSAL, REFUSED, TIMEOUT, WANT_RESPONSE,
                     certificate)


def check(app):
    kinds(app)
    same(app)
    retried(app)
    answered(app)
    given_up(app)


class Rude:
    """Listens, and does to each connection what `way` says."""

    def __init__(self, way):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d/" % self.server.getsockname()[1]
        self.connections = 0
        self.kept = []
        threading.Thread(target=self._serve, args=(way,), daemon=True).start()

    def _serve(self, way):
        while True:
            conn, _ = self.server.accept()
            self.connections += 1
            conn.recv(65536)
            if way == "garbage":
                conn.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            if way == "reset":
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            if way == "silence":
                self.kept.append(conn)
            else:
                conn.close()


def ways():
    """name: (url, kind, more) of every way to fail."""
    rude = {name: Rude(name) for name in ("garbage", "reset", "close", "silence")}
    dead = mp.dead_port()
    found = {
        "refused": ("http://127.0.0.1:%d/" % dead, REFUSED, {}),
        "no such host": ("http://nosuch.invalid/", REFUSED, {}),
        "silent": (rude["silence"].url, TIMEOUT, {"timeout": 0.2}),
        "reset": (rude["reset"].url, BROKEN, {}),
        "closed": (rude["close"].url, BROKEN, {}),
        "no HTTP": (rude["garbage"].url, PROTOCOL, {}),
        "no TLS": (rude["garbage"].url.replace("http", "https"), PROTOCOL, {}),
    }
    return found


def kinds(app):
    for name, (url, kind, more) in ways().items():
        for lib in app.libs:
            got = app.calls("begin GO\n", {"lib": lib, "url": url, **more})[0]
            mp.ok("error" in got and "MiddlepipeRefused" not in got["error"],
                  app.name("%s: %s is an exception" % (lib, name)))
            mp.is_(app.ends(), [(0, kind)], app.name("%s: %s is told" % (lib, name)))


def same(app):
    """The exceptions are those that the app would have had without the hook."""
    for name, (url, _, more) in ways().items():
        calls = [{"lib": lib, "url": url, **more} for lib in app.libs]
        with_hook = [g.get("error") for g in app.calls("begin ASK\nwants 6\n", *calls)]
        without = [g.get("error") for g in app.calls("", *calls, hooked=False)]
        mp.is_(with_hook, without, app.name(name + ": the same exceptions as without"))


def retried(app):
    """A retry by the library is another exchange, and so is a redirect."""
    service = mp.Service(status=503)
    for lib in ("urllib3", "requests"):
        if lib not in app.libs:
            continue
        app.calls("begin GO\n", {"lib": lib, "url": service.url(), "retry": 2})
        mp.is_(app.ends(), [(503, 0)] * 3, app.name(lib + ": two retries, three exchanges"))
        dead = "http://127.0.0.1:%d/" % mp.dead_port()
        app.calls("begin GO\n", {"lib": lib, "url": dead, "retry": 2})
        mp.is_(app.ends(), [(0, REFUSED)] * 3, app.name(lib + ": failed attempts likewise"))
    service.behave(reply=lambda r: r.path == "/from" and {
        "status": 302, "headers": [("Location", "/to")]})
    for lib in app.libs:
        if lib == "http":
            continue
        app.calls("begin GO\n", {"lib": lib, "url": service.url("/from")})
        mp.is_(app.told("begin"), ["http 127.0.0.1 %d %s" % (service.port, p)
                                   for p in ("/from", "/to")],
               app.name(lib + ": a redirect is another exchange"))
    service.stop()


def answered(app):
    """A chain that decides on responses may answer for a service that failed."""
    decide = "begin GO\nwants %d\nrespond REPLY\n" % WANT_RESPONSE
    for name, (url, kind, more) in ways().items():
        for lib in app.libs:
            got = app.calls(decide + "status 200\nrbody spare\n",
                            {"lib": lib, "url": url, "count": 2, **more})
            mp.is_([[g.get("status"), g.get("body")] for g in got], [[200, "spare"]] * 2,
                   app.name("%s: %s, answered by the chain" % (lib, name)))
            mp.is_(app.ends(), [(0, kind)] * 2, app.name("%s: %s, and told" % (lib, name)))
    url = ways()["refused"][0]
    for lib in app.libs:
        got = app.calls(decide + REFUSAL.split("\n", 1)[1],
                        {"lib": lib, "url": url, "retry": 3})[0]
        got = got.get("reason", got)
        mp.is_([got.get("pipe"), len(app.ends())], ["guard", 1],
               app.name(lib + ": refused after the failure, once"))


def given_up(app):
    """What the app itself gives up is cancelled; an explicit connect() is told if it fails."""
    service = mp.Service()
    out = app.run([HERE + "/given_up.py", service.url()], "begin GO\n")
    mp.is_(out.split(), ["closed", "dropped", "again", "broken"],
           app.name("calls given up: the app goes on"))
    mp.is_(app.ends(), [(0, CANCELLED)] * 2 + [(200, 0)] + [(0, CANCELLED)],
           app.name("calls given up are cancelled"))
    dead = "http://127.0.0.1:%d/" % mp.dead_port()
    app.calls("begin GO\n", {"lib": "http", "url": dead, "connect": True})
    mp.is_(app.ends(), [(0, REFUSED)], app.name("a failed connect() is told"))
    app.calls("begin GO\n", {"lib": "http", "url": service.url(), "connect": True})
    mp.is_(app.ends(), [(200, 0)], app.name("connect() and its call are one exchange"))
    got = app.calls(REFUSAL, {"lib": "http", "url": dead, "connect": True})
    mp.is_([got[0].get("pipe"), len(app.ends())], ["guard", 1],
           app.name("connect() is refused before it connects"))
    pair = certificate()
    if pair:
        secure = mp.Service(tls=pair)
        code = ("import http.client, sys\n"
                "c = http.client.HTTPSConnection('127.0.0.1', int(sys.argv[1]))\n"
                "try: c.connect()\nexcept OSError as e: print(type(e).__name__)\n")
        out = app.run(["-c", code, str(secure.port)], "begin GO\n")
        mp.is_([out, app.ends()], ["SSLCertVerificationError\n", [(0, PROTOCOL)]],
               app.name("a certificate that is not trusted"))
        secure.stop()
    service.stop()

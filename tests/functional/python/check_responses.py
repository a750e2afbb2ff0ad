# SPDX-License-Identifier: Apache-2.0
"""Responses that the chain observes or decides on: edits, replies, bodies."""

import socket
import threading

import mp
from harness import (REFUSAL, WANT_COPY, WANT_RESPONSE, WANT_RESPONSE_BODY, Recorder)

DECIDE = "begin GO\nwants %d\n" % WANT_RESPONSE
DECIDE_BODY = "begin GO\nwants %d\n" % (WANT_RESPONSE | WANT_RESPONSE_BODY)
COPY_BODY = "begin ASK\nwants %d\n" % (WANT_COPY | WANT_RESPONSE_BODY)
KNOWN = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world"
CHUNKS = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
          b"5\r\nhello\r\n7;x=y\r\n, world\r\n0\r\nX-Trailer: 1\r\n\r\n")


def check(app):
    stripped(app)
    edited(app)
    replied(app)
    shown(app)
    streamed(app)
    unbroken(app)


def stripped(app):
    """What a network says under the marker's name is no marker."""
    service = mp.Service(headers=[("mIddlepipe", "breaker;state=open;callback=raise"),
                                  ("Connection", "keep-alive"), ("X-Kept", "1")])
    for lib in app.libs:
        for script in ("begin GO\n", DECIDE, "begin GO\nwants %d\n" % WANT_COPY):
            got = app.calls(script, {"lib": lib, "url": service.url()})[0]
            names = [name.lower() for name, _ in got.get("headers", [])]
            mp.ok("middlepipe" not in names and "x-kept" in names,
                  app.name("%s: a network's marker is stripped" % lib))
        got = app.calls("begin NONE\n", {"lib": lib, "url": service.url()})[0]
        names = [name.lower() for name, _ in got.get("headers", [])]
        mp.ok("middlepipe" in names, app.name(lib + ": but only on filtered calls"))
    service.stop()


def edited(app):
    service = mp.Service(headers=[("X-A", "0"), ("X-A", "00"), ("X-Gone", "1")])
    script = DECIDE + "rset X-A: 1\nradd X-B: 2\nrremove X-Gone\nrstatus 203\nrbody changed!\n"
    for lib in app.libs:
        got = app.calls(script, {"lib": lib, "url": service.url(), "count": 2})
        for answer in got:
            fields = [(k.lower(), v) for k, v in answer.get("headers", [])]
            mp.is_([answer.get("status"), answer.get("body")], [203, "changed!"],
                   app.name(lib + ": status and body edited"))
            mp.is_(sorted(fields), [("content-length", "8"), ("x-a", "1"), ("x-b", "2")],
                   app.name(lib + ": response fields edited"))
        mp.is_(app.ends(), [(200, 0)] * 2, app.name(lib + ": counted as what the service said"))
    service.stop()


def replied(app):
    """A chain may answer, or refuse, once it has seen the response."""
    service = mp.Service(status=500)
    for lib in app.libs:
        script = DECIDE + "respond REPLY\nstatus 200\nrbody a spare\n"
        got = app.calls(script, {"lib": lib, "url": service.url(), "count": 2})
        mp.is_([[a.get("status"), a.get("body")] for a in got], [[200, "a spare"]] * 2,
               app.name(lib + ": a reply in place of the response"))
        service.forget()
        script = DECIDE + "respond REPLY\n" + REFUSAL.split("\n", 1)[1]
        got = app.calls(script, {"lib": lib, "url": service.url(), "retry": 5})[0]
        got = got.get("reason", got)
        mp.is_([got.get("pipe"), app.ends(), service.count], ["guard", [(500, 0)], 1],
               app.name(lib + ": a refusal in place of the response, once"))
    service.stop()


def shown(app):
    """Bodies of responses, of known length and chunked, and what the app then reads."""
    known, chunked = Recorder(KNOWN), Recorder(CHUNKS)
    unknown = mp.Service(raw=b"HTTP/1.0 200 OK\r\n\r\nhello, world")
    empty = Recorder(b"HTTP/1.1 204 No Content\r\n\r\n")
    cases = (
        ("of known length", known, 64, "hello, world complete=1", None),
        ("past the limit", known, 5, " complete=0", "hello complete=0"),
        ("chunked", chunked, 64, "hello, world complete=1", None),
        ("chunked past the limit", chunked, 5, "hello complete=0", None),
        ("of unknown length", unknown, 64, "hello, world complete=1", None),
        ("empty", empty, 64, " complete=1", None),
    )
    for lib in app.libs:
        for name, service, limit, decided, copied in cases:
            want = "" if service is empty else "hello, world"
            for kind, script, shows in (("decided", DECIDE_BODY, decided),
                                        ("copied", COPY_BODY, copied or decided)):
                got = app.calls(script + "body_limit %d\n" % limit,
                                {"lib": lib, "url": service.url(), "stream": 3, "count": 2})
                mp.is_([a.get("body") for a in got], [want] * 2,
                       app.name("%s: the app reads one %s (%s)" % (lib, name, kind)))
                seen = (app.told("response") or [""])[-1]
                mp.ok(seen.endswith("body=" + shows),
                      app.name("%s: the chain sees one %s (%s)" % (lib, name, kind))
                      ) or mp.note(seen)
                mp.is_(app.ends(), [(204 if service is empty else 200, 0)] * 2,
                       app.name("%s: counted (%s)" % (lib, kind)))
    unknown.stop()


def streamed(app):
    """A response that never ends is handed over at once; its beginning is shown."""
    server = socket.create_server(("127.0.0.1", 0))
    served = []

    def serve():
        while True:
            try:
                conn, _ = server.accept()
            except OSError:
                return
            served.append(conn)
            conn.recv(65536)
            conn.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntick\r\n")

    threading.Thread(target=serve, daemon=True).start()
    url = "http://127.0.0.1:%d/" % server.getsockname()[1]
    code = ("import urllib.request, sys\n"
            "r = urllib.request.urlopen(sys.argv[1], timeout=20)\n"
            "print(r.status, r.read(4).decode(), flush=True)\n")
    for script in (DECIDE_BODY, COPY_BODY):
        out = app.run(["-c", code, url], script)
        mp.is_(out, "200 tick\n", app.name("an endless response is not waited for"))
        mp.is_(len(app.ends()), 1, app.name("an endless response is counted"))
    for conn in served:
        conn.close()
    server.shutdown(socket.SHUT_RDWR)  # or the thread stays in accept(), of what gets the number next
    server.close()


def unbroken(app):
    """Large and compressed bodies survive being watched; connections are used again."""
    text = b"0123456789" * 300000
    service = mp.Service(body=text)
    for lib in app.libs:
        for script in (DECIDE_BODY, COPY_BODY):
            service.forget()
            got = app.calls(script + "body_limit 65536\n",
                            {"lib": lib, "url": service.url(), "stream": 10007, "count": 3})
            mp.ok(all(a.get("body") == text.decode() for a in got),
                  app.name(lib + ": 3 MB pass unharmed"))
            mp.is_(service.connections, 3 if lib == "urllib" else 1,
                   app.name(lib + ": on as many connections as without"))
    service.stop()

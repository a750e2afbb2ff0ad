#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The aggregator's HTTP front against clients that make mistakes, and those that mean harm."""

import json
import os
import resource
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
from front import HOST, PROGRAM, Client, Front, once

mp.need(PROGRAM)
BODY_MAX = 4 << 20


def part_answers():
    front = Front()
    with front.connect() as client:
        a = client.get("/fast")
        mp.is_([a.status, a.body, a.fields["content-type"]], [200, b"hello\n", "text/plain"], "GET")
        a = client.request("HEAD", "/fast")
        mp.is_([a.status, a.body, a.fields["content-length"]], [200, b"", "6"], "HEAD has no body")
        a = client.request("POST", "/echo/chains%2Fshop?q=a+b%26c", b"x" * 100000)
        mp.is_([a.status, len(a.body), a.fields["x-name"], a.fields["x-query"]],
               [200, 100000, "chains/shop", "a b&c"], "a segment is decoded after the path is cut")
        a = client.request("POST", "/echo/%0d%0aX-Evil:%201")
        mp.is_([a.status, a.fields.get("x-name"), a.fields.get("x-evil")], [200, None, None],
               "no answer is split by what a client chose")
        a = client.request("DELETE", "/fast")
        mp.is_([a.status, a.fields["allow"], a.code()], [405, "GET, HEAD, POST", "method"],
               "405 says what is allowed")
        mp.is_(client.request("BREW", "/fast").status, 405, "an unknown method")
        mp.is_([client.get(path).status for path in ("/none", "/fast/", "//fast", "/echo/", "/FAST")],
               [404] * 5, "what is not there")
        mp.is_([client.get("/fast").status for _ in range(3)], [200] * 3,
               "and all that on one connection")
        a = client.request("POST", "/echo/a", b"y" * BODY_MAX)
        mp.is_([a.status, len(a.body)], [200, BODY_MAX], "the largest body")
        a = client.request("POST", "/echo/a", b"y" * (BODY_MAX + 1))
        mp.is_([a.status, a.code()], [413, "too_large"], "one byte more is refused")
        a = client.request("DELETE", "/row/a", b"body")
        mp.is_(a.status, 413, "a body where there should be none")
        a = client.request("DELETE", "/row/%C3%A9%22%0a")
        mp.is_([a.status, a.body.decode()], [200, "\u00e9\"\n"], "a name in UTF-8")
        mp.is_(client.get("/late?ms=50").body, b"late\n", "an answer that comes later")
    for path in ("/fast?a=%", "/fast?a=1&a=2", "/fast%00", "/%zz", "*", "/a#b", "/\x7f"):
        a = once(front, "GET", path)
        mp.is_([a.status, a.closed, a.code()], [400, True, "bad_request"], "refused: %r" % path)
    return front


def part_pipelining(front):
    with front.connect() as client:
        client.send(b"".join(b"POST /echo/%d HTTP/1.1\r\n%sContent-Length: 3\r\n\r\nab%d" %
                             (i % 10, HOST, i % 10) for i in range(50)))
        got = [client.answer() for _ in range(50)]
        mp.is_([(a.fields["x-name"], a.body) for a in got],
               [(str(i % 10), b"ab%d" % (i % 10)) for i in range(50)], "50 requests at once, in order")
    with front.connect() as client:
        for byte in b"POST /echo/slow HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nX-Long: " + \
                b"v" * 200 + b"\r\n\r\nhello":
            client.send(bytes([byte]))
        a = client.answer()
        mp.is_([a.status, a.body], [200, b"hello"], "a request that comes byte by byte")
    with front.connect() as client:
        client.send(b"GET /fast HTTP/1.0\r\n" + HOST + b"\r\n")
        a = client.answer()
        mp.ok(a.status == 200 and client.ended(), "HTTP/1.0 is answered and closed")


# What is to be answered with one 400 and the end of the connection, and nothing behind it.
SECOND = b"GET /fast HTTP/1.1\r\n" + HOST + b"\r\n"
SMUGGLED = {
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SECOND),
    "two equal lengths": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": b"Transfer-Encoding: gzip\r\n\r\n",
    "a coding with a tab": b"Transfer-Encoding: \tchunke\x01d\r\n\r\n",
    "an xchunked": b"Transfer-Encoding: xchunked\r\n\r\n",
    "two hosts": b"Host: other\r\n\r\n",
    "two hosts, otherwise written": b"hOsT: test\r\n\r\n",
    "a blank before a colon": b"Content-Length : 0\r\n\r\n",
    "a tab before a colon": b"Content-Length\t: 0\r\n\r\n",
    "a signed length": b"Content-Length: +0\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 0\r\n\r\n",
    "a hex length": b"Content-Length: 0x0\r\n\r\n",
    "an empty length": b"Content-Length:\r\n\r\n",
    "a bare LF between fields": b"X: a\nY: b\r\n\r\n",
    "a bare LF behind the last field": b"X: a\n\r\n",
    "a bare LF at the end": b"X: a\r\n\n",
    "a bare CR in a value": b"X: a\rContent-Length: 5\r\n\r\n",
    "a NUL in a value": b"X: a\0b\r\nY: c\r\n\r\n",
    "a NUL in the last value": b"X: a\0b\r\n\r\n",
    "a NUL in a name": b"X\0: a\r\n\r\n",
    "a folded line": b"X: a\r\n b: c\r\nY: d\r\n\r\n",
    "a folded length": b"Content-Length:\r\n 5\r\n\r\n",
    "a control byte in a value": b"X: a\x01b\r\n\r\n",
    "a name with a bracket": b"X(: a\r\n\r\n",
    "an empty name": b": a\r\n\r\n",
}
LINES = {
    "no host": b"GET /fast HTTP/1.1\r\n\r\n",
    "no host in HTTP/1.0": b"GET /fast HTTP/1.0\r\n\r\n",
    "an empty host": b"GET /fast HTTP/1.1\r\nHost:\r\n\r\n",
    "a host with a path": b"GET /fast HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "two blanks": b"GET  /fast HTTP/1.1\r\n" + HOST + b"\r\n",
    "a blank in the target": b"GET /fa st HTTP/1.1\r\n" + HOST + b"\r\n",
    "a NUL in the target": b"GET /fast\0 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a bare LF behind the first line": b"GET /fast HTTP/1.1\n" + HOST + b"\r\n",
    "an absolute target": b"GET http://test/fast HTTP/1.1\r\n" + HOST + b"\r\n",
    "a version that is none": b"GET /fast HTTP/1.10\r\n" + HOST + b"\r\n",
    "chunked in HTTP/1.0": b"POST /fast HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
}


def refused(front, name, data):
    with front.connect() as client:
        client.send(data)
        while client.more():
            pass
        # libmicrohttpd writes the head of its own refusals twice, and the body once.
        # To a blank in the target it says nothing at all.
        good = not client.have or (client.have.startswith(b"HTTP/1.1 400 ") and
                                   b"HTTP/1.1 2" not in client.have)
        if not mp.ok(good, "refused: " + name):
            mp.note(repr(client.have[:200]))


def part_smuggling(front):
    for name, fields in SMUGGLED.items():
        for method in (b"POST", b"GET"):
            refused(front, "%s (%s)" % (name, method.decode()),
                    method + b" /fast HTTP/1.1\r\n" + HOST + fields + SECOND)
    for name, head in LINES.items():
        refused(front, name, head + SECOND)
    with front.connect() as client:
        client.send(b"GET /fast HTTP/2.0\r\n" + HOST + b"\r\n" + SECOND)
        a = client.answer()
        mp.ok(a.status in (400, 505) and client.ended(), "refused: HTTP/2.0")
    with front.connect() as client:
        client.send(b"POST /echo/c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
                    b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n" + SECOND)
        a = client.answer()
        mp.ok(a.status == 200 and a.body == b"abcde" and a.closed and client.ended(),
              "a chunked body is taken, and nothing behind it")
    with front.connect() as client:
        client.send(b"GET /fast HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(SECOND) +
                    SECOND + SECOND)
        got = [client.answer(), client.answer()]
        mp.is_([a and a.status for a in got], [413, 200], "the body of a GET is no request")


def part_sizes(front):
    with front.connect() as client:
        client.send(b"GET /fast HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 65536)
        a = client.answer()
        mp.ok(a and a.status == 431 and client.ended(), "a field of 64 KiB")
    with front.connect() as client:
        client.send(b"GET /" + b"x" * 65536)
        a = client.answer()
        mp.ok(a and a.status == 414 and client.ended(), "a target of 64 KiB")
    with front.connect() as client:
        client.send(b"GET /fast HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 70 + b"\r\n")
        a = client.answer()
        mp.ok(a and a.status == 431 and client.ended(), "70 fields")
    # As far as they are told by us, and not by libmicrohttpd, it is JSON.
    for status, head in ((431, b"GET /fast HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 8200), (431, b"GET /fast HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 20000),
                         (414, b"GET /" + b"x" * 8200 + b" HTTP/1.1\r\n" + HOST[:-2]), (414, b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n" + HOST[:-2]),
                         (431, b"GET /fast HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 199 + b"X: y")):
        with front.connect() as client:
            client.send(head + b"\r\n\r\n")
            a = client.answer()
            mp.ok(a and a.status == status and json.loads(a.body)["code"] == "too_large" and client.ended(),
                  "%d bytes of head: %d, as JSON" % (len(head), status))
    with front.connect() as client:
        client.send(b"GET /fast HTTP/1.1\r\n" + HOST + b"X: " + b"x" * 8000 + b"\r\n\r\n")
        mp.is_(client.answer().status, 200, "8 kB of fields are taken")
    with front.connect() as client:
        client.send(b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n"
                    b"Content-Length: 5\r\n\r\n")
        mp.is_(client.head()[0], 100, "100 is said")
        client.send(b"hello")
        mp.is_(client.answer().body, b"hello", "and the body taken")
    for length in (BODY_MAX + 1, 1 << 40):
        with front.connect() as client:
            client.send(b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\n"
                        b"Content-Length: %d\r\n\r\n" % length)
            got = client.head()
            mp.ok(got[0] == 413 and got[1]["connection"] == "close", "or 413 instead")
    with front.connect() as client:
        client.send(b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000000000\r\n\r\n")
        mp.is_(client.answer().status, 413, "a terabyte is refused at once")
    with front.connect() as client:
        client.send(b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(BODY_MAX // 65536 + 1):
                client.send(b"10000\r\n" + b"z" * 65536 + b"\r\n")
            client.send(b"0\r\n\r\n")
        except OSError:
            pass
        a = client.answer()
        mp.ok(a and a.status == 413, "chunks without end are refused at the limit")


def drip(client, first, piece, pause=0.05, most=15):
    """Seconds until the server hangs up on one who sends so slowly."""
    start = time.monotonic()
    client.sock.settimeout(pause)
    try:
        client.send(first)
        while time.monotonic() - start < most:
            client.send(piece)
            try:
                if not client.sock.recv(4096):
                    break
            except socket.timeout:
                pass
    except OSError:
        pass
    return time.monotonic() - start


def part_deadlines():
    front = Front("--head", "600ms", "--idle", "1200ms", "--body", "600ms", "--rate", "100K")
    slow = 8  # seconds: a loaded machine
    with front.connect() as client:
        took = drip(client, b"GET /fast HTTP/1.1\r\n" + HOST + b"X: ", b"x")
        mp.ok(0.5 < took < slow, "a head that drips is cut after %.1f s" % took)
    with front.connect() as client:
        took = drip(client, b"GE", b"T")
        mp.ok(0.5 < took < slow, "so is a first line, after %.1f s" % took)
    with front.connect() as client:
        took = drip(client, b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: 1000\r\n\r\n", b"x")
        mp.ok(0.5 < took < slow, "a body, after %.1f s" % took)
    with front.connect() as client:
        start = time.monotonic()
        mp.ok(client.ended() and time.monotonic() - start < slow, "one that says nothing")
    with front.connect() as client:
        start = time.monotonic()  # its time begins behind this
        client.get("/fast")
        mp.ok(client.ended() and 1 < time.monotonic() - start < slow, "one that is idle")
    with front.connect() as client:
        client.get("/fast")
        took = drip(client, b"G", b"E")
        mp.ok(took < slow, "one that drips after a request, after %.1f s" % took)
    fast = Front("--body", "600ms", "--rate", "10M")
    with fast.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.send(b"GET /big?bytes=8000000 HTTP/1.1\r\n" + HOST + b"\r\n")
        mp.wait_for(lambda: fast.stats()["cut_answer"] == 1, "the end of a slow reader")
        mp.wait_for(lambda: fast.stats()["held"] == 0, "its memory")
        mp.ok(True, "an answer that nobody reads is given up")
    fast.stop()
    with front.connect() as client:
        body = b"x" * 300000
        client.send(b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 10000):
            client.send(body[at:at + 10000])
            time.sleep(0.04)  # 250 kB a second: longer than the deadline, faster than the rate
        mp.is_(len(client.answer().body), len(body), "a long body that comes fast enough is taken")
    with front.connect() as client:
        mp.is_(client.get("/late?ms=2500").body, b"late\n", "handlers may take longer than that")
    stats = front.stats()
    mp.ok(stats["cut_head"] >= 3 and stats["cut_body"] == 1 and stats["cut_idle"] >= 1,
          "all of that is counted: %r" % stats)
    mp.is_(front.stop(), 0, "and it ends well")


def part_limits():
    front = Front("--per-address", "5", "--connections", "8")
    clients = [front.connect() for _ in range(5)]
    mp.is_([c.get("/fast").status for c in clients], [200] * 5, "five of one address")
    extra = [front.connect() for _ in range(3)]
    mp.ok(all(c.ended() for c in extra), "a sixth is closed")
    clients.pop().close()

    def free():
        with front.connect() as client:
            client.send(SECOND)
            return client.answer()
    mp.ok(mp.wait_for(free, "a free place"), "one goes, another comes")
    front.stop()
    front = Front("--connections", "8", "--per-address", "0")
    clients = [front.connect() for _ in range(8)]
    mp.is_([c.get("/fast").status for c in clients], [200] * 8, "eight in all")
    with front.connect() as client:
        mp.ok(client.ended(), "a ninth is closed")
    stats = [c.get("/stats") for c in clients][0].body
    mp.like(stats.decode(), '"connections":8.*"over_total":1', "and counted")


def part_idle():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(10000, hard - 300)
    mp.note("%d idle connections: %d files may be open%s" % (n, hard, "" if n == 10000 else ", so it is less than 10,000"))
    front = Front("--connections", "12000", "--head", "10m")  # all are there at once, however long that takes
    before = front.rss()
    clients, refused_ones = [], 0
    for i in range(n):
        try:
            sock = socket.create_connection(("127.0.0.1", front.port), timeout=mp.DEADLINE)
        except OSError:
            refused_ones += 1
            continue
        if i % 2:
            sock.sendall(b"GET /fast HTTP/1.1\r\nHost: t\r\nX: ")  # half of them in a head
        clients.append(sock)
    mp.is_(refused_ones, 0, "%d connections that say nothing, or half of it" % n)
    mp.wait_for(lambda: front.stats()["connections"] > n, "all of them")
    mp.is_(once(front, "GET", "/fast").status, 200, "others are served")
    start = time.monotonic()
    for _ in range(100):
        once(front, "GET", "/fast")
    took = (time.monotonic() - start) * 10
    each = (front.rss() - before) * 1024 / n
    mp.ok(each < 40, "they cost %.1f KiB each; a request takes %.1f ms meanwhile" % (each, took))
    for sock in clients:
        sock.close()
    mp.wait_for(lambda: front.stats()["connections"] < 10, "their end")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    mp.is_(front.stop(), 0, "and it ends well")


def part_bodies():
    front = Front("--body-total", "8M")
    clients = []
    for _ in range(6):
        client = front.connect()
        client.send(b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: 4000000\r\n\r\n" +
                    b"x" * 3000000)
        clients.append(client)
    mp.wait_for(lambda: front.stats()["held"] > 5000000, "bodies")
    mp.ok(front.stats()["held"] <= 8 << 20, "bodies that are received have a bound in all")
    for client in clients:
        client.send(b"x" * 1000000)
    got = [client.answer().status for client in clients]
    mp.ok(set(got) == {200, 503} or set(got) == {503}, "who is above it is told so: %r" % got)
    for client in clients:
        client.close()
    mp.wait_for(lambda: front.stats()["held"] == 0, "nothing held")
    mp.ok(front.rss() < 60, "memory was given back")
    late = [front.connect() for _ in range(40)]
    for client in late:
        client.send(b"GET /big?bytes=4000000 HTTP/1.1\r\n" + HOST + b"\r\n")
    mp.wait_for(lambda: front.stats()["requests"] > 40, "40 requests")
    heads = [client.head() for client in late]
    mp.ok(heads.count(None) == 0 and any(h[0] == 503 for h in heads) and front.rss() < 100,
          "answers that nobody reads have a bound, too: %.0f MiB" % front.rss())
    mp.is_(front.stop(), 0, "and it ends well")


def part_gone():
    front = Front()
    clients = [front.connect() for _ in range(20)]
    for number, client in enumerate(clients):
        client.send(b"GET /late HTTP/1.1\r\n" + HOST + b"X-Mark: this is %d\r\n\r\n" % number)
    mp.wait_for(lambda: front.stats()["requests"] >= 20, "20 requests")
    for client in clients[:10]:
        client.close()
    mp.wait_for(lambda: front.stats()["gone"] == 10, "ten that are known to have gone")
    mp.is_(front.stats()["gone"], 10, "a handler learns that its client has gone")
    for _ in range(40):
        front.connect().get("/late?ms=1&pad=" + "x" * 3000)
    mp.wait_for(lambda: front.stats()["kept"] + front.stats()["changed"] == 10, "ten answers for nobody")
    mp.is_(front.stats()["changed"], 0, "what it borrowed from the request stays until its answer")
    code = front.stop()
    mp.is_([code, "stopped gone=20" in front.out], [0, True],
           "at the end the others' handlers learn it, and answer for nobody")
    mp.ok(all(client.ended() for client in clients[10:]), "their connections are closed")


def part_streams():
    front = Front("--stream-total", "64M")
    with front.connect() as client:
        a = client.get("/ticks?n=5&ms=5")
        mp.is_(a.body, b"tick 5\ntick 4\ntick 3\ntick 2\ntick 1\nbye\n", "a stream and its end")
        mp.is_(client.get("/fast").status, 200, "the connection serves on")
        client.send(b"GET /flood HTTP/1.1\r\n" + HOST + b"\r\n")
        client.head()
        size, last = 0, b""
        for piece in client.chunks():
            size, last = size + len(piece), piece
        mp.is_([size, last[-3:]], [(64 << 20) + 3, b"end"], "64 MiB through a bounded buffer")
        mp.is_(client.request("HEAD", "/ticks?n=5").status, 200, "HEAD of a stream")
        mp.is_(client.get("/fast").status, 200, "and on")
    with front.connect() as client:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(b"GET /blast HTTP/1.1\r\n" + HOST + b"\r\n")
        client.head()  # it has begun
        mp.wait_for(lambda: front.stats()["streams"] == 0, "the end of one who does not read")
        last = b""
        for piece in client.chunks():
            last = (last + piece)[-20:]
        mp.ok(last.endswith(b"too slow\n"), "who reads too slowly gets the reason, and the end")
    clients = [front.connect() for _ in range(200)]
    for client in clients:
        client.send(b"GET /ticks?ms=20 HTTP/1.1\r\n" + HOST + b"\r\n")
        client.head()
    firsts = [next(client.chunks()) for client in clients]
    mp.ok(all(f.startswith(b"tick ") for f in firsts), "200 streams at once")
    gone = front.stats()["gone"]
    for client in clients[:100]:
        client.close()
    mp.wait_for(lambda: front.stats()["gone"] >= gone + 100, "100 that have gone")
    mp.is_(front.stats()["streams"], 100, "the others go on")
    slow = [front.connect() for _ in range(100)]
    for client in slow:
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(b"GET /blast HTTP/1.1\r\n" + HOST + b"\r\n")
        client.head()
    mp.wait_for(lambda: front.stats()["streams"] == 100, "the end of 100 that do not read")
    mp.ok(front.rss() < 180, "all streams together have a bound: %.0f MiB" % front.rss())
    for client in slow:
        client.close()
    mp.is_(front.stop(), 0, "streams that nobody ends are ended by a stop")
    mp.wait_for(lambda: all(not c.more() for c in clients[100:]), "their end")


def part_early_close():
    front = Front("--head", "1s", "--body", "1s")
    n = 300
    for i in range(n):
        with front.connect() as client:
            client.send([b"", b"GET /fa", SECOND, b"GET /late?ms=1 HTTP/1.1\r\n" + HOST + b"\r\n",
                         b"POST /echo/a HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\nabc",
                         b"GET /ticks?ms=1 HTTP/1.1\r\n" + HOST + b"\r\n"][i % 6])
    mp.wait_for(lambda: front.stats()["connections"] == 1 and front.stats()["streams"] == 0,
                "all connections to be closed")
    mp.is_(front.stats()["held"], 0, "%d connections that close early leave nothing behind" % n)


def part_stop():
    front = Front("--grace", "5s")
    counts = {"good": 0, "broken": 0}
    lock = threading.Lock()

    def work():
        while True:
            try:
                client = front.connect()
            except OSError:
                return
            with client:
                try:
                    while True:
                        client.send(b"GET /late?ms=2 HTTP/1.1\r\n" + HOST + b"\r\n")
                        a = client.answer()
                        if not a:
                            with lock:
                                counts["broken"] += bool(client.have)
                            break
                        with lock:
                            counts["good" if a.body == b"late\n" else "broken"] += 1
                except OSError:
                    pass
    silent = [front.connect() for _ in range(5)]
    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    mp.wait_for(lambda: counts["good"] > 200, "load")
    start = time.monotonic()
    code = front.stop()
    took = time.monotonic() - start
    for thread in threads:
        thread.join()
    mp.ok(code == 0 and took < 4, "under load it stops in %.1f s" % took)
    mp.ok(all(client.ended() for client in silent), "connections without a request do not keep it")
    mp.is_([counts["broken"], "gone=0" in front.out], [0, True],
           "of %d requests none is answered by half, or given up" % counts["good"])


def switches(front):
    """How often the threads that take in and send went to sleep."""
    folder, n = "/proc/%d/task" % front.pid, 0
    for task in os.listdir(folder):
        with open("%s/%s/status" % (folder, task), encoding="ascii") as status:
            fields = dict(line.split(":", 1) for line in status)
        n += 0 if int(task) == front.pid else int(fields["voluntary_ctxt_switches"])
    return n


def woken(front, work):
    """How often they did while that was done."""
    before = switches(front)
    work()
    return switches(front) - before


def part_calm():
    front = Front()
    clients = [front.connect() for _ in range(16)]

    def lone():
        for _ in range(20):
            if clients[0].get("/fast").body != b"hello\n":
                raise AssertionError("no answer")

    def many():
        for client in clients:
            client.send(b"GET /late?ms=50 HTTP/1.1\r\n" + HOST + b"\r\n")
        return [client.answer().body for client in clients]

    for turn in ("at first", "again"):
        mp.wait_for(lambda: woken(front, lone) == 0, "the loop to do it all by itself")
        mp.ok(True, "%s one request after the other wakes no other thread" % turn)
        answers = []
        mp.ok(woken(front, lambda: answers.extend(many())) > 0, "many at once do")
        mp.is_(answers, [b"late\n"] * 16, "and all are answered")
    mp.wait_for(lambda: woken(front, lone) == 0, "calm")
    mp.is_([front.stop(), [client.ended() for client in clients]], [0, [True] * 16], "it stops out of that")


def part_unix():
    path = os.path.join(mp.workdir(), "http.sock")
    front = Front("--address", path)
    with Client(0, path=path) as client:
        mp.is_(client.get("/who").body.split(b"\n")[0], b"local", "a Unix socket")
    mp.is_(os.stat(path).st_mode & 0o777, 0o600, "its owner's alone")
    front.kill()
    front = Front("--address", path)
    with Client(0, path=path) as client:
        mp.is_(client.get("/fast").status, 200, "what a killed one left is replaced")
    front.stop()
    mp.ok(not os.path.exists(path), "and removed at the end")


only = sys.argv[1:]
shared = None
for part in (part_answers, part_pipelining, part_smuggling, part_sizes, part_early_close,
             part_deadlines, part_limits, part_idle, part_bodies, part_gone, part_streams, part_stop,
             part_calm, part_unix):
    if only and part is not part_answers and part.__name__[5:] not in only:
        continue
    took = time.monotonic()
    if part.__code__.co_argcount:
        part(shared)
    else:
        shared = part() or shared
    mp.note("%s: %.1f s" % (part.__name__[5:], time.monotonic() - took))
mp.is_(shared.stop(), 0, "the server of the first parts ends well")
mp.done()

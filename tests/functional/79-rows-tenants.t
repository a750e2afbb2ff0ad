#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Members that meet another process, group or tenant where they expect a member.

Part 1: requests by hand, with names that are right, wrong, twice there and not there at all (an
older program).  Part 2: the address of a member of tenant `red` leads to one of tenant `blue`
under load: nothing is put there, and everything that was acknowledged is in `red`, once.
Part 3: members with the wrong tenant want to join a group with an etcd of its own, or to go on in it.
"""

import hashlib
import http.server
import json
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import etcd
import mp
from aggregator import metric
from managed import Managed

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)

PUTTERS = 6
BACK_DEADLINE = 6 * mp.DEADLINE  # a shard that has moved some times stays for a minute
LARGE = 100000  # bytes of a cell that goes by itself, and not in a parcel


class Road:
    """An address that leads to a member, and may come to lead to another one."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        self.to, self.open, self.lock = None, set(), threading.Lock()
        self.posts = {}  # by where they went
        threading.Thread(target=self._accept, daemon=True).start()

    def lead(self, address):
        """From now on there; what is under way is cut."""
        with self.lock:
            self.to, cut, self.open = address, self.open, set()
        for each in cut:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # it has gone

    def _accept(self):
        while True:
            here, _ = self.listener.accept()
            with self.lock:
                to = self.to
            host, port = to.rsplit(":", 1)
            try:
                there = socket.create_connection((host, int(port)), timeout=mp.DEADLINE)
            except OSError:
                here.close()
                continue
            with self.lock:
                stays = self.to == to
                self.open |= {here, there} if stays else set()
            if not stays:  # it leads elsewhere by now, and nobody would cut this one
                here.close()
                there.close()
                continue
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._carry, args=(one, other, to), daemon=True).start()

    def _carry(self, one, other, to):
        try:
            while True:
                data = one.recv(65536)
                if not data:
                    break
                with self.lock:
                    self.posts[to] = self.posts.get(to, 0) + (data.count(b"POST /v1/parcels") + data.count(b"POST /v1/rows/"))
                other.sendall(data)
        except OSError:
            pass  # cut
        for each in (one, other):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # likewise


class Stranger:
    """A server of something else, which likes whatever it is told."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", "5")
                self.end_headers()
                self.wfile.write(b"hello")

            def do_GET(self):
                self.answer(200)

            def do_POST(self):
                self.answer(201)

            def log_message(self, *_):
                pass  # what came is counted by the road

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = "127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def committed(one):
    return metric(one, 'puts_total{outcome="committed"}')


def names_of(one):
    """The fields by which a member would name that one."""
    told = one.get("/v1/members")[1]
    nonce = [each["nonce"] for each in told["members"] if each["here"]][0]
    return {"Middlepipe-Group": told["group"], "Middlepipe-Tenant": "a%20red%2Fone", "Middlepipe-Process": nonce}


def parcel(row, content):
    key = b"key of " + row
    return struct.pack("<IBBHHBBIQQQ", 36 + len(row) + len(key) + len(content), 1, len(key), len(row), 0, 0, 0, 700,
                       0, 0, 0) + row + key + content


WRONG = {"Middlepipe-Group": "0" * 32, "Middlepipe-Tenant": "blue", "Middlepipe-Process": "00000000000000ff"}


def test_names(one, own_row):
    """own_row: a row that it owns itself."""
    right, cells = names_of(one), "/v1/rows/%s/cells" % own_row
    forwarded = {"Middlepipe-Forwarded": "10.0.0.9"}
    calls = [("POST", "/v1/parcels", parcel(own_row.encode(), b"x"), {}), ("POST", cells, "x", forwarded),
             ("POST", "/v1/rows/%s/check" % own_row, "x", forwarded), ("PUT", "/v1/rows/" + own_row, "{}", forwarded),
             ("POST", "/v1/rows/%s/compact" % own_row, '{"floor":1}', forwarded), ("DELETE", "/v1/rows/" + own_row, None, forwarded),
             ("GET", "/healthz", None, {})]
    before, cells_before, seen, codes = metric(one, "misdirected_total"), metric(one, "cells_committed_total"), [], set()
    for method, path, body, fields in calls:
        for name, value in WRONG.items():
            status, _, text = one.call(method, path, body, {**fields, **right, name: value})
            seen.append(status)
            codes.add(json.loads(text)["code"])
            mp.ok(name in json.loads(text)["error"], "%s %s: not this one's: %s" % (method, path, text.decode()))
    mp.is_((seen, codes), ([421] * 21, {"misdirected"}), "whatever is for somebody else is refused")
    mp.is_(metric(one, "misdirected_total") - before, 21, "and counted")
    mp.is_(one.get("/v1/rows/" + own_row)[0:1] + (metric(one, "cells_committed_total") - cells_before,), (404, 0), "and nothing was done")
    connection = socket.create_connection(one.address.rsplit(":", 1), timeout=mp.DEADLINE)
    connection.sendall(("GET /healthz HTTP/1.1\r\nHost: x\r\n" + "Middlepipe-Process: %s\r\n" % right["Middlepipe-Process"] * 2 +
                        "Connection: close\r\n\r\n").encode())
    mp.like(connection.makefile().read(), "^HTTP/1.1 421 ", "nor is one that names it twice")
    status, told, body = one.call("GET", "/healthz", None, right)
    mp.is_((status, told["Middlepipe-Process"], body), (200, right["Middlepipe-Process"], b"alive\n"), "a ping is answered by who is meant")
    status, told, body = one.call("GET", "/healthz")
    mp.is_((status, told["Middlepipe-Process"], body), (200, None, b"alive\n"), "that of an older program as ever")
    status, _, body = one.call("POST", "/v1/parcels", parcel(own_row.encode(), b"1"), right)
    mp.is_((status, struct.unpack_from("<H", body, 8)[0]), (200, 201), "a parcel for it is taken")
    status, _, body = one.call("POST", "/v1/parcels", parcel(own_row.encode() + b"2", b"1"))
    mp.is_((status, struct.unpack_from("<H", body, 8)[0]), (200, 201), "so is an older program's")
    mp.is_(one.call("POST", cells, "2", {**forwarded, **right})[0], 201, "a put that was handed on is taken")
    mp.is_(one.call("POST", cells, "3", forwarded)[0], 201, "so is an older program's")
    mp.is_(one.get("/v1/rows/" + own_row)[1]["highest"], 3, "each once")


def test_no_token(group):
    """Who is not meant says so, before it asks who somebody is."""
    path = os.path.join(mp.workdir(), "tokens")
    with open(path, "w") as out:
        json.dump([{"token_sha256": hashlib.sha256(b"secret").hexdigest(), "name": "root",
                    "rights": [{"prefix": "", "read": True, "put": True, "admin": True}]}], out)
    os.chmod(path, 0o600)
    one = aggregator.Aggregator("green", "--group", ",".join(group.urls), "--tenant", "green", "--tokens", path).wait_ready()
    fields = {"Middlepipe-Forwarded": "10.0.0.9", "Middlepipe-Tenant": "blue"}
    mp.is_([one.call("POST", "/v1/rows/a/cells", "x", more)[0] for more in (fields, {})], [421, 401],
           "a token that another tenant does not know is no matter")
    mp.is_(one.stop(), 0, "it stops")


class Load:
    """Clients that put new rows at one member: each again, with its key, until it is done."""

    def __init__(self, member, prefix):
        self.member, self.prefix, self.over, self.done, self.odd = member, prefix, False, {}, []
        self.threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(PUTTERS)]
        for thread in self.threads:
            thread.start()

    def _run(self, number):
        turn = 0
        while not self.over:
            turn += 1
            row, content = "%s %d-%d" % (self.prefix, number, turn), "%d-%d" % (number, turn) + "x" * (LARGE if number == 0 else 0)
            fields = {"Idempotency-Key": row, "Middlepipe-Base": "-:0"}
            limit = time.monotonic() + 5 * mp.DEADLINE
            while time.monotonic() < limit:
                status, told, _ = self.member.call("POST", "/v1/rows/%s/cells" % row.replace(" ", "%20"), content, fields, timeout=3 * mp.DEADLINE)
                if status not in (503, 504):
                    break
                fields["Middlepipe-Base"] = told["Middlepipe-Base"]
            if status in (200, 201):
                self.done[row] = status
            else:
                self.odd.append((row, status))

    def wait_more(self, number):
        start = len(self.done)
        mp.wait_for(lambda: len(self.done) >= start + number, "%d more puts" % number)

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join()


def all_rows(one):
    """{name: highest}"""
    rows, after = {}, ""
    while True:
        answer = one.get("/v1/rows?limit=1000" + after)[1]
        rows.update((row["row"], row["highest"]) for row in answer["rows"])
        if not answer["more"]:
            return rows
        after = "&after=" + answer["rows"][-1]["row"].replace(" ", "%20")


def suspects(one, name):
    return [each["suspected"] for each in one.get("/v1/members")[1]["members"] if each["member"] == name][0]


def owned(one):
    return one.get("/v1/status")[1]["shards"]["owned"]


def test_taken_over(one, two, road, other, what):
    """Puts at `one` of rows that `two` owns, whose address becomes that of another."""
    mp.wait_for(lambda: owned(two), "both own shards", BACK_DEADLINE)
    load, turns, before = Load(one, what), 0, dict(road.posts)
    try:
        load.wait_more(50)
        for turns in range(1, 20):
            road.lead(other.address)
            mp.wait_for(lambda: suspects(one, "red2"), "its absence is noticed")
            load.wait_more(50)
            if road.posts.get(other.address):
                break
            road.lead(two.address)
            mp.wait_for(lambda: owned(two), "it is back", BACK_DEADLINE)
        mp.ok(road.posts.get(other.address), "%s puts came to %s, in %d turns" % (road.posts.get(other.address), what, turns))
        mp.ok(road.posts.get(two.address, 0) > before.get(two.address, 0), "and some to the right one")
        mp.wait_for(lambda: owned(one) == 64, "its shards are taken over")
        road.lead(two.address)
        mp.wait_for(lambda: not suspects(one, "red2"), "it is back")
        load.wait_more(50)
    finally:
        load.end()
    mp.is_(load.odd, [], "%d puts were acknowledged, and none refused" % len(load.done))
    rows = {row: highest for row, highest in all_rows(one).items() if row.startswith(what)}
    mp.is_(rows, {row: 1 for row in load.done}, "each is there once")


def test_blue(one, two, road, blue):
    test_taken_over(one, two, road, blue, "another tenant")
    mp.is_((all_rows(blue), committed(blue)), ({}, 0), "and none at the other tenant's")
    mp.ok(metric(blue, "misdirected_total") >= road.posts[blue.address], "which said %d times that it was not meant" %
          metric(blue, "misdirected_total"))
    said = "another process answers at a member's address"
    for _ in range(5):
        if said in one.process.err:
            break
        # It was suspected for its silence, before somebody else was heard there.
        mp.wait_for(lambda: owned(two), "it has shards again", BACK_DEADLINE)
        road.lead(blue.address)
        mp.wait_for(lambda: suspects(one, "red2"), "its absence is noticed")
        road.lead(two.address)
        mp.wait_for(lambda: not suspects(one, "red2"), "it is back")
    mp.like(one.process.err, said + ".*red2", "it is told in the log")


def test_join():
    one = Managed("m1", "--tenant", "red").wait_ready()
    token = one.token()
    joining = ["--join", one.url, "--join-token", token]
    code, err = Managed("m2", "--tenant", "blue", *joining, start=False).fails()
    mp.ok(code == 1 and "of tenant red, and not of blue" in err and "--tenant red" in err,
          "another tenant's does not join: " + err.strip())
    mp.is_([each["member"] for each in one.get("/v1/members")[1]["etcd"]], ["m1"], "it has no vote")
    two = Managed("m2", "--tenant", "red", *joining).wait_ready()
    mp.wait_for(lambda: sum(each["votes"] for each in one.get("/v1/members")[1]["etcd"]) == 2, "with the right one and the same token it does")
    mp.is_(one.put("row", "x")[0], 201, "a put")
    mp.is_(two.stop(), 0, "it stops")
    code, err = of_tenant(two, "blue").fails()
    mp.ok(code == 1 and "of tenant red, and not of blue" in err, "nor does it go on with another: " + err.strip())
    of_tenant(two, "red").start().wait_ready()
    mp.is_(two.get("/v1/rows/row")[1]["highest"], 1, "with the right one it does")
    mp.is_([each.stop() for each in (two, one)], [0, 0], "the end")


def of_tenant(one, name):
    one.options[one.options.index("--tenant") + 1] = name
    return one


def test_no_names(*options):
    """What is none ends it before anything else does: no etcd is begun, and none is held open."""
    for name in ("", "x" * 129):
        code, err = aggregator.Aggregator("nobody", *options, "--tenant", name, start=False).fails()
        mp.ok(code == 1 and "--tenant wants 1 to 128 bytes" in err, "%d bytes are no tenant: %s" % (len(name), err.strip()))
    mp.ok(not os.path.exists(os.path.join(mp.workdir(), "nobody", "etcd")), "and nothing was begun")


group = etcd.Group(1)
group.wait()
road = Road()
common = ["--group", ",".join(group.urls)]
test_no_names(*common)
test_no_names("--group", "managed")
red1 = aggregator.Aggregator("red1", *common, "--tenant", "a red/one").wait_ready()
mp.wait_for(lambda: owned(red1) == 64, "it owns all")
test_names(red1, "mine")
test_no_token(group)
red2 = aggregator.Aggregator("red2", *common, "--tenant", "a red/one", "--advertise", "http://" + road.address, start=False)
red2.address = "127.0.0.1:%d" % mp.free_port()
road.lead(red2.address)
red2.start().wait_ready()
blue = aggregator.Aggregator("blue1", *common, "--tenant", "blue").wait_ready()
test_blue(red1, red2, road, blue)
test_taken_over(red1, red2, road, Stranger(), "a stranger")
for each in (red1, red2, blue):
    mp.is_(each.stop(), 0, "%s stops" % each.name)
test_join()
mp.done()

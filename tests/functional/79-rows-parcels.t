#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Puts at a member that does not own the row: every kind of answer comes back from the
owner and says who that is, the client's rights are those it has there, and odd parcels are
refused.  The client of rows goes to the owner from then on.
"""

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import etcd
import mp

CLIENT = os.path.join(mp.TEST_BIN, "functional/prog/rows_client")

mp.need(aggregator.PROGRAM, CLIENT)
if not etcd.available():
    mp.skip_all(etcd.MISSING)

PUTTERS = 16
PUTS = 25
LONG = "l" * 3000


def token_file(name, *prefixes):
    """Everything for `root`; `app` may put below these prefixes, and `m1-only` everywhere at m1."""
    path = os.path.join(mp.workdir(), name)

    def entry(who, grants):
        return {"token_sha256": hashlib.sha256((who + "-secret").encode()).hexdigest(), "name": who[:9], "rights": grants}
    grants = [{"prefix": prefix, "read": True, "put": True} for prefix in prefixes]
    with open(path, "w") as out:
        json.dump([entry("root", [{"prefix": "", "read": True, "put": True, "admin": True}]), entry("app", grants),
                   entry(LONG, [{"prefix": "", "put": True, "admin": True}]),
                   entry(name + "-only", [{"prefix": "", "put": True}])], out)
    os.chmod(path, 0o600)
    return path


def bearer(who):
    return {"Authorization": "Bearer %s-secret" % who}


def put(member, row, content, who="root", **fields):
    return member.put(row, content, **{**bearer(who), **fields})


def row_of(members, owner, prefix):
    """A row with that prefix that this member owns."""
    for i in range(200):
        name = "%s%d" % (prefix, i)
        status, _ = put(members[0], name, "first")
        assert status == 201, status
        if members[0].get("/v1/rows/" + name.replace("/", "%2F"), **bearer("root"))[1]["owner"] == owner.name:
            return name
    raise AssertionError("%s owns no row" % owner.name)


def test_answers(other, row):
    status, told = put(other, row, "a", key="k1")
    mp.is_((status, told["seq"]), (201, 2), "a put is committed")
    base = {"Middlepipe-Base": "%s:1" % told["incarnation"]}
    mp.is_(put(other, row, "a", key="k1", **base)[0], 200, "sent again it is the same")
    mp.is_(put(other, row, "b", key="k1", **base)[0], 422, "other bytes under that key are refused")
    status, told = put(other, row, "c", match=1)
    mp.is_((status, told["code"], told["highest"]), (412, "precondition", 2), "and a wrong If-Match")
    mp.is_(put(other, row, "c", match=2)[0], 201, "a right one is taken")
    mp.is_(put(other, row, "x" * 200000)[0], 201, "so is a cell too large for parcels")
    status, told = put(other, row, "d", **{"Middlepipe-Base": "00000000000000ff:1"})
    mp.is_((status, told["code"]), (410, "gone"), "another life of the row")


def test_owner(owner, other, row):
    """Middlepipe-Owner in what comes from there, and in nothing else."""
    path = "/v1/rows/%s/cells" % row.replace("/", "%2F")
    def told(member, content, **fields):
        status, got, _ = member.call("POST", path, content, {**bearer("root"), **fields})
        return status, got.get("Middlepipe-Owner")
    highest = owner.get(path[:-6], **bearer("root"))[1]["highest"]
    key = {"Idempotency-Key": "o1", "Middlepipe-Base": "%s:%d" % (owner.get(path[:-6], **bearer("root"))[1]["incarnation"], highest)}
    mp.is_(told(other, "a", **key), (201, owner.url), "a put that went by a parcel says who owns the row")
    mp.is_(told(other, "a", **key), (200, owner.url), "so does one that was there")
    mp.is_(told(other, "b", **key), (422, owner.url), "one that is refused")
    mp.is_(told(other, "b", **{"If-Match": '"0"'}), (412, owner.url), "or does not fit")
    mp.is_(told(other, "x" * 200000), (201, owner.url), "and one that went by itself")
    mp.is_(told(owner, "c"), (201, None), "the owner says nothing")
    status, got, body = other.call("POST", path[:-6] + "/check", "d", bearer("root"))
    highest = owner.get(path[:-6], **bearer("root"))[1]["highest"]
    mp.is_((status, got.get("Middlepipe-Owner"), json.loads(body)["seq"]), (200, owner.url, highest + 1), "a dry run is the owner's, too")


def n_put(member, outcome):
    text = member.call("GET", "/metrics", fields=bearer("root"))[2].decode()
    return int(text.split('puts_total{outcome="%s"} ' % outcome)[1].split()[0])


def test_client(owner, other, row):
    """The client knows the one that does not own the row."""
    before = n_put(other, "elsewhere"), n_put(owner, "committed")
    client = mp.Process([CLIENT, "--token", "root-secret", other.url], stdin=subprocess.PIPE)
    def ask(number):
        client.popen.stdin.write(("put %s c%d\n" % (row, number)).encode())
        client.popen.stdin.flush()
        return mp.wait_for(lambda: [json.loads(line) for line in client.out.splitlines() if '"id":%d,' % number in line],
                           "put %d" % number)[0]
    answers = [ask(number) for number in range(1, 11)]
    mp.is_([one["outcome"] for one in answers], ["ok"] * 10, "the client of rows puts at another member")
    mp.is_(n_put(other, "elsewhere") - before[0], 1, "by the first answer it learns the owner")
    mp.is_(n_put(owner, "committed") - before[1], 10, "and goes there with the rest")
    client.popen.stdin.close()
    mp.is_(client.wait(), 0, "nothing is left open")


def test_rights(owner, other, mine, row):
    mp.is_(put(other, mine, "a", who="app")[0], 201, "a right that both members know")
    status, told = put(other, row, "a", who="app")
    mp.is_((status, told["code"]), (403, "forbidden"), "a right that the owner does not know")
    mp.is_(put(owner, row, "a", who="app")[0], 403, "nor does it there")
    status, told = put(other, row, "a", who=other.name + "-only")
    mp.is_((status, told["code"]), (403, "forbidden"), "somebody whom the owner does not know")
    mp.is_(put(owner, row, "a", who=other.name + "-only")[0], 401, "nor does it there")


def test_long(other, row):
    """What is too long for parcels goes by itself, whole."""
    mp.is_(put(other, row, "a", who=LONG)[0], 201, "a put with a token of 3,000 bytes")
    status, _, _ = other.call("PUT", "/v1/rows/%s" % row.replace("/", "%2F"), '{"keep_cells":1000}', bearer(LONG))
    mp.is_(status, 200, "and a policy")
    cells = json.dumps({"cells": ["YQ==", "Yg=="]})
    kind = {"Content-Type": "application/vnd.middlepipe.cells+json;" + " " * 600 + "charset=utf-8"}
    status, _, body = other.call("POST", "/v1/rows/%s/cells" % row.replace("/", "%2F"), cells, {**bearer("root"), **kind})
    first = json.loads(body)["seq"]
    last = other.get("/v1/rows/" + row.replace("/", "%2F"), **bearer("root"))[1]["highest"]
    mp.is_((status, last - first), (201, 1), "a long Content-Type is not lost on the way: two cells")


def test_many(members, row):
    """Many at once, and each gets its own answer."""
    seen, lock = [], threading.Lock()

    def work(number):
        for i in range(PUTS):
            status, told = put(members[number % 2], row, "%d-%d" % (number, i), key="%d-%d" % (number, i))
            with lock:
                seen.append((status, told.get("seq"), "%d-%d" % (number, i)))
    threads = [threading.Thread(target=work, args=(number,)) for number in range(PUTTERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mp.is_({status for status, _, _ in seen}, {201}, "all are committed")
    cells = members[1].get("/v1/rows/%s/cells?from=%d" % (row.replace("/", "%2F"), min(seq for _, seq, _ in seen)),
                           **bearer("root"))[1]["cells"]
    keys = {cell["seq"]: cell["key"] for cell in cells}
    mp.is_([keys.get(seq) for _, seq, _ in seen], [key for _, _, key in seen], "each where its answer says")


def test_odd(owner):
    head = struct.pack("<IBBHHBBIQQQ", 36 + 2, 1, 0, 1, 0, 0, 0, 700, 0, 0, 0)
    for body, what in ((b"", "nothing"), (b"\0" * 39, "a part of a head"), (head + b"r", "a put that is cut"),
                       (b"\xff" * 4096, "no parcel at all"), ((head + b"rx") * 1025, "too many puts")):
        status, _, _ = owner.call("POST", "/v1/parcels", body, bearer("root"))
        mp.is_(status, 400, what)
    mp.is_(owner.call("POST", "/v1/parcels", head + b"rx")[0], 401, "who has no token is not listened to")
    status, _, body = owner.call("POST", "/v1/parcels", head + b"~x", bearer("root"))
    mp.is_((status, struct.unpack_from("<H", body, 8)[0]), (200, 403), "a name that nobody may have")
    for key in (b"\xff", b"a\n", b"\xed\xa0\x80"):
        status, _, body = owner.call("POST", "/v1/parcels", a_put(b"odd", b"x", 15000, key), bearer("root"))
        mp.is_((status, struct.unpack_from("<H", body, 8)[0]), (200, 403), "%r is no idempotency key" % key)


def a_put(row, content, left_ms, key=b""):
    size = 36 + len(row) + len(key) + len(content)
    return struct.pack("<IBBHHBBIQQQ", size, 1, len(key), len(row), 0, 0, 0, left_ms, 0, 0, 0) + row + key + content


def waiting(one):
    return one.get("/v1/status", **bearer("root"))[1]["puts_waiting"]


def test_origin(one, group):
    """Of a parcel that no member sent the origin is its client, for puts too that outlive its request."""
    host, port = one.address.rsplit(":", 1)
    client = socket.create_connection((host, int(port)), mp.DEADLINE, ("127.0.0.2", 0))
    group.freeze(0)
    first = threading.Thread(target=put, args=(one, "busy", "x"))
    first.start()
    mp.wait_for(lambda: waiting(one) == 1, "a flight: what comes now waits for the next one")
    parcel = a_put(b"~", b"", 15000) + a_put(b"origin", b"first", 3000) + a_put(b"origin", b"second", 15000)
    client.sendall(b"POST /v1/parcels HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n"
                   b"Authorization: Bearer root-secret\r\n\r\n" % len(parcel) + parcel)
    mp.ok(client.recv(4096).startswith(b"HTTP/1.1 200"), "the first answer of a parcel comes while others have to wait")
    client.close()
    mp.wait_for(lambda: waiting(one) == 2, "the end of the time of one of them")
    group.thaw(0)
    first.join()
    mp.wait_for(lambda: waiting(one) == 0, "the other")
    _, fields, body = one.call("GET", "/v1/rows/origin/cells/latest", None, bearer("root"))
    mp.is_((body, fields["Middlepipe-Cell-Origin"]), (b"second", "127.0.0.2"),
           "the origin of a put whose client has gone is that client")


group = etcd.Group(1)
group.wait()
members = [aggregator.Aggregator(name, "--group", ",".join(group.urls), "--tokens", token_file(name, *prefixes))
           for name, prefixes in (("m1", ["a/"]), ("m2", ["a/", "b/"]))]
for one in members:
    one.wait_ready()
mp.wait_for(lambda: all(one.get("/v1/status", **bearer("root"))[1]["shards"]["owned"] > 8 for one in members),
            "both own shards")
theirs, mine = row_of(members, members[0], "b/"), row_of(members, members[0], "a/")
test_answers(members[1], row_of(members, members[0], "c/"))
test_owner(members[0], members[1], row_of(members, members[0], "d/"))
test_client(members[0], members[1], row_of(members, members[0], "e"))
test_rights(members[0], members[1], mine, theirs)
test_long(members[1], row_of(members, members[0], "f"))
test_many(members, mine)
test_odd(members[0])
for one in members:
    mp.is_(one.stop(), 0, "%s stops" % one.name)
os.environ["MALLOC_PERTURB_"] = "165"  # memory that was given back has nothing left of what it was
alone = aggregator.Aggregator("m3", "--group", ",".join(group.urls), "--tenant", "alone", "--put-time", "20s",
                              "--tokens", token_file("m3"))
test_origin(alone.wait_ready(), group)
mp.is_(alone.stop(), 0, "m3 stops")
mp.done()

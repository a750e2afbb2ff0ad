#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The audit log: each administrative act leaves one line that says who asked for what, and what came of it."""

import hashlib
import json
import os
import shlex
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import etcd
import managed
import mp

mp.need(aggregator.PROGRAM)
TOKENS = os.path.join(mp.workdir(), "tokens.json")
BIG = 40  # cells of half a MiB: an export that nobody can have read at once


def grant(prefix, *rights):
    return {"prefix": prefix, **{right: True for right in rights}}


def write_tokens(**names):
    with open(TOKENS, "w") as out:
        json.dump([{"token_sha256": hashlib.sha256((name + "-secret").encode()).hexdigest(), "name": name, "rights": rights}
                   for name, rights in names.items()], out)
    os.chmod(TOKENS, 0o600)


def lines(one):
    """What the log has of acts, each as a dictionary, but for when and from where."""
    found = []
    for line in one.process.err.splitlines():
        pairs = dict(word.split("=", 1) for word in shlex.split(line) if "=" in word)
        if pairs.get("event") == "administered":
            found.append({key: value for key, value in pairs.items() if key not in ("ts", "level", "prog", "event", "from")})
    return found


class Log:
    """What comes after what was looked at before."""

    def __init__(self, one):
        self.one, self.n = one, 0

    def next(self, name, **want):
        """Exactly one line has come since, and it says that."""
        try:
            mp.wait_for(lambda: len(lines(self.one)) > self.n, "a line")
        except mp.Late:
            pass
        got = lines(self.one)[self.n:]
        self.n += len(got)
        held = mp.is_([{key: line.get(key) for key in want} for line in got], [want], name)
        if not held:
            mp.note(got)
        return got[0] if got else {}


def ask(one, who, method, path, body=None, **fields):
    """The status."""
    if isinstance(body, dict):
        body = json.dumps(body)
    return one.call(method, path, body, {"Authorization": "Bearer %s-secret" % who, **fields}, timeout=60)[0]


def test_rows(one, log):
    def act(name, status, who, method, path, body, outcome, **want):
        got = ask(one, who, method, path, body)
        mp.is_(got, status, name)
        log.next(name + ": one line", who="token " + who, status=str(status), outcome=outcome, **want)

    row = {"act": "row policies", "row": "own/a b"}
    path = "/v1/rows/own%2Fa%20b"
    act("a row is made", 201, "app", "PUT", path, {"check": "unique", "keep_cells": 10}, "done", check="unique", keep_cells="10",
        **row)
    act("its policies are changed", 200, "app", "PUT", path, {"keep_ms": 7}, "done", keep_ms="7", check=None, **row)
    act("policies that are none", 400, "app", "PUT", path, {"keep": 7}, "refused", code="bad_request", **row)
    act("who may not", 403, "reader", "PUT", path, {}, "refused", code="forbidden", **row)
    mp.is_(ask(one, "app", "POST", path + "/cells", json.dumps({"claim": "k", "holder": "h"})), 201, "a cell is put")
    act("a check of a row with cells", 409, "app", "PUT", path, {"check": "sum"}, "refused", code="refused", check="sum", **row)
    row["act"] = "row compact"
    act("a floor above all", 409, "app", "POST", path + "/compact", {"floor": 9}, "refused", floor="9", **row)
    act("a floor", 200, "app", "POST", path + "/compact", {"floor": 2}, "done", floor="2", **row)
    fields = {"Middlepipe-Cell-Kind": "admin"}
    mp.is_(ask(one, "app", "POST", "/v1/rows/own%2Fx/cells", b"x", **fields), 201, "a cell of an admin")
    log.next("one line", act="row admin cells", row="own/x", who="token app", status="201", outcome="done")
    mp.is_(ask(one, "putter", "POST", "/v1/rows/own%2Fx/cells", b"x", **fields), 403, "one of who is none")
    log.next("one line", act="row admin cells", row="own/x", who="token putter", status="403", outcome="refused")
    mp.is_(ask(one, "putter", "POST", "/v1/rows/own%2Fx/cells", b"x"), 201, "a cell of anybody")
    mp.is_(ask(one, "app", "POST", "/v1/rows/own%2Fx/check", b"x", **fields), 200, "and one that is only judged")
    row["act"] = "row delete"
    act("a row is deleted (and neither left a line)", 200, "app", "DELETE", path, None, "done", **row)
    act("once more", 404, "app", "DELETE", path, None, "refused", code="not_there", **row)
    name = "".join(chr(33 + i % 90) for i in range(247)) + ' act=x "'
    row["row"] = name
    path = "/v1/rows/" + "".join("%%%02X" % ord(c) for c in row["row"])
    act("a long name of strange bytes", 404, "root", "DELETE", path, None, "refused", **row)
    mp.is_(ask(one, "unheard", "DELETE", path), 401, "who is not known")
    act("leaves no line", 400, "root", "DELETE", "/v1/rows/a~b", None, "refused", row="a~b")


def test_export(one, log):
    status, _, export = one.call("GET", "/v1/export?prefix=own", None, {"Authorization": "Bearer root-secret"})
    mp.is_(status, 200, "an export")
    log.next("one line", act="export", prefix="own", who="token root", status="200", rows="1", cells="2", outcome="done")
    mp.is_(ask(one, "root", "POST", "/v1/import", export), 200, "an import")
    log.next("one line", act="import", who="token root", status="200", rows="1", cells="0", passed="2", outcome="done")
    mp.is_(ask(one, "root", "POST", "/v1/import", export[:-20] + export[-19:]), 400, "a damaged one")
    log.next("one line", act="import", code="damaged", status="400", cells="0", outcome="refused")
    mp.is_(ask(one, "app", "POST", "/v1/import", export.replace(b"own/x", b"not/x")), 400, "a changed one")
    log.next("one line", act="import", code="damaged", status="400", outcome="refused")
    for i in range(BIG):
        one.put("big", b"x" * (512 << 10), **{"Authorization": "Bearer root-secret"})
    host, port = one.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=mp.DEADLINE) as client:
        client.sendall(b"GET /v1/export HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer root-secret\r\n\r\n")
        mp.like(client.recv(4096).decode(), "^HTTP/1.1 200 ", "an export that is not read to its end")
    log.next("one line", act="export", status="200", outcome="failed", why="the client has gone", rows=None)


def test_not_managed(one, log):
    for method, path, body, act in (
            ("POST", "/v1/members/token", None, "token to join"), ("POST", "/v1/members/m1/drain", None, "member drains"),
            ("DELETE", "/v1/members/m7", None, "member is taken out")):
        mp.is_(ask(one, "root", method, path, body), 409, "alone, %s %s" % (method, path))
        log.next("one line", act=act, who="token root", status="409", outcome="refused")
        mp.is_(ask(one, "reader", method, path, body), 403, "and without the right")
        log.next("one line", act=act, who="token reader", status="403", outcome="refused")


def test_group():
    """An outcome that is not known, one that failed, and acts that are done at another member."""
    group = etcd.Group(1)
    group.wait()
    members = [aggregator.Aggregator("c%d" % i, "--group", ",".join(group.urls), "--tokens", TOKENS, "--put-time", "3s", "--log",
                                     "info").wait_ready() for i in range(2)]
    logs = [Log(one) for one in members]
    mp.is_(ask(members[0], "root", "POST", "/v1/rows/r/cells", b"x"), 201, "a row in a group")
    owner = json.loads(members[0].call("GET", "/v1/rows/r", None, {"Authorization": "Bearer root-secret"})[2])["owner"]
    at, other = (0, 1) if owner == "c0" else (1, 0)
    mp.is_(ask(members[other], "root", "PUT", "/v1/rows/r", {"keep_cells": 5}), 200, "policies, at a member that does not own it")
    want = {"act": "row policies", "who": "token root", "row": "r", "status": "200", "outcome": "done"}
    logs[other].next("a line there", forwarded=None, **want)
    logs[at].next("and one at the owner, which says so", forwarded="yes", **want)
    mp.is_(ask(members[other], "root", "POST", "/v1/members/c%d/drain" % at), 307, "a drain at another member")
    group.freeze(0)
    try:
        status = ask(members[at], "root", "DELETE", "/v1/rows/r")
        mp.is_(status, 504, "a deletion while etcd does not answer")
        logs[at].next("may have been done", act="row delete", row="r", status="504", outcome="unknown", code="unknown")
    finally:
        group.thaw(0)
    mp.wait_for(lambda: ask(members[at], "root", "PUT", "/v1/rows/s", {}) in (200, 201), "etcd")
    mp.wait_for(lambda: lines(members[at])[-1]["outcome"] == "done", "its line")
    logs[at].n = len(lines(members[at]))
    mp.is_(ask(members[at], "root", "POST", "/v1/members/c%d/drain" % at), 202, "a member is drained")
    logs[at].next("one line", act="member drains", member="c%d" % at, who="token root", status="202", outcome="begun")
    mp.is_([line["act"] for line in lines(members[other])[logs[other].n:] if line["act"] == "member drains"], [],
           "who was sent there has left no line before")
    for one in members:
        one.stop()


def test_managed():
    """Joining, and being taken out."""
    more = ["--tokens", TOKENS, "--log", "info"]
    first = managed.Managed("m1", *more).wait_ready()
    log = Log(first)
    status, _, body = first.call("POST", "/v1/members/token", None, {"Authorization": "Bearer root-secret"})
    mp.is_(status, 201, "a token to join")
    token = json.loads(body)["token"]
    line = log.next("one line", act="token to join", who="token root", status="201", outcome="done")
    mp.ok(int(line.get("expires", 0)) == json.loads(body)["expires"], "with its end")
    wrong = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    code, err = managed.Managed("m2", "--join", first.url, "--join-token", wrong, *more, start=False).fails()
    mp.is_(code, 1, "a wrong token")
    log.next("one line", act="member joins", member="m2", who="nobody", status="403", code="token", outcome="refused")
    second = managed.Managed("m2", "--join", first.url, "--join-token", token, *more).wait_ready()
    mp.wait_for(lambda: lines(first)[-1].get("outcome") == "done", "the end of joining")
    mp.is_([(each["act"], each["member"], each["status"]) for each in lines(first)[log.n:] if each["outcome"] == "done"],
           [("member joins", "m2", "200")], "one line of the joining that was done")
    log.n = len(lines(first))
    mp.is_(ask(first, "root", "DELETE", "/v1/members/m9"), 404, "one that is not there is taken out")
    log.next("one line", act="member is taken out", member="m9", status="404", outcome="refused")
    mp.is_(ask(second, "root", "DELETE", "/v1/members/m2"), 202, "a member leaves")
    Log(second).next("one line", act="member leaves", member="m2", who="token root", status="202", outcome="begun")
    mp.is_(second.process.wait(60), 0, "and ends")
    mp.wait_for(lambda: len(first.get("/v1/members", Authorization="Bearer root-secret")[1]["etcd"]) == 1, "a list of one")
    mp.is_(ask(first, "root", "DELETE", "/v1/members/m1"), 409, "the last one does not")
    log.next("one line", act="member leaves", member="m1", status="409", outcome="refused", code="last")
    mp.ok("secret" not in first.process.err and token not in first.process.err, "no line has a token")
    mp.is_(first.stop(), 0, "it stops")


write_tokens(root=[grant("", "read", "put", "admin")], app=[grant("own/", "read", "put", "admin")],
             putter=[grant("own/", "put")], reader=[grant("", "read")])
alone = aggregator.Aggregator("m1", "--tokens", TOKENS, "--log", "info").wait_ready()
alone_log = Log(alone)
test_rows(alone, alone_log)
test_export(alone, alone_log)
test_not_managed(alone, alone_log)
mp.is_(alone.stop(), 0, "it stops")
mp.is_(len(lines(alone)), alone_log.n, "no other lines")
if etcd.available():
    test_group()
    test_managed()
else:
    mp.skip("groups", etcd.MISSING)
mp.done()

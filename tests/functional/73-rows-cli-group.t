#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""middlepipe rows against three aggregators on a real etcd.

Commands find their way when members own different rows, are killed, and come back:
put, tail, export, import, check and doctor.
"""

import base64
import json
import os
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path.insert(0, LIB)
import aggregator
import etcd
import mp
from rowscli import good, rows

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)
for name in ("MIDDLEPIPE_AGGREGATOR", "MIDDLEPIPE_AGGREGATOR_TOKEN_FILE"):
    os.environ.pop(name, None)
folder = mp.workdir()


def start(group, tenant):
    members = [aggregator.Aggregator("%s%d" % (tenant, i), "--group", ",".join(group.urls), "--tenant", tenant)
               for i in range(3)]
    for one in members:
        one.wait_ready()
    mp.wait_for(lambda: all(0 < one.get("/v1/status")[1]["shards"]["owned"] < 64 for one in members), "shares")
    return members


def contents(one, row):
    told = one.get("/v1/rows/%s/cells?from=1" % row)[1]
    return [(c["key"], c["time"], base64.b64decode(c["data"])) for c in told["cells"]]


def test_put(members):
    """Rows of every owner, at any member, with one that was killed among the URLs."""
    for i in range(12):
        good(members[i % 3:] + members[:i % 3], "put", "--key", "k%d" % i, "r%d" % i, "a", "b")
    # A share may still grow: what has just moved stays for two seconds.
    mp.wait_for(lambda: len({members[0].get("/v1/rows/r%d" % i)[1]["owner"] for i in range(12)}) == 3, "three owners")
    mp.ok(True, "rows of three owners")
    out = good(members, "members")
    mp.ok(all(one.url in out for one in members), "members tells of all")
    tail = mp.Process([mp.MIDDLEPIPE, "rows", "tail", "--url", ",".join(one.url for one in members), "--prefix", "r",
                       "--json"])
    mp.wait_for(lambda: tail.out.count("\n") == 24, "24 cells")
    members[0].kill()
    for i in range(12):
        mp.is_(good(members, "put", "--wait", "60s", "r%d" % i, "c"), "3\n", "r%d: while a member is dead" % i)
    mp.wait_for(lambda: tail.out.count("\n") == 36, "36 cells", 60)
    seen = [(cell["row"], cell["seq"]) for cell in map(json.loads, tail.out.splitlines())]
    mp.is_(sorted(seen), sorted(("r%d" % i, seq) for i in range(12) for seq in (1, 2, 3)),
           "tail goes on at another member: each cell once")
    mp.ok(all([s for r, s in seen if r == row] == [1, 2, 3] for row, _ in seen), "in order")
    tail.kill()
    code, out, _ = rows(members, "doctor")
    mp.is_(code, 1, "doctor: one is dead")
    mp.like(out, "problem: %s: it does not answer" % members[0].url, "and named")
    members[0].start().wait_ready()
    mp.wait_for(lambda: rows(members, "doctor")[0] == 0, "the doctor to find nothing", 60)
    mp.ok(True, "doctor: no problem once it is back")


def test_import(members, others):
    """An import is taken to the owners of its rows, though it is told of one member only."""
    for i in range(12):
        for n in range(20):
            members[0].put("r%d" % i, b"%d" % n, key="n%d" % n)
    file = os.path.join(folder, "rows.mprows")
    told = json.loads(good(members, "export", "--json", file))
    mp.is_((told["rows"], told["cells"]), (12, 12 * 23), "export")
    told = json.loads(good(others[:1], "import", "--json", file))
    mp.is_((told["rows"], told["cells"] + told["passed"]), (12, 12 * 23), "import by one of three members")
    mp.is_([contents(others[1], "r%d" % i) for i in range(12)], [contents(members[2], "r%d" % i) for i in range(12)],
           "all is there, once and in order, with keys and times")
    for i in range(12):
        good(others, "delete", "-y", "r%d" % i)
    doing = mp.Process([mp.MIDDLEPIPE, "rows", "import", "--url", ",".join(one.url for one in others), file])
    mp.wait_for(lambda: others[1].get("/v1/rows/r0")[1].get("highest", 0) > 3 or not doing.running(), "some cells")
    others[2].kill()
    mp.is_((doing.wait(120), doing.err), (0, ""), "again, while a member is killed")
    mp.is_([contents(others[1], "r%d" % i) for i in range(12)], [contents(members[2], "r%d" % i) for i in range(12)],
           "all is there, once and in order")
    mp.is_(good(others, "check").split(": ")[1], "all whole\n", "check")


group = etcd.Group(1)
group.wait()
one, two = start(group, "one"), start(group, "two")
test_put(one)
test_import(one, two)
mp.done()

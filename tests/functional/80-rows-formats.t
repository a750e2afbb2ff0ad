#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Programs of an older and of a newer format of rows on the same files, and in the same group.

One refuses what the other wrote, says which formats, and harms nothing: under load
from seeded clients, whose history goes to tests/rows/check_history.  A newer
format that reads the older one (as heads of format 2 do) comes in by replacing
member after member; what an old member cannot read meanwhile it does not serve.
"""

import os
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import etcd
import managed
import mp
import rowfaults
from workload import Workload

ROWS = ["a", "b", "chains/x", "nat/y"]
REFUSAL = "rows of format %d, and this program knows %d"

mp.need(aggregator.PROGRAM, aggregator.NEXT, aggregator.NEXT_HEADS)


def refuses(one, *words):
    """Started, it ends by itself, and says why."""
    code, _, err = mp.run(one.command(1))
    return mp.ok(code == 1 and all(word in err for word in words), "%s refuses: %s" % (
        one.name, err.strip().splitlines()[-1][-200:]))


def of(program, one):
    one.program = program
    return one


def test_files():
    """Alone: each on the files of the other."""
    for number, (first, second) in enumerate(((aggregator.PROGRAM, aggregator.NEXT),
                                              (aggregator.NEXT, aggregator.PROGRAM))):
        one = of(first, aggregator.Aggregator("alone%d" % number, start=False)).start().wait_ready()
        for text in ("one", "two"):
            one.put("row", text)
        mp.is_(one.stop(), 0, "%s has begun" % one.name)
        refuses(of(second, one), REFUSAL % (number + 1, 2 - number))
        of(first, one).start().wait_ready()
        mp.is_(one.get("/v1/rows/row")[1]["highest"], 2, "and has changed nothing")
        mp.is_(one.put("row", "three")[1].get("seq"), 3, "the right one goes on")
        one.stop()


def run(load, path, kinds, name, executors):
    """Each kind in its turn, with time for puts before and behind."""
    faults = [(0.5 * i + 0.5, kind, "group", 0.5) for i, kind in enumerate(kinds)]
    load.run(faults=faults, executors=executors, gap=0.005)
    rowfaults.judge(load, path, kinds, name)


def members_of(group, tenant, program):
    members = [of(program, aggregator.Aggregator("%s%d" % (tenant, i), "--group", ",".join(group.urls),
                                                 "--tenant", tenant, start=False)) for i in range(3)]
    for one in members:
        one.start().wait_ready()
    return members


def test_group(group, seed, program, other, kind):
    """A group of one format under load, and a program of another that wants to take part."""
    tenant = os.path.basename(program)[-4:]
    members = members_of(group, tenant, program)
    path = rowfaults.history("formats-%s-%d" % (tenant, seed))
    load = Workload({one.name: one.url for one in members}, path, seed=seed, rows=ROWS, clients=4, admin=True,
                    timeout=2.0)
    stranger = of(other, aggregator.Aggregator("stranger-" + tenant, *members[0].options, start=False))
    formats = (1, 2) if program == aggregator.PROGRAM else (2, 1)
    run(load, path, [kind], kind, {kind: lambda _: refuses(stranger, REFUSAL % formats) and None})
    mp.is_([one.stop() for one in members], [0] * 3, "%s: the end" % kind)


def test_managed(seed):
    """A group with etcd of its own: a vote for who cannot serve would end a group of one."""
    one = managed.Managed("m1").wait_ready()
    path = rowfaults.history("formats-managed-%d" % seed)
    load = Workload({"m1": one.url}, path, seed=seed, rows=ROWS, clients=4, admin=True, timeout=2.0)

    def joins(_):
        newer = of(aggregator.NEXT, managed.Managed("m2", "--join", one.url, "--join-token", one.token(), start=False))
        refuses(newer, "of format 1", "knows 2")
        mp.is_([each["member"] for each in one.get("/v1/members")[1]["etcd"]], ["m1"], "and has no place in etcd")

    def files(_):
        mp.is_(one.stop(), 0, "the member stops")
        before = identity()
        refuses(of(aggregator.NEXT, one), "managed.json", "format 1", "knows 2")
        mp.ok(identity() == before and not one.etcd_pids(), "and has changed nothing")
        of(aggregator.PROGRAM, one).start().wait_ready()

    def identity():
        with open(os.path.join(one.data, "managed.json"), "rb") as text:
            return text.read()

    run(load, path, ["newer joins", "newer on older files"], "managed, seed %d" % seed,
        {"newer joins": joins, "newer on older files": files})
    mp.is_(one.stop(), 0, "the end")


def test_heads(group, seed):
    """Heads of a newer format: one newer member beside two, then member after member."""
    members = members_of(group, "heads", aggregator.PROGRAM)
    path = rowfaults.history("formats-heads-%d" % seed)
    load = Workload({one.name: one.url for one in members}, path, seed=seed, rows=ROWS, clients=4, admin=True,
                    timeout=2.0)

    def upgrade(one):
        assert one.stop() == 0
        of(aggregator.NEXT_HEADS, one).start().wait_ready()

    kinds = ["newer heads", "newer member"]
    run(load, path, kinds, "heads, seed %d" % seed,
        {"newer heads": lambda _: upgrade(members[0]),
         "newer member": lambda _: [upgrade(one) for one in members[1:]] and None})
    mp.is_([one.stop() for one in members], [0] * 3, "heads: the end")


test_files()
if etcd.available():
    group = etcd.Group(3)
    group.wait()
    for seed in rowfaults.SEEDS[:1]:
        test_group(group, seed, aggregator.PROGRAM, aggregator.NEXT, "newer beside older")
        test_group(group, seed, aggregator.NEXT, aggregator.PROGRAM, "older beside newer")
        test_managed(seed)
        test_heads(group, seed)
else:
    mp.skip("groups", etcd.MISSING)
mp.done()

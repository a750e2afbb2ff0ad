#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mp-aggregators as a group on three real etcd members.

Part 1: any member takes a put; shards are shared, and move when members come and go.
Part 2: seeded faults (members and etcd killed and stopped, one and two at once)
hit seeded clients; the history goes to tests/rows/check_history.  Every kind of
fault must have met puts in flight.
"""

import os
import random
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import etcd
import mp
import rowfaults
from workload import Workload

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)


def member(name, group, tenant):
    return aggregator.Aggregator(name, "--group", ",".join(group.urls), "--tenant", tenant)


def shares(members):
    return [one.get("/v1/status")[1]["shards"]["owned"] for one in members]


def is_shared(members):
    owned = shares(members)
    return sum(owned) == 64 and all(0 < n < 64 for n in owned)


def same(values):
    """They, when all are alike."""
    return values if values.count(values[0]) == len(values) else None


def test_together(group):
    members = [member("a%d" % i, group, "together").wait_ready() for i in range(3)]
    mp.wait_for(lambda: is_shared(members), "all have shards")
    mp.ok(True, "the shards are shared: %s" % shares(members))
    rows = ["r%d" % i for i in range(12)]
    for i, row in enumerate(rows):
        status, told = members[i % 3].put(row, "x")
        mp.is_((status, told.get("seq")), (201, 1), "%s is put at %s" % (row, members[i % 3].name))
    # A share may still grow: what has just moved stays for two seconds.
    mp.wait_for(lambda: len({members[0].get("/v1/rows/" + row)[1]["owner"] for row in rows}) == 3, "three owners")
    mp.ok(True, "they have three owners")
    # What they tell of is their own, which follows.
    copies = mp.wait_for(lambda: same([one.get("/v1/rows?limit=1000")[1]["rows"] for one in members]), "the same copy at all")
    mp.is_([row["highest"] for row in copies[0]], [1] * len(rows), "all have the same copy")
    members[0].kill()
    for row in rows:
        mp.is_(members[1].put(row, "y")[1].get("seq"), 2, "%s goes on without %s" % (row, members[0].name))
    members[0].start().wait_ready()
    mp.wait_for(lambda: is_shared(members), "it has its share again")
    mp.is_(members[2].stop(), 0, "a member stops")
    for row in rows:
        mp.is_(members[0].put(row, "z")[1].get("seq"), 3, "%s goes on" % row)
    for one in members[:2]:
        mp.is_(one.stop(), 0, "%s stops" % one.name)


def test_many_shards(group):
    """More than etcd takes in one transaction change hands."""
    one = aggregator.Aggregator("many", "--group", ",".join(group.urls), "--tenant", "many", "--shards", "256").wait_ready()
    mp.is_(shares([one]), [256], "256 shards are taken")
    mp.is_(one.put("row", "x")[0], 201, "and take puts")
    mp.is_(one.stop(), 0, "it stops")
    status, told = group.call(0, "/v3/kv/range", {"key": etcd.text(b"middlepipe/many/owner/"), "count_only": True,
                                                  "range_end": etcd.text(b"middlepipe/many/owner0")})
    mp.is_((status, int(told.get("count", 0))), (200, 0), "all are released")


class Faults:
    """What the workload's schedule carries out."""

    def __init__(self, group, members):
        self.group, self.members = group, members

    def kill(self, target):
        self.members[target].kill()
        return self.members[target].start

    def pause(self, target):
        self.members[target].pause()
        return self.members[target].resume

    def kill_etcd(self, target):
        index = self.group.leader() if target == "leader" else int(target)
        if index is None:
            return None
        self.group.kill(index)
        return lambda: self.group.start(index)

    def pause_etcd(self, target):
        index = self.group.leader() if target == "leader" else int(target)
        if index is None:
            return None
        self.group.freeze(index)
        return lambda: self.group.thaw(index)

    def kill_both(self, target):
        ends = [self.kill(target), self.kill_etcd("leader")]
        return lambda: [end() for end in ends if end]

    def table(self):
        return {"kill": self.kill, "pause": self.pause, "etcd killed": self.kill_etcd,
                "etcd stopped": self.pause_etcd, "both killed": self.kill_both}


def test_faults(group, seed):
    members = {"s%d-m%d" % (seed, i): member("s%d-m%d" % (seed, i), group, "seed%d" % seed).wait_ready()
               for i in range(3)}
    names = sorted(members)
    path = rowfaults.history("group-%d" % seed)
    kinds = {"kill": (names, 0.05, 0.5), "pause": (names, 0.3, 1.5), "both killed": (names, 0.1, 0.6),
             "etcd killed": (["0", "1", "2", "leader"], 0.1, 0.8),
             "etcd stopped": (["0", "1", "2", "leader"], 0.3, 1.5)}
    load = Workload({name: one.url for name, one in members.items()}, path, seed=seed,
                    rows=rowfaults.ROWS, clients=8, admin=True)
    faults = rowfaults.turns(random.Random(seed), kinds, rowfaults.seconds(15))
    load.run(faults=faults, executors=Faults(group, members).table())
    rowfaults.judge(load, path, kinds, "seed %d" % seed)
    for one in members.values():
        mp.is_(one.stop(), 0, "%s stops" % one.name)


group = etcd.Group(3)
group.wait()
test_together(group)
test_many_shards(group)
for seed in rowfaults.SEEDS:
    test_faults(group, seed)
mp.done()

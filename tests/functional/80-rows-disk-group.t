#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Full disks below a group of three with etcd of its own, while clients put, read, delete, compact and subscribe.

Each member has a small file system of its own.  When that of one is full its etcd ends, and the
group goes on; when those of two are, puts are told 503 or 504; with room again all three are there, by
themselves.  Members are killed and started on a full disk, too.  The history goes to
tests/rows/check_history: nothing that was acknowledged is lost.
"""

import os
import random
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import etcd
import managedgroup
import mp
import netns
import rowfaults
import smalldisk
from workload import Workload

PLACES = ["p0", "p1", "p2"]
SECONDS = rowfaults.seconds(0)  # of faults; 0: each kind once
SIZE = 320 << 20  # etcd takes 128 MiB for its log at once

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)
WHY = smalldisk.enter()
if WHY:
    mp.skip_all(WHY)
netns.enter()


class Group(managedgroup.Group):
    """One whose members have disks of their own: {place: smalldisk.Disk}."""

    def __init__(self, *args):
        self.disks = {}
        super().__init__(*args)

    def make(self, place, *words):
        one = super().make(place, *words)
        self.disks[place] = smalldisk.Disk(one.data, SIZE)
        return one

    def whole(self, size=None):
        """A member is ready by the others' etcd, too: its own has to be there."""
        for one in self.others(None):
            mp.wait_for(one.etcd_pids, "etcd of %s" % one.name, managedgroup.WHOLE)
        super().whole(size)


class Faults(managedgroup.Faults):
    """Its targets are places, or what is looked up."""

    def __init__(self, group, load):
        super().__init__(group, load)
        self.hit = {}  # kind: how many members of etcd have ended on a full disk

    def fill(self, kind, *places):
        """Until each etcd there has found no room; it is started again and again."""
        pids = {place: self.group.members[place].etcd_pids() for place in places}
        for place in places:
            self.group.disks[place].fill()
        for place in places:
            mp.wait_for(lambda place=place: self.group.members[place].etcd_pids() != pids[place],
                        "etcd of %s finds no room" % place, managedgroup.WHOLE)
            self.hit[kind] = self.hit.get(kind, 0) + 1

    def room(self, *places):
        for place in places:
            self.group.disks[place].room()

    def puts(self, status=201):
        """Waits for one more that ends so."""
        before = self.load.counts.get(status, 0)
        mp.wait_for(lambda: self.load.counts.get(status, 0) > before, "one more %d" % status, managedgroup.WHOLE)

    def full(self, target):
        place = self.place(target)
        self.fill("disk full", place)
        self.puts()
        return lambda: self.room(place)

    def most_full(self, names):
        """The third says that there is no majority."""
        places = names.split("+")
        self.fill("most disks full", *places)
        one = next(one for place, one in self.group.members.items() if place not in places)

        def refused():
            status, told = one.put("probe", "x")
            return (status, told) if status in (503, 504) else None
        status, told = mp.wait_for(refused, "503 or 504", managedgroup.WHOLE)
        mp.ok(told["error"], "most disks full: %d %s: %s" % (status, told.get("code"), told["error"]))
        mp.ok(not one.ready(), "most disks full: %s is not ready" % one.name)
        return lambda: self.room(*places)

    def full_killed(self, target):
        """Where it can start, it waits for room; where it cannot, it says why."""
        place = self.place(target)
        one = self.group.members[place]
        self.fill("disk full and killed", place)
        self.end(one)
        self.group.disks[place].fill()
        one.launch()
        self.puts()

        def again():
            self.room(place)
            try:
                one.served()
            except mp.Late:
                raise
            except AssertionError:
                mp.like(one.process.err, "No space left", "disk full and killed: it ends, and says why")
                managedgroup.back(one)
        return again

    def table(self):
        return {**super().table(), "disk full": self.full, "most disks full": self.most_full,
                "disk full and killed": self.full_killed}


def plan(seed):
    rng = random.Random("full/%d" % seed)
    anybody = [*PLACES, "leader", "owner"]
    pairs = ["%s+%s" % (one, other) for one in PLACES for other in PLACES if one < other]
    return rowfaults.turns(rng, {"disk full": (anybody, 0.2, 0.6), "most disks full": (pairs, 0.2, 0.6),
                                 "disk full and killed": (anybody, 0.2, 0.6), "kill": (anybody, 0.1, 0.5)}, SECONDS)


def test(net, seed):
    faults = plan(seed)
    for second, kind, target, lasts in faults:
        mp.note("%5.1f s %s: %s, for %.1f s" % (second, kind, target, lasts))
    group = Group(net, mp.workdir())
    for place in PLACES[1:]:
        group.join(place)
    path = rowfaults.history("full-%d" % seed)
    load = Workload({name: one.url for name, one in group.members.items()}, path, seed=seed, rows=rowfaults.ROWS,
                    clients=6, admin=True, token=netns.TOKEN, timeout=2.0)
    carried = Faults(group, load)
    load.run(faults=faults, executors=carried.executors(), gap=0.005)
    if load.errors:
        mp.note(group.account())
    mp.note("answers: %s" % ", ".join("%s %d" % pair for pair in sorted(load.counts.items())))
    rowfaults.judge(load, path, {kind for _, kind, _, _ in faults}, "seed %d on %s" % (seed, group.disks["p0"].kind))
    for kind in ("disk full", "most disks full", "disk full and killed"):
        mp.ok(carried.hit.get(kind), "seed %d: %s has ended etcd %d times" % (seed, kind, carried.hit.get(kind, 0)))
    mp.is_(group.stop(), [0] * len(PLACES), "seed %d: the end" % seed)


net = netns.Net(PLACES)
for seed in rowfaults.SEEDS[:1]:
    test(net, seed)
mp.done()

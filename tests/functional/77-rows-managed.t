#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A group with etcd of its own that grows from one member to three and five, and shrinks again.

All of it under load from seeded clients, in network namespaces.  At each size a seed
draws faults: members and their etcd killed and stopped, alone and together, cuts of all
shapes, slow links, directories deleted, damaged and put back from a backup, members
replaced, rolling restarts, two at once; who joins and leaves is drawn, too.  The history
goes to tests/rows/check_history; every kind, at each size at which it was drawn, must
have met puts in flight.
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
from workload import Workload

PLACES = ["p0", "p1", "p2", "p3", "p4"]
SIZES = [1, 3, 5, 3, 1]
SECONDS = rowfaults.seconds(0)  # of faults; 0: each kind once, at some size, but for:
EVERYWHERE = ("killed whole", "stopped whole", "owner cut", "majority cut")  # on the way up, at each size that can have them
LONGEST = 0.6 if SECONDS < 30 else 5.0  # of a fault

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)
netns.enter()


class Plan:
    """The faults of a seed, one after another: [(second, kind, target, seconds)]."""

    def __init__(self, seed):
        self.rng = random.Random("managed/%d" % seed)
        self.faults, self.kinds, self.now = [], set(), 1.0
        self.present = PLACES[:1]
        for stage, kinds in enumerate(self.deal()):
            self.resize(SIZES[stage])
            self.stage(kinds)

    def deal(self):
        """Which kinds each stage has: all that it can have, or (in a hurry) each kind once."""
        able = [sorted(managedgroup.targets(self.rng, PLACES[:size])) for size in SIZES]
        if SECONDS:
            return able
        dealt = [[] for _ in SIZES]
        for kind in sorted(set().union(*able)):
            stages = [i for i, kinds in enumerate(able) if kind in kinds]
            fewest = min(len(dealt[i]) for i in stages)
            dealt[self.rng.choice([i for i in stages if len(dealt[i]) == fewest])].append(kind)
        for i in range(SIZES.index(max(SIZES)) + 1):
            dealt[i] += [kind for kind in EVERYWHERE if kind in able[i] and kind not in dealt[i]]
        return dealt

    def add(self, kind, target, lasts):
        kind = "%s of %d" % (kind, len(self.present))
        self.faults.append((self.now, kind, target, lasts))
        self.kinds.add(kind)
        self.now += lasts + self.rng.uniform(0.05, 0.3)

    def resize(self, size):
        """One by one; in between there is an even number, which is hit, too."""
        while len(self.present) != size:
            if len(self.present) < size:
                place = self.rng.choice([name for name in PLACES if name not in self.present])
                self.present.append(place)
                self.add("member joins", place, 0.0)
            else:
                place = self.rng.choice(self.present)
                self.present.remove(place)
                self.add("member leaves", place, 0.0)
            if len(self.present) != size:
                self.stage([self.rng.choice(managedgroup.SECOND[:5])])

    def stage(self, kinds):
        draw = managedgroup.targets(self.rng, self.present)
        end = self.now + SECONDS / len(SIZES)
        turn = self.rng.sample(kinds, len(kinds))
        while turn:
            kind = turn.pop()
            self.add(kind, draw[kind](), self.rng.uniform(0.3, LONGEST))
            if not turn and self.now < end and len(kinds) > 1:
                turn = self.rng.sample(kinds, len(kinds))


def test(net, seed):
    plan = Plan(seed)
    for second, kind, target, lasts in plan.faults:
        mp.note("%5.1f s %s: %s, for %.1f s" % (second, kind, target, lasts))
    group = managedgroup.Group(net, mp.workdir())
    path = rowfaults.history("managed-%d" % seed)
    load = Workload({name: "http://%s:9780" % net.places[name].address for name in PLACES}, path, seed=seed,
                    rows=rowfaults.ROWS, clients=8, admin=True, token=netns.TOKEN, timeout=2.0)
    load.absent.update(PLACES[1:])
    table = managedgroup.Faults(group, load).executors()
    load.run(faults=plan.faults, executors={kind: table[kind.rpartition(" of ")[0]] for kind in plan.kinds}, gap=0.005)
    if load.errors:
        mp.note(group.account())
    rowfaults.judge(load, path, plan.kinds, "seed %d" % seed)
    mp.is_(sorted(group.members), sorted(plan.present), "seed %d: who was to stay has stayed" % seed)
    mp.is_(group.stop(), [0] * len(plan.present), "seed %d: the end" % seed)


net = netns.Net(PLACES)
for seed in rowfaults.SEEDS[:1]:
    test(net, seed)
mp.done()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A group of mp-aggregators and its etcd in a network that is cut and slowed.

Three aggregators and three etcd members have a network namespace each.  Part 1:
the cuts cut, in one direction and both.  Part 2: seeded cuts (the owner, etcd's
leader, a minority, a majority, a ring, one way), slow links and two faults at once
hit seeded clients, who reach every member always; the history goes to
tests/rows/check_history.  Every kind must have met puts in flight.
"""

import os
import random
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import etcd
import mp
import netns
import rowfaults
from workload import Workload

ETCD, MEMBERS = ["e0", "e1", "e2"], ["m0", "m1", "m2"]
SECONDS = rowfaults.seconds(8)
LONGEST = 1.5 if SECONDS < 30 else 8.0  # of a fault: beyond leases where there is time

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)
netns.enter()

EAR = """import socket, sys
ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
ear.bind(("", 9))
print("listens", flush=True)
while True:
    print(ear.recv(99).decode(), flush=True)
"""
MOUTH = """import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(sys.argv[2].encode(), (sys.argv[1], 9))
"""


def test_cuts(net):
    """A datagram is there or is lost at once: what comes later proves that it will not come."""
    ears = {name: mp.Process([*net.places[name].words(), sys.executable, "-c", EAR]) for name in ("m0", "m1")}
    for ear in ears.values():
        ear.wait_out("listens\n")

    def say(one, other, word):
        code = mp.run([*net.places[one].words(), sys.executable, "-c", MOUTH, net.places[other].address, word])
        mp.is_(code[0], 0, "%s says %s to %s" % (one, word, other))

    heal = net.cut([("m0", "m1")])
    again = net.isolate("m0")
    say("m1", "m0", "lost-both")
    again()
    say("m0", "m1", "lost")
    say("m1", "m0", "back")
    ears["m0"].wait_out("back\n")
    heal()
    say("m0", "m1", "healed")
    ears["m1"].wait_out("healed\n")
    mp.ok("lost" not in ears["m1"].out, "what was cut got lost, one way")
    mp.ok("lost" not in ears["m0"].out, "and both ways")
    net.slow("m0")()
    mp.note("slow links by %s" % net.how)
    for ear in ears.values():
        ear.kill()


class Faults:
    """What the workload's schedule carries out.  A target says all that the seed has drawn."""

    def __init__(self, net, group, members):
        self.net, self.group, self.members = net, group, members

    def owner_of(self, row):
        """The aggregator that orders the row, as far as any knows."""
        for one in self.members.values():
            try:
                owner = one.json("GET", "/v1/rows/%s?stale=ok" % row.replace("/", "%2F"))[1].get("owner")
            except OSError:
                continue
            if owner in self.members:
                return owner
        return MEMBERS[0]

    def leader(self):
        return ETCD[self.group.leader() or 0]

    def owner_cut(self, row):
        return self.net.isolate(self.owner_of(row))

    def leader_cut(self, how):
        """From all, or only from the other etcd members: aggregators still ask it."""
        leader = self.leader()
        if how == "all":
            return self.net.isolate(leader)
        return self.net.part([leader], [name for name in ETCD if name != leader])

    def minority_cut(self, names):
        """An aggregator goes with one etcd member: neither has a quorum."""
        few = names.split("+")
        return self.net.part(few, [name for name in self.net.names if name not in few])

    def majority_cut(self, names):
        """Most aggregators are with the one etcd member; or no etcd member sees another."""
        if names == "no quorum":
            return self.net.part(*[[name] for name in ETCD])
        return self.minority_cut(names)

    def ring_cut(self, order):
        return self.net.ring(order.split("+")[1:], int(order[0]))

    def one_way(self, names):
        """Of one to others, or of others to it."""
        one, way = names.split(" ")
        one = {"leader": self.leader, "owner": lambda: self.owner_of("a")}.get(one, lambda: one)()
        others = [name for name in self.net.names if name != one]
        return self.net.cut((one, name) if way == "out" else (name, one) for name in others)

    def slow_link(self, name):
        return self.net.slow(self.leader() if name == "leader" else name)

    def pause(self, name):
        self.members[name].pause()
        return self.members[name].resume

    def kill(self, name):
        self.members[name].kill()
        return self.members[name].start

    def kill_etcd(self, name):
        index = ETCD.index(name)
        self.group.kill(index)
        return lambda: self.group.start(index)

    def two(self, names):
        ends = [self.table()[kind](target) for kind, target in (one.split(": ") for one in names.split(" & "))]
        return lambda: [end() for end in reversed(ends)]

    def table(self):
        return {"owner cut": self.owner_cut, "leader cut": self.leader_cut, "minority cut": self.minority_cut,
                "majority cut": self.majority_cut, "ring cut": self.ring_cut, "one way": self.one_way,
                "slow link": self.slow_link, "two at once": self.two, "pause": self.pause, "kill": self.kill,
                "etcd killed": self.kill_etcd}


def kinds(rng):
    """The faults of a seed: {kind: (targets, shortest, longest)}."""
    def ring():
        return "%d+%s" % (rng.choice((1, 2)), "+".join(rng.sample(ETCD + MEMBERS, 6)))

    cuts = {
        "owner cut": sorted(rowfaults.ROWS),
        "leader cut": ["all", "peers"],
        "minority cut": ["%s+%s" % (one, other) for one in ETCD for other in MEMBERS],
        "majority cut": ["no quorum"] + ["%s+%s" % (one, "+".join(m for m in MEMBERS if m != other))
                                         for one in ETCD for other in MEMBERS],
        "ring cut": [ring() for _ in range(4)],
        "one way": ["%s %s" % (one, way) for one in [*ETCD, *MEMBERS, "leader", "leader", "owner", "owner"]
                    for way in ("out", "in")],
        "slow link": [*ETCD, *MEMBERS, "leader"],
    }
    more = {**cuts, "pause": MEMBERS, "kill": MEMBERS, "etcd killed": ETCD}
    pairs = [sorted(rng.sample(sorted(more), 2)) for _ in range(6)]
    cuts["two at once"] = [" & ".join("%s: %s" % (kind, rng.choice(more[kind])) for kind in pair)
                           for pair in pairs]
    return {kind: (targets, 0.5, LONGEST) for kind, targets in cuts.items()}


def test_faults(net, group, folder, seed):
    members = {name: netns.Aggregator(net.places[name], "--group", ",".join(group.urls),
                                      "--tenant", "seed%d" % seed, folder=folder) for name in MEMBERS}
    for one in members.values():
        one.wait_ready()
    path = rowfaults.history("partitions-%d" % seed)
    rng = random.Random("partitions/%d" % seed)
    table = kinds(rng)
    faults = rowfaults.turns(rng, table, SECONDS)
    for second, kind, target, lasts in faults:
        mp.note("%5.1f s %s: %s, for %.1f s" % (second, kind, target, lasts))
    load = Workload({name: one.url for name, one in members.items()}, path, seed=seed, rows=rowfaults.ROWS,
                    clients=8, admin=True, token=netns.TOKEN, timeout=2.0)
    load.run(faults=faults, executors=Faults(net, group, members).table())
    rowfaults.judge(load, path, table, "seed %d" % seed)
    for one in members.values():
        mp.is_(one.stop(), 0, "%s stops" % one.name)


net = netns.Net(ETCD + MEMBERS)
test_cuts(net)
group = netns.Group(net, ETCD)
group.wait()
folder = mp.workdir()
for seed in rowfaults.SEEDS:
    test_faults(net, group, folder, seed)
mp.done()

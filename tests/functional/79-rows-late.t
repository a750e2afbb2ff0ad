#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Transactions that come late, twice, or whose answer does not come.

Between aggregators and an etcd of three members stands a proxy.  Part 1: single
transactions, each with what must be known in the end: one that commits after its
time-out, one that is delivered twice and the second answer given, one whose
answer is lost, one that comes when its owner has died and another has taken over.
Part 2: the same at random, under load, with three aggregators, five, and one; the
history goes to tests/rows/check_history.
"""

import os
import random
import sys
import threading
import time

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import etcd
import etcdproxy
import mp
from aggregator import metric
import rowfaults
import shards
from workload import Workload

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)

SIZES = [3, 5, 1]  # of the seeds in turn


def members_of(wire, tenant, size=3):
    members = {name: aggregator.Aggregator(name, "--group", ",".join(wire.urls), "--tenant", tenant)
               for name in ["m%d" % i for i in range(size)]}
    for one in members.values():
        one.wait_ready()
    return members


def once(members, row, content, name):
    """Its content is in the row once, at every member."""
    for one in members.values():
        cells = mp.wait_for(lambda: one.json("GET", "/v1/rows/%s/cells" % row)[1].get("cells"), "cells")
        mp.is_(sum(one.json("GET", "/v1/rows/%s/cells/%d" % (row, cell["seq"]), None,
                            {"Accept": "application/json"})[1]["data"] == content for cell in cells), 1,
               "%s: it is there once, at %s" % (name, one.name))


def put_until(members, first, row, content, key, base):
    """Puts until an answer ends it, going round; all statuses."""
    order, statuses = [first] + [name for name in members if name != first], []
    for turn in range(20):
        one = members[order[turn % len(order)]]
        try:
            statuses.append(one.put(row, content, key=key, base=base)[0])
        except OSError:
            statuses.append(0)
        if statuses[-1] in (200, 201):
            break
    return statuses


class One:
    """A rule for the first flight with cells of a row; another for what kills it first."""

    def __init__(self, row, flight, others=None):
        self.row, self.flight, self.others = b"/cells/%s/" % row.encode(), flight, others
        self.lock, self.met = threading.Lock(), threading.Event()

    def __call__(self, txn):
        with self.lock:
            if txn.changes(self.row) and not self.met.is_set():
                self.met.set()
                return self.flight
            if not self.met.is_set() or not txn.changes(b"/owner/"):
                return None
            others, self.others = self.others, None
            return others


def test_single(wire, members):
    content = "aGVsbG8="
    cases = (("late", "gone", 0, ("request", 1.6)), ("resent", "again", 0, None),
             ("lost", "lost", 0, None), ("held", "answer", 3.0, None), ("double", "twice", 1.0, None))
    for row, name, seconds, others in cases:
        one = members["m0"]
        life = one.put(row, "first")[1]["incarnation"]
        rule = One(row, (name, seconds), others)
        wire.rule = rule
        began = time.monotonic()
        statuses = put_until(members, "m0", row, "hello", "k", life + ":1")
        mp.ok(rule.met.is_set() and statuses[-1] in (200, 201),
              "%s: statuses %s within %.1f s" % (row, statuses, time.monotonic() - began))
        wire.rule = None
        mp.is_(one.put(row, "hello", key="k", base=life + ":1")[0], 200, "%s: again it is the same" % row)
        mp.is_(one.put(row, "next")[1]["seq"], 3, "%s: and the row goes on behind it" % row)
        once(members, row, content, row)
    mp.ok(etcdproxy.wait_count(wire, "late", 1), "one has committed after its asker had gone")
    mp.wait_for(lambda: wire.counts["request done"] == wire.counts["request"] + wire.counts["gone"], "all of them")
    mp.is_(wire.counts.get("late twice", 0), 0, "no second one has")
    mp.ok(sum(metric(one, "flights_killed_total") for one in members.values()) > 0, "flights were killed, and counted")


def test_orphan(wire, members):
    """Its owner dies while it is under way; it arrives when another owns the shard."""
    life = members["m0"].put("orphan", "first")[1]["incarnation"]
    owner = members["m0"].get("/v1/rows/orphan")[1]["owner"]
    arrives = threading.Event()
    rule = One("orphan", ("request", arrives))
    wire.rule = rule
    statuses, late = [], wire.counts.get("late", 0)
    asker = threading.Thread(target=lambda: statuses.extend(
        put_until(members, owner, "orphan", "hello", "k", life + ":1")))
    asker.start()
    mp.ok(rule.met.wait(mp.DEADLINE), "orphan: the flight is under way")
    arrived = wire.counts.get("request done", 0)
    members[owner].kill()
    asker.join()
    wire.rule = None
    mp.is_(statuses[-1], 201, "orphan: another owner takes it: %s" % statuses)
    others = {name: one for name, one in members.items() if name != owner}
    for one in others.values():
        mp.is_(one.put("orphan", "more")[0], 201, "orphan: and what comes then")
    arrives.set()
    mp.wait_for(lambda: wire.counts.get("request done", 0) > arrived, "the late one")
    mp.is_(wire.counts.get("late", 0), late, "orphan: the flight of the dead has changed nothing")
    once(others, "orphan", "aGVsbG8=", "orphan")
    members[owner].start().wait_ready()
    once(members, "orphan", "aGVsbG8=", "orphan, with its old owner")


def test_heartbeat(group, members):
    """A row has a new life, of which no cell is there yet: streams of the old one do not tell of it."""
    one = members["m1"]
    one.put("old", "cell")
    one.put("model", "cell")
    life = one.get("/v1/rows/old")[1]["incarnation"]
    head = group.get(0, "middlepipe/single/row/model")
    stream = mp.Process([sys.executable, "-c", STREAM, one.url + "/v1/subscribe?row=old&heartbeat=100"])
    stream.wait_out("heartbeat " + life)
    mp.ok(group.put(0, "middlepipe/single/row/old", head), "heartbeat: a head without its cells")
    mp.wait_for(lambda: one.get("/v1/rows?prefix=old")[1]["rows"][0]["incarnation"] != life, "the new head")
    seen = len(stream.out)
    mp.wait_for(lambda: stream.out[seen:].count("beat\n") >= 3, "three heartbeats")
    mp.is_({word for word in stream.out[seen:].split() if len(word) == 16} - {life}, set(),
           "heartbeat: only its own life is told")
    stream.kill()


STREAM = """import json, sys, urllib.request
n, event = 0, None
for line in urllib.request.urlopen(urllib.request.Request(sys.argv[1], headers={"Accept": "text/event-stream"})):
    name, _, value = line.decode().strip().partition(": ")
    if name == "event":
        event = value
    if name == "data":
        print(event, json.loads(value).get("incarnation", "-"), flush=True)
        print("beat", flush=True)
"""


# ------------------------------------------------------------------------- under load

def rules(seed):
    """{kind: (what the proxy does, shortest, longest)}; lateness is around the time-out of 700 ms."""
    return {"request late": ("request", 0.2, 2.0), "answer held": ("answer", 0.2, 2.0),
            "answer lost": ("lost", 0.0, 0.0), "sent again": ("again", 0.0, 0.0),
            "sent twice": ("twice", 0.0, 2.5)}


def test_load(group, wire, seed):
    members = members_of(wire, "seed%d" % seed, SIZES[(seed - 1) % len(SIZES)])
    mp.note("seed %d: %d members" % (seed, len(members)))
    path = rowfaults.history("late-%d" % seed)
    rng = random.Random("late/%d" % seed)
    kinds = {kind: (["0.3", "0.6"], 0.6, 2.0) for kind in rules(seed)}
    kinds["late and killed"] = (sorted(members), 0.3, 1.0)
    kinds["late and paused"] = (sorted(members), 0.5, 1.5)

    def wired(kind):
        name, shortest, longest = rules(seed)[kind]
        return lambda share: etcdproxy.during(
            wire, etcdproxy.sometimes(random.Random("%s/%d" % (kind, seed)), float(share), name, shortest, longest))

    def late_and(begin):
        """All that is sent arrives late; meanwhile the fault."""
        def executor(target):
            heal = wired("request late")("0.8")
            end = begin(members[target])
            return lambda: (heal(), end())
        return executor

    def kill(one):
        one.kill()
        return one.start

    def pause(one):
        one.pause()
        return one.resume

    executors = {kind: wired(kind) for kind in rules(seed)}
    executors["late and killed"], executors["late and paused"] = late_and(kill), late_and(pause)
    faults = rowfaults.turns(rng, kinds, rowfaults.seconds(8))
    before = dict(wire.counts)
    load = Workload({name: one.url for name, one in members.items()}, path, seed=seed,
                    rows=rowfaults.ROWS, clients=8, admin=True, timeout=2.0)
    load.run(seconds=rowfaults.length(faults), faults=faults, executors=executors)
    counts = {name: wire.counts[name] - before.get(name, 0) for name in sorted(wire.counts)}
    mp.note("seed %d: %s" % (seed, counts))
    for name in ("request", "answer", "lost", "again", "twice"):
        mp.ok(counts.get(name), "seed %d: %s happened" % (seed, name))
    mp.is_(counts.get("late twice", 0), 0, "seed %d: no flight happened twice" % seed)
    rowfaults.judge(load, path, kinds, "seed %d" % seed)
    for one in members.values():
        mp.is_(one.stop(), 0, "%s stops" % one.name)


group = etcd.Group(3)
group.wait()
wire = etcdproxy.Wire(group.urls)
members = members_of(wire, "single")
mp.wait_for(lambda: shards.settled(list(members.values())), "each shard at its place: none moves during a case", 3 * mp.DEADLINE)
test_single(wire, members)
test_orphan(wire, members)
test_heartbeat(group, members)
for one in members.values():
    one.stop()
for seed in rowfaults.seeds("1 2 3"):
    test_load(group, wire, seed)
mp.done()

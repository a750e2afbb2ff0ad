#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Groups whose etcd gets full: puts of cells end at 80 % of its quota, and all else goes on.

Floors, policies, repetitions, deletions and takeovers are committed then, no member raises
etcd's alarm, and when etcd was compacted and defragmented puts go on.  With somebody else's etcd of three members
and two aggregators, and with one of our own.
"""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import etcd
import managed
import mp
from aggregator import metric

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)

QUOTA = 32 << 20
CELL = 256 << 10
PUTTERS = 4


def fill(members, rows):
    """Puts into all rows at once until the status calls it full: {row: (cells, status, answer)}, and the bytes."""
    ends, put_bytes = {}, []

    def put_all(one, row):
        cells, size, refused = 0, CELL, 0
        while True:
            status, told = one.put(row, os.urandom(size), key="%s-%d" % (row, cells + 1))
            if status == 201:
                cells, refused = cells + 1, 0
                put_bytes.append(size)
            elif status != 507 or one.get("/v1/status")[1]["engine"]["full"]:
                ends[row] = (cells, status, told)
                return
            else:  # what is left is less than that cell, as far as is known until etcd has told of all
                refused += 1
                size = max(1, size // 16) if refused % 120 == 0 else size
                time.sleep(0.02)

    threads = [threading.Thread(target=put_all, args=(members[i % len(members)], row)) for i, row in enumerate(rows)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends, sum(put_bytes)


def sizes(ask):
    reply = ask("/v3/maintenance/status", {})
    return int(reply["dbSize"]), int(reply["dbSizeInUse"])


def is_full(members, ask, quota):
    """Fills it; what each row has."""
    rows = ["r%d" % n for n in range(PUTTERS)]
    ends, size = fill(members, rows)
    cells = sum(end[0] for end in ends.values())
    mp.ok(quota * 4 // 10 < size < quota, "%d cells of %d bytes find room" % (cells, size))
    mp.is_({(status, told.get("code")) for _, status, told in ends.values()}, {(507, "full")}, "then there is none")
    mp.like(ends["r0"][2]["error"], "compact etcd, defragment its members one at a time", "and what to do is told")
    used = sizes(ask)[0]
    mp.ok(quota * 6 // 10 < used < quota, "at %d %% of the quota" % (used * 100 // quota))
    one = members[0]
    mp.wait_for(lambda: one.get("/v1/status")[1]["engine"]["full"], "the status says so")
    mp.is_(metric(one, "engine_full"), 1, "and the metrics")
    engine = one.get("/v1/status")[1]["engine"]
    mp.is_((engine["quota"], engine["serving"]), (quota, True), "and how large it may be")
    mp.like(engine["text"], "disarm each alarm by its member id", "and what to do")
    mp.ok(sum(metric(each, 'limits_reached_total{limit="engine"}') for each in members) >= PUTTERS, "it is counted")
    mp.ok(metric(one, "engine_in_use_bytes") > 0 and metric(one, "engine_quota_bytes") == quota, "and measured")
    return {row: end[0] for row, end in ends.items()}


def goes_on(one, held, ask):
    """What makes room, and what takes none."""
    status, told = one.get("/v1/rows/r1")
    mp.is_((status, told["highest"]), (200, held["r1"]), "reads go on")
    status, told = one.put("r0", b"x", key="r0-1", base="%s:0" % one.get("/v1/rows/r0")[1]["incarnation"])
    mp.ok(status in (200, 422), "a repetition is found: %d" % status)
    mp.is_(one.put("r0", b"x", key="new")[0], 507, "a small cell is turned away, too")
    mp.is_(one.json("PUT", "/v1/rows/r1", {"keep_cells": 3})[0], 200, "policies are set")
    mp.is_(one.json("POST", "/v1/rows/r2/compact", {"floor": held["r2"]})[1].get("floor"), held["r2"], "a floor moves")
    mp.is_(one.json("DELETE", "/v1/rows/r0")[0], 200, "a row is deleted")
    mp.ok(not ask("/v3/maintenance/alarm", {"action": "GET"}).get("alarms"), "no alarm was raised")


def make_room(asks):
    """As the status says.  Compacting such large values makes the file larger at first, perhaps up to the alarm."""
    told = asks[0]("/v3/kv/range", {"key": etcd.text("x"), "count_only": True})
    if "header" not in told:
        return  # etcd was killed and is not back yet
    asks[0]("/v3/kv/compaction", {"revision": told["header"]["revision"], "physical": True})
    for ask in asks:
        ask("/v3/maintenance/defragment", {})
    for alarm in asks[0]("/v3/maintenance/alarm", {"action": "GET"}).get("alarms", []):
        mp.note("alarm %s" % alarm)
        asks[0]("/v3/maintenance/alarm", {"action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": "NOSPACE"})


def has_room(one, asks):
    """Room is made until a put goes: what was deleted leaves in slices."""
    def try_it():
        make_room(asks)
        return one.put("again", b"y")[0] == 201

    mp.wait_for(try_it, "puts go on when etcd was compacted and defragmented", 60)
    mp.wait_for(lambda: not one.get("/v1/status")[1]["engine"]["full"], "and the status says so")
    mp.is_(metric(one, "engine_full"), 0, "and the metrics")
    mp.is_(one.get("/v1/status")[1]["engine"]["text"], "", "without a word")


def part_foreign():
    # It writes its file late, as on a busy disk: what it says of its size lacks the last puts.
    group = etcd.Group(3, ["--quota-backend-bytes=%d" % QUOTA, "--backend-batch-interval=700ms"])
    group.wait()

    def asker(member):
        return lambda path, body: group.call(member, path, body)[1]

    asks = [asker(member) for member in range(3)]
    words = ["--group", ",".join(group.urls), "--etcd-quota", "32M"]
    members = [aggregator.Aggregator("m%d" % n, *words) for n in (1, 2)]
    for one in members:
        one.wait_ready()
    held = is_full(members, asks[0], QUOTA)
    members[0].kill()
    two = members[1]
    mp.wait_for(lambda: two.ready() and two.get("/v1/status")[1]["shards"]["owned"] == 64, "a takeover of all shards", 30)
    mp.ok(True, "another member takes over")
    goes_on(two, held, asks[0])
    has_room(two, asks)
    mp.is_(two.stop(), 0, "it stops")
    group.close()


def part_managed():
    one = managed.Managed("own", "--etcd-quota", "16M").wait_ready()
    mp.is_(one.etcd_flag("quota-backend-bytes"), str(16 << 20), "its own etcd has the quota")
    member = etcd.Group(1, start=False)
    member.urls = [one.identity()["client"]]

    def ask(path, body):
        return member.call(0, path, body)[1]

    held = is_full([one], ask, 16 << 20)
    goes_on(one, held, ask)
    one.kill_etcd()
    mp.wait_for(lambda: one.ready(), "etcd again", 30)
    mp.is_(one.put("r3", b"x")[0], 507, "full after a restart, too")
    has_room(one, [ask])
    mp.is_(one.stop(), 0, "it stops")


part_foreign()
part_managed()
few = aggregator.Aggregator("few", "--etcd-quota", "1M", start=False)
try:
    few.start()
    mp.ok(False, "a quota of 1 MiB is refused")
except AssertionError as error:
    mp.like(str(error), "16M at least", "a quota of 1 MiB is refused")
mp.done()

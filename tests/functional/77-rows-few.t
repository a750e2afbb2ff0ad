#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Seven mp-aggregators on a real etcd: three of them own all shards, the others forward.

All see the same three, puts are taken everywhere, and when one of the three is killed its
rows go on at once and another member takes its place; and gives it back.
"""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import etcd
import exposition
import mp

SIZE, FEW, ROWS, PATIENCE = 7, 3, 24, 120

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)


def chosen_at(one):
    """Whom it sees chosen."""
    told = one.get("/v1/members")[1]["members"]
    return {m["member"] for m in told if m["chosen"]}


def owners_at(one):
    return {o["member"] for o in one.get("/v1/owners")[1]["owners"]}


def settled(members, names):
    """The few, once everybody sees the same ones, of these names, and they own all; else None."""
    few = chosen_at(members[0])
    alike = len(few) == FEW and few <= names and all(chosen_at(one) == few and owners_at(one) == few for one in members)
    return few if alike else None


def wait_settled(members, what):
    """The few of these members; others may be dead, and are still seen for a while."""
    few = mp.wait_for(lambda: settled(members, {one.name for one in members}), what, PATIENCE)
    mp.ok(True, "%s: %s" % (what, sorted(few)))
    return few


def by_name(members, name):
    return next(one for one in members if one.name == name)


def test_told(members, few):
    """Status, metrics and the command say who forwards."""
    status = {one.name for one in members if one.get("/v1/status")[1]["chosen"]}
    mp.is_(status, few, "each knows what it is")
    metric = [exposition.read(one.call("GET", "/metrics")[2].decode())["middlepipe_rows_chosen"].value() for one in members]
    mp.is_(metric, [int(one.name in few) for one in members], "and its metrics say so")
    code, out, err = mp.middlepipe("rows", "members", "--url", members[0].url)
    mp.is_(code, 0, "rows members: %s" % err)
    lines = {line.split()[0]: line for line in out.splitlines()[1:] if line.strip()}
    mp.is_({name for name, line in lines.items() if "forwards" in line}, {one.name for one in members} - few,
           "the others forward")


def test_puts(members):
    answers = [members[i % SIZE].put("r%d" % i, "x")[0] for i in range(ROWS)]
    mp.is_(answers, [201] * ROWS, "any member takes a put")
    # A share may still grow: what has just moved stays for two seconds.
    mp.wait_for(lambda: len({members[-1].get("/v1/rows/r%d" % i)[1]["owner"] for i in range(ROWS)}) == FEW, "three owners")
    mp.ok(True, "%d members order the rows" % FEW)


def test_killed(members, few):
    gone = by_name(members, sorted(few)[0])
    rows = [i for i in range(ROWS) if members[-1].get("/v1/rows/r%d" % i)[1]["owner"] == gone.name]
    rest = [one for one in members if one is not gone]
    gone.kill()
    begin = time.monotonic()
    seqs = [rest[i % len(rest)].put("r%d" % i, "y")[1].get("seq") for i in rows]
    mp.is_(seqs, [2] * len(rows), "the %d rows of one that is killed go on, within %d ms" % (
        len(rows), (time.monotonic() - begin) * 1000))
    now = wait_settled(rest, "another takes its place")
    mp.is_(len(now & few), FEW - 1, "those that were there stay")
    gone.start().wait_ready()
    # It is ready before its key is there for all to see: until then they still agree on the others.
    mp.wait_for(lambda: settled(members, {one.name for one in members}) == few, "the same three again", PATIENCE)
    mp.ok(True, "and gives it back: the same three")
    told = [len(members[i % SIZE].get("/v1/rows/r%d/cells" % i)[1]["cells"]) for i in range(ROWS)]
    mp.is_(told, [2 if i in rows else 1 for i in range(ROWS)], "each put is there once")


group = etcd.Group(1)
group.wait()
everyone = [aggregator.Aggregator("f%d" % i, "--group", ",".join(group.urls)) for i in range(SIZE)]
for each in everyone:
    each.wait_ready()
three = wait_settled(everyone, "three own all shards")
test_told(everyone, three)
test_puts(everyone)
test_killed(everyone, three)
for each in everyone:
    mp.is_(each.stop(), 0, "%s stops" % each.name)
group.close()
mp.done()

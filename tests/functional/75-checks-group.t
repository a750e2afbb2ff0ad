#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Semantic checks in a group of aggregators on a real etcd.

A state of several MiB is stored in parts that etcd takes; whoever takes a row over
goes on from it, and judges as its owner did.  Where one member alone has a check, it
gets the rows that have it, and puts into them go there from anywhere.
"""

import base64
import http.client
import json
import os
import shutil
import sys
import threading

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path.insert(0, LIB)
import aggregator
import etcd
import mp

KEYS, AT_ONCE, LONG = 6000, 1000, "x" * 240
RACE, KILLS = 300, 4  # keys, and members that are killed meanwhile
LONE = 8  # rows whose check one member has
CELLS = {"Content-Type": "application/vnd.middlepipe.cells+json"}

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)


def claim(key, holder):
    return json.dumps({"claim": key, "holder": holder})


def settled(one, row, content):
    """The answer once there is one: 503 and 504 are asked again, with one key."""
    said = {"key": os.urandom(8).hex()}
    answer = []

    def ask():
        try:
            status, fields, body = one.call("POST", "/v1/rows/%s/cells" % row, content,
                                            {"Idempotency-Key": said["key"], **said.get("base", {})})
        except (OSError, http.client.HTTPException):
            return False
        if fields.get("Middlepipe-Base"):
            said["base"] = {"Middlepipe-Base": fields["Middlepipe-Base"]}
        answer[:] = [status, json.loads(body)]
        return status not in (503, 504)

    mp.wait_for(ask, "an answer about %s" % content, deadline=60)
    return answer


def owner_of(one, row):
    return one.get("/v1/rows/" + row)[1]["owner"]


def test_large(members):
    """Some MiB of claims, and a snapshot of them."""
    status, _ = members[0].json("PUT", "/v1/rows/nat", {"check": "unique"})
    mp.is_(status, 201, "a row with a check")
    good = 0
    for start in range(0, KEYS, AT_ONCE):
        cells = [base64.b64encode(claim("%s%d" % (LONG, i), "a" + LONG).encode()).decode()
                 for i in range(start, start + AT_ONCE)]
        good += members[start // AT_ONCE % 2].json("POST", "/v1/rows/nat/cells", json.dumps({"cells": cells}), CELLS)[0] == 201
    mp.is_(good, KEYS // AT_ONCE, "%d keys are claimed" % KEYS)
    status, told = members[0].json("POST", "/v1/rows/nat/compact", json.dumps({"floor": KEYS}))
    mp.is_((status, told.get("floor"), told.get("snapshot")), (200, KEYS, KEYS), "the floor is moved")
    for one in members:
        status, fields, body = one.call("GET", "/v1/rows/nat/snapshot")
        mp.ok(status == 200 and len(body) > KEYS * 2 * len(LONG) and body.startswith(b"uniq"),
              "%s has the snapshot, of %d KiB" % (one.name, len(body) >> 10))


def test_takeover(members):
    """The owner is killed: the other judges by the same state."""
    first = owner_of(members[0], "nat")
    dead, other = sorted(members, key=lambda one: one.name != first)
    dead.kill()
    status, told = settled(other, "nat", claim("%s17" % LONG, "b"))
    mp.is_(status, 409, "what was claimed before stays so: %s" % told["error"][-30:])
    mp.is_(settled(other, "nat", claim("free", "b"))[0], 201, "what is free can be claimed")
    mp.is_(owner_of(other, "nat"), other.name, "by the new owner")
    dead.start().wait_ready()


def test_race(members):
    """Both members are asked for the same keys while they are killed in turn."""
    won, ended = {}, threading.Event()

    def claims(who):
        one = members[who % 2]
        for i in range(RACE):
            if settled(one, "race", claim("k%d" % i, "c%d" % who))[0] in (200, 201):
                won.setdefault("k%d" % i, []).append("c%d" % who)

    def kills():
        """At so many keys, not at times: there is something under way at each, however fast it goes."""
        for turn in range(KILLS):
            while len(won) <= RACE * (turn + 1) // (KILLS + 1):
                if ended.wait(0.002):
                    return
            members[turn % 2].kill()
            members[turn % 2].start()

    members[0].json("PUT", "/v1/rows/race", {"check": "unique", "keep_cells": 5})
    threads = [threading.Thread(target=claims, args=[who]) for who in range(6)]
    killer = threading.Thread(target=kills)
    for one in threads + [killer]:
        one.start()
    for one in threads:
        one.join()
    ended.set()
    killer.join()
    mp.is_([key for key, holders in won.items() if len(holders) != 1], [], "no key was given to two")
    mp.is_(len(won), RACE, "each was given to one")
    members[0].wait_ready()
    lives = sum(one.lives for one in members)
    mp.ok(lives > 3, "they were killed %d times" % (lives - 2))
    wrong = [key for key, holders in won.items() if settled(members[0], "race", claim(key, holders[0]))[0] != 201]
    mp.is_(wrong, [], "and who has it still has it")


def test_lone(members):
    """Rows of a check that the last of three has; they are made at one without it."""
    folder = os.path.join(mp.workdir(), "halves")
    os.mkdir(folder)
    shutil.copy(os.path.join(mp.TEST_BIN, "halves", "both.so"), folder)
    one = aggregator.Aggregator("c2", "--group", ",".join(group.urls), "--halves-dir", folder).wait_ready()
    for each in members:
        mp.wait_for(lambda: len(each.get("/v1/members")[1]["members"]) == 3, "three members")
    told = {m["member"]: sorted(m["checks"]) for m in members[0].get("/v1/members")[1]["members"]}
    mp.is_(told, {"c0": ["sum", "unique"], "c1": ["sum", "unique"], "c2": ["both", "sum", "unique"]}, "each says what it has")
    made = [members[i % 2].json("PUT", "/v1/rows/lone%d" % i, {"check": "both"}) for i in range(LONE)]
    mp.is_([(status, row.get("rules")) for status, row in made], [(201, 1)] * LONE, "a check that another member has is taken")
    status, row = members[0].json("PUT", "/v1/rows/lone0", {"check": "none-such"})
    mp.is_(status, 400, "one that nobody has is not: %s" % row["error"])
    everyone = [*members, one]
    answers = [settled(at, "lone%d" % i, "by %s" % at.name)[0] for i in range(LONE) for at in everyone]
    mp.is_(answers, [201] * len(answers), "every put is committed, wherever it is sent")
    owners = [owner_of(members[0], "lone%d" % i) for i in range(LONE)]
    mp.is_(owners, ["c2"] * LONE, "by the one that can judge")
    mp.ok(any(o["member"] != "c2" for o in members[0].get("/v1/owners")[1]["owners"]), "other shards stay where they were")
    one.kill()
    mp.wait_for(lambda: owner_of(members[0], "lone0") != "c2", "its shards are taken over")
    status, row = members[0].put("lone0", "x")
    mp.is_((status, row["error"]), (503, "this member has not the row's check"), "without it nobody can judge")
    one.start()
    mp.is_(settled(members[1], "lone0", "again")[0], 409, "it judges again when it is back: there are three cells")
    mp.is_([len(members[0].get("/v1/rows/lone%d/cells" % i)[1]["cells"]) for i in range(LONE)], [3] * LONE,
           "each put is there once")
    return one


group = etcd.Group(1)
group.wait()
members = [aggregator.Aggregator("c%d" % i, "--group", ",".join(group.urls), "--snapshot-cells", "10").wait_ready()
           for i in range(2)]
test_large(members)
test_takeover(members)
test_race(members)
members.append(test_lone(members))
for one in members:
    one.wait_ready()
    mp.is_(one.stop(), 0, "%s stops" % one.name)
mp.done()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Going on from an etcd that was restored from a backup.

Somebody else's etcd of three members, under puts: a snapshot is taken, more is put, and all
members are restored from it under another cluster token (etcd's own disaster recovery).  What was
acknowledged behind the snapshot is lost then; nobody serves what is left until the loss is accepted by its
number.  Then the generation is another one, owners and members of before are gone,
nothing of the old cluster can be committed, what was in the snapshot is there once
and in order, and clients that have seen more are told.  Last, the same with who accepts it
killed before its transaction arrives, and behind it before the answer comes.
"""

import base64
import json
import os
import re
import shutil
import sys
import threading

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")]
import aggregator
import etcd
import mp

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)

ROWS = ["a", "b", "chains/x"]
MANY = ["many/%d" % i for i in range(12)]  # of several members
PATIENCE = 3 * mp.DEADLINE
META = "middlepipe/default/meta"


def restore(group, snapshot, token):
    """All members, which have ended, come back with what the snapshot has, as another cluster."""
    cluster = ",".join("m%d=%s" % pair for pair in enumerate(group.peers))
    for i in range(group.size):
        shutil.rmtree(group.path(i))
        etcd.ctl("snapshot", "restore", snapshot, "--name", "m%d" % i, "--initial-cluster", cluster,
                 "--initial-cluster-token", token, "--initial-advertise-peer-urls", group.peers[i],
                 "--data-dir", group.path(i))
    group.token = token
    for i in range(group.size):
        group.start(i)
    group.wait(deadline=PATIENCE)


def end(group):
    for i in range(group.size):
        group.kill(i)


def meta(group):
    return json.loads(group.get(0, META))


def owners(group):
    """{key: value} of all shards' owners."""
    status, reply = group.call(0, "/v3/kv/range", {"key": etcd.text("middlepipe/default/owner/"),
                                                  "range_end": etcd.text("middlepipe/default/owner0")})
    assert status == 200, reply
    return {base64.b64decode(kv["key"]).decode(): json.loads(base64.b64decode(kv["value"]))
            for kv in reply.get("kvs", [])}


def cells(one, row):
    """[(seq, content, key)] of the whole row."""
    found, name = [], row.replace("/", "%2F")
    while True:
        status, told = one.get("/v1/rows/%s/cells?from=%d" % (name, len(found) + 1))
        assert status == 200, told
        found += [(cell["seq"], base64.b64decode(cell["data"]).decode(), cell["key"]) for cell in told["cells"]]
        if len(found) >= told["highest"]:
            return found


class Putter(threading.Thread):
    """Puts one cell after the other into a row; what was answered, as [(seq, content)]."""

    def __init__(self, one, row):
        super().__init__(daemon=True)
        self.one, self.row, self.acked, self.unknown, self.incarnation = one, row, [], [], None
        self.over = threading.Event()

    def run(self):
        n = 0
        while not self.over.is_set():
            n += 1
            content = "%s %d" % (self.row, n)
            status, told = self.one.put(self.row, content, key=content)
            if status == 201:
                self.acked.append((told["seq"], content))
                self.incarnation = told["incarnation"]
            else:
                self.unknown.append(content)

    def end(self):
        self.over.set()
        self.join()


def refusal(group):
    """What a start says without the number; and the number."""
    code, _, said = mp.run(aggregator.Aggregator("fresh", "--group", ",".join(group.urls), start=False).command(1),
                           deadline=PATIENCE)
    mp.is_(code, 1, "a start on a restored etcd is refused")
    mp.ok("a backup was restored" in said and "end all mp-aggregators" in said, "it says why: " + said[-420:].strip())
    found = re.search(r"--accept-loss ([0-9a-f]{8})\b", said)
    return said, found.group(1) if found else ""


def test_restore(group):
    members = [aggregator.Aggregator("m%d" % i, "--group", ",".join(group.urls)).wait_ready() for i in range(3)]
    first = meta(group)
    mp.is_((first["generation"], "cluster" in first), (1, True), "a group knows its etcd's cluster")
    putters = [Putter(one, row) for one, row in zip(members, ROWS)]
    for one in putters:
        one.start()
    mp.wait_for(lambda: all(len(one.acked) >= 20 for one in putters), "cells for the snapshot", PATIENCE)
    before = [len(one.acked) for one in putters]
    meta(group)  # linearizable: etcd's member 0, whose snapshot that is, has all of them
    snapshot = os.path.join(mp.workdir(), "snapshot")
    etcd.ctl("--endpoints", group.urls[0], "snapshot", "save", snapshot)
    saved = [len(one.acked) for one in putters]
    mp.wait_for(lambda: all(len(one.acked) >= at + 20 for one, at in zip(putters, saved)), "more than it has", PATIENCE)
    for one in putters:
        one.end()
    mp.is_([one.unknown for one in putters], [[], [], []], "every put was acknowledged")
    mp.is_(members[0].put("later", "x")[0], 201, "and a row that is not in the snapshot")

    # One member ends, one is stopped with a put at its door and its shards in hand, one goes on and finds out by itself.
    mp.is_(members[2].stop(), 0, "a member ends")
    mp.wait_for(lambda: sorted({told["member"] for told in owners(group).values()}) == ["m0", "m1"], "two owners")
    end(group)
    members[1].pause()
    late = {}

    def ask():
        fields = {"Idempotency-Key": "late", "Middlepipe-Base": "%s:%d" % (putters[1].incarnation, before[1])}
        late["answer"] = members[1].call("POST", "/v1/rows/%s/cells" % ROWS[1], "late", fields, timeout=10 * PATIENCE)[0]
    asker = threading.Thread(target=ask, daemon=True)  # it waits as long as all of what follows takes
    asker.start()
    restore(group, snapshot, "another-token")
    mp.wait_for(lambda: members[0].json("GET", "/v1/status")[1]["engine"]["damaged"], "that who goes on knows", PATIENCE)
    told = [members[0].put(row, "no") for row in MANY]
    mp.ok(all(status == 503 and "restored" in answer["error"] and "--accept-loss" in answer["error"] for status, answer in told),
          "who goes on takes nothing, and says what to do, whoever owned the row: %s" % told)
    mp.ok(not any("highest" in answer for _, answer in told), "and nothing of rows that are not there")
    status, told = members[0].get("/v1/rows/a/cells/latest")
    mp.ok(status == 503 and "--accept-loss" in told["error"], "it reads nothing, and says the same: %s" % told)
    mp.ok(not members[0].ready(), "and is not ready")
    mp.is_([aggregator.metric(members[0], "engine_" + name) for name in ("damaged", "serving")], [1, 0], "so the metrics say")

    _, number = refusal(group)
    mp.is_(meta(group), first, "the refused start has changed nothing")
    code, _, said = mp.run(aggregator.Aggregator("wrong", "--group", ",".join(group.urls), "--accept-loss", "00000000",
                                                start=False).command(1), deadline=PATIENCE)
    mp.ok(code == 1 and number in said, "another number is refused likewise")
    old = owners(group)
    new = aggregator.Aggregator("new", "--group", ",".join(group.urls), "--accept-loss", number).wait_ready()
    now = meta(group)
    mp.is_((now["group"], now["generation"], now["shards"]), (first["group"], 2, first["shards"]),
           "the same group of the next generation")
    mp.ok(now["cluster"] != first["cluster"], "in the other cluster")
    mp.ok(old and {told["member"] for told in owners(group).values()} == {"new"}, "all owners were rewritten")
    said = new.process.wait_err("what was put behind that is lost", PATIENCE) and new.process.err
    mp.ok(first["cluster"] in said and now["cluster"] in said and "generation=2" in said, "its log says from where to where")
    for i, row in enumerate(ROWS):
        have = cells(new, row)
        told = dict(putters[i].acked)
        mp.ok(before[i] <= len(have) < len(told), "%s: %d of %d cells are there, %d at least" %
              (row, len(have), len(told), before[i]))
        mp.ok(all((seq, content, content) == (n + 1, told[n + 1], told[n + 1])
                  for n, (seq, content, _) in enumerate(have)), "%s: each once and in order, as it was acknowledged" % row)
        mp.ok(re.search(r'row=%s incarnation=%s highest=%d\b' % (row, putters[i].incarnation, len(have)), said),
              "%s: the log says how far it goes" % row)

    test_clients(new, putters[0])
    # The one that was stopped has a put from before, and its shards; it goes on and cannot commit.
    members[1].resume()
    asker.join(PATIENCE)
    mp.ok(late.get("answer") in (503, 504), "the old member does not acknowledge: %s" % (late.get("answer"),))
    mp.ok(not members[1].ready() and not members[0].ready(), "old members are not ready")
    mp.ok("late" not in [content for _, content, _ in cells(new, ROWS[1])], "and commit nothing")
    for one in members[:2]:
        mp.is_(one.stop(), 0, "%s stops" % one.name)
        one.start().wait_ready()
    mp.is_(meta(group)["generation"], 2, "they join again without the number")
    status, told = members[1].put(ROWS[1], "late", key="late")
    mp.is_(status, 201, "and take puts again: %s" % told)
    mp.is_([one.get("/v1/rows/b/cells/latest", Accept="application/json")[1]["key"] for one in (*members[:2], new)],
           ["late"] * 3, "which all see")
    mp.is_(new.stop(), 0, "who accepted it stops")
    new.start().wait_ready()
    mp.is_(meta(group)["generation"], 2, "the number that is still among its options does nothing")
    mp.is_([one.stop() for one in (*members[:2], new)], [0, 0, 0], "the end")
    return snapshot


def test_clients(new, putter):
    """What those are told who have seen more than there is."""
    row, have, acked = putter.row, len(cells(new, putter.row)), putter.acked
    seq, content = acked[have - 1]
    status, told = new.put(row, content, key=content, base="%s:%d" % (putter.incarnation, seq - 1))
    mp.is_((status, told["seq"]), (200, seq), "a retry of what was in the snapshot gets its first answer")
    status, told = new.put(row, "new", key="n", base="%s:%d" % (putter.incarnation, len(acked)))
    mp.ok(status == 410 and "restored" in told["error"], "a base that was lost is 410: %s" % told)
    seq, content = acked[have]
    status, told = new.put(row, content, key=content, base="%s:%d" % (putter.incarnation, have))
    mp.is_((status, told["seq"]), (201, seq), "a lost put, sent again with its key and base, is put anew")
    status, told = new.put(row, content, key=content, base="%s:%d" % (putter.incarnation, have))
    mp.is_((status, told["seq"]), (200, seq), "once")
    status, told = new.put("later", "x", base="%s:0" % putter.incarnation)
    mp.is_(status, 410, "a base of a row that was lost as a whole is 410: %s" % told)


def test_killed(group, snapshot):
    """Who accepts it dies while its transaction is on the way, and when it has happened."""
    import etcdproxy

    end(group)
    restore(group, snapshot, "a third token")
    _, number = refusal(group)
    wire = etcdproxy.Wire(group.urls)
    before = {told["member"] for told in owners(group).values()}
    for what, generation in (("request", 1), ("answer", 2)):
        asked = threading.Event()

        def rule(txn):
            if txn.changes(META.encode()):
                asked.set()
                return what, 3600  # as long as the wire is there
            return None
        wire.rule = rule
        one = aggregator.Aggregator("killed-" + what, "--group", ",".join(wire.urls), "--accept-loss", number, start=False)
        one.launch()
        mp.ok(asked.wait(PATIENCE), "%s: its transaction is on the way" % what)
        if generation == 2:
            mp.wait_for(lambda: meta(group)["generation"] == 2, "that it happened", PATIENCE)
        one.kill()
        mp.is_(meta(group)["generation"], generation, "%s: killed, and the generation is %d" % (what, generation))
        mp.is_(before <= {told["member"] for told in owners(group).values()}, generation == 1,
               "and owners are %s" % ("as they were" if generation == 1 else "not those of before"))
        if generation == 1:
            refusal(group)  # nothing was changed
    one = aggregator.Aggregator("again", "--group", ",".join(group.urls), "--accept-loss", number).wait_ready()
    mp.is_(meta(group)["generation"], 2, "the next start goes on, and raises it no more")
    mp.is_(one.put("a", "on")[0], 201, "and takes puts")
    wire.over.set()
    mp.wait_for(lambda: wire.counts.get("request done"), "the transaction of the first one", PATIENCE)
    mp.is_((meta(group)["generation"], wire.counts.get("late", 0)), (2, 0), "which changes nothing when it arrives")
    mp.is_(one.put("a", "and on")[0], 201, "puts go on")
    mp.is_(one.stop(), 0, "the end")
    wire.close()


def test_older_program(group):
    """A group whose `meta` does not say in which cluster it is: it does from the next start on, under members that run."""
    url = ",".join(group.urls)
    one = aggregator.Aggregator("one", "--group", url, "--tenant", "old").wait_ready()
    key, told = "middlepipe/old/meta", json.loads(group.get(0, "middlepipe/old/meta"))
    cluster = told.pop("cluster")
    mp.is_(one.stop(), 0, "it stops")
    mp.ok(group.put(0, key, json.dumps(told, separators=(",", ":"))), "and was one of an older program")
    one.start().wait_ready()
    mp.is_(json.loads(group.get(0, key)), {**told, "cluster": cluster}, "its cluster is known, and nothing else has changed")
    mp.ok(group.put(0, key, json.dumps(told, separators=(",", ":"))), "an older program runs beside it")
    two = aggregator.Aggregator("two", "--group", url, "--tenant", "old").wait_ready()
    mp.is_(json.loads(group.get(0, key)), {**told, "cluster": cluster}, "the next start says it again")
    mp.is_([each.put("row", "x")[0] for each in (one, two)], [201, 201], "and both take puts")
    mp.is_([each.stop() for each in (two, one)], [0, 0], "the end")


def main():
    group = etcd.Group(3)
    group.wait()
    snapshot = test_restore(group)
    test_killed(group, snapshot)
    test_older_program(group)
    group.close()


main()
mp.done()

# SPDX-License-Identifier: Apache-2.0
"""The parts of the rows bench that kill: takeovers, and a restart with much to read.

Each function is a part; see ./run.
"""
import contextlib
import http.client
import os
import sqlite3
import threading
import time

from rowslib import CELL, OUTSTANDING, aggregator, emit, etcd, members_of, median, mp, puts, say, settle, status_sum

KILLS = 50
ROW = "takeover"
GAP_DEADLINE = 30
CELLS = 1000000
CELL_ROWS = 100
TRY_TIMEOUT = 1.0  # seconds; then the client asks another member


class Putter(threading.Thread):
    """A client whose puts go on: the same put again, at another member, until it is answered."""

    def __init__(self, members):
        super().__init__(daemon=True)
        self.addresses = [one.address for one in members]
        self.connection, self.at = None, 0
        self.answered = []  # times of 200 and 201
        self.over = False

    def other(self):
        if self.connection:
            self.connection.close()
        self.connection, self.at = None, (self.at + 1) % len(self.addresses)

    def attempt(self, key, base):
        """(status, base); status 0: no answer."""
        host, port = self.addresses[self.at].split(":")
        fields = {"Idempotency-Key": key}
        if base:
            fields["Middlepipe-Base"] = base
        try:
            if not self.connection:
                self.connection = http.client.HTTPConnection(host, int(port), timeout=TRY_TIMEOUT)
            self.connection.request("POST", "/v1/rows/%s/cells" % ROW, b"x" * CELL, fields)
            reply = self.connection.getresponse()
            reply.read()
            return reply.status, reply.headers.get("Middlepipe-Base", base)
        except (OSError, http.client.HTTPException):
            return 0, base

    def run(self):
        number = 0
        while not self.over:
            status, base = 0, None
            number += 1
            while status not in (200, 201) and not self.over:
                status, base = self.attempt("k%d" % number, base)
                if status not in (0, 200, 201, 503, 504):
                    raise RuntimeError("a put was answered by %d" % status)
                if status not in (200, 201):
                    self.other()
                    time.sleep(0.005)
            self.answered.append(time.monotonic())

    def gap_after(self, moment):
        """The longest time without an answer from then on, once there were 50 answers; None: not yet."""
        answered = list(self.answered)
        after = [when for when in answered if when > moment]
        if len(after) < 50:
            return None
        begin = max([when for when in answered if when <= moment], default=moment)
        times = [begin, *after]
        return max(b - a for a, b in zip(times, times[1:]))


def owner_of(members):
    name = next(one for one in members if one.process.running()).get("/v1/rows/" + ROW)[1]["owner"]
    return next(one for one in members if one.name == name)


def kill_once(members, group, putter, kill_owner, kill_leader):
    """(milliseconds without an answer, seconds until the owner was ready again or None); everything runs again."""
    ready = None
    owner, leader = owner_of(members), group.leader()
    moment = time.monotonic()
    if kill_leader:
        group.kill(leader)
    if kill_owner:
        owner.kill()
    gap = mp.wait_for(lambda: putter.gap_after(moment), "put after a kill", GAP_DEADLINE)
    if kill_leader:
        group.start(leader)
        group.wait(leader)
    if kill_owner:
        begin = time.monotonic()
        owner.start().wait_ready()
        ready = time.monotonic() - begin
    settle(members)  # no takeover of this one hides in the next one's gap
    return gap * 1000, ready


def kills(metric, quick, leader):
    group = etcd.Group(3)
    group.wait()
    members = members_of(group, 3)
    putter = Putter(members)
    putter.start()
    mp.wait_for(lambda: len(putter.answered) > 50, "puts")
    gaps, readies = [], []
    for i in range(4 if quick else KILLS):
        # etcd's leader is killed alone, and together with the owner, in turn.
        gap, ready = kill_once(members, group, putter, not leader or i % 2 == 0, leader)
        gaps.append(gap)
        readies += [ready] if ready else []
        say("%s: kill %d: %.0f ms%s" % (metric, i + 1, gap, ", ready after %.2f s" % ready if ready else ""))
    putter.over = True
    putter.join()
    for one in members:
        one.stop()
    group.close()
    emit(metric.replace("_max", "_p50"), "ms", median(gaps), len(gaps))
    emit(metric, "ms", max(gaps), len(gaps), min(gaps), max(gaps))
    emit(metric.replace("_max", "_ready_max"), "s", max(readies), len(readies), min(readies), max(readies))


def takeover(quick):
    """takeover_max, takeover_leader_max: the longest time without an answer around a SIGKILL."""
    kills("takeover_max", quick, False)
    kills("takeover_leader_max", quick, True)


def batch_bytes(folder):
    """Bytes of all batches that are stored."""
    with contextlib.closing(sqlite3.connect("file:%s?mode=ro" % os.path.join(folder, "rows.db"), uri=True)) as db:
        return db.execute("SELECT sum(length(value)) FROM kv WHERE instr(key, CAST('/cells/' AS BLOB))").fetchone()[0]


def restart(quick):
    """restart_1m: a million cells in 100 rows, and what they take in memory."""
    cells = CELLS // 50 if quick else CELLS
    member = aggregator.Aggregator("m1").wait_ready()
    seen = puts([member], CELL_ROWS)(OUTSTANDING, 1, "--requests", cells)
    say("restart: %d puts at %.0f a second" % (cells, seen["rate"]))
    member.stop()
    stored = batch_bytes(member.data)
    begin = time.monotonic()
    member.start().wait_ready()
    took = time.monotonic() - begin
    rss = status_sum([member.process.pid], "RssAnon") * 1024
    status = member.get("/v1/rows/r0/cells?stale=ok&limit=1")[0]
    if status != 200:
        raise RuntimeError("it does not read: %d" % status)
    member.stop()
    emit("restart_1m", "s", took, cells)
    emit("restart_1m_rss", "MiB", rss / 2**20, cells, peer="encoded batches", peer_value=stored / 2**20)

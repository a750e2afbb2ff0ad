#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mp-aggregator alone, and a disk that fails it while clients put, read, delete, compact and subscribe.

Part 1: in turns that the seed draws its small disk gets full (and it is killed there), writes and
syncs fail, writes are torn, syncs fail and what they were to write is forgotten, the power goes and
takes what was not synced (all, some, parts of some; while it serves and while it starts), it is killed, and
its files are damaged: then it says so, or everything is there, and the sound files are put back.  The
history of all that goes to tests/rows/check_history: nothing that was acknowledged is lost.

Part 2: its files are damaged and there is no backup.  The start names the loss; it is accepted by its
number, and puts go on in a new generation.  The checker finds cells that were lost, and nothing else.
"""

import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import faultydisk
import mp
import rowfaults
import smalldisk
from workload import Workload

ROWS = ["a", "b", "chains/x", "nat/y"]  # of part 2
SECONDS = rowfaults.seconds(0)  # of faults; 0: each kind once
SIZE = 192 << 20
FILES = ("rows.db", "rows.db-wal", "rows.db-mark")
PAGE = 4096
FRAME = 24 + PAGE  # of the log, behind 32 bytes

mp.need(faultydisk.PROGRAM)
WHY = smalldisk.enter()


def one_more(load):
    """Waits for a put that is committed: then others are under way."""
    before = load.counts.get(201, 0)
    mp.wait_for(lambda: load.counts.get(201, 0) > before, "one more 201")


class Faults:
    """What a schedule carries out; a target is all that the seed has drawn."""

    def __init__(self, one, disk, load):
        self.one, self.disk, self.load = one, disk, load
        self.saved = os.path.join(mp.workdir(), "saved")
        self.outcomes = []  # of damages: (kind, refused, damaged or whole)

    def back(self):
        self.one.start().wait_ready()

    def over(self):
        """No order is left, and it serves."""
        self.one.well()
        mp.wait_for(lambda: not self.one.untaken(), "an operation of the disk")
        assert self.one.process.running(), self.one.process.err
        self.one.wait_ready()

    # ------------------------------------------------------------------ room

    def full(self, _):
        """What the files have inside is used first, by a row of our own: the load's need no more than they let go."""
        def told():
            for size in (1 << 19, 1 << 14, 100):
                self.one.put("filler", "x" * size)
            return self.load.counts.get(507, 0) > before
        before = self.load.counts.get(507, 0)
        self.disk.fill()
        mp.wait_for(told, "one more 507")
        return self.room

    def full_killed(self, _):
        """It starts on the full disk, too."""
        self.full(_)
        self.one.kill()
        self.disk.fill()
        self.back()
        return self.room

    def room(self):
        self.disk.room()
        mp.wait_for(lambda: self.one.call("DELETE", "/v1/rows/filler")[0] in (200, 404), "the end of the filler")

    # ------------------------------------------------------------------ the VFS

    def fails(self, target):
        fault, at, count, what = target.split(" ")
        before = self.one.counts()[fault]
        self.one.order(fault, int(at), int(count), what=what)
        if fault != "full":  # that leaves writes alone for which there is room
            mp.wait_for(lambda: self.one.counts()[fault] > before, "an operation that meets %s" % fault)
        return self.over

    def power(self, target):
        """It dies by its own hand, in the middle of an operation."""
        how, at, seed = target.split(" ")
        one_more(self.load)
        self.one.order("dead", int(at), crash=how, seed=int(seed))
        mp.wait_for(lambda: not self.one.process.running(), "the end")
        return self.back

    def power_at_start(self, target):
        """Again while it recovers, or at once when that took fewer operations."""
        one_more(self.load)
        self.one.kill()
        how, at, seed = target.split(" ")
        self.one.order("dead", int(at), crash=how, seed=int(seed))
        self.one.launch()
        mp.wait_for(lambda: not self.one.process.running(), "the end")
        os.close(self.one.pipe)
        self.one.pipe = None
        return self.back

    def kill(self, _):
        one_more(self.load)
        self.one.kill()
        return self.back

    # ------------------------------------------------------------------ files

    def damage(self, target):
        """Nobody can reach it while its files are not sound; what it serves then is what was put."""
        name, how, where = target.split(" ")
        one_more(self.load)
        self.one.kill()
        save(self.one.data, self.saved)
        spoil(os.path.join(self.one.data, name), how, float(where))
        served, outcome, said = look(self.one.data)
        put_back(self.saved, self.one.data)
        sound, _, _ = look(self.one.data)
        mp.ok(served == sound if outcome == "whole" else served <= sound, "%s: %s: %d of %d cells are served" % (
            target, outcome, len(served), len(sound)))
        mp.note(said.strip())
        self.outcomes.append("%s %s %s" % (name, how, outcome))
        self.back()

    def executors(self):
        return {"disk full": self.full, "disk full and killed": self.full_killed, "failed writes": self.fails,
                "failed syncs": self.fails, "anything fails": self.fails, "torn writes": self.fails, "forgotten writes": self.fails,
                "power cut that drops all": self.power, "power cut that drops some": self.power,
                "power cut that tears some": self.power, "power cut at a start": self.power_at_start, "kill": self.kill,
                "bit flipped": self.damage, "file cut": self.damage}


def kinds(rng):
    """{kind: (a function that draws its target, shortest, longest)}"""
    def fault(what, *names):
        return lambda: "%s %d %d %s" % (rng.choice(names), rng.randrange(20), rng.randint(1, 12), what)

    def power(how=None):
        return lambda: "%s %d %d" % (how or rng.choice(("drops", "some", "tears")), rng.randrange(1, 40),
                                     rng.randrange(1 << 30))

    def file(how):
        return lambda: "%s %s %.4f" % (rng.choice(FILES), how, rng.random())

    return {"disk full": (lambda: "disk", 0.3, 0.8), "disk full and killed": (lambda: "disk", 0.3, 0.8),
            "failed writes": (fault("writes", "error"), 0.2, 0.5), "failed syncs": (fault("syncs", "error"), 0.2, 0.5),
            "torn writes": (fault("writes", "tear"), 0.2, 0.5),
            "forgotten writes": (fault("syncs", "forget"), 0.2, 0.5),
            "anything fails": (fault("any", "error", "full", "tear", "forget"), 0.2, 0.5),
            "power cut that drops all": (power("drops"), 0.0, 0.1), "power cut that drops some": (power("some"), 0.0, 0.1),
            "power cut that tears some": (power("tears"), 0.0, 0.1), "power cut at a start": (power(), 0.0, 0.1),
            "kill": (lambda: "m1", 0.0, 0.1), "bit flipped": (file("flip"), 0.0, 0.1),
            "file cut": (file("cut"), 0.0, 0.1)}


def plan(seed):
    rng = random.Random("disk/%d" % seed)
    drawn = kinds(rng)
    faults = []
    for second, kind, _, lasts in rowfaults.turns(rng, {kind: ([""], low, high) for kind, (_, low, high) in drawn.items()},
                                                  SECONDS):
        faults.append((second, kind, drawn[kind][0](), lasts))
    return faults


# ------------------------------------------------------------------------- damaged files

def save(data, to):
    shutil.rmtree(to, ignore_errors=True)
    os.mkdir(to)
    for name in FILES:
        if os.path.exists(os.path.join(data, name)):
            shutil.copy(os.path.join(data, name), to)


def put_back(saved, data):
    """The sound files are there again, and no others."""
    for name in FILES:
        if os.path.exists(os.path.join(data, name)):
            os.unlink(os.path.join(data, name))
        if os.path.exists(os.path.join(saved, name)):
            shutil.copy(os.path.join(saved, name), data)


def spoil(path, how, where):
    with open(path, "r+b") as file:
        data = file.read()
        at = int(where * len(data))
        if how == "cut":
            file.truncate(at)
        elif data:
            file.seek(at)
            file.write(bytes([data[at] ^ 1 << at % 8]))


def look(data):
    """An aggregator that no client knows: (the cells that it serves, refused, damaged or whole; what it said)."""
    one = faultydisk.Aggregator("m1", data=data, start=False)
    try:
        one.start()
    except AssertionError as error:
        said = str(error)
        assert data in said and any(word in said for word in ("damaged", "no SQLite file", "fails", "are missing")), said
        return set(), "refused", said

    def damaged():
        """A part of the status that says so, with true or a number."""
        try:
            told = one.get("/v1/status")[1]
        except OSError:
            return None  # it is about to end
        return re.search(r'"damaged": (?!false|0\b).*', json.dumps(told))

    mp.wait_for(lambda: one.ready() or not one.process.running() or damaged(), "readiness or a reason")
    if not one.process.running():
        one.process.wait()  # and all that it said is here
        return set(), "refused", one.process.err
    served = cells_of(one, rowfaults.ROWS)
    found = damaged()
    one.kill()
    return served, "damaged" if found else "whole", found.group() if found else ""


def cells_of(one, rows):
    """{(row, incarnation, seq, key, data)} of what it serves."""
    cells = set()
    for row in rows:
        path = "/v1/rows/" + row.replace("/", "%2F")
        status, told = one.get(path + "?stale=ok")
        first = told["floor"] if status == 200 else 1
        while status == 200:
            status, page = one.get("%s/cells?stale=ok&from=%d" % (path, first))
            if status != 200 or not page["cells"]:
                break
            cells |= {(row, page["incarnation"], cell["seq"], cell["key"], cell["data"]) for cell in page["cells"]}
            first = page["cells"][-1]["seq"] + 1
    return cells


def frames_of(data):
    """Of the log, up to the last commit that was answered."""
    with open(os.path.join(data, "rows.db-mark"), "rb") as file:
        return struct.unpack(">I", file.read(40)[16:20])[0]


# --------------------------------------------------------------------------------- part 1

def test_load(seed):
    disk = smalldisk.Disk(os.path.join(mp.workdir(), "disk"), SIZE)
    one = faultydisk.Aggregator("m1", "--disk-reserve", "3M", data=os.path.join(disk.folder, "rows")).wait_ready()
    faults = plan(seed)
    for second, kind, target, lasts in faults:
        mp.note("%5.1f s %s: %s, for %.1f s" % (second, kind, target, lasts))
    path = rowfaults.history("disk-%d" % seed)
    load = Workload({"m1": one.url}, path, seed=seed, rows=rowfaults.ROWS, clients=6, admin=True, timeout=5.0)
    carried = Faults(one, disk, load)
    load.run(faults=faults, executors=carried.executors(), gap=0.005)
    if load.errors:
        mp.note(one.process.err[-3000:])
    mp.note("answers: %s" % ", ".join("%s %d" % pair for pair in sorted(load.counts.items())))
    rowfaults.judge(load, path, {kind for _, kind, _, _ in faults}, "seed %d on %s" % (seed, disk.kind))
    mp.is_(one.stop(), 0, "seed %d: it stops" % seed)
    counts = one.counts()
    mp.note("the disk: %s; damages: %s" % (", ".join("%s %d" % pair for pair in sorted(counts.items())), carried.outcomes))
    for what in ("error", "tear", "forget", "dead", "writes", "syncs", "torn", "dropped", "forgotten", "crashes"):
        mp.ok(counts[what] > 0, "seed %d: the disk has counted %s: %d" % (seed, what, counts[what]))
    mp.ok(load.counts.get(507), "seed %d: puts were told that there is no room: %s" % (seed, load.counts.get(507)))
    disk.close()


# --------------------------------------------------------------------------------- part 2

class Load(Workload):
    """One whose clients can be waited for while a fault lasts."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.left = []  # names of clients that have ended

    def _client(self, name, *args):
        super()._client(name, *args)
        self.left.append(name)

    def end_clients(self):
        self.calm.set()
        mp.wait_for(lambda: len(self.left) == len(self.names), "the end of the clients")


def log_flipped(data, rng):
    path = os.path.join(data, "rows.db-wal")
    spoil(path, "flip", (32 + rng.randrange(FRAME * frames_of(data))) / os.path.getsize(path))


def log_cut(data, rng):
    os.truncate(os.path.join(data, "rows.db-wal"), 32 + rng.randrange(FRAME * frames_of(data)))


def log_deleted(data, _):
    os.unlink(os.path.join(data, "rows.db-wal"))


def file_deleted(data, _):
    os.unlink(os.path.join(data, "rows.db"))


LOSSES = {"log flipped": log_flipped, "log cut": log_cut, "log deleted": log_deleted, "rows.db deleted": file_deleted}


# What the checker finds after a loss that was named: what was acknowledged is not there, reads go back to the time
# before it, and rows that were made since are gone without a delete.  No wrong, doubled or half a thing is served.
NAMED = {"lost", "stale", "incarnation"}


def lose(one, load, change, rng):
    """It is killed under load, and what it has is spoilt; the loss is named, and accepted by its number."""
    one_more(load)
    one.kill()
    while not frames_of(one.data):  # all of it was in the file just now
        one.start().wait_ready()
        one_more(load)
        one.kill()
    change(one.data, rng)
    load.end_clients()
    try:
        one.start()
        said = "it starts as if nothing were missing"
    except AssertionError as error:
        said = str(error)
    found = re.search(r"acknowledged cells are missing, .*--accept-loss ([0-9a-f]{8})", said)
    mp.ok(found, "the loss is named: %s" % said.strip())
    one.options += ["--accept-loss", found.group(1)]
    one.start().wait_ready()
    one.options = one.options[:-2]


def test_loss(seed, kind):
    rng = random.Random("loss/%d/%s" % (seed, kind))
    disk = smalldisk.Disk(os.path.join(mp.workdir(), "disk"), SIZE)
    one = faultydisk.Aggregator("lost", data=os.path.join(disk.folder, "rows")).wait_ready()
    name = "seed %d: %s" % (seed, kind)
    path = rowfaults.history("loss-%d-%s" % (seed, kind.replace(" ", "-")))
    load = Load({"m1": one.url}, path, seed=seed, rows=ROWS, clients=4, timeout=5.0)
    load.run(faults=[(0.5 + rng.random() / 2, kind, "m1", 0.0)],
             executors={kind: lambda _: lose(one, load, LOSSES[kind], rng)}, gap=0.005)
    mp.is_(load.errors, [], "%s: the clients got what they wanted" % name)
    check = subprocess.run([rowfaults.CHECKER, "--json", "--faults", kind, path], capture_output=True, text=True)
    told = json.loads(check.stdout)
    mp.ok(told["counts"].get("lost") and set(told["counts"]) <= NAMED,
          "%s: cells were lost, as it said, and nothing else is wrong: %s" % (name, told["counts"]))
    for row in ROWS:
        one.json("DELETE", "/v1/rows/" + row.replace("/", "%2F"))
    path = rowfaults.history("after-loss-%d-%s" % (seed, kind.replace(" ", "-")))
    load = Workload({"m1": one.url}, path, seed=seed + 1000, rows=ROWS, clients=4, timeout=5.0)
    load.run(faults=[(0.3, "kill", "m1", 0.1)], executors={"kill": Faults(one, disk, load).kill}, gap=0.005)
    rowfaults.judge(load, path, ["kill"], "%s, and afterwards" % name)
    mp.is_(one.stop(), 0, "%s: it stops" % name)
    disk.close()


if WHY:
    mp.skip_all(WHY)
for seed in rowfaults.SEEDS[:1]:
    test_load(seed)
    for kind in sorted(LOSSES) if SECONDS else random.Random("losses/%d" % seed).sample(sorted(LOSSES), 2):
        test_loss(seed, kind)
mp.done()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A whole etcd goes back to an old backup, under load.

With somebody else's etcd: members that have seen more stop at once, 503 and what to do.
With etcd of their own: likewise while they live, and they do not even start on
directories of an earlier time.  What is newer than the backup is never given away:
when the right directories are back, everything that was acknowledged is there, as
tests/rows/check_history says of the whole history.
"""

import os
import shutil
import signal
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import etcd
import managed
import mp
import rowfaults
from workload import Workload

ROWS = ["a", "b", "chains/x", "nat/y"]
PATIENCE = 3 * mp.DEADLINE  # etcd and its clients start anew in between

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)


class Folders:
    """Directories, as they were when they were saved, and as they are now."""

    def __init__(self, paths):
        self.paths = paths

    def save(self):
        for path in self.paths:
            shutil.copytree(path, path + ".old")

    def swap(self, to, away):
        """Those of `to` come; what is there is kept as `away`."""
        for path in self.paths:
            os.rename(path, path + away)
            os.rename(path + to, path)


def stopped(one):
    """503, for reads and puts, with what to do."""
    def told():
        status, told = one.put("probe", "x")
        return told["error"] if status == 503 and "restored" in told["error"] else None
    text = mp.wait_for(told, "503 of " + one.name, PATIENCE)
    mp.ok("start again" in text, "%s takes nothing, and says what to do: %s" % (one.name, text))
    mp.is_(one.get("/v1/rows/a/cells/latest")[0], 503, "%s gives no old value for the latest" % one.name)
    mp.ok(not one.ready(), "%s is not ready" % one.name)
    mp.like(one.get("/v1/status")[1]["engine"]["text"], "restored", "and its status says why")


def run(load, path, name, kind, executor):
    load.run(faults=[(1.0, kind, "all", 0.2)], executors={kind: executor}, gap=0.005)
    rowfaults.judge(load, path, [kind], name)


def test_foreign(seed):
    """Three aggregators on an etcd of somebody else, who restores a backup of all its members."""
    group = etcd.Group(3)
    group.wait()
    members = [aggregator.Aggregator("m%d" % i, "--group", ",".join(group.urls)).wait_ready() for i in range(3)]
    path = rowfaults.history("backup-foreign-%d" % seed)
    load = Workload({one.name: one.url for one in members}, path, seed=seed, rows=ROWS, clients=4, timeout=2.0)
    folders = Folders([group.path(i) for i in range(3)])

    def etcd_down():
        for i in range(3):
            group.kill(i)

    def etcd_up():
        for i in range(3):
            group.start(i)
        group.wait()

    def restore(_):
        etcd_down()
        folders.save()
        etcd_up()
        before = load.counts.get(201, 0)
        mp.wait_for(lambda: load.counts.get(201, 0) > before + 30, "more than the backup has", PATIENCE)
        for one in members:  # who has seen none of it cannot tell
            mp.wait_for(lambda: one.get("/v1/rows/a")[0] == 200, "a read at " + one.name, PATIENCE)
        etcd_down()
        folders.swap(".old", ".new")
        etcd_up()
        for one in members:
            stopped(one)
        etcd_down()
        folders.swap(".new", ".bad")
        etcd_up()
        for one in members:
            mp.is_(one.stop(), 0, "%s stops" % one.name)
            one.start()
        return lambda: [one.wait_ready() for one in members]

    run(load, path, "foreign etcd, seed %d" % seed, "old backup of all", restore)
    mp.is_([one.stop() for one in members], [0] * 3, "the end")
    group.close()


def test_managed(seed):
    """A member with an etcd of its own, alone: as it lives, and when it starts."""
    one = managed.Managed("m1").wait_ready()
    path = rowfaults.history("backup-managed-%d" % seed)
    load = Workload({"m1": one.url}, path, seed=seed, rows=ROWS, clients=4, timeout=2.0)
    folders = Folders([one.etcd_dir])

    def more():
        before = load.counts.get(201, 0)
        mp.wait_for(lambda: load.counts.get(201, 0) > before + 30, "more than the backup has", PATIENCE)

    def swap(to, away):
        """Stops etcd, so that its aggregator cannot start it meanwhile."""
        one.pause()
        for pid in one.etcd_pids():
            os.kill(pid, signal.SIGKILL)
        mp.wait_for(lambda: not one.etcd_pids(), "the end of etcd")
        folders.swap(to, away)
        one.resume()

    def restore(_):
        one.pause()
        folders.save()  # as somebody saves who does not ask etcd
        one.resume()
        more()
        identity = one.data + "/managed.json"
        shutil.copy(identity, identity + ".new")
        swap(".old", ".new")
        code = mp.wait_for(lambda: one.process.running() or [one.process.wait()], "the end, or an answer")
        if code is True:
            stopped(one)
        else:
            mp.ok("earlier time" in one.process.err, "it ends: " + one.process.err[-300:])
        one.kill()
        for pid in one.etcd_pids():
            os.kill(pid, signal.SIGKILL)
        mp.wait_for(lambda: not one.etcd_pids(), "the end of etcd")
        folders.swap(".new", ".bad")
        os.rename(identity + ".new", identity)  # it has seen the old directory start
        one.start().wait_ready()
        more()
        # The next backup is of a life that is over when it is put back.
        one.stop()
        folders.save()
        one.start().wait_ready()
        more()
        one.stop()
        folders.swap(".old", ".new")
        code, said = one.fails()
        mp.ok(code == 1 and "earlier time" in said and "--join" in said, "it does not start: " + said.strip())
        shutil.rmtree(one.etcd_dir)
        os.rename(one.etcd_dir + ".new", one.etcd_dir)
        return lambda: one.start().wait_ready()

    run(load, path, "managed, seed %d" % seed, "old backup", restore)
    mp.is_(one.stop(), 0, "the end")


for seed in rowfaults.SEEDS[:1]:
    test_foreign(seed)
    test_managed(seed)
mp.done()

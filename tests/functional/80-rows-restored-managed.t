#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Going on with a group that runs its etcd itself, when most of it is gone for good.

Two members, of which one is lost.  The other one cannot agree on anything any more, but
etcdctl saves what it has.  That is restored into its directory, under another cluster token:
refused, until it is accepted by the number of that refusal; killed before or behind its
transaction, it is done again.  Then the group is that one member, of the next generation, and others join.
Who comes back from the old group with its old directory is kept out.
"""

import json
import os
import re
import shutil
import signal
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")]
import etcd
import mp
from managed import PROGRAM, Managed

mp.need(PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)

PATIENCE = 3 * mp.DEADLINE
CELLS = 40


def meta(one):
    """Of the etcd that it runs."""
    told = etcd.ctl("--endpoints", one.identity()["client"], "get", "middlepipe/default/meta", "--print-value-only")
    return json.loads(told)


def join(name, *others):
    one = Managed(name, "--join", others[0].url, "--join-token", others[0].token())
    mp.wait_for(one.ready, "%s is ready" % name, PATIENCE)
    one.options = one.options[:2]
    return one


def no_etcd():
    """A program that is asked for its flags like etcd, and does not run."""
    path = os.path.join(mp.workdir(), "no-etcd")
    with open(path, "w") as out:
        out.write('#!/bin/sh\ntest "$1" = --help && exec etcd --help\nexit 1\n')
    os.chmod(path, 0o755)
    return path


def lose(one):
    """It dies with its etcd, and does not come back."""
    one.kill()
    for pid in one.etcd_pids():
        os.kill(pid, signal.SIGKILL)
    mp.wait_for(lambda: not one.etcd_pids(), "the end of etcd")


def is_whole(one, name):
    status, told = one.get("/v1/rows/row/cells?from=1")
    mp.is_((status, [cell["key"] for cell in told.get("cells", [])][:CELLS]), (200, ["k%d" % n for n in range(CELLS)]),
           "%s: every cell is there once and in order, at %s" % (name, one.name))
    return told["incarnation"], told["highest"]


def main():
    one = Managed("m1").wait_ready()
    two = join("m2", one)
    before = meta(one)
    for n in range(CELLS):
        status, told = (one, two)[n % 2].put("row", "x", key="k%d" % n)
        assert status == 201, told
    mp.wait_for(lambda: one.get("/v1/rows/row?stale=ok")[1].get("highest") == CELLS, "the survivor has all", PATIENCE)
    lose(two)
    mp.wait_for(lambda: not one.ready(), "it notices", PATIENCE)
    mp.ok(one.put("row", "no")[0] in (503, 504), "one of two takes nothing")

    # What the operator's guide says.
    saved = os.path.join(mp.workdir(), "saved")
    etcd.ctl("--endpoints", one.identity()["client"], "snapshot", "save", saved)
    one.stop()
    shutil.move(one.etcd_dir, one.etcd_dir + ".old")
    os.rename(one.data + "/managed.json", one.data + "/managed.json.old")
    etcd.ctl("snapshot", "restore", saved, "--data-dir", one.etcd_dir, "--name", "m1",
             "--initial-cluster", "m1=http://127.0.0.1:2380", "--initial-advertise-peer-urls", "http://127.0.0.1:2380",
             "--initial-cluster-token", "after the loss")
    code, said = one.fails()
    mp.ok(code == 1 and "snapshot restore" in said, "it does not start on that: " + said.strip()[-500:])
    number = re.search(r"--accept-loss ([0-9a-f]{8})\b", said).group(1)
    code, said = Managed("m1", "--accept-loss", "00000000", data=one.data, start=False).fails()
    mp.ok(code == 1 and number in said, "nor by another number")
    mp.ok(not os.path.exists(one.data + "/managed.json") and not one.etcd_pids(), "and nothing was begun")

    one.options += ["--accept-loss", number, "--etcd-program", no_etcd()]
    one.launch()
    mp.wait_for(lambda: os.path.exists(one.data + "/managed.json"), "that it is accepted", PATIENCE)
    lose(one)
    begun = one.data + "/managed.json.begun"
    shutil.copy(one.data + "/managed.json", begun)
    mp.ok(one.identity()["restored"], "killed before its etcd was started")
    one.options = one.options[:2]
    code, said = Managed("m1", "--tenant", "other", data=one.data, start=False).fails()
    mp.ok(code == 1 and "tenant default" in said, "nor does it begin rows of a tenant that is not in it: " + said.strip()[-300:])
    for generation in (2, 3):
        one.start()
        mp.wait_for(one.ready, "it goes on, without the number as well", PATIENCE)
        now = meta(one)
        mp.is_((now["generation"], now["group"], now["cluster"] != before["cluster"]),
               (generation, before["group"], True), "the group is the same, of the next generation, in another cluster")
        told = one.identity()
        mp.is_((told["group"], told.get("restored")), (before["group"], None), "and its identity says so")
        if generation == 2:  # as if it had been killed before it wrote that
            lose(one)
            os.rename(begun, one.data + "/managed.json")
    incarnation, highest = is_whole(one, "restored")
    mp.is_(highest, CELLS, "and no more")
    status, told = one.put("row", "x", key="k7", base="%s:5" % incarnation)
    mp.is_((status, told.get("seq")), (200, 8), "a retry gets its first answer")
    mp.is_(one.put("row", "y", key="after")[0], 201, "and it takes puts")
    mp.wait_for(lambda: [m["peer"] for m in one.get("/v1/members")[1]["etcd"]] == [one.identity()["peer"]],
                "the cluster knows its address", PATIENCE)

    # The old member comes back with what it had: alone it is nothing, and it does not mix in.
    two.options = two.options[:2]
    two.start()
    new = join("m3", one)
    is_whole(new, "joined")
    mp.is_(new.put("row", "z", key="joined")[0], 201, "which takes puts, too")
    mp.ok(not two.ready() and two.put("row", "no")[0] in (503, 504), "who has the old directory serves nothing")
    mp.is_(meta(new), now, "and nothing was raised again")
    for each in (new, one):
        mp.is_(each.stop(), 0, "%s stops" % each.name)
    one.start()
    new.start()
    mp.wait_for(one.ready, "an ordinary start", PATIENCE)
    mp.is_(one.identity().get("cluster_id"), now["cluster"], "of an ordinary member")
    is_whole(one, "at last")
    mp.is_([each.stop() for each in (new, one)], [0, 0], "the end")


main()
mp.done()

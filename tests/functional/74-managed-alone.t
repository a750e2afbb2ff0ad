#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mp-aggregator with an etcd of its own, alone: begun, killed in all ways, adopted, damaged, ended."""

import os
import shutil
import signal
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import etcd
import mp
from managed import PROGRAM, Managed, args_of

mp.need(PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)

PUT, LIFE = 0, "-"  # cells, and the row's incarnation


def put(one):
    """One more cell, once, however often it has to be sent; what was acknowledged before must be there."""
    global PUT, LIFE

    def ask():
        status, told = one.put("row", "cell %d" % (PUT + 1), key="k%d" % (PUT + 1), base="%s:%d" % (LIFE, PUT))
        return told if status in (200, 201) else None
    LIFE = mp.wait_for(ask, "a put")["incarnation"]
    PUT += 1
    status, row = one.get("/v1/rows/row")
    return [status, row["highest"]]


def sockets(pid):
    """Inodes of its sockets, and names of its files."""
    links = set()
    for name in os.listdir("/proc/%d/fd" % pid):
        try:
            links.add(os.readlink("/proc/%d/fd/%s" % (pid, name)))
        except OSError:
            pass  # it was closed meanwhile
    return links


def part_begin():
    os.environ["ETCD_NAME"] = "wrong"
    one = Managed("m1")
    one.wait_ready()
    del os.environ["ETCD_NAME"]
    mp.is_(put(one), [200, 1], "it begins a group and takes a cell")
    identity = one.identity()
    mp.is_([identity["state"], identity["member"], one.etcd_flag("name")], ["member"] + ["m1"] * 2, "it is a member")
    mp.is_([one.etcd_flag("initial-cluster-state"), one.etcd_flag("initial-cluster-token")],
           ["new", identity["group"]], "of a new cluster, named as the group")
    mp.is_(one.get("/v1/status")[1]["group"], identity["group"], "whose uuid the rows have, too")
    mp.is_([one.etcd_flag(name) for name in ("pre-vote", "max-txn-ops", "heartbeat-interval", "election-timeout")],
           ["true", "4096", "50", "500"], "flags")
    ours = {link for link in sockets(one.process.pid) if link.startswith("socket:")}
    mp.ok(ours and not ours & sockets(one.etcd_pid()), "etcd has none of our sockets")
    mp.ok(os.getsid(one.etcd_pid()) == one.etcd_pid(), "and is in a session of its own")
    return one


def part_adopt(one):
    pid = one.etcd_pid()
    one.kill()
    mp.ok(mp.alive(pid), "etcd outlives its aggregator")
    one.start().wait_ready()
    mp.is_([one.etcd_pids(), put(one)], [[pid], [200, 2]], "and is adopted, not started twice")
    one.kill()
    os.unlink(os.path.join(one.data, "etcd.pid"))
    one.start().wait_ready()
    mp.is_([one.etcd_pids(), put(one)], [[pid], [200, 3]], "also when nobody wrote down which one it is")
    with open(os.path.join(one.data, "etcd.pid"), "w") as text:
        text.write("%d 1 nonsense\n" % os.getpid())
    one.kill()
    one.start().wait_ready()
    mp.is_([one.etcd_pids(), mp.alive(os.getpid())], [[pid], True], "and when the wrong one was written down")
    code, err = Managed("m1", data=one.data, start=False).fails()
    mp.ok(code == 1 and "another mp-aggregator uses" in err, "a second aggregator is refused: " + err.strip())
    code, err = Managed("m9", data=one.data, start=False).fails()
    mp.ok(code == 1 and one.etcd_pids() == [pid], "under another name, too")


def part_kill_etcd(one):
    pid = one.kill_etcd()
    mp.is_(put(one), [200, 4], "an etcd that was killed is started again")
    mp.ok(one.etcd_pids() and one.etcd_pid() != pid, "another process")
    mp.is_(one.etcd_flag("initial-cluster-state"), "existing", "never again as a new cluster")
    for _ in range(3):
        one.kill_etcd()
        mp.wait_for(one.etcd_pid, "etcd")
    mp.is_(put(one), [200, 5], "several times")
    one.kill()
    one.kill_etcd()
    one.start().wait_ready()
    mp.is_(put(one), [200, 6], "both killed, and nothing is lost")


def part_stopped(one):
    pid = one.etcd_pid()
    mp.is_([one.stop(), mp.alive(pid)], [0, False], "a graceful stop ends etcd")
    one.start().wait_ready()
    mp.is_(put(one), [200, 7], "and it comes back")
    pid = one.etcd_pid()
    os.kill(pid, signal.SIGSTOP)
    mp.is_([one.stop(), mp.alive(pid)], [0, False], "also of one that hangs")


def part_ports(one):
    """Somebody else has its ports while it is away."""
    before = one.identity()
    taken = []
    for url in (before["peer"], before["client"]):
        taken.append(socket.socket())
        taken[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken[-1].bind(("127.0.0.1", int(url.rsplit(":", 1)[1])))
        taken[-1].listen()
    one.start().wait_ready()
    mp.is_(put(one), [200, 8], "it takes other ports")
    mp.wait_for(lambda: one.identity()["peer"] != before["peer"], "the new address")
    after = one.identity()
    mp.ok(after["client"] != before["client"] and after["etcd_id"] == before["etcd_id"], "as the same member")
    mp.wait_for(lambda: after["peer"] in str(one.get("/v1/members")[1]), "the new address in the list")
    mp.ok(True, "which etcd knows")
    for each in taken:
        each.close()


def part_log(one):
    path = os.path.join(one.data, "etcd.log")
    os.truncate(path, os.path.getsize(path) + (9 << 20))  # in one step: it is looked at meanwhile
    mp.wait_for(lambda: os.path.getsize(path) < 1 << 20, "a short log")
    mp.ok(os.path.getsize(path + ".1") >= 9 << 20, "its log is kept short")
    mp.is_(put(one), [200, 9], "and it goes on")


def part_emptied(one):
    """Nothing of this may come back as if nothing had happened."""
    one.stop()
    shutil.move(one.etcd_dir, one.etcd_dir + ".away")
    code, err = one.fails()
    mp.ok(code == 1 and "emptied" in err and not one.etcd_pids(), "an emptied directory is refused: " + err.strip())
    os.makedirs(os.path.join(one.etcd_dir, "member"))
    code, err = one.fails()
    mp.ok(code == 1 and "emptied" in err, "also with remains")
    shutil.rmtree(one.etcd_dir)
    shutil.move(one.etcd_dir + ".away", one.etcd_dir)
    path = os.path.join(one.data, "managed.json")
    with open(path) as text:
        whole = text.read()
    for what, text in (("torn", whole[:-20]), ("empty", ""), ("of another format", whole.replace(":1,", ":2,", 1))):
        with open(path, "w") as out:
            out.write(text)
        code, err = one.fails()
        mp.ok(code == 1 and "managed.json" in err and not one.etcd_pids(),
              "an identity that is %s: %s" % (what, err.strip()))
    os.unlink(path)
    code, err = one.fails()
    mp.ok(code == 1 and "without the identity" in err, "none at all: " + err.strip())
    with open(path, "w") as out:
        out.write(whole)
    code, err = Managed("m1", "--leave", data=one.data, start=False).fails()
    mp.ok(code == 1 and "last member" in err, "the last one cannot leave: " + err.strip())
    one.start().wait_ready()
    mp.is_(put(one), [200, 10], "and with everything back in place it goes on")


def part_orphan(one):
    pid, group = one.etcd_pid(), one.identity()["group"]
    one.kill()
    for name in os.listdir(one.data):
        path = os.path.join(one.data, name)
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    one.start().wait_ready()
    mp.ok(not mp.alive(pid) and len(one.etcd_pids()) == 1, "an etcd whose directory was deleted is ended")
    mp.ok(one.identity()["group"] != group, "and what begins there is another group")
    mp.is_(one.get("/v1/rows/row")[0], 404, "without its rows")
    mp.is_(one.stop(), 0, "the end")


def part_options():
    for options, want in ((("--etcd-program", "/nonexistent"), "etcd-server"),
                          (("--etcd-program", "/bin/true"), "is no etcd"),
                          (("--leave",), "no member"),
                          (("--join", "http://127.0.0.1:1"), "--join-token"),
                          (("--etcd-address", "192.0.2.1"), "no ports"),
                          (("--etcd-cert", "a.pem"), "belong together")):
        code, err = Managed("m2", *options, start=False).fails()
        mp.ok(code == 1 and want in err, "%s: %s" % (" ".join(options), err.strip()))


def part_fails_late():
    """It is of no use any more while a request under way keeps it from its end: that comes once, and in turn."""
    one = Managed("m3", "--stop-time", "60s").wait_ready()
    host, port = one.address.rsplit(":", 1)
    slow = socket.create_connection((host, int(port)), mp.DEADLINE)
    slow.sendall(b"POST /v1/rows/slow/cells HTTP/1.1\r\nHost: m3\r\nContent-Length: 4\r\n\r\nha")
    mp.wait_for(lambda: one.get("/v1/status")[1]["connections"] > 1, "the slow request")
    one.process.signal(signal.SIGTERM)
    mp.wait_for(lambda: not one.ready(), "that it stops")
    path = os.path.join(one.data, "managed.json")
    os.unlink(path)
    os.mkdir(path)
    one.kill_etcd()
    one.process.wait_err("managed.json")
    mp.ok(one.process.running(), "it still has a request to answer")
    slow.sendall(b"lf")
    mp.ok(b" 50" in slow.recv(4096)[:16], "which is answered")
    slow.close()
    mp.is_(one.process.wait(), 1, "then it ends, by itself")


one = part_begin()
part_adopt(one)
part_kill_etcd(one)
part_stopped(one)
part_ports(one)
part_log(one)
part_emptied(one)
part_orphan(one)
part_options()
part_fails_late()
mp.done()

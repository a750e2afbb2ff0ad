#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Groups of mp-aggregators with etcd of their own: joined by tokens, left, emptied, replaced.

All of it under load: every cell that was acknowledged is there in the end, once and in order.
"""

import http.client
import json
import os
import shutil
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import etcd
import mp
from managed import PROGRAM, Managed

mp.need(PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)


class Load:
    """Clients that put without end, each into a row of its own, at whichever member answers."""

    def __init__(self, members, clients=3):
        self.members, self.stopped, self.acknowledged = members, False, [[] for _ in range(clients)]
        self.pause = 0.005  # etcd and all members share the processors
        self.threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def _run(self, client):
        number, base, turn = 0, "-:0", client
        while not self.stopped:
            number += 1
            content = "%d-%d" % (client, number)
            while not self.stopped:
                # Always with a base: nothing may say whether the first attempt arrived.
                fields = {"Idempotency-Key": content, "Middlepipe-Base": base}
                members = list(self.members)
                turn += 1
                try:
                    status, _, text = members[turn % len(members)].call(
                        "POST", "/v1/rows/load%d/cells" % client, content, fields, timeout=10)
                except (OSError, http.client.HTTPException):
                    continue
                if status in (200, 201):
                    told = json.loads(text)
                    base = "%s:%d" % (told["incarnation"], told["seq"])
                    self.acknowledged[client].append(content)
                    time.sleep(self.pause)
                    break
                time.sleep(0.01)  # between two attempts, as a client should

    def count(self):
        return sum(len(each) for each in self.acknowledged)

    def wait_more(self, number=20):
        """It goes on: so many more are acknowledged."""
        start = self.count()
        mp.wait_for(lambda: self.count() >= start + number, "%d more puts" % number)

    def end(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()

    def judge(self, member):
        """What is there, against what was acknowledged."""
        for client, wanted in enumerate(self.acknowledged):
            got, start = [], 1
            while True:
                status, answer = member.get("/v1/rows/load%d/cells?from=%d" % (client, start))
                assert status == 200, (status, answer)
                got += [cell["key"] for cell in answer["cells"]]
                start += len(answer["cells"])
                if start > answer["highest"] or not answer["cells"]:
                    break
            # The last put may be there without an answer.
            extra = [key for key in got if key not in set(wanted)]
            if [key for key in got if key in set(wanted)] != wanted or len(extra) > 1 or len(set(got)) != len(got):
                return "client %d: %d acknowledged, %d there, missing %r, extra %r" % (
                    client, len(wanted), len(got), [key for key in wanted if key not in got][:5], extra[:5])
        return None


def etcd_members(one):
    return [each for each in one.get("/v1/members")[1]["etcd"]]


def voters(one):
    return sum(each["votes"] for each in etcd_members(one))


def join(at, name, *options, data=None, start=True):
    return Managed(name, "--join", at.url, "--join-token", at.token(), *options, data=data, start=start)


started = time.monotonic()


def timed(part, *args):
    result = part(*args)
    mp.note("%s: done after %.0f s" % (part.__name__, time.monotonic() - started))
    return result


def part_join():
    one = Managed("m1", "--etcd-peer-port", str(mp.free_port()), "--replace-after", "0")
    one.wait_ready()
    members = [one]
    load = Load(members)
    load.wait_more()
    token = one.token()
    two = Managed("m2", "--join", one.url, "--join-token", token).wait_ready()
    mp.wait_for(lambda: voters(one) == 2, "two that vote")
    mp.like(one.get("/v1/members")[1].get("warning"), "2 members", "two are warned about")
    code, err = Managed("m9", "--join", one.url, "--join-token", token, start=False).fails()
    mp.ok(code == 1 and "used by member m2" in err, "a token is good for once: " + err.strip())
    members.append(two)
    load.wait_more()
    three = join(two, "m3").wait_ready()
    members.append(three)
    mp.wait_for(lambda: voters(one) == 3, "three that vote")
    mp.is_(one.get("/v1/members")[1].get("warning"), None, "three are not")
    load.wait_more()
    mp.is_(len({each.identity()["group"] for each in members}), 1, "all are of one group")
    mp.is_([each.identity()["state"] for each in members], ["member"] * 3, "as members")
    mp.is_([each.etcd_flag("initial-cluster-state") for each in members], ["new", "existing", "existing"],
           "only the first has ever begun a cluster")
    mp.wait_for(lambda: len(one.get("/v1/members")[1]["members"]) == 3, "three members")
    mp.is_(sorted(each["member"] for each in one.get("/v1/members")[1]["members"]), ["m1", "m2", "m3"], "all are seen")
    mp.is_([each["engine"] for each in one.get("/v1/members")[1]["members"]], [True] * 3, "each runs an etcd, and says so")
    return members, load


def answered(one, body):
    """(status, code, text) of who wants in, once etcd has answered in time."""
    def ask():
        status, told = one.json("POST", "/v1/members/join", body)
        return (status, told["code"], told["error"]) if told["code"] != "unavailable" else None
    return mp.wait_for(ask, "an answer")


def part_made_up(one, group):
    """Secrets that somebody made up: they learn nothing, and keep nobody out."""
    other = {"token": "%s.%s" % (group, "0" * 32), "member": "x", "nonce": "1" * 16, "replaces": "0" * 16,
             "peer": "http://127.0.0.1:1", "format": 99, "tenant": "other"}
    mp.is_(answered(one, other)[:2], (403, "token"), "a format and a tenant count after the token")
    good = {**other, "token": one.token(), "nonce": "2" * 16, "member": "m2"}
    mp.is_([answered(one, {**good, **more})[1] for more in ({}, {"format": 1})],
           ["format", "tenant"], "with a token they are told")
    good.update(format=1, tenant="default")
    seen, stop = [], threading.Event()

    def bother():
        while not stop.is_set():
            seen.append(answered(one, other)[0])
    threads = [threading.Thread(target=bother) for _ in range(12)]
    for thread in threads:
        thread.start()
    mp.wait_for(lambda: len(seen) > 24, "somebody who tries secrets")
    mp.is_([answered(one, good)[1] for _ in range(10)], ["alive"] * 10,
           "who has one is let in all the same, so far as it may")
    stop.set()
    for thread in threads:
        thread.join()
    mp.is_(set(seen), {403}, "and those are not")


def part_tokens(members):
    one = members[0]
    group = one.identity()["group"]
    stranger = Managed("s1").wait_ready()
    for token, want in (("nonsense", "no token"), (group + "." + "0" * 32, "no such token"),
                        (stranger.token(), "is of group")):
        code, err = Managed("m9", "--join", one.url, "--join-token", token, start=False).fails()
        mp.ok(code == 1 and want in err, "refused: " + err.strip())
    mp.ok(group not in err, "and is not told which group this is")
    part_made_up(one, group)
    token = one.token(seconds=1)
    mp.is_(one.json("POST", "/v1/members/token", {"seconds": 0})[0], 400, "no token for no time")
    time.sleep(1.1)  # the token's own time
    code, err = Managed("m9", "--join", one.url, "--join-token", token, start=False).fails()
    mp.ok(code == 1 and ("expired" in err), "an old one: " + err.strip())
    code, err = Managed("m2", "--join", one.url, "--join-token", one.token(), start=False).fails()
    mp.ok(code == 1 and "lives" in err, "a second m2: " + err.strip())
    for body in ("", "{}", "[1]", '{"token":1}', json.dumps({"token": "x" * 500})):
        mp.is_(one.json("POST", "/v1/members/join", body)[0], 400, "nonsense: %.20s" % body)
    good = {"token": one.token(), "member": "m8", "nonce": "0" * 16, "replaces": "0" * 16, "peer": "http://127.0.0.1:1"}
    for name, value in (("member", "a,b"), ("member", ""), ("nonce", "x"), ("peer", "http://a,b=c"), ("peer", "ftp://a"),
                        ("replaces", ""), ("member", "x" * 200)):
        mp.is_(one.json("POST", "/v1/members/join", dict(good, **{name: value}))[0], 400, "a bad %s" % name)
    mp.is_(voters(one), 3, "and nobody has come")
    mp.is_([one.json("DELETE", "/v1/members/nobody")[0], one.json("POST", "/v1/members/nobody/drain")[0]], [404, 404],
           "nobody is not there")
    mp.is_(stranger.stop(), 0, "the stranger goes")


def part_crashes(members, load):
    """Any one of them, in any way."""
    for one in members:
        pid = one.etcd_pid()
        one.kill()
        load.wait_more()
        one.start().wait_ready()
        mp.is_(one.etcd_pids(), [pid], "%s adopts its etcd" % one.name)
        one.kill_etcd()
        load.wait_more()
        mp.wait_for(lambda: one.etcd_pid() not in (0, pid), "etcd")
        one.kill()
        one.kill_etcd()
        load.wait_more()
        one.start().wait_ready()
        load.wait_more()
        mp.is_(len(one.etcd_pids()), 1, "%s comes back with a new one" % one.name)
    for one in members:
        one.kill()
        one.kill_etcd()
    start = time.monotonic()
    for one in members:
        one.start()
    for one in members:
        one.wait_ready()
    mp.note("all of three killed: ready after %.1f s" % (time.monotonic() - start))
    load.wait_more()
    mp.ok(True, "all killed at once, and they go on")


def part_moved(members, load):
    """One peer address changes while it is away."""
    two = members[1]
    two.stop()
    two.options += ["--etcd-peer-port", str(mp.free_port())]
    two.start().wait_ready()
    port = two.options[-1]
    mp.wait_for(lambda: two.identity()["peer"].endswith(":" + port), "the new address")
    mp.wait_for(lambda: any(each["peer"].endswith(":" + port) for each in etcd_members(members[0])), "it is known")
    load.wait_more()
    mp.ok(True, "a changed peer address is told before the start")


def part_emptied(members, load):
    """A directory is deleted: it comes back as somebody new, under its old name."""
    three = members[2]
    old = three.identity()["etcd_id"]
    three.kill()
    three.kill_etcd()
    shutil.rmtree(three.etcd_dir)
    code, err = Managed("m3", "--join", members[0].url, data=three.data, start=False).fails()
    mp.ok(code == 1 and "--join-token" in err, "without a token it is not let in: " + err.strip())
    again = join(members[0], "m3", data=three.data)
    members[2] = again
    again.wait_ready()
    mp.wait_for(lambda: voters(members[0]) == 3, "three that vote")
    mp.ok(again.identity()["etcd_id"] != old, "etcd's directory deleted: it is another member of etcd")
    mp.wait_for(lambda: old not in [each["id"] for each in etcd_members(members[0])], "the end of the old one")
    mp.ok(True, "the old one was taken out")
    load.wait_more()
    old = again.identity()["etcd_id"]
    again.kill()
    orphan = again.etcd_pid()
    shutil.rmtree(again.data)
    members[2] = join(members[0], "m3", data=again.data)
    members[2].wait_ready()
    mp.ok(not mp.alive(orphan), "everything deleted: the etcd that was left is ended")
    mp.wait_for(lambda: voters(members[0]) == 3, "three that vote")
    mp.wait_for(lambda: old not in [each["id"] for each in etcd_members(members[0])], "the end of the old one")
    mp.ok(True, "and its member replaced")
    load.wait_more()


def part_replaced(members, load):
    """A machine is gone for good, and another comes."""
    three = members.pop()
    three.kill()
    three.kill_etcd()
    load.wait_more()
    said = answered(members[0], {"token": members[0].token(), "member": "m4", "nonce": "1" * 16, "replaces": "0" * 16,
                                 "peer": "http://127.0.0.1:%d" % mp.free_port()})
    mp.ok(said[0] == 503 and "DELETE" in said[2], "while it is down nobody joins: %s" % said[2])
    mp.wait_for(lambda: members[0].json("DELETE", "/v1/members/m3")[0] == 200, "m3 is taken out")
    mp.wait_for(lambda: voters(members[0]) == 2, "two that vote")
    code, err = three.fails()
    mp.ok(code == 1 and "taken out" in err, "what was taken out does not come back: " + err.strip())
    members.append(join(members[1], "m4").wait_ready())
    mp.wait_for(lambda: voters(members[0]) == 3, "three that vote")
    load.wait_more()
    # The same, without anybody's hand.
    four = members.pop()
    members[0].stop()
    members[0].options[members[0].options.index("--replace-after") + 1] = "2s"
    members[0].start().wait_ready()
    four.kill()
    four.kill_etcd()
    members.append(join(members[0], "m5").wait_ready())
    mp.wait_for(lambda: voters(members[0]) == 3, "three that vote")
    mp.wait_for(lambda: sorted(each["member"] for each in etcd_members(members[0])) == ["m1", "m2", "m5"], "m5 for m4")
    mp.ok(True, "one that is silent for long is replaced")
    load.wait_more()


def part_leave(members, load):
    one, two, five = members
    status, fields, _ = one.call("DELETE", "/v1/members/m5")
    mp.is_([status, fields["Location"]], [307, five.url + "/v1/members/m5"], "to leave is said to the member itself")
    mp.is_(one.call("POST", "/v1/members/m5/drain")[0], 307, "to drain, too")
    mp.is_(five.call("POST", "/v1/members/m5/drain")[0], 202, "it drains")
    mp.wait_for(lambda: five.get("/v1/status")[1]["shards"]["owned"] == 0, "no shards")
    load.wait_more()
    mp.is_(five.json("DELETE", "/v1/members/m5"), (202, {"leaving": True}), "and leaves")
    members.remove(five)
    mp.is_(five.process.wait(), 0, "by itself")
    mp.is_([five.etcd_pids(), os.path.exists(five.etcd_dir), os.path.exists(os.path.join(five.data, "managed.json"))],
           [[], False, False], "without remains")
    mp.wait_for(lambda: voters(one) == 2, "two that vote")
    load.wait_more()
    mp.is_(two.json("DELETE", "/v1/members/m2"), (202, {"leaving": True}), "the second of two leaves")
    members.remove(two)
    mp.is_(two.process.wait(), 0, "by itself")
    mp.wait_for(lambda: voters(one) == 1, "one that votes")
    load.wait_more()
    six = join(one, "m6").wait_ready()
    mp.wait_for(lambda: voters(one) == 2, "two that vote")
    mp.is_(six.stop(), 0, "another one comes, and stops")
    code, err = Managed("m6", "--leave", data=six.data, start=False).fails()
    mp.ok(code == 0 and not six.etcd_pids() and not os.path.exists(six.etcd_dir), "one that was stopped leaves: " + err)
    mp.wait_for(lambda: voters(one) == 1, "one that votes")
    load.wait_more()
    status, answer = one.json("DELETE", "/v1/members/m1")
    mp.is_([status, answer["code"]], [409, "last"], "the last one stays")


def leave(members, one, load):
    members.remove(one)
    mp.is_(one.json("DELETE", "/v1/members/" + one.name)[0], 202, "%s leaves" % one.name)
    mp.is_(one.process.wait(), 0, "%s ends" % one.name)
    load.wait_more()


def part_five(members, load):
    """Five have an etcd, the sixth uses theirs; then all leave but one."""
    load.pause = 0.05
    for number in range(7, 11):
        members.append(join(members[-1], "m%d" % number).wait_ready())
        mp.wait_for(lambda: voters(members[0]) == number - 5, "one more that votes")
    load.wait_more()
    sixth = join(members[0], "m11").wait_ready()
    members.append(sixth)
    mp.is_([sixth.identity()["state"], sixth.etcd_pids()], ["client", []], "the sixth has no etcd of its own")
    mp.is_(sixth.put("sixth", "x")[0], 201, "and takes puts")
    mp.wait_for(lambda: [m["engine"] for m in sixth.get("/v1/members")[1]["members"] if m["chosen"]] == [True] * 3,
                "three that run an etcd order all rows, and others forward")
    mp.is_(sixth.get("/v1/status")[1]["chosen"], False, "the sixth is none of the three that order all rows")
    load.wait_more()
    sixth.kill()
    sixth.start().wait_ready()
    mp.is_(sixth.put("sixth", "y")[1]["seq"], 2, "also when it comes back")
    known = sixth.identity()["endpoints"]
    for one in members[1:3]:
        one.kill()
        one.kill_etcd()
    mp.wait_for(lambda: sixth.put("sixth", "z", key="z", base="%s:2" % sixth.get("/v1/rows/sixth")[1].get(
        "incarnation", "-"))[0] in (200, 201), "a put at the client without two of five")
    for one in members[1:3]:
        one.start().wait_ready()
    for one in list(members[2:5]):
        leave(members, one, load)
    mp.wait_for(lambda: len(sixth.identity()["endpoints"]) < len(known), "the client knows who is left")
    leave(members, sixth, load)
    leave(members, members[1], load)
    mp.wait_for(lambda: voters(members[0]) == 1, "one that votes")
    mp.is_(len(members), 1, "five, and one again")


members, load = timed(part_join)
timed(part_tokens, members)
timed(part_crashes, members, load)
timed(part_moved, members, load)
timed(part_emptied, members, load)
timed(part_replaced, members, load)
timed(part_leave, members, load)
timed(part_five, members, load)
load.end()
mp.note("%d puts were acknowledged" % load.count())
mp.is_(load.judge(members[0]), None, "everything that was acknowledged is there, once and in order")
mp.is_(members[0].stop(), 0, "the end")
mp.done()

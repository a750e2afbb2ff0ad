# SPDX-License-Identifier: Apache-2.0
"""A group with etcd of its own in a network that is cut: what can befall it.

    group = managedgroup.Group(net, folder)      # one member, in the first place
    group.join("p1"); group.leave("p1")
    executors = managedgroup.Faults(group, load).executors()
    managedgroup.targets(rng, ["p0", "p1", "p2"])   # {kind: draws a target}

Members are named after their places, which may serve several of them in turn.
A fault's end waits until the group is whole again.  Standard library only.
"""

import http.client
import json
import os
import shutil
import signal
import urllib.request

import managed
import mp
import netns

WHOLE = max(60.0, 3 * mp.DEADLINE)  # seconds until a group is whole again; one that joins may have to wait for etcd's trust


def ask(one, method, path):
    """(status, document) of one that may not answer: then (0, {})."""
    try:
        status, _, text = one.call(method, path, timeout=3)
        return status, json.loads(text) if text else {}
    except (OSError, ValueError, http.client.HTTPException):
        return 0, {}


class Group:
    """The members that there are: {place: netns.Managed}."""

    def __init__(self, net, folder, *options):
        self.net, self.folder, self.options = net, folder, options
        self.members, self.lives = {}, 0
        self.begin(net.names[0])

    def make(self, place, *words):
        """A member that was never there before."""
        self.lives += 1
        name = place if self.lives <= 1 else "%s-%d" % (place, self.lives)
        return netns.Managed(self.net.places[place], name, *self.options, *words, folder=self.folder)

    def begin(self, place):
        self.members[place] = self.make(place).start().wait_ready()

    def others(self, place):
        return [one for name, one in sorted(self.members.items()) if name != place]

    def token(self, place):
        """Of another member than that: (its URL, the token)."""
        def asked():
            for one in self.others(place):
                status, told = ask(one, "POST", "/v1/members/token")
                if status == 201:
                    return one.url, told["token"]
            return None
        return mp.wait_for(asked, "a token", WHOLE)

    def join(self, place, member=None):
        """Lets a member in, a new one or this; waits until it votes."""
        size = len(set(self.members) | {place})
        url, token = self.token(place)
        one = member or self.make(place)
        one.options += ["--join", url, "--join-token", token]
        self.members[place] = one
        one.start()
        one.options = one.options[:-4]  # the token is good for once
        self.whole(size)

    def leave(self, place):
        """It takes itself out and ends."""
        one = self.members.pop(place)
        mp.wait_for(lambda: ask(one, "DELETE", "/v1/members/" + one.name)[0] == 202 or not one.process.running(),
                    "leave to go", WHOLE)
        code = one.process.wait(WHOLE)
        assert code == 0, "%s ended with %s: %s" % (one.name, code, one.process.err)
        self.whole()

    def expel(self, place):
        """What is dead is taken out by another."""
        name = self.members.pop(place).name

        def gone(other):
            """An answer may have come too late: what counts is the list."""
            ask(other, "DELETE", "/v1/members/" + name)
            told = ask(other, "GET", "/v1/members")[1].get("etcd")
            return told and all(each["member"] != name for each in told)
        mp.wait_for(lambda: any(gone(other) for other in self.others(place)), "the end of " + name, WHOLE)

    def voters(self):
        """How many vote, as the first that knows says."""
        for one in self.others(None):
            told = ask(one, "GET", "/v1/members")[1]
            if told.get("etcd"):
                return sum(each["votes"] for each in told["etcd"])
        return 0

    def whole(self, size=None):
        """Until all are ready, and as many vote."""
        for one in self.others(None):
            one.served()
            mp.wait_for(one.ready, "%s is ready" % one.name, WHOLE)
        want = size or len(self.members)
        mp.wait_for(lambda: self.voters() == want, "%d that vote" % want, WHOLE)

    def leader(self):
        """The place of etcd's leader, or any."""
        for place, one in sorted(self.members.items()):
            try:
                request = urllib.request.Request("http://%s:2379/v3/maintenance/status" % one.place.address, b"{}")
                with urllib.request.urlopen(request, timeout=1) as reply:
                    told = json.loads(reply.read())
            except (OSError, ValueError):
                continue
            if told.get("leader") and told["leader"] == told["header"]["member_id"]:
                return place
        return sorted(self.members)[0]

    def owner(self, row):
        """The place of the member that orders the row, as far as any knows."""
        names = {one.name: place for place, one in self.members.items()}
        for one in self.others(None):
            owner = ask(one, "GET", "/v1/rows/%s?stale=ok" % row.replace("/", "%2F"))[1].get("owner")
            if owner in names:
                return names[owner]
        return sorted(self.members)[0]

    def account(self):
        """For people: what each member, and its etcd, said last."""
        lines = []
        for place, one in sorted(self.members.items()):
            log = os.path.join(one.data, "etcd.log")
            lines += ["%s at %s, etcd %s" % (one.name, place, one.etcd_pids()), one.process.err[-2000:],
                      read(log)[-2000:].decode(errors="replace") if os.path.exists(log) else "no log"]
        return "\n".join(lines)

    def stop(self):
        return [one.stop() for one in self.members.values()]


def etcd_signal(one, number):
    for pid in one.etcd_pids():
        managed.signal_etcd(pid, number)


class Faults:
    """
    What a schedule carries out.  A target says all that the seed has drawn; "leader" and
    "owner" are looked up.  Each begins one and gives what ends it, which does not wait.
    """

    def __init__(self, group, load):
        self.group, self.load = group, load

    def place(self, target):
        return self.group.leader() if target == "leader" else self.group.owner("a") if target == "owner" else target

    def member(self, target):
        return self.group.members[self.place(target)]

    # ------------------------------------------------------------------ processes

    def kill(self, target):
        one = self.member(target)
        one.kill()
        return lambda: back(one)

    def kill_etcd(self, target):
        """Its aggregator starts it again at once."""
        etcd_signal(self.member(target), signal.SIGKILL)

    @staticmethod
    def end(*members):
        """Members and their etcd, all at once."""
        for one in members:
            one.kill()
        for one in members:
            pids = one.etcd_pids()
            etcd_signal(one, signal.SIGKILL)
            mp.wait_for(lambda pids=pids: not any(map(mp.alive, pids)), "the end of etcd")

    def kill_whole(self, names):
        """One, or so many at once that no quorum is left, or all."""
        ended = [self.member(name) for name in names.split("+")]
        self.end(*ended)
        return lambda: [back(one) for one in ended]

    def stop_aggregator(self, target):
        one = self.member(target)
        one.pause()
        return one.resume

    def stop_etcd(self, target):
        one = self.member(target)
        etcd_signal(one, signal.SIGSTOP)
        return lambda: etcd_signal(one, signal.SIGCONT)

    def stop_whole(self, target):
        one = self.member(target)
        one.pause()
        etcd_signal(one, signal.SIGSTOP)
        return lambda: (etcd_signal(one, signal.SIGCONT), one.resume())

    def rolling(self, _):
        """One after another is stopped in peace and started again."""
        for one in self.group.others(None):
            code = one.stop()
            assert code == 0, "%s ended with %s: %s" % (one.name, code, one.process.err)
            one.start()
            self.group.whole()

    # ------------------------------------------------------------------ the network

    def isolate(self, target):
        place = self.place(target)
        return self.group.net.isolate(place)

    def clients_cut(self, names):
        """From the clients: what they ask is lost, or only what they are told."""
        target, way = names.split(" ")
        place, hub = self.place(target), netns.HUB
        return self.group.net.cut([(place, hub)] + ([(hub, place)] if way == "both" else []))

    def sides(self, names):
        """Sides that do not see one another."""
        return self.group.net.part(*[side.split("+") for side in names.split("|")])

    def ring(self, names):
        return self.group.net.ring(names.split("+"), 1)

    def one_way(self, names):
        target, way = names.split(" ")
        place = self.place(target)
        others = [name for name in self.group.members if name != place]
        return self.group.net.cut((place, name) if way == "out" else (name, place) for name in others)

    def slow(self, target):
        return self.group.net.slow(self.place(target))

    # ------------------------------------------------------------------ who takes part

    def deleted(self, names):
        """The directory of a member, or that of its etcd: it comes back as somebody else."""
        target, what = names.split(" ")
        place = self.place(target)
        one = self.group.members[place]
        before = one.identity()["etcd_id"]
        self.end(one)
        shutil.rmtree(one.data if what == "all" else one.etcd_dir)

        def again():
            self.group.join(place, one)
            assert one.identity()["etcd_id"] != before, "%s came back as the same member of etcd" % one.name
        return again

    def replaced(self, target):
        """It is gone for good; another comes in its place."""
        place = self.place(target)
        self.end(self.group.members[place])

        def again():
            self.group.expel(place)
            self.group.join(place)
        return again

    def joins(self, place):
        self.group.join(place)
        self.load.absent.discard(place)

    def leaves(self, place):
        self.load.absent.add(place)
        self.group.leave(place)

    # ------------------------------------------------------------------ files

    def identity_damaged(self, names):
        """managed.json is cut short, or has a bit turned: its member refuses, and harms nothing."""
        target, kind, where = names.split(" ")
        one = self.member(target)
        self.end(one)
        path = os.path.join(one.data, "managed.json")
        whole = read(path)
        at = int(float(where) * len(whole))
        write(path, whole[:at] if kind == "cut" else whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1:])
        code, said = one.fails()
        write(path, whole)
        assert code == 1 and "managed.json" in said and not one.etcd_pids(), (names, code, said)
        return lambda: back(one)

    def old_backup(self, target):
        """etcd's directory is that of an earlier time: refused; then it joins anew."""
        place = self.place(target)
        one = self.group.members[place]
        self.end(one)
        saved = one.etcd_dir + ".saved"
        shutil.copytree(one.etcd_dir, saved)
        one.start()
        self.group.whole()
        self.end(one)
        shutil.rmtree(one.etcd_dir)
        os.rename(saved, one.etcd_dir)
        code, said = one.fails()
        assert code == 1 and "earlier time" in said and not one.etcd_pids(), (target, code, said)

        def again():
            shutil.rmtree(one.etcd_dir)
            self.group.join(place, one)
        return again

    # ------------------------------------------------------------------ all of them

    def two(self, names):
        ends = [self.table()[kind](target) for kind, target in (one.split(": ") for one in names.split(" & "))]
        return lambda: [end() for end in reversed(ends) if end]

    def table(self):
        return {"kill": self.kill, "etcd killed": self.kill_etcd, "killed whole": self.kill_whole,
                "most killed": self.kill_whole, "stop": self.stop_aggregator, "etcd stopped": self.stop_etcd,
                "stopped whole": self.stop_whole, "rolling restart": self.rolling, "owner cut": self.isolate,
                "leader cut": self.isolate, "clients cut": self.clients_cut, "minority cut": self.sides,
                "majority cut": self.sides, "ring cut": self.ring, "one way": self.one_way, "slow link": self.slow,
                "directory deleted": self.deleted, "replaced": self.replaced, "member joins": self.joins,
                "member leaves": self.leaves, "identity damaged": self.identity_damaged,
                "old backup": self.old_backup, "two at once": self.two}

    def executors(self):
        """Whose ends wait until the group is whole again."""
        def whole(begin):
            def executor(target):
                end = begin(target)
                return lambda: (end and end(), self.group.whole())
            return executor
        return {kind: whole(begin) for kind, begin in self.table().items()}


def back(one):
    """Starts it, unless somebody has done so."""
    if not one.process.running():
        one.launch()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, data):
    with open(path, "wb") as file:
        file.write(data)


# ----------------------------------------------------------------------- what a seed draws

CHANGES = ("member joins", "member leaves")  # of the size
SECOND = ("kill", "etcd killed", "stop", "etcd stopped", "slow link", "one way", "clients cut")  # in a pair
FIRST = SECOND + ("killed whole", "stopped whole", "directory deleted", "replaced", "identity damaged")


def sides(rng, names, sizes):
    """Everybody on one side or another: "p0+p2|p1"."""
    names = rng.sample(names, len(names))
    out = []
    for size in sizes:
        out.append("+".join(names[:size]))
        names = names[size:]
    return "|".join(out)


def targets(rng, names):
    """{kind: a function that draws its target} for a group of those places."""
    n, few = len(names), (len(names) - 1) // 2
    drawn = {kind: lambda member: member for kind in ("kill", "etcd killed", "killed whole", "stop", "etcd stopped",
                                                      "stopped whole", "slow link")}
    drawn["rolling restart"] = lambda _: "all"
    drawn["clients cut"] = lambda member: "%s %s" % (member, rng.choice(("both", "answers")))
    drawn["identity damaged"] = lambda member: "%s %s %.3f" % (member, rng.choice(("cut", "flip")), rng.random())
    drawn["most killed"] = lambda _: "+".join(rng.sample(names, rng.randint(n // 2 + 1, n)))
    if n > 2:
        drawn.update({
            "owner cut": lambda _: "owner", "leader cut": lambda _: "leader",
            "one way": lambda member: "%s %s" % (member, rng.choice(("out", "in"))),
            "minority cut": lambda _: sides(rng, names, [few, n - few]),
            "majority cut": lambda _: sides(rng, names, [few, few] + [1] * (n - 2 * few)),
            "directory deleted": lambda member: "%s %s" % (member, rng.choice(("all", "etcd"))),
            "replaced": lambda member: member, "old backup": lambda member: member})
    if n > 3:
        drawn["ring cut"] = lambda _: "+".join(rng.sample(names, n))

    def two():
        """Of two members, when there are two."""
        first = rng.choice([kind for kind in FIRST if kind in drawn])
        second = rng.choice([kind for kind in SECOND if kind in drawn and kind != first])
        some = rng.sample(names * 2 if n == 1 else names, 2)
        return "%s: %s & %s: %s" % (first, drawn[first](some[0]), second, drawn[second](some[1]))

    def of_one(draw):
        return lambda: draw(rng.choice(names + ["leader", "owner"]))

    return {**{kind: of_one(draw) for kind, draw in drawn.items()}, "two at once": two}

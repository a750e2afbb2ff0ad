# SPDX-License-Identifier: Apache-2.0
"""Network namespaces of a test's own: one a process, on one bridge, to be cut apart.

    netns.enter()                          # first thing; SKIPs where it cannot be
    net = netns.Net(["e0", "e1", "m0"])
    heal = net.cut([("m0", "e1")])         # what m0 sends to e1 gets lost, and not the other way
    heal()
    heal = net.isolate("m0")               # both ways, from everybody but the test itself
    heal = net.slow("m0")

enter() runs the test anew in a namespace of its own, where the bridge lies: what it
makes goes away with its processes, however it ends.  It works as root, and where
users may make namespaces.  The test itself reaches every place, always.

A direction is cut by a neighbour's entry with a hardware address that nobody has:
packets get lost in silence, as in a broken switch, and no firewall is needed.  Each
place knows its neighbours by fixed entries, so that nothing depends on ARP.

Members in places: netns.Group is etcd.Group, netns.Aggregator is aggregator.Aggregator,
netns.Managed is managed.Managed.
One thread calls a Net.  Standard library only.
"""

import atexit
import hashlib
import json
import os
import subprocess
import sys

import aggregator
import etcd
import managed
import mp

MARK = "MP_TEST_NETNS"
HUB = "test"  # the namespace of the test itself
NOWHERE = "02:00:00:00:ff:ff"
TOKEN = "a-token-of-the-test"
# Who is slow: by netem when the kernel has it, else so little room that packets queue.
SLOW = ("netem delay 30ms 20ms loss 1%", "tbf rate 256kbit burst 1600 latency 500ms")


def enter():
    """Goes on in a network namespace of this process's own."""
    if os.environ.get(MARK) == str(os.getpid()):
        return
    words = ["unshare", "--net"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    for program in ("unshare", "nsenter", "ip", "tc"):
        mp.need(program)
    probe = subprocess.run([*words, "ip", "link", "add", "mp0", "type", "bridge"], capture_output=True,
                           text=True)
    if probe.returncode:
        mp.skip_all("no network namespace: %s" % (probe.stderr.strip() or "needs root"))
    os.environ[MARK] = str(os.getpid())
    os.execvp(words[0], [*words, sys.executable, *sys.argv])


class Place:
    """A namespace, kept by a process that ends with the test."""

    def __init__(self, name, number):
        self.name, self.number = name, number
        self.address = "10.77.0.%d" % number
        self.hardware = "02:00:00:00:00:%02x" % number
        self.link = "eth0" if number != 1 else "mp0"
        self.keeper = None
        if number != 1:
            self.keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"],
                                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.keeper.stdout.readline()  # it is there
            atexit.register(self.close)

    def words(self):
        """What is put before a command that is to run here; the pid stays."""
        return ["nsenter", "--target", str(self.keeper.pid), "--net"] if self.keeper else []

    def begin(self, program, lines):
        """Begins a batch of ip or tc: give it to Net._finish()."""
        process = subprocess.Popen([*self.words(), program, "-batch", "-"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        process.stdin.write(("\n".join(lines) + "\n").encode())
        process.stdin.close()
        return process

    def close(self):
        if self.keeper:
            self.keeper.kill()
            self.keeper.wait()


class Net:
    """names: of the places.  What cut(), isolate(), part() and slow() return heals; they may overlap."""

    def __init__(self, names):
        self.places = {name: Place(name, 10 + i) for i, name in enumerate(names)}
        self.hub = Place(HUB, 1)
        self.names = list(names)
        self.lost = {}  # (from, to): how many cuts lie there
        self.how = None  # which of SLOW this kernel can
        self._wire()

    def _wire(self):
        lines = ["link set lo up", "link add mp0 address %s type bridge" % self.hub.hardware,
                 "address add 10.77.0.1/24 dev mp0", "link set mp0 up"]
        for place in self.places.values():
            lines += ["link add mp%d type veth peer name eth0 address %s netns %d"
                      % (place.number, place.hardware, place.keeper.pid),
                      "link set mp%d master mp0 up" % place.number]
        self._batch(self.hub, "ip", lines)
        everybody = [self.hub, *self.places.values()]
        for place in self.places.values():
            self._batch(place, "ip", ["link set lo up", "address add %s/24 dev eth0" % place.address,
                                      "link set eth0 up"])
        for place in everybody:
            self._batch(place, "ip", [neighbour(place, other, other.hardware)
                                      for other in everybody if other is not place])

    @staticmethod
    def _finish(process):
        said = process.stdout.read().decode()
        process.stdout.close()
        if process.wait():
            raise AssertionError("%s: %s" % (" ".join(process.args), said))

    def _batch(self, place, program, lines):
        self._finish(place.begin(program, lines))

    def place(self, name):
        return self.hub if name == HUB else self.places[name]

    # ---------------------------------------------------------------------- cuts

    def cut(self, pairs):
        """What the first of each pair sends to the second gets lost, until it is healed."""
        pairs = list(pairs)
        self._change(pairs, 1)
        return lambda: self._change(pairs, -1)

    def _change(self, pairs, by):
        lines = {}
        for pair in pairs:
            before = self.lost.get(pair, 0)
            self.lost[pair] = before + by
            if bool(before) != bool(self.lost[pair]):
                place, other = self.place(pair[0]), self.place(pair[1])
                lines.setdefault(pair[0], []).append(
                    neighbour(place, other, NOWHERE if self.lost[pair] else other.hardware))
        begun = [self.place(name).begin("ip", text) for name, text in lines.items()]
        for process in begun:
            self._finish(process)

    def part(self, *sides):
        """Nobody of one side reaches anybody of another; who is in none of them reaches all."""
        return self.cut((one, other) for side in sides for one in side
                        for far in sides if far is not side for other in far)

    def isolate(self, name):
        return self.part([name], [other for other in self.names if other != name])

    def ring(self, order, reach):
        """Each reaches only the next `reach` on both sides of it."""
        def far(i, j):
            return min((i - j) % len(order), (j - i) % len(order)) > reach
        return self.cut((one, other) for i, one in enumerate(order) for j, other in enumerate(order)
                        if far(i, j))

    # ----------------------------------------------------------------- slow links

    def slow(self, name):
        """All that goes to and from it takes its time."""
        place = self.place(name)
        ways = [(place, "eth0"), (self.hub, "mp%d" % place.number)]
        for how in [self.how] if self.how else SLOW:
            try:
                for where, link in ways:
                    self._batch(where, "tc", ["qdisc replace dev %s root %s" % (link, how)])
                self.how = how
                break
            except AssertionError:
                continue
        assert self.how, "this kernel has neither netem nor tbf"

        def heal():
            for where, link in ways:
                self._batch(where, "tc", ["qdisc del dev %s root" % link])
        return heal


def neighbour(place, other, hardware):
    return "neigh replace %s lladdr %s nud permanent dev %s" % (other.address, hardware, place.link)


# ---------------------------------------------------------------------------- members

class Group(etcd.Group):
    """etcd members, each in the place of its name."""

    def __init__(self, net, names, **more):
        self.places = [net.places[name] for name in names]
        super().__init__(len(names), start=False, **more)
        self.urls = ["http://%s:2379" % place.address for place in self.places]
        self.peers = ["http://%s:2380" % place.address for place in self.places]
        for member in range(self.size):
            self.start(member)

    def command(self, member):
        return self.places[member].words() + super().command(member)


class _Served:
    """What is served in a place, by TOKEN, since it is not on the loopback."""

    def settle(self, place, folder):
        """The words that its command line needs."""
        tokens = os.path.join(folder, "tokens.json")
        with open(tokens, "w") as out:
            json.dump([{"token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "name": "test",
                        "rights": [{"prefix": "", "read": True, "put": True, "admin": True}]}], out)
        self.place, self.home = place, "%s:9780" % place.address
        return ["--tokens", tokens]

    def command(self, ready):
        self.address = self.home  # also before the first start
        return self.place.words() + super().command(ready)

    def call(self, method, path, body=None, fields=None, timeout=mp.DEADLINE):
        return super().call(method, path, body, dict(fields or {}, Authorization="Bearer " + TOKEN), timeout)


class Aggregator(_Served, aggregator.Aggregator):
    """An aggregator in a place."""

    def __init__(self, place, *options, folder):
        super().__init__(place.name, *self.settle(place, folder), *options,
                         data=os.path.join(folder, place.name), start=False)
        self.start()


class Managed(_Served, managed.Managed):
    """One with an etcd of its own.  name: of the member; the place may serve several in turn."""

    def __init__(self, place, name, *options, folder):
        words = self.settle(place, folder)
        super().__init__(name, *words, "--etcd-address", place.address, "--etcd-peer-port", "2380",
                         "--etcd-client-port", "2379", *options, data=os.path.join(folder, name), start=False)
        self.address = self.home

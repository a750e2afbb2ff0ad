#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Forks, threads, exec, ends in the middle of a call; more than there is room
for; schedulers and libraries of other versions; whose the sockets are."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import survive

mp.need(mp.SCHEDULER, survive.prog("load"), survive.prog("processes"), survive.prog("lanes"),
        os.path.join(survive.TEST_FILTERS, "hold.so"))

HELLO_MAGIC = 0x4f4c4c4548504d31
NOOP = mp.binding("watch", "noop"), mp.binding("guard", "breaker", {"mode": "forced-closed"})


class Place:
    """A service, and a scheduler with a chain before it."""

    def __init__(self, *chain, options=(), more=()):
        self.folder = mp.workdir()
        self.service = survive.Service(self.folder)
        path = mp.chain_file(os.path.join(self.folder, "chain.json"),
                             mp.destination("svc", self.service.authority, *chain), *more)
        self.scheduler = mp.Scheduler(path, "--filters-dir", survive.TEST_FILTERS, *options)
        self.env = {"MIDDLEPIPE_SOCK": self.scheduler.socket, "MIDDLEPIPE_BUDGET_MS": str(survive.BUDGET_MS)}

    def run(self, name, *words, code=0):
        got, out, err = mp.run([survive.prog(name), *words], env=self.env, deadline=60)
        mp.is_((got, err), (code, ""), "%s %s: exit code %d" % (name, words[0], code))
        for line in out.splitlines()[:4] + (["..."] if out.count("\n") > 4 else []):
            mp.note(line)
        return out

    def lanes(self):
        return self.scheduler.status()["lanes"]

    def reclaimed(self, opened, what):
        lanes = mp.wait_for(lambda: self.lanes()["open"] == 0 and self.lanes(), "reclaimed lanes")
        mp.is_([lanes["opened"], lanes["reclaimed"]], [opened, opened],
               "%s: %d lanes, all reclaimed" % (what, opened))

    def end(self):
        mp.is_(self.scheduler.stop(), 0, "it ends well")


def forks():
    place = Place(*NOOP)
    out = place.run("processes", "fork", place.service.port, 20)
    mp.is_(out.count("child: asked 20 unfiltered 0 connects 1"), 22,
           "each child and grandchild asked through a lane of its own")
    place.reclaimed(23, "fork")
    place.run("processes", "inherit", place.service.port)
    place.reclaimed(25, "calls that crossed a fork")
    counters = place.scheduler.counters()
    mp.is_([counters["abandoned"], counters["lost_ok"], counters["lost_failed"], counters["failed"]],
           [0, 0, 0, 0], "no exchange of a parent was ended or abandoned by a child")
    out = place.run("processes", "forkthreads", place.service.port, 30)
    mp.is_(out.count("child of threads: asked 20 unfiltered 0 connects 1"), 30,
           "each child of a threaded program, too")
    mp.wait_for(lambda: place.lanes()["open"] == 0, "reclaimed lanes")
    before = place.lanes()["opened"]
    out = place.run("processes", "exec", place.service.port)
    mp.like(out, r"before exec: asked 20 .*after exec: asked 20 unfiltered 0 connects 1",
            "before and after exec")
    place.reclaimed(before + 2, "exec")
    place.end()


def threads():
    place = Place(survive.edits("mark", "A", 1, "A", "a"), *NOOP)
    load = survive.Load(place.scheduler, place.service, place.folder, "--await", "--threads", 64,
                        "--calls", 6400)
    mp.is_(load.wait(60), 0, "64 threads")
    n = load.n.all()
    mp.is_([n["asked"], n["failed"], n["unfiltered"], n["no_slot"], n["connects"], n["threads"]],
           [n["made"], 0, 0, 0, 1, 64], "asked of all %d calls over one lane" % n["made"])
    mp.is_([place.service.n["edited"], place.service.n["double"], place.service.n["mixed"]],
           [n["made"], 0, 0], "each got its own answer")
    place.end()


def exits():
    place = Place(mp.binding("hold", "hold", {"ms": 30000}))
    other = survive.Load(place.scheduler, place.service, place.folder, "--threads", 1)
    mp.wait_for(lambda: place.lanes()["open"] == 1, "the lane of another app")
    for how, code in (("exit", 7), ("_exit", 7), ("return", 7), ("kill", -signal.SIGKILL)):
        place.run("processes", "exit", place.service.port, how, code=code)
        mp.wait_for(lambda: place.lanes()["open"] == 1, "the lane of a dead process")
    status = place.scheduler.status()
    mp.is_([status["restarts"], status["counters"]["abandoned"]], [0, 16],
           "4 processes ended in the middle of 16 calls: abandoned, nothing else")
    mp.is_(other.running(), True, "another app still waits")
    other.kill()
    place.reclaimed(5, "exit in a call")
    place.end()


def probes():
    """The probe of a half-open circuit is given back by the death of the app that makes it."""
    folder, service = mp.workdir(), survive.Mute(breaks=1)
    guard = survive.breaker(consecutive=1, open_ms=50)
    scheduler = mp.Scheduler(mp.chain_file(os.path.join(folder, "chain.json"),
                                           mp.destination("svc", service.authority, guard)))
    survive.Load(scheduler, service, folder, "--await", "--calls", 1).wait()

    def probing(n):
        status = scheduler.unit("guard")["status"]
        return (status["state"], status["probes_out"]) == ("half-open", n)
    mp.wait_for(lambda: scheduler.unit("guard")["counters"]["opened"] == 1 and
                scheduler.unit("guard")["standing"] == "ask", "a circuit that was open for its time")
    app = survive.Load(scheduler, service, folder, "--calls", 1, number=1)
    mp.wait_for(lambda: probing(1) and service.kept, "a probe on its way")
    app.kill()
    mp.wait_for(lambda: probing(0), "the probe of a dead app")
    mp.is_(scheduler.counters()["abandoned"], 1, "the probe of a dead app is abandoned, its lease given back")
    app = survive.Load(scheduler, service, folder, "--calls", 1, number=2)
    mp.wait_for(lambda: probing(1) and len(service.kept) == 2, "the next probe")
    mp.ok(True, "and the next app makes the next probe")
    app.kill()
    mp.is_(scheduler.stop(), 0, "it ends well")


def slots(n, options):
    """One call more than there are slots."""
    for closed in (False, True):
        place = Place(mp.binding("hold", "hold", {"ms": 2000}, on_failure="closed" if closed else None),
                      options=options)
        load = survive.Load(place.scheduler, place.service, place.folder, "--await", "--threads", n + 1,
                            "--calls", n + 1)
        mp.is_(load.wait(60), 0, "%d calls at once" % (n + 1))
        got = load.n.all()
        what = "refused" if closed else "unfiltered"
        mp.is_([got["made"], got["asked"], got["no_slot"], got[what], got["failed"]], [n + 1, n, 1, 1, 0],
               "%d were held, one found no slot and was %s" % (n, what))
        mp.is_([got["served"], got["answered"]], [n, 1] if closed else [n + 1, 0], "and answered")
        counters = mp.wait_for(lambda: place.lanes()["open"] == 0 and place.scheduler.counters(), "its end")
        mp.is_([counters["no_slot"], counters[what]], [1, 1], "the status says so")
        place.end()


def lanes():
    """One app more than there are lanes."""
    closed_service = survive.Service(mp.workdir())
    passing = survive.Service(mp.workdir())
    mark = survive.edits("mark", "A", 1, "A", "a")
    place = Place(mark, more=(
        mp.destination("closed", closed_service.authority, dict(mark, on_failure="closed")),
        mp.destination("passes", passing.authority, survive.breaker())))
    holders = mp.Process([survive.prog("lanes"), "hold", 70], env=place.env, stdin=subprocess.PIPE)
    holders.wait_out("\n")
    mp.is_(holders.out, "64 lanes, error 1\n", "64 lanes, then none")
    loads = [survive.Load(place.scheduler, s, place.folder, "--gap-us", 500, number=i)
             for i, s in enumerate((place.service, closed_service, passing))]
    for load in loads:
        load.wait_made(100)
    n = [load.n.all() for load in loads]
    mp.is_([n[0]["asked"], n[0]["failed"], n[0]["connected"]], [0, 0, 0], "the 65th app has no lane")
    mp.ok(n[0]["unfiltered"] >= 100 and n[0]["no_slot"] >= 100, "its calls go unfiltered, counted: %d" %
          n[0]["unfiltered"])
    mp.ok(n[1]["refused"] >= 100 and not n[1]["unfiltered"] and closed_service.n["requests"] == 0,
          "or are refused where it says closed: %d" % n[1]["refused"])
    mp.ok(n[2]["passed"] >= 100 and not n[2]["unfiltered"], "what stands as PASS passes: %d" % n[2]["passed"])
    mp.ok(place.lanes()["refused"] >= 4, "the status counts the refused: %d" % place.lanes()["refused"])
    holders.popen.stdin.close()
    for load, name in ((loads[0], "asked"), (loads[1], "asked"), (loads[2], "connected")):
        mp.wait_for(lambda: load.n[name] > 0, "a lane that became free")
    mp.ok(True, "each has its lane when the others are gone")
    for load in loads:
        mp.is_(load.finish()["failed"], 0, "none of %d calls failed" % load.n["made"])
    place.end()


def versions():
    place = Place(*NOOP)
    size = 24  # struct lane_hello
    for words, want, what in (
            ((1, 0, size), "error 0 major 1 minor 0 fds 4", "the same version gets a lane"),
            ((1, 7, size), "error 0 major 1 minor 0 fds 4", "a newer minor speaks the older one"),
            ((1, 0, size + 40), "error 0 major 1 minor 0 fds 4", "a longer hello is read as far as known"),
            ((2, 0, size), "error 2 major 1 minor 0 fds 0", "a newer major gets no descriptor"),
            ((0, 9, size), "error 2 major 1 minor 0 fds 0", "nor does an older one"),
            ((1, 0, size - 1), "closed", "a hello cut short is none"),
            ((1, 0, 1), "closed", "nor is one byte")):
        got = place.run("lanes", "hello", *words)
        mp.is_(got.strip(), want, what)
    place.end()


def fake_scheduler(path, welcome):
    """Answers each hello with these bytes; None: with nothing."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    server.bind(path)
    server.listen(8)
    kept = []

    def serve():
        while True:
            conn, _ = server.accept()
            kept.append(conn)  # or its end would be the answer
            try:
                conn.recv(4096)
                if welcome is not None:
                    conn.send(welcome)
            except OSError:
                pass  # it waits for no longer than its budget
    threading.Thread(target=serve, daemon=True).start()
    return kept


def foreign():
    """The library with a scheduler of another version, or with something else altogether."""
    folder = mp.workdir()
    service = survive.Service(folder)

    class Fake:
        socket = None

    rows = (("of major 2", struct.pack("=QHHIIIII", HELLO_MAGIC, 2, 0, 32, 2, 0, 0, 0)),
            ("of a newer minor than was asked for", struct.pack("=QHHIIIII", HELLO_MAGIC, 1, 9, 32, 0, 0, 0, 0)),
            ("that gives no descriptors", struct.pack("=QHHIIIII", HELLO_MAGIC, 1, 0, 32, 0, 0, 0, 0)),
            ("that speaks noise", b"noise" * 50), ("that sends one byte", b"x"),
            ("that says nothing", None))
    for i, (what, welcome) in enumerate(rows):
        Fake.socket = os.path.join(folder, "fake-%d" % i)
        visits = fake_scheduler(Fake.socket, welcome)
        load = survive.Load(Fake, service, folder, "--calls", 200, number=i, budget_ms=20)
        mp.is_(load.wait(), 0, "a scheduler " + what)
        mp.wait_for(lambda: visits, "a visit")  # taken note of in a thread of its own
        n = load.n.all()
        mp.is_([n["served"], n["failed"], n["asked"], n["connects"]], [200, 0, 0, 0],
               "leaves the app as it is, after %d visits" % len(visits))
        mp.ok(0 < len(visits) < 50, "and is not called again and again")


def sockets():
    """Nobody's live socket is taken over, and a dead one's is."""
    place = Place(*NOOP)
    apps, control = place.scheduler.socket, place.scheduler.control_path
    new, odd = os.path.join(place.folder, "new"), os.path.join(place.folder, "odd")
    with open(odd, "w") as out:
        out.write("mine")
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(os.path.join(place.folder, "dead"))
    dead.close()
    busy = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    busy.bind(os.path.join(place.folder, "busy"))
    busy.listen(0)
    first = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    first.connect(busy.getsockname())
    listening = r"mp-scheduler: %s: somebody is listening there already\n"
    for names, code, want in (((apps, new), 111, listening % apps), ((new, apps), 111, listening % apps),
                              ((control, new), 111, listening % control),
                              ((new, control), 111, listening % control),
                              ((busy.getsockname(), new), 111, listening % busy.getsockname()),
                              ((new, new), 2, r"--socket and --control are the same path\n"),
                              ((new, place.folder + "/./new"), 111, r"listening there already\n"),
                              ((new, odd), 111, r"odd: exists and is no socket\n"),
                              ((new, place.folder + "/no/where"), 111, r"No such file or directory\n")):
        got, _, err = mp.run([mp.SCHEDULER, "--socket", names[0], "--control", names[1]])
        mp.is_(got, code, "sockets %s: exit code %d" % ([os.path.basename(n) for n in names], code))
        mp.like(err, want, "and why: " + err.splitlines()[0])
        mp.ok(not os.path.exists(new), "and leaves none behind")
    mp.is_(open(odd).read(), "mine", "the file is as it was")
    load = survive.Load(place.scheduler, place.service, place.folder, "--calls", 20)
    load.wait()
    mp.is_([load.n["asked"], place.scheduler.status()["restarts"]], [20, 0],
           "the scheduler that was there works on")
    first.close(), busy.close()
    process = mp.Process([mp.SCHEDULER, "--socket", os.path.join(place.folder, "dead"),
                          "--control", new])
    mp.wait_for(mp.Control(new).listens, "a scheduler in the place of a dead one")
    mp.is_(mp.Control(new).call("GET", "/v1/status")[0], 200, "a dead one's path is taken over")
    mp.is_(process.stop(), 0, "it ends well")
    place.end()
    ended_early(place.folder)


def ended_early(folder):
    """SIGTERM at any moment of its start ends it well, and takes the sockets away."""
    codes, left = [], 0
    for i in range(20):
        paths = [os.path.join(folder, "%s%d" % (name, i)) for name in "ac"]
        process = mp.Process([mp.SCHEDULER, "--socket", paths[0], "--control", paths[1]])
        mp.wait_for(lambda: os.path.exists(paths[i % 2]), "a socket")
        codes.append(process.stop())
        left += sum(os.path.exists(path) for path in paths)
    mp.is_([set(codes), left], [{0}, 0], "ended at its start, %d times" % len(codes))


# Says hello, prints how many bytes the answer has.
HELLO = """import socket, struct, sys
door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
door.connect(sys.argv[1])
try:
    door.send(struct.pack("=QHHIII", %d, 1, 0, 24, 0, 0))
    print(len(door.recv(4096)))
except OSError:
    print(0)
""" % HELLO_MAGIC


def users():
    """The door is closed to other users, even when the socket's mode lets them through."""
    if os.getuid():
        mp.skip("another user", "only root can be somebody else")
        return
    place = Place(*NOOP)
    os.chmod(place.scheduler.folder, 0o711)
    os.chmod(place.scheduler.socket, 0o666)
    for uid, gid, want, what in ((0, 0, "32", "root is welcome"), (65534, 65534, "0", "nobody is not"),
                                 (65534, 0, "0", "nor in root's group")):
        run = subprocess.run([sys.executable, "-I", "-c", HELLO, place.scheduler.socket], user=uid, group=gid,
                             extra_groups=[], cwd="/", stdout=subprocess.PIPE, timeout=mp.DEADLINE)
        mp.is_(run.stdout.decode().strip(), want, what)
    place.end()


forks()
threads()
exits()
probes()
slots(64, ())
slots(4, ("--slots", 4))
lanes()
versions()
foreign()
sockets()
users()
mp.done()

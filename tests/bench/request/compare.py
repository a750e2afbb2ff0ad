# SPDX-License-Identifier: Apache-2.0
"""Ourselves beside sidecar proxies, for unmodified clients in three languages.

Ways are: again (the client calls the service directly), breaker and ask (with our
hook: a closed breaker, a filter that is always asked), and one for each proxy.
Each way has a partner, which calls the service directly; what the way's run
costs more than its partner's run beside it is one sample, so that "again" shows
the noise.  Partners are processes of their own, used exactly as often as their
ways: a warmer interpreter, or a warmer cache, would count as a difference.  All
stay and wait for work; they are started afresh a few times, because their
placement in memory differs from start to start.

The service has a processor of its own, as it would on a host of its own; clients,
proxies and schedulers share the others.  Where the kernel places each is otherwise
chance, and moves a call by tens of microseconds.
"""
import http.client
import json
import os
import shutil
import subprocess
import sys
import time

from benchlib import HERE, TOOLS, cpu_ns, emit, family, median_interval, mp, say, scheduler

METRICS = (("p50", "us"), ("p99", "us"), ("cpu", "us"))
TRIP_CALLS = 100  # failing calls after which a proxy has to answer for itself
LEAD_IN = 10  # each run begins with calls that are not measured, this part of them
MISSED_MAX = 0.01  # a run in which more of the calls went by our scheduler is made again
TRIES = 10


class Service:
    """The small C service, with its counts; alone on the last processor."""

    def __init__(self):
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cpus[-1:])
        self.popen = subprocess.Popen([os.path.join(TOOLS, "bench_service")], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        os.sched_setaffinity(0, cpus[:-1] or cpus)  # for all that is started from now on
        self.cpus = cpus
        self.port = int(self.popen.stdout.readline().split()[1])
        self.conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def counts(self):
        self.conn.request("GET", "/counts")
        return json.loads(self.conn.getresponse().read())

    def stop(self):
        self.conn.close()
        self.popen.stdin.close()
        self.popen.wait(10)
        os.sched_setaffinity(0, self.cpus)


class Proxy:
    """A proxy in front of the service, from its template in this folder."""

    def __init__(self, name, argv, template, service):
        self.name = name
        self.port = mp.free_port()
        folder = mp.workdir()
        os.chmod(folder, 0o755)
        config = os.path.join(folder, template)
        with open(os.path.join(HERE, template + ".in")) as source, open(config, "w") as out:
            out.write(source.read().replace("@PORT@", str(self.port))
                      .replace("@SERVICE@", str(service.port)).replace("@DIR@", folder))
        before = service.counts()["connections"]
        self.process = mp.Process([*argv, config], cwd=folder)
        mp.wait_for(self.answers, "answer of " + name)
        self.pids = family(self.process.pid)
        self.opened = service.counts()["connections"] - before

    def get(self, path="/"):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            conn.request("GET", path)
            return conn.getresponse().status
        finally:
            conn.close()

    def answers(self):
        if not self.process.running():
            raise RuntimeError("%s ended: %s" % (self.name, self.process.err))
        try:
            return self.get() == 200
        except OSError:
            return False

    def stop(self):
        self.process.stop()


def find_envoy():
    for folder, _, names in os.walk(os.path.join(mp.ROOT, "build/envoy")):
        if "envoy" in names:
            path = os.path.join(folder, "envoy")
            os.chmod(path, 0o755)
            return path
    return None


def proxies(service):
    """Those that are installed; a line on standard error for each that is not."""
    sbin = os.environ.get("PATH", "") + ":/usr/sbin"
    haproxy, nginx = shutil.which("haproxy", path=sbin), shutil.which("nginx", path=sbin)
    envoy = find_envoy()
    rows = (("haproxy", haproxy, ["-db", "-q", "-f"], "haproxy.cfg"),
            ("nginx", nginx, ["-e", "stderr", "-c"], "nginx.conf"),
            ("envoy", envoy, ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error",
                              "-c"], "envoy.yaml"))
    out = []
    for name, path, args, template in rows:
        if path:
            trip(Proxy(name, [path, *args], template, service), service)
            out.append(Proxy(name, [path, *args], template, service))
        else:
            say("SKIP %s: it is not installed" % name)
    return out


def trip(proxy, service):
    """Shows that a proxy's breaker is real: after failures it answers for itself.  Ends it."""
    for _ in range(TRIP_CALLS):
        proxy.get("/fail")
    time.sleep(1.5)  # Envoy judges once a second
    before = service.counts()["requests"]
    status = proxy.get("/")
    reached = service.counts()["requests"] - before
    say("%s after %d failures: %d, the service was %s" % (
        proxy.name, TRIP_CALLS, status, "called" if reached else "not called"))
    emit("%s_breaker_opens" % proxy.name, "bool", None, TRIP_CALLS, peer=proxy.name,
         peer_value=0 if reached or status != 503 else 1)
    proxy.stop()


class Way:
    """One way of calling: a client process and whose CPU time counts with it."""

    def __init__(self, name, argv, port, process=None, pids=(), opened=0):
        """process: the scheduler that the client's hook uses; pids: whose CPU time counts as
        well; opened: connections that these have already."""
        self.name = name
        self.process = process
        self.filtered = self.count_filtered()
        self.opened = opened
        self.pids = list(pids)
        self.popen = subprocess.Popen([*argv, "http://127.0.0.1:%d/charge" % port], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      env=dict(os.environ, **(process.environment if process else {})))

    def count_filtered(self):
        counters = self.process.counters() if self.process else {"asked": 0, "passed": 0}
        return counters["asked"] + counters["passed"]

    def missed(self, calls):
        """Of the last calls, those that the scheduler never knew of."""
        if not self.process:
            return 0
        before = self.filtered
        for _ in range(20):  # outcomes are on their way for a tick
            self.filtered = self.count_filtered()
            if self.filtered - before >= calls:
                return 0
            time.sleep(0.005)
        return calls - (self.filtered - before)

    def calls(self, count):
        self.popen.stdin.write("%d\n" % count)
        self.popen.stdin.flush()
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError("the client of %s ended" % self.name)
        return json.loads(line)

    def run(self, calls, service):
        """p50, p99 and CPU a call in us, and what the service saw."""
        lead = calls // LEAD_IN
        before = service.counts()
        self.calls(lead)
        cpu = cpu_ns(self.pids)
        got = self.calls(calls)
        other = (cpu_ns(self.pids) - cpu) / 1e3
        after = service.counts()
        if got["failed"] or after["requests"] - before["requests"] != lead + calls:
            raise RuntimeError("%s: %d of %d calls failed, the service saw %d" % (
                self.name, got["failed"], lead + calls, after["requests"] - before["requests"]))
        return {"p50": got["p50"], "p99": got["p99"], "cpu": (got["cpu"] + other) / calls,
                "connections": after["connections"] - before["connections"],
                "calls": lead + calls, "missed": self.missed(lead + calls)}

    def stop(self):
        self.popen.stdin.close()
        self.popen.wait(10)


class Samples:
    """Paired differences and connection counts of every way of one language."""

    def __init__(self):
        self.differences = {}
        self.connections = {}
        self.calls = {}
        self.missed = {}

    def add(self, way, got, base):
        for metric, _ in METRICS:
            key = (way.name, metric)
            self.differences.setdefault(key, []).append(got[metric] - base[metric])

    def saw(self, way, got):
        self.connections.setdefault(way.name, way.opened)
        self.connections[way.name] += got["connections"]
        self.calls[way.name] = self.calls.get(way.name, 0) + got["calls"]
        self.missed[way.name] = self.missed.get(way.name, 0) + got["missed"]


def one_sample(pair, turn, calls, service, samples):
    """A way and its partner, taking turns in going first; an unfiltered run is taken again."""
    way = pair[1]
    for _ in range(TRIES):
        results = {}
        for member in pair if turn % 2 else reversed(pair):
            results[member] = member.run(calls, service)
            samples.saw(member, results[member])
        got, base = results[way], results[pair[0]]
        if got["missed"] <= got["calls"] * MISSED_MAX:
            samples.add(way, got, base)
            return
        say("%s: %d of %d calls went unfiltered, once more" % (way.name, got["missed"], got["calls"]))
    raise RuntimeError("%s: its calls are not filtered" % way.name)


def one_start(make_pairs, rounds, calls, warm, service, samples):
    """Starts a pair of processes for each way and runs the rounds."""
    pairs = make_pairs()
    try:
        for way in sum(pairs, ()):
            samples.saw(way, way.run(warm, service))
        for turn in range(rounds):
            at = turn % len(pairs)
            for pair in pairs[at:] + pairs[:at]:
                one_sample(pair, turn, calls, service, samples)
    finally:
        for way in sum(pairs, ()):
            way.stop()


def emit_language(name, samples, peers):
    own = {way: {metric: median_interval(samples.differences[way, metric])
                 for metric, _ in METRICS} for way in ("again", "breaker", "ask", *peers)}
    n = len(samples.differences["again", "p50"])
    for metric, unit in METRICS:
        suffix = "added_" + metric
        best = min(peers, key=lambda peer: own[peer][metric][0]) if peers else None
        best_value = own[best][metric][0] if best else None
        value, lo, hi = own["again"][metric]
        emit("%s_aa_%s" % (name, metric), unit, value, n, lo, hi)
        for peer in peers:
            value, lo, hi = own[peer][metric]
            emit("%s_breaker_%s" % (name, suffix), unit, None, n, lo, hi, peer, value)
        for way in ("breaker", "ask"):
            value, lo, hi = own[way][metric]
            emit("%s_%s_%s" % (name, way, suffix), unit, value, n, lo, hi, best, best_value)
    for way in ("breaker", "ask"):
        emit("%s_%s_unfiltered" % (name, way), "calls", samples.missed[way], samples.calls[way])
    for way, count in samples.connections.items():
        peer = way if way in peers else None
        emit("%s_connections_%s" % (name, way), "connections", None if peer else count,
             samples.calls[way], peer=peer, peer_value=count if peer else None)


LANGUAGES = {
    "node": ([mp.NODE, os.path.join(HERE, "client.js")], 5000),
    "python": ([mp.PYTHON, os.path.join(HERE, "client.py")], 1000),
    "ruby": ([mp.RUBY, os.path.join(HERE, "client.rb")], 1000),
}


def compare(languages, quick):
    starts, rounds, calls = (1, 4, 200) if quick else (4, 10, 1000)
    service = Service()
    match = "127.0.0.1:%d" % service.port
    closed = scheduler([mp.destination("service", match, mp.binding("guard", "breaker"))])
    asking = scheduler([mp.destination("service", match, mp.binding("noop", "noop"))])
    sidecars = proxies(service)

    for name in languages:
        argv, warm = LANGUAGES[name]
        if not shutil.which(argv[0]):
            say("SKIP %s: it is not installed" % name)
            continue

        def pairs():
            direct = service.port
            ways = [Way("again", argv, direct),
                    Way("breaker", argv, direct, closed, family(closed.pid)),
                    Way("ask", argv, direct, asking, family(asking.pid)),
                    *(Way(proxy.name, argv, proxy.port, None, proxy.pids, proxy.opened)
                      for proxy in sidecars)]
            return [(Way("plain", argv, direct), way) for way in ways]

        samples = Samples()
        for start in range(starts):
            say("%s: start %d of %d, %d rounds of %d calls" % (name, start + 1, starts, rounds, calls))
            one_start(pairs, rounds, calls, warm, service, samples)
        emit_language(name, samples, [proxy.name for proxy in sidecars])
    for proxy in sidecars:
        proxy.stop()
    closed.stop()
    asking.stop()
    service.stop()


if __name__ == "__main__":
    sys.exit("use ./run")

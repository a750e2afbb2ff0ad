# SPDX-License-Identifier: Apache-2.0
"""With the scheduler: counts that must add up, a breaker, threads and processes."""

import json
import os
import signal
import subprocess

import mp
import node_harness as h

LIVE = os.path.join(h.HERE, "live.cjs")
DELAY = 0.02  # seconds that a failure takes: 40 take longer than a breaker may be held up in opening


def check(app):
    if not os.path.exists(mp.SCHEDULER) or not os.path.exists(
            os.path.join(mp.TEST_BIN, "filters/noop.so")):
        mp.skip(app.name("live"), "the scheduler or its test filters are not built")
        return
    check_breaker(app)
    check_time(app)
    check_last_good(app)
    check_edits(app)
    check_crowds(app)
    check_same(app)
    check_hold(app)
    check_away(app)


class Live:
    """A scheduler with one chain to one service."""

    def __init__(self, app, *chain):
        self.app = app
        self.service = mp.Service()
        path = mp.chain_file(os.path.join(mp.workdir(), "chain.json"),
                             mp.destination("service", self.service.authority, *chain))
        self.scheduler = mp.Scheduler(path, "--filters-dir", os.path.join(mp.TEST_BIN, "filters"))

    def env(self, **more):
        return self.scheduler.env(RUBYOPT=None, PYTHONPATH=None, NODE_NO_WARNINGS="1", **more)

    def run(self, what, n):
        """Runs live.cjs; returns how many calls ended how."""
        code, out, err = mp.run([self.app.python, LIVE, what, self.service.url(), str(n)],
                                env=self.env(), deadline=120)
        if code or err:
            mp.note("exit code %s: %s" % (code, err))
        return json.loads(out or "{}")

    def exactly(self, wanted, name):
        """That the scheduler has counted each call once; its counters."""
        def there():
            n = self.scheduler.counters()
            return n if n["asked"] + n["passed"] + n["replied"] >= wanted else None
        try:
            n = mp.wait_for(there, "%d calls in the counters" % wanted, 5)
        except mp.Late:
            n = self.scheduler.counters()
        mp.is_([n["asked"] + n["passed"] + n["replied"], n["unfiltered"]], [wanted, 0],
               self.app.name("%s: %d calls, each counted once" % (name, wanted)))
        return n

    def stop(self):
        self.scheduler.stop()
        self.service.stop()


def check_breaker(app):
    live = Live(app, mp.binding("guard", "breaker", {"volume": 10, "open_ms": "300ms"}))
    live.service.behave(status=500)
    process = mp.Process([app.python, LIVE, "until", live.service.url()],
                         env=live.env(), stdin=subprocess.PIPE)
    process.wait_out("started")

    def state(want):
        return lambda: live.scheduler.unit("guard")["status"]["state"] == want
    mp.wait_for(state("open"), "an open circuit")
    mp.wait_for(lambda: live.scheduler.counters()["replied"] > 0, "a refusal")
    live.service.behave(status=200)
    mp.wait_for(state("closed"), "a closed circuit")
    process.popen.stdin.close()
    process.wait()
    tally = json.loads(process.out.split("\n")[1])
    mp.note("through a failure and back: %s" % tally)
    mp.ok(tally.get("500", 0) >= 10 and tally.get("EMIDDLEPIPE", 0) > 0 and tally.get("200", 0) > 0,
          app.name("the breaker opens, refuses, and closes again"))
    mp.is_(set(tally) - {"200", "500", "EMIDDLEPIPE"}, set(), app.name("and nothing else happens"))
    live.exactly(sum(tally.values()), "breaker")
    mp.is_(live.service.count, tally["200"] + tally["500"],
           app.name("the service sees what was not refused"))
    live.stop()


def check_time(app):
    """A call takes until its response's head, whether anybody reads the body or not."""
    live = Live(app, mp.binding("guard", "breaker", {"slow_ms": "900ms", "slow_percent": 100}))
    code = ("const get = (read) => require('http').get('%s', (res) => { if (read) res.resume(); });"
            "for (let i = 0; i < 3; i++) { get(true); get(false); fetch('%s'); }"
            "setTimeout(() => process.exit(0), 2600);" % (live.service.url(), live.service.url()))
    process = mp.Process([app.python, "-e", code], env=live.env())
    def ended():
        status = live.scheduler.unit("guard")["status"]
        return status if status["calls"] == 9 else None
    mp.is_(mp.wait_for(ended, "nine calls in the window")["slow"], 0,
           app.name("a small body that nobody reads makes no slow call"))
    process.wait()
    live.stop()


def check_last_good(app):
    """The body of a good answer, copied while the app read it, serves again."""
    for lib in h.LIBS:
        live = Live(app, mp.binding("guard", "breaker", {
            "volume": 10, "open_ms": "10m", "fallback": "last-good"}))
        live.service.behave(reply=lambda r: {"body": "good"} if r.path == "/x" else {"status": 500, "delay": DELAY})
        path = os.path.join(app.folder, "calls.json")
        with open(path, "w") as out:
            json.dump([{"lib": lib, "url": live.service.url(p), "count": n}
                       for p, n in (("/x", 1), ("/y", 40), ("/x", 2))], out)
        got = json.loads(mp.run([app.python, h.CALLS, path], env=live.env())[1])
        mp.is_([g.get("body") for g in got[-2:]], ["good"] * 2,
               app.name("%s: the last good answer" % lib))
        mp.ok(live.service.count < 41, app.name("%s: while the circuit is open" % lib))
        live.stop()


def check_edits(app):
    live = Live(app, mp.binding("stamp", "headers", {
        "request_set": {"X-Asked": "yes"}, "response_set": {"X-Answered": "yes"}}))
    tally = live.run("some", 10)
    mp.is_((tally, [r.get("x-asked") for r in live.service.requests]), ({"200": 10}, ["yes"] * 10),
           app.name("headers: fields are set"))
    live.exactly(10, "headers")
    live.stop()


def check_crowds(app):
    for name, chain in (("asked", mp.binding("noop", "noop")),
                        ("standing", mp.binding("guard", "breaker")),
                        ("decided", mp.binding("stamp", "stamp", {"responses": True}))):
        live = Live(app, chain)
        total = 0
        for what, each, processes in (("together", 400, 1), ("threads", 60, 5), ("cluster", 60, 3)):
            tally = live.run(what, each)
            total += each * processes
            mp.is_(tally, {"200": each * processes}, app.name("%s, %s: every call answered" % (name, what)))
            live.exactly(total, "%s, %s" % (name, what))
        mp.is_(live.service.count, total, app.name("%s: the service saw each once" % name))
        live.stop()


def check_same(app):
    """As many connections and the same bytes, whatever a chain only observes."""
    chains = (None, mp.binding("guard", "breaker"), mp.binding("watch", "observe"))
    calls = [dict(url=None, count=5), dict(url=None, agent="none", count=2),
             dict(url=None, method="POST", chunks=["one", "two"], gap=2, count=2),
             dict(url=None, lib="fetch", count=5), dict(url=None, method="HEAD"),
             dict(url=None, lib="fetch", method="POST", chunks=["body"]),
             dict(url=None, count=4, together=True)]
    seen = []
    service = h.Recorder()
    path = os.path.join(app.folder, "calls.json")
    for chain in chains:
        for call in calls:
            call["url"] = service.url("/a?b")
        with open(path, "w") as out:
            json.dump(calls, out)
        env = {"NODE_OPTIONS": None, "NODE_NO_WARNINGS": "1"}
        if chain:
            file = mp.chain_file(os.path.join(mp.workdir(), "chain.json"), mp.destination(
                "service", "127.0.0.1:%d" % service.port, chain))
            scheduler = mp.Scheduler(file, "--filters-dir", os.path.join(mp.TEST_BIN, "filters"))
            env = scheduler.env(RUBYOPT=None, PYTHONPATH=None, NODE_NO_WARNINGS="1")
        code, out, err = mp.run([app.python, h.CALLS, path], env=env)
        mp.is_((code, err), (0, ""), app.name("the program runs"))
        seen.append((sorted(service.take()), out))
        if chain:
            scheduler.stop()
    mp.note("connections: %s" % [len(raw) for raw, _ in seen])
    for (raw, out), chain in zip(seen[1:], chains[1:]):
        mp.is_(len(raw), len(seen[0][0]), app.name("%s: as many connections" % chain["type"]))
        mp.is_(b"".join(sorted(raw)), b"".join(sorted(seen[0][0])),
               app.name("%s: the same bytes" % chain["type"]))
        mp.is_(out, seen[0][1], app.name("%s: the same results and events" % chain["type"]))


def check_hold(app):
    """Held calls do not block the process: 20 of them take about as long as one."""
    live = Live(app, mp.binding("hold", "hold", {"ms": 1000}))
    code = ("const { byHttp, byFetch } = require('%s'); let ticks = 0;"
            "const t = setInterval(() => ticks++, 5);"
            "Promise.all(Array.from({ length: 20 }, (_, i) => (i %% 2 ? byFetch : byHttp)({ url: '%s' })))"
            ".then((all) => { clearInterval(t); console.log(JSON.stringify([all.every((r) =>"
            " r.status === 200), ticks])); process.exit(0); });" % (h.CALLS, live.service.url()))
    out = mp.run([app.python, "-e", code], env=live.env())[1]
    fine, ticks = json.loads(out or "[false, 0]")
    mp.note("timers that ran while calls were held: %d" % ticks)
    mp.ok(fine and ticks >= 3, app.name("held calls do not block the event loop"))
    live.exactly(20, "hold")
    live.stop()


def check_away(app):
    """The scheduler dies under load: no call fails, and it is used again."""
    live = Live(app, mp.binding("noop", "noop"))
    process = mp.Process([app.python, LIVE, "until", live.service.url()],
                         env=live.env(), stdin=subprocess.PIPE)
    process.wait_out("started")
    for _ in range(3):
        seen = live.service.count
        mp.wait_for(lambda: live.service.count > seen + 20, "calls")
        os.kill(live.scheduler.worker(), signal.SIGKILL)
        mp.wait_for(lambda: asked(live) > 10, "calls that are asked again")
    process.popen.stdin.close()
    code = process.wait()
    tally = json.loads(process.out.split("\n")[1])
    mp.is_((code, set(tally), process.err), (0, {"200"}, ""),
           app.name("a killed scheduler: no call of %d failed" % sum(tally.values())))
    live.stop()


def asked(live):
    try:
        return live.scheduler.counters()["asked"]
    except (OSError, AssertionError, ValueError):
        return 0

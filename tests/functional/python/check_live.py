# SPDX-License-Identifier: Apache-2.0
"""With the scheduler: counts that must add up, a breaker, threads, forks, ends."""

import json
import os
import signal

import mp
from harness import CALLS, HERE

LIVE = os.path.join(HERE, "live.py")
DELAY = 0.02  # seconds that a failure takes: 40 take longer than a breaker may be held up in opening


def check(app):
    if not os.path.exists(mp.SCHEDULER) or not os.path.exists(
            os.path.join(mp.TEST_BIN, "filters/noop.so")):
        return mp.skip(app.name("live"), "the scheduler or its test filters are not built")
    breaker(app)
    last_good(app)
    edits(app)
    crowds(app)
    ends(app)
    away(app)


class Live:
    """A scheduler with one chain to one service."""

    def __init__(self, app, *chain):
        self.app = app
        self.service = mp.Service()
        folder = mp.workdir()
        path = mp.chain_file(os.path.join(folder, "chain.json"),
                             mp.destination("service", self.service.authority, *chain))
        self.scheduler = mp.Scheduler(path, "--filters-dir", os.path.join(mp.TEST_BIN, "filters"))

    def run(self, *argv, **env):
        more = dict(RUBYOPT=None, NODE_OPTIONS=None, PYTHONDONTWRITEBYTECODE="1", **env)
        code, out, err = mp.run([self.app.python, *argv], env=self.scheduler.env(**more))
        if code or err:
            mp.note("exit code %s: %s" % (code, err))
        return out

    def calls(self, *calls, **env):
        try:
            return json.loads(self.run(CALLS, json.dumps(calls), **env))
        except ValueError:
            return [{}] * len(calls)

    def counted(self, wanted):
        """Calls by how they were decided, once there are as many as wanted."""
        def there():
            n = self.scheduler.counters()
            return n if n["asked"] + n["passed"] + n["replied"] >= wanted else None
        try:
            return mp.wait_for(there, "%d calls in the counters" % wanted, 5)
        except mp.Late:
            return self.scheduler.counters()

    def exactly(self, wanted, name):
        n = self.counted(wanted)
        mp.is_([n["asked"] + n["passed"] + n["replied"], n["unfiltered"]], [wanted, 0],
               self.app.name("%s: %d calls, each counted once" % (name, wanted)))
        return n

    def stop(self):
        self.scheduler.stop()
        self.service.stop()


def breaker(app):
    for lib in app.libs:
        live = Live(app, mp.binding("guard", "breaker", {"volume": 10, "open_ms": "10m"}))
        live.service.behave(status=500, delay=DELAY)
        live.calls({"lib": lib, "url": live.service.url(), "count": 40})
        failed = live.service.count
        mp.ok(10 <= failed < 40, app.name("%s: the breaker opened after %d calls" % (lib, failed)))
        live.service.behave(status=200)
        got = live.calls({"lib": lib, "url": live.service.url(), "count": 3, "retry": 3})
        got = [g.get("reason", g) for g in got]
        mp.is_([[g.get("pipe"), g.get("type"), g.get("state")] for g in got],
               [["guard", "breaker", "open"]] * 3, app.name(lib + ": refused by the breaker"))
        mp.ok(got[0].get("retry_after", 0) >= 1 and got[0].get("response") == 503,
              app.name(lib + ": with retry_after and a response"))
        mp.is_(live.service.count, failed, app.name(lib + ": the service is left alone"))
        live.exactly(43, lib)
        live.stop()


def last_good(app):
    """The body of a good answer, watched while the app read it, serves again."""
    for lib in app.libs:
        live = Live(app, mp.binding("guard", "breaker", {
            "volume": 10, "open_ms": "10m", "fallback": "last-good"}))
        live.service.behave(reply=lambda r: {"body": "good"} if r.path == "/x" else {"status": 500, "delay": DELAY})
        calls = [{"lib": lib, "url": live.service.url(path), "count": n}
                 for path, n in (("/x", 1), ("/y", 40), ("/x", 2))]
        got = live.calls(*calls)
        mp.is_([g.get("body") for g in got[-2:]], ["good"] * 2,
               app.name(lib + ": the last good answer"))
        mp.ok(live.service.count < 41, app.name(lib + ": while the breaker is open"))
        live.stop()


def edits(app):
    live = Live(app, mp.binding("stamp", "headers", {
        "request_set": {"X-Asked": "yes"}, "response_set": {"X-Answered": "yes"}}))
    for lib in app.libs:
        got = live.calls({"lib": lib, "url": live.service.url(), "count": 3})
        names = {name.lower() for name, _ in got[-1].get("headers", [])}
        mp.is_([live.service.requests[-1].get("X-Asked"), "x-answered" in names], ["yes", True],
               app.name(lib + ": fields are set both ways"))
    live.exactly(3 * len(app.libs), "headers")
    live.stop()


def crowds(app):
    """64 threads, forks, forks in a threaded program: no call lost or counted twice."""
    for name, chain in (("asked", mp.binding("noop", "noop")),
                        ("standing", mp.binding("guard", "breaker"))):
        live = Live(app, chain)
        total = 0
        for mode, n in (("threads", 64 * 20), ("fork", 5 * 20), ("forkthreads", 8 * 20 + 4 * 20),
                        ("pool", 64 * 20)):
            if mode == "pool" and "urllib3" not in app.libs:
                continue
            out = live.run(LIVE, mode, live.service.url())
            mp.is_(out, "%d\n" % n, app.name("%s, %s: every call answered" % (name, mode)))
            total += n
            live.exactly(total, "%s, %s" % (name, mode))
        mp.is_(live.service.count, total, app.name(name + ": the service saw each once"))
        live.stop()


def ends(app):
    """A process that ends in the middle of a call gives back what it held."""
    live = Live(app, mp.binding("noop", "noop"))
    for mode in ("exit", "sysexit", "kill"):
        mp.is_(live.run(LIVE, mode, live.service.url()), "begun\n",
               app.name("%s in the middle of a call" % mode))
    mp.wait_for(lambda: live.scheduler.status()["lanes"]["open"] == 0, "lanes to be given back")
    got = live.calls({"lib": "http", "url": live.service.url()})
    mp.is_(got[0].get("status"), 200, app.name("the next process is served"))
    live.stop()


def away(app):
    """Without a scheduler calls go on; with one again they are filtered again."""
    live = Live(app, mp.binding("noop", "noop"))
    got = live.calls({"lib": "http", "url": live.service.url()}, MIDDLEPIPE_SOCK="/nowhere.sock")
    mp.is_(got[0].get("status"), 200, app.name("a socket that is not there"))
    process = mp.Process([app.python, LIVE, "steady", live.service.url()],
                         env=live.scheduler.env(RUBYOPT=None, NODE_OPTIONS=None))
    process.wait_out("20 calls")
    os.kill(live.scheduler.worker(), signal.SIGKILL)
    seen = live.service.count
    mp.wait_for(lambda: live.service.count > seen + 20, "calls after the scheduler's death")
    mp.wait_for(lambda: live.scheduler.running() and _asked(live) > 10,
                "calls that are asked again")
    process.popen.send_signal(signal.SIGTERM)
    mp.is_([process.wait(), process.err], [0, ""],
           app.name("a killed scheduler: no call failed"))
    mp.ok("0 failed" in process.out, app.name("and it was used again after its restart"))
    live.stop()


def _asked(live):
    try:
        return live.scheduler.counters()["asked"]
    except (OSError, AssertionError):
        return 0

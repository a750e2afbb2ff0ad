#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A scheduler that is killed or stopped under load: the apps do not notice.

Part 1: the worker killed 100 times; part 2: an open circuit does not outlive a
dead scheduler and is open again after a restart; part 3: the same with SIGSTOP.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import survive

KILLS = int(os.environ.get("MP_TEST_KILLS", "100"))
STOPS = 5
YOUNG_MS = 260  # a worker that dies younger counts as failing, and its successor waits

mp.need(mp.SCHEDULER, survive.prog("load"), survive.prog("counting_service"))


def is_open(scheduler):
    return scheduler.unit("guard")["status"]["state"] == "open"


def worker_ready(scheduler, not_pid):
    """The pid of a worker other than `not_pid` that has lived long enough."""
    def there():
        try:
            status, document = scheduler.control.call("GET", "/v1/status")
        except OSError:
            return None
        return (status == 200 and document["pid"] != not_pid and
                document["uptime_ms"] > YOUNG_MS and document["pid"])
    return mp.wait_for(there, "the next worker")


def part_kill():
    """Three apps: one asks, one passes, one asks a chain that is bound `closed`."""
    folder = mp.workdir()
    services = [survive.Service(folder) for _ in range(3)]
    asking = survive.edits("mark", "A", 1, "A", "a")
    chain = mp.chain_file(os.path.join(folder, "chain.json"),
                          mp.destination("asks", services[0].authority, asking),
                          mp.destination("passes", services[1].authority,
                                         survive.breaker(volume=1000000)),
                          mp.destination("closed", services[2].authority,
                                         dict(asking, on_failure="closed")))
    scheduler = mp.Scheduler(chain)
    loads = [survive.Load(scheduler, service, folder, "--gap-us", 200, number=i,
                          # Who only passes notices by the beat, which may be as old as the budget.
                          budget_ms=20 if i == 1 else 1000,
                          env={"MIDDLEPIPE_REQUIRED": "1"} if i == 2 else None)
             for i, service in enumerate(services)]
    used = ["asked", "passed", "asked"]
    for load, name in zip(loads, used):
        mp.wait_for(lambda: load.n[name] > 10, "calls that are " + name)
    pid, again = 0, 0
    for _ in range(KILLS):
        pid = worker_ready(scheduler, pid)
        lanes = [load.n["connects"] for load in loads]
        os.kill(pid, signal.SIGKILL)
        mp.wait_for(lambda: not mp.alive(pid), "the end of the worker")
        # One call of each may still count that the old one had answered.
        dead = [load.n[name] + 1 for load, name in zip(loads, used)]
        mp.wait_for(lambda: all(load.n[name] > n and load.n["connects"] > m for load, name, n, m
                                in zip(loads, used, dead, lanes)), "calls through the next worker")
        again += 1
    mp.is_(again, KILLS, "%d times killed, %d times used again by all three" % (KILLS, again))
    numbers = [load.finish() for load in loads]
    status = scheduler.status()
    mp.is_(status["restarts"], KILLS, "restarts")
    mp.is_(status["ejected"], [], "nobody was blamed")
    for name, n in zip(("asks", "passes", "closed"), numbers):
        mp.note("%s: %s" % (name, {key: value for key, value in n.items() if value}))
        mp.is_(n["failed"], 0, "%s: of %d calls none failed" % (name, n["made"]))
        mp.is_(n["served"] + n["answered"], n["made"], "%s: each was answered" % name)
        mp.is_(n["asked"] + n["passed"] + n["replied"] + n["unfiltered"] + n["refused"], n["made"],
               "%s: each is accounted for, %d of them unfiltered, %d refused" %
               (name, n["unfiltered"], n["refused"]))
        mp.ok(n["connects"] > KILLS, "%s: a lane for each life: %d" % (name, n["connects"]))
    mp.is_(numbers[2]["unfiltered"], 0, "closed: none unfiltered")
    for service, n in zip(services, numbers):
        mp.is_([service.n["requests"], service.n["double"], service.n["mixed"]],
               [n["served"], 0, 0], "the service saw each of %d once" % n["served"])
    mp.is_(services[2].n["bare"], 0, "closed: every request that arrived was filtered")
    mp.ok(services[0].n["bare"] <= numbers[0]["unfiltered"], "open: bare requests are unfiltered ones")
    return scheduler


def open_circuit(folder, service, budget_ms=1000):
    """A scheduler with an open circuit, and an app that runs into it."""
    chain = mp.chain_file(os.path.join(folder, "chain.json"),
                          mp.destination("svc", service.authority,
                                         survive.breaker(volume=5, open_ms="30m")))
    scheduler = mp.Scheduler(chain, folder=folder)
    load = survive.Load(scheduler, service, folder, "--path", "/500", "--gap-us", 500,
                        budget_ms=budget_ms)
    mp.wait_for(lambda: is_open(scheduler), "an open circuit")
    mp.wait_for(lambda: load.n["replied"] > 10, "replies")
    # The file follows by its own thread: it is there when it says more than "closed".
    mp.wait_for(lambda: os.path.exists(scheduler.state) and os.stat(scheduler.state).st_size > 0,
                "the state file")
    return scheduler, load


def part_open():
    folder = mp.workdir()
    service = survive.Service(folder)
    scheduler, load = open_circuit(folder, service)
    settled, unfiltered = service.n["requests"], load.n["unfiltered"]
    kept = 0
    pid = 0
    for _ in range(5):
        pid = worker_ready(scheduler, pid)
        os.kill(pid, signal.SIGKILL)
        worker_ready(scheduler, pid)
        kept += is_open(scheduler)
        before = load.n["replied"]
        mp.wait_for(lambda: load.n["replied"] > before + 10, "replies after a restart")
    mp.is_(kept, 5, "5 workers killed: the circuit was open again after each")
    through = service.n["requests"] - settled
    mp.is_(through, load.n["unfiltered"] - unfiltered, "only unfiltered calls went through meanwhile: %d" % through)
    worker = worker_ready(scheduler, 0)
    scheduler.kill()
    mp.wait_for(lambda: not mp.alive(worker), "the worker's end with its supervisor")
    before = service.n["requests"]
    mp.wait_for(lambda: service.n["requests"] > before + 100, "calls through")
    mp.ok(True, "supervisor dead: the open circuit refuses no more, 100 calls go through")
    again = mp.Scheduler(scheduler.chain, folder=folder)
    mp.ok(is_open(again), "a new scheduler finds it open in the state file")
    before = load.n["replied"]
    mp.wait_for(lambda: load.n["replied"] > before + 10, "replies of the new one")
    mp.ok(True, "and the same app runs into it again")
    mp.ok(again.counters()["unfiltered"] >= 100, "which is told of the calls that went through")
    n = load.finish()
    mp.is_(n["failed"], 0, "none of its %d calls failed" % n["made"])
    mp.is_(again.stop(), 0, "it ends well")


def part_stop():
    """SIGSTOP: with a small budget, since a stopped scheduler is told by its beat alone."""
    folder = mp.workdir()
    service = survive.Service(folder)
    scheduler, load = open_circuit(folder, service, budget_ms=20)
    asked_service = survive.Service(folder)
    survive.put_chains(scheduler, 2,
                       mp.destination("svc", service.authority,
                                      survive.breaker(volume=5, open_ms="30m")),
                       mp.destination("asks", asked_service.authority,
                                      survive.edits("mark", "A", 1, "A", "a")))
    asks = survive.Load(scheduler, asked_service, folder, "--gap-us", 500, number=1, budget_ms=20)
    mp.wait_for(lambda: asks.n["asked"] > 10, "asks")
    worker = scheduler.worker()
    through = back = 0
    for _ in range(STOPS):
        os.kill(worker, signal.SIGSTOP)
        served, bare = service.n["requests"], asked_service.n["bare"]
        mp.wait_for(lambda: service.n["requests"] > served + 20 and
                    asked_service.n["bare"] > bare + 20, "calls through")
        through += 1
        os.kill(worker, signal.SIGCONT)
        replied, asked = load.n["replied"], asks.n["asked"]
        mp.wait_for(lambda: load.n["replied"] > replied + 10 and asks.n["asked"] > asked + 10,
                    "its use again")
        back += 1
    mp.is_(through, STOPS, "stopped %d times: calls went through each time" % STOPS)
    mp.is_(back, STOPS, "continued: replied and asked again each time")
    mp.is_(scheduler.worker(), worker, "by the same worker")
    mp.wait_for(lambda: scheduler.counters()["unfiltered"] ==
                load.n["unfiltered"] + asks.n["unfiltered"], "all that was unfiltered in the status")
    mp.ok(load.n["unfiltered"] >= 20 * STOPS, "the status has each unfiltered call, once")
    for name, n in (("open circuit", load.finish()), ("asks", asks.finish())):
        mp.note("%s: %s" % (name, {key: value for key, value in n.items() if value}))
        mp.is_(n["failed"], 0, "%s: none of %d calls failed" % (name, n["made"]))
        mp.is_(n["asked"] + n["passed"] + n["replied"] + n["unfiltered"] + n["refused"], n["made"],
               "%s: each is accounted for" % name)
    mp.is_(scheduler.stop(), 0, "it ends well")


part_kill()
part_open()
part_stop()
mp.done()

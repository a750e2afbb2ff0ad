#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Chains swapped under load: every call belongs to exactly one epoch.

Part 1: 1,000 swaps while four processes call, between chains that edit
requests in different orders and ways, or answer them.  Part 2: some of the
chains only watch, so that ASK, PASS and REPLY take turns.  Part 3: swaps while
PASS stands; the breaker's window has every call once.  Part 4: as many epochs as there is room
for, and the end of one whose call does not end.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import survive

APPS = 4
SWAPS = int(os.environ.get("MP_TEST_SWAPS", "1000"))
TURNS = SWAPS // 5
PASS_SWAPS = SWAPS // 2
EPOCHS = 16  # LANE_SETS
QUIET = {"volume": 1000000, "window_ms": "10m"}

mp.need(mp.SCHEDULER, survive.prog("load"), survive.prog("counting_service"),
        os.path.join(survive.TEST_FILTERS, "hold.so"))


def chain_of(epoch):
    """The chain of an epoch: edits, but one in ten answers."""
    kind = epoch % 10
    watch = survive.breaker(**QUIET)
    if kind == 5:
        return [mp.binding("guard", "breaker", {"mode": "forced-open"})]
    a, b = ("A", "B") if kind % 2 else ("C", "B")
    if kind % 4 < 2:
        return [survive.edits("one", a, epoch, a + b, (a + b).lower()), watch,
                survive.edits("two", b, epoch)]
    return [survive.edits("two", b, epoch), survive.edits("one", a, epoch, b + a, (a + b).lower()),
            watch]


def turn_of(epoch):
    """The same, but every third only watches."""
    return [survive.breaker(**QUIET)] if epoch % 3 == 0 else chain_of(epoch)


def start(folder, service, chain):
    path = mp.chain_file(os.path.join(folder, "chain.json"),
                         mp.destination("svc", service.authority, *chain))
    return mp.Scheduler(path)


def apps(scheduler, service, folder, n=APPS):
    return [survive.Load(scheduler, service, folder, "--gap-us", 100, number=i) for i in range(n)]


def swap_all(scheduler, service, loads, last, chain_of_epoch):
    """Swaps up to epoch `last`, each after some calls were made under the one before."""
    changed = tries = 0
    for epoch in range(2, last + 1):
        before = sum(load.n["made"] for load in loads)
        status, document, n = survive.put_chains(
            scheduler, epoch, mp.destination("svc", service.authority, *chain_of_epoch(epoch)))
        tries += n - 1
        changed += status == 200 and document == {"epoch": epoch, "changed": True}
        if status != 200:
            mp.note(document)
        mp.wait_for(lambda: sum(load.n["made"] for load in loads) > before + 4 * APPS,
                    "calls under an epoch")
    mp.note("%d swaps asked again on 503" % tries)
    return changed


def check_calls(numbers, counters, service):
    """What must hold whatever the chains do."""
    made = survive.total(numbers, "made")
    sums = {name: survive.total(numbers, name) for name in
            ("asked", "passed", "replied", "served", "answered", "failed", "unfiltered", "refused",
             "over_budget", "no_slot", "away", "lost")}
    mp.note("apps: made %d, %s" % (made, sums))
    mp.note("scheduler: %s" % {name: n for name, n in counters.items() if n})
    mp.note("service: %s" % service.n.all())
    mp.is_(sums["asked"] + sums["passed"] + sums["replied"], made,
           "each call was asked, passed or replied to: %d" % made)
    mp.is_(counters["asked"] + counters["passed"] + counters["replied"], made,
           "the scheduler's sum over all epochs is the same")
    mp.is_([sums[n] for n in ("failed", "unfiltered", "refused", "over_budget", "no_slot", "lost")],
           [0] * 6, "none failed, unfiltered, refused, over budget, without a slot or lost")
    mp.is_([counters[n] for n in ("stale", "lost_ok", "lost_failed", "bad_messages", "abandoned")],
           [0] * 5, "the scheduler lost none either")
    mp.is_(sums["served"] + sums["answered"], made, "each was answered once")
    mp.is_(service.n["requests"], sums["served"], "the service saw each that it served once")
    mp.is_([service.n["double"], service.n["nameless"]], [0, 0], "none twice")
    return made, sums


def part_edits(what, swaps, chain):
    """Returns what the apps counted besides what must hold in any case."""
    folder = mp.workdir()
    service = survive.Service(folder)
    scheduler = start(folder, service, chain(1))
    loads = apps(scheduler, service, folder)
    for load in loads:
        load.wait_made(10)
    mp.is_(swap_all(scheduler, service, loads, swaps + 1, chain), swaps, "%s: %d swaps" % (what, swaps))
    numbers = [load.finish() for load in loads]
    counters = survive.settle(scheduler, survive.total(numbers, "made"), "all outcomes")
    made, sums = check_calls(numbers, counters, service)
    mp.is_(service.n["mixed"], 0, "no request carries edits of two epochs or part of one's")
    mp.ok(sums["replied"] > 0, "%d were replied to" % sums["replied"])
    status = scheduler.status()
    mp.is_([status["swaps"], status["restarts"]], [swaps, 0], "the status counts the swaps; no restart")
    mp.wait_for(lambda: scheduler.status()["lanes"]["open"] == 0, "lanes reclaimed")
    mp.note("p99 of a call: %s us" % [n["p99_ns"] // 1000 for n in numbers])
    mp.is_(scheduler.stop(), 0, "it ends well")
    return service.n.all(), dict(sums, asked_bare=survive.total(numbers, "asked_bare"))


def part_full():
    """As many epochs as there is room for, each with a call in progress."""
    folder = mp.workdir()
    service = survive.Service(folder)

    def put(epoch):
        chain = [mp.binding("hold", "hold", {"ms": 30000 + epoch})]
        return scheduler.control.call("PUT", "/v1/chains", {
            "app": "test", "epoch": epoch, "destinations": [mp.destination("svc", service.authority, *chain)]})

    path = mp.chain_file(os.path.join(folder, "chain.json"),
                         mp.destination("svc", service.authority, mp.binding("hold", "hold", {"ms": 30000})))
    scheduler = mp.Scheduler(path, "--filters-dir", survive.TEST_FILTERS)
    loads, codes = [], []
    for epoch in range(1, EPOCHS + 1):
        if epoch > 1:
            codes.append(put(epoch)[0])
        loads.append(survive.Load(scheduler, service, folder, "--await", "--calls", 1, number=epoch))
        mp.wait_for(lambda: scheduler.unit("hold")["counters"]["held"] == 1, "a call under epoch %d" % epoch)
    mp.is_([codes, scheduler.status()["epochs_alive"]], [[200] * (EPOCHS - 1), EPOCHS],
           "%d epochs with a call in progress" % EPOCHS)
    status, document = put(EPOCHS + 1)
    mp.is_(status, 503, "there is no room for one more")
    mp.like(document["error"], "%d epochs still have calls in progress: try again" % EPOCHS, "and why")
    mp.is_(scheduler.status()["epoch"], EPOCHS, "what was in force still is")
    loads[0].kill()
    mp.wait_for(lambda: put(EPOCHS + 1)[0] == 200, "room")
    mp.ok(True, "there is when a call has ended")
    for load in loads[1:]:
        load.kill()
    mp.wait_for(lambda: scheduler.status()["epochs_alive"] == 1, "the end of all others")
    mp.is_(scheduler.stop(), 0, "it ends well")


def part_age():
    """A call that does not end keeps its epoch no longer than --call-age."""
    folder, service = mp.workdir(), survive.Mute()
    path = mp.chain_file(os.path.join(folder, "chain.json"),
                         mp.destination("svc", service.authority, survive.breaker()))
    for age, alive in (("1h", 2), ("1s", 1)):
        scheduler = mp.Scheduler(path, "--call-age", age)
        kept = len(service.kept)
        load = survive.Load(scheduler, service, folder, "--await", "--calls", 1)
        mp.wait_for(lambda: len(service.kept) > kept, "a call")
        survive.put_chains(scheduler, 2, mp.destination("svc", service.authority, survive.breaker(volume=7)))
        mp.wait_for(lambda: scheduler.status()["epochs_alive"] == alive, "%d epochs" % alive)
        mp.is_([load.running(), scheduler.status()["lanes"]["open"]], [True, 1],
               "--call-age %s: %d epochs alive while the call of the first goes on" % (age, alive))
        load.kill()
        mp.wait_for(lambda: scheduler.status()["epochs_alive"] == 1, "the end of the old epoch")
        mp.is_(scheduler.stop(), 0, "it ends well")


def part_pass():
    """Every other swap changes the breaker's configuration, the others only its company."""
    folder = mp.workdir()
    service = survive.Service(folder)

    def chain(epoch):
        config = dict(QUIET, open_ms=5000 + epoch // 2)
        watchers = [mp.binding("watch%d" % epoch, "breaker", QUIET)] if epoch % 3 == 0 else []
        return [mp.binding("guard", "breaker", config)] + watchers

    scheduler = start(folder, service, chain(1))
    loads = apps(scheduler, service, folder)
    for load in loads:
        load.wait_made(10)
    changed = swap_all(scheduler, service, loads, PASS_SWAPS + 1, chain)
    mp.is_(changed, PASS_SWAPS, "%d swaps with PASS standing" % PASS_SWAPS)
    numbers = [load.finish() for load in loads]
    counters = survive.settle(scheduler, survive.total(numbers, "made"), "all outcomes")
    made, sums = check_calls(numbers, counters, service)
    # A chain that has just been made stands as ASK until its filters have posted.
    mp.ok(sums["passed"] > made * 9 // 10, "%d of %d passed without asking" % (sums["passed"], made))
    calls = mp.wait_for(lambda: scheduler.unit("guard")["status"]["calls"] >= made and
                        scheduler.unit("guard")["status"]["calls"], "the window", 5)
    mp.is_(calls, made, "the breaker's window has exactly the calls made: %d" % made)
    mp.is_(scheduler.unit("guard")["status"]["failed"], 0, "none of them a failure")


seen, sums = part_edits("edits", SWAPS, chain_of)
mp.is_([seen["edited"], seen["bare"], sums["passed"], sums["asked_bare"]], [sums["served"], 0, 0, 0],
       "every request that arrived carries exactly one epoch's edits: %d" % seen["edited"])
mp.ok(seen["epochs"] > SWAPS // 2, "of %d different epochs" % seen["epochs"])
seen, sums = part_edits("turns", TURNS, turn_of)
mp.ok(sums["passed"] > 0, "%d passed" % sums["passed"])
# An epoch that only watches is asked, too, when its entry is just being written.
mp.note("%d were asked in epochs that only watch" % sums["asked_bare"])
mp.is_(seen["bare"], sums["passed"] + sums["asked_bare"], "requests without edits are those that passed")
mp.is_(seen["edited"], sums["served"] - seen["bare"], "all others carry exactly one epoch's edits: %d" %
       seen["edited"])
part_pass()
part_full()
part_age()
mp.done()

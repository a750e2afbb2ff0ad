#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One hostile app among 16: the others do not notice, and nothing leaks.

For each attack of hostile.c: 15 apps whose every call is asked or passes, and
one that attacks while each of them makes its calls.  Then 10,000 lanes.
"""

import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import survive

OTHERS = 15
CALLS = int(os.environ.get("MP_TEST_CALLS", "200"))  # of each app under each attack
LANES = int(os.environ.get("MP_TEST_LANES", "10000"))
ATTACKS = ("scribble", "flip", "endless", "punch", "bells", "eventfd", "silent", "garbage", "greedy")

mp.need(mp.SCHEDULER, survive.prog("load"), survive.prog("hostile"), survive.prog("lanes"))


def start(folder, service):
    """One destination is asked about, the other passes; both are watched by a breaker.

    The breaker cannot open: what an app says of its own calls is its own word,
    and one that lies about them may well open a circuit of its own tenant.
    """
    watch = mp.binding("watch", "breaker", {"mode": "forced-closed"})
    chain = mp.chain_file(os.path.join(folder, "chain.json"),
                          mp.destination("asks", service[0].authority,
                                         survive.edits("mark", "A", 1, "A", "a"), watch),
                          mp.destination("passes", service[1].authority, watch))
    return mp.Scheduler(chain)


def attack(name, folder, services, scheduler):
    loads = [survive.Load(scheduler, services[i % 5 == 4], folder, "--gap-us", 1000, number=i)
             for i in range(OTHERS)]
    for load in loads:
        mp.wait_for(lambda: load.n["connected"] and load.n["made"] > 5, "a lane for each")
    page = survive.Numbers(folder, ("rounds", "lanes", "connections"))
    hostile = mp.Process([survive.prog("hostile"), name, services[0].authority, page.path],
                         env={"MIDDLEPIPE_SOCK": scheduler.socket})
    mp.wait_for(lambda: page["rounds"] > 0 or not hostile.running(), "the attack")
    before = [load.n["made"] for load in loads]
    for load, n in zip(loads, before):
        load.wait_made(n + CALLS)
    # --await: who is slow to say hello may have to make room for the crowd, and comes again.
    late = survive.Load(scheduler, services[0], folder, "--await", "--calls", 50, number=OTHERS)
    late_code = late.wait()
    during = page.all()
    still = hostile.running()
    hostile.signal(signal.SIGTERM)
    code = hostile.wait()
    numbers = [load.finish() for load in loads]
    made = survive.total(numbers, "made")
    mp.ok(still and code == 0 and during["rounds"] > 0,
          "%s: %d rounds, %d lanes, %d connections against %d calls" %
          (name, during["rounds"], during["lanes"], during["connections"], made))
    if code:
        mp.note(hostile.err)
    bad = {key: survive.total(numbers, key) for key in
           ("failed", "answered", "unfiltered", "refused", "over_budget", "no_slot", "away", "lost")}
    mp.is_({key: n for key, n in bad.items() if n}, {}, "%s: nobody's calls were disturbed" % name)
    mp.is_(survive.total(numbers, "asked") + survive.total(numbers, "passed"), made,
           "%s: each of %d asked or passed" % (name, made))
    mp.is_([late_code, late.n["failed"], late.n["unfiltered"], late.n["asked"]], [0, 0, 0, 50],
           "%s: an app that comes meanwhile gets its lane" % name)
    mp.note("%s: p99 of the others' calls: %d us, worst %d us" % (
        name, max(n["p99_ns"] for n in numbers) // 1000, max(n["max_ns"] for n in numbers) // 1000))
    return made + 50, survive.total(numbers, "asked") + 50


def part_attacks():
    folder = mp.workdir()
    services = [survive.Service(folder), survive.Service(folder)]
    scheduler = start(folder, services)
    worker = scheduler.worker()
    made = asked = 0
    for name in ATTACKS:
        a, b = attack(name, folder, services, scheduler)
        made, asked = made + a, asked + b
        mp.is_(scheduler.worker(), worker, "%s: the same worker" % name)
        mp.wait_for(lambda: scheduler.status()["lanes"]["open"] == 0, "lanes reclaimed after " + name)
        mp.is_(survive.put_chains(scheduler, 2 + ATTACKS.index(name), *chain_now(services))[0], 200,
               "%s: chains can be swapped afterwards" % name)
    mp.is_(services[0].n["edited"] + services[1].n["bare"], made,
           "every request that arrived was filtered: %d of %d" % (services[0].n["edited"], asked))
    mp.is_([services[0].n["bare"], services[0].n["mixed"], services[1].n["edited"]], [0, 0, 0],
           "none was not")
    status = scheduler.status()
    mp.note("scheduler: %s, lanes: %s" % (status["counters"], status["lanes"]))
    mp.is_([status["restarts"], status["ejected"]], [0, []], "no restart, nobody ejected")
    mp.is_(scheduler.stop(), 0, "it ends well")


def chain_now(services):
    watch = mp.binding("watch", "breaker", {"mode": "forced-closed"})
    return (mp.destination("asks", services[0].authority,
                           survive.edits("mark", "A", 1, "A", "a"), watch),
            mp.destination("passes", services[1].authority, watch,
                           mp.binding("other", "breaker", {"mode": "dry-run"})))


def memory_of(pid):
    """KiB that are its own: RssAnon and RssShmem."""
    with open("/proc/%d/status" % pid) as text:
        rows = dict(line.split(":", 1) for line in text)
    return sum(int(rows[name].split()[0]) for name in ("RssAnon", "RssShmem"))


def descriptors_of(pid):
    try:
        return len(os.listdir("/proc/%d/fd" % pid))
    except PermissionError:
        return None


def part_lanes():
    folder = mp.workdir()
    service = survive.Service(folder)
    scheduler = start(folder, [service, survive.Service(folder)])
    worker = scheduler.worker()
    env = {"MIDDLEPIPE_SOCK": scheduler.socket, "MIDDLEPIPE_BUDGET_MS": str(survive.BUDGET_MS)}

    def lanes(*words):
        code, out, err = mp.run([survive.prog("lanes"), *words], env=env, deadline=120)
        mp.is_((code, err), (0, ""), "lanes %s: %s" % (" ".join(map(str, words)), out.strip()))
        mp.wait_for(lambda: scheduler.status()["lanes"]["open"] == 0, "lanes reclaimed")

    lanes("cycle", 500)
    lanes("forks", 50, service.port)
    memory, fds = memory_of(worker), descriptors_of(worker)
    lanes("cycle", LANES * 9 // 10)
    lanes("forks", LANES // 10, service.port)
    grown = memory_of(worker) - memory
    mp.ok(grown < 1024, "memory is flat over %d lanes: %d KiB and %+d KiB" % (LANES, memory, grown))
    if fds is None:
        mp.skip("descriptors", "they are not ours to see")
    else:
        # Our own connection to the control socket may still be one of them.
        mp.wait_for(lambda: descriptors_of(worker) <= fds, "the descriptors of before")
        mp.ok(True, "descriptors are flat: %d" % fds)
    status = scheduler.status()["lanes"]
    mp.is_(status["reclaimed"], status["opened"], "all %d lanes were reclaimed" % status["opened"])
    orphan(scheduler, service, env)
    mp.is_(scheduler.worker(), worker, "the same worker")
    mp.is_(scheduler.stop(), 0, "it ends well")


def orphan(scheduler, service, env):
    """A forked child keeps its dead parent's socket open: the pidfd tells."""
    parent = mp.Process([survive.prog("lanes"), "orphan", service.port], env=env)
    parent.wait_out("\n")
    child = int(parent.out.split()[1])
    mp.is_(parent.wait(), -signal.SIGKILL, "a process dies and leaves a child with its socket")
    mp.wait_for(lambda: scheduler.status()["lanes"]["open"] == 0, "the dead one's lane reclaimed")
    mp.ok(mp.alive(child), "its lane is reclaimed although the child lives")
    os.kill(child, signal.SIGKILL)


part_attacks()
part_lanes()
mp.done()

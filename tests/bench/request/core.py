# SPDX-License-Identifier: Apache-2.0
"""The parts of the bench that need no peer: board, asking, filters, memory.

Each function measures one row of the table and emits its lines.  The C programs
do the measuring; here are the chains that they need.
"""
import os
import subprocess
import time

from benchlib import (TEST_FILTERS, TOOLS, cpu_ns, emit, family, mp, program, say, scheduler,
                      status_sum)

CHAIN_LENGTHS = (1, 2, 4, 8, 16, 32)
OPEN_HOSTS = 20
OPEN_ROUNDS = 50
OPEN_FAILURES = 5
KILLS = 100
LANES = 16
LANE_ASKS = 10000
LANE_OUTCOMES = 20000
IDLE_S = 20


def noops(count):
    return [mp.binding("noop%d" % i, "noop") for i in range(count)]


def asked(host="ask.bench", filters=1):
    return mp.destination(host.split(".")[0], host, *noops(filters))


def passing(host="pass.bench"):
    return mp.destination(host.split(".")[0], host, mp.binding("guard", "breaker"))


def standing(quick):
    process = scheduler([passing()])
    for part in ("time", "syscalls", "flat"):
        program("bench_standing", part, "pass.bench", scheduler=process)
    process.stop()


def ask(quick):
    process = scheduler([asked()])
    program("bench_ask", "gap", "ask.bench", scheduler=process)
    process.stop()


def filters(quick):
    hosts = ["n%d.bench" % n for n in CHAIN_LENGTHS]
    process = scheduler([asked(host, n) for host, n in zip(hosts, CHAIN_LENGTHS)])
    pairs = [word for host, n in zip(hosts, CHAIN_LENGTHS) for word in (host, n)]
    program("bench_ask", "filters", process.worker(), *pairs, scheduler=process)
    process.stop()
    program("bench_filters", os.path.join(TEST_FILTERS, "noop.so"))


def rate(quick):
    process = scheduler([asked()])
    program("bench_ask", "rate", "ask.bench", scheduler=process)
    process.stop()


def opening(quick):
    hosts = ["open%d.bench" % i for i in range(OPEN_HOSTS)]
    config = {"consecutive": OPEN_FAILURES}
    process = scheduler([mp.destination(host.split(".")[0], host,
                                        mp.binding("guard", "breaker", config)) for host in hosts])
    program("bench_open", OPEN_FAILURES, 5 if quick else OPEN_ROUNDS, *hosts, scheduler=process)
    process.stop()


def failover(quick):
    process = scheduler([asked()])
    program("bench_failover", process.pid, 10 if quick else KILLS, "ask.bench", scheduler=process)
    process.stop()


def emit_memory(pids):
    own = status_sum(pids, "RssAnon", "RssShmem") / 1024
    emit("scheduler_rss_16", "MiB", own, LANES)
    emit("scheduler_vmrss_16", "MiB", status_sum(pids, "VmRSS") / 1024, LANES)
    for pid in pids:
        say("process %d: RssAnon %d KiB, RssShmem %d KiB" % (
            pid, status_sum([pid], "RssAnon"), status_sum([pid], "RssShmem")))


def emit_idle(pids, seconds):
    def wakeups():
        return status_sum(pids, "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches",
                          of_tasks=True)

    before, cpu, start = wakeups(), cpu_ns(pids), time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - start
    emit("scheduler_idle", "wakeups/s", (wakeups() - before) / took, LANES)
    emit("scheduler_idle_cpu", "percent", (cpu_ns(pids) - cpu) / 1e9 / took * 100, LANES)


def memory(quick):
    """Memory after work on 16 lanes, then what the same lanes cost when quiet."""
    process = scheduler([asked(), passing()])
    argv = [os.path.join(TOOLS, "bench_lanes"), LANES, LANE_ASKS, LANE_OUTCOMES, "ask.bench",
            "pass.bench"]
    apps = subprocess.Popen([str(word) for word in argv], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, env=dict(os.environ, **process.environment))
    try:
        if apps.stdout.readline() != b"ready\n":
            raise RuntimeError("bench_lanes failed")
        document = process.status()
        say("lanes open: %d, counters: %s" % (document["lanes"]["open"], document["counters"]))
        pids = family(process.pid)
        emit_memory(pids)
        time.sleep(3)  # the busy ticks end
        emit_idle(pids, 5 if quick else IDLE_S)
    finally:
        apps.stdin.close()
        apps.wait(10)
        process.stop()


PARTS = {"standing": standing, "ask": ask, "filters": filters, "rate": rate, "open": opening,
         "failover": failover, "memory": memory}

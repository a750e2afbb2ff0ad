# SPDX-License-Identifier: Apache-2.0
"""What the parts of this bench share: lines, statistics, CPU time, processes.

Used by ./run, core.py and compare.py, and by ../rows.  Standard library only; schedulers and
waiting come from the functional tests' module mp.  Lines go to standard output,
everything for people to standard error.
"""
import json
import math
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../functional/lib"))
import mp  # noqa: E402

TOOLS = os.path.join(mp.BUILD, "tests/bench/request")
BENCH = "request"  # the other bench that uses this sets its own name
TEST_FILTERS = os.path.join(mp.BUILD, "tests/filters")


def say(text):
    print("# " + text, file=sys.stderr, flush=True)


def number(value):
    """Short enough to read, exact enough to compare."""
    return None if value is None else float("%.5g" % value)


def emit(metric, unit, ours, n, lo=None, hi=None, peer=None, peer_value=None):
    """One line.  ours None: a peer's own figure."""
    ratio = ours / peer_value if ours is not None and peer_value else None
    line = {"bench": BENCH, "metric": metric, "unit": unit, "ours": number(ours),
            "peer": peer, "peer_value": number(peer_value), "ratio": number(ratio), "n": n}
    if lo is not None:
        line.update(lo=number(lo), hi=number(hi))
    print(json.dumps(line), flush=True)


def median(values):
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def median_interval(values):
    """(median, lo, hi): lo and hi are order statistics that hold it with 95 %."""
    ordered = sorted(values)
    n = len(ordered)
    reach = 1.96 * math.sqrt(n) / 2
    lo = max(0, math.floor((n - 1) / 2 - reach))
    hi = min(n - 1, math.ceil((n - 1) / 2 + reach))
    return median(ordered), ordered[lo], ordered[hi]


def family(pid):
    """A process and all that it started."""
    out = [pid]
    for child in mp.children(pid):
        out += family(child)
    return out


def tasks(pids):
    """The /proc folders of all threads of these processes."""
    for pid in pids:
        try:
            names = os.listdir("/proc/%d/task" % pid)
        except OSError:
            continue
        for name in names:
            yield "/proc/%d/task/%s" % (pid, name)


def cpu_ns(pids):
    """CPU time of all threads; exact for those that sleep."""
    total = 0
    for task in tasks(pids):
        try:
            with open(task + "/schedstat") as text:
                total += int(text.read().split()[0])
        except (OSError, IndexError):
            pass  # the thread has just ended
    return total


def status_sum(pids, *names, of_tasks=False):
    """Sum of rows of /proc/PID/status, of the processes or of all their threads."""
    total = 0
    for folder in tasks(pids) if of_tasks else ["/proc/%d" % pid for pid in pids]:
        with open(folder + "/status") as text:
            for line in text:
                name, _, value = line.partition(":")
                if name in names:
                    total += int(value.split()[0])
    return total


def scheduler(destinations, *options, budget_ms=5):
    """A scheduler that serves these destinations, our test filters among the types."""
    chain = mp.chain_file(os.path.join(mp.workdir(), "chain.json"), *destinations, app="bench")
    process = mp.Scheduler(chain, "--filters-dir", TEST_FILTERS, "--log", "error", *options)
    process.environment = process.env(MIDDLEPIPE_BUDGET_MS=str(budget_ms))
    return process


def program(name, *args, scheduler=None, deadline=300):
    """Runs a C program of this bench and emits its lines."""
    argv = [os.path.join(TOOLS, name), *map(str, args)]
    env = dict(os.environ, **(scheduler.environment if scheduler else {}))
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=deadline, check=False)
    for line in done.stderr.splitlines():
        say(line)
    for line in done.stdout.splitlines():
        row = json.loads(line)
        emit(row["metric"], row["unit"], row["ours"], row["n"], row["lo"], row["hi"],
             row.get("peer"), row.get("peer_value"))
    if done.returncode:
        raise RuntimeError("%s ended with %d" % (" ".join(argv)[:100], done.returncode))

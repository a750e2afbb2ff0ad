#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The workload on rows (tests/rows/workload.py) against a test double of the members.

Part 1: a seed repeats operations and faults.  Part 2: a correct group that drops
connections, answers 503 and 504, commits late and loses members: every history
holds, and has what it must have (retries elsewhere, resumed subscriptions).
Part 3: a group with a bug: the history shows it.  Part 4: what the client makes of
bad answers.  Part 5: the program.  Part 6: what a test that fails leaves behind.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import rowcheck
import rowserver
import rowclient
import workload
from history import Writer

ROWS = {"a": "", "chains/b": "", "u": "unique"}
# What each bug of the test double must be told as.
TOLD = {"forget": "lost", "twice": "doubled", "stale": "stale", "apply refused": "refused",
        "skip": "gap", "other bytes": "changed", "split": "half",
        "unchecked": "check", "apply checked": "refused"}

folder = mp.workdir()
numbers = itertools.count()


def new_path():
    return os.path.join(folder, "h%d.jsonl" % next(numbers))


def events_of(path):
    with open(path) as lines:
        return [json.loads(line) for line in lines]


def repeats():
    def first(seed, client, **how):
        return list(itertools.islice(workload.operations(seed, client, ROWS, **how), 500))

    mp.ok(first(3, "c1") == first(3, "c1"), "a seed gives the same operations again")
    mp.ok(first(3, "c1") != first(4, "c1") and first(3, "c1") != first(3, "c2"),
          "another seed or client gives others")
    mp.is_({op["op"] for op in first(3, "c1", admin=True)},
           {name for name, _ in workload.MIX + workload.ADMIN}, "every kind comes")
    kinds = {"kill": (["m1", "m2"], 0.5, 2), "stop": (["m3"], 1, 1)}
    faults = workload.schedule(9, 300, kinds)
    mp.ok(faults == workload.schedule(9, 300, kinds) and faults != workload.schedule(8, 300, kinds),
          "a seed gives the same faults again")
    mp.ok(all(one[0] + one[3] < other[0] for one, other in zip(faults, faults[1:]))
          and {fault[1:3] for fault in faults} == {("kill", "m1"), ("kill", "m2"), ("stop", "m3")},
          "%d faults, one after another, of every kind at every target" % len(faults))


def run(seed, bug=None, trouble=0.2, calls=80, faults=(), admin=False):
    """(group, workload, path) of a run that has ended."""
    group, path = rowserver.Group(seed=seed, trouble=trouble, bug=bug), new_path()
    load = workload.Workload(group.urls(), path, seed, ROWS, clients=4, admin=admin, timeout=3.0)
    load.run(calls=calls, faults=faults, executors={"down": group.down})
    group.stop()
    return group, load, path


def correct():
    faults = workload.schedule(2, 3, {"down": (["m1", "m2", "m3"], 0.05, 0.2)}, 0.1)
    seen = set()
    for seed in (1, 2, 3):
        group, load, path = run(seed, calls=None, faults=faults, admin=seed != 1)  # until the last fault has ended
        mp.is_(load.errors, [], "seed %d: everybody came to the end" % seed)
        code, said, errors = rowcheck.run("--check", "u=unique", "--faults", "down", path)
        mp.is_(code, 0, "seed %d: the history holds" % seed) or mp.note(said + errors)
        mp.like(said, r"check of u: [1-9]\d* cells replayed, [1-9]\d* puts refused", "seed %d: puts are refused" % seed)
        seen |= what_is_in(events_of(path))
    mp.is_(sorted(ROUTINE - seen), [], "the histories have: %s" % ", ".join(sorted(ROUTINE)))


ROUTINE = {"a retry at another member", "two attempts at once", "resumed subscription",
           "an answer that nobody waited for", "a stamped base", "a stale read", "atomic",
           "no key", "If-Match", "status 0", "status 1", "status 200", "status 201", "status 412",
           "status 503", "status 504", "delete", "compact", "get", "range", "latest"}


def what_is_in(events):
    """Which of ROUTINE this history has."""
    calls = {(e["c"], e["o"]): e for e in events if e["e"] == "call"}
    rets = {(e["c"], e["o"]): e for e in events if e["e"] == "ret"}
    puts, out = {}, {call["op"] for call in calls.values()}
    for who, call in calls.items():
        if call["op"] == "put":
            out.add("atomic" if len(call["sha"]) > 1 else "one")
            out.update({"If-Match"} if "if" in call else ())
            out.update({"an answer that nobody waited for"} if who not in rets else ())
            if "key" not in call:
                out.add("no key")
            else:
                puts.setdefault(call["key"], []).append((call, rets.get(who)))
        out.update({"a stale read"} if call.get("stale") else ())
    for attempts in puts.values():
        for (one, told), (other, _) in zip(attempts, attempts[1:]):
            if one["m"] != other["m"] and one["sha"] == other["sha"]:
                out.add("a retry at another member" if told and told["t"] < other["t"]
                        else "two attempts at once")
            if told and "base" in told and "base" not in one and other.get("base") == told["base"]:
                out.add("a stamped base")
    out.update("status %d" % ret["st"] for who, ret in rets.items() if calls[who]["op"] == "put")
    out.update({"resumed subscription"} if any("s" in e for e in events if e["e"] == "sub") else ())
    return out


def bugs():
    mp.is_(sorted(TOLD), sorted(rowserver.BUGS), "every bug of the test double is expected")
    for bug, name in TOLD.items():
        for seed in range(9):
            group, _, path = run(seed, bug, 0.05)
            code, said, errors = rowcheck.run("--json", "--check", "u=unique", path)
            counts = json.loads(said)["counts"] if said else errors
            if group.broke and name in counts:  # a few alone may leave no trace that proves it
                break
        mp.ok(group.broke and code == 1 and name in counts, "%s: told as %s (%d times, %s)"
              % (bug, name, group.broke, counts))


# ------------------------------------------------------------------- bad answers

ANSWERS = (
    ("nothing", b"", 0),
    ("half a head", b"HTTP/1.1 201 Cre", 0),
    ("no HTTP", b"hello\r\n\r\n", 0),
    ("half a body", b"HTTP/1.1 201 Created\r\nContent-Length: 90\r\n\r\n{\"row\"", 0),
    ("no JSON", b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n{", 0),
    ("no object", b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n[]", 0),
    ("no seq", b"HTTP/1.1 201 Created\r\nContent-Length: 20\r\n\r\n{\"incarnation\":\"01\"}", 0),
    ("a seq that is text", b"HTTP/1.1 201 Created\r\nContent-Length: 30\r\n\r\n"
     b"{\"incarnation\":\"01\",\"seq\":\"9\"}", 0),
    ("an answer", b"HTTP/1.1 201 Created\r\nContent-Length: 28\r\n\r\n"
     b"{\"incarnation\":\"01\",\"seq\":9}", 201),
    ("a refusal", b"HTTP/1.1 412 No\r\nContent-Length: 13\r\n\r\n{\"highest\":4}", 412),
)


def answer_once(answer):
    """A member that gives these bytes to the first request; its URL."""
    listener = mp.socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection, listener:
            got = b""
            while b"\r\n\r\nx" not in got:
                got += connection.recv(4096)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return "http://127.0.0.1:%d" % listener.getsockname()[1]


def put_at(url):
    """What one attempt at a member is written down as: (status returned, statuses written)."""
    path = new_path()
    writer = Writer(path)
    client = rowclient.Client("c", {"m": url}, writer, random.Random(1), timeout=3.0)
    status = client.put(rowclient.Put("r", [b"x"], "k", "-:0"), tries=1)
    client.close()
    writer.close()
    return status, [event["st"] for event in events_of(path) if event["e"] == "ret"]


def bad_answers():
    for what, answer, status in ANSWERS:
        mp.is_(put_at(answer_once(answer)), (status, [status]), "%s: %d" % (what, status))
    mp.is_(put_at("http://127.0.0.1:%d" % mp.dead_port()), (1, [1]), "nobody there: 1")
    lines = [b": comment\n", b"\n", b"event: cell\r\n", b"data: {\"a\":\r\n", b"data:1}\r\n",
             b"\r\n", b"id: 4\n", b"data: {}\n", b"\n", b"event: end\n", b"data: {\"half\":1}\n"]
    mp.is_(list(rowclient.events_of(lines)), [("cell", {"a": 1}), ("message", {})],
           "server-sent events: lines, comments, half of one")


def program():
    group, path = rowserver.Group(seed=5), new_path()
    done = subprocess.run(
        [sys.executable, os.path.join(rowcheck.FOLDER, "workload.py"), "--history", path, "--seed",
         "4", "--rows", "a,u=unique", "--calls", "30", "--admin",
         *("%s=%s" % pair for pair in group.urls().items())],
        capture_output=True, text=True, check=False, timeout=mp.DEADLINE * 3)
    group.stop()
    mp.ok(done.returncode == 0 and done.stdout.startswith("answers: ") and not done.stderr,
          "workload.py runs") or mp.note(done.stdout + done.stderr)
    mp.is_(rowcheck.run("--check", "u=unique", path)[0], 0, "and its history holds")


# ------------------------------------------------------------------ what is kept

ENDS = {"passes": "mp.ok(True, 'x')", "fails": "mp.ok(False, 'x')", "raises": "raise mp.Late('x')",
        "is ended": "os.kill(os.getpid(), 15); mp.wait_for(lambda: False)", "exits": "sys.exit(3)"}
SCRIPT = """import os, sys
sys.argv = ["/nowhere/99-x.t"]
sys.path.insert(0, %r)
import kept, mp, rowfaults
open(rowfaults.history("h"), "w").close()
open(os.path.join(mp.workdir(), "some.log"), "w").close()
mp.run(["echo", "hello"])
%s
mp.done()
"""


def is_kept():
    for how, line in ENDS.items():
        build = mp.workdir()
        env = {name: value for name, value in os.environ.items() if name != "KEEP"}
        script = SCRIPT % (os.path.dirname(os.path.realpath(mp.__file__)), line)
        done = subprocess.run([sys.executable, "-c", script], env=dict(env, B=build), capture_output=True, text=True,
                              check=False, timeout=mp.DEADLINE * 3)
        there = {name for _, _, names in os.walk(build) for name in names}
        told = "# kept: " in done.stdout and "# again: " in done.stdout
        want = set() if how == "passes" else {"h.jsonl", "some.log", "000-echo.log"}
        if how == "exits":
            want.remove("some.log")  # made behind folder(): it has gone by then
        mp.is_((there, told, done.returncode == 0), (want, bool(want), not want),
               "a test that %s: %s kept" % (how, "all is" if want else "nothing is"))


repeats()
correct()
bugs()
bad_answers()
program()
is_kept()
mp.done()

# SPDX-License-Identifier: Apache-2.0
"""What tests of rows under faults share: settings, the turns of a schedule, the judge.

    SECONDS, SEEDS            # of MP_TEST_ROWS_SECONDS and MP_TEST_ROWS_SEEDS
    faults = rowfaults.turns(rng, kinds, SECONDS)
    load.run(seconds=SECONDS, faults=faults, executors=...)
    rowfaults.judge(load, path, kinds, "seed 1")

With KEEP=DIR histories are kept there (tests/rows/soak sets all three), else only when the
test fails: kept.py.  Standard library only.
"""

import os
import re
import shlex
import subprocess
import sys

LIB = os.path.dirname(os.path.abspath(__file__))
ROWS = os.path.join(LIB, "../../rows")
sys.path[:0] = [ROWS]

import kept
import mp

CHECKS = re.compile(r"^check of (\S+): (\d+) cells replayed, (\d+) puts refused, (\d+) of them under faults$", re.M)
CHECKER = os.path.join(ROWS, "check_history")
# Rows of a workload: two have a check, so that puts are refused.
ROWS = {"a": "", "b": "", "chains/x": "", "nat/y": "unique", "bw/z": "sum"}


def seeds(usual):
    """Which seeds a test has."""
    return [int(seed) for seed in os.environ.get("MP_TEST_ROWS_SEEDS", usual).split()]


SEEDS = seeds("1 2")


def seconds(usual):
    """How long each seed lasts."""
    return float(os.environ.get("MP_TEST_ROWS_SECONDS", usual))


def history(name):
    """The path of a history, which stays when the test fails."""
    kept.say("again: " + again())
    return os.path.join(kept.folder(), "%s.jsonl" % name)


def again(**more):
    """The command that runs this test as it was run now; more: variables."""
    names = ("B", "MP_TEST_ROWS_SECONDS", "MP_TEST_ROWS_SEEDS")
    values = {**{name: os.environ[name] for name in names if name in os.environ}, **more}
    words = ["%s=%s" % (name, shlex.quote(str(value))) for name, value in values.items()]
    return " ".join([*words, os.path.relpath(sys.argv[0], mp.ROOT)])


def turns(rng, kinds, lasts, rest=(0.2, 0.6)):
    """
    Every kind in turn, in orders that the seed draws: [(second, kind, target, seconds)].
    kinds: {kind: (targets, shortest, longest)}.  It ends only when each had its turn.
    """
    faults, now, turn = [], 0.5, []
    while now < lasts or len(faults) < len(kinds):
        if not turn:
            turn = rng.sample(sorted(kinds), len(kinds))
        kind = turn.pop()
        targets, shortest, longest = kinds[kind]
        faults.append((now, kind, rng.choice(targets), rng.uniform(shortest, longest)))
        now += faults[-1][3] + rng.uniform(*rest)
    return faults


def length(faults):
    """Seconds that a schedule takes."""
    return max(second + lasts for second, _, _, lasts in faults) + 1.0


def judge_checks(load, said, name):
    """What the checker counted for the rows that have a check."""
    counts = {row: [int(number) for number in numbers] for row, *numbers in CHECKS.findall(said)}
    checked, under_faults = [row for row, check in load.rows.items() if check], 0
    for row in checked:
        replayed, refused, meanwhile = counts.get(row, (0, 0, 0))
        mp.ok(replayed and refused, "%s: the check of %s is replayed over %d cells, and has refused %d puts" % (
            name, row, replayed, refused))
        under_faults += meanwhile
    if checked and len(load.members) > 1:
        mp.ok(under_faults, "%s: %d of them under faults" % (name, under_faults))


def judge(load, path, kinds, name, *options):
    """
    The clients came through, the checker is content, each kind met puts in flight, and each row that
    has a check refused some puts, meanwhile, too, if there was anybody left to do it.
    """
    mp.is_(load.errors, [], "%s: the clients got what they wanted" % name)
    words = [CHECKER, "--faults", ",".join(sorted(kinds)), *options]
    for row, check in load.rows.items():
        words += ["--check", "%s=%s" % (row, check)] if check else []
    check = subprocess.run([*words, path], capture_output=True, text=True)
    mp.note(check.stdout + check.stderr)
    if check.returncode or load.errors:
        kept.say("that seed alone: " + again(MP_TEST_ROWS_SEEDS=load.seed))
        kept.say("judged by: " + shlex.join([os.path.relpath(word, mp.ROOT) if word[0] == "/" else word
                                             for word in [*words, path]]))
    judge_checks(load, check.stdout, name)
    return mp.is_(check.returncode, 0, "%s: all promises held, and every fault met puts" % name)

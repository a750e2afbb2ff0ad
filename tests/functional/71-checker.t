#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The checker of histories: no false alarm, every planted fault told by its name.

Part 1: hundreds of histories of a correct model pass.  Part 2: each kind of
fault, planted in random places of such histories, is caught under its name.
Part 3: tiny random histories, right and wrong, get the verdict of a search over
all orders; small ones by hand are told as they must.  Part 4: the program: exit
codes, its account, bad input, several files, faults and checks.  Part 5: a long
history in time and memory.

MP_TEST_HISTORIES and MP_TEST_PLANTS say how many (300, 12 a kind).
"""

import json
import os
import random
import resource
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import rowcases
import rowcheck
import rowmodel
import rowplant
import rowsearch
from history import Unreadable

HISTORIES = int(os.environ.get("MP_TEST_HISTORIES", "300"))
PLANTS = int(os.environ.get("MP_TEST_PLANTS", "12"))
LONG_SECONDS, LONG_BYTES = 30, 512 << 20

folder = mp.workdir()
path = os.path.join(folder, "history.jsonl")


def names(events, *checks):
    """What the checker says, in one list."""
    try:
        return rowcheck.judge(rowcheck.write(path, events), *checks)
    except Unreadable as error:
        return ["unreadable: %s" % error]


def no_false_alarm():
    wrong = {}
    for seed in range(HISTORIES):
        events = rowmodel.simulate(seed, kill=seed % 2 == 0, faults=(0, 0.25, 0.6)[seed % 3])
        said = names(events, "u=unique")
        if said:
            wrong[seed] = said
    mp.is_(wrong, {}, "%d correct histories pass" % HISTORIES)
    mp.is_(rowmodel.simulate(7), rowmodel.simulate(7), "a seed gives the same history again")


def planted(name, function):
    """Plants in PLANTS histories; [(seed, what was said)] of those that were not caught."""
    missed, done, seed = [], 0, 0
    while done < PLANTS and seed < 40 * PLANTS:
        seed += 1
        events = rowplant.plant(function, rowmodel.simulate(seed, kill=seed % 3 == 0, calls=20),
                                random.Random(seed))
        if events is None:
            continue
        done += 1
        said = names(events, "u=unique")
        if name not in said:
            missed.append((seed, said))
    return missed if done == PLANTS else "only %d places" % done


def every_fault():
    for name, function in rowplant.PLANTS:
        mp.is_(planted(name, function), [], "%s: %s" % (name, function.__doc__.split("\n")[0]))


def as_a_search():
    wrong, right = [], 0
    for seed in range(4000):
        events, holds = rowsearch.tiny(seed)
        right += holds
        said = names(events)
        if bool(said) == holds:
            wrong.append((seed, holds, said))
    mp.is_(wrong, [], "4000 tiny histories get the verdict of a search over all orders")
    mp.ok(400 < right < 3600, "%d of them hold" % right)


def by_hand():
    for what, want, events in rowcases.CASES:
        mp.is_(names(events), want, "%s: %s" % (what, ", ".join(want) or "holds"))


# ------------------------------------------------------------------- the program

def line(event, t=1, **fields):
    return json.dumps(dict({"t": t, "e": event}, **fields))


HEAD = line("history", v=1)
CALL = line("call", c="a", o=1, op="put", row="r", key="k", base="-:0", sha=["ab"])
RET = line("ret", 5, c="a", o=1, st=201, inc="1", seq=1)
FINAL = line("final", 9, m="m1", row="r", inc="1", highest=1, floor=1, cells=[[1, "ab", "k"]])

BAD_INPUT = (
    ("nothing", []),
    ("no format", [CALL]),
    ("another format", [line("history", v=2)]),
    ("a format twice", [HEAD, HEAD]),
    ("no JSON", [HEAD, "{"]),
    ("not UTF-8", [HEAD, "\udcff"]),
    ("no object", [HEAD, "[1]"]),
    ("deep nesting", [HEAD, "[" * 100000]),
    ("an endless number", [HEAD, '{"t":' + "1" * 6000 + "}"]),
    ("no time", [HEAD, '{"e":"call"}']),
    ("an unknown event", [HEAD, line("put")]),
    ("an event that is no text", [HEAD, line([])]),
    ("an unknown field", [HEAD, line("ret", c="a", o=1, st=200, sequence=1)]),
    ("a negative seq", [HEAD, line("call", c="a", o=1, op="get", row="r", seq=-1)]),
    ("a seq that is true", [HEAD, line("call", c="a", o=1, op="get", row="r", seq=True)]),
    ("a base that is none", [HEAD, line("call", c="a", o=1, op="put", row="r", base="x:1",
                                        sha=["ab"])]),
    ("a put of nothing", [HEAD, line("call", c="a", o=1, op="put", row="r", sha=[])]),
    ("text that its digest denies", [HEAD, line("call", c="a", o=1, op="put", row="r",
                                                sha=["ab"], data=["x"])]),
    ("an answer to nothing", [HEAD, RET]),
    ("an answer before its call", [HEAD, CALL, line("ret", 0, c="a", o=1, st=503)]),
    ("two answers", [HEAD, CALL, RET, RET]),
    ("one number twice", [HEAD, CALL, CALL]),
    ("201 without a seq", [HEAD, CALL, line("ret", 5, c="a", o=1, st=201, inc="1")]),
    ("no final state", [HEAD, CALL, RET]),
    ("a final state of one member only", [HEAD, CALL, RET, FINAL,
                                          line("final", 9, m="m2", row="other")]),
    ("a final state that changes", [HEAD, FINAL, FINAL.replace('"highest": 1', '"highest": 2')]),
    ("a seq twice in a final state", [HEAD, FINAL, FINAL]),
    ("a retry with another base", [
        HEAD, CALL, line("ret", 5, c="a", o=1, st=504),
        line("call", 6, c="a", o=2, op="put", row="r", key="k", base="1:1", sha=["ab"]), FINAL]),
    ("two puts without key, alike", [
        HEAD, line("call", c="a", o=1, op="put", row="r", sha=["ab"]),
        line("call", c="a", o=2, op="put", row="r", sha=["ab"]), FINAL]),
)


def text_file(name, lines, tail="\n"):
    where = os.path.join(folder, name)
    with open(where, "w", encoding="utf-8", errors="surrogateescape") as out:
        out.write("\n".join(lines) + (tail if lines else ""))
    return where


def bad_input():
    for what, lines in BAD_INPUT:
        code, said, errors = rowcheck.run(text_file("bad.jsonl", lines))
        mp.ok(code == 2 and not said and errors.count("\n") == 1 and "Traceback" not in errors,
              "exit 2: %s" % what)
    mp.is_(rowcheck.run(os.path.join(folder, "nowhere"))[0], 2, "exit 2: no file")
    mp.is_(rowcheck.run("--check", "r=magic", text_file("a.jsonl", [HEAD]))[0], 2,
           "exit 2: no such check")


def account():
    good = text_file("good.jsonl", [HEAD, CALL, RET, FINAL])
    code, said, _ = rowcheck.run(good)
    mp.ok(code == 0 and "all promises held" in said, "exit 0 when all holds")
    code, said, _ = rowcheck.run(text_file("torn.jsonl", [HEAD, CALL, RET, FINAL, '{"t":3'], ""))
    mp.ok(code == 0 and "torn.jsonl:5 is half a line" in said, "half a last line is told, no more")
    other = FINAL.replace('"highest": 1', '"highest": 0').replace('[[1, "ab", "k"]]', "[]")
    code, said, _ = rowcheck.run(text_file("lost.jsonl", [HEAD, CALL, RET, other]))
    mp.is_(code, 1, "exit 1 when something does not hold")
    mp.like(said, r"lost: row r incarnation 1 seq 1: .*\n +a/1 put key k \(lost.jsonl:2\) -> 201 "
            r"\(lost.jsonl:3\)\n +final state at m1 \(lost.jsonl:4\)",
            "row, incarnation, seq and the events are told")
    code, said, _ = rowcheck.run("--json", os.path.join(folder, "lost.jsonl"))
    told = json.loads(said)
    mp.ok(code == 1 and not told["ok"] and told["counts"]["lost"] >= 1
          and told["violations"][0]["seq"] == 1, "the same as JSON")
    mp.is_(rowcheck.run("--no-final", text_file("none.jsonl", [HEAD, CALL, RET]))[0], 0,
           "--no-final judges without final states")
    # Answers may stand in a file that is read before that of their calls.
    mp.is_(rowcheck.run(text_file("one.jsonl", [HEAD, RET, FINAL]),
                        text_file("two.jsonl", [HEAD, CALL]))[0], 0,
           "an answer in a file before that of its call")


def several_files():
    events = rowmodel.simulate(11)
    files = []
    for client in sorted({event.get("c", "") for event in events}):
        lines = [HEAD] + [json.dumps(event) for event in events
                          if event.get("c", "") == client and event["e"] != "history"]
        files.append(text_file("client-%s.jsonl" % client, lines))
    code, said, errors = rowcheck.run(*files)
    mp.ok(code == 0, "a file for each client") or mp.note(said + errors)


def faults_counted():
    events = rowmodel.simulate(11)
    rowcheck.write(path, events)
    code, said, _ = rowcheck.run("--faults", "kill,stop", path)
    mp.ok(code == 0, "faults that happened")
    mp.like(said, r"fault kill: \d+ times, [1-9]\d* puts in flight", "and met puts are counted")
    code, said, _ = rowcheck.run("--faults", "kill,partition", path)
    mp.ok(code == 1 and "faults: history: partition: 0 times" in said,
          "none of a kind is a failure")


def sums():
    def put(number, text, seq):
        sha = rowmodel.sha_of(text.encode())
        return sha, [line("call", number * 10, c="a", o=number, op="put", row="bw/x", sha=[sha],
                          key="k%d" % number, base="-:0", data=[text]),
                     line("ret", number * 10 + 5, c="a", o=number, st=201, inc="1", seq=seq)]

    texts = ['{"name":"a","take":60}', '{"name":"b","take":50}', '{"name":"a","give":10}']
    puts = [put(i + 1, text, i + 1) for i, text in enumerate(texts)]
    cells = [[i + 1, sha, "k%d" % (i + 1)] for i, (sha, _) in enumerate(puts)]
    lines = [HEAD] + [one for _, both in puts for one in both] + [
        line("final", 99, m="m1", row="bw/x", inc="1", highest=3, floor=1, cells=cells)]
    where = text_file("sum.jsonl", lines)
    mp.is_(rowcheck.run("--check", "bw/*=sum:110", where)[0], 0, "a sum within its total")
    code, said, _ = rowcheck.run("--check", "bw/*=sum:100", where)
    mp.ok(code == 1 and "check: row bw/x incarnation 1 seq 2: 110 in all, above 100" in said,
          "a sum above it")
    code, said, _ = rowcheck.run("--check", "bw/x=sum", where)
    mp.ok(code == 1 and "60 in all, above 0" in said, "a sum without a total")
    judged(lines)


def judged(lines):
    """What the account says of a check: how far it was replayed, how many puts were refused, and when."""
    refused = [line("call", t, c="b", o=t, op="put", row="bw/x", sha=["%x" % t], key="b%d" % t) for t in (40, 60)] + [
        line("ret", t + 1, c="b", o=t, st=409) for t in (40, 60)]
    fault = [line("fault", t, kind="kill", on="m1", at=at) for t, at in ((55, "begin"), (61, "end"))]
    final = [line("final", 99, m="m1", row="bw/x", inc="1", highest=4, floor=4, cells=[[4, "ff", "lost"]]),
             line("call", 70, c="c", o=1, op="put", row="bw/x", sha=["ff"], key="lost")]
    where = text_file("judged.jsonl", lines[:-1] + refused + fault + final +
                      [line("call", 80, c="c", o=2, op="compact", row="bw/x", floor=4)])
    code, said, errors = rowcheck.run("--check", "bw/*=sum:110", where)
    mp.ok(code == 0 and "check of bw/x: 3 cells replayed, 2 puts refused, 1 of them under faults" in said and
          "check not replayed from seq 4 on" in said, "refused puts are counted") or mp.note(said + errors)
    code, said, _ = rowcheck.run("--check", "bw/*=sum:100", where)
    mp.ok(code == 1 and "110 in all, above 100" in said, "a check is replayed as far as cells are known")


def cpu_seconds():
    """Of all children that have ended: a machine that is busy with others does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def long_history():
    events = rowmodel.simulate(5, clients=16, calls=3600, rows=60, kill=False)
    rowcheck.write(path, events)
    began = cpu_seconds()
    code, said, errors = rowcheck.run(path)
    took = cpu_seconds() - began
    rss = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    mp.ok(code == 0, "a history of %d events holds" % len(events)) or mp.note(said + errors)
    mp.ok(len(events) >= 200000 and took < LONG_SECONDS * len(events) / 200000,
          "200,000 events in %.1f s of processor, below %d" % (took * 200000 / len(events), LONG_SECONDS))
    mp.ok(rss < LONG_BYTES, "%d MiB, below %d" % (rss >> 20, LONG_BYTES >> 20))


no_false_alarm()
every_fault()
as_a_search()
by_hand()
bad_input()
account()
several_files()
faults_counted()
sums()
long_history()
mp.done()

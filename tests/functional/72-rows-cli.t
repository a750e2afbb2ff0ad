#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""middlepipe rows and middlepipe aggregator against real aggregators.

Part 1: the simple commands.  Part 2: a put on bad ways.  Part 3: tail goes on.  Part 4:
export and import.  Part 5: check and doctor, damaged files included.  Part 6: wrong usage, help.
"""

import base64
import fcntl
import json
import os
import sqlite3
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import mp
from badways import Pipe, Way
from rowscli import good, rows

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM)
aggregator.forget_environment()
folder = mp.workdir()


def cells(at, row):
    """[(seq, time, key, origin, bytes)] of a row, read without the command line."""
    out = []
    following = at.get("/v1/rows/" + row.replace("/", "%2F"))[1]["floor"]
    while True:
        told = at.get("/v1/rows/%s/cells?from=%d" % (row.replace("/", "%2F"), following))[1]
        out += [(c["seq"], c["time"], c["key"], c["origin"], base64.b64decode(c["data"])) for c in told["cells"]]
        if not told["cells"] or out[-1][0] >= told["highest"]:
            return out
        following = out[-1][0] + 1


def path(name):
    return os.path.join(folder, name)


# ------------------------------------------------------------------ simple commands

def part_simple():
    one = aggregator.Aggregator("m1").wait_ready()
    mp.is_(good(one, "put", "greetings", "hello"), "1\n", "put says the seq")
    mp.is_(good(one, "put", "greetings", "a", "b", "c"), "2\n", "several at once: that of the first")
    mp.is_(len({c[2] for c in cells(one, "greetings")[1:]}), 1, "they are one put")
    mp.is_(good(one, "put", "greetings", input="standard\0input"), "5\n", "from standard input")
    with open(path("cell"), "wb") as out:
        out.write(bytes(range(256)))
    mp.is_(good(one, "put", "--file", path("cell"), "greetings"), "6\n", "from a file")
    got = subprocess.run([mp.MIDDLEPIPE, "rows", "get", "-u", one.url, "greetings"], stdout=subprocess.PIPE)
    mp.is_(got.stdout, bytes(range(256)), "get prints the bytes as they are")
    mp.is_(good(one, "get", "greetings", "5"), "standard\0input", "of any cell")
    told = json.loads(good(one, "get", "--json", "greetings", "3"))
    mp.is_((told["seq"], base64.b64decode(told["data"])), (3, b"b"), "or as JSON")
    told = json.loads(good(one, "put", "--json", "--key", "k1", "greetings", "once"))
    mp.is_((told["seq"], told["repeated"], told["key"]), (7, False, "k1"), "put --json")
    base = "%s:6" % told["incarnation"]
    told = json.loads(good(one, "put", "--json", "--key", "k1", "--base", base, "greetings", "once"))
    mp.is_((told["seq"], told["repeated"]), (7, True), "put again with its key and base")
    code, _, err = rows(one, "put", "--key", "k1", "--base", base, "greetings", "other")
    mp.is_(code, 4, "other bytes under that key")
    mp.like(err, "422 key_reused", "are told")
    mp.is_(good(one, "put", "--if-match", "7", "greetings", "x"), "8\n", "--if-match")
    mp.is_(rows(one, "put", "--if-match", "7", "greetings", "x")[0], 4, "of another seq: refused")
    mp.is_(rows(one, "get", "greetings", "99")[0], 3, "no such cell")
    mp.is_(rows(one, "show", "none")[0], 3, "no such row")
    mp.like(good(one, "show", "greetings"), r"highest +8\n.*owner m1\n", "show")
    mp.is_(json.loads(good(one, "show", "-j", "greetings"))["highest"], 8, "show --json")
    part_lists(one)
    part_changes(one)
    one.stop()


def part_lists(one):
    for i in range(1100):
        one.put("many/%04d" % i, b"x")
    lines = good(one, "list", "--prefix", "many/", "--json").splitlines()
    mp.is_([json.loads(line)["row"] for line in lines], ["many/%04d" % i for i in range(1100)],
           "list goes on where a page ends")
    lines = good(one, "list", "--prefix", "many/").splitlines()
    mp.is_((len(lines), [line for line in lines if line.startswith("ROW")]), (1101, lines[:1]), "with one head")
    mp.like(good(one, "list", "-p", "greet"), r"^ROW +HIGHEST.*\ngreetings +8 +1 +8 ", "as a table")
    mp.is_(len(good(one, "owners").splitlines()), 65, "owners of 64 shards")
    mp.like(good(one, "members"), "alone", "members of one that is alone")
    mp.is_(json.loads(good(one, "owners", "--json"))["owners"][0]["member"], "m1", "as JSON")


def part_changes(one):
    good(one, "policies", "--check", "", "--keep-cells", "5", "--keep-bytes", "1K", "--keep-time", "1h", "kept")
    told = json.loads(good(one, "policies", "--json", "kept"))
    mp.is_((told["keep_cells"], told["keep_bytes"], told["keep_ms"], told["partition"]), (5, 1024, 3600000, "safe"),
           "policies are set, and shown")
    good(one, "policies", "--partition", "live", "kept")
    mp.like(good(one, "policies", "kept"), "partition  live\nkeep       cells 5,", "one alone leaves the others")
    mp.is_(good(one, "compact", "greetings", "4"), "greetings: floor 4, highest 8\n", "compact")
    mp.is_(rows(one, "get", "greetings", "3")[0], 3, "what is below is gone")
    mp.is_(rows(one, "compact", "greetings", "99")[0], 4, "above the end: refused")
    mp.is_(rows(one, "delete", "greetings")[0], 1, "delete wants --yes without a terminal")
    mp.is_(good(one, "delete", "--yes", "greetings"), "greetings: deleted, it had 8 cells\n", "delete")
    mp.is_(rows(one, "show", "greetings")[0], 3, "then there is no such row")
    mp.is_(rows(one, "delete", "-y", "greetings")[0], 3, "and it cannot be deleted again")
    mp.is_(good(one, "put", "greetings", "anew"), "1\n", "but made anew")


# ---------------------------------------------------------------------- bad ways

def part_bad_ways():
    one = aggregator.Aggregator("m1").wait_ready()
    good(one, "put", "r", "first")
    for plan, name in ((["lose answer"], "the answer is lost"), (["lose"], "the request is lost"),
                       (["say unavailable"] * 2, "it is not attempted, twice"),
                       (["say unknown"], "it is unknown, and was put"),
                       (["lose answer", "say unknown", "say unavailable", "lose answer"], "all of it")):
        way, before = Way(one, *plan), len(cells(one, "r"))
        told = json.loads(good(way, "put", "--json", "r", name))
        mp.is_([c[4].decode() for c in cells(one, "r")][before:], [name], "%s: put once" % name)
        mp.is_((told["seq"], told["tries"]), (before + 1, len(plan) + 1), "after %d tries" % (len(plan) + 1))
        mp.is_(len(set(way.puts)), 1, "each with the same key and base")
        mp.ok(way.puts[0][1], "which was known before")
        way.shutdown()
    part_unknown(one)
    # Nobody there, and then somebody.
    one.kill()
    late = mp.Process([mp.MIDDLEPIPE, "rows", "put", "--url", one.url, "--wait", "60s", "r", "late"])
    one.start()
    mp.is_((late.wait(60), late.err), (0, ""), "a put waits for an aggregator that comes")
    mp.is_(cells(one, "r")[-1][4], b"late", "and is there")
    other = "http://127.0.0.1:%d" % mp.dead_port()
    mp.is_(rows("%s,%s" % (other, one.url), "put", "r", "second url")[0], 0, "or goes to the next one")
    mp.is_(rows("%s,%s" % (other, one.url), "get", "r")[1], "second url", "as a read does")
    code, _, err = rows(other, "put", "--wait", "100ms", "r", "x")
    mp.is_(code, 1, "nobody at all: a failure")
    mp.like(err, "Couldn't connect", "which is not unknown")
    one.stop()


def part_unknown(one):
    way = Way(one, *["say unknown"] * 1000)
    code, out, err = rows(way, "put", "--wait", "300ms", "--key", "k9", "r", "perhaps")
    mp.is_((code, out), (5, ""), "always unknown: exit code 5")
    mp.like(err, r"unknown whether it was put\n.*--key 'k9' --base [0-9a-f]{16}:\d+", "with what learns more")
    words = err.split("--key 'k9' ")[1].split()
    told = json.loads(good(one, "put", "--json", "--key", "k9", *words, "r", "perhaps"))
    mp.is_(told["repeated"], True, "which then tells that it was put")
    way.shutdown()
    # Rows that are not there, or no longer, have a base as well.
    for row in ("new", "gone"):
        if row == "gone":
            good(one, "put", row, "before")
            good(one, "delete", "-y", row)
        way = Way(one, "lose answer", "lose")
        told = json.loads(good(way, "put", "--json", row, "x"))
        mp.is_((told["seq"], told["tries"], [c[4] for c in cells(one, row)]), (1, 3, [b"x"]), "%s: put once" % row)
        way.shutdown()
    # Once only, nobody is asked for a base: then a lost answer stays unknown.
    way = Way(one, "lose answer")
    code, _, err = rows(way, "put", "--wait", "0", "new", "y")
    mp.is_((code, len(way.puts)), (5, 1), "--wait 0: unknown, and not sent again")
    mp.like(err, "no aggregator has told a base", "as it says")
    way.shutdown()
    # Refused, but an earlier attempt is unanswered.
    way = Way(one, "say unknown")
    highest = cells(one, "r")[-1][0]
    code, out, err = rows(way, "put", "--if-match", str(highest), "r", "y")
    mp.is_((code, out), (0, "%d\n" % (highest + 1)), "its own attempt is known by its key")
    way.shutdown()


# ------------------------------------------------------------------------- tail

class Tail(mp.Process):
    def __init__(self, url, *words):
        super().__init__([mp.MIDDLEPIPE, "rows", "tail", "--url", url, *words])

    def lines(self):
        return self.out.splitlines()


def part_tail():
    one = aggregator.Aggregator("m1").wait_ready()
    for i in range(1, 31):
        one.put("t", b"cell %d" % i)
    mp.is_(good(one, "tail", "--count", "3", "t"), "21: cell 21\n22: cell 22\n23: cell 23\n", "the last ten")
    mp.is_(good(one, "tail", "-c", "2", "--last", "2", "--bytes", "t"), "cell 29\ncell 30\n", "--last, --bytes")
    mp.is_(json.loads(good(one, "tail", "-c", "1", "--from", "7", "--json", "t"))["seq"], 7, "--from, --json")
    one.put("t", b"\x1b[2J\n")
    mp.is_(good(one, "tail", "-c", "1", "-n", "1", "t"), "31: ?[2J?\n", "nothing of a cell reaches the terminal")
    # The connection breaks, at the first for good; the aggregator is killed; it goes on.
    first, second = Pipe(one.address), Pipe(one.address)
    tail = Tail("%s,%s" % (first.url, second.url), "--from", "1", "t")
    tail.wait_out("31: ")
    first.cut(for_good=True)
    for i in range(32, 42):
        one.put("t", b"cell %d" % i)
    tail.wait_out("41: cell 41\n")
    one.kill()
    one.start()
    one.wait_ready()
    one.put("t", b"cell 42")
    tail.wait_out("42: cell 42\n", 60)
    second.cut()
    one.put("t", b"cell 43")
    tail.wait_out("43: cell 43\n", 60)
    mp.is_([line.split(":")[0] for line in tail.lines()], [str(i) for i in range(1, 44)],
           "through cuts and a kill: each cell once, in order")
    good(one, "delete", "-y", "t")
    mp.is_(tail.wait(60), 3, "a deleted row ends it")
    part_tail_prefix(one)
    one.stop()


def part_tail_prefix(one):
    for row in ("p/a", "p/b", "q"):
        one.put(row, b"1")
    pipe = Pipe(one.address)
    tail = Tail(pipe.url, "--prefix", "p/")
    tail.wait_out("p/b 1: 1\n")
    pipe.cut()
    one.put("p/a", b"2")
    tail.wait_out("p/a 2: 2\n", 60)
    one.put("p/c", b"new")
    tail.wait_out("p/c 1: new\n")
    mp.is_(sorted(tail.lines()), ["p/a 1: 1", "p/a 2: 2", "p/b 1: 1", "p/c 1: new"], "a prefix: each once, a cut or not")
    tail.kill()
    mp.is_(rows(one, "tail", "none")[0], 3, "a row that is not there")
    wait = Tail(one.url, "--create", "--count", "1", "later")
    one.put("later", b"now")
    mp.is_((wait.wait(60), wait.out), (0, "1: now\n"), "--create waits for it")
    good(one, "put", "later", "x")
    good(one, "compact", "later", "2")
    mp.is_(rows(one, "tail", "--from", "1", "later")[0], 3, "from below the floor")
    code, _, err = rows("http://127.0.0.1:%d" % mp.dead_port(), "tail", "--from", "1", "--give-up", "200ms", "x")
    mp.is_(code, 1, "--give-up: %s" % err.strip())


# --------------------------------------------------------------- export and import

def fill(one):
    for i in range(400):
        one.put("log", b"line %d " % i * 20, key="key %d" % i if i % 2 else "k")
    good(one, "put", "--key", "atomic", "claims/a", "x", "y", "z")
    good(one, "policies", "--keep-cells", "1000", "--partition", "live", "empty")
    for i in range(5):
        one.put("cut", b"c%d" % i)
    good(one, "compact", "cut", "4")
    one.put("bytes", bytes(range(256)))
    one.put("big", os.urandom(1 << 20))
    one.put("big", b"")
    one.put("dead", b"x")
    good(one, "delete", "-y", "dead")


def same(a, b, row):
    """But for seqs, which count anew behind a floor."""
    return [c[1:] for c in cells(a, row)] == [c[1:] for c in cells(b, row)]


def part_export():
    one, two = (aggregator.Aggregator(name).wait_ready() for name in ("m1", "m2"))
    fill(one)
    file = path("rows.mprows")
    told = json.loads(good(one, "export", "--json", file))
    mp.is_((told["rows"], told["cells"]), (6, 400 + 3 + 2 + 1 + 2), "export says what it wrote")
    mp.ok(not os.path.exists(file + ".part"), "and leaves nothing else")
    mp.is_(os.stat(file).st_mode & 0o777, 0o600, "for this user alone")
    part_export_twice(one, path("twice.mprows"))
    mp.like(good(one, "import", "--look", file), "whole: 6 rows with 408 cells", "--look")
    told = json.loads(good(one, "import", "--look", "--json", file))
    mp.is_((told["rows"], told["cells"]), (6, 408), "as JSON")
    got = subprocess.run([mp.MIDDLEPIPE, "rows", "export", "-u", one.url, "--prefix", "c"], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL).stdout.decode()
    mp.is_([json.loads(line[17:]).get("row") for line in got.splitlines() if '{"row"' in line], ["claims/a", "cut"],
           "to standard output, of a prefix")
    told = json.loads(good(two, "import", "--json", file))
    mp.is_(told, {"rows": 6, "cells": 408, "passed": 0}, "import")
    for row in ("log", "claims/a", "cut", "bytes", "big"):
        mp.ok(same(one, two, row), "%s: bytes, keys, times and origins are the same" % row)
    mp.is_([c[0] for c in cells(two, "cut")], [1, 2], "seqs count anew where cells were let go")
    told = two.get("/v1/rows/empty")[1]
    mp.is_((told["keep_cells"], told["partition"]), (1000, "live"), "policies")
    mp.is_(two.get("/v1/rows/dead")[0], 404, "a deleted row stays deleted")
    told = json.loads(good(two, "import", "--json", file))
    mp.is_((told["cells"], told["passed"]), (0, 408), "again: all is there already")
    mp.is_(len(cells(two, "log")), 400, "and nothing twice")
    part_import_broken(one, file)
    part_import_wrong(one, two, file)
    part_export_busy(one, two)
    one.stop()
    two.stop()


def part_import_broken(one, file):
    """The way breaks and the aggregator is killed in the middle: the rest follows."""
    three = aggregator.Aggregator("m3").wait_ready()
    way = Way(three, "lose answer", "say unavailable", "lose", "say unknown", "say bad gateway", "lose answer")
    told = json.loads(good(way, "import", "--json", file))
    mp.is_(told["cells"] + told["passed"], 408, "lost answers: all is put, or was found there")
    mp.ok(same(one, three, "log") and same(one, three, "big"), "once and in order")
    three.stop()
    four = aggregator.Aggregator("m4").wait_ready()
    doing = mp.Process([mp.MIDDLEPIPE, "rows", "import", "--url", four.url, file])
    mp.wait_for(lambda: four.get("/v1/rows/log")[1].get("highest", 0) > 5 or not doing.running(), "some cells")
    four.kill()
    four.start()
    mp.is_((doing.wait(120), doing.err), (0, ""), "it is killed meanwhile")
    mp.ok(same(one, four, "log") and same(one, four, "big"), "and all is there once and in order")
    four.stop()


def part_import_wrong(one, two, file):
    lines = open(file, "rb").read().split(b"\n")
    wrong = path("wrong")

    def told(*content, code=1):
        with open(wrong, "wb") as out:
            out.write(b"\n".join(content))
        got, _, err = rows(two, "import", wrong)
        mp.is_(got, code, "refused: %s" % err.strip()[-120:])
        return err
    mp.like(told(*lines[:-2], b""), "is missing: the file is not whole", "an export that ends early")
    mp.like(told(*lines[:50], *lines[51:]), "line 51 is damaged, or not the one that follows", "a line is missing")
    mp.like(told(*lines[:50], lines[51], lines[50], *lines[52:]), "line 51 ", "lines changed places")
    mp.like(told(*lines[:50], lines[50].replace(b'"time":1', b'"time":2'), *lines[51:]), "line 51 ", "a changed byte")
    mp.like(told(lines[1], *lines[2:]), "line 1 ", "no begin")
    mp.like(told(*lines[:-1], lines[-2], b""), "comes behind the end", "more than the end")
    mp.like(told(b"not an export", b""), "line 1 does not begin with a sum", "something else")
    mp.is_(two.json("POST", "/v1/import?after=zz", b"")[1]["code"], "bad_request", "a sum that is none")
    status, answer = two.json("POST", "/v1/import", lines[5] + b"\n")
    mp.is_((status, answer["code"], answer["lines"]), (400, "damaged", 0), "a piece that is not what follows")
    mp.is_(two.json("POST", "/v1/import", lines[0])[1]["code"], "damaged", "half a line")
    small = aggregator.Aggregator("small", "--cell-bytes", "100K").wait_ready()
    code, _, err = rows(small, "import", file)
    mp.is_(code, 4, "a cell above the limits of the group: refused")
    mp.like(err, "at the row big:\n.*413 too_large", "as a put of it would be")
    small.stop()
    two.put("log", b"another")
    good(two, "import", file)
    mp.is_(len(cells(two, "log")), 401, "what was put behind it does no harm")
    good(one, "put", "log", "mine")
    good(one, "export", file)
    code, _, err = rows(two, "import", file)
    mp.is_(code, 4, "another cell at its place: refused")
    mp.like(err, "at the row log:\n.*another cell at 401 already", "with the row and the seq")
    mp.is_(cells(two, "log")[-1][4], b"another", "and nothing was overwritten")


def part_export_twice(one, file):
    """Two at once into the same file, and one behind one that broke off."""
    with open(file + ".part", "w") as out:
        out.write("what another has written")
        out.flush()
        fcntl.flock(out, fcntl.LOCK_EX)
        code, _, err = rows(one, "export", file)
        mp.ok(code == 1 and "another export is writing it" in err, "an export beside another is refused: " + err.strip())
        mp.is_((os.path.exists(file), os.path.getsize(file + ".part")), (False, 24), "and leaves that alone")
    good(one, "export", file)
    mp.like(good(one, "import", "--look", file), "whole: 6 rows", "what a broken one left is in nobody's way")
    mp.ok(not os.path.exists(file + ".part"), "and is gone")


def part_export_busy(one, two):
    """Rows change, come and go while they are exported: what is written is whole all the same."""
    stop = threading.Event()

    def work():
        i = 0
        while not stop.is_set():
            i += 1
            one.put("log", b"more")
            one.put("brief/%d" % (i % 7), b"x")
            one.call("DELETE", "/v1/rows/brief%%2F%d" % ((i + 3) % 7))
    worker = threading.Thread(target=work)
    worker.start()
    try:
        for i in range(5):
            good(one, "export", path("busy"))
            mp.like(good(one, "import", "--look", path("busy")), "whole", "export %d of rows that change" % i)
    finally:
        stop.set()
        worker.join()
    mp.is_(good(one, "check").split(": ")[1], "all whole\n", "they are whole themselves")


# ---------------------------------------------------------------- check and doctor

def part_check():
    one = aggregator.Aggregator("m1").wait_ready()
    for i in range(300):
        one.put("r%d" % (i % 3), b"bytes %d" % i)
    good(one, "delete", "-y", "r2")
    told = json.loads(good(one, "check", "--json"))
    mp.is_((told["rows"], told["cells"], told["deleted"], told["bad"]), (2, 200, 1, 0), "check: all whole")
    mp.like(good(one, "doctor"), "member m1, version .*MiB free at .*all is well", "doctor: all is well")
    told = json.loads(good(one, "doctor", "--json"))
    mp.is_((told["ok"], told["findings"], told["members"][0]["ready"]), (True, [], True), "as JSON")
    mp.ok(abs(told["members"][0]["clock_ms"]) < 5000, "clocks are compared")
    one.stop()
    keys = damage(one)
    one.start()
    one.wait_ready()
    for status, told in (one.get("/v1/rows/r0"), one.get("/v1/rows/r0/cells/5"), one.put("r0", "x")):
        mp.ok(status == 503 and "cannot be read" in told["error"] and "rows check" in told["error"],
              "a damaged row is not served: %s" % told)
    mp.is_(one.call("GET", "/v1/rows/r0/cells/1")[2], b"bytes 0", "but for a cell that is there, and right")
    status, told = one.get("/v1/rows/r1")
    mp.ok(status == 503 and "not got all of the row" in told["error"], "nor is one that has a hole: %s" % told)
    mp.like(one.process.err, "what is stored of a row cannot be read.* row=r0 seq=5 why=.*checksum", "the log names what could not be read")
    mp.ok(aggregator.metric(one, "damaged_total") > 0, "the metrics count it")
    code, out, _ = rows(one, "check")
    mp.is_(code, 1, "check of damaged rows: exit code 1")
    mp.like(out, "r0: batch at 5: ", "a changed byte is named by row and seq")
    mp.like(out, "r1: cells at 11: ", "missing cells are, too")
    mp.like(out, "not whole", "and the whole is not")
    mp.note("damaged: %s" % (keys,))
    code, out, _ = rows(one, "doctor")
    mp.is_(code, 1, "doctor: exit code 1")
    mp.like(out, "problem: .*could not be read\n  to do: run 'middlepipe rows check'", "with what to do")
    other = aggregator.Aggregator("m2").wait_ready()
    nobody = "http://127.0.0.1:%d" % mp.dead_port()
    code, out, _ = rows("%s,%s" % (other.url, nobody), "doctor")
    mp.is_(code, 1, "one of two does not answer")
    mp.like(out, "problem: %s: it does not answer: .*\n  to do: start it" % nobody, "it is named")
    code, out, _ = rows("%s,%s" % (other.url, one.url), "doctor")
    mp.like(out, "are not of one group", "two groups are told apart")
    mp.is_(rows(nobody, "check")[0], 1, "check without an aggregator")
    one.stop()
    other.stop()


def damage(one):
    """Changes a byte of a batch of r0, and takes a batch of r1 away."""
    base = sqlite3.connect(os.path.join(one.data, "rows.db"))
    found = base.execute("SELECT key, value FROM kv").fetchall()
    batches = {row: sorted(key for key, _ in found if b"/cells/%s/" % row in bytes(key)) for row in (b"r0", b"r1")}
    flipped, gone = batches[b"r0"][4], batches[b"r1"][10]
    value = bytearray(dict(found)[flipped])
    value[-1] ^= 1
    base.execute("UPDATE kv SET value = ? WHERE key = ?", (bytes(value), flipped))
    base.execute("DELETE FROM kv WHERE key = ?", (gone,))
    base.commit()
    base.close()
    return bytes(flipped), bytes(gone)


# -------------------------------------------------------------------------- usage

def part_usage():
    wrong = (
        (["rows"], "Usage: middlepipe rows COMMAND"), (["rows", "lst"], "did you mean list"),
        (["rows", "get"], "too few words"), (["rows", "get", "r", "x"], "SEQ is a number from 1, or latest"),
        (["rows", "list", "--url", "ftp://x"], "--url .* wants http://HOST:PORT"),
        (["rows", "list", "--url", "http://h/path"], "--url .* wants"),
        (["rows", "put", "--key", "", "r", "x"], "--key wants 1 to 64"),
        (["rows", "put", "--base", "0:1", "r", "x"], "--base is of no use without the --key"),
        (["rows", "put", "--file", "f", "r", "x"], "not both"), (["rows", "put", "n" * 257, "x"], "1 to 256 bytes"),
        (["rows", "tail"], "either ROW or --prefix"), (["rows", "tail", "--prefix", "p", "--from", "1"], "--from is of one row"),
        (["rows", "compact", "r", "0"], "SEQ is a number from 1"),
        (["rows", "policies", "--partition", "dead", "r"], "safe|live"),
        (["aggregator", "start", "--", "--listen", "x:1"], "--listen stands before --"),
        (["aggregator", "restart"], "did you mean start"),
    )
    for words, text in wrong:
        code, _, err = mp.middlepipe(*words)
        mp.is_(code, 2, "wrong usage: %s" % " ".join(words)[:60])
        mp.like(err, text, "which is told")
    for group, names in (("rows", "list show put get tail policies compact delete members owners export import check "
                                  "doctor"), ("aggregator", "start stop status")):
        helped = mp.middlepipe(group, "--help")[1]
        for name in names.split():
            code, out, _ = mp.middlepipe(group, name, "--help")
            mp.ok(code == 0 and "Exit status:" in out and "  %s " % name in helped, "help of %s %s" % (group, name))
            mp.like(mp.middlepipe(group, name, "--man")[1], r'^\.TH "?MIDDLEPIPE', "its man page")


part_simple()
part_bad_ways()
part_tail()
part_export()
part_check()
part_usage()
mp.done()

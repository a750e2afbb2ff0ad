#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""State snapshots of checks: `rows check` names those that are damaged, and an export takes
them along, so that a row whose first cells are gone goes on elsewhere as it would have here.
"""

import base64
import json
import os
import sqlite3
import struct
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path.insert(0, LIB)
import aggregator
import etcd
import mp
from shards import xxh64

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM)
HEAD = 32  # bytes in front of a part (aggregator/rows/snapshot.h)


def rows(one, *words):
    """(exit code, standard output, standard error)"""
    return mp.run([mp.MIDDLEPIPE, "rows", words[0], "--url", one.url, *words[1:]])


def claim(one, row, key, holder):
    return one.put(row, json.dumps({"claim": key, "holder": holder}))


def make(one, row, cells, floor):
    """A row of claims k0.. of h0.., compacted."""
    assert one.json("PUT", "/v1/rows/" + row, {"check": "unique"})[0] == 201
    for i in range(cells):
        assert claim(one, row, "k%d" % i, "h%d" % i)[0] == 201
    told = one.json("POST", "/v1/rows/%s/compact" % row, {"floor": floor})[1]
    assert (told["floor"], told["snapshot"]) == (floor, cells), told


# -------------------------------------------------------------------------- damage

def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def flipped(value):
    return value[:-1] + bytes([value[-1] ^ 1])


def nonsense(value):
    """Sums are right, but no half wrote that."""
    content = b"nobody's state"
    rest = value[4:12] + struct.pack("<IQII", crc32c(content), len(content), 0, 1) + content
    return struct.pack("<I", crc32c(rest)) + rest


def newer(value):
    rest = b"\x02" + value[5:]
    return struct.pack("<I", crc32c(rest)) + rest


def damage(one, **how):
    """Changes the snapshots of those rows; None takes them away."""
    base = sqlite3.connect(os.path.join(one.data, "rows.db"))
    for key, value in base.execute("SELECT key, value FROM kv").fetchall():
        row = bytes(key).split(b"/snap/")[-1].split(b"/")[0].decode()
        if b"/snap/" not in bytes(key) or row not in how:
            continue
        if how[row] is None:
            base.execute("DELETE FROM kv WHERE key = ?", (key,))
        else:
            base.execute("UPDATE kv SET value = ? WHERE key = ?", (how[row](bytes(value)), key))
        how[row + " done"] = True
    base.commit()
    base.close()
    mp.is_(sum(name.endswith(" done") for name in how), len(how) // 2, "all of them are there to be damaged")


def test_check():
    one = aggregator.Aggregator("m1").wait_ready()
    for row in ("good", "flipped", "gone", "nonsense", "newer"):
        make(one, row, 30, 20)
    one.put("plain", "x")
    code, out, _ = rows(one, "check", "--json")
    told = json.loads(out)
    mp.is_((code, told["bad"], told["rows"], told["snapshots"]), (0, 0, 6, 5), "five rows have a snapshot, and all is whole")
    one.stop()
    damage(one, flipped=flipped, gone=None, nonsense=nonsense, newer=newer)
    one.start()
    one.wait_ready()
    code, out, _ = rows(one, "check")
    mp.is_(code, 1, "damaged snapshots: exit code 1")
    mp.like(out, "flipped: snapshot at 30: part of a snapshot: its checksum is another", "a changed byte")
    mp.like(out, "gone: snapshot at 30: a snapshot of which parts are missing", "one that is not there")
    mp.like(out, "nonsense: snapshot at 30: its check unique does not take it: .", "one that the check does not take")
    mp.like(out, "newer: snapshot at 30: a snapshot of format 2", "one of a newer program")
    mp.is_([line for line in out.splitlines() if "good" in line or "plain" in line], [], "and nothing else")
    told = [json.loads(line) for line in one.call("GET", "/v1/check")[2].splitlines()]
    mp.is_((told[-1]["bad"], told[-1]["snapshots"]), (4, 2), "four of five, of which one could be read")
    one.stop()


# -------------------------------------------------------------- export and import

def lines_of(file):
    with open(file, "rb") as data:
        return [json.loads(line[17:]) for line in data]


def write(name, documents):
    """A file with right sums."""
    path, total = os.path.join(mp.workdir(), name), 0
    with open(path, "wb") as out:
        for document in documents:
            text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
            total = xxh64(text, total)
            out.write(b"%016x %s\n" % (total, text))
    return path


def good(one, *words):
    code, out, err = rows(one, *words)
    mp.is_(code, 0, "rows %s%s" % (words[0], ": " + err if code else ""))
    return out


def cells(one, row, start):
    return [(c["seq"], c["key"], c["time"], c["data"]) for c in one.get("/v1/rows/%s/cells?from=%d" % (row, start))[1]["cells"]]


def fill(one):
    make(one, "nat", 30, 25)
    for i in range(30, 36):
        claim(one, "nat", "k%d" % i, "h%d" % i)
    one.json("PUT", "/v1/rows/bw", {"check": "sum", "keep_cells": 3})
    for text in ('{"total":100}', *['{"name":"n%d","take":5}' % i for i in range(18)]):
        assert one.put("bw", text)[0] == 201
    mp.wait_for(lambda: one.get("/v1/rows/bw")[1]["floor"] > 1, "the floor of a row that keeps three cells")
    one.json("PUT", "/v1/rows/whole", {"check": "unique"})
    claim(one, "whole", "a", "h")
    one.put("plain", "x")
    one.json("POST", "/v1/rows/plain/compact", {"floor": 2})


def fill_large(one):
    """A state of 3 MiB: its lines are more than one piece of an import."""
    long = "x" * 240
    one.json("PUT", "/v1/rows/large", {"check": "unique"})
    for start in range(0, 6000, 1000):
        content = [base64.b64encode(json.dumps({"claim": "%s%d" % (long, i), "holder": "a" + long}).encode()).decode()
                   for i in range(start, start + 1000)]
        assert one.json("POST", "/v1/rows/large/cells", {"cells": content},
                        {"Content-Type": "application/vnd.middlepipe.cells+json"})[0] == 201
    told = one.json("POST", "/v1/rows/large/compact", {"floor": 6001})[1]
    mp.is_((told["floor"], told["snapshot"]), (6001, 6000), "a row of which nothing is left but its state")


def goes_on(one, two):
    """Two's rows are as one's."""
    for row in ("nat", "bw", "large"):
        mine, other = one.get("/v1/rows/" + row)[1], two.get("/v1/rows/" + row)[1]
        seq = other["snapshot"]
        mp.is_((other["highest"], other["floor"], seq, other["check"]),
               (mine["highest"], mine["snapshot"] + 1, mine["snapshot"], mine["check"]), "%s: it begins behind its state" % row)
        mp.is_(cells(two, row, seq + 1), cells(one, row, seq + 1), "%s: cells behind that, with their seqs" % row)
        mp.ok(one.call("GET", "/v1/rows/%s/snapshot" % row)[2] == two.call("GET", "/v1/rows/%s/snapshot" % row)[2],
              "%s: the state is the same" % row)
    mp.is_(claim(two, "nat", "k3", "another")[0], 409, "what was claimed by a cell that is gone stays so")
    mp.is_(claim(two, "large", "x" * 240 + "4711", "another")[0], 409, "of many, too")
    mp.is_(two.put("bw", '{"name":"new","take":11}')[0], 409, "sums are what they were")
    mp.is_([c[0] for c in cells(two, "plain", 0)], [], "a row without a check has nothing to begin behind")


def test_export(one, two, file):
    fill(one)
    fill_large(one)
    good(one, "export", file)
    found = lines_of(file)
    states = {line["state"]: line for line in found if "state" in line}
    mp.is_((found[0]["export"], sorted(states)), (2, ["bw", "large", "nat"]), "an export has the states of those rows that need one")
    mp.is_((states["nat"]["seq"], states["nat"]["rules"], states["large"]["parts"]), (30, 1, 3), "and says what they are")
    mp.is_([line["at"] for line in found if line.get("cell") == "nat"], list(range(25, 37)), "places are seqs then")
    good(two, "import", "--look", file)
    good(two, "import", file)
    goes_on(one, two)
    told = json.loads(good(two, "import", "--json", file))
    mp.is_(told["cells"], 0, "again: all is there already")
    mp.is_(json.loads(good(two, "check", "--json"))["snapshots"], 3, "what it has now is whole")
    two.kill()
    two.start()
    two.wait_ready()
    goes_on(one, two)
    mp.is_((claim(two, "nat", "new", "h")[0], two.get("/v1/rows/nat")[1]["highest"]), (201, 37), "and goes on")
    again = os.path.join(mp.workdir(), "again")
    good(two, "export", "--prefix", "nat", again)
    mp.is_([line.get("seq") for line in lines_of(again)[2:-1]], [30, *range(31, 38)], "it can be exported in turn")


def test_wrong(one, file):
    """What cannot be right is refused, and the row stays without cells."""
    nat = [line for line in lines_of(file) if "export" in line or "end" in line or "nat" in (line.get("row"), line.get("state"), line.get("cell"))]
    nat[-1] = {"end": True, "rows": 1, "cells": 12}

    def told(name, *documents):
        code, _, err = rows(one, "import", write(name, documents))
        mp.is_(code, 4, "%s: refused" % name)
        return err
    begin, row, state, rest = nat[0], nat[1], nat[2], nat[3:]
    without = [begin, row, *rest]
    mp.like(told("no-state", *without), "the row's first cells are gone, and its check unique cannot go on without .*409 snapshot",
            "an export without the state")
    without[0] = dict(begin, export=1)
    mp.like(told("first-format", *without), "409 snapshot", "one of the first format, likewise")
    for what, change in (("another-row", {"state": "other"}), ("another-part", {"part": 1, "parts": 2})):
        mp.like(told(what, begin, row, dict(state, **change), *rest), "409 snapshot", "a state that does not belong there")
    mp.like(told("nonsense", begin, row, dict(state, data="bm9uc2Vuc2U="), *rest), "its check unique does not take it: .*400 bad_request",
            "a state that the check does not take")
    mp.like(told("no-row", begin, state, *rest[:-1], {"end": True, "rows": 0, "cells": 12}), "a state stands behind its row's line.*400 bad_request", "a state alone")
    mp.is_(one.get("/v1/rows/nat")[1]["highest"], 0, "nothing was put")
    for i in range(3):
        claim(one, "nat", "other%d" % i, "h")
    mp.like(told("cells", *nat), "the row has 3 cells already.*409 conflict", "a row that has other cells")
    one.call("DELETE", "/v1/rows/nat")
    good(one, "import", write("right", nat))
    mp.is_(claim(one, "nat", "k3", "another")[0], 409, "the same with right lines is taken")


def test_group(file, one):
    """Into a group: whoever does not own a row says who does."""
    group = etcd.Group(1)
    group.wait()
    members = [aggregator.Aggregator("g%d" % i, "--group", ",".join(group.urls)).wait_ready() for i in range(2)]
    good(members[0], "import", file)
    goes_on(one, members[1])
    for member in members:
        member.stop()
    group.close()


test_check()
one, two = (aggregator.Aggregator(name, "--snapshot-cells", "10").wait_ready() for name in ("e1", "e2"))
file = os.path.join(mp.workdir(), "rows.mprows")
test_export(one, two, file)
two.stop()
other = aggregator.Aggregator("e3").wait_ready()
test_wrong(other, file)
other.stop()
if etcd.available():
    test_group(file, one)
else:
    mp.skip("a group of members", etcd.MISSING)
one.stop()
mp.done()

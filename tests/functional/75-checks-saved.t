#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""State snapshots of checks: `rows check` names those that are damaged."""

import json
import os
import sqlite3
import struct
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path.insert(0, LIB)
import aggregator
import mp

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


test_check()
mp.done()

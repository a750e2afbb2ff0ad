#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mp-aggregator alone, and a disk that fails it.

Part 1: a small file system gets full.  Puts are told so (507), reads, deletions and floors
go on, over restarts, too, and puts do when there is room again.  Part 2: its files are cut short, have bits
turned, or are those of another time; nothing that is damaged is ever served, and nothing
that was acknowledged is missing without a word.
The file system is an ext4 in a file, or a tmpfs where that cannot be had; it is
mounted in a namespace of the test's own.
"""

import contextlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import mp
import rowfaults
import smalldisk

mp.need(aggregator.PROGRAM)

SIZE = 12 << 20
CELL = 48 << 10


def content(row, number):
    return (b"%s-%d " % (row.encode(), number)).ljust(CELL, b".")


def fill(one, row):
    """Puts until there is no room; (how many were taken, the last answer)."""
    number = 0
    while True:
        status, told = one.put(row, content(row, number + 1))
        if status != 201:
            return number, status, told
        number += 1


def is_there(one, row, cells, name):
    held = all(one.call("GET", "/v1/rows/%s/cells/%d" % (row, seq))[2] == content(row, seq)
               for seq in range(1, cells + 1))
    return mp.ok(held, name)


def test_makes_room(disk, one, cells):
    """Somebody takes the last block: what makes room is done all the same, over two kinds of restarts, too."""
    disk.fill()
    mp.is_(one.json("DELETE", "/v1/rows/first")[0], 200, "not a block is left: a row is deleted")
    answers = []
    end = threading.Event()

    def put_on():
        while not end.is_set():
            answers.append(one.put("big", content("big", cells + 1))[0])

    putter = threading.Thread(target=put_on)
    putter.start()
    floors = [one.json("POST", "/v1/rows/big/compact", {"floor": floor})[0] for floor in range(2, cells)]
    end.set()
    putter.join()
    mp.is_((set(floors), len(floors) > 20), ({200}, True), "%d floors are moved" % len(floors))
    mp.is_(set(answers), {507}, "while %d puts are refused" % len(answers))
    mp.is_(one.json("PUT", "/v1/rows/small", {"keep_cells": 7})[0], 200, "a policy is set")
    mp.is_(one.put("small", content("small", 2))[0], 507, "cells are still told that there is no room")
    for how in ("killed", "stopped"):
        disk.fill()
        one.kill() if how == "killed" else one.stop()
        disk.fill()
        one.start()
        mp.wait_for(one.ready, "it is ready", 20)
        disk.fill()  # what the log had
        mp.is_(one.get("/v1/rows/big")[1]["floor"], cells - 1, "%s and started on the full disk, it has all of it" % how)
        mp.is_(one.put("small", content("small", 2))[0], 507, "takes no cells")
        mp.is_(one.json("PUT", "/v1/rows/again", {"keep_cells": 7})[0] // 100, 2, "and is there for the rest")
        mp.is_(one.json("DELETE", "/v1/rows/again")[0], 200, "deletions among it")
    disk.room()


def test_full(folder):
    disk = smalldisk.Disk(folder, SIZE)
    with open(os.path.join(folder, "somebody's"), "wb") as out:
        out.write(bytes(SIZE // 3))
    one = aggregator.Aggregator("full", "--disk-reserve", "3M", data=os.path.join(folder, "rows")).wait_ready()
    one.put("first", content("first", 1))
    one.put("small", content("small", 1))
    cells, status, told = fill(one, "big")
    mp.ok(cells > 20, "%s: %d cells of %d bytes" % (disk.kind, cells, CELL))
    mp.is_((status, told.get("code")), (507, "full"), "then there is no room: %s" % told.get("error"))
    mp.is_(one.put("small", content("small", 2))[0], 507, "in no row")
    mp.ok(one.get("/v1/status")[1]["engine"]["full"], "the status says so")
    mp.like(one.get("/v1/status")[1]["engine"]["text"], "delete rows", "and what to do")
    mp.is_(one.get("/v1/rows/big")[1]["highest"], cells, "reads go on")
    is_there(one, "big", cells, "with everything that was taken")
    test_makes_room(disk, one, cells)
    os.unlink(os.path.join(folder, "somebody's"))
    status, told = one.put("small", content("small", 2))
    mp.is_((status, told.get("seq")), (201, 2), "when there is room again, puts go on")
    mp.ok(not one.get("/v1/status")[1]["engine"]["full"], "and the status says that")
    one.kill()
    one.start().wait_ready()
    is_there(one, "small", 2, "nothing of it was lost")
    mp.is_(one.get("/v1/rows/big")[1]["highest"], cells, "and what failed is not there")
    mp.is_(one.stop(), 0, "it stops")
    disk.close()


def one_after_another(one, end):
    """Cells, and what makes room, until the end or nobody is there."""
    rng = random.Random(one.lives)
    while not end.is_set():
        row = "r%d" % rng.randrange(20)
        try:
            if rng.random() < 0.15:
                one.json("DELETE", "/v1/rows/" + row)
            elif rng.random() < 0.2:
                one.json("PUT", "/v1/rows/x%d" % rng.randrange(3000), {"keep_cells": 7})
            else:
                one.put(row, content(row, 1))
        except OSError:
            return


def test_dies_in_need(folder):
    """Killed at the moment when it uses its reserve, and somebody takes what it gave up: it starts all the same."""
    disk, rounds = smalldisk.Disk(folder, SIZE * 4), 6
    one = aggregator.Aggregator("need", "--disk-reserve", "6M", data=os.path.join(folder, "rows"))
    for _ in range(rounds):
        disk.room()
        one.wait_ready()
        end = threading.Event()
        clients = [threading.Thread(target=one_after_another, args=(one, end)) for _ in range(4)]
        for client in clients:
            client.start()
        mp.wait_for(lambda: one.get("/v1/status")[1]["engine"]["full"] is False, "room")
        disk.fill()
        mp.wait_for(lambda: "the reserve is used" in one.process.err, "the use of the reserve")
        one.kill()
        end.set()
        for client in clients:
            client.join()
        disk.fill()
        one.start().wait_ready()
    mp.ok(True, "%s: %d times it dies in need, and starts on the full disk" % (disk.kind, rounds))
    one.kill()
    disk.close()


def fault_trigger(folder):
    """The file that makes an ext4 turn read-only, as an error does; None: there is none."""
    with open("/proc/mounts") as mounts:
        source = next((line.split()[0] for line in mounts if line.split()[1] == folder), "")
    path = "/sys/fs/ext4/%s/trigger_fs_error" % os.path.basename(source)
    return path if os.access(path, os.W_OK) else None


def test_read_only(folder):
    """The file system turns read-only under it."""
    disk = smalldisk.Disk(folder, SIZE)
    trigger = disk.kind == "ext4" and fault_trigger(folder)
    if not trigger:
        disk.close()
        mp.skip("a disk that turns read-only", "no ext4 that can be made to")
        return
    subprocess.run(["mount", "-o", "remount,errors=remount-ro", folder], check=True)
    one = aggregator.Aggregator("ro", "--disk-reserve", "1M", data=os.path.join(folder, "rows")).wait_ready()
    one.put("row", "one")
    with open(trigger, "w") as out:
        out.write("1")
    for _ in range(2):
        status, told = one.put("row", "two")
        mp.is_((status, told.get("code")), (507, "full"), "a disk that turned read-only takes no puts: %s" % told["error"])
    mp.is_(one.call("GET", "/v1/rows/row/cells/latest")[2], b"one", "reads go on")
    engine = one.get("/v1/status")[1]["engine"]
    mp.is_((engine["read_only"], engine["serving"]), (True, True), "the status says so")
    mp.like(engine["text"], "mount it for writing again", "and what to do")
    mp.is_(aggregator.metric(one, "engine_read_only"), 1, "so do the metrics")
    one.kill()
    disk.close()


# ------------------------------------------------------------------- damaged files

ROWS = ["a", "b", "chains/x"]


def make_model(folder, stop):
    """A data directory, with a log that was not checkpointed unless it stops in order; what each row has."""
    one = aggregator.Aggregator("model", data=folder).wait_ready()
    want = {}
    for number in range(1, 61):
        row = ROWS[number % 3]
        text = b"%s:%d:" % (row.encode(), number) + b"x" * (number * 37 % 3000)
        assert one.put(row, text, key="k%d" % number)[0] == 201
        want.setdefault(row, []).append(text)
    (one.stop if stop else one.kill)()
    return want


def read_all(one, want):
    """What it serves of each row: whole cells; a wrong one fails the test."""
    served = 0
    for row, cells in want.items():
        name = row.replace("/", "%2F")
        status, told = one.get("/v1/rows/" + name)
        if status != 200:
            continue
        for seq in range(told["floor"], told["highest"] + 1):
            status, _, body = one.call("GET", "/v1/rows/%s/cells/%d" % (name, seq))
            if status == 200:
                served += 1
                if body != cells[seq - 1]:
                    mp.ok(False, "row %s seq %d is served damaged" % (row, seq))
    return served


def start(data):
    """An aggregator there, or what it says when it does not start."""
    one = aggregator.Aggregator("damaged", data=data, start=False)
    try:
        return one.start(), ""
    except AssertionError as error:
        return None, str(error)


def damages(rng, size):
    """{kind: change of a file's bytes}"""
    at = rng.randrange(size)

    def flipped(data):
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1:]

    def zeroed(data):
        end = min(size, at - at % 512 + 512)
        return data[:at - at % 512] + bytes(end - (at - at % 512)) + data[end:]

    return {"a bit turned": flipped, "cut short": lambda data: data[:at], "a sector of zeros": zeroed}


def test_damage(seed, rounds):
    """What starts serves only what was put; what is damaged is named."""
    rng = random.Random("damage/%d" % seed)
    counts = {}
    for name in ("rows.db", "rows.db-wal"):
        model = os.path.join(mp.workdir(), "model")
        want = make_model(model, name == "rows.db")
        with open(os.path.join(model, name), "rb") as file:
            data = file.read()
        for _ in range(rounds):
            for kind, change in damages(rng, len(data)).items():
                outcome = damaged_once(model, name, change(data), want)
                counts.setdefault("%s, %s" % (name, kind), []).append(outcome)
    for kind, outcomes in sorted(counts.items()):
        mp.ok(all(outcomes) and "shorter" not in outcomes, "%s: %s" % (kind, ", ".join(
            "%s %d" % (what, outcomes.count(what)) for what in sorted(set(outcomes)))))


def damaged_once(model, name, data, want):
    """What came of it: refused, damaged, shorter (and nobody says so), or whole; "" for a refusal without a reason."""
    folder = os.path.join(mp.workdir(), "copy")
    shutil.copytree(model, folder)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)
    one, said = start(folder)
    if not one:
        named = folder in said and any(word in said for word in ("damaged", "no SQLite file", "fails", "are missing"))
        if not named:
            mp.note(said)
        return "refused" if named else ""

    def damaged():
        try:
            told = one.get("/v1/status")[1]
        except OSError:
            return False  # it is about to end
        return told["engine"]["damaged"] or told.get("damaged")

    mp.wait_for(lambda: one.ready() or not one.process.running() or damaged(), "readiness or a reason")
    if not one.process.running():
        one.process.wait()
        return "refused" if "mp-aggregator: " in one.process.err else ""
    served = read_all(one, want)
    text = json.dumps(one.get("/v1/status")[1])
    one.kill()
    whole = served == sum(len(cells) for cells in want.values())
    return "whole" if whole else "damaged" if any('"damaged": %s' % n in text for n in ("true", *"123456789")) else "shorter"


def test_backup(seed):
    """The whole directory of an earlier time: what is there was put; a client that knows more is not deceived."""
    data = os.path.join(mp.workdir(), "backup%d" % seed)
    one = aggregator.Aggregator("backup", data=data).wait_ready()
    life = one.put("row", "one")[1]["incarnation"]
    mp.is_(one.stop(), 0, "it stops, and is saved")
    saved = data + ".saved"
    shutil.copytree(data, saved)
    one.start().wait_ready()
    for number in range(2, 6):
        one.put("row", "n%d" % number, key="k%d" % number, base="%s:%d" % (life, number - 1))
    mp.is_(one.stop(), 0, "it stops, and the old files are put back")
    shutil.rmtree(data)
    shutil.copytree(saved, data)
    one.start().wait_ready()
    mp.is_(one.get("/v1/rows/row")[1]["highest"], 1, "it has what the backup has")
    status, told = one.put("row", "n5", key="k5", base=life + ":4")
    mp.is_(status, 410, "a put that has seen more is not applied: %s" % told["error"])
    mp.is_(one.stop(), 0, "it stops")


def generation(data):
    """What `meta` says, of a member that is stopped."""
    with contextlib.closing(sqlite3.connect(os.path.join(data, "rows.db"))) as db:
        (text,) = db.execute("SELECT value FROM kv WHERE CAST(key AS TEXT) LIKE 'middlepipe/%/meta'").fetchone()
    return json.loads(text)["generation"]


def test_old_file():
    """An old rows.db beside the rest: refused, until somebody accepts that loss by its number."""
    data = os.path.join(mp.workdir(), "old")
    one = aggregator.Aggregator("old", data=data).wait_ready()
    one.put("row", "one")
    mp.is_(one.stop(), 0, "it stops, and rows.db is saved")
    shutil.copy(os.path.join(data, "rows.db"), data + ".db")
    one.start().wait_ready()
    one.put("row", "two")
    mp.is_(one.stop(), 0, "it stops, and the old rows.db is put back")
    shutil.copy(data + ".db", os.path.join(data, "rows.db"))
    one, said = start(data)
    mp.ok(not one and "older file" in said and "--accept-loss" in said, "that is refused: %s" % said.strip())
    number = re.search(r"--accept-loss ([0-9a-f]{8})", said).group(1)
    mp.is_(generation(data), 1, "generation")
    one = aggregator.Aggregator("accepts", "--accept-loss", number, data=data).wait_ready()
    mp.is_(one.get("/v1/rows/row")[1]["highest"], 1, "the loss is accepted by its number")
    mp.is_(one.put("row", "again")[0], 201, "it goes on")
    mp.is_(one.stop(), 0, "and stops")
    mp.is_(generation(data), 2, "the generation is another one")
    one, said = start(data)
    mp.ok(one and one.wait_ready(), "the next start asks for nothing %s" % said)
    mp.is_(one.stop(), 0, "and it stops")
    os.unlink(os.path.join(data, "rows.db"))
    one, said = start(data)
    mp.ok(not one and "the file is gone" in said, "without its file it does not begin anew: %s" % said.strip())


why = smalldisk.enter()
if why:
    mp.skip("a full disk", why)
else:
    test_full(mp.workdir())
    test_dies_in_need(mp.workdir())
    test_read_only(mp.workdir())
for seed in rowfaults.SEEDS[:1]:
    test_damage(seed, 4)
    test_backup(seed)
test_old_file()
mp.done()

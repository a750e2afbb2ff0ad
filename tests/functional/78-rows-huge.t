#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A row of 200,000 cells, and 10,000 connections that say nothing: reads come in pieces, limits hold, memory is bounded.

Memory is the aggregator's RssAnon, and of commands the greatest that they ever had.
"""

import base64
import json
import os
import resource
import socket
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import mp
from aggregator import metric

CELLS, AT_ONCE, SIZE = 200000, 4000, 128
PIECE, PIECE_BYTES = 1000, 4 << 20  # of a range
READERS = 8  # exports that nobody reads
SUBSCRIBERS = 40  # likewise
IDLE = 10000
MIB = 1 << 20
JSON = {"Content-Type": "application/vnd.middlepipe.cells+json"}

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM)
folder = mp.workdir()


def anon(one):
    """Bytes."""
    with open("/proc/%d/status" % one.process.pid) as text:
        return next(int(line.split()[1]) << 10 for line in text if line.startswith("RssAnon:"))


def content(seq):
    return (b"%d " % seq).ljust(SIZE, b"x")


def command(one, *words):
    """(exit code, standard output, MiB that it had at most; what this test has itself counts, too)"""
    process = subprocess.Popen([mp.MIDDLEPIPE, "rows", words[0], "--url", one.url, *words[1:]], stdout=subprocess.PIPE)
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, out, usage.ru_maxrss >> 10


def stuck(one, path):
    """A client that asks, and does not read."""
    host, port = one.address.rsplit(":", 1)
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(mp.DEADLINE)
    sock.connect((host, int(port)))
    sock.sendall(b"GET %s HTTP/1.1\r\nHost: t\r\n\r\n" % path.encode())
    return sock


def test_fill(one):
    before = anon(one)
    good = 0
    for first in range(1, CELLS, AT_ONCE):
        cells = [base64.b64encode(content(seq)).decode() for seq in range(first, first + AT_ONCE)]
        good += one.json("POST", "/v1/rows/huge/cells", json.dumps({"cells": cells}), JSON) == (201, {
            "row": "huge", "incarnation": one.incarnation, "seq": first, "cells": AT_ONCE}) \
            if one.incarnation else learn(one, cells)
    mp.is_(good, CELLS // AT_ONCE, "%d cells are put" % CELLS)
    stored, cost = metric(one, "bytes"), anon(one) - before
    mp.ok(stored >= CELLS * SIZE, "they are %d MiB" % (stored // MIB))
    mp.ok(cost < 2.5 * stored + 16 * MIB, "and take %d MiB of memory" % (cost // MIB))


def learn(one, cells):
    status, told = one.json("POST", "/v1/rows/huge/cells", json.dumps({"cells": cells}), JSON)
    one.incarnation = told["incarnation"]
    return status == 201 and told["seq"] == 1


def test_pieces(one):
    status, told = one.get("/v1/rows/huge")
    mp.is_((status, told["highest"], told["cells"], "data" in told), (200, CELLS, CELLS, False), "the row tells figures")
    following, wrong, pieces = 1, 0, 0
    while following <= CELLS:
        _, _, body = one.call("GET", "/v1/rows/huge/cells?from=%d" % following)
        cells = json.loads(body)["cells"]
        wrong += not 0 < len(cells) <= PIECE or len(body) > 4 * PIECE_BYTES
        for cell in cells:
            wrong += cell["seq"] != following or base64.b64decode(cell["data"]) != content(following)
            following += 1
        pieces += 1
    mp.is_((wrong, pieces), (0, CELLS // PIECE), "all of it is read in pieces")
    status, told = one.get("/v1/rows/huge/cells?from=1&limit=%d" % CELLS)
    mp.ok(status == 400 or len(told["cells"]) == PIECE, "and never in one: %d" % status)
    mp.is_(one.call("GET", "/v1/rows/huge/cells/latest")[2], content(CELLS), "the latest cell")
    mp.is_(one.call("GET", "/v1/rows/huge/cells/%d" % (CELLS // 2))[2], content(CELLS // 2), "one in the middle")
    mp.is_(one.call("GET", "/v1/rows/huge/cells/%d" % (CELLS + 1))[0], 404, "none behind the end")


def test_limits(one):
    mp.is_(one.put("large", b"x" * MIB)[0], 201, "a cell of 1 MiB")
    mp.is_(one.put("large", b"x" * (MIB + 1))[0], 413, "a larger one")
    for n in range(16):
        one.put("large", b"x" * MIB)
    told = one.get("/v1/rows/large/cells?from=1")[1]
    mp.ok(1 <= len(told["cells"]) <= PIECE_BYTES // MIB + 1 and told["highest"] == 17, "a range of large cells has %d of 17" %
          len(told["cells"]))
    status = one.json("POST", "/v1/rows/huge/cells", json.dumps({"cells": ["eA=="] * 5000}), JSON)[0]
    mp.is_(status, 400, "5,000 cells at once")
    mp.is_(one.call("POST", "/v1/rows/huge/cells", b"x" * (4 * MIB + 1))[0], 413, "more than 4 MiB at once")
    mp.is_(one.get("/v1/rows/huge")[1]["highest"], CELLS, "leave nothing behind")


def test_commands(one):
    code, out, most = command(one, "list")
    mp.ok(code == 0 and len(out) < 4096 and most < 64, "rows list: %d bytes, %d MiB" % (len(out), most))
    code, out, most = command(one, "show", "huge")
    mp.ok(code == 0 and len(out) < 4096 and most < 64, "rows show: %d bytes, %d MiB" % (len(out), most))
    before = anon(one)
    path = os.path.join(folder, "export")
    code, _, most = command(one, "export", path)
    with open(path, "rb") as text:
        n = sum(b'{"cell":"huge"' in line for line in text)
    mp.ok(code == 0 and n == CELLS and most < 64, "rows export: %d cells, %d MiB" % (n, most))
    code, out, most = command(one, "check", "--json")
    mp.is_((code, json.loads(out)["cells"]), (0, CELLS + 17), "rows check: all cells")
    mp.ok(most < 64, "with %d MiB" % most)
    mp.ok(anon(one) - before < 64 * MIB, "the aggregator has %d MiB more" % ((anon(one) - before) // MIB))


def test_tail(one):
    """From the first cell on, with a reader that takes its time: memory of neither grows."""
    process = subprocess.Popen([mp.MIDDLEPIPE, "rows", "tail", "--url", one.url, "--from", "1", "huge"],
                               stdout=subprocess.PIPE)
    n = 0
    for _ in process.stdout:
        n += 1
        if n == CELLS:
            break
    process.terminate()
    process.stdout.close()
    _, _, usage = os.wait4(process.pid, 0)
    process.returncode = 0
    mp.ok(n == CELLS and usage.ru_maxrss >> 10 < 64, "rows tail: %d cells, %d MiB" % (n, usage.ru_maxrss >> 10))


def test_stuck(one):
    """Nobody reads what was asked for."""
    before = anon(one)
    socks = [stuck(one, "/v1/export") for _ in range(READERS)]
    mp.is_([sock.recv(12) for sock in socks], [b"HTTP/1.1 200"] * READERS, "%d exports have begun" % READERS)
    socks += [stuck(one, "/v1/subscribe?row=huge&from=1") for _ in range(SUBSCRIBERS)]
    mp.wait_for(lambda: metric(one, "subscriptions_opened_total") >= SUBSCRIBERS, "subscriptions")
    mp.is_(one.put("other", "x")[0], 201, "puts are answered meanwhile")
    mp.is_(one.call("GET", "/v1/export")[0], 429, "one export more is refused: the others wait for their readers")
    cost = anon(one) - before
    mp.ok(cost < (READERS + SUBSCRIBERS) * 4 * MIB, "%d exports and %d subscriptions that nobody reads take %d MiB" %
          (READERS, SUBSCRIBERS, cost // MIB))
    for sock in socks:
        sock.close()
    mp.wait_for(lambda: metric(one, "subscriptions") == 0, "their end")


def test_idle(one, n):
    """Connections that say nothing, or half of something."""
    host, port = one.address.rsplit(":", 1)
    before, socks = anon(one), []
    for i in range(n):
        sock = socket.create_connection((host, int(port)), timeout=mp.DEADLINE)
        if i % 2:
            sock.sendall(b"GET /v1/rows HTTP/1.1\r\nHost: t\r\nX: ")
        socks.append(sock)
    mp.wait_for(lambda: metric(one, "http_connections") >= n * 4 // 10, "connections")  # heads have a deadline
    mp.is_([one.put("other", "%d" % i)[0] for i in range(50)], [201] * 50, "puts of others are answered")
    open_now, cost = metric(one, "http_connections"), anon(one) - before
    mp.ok(cost < 40 * 1024 * n + 16 * MIB, "%d idle connections, %d of them open still, take %d KiB each" %
          (n, open_now, cost // 1024 // n))
    for sock in socks:
        sock.close()
    mp.wait_for(lambda: metric(one, "http_connections") < 10, "their end")
    mp.is_(one.put("other", "last")[0], 201, "and it goes on")


def test_hole(one):
    """A fifth of the row is gone: what is behind it is found all the same."""
    first, behind = AT_ONCE * 10 + 1, AT_ONCE * 20 + 1
    key = "%%/cells/huge/%%/%016x"
    base = sqlite3.connect(os.path.join(one.data, "rows.db"))
    gone = sum(base.execute("DELETE FROM kv WHERE CAST(key AS TEXT) LIKE ?", (key % seq,)).rowcount
               for seq in range(first, behind, AT_ONCE))
    base.commit()
    base.close()
    mp.is_(gone, 10, "batches are taken away")
    one.start().wait_ready()
    code, out, _ = command(one, "check")
    mp.is_(code, 1, "rows check: not whole")
    mp.like(out.decode(), "huge: cells at %d: .*\\b%d cells" % (first, CELLS + 17 + 52 - (behind - first)),
            "what is missing, and what is there")


soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
idle = min(IDLE, hard - 300)
mp.note("%d files may be open: %d idle connections%s" % (hard, idle, "" if idle == IDLE else ", fewer than %d" % IDLE))
first = aggregator.Aggregator("m1", "--connections", "12000", "--per-address", "12000").wait_ready()
first.incarnation = None
test_fill(first)
test_pieces(first)
test_limits(first)
test_commands(first)
test_tail(first)
test_stuck(first)
test_idle(first, idle)
mp.is_(first.stop(), 0, "it stops")
test_hole(first)
first.stop()
mp.done()

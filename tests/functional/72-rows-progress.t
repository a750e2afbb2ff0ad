#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Export, import and check tell how far they are: on a terminal, and nowhere else."""

import http.server
import json
import os
import pty
import re
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import mp

WIPE = "\r\x1b[K"  # to the start of the line, and erase it
CELLS = 300

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM)
folder = mp.workdir()


def on_terminal(url, *words):
    """(exit code, standard output, what its terminal was told)."""
    master, slave = pty.openpty()
    told = []

    def read():
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # nobody has the other side any more
                return
            if not data:
                return
            told.append(data)

    process = subprocess.Popen([mp.MIDDLEPIPE, "rows", words[0], "--url", url, *words[1:]], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=slave)
    os.close(slave)
    reader = threading.Thread(target=read)
    reader.start()
    out = process.communicate(timeout=3 * mp.DEADLINE)[0]
    reader.join()
    os.close(master)
    return process.returncode, out.decode(), b"".join(told).decode()


def check(name, url, pattern, *words):
    """Twice: with a terminal, and without."""
    code, out, told = on_terminal(url, *words)
    shown = [text for text in told.split(WIPE) if re.search(pattern, text)]
    mp.ok(code == 0 and shown, "%s says how far it is: %s" % (name, shown[-1:]))
    mp.ok(told.startswith(WIPE) and told.rsplit(WIPE, 1)[-1].strip() == "", "and wipes it away in the end")
    mp.ok("\x1b" not in out and not re.search(pattern + "$", out), "its output has nothing of that")
    if not shown:
        mp.note(repr((code, out[-300:], told[-300:])))
    code, out, err = mp.middlepipe("rows", words[0], "--url", url, *words[1:])
    mp.ok(code == 0 and "\r" not in err and "\x1b" not in err and not re.search(pattern, err),
          "without a terminal nothing is told")


class Slow(http.server.BaseHTTPRequestHandler):
    """An aggregator whose check goes on for long: each line waits until the one before was seen."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()
        figures = {"rows": 17, "deleted": 0, "batches": 40, "cells": 1234, "bytes": 5 << 20, "snapshots": 0, "bad": 0,
                   "changing": 0}
        self.wfile.write(json.dumps(figures).encode() + b"\n")
        self.wfile.flush()
        self.wfile.write(json.dumps({"end": True, **figures}).encode() + b"\n")

    def log_message(self, *_):
        pass


one = aggregator.Aggregator("m1").wait_ready()
for i in range(CELLS):
    assert one.put("row%d" % (i % 3), "x" * 1000)[0] == 201
export = os.path.join(folder, "export")
check("an export", one.url, r"\d+ rows, \d+ cells, \d+ KiB", "export", export)
two = aggregator.Aggregator("m2").wait_ready()
check("an import", two.url, r"looking: \d+ cells", "import", export)
check("it, putting,", two.url, r"\d+ rows, \d+ cells, \d+ of them were there", "import", export)
mp.is_(len(two.get("/v1/rows/row0/cells")[1]["cells"]), CELLS // 3, "and what it did was done once")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
threading.Thread(target=server.serve_forever, daemon=True).start()
check("a check", "http://127.0.0.1:%d" % server.server_address[1], "17 rows, 1234 cells, 5120 KiB", "check")
server.shutdown()
code, out, told = on_terminal(one.url, "check")
mp.is_((code, re.sub(r".*\x1b\[K", "", told).strip()), (0, ""), "a short one leaves nothing behind")
mp.is_([one.stop(), two.stop()], [0, 0], "they stop")
mp.done()

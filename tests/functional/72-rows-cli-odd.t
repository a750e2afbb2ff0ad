#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""middlepipe rows at members, and proxies before them, that answer oddly.

Part 1: a put, and other changes, behind a gateway that fails.  Part 2: a tail at members that are
behind, and rows that are made again.  Part 3: texts that are no UTF-8.
"""

import base64
import http.server
import json
import os
import shlex
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import badways
import mp
from rowscli import rows

mp.need(mp.MIDDLEPIPE)
aggregator.forget_environment()

ONE, TWO = "%016x" % 1, "%016x" % 2


class Member(badways.Loopback):
    """answer(method, path) gives (status, fields, body); a body without length ends with its connection."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []
        super().__init__(Handler)

    def paths(self, start):
        return [path for method, path, fields in self.asked if path.startswith(start)]

    def puts(self):
        return [(fields["Idempotency-Key"], fields["Middlepipe-Base"])
                for method, path, fields in self.asked if method == "POST"]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_any(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.asked.append((self.command, self.path, self.headers))
        status, fields, body = self.server.answer(self.command, self.path)
        self.send_response(status)
        for pair in fields.items():
            self.send_header(*pair)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_any


def row(incarnation=ONE, highest=5, floor=1):
    return (200, {}, json.dumps({"row": "r", "incarnation": incarnation, "highest": highest, "floor": floor}).encode())


def error(status, code):
    return (status, {}, json.dumps({"error": "as planned", "code": code}).encode())


COMMITTED = (201, {}, json.dumps({"row": "r", "incarnation": ONE, "seq": 6, "cells": 1}).encode())
GATEWAY = (502, {}, b"<html>Bad Gateway</html>")


def script(*answers, get=None):
    """GETs have the same answer, all else one after the other; the last one goes on."""
    left = list(answers)

    def answer(method, path):
        if method == "GET" and get:
            return get
        return left.pop(0) if len(left) > 1 else left[0]
    return answer


# ---------------------------------------------------------------------- changes

def part_put():
    for what, answer in (("a gateway that fails", GATEWAY), ("one that takes too long", (504, {}, b"too long")),
                         ("an internal error", error(500, "internal")), ("no JSON", (201, {}, b"hello")),
                         ("another document", (201, {}, b"{}")), ("no object", (201, {}, b"[1]")),
                         ("half an answer", (201, {"Content-Length": "100"}, b'{"seq":6'))):
        one = Member(script(answer, COMMITTED, get=row()))
        mp.is_(rows(one, "put", "r", "x")[:2], (0, "6\n"), "%s: it is put again" % what)
        mp.is_((len(one.puts()), len(set(one.puts())), one.puts()[0][1]), (2, 1, ONE + ":5"), "with the same key and base")
        one = Member(script(answer, COMMITTED, get=error(403, "forbidden")))
        code, out, err = rows(one, "put", "r", "x")
        mp.is_((code, out, len(one.puts())), (5, "", 1), "without a base it is unknown, and not sent again")
        mp.like(err, "unknown whether it was put", "as it says: %s" % err.splitlines()[0])
    err = rows(Member(script(GATEWAY, get=row())), "put", "--wait", "300ms", "--key", "it's $1", "r", "x")[2]
    mp.is_(shlex.split(err.split("again with: ")[1]), ["--key", "it's $1", "--base", ONE + ":5"],
           "what it says to learn more is for a shell")
    for answer in (GATEWAY, (200, {}, b"{}")):
        code, out, err = rows(Member(script(answer, get=row())), "put", "--dry-run", "--wait", "0", "r", "x")
        mp.is_((code, out), (1, ""), "a dry run changes nothing: a failure")
        mp.like(err, "answered with status %d" % answer[0], "which says what came")


def part_changes():
    for what, words in (("delete", ["-y", "r"]), ("compact", ["r", "2"]), ("policies", ["--keep-cells", "3", "r"])):
        for answer in (GATEWAY, (504, {}, b""), (200, {}, b"<html>")):
            code, _, err = rows(Member(script(answer)), what, *words)
            mp.is_(code, 5, "%s, status %d: unknown whether it was done: %s" % (what, answer[0], err.splitlines()[0]))
    for answer in (GATEWAY, (504, {}, b""), (200, {}, b"<html>"), (302, {}, b"")):
        mp.is_(rows(Member(script(answer)), "show", "r")[0], 1, "show, status %d: a failure" % answer[0])
    mp.like(rows("%s,%s" % (Member(script(GATEWAY)).url, Member(script(row())).url), "show", "r")[1], "highest +5",
            "a read goes to the next one then")


# ------------------------------------------------------------------------- tail

def event(name, **data):
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(data).encode())


def cell(seq, incarnation=ONE, name="r"):
    return event("cell", row=name, incarnation=incarnation, seq=seq, kind="data", time=1, key="k", origin="o",
                 data=base64.b64encode(b"c%d" % seq).decode())


def beat(highest, incarnation=ONE):
    return event("heartbeat", row="r", incarnation=incarnation, highest=highest, floor=1, forks=[])


def stream(*events):
    return (200, {"Content-Type": "text/event-stream"}, b"".join(events))


def tailed(told, *streams):
    """A member with these streams, one after the other, that says so of the row."""
    following = script(*streams)
    return Member(lambda method, path: following(method, path) if path.startswith("/v1/subscribe") else told)


def part_goes_on():
    gone = event("end", code="gone", error="as planned", floor=1)
    for what, *streams in (("a gateway that fails", stream(cell(1)), GATEWAY, stream(cell(2))),
                           ("one that takes too long", stream(cell(1)), (504, {}, b""), stream(cell(2))),
                           ("a member that is behind", stream(cell(1)), error(410, "gone"), stream(cell(2))),
                           ("one that ends the stream so", stream(cell(1), gone), stream(cell(2))),
                           ("one that has no such row yet", error(404, "not_there"), stream(cell(1), cell(2))),
                           ("one that tells of less", stream(beat(5), cell(1)), stream(beat(0)), stream(beat(5), cell(2)))):
        code, out, err = rows(tailed(row(), *streams), "tail", "--from", "1", "--count", "2", "r")
        mp.is_((code, out, err), (0, "1: c1\n2: c2\n", ""), "%s does not end a tail" % what)


def part_ends():
    for what, told, *streams in (("the row was made again", row(TWO), stream(cell(1)), error(410, "gone")),
                                 ("its floor has moved", row(floor=4), stream(cell(1)), error(410, "gone")),
                                 ("it was deleted", error(404, "not_there"), stream(cell(1)), error(410, "gone")),
                                 ("there is none", error(404, "not_there"), error(404, "not_there")),
                                 ("another life comes", row(TWO), stream(cell(1), cell(2, TWO))),
                                 ("an older state", row(highest=1), stream(beat(3), cell(1), cell(2)),
                                  stream(beat(1), beat(1)))):
        code, out, err = rows(tailed(told, *streams), "tail", "--from", "1", "--count", "9", "r")
        mp.is_((code, "c1" in out), (3, what != "there is none"), "%s: that ends it: %s" % (what, err.strip()))


def part_pinned():
    one = tailed(row(), stream(), stream(cell(5)))
    mp.is_(rows(one, "tail", "--last", "1", "--count", "1", "r")[:2], (0, "5: c5\n"), "the last one")
    mp.ok(all("from=5&incarnation=" + ONE in path for path in one.paths("/v1/subscribe")),
          "is asked for in the life of the row in which it is that")
    one = tailed(row(), stream(beat(5)), stream(cell(7)))
    mp.is_(rows(one, "tail", "--from", "7", "--count", "1", "r")[:2], (0, "7: c7\n"), "one that is to come")
    mp.ok("incarnation=" + ONE in one.paths("/v1/subscribe")[1], "in the life that a heartbeat has told")
    one = tailed(row(), stream(cell(5)))
    mp.is_(rows(one, "tail", "--create", "--last", "1", "--count", "1", "r")[:2], (0, "5: c5\n"), "--create with --last")
    mp.ok("from=5&" in one.paths("/v1/subscribe")[0], "begins there when there is such a row")
    one = tailed(error(404, "not_there"), stream(cell(1)))
    mp.is_(rows(one, "tail", "--create", "--count", "1", "r")[:2], (0, "1: c1\n"), "and waits for one that is not there")


def part_prefix():
    one = tailed(row(), stream(cell(1), cell(1, TWO)), stream(cell(1), cell(1, TWO), cell(2, TWO)))
    out = rows(one, "tail", "--prefix", "r", "--count", "3", "--json")[1]
    mp.is_([(told["incarnation"], told["seq"]) for told in map(json.loads, out.splitlines())],
           [(ONE, 1), (TWO, 1), (TWO, 2)], "by prefix: a member that is behind tells of an earlier life, not twice")
    one = tailed(row(), stream(cell(1, TWO)), stream(cell(1), cell(2), cell(1, TWO), cell(2, TWO)), stream(cell(3), cell(3, TWO)))
    out = rows(one, "tail", "--prefix", "r", "--count", "5", "--json")[1]
    mp.is_([(told["incarnation"], told["seq"]) for told in map(json.loads, out.splitlines())],
           [(TWO, 1), (ONE, 1), (ONE, 2), (TWO, 2), (TWO, 3)], "one that tells of an earlier life only does not end the present one")


# ------------------------------------------------------------------------- texts

def part_texts():
    odd = os.path.join(mp.workdir(), "\udcff")
    told = json.loads(mp.middlepipe("aggregator", "status", "--json", "--data", odd)[1])
    mp.is_((told["running"], told["data"]), (False, odd.replace("\udcff", "\ufffd")), "a directory whose name is no UTF-8")
    code, out, _ = rows(odd, "doctor", "--json")
    told = json.loads(out)
    mp.is_((code, len(told["members"]), len(told["findings"])), (1, 1, 1), "a socket whose path is none")
    code, _, err = rows("http://127.0.0.1:9", "policies", "--check", "\udcff", "r")
    mp.is_(code, 2, "a check whose name is none: %s" % err.splitlines()[0])


part_put()
part_changes()
part_goes_on()
part_ends()
part_pinned()
part_prefix()
part_texts()
mp.done()

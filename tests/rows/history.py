# SPDX-License-Identifier: Apache-2.0
"""Histories of rows: what they look like, written and read.

A history is what the clients of a test saw: JSON lines, one event a line, in
one or more files; README.md beside this file has the format.  Writer is for the
clients (any thread; a line is out before write() returns, so that a client that
is killed leaves a call without its answer, never the other way round).  read()
is for the checker: it believes nothing, bounds everything, and raises Unreadable.

Standard library only.
"""

import hashlib
import json
import os
import threading
import time

VERSION = 1
SHA_DIGITS = 16  # hex digits of a cell's SHA-256 that a history keeps
LINE_MAX = 64 << 20  # bytes of one line
EVENTS_MAX = 5_000_000  # events of one history
CELLS_MAX = 20_000_000  # cells in all answers and final states of one history

UNKNOWN, UNSENT = 0, 1  # statuses of an answer that never came, of a call that never left
INFINITY = float("inf")


class Unreadable(Exception):
    """The input is no history."""


def sha_of(content):
    """What a history keeps of a cell's bytes."""
    return hashlib.sha256(content).hexdigest()[:SHA_DIGITS]


class Writer:
    """Writes events to one new file; any thread."""

    def __init__(self, path, **about):
        self.lock = threading.Lock()
        self.out = open(path, "x", encoding="ascii")
        self.write("history", v=VERSION, **about)

    def write(self, event, t=None, **fields):
        """One event, now unless t says when; fields that are None are left out."""
        line = {"t": time.monotonic_ns() if t is None else t, "e": event}
        line.update((name, value) for name, value in fields.items() if value is not None)
        text = json.dumps(line, separators=(",", ":"))
        with self.lock:
            self.out.write(text + "\n")
            self.out.flush()

    def close(self):
        with self.lock:
            self.out.close()


# ------------------------------------------------------------------ the fields

def _number(limit):
    def check(value):
        return type(value) is int and 0 <= value < limit
    return check


def _text(low, high):
    def check(value):
        return type(value) is str and low <= len(value) <= high
    return check


def _hex(value):
    return type(value) is str and 1 <= len(value) <= 64 and not value.strip("0123456789abcdef")


def _list_of(check, high):
    def whole(value):
        return type(value) is list and len(value) <= high and all(map(check, value))
    return whole


def _base(value):
    """incarnation:highest, or -:0, or incarnation:- ."""
    if type(value) is not str or value.count(":") != 1:
        return False
    inc, seq = value.split(":")
    return (inc == "-" and seq == "0") or (
        _hex(inc) and (seq == "-" or (seq.isascii() and seq.isdigit() and len(seq) < 17)))


def _cell(value):
    """[seq, sha, key] or [seq, sha, key, text]."""
    return (type(value) is list and 3 <= len(value) <= 4 and SEQ(value[0]) and _hex(value[1])
            and KEY(value[2]) and (len(value) == 3 or DATA(value[3])))


def _flag(value):
    return type(value) is bool


NANOSECONDS = _number(1 << 63)
NUMBER = _number(1 << 53)
NAME = _text(1, 128)
ROW = _text(1, 256)
KEY = _text(0, 64)
TEXT = _text(0, 4096)
DATA = _text(0, 1 << 20)


def SEQ(value):
    return type(value) is int and 1 <= value < 1 << 53


OPS = ("put", "get", "latest", "highest", "range", "make", "delete", "compact")

# event: ({what it must have}, {what it may have}); t and e are everybody's.
EVENTS = {
    "history": ({"v": NUMBER}, {"seed": NUMBER, "who": TEXT}),
    "call": ({"c": NAME, "o": NUMBER, "op": lambda value: value in OPS, "row": ROW},
             {"m": NAME, "key": KEY, "base": _base, "if": NUMBER, "sha": _list_of(_hex, 4096),
              "data": _list_of(DATA, 4096), "stale": _flag, "seq": SEQ, "from": SEQ, "to": NUMBER,
              "least": NUMBER, "floor": SEQ, "check": TEXT, "keep_cells": NUMBER,
              "keep_bytes": NUMBER, "keep_ms": NUMBER}),
    "ret": ({"c": NAME, "o": NUMBER, "st": _number(600)},
            {"inc": _hex, "seq": SEQ, "n": SEQ, "highest": NUMBER, "floor": SEQ, "base": _base,
             "cells": _list_of(_cell, 1 << 20), "why": TEXT}),
    "sub": ({"c": NAME, "o": NUMBER, "from": SEQ},
            {"row": ROW, "prefix": _text(0, 256), "inc": _hex, "s": NUMBER, "m": NAME}),
    "cell": ({"c": NAME, "o": NUMBER, "row": ROW, "inc": _hex, "seq": SEQ, "sha": _hex, "key": KEY},
             {"data": DATA}),
    "beat": ({"c": NAME, "o": NUMBER, "row": ROW, "inc": _hex, "highest": NUMBER, "floor": SEQ},
             {}),
    "end": ({"c": NAME, "o": NUMBER, "code": TEXT}, {"floor": SEQ, "want": NUMBER}),
    "fault": ({"kind": NAME, "on": TEXT,
               "at": lambda value: value in ("begin", "end", "once")}, {}),
    "final": ({"m": NAME, "row": ROW},
              {"inc": _hex, "highest": NUMBER, "floor": SEQ, "cells": _list_of(_cell, 1 << 20)}),
}


# -------------------------------------------------------------------- what is read

class Op:
    """A call and its answer; one attempt of a put is one Op."""
    __slots__ = ("who", "op", "row", "member", "key", "base", "if_match", "shas", "data", "stale",
                 "want", "from_", "to", "least", "want_floor", "keep", "t0", "at",  # the call
                 "st", "inc", "seq", "n", "highest", "floor", "new_base", "cells", "t1", "back",
                 "at1")  # the answer

    def __init__(self, line, at):
        get = line.get
        self.who, self.op, self.row = "%s/%d" % (line["c"], line["o"]), line["op"], line["row"]
        self.member, self.key, self.base = get("m"), get("key") or "", get("base")
        self.if_match, self.shas, self.data = get("if"), tuple(get("sha", ())), get("data")
        self.stale, self.want, self.from_ = get("stale", False), get("seq"), get("from")
        self.to, self.least, self.want_floor = get("to"), get("least"), get("floor")
        self.keep = (get("keep_cells", 0), get("keep_bytes", 0) or get("keep_ms", 0))
        self.t0, self.at = line["t"], at
        self.st, self.t1, self.back, self.at1 = UNKNOWN, INFINITY, self.t0, None
        self.inc = self.seq = self.n = self.highest = self.floor = self.new_base = None
        self.cells = ()

    def answer(self, line, at):
        get = line.get
        self.st, self.at1 = line["st"], at
        self.back = line["t"]
        # An answer that says nothing bounds nothing: the call may work later.
        self.t1 = INFINITY if unknown(self.st) else line["t"]
        self.inc, self.seq, self.n, self.highest = get("inc"), get("seq"), get("n"), get("highest")
        self.floor, self.new_base, self.cells = get("floor"), get("base"), get("cells", ())

    def __str__(self):
        told = "no answer" if self.at1 is None else "%d (%s)" % (self.st, self.at1)
        what = " key %s" % self.key if self.op == "put" else ""
        return "%s %s%s (%s) -> %s" % (self.who, self.op, what, self.at, told)


class Stream:
    """A connection of a subscription: cells, heartbeats and its end, as they came."""
    __slots__ = ("who", "row", "prefix", "inc", "from_", "logical", "t0", "at", "events", "end")

    def __init__(self, line, at):
        self.who = "%s/%d" % (line["c"], line["o"])
        self.row, self.prefix, self.inc = line.get("row"), line.get("prefix"), line.get("inc")
        self.from_, self.t0, self.at = line["from"], line["t"], at
        self.logical = (line["c"], line.get("s", line["o"]))
        # (t, at, row, inc, seq, sha, key, data) or (t, at, row, inc, highest, floor)
        self.events = []
        self.end = None  # (t, at, code, floor, want)


class History:
    """All files together."""

    def __init__(self):
        self.ops = {}  # (client, number): Op
        self.streams = {}  # (client, number): Stream
        self.faults = []  # (t, kind, target, begin|end|once, at)
        self.finals = []  # (t, at, member, row, inc, highest, floor, cells)
        self.events = 0  # lines
        self.torn = []  # where a file ends in the middle of a line
        self.seeds = []  # of the writers, for people
        self.cells = 0  # in answers and final states
        self.pool = {}  # one copy of each text


def read(paths):
    """Reads files into a History; Unreadable says where and why."""
    history = History()
    later = []  # events that belong to a call that may stand in another file
    for number, path in enumerate(paths):
        # Names that files share are told apart by the order of the arguments.
        name = os.path.basename(path) if len(paths) == 1 else "%d:%s" % (number + 1,
                                                                        os.path.basename(path))
        try:
            with open(path, "rb") as lines:
                _read_file(history, lines, name, later)
        except OSError as error:
            raise Unreadable("%s: %s" % (path, error.strerror)) from None
    for line, at in later:
        _EVENT[line["e"]](history, line, at)
    history.pool = None
    return history


def _read_file(history, lines, name, later):
    number = 0
    while True:
        text = lines.readline(LINE_MAX + 1)
        if not text:
            break
        number += 1
        at = "%s:%d" % (name, number)
        if len(text) > LINE_MAX:
            raise Unreadable("%s: a line above %d MiB" % (at, LINE_MAX >> 20))
        if not text.endswith(b"\n"):
            history.torn.append(at)  # its writer was killed: the event did not happen
            break
        line = _parse(text, at)
        if (number == 1) != (line["e"] == "history"):
            raise Unreadable("%s: 'history' must be the first line, and only that" % at)
        _count(history, line, at)
        _dispatch(history, line, at, later)
    if not number:
        raise Unreadable("%s: is empty" % name)


def _dispatch(history, line, at, later):
    """What belongs to a call in a file that was not read yet waits for it."""
    if line["e"] in _LATER:
        who = (line["c"], line["o"])
        if who not in history.ops and who not in history.streams:
            later.append((line, at))
            return
    _EVENT[line["e"]](history, line, at)


def _parse(text, at):
    try:
        line = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unreadable("%s: no JSON: %s" % (at, error)) from None
    event = line.get("e") if type(line) is dict else None
    if type(event) is not str or event not in EVENTS or not NANOSECONDS(line.get("t")):
        raise Unreadable("%s: no event: needs \"t\" and an \"e\" of %s" % (at, ", ".join(EVENTS)))
    must, may = EVENTS[event]
    for field in must:
        if field not in line:
            raise Unreadable("%s: %s without \"%s\"" % (at, event, field))
    for field, value in line.items():
        check = must.get(field) or may.get(field)
        if check is None and field not in ("t", "e"):
            raise Unreadable("%s: %s has no \"%s\"" % (at, event, field))
        if check is not None and not check(value):
            raise Unreadable("%s: \"%s\" of %s is out of bounds" % (at, field, event))
    return line


def _count(history, line, at):
    history.events += 1
    history.cells += len(line.get("cells", ()))
    if history.events > EVENTS_MAX or history.cells > CELLS_MAX:
        raise Unreadable("%s: above %d events or %d cells" % (at, EVENTS_MAX, CELLS_MAX))
    # Keys and digests come many times each: kept once.
    pool = history.pool
    for field in ("row", "key", "sha", "inc", "m"):
        value = line.get(field)
        if type(value) is str:
            line[field] = pool.setdefault(value, value)
        elif value:
            line[field] = tuple(pool.setdefault(one, one) for one in value)
    if "cells" in line:
        line["cells"] = [(cell[0], *(pool.setdefault(part, part) for part in cell[1:]))
                         for cell in line["cells"]]


# ------------------------------------------------------------- event by event

def _take_history(history, line, at):
    if line["v"] != VERSION:
        raise Unreadable("%s: format %d, this reads %d" % (at, line["v"], VERSION))
    if "seed" in line:
        history.seeds.append(line["seed"])


def _new(history, line, at):
    who = (line["c"], line["o"])
    if who in history.ops or who in history.streams:
        raise Unreadable("%s: %s/%d is used twice" % (at, *who))
    return who


def _take_call(history, line, at):
    op = Op(line, at)
    history.ops[_new(history, line, at)] = op
    need = {"put": op.shas, "get": op.want, "range": op.from_, "compact": op.want_floor}
    if not need.get(op.op, True):
        raise Unreadable("%s: %s lacks sha, seq, from or floor" % (at, op.op))
    if op.data is not None and (op.op != "put" or op.shas != tuple(
            sha_of(text.encode()) for text in op.data)):
        raise Unreadable("%s: \"data\" is not what \"sha\" says" % at)


def _take_sub(history, line, at):
    if ("row" in line) == ("prefix" in line):
        raise Unreadable("%s: sub needs a row or a prefix" % at)
    history.streams[_new(history, line, at)] = Stream(line, at)


def _of(table, line, at):
    """What this event belongs to."""
    owner = table.get((line["c"], line["o"]))
    if owner is None:
        raise Unreadable("%s: %s/%d was never begun" % (at, line["c"], line["o"]))
    if line["t"] < owner.t0:
        raise Unreadable("%s: before its beginning (%s)" % (at, owner.at))
    return owner


def _take_ret(history, line, at):
    op = _of(history.ops, line, at)
    if op.at1 is not None:
        raise Unreadable("%s: a second answer to %s" % (at, op))
    op.answer(line, at)
    if op.op == "put" and op.st in (200, 201) and (op.inc is None or op.seq is None):
        raise Unreadable("%s: %d without inc and seq" % (at, op.st))
    if op.op in READS and op.st == 200 and (op.inc is None or op.highest is None):
        raise Unreadable("%s: 200 without inc and highest" % at)


def _open_stream(history, line, at):
    stream = _of(history.streams, line, at)
    if stream.end is not None:
        raise Unreadable("%s: behind the end of %s" % (at, stream.who))
    return stream


def _take_cell(history, line, at):
    _open_stream(history, line, at).events.append((
        line["t"], at, line["row"], line["inc"], line["seq"], line["sha"], line["key"],
        line.get("data")))


def _take_beat(history, line, at):
    _open_stream(history, line, at).events.append((
        line["t"], at, line["row"], line["inc"], line["highest"], line["floor"]))


def _take_end(history, line, at):
    _open_stream(history, line, at).end = (line["t"], at, line["code"], line.get("floor"),
                                           line.get("want"))


def _take_fault(history, line, at):
    history.faults.append((line["t"], line["kind"], line["on"], line["at"], at))


def _take_final(history, line, at):
    if "inc" in line and ("highest" not in line or "floor" not in line):
        raise Unreadable("%s: final with inc needs highest and floor" % at)
    history.finals.append((line["t"], at, line["m"], line["row"], line.get("inc"),
                           line.get("highest", 0), line.get("floor", 1), line.get("cells", ())))


READS = ("get", "latest", "highest", "range")
_EVENT = {"history": _take_history, "call": _take_call, "ret": _take_ret, "sub": _take_sub,
          "cell": _take_cell, "beat": _take_beat, "end": _take_end, "fault": _take_fault,
          "final": _take_final}
_LATER = ("ret", "cell", "beat", "end")


def unknown(status):
    """May a put with this status have been committed, or be committed later?"""
    return status == UNKNOWN or (status >= 500 and status not in (503, 507))


def refused(status):
    """Did this attempt certainly do nothing?"""
    return not unknown(status) and status not in (200, 201)

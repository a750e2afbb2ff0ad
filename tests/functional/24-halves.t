#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Aggregator halves as .so: the guide's compiles and says what it is, and beside filters it is no trouble."""
import ctypes
import os
import shlex
import shutil
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp

mp.need(mp.MIDDLEPIPE, "cc")
folder = mp.workdir()
ALLOW, REFUSE = 0, 1


class Str(ctypes.Structure):
    _fields_ = [("ptr", ctypes.c_char_p), ("len", ctypes.c_size_t)]


class Cell(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("seq", ctypes.c_uint64),
                ("id", ctypes.c_uint64), ("time_ms", ctypes.c_uint64), ("key", Str), ("origin", Str),
                ("content", Str)]


class Sink(ctypes.Structure):
    pass


WRITE = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.POINTER(Sink), ctypes.c_void_p, ctypes.c_size_t)
Sink._fields_ = [("size", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("write", WRITE)]
CELLS = ctypes.POINTER(ctypes.POINTER(Cell))
SELF, SIZE, INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int32


def hook(*args):
    return ctypes.CFUNCTYPE(INT, *args)


class Table(ctypes.Structure):
    _fields_ = [("major", ctypes.c_uint16), ("minor", ctypes.c_uint16), ("size", ctypes.c_uint32),
                ("name", ctypes.c_char_p), ("summary", ctypes.c_char_p), ("rules", ctypes.c_uint32),
                ("reserved", ctypes.c_uint32), ("options", SELF),
                ("init", hook(SELF, SELF, SELF, ctypes.POINTER(SELF), SELF, SIZE)),
                ("fini", ctypes.CFUNCTYPE(None, SELF)), ("apply", hook(SELF, ctypes.POINTER(Cell))),
                ("check", hook(SELF, CELLS, SIZE, CELLS, SIZE, ctypes.c_char_p, SIZE)),
                ("snapshot", hook(SELF, ctypes.POINTER(Sink))),
                ("restore", hook(SELF, Str, ctypes.c_char_p, SIZE)), ("merge", SELF), ("status", SELF)]


def compile_guide():
    """The C block of the guide, compiled by the line below it: its path, or None."""
    with open(os.path.join(mp.ROOT, "docs/aggregator-guide.md"), encoding="utf-8") as guide:
        section = guide.read().split("## The smallest useful half")[1].split("\n## ")[0]
    lines = [line[4:] if line.startswith("    ") else line for line in section.splitlines()]
    command = next(line for line in lines if line.startswith("cc "))
    with open(os.path.join(folder, "version.c"), "w", encoding="utf-8") as out:
        out.write("\n".join(lines[lines.index("#include <middlepipe/aggregator.h>"):lines.index(command)]) + "\n")
    words = shlex.split(command)
    done = mp.run([words[0], "-I" + os.path.join(mp.ROOT, "include"), "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                   *words[1:]], cwd=folder, deadline=120)
    mp.is_(done, (0, "", ""), "the half of the guide: " + command)
    return os.path.join(folder, "version.so") if done[0] == 0 else None


def cells(*texts):
    kept = [Cell(size=ctypes.sizeof(Cell), kind=1, content=Str(text, len(text))) for text in texts]
    return (ctypes.POINTER(Cell) * len(kept))(*[ctypes.pointer(one) for one in kept]), len(kept)


class Half:
    """An instance of the half in that file."""

    def __init__(self, path):
        self.table = Table.in_dll(ctypes.CDLL(path), "mp_aggregator_table")
        self.self = SELF()
        mp.is_(self.table.init(None, None, None, ctypes.byref(self.self), None, 0), 0, "an instance")

    def apply(self, text):
        return self.table.apply(self.self, cells(text)[0][0])

    def check(self, pending, proposal):
        reason = ctypes.create_string_buffer(256)
        code = self.table.check(self.self, *cells(*pending), *cells(*proposal), reason, 256)
        return code, reason.value.decode()

    def snapshot(self):
        got = []
        sink = Sink(ctypes.sizeof(Sink), 0, WRITE(lambda _, at, n: got.append(ctypes.string_at(at, n)) or 0))
        return (self.table.snapshot(self.self, ctypes.byref(sink)), b"".join(got))

    def restore(self, text):
        reason = ctypes.create_string_buffer(256)
        return self.table.restore(self.self, Str(text, len(text)), reason, 256), reason.value.decode()


def use(path):
    half = Half(path)
    table = half.table
    mp.is_((table.major, table.minor, table.size, table.name, table.rules),
           (1, 0, ctypes.sizeof(Table), b"version", 1), "its table")
    mp.is_(half.check([], [b"1"]), (ALLOW, ""), "the first number")
    mp.is_(half.check([b"1"], [b"1"]), (REFUSE, "the next one is 2"), "not twice")
    mp.is_(half.check([b"1"], [b"2", b"3"]), (ALLOW, ""), "two in one request")
    mp.is_(half.check([b"1"], [b"2", b"2"]), (REFUSE, "the next one is 3"), "or none of them")
    mp.is_([half.apply(text) for text in (b"1", b"7", b"x", b"", b"2")], [0] * 5, "cells are never refused")
    mp.is_(half.check([], [b"3"]), (ALLOW, ""), "and skipped when they do not follow")
    mp.is_(half.snapshot(), (0, b"version 1 2"), "a snapshot")
    for text in (b"", b"version 1", b"version 1 02", b"version 1 2 ", b"version 2 2", b"version 1 2" * 9,
                 b"version 1 -2", b"version 1 99999999999999999999"):
        mp.is_(half.restore(text), (-22, "no snapshot of this half"), "none: %r" % text)
    mp.is_(half.restore(b"version 1 41"), (0, ""), "another one")
    mp.is_(half.check([], [b"42"]), (ALLOW, ""), "is restored")
    table.fini(half.self)


def beside_filters(path):
    """A folder may hold halves: commands for filters do not mind."""
    plain = mp.middlepipe("filters")
    mp.is_(mp.middlepipe("filters", "--filters-dir", folder), plain, "middlepipe filters passes halves over")
    chain = mp.chain_file(os.path.join(folder, "chain.json"),
                          mp.destination("d", "h", mp.binding("m", "version")))
    code, _, err = mp.middlepipe("check", "--filters-dir", folder, chain)
    mp.ok(code != 0, "a half is no filter")
    mp.like(err, 'wants the type of a filter .* not "version"', "and said so")
    shutil.copy(path, os.path.join(folder, "other.so"))
    code, out, err = mp.middlepipe("filters", "--filters-dir", folder)
    mp.is_((code, out), plain[:2], "one of another name neither")
    mp.like(err, "other\\.so: half other calls itself version", "but its name is told")


so = compile_guide()
if so:
    if "san" not in os.path.basename(mp.BUILD):
        use(so)
    beside_filters(so)
mp.done()

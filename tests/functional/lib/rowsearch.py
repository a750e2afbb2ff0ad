# SPDX-License-Identifier: Apache-2.0
"""Tiny histories of one row, and whether they hold by a search over all orders.

The checker decides linearizability by positions and one sweep (tests/rows/
timecheck.py says why).  Here the same question is answered the slow way, from the
definition alone, so that the argument and its code are tested against it.

Standard library only; used by tests/functional/71-checker.t.
"""

import random

INFINITY = float("inf")


def tiny(seed):
    """(events, does it hold?)"""
    rng = random.Random(seed)
    ops = _execution(rng)
    final = [cell for op in sorted((op for op in ops if op["at"] is not None and op["n"]),
                                   key=lambda op: op["at"]) for cell in op["cells"]]
    for _ in range(rng.choice((0, 1, 1, 2))):
        _disturb(rng, ops, final)
    end = max(op["t0"] for op in ops) + 1000
    return _events(ops, final, end), _search(ops, final)


def _execution(rng):
    """Operations that really ran one after another, at `at`, somewhere in their intervals."""
    ops, highest = [], 0
    for i in range(rng.randrange(2, 7)):
        at = 10 * i + 50
        op = {"t0": at - rng.randrange(1, 40), "t1": at + rng.randrange(1, 40), "at": at,
              "n": rng.choice((0, 1, 1, 2)), "if": None, "name": "k%d" % i}
        op["cells"] = [("%02x" % (16 * i + j), op["name"]) for j in range(op["n"])]
        if op["n"]:
            op["if"] = highest if rng.random() < 0.2 else None
            op["answer"] = highest + 1
            highest += op["n"]
            if rng.random() < 0.3:
                op["answer"], op["t1"] = None, INFINITY
                if rng.random() < 0.4:  # never committed
                    highest -= op["n"]
                    op["at"] = None
        else:
            op["answer"] = highest
        ops.append(op)
    return ops


def _disturb(rng, ops, final):
    op, kind = rng.choice(ops), rng.randrange(4)
    if kind == 0 and op["answer"] is not None:
        op["answer"] = max(1 if op["n"] else 0, op["answer"] + rng.choice((-2, -1, 1, 2)))
    elif kind == 1:
        length = rng.randrange(1, 20)
        op["t0"] = rng.randrange(150)
        op["t1"] = INFINITY if op["t1"] == INFINITY else op["t0"] + length
    elif kind == 2 and len(final) > 1:
        i = rng.randrange(len(final) - 1)
        final[i], final[i + 1] = final[i + 1], final[i]
    elif final:
        del final[rng.randrange(len(final))]


def _events(ops, final, end):
    events = [{"t": 0, "e": "history", "v": 1}]
    for i, op in enumerate(ops):
        who = {"c": "c", "o": i}
        call = dict(who, t=op["t0"], e="call", row="r", op="put" if op["n"] else "highest")
        if op["n"]:
            call.update(key=op["name"], base="-:0", sha=[sha for sha, _ in op["cells"]])
            if op["if"] is not None:
                call["if"] = op["if"]
        events.append(call)
        if op["answer"] is not None:
            told = {"st": 201, "seq": op["answer"]} if op["n"] else {"st": 200,
                                                                     "highest": op["answer"]}
            events.append(dict(who, t=op["t1"], e="ret", inc="1", **told))
    events.append({"t": end, "e": "final", "m": "m", "row": "r", "inc": "1", "floor": 1,
                   "highest": len(final),
                   "cells": [[i + 1, sha, key] for i, (sha, key) in enumerate(final)]})
    return events


def _search(ops, final):
    """Is there an order of all operations, within real time, that gives all answers?"""
    def step(left, cells):
        if cells == final and all(op["n"] and op["answer"] is None for op in left):
            return True
        for op in left:
            if any(other["t1"] < op["t0"] for other in left):
                continue
            if op["n"]:
                if (op["answer"] not in (None, len(cells) + 1)
                        or op["if"] not in (None, len(cells))):
                    continue
                after = cells + op["cells"]
                if after != final[:len(after)]:
                    continue  # cells stay for ever
            elif op["answer"] != len(cells):
                continue
            else:
                after = cells
            if step([other for other in left if other is not op], after):
                return True
        return False
    return step(ops, [])

# SPDX-License-Identifier: Apache-2.0
"""What time demands of the lives of a row: order, freshness, floors, births and deaths.

judge() runs last, when all evidence and demands are in; the arguments stand in
timecheck.py.  Standard library only.
"""

import bisect
import itertools

import timecheck
from history import INFINITY, refused, unknown
from timecheck import CELL, PUT


def judge(row):
    possible = [(put, put.possible()) for put in row.puts.values()]
    sizes = [(put, min(op.t0 for op in ops), max(len(op.shas) for op in ops))
             for put, ops in possible if ops]
    by = timecheck.invoked_by([size[1:] for size in sizes])
    room = sum(size for put, _, size in sizes if put.life is None)
    floors = _allowed_floors(row)
    for life in row.lives.values():
        _sweeps(row, life)
        _middles(row, life)
        _gaps(row, life, room)
        for time, seq, kind, who in life.evidence:
            if kind != PUT and seq > by(time):
                row.bad("future", life, seq, "only %d cells had been put" % by(time), who)
        for time, floor, _, who in life.floors:
            if floor > floors(time, life.top):
                row.bad("floor", life, floor, "the floor, but nobody allowed it", who)
    _absences(row)
    _deaths(row)


def _sweeps(row, life):
    def found(name, late, early):
        text = "put behind seq %d" if late[2] == PUT else "the highest, behind seq %d"
        row.bad(name, life, late[1], text % early[1] + ", which was there before", early[3],
                late[3])

    def found_floor(_, late, early):
        row.bad("stale", life, late[1], "the floor, but it had been %d before" % early[1],
                early[3], late[3])

    timecheck.sweep(life.demands, life.evidence, found)
    timecheck.sweep(life.floor_demands, life.floors, found_floor)


def _middles(row, life):
    """No answer falls into the middle of an atomic put."""
    inside = {}
    for ident in life.places:
        put = row.puts.get(ident)
        if put is not None and put.life is life:
            inside.update((put.start + i, put) for i in range(len(put.shas) - 1))
    for _, seq, kind, who in life.evidence if inside else ():
        if kind not in (PUT, CELL) and seq in inside:
            row.bad("half", life, seq, "the highest, in the middle of an atomic put", who,
                    inside[seq])


def _gaps(row, life, room):
    """Seqs that nobody saw must have room for the puts that nobody saw."""
    known = set(life.cells)
    for ident in life.places:
        put = row.puts.get(ident)
        if put is not None and put.life is life:
            known.update(range(put.start, put.start + len(put.shas)))
    missing = life.top - sum(seq <= life.top for seq in known)
    if missing > room:
        holes = list(itertools.islice((seq for seq in itertools.count(1) if seq not in known), 8))
        row.bad("gap", life, holes[0], "%d seqs up to %d are no put's, and the puts that may be "
                "there have %d cells: %s" % (missing, life.top, room, holes))


# ------------------------------------------------------------------------ floors

def _allowed_floors(row):
    """Gives a function (time, highest) -> the greatest floor that anybody allowed."""
    asked = sorted((op.t0, op.want_floor) for op in row.ops
                   if op.op == "compact" and not refused(op.st))
    greatest = [1] + list(itertools.accumulate((floor for _, floor in asked), max))
    times = [time for time, _ in asked]
    policies = [op for op in row.ops if op.op == "make" and any(op.keep) and not refused(op.st)]

    def allowed(time, top):
        best = greatest[bisect.bisect_right(times, time)]
        for op in policies:
            if op.t0 <= time:
                # By bytes or age: cannot be told from here.
                best = INFINITY if op.keep[1] else max(best, top + 1 - op.keep[0])
        return best
    return allowed


# --------------------------------------------------------------- births and deaths

def _may_kill(op, inc):
    return op.op == "delete" and (unknown(op.st) or (op.st == 200 and op.inc in (None, inc)))


def _absences(row):
    """
    Somebody was told that a seq is not there.  Wrong when it had been seen before
    and no delete can explain it, or when that life was met again later.
    """
    deletes = [op for op in row.ops if op.op == "delete"]
    for life in row.lives.values() if row.absences else ():
        # The sweep has sorted the evidence by time.
        best = list(itertools.accumulate((one[1] for one in life.evidence), max))
        killers = min((op.t0 for op in deletes if _may_kill(op, life.inc)), default=INFINITY)
        for t0, t1, seq, who, name in row.absences:
            first = bisect.bisect_left(best, seq)
            if first == len(best) or life.evidence[first][0] >= t0:
                continue
            if killers > t1 or life.met > t1:
                row.bad(name, life, seq, "is not there, but had been%s"
                        % ("" if killers > t1 else ", and its life went on"),
                        life.evidence[first][3], who)


def _deaths(row):
    """Lives follow one another, and each but the last was ended by a delete."""
    deletes = [op for op in row.ops if op.op == "delete"]
    for op in deletes:
        life = row.lives.get(op.inc) if op.st == 200 else None
        if life is not None and (life.killed is None or op.t1 < life.killed.t1):
            life.killed = op
    order = timecheck.lives_in_order(
        {inc: (life.shown, life.met) for inc, life in row.lives.items()},
        lambda one, other: row.bad("incarnation", row.lives[one], None,
                                   "overlaps with incarnation %s" % other))
    spare = sum(_may_kill(op, None) for op in deletes)  # those that name no life
    last = next((final.inc for final in row.finals.values()), order[-1] if order else None)
    for inc in order:
        life = row.lives[inc]
        if life.killed is not None:
            _after_death(row, life)
        elif inc != last:
            spare -= 1
            if spare < 0:
                row.bad("incarnation", life, None, "ended, and no delete can have ended it")
                row.bad("lost", life, life.top, "%d seqs are gone with it" % life.top)


def _after_death(row, life):
    for time, _, _, who in life.demands:
        if time > life.killed.t1:
            row.bad("incarnation", life, None, "was met after its delete", life.killed, who)

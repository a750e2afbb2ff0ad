# SPDX-License-Identifier: Apache-2.0
"""Final states and reads: their shape, and what they prove and demand in time.

judge() runs behind places.judge() and leaves evidence and demands in the lives,
for lives.judge().  Standard library only.
"""

from history import READS
from timecheck import FINAL, READ, SEEN


def judge(row):
    for final in row.finals.values():
        _final(row, final)
    for op in row.ops:
        if op.st in (200, 201) and op.inc is not None:
            _answered(row, op, row.life(op.inc))
        elif op.st == 404 and op.op in READS and not op.stale:
            _nothing(row, op)
        elif op.st == 410 and op.op == "get" and op.floor and op.want >= op.floor:
            row.bad("contradiction", None, op.want, "410 at or above the floor %d" % op.floor, op)
    for put in row.puts.values():
        for op in put.attempts:
            if op.st == 412 and op.if_match is not None and op.highest is not None:
                _precondition(row, op)


# ------------------------------------------------------------------ final states

def _final(row, final):
    if final.inc is None:
        row.absences.append((final.t, final.t, 1, final, "lost"))
        return
    life = row.lives[final.inc]
    life.demands.append((final.t, final.highest, FINAL, final))
    life.saw(final.t, final.highest, FINAL, final)
    life.met_at(final.t, final.t)
    life.floors.append((final.t, final.floor, FINAL, final))
    missing = [seq for seq in range(final.floor, final.highest + 1) if seq not in final.cells][:8]
    if missing:
        row.bad("gap", life, missing[0], "seqs are missing: %s" % missing, final)
    beyond = [seq for seq in final.cells if seq > final.highest]
    if beyond:
        row.bad("contradiction", life, min(beyond), "above its highest", final)
    _acknowledged(row, life, final)


def _acknowledged(row, life, final):
    """Every acknowledged cell of this life from the floor on is there."""
    elsewhere = None
    for put in row.puts.values():
        ack = put.acks[0] if put.acks else None
        if ack is None or ack.inc != life.inc:
            continue
        for i, sha in enumerate(ack.shas):
            cell = final.cells.get(ack.seq + i)
            # Other bytes under its key were reported as changed.
            if ack.seq + i < final.floor or (cell and (cell[2] == ack.key if ack.key
                                                       else cell[1] == sha)):
                continue
            if elsewhere is None:
                elsewhere = {(one[2] if ack.key else "", one[1]) for one in final.cells.values()}
            if (ack.key, sha) not in elsewhere:  # else reported as a conflict or a double
                row.bad("lost", life, ack.seq + i, "acknowledged, and not at %s" % final.member,
                        ack, final)


# ------------------------------------------------------------------------- reads

def _answered(row, op, life):
    if op.op == "delete":
        life.met_at(op.t0, op.t1)
        return
    if op.floor is not None:
        life.floors.append((op.t1, op.floor, SEEN, op))
    # What a get of a known seq says besides may come from a copy (rows.md 4.1).
    fresh = op.op in ("latest", "highest", "range") and not op.stale
    if op.highest is not None:
        life.saw(op.t1, op.highest, READ if fresh else SEEN, op)
    if op.op in READS:
        _shape(row, op, life)
    if not fresh and op.op in READS:
        return
    life.met_at(op.t0, op.t1)
    if fresh:
        seq = op.cells[0][0] if op.op == "latest" and op.cells else op.highest
        life.demands.append((op.t0, seq, READ, op))
        if op.floor is not None:
            life.floor_demands.append((op.t0, op.floor, READ, op))


def _shape(row, op, life):
    seqs = [cell[0] for cell in op.cells]
    if op.least is not None and op.highest < op.least:
        row.bad("stale", life, op.highest, "asked for at least %d" % op.least, op)
    if seqs and seqs[-1] > op.highest:
        row.bad("contradiction", life, seqs[-1], "above its highest %d" % op.highest, op)
    if op.op == "get" and seqs != [op.want]:
        row.bad("contradiction", life, op.want, "got %s" % seqs, op)
    if op.op != "range":
        return
    end = op.highest if op.to is None else min(op.highest, op.to)
    if seqs != list(range(op.from_, op.from_ + len(seqs))):
        row.bad("gap", life, op.from_, "a range with seqs %s" % seqs[:20], op)
    elif op.from_ <= end and not seqs:
        row.bad("gap", life, op.from_, "an empty range, but the highest is %d" % op.highest, op)
    elif seqs and seqs[-1] > end:
        row.bad("contradiction", life, seqs[-1], "beyond the range", op)


def _nothing(row, op):
    """404: no row, or no such cell yet."""
    if op.op == "latest" and any(one.op == "compact" or (one.op == "make" and any(one.keep))
                                 for one in row.ops):
        return  # all cells may have been taken
    row.absences.append((op.t0, op.t1, op.want if op.op == "get" else 1, op, "stale"))


def _precondition(row, op):
    """412 says the highest seq: a linearizable read of it."""
    if op.highest == op.if_match:
        row.bad("if-match", None, op.if_match, "412, but the highest is what was asked for", op)
        return
    inc, seq = (op.base or op.new_base or "-:0").split(":")
    life = row.lives.get(op.inc or (inc if seq != "-" else None))
    if op.inc is None and inc == "-" and len(row.lives) == 1 and not any(
            one.op == "delete" for one in row.ops):
        life = next(iter(row.lives.values()))
    if life is not None:
        life.demands.append((op.t0, op.highest, READ, op))
        life.saw(op.t1, op.highest, READ, op)

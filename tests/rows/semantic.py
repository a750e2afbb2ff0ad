# SPDX-License-Identifier: Apache-2.0
"""Semantic checks of rows, replayed over the cells that are there in the end.

A replay needs every cell's text: that of its put ("data" in the history), or of
the final state.  A life is replayed up to the first cell whose text is not known, which
is noted.
Cells that a check cannot read are skipped, as the aggregator halves do.

Standard library only.
"""

import json

from history import Unreadable, sha_of


def parse(text):
    """ROW=unique or ROW=sum:TOTAL, ROW a name or a prefix with * at its end; (row, replay)."""
    row, equals, check = text.rpartition("=")
    name, _, argument = check.partition(":")
    if not equals or not row or name not in CHECKS or (
            argument and (name != "sum" or not argument.isascii() or not argument.isdigit())):
        raise Unreadable("--check %s: wants ROW=unique or ROW=sum[:TOTAL]" % text)
    return row, CHECKS[name], int(argument or 0)


def judge(row, check, argument):
    """Replays every life, as far as it is known."""
    texts = _texts(row)
    row.replayed = 0
    for life in row.lives.values():
        cells = []
        for seq in range(1, life.top + 1):
            text = texts.get(life.cells[seq][1]) if seq in life.cells else None
            if text is None:
                row.verdict.note("row %s incarnation %s: check not replayed from seq %d on, its text "
                                 "is not known" % (row.name, life.inc, seq))
                break
            cells.append((seq, text))
        row.replayed += len(cells)
        for seq, why in check(cells, argument):
            row.bad("check", life, seq, why, life.cells[seq][3])


def _texts(row):
    """{sha: text} of all puts and final states."""
    texts = {}
    for put in row.puts.values():
        for op in put.attempts:
            texts.update(zip(op.shas, op.data or ()))
    for final in row.finals.values():
        for cell in final.cells.values():
            if len(cell) > 3 and sha_of(cell[3].encode()) == cell[1]:
                texts[cell[1]] = cell[3]
    return texts


def _objects(cells):
    for seq, text in cells:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield seq, value


def _unique(cells, _):
    """middlepipes/unique/README.md: one holder a key, which it alone releases."""
    holders = {}
    for seq, value in _objects(cells):
        holder, key, freed = (value.get(name) for name in ("holder", "claim", "release"))
        if isinstance(key, str):
            if holders.setdefault(key, holder) != holder:
                yield seq, "%r claims %r, which %r holds" % (holder, key, holders[key])
        elif isinstance(freed, str):
            # Without a holder it is an administrator's, who may free anything that is held.
            if freed not in holders or holder not in (None, holders[freed]):
                yield seq, "%r releases %r of %r" % (holder, freed, holders.get(freed))
            holders.pop(freed, None)


def _sum(cells, total):
    """middlepipes/sum/README.md: what all names have never exceeds the total, none is below 0."""
    amounts, taken = {}, 0
    for seq, value in _objects(cells):
        if type(value.get("total")) is int:
            total = value["total"]
        name = value.get("name")
        if isinstance(name, str):
            before = amounts.get(name, 0)
            amounts[name] = _amount(value, before)
            taken += amounts[name] - before
        if amounts.get(name, 0) < 0:
            yield seq, "%r has %d" % (name, amounts[name])
        elif taken > total:
            yield seq, "%d in all, above %d" % (taken, total)


def _amount(value, before):
    """What a name has behind a cell."""
    for verb, sign in (("take", 1), ("give", -1)):
        if type(value.get(verb)) is int:
            return before + sign * value[verb]
    return value["set"] if type(value.get("set")) is int else before


CHECKS = {"unique": _unique, "sum": _sum}

# SPDX-License-Identifier: Apache-2.0
"""Semantic checks of rows, replayed over the cells that are there in the end.

A replay needs every cell's text: that of its put ("data" in the history), or of
the final state.  A life of which it is not all known is noted, not judged.
Cells that a check cannot read are skipped, as the aggregator halves do.

Standard library only.
"""

import json

from history import Unreadable, sha_of


def parse(text):
    """ROW=unique or ROW=sum:TOTAL, ROW a name or a prefix with * at its end; (row, replay)."""
    row, equals, check = text.rpartition("=")
    name, _, argument = check.partition(":")
    if not equals or not row or name not in CHECKS:
        raise Unreadable("--check %s: wants ROW=unique or ROW=sum:TOTAL" % text)
    if (name == "sum") != argument.isdigit():
        raise Unreadable("--check %s: sum wants a total, unique none" % text)
    return row, CHECKS[name], int(argument or 0)


def judge(row, check, argument):
    """Replays every life."""
    texts = {}  # sha: text, of all puts and final states
    for put in row.puts.values():
        for op in put.attempts:
            texts.update(zip(op.shas, op.data or ()))
    for final in row.finals.values():
        for cell in final.cells.values():
            if len(cell) > 3 and sha_of(cell[3].encode()) == cell[1]:
                texts[cell[1]] = cell[3]
    for life in row.lives.values():
        cells = []
        for seq in range(1, life.top + 1):
            text = texts.get(life.cells[seq][1]) if seq in life.cells else None
            if text is None:
                row.verdict.note("row %s incarnation %s: check not replayed, the text of seq %d "
                                 "is not known" % (row.name, life.inc, seq))
                break
            cells.append((seq, text))
        else:
            for seq, why in check(cells, argument):
                row.bad("check", life, seq, why, life.cells[seq][3])


def _objects(cells):
    for seq, text in cells:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield seq, value


def _unique(cells, _):
    """{"claim": KEY, "holder": H} and {"release": KEY, "holder": H}: one holder a key."""
    holders = {}
    for seq, value in _objects(cells):
        holder, key = value.get("holder"), value.get("claim")
        if isinstance(key, str):
            if holders.setdefault(key, holder) != holder:
                yield seq, "%r claims %r, which %r holds" % (holder, key, holders[key])
        elif isinstance(value.get("release"), str):
            key = value["release"]
            if holders.get(key, holder) != holder:
                yield seq, "%r releases %r, which %r holds" % (holder, key, holders[key])
            holders.pop(key, None)


def _sum(cells, total):
    """{"name": N, "take": A}, "give" or "set": the sum over names stays between 0 and total."""
    amounts = {}
    for seq, value in _objects(cells):
        name = value.get("name")
        take, give, fixed = (value.get(verb) for verb in ("take", "give", "set"))
        if not isinstance(name, str):
            continue
        if type(take) is int:
            amounts[name] = amounts.get(name, 0) + take
        elif type(give) is int:
            amounts[name] = amounts.get(name, 0) - give
        elif type(fixed) is int:
            amounts[name] = fixed
        if amounts.get(name, 0) < 0:
            yield seq, "%r has %d" % (name, amounts[name])
        elif sum(amounts.values()) > total:
            yield seq, "%d in all, above %d" % (sum(amounts.values()), total)


CHECKS = {"unique": _unique, "sum": _sum}

# SPDX-License-Identifier: Apache-2.0
"""Each put has one place: the cells that answers showed against the attempts that were made.

judge() runs when a Row has learnt every cell.  It sets Put.life, start, shas,
t0 and t1, which the rest builds on.  Standard library only.
"""

from history import INFINITY, refused
from row import ACK
from timecheck import PUT


def judge(row):
    for life in row.lives.values():
        for ident, seqs in life.places.items():
            _place(row, life, ident, sorted(seqs))
    for conflict in row.conflicts:
        _conflict(row, *conflict)
    for put in row.puts.values():
        _same_answers(row, put)
        if put.life is not None:
            _rules_of_place(row, put)


def _place(row, life, ident, seqs):
    put, entry = row.puts.get(ident), life.cells[seqs[0]]
    if put is None:
        row.bad("invented", life, seqs[0], "no put has key %s" % ident, entry[3])
        return
    found = _fit(life, seqs, put.acks) or _fit(life, seqs, put.possible())
    if found is None:
        _misplaced(row, life, put, seqs)
    elif put.life is not None:
        row.bad("doubled", life, seqs[0], "key %s is at seq %d of incarnation %s, too"
                % (ident, put.start, put.life.inc), entry[3], put)
    else:
        put.life, (put.start, put.shas) = life, found
        put.t0 = min(op.t0 for op in put.possible() if op.shas == put.shas)
        put.t1 = min((op.t1 for op in put.acks), default=INFINITY)


def _fit(life, seqs, ops, anywhere=False):
    """
    (start, shas) of one of the ops that explains exactly these seqs, or None.  An
    op that was acknowledged is where its answer says, unless `anywhere`.
    """
    shown = [(seq, life.cells[seq][:2]) for seq in seqs]
    ident = shown[0][1][0]
    for op in ops:
        n = len(op.shas)
        starts = range(max(1, seqs[-1] - n + 1), seqs[0] + 1)
        if op.st in (200, 201) and not anywhere:
            starts = [op.seq] if op.inc == life.inc else []
        fits = [start for start in starts if start <= seqs[0] and seqs[-1] < start + n
                and all(op.shas[seq - start] == entry[1] for seq, entry in shown)]
        # Cells of equal bytes leave a choice: rather where no other put is.
        fits.sort(key=lambda start, n=n: sum(life.cells.get(seq, (ident,))[0] != ident
                                             for seq in range(start, start + n)))
        if fits:
            return fits[0], op.shas
    return None


def _misplaced(row, life, put, seqs):
    """The cells of a key fit none of its attempts that may have worked: why?"""
    entry = life.cells[seqs[0]]
    text = "key %s is at %s" % (put.key, ", ".join(map(str, seqs[:8])))
    shas = sorted(life.cells[seq][1] for seq in seqs)
    if _fit(life, seqs, put.possible(), True) or _moved(row, life, put, seqs):
        name, text = "reordered", text + ", which is not where it was acknowledged"
    elif _fit(life, seqs, put.attempts):
        name, text = "refused", text + ", but every attempt with these bytes was refused"
    elif any(_more(shas, op.shas) for op in put.attempts):
        name, text = "doubled", text + ", which is more than it put"
    elif any(set(shas) <= set(op.shas) for op in put.attempts):
        name, text = "half", text + ", which is not one piece"
    else:
        name, text = "changed", text + " with bytes that it never put"
    row.bad(name, life, seqs[0], text, entry[3], put)


def _moved(row, life, put, seqs):
    """Is each cell beyond the acknowledged place one that another answer lacks there?"""
    if not put.acks:
        return False
    place = range(put.acks[0].seq, put.acks[0].seq + len(put.acks[0].shas))
    lacking = {seq for where, seq, _, _ in row.conflicts if where is life and seq in place}
    return 0 < sum(seq not in place for seq in seqs) <= len(lacking)


def _more(have, content):
    """Does a digest stand in `have` more often than in the content?"""
    return set(have) <= set(content) and any(have.count(sha) > content.count(sha)
                                             for sha in set(have))


def _conflict(row, life, seq, old, new):
    """Two answers differ at one seq."""
    text = "%s of key %s, but %s of key %s" % (old[1], old[0], new[1], new[0])
    if old[0] == new[0] or not (old[0] and new[0]):  # the same key, or none
        name = "changed"
    elif any(place != seq for place in life.places.get(new[0], ())):
        name = "reordered"
    elif ACK in (old[2], new[2]):
        name = "lost"
    else:
        name = "changed"
    row.bad(name, life, seq, text, old[3], new[3])
    if new[0] not in row.puts:
        row.bad("invented", life, seq, "no put has key %s" % new[0], new[3])
    elif all(refused(op.st) for op in row.puts[new[0]].attempts):
        row.bad("refused", life, seq, "every attempt of key %s was refused" % new[0], new[3])


def _same_answers(row, put):
    first = put.acks[0] if put.acks else None
    for op in put.acks:
        life = row.life(op.inc)
        if op.n is not None and op.n != len(op.shas):
            row.bad("half", life, op.seq, "%d of %d cells were taken" % (op.n, len(op.shas)), op)
        if (op.inc, op.seq) != (first.inc, first.seq):
            row.bad("doubled", life, op.seq, "key %s was acknowledged at two places" % put.key,
                    first, op)
        if op.shas != first.shas:
            row.bad("contradiction", life, op.seq,
                    "key %s was acknowledged with two contents" % put.key, first, op)
    done = min(put.acks, key=lambda op: op.t1, default=None)
    for op in put.attempts:
        if op.st in (409, 412) and done and done.t1 < op.t0 and op.shas == done.shas:
            row.bad("contradiction", None, done.seq, "refused with %d when it was sent again, "
                    "although it had been acknowledged" % op.st, done, op)
        if op.st == 422 and not any(other.shas != op.shas and other.t0 <= op.t1
                                    and not refused(other.st) for other in put.attempts):
            row.bad("contradiction", None, None, "422, but the key has no other content", op)


def _rules_of_place(row, put):
    life, start = put.life, put.start
    same = [op for op in put.possible() if op.shas == put.shas]
    asked = {op.if_match for op in same}
    if None not in asked and start - 1 not in asked:
        row.bad("if-match", life, start, "was asked for only behind seq %s"
                % ", ".join(map(str, sorted(asked))), put)
    for op in same:
        inc, seq = (op.base or op.new_base or "-:0").split(":")
        if inc == "-":
            continue
        # A base without a seq is that of a deleted life: the put belongs to a later one.
        if (inc == life.inc) == (seq == "-") or (seq != "-" and start <= int(seq)):
            row.bad("base", life, start, "its base was %s:%s" % (inc, seq), op)
            break
    life.demands.append((put.t0, start, PUT, put))
    life.met_at(put.t0, put.t1)
    if put.t1 < INFINITY:
        life.saw(put.t1, start + len(put.shas) - 1, PUT, put)
    if len(put.shas) > 1:
        _whole(row, put)


def _whole(row, put):
    """An atomic put has its whole place, also in the final states as far as the floor allows."""
    life, last = put.life, put.start + len(put.shas) - 1
    for seq in range(put.start, last + 1):
        entry = life.cells.get(seq)
        if entry is not None and entry[0] != put.key:
            row.bad("half", life, seq, "key %s, inside of the atomic put of key %s"
                    % (entry[0], put.key), entry[3], put)
    for final in life.finals:
        want = range(max(put.start, final.floor), last + 1)
        have = sum(_is_of(put, final.cells[seq]) for seq in want if seq in final.cells)
        if 0 < have < len(want):
            row.bad("half", life, put.start, "%d of %d cells of key %s are there"
                    % (have, len(want), put.key), final, put)


def _is_of(put, cell):
    key = put.attempts[0].key
    return cell[2] == key if key else cell[1] in put.shas

# SPDX-License-Identifier: Apache-2.0
"""Breaks the promises of a correct history, one at a time, in random places.

Each function of PLANTS takes a list of events (which it may change) and a random
generator, and returns the event list with the fault in it, or None where this
history has no place for it: a fault must be one that the history proves.  The
name is the one under which the checker must tell it.

Standard library only; used by tests/functional/71-checker.t.
"""

from rowmodel import sha_of


class Past:
    """An index of a history: calls with their answers, and where cells are."""

    def __init__(self, events, rng):
        self.events, self.rng = events, rng
        self.calls = {(e["c"], e["o"]): e for e in events if e["e"] == "call"}
        self.rets = {(e["c"], e["o"]): e for e in events if e["e"] == "ret"}
        self.finals = [e for e in events if e["e"] == "final"]
        self.life = {e["row"]: e.get("inc") for e in self.finals}
        self.floor = {e["row"]: e.get("floor", 1) for e in self.finals}

    def pairs(self, op, *statuses):
        """[(call, answer)] in random order."""
        out = [(call, self.rets[who]) for who, call in self.calls.items()
               if who in self.rets and call["op"] == op and self.rets[who]["st"] in statuses]
        self.rng.shuffle(out)
        return out

    def acked(self, n=None):
        """Acknowledged puts that the final states show."""
        return [(call, ret) for call, ret in self.pairs("put", 201)
                if self.life[call["row"]] == ret["inc"] and ret["seq"] >= self.floor[call["row"]]
                and call.get("key") and (n is None or (len(call["sha"]) == 1) == (n == 1))]

    def attempts(self, call):
        return [one for one in self.calls.values() if one["op"] == "put"
                and one["row"] == call["row"] and one.get("key") == call.get("key")]

    def once(self, pairs):
        """Those whose put was tried once."""
        return [(call, ret) for call, ret in pairs if len(self.attempts(call)) == 1]

    def seen_before(self, row, inc, time):
        """The greatest seq of this life that an answer had shown before `time`."""
        best = 0
        for who, ret in self.rets.items():
            call = self.calls[who]
            if ret["t"] < time and call["row"] == row and ret.get("inc") == inc:
                if call["op"] == "put" and ret["st"] in (200, 201):
                    best = max(best, ret["seq"] + len(call["sha"]) - 1)
                elif call["op"] in ("latest", "highest", "range", "get"):
                    best = max(best, ret["highest"])
        return best

    def remap(self, row, inc, seq_of):
        """Moves every cell of a life in every answer; seq_of(seq) None takes it away."""
        for event in self.events:
            call = self.calls.get((event.get("c"), event.get("o")), event)
            if call.get("row", event.get("row")) != row or event.get("inc") != inc:
                continue
            if "seq" in event:
                event["seq"] = seq_of(event["seq"]) or event["seq"]
            if "highest" in event:
                moved = [seq_of(seq) for seq in range(1, event["highest"] + 1)]
                event["highest"] = max([seq for seq in moved if seq], default=0)
            if "cells" in event:
                event["cells"] = sorted([seq_of(cell[0])] + cell[1:] for cell in event["cells"]
                                        if seq_of(cell[0]))


def _take(past, row, inc, seq):
    """The cell at seq was never there: all behind it moves up."""
    past.remap(row, inc, lambda one: one if one < seq else None if one == seq else one - 1)


def lost(past):
    """An acknowledged cell is in no final state; those behind it moved up, or not there yet."""
    for call, ret in past.acked(1):
        row, seq = call["row"], ret["seq"]
        for final in past.finals:
            if final["row"] == row:
                final["cells"] = [cell if cell[0] < seq else [cell[0] - 1] + cell[1:]
                                  for cell in final["cells"] if cell[0] != seq]
                final["highest"] -= 1
        return past.events
    return None


def lost_at_one(past):
    """One member does not have the last cells."""
    for call, ret in past.acked():
        final = past.rng.choice([one for one in past.finals if one["row"] == call["row"]])
        final["cells"] = [cell for cell in final["cells"] if cell[0] < ret["seq"]]
        final["highest"] = ret["seq"] - 1
        return past.events
    return None


def doubled(past):
    """An acknowledged put is there again, behind everything."""
    for call, ret in past.acked():
        for final in past.finals:
            if final["row"] == call["row"]:
                top = final["highest"]
                final["cells"] += [[top + 1 + i, sha, call["key"]]
                                   for i, sha in enumerate(call["sha"])]
                final["highest"] += len(call["sha"])
        return past.events
    return None


def doubled_answer(past):
    """A retry was acknowledged at another seq."""
    for call, ret in past.pairs("put", 200):
        if call.get("key") and any(
                past.rets.get((one["c"], one["o"]), {}).get("st") == 201
                for one in past.attempts(call)):
            ret["seq"] += past.rng.choice((1, 2, 5))
            return past.events
    return None


def reordered(past):
    """Two acknowledged puts, one after the other, have each other's seqs everywhere."""
    puts = past.once(past.acked(1))
    for call, ret in puts:
        for call2, ret2 in puts:
            if call2["row"] == call["row"] and ret["t"] < call2["t"]:
                for one in (call, call2):
                    one.pop("if", None)
                    one.pop("base", None)
                one, other = ret["seq"], ret2["seq"]
                past.remap(call["row"], ret["inc"],
                           lambda seq: other if seq == one else one if seq == other else seq)
                return past.events
    return None


def reordered_final(past):
    """Two cells changed places in the final states only."""
    for call, ret in past.acked():
        for final in past.finals:
            cells = final.get("cells", ())
            if final["row"] == call["row"] and len(cells) > 1:
                i = past.rng.randrange(len(cells) - 1)
                if cells[i][2] == cells[i + 1][2]:
                    return None
                cells[i][1:], cells[i + 1][1:] = cells[i + 1][1:], cells[i][1:]
                return past.events
    return None


def stale(past):
    """A linearizable read below what had been answered before it was invoked."""
    for call, ret in past.pairs("highest", 200):
        best = past.seen_before(call["row"], ret["inc"], call["t"])
        if not call.get("stale") and best > 0:
            ret["highest"] = past.rng.randrange(best)
            return past.events
    return None


def stale_latest(past):
    """The same with the latest cell, which is an earlier one."""
    for call, ret in past.pairs("latest", 200):
        best = past.seen_before(call["row"], ret["inc"], call["t"])
        final = next(one for one in past.finals if one["row"] == call["row"])
        older = [cell for cell in final.get("cells", ()) if cell[0] < best]
        if not call.get("stale") and final.get("inc") == ret["inc"] and older:
            ret["cells"] = [list(past.rng.choice(older))]
            ret["highest"] = ret["cells"][0][0]
            return past.events
    return None


def stale_missing(past):
    """404 for a cell that had been acknowledged."""
    if any(one["op"] == "delete" for one in past.calls.values()):
        return None
    for call, ret in past.pairs("get", 200):
        if not call.get("stale") and call["seq"] <= past.seen_before(call["row"], ret["inc"],
                                                                    call["t"]):
            for field in ("inc", "highest", "floor", "cells"):
                del ret[field]
            ret["st"] = 404
            return past.events
    return None


def gap(past):
    """A seq is missing in the final states."""
    past.rng.shuffle(past.finals)
    for final in past.finals:
        if len(final.get("cells", ())) > 2:
            del final["cells"][past.rng.randrange(1, len(final["cells"]) - 1)]
            return past.events
    return None


def gap_stream(past):
    """A subscription leaves a cell out."""
    cells = [i for i, e in enumerate(past.events) if e["e"] == "cell"]
    past.rng.shuffle(cells)
    for i in cells:
        this = past.events[i]
        if any(e["e"] == "cell" and (e["c"], e["o"]) == (this["c"], this["o"])
               for e in past.events[i + 1:]):
            del past.events[i]
            return past.events
    return None


def gap_range(past):
    """A range leaves a cell out."""
    for _, ret in past.pairs("range", 200):
        if len(ret["cells"]) > 2:
            del ret["cells"][past.rng.randrange(len(ret["cells"]) - 1)]
            return past.events
    return None


def changed(past):
    """A known seq has other bytes in one answer."""
    where = [e for e in past.events if e["e"] == "cell" or e.get("cells")]
    if not where:
        return None
    event = past.rng.choice(where)
    other = "%016x" % past.rng.getrandbits(64)
    if event["e"] == "cell":
        event["sha"] = other
    else:
        cell = past.rng.choice(event["cells"])
        cell[1] = other
    return past.events


def invented(past):
    """A key that nobody put."""
    where = [e for e in past.events if e.get("cells")]
    if not where:
        return None
    past.rng.choice(past.rng.choice(where)["cells"])[1:] = ["%016x" % past.rng.getrandbits(64),
                                                            "nobody's"]
    return past.events


def refused(past):
    """A put that is there was refused."""
    for _, ret in past.once(past.acked()):
        ret["st"] = past.rng.choice((409, 412, 413, 410, 507, 503, 1))
        for field in ("inc", "seq", "n"):
            del ret[field]
        return past.events
    return None


def half(past):
    """One cell of an atomic put is there nowhere; everything else moved up."""
    for call, ret in past.acked(2):
        _take(past, call["row"], ret["inc"],
              ret["seq"] + past.rng.randrange(len(call["sha"])))
        ret["n"] = len(call["sha"])
        return past.events
    return None


def half_unknown(past):
    """The same of a put whose outcome nobody knew."""
    for call, ret in past.once(past.acked(2)):
        del past.events[next(i for i, event in enumerate(past.events) if event is ret)]
        seq = ret["seq"] + past.rng.randrange(len(call["sha"]))
        if not any(event.get("cells") and any(cell[0] == seq for cell in event["cells"])
                   for event in past.finals if event["row"] == call["row"]):
            return None
        _take(past, call["row"], ret["inc"], seq)
        return past.events
    return None


def half_read(past):
    """A read of the highest falls into the middle of an atomic put."""
    for call, ret in past.acked(2):
        for _, read in past.pairs("highest", 200):
            if read["inc"] == ret["inc"] and read["highest"] >= ret["seq"]:
                read["highest"] = ret["seq"] + past.rng.randrange(len(call["sha"]) - 1)
                return past.events
    return None


def if_match(past):
    """A conditional put was applied although the highest was another."""
    for call, ret in past.acked():
        if "if" in call:
            other = call["if"] + past.rng.choice((-1, 1, 3))
            for one in past.attempts(call):
                one["if"] = max(0, other) if other >= 0 else call["if"] + 1
            return past.events
    return None


def if_match_refused(past):
    """412 although the highest was what was asked for."""
    for call, ret in past.pairs("put", 412):
        ret["highest"] = call["if"]
        return past.events
    return None


def base(past):
    """A put was applied at or below its base."""
    for call, ret in past.acked():
        if call.get("base"):
            other = "%s:%d" % (ret["inc"], ret["seq"] + past.rng.randrange(3))
            for one in past.attempts(call):
                one["base"] = other
            return past.events
    return None


def future(past):
    """A read shows what was invoked only after it."""
    for call, ret in past.pairs(past.rng.choice(("highest", "latest")), 200):
        for put, ack in past.acked():
            first = min(one["t"] for one in past.attempts(put))
            if ack["inc"] == ret["inc"] and first > ret["t"]:
                ret["highest"] = ack["seq"] + len(put["sha"]) - 1
                if call["op"] == "latest":
                    ret["cells"] = [[ret["highest"], put["sha"][-1], put["key"]]]
                return past.events
    return None


def repeat(past):
    """A subscription gives a cell twice."""
    cells = [i for i, e in enumerate(past.events) if e["e"] == "cell"]
    if not cells:
        return None
    i = past.rng.choice(cells)
    past.events.insert(i, dict(past.events[i]))
    return past.events


def resumed(past):
    """A subscription was resumed one too far, and nobody noticed."""
    subs = [e for e in past.events if e["e"] == "sub" and "s" in e]
    past.rng.shuffle(subs)
    for sub in subs:
        got = [i for i, e in enumerate(past.events) if e["e"] == "cell"
               and (e["c"], e["o"]) == (sub["c"], sub["o"])]
        if len(got) > 1:
            sub["from"] += 1
            del past.events[got[0]]
            return past.events
    return None


def floor(past):
    """A floor that nobody allowed: what is below it was taken."""
    past.rng.shuffle(past.finals)
    for final in past.finals:
        asked = [one["floor"] for one in past.calls.values()
                 if one["op"] == "compact" and one["row"] == final["row"]]
        if final.get("highest", 0) > max(asked, default=1):
            final["floor"] = past.rng.randrange(max(asked, default=1), final["highest"]) + 1
            final["cells"] = [cell for cell in final["cells"] if cell[0] >= final["floor"]]
            return past.events
    return None


def incarnation(past):
    """A row began anew and nobody had deleted it."""
    for final in past.finals:
        if final.get("highest", 0) > 3 and not any(
                one["op"] == "delete" and one["row"] == final["row"]
                for one in past.calls.values()):
            for other in past.finals:
                if other["row"] == final["row"]:
                    other.update(inc="%016x" % 77, highest=0, floor=1, cells=[])
            return past.events
    return None


def contradiction(past):
    """A retry is refused although the put had been acknowledged before."""
    for call, ret in past.pairs("put", 200):
        if any(past.rets.get((one["c"], one["o"]), {}).get("st") in (200, 201)
               and past.rets[one["c"], one["o"]]["t"] < call["t"]
               for one in past.attempts(call)):
            ret["st"] = past.rng.choice((409, 412))
            for field in ("inc", "seq", "n"):
                del ret[field]
            return past.events
    return None


def check(past):
    """Two hold one key (row u)."""
    acks = [(call, ret) for call, ret in past.acked(1) if call["row"] == "u" and "data" in call]
    for call, ret in acks:
        for other, ack in acks:
            if ack["seq"] > ret["seq"] and call["sha"] != other["sha"] and past.floor["u"] == 1:
                return _hold(past, call["data"][0], other["data"][0])
    return None


def _hold(past, *texts):
    """Both texts claim a key that nobody else names, in all answers."""
    new = {old: '{"claim":"both","holder":"%d"}' % i for i, old in enumerate(texts)}
    shas = {sha_of(old.encode()): sha_of(text.encode()) for old, text in new.items()}
    for event in past.events:
        if event["e"] == "cell":
            event["sha"] = shas.get(event["sha"], event["sha"])
        elif "sha" in event:
            event["sha"] = [shas.get(sha, sha) for sha in event["sha"]]
        if "data" in event:
            event["data"] = [new.get(text, text) for text in event["data"]]
        for cell in event.get("cells", ()):
            cell[1] = shas.get(cell[1], cell[1])
    return past.events


# [(name that the checker must tell, function)]
PLANTS = [(function.__name__.split("_")[0] if function is not if_match
           and function is not if_match_refused else "if-match", function) for function in (
    lost, lost_at_one, doubled, doubled_answer, reordered, reordered_final, stale, stale_latest,
    stale_missing, gap, gap_stream, gap_range, changed, invented, refused, half, half_unknown,
    half_read, if_match, if_match_refused, base, future, repeat, resumed, floor, incarnation,
    contradiction, check)]


def plant(function, events, rng):
    return function(Past(events, rng))

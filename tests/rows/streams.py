# SPDX-License-Identifier: Apache-2.0
"""Subscriptions: each cell from `from` on once, in order, at any member, also across resumptions.

learn() runs with Row.gather(), judge() before lives.judge().  Standard library only.
"""

from row import STREAM
from timecheck import CELL, SEEN


def learn(rows, stream):
    """Tells the rows which cells this connection showed."""
    for event in stream.events:
        row = rows[event[2]]
        if len(event) == 8:
            t, at, _, inc, seq, sha, key, _ = event
            life = row.learn(inc, seq, key, sha, STREAM, _Shown(stream.who, at))
            life.saw(t, seq, CELL, _Shown(stream.who, at))
        else:
            t, at, _, inc, highest, floor = event
            life = row.life(inc)
            life.saw(t, highest, SEEN, _Shown(stream.who, at))
            life.floors.append((t, floor, SEEN, _Shown(stream.who, at)))


class _Shown(tuple):
    """What a subscription gave, as evidence."""
    __slots__ = ()

    def __new__(cls, *parts):
        return tuple.__new__(cls, parts)

    def __str__(self):
        return "%s subscription (%s)" % self


class _Place:
    """Where a connection is in one life of a row."""
    __slots__ = ("next", "highest", "floor")

    def __init__(self, next_seq):
        self.next, self.highest, self.floor = next_seq, 0, 1


def judge(rows, stream):
    places = {}  # (row, incarnation): _Place
    for event in stream.events:
        name, inc = event[2:4]
        row = rows[name]
        if (stream.row is not None and name != stream.row) or (
                stream.prefix is not None and not name.startswith(stream.prefix)):
            row.bad("contradiction", None, None, "not what was subscribed to",
                    _Shown(stream.who, event[1]))
            continue
        if stream.inc is not None and inc != stream.inc:
            row.bad("incarnation", row.life(inc), None, "subscribed to incarnation %s" % stream.inc,
                    _Shown(stream.who, event[1]))
        place = places.setdefault((name, inc), _Place(stream.from_))
        (_cell if len(event) == 8 else _beat)(row, stream, place, event)
    lives = {name for name, _ in places}
    if stream.row is not None and len(places) > len(lives):
        rows[stream.row].bad("incarnation", None, None, "two lives on one connection", stream.at)
    _wanted(rows, stream, places)


def _cell(row, stream, place, event):
    inc, seq = event[3:5]
    begin = place.next
    if stream.prefix is not None and begin == stream.from_:
        begin = max(begin, place.floor)  # a prefix has no floor to be refused with
    if seq != begin:
        name = "repeat" if seq < begin else "gap"
        row.bad(name, row.life(inc), seq, "delivered, where %d was next" % begin,
                _Shown(stream.who, event[1]), "opened at %s from %d" % (stream.at, stream.from_))
    place.next = seq + 1
    place.highest = max(place.highest, seq)


def _beat(row, stream, place, event):
    inc, highest, floor = event[3:]
    if highest < place.highest:
        row.bad("repeat", row.life(inc), highest, "heartbeat, but %d had been on this connection"
                % place.highest, _Shown(stream.who, event[1]))
    if floor > highest + 1:
        row.bad("contradiction", row.life(inc), highest, "floor %d" % floor,
                _Shown(stream.who, event[1]))
    place.floor = max(place.floor, floor)
    place.highest = max(place.highest, highest)


def _wanted(rows, stream, places):
    """The client waited until it had this seq, and says so at the end."""
    if stream.end is None or stream.end[4] is None or stream.row is None:
        return
    reached = max((place.next for place in places.values()), default=stream.from_) - 1
    if reached < stream.end[4]:
        rows[stream.row].bad("gap", None, stream.end[4], "was never delivered, only up to %d"
                             % reached, "%s (%s)" % (stream.who, stream.end[1]))


def judge_resumptions(rows, streams):
    """Connections of one logical subscription follow one another without gap or repeat."""
    chains = {}
    for stream in streams:
        if stream.row is not None:
            chains.setdefault(stream.logical, []).append(stream)
    for chain in chains.values():
        chain.sort(key=lambda stream: stream.t0)
        next_seq = inc = None
        for stream in chain:
            row, last = rows[stream.row], _last(stream)
            if next_seq is not None and stream.from_ != next_seq and (
                    last is None or inc in (None, last[3])):
                row.bad("resumed", None, stream.from_, "resumed there, but %d was next" % next_seq,
                        "%s (%s)" % (stream.who, stream.at))
            if last is not None:
                next_seq, inc = last[4] + 1, last[3]
            elif next_seq is None:
                next_seq = stream.from_


def _last(stream):
    return next((event for event in reversed(stream.events) if len(event) == 8), None)

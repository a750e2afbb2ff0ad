# SPDX-License-Identifier: Apache-2.0
"""One row: everything that was said about it, gathered by life and seq.

check_history makes one for each row (rows are independent of one another), adds
what concerns it, and has it judged: places.py gives each put its place,
answers.py judges final states and reads, streams.py subscriptions, lives.py
what time demands.  Standard library only.
"""

from history import INFINITY, Unreadable, refused

ACK, ANSWER, STREAM, STATE = "acknowledged", "answered", "delivered", "final state"


class Put:
    """All attempts under one key."""
    __slots__ = ("key", "attempts", "life", "start", "shas", "t0", "t1", "acks")

    def __init__(self, key):
        self.key, self.attempts, self.acks = key, [], []
        self.life, self.start, self.shas = None, None, ()  # where it is; None: seen nowhere
        self.t0 = self.t1 = INFINITY  # first invocation that may have worked, first acknowledgement

    def possible(self):
        """The attempts that may have worked."""
        return [op for op in self.attempts if not refused(op.st)]

    def __str__(self):
        return "put of key %s: %s" % (self.key, "; ".join(map(str, self.attempts[:6])))


class Life:
    """One incarnation."""
    __slots__ = ("inc", "cells", "places", "demands", "evidence", "shown", "met", "finals",
                 "floors", "floor_demands", "top", "killed")

    def __init__(self, inc):
        self.inc = inc
        self.cells = {}  # seq: (ident, sha, kind of source, what said so)
        self.places = {}  # ident: [seqs]
        self.demands, self.evidence = [], []  # for timecheck.sweep()
        self.shown, self.met = INFINITY, -INFINITY  # for timecheck.lives_in_order()
        self.finals = []  # Final
        self.floors, self.floor_demands = [], []  # for timecheck.sweep(), floors instead of seqs
        self.top = 0  # greatest seq that anything mentions
        self.killed = None  # the acknowledged delete

    def saw(self, time, seq, kind, who):
        """At `time` somebody knew that seq was there."""
        self.evidence.append((time, seq, kind, who))
        self.shown = min(self.shown, time)
        self.top = max(self.top, seq)

    def met_at(self, invoked, returned):
        """An operation found this life alive at some time between the two."""
        self.met, self.shown = max(self.met, invoked), min(self.shown, returned)


class Final:
    """The state of the row at one member in the end; its lines put together."""
    __slots__ = ("member", "inc", "highest", "floor", "cells", "t", "at")

    def __init__(self, t, at, member, inc, highest, floor):
        self.t, self.at, self.member, self.inc = t, at, member, inc
        self.highest, self.floor, self.cells = highest, floor, {}

    def __str__(self):
        return "final state at %s (%s)" % (self.member, self.at)


class Row:
    def __init__(self, name, verdict):
        self.name, self.verdict = name, verdict
        self.puts = {}  # ident: Put; the ident is the key, or made of the content without one
        self.keyless = {}  # sha: ident, of puts without a key
        self.lives = {}  # incarnation: Life
        self.ops = []  # all but puts
        self.finals = {}  # member: Final
        self.conflicts = []  # (life, seq, old entry, new entry)
        self.absences = []  # (from, to, seq, who, name): seq was not there then
        self.replayed = None  # cells that its semantic check was replayed over; None: it has none

    def bad(self, name, life, seq, text, *events):
        self.verdict.bad(name, self.name, life.inc if life else None, seq, text, *events)

    def add(self, op):
        if op.op != "put":
            self.ops.append(op)
            return
        ident = op.key or "(none, content %s)" % op.shas[0]
        if not op.key:
            if any(sha in self.keyless for sha in op.shas):
                raise Unreadable("%s: two puts without a key have the same content" % op.at)
            self.keyless.update((sha, ident) for sha in op.shas)
        if ident not in self.puts:
            self.puts[ident] = Put(ident)
        self.puts[ident].attempts.append(op)

    def add_final(self, t, at, member, inc, highest, floor, cells):
        final = self.finals.get(member)
        if final is None:
            final = self.finals[member] = Final(t, at, member, inc, highest, floor)
        elif (final.inc, final.highest, final.floor) != (inc, highest, floor):
            raise Unreadable("%s: another state than in %s" % (at, final.at))
        for cell in cells:
            if cell[0] in final.cells:
                raise Unreadable("%s: seq %d stands twice in this final state" % (at, cell[0]))
            final.cells[cell[0]] = cell

    def life(self, inc):
        if inc not in self.lives:
            self.lives[inc] = Life(inc)
        return self.lives[inc]

    def learn(self, inc, seq, key, sha, kind, who):
        """A cell was shown.  Its first showing counts; another that differs is a conflict."""
        life = self.life(inc)
        ident = key if key in self.puts else self.keyless.get(sha, key)
        old = life.cells.get(seq)
        if old is None:
            life.cells[seq] = (ident, sha, kind, who)
            life.places.setdefault(ident, []).append(seq)
            life.top = max(life.top, seq)
        elif old[0] != ident or old[1] != sha:
            self.conflicts.append((life, seq, old, (ident, sha, kind, who)))
        return life

    def gather(self):
        """Learns from everything but subscriptions, which streams.py adds."""
        for put in self.puts.values():
            _one_client_rule(put)
            for op in put.attempts:
                if op.st in (200, 201):
                    put.acks.append(op)
                    for i, sha in enumerate(op.shas):
                        self.learn(op.inc, op.seq + i, op.key, sha, ACK, op)
        for final in self.finals.values():
            if final.inc is not None:
                self.life(final.inc).finals.append(final)
                for seq, cell in final.cells.items():
                    self.learn(final.inc, seq, cell[2], cell[1], STATE, final)
        for op in self.ops:
            for cell in op.cells if op.inc is not None else ():
                self.learn(op.inc, cell[0], cell[2], cell[1], ANSWER, op)


def _one_client_rule(put):
    """A put is sent again with its base, or nobody can say what must happen."""
    put.attempts.sort(key=lambda op: op.t0)
    base = first = None
    for op in put.attempts:
        if first is not None and (base is None or op.base != base):
            raise Unreadable("%s: key %s is sent again with base %s, but was with %s (%s)"
                             % (op.at, put.key, op.base, base, first.at))
        if first is None and not refused(op.st):
            first, base = op, op.base or op.new_base

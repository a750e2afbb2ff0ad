# SPDX-License-Identifier: Apache-2.0
"""What the checker found: violations by name, each with the events that show it.

NAMES is the whole list of promises; README.md explains each.  Standard library only.
"""

NAMES = {
    "lost": "what was acknowledged or read is not in a final state",
    "doubled": "one key was applied at two places",
    "reordered": "the order of seqs is not the order in time, or differs between answers",
    "gap": "seqs are missing in a range, a final state, a subscription or a life of a row",
    "changed": "a known seq has other bytes or another key in another answer",
    "invented": "a cell that nobody put",
    "refused": "a put whose every attempt was refused is there",
    "half": "an atomic put is there in part, or a read fell into its middle",
    "if-match": "a conditional put was applied at another highest seq, or a 412 contradicts itself",
    "base": "a put was applied in another incarnation than, or at or below, its base",
    "stale": "a linearizable read below what was acknowledged or read before it was invoked",
    "future": "an answer shows what was invoked only after it",
    "repeat": "a subscription gave a cell again, or went back",
    "resumed": "a resumed subscription did not begin behind the last cell, or differs from it",
    "floor": "cells were taken that nobody allowed to be taken",
    "incarnation": "two lives of a row overlap, or one ended without a delete",
    "contradiction": "an answer contradicts itself or another answer to the same put",
    "check": "the cells break the row's semantic check",
    "faults": "a demanded fault did not happen, or met no put in flight",
}


class Verdict:
    """Collects; any number of each name is counted, the first `limit` are kept."""

    def __init__(self, limit=20):
        self.limit = limit
        self.counts = {}  # name: how many
        self.kept = []  # {name, row, inc, seq, text, events}
        self.notes = []  # what could not be checked, for people

    def bad(self, name, row, inc, seq, text, *events):
        """events: anything that prints as what happened and where it stands."""
        assert name in NAMES
        self.counts[name] = self.counts.get(name, 0) + 1
        if self.counts[name] <= self.limit:
            self.kept.append({"name": name, "row": row, "inc": inc, "seq": seq, "text": text,
                              "events": [str(event) for event in events]})

    def note(self, text):
        self.notes.append(text)

    def names(self):
        return sorted(self.counts)

    def lines(self):
        """The account, for people."""
        for one in self.kept:
            where = "row %s" % one["row"] if one["row"] is not None else "history"
            where += " incarnation %s" % one["inc"] if one["inc"] else ""
            where += " seq %d" % one["seq"] if one["seq"] is not None else ""
            yield "%s: %s: %s" % (one["name"], where, one["text"])
            for event in one["events"]:
                yield "    " + event
        for name, count in sorted(self.counts.items()):
            if count > self.limit:
                yield "%s: and %d more" % (name, count - self.limit)

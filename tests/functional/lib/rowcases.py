# SPDX-License-Identifier: Apache-2.0
"""Small histories by hand, each with the names under which it must be told.

What the seeded model seldom or never does.  CASES is [(what, names, events)]; an
empty list of names says that everything holds.  Standard library only; used by
tests/functional/71-checker.t.
"""


class Tale:
    """Events of row r, each call a second after the one before unless `at` says when."""

    def __init__(self):
        self.events, self.count, self.now = [{"t": 0, "e": "history", "v": 1}], 0, 0

    def call(self, op, st=200, at=None, **fields):
        """fields with a trailing _ are the answer's; st None: no answer."""
        self.count += 1
        begin, end = at or (self.now + 10, self.now + 20)
        self.now = max(self.now, begin, end)
        who = {"c": "c", "o": self.count}
        answer = {name[:-1]: fields.pop(name) for name in list(fields) if name.endswith("_")}
        self.events.append(dict(who, t=begin, e="call", op=op, row="r", **fields))
        if st is not None:
            self.events.append(dict(who, t=end, e="ret", st=st, **answer))
        return self

    def put(self, key, seq=None, st=201, inc="1", base="-:0", sha=None, **fields):
        answer = {"inc_": inc, "seq_": seq} if st in (200, 201) else {}
        fields.update({"key": key, "base": base} if key else {})
        return self.call("put", st, sha=sha or ["a" + key[1:] if key else "aa"], **answer, **fields)

    def read(self, highest, inc="1", floor=1, op="highest", **fields):
        return self.call(op, inc_=inc, highest_=highest, floor_=floor, **fields)

    def event(self, event, **fields):
        self.now += 10
        self.events.append(dict({"t": self.now, "e": event}, **fields))
        return self

    def sub(self, *events, **fields):
        """A connection; events are seqs (cell k<seq>), pairs (highest, floor), or an end."""
        self.count += 1
        who = {"c": "c", "o": self.count}
        what = {} if "prefix" in fields else {"row": "r"}
        self.event("sub", **(who | what | {"from": 1} | fields))
        for one in events:
            if isinstance(one, int):
                self.event("cell", row="r", inc="1", seq=one, sha="a%d" % one, key="k%d" % one,
                           **who)
            elif isinstance(one, tuple):
                self.event("beat", row="r", inc="1", highest=one[0], floor=one[1], **who)
            else:
                self.event("end", **who, **one)
        return self

    def final(self, *cells, inc="1", floor=1, highest=None):
        """cells: numbers i for cell k<i> with content a<i>, at seqs from floor on."""
        if inc is None:
            return self.event("final", m="m", row="r")
        cells = [[floor + i, "a%s" % cell, "k%s" % cell] for i, cell in enumerate(cells)]
        top = floor + len(cells) - 1 if highest is None else highest
        return self.event("final", m="m", row="r", inc=inc, floor=floor, highest=top, cells=cells)


def tale():
    return Tale()


def two():
    """Two cells are there."""
    return Tale().put("k1", 1).put("k2", 2)


CASES = [(what, names, story.events) for what, names, story in (
    ("a commit after its time-out, and after a read that did not show it", [],
     tale().put("k1", st=504, at=(10, 20)).read(0).read(1).final(1)),
    ("a cell that goes again", ["stale"],
     tale().put("k1", st=504, at=(10, 20)).read(1).read(0).final(1)),
    ("a put without any answer that is there", [], tale().put("k1", st=None).final(1)),
    ("a put without any answer that is not", [], tale().put("k1", st=None).final(highest=0)),
    ("a put that never left and is there", ["future", "refused"],
     tale().put("k1", st=1).final(1)),
    ("a put that got 507 and is there", ["future", "refused"],
     tale().put("k1", st=507).final(1)),
    ("what was read before the attempt that may have worked", ["future"],
     tale().put("k1", st=503, at=(10, 20)).sub(1).put("k1", 1).final(1)),
    ("a highest above all cells that had been put", ["future", "gap"],
     tale().put("k1", 1).read(3).call("delete", inc_="1").final(inc=None)),
    ("a hole in a life that is over", ["gap"],
     tale().put("k1", 1).put("k2", 3).call("delete", inc_="1").final(inc=None)),
    ("the same hole, which an unknown put may fill", [],
     tale().put("k1", 1).put("k2", st=504, at=(31, 39)).put("k3", 3)
     .call("delete", inc_="1").final(inc=None)),
    ("a read of a deleted life", ["incarnation"],
     two().call("delete", inc_="1").read(2).final(inc=None)),
    ("a put into a deleted life", ["incarnation"],
     two().call("delete", inc_="1").put("k3", 3).final(inc=None)),
    ("a copy that still has the deleted life", [],
     two().call("delete", inc_="1").read(2, stale=True).final(inc=None)),
    ("a row that went without a delete", ["incarnation", "lost"], two().final(inc=None)),
    ("a row that went with a delete of unknown outcome", [],
     two().call("delete", 504).final(inc=None)),
    ("two lives and one delete of unknown outcome", [],
     two().call("delete", 504).put("k3", 1, inc="2", base="1:-").final(3, inc="2")),
    ("two lives that overlap", ["incarnation"],
     tale().put("k1", 1).put("k2", 1, inc="2").call("delete", 504).put("k3", 2)
     .final(2, inc="2")),
    ("a base of a deleted life, applied in it", ["base"], tale().put("k1", 1, base="1:-").final(1)),
    ("a base of another life", ["base"], tale().put("k1", 1, base="2:0").final(1)),
    ("a retry that was applied in the next life", ["doubled"],
     tale().put("k1", 1).call("delete", inc_="1").put("k1", 1, inc="2").final(1, inc="2")),
    ("404 behind an acknowledgement", ["stale"], two().call("latest", 404).final(1, 2)),
    ("404 of a seq that is not there yet", [],
     two().call("get", 404, seq=3).put("k3", 3).final(1, 2, 3)),
    ("404 while a delete of unknown outcome may have worked", [],
     two().call("delete", 504).call("latest", 404).final(inc=None)),
    ("404, and the life goes on", ["stale"],
     two().call("delete", 504).call("latest", 404).read(2).final(1, 2)),
    ("404 from a copy", [], two().call("latest", 404, stale=True).final(1, 2)),
    ("410 at the floor", ["contradiction"],
     two().call("compact", floor=2, inc_="1", highest_=2, floor_=2)
     .call("get", 410, seq=2, floor_=2).final(2, floor=2)),
    ("a floor that goes back", ["stale"],
     two().call("compact", floor=2, inc_="1", highest_=2, floor_=2).read(2).final(2, floor=2)),
    ("a floor by the row's policy", [],
     tale().call("make", keep_cells=1, inc_="1", highest_=0, floor_=1).put("k1", 1).put("k2", 2)
     .final(2, floor=2)),
    ("a floor above the row's policy", ["floor"],
     tale().call("make", keep_cells=2, inc_="1", highest_=0, floor_=1).put("k1", 1).put("k2", 2)
     .final(2, floor=2)),
    ("a floor that was asked for only later", ["floor"],
     two().read(2, floor=2).call("compact", floor=2, inc_="1", highest_=2, floor_=2)
     .final(2, floor=2)),
    ("422 without other bytes", ["contradiction"],
     tale().put("k1", 1).put("k1", st=422).final(1)),
    ("422 for other bytes", [], tale().put("k1", 1).put("k1", st=422, sha=["bb"]).final(1)),
    ("200 for other bytes", ["changed", "contradiction"],
     tale().put("k1", 1).put("k1", 1, st=200, sha=["bb"]).final(1)),
    ("412 while an earlier attempt is unanswered, which worked", [],
     tale().put("k1", st=504, at=(10, 20), **{"if": 0})
     .put("k1", st=412, highest_=1, **{"if": 0}).final(1)),
    ("412 with a highest that never was", ["future", "gap", "lost"],
     tale().put("k1", st=412, highest_=4, **{"if": 2}).put("k2", 1).final(2)),
    ("at least a seq, and less", ["stale"], two().read(2, least=3).final(1, 2)),
    ("a put without a key that is gone", ["lost"], tale().put("", 1).final(highest=0)),
    ("201 for fewer cells", ["half", "lost"],
     tale().put("k1", 1, sha=["a1", "a2"], n_=1).put("k2", 2).final(1, 2)),
    ("a range that stops early", [],
     two().read(2, op="range", cells_=[[1, "a1", "k1"]], **{"from": 1}).final(1, 2)),
    ("an empty range", ["gap"], two().read(2, op="range", cells_=[], **{"from": 1}).final(1, 2)),
    ("a subscription, and one from the middle", [],
     two().sub((2, 1), 1, 2, {"code": "closed", "want": 2}).sub(2, **{"from": 2}).final(1, 2)),
    ("a subscription that begins late", ["gap"], two().sub(2).final(1, 2)),
    ("a subscription that never gave the last", ["gap"],
     two().sub(1, {"code": "closed", "want": 2}).final(1, 2)),
    ("a heartbeat that goes back", ["repeat"], two().sub((2, 1), (1, 1)).final(1, 2)),
    ("a subscription of another incarnation", ["incarnation"], two().sub(1, inc="2").final(1, 2)),
    ("a subscription of another prefix", ["contradiction"], two().sub(1, prefix="q").final(1, 2)),
    ("a prefix from the floor on", [],
     two().call("compact", floor=2, inc_="1", highest_=2, floor_=2)
     .sub((2, 2), 2, prefix="r").final(2, floor=2)),
    ("a resumed subscription that repeats", ["resumed"],
     two().sub(1, 2).sub(2, s=3, **{"from": 2}).final(1, 2)),
    ("a subscription that had got nothing, resumed too far", ["resumed"],
     two().sub().sub(2, s=3, **{"from": 2}).final(1, 2)),
    ("an atomic put whose first cell, below the floor, is another's", ["half", "reordered"],
     two().call("put", None, key="k3", base="-:0", sha=["a9", "a3"])
     .call("compact", floor=3, inc_="1", highest_=3, floor_=3).final(3, floor=3)),
    ("a resumed subscription", [], two().sub(1).sub(2, s=3, **{"from": 2}).final(1, 2)),
)]

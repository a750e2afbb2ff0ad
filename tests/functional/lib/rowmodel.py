# SPDX-License-Identifier: Apache-2.0
"""A model of rows (docs/rows-api.md) and seeded histories of it.

Store is the state of one group, changed by single calls: what a conforming
group of members behaves like.  Any one thread at a time.  simulate() lets seeded
clients use one in virtual time, with calls that overlap, answers and requests
that are lost, retries, commits after the time-out, stale copies and
subscriptions that break, and gives the history: every promise is kept in it.
rowplant.py then breaks them one by one.

Standard library only; used by tests/functional/71-checker.t, rowserver.py.
"""

import heapq
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../rows"))
from history import VERSION, sha_of  # noqa: E402

KEYS_KEPT = 65536  # cells whose keys are remembered


class RowState:
    """One life of a row, and what is kept of it when it was deleted."""

    def __init__(self, inc, check=None, before=None):
        self.inc, self.check = inc, check
        self.before = before  # incarnation of the life before, or None
        self.cells = []  # (key, content, last seq of its batch)
        self.floor, self.deleted = 1, False

    @property
    def highest(self):
        return len(self.cells)

    def told(self, upto=None):
        """What an answer says of the row besides cells."""
        return {"inc": self.inc, "highest": self.highest if upto is None else upto,
                "floor": self.floor}

    def cell(self, seq):
        key, content, _ = self.cells[seq - 1]
        return [seq, sha_of(content), key]


class Store:
    """The rows; every method is one atomic step."""

    def __init__(self, rng):
        self.rng, self.rows, self.checks = rng, {}, {}

    def _new(self, name):
        old = self.rows.get(name)
        self.rows[name] = RowState("%016x" % self.rng.getrandbits(64), self.checks.get(name),
                                   old and old.inc)
        return self.rows[name]

    def alive(self, name):
        row = self.rows.get(name)
        return None if row is None or row.deleted else row

    def base(self, name):
        row = self.rows.get(name)
        if row is None:
            return "-:0"
        return "%s:%s" % (row.inc, "-" if row.deleted else row.highest)

    def put(self, name, key, base, if_match, contents):
        """(status, answer)."""
        row = self.alive(name)
        inc, seq = (base or self.base(name)).split(":")
        if not self._base_holds(self.rows.get(name), inc, seq):
            return 410, {}
        found = self._search(row, key, int(seq) if "-" not in (inc, seq) else 0)
        if found is not None:
            first, same = found[0], found[1] == contents
            return (200, {"inc": row.inc, "seq": first, "n": len(contents)}) if same else (422, {})
        highest = row.highest if row else 0
        if if_match is not None and if_match != highest:
            return 412, {"highest": highest}
        row = row or self._new(name)
        if row.check is not None and not row.check(row.cells, contents):
            return 409, {}
        last = highest + len(contents)
        row.cells += [(key or "", content, last) for content in contents]
        return 201, {"inc": row.inc, "seq": highest + 1, "n": len(contents)}

    @staticmethod
    def _base_holds(old, inc, seq):
        """Can it be known whether a put with this base was applied?"""
        if inc == "-":
            return old is None or (old.before is None and not old.deleted)
        if seq == "-":
            return old is not None and inc == (old.inc if old.deleted else old.before)
        return old is not None and old.inc == inc and not old.deleted

    @staticmethod
    def _search(row, key, after):
        """(first seq, contents) of a key that was used behind `after`, or None."""
        if row is None or not key:
            return None
        for i in range(max(after, row.highest - KEYS_KEPT), row.highest):
            if row.cells[i][0] == key:
                return i + 1, [cell[1] for cell in row.cells[i:row.cells[i][2]]]
        return None

    def make(self, name):
        row = self.alive(name)
        status = 200 if row else 201
        return status, (row or self._new(name)).told()

    def delete(self, name):
        row = self.alive(name)
        if row is None:
            return 404, {}
        row.deleted = True
        return 200, row.told()

    def compact(self, name, floor):
        row = self.alive(name)
        if row is None:
            return 404, {}
        row.floor = max(row.floor, min(floor, row.highest + 1))
        return 200, row.told()

    def read(self, op, name, seq=None, from_=None, to=None, upto=None):
        """upto: a stale copy ends there."""
        row = self.alive(name)
        if row is None:
            return 404, {}
        highest = row.highest if upto is None else upto
        told = row.told(highest)
        if op == "highest":
            return 200, told
        if op == "latest":
            if highest < row.floor:
                return 404, {}
            return 200, dict(told, cells=[row.cell(highest)])
        if (seq or from_) < row.floor:
            return 410, {"floor": row.floor}
        if op == "range":
            end = min(highest, highest if to is None else to, from_ + 999)
            return 200, dict(told, cells=[row.cell(one) for one in range(from_, end + 1)])
        if seq > row.highest:
            return 404, {}
        return 200, dict(row.told() if seq > highest else told, cells=[row.cell(seq)])


def unique(cells, contents):
    """The check of the built-in half: a key has one holder."""
    holders = {}
    for content in [cell[1] for cell in cells] + list(contents):
        value = json.loads(content)
        if "claim" in value and holders.setdefault(value["claim"], value["holder"]) != (
                value["holder"]):
            return False
        if "release" in value:
            if holders.get(value["release"]) != value["holder"]:
                return False
            del holders[value["release"]]
    return True


# ------------------------------------------------------------------- virtual time

MEMBERS = ("m1", "m2", "m3")
DELAY = 1_000_000  # ns, the greatest of one way


class Simulation:
    """Clients and subscribers over one Store; run() gives the events."""

    def __init__(self, seed, clients=5, calls=40, rows=2, kill=True, faults=0.25):
        self.rng = random.Random(seed)
        self.store, self.events, self.queue = Store(self.rng), [], []
        self.now, self.count, self.faults, self.kill = 1000, 0, faults, kill
        self.rows = ["r%d" % i for i in range(rows)] + ["u"]
        self.store.checks["u"] = unique
        self.numbers = {}  # client: its last number
        self.busy = 0  # events in the queue that are not a subscriber's
        self.log("history", v=VERSION, seed=seed)
        for i in range(clients):
            self.at(self.rng.randrange(DELAY), self.next_call, "c%d" % i, calls)
        for i, row in enumerate(self.rows):
            self.behind(self.rng.randrange(DELAY * 9), self.subscribe, "s%d" % i, row, None)
        for i in range(3):
            self.at(self.rng.randrange(DELAY * 20), self.fault, "kill" if i else "stop")

    def at(self, delay, function, *args):
        self.busy += 1
        self.behind(delay, function, *args, busy=1)

    def behind(self, delay, function, *args, busy=0):
        """A subscriber's event: goes on only as long as there are others."""
        self.count += 1
        heapq.heappush(self.queue, (self.now + delay, self.count, busy, function, args))

    def log(self, event, **fields):
        line = {"t": self.now, "e": event}
        line.update((name, value) for name, value in fields.items() if value is not None)
        self.events.append(line)

    def number(self, client):
        self.numbers[client] = self.numbers.get(client, 0) + 1
        return self.numbers[client]

    def run(self):
        while self.queue:
            self.now, _, busy, function, args = heapq.heappop(self.queue)
            self.busy -= busy
            function(*args)
        self.finish()
        return self.events

    def fault(self, kind):
        target = self.rng.choice(MEMBERS)
        self.log("fault", kind=kind, on=target, at="begin")
        self.at(3 * DELAY, lambda: self.log("fault", kind=kind, on=target, at="end"))

    # ------------------------------------------------------------------- clients

    def next_call(self, client, left):
        if not left:
            return
        rng, row = self.rng, self.rng.choice(self.rows)
        then = (self.next_call, client, left - 1)
        draw = rng.random()
        if draw < 0.55:
            self.new_put(client, row, then)
        elif draw < 0.96 or not self.kill:
            self.new_read(client, row, then)
        else:
            self.admin(client, row, then)

    def again(self, then):
        self.at(self.rng.randrange(DELAY), *then)

    def content(self, row):
        if row != "u":
            return b"%d" % self.rng.getrandbits(40)
        return json.dumps({self.rng.choice(("claim", "claim", "release")): self.rng.choice("abc"),
                           "holder": self.rng.choice("xy")}).encode()

    def new_put(self, client, row, then):
        rng = self.rng
        contents = [self.content(row) for _ in range(rng.choice((1, 1, 1, 2, 3)))]
        state = self.store.alive(row)
        if_match = None
        if rng.random() < 0.25:
            if_match = max(0, (state.highest if state else 0) - rng.choice((0, 0, 0, 1)))
        key = "k%x" % rng.getrandbits(48) if rng.random() < 0.95 or row == "u" else None
        base = self.store.base(row) if rng.random() < 0.8 or key is None else None
        put = {"row": row, "key": key, "base": base, "if": if_match,
               "sha": [sha_of(content) for content in contents],
               "data": [content.decode() for content in contents] if row == "u" else None}
        self.attempt(client, put, contents, rng.choice((0, 1, 4)) if key else 0, then)

    def attempt(self, client, put, contents, retries, then):
        number = self.number(client)
        if retries == 3 and put["row"] != "u" and self.rng.random() < 0.1:
            # The key again, with other bytes.
            contents = [b"other" + content for content in contents]
            put = dict(put, sha=[sha_of(content) for content in contents], data=None)
            retries = 0
        self.log("call", c=client, o=number, op="put", m=self.rng.choice(MEMBERS), **put)
        fate = self.rng.random() / self.faults if self.faults else 9
        args = (client, number, put, contents, retries, then)
        if fate < 0.1:
            self.answer(1, {}, *args)
        elif fate < 0.3:
            self.at(self.rng.randrange(DELAY), self.answer, 503, {}, *args)
        elif fate < 0.6:  # the request is lost, or late
            self.at(self.rng.randrange(DELAY), self.answer, self.rng.choice((504, 0, None)), {},
                    *args)
            if fate < 0.5:
                self.at(self.rng.randrange(4 * DELAY), self.apply, put, contents, None)
        elif fate < 0.9:  # the answer is lost
            status = self.rng.choice((504, 0))
            self.at(self.rng.randrange(DELAY), self.apply, put, contents, (status,) + args)
        else:
            self.at(self.rng.randrange(DELAY), self.apply, put, contents, (None,) + args)

    def apply(self, put, contents, then):
        status, answer = self.store.put(put["row"], put["key"], put["base"], put["if"], contents)
        if then is not None:
            forced, *args = then
            if forced is not None:
                status, answer = forced, {}
            self.at(self.rng.randrange(DELAY), self.answer, status, answer, *args)

    def answer(self, status, answer, client, number, put, contents, retries, then):
        """status None: the client was killed while it waited; another one goes on."""
        new = None
        if status in (503, 504) and put["base"] is None and put["key"]:
            new = self.store.base(put["row"]) if status == 503 else None
        if status is not None:
            self.log("ret", c=client, o=number, st=status, base=new, **answer)
        unsafe = put["base"] is None and status not in (1, 503)
        if retries and not unsafe and self.rng.random() < 0.8:
            client = client if status is not None else "z" + client
            if status == 503 and new:
                put = dict(put, base=new)
            self.at(self.rng.randrange(DELAY), self.attempt, client, put, contents, retries - 1,
                    then)
        else:
            self.again(then)

    def new_read(self, client, row, then):
        rng, state = self.rng, self.store.alive(row)
        op = rng.choice(("get", "latest", "highest", "range"))
        call = {"op": op, "row": row}
        highest = state.highest if state else 0
        if op == "get":
            call["seq"] = rng.randrange(highest + 2) + 1
        if op == "range":
            call["from"] = rng.randrange(highest + 1) + 1
            call["to"] = call["from"] + 20 if rng.random() < 0.5 else None
        call["stale"] = True if rng.random() < 0.3 else None
        number = self.number(client)
        self.log("call", c=client, o=number, m=rng.choice(MEMBERS), **call)
        if self.faults and rng.random() < 0.05:
            return self.again(then)
        return self.at(rng.randrange(DELAY), self.look, client, number, call, then)

    def look(self, client, number, call, then):
        state, upto = self.store.alive(call["row"]), None
        if call.get("stale") and state is not None:
            upto = self.whole(state, self.rng.randrange(state.highest + 1))
            if upto < state.floor:
                upto = None
        status, answer = self.store.read(call["op"], call["row"], call.get("seq"),
                                         call.get("from"), call.get("to"), upto)
        self.at(self.rng.randrange(DELAY), self.tell, client, number, status, answer, then)

    @staticmethod
    def whole(state, upto):
        """A copy ends with a batch."""
        while upto and state.cells[upto - 1][2] > upto:
            upto -= 1
        return upto

    def tell(self, client, number, status, answer, then):
        self.log("ret", c=client, o=number, st=status, **answer)
        self.again(then)

    def admin(self, client, row, then):
        op = self.rng.choice(("make", "compact", "compact", "delete"))
        number, state = self.number(client), self.store.alive(row)
        floor = self.rng.randrange(1, (state.highest if state else 0) + 3)
        self.log("call", c=client, o=number, op=op, row=row,
                 floor=floor if op == "compact" else None)

        def act():
            args = (floor,) if op == "compact" else ()
            status, answer = getattr(self.store, op)(row, *args)
            if self.faults and self.rng.random() < 0.2:
                status, answer = 504, {}
            self.at(self.rng.randrange(DELAY), self.tell, client, number, status, answer, then)

        self.at(self.rng.randrange(DELAY), act)

    # --------------------------------------------------------------- subscribers

    def subscribe(self, client, row, logical, from_=None, inc=None):
        state = self.store.alive(row)
        if state is None:
            if self.busy:
                self.behind(DELAY * 4, self.subscribe, client, row, None)
            return
        if state.inc != inc:
            from_, logical = state.floor, None
        if from_ < state.floor:
            from_, logical = state.floor, None
        number = self.number(client)
        self.log("sub", c=client, o=number, row=row, inc=inc if state.inc == inc else None,
                 s=logical, m=self.rng.choice(MEMBERS), **{"from": from_})
        self.log("beat", c=client, o=number, row=row, **state.told())
        self.deliver(client, number, state, row, logical or number, from_)

    def deliver(self, client, number, state, row, logical, next_seq):
        if state.deleted or next_seq < state.floor:
            self.log("end", c=client, o=number, code="gone", floor=state.floor)
            return self.behind(DELAY, self.subscribe, client, row, None)
        for _ in range(self.rng.randrange(1, 6)):
            if next_seq <= state.highest:
                seq, sha, key = state.cell(next_seq)
                self.log("cell", c=client, o=number, row=row, inc=state.inc, seq=seq, sha=sha,
                         key=key)
                next_seq += 1
        if self.rng.random() < 0.1:
            return self.behind(DELAY, self.subscribe, client, row, logical, next_seq, state.inc)
        if not self.busy and next_seq > state.highest:
            return self.log("end", c=client, o=number, code="closed", want=state.highest)
        return self.behind(self.rng.randrange(DELAY * 2), self.deliver, client, number, state, row,
                           logical, next_seq)

    # ---------------------------------------------------------------- final state

    def finish(self):
        self.now += DELAY
        for row in self.rows:
            state = self.store.alive(row)
            for member in MEMBERS:
                self.now += 1
                if state is None:
                    self.log("final", m=member, row=row)
                    continue
                cells = [state.cell(seq) for seq in range(state.floor, state.highest + 1)]
                self.log("final", m=member, row=row, cells=cells, **state.told())


def simulate(seed, **options):
    """The history of a seed: a list of events, the same each time."""
    return Simulation(seed, **options).run()

# SPDX-License-Identifier: Apache-2.0
"""Seeded clients of rows: what they do is repeated by a seed, what they saw is a history.

A Workload runs clients and subscribers in threads against members over HTTP, a
fault schedule beside them, and reads the final states; check_history then judges
the file.  operations() gives the endless list of one client: it depends on the
seed alone.  What depends on answers (bases, If-Match) is relative to what the
client knows by then.  schedule() gives a seed's faults; what carries one out is an
executor, a function that begins it at a target and gives the function that ends it.

    load = Workload({"m1": "http://127.0.0.1:8080"}, "history.jsonl", seed=7, rows=["a", "b"])
    load.run(calls=200)

or `workload.py --help`.  Standard library only.
"""

import argparse
import json
import random
import sys
import threading
import time

from history import Writer
from rowclient import Broken, Client, Put, Subscriber

# What a client does, and how often of a hundred.
MIX = (("put", 40), ("atomic", 10), ("if-match", 10), ("keyless", 2), ("twice", 4), ("again", 4),
       ("abandon", 2), ("highest", 7), ("latest", 7), ("get", 5), ("range", 5), ("stale", 4))
ADMIN = (("compact", 1), ("delete", 1))
# Instead, on a row with a check: contents are alike there, and its next life would have no check.
CHECKED = {"keyless": "put", "delete": "compact"}


def content_of(rng, check, number):
    """The bytes of a cell that the row's check can read; number makes those without one unlike."""
    if check == "unique":
        return json.dumps({rng.choice(("claim", "claim", "release")): "key%d" % rng.randrange(8),
                           "holder": "holder%d" % rng.randrange(3)}).encode()
    if check == "sum":
        return json.dumps({"name": "name%d" % rng.randrange(8),
                           rng.choice(("take", "take", "give")): rng.randrange(1, 20)}).encode()
    size = rng.choice((0, 16, 128, 128, 1024, 9000))
    return b"%s " % number.encode() + rng.randbytes(size)


def operations(seed, client, rows, admin=False, puts=False):
    """
    The endless list of one client: dicts that Workload carries out.  rows: {name: check}.
    puts: nothing but puts, whose bases the members stamp.
    """
    rng = random.Random("%d/%s" % (seed, client))
    mix = MIX + (ADMIN if admin else ())
    names, weights = [name for name, _ in mix], [weight for _, weight in mix]
    number = 0
    while True:
        number += 1
        op = {"op": rng.choices(names, weights)[0], "row": rng.choice(sorted(rows)),
              "key": "%d-%s-%d" % (seed, client, number), "draw": rng.random()}
        if rows[op["row"]]:
            op["op"] = CHECKED.get(op["op"], op["op"])
        if puts:
            op.update(op="put", draw=1.0)
        cells = rng.randrange(2, 6) if op["op"] == "atomic" else 1
        op["contents"] = [content_of(rng, rows[op["row"]], "%s-%d" % (op["key"], i))
                          for i in range(cells)]
        yield op


def schedule(seed, seconds, kinds, rest=1.0):
    """
    The faults of a seed, one after another: [(second, kind, target, seconds it lasts)].
    kinds: {kind: (targets, shortest, longest)}; `rest` seconds, on the average, lie between two.
    """
    rng = random.Random("faults/%d" % seed)
    faults, now = [], rest * rng.uniform(0.5, 1.5)
    while now < seconds and kinds:
        kind = rng.choice(sorted(kinds))
        targets, shortest, longest = kinds[kind]
        lasts = rng.uniform(shortest, longest)
        faults.append((now, kind, rng.choice(sorted(targets)), lasts))
        now += lasts + rest * rng.uniform(0.5, 1.5)
    return faults


class Workload:
    """
    members: {name: URL}.  rows: names, or {name: check or ""}.  how: token, context, timeout
    for the clients.
    """

    def __init__(self, members, path, seed=0, rows=("row",), clients=4, admin=False, **how):
        self.members, self.seed, self.admin, self.how = members, seed, admin, how
        self.rows = dict(rows) if isinstance(rows, dict) else dict.fromkeys(rows, "")
        self.names = ["c%d" % i for i in range(clients)]
        self.writer = Writer(path, seed=seed)
        self.stop = threading.Event()  # ends everything
        self.calm = threading.Event()  # every fault has had its turn
        self.absent = set()  # members that are not there at present: nobody is sent to them
        self.counts = {}  # status of puts: how many; for people and for tests
        self.errors = []  # what ended a thread
        self.lock = threading.Lock()

    def client(self, name):
        return Client(name, self.members, self.writer,
                      random.Random("%d/members/%s" % (self.seed, name)), self.stop, absent=self.absent,
                      **self.how)

    # ------------------------------------------------------------------ all of it

    def run(self, calls=None, seconds=None, faults=(), executors=None, gap=0.0):
        """
        Each client makes `calls` calls, or goes on for `seconds`, or (neither is given) until the
        last fault has ended, with `gap` seconds between.  Then the subscribers get what there is,
        and the final states are read.
        """
        self.make_rows()
        subscribers = [self._subscriber(row) for row in self.rows]
        end = None if seconds is None else time.monotonic() + seconds
        threads = [threading.Thread(target=self._guarded,
                                    args=(self._client, name, calls, end, gap,
                                          calls is None and seconds is None),
                                    daemon=True) for name in self.names]
        over = threading.Event()
        injector = threading.Thread(target=self._guarded, daemon=True,
                                    args=(self._inject, faults, executors or {}, over))
        for thread in subscribers + threads + [injector]:
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        injector.join()
        self.finish(subscribers)

    def _guarded(self, function, *args):
        try:
            function(*args)
        except Exception as error:  # a thread must not end in silence
            self.errors.append("%s: %r" % (function.__name__, error))

    def make_rows(self):
        """Rows with a check are made with it, and what the check needs is put first."""
        client = self.client("make")
        for row, check in self.rows.items():
            if not check:
                continue
            end = time.monotonic() + 30
            while client.admin("make", row, check=check)[0] not in (200, 201):
                if time.monotonic() > end or self.stop.wait(0.05):
                    raise Broken(True, "cannot make row %s" % row)
            if check == "sum":
                client.put(Put(row, [b'{"total":100}'], "%d-total-%s" % (self.seed, row),
                               client.base(row), 0, True), 50, 30.0)
        client.close()

    def finish(self, subscribers=()):
        """Subscribers end with what is highest, then each member's rows are read."""
        client = self.client("final")
        for subscriber in subscribers:
            status, told = client.read("highest", subscriber.row)
            end = time.monotonic() + 30
            while status not in (200, 404) and time.monotonic() < end:
                self.stop.wait(0.05)
                status, told = client.read("highest", subscriber.row)
            if not subscriber.finish(told.get("highest", 0)):
                self.errors.append("%s: did not get seq %s" % (subscriber.name, told))
        for row in self.rows:
            for member in sorted(set(self.members) - self.absent):
                try:
                    client.final(row, member)
                except Broken as broken:
                    self.errors.append("final state of %s at %s: %s" % (row, member, broken))
        client.close()
        self.writer.close()

    def _subscriber(self, row):
        name = "s-" + row
        return Subscriber(name, self.members, self.writer,
                          random.Random("%d/%s" % (self.seed, name)), row, absent=self.absent,
                          **{key: value for key, value in self.how.items() if key != "timeout"})

    # ----------------------------------------------------------------- one client

    def _client(self, name, calls, end, gap, by_faults):
        client = self.client(name)
        # Reads hang while a member is cut off, all clients' in the end; but each fault is to meet a put.
        puts = by_faults and name == self.names[0]
        for number, op in enumerate(operations(self.seed, name, self.rows, self.admin, puts)):
            if self.stop.is_set() or number == calls or (end and time.monotonic() > end) or (
                    by_faults and self.calm.is_set()):
                break
            status = self._carry_out(client, op)
            with self.lock:
                self.counts[status] = self.counts.get(status, 0) + 1
            if gap:
                self.stop.wait(gap)
        client.close()

    def _carry_out(self, client, op):
        kind, row, draw = op["op"], op["row"], op["draw"]
        highest = client.known.get(row, (None, 0))[1]
        if kind in ("highest", "latest"):
            return client.read(kind, row)[0]
        if kind == "stale":
            return client.read("highest" if draw < 0.5 else "latest", row, stale=True)[0]
        if kind == "get":
            return client.read("get", row, seq=1 + int(draw * (highest + 1)))[0]
        if kind == "range":
            first = max(1, highest - int(draw * 50))
            return client.read("range", row, from_=first, to=first + 30 if draw < 0.5 else None)[0]
        if kind == "compact":
            return client.admin("compact", row, floor=1 + int(draw * highest))[0]
        if kind == "delete":
            return client.admin("delete", row)[0]
        return self._put(client, op, highest)

    def _put(self, client, op, highest):
        """A put by what the client knows; one in five lets the member stamp the base."""
        kind, row, draw = op["op"], op["row"], op["draw"]
        if row not in client.known and draw < 0.8:
            client.read("highest", row)
            highest = client.known.get(row, (None, 0))[1]
        if kind == "if-match":
            client.read("highest", row)
            highest = client.known.get(row, (None, 0))[1]
        put = Put(row, op["contents"], None if kind == "keyless" else op["key"],
                  client.base(row) if draw < 0.8 and kind != "keyless" else None,
                  highest if kind == "if-match" else None, bool(self.rows[row]))
        status = client.put(put, twice=kind == "twice", abandon=kind == "abandon")
        if kind == "again" and put.base is not None:
            status = client.put(put)
        return status

    # --------------------------------------------------------------------- faults

    def _inject(self, faults, executors, over):
        try:
            self._inject_all(faults, executors, over)
        finally:
            self.calm.set()

    def _inject_all(self, faults, executors, over):
        """Begins and ends each fault in its time; one that is running is always ended."""
        began = time.monotonic()
        for second, kind, target, lasts in faults:
            if over.wait(max(0.0, began + second - time.monotonic())):
                return
            self.writer.write("fault", kind=kind, on=target, at="begin")
            end = executors[kind](target)
            over.wait(lasts)
            if end is not None:
                end()
            self.writer.write("fault", kind=kind, on=target, at="end")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("members", nargs="+", metavar="NAME=URL", help="m1=http://127.0.0.1:8080")
    parser.add_argument("--history", default="history.jsonl", metavar="FILE")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rows", default="a,b", metavar="ROW[=CHECK],...")
    parser.add_argument("--calls", type=int, help="calls of each client")
    parser.add_argument("--seconds", type=float, help="or how long (10)")
    parser.add_argument("--admin", action="store_true", help="also delete and compact")
    parser.add_argument("--token")
    args = parser.parse_args()
    rows = {row: check for row, _, check in (one.partition("=") for one in args.rows.split(","))}
    if not all("=" in one for one in args.members):
        parser.error("members are NAME=URL")
    try:
        load = Workload(dict(one.split("=", 1) for one in args.members), args.history, args.seed,
                        rows, args.clients, args.admin, token=args.token)
    except OSError as error:
        parser.error("%s: %s" % (args.history, error.strerror))
    load.run(args.calls, 10.0 if args.calls is None and args.seconds is None else args.seconds)
    print("answers: %s" % ", ".join("%s %d" % pair for pair in sorted(load.counts.items())))
    for error in load.errors:
        print("workload: " + error, file=sys.stderr)
    return 1 if load.errors else 0


if __name__ == "__main__":
    sys.exit(main())

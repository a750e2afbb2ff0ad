# SPDX-License-Identifier: Apache-2.0
"""What the tests of survival (60 to 65) share: programs that count.

load.c is the app, counting_service.c the service; each has a page of numbers
that is read while it runs.  The lists of names below are those of the enums in
tests/functional/prog/*.c.
"""

import itertools
import mmap
import os
import signal
import socket
import struct
import subprocess
import threading

import mp

PROG = os.path.join(mp.TEST_BIN, "functional/prog")
TEST_FILTERS = os.path.join(mp.TEST_BIN, "filters")
BUDGET_MS = 5000  # of a call: seen on a busy machine are 600, and nothing waits for it in vain

LOAD = ("made", "served", "answered", "failed", "raised", "synthesized", "asked", "passed",
        "replied", "unfiltered", "refused", "over_budget", "no_slot", "away", "lost", "connects",
        "doorbells", "connected", "p50_ns", "p99_ns", "max_ns", "status_5xx", "threads",
        "asked_bare")
SERVICE = ("requests", "edited", "bare", "mixed", "double", "nameless", "connections", "epochs",
           "last_epoch")
_serial = itertools.count()


def prog(name):
    return os.path.join(PROG, name)


class Numbers:
    """The page of numbers of a program, by their names."""

    SIZE = 64 * 8

    def __init__(self, folder, names):
        self.path = os.path.join(folder, "numbers-%d" % next(_serial))
        with open(self.path, "wb") as out:
            out.truncate(self.SIZE)
        with open(self.path, "r+b") as page:
            self._page = mmap.mmap(page.fileno(), self.SIZE)
        self._names = {name: i for i, name in enumerate(names)}

    def __getitem__(self, name):
        return struct.unpack_from("=Q", self._page, 8 * self._names[name])[0]

    def all(self):
        return {name: self[name] for name in self._names}


class Service(mp.Process):
    """counting_service.c"""

    def __init__(self, folder):
        self.n = Numbers(folder, SERVICE)
        super().__init__([prog("counting_service"), self.n.path], stdin=subprocess.PIPE)
        self.wait_out("\n")
        self.port = int(self.out.split()[1])
        self.authority = "127.0.0.1:%d" % self.port


class Mute:
    """A service that breaks the first `breaks` connections and never answers on the others."""

    def __init__(self, breaks=0):
        self.server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.server.getsockname()[1]
        self.authority = "127.0.0.1:%d" % self.port
        self.breaks = breaks
        self.kept = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            conn, _ = self.server.accept()
            if self.breaks:
                self.breaks -= 1
                conn.close()
            else:
                self.kept.append(conn)


class Load(mp.Process):
    """load.c"""

    def __init__(self, scheduler, service, folder, *options, number=0, budget_ms=BUDGET_MS, env=None):
        self.n = Numbers(folder, LOAD)
        words = [prog("load"), "--port", service.port, "--id", number, "--numbers", self.n.path]
        more = {"MIDDLEPIPE_SOCK": scheduler.socket, "MIDDLEPIPE_BUDGET_MS": str(budget_ms)}
        more.update(env or {})
        super().__init__(words + list(options), env=more)

    def finish(self):
        """SIGTERM; all of its numbers once it has ended by itself."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        if code:
            raise AssertionError("load ended with %s: %s" % (code, self.err))
        return self.n.all()

    def wait_made(self, n, deadline=None):
        mp.wait_for(lambda: self.n["made"] >= n or not self.running(), "%d calls" % n, deadline)


def total(numbers, name):
    return sum(each[name] for each in numbers)


def edits(middlepipe, letter, epoch, order=None, fields=""):
    """A `headers` filter that marks a request as counting_service.c expects it.

    With `order` (of all such filters of the chain) it also names the epoch and
    the letters of all `fields` of the chain; it sets the field of its own letter.
    """
    config = {"request_add": {"x-order": "%s%d" % (letter, epoch)},
              "request_set": {"x-" + letter.lower(): str(epoch)}}
    if order:
        config["request_set"]["x-epoch"] = "%d/%s/%s" % (epoch, order, fields)
    return mp.binding(middlepipe, "headers", config)


def put_chains(scheduler, epoch, *destinations):
    """PUT /v1/chains, again on 503; (status, document, tries)."""
    body = {"app": "test", "epoch": epoch, "destinations": list(destinations)}
    tries = 0

    def put():
        nonlocal tries
        tries += 1
        answer = scheduler.control.call("PUT", "/v1/chains", body)
        return answer if answer[0] != 503 else None
    status, document = mp.wait_for(put, "room for epoch %d" % epoch)
    return status, document, tries


def breaker(**config):
    return mp.binding("guard", "breaker", config)


def settle(scheduler, want, what):
    """Waits until the scheduler's asked, passed and replied add up to `want`."""
    def there():
        c = scheduler.counters()
        return c if c["asked"] + c["passed"] + c["replied"] >= want else None
    try:
        return mp.wait_for(there, what)
    except mp.Late:
        return scheduler.counters()

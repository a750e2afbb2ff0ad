# SPDX-License-Identifier: Apache-2.0
"""What the parts of the rows bench share: members, the C programs, rounds.

Used by load.py and failures.py.  Lines and statistics are those of the request
bench, members and etcds those of the functional tests.
"""
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "../request"), os.path.join(HERE, "../../functional/lib")]
import benchlib  # noqa: E402
from benchlib import cpu_ns, emit, median, median_interval, mp, say, status_sum  # noqa: E402,F401
import aggregator  # noqa: E402
import etcd  # noqa: E402

benchlib.BENCH = "rows"
TOOLS = os.path.join(mp.BUILD, "tests/bench/rows")
CELL = 128  # bytes
OUTSTANDING = 256


def tool(name, *args, deadline=600):
    """Runs a C program of this bench; the object that it prints."""
    done = subprocess.run([os.path.join(TOOLS, name), *map(str, args)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, timeout=deadline, check=False)
    if done.returncode:
        raise RuntimeError("%s ended with %d: %s" % (name, done.returncode, done.stderr))
    return json.loads(done.stdout)


def file_of(content):
    """A file with these bytes, for load --body."""
    path = os.path.join(mp.workdir(), "body")
    with open(path, "wb") as out:
        out.write(content)
    return path


class Load:
    """Requests of one kind to some addresses: load(outstanding, seconds) measures them."""

    def __init__(self, addresses, *options):
        self.addresses, self.options = addresses, options

    def __call__(self, outstanding, seconds, *more):
        seen = tool("load", "--connections", outstanding, "--seconds", max(1, round(seconds)), *self.options, *more,
                    *self.addresses)
        if seen["others"]:
            raise RuntimeError("%d of %d were refused" % (seen["others"], seen["requests"]))
        return seen


def puts(members, rows=1, name="r"):
    """One cell a request, at any member."""
    return Load([one.address for one in members], "--method", "POST", "--path", "/v1/rows/%s{r}/cells" % name,
                "--rows", rows, "--key", "--body", file_of(os.urandom(CELL)))


def gets(members):
    return Load([one.address for one in members], "--path", "/v1/rows/r0/cells/latest")


def etcd_calls(group, path, document):
    addresses = [url.split("//")[1] for url in group.urls]
    return Load(addresses, "--method", "POST", "--path", path, "--body", file_of(json.dumps(document).encode()))


def etcd_puts(group):
    return etcd_calls(group, "/v3/kv/put", {"key": etcd.text("bare/put"), "value": etcd.text(b"x" * CELL)})


def etcd_gets(group):
    group.put(0, "bare/get", b"x" * CELL)
    return etcd_calls(group, "/v3/kv/range", {"key": etcd.text("bare/get")})


class Handler(Load):
    """libmicrohttpd alone: the least that a request costs here.  With commits: and one of SQLite before the answer."""

    def __init__(self, commits=False):
        folder = [mp.workdir()] if commits else []
        self.process = subprocess.Popen([os.path.join(TOOLS, "bare_handler"), "2", *folder], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)
        super().__init__(["127.0.0.1:%d" % int(self.process.stdout.readline())], "--method", "POST", "--key", "--body",
                         file_of(os.urandom(CELL)))

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def disk(kind, seconds):
    return tool("bare_disk", kind, mp.workdir(), seconds)


def bare_txn(group, seconds):
    return tool("bare_txn", seconds, *[url.split("//")[1] for url in group.urls])


def members_of(group, size):
    """That many aggregators on that etcd, once shards have settled."""
    members = [aggregator.Aggregator("a%d" % i, "--group", ",".join(group.urls)) for i in range(size)]
    for one in members:
        one.wait_ready()
    settle(members)
    return members


def owned(members):
    return [one.get("/v1/status")[1]["shards"]["owned"] for one in members]


def settle(members):
    """Until every shard has an owner and none has moved for three seconds."""
    last, since = None, time.monotonic()
    end = since + 60

    while time.monotonic() < end:
        now = owned(members)
        if now != last or sum(now) != 64:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > 3:
            say("shards: %s" % now)
            return
        time.sleep(0.1)
    raise RuntimeError("the shards did not settle: %s" % last)


class Rounds:
    """Figures of alternating runs, by name."""

    def __init__(self):
        self.seen = {}

    def add(self, name, figure):
        self.seen.setdefault(name, []).append(figure)

    def middle(self, name):
        return median(self.seen[name])

    def emit(self, metric, unit, name, peer=None, peer_value=None):
        value, lo, hi = median_interval(self.seen[name])
        emit(metric, unit, value, len(self.seen[name]), lo, hi, peer, peer_value)

    def emit_peer(self, metric, unit, peer, name):
        """A peer's own figure, on a line of its own."""
        value, lo, hi = median_interval(self.seen[name])
        emit(metric, unit, None, len(self.seen[name]), lo, hi, peer, value)

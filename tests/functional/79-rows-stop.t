#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A member that is stopped releases its shards: the others find them free, and need not suspect it.

Seen in etcd itself while the other member is paused, and in the other's metrics, which tell
shards that were free from those that were taken from somebody.  Then readiness: a member is not
ready while a shard has no owner, or while its engine does not answer.
"""

import json
import os
import signal
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import etcd
import mp
import shards
from aggregator import metric

SHARDS = 64

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)


def stored_owners():
    """{shard: member}, as etcd has it."""
    prefix = b"middlepipe/default/owner/"
    status, reply = group.call(0, "/v3/kv/range", {"key": etcd.text(prefix), "range_end": etcd.text(prefix[:-1] + b"0")})
    assert status == 200, status
    return {kv["key"]: json.loads(etcd.base64.b64decode(kv["value"]))["member"] for kv in reply.get("kvs", [])}


def n_of(name):
    return list(stored_owners().values()).count(name)


def member(name):
    return aggregator.Aggregator(name, "--group", ",".join(group.urls), "--stop-time", "60s").wait_ready()


def settled(name):
    """It owns a share of the shards."""
    mp.wait_for(lambda: n_of(name) > SHARDS // 5, "shards of " + name)


def all_taken(one):
    mp.wait_for(lambda: n_of(one.name) == SHARDS and metric(one, "shards_owned") == SHARDS, "all shards taken")
    one.wait_ready()


def becomes(one, wanted):
    """What /readyz says in the end."""
    try:
        mp.wait_for(lambda: told(one) == wanted, "that of /readyz")
    except mp.Late:
        pass
    return told(one)


def test_released(one, other):
    """Nobody can take anything meanwhile."""
    settled(other.name)
    free = metric(one, "takeovers_free_total")
    one.pause()
    try:
        had = n_of(other.name)
        code = other.stop()
        left = stored_owners()
    finally:
        one.resume()
    mp.is_(code, 0, "a member of %d shards is stopped" % had)
    mp.is_(sorted(set(left.values())), [one.name], "when it has ended none is its any more")
    mp.is_(len(left), SHARDS - had, "and they are nobody's")
    all_taken(one)
    mp.is_(metric(one, "takeovers_free_total") - free, had, "the other takes all of them, as free ones")


def test_busy(one, other):
    """A put comes in slowly: the shards do not wait for its end, and it is committed at their new owner."""
    def waits():
        waited.append(other.call("GET", "/v1/rows/%s/cells/latest?at_least=1000000&wait=60000" % row, timeout=60)[0])

    other.start().wait_ready()
    settled(other.name)
    row = next(name for name in ("row%d" % i for i in range(1000))
               if other.put(name, "x")[0] == 201 and other.get("/v1/rows/" + name)[1]["owner"] == other.name)
    waited = []
    waiter = threading.Thread(target=waits)
    waiter.start()
    free = metric(one, "takeovers_free_total")
    host, port = other.address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=mp.DEADLINE) as slow:
        slow.sendall(b"POST /v1/rows/%s/cells HTTP/1.1\r\nHost: t\r\nContent-Length: 8\r\n\r\nhalf" % row.encode())
        mp.wait_for(lambda: metric(other, "http_connections") >= 2, "both connections")
        one.pause()
        try:
            had = n_of(other.name)
            other.process.signal(signal.SIGTERM)
            mp.wait_for(lambda: len(stored_owners()) == SHARDS - had, "shards without owners")
            mp.ok(mp.alive(other.process.pid), "%d shards are released while a put still comes in" % had)
        finally:
            one.resume()
        all_taken(one)
        mp.is_(metric(one, "takeovers_free_total") - free, had, "the other takes them as free ones")
        slow.sendall(b"half")
        mp.like(slow.recv(4096).decode(), "^HTTP/1.1 201 .*Middlepipe-Owner: %s" % one.url, "that put is committed there")
    waiter.join()
    mp.is_(waited, [503], "a read that would wait for a minute is sent elsewhere")
    mp.is_(other.process.wait(), 0, "then the member ends")


def test_killed(one, other):
    """What the figures are when nothing was released."""
    other.start().wait_ready()
    settled(other.name)
    taken, free = metric(one, "takeovers_total"), metric(one, "takeovers_free_total")
    other.kill()
    all_taken(one)
    mp.ok(metric(one, "takeovers_total") > taken, "of a member that was killed the shards are taken")
    mp.is_(metric(one, "takeovers_free_total") - free, 0, "and none was free")


def test_silent(one, other):
    """Who comes back from a long silence learns that it owns nothing any more."""
    other.start().wait_ready()
    mp.wait_for(lambda: shards.settled([one, other]), "each shard at its place")
    mp.is_(metric(other, "shards_lost_total"), 0, "a member that has just begun has lost nothing")
    other.pause()
    try:
        had = n_of(other.name)
        all_taken(one)
    finally:
        other.resume()
    mp.wait_for(lambda: metric(other, "shards_lost_total") == had, "shards that are known to be lost")
    mp.ok(had, "who was silent knows that its %d shards are lost" % had)
    other.wait_ready()
    other.kill()
    all_taken(one)


def told(one, path="/readyz"):
    status, _, body = one.call("GET", path)
    return status, json.loads(body).get("error") if status != 200 else ""


def test_ready(one, other):
    """The last member gives its shards away, and there is nobody to take them."""
    mp.is_(told(one), (200, ""), "a member is ready")
    mp.is_(one.json("POST", "/v1/members/%s/drain" % one.name)[0], 202, "it is drained, and is alone")
    mp.wait_for(lambda: not stored_owners(), "shards without owners")
    mp.is_(becomes(one, (503, "a shard has no owner")), (503, "a shard has no owner"), "it says what is missing")
    status = one.get("/v1/status")[1]
    mp.is_((status["ready"], status["why"], metric(one, "ready")), (False, "a shard has no owner", 0),
           "so do the status and the metrics")
    mp.is_(one.call("GET", "/healthz")[0], 200, "it lives nevertheless")
    mp.is_(one.put("row0", "x")[0], 503, "puts are not attempted")
    mp.is_(one.call("GET", "/v1/rows/row0")[0], 200, "reads are answered")
    other.start().wait_ready()
    mp.wait_for(lambda: told(one)[0] == 200, "owners again")
    mp.is_(one.put("row0", "x")[0], 201, "it is ready when another member has them")
    other.kill()
    mp.is_(becomes(one, (503, "a shard has no owner")), (503, "a shard has no owner"), "nor is one that was killed an owner")
    mp.is_(len(stored_owners()), 64, "though it still stands there")
    other.start().wait_ready()
    mp.is_(becomes(one, (200, "")), (200, ""), "until it is back")
    group.freeze(0)
    try:
        silent = (503, "its engine does not answer")
        mp.is_(becomes(one, silent), silent, "nor is it while its engine does not answer")
    finally:
        group.thaw(0)
    mp.wait_for(lambda: told(one)[0] == 200 and told(other)[0] == 200, "both ready")
    mp.ok(True, "when it answers both are ready again")


group = etcd.Group(1)
group.wait()
first = member("c0")
second = member("c1")
test_released(first, second)
test_busy(first, second)
test_killed(first, second)
test_silent(first, second)
test_ready(first, second)
mp.is_([first.stop(), second.stop()], [0, 0], "they stop")
mp.done()

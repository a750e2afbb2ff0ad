# SPDX-License-Identifier: Apache-2.0
"""The parts of the rows bench that put load on aggregators and on their peers.

Each function is a part; see ./run.  In every round everything runs once, ours
and the peers in turn; a figure is the median of the rounds.
"""
from rowslib import (OUTSTANDING, Handler, Rounds, aggregator, bare_txn, cpu_ns, disk, emit, etcd, etcd_gets, etcd_puts,
                     gets, members_of, puts, say, tool)

ROUNDS = 7
SECONDS = 3
HANDLER = "libmicrohttpd"
ETCD = "etcd (gateway)"
ETCD_TXN = "etcd (gRPC)"


def rounds_of(quick):
    return (1, 1) if quick else (ROUNDS, SECONDS)


def floor_of(seen, handler, seconds):
    """What disk and HTTP cost by themselves."""
    seen.add("fdatasync", disk("fdatasync", seconds / 3)["p50"])
    seen.add("handler", handler(1, seconds / 3)["p50"])


def emit_floor(seen):
    seen.emit_peer("fdatasync_p50", "ms", "disk", "fdatasync")
    seen.emit_peer("handler_p50", "ms", HANDLER, "handler")


def one(quick):
    """put_1_p50, put_1_rate: alone, on SQLite."""
    rounds, seconds = rounds_of(quick)
    seen, handler, pair = Rounds(), Handler(), Handler(commits=True)
    member = aggregator.Aggregator("m1").wait_ready()
    put = puts([member])
    put(1, 1)
    for _ in range(rounds):
        floor_of(seen, handler, seconds)
        seen.add("sqlite", disk("sqlite", seconds)["p50"])
        seen.add("pair", pair(1, seconds)["p50"])
        seen.add("put", put(1, seconds)["p50"])
        seen.add("handler rate", handler(OUTSTANDING, seconds)["rate"])
        seen.add("put rate", put(OUTSTANDING, seconds)["rate"])
    member.stop()
    handler.close()
    pair.close()
    emit_floor(seen)
    seen.emit_peer("sqlite_commit_p50", "ms", "SQLite", "sqlite")
    seen.emit_peer("pair_p50", "ms", "SQLite commit in " + HANDLER, "pair")
    seen.emit_peer("handler_rate", "1/s", HANDLER, "handler rate")
    seen.emit("put_1_p50", "ms", "put", "SQLite commit + " + HANDLER, seen.middle("sqlite") + seen.middle("handler"))
    seen.emit("put_1_rate", "1/s", "put rate", HANDLER, seen.middle("handler rate"))


def say_cpu(what, members, group, before, requests):
    """Where the two cores went: us a request."""
    ours, etcds = cpu_ns([one.process.pid for one in members]), cpu_ns([group.pid(i) for i in range(group.size)])
    say("%s: CPU a request: aggregators %.1f us, etcds %.1f us" % (
        what, (ours - before[0]) / 1e3 / requests, (etcds - before[1]) / 1e3 / requests))


def told(what, members, group, load, seconds):
    """One run with many outstanding; says what it cost, returns its rate."""
    before = (cpu_ns([one.process.pid for one in members]), cpu_ns([group.pid(i) for i in range(group.size)]))
    seen = load(OUTSTANDING, seconds)
    say_cpu(what, members, group, before, seen["requests"])
    return seen["rate"]


def three(quick):
    """put_3_p50, put_3_rate, put_3_rate_64, get_3_rate: three members on three etcd members."""
    rounds, seconds = rounds_of(quick)
    seen, handler = Rounds(), Handler()
    say("the aggregators speak gRPC with etcd; the load on bare etcd goes through its gateway but for transactions")
    group = etcd.Group(3)
    group.wait()
    members = members_of(group, 3)
    put, put_64, get = puts(members), puts(members, 64, "s"), gets(members)
    bare_put, bare_get = etcd_puts(group), etcd_gets(group)
    put(1, 1)
    for _ in range(rounds):
        floor_of(seen, handler, seconds)
        seen.add("txn", bare_txn(group, seconds)["p50"])
        seen.add("put", put(1, seconds, "--wander")["p50"])
        seen.add("etcd put", bare_put(OUTSTANDING, seconds)["rate"])
        seen.add("put rate", told("one row", members, group, put, seconds))
        seen.add("put rate 64", told("64 rows", members, group, put_64, seconds))
        seen.add("etcd get", bare_get(OUTSTANDING, seconds)["rate"])
        seen.add("get", told("latest", members, group, get, seconds))
    for member in members:
        member.stop()
    group.close()
    handler.close()
    emit_floor(seen)
    seen.emit_peer("etcd_txn_p50", "ms", ETCD_TXN, "txn")
    seen.emit_peer("etcd_put_rate", "1/s", ETCD, "etcd put")
    seen.emit_peer("etcd_get_rate", "1/s", ETCD, "etcd get")
    seen.emit("put_3_p50", "ms", "put", ETCD_TXN + " + " + HANDLER, seen.middle("txn") + seen.middle("handler"))
    seen.emit("put_3_rate", "1/s", "put rate", ETCD, seen.middle("etcd put"))
    seen.emit("put_3_rate_64", "1/s", "put rate 64", ETCD, seen.middle("etcd put"))
    seen.emit("get_3_rate", "1/s", "get", ETCD, seen.middle("etcd get"))


def twenty(quick):
    """put_20_rate, put_20_rate_64: twenty aggregators on five etcd members."""
    rounds, seconds = rounds_of(quick)
    seen = Rounds()
    group = etcd.Group(5)
    group.wait()
    members = members_of(group, 20)
    put, put_64, bare_put = puts(members), puts(members, 64, "s"), etcd_puts(group)
    put(1, 1)
    for _ in range(rounds):
        seen.add("etcd put", bare_put(OUTSTANDING, seconds)["rate"])
        seen.add("put rate", told("20, one row", members, group, put, seconds))
        seen.add("put rate 64", told("20, 64 rows", members, group, put_64, seconds))
    for member in members:
        member.stop()
    group.close()
    seen.emit_peer("etcd_5_put_rate", "1/s", ETCD, "etcd put")
    seen.emit("put_20_rate", "1/s", "put rate", ETCD, seen.middle("etcd put"))
    seen.emit("put_20_rate_64", "1/s", "put rate 64", ETCD, seen.middle("etcd put"))


def notify(quick):
    """notify_1000_p99: from the putter's answer to every subscriber's receipt."""
    group = etcd.Group(3)
    group.wait()
    members = members_of(group, 3)
    seen = tool("subscribers", "--subscribers", 1000, "--rate", 10, "--seconds", 2 if quick else 20,
                *[member.address for member in members])
    for member in members:
        member.stop()
    group.close()
    say("notify: %s" % seen)
    emit("notify_1000_p50", "ms", seen["p50"], seen["receipts"])
    emit("notify_1000_p99", "ms", seen["p99"], seen["receipts"])

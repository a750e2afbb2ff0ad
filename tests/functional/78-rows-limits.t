#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Limits of rows, and metrics: each limit is reached, answered with its figure, and counted."""

import base64
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path.insert(0, LIB)
import aggregator
import etcd
import exposition
import mp

ALERTS = os.path.join(mp.ROOT, "docs/alerts.yaml")
PREFIX = "middlepipe_rows_"
BYTES = "x" * 1000

mp.need(aggregator.PROGRAM)


def metrics(one):
    status, fields, body = one.call("GET", "/metrics")
    assert status == 200 and fields["Content-Type"].startswith("text/plain; version=0.0.4"), (status, fields)
    return exposition.read(body.decode())


def reached(one, limit):
    return metrics(one)[PREFIX + "limits_reached_total"].value(limit=limit)


def test_format():
    good = '# HELP a_total x\n# TYPE a_total counter\na_total{b="\\"c"} 1\n'
    mp.is_(exposition.read(good)["a_total"].value(b='\\"c'), 1, "the reader of metrics takes what is right")
    head = "# HELP h x\n# TYPE h histogram\n"
    for what, text in (("no end", good[:-1]), ("no type", "# HELP a x\na 1\n"), ("twice", good + good.splitlines()[2] + "\n"),
                       ("another's sample", good + "b 1\n"), ("a counter's name", "# HELP a x\n# TYPE a counter\na 1\n"),
                       ("no number", good.replace(" 1\n", " one\n")), ("an open label", good.replace('"}', '}')),
                       ("buckets that fall", head + 'h_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'),
                       ("another count", head + 'h_bucket{le="+Inf"} 1\nh_sum 1\nh_count 2\n')):
        try:
            exposition.read(text)
            mp.ok(False, "and refuses %s" % what)
        except ValueError:
            mp.ok(True, "and refuses %s" % what)


def test_row_bytes():
    one = aggregator.Aggregator("bytes", "--row-bytes", "10K", "--tenant-bytes", "25000").wait_ready()
    answers = [one.put("a", BYTES, key="k%d" % i) for i in range(12)]
    n = sum(status == 201 for status, _ in answers)
    mp.ok(8 <= n <= 9, "%d cells of 1,000 bytes fit into 10 KiB" % n)
    status, told = answers[-1]
    mp.is_((status, told["code"], told["highest"]), (507, "full", n), "the next is answered with 507")
    mp.like(told["error"], "the row is full: it may hold 10240 bytes", "and the figure")
    base = {"base": one.get("/v1/rows/a")[1]["incarnation"] + ":0"}
    mp.is_(one.put("a", BYTES, key="k0", **base)[0], 200, "what was put before is still told so")
    mp.is_(one.put("a", "")[0], 201, "a small one may still fit")
    mp.is_(one.put("b", BYTES)[0], 201, "another row has room")
    rows = 0
    while rows < 40 and one.put("c%d" % rows, BYTES)[0] == 201:
        rows += 1
    status, told = one.put("new", BYTES)
    mp.is_(status, 507, "until all have too much: %d rows more" % rows)
    mp.like(told["error"], "the tenant is full: its rows may hold 25000 bytes", "which is told")
    mp.ok(one.get("/v1/status")[1]["rows"]["bytes"] <= 25000, "it has not gone above")
    mp.is_(one.json("DELETE", "/v1/rows/a")[0], 200, "a full one can be deleted")
    mp.wait_for(lambda: one.put("new", BYTES)[0] == 201, "room after that")
    mp.is_(reached(one, "row_bytes"), 12 - n, "counted: the row's")
    mp.ok(reached(one, "tenant_bytes") >= 2, "and the tenant's")
    one.kill()
    one.start().wait_ready()
    while one.put("b", BYTES)[0] == 201:
        pass
    mp.is_(one.put("b", BYTES)[0], 507, "the same after a restart")
    one.stop()


def test_rate():
    one = aggregator.Aggregator("rate", "--puts-per-second", "2").wait_ready()
    answers = [one.call("POST", "/v1/rows/a/cells", b"x") for _ in range(20)]
    codes = [status for status, _, _ in answers]
    mp.is_(codes[:2], [201, 201], "a second's share may come at once")
    mp.ok(429 in codes[2:], "then some are told to wait")
    late = next(answer for answer in answers if answer[0] == 429)
    mp.is_((late[1]["Retry-After"], json.loads(late[2])["code"]), ("1", "too_many"), "and for how long")
    mp.like(late[2].decode(), "a row takes 2 puts a second", "with the figure")
    mp.is_(one.put("b", "x")[0], 201, "another row is another matter")
    mp.wait_for(lambda: one.put("a", "x")[0] == 201, "after a while")
    mp.ok(reached(one, "puts_per_second") >= codes.count(429), "counted")
    mp.is_(one.get("/v1/rows/a")[1]["highest"], codes.count(201) + 1, "what was refused is not there")
    one.stop()


def test_sizes():
    one = aggregator.Aggregator("sizes", "--cell-bytes", "100", "--request-bytes", "300", "--rows", "2").wait_ready()
    mp.is_(one.put("a", "x" * 100)[0], 201, "a cell as large as may be")
    status, told = one.put("a", "x" * 101)
    mp.is_((status, told["error"]), (413, "a cell may have 100 bytes"), "one byte more")
    status, told = one.put("a", "x" * 301)
    mp.is_((status, told["error"]), (413, "a request may have 300 bytes"), "a request above its bound")
    mp.is_(reached(one, "size"), 2, "counted")
    mp.is_([one.put(row, "x")[0] for row in ("b", "c", "a")], [201, 507, 201], "two rows, and no third")
    mp.is_(reached(one, "rows"), 1, "counted")
    one.stop()


def subscribe(one, query):
    """The open stream of a subscription: to be read line by line."""
    host, port = one.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=mp.DEADLINE)
    connection.request("GET", "/v1/subscribe?" + query)
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    return reply


def test_waiting():
    """Rows that are waited for and are not there have no place: who may only read cannot take any."""
    one = aggregator.Aggregator("waiting", "--rows", "2").wait_ready()
    streams = [subscribe(one, "row=%s&create=wait&from=%d" % row) for row in (("w1", 1), ("w2", 1), ("b", 2), ("b", 0))]
    mp.is_([one.put(row, "%s one" % row)[0] for row in ("a", "b", "c")], [201, 201, 507], "two rows, and four subscriptions to such as are not there")
    one.put("b", "b two")

    def cells(stream, n):
        got = []
        while len(got) < n:
            line = stream.readline()
            assert line, "the stream has ended"
            if line.startswith(b"data: ") and b'"seq"' in line:
                got.append(json.loads(line[6:])["seq"])
        return got

    mp.is_([cells(streams[3], 2), cells(streams[2], 1)], [[1, 2], [2]], "who waited for a row gets its cells, from where it wanted")
    one.json("DELETE", "/v1/rows/b")
    mp.is_([b'"code":"gone"' in stream.read() for stream in streams[2:]], [True, True], "and is told when it is deleted")
    status, told = one.get("/v1/subscribe?row=never&create=wait&incarnation=0000000000000001")
    mp.is_((status, told["code"], told["floor"]), (410, "gone", 1), "another life of a row that never was is gone")
    one.stop()
    for stream in streams:
        stream.close()


def test_of_etcd():
    """What a transaction of somebody else's etcd carries; puts that wait, when it does not answer."""
    if not etcd.available():
        mp.skip("limits on an etcd", etcd.MISSING)
        return
    group = etcd.Group(1)
    group.wait()
    one = aggregator.Aggregator("etcd", "--group", group.urls[0], "--waiting", "1", "--read-time", "300ms").wait_ready()
    mp.is_(one.put("large", "x" * (1 << 20), key="k" * 64)[0], 201, "a cell of 1 MiB fits into a transaction")
    many = json.dumps({"cells": [base64.b64encode(b"x" * (600 << 10)).decode()] * 2})
    status, told = one.json("POST", "/v1/rows/large/cells", many, {"Content-Type": "application/vnd.middlepipe.cells+json"})
    mp.is_((status, told["error"]), (413, "more than one transaction of the engine may carry: 1179648 bytes"), "two of 600 KiB do not")
    mp.is_(reached(one, "transaction"), 1, "counted")
    group.freeze(0)
    first = []
    putter = threading.Thread(target=lambda: first.append(one.put("a", "first", key="first")), daemon=True)
    putter.start()
    mp.wait_for(lambda: metrics(one)[PREFIX + "puts_waiting"].value() == 1, "a put that waits for etcd")
    status, told = one.put("b", "second")
    mp.is_((status, told["error"]), (503, "as many puts wait as may: 1 puts"), "another is turned away")
    began = time.monotonic()
    status, told = one.get("/v1/rows/large")
    mp.ok(status == 503 and "not answered in time" in told["error"] and 0.3 <= time.monotonic() - began < 4,
          "a read waits as long as --read-time says: %s" % told)
    group.thaw(0)
    putter.join(mp.DEADLINE)
    mp.ok(first and first[0][0] in (201, 503, 504), "the first is answered: %s" % first)
    mp.is_(reached(one, "waiting"), 1, "counted")
    mp.is_(one.stop(), 0, "the end")
    group.close()


def test_metrics(one):
    for i in range(50):
        one.put("m", "x%d" % i)
    one.put("m", "x", match=3)
    found = metrics(one)
    mp.is_(found[PREFIX + "puts_total"].value(outcome="committed"), 50, "puts by outcome")
    mp.is_(found[PREFIX + "puts_total"].value(outcome="precondition"), 1, "refusals, too")
    time, size = found[PREFIX + "commit_seconds"], found[PREFIX + "batch_cells"]
    mp.ok(time.value("_count") >= 50 and 0 < time.value("_sum") < 60, "commit times: %g s in all" % time.value("_sum"))
    mp.is_((size.value("_count"), size.value("_sum"), size.value("_bucket", le="1")), (50, 50, 50), "sizes of batches")
    for name in ("shards_owned", "takeovers_total", "takeovers_free_total", "shards_released_total", "flights_killed_total",
                 "engine_serving", "subscriptions", "subscriptions_lag_bytes_max", "check_refusals_total", "ready"):
        mp.ok(PREFIX + name in found, "there is %s" % name)


def test_lag(one):
    """A subscriber that does not read is told of; nobody waits for it to be sent away."""
    one.put("lag", "x")
    reply = subscribe(one, "row=lag&heartbeat=60000")
    lag = lambda: metrics(one)[PREFIX + "subscriptions_lag_bytes_max"].value()
    big = "y" * (512 << 10)

    def behind():
        one.put("lag", big)
        return lag() > 1 << 20

    mp.wait_for(behind, "a subscriber that lags")
    found = metrics(one)
    mp.ok(found[PREFIX + "subscriptions_lag_cells_max"].value() > 0, "it is behind by cells")
    mp.ok(found[PREFIX + "subscriptions_lag_bytes"].value() >= found[PREFIX + "subscriptions_lag_bytes_max"].value(),
          "and by bytes")
    reply.close()
    mp.wait_for(lambda: lag() == 0, "nobody lags when it has gone")
    mp.ok(True, "and nobody is when it has gone")


def test_slow(one):
    """One that does not read at all is sent away, and counted; one that reads a little is not."""
    one.put("slow", "x")
    stuck, reader = (subscribe(one, "row=slow&heartbeat=100") for _ in range(2))
    slow = lambda: metrics(one)[PREFIX + "subscriptions_slow_total"].value()
    before, big, n = slow(), "y" * (512 << 10), 1
    while slow() == before and n < 200:
        n += one.put("slow", big)[0] == 201
        if not seen_all(reader, n):
            break
    mp.is_(slow() - before, 1, "who reads nothing is sent away, once it has 1 MiB to read")
    events = stuck.read().decode()
    mp.ok('"code":"slow"' in events.rstrip().splitlines()[-1], "its last event says why")
    n += one.put("slow", "last")[0] == 201
    mp.ok(seen_all(reader, n), "who reads goes on")
    reader.close()


def seen_all(stream, seq):
    """Reads on until that cell has come; False: the stream has ended."""
    while True:
        line = stream.readline()
        if not line or line.startswith(b"data: ") and b'"seq":%d,' % seq in line:
            return bool(line)


def test_promtool(one):
    names = set(re.findall(r"\bmiddlepipe_rows_[a-z_]+", open(ALERTS).read()))
    there = set(metrics(one))
    mp.is_(sorted(name for name in names if name.removesuffix("_bucket") not in there), [],
           "alerts are about metrics that there are")
    if not shutil.which("promtool"):
        mp.skip("promtool finds nothing", "promtool is not installed")
        return
    body = one.call("GET", "/metrics")[2]
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, timeout=mp.DEADLINE * 3)
    mp.ok(done.returncode == 0, "promtool finds nothing in the metrics")
    mp.note((done.stdout + done.stderr).decode()) if done.returncode else None
    done = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, timeout=mp.DEADLINE * 3)
    mp.ok(done.returncode == 0, "nor in the alert rules")
    mp.note((done.stdout + done.stderr).decode()) if done.returncode else None


test_format()
test_row_bytes()
test_rate()
test_sizes()
test_waiting()
test_of_etcd()
one = aggregator.Aggregator("metrics").wait_ready()
test_metrics(one)
test_lag(one)
test_slow(one)
test_promtool(one)
one.stop()
mp.done()

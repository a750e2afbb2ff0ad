#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rights of rows: who is not known learns nothing, who may do nothing is told so before
anything is done, and a right that is taken away is of no use any more."""

import hashlib
import http.client
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import mp

mp.need(aggregator.PROGRAM)
TABLE = os.path.join(mp.ROOT, "aggregator/rows/api/api.c")
TOKENS = os.path.join(mp.workdir(), "tokens.json")
ANYONE = {"GET /healthz": 200, "GET /readyz": 200, "POST /v1/members/join": 409}  # alone nobody can join it


def grant(prefix, **rights):
    return {"prefix": prefix, **rights}


def write_tokens(**names):
    with open(TOKENS + ".new", "w") as out:
        json.dump([{"token_sha256": hashlib.sha256((name + "-secret").encode()).hexdigest(), "name": name, "rights": rights}
                   for name, rights in names.items()], out)
    os.rename(TOKENS + ".new", TOKENS)


def bearer(who):
    return {"Authorization": "Bearer %s-secret" % who} if who else {}


def ask(one, who, method, path, body=None):
    """(status, code)"""
    status, _, text = one.call(method, path, body, bearer(who))
    try:
        return status, json.loads(text).get("code")
    except ValueError:
        return status, None


def test_nobody(one):
    with open(TABLE) as text:
        routes = re.findall(r'\{ HTTP_(\w+), "([^"]+)", (\w+)', text.read())
    mp.ok(len(routes) > 20, "%d routes" % len(routes))
    for method, path, body_max in routes:
        path = path.replace("{row}", "r").replace("{seq}", "1").replace("{id}", "m1")
        for who in (None, "unheard"):
            got = ask(one, who, method, path, b"{}" if body_max != "0" else None)
            want = (401, "unauthorized") if "%s %s" % (method, path) not in ANYONE else \
                (ANYONE["%s %s" % (method, path)], got[1])
            mp.is_(got, want, "%s %s for %s" % (method, path, "a wrong token" if who else "nobody"))


def test_without_right(one):
    """They are known, and may do nothing of the kind with any row."""
    line = b"not even a line of an export\n"
    for who, method, path, body in (
            ("putter", "GET", "/v1/rows", None), ("putter", "GET", "/v1/export", None),
            ("none", "GET", "/v1/rows", None), ("none", "GET", "/v1/export", None), ("none", "GET", "/v1/check", None),
            ("none", "POST", "/v1/parcels", b"nonsense"), ("reader", "POST", "/v1/parcels", b"nonsense"),
            ("reader", "POST", "/v1/import", line), ("putter", "POST", "/v1/import", line),
            ("none", "POST", "/v1/import", line), ("none", "GET", "/v1/status", None), ("none", "GET", "/metrics", None),
            ("none", "GET", "/v1/members", None), ("none", "GET", "/v1/owners", None)):
        mp.is_(ask(one, who, method, path, body), (403, "forbidden"), "%s %s for %s" % (method, path, who))
    def lines(act, outcome):
        return len(re.findall('event="administered" act=%s .* outcome=%s\n' % (act, outcome), one.process.err))
    mp.wait_for(lambda: one.process.err.count('event="administered"') >= 5, "lines of the audit log")
    mp.is_([lines("export", "refused"), lines("import", "refused")], [2, 3], "of what is administered each attempt is written down")
    mp.is_([row["row"] for row in one.get("/v1/rows", **bearer("reader"))[1]["rows"]], ["pub/a"], "who may read some lists those")
    mp.is_(ask(one, "root", "POST", "/v1/import", line)[0], 400, "who may import is told what is wrong")
    mp.wait_for(lambda: lines("import", "refused") == 4, "the line of the import")
    mp.is_(ask(one, "reader", "GET", "/v1/export")[0], 200, "who may read some exports those")
    mp.wait_for(lambda: lines("export", "done") == 1, "the line of the export")


class Stream:
    """A subscription; events as (name, document)."""

    def __init__(self, one, who, query, heartbeat=200):
        host, port = one.address.rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port), timeout=mp.DEADLINE)
        self.connection.request("GET", "/v1/subscribe?%s&heartbeat=%d" % (query, heartbeat), None, bearer(who))
        self.reply = self.connection.getresponse()
        assert self.reply.status == 200, self.reply.status

    def event(self):
        name, data = None, None
        for line in iter(self.reply.readline, b""):
            field, _, value = line.rstrip(b"\n").partition(b": ")
            if field == b"event":
                name = value.decode()
            elif field == b"data":
                data = json.loads(value)
            elif not field:
                return name, data
        return None

    def beats(self, n):
        """Reads so many heartbeats; False when something else ends it before."""
        while n:
            event = self.event()
            if not event or event[0] == "end":
                return False
            n -= event[0] == "heartbeat"
        return True

    def end(self):
        """The code of the end, which nothing follows; None when it does not come in time."""
        late = time.monotonic() + mp.DEADLINE
        event = self.event()
        while event and event[0] != "end" and time.monotonic() < late:
            event = self.event()
        if event and event[0] != "end":
            return None
        return event[1]["code"] if event and self.event() is None else None


def test_taken_away(one):
    """Streams of those whose token goes, or whose right does, end; others go on."""
    write_tokens(leaver=[grant("", read=True)], **RIGHTS)
    mp.wait_for(lambda: ask(one, "leaver", "GET", "/v1/rows")[0] == 200, "another token")
    ways = "row=pub%2Fa&from=1", "prefix=pub%2F", "row=pub%2Flater&from=1&create=wait"
    gone = [Stream(one, "leaver", way) for way in ways]
    less = [Stream(one, "reader", way) for way in ways]
    kept = [Stream(one, "root", way) for way in ways]
    quiet = Stream(one, "leaver", ways[0], heartbeat=60000)
    mp.is_([stream.beats(3) for stream in gone + less + kept], [True] * 9, "nine streams of three tokens")
    write_tokens(**{**RIGHTS, "reader": [grant("pub/", put=True), grant("other/", read=True)]})
    mp.is_([stream.end() for stream in gone], ["forbidden"] * 3, "a token that was taken out: its streams end")
    mp.is_([stream.end() for stream in less], ["forbidden"] * 3, "and those of one that has lost the right")
    mp.is_([stream.beats(3) for stream in kept], [True] * 3, "others go on")
    mp.is_(one.put("pub/a", "y", **bearer("root"))[0], 201, "a cell")
    mp.ok(any(kept[0].event()[0] == "cell" for _ in range(1000)), "which they get")
    for stream in kept + [quiet]:
        stream.connection.close()
    status, told = one.get("/v1/subscribe?row=pub%2Fa", **bearer("leaver"))
    mp.is_((status, told["code"]), (401, "unauthorized"), "nor do they begin again")


RIGHTS = {"root": [grant("", read=True, put=True, admin=True)], "none": [], "putter": [grant("pub/", put=True)],
          "reader": [grant("pub/", read=True)]}
write_tokens(**RIGHTS)
first = aggregator.Aggregator("m1", "--tokens", TOKENS, "--log", "info").wait_ready()
for name in ("pub/a", "own"):
    mp.is_(first.put(name, "x", **bearer("root"))[0], 201, "a row %s" % name)
test_nobody(first)
test_without_right(first)
test_taken_away(first)
mp.is_(first.stop(), 0, "it stops")
mp.done()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rights of rows: who is not known learns nothing, and who may do nothing is told so before anything is done."""

import hashlib
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import mp

mp.need(aggregator.PROGRAM)
TABLE = os.path.join(mp.ROOT, "aggregator/rows/http.c")
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
    mp.ok("act=export" not in one.process.err and "act=import" not in one.process.err, "nothing of that was administered")
    mp.is_([row["row"] for row in one.get("/v1/rows", **bearer("reader"))[1]["rows"]], ["pub/a"], "who may read some lists those")
    mp.is_(ask(one, "root", "POST", "/v1/import", line)[0], 400, "who may import is told what is wrong")
    mp.wait_for(lambda: one.process.err.count("act=import") == 1, "the line of the import")
    mp.is_(ask(one, "reader", "GET", "/v1/export")[0], 200, "who may read some exports those")
    mp.wait_for(lambda: one.process.err.count("act=export") == 1, "the line of the export")


RIGHTS = {"root": [grant("", read=True, put=True, admin=True)], "none": [], "putter": [grant("pub/", put=True)],
          "reader": [grant("pub/", read=True)]}
write_tokens(**RIGHTS)
first = aggregator.Aggregator("m1", "--tokens", TOKENS, "--log", "info").wait_ready()
for name in ("pub/a", "own"):
    mp.is_(first.put(name, "x", **bearer("root"))[0], 201, "a row %s" % name)
test_nobody(first)
test_without_right(first)
mp.is_(first.stop(), 0, "it stops")
mp.done()

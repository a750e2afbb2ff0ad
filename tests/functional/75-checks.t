#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Semantic checks in mp-aggregator: rows whose puts are judged by an aggregator half."""

import base64
import hashlib
import json
import os
import re
import shutil
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path.insert(0, LIB)
import aggregator
import mp

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM)
HALVES = os.path.join(mp.TEST_BIN, "halves")


def claim(one, key, holder, row="nat/claims", **fields):
    return one.put(row, json.dumps({"claim": key, "holder": holder}), **fields)


def code(answer):
    """Status, code and text of an error."""
    return answer[0], answer[1].get("code"), answer[1].get("error")


def make(one, row, **policies):
    return one.json("PUT", "/v1/rows/" + row.replace("/", "%2F"), policies)


def test_unique(one):
    status, told = make(one, "nat/claims", check="unique")
    mp.is_((status, told["check"], told["rules"]), (201, "unique", 1), "a row with a check")
    mp.is_(claim(one, "10.0.0.1/80", "a")[0], 201, "a key is claimed")
    mp.is_(code(claim(one, "10.0.0.1/80", "b")), (409, "refused", '"10.0.0.1/80" is held by "a"'),
           "by another it is refused, with the half's reason")
    mp.is_(claim(one, "10.0.0.1/80", "a")[1]["seq"], 2, "its holder may claim it again")
    mp.is_(code(one.put("nat/claims", "what?"))[:2], (409, "refused"), "what the half cannot read is refused")
    mp.is_(one.get("/v1/rows/nat%2Fclaims")[1]["highest"], 2, "nothing of that is there")


def test_admin(one):
    release = json.dumps({"release": "10.0.0.1/80"})
    mp.is_(code(one.put("nat/claims", release))[:2], (409, "refused"), "only admins release what is another's")
    admin = {"Middlepipe-Cell-Kind": "admin"}
    mp.is_(one.put("nat/claims", release, **admin)[1]["seq"], 3, "an admin does")
    mp.is_(one.call("GET", "/v1/rows/nat%2Fclaims/cells/3")[1]["Middlepipe-Cell-Kind"], "admin", "the cell says so")
    mp.is_(claim(one, "10.0.0.1/80", "b")[1]["seq"], 4, "the key is free")
    status, told = one.put("nat/claims", release, **{"Middlepipe-Cell-Kind": "conflict"})
    mp.is_((status, told["error"]), (400, "Middlepipe-Cell-Kind wants data or admin, once"), "another kind")


def test_unknown(one):
    status, told = make(one, "nat/other", check="uniqe")
    mp.is_(status, 400, "a check that there is not")
    mp.like(told["error"], r'no such check: "uniqe"; there are: .*sum.*unique|unique.*sum', "is told, with those that there are")
    mp.is_(one.get("/v1/rows/nat%2Fother")[0], 404, "and no row is made")
    mp.is_(one.put("plain", "x")[0], 201, "a row without a check")
    status, told = make(one, "plain", check="unique")
    mp.is_((status, told["code"]), (409, "refused"), "gets none once it has cells")


def test_sum(one):
    make(one, "bandwidth", check="sum")
    mp.is_(code(one.put("bandwidth", '{"name":"a","take":1}'))[0], 409, "without a total nothing is taken")
    mp.is_(one.put("bandwidth", '{"total":100}')[0], 201, "the total")
    mp.is_(one.put("bandwidth", '{"name":"a","take":60}')[0], 201, "60 of it")
    status, told = one.put("bandwidth", '{"name":"b","take":60}')
    mp.is_(status, 409, "60 more are too many: %s" % told["error"])
    mp.is_(one.put("bandwidth", '{"name":"b","take":40}')[0], 201, "40 are not")


def snapshot(one, row):
    """(seq, bytes) of its state snapshot; None."""
    status, fields, body = one.call("GET", "/v1/rows/%s/snapshot" % row.replace("/", "%2F"))
    return (int(fields["Middlepipe-Snapshot-Seq"]), body) if status == 200 else None


def test_compact(one):
    mp.is_(snapshot(one, "nat/claims"), None, "there is no snapshot yet")
    for i in range(50):
        claim(one, "10.0.0.2/%d" % i, "c" * 100)
    status, told = one.json("POST", "/v1/rows/nat%2Fclaims/compact", '{"floor":31}')
    mp.is_((status, told["floor"], told["snapshot"]), (200, 31, 54), "the floor moves, on a snapshot of its own")
    status, fields, body = one.call("GET", "/v1/rows/nat%2Fclaims/snapshot")
    mp.is_([fields["Middlepipe-Snapshot-" + name] for name in ("Seq", "Check", "Rules")], ["54", "unique", "1"],
           "which can be read")
    mp.ok(body.startswith(b"uniq") and b"10.0.0.2/49" in body and fields["Middlepipe-Row-Incarnation"] ==
          told["incarnation"], "and is the half's")
    status, told = one.get("/v1/rows/nat%2Fclaims/cells/30")
    mp.is_((status, told["floor"], told["snapshot"]), (410, 31, 54), "below it the cells are gone")
    status, told = one.get("/v1/subscribe?row=nat%2Fclaims&from=1")
    mp.is_((status, told["floor"], told["snapshot"]), (410, 31, 54), "for subscriptions, too")
    mp.is_(one.json("POST", "/v1/rows/nat%2Fclaims/compact", '{"floor":55}')[1]["floor"], 55, "up to the last one")
    mp.is_(one.json("POST", "/v1/rows/nat%2Fclaims/compact", '{"floor":57}')[0], 409, "not further")


def test_retention(one):
    make(one, "kept", check="unique", keep_cells=5)
    for i in range(60):
        claim(one, "k%d" % i, "h", row="kept")
    mp.wait_for(lambda: one.get("/v1/rows/kept")[1]["floor"] == 56, "the floor follows by snapshots")
    mp.is_(snapshot(one, "kept")[0], 60, "the newest is that of the last cell")
    mp.is_(one.json("DELETE", "/v1/rows/kept")[0], 200, "a row with a snapshot is deleted")
    mp.is_(claim(one, "k1", "other", row="kept")[0], 201, "made again it has no check")
    mp.is_(snapshot(one, "kept"), None, "and no snapshot")


def test_restart(one):
    one.kill()
    one.start().wait_ready()
    mp.is_(code(claim(one, "10.0.0.1/80", "a")), (409, "refused", '"10.0.0.1/80" is held by "b"'),
           "after SIGKILL the state is the cells'")
    mp.is_(one.put("bandwidth", '{"name":"b","take":1}')[0], 409, "that of the other row, too")
    mp.is_(one.stop(), 0, "it stops")


def test_dry(one):
    """What would be put, and what would not; nothing is."""
    def dry(content, **fields):
        status, told = one.json("POST", "/v1/rows/dry/check", content, fields)
        return status, told
    make(one, "dry", check="unique")
    claim(one, "k", "x", row="dry")
    body = json.dumps({"claim": "k", "holder": "y"})
    status, told = dry(body)
    mp.is_((status, told["code"], told["error"], told["highest"]), (409, "refused", '"k" is held by "x"', 1), "what would be refused")
    status, told = dry(body.replace('"k"', '"l"'))
    life = one.get("/v1/rows/dry")[1]["incarnation"]
    mp.is_((status, told), (200, {"row": "dry", "incarnation": life, "highest": 1, "floor": 1, "check": "unique", "seq": 2, "cells": 1}),
           "what would be put")
    several = json.dumps({"cells": [base64.b64encode(b'{"claim":"m","holder":"%s"}' % who).decode() for who in (b"a", b"a")]})
    mp.is_(dry(several, **{"Content-Type": "application/vnd.middlepipe.cells+json"})[1]["cells"], 2, "two cells")
    mp.is_(dry(body, **{"If-Match": '"7"'})[0], 412, "a condition that does not hold")
    mp.is_(dry("no JSON")[0], 409, "what the check does not understand")
    mp.is_(dry("x" * ((1 << 20) + 1))[0], 413, "a cell that is too large")
    mp.is_(one.json("POST", "/v1/rows/none/check", "x")[1]["seq"], 1, "a row that is not there")
    mp.is_(one.get("/v1/rows/none")[0], 404, "is not made")
    mp.is_(one.get("/v1/rows/dry")[1]["highest"], 1, "nothing was put")
    before = refusals(one)
    mp.is_((dry(body)[0], refusals(one)), (409, before), "nor does it count as a refusal")
    run = lambda *words: mp.run([mp.MIDDLEPIPE, "rows", "put", "--url", one.url, "--dry-run", *words])
    mp.is_(run("dry", body.replace('"k"', '"l"'))[:2], (0, "it would be put, at 2\n"), "rows put --dry-run")
    code, _, err = run("dry", body)
    mp.ok(code == 4 and 'is held by "x"' in err, "and when it would be refused: " + err.strip())
    mp.is_(run("--key", "k", "dry", body)[0], 2, "it has no key")
    mp.is_(one.get("/v1/rows/dry")[1]["highest"], 1, "still nothing was put")


def refusals(one):
    """What /metrics says, by the check's name."""
    text = one.call("GET", "/metrics")[2].decode()
    return {name: int(n) for name, n in re.findall(r'^middlepipe_rows_check_refusals_total\{check="(.*)"\} (\d+)$', text, re.M)}


def test_counted():
    """Refusals are counted by check: what is refused, and neither what is let in nor what is something else."""
    one = aggregator.Aggregator("m4").wait_ready()
    mp.is_(refusals(one), {}, "no check has refused anything")
    make(one, "a", check="unique")
    make(one, "b", check="unique")
    make(one, "s", check="sum")
    for row in ("a", "b"):
        claim(one, "k", "x", row=row)
    mp.is_(refusals(one), {}, "nor is what is let in counted")
    mp.is_([claim(one, "k", "y", row=row)[0] for row in ("a", "b", "a")], [409] * 3, "three refusals")
    mp.is_(one.put("a", "x", match=7)[0], 412, "and something else")
    mp.is_(one.json("PUT", "/v1/rows/a", {"check": "sum"})[0], 409, "a refusal that is no check's")
    mp.is_(refusals(one), {"unique": 3}, "the three are counted")
    mp.is_(one.put("s", "no JSON")[0], 409, "one by another check")
    mp.is_(refusals(one), {"unique": 3, "sum": 1}, "is counted apart")
    one.stop()


def test_lacking():
    """A member without the half does not serve its row, and the others it does."""
    folder = os.path.join(mp.workdir(), "halves")
    os.mkdir(folder)
    shutil.copy(os.path.join(HALVES, "both.so"), folder)
    one = aggregator.Aggregator("m2", "--halves-dir", folder).wait_ready()
    mp.is_(make(one, "b", check="both")[0], 201, "a check from --halves-dir")
    mp.is_(one.put("b", "x")[0], 201, "lets cells in")
    mp.is_(one.stop(), 0, "it stops")
    one = aggregator.Aggregator("m2", data=one.data).wait_ready()
    mp.is_(code(one.put("b", "y")), (503, "unavailable", "this member has not the row's check"), "without it: 503")
    mp.is_(one.put("c", "y")[0], 201, "for that row alone")
    mp.is_(len(one.get("/v1/rows/b/cells")[1]["cells"]), 1, "which can be read")
    one.stop()
    bad = mp.run([aggregator.PROGRAM, "--halves-dir", os.path.join(folder, "nope"), "--data", one.data])
    mp.is_(bad[0], 1, "a folder that is not there ends it: %s" % bad[2].strip())


def test_rights():
    """Cells of kind admin want the right to put and that of admins."""
    tokens = os.path.join(mp.workdir(), "tokens.json")
    rights = {"putter": {"put": True}, "boss": {"put": True, "admin": True}}
    with open(tokens, "w", encoding="utf-8") as out:
        json.dump([{"token_sha256": hashlib.sha256(name.encode()).hexdigest(), "name": name,
                    "rights": [dict(prefix="", **right)]} for name, right in rights.items()], out)
    one = aggregator.Aggregator("m3", "--tokens", tokens)
    putter, boss = {"Authorization": "Bearer putter"}, {"Authorization": "Bearer boss"}
    admin = {"Middlepipe-Cell-Kind": "admin"}
    mp.wait_for(lambda: one.put("r", "x", **putter)[0] == 201, "its rows are there")
    mp.is_(one.put("r", "x", **putter, **admin)[0], 403, "who may put may not put as an admin")
    mp.is_(one.put("r", "x", **boss, **admin)[0], 201, "an admin may")
    one.stop()


one = aggregator.Aggregator("m1", "--snapshot-cells", "20").wait_ready()
test_unique(one)
test_admin(one)
test_unknown(one)
test_sum(one)
test_compact(one)
test_retention(one)
test_dry(one)
test_restart(one)
test_counted()
test_lacking()
test_rights()
mp.done()

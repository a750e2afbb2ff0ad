#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/rows-openapi.yaml and mp-aggregator agree.

Part 1: the document itself, and that it has exactly the routes that the server has.
Part 2: requests made from it, seeded: each answer is one that it describes.  Part 3: one
thing wrong with each: refused with 400 and told why.  Part 4: methods, HEAD, bodies.
Part 5: schemathesis, when it is there.
"""

import glob
import http.client
import os
import random
import re
import subprocess
import sys

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path.insert(0, LIB)
import aggregator
import mp
import openapi

DOCUMENT = os.path.join(mp.ROOT, "docs/rows-openapi.yaml")
TABLE = os.path.join(mp.ROOT, "aggregator/rows/api/api.c")
PUT = os.path.join(mp.ROOT, "aggregator/rows/put.h")
PACKAGES = os.path.join(mp.ROOT, "build/schemathesis")
EACH = 40  # proper requests of an operation
# What one alone, or requests without a meaning, cannot have a success of.
NEED_MORE = {"importRows", "deleteRow", "getSnapshot", "putParcel", "makeToken", "join", "drainMember", "removeMember"}

mp.need(aggregator.PROGRAM)
try:
    document = openapi.Document(DOCUMENT)
except ImportError:
    mp.skip_all("python3-yaml is not there")


def send(one, method, target, body=None, fields=None, whole=True):
    """An Answer; of a stream (whole: no) only the head."""
    host, port = one.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=mp.DEADLINE)
    try:
        connection.request(method, target, body, {name: value.encode("utf-8") for name, value in (fields or {}).items()})
        reply = connection.getresponse()
        return openapi.Answer(reply.status, reply.headers, reply.read() if whole else b"")
    finally:
        connection.close()


def ask(one, request):
    stream = request.operation.id == "subscribe"
    answer = send(one, request.operation.method, request.target, request.body, request.fields, whole=not stream)
    if stream and answer.status != 200:
        answer = send(one, request.operation.method, request.target, request.body, request.fields)
    return answer


def test_document():
    there = set()
    for name in document.references():
        document.find({"$ref": name})
        there.add(name)
    ids = [operation.id for operation in document.operations]
    mp.is_(len(ids), len(set(ids)), "%d operations, each with a name of its own" % len(ids))
    unused = ["%s/%s" % (kind, name) for kind, all_ in document.raw["components"].items() for name in all_
              if kind != "securitySchemes" and "#/components/%s/%s" % (kind, name) not in there]
    mp.is_(unused, [], "nothing that is not used")
    with open(TABLE) as text:
        routes = {"%s %s" % pair for pair in re.findall(r'\{ HTTP_(\w+), "([^"]+)"', text.read())}
    mp.is_(sorted(routes ^ {str(operation) for operation in document.operations}), [],
           "it has the routes that the server has, and no other")
    test_statuses()


def test_statuses():
    """Those that the sources name and those that the document has."""
    found = {"505"}  # libmicrohttpd's own
    for path in sorted(path for part in ("rows/api/*.c", "http/*.c", "etcd/admit.c")
                       for path in glob.glob(os.path.join(mp.ROOT, "aggregator", part))):
        with open(path) as text:
            for call in re.findall(r"\b\w*(?:answer|refuse|end)\w*\(\w[^;\"]*", text.read()):
                found |= set(re.findall(r"\b[2-5]\d\d\b", call))
    with open(PUT) as text:
        found |= {number for number in re.findall(r"PUT_\w+ = (\d{3}),", text.read())}
    known = set(document.raw["x-anywhere"]) | {status for o in document.operations for status in o.raw["responses"]}
    mp.ok(len(found) > 20, "%d statuses are answered: %s" % (len(found), " ".join(sorted(found))))
    mp.is_(sorted(found - known), [], "the document has each of them")
    mp.is_(sorted(known - found), [], "and no other")


def prepare(one):
    """Rows with something in them; the values of parameters that find it."""
    for i in range(5):
        one.put("some/row", "cell %d" % i, key="k%d" % i)
    one.json("POST", "/v1/rows/some%2Frow/compact", {"floor": 2})
    one.json("PUT", "/v1/rows/empty", {})


def given_for(operation, rng):
    """Half of the requests are for what there is."""
    given = {}
    if rng.random() < 0.7:
        mine = operation.method == "GET" or (operation.id != "deleteRow" and rng.random() < 0.3)
        given["row"] = "some/row" if mine else rng.choice(["a", "b", "c/d"])
    if rng.random() < 0.7:
        given["Middlepipe-Base"] = None
    if rng.random() < 0.7:
        given["seq"] = rng.choice(["1", "2", "5", "latest"])
    if operation.id == "subscribe":
        given["row" if rng.random() < 0.8 else "prefix"] = "some/row"
        alone = "prefix" in given
        given.update({"prefix": None} if not alone else {"row": None, "from": None, "incarnation": None, "create": None})
    if rng.random() < 0.8:
        given.setdefault("incarnation", None)
    given.setdefault("wait", rng.choice([None, "0", "20"]))
    if operation.method == "GET":
        given.setdefault("at_least", rng.choice([None, "0", "3", "9"]))
    return given


def test_proper(one, rng):
    for operation in document.operations:
        wrong, seen = [], {}
        for _ in range(EACH):
            request = document.request(operation, rng, given_for(operation, rng))
            if rng.random() < 0.3:
                request.fields["Accept"] = "text/html, application/json;q=0.9"
            answer = ask(one, request)
            seen[answer.status] = seen.get(answer.status, 0) + 1
            wrong += ["%s: %s (%s)" % (request, text, answer.body[:200]) for text in document.judge(operation, answer)]
            if answer.status in (400, 500) and operation.id != "putParcel":
                wrong.append("%s: %d %s" % (request, answer.status, answer.body[:200]))
        mp.ok(not wrong, "%s: %s" % (operation, ", ".join("%d times %d" % (n, s) for s, n in sorted(seen.items()))))
        mp.note("\n".join(wrong[:5])) if wrong else None
        if operation.id not in NEED_MORE:
            mp.ok(any(status < 300 for status in seen), "%s: some of them succeed" % operation)


def test_wrong(one, rng):
    for operation in document.operations:
        wrong, n = [], 0
        given = {"row": "some/row", "seq": "3", "Middlepipe-Base": None, "If-Match": None, "wait": None, "at_least": None}
        if operation.id == "subscribe":
            given.update(prefix=None)
        if operation.id in ("isAlive", "isReady"):
            continue  # those take any query: whoever looks after processes may add one
        for request in document.mistakes(operation, rng, given):
            if (operation.id in ("makeToken", "join") and request.wrong.startswith("a body")) or \
               (operation.id in ("removeMember", "drainMember") and request.wrong.startswith("id")):
                continue  # 409 comes first, and there is no such member
            if operation.id == "subscribe" and request.wrong.startswith("prefix"):
                continue
            n += 1
            answer = ask(one, request)
            wrong += ["%s (%s): %s" % (request, request.wrong, text) for text in document.judge(operation, answer)]
            if answer.status != 400:
                wrong.append("%s (%s): %d %s" % (request, request.wrong, answer.status, answer.body[:100]))
        mp.ok(n and not wrong, "%s: %d mistakes are refused" % (operation, n))
        mp.note("\n".join(wrong[:5])) if wrong else None
    answer = send(one, "GET", "/v1/rows?surplus=1")
    mp.like(answer.body.decode(), "surplus.*prefix after limit", "what a query may have is told")


def by_path():
    """Which methods each path has; /v1/members/token is one of /v1/members/{id}, too."""
    paths = {}
    for path in {operation.path for operation in document.operations}:
        paths[path] = {operation.method for operation in document.operations
                       if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", operation.path), path)}
    return paths


def test_methods(one, rng):
    for path, methods in sorted(by_path().items()):
        operation = next(o for o in document.operations if o.path == path)
        target = document.request(operation, rng, {"row": "some/row", "seq": "3"}).path
        allowed = methods | ({"HEAD"} if "GET" in methods else set())
        for method in sorted({"GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"} - allowed):
            answer = send(one, method, target)
            told = set((answer.fields.get("Allow") or "").split(", "))
            if (answer.status, told) != (405, allowed):
                mp.is_((answer.status, told), (405, allowed), "%s %s" % (method, path))
                break
        else:
            mp.ok(True, "%s: other methods than %s are told so" % (path, ", ".join(sorted(allowed))))
    for target in ("/", "/v1", "/v1/rows/", "/v1/rows/a/cells/", "/v1/rows/a/b", "/v2/rows", "//v1/rows"):
        mp.is_(send(one, "GET", target).status, 404, "nothing at %s" % target)


def test_heads(one, rng):
    for operation in document.operations:
        if operation.method != "GET" or operation.id in ("checkStored", "exportRows"):
            continue
        path = document.request(operation, rng, {"row": "some/row", "seq": "3"}).path
        if operation.id == "subscribe":
            path += "?row=some%2Frow"
        get = send(one, "GET", path, whole=operation.id != "subscribe")
        head = send(one, "HEAD", path)
        wrong = document.judge(operation, head, head=True)
        names = sorted(name for name, value in get.fields.items() if name not in ("Content-Length", "Transfer-Encoding"))
        mp.ok(head.body == b"" and not wrong and head.status == get.status and
              names == sorted(name for name in head.fields.keys() if name != "Content-Length"), "HEAD %s" % operation.path)
    answer = send(one, "GET", "/v1/rows", body=b"x")
    mp.is_((answer.status, answer.type), (413, "application/json"), "GET takes no body")
    answer = send(one, "POST", "/v1/rows/a/compact", body=b" " * 4097)
    mp.is_((answer.status, answer.type), (413, "application/json"), "nor a call more than it says")


def test_media(one):
    several = b'{"cells":["YQ==","Yg=="]}'
    for kind, n in (("application/vnd.middlepipe.cells+json; charset=utf-8", 2), ("Application/Vnd.Middlepipe.Cells+JSON", 2),
                    ("application/json", 1), ("text/plain", 1)):
        status, told = one.json("POST", "/v1/rows/media/cells", several, {"Content-Type": kind})
        mp.is_((status, told["cells"]), (201, n), "%s: %d" % (kind, n))
    for accept, kind in (("*/*", "application/octet-stream"), ("application/json", "application/json"), ("", "application/octet-stream"),
                         ("text/html, Application/JSON; q=0.5", "application/json"), ("application/*", "application/octet-stream")):
        mp.is_(send(one, "GET", "/v1/rows/media/cells/1", fields={"Accept": accept}).type, kind, "Accept: %s" % accept)
    for accept, kind in (("application/vnd.middlepipe.frames", "application/vnd.middlepipe.frames"), ("text/html", "text/event-stream")):
        answer = send(one, "GET", "/v1/subscribe?row=media", fields={"Accept": accept}, whole=False)
        mp.is_(answer.type, kind, "a stream as %s" % kind)


def test_schemathesis(one):
    name = "schemathesis finds nothing that does not agree"
    if not os.path.isdir(PACKAGES):
        mp.skip(name, "schemathesis is not in build/schemathesis (tools/install-deps --api brings it)")
        return
    # A stream does not end; and DELETE of /v1/members/token is that of a member called so.
    words = ["run", DOCUMENT, "--url", one.url, "--phases", "coverage", "--exclude-operation-id", "subscribe",
             "--exclude-operation-id", "makeToken", "--exclude-operation-id", "join",
             "--seed", "1", "--no-color", "--exclude-checks", "positive_data_acceptance", "--request-timeout", "20"]
    done = subprocess.run([mp.PYTHON, "-c", "from schemathesis.cli import schemathesis; schemathesis()", *words],
                          env={**os.environ, "PYTHONPATH": PACKAGES}, cwd=mp.workdir(), capture_output=True, text=True,
                          timeout=300)
    mp.ok(done.returncode == 0, name)
    mp.note("\n".join(done.stdout.splitlines()[-12:]) if not done.returncode else done.stdout[-6000:] + done.stderr[-2000:])


test_document()
one = aggregator.Aggregator("openapi").wait_ready()
prepare(one)
rng = random.Random(81)
test_wrong(one, rng)
test_heads(one, rng)
test_methods(one, rng)
test_media(one)
test_proper(one, rng)
test_schemathesis(one)
mp.is_(one.stop(), 0, "it stops")
mp.done()

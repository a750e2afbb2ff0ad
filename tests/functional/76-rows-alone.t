#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mp-aggregator alone, on SQLite.

Part 1: the calls of docs/rows-api.md, bad input included.  Part 2: streams.  Part
3: it is killed, killed again as it comes, stopped and resumed, stopped and killed, and
restarted in peace while seeded clients put, read, delete, compact and subscribe; the
history goes to tests/rows/check_history, and every kind must have met puts in
flight.  Part 4: it stops.
"""

import base64
import http.client
import json
import os
import random
import sys
import threading
import time

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import mp
import rowfaults
from workload import Workload

CELLS = {"Content-Type": "application/vnd.middlepipe.cells+json"}

mp.need(aggregator.PROGRAM)


def code(answer):
    """Status and code of an error."""
    return answer[0], answer[1].get("code")


def test_calls(one):
    status, told = one.put("greetings", "hello")
    mp.is_((status, told["row"], told["seq"], told["cells"]), (201, "greetings", 1, 1), "a cell is put")
    life = told["incarnation"]
    mp.is_(one.call("GET", "/v1/rows/greetings/cells/latest")[2], b"hello", "and there")
    status, told = one.put("greetings", "again", key="k1", base=life + ":1")
    mp.is_((status, told["seq"]), (201, 2), "a second, with a key")
    mp.is_(one.put("greetings", "again", key="k1", base=life + ":1"), (200, told), "once, however often it is put")
    mp.is_(code(one.put("greetings", "other", key="k1", base=life + ":1")), (422, "key_reused"), "other bytes are told")
    mp.is_(one.put("greetings", "new", key="k2", base=life + ":2")[0], 201, "a third, with another key")
    mp.is_(code(one.put("greetings", "x", match=7)), (412, "precondition"), "If-Match of another seq")
    mp.is_(one.put("greetings", "x", match=3)[1]["seq"], 4, "If-Match of this one")
    body = json.dumps({"cells": [base64.b64encode(b).decode() for b in (b"one", b"two")]})
    mp.is_(one.json("POST", "/v1/rows/greetings/cells", body, CELLS)[1]["seq"], 5, "two at once")
    status, told = one.get("/v1/rows/greetings/cells?from=5")
    mp.is_([base64.b64decode(cell["data"]) for cell in told["cells"]], [b"one", b"two"], "both are there")
    mp.is_(one.get("/v1/rows/greetings/cells?from=2&to=3")[1]["cells"][0]["key"], "k1", "a range")
    mp.is_(one.call("GET", "/v1/rows/greetings/cells/5")[1]["ETag"], '"5"', "a cell has its seq as ETag")
    mp.is_(one.get("/v1/rows?prefix=gree")[1]["rows"][0]["highest"], 6, "a list")
    mp.is_(one.get("/v1/rows/none")[0], 404, "no such row")
    mp.is_(one.get("/v1/rows/greetings/cells/99")[0], 404, "no such cell")
    mp.is_(one.get("/v1/rows/greetings?at_least=99&wait=50")[0], 404, "nor after a while")
    mp.is_(one.call("GET", "/v1/rows/greetings/cells/5?at_least=99&wait=50")[0], 404, "a cell of before waits for it, too")
    mp.is_(one.call("GET", "/v1/rows/greetings/cells/5?at_least=6")[2], b"one", "and not for one that is there")
    test_hope(one)
    test_life(one, life)


def test_hope(one):
    """A read that waits for a cell of a row that nobody has made."""
    status, fields, body = one.call("GET", "/v1/rows/hoped?at_least=2&wait=50")
    mp.is_((status, json.loads(body)["error"], fields["Middlepipe-Base"]), (404, "no such row", "-:0"), "it waits in vain")
    asking = []
    for path in ("?", "/cells?", "?stale=ok&"):
        host, port = one.address.rsplit(":", 1)
        asking.append(http.client.HTTPConnection(host, int(port), timeout=mp.DEADLINE))
        asking[-1].request("GET", "/v1/rows/hoped%sat_least=2&wait=60000" % path)
    for row in ("hope", "hoped", "hoped"):
        mp.is_(one.put(row, "x")[0], 201, "meanwhile %s is put" % row)
    replies = [connection.getresponse() for connection in asking]
    mp.is_([(reply.status, json.loads(reply.read())["highest"]) for reply in replies], [(200, 2)] * 3,
           "it is answered when both have come")
    for connection in asking:
        connection.close()


def test_life(one, life):
    mp.is_(one.json("POST", "/v1/rows/greetings/compact", {"floor": 3})[1]["floor"], 3, "the floor moves")
    status, told = one.get("/v1/rows/greetings/cells/2")
    mp.is_((status, told["floor"]), (410, 3), "below it is gone")
    mp.is_(one.put("greetings", "again", key="k1", base=life + ":1")[0], 200, "its keys are remembered")
    mp.is_(one.json("PUT", "/v1/rows/greetings", {"keep_cells": 2})[1]["keep_cells"], 2, "policies")
    one.put("greetings", "x")
    mp.is_(one.get("/v1/rows/greetings")[1]["floor"], 6, "and they are kept")
    for method, path, body in (("DELETE", "", None), ("PUT", "", {"keep_cells": 3}), ("POST", "/compact", {"floor": 7})):
        answer = one.json(method, "/v1/rows/greetings" + path, body, {"Middlepipe-Base": "0" * 15 + "1:7"})
        mp.is_(code(answer), (410, "gone"), "%s%s is not done in another life of the row" % (method, path))
    mp.is_(one.get("/v1/rows/greetings")[1]["keep_cells"], 2, "nothing of that has happened")
    gone = one.json("DELETE", "/v1/rows/greetings", None, {"Middlepipe-Base": life + ":7"})
    mp.is_((gone[0], gone[1].get("deleted")), (200, True), "deleted")
    mp.is_(code(one.json("DELETE", "/v1/rows/greetings", None, {"Middlepipe-Base": life + ":7"})), (410, "gone"),
           "once")
    mp.is_(one.get("/v1/rows/greetings")[0], 404, "it is gone")
    mp.is_(code(one.put("greetings", "x", key="k9", base=life + ":7")), (410, "gone"), "so is what was put to it")
    status, told = one.put("greetings", "anew", base=life + ":-", key="k10")
    mp.ok(status == 201 and told["seq"] == 1 and told["incarnation"] != life, "another life")
    mp.is_(one.put("greetings", "anew", base=life + ":-", key="k10")[0], 200, "and its first put is known")


def test_mistakes(one):
    for fields, text in (({"If-Match": "17"}, "If-Match"), ({"Idempotency-Key": "x" * 65}, "Idempotency-Key"),
                         ({"Idempotency-Key": b"k\x88"}, "Idempotency-Key"),
                         ({"Middlepipe-Base": "1:2"}, "Middlepipe-Base")):
        status, told = one.json("POST", "/v1/rows/a/cells", "x", fields)
        mp.ok(status == 400 and text in told["error"], "400 names %s" % text)
    for body in ("{}", '{"cells":[]}', '{"cells":["!"]}', '{"cells":"YQ=="}', "[", '{"cells":["YQ=="],"x":1}'):
        mp.is_(code(one.json("POST", "/v1/rows/a/cells", body, CELLS)), (400, "bad_request"), "no cells: %s" % body)
    for body in ('{"keep_cells":-1}', '{"check":"No"}', '{"partition":"maybe"}', '{"keep":1}'):
        mp.is_(one.json("PUT", "/v1/rows/a", body)[0], 400, "no policies: %s" % body)
    for path in ("/v1/rows/a~b", "/v1/rows/a%00b", "/v1/rows/" + "x" * 257, "/v1/rows/%ff"):
        mp.is_(one.get(path)[0], 400, "no name: %s" % path[:24])
    mp.is_(code(one.put("a", "x" * ((1 << 20) + 1))), (413, "too_large"), "a cell above 1 MiB")
    mp.is_(one.call("POST", "/v1/rows/a/cells", b"x" * ((4 << 20) + 1))[0], 413, "a request above 4 MiB")
    mp.is_(one.get("/v1/rows/a")[0], 404, "and nothing of it was kept")
    mp.is_(one.call("PATCH", "/v1/rows/a")[0], 405, "a method that is none")


def read_stream(one, path, until, deadline=mp.DEADLINE, last=None):
    """The events of a stream, until one of them is as wanted; cells have their "id", too.  last: as EventSource says it."""
    host, port = one.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=deadline)
    connection.request("GET", path, headers={"Last-Event-ID": last} if last else {})
    reply, events, event = connection.getresponse(), [], {}
    while reply.status == 200:
        line = reply.readline().decode().rstrip("\n")
        if line:
            name, value = line.split(": ", 1)
            event[name] = value
            continue
        if not event:
            break
        events.append((event["event"], {**json.loads(event["data"]), **({"id": event["id"]} if "id" in event else {})}))
        event = {}
        if until(*events[-1]):
            break
    connection.close()
    return reply.status, events


def test_streams(one):
    for i in range(5):
        one.put("news", "n%d" % i)
    status, events = read_stream(one, "/v1/subscribe?row=news&from=2", lambda kind, told: told.get("seq") == 5)
    mp.is_([told["seq"] for kind, told in events if kind == "cell"], [2, 3, 4, 5], "each once, in order")
    mp.is_((events[0][0], events[0][1]["highest"]), ("heartbeat", 5), "a heartbeat comes first")
    status, events = read_stream(one, "/v1/subscribe?prefix=n", lambda kind, told: told.get("seq") == 5)
    mp.is_({told["row"] for kind, told in events if kind == "cell"}, {"news"}, "all rows of a prefix")
    mp.is_(["id" in told for kind, told in events if kind == "cell"], [False] * 5, "whose cells have no id to come back with")
    mp.is_(read_stream(one, "/v1/subscribe?row=later", None)[0], 404, "no such row")
    one.json("POST", "/v1/rows/news/compact", {"floor": 4})
    mp.is_(read_stream(one, "/v1/subscribe?row=news&from=2", None)[0], 410, "below the floor")
    seen = []
    read_stream(one, "/v1/subscribe?row=news&heartbeat=100",
                lambda kind, told: seen.append(kind) or seen.count("heartbeat") == 4)
    mp.is_(seen.count("heartbeat"), 4, "heartbeats go on")


def read_frames(one, path, n, deadline=mp.DEADLINE):
    """(seq, content) of the first cells of a stream, as frames; of fewer when it breaks off, or in time."""
    late = time.monotonic() + deadline
    host, port = one.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=deadline)
    connection.request("GET", path, headers={"Accept": "application/vnd.middlepipe.frames"})
    reply, cells = connection.getresponse(), []
    try:
        while len(cells) < n and time.monotonic() < late:
            frame = reply.read(int.from_bytes(reply.read(4), "little"))
            seq, size = int.from_bytes(frame[12:20], "little"), int.from_bytes(frame[32:36], "little")
            if frame[0] == 1:
                cells.append((seq, frame[len(frame) - size:]))
    except (OSError, IndexError):
        pass  # the stream has fallen silent, or has ended
    connection.close()
    return cells


def test_last_event(one):
    for i in range(4):
        one.put("again", b"a%d" % i)
    _, events = read_stream(one, "/v1/subscribe?row=again&from=1", lambda kind, told: told.get("seq") == 2)
    last = events[-1][1]["id"]
    mp.is_(last, "2@" + events[-1][1]["incarnation"], "a cell's id has its row's incarnation")
    for text in (last, "2"):
        _, events = read_stream(one, "/v1/subscribe?row=again&from=1", lambda kind, told: told.get("seq") == 4, last=text)
        mp.is_([told["seq"] for kind, told in events if kind == "cell"], [3, 4], "Last-Event-ID %s goes on behind it" %
               ("with it" if "@" in text else "without"))
    for text in ("x", "2@", "2@12", "@" + last[2:], "-1"):
        _, events = read_stream(one, "/v1/subscribe?row=again&from=4", lambda kind, told: kind == "cell", last=text)
        mp.is_(events[-1][1]["seq"], 4, "Last-Event-ID %s counts as absent" % text.replace(last[2:], "I"))
    one.call("DELETE", "/v1/rows/again")
    for i in range(4):
        one.put("again", b"b%d" % i)
    mp.is_(read_stream(one, "/v1/subscribe?row=again", None, last=last)[0], 410, "not in another life of the row")


def test_large_streams(one):
    """Cells that need all the room that a stream has are sent as well, each once."""
    contents = [os.urandom(1 << 20) for _ in range(4)] + [b"small"]
    for content in contents:
        one.call("POST", "/v1/rows/large/cells", content)
    want = list(enumerate(contents, 1))
    mp.ok(read_frames(one, "/v1/subscribe?row=large&from=1", 5) == want, "cells of 1 MiB as frames")
    mp.ok(read_frames(one, "/v1/subscribe?prefix=larg", 5) == want, "likewise by prefix")
    late = time.monotonic() + mp.DEADLINE
    _, events = read_stream(one, "/v1/subscribe?row=large&from=1",
                            lambda kind, told: told.get("seq") == 5 or time.monotonic() > late)
    got = [(told["seq"], base64.b64decode(told["data"])) for kind, told in events if kind == "cell"]
    mp.ok(got == want, "and as events")


def test_latest_of_prefix(one):
    """Of a row that keeps its latest cell alone, what is put together with it never comes; that one does."""
    one.json("PUT", "/v1/rows/kept", {"keep_cells": 1})
    contents, seen, seqs = {"cells": ["YQ==", "Yg=="]}, [], []

    def until(kind, told):
        seqs.extend([told["seq"]] if kind == "cell" else [])
        if kind == "heartbeat" and told.get("highest") == 2 * len(seen) and len(seen) < 2:
            seen.append(one.json("POST", "/v1/rows/kept/cells", contents, CELLS)[0])
        return seqs[-1:] == [4] or told.get("highest") == 4  # which is told behind the cell

    read_stream(one, "/v1/subscribe?prefix=kept&heartbeat=100", until)
    mp.is_((seen, seqs), ([201, 201], [2, 4]), "the latest cell of a row that keeps one")


class Faults:
    """What the workload's schedule carries out."""

    def __init__(self, one):
        self.one, self.ended = one, []

    def kill(self, _):
        self.one.kill()
        return self.one.start

    def kill_again(self, draw):
        """And again as it starts: before it serves, or a moment later."""
        self.one.kill()

        def again():
            self.one.launch()
            threading.Event().wait(float(draw))
            self.one.kill()
            self.one.start()
        return again

    def pause(self, _):
        self.one.pause()
        return self.one.resume

    def pause_and_kill(self, _):
        """It never goes on from where it was stopped."""
        self.one.pause()

        def end():
            self.one.kill()
            self.one.start()
        return end

    def restart(self, _):
        self.ended.append(self.one.stop())
        return self.one.start

    def table(self):
        return {"kill": self.kill, "killed again": self.kill_again, "pause": self.pause,
                "paused and killed": self.pause_and_kill, "restart": self.restart}


def test_faults(seed):
    one = aggregator.Aggregator("seed%d" % seed).wait_ready()
    path = rowfaults.history("alone-%d" % seed)
    rng = random.Random("alone/%d" % seed)
    kinds = {"kill": (["m1"], 0.0, 0.2), "pause": (["m1"], 0.2, 1.0), "restart": (["m1"], 0.0, 0.2),
             "killed again": (["%.3f" % (rng.random() * 0.1) for _ in range(8)], 0.0, 0.2),
             "paused and killed": (["m1"], 0.1, 0.5)}
    load = Workload({"m1": one.url}, path, seed=seed, rows=rowfaults.ROWS, clients=4, admin=True)
    faults = Faults(one)
    load.run(faults=rowfaults.turns(rng, kinds, rowfaults.seconds(8)), executors=faults.table())
    rowfaults.judge(load, path, kinds, "seed %d" % seed)
    mp.is_(set(faults.ended), {0}, "seed %d: in peace it ended with 0, %d times" % (seed, len(faults.ended)))
    mp.is_(one.stop(), 0, "seed %d: it stops" % seed)


def test_stop(one):
    second = mp.run([aggregator.PROGRAM, "--data", one.data, "--listen", "127.0.0.1:0"])
    mp.ok(second[0] == 1 and "another process" in second[2], "a second one on the same directory is told")
    mp.is_(one.stop(), 0, "it stops")
    one.start()
    mp.is_(one.wait_ready().get("/v1/rows/news")[1]["highest"], 5, "and has everything when it comes again")
    for words, text in ((["--listen", "nowhere"], "--listen"), (["--listen", "0.0.0.0:0"], "token"),
                        (["--member", "a/b"], "--member"), (["--put-time", "1"], "--put-time"), (["x"], "operand")):
        status, _, err = mp.run([aggregator.PROGRAM, "--data", one.data + "x", *words])
        mp.ok(status in (1, 2) and text in err, "%s: %s" % (" ".join(words), err.strip().splitlines()[0][:90]))


one = aggregator.Aggregator("alone").wait_ready()
test_calls(one)
test_mistakes(one)
test_streams(one)
test_last_event(one)
test_large_streams(one)
test_latest_of_prefix(one)
for seed in rowfaults.SEEDS:
    test_faults(seed)
test_stop(one)
mp.done()

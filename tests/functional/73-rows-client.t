#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The client of rows (lib/rows_client.h), driven by tests/functional/prog/rows_client.c.

Part 1: ETTM's calls.  Part 2: a member that lies, says nothing, or sends the client
elsewhere.  Part 3: mp-aggregator alone is killed and started again under load: every
put ends committed, once, and subscriptions have all of it; tests/rows/check_history
judges.  Part 4: a group on a real etcd, whose members are killed and stopped.
"""

import hashlib
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

LIB = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")
sys.path[:0] = [LIB, os.path.join(LIB, "../../rows")]
import aggregator
import etcd
import kept
import mp
from authority import Authority
from history import Writer
from rowclient import Client
from rowdriver import PROGRAM, Driver

CHECKER = os.path.join(LIB, "../../rows/check_history")
PUTS = int(os.environ.get("MP_TEST_ROWS_PUTS", "8000"))  # alone; half of it in a group
FAULTS = 4  # at least, while there is load

mp.need(PROGRAM, aggregator.PROGRAM, "openssl")


def outcome(told):
    return told["outcome"], told["status"]


def texts(told):
    return [(seq, text) for seq, kind, text, key in told["cells"]]


# ---------------------------------------------------------------------- part 1

def test_calls(one):
    client = Driver([one.url])
    first = client.ask("put", "chains/shop", "hello")
    mp.is_((outcome(first), first["seq"], first["base"]), (("ok", 201), 1, "-:0"), "a put makes the row")
    second = client.ask("put", "chains/shop", "two", "k1")
    mp.is_((second["seq"], second["base"]), (2, first["incarnation"] + ":1"), "the next goes by what was learned")
    again = client.ask("put", "chains/shop", "two", "k1", second["base"])
    mp.is_((outcome(again), again["seq"]), (("ok", 200), 2), "with its key and base it is the same")
    mp.is_(outcome(client.ask("put", "chains/shop", "other", "k1", second["base"])), ("refused", 422),
           "which has its bytes")
    mp.is_(client.ask("many", "chains/shop", "a", "b", "c")["seq"], 3, "three at once")
    told = client.ask("put-if", "chains/shop", 3, "x")
    mp.is_((outcome(told), told["highest"]), (("refused", 412), 5), "a condition that does not hold")
    mp.is_(client.ask("put-if", "chains/shop", 5, "x")["seq"], 6, "and one that does")
    mp.is_(texts(client.ask("latest", "chains/shop")), [(6, "x")], "get: the latest")
    mp.is_(texts(client.ask("stale", "chains/shop")), [(6, "x")], "what the member has")
    told = client.ask("seq", "chains/shop", 2)
    mp.is_((told["cells"], told["highest"]), ([[2, 1, "two", "k1"]], 6), "one cell, with its key")
    mp.is_(outcome(client.ask("seq", "chains/shop", 99)), ("not_there", 404), "one that is not there")
    mp.is_(texts(client.ask("range", "chains/shop", 3)), [(3, "a"), (4, "b"), (5, "c"), (6, "x")], "a range")
    waiting = client.do("wait", "chains/shop", 7, 10000)
    client.ask("put", "chains/shop", "seven")
    mp.is_(texts(client.until(waiting, "cell 7")), [(7, "seven")], "at_least waits")
    mp.is_(client.ask("highest", "chains/shop")["highest"], 7, "highest_sequence_number")
    mp.is_(client.ask("highest", "none")["outcome"], "not_there", "of no row")
    mp.is_(outcome(client.ask("policy", "u", "unique")), ("ok", 201), "set_semantic_check_policy")
    mp.is_(client.ask("highest", "u")["check"], "unique", "which a row tells of")
    mp.is_(outcome(client.ask("policy", "chains/shop", "unique")), ("refused", 409), "not with cells")
    mp.is_(client.ask("put", "x" * 257, "y")["outcome"], "wrong", "a name that is none")
    mp.is_(client.ask("delete", "chains/shop")["outcome"], "ok", "delete")
    mp.is_(client.ask("delete", "chains/shop")["outcome"], "not_there", "there is nothing to delete")
    told = client.ask("put", "chains/shop", "anew")
    mp.is_((told["outcome"], told["seq"]), ("ok", 1), "what was deleted is made again")
    mp.is_(client.ask("put", "chains/shop", "two", "k1", second["base"])["outcome"], "gone",
           "a put with a base of the old life is gone")
    mp.is_(client.close(), 0, "nothing is left open")


def tried(url, *options):
    client = Driver([url], "--timeout", "4s", *options)
    told = client.ask("put", "a", "x")
    client.close()
    return told["outcome"]


def test_credentials():
    folder = mp.workdir()
    ca = Authority(folder, "ca")
    cert, key = ca.sign("server", "/CN=server")
    tokens = os.path.join(folder, "tokens.json")
    with open(tokens, "w") as out:
        json.dump([{"name": "tester", "token_sha256": hashlib.sha256(b"secret").hexdigest(),
                    "rights": [{"prefix": "", "read": True, "put": True}]}], out)
    one = aggregator.Aggregator("tls", "--tls-cert", cert, "--tls-key", key, "--tokens", tokens)
    url = "https://" + one.address
    mp.is_(tried(url, "--ca", ca.cert, "--token", "secret"), "ok", "by TLS, with a token")
    mp.is_(tried(url, "--ca", ca.cert, "--token", "wrong"), "rejected", "with a wrong token")
    mp.is_(tried(url, "--token", "secret", "--timeout", "500ms"), "unavailable", "an authority that is not known")
    one.stop()
    one = aggregator.Aggregator("mutual", "--tls-cert", cert, "--tls-key", key, "--tls-ca", ca.cert)
    url = "https://" + one.address
    mine, my_key = ca.sign("client", "/CN=client")
    told = tried(url, "--ca", ca.cert, "--cert", mine, "--key", my_key)
    mp.ok(told in ("ok", "rejected"), "a certificate is shown: " + told)
    mp.is_(tried(url, "--ca", ca.cert), "rejected", "without one it has no rights")
    one.stop()


def test_checks(one):
    client = Driver([one.url])
    client.ask("policy", "claims", "unique")
    told = client.ask("put", "claims", '{"claim":"port-1","holder":"a"}')
    mp.is_(told["outcome"], "ok", "a claim that the check allows") or mp.note(told)
    told = client.ask("put", "claims", '{"claim":"port-1","holder":"b"}')
    mp.ok(outcome(told) == ("refused", 409) and told["why"], "the second is refused: " + told["why"])
    told = client.ask("check", "claims", '{"claim":"port-1","holder":"b"}')
    mp.ok(outcome(told) == ("refused", 409) and told["why"].endswith('is held by "a"'), "check: it would be refused")
    told = client.ask("check", "claims", '{"claim":"port-2","holder":"b"}')
    mp.is_((outcome(told), told["check"], told["seq"], told["highest"]), (("ok", 200), "unique", 2, 1), "another would be put")
    told = client.ask("check", "claims", '{"claim":"port-3","holder":"b"}', '{"claim":"port-3","holder":"c"}')
    mp.is_(outcome(told), ("refused", 409), "two that do not go together")
    mp.is_(client.ask("highest", "claims")["highest"], 1, "and nothing was put")
    mp.is_(outcome(client.ask("check", "new", "x")), ("ok", 200), "a row that is not there takes everything")
    mp.is_(client.ask("highest", "new")["outcome"], "not_there", "and is not made")
    mp.is_(client.ask("check", "x" * 257, "y")["outcome"], "wrong", "a name that is none")
    client.close()


def test_subscriptions(one):
    client = Driver([one.url], "--heartbeat", "100ms")
    for text in "abc":
        client.ask("put", "news/a", text)
    reader = client.do("subscribe", "news/a", 2)
    mp.wait_for(lambda: len(client.cells(reader)) == 2, "two cells")
    mp.is_(client.cells(reader), [(2, "b"), (3, "c")], "subscribe: from a seq on")
    joined = client.do("join", "news/a")
    prefix = client.do("prefix", "news/")
    client.until(joined, "a heartbeat", "beat")
    client.ask("put", "news/a", "d")
    client.ask("put", "news/b", "other")
    mp.wait_for(lambda: client.cells(joined) == [(4, "d")], "what came after the join")
    mp.ok(True, "join: cells from now on")
    mp.wait_for(lambda: len(client.cells(prefix)) == 5, "all of the prefix")
    mp.is_({(one["row"], one["seq"]) for one in client.all(prefix) if "cell" in one},
           {("news/a", 1), ("news/a", 2), ("news/a", 3), ("news/a", 4), ("news/b", 1)}, "all rows of a prefix")
    client.ask("leave", joined)
    later = client.do("subscribe", "news/later", 1, "wait")
    mp.is_(client.until(client.do("subscribe", "news/none", 1), "its end", "ended")["ended"], "not_there",
           "a row that is not there")
    client.ask("put", "news/a", "e")
    client.ask("put", "news/later", "first")
    mp.wait_for(lambda: client.cells(later) == [(1, "first")], "the row that was waited for")
    mp.is_(client.cells(joined), [(4, "d")], "leave: nothing more")
    one.json("POST", "/v1/rows/news%2Fa/compact", {"floor": 4})
    told = client.until(client.do("subscribe", "news/a", 2), "its end", "ended")
    mp.is_((told["ended"], told["floor"]), ("gone", 4), "below the floor: gone, and the floor is told")
    client.ask("delete", "news/later")
    mp.is_(client.until(later, "its end", "ended")["ended"], "gone", "a row that is deleted")
    one.stop()
    one.start().wait_ready()
    client.ask("put", "news/a", "f")
    mp.wait_for(lambda: (6, "f") in client.cells(reader), "cells after a restart")
    mp.is_([seq for seq, text in client.cells(reader)], [2, 3, 4, 5, 6], "each once over a restart of the member")
    mp.wait_for(lambda: (6, "f") in client.cells(prefix), "cells of the prefix after a restart")
    mp.is_(len(client.cells(prefix)), len(set((one["row"], one["seq"]) for one in client.all(prefix) if "cell" in one)),
           "those of a prefix, too")
    mp.is_(client.close(), 0, "nothing is left open")


# ---------------------------------------------------------------------- part 2

class Fake:
    """A member that answers as it is told: answer(method, path, fields) gives (status, fields, body),
    bytes to send as they are, or None to hang up; "silent": it keeps the connection and says nothing."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.held = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection = self.listener.accept()[0]
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            while True:
                line = stream.readline().split()
                if len(line) != 3:
                    return
                fields = dict(text.decode().rstrip().lower().split(": ", 1) for text in iter(stream.readline, b"\r\n"))
                stream.read(int(fields.get("content-length", 0)))
                self.asked.append((line[0].decode(), line[1].decode(), fields))
                if not self._send(connection, self.answer(*self.asked[-1])):
                    return

    def _send(self, connection, answer):
        if answer == "silent":
            self.held.append(connection.dup())
            return False
        if answer is None:
            return False
        if isinstance(answer, tuple):
            status, fields, body = answer
            lines = ["HTTP/1.1 %d X" % status, "Content-Length: %d" % len(body)]
            lines += ["%s: %s" % pair for pair in fields.items()]
            answer = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        connection.sendall(answer)
        return True


class Nobody:
    """A member that is not there."""

    def __init__(self):
        self.url = "http://127.0.0.1:%d" % mp.dead_port()


INC = "00000000000000ff"
ROW = (200, {}, json.dumps({"row": "a", "incarnation": INC, "highest": 5, "floor": 1}).encode())
COMMITTED = (201, {}, json.dumps({"row": "a", "incarnation": INC, "seq": 6, "cells": 1}).encode())


def error(status, code, **fields):
    names = {"owner": "Middlepipe-Owner", "after": "Retry-After", "base": "Middlepipe-Base"}
    return (status, {names[name]: value for name, value in fields.items()},
            json.dumps({"error": "because", "code": code, "highest": 9}).encode())


def script(*puts, get=ROW):
    """Gets are answered the same, puts one after the other; the last one goes on."""
    left = list(puts)

    def answer(method, path, fields):
        if method == "GET":
            return get
        return left.pop(0) if len(left) > 1 else left[0]
    return answer


def puts_of(fake):
    return [(fields.get("idempotency-key"), fields.get("middlepipe-base"))
            for method, path, fields in fake.asked if method == "POST"]


def put_at(*fakes, options=(), words=("put", "a", "x")):
    client = Driver([fake.url for fake in fakes], "--attempt", "1500ms", "--open", "1500ms", *options)  # a stall is no silence
    told = client.ask(*words)
    mp.ok(client.close() == 0, "nothing is left open")
    return told


def test_answers():
    fake = Fake(script(error(504, "unknown"), error(503, "unavailable", after="0"), None, COMMITTED))
    told = put_at(fake)
    mp.is_((told["outcome"], told["seq"], told["attempts"]), ("ok", 6, 4), "504, 503 and a hang-up, then committed")
    mp.is_(set(puts_of(fake)), {(told["key"], INC + ":5")}, "each attempt had the same key and base")
    fake = Fake(script(None, error(409, "refused"), error(409, "refused")))
    begin = time.monotonic()
    told = put_at(fake)
    mp.is_((told["outcome"], told["attempts"], told["why"]), ("refused", 3, "because"), "409 behind a hang-up")
    mp.ok(time.monotonic() - begin > 0.9, "is believed when nothing can come behind it any more")
    told = put_at(Fake(script(None, error(409, "refused"))), options=("--timeout", "600ms"))
    mp.is_(told["outcome"], "unknown", "without the time for that it is unknown")
    told = put_at(Fake(script("silent")), options=("--attempt", "300ms", "--timeout", "900ms"))
    mp.ok(told["outcome"] == "unknown" and told["attempts"] >= 2, "silence: unknown, after several attempts")
    told = put_at(Nobody(), options=("--timeout", "500ms"))
    mp.is_(told["outcome"], "unavailable", "nobody there: certainly not applied")
    for _ in range(5):
        told = put_at(Fake(script(error(503, "unavailable", after="0"))), options=("--timeout", "500ms"))
        if told["outcome"] != "unknown":
            break  # else the last answer came too late
    mp.is_(told["outcome"], "unavailable", "nobody took it: certainly not applied")
    for text in (b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n{", b"hello\r\n\r\n",
                 b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n[]"):
        told = put_at(Fake(script(text, COMMITTED)))
        mp.is_((told["outcome"], told["attempts"]), ("ok", 2), "an answer that cannot be read says nothing: %r" % text[-9:])


def test_bases():
    forbidden = error(403, "forbidden")
    fake = Fake(script(error(503, "unavailable", after="0", base=INC + ":3"), None, COMMITTED, get=forbidden))
    told = put_at(fake)
    mp.is_([base for key, base in puts_of(fake)], [None, INC + ":3", INC + ":3"],
           "without a right to read the base is what was stamped")
    mp.is_(told["outcome"], "ok", "and the put comes home")
    fake = Fake(script(None, COMMITTED, get=forbidden))
    told = put_at(fake)
    mp.is_((told["outcome"], len(puts_of(fake))), ("unknown", 1), "a hang-up before that is unknown for ever")
    fake = Fake(script(None, COMMITTED, get=forbidden))
    told = put_at(fake, words=("put", "a", '""'))
    mp.is_((told["outcome"], len(puts_of(fake))), ("unknown", 1), "of an empty cell, too: it is sent once")
    fake = Fake(script(error(410, "gone"), COMMITTED))
    mp.is_(put_at(fake)["outcome"], "ok", "a base that is too old for the row is learned again")
    fake = Fake(script(None, error(410, "gone")))
    mp.is_(put_at(fake)["outcome"], "unknown", "not behind a hang-up: nobody can know")


def test_owner():
    owner = Fake(script(COMMITTED))
    first = Fake(script(error(503, "elsewhere", after="5", owner=owner.url)))
    client = Driver([first.url])
    begin = time.monotonic()
    mp.is_([client.ask("put", "a", str(i))["outcome"] for i in range(5)], ["ok"] * 5, "the owner is learned")
    mp.ok(time.monotonic() - begin < 4, "and gone to at once")
    mp.is_((len(puts_of(first)), len(puts_of(owner))), (1, 5), "the next ones go there first")
    client.close()


def frame(kind, seq=0, row=b"a", key=b"", content=b"", time_=0, incarnation=0xff):
    body = struct.pack("<BBHQQQBBHI", kind, 1, len(row), incarnation, seq, time_, len(key), 0, 0, len(content))
    body += row + key + content
    return struct.pack("<I", len(body)) + body


def stream(*frames):
    """A stream that is kept open behind them."""
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        b"%x\r\n%s\r\n" % (len(one), one) for one in frames)


def subscribed(*answers, highest=5):
    """
    (client, subscriber, fake) at one that answers subscriptions so, one after the other.  What has the first cell is
    given until that has arrived: on a slow machine a client may hang up before it has read it.
    """
    first = next((i for i, one in enumerate(answers) if isinstance(one, bytes) and b"c1" in one), len(answers) - 1)
    begin, rest = list(answers[:first + 1]), list(answers[first + 1:])

    def answer(method, path, fields):
        if not path.startswith("/v1/subscribe"):
            return ROW
        left = rest if rest and "&from=1&" not in path + "&" else begin
        return left.pop(0) if len(left) > 1 else left[0]
    fake = Fake(answer)
    client = Driver([fake.url], "--heartbeat", "200ms")
    return client, client.do("subscribe", "a", 1), fake


def froms(fake):
    return [path.split("from=")[1].split("&")[0] for method, path, fields in fake.asked if "subscribe" in path]


def test_streams():
    beat = frame(2, 5, time_=1)
    one, two, three = (frame(1, seq, content=b"c%d" % seq) for seq in (1, 2, 3))
    cases = (
        ("falls silent", stream(beat, one), stream(beat, two, three)),
        ("is slow", stream(beat, one, frame(3, key=b"slow", row=b"")), stream(beat, two, three)),
        ("stops", stream(beat, one, frame(3, key=b"stopping", row=b"")), stream(beat, two, three)),
        ("is behind and says gone", stream(beat, one), error(410, "gone"), stream(beat, two, three)),
        ("says gone in the stream", stream(beat, one, frame(3, key=b"gone", row=b"")), stream(beat, two, three)),
        ("has no such row yet", error(404, "not_there"), stream(beat, one), stream(beat, two, three)),
        ("does not serve", error(503, "unavailable"), stream(one), stream(two, three)),
        ("leaves a gap", stream(beat, one, three), stream(beat, two, three)),
        ("repeats", stream(one, one), stream(one, two, two, three)),
        ("sends another row", stream(one, frame(1, 2, row=b"b")), stream(two, three)),
        ("sends another life", stream(one, frame(1, 2, incarnation=7)), stream(two, three)),
        ("sends what is no frame", stream(one, b"\xff" * 50), stream(two, three)),
    )
    for what, *answers in cases:
        client, reader, fake = subscribed(*answers)
        mp.wait_for(lambda: len(client.cells(reader)) >= 3, "three cells from one that " + what)
        mp.is_(client.cells(reader), [(1, "c1"), (2, "c2"), (3, "c3")], "a member that %s: each cell once" % what)
        # The first that is not the beginning again: behind the last cell it may have found it silent, and asked once more.
        mp.ok(next((one for one in froms(fake) if one != "1"), None) == "2" or what == "repeats",
              "and it was resumed behind the first")
        mp.is_(client.close(), 0, "nothing is left open")


def test_ahead():
    """A subscriber has seen more than there is: the row itself decides."""
    beat, old = frame(2, 7, time_=1), frame(2, 5, time_=1)
    seven = [frame(1, seq, content=b"c%d" % seq) for seq in range(1, 8)]
    client, reader, fake = subscribed(stream(beat, *seven, frame(3, key=b"stopping", row=b"")), stream(old, old))
    ended = client.until(reader, "its end", "ended")
    mp.is_((ended["ended"], len(client.cells(reader))), ("gone", 7), "a row that ends before what was seen: an older state")
    client.close()
    five = seven[:5]
    client, reader, fake = subscribed(stream(old, *five, frame(3, key=b"stopping", row=b"")),
                                      stream(frame(2, 3, time_=1), frame(2, 3, time_=1)), stream(old, seven[5]))
    mp.wait_for(lambda: len(client.cells(reader)) >= 6, "the next cell")
    mp.is_([seq for seq, _ in client.cells(reader)], [1, 2, 3, 4, 5, 6], "a member that is behind is no older state")
    mp.is_({one["beat"] for one in client.all(reader) if "beat" in one}, {5}, "nor are its heartbeats told")
    client.close()
    client, reader, fake = subscribed(stream(old, old, old, frame(1, 1)))
    mp.wait_for(lambda: client.cells(reader), "a cell")
    mp.is_(client.close(), 0, "nor is a row that is still read")


def test_join_ahead():
    """A row that ends before it did at the join."""
    highest = [5]

    def answer(method, path, fields):
        if path.startswith("/v1/subscribe"):
            return stream(frame(2, 3, time_=1), frame(2, 3, time_=1))
        return (200, {}, json.dumps({"row": "a", "incarnation": INC, "highest": highest.pop() if highest else 3,
                                     "floor": 1}).encode())
    fake = Fake(answer)
    client = Driver([fake.url])
    told = client.until(client.do("join", "a"), "its end", "ended")
    mp.is_(told["ended"], "gone", "a join to what is restored to an older state: %s" % told["why"])
    client.close()


def test_prefixes():
    def cell(seq, life=0xff, row=b"p/a"):
        return frame(1, seq, row=row, content=b"%d" % seq, incarnation=life)

    end = frame(3, key=b"slow", row=b"")
    streams = [stream(cell(1), cell(2), cell(1, row=b"p/b")),                # falls silent
               stream(cell(1), cell(2), cell(1, row=b"p/b"), cell(3), end),  # all over again
               stream(cell(5), end),                                         # the floor has moved
               stream(cell(1, 0xee), cell(2, 0xee), end),                    # the row was made again
               stream(cell(5), cell(6), cell(1, 0xee), cell(3, 0xee), end),  # a member that was behind, and shows what came behind what
               stream(cell(5), cell(7), cell(3, 0xee), cell(4, 0xee))]       # that life is over
    fake = Fake(lambda method, path, fields: streams.pop(0) if len(streams) > 1 else streams[0])
    client = Driver([fake.url], "--heartbeat", "1s")  # longer than a stall: each stream is given once
    reader = client.do("prefix", "p/")
    mp.wait_for(lambda: len(client.cells(reader)) >= 10, "all cells")
    told = [(one.get("row"), one.get("seq"), one.get("missed")) for one in client.all(reader) if "beat" not in one]
    mp.is_(told, [("p/a", 1, None), ("p/a", 2, None), ("p/b", 1, None), ("p/a", 3, None), ("p/a", None, 5), ("p/a", 5, None),
                  ("p/a", 1, None), ("p/a", 2, None), ("p/a", 6, None), ("p/a", 3, None), ("p/a", 4, None)],
           "a prefix: each cell once over repetitions, moved floors, new lives and members that are behind")
    mp.is_(client.close(), 0, "nothing is left open")
    fake = Fake(lambda method, path, fields: stream(frame(2, 9, row=b"p/a"), frame(2, 3, row=b"p/b"), cell(1)))
    client = Driver([fake.url], "--heartbeat", "200ms")
    reader = client.do("prefix", "p/")
    mp.wait_for(lambda: client.cells(reader), "a cell behind heartbeats")
    mp.is_([one["beat"] for one in client.all(reader) if "beat" in one][:2], [9, 3], "each row has its own heartbeats")
    mp.is_(client.close(), 0, "nothing is left open then either")


# ---------------------------------------------------------------------- part 3

def finals(members, path, rows):
    """The states of all rows at all members, in a history of their own."""
    writer = Writer(path)
    reader = Client("final", {one.name: one.url for one in members}, writer, random.Random(1))
    for row in rows:
        for one in members:
            reader.final(row, one.name)
    reader.close()
    writer.close()


def judge(paths, kinds, name):
    done = subprocess.run([CHECKER, "--faults", ",".join(kinds), *paths], capture_output=True, text=True, check=False)
    mp.note(done.stdout + done.stderr)
    mp.is_(done.returncode, 0, name)


def statuses(path):
    with open(path) as lines:
        return [event["st"] for event in map(json.loads, lines) if event["e"] == "ret"]


def under_load(members, rows, puts, outstanding, kinds, fault):
    """Load and followers; up to 15 faults of these kinds, one after the other, until it has ended."""
    folder = tempfile.mkdtemp(dir=kept.folder(), prefix="client-")
    told_of = Writer(os.path.join(folder, "faults.jsonl"))
    path = os.path.join(folder, "history.jsonl")
    client = Driver([one.url for one in members], "--heartbeat", "400ms", history=path)
    followers = [client.do("follow", row, 1) for row in rows]
    def begin():
        return client.do("load", ",".join(rows), puts, outstanding)

    loads, done = [begin()], 0
    while done < 15:
        if any("outcome" in one for one in client.all(loads[-1])):
            if done >= FAULTS:
                break
            loads.append(begin())  # the machine is fast: each fault is to meet some
        fault(lambda kind, one, at: told_of.write("fault", kind=kind, on=one.name, at=at))
        done += 1
    told_of.close()
    told = [client.until(load, "the load", deadline=120) for load in loads]
    mp.note("%d faults; %s" % (done, told))
    mp.ok(done >= FAULTS, "there were faults enough: %d" % done)
    mp.is_([(one["ok"], one["unknown"], one["unavailable"]) for one in told], [(puts, 0, 0)] * len(told),
           "every put ended committed")
    for row, follower in zip(rows, followers):
        highest = client.ask("highest", row)["highest"]
        mp.wait_for(lambda: [one.get("beat") for one in client.all(follower)[-1:]] == [highest], "the followers have all")
        counted = subprocess.run(["grep", "-c", '"e":"cell".*"o":%d,"row":"%s"' % (followers.index(follower) + 1, row),
                                  path], capture_output=True, text=True, check=False).stdout.strip()
        mp.is_(int(counted or 0), highest, "%s: all %d cells were delivered" % (row, highest))
    mp.is_(client.close(), 0, "nothing is left open")
    found = statuses(path)
    mp.note({status: found.count(status) for status in sorted(set(found))})
    mp.ok(any(status in (0, 1, 503, 504) for status in found), "attempts failed, and were made again")
    finals(members, os.path.join(folder, "finals.jsonl"), rows)
    paths = [os.path.join(folder, name) for name in ("history.jsonl", "finals.jsonl", "faults.jsonl")]
    judge(paths, kinds, "all promises held, and every fault met puts")
    return found


def test_kills():
    one = aggregator.Aggregator("kills").wait_ready()
    rng = random.Random(5)

    def kill(tell):
        threading.Event().wait(rng.uniform(0.05, 0.25))
        tell("kill", one, "begin")
        one.kill()
        threading.Event().wait(rng.uniform(0.0, 0.1))
        one.start()
        tell("kill", one, "end")

    found = under_load([one], ["a", "chains/b", "nat/c"], PUTS, 8, ["kill"], kill)
    mp.ok(found.count(0) > 0, "puts were cut off in flight: %d" % found.count(0))
    mp.is_(one.stop(), 0, "it stops")


# ---------------------------------------------------------------------- part 4

def test_group():
    group = etcd.Group(1)
    group.wait()
    members = [aggregator.Aggregator("g%d" % i, "--group", ",".join(group.urls), "--tenant", "client").wait_ready()
               for i in range(3)]
    turn = iter(range(1000))

    def fault(tell):
        number = next(turn)
        one, kind = members[number % 3], ("kill", "pause")[number % 2]
        threading.Event().wait(0.3)
        tell(kind, one, "begin")
        if kind == "pause":
            one.pause()
            threading.Event().wait(1.2)
            one.resume()
        else:
            one.kill()
            threading.Event().wait(0.2)
            one.start().wait_ready()
        tell(kind, one, "end")

    under_load(members, ["a", "chains/b"], PUTS // 2, 4, ["kill", "pause"], fault)
    for one in members:
        one.stop()
    group.close()


one = aggregator.Aggregator("alone").wait_ready()
test_calls(one)
test_checks(one)
test_subscriptions(one)
one.stop()
test_credentials()
test_answers()
test_bases()
test_owner()
test_streams()
test_ahead()
test_join_ahead()
test_prefixes()
test_kills()
if etcd.available():
    test_group()
else:
    mp.skip("a group of members", etcd.MISSING)
mp.done()

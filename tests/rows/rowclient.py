# SPDX-License-Identifier: Apache-2.0
"""A client of rows over HTTP (docs/rows-api.md) that writes down all it does.

workload.py runs many of them; functional tests use one directly.  A Client belongs
to one thread, a Subscriber is a thread of its own.  Nothing is hidden: every
attempt is a call of its own in the history, written before it is sent, and
whatever happens to it is told as 0 (the outcome is unknown) unless the request
certainly never left (1) or a whole answer came.

Standard library only.
"""

import base64
import http.client
import json
import socket
import threading
import time
import urllib.parse

from history import UNKNOWN, UNSENT, sha_of

JSON_CELLS = "application/vnd.middlepipe.cells+json"
BODY_MAX = 64 << 20  # bytes of an answer that are read
AGAIN = (UNKNOWN, UNSENT, 429, 503, 504)  # statuses after which a put is tried again


class Broken(Exception):
    """No whole, readable answer came; sent says whether the request may have left."""

    def __init__(self, sent, why):
        super().__init__(why)
        self.sent = sent


class Answer:
    """One HTTP answer."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        try:
            value = json.loads(self.body)
        except (ValueError, RecursionError) as error:
            raise Broken(True, "no JSON: %s" % error) from None
        if not isinstance(value, dict):
            raise Broken(True, "no object")
        return value


class Connection:
    """To one member, kept open, opened anew when it broke."""

    def __init__(self, url, timeout, token=None, context=None):
        parts = urllib.parse.urlsplit(url)
        if parts.scheme == "https":
            self.http = http.client.HTTPSConnection(parts.netloc, timeout=timeout, context=context)
        else:
            self.http = http.client.HTTPConnection(parts.netloc, timeout=timeout)
        self.headers = {"Authorization": "Bearer " + token} if token else {}

    def send(self, method, target, body=None, headers=None):
        try:
            if self.http.sock is None:
                self.http.connect()
                self.http.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            self.close()
            raise Broken(False, "connect: %s" % error) from None
        try:
            self.http.request(method, target, body, dict(self.headers, **(headers or {})))
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Broken(True, "send: %s" % error) from None

    def receive(self):
        try:
            answer = self.http.getresponse()
            body = answer.read(BODY_MAX)
            if not answer.isclosed():
                raise http.client.IncompleteRead(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Broken(True, "answer: %r" % error) from None
        return Answer(answer.status, answer.headers, body)

    def ask(self, method, target, body=None, headers=None):
        self.send(method, target, body, headers)
        return self.receive()

    def close(self):
        self.http.close()


def row_target(row, rest=""):
    return "/v1/rows/%s%s" % (urllib.parse.quote(row, safe=""), rest)


def cell_of(cell):
    """CELL of the contract as the history has it."""
    return [cell["seq"], sha_of(base64.b64decode(cell["data"], validate=True)), cell["key"]]


class Put:
    """What is put; the same at each attempt but for the base, once that was stamped."""
    __slots__ = ("row", "contents", "key", "base", "if_match", "data", "shas")

    def __init__(self, row, contents, key=None, base=None, if_match=None, data=False):
        self.row, self.contents, self.key, self.base = row, contents, key, base
        self.if_match, self.shas = if_match, [sha_of(content) for content in contents]
        self.data = [content.decode() for content in contents] if data else None

    def request(self):
        """(target, body, headers)"""
        headers, body = {"Content-Type": "application/octet-stream"}, self.contents[0]
        if len(self.contents) > 1:
            headers["Content-Type"] = JSON_CELLS
            body = json.dumps({"cells": [base64.b64encode(content).decode()
                                         for content in self.contents]}).encode()
        for name, value in (("Idempotency-Key", self.key), ("Middlepipe-Base", self.base)):
            if value is not None:
                headers[name] = value
        if self.if_match is not None:
            headers["If-Match"] = '"%d"' % self.if_match
        return row_target(self.row, "/cells"), body, headers


class Client:
    """
    members: {name: URL}; writer: history.Writer; rng chooses members, so that a seed
    repeats the choice; stop: an Event that ends waiting; absent: a set of members that are
    not chosen, which others may change.
    """

    def __init__(self, name, members, writer, rng, stop=None, timeout=5.0, token=None,
                 context=None, absent=frozenset()):
        self.name, self.members, self.writer, self.rng = name, members, writer, rng
        self.absent = absent
        self.stop, self.count = stop or threading.Event(), 0
        self.how = {"timeout": timeout, "token": token, "context": context}
        self.connections = {}  # member: Connection
        self.known = {}  # row: (incarnation, highest), as answers told

    def close(self):
        for connection in self.connections.values():
            connection.close()

    def connection(self, member):
        if member not in self.connections:
            self.connections[member] = Connection(self.members[member], **self.how)
        return self.connections[member]

    def other(self, member=None):
        """A member, another one than this if there is one."""
        there = set(self.members) - self.absent
        names = sorted(there - {member}) or sorted(there) or [member]
        return self.rng.choice(names)

    def base(self, row):
        """What this client knows for Middlepipe-Base; None: nothing."""
        return "%s:%d" % self.known[row] if row in self.known else None

    # --------------------------------------------------------------------- puts

    def put(self, put, tries=8, patience=15.0, twice=False, abandon=False):
        """
        Tries until there is an answer that ends it, each time at another member; gives
        the last status.  twice: two attempts at once; abandon: nobody waits for the answer.
        """
        end, pause, member = time.monotonic() + patience, 0.01, self.other()
        if abandon:
            self._read_put(put, self._send_put(put, member), False)
            return UNKNOWN
        for _ in range(tries):
            sent = [self._send_put(put, member)]
            second = self.other(member) if twice and put.base is not None else member
            if second != member:  # each member has one connection
                sent.append(self._send_put(put, second))
            statuses = [self._read_put(put, one) for one in sent]
            twice, status = False, next((one for one in statuses if one in (200, 201)),
                                        statuses[0])
            safe = put.key is not None and (put.base is not None or status in (UNSENT, 429, 503))
            if status not in AGAIN or not safe or time.monotonic() > end or self.stop.wait(pause):
                return status
            member, pause = self.other(member), min(pause * 2, 0.5)
        return status

    def _call(self, op, member, **fields):
        self.count += 1
        self.writer.write("call", c=self.name, o=self.count, op=op, m=member, **fields)
        return self.count

    def _send_put(self, put, member):
        """(number, member) of an attempt on its way, or (number, None)."""
        number = self._call("put", member, row=put.row, key=put.key, base=put.base, sha=put.shas,
                            data=put.data, **{"if": put.if_match})
        target, body, headers = put.request()
        try:
            self.connection(member).send("POST", target, body, headers)
        except Broken as broken:
            self._told(number, UNKNOWN if broken.sent else UNSENT, why=str(broken))
            return number, None if broken.sent else False
        return number, member

    def _read_put(self, put, sent, wait=True):
        number, member = sent
        if not member:
            return UNSENT if member is False else UNKNOWN
        if not wait:
            self.connection(member).close()
            return UNKNOWN
        try:
            answer = self.connection(member).receive()
            told = self._put_told(put, answer)
        except Broken as broken:
            self._told(number, UNKNOWN, why=str(broken))
            return UNKNOWN
        self._told(number, answer.status, **told)
        return answer.status

    def _put_told(self, put, answer):
        """The fields of a put's answer; learns what it says of the row."""
        said = answer.json()
        stamped = answer.headers.get("Middlepipe-Base")
        told = {"highest": _number(said, "highest"), "why": said.get("code"), "base": stamped}
        if answer.status in (200, 201):
            inc, seq, cells = said.get("incarnation"), _number(said, "seq"), _number(said, "cells")
            if not isinstance(inc, str) or not seq:
                raise Broken(True, "%d without incarnation or seq" % answer.status)
            told.update(inc=inc, seq=seq, n=cells)
            self.learn(put.row, inc, seq + len(put.contents) - 1)
        elif answer.status == 410:
            self.known.pop(put.row, None)
        if put.base is None and answer.status in (503, 504):
            put.base = stamped
        return told

    def learn(self, row, inc, highest):
        known = self.known.get(row)
        if known is None or known[0] != inc or known[1] < highest:
            self.known[row] = (inc, highest)

    def _told(self, number, status, **fields):
        self.writer.write("ret", c=self.name, o=number, st=status, **fields)

    # -------------------------------------------------------------------- reads

    def read(self, op, row, member=None, **how):
        """op as in a history: get, latest, highest, range; how: seq, from_, to, stale, least."""
        member = member or self.other()
        fields = {name.rstrip("_"): value for name, value in how.items() if value}
        number = self._call(op, member, row=row, **fields)
        query = {"stale": "ok" if how.get("stale") else None, "at_least": how.get("least"),
                 "wait": 1000 if how.get("least") else None, "from": how.get("from_"),
                 "to": how.get("to")}
        where = {"get": "/cells/%s" % how.get("seq"), "latest": "/cells/latest", "highest": "",
                 "range": "/cells"}[op]
        return self._ask(number, member, row, "GET", where, query, None)

    def admin(self, op, row, member=None, **how):
        """make (how: check, keep_cells, keep_bytes, keep_ms), delete, compact (how: floor)."""
        member = member or self.other()
        number = self._call(op, member, row=row, **how)
        method, where = {"make": ("PUT", ""), "delete": ("DELETE", ""),
                         "compact": ("POST", "/compact")}[op]
        return self._ask(number, member, row, method, where, {}, how if op != "delete" else None)

    def _ask(self, number, member, row, method, where, query, body):
        query = urllib.parse.urlencode({name: value for name, value in query.items() if value})
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            answer = self.connection(member).ask(
                method, row_target(row, where) + ("?" + query if query else ""),
                None if body is None else json.dumps(body).encode(), headers)
            told = _read_told(answer, where.startswith("/cells/"))
        except Broken as broken:
            self._told(number, UNKNOWN if broken.sent else UNSENT, why=str(broken))
            return UNKNOWN if broken.sent else UNSENT, {}
        self._told(number, answer.status, **told)
        if answer.status in (200, 201) and method != "DELETE":
            self.learn(row, told["inc"], told["highest"])
        elif answer.status == 404 and where == "" or method == "DELETE":
            self.known.pop(row, None)
        return answer.status, told

    # -------------------------------------------------------------- final states

    def final(self, row, member, deadline=30.0):
        """Writes the state of a row at a member; raises Broken when it cannot be had in time."""
        end = time.monotonic() + deadline
        while True:
            try:
                return self._final(row, member)
            except Broken as broken:
                if time.monotonic() > end:
                    raise
                last = broken
            if self.stop.wait(0.05):
                raise last

    def _final(self, row, member):
        """Pages of one state: when it changes meanwhile, all again."""
        connection, pages, state, begin = self.connection(member), [], None, time.monotonic_ns()
        while state is None or (pages[-1] and pages[-1][-1][0] < state["highest"]):
            first = pages[-1][-1][0] + 1 if pages else 1
            answer = connection.ask("GET", row_target(row, "/cells?from=%d" % first))
            if answer.status == 410 and not pages:
                floor = _number(answer.json(), "floor") or 1
                answer = connection.ask("GET", row_target(row, "/cells?from=%d" % floor))
            if answer.status == 404:
                self.writer.write("final", t=begin, m=member, row=row)
                return
            told = _read_told(answer, False)
            if answer.status != 200:
                raise Broken(True, "status %d" % answer.status)
            pages.append(told.pop("cells"))
            if state not in (None, told):
                raise Broken(True, "the row has changed")
            state = told
        for page in pages:
            self.writer.write("final", t=begin, m=member, row=row, cells=page, **state)


def _number(said, name):
    value = said.get(name)
    return value if type(value) is int and value >= 0 else None


def _read_told(answer, single):
    """The fields of an answer about a row, for the history."""
    try:
        if answer.status not in (200, 201):
            said = answer.json() if answer.body else {}
            return {"floor": _number(said, "floor"), "why": said.get("code")}
        if single:
            head = answer.headers
            seq = int(head["ETag"].strip('"'))
            key = urllib.parse.unquote(head.get("Middlepipe-Cell-Key") or "")
            return {"inc": head["Middlepipe-Row-Incarnation"],
                    "highest": int(head["Middlepipe-Row-Highest"]),
                    "cells": [[seq, sha_of(answer.body), key]]}
        said = answer.json()
        told = {"inc": said["incarnation"], "highest": said["highest"], "floor": said["floor"]}
        if isinstance(said.get("cells"), list):
            told["cells"] = [cell_of(cell) for cell in said["cells"]]
        return told
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Broken(True, "cannot be read: %r" % error) from None


# ---------------------------------------------------------------------- subscribing

class Subscriber(threading.Thread):
    """
    Follows a row by server-sent events; resumes at another member at the next seq.
    finish(want) lets it end when it has that seq.
    """

    def __init__(self, name, members, writer, rng, row, from_=1, silence=5.0, **how):
        super().__init__(name=name, daemon=True)
        self.client = Client(name, members, writer, rng, timeout=silence, **how)
        self.row, self.next, self.inc, self.logical = row, from_, None, None
        self.want, self.ended = None, threading.Event()
        self.writer, self.member = writer, None

    def run(self):
        pause = 0.01
        while not self.ended.is_set() and not self._satisfied():
            self.member = self.client.other(self.member)
            pause = 0.01 if self._connect() else min(pause * 2, 0.5)
            self.ended.wait(pause)
        self.client.close()

    def finish(self, want, deadline=30.0):
        """Waits until the subscriber has had this seq; whether it had."""
        self.want = want
        self.join(deadline)
        self.ended.set()
        return self.next > want

    def _satisfied(self):
        return self.want is not None and self.next > self.want

    def _connect(self):
        """One connection from beginning to end; whether it gave anything."""
        query = {"row": self.row, "from": self.next, "heartbeat": 200, "create": "wait"}
        if self.inc is not None:
            query["incarnation"] = self.inc
        connection = self.client.connection(self.member)
        self.client.count += 1
        who = {"c": self.client.name, "o": self.client.count}
        self.writer.write("sub", m=self.member, row=self.row, inc=self.inc, s=self.logical,
                          **who, **{"from": self.next})
        self.logical = self.logical or self.client.count
        code, floor, before = "lost", None, self.next
        try:
            connection.send("GET", "/v1/subscribe?" + urllib.parse.urlencode(query), None,
                            {"Accept": "text/event-stream"})
            answer = connection.http.getresponse()
            if answer.status == 200:
                code, floor = self._follow(answer, who)
            else:
                code, floor = self._turned_away(answer)
        except (Broken, OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as why:
            code = "lost: %s" % str(why)[:200]
        connection.close()
        self.writer.write("end", code=code, floor=floor, **who)
        if code == "gone":
            self._anew(floor)
        return self.next != before

    @staticmethod
    def _turned_away(answer):
        said = json.loads(answer.read(BODY_MAX))
        return said.get("code", "status %d" % answer.status), _number(said, "floor")

    def _anew(self, floor):
        """The row was deleted, or what was next was taken: another subscription begins."""
        self.inc, self.logical = None, None
        self.next = floor or 1

    def _follow(self, answer, who):
        """Events until the end, or until the wanted seq came; (code, floor)."""
        for event, data in events_of(answer):
            if event == "end":
                return data.get("code", ""), _number(data, "floor")
            if event == "cell":
                seq, sha, key = cell_of(data)
                self.writer.write("cell", row=data["row"], inc=data["incarnation"], seq=seq,
                                  sha=sha, key=key, **who)
                self.next, self.inc = seq + 1, data["incarnation"]
            elif event == "heartbeat" and data.get("row"):
                self.writer.write("beat", row=data["row"], inc=data["incarnation"],
                                  highest=data["highest"], floor=data["floor"], **who)
            if self._satisfied() or self.ended.is_set():
                return "closed", None
        return "lost", None


def events_of(lines):
    """(event, data as JSON) of a stream of server-sent events; half an event is none."""
    event, data = "message", []
    for line in lines:
        line = line.rstrip(b"\r\n")
        name, _, value = line.partition(b":")
        if not line:
            if data:
                yield event, json.loads(b"\n".join(data))
            event, data = "message", []
        elif name == b"event":
            event = value.strip().decode()
        elif name == b"data":
            data.append(value[1:] if value.startswith(b" ") else value)

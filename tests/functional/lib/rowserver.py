# SPDX-License-Identifier: Apache-2.0
"""A test double: members of a group that speak docs/rows-api.md over one rowmodel.Store.

For the test of the clients in tests/rows alone.  Members are threads of the
test's own process on loopback ports.  With `trouble` they drop connections,
answer 503 and 504, and commit late, as a seed says; with `bug` they break one
promise (see BUGS).  down() makes a member refuse connections for a time.

Standard library only.
"""

import base64
import http.server
import json
import random
import re
import socket
import socketserver
import threading
import time
import urllib.parse

import rowmodel
from rowclient import JSON_CELLS
from rowmodel import Store

BUGS = ("forget", "twice", "stale", "apply refused", "skip", "other bytes", "split", "unchecked", "apply checked")


class Group:
    """Members m1..mN; every step of the store under one lock."""

    def __init__(self, members=3, seed=0, trouble=0.0, bug=None):
        self.lock, self.rng = threading.Condition(), random.Random(seed)
        self.store, self.trouble, self.bug = Store(self.rng), trouble, bug
        self.stopped, self.seen = False, {}  # seen: what clients sent, for the test
        self.broke = 0  # how often the bug showed
        self.members = {"m%d" % (i + 1): Member(self, 0) for i in range(members)}

    def urls(self):
        return {name: "http://127.0.0.1:%d" % member.port for name, member in self.members.items()}

    def down(self, name):
        """Ends a member; gives what brings it back at the same port."""
        member = self.members[name]
        member.end()

        def up():
            self.members[name] = Member(self, member.port)
        return up

    def stop(self):
        self.stopped = True
        for member in self.members.values():
            member.end()

    def draw(self):
        with self.lock:
            return self.rng.random()

    def count(self, what):
        with self.lock:
            self.seen[what] = self.seen.get(what, 0) + 1

    def put(self, *args):
        with self.lock:
            if self.bug is not None and self.rng.random() < 0.03:
                return self._wrong_put(*args)
            answer = self.store.put(*args)
            self.lock.notify_all()
            return answer

    def _wrong_put(self, row, key, base, if_match, contents):
        state = self.store.alive(row)
        if state is None:
            return self.store.put(row, key, base, if_match, contents)
        args, before = (row, key, base, if_match, contents), state.highest
        if self.bug == "forget":
            answer = self.store.put(*args)
            if answer[0] == 201:
                del state.cells[before:]
                self.broke += 1
            return answer
        if self.bug == "apply refused":
            answer = self.store.put(*args)
            self.broke += answer[0] == 201
            return (412, {"highest": before}) if answer[0] == 201 else answer
        if self.bug == "twice" and key:
            answer = self.store.put(*args)
            if answer[0] == 201:
                self.store.put(row, None, None, None, contents)
                state.cells[-len(contents):] = [(key, content, end) for _, content, end
                                                in state.cells[-len(contents):]]
                self.broke += 1
            return answer
        if self.bug == "split" and len(contents) > 1:
            answer = self.store.put(row, key, base, if_match, contents[:-1])
            self.broke += answer[0] == 201
            return answer
        if self.bug in ("unchecked", "apply checked") and state.check:
            return self._unchecked_put(state, *args)
        return self.store.put(*args)

    def _unchecked_put(self, state, *args):
        """It is applied whatever the row's check says; its asker is told so, or that it was refused."""
        check, refused = state.check, not state.check(state.cells, args[-1])
        state.check = None
        answer = self.store.put(*args)
        state.check = check
        if not refused or answer[0] != 201:
            return answer
        self.broke += 1
        return answer if self.bug == "unchecked" else (409, {})


class Member(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, group, port):
        super().__init__(("127.0.0.1", port), Handler)
        self.group, self.port, self.open, self.ended = group, self.server_address[1], set(), False
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def process_request(self, request, client_address):
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request, client_address):
        """A client that went away is no news."""

    def end(self):
        if self.ended:
            return
        self.ended = True
        self.shutdown()
        self.thread.join()
        self.server_close()
        for request in list(self.open):
            try:
                request.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # was closed in the meantime


class Dropped(Exception):
    """The connection ends here, without an answer."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def setup(self):
        super().setup()
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.group, self.store = self.server.group, self.server.group.store

    def log_message(self, format, *args):  # noqa: A002, the base class calls it so
        pass

    def _route(self):
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        try:
            if len(body) < size:  # the connection ended within it
                raise Dropped
            if parts.path == "/v1/subscribe":
                return self._subscribe(query)
            match = re.fullmatch(r"/v1/rows/([^/]+)(?:/(cells|compact)(?:/(\w+))?)?", parts.path)
            if match is None:
                return self._error(404, "not_found")
            row = urllib.parse.unquote(match[1])
            if self.command == "POST" and match[2] == "cells":
                return self._put(row, body)
            if self.command == "GET":
                return self._get(row, match[2], match[3], query)
            return self._admin(row, match[2], body)
        except Dropped:
            self.close_connection = True
            return None

    do_GET = do_PUT = do_POST = do_DELETE = _route

    def _send(self, status, value, headers=(), raw=None):
        text = json.dumps(value).encode() if raw is None else raw
        self.send_response(status)
        for name, content in headers:
            self.send_header(name, content)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        self.wfile.flush()

    def _error(self, status, code, headers=(), **more):
        self._send(status, dict(more, error="no", code=code), headers)

    # --------------------------------------------------------------------- put

    def _put(self, row, body):
        headers, group = self.headers, self.group
        key, base = headers.get("Idempotency-Key"), headers.get("Middlepipe-Base")
        if_match = int(headers["If-Match"].strip('"')) if "If-Match" in headers else None
        contents = [body]
        if headers["Content-Type"] == JSON_CELLS:
            contents = [base64.b64decode(cell) for cell in json.loads(body)["cells"]]
        group.count(("key", key, base) if key else "keyless")
        with group.lock:
            stamped = base or self.store.base(row)
        args = (row, key, stamped, if_match, contents)
        fate = group.draw() / group.trouble if group.trouble else 9
        if fate < 0.2:
            return self._error(503, "unavailable", [("Middlepipe-Base", stamped)])
        if fate < 0.3:
            raise Dropped
        if fate < 0.5:
            late = threading.Timer(group.draw() * 0.05, group.put, args)
            late.daemon = True
            late.start()
            return self._error(504, "unknown", [("Middlepipe-Base", stamped)])
        status, told = group.put(*args)
        if fate < 0.7:
            raise Dropped
        if fate < 1:
            return self._error(504, "unknown", [("Middlepipe-Base", stamped)])
        if status in (200, 201):
            return self._send(status, {"row": row, "incarnation": told["inc"], "seq": told["seq"],
                                       "cells": told["n"]})
        code = {409: "refused", 410: "gone", 412: "precondition", 422: "key_reused"}[status]
        return self._error(status, code, **told)

    # -------------------------------------------------------------- get and others

    def _get(self, row, part, which, query):
        op = "highest" if part is None else "range" if which is None else (
            "latest" if which == "latest" else "get")
        upto, to = None, int(query["to"]) if "to" in query else None
        number = int(which) if op == "get" else None
        with self.group.lock:
            state = self.store.alive(row)
            wrong = self.group.bug == "stale" and self.group.rng.random() < 0.1
            if state is not None and op in ("highest", "latest") and state.highest > 2 and (
                    query.get("stale") == "ok" or wrong):
                upto = rowmodel.Simulation.whole(state, state.highest - 2)
                self.group.broke += wrong
            status, told = self.store.read(op, row, number, int(query.get("from", 1)), to, upto)
            cells = [(cell[0],) + state.cells[cell[0] - 1] for cell in told.get("cells", ())]
        if self.group.bug == "other bytes" and cells and self.group.draw() < 0.05:
            cells[0] = (cells[0][0], cells[0][1], cells[0][2] + b"!", cells[0][3])
            self.group.broke += 1
        if status != 200:
            return self._error(status, "gone" if status == 410 else "not_found", **told)
        if op in ("get", "latest"):
            seq, key, content, _ = cells[0]
            return self._send(200, None, [
                ("ETag", '"%d"' % seq), ("Middlepipe-Row-Incarnation", told["inc"]),
                ("Middlepipe-Cell-Key", urllib.parse.quote(key)),
                ("Middlepipe-Row-Highest", str(told["highest"]))], content)
        return self._send(200, dict(self._row(row, told), cells=[
            self._cell(row, told["inc"], cell) for cell in cells]) if op == "range" else
            self._row(row, told))

    @staticmethod
    def _row(row, told):
        return {"row": row, "incarnation": told["inc"], "highest": told["highest"],
                "floor": told["floor"]}

    @staticmethod
    def _cell(row, inc, cell):
        return {"row": row, "incarnation": inc, "seq": cell[0], "kind": "data", "time": 0,
                "key": cell[1], "origin": "", "data": base64.b64encode(cell[2]).decode()}

    def _admin(self, row, part, body):
        with self.group.lock:
            if self.command == "DELETE":
                status, told = self.store.delete(row)
            elif part == "compact":
                status, told = self.store.compact(row, json.loads(body)["floor"])
            else:
                self.store.checks[row] = {"unique": rowmodel.unique}.get(
                    json.loads(body).get("check"))
                status, told = self.store.make(row)
            self.group.lock.notify_all()
        if status == 404:
            return self._error(404, "not_found")
        return self._send(status, self._row(row, told))

    # --------------------------------------------------------------- subscription

    def _subscribe(self, query):
        row, next_seq = query["row"], int(query["from"])
        group, inc = self.group, query.get("incarnation")
        with group.lock:
            while self.store.alive(row) is None and inc is None and not self._over():
                group.lock.wait(0.05)
            state = self.store.alive(row)
            refused = state is None or inc not in (None, state.inc) or next_seq < state.floor
            floor = state.floor if state else 1
        if refused:
            return self._error(410, "gone", floor=floor)
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        beat = 0.0
        while not self._over():
            with group.lock:
                if next_seq > state.highest and not state.deleted:
                    group.lock.wait(0.05)
                gone = state.deleted or next_seq < state.floor
                told = state.told()
                cells = [(seq,) + state.cells[seq - 1]
                         for seq in range(next_seq, min(state.highest, next_seq + 20) + 1)]
            if gone:
                return self._event("end", {"code": "gone", "floor": told["floor"]})
            if time.monotonic() > beat:
                self._event("heartbeat", dict(self._row(row, told), forks=[]))
                beat = time.monotonic() + int(query.get("heartbeat", 5000)) / 1000
            for cell in cells:
                if group.bug == "skip" and group.draw() < 0.05:
                    group.broke += 1
                    continue
                self._event("cell", self._cell(row, state.inc, cell))
            next_seq += len(cells)
            if group.trouble and group.draw() < 0.05 * group.trouble:
                self.wfile.write(b"event: cell\ndata: {\"ro")  # half an event
                raise Dropped
        return None

    def _over(self):
        return self.group.stopped or self.server.ended

    def _event(self, event, data):
        self.wfile.write(("event: %s\ndata: %s\n\n" % (event, json.dumps(data))).encode())
        self.wfile.flush()

# SPDX-License-Identifier: Apache-2.0
"""A proxy between aggregators and etcd that delays, doubles and loses transactions.

    wire = etcdproxy.Wire(group.urls)   # etcd.Group's
    wire.urls                           # for --group
    wire.rule = rule                    # asked for each transaction; None: all pass

A rule gets a Txn and gives what is to be done with it: (name, seconds), or None.

    request   it reaches etcd only after that time, whether or not anybody waits for it by then
    answer    it reaches etcd at once, its answer leaves after that time
    lost      it reaches etcd at once, and the connection ends without an answer
    again     it reaches etcd twice, one behind the other; the second answer is given
    twice     likewise, but the second comes after that time, and the first answer is given

wire.counts says how often each was done; "late": how many changed something after
their asker had gone; "late twice": second ones of which etcd said that they
happened, too.  One thread a connection; standard library only.
"""

import atexit
import base64
import http.client
import json
import select
import socket
import threading
import time
import urllib.parse

STREAMS = ("/v3/watch",)  # whose answers do not end


class Txn:
    """What a rule may know of a transaction."""

    def __init__(self, body):
        self.keys = []  # that it changes
        self.compares = 0
        try:
            document = json.loads(body)
            self.compares = len(document.get("compare", []))
            for op in document.get("success", []):
                for kind, what in op.items():
                    if kind in ("request_put", "request_delete_range"):
                        self.keys.append(base64.b64decode(what["key"]))
        except (ValueError, KeyError, AttributeError):
            pass

    def changes(self, part):
        """One of the keys that it changes has that in its name."""
        return any(part in key for key in self.keys)


class Wire:
    """A proxy before each of the etcd members at `urls`."""

    def __init__(self, urls):
        self.rule, self.counts, self.lock = None, {}, threading.Lock()
        self.over = threading.Event()
        self.urls, self.listeners = [], []
        for url in urls:
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            self.listeners.append(listener)
            self.urls.append("http://127.0.0.1:%d" % listener.getsockname()[1])
            target = urllib.parse.urlsplit(url)
            threading.Thread(target=self._accept, args=(listener, (target.hostname, target.port)),
                             daemon=True).start()
        atexit.register(self.close)

    def close(self):
        self.over.set()
        for listener in self.listeners:
            listener.close()

    def count(self, name):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1

    def _accept(self, listener, target):
        while not self.over.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=Connection(self, client, target).run, daemon=True).start()


class Connection:
    """One of an aggregator's."""

    def __init__(self, wire, client, target):
        self.wire, self.client, self.target = wire, client, target
        self.buffer, self.etcd = b"", None

    def run(self):
        try:
            while self._one():
                pass
        except (OSError, ValueError, http.client.HTTPException):
            pass  # whoever asked sees that the connection has ended
        self.client.close()
        if self.etcd:
            self.etcd.close()

    # ------------------------------------------------------------------- requests

    def _read_until(self, enough):
        while not enough():
            data = self.client.recv(1 << 16)
            if not data:
                raise OSError("the client has gone")
            self.buffer += data

    def _read(self):
        """(head, path, body)"""
        self._read_until(lambda: b"\r\n\r\n" in self.buffer)
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:])
        size = int(fields.get(b"content-length", b"0"))
        self._read_until(lambda: len(self.buffer) >= size)
        body, self.buffer = self.buffer[:size], self.buffer[size:]
        return head, head.split(b" ", 2)[1].decode(), body

    def _one(self):
        """One request and its answer; whether another may follow."""
        head, path, body = self._read()
        if path.startswith(STREAMS):
            self._stream(head + b"\r\n\r\n" + body)
            return False
        done = None
        if path == "/v3/kv/txn" and self.wire.rule:
            done = self.wire.rule(Txn(body))
        if not done:
            self._answer(*self._ask(path, body))
            return True
        self.wire.count(done[0])
        return getattr(self, "_do_" + done[0])(path, body, done[1])

    def _stream(self, request):
        with socket.create_connection(self.target, timeout=10) as etcd:
            etcd.settimeout(None)
            etcd.sendall(request)
            ways = {etcd: self.client, self.client: etcd}
            while True:
                for ready in select.select(list(ways), [], [])[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    ways[ready].sendall(data)

    def _ask(self, path, body):
        """(status, body) of etcd."""
        if not self.etcd:
            self.etcd = http.client.HTTPConnection(*self.target, timeout=30)
            self.etcd.connect()
            self.etcd.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.etcd.request("POST", path, body, {"Content-Type": "application/json",
                                               "Grpc-Metadata-hasleader": "true"})
        reply = self.etcd.getresponse()
        return reply.status, reply.read()

    def _answer(self, status, body):
        self.client.sendall(b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                            % (status, len(body)) + body)

    def _has_gone(self):
        """Has the asker closed its end?"""
        if not select.select([self.client], [], [], 0)[0]:
            return False
        try:
            return not self.client.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    # --------------------------------------------------------------------- faults

    def _do_request(self, path, body, seconds):
        self.wire.over.wait(seconds)
        gone = self._has_gone()
        status, answer = self._ask(path, body)
        if gone and happened(status, answer):
            self.wire.count("late")
        self.wire.count("request done")
        self._answer(status, answer)
        return not gone

    def _do_answer(self, path, body, seconds):
        answer = self._ask(path, body)
        self.wire.over.wait(seconds)
        self._answer(*answer)
        return True

    def _do_lost(self, path, body, _):
        self._ask(path, body)
        return False

    def _do_again(self, path, body, _):
        self._ask(path, body)
        self._answer(*self._ask(path, body))
        return True

    def _do_twice(self, path, body, seconds):
        answer = self._ask(path, body)
        threading.Thread(target=self._later, args=(path, body, seconds), daemon=True).start()
        self._answer(*answer)
        return True

    def _later(self, path, body, seconds):
        self.wire.over.wait(seconds)
        other = Connection(self.wire, self.client, self.target)
        try:
            if happened(*other._ask(path, body)):
                self.wire.count("late twice")
            other.etcd.close()
        except (OSError, http.client.HTTPException):
            self.wire.count("second lost")


def happened(status, answer):
    try:
        return status == 200 and json.loads(answer).get("succeeded", False)
    except ValueError:
        return False


def during(wire, rule):
    """Puts the rule in force; gives what ends it."""
    wire.rule = rule

    def end():
        wire.rule = None
    return end


def sometimes(rng, share, name, shortest, longest):
    """A rule: that share of all that change something under comparisons; the rng is its own."""
    lock = threading.Lock()

    def rule(txn):
        with lock:
            if not txn.keys or not txn.compares or rng.random() >= share:
                return None
            return name, rng.uniform(shortest, longest)
    return rule


def wait_count(wire, name, number, seconds=20.0):
    """Whether that was counted so often, in time."""
    end = time.monotonic() + seconds
    while wire.counts.get(name, 0) < number and time.monotonic() < end:
        time.sleep(0.01)
    return wire.counts.get(name, 0) >= number

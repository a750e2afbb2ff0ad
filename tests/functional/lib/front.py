# SPDX-License-Identifier: Apache-2.0
"""A server that is nothing but the HTTP front (prog/http_front.c), and raw clients of it."""

import json
import os
import re
import socket
import ssl

import mp

PROGRAM = os.path.join(mp.TEST_BIN, "functional/prog/http_front")
HOST = b"Host: test\r\n"


class Front(mp.Process):
    """Listens when the constructor returns."""

    def __init__(self, *options, env=None):
        super().__init__([PROGRAM, *options], env=env)
        self.wait_out("\n")
        self.port = int(self.out.split()[0])

    def connect(self, context=None, family=socket.AF_INET):
        return Client(self.port, context)

    def stats(self, context=None):
        with self.connect(context) as client:
            return json.loads(client.get("/stats").body)

    def rss(self):
        """MiB of anonymous memory; a sanitizer's own is not ours."""
        with open("/proc/%d/status" % self.pid) as text:
            kib = int(re.search(r"RssAnon:\s+(\d+)", text.read()).group(1))
        return kib / 1024 / (5 if "san" in mp.BUILD else 1)


class Answer:
    """status, fields (names in lower case), body, and whether the server closes."""

    def __init__(self, status, fields, body, closed):
        self.status, self.fields, self.body, self.closed = status, fields, body, closed

    def code(self):
        return json.loads(self.body).get("code")


class Client:
    """A connection by which any bytes can be sent."""

    def __init__(self, port, context=None, path=None):
        if path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(mp.DEADLINE)
            self.sock.connect(path)
        else:
            self.sock = socket.create_connection(("127.0.0.1", port), timeout=mp.DEADLINE)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            self.sock = context.wrap_socket(self.sock, server_hostname="localhost")
        self.have = b""

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def more(self):
        """False at the end of the connection."""
        try:
            data = self.sock.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            data = b""
        self.have += data
        return bool(data)

    def until(self, mark):
        while mark not in self.have:
            if not self.more():
                return None
        out, self.have = self.have.split(mark, 1)
        return out

    def exactly(self, size):
        while len(self.have) < size:
            if not self.more():
                break
        out, self.have = self.have[:size], self.have[size:]
        return out

    def chunks(self):
        """The body of a chunked answer, piece by piece; ends where it ends."""
        while True:
            line = self.until(b"\r\n")
            if line is None:
                raise EOFError("within a chunked answer")
            size = int(line, 16)
            data = self.exactly(size + 2)[:-2]
            if not size:
                return
            yield data

    def head(self):
        """(status, fields), or None when the connection ends before one."""
        raw = self.until(b"\r\n\r\n")
        if raw is None:
            return None
        first, *lines = raw.decode("latin-1").split("\r\n")
        fields = {}
        for line in lines:
            name, value = line.split(":", 1)
            fields[name.lower()] = value.strip()
        return int(first.split()[1]), fields

    def answer(self, head_only=False):
        """The next answer, or None when the connection ends first; 100 is skipped."""
        got = self.head()
        while got and got[0] == 100:
            got = self.head()
        if not got:
            return None
        status, fields = got
        if head_only:
            body = b""
        elif fields.get("transfer-encoding") == "chunked":
            body = b"".join(self.chunks())
        else:
            body = self.exactly(int(fields.get("content-length", 0)))
        return Answer(status, fields, body, fields.get("connection", "").lower() == "close")

    def ended(self):
        """Waits for the server to hang up; False when bytes come instead."""
        while self.more():
            pass
        return not self.have

    def request(self, method, path, body=b"", fields=()):
        head = "%s %s HTTP/1.1\r\nHost: test\r\n" % (method, path)
        head += "".join("%s\r\n" % field for field in fields)
        if body or method in ("PUT", "POST"):
            head += "Content-Length: %d\r\n" % len(body)
        self.send(head.encode("latin-1") + b"\r\n" + body)
        return self.answer(method == "HEAD")

    def get(self, path, *fields):
        return self.request("GET", path, fields=fields)


def once(front, method, path, body=b"", fields=(), context=None):
    """One request on a connection of its own."""
    with front.connect(context) as client:
        return client.request(method, path, body, fields)

# SPDX-License-Identifier: Apache-2.0
"""Bad ways between clients and aggregators: answers that get lost, connections that are cut.

    way = Way(one, "lose answer", "say unavailable")   # what its next puts meet
    pipe = Pipe(one.address); pipe.cut()

Both have a `url` for clients.  Standard library only.
"""

import http.server
import socket
import threading


class Loopback(http.server.ThreadingHTTPServer):
    """A server of the test's own, on a free port; who hangs up early is no error of it."""

    daemon_threads = True

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.server_address[1]

    def handle_error(self, request, client_address):
        pass


class Way(Loopback):
    """Stands before an aggregator; each put meets the next of `plan`, then it is let through."""

    def __init__(self, target, *plan):
        self.target, self.plan, self.puts = target, list(plan), []
        super().__init__(Passer)


class Passer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.answer(*self.server.target.call("GET", self.path, None, self.along()))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.puts.append((self.headers["Idempotency-Key"], self.headers["Middlepipe-Base"]))
        step = self.server.plan.pop(0) if self.server.plan else "pass"
        if step in ("pass", "lose answer", "say unknown"):
            told = self.server.target.call("POST", self.path, body, self.along())
        if step in ("lose answer", "lose"):
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif step == "pass":
            self.answer(*told)
        else:
            status = {"say unavailable": 503, "say bad gateway": 502}.get(step, 504)
            fields = {"Middlepipe-Base": self.headers["Middlepipe-Base"] or "-:0"}
            self.answer(status, fields, b'{"error":"as planned","code":"planned"}')

    def along(self):
        return {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}

    def answer(self, status, fields, body):
        self.send_response(status)
        for name in ("Middlepipe-Base", "Content-Type"):
            if fields.get(name):
                self.send_header(name, fields[name])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Pipe:
    """A port that leads to another, until it is cut."""

    def __init__(self, address):
        self.target = address.rsplit(":", 1)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:%d" % self.listener.getsockname()[1]
        self.open, self.lock, self.dead = [], threading.Lock(), False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return  # it was cut for good
            try:
                server = socket.create_connection((self.target[0], int(self.target[1])))
            except OSError:
                client.close()  # nobody is there at present
                continue
            with self.lock:
                self.open += [client, server]
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=ends, daemon=True).start()

    @staticmethod
    def _copy(source, sink):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self, for_good=False):
        if for_good:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
        with self.lock:
            for end in self.open:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            self.open = []

# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 service for functional tests, in threads of the test's own process.

mp.py hands it on as mp.Service.  Standard library only.
"""

import atexit
import http.server
import os
import socket
import socketserver
import ssl
import threading


class Request:
    """One request as the service saw it."""

    def __init__(self, method, path, headers, body, connection):
        self.method = method
        self.path = path
        self.headers = headers        # list of (name, value) in their order
        self.body = body              # bytes
        self.connection = connection  # number of its connection, from 1

    def get(self, name):
        """The first value of a header field, or None."""
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def setup(self):
        self.service = self.server.service
        self.number = self.service._opened(self.request)
        self.disable_nagle_algorithm = not self.service.unix
        super().setup()

    def finish(self):
        try:
            super().finish()
        except OSError:
            pass  # the peer may be gone, or we broke it off on purpose
        self.service._closed(self.request)

    def log_message(self, *args):
        pass

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def address_string(self):
        return "client"

    def _body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while True:
                size = int(self.rfile.readline().split(b";")[0], 16)
                parts.append(self.rfile.read(size))
                self.rfile.readline()
                if not size:
                    return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def serve(self):
        request = Request(self.command, self.path, self.headers.items(), self._body(),
                          self.number)
        how = self.service._decide(request)
        if how["delay"]:
            self.service._gone.wait(how["delay"])
        if how["hang"]:
            self.service._gone.wait()
        if how["abort"] or self.service._gone.is_set():
            self.close_connection = True
            return
        if how["raw"] is not None:
            self.wfile.write(how["raw"])
            self.close_connection = True
            return
        self._answer(request, how)

    def _answer(self, request, how):
        body = how["body"]
        body = body.encode() if isinstance(body, str) else body
        self.send_response_only(how["status"])
        for name, value in how["headers"]:
            self.send_header(name, value)
        if how["status"] >= 200 and how["status"] not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        if how["close"]:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if request.method != "HEAD" and how["status"] not in (204, 304):
            self.wfile.write(body)
        self.wfile.flush()


class Service:
    """An HTTP/1.1 service in threads of this process, kept alive.

    behave() changes what it does from the next request on:
        status, headers (list of pairs or dict), body
        delay   seconds before it answers
        hang    never answers
        abort   closes without an answer
        close   answers, then closes
        raw     these bytes instead of a response, then closes
        reply   a function Request -> dict of the above, or None, asked first
    stop() refuses connections, start() serves again on the same port.
    """

    NORMAL = {"status": 200, "headers": [], "body": b"ok\n", "delay": 0, "hang": False,
              "abort": False, "close": False, "raw": None, "reply": None}

    def __init__(self, host="127.0.0.1", port=0, unix=None, tls=None, keep=True, **behaviour):
        """unix: path of a socket instead; tls: (certificate, key) files; keep: requests[]."""
        self.host = host
        self.port = port
        self.unix = unix
        self.tls = tls
        self.keep = keep
        self.requests = []      # every Request, in the order of arrival
        self.count = 0          # requests
        self.connections = 0    # connections accepted, ever
        self._open = set()
        self._guard = threading.Lock()
        self._how = dict(self.NORMAL)
        self._server = None
        self.behave(**behaviour)
        self.start()
        atexit.register(self.stop)

    @property
    def authority(self):
        if self.unix:
            return "unix:" + self.unix
        return "%s:%d" % ("[%s]" % self.host if ":" in self.host else self.host, self.port)

    def url(self, path="/"):
        return "%s://%s%s" % ("https" if self.tls else "http", self.authority, path)

    def behave(self, **changes):
        """Sets the whole behaviour: what is not named is as in NORMAL."""
        how = dict(self.NORMAL)
        for name in changes:
            if name not in how:
                raise TypeError("no such behaviour: " + name)
        how.update(changes)
        if isinstance(how["headers"], dict):
            how["headers"] = list(how["headers"].items())
        self._how = how

    def start(self):
        if self._server:
            return self
        family = socket.AF_UNIX if self.unix else (
            socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        service, base = self, socketserver.ThreadingTCPServer

        class Server(base):
            address_family = family
            allow_reuse_address = True
            daemon_threads = True
            block_on_close = False
            request_queue_size = 512

            def get_request(self):
                conn, addr = super().get_request()
                if service._context:
                    conn = service._context.wrap_socket(conn, server_side=True,
                                                        do_handshake_on_connect=False)
                return conn, addr or ("unix", 0)

            def handle_error(self, request, address):
                pass  # a client that goes away in the middle is no news

        self._context = None
        if self.tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*self.tls)
        if self.unix and os.path.exists(self.unix):
            os.unlink(self.unix)
        self._gone = threading.Event()
        self._server = Server(self.unix or (self.host, self.port), _Handler)
        self._server.service = self
        if not self.unix:
            self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def stop(self):
        """Closes the port and every connection."""
        server, self._server = self._server, None
        if not server:
            return
        server.shutdown()
        server.server_close()
        self._gone.set()
        self.drop()

    def drop(self):
        """Closes every open connection; the port stays."""
        with self._guard:
            for conn in self._open:
                try:
                    conn.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def forget(self):
        """Empties requests[] and sets the counts to 0."""
        with self._guard:
            self.requests = []
            self.count = self.connections = 0

    def open_connections(self):
        with self._guard:
            return len(self._open)

    def _opened(self, conn):
        with self._guard:
            self.connections += 1
            self._open.add(conn)
            return self.connections

    def _closed(self, conn):
        with self._guard:
            self._open.discard(conn)

    def _decide(self, request):
        how = self._how
        with self._guard:
            self.count += 1
            if self.keep:
                self.requests.append(request)
        if how["reply"]:
            own = how["reply"](request)
            if own:
                how = dict(self.NORMAL, **own)
                if isinstance(how["headers"], dict):
                    how["headers"] = list(how["headers"].items())
        return how

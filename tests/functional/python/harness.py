# SPDX-License-Identifier: Apache-2.0
"""What the checks of the Python hook share: an application under one Python with
the scripted libmiddlepipe, a recorder of raw bytes, a proxy, certificates.
"""

import json
import os
import re
import select
import shutil
import socket
import subprocess
import threading

import mp

HERE = os.path.dirname(os.path.abspath(__file__))
HOOK = os.path.join(mp.HOOKS, "python")
SCRIPTED = os.path.join(mp.TEST_BIN, "functional/python/scripted.so")
CALLS = os.path.join(HERE, "calls.py")

# client.h
WANT_REQUEST_BODY, WANT_RESPONSE, WANT_COPY, WANT_RESPONSE_BODY = 1, 2, 4, 8
REFUSED, TIMEOUT, BROKEN, PROTOCOL, CANCELLED, OTHER = 1, 2, 3, 4, 5, 6

REFUSAL = """begin REPLY
raise 1
type breaker
pipe guard
state open
retry_after 4
field Retry-After: 4
field Middlepipe: breaker;state=open;pipe="guard";retry-after=4;callback=raise
rbody sorry
"""


def pythons():
    """Debian's Python and a newer one on the path, each once."""
    found = {}
    for word in (mp.PYTHON, "python3"):
        path = shutil.which(word)
        code = "import sys; print(sys.hexversion, sys.version.split()[0], sys.executable)"
        if path:
            _, out, _ = mp.run([path, "-c", code], env={"PYTHONPATH": None})
            words = out.split(None, 2)
            if words and int(words[0]) >= 0x03080000:
                found.setdefault(words[2].strip(), words[1])
    return found


class App:
    """calls.py (or any program) under one Python, with a script for the chain."""

    def __init__(self, python, version):
        self.python = python
        self.version = version
        self.folder = mp.workdir()
        self.script = os.path.join(self.folder, "script")
        self.log_path = os.path.join(self.folder, "log")
        self.log = []
        self.err = ""
        self.libs = ["http", "urllib"] + [
            lib for lib in ("urllib3", "requests") if self.has(lib)]

    def has(self, module):
        return mp.run([self.python, "-c", "import " + module], env={"PYTHONPATH": None})[0] == 0

    def name(self, text):
        return "%s: %s" % (self.version, text)

    def env(self, hooked=True, **more):
        env = {"MP_SCRIPT": self.script, "MP_LOG": self.log_path, "MIDDLEPIPE_SOCK": "/scripted",
               "MIDDLEPIPE_DISABLED": None, "LD_PRELOAD": SCRIPTED, "PYTHONPATH": HOOK,
               "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore",
               "RES_OPTIONS": "timeout:1 attempts:1"}
        if not hooked:
            env.update(MIDDLEPIPE_SOCK=None, LD_PRELOAD=None, PYTHONPATH=None)
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy"):
            env[name] = None
        env.update(more)
        return env

    def run(self, argv, script="", hooked=True, **env):
        """Runs a program of this Python; returns its standard output."""
        with open(self.script, "w") as out:
            out.write(script)
        with open(self.log_path, "w"):
            pass
        full = dict(os.environ)
        for key, value in self.env(hooked, **env).items():
            full.pop(key, None)
            if value is not None:
                full[key] = value
        # Not mp.run: it keeps pipes until the test ends, and there are very many runs.
        done = subprocess.run([self.python, *argv], env=full, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              errors="replace", timeout=mp.DEADLINE * 2)
        code, out, self.err = done.returncode, done.stdout, done.stderr
        with open(self.log_path, errors="replace") as log:
            self.log = log.read().splitlines()
        if code:
            mp.note("exit code %d: %s" % (code, self.err))
        return out

    def calls(self, script, *calls, **more):
        """Makes the calls; returns one result for each."""
        out = self.run([CALLS, json.dumps(calls)], script, **more)
        try:
            return json.loads(out)
        except ValueError:
            mp.note(out + self.err)
            return [{}] * sum(call.get("count", 1) for call in calls)

    def told(self, word):
        """The lines of the log that begin with that word, without it."""
        return [line.partition(" ")[2] for line in self.log if line.partition(" ")[0] == word]

    def ends(self):
        """(status, error) of each mp_end."""
        return [tuple(int(n) for n in re.findall(r"\d+", line)) for line in self.told("end")]

    def fields(self):
        """Header fields that the chain was shown of requests, names in lower case."""
        lines = [line[8:].split(": ", 1) for line in self.log if line.startswith("  field ")]
        return [(line[0].lower(), line[1] if len(line) > 1 else "") for line in lines]


class Recorder:
    """Answers every request alike and keeps each connection's bytes as they came."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Way: back\r\n\r\nhello"

    def __init__(self, answer=ANSWER):
        self.answer = answer
        self.bytes = []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.guard = threading.Lock()
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, path="/"):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def take(self):
        """Per connection, what was received since the last take()."""
        with self.guard:
            got, self.bytes = self.bytes, []
        return [bytes(part) for part in got]

    def _serve(self):
        while True:
            conn, _ = self.server.accept()
            with self.guard:
                self.bytes.append(bytearray())
                mine = self.bytes[-1]
            threading.Thread(target=self._talk, args=(conn, mine), daemon=True).start()

    def _talk(self, conn, mine):
        pending = b""
        try:
            while True:
                data = conn.recv(65536)
                if not data:
                    return
                with self.guard:
                    mine += data
                pending += data
                while _complete(pending):
                    pending = pending[_complete(pending):]
                    conn.sendall(self.answer)
        except OSError:
            return


def _complete(data):
    """The size of the first request in data, or 0."""
    head, mark, rest = data.partition(b"\r\n\r\n")
    if not mark:
        return 0
    if b"chunked" in head.lower():
        end = rest.find(b"0\r\n\r\n")
        return len(head) + 4 + end + 5 if end >= 0 else 0
    size = re.search(rb"content-length: (\d+)", head.lower())
    size = int(size.group(1)) if size else 0
    return len(head) + 4 + size if len(rest) >= size else 0


class Proxy:
    """An HTTP proxy: forwards absolute targets, tunnels CONNECT; counts both."""

    def __init__(self):
        self.connections = 0
        self.first = []  # the first line that each connection sent
        self.server = socket.create_server(("127.0.0.1", 0))
        self.authority = "127.0.0.1:%d" % self.server.getsockname()[1]
        self.url = "http://" + self.authority
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            conn, _ = self.server.accept()
            self.connections += 1
            threading.Thread(target=self._talk, args=(conn,), daemon=True).start()

    def _talk(self, conn):
        head = b""
        while b"\r\n\r\n" not in head:
            data = conn.recv(65536)
            if not data:
                return
            head += data
        line = head.split(b"\r\n")[0].decode()
        self.first.append(line)
        method, target, _ = line.split()
        authority = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = authority.rpartition(":")
        try:
            peer = socket.create_connection((host.strip("[]"), int(port)))
        except OSError:
            conn.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            conn.close()
            return
        if method == "CONNECT":
            conn.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            peer.sendall(head.replace(b"http://" + authority.encode(), b"", 1))
        _pump(conn, peer)


def _pump(a, b):
    with a, b:
        waiter = select.poll()
        other = {a.fileno(): (a, b), b.fileno(): (b, a)}
        for fd in other:
            waiter.register(fd, select.POLLIN)
        while True:
            for fd, _ in waiter.poll():
                source, to = other[fd]
                try:
                    data = source.recv(65536)
                    if not data:
                        return
                    to.sendall(data)
                except OSError:
                    return


def certificate():
    """(certificate, key) files for 127.0.0.1, or None without openssl."""
    folder = mp.workdir()
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    try:
        done = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out",
             cert, "-days", "2", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=IP:127.0.0.1,DNS:localhost"], capture_output=True)
    except OSError:
        return None
    return (cert, key) if done.returncode == 0 else None

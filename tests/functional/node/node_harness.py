# SPDX-License-Identifier: Apache-2.0
"""What the checks of the Node.js hook share: an application under one Node.js
with the scripted libmiddlepipe of the Python hook's tests, whose recorder, proxy
and certificate serve here as well.
"""

import json
import os
import shutil
import socket
import struct
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(HERE, "..", "python"))

import harness  # noqa: E402
import mp  # noqa: E402
from harness import Proxy, Recorder, certificate  # noqa: E402,F401
from harness import (WANT_COPY, WANT_REQUEST_BODY, WANT_RESPONSE,  # noqa: E402,F401
                     WANT_RESPONSE_BODY, REFUSED, TIMEOUT, BROKEN, PROTOCOL, CANCELLED, OTHER)

HOOK = os.path.join(mp.HOOKS, "node/middlepipe.cjs")
ADDON = os.path.join(mp.HOOKS, "node/middlepipe.node")
SCRIPTED = harness.SCRIPTED
CALLS = os.path.join(HERE, "calls.cjs")
LIBS = ("http", "fetch")

REFUSAL = harness.REFUSAL
MARKER = 'breaker;state=open;pipe="guard";retry-after=4;callback=raise'
# The same without callback=raise: a response for the app.
REPLY = """begin REPLY
type breaker
pipe guard
state open
status 503
field Retry-After: 4
field Middlepipe: breaker;state=open
rbody sorry
"""


def nodes():
    """Every Node.js named in TESTS_NODES (divided by colons), or NODE, or the path's."""
    found = {}
    words = os.environ.get("TESTS_NODES", "").split(":") + [mp.NODE, "node", "/usr/bin/node"]
    for word in filter(None, words):
        path = shutil.which(word)
        if not path:
            continue
        code, out, _ = mp.run([path, "-p", "process.version"], env={"NODE_OPTIONS": None})
        version = out.strip().lstrip("v")
        if code == 0 and int(version.split(".")[0]) >= 18:
            found.setdefault(version, path)
    return found


class App(harness.App):
    """calls.cjs (or any program) under one Node.js, with a script for the chain."""

    def __init__(self, node, version):
        self.python = node  # the interpreter, in the words of the class above
        self.version = version
        self.major = int(version.split(".")[0])
        self.folder = mp.workdir()
        self.script = os.path.join(self.folder, "script")
        self.log_path = os.path.join(self.folder, "log")
        self.log = []
        self.err = ""

    def env(self, hooked=True, **more):
        env = super().env(hooked, NODE_NO_WARNINGS="1", PYTHONPATH=None,
                          NODE_OPTIONS="--require " + HOOK if hooked else None)
        env.update(more)
        return env

    def calls(self, script, *calls, **more):
        """Makes the calls; returns one result for each, or the only one."""
        path = os.path.join(self.folder, "calls.json")
        with open(path, "w") as out:
            json.dump(calls, out)
        out = self.run([CALLS, path], script, **more)
        n = sum(call.get("count", 1) for call in calls)
        try:
            results = json.loads(out)
        except ValueError:
            mp.note("no result: " + out + self.err)
            results = [{}] * n
        return results[0] if n == 1 else results

    def both(self, script, hooked=True, **call):
        """The same call by both libraries; (library, its result) one by one."""
        for lib in LIBS:
            yield lib, self.calls(script, dict(call, lib=lib), hooked=hooked)

    def once(self, lib, text, end):
        """Checks that each call that was begun has ended once, the only one so."""
        begun = len(self.told("begin"))
        mp.is_(self.ends(), [end] * begun if begun else "no call begun",
               self.name("%s: %s: ends once" % (lib, text)))


def cause(result):
    """The error below fetch's TypeError, or that of http."""
    error = result.get("error", {})
    return error.get("cause", error)


class Breaker:
    """A raw service: sends some bytes to each connection's first request, and closes."""

    def __init__(self, data=b"", reset=False):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.data = data
        self.reset = reset
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, path="/"):
        return "http://127.0.0.1:%d%s" % (self.port, path)

    def _serve(self):
        while True:
            conn, _ = self.server.accept()
            conn.recv(65536)
            conn.sendall(self.data)
            if self.reset:
                conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            conn.close()

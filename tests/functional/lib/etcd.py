# SPDX-License-Identifier: Apache-2.0
"""Groups of real etcd members for functional tests and benches.

    import etcd
    if not etcd.available():
        mp.skip_all(etcd.MISSING)
    group = etcd.Group(3)
    group.wait()                # it has a leader; wait(1): member 1 sees one
    group.urls                  # ["http://127.0.0.1:PORT", ...], of the clients
    group.kill(group.leader())  # by the pid that was started
    etcd.ctl("--endpoints", group.urls[0], "snapshot", "save", path)

Standard library only.  Members have free ports on the loopback and a folder
of the group's own; both end with the test.  tests/unit/aggregator/etcd_group.h is
the same for unit tests.
"""

import atexit
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

MISSING = "no etcd (Debian packages etcd-server, etcd-client)"
folders = []  # of every Group there was, whose logs are in them
DEADLINE = float(os.environ.get("MP_TEST_DEADLINE", "20"))


def available():
    return shutil.which("etcd") is not None and shutil.which("etcdctl") is not None


def ctl(*words):
    """What etcdctl prints; it has to succeed."""
    done = subprocess.run(["etcdctl", *words], env={**os.environ, "ETCDCTL_API": "3"}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=3 * DEADLINE)
    assert done.returncode == 0, done.stdout
    return done.stdout


def free_ports(count):
    """Ports that were free just now; all are held until the last is found."""
    held = [socket.socket() for _ in range(count)]
    for one in held:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def text(value):
    """What the gateway wants for bytes."""
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()


class Group:
    """Members 0 to n-1.  options: more arguments for each; host: their address."""

    def __init__(self, size, options=(), heartbeat=50, election=500, start=True, folder=None):
        self.folder = folder or tempfile.mkdtemp(prefix="mp-etcd-")
        folders.append(self.folder)
        ports = free_ports(2 * size)
        self.size = size
        self.options = list(options)
        self.timing = ["--heartbeat-interval=%d" % heartbeat, "--election-timeout=%d" % election]
        self.urls = ["http://127.0.0.1:%d" % port for port in ports[:size]]
        self.peers = ["http://127.0.0.1:%d" % port for port in ports[size:]]
        self.token = os.path.basename(self.folder)
        self.processes = [None] * size
        atexit.register(self.close)
        if start:
            for member in range(size):
                self.start(member)

    def command(self, member):
        """The words that start it."""
        cluster = ",".join("m%d=%s" % pair for pair in enumerate(self.peers))
        return ["etcd", "--name", "m%d" % member, "--data-dir", self.path(member),
                "--listen-client-urls", self.urls[member], "--advertise-client-urls", self.urls[member],
                "--listen-peer-urls", self.peers[member],
                "--initial-advertise-peer-urls", self.peers[member],
                "--initial-cluster", cluster, "--initial-cluster-token", self.token, "--pre-vote=true",
                *self.timing, *self.options]

    def start(self, member):
        """Starts it, or starts it again on what it has stored."""
        assert self.processes[member] is None, "it runs"
        with open(self.path(member) + ".log", "ab") as log:
            self.processes[member] = subprocess.Popen(self.command(member), stdout=log, stderr=log,
                                                      stdin=subprocess.DEVNULL)

    def path(self, member):
        """Its data directory."""
        return os.path.join(self.folder, "m%d" % member)

    def pid(self, member):
        process = self.processes[member]
        return process.pid if process else None

    def stop(self, member, number=signal.SIGTERM):
        """Ends it and waits for that."""
        process = self.processes[member]
        if process:
            self.processes[member] = None
            process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            process.wait()

    def kill(self, member):
        self.stop(member, signal.SIGKILL)

    def freeze(self, member):
        self.processes[member].send_signal(signal.SIGSTOP)

    def thaw(self, member):
        self.processes[member].send_signal(signal.SIGCONT)

    def call(self, member, path, body, timeout=DEADLINE):
        """POST to its gateway: (status, object); (0, {}) when nobody answers."""
        request = urllib.request.Request(self.urls[member] + path, json.dumps(body).encode(),
                                         {"Content-Type": "application/json", "Grpc-Metadata-hasleader": "true"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            with error:
                raw = error.read()
            try:
                return error.code, json.loads(raw)
            except ValueError:
                return error.code, {}
        except (OSError, ValueError):
            return 0, {}

    def leader(self):
        """Which member says that it leads; None: none does."""
        for member in range(self.size):
            if self.processes[member] is None:
                continue
            status, reply = self.call(member, "/v3/maintenance/status", {}, timeout=2)
            if status == 200 and reply.get("leader") and reply["leader"] == reply["header"]["member_id"]:
                return member
        return None

    def wait(self, which=None, deadline=DEADLINE):
        """Until a linearizable read is answered by any member, or by that one; which it was."""
        end = time.monotonic() + deadline
        question = {"key": text("x"), "count_only": True}  # a transaction of nothing would not do
        while time.monotonic() < end:
            for member in range(self.size) if which is None else [which]:
                if self.processes[member] and self.call(member, "/v3/kv/range", question, timeout=2)[0] == 200:
                    return member
            time.sleep(0.02)
        raise AssertionError("etcd has no leader within %g s: %s" % (deadline, self.logs()))

    def put(self, member, key, value):
        return self.call(member, "/v3/kv/put", {"key": text(key), "value": text(value)})[0] == 200

    def get(self, member, key):
        """The value, linearizable; None: there is none."""
        status, reply = self.call(member, "/v3/kv/range", {"key": text(key)})
        assert status == 200, (status, reply)
        return base64.b64decode(reply["kvs"][0].get("value", "")) if reply.get("kvs") else None

    def logs(self, size=2000):
        """The ends of what the members said."""
        ends = []
        for member in range(self.size):
            with open(self.path(member) + ".log", "rb") as log:
                ends.append(log.read()[-size:].decode(errors="replace"))
        return "\n".join(ends)

    def close(self):
        for member in range(self.size):
            self.kill(member)
        shutil.rmtree(self.folder, ignore_errors=True)

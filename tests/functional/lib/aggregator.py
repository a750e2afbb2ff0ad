# SPDX-License-Identifier: Apache-2.0
"""mp-aggregator for functional tests: started on a free port, killed, started again.

    one = aggregator.Aggregator("m1")
    one.get("/v1/rows")          # (status, fields, body)
    one.kill(); one.start()      # the same address and directory
    one.stop()                   # SIGTERM; the exit code

Standard library only; every process ends with the test.
"""

import http.client
import json
import os
import select
import signal

import mp

PROGRAM = os.path.join(mp.BIN, "mp-aggregator")
NEXT = os.path.join(mp.TEST_BIN, "bin/mp-aggregator-next")  # of another format of rows, see Makefile
NEXT_HEADS = NEXT + "-heads"  # of another format of heads, which reads those of now
START_DEADLINE = 3 * mp.DEADLINE  # one that joins is let in when etcd finds its members well


def forget_environment():
    """Commands that are run by this test take no option from whom it was started by."""
    for name in ("MIDDLEPIPE_AGGREGATOR", "MIDDLEPIPE_AGGREGATOR_TOKEN_FILE", "MP_AGGREGATOR_DATA",
                 "MP_AGGREGATOR_LISTEN", "MP_AGGREGATOR_TOKENS"):
        os.environ.pop(name, None)


def metric(one, name):
    """What /metrics of an aggregator says of "ready", of all of "puts_total" together, or of 'puts_total{outcome="committed"}'."""
    lines = one.call("GET", "/metrics")[2].decode().splitlines()
    found = [float(line.split()[-1]) for line in lines
             if line.startswith("middlepipe_rows_" + name) and line[len("middlepipe_rows_" + name)] in " {"]
    assert found, "no metric " + name
    return int(sum(found))


class Aggregator:
    """A member.  options: further words of its command line."""

    context = None  # of ssl, with which it is called by https

    def __init__(self, name="m1", *options, data=None, start=True):
        self.name, self.options, self.program = name, list(options), PROGRAM
        self.data = data or os.path.join(mp.workdir(), name)
        self.address, self.process, self.lives, self.pipe = "127.0.0.1:0", None, 0, None
        if start:
            self.start()

    @property
    def url(self):
        return ("https://" if self.context else "http://") + self.address

    def command(self, ready):
        return [self.program, "--data", self.data, "--member", self.name, "--listen", self.address,
                "--ready-fd", str(ready), "--log", "warn", *self.options]

    def start(self):
        """Returns when it serves; that it is ready is for wait_ready()."""
        self.launch()
        return self.served()

    def launch(self):
        """Starts it and waits for nothing: served() follows."""
        read, write = os.pipe()
        self.process = mp.Process(self.command(write), pass_fds=[write])
        os.close(write)
        self.pipe = read

    def served(self):
        """Waits until it serves, if that was not waited for."""
        if self.pipe is None:
            return self
        pipe, self.pipe = os.fdopen(self.pipe), None
        with pipe:
            if not select.select([pipe], [], [], START_DEADLINE)[0]:
                raise mp.Late("%s does not serve in time: %s" % (self.name, self.process.err[-2000:]))
            address = pipe.readline().strip()
        if not address:
            self.process.wait()
            raise AssertionError("mp-aggregator did not start: " + self.process.err)
        self.address, self.lives = address, self.lives + 1
        return self

    def fails(self):
        """Starts it and expects that it ends by itself: (exit code, standard error)."""
        code, _, err = mp.run([*self.command(1)])
        return code, err

    def kill(self):
        self.process.kill()

    def stop(self):
        """SIGTERM, and the exit code."""
        return self.process.stop()

    def pause(self):
        self.process.signal(signal.SIGSTOP)

    def resume(self):
        self.process.signal(signal.SIGCONT)

    def call(self, method, path, body=None, fields=None, timeout=mp.DEADLINE):
        """(status, fields, body); the path is sent as it is."""
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPSConnection(host, int(port), timeout=timeout, context=self.context) \
            if self.context else http.client.HTTPConnection(host, int(port), timeout=timeout)
        try:
            connection.request(method, path, body, fields or {})
            reply = connection.getresponse()
            return reply.status, reply.headers, reply.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, fields=None):
        """(status, document)"""
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        status, _, text = self.call(method, path, body, fields)
        return status, json.loads(text) if text else None

    def get(self, path, **fields):
        return self.json("GET", path, None, fields)

    def put(self, row, content, **fields):
        """Puts one cell: (status, document).  Fields as key="k1", base=..., match=N."""
        names = {"key": "Idempotency-Key", "base": "Middlepipe-Base", "match": "If-Match"}
        return self.json("POST", "/v1/rows/%s/cells" % row.replace("/", "%2F"), content,
                         {names.get(name, name): '"%d"' % value if name == "match" else value
                          for name, value in fields.items()})

    def ready(self):
        try:
            return self.call("GET", "/readyz", timeout=2)[0] == 200
        except OSError:
            return False

    def wait_ready(self):
        mp.wait_for(self.ready, "%s is ready" % self.name)
        return self

# SPDX-License-Identifier: Apache-2.0
"""What the functional tests share: TAP, ports, processes, a client of the control socket.

Used by tests/functional/*.t, whose first lines are

    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
    import mp

Standard library only.  Nothing here sleeps for luck: wait_for() polls a
condition up to a deadline.  Every process and folder made through this module
is ended or removed when the test exits, by the pid that was started.
"""

import atexit
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from service import Request, Service  # noqa: F401, for the tests

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
BUILD = os.path.join(ROOT, os.environ.get("B", "build/release"))
BIN = os.path.join(BUILD, "bin")
HOOKS = os.path.join(BUILD, "lib/middlepipe/hooks")
FILTERS = os.path.join(BUILD, "lib/middlepipe/filters")
TEST_BIN = os.path.join(BUILD, "tests")
MIDDLEPIPE = os.path.join(BIN, "middlepipe")
SCHEDULER = os.path.join(BIN, "mp-scheduler")
LIBMIDDLEPIPE = os.path.join(BUILD, "lib/libmiddlepipe.so.1")
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")
RUBY = os.environ.get("RUBY", "ruby")
NODE = os.environ.get("NODE", "node")

# Whoever runs us may ignore these, as what a shell has in the background does: not so what we start.
signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
    signal.signal(_number, signal.SIG_DFL)

# Seconds.  Long, because a loaded machine must not fail a test; never waited out in vain.
DEADLINE = float(os.environ.get("MP_TEST_DEADLINE", "20"))


# ----------------------------------------------------------------------- TAP

_count = 0
_failed = 0
_lock = threading.Lock()
at_end = []  # called by done() with whether the test has passed
folders = []  # of workdir()
processes = []  # every Process there was
_dead = []  # sockets of dead_port()


def note(text):
    """A line for people; never counted."""
    for line in str(text).splitlines() or [""]:
        print("# " + line, flush=True)


def ok(cond, name):
    """One check; returns whether it held."""
    global _count, _failed
    with _lock:
        _count += 1
        _failed += 0 if cond else 1
        print("%sok %d - %s" % ("" if cond else "not ", _count, name), flush=True)
    if not cond:
        frame = sys._getframe(1)
        while frame.f_back and frame.f_code.co_filename == __file__:
            frame = frame.f_back
        note("failed at %s:%d" % (os.path.basename(frame.f_code.co_filename), frame.f_lineno))
    return bool(cond)


def is_(got, want, name):
    held = ok(got == want, name)
    if not held:
        note("got  %r\nwant %r" % (got, want))
    return held


def like(got, pattern, name):
    """pattern: a regular expression found anywhere in the text."""
    held = ok(re.search(pattern, got or "", re.S) is not None, name)
    if not held:
        note("got  %r\nwant /%s/" % (got, pattern))
    return held


def skip(name, why):
    """Counts one check that cannot run here."""
    global _count
    with _lock:
        _count += 1
        print("ok %d - %s # SKIP %s" % (_count, name, why), flush=True)


def skip_all(why):
    print("1..0 # SKIP " + why, flush=True)
    sys.exit(77)


def need(*paths):
    """Skips the whole test when one of the programs or files is not there."""
    for path in paths:
        if not (os.path.exists(path) if "/" in path else shutil.which(path)):
            skip_all("%s is not there" % os.path.basename(path))


def done():
    """The plan and the exit code; the last line of a test."""
    failed = bool(_failed or not _count)
    for each in at_end:
        each(not failed)
    print("1..%d" % _count, flush=True)
    sys.exit(1 if failed else 0)


# ------------------------------------------------------------------- waiting

class Late(AssertionError):
    """A condition did not come true in time."""


def wait_for(cond, what="a condition", deadline=None):
    """Polls cond() until it is true and returns its value; raises Late."""
    end = time.monotonic() + (DEADLINE if deadline is None else deadline)
    pause = 0.001
    while True:
        value = cond()
        if value:
            return value
        if time.monotonic() > end:
            raise Late("no %s in time" % what)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


def alive(pid):
    """True while the process runs (a zombie does not)."""
    try:
        with open("/proc/%d/stat" % pid) as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def children(pid):
    """Pids of the direct children of a process."""
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as text:
            return [int(word) for word in text.read().split()]
    except OSError:
        return []


# ---------------------------------------------------------- files and chains

def workdir():
    """A private folder that goes away with the test; short, for socket paths."""
    path = tempfile.mkdtemp(prefix="mpt-", dir="/tmp")
    folders.append(path)
    owner = os.getpid()
    atexit.register(lambda: os.getpid() == owner and shutil.rmtree(path, ignore_errors=True))
    return path


def free_port(host="127.0.0.1"):
    """A port that was free a moment ago."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def dead_port():
    """A port of 127.0.0.1 on which nobody listens, and nobody will while the test runs."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    _dead.append(held)  # bound, or the next who wants any port might get it
    return held.getsockname()[1]


def binding(middlepipe, type_, config=None, on_failure=None):
    """One middlepipe of a chain."""
    out = {"middlepipe": middlepipe, "type": type_}
    if config is not None:
        out["config"] = config
    if on_failure is not None:
        out["on_failure"] = on_failure
    return out


def destination(name, match, *chain):
    """A destination; match is one text or a list."""
    return {"name": name, "match": [match] if isinstance(match, str) else list(match),
            "chain": list(chain)}


def chain_file(path, *destinations, app="test", epoch=1):
    """Writes a chain file in one step and returns its path."""
    text = json.dumps({"app": app, "epoch": epoch, "destinations": list(destinations)})
    with open(path + ".new", "w") as out:
        out.write(text)
    os.rename(path + ".new", path)
    return path


# ----------------------------------------------------------------- processes

class Process:
    """A child with its output collected; ended when the test exits."""

    def __init__(self, argv, env=None, cwd=None, stdin=subprocess.DEVNULL, **more):
        """env: added to this process's environment; a value of None removes."""
        full = dict(os.environ)
        for key, value in (env or {}).items():
            if value is None:
                full.pop(key, None)
            else:
                full[key] = str(value)
        self.argv = [str(word) for word in argv]
        self.out = ""
        self.err = ""
        self.popen = subprocess.Popen(self.argv, env=full, cwd=cwd, stdin=stdin,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        self.pid = self.popen.pid
        processes.append(self)
        self._readers = [self._reader(self.popen.stdout, "out"),
                         self._reader(self.popen.stderr, "err")]
        self._owner = os.getpid()
        atexit.register(self.kill)

    def _reader(self, pipe, name):
        def work():
            while True:
                data = pipe.read1(65536)
                if not data:
                    break
                setattr(self, name, getattr(self, name) + data.decode("utf-8", "replace"))
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def running(self):
        return self.popen.poll() is None

    def wait(self, deadline=None):
        """The exit code (negative: a signal) once all of its output is here."""
        code = self.popen.wait(DEADLINE if deadline is None else deadline)
        for reader in self._readers:
            # A grandchild may keep a pipe open: then what is here must do.
            reader.join(2)
        return code

    def wait_out(self, text, deadline=None):
        """Waits until standard output contains the text; raises Late."""
        return self._wait_text("out", text, deadline)

    def wait_err(self, text, deadline=None):
        return self._wait_text("err", text, deadline)

    def _wait_text(self, name, text, deadline):
        def there():
            if text in getattr(self, name):
                return True
            if not self.running():
                self.wait()
                if text not in getattr(self, name):
                    raise Late("%s ended (%s) without %r: %s" % (
                        self.argv[0], self.popen.returncode, text, self.err))
            return text in getattr(self, name)
        return wait_for(there, "%r on std%s" % (text, name), deadline)

    def signal(self, number):
        """To this process only, which has not been reaped."""
        if self.running():
            os.kill(self.pid, number)

    def stop(self, deadline=None):
        """SIGTERM, then wait()."""
        self.signal(signal.SIGTERM)
        return self.wait(deadline)

    def kill(self):
        """SIGKILL and reap; harmless when it is gone, or in a forked child."""
        if os.getpid() != self._owner:
            return
        if self.running():
            self.popen.kill()
        self.popen.wait()


def run(argv, env=None, input=None, deadline=None, cwd=None):
    """Runs to the end.  Returns (exit code, stdout, stderr), both text."""
    process = Process(argv, env, cwd, stdin=subprocess.PIPE)
    try:
        if input is not None:
            process.popen.stdin.write(input.encode())
        process.popen.stdin.close()
    except BrokenPipeError:
        pass
    try:
        code = process.wait(deadline)
    except subprocess.TimeoutExpired:
        process.kill()
        raise Late("%s did not end in time: %s" % (" ".join(process.argv), process.err))
    return code, process.out, process.err


def middlepipe(*words, **more):
    """The command line, to the end: (exit code, stdout, stderr)."""
    return run([MIDDLEPIPE, *words], **more)


class Run(Process):
    """`middlepipe run --chain CHAIN --app APP [OPTION...] -- COMMAND...`"""

    def __init__(self, chain, command, *options, app="test", budget="1s", **more):
        super().__init__([MIDDLEPIPE, "run", "--chain", chain, "--app", app,
                          "--budget", budget, *options, "--", *command], **more)


class Scheduler(Process):
    """A scheduler in a folder of its own; ready when the constructor returns.

    Its filters have 5 s for a call: on a busy machine a thread may stand still
    for longer than the usual 100 ms, and no good filter is to be left out for that.
    """

    def __init__(self, chain, *options, folder=None, env=None):
        self.folder = folder or workdir()
        self.socket = os.path.join(self.folder, "scheduler.sock")
        self.control_path = os.path.join(self.folder, "control.sock")
        self.state = os.path.join(self.folder, "state")
        self.chain = chain
        self.control = Control(self.control_path)
        ready, write = os.pipe()
        try:
            super().__init__([SCHEDULER, "--socket", self.socket,
                              "--control", self.control_path, "--chain", chain,
                              "--state", self.state, "--ready-fd", str(write), *options],
                             env=dict({"MIDDLEPIPE_FILTER_BUDGET": "5s"}, **(env or {})),
                             pass_fds=[write])
        finally:
            os.close(write)
        self._await_ready(ready)

    def _await_ready(self, fd):
        got = b""
        with os.fdopen(fd, "rb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)

            def there():
                nonlocal got
                got += pipe.read(64) or b""
                return b"\n" in got or not self.running()
            wait_for(there, "readiness of the scheduler")
        if b"\n" not in got:
            self.wait()
            raise Late("the scheduler did not start: " + self.err)

    def env(self, **more):
        """Environment for a process that is to use this scheduler."""
        out = {"MIDDLEPIPE_SOCK": self.socket, "MIDDLEPIPE_CONTROL": self.control_path,
               "MIDDLEPIPE_BUDGET_MS": "1000"}
        out.update(hook_env())
        out.update(more)
        return out

    def worker(self):
        """Pid of the process that does the work (its parent supervises)."""
        kids = children(self.pid)
        return kids[0] if kids else self.pid

    def status(self):
        return self.control.ok("GET", "/v1/status")

    def counters(self):
        return self.status()["counters"]

    def unit(self, name):
        """The status document of the first unit of that middlepipe."""
        for dest in self.status()["destinations"]:
            for unit in dest["units"]:
                if unit["middlepipe"] == name:
                    return unit
        return None

    def reload(self):
        return self.control.ok("POST", "/v1/reload")


def hook_env():
    """The variables by which `middlepipe run` loads the hooks that are built."""
    out = {}
    ruby = os.path.join(HOOKS, "ruby/middlepipe.rb")
    node = os.path.join(HOOKS, "node/middlepipe.cjs")
    if os.path.exists(ruby):
        out["RUBYOPT"] = "-r" + ruby
    if os.path.isdir(os.path.join(HOOKS, "python")):
        out["PYTHONPATH"] = os.path.join(HOOKS, "python")
    if os.path.exists(node):
        out["NODE_OPTIONS"] = "--require " + node
    return out


# ------------------------------------------------------------ control socket

class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Control:
    """Client of a control socket."""

    def __init__(self, path):
        self.path = path

    def call(self, method, url, body=None, deadline=None):
        """(status, document or text); OSError when there is no whole answer.

        body: text, or anything JSON can say.
        """
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        conn = _UnixConnection(self.path, DEADLINE if deadline is None else deadline)
        try:
            conn.request(method, url, body)
            reply = conn.getresponse()
            text = reply.read().decode("utf-8", "replace")
            try:
                return reply.status, json.loads(text)
            except ValueError:
                return reply.status, text
        except http.client.IncompleteRead as cut:
            raise ConnectionResetError(str(cut)) from cut
        finally:
            conn.close()

    def listens(self):
        """True when somebody takes connections there: a socket's path is there before that."""
        conn = _UnixConnection(self.path, DEADLINE)
        try:
            conn.connect()
        except OSError:
            return False
        finally:
            conn.close()
        return True

    def ok(self, method, url, body=None):
        """The document of an answer that must be 200."""
        status, document = self.call(method, url, body)
        if status != 200:
            raise AssertionError("%s %s: %d %s" % (method, url, status, document))
        return document

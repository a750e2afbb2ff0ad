#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""middlepipe run on a terminal: the foreground, ^C, ^Z, fg and bg, an
interactive shell under it, and the terminal given back."""
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import termios
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp

mp.need(mp.MIDDLEPIPE, mp.SCHEDULER, "bash")
folder = mp.workdir()
os.mkdir(folder + "/run", 0o700)
base = folder + "/run/middlepipe"
chain = mp.chain_file(folder + "/chain.json", mp.destination("d", "d"))
with open(folder + "/awake.py", "w") as script:
    script.write("""
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
print("ready", flush=True)
signal.sigwait([signal.SIGCONT])
print("awake", flush=True)
while len(sys.argv) > 1 and not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
print("got", input(), flush=True)
""")
RUN = [mp.MIDDLEPIPE, "run", "--chain", chain, "--"]


class Terminal:
    """A process that leads a session on a terminal of its own."""

    def __init__(self, *argv):
        self.seen = ""      # all that it printed
        self.at = 0         # up to here it was waited for
        self.code = None
        pid, self.fd = pty.fork()
        if not pid:
            os.environ.update(XDG_RUNTIME_DIR=folder + "/run", PS1="prompt$ ", TERM="dumb",
                              HISTFILE="", MP=mp.MIDDLEPIPE, CHAIN=chain,
                              PYTHON=sys.executable, AWAKE=folder + "/awake.py")
            # ^C and ^Z discard what is printed just then: not here, where it is waited for.
            mode = termios.tcgetattr(0)
            mode[3] |= termios.NOFLSH
            termios.tcsetattr(0, termios.TCSANOW, mode)
            os.execvp(argv[0], argv)
        self.pid = pid
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 99, 0, 0))

    def _read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            data = b""
        self.seen += data.decode("utf-8", "replace").replace("\r\n", "\n")
        return bool(data)

    def expect(self, pattern):
        """Waits for a pattern after the one before; returns the match."""
        end = time.monotonic() + mp.DEADLINE
        while True:
            match = re.compile(pattern).search(self.seen, self.at)
            if match:
                self.at = match.end()
                return match
            if time.monotonic() > end or not self._read(0.2):
                raise mp.Late("no /%s/ on the terminal: %r" % (pattern, self.seen[self.at:]))

    def type(self, text):
        os.write(self.fd, text.encode())

    def end(self):
        """Reads up to the end and returns the exit code."""
        limit = time.monotonic() + mp.DEADLINE
        while self.code is None and time.monotonic() < limit:
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def close(self):
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def terminal(title, *argv):
    """Runs the function that it decorates with a Terminal; its failure is a check."""
    def decorate(function):
        term = Terminal(*argv)
        try:
            function(term)
        except (mp.Late, OSError) as late:
            mp.ok(False, "%s: %s" % (title, late))
        finally:
            term.close()
        mp.wait_for(lambda: not os.path.isdir(base) or not os.listdir(base) or term.code is None,
                    "end of the folder")
    return decorate


def python(text):
    return [sys.executable, "-S", "-c", text]


# A session's leader that ends takes with it what nobody has read yet: hence the
# input() at the end of the programs that print something last.

@terminal("foreground", *RUN, *python("""
import os
input()
print(os.isatty(0), os.tcgetpgrp(0) == os.getpgrp(), os.getpgrp() == os.getpid(),
      os.get_terminal_size(0).lines, flush=True)
input()
"""))
def _(term):
    term.type("\n")
    term.expect("True True True 33")
    term.type("\n")
    mp.is_(term.end(), 0, "the command has the terminal, in the foreground, with its size")


@terminal("^C", *RUN, *python("""
import time
try:
    print("ready", flush=True)
    while True: # a signal may come just before a sleep, and is seen after it
        time.sleep(0.05)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    input()
    raise SystemExit(3)
"""))
def _(term):
    term.expect("ready")
    term.type("\x03")
    term.expect("interrupted")
    term.type("\n")
    mp.is_(term.end(), 3, "^C is the command's")
    mp.is_(term.seen.count("interrupted"), 1, "once")


@terminal("^\\", *RUN, "sh", "-c", "ulimit -c 0; echo ready; exec sleep 1000")
def _(term):
    term.expect("ready")
    term.type("\x1c")
    mp.is_(term.end(), 128 + 3, "^\\ likewise")


@terminal("^Z without a shell", *RUN, *python("""
import os, signal, sys
signal.signal(signal.SIGCONT, lambda *a: os.write(1, b"continued\\n")) # print() may be under way
print("ready", flush=True)
print(sys.stdin.readline().strip().upper(), flush=True)
input()
"""))
def _(term):
    term.expect("ready")
    term.type("\x1a")
    term.expect("continued")
    term.type("word\n")
    term.expect("WORD\n")
    term.type("\n")
    mp.is_(term.end(), 0, "^Z where nobody could continue it: it goes on")


@terminal("window size", *RUN, *python("""
import os, signal, time
signal.signal(signal.SIGWINCH, lambda *a: os.write(1, b"%d\\n" % os.get_terminal_size(0).lines)) # as above
print("ready", flush=True)
while True: time.sleep(0.05)
"""))
def _(term):
    term.expect("ready")
    fcntl.ioctl(term.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 99, 0, 0))
    term.expect("44\n")
    term.type("\x03")
    mp.ok(term.end() in (128 + 2, 1), "the window's size")


# No read: a signal that comes just before it waits would be seen after it.
@terminal("hangup", *RUN, "sh", "-c", "trap 'echo hup >%s/hup; exit' HUP; echo ready; while :; do sleep 0.05; done"
          % folder)
def _(term):
    term.expect("ready")
    os.kill(term.pid, signal.SIGHUP)
    term.end()
    mp.ok(os.path.exists(folder + "/hup"), "a hangup reaches the command")


@terminal("shell under run", *RUN, "bash", "--norc", "--noprofile", "-i")
def _(term):
    term.expect(r"prompt\$ ")
    term.type("echo $((6 * 7))\n")
    term.expect("\n42\n")
    mp.ok("job control" not in term.seen, "an interactive shell has job control")
    term.type("sh -c 'echo sl\"\"eeps; exec sleep 1000'\n")
    term.expect("sleeps\n")
    term.type("\x03")
    term.expect(r"prompt\$ ")
    term.type("sh -c 'echo re\"\"ady; exec cat'\n")
    term.expect("ready\n")
    term.type("\x1a")
    term.expect("Stopped")
    term.type("jobs\n")
    term.expect(r"Stopped +sh -c")
    term.type("fg\n")
    term.expect("fg\n")
    term.expect("exec cat'\n")
    term.type("mirror\n")
    term.expect("mirror\nmirror\n")
    term.type("\x04")
    term.expect(r"prompt\$ ")
    term.type("exit 5\n")
    mp.is_(term.end(), 5, "^C, ^Z, jobs, fg and its exit code")


@terminal("run under a shell", "bash", "--norc", "--noprofile", "-i")
def _(term):
    run = '"$MP" run --chain "$CHAIN" -- '
    term.expect(r"prompt\$ ")
    term.type("set -b\n") # tells at once what has stopped
    term.expect(r"prompt\$ ")
    term.type(run + "sh -c 'echo re\"\"ady; read x; echo got $x; exit 6'\n")
    term.expect("ready\n")
    term.type("\x1a")
    term.expect(r"Stopped")
    term.expect(r"prompt\$ ")
    mp.ok(True, "^Z stops the job")
    term.type("echo still $((1 + 1))\n")
    term.expect("still 2\n")
    mp.ok(True, "the shell has the terminal")
    term.type("fg\n")
    term.expect("middlepipe|MP")
    term.type("word\n")
    term.expect("got word\n")
    mp.ok(True, "fg gives it back to the command")
    term.type("echo code $?\n")
    term.expect("code 6\n")
    mp.ok(True, "and the exit code comes through")
    term.type("read y; echo read $y\n")
    term.expect(r"echo read \$y\n")
    term.type("mine\n")
    term.expect("read mine\n")
    mp.ok(True, "the terminal is the shell's again")
    # In the background it may not read; brought to the front it may.
    term.type(run + "sh -c 'echo re\"\"ady; read x; echo got $x' &\n")
    term.expect("ready\n")
    term.expect("Stopped")
    mp.ok(True, "a background job stops when it reads")
    term.type("fg\n")
    term.expect("fg\n")
    term.type("front\n")
    term.expect("got front\n")
    mp.ok(True, "a background job is brought to the front")
    # Stopped, continued in the background where it must not read, then in front.
    term.expect(r"prompt\$ ")
    term.type(run + '"$PYTHON" "$AWAKE"\n')
    term.expect("ready\n")
    term.type("\x1a")
    term.expect("Stopped")
    term.expect(r"prompt\$ ")
    term.type("bg\n")
    term.expect("awake\n")
    term.expect("Stopped")
    mp.ok(True, "bg, and stopped when it reads")
    term.type("fg\n")
    term.expect("fg\n")
    term.type("both\n")
    term.expect("got both\n")
    mp.ok(True, "then fg")
    # Brought to the front while it runs: bash sends nothing, the reader asks.
    term.expect(r"prompt\$ ")
    term.type(run + '"$PYTHON" "$AWAKE" ' + folder + "/go\n")
    term.expect("ready\n")
    term.type("\x1a")
    term.expect("Stopped")
    term.expect(r"prompt\$ ")
    term.type("bg\n")
    term.expect("awake\n")
    term.type("fg\n")
    term.expect("fg\n")
    term.expect("run --chain.*\n")
    mp.wait_for(lambda: os.tcgetpgrp(term.fd) != os.getpgid(term.pid), "the terminal's move")
    open(folder + "/go", "w").close()
    term.type("late\n")
    term.expect("got late\n")
    mp.ok(True, "fg of a job that runs")
    # In a pipeline.
    term.expect(r"prompt\$ ")
    term.type(run + "echo piped | tr a-z A-Z\n")
    term.expect("PIPED\n")
    mp.ok(True, "in front of a pipeline")
    term.type("echo fed | " + run + "cat\n")
    term.expect("\nfed\n")
    mp.ok(True, "behind one")
    term.type(run + run + "sh -c 'echo re\"\"ady; read x; echo got $x; exit 8'\n")
    term.expect("ready\n")
    term.type("\x1a")
    term.expect("Stopped")
    term.expect(r"prompt\$ ")
    term.type("fg\n")
    term.expect("middlepipe|MP")
    term.type("deep\n")
    term.expect("got deep\n")
    term.type("echo code $?\n")
    term.expect("code 8\n")
    mp.ok(True, "nested runs stop and go on together")
    # Killed while the command has the terminal: the shell gets it back.
    term.type(run + "sh -c 'kill -KILL $PPID; sleep 0.2'\n")
    term.expect("Killed")
    term.type("echo back $((2 + 3))\n")
    term.expect("back 5\n")
    mp.ok(True, "a killed run leaves the shell its terminal")
    term.type(run + "true\n")
    term.expect(r"prompt\$ ")
    term.type("exit 0\n")
    mp.is_(term.end(), 0, "the end")


mp.is_(os.listdir(base), [], "no folder is left")
mp.done()

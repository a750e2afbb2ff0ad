# SPDX-License-Identifier: Apache-2.0
"""mp-aggregator with an etcd of its own, for functional tests.

    one = managed.Managed("m1")
    one.etcd_pid()               # of the etcd that it has now; 0: none lives
    one.kill_etcd()
    two = managed.Managed("m2", "--join", one.url, "--join-token", one.token())

Whatever etcd is left in the directory ends with the test, by its pid.
Standard library only.
"""

import atexit
import json
import os
import signal

import mp
from aggregator import PROGRAM, Aggregator  # noqa: F401, PROGRAM is for the tests


def args_of(pid):
    """The arguments of a process; [] when it does not live."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as text:
            words = text.read().decode(errors="replace").split("\0")[:-1]
        return words if mp.alive(pid) else []
    except OSError:
        return []


def signal_etcd(pid, number):
    """One that cannot go on ends by itself: then there is nobody to tell."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Managed(Aggregator):
    """A member with an etcd.  options: further words of its command line."""

    def __init__(self, name="m1", *options, data=None, start=True):
        self.owner = os.getpid()
        atexit.register(self._end)
        super().__init__(name, "--group", "managed", *options, data=data, start=start)

    @property
    def etcd_dir(self):
        return os.path.join(os.path.realpath(self.data), "etcd")

    def etcd_pids(self):
        """All that work in its directory: one at most."""
        want = "--data-dir=" + self.etcd_dir
        return [int(name) for name in os.listdir("/proc")
                if name.isdigit() and want in args_of(int(name))]

    def etcd_pid(self):
        pids = self.etcd_pids()
        return pids[0] if pids else 0

    def etcd_flag(self, name):
        """The value of one of its etcd's arguments."""
        for word in args_of(self.etcd_pid()):
            if word.startswith("--%s=" % name):
                return word.split("=", 1)[1]
        return None

    def kill_etcd(self):
        pid = self.etcd_pid()
        if self.process.running():
            pid = pid or mp.wait_for(self.etcd_pid, "an etcd of %s" % self.name)  # one that has ended comes again
        if pid:  # 0 would be the test and all that it has started
            signal_etcd(pid, signal.SIGKILL)
        mp.wait_for(lambda: not mp.alive(pid), "the end of etcd")
        return pid

    def identity(self):
        with open(os.path.join(self.data, "managed.json")) as text:
            return json.load(text)

    def token(self, **more):
        """Of its etcd, which may have no leader for a moment."""
        def ask():
            status, answer = self.json("POST", "/v1/members/token", more or None)
            assert status in (201, 503), (status, answer)
            return answer.get("token")
        return mp.wait_for(ask, "a token of %s" % self.name)

    def _end(self):
        if os.getpid() != self.owner:
            return
        if self.process:
            self.process.kill()
        for pid in self.etcd_pids():
            signal_etcd(pid, signal.SIGKILL)

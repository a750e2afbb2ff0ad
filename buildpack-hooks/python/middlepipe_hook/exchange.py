# SPDX-License-Identifier: Apache-2.0
"""What every patch does with a chain's verdict: wait as it says, and answer for
the service with raw bytes that the library's own parser turns into a response.
"""

import io
import time

from . import _middlepipe as mp

_HOLD_MS = 100  # between two looks at signals
_POLL_FIRST, _POLL_LAST = 0.001, 0.05  # seconds, where greenlets must go on


class Plan:
    """What is left to do for a call in progress that is not a plain one.

    It hangs on Call.plan; a call through a closed breaker has none.
    """

    __slots__ = (
        "edits", "request", "saved", "answered", "reading", "watched", "sending", "kind",
        "home", "previous",
    )

    def __init__(self):
        self.edits = None  # of the request: what Call.edits() said, not yet applied
        self.request = None  # (lines, body, complete) to show with the response
        self.saved = None  # where the connection really goes: edits.Origin
        self.answered = False  # the response is ours, not the network's
        self.reading = False  # getresponse() is at work, which may close the connection
        self.watched = False  # the call ends when the app has read the response
        self.sending = False  # the connection's send() is replaced
        self.kind = 0  # how sending failed; the library may look for a response all the same
        self.home = None  # where an owned Call goes when it is done: a pool's list
        self.previous = None  # the connection's own Call meanwhile


def plan_of(call):
    """The call's plan, made when it has none."""
    plan = call.plan
    if plan is None:
        plan = call.plan = Plan()
    return plan


def waited(call, verdict):
    """Sleeps and holds as the verdict says; returns PASS or REPLY, perhaps | EDITED."""
    while True:
        kind = verdict & ~mp.EDITED
        if kind == mp.HOLD:
            verdict = _held(call)
        elif kind == mp.DELAY:
            time.sleep(call.delay())
            return mp.PASS | verdict & mp.EDITED
        else:
            return verdict


def _held(call):
    # A monkey-patched sleep means that other greenlets live in this thread.
    if getattr(time.sleep, "__module__", "time") == "time":
        return call.resume(_HOLD_MS)
    pause = _POLL_FIRST
    while True:
        verdict = call.resume(0)
        if verdict & ~mp.EDITED != mp.HOLD:
            return verdict
        time.sleep(pause)
        pause = min(pause * 2, _POLL_LAST)


def raw(status, reason, fields, body):
    """A response as it would stand on the wire, delimited by its length."""
    head = ["HTTP/1.1 %d %s" % (status, reason)]
    length = b"" if status in (204, 304) else b"Content-Length: %d\r\n" % len(body)
    head += [
        "%s: %s" % (name, value)
        for name, value in fields
        if name.lower() not in ("content-length", "transfer-encoding")
    ]
    lines = "\r\n".join(head).encode("latin-1", "replace")
    return b"%s\r\n%s\r\n%s" % (lines, length, body if length else b"")


def raw_reply(reply, responses):
    """The same for a REPLY; `responses` is http.client's table of reasons."""
    return raw(reply[0], responses.get(reply[0], ""), reply[2], reply[3])


class Wire:
    """In place of a socket: swallows what is sent and gives bytes prepared before."""

    family = None

    def __init__(self, data):
        self._data = data

    def makefile(self, mode="rb", *args, **kwargs):
        return io.BytesIO(self._data)

    def sendall(self, data, *args):
        pass

    def send(self, data, *args):
        return len(data)

    def gettimeout(self):
        return None

    def fileno(self):
        return -1

    def _nothing(self, *args, **kwargs):
        pass

    settimeout = setblocking = setsockopt = shutdown = close = _nothing

# SPDX-License-Identifier: Apache-2.0
"""Bodies for chains that want them: bounded, and never at the app's expense.

A request's body is shown when it is in memory already; files, generators and
pipes are left alone and reported as not complete.  A response's body is read
ahead only where its length is known and bounded, or where it has arrived; all
bytes are then given to the application as if nothing had happened.
"""

import io
import os
import select
import time

from . import _middlepipe as mp

# No more than a BufferedReader buffers: asked for more, readinto1 goes to the
# socket although it has bytes, and loses them when a TLS socket would block.
_PIECE = min(8192, io.DEFAULT_BUFFER_SIZE)
_FRAMING = 65536  # bytes of chunk sizes and extensions that are put up with
_KNOWN_WAIT = 1.0  # seconds for a body of known length that a decision waits for


def _budget():
    """Seconds that a body of unknown length may be waited for."""
    try:
        return min(max(int(os.environ.get("MIDDLEPIPE_BUDGET_MS", "5")), 1), 60000) / 1000.0
    except ValueError:
        return 0.005


# ----------------------------------------------------------------- requests


def of_request(body, announced):
    """(bytes or None, complete) of a request's body.

    announced: the fields say that there is one, should `body` be None.
    """
    if body is None:
        return None, not announced
    limit = mp.body_limit()
    if isinstance(body, str):
        body = body.encode("utf-8", "replace")
    elif type(body) is io.BytesIO:
        body = body.getbuffer()[body.tell() :]
    elif isinstance(body, (list, tuple)):
        body = _joined(body, limit)
    elif hasattr(body, "read"):
        return None, False  # a file or a pipe: only the library may read it
    try:
        view = memoryview(body).cast("B")
    except (TypeError, ValueError):
        return None, False  # a generator: likewise
    return bytes(view[:limit]), len(view) <= limit


def _joined(parts, limit):
    """The bytes of a list of them, no more than needed to see that it is too long."""
    found, size = [], 0
    for part in parts:
        if not isinstance(part, bytes):
            return None
        found.append(part)
        size += len(part)
        if size > limit:
            break
    return b"".join(found)


def announced(lines):
    """True when header lines (bytes) say that a body follows."""
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0"):
            return True
    return False


# ---------------------------------------------------------------- responses


class Replay(io.RawIOBase):
    """A response's stream with bytes put back before the rest."""

    def __init__(self, head, rest, whole):
        self._head = memoryview(head)
        self._rest = rest
        self.whole = whole  # nothing of this response is still to come

    def readable(self):
        return True

    def readinto(self, room):
        if len(self._head):
            n = min(len(room), len(self._head))
            room[:n] = self._head[:n]
            self._head = self._head[n:]
            return n
        data = self._rest.read1(len(room))
        room[: len(data)] = data
        return len(data)

    def fileno(self):
        return self._rest.fileno()

    def close(self):
        if not self.closed:
            try:
                self._rest.close()
            finally:
                super().close()


def replace(response, body):
    """Makes `body` all that an http.client response still has to give."""
    old = response.fp
    response.fp = io.BytesIO(body)
    response.chunked = False
    response.chunk_left = None
    response.length = len(body)
    if old is not None:
        old.close()


def of_response(response, waits):
    """(bytes or None, complete) of a response's body, which stays readable.

    waits: a decision hangs on it, so that a body of known length is waited for.
    """
    if response.fp is None or response.length == 0:
        return None, True
    limit = mp.body_limit()
    if response.chunked or response.length is None:
        return _arrived(response, limit, _Decoder(response.chunked, limit), _budget())
    if response.length > limit:
        return None, False
    decoder = _Counter(response.length)
    return _arrived(response, limit, decoder, _KNOWN_WAIT if waits else _budget())


def _arrived(response, limit, decoder, seconds):
    """Reads ahead what arrives within a time, and puts it back."""
    stream, sock = response.fp, _socket_of(response.fp)
    if sock is None:
        return None, False
    wire = bytearray()
    try:
        timeout = sock.gettimeout()
        sock.settimeout(0)
    except OSError:
        return None, False
    try:
        deadline = time.monotonic() + seconds
        while not decoder.done and len(wire) <= limit + _FRAMING:
            piece = _piece(stream, sock, deadline)
            if piece is None:
                break
            wire += piece
            decoder.feed(piece)
            if not piece:
                break
    finally:
        sock.settimeout(timeout)
        response.fp = io.BufferedReader(Replay(bytes(wire), stream, decoder.done))
    return bytes(decoder.body[:limit]), decoder.done and len(decoder.body) <= limit


def _socket_of(stream):
    """The socket below a response's stream, or None where it cannot be known."""
    sock = getattr(getattr(stream, "raw", None), "_sock", None)
    return sock if hasattr(sock, "settimeout") and hasattr(stream, "readinto1") else None


def _piece(stream, sock, deadline):
    """The next bytes of a stream that does not block; None: none in time."""
    while True:
        room = bytearray(_PIECE)
        try:
            n = stream.readinto1(room)
        except OSError as error:  # a TLS socket has no whole record yet
            if type(error).__name__ not in ("SSLWantReadError", "BlockingIOError"):
                return None
            n = None
        if n is not None:
            return bytes(room[:n])
        left = deadline - time.monotonic()
        if left <= 0 or not readable(sock, left):
            return None


def readable(sock, seconds):
    """True when a socket has bytes, or its end, within a time."""
    poll = getattr(select, "poll", None)
    if poll is None:  # gevent removes it
        return bool(select.select([sock], [], [], seconds)[0])
    waiter = poll()
    waiter.register(sock, select.POLLIN)
    return bool(waiter.poll(seconds * 1000))


class _Counter:
    """Knows when a body of known length is there."""

    def __init__(self, length):
        self.body = bytearray()
        self.done = False
        self._length = length

    def feed(self, piece):
        self.body += piece
        self.done = len(self.body) >= self._length


class _Decoder:
    """Takes the chunks out of a chunked body; of another, waits for its end."""

    _MAX_LINE = 4096

    def __init__(self, chunked, limit):
        self.body = bytearray()
        self.done = False
        self._chunked = chunked
        self._limit = limit
        self._left = 0  # bytes of the chunk that are still to come, CRLF included
        self._line = b""  # a size line or trailer, as far as it is there
        self._trailer = False

    def feed(self, piece):
        if not self._chunked:
            self.body += piece
            self.done = not piece
            return
        while piece and not self.done and len(self.body) <= self._limit:
            piece = self._data(piece) if self._left else self._head(piece)

    def _data(self, piece):
        if self._left > 2:
            self.body += piece[: self._left - 2]
        n = min(self._left, len(piece))
        self._left -= n
        return piece[n:]

    def _head(self, piece):
        line, end, rest = piece.partition(b"\n")
        self._line += line
        if not end:
            # A line without end, or garbage: the library will complain of it.
            return b"" if len(self._line) <= self._MAX_LINE else self._stop()
        line, self._line = self._line.strip(), b""
        if self._trailer:
            self.done = not line
            return rest
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            return self._stop()
        self._trailer = size == 0
        self._left = size + 2 if size > 0 else 0
        return rest

    def _stop(self):
        self._chunked = False
        self._limit = -1
        return b""


class Tee(io.RawIOBase):
    """Watches the app read a response, and tells `finish(body, complete)` once."""

    def __init__(self, response, finish):
        limit = mp.body_limit()
        self._rest = response.fp
        self._limit = limit
        if response.chunked or response.length is None:
            self._decoder = _Decoder(response.chunked, limit)
        else:
            self._decoder = _Counter(response.length)
        self._finish = finish

    def readable(self):
        return True

    def readinto(self, room):
        data = self._rest.read1(len(room))
        n = len(data)
        room[:n] = data
        if self._finish is not None:
            self._decoder.feed(data)
            if self._decoder.done or n == 0 or len(self._decoder.body) > self._limit:
                self._end()
        return n

    def _end(self):
        finish, self._finish = self._finish, None
        if finish is not None:
            body = self._decoder.body
            finish(bytes(body[: self._limit]), self._decoder.done and len(body) <= self._limit)

    def fileno(self):
        return self._rest.fileno()

    def close(self):
        if not self.closed:
            try:
                self._end()
                self._rest.close()
            finally:
                super().close()


def watch(response, finish):
    """Calls finish(body, complete) when the app has read the response, or drops it."""
    if response.fp is None or response.length == 0:
        finish(None, True)
    elif not hasattr(response.fp, "read1"):
        finish(None, False)
    else:
        response.fp = io.BufferedReader(Tee(response, finish))

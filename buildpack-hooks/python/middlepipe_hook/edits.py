# SPDX-License-Identifier: Apache-2.0
"""Carries out what a chain changes: in a request that http.client has buffered
but not sent, in where its connection goes, and in a response's head and body.
"""

from . import _middlepipe as mp
from . import bodies

_SPARES_MAX = 4  # connections kept to other authorities, beside one connection


# ------------------------------------------------------------------ requests


def request_lines(lines, edits):
    """Edits header lines (a list of bytes, the request line first) in place."""
    fields, authority, path, _, _ = edits
    if path is not None:
        lines[0] = _target(lines[0], None, path)
    if authority is not None:
        lines[0] = _target(lines[0], authority, None)
        _set(lines, b"Host", authority.encode("latin-1"))
    for op, name, value in fields:
        name, value = name.encode("latin-1"), value.encode("latin-1")
        if op == mp.SET:
            _set(lines, name, value)
        elif op == mp.ADD:
            lines.append(name + b": " + value)
        else:
            _remove(lines, name)


def request_body(lines, body):
    """Makes the header lines announce that body and nothing else."""
    _remove(lines, b"Transfer-Encoding")
    _set(lines, b"Content-Length", b"%d" % len(body))


def _target(line, authority, path):
    """The request line with another path, or authority where it names one."""
    method, _, rest = line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    scheme, mark, tail = target.partition(b"://")
    if not mark or target.startswith(b"/"):
        target = target if path is None else path.encode("latin-1")
    else:
        host, slash, old = tail.partition(b"/")
        host = host if authority is None else authority.encode("latin-1")
        old = slash + old if path is None else path.encode("latin-1")
        target = scheme + mark + host + old
    return b"%s %s %s" % (method, target, version)


def _remove(lines, name):
    """Drops a field; returns where it first stood, or None."""
    start, first = name.lower() + b":", None
    for i in range(len(lines) - 1, 0, -1):
        if lines[i][: len(start)].lower() == start:
            del lines[i]
            first = i
    return first


def _set(lines, name, value):
    at = _remove(lines, name)
    lines.insert(len(lines) if at is None else at, name + b": " + value)


# --------------------------------------------------------------- connections


class Origin:
    """Where a connection went before a chain sent one call elsewhere."""

    __slots__ = ("sock", "host", "port", "tunnel", "authority")

    def __init__(self, conn, authority):
        self.sock = conn.sock
        self.host, self.port = conn.host, conn.port
        self.tunnel = (conn._tunnel_host, conn._tunnel_port)
        self.authority = authority


def is_forwarded(lines):
    """True when the connection is a proxy's, and the request line names the origin."""
    return b"://" in lines[0].split(b" ", 2)[1][:8]


def _split(authority, default):
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, ""
    if host.startswith("["):
        host = host.strip("[]")
    return host, int(port) if port.isdigit() else default


def reroute(conn, authority):
    """Points a connection elsewhere for one call; returns what restore() takes."""
    origin = Origin(conn, authority)
    host, port = _split(authority, conn.default_port)
    if conn._tunnel_host:
        conn._tunnel_host, conn._tunnel_port = host, port
    else:
        conn.host, conn.port = host, port
    conn.sock = _spare(conn, authority)
    return origin


def _spare(conn, authority):
    """A connection to there that an earlier call left and that is still open."""
    sock = vars(conn).get("_middlepipe_spares", {}).pop(authority, None)
    if sock is None:
        return None
    try:
        if not bodies.readable(sock, 0):
            return sock
    except (OSError, ValueError):
        pass
    sock.close()
    return None


def restore(conn, origin, reusable):
    """Points it back; the other connection is kept when it can be used again."""
    spares = vars(conn).setdefault("_middlepipe_spares", {})
    sock, conn.sock = conn.sock, origin.sock
    conn.host, conn.port = origin.host, origin.port
    conn._tunnel_host, conn._tunnel_port = origin.tunnel
    if sock is None:
        return
    if reusable and (origin.authority in spares or len(spares) < _SPARES_MAX):
        spares[origin.authority] = sock
    else:
        sock.close()


def close_spares(conn):
    """Closes what restore() kept."""
    spares = vars(conn).pop("_middlepipe_spares", None)
    for sock in (spares or {}).values():
        sock.close()


# ----------------------------------------------------------------- responses


def response(conn, answer, edits, reasons):
    """Edits an http.client response that was read from conn."""
    fields, _, _, body, status = edits
    headers = answer.headers
    for op, name, value in fields:
        if op != mp.ADD:
            del headers[name]
        if op != mp.REMOVE:
            headers[name] = value
    if status:
        answer.status = answer.code = status
        answer.reason = reasons.get(status, "")
    if body is not None:
        if not drained(answer):
            # The rest of the old body would be read as the next response.
            conn._HTTPConnection__response = None
            conn.close()
        bodies.replace(answer, body)
        del headers["Transfer-Encoding"]
        del headers["Content-Length"]
        headers["Content-Length"] = str(len(body))


def drop(conn, answer):
    """Gives a response up; the connection stays if nothing of it is left on the wire."""
    if not drained(answer):
        conn.close()
    answer.close()


def drained(answer):
    """Reads the rest of a response ahead; True when its connection can go on."""
    if not _whole(answer):
        bodies.of_response(answer, True)
    return _whole(answer)


def _whole(answer):
    if answer.fp is None or answer.isclosed() or answer.length == 0:
        return True
    raw = getattr(answer.fp, "raw", None)
    return isinstance(raw, bodies.Replay) and raw.whole

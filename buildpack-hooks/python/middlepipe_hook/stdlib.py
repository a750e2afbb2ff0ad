# SPDX-License-Identifier: Apache-2.0
"""Patches http.client: endheaders, getresponse, close, connect, set_tunnel.

endheaders is where a request is known and the connection not yet opened;
getresponse is where its response's head is.  urllib.request, xmlrpc, httplib2
and any subclass go through both; so does urllib3, some of whose exchanges pool.py
begins earlier: such a Call is `owned`, and its connection claims it here, so that
nothing is counted twice.

Each connection has one Call, as HTTPConnection._middlepipe.
"""

import contextvars
import os
import stat
import sys

from . import _middlepipe as mp
from . import bodies, edits, errors, exchange

# What urllib3 does not take for an answer: it reads the response all the same.
_SALVAGED = (BrokenPipeError, ConnectionResetError)

_BODILESS = frozenset(("GET", "HEAD"))  # not worth a watch on what is sent after the head

# A pool begins an exchange before it has a connection: the Call travels in the
# context, as greenlets share their thread, and `waiting` says whether to look.
pending = contextvars.ContextVar("middlepipe_pending", default=None)
waiting = set()

# Attributes under which subclasses keep the path of a Unix socket.
_UNIX_NAMES = ("unix_socket", "socket_path", "unix_socket_path", "unix_path", "uds", "path")

client = None  # http.client, once it is patched
endheaders = None  # its patched method: a class that has another is a test double
_Refused = None  # its refusal class
_originals = {}  # name: the method that a patch replaced


def patch(module):
    global client, endheaders, _Refused
    connection = module.HTTPConnection
    if "_middlepipe" in vars(connection):
        return
    if not mp.enabled():
        return
    client = module
    _Refused = errors.define(
        module, (module.HTTPException, ConnectionError), lambda error: answer_of(error._reply)
    )
    for name in ("endheaders", "getresponse", "close", "connect", "set_tunnel"):
        _originals[name] = getattr(connection, name)
    connection._middlepipe = None
    _patch_exchange(connection)
    endheaders = connection.endheaders
    _patch_connection(connection)
    _patch_connect(connection)
    if hasattr(module, "HTTPSConnection"):
        _patch_connect(module.HTTPSConnection)


# ----------------------------------------------------------- the common path


def _patch_exchange(connection):
    """The two methods that every call goes through: kept short."""
    endheaders0, getresponse0 = _originals["endheaders"], _originals["getresponse"]
    go = mp.GO

    def endheaders(self, message_body=None, *, encode_chunked=False):
        call = self._middlepipe
        if waiting:
            call = claim(self) or call
        if call is None:
            call = attach(self)
        try:
            if call.owned:
                message_body, encode_chunked = _edited(
                    self, call, message_body, encode_chunked
                )
            else:
                verdict = call.begin(self._buffer)
                if verdict > go:
                    message_body, encode_chunked = _decide(
                        self, call, verdict, message_body, encode_chunked
                    )
            if message_body is None and self._method not in _BODILESS and call.active:
                _watch_send(self, call)
            return endheaders0(self, message_body, encode_chunked=encode_chunked)
        except BaseException as error:
            if not call.active or not failed(self, call, error):
                raise

    def getresponse(self):
        call = self._middlepipe
        if call is None or not (call.active or call.plan is not None):
            return getresponse0(self)
        if call.wants:
            exchange.plan_of(call).reading = True
        try:
            response = getresponse0(self)
        except BaseException as error:
            if not call.active or not failed(self, call, error):
                raise
            return getresponse(self)
        if call.plan is not None:
            return _responded(self, call, response)
        try:
            if call.end(response.status, response.headers._headers):
                del response.headers["Middlepipe"]
        except AttributeError:  # a response class of the application's own
            call.end(response.status, None)
        return response

    connection.endheaders = named(endheaders, endheaders0)
    connection.getresponse = named(getresponse, getresponse0)


def named(function, original):
    """Lets a patch look like what it replaces."""
    function.__name__ = original.__name__
    function.__qualname__ = original.__qualname__
    function.__doc__ = original.__doc__
    function.__module__ = original.__module__
    function.__wrapped__ = original
    return function


# -------------------------------------------------------------- destinations


def claim(conn):
    """Gives a connection the Call that its pool has begun, if it has; returns it."""
    call = pending.get()
    if call is None or not hasattr(conn, "_middlepipe_refused"):
        return None
    pending.set(None)
    waiting.discard(call)
    plan = exchange.plan_of(call)
    plan.previous, conn._middlepipe = conn._middlepipe, call
    return call


def _release(conn, call, plan):
    """Gives an owned Call back to its pool, unless a response still needs it."""
    if not call.owned or plan is None:
        return
    if conn._middlepipe is call:
        conn._middlepipe = plan.previous
    if not plan.watched and plan.home is not None:
        plan.home.append(call)


def attach(conn):
    """Gives a connection its Call: where it goes does not change until set_tunnel."""
    try:
        host, port = conn.host, conn.port
        path = unix_path(conn, "connect")
        if conn._tunnel_host:
            host, port = conn._tunnel_host, conn._tunnel_port
        elif path is not None:
            host, port = "unix:" + path, 0
        call = make_call(conn.default_port == 443, host, port)
    except Exception:  # a connection unlike all others: no chain has its name
        call = make_call(False, "", 0)
    conn._middlepipe = call
    return call


def make_call(tls, host, port):
    """A Call for a destination as libraries name it."""
    if isinstance(host, bytes):
        host = host.decode("latin-1")
    try:
        host.encode("ascii")
    except UnicodeEncodeError:
        host = host.encode("idna").decode("ascii")
    return mp.Call(tls, host, int(port or 0))


def unix_path(owner, method):
    """The Unix socket that a subclass with a `method` of its own goes to, or None."""
    sock = getattr(owner, "sock", None)
    family = getattr(sock, "family", None)
    if family is not None and getattr(family, "name", "") == "AF_UNIX":
        name = sock.getpeername()
        return os.fsdecode(name) if name else None
    home = getattr(getattr(type(owner), method, None), "__module__", "") or ""
    if home == "http.client" or home.endswith(("urllib3.connection", "urllib3.connectionpool")):
        return None
    values = vars(owner)
    for name in _UNIX_NAMES:
        path = _as_path(values.get(name))
        if path:
            return path
    for value in values.values():
        path = _as_path(value)
        if path and _is_socket(path):
            return path
    return None


def _as_path(value):
    if isinstance(value, (bytes, os.PathLike)):
        value = os.fsdecode(value)
    return value if isinstance(value, str) and value.startswith("/") else None


def _is_socket(path):
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


# ------------------------------------------------------------------ requests


def _decide(conn, call, verdict, body, chunked):
    """Does what the chain says before a request is sent; returns the body to send."""
    if verdict == mp.ANSWERED:
        return _answer(conn, call)
    request = _request_of(conn, call, body)
    if verdict == mp.GO_WANTED:
        exchange.plan_of(call).request = request
        return body, chunked
    verdict = exchange.waited(call, call.ask(*request))
    if verdict == mp.REPLY:
        return _answer(conn, call)
    if verdict & mp.EDITED:
        exchange.plan_of(call).edits = call.edits()
        return _edited(conn, call, body, chunked)
    return body, chunked


def _request_of(conn, call, body):
    lines = list(conn._buffer)
    if not call.wants & mp.WANT_REQUEST_BODY:
        return lines, None, False
    return (lines,) + bodies.of_request(body, bodies.announced(lines))


def _edited(conn, call, body, chunked):
    """Edits the buffered head, turns the connection; returns the body to send."""
    plan = call.plan
    edited = plan.edits if plan is not None else None
    if edited is None:
        return body, chunked
    plan.edits = None
    if edited[3] is not None:
        if body is None and bodies.announced(conn._buffer):
            _send_only(conn, plan, edited[3])
            body = None
        else:
            body, chunked = edited[3], False
        edits.request_body(conn._buffer, edited[3])
    if edited[1] is not None and not edits.is_forwarded(conn._buffer):
        turn(conn, plan, edited[1])
    edits.request_lines(conn._buffer, edited)
    return body, chunked


def turn(conn, plan, authority):
    """Points the connection elsewhere for this call; once."""
    if plan.saved is None:
        plan.saved = edits.reroute(conn, authority)


def _send_only(conn, plan, body):
    """The app is going to send a body by itself: ours goes after the head instead."""
    send0 = conn.send

    def send(data):
        if plan.sending == "head":
            plan.sending = "body"
            send0(data)
            send0(body)

    plan.sending, conn.send = "head", send


def _watch_send(conn, call):
    """Keeps how a body that is sent after the head fails: nobody else is told."""
    plan = exchange.plan_of(call)
    if plan.sending:
        return
    send0 = conn.send

    def send(data):
        try:
            return send0(data)
        except BaseException as error:
            plan.kind = errors.kind(error)
            raise

    plan.sending, conn.send = "watched", send


def undo(conn, plan, reusable):
    """Makes a connection what it was before the chain changed it for one call."""
    if plan is None:
        return
    if plan.sending:
        vars(conn).pop("send", None)
    if plan.saved is not None:
        edits.restore(conn, plan.saved, reusable)


# ------------------------------------------------------------------- answers


def answer_of(reply, method=None):
    """An http.client response for a REPLY, as if it had been read from a socket."""
    wire = exchange.Wire(exchange.raw_reply(reply, client.responses))
    response = client.HTTPResponse(wire, method=method)
    response.begin()
    return response


def _answer(conn, call):
    """Answers a request that must not be sent: raises, or prepares getresponse()."""
    reply = call.reply()
    if reply[1]:
        where = call.where
        call.fail(mp.CANCELLED)  # of an answered call the library ignores this
        _forget_request(conn)
        raise errors.refusal(refused_of(conn), where, reply)
    _prepare(conn, call, reply)
    return None, False


def _prepare(conn, call, reply):
    """Puts our bytes where the next response is read from; the socket comes back then."""
    plan = exchange.plan_of(call)
    plan.answered = True
    if plan.saved is None:
        plan.saved = edits.Origin(conn, None)
    conn.sock = exchange.Wire(exchange.raw_reply(reply, client.responses))


def _forget_request(conn):
    """Makes a connection as it was before putrequest(), its socket untouched."""
    del conn._buffer[:]
    conn._HTTPConnection__state = client._CS_IDLE


# ------------------------------------------------------------------ responses


def _responded(conn, call, response):
    """Ends a call that is not a plain one; returns the response that the app gets."""
    plan = call.plan
    try:
        if plan.answered:
            call.end(response.status, None)
            return response
        if call.marked(response.headers._headers):
            del response.headers["Middlepipe"]
        if call.wants & mp.WANT_RESPONSE:
            return _decided(conn, call, plan, response)
        if call.wants & mp.WANT_COPY:
            return _copied(conn, call, plan, response)
        call.end(response.status, None)
        return response
    except BaseException:
        if call.active:
            call.fail(mp.CANCELLED)
        raise
    finally:
        undo(conn, plan, not plan.answered and not response.will_close)
        _release(conn, call, plan)


def _decided(conn, call, plan, response):
    """Shows the response to the chain and does what it says."""
    call.head()
    body, complete = None, False
    if call.wants & mp.WANT_RESPONSE_BODY:
        body, complete = bodies.of_response(response, True)
    status = response.status
    verdict = exchange.waited(
        call, call.respond(status, 0, response.headers._headers, body, complete, plan.request)
    )
    if verdict == mp.REPLY:
        reply = call.reply()
        where = call.where
        call.end(status, None)
        edits.drop(conn, response)
        if reply[1]:
            raise errors.refusal(refused_of(conn), where, reply)
        return answer_of(reply, conn._method)
    if verdict & mp.EDITED:
        edits.response(conn, response, call.edits(), client.responses)
    call.end(status, None)
    return response


def _copied(conn, call, plan, response):
    """Shows the response without waiting for a verdict; its body as the app reads it."""
    call.head()
    request, status = plan.request, response.status
    fields = list(response.headers._headers)

    def finish(body, complete):
        call.respond(status, 0, fields, body, complete, request)
        call.end(status, None)

    if not call.wants & mp.WANT_RESPONSE_BODY:
        finish(None, False)
    elif status >= 400:  # a failure must be known at once, whoever reads its body
        finish(*bodies.of_response(response, False))
    else:
        plan.watched = True  # this Call lives as long as the response
        if not call.owned:
            conn._middlepipe = None
        bodies.watch(response, finish)
    return response


# ------------------------------------------------------------------- failures


def settle(call, error):
    """Ends a call that failed; returns the REPLY that the chain gives for it, or None."""
    kind = errors.kind(error)
    plan, reply = call.plan, None
    if call.wants & (mp.WANT_RESPONSE | mp.WANT_COPY) and not (plan and plan.answered):
        request = plan.request if plan is not None else None
        verdict = call.respond(0, kind, None, None, True, request)
        if call.wants & mp.WANT_RESPONSE and kind != mp.CANCELLED:
            reply = call.reply() if verdict & ~mp.EDITED == mp.REPLY else None
    call.fail(kind)
    return reply


def failed(conn, call, error, sent=True):
    """A call failed: True when it is not over, because the chain has an answer for
    getresponse() to read.  sent: getresponse() is what comes next.
    """
    plan = call.plan
    if isinstance(error, _SALVAGED) and hasattr(conn, "_middlepipe_refused"):
        # urllib3 looks for a response all the same, or closes the connection.
        exchange.plan_of(call).kind = errors.kind(error)
        if plan is None or not plan.reading:
            return False
    where = call.where
    undo(conn, plan, False)
    reply = settle(call, error)
    if reply is None or reply[1]:
        _release(conn, call, plan)
    if reply is None:
        return False
    _originals["close"](conn)  # no subclass's: urllib3's forgets what was asked
    if reply[1]:
        raise errors.refusal(refused_of(conn), where, reply) from error
    if sent:
        conn._HTTPConnection__state = client._CS_REQ_SENT
    _prepare(conn, call, reply)
    if plan is not None:
        call.plan.home, call.plan.previous = plan.home, plan.previous
    return True


def refused_of(conn):
    """The class of a refusal of this connection's calls: urllib3 has one of its own."""
    return getattr(conn, "_middlepipe_refused", _Refused)


# ---------------------------------------------------------------- connections


def _patch_connection(connection):
    close0, set_tunnel0 = _originals["close"], _originals["set_tunnel"]

    def close(self):
        call = self._middlepipe
        if call is not None and call.active:
            _closed(self, call)
        if "_middlepipe_spares" in vars(self):
            edits.close_spares(self)
        return close0(self)

    def set_tunnel(self, *args, **kwargs):
        set_tunnel0(self, *args, **kwargs)
        call = self._middlepipe
        if call is not None and not call.owned:
            self._middlepipe = None

    connection.close = named(close, close0)
    connection.set_tunnel = named(set_tunnel, set_tunnel0)


def _closed(conn, call):
    """An exchange in progress ends here when the app closes its connection.

    getresponse() closes too, in state Idle, when the response will close it.
    """
    if getattr(conn, "_HTTPConnection__state", None) == client._CS_IDLE:
        return
    if call.plan is not None and call.plan.reading:
        return
    error, plan = sys.exc_info()[1], call.plan
    kind = mp.CANCELLED if error is None else errors.kind(error)
    if plan is not None and plan.kind:
        kind = plan.kind
    undo(conn, plan, False)
    call.fail(kind)
    _release(conn, call, plan)


def _patch_connect(connection):
    """connect() called by the app itself: there is no request to ask about yet."""
    connect0 = connection.connect

    def connect(self):
        call = self._middlepipe
        if (call is not None and call.active) or type(self).connect is not connect:
            return connect0(self)
        return _connect(self, connect0)

    connection.connect = named(connect, connect0)


def _connect(conn, connect0):
    """Refuses what stands refused; counts an explicit connect() only when it fails.

    A success says nothing of the service and would be counted beside its request.
    """
    call = conn._middlepipe or attach(conn)
    if call.standing("") == mp.ANSWERED and call.begin("") == mp.ANSWERED:
        reply, where = call.reply(), call.where
        call.fail(mp.CANCELLED)  # of an answered call the library ignores this
        if reply[1]:
            raise errors.refusal(_Refused, where, reply)
        return None  # and the request will be answered likewise
    try:
        return connect0(conn)
    except BaseException as error:
        kind = errors.kind(error)
        if kind != mp.CANCELLED and call.begin("") not in (mp.NONE, mp.ANSWERED):
            settle(call, error)
        raise
    finally:
        if call.active:
            call.fail(mp.CANCELLED)

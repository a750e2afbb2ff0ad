# SPDX-License-Identifier: Apache-2.0
"""Patches urllib3's HTTPConnectionPool (1.26 and 2.x, copies in other packages
too): urlopen and _make_request, each of which runs once an attempt.

urlopen is where a refusal costs no connection, no TLS handshake, no CONNECT and
no retry; _make_request is where the attempt's connection is known.  In between
the Call travels in a context variable, because greenlets share their thread.
The response's head is seen by http.client's patch, below.
"""

import contextvars
import sys

from . import _middlepipe as mp
from . import bodies, edits, errors, exchange, stdlib

_pending = contextvars.ContextVar("middlepipe_pending", default=None)


def patch(module):
    pool = module.HTTPConnectionPool
    if "_middlepipe_calls" in vars(pool):
        return
    if not mp.enabled():
        return
    stdlib.patch(sys.modules["http.client"])
    if stdlib.client is None:
        return
    exceptions = sys.modules[_package(module) + ".exceptions"]
    pool._middlepipe_refused = errors.define(
        exceptions, (exceptions.HTTPError,), lambda error: wrapped(pool, error._reply)
    )
    pool._middlepipe_module = module
    pool._middlepipe_calls = None
    _patch_urlopen(pool)
    _patch_make_request(pool)


def _package(module):
    """The name of the urllib3 that a module belongs to."""
    return module.__name__.rpartition(".")[0]


# ----------------------------------------------------------- the common path


def _patch_urlopen(pool):
    urlopen0 = pool.urlopen
    none, go = mp.NONE, mp.GO
    endheaders = stdlib.client.HTTPConnection.endheaders
    get, put = _pending.get, _pending.set

    def urlopen(self, method, url, body=None, headers=None, *args, **kwargs):
        # A test double's connections are its own affair: it wins.
        if getattr(self.ConnectionCls, "endheaders", None) is not endheaders:
            return urlopen0(self, method, url, body, headers, *args, **kwargs)
        outer = get()
        if outer is not None:
            outer = _left_over(self, outer, args, kwargs)
        calls = self._middlepipe_calls
        call = calls.pop() if calls else _new_call(self)
        verdict = call.begin(url)
        if verdict == none:
            self._middlepipe_calls.append(call)
            return urlopen0(self, method, url, body, headers, *args, **kwargs)
        if verdict > go:
            answer = _decided(self, call, verdict, method, url, body, headers, args, kwargs)
            if answer is not None:
                return answer
        put(call)
        try:
            return urlopen0(self, method, url, body, headers, *args, **kwargs)
        except BaseException as error:
            if get() is call:  # no connection was had: a proxy's, or the pool is exhausted
                _give_up(self, call, error)
            raise
        finally:
            if outer is not None:
                put(outer)

    pool.urlopen = stdlib.named(urlopen, urlopen0)


def _patch_make_request(pool):
    make_request0 = pool._make_request
    get, put = _pending.get, _pending.set

    def _make_request(self, conn, method, url, *args, **kwargs):
        call = get()
        if call is None:
            return make_request0(self, conn, method, url, *args, **kwargs)
        put(None)
        conn._middlepipe = call
        try:
            if call.plan is not None or call.wants:
                _prepare(self, conn, call, url, kwargs)
            response = make_request0(self, conn, method, url, *args, **kwargs)
        except BaseException as error:
            return _failed(self, conn, call, error, method, url, kwargs)
        conn._middlepipe = None
        if not call.active:
            self._middlepipe_calls.append(call)
        elif call.plan is None or not call.plan.watched:
            call.end(response.status, None)  # a connection class that parses by itself
        return response

    pool._make_request = stdlib.named(_make_request, make_request0)


def _new_call(pool):
    """A Call of this pool; they are used again, one by each attempt in progress."""
    if pool._middlepipe_calls is None:
        pool._middlepipe_calls = []
    try:
        path = stdlib.unix_path(pool, "_new_conn")
        host, port = (pool.host, pool.port) if path is None else ("unix:" + path, 0)
        call = stdlib.make_call(pool.scheme == "https", host, port)
    except Exception:  # a pool unlike all others
        call = stdlib.make_call(False, "", 0)
    call.owned = True
    return call


# ------------------------------------------------------------------ requests


def _decided(pool, call, verdict, method, url, body, headers, args, kwargs):
    """Does what the chain says before a request is sent: an answer, or None to go on."""
    try:
        if verdict == mp.ANSWERED:
            return _answer(pool, call, method, url, args, kwargs)
        request = _request_of(pool, call, method, url, body, headers)
        if verdict == mp.GO_WANTED:
            exchange.plan_of(call).request = request
            return None
        verdict = exchange.waited(call, call.ask(*request))
        if verdict == mp.REPLY:
            return _answer(pool, call, method, url, args, kwargs)
        if verdict & mp.EDITED:
            exchange.plan_of(call).edits = call.edits()
        return None
    except BaseException as error:
        if call.active:
            call.fail(errors.kind(error))
        raise


def _request_of(pool, call, method, url, body, headers):
    """The request as it will be sent, as far as urllib3's own fields are known."""
    if headers is None:
        headers = pool.headers
    lines = [(method, url)]
    names = set()
    for name, value in headers.items():
        if value != "@@@SKIP_HEADER@@@":
            lines.append((name, value))
        names.add(name.lower() if isinstance(name, str) else name.decode("latin-1").lower())
    if "host" not in names:
        lines.append(("Host", call.where))
    if "accept-encoding" not in names:
        lines.append(("Accept-Encoding", "identity"))
    if "user-agent" not in names:
        agent = getattr(pool.ConnectionCls, "_middlepipe_agent", None)
        lines.append(("User-Agent", agent or _agent_of(pool)))
    if isinstance(body, (bytes, str)) and "content-length" not in names:
        lines.append(("Content-Length", len(body)))
    if not call.wants & mp.WANT_REQUEST_BODY:
        return lines, None, False
    return (lines,) + bodies.of_request(body, False)


def _agent_of(pool):
    """urllib3's own User-Agent, kept in the class of the pool's connections."""
    package = sys.modules[_package(pool._middlepipe_module)]
    agent = "python-urllib3/%s" % getattr(package, "__version__", "")
    pool.ConnectionCls._middlepipe_agent = agent
    return agent


def _prepare(pool, conn, call, url, kwargs):
    """Edits what must be known before the connection is used: whereto, and the body."""
    plan = exchange.plan_of(call)
    plan.refused = pool._middlepipe_refused
    if plan.edits is None:
        return
    authority, body = plan.edits[1], plan.edits[3]
    if authority is not None and "://" not in url[:8]:
        plan.saved = edits.reroute(conn, authority)
    if body is not None:
        headers = (kwargs.get("headers") or {}).copy()
        for name in [n for n in headers if n.lower() in ("content-length", "transfer-encoding")]:
            del headers[name]
        headers["Content-Length"] = str(len(body))
        kwargs.update(body=body, headers=headers, chunked=False)


# ------------------------------------------------------------------- answers


def _answer(pool, call, method, url, args, kwargs):
    reply, where = call.reply(), call.where
    call.fail(mp.CANCELLED)  # of an answered call the library ignores this
    pool._middlepipe_calls.append(call)
    if reply[1]:
        raise errors.refusal(pool._middlepipe_refused, where, reply)
    retries = args[0] if args else kwargs.get("retries")
    return wrapped(pool, reply, method, url, retries, kwargs)


def wrapped(pool, reply, method=None, url=None, retries=None, kwargs=None):
    """A urllib3 response for a REPLY, as its pool would have made it."""
    kwargs = kwargs or {}
    answer = stdlib.answer_of(reply, method)
    options = {
        "preload_content": kwargs.get("preload_content", True),
        "decode_content": kwargs.get("decode_content", True),
        "request_method": method,
    }
    if hasattr(pool, "ResponseCls"):  # 1.26
        return pool.ResponseCls.from_httplib(answer, pool=None, retries=retries, **options)
    module = pool._middlepipe_module
    response = sys.modules[_package(module) + ".response"].HTTPResponse(
        body=answer,
        headers=module.HTTPHeaderDict(answer.msg.items()),
        status=answer.status,
        version=answer.version,
        reason=answer.reason,
        original_response=answer,
        request_url=url,
        **options
    )
    response.retries = retries
    if hasattr(response, "version_string"):
        response.version_string = "HTTP/1.1"
    return response


# ------------------------------------------------------------------- failures


def _failed(pool, conn, call, error, method, url, kwargs):
    """Ends an attempt that failed: raises, or returns what the chain answers for it."""
    conn._middlepipe = None
    where, reply = call.where, None
    stdlib.undo(conn, call.plan, False)
    if call.active:
        reply = stdlib.settle(call, error)
    pool._middlepipe_calls.append(call)
    if reply is None:
        raise error
    conn.close()
    if reply[1]:
        raise errors.refusal(pool._middlepipe_refused, where, reply) from error
    if hasattr(pool, "ResponseCls"):  # 1.26
        return stdlib.answer_of(reply, method)  # urlopen makes it urllib3's
    response = wrapped(pool, reply, method, url, kwargs.get("retries"), kwargs)
    response._pool, response._connection = pool, kwargs.get("response_conn")
    return response


def _give_up(pool, call, error):
    """Ends an attempt that had no connection."""
    _pending.set(None)
    stdlib.settle(call, error)
    pool._middlepipe_calls.append(call)


def _left_over(pool, call, args, kwargs):
    """An attempt is pending while another begins: urlopen retries one that had no
    connection, or (returned) something called from within it makes a call of its own.
    """
    retries = args[0] if args else kwargs.get("retries")
    history = getattr(retries, "history", None)
    if history and history[-1].error is not None:
        _give_up(pool, call, history[-1].error)
        return None
    _pending.set(None)
    return call

# SPDX-License-Identifier: Apache-2.0
"""Patches urllib3's HTTPConnectionPool (1.26 and 2.x, copies in other packages
too): urlopen, which runs once an attempt, and _validate_conn of https.

While the chain lets calls pass, the connection below does all (stdlib.py).  Else
urlopen asks, so that a refusal costs no connection, no TLS handshake, no CONNECT
and no retry; https and proxies always begin here, as they connect before a
connection has its request.
"""

import sys

from . import _middlepipe as mp
from . import bodies, errors, exchange, stdlib


def patch(module):
    pool = module.HTTPConnectionPool
    if "_middlepipe_probe" in vars(pool):
        return
    if not mp.enabled():
        return
    stdlib.patch(sys.modules["http.client"])
    if stdlib.client is None:
        return
    exceptions = sys.modules[_package(module) + ".exceptions"]
    refused = errors.define(
        exceptions, (exceptions.HTTPError,), lambda error: wrapped(pool, error._reply)
    )
    pool._middlepipe_refused = module.HTTPConnection._middlepipe_refused = refused
    pool._middlepipe_module = module
    pool._middlepipe_probe = None
    _patch_urlopen(pool)
    if hasattr(module, "HTTPSConnectionPool"):
        _patch_validate(module.HTTPSConnectionPool)


def _package(module):
    """The name of the urllib3 that a module belongs to."""
    return module.__name__.rpartition(".")[0]


# ----------------------------------------------------------- the common path


def _patch_urlopen(pool):
    urlopen0 = pool.urlopen

    def urlopen(self, method, url, *args, **kwargs):
        probe = self._middlepipe_probe
        if probe is None:
            probe = _probe(self)
        if probe.standing(url) <= self._middlepipe_below:
            return urlopen0(self, method, url, *args, **kwargs)
        return _open(self, urlopen0, method, url, args, kwargs)

    pool.urlopen = stdlib.named(urlopen, urlopen0)


def _probe(pool):
    """Makes the pool's first Call, which only looks; all its threads share it."""
    plain = pool.scheme == "http" and getattr(pool, "proxy", None) is None
    pool._middlepipe_calls = []  # the others: used again, one by each attempt in progress
    pool._middlepipe_below = mp.GO if plain else mp.NONE  # what the connection does alone
    pool._middlepipe_probe = _new_call(pool)
    return pool._middlepipe_probe


def _new_call(pool):
    try:
        path = stdlib.unix_path(pool, "_new_conn")
        host, port = (pool.host, pool.port) if path is None else ("unix:" + path, 0)
        call = stdlib.make_call(pool.scheme == "https", host, port)
    except Exception:  # a pool unlike all others
        call = stdlib.make_call(False, "", 0)
    call.owned = True
    return call


def _open(pool, urlopen0, method, url, args, kwargs):
    """An attempt that the chain is asked about, or that may fail before it is sent."""
    if getattr(pool.ConnectionCls, "endheaders", None) is not stdlib.endheaders:
        # A test double's connections are its own affair: it wins.
        return urlopen0(pool, method, url, *args, **kwargs)
    outer = stdlib.pending.get()
    if outer is not None:
        outer = _left_over(outer, args, kwargs)
    calls = pool._middlepipe_calls
    try:
        call = calls.pop()
    except IndexError:
        call = _new_call(pool)
    verdict = call.begin(url)
    if verdict == mp.NONE:
        calls.append(call)
        return urlopen0(pool, method, url, *args, **kwargs)
    if verdict > mp.GO:
        answer = _decided(pool, call, verdict, method, url, args, kwargs)
        if answer is not None:
            return answer
    exchange.plan_of(call).home = calls
    stdlib.waiting.add(call)
    stdlib.pending.set(call)
    try:
        return urlopen0(pool, method, url, *args, **kwargs)
    except BaseException as error:
        if stdlib.pending.get() is not call:
            raise
        # No connection claimed it: a proxy's failed, or the pool is exhausted.
        where, reply = call.where, _give_up(call, error)
        if reply is None:
            raise
        return _answered(pool, where, reply, method, url, args, kwargs)
    finally:
        if outer is not None:
            stdlib.pending.set(outer)


def _patch_validate(pool):
    """https: the connection is made here, before its request is known to it."""
    validate0 = pool._validate_conn

    def _validate_conn(self, conn):
        call = stdlib.claim(conn) if stdlib.waiting else None
        if call is None:
            return validate0(self, conn)
        try:
            authority = call.plan.edits[1] if call.plan.edits is not None else None
            if authority is not None:
                stdlib.turn(conn, call.plan, authority)
            return validate0(self, conn)
        except BaseException as error:
            if not call.active or not stdlib.failed(conn, call, error, False):
                raise

    pool._validate_conn = stdlib.named(_validate_conn, validate0)


# ------------------------------------------------------------------ requests


def _argument(args, kwargs, at, name):
    """An argument of urlopen after method and url, however it was given."""
    return args[at] if len(args) > at else kwargs.get(name)


def _decided(pool, call, verdict, method, url, args, kwargs):
    """Does what the chain says before a request is sent: an answer, or None to go on."""
    try:
        if verdict != mp.ANSWERED:
            request = _request_of(pool, call, method, url, args, kwargs)
            if verdict == mp.GO_WANTED:
                exchange.plan_of(call).request = request
                return None
            verdict = exchange.waited(call, call.ask(*request))
            if verdict & mp.EDITED:
                exchange.plan_of(call).edits = call.edits()
            if verdict != mp.REPLY:
                return None
    except BaseException as error:
        if call.active:
            call.fail(errors.kind(error))
        raise
    reply, where = call.reply(), call.where
    call.fail(mp.CANCELLED)  # of an answered call the library ignores this
    pool._middlepipe_calls.append(call)
    return _answered(pool, where, reply, method, url, args, kwargs)


def _request_of(pool, call, method, url, args, kwargs):
    """The request as it will be sent, as far as urllib3's own fields are known."""
    body, headers = _argument(args, kwargs, 0, "body"), _argument(args, kwargs, 1, "headers")
    lines = [(method, url)]
    lines += (pool.headers if headers is None else headers).items()
    names = {name.lower() for name, _ in lines[1:]}
    if "host" not in names:
        lines.append(("Host", call.where))
    if "accept-encoding" not in names:
        lines.append(("Accept-Encoding", "identity"))
    if "user-agent" not in names:
        lines.append(("User-Agent", _agent_of(pool)))
    if isinstance(body, (bytes, str)) and "content-length" not in names:
        lines.append(("Content-Length", len(body)))
    if not call.wants & mp.WANT_REQUEST_BODY:
        return lines, None, False
    return (lines,) + bodies.of_request(body, False)


def _agent_of(pool):
    """urllib3's own User-Agent."""
    package = sys.modules[_package(pool._middlepipe_module)]
    return "python-urllib3/%s" % getattr(package, "__version__", "")


# ------------------------------------------------------------------- answers


def _answered(pool, where, reply, method, url, args, kwargs):
    if reply[1]:
        raise errors.refusal(pool._middlepipe_refused, where, reply)
    return wrapped(pool, reply, method, url, _argument(args, kwargs, 2, "retries"), kwargs)


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


def _give_up(call, error):
    """Ends an attempt that no connection claimed; returns the chain's REPLY, or None."""
    stdlib.pending.set(None)
    stdlib.waiting.discard(call)
    home = call.plan.home
    reply = stdlib.settle(call, error)
    home.append(call)
    return reply


def _left_over(call, args, kwargs):
    """An attempt is pending while another begins: urlopen retries one that had no
    connection, or (returned) something called from within it makes a call of its own.
    """
    history = getattr(_argument(args, kwargs, 2, "retries"), "history", None)
    if history and history[-1].error is not None:
        _give_up(call, history[-1].error)
        return None
    stdlib.pending.set(None)
    return call

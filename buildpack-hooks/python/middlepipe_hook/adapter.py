# SPDX-License-Identifier: Apache-2.0
"""Patches requests' HTTPAdapter.send: a refusal by a layer below becomes one
that users of requests catch.  The exchange itself is urllib3's.
"""

import sys

from . import _middlepipe as mp
from . import errors, pool, stdlib


def patch(module):
    adapter = module.HTTPAdapter
    if "_middlepipe_refused" in vars(adapter):
        return
    if not mp.enabled():
        return
    exceptions = sys.modules[module.__name__.rpartition(".")[0] + ".exceptions"]
    adapter._middlepipe_refused = errors.define(exceptions, (exceptions.ConnectionError,), _answer)
    send0 = adapter.send

    def send(self, request, *args, **kwargs):
        try:
            return send0(self, request, *args, **kwargs)
        except Exception as error:
            refusal = _refusal_in(error)
            if refusal is None:
                raise
            raised = self._middlepipe_refused(*refusal.args)
            raised.set_reply(refusal._reply)
            raised.request, raised._adapter = request, self
            raise raised from refusal

    adapter.send = stdlib.named(send, send0)


def _refusal_in(error):
    """The refusal that an exception is, or that requests has wrapped."""
    first = error.args[0] if error.args else None
    for candidate in (error, first):
        if isinstance(candidate, errors.Refusal):
            return candidate
    return None


def _answer(error):
    """A requests.Response for the refusal; not after pickling, which loses the request."""
    adapter, request = getattr(error, "_adapter", None), getattr(error, "request", None)
    if adapter is None or request is None:
        return None
    manager = adapter.poolmanager.connection_from_url(request.url)
    options = {"preload_content": False, "decode_content": False}
    raw = pool.wrapped(manager, error._reply, request.method, request.url, None, options)
    return adapter.build_response(request, raw)

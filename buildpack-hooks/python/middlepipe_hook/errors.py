# SPDX-License-Identifier: Apache-2.0
"""How calls fail: the kinds that a chain is told, and the exceptions that a
refusal becomes, each of the class that its library's users catch already.

A refusal carries pipe, type, state, retry_after and response.  Its class is
made when its library has been loaded and is put into that library's module of
exceptions under the name MiddlepipeRefused.
"""

import errno

from . import _middlepipe as mp

_NAME = "MiddlepipeRefused"

# Kinds by the name of a class, for libraries that are not imported here.  The
# first class of an exception's ancestors that is listed decides.
_BY_NAME = {
    # urllib3
    "NewConnectionError": mp.REFUSED,
    "NameResolutionError": mp.REFUSED,
    "ConnectTimeoutError": mp.TIMEOUT,
    "ReadTimeoutError": mp.TIMEOUT,
    "EmptyPoolError": mp.CANCELLED,
    "ClosedPoolError": mp.CANCELLED,
    "FullPoolError": mp.CANCELLED,
    "HostChangedError": mp.CANCELLED,
    "LocationValueError": mp.CANCELLED,
    # http.client
    "IncompleteRead": mp.BROKEN,
    "RemoteDisconnected": mp.BROKEN,
    "ImproperConnectionState": mp.CANCELLED,
    "NotConnected": mp.CANCELLED,
    "InvalidURL": mp.CANCELLED,
    # ssl and socket
    "SSLError": mp.PROTOCOL,
    "CertificateError": mp.PROTOCOL,
    "gaierror": mp.REFUSED,
    "herror": mp.REFUSED,
    # tasks and greenlets; their Timeout is no Exception
    "CancelledError": mp.CANCELLED,
    "Timeout": mp.TIMEOUT,
    # the language's own
    "ConnectionRefusedError": mp.REFUSED,
    "FileNotFoundError": mp.REFUSED,  # a Unix socket that is not there
    "PermissionError": mp.REFUSED,
    "TimeoutError": mp.TIMEOUT,
    "timeout": mp.TIMEOUT,
    "ConnectionError": mp.BROKEN,
    "HTTPException": mp.PROTOCOL,
}

_BY_ERRNO = {
    errno.EHOSTUNREACH: mp.REFUSED,
    errno.EHOSTDOWN: mp.REFUSED,
    errno.ENETUNREACH: mp.REFUSED,
    errno.ENETDOWN: mp.REFUSED,
    errno.EADDRNOTAVAIL: mp.REFUSED,
    errno.ETIMEDOUT: mp.TIMEOUT,
    errno.ECONNRESET: mp.BROKEN,
    errno.EPIPE: mp.BROKEN,
    errno.ENOTCONN: mp.BROKEN,
    errno.EBADF: mp.BROKEN,  # closed by another thread
}


def kind(error, depth=4):
    """The kind of failure that an exception is, looking into wrappers."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
        return mp.CANCELLED
    for cls in type(error).__mro__:
        found = _BY_NAME.get(cls.__name__)
        if found is not None:
            return found
    inner = _inner(error)
    if inner is not None and depth > 0:
        return kind(inner, depth - 1)
    if isinstance(error, OSError):
        return _BY_ERRNO.get(error.errno, mp.OTHER)
    if not isinstance(error, Exception):  # GreenletExit and its like
        return mp.CANCELLED
    return mp.OTHER


def _inner(error):
    """What urllib3 has wrapped: ProxyError, MaxRetryError and ProtocolError."""
    for name in ("original_error", "reason"):
        inner = getattr(error, name, None)
        if isinstance(inner, BaseException):
            return inner
    last = error.args[-1] if error.args else None
    return last if isinstance(last, BaseException) else None


class Refusal:
    """What all exceptions of refused calls share; never raised by itself."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.set_reply(None)

    def set_reply(self, reply):
        """Keeps the verdict's (status, raise, fields, body, type, pipe, state, retry_after)."""
        _, _, _, _, self.type, self.pipe, self.state, after = reply or (None,) * 7 + (-1,)
        self.retry_after = None if after < 0 else after
        self._reply = reply
        self._response = None

    def _answer(self):
        """Makes the response from self._reply; each library knows its own."""

    @property
    def response(self):
        """The response that the chain gives for the service's, in the library's class."""
        if self._response is None and self._reply is not None:
            self._response = self._answer()
        return self._response

    @response.setter
    def response(self, value):  # requests sets one in its constructor
        self._response = value

    def __reduce__(self):
        return _restore, (type(self), self.args, self._reply)


def _restore(cls, args, reply):
    error = cls(*args)
    error.set_reply(reply)
    return error


def message(where, reply):
    """The text of a refusal: "[payments:80] middlepipe guard is open, retry after 4 s"."""
    pipe, state, after = reply[5], reply[6], reply[7]
    name = pipe or reply[4] or "?"
    who = name if name == "middlepipe" else "middlepipe " + name  # all of it, or one
    text = "[%s] %s is %s" % (where, who, state or "refusing")
    return text if after < 0 else "%s, retry after %d s" % (text, after)


def refusal(cls, where, reply):
    """An exception of that class for a REPLY that raises."""
    error = cls(message(where, reply))
    error.set_reply(reply)
    return error


def define(module, bases, answer):
    """The refusal class of a library, kept in its module; `answer` makes its response."""
    cls = vars(module).get(_NAME)
    if cls is None:
        members = {"__module__": module.__name__, "__doc__": Refusal.__doc__, "_answer": answer}
        cls = type(_NAME, (Refusal,) + bases, members)
        setattr(module, _NAME, cls)
    return cls

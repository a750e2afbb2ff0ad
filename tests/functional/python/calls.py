# SPDX-License-Identifier: Apache-2.0
"""An application: makes the calls that its argument lists, with the library that
each names, and prints what came of each as JSON.  Knows nothing of Middlepipe.

A call is {"lib", "url"} and perhaps method, headers, body, timeout, count, and
what the functions below take.  Connections, pools and sessions are kept.
"""

import http.client
import io
import json
import socket
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

KEPT = {}


def insecure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.unix_socket = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.unix_socket)


def body_of(call):
    """bytes, or what {"file": path}, {"iter": [...]}, {"io": text} stand for."""
    body = call.get("body")
    if isinstance(body, str):
        return body.encode()
    if body is None:
        return None
    if "file" in body:
        return open(body["file"], "rb")
    if "io" in body:
        return io.BytesIO(body["io"].encode())
    return (part.encode() for part in body["iter"])


def kept(key, make):
    if key not in KEPT:
        KEPT[key] = make()
    return KEPT[key]


def http_connection(call, url):
    timeout = call.get("timeout", 20)
    if call.get("unix"):
        return UnixConnection(call["unix"])
    if call.get("tunnel"):
        host, port = call["tunnel"].split(":")
        conn = http.client.HTTPSConnection(host, int(port), timeout=timeout, context=insecure())
        conn.set_tunnel(url.hostname, url.port)
        return conn
    if url.scheme == "https":
        return http.client.HTTPSConnection(url.hostname, url.port, timeout=timeout,
                                           context=insecure())
    return http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)


def by_http(call):
    url = urllib.parse.urlsplit(call["url"])
    conn = kept((call.get("unix"), call.get("tunnel"), url.scheme, url.netloc),
                lambda: http_connection(call, url))
    path = url.path + ("?" + url.query if url.query else "")
    try:
        if call.get("connect"):
            conn.connect()
        conn.request(call.get("method", "GET"), path, body_of(call), call.get("headers", {}))
        answer = conn.getresponse()
    except Exception:
        if not call.get("careless"):
            conn.close()
        raise
    return {"status": answer.status, "reason": answer.reason, "headers": answer.getheaders(),
            "body": read(answer, call), "class": type(answer).__name__}


def read(stream, call):
    if not call.get("lines"):
        return stream.read().decode()
    return "".join(line.decode() for line in stream)


def by_urllib(call):
    request = urllib.request.Request(call["url"], body_of(call), call.get("headers", {}),
                                     method=call.get("method"))
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(call.get("proxies", {})),
        urllib.request.HTTPSHandler(context=insecure()))
    try:
        with opener.open(request, timeout=call.get("timeout", 20)) as answer:
            return {"status": answer.status, "reason": answer.reason,
                    "headers": answer.getheaders(), "body": read(answer, call),
                    "class": type(answer).__name__}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "headers": list(error.headers.items()),
                "body": error.read().decode(), "class": "HTTPError"}


def urllib3_manager(call):
    import urllib3

    urllib3.disable_warnings()
    options = {"cert_reqs": "CERT_NONE", "retries": retry_of(call)}
    if call.get("proxies"):
        return urllib3.ProxyManager(next(iter(call["proxies"].values())), **options)
    return urllib3.PoolManager(**options)


def retry_of(call):
    """A policy as applications have it; without one, no retries but redirects."""
    from urllib3.util.retry import Retry

    if call.get("retry"):
        return Retry(total=call["retry"], status_forcelist=[500, 502, 503], backoff_factor=0)
    return Retry(total=10, connect=0, read=0, status=0, other=0) if "other" in vars(
        Retry(0)) else Retry(10)


def by_urllib3(call):
    manager = kept(("urllib3", json.dumps(call.get("proxies")), call.get("retry")),
                   lambda: urllib3_manager(call))
    answer = manager.request(call.get("method", "GET"), call["url"], body=body_of(call),
                             headers=call.get("headers"), timeout=call.get("timeout", 20),
                             preload_content=not call.get("stream"))
    if call.get("stream"):
        body = b"".join(answer.stream(call["stream"])).decode()
        answer.release_conn()
    else:
        body = answer.data.decode()
    return {"status": answer.status, "reason": answer.reason, "body": body,
            "headers": list(answer.headers.items()), "class": type(answer).__name__}


def by_requests(call):
    import requests

    session = kept(("requests", call.get("retry")), requests.Session)
    session.trust_env = False
    if call.get("retry"):
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry_of(call)))
    answer = session.request(call.get("method", "GET"), call["url"], data=body_of(call),
                             headers=call.get("headers"), timeout=call.get("timeout", 20),
                             stream=bool(call.get("stream")), verify=False,
                             proxies=call.get("proxies"))
    if call.get("stream"):
        text = b"".join(answer.iter_content(call["stream"])).decode()
    else:
        text = answer.text
    return {"status": answer.status_code, "reason": answer.reason, "body": text,
            "headers": list(answer.headers.items()), "class": type(answer).__name__}


def failure(error):
    """What an except clause of the application can see."""
    seen = {"error": [cls.__name__ for cls in type(error).__mro__], "text": str(error)}
    reason = getattr(error, "reason", None)
    if isinstance(reason, Exception):
        seen["reason"] = failure(reason)
    if hasattr(error, "pipe"):
        seen.update(pipe=error.pipe, type=error.type, state=error.state,
                    retry_after=error.retry_after)
        answer = error.response
        seen["response"] = getattr(answer, "status_code", None) or getattr(answer, "status", None)
        if answer is not None:
            seen["response_body"] = getattr(answer, "text", None) or (
                getattr(answer, "data", None) or answer.read()).decode()
    return seen


def main():
    import warnings

    warnings.simplefilter("ignore")
    out = []
    for call in json.loads(sys.argv[1]):
        for _ in range(call.get("count", 1)):
            try:
                out.append(globals()["by_" + call["lib"]](call))
            except Exception as error:
                out.append(failure(error))
    print(json.dumps(out))


if __name__ == "__main__":
    main()

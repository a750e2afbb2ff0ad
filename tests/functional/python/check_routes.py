# SPDX-License-Identifier: Apache-2.0
"""Where calls go: https, IPv6, proxies, CONNECT tunnels, Unix sockets."""

import os

import mp
from harness import HERE, REFUSAL, Proxy, certificate


def check(app):
    pair = certificate()
    addresses(app)
    forwarded(app)
    if pair is None:
        mp.skip(app.name("https and tunnels"), "openssl is not there")
    else:
        secure(app, pair)
        tunnelled(app, pair)
    unix(app)


def addresses(app):
    service = mp.Service(host="::1")
    for lib in app.libs:
        got = app.calls("begin ASK\n", {"lib": lib, "url": service.url("/v6")})
        mp.is_([got[0].get("status"), app.ends()], [200, [(200, 0)]], app.name(lib + ": IPv6"))
        begun = (app.told("begin") or [""])[0].replace("[", "").replace("]", "")
        mp.is_(begun, "http ::1 %d /v6" % service.port, app.name(lib + ": IPv6 destination"))
        asked = (app.told("request") or [""])[0]
        mp.ok(" %s /v6" % service.authority in asked, app.name(lib + ": IPv6 authority"))
        got = app.calls(REFUSAL, {"lib": lib, "url": service.url()})[0]
        mp.like(got.get("text"), r"\[\[?::1\]?:\d+\] middlepipe guard", app.name(lib + ": text"))
    service.stop()


def forwarded(app):
    """Through an HTTP proxy the destination is the origin, not the proxy."""
    service = mp.Service()
    for lib in app.libs:
        if lib == "http":
            continue
        proxy = Proxy()
        call = {"lib": lib, "url": service.url("/p"), "proxies": {"http": proxy.url}}
        got = app.calls("begin ASK\nset X-A: 1\npath /q\n", call)
        mp.is_([got[0].get("status"), app.ends(), app.told("begin")],
               [200, [(200, 0)], ["http 127.0.0.1 %d /p" % service.port]],
               app.name(lib + ": a proxied call's destination"))
        mp.is_([service.requests[-1].path, service.requests[-1].get("X-A")], ["/q", "1"],
               app.name(lib + ": a proxied call edited"))
        other = mp.Service()
        app.calls("begin ASK\nauthority %s\n" % other.authority, call)
        mp.is_([other.count, other.requests and other.requests[0].get("Host")],
               [1, other.authority], app.name(lib + ": a proxied call sent elsewhere"))
        other.stop()
        before = proxy.connections
        got = app.calls(REFUSAL, call)[0]
        got = got.get("reason", got)
        mp.is_([got.get("pipe"), proxy.connections], ["guard", before],
               app.name(lib + ": a refusal does not reach the proxy"))
        mp.ok(service.authority in got.get("text", ""), app.name(lib + ": and names the origin"))
    service.stop()


def secure(app, pair):
    service = mp.Service(tls=pair)
    for lib in app.libs:
        got = app.calls("begin ASK\nset X-A: 1\n", {"lib": lib, "url": service.url("/s"),
                                                    "count": 2})
        mp.is_([[a.get("status") for a in got], app.ends()], [[200] * 2, [(200, 0)] * 2],
               app.name(lib + ": https"))
        mp.is_(app.told("begin")[:1], ["https 127.0.0.1 %d /s" % service.port],
               app.name(lib + ": https destination"))
        got = app.calls("begin GO\nwants 14\nrset X-R: 1\n",
                        {"lib": lib, "url": service.url("/s"), "count": 2})
        mp.is_([a.get("body") for a in got], ["ok\n"] * 2, app.name(lib + ": https, read ahead"))
        mp.ok((app.told("response") or [""])[-1].endswith("complete=1") or
              "body=ok" in (app.told("response") or [""])[-1],
              app.name(lib + ": https, body shown"))
        other = mp.Service(tls=pair)
        app.calls("begin ASK\nauthority localhost:%d\n" % other.port,
                  {"lib": lib, "url": service.url(), "count": 2})
        mp.is_(other.count, 2, app.name(lib + ": https sent elsewhere"))
        other.stop()
        service.forget()
        app.calls(REFUSAL, {"lib": lib, "url": service.url()})
        mp.is_(service.connections, 0, app.name(lib + ": https refused before it connects"))
    service.stop()


def tunnelled(app, pair):
    service = mp.Service(tls=pair)
    for lib in app.libs:
        proxy = Proxy()
        call = {"lib": lib, "url": service.url("/t"), "proxies": {"https": proxy.url},
                "tunnel": proxy.authority, "count": 2}
        got = app.calls("begin ASK\nset X-A: 1\n", call)
        mp.is_([[a.get("status") for a in got], app.ends()], [[200] * 2, [(200, 0)] * 2],
               app.name(lib + ": a tunnel"))
        mp.is_(app.told("begin"), ["https 127.0.0.1 %d /t" % service.port] * 2,
               app.name(lib + ": a tunnel's destination is its origin"))
        mp.ok(proxy.first[0].startswith("CONNECT " + service.authority),
              app.name(lib + ": CONNECT is not filtered"))
        before = proxy.connections
        app.calls(REFUSAL, call)
        mp.is_([proxy.connections, len(app.told("begin"))], [before, 2],
               app.name(lib + ": a refusal dials no tunnel"))
        dead = "127.0.0.1:%d" % mp.dead_port()
        call.update(proxies={"https": "http://" + dead}, tunnel=dead, retry=1, count=1)
        app.calls("begin GO\n", call)
        attempts = 2 if lib in ("urllib3", "requests") else 1
        mp.is_(app.ends(), [(0, 1)] * attempts, app.name(lib + ": a dead proxy is told"))
    service.stop()


def unix(app):
    path = os.path.join(app.folder, "service.sock")
    service = mp.Service(unix=path)
    for keep in (1, 3):
        got = app.calls("begin ASK\n", {"lib": "http", "url": "http://localhost/u", "unix": path,
                                        "count": keep})
        mp.is_([[a.get("status") for a in got], app.told("begin")[-1:]],
               [[200] * keep, ["http unix:%s 0 /u" % path]], app.name("a Unix socket"))
    got = app.calls(REFUSAL, {"lib": "http", "url": "http://localhost/u", "unix": path})[0]
    mp.is_([got.get("pipe"), service.connections], ["guard", 2],
           app.name("a Unix socket, refused"))
    got = app.calls("begin GO\n", {"lib": "http", "url": "http://localhost/u",
                                   "unix": path + ".gone"})[0]
    mp.is_(app.ends(), [(0, 1)], app.name("a Unix socket that is not there"))
    if "urllib3" in app.libs:
        out = app.run([os.path.join(HERE, "unix_pool.py"), path], "begin GO\n")
        mp.is_([out, app.told("begin"), app.ends()],
               ["200\n" * 2, ["http unix:%s 0 /pool" % path] * 2, [(200, 0)] * 2],
               app.name("a pool of Unix sockets"))
    service.stop()

# SPDX-License-Identifier: Apache-2.0
"""Ways to a service: https, IPv6, Unix sockets, proxies, agents of all kinds."""

import os

import mp
import node_harness as h


def check(app):
    check_tls(app)
    check_addresses(app)
    check_proxies(app)
    check_agents(app)
    check_upgrade(app)
    check_dispatchers(app)


def check_tls(app):
    certificate = h.certificate()
    if not certificate:
        mp.skip(app.name("https"), "no openssl")
        return
    service = mp.Service(tls=certificate)
    url = "https://localhost:%d/a" % service.port
    env = {"NODE_EXTRA_CA_CERTS": certificate[0]}
    for lib in h.LIBS:
        got = app.calls("begin ASK\nadd X-A: 1\n", dict(lib=lib, url=url, agent="keep"), **env)
        mp.is_((got.get("status"), service.requests[-1].get("x-a"), app.told("begin")),
               (200, "1", ["https localhost %d /a" % service.port]), app.name("%s: https" % lib))
        got = app.calls(h.REPLY, dict(lib=lib, url=url), **env)
        mp.is_((got.get("status"), got.get("body")), (503, "sorry"), app.name("%s: https: reply" % lib))
        got = app.calls(h.REFUSAL, dict(lib=lib, url="https://no-such-name.invalid/"), **env)
        mp.is_((h.cause(got).get("code"), app.told("begin")),
               ("EMIDDLEPIPE", ["https no-such-name.invalid 443 /"]), app.name("%s: https: error" % lib))
        mp.like(h.cause(got).get("message"), r"^\[no-such-name.invalid\] ",
                app.name("%s: https: a port that is the scheme's is not said" % lib))
        other = mp.Service(tls=certificate)
        got = app.calls("begin ASK\nauthority 127.0.0.1:%d\n" % other.port, dict(lib=lib, url=url), **env)
        mp.is_((got.get("status"), other.count), (200, 1), app.name("%s: https: another authority" % lib))
        other.stop()
    code = ("require('https').get('%s', ({ socket }) => console.log(socket.encrypted, socket.authorized,"
            " JSON.stringify(socket.getPeerCertificate())))" % url)
    mp.is_(app.run(["-e", code], h.REPLY).strip(), "true true {}",
           app.name("http: the socket of a reply by https"))
    service.stop()


def check_addresses(app):
    try:
        service = mp.Service(host="::1")
    except OSError:
        mp.skip(app.name("IPv6"), "no IPv6 here")
    else:
        for lib, got in app.both("begin GO\n", url=service.url("/a")):
            mp.is_((got.get("status"), app.told("begin")),
                   (200, ["http %s %d /a" % (app.told("begin")[0].split()[1], service.port)]),
                   app.name("%s: IPv6" % lib))
            mp.ok(app.told("begin")[0].split()[1] in ("::1", "[::1]"), app.name("%s: its host" % lib))
        for lib, got in app.both(h.REFUSAL, url=service.url("/a")):
            mp.like(h.cause(got).get("message"), r"^\[\[::1\]:%d\] " % service.port,
                    app.name("%s: IPv6 in errors" % lib))
        other = h.Recorder()
        for lib, got in app.both("begin ASK\nauthority [::1]:%d\n" % service.port, url=other.url()):
            mp.is_((got.get("status"), got.get("body")), (200, "ok\n"), app.name("%s: to IPv6" % lib))
        service.stop()
    path = os.path.join(mp.workdir(), "s.sock")
    service = mp.Service(unix=path)
    call = dict(url="http://localhost/a?b", options={"socketPath": path})
    got = app.calls("begin ASK\nadd X-A: 1\n", call)
    mp.is_((got.get("status"), app.told("begin"), service.requests[-1].get("x-a")),
           (200, ["http unix:%s 0 /a" % path, ], "1"), app.name("http: a Unix socket"))
    mp.like(app.told("request")[0], r"^GET http localhost /a\?b ", app.name("http: and its Host"))
    got = app.calls(h.REFUSAL, call)
    mp.like(h.cause(got).get("message"), r"^\[unix:%s\] middlepipe" % path,
            app.name("http: a Unix socket in errors"))
    service.stop()


def check_proxies(app):
    service, proxy = h.Recorder(), h.Proxy()
    url = "http://127.0.0.1:%d%s" % (service.port, "/a?b")
    plain = ("require('http').get({ host: '127.0.0.1', port: %s, path: '%s',"
             " headers: { host: '127.0.0.1:%d' } }, (r) => { r.resume(); console.log(r.statusCode) })"
             ".on('error', (e) => console.log(e.code))" % (proxy.authority.split(":")[1], url, service.port))
    mp.is_(app.run(["-e", plain], "begin ASK\nadd X-A: 1\npath /p\n").strip(), "200",
           app.name("http: through a proxy"))
    mp.is_((app.told("begin"), app.told("request")),
           (["http 127.0.0.1 %d /a" % service.port],
            ["GET http 127.0.0.1:%d /a?b body= complete=1" % service.port]),
           app.name("http: the destination is the origin"))
    mp.is_((proxy.first[-1], b"X-A: 1" in service.take()[0]),
           ("GET http://127.0.0.1:%d/p HTTP/1.1" % service.port, True),
           app.name("http: the path stays absolute for the proxy"))
    tunnel = ("const http = require('http'); http.request({ host: '127.0.0.1', port: %s, method:"
              " 'CONNECT', path: '127.0.0.1:%d' }).on('connect', (r, socket) => http.get({ path: '/in',"
              " host: '127.0.0.1', port: %d, createConnection: () => socket },"
              " (r) => { r.resume(); console.log(r.statusCode); r.on('end', () => socket.destroy()) })).end();"
              % (proxy.authority.split(":")[1], service.port, service.port))
    mp.is_((app.run(["-e", tunnel], "begin GO\n").strip(), app.told("begin")),
           ("200", ["http 127.0.0.1 %d /in" % service.port]),
           app.name("http: a tunnel is no call, what goes through it is"))
    if app.major >= 24:
        env = {"NODE_USE_ENV_PROXY": "1", "http_proxy": proxy.url, "HTTP_PROXY": proxy.url}
        for lib in h.LIBS:
            got = app.calls("begin GO\n", dict(lib=lib, url=url, agent="default"), **env)
            mp.is_((got.get("status"), app.told("begin")),
                   (200, ["http 127.0.0.1 %d /a" % service.port]),
                   app.name("%s: NODE_USE_ENV_PROXY: the destination is the origin" % lib))
    service.take()


def check_agents(app):
    service = h.Recorder()
    for agent in ("none", "own", "connect", "foreign"):
        got = app.calls("begin ASK\nadd X-A: 1\n", dict(url=service.url("/a"), agent=agent, count=3))
        raw = b"".join(service.take())
        mp.is_(([r.get("status") for r in got], raw.count(b"X-A: 1"), app.ends()),
               ([200] * 3, 3, [(200, 0)] * 3), app.name("http: agent %s: asked" % agent))
        mp.is_(set(app.told("begin")), {"http 127.0.0.1 %d /a" % service.port},
               app.name("http: agent %s: where it goes" % agent))
    dead = "http://127.0.0.1:%d/" % mp.dead_port()
    for agent in ("none", "own", "connect", "foreign"):
        app.calls("begin GO\n", dict(url=dead, agent=agent, count=3))
        ends = app.ends()
        # The first call of an agent that is no http.Agent is met when it is connected.
        mp.ok(ends in ([(0, h.REFUSED)] * 3, [(0, h.REFUSED)] * (2 if agent == "foreign" else 3)),
              app.name("http: agent %s: refused: %r" % (agent, ends)))


def check_upgrade(app):
    upgrade = h.Breaker(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    code = ("require('http').get('%s', { headers: { connection: 'upgrade', upgrade: 'x' } })"
            ".on('upgrade', (r, s) => { console.log('upgraded'); s.destroy(); })"
            ".on('error', (e) => console.log(e.code));" % upgrade.url())
    for script in ("begin GO\n", "begin ASK\nask REPLY\n", h.REFUSAL):
        mp.is_(app.run(["-e", code], script).strip(), "upgraded", app.name("http: an upgrade is left alone"))
        mp.is_(app.ends(), [(0, h.CANCELLED)], app.name("http: and counts as nothing"))


def check_dispatchers(app):
    """Dispatchers that an app makes of the classes of the global one."""
    service = h.Recorder()
    own = ("await fetch('data:,'); const D = globalThis[Symbol.for('undici.globalDispatcher.1')];"
           "const Agent = (globalThis[Symbol.for('undici.globalDispatcher.2')] ?? D).constructor;"
           "const call = (...a) => fetch(...a).then((r) => r.text(), (e) => e.cause.code);")
    cases = (("console.log(await call('%s', { dispatcher: new Agent() }))", "in the options of fetch"),
             ("globalThis[S] = new Agent(); console.log(await call('%s'))", "set as the global one"))
    for code, what in cases:
        symbol = "const S = Symbol.for('undici.globalDispatcher.%d');" % (2 if app.major >= 24 else 1)
        code = "(async () => { %s %s %s })()" % (own, symbol, code % service.url())
        for script, want in (("begin GO\n", "hello"), (h.REFUSAL, "EMIDDLEPIPE")):
            mp.is_(app.run(["-e", code], script).strip(), want, app.name("fetch: a dispatcher %s" % what))
            mp.is_(len(app.told("begin")), 1, app.name("fetch: %s: one call" % what))

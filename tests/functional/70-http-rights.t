#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""TLS, client certificates and tokens of the aggregator's HTTP front, and their reloading."""

import hashlib
import json
import os
import shutil
import socket
import ssl
import sys
import time
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
from authority import Authority, context, replace
from front import PROGRAM, Client, Front, once

mp.need(PROGRAM, "openssl")


def serial(front, with_context):
    with front.connect(with_context) as client:
        return int(client.sock.getpeercert()["serialNumber"], 16)


def who(front, with_context=None, *fields):
    a = once(front, "GET", "/who", fields=fields, context=with_context)
    return a.body.decode().rstrip("\n")


def digest(token):
    return hashlib.sha256(token.encode()).hexdigest()


def grant(prefix, **rights):
    return {"prefix": prefix, **rights}


def write_tokens(path, *entries):
    with open(path + ".new", "w") as out:
        json.dump(entries, out)
    os.rename(path + ".new", path)


def ways(front, row, *fields, with_context=None):
    """Status of reading, putting and deleting a row."""
    return [once(front, method, "/row/" + row, fields=fields, context=with_context).status
            for method in ("GET", "PUT", "DELETE")]


def bearer(token):
    return "Authorization: Bearer " + token


# ------------------------------------------------------------------------ TLS

def part_tls(folder, ca):
    first, second = ca.sign("s1", "/CN=server"), ca.sign("s2", "/CN=server")
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    shutil.copy(first[0], cert)
    shutil.copy(first[1], key)
    front = Front("--cert", cert, "--key", key)
    plain = context(ca.cert)
    a = once(front, "POST", "/echo/a%2Fb", b"x" * 1000000, context=plain)
    mp.is_([a.status, len(a.body), a.fields["x-name"]], [200, 1000000, "a/b"], "a body through TLS")
    mp.is_(serial(front, plain), 1, "the certificate of the file")
    a = once(front, "GET", "/ticks?n=20&ms=2", context=plain)
    mp.ok(a.body.endswith(b"tick 1\nbye\n"), "a stream through TLS")
    with Client(front.port) as client:
        client.send(b"GET /fast HTTP/1.1\r\nHost: t\r\n\r\n")
        while client.more():
            pass
        mp.ok(b"HTTP" not in client.have, "plain HTTP has no answer there")
    warnings.simplefilter("ignore", DeprecationWarning)  # of the old version, which must fail
    for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        one = context(ca.cert)
        one.set_ciphers("ALL:@SECLEVEL=0")
        one.minimum_version = one.maximum_version = version
        try:
            got = once(front, "GET", "/fast", context=one).status
        except (ssl.SSLError, OSError):
            got = 0
        mp.is_(got, 0 if version == ssl.TLSVersion.TLSv1_1 else 200, "%s" % version.name)

    old = front.connect(plain)
    mp.is_(old.get("/fast").status, 200, "a connection before the change")
    with open(cert, "w") as out:
        out.write("nonsense")
    front.wait_err("files not reloaded")
    mp.is_(serial(front, plain), 1, "a bad file keeps the old certificate")
    replace(cert, second[0])
    mp.wait_for(lambda: front.err.count("files not reloaded") >= 2, "the half pair to be seen")
    mp.is_(serial(front, plain), 1, "so does one without its key")
    replace(key, second[1])
    mp.wait_for(lambda: serial(front, plain) == 2, "the new certificate")
    mp.ok(True, "with its key it is shown")
    mp.is_(old.get("/fast").status, 200, "the connection from before goes on")
    mp.is_(front.err.count("files not reloaded"), 2, "each mistake was logged once")
    mp.is_(front.stop(), 0, "and it ends well")


def part_mutual(folder, ca):
    other = Authority(folder, "other")
    server = ca.sign("s3", "/CN=server")
    trust = os.path.join(folder, "trust.pem")
    shutil.copy(ca.cert, trust)
    front = Front("--cert", server[0], "--key", server[1], "--ca", trust)
    good = context(ca.cert, ca.sign("c1", "/O=cf/OU=organization:o1/OU=space:s1/OU=app:a1/CN=guid-1"))
    mp.is_(who(front, good), "certificate guid-1", "its name is known")
    mp.is_(ways(front, "a", with_context=good), [200] * 3, "it may do everything")
    bad = {
        "none": context(ca.cert),
        "one of another CA": context(ca.cert, other.sign("c2", "/CN=guid-1")),
        "a server's": context(ca.cert, ca.sign("c3", "/CN=guid-1", usage="serverAuth")),
        "one that has expired": context(ca.cert, ca.sign("c4", "/CN=guid-1", days="-1")),
    }
    for name, ctx in bad.items():
        mp.is_(ways(front, "a", with_context=ctx), [401] * 3, "certificate: " + name)
        mp.is_(who(front, ctx), "nobody", "nothing is known of its client")
    said = {name: once(front, "GET", "/row/a", context=ctx).closed for name, ctx in bad.items()}
    mp.is_([name for name in bad if said[name]], ["one that has expired"], "a connection is not kept where a new one may do better")
    late = context(ca.cert, other.sign("c5", "/CN=late"))
    kept = [front.connect(good), front.connect(late)]
    mp.is_([c.get("/row/a").status for c in kept], [200, 401], "two connections")
    replace(trust, other.cert)
    front.wait_err("files reloaded")
    mp.wait_for(lambda: [c.get("/row/a").status for c in kept] == [401, 200], "the new CA")
    mp.ok(True, "another CA is in force for open connections, too")
    mp.is_(ways(front, "a", with_context=late), [200] * 3, "and for new ones")
    mp.is_(front.stop(), 0, "and it ends well")


# --------------------------------------------------------------------- tokens

def part_tokens(folder):
    path = os.path.join(folder, "tokens.json")
    ops = {"token_sha256": digest("ops-secret"), "name": "ops",
           "rights": [grant("", read=True), grant("chains/", put=True)]}
    root = {"token_sha256": digest("root-secret"), "name": "root",
            "rights": [grant("", read=True, put=True, admin=True)]}
    write_tokens(path, ops, root)
    front = Front("--tokens", path)
    mp.is_(ways(front, "chains%2Fa", bearer("ops-secret")), [200, 200, 403], "rights by prefix")
    mp.is_(ways(front, "nat%2Fa", bearer("ops-secret")), [200, 403, 403], "of another prefix")
    mp.is_(ways(front, "nat%2Fa", bearer("root-secret")), [200] * 3, "of all")
    for name, fields in {"none": [], "an unknown one": [bearer("guess")], "an empty one": [bearer("")],
                         "another scheme": ["Authorization: Basic b3BzLXNlY3JldA=="],
                         "two": [bearer("root-secret"), bearer("root-secret")],
                         "the digest": [bearer(digest("root-secret"))]}.items():
        mp.is_(ways(front, "a", *fields), [401] * 3, "token: " + name)
    a = once(front, "GET", "/row/a")
    mp.is_([a.fields["www-authenticate"], a.code()], ["Bearer", "unauthorized"], "and why")
    mp.is_(who(front, None, bearer("ops-secret")), "token ops", "its name is known")

    stream = front.connect()
    stream.send(b"GET /ticks?ms=20 HTTP/1.1\r\nHost: t\r\n" + bearer("ops-secret").encode() + b"\r\n\r\n")
    stream.head()
    write_tokens(path, root)
    front.wait_err("files reloaded")
    mp.is_(ways(front, "a", bearer("ops-secret")), [401] * 3, "a token that was taken out")
    with open(path, "w") as out:
        out.write('[{"token_sha256": "12", "name": "x", "rights": []}]')
    front.wait_err("files not reloaded")
    mp.like(front.err, "token_sha256", "a mistake is named")
    mp.is_(ways(front, "a", bearer("root-secret")), [200] * 3, "and keeps the old tokens")
    os.unlink(path)
    mp.wait_for(lambda: front.err.count("files not reloaded") == 2, "the missing file to be seen")
    mp.is_(ways(front, "a", bearer("root-secret")) + ways(front, "a"), [200] * 3 + [401] * 3,
           "so does a file that is gone")
    mp.like(front.err, 'administered" act="delete row" who="token root" from=127.0.0.1 row="nat/a" status=200 outcome=done',
            "administrative acts are in the log")
    mp.like(front.err, 'administered" act="delete row" who="token ops" from=127.0.0.1 row="nat/a" code=forbidden status=403 '
            'outcome=refused', "and those that were refused")
    mp.ok("secret" not in front.err, "tokens are not")
    stream.close()
    mp.is_(front.stop(), 0, "and it ends well")


def begin(front, path, size, *fields):
    """A connection that has sent so much of a body, and the last byte not."""
    client = front.connect()
    head = "PUT" if path.startswith("/row") else "POST"
    client.send(("%s %s HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n%s\r\n" % (
        head, path, size, "".join(field + "\r\n" for field in fields))).encode())
    client.send(b"x" * (size - 1))
    return client


def part_nobody(folder):
    """Who has not said who it is has no part of the room for bodies, and hardly one where anyone may ask."""
    path = os.path.join(folder, "nobody.json")
    write_tokens(path, {"token_sha256": digest("t"), "name": "t", "rights": [grant("", put=True)]})
    front = Front("--tokens", path, "--body-total", "1M")
    taken = [begin(front, "/row/a", 300000) for _ in range(8)]
    taken += [begin(front, "/row/a", 300000, bearer("guess")) for _ in range(8)]
    mp.is_(front.stats()["held"], 0, "nothing is kept of bodies without a token, or with a wrong one")
    body = b"y" * 500000
    mp.is_(once(front, "PUT", "/row/a", body, [bearer("t")]).status, 200, "and others are served")
    for client in taken:
        client.send(b"x")
    mp.is_({client.answer().status for client in taken}, {401}, "they are told at their ends")
    for client in taken:
        client.close()
    with front.connect() as client:
        client.send(b"PUT /row/a HTTP/1.1\r\nHost: t\r\nContent-Length: 4000000\r\nExpect: 100-continue\r\n\r\n")
        a = client.answer()
        mp.is_([a.status, a.code(), a.fields["www-authenticate"]], [401, "unauthorized", "Bearer"],
               "at the head, if they ask")
    mp.wait_for(lambda: not front.stats()["held"], "the room to be given back")
    mp.is_(once(front, "PUT", "/row/a", b"z" * 900000, [bearer("t")]).status, 200, "all the room is there")
    mp.wait_for(lambda: not front.stats()["held"], "the room to be given back")

    taken = [begin(front, "/open", 30000) for _ in range(8)]
    mp.wait_for(lambda: front.stats()["held"] > 30000, "bodies where anyone may ask")
    mp.is_(once(front, "POST", "/open", b"x" * 40000).status, 503, "nobody's bodies have a sixteenth of the room")
    mp.is_(once(front, "PUT", "/row/a", body, [bearer("t")]).status, 200, "and leave the others theirs")
    mp.wait_for(lambda: front.stats()["held"] <= 1 << 16, "a sixteenth at most")
    mp.is_(once(front, "POST", "/open", body, [bearer("t")]).status, 201, "who is known has all the room there")
    mp.wait_for(lambda: front.stats()["held"] <= 1 << 16, "that to be given back")
    for client in taken:
        client.close()
    mp.wait_for(lambda: not front.stats()["held"], "the room to be given back")
    mp.is_(once(front, "POST", "/open", b"x" * 40000).status, 201, "then there is room again")
    mp.is_(front.stop(), 0, "and it ends well")


def part_both(folder, ca):
    path = os.path.join(folder, "both.json")
    write_tokens(path, {"cert_ou": "app:a1", "name": "app", "rights": [grant("a/", read=True, put=True)]},
                 {"cert_cn": "m2", "name": "member", "rights": [grant("", read=True)]},
                 {"token_sha256": digest("t"), "name": "t", "rights": [grant("", admin=True)]})
    server = ca.sign("s4", "/CN=server")
    front = Front("--cert", server[0], "--key", server[1], "--ca", ca.cert, "--tokens", path)
    app = context(ca.cert, ca.sign("c6", "/OU=app:a1/CN=x"))
    member = context(ca.cert, ca.sign("c7", "/CN=m2"))
    mp.is_(ways(front, "a%2Fb", with_context=app), [200, 200, 403], "rights of an OU")
    mp.is_(ways(front, "b", with_context=member), [200, 403, 403], "rights of a CN")
    mp.is_(ways(front, "b", bearer("t"), with_context=member), [403, 403, 200],
           "a token counts instead of the certificate")
    mp.is_(ways(front, "b", with_context=context(ca.cert, ca.sign("c8", "/CN=m3"))), [403] * 3,
           "where certificates are named, others have no rights")
    mp.is_(front.stop(), 0, "and it ends well")


# ---------------------------------------------------------------------- start

def part_start(folder, ca):
    server = ca.sign("s5", "/CN=server")
    tokens = os.path.join(folder, "none.json")
    write_tokens(tokens)
    wrong = {
        "every address without protection": (["--address", "0.0.0.0"], "needs a token file"),
        "the same with TLS alone": (["--address", "0.0.0.0", "--cert", server[0], "--key", server[1]],
                                    "needs a token file"),
        "IPv6, too": (["--address", "::"], "needs a token file"),
        "a certificate without key": (["--cert", server[0]], "TLS needs"),
        "a CA without certificate": (["--ca", ca.cert], "TLS needs"),
        "another's key": (["--cert", server[0], "--key", ca.key], "is not the key of"),
        "a token file that is not there": (["--tokens", folder + "/x"], "No such file"),
        "a CA that is none": (["--cert", server[0], "--key", server[1], "--ca", server[1]], "s5.key"),
        "an address that is none": (["--address", "localhost"], "not an address"),
    }
    for name, (options, why) in wrong.items():
        code, _, err = mp.run([PROGRAM, *options])
        mp.ok(code == 1 and why in err, "refused: " + name)
        if why not in err:
            mp.note("%d %s" % (code, err))
    taken = Front()
    code, _, err = mp.run([PROGRAM, "--port", str(taken.port)])
    mp.ok(code == 1 and "in use" in err, "refused: a port that is taken")
    front = Front("--address", "0.0.0.0", "--tokens", tokens)
    mp.ok(front.wait_err("tokens travel in the clear"), "tokens without TLS are warned about")
    mp.is_(front.stop(), 0, "but taken")
    front = Front("--address", "0.0.0.0", "--cert", server[0], "--key", server[1], "--ca", ca.cert)
    mp.is_(front.stop(), 0, "so is a CA")
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        front = Front("--address", "::1")
        with socket.create_connection(("::1", front.port), timeout=mp.DEADLINE) as sock:
            sock.sendall(b"GET /fast HTTP/1.1\r\nHost: [::1]\r\n\r\n")
            mp.like(sock.recv(4096).decode(), "200 OK", "IPv6's loopback needs nothing")
        front.stop()
    else:
        mp.skip("IPv6's loopback", "there is no IPv6 here")


def part_handshakes(folder, ca):
    """Connections that never finish a handshake have the deadline of a head."""
    server = ca.sign("s6", "/CN=server")
    front = Front("--cert", server[0], "--key", server[1], "--head", "600ms")
    start = time.monotonic()
    clients = [Client(front.port) for _ in range(50)]
    for client in clients[::2]:
        client.send(b"\x16\x03\x01")
    for client in clients:
        while client.more():
            pass
    mp.ok(time.monotonic() - start < 10, "50 that do not go on are closed")
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", front.port), timeout=mp.DEADLINE) as sock:
            sock.sendall(os.urandom(300))
    mp.is_(once(front, "GET", "/fast", context=context(ca.cert)).status, 200, "others are served")
    mp.is_(front.stop(), 0, "and it ends well")


home = mp.workdir()
root_ca = Authority(home, "ca")
part_tls(home, root_ca)
part_mutual(home, root_ca)
part_tokens(home)
part_nobody(home)
part_both(home, root_ca)
part_start(home, root_ca)
part_handshakes(home, root_ca)
mp.done()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""How the commands of rows say who they are, and to whom: tokens, TLS, sockets."""

import hashlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import mp
from rowscli import good, rows

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM)
aggregator.forget_environment()
folder = mp.workdir()


def path(name):
    return os.path.join(folder, name)


def test_tokens():
    tokens = path("tokens.json")
    grants = {"all": ("", True, True, True), "reader": ("pub/", True, False, False)}
    with open(tokens, "w") as out:
        json.dump([{"token_sha256": hashlib.sha256(name.encode()).hexdigest(), "name": name,
                    "rights": [{"prefix": p, "read": r, "put": w, "admin": a}]}
                   for name, (p, r, w, a) in grants.items()], out)
    for name in grants:
        with open(path(name), "w") as out:
            out.write(name + "\n")
    one = aggregator.Aggregator("m1", "--tokens", tokens)
    ops, reader = ["--token-file", path("all")], ["--token-file", path("reader")]
    mp.wait_for(lambda: rows(one, "doctor", *ops)[0] == 0, "readiness")
    good(one, "put", *ops, "pub/a", "x")
    good(one, "put", *ops, "secret", "x")
    code, _, err = rows(one, "get", "pub/a")
    mp.is_(code, 4, "without a token")
    mp.like(err, "401 .*--token-file", "the option is named")
    mp.is_(good(one, "get", *reader, "pub/a"), "x", "with one that may read")
    code, _, err = rows(one, "put", *reader, "pub/a", "y")
    mp.is_(code, 4, "but not put")
    mp.like(err, "403 forbidden", "as it says")
    mp.is_(good(one, "export", *reader).count("secret"), 0, "an export has what may be read")
    good(one, "export", *ops, path("tokens.mprows"))
    mp.is_(rows(one, "import", *reader, path("tokens.mprows"))[0], 4, "who may not put may not import")
    mp.is_(rows(one, "check", *reader)[0], 4, "nor check everything")
    mp.is_(good(one, "list", "--json", env={"MIDDLEPIPE_AGGREGATOR_TOKEN_FILE": path("reader")}).count("\n"), 1,
           "the token by environment")
    with open(path("bad"), "w") as out:
        out.write("two words\n")
    mp.like(rows(one, "list", "--token-file", path("bad"))[2], "--token-file: the first line .* is no token", "no token")
    mp.like(rows(one, "list", "--token-file", path("none"))[2], "--token-file: .*No such file", "no file")
    one.stop()


def test_tls():
    if not shutil.which("openssl"):
        mp.skip("TLS", "openssl is not installed")
        return
    for name in ("server", "client", "other"):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", path(name + ".key"), "-out", path(name + ".pem"), "-days", "2", "-subj",
                        "/CN=" + name, "-addext", "subjectAltName=IP:127.0.0.1"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rights = path("rights.json")
    with open(rights, "w") as out:
        json.dump([{"cert_cn": "client", "name": "c", "rights": [{"prefix": "", "read": True, "put": True, "admin": True}]}],
                  out)
    one = aggregator.Aggregator("m1", "--tls-cert", path("server.pem"), "--tls-key", path("server.key"),
                                "--tls-ca", path("client.pem"), "--tokens", rights)
    url = one.url.replace("http:", "https:")
    trust, show = ["--ca", path("server.pem")], ["--cert", path("client.pem"), "--cert-key", path("client.key")]
    mp.wait_for(lambda: rows(url, "doctor", *trust, *show)[0] == 0, "readiness")
    good(url, "put", *trust, *show, "r", "through TLS")
    mp.is_(good(url, "get", *trust, *show, "r"), "through TLS", "TLS with a client's certificate")
    mp.is_(good(url, "tail", *trust, *show, "-c", "1", "r"), "1: through TLS\n", "a stream as well")
    code, _, err = rows(url, "put", "--wait", "0", "--ca", path("other.pem"), *show, "r", "x")
    mp.is_(code, 1, "another authority: not sent, hence not unknown")
    mp.like(err, "certificate", "and it is the certificate")
    mp.is_(rows(url, "put", "--wait", "0", *trust, "r", "x")[0] in (1, 4, 5), True, "without a certificate: no")
    mp.like(rows(url, "list", "--cert-key", path("client.key"))[2], "--cert-key needs --cert", "a key alone")
    mp.is_(len(cells_by(url, trust + show)), 1, "one cell was put")
    one.stop()
    test_elsewhere(trust)


def test_elsewhere(trust):
    """An owner that is told as http: is no place for a token that went by TLS, or to a socket."""
    class Local(http.server.ThreadingHTTPServer):
        address_family = socket.AF_UNIX

        def server_bind(self):
            self.socket.bind(self.server_address)

        def get_request(self):
            return self.socket.accept()[0], ("local", 0)

    def member(owner, kind=http.server.ThreadingHTTPServer, where=("127.0.0.1", 0)):
        asked = []

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                asked.append(self.headers["Authorization"])
                self.send_response(503)
                self.end_headers()
                self.wfile.write(json.dumps({"error": "as planned", "code": "elsewhere", "owner": owner, "lines": 0,
                                             "rows": 0, "cells": 0, "passed": 0}).encode())

            def log_message(self, *args):
                pass
        server = kind(where, Answer)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server, asked
    clear, asked = member("")
    local, _ = member("http://127.0.0.1:%d" % clear.server_address[1], Local, path("local.sock"))
    words = ("--wait", "500ms", path("tokens.mprows"))
    code, _, err = rows(local.server_address, "import", "--token-file", path("all"), *words)
    mp.is_((code, asked), (5, []), "an owner that would be told by network what a socket was told is not asked")
    mp.like(err, "the row is at http://127.*, where the token would go in the clear: name that by --url", "and why")
    code, _, _ = rows(local.server_address, "import", *words)
    mp.ok(code == 5 and set(asked) == {None}, "without a token it is")
    asked.clear()
    secure, _ = member("http://127.0.0.1:%d" % clear.server_address[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path("server.pem"), path("server.key"))
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    code, _, err = rows("https://127.0.0.1:%d" % secure.server_address[1], "import", *trust, "--token-file", path("all"),
                        "--wait", "500ms", path("tokens.mprows"))
    mp.is_((code, asked), (5, []), "an owner that would be told the token in the clear is not asked: %s" % err.strip())


def cells_by(url, words):
    return good(url, "tail", *words, "-c", "1", "--from", "1", "r").splitlines()


test_tokens()
test_tls()
mp.done()

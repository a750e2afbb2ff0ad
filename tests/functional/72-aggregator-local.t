#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""middlepipe aggregator: one in the background, for local use."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import aggregator
import mp
from authority import Authority

mp.need(mp.MIDDLEPIPE, aggregator.PROGRAM, "openssl")
aggregator.forget_environment()
folder = mp.workdir()


def path(name):
    return os.path.join(folder, name)


def put(url, cell):
    return mp.middlepipe("rows", "put", "--url", url, "r", cell)[1]

def local(command, *words):
    return mp.middlepipe("aggregator", command, "--data", path("local"), *words)


def part_local():
    mp.is_(local("status")[0], 1, "none runs")
    code, out, err = local("start", "--listen", "127.0.0.1:0", "--", "--member", "here")
    mp.is_(code, 0, "it starts %s" % err)
    url = out.strip()
    try:
        mp.like(url, r"^http://127\.0\.0\.1:\d+$", "and prints where")
        mp.is_(mp.middlepipe("rows", "put", "r", "x", env={"MIDDLEPIPE_AGGREGATOR": url})[0], 0, "it is ready")
        status = json.loads(local("status", "--json")[1])
        mp.is_((status["running"], status["ready"], status["url"]), (True, True, url), "status")
        code, out, err = local("start")
        mp.is_((code, out.strip()), (0, url), "a second start leaves it alone")
        mp.like(err, "runs already", "and says so")
        part_local_stop(url, status["pid"])
    finally:
        local("stop", "--force")
    mp.is_(local("status")[0], 1, "then none runs")
    code, _, err = mp.middlepipe("aggregator", "start", "--data", path("local"), "--", "--shards", "0")
    mp.is_(code, 1, "wrong options of mp-aggregator")
    mp.like(err, "it ended: .*--help|--shards", "with its words")
    sock = path("s")
    mp.is_(local("start", "--listen", sock)[0:2], (0, sock + "\n"), "on a socket")
    mp.is_(put(sock, "by socket"), "3\n", "which --url takes, too")
    mp.is_(local("stop")[0], 0, "stop")


def part_local_stop(url, pid):
    code, out, _ = local("stop")
    mp.is_((code, out), (0, "stopped (pid %d)\n" % pid), "stop")
    mp.ok(not mp.alive(pid), "it has ended")
    mp.is_(local("stop")[0], 0, "again: none runs")
    code, out, _ = local("start", "--listen", "127.0.0.1:0")
    mp.is_((code, put(out.strip(), "y")), (0, "2\n"), "its rows are there after another start")
    # A pid file of a process that has gone, whose pid somebody else has by now.
    with open(path("local/aggregator.pid")) as text:
        kept = text.read()
    words = kept.split()
    with open(path("local/aggregator.pid"), "w") as text:
        text.write("%d 1 %s\n" % (os.getpid(), words[2]))
    mp.is_(local("status")[0], 1, "another process is not taken for it")
    mp.is_(local("stop")[0], 0, "nor stopped")
    with open(path("local/aggregator.pid"), "w") as text:
        text.write("nonsense")
    mp.like(local("stop")[2], "none of ours", "a file of something else")
    with open(path("local/aggregator.pid"), "w") as text:
        text.write(kept)


def part_proxy():
    """What the environment says of proxies is not for one that runs here."""
    env = {"http_proxy": "http://127.0.0.1:%d" % mp.dead_port(), "no_proxy": None, "NO_PROXY": None}
    words = ["--data", path("proxied")]
    try:
        code, out, err = mp.middlepipe("aggregator", "start", *words, "--listen", "127.0.0.1:0", "--wait", "10s", env=env)
        mp.is_(code, 0, "it starts where programs go by a proxy %s" % err)
        mp.is_(mp.middlepipe("aggregator", "status", *words, env=env)[0], 0, "and is found ready")
        for url in (out.strip(), out.strip().replace("127.0.0.1", "localhost")):
            mp.is_(mp.middlepipe("rows", "put", "--url", url, "r", "x", env=env)[0], 0, "and takes puts at " + url)
    finally:
        mp.middlepipe("aggregator", "stop", "--force", *words)


def part_tls():
    """With an authority of its own, which status has to be told."""
    ca = Authority(folder, "ca")
    cert, key = ca.sign("local", "/CN=local")
    words = ["--data", path("secure")]
    try:
        code, out, err = mp.middlepipe("aggregator", "start", *words, "--listen", "127.0.0.1:0", "--",
                                       "--tls-cert", cert, "--tls-key", key)
        mp.is_((code, out[:8]), (0, "https://"), "it starts with TLS %s" % err)
        ready = ["aggregator", "status", *words, "--ca", ca.cert]
        mp.wait_for(lambda: mp.middlepipe(*ready)[0] == 0, "readiness, seen with its authority")
        code, out, _ = mp.middlepipe("aggregator", "status", *words)
        mp.ok(code == 1 and "certificate" in out, "without, it cannot be told: %r" % out)
    finally:
        mp.middlepipe("aggregator", "stop", "--force", *words)


part_local()
part_proxy()
part_tls()
mp.done()

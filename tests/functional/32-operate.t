#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""status, explain, events, override, reset and reload against a live run."""
import json
import os
import signal
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp

mp.need(mp.MIDDLEPIPE, mp.SCHEDULER, os.path.join(mp.HOOKS, "python/sitecustomize.py"))
folder = mp.workdir()
os.mkdir(folder + "/run", 0o700)
os.environ["XDG_RUNTIME_DIR"] = folder + "/run"
os.environ.pop("MIDDLEPIPE_CONTROL", None)
path = folder + "/chain.json"
service = mp.Service(status=503)
GUARD = {"volume": 4, "error_percent": 50, "open_ms": "60s", "prefixes": ["/slow"]}


def chain(epoch, **config):
    return mp.chain_file(path, mp.destination(
        "payments", service.authority, mp.binding("guard", "breaker", dict(GUARD, **config)),
        mp.binding("tag", "headers", {"request_set": {"X-Tag": "1"}})), app="shop", epoch=epoch)


# An app that makes a call for each line that it reads.
APP = """
import sys, urllib.error, urllib.request
print("ready", flush=True)
for line in sys.stdin:
    try:
        print(urllib.request.urlopen(line.strip()).status, flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""
mp.is_(mp.middlepipe("check", chain(1))[2], "", "the chain file")
app = mp.Run(chain(1), [mp.PYTHON, "-c", APP], app="shop", stdin=-1)
app.wait_out("ready\n")


def call(url, n=1):
    """Makes n calls and returns what the app printed of them."""
    before = app.out.count("\n")
    for _ in range(n):
        app.popen.stdin.write((url + "\n").encode())
    app.popen.stdin.flush()
    mp.wait_for(lambda: app.out.count("\n") == before + n, "answers")
    return app.out.splitlines()[before:]


def tool(*words):
    code, out, err = mp.middlepipe(*words)
    if err:
        mp.note(err)
    return code, out


def state(prefix=""):
    status = json.loads(tool("status", "--json")[1])
    for unit in status["destinations"][0]["units"]:
        if unit["middlepipe"] == "guard" and unit["prefix"] == prefix:
            return unit["status"]["state"]


url = service.url("/pay")
code, out = tool("status")
mp.is_(code, 0, "status")
mp.like(out, r"^app shop, epoch 1, up .*\n\nDESTINATION +PATH +STANDING.*\npayments +/slow .*\n"
        r"payments +/ ", "a line for each path")
mp.like(out, r"\nguard +breaker +payments +/ .*closed\n", "and for each middlepipe")
code, out = tool("explain", url)
mp.is_(code, 0, "explain")
mp.like(out, "^%s is a call to payments .matched by %s" % (url, service.authority),
        "which destination and match")
mp.like(out, "1. guard .breaker.*closed.*2. tag .headers", "the chain in its order")
mp.like(tool("explain", service.url("/slow/x"))[1], "path prefix /slow", "the path prefix")
mp.like(tool("explain", "http://elsewhere/")[1], "meets no chain", "no chain")
mp.is_(json.loads(tool("explain", "--json", url)[1])["destination"], "payments", "as JSON")
mp.is_(mp.middlepipe("explain", "http://[")[0], 1, "no URL")

# The circuit opens.
mp.is_(call(url, 4), ["503"] * 4, "a failing service")
mp.wait_for(lambda: state() == "open", "open circuit")
asked = service.count
answer = call(url)
mp.is_(service.count, asked, "the next call is refused: " + answer[0])
code, out = tool("explain", url)
mp.like(out, r"answered at once, without the service, because of guard|"
        r"asked about because of (guard|tag)", "explain says who")
mp.like(out, r"open since \S+ \(.* ago\), because .*; it lets probes through at \S+ \(in ",
        "since when, why, and when it probes")
mp.like(tool("explain", service.url("/slow"))[1], "closed", "another path is not concerned")
mp.like(tool("events")[1], r"\S+Z \S+ middlepipe=guard destination=payments", "an event")
event = json.loads(tool("events", "--json")[1].splitlines()[-1])
mp.is_(event["middlepipe"], "guard", "as JSON")

# By hand.
mp.is_(tool("reset", "guard")[0], 0, "reset")
mp.is_(state(), "closed", "closes it")
mp.like(tool("override", "guard", "open")[1], r"^guard: open \(2 units\)$", "override open")
asked = service.count
call(url)
mp.is_(service.count, asked, "refuses")
mp.is_(tool("override", "guard", "closed")[0], 0, "override closed")
mp.is_(call(url, 6), ["503"] * 6, "lets all through")
mp.is_(tool("override", "guard", "auto")[0], 0, "override auto")
mp.is_(tool("reset", "guard")[0], 0, "and anew")
mp.is_(mp.middlepipe("override", "none", "open")[0], 1, "no such middlepipe")
mp.is_(mp.middlepipe("override", "tag", "open")[0], 1, "one without an override")
mp.is_(mp.middlepipe("override", "guard", "ajar")[0], 2, "no such state")
mp.is_(mp.middlepipe("override", "guard")[0], 2, "no state")
mp.is_(mp.middlepipe("reset", "a/../b")[0], 1, "an odd name")

# Another chain.
mp.is_(tool("reload"), (0, "epoch 1: nothing has changed\n"), "reload of the same")
chain(2, volume=50)
mp.is_(tool("reload"), (0, "epoch 2\n"), "reload of the next epoch")
mp.like(tool("status")[1], "^app shop, epoch 2,", "which is in force")
swapped = [event["fields"] for event in map(json.loads, tool("events", "--json")[1].splitlines())
           if event["event"] == "swapped"]
mp.is_(swapped, [{"before": "0", "epoch": "1"}, {"before": "1", "epoch": "2"}], "events of the swaps")
with open(path, "w") as out:
    out.write('{"app":"shop","epoch":3,"destinations":[{"name":"x"}]}')
code, out, err = mp.middlepipe("reload")
mp.is_((code, out), (1, ""), "reload of a wrong file")
mp.like(err, r"\$\.destinations\[0\]\.match: is missing", "names its mistakes")
chain(1, volume=51)
mp.is_(mp.middlepipe("reload")[0], 1, "reload of an old epoch")
mp.like(tool("status")[1], "^app shop, epoch 2,", "nothing has changed by that")

# Following.
follow = mp.Process([mp.MIDDLEPIPE, "events", "--follow"])
watch = mp.Process([mp.MIDDLEPIPE, "status", "--watch", "--json"])
follow.wait_out("\n")
seen = len(follow.out)
tool("override", "guard", "open")
mp.wait_for(lambda: "middlepipe=guard" in follow.out[seen:], "the next event")
mp.ok(follow.running(), "events --follow goes on")
mp.wait_for(lambda: watch.out.count("\n") >= 2, "two documents")
mp.ok(all(json.loads(line)["app"] == "shop" for line in watch.out.splitlines()[:2]),
      "status --watch prints one after another")
follow.signal(signal.SIGINT)
watch.signal(signal.SIGINT)
mp.is_((follow.wait(), watch.wait()), (-signal.SIGINT, -signal.SIGINT), "until interrupted")
watch = mp.Process([mp.MIDDLEPIPE, "status", "--watch"])
watch.wait_out("payments")
app.popen.stdin.close()
mp.is_(app.wait(), 0, "the app ends")
mp.is_(watch.wait(), 1, "or until the scheduler is gone")

mp.done()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Chain files of every kind of wrongness, and the control API's rules.

Each file of tests/data/chains/bad is given by PUT, by SIGHUP and at start, and
is refused with the lines of the .txt beside it, while the old chain works on.
"""

import glob
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import survive

BAD = sorted(glob.glob(os.path.join(mp.ROOT, "tests/data/chains/bad/*.json")))
MANY = 1000  # destinations, two units each
TOO_LARGE = 1024 * 1024 + 1

mp.need(mp.SCHEDULER, survive.prog("load"), survive.prog("counting_service"))
if not BAD:
    mp.skip_all("no wrong chain files")

folder = mp.workdir()
service = survive.Service(folder)
svc = mp.destination("svc", service.authority, survive.edits("mark", "A", 5, "A", "a"),
                     mp.binding("guard", "breaker", {"prefixes": ["/pay"]}))
chain = mp.chain_file(os.path.join(folder, "chain.json"), svc, epoch=5)
scheduler = mp.Scheduler(chain)
load = survive.Load(scheduler, service, folder, "--gap-us", 1000, "--await")
load.wait_made(5)


def read(path, mode="r"):
    with open(path, mode) as text:
        return text.read()


def lines_of(path):
    return read(path[:-len(".json")] + ".txt").splitlines()


def api(method, url, body=None):
    return scheduler.control.call(method, url, body)


def works_on(what):
    """The chain of epoch 5 is in force, whole, and filters."""
    before = service.n["edited"]
    mp.wait_for(lambda: service.n["edited"] > before + 5, "filtered calls")
    return mp.is_([scheduler.status()["epoch"], api("GET", "/v1/chains")[1]["epoch"],
                   service.n["last_epoch"], service.n["mixed"]], [5, 5, 5, 0], what)


def newer(path):
    """The file's bytes; what only filters can refuse gets an epoch that is looked at."""
    data = read(path, "rb")
    return data.replace(b'"epoch": 1', b'"epoch": 99') if "/filter-" in path else data


def wrong_by_put():
    good = 0
    for path in BAD:
        status, document = api("PUT", "/v1/chains", newer(path))
        want = lines_of(path)
        same = status == 400 and isinstance(document, dict) and document.get("errors") == want
        good += same
        if not same:
            mp.note("%s: %s %s\nwant %s" % (os.path.basename(path), status, document, want))
    mp.is_(good, len(BAD), "PUT: %d of %d wrong files refused with path, value and what is allowed" %
           (good, len(BAD)))
    works_on("PUT: the old chain works on")


def refused_lines():
    whole = scheduler.err.rpartition("\n")[0]
    return [line for line in whole.split("\n") if "chains refused" in line]


def wrong_by_reload():
    """The reload call gives the same answer as PUT; of SIGHUP only the log tells."""
    good = logged = 0
    told = len(BAD)  # what was put has a line each

    def tell_one_more():
        # Each of them: else a line that comes late would be taken for the next one's.
        nonlocal told
        told += 1
        mp.wait_for(lambda: len(refused_lines()) == told, "line %d in the log" % told)
    for path in BAD:
        with open(chain, "wb") as out:
            out.write(newer(path))
        status, document = api("POST", "/v1/reload")
        good += status == 400 and document.get("errors") == lines_of(path)
        tell_one_more()
        scheduler.signal(signal.SIGHUP)
        tell_one_more()
        logged += lines_of(path)[0].split(": ")[0].replace('"', '\\"') in refused_lines()[-1]
    mp.is_(good, len(BAD), "reload: %d of %d refused likewise" % (good, len(BAD)))
    mp.is_(logged, len(BAD), "SIGHUP: %d of %d refused in the log, with the path" % (logged, len(BAD)))
    os.unlink(chain)
    mp.is_(api("POST", "/v1/reload")[0], 404, "reload: no file")
    works_on("reload: the old chain works on")


def wrong_at_start():
    good = 0
    for i, path in enumerate(BAD):
        at = os.path.join(folder, "s")
        ready = ["--ready-fd", "2"] if i % 2 else []
        run = subprocess.run([mp.SCHEDULER, "--socket", at, "--control", at + "c", "--chain", path,
                              *ready], stdin=subprocess.DEVNULL, capture_output=True,
                             timeout=mp.DEADLINE)
        err = run.stderr.decode("utf-8", "replace")
        same = run.returncode == 1 and all(line in err for line in lines_of(path))
        good += same
        if not same:
            mp.note("%s: %s %s" % (os.path.basename(path), run.returncode, err))
        if os.path.exists(at) or os.path.exists(at + "c"):
            mp.ok(False, "%s leaves its sockets behind" % path)
    mp.is_(good, len(BAD), "start: %d of %d end it with exit code 1 and say why" % (good, len(BAD)))


def put(epoch, *destinations):
    return api("PUT", "/v1/chains", {"app": "test", "epoch": epoch,
                                     "destinations": list(destinations)})


def filters_word():
    """What only the filter can know is its own to refuse, whole likewise."""
    contradiction = mp.binding("guard", "breaker", {"open_ms": "20s", "open_max_ms": "1s"})
    status, document = put(6, svc, mp.destination("more", "more.example", contradiction))
    mp.is_(status, 400, "options that contradict one another are refused")
    mp.like(json.dumps(document), r"destinations\[1\]\.chain\[0\]\.config: open_max_ms",
            "with path and option")
    works_on("the old chain works on")


def epochs():
    other = mp.destination("other", "other.example")
    mp.is_(put(5, svc), (200, {"epoch": 5, "changed": False}), "an identical chain is a no-op")
    mp.is_(put(1, svc), (200, {"epoch": 5, "changed": False}), "whatever its number")
    for epoch in (5, 4, 1):
        status, document = put(epoch, svc, other)
        mp.is_(status, 409, "another chain of epoch %d is refused" % epoch)
        mp.like(document["error"], r"epoch %d is not greater than 5" % epoch, "and why")
    works_on("none of them changed anything")
    swaps = scheduler.status()["swaps"]
    mp.is_(put(6, svc, other), (200, {"epoch": 6, "changed": True}), "epoch 6")
    mp.is_(put(9, svc), (200, {"epoch": 9, "changed": True}), "epoch 9: numbers may be left out")
    mp.is_(scheduler.status()["swaps"], swaps + 2, "two swaps")
    mp.is_(put(8, svc, other)[0], 409, "never back to 8")
    local = mp.destination("local", "unix:/run/s:1.sock", mp.binding("near", "breaker", {"prefixes": ["/pay"]}))
    mp.chain_file(chain, svc, other, local, epoch=10)
    scheduler.signal(signal.SIGHUP)
    mp.wait_for(lambda: scheduler.status()["epoch"] == 10, "epoch 10")
    mp.ok(True, "SIGHUP loads a right file")
    mp.is_(api("GET", "/v1/chains")[1], json.loads(read(chain)), "GET gives the file as it was")
    mp.is_(api("POST", "/v1/reload"), (200, {"epoch": 10, "changed": False}), "reload: no change")


def bodies():
    good = read(chain).encode()
    status, document = api("PUT", "/v1/chains", good + b" " * TOO_LARGE)
    mp.is_(status, 413, "a body above 1 MiB")
    mp.like(document["error"], r"larger than 1048576 bytes", "and why")
    status, document = api("PUT", "/v1/chains", b" " * (TOO_LARGE - 1 - len(good)) + good)
    mp.is_((status, document), (200, {"epoch": 10, "changed": False}), "one of exactly 1 MiB is read")
    mp.is_(api("PUT", "/v1/chains")[0], 400, "no body")


def errors():
    rows = (("GET", "/v1/nothing", None, 404), ("GET", "/", None, 404), ("GET", "/v1/status/", None, 404),
            ("GET", "/v1/%ff%fe", None, 404), ("GET", "/v1/explain?url=http://svc/%ff", None, 400),
            ("POST", "/v1/middlepipes/%ff/reset", None, 404),
            ("POST", "/v1/status", None, 405), ("DELETE", "/v1/chains", None, 405),
            ("PUT", "/v1/reload", None, 405), ("GET", "/v1/middlepipes/guard/override", None, 405),
            ("POST", "/v1/middlepipes/guard/nothing", "{}", 404),
            ("POST", "/v1/middlepipes//override", '{"state":"open"}', 404),
            ("POST", "/v1/middlepipes/nobody/override", '{"state":"open"}', 404),
            ("POST", "/v1/middlepipes/nobody/reset", None, 404),
            ("POST", "/v1/middlepipes/%s/reset" % ("n" * 200), None, 404),
            ("POST", "/v1/middlepipes/mark/override", '{"state":"open"}', 422),
            ("POST", "/v1/middlepipes/mark/reset", None, 422),
            ("POST", "/v1/middlepipes/guard/override", '{"state":"ajar"}', 400),
            ("POST", "/v1/middlepipes/guard/override", '{"state":7}', 400),
            ("POST", "/v1/middlepipes/guard/override", "not json", 400),
            ("POST", "/v1/middlepipes/guard/override", None, 400),
            ("GET", "/v1/explain", None, 400), ("GET", "/v1/explain?url=", None, 400),
            ("GET", "/v1/explain?url=http://%00", None, 400),
            ("GET", "/v1/explain?url=nothing", None, 400),
            ("GET", "/v1/events?after=x", None, 400), ("GET", "/v1/events?after=-1", None, 400))
    for method, url, body, want in rows:
        status, document = api(method, url, body)
        mp.is_(status, want, "%s %s %s: %d" % (method, url[:48], body or "", want))
        if want >= 400:
            mp.ok(isinstance(document, dict) and document.get("error"), "with an error: %s" % document)


def answers():
    guard = api("POST", "/v1/middlepipes/guard/override", {"state": "open"})
    mp.is_(guard, (200, {"units": 2}), "override: both units of guard, /pay and the rest")
    rows = {row["prefix"]: row for row in api("GET", "/v1/standing")[1]["standing"]
            if row["destination"] == "svc"}
    mp.is_(sorted(rows), ["", "/pay"], "standing: a row for each prefix")
    mp.is_(rows["/pay"]["verdict"], "ask", "behind a filter that asks, an open breaker is asked")
    mp.is_(api("POST", "/v1/middlepipes/guard/override", {"state": "auto"})[0], 200, "auto")
    status, document = api("GET", "/v1/explain?url=http://%s/pay/1?a=b" % service.authority)
    mp.is_([status, document["destination"], document["prefix"], document["why"],
            [link["middlepipe"] for link in document["chain"]]],
           [200, "svc", "/pay", "mark", ["mark", "guard"]], "explain: destination, prefix, chain, why")
    mp.is_(api("GET", "/v1/explain?url=http://elsewhere/")[1]["destination"], None, "explain: no chain")
    sockets = [api("GET", "/v1/explain?url=" + urllib.parse.quote(url, ""))[1] for url in
               ("unix:/run/s:1.sock", "unix:/run/s:1.sock:/pay/1", "http+unix://%2Frun%2Fs%3A1.sock/pay?x=1",
                "http+unix://%2Frun%2Fs%3a1.sock", "unix:/run/other")]
    mp.is_([(s["destination"], s.get("match"), s.get("prefix")) for s in sockets],
           [("local", "unix:/run/s:1.sock", p) for p in ("", "/pay", "/pay", "")] + [(None, None, None)],
           "explain: Unix sockets")
    for url in ("127.0.0.1:80/pay", "http+unix://run/x", "http+unix://", "http+unix://%2Fa%00b/"):
        status, document = api("GET", "/v1/explain?url=" + urllib.parse.quote(url, ""))
        mp.is_(status, 400, "explain: %s" % url)
        mp.like(document["error"], r"http://host\[:port\]/path.* is expected", "and what is expected")
    events = api("GET", "/v1/events?after=0")[1]
    mp.ok([e["seq"] for e in events["events"]] == sorted(e["seq"] for e in events["events"]),
          "events come in their order")
    mp.is_(api("GET", "/v1/events?after=%d" % events["next"])[1]["events"], [], "and only newer ones")


def without_chains():
    global scheduler
    old, scheduler = scheduler, None
    mp.is_(old.stop(), 0, "it ends well")
    place = mp.workdir()
    process = mp.Process([mp.SCHEDULER, "--socket", os.path.join(place, "a"), "--control",
                          os.path.join(place, "c")])
    control = mp.Control(os.path.join(place, "c"))
    mp.wait_for(control.listens, "a scheduler without chains")
    mp.is_(control.call("GET", "/v1/chains")[0], 404, "no chains yet")
    mp.is_(control.call("POST", "/v1/reload")[0], 404, "no file to load")
    mp.is_(control.call("GET", "/v1/status")[1]["epoch"], 0, "epoch 0")
    mp.is_(control.call("GET", "/v1/standing")[1], {"epoch": 0, "standing": []}, "nothing stands")
    mp.is_(control.call("PUT", "/v1/chains", {"app": "test", "epoch": 1, "destinations": [svc]}),
           (200, {"epoch": 1, "changed": True}), "the first chains may come later")
    mp.is_(process.stop(), 0, "it ends well")


def outlives_worker():
    """Without a state file, too, what was accepted is what the next worker starts with."""
    place = mp.workdir()
    path = mp.chain_file(os.path.join(place, "chain.json"), svc)
    process = mp.Process([mp.SCHEDULER, "--socket", os.path.join(place, "a"), "--control",
                          os.path.join(place, "c"), "--chain", path])
    control = mp.Control(os.path.join(place, "c"))
    pid = 0

    def status():
        try:
            code, document = control.call("GET", "/v1/status")
        except OSError:
            return None
        return document if code == 200 and document["pid"] != pid and document["epoch"] else None
    for epoch in (1, 2, 3):
        pid = mp.wait_for(status, "a worker with chains")["pid"]
        if epoch == 2:
            more = mp.destination("more", "more.example")
            mp.is_(control.call("PUT", "/v1/chains", {"app": "test", "epoch": 2,
                                                      "destinations": [svc, more]})[0], 200, "put")
        elif epoch == 3:
            mp.chain_file(path, svc, epoch=3)
            mp.is_(control.call("POST", "/v1/reload")[0], 200, "reload")
        with open(path, "w") as out:
            out.write("{ this is no chain file")
        os.kill(pid, signal.SIGKILL)
        mp.is_(mp.wait_for(status, "the next worker")["epoch"], epoch,
               "worker killed, file broken: epoch %d is in force again" % epoch)
    mp.is_(process.stop(), 0, "it ends well")


def overflow():
    """More matches than the board has room for: calls that meet no chain are asked about, which is no mistake."""
    place = mp.workdir()
    service = survive.Service(place)
    matches = [["d%d-%d.example" % (i, j) for j in range(5)] for i in range(MANY)]
    big = mp.Scheduler(mp.chain_file(os.path.join(place, "chain.json"),
                                     *[mp.destination("d%d" % i, m) for i, m in enumerate(matches)]))
    one = survive.Load(big, service, place, "--calls", 5)
    one.wait()
    mp.is_(one.n["served"], 5, "overflow: 5 calls that meet no chain are served")
    mp.wait_for(lambda: big.status()["lanes"]["reclaimed"] == 1, "the end of the lane")
    mp.is_([big.counters()[name] for name in ("stale", "bad_messages")], [0, 0], "and none of them is called stale")
    mp.is_(big.stop(), 0, "it ends well")


def large():
    """Documents of many destinations are made in parts, but are whole, also when a swap comes in between."""
    place = mp.workdir()
    many = [mp.destination("d%d" % i, "d%d.example" % i, survive.breaker(prefixes=["/pay"]))
            for i in range(MANY)]
    big = mp.Scheduler(mp.chain_file(os.path.join(place, "chain.json"), *many))
    names = [d["name"] for d in many]
    swaps = 0

    def swap():
        nonlocal swaps
        for epoch in range(2, 6):
            document = {"app": "test", "epoch": epoch, "destinations": many[:MANY - epoch]}
            swaps += big.control.call("PUT", "/v1/chains", document)[0] == 200

    swapper = threading.Thread(target=swap)
    swapper.start()
    whole = looks = 0
    while swapper.is_alive() or not looks:
        status, standing = big.status(), big.control.ok("GET", "/v1/standing")
        got = [d["name"] for d in status["destinations"]]
        rows = [(row["destination"], row["prefix"]) for row in standing["standing"]]
        epochs = status["epoch"], standing["epoch"]
        want = [names[:MANY - (epoch if epoch > 1 else 0)] for epoch in epochs]
        whole += got == want[0] and rows == [(n, p) for n in want[1] for p in ("/pay", "")] and all(
            [e["prefix"] for e in d["entries"]] == [u["prefix"] for u in d["units"]] == ["/pay", ""]
            and all(u["status"]["state"] == "closed" for u in d["units"]) for d in status["destinations"])
        looks += 1
    swapper.join()
    mp.is_(swaps, 4, "chains of %d destinations are swapped" % MANY)
    mp.is_(whole, looks, "all the while %d documents of each kind are whole and of one epoch" % looks)
    mp.is_(big.control.call("GET", "/v1/chains")[1]["destinations"], many[:MANY - 5], "so are the chains")
    mp.is_(big.stop(), 0, "it ends well")


wrong_by_put()
wrong_by_reload()
wrong_at_start()
filters_word()
epochs()
bodies()
errors()
answers()
n = load.finish()
mp.is_([n["failed"], n["unfiltered"], n["refused"], service.n["bare"]], [0] * 4,
       "all the while none of %d calls failed or went unfiltered" % n["made"])
without_chains()
outlives_worker()
overflow()
large()
mp.done()

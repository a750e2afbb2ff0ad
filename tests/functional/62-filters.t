#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Filters that loop, crash, dawdle or fail are left out; the rest goes on.

That they do so in load() or unload() makes no difference.  Also: exchanges on hold, a breaker that is built in or a `.so`, and `.so` files
that are refused.
"""

import os
import shutil
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import survive

HUNG = r"did not return within 100 ms"
# type, the field that triggers it, restarts that follow, the reason
BAD = (("loop", "X-Loop", 1, HUNG),
       ("slow", "X-Slow", 1, HUNG),
       ("crash", "X-Crash", 1, r"crashed with signal 11"),
       ("crash", "X-Exit", 1, r"ended the scheduler with exit code 0"),
       ("error", "X-Error", 0, r"failed on a request"))

mp.need(mp.SCHEDULER, survive.prog("load"), survive.prog("counting_service"),
        os.path.join(survive.TEST_FILTERS, "loop.so"))


def start(folder, *destinations, options=(), filters=survive.TEST_FILTERS):
    chain = mp.chain_file(os.path.join(folder, "chain.json"), *destinations)
    return mp.Scheduler(chain, "--filters-dir", filters, "--filter-budget", "100ms", *options)


def one_call(scheduler, service, folder, field=None, path="/"):
    load = survive.Load(scheduler, service, folder, "--calls", 1, "--path", path,
                        *(["--field", field] if field else []), number=63)
    load.wait()
    return load.n.all()


def ejected(scheduler, name):
    """The row of a middlepipe that is left out, or None; also while a worker is on its way."""
    try:
        status, document = scheduler.control.call("GET", "/v1/status")
    except OSError:
        return None
    rows = document["ejected"] if status == 200 else []
    return next((row for row in rows if row["middlepipe"] == name), None)


def eject(type_, field, restarts, reason, closed):
    """One bad filter between two good ones, under load."""
    what = "%s (%s, %s)" % (type_, field, "closed" if closed else "open")
    folder = mp.workdir()
    service, other = survive.Service(folder), survive.Service(folder)
    bad = mp.binding("bad", type_, on_failure="closed" if closed else "open")
    scheduler = start(folder,
                      mp.destination("svc", service.authority, survive.edits("one", "A", 1, "AB", "ab"),
                                     bad, survive.edits("two", "B", 1)),
                      mp.destination("other", other.authority, survive.edits("mark", "A", 1, "A", "a")))
    loads = [survive.Load(scheduler, s, folder, "--gap-us", 500, number=i)
             for i, s in enumerate((service, other))]
    for load in loads:
        mp.wait_for(lambda: load.n["asked"] > 10, "asks")
    # A worker that ends in its youth would be taken for one that could not start.
    mp.wait_for(lambda: scheduler.status()["uptime_ms"] > 300, "a worker that has lived")
    trigger = one_call(scheduler, service, folder, field)
    row = mp.wait_for(lambda: ejected(scheduler, "bad"), "the ejection")
    mp.like(row["reason"], reason, "%s: ejected, and why: %s" % (what, row["reason"]))
    mp.is_(trigger["refused" if closed else "unfiltered"] + trigger["asked"], 1,
           "%s: its own call was %s" % (what, "refused" if closed else "let through"))
    mp.is_(trigger["answered" if closed else "served"], 1, "%s: and got an answer" % what)
    after = [loads[0].n["answered" if closed else "asked"], loads[1].n["asked"]]
    mp.wait_for(lambda: loads[0].n["answered" if closed else "asked"] > after[0] + 20 and
                loads[1].n["asked"] > after[1] + 20, "calls afterwards")
    status = scheduler.status()
    mp.is_(status["restarts"], restarts, "%s: %d restarts" % (what, restarts))
    mp.is_([row["middlepipe"] for row in status["ejected"]], ["bad"], "%s: nobody else" % what)
    mp.like(scheduler.unit("bad")["ejected"]["reason"], reason, "%s: the unit says so, too" % what)
    events = scheduler.control.ok("GET", "/v1/events")["events"]
    events = [e for e in events if e["event"] == "ejected"]
    mp.is_([(e["middlepipe"], e["destination"]) for e in events], [("bad", "svc")], "%s: one event" % what)
    mp.like(events[0]["fields"]["reason"], reason, "%s: with the reason" % what)
    take_back(scheduler, loads[0], service, what)
    for name, load, s in zip(("its chain", "another"), loads, (service, other)):
        n = load.finish()
        mp.is_([n["failed"], n["served"] + n["answered"], s.n["mixed"]], [0, n["made"], 0],
               "%s: %s: none of %d calls failed, %d unfiltered, %d refused" %
               (what, name, n["made"], n["unfiltered"], n["refused"]))
        mp.is_(s.n["bare"], n["unfiltered"] + (0 if closed or s is other else trigger["unfiltered"]),
               "%s: %s: the filters around it worked on" % (what, name))
    mp.is_(scheduler.stop(), 0, "%s: it ends well" % what)


def take_back(scheduler, load, service, what):
    mp.is_(scheduler.control.call("POST", "/v1/middlepipes/bad/reset"), (200, {"units": 1}),
           "%s: reset" % what)
    mp.is_([ejected(scheduler, "bad"), scheduler.unit("bad")["ejected"]], [None, None],
           "%s: takes it back in" % what)
    before = service.n["edited"]
    mp.wait_for(lambda: service.n["edited"] > before + 20, "filtered calls after the reset")


BAD_LOAD = (("loop", r"did not return from %s\(\) within 1000 ms"),
            ("sleep", r"did not return from %s\(\) within 1000 ms"),
            ("crash", r"crashed with signal 11 .* in %s\(\)"),
            ("exit", r"ended the scheduler with exit code 0 in %s\(\)"))


def left_out(scheduler, service, folder, reason, what):
    """The filter is ejected, and the one before it works on."""
    row = mp.wait_for(lambda: ejected(scheduler, "bad"), "the ejection")
    mp.like(row["reason"], reason, "%s: ejected, and why: %s" % (what, row["reason"]))
    before = service.n["edited"]
    n = one_call(scheduler, service, folder)
    mp.is_([n["asked"], n["served"], service.n["edited"] - before], [1, 1, 1],
           "%s: calls go on, with the other filter" % what)


def largest_body():
    """The largest response that a breaker may be given stands, so that nobody has to ask for it."""
    folder = mp.workdir()
    service = survive.Service(folder)
    config = {"mode": "forced-open", "fallback": "static", "static_status": 503, "static_body": "x" * 16384,
              "static_fields": {"X-Field-%d" % i: "y" * 200 for i in range(32)}}
    scheduler = start(folder, mp.destination("svc", service.authority, survive.breaker(**config)))
    mp.is_([row["verdict"] for row in scheduler.control.ok("GET", "/v1/standing")["standing"]], ["reply"],
           "the largest static body stands as REPLY")
    n = one_call(scheduler, service, folder)
    mp.is_([n["replied"], n["answered"], n["asked"]], [1, 1, 0], "and a call is replied to")
    mp.is_(scheduler.stop(), 0, "it ends well")


def put_or_die(scheduler, epoch, *destinations):
    """The answer to PUT /v1/chains, or None when the worker died of it."""
    try:
        return scheduler.control.call("PUT", "/v1/chains", {"app": "test", "epoch": epoch,
                                                            "destinations": list(destinations)})
    except OSError:
        return None


def bad_load(how, reason):
    """A filter that misbehaves in load(), at the first start and in a chain that is put."""
    reason %= "load"
    folder = mp.workdir()
    service = survive.Service(folder)
    good, bad = survive.edits("one", "A", 1, "A", "a"), mp.binding("bad", "badload", {"load": how})
    with_bad = mp.destination("svc", service.authority, good, bad)
    what = "load: %s at start" % how
    scheduler = start(folder, with_bad)
    left_out(scheduler, service, folder, reason, what)
    mp.is_([scheduler.status()["restarts"], scheduler.stop()], [1, 0], "%s: one restart" % what)

    what = "load: %s in a new chain" % how
    scheduler = start(folder, mp.destination("svc", service.authority, good))
    mp.is_(put_or_die(scheduler, 2, with_bad), None, "%s: no answer" % what)
    left_out(scheduler, service, folder, reason, what)
    mp.is_(scheduler.status()["epoch"], 1, "%s: the old one is in force" % what)
    mp.is_(survive.put_chains(scheduler, 2, with_bad)[:2], (200, {"epoch": 2, "changed": True}),
           "%s: put again, it is taken" % what)
    mp.like(scheduler.unit("bad")["ejected"]["reason"], reason, "%s: without that filter" % what)
    mp.is_([scheduler.status()["restarts"], scheduler.stop()], [1, 0], "%s: one restart" % what)


def told_to_end(how):
    """SIGTERM while load() does not return; and a run whose only filter does that."""
    folder = mp.workdir()
    service = survive.Service(folder)
    bad = mp.destination("svc", service.authority, mp.binding("bad", "badload", {"load": how}))
    path = mp.chain_file(os.path.join(folder, "chain.json"), bad)
    process = mp.Process([mp.SCHEDULER, "--socket", folder + "/a", "--control", folder + "/c",
                          "--chain", path, "--filters-dir", survive.TEST_FILTERS])
    mp.wait_for(lambda: os.path.exists(folder + "/c"), "a scheduler")
    mp.is_([process.stop(), os.listdir(folder).count("a")], [0, 0], "load: %s: SIGTERM ends it" % how)
    code, out, err = mp.middlepipe("run", "--filters-dir", survive.TEST_FILTERS, "--chain", path,
                                   "--", "echo", "here")
    mp.is_([code, out], [0, "here\n"], "load: %s: the command of a run is started" % how)
    mp.like(err, r"did not return from load", "and why it took longer is told")


def bad_unload(how, reason):
    what = "unload: %s" % how
    folder = mp.workdir()
    service = survive.Service(folder)
    good, bad = survive.edits("one", "A", 1, "A", "a"), mp.binding("bad", "badload", {"unload": how})
    scheduler = start(folder, mp.destination("svc", service.authority, good, bad))
    # Whether the answer is faster than the end of the worker is a matter of luck.
    put_or_die(scheduler, 2, mp.destination("svc", service.authority, good))
    left_out(scheduler, service, folder, reason % "unload", what)
    status = scheduler.status()
    mp.is_([status["epoch"], status["restarts"], scheduler.stop()], [2, 1, 0],
           "%s: the chain without it is in force, after one restart" % what)


def part_many():
    """A filter is to blame, however many others there are."""
    folder = mp.workdir()
    service = survive.Service(folder)
    others = [mp.destination("d%d" % i, "d%d.test" % i,
                             *(mp.binding("n%d" % j, "noop") for j in range(32))) for i in range(300)]
    scheduler = start(folder, *others, mp.destination(
        "svc", service.authority, mp.binding("bad", "loop"), mp.binding("bad2", "crash")))
    for name, field, reason in (("bad", "X-Loop", HUNG), ("bad2", "X-Crash", r"crashed with signal 11")):
        one_call(scheduler, service, folder, field)
        row = mp.wait_for(lambda: ejected(scheduler, name), "the ejection")
        mp.like(row["reason"], reason, "behind %d units: %s" % (32 * len(others), row["reason"]))
    n = one_call(scheduler, service, folder)
    mp.is_([n["failed"], n["served"]], [0, 1], "calls go on")
    mp.is_(scheduler.stop(), 0, "it ends well")


def part_hold():
    folder = mp.workdir()
    service = survive.Service(folder)

    def run(config):
        mark = survive.edits("mark", "A", 1, "A", "a")
        hold = mp.binding("hold", "hold", config)
        scheduler = start(folder, mp.destination("svc", service.authority, mark, hold,
                                                 mp.binding("last", "noop")))
        load = survive.Load(scheduler, service, folder, "--await", "--threads", 8, "--calls", 400,
                            number=run.number)
        run.number += 1
        code = load.wait()
        counters = scheduler.unit("hold")["counters"]
        mp.is_(code, 0, "8 threads held 400 times: %s" % counters)
        mp.is_(scheduler.stop(), 0, "it ends well")
        return load.n.all(), counters
    run.number = 0
    n, counters = run({"ms": 5})
    mp.is_([n["made"], n["served"], n["asked"], n["failed"] + n["unfiltered"]], [400, 400, 400, 0],
           "all went on when they were let go")
    mp.is_([counters["held"], counters["resumed"], counters["gone"]], [400, 400, 0], "each once")
    mp.is_([service.n["edited"], service.n["double"]], [400, 0], "with the edits made before")
    n, counters = run({"ms": 5, "reply": 418})
    mp.is_([n["made"], n["answered"], n["served"], n["unfiltered"]], [400, 400, 0, 0],
           "or all were answered, and none arrived")
    mp.is_([counters["held"], counters["resumed"]], [400, 400], "each once")


def part_command_line():
    """Filters of a folder are known to the commands that check and list, too."""
    where = ("--filters-dir", survive.TEST_FILTERS)
    chain = mp.chain_file(os.path.join(mp.workdir(), "chain.json"),
                          mp.destination("svc", "svc.test", mp.binding("mark", "noop")))
    mp.is_(mp.middlepipe("check", *where, chain)[0], 0, "check finds a filter of the folder")
    code, _, err = mp.middlepipe("check", chain)
    mp.is_(code, 1, "and without the folder does not")
    mp.like(err, r"chain\[0\]\.type: ", "and says where it looked for one")
    code, out, err = mp.middlepipe("filters", *where)
    types = [line.split()[0] for line in out.splitlines()[1:]]
    mp.ok(code == 0 and {"breaker", "noop", "stamp"} <= set(types) and types[3:] == sorted(types[3:]),
          "filters lists them: %s" % types)
    mp.like(err, r"wrongabi\.so: filter wrongabi has ABI 2\.0, not 1\.0", "and says what is none")
    code, out, _ = mp.middlepipe("filters", *where, "noop")
    mp.ok(code == 0 and "noop" in out, "tells about one of them")


def breaker_story(options, filters):
    """The same calls and commands to a breaker; what it says after each."""
    folder = mp.workdir()
    service = survive.Service(folder)
    config = {"volume": 4, "error_percent": 50, "open_ms": 1500, "window_ms": "10m"}
    scheduler = start(folder, mp.destination("svc", service.authority,
                                             mp.binding("guard", "breaker", config)),
                      options=options, filters=filters)
    story = []

    def calls(path, n):
        for _ in range(n):
            made = one_call(scheduler, service, folder, path=path)
            story.append(["answered" if made["answered"] else "served", made["raised"]])
            survive.settle(scheduler, calls.total + 1, "the outcome")
            calls.total += 1
    calls.total = 0

    def note():
        unit = scheduler.unit("guard")
        story.append([unit["status"]["state"], unit["counters"], unit["standing"]])

    def command(state):
        story.append(scheduler.control.call("POST", "/v1/middlepipes/guard/override", {"state": state}))
        note()
    calls("/", 2)
    calls("/500", 4)
    note()
    calls("/", 2)
    mp.wait_for(lambda: scheduler.unit("guard")["standing"] == "ask", "the end of its open time")
    calls("/", 1)
    mp.wait_for(lambda: scheduler.unit("guard")["status"]["state"] == "closed", "closed again")
    note()
    for state in ("open", "closed", "auto", "nonsense"):
        command(state)
    story.append(scheduler.control.call("POST", "/v1/middlepipes/guard/reset"))
    note()
    try:
        with open("/proc/%d/maps" % scheduler.worker()) as maps:
            mapped = "/breaker.so" in maps.read()
    except PermissionError:
        mapped = None
    mp.is_(scheduler.stop(), 0, "it ends well")
    return story, mapped


def part_breaker():
    if not os.path.exists(os.path.join(mp.FILTERS, "breaker.so")):
        mp.skip("breaker as .so", "it is not built")
        return
    built_in, mapped = breaker_story((), mp.FILTERS)
    shared, mapped_shared = breaker_story(("--prefer-shared",), mp.FILTERS)
    mp.is_(shared, built_in, "a breaker from a .so does what the built-in one does: %d steps" %
           len(built_in))
    if mapped is None:
        mp.skip("which of them ran", "another user's memory map")
    else:
        mp.is_([mapped, mapped_shared], [False, True], "and it was the .so that did")


def part_refused():
    folder = mp.workdir()
    filters = mp.workdir()
    for name in ("wrongabi", "wrongsize", "noop"):
        shutil.copy(os.path.join(survive.TEST_FILTERS, name + ".so"), filters)
    for name in ("my_noop", "Noop", "7up"):
        shutil.copy(os.path.join(filters, "noop.so"), os.path.join(filters, name + ".so"))
    shutil.copy(os.path.join(filters, "noop.so"), os.path.join(filters, "other.so"))
    with open(os.path.join(filters, "text.so"), "w") as out:
        out.write("this is no library\n")
    service = survive.Service(folder)
    scheduler = start(folder, mp.destination("svc", service.authority, mp.binding("n", "noop")),
                      filters=filters)
    for name, reason in (("wrongabi", r"has ABI 2\.0, not 1\.0"),
                         ("wrongsize", r"has an incomplete table \(16 of \d+ bytes\)"),
                         ("other", r"filter other calls itself noop"),
                         ("text", r"text\.so: "),
                         ("my_noop", r"my_noop\.so\S* reason=\S*a type is \[a-z\]\[a-z0-9-\]\*"),
                         ("nothing", None), ("../filters/noop", None)):
        status, document, _ = survive.put_chains(
            scheduler, 2, mp.destination("svc", service.authority, mp.binding("n", name)))
        mp.is_(status, 400, "a chain with %s.so is refused" % name)
        mp.like("\n".join(document.get("errors", [])), r"^\$\.destinations\[0\]\.chain\[0\]\.type: ",
                "with its path")
        if reason:
            mp.wait_for(lambda: "/%s.so" % name in scheduler.err, "a log line")
            mp.like(scheduler.err, reason, "and the log says why")
    n = one_call(scheduler, service, folder)
    mp.is_([n["asked"], n["served"], scheduler.status()["epoch"]], [1, 1, 1], "the old chain works on")
    _, _, err = mp.middlepipe("filters", "--filters-dir", filters)
    for name in ("my_noop", "Noop", "7up"):
        mp.like(err, r"/%s\.so: a type is \[a-z\]\[a-z0-9-\]\*" % name, "filters says why, too: " + name)
    folder_gone(scheduler, service, folder, filters)
    mp.is_(scheduler.stop(), 0, "it ends well")


def folder_gone(scheduler, service, folder, filters):
    """A folder that is not there is refused at the start, and survived later."""
    chain = mp.chain_file(os.path.join(folder, "built-in.json"),
                          mp.destination("svc", service.authority, survive.edits("one", "A", 2, "A", "a")),
                          epoch=2)
    nope = os.path.join(folder, "nope")
    for argv, code in ((("check", "--filters-dir", nope, chain), 1), (("filters", "--filters-dir", nope), 1),
                       (("run", "--filters-dir", nope, "--chain", chain, "--", "true"), 125)):
        got, out, err = mp.middlepipe(*argv)
        mp.is_((got, out), (code, ""), "%s: a folder that is not there" % argv[0])
        mp.like(err, r"filter folder %s: No such file or directory" % nope, "is refused by name")
    place = mp.workdir()
    got, _, err = mp.run([mp.SCHEDULER, "--socket", place + "/a", "--control", place + "/c",
                          "--chain", chain, "--filters-dir", nope])
    mp.is_(got, 111, "and so it is by the scheduler")
    mp.like(err, r"filter folder %s: No such file or directory" % nope, "which says why")
    os.rename(chain, scheduler.chain)
    scheduler.reload()
    shutil.rmtree(filters)
    worker = scheduler.worker()
    os.kill(worker, signal.SIGKILL)

    def back():
        try:
            status, document = scheduler.control.call("GET", "/v1/status")
        except OSError:
            return False
        return status == 200 and document["pid"] != worker and document["epoch"] == 2
    mp.wait_for(back, "the next worker")
    n = one_call(scheduler, service, folder)
    mp.is_([n["asked"], n["served"], service.n["edited"]], [1, 1, 1],
           "one that goes away later ends no worker, and built-in filters work on")


for bad in BAD:
    eject(*bad, closed=False)
    eject(*bad, closed=True)
for bad in BAD_LOAD:
    bad_load(*bad)
    bad_unload(*bad)
told_to_end("loop")
part_many()
part_hold()
part_command_line()
part_breaker()
part_refused()
largest_body()
mp.done()

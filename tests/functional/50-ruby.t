#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Ruby hook end to end: an application, the scheduler, real filters.

What each verdict does to each library is 50-ruby-verdicts.t's; here are the
breaker, processes and threads, a scheduler that dies, loading by RUBYOPT, and
the doubles of tests.  The application is ruby/calls.rb.
"""

import json
import os
import shutil
import signal
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "lib"))
import mp
from mp import is_, like, ok

ABI = mp.run([mp.RUBY, "-rrbconfig", "-e", "print RbConfig::CONFIG['ruby_version']"])[1] \
    if mp.shutil.which(mp.RUBY) else ""
mp.need(mp.RUBY, mp.SCHEDULER, os.path.join(mp.HOOKS, "ruby", ABI, "middlepipe_ext.so"))

FOLDER = mp.workdir()
CALLS = os.path.join(HERE, "ruby", "calls.rb")


def has(library):
    return mp.run([mp.RUBY, "-e", "require '%s'" % library])[0] == 0


CLIENT, DOUBLES = has("httpclient"), has("webmock") and has("vcr")
WAYS = ["get_response", "once", "kept"] + (["client", "client_async"] if CLIENT else [])


class App(mp.Process):
    """A running application; each call of step() is answered when it has been taken."""

    def __init__(self, env, *flags):
        import subprocess
        super().__init__([mp.RUBY, *flags, CALLS], env=env, stdin=subprocess.PIPE)
        self.taken = 0

    def step(self, name, **more):
        self.popen.stdin.write((json.dumps(dict(more, do=name)) + "\n").encode())
        self.popen.stdin.flush()
        self.taken += 1
        mp.wait_for(lambda: self.out.count("\n") >= self.taken or not self.running(), "an answer to " + name)
        lines = self.out.splitlines()
        if len(lines) < self.taken:
            mp.note(self.err)
        return json.loads(lines[self.taken - 1]) or {}

    def end(self):
        self.popen.stdin.close()
        code = self.wait()
        is_((code, self.err), (0, ""), "the application ends well and saw nothing on its standard error")


def chain(name, *destinations):
    return mp.chain_file(os.path.join(FOLDER, name + ".json"), *destinations)


def outcome(got):
    return got.get("error", got.get("status"))


BREAKER = {"volume": 1000, "consecutive": 3, "open_ms": 600000}
service, steady = mp.Service(body="fine"), mp.Service()
guard = mp.destination("payments", service.authority, mp.binding("guard", "breaker", BREAKER))
FILTERS = ("--filters-dir", os.path.join(mp.TEST_BIN, "filters"))


def passed(scheduler):
    return scheduler.status()["counters"]["passed"]


def told(scheduler, name, count):
    """Outcomes are drained on a tick."""
    return mp.wait_for(lambda: scheduler.status()["counters"][name] >= count, "%d %s" % (count, name)) and \
        is_(scheduler.status()["counters"][name], count, "%d calls %s" % (count, name))


def stands(scheduler, verdict):
    def there():
        entries = [e for d in scheduler.status()["destinations"] for e in d["entries"]]
        return all(e["standing"] == verdict for e in entries)
    mp.wait_for(there, "a standing " + verdict)


# ---------------------------------------------------------------- the breaker

scheduler = mp.Scheduler(chain("guard", guard))
stands(scheduler, "pass")
app = App(scheduler.env())
for way in WAYS:
    service.behave(body="fine")
    scheduler.control.ok("POST", "/v1/middlepipes/guard/reset")
    stands(scheduler, "pass")
    is_(app.step(way, url=service.url())["body"], "fine", "%s: goes through a closed breaker" % way)
    service.behave(status=503, body="sorry")
    is_([outcome(app.step(way, url=service.url())) for _ in range(3)], ["503"] * 3, "%s: failures are the service's own" % way)
    stands(scheduler, "reply")
    count = service.count
    got = app.step(way, url=service.url())
    ok("Middlepipe::Refused" in got.get("kinds", []), "%s: then the circuit is open" % way)
    is_((got.get("pipe"), got.get("type"), got.get("state")), ("guard", "breaker", "open"), "%s: which the error says" % way)
    like(got.get("text"), r"^\[%s\] middlepipe guard is open, retry after \d+ s$" % service.authority, "%s: in words" % way)
    is_(service.count, count, "%s: and the service is left alone" % way)
for way in WAYS:
    service.stop()
    scheduler.control.ok("POST", "/v1/middlepipes/guard/reset")
    stands(scheduler, "pass")
    key = {"key": "dead " + way} if way in ("kept", "client", "client_async") else {}
    errors = []
    while len(errors) < 10 and "Middlepipe" not in str(errors):
        errors.append(outcome(app.step(way, url=service.url(), **key)))
        if len(errors) == 3:
            stands(scheduler, "reply")
    is_(errors[:-1], ["Errno::ECONNREFUSED"] * 3, "%s: three refused connections are three failures" % way)
    service.start()
app.end()
scheduler.stop()

# ------------------------------------------------------------ nothing is lost

scheduler = mp.Scheduler(chain("count", mp.destination("payments", service.authority,
                                                       mp.binding("guard", "breaker", dict(BREAKER, consecutive=0)))))
service.behave(body="fine")
stands(scheduler, "pass")
app = App(scheduler.env())
before = service.connections, service.count
app.step("kept", url=service.url(), times=100)
is_((service.connections - before[0], service.count - before[1]), (1, 100), "a kept connection is kept")
told(scheduler, "passed", 100)
is_(app.step("many", url=service.url(), threads=16, calls=25)["results"], {"200": 400}, "sixteen threads")
told(scheduler, "passed", 500)
got = app.step("forked", url=service.url(), children=3, calls=10)
is_((got["exits"], got["parent"]), ([0, 0, 0], "200"), "children of a fork call for themselves, and the parent goes on")
told(scheduler, "passed", 532)
got = app.step("fork_within", url=service.url())
is_((got["exit"], got["after"]), (0, "200"), "a child that is made within a call leaves the call to its parent")
told(scheduler, "passed", 535)
service.behave(hang=True)
app.step("leave", url=service.url(), how="kill")
service.behave(body="fine")
told(scheduler, "passed", 536)
is_(app.step("counters")["unfiltered"], 0, "none of them unfiltered")
app.end()
for how, count in (("exit", 537), ("exit!", 537)):
    app = App(scheduler.env())
    app.popen.stdin.write((json.dumps({"do": "exit_within", "url": service.url(), "how": how}) + "\n").encode())
    app.popen.stdin.close()
    is_((app.wait(), app.err), (7, ""), "%s within a call" % how)
    told(scheduler, "passed", count)
mp.wait_for(lambda: scheduler.status()["lanes"]["open"] == 0, "no lane left over")
ok(True, "all lanes of ended processes are given back")
scheduler.stop()

# ----------------------------------------------------- filters that must be asked

scheduler = mp.Scheduler(chain("ask", mp.destination("payments", service.authority, mp.binding("edit", "headers", {
    "request_set": {"X-Epoch": "1"}, "request_remove": ["User-Agent"], "response_add": {"X-Seen": "yes"}}))), *FILTERS)
app = App(scheduler.env())
for way in WAYS:
    service.behave(body="fine", headers={"Middlepipe": "breaker;callback=raise"})
    got = app.step(way, url=service.url(), **({"headers": {"X-Epoch": "0"}} if way != "client_async" else {}))
    seen = service.requests[-1]
    is_((seen.get("X-Epoch"), got["fields"].get("x-seen"), got["body"]), ("1", ["yes"], "fine"),
        "%s: requests and responses are edited" % way)
    ok("middlepipe" not in got["fields"], "%s: a forged marker is taken out" % way)
told(scheduler, "asked", len(WAYS))
for config, check in (({"error_percent": 100, "error": "raise"}, lambda got: "Middlepipe::Refused" in got.get("kinds", [])),
                      ({"error_percent": 100, "error_status": 418, "error_body": "no"},
                       lambda got: (got.get("status"), got.get("body")) == ("418", "no")),
                      ({"fixed_ms": 10}, lambda got: got.get("body") == "fine")):
    chain_epoch = 2 + len(str(config))
    mp.chain_file(scheduler.chain, mp.destination("payments", service.authority, mp.binding("slow", "delay", config)),
                  epoch=scheduler.status()["epoch"] + 1)
    scheduler.reload()
    for way in WAYS:
        ok(check(app.step(way, url=service.url())), "%s: delay %s" % (way, json.dumps(config)))
if os.path.exists(os.path.join(FILTERS[1], "hold.so")):
    mp.chain_file(scheduler.chain, mp.destination("payments", service.authority, mp.binding("held", "hold", {"ms": 20})),
                  epoch=scheduler.status()["epoch"] + 1)
    scheduler.reload()
    for way in WAYS:
        is_(app.step(way, url=service.url()).get("body"), "fine", "%s: held for a while" % way)
mp.chain_file(scheduler.chain, mp.destination("payments", service.authority, mp.binding("guard", "breaker", dict(
    BREAKER, fallback="static", static_status=203, static_body="instead", static_fields={"X-From": "guard"}))),
    epoch=scheduler.status()["epoch"] + 1)
scheduler.reload()
scheduler.control.ok("POST", "/v1/middlepipes/guard/override", {"state": "open"})
stands(scheduler, "reply")
count = service.count
for way in WAYS:
    got = app.step(way, url=service.url())
    is_((got.get("status"), got.get("body"), got.get("fields", {}).get("x-from")), ("203", "instead", ["guard"]),
        "%s: the fallback of an open breaker" % way)
is_(service.count, count, "none of which reached the service")
app.end()
scheduler.stop()

# --------------------------------------------------------- a scheduler that dies

scheduler = mp.Scheduler(chain("die", guard))
stands(scheduler, "pass")
app = App(scheduler.env(MIDDLEPIPE_BUDGET_MS="50"))
service.behave(body="fine")
app.step("kept", url=service.url())
for number in range(3):
    pid = scheduler.worker()
    os.kill(pid, signal.SIGKILL)
    results = {outcome(app.step(way, url=service.url())) for way in WAYS for _ in range(3)}
    is_(results, {"200"}, "no call fails because the scheduler was killed (%d)" % (number + 1))
    mp.wait_for(lambda: scheduler.worker() not in (pid, scheduler.pid), "its restart")

    def used():
        app.step("get_response", url=service.url())
        return app.step("counters")["connected"]
    mp.wait_for(used, "a new lane")
    ok(True, "and the next one is used without restarting the application")
scheduler.control.ok("POST", "/v1/middlepipes/guard/override", {"state": "open"})
stands(scheduler, "reply")
mp.wait_for(lambda: outcome(app.step("get_response", url=service.url())) != "200", "the refusal")
scheduler.signal(signal.SIGTERM)
scheduler.wait()
mp.wait_for(lambda: outcome(app.step("get_response", url=service.url())) == "200", "the end of the refusal")
ok(True, "an open circuit does not outlive its scheduler")
app.end()

# --------------------------------------------------------------------- loading

scheduler = mp.Scheduler(chain("load", guard, mp.destination("other", steady.authority, mp.binding("g2", "breaker"))))
stands(scheduler, "pass")
env = scheduler.env()
bare = App({})
plain = bare.step("loaded")
bare.end()
app = App(env)
got = app.step("loaded")
is_((got["features"], got["gems"], got["middlepipe"]), (plain["features"], plain["gems"], True),
    "the preload loads nothing of Ruby's library and no gem")
app.step("get_response", url=service.url())
is_(app.step("loaded")["patched"], ["Middlepipe::NetHTTP::Hook"], "Net::HTTP is patched when it comes")
app.end()
hook = os.path.join(FOLDER, "hook")
shutil.copytree(os.path.join(mp.HOOKS, "ruby"), hook)
shutil.rmtree(os.path.join(hook, ABI))
for name, change, flags in (
        ("no scheduler is named", {"MIDDLEPIPE_SOCK": None}, ()), ("an empty name", {"MIDDLEPIPE_SOCK": ""}, ()),
        ("it is disabled", {"MIDDLEPIPE_DISABLED": "1"}, ()),
        ("there is no extension for this ruby", {"RUBYOPT": "-r%s/middlepipe.rb" % hook}, ())):
    app = App(dict(env, **change), *flags)
    app.step("get_response", url=service.url())
    is_(app.step("loaded")["patched"], [], "inert when %s" % name)
    app.end()
for name, change, flags in (("-w", {}, ("-w",)), ("--disable=gems", {}, ("--disable=gems",)), ("--jit or not", {}, ()),
                            ("Net::HTTP loaded first", {"RUBYOPT": "-rnet/http " + env["RUBYOPT"]}, ()),
                            ("another -r", {"RUBYOPT": env["RUBYOPT"] + " -rset"}, ()),
                            ("loaded twice", {"RUBYOPT": env["RUBYOPT"] + " " + env["RUBYOPT"]}, ())):
    app = App(dict(env, **change), *flags)
    app.step("get_response", url=service.url())
    is_((app.step("loaded")["patched"], app.step("counters")["passed"]), (["Middlepipe::NetHTTP::Hook"], 1), name)
    app.end()
code, out, err = mp.run([mp.RUBY, "-e", "puts 1"], env=dict(env, MIDDLEPIPE_SOCK="/nowhere/at/all"))
is_((code, out, err), (0, "1\n", ""), "a socket that is not there disturbs nobody")
app = App(dict(env, MIDDLEPIPE_SOCK="/nowhere/at/all"))
is_([outcome(app.step(way, url=service.url())) for way in WAYS], ["200"] * len(WAYS), "and calls go through")
app.end()

if mp.shutil.which("bundle"):
    with open(os.path.join(FOLDER, "Gemfile"), "w") as out:
        out.write("gem 'httpclient'\n" if CLIENT else "")
    bundle = dict(env, BUNDLE_GEMFILE=os.path.join(FOLDER, "Gemfile"), BUNDLE_PATH=None)
    code, out, err = mp.run(["bundle", "exec", mp.RUBY, "-e",
                             "require 'bundler/setup'; require 'net/http'; require 'json';"
                             "p Net::HTTP.get_response(URI(ARGV[0])).code, Net::HTTP.ancestors[0]", service.url()],
                            env=bundle, cwd=FOLDER)
    ok("already activated" not in err and "already initialized" not in err, "bundle exec: no gem was there before it")
    is_((code, out), (0, '"200"\nMiddlepipe::NetHTTP::Hook\n'), "bundle exec: the hook is")
else:
    mp.skip("bundle exec", "bundler is not there")

# --------------------------------------------------------------- test doubles

if DOUBLES and CLIENT:
    count = passed(scheduler)
    app = App(env)
    got = app.step("double", url=service.url())
    is_((got["net"], got["client"]), ("stubbed", "stubbed"), "webmock: a stub wins")
    is_((outcome(got["real"]), outcome(got["real_client"])), ("200", "200"), "webmock: real calls go through the chain")
    told(scheduler, "passed", count + 2)
    scheduler.control.ok("POST", "/v1/middlepipes/guard/override", {"state": "open"})
    mp.wait_for(lambda: "Middlepipe" in str(outcome(app.step("get_response", url=service.url()))), "the refusal")
    got = app.step("double", url=service.url())
    is_((got["net"], outcome(got["real"]), outcome(got["real_client"])),
        ("stubbed", "Middlepipe::NetHTTPRefused", "Middlepipe::HTTPClientRefused"), "webmock: and are refused by it")
    app.end()
    app = App(env)
    seen = steady.count
    got = app.step("double", url=steady.url(), cassette=os.path.join(FOLDER, "cassettes"))
    is_((got, steady.count - seen), ({"first": "ok\n", "second": "ok\n"}, 1), "VCR: what is played back is not called")
    is_(app.step("counters")["passed"], 1, "VCR: what is recorded is called through the chain")
    app.end()
else:
    mp.skip("webmock and VCR", "they are not there")

mp.done()

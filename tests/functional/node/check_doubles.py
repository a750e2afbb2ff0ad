# SPDX-License-Identifier: Apache-2.0
"""Libraries and test doubles that apps use, installed for the test: who wins."""

import os
import shutil

import mp
import node_harness as h

PACKAGES = ("nock@14", "nock13@npm:nock@13", "undici@6", "undici7@npm:undici@7",
            "undici8@npm:undici@8", "axios@1", "got@14", "node-fetch@2",
            "http-proxy-agent@7")
PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "doubles.cjs")
_folder = None


def folder():
    """Where the packages are, or None when they cannot be had."""
    global _folder
    if _folder is None:
        _folder = mp.workdir()
        npm = shutil.which("npm")
        argv = [npm, "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
        try:
            done = npm and mp.run(argv, cwd=_folder, env={"NODE_OPTIONS": None}, deadline=120)[0] == 0
        except mp.Late:
            done = False
        if not done:
            _folder = ""
        else:
            shutil.copy(PROGRAM, _folder)
    return _folder


def check(app):
    if not folder():
        mp.skip(app.name("libraries and test doubles"), "npm cannot install them here")
        return
    service = h.Recorder()
    check_libraries(app, service)
    check_doubles(app, service)


def program(app, what, script, url, **env):
    return app.run([os.path.join(folder(), "doubles.cjs"), what, url], script, **env).split("\n")[:-1]


def check_libraries(app, service):
    url = service.url("")
    cases = {
        "axios": (["200", "200", "200"], ["EMIDDLEPIPE EMIDDLEPIPE guard", None, "EMIDDLEPIPE"]),
        "got": (["200", "200"], ["EMIDDLEPIPE 2 0", "EMIDDLEPIPE"]),
        "nodefetch": (["200", "200"], ["EMIDDLEPIPE FetchError", "EMIDDLEPIPE"]),
        "undici": (["200 200", "200", "200", "200"],
                   ["EMIDDLEPIPE EMIDDLEPIPE", "EMIDDLEPIPE", "EMIDDLEPIPE", "200"]),
    }
    for what, (passed, refused) in cases.items():
        if app.major < 20 and what in ("got",):
            mp.skip(app.name(what), "needs a newer Node.js")
            continue
        for script, want in (("begin GO\n", passed), (h.REFUSAL, refused)):
            got = program(app, what, script, url)
            same = [w if w is not None else g for w, g in zip(want, got)]
            mp.is_(got, same if len(got) == len(want) else want, app.name("%s: %s" % (what, script[6:11])))
            if script == "begin GO\n":
                mp.ok(app.ends() and set(app.ends()) == {(200, 0)} and
                      len(app.ends()) == len(app.told("begin")),
                      app.name("%s: %d calls end once" % (what, len(app.ends()))))
            elif what == "got":
                mp.is_(len(app.told("begin")), 2, app.name("got: refusals are not tried again"))
    program(app, "retry", h.REFUSAL, url)
    mp.is_(len(app.told("begin")), 1, app.name("undici: RetryAgent does not try a refusal again"))
    check_composed(app, url)
    proxy = h.Proxy()
    mp.is_(program(app, "proxyagents", "begin GO\n", url, TEST_PROXY=proxy.url), ["200", "200"],
           app.name("http-proxy-agent"))
    mp.is_(set(app.told("begin")), {"http 127.0.0.1 %d /" % service.port},
           app.name("http-proxy-agent: the destination is the origin"))
    service.take()


def undicis(app):
    """The undici packages whose dispatchers the fetch of this Node.js takes."""
    return ("undici8",) if app.major >= 26 else ("undici", "undici7") if app.major >= 22 else ("undici",)


def check_composed(app, url):
    """Dispatchers that send through one that is met, too: one call each."""
    for name in undicis(app):
        mp.is_((program(app, "composed", "begin GO\n", url, TEST_UNDICI=name), app.ends()),
               (["200 200 200"], [(200, 0)] * 3), app.name("%s: composed dispatchers" % name))
        mp.is_((program(app, "composed", h.REFUSAL, url, TEST_UNDICI=name), len(app.told("begin"))),
               (["EMIDDLEPIPE EMIDDLEPIPE EMIDDLEPIPE"], 3), app.name("%s: likewise refused" % name))


def check_doubles(app, service):
    """What a double answers never leaves the process; what it lets through is a call."""
    url = service.url("")
    for name in undicis(app):
        for what in ("mockagent", "mockpool"):
            got = program(app, what, h.REFUSAL, url, TEST_UNDICI=name)
            mp.is_((got, app.told("begin")), (["299"], []), app.name("%s: %s wins" % (name, what)))
    for nock, begun in (("nock", 0), ("nock13", 1)):
        got = program(app, nock, "begin GO\n", url)
        mp.is_(got, ["299 200"], app.name("%s: mocked and let through" % nock))
        mp.is_((len(app.told("begin")), app.ends()), (begun, [(200, 0)] * begun),
               app.name("%s: no mocked call is met" % nock))
        got = program(app, nock, h.REFUSAL, url)
        mp.is_(got[0].split()[0], "299", app.name("%s: wins over an open breaker" % nock))
    service.take()

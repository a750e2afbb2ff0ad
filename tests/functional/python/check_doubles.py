# SPDX-License-Identifier: Apache-2.0
"""Beside the test doubles that applications use: the double wins, and the chain
sees only what really goes to a network.  And beside gevent.
"""

import os

import mp
from harness import HERE, REFUSAL


def check(app):
    responses(app)
    recorded(app)
    greenlets(app)


def responses(app):
    name = app.name("responses")
    if "requests" not in app.libs or not app.has("responses"):
        return mp.skip(name, "not installed")
    service = mp.Service()
    out = app.run([os.path.join(HERE, "with_responses.py"), service.url()], REFUSAL)
    mp.is_(out.split(), ["doubled", "doubled", "guard"], name + " wins; a pass-through does not")
    mp.is_(len(app.told("begin")), 1, name + ": only real calls are exchanges")
    service.stop()


def recorded(app):
    name = app.name("vcr")
    if not app.has("vcr"):
        return mp.skip(name, "not installed")
    service = mp.Service(body=b"real")
    cassette = os.path.join(app.folder, "cassette.yaml")
    program = os.path.join(HERE, "with_vcr.py")
    out = app.run([program, cassette, service.url()], "begin GO\n")
    n = len(app.libs) - 1
    mp.is_([out.split(), app.ends()], [["real"] * n, [(200, 0)] * n],
           name + ": what it records is filtered")
    out = app.run([program, cassette, service.url()], REFUSAL)
    mp.is_([out.split(), app.told("begin"), service.count], [["real"] * n, [], n],
           name + ": what it replays is not")
    service.stop()


def greenlets(app):
    name = app.name("gevent")
    if not app.has("gevent"):
        return mp.skip(name, "not installed")
    service = mp.Service()
    program = os.path.join(HERE, "with_gevent.py")
    for verdict in ("ask DELAY\ndelay_ms 1000\n", "ask HOLD\nheld 20\n"):
        out = app.run([program, service.url()], "begin ASK\n" + verdict)
        mp.is_(out.split(), ["ticked", "200"], name + ": others go on meanwhile")
    mp.is_(app.run([program, service.url(), "kill"], "begin ASK\nask DELAY\ndelay_ms 60000\n"),
           "killed\n", name + ": a greenlet can be killed")
    mp.is_(app.ends(), [(0, 5)], name + ": which is a cancelled call")
    out = app.run([program, service.url(), "many"], "begin GO\nwants 12\n")
    mp.is_([out, app.ends()], ["50\n", [(200, 0)] * 50], name + ": 50 at once")
    service.stop()

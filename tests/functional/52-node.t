#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Node.js hook: http, https and fetch, under the path's Node.js and those that
TESTS_NODES names (programs, divided by colons).

Most checks use a libmiddlepipe that does what a script says, so that every verdict
is met and every call of the library is seen; check_live uses the scheduler.
TESTS_NODE_ONLY names the checks to run, for example "verdicts,live".
"""

import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "lib"))
sys.path.insert(0, os.path.join(HERE, "node"))
sys.dont_write_bytecode = True

import mp  # noqa: E402
import node_harness  # noqa: E402

CHECKS = ("loading", "verdicts", "bodies", "responses", "failures", "routes", "traces", "doubles",
          "live")

mp.need(node_harness.ADDON, node_harness.SCRIPTED)
wanted = os.environ.get("TESTS_NODE_ONLY", ",".join(CHECKS)).split(",")
for version, node in node_harness.nodes().items():
    mp.note("Node.js %s: %s" % (version, node))
    app = node_harness.App(node, version)
    for name in wanted:
        importlib.import_module("check_" + name).check(app)
mp.done()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The Python hook: http.client, urllib.request, urllib3 and requests, under
Debian's Python and a newer one on the path.

Most checks use a libmiddlepipe that does what a script says, so that every
verdict is met and every call of the library is seen; check_live uses the
scheduler.  TESTS_PYTHON_ONLY names the checks to run, for example
"verdicts,live".
"""

import importlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "lib"))
sys.path.insert(0, os.path.join(HERE, "python"))
sys.dont_write_bytecode = True

import mp  # noqa: E402
import harness  # noqa: E402

CHECKS = ("loading", "verdicts", "responses", "failures", "routes", "doubles", "live")

mp.need(os.path.join(harness.HOOK, "middlepipe_hook/_middlepipe.abi3.so"), harness.SCRIPTED)
wanted = os.environ.get("TESTS_PYTHON_ONLY", ",".join(CHECKS)).split(",")
for python, version in harness.pythons().items():
    mp.note("Python %s: %s" % (version, python))
    app = harness.App(python, version)
    for name in wanted:
        importlib.import_module("check_" + name).check(app)
mp.done()

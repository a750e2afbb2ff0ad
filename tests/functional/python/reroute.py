# SPDX-License-Identifier: Apache-2.0
"""Makes five calls, of which the chain sends the second to fourth elsewhere."""

import os
import sys

import calls

lib, url, authority = sys.argv[1:]
for there in (False, True, True, True, False):
    with open(os.environ["MP_SCRIPT"], "w") as out:
        out.write("begin ASK\n" + ("authority %s\n" % authority if there else ""))
    assert getattr(calls, "by_" + lib)({"lib": lib, "url": url})["status"] == 200

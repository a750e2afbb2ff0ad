# SPDX-License-Identifier: Apache-2.0
"""Alternates calls that pass with calls that the chain answers, on connections
that are kept; argument 2: whether the answer is an exception.
"""

import os
import sys

import calls

url, refuses = sys.argv[1], sys.argv[2] == "1"
answer = open(os.environ["MP_SCRIPT"]).read()
if not refuses:
    answer = answer.replace("raise 1", "raise 0")


def script(text):
    with open(os.environ["MP_SCRIPT"], "w") as out:
        out.write(text)


for lib in ("http", "urllib3", "requests"):
    try:
        for text in ("begin GO\n", answer, answer, "begin GO\n", answer, "begin GO\n"):
            script(text)
            call = {"lib": lib, "url": url, "careless": True}
            try:
                assert getattr(calls, "by_" + lib)(call)["status"] in (200, 503)
            except ImportError:
                raise
            except Exception as error:
                assert refuses and error.pipe == "guard", error
    except ImportError:
        pass

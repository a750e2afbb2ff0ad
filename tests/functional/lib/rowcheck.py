# SPDX-License-Identifier: Apache-2.0
"""The checker of histories, run inside a test or as the program that it is.

Inside: judge(events) for the many small histories of a test, which would
otherwise spend their time on starting Python.  Standard library only.
"""

import importlib.machinery
import importlib.util
import json
import os
import subprocess
import sys

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../rows")
PROGRAM = os.path.join(FOLDER, "check_history")

sys.dont_write_bytecode = True
_loader = importlib.machinery.SourceFileLoader("check_history", PROGRAM)
_program = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_history",
                                                                           _loader))
_loader.exec_module(_program)


def write(path, events):
    with open(path, "w") as out:
        for event in events:
            out.write(json.dumps(event) + "\n")
    return path


def judge(path, *checks):
    """The names of what is broken in a file; raises history.Unreadable."""
    verdict = _program.Verdict()
    history = _program.histories.read([path])
    rows = _program.rows_of(history, verdict)
    _program.demand_finals(history, rows)
    _program.judge(rows, history, [_program.semantic.parse(check) for check in checks])
    return verdict.names()


def run(*args):
    """The program: (exit code, what it says, errors)."""
    done = subprocess.run([sys.executable, PROGRAM, *args], capture_output=True, text=True,
                          check=False)
    return done.returncode, done.stdout, done.stderr

# SPDX-License-Identifier: Apache-2.0
"""How the hook is loaded: silent, inert without a scheduler, beside others."""

import os
import shutil

import mp
from harness import HOOK

LOADED = "import sys; print(sorted(m for m in sys.modules if 'middlepipe' in m))"
HTTP = "import http.client, sys; print(hasattr(http.client.HTTPConnection, '_middlepipe'))"


def check(app):
    inert(app)
    chained(app)
    elsewhere(app)
    harmless(app)


def inert(app):
    modules = "import sys; print(sorted(sys.modules))"
    without = app.run(["-c", modules], PYTHONPATH=None, MIDDLEPIPE_SOCK=None)
    mp.is_(app.run(["-c", modules], MIDDLEPIPE_SOCK=None).replace("'sitecustomize', ", ""),
           without.replace("'sitecustomize', ", ""),
           app.name("without a socket nothing is imported"))
    mp.is_(app.run(["-c", LOADED], MIDDLEPIPE_DISABLED="1"), "[]\n", app.name("disabled: inert"))
    mp.is_(app.run(["-c", LOADED]), "['middlepipe_hook']\n",
           app.name("without a library: one small module"))
    mp.is_(app.run(["-c", HTTP]), "True\n", app.name("http.client is patched when it is loaded"))
    mp.is_(app.err, "", app.name("in silence"))
    for option in ("-I", "-E", "-S"):
        mp.is_(app.run([option, "-c", HTTP]), "False\n", app.name(option + " disables it"))
    out = app.run(["-c", "import http.client, importlib; importlib.reload(http.client)\n"
                   "print(http.client.HTTPConnection.endheaders.__code__.co_filename"
                   ".endswith('stdlib.py'))"])
    mp.is_(out, "True\n", app.name("a reloaded http.client is patched again"))


def chained(app):
    """The next sitecustomize runs, as if ours were not there."""
    folder = mp.workdir()
    with open(os.path.join(folder, "sitecustomize.py"), "w") as out:
        out.write("import http.client\nhere = __file__\nprint('next')\n")
    path = os.pathsep.join((HOOK, folder))
    out = app.run(["-c", "import sitecustomize; print(sitecustomize.here); " + HTTP],
                  PYTHONPATH=path)
    want = "next\n%s/sitecustomize.py\nTrue\n" % folder
    mp.is_(out, want, app.name("the next sitecustomize runs once"))
    twice = os.pathsep.join((HOOK, HOOK + "/", folder))
    mp.is_(app.run(["-c", HTTP], PYTHONPATH=twice), "next\nTrue\n",
           app.name("our folder named twice"))
    mp.is_(app.run(["-c", HTTP], PYTHONPATH=path, MIDDLEPIPE_SOCK=None), "next\nFalse\n",
           app.name("also while inert"))
    copy = os.path.join(mp.workdir(), "lib/middlepipe/hooks/python")
    shutil.copytree(HOOK, copy)
    out = app.run(["-c", HTTP], PYTHONPATH=os.pathsep.join((HOOK, copy, folder)))
    mp.is_(out, "next\nTrue\n", app.name("a second installation"))
    with open(os.path.join(folder, "sitecustomize.py"), "w") as out:
        out.write("raise ValueError('bad')\n")
    app.run(["-c", HTTP], PYTHONPATH=path)
    mp.like(app.err, "Error in sitecustomize.*ValueError: bad",
            app.name("its errors are reported as ever"))


def elsewhere(app):
    """Subprocesses and virtual environments."""
    inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', %r])" % HTTP
    mp.is_(app.run(["-c", inner]), "True\n", app.name("a subprocess is hooked too"))
    folder = os.path.join(mp.workdir(), "venv")
    if mp.run([app.python, "-m", "venv", "--without-pip", folder])[0]:
        return mp.skip(app.name("a virtual environment"), "the venv module is not there")
    python, app.python = app.python, os.path.join(folder, "bin/python")
    mp.is_(app.run(["-c", HTTP]), "True\n", app.name("a virtual environment is hooked"))
    app.python = python


def harmless(app):
    """Parts that are missing or do not load leave Python as it was."""
    copy = os.path.join(mp.workdir(), "lib/middlepipe/hooks/python")
    shutil.copytree(HOOK, copy)
    os.unlink(os.path.join(copy, "middlepipe_hook/_middlepipe.abi3.so"))
    mp.is_([app.run(["-c", HTTP], PYTHONPATH=copy), app.err], ["False\n", ""],
           app.name("without the extension"))
    shutil.rmtree(os.path.join(copy, "middlepipe_hook"))
    mp.is_([app.run(["-c", HTTP], PYTHONPATH=copy), app.err], ["False\n", ""],
           app.name("without the package"))
    mp.is_([app.run(["-c", HTTP], PYTHONPATH=copy + "/gone"), app.err], ["False\n", ""],
           app.name("without the folder"))

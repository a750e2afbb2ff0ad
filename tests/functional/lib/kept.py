# SPDX-License-Identifier: Apache-2.0
"""What a test leaves behind when it fails, so that somebody can look into it.

    path = os.path.join(kept.folder(), "history.jsonl")
    kept.say("again: MP_TEST_ROWS_SEEDS=7 tests/functional/77-rows-group.t")

folder() is $KEEP, or build/.../failed/TEST.  When the test fails, ends by an exception or
is ended (SIGTERM), all that its processes said and the files in its work folders are
put there, too, but for databases of etcd, and it says where.  When it passes, the folder
goes, unless $KEEP names it.  Called by the main thread.  Standard library only.
"""

import atexit
import os
import shutil
import signal
import stat
import sys

import etcd
import mp

FILE_MAX = 64 << 20  # bytes; nothing larger is kept
ETCD_DATABASE = "member"  # its folder in etcd's directory: 64 MiB each, and more

_folder = None
_owner = 0  # pid of the test: a forked child keeps nothing
_said = []
_settled = False


def folder():
    """The folder, which is empty unless $KEEP names it."""
    global _folder, _owner
    if _folder is None:
        name = os.path.basename(sys.argv[0]).removesuffix(".t")
        _folder, _owner = os.environ.get("KEEP") or os.path.join(mp.BUILD, "failed", name), os.getpid()
        if not os.environ.get("KEEP"):
            shutil.rmtree(_folder, ignore_errors=True)
        os.makedirs(_folder, exist_ok=True)
        mp.at_end.append(settle)
        _catch()
    return _folder


def say(text):
    """A line that is said when the test has failed."""
    if text not in _said:
        _said.append(text)


def _catch():
    """An end that is not mp.done() is a failure, told before anything is tidied up."""
    before = sys.excepthook

    def hook(*what):
        before(*what)
        settle(False)

    def ended(number, _):
        """Of that signal.  Tidied up here, since an exit would wait for other threads, which may never end."""
        settle(False)
        signal.signal(number, signal.SIG_DFL)
        atexit._run_exitfuncs()
        os.kill(os.getpid(), number)

    sys.excepthook = hook
    signal.signal(signal.SIGTERM, ended)
    atexit.register(settle, False)


def settle(passed):
    """The first call counts."""
    global _settled
    if _settled or os.getpid() != _owner:
        return
    _settled = True
    if passed:
        if not os.environ.get("KEEP"):
            shutil.rmtree(_folder, ignore_errors=True)
        return
    _processes()
    for path in mp.folders + etcd.folders:
        _copy(path, os.path.join(_folder, os.path.basename(path)))
    for line in ["kept: " + os.path.relpath(_folder), *_said]:
        mp.note(line)


def _processes():
    """What each said, in a file of its own, by the order in which they were started."""
    for number, one in enumerate(mp.processes):
        if one.out or one.err:
            name = "%03d-%s.log" % (number, os.path.basename(one.argv[0]))
            with open(os.path.join(_folder, name), "w", encoding="utf-8") as log:
                log.write("%s\npid %d, exit code %s\n\nstandard error:\n%s\nstandard output:\n%s" % (
                    " ".join(one.argv), one.pid, one.popen.poll(), one.err, one.out))


def _copy(source, target):
    """The files of a tree that are such, and not too large; what goes meanwhile has gone."""
    for where, folders, files in os.walk(source):
        if ETCD_DATABASE in folders:
            folders.remove(ETCD_DATABASE)
        for name in files:
            path = os.path.join(where, name)
            to = os.path.join(target, os.path.relpath(where, source))
            try:
                told = os.lstat(path)
                if stat.S_ISREG(told.st_mode) and told.st_size <= FILE_MAX:
                    os.makedirs(to, exist_ok=True)
                    shutil.copy2(path, to)
            except OSError as error:
                mp.note("not kept: %s: %s" % (path, error.strerror))

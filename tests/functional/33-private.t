#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the scheduler holds of its apps' traffic is kept from core files, from
other processes of its user, and from being executed.

Looked at through /proc: by root, who starts the scheduler as another user.
"""
import fcntl
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp
import survive

USER = 65534
F_GET_SEALS = 1034
MFD_NOEXEC_SEAL, F_SEAL_EXEC = 0x8, 0x20  # Linux 6.3
OBJECTS = {"middlepipe-board", "middlepipe-lane", "middlepipe-answers"}

mp.need(mp.SCHEDULER, survive.prog("load"), survive.prog("counting_service"), "setpriv")
if os.getuid():
    mp.skip_all("only root can look")
AS_USER = ["setpriv", "--reuid=%d" % USER, "--regid=%d" % USER, "--clear-groups"]
if mp.run(AS_USER + [mp.SCHEDULER, "--version"])[0]:
    mp.skip_all("another user cannot start the scheduler here")


def as_user(*words):
    """Whether a command of that user succeeds."""
    return mp.run(AS_USER + list(words))[0] == 0


def mappings(pid):
    """(name, flags of VmFlags) of each of its memfd mappings."""
    name, found = None, []
    with open("/proc/%d/smaps" % pid) as smaps:
        for line in smaps:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                part = re.search(r"/memfd:(\S+)", line)
                name = part and part.group(1)
            elif line.startswith("VmFlags:") and name:
                found.append((name, line.split()[1:]))
    return found


def memfds(pid):
    """(name, mode, seals) of each memfd that it has open."""
    found = []
    at = "/proc/%d/fd" % pid
    for number in os.listdir(at):
        path = os.path.join(at, number)
        try:
            part = re.match(r"/memfd:(\S+)", os.readlink(path))
            fd = os.open(path, os.O_RDONLY) if part else -1
        except FileNotFoundError:
            continue  # closed since they were listed
        if part:
            found.append((part.group(1), os.fstat(fd).st_mode, fcntl.fcntl(fd, F_GET_SEALS)))
            os.close(fd)
    return found


def seals_known():
    try:
        os.close(os.memfd_create("probe", os.MFD_CLOEXEC | MFD_NOEXEC_SEAL))
        return True
    except OSError:
        return False


folder = mp.workdir()
os.chown(folder, USER, USER)
os.chmod(folder, 0o755)
start = os.path.join(folder, "start")
with open(start, "w") as script:
    script.write("#!/bin/sh\nexec %s '%s' \"$@\"\n" % (" ".join(AS_USER), mp.SCHEDULER))
os.chmod(start, 0o755)
mp.SCHEDULER = start
service = survive.Service(mp.workdir())
chain = mp.chain_file(os.path.join(folder, "chain.json"),
                      mp.destination("svc", service.authority, survive.edits("mark", "A", 1, "A", "a")))
scheduler = mp.Scheduler(chain, folder=folder)
load = survive.Load(scheduler, service, folder, "--gap-us", 2000)
mp.wait_for(lambda: load.n["asked"] > 0, "a call that is asked")
worker = scheduler.worker()

mp.is_(os.stat("/proc/%d/mem" % scheduler.pid).st_uid, USER, "the supervisor is its user's")
mp.ok(as_user("cat", "/proc/%d/maps" % scheduler.pid), "who may look at it")
mp.is_(os.stat("/proc/%d/mem" % worker).st_uid, 0, "the worker is not dumpable: it is root's")
mp.ok(not as_user("cat", "/proc/%d/maps" % worker), "its user may not look at it")

found = mappings(worker)
mp.is_({name for name, _ in found}, OBJECTS, "it maps boards, lanes and answers")
mp.is_([name for name, flags in found if "dd" not in flags], [], "none of them would be in a core file")
mp.is_([name for name, flags in found if "ex" in flags], [], "none is executable")

found = memfds(worker)
mp.ok(found, "it has their descriptors")
if seals_known():
    mp.is_([name for name, mode, seals in found if mode & 0o111 or not seals & F_SEAL_EXEC], [],
           "which can never become executable")
else:
    mp.skip("which can never become executable", "Linux before 6.3")
mp.is_(load.finish()["failed"], 0, "no call failed")
mp.is_(scheduler.stop(), 0, "it ends well")
mp.done()

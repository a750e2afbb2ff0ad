# SPDX-License-Identifier: Apache-2.0
"""Small file systems, to be filled to the last block.

    why = smalldisk.enter()      # where mounts are the test's own; None, or why that cannot be
    disk = smalldisk.Disk(folder, 64 << 20)     # mounted at the folder: disk.kind is ext4 or tmpfs
    disk.fill(); disk.room()     # not a block is left; there are some again
    disk.close()

A file system is an ext4 in a file, or a tmpfs where that cannot be had.  What is mounted
goes with the processes of the test.  Standard library only.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import mp

MARK = "MP_TEST_MOUNTS"
REST = "the rest"  # the file that takes what is left
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"  # the images lie there: others' work does not slow them


def enter():
    """Goes on where mounts are this process's own; why not, where that cannot be."""
    if os.environ.get(MARK) == str(os.getpid()):
        return None
    words = ["unshare", "--mount"] + ([] if os.geteuid() == 0 else ["--map-root-user"])
    folder = mp.workdir()
    probe = subprocess.run([*words, "mount", "-t", "tmpfs", "-o", "size=64k", "none", folder],
                           capture_output=True, text=True)
    if probe.returncode:
        return "no mount: %s" % (probe.stderr.strip() or "needs root")
    os.rmdir(folder)
    os.environ[MARK] = str(os.getpid())
    os.execvp(words[0], [*words, sys.executable, *sys.argv])


class Disk:
    """A file system of `size` bytes at a folder, which is made when it is not there."""

    def __init__(self, folder, size):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=FAST, prefix="mpt-", delete=False) as out:
            out.truncate(size)
        words = [["mkfs.ext4", "-q", "-m", "0", out.name], ["mount", "-o", "loop", out.name, folder]]
        self.kind = "ext4"
        if not shutil.which("mkfs.ext4") or any(subprocess.run(one, capture_output=True).returncode for one in words):
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "none", folder], check=True)
            self.kind = "tmpfs"
        os.unlink(out.name)  # it goes when it is not mounted any more

    def fill(self):
        """Not a block is left for anybody."""
        with open(os.path.join(self.folder, REST), "ab", buffering=0) as out:
            size = 1 << 30
            while size >= 1 << 16:
                try:
                    at = out.seek(0, os.SEEK_END)
                    os.posix_fallocate(out.fileno(), at, size)
                except OSError:
                    size //= 2  # there is less than that
            for size in (1 << 12, 1 << 9):
                try:
                    while True:
                        out.write(bytes(size))
                except OSError:
                    pass  # it is full

    def room(self):
        """What fill() took is there again."""
        try:
            os.unlink(os.path.join(self.folder, REST))
        except FileNotFoundError:
            pass  # it was not full

    def close(self):
        subprocess.run(["umount", self.folder], check=True)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The demo sees what it says it sees: it passes, and it does not pass without the hooks."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import etcd  # noqa: E402
import mp  # noqa: E402


def demo(program="demo", **env):
    done = subprocess.run([os.path.join(mp.ROOT, "tools", program)], text=True, timeout=300,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=dict(os.environ, **env))
    for line in done.stdout.splitlines():
        mp.note(line)
    return done


seen = demo()
mp.ok(seen.returncode == 0, "the demo passes")
mp.ok(seen.stdout.count("7 of 7") == 3, "three programs went through seven stages each")
for name in ("Net::ProtocolError", "requests.ConnectionError", "fetch failed"):
    mp.ok(name in seen.stdout, "an exception is a %s" % name)

# As much of the second act as can be had here, and what is left without etcd.
for without in ("", "etcd"):
    rows = demo(program="demo-rows", MIDDLEPIPE_DEMO_WITHOUT=without)
    lost = "is stopped" if "no network namespaces here" in rows.stdout or "no etcd here" in rows.stdout else "is cut off"
    mp.ok(rows.returncode == 0, "the second act passes")
    mp.ok("all promises held" in rows.stdout and "is killed" in rows.stdout and lost in rows.stdout,
          "a member was killed, one %s, and the checker is content" % lost)
    mp.ok("no etcd here" in rows.stdout if without else "no etcd here" not in rows.stdout or not etcd.available(),
          "what cannot be had is said")
blind = demo(MIDDLEPIPE_DISABLED="1")
mp.ok(blind.returncode == 1, "without the hooks the demo fails")
mp.ok("FAILED" in blind.stdout, "and says so")
mp.done()

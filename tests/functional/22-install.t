#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""make install and make uninstall: what was installed works where it is, and goes again."""
import os
import shutil
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp

mp.need(mp.MIDDLEPIPE, mp.SCHEDULER)
if not shutil.which("make"):
    mp.skip_all("make is not installed")
folder = mp.workdir()
prefix = os.path.join(folder, "opt/mp")
middlepipe = os.path.join(prefix, "bin/middlepipe")
where = ["PREFIX=/mp", "DESTDIR=" + os.path.join(folder, "opt"), "B=" + os.environ.get("B", "build/release")]
PROGRAM = """
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
c.request("GET", "/")
print(c.getresponse().getheader("X-Seen"))
"""


def make(target):
    # Flags of a make above us are not for this one.
    return mp.run(["make", "-C", mp.ROOT, target, *where], deadline=300,
                  env=dict.fromkeys(("MAKEFLAGS", "MFLAGS", "MAKELEVEL"), None))


def files():
    return sorted(os.path.relpath(os.path.join(at, name), prefix)
                  for at, _, names in os.walk(prefix) for name in names)


code, out, err = make("install")
mp.is_(code, 0, "make install: %s" % err[-300:])
there = files()
for name in ("bin/middlepipe", "bin/mp-scheduler", "bin/mp-aggregator", "share/man/man8/mp-aggregator.8",
             "share/doc/middlepipe/rows-api.md", "share/doc/middlepipe/rows-openapi.yaml",
             "share/doc/middlepipe/alerts.yaml", "share/doc/middlepipe/README.md", "lib/libmiddlepipe.so.1", "lib/libmiddlepipe.so",
             "include/middlepipe/filter.h", "include/middlepipe/client.h",
             "share/man/man1/middlepipe.1", "share/man/man1/middlepipe-run.1",
             "share/man/man1/mp-scheduler.1", "lib/middlepipe/hooks/python/sitecustomize.py"):
    mp.ok(name in there, "there is %s" % name)

with open(os.path.join(prefix, "share/man/man8/mp-aggregator.8")) as page:
    text = page.read()
for option in ("--row-bytes", "--tenant-bytes", "--puts-per-second", "--group"):
    mp.ok(option.replace("-", "\\-") in text or option in text, "its man page has %s" % option)
sys.path.insert(0, os.path.join(mp.ROOT, "tests/functional/lib"))
import aggregator  # noqa: E402
aggregator.PROGRAM = os.path.join(prefix, "bin/mp-aggregator")
one = aggregator.Aggregator("installed").wait_ready()
mp.is_(one.put("a", "x")[0], 201, "the installed mp-aggregator takes a cell")
mp.is_(one.stop(), 0, "and stops")

service = mp.Service(reply=lambda r: {"headers": [("X-Seen", r.get("X-Mark") or "nothing")]})
chain = mp.chain_file(os.path.join(folder, "chain.json"),
                      mp.destination("svc", service.authority,
                                     mp.binding("mark", "headers", {"request_set": {"X-Mark": "seen"}})))
program = os.path.join(folder, "app.py")
with open(program, "w") as text:
    text.write(PROGRAM)
env = {"XDG_RUNTIME_DIR": folder}
code, out, err = mp.run([middlepipe, "run", "--chain", chain, "--budget", "1s", "--", mp.PYTHON, program,
                         str(service.port)], env=env)
mp.is_((code, out), (0, "seen\n"), "a call of an app goes through the chain: %s" % err)
mp.is_(make("uninstall")[0], 0, "make uninstall")
mp.is_(files(), [], "leaves nothing")
mp.done()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the guides say of sources holds: the examples compile and work, and what
a filter may not include is found by tools/layers."""
import os
import shlex
import shutil
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp

mp.need(mp.MIDDLEPIPE, mp.SCHEDULER, mp.LIBMIDDLEPIPE, "cc")
folder = mp.workdir()
INCLUDE = "-I" + os.path.join(mp.ROOT, "include")
STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
if "san" in os.path.basename(mp.BUILD):
    mp.skip_all("plain programs cannot load what a sanitizer has built")


def read(name):
    with open(os.path.join(mp.ROOT, name), encoding="utf-8") as text:
        return text.read()


def write(name, text, at=folder):
    path = os.path.join(at, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    return path


def cc(line, *more):
    """Runs a compiler's command line as a guide gives it, in the folder."""
    words = shlex.split(line)
    return mp.run([words[0], INCLUDE, *STRICT, *words[1:], *more], cwd=folder, deadline=120)


def build_tag():
    """The C block of the filter guide, compiled by the line below it."""
    section = read("docs/filter-guide.md").split("## The smallest useful filter")[1]
    lines = [line[4:] if line.startswith("    ") else line
             for line in section.split("\n## ")[0].splitlines()]
    start = lines.index("#include <middlepipe/filter.h>")
    command = next(line for line in lines if line.startswith("cc "))
    write("tag.c", "\n".join(lines[start:lines.index(command)]) + "\n")
    mp.is_(cc(command), (0, "", ""), "the filter of the guide: " + command)


def build_client():
    shutil.copy(os.path.join(mp.ROOT, "examples/client.c"), folder)
    command = next(line for line in read("examples/client.c").splitlines() if "\tcc " in line)
    command = command.lstrip(" *\t")
    lib = os.path.dirname(mp.LIBMIDDLEPIPE)
    mp.is_(cc(command, "-L" + lib, "-Wl,-rpath," + lib), (0, "", ""), "the example: " + command)


def use():
    """The client's call is asked about by the guide's filter."""
    code, out, err = mp.middlepipe("filters", "--filters-dir", folder, "tag")
    mp.ok(code == 0 and "sets a request field" in out, "middlepipe filters knows it: " + err)
    service = mp.Service()
    chain = mp.chain_file(os.path.join(folder, "chain.json"),
                          mp.destination("svc", service.authority, mp.binding("t", "tag")))
    mp.is_(mp.middlepipe("check", "--filters-dir", folder, chain)[0], 0, "middlepipe check too")
    scheduler = mp.Scheduler(chain, "--filters-dir", folder)
    host, port = service.authority.split(":")
    mp.is_(mp.run([os.path.join(folder, "client"), host, port, "/pay"], env=scheduler.env()),
           (0, "the service says 200\n", ""), "the example calls")
    mp.wait_for(lambda: scheduler.counters()["asked"] == 1, "the question in the status")
    mp.is_(scheduler.stop(), 0, "it ends well")


def layers():
    """tools/layers over a tree of a few files."""
    if not shutil.which("git"):
        mp.skip("layers", "git is not there")
        return
    tree = mp.workdir()
    tool = write("tools/layers", read("tools/layers"), tree)
    os.chmod(tool, 0o755)
    mp.run(["git", "init", "-q", tree])
    for name, text, want in (
            ("include/middlepipe/a.h", "#include <stdint.h>\n", None),
            ("include/middlepipe/a.h", "#include <unistd.h>\n", "<unistd.h>"),
            ("middlepipes/x/filter.c", "#include <middlepipe/a.h>\n#include <math.h>\n", None),
            ("middlepipes/x/filter.c", "#  include <sys/mman.h>\n", "<sys/mman.h>"),
            ("middlepipes/x/x.h", "#include <pthread.h> /* no */\n", "<pthread.h>"),
            ("middlepipes/catalog.c", "#include <dlfcn.h>\n", None),
            ("lib/a.c", "#include <unistd.h>\n#include \"scheduler/run.h\"\n", "lib \\(L1\\) includes scheduler")):
        path = write(name, text, tree)
        code, out, _ = mp.run([tool])
        if want:
            mp.ok(code != 0, "%s: %s" % (name, text.splitlines()[-1]))
            mp.like(out, "^%s:\\d+: .*%s" % (name, want), "is refused by its line")
        else:
            mp.is_((code, out), (0, "layers: ok\n"), "%s: %s" % (name, text.splitlines()[-1]))
        os.remove(path)


build_tag()
build_client()
use()
layers()
mp.done()

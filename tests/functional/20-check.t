#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""middlepipe check: right files, and every kind of wrongness with what is said of it."""
import glob
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp

CHAINS = os.path.join(mp.ROOT, "tests/data/chains")
mp.need(mp.MIDDLEPIPE)


def check(path, **more):
    return mp.middlepipe("check", path, **more)


# Right files, from a path and from standard input.
COUNTS = {"smallest": "0 destinations, 0 middlepipes", "example": "1 destination, 1 middlepipe",
          "matches": "1 destination, 0 middlepipes", "three": "2 destinations, 3 middlepipes"}
for name, counts in sorted(COUNTS.items()):
    path = "%s/good/%s.json" % (CHAINS, name)
    mp.is_(check(path), (0, "%s: ok: %s\n" % (path, counts), ""), "right: " + name)
with open(CHAINS + "/good/example.json") as text:
    mp.is_(mp.middlepipe("check", "-", input=text.read()),
           (0, "-: ok: 1 destination, 1 middlepipe\n", ""), "from standard input")

# Wrong ones: the mistakes are in a text beside each.
wrong = sorted(glob.glob(CHAINS + "/bad/*.json"))
mp.ok(len(wrong) >= 80, "there are dozens of wrong files")
for path in wrong:
    with open(path[:-len(".json")] + ".txt") as text:
        lines = text.read().splitlines()
    want = ["%s: %s" % (path, line) for line in lines]
    want.append("%s: %d mistake%s" % (path, len(lines), "" if len(lines) == 1 else "s"))
    code, out, err = check(path)
    mp.is_((code, out, err.splitlines()), (1, "", want), "wrong: " + os.path.basename(path))

# Every mistake has a place.
mp.ok(all(line.startswith("$") for path in wrong
          for line in open(path[:-len(".json")] + ".txt")), "each begins with a JSON path")

# What is no file, too long, or wrong usage.
code, out, err = check("/no/such/file")
mp.is_((code, out), (1, ""), "no such file")
mp.like(err, r"/no/such/file: No such file", "and why")
code, out, err = check(mp.ROOT)
mp.is_((code, out), (1, ""), "a folder")
folder = mp.workdir()
with open(folder + "/long.json", "w") as big:
    big.write('{"app":"a","destinations":[' + " " * 1100000 + "]}")
code, out, err = check(folder + "/long.json")
mp.is_(code, 1, "a file over 1 MiB")
mp.like(err, "1048576", "names the bound")
code, out, err = mp.middlepipe("check", "-", input="[" + " " * 1100000 + "]")
mp.is_(code, 1, "standard input over 1 MiB")
mp.like(err, "standard input.*1048576", "names the bound")
code, out, err = mp.middlepipe("check", "-", input="{}")
mp.like(err, r"standard input: \$\.app: is missing", "mistakes in standard input")
for words in ([], ["a", "b"], ["--nonsense", "a"]):
    code, out, err = mp.middlepipe("check", *words)
    mp.is_(code, 2, "wrong usage: %r" % words)
    mp.like(err, "Try 'middlepipe check --help'", "points at the help")
mp.is_(mp.middlepipe("check", "--help")[0], 0, "--help")

# A great many mistakes: all are counted, not all are printed.
with open(folder + "/many.json", "w") as many:
    many.write('{"app":"a","destinations":[' + ",".join(["3"] * 1000) + "]}")
code, out, err = check(folder + "/many.json")
mp.is_((code, len(err.splitlines()) <= 202, err.splitlines()[-1]),
       (1, True, folder + "/many.json: 1000 mistakes"), "1,000 mistakes")

mp.done()

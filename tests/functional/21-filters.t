#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""middlepipe filters, help, version and usage; the man pages."""
import json
import os
import shutil
import subprocess
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp

mp.need(mp.MIDDLEPIPE)
COMMANDS = ["run", "check", "filters", "explain", "status", "events", "override", "reset",
            "reload"]

# The list, and one filter, in words and as JSON.
code, out, err = mp.middlepipe("filters")
mp.is_((code, err), (0, ""), "the list")
mp.is_([line.split()[0] for line in out.splitlines()], ["TYPE", "breaker", "delay", "headers"],
       "names the built-in filters")
code, out, err = mp.middlepipe("filters", "--json")
filters = {one["type"]: one for one in json.loads(out)}
mp.is_(sorted(filters), ["breaker", "delay", "headers"], "as JSON")
for name, one in sorted(filters.items()):
    code, out, err = mp.middlepipe("filters", name)
    mp.is_((code, err), (0, ""), name)
    missing = [o["name"] for o in one["options"] if "\n  %s\n" % o["name"] not in out]
    mp.is_(missing, [], name + ": every option is told")
    mp.is_([o["name"] for o in one["options"] if not o["help"]], [], name + ": each has a help")
    mp.ok(all(len(line) <= 80 for line in out.splitlines() if " " in line.strip()),
          name + ": lines fit 80 columns")
    mp.is_(json.loads(mp.middlepipe("filters", "--json", name)[1]), one, name + " alone as JSON")

# The defaults are what a chain file may say.
folder = mp.workdir()
for name, one in sorted(filters.items()):
    config = {o["name"]: o["default"] for o in one["options"] if o["default"] is not None}
    path = mp.chain_file(folder + "/c.json", mp.destination("d", "h", mp.binding("m", name, config)))
    mp.is_(mp.middlepipe("check", path)[0], 0, name + ": its defaults can be written down")
error_percent = [o for o in filters["breaker"]["options"] if o["name"] == "error_percent"][0]
mp.is_((error_percent["default"], error_percent["min"], error_percent["max"]), (50, 0, 100),
       "error_percent as in Hystrix")
mp.like(error_percent["peers"], "Hystrix.*resilience4j", "with its counterparts")

code, out, err = mp.middlepipe("filters", "braker")
mp.is_((code, out), (1, ""), "no such filter")
mp.like(err, "did you mean breaker", "but a near one")

# Help and usage.
for command in COMMANDS:
    code, out, err = mp.middlepipe(command, "--help")
    mp.is_((code, err), (0, ""), command + " --help")
    mp.like(out, "^Usage: middlepipe %s " % command, "begins with the usage")
    mp.is_(mp.middlepipe("help", command), (0, out, ""), "help " + command)
    code, out, err = mp.middlepipe(command, "--nonsense")
    mp.is_((code, out), (2, ""), command + " --nonsense")
    mp.like(err, "unknown option", "says so")
code, out, err = mp.middlepipe("help")
mp.is_([c for c in COMMANDS if "\n  %s " % c not in out], [], "help lists every command")
mp.is_(mp.middlepipe("--help")[:2], (0, out), "--help likewise")
mp.is_(mp.middlepipe()[0], 2, "no command at all")
code, out, err = mp.middlepipe("statsu")
mp.is_(code, 2, "no such command")
mp.like(err, "did you mean status", "but a near one")
mp.like(mp.middlepipe("version")[1], r"^middlepipe \d+\.\d+\.\d+$", "version")
mp.is_(mp.middlepipe("--version"), mp.middlepipe("version"), "--version")

# Output that cannot be written is a failure.
with open("/dev/full", "w") as full:
    code = subprocess.run([mp.MIDDLEPIPE, "filters"], stdout=full,
                          stderr=subprocess.DEVNULL).returncode
mp.is_(code, 1, "a full disk")

# Man pages.
for command in [""] + COMMANDS:
    code, out, err = mp.middlepipe(*([command] if command else []), "--man")
    mp.is_((code, err), (0, ""), "man page of " + (command or "middlepipe"))
    mp.like(out, r"^\.TH ", "in roff")
    if shutil.which("groff"):
        code, _, err = mp.run(["groff", "-man", "-ww", "-Tutf8", "-z"], input=out)
        mp.is_((code, err), (0, ""), "without complaints")

mp.done()

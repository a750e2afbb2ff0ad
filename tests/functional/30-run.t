#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""middlepipe run: exit codes, environment, signals, nesting, cleaning up.
The terminal and job control are in 31-terminal.t."""
import json
import os
import shutil
import signal
import stat
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import mp

mp.need(mp.MIDDLEPIPE, mp.SCHEDULER)
folder = mp.workdir()
runtime = os.path.join(folder, "run")
os.mkdir(runtime, 0o700)
os.environ["XDG_RUNTIME_DIR"] = runtime
for name in ("MIDDLEPIPE_SOCK", "MIDDLEPIPE_CONTROL", "MIDDLEPIPE_BUDGET_MS"):
    os.environ.pop(name, None)
base = os.path.join(runtime, "middlepipe")
chain = mp.chain_file(folder + "/chain.json",
                      mp.destination("payments", "payments.internal:80", mp.binding("guard", "breaker")))


def run(*command, options=(), **more):
    return mp.middlepipe("run", "--chain", chain, *options, "--", *command, **more)


def left():
    """Folders of runs that are there."""
    return sorted(os.listdir(base)) if os.path.isdir(base) else []


def family(pid):
    """Pids of all descendants."""
    out = []
    for child in mp.children(pid):
        out += [child] + family(child)
    return out


# --------------------------------------------------------- the scheduler's limits

STATUS = mp.MIDDLEPIPE + " status --json"
code, out, err = run("sh", "-c", STATUS, env={"MIDDLEPIPE_LANES": "3", "MIDDLEPIPE_SLOTS": "5"})
lanes = json.loads(out)["lanes"]
mp.is_([lanes["limit"], lanes["slots"]], [3, 5], "variables set the scheduler's limits")
code, out, err = run("true", env={"MIDDLEPIPE_LANES": "0"})
mp.is_(code, 125, "a wrong one")
mp.like(err, "MIDDLEPIPE_LANES wants a number of 1 to 1024, not \"0\"", "is named, with what is allowed")

# ------------------------------------------------------------------ exit codes

mp.is_(run("true"), (0, "", ""), "success, without a word")
mp.is_(run("sh", "-c", "exit 42")[0], 42, "the command's exit code")
mp.is_(run("sh", "-c", "kill -TERM $$")[0], 128 + 15, "death by SIGTERM")
mp.is_(run("sh", "-c", "kill -KILL $$")[0], 128 + 9, "death by SIGKILL")
code, out, err = run("no-such-command-xyz")
mp.is_((code, out), (127, ""), "no such command")
mp.like(err, "no-such-command-xyz: command not found", "says so")
mp.is_(run(folder)[0], 126, "a folder as a command")
plain = os.path.join(folder, "plain")
with open(plain, "w") as text:
    text.write("echo script\n")
code, out, err = run(plain)
mp.is_(code, 126, "a file that is not executable")
mp.like(err, "plain: Permission denied", "says so")
os.chmod(plain, 0o755)
mp.is_(run(plain)[:2], (0, "script\n"), "a script without an interpreter line")

for words in (["--", "true"], ["--chain", chain], ["--chain", chain, "--"], ["--chain"],
              ["--chain", chain, "--budget", "0ms", "true"],
              ["--chain", chain, "--budget", "soon", "true"],
              ["--chain", chain, "--app", "a/b", "true"]):
    code, out, err = mp.middlepipe("run", *words)
    mp.is_((code, out), (2, ""), "wrong usage: %s" % " ".join(words).replace(folder, ""))

bad = os.path.join(mp.ROOT, "tests/data/chains/bad/many-mistakes.json")
code, out, err = mp.middlepipe("run", "--chain", bad, "--", "echo", "ran")
mp.is_((code, out), (125, ""), "a wrong chain file: the command does not run")
mp.like(err, r"\$\.epoch: wants an integer", "its mistakes are named")
mp.is_(mp.middlepipe("run", "--chain", "/no/such", "--", "true")[0], 125, "no chain file")
code, out, err = run("true", options=["--app", "other"])
mp.is_(code, 125, "a chain file for another app")
mp.like(err, 'is for the app "test", not for "other"', "says so")
mp.is_(left(), [], "nothing is left of all that")

# ----------------------------------------------------------- what the command sees

SHOW = "import json,os,sys; print(json.dumps([dict(os.environ), sys.argv[1:], os.getcwd()]))"


def seen(*args, options=(), env=None, **more):
    code, out, err = run(sys.executable, "-S", "-c", SHOW, *args, options=options,
                         env=env, **more)
    if code or err:
        mp.note("exit code %s: %s" % (code, err))
    return json.loads(out)


env, args, cwd = seen("a b", "", "--x", "--", "*", cwd="/")
mp.is_(args, ["a b", "", "--x", "--", "*"], "arguments as they are")
mp.is_(cwd, "/", "the working folder")
mp.like(env["MIDDLEPIPE_SOCK"], "^%s/test-[0-9]+/scheduler.sock$" % base, "MIDDLEPIPE_SOCK")
mp.like(env["MIDDLEPIPE_CONTROL"], "^%s/test-[0-9]+/control.sock$" % base, "MIDDLEPIPE_CONTROL")
mp.is_(env["MIDDLEPIPE_BUDGET_MS"], "5", "the budget is 5 ms")
mp.is_(seen(env={"MIDDLEPIPE_BUDGET_MS": "77"})[0]["MIDDLEPIPE_BUDGET_MS"], "77",
       "or as the environment says")
mp.is_(seen(options=["--budget", "1s"], env={"MIDDLEPIPE_BUDGET_MS": "77"})[0]
       ["MIDDLEPIPE_BUDGET_MS"], "1000", "or as the option says")
mp.is_(seen("x", options=["--app", "test"])[1], ["x"], "--app may be given")

# Hooks of our own, in a folder whose name is hard to write into a variable.
hooks = os.path.join(folder, "my \"ho:oks\"")
for path, text in (("ruby/middlepipe.rb", "$stdout.puts 'ruby hook'; $stdout.flush\n"),
                   ("python/sitecustomize.py", "print('python hook', flush=True)\n"),
                   ("node/middlepipe.cjs", "console.log('node hook')\n")):
    os.makedirs(os.path.dirname(os.path.join(hooks, path)), exist_ok=True)
    with open(os.path.join(hooks, path), "w") as out:
        out.write(text)
with open(folder + "/mine.js", "w") as out:
    out.write("console.log('mine')\n")
os.mkdir(folder + "/lib")
with open(folder + "/lib/mine.py", "w") as out:
    out.write("print('mine', flush=True)\n")
WITH = ["--hooks", hooks]
mp.is_(run(mp.PYTHON, "-c", "import mine; print('app')", options=WITH,
           env={"PYTHONPATH": folder + "/lib"})[:2], (0, "python hook\nmine\napp\n"),
       "Python loads its hook, and what PYTHONPATH had is still found")
if shutil.which(mp.RUBY):
    code, out, err = run(mp.RUBY, "-e", "puts $VERBOSE, 'app'", options=WITH, env={"RUBYOPT": "-w"})
    mp.is_((code, out), (0, "ruby hook\ntrue\napp\n"), "Ruby likewise, with RUBYOPT")
else:
    mp.skip("Ruby", "no ruby")
if shutil.which(mp.NODE):
    code, out, err = run(mp.NODE, "-e", "console.log('app')", options=WITH,
                         env={"NODE_OPTIONS": "--require " + folder + "/mine.js"})
    mp.is_((code, out), (0, "node hook\nmine\napp\n"), "Node.js likewise, with NODE_OPTIONS")
else:
    mp.skip("Node.js", "no node")
# The same when a shell and another run are between.
code, out, err = run(mp.MIDDLEPIPE, "run", "--chain", chain, *WITH, "--", mp.PYTHON, "-c",
                     "print('app')", options=WITH)
mp.is_((code, out), (0, "python hook\napp\n"), "nested: loaded once")
code, out, err = run("true", options=["--hooks", "/no/such"])
mp.is_(code, 125, "--hooks names no folder")
mp.is_(left(), [], "the links to hooks are gone")

# Descriptors and standard streams.
mp.is_(run("cat", input="through\n")[:2], (0, "through\n"), "standard input")
read, write = os.pipe()
process = mp.Run(chain, ["sh", "-c", "echo three >&%d" % write], pass_fds=[write])
os.close(write)
mp.is_(process.wait(), 0, "a further descriptor is handed on")
mp.is_(os.read(read, 100), b"three\n", "and works")
mp.is_(os.read(read, 100), b"", "nobody else holds it")
os.close(read)
code, out, err = mp.run(["sh", "-c", '"$0" run --chain "$1" -- sh -c "echo no input" <&-',
                         mp.MIDDLEPIPE, chain])
mp.is_((code, out), (0, "no input\n"), "standard input closed")

# --------------------------------------------------------------------- signals

TAKE = """
import os, signal, sys, time
def tell(text): # print() may not be used again while it is under way, and a signal may come just then
    os.write(1, (text + "\\n").encode())
def take(number, frame):
    tell("got " + signal.Signals(number).name)
    if number != signal.SIGUSR1:
        sys.exit(number)
for number in (%s):
    signal.signal(number, take)
tell("ready")
while True: # a signal may come just before a sleep, and is seen after it
    time.sleep(0.05)
"""
NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2]
for number in NUMBERS:
    process = mp.Run(chain, [sys.executable, "-S", "-c", TAKE % (
        ", ".join("signal." + n.name for n in NUMBERS + [signal.SIGUSR1]))])
    process.wait_out("ready\n")
    os.kill(process.pid, signal.SIGUSR1)
    process.wait_out("got SIGUSR1\n")
    os.kill(process.pid, number)
    mp.is_(process.wait(), int(number), number.name + " reaches the command")
    mp.is_(process.out, "ready\ngot SIGUSR1\ngot %s\n" % number.name, "once")
process = mp.Run(chain, ["sh", "-c", "trap '' HUP; exec sh -c 'echo ready; read x; echo $x'"],
                 stdin=-1)
process.wait_out("ready\n")
os.kill(process.pid, signal.SIGHUP)
os.kill(process.pid, signal.SIGHUP)
process.popen.stdin.write(b"alive\n")
process.popen.stdin.close()
mp.is_(process.wait(), 0, "an ignored SIGHUP is ignored")
mp.is_(process.out, "ready\nalive\n", "by both")
process = mp.Run(chain, ["sh", "-c", "echo ready; exec sleep 1000"])
process.wait_out("ready\n")
os.kill(process.pid, signal.SIGTERM)
mp.is_(process.wait(), 128 + 15, "a command without a handler dies of it")
code, out, err = mp.run(["sh", "-c", """trap '' INT; exec "$0" run --chain "$1" -- sh -c '
    kill -INT $$; echo survived'""", mp.MIDDLEPIPE, chain])
mp.is_((code, out), (0, "survived\n"), "a signal that was ignored before stays ignored")
code, out, err = run(sys.executable, "-S", "-c",
                     "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))")
mp.is_(out, "set()\n", "no signal is blocked in the command")

# ---------------------------------------------------------- scheduler and folder

process = mp.Run(chain, ["sh", "-c", "echo ready; read x"], stdin=-1)
process.wait_out("ready\n")
folders = left()
mp.is_(len(folders), 1, "one folder while it runs")
mode = os.stat(os.path.join(base, folders[0])).st_mode
mp.is_(stat.S_IMODE(mode), 0o700, "for its user alone")
control = mp.Control(os.path.join(base, folders[0], "control.sock"))
status = control.ok("GET", "/v1/status")
mp.is_(status["app"], "test", "the scheduler serves")
pids = [pid for pid in family(process.pid)]
mp.ok(status["pid"] in pids, "as a descendant")
mp.ok(all(os.getsid(pid) != os.getsid(process.pid) for pid in pids
          if open("/proc/%d/comm" % pid).read().strip() in ("mp-scheduler", "mp-worker")),
      "in a session of its own")
process.popen.stdin.close()
process.wait()
mp.is_([pid for pid in pids if mp.alive(pid)], [], "nothing of it is alive afterwards")
mp.is_(left(), [], "the folder is gone")

# Killed: the scheduler goes, too; the command goes on; the next run cleans up.
process = mp.Run(chain, ["sh", "-c", "echo ready $$; read x; echo done"], stdin=-1)
process.wait_out("ready")
command = int(process.out.split()[1])
pids = [pid for pid in family(process.pid) if pid != command]
mp.ok(len(pids) >= 2, "scheduler and worker are there")
os.kill(process.pid, signal.SIGKILL)
process.popen.wait()
mp.wait_for(lambda: not any(mp.alive(pid) for pid in pids), "end of the scheduler")
mp.ok(True, "a killed run takes its scheduler with it")
mp.ok(mp.alive(command), "but not the command")
mp.is_(len(left()), 1, "its folder is left")
mp.is_(run("true")[0], 0, "another run")
mp.is_(left(), [], "removes it")
process.popen.stdin.close()
mp.wait_for(lambda: not mp.alive(command), "end of the command")
process.wait() # for the rest of its output
mp.is_(process.out.split("\n")[1], "done", "the command ended by itself")

# The scheduler killed: told, and the command goes on.
process = mp.Run(chain, ["sh", "-c", "echo ready $$; read x; exit 3"], stdin=-1)
process.wait_out("ready")
command = int(process.out.split()[1])
supervisor = [pid for pid in mp.children(process.pid) if pid != command][0]
os.kill(supervisor, signal.SIGKILL)
process.wait_err("the scheduler ended (signal 9)")
process.popen.stdin.close()
mp.is_(process.wait(), 3, "the exit code is still the command's")
mp.is_(left(), [], "and the folder is gone")

# Folders that are not safe are not used.
os.chmod(base, 0o777)
code, out, err = run("sh", "-c", "echo $MIDDLEPIPE_SOCK")
if code == 0:
    mp.ok(not out.startswith(base), "a folder that is open to others is not used")
else:
    mp.like(err, "open to others", "a folder that is open to others is refused")
os.chmod(base, 0o700)

# -------------------------------------------------- a scheduler that does not start

other = os.path.join(folder, "other/bin")
os.makedirs(other)
shutil.copy(mp.MIDDLEPIPE, other)


def fake_scheduler(text):
    path = os.path.join(other, "mp-scheduler")
    with open(path, "w") as out:
        out.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)


START = [os.path.join(other, "middlepipe"), "run", "--chain", chain, "--hooks", hooks, "--",
         "echo", "ran"]
fake_scheduler("echo it is wrong >&2; exit 1\n")
code, out, err = mp.run(START)
mp.is_((code, out), (125, ""), "a scheduler that fails")
mp.like(err, "it is wrong\n.*the scheduler did not start", "its words are shown")
fake_scheduler("echo $$ >%s/pid; exec sleep 1000\n" % folder)
process = mp.Process(START)
mp.wait_for(lambda: os.path.exists(folder + "/pid") and open(folder + "/pid").read().strip(),
            "start of the scheduler")
silent = int(open(folder + "/pid").read())
os.kill(process.pid, signal.SIGTERM)
mp.is_((process.wait(), process.out), (125, ""), "told to end while it starts")
mp.ok(not mp.alive(silent), "it is ended")
mp.is_(left(), [], "and the folder is gone")

# --------------------------------------------------------------------- nesting

INNER = """
import json, os, subprocess, sys
inner = subprocess.run([os.environ["MP"], "run", "--chain", os.environ["CHAIN2"], "--", sys.executable,
    "-S", "-c", "import json, os; print(json.dumps(dict(os.environ))); raise SystemExit(9)"],
    stdout=subprocess.PIPE)
status = json.loads(subprocess.check_output([os.environ["MP"], "status", "--json"]))
print(json.dumps([dict(os.environ), json.loads(inner.stdout), inner.returncode, status["app"]]))
"""
second = mp.chain_file(folder + "/chain2.json", mp.destination("d", "d"), app="inner")
code, out, err = run(sys.executable, "-S", "-c", INNER,
                     env={"MP": mp.MIDDLEPIPE, "CHAIN2": second})
outer_env, inner_env, inner_code, app = json.loads(out)
mp.is_((code, inner_code), (0, 9), "nested: exit codes")
mp.ok(outer_env["MIDDLEPIPE_SOCK"] != inner_env["MIDDLEPIPE_SOCK"], "each has its scheduler")
mp.like(inner_env["MIDDLEPIPE_CONTROL"], "/inner-", "the inner one sees its own")
mp.is_(app, "test", "the outer one still its own")
for name in ("RUBYOPT", "PYTHONPATH", "NODE_OPTIONS"):
    mp.is_(inner_env.get(name), outer_env.get(name), name + " is not longer inside")
mp.is_(left(), [], "all is gone")

# ------------------------------------------------------------- several at once

one = mp.Run(chain, ["sh", "-c", "echo ready; read x"], stdin=-1)
two = mp.Run(second, ["sh", "-c", "echo ready; read x"], app="inner", stdin=-1)
one.wait_out("ready\n")
two.wait_out("ready\n")
code, out, err = mp.middlepipe("status")
mp.is_((code, out), (1, ""), "status with two runs")
mp.like(err, "several runs.*inner.*test", "lists them")
code, out, err = mp.middlepipe("status", "--app", "inner")
mp.is_(code, 0, "--app chooses")
mp.like(out, "^app inner, ", "the one")
code, out, err = mp.middlepipe("status", "--app", "none")
mp.is_(code, 1, "no run of that app")
two.popen.stdin.close()
two.wait()
mp.like(mp.middlepipe("status")[1], "^app test, ", "the only one needs no name")
one.popen.stdin.close()
one.wait()
code, out, err = mp.middlepipe("status")
mp.is_(code, 1, "no run at all")
mp.like(err, "no run is to be found", "says so")
mp.is_(mp.middlepipe("status", "--control", folder + "/none")[0], 1, "nobody at that socket")

mp.done()

# SPDX-License-Identifier: Apache-2.0
"""Loading: by environment only, silent, and inert without a scheduler."""

import os
import shutil

import mp
import node_harness as h

LOADED = ("const own = Object.keys(require.cache).map((f) => require('path').basename(f))"
          ".filter((f) => /^(middlepipe|calls|http|fetch|request|response|exchange)\\./.test(f));"
          "console.log(own.sort().join(' '));")
CORE = "calls.cjs fetch.cjs http.cjs middlepipe.cjs middlepipe.node"


def evaluate(app, code, script="", **env):
    return app.run(["-e", code], script, **env).strip()


def check(app):
    mp.is_(evaluate(app, LOADED), CORE, app.name("with a scheduler: what is loaded at first"))
    mp.is_(app.err, "", app.name("and nothing is said"))
    mp.is_(evaluate(app, LOADED, MIDDLEPIPE_SOCK=None), "middlepipe.cjs",
           app.name("without a scheduler nothing else is loaded"))
    mp.is_(evaluate(app, LOADED, MIDDLEPIPE_DISABLED="1"), "middlepipe.cjs",
           app.name("nor when it is disabled"))
    undici = "console.log(process.moduleLoadList.filter((m) => /undici/.test(m)).length)"
    mp.is_(evaluate(app, undici), evaluate(app, undici, MIDDLEPIPE_SOCK=None),
           app.name("undici is not loaded before the first fetch"))
    check_broken(app)
    check_kinds(app)
    check_others(app)
    check_untouched(app)


def check_broken(app):
    """Without its addon, or with one that cannot be loaded."""
    folder = os.path.join(mp.workdir(), "node")
    shutil.copytree(os.path.dirname(h.HOOK), folder)
    for what in ("broken", "missing"):
        addon = os.path.join(folder, "middlepipe.node")
        os.unlink(addon)
        if what == "broken":
            with open(addon, "wb") as out:
                out.write(b"not an addon")
        out = evaluate(app, "console.log('fine')",
                       NODE_OPTIONS="--require " + os.path.join(folder, "middlepipe.cjs"))
        mp.is_((out, app.err), ("fine", ""), app.name("an addon that is %s does no harm" % what))
        if what == "broken":
            continue
        open(addon, "w").close()


def check_kinds(app):
    """ESM, worker threads, child processes."""
    service = h.Recorder()
    esm = os.path.join(app.folder, "app.mjs")
    with open(esm, "w") as out:
        out.write("import { get } from 'node:http';\nimport https from 'https';\n"
                  "get('%s', (res) => { res.resume(); console.log(res.statusCode); })\n"
                  "  .on('error', (e) => console.log(e.code));\n" % service.url())
    mp.is_(app.run([esm], h.REFUSAL).strip(), "EMIDDLEPIPE", app.name("an ES module"))
    worker = ("const { Worker, isMainThread } = require('worker_threads');"
              "const get = () => require('http').get('%s', (r) => { r.resume(); console.log(r.statusCode); })"
              ".on('error', (e) => console.log(isMainThread, e.code));"
              "const own = { NODE_OPTIONS: process.env.NODE_OPTIONS };"
              "if (isMainThread) { get(); for (const env of [process.env, own])"
              " new Worker(__filename, { env }); } else get();" % service.url())
    path = os.path.join(app.folder, "worker.cjs")
    with open(path, "w") as out:
        out.write(worker)
    mp.is_(sorted(app.run([path], h.REFUSAL).split("\n")),
           ["", "false EMIDDLEPIPE", "false EMIDDLEPIPE", "true EMIDDLEPIPE"],
           app.name("worker threads, one with an environment of its own"))
    stopped = ("const { Worker } = require('worker_threads');"
               "const w = new Worker(`require('http').get('%s'); require('worker_threads')"
               ".parentPort.postMessage(1); setInterval(() => {}, 1000)`, { eval: true });"
               "w.once('message', () => w.terminate().then(() => console.log('stopped')));" % service.url())
    mp.is_(evaluate(app, stopped, "begin ASK\nask HOLD\nheld 100000\n"), "stopped",
           app.name("a worker thread that is stopped within a call"))
    mp.is_(len(app.ends()), len(app.told("begin")), app.name("whose call has ended"))
    code = ("const { fork, execFileSync } = require('child_process');"
            "if (process.argv[2] === 'child') require('http').get('%s')"
            ".on('error', (e) => console.log('child', e.code));"
            "else fork(__filename, ['child']);" % service.url())
    path = os.path.join(app.folder, "fork.cjs")
    with open(path, "w") as out:
        out.write(code)
    mp.is_(app.run([path], h.REFUSAL).strip(), "child EMIDDLEPIPE", app.name("child_process.fork"))
    mp.is_(service.take(), [], app.name("none of them reached the service"))
    leave = ("require('http').get('%s').on('socket', () => setImmediate(() => process.exit()));"
             % service.url())
    app.run(["-e", leave], "begin GO\n")
    mp.is_((app.err, len(app.told("begin"))), ("", 1), app.name("exit in the middle of a call"))


def check_others(app):
    """Beside a preload that patches the same prototype before us."""
    first = os.path.join(app.folder, "first.cjs")
    with open(first, "w") as out:
        out.write("const { prototype } = require('http').ClientRequest; const { emit } = prototype;"
                  "prototype.emit = function(...args) { globalThis.seen = (globalThis.seen ?? '') + args[0] + ' ';"
                  " return emit.apply(this, args); };")
    code = ("http.get('http://127.0.0.1:1').on('error', (e) =>"
            " console.log(e.code)).on('close', () => console.log(seen))")
    mp.is_(evaluate(app, code, "begin GO\n", NODE_OPTIONS="--require %s --require %s" % (first, h.HOOK)),
           "ECONNREFUSED\nsocket prefinish error close", app.name("another preload's emit is called"))
    mp.is_(app.ends(), [(0, h.REFUSED)], app.name("and ours"))


def check_untouched(app):
    """What an app could notice of the hook."""
    same = ("const d = Object.getOwnPropertyDescriptor(globalThis, 'fetch');"
            "console.log(fetch.name, fetch.length, d.enumerable, d.writable, d.configurable,"
            "typeof http.Agent.prototype.addRequest, http.ClientRequest.prototype.onSocket.length);")
    mp.is_(evaluate(app, same), evaluate(app, same, MIDDLEPIPE_SOCK=None),
           app.name("fetch and prototypes look alike"))
    for code, what in (("fetch().catch((e) => console.log(e.name, e.message))", "fetch()"),
                       ("fetch('http://[').catch((e) => console.log(e.name, e.message))", "a bad URL"),
                       ("http.get('http://127.0.0.1:1').on('error', (e) => console.log(e.code, e.port))",
                        "a refused connection"),
                       ("try { http.request({ path: 'a b' }) } catch (e) { console.log(e.code) }",
                        "a bad path"),
                       ("try { http.request({ agent: 1 }) } catch (e) { console.log(e.code) }",
                        "a bad agent")):
        mp.is_(evaluate(app, code, "begin GO\n"), evaluate(app, code, MIDDLEPIPE_SOCK=None),
               app.name("%s: the same error" % what))

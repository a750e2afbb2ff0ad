#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A group on somebody else's etcd that wants a user's name and password."""

import os
import sys

sys.path[:0] = [os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")]
import aggregator
import etcd
import mp

mp.need(aggregator.PROGRAM)
if not etcd.available():
    mp.skip_all(etcd.MISSING)

PASSWORD = "a password of some length"


def file_of(name, text):
    path = os.path.join(mp.workdir(), name)
    with open(path, "w") as out:
        out.write(text)
    return path


def member(name, password, user="rows", start=True):
    return aggregator.Aggregator(name, "--group", ",".join(group.urls), "--etcd-user", user, "--etcd-password-file", password,
                                 start=start)


group = etcd.Group(1)
group.wait()
for words in (("role", "add", "rows"), ("role", "grant-permission", "rows", "--prefix=true", "readwrite", "middlepipe/"),
              ("user", "add", "rows:" + PASSWORD), ("user", "grant-role", "rows", "rows"),
              ("user", "add", "root:root"), ("user", "grant-role", "root", "root"), ("auth", "enable")):
    etcd.ctl("--endpoints", group.urls[0], *words)

right, wrong = file_of("right", PASSWORD + "\n"), file_of("wrong", "another\n")
one = member("one", right).wait_ready()
mp.is_([one.put("row", text)[0] for text in ("a", "b")], [201, 201], "the password is the file's first line")
two = member("two", right).wait_ready()
mp.is_(two.put("row", "c")[1]["seq"], 3, "another member, with the same")
mp.is_(one.get("/v1/rows/row")[1]["highest"], 3, "linearizable reads")
mp.is_([each.stop() for each in (two, one)], [0, 0], "they stop")
code, _, said = mp.run(member("none", os.path.join(mp.workdir(), "none"), start=False).command(1), deadline=mp.DEADLINE)
mp.ok(code == 1 and "none" in said, "without the file it does not start: " + said.strip())
for what, other, why in (("a wrong password", member("wrong", wrong), "authentication failed"),
                         ("a user that there is not", member("nobody", right, user="nobody"), "authentication failed|user name")):
    other.process.wait_err("the engine is not well", mp.DEADLINE)
    mp.like(other.process.err, why, "%s: the log says why" % what)
    mp.ok(not other.ready(), "%s: it is not ready" % what)
    mp.like(other.get("/v1/status")[1]["engine"]["text"], why, "%s: so does the status" % what)
    mp.ok(PASSWORD not in other.process.err and "another" not in other.process.err, "%s: and no password is told" % what)
    mp.is_(other.stop(), 0, "%s: it stops" % what)
one.start().wait_ready()
mp.is_(one.get("/v1/rows/row")[1]["highest"], 3, "nothing of that has changed anything")
mp.is_(one.stop(), 0, "the end")
group.close()
mp.done()

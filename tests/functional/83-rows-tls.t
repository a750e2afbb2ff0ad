#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A managed group that speaks TLS everywhere: between members, between etcd's peers, to etcd and to clients.

Certificates of the one authority are needed at each door; files are exchanged while everything runs.
"""

import os
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib"))
import etcd
import mp
import rowdriver
from authority import Authority, context, replace
from managed import PROGRAM, Managed

mp.need(PROGRAM, rowdriver.PROGRAM, mp.MIDDLEPIPE, "openssl")
if not etcd.available():
    mp.skip_all(etcd.MISSING)

FOLDER = mp.workdir()
CA, OTHER = Authority(FOLDER, "ca"), Authority(FOLDER, "other")


class Secure(Managed):
    """A member with certificates in a folder of its own: cert.pem, key.pem, ca.pem."""

    def __init__(self, name, *options, start=True, ca=CA, **how):
        self.folder = os.path.join(FOLDER, "of-" + name)
        os.makedirs(self.folder, exist_ok=True)
        self.context = context(CA.cert, OPERATOR)
        self.show(ca.sign(name, "/CN=" + name, **how), CA.cert)
        words = [word for door in ("tls", "etcd") for part in ("cert", "key", "ca")
                 for word in ("--%s-%s" % (door, part), self.file(part))]
        super().__init__(name, *words, *options, start=start)

    def file(self, part):
        return os.path.join(self.folder, part + ".pem")

    def show(self, pair, ca=None):
        """From now on it shows that, and trusts that."""
        for part, path in (("cert", pair[0]), ("key", pair[1]), ("ca", ca)):
            if path:
                replace(self.file(part), path)

    def doors(self):
        """Ports of HTTP, of etcd for its clients, and of etcd for its peers."""
        return [int(self.address.rsplit(":", 1)[1])] + [
            int(self.etcd_flag("listen-%s-urls" % who).rsplit(":", 1)[1]) for who in ("client", "peer")]


OPERATOR = CA.sign("operator", "/CN=operator")


PATHS = ("/v1/status", "/health", "/version")  # behind the doors, in their order


def knock(port, path, how):
    """What a door says to a request: status, or a text why there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=mp.DEADLINE) as plain:
            with how.wrap_socket(plain, server_hostname="localhost") if how else plain as sock:
                sock.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
                return int((sock.recv(100) + b"0 0 ").split(b" ")[1])
    except (OSError, ValueError) as why:
        return getattr(why, "reason", None) or type(why).__name__


def serial(port):
    with socket.create_connection(("127.0.0.1", port), timeout=mp.DEADLINE) as plain:
        with context(CA.cert, OPERATOR).wrap_socket(plain, server_hostname="localhost") as sock:
            return int(sock.getpeercert()["serialNumber"], 16)


def join(at, name, *options, **how):
    return Secure(name, "--join", at.url, "--join-token", at.token(), *options, **how)


PUTS = [0]  # into each row


def put_once(one, row, text, key):
    """Until it is there: sent again with the base that it was given first, or it might be there twice."""
    fields = {"Idempotency-Key": key}

    def ask():
        status, told, _ = one.call("POST", "/v1/rows/%s/cells" % row, text, fields)
        if told["Middlepipe-Base"]:
            fields["Middlepipe-Base"] = told["Middlepipe-Base"]
        return status in (200, 201)
    mp.wait_for(ask, "a put at %s" % one.name)


def put_all(members, text):
    """A cell into each of 12 rows at each member: whoever owns them, most are taken to another."""
    PUTS[0] += len(members)
    for one in members:
        for number in range(12):
            put_once(one, "row%d" % number, text, "%s-%s-%d" % (text, one.name, number))


def counted(one):
    """Cells of each row; a member that has no answer in time is asked again."""
    def look(number):
        status, row = one.get("/v1/rows/row%d" % number)
        return row["highest"] if status == 200 else None
    return [mp.wait_for(lambda: look(number), "row %d" % number) for number in range(12)]


def part_group():
    one = Secure("m1").wait_ready()
    members = [one, join(one, "m2").wait_ready()]
    members.append(join(members[1], "m3").wait_ready())
    mp.wait_for(lambda: sum(each["votes"] for each in one.get("/v1/members")[1]["etcd"]) == 3, "three that vote")
    told = one.get("/v1/members")[1]
    urls = [each["url"] for each in told["members"]] + [each[name] for each in told["etcd"] for name in ("peer", "client")]
    mp.ok(len(urls) == 9 and all(url.startswith("https://") for url in urls), "three members, each with three doors of https")
    put_all(members, "first")
    mp.note("shards: %s" % [one.get("/v1/status")[1]["shards"]["owned"] for one in members])
    mp.is_(counted(members[2]), [3] * 12, "puts at any member arrive")
    return members


def part_refused(members):
    ways = (("no TLS at all", None), ("no certificate", context(CA.cert)),
            ("one of another authority", context(CA.cert, OTHER.sign("stranger", "/CN=m1"))),
            ("one that has expired", context(CA.cert, CA.sign("late", "/CN=m1", days="-1"))))
    for one in members:
        for name, how in ways:
            said = [knock(port, path, how) for port, path in zip(one.doors(), PATHS)]
            mp.ok(said[0] == (401 if how else 0) and not {200, 401, 404} & set(said[1:]), "%s, %s: %s" % (one.name, name, said))
        said = [knock(port, path, context(CA.cert, OPERATOR)) for port, path in zip(one.doors(), PATHS)]
        mp.is_(said, [200] * 3, "%s: the doors are open to the right one" % one.name)


def part_strangers(members):
    """Who has the wrong certificates does not come in, and says why; nothing is left of it in the group."""
    one = members[0]
    for name, ca, how, want in (("x1", OTHER, {}, "none of the authorities of .* has signed it"),
                                ("x2", CA, {"days": "-1"}, "a certificate in it has expired"),
                                ("x3", CA, {"usage": "serverAuth"}, "it has to be for servers and for clients")):
        code, err = join(one, name, ca=ca, start=False, **how).fails()
        mp.ok(code == 1, "%s ends" % name)
        mp.like(err, "/of-%s/cert.pem: %s" % (name, want), "and says why: " + err.strip().splitlines()[-1])
    fool = join(one, "x4", start=False)
    fool.show(CA.sign("x4", "/CN=x4"), OTHER.cert)
    code, err = fool.fails()
    mp.like(err, "none of the authorities", "one that trusts others: " + err.strip().splitlines()[-1])
    fool.show(OTHER.sign("x4", "/CN=x4"), OTHER.cert)
    process = mp.Process(fool.command(1))
    process.wait_err("not let in yet")
    mp.like(process.err, "certificate problem", "one of another world: " + process.err.splitlines()[0])
    process.kill()
    mp.is_(len(one.get("/v1/members")[1]["etcd"]), 3, "and nobody has come in")


def part_reload(members):
    """New certificates of the same authority, while cells are put."""
    for one in members:
        old = [serial(port) for port in one.doors()]
        one.show(CA.sign(one.name + "-2", "/CN=" + one.name))
        want = [CA.n] * 3
        mp.wait_for(lambda: [serial(port) for port in one.doors()] == want, "new certificates")
        mp.ok(old != want, "%s shows its new certificate at all doors" % one.name)
        put_all(members, "during-" + one.name)
    for one in members:
        one.kill()
        one.kill_etcd()
        one.start().wait_ready()
        put_all(members, "after-" + one.name)
    mp.is_(counted(members[0]), [PUTS[0]] * 12, "everything is there")


def part_expired(members):
    """One whose certificate has run out: it says so, the others go on, and a new one brings it back."""
    three = members[2]
    three.show(CA.sign("m3-3", "/CN=m3", days="-1"))
    three.process.wait_err("clients will not take the certificate")
    mp.ok("has expired" in three.process.err, "a running member says that its certificate has expired")
    three.kill_etcd()
    three.process.wait_err("peers of etcd will not take its certificate")
    put_all(members[:2], "expired")
    mp.ok(True, "the others go on")
    trusting = three.context
    three.context = ssl._create_unverified_context()  # to look at it nevertheless
    three.context.load_cert_chain(*OPERATOR)
    told = mp.wait_for(lambda: "https" in str(three.get("/v1/status")[1]["engine"].get("text")) and
                       three.get("/v1/status")[1], "the reason")
    mp.ok(not told["ready"] and not three.ready(), "it is not ready: %s, %s" % (told["why"], told["engine"]["text"]))
    three.context = trusting
    three.show(CA.sign("m3-4", "/CN=m3"))
    three.wait_ready()
    put_all(members, "renewed")
    mp.ok(True, "a new certificate brings it back, without a restart")
    three.stop()
    three.show(CA.sign("m3-5", "/CN=m3", days="-1"))
    code, err = three.fails()
    mp.ok(code == 1 and "has expired" in err, "it does not start with such a one: " + err.strip().splitlines()[-1])
    three.show(CA.sign("m3-6", "/CN=m3"))
    three.start().wait_ready()


def restart(one):
    mp.is_(one.stop(), 0, "%s stops" % one.name)
    one.start().wait_ready()


def part_rollover(members):
    """Another authority: first all trust both, then they show its certificates, then the old one goes."""
    new, both = Authority(FOLDER, "new"), os.path.join(FOLDER, "both.pem")
    with open(both, "w") as out:
        out.write(open(CA.cert).read() + open(new.cert).read())
    for one in members:
        replace(one.file("ca"), both)
        restart(one)  # etcd reads authorities at its start
        put_all(members, "both-" + one.name)
    operator = new.sign("operator-2", "/CN=operator")
    for one in members:
        one.show(new.sign(one.name + "-new", "/CN=" + one.name))
        one.context = context(both, operator)
        mp.wait_for(lambda: [knock(port, path, context(new.cert, operator)) for port, path in
                             zip(one.doors(), PATHS)] == [200] * 3, "the new authority's certificate")
        put_all(members, "new-" + one.name)
    mp.ok(True, "certificates of another authority come while everything runs")
    for one in members:
        replace(one.file("ca"), new.cert)
        restart(one)
        put_all(members, "only-" + one.name)
    said = [knock(port, path, context(new.cert, OPERATOR)) for port, path in zip(members[0].doors(), PATHS)]
    mp.ok(said[0] == 401 and not {200, 404} & set(said[1:]), "those of the old one are of no use any more: %s" % said)


def part_clients(members):
    client = rowdriver.Driver([one.url for one in members], "--ca", CA.cert, "--cert", OPERATOR[0], "--key", OPERATOR[1])
    told = [client.ask("put", "client/%d" % number, "x") for number in range(12)]
    mp.is_({one["outcome"] for one in told}, {"ok"}, "the C client puts")
    reader = client.do("subscribe", "client/1", 1)
    mp.wait_for(lambda: client.cells(reader) == [(1, "x")], "a cell")
    client.ask("put", "client/1", "y")
    mp.wait_for(lambda: client.cells(reader) == [(1, "x"), (2, "y")], "another cell")
    mp.is_(client.close(), 0, "and subscribes")
    for name, words, want in (("no certificate", ("--ca", CA.cert), "rejected"),
                              ("another authority", ("--ca", OTHER.cert, "--cert", OPERATOR[0], "--key", OPERATOR[1]),
                               "unavailable")):
        client = rowdriver.Driver([members[0].url], "--timeout", "1s", *words)
        told = client.ask("put", "client/1", "z")
        mp.is_(told["outcome"], want, "%s: %s" % (name, told["why"]))
        client.close()
    reach = ["--url", ",".join(one.url for one in members), "--ca", CA.cert, "--cert", OPERATOR[0], "--cert-key", OPERATOR[1]]
    mp.is_(mp.middlepipe("rows", "get", *reach, "client/1", "2")[1], "y", "middlepipe rows get")
    code, out, err = mp.middlepipe("rows", "doctor", *reach)
    mp.is_(code, 0, "middlepipe rows doctor: " + (err or out).strip().splitlines()[-1])


members = part_group()
part_refused(members)
part_clients(members)
part_strangers(members)
part_reload(members)
part_expired(members)
part_rollover(members)
mp.is_([counted(one) for one in members], [[PUTS[0]] * 12] * 3, "every cell is there, once")
mp.done()

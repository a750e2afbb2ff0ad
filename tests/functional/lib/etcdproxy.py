# SPDX-License-Identifier: Apache-2.0
"""A proxy between aggregators and etcd that delays, doubles and loses transactions.

    wire = etcdproxy.Wire(group.urls)   # etcd.Group's
    wire.urls                           # for --group
    wire.rule = rule                    # asked for each transaction; None: all pass

A rule gets a Txn and gives what is to be done with it: (name, seconds), or None.

    request   it reaches etcd only after that time, or that event, whether or not anybody waits for it by then
    gone      it reaches etcd only when nobody waits for it any more
    answer    it reaches etcd at once, its answer leaves after that time
    lost      it reaches etcd at once, and ends without an answer
    again     it reaches etcd twice, one behind the other; the second answer is given
    twice     likewise, but the second comes after that time, and the first answer is given

wire.counts says how often each was done; "late": how many changed something after
their asker had gone; "late twice": second ones of which etcd said that they
happened, too.  gRPC by python3-grpcio: messages pass as they are, what a rule may know is
read out of them by hand.
"""

import atexit
import concurrent.futures
import threading
import time
import urllib.parse

import grpc

TXN, WATCH = "/etcdserverpb.KV/Txn", "/etcdserverpb.Watch/Watch"
THREADS = 128  # calls at a time; a watch has one as long as it lasts


def fields(message):
    """(number, value) of each field of a message of protobuf: a number or bytes."""
    at = 0

    def varint():
        nonlocal at
        value, shift = 0, 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            value, at = message[at:at + value], at + value
        yield tag >> 3, value


class Txn:
    """What a rule may know of a transaction."""

    def __init__(self, message):
        self.compares = 0
        self.keys = []  # that it changes
        for number, value in fields(message):
            if number == 1:
                self.compares += 1
            elif number == 2:
                self._change(value)

    def _change(self, operation):
        for kind, change in fields(operation):
            if kind in (2, 3):  # a put, a delete
                self.keys.extend(value for number, value in fields(change) if number == 1)

    def changes(self, part):
        """One of the keys that it changes has that in its name."""
        return any(part in key for key in self.keys)


def happened(answer):
    """Does that answer to a transaction say so?"""
    return any(number == 2 and value for number, value in fields(answer))


class Wire:
    """A proxy before each of the etcd members at `urls`."""

    def __init__(self, urls):
        self.rule, self.counts, self.lock = None, {}, threading.Lock()
        self.over = threading.Event()
        self.urls, self.members = [], []
        for url in urls:
            member = Member(self, urllib.parse.urlsplit(url).netloc)
            self.members.append(member)
            self.urls.append("http://127.0.0.1:%d" % member.port)
        atexit.register(self.close)

    def close(self):
        self.over.set()
        for member in self.members:
            member.server.stop(0)

    def count(self, name):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + 1


class Member(grpc.GenericRpcHandler):
    """Before one of etcd's."""

    def __init__(self, wire, target):
        self.wire = wire
        self.channel = grpc.insecure_channel(target, [("grpc.enable_retries", 0),
                                                      ("grpc.initial_reconnect_backoff_ms", 50),
                                                      ("grpc.max_reconnect_backoff_ms", 200),
                                                      ("grpc.max_receive_message_length", -1)])
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(THREADS), [self],
                                  options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def service(self, details):
        if details.method == WATCH:
            return grpc.unary_stream_rpc_method_handler(self._watch)
        return grpc.unary_unary_rpc_method_handler(lambda request, context: self._call(details.method, request, context))

    def _watch(self, request, context):
        call = self.channel.unary_stream(WATCH)(request, metadata=metadata(context))
        context.add_callback(call.cancel)
        try:
            yield from call
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def _ask(self, method, request, context):
        return self.channel.unary_unary(method)(request, timeout=30, metadata=metadata(context))

    def _call(self, method, request, context):
        done = self.wire.rule(Txn(request)) if method == TXN and self.wire.rule else None
        try:
            if not done:
                return self._ask(method, request, context)
            self.wire.count(done[0])
            return getattr(self, "_do_" + done[0])(request, context, done[1])
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    # --------------------------------------------------------------------- faults

    def _wait(self, until):
        """So many seconds, or until that event; at most as long as the wire is there."""
        if not isinstance(until, threading.Event):
            self.wire.over.wait(until)
            return
        while not until.wait(0.02) and not self.wire.over.is_set():
            pass

    def _do_gone(self, request, context, _):
        while context.is_active() and not self.wire.over.wait(0.01):
            pass
        return self._do_request(request, context, 0)

    def _do_request(self, request, context, seconds):
        self._wait(seconds)
        gone = not context.is_active()
        answer = self._ask(TXN, request, context)
        if gone and happened(answer):
            self.wire.count("late")
        self.wire.count("request done")
        return answer

    def _do_answer(self, request, context, seconds):
        answer = self._ask(TXN, request, context)
        self.wire.over.wait(seconds)
        return answer

    def _do_lost(self, request, context, _):
        answer = self._ask(TXN, request, context)
        context.cancel()
        return answer  # which nobody gets

    def _do_again(self, request, context, _):
        self._ask(TXN, request, context)
        return self._ask(TXN, request, context)

    def _do_twice(self, request, context, seconds):
        answer = self._ask(TXN, request, context)
        threading.Thread(target=self._later, args=(request, context, seconds), daemon=True).start()
        return answer

    def _later(self, request, context, seconds):
        self.wire.over.wait(seconds)
        try:
            if happened(self._ask(TXN, request, context)):
                self.wire.count("late twice")
        except grpc.RpcError:
            self.wire.count("second lost")


def metadata(context):
    """What the asker said beside its message, as far as it is etcd's."""
    return [(key, value) for key, value in context.invocation_metadata() if key in ("hasleader", "token")]


def during(wire, rule):
    """Puts the rule in force; gives what ends it."""
    wire.rule = rule

    def end():
        wire.rule = None
    return end


def sometimes(rng, share, name, shortest, longest):
    """A rule: that share of all that change something under comparisons; the rng is its own."""
    lock = threading.Lock()

    def rule(txn):
        with lock:
            if not txn.keys or not txn.compares or rng.random() >= share:
                return None
            return name, rng.uniform(shortest, longest)
    return rule


def wait_count(wire, name, number, seconds=20.0):
    """Whether that was counted so often, in time."""
    end = time.monotonic() + seconds
    while wire.counts.get(name, 0) < number and time.monotonic() < end:
        time.sleep(0.01)
    return wire.counts.get(name, 0) >= number

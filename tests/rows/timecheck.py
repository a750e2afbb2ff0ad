# SPDX-License-Identifier: Apache-2.0
"""Time: is what a row answered the behaviour of one list that changes at single instants?

Why no search is needed.  Linearizability of a general object is NP-hard to
decide, because one must guess the order.  Here the answers say it: within one
life (incarnation) of a row a put of n cells at seq s turns the highest seq from
s - 1 into s + n - 1, and nothing else changes it.  So an order of all operations
must put them by position: the put at its last seq, a linearizable read of
highest h behind the put that ends at h and before the next.  Such an order
exists exactly when it does not contradict real time, that is, when for no two
operations a, b with a's return before b's invocation b stands in front of a.
(If there is no such pair, the union of both orders has no cycle: real time is an
interval order, and the shortest cycle of an interval order with a weak order has
two members.)  It is enough to compare each b with the greatest position among
all that had returned before b was invoked: one sweep over the sorted times.

What bounds an operation: a put that was acknowledged took effect between the
first invocation of an attempt that was not refused and the first 200 or 201; one
without an answer that is there anyway, at any time from that invocation on.  A
cell from a stale read or a subscription proves that its put took effect before
the answer, and demands nothing: such things are evidence without a demand.

Lives are ordered the same way: each is the interval of the row's existence in
which all of its operations took effect, so life I precedes J where something of I
returned before something of J was invoked.  Two lives that precede each other
overlap; the sum of the earliest return and the latest invocation is an order
that respects "precedes" where there is no such pair (see lives_in_order).
"""

import bisect

PUT, READ, SEEN, CELL, FINAL = range(5)  # what a demand or a piece of evidence is
WORSE = {READ: "stale", FINAL: "lost"}


def sweep(demands, evidence, found):
    """
    demands:  [(time of invocation, least seq that must still be free or must have been seen,
               kind, who)]; a put demands that nothing at or behind its first seq was there.
    evidence: [(time of return, seq that was there, kind, who)]
    found(name, demand, evidence) is called for each contradiction; name as verdict.NAMES.
    """
    evidence.sort(key=lambda one: one[0])
    demands.sort(key=lambda one: one[0])
    best_put = best_seen = (0, -1, None, None)
    at = 0
    for demand in demands:
        while at < len(evidence) and evidence[at][0] < demand[0]:
            one = evidence[at]
            if one[2] == PUT:
                best_put = one if one[1] > best_put[1] else best_put
            else:
                best_seen = one if one[1] > best_seen[1] else best_seen
            at += 1
        _judge(demand, best_put, best_seen, found)


def _judge(demand, best_put, best_seen, found):
    time, seq, kind, _ = demand
    if kind == PUT:
        if best_put[1] >= seq:
            found("reordered", demand, best_put)
        if best_seen[1] >= seq:
            found("future", demand, best_seen)
        return
    best = max(best_put, best_seen, key=lambda one: one[1])
    if best[1] > seq:
        found(WORSE[kind], demand, best)


def invoked_by(puts):
    """puts: [(time of the first invocation, cells)]; gives a function time -> cells at most."""
    puts = sorted(puts)
    times, sums, total = [one[0] for one in puts], [0], 0
    for _, cells in puts:
        total += cells
        sums.append(total)
    return lambda time: sums[bisect.bisect_right(times, time)]


def lives_in_order(spans, found):
    """
    spans: {life: (earliest return that shows it, latest invocation that met it alive)};
    gives the lives in an order that respects real time and calls found(life, life)
    for two that overlap.
    """
    order = sorted(spans, key=lambda life: sum(spans[life]))
    last = None  # the life with the latest invocation so far
    for life in order:
        if last is not None and spans[life][0] < spans[last][1]:
            found(last, life)
        if last is None or spans[life][1] > spans[last][1]:
            last = life
    return order

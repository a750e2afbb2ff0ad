# SPDX-License-Identifier: Apache-2.0
"""Which member of a group a shard is for (aggregator/rows/members.c).

    mp.wait_for(lambda: shards.settled(members), "each shard at its place")

Standard library only.
"""

import struct

MASK, P1, P2, P3, P4, P5 = (1 << 64) - 1, 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, \
    0x27D4EB2F165667C5


def xxh64(data, seed):
    """xxHash, as https://xxhash.com describes it."""
    def turn(value, n):
        return (value << n | value >> 64 - n) & MASK

    def mix(acc, lane):
        return turn((acc + lane * P2) & MASK, 31) * P1 & MASK
    at, left = 0, len(data)
    if left >= 32:
        accs = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        while left - at >= 32:
            accs = [mix(acc, lane) for acc, lane in zip(accs, struct.unpack_from("<4Q", data, at))]
            at += 32
        h = sum(turn(acc, n) for acc, n in zip(accs, (1, 7, 12, 18))) & MASK
        for acc in accs:
            h = ((h ^ mix(0, acc)) * P1 + P4) & MASK
    else:
        h = seed + P5
    h = (h + left) & MASK
    while left - at >= 8:
        h = (turn(h ^ mix(0, struct.unpack_from("<Q", data, at)[0]), 27) * P1 + P4) & MASK
        at += 8
    if left - at >= 4:
        h = (turn(h ^ struct.unpack_from("<I", data, at)[0] * P1 & MASK, 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = turn(h ^ byte * P5 & MASK, 11) * P1 & MASK
    for shift, by in ((33, P2), (29, P3), (32, 1)):
        h = (h ^ h >> shift) * by & MASK
    return h


def settled(members, n_shards=64):
    """All see each shard at whom it is for: none moves any more.  Of up to five members with the same checks."""
    names = [one.name for one in members]
    want = [max(names, key=lambda name: xxh64(name.encode(), shard)) for shard in range(n_shards)]
    return all([each["member"] for each in one.get("/v1/owners")[1].get("owners", ())] == want for one in members)

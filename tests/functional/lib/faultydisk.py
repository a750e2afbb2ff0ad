# SPDX-License-Identifier: Apache-2.0
"""mp-aggregator on a disk that fails when it is told to (tests/functional/prog/faulty_vfs.c).

    one = faultydisk.Aggregator("m1")
    one.order("tear", at=3, count=2)     # the next operations but three of SQLite's files
    one.order("dead", crash="some", seed=7)     # the power goes; the process with it
    one.well()
    one.counts()                         # {"tear": 2, "dropped": 17, ...} of all its lives

Standard library only.
"""

import collections
import os

import aggregator
import mp

PROGRAM = os.path.join(mp.TEST_BIN, "bin/mp-aggregator-faulty")
FAULTS = ("well", "error", "full", "tear", "forget", "dead")  # enum disk_fault
CRASHES = ("drops", "keeps", "some", "tears")  # enum disk_crash
OPERATIONS = ("any", "writes", "syncs")  # enum operation


class Aggregator(aggregator.Aggregator):
    """One alone; its orders lie in a folder beside its disk."""

    def __init__(self, name="m1", *options, data=None, start=True):
        self.orders = mp.workdir()
        super().__init__(name, *options, data=data, start=False)
        self.program = PROGRAM
        if start:
            self.start()

    def command(self, ready):
        return ["env", "MP_FAULTY_DISK=" + self.orders, *super().command(ready)]

    def order(self, fault, at=0, count=1, crash="drops", seed=0, what="any"):
        """Is taken with the next operation; one that was not taken is forgotten."""
        path = os.path.join(self.orders, "order")
        with open(path + ".new", "w") as out:
            out.write("%d %d %d %d %d %d\n" % (FAULTS.index(fault), at, count, CRASHES.index(crash), seed,
                                               OPERATIONS.index(what)))
        os.rename(path + ".new", path)

    def well(self):
        self.order("well")

    def untaken(self):
        """There is an order that waits for an operation."""
        return os.path.exists(os.path.join(self.orders, "order"))

    def counts(self):
        """How often each thing has happened, in all its lives."""
        total = collections.Counter()
        for name in os.listdir(self.orders):
            if name.startswith("counts."):
                with open(os.path.join(self.orders, name)) as text:
                    total.update({what: int(number) for what, number in map(str.split, text)})
        return total

# SPDX-License-Identifier: Apache-2.0
"""The client of rows as a process: prog/rows_client.c, driven by lines.

    client = rowdriver.Driver([one.url, two.url], "--timeout", "5s")
    told = client.ask("put", "chains/shop", "text")     # {"outcome": "ok", ...}
    reader = client.do("subscribe", "chains/shop", 1)
    client.cells(reader)                                # [(seq, text), ...]

Standard library only.
"""

import json
import os
import subprocess

import mp

PROGRAM = os.path.join(mp.TEST_BIN, "functional/prog/rows_client")


class Driver(mp.Process):
    """The client; do() writes a line."""

    def __init__(self, urls, *options, history=None):
        self.number, self.read, self.told = 0, 0, []
        words = ["--history", history] if history else []
        super().__init__([PROGRAM, *words, *options, *urls], stdin=subprocess.PIPE)

    def do(self, *words):
        self.popen.stdin.write((" ".join(str(word) for word in words) + "\n").encode())
        self.popen.stdin.flush()
        self.number += 1
        return self.number

    def all(self, number):
        """What was told of that line so far."""
        end = self.out.rfind("\n") + 1
        if end > self.read:
            self.told += [json.loads(line) for line in self.out[self.read:end].splitlines()]
            self.read = end
        return [one for one in self.told if one["id"] == number]

    def until(self, number, what, key="outcome", deadline=None):
        """The first that has that key."""
        def there():
            if not self.running():
                raise mp.Late("the client has ended: " + self.err)
            return next((one for one in self.all(number) if key in one), None)
        return mp.wait_for(there, what, deadline)

    def ask(self, *words, deadline=None):
        return self.until(self.do(*words), " ".join(str(word) for word in words), deadline=deadline)

    def cells(self, number):
        return [(one["seq"], one["cell"]) for one in self.all(number) if "cell" in one]

    def close(self):
        """Its exit code: 3 would be a handle that was left open."""
        self.popen.stdin.close()
        return self.wait()

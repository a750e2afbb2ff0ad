# SPDX-License-Identifier: Apache-2.0
"""`middlepipe rows` in tests.

    from rowscli import rows, good
    code, out, err = rows(one, "put", "greetings", "hello")   # one aggregator, several, or URLs
    good([one, two], "list")                                  # it has to succeed

Standard library only.
"""

import mp


def rows(at, command, *words, **more):
    """(exit code, standard output, standard error) of a command."""
    many = at if isinstance(at, (list, tuple)) else [at]
    url = ",".join(one if isinstance(one, str) else one.url for one in many)
    return mp.middlepipe("rows", command, "--url", url, *words, **more)


def good(at, command, *words, **more):
    """Standard output of a command that must succeed."""
    code, out, err = rows(at, command, *words, **more)
    if code:
        raise AssertionError("rows %s %s: %d %s" % (command, words, code, err))
    return out

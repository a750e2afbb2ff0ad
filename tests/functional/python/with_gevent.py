# SPDX-License-Identifier: Apache-2.0
"""Greenlets that share a thread while the chain makes one of them wait."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402
import urllib.request  # noqa: E402

import gevent  # noqa: E402

url, what = sys.argv[1], sys.argv[2:]


def call():
    return urllib.request.urlopen(url).status


if what == ["kill"]:
    one = gevent.spawn(call)
    gevent.sleep(0.05)
    one.kill()
    print("killed")
elif what == ["many"]:
    try:
        import urllib3

        manager = urllib3.PoolManager(maxsize=50)
        calls = [gevent.spawn(manager.request, "GET", url) for _ in range(50)]
    except ImportError:
        calls = [gevent.spawn(call) for _ in range(50)]
    print(sum(bool(one.get()) for one in calls))
else:
    one = gevent.spawn(call)
    ticked = gevent.spawn(lambda: [gevent.sleep(0.001) for _ in range(10)] and one.ready())
    print("late" if ticked.get() else "ticked")
    print(one.get())

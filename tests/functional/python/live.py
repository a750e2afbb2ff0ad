# SPDX-License-Identifier: Apache-2.0
"""Applications that do what applications do: threads, forks, ends in mid-call."""

import http.client
import os
import signal
import sys
import threading

# Which a socket imports when it is first connected.  CPython does not free the lock of an
# import that another thread was at when it forked: the child would wait for it forever.
import encodings.idna

mode, url = sys.argv[1:]
host = url.split("/")[2]


def calls(n=20):
    """Makes n calls on a connection of its own; returns how many were answered."""
    conn = http.client.HTTPConnection(host)
    good = 0
    for _ in range(n):
        conn.request("GET", "/")
        answer = conn.getresponse()
        good += answer.read() == b"ok\n" and answer.status == 200
    conn.close()
    return good


def in_threads(n, work=calls):
    found = []
    threads = [threading.Thread(target=lambda: found.append(work())) for _ in range(n)]
    for thread in threads:
        thread.start()
    return threads, found


def forked(n):
    """Calls in n children; returns how many were answered."""
    good = 0
    pids = []
    for _ in range(n):
        pid = os.fork()
        if pid == 0:
            os._exit(calls())
        pids.append(pid)
    for pid in pids:
        good += os.WEXITSTATUS(os.waitpid(pid, 0)[1])
    return good


if mode == "threads":
    threads, found = in_threads(64)
    for thread in threads:
        thread.join()
    print(sum(found))
elif mode == "pool":
    import urllib3

    manager = urllib3.PoolManager(maxsize=64)
    threads, found = in_threads(
        64, lambda: sum(manager.request("GET", url).data == b"ok\n" for _ in range(20)))
    for thread in threads:
        thread.join()
    print(sum(found))
elif mode == "fork":
    print(calls() + forked(4))
elif mode == "forkthreads":
    threads, found = in_threads(8)
    good = forked(4)
    for thread in threads:
        thread.join()
    print(good + sum(found))
elif mode in ("exit", "sysexit", "kill"):
    conn = http.client.HTTPConnection(host)
    conn.request("GET", "/")
    print("begun", flush=True)
    if mode == "exit":
        os._exit(0)
    if mode == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(0)
elif mode == "steady":
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    conn = http.client.HTTPConnection(host)
    made = failed = 0
    while not stop:
        try:
            conn.request("GET", "/")
            failed += conn.getresponse().read() != b"ok\n"
        except (OSError, http.client.HTTPException) as error:
            print(type(error).__name__, error, flush=True)
            failed += 1
            conn.close()
        made += 1
        if made % 20 == 0:
            print(made, "calls", flush=True)
    print(failed, "failed")

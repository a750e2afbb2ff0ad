# SPDX-License-Identifier: Apache-2.0
"""The Python client of the bench: keep-alive GETs with http.client.

    client.py URL

Reads a number a line on standard input, makes that many calls one after
another, and prints one JSON object: how many, p50 and p99 in microseconds, its
own CPU time in microseconds, and how many did not end with 200.  It knows
nothing of proxies or hooks.
"""
import gc
import http.client
import json
import sys
import time
import urllib.parse


def run(conn, path, calls):
    took, failed = [], 0
    cpu = time.process_time_ns()
    for _ in range(calls):
        start = time.perf_counter_ns()
        conn.request("GET", path, headers={"Accept": "application/json"})
        response = conn.getresponse()
        response.read()
        took.append(time.perf_counter_ns() - start)
        failed += response.status != 200
    cpu = time.process_time_ns() - cpu
    took.sort()
    return {"n": calls, "p50": took[calls // 2] / 1e3, "p99": took[calls * 99 // 100] / 1e3,
            "cpu": cpu / 1e3, "failed": failed}


def main():
    url = urllib.parse.urlsplit(sys.argv[1])
    conn = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
    for line in sys.stdin:
        gc.collect()
        print(json.dumps(run(conn, url.path, int(line))), flush=True)


main()

# SPDX-License-Identifier: Apache-2.0
"""A test suite that records its calls once and replays them from then on."""

import sys
import urllib.request

import vcr

with vcr.use_cassette(sys.argv[1], record_mode="once"):
    print(urllib.request.urlopen(sys.argv[2] + "urllib").read().decode())
    try:
        import requests
        import urllib3

        print(urllib3.PoolManager().request("GET", sys.argv[2] + "urllib3").data.decode())
        print(requests.get(sys.argv[2] + "requests").text)
    except ImportError:
        pass

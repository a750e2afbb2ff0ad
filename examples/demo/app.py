# SPDX-License-Identifier: Apache-2.0
# A program that knows nothing of Middlepipe: it calls a service and says what came of it.
import sys
import time

import requests

session = requests.Session()
while True:
    began = time.monotonic()
    try:
        outcome = "status %d" % session.get(sys.argv[1], timeout=5).status_code
    except requests.exceptions.RequestException as e:
        known = requests.ConnectionError if isinstance(e, requests.ConnectionError) else requests.RequestException
        outcome = "error %s < requests.%s: %s" % (type(e).__name__, known.__name__, e)
    print("%.1f\t%s" % ((time.monotonic() - began) * 1000, outcome), flush=True)
    time.sleep(0.1)

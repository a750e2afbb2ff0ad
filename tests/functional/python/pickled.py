# SPDX-License-Identifier: Apache-2.0
"""An application that sends the exceptions of its calls to another process."""

import http.client
import pickle
import sys


def raised(call):
    try:
        call()
    except Exception as error:
        return error


def by_http():
    host = sys.argv[1].split("/")[2]
    http.client.HTTPConnection(host).request("GET", "/")


errors = [raised(by_http)]
try:
    import requests

    errors.append(raised(lambda: requests.get(sys.argv[1])))
except ImportError:
    pass
for error in errors:
    copy = pickle.loads(pickle.dumps(error))
    print(copy.pipe, copy.retry_after)

# SPDX-License-Identifier: Apache-2.0
"""A test suite that doubles one service with `responses` and passes another through."""

import sys

import requests
import responses

with responses.RequestsMock() as double:
    double.add(responses.GET, "http://doubled.test/", body="doubled")
    double.add_passthru(sys.argv[1])
    for _ in range(2):
        print(requests.get("http://doubled.test/").text)
    try:
        print(requests.get(sys.argv[1]).text)
    except requests.ConnectionError as error:
        print(error.pipe)

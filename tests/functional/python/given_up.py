# SPDX-License-Identifier: Apache-2.0
"""Requests whose responses are never asked for, and misuse that must stay harmless."""

import http.client
import sys

host = sys.argv[1].split("/")[2]

conn = http.client.HTTPConnection(host)
conn.request("GET", "/")
conn.close()
print("closed")

conn = http.client.HTTPConnection(host)
conn.request("GET", "/")
del conn
print("dropped")

conn = http.client.HTTPConnection(host)
conn.request("GET", "/")
conn.getresponse().read()
try:
    conn.endheaders()
except http.client.CannotSendHeader:
    print("again")

conn.request("GET", "/")
try:
    conn.request("GET", "/")
except http.client.CannotSendRequest:
    print("broken")

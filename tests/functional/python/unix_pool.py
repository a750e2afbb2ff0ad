# SPDX-License-Identifier: Apache-2.0
"""A pool of connections to a Unix socket, as docker and others make it of urllib3."""

import socket
import sys

import urllib3


class Connection(urllib3.connection.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.unix_socket = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.unix_socket)


class Pool(urllib3.connectionpool.HTTPConnectionPool):
    def __init__(self, path):
        super().__init__("localhost")
        self.socket_path = path

    def _new_conn(self):
        return Connection(self.socket_path)


pool = Pool(sys.argv[1])
for _ in range(2):
    print(pool.urlopen("GET", "/pool").status)

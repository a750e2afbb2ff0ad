# SPDX-License-Identifier: Apache-2.0
"""A call that the user interrupts while the chain delays it."""

import os
import signal
import sys
import threading
import time
import urllib.request

naps = []
sleep = time.sleep


def watched(seconds):
    naps.append(seconds)
    threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT)).start()
    sleep(seconds)


time.sleep = watched
try:
    urllib.request.urlopen(sys.argv[1])
except KeyboardInterrupt:
    print("KeyboardInterrupt")

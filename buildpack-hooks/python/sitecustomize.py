# SPDX-License-Identifier: Apache-2.0
"""Loads Middlepipe's Python hook; found because its folder is on PYTHONPATH.

Python runs one sitecustomize only, the first on sys.path, so this one runs the
next.  It prints nothing, fails in silence, and without a scheduler's socket in
the environment imports nothing at all.
"""

import os
import sys


def _start():
    if not os.environ.get("MIDDLEPIPE_SOCK") or os.environ.get("MIDDLEPIPE_DISABLED") == "1":
        return
    try:
        import middlepipe_hook

        middlepipe_hook.start()
    except Exception:  # the application runs without us
        pass


def _next():
    """Runs the sitecustomize that would have run if this folder were not there."""
    here = os.path.realpath(os.path.dirname(os.path.abspath(__file__)))
    real = [os.path.realpath(p or os.curdir) for p in sys.path]
    ours = real.index(here) if here in real else -1
    others = [p for p, r in zip(sys.path[ours + 1 :], real[ours + 1 :]) if r != here]
    # Frozen modules that are loaded already: importlib itself need not be.
    finder = sys.modules["_frozen_importlib_external"].PathFinder
    spec = finder.find_spec(__name__, others)
    if spec is None or spec.loader is None or spec.origin is None:
        return
    module = sys.modules["_frozen_importlib"].module_from_spec(spec)
    sys.modules[__name__] = module
    spec.loader.exec_module(module)


_start()
_next()

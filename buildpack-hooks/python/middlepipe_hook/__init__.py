# SPDX-License-Identifier: Apache-2.0
"""Middlepipe's Python hook: patches HTTP client libraries once the app loads them.

start() is called by sitecustomize.  It loads no library itself: a finder in
front of sys.meta_path waits for the modules named below and patches each after
it has run.  A patch that fails leaves its library as it was.
"""

import sys

# What a module's name ends with, and our module that patches it.
_PATCHES = {
    "http.client": "stdlib",
    "urllib3.connectionpool": "pool",  # copies inside other packages too
    "requests.adapters": "adapter",
}
_TAILS = tuple(_PATCHES)


def _patch_for(name):
    """The patch of the module of that name, or None."""
    if not name.endswith(_TAILS):
        return None
    for tail, patch in _PATCHES.items():
        if name == tail or (tail != "http.client" and name.endswith("." + tail)):
            return patch
    return None


def _apply(name, module):
    """Patches a library that has just been loaded; twice does no harm."""
    try:
        # Not importlib: it may not be loaded, and need not be.
        package = __import__(__name__ + "." + name, fromlist=("patch",))
        package.patch(module)
    except Exception:  # an unknown version of the library, or no libmiddlepipe
        pass


class _Finder:
    """Finds what the other finders find, and patches it after it was executed."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        patch = _patch_for(fullname)
        if patch is None:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is cls or find is None:
                continue
            spec = find(fullname, path, target)
            if spec is not None:
                _follow(spec.loader, fullname, patch)
                return spec
        return None


def _follow(loader, fullname, patch):
    """Makes a loader patch the module of that name once it has executed it."""
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return

    def exec_module(module):
        execute(module)
        if module.__name__ == fullname:
            _apply(patch, module)

    try:
        loader.exec_module = exec_module
    except (AttributeError, TypeError):  # a loader without room: not followed
        pass


def start():
    """Begins to wait for the libraries, and patches those that are there already."""
    if _Finder in sys.meta_path:
        return
    sys.meta_path.insert(0, _Finder)
    for name in list(sys.modules):
        patch = _patch_for(name)
        if patch is not None:
            _apply(patch, sys.modules[name])

"""Forks amid imports and locks of other threads: nothing in the child waits for a thread that is not there.

A thread that imports a module holds the module's lock. A forked child has the lock and not the thread, so
that it would wait forever for a module whose import was in progress. The public names, and some libraries,
are imported on first use, which may be in any thread at any time. So a fork waits until such imports have
ended; one that has not by then is begun anew in the child.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - has hooks of its own, which must be there before the first fork
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

WAIT_SECONDS = 10.0
"""The longest time that a fork waits for imports of other threads."""

_POLL_SECONDS = 0.0005
_PACKAGES = {
    *("mediaref_ursa", "PIL", "adlfs", "av", "fsspec", "gcsfs", "h5py", "huggingface_hub", "lance", "numpy"),
    *("ossfs", "pandas", "pyarrow", "pydantic", "requests", "s3fs", "temporaldata", "torch", "torchcodec"),
}
"""This package and the libraries that it imports on first use."""

# Private to CPython and in all of its versions since 3.3; without it a fork does not wait.
_module_locks: MutableMapping[str, Any] = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})


@dataclass(frozen=True)
class _Hooks:
    before: Callable[[], object]
    after_in_parent: Callable[[], object]
    after_in_child: Callable[[], object]


_registered: list[_Hooks] = []
_this_fork = threading.local()


def register_at_fork(
    *,
    before: Callable[[], object],
    after_in_parent: Callable[[], object],
    after_in_child: Callable[[], object],
) -> None:
    """Register functions as ``os.register_at_fork`` does, for pairs of taking and releasing a lock.

    What is registered while a fork waits is not called in the parent: it took no lock. The standard
    library's function would call it. ``before`` is called when no import is in progress any more.
    """
    _registered.append(_Hooks(before, after_in_parent, after_in_child))


def imports_in_other_threads() -> list[str]:
    """Return the modules whose imports have begun and not ended in other threads.

    >>> imports_in_other_threads()
    []
    """
    own = threading.get_ident()
    locks = [(name, reference()) for name, reference in list(_module_locks.items())]
    return [name for name, lock in locks if getattr(lock, "owner", own) != own]


def is_importing(package: str) -> bool:
    """Return whether an import of a package has begun and not ended in this thread.

    >>> is_importing("mediaref_ursa")
    False
    """
    me = threading.get_ident()
    for name, reference in list(_module_locks.items()):
        if name.partition(".")[0] == package and getattr(reference(), "owner", None) == me:
            return True
    return False


def _has_to_wait() -> bool:
    return any(name.partition(".")[0] in _PACKAGES for name in imports_in_other_threads())


def _before() -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while _has_to_wait() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    _this_fork.hooks = []
    for hooks in reversed(_registered):
        hooks.before()
        _this_fork.hooks.append(hooks)


def _after_in_parent() -> None:
    for hooks in reversed(_this_fork.hooks):
        hooks.after_in_parent()


def _after_in_child() -> None:
    _forget_imports()
    for hooks in tuple(_registered):
        hooks.after_in_child()


def _forget_imports() -> None:
    """Let the child import anew what other threads of its parent had not finished to import.

    Whatever it was, the standard library's modules too: an import of ours may be waiting for it.
    """
    for name in imports_in_other_threads():
        _module_locks.pop(name, None)
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if getattr(spec, "_initializing", False):
            del sys.modules[name]


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

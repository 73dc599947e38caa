"""The registry of process-wide state, and the one hook by which a process forks.

Connections, threads, locks and caches belong to one process. Each module registers its own here, once; a fork
and ``cleanup_cache`` are loops over the registry.

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
import weakref
from collections.abc import MutableMapping
from typing import Any, Protocol, TypeVar

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


class ProcessState:
    """Process-wide state that must not cross a fork as it is. Subclasses override the methods that they need.

    Threads share an object of it; :func:`register` or :func:`register_while_alive` makes it known.
    """

    def close(self) -> None:
        """Release idle resources; called by ``cleanup_cache``. A resource in use stays with its thread."""

    def before_fork(self) -> None:
        """Take the state's lock in the parent before a fork, once no import is in progress."""

    def after_fork(self) -> None:
        """Release the lock of ``before_fork`` in the parent."""

    def forget(self) -> None:
        """Reset the state in a forked child, which has no other threads: new locks, no resources."""


class _Forgetful(Protocol):
    def forget(self) -> None: ...


S = TypeVar("S", bound=ProcessState)

_registered: list[ProcessState] = []
_while_alive: weakref.WeakSet[_Forgetful] = weakref.WeakSet()
_this_fork = threading.local()


def register(state: S) -> S:
    """Register a state for the life of the process, and return it.

    A state that is registered while a fork waits is not called in the parent: it took no lock.
    """
    _registered.append(state)
    return state


def register_while_alive(state: _Forgetful) -> None:
    """Call ``forget`` of a state in every forked child for as long as the object lives."""
    _while_alive.add(state)


def registered() -> tuple[ProcessState, ...]:
    """Return the states that live as long as the process, in the order of their registration."""
    return tuple(_registered)


def close_all() -> None:
    """Release the idle resources of every registered state, the highest layers first."""
    for state in reversed(registered()):
        state.close()


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
    _this_fork.states = []
    for state in reversed(registered()):
        state.before_fork()
        _this_fork.states.append(state)


def _after_in_parent() -> None:
    for state in reversed(_this_fork.states):
        state.after_fork()


def _after_in_child() -> None:
    _forget_imports()
    for state in (*registered(), *_while_alive):
        state.forget()


def _forget_imports() -> None:
    """Remove modules that other threads of the parent were importing, so that the child imports them anew.

    Whatever it was, the standard library's modules too: an import of ours may be waiting for it.
    """
    for name in imports_in_other_threads():
        _module_locks.pop(name, None)
        spec = getattr(sys.modules.get(name), "__spec__", None)
        if getattr(spec, "_initializing", False):
            del sys.modules[name]


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)

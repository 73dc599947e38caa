"""fsspec's file systems, shared by the threads of a process."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from mediaref_ursa._core.errors import InvalidReferenceError
from mediaref_ursa._core.extras import missing_package, needs_extra
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock

with needs_extra("cloud"):
    import fsspec
    import fsspec.asyn

T = TypeVar("T")

_MAX_FILESYSTEMS = 32
_ENVIRONMENT = ("AWS_", "AZURE_", "GOOGLE_", "R2_", "HF_", "OSS_")


class Frozen(tuple[tuple[str, Any], ...]):
    """A mapping as a sorted tuple of pairs: it can be hashed, compared and pickled."""

    __slots__ = ()


def freeze(value: Any) -> Any:
    """Return ``value`` with its mappings as sorted tuples and its lists as tuples.

    >>> freeze({"b": 1, "a": {"c": [2]}})
    (('a', (('c', (2,)),)), ('b', 1))
    """
    if isinstance(value, Frozen):
        return value
    if isinstance(value, Mapping):
        return Frozen((name, freeze(value[name])) for name in sorted(value))
    return tuple(freeze(part) for part in value) if isinstance(value, list | tuple) else value


def thaw(value: Any) -> Any:
    """Return a frozen value with its mappings as dictionaries again.

    >>> thaw(freeze({"b": 1, "a": {"c": 2}}))
    {'a': {'c': 2}, 'b': 1}
    """
    if isinstance(value, Frozen):
        return {name: thaw(part) for name, part in value}
    return tuple(thaw(part) for part in value) if isinstance(value, tuple) else value


class _Filesystems(ProcessState):
    """File systems of this process, by their options and environment. Safe for many threads."""

    def __init__(self) -> None:
        self._inherited: list[Any] = []
        self._begin()

    def _begin(self) -> None:
        self._lock = ShortLock()
        self._known: LruDict[Any, Any] = LruDict(_MAX_FILESYSTEMS)

    def get(self, protocol: str, options: dict[str, Any]) -> Any:
        """Return the file system made with the same options and environment, or a new one."""
        environment = tuple(pair for pair in sorted(os.environ.items()) if pair[0].startswith(_ENVIRONMENT))
        key = (protocol, freeze(options), environment)
        with self._lock:
            found = self._known.use(key)
            if found is None:
                # fsspec has a cache of its own, which a forked process would share connections by
                found = fsspec.filesystem(protocol, **options, skip_instance_cache=True)
                if hasattr(found, "_call_s3"):
                    found.retries = 1  # retries are the same for all stores, in _download/retry
                self._known[key] = found
            return found

    def close(self) -> None:
        """Close the connections of idle file systems at once, and those of one in use after its last caller.

        A file system of fsspec closes its session when it is finalized. Its methods refer to it in cycles, so
        that only a collection finalizes it.
        """
        with self._lock:
            idle, self._known = self._known, LruDict[Any, Any](_MAX_FILESYSTEMS)
        if idle:
            idle.clear()
            gc.collect()  # outside the lock: closing waits for the event loop

    def forget(self) -> None:
        """Forget the parent's file systems; called in a forked child.

        They are kept, unused: to be collected, or finalized at the end of the process, would close
        connections by an event loop whose selector is the parent's as well, and wait for a thread that
        is not here.
        """
        self._inherited += self._known.values()
        for finalizer in list(getattr(weakref.finalize, "_registry", ())):
            alive = finalizer.peek()
            if alive is not None and any(alive[0] is one for one in self._inherited):
                finalizer.detach()
        # fsspec's own hook forgets its event loop, but not its lock, which may have been held.
        fsspec.asyn.reset_lock()
        self._begin()


_filesystems = register(_Filesystems())


def shared_filesystem(protocol: str, options: dict[str, Any]) -> Any:
    """Return the file system of this process for some options; safe for many threads."""
    return _filesystems.get(protocol, options)


def with_limits(
    options: Mapping[str, Any], connect_timeout_seconds: float, read_timeout_seconds: float
) -> dict[str, Any]:
    """Add missing options of S3: time-outs, and that botocore does not retry.

    >>> with_limits({"config_kwargs": {"read_timeout": 5}}, 10, 30)["config_kwargs"]
    {'connect_timeout': 10, 'read_timeout': 5, 'retries': {'max_attempts': 0}}
    """
    limits = {
        "connect_timeout": connect_timeout_seconds,
        "read_timeout": read_timeout_seconds,
        "retries": {"max_attempts": 0},
    }
    return {**options, "config_kwargs": {**limits, **(options.get("config_kwargs") or {})}}


def call(filesystem: Any, name: str, seconds: float, *args: Any, **options: Any) -> Any:
    """Call a method of a file system, cancelled after some seconds if it is asynchronous."""
    if getattr(filesystem, "async_impl", False):
        return timed(filesystem, getattr(filesystem, f"_{name}"), seconds, *args, **options)
    return getattr(filesystem, name)(*args, **options)


def timed(
    filesystem: Any,
    function: Callable[..., Coroutine[Any, Any, T]],
    seconds: float,
    *args: Any,
    **options: Any,
) -> T:
    """Run a coroutine in the event loop of a file system, with a time-out."""
    found: T = fsspec.asyn.sync(filesystem.loop, function, *args, timeout=max(seconds, 0.001), **options)
    return found


def filesystem_class(protocol: str) -> Any:
    """Return fsspec's class for a protocol.

    Raises:
        MissingExtraError: The package that holds it is not installed.
        InvalidReferenceError: fsspec knows no such protocol.
    """
    try:
        return fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise missing_package(protocol, str(error)) from error
    except ValueError:
        raise InvalidReferenceError(f"fsspec knows no file system for {protocol}://") from None

"""fsspec's file systems, one of each kind a process, and their errors in our words."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import os
import re
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mediaref_ursa._errors import (
    InvalidReferenceError,
    MediaNotFoundError,
    MediaRefError,
    MissingExtraError,
    StoreError,
)
from mediaref_ursa._extras import needs_extra

with needs_extra("cloud"):
    import fsspec
    import fsspec.asyn

_MAX_FILESYSTEMS = 32
_SHOWN_CHARACTERS = 300
_PACKAGE_OF = {
    "s3": "s3fs",
    "gs": "gcsfs",
    "abfs": "adlfs",
    "adl": "adlfs",
    "hf": "huggingface_hub",
    "oss": "ossfs",
}
_IN_THE_EXTRA = frozenset({"s3fs"})
# Whose exceptions are errors of a store, though many are no OSError.
_LIBRARIES = (
    *("adlfs", "aiobotocore", "aiohttp", "azure", "boto3", "botocore", "fsspec", "gcsfs", "google"),
    *("httpcore", "httpx", "huggingface_hub", "oss2", "ossfs", "requests", "s3fs", "urllib3"),
)
_ENVIRONMENT = ("AWS_", "AZURE_", "GOOGLE_", "R2_", "HF_", "OSS_")
_QUERY = re.compile(r"(\?|%3F)[^\s\"'<>]*", re.IGNORECASE)
_TIMEOUTS = (TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError)  # one class since 3.11


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
    """Return what was frozen, its mappings as dictionaries again.

    >>> thaw(freeze({"b": 1, "a": {"c": 2}}))
    {'a': {'c': 2}, 'b': 1}
    """
    if isinstance(value, Frozen):
        return {name: thaw(part) for name, part in value}
    return tuple(thaw(part) for part in value) if isinstance(value, tuple) else value


class _Filesystems:
    """File systems of this process by what they were made with. Safe for many threads."""

    def __init__(self) -> None:
        self._inherited: list[Any] = []
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[Any, Any] = OrderedDict()

    def get(self, protocol: str, options: dict[str, Any]) -> Any:
        """Return the one that was made with the same options and environment, or a new one."""
        environment = tuple(pair for pair in sorted(os.environ.items()) if pair[0].startswith(_ENVIRONMENT))
        key = (protocol, freeze(options), environment)
        with self._lock:
            found = self._known.get(key)
            if found is None:
                # fsspec has a cache of its own, which a forked process would share connections by
                found = fsspec.filesystem(protocol, **options, skip_instance_cache=True)
                self._known[key] = found
                if len(self._known) > _MAX_FILESYSTEMS:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            return found

    def forget(self) -> None:
        """Leave the parent's file systems to the parent; called in a forked process.

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


_filesystems = _Filesystems()
os.register_at_fork(after_in_child=_filesystems.forget)


def shared_filesystem(protocol: str, options: dict[str, Any]) -> Any:
    """Return this process's file system; it may be used by many threads."""
    return _filesystems.get(protocol, options)


def filesystem_class(protocol: str) -> Any:
    """Return fsspec's class for a protocol.

    Raises:
        MissingExtraError: The package that holds it is not installed.
        InvalidReferenceError: fsspec knows no such protocol.
    """
    try:
        return fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        package = _PACKAGE_OF.get(protocol, "the package for it")
        more = "" if package in _IN_THE_EXTRA or protocol not in _PACKAGE_OF else f" {package}"
        raise MissingExtraError(
            f"{protocol}:// needs {package}, which cannot be imported;"
            f" it comes with: pip install 'mediaref-ursa[cloud]'{more}"
        ) from error
    except ValueError:
        raise InvalidReferenceError(f"fsspec knows no file system for {protocol}://") from None


@contextmanager
def mapped_errors(uri: str, secrets: Collection[str] = ()) -> Iterator[None]:
    """Turn what fsspec and the libraries below it raise into errors of this library.

    Their own texts are shortened, without queries of URLs and without ``secrets`` (read when there is an
    error); and their tracebacks are left out, since those would show them.

    Raises:
        MediaNotFoundError: There is no such object, or no such bucket.
        StoreError: Anything else that a store or the way to it objects to.
    """
    final: MediaRefError
    try:
        yield
        return
    except MediaRefError as error:
        error.uri = error.uri or uri
        raise
    except FileNotFoundError:
        final = MediaNotFoundError("the store has no such object, or no such bucket", uri=uri)
    except PermissionError as error:
        final = StoreError(f"the store refuses access ({_reason(error, secrets)}); {_HINT}", uri=uri)
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        hint = f"; {_HINT}" if "Credentials" in type(error).__name__ else ""
        final = StoreError(f"the store cannot be read: {_reason(error, secrets)}{hint}", uri=uri)
    raise final from None


_HINT = "are the credentials in storage_options or in the environment right?"


def _is_of_a_store(error: Exception) -> bool:
    """Say whether the world is to blame; mistakes of the caller and of this library are not hidden."""
    # NotImplementedError and RuntimeError are how fsspec says that a thread or an event loop is not right.
    if isinstance(error, (OSError, EOFError, ValueError, RuntimeError, *_TIMEOUTS)):
        return True
    return any(base.__module__.partition(".")[0] in _LIBRARIES for base in type(error).__mro__)


def is_past_the_end(error: BaseException) -> bool:
    """Say whether a store refused a range because it begins past the object's end."""
    link: BaseException | None = error
    while link is not None:
        response = getattr(link, "response", None)
        details = response.get("Error", {}) if isinstance(response, Mapping) else {}
        codes = {str(getattr(link, name, "")) for name in ("code", "error_code", "status", "status_code")}
        if codes & {"416", "InvalidRange"} or details.get("Code") in ("416", "InvalidRange"):
            return True
        link = link.__cause__
    return isinstance(error, OSError) and error.errno == errno.EINVAL and "range" in str(error).lower()


def _reason(error: BaseException, secrets: Collection[str]) -> str:
    """Return an error's class and the first line of its text, fit to be shown."""
    name = type(error).__name__
    try:
        text = getattr(error, "strerror", None) or str(error)
    except Exception:  # some classes cannot print themselves without what they were made with
        return name
    first = _QUERY.sub("", str(text).strip().partition("\n")[0])
    for secret in secrets:
        first = first.replace(secret, "***")
    return f"{name}: {first[:_SHOWN_CHARACTERS]}" if first else name

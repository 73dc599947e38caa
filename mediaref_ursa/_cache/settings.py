"""Settings of this process's range cache: its directory and its quota.

Operators set ``MEDIAREF_URSA_CACHE`` (a directory) and ``MEDIAREF_URSA_CACHE_LIMIT`` (``50GB``; ``0`` for no
cache). Programs and tests may set ``_DEFAULT_CACHE_DIR`` and ``_DEFAULT_CACHE_QUOTA_GB`` of this module,
which count more than the environment. All four are read when the cache is used.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import platformdirs

from mediaref_ursa._cache.disk_usage import EvictionResult
from mediaref_ursa._cache.entry import ObjectKey
from mediaref_ursa._cache.range_cache import CacheInfo, RangeCache, forget_warning
from mediaref_ursa._core.errors import CacheDirectoryWarning, StoreError
from mediaref_ursa._core.media_warnings import warn_once
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock

__all__ = [
    "CacheInfo",
    "EvictionResult",
    "ObjectKey",
    "RangeCache",
    "cache_directory",
    "cache_quota_bytes",
    "shared_range_cache",
]

DIRECTORY_VARIABLE = "MEDIAREF_URSA_CACHE"
LIMIT_VARIABLE = "MEDIAREF_URSA_CACHE_LIMIT"


def _temporary_directory() -> Path:
    """Return the cache directory of a user without a home directory, as in some containers."""
    return Path(tempfile.gettempdir()) / f"mediaref-ursa-segments-{os.geteuid()}"


def _platform_directory() -> Path:
    try:
        return platformdirs.user_cache_path("mediaref-ursa", appauthor=False) / "segments"
    except RuntimeError:  # HOME is not set, and the user has no entry in the password database
        return _temporary_directory()


_DEFAULT_CACHE_DIR: str | os.PathLike[str] = _platform_directory()
_DEFAULT_CACHE_QUOTA_GB: float = 50
_BUILT_IN = _DEFAULT_CACHE_DIR, _DEFAULT_CACHE_QUOTA_GB

_GB = 10**9
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?i?b)?", re.IGNORECASE)
_UNITS: Mapping[str, int] = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
}


def cache_directory() -> Path:
    """Return the range cache's directory, set by this module, the environment or the platform.

    Warns:
        CacheDirectoryWarning: It is a temporary one, since this user has no home; once a process.
    """
    directory = _DEFAULT_CACHE_DIR
    if directory == _BUILT_IN[0]:
        directory = os.environ.get(DIRECTORY_VARIABLE) or directory
    try:
        found = Path(directory).expanduser().absolute()
    except RuntimeError:
        found = _temporary_directory()
    if found == _temporary_directory():
        warn_once(
            CacheDirectoryWarning,
            "the cache is in this temporary directory, because the user has no home directory; to keep it, "
            f"set HOME, or name a directory in {DIRECTORY_VARIABLE}",
            uri=str(found),
        )
    return found


def cache_quota_bytes() -> int:
    """Return how many bytes the range cache may take on disk.

    Raises:
        StoreError: ``MEDIAREF_URSA_CACHE_LIMIT`` is no size.
    """
    limit = os.environ.get(LIMIT_VARIABLE)
    quota_gb = _DEFAULT_CACHE_QUOTA_GB
    if limit and quota_gb == _BUILT_IN[1]:
        return parse_size(limit)
    return max(0, int(quota_gb * _GB))


def parse_size(text: str) -> int:
    """Return a size in bytes: a number with B, KB, MB, GB, TB, or KiB to TiB; 0 needs no unit.

    Raises:
        StoreError: It is no such size.

    >>> parse_size("50GB"), parse_size("1.5 MiB"), parse_size("0")
    (50000000000, 1572864, 0)
    """
    match = _SIZE.fullmatch(text.strip())
    unit = _UNITS.get((match[2] or "").lower()) if match else None
    if match is not None and unit is None and Fraction(match[1]) == 0:
        return 0
    if match is None or unit is None:
        raise StoreError(
            f"expected a size such as 50GB or 500MB, or 0 for no cache, found {text[:40]!r}; "
            f"set {LIMIT_VARIABLE} anew"
        )
    return int(Fraction(match[1]) * unit)


class _Current(ProcessState):
    """The cache that was used last, and the lock under which a cache is made."""

    def __init__(self) -> None:
        self.caches: dict[bool, RangeCache] = {}
        self.forget()

    def forget(self) -> None:
        """Take a new, free lock; the cache resets its own state."""
        self.lock = ShortLock()


_current = register(_Current())


def shared_range_cache(*, allow_shared_dir: bool = False) -> RangeCache:
    """Return the cache that all stores of this process share, for the settings as they are now.

    Args:
        allow_shared_dir: Also where the directory is one that others own or may write in.

    Raises:
        StoreError: ``MEDIAREF_URSA_CACHE_LIMIT`` is no size.
    """
    directory, quota_bytes = cache_directory(), cache_quota_bytes()
    with _current.lock:
        cache = _current.caches.get(allow_shared_dir)
        if cache is None or (cache.directory, cache.quota_bytes) != (directory, quota_bytes):
            cache = RangeCache(directory, quota_bytes, allow_shared_dir)
            _current.caches[allow_shared_dir] = cache
        return cache


def _reset_cache_for_tests() -> None:
    """Reset this process's state of the cache, as if it had just started; files stay."""
    with _current.lock:
        _current.caches.clear()
    forget_warning()

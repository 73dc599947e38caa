"""``CachedStore``: any store, read through the range cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from mediaref_ursa._cache.settings import ObjectKey, RangeCache, shared_range_cache
from mediaref_ursa._cache.single_flight import Fetch
from mediaref_ursa._core.counters import count
from mediaref_ursa._core.errors import LimitExceededError, MediaChangedError, MediaNotFoundError, StoreError
from mediaref_ursa._core.etags import is_strong
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import register_while_alive
from mediaref_ursa._core.redaction import without_credentials
from mediaref_ursa._core.reentrancy import ShortLock
from mediaref_ursa._core.uris import is_local, without_query
from mediaref_ursa.store._download.range_download import ObjectVersion, validators_of
from mediaref_ursa.store._protocol import (
    ObjectInfo,
    ObjectStore,
    ReadsOneVersion,
    check_range,
    check_within,
    is_local_store,
)

_MAX_REMEMBERED = 4096
_ATTEMPTS = 3


class CachedStore:
    """A store whose ranges are cached on disk, so that a second epoch needs no network.

    Ranges are kept under the object's entity tag, which is asked for once and remembered; ``head`` always
    asks anew. What is fetched is of the version with that tag, or is not kept: the inner store reads one
    version (``get_ranges_of``), or else is asked for the tag again afterwards.

    Objects without an entity tag are kept under their length and time of change if the store reports both.
    Other objects, and local files, are read as if there were no cache. Threads may share a store.

    Args:
        inner: Where the bytes come from.
        cache: Where they are kept; the cache of this user without it.
    """

    def __init__(self, inner: ObjectStore, cache: RangeCache | None = None) -> None:
        self.inner = inner
        self._cache = cache
        self.forget()
        register_while_alive(self)

    def __repr__(self) -> str:
        return f"CachedStore({self.inner!r})"

    def __reduce__(self) -> tuple[type[CachedStore], tuple[ObjectStore, RangeCache | None]]:
        return CachedStore, (self.inner, self._cache)

    def forget(self) -> None:
        """Forget all entity tags, as a forked child and a pickled copy do."""
        self._lock = ShortLock()
        self._heads: LruDict[str, ObjectInfo] = LruDict(_MAX_REMEMBERED)

    def head(self, uri: str) -> ObjectInfo:
        """Ask the store itself, and remember the answer."""
        with self._forgetting(uri):
            info = self.inner.head(uri)
        with self._lock:
            self._heads[uri] = info
        return info

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order; only what is not on disk is fetched."""
        for offset, length in ranges:
            check_range(offset, length)
        if self._cache_for(uri) is None or not any(length for _, length in ranges):
            return self.inner.get_ranges(uri, ranges)
        for _ in range(_ATTEMPTS):
            info = self._remembered(uri)
            if object_key(uri, info) is None or any(sum(pair) > info.size for pair in ranges):
                break
            with suppress(MediaChangedError):
                return self.get_ranges_of(uri, info, ranges)
        return self.inner.get_ranges(uri, ranges)

    def get_ranges_of(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each range of the very object that ``info`` describes.

        The store is not asked for the object's tag: what is on disk under the tag of ``info`` is of that
        object, and what is fetched is held against it.

        Raises:
            MediaChangedError: Another version is there; nothing of it is kept.
        """
        check_within(uri, info, ranges)
        cache, key = self._cache_for(uri), object_key(uri, info)
        fetch = partial(self._fetched, uri, info)
        if cache is None or key is None or not any(length for _, length in ranges):
            return fetch(ranges)
        return _through(cache, key, ranges, fetch)

    def clear_ranges(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> None:
        """Remove some ranges of an object from the cache, so that they are fetched again."""
        cache, key = self._cache_for(uri), object_key(uri, info)
        if cache is not None and key is not None:
            cache.clear_ranges(key, ranges)

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole object, unless it is larger than ``max_bytes``."""
        cache = self._cache_for(uri)
        for _ in range(_ATTEMPTS if cache else 0):
            info = self._remembered(uri)
            key = object_key(uri, info)
            if key is None or info.size == 0 or (max_bytes is not None and info.size > max_bytes):
                break
            assert cache is not None
            with suppress(MediaChangedError):
                fetch = partial(self._fetched_whole, uri, info)
                return _through(cache, key, [(0, info.size)], fetch)[0]
        return self.inner.get(uri, max_bytes)

    def _cache_for(self, uri: str) -> RangeCache | None:
        """Return the cache to use; None for a local file, or if the cache is disabled."""
        if is_local(uri):
            return None
        cache = self._cache if self._cache is not None else shared_range_cache()
        return cache if cache.quota_bytes else None

    def _fetched(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Fetch ranges of the object that ``info`` describes, and of no other."""
        with self._forgetting(uri):
            if isinstance(self.inner, ReadsOneVersion):
                return self.inner.get_ranges_of(uri, info, ranges)
            return self._checked(uri, info, lambda: self.inner.get_ranges(uri, ranges))

    def _fetched_whole(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Fetch ranges, or the object in one request where nothing of it is on disk."""
        if isinstance(self.inner, ReadsOneVersion) or list(ranges) != [(0, info.size)]:
            return self._fetched(uri, info, ranges)
        with self._forgetting(uri):
            return self._checked(uri, info, lambda: [self.inner.get(uri, info.size)])

    def _checked(self, uri: str, info: ObjectInfo, read: Callable[[], list[bytes]]) -> list[bytes]:
        """Read, then check the object's version, so that only bytes of the object of ``info`` are returned.

        Raises:
            MediaChangedError: Another version is there, also if reading failed because of it.
        """
        version = ObjectVersion(uri, info)
        try:
            data = read()
        except MediaNotFoundError:
            raise
        except (StoreError, LimitExceededError):  # perhaps the object is a shorter or a longer one by now
            version.admit(validators_of(self.inner.head(uri)))
            raise
        version.admit(validators_of(self.head(uri)))
        return data

    def _remembered(self, uri: str) -> ObjectInfo:
        with self._lock:
            known = self._heads.use(uri)
        return known or self.head(uri)

    @contextmanager
    def _forgetting(self, uri: str) -> Iterator[None]:
        """Forget an object's entity tag if the block fails: the object may have been replaced."""
        try:
            yield
        except (StoreError, LimitExceededError):
            self._forget(uri)
            raise

    def _forget(self, uri: str) -> None:
        with self._lock:
            self._heads.pop(uri, None)


def _through(
    cache: RangeCache, key: ObjectKey, ranges: Sequence[tuple[int, int]], fetch: Fetch
) -> list[bytes]:
    """Read ranges through the cache, and count the bytes that it held."""
    fetched_bytes = 0

    def counted(missing: Sequence[tuple[int, int]]) -> list[bytes]:
        nonlocal fetched_bytes
        blobs = list(fetch(missing))
        fetched_bytes += sum(len(blob) for blob in blobs)
        return blobs

    blobs = cache.get_ranges(key, ranges, counted)
    count(bytes_from_cache=max(0, sum(len(blob) for blob in blobs) - fetched_bytes))
    return blobs


def cached(store: ObjectStore, cache: RangeCache | None = None) -> ObjectStore:
    """Return a store that reads through the range cache; a local store is returned unchanged.

    Args:
        store: Where the bytes come from.
        cache: Where they are kept; the cache of this user without it.

    >>> from mediaref_ursa.store import LocalStore
    >>> cached(LocalStore())
    LocalStore()
    """
    return store if is_local_store(store) or isinstance(store, CachedStore) else CachedStore(store, cache)


def object_key(uri: str, info: ObjectInfo) -> ObjectKey | None:
    """Return the object's key in the range cache; None if its versions cannot be distinguished.

    A signature in the query differs from day to day, so the query is no part of the key. Where it may be the
    query that chooses the object, only an entity tag distinguishes objects.

    >>> object_key("https://me:secret@host/a.mp4?signature=1", ObjectInfo(5, '"abc"', None))
    ObjectKey(uri='https://host/a.mp4', etag='"abc" 5')
    >>> object_key("https://host/a.mp4", ObjectInfo(5, None, None)) is None
    True
    """
    location = without_query(without_credentials(uri))
    if is_strong(info.etag):
        return ObjectKey(location, f"{info.etag} {info.size}")
    # A weak tag stays the same for bytes that mean the same (RFC 9110, 8.8.1): it does not do alone.
    if info.modified is None or without_query(uri) != uri:
        return None
    return ObjectKey(location, f"{info.etag or ''} {info.size} {info.modified!r}")

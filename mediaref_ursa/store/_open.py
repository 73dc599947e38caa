"""The store that serves a URI: the caller's own, or one by its scheme, read through the range cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mediaref_ursa._cache.settings import RangeCache, shared_range_cache
from mediaref_ursa._core.extras import check_packages_of
from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock
from mediaref_ursa._core.uris import is_local, is_remote, scheme_of, split_blob
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa.store import ObjectStore, store_for
from mediaref_ursa.store._cached import cached

_STORES_KEPT = 64


class _Stores(ProcessState):
    """The stores that were chosen by scheme, least recently used dropped first. Threads share it."""

    def __init__(self) -> None:
        self._lock = ShortLock()
        self.close()

    def forget(self) -> None:
        self._lock = ShortLock()

    def close(self) -> None:
        self._kept: LruDict[tuple[object, ...], ObjectStore] = LruDict(_STORES_KEPT)

    def get(self, key: tuple[object, ...], make: Callable[[], ObjectStore]) -> ObjectStore:
        """Return the store of a key, made by the first caller."""
        with self._lock:
            found = self._kept.use(key)
        if found is None:
            found = make()
            with self._lock:
                self._kept[key] = found
        return found


_stores = register(_Stores())


def open_store(
    uri: str,
    store: ObjectStore | None = None,
    storage_options: Mapping[str, Any] | None = None,
    access: Access = TRUSTED,
) -> ObjectStore:
    """Return the store of ``uri``, read through the range cache if it is remote.

    Remote objects are read through the range cache. A store that is chosen by scheme is
    the same one for the same options, so that it remembers what it learnt of its objects.

    Args:
        uri: What is to be read.
        store: The caller's own.
        storage_options: For the store of a cloud scheme.
        access: Which schemes and hosts are served.

    Raises:
        InvalidReferenceError: The scheme is not served.
        MissingExtraError: The package of the scheme is not installed.
        StoreError: Others may write in the directory of the range cache.
    """
    access.check_scheme(uri, has_own_store=store is not None)
    if store is not None:
        return cached(store, _shared_cache(access))
    is_blob = split_blob(uri) is not None
    if not (is_local(uri) or is_remote(uri) or is_blob):
        check_packages_of(scheme_of(uri), uri)
    given = repr(sorted((storage_options or {}).items(), key=repr))
    cache = None if is_local(uri) else _shared_cache(access)
    schemes = None if access.allow_schemes is None else tuple(sorted(access.allow_schemes))
    key: tuple[object, ...] = (
        scheme_of(uri),
        given,
        access.private_hosts,
        access.max_redirects,
        schemes,
        cache,
    )
    if is_blob:  # its store keeps to all of the access
        key += (access,)
    return _stores.get(key, lambda: cached(store_for(uri, storage_options, access), cache))


def _shared_cache(access: Access) -> RangeCache | None:
    """Return a cache in a given directory that other users may write in, None for the default cache."""
    return shared_range_cache(allow_shared_dir=True) if access.allow_shared_cache_dir else None

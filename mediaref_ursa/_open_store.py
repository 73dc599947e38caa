"""The store that serves a URI: the caller's own, or one by its scheme, read through the segment cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from mediaref_ursa._uris import scheme_of
from mediaref_ursa.store import ObjectStore, store_for
from mediaref_ursa.store._cached import cached

_STORES_KEPT = 64
_stores: OrderedDict[tuple[str, str], ObjectStore] = OrderedDict()


def forget_stores() -> None:
    """Let the stores that were chosen by scheme go."""
    _stores.clear()


def open_store(
    uri: str, store: ObjectStore | None = None, storage_options: Mapping[str, Any] | None = None
) -> ObjectStore:
    """Return where the bytes of ``uri`` come from.

    What is not on this machine is read through the segment cache. A store that is chosen by scheme is
    the same one for the same options, so that it remembers what it learnt of its objects.

    Args:
        uri: What is to be read.
        store: The caller's own.
        storage_options: For the store of a cloud scheme.
    """
    if store is not None:
        return cached(store)
    key = scheme_of(uri), repr(sorted((storage_options or {}).items(), key=repr))
    found = _stores.get(key)
    if found is None:
        found = cached(store_for(uri, storage_options))
        _stores[key] = found
        while len(_stores) > _STORES_KEPT:
            _stores.popitem(last=False)
    return found

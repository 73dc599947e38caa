"""The store that serves a URI: the caller's own, or one by its scheme."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mediaref_ursa.store import ObjectStore, store_for


def open_store(
    uri: str, store: ObjectStore | None = None, storage_options: Mapping[str, Any] | None = None
) -> ObjectStore:
    """Return where the bytes of ``uri`` come from.

    Args:
        uri: What is to be read.
        store: The caller's own, taken as it is.
        storage_options: For the store of a cloud scheme.
    """
    return store_for(uri, storage_options) if store is None else store

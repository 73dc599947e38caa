"""Stores: where the bytes of media come from.

``store_for(uri)`` gives the store that serves a URI. Each store is small, holds no open handle, and
may be shared by threads, pickled, and used after a fork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mediaref_ursa._core.errors import InvalidReferenceError, MissingExtraError
from mediaref_ursa._core.extras import has_extra as _has_extra
from mediaref_ursa._core.uris import REMOTE_SCHEMES, is_data, is_local, scheme_of, split_blob
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa._model.storage_options import StorageOptions, fsspec_options
from mediaref_ursa.store._lance import LanceBlobStore
from mediaref_ursa.store._local import LocalStore
from mediaref_ursa.store._memory import MemoryStore
from mediaref_ursa.store._protocol import ObjectInfo, ObjectStore

if TYPE_CHECKING:
    from mediaref_ursa.store._fsspec.fsspec_store import FsspecStore
    from mediaref_ursa.store._http.http_store import HttpStore

__all__ = [
    "FsspecStore",
    "HttpStore",
    "LanceBlobStore",
    "LocalStore",
    "MemoryStore",
    "ObjectInfo",
    "ObjectStore",
    "store_for",
]
if not _has_extra("cloud"):  # so that a star import gives the names that exist
    __all__ = [name for name in __all__ if name != "FsspecStore"]


def store_for(
    uri: str, storage_options: StorageOptions | None = None, access: Access = TRUSTED
) -> ObjectStore:
    """Return the store that serves ``uri``, by its scheme.

    Args:
        uri: A plain path, ``file://``, ``http://``, ``https://``, or a cloud store's scheme: ``s3://``,
            ``r2://`` (Cloudflare, by its S3 interface), ``gs://``, ``az://``, ``abfs://``, ``abfss://``,
            ``adl://``, ``hf://``, ``oss://``, and ``memory://`` of fsspec. A blob of a Lance table on this
            machine or in a cloud store, as :func:`mediaref_ursa.blob_uri` writes it.
        storage_options: For cloud stores, as fsspec (``key``, ``secret``, ``endpoint_url``, ...) or as
            object_store, Lance and Polars spell them (``aws_access_key_id``, ``aws_endpoint``, ...); what is
            not given comes from the environment. ``r2://`` takes ``account_id`` or ``endpoint_url``,
            or the environment's ``R2_ACCOUNT_ID``, ``R2_ACCESS_KEY_ID`` and ``R2_SECRET_ACCESS_KEY``.
        access: Which schemes and hosts are served. One that ``allow_schemes`` names is served by the file
            system that fsspec knows by it.

    Raises:
        InvalidReferenceError: Another scheme, the message names those that are served; or ``r2://``
            without an account.
        MissingExtraError: A cloud store, and fsspec is not installed.
        ValueError: Storage options that contradict one another.

    >>> store_for("clips/a.mp4")
    LocalStore()
    """
    access.check_scheme(uri)
    scheme = scheme_of(uri)
    if split_blob(uri) is not None:
        return LanceBlobStore(storage_options or {}, access, is_local(uri))
    if scheme in ("", "file"):
        return LocalStore()
    if scheme in REMOTE_SCHEMES:
        from mediaref_ursa.store._http.http_store import HttpStore

        allowed = REMOTE_SCHEMES if access.allow_schemes is None else access.allow_schemes
        return HttpStore(
            max_redirects=access.max_redirects,
            allow_private_hosts=access.private_hosts,
            redirect_schemes=frozenset(REMOTE_SCHEMES) & frozenset(allowed),
        )
    if is_data(uri):
        raise access.no_store(uri)
    try:
        fsspec_options(scheme, storage_options)  # a missing package is an error now, not at the first read
        from mediaref_ursa.store._fsspec.fsspec_store import FsspecStore

        return FsspecStore(scheme, storage_options or {})
    except (InvalidReferenceError, MissingExtraError) as error:
        error.uri = uri
        raise


def __getattr__(name: str) -> object:
    """Load the stores of requests and fsspec when they are first used."""
    if name == "HttpStore":
        from mediaref_ursa.store._http.http_store import HttpStore

        return HttpStore
    if name == "FsspecStore":
        from mediaref_ursa.store._fsspec.fsspec_store import FsspecStore

        return FsspecStore
    raise AttributeError(f"module 'mediaref_ursa.store' has no attribute {name!r}")

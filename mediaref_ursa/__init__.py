"""References to video frames and images, and the exact frames back.

The names below load what they need when they are first used: importing the package itself loads
neither PyAV, Lance, Arrow, temporaldata nor torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from loguru import logger

from mediaref_ursa._core import (
    process_state as process_state,  # forks wait for the imports that are made on first use
)
from mediaref_ursa._core.extras import has_extra as _has_extra

if TYPE_CHECKING:
    from mediaref_ursa._batch.batch_decode import batch_decode, cleanup_cache, plan_decode
    from mediaref_ursa._batch.decoded_batch import DecodedBatch
    from mediaref_ursa._core.blob_uris import blob_uri
    from mediaref_ursa._core.counters import Counters, counters, counting
    from mediaref_ursa._core.errors import (
        BitDepthWarning,
        CacheDirectoryWarning,
        CorruptMediaError,
        DamagedMediaWarning,
        FrameBeyondToleranceError,
        FrameIndexError,
        FrameIndexExistsError,
        FrameIndexInvalidError,
        FrameIndexMissingError,
        FrameIndexStaleError,
        FrameIndexVersionError,
        FrameIndexWarning,
        FrameOutsideVideoError,
        InvalidReferenceError,
        LimitExceededError,
        MediaChangedError,
        MediaNotFoundError,
        MediaRefError,
        MediaRefWarning,
        MissingExtraError,
        OutsideRecordingWarning,
        ReentrantCallError,
        StoreError,
        UnsupportedMediaError,
    )
    from mediaref_ursa._core.seconds import pts_ns_from_seconds
    from mediaref_ursa._index.build import write_frame_index
    from mediaref_ursa._index.collection import CollectionIndex
    from mediaref_ursa._index.frame_index import LanceFrameIndex
    from mediaref_ursa._index.pack import pack_videos
    from mediaref_ursa._lazy.lazy_video import LazyVideo
    from mediaref_ursa._model.access import Access, IndexLimits
    from mediaref_ursa._plan.decode_plan import DecodePlan
    from mediaref_ursa._plan.reads import FetchOptions
    from mediaref_ursa._references.columns import References
    from mediaref_ursa._references.data_uri import DataURI
    from mediaref_ursa._references.media_ref import MediaRef
    from mediaref_ursa._references.rebase import rebase

__version__ = "0.1.0"

_HOMES = {
    "_model.access": ("Access", "IndexLimits"),
    "_batch.batch_decode": ("batch_decode", "cleanup_cache", "plan_decode"),
    "_batch.decoded_batch": ("DecodedBatch",),
    "_references.columns": ("References",),
    "_references.data_uri": ("DataURI",),
    "_core.errors": (
        "BitDepthWarning",
        "CacheDirectoryWarning",
        "CorruptMediaError",
        "DamagedMediaWarning",
        "FrameIndexError",
        "FrameIndexExistsError",
        "FrameIndexInvalidError",
        "FrameIndexMissingError",
        "FrameIndexStaleError",
        "FrameIndexVersionError",
        "FrameIndexWarning",
        "FrameOutsideVideoError",
        "FrameBeyondToleranceError",
        "InvalidReferenceError",
        "LimitExceededError",
        "MediaChangedError",
        "MediaNotFoundError",
        "MediaRefError",
        "MediaRefWarning",
        "MissingExtraError",
        "OutsideRecordingWarning",
        "ReentrantCallError",
        "StoreError",
        "UnsupportedMediaError",
    ),
    "_index.collection": ("CollectionIndex",),
    "_index.frame_index": ("LanceFrameIndex",),
    "_index.build": ("write_frame_index",),
    "_index.pack": ("pack_videos",),
    "_lazy.lazy_video": ("LazyVideo",),
    "_references.media_ref": ("MediaRef",),
    "_references.rebase": ("rebase",),
    "_core.blob_uris": ("blob_uri",),
    "_core.counters": ("Counters", "counters", "counting"),
    "_plan.decode_plan": ("DecodePlan",),
    "_plan.reads": ("FetchOptions",),
    "_core.seconds": ("pts_ns_from_seconds",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_NEED_VIDEO = frozenset(
    {"_index.build", "_index.collection", "_index.frame_index", "_index.pack", "_lazy.lazy_video"}
)

__all__ = [
    "Access",
    "BitDepthWarning",
    "CacheDirectoryWarning",
    "CollectionIndex",
    "CorruptMediaError",
    "Counters",
    "DamagedMediaWarning",
    "DataURI",
    "DecodePlan",
    "DecodedBatch",
    "FetchOptions",
    "FrameBeyondToleranceError",
    "FrameIndexError",
    "FrameIndexExistsError",
    "FrameIndexInvalidError",
    "FrameIndexMissingError",
    "FrameIndexStaleError",
    "FrameIndexVersionError",
    "FrameIndexWarning",
    "FrameOutsideVideoError",
    "IndexLimits",
    "InvalidReferenceError",
    "LanceFrameIndex",
    "LazyVideo",
    "LimitExceededError",
    "MediaChangedError",
    "MediaNotFoundError",
    "MediaRef",
    "MediaRefError",
    "MediaRefWarning",
    "MissingExtraError",
    "OutsideRecordingWarning",
    "ReentrantCallError",
    "References",
    "StoreError",
    "UnsupportedMediaError",
    "batch_decode",
    "blob_uri",
    "cleanup_cache",
    "counters",
    "counting",
    "pack_videos",
    "plan_decode",
    "pts_ns_from_seconds",
    "rebase",
    "write_frame_index",
]

if not _has_extra("video"):  # so that a star import gives the names that exist
    __all__ = [name for name in __all__ if _HOME_OF[name] not in _NEED_VIDEO]

logger.disable("mediaref_ursa")  # a library is silent until its user says logger.enable("mediaref_ursa")


def __getattr__(name: str) -> object:
    """Load a public name from its module on first use (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'mediaref_ursa' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mediaref_ursa.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names that can be had, loaded or not."""
    return sorted({*(name for name in globals() if name.startswith("__")), *__all__})

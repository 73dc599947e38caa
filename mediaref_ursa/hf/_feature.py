"""``MediaRefFeature``: references as a feature of ``datasets``, which importing this module registers.

A data set that was written with the feature can only be loaded where this module, or MediaRef's, was imported
before. Plain structs of ``uri`` and ``pts_ns`` load everywhere: see ``docs/datasets.md``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._references.media_ref import MediaRef

with needs_extra("video"):
    import pyarrow as pa

    from mediaref_ursa._references.arrow import STRUCT_TYPE

with needs_extra("hf"):
    from datasets.features.features import register_feature

__all__ = ["MediaRefFeature"]

_NAME = "MediaRef"


@set_module("mediaref_ursa.hf")
@dataclass
class MediaRefFeature:
    """References as a feature of ``datasets``, stored as ``struct<uri: string, pts_ns: int64>``.

    Args:
        decode: Give rows as ``MediaRef``; False gives dicts.
        id: As ``datasets`` has it.

    Example:
        >>> from datasets import Dataset, Features  # doctest: +SKIP
        >>> from mediaref_ursa.hf import MediaRefFeature  # doctest: +SKIP
        >>> features = Features({"frame": MediaRefFeature()})  # doctest: +SKIP
        >>> Dataset.from_dict({"frame": [MediaRef("a.mp4", 5)]}, features=features)[0]  # doctest: +SKIP
        {'frame': MediaRef(uri='a.mp4', pts_ns=5)}
    """

    decode: bool = True
    id: str | None = field(default=None, repr=False)
    dtype: ClassVar[str] = "mediaref.MediaRef"
    pa_type: ClassVar[Any] = STRUCT_TYPE
    _type: str = field(default=_NAME, init=False, repr=False)

    def __call__(self) -> Any:
        """Return the Arrow type that is stored."""
        return self.pa_type

    def encode_example(self, value: Any) -> dict[str, Any]:
        """Return a reference, a dict of its fields, or the URI of an image, as the dict that is stored.

        Raises:
            TypeError: Something else.
            ValueError: A dict without a URI, or with fields that no reference can have.
        """
        if isinstance(value, str):
            value = {"uri": value}
        if isinstance(value, dict):
            if value.get("uri") is None:
                raise ValueError(f"expected a dict with a uri, found {value!r:.200}")
            value = MediaRef.model_validate(value)
        if not isinstance(value, MediaRef):
            raise TypeError(f"expected a MediaRef, a dict or a URI, found {type(value).__name__}")
        return {"uri": value.uri, "pts_ns": value.pts_ns}

    def decode_example(self, value: Any, token_per_repo_id: Any = None) -> Any:
        """Return what is stored as a ``MediaRef``; as it is where there is none, or without ``decode``."""
        if value is None or not self.decode:
            return value
        return MediaRef(value["uri"], value.get("pts_ns"))

    def cast_storage(self, storage: Any) -> Any:
        """Return an Arrow array of URIs, or of structs with a URI, as one of the type that is stored.

        Raises:
            TypeError: An array of another type.
        """
        if pa.types.is_string(storage.type) or pa.types.is_large_string(storage.type):
            columns = {"uri": storage}
        elif pa.types.is_struct(storage.type) and storage.type.get_field_index("uri") >= 0:
            columns = dict(zip((part.name for part in storage.type), storage.flatten(), strict=True))
        else:
            raise TypeError(f"expected texts, or structs with a uri, found {storage.type}")
        uris = columns["uri"].cast(pa.string())
        times = columns.get("pts_ns")
        times = pa.nulls(len(storage), pa.int64()) if times is None else times.cast(pa.int64())
        return pa.StructArray.from_arrays([uris, times], ["uri", "pts_ns"], mask=storage.is_null())

    def flatten(self) -> Any:
        """Return the feature itself: it has no columns of its own."""
        return self

    def embed_storage(self, storage: Any, **options: Any) -> Any:
        """Return the array: references stay references, their media are not put into the data set."""
        return storage


with warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # datasets calls the registry experimental
    register_feature(MediaRefFeature, _NAME)

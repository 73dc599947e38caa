"""Catalog rows: location, storage format and time range of each modality of a recording."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.seconds import earliest_seconds

if TYPE_CHECKING:
    import pyarrow as pa
    from typing_extensions import Unpack

    from mediaref_ursa._lazy.lazy_video import LazyVideo
    from mediaref_ursa._lazy.options import PixelOptions
    from mediaref_ursa.store import ObjectStore


class StorageFormat(str, Enum):
    """Storage format of a modality."""

    MP4_INDEX = "mp4_index"
    """Video files with a frame index next to the URI, ``<uri>.lance``."""
    VIDEO = "video"
    """Video files without a frame index, scanned when they are opened."""
    HDF5 = "hdf5"
    """An object of temporaldata or torch_brain in an HDF5 file, such as spikes or behaviour."""


def _bound(value: object) -> object:
    """Return a bound of a time range, widened by the precision of a float32."""
    return earliest_seconds(value) if hasattr(value, "dtype") else value


_Bound = Annotated[float | None, BeforeValidator(_bound)]


class ModalityRow(BaseModel):
    """One modality of one recording: a row of a catalog.

    Attributes:
        name: What it is called, such as ``"camera_left"``: the field of a session.
        format: How it is stored.
        uri: The video, the first of several segments, or the name of a recording, next to which its index
            stands; or the HDF5 file.
        segment_uris: The additional files of the recording, in order, where they are not the index's own. A
            list that contains ``uri`` is the whole list in its order, and so is one of as many files as the
            index has segments, where ``uri`` is a name that is no file.
        start_seconds: Where it begins on the recording's clock, inclusive; from its first frame if None.
        end_seconds: Where it ends, exclusive; to its last frame if None.
        attributes: Anything else that JSON can say.
        recording: The name of the recording, the same for all of its modalities.
        group: The group of an HDF5 file that holds the object; the whole file without it.

    Example:
        >>> row = ModalityRow(name="camera", format="video", uri="clip.mp4", end_seconds=1.0)
        >>> open_modality(row)
        LazyVideo('clip.mp4', frames=30, segments=1, seconds=0.000..0.967)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1)
    format: StorageFormat
    uri: str = Field(min_length=1)
    segment_uris: tuple[str, ...] = ()
    start_seconds: _Bound = Field(default=None, allow_inf_nan=False)
    end_seconds: _Bound = Field(default=None, allow_inf_nan=False)
    attributes: Mapping[str, JsonValue] = Field(default_factory=dict)
    recording: str | None = Field(default=None, min_length=1)
    group: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _check_order(self) -> ModalityRow:
        start, end = self.start_seconds, self.end_seconds
        if start is not None and end is not None and end < start:
            raise ValueError(f"expected end_seconds not before start_seconds, found {start} to {end}")
        if self.group is not None and self.format is not StorageFormat.HDF5:
            raise ValueError(
                f"expected a group with the format 'hdf5' only, found one with {self.format.value!r}"
            )
        return self

    @property
    def bounds(self) -> tuple[float, float]:
        """``start_seconds`` and ``end_seconds``, infinite where they are None."""
        start, end = self.start_seconds, self.end_seconds
        return float("-inf") if start is None else start, float("inf") if end is None else end

    def __hash__(self) -> int:
        return hash((self.recording, self.name, self.format, self.uri, self.segment_uris))


def open_modality(
    row: ModalityRow,
    store: ObjectStore | None = None,
    *,
    storage_options: Mapping[str, Any] | None = None,
    **options: Unpack[PixelOptions],
) -> LazyVideo:
    """Return the video that a row describes, as a window of its time range.

    With ``StorageFormat.MP4_INDEX`` nothing of the media is read.

    Args:
        row: The row; it becomes the ``metadata`` of the video.
        store: Where the bytes are; chosen by the URI's scheme without it.
        storage_options: For cloud stores, as fsspec and Lance take them.
        **options: ``resize``, ``colorspace``, ``channel_format``, and what may be read, of
            :class:`LazyVideo`: ``untrusted=True`` for a catalog of an untrusted writer.

    Raises:
        ValueError: The row is of no video.
        FrameIndexMissingError: The format says that there is an index, and there is none.
        MediaRefError: As :class:`LazyVideo` raises.
    """
    from mediaref_ursa._lazy.lazy_video import LazyVideo
    from mediaref_ursa._model.access import Access
    from mediaref_ursa._video.recording import open_index_of
    from mediaref_ursa.store._location import Location

    if row.format is StorageFormat.HDF5:
        raise ValueError(
            f"expected a modality of video, found {row.name!r} in the format 'hdf5'; "
            "Catalog([row]).materialize(row.recording) reads it"
        )
    index = None
    if row.format is StorageFormat.MP4_INDEX:
        access = Access.from_options(dict(options))
        index = open_index_of(Location(row.uri, store, storage_options, access))
    video = LazyVideo(
        row.uri,
        store=store,
        frame_index=index,
        metadata=row,
        segment_uris=row.segment_uris or None,
        storage_options=storage_options,
        **options,
    )
    if row.start_seconds is None and row.end_seconds is None:
        return video
    return video.lazy_slice(*row.bounds)


def to_arrow(rows: Sequence[ModalityRow]) -> pa.Table:
    """Return rows as an Arrow table, for Parquet, Lance and other tables.

    ``segment_uris`` becomes a list column, ``attributes`` a column of JSON strings.

    Raises:
        MissingExtraError: pyarrow is not installed.

    >>> row = ModalityRow(name="camera", format="video", uri="clip.mp4", attributes={"rig": 3})
    >>> from_arrow(to_arrow([row])) == [row]
    True
    """
    with needs_extra("video"):
        import pyarrow as pa

        import mediaref_ursa._references.arrow  # noqa: F401 - makes pyarrow's first conversion
    schema = pa.schema(
        [
            pa.field("name", pa.string(), nullable=False),
            pa.field("format", pa.string(), nullable=False),
            pa.field("uri", pa.string(), nullable=False),
            pa.field("segment_uris", pa.list_(pa.string())),
            pa.field("start_seconds", pa.float64()),
            pa.field("end_seconds", pa.float64()),
            pa.field("attributes", pa.string()),
            pa.field("recording", pa.string()),
            pa.field("group", pa.string()),
        ]
    )
    values = [row.model_dump(mode="json") for row in rows]
    for value in values:
        value["attributes"] = json.dumps(value["attributes"])
    return pa.Table.from_pylist(values, schema=schema)


def from_arrow(table: pa.Table) -> list[ModalityRow]:
    """Return the rows of a table of :func:`to_arrow`; columns that it does not have are ignored.

    Raises:
        ValidationError: A value that no row can have.
    """
    names = [name for name in ModalityRow.model_fields if name in table.column_names]
    rows = []
    for value in table.select(names).to_pylist():
        value["segment_uris"] = tuple(value.get("segment_uris") or ())
        value["attributes"] = json.loads(value.get("attributes") or "{}")
        rows.append(ModalityRow.model_validate(value))
    return rows

"""The frame index as a Lance table: its columns, their checks, reading and writing."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import (
    FrameIndexError,
    FrameIndexInvalidError,
    FrameIndexMissingError,
    LimitExceededError,
    StoreError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import REMOTE_SCHEMES, is_local, local_path, scheme_of
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._index.folder_lock import FolderLock
from mediaref_ursa._index.lance_rows import PACKET_FIELDS, SegmentRows, floats, ints
from mediaref_ursa._index.local_tables import make_folder, set_aside
from mediaref_ursa._lance.lance_calls import LanceCallError, LanceProcessError, Rules, describe, read, write
from mediaref_ursa._lance.lance_files import TableRefusedError, check_local_table, claimed_bytes
from mediaref_ursa._lance.lance_location import lance_location, without_request_details
from mediaref_ursa._lance.lance_manifest import Manifest
from mediaref_ursa._model.access import TRUSTED, Access, IndexLimits
from mediaref_ursa._model.index_metadata import METADATA_KEY, SegmentEntry, decode_metadata, encode_metadata
from mediaref_ursa._model.segment import UNKNOWN, PacketTable, SegmentTable
from mediaref_ursa._model.storage_options import StorageOptions
from mediaref_ursa.layout import COLLECTION_KEY

with needs_extra("video"):
    import pyarrow as pa

_TOO_MUCH = (ArithmeticError, MemoryError, RecursionError)
# Messages of Lance for errors of the store rather than of the table.
_STORE_REFUSES = re.compile(
    r"Error performing|error sending request|privileges|credentials|no storage account|endpoint is required",
    re.IGNORECASE,
)
_IS_READ_ONLY = re.compile(
    r"permission denied|read-only file system|not permitted|no space left|os error (1|13|28|30)\b",
    re.IGNORECASE,
)
_OPENING = "open it"
_BLOCK_ROWS = 16_384  # of short segments that are read together
_MAX_NAME_BYTES = 255
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
_NO_BUCKET = re.compile(r"404 Not Found|NoSuchBucket")
_BYTES_A_PACKET = 256  # of one row, or one packet that is never output, as Arrow has it, and some more
_SPARE_BYTES = 1 << 20

BASE_COLUMNS = ("segment_idx", "local_frame_idx", "pts", "timestamp")

SCHEMA = pa.schema(
    [
        pa.field("segment_idx", pa.int64()),
        pa.field("local_frame_idx", pa.int64()),
        pa.field("pts", pa.int64()),
        pa.field("timestamp", pa.float64()),
        pa.field("duration", pa.int64()),
        pa.field("start_decode_idx", pa.int64()),
        *PACKET_FIELDS,
        pa.field("hidden_packets", pa.list_(pa.struct(PACKET_FIELDS))),
    ]
)
"""Documented column by column in ``docs/index-format.md``."""

# Measured with benchmarks/index_sizes.py: the other columns are as large with it. "bss" puts the bytes of
# equal rank side by side; Lance leaves it off for timestamps of 29.97 frames a second, 3 bytes each.
_COMPRESSED = ("local_frame_idx", "pts", "timestamp", "decode_idx", "offset")
_ZSTD = {"lance-encoding:compression": "zstd", "lance-encoding:bss": "on"}
# Of fewer rows, a buffer of 8 bytes a row has less than the 4 KiB from which on Lance compresses, and is
# stored as it is; without the metadata its bits are packed.
_COMPRESSED_ROWS = 512
_COMPRESSED_SCHEMA = pa.schema(
    [field.with_metadata(_ZSTD) if field.name in _COMPRESSED else field for field in SCHEMA]
)


class LanceIndexFile:
    """One version of an index on disk: metadata when opened, columns when asked for. No handle is pickled.

    Args:
        uri: Where the table is.
        storage_options: In any spelling that :mod:`mediaref_ursa._model.storage_options` knows.
        access: What may be read of it, and how much.
        confine_to: A folder that no symbolic link among its files may lead out of; None for any.
        described_at: The URI that the index of the same video would have next to it, for one that is hidden:
            what it says of its segments is relative to that; ``uri`` without it.
        version: Which version of the table; the latest if None.

    Attributes:
        rows: How many rows it says it has; no more than the limits of ``access`` allow.

    Raises:
        FrameIndexMissingError: No table is there.
        FrameIndexInvalidError: It is no frame index, it is damaged, or it leads where it may not.
        FrameIndexVersionError: A newer version of this library wrote it.
        LimitExceededError: It has more rows or packets than the limits allow.
    """

    def __init__(
        self,
        uri: str,
        storage_options: StorageOptions | None = None,
        access: Access = TRUSTED,
        confine_to: str | None = None,
        described_at: str | None = None,
        *,
        version: int | None = None,
    ) -> None:
        self.uri = uri
        self._storage_options = dict(storage_options or {})
        self._access, self._confine_to = access, confine_to
        self._is_bounded: bool | None = None
        self._version, self.rows, schema = self._describe(version)
        check_count(self.rows, access, uri)
        self._never_output = "hidden_packets" in schema.names
        missing = [name for name in BASE_COLUMNS if name not in schema.names]
        if missing:
            is_collection = COLLECTION_KEY.encode() in (schema.metadata or {})
            hint = "; it is a collection: open it with CollectionIndex.open" if is_collection else ""
            raise FrameIndexInvalidError(
                f"expected the columns {BASE_COLUMNS}, missing {missing}{hint}", uri=uri
            )
        text = (schema.metadata or {}).get(METADATA_KEY.encode())
        _check_types(schema, BASE_COLUMNS if text is None else SCHEMA.names, uri)
        self.segments: tuple[SegmentEntry, ...] | None = None
        if text is not None:
            self.segments = decode_metadata(text.decode("utf-8", "replace"), described_at or uri)
            if self.rows != sum(entry.frames for entry in self.segments):
                raise FrameIndexInvalidError(
                    f"expected as many rows as its segments have frames, found {self.rows}", uri=uri
                )
            check_count(sum(entry.packets for entry in self.segments), access, uri)

    def base_columns(self) -> tuple[Int64Array, Int64Array, npt.NDArray[np.float64]]:
        """Return ``segment_idx``, ``pts`` and ``timestamp`` of all rows, in the order of frames.

        Raises:
            FrameIndexInvalidError: The rows cannot be read, or are not numbered 0..n-1 in each segment.
        """
        table = self._read(list(BASE_COLUMNS))
        with lance_errors("take its rows apart", self.uri):
            segment, local = ints(table, "segment_idx"), ints(table, "local_frame_idx")
            order = np.lexsort((local, segment))
            segment, local = segment[order], local[order]
            if not _are_numbered(segment, local):
                raise FrameIndexInvalidError(
                    "expected local_frame_idx to number the frames of each segment from 0 on", uri=self.uri
                )
            return segment, ints(table, "pts")[order], floats(table, "timestamp")[order]

    def segment_tables(self, number: int) -> dict[int, SegmentTable]:
        """Read the columns of one segment, and of its neighbours as long as they have few rows together.

        A neighbour that is damaged is left out: it is
        an error when it is asked for itself.

        Raises:
            FrameIndexInvalidError: The rows cannot be read, or those of the segment cannot be true.
        """
        assert self.segments is not None
        first_rows = np.concatenate([[0], np.cumsum([entry.frames for entry in self.segments])])
        first, last = _block_of(number, first_rows)
        entries = self.segments[first:last]
        has_never_output = self._never_output and any(entry.packets != entry.frames for entry in entries)
        columns = [name for name in SCHEMA.names if name != "hidden_packets" or has_never_output]
        count = int(first_rows[last] - first_rows[first])
        table = self._read(columns, offset=int(first_rows[first]), limit=count)
        with lance_errors("take its rows apart", self.uri):
            rows = SegmentRows(table, first, self.uri)
            found: dict[int, SegmentTable] = {}
            for segment, entry in enumerate(entries, start=first):
                try:
                    found[segment] = checked(rows.take(entry), entry, segment, self.uri)
                except FrameIndexInvalidError:
                    if segment == number:
                        raise
            return found

    def _describe(self, version: int | None) -> tuple[int, int, pa.Schema]:
        manifest = self._check_files(version)
        version = version if manifest is None else manifest.version
        location, options = lance_location(self.uri, self._storage_options)
        with lance_errors(_OPENING, self.uri):
            return describe(location, options, version, self._rules)

    def _read(self, columns: list[str], **where: int) -> pa.Table:
        manifest = self._check_files(self._version)
        location, options = lance_location(self.uri, self._storage_options)
        packets = self.rows + sum(entry.packets for entry in self.segments or ())
        max_bytes = _SPARE_BYTES + _BYTES_A_PACKET * packets
        with lance_errors("read its rows", self.uri):
            rules = self._rules_for(manifest, max_bytes)
            return read(
                location,
                options,
                self._version,
                columns,
                where,
                rules=rules,
                max_answer_bytes=max_bytes,
            )

    @property
    def _rules(self) -> Rules:
        access = self._access
        return Rules(access.allow_outside_index, access.untrusted, access.scan_limits)

    def _rules_for(self, manifest: Manifest | None, max_bytes: int) -> Rules:
        """Return the rules for reading rows: a local table that claims too much is read under limits.

        Lance takes the memory that compressed pages claim at once. In a process of its own that ends with an
        error, as for a table that is not trusted.
        """
        rules = self._rules
        if manifest is None or rules.limits is not None:
            return rules
        if self._is_bounded is None:
            try:
                self._is_bounded = claimed_bytes(self._folder, manifest) <= max_bytes
            except (ValueError, OSError):  # Lance says what is wrong, or reads it all the same
                self._is_bounded = False
        return rules if self._is_bounded else replace(rules, limits=IndexLimits())

    @property
    def _folder(self) -> str:
        return str(Path(local_path(self.uri)).absolute())

    def _check_files(self, version: int | None) -> Manifest | None:
        """Check the files of a local table before Lance opens them; return its manifest.

        Of a remote one Lance reads the manifest, and its files are looked at there.
        """
        if scheme_of(self.uri) in REMOTE_SCHEMES:  # Lance reads object stores, but nothing over plain HTTP
            raise missing_index(self.uri)
        if not is_local(self.uri):
            return None
        if unusable_name(self.uri) is not None:
            raise missing_index(self.uri)
        with lance_errors(_OPENING, self.uri):
            try:
                manifest = check_local_table(
                    self._folder,
                    version,
                    allow_outside=self._access.allow_outside_index,
                    strict=self._access.untrusted,
                    confine_to=self._confine_to,
                )
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                    raise missing_index(self.uri) from error
                raise
            if manifest is None:
                raise missing_index(self.uri)
            return manifest


def check_count(count: int, access: Access, uri: str) -> None:
    """Refuse more rows or packets than a scan may find, before any is read."""
    limits = access.scan_limits
    if limits is not None and count > limits.max_packets:
        raise LimitExceededError(
            f"expected a frame index of at most {limits.max_packets} packets, found one of {count}; "
            "allow more with index_limits=IndexLimits(max_packets=)",
            uri=uri,
        )


def _check_types(schema: pa.Schema, names: Sequence[str], uri: str) -> None:
    """Refuse columns of other types than numbers: only the size of numbers follows from the row count."""
    for name in names:
        if name not in schema.names:
            continue
        expected, found = SCHEMA.field(name).type, schema.field(name).type
        if not _is_like(found, expected):
            raise FrameIndexInvalidError(
                f"expected the column {name} to be {expected}, found {str(found)[:80]}", uri=uri
            )


def _is_like(found: pa.DataType, expected: pa.DataType) -> bool:
    if pa.types.is_list(expected):
        if not pa.types.is_list(found) or not pa.types.is_struct(found.value_type):
            return False
        parts = {field.name: field.type for field in found.value_type}
        fields = list(expected.value_type)
        return list(parts) == [field.name for field in fields] and all(
            _is_like(parts[field.name], field.type) for field in fields
        )
    if pa.types.is_boolean(expected):
        return bool(pa.types.is_boolean(found) or pa.types.is_integer(found))
    if pa.types.is_floating(expected):
        return bool(pa.types.is_floating(found) or pa.types.is_integer(found))
    return bool(pa.types.is_integer(found))


def _block_of(number: int, first_rows: Int64Array) -> tuple[int, int]:
    """Return the half-open range of segments that are read together with one: some thousands of rows.

    Many short segments are read in few calls of Lance; a long one is read alone.
    """
    block = first_rows[:-1] // _BLOCK_ROWS
    first, last = np.searchsorted(block, [block[number], block[number] + 1]).tolist()
    lengths = np.diff(first_rows)
    long = np.flatnonzero(lengths[first:last] > _BLOCK_ROWS) + first
    if number in long:
        return number, number + 1
    before, after = long[long < number], long[long > number]
    return int(before[-1]) + 1 if len(before) else first, int(after[0]) if len(after) else last


def checked(table: SegmentTable, entry: SegmentEntry, number: int, uri: str) -> SegmentTable:
    """Return a segment table if its columns have the CRC-32 that was recorded.

    Raises:
        FrameIndexInvalidError: They have another.
    """
    if entry.columns_crc32 not in (None, table.columns_crc32):
        raise FrameIndexInvalidError(
            f"the frame index is damaged: expected CRC-32 {entry.columns_crc32:08x} of segment {number}, "
            f"found {table.columns_crc32:08x}; {WRITE_ANEW}",
            uri=uri,
        )
    return table


def _are_numbered(segment: Int64Array, local: Int64Array) -> bool:
    """Return whether sorted rows number segments, and frames within each, from 0 on without a gap."""
    if not len(segment):
        return True
    begins = np.append(True, segment[1:] != segment[:-1])
    numbers = np.cumsum(begins) - 1
    firsts = np.flatnonzero(begins)[numbers]
    return bool((segment == numbers).all() and (local == np.arange(len(local)) - firsts).all())


def write_index(
    uri: str,
    tables: list[SegmentTable],
    *,
    storage_options: StorageOptions | None = None,
    described_at: str | None = None,
) -> None:
    """Write the index of a video in one commit: a writer that is killed leaves the old one or none.

    Args:
        uri: Where it goes.
        tables: The segments of the video.
        storage_options: For cloud stores.
        described_at: As :class:`LanceIndexFile` takes it.

    Raises:
        StoreError: Nothing may be written there.
        FrameIndexError: Lance cannot write there.
    """
    options = dict(storage_options or {})
    check_writable(uri)
    is_short = sum(len(table) for table in tables) < _COMPRESSED_ROWS
    schema = (SCHEMA if is_short else _COMPRESSED_SCHEMA).with_metadata(
        {METADATA_KEY: encode_metadata(tables, described_at or uri)}
    )
    rows = pa.concat_tables(_arrow_table(number, segment) for number, segment in enumerate(tables))
    table = pa.Table.from_arrays(rows.columns, schema=schema)
    location, own_options = lance_location(uri, options)
    with _room_for(uri), lance_errors("write it", uri), refusals(uri):
        exists = index_exists(uri, options)
        write(location, own_options, table, exists=exists)


@contextmanager
def _room_for(uri: str) -> Iterator[None]:
    """Move a local table that cannot be opened out of the way, since Lance cannot commit to it either.

    Many writers may write at once. Only a single one may set a table aside: it might be another's new table,
    or one that is being written.
    """
    if not is_local(uri):
        yield
        return
    location = Path(local_path(uri)).absolute()
    damaged: Path | None = None
    make_folder(location.parent, uri)
    with FolderLock(location.parent) as lock:
        if _is_damaged(location, uri):
            lock.exclude_others()
            if _is_damaged(location, uri):
                damaged = set_aside(location, uri, "damaged frame index")
        yield
    if damaged is not None:
        shutil.rmtree(damaged, ignore_errors=True)


def _is_damaged(location: Path, uri: str) -> bool:
    if not (location / "_versions").is_dir():
        return False
    try:
        LanceIndexFile(uri)
    except FrameIndexInvalidError:
        return True
    except FrameIndexError:
        return False
    return False


def check_writable(uri: str) -> None:
    """Refuse a directory without write permission, before Lance tries it several times."""
    if not is_local(uri):
        return
    reason = unusable_name(uri)
    if reason is not None:
        raise StoreError(f"the frame index cannot be written here: {reason}", uri=uri)
    folder = Path(local_path(uri)).absolute().parent
    while not folder.exists():  # Lance makes missing folders
        folder = folder.parent
    if not os.access(folder, os.W_OK):
        raise StoreError(f"the frame index cannot be written here: {folder} is read-only", uri=uri)


def unusable_name(uri: str) -> str | None:
    """Return why a local path cannot be a table's, None if it can: Lance accepts no control characters."""
    location = Path(local_path(uri)).absolute()
    path = str(location)
    if any(len(os.fsencode(part)) > _MAX_NAME_BYTES for part in location.parts):
        return f"a name in its path has more than {_MAX_NAME_BYTES} bytes"
    if not path.isprintable() and _CONTROL_CHARACTERS.search(path):
        return "Lance takes no path with line ends, tabs or other control characters"
    try:
        path.encode()
    except UnicodeEncodeError:
        return "Lance takes no path that is not UTF-8"
    return None


@contextmanager
def refusals(uri: str) -> Iterator[None]:
    """Distinguish a location that refuses files from a damaged table."""
    try:
        yield
    except (LanceCallError, OSError) as error:
        if _IS_READ_ONLY.search(str(error)):
            raise StoreError(f"the frame index cannot be written here: {error}", uri=uri) from error
        raise


def index_exists(uri: str, storage_options: StorageOptions | None = None) -> bool:
    """Return whether a Lance table stands at ``uri``, readable or not."""
    try:
        LanceIndexFile(uri, storage_options)
    except FrameIndexMissingError:
        return False
    except FrameIndexError:
        return True
    return True


def missing_index(uri: str) -> FrameIndexMissingError:
    """Return the error for a location in which no index stands."""
    return FrameIndexMissingError(
        "there is no frame index here; write one with: mediaref-ursa index", uri=uri
    )


@contextmanager
def lance_errors(doing: str, uri: str) -> Iterator[None]:
    """Map errors of Lance and Arrow into the tree of errors."""
    try:
        yield
    except LanceProcessError as error:
        raise StoreError(f"the frame index: Lance could not {doing}: {error}", uri=uri) from error
    except TableRefusedError as error:
        raise FrameIndexInvalidError(str(error), uri=uri) from error
    except (
        LanceCallError,
        pa.ArrowException,
        ValueError,
        LookupError,
        TypeError,
        OSError,
        *_TOO_MUCH,
    ) as error:
        if isinstance(error, FrameIndexError | StoreError):
            raise
        if "was not found" in str(error) or (doing == _OPENING and _NO_BUCKET.search(str(error))):
            raise missing_index(uri) from error
        if not is_local(uri) and _STORE_REFUSES.search(str(error)):
            reason = without_request_details(str(error))
            raise StoreError(f"the frame index: Lance could not {doing}: {reason}", uri=uri) from error
        raise FrameIndexInvalidError(
            f"the frame index is damaged: Lance could not {doing}: {error}", uri=uri
        ) from error


def _arrow_table(number: int, table: SegmentTable) -> pa.Table:
    frames = len(table)
    packet_columns = _packet_arrays(table.packets, table.packet)
    return pa.table(
        [
            pa.array(np.full(frames, number, dtype=np.int64)),
            pa.array(np.arange(frames, dtype=np.int64)),
            pa.array(table.pts),
            pa.array(table.timestamp),
            pa.array(table.duration),
            pa.array(table.start),
            *packet_columns,
            _never_output_array(table),
        ],
        schema=SCHEMA,
    )


def _packet_arrays(packets: PacketTable, rows: Int64Array) -> list[pa.Array]:
    crc, reference = packets.crc32[rows], packets.is_reference[rows]
    return [
        pa.array(rows),
        pa.array(packets.offset[rows]),
        pa.array(packets.size[rows]),
        pa.array(np.where(crc == UNKNOWN, 0, crc).astype(np.uint32), mask=crc == UNKNOWN),
        pa.array(reference == 1, mask=reference == UNKNOWN),
        pa.array(packets.is_corrupt[rows]),
        pa.array(packets.is_keyframe[rows]),
    ]


def _never_output_array(table: SegmentTable) -> pa.Array:
    """Attach each packet that is never output to the displayed frame of its number, where there is one."""
    is_never_output = np.ones(len(table.packets), dtype=np.bool_)
    is_never_output[table.packet] = False
    never_output = np.flatnonzero(is_never_output).astype(np.int64)
    row_of = _row_after(table, never_output)
    order = np.argsort(row_of, kind="stable")
    counts = (
        np.bincount(row_of, minlength=len(table)) if len(never_output) else np.zeros(len(table), np.int64)
    )
    ends = np.cumsum(counts)
    structs = pa.StructArray.from_arrays(
        _packet_arrays(table.packets, never_output[order]), fields=PACKET_FIELDS
    )
    return pa.ListArray.from_arrays(pa.array(np.append(0, ends).astype(np.int32)), structs)


def _row_after(table: SegmentTable, never_output: Int64Array) -> Int64Array:
    """Return the row of the next displayed packet in decode order, or of the last one."""
    order = np.argsort(table.packet, kind="stable")
    following = np.searchsorted(table.packet[order], never_output)
    return order[np.minimum(following, len(order) - 1)].astype(np.int64)

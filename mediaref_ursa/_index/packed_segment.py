"""One segment of a collection as bytes: its metadata and the columns of its frames and packets, compressed.

As list columns, one for each column of a sidecar, Lance reads each column of each video by itself: measured,
8 requests and 400 KB a video of 300 frames among 10,000. As one value a segment is one request for its own
few kilobytes. Columns are differences, the bytes of equal rank side by side, and then zstd: 7 to 10 bytes a
frame.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import FrameIndexInvalidError, LimitExceededError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.wording import ADD_ANEW
from mediaref_ursa._model.access import Access
from mediaref_ursa._model.index_metadata import SegmentEntry, decode_metadata, encode_metadata
from mediaref_ursa._model.segment import PacketTable, SegmentInfo, SegmentTable
from mediaref_ursa.layout import lance_frame_index_uri

with needs_extra("video"):
    import pyarrow as pa

_HEAD = struct.Struct("<IIII")  # CRC-32 of what follows, bytes of the row, of the metadata, of the columns
_MAX_TEXT_BYTES = 64 << 20
_FRAME_COLUMNS, _PACKET_COLUMNS, _FLAGS = 5, 3, 3
_NUMBER_BYTES = 8
_LARGE = 2**62


@dataclass(frozen=True)
class PackedSegment:
    """A segment of a collection whose metadata were read; its columns are decompressed when they are used.

    Attributes:
        key: The video's URI relative to the collection's root.
        number: The segment's number within the video.
        count: How many segments the video has.
        written_ns: When it was written; of two rows of one segment the later one counts.
        first_seconds: What timestamps are larger than ``pts * time_base``, about.
        metadata: The JSON text of a sidecar of this segment alone.
        value: The bytes of the row, checked.
        columns_bytes: What its columns take when they are decompressed.
    """

    key: str
    number: int
    count: int
    written_ns: int
    first_seconds: float
    metadata: str
    value: bytes
    columns_bytes: int

    def entry(self, video: str) -> SegmentEntry:
        """Return what the segment is, for a video at an absolute location.

        Raises:
            FrameIndexVersionError: A newer version wrote it.
            FrameIndexInvalidError: It is not the metadata of one segment, or its columns are of another size.
        """
        index_uri = lance_frame_index_uri(video)
        entries = decode_metadata(self.metadata, index_uri)
        if len(entries) != 1 or self.columns_bytes != _columns_bytes(entries[0].frames, entries[0].packets):
            raise FrameIndexInvalidError(
                f"the collection is damaged: expected the columns of one segment, found {len(entries)} "
                f"segments and {self.columns_bytes} bytes; {ADD_ANEW}",
                uri=video,
            )
        return entries[0]

    def table(self, entry: SegmentEntry) -> SegmentTable:
        """Return the columns as a segment table, which checks them; checksums are the caller's.

        Raises:
            FrameIndexInvalidError: They cannot be true.
        """
        data = _decompressed(self.value)
        return _unpacked(data[len(data) - self.columns_bytes :], entry, self.first_seconds)


def pack_segment(
    key: str, number: int, count: int, written_ns: int, table: SegmentTable, video: str
) -> bytes:
    """Return one segment of a video as the bytes of a collection's row.

    Args:
        key: The video's URI relative to the collection's root.
        number: The segment's number.
        count: How many segments the video has.
        written_ns: When it is written, in nanoseconds since the epoch.
        table: The segment.
        video: The video's absolute URI.
    """
    first_seconds = float((table.timestamp - _seconds(table.pts, table.info))[:1].sum())
    row = {
        **{"uri": key, "segment_idx": number, "segment_count": count},
        **{"written_ns": written_ns, "first_seconds": first_seconds},
    }
    texts = [json.dumps(row).encode(), encode_metadata([table], lance_frame_index_uri(video)).encode()]
    columns = _packed(table, first_seconds)
    packed = pa.compress(b"".join([*texts, columns]), codec="zstd", asbytes=True)
    sizes = struct.pack("<III", len(texts[0]), len(texts[1]), len(columns))
    return b"".join([struct.pack("<I", zlib.crc32(packed, zlib.crc32(sizes))), sizes, packed])


def unpack_segment(value: bytes, access: Access, uri: str) -> PackedSegment:
    """Return a segment from the bytes of a collection's row.

    Args:
        value: The bytes.
        access: How many packets it may have.
        uri: The collection, named in errors.

    Raises:
        FrameIndexInvalidError: The bytes are damaged.
        LimitExceededError: It has more packets than the limits allow.
    """
    try:
        crc, *sizes = _HEAD.unpack_from(value)
        if zlib.crc32(value[4:]) != crc:
            raise ValueError("its CRC-32 is another")
        _check_sizes(sizes, access, uri)
        data = _decompressed(value)
        row = json.loads(data[: sizes[0]])
        end = sizes[0] + sizes[1]
        return PackedSegment(
            key=str(row["uri"]),
            number=int(row["segment_idx"]),
            count=int(row["segment_count"]),
            written_ns=int(row["written_ns"]),
            first_seconds=float(row["first_seconds"]),
            metadata=data[sizes[0] : end].decode(),
            value=value,
            columns_bytes=sizes[2],
        )
    except LimitExceededError:
        raise
    except (struct.error, ValueError, KeyError, TypeError, OSError, RecursionError, MemoryError) as error:
        raise FrameIndexInvalidError(
            f"the collection is damaged: the row of this video cannot be read ({error!r:.200}); {ADD_ANEW}",
            uri=uri,
        ) from error


def _decompressed(value: bytes) -> bytes:
    data: bytes = pa.decompress(
        memoryview(value)[_HEAD.size :], sum(_HEAD.unpack_from(value)[1:]), codec="zstd", asbytes=True
    )
    return data


def _check_sizes(sizes: list[int], access: Access, uri: str) -> None:
    """Refuse sizes that no segment can have, before memory is taken for them."""
    if max(sizes[:2]) > _MAX_TEXT_BYTES:
        raise ValueError(f"metadata of {max(sizes[:2])} bytes")
    limits = access.scan_limits
    if limits is not None and sizes[2] > _columns_bytes(limits.max_packets, limits.max_packets):
        raise LimitExceededError(
            f"expected segments of at most {limits.max_packets} packets in a collection, found one of "
            f"{sizes[2]} bytes; allow more with index_limits=IndexLimits(max_packets=)",
            uri=uri,
        )


def _columns_bytes(frames: int, packets: int) -> int:
    return _NUMBER_BYTES * (_FRAME_COLUMNS * frames + _PACKET_COLUMNS * packets) + _FLAGS * packets


def _packed(table: SegmentTable, first_seconds: float) -> bytes:
    packets = table.packets
    expected = _seconds(table.pts, table.info) + first_seconds
    residual = table.timestamp.view(np.int64) - expected.view(np.int64)
    end_before = _shifted(packets.offset + packets.size)
    numbers = [
        *(_differences(table.pts), _differences(table.duration)),
        *(_differences(table.packet), _differences(table.start), _differences(residual)),
        *(packets.offset - end_before, packets.size, packets.crc32),
    ]
    flags = [packets.is_reference, packets.is_corrupt, packets.is_keyframe]
    return b"".join([*(_split(column) for column in numbers), *(flag.tobytes() for flag in flags)])


def _unpacked(data: bytes, entry: SegmentEntry, first_seconds: float) -> SegmentTable:
    frames, packets = entry.frames, entry.packets
    counts = [frames] * _FRAME_COLUMNS + [packets] * _PACKET_COLUMNS
    ends = np.cumsum([0, *(_NUMBER_BYTES * count for count in counts), *[packets] * _FLAGS]).tolist()
    numbers = [_joined(data[ends[i] : ends[i + 1]]) for i in range(len(counts))]
    flags = [np.frombuffer(data[ends[i] : ends[i + 1]], np.int8) for i in range(len(counts), len(ends) - 1)]
    pts, duration, packet, start, residual = (np.cumsum(column) for column in numbers[:_FRAME_COLUMNS])
    gap, size, crc32 = numbers[_FRAME_COLUMNS:]
    # offset[i] - (offset[i - 1] + size[i - 1]) was stored.
    offset = np.cumsum(gap + _shifted(size))
    expected = _seconds(pts, entry.info) + first_seconds
    return SegmentTable(
        info=entry.info,
        pts=pts,
        duration=duration,
        timestamp=(residual + expected.view(np.int64)).view(np.float64),
        packet=packet,
        start=start,
        packets=PacketTable(offset, size, crc32, flags[0].copy(), flags[1] != 0, flags[2] != 0),
    )


def _seconds(pts: Int64Array, info: SegmentInfo) -> npt.NDArray[np.float64]:
    numerator, denominator = (
        float(min(part, _LARGE)) for part in (info.time_base.numerator, info.time_base.denominator)
    )
    return pts.astype(np.float64) * numerator / denominator


def _differences(column: Int64Array) -> Int64Array:
    return column - _shifted(column)


def _shifted(column: Int64Array) -> Int64Array:
    """Return a column moved down by one row, with 0 in the first."""
    shifted = np.zeros_like(column)
    shifted[1:] = column[:-1]
    return shifted


def _split(column: npt.NDArray[Any]) -> bytes:
    """Return int64 as bytes: the lowest of every number, then the next of every number, and so on."""
    return np.ascontiguousarray(column.astype("<i8").view(np.uint8).reshape(-1, _NUMBER_BYTES).T).tobytes()


def _joined(data: bytes) -> Int64Array:
    parts = np.frombuffer(data, np.uint8).reshape(_NUMBER_BYTES, -1)
    return np.ascontiguousarray(parts.T).view("<i8").reshape(-1).astype(np.int64)

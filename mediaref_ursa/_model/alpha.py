"""Alpha that a container stores as side data of each packet: VP8 and VP9 in Matroska and WebM. Pure.

Such a file holds two streams of one codec: the colours are the packets, and the alpha of each is in the
BlockAdditional element of the same block (WebM Container Guidelines, alpha channel). FFmpeg's own VP8 and VP9
decoders drop it. The index says where it stands; for RGBA, a packet is read together with its alpha.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._bitstream.hevc import HevcInspector
from mediaref_ursa._core.errors import FrameIndexInvalidError, UnsupportedMediaError
from mediaref_ursa._core.wording import WRITE_ANEW
from mediaref_ursa._model.segment import (
    ALPHA_UNREADABLE,
    SEPARATE_ALPHA,
    UNKNOWN,
    AlphaSplit,
    SegmentInfo,
    SegmentTable,
)

if TYPE_CHECKING:
    from mediaref_ursa._core.array_types import Int64Array

_ROW = np.dtype([("start", "<u4"), ("size", "<u4"), ("crc32", "<u4"), ("random_access", "u1")])
"""A packet's alpha: where it begins after the packet's first byte, its bytes, the CRC-32 of all from the
packet's first byte to the alpha's last, and whether decoding of the alpha may begin there."""


@dataclass(frozen=True)
class AlphaPackets:
    """The alpha of each packet of a segment, in decode order.

    Attributes:
        rows: ``(m,)``, fields as ``_ROW``; a ``size`` of 0 where the packet has no alpha.
    """

    rows: npt.NDArray[Any]

    @classmethod
    def from_lists(
        cls, start: list[int], size: list[int], crc32: list[int], random_access: list[bool]
    ) -> AlphaPackets:
        """Return the alpha of packets from lists with one value a packet."""
        rows = np.zeros(len(start), dtype=_ROW)
        rows["start"], rows["size"], rows["crc32"], rows["random_access"] = start, size, crc32, random_access
        return cls(rows)

    def encoded(self) -> bytes:
        """Return the rows as an index stores them, with their own CRC-32 before them."""
        data = self.rows.tobytes()
        return zlib.crc32(data).to_bytes(4, "little") + data

    @classmethod
    def decoded(cls, data: bytes, packets: int, uri: str) -> AlphaPackets:
        """Return the rows of :meth:`encoded` for a segment of so many packets.

        Raises:
            FrameIndexInvalidError: They are none.
        """
        if len(data) != 4 + packets * _ROW.itemsize or zlib.crc32(data[4:]) != int.from_bytes(
            data[:4], "little"
        ):
            raise FrameIndexInvalidError(
                f"the frame index cannot be true: what it says of the alpha of {packets} packets is damaged; "
                f"{WRITE_ANEW}",
                uri=uri,
            )
        return cls(np.frombuffer(data, dtype=_ROW, offset=4))


def table_with_alpha(table: SegmentTable) -> SegmentTable:
    """Return a segment's table for decoding with alpha: each packet is read together with its alpha.

    Decoding begins where both the colours' and the alpha's may, and no packet is left out: one that no
    colours refer to may hold alpha that others refer to. Made once for a table, and kept with it.

    Raises:
        UnsupportedMediaError: The file has alpha that cannot be read.
        FrameIndexInvalidError: What the index says of it cannot be true.
    """
    if table.info.alpha == ALPHA_UNREADABLE or _has_unread_layer(table.info):
        raise UnsupportedMediaError(
            f"the alpha of this {table.info.codec} video cannot be read: it is a track or a layer of its "
            "own, or stands next to packets that are compressed, come after it, or have another pixel format "
            "than yuv420p (or PyAV is older than 16); ask for RGB, or encode it anew",
            uri=table.info.uri,
        )
    if table.info.alpha != SEPARATE_ALPHA:
        return table
    kept: SegmentTable | None = table.__dict__.get("_with_alpha")
    if kept is None:
        kept = table.__dict__.setdefault("_with_alpha", _derived(table))
    return kept


def _has_unread_layer(info: SegmentInfo) -> bool:
    """Whether the configuration of an HEVC video says that there is alpha which its frames lack.

    Indexes of earlier versions do not say so.
    """
    if info.codec != "hevc" or info.pixel_format.startswith("yuva"):
        return False
    return HevcInspector(info.extradata).has_alpha_layer


def _derived(table: SegmentTable) -> SegmentTable:
    packets = table.packets
    rows = AlphaPackets.decoded(table.info.alpha_packets, len(packets), table.info.uri).rows
    start, size = rows["start"].astype(np.int64), rows["size"].astype(np.int64)
    has_alpha = size > 0
    if (has_alpha & (start < packets.size)).any():
        raise FrameIndexInvalidError(
            f"the frame index cannot be true: alpha begins within its packet; {WRITE_ANEW}",
            uri=table.info.uri,
        )
    return replace(
        table,
        start=_starts(table, rows["random_access"].astype(np.bool_) & has_alpha),
        packets=replace(
            packets,
            size=np.where(has_alpha, start + size, packets.size),
            crc32=np.where(has_alpha, rows["crc32"], packets.crc32).astype(np.int64),
            is_reference=np.full(len(packets), UNKNOWN, dtype=np.int8),
            alpha=AlphaSplit(packets.size, start, size),
        ),
    )


def _starts(table: SegmentTable, alpha_random_access: npt.NDArray[np.bool_]) -> Int64Array:
    """Return the start packet of each frame: the last random access point of both colours and alpha."""
    points = table.random_access_points
    shared = points[alpha_random_access[points]]
    step = np.searchsorted(shared, table.start, side="right") - 1
    if not len(shared):
        return np.zeros(len(table), dtype=np.int64)
    return np.where(step >= 0, shared[np.maximum(step, 0)], 0).astype(np.int64)

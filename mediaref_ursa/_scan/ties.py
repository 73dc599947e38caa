"""Ties: frames that share a time, of which the one that a decoder outputs last is displayed."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import CorruptMediaError
from mediaref_ursa._model.segment import EncodedPacket, SegmentInfo
from mediaref_ursa._pyav.codec import drain_context, feed_context, open_context

_MAX_REORDERED_PACKETS = 64
"""Reordering distance: packets further apart come out in decode order, as decoders hold 16 frames at most."""


def tied_packets(pts: Int64Array, displayed: Int64Array) -> list[list[int]]:
    """Return the packets whose frames share a time, if decode order does not decide which is output last.

    Args:
        pts: int64 ``(m,)``, ticks, of all packets.
        displayed: int64 ``(n,)``, ascending, the packets that give frames with a time.
    """
    ordered = displayed[np.argsort(pts[displayed], kind="stable")]
    joined = (np.diff(pts[ordered]) == 0) & (np.diff(ordered) <= _MAX_REORDERED_PACKETS)
    ends = np.flatnonzero(np.diff(np.concatenate([[False], joined, [False]]).astype(np.int8)))
    return [
        ordered[first : last + 1].tolist()
        for first, last in zip(ends[::2].tolist(), ends[1::2].tolist(), strict=True)
    ]


def output_rank(
    ties: list[list[int]], starts: list[int], count: int, packets: Iterable[EncodedPacket], info: SegmentInfo
) -> Int64Array:
    """Return int64 ``(count,)``, output ranks: of packets with one time, the highest rank is output last.

    Args:
        ties: As :func:`tied_packets` returns them.
        starts: The packet at which decoding must begin for each of them.
        count: Packets of the segment.
        packets: All of them, in decode order; those around ties are decoded.
        info: The segment.
    """
    spans = _merged(
        sorted((start, max(tie) + _MAX_REORDERED_PACKETS) for start, tie in zip(starts, ties, strict=True))
    )
    output = _decoded(spans, packets, info)
    position = {number: at for at, number in enumerate(output)}
    rank = np.arange(count, dtype=np.int64)
    for tie in ties:
        given = sorted((number for number in tie if number in position), key=lambda number: position[number])
        rank[tie] = -1
        rank[given] = sorted(given)
    return rank


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in spans:
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged


def _decoded(spans: list[tuple[int, int]], packets: Iterable[EncodedPacket], info: SegmentInfo) -> list[int]:
    """Return the packets of the frames of each span of packets, in the order of output."""
    output: list[int] = []
    left = list(reversed(spans))
    context = None
    for packet in packets:
        if not left:
            break
        first, last = left[-1]
        if packet.number < first:
            continue
        fed = packet
        if packet.number == first:
            context, fed = open_context(info), packet.as_first_of(info)
        assert context is not None
        try:
            output += [f.pts for f in feed_context(context, fed, uri=info.uri) if f.pts is not None]
        except CorruptMediaError:
            last = packet.number  # up to the last packet that a reader would get
        if packet.number >= last:
            left.pop()
            output += [f.pts for f in drain_context(context, uri=info.uri) if f.pts is not None]
    else:
        if left and context is not None:
            output += [f.pts for f in drain_context(context, uri=info.uri) if f.pts is not None]
    return output

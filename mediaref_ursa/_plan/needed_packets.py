"""The packets that a decoder needs for the frames wanted. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._model.segment import SegmentTable


def needed_mask(
    table: SegmentTable, packets: Int64Array, wanted: Int64Array | None = None
) -> npt.NDArray[np.bool_]:
    """Return bool ``(n,)``: whether other packets refer to each packet, or it is wanted itself.

    Args:
        table: The segment.
        packets: int64 ``(n,)``.
        wanted: Positions in ``packets`` of those whose frames are wanted, and at which a decoder begins.
    """
    needed: npt.NDArray[np.bool_] = table.packets.is_reference[packets] != 0
    if wanted is not None:
        needed[wanted] = True
    return needed


def packets_of_runs(
    table: SegmentTable, targets: Int64Array, firsts: Int64Array, begins: Int64Array, ends: Int64Array
) -> Iterator[Int64Array]:
    """Yield, for each run, the packets from the first needed to the last wanted, unneeded ones left out.

    Args:
        table: The segment.
        targets: int64 ``(n,)``, the packets wanted, one run after another.
        firsts: int64 ``(k,)``, the packet at which each run begins.
        begins: int64 ``(k,)``, where each run's targets begin.
        ends: int64 ``(k,)``, where they end.
    """
    lasts = np.minimum(targets[ends - 1] + table.info.lookahead_packets, len(table.packets) - 1)
    lengths = lasts - firsts + 1
    starts = np.cumsum(lengths) - lengths  # of each run's first packet, when all are laid end to end
    shift = firsts - starts
    packets = np.arange(int(lengths.sum()), dtype=np.int64) + np.repeat(shift, lengths)
    wanted = targets - np.repeat(shift, ends - begins)
    needed = needed_mask(table, packets, np.concatenate([wanted, starts]))  # a decoder begins at starts
    fed: Int64Array = packets[needed]
    counts = np.add.reduceat(needed, starts, dtype=np.int64)
    stop = 0
    for count in counts.tolist():
        start, stop = stop, stop + count
        yield fed[start:stop]


def packets_to_feed(
    table: SegmentTable, frames: Int64Array, start: int | None = None, *, begins: bool = True
) -> Int64Array:
    """Return the packets from the first needed to the last wanted, of one run.

    Args:
        table: The segment.
        frames: The frames wanted, in decode order.
        start: The packet to begin with; the first that is needed without it.
        begins: Whether a decoder begins there, and does not go on.
    """
    targets = table.packet[frames]
    last = min(int(targets[-1]) + table.info.lookahead_packets, len(table.packets) - 1)
    first = int(table.start[frames].min()) if start is None else start
    packets = np.arange(first, last + 1, dtype=np.int64)
    if not len(packets):
        return packets
    wanted = targets[targets >= first] - first
    fed: Int64Array = packets[needed_mask(table, packets, np.append(wanted, 0) if begins else wanted)]
    return fed

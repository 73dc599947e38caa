"""Damaged pictures and the frames that refer to them, computed from the segment's table alone.

What a decoder makes up for a damaged picture depends on what it decoded before. So every frame that is
predicted from one is an error, and a rule on the segment's table alone decides which frames those are: the
answer does not depend on which other frames were asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.errors import CorruptMediaError, DamagedMediaWarning
from mediaref_ursa._core.media_warnings import warn_once
from mediaref_ursa._model.segment import SegmentTable


def damage_before(table: SegmentTable, packet: int, damaged: Mapping[int, Collection[int]]) -> int | None:
    """Return the first damaged packet that the frame of ``packet`` may be predicted from, None without any.

    Those are the frame's own packet, and the reference pictures from its random access point up to it in
    decode order. Pictures that lead a random access point refer to what lies before it: where decoding began
    there they cannot be right, and only other pictures that lead it refer to them.

    Args:
        table: The segment.
        packet: The packet of a frame that is displayed.
        damaged: Packets whose pictures a decoder marked as damaged, or should have given and did not, each
            with the packets whose frames were still to come out by then.
    """
    if not damaged:
        return None
    table = table.whole
    start = int(table.start[table.frame_of_packet[packet]])
    for number in sorted(damaged):
        if number == packet:
            return number
        if not start <= number < packet or table.packets.is_reference[number] == 0:
            continue
        leads = _leads(table, number, damaged[number])
        if not leads or (_leads(table, packet, ()) and _point(table, number) == _point(table, packet)):
            return number
    return None


def is_spoilt(table: SegmentTable, first: int, start: int, damaged: Collection[int]) -> bool:
    """Return whether a decoder met damage before a random access point, so that a new decoder is needed.

    Args:
        table: The segment.
        first: The packet that the decoder began with. Pictures that refer to what lies before it do not
            count.
        start: The random access point.
        damaged: As ``damage_before`` takes it.
    """
    table = table.whole
    for number in damaged:
        frame = int(table.frame_of_packet[number])
        if number < start and (frame < 0 or first <= table.start[frame]):
            return True
    return False


def damage_error(packet: int, damaged: int, uri: str) -> CorruptMediaError:
    """Return the error of the frame of ``packet``, which the damaged packet ``damaged`` affects."""
    what = (
        "its picture is" if packet == damaged else f"it refers to the picture of packet {damaged}, which is"
    )
    return CorruptMediaError(
        f"the frame of packet {packet} is damaged: {what} damaged in the file, and what a decoder makes up "
        "for it depends on what it decoded before; repair the file, or leave the frame out",
        uri=uri,
    )


def damaged_frames(table: SegmentTable) -> npt.NDArray[np.bool_]:
    """Return bool ``(n,)``: the frames that the index knows to refer to a damaged picture or to be one."""
    packets = table.packets
    stops = packets.is_corrupt & (packets.is_reference != 0)
    before = np.append(0, np.cumsum(stops))
    last = np.minimum(table.packet + table.info.lookahead_packets, len(packets) - 1)
    found: npt.NDArray[np.bool_] = before[last + 1] > before[table.start]
    found |= packets.is_corrupt[table.packet] | packets.is_corrupt[table.start]
    return found


def _point(table: SegmentTable, packet: int) -> int:
    """Return the last random access point at or before a packet, in decode order."""
    points = table.random_access_points
    return int(points[max(0, np.searchsorted(points, packet, side="right") - 1)])


def _leads(table: SegmentTable, packet: int, still_to_come: Collection[int]) -> bool:
    """Return whether a picture follows its random access point in decode order and is displayed before it.

    Args:
        table: The segment.
        packet: The picture's.
        still_to_come: Packets whose frames had not come out of the decoder when the picture's did; decides
            for a picture that is never output.
    """
    point, frame = _point(table, packet), int(table.frame_of_packet[packet])
    if frame < 0:
        return point != packet and point in still_to_come
    first = int(table.frame_of_packet[point])
    return bool(table.start[frame] < point or (first >= 0 and table.pts[frame] < table.pts[first]))


@dataclass(frozen=True)
class Problems:
    """Problems of a video's media, over all its segments, as far as its index knows.

    Attributes:
        cut_short: Segments whose file ends before their container does.
        damaged_frames: Frames that cannot be decoded.
        repeated_times: Frames that are never output, since another one has their time.
        frames: Frames in all.
    """

    cut_short: int
    damaged_frames: int
    repeated_times: int
    frames: int

    def texts(self) -> list[str]:
        """Return a clause for each kind of problem, none without any."""
        found = []
        if self.cut_short:
            found.append("the file is cut short: frames at its end are lost")
        if self.damaged_frames:
            found.append(
                f"{self.damaged_frames} of {self.frames} frames are damaged, and each is an error when read"
            )
        if self.repeated_times:
            found.append(f"{self.repeated_times} frames are never displayed: other frames have their times")
        return found


def problems_of(tables: Iterable[SegmentTable]) -> Problems:
    """Return the problems of the media of a video of these segments."""
    tables = list(tables)
    return Problems(
        cut_short=sum(table.info.cut_short for table in tables),
        damaged_frames=sum(int(damaged_frames(table).sum()) for table in tables),
        repeated_times=sum(table.info.repeated_times for table in tables),
        frames=sum(len(table) for table in tables),
    )


def warn_of_problems(uri: str, tables: Iterable[SegmentTable]) -> None:
    """Give a ``DamagedMediaWarning``, once a video and process, where frames of a video are lost."""
    found = problems_of(tables).texts()
    if found:
        warn_once(DamagedMediaWarning, "; ".join(found), uri=uri)

"""Carrying out a plan: fetch, decode and hand over, run by run."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mediaref_ursa._errors import CorruptMediaError, MediaRefError
from mediaref_ursa._extras import needs_extra
from mediaref_ursa._frame_table import EncodedPacket, SegmentTable
from mediaref_ursa._pixels import PixelSpec
from mediaref_ursa._plan import DecodePlan, Run
from mediaref_ursa._sources import VideoSource, packets_of
from mediaref_ursa._time import Int64Array
from mediaref_ursa._uri_text import redact

with needs_extra("video"):
    from mediaref_ursa._pyav._convert import FrameConverter
    from mediaref_ursa._pyav._decode import decode_packets, open_context

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DecodedFrame:
    """What became of one frame of a plan.

    Attributes:
        slots: int64, the output places that want it.
        pixels: uint8, as the ``PixelSpec`` says; None where there is an error.
        error: Why there are no pixels.
    """

    slots: Int64Array
    pixels: UInt8Array | None = None
    error: MediaRefError | None = None


def execute(plan: DecodePlan, sources: Sequence[VideoSource], spec: PixelSpec) -> Iterator[DecodedFrame]:
    """Decode the runs of a plan one after another and yield each frame once, as it comes.

    Args:
        plan: What to decode.
        sources: The video of each of the plan's segments.
        spec: How pixels are handed out.

    Yields:
        Within a run, frames in the order of the decoder's output, then those that failed.
    """
    converter = FrameConverter(spec)
    for run in plan.runs:
        yield from _execute_run(run, plan.segments[run.segment], sources[run.segment], converter)


def _execute_run(
    run: Run | None, table: SegmentTable, source: VideoSource, converter: FrameConverter
) -> Iterator[DecodedFrame]:
    """Decode a run; past a packet that is bad, go on from where frames that it does not concern begin."""
    while run is not None:
        run = yield from _execute_until_bad(run, table, source, converter)


def _execute_until_bad(
    run: Run, table: SegmentTable, source: VideoSource, converter: FrameConverter
) -> Generator[DecodedFrame, None, Run | None]:
    """Decode a run up to its end or a bad packet; return what is left to decode, if anything is."""
    missing = {packet: target for target, packet in enumerate(run.targets.tolist())}
    fetch = _Fetch(packets_of(source, table, run.packets))
    error: MediaRefError | None = None
    try:
        for packet, pixels in _pixels(missing, table, fetch, converter):
            yield DecodedFrame(run.slots_of(missing.pop(packet)), pixels)
    except MediaRefError as raised:
        error = raised
    bad = _bad_packet(run, fetch, error)
    spared = [target for target in missing.values() if table.start[run.frames[target]] > bad]
    for target in missing.values():
        if target not in spared:
            failure = _failure(fetch.error or error, source, table, run, target)
            yield DecodedFrame(run.slots_of(target), error=failure)
    return run.only(spared, table) if spared else None


def _bad_packet(run: Run, fetch: _Fetch, error: MediaRefError | None) -> int:
    """Return the packet that ended a run; one past all packets where going on would not help."""
    if isinstance(fetch.error, CorruptMediaError):
        return int(run.packets[np.searchsorted(run.packets, fetch.last, side="right")])
    if isinstance(error, CorruptMediaError):
        return fetch.last
    return int(run.packets[-1])


def _pixels(
    wanted: dict[int, int], table: SegmentTable, fetch: _Fetch, converter: FrameConverter
) -> Iterator[tuple[int, UInt8Array]]:
    """Yield the packet and the pixels of each frame wanted.

    A packet that gives two frames shows the second, so that each waits for the next to come out. What
    comes out when packets ended early is kept only if all the packets that complete it were fed.
    """
    held: tuple[int, UInt8Array] | None = None
    for packet, frame in decode_packets(open_context(table.info), fetch, uri=table.info.uri):
        if held is not None and held[0] != packet:
            yield held
            held = None
        if packet in wanted and not (fetch.error and packet > fetch.last - table.info.lookahead_packets):
            held = packet, converter.convert(frame, table.info.rotation, uri=table.info.uri)
    if held is not None:
        yield held


def _failure(
    error: MediaRefError | None, source: VideoSource, table: SegmentTable, run: Run, target: int
) -> MediaRefError:
    """Return the error of one frame: why its run ended before it, or that no frame came out."""
    pts_ns = int(table.pts_ns[run.frames[target]])
    if error is None:
        error = CorruptMediaError(
            f"the decoder gave no frame for packet {run.targets[target]}; decoding began at packet "
            f"{run.packets[0]}"
        )
    message = error.message
    if table.info.uri != source.uri:
        message = f"segment {redact(table.info.uri)}: {message}"
    failure = type(error)(message, uri=source.uri, pts_ns=pts_ns)
    failure.__cause__ = error.__cause__
    return failure


class _Fetch:
    """Packets up to the first that cannot be had: what was decoded before it still counts."""

    def __init__(self, packets: Iterator[EncodedPacket]) -> None:
        self._packets = packets
        self.error: MediaRefError | None = None
        self.last = -1

    def __iter__(self) -> Iterator[EncodedPacket]:
        try:
            for packet in self._packets:
                self.last = packet.number
                yield packet
        except MediaRefError as error:
            self.error = error

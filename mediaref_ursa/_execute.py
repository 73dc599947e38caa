"""Carrying out a plan: fetch, decode and place, run by run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from mediaref_ursa._errors import CorruptMediaError, MediaRefError
from mediaref_ursa._extras import needs_extra
from mediaref_ursa._frame_table import EncodedPacket, SegmentTable
from mediaref_ursa._pixels import PixelSpec
from mediaref_ursa._plan import DecodePlan, Run
from mediaref_ursa._sources import VideoSource, packets_of
from mediaref_ursa._uri_text import redact

with needs_extra("video"):
    from mediaref_ursa._pyav._convert import FrameConverter
    from mediaref_ursa._pyav._decode import decode_packets, open_context

UInt8Array = npt.NDArray[np.uint8]
Outputs = dict[int, UInt8Array]
Failures = dict[int, MediaRefError]


def execute(plan: DecodePlan, sources: Sequence[VideoSource], spec: PixelSpec) -> tuple[Outputs, Failures]:
    """Decode all runs of a plan.

    Args:
        plan: What to decode.
        sources: The video of each of the plan's segments.
        spec: How pixels are handed out.

    Returns:
        The frame of each slot, each an array of its own, and the error of each slot without one.
    """
    outputs: Outputs = {}
    failures: Failures = {}
    converter = FrameConverter(spec)
    for run in plan.runs:
        _execute_run(run, plan.segments[run.segment], sources[run.segment], converter, outputs, failures)
    return outputs, failures


def _execute_run(
    run: Run,
    table: SegmentTable,
    source: VideoSource,
    converter: FrameConverter,
    outputs: Outputs,
    failures: Failures,
) -> None:
    target_of = {packet: i for i, packet in enumerate(run.targets.tolist())}
    done: dict[int, UInt8Array] = {}
    fetch = _Fetch(packets_of(source, table, run.packets))
    error: MediaRefError | None = None
    try:
        for packet, frame in decode_packets(open_context(table.info), fetch, uri=table.info.uri):
            target = target_of.get(packet)
            if target is not None:
                done[target] = converter.convert(frame, table.info.rotation, uri=table.info.uri)
    except MediaRefError as raised:
        error = raised
    complete = fetch.last - table.info.lookahead_packets if fetch.error else int(run.packets[-1])
    for target, packet in enumerate(run.targets.tolist()):
        slots = run.slots_of(target).tolist()
        if target in done and packet <= complete:
            _place(done[target], slots, outputs)
        else:
            failure = _failure(fetch.error or error, source, table, run, target)
            failures.update(dict.fromkeys(slots, failure))


def _place(pixels: UInt8Array, slots: list[int], outputs: Outputs) -> None:
    """Give each place its own array, so that changing one changes no other."""
    outputs[slots[0]] = pixels
    for slot in slots[1:]:
        outputs[slot] = pixels.copy()


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

"""Decoded frames compared with a linear decode of the file, which does not use the frame index.

The container's own decoder runs from the first packet to the last, and the playback rule is applied
to the frames that come out. Only the frames that are wanted are kept. Their colours are converted as
those of a batch are: what is compared is which frame came out, and whether it was decoded exactly.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from mediaref_ursa._core.array_types import Int64Array, UInt8Array
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.ticks import NS_PER_SECOND, TOLERANCE_NS
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._references.media_ref import MediaRef
from mediaref_ursa._scan.scan_uri import reader_of
from mediaref_ursa.store import ObjectStore, store_for

with needs_extra("video"):
    from mediaref_ursa._pyav.codec import use_one_thread
    from mediaref_ursa._pyav.convert import FrameConverter
    from mediaref_ursa._pyav.demux import open_video
    from mediaref_ursa._pyav.errors import foreign_errors

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_QUARTER_TURNS = (90, 180, 270)
_LONG_AGO = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Wanted:
    """A frame that a reference names, as a linear decode can find it.

    Attributes:
        label: What it is called in messages.
        ref: The reference.
        segment_uri: The file that the frame is in.
        local_ns: The reference's time in that file's own container time.
    """

    label: str
    ref: MediaRef
    segment_uri: str
    local_ns: int


@dataclass(frozen=True)
class WrongFrame:
    """A frame that differs from the linear decode's, and the difference."""

    wanted: Wanted
    reason: str

    def __str__(self) -> str:
        ref = self.wanted.ref
        return f"wrong frame: {self.wanted.label}, {redact(ref.uri)} at {ref.pts_ns} ns: {self.reason}"


@dataclass(frozen=True)
class Check:
    """The result of a comparison.

    Attributes:
        wrong: Frames that differ, in the order they were given in.
        frames_decoded: By the linear decode.
        milliseconds: Wall time of the linear decode and of the conversion of what is compared, without the
            comparison.
    """

    wrong: tuple[WrongFrame, ...]
    frames_decoded: int
    milliseconds: float


def check_frames(
    wanted: Sequence[Wanted],
    frames: Sequence[UInt8Array],
    on_frame: Callable[[], None] = lambda: None,
    *,
    store: ObjectStore | None = None,
) -> Check:
    """Compare frames with a linear decode of the files they are from, pixel for pixel.

    Args:
        wanted: The frames that references name.
        frames: uint8 ``(H, W, 3)`` RGB, turned for display, one for each of ``wanted``.
        on_frame: Called for each frame that the linear decode gives.
        store: Where the files are; chosen by each URI's scheme without it.

    Raises:
        MediaRefError: A file cannot be read or decoded from its beginning to its end.
    """
    began = time.perf_counter()
    truth: dict[int, VideoFrame | None] = {}
    decoded = 0
    for uri in dict.fromkeys(one.segment_uri for one in wanted):
        positions = [position for position, one in enumerate(wanted) if one.segment_uri == uri]
        displayed, count = linear_frames_at(
            uri, [wanted[position].local_ns for position in positions], on_frame, store=store
        )
        truth.update(zip(positions, displayed, strict=True))
        decoded += count
    distinct = {id(frame): frame for frame in truth.values() if frame is not None}
    pictures = {key: upright_rgb(frame) for key, frame in distinct.items()}
    milliseconds = (time.perf_counter() - began) * 1e3
    reasons = []
    for position, found in enumerate(frames):
        frame_displayed = truth[position]
        reasons.append(
            "the linear decode gives no frame at that time"
            if frame_displayed is None
            else difference(found, pictures[id(frame_displayed)], frame_displayed.pts)
        )
    wrong = [WrongFrame(one, reason) for one, reason in zip(wanted, reasons, strict=True) if reason]
    return Check(tuple(wrong), decoded, milliseconds)


def linear_frames_at(
    uri: str,
    t_ns: Sequence[int],
    on_frame: Callable[[], None] = lambda: None,
    *,
    store: ObjectStore | None = None,
) -> tuple[list[VideoFrame | None], int]:
    """Decode a file from its first packet to its last on one thread; keep those displayed at given times.

    Args:
        uri: One video file.
        t_ns: Nanoseconds of container time.
        on_frame: Called for each frame.
        store: Where it is; chosen by the URI's scheme without it.

    Returns:
        The frame displayed at each time, or None before the first; and how many frames were decoded.

    Raises:
        MediaRefError: The file cannot be read or decoded.
    """
    store = store_for(uri) if store is None else store
    displayed: list[VideoFrame | None] = [None] * len(t_ns)
    best = np.full(len(t_ns), _LONG_AGO, dtype=np.int64)
    count = 0
    with open_video(reader_of(uri, store, store.head(uri)), uri=uri) as (container, stream):
        use_one_thread(stream.codec_context)
        assert stream.time_base is not None
        reach = _reach_ticks(t_ns, Fraction(stream.time_base))
        with foreign_errors("decode the file from its first packet", uri=uri):
            for frame in container.decode(stream):
                count += 1
                on_frame()
                if frame.pts is None:
                    continue
                # Of frames with the same pts the later one is displayed: hence "at or after the best".
                for position in np.flatnonzero((frame.pts <= reach) & (frame.pts >= best)).tolist():
                    displayed[position], best[position] = frame, frame.pts
    return displayed, count


def difference(found: UInt8Array, truth: UInt8Array, pts: int | None) -> str | None:
    """Return the difference between a frame and that of the linear decode, None if they are equal."""
    if found.shape != truth.shape:
        return f"expected the shape {truth.shape}, found {found.shape}"
    differing = int((found != truth).any(axis=2).sum())
    if not differing:
        return None
    pixels = truth.shape[0] * truth.shape[1]
    return f"{differing} of {pixels} pixels differ from the frame with pts {pts}"


def upright_rgb(frame: VideoFrame) -> UInt8Array:
    """Return a frame as ``(H, W, 3)`` uint8 RGB, turned as its own display matrix says."""
    turned = round(frame.rotation) % 360
    return FrameConverter(PixelSpec()).convert(frame, turned if turned in _QUARTER_TURNS else 0, uri="")


def _reach_ticks(t_ns: Sequence[int], time_base: Fraction) -> Int64Array:
    """Return the last tick whose exact time is not after each time plus the playback rule's tolerance."""
    reach = (Fraction(time + TOLERANCE_NS, NS_PER_SECOND) / time_base for time in t_ns)
    return np.array([ticks.numerator // ticks.denominator for ticks in reach], dtype=np.int64)

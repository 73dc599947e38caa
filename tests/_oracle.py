"""The slow truth: every frame of a file, decoded from its first packet on one thread.

Nothing here comes from the package under test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

RGBArray = npt.NDArray[np.uint8]

# swscale's matrices (SWS_CS_*) by FFmpeg's AVColorSpace; BT.601 for all others. Plain numbers: older
# PyAV has no name for BT.2020.
_SWSCALE_MATRICES = {1: 1, 4: 4, 7: 7, 9: 9, 10: 9}
_SWSCALE_BT601 = 5


@dataclass(frozen=True)
class OracleFrame:
    """One shown frame.

    Attributes:
        pts: Ticks.
        time: ``pts * time_base``, exact seconds.
        duration: Ticks; where the decoder gives none, the gap before the frame, or 1 for the only frame.
        frame: As decoded.
        rgb: ``(H, W, 3)`` uint8, turned for display.
    """

    pts: int
    time: Fraction
    duration: int
    time_base: Fraction
    frame: Any
    rgb: RGBArray

    def pixels(self, dtype: str) -> npt.NDArray[Any]:
        """``(H, W, 3)`` of a ``dtype=``: with ``"native"`` uint16 at full scale, of more than 8 bits."""
        is_deep = self.frame.format.components[0].bits > 8
        return to_rgb(self.frame, "rgb48le") if dtype == "native" and is_deep else self.rgb

    @property
    def end(self) -> Fraction:
        """The exact time in seconds at which the frame is over."""
        return self.time + self.duration * self.time_base


def linear_frames(path: Path | str) -> list[OracleFrame]:
    """Decode a whole file, packet after packet, and return its frames in presentation order.

    Of frames with the same pts, the one that the decoder gave last is kept: it is what a player leaves on
    the screen. Frames that the decoder reports no time for are left out: no reference can name them.

    Raises:
        LookupError: The file has no video stream.
    """
    by_pts: dict[int, Any] = {}
    with av.open(str(path)) as container:
        stream = best_video_stream(container)
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        time_base = Fraction(stream.time_base)
        for frame in container.decode(stream):
            if frame.pts is not None:
                by_pts[frame.pts] = frame
    ordered = [by_pts[pts] for pts in sorted(by_pts)]
    return [_oracle_frame(ordered, i, time_base) for i in range(len(ordered))]


def best_video_stream(container: Any) -> Any:
    """Return FFmpeg's best video stream of an open container, never an attached picture."""
    best = container.streams.best("video")
    if best is not None and Disposition.attached_pic not in Disposition(best.disposition):
        return best
    for stream in container.streams.video:
        if Disposition.attached_pic not in Disposition(stream.disposition):
            return stream
    raise LookupError("expected a video stream, found none")


def to_rgb(frame: Any, pixel_format: str = "rgb24") -> npt.NDArray[Any]:
    """Convert a decoded frame to ``(H, W, 3)`` RGB by its own tags, turned for display.

    Older PyAV ignores the tags of a frame unless it is told them. ``frame.rotation`` is
    counter-clockwise degrees, and so is ``np.rot90``.
    """
    is_full_range = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    is_deep = frame.format.components[0].bits > 8 and frame.format.chroma_width(4) < 4
    source = frame
    if is_deep:  # as FFmpeg's command line: bicubic, whatever is said of where chroma lies
        source = VideoFrame.from_ndarray(frame.to_ndarray(), format=frame.format.name)
    picture = VideoReformatter().reformat(
        source,
        interpolation=Interpolation.BICUBIC if is_deep else Interpolation.BILINEAR,
        format=pixel_format,
        src_colorspace=_SWSCALE_MATRICES.get(int(frame.colorspace), _SWSCALE_BT601),
        dst_colorspace=_SWSCALE_BT601,
        src_color_range=ColorRange.JPEG if is_full_range else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    )
    return np.ascontiguousarray(np.rot90(picture.to_ndarray(), round(frame.rotation / 90)))


def shown_at(frames: Sequence[OracleFrame], t_ns: int, tolerance_ns: int = 1000) -> int:
    """Return which of ``frames`` is shown at ``t_ns``: the playback rule, word by word.

    Raises:
        LookupError: Before the first frame, or not before the end of the last.
    """
    t = Fraction(t_ns, 1_000_000_000)
    if t >= frames[-1].end:
        raise LookupError(f"expected a time before {frames[-1].end}, found {t}")
    reach = t + Fraction(tolerance_ns, 1_000_000_000)
    begun = [index for index, frame in enumerate(frames) if frame.time <= reach]
    if not begun:
        raise LookupError(f"expected a time from {frames[0].time}, found {t}")
    return begun[-1]


def _oracle_frame(ordered: Sequence[Any], index: int, time_base: Fraction) -> OracleFrame:
    frame = ordered[index]
    gap = frame.pts - ordered[index - 1].pts if index else 1
    return OracleFrame(
        pts=frame.pts,
        time=frame.pts * time_base,
        duration=frame.duration or gap,
        time_base=time_base,
        frame=frame,
        rgb=to_rgb(frame),
    )

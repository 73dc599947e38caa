"""The engine of PyAV: one codec context a run, fed by hand."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mediaref_ursa._feed import PacketFeed
from mediaref_ursa._frame_table import SegmentInfo, SegmentTable
from mediaref_ursa._pixels import MAX_PIXELS, PixelSpec
from mediaref_ursa._plan import Run
from mediaref_ursa._pyav._convert import FrameConverter
from mediaref_ursa._pyav._decode import decode_packets, open_context

UInt8Array = npt.NDArray[np.uint8]


class PyAVEngine:
    """Decodes runs with PyAV. Threads may share one: each has a converter of its own.

    Args:
        spec: How pixels are handed out.
    """

    def __init__(self, spec: PixelSpec) -> None:
        self._spec = spec
        self._of_thread = threading.local()

    def may_need_earlier_start(self, info: SegmentInfo) -> bool:
        """Whether frames that did not come out may come out from an earlier random access point: no."""
        return False

    def decode(self, table: SegmentTable, run: Run, feed: PacketFeed) -> Iterator[tuple[int, UInt8Array]]:
        """Yield the packet and the pixels of each frame wanted, in the order of the decoder's output.

        A packet that gives two frames shows the second, so that each waits for the next to come out.

        Raises:
            CorruptMediaError: The decoder refuses a packet; the frames before it were yielded.
            UnsupportedMediaError: There is no decoder.
            LimitExceededError: A frame has more pixels than are allowed.
        """
        info, wanted = table.info, set(run.targets.tolist())
        converter = self._converter()
        context = open_context(info, max_pixels=max(MAX_PIXELS, self._spec.max_pixels))
        held: tuple[int, UInt8Array] | None = None
        for packet, frame in decode_packets(context, feed, uri=info.uri):
            if held is not None and held[0] != packet:
                yield held
                held = None
            if packet in wanted and feed.completes(packet, info.lookahead_packets):
                held = packet, converter.convert(frame, info.rotation, uri=info.uri)
        if held is not None:
            yield held

    def _converter(self) -> FrameConverter:
        converter: FrameConverter | None = getattr(self._of_thread, "converter", None)
        if converter is None:
            converter = self._of_thread.converter = FrameConverter(self._spec)
        return converter

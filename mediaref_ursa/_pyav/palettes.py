"""Palettes that a container passes to the decoder as side data of packets: AVI, QuickTime and Matroska.

A container gives its palette along with the first packet, and again where it changes. A decoder keeps the
last one, so that one that begins at another packet must be given the palette in force there. The index has
them all.
"""

from __future__ import annotations

import functools
import io
from typing import Any, Literal

import av
import numpy as np
from av.packet import Packet

from mediaref_ursa._core.errors import UnsupportedMediaError
from mediaref_ursa._model.segment import MAX_PALETTES, PALETTE_BYTES

SHOWS_SIDE_DATA = hasattr(Packet, "has_sidedata")  # PyAV 16 and later
_PALETTE: Literal["palette"] = "palette"


def palette_of(packet: Packet[Any]) -> bytes | None:
    """Return the palette in a packet's side data, None without one."""
    if not (SHOWS_SIDE_DATA and packet.has_sidedata(_PALETTE)):
        return None
    return bytes(packet.get_sidedata(_PALETTE))


def give_palette(packet: Packet[Any], palette: bytes) -> None:
    """Add a palette to a packet as side data for the decoder."""
    side_data = _packet_with_palette().get_sidedata(_PALETTE)
    side_data.update(palette)
    packet.set_sidedata(side_data)


class PaletteCollector:
    """The palettes of a scan, each with the first packet for which it is in force."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.palettes: list[tuple[int, bytes]] = []

    def add(self, number: int, packet: Packet[Any]) -> None:
        """Record the palette of a packet, if it differs from the one in force.

        Raises:
            UnsupportedMediaError: There are too many for an index.
        """
        palette = palette_of(packet)
        if palette is None or (self.palettes and self.palettes[-1][1] == palette):
            return
        if len(palette) != PALETTE_BYTES or len(self.palettes) >= MAX_PALETTES:
            raise UnsupportedMediaError(
                f"expected at most {MAX_PALETTES} palettes of {PALETTE_BYTES} bytes, found more; "
                "encode the video anew in a format with colours of its own",
                uri=self._uri,
            )
        self.palettes.append((number, palette))


@functools.cache
def _packet_with_palette() -> Packet[Any]:
    """Return a packet with a palette as side data: PyAV copies side data, but makes none of bytes."""
    file = io.BytesIO()
    with av.open(file, "w", format="avi") as output:
        stream = output.add_stream("rawvideo", rate=1)
        stream.width, stream.height, stream.pix_fmt = 4, 4, "pal8"
        pixels = np.zeros((4, 4), np.uint8), np.zeros((256, 4), np.uint8)
        frame = av.VideoFrame.from_ndarray(pixels, format="pal8")  # type: ignore[arg-type]
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r", format="avi") as source:
        return next(source.demux(video=0))

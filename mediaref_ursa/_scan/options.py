"""``ScanOptions``: which stream of a video is scanned, and how much of it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from mediaref_ursa._model.pixels import MAX_PIXELS

Progress = Callable[[int, int], None]
"""Progress callback, called from time to time with the bytes done and the total."""


@dataclass(frozen=True)
class ScanOptions:
    """The options of one scan.

    Attributes:
        stream_index: The video stream, counted across all kinds of streams as FFmpeg does; None is FFmpeg's
            best.
        full: True reads all of the file, from its first byte to its last. False reads of an MP4 or MOV file
            what describes its samples and little more, where that gives the same frames: checksums and
            reference flags stay unknown. None does so where it saves at least half of the file, unless the
            file is on this machine.
        decode: Decode every frame, linearly and from its random access point, to find damaged pictures.
            Reads all of the file.
        max_pixels: The largest picture, width times height.
    """

    stream_index: int | None = None
    full: bool | None = None
    decode: bool = False
    max_pixels: int = MAX_PIXELS

    def to_message(self) -> dict[str, Any]:
        """Return the options as a JSON value, for the scanning process."""
        return asdict(self)

    @classmethod
    def from_message(cls, message: Any) -> ScanOptions:
        """Return the options of :meth:`to_message`."""
        return cls(**message)


FULL_SCAN = ScanOptions(full=True)

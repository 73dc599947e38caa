"""``StreamHeader``: a container's claims about a video stream that decoding does not need. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_LIMIT = 2**63
_UNSPECIFIED = 2

COLOR_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
COLOR_SPACES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    11: "smpte2085",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
COLOR_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
"""FFmpeg's names by the numbers of ITU-T H.273."""


@dataclass(frozen=True)
class StreamHeader:
    """Claims of a container's header; none of them decides which frame is displayed.

    Attributes:
        stream_index: The stream's number among all streams of the file.
        color_primaries: AVColorPrimaries number (2 is unspecified).
        color_transfer: AVColorTransferCharacteristic number (2 is unspecified).
        sample_aspect_ratio: Width of a pixel by its height; None where it is not said.
        bit_rate: Bits a second; None where it is not said.
        frame_rate: Frames a second, as FFmpeg guesses from the header; None where it is not said.
        start_ticks: When the stream begins; None where it is not said.
        duration_ticks: How long it is; None where it is not said.
        frames: How many frames it has; None where it is not said.

    >>> StreamHeader.from_json(StreamHeader(1, frame_rate=Fraction(30000, 1001)).to_json()).frame_rate
    Fraction(30000, 1001)
    """

    stream_index: int
    color_primaries: int = _UNSPECIFIED
    color_transfer: int = _UNSPECIFIED
    sample_aspect_ratio: Fraction | None = None
    bit_rate: int | None = None
    frame_rate: Fraction | None = None
    start_ticks: int | None = None
    duration_ticks: int | None = None
    frames: int | None = None

    def as_metadata(self, time_base: Fraction, colorspace: int) -> dict[str, Any]:
        """Return the claims under TorchCodec's names and in its units.

        Args:
            time_base: Seconds a tick.
            colorspace: AVColorSpace number.
        """

        def seconds(ticks: int | None) -> float | None:
            return None if ticks is None else float(ticks * time_base)

        return {
            "stream_index": self.stream_index,
            "color_primaries": COLOR_PRIMARIES.get(self.color_primaries),
            "color_space": COLOR_SPACES.get(colorspace),
            "color_transfer_characteristic": COLOR_TRANSFERS.get(self.color_transfer),
            "pixel_aspect_ratio": self.sample_aspect_ratio,
            "bit_rate": None if self.bit_rate is None else float(self.bit_rate),
            "num_frames_from_header": self.frames,
            "average_fps_from_header": None if self.frame_rate is None else float(self.frame_rate),
            "begin_stream_seconds_from_header": seconds(self.start_ticks),
            "duration_seconds_from_header": seconds(self.duration_ticks),
        }

    def to_json(self) -> dict[str, Any]:
        """Return the JSON value that the index records."""
        values = dict(vars(self))
        for name in ("sample_aspect_ratio", "frame_rate"):
            ratio = values[name]
            values[name] = None if ratio is None else [ratio.numerator, ratio.denominator]
        return values

    @classmethod
    def from_json(cls, value: Any) -> StreamHeader | None:
        """Return the header that an index recorded, None without one. Unknown keys are ignored.

        Raises:
            ValueError: Not such a value.
        """
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ValueError(f"header {value!r}")
        given = {name: value.get(name) for name in cls.__dataclass_fields__ if value.get(name) is not None}
        ratios = {name: given.pop(name) for name in ("sample_aspect_ratio", "frame_rate") if name in given}
        numbers = {name: _number(number) for name, number in given.items()}
        return cls(**numbers, **{name: _ratio(ratio) for name, ratio in ratios.items()})  # type: ignore[arg-type]


def _number(value: Any) -> int:
    number = int(value)
    if not -_LIMIT <= number < _LIMIT:
        raise ValueError(f"a number that none can have, {number}")
    return number


def _ratio(value: Any) -> Fraction:
    numerator, denominator = (_number(part) for part in value)
    return Fraction(numerator, denominator)

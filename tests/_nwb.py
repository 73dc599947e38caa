"""NWB files with external videos of 29.97 frames a second, and what is written into them by pynwb."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from _encoding import Encoding, encode, make_picture

COUNTS = [30, 45, 20]
TOTAL = sum(COUNTS)
FILES = [f"videos/part{number}.mp4" for number in range(len(COUNTS))]
STARTS = [0, 30, 75]
TIMES = 100.0 + np.cumsum(np.random.default_rng(1).uniform(0.02, 0.05, TOTAL))
_ENCODING = Encoding(
    "libx264",
    "mp4",
    ".mp4",
    "h264",
    gop=12,
    b_frames=2,
    time_base=Fraction(1, 30000),
    ticks=lambda number: 1001 * number,
)


def encode_parts(folder: Path) -> None:
    """Write the three segments of one recording, each with pictures of its own."""
    (folder / "videos").mkdir(parents=True)
    for file, count, first in zip(FILES, COUNTS, STARTS, strict=True):
        encode(folder / file, replace(_ENCODING, count=count, picture=pictures_from(first)))


def pictures_from(first: int) -> Any:
    return lambda number, width, height: make_picture(first + number, width, height)


def new_file() -> Any:
    from pynwb import NWBFile

    start = datetime(2024, 1, 1, tzinfo=timezone.utc)
    return NWBFile(session_description="a session", identifier="a", session_start_time=start)


def new_series(**fields: Any) -> Any:
    """Return a series of the three files with timestamps; a field that is None is left out."""
    from hdmf.utils import get_docval
    from pynwb.image import ImageSeries

    has_num_samples = "num_samples" in {one["name"] for one in get_docval(ImageSeries.__init__)}
    known = {
        "name": "cam",
        "format": "external",
        "external_file": FILES,
        "starting_frame": STARTS,
        "timestamps": None if "rate" in fields else TIMES,
        "num_samples": TOTAL if "rate" in fields and has_num_samples else None,  # which new files need
        "unit": "n.a.",
    }
    return ImageSeries(**{key: value for key, value in {**known, **fields}.items() if value is not None})


def write(path: Path, nwbfile: Any) -> Path:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), "w") as io:
        io.write(nwbfile)
    return path


@contextmanager
def opened(path: Path, mode: str = "r") -> Iterator[Any]:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(str(path), mode) as io:
        yield io.read()


@contextmanager
def written_series(path: Path, **fields: Any) -> Iterator[Any]:
    """Write a series to an NWB file, and yield it as it is read from there."""
    nwbfile = new_file()
    nwbfile.add_acquisition(new_series(**fields))
    with opened(write(path, nwbfile)) as read:
        yield read.acquisition["cam"]

"""Videos of NWB files: an ``ImageSeries`` of external files as one recording on the session's clock.

Objects of pynwb are known by their attributes alone; pynwb and HDF5 are not imported.
"""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mediaref_ursa._core.array_types import Float64Array
from mediaref_ursa._core.errors import (
    FrameIndexMissingError,
    MediaNotFoundError,
    StoreError,
    UnsupportedMediaError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import in_working_directory, is_relative_path, scheme_of, without_query
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._video.recording import open_index_of
from mediaref_ursa.store._location import Location

with needs_extra("video"):
    from mediaref_ursa._index.build import check_ascending, scan_video_index, with_timestamps
    from mediaref_ursa._index.frame_index import LanceFrameIndex
    from mediaref_ursa._video.source import is_etag_pinned

StartingFrames: TypeAlias = Literal["check", "ignore"]
_MAX_LISTED = 20


@dataclass(frozen=True)
class ExternalVideo:
    """What an ``ImageSeries`` says of its video, read into memory.

    Attributes:
        name: The name of the series.
        source: The NWB file that it was read from; None of a series in memory.
        files: The external files, in order, as they are written there.
        timestamps: float64 ``(n,)``, seconds on the session's clock; None where there is a rate.
        starting_time: Seconds of the first frame, where there is a rate.
        rate: Frames a second; None where there are timestamps.
        starting_frame: The number of the first frame of each file; None where it is not given.
        frame_count: The number of frames; None where it is not given.
    """

    name: str
    source: str | None
    files: tuple[str, ...]
    timestamps: Float64Array | None
    starting_time: float
    rate: float | None
    starting_frame: npt.NDArray[Any] | None
    frame_count: int | None

    @classmethod
    def from_series(cls, series: Any) -> ExternalVideo:
        """Read an ``ImageSeries``, and check all that can be checked without its files.

        Raises:
            TypeError: No ``ImageSeries``.
            UnsupportedMediaError: Its frames are in the NWB file.
            ValueError: No files, neither timestamps nor a rate, or such as no video has.
            StoreError: The NWB file was closed.
        """
        if not hasattr(series, "external_file") or not hasattr(series, "rate"):
            raise TypeError(f"expected a pynwb ImageSeries, found {type(series).__name__}")
        name = f"ImageSeries {series.name!r}"
        files = _external_files(series, name)
        times, rate, start = _timing(series, name)
        # Before pynwb knew the attribute, it was the length of the data: 0 for external files.
        count = int(getattr(series, "num_samples", None) or 0) or None
        starting = None
        if series.starting_frame is not None:
            starting = values_of(series, series.starting_frame, "starting_frame").reshape(-1)
        return cls(name, source_of(series), files, times, start, rate, starting, count)

    def check_frames(self, counts: Sequence[int], starting_frames: StartingFrames) -> None:
        """Refuse a series that describes other frames than its files have.

        Args:
            counts: The number of frames of each file.
            starting_frames: Whether ``starting_frame`` is checked.

        Raises:
            ValueError: The message has both numbers.
        """
        total, files = sum(counts), len(self.files)
        for what, number in (
            ("timestamps", None if self.timestamps is None else len(self.timestamps)),
            ("as num_samples", self.frame_count),
        ):
            if number is not None and number != total:
                raise ValueError(
                    f"expected {total} {what}, one for each frame of the external files ({files}) of "
                    f"{self.name}, found {number}; correct the NWB file, or open the files without it, with "
                    "LazyVideo.from_segments"
                )
        if starting_frames == "ignore" or self.starting_frame is None:
            return
        expected, found = np.cumsum([0, *counts[:-1]]).tolist(), self.starting_frame.tolist()
        if found != expected:
            wrong = next((i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), None)
            where = min(len(found), files) if wrong is None else wrong
            raise ValueError(
                f"expected starting_frame {_listed(expected)} in {self.name}, the frames of all files before "
                f"each, found {_listed(found)}, which differs first at position {where}; correct the NWB "
                'file, or pass starting_frames="ignore" to go by the frames that the files have'
            )

    def session_times(self, frame_count: int) -> Float64Array:
        """Return float64 ``(frame_count,)``: the seconds of each frame on the session's clock."""
        if self.timestamps is not None:
            return self.timestamps
        assert self.rate is not None
        times: Float64Array = self.starting_time + np.arange(frame_count) / self.rate
        return times


def opened_series(
    series: Any, starting_frames: StartingFrames, location: Location
) -> tuple[list[str], LanceFrameIndex]:
    """Return the files of an ``ImageSeries`` and, in memory, the frame index of its recording.

    Args:
        series: Of pynwb.
        starting_frames: ``"check"`` or ``"ignore"``.
        location: How files are reached; its URI is not used.

    Raises:
        ValueError: As :meth:`ExternalVideo.from_series` and :meth:`ExternalVideo.check_frames` raise.
        MediaRefError: A file that cannot be read.
    """
    if starting_frames not in ("check", "ignore"):
        raise ValueError(f'expected starting_frames="check" or "ignore", found {starting_frames!r}')
    video = ExternalVideo.from_series(series)
    files = [_file_of(video, file, location) for file in video.files]
    tables = _segment_tables(video, [location.at(file) for file in files])
    video.check_frames([len(table) for table in tables], starting_frames)
    times = video.session_times(sum(len(table) for table in tables))
    uri = tables[0].info.uri
    return files, LanceFrameIndex._of(uri, file=None, tables=with_timestamps(tables, times, uri))


def source_of(container: Any) -> str | None:
    """Return the NWB file that an object of pynwb was read from; None of one in memory."""
    source = getattr(container, "container_source", None)
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else None


def next_to(source: str | None, uri: str) -> str:
    """Return a relative path as one that begins at the folder of an NWB file; other URIs as they are.

    Args:
        source: The NWB file, a path or a URI; None for the working directory.
        uri: A path or a URI.

    >>> next_to("/data/session.nwb", "../videos/a.mp4"), next_to("s3://bucket/a/session.nwb", "a.mp4")
    ('/data/../videos/a.mp4', 's3://bucket/a/a.mp4')
    >>> next_to("/data/session.nwb", "https://host/a.mp4")
    'https://host/a.mp4'
    """
    if not is_relative_path(uri):
        return uri
    if source is None or not scheme_of(source):
        with in_working_directory(uri):
            return str((Path() if source is None else Path(source).parent).absolute() / uri)
    root, _, folder = posixpath.dirname(without_query(source)).partition("://")
    return f"{root}://{posixpath.normpath(posixpath.join(folder, uri))}"


def values_of(container: Any, values: Any, what: str) -> npt.NDArray[Any]:
    """Return values of an object of pynwb as an array in memory.

    Args:
        container: The object.
        values: A list, an array, or a data set of an open file.
        what: Their name, for messages.

    Raises:
        StoreError: They cannot be read: their file was closed.
    """
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError, OSError, KeyError) as error:
        raise StoreError(
            f"expected {what} of {container.name!r} in an NWB file that is open, found that it cannot be "
            f"read ({error}); read it before its NWBHDF5IO is closed",
            uri=source_of(container),
        ) from error


def _external_files(series: Any, name: str) -> tuple[str, ...]:
    given = series.external_file
    values = None if given is None else values_of(series, given, "external_file").reshape(-1)
    files = () if values is None else tuple(text_of(value) for value in values.tolist())
    if not files and series.format != "external":
        raise UnsupportedMediaError(
            f"expected format='external', with frames in video files, found {series.format!r} in {name}: its "
            "frames are in the NWB file, as image_series.data",
            uri=source_of(series),
        )
    if not files or not all(files):
        found = f"an empty name at position {files.index('')}" if files else "none"
        raise ValueError(f"expected external files of {name}, found {found}")
    return files


def text_of(value: Any) -> Any:
    """Return a text of HDF5, which some versions of its library give as bytes; other values as they are."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _timing(series: Any, name: str) -> tuple[Float64Array | None, float | None, float]:
    """Return the timestamps, the rate and the time of the first frame: the first, or the other two."""
    if series.timestamps is not None:
        values = values_of(series, series.timestamps, "timestamps")
        if values.ndim != 1 or values.dtype.kind not in "fiu":
            raise ValueError(
                f"expected timestamps of {name} in seconds, a number for each frame, found an array of shape "
                f"{values.shape} and type {values.dtype}"
            )
        times = values.astype(np.float64)
        check_ascending(times, f" of {name}")
        return times, None, 0.0
    if series.rate is None:
        raise ValueError(f"expected timestamps or a rate of {name}, found neither")
    rate, start = float(series.rate), float(series.starting_time or 0.0)
    if not 0 < rate < math.inf or not math.isfinite(start):
        raise ValueError(
            f"expected a rate above 0 and a finite starting_time of {name}, found rate={rate} and "
            f"starting_time={start}"
        )
    return None, rate, start


def _file_of(video: ExternalVideo, file: str, location: Location) -> str:
    """Return a file as the recording names it: relative to ``base_dir``, or next to the NWB file."""
    if location.store is not None or location.access.base_dir is not None:
        return file
    return next_to(video.source, file)


def _segment_tables(video: ExternalVideo, files: Sequence[Location]) -> list[SegmentTable]:
    """Return the segment table of each file, of the frame index that stands next to it, or else scanned."""
    known: dict[str, SegmentTable] = {}
    tables = []
    for file, written in zip(files, video.files, strict=True):
        location = file.permitted_video().absolute()
        try:
            if location.uri not in known:
                known |= {uri: table for uri, table in _indexed(location).items() if uri not in known}
            if location.uri in known:
                _check_fresh(location, known[location.uri])
            else:
                known[location.uri] = scan_video_index(location, [location.uri]).segment_table(0)
        except MediaNotFoundError as error:
            raise MediaNotFoundError(
                f"{error.message}; external_file of {video.name} has {written!r}, and relative paths begin "
                "at the folder of the NWB file, or at base_dir=",
                uri=error.uri,
            ) from error
        tables.append(known[location.uri])
    return tables


def _indexed(video: Location) -> dict[str, SegmentTable]:
    """Return the segment tables of the frame index that stands next to a video, by location.

    The index of a recording stands next to its first file, and describes the others as well.
    """
    try:
        index = open_index_of(video)
    except FrameIndexMissingError:
        return {}
    if not index.has_packets:
        return {}
    uris = [info.uri for info in index.segments]
    if uris == [index.uri]:
        uris = [video.uri]  # wherever the two stand now
    found: dict[str, SegmentTable] = {}
    for number, uri in enumerate(uris):
        location = video.at(uri).absolute().uri
        found.setdefault(location, index.segment_table(number).with_uri(location))
    return found


def _check_fresh(video: Location, table: SegmentTable) -> None:
    """Compare an index with the file that it describes.

    Raises:
        FrameIndexStaleError: Another file stands there.
        MediaNotFoundError: None does.
    """
    store = video.open_store()
    if not is_etag_pinned(store, table.info):
        LanceFrameIndex._of(video.uri, file=None, tables=[table]).check_fresh(0, store.head(video.uri))


def _listed(numbers: Sequence[Any]) -> str:
    """Return numbers as a text, of many the first and the last.

    >>> _listed([0, 30]), _listed(range(100))
    ('[0, 30]', '[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ..., 90, 91, 92, 93, 94, 95, 96, 97, 98, 99]')
    """
    texts = [str(number) for number in numbers]
    if len(texts) > _MAX_LISTED:
        texts = [*texts[: _MAX_LISTED // 2], "...", *texts[-_MAX_LISTED // 2 :]]
    return f"[{', '.join(texts)}]"

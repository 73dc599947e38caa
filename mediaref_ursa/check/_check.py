"""``check_refs``: each reference resolved against the frame index of its video, without decoding."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mediaref_ursa._batch.options import BatchOptions
from mediaref_ursa._core.array_types import BoolArray, Int64Array
from mediaref_ursa._core.errors import MediaNotFoundError, MediaRefError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.ticks import TOLERANCE_NS
from mediaref_ursa._core.uris import is_data
from mediaref_ursa._model.segment import SPARSE, SegmentTable
from mediaref_ursa._plan.frame_times import checked_tolerance
from mediaref_ursa._references.columns import ReferenceColumns
from mediaref_ursa.check import _report as kinds
from mediaref_ursa.check._report import CheckReport, Findings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._batch.options import ResolveOptions
    from mediaref_ursa._plan.segments import SegmentSequence
    from mediaref_ursa._references.columns import References
    from mediaref_ursa._video.source import VideoSource
    from mediaref_ursa.store._location import Location

_FROZEN_FRAMES = 3
"""Frames of equal packets, one after another, that are called frozen."""
_ANY_DISTANCE_NS = 2**62


@set_module("mediaref_ursa.check")
def check_refs(
    refs: References,
    *,
    frame_numbers: Any = None,
    nearest_ns: int | None = None,
    decode: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **options: Unpack[ResolveOptions],
) -> CheckReport:
    """Check references against the frame indexes of their media, decoding nothing.

    Errors are media that are missing or cannot be read, indexes that are stale or damaged, references outside
    their video, and what the arguments ask for. Notes are videos without an index (which are scanned), rows
    that name a frame that another row names, frames within runs of equal packets, videos of different sizes,
    frame rates and codecs, and segments of one recording between which there is a gap, or that overlap.

    Args:
        refs: References, as ``batch_decode`` takes them.
        frame_numbers: For each reference the number of the frame, over all segments of its video, that the
            table says it is; others are errors.
        nearest_ns: The largest distance in nanoseconds between a reference and the nearest frame; further
            ones are errors. Any distance without it.
        decode: How many references, drawn at random, to decode and to compare with a linear decode of their
            files.
        seed: Of the drawing.
        progress: Called with how many videos are done, and how many there are.
        **options: Those of ``plan_decode``, by which references are found in a table and resolved.

    Raises:
        TypeError: Something that holds no references.
        ValueError: References that are none, or numbers of another length.

    Example:
        >>> from mediaref_ursa.check import check_refs
        >>> report = check_refs([{"uri": "clip.mp4", "pts_ns": 0}, {"uri": "gone.mp4", "pts_ns": 0}])
        >>> report.is_ok, [(finding.kind, finding.rows) for finding in report.findings]
        (False, [('missing media', (1,)), ('no index', (0,))])
    """
    given: dict[str, Any] = {**options}
    tolerance_ns = checked_tolerance(given.pop("tolerance_ns", TOLERANCE_NS))
    match, frame_index = given.pop("match", "playback"), given.pop("frame_index", None)
    if frame_index is not None:
        raise ValueError("expected indexes that are found by themselves, found frame_index=")
    chosen = BatchOptions.from_options(given, given.pop("base_dir", None))
    columns = chosen.columns_of(refs)
    numbers = None if frame_numbers is None else np.asarray(frame_numbers, dtype=np.int64).ravel()
    if numbers is not None and len(numbers) != len(columns):
        raise ValueError(f"expected {len(columns)} frame_numbers, one a reference, found {len(numbers)}")
    check = _Check(columns, chosen, match, tolerance_ns, numbers, nearest_ns)
    check.images()
    videos = columns.videos()
    for done, (uri, slots) in enumerate(videos.items(), start=1):
        check.video(uri, slots)
        if progress is not None:
            progress(done, len(videos))
    check.compare_videos()
    decoded = check.pixels(decode, seed) if decode else 0
    images = {uri for uri, image in zip(columns.uris, columns.is_image.tolist(), strict=True) if image}
    return CheckReport(len(columns), len(videos), len(images), decoded, check.findings.sorted())


@dataclass(frozen=True)
class _Traits:
    """Properties of a video that the videos of a data set mostly share."""

    size: tuple[int, int]
    rate: str
    codec: str


class _Check:
    """One check: findings by row, and the traits of videos."""

    def __init__(
        self,
        columns: ReferenceColumns,
        options: BatchOptions,
        match: Any,
        tolerance_ns: int,
        numbers: Int64Array | None,
        nearest_ns: int | None,
    ) -> None:
        self.findings = Findings()
        self._columns, self._options = columns, options
        self._match, self._tolerance_ns = match, tolerance_ns
        self._numbers, self._nearest_ns = numbers, nearest_ns
        lengths = columns.lengths
        self._rows = (
            np.arange(len(columns)) if lengths is None else np.repeat(np.arange(len(lengths)), lengths)
        )
        self._traits: dict[str, tuple[_Traits, Int64Array]] = {}
        self._good: list[Int64Array] = []

    def images(self) -> None:
        """Look whether the images are there."""
        slots: dict[str, list[int]] = {}
        for slot in np.flatnonzero(self._columns.is_image).tolist():
            slots.setdefault(self._columns.uris[slot], []).append(slot)
        for uri, its in slots.items():
            location = self._options.location(uri)
            try:
                if not is_data(uri):
                    where = location.permitted()
                    where.open_store().head(where.uri)
            except MediaRefError as error:
                self._fail(error, np.array(its))

    def video(self, uri: str, slots: Int64Array) -> None:
        """Check the references to one video."""
        try:
            source = self._open(uri, slots)
            sequence = source.sequence
            segment, frame = sequence.resolve(self._columns.pts_ns[slots], self._tolerance_ns, self._match)
        except MediaRefError as error:
            self._fail(error, slots)
            return
        self._check_times(uri, slots, sequence, frame)
        inside = frame >= 0
        found = sequence.firsts[segment[inside]] + frame[inside]
        self._check_numbers(slots[inside], found)
        self._check_repeats(uri, slots[inside], found)
        self._check_frozen(uri, source.segments, slots[inside], found)
        self._check_segments(uri, source.segments, slots)
        self._traits[uri] = _traits_of(source.segments), slots
        self._good.append(slots[inside])

    def compare_videos(self) -> None:
        """Note videos that differ from most in size, frame rate or codec."""
        for kind, name in ((kinds.SIZES, "size"), (kinds.RATES, "rate"), (kinds.CODECS, "codec")):
            references: dict[Any, int] = {}
            for traits, slots in self._traits.values():
                value = getattr(traits, name)
                references[value] = references.get(value, 0) + len(slots)
            if len(references) < 2:
                continue
            common = max(references, key=lambda value: references[value])
            listed = ", ".join(f"{_text(value)} ({count})" for value, count in references.items())
            for traits, slots in self._traits.values():
                if getattr(traits, name) != common:
                    self._add(kind, slots, f"most are {_text(common)}, of {listed}")

    def pixels(self, count: int, seed: int) -> int:
        """Decode some references, and compare them with a linear decode; return how many."""
        from mediaref_ursa.check._pixels import wrong_pixels

        good = np.concatenate([np.empty(0, np.int64), *self._good])
        drawn = np.sort(np.random.default_rng(seed).permutation(good)[:count])
        for slot, reason in wrong_pixels(
            self._columns, drawn, self._options, (self._match, self._tolerance_ns)
        ).items():
            self._add(kinds.PIXELS, np.array([slot]), reason)
        return len(drawn)

    def _open(self, uri: str, slots: Int64Array) -> VideoSource:
        """Open a video by its index if that is fresh, else by a scan."""
        from mediaref_ursa._index.found import DAMAGED, FRESH, NO_INDEX, find_index
        from mediaref_ursa._video.source import VideoSource, open_source

        location: Location = self._options.location(uri).permitted_video()
        index = find_index(location)
        if index.state == FRESH:
            absolute = location.absolute()
            return VideoSource(absolute.uri, absolute.open_store(), index.tables)
        kind = {NO_INDEX: kinds.NO_INDEX, DAMAGED: kinds.DAMAGED}.get(index.state, kinds.STALE)
        reason = index.reason or "the video is scanned; write an index with: mediaref-ursa index"
        self._add(kind, slots, f"{redact(uri)}: {reason}")
        return open_source(location)

    def _check_times(self, uri: str, slots: Int64Array, sequence: SegmentSequence, frame: Int64Array) -> None:
        times = self._columns.pts_ns[slots]
        outside = np.flatnonzero(frame < 0)
        if len(outside):
            first = int(outside[0])
            error = sequence.outside_error(uri, int(times[first]), int(frame[first]), self._tolerance_ns)
            self._add(kinds.OUTSIDE, slots[outside], str(error))
        if self._nearest_ns is None:
            return
        segment, nearest = sequence.resolve(times, _ANY_DISTANCE_NS, "nearest")
        distance = np.full(len(times), _ANY_DISTANCE_NS)
        distance[nearest >= 0] = np.abs(
            sequence.pts_ns_of(segment[nearest >= 0], nearest[nearest >= 0]) - times[nearest >= 0]
        )
        beyond = np.flatnonzero(distance > self._nearest_ns)
        if len(beyond):
            worst = int(beyond[0])
            text = (
                f"the nearest frame is {int(distance[worst])} ns away, at most {self._nearest_ns} are allowed"
            )
            self._add(kinds.BEYOND, slots[beyond], f"{redact(uri)} at {int(times[worst])} ns: {text}")

    def _check_numbers(self, slots: Int64Array, found: Int64Array) -> None:
        if self._numbers is None:
            return
        wrong = np.flatnonzero(self._numbers[slots] != found)
        if len(wrong):
            first = int(wrong[0])
            text = f"the time is that of frame {found[first]}, the table says {self._numbers[slots[first]]}"
            self._add(kinds.NUMBER, slots[wrong], text)

    def _check_repeats(self, uri: str, slots: Int64Array, found: Int64Array) -> None:
        order = np.argsort(found, kind="stable")
        repeats = order[1:][np.diff(found[order]) == 0]
        if len(repeats):
            text = f"{redact(uri)}: frame {found[repeats[0]]} is named by an earlier row too"
            self._add(kinds.DUPLICATE, slots[repeats], text)

    def _check_frozen(
        self, uri: str, tables: tuple[SegmentTable, ...], slots: Int64Array, found: Int64Array
    ) -> None:
        frozen = np.concatenate([_frozen_frames(table) for table in tables])
        its = np.flatnonzero(frozen[found])
        if len(its):
            text = f"{redact(uri)}: the packet of frame {found[its[0]]} is that of the frame before"
            self._add(kinds.FROZEN, slots[its], text)

    def _check_segments(self, uri: str, tables: tuple[SegmentTable, ...], slots: Int64Array) -> None:
        for number, (table, following) in enumerate(itertools.pairwise(tables)):
            step = float(np.median(np.diff(table.timestamp))) if len(table) > 1 else 0.0
            gap = float(following.timestamp[0] - table.timestamp[-1]) - step
            if step and abs(gap) > step / 2:
                word = "a gap" if gap > 0 else "an overlap"
                pair = f"the segments {number} and {number + 1}"
                self._add(kinds.APART, slots, f"{redact(uri)}: {word} of {abs(gap):.6f} s between {pair}")
                return

    def _fail(self, error: MediaRefError, slots: Int64Array) -> None:
        kind = kinds.MISSING if isinstance(error, MediaNotFoundError) else kinds.UNREADABLE
        self._add(kind, slots, str(error))

    def _add(self, kind: str, slots: Int64Array, text: str) -> None:
        self.findings.add(kind, self._rows[slots].tolist(), text)


def _frozen_frames(table: SegmentTable) -> BoolArray:
    """Return which frames have the packet of the frame before, in runs of some frames."""
    frozen = np.zeros(len(table), dtype=np.bool_)
    if len(table) < _FROZEN_FRAMES or table.info.verified == SPARSE:
        return frozen
    crc32, size = table.packets.crc32[table.packet], table.packets.size[table.packet]
    same = np.concatenate([[False], (crc32[1:] == crc32[:-1]) & (size[1:] == size[:-1])])
    starts = np.flatnonzero(~same)
    lengths = np.diff(np.append(starts, len(same)))
    long = np.repeat(lengths >= _FROZEN_FRAMES, lengths)
    return np.asarray(same & long)


def _traits_of(tables: tuple[SegmentTable, ...]) -> _Traits:
    table, info = tables[0], tables[0].info
    steps = np.diff(table.pts)
    rate = "one frame"
    if len(steps):
        rate = f"{float(1 / (float(np.median(steps)) * info.time_base)):.3f} frames a second"
    height, width = info.display_size
    return _Traits((height, width), rate, info.codec)


def _text(value: Any) -> str:
    return f"{value[1]}x{value[0]}" if isinstance(value, tuple) else str(value)

"""The demo: an index, references in Parquet, and frames of batches compared with a linear decode."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mediaref_ursa._batch.batch_decode import batch_decode, plan_decode
from mediaref_ursa._cli.demo.pictures import Tile, write_contact_sheet, write_counter_clip
from mediaref_ursa._core.array_types import Int64Array, UInt8Array
from mediaref_ursa._core.errors import InvalidReferenceError, MediaRefError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.ticks import NS_PER_SECOND
from mediaref_ursa._core.uris import is_local, is_remote, local_path
from mediaref_ursa._core.wording import counted
from mediaref_ursa._decode.linear_decode import Check, Wanted, WrongFrame, check_frames
from mediaref_ursa._index.build import scan_frame_index, write_frame_index
from mediaref_ursa._index.found import FRESH, STALE, find_index
from mediaref_ursa._index.frame_index import LanceFrameIndex
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.segments import SegmentSequence
from mediaref_ursa._references.media_ref import MediaRef
from mediaref_ursa.layout import lance_frame_index_uri
from mediaref_ursa.store._location import Location
from mediaref_ursa.table import from_arrow, to_arrow

with needs_extra("video"):
    import pyarrow as pa
    import pyarrow.parquet as pq

Progress = Callable[[int, int], None]
PrintLine = Callable[[str], None]

REFERENCES = 1000
RANDOM_FRAMES = 32
WINDOW_FRAMES = 64

_HEADINGS = ("what", "frames asked for", "distinct frames", "packets decoded", "bytes read", "milliseconds")
_FOOTNOTE = "bytes read: of the packets decoded; milliseconds: after a warm-up, with conversion to RGB"


@dataclass(frozen=True)
class Work:
    """One line of the table that the demo prints.

    Attributes:
        what: What was decoded.
        asked: Frames asked for.
        distinct: Different frames among them.
        packets: Packets that the plan feeds to decoders.
        bytes_read: Bytes of these packets.
        milliseconds: Wall time.
    """

    what: str
    asked: int
    distinct: int
    packets: int
    bytes_read: int
    milliseconds: float


@dataclass(frozen=True)
class DemoResult:
    """The result of the demo.

    Attributes:
        works: A line for each batch, and one for the linear decode.
        checked: Frames that were compared.
        wrong: Those that differ.
        contact_sheet: The PNG that shows all of them.
    """

    works: tuple[Work, ...]
    checked: int
    wrong: tuple[WrongFrame, ...]
    contact_sheet: Path


@dataclass(frozen=True)
class _Batch:
    """One ``batch_decode`` call: its references, frames, and cost."""

    heading: str
    wanted: list[Wanted]
    frames: list[UInt8Array]
    work: Work


def run_demo(
    video: str | None,
    directory: Path,
    *,
    seed: int = 0,
    write_index: bool = False,
    print_line: PrintLine = print,
    progress: Progress | None = None,
) -> DemoResult:
    """Index a video, store references, decode them, and compare every frame with a linear decode.

    Args:
        video: A path or URL; without one, a clip with a frame counter is encoded into ``directory``.
        directory: An existing directory for the clip, the references and the contact sheet.
        seed: Of the choice of references.
        write_index: Write the frame index next to the caller's video; it is written next to the
            generated clip in any case.
        print_line: Called with each step that is done, in words, and with the table.
        progress: Called with the frames of the linear decode that are done, and how many there are.

    Raises:
        MediaRefError: The video cannot be indexed or decoded, or references did not survive Parquet.
        OSError: ``directory`` cannot be written to.
    """
    uri = _video(video, directory, print_line)
    index = _index_of_own_clip(uri, print_line) if video is None else _index_of(uri, write_index, print_line)
    batches = _decode_batches(uri, index, directory / "references.parquet", seed, print_line)
    wanted = [one for batch in batches for one in batch.wanted]
    frames = [frame for batch in batches for frame in batch.frames]
    check = check_frames(wanted, frames, _counter(progress, len(index)))
    works = (*(batch.work for batch in batches), _linear_work(check, wanted, index))
    print_line(f"\n{table_text(works)}\n\n{_FOOTNOTE}")
    print_line(_verdict(check, len(frames)))
    sheet = directory / "contact_sheet.png"
    write_contact_sheet(sheet, _tiles(batches, check))
    return DemoResult(works, len(frames), check.wrong, sheet)


def _video(video: str | None, directory: Path, print_line: PrintLine) -> str:
    if video is not None:
        uri = str(Path(local_path(video)).absolute()) if is_local(video) else video
        print_line(f"video:        {redact(uri)}")
        return uri
    path = (directory / "counter.mp4").absolute()
    write_counter_clip(path)
    print_line(f"video:        {path}, encoded now")
    return str(path)


def _index_of_own_clip(uri: str, print_line: PrintLine) -> LanceFrameIndex:
    index = write_frame_index(uri, overwrite=True)
    print_line(f"frame index:  written to {lance_frame_index_uri(uri)}")
    return index


def _index_of(uri: str, write: bool, print_line: PrintLine) -> LanceFrameIndex:
    """Return the index of the caller's video; it is written next to the video only on request."""
    found = find_index(Location(uri))
    if found.state == FRESH and found.index is not None:
        location = redact(found.index.place or "")
        print_line(f"frame index:  {location}, which stands there already and is fresh")
        return found.index
    if write:
        _require_writable_location(uri)
        index = write_frame_index(uri, segments=found.segment_uris, overwrite=found.state == STALE)
        print_line(f"frame index:  written to {redact(index.place or '')}")
        return index
    index = scan_frame_index(uri, segments=found.segment_uris)
    print_line(
        "frame index:  built in memory, nothing is written next to the video (--write-index writes it)"
    )
    return index


def _require_writable_location(uri: str) -> None:
    """Refuse to write an index where none can be written.

    Raises:
        InvalidReferenceError: The video is served over HTTP.
    """
    if is_remote(uri):
        raise InvalidReferenceError(
            "expected a location that an index can be written to, found an HTTP URL; write it next to "
            "the file before it is uploaded",
            uri=uri,
        )


def _decode_batches(
    uri: str, index: LanceFrameIndex, stored: Path, seed: int, print_line: PrintLine
) -> tuple[_Batch, _Batch]:
    """Store references, read them back, and decode a random choice of them and a window."""
    tables = [index.segment_table(number) for number in range(len(index.segments))]
    window, others = choose_frames(len(index), seed)
    numbers = np.concatenate([window, others])
    refs = through_parquet(references_to(uri, tables, numbers), stored)
    print_line(f"references:   {len(refs)} written to {stored} and read back equal")
    random = len(window) + np.random.default_rng([seed, 1]).choice(len(others), RANDOM_FRAMES, replace=False)
    chosen = {"random frames": random, "one window": np.arange(len(window))}
    batch_decode(
        refs[-RANDOM_FRAMES:], frame_index=index
    )  # imports, threads and memory are no part of the times
    random_batch, window_batch = (
        _decode(what, _wanted(what, [refs[i] for i in positions.tolist()], tables, numbers[positions]), index)
        for what, positions in chosen.items()
    )
    return random_batch, window_batch


def choose_frames(count: int, seed: int) -> tuple[Int64Array, Int64Array]:
    """Choose the frames that references are stored for, in a video of ``count`` frames.

    Returns:
        int64, a window of up to 64 frames that follow one another; and int64, the rest of 1,000:
        random ones, repeated only where the video has too few.

    >>> window, others = choose_frames(300, seed=0)
    >>> len(window), len(others)
    (64, 936)
    """
    random = np.random.default_rng(seed)
    length = min(WINDOW_FRAMES, count)
    begin = int(random.integers(count - length + 1))
    rest = REFERENCES - length
    others = random.choice(count, rest, replace=count < rest)
    return np.arange(begin, begin + length, dtype=np.int64), others.astype(np.int64)


def references_to(uri: str, tables: Sequence[SegmentTable], numbers: Int64Array) -> list[MediaRef]:
    """Return a reference to each of the given frames, which are numbered over all segments."""
    times = SegmentSequence(tuple(tables)).pts_ns
    return [MediaRef(uri, time_ns) for time_ns in times[numbers].tolist()]


def through_parquet(refs: list[MediaRef], path: Path) -> list[MediaRef]:
    """Write references as a struct column of a Parquet file, and return them as read back.

    Raises:
        MediaRefError: They came back different.
    """
    pq.write_table(pa.table({"frame": to_arrow(refs)}), path)
    back = from_arrow(pq.read_table(path)["frame"])
    if back != refs:
        raise MediaRefError(f"expected {len(refs)} references back as written, found others", uri=str(path))
    return back


def _wanted(
    what: str, refs: list[MediaRef], tables: Sequence[SegmentTable], numbers: Int64Array
) -> list[Wanted]:
    firsts = np.cumsum([0, *(len(table) for table in tables)])
    segments = np.searchsorted(firsts, numbers, side="right") - 1
    return [
        Wanted(
            label=f"{what}, position {position}",
            ref=ref,
            segment_uri=tables[segment].info.uri,
            local_ns=int(tables[segment].pts_ns[frame]),
        )
        for position, (ref, segment, frame) in enumerate(
            zip(refs, segments.tolist(), (numbers - firsts[segments]).tolist(), strict=True)
        )
    ]


def _decode(what: str, wanted: list[Wanted], index: LanceFrameIndex) -> _Batch:
    refs = [one.ref for one in wanted]
    began = time.perf_counter()
    frames = batch_decode(refs, frame_index=index)
    milliseconds = (time.perf_counter() - began) * 1e3
    plan = plan_decode(refs, frame_index=index)
    work = Work(what, len(refs), plan.frames, plan.packets, plan.bytes, milliseconds)
    frame_count = counted(len(refs), "frame")
    heading = f"{len(refs)} {what}" if what.endswith("frames") else f"{what} of {frame_count}"
    return _Batch(heading, wanted, frames, work)


def _linear_work(check: Check, wanted: Sequence[Wanted], index: LanceFrameIndex) -> Work:
    """Return the cost of the linear decode, which reads every packet of its segments."""
    uris = {one.segment_uri for one in wanted}
    packets = [index.segment_table(i).packets for i, info in enumerate(index.segments) if info.uri in uris]
    return Work(
        "linear decode, to compare",
        check.frames_decoded,
        check.frames_decoded,
        sum(len(table) for table in packets),
        sum(int(table.size.sum()) for table in packets),
        check.milliseconds,
    )


def _counter(progress: Progress | None, total: int) -> Callable[[], None]:
    if progress is None:
        return lambda: None
    numbers = itertools.count(1)
    return lambda: progress(next(numbers), total)


def _verdict(check: Check, checked: int) -> str:
    if check.wrong:
        are = "is" if len(check.wrong) == 1 else "are"
        return f"{len(check.wrong)} of {counted(checked, 'frame')} {are} wrong"
    return f"all {checked} frames equal those of the linear decode, pixel for pixel"


def _tiles(batches: Sequence[_Batch], check: Check) -> list[tuple[str, list[Tile]]]:
    wrong = {id(one.wanted) for one in check.wrong}
    return [
        (
            batch.heading,
            [
                Tile(frame, f"{one.local_ns / NS_PER_SECOND:.3f} s", id(one) in wrong)
                for one, frame in zip(batch.wanted, batch.frames, strict=True)
            ],
        )
        for batch in batches
    ]


def table_text(works: Sequence[Work]) -> str:
    """Return the costs of all calls as an aligned table.

    >>> print(table_text([Work("random frames", 32, 32, 400, 120000, 85.25)]))
    what           frames asked for  distinct frames  packets decoded  bytes read  milliseconds
    random frames                32               32              400      120000          85.2
    """
    rows = [
        (w.what, str(w.asked), str(w.distinct), str(w.packets), str(w.bytes_read), f"{w.milliseconds:.1f}")
        for w in works
    ]
    widths = [max(len(row[column]) for row in (_HEADINGS, *rows)) for column in range(len(_HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (_HEADINGS, *rows)
    )

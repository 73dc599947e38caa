"""Recordings of many segments: what opening them costs grows with their number, and no faster."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import lance
import numpy as np
import pytest
from _media import Clip, make_clip
from _oracle import linear_frames

from mediaref_ursa import (
    FrameIndexInvalidError,
    LanceFrameIndex,
    LazyVideo,
    MediaRef,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa._index.lance_table import LanceIndexFile

GetClip = Callable[[str], Clip]
SEGMENTS, MORE_SEGMENTS = 80, 320
ALLOWED_GROWTH = 4.4


def calls_of(work: Callable[[], object]) -> int:
    """Return how many functions are called, Python's and built-in ones."""
    count = 0

    def note(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def recording(folder: Path, segment: Path, count: int) -> Path:
    """Write an index of ``count`` segments, which are one file under many names."""
    folder.mkdir()
    parts = [folder / f"{number:05}.mp4" for number in range(count)]
    for part in parts:
        os.link(segment, part)
    video = folder / "all.mp4"
    write_frame_index(video, segments=[str(part) for part in parts])
    shutil.copy(segment, video)
    return video


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Recordings by their number of segments, which tests do not change."""
    folder = tmp_path_factory.mktemp("segments")
    segment = make_clip("h264_one_frame_mp4", folder)
    return {count: recording(folder / str(count), segment, count) for count in (SEGMENTS, MORE_SEGMENTS)}


def opened_lazily(video: Path) -> None:
    assert LazyVideo.from_uri(video)[0] is not None


def opened_in_a_batch(video: Path) -> None:
    assert not batch_decode([MediaRef(str(video), 0)]).errors


def opened_untrusted(video: Path) -> None:
    assert not batch_decode([MediaRef(str(video), 0)], untrusted=True, base_dir=str(video.parent)).errors


@pytest.mark.parametrize("work", [opened_lazily, opened_in_a_batch, opened_untrusted])
def test_opening_is_linear_in_the_number_of_segments(
    work: Callable[[Path], None], videos: dict[int, Path]
) -> None:
    calls = {}
    for count, video in videos.items():
        work(video)  # what is imported first is not counted
        cleanup_cache()
        calls[count] = calls_of(lambda video=video: work(video))
    assert calls[MORE_SEGMENTS] <= ALLOWED_GROWTH * calls[SEGMENTS]


def test_segments_are_read_together(videos: dict[int, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    read = LanceIndexFile._read

    def counted(self: LanceIndexFile, *args: Any, **kwargs: Any) -> Any:
        reads.append(kwargs)
        return read(self, *args, **kwargs)

    monkeypatch.setattr(LanceIndexFile, "_read", counted)
    index = LanceFrameIndex.open(videos[MORE_SEGMENTS])
    assert len(index.timestamps()) == MORE_SEGMENTS
    assert len(reads) == 1


def test_every_segment_is_what_it_is_when_read_alone(
    videos: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = LanceFrameIndex.open(videos[SEGMENTS])
    monkeypatch.setattr("mediaref_ursa._index.lance_table._BLOCK_ROWS", 1)
    alone = LanceFrameIndex.open(videos[SEGMENTS])
    monkeypatch.setattr("mediaref_ursa._index.lance_table._BLOCK_ROWS", 7)
    by_seven = LanceFrameIndex.open(videos[SEGMENTS])
    for number in range(SEGMENTS):
        crcs = {index.segment_table(number).columns_crc32 for index in (together, alone, by_seven)}
        assert len(crcs) == 1


@pytest.mark.parametrize("name", ["vp8_hidden_webm", "h264_pyramid_mp4", "av1_mp4"])
@pytest.mark.parametrize("block_rows", [1, 60, 100, 16_384])
def test_segments_of_several_lengths_and_with_hidden_packets(
    name: str, block_rows: int, clip: GetClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediaref_ursa._index.lance_table._BLOCK_ROWS", block_rows)
    parts = [clip(part).path for part in (name, "h264_one_frame_mp4", "h264_29_97_mp4", name, "mpeg4_avi")]
    written = write_frame_index(tmp_path / "all.mp4", segments=parts)
    index = LanceFrameIndex.open(tmp_path / "all.mp4")
    for number in (3, 0, 1, 4, 2):
        assert index.segment_table(number).columns_crc32 == written.segment_table(number).columns_crc32
    video = LazyVideo(tmp_path / "all.mp4", frame_index=index, channel_format="NHWC")
    frames = [frame.rgb for part in parts for frame in linear_frames(part)]
    assert all(np.array_equal(video[i], frames[i]) for i in range(0, len(frames), 5))


def changed(video: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrite the metadata of an index."""
    place = f"{video}.lance"
    table = lance.dataset(place).to_table()
    metadata = json.loads(table.schema.metadata[b"mediaref_ursa"])
    change(metadata)
    shutil.rmtree(place)
    stored = table.replace_schema_metadata({b"mediaref_ursa": json.dumps(metadata).encode()})
    lance.write_dataset(stored, place, data_storage_version="2.0")


def test_a_damaged_segment_is_an_error_where_it_is_asked_for_alone(tmp_path: Path) -> None:
    video = recording(tmp_path / "damaged", make_clip("h264_one_frame_mp4", tmp_path), 12)

    def forge(metadata: dict[str, Any]) -> None:
        metadata["segments"][7]["columns_crc32"] ^= 1

    changed(video, forge)
    index = LanceFrameIndex.open(video)
    assert len(index.segment_table(6)) == len(index.segment_table(8)) == 1
    with pytest.raises(FrameIndexInvalidError, match="segment 7"):
        index.segment_table(7)


def test_a_hostile_index_of_empty_segments_costs_no_more_than_its_length(
    clip: GetClip, tmp_path: Path
) -> None:
    calls = {}
    for count in (SEGMENTS, MORE_SEGMENTS):
        video = tmp_path / f"{count}.mp4"
        shutil.copy(clip("h264_one_frame_mp4").path, video)
        write_frame_index(video)

        def pad(metadata: dict[str, Any], count: int = count) -> None:
            first = metadata["segments"][0]
            metadata["segments"] += [dict(first, frames=0, packets=0, columns_crc32=None)] * count

        changed(video, pad)
        calls[count] = calls_of(lambda video=video: opened_untrusted(video))
    assert calls[MORE_SEGMENTS] <= ALLOWED_GROWTH * calls[SEGMENTS]

"""Files of other people's encoders, each with a property that breaks naive readers."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from _oracle import OracleFrame, linear_frames

from mediaref_ursa import MediaRef, batch_decode, write_frame_index
from mediaref_ursa.video_decoder import BatchDecodingStrategy

# name: frames shown, packets, first pts, last pts, (height, width) after rotation
FILES = {
    "av1_video.mkv": (125, 125, 0, 4960, (360, 640)),
    "bt709_full_range.mp4": (30, 30, 0, 14848, (720, 1280)),
    "discard_first_keyframe.mp4": (25, 30, 0, 12288, (64, 64)),
    "h265_video.mp4": (10, 10, 0, 9216, (128, 128)),
    "nasa_13013_rotated.mp4": (17, 17, 0, 16016, (480, 270)),
    "rotated_90.mov": (3, 3, 0, 1280, (568, 320)),
    "test_non_zero_start.mp4": (12, 12, 127995, 133627, (112, 200)),
    "testsrc2_mpeg4.avi": (30, 30, 0, 29, (720, 1280)),
    "testsrc2_odd_height_and_width_mpeg2.mp4": (10, 10, 0, 4608, (81, 121)),
    "testsrc2_vp9.webm": (30, 30, 0, 967, (720, 1280)),
    "unordered.mov": (4, 4, 0, 1536, (50, 50)),
}


@pytest.fixture(params=FILES)
def file(request: pytest.FixtureRequest, shared_media: Path) -> Path:
    return shared_media / request.param


def references(path: Path, frames: list[OracleFrame]) -> list[MediaRef]:
    return [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]


def test_the_index_says_what_is_known_of_the_file(file: Path, tmp_path: Path) -> None:
    frames, packets, first, last, size = FILES[file.name]
    index = write_frame_index(shutil.copy(file, tmp_path))
    table = index.segment_table(0)
    assert (len(table), len(table.packets)) == (frames, packets)
    assert (table.pts[0], table.pts[-1]) == (first, last)
    assert table.info.display_size == size
    assert table.info.addressable


def test_each_frame_alone_and_in_every_strategy(file: Path) -> None:
    frames = linear_frames(file)
    refs = references(file, frames)
    for strategy in BatchDecodingStrategy:
        found = batch_decode(refs, strategy)
        assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True)), strategy
    native = batch_decode(refs, dtype="native")  # all are of 8 bits
    assert all(np.array_equal(a, b.rgb) for a, b in zip(native, frames, strict=True))
    assert {frame.dtype for frame in native} == {np.dtype(np.uint8)}
    for i in np.random.default_rng(0).permutation(len(frames))[:25].tolist():
        assert np.array_equal(batch_decode([refs[i]])[0], frames[i].rgb), f"frame {i}"


def test_with_an_index_on_disk_frames_are_the_same(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path))
    write_frame_index(str(copy))
    frames = linear_frames(file)
    found = batch_decode(references(copy, frames)[::-1])
    assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames[::-1], strict=True))

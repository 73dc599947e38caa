"""File names that few programs expect: for the video and for its index, each works or is a typed error."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _media import Clip

from mediaref_ursa import LanceFrameIndex, LazyVideo, MediaRef, batch_decode, cleanup_cache, write_frame_index
from mediaref_ursa._core.errors import FrameIndexExistsError, InvalidReferenceError, MediaRefError, StoreError

ORDINARY = ["a?b.mp4", "a#b.mp4", "a%20b.mp4", "a%b.mp4", "a\"'b.mp4", "a\\b.mp4", "a\N{GRINNING FACE}b.mp4"]
ORDINARY += [
    "clip.mp4 ",
    "clip.mp4.",
    " clip.mp4",
    "a:b.mp4",
    "a*b[1].mp4",
    "e\u0301.mp4",
    "-a.mp4",
    "..a.mp4",
    "http:a.mp4",
]
ORDINARY += ["a" * 245 + ".mp4"]
NOT_FOR_LANCE = [
    "a\nb.mp4",
    "a\tb.mp4",
    "a\rb.mp4",
    "a\x01b.mp4",
    "a\x7fb.mp4",
    "a" * 246 + ".mp4",
    "\u00e9" * 125 + ".mp4",
]
NOT_UTF8 = os.fsdecode(b"a\xff\xfeb.mp4")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "media").mkdir()
    return tmp_path / "media"


def first_frames(clip: Callable[[str], Clip]) -> np.ndarray:
    return LazyVideo.from_uri(clip("h264_idr_mp4").path)[:3]


@pytest.mark.parametrize("name", [*ORDINARY, *NOT_FOR_LANCE, NOT_UTF8], ids=ascii)
def test_a_video_of_any_name_is_indexed_and_read(
    clip: Callable[[str], Clip], folder: Path, own_cache: Path, name: str
) -> None:
    expected = first_frames(clip)
    path = folder / name
    shutil.copy(clip("h264_idr_mp4").path, path)
    assert np.array_equal(LazyVideo.from_uri(path)[:3], expected)
    written = write_frame_index(path)
    assert written.place is not None
    goes_to_sidecar = name in ORDINARY
    assert Path(written.place).is_relative_to(folder if goes_to_sidecar else own_cache)
    cleanup_cache()
    opened = LanceFrameIndex.open(path)
    assert opened.place == written.place
    assert opened.segments[0].uri == str(path)
    assert np.array_equal(LazyVideo.from_uri(path)[:3], expected)
    if name != NOT_UTF8:
        refs = [MediaRef(str(path), 0), {"uri": str(path), "pts_ns": 0}]
        assert all(np.array_equal(f.transpose(2, 0, 1), expected[0]) for f in batch_decode(refs))
        assert len(batch_decode([MediaRef(name, 0)], base_dir=folder)) == 1
        assert len(batch_decode([MediaRef(name, 0)], base_dir=folder, untrusted=True)) == 1
    with pytest.raises(FrameIndexExistsError):
        write_frame_index(path)
    write_frame_index(path, overwrite=True)
    shutil.rmtree(written.place)
    assert written.place == write_frame_index(path).place


@pytest.mark.parametrize("name", ["odd\nfolder", "odd\tfolder", os.fsdecode(b"\xff")], ids=ascii)
def test_a_folder_of_an_odd_name(
    clip: Callable[[str], Clip], folder: Path, own_cache: Path, name: str
) -> None:
    path = folder / name / "clip.mp4"
    path.parent.mkdir()
    shutil.copy(clip("h264_idr_mp4").path, path)
    place = write_frame_index(path).place
    assert place is not None
    assert Path(place).is_relative_to(own_cache)
    assert np.array_equal(LazyVideo.from_uri(path)[:3], first_frames(clip))
    with pytest.raises(StoreError, match="Lance takes no path"):
        write_frame_index(path, index_dir=path.parent)


def test_a_name_that_is_too_long_for_any_file_is_typed_and_the_batch_goes_on(
    clip: Callable[[str], Clip], folder: Path
) -> None:
    good = str(clip("h264_idr_mp4").path)
    for uri in ("x" * 300 + ".mp4", "y/" * 3000 + "a.mp4"):
        for options in ({}, {"base_dir": folder}, {"base_dir": folder, "untrusted": True}):
            refs = [{"uri": uri, "pts_ns": 0}, {"uri": uri, "pts_ns": None}]
            found = batch_decode(refs, on_error="none", **options)
            assert [isinstance(found.errors[i], MediaRefError) for i in (0, 1)] == [True, True]
        found = batch_decode([*refs, {"uri": good, "pts_ns": 0}], on_error="none")
        assert found[2] is not None
        with pytest.raises(MediaRefError):
            write_frame_index(uri)
        with pytest.raises(MediaRefError):
            LanceFrameIndex.open(uri)


@pytest.mark.parametrize(
    "uri",
    ["\\ud800.mp4", "file:///x/\\ud800.png", "a/\\udfff/b.mp4", "http://127.0.0.1:9/\\ud800.mp4"],
)
def test_lone_surrogates_are_typed_and_the_batch_goes_on(
    clip: Callable[[str], Clip], folder: Path, uri: str
) -> None:
    good = {"uri": str(clip("h264_idr_mp4").path), "pts_ns": 0}
    for time in ("0", "null"):
        ref = json.loads(f'{{"uri": "{uri}", "pts_ns": {time}}}')
        for options in ({}, {"base_dir": folder, "allow_outside_base": True}):
            found = batch_decode([ref, good], on_error="none", **options)
            assert isinstance(found.errors[0], MediaRefError)
            assert found[1] is not None
        for options in ({"base_dir": folder}, {"base_dir": folder, "untrusted": True}):
            assert isinstance(batch_decode([ref], on_error="none", **options).errors[0], MediaRefError)
    if "http" not in uri:
        with pytest.raises(InvalidReferenceError):
            batch_decode([ref])

"""Files that are cut short: told by the index, the command line and a warning."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from _cli_runner import run
from _encoding import Encoding, add_stream, encode, packets_of
from _media import CLIP_NAMES, Clip
from _oracle import linear_frames
from _special_clips import VP8, x264

from mediaref_ursa import DamagedMediaWarning, MediaRef, batch_decode, cleanup_cache, write_frame_index
from mediaref_ursa._core.media_warnings import given_warnings
from mediaref_ursa._index.build import scan_frame_index

GetClip = Callable[[str], Clip]

_MPEG2 = Encoding("mpeg2video", "vob", "mpg", "mpeg2video", gop=12)
_MADE = {
    "live WebM": VP8,
    "live Matroska": x264("keyint=12:bframes=2", container="matroska", suffix="mkv"),
    "fragmented MP4": x264("keyint=12", muxer_options={"movflags": "frag_keyframe+empty_moov"}),
    "MPEG-PS": _MPEG2,
    "MPEG-1 system stream": Encoding("mpeg1video", "mpeg", "mpg", "mpeg1video", gop=12),
    "Ogg": Encoding("libvpx", "ogg", "ogv", "vp8", VP8.options),
    "IVF": Encoding("libvpx", "ivf", "ivf", "vp8", VP8.options),
    "ASF": Encoding("wmv2", "asf", "asf", "wmv2", gop=12),
}
_CLIPS = (
    "h264_faststart_mp4",
    "h264_fragmented_mp4",
    "h264_mkv",
    "vp8_webm",
    "av1_webm",
    "mpeg4_avi",
    "mjpeg_avi",
    "h264_ts",
    "mpeg2_ts",
    "flv1_flv",
)


class _Unseekable:
    """A file that is written once, from the front to the back: a pipe, or a recording that goes on."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()


def encode_live(path: Path, encoding: Encoding) -> None:

    file = _Unseekable(path)
    with av.open(file, "w", format=encoding.container) as output:
        stream = add_stream(output, encoding)
        for packet in packets_of(stream, encoding):
            output.mux(packet)
    file.close()


@pytest.fixture(scope="module")
def whole(clip: GetClip, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("whole")

    def get(name: str) -> Path:
        if name in _CLIPS:
            return clip(name).path
        encoding = _MADE[name]
        path = folder / f"{name.replace(' ', '_')}.{encoding.suffix}"
        if not path.exists():
            (encode_live if name.startswith("live") else encode)(path, encoding)
        return path

    return get


def cut(whole: Path, folder: Path, hundredths: int) -> Path:
    size = whole.stat().st_size * hundredths // 100
    if whole.suffix == ".ts":
        size += size % 188 == 0
    path = folder / f"{hundredths}{whole.suffix}"
    path.write_bytes(whole.read_bytes()[:size])
    return path


@pytest.mark.parametrize("name", [*_CLIPS, *_MADE])
def test_a_file_that_is_cut_short_is_known_by_its_index(
    name: str, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    path = whole(name)
    assert not scan_frame_index(path).segments[0].cut_short
    for hundredths in (45, 62, 80, 97):
        info = scan_frame_index(cut(path, tmp_path, hundredths)).segments[0]
        assert info.cut_short, f"at {hundredths} %"


@pytest.mark.parametrize("name", ["live WebM", "MPEG-PS", "Ogg", "fragmented MP4", "IVF"])
def test_frames_of_a_file_that_is_cut_short_are_exact_or_errors(
    name: str, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    frames = linear_frames(whole(name))
    for hundredths in (52, 83):
        path = cut(whole(name), tmp_path, hundredths)
        found = batch_decode([MediaRef(str(path), round(f.time * 10**9)) for f in frames], on_error="none")
        assert 0 < len(found.errors) < len(frames)
        assert all(a is None or np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))


def test_index_warns_counts_and_fails_with_strict(clip: GetClip, tmp_path: Path) -> None:
    half = cut(clip("vp8_webm").path, tmp_path, 50)
    good = Path(shutil.copy(clip("h264_idr_mp4").path, tmp_path / "good.mp4"))
    result = run("index", half, good)
    assert result.exit_code == 0
    assert f"warning: {half}: the file is cut short: frames at its end are lost" in result.stderr
    assert f"frames are lost in 1 of 2 videos: {half}" in result.stderr
    assert "good.mp4" not in result.stderr
    kept = run("index", half, good)
    assert f"warning: {half}: the file is cut short" in kept.stderr
    assert run("index", "--strict", half, good).exit_code == 1
    assert run("index", "--strict", good).exit_code == 0


def test_inspect_says_that_a_file_is_cut_short_and_what_was_verified(clip: GetClip, tmp_path: Path) -> None:
    half = cut(clip("vp8_webm").path, tmp_path, 50)
    report = json.loads(run("inspect", half, "--json").stdout)
    assert (report["is_cut_short"], report["verified"]) == (True, "full")
    text = run("inspect", half).stdout
    assert "cut short                 yes, frames at the end are lost" in text
    assert "the bytes of all packets; no picture was decoded (index --decode does)" in text
    whole = json.loads(run("inspect", clip("vp8_webm").path, "--json").stdout)
    assert (whole["is_cut_short"], whole["damaged_frames"], whole["repeated_times"]) == (False, 0, 0)


def test_writing_an_index_warns_once_of_what_is_lost(clip: GetClip, tmp_path: Path) -> None:
    half = cut(clip("vp8_webm").path, tmp_path, 50)
    with pytest.warns(
        DamagedMediaWarning, match=r"50\.webm: the file is cut short: frames at its end are lost"
    ):
        write_frame_index(half)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_frame_index(half, overwrite=True)
        batch_decode([MediaRef(str(half), 0)])


def read_three_times(path: Path) -> None:
    for _ in range(3):
        batch_decode([MediaRef(str(path), 0)])
        cleanup_cache()


def test_a_video_without_an_index_is_warned_of_when_it_is_first_read(clip: GetClip, tmp_path: Path) -> None:
    half = cut(clip("h264_faststart_mp4").path, tmp_path, 50)
    with pytest.warns(DamagedMediaWarning, match="cut short") as caught:
        read_three_times(half)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    given_warnings.forget()
    with pytest.warns(DamagedMediaWarning, match="cut short"):
        batch_decode([MediaRef(str(half), 0)])


@pytest.mark.parametrize("name", [name for name in CLIP_NAMES if not name.startswith("colour_")])
def test_no_clip_is_called_cut_short(name: str, clip: GetClip) -> None:
    assert not scan_frame_index(clip(name).path).segments[0].cut_short

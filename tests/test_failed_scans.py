"""Videos that cannot be scanned: the same bytes are not scanned again and again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from _media import Clip

from mediaref_ursa import (
    CorruptMediaError,
    LazyVideo,
    MediaRef,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
    cleanup_cache,
)
from mediaref_ursa._scan.failed_scans import _MAX_REMEMBERED, FailedScans
from mediaref_ursa._scan.sandbox import parent as scans

GetClip = Callable[[str], Clip]


@pytest.fixture
def count_scans(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    scanned: list[str] = []
    real = scans._scanned

    def counted(uri: str, *rest: object) -> object:
        scanned.append(uri)
        return real(uri, *rest)

    monkeypatch.setattr(scans, "_scanned", counted)
    return scanned


@pytest.fixture
def broken(clip: GetClip, tmp_path: Path) -> Path:
    whole = clip("h264_mov").path.read_bytes()
    path = tmp_path / "broken.mov"
    path.write_bytes(whole[: len(whole) // 2])
    return path


@pytest.mark.parametrize("untrusted", [False, True])
def test_a_broken_video_is_scanned_once(untrusted: bool, broken: Path, count_scans: list[str]) -> None:
    messages = set()
    for _ in range(3):
        with pytest.raises(CorruptMediaError) as caught:
            batch_decode([MediaRef(str(broken), 0)], untrusted=untrusted)
        messages.add(str(caught.value))
        with pytest.raises(MediaRefError):
            LazyVideo(broken, untrusted=untrusted)
    assert len(messages) == 1
    assert len(count_scans) == 1


def test_a_repaired_video_is_scanned_anew(broken: Path, clip: GetClip, count_scans: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(CorruptMediaError):
            batch_decode([MediaRef(str(broken), 0)])
    shutil.copy(clip("h264_mov").path, broken)
    assert len(batch_decode([MediaRef(str(broken), 0)])) == 1
    assert len(count_scans) == 2


def test_the_same_length_at_another_time_is_scanned_anew(broken: Path, count_scans: list[str]) -> None:
    for seconds in (10, 20):
        os.utime(broken, (seconds, seconds))
        with pytest.raises(CorruptMediaError):
            batch_decode([MediaRef(str(broken), 0)])
    assert len(count_scans) == 2


def test_clearing_the_cache_lets_it_be_scanned_anew(broken: Path, count_scans: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(CorruptMediaError):
            batch_decode([MediaRef(str(broken), 0)])
        cleanup_cache()
    assert len(count_scans) == 2


def test_other_limits_are_another_scan(broken: Path, count_scans: list[str]) -> None:
    for pixels in (1 << 20, 1 << 21):
        with pytest.raises(CorruptMediaError):
            batch_decode([MediaRef(str(broken), 0)], max_pixels=pixels)
    assert len(count_scans) == 2


def test_a_store_that_fails_is_asked_again() -> None:
    failed = FailedScans()
    failed.remember("key", StoreError("no answer"))
    failed.check("key")


def test_what_is_remembered_is_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = FailedScans()
    for number in range(_MAX_REMEMBERED + 10):
        failed.remember(number, UnsupportedMediaError(f"{number}", uri="a.mp4"))
    failed.check(0)
    with pytest.raises(UnsupportedMediaError, match="99") as caught:
        failed.check(99)
    assert caught.value.uri == "a.mp4"
    now = scans.time.monotonic()
    monkeypatch.setattr("mediaref_ursa._scan.failed_scans.time.monotonic", lambda: now + 3600)
    failed.check(99)

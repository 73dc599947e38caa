"""Files of other people's encoders, packed into one Lance table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _oracle import linear_frames

from mediaref_ursa import MediaRef, MediaRefError, batch_decode, pack_videos

SUFFIXES = {".mp4", ".mkv", ".mov", ".avi", ".webm", ".ts"}


@pytest.fixture(scope="module")
def packed(shared_media: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, str]:
    paths = sorted(path for path in shared_media.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    table = tmp_path_factory.mktemp("packed") / "real.lance"
    return dict(zip(paths, pack_videos(paths, table), strict=True))


def test_every_file_gives_the_frames_that_the_file_itself_gives(packed: dict[Path, str]) -> None:
    compared = 0
    for path, uri in packed.items():
        try:
            frames = linear_frames(path)
            refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
            expected = batch_decode(refs)
        except (MediaRefError, OSError, ValueError) as error:
            _assert_fails_likewise(path, uri, error)
            continue
        found = batch_decode([MediaRef(uri, ref.pts_ns) for ref in refs])
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_array_equal(a, b)
        compared += 1
    assert compared > 5


def _assert_fails_likewise(path: Path, uri: str, error: Exception) -> None:
    if not isinstance(error, MediaRefError):
        return
    with pytest.raises(type(error)):
        batch_decode([MediaRef(uri, 10**18)])

"""Real files through a collection that is named, and one that is found: every frame of a linear decode."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from _oracle import linear_frames
from test_shared_media import FILES, references

from mediaref_ursa import CollectionIndex, LanceFrameIndex, batch_decode, cleanup_cache


def test_every_frame_of_every_file(
    shared_media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [Path(shutil.copy(shared_media / name, tmp_path)) for name in FILES]
    collection = CollectionIndex.open(tmp_path / ".mediaref" / "index.lance", create=True)
    assert collection.add(paths, jobs=2).added == len(FILES)
    expected = [linear_frames(path) for path in paths]
    refs = [references(path, frames) for path, frames in zip(paths, expected, strict=True)]
    monkeypatch.setattr("mediaref_ursa._video.source.scan_video", lambda *_, **__: pytest.fail("scanned"))

    for named in (collection, None):
        cleanup_cache()
        for some, frames in zip(refs, expected, strict=True):
            found = batch_decode(some, frame_index=named)
            assert all(np.array_equal(a, b.rgb) for a, b in zip(found, frames, strict=True))
    assert {LanceFrameIndex.open(path).location for path in paths} == {"collection"}

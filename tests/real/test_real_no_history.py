"""Real files, and small ones on which readers failed: every frame in every order, against a linear decode."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from _history import assert_no_history

SHARED = Path(__file__).parents[3] / "shared"
MEDIA = [
    path
    for folder in (SHARED / "media", SHARED / "cases")
    if folder.is_dir()
    for path in sorted(folder.iterdir())
    if path.suffix in (".avi", ".gif", ".mkv", ".mov", ".mp4", ".webm")
]
DAMAGED = ("x264_444_build148.mp4",)
"""Files whose linear decode conceals damage: their frames are errors."""


@pytest.mark.skipif(not MEDIA, reason="no ../shared beside this checkout: the real files are not part of it")
@pytest.mark.parametrize("path", [path for path in MEDIA if path.name not in DAMAGED], ids=lambda p: p.name)
def test_every_frame_in_every_order(path: Path, tmp_path: Path) -> None:
    assert_no_history(Path(shutil.copy(path, tmp_path / path.name)), at_most=40)

"""No answer depends on what was asked before: every clip, every frame, in every order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from _history import assert_no_history
from _media import CLIP_NAMES, Clip


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_every_frame_in_every_order(name: str, clip: Callable[[str], Clip], tmp_path: Path) -> None:
    path = clip(name).path
    assert_no_history(Path(shutil.copy(path, tmp_path / path.name)))

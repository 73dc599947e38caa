"""Fixtures of the tests on real files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_file(shared_media: Path) -> Callable[[str], Path]:
    """Return the path of a real file by its name; skips where that file is missing."""

    def get(name: str) -> Path:
        path = shared_media / name
        if not path.is_file():
            pytest.skip(f"no {name} in ../shared/media beside this checkout")
        return path

    return get

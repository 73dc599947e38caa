"""Fixtures shared by all tests: generated clips, and the real files beside the repository."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from _media import Clip, describe_clip, make_clip

import mediaref_ursa
from mediaref_ursa._lazy.series import PACKAGES

collect_ignore = ["typing"]  # for type checkers, which .ci/run runs


@pytest.fixture(autouse=True)
def _warnings_anew() -> None:
    """Let each test be warned, whatever the others were warned of."""
    if "mediaref_ursa._core.media_warnings" in sys.modules:
        sys.modules["mediaref_ursa._core.media_warnings"].given_warnings.forget()


@pytest.fixture(scope="session")
def clips_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where generated clips are kept for the session. Read only: copy a file to alter it."""
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="session")
def clip(clips_dir: Path) -> Callable[[str], Clip]:
    """Return the clip of a name, made when it is first asked for."""

    def get(name: str) -> Clip:
        make_clip(name, clips_dir)
        return describe_clip(name, clips_dir)

    return get


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """The folder of real files; tests are skipped where a checkout has none."""
    folder = Path(__file__).parents[2] / "shared" / "media"
    if not folder.is_dir():
        pytest.skip("no ../shared/media beside this checkout: the real files are not part of it")
    return folder


@pytest.fixture(params=PACKAGES)
def package(request: pytest.FixtureRequest) -> str:
    """Each package of time series that is installed, by its name."""
    name: str = request.param
    pytest.importorskip(PACKAGES[name], reason=f"{name} is not installed")
    return name


@pytest.fixture
def td(package: str) -> ModuleType:
    """The module with the classes of that package."""
    return importlib.import_module(PACKAGES[package])


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give a test a cache directory of its own, and no collection named by the environment."""
    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDIAREF_URSA_INDEX", raising=False)
    mediaref_ursa.cleanup_cache()
    yield
    mediaref_ursa.cleanup_cache()

"""Doctests run where the files that they name exist: a two-second ``clip.mp4`` and a ``photo.png``."""

from __future__ import annotations

import ast
import doctest
import inspect
import shutil
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

_NEEDED = {
    "mediaref_ursa/torch": "torch",
    "mediaref_ursa/ray": "ray",
    "mediaref_ursa/mcap": "mcap",
    "mediaref_ursa/nwb.py": "pynwb",
    "mediaref_ursa/hf/_feature.py": "datasets",
}
collect_ignore = [path for path, library in _NEEDED.items() if find_spec(library) is None]
collect_ignore += ["mediaref_ursa/cached_av.py", "mediaref_ursa/resource_cache.py"]  # which only raise

_is_from_module = doctest.DocTestFinder._from_module  # type: ignore[attr-defined]


@cache
def _classes_of(source: str) -> frozenset[str]:
    """Return the names of the classes that a file defines."""
    tree = ast.parse(Path(source).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.ClassDef))


def _from_module(self: doctest.DocTestFinder, module: ModuleType | None, value: object) -> bool:
    """Find the doctests of a public name where it is defined: it names the module that users import."""
    if module is None or not str(getattr(value, "__module__", "")).startswith("mediaref_ursa"):
        return bool(_is_from_module(self, module, value))
    if inspect.isfunction(value):
        return inspect.unwrap(value).__globals__ is vars(module)
    if inspect.isclass(value):
        return value.__name__ in _classes_of(str(module.__file__))
    return bool(_is_from_module(self, module, value))


doctest.DocTestFinder._from_module = _from_module  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the files once: 60 frames of 128x96 at 30 frames a second, and a picture."""
    import av
    from PIL import Image

    folder = tmp_path_factory.mktemp("examples")
    noise = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "photo.png")
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"g": "30"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 30)
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 2 * number, axis=1), format="rgb24")
            frame.pts = number
            frame.time_base = Fraction(1, 30)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return folder


@pytest.fixture(scope="session", autouse=True)
def _a_cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests fetch out of the cache of the user who runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path_factory.mktemp("segment_cache")))
        yield


@pytest.fixture(autouse=True)
def _examples_at_hand(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give each doctest its own copy of the example files, in the working directory."""
    if isinstance(request.node, pytest.DoctestItem):
        shutil.copytree(request.getfixturevalue("example_files"), tmp_path, dirs_exist_ok=True)
        monkeypatch.chdir(tmp_path)

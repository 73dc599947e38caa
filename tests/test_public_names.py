"""The public names: what is listed is what is there."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
from pathlib import Path

import pytest

import mediaref_ursa

SOURCE = Path(mediaref_ursa.__file__)
MODULES = [
    "mediaref_ursa",
    "mediaref_ursa.batch",
    "mediaref_ursa.core",
    "mediaref_ursa.data_uri",
    "mediaref_ursa.layout",
    "mediaref_ursa.store",
    "mediaref_ursa.video_decoder",
]
TYPE_ALIASES = {"References"}
"""Unions, which have neither a name nor a module of their own."""

MODULES_OF_PUBLIC_NAMES = ["mediaref_ursa", "mediaref_ursa.store", "mediaref_ursa.video_decoder"]
MODULES_OF_MEDIAREF = {
    "batch": ["batch_decode", "cleanup_cache"],
    "core": ["MediaRef"],
    "data_uri": ["DataURI"],
}


def names_for_the_type_checker() -> dict[str, str]:
    """Return each name imported under TYPE_CHECKING and its module."""
    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    guarded = [
        node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
    ]
    imports = [node for guard in guarded for node in guard.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def test_all_is_what_is_exported() -> None:
    lazy = dict(mediaref_ursa._HOME_OF)

    assert set(mediaref_ursa.__all__) == set(lazy)
    assert {name: f"mediaref_ursa.{home}" for name, home in lazy.items()} == names_for_the_type_checker()


def test_no_public_name_is_left_out_of_all() -> None:
    """Besides ``__all__`` only submodules and what the module itself imports are without underscore."""
    for name in mediaref_ursa.__all__:
        getattr(mediaref_ursa, name)
    public = {
        name
        for name, value in vars(mediaref_ursa).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }

    assert public - {"annotations", "TYPE_CHECKING", "logger"} == set(mediaref_ursa.__all__)


@pytest.mark.parametrize("module", MODULES)
def test_all_is_sorted_and_each_name_loads(module: str) -> None:
    loaded = importlib.import_module(module)

    assert list(loaded.__all__) == sorted(set(loaded.__all__))
    assert all(getattr(loaded, name) is not None for name in loaded.__all__)


@pytest.mark.parametrize(("module", "names"), MODULES_OF_MEDIAREF.items())
def test_the_modules_of_mediaref_have_the_names_of_the_package(module: str, names: list[str]) -> None:
    loaded = importlib.import_module(f"mediaref_ursa.{module}")

    assert loaded.__all__ == names
    assert all(getattr(loaded, name) is getattr(mediaref_ursa, name) for name in names)


@pytest.mark.parametrize("name", sorted(set(mediaref_ursa.__all__) - TYPE_ALIASES))
def test_a_public_name_has_its_own_name_and_a_docstring(name: str) -> None:
    value = getattr(mediaref_ursa, name)

    assert value.__name__ == name
    assert inspect.getdoc(value)


@pytest.mark.parametrize("module", MODULES_OF_PUBLIC_NAMES)
def test_a_public_name_says_the_module_that_users_import_it_from(module: str) -> None:
    """Else pickles and pages would depend on the layout of the package."""
    loaded = importlib.import_module(module)
    named = {name: getattr(loaded, name).__module__ for name in loaded.__all__ if name not in TYPE_ALIASES}

    assert {name: home for name, home in named.items() if not home.startswith(module)} == {}
    assert {home for home in named.values() if any(part.startswith("_") for part in home.split("."))} == set()
    if module != "mediaref_ursa.video_decoder":  # whose submodules are public as well
        assert set(named.values()) == {module}


@pytest.mark.parametrize("module", MODULES_OF_PUBLIC_NAMES)
def test_pickles_of_public_names_do_not_name_private_modules(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in sorted(set(loaded.__all__) - TYPE_ALIASES):
        value = getattr(loaded, name)
        pickled = pickle.dumps(value, protocol=0)

        assert pickle.loads(pickled) is value
        assert b"._" not in pickled, name


def test_dir_shows_the_public_names_loaded_or_not() -> None:
    assert set(mediaref_ursa.__all__) <= set(dir(mediaref_ursa))
    assert dir(mediaref_ursa) == sorted(set(dir(mediaref_ursa)))


@pytest.mark.parametrize("name", ["no_such_name", "_no_such_name", "batchdecode", "__no_such_name__"])
def test_an_unknown_attribute(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'mediaref_ursa' has no attribute '{name}'"):
        getattr(mediaref_ursa, name)
    assert not hasattr(mediaref_ursa, name)


def test_a_star_import_gives_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from mediaref_ursa import *", names)

    assert set(names) - {"__builtins__"} == set(mediaref_ursa.__all__)


def test_the_names_that_the_documentation_promises() -> None:
    from mediaref_ursa.layout import lance_frame_index_uri
    from mediaref_ursa.video_decoder import BatchDecodingStrategy

    assert callable(lance_frame_index_uri)
    assert {strategy.name for strategy in BatchDecodingStrategy} == {
        "SEPARATE",
        "SEQUENTIAL",
        "SEQUENTIAL_PER_KEYFRAME_BLOCK",
    }


def test_the_version_is_that_of_the_distribution() -> None:
    text = (SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8")

    assert f'version = "{mediaref_ursa.__version__}"' in text

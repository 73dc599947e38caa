"""``MediaRefFeature`` in the real ``datasets``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
datasets: Any = pytest.importorskip("datasets", reason="datasets (Hugging Face) is not installed")
hf: Any = pytest.importorskip("mediaref_ursa.hf")

from mediaref_ursa import MediaRef  # noqa: E402 - after what may be missing

pytestmark = pytest.mark.filterwarnings("default")

REFS = [MediaRef("a.mp4", 5), MediaRef("b.png"), MediaRef("c.mp4", -7)]


def features(**options: Any) -> Any:
    return datasets.Features({"frame": hf.MediaRefFeature(**options), "label": datasets.Value("int64")})


def made(rows: list[Any] = REFS, **options: Any) -> Any:
    columns = {"frame": rows, "label": list(range(len(rows)))}
    return datasets.Dataset.from_dict(columns, features=features(**options))


def test_rows_are_references() -> None:
    data = made()
    assert data[0] == {"frame": REFS[0], "label": 0}
    assert list(data["frame"]) == REFS
    assert data[1:]["frame"] == REFS[1:]
    assert made(decode=False)[1]["frame"] == {"uri": "b.png", "pts_ns": None}


def test_dicts_and_uris_are_taken() -> None:
    rows: list[Any] = [{"uri": "a.mp4", "pts_ns": 5}, "b.png", REFS[2]]
    assert list(made(rows)["frame"]) == REFS
    feature = hf.MediaRefFeature()
    with pytest.raises(TypeError, match="expected a MediaRef"):
        feature.encode_example(5)
    with pytest.raises(ValueError, match="with a uri"):
        feature.encode_example({"pts_ns": 5})


def test_it_is_stored_and_loaded(tmp_path: Path) -> None:
    made().save_to_disk(str(tmp_path / "data"))
    assert list(datasets.load_from_disk(str(tmp_path / "data"))["frame"]) == REFS
    made().to_parquet(str(tmp_path / "data.parquet"))
    again = datasets.Dataset.from_parquet(str(tmp_path / "data.parquet"), cache_dir=str(tmp_path / "cache"))
    assert again[2]["frame"] in (REFS[2], {"uri": "c.mp4", "pts_ns": -7})


def test_columns_are_cast() -> None:
    plain = datasets.Dataset.from_dict({"frame": ["a.png", None], "label": [0, 1]})
    cast = plain.cast(features())
    assert cast[0]["frame"] == MediaRef("a.png")
    assert cast[1]["frame"] is None
    structs = datasets.Dataset.from_dict({"frame": [{"uri": "a.mp4", "pts_ns": 5}], "label": [0]})
    assert structs.cast(features())[0]["frame"] == REFS[0]
    with pytest.raises((TypeError, ValueError)):
        datasets.Dataset.from_dict({"frame": [1.5], "label": [0]}).cast(features())

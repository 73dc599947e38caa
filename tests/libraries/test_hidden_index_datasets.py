"""A folder of indexed videos as Hugging Face's ``datasets`` sees it: videos, where the indexes are hidden."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _cli_runner import run
from _media import Clip

from mediaref_ursa import write_frame_index

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when it is imported; a local folder needs no network
datasets: Any = pytest.importorskip("datasets", reason="datasets (Hugging Face) is not installed")

pytestmark = pytest.mark.filterwarnings("default")  # those of other libraries are not ours to mend

FRAME_COLUMNS = {"segment_idx", "local_frame_idx", "pts", "timestamp"}


@pytest.fixture
def folder(clip: Callable[[str], Clip], tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4"):
        shutil.copy(clip("h264_idr_mp4").path, folder / name)
    return folder


def loaded(folder: Path, tmp_path: Path, **options: Any) -> Any:
    return datasets.load_dataset(
        str(folder),
        split="train",
        cache_dir=str(tmp_path / "cache"),
        download_mode="force_redownload",
        **options,
    )


def names_of(data: Any) -> list[str]:
    """Return the files of the column of videos, which is not decoded for that."""
    column = data.cast_column("video", datasets.Video(decode=False))
    return [Path(row["video"]["path"]).name for row in column]


def test_sidecars_are_taken_for_the_data_set(folder: Path, tmp_path: Path) -> None:
    """Why indexes can be hidden. Where this fails, ``datasets`` has changed, and the docs should say so."""
    for video in folder.glob("*.mp4"):
        write_frame_index(video)
    assert set(loaded(folder, tmp_path).column_names) > FRAME_COLUMNS


@pytest.mark.parametrize("streaming", [False, True])
def test_hidden_indexes_leave_the_videos_to_be_found(folder: Path, tmp_path: Path, streaming: bool) -> None:
    for video in folder.glob("*.mp4"):
        write_frame_index(video, hidden=True)
    data = loaded(folder, tmp_path, streaming=streaming)
    assert data.column_names == ["video"] or streaming
    assert sorted(names_of(data)) == ["a.mp4", "b.mp4"]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hidden_collection_leaves_the_videos_to_be_found(
    folder: Path, tmp_path: Path, streaming: bool
) -> None:
    before = sorted(names_of(loaded(folder, tmp_path, streaming=streaming)))
    assert run("index", folder, "--into", folder / ".mediaref" / "index.lance").exit_code == 0
    assert sorted(names_of(loaded(folder, tmp_path, streaming=streaming))) == before == ["a.mp4", "b.mp4"]


def test_the_command_hides_sidecars_that_stand_there(folder: Path, tmp_path: Path) -> None:
    for video in folder.glob("*.mp4"):
        write_frame_index(video)
    assert run("index", "--hidden", folder).exit_code == 0
    assert sorted(names_of(loaded(folder, tmp_path))) == ["a.mp4", "b.mp4"]


def test_in_folders_of_labels_too(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / f"{name}.mp4").rename(folder / name / "clip.mp4")
    run("index", "--hidden", folder)
    data = loaded(folder, tmp_path)
    assert set(data.column_names) == {"video", "label"}
    assert data.features["label"].names == ["a", "b"]


def test_a_readme_that_names_the_data_is_safe_with_sidecars(folder: Path, tmp_path: Path) -> None:
    """The other way, for data sets of tables: the README says which files are data."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for video in folder.glob("*.mp4"):
        write_frame_index(video)
    pq.write_table(pa.table({"uri": ["a.mp4"], "pts_ns": [0]}), folder / "train.parquet")
    (folder / "README.md").write_text(
        '---\nconfigs:\n- config_name: default\n  data_files: "*.parquet"\n---\n', encoding="utf-8"
    )
    assert loaded(folder, tmp_path).column_names == ["uri", "pts_ns"]

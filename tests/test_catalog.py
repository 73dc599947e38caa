"""Rows that describe recordings, and the videos that they open."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow.parquet as pq
import pytest
from _media import Clip
from _oracle import linear_frames
from pydantic import ValidationError

from mediaref_ursa import FrameIndexMissingError, write_frame_index
from mediaref_ursa.catalog import ModalityRow, StorageFormat, from_arrow, open_modality, to_arrow
from mediaref_ursa.store import MemoryStore

GetClip = Callable[[str], Clip]

ROWS = [
    ModalityRow(
        name="left", format=StorageFormat.MP4_INDEX, uri="a.mp4", attributes={"rig": [1, {"x": None}]}
    ),
    ModalityRow(name="right", format="video", uri="s3://b/c.mp4", segment_uris=("1.mp4", "2.mp4")),
    ModalityRow(name="wide", format="mp4_index", uri="d.mp4", start_seconds=-1.5, end_seconds=2.5),
]


def test_rows_go_to_parquet_and_lance_and_back(tmp_path: Path) -> None:
    pq.write_table(to_arrow(ROWS), tmp_path / "rows.parquet")
    assert from_arrow(pq.read_table(tmp_path / "rows.parquet")) == ROWS
    lance.write_dataset(to_arrow(ROWS), str(tmp_path / "rows.lance"))
    assert from_arrow(lance.dataset(str(tmp_path / "rows.lance")).to_table()) == ROWS
    assert from_arrow(to_arrow([])) == []
    assert [ModalityRow.model_validate_json(row.model_dump_json()) for row in ROWS] == ROWS
    assert pickle.loads(pickle.dumps(ROWS)) == ROWS
    assert len({*ROWS, *ROWS}) == 3


def test_columns_of_others_are_ignored() -> None:
    table = to_arrow(ROWS).append_column("session", [["x", "y", "z"]])
    assert from_arrow(table) == ROWS


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"uri": ""},
        {"format": "avi"},
        {"end_seconds": -2.0},
        {"start_seconds": float("nan")},
        {"x": 1},
    ],
)
def test_what_no_row_can_be(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModalityRow.model_validate({**ROWS[2].model_dump(), **change})


def test_rows_are_frozen() -> None:
    with pytest.raises(ValidationError):
        ROWS[0].name = "other"  # type: ignore[misc]


def test_a_row_opens_the_window_that_it_describes(clip: GetClip, tmp_path: Path) -> None:
    path = str(shutil.copy(clip("h264_29_97_mp4").path, tmp_path))
    row = ModalityRow(name="camera", format="mp4_index", uri=path, start_seconds=0.5, end_seconds=1.0)
    with pytest.raises(FrameIndexMissingError):
        open_modality(row)
    write_frame_index(path)
    video = open_modality(row, channel_format="NHWC")
    frames = [frame for frame in linear_frames(path) if 0.5 <= float(frame.time) < 1.0]
    assert video.metadata is row
    assert np.array_equal(video[:], np.stack([frame.rgb for frame in frames]))
    assert len(open_modality(row.model_copy(update={"start_seconds": None}))) > len(frames)


def test_a_row_opens_from_a_store(clip: GetClip) -> None:
    path = clip("vp9_alt_ref_webm").path
    row = ModalityRow(
        name="camera", format="video", uri="memory://a", segment_uris=("memory://a", "memory://a")
    )
    video = open_modality(row, MemoryStore({"memory://a": path.read_bytes()}))
    assert len(video) == 2 * len(linear_frames(path))

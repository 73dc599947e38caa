"""Data sets on the Hub, by huggingface_hub's file system, against a stand-in for its wire on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _hub import Hub
from _lerobot import TOP, WRIST, DataSet, write_data_set

from mediaref_ursa import (
    FrameIndexMissingError,
    LanceFrameIndex,
    MediaNotFoundError,
    MediaRef,
    StoreError,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa.lerobot import LeRobotRefs

pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return write_data_set(tmp_path_factory.mktemp("lerobot") / "set")


def files_of(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


@pytest.fixture
def hub(written: DataSet, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # as other tests have it
    files = files_of(written.root)
    older = {
        **files,
        "meta/info.json": files["meta/info.json"].replace(b'"fps"', b'"robot_type": "old", "fps"'),
    }
    with Hub("me/set", {"main": files, "v1.0": older}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        yield server


def test_each_row_of_a_data_set_on_the_hub_has_its_frame(written: DataSet, hub: Hub) -> None:
    options: dict[str, Any] = {"endpoint": hub.endpoint, "token": False}
    for revision in (None, "v1.0"):
        data = LeRobotRefs("hf://datasets/me/set", revision=revision, storage_options=options)
        table = data.refs(episodes=[0, 4], camera=["top", "wrist"])
        for camera in (TOP, WRIST):
            expected = np.concatenate([written.frames[camera][episode] for episode in (0, 4)])
            frames = batch_decode(table, column=camera, as_array=True, storage_options=options)
            assert np.array_equal(frames, expected)
        uris = {row["uri"] for row in table.column(TOP).to_pylist()}
        pinned = "hf://datasets/me/set@v1.0/" if revision else "hf://datasets/me/set/"
        assert all(uri.startswith(pinned) for uri in uris)


def test_an_index_on_the_hub_is_that_of_its_revision(written: DataSet, hub: Hub, tmp_path: Path) -> None:
    name = "videos/observation.images.top/chunk-000/file-000.mp4"
    for revision in hub.revisions:
        video = tmp_path / revision / "file-000.mp4"
        video.parent.mkdir()
        video.write_bytes(hub.revisions[revision][name])
        write_frame_index(str(video))
        files = files_of(video.parent)
        if revision == "main":
            files.pop("file-000.mp4")
            hub.revisions[revision] = {
                **hub.revisions[revision],
                **{f"{name.rpartition('/')[0]}/{path}": data for path, data in files.items()},
            }
    with_index, without = (f"hf://datasets/me/set{at}/{name}" for at in ("@main", "@v1.0"))
    options: dict[str, Any] = {"token": False, "endpoint": hub.endpoint}

    assert LanceFrameIndex.open(with_index, storage_options=options).location == "beside"
    with pytest.raises(FrameIndexMissingError):
        LanceFrameIndex.open(without, storage_options=options)
    for uri in (with_index, without):
        frames = batch_decode([MediaRef(uri, 0)], storage_options=options)
        assert np.array_equal(frames[0], written.frames[TOP][0][0])


def test_what_is_not_there_is_one_error(hub: Hub) -> None:
    options: dict[str, Any] = {"token": False, "endpoint": hub.endpoint}
    for root, revision in (("me/set", "v9"), ("me/other", None)):
        with pytest.raises(MediaNotFoundError, match="meta/info.json"):
            LeRobotRefs(f"hf://datasets/{root}", revision=revision, storage_options=options)


def test_a_hub_that_lance_cannot_ask_is_an_error(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT")
    options: dict[str, Any] = {"token": False, "endpoint": hub.endpoint}
    with pytest.raises(StoreError, match=f"set the environment variable HF_ENDPOINT={hub.endpoint}"):
        LanceFrameIndex.open("hf://datasets/me/set/a.mp4", storage_options=options)


def test_being_offline_is_said(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    data = LeRobotRefs("hf://datasets/me/set", storage_options={"token": False, "endpoint": hub.endpoint})
    table = data.refs(episodes=[0], camera="top")
    cleanup_cache()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    options: dict[str, Any] = {"token": False, "endpoint": "http://127.0.0.1:1"}
    with pytest.raises(StoreError, match="(?i)connect"):
        LeRobotRefs("hf://datasets/me/set", storage_options=options)
    with pytest.raises(StoreError, match="error sending request"):
        batch_decode(table, column=TOP, storage_options=options)

"""Several who write one index at once, and what killed writers leave: one wins, and all are right."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from _media import Clip

from mediaref_ursa import LanceFrameIndex, StoreError, write_frame_index
from mediaref_ursa._index.folder_lock import FolderLock

GetClip = Callable[[str], Clip]


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    path = tmp_path / "video.mp4"
    shutil.copy(clip("h264_idr_mp4").path, path)
    write_frame_index(str(path))
    return path


def damage(video: Path) -> None:
    for file in Path(f"{video}.lance", "_versions").iterdir():
        file.write_bytes(b"garbage")


def at_once(count: int, work: Callable[[], object]) -> list[BaseException]:
    failed: list[BaseException] = []
    begin = threading.Barrier(count)

    def run() -> None:
        begin.wait()
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


@pytest.mark.parametrize("before", ["damaged", "sound", "none"])
def test_all_are_right(before: str, video: Path) -> None:
    for _ in range(6):
        if before == "damaged":
            damage(video)
        elif before == "none":
            shutil.rmtree(f"{video}.lance")
        assert at_once(4, lambda: write_frame_index(str(video), overwrite=True)) == []
        assert len(LanceFrameIndex.open(str(video)).timestamps())
        assert sorted(path.name for path in video.parent.iterdir()) == ["video.mp4", "video.mp4.lance"]


def test_processes_too(video: Path) -> None:
    damage(video)
    children = []
    for _ in range(3):
        child = os.fork()
        if child == 0:
            try:
                write_frame_index(str(video), overwrite=True)
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert len(LanceFrameIndex.open(str(video)).timestamps())


def test_what_a_killed_writer_left_is_in_nobodys_way(video: Path) -> None:
    """In a container each writer may be process number 1."""
    left = f"{video}.lance.damaged-{os.getpid()}"
    shutil.copytree(f"{video}.lance", left)
    damage(video)
    write_frame_index(str(video), overwrite=True)
    assert len(LanceFrameIndex.open(str(video)).timestamps())
    assert Path(left).is_dir()


def test_a_damaged_one_that_cannot_be_set_aside(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    damage(video)
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StoreError, match="damaged frame index cannot be replaced"):
        LanceFrameIndex.open(str(write_aside(video)))


def write_aside(video: Path) -> Path:
    from mediaref_ursa._index.lance_table import _room_for

    with _room_for(f"{video}.lance"):
        return video


class TestFolderLock:
    def test_many_hold_it_together_and_one_alone(self, tmp_path: Path) -> None:
        order: list[str] = []
        with FolderLock(tmp_path), FolderLock(tmp_path):
            other = threading.Thread(target=lambda: alone(tmp_path, order))
            other.start()
            other.join(0.2)
            assert other.is_alive()
            order.append("together")
        other.join()
        assert order == ["together", "alone"]

    def test_two_that_want_it_alone_take_turns(self, tmp_path: Path) -> None:
        order: list[str] = []
        assert at_once(4, lambda: alone(tmp_path, order)) == []
        assert order == ["alone"] * 4

    def test_it_is_waited_for_only_so_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mediaref_ursa._index.folder_lock._WAIT_SECONDS", 0.05)
        order: list[str] = []
        with FolderLock(tmp_path):
            alone(tmp_path, order)
        assert order == ["alone"]

    def test_without_a_folder(self, tmp_path: Path) -> None:
        order: list[str] = []
        alone(tmp_path / "none", order)
        assert order == ["alone"]


def alone(folder: Path, order: list[str]) -> None:
    with FolderLock(folder) as lock:
        lock.exclude_others()
        order.append("alone")

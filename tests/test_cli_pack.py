"""``mediaref-ursa pack``: what goes into the table, what it prints, and its exit code."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from _cli_runner import run
from _media import Clip

from mediaref_ursa import CollectionIndex, MediaRef

GetClip = Callable[[str], Clip]


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path) -> Path:
    for name in ("h264_pyramid_mp4", "mpeg4_avi"):
        path = clip(name).path
        (tmp_path / "takes" / "monday").mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "takes" / "monday" / path.name)
    return tmp_path / "takes"


def test_a_folder_goes_into_a_table_and_again(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        result = run("pack", folder, "--into", tmp_path / "set.lance")
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == f"{tmp_path}/set.lance: 2 of 2 files in the table\n"

    collection = CollectionIndex.open(tmp_path / "set.lance")
    assert sorted(collection) == [
        f"{tmp_path}/set.lance/@video/monday/{path.name}" for path in sorted((folder / "monday").iterdir())
    ]


def test_what_is_no_video_is_left_out(folder: Path, tmp_path: Path) -> None:
    (folder / "bad.mp4").write_bytes(b"no video")
    result = run("pack", folder, tmp_path / "gone.mp4", "--into", tmp_path / "set.lance", "--root", tmp_path)

    assert result.exit_code == 1
    assert result.stdout == f"{tmp_path}/set.lance: 2 of 4 files in the table\n"
    assert "bad.mp4" in result.stderr
    assert "gone.mp4" in result.stderr
    assert "2 of 4 videos could not be packed" in result.stderr
    assert "Traceback" not in result.stderr
    assert next(iter(CollectionIndex.open(tmp_path / "set.lance"))).startswith(
        f"{tmp_path}/set.lance/@video/takes/monday/"
    )


def test_images(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 3), (1, 2, 3)).save(tmp_path / "a.png")
    result = run(
        "pack", tmp_path / "a.png", "--into", tmp_path / "p.lance", "--column", "image", "--no-index"
    )

    assert result.exit_code == 0
    assert MediaRef(f"{tmp_path}/p.lance/@image/a.png").to_ndarray().shape == (3, 4, 3)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--into", "set"), "name ends in .lance"),
        (("--into", "set.lance", "--root", "/elsewhere"), "expected files below /elsewhere"),
        ((), "Missing option '--into'"),
        (("--into", "https://host/set.lance"), "which Lance does not write to"),
    ],
)
def test_bad_options_are_one_line(folder: Path, options: tuple[str, ...], part: str) -> None:
    result = run("pack", folder, *options)

    assert result.exit_code in (1, 2)
    assert part in result.stderr
    assert "Traceback" not in result.stderr

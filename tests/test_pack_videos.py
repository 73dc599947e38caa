"""Files packed into one Lance table: whole, each once, under its key, whatever interrupts it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from _http_server import ObjectServer
from _media import Clip
from _oracle import linear_frames

from mediaref_ursa import (
    CollectionIndex,
    InvalidReferenceError,
    MediaChangedError,
    MediaNotFoundError,
    MediaRef,
    MediaRefError,
    StoreError,
    batch_decode,
    blob_uri,
    pack_videos,
)
from mediaref_ursa._index import pack
from mediaref_ursa._index.packed_file import PackedFile, keys_below
from mediaref_ursa.store import MemoryStore, store_for

pack_files = partial(pack_videos, index=False)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Files of all sizes that Lance stores in different ways."""
    rng = np.random.default_rng(1)
    paths = [tmp_path / "in" / name for name in ("a/1.bin", "a/2 b%.bin", "b/1.bin", "b/c/Ü.bin", "b/empty")]
    for path, size in zip(paths, (1, 70_000, 5_000_000, 300, 0), strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(size))
    return paths


def content(uri: str) -> bytes:
    return store_for(uri).get(uri)


def keys_of(table: Path | str) -> list[str]:
    found: list[str] = lance.dataset(str(table)).to_table(columns=["key"]).column("key").to_pylist()
    return sorted(found)


def test_every_file_is_there_byte_for_byte(files: list[Path], tmp_path: Path) -> None:
    seen: list[str] = []
    table = tmp_path / "out" / "set.lance"
    uris = pack_files(files, table, progress=seen.append)

    assert [content(uri) for uri in uris] == [path.read_bytes() for path in files]
    assert uris == [
        blob_uri(table, "video", key) for key in ("a/1.bin", "a/2 b%.bin", "b/1.bin", "b/c/Ü.bin", "b/empty")
    ]
    assert seen == [str(path) for path in files]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_packing_again_changes_nothing_and_new_files_are_added(files: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "set.lance"
    first = pack_files(files[:3], table, keys=["1", "2", "3"])
    seen: list[str] = []
    again = pack_files(files, table, keys=["1", "2", "3", "4", "5"], progress=seen.append)

    assert again[:3] == first
    assert keys_of(table) == ["1", "2", "3", "4", "5"]
    assert sorted(seen) == sorted(str(path) for path in files)
    assert [content(uri) for uri in again] == [path.read_bytes() for path in files]
    assert pack_files([], table) == []


@pytest.mark.parametrize("size", [1, 2, 100])
def test_whatever_the_size_of_a_commit(
    files: list[Path], tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "_COMMIT_FILES", size)
    monkeypatch.setattr(pack, "_ASKED_AT_ONCE", 2)
    monkeypatch.setattr(pack, "_COMMIT_BYTES", 80_000)
    uris = pack_files(files, tmp_path / "set.lance")

    assert [content(uri) for uri in uris] == [path.read_bytes() for path in files]


def test_further_columns_stand_beside_the_media(files: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "set.lance"
    pack_files(files[:2], table, columns={"split": ["train", "test"], "n": np.array([1, 2])}, keys=["x", "y"])
    more = pa.table({"n": pa.array([3], pa.int8()), "split": ["val"]})
    pack_files(files[2:3], table, columns=more, keys=["z"])

    rows = lance.dataset(str(table)).to_table(columns=["key", "split", "n"]).to_pylist()
    assert rows == [
        {"key": "x", "split": "train", "n": 1},
        {"key": "y", "split": "test", "n": 2},
        {"key": "z", "split": "val", "n": 3},
    ]


def test_an_image_may_be_packed_too(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (uri,) = pack_files([tmp_path / "a.png"], tmp_path / "set.lance", column="image")

    np.testing.assert_array_equal(MediaRef(uri).to_ndarray(), pixels)


class TestSources:
    def test_a_store_of_the_callers(self, tmp_path: Path) -> None:
        data = os.urandom(20_000_000)
        store = MemoryStore()
        store.put("memory://takes/a.bin", data)
        (uri,) = pack_files(["memory://takes/a.bin"], tmp_path / "set.lance", store=store)

        assert uri.endswith("/@video/a.bin")
        assert content(uri) == data

    def test_a_server(self, tmp_path: Path) -> None:
        data = os.urandom(300_000)
        with ObjectServer() as server:
            urls = [server.put("/x/a.bin", data), server.put("/x/b.bin", data[::-1])]
            uris = pack_files([url + "?signature=1" for url in urls], tmp_path / "set.lance")

        assert uris[1].endswith("/@video/b.bin")
        assert [content(uri) for uri in uris] == [data, data[::-1]]

    def test_another_table(self, files: list[Path], tmp_path: Path) -> None:
        first = pack_files(files, tmp_path / "a.lance")
        second = pack_files(first, tmp_path / "b.lance", keys=[str(i) for i in range(len(first))])

        assert [content(uri) for uri in second] == [path.read_bytes() for path in files]

    @pytest.mark.parametrize(
        ("uris", "keys"),
        [
            (["/a/b.mp4"], ["b.mp4"]),
            (["/a/b.mp4", "/a/c/b.mp4"], ["b.mp4", "c/b.mp4"]),
            (["/ab/x", "/ac/x"], ["ab/x", "ac/x"]),
            (["s3://b/x/1?v=2", "s3://b/y/1"], ["x/1", "y/1"]),
            (["https://h/1", "https://i/1"], ["h/1", "i/1"]),
        ],
    )
    def test_keys_are_paths_below_the_folder_of_all(self, uris: list[str], keys: list[str]) -> None:
        assert keys_below(uris) == keys

    def test_keys_begin_below_a_root(self, files: list[Path], tmp_path: Path) -> None:
        uris = pack_files(files[:1], tmp_path / "set.lance", root=tmp_path)
        assert uris == [blob_uri(tmp_path / "set.lance", "video", "in/a/1.bin")]
        with pytest.raises(ValueError, match="expected files below"):
            pack_files(files, tmp_path / "set.lance", root=tmp_path / "in" / "a")
        with pytest.raises(ValueError, match="keys= or root=, found both"):
            pack_files(files[:1], tmp_path / "set.lance", root=tmp_path, keys=["a"])


class TestBadInput:
    def test_what_is_no_set_of_files(self, files: list[Path], tmp_path: Path) -> None:
        table = tmp_path / "set.lance"
        with pytest.raises(ValueError, match="found 'x' twice"):
            pack_files(files[:2], table, keys=["x", "x"])
        with pytest.raises(ValueError, match="a key for each of 2 files, found 1"):
            pack_files(files[:2], table, keys=["x"])
        with pytest.raises(ValueError, match="name ends in .lance"):
            pack_files(files, tmp_path / "set")
        with pytest.raises(ValueError, match="columns of 5 rows, one a file, found 1"):
            pack_files(files, table, columns={"a": [1]})
        with pytest.raises(ValueError, match="other names than those of keys and media, found key"):
            pack_files(files[:1], table, columns={"key": [1]})
        with pytest.raises(ValueError, match="files of one store, found several"):
            pack_files(["/a/b.mp4", "https://host/b.mp4"], table)
        assert not table.exists()

    def test_other_columns_than_the_table_has(self, files: list[Path], tmp_path: Path) -> None:
        table = tmp_path / "set.lance"
        pack_files(files[:1], table, columns={"n": [1]})
        with pytest.raises(ValueError, match=r"expected the columns \['n'\] that the table has, found \[\]"):
            pack_files(files[1:2], table)
        with pytest.raises(ValueError, match="of the types that the table has"):
            pack_files(files[1:2], table, columns={"n": ["x"]})

    def test_a_table_of_another_kind(self, files: list[Path], tmp_path: Path) -> None:
        table = tmp_path / "set.lance"
        lance.write_dataset(pa.table({"key": ["a"]}), str(table))
        with pytest.raises(StoreError, match="expected a table that pack_videos made"):
            pack_files(files, table)
        pack_files(files[:1], tmp_path / "other.lance")
        with pytest.raises(StoreError, match="for the column 'image'"):
            pack_files(files, tmp_path / "other.lance", column="image")

    def test_a_file_that_is_not_there(self, files: list[Path], tmp_path: Path) -> None:
        with pytest.raises(MediaNotFoundError):
            pack_files([*files, tmp_path / "gone.bin"], tmp_path / "set.lance")

    def test_files_that_fail_are_left_out_where_the_caller_takes_their_errors(
        self, files: list[Path], tmp_path: Path
    ) -> None:
        errors: list[MediaRefError] = []
        seen: list[str] = []
        given = [files[0], tmp_path / "gone.bin", files[1]]
        uris = pack_files(given, tmp_path / "set.lance", on_error=errors.append, progress=seen.append)

        assert [error.uri for error in errors] == [str(tmp_path / "gone.bin")]
        assert seen == [str(files[0]), str(files[1])]
        assert content(uris[1]) == files[1].read_bytes()
        assert len(keys_of(tmp_path / "set.lance")) == 2

    def test_another_file_under_a_key_of_the_table(self, files: list[Path], tmp_path: Path) -> None:
        table = tmp_path / "set.lance"
        pack_files(files[:1], table, keys=["x"])
        with pytest.raises(
            MediaChangedError, match="of 1 bytes that the table has under the key 'x', found 70000 bytes"
        ):
            pack_files(files[1:2], table, keys=["x"])

    def test_a_file_that_changes_while_it_is_copied(
        self, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = tmp_path / "set.lance"
        written = PackedFile.source_in

        def change_after(file: PackedFile, folder: Path) -> str:
            source = written(file, folder)
            files[1].write_bytes(b"other")
            return source

        monkeypatch.setattr(PackedFile, "source_in", change_after)
        with pytest.raises(MediaChangedError, match="while it is copied"):
            pack_files(files[:2], table)
        assert keys_of(table) == []

    def test_a_folder_that_cannot_be_written(self, files: list[Path], tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(StoreError):
            pack_files(files, tmp_path / "file" / "set.lance")
        with pytest.raises(StoreError, match="which Lance does not write to"):
            pack_files(files, "https://host/set.lance")


def test_writers_at_once_put_no_file_in_twice(files: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "set.lance"
    pack_files([], table)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: pack_files(files, table), range(4)))

    assert keys_of(table) == sorted(["a/1.bin", "a/2 b%.bin", "b/1.bin", "b/c/Ü.bin", "b/empty"])
    assert len({tuple(uris) for uris in results}) == 1


def test_in_a_forked_process(files: list[Path], tmp_path: Path) -> None:
    pack_files(files[:1], tmp_path / "before.lance")
    pid = os.fork()
    if pid == 0:
        ok = False
        try:
            uris = pack_files(files, tmp_path / "set.lance")
            ok = [content(uri) for uri in uris] == [path.read_bytes() for path in files]
        finally:
            os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert len(keys_of(tmp_path / "set.lance")) == len(files)


PROGRAM = """
import sys
from pathlib import Path
from typing import Any
from mediaref_ursa import pack_videos
from mediaref_ursa._index import pack
pack._COMMIT_FILES = 3
folder, table = Path(sys.argv[1]), sys.argv[2]
pack_videos(sorted(folder.iterdir()), table, index=False)
"""


def test_a_killed_call_leaves_whole_files_and_is_gone_on_with(tmp_path: Path) -> None:
    folder, table = tmp_path / "in", tmp_path / "set.lance"
    folder.mkdir()
    data = {f"{number:03}": os.urandom(200_000 + number) for number in range(60)}
    for name, part in data.items():
        (folder / name).write_bytes(part)
    kills = 0
    rng = np.random.default_rng(5)
    for _ in range(60):
        process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder), str(table)])
        before = len(keys_of(table)) if (table / "_versions").is_dir() else 0
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if (table / "data").is_dir() and len(list((table / "_versions").iterdir())) > kills + 2:
                break
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.05)))
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:
            break
        kills += 1
        if (table / "_versions").is_dir():
            keys = keys_of(table)
            assert len(keys) == len(set(keys)) >= before
            for key in keys[:: max(1, len(keys) // 5)]:
                assert content(blob_uri(table, "video", key)) == data[key]
    uris = pack_files(sorted(folder.iterdir()), table)

    assert kills > 3
    assert keys_of(table) == sorted(data)
    assert [content(uri) for uri in uris] == list(data.values())


@pytest.mark.parametrize("untrusted", [False, True])
def test_a_copy_of_the_table_is_the_whole_set(
    clip: Callable[[str], Clip], tmp_path: Path, untrusted: bool
) -> None:
    path = clip("h264_pyramid_mp4").path
    pack_files([path], tmp_path / "first" / "set.lance", keys=["takes/a.mp4"])
    (tmp_path / "first").rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copy")
    shutil.rmtree(tmp_path / "moved")

    truth = linear_frames(path)
    refs = [MediaRef("set.lance/@video/takes/a.mp4", round(frame.time * 10**9)) for frame in truth]
    found = batch_decode(refs, base_dir=tmp_path / "copy", untrusted=untrusted)
    for frame, expected in zip(found, truth, strict=True):
        np.testing.assert_array_equal(frame, expected.rgb)


def test_a_large_file_takes_no_memory(tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    with big.open("wb") as file:
        file.truncate(1 << 30)
    program = (
        "import resource, sys; from mediaref_ursa import pack_videos;"
        "from mediaref_ursa._lance import lance_calls;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "pack_videos([sys.argv[1]], sys.argv[2], index=False);"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(big), str(tmp_path / "set.lance")],
        capture_output=True,
        check=True,
    )

    assert int(done.stdout) < 200
    assert (
        store_for("x.lance/@a/b").get_range(
            blob_uri(tmp_path / "set.lance", "video", "big.bin"), (1 << 30) - 3, 3
        )
        == b"\0" * 3
    )


@pytest.fixture
def videos(clip: Callable[[str], Clip], tmp_path: Path) -> list[Path]:
    folder = tmp_path / "videos"
    folder.mkdir()
    paths = [folder / f"{number}.mp4" for number in range(3)]
    for path in paths:
        shutil.copy(clip("h264_idr_mp4").path, path)
    return paths


def test_another_file_of_the_same_length_is_not_taken_for_it(videos: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "set.lance"
    pack_videos(videos, table)
    assert len(pack_videos(videos, table)) == 3
    data = bytearray(videos[1].read_bytes())
    data[-1] ^= 1
    videos[1].write_bytes(data)
    with pytest.raises(MediaChangedError, match=r"found other bytes; remove the row"):
        pack_videos(videos, table)


def test_files_that_are_left_out_are_not_among_the_uris(videos: list[Path], tmp_path: Path) -> None:
    videos[1].write_bytes(b"no video")
    errors: list[MediaRefError] = []
    uris = pack_videos(
        [*videos, tmp_path / "gone.mp4"], tmp_path / "set.lance", root=tmp_path, on_error=errors.append
    )
    assert [uri.rpartition("/")[2] for uri in uris] == ["0.mp4", "2.mp4"]
    assert len(errors) == 2
    assert sorted(CollectionIndex.open(tmp_path / "set.lance")) == sorted(uris)


def test_a_name_that_is_no_text_is_left_out_alone(videos: list[Path], tmp_path: Path) -> None:
    bad = os.fsdecode(os.fsencode(videos[0].parent) + b"/caf\xe9.mp4")
    shutil.copy(videos[0], bad)
    errors: list[MediaRefError] = []
    uris = pack_videos([bad, *videos], tmp_path / "set.lance", on_error=errors.append)
    assert [uri.rpartition("/")[2] for uri in uris] == ["0.mp4", "1.mp4", "2.mp4"]
    assert [type(error) for error in errors] == [InvalidReferenceError]
    with pytest.raises(InvalidReferenceError, match="no UTF-8"):
        pack_videos([bad], tmp_path / "other.lance")


def test_a_file_that_changes_while_it_is_copied_is_left_out_alone(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = PackedFile.check_unchanged

    def check_after_a_change(file: PackedFile) -> None:
        if file.key == "1.mp4":
            os.utime(videos[1], (1, 1))
        check(file)

    monkeypatch.setattr(PackedFile, "check_unchanged", check_after_a_change)
    errors: list[MediaRefError] = []
    uris = pack_videos(videos, tmp_path / "set.lance", on_error=errors.append)
    assert [uri.rpartition("/")[2] for uri in uris] == ["0.mp4", "2.mp4"]
    assert [type(error) for error in errors] == [MediaChangedError]
    assert lance.dataset(str(tmp_path / "set.lance")).count_rows() == 2


def test_what_a_killed_call_left_in_the_temporary_folder_goes(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (
        f"mediaref-pack-{ended.pid}-abc",
        f"mediaref-pack-{os.getppid()}-abc",
        "mediaref-pack-other",
    ):
        (temporary / name).mkdir()
        (temporary / name / "0").write_bytes(b"x")
    pack_videos(videos, tmp_path / "set.lance")
    assert sorted(path.name for path in temporary.iterdir()) == [
        f"mediaref-pack-{os.getppid()}-abc",
        "mediaref-pack-other",
    ]


def test_paths_with_dots_have_plain_keys(videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    paths = [tmp_path / "other" / ".." / "videos" / path.name for path in videos]
    uris = pack_videos(paths, tmp_path / "set.lance")
    assert [uri.partition("/@video/")[2] for uri in uris] == ["0.mp4", "1.mp4", "2.mp4"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"column": "key"}, ValueError, "column of another name"),
        ({"column": "uri"}, ValueError, "column of another name"),
        ({"column": "a`b"}, ValueError, "without backticks"),
        ({"keys": [5, 6, 7]}, TypeError, "keys that are texts, found int"),
        ({"jobs": 0}, ValueError, "jobs to be 1 or more"),
    ],
    ids=str,
)
def test_arguments_that_no_table_can_have(
    videos: list[Path], tmp_path: Path, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        pack_videos(videos, tmp_path / "set.lance", **options)
    assert not (tmp_path / "set.lance").exists()
    with pytest.raises(TypeError, match="wrap it in a list"):
        pack_videos(str(videos[0]), tmp_path / "set.lance")

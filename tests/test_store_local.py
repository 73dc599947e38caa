"""Files: only regular ones, and nothing that hangs or takes memory for bytes that are not there."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from mediaref_ursa import InvalidReferenceError, LimitExceededError, MediaNotFoundError, StoreError
from mediaref_ursa._model.access import Access
from mediaref_ursa.store import LocalStore, store_for
from mediaref_ursa.store._local import location_of

STORE = LocalStore()


def test_file_uris_name_files(tmp_path: Path) -> None:
    (tmp_path / "a b.bin").write_bytes(b"abc")
    assert STORE.get(f"file://{tmp_path}/a%20b.bin") == b"abc"
    assert STORE.get(f"file://localhost{tmp_path}/a%20b.bin") == b"abc"


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    with open(name, "wb") as file:
        file.write(b"abc")
    assert STORE.get(os.fsdecode(name)) == b"abc"
    assert STORE.get(f"file://{tmp_path}/caf%E9") == b"abc"


def test_relative_paths_begin_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    assert STORE.get("a.bin") == b"abc"


def test_head_gives_the_time_of_change_and_no_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"abc")
    os.utime(path, (5, 1234.5))
    info = STORE.head(str(path))
    assert (info.size, info.etag, info.modified) == (3, None, 1234.5)


@pytest.mark.parametrize("call", ["head", "get"])
def test_a_directory_is_no_file(tmp_path: Path, call: str) -> None:
    with pytest.raises(StoreError, match="expected a regular file, found a directory"):
        getattr(STORE, call)(str(tmp_path))


@pytest.mark.timeout(10)
def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(StoreError, match="found a FIFO"):
        STORE.get(str(tmp_path / "pipe"))


def test_a_device_is_no_file() -> None:
    with pytest.raises(StoreError, match="found a character device"):
        STORE.get("/dev/zero")


def test_a_socket_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        with pytest.raises(StoreError, match="found a socket"):
            STORE.get("socket")


def test_a_file_in_place_of_a_folder_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    with pytest.raises(MediaNotFoundError):
        STORE.get(str(tmp_path / "a.bin" / "b.bin"))


@pytest.mark.parametrize("name", ["x" * 300, "loop"])
def test_what_the_system_refuses_is_a_store_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreError, match="cannot be read"):
        STORE.get(str(tmp_path / name))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.bin").touch(mode=0)
    with pytest.raises(StoreError, match="Permission denied"):
        STORE.get(str(tmp_path / "a.bin"))


@pytest.mark.parametrize("uri", ["a\0b", "file:///a%00b", "", "\ud800", "s3://bucket/a", "file://host/a"])
def test_no_path(uri: str) -> None:
    with pytest.raises(InvalidReferenceError):
        STORE.get(uri)


def test_a_file_cut_short_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 1000)
    whole_read = os.pread

    def cut(descriptor: int, length: int, offset: int) -> bytes:
        os.truncate(path, 400)
        return whole_read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", cut)
    with pytest.raises(StoreError, match="expected 1000 bytes at offset 0, found 400"):
        STORE.get(str(path))


def test_short_reads_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytes(range(256)) * 4
    (tmp_path / "a.bin").write_bytes(data)
    whole_read = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: whole_read(fd, min(length, 100), offset))
    assert STORE.get(str(tmp_path / "a.bin")) == data
    assert STORE.get_range(str(tmp_path / "a.bin"), 3, 500) == data[3:503]


def test_reading_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")

    def broken(*_: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pread", broken)
    with pytest.raises(StoreError, match="cannot be read: Input/output error"):
        STORE.get(str(tmp_path / "a.bin"))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(LimitExceededError):
        STORE.get(str(tmp_path / "sparse"), max_bytes=2**20)
    assert STORE.get_range(str(tmp_path / "sparse"), 2**39, 3) == b"\0\0\0"


def test_no_file_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    before = set(Path("/proc/self/fd").iterdir())
    for _ in range(3):
        STORE.get(str(tmp_path / "a.bin"))
        with pytest.raises(StoreError):
            STORE.get(str(tmp_path))
    assert set(Path("/proc/self/fd").iterdir()) == before


class TestStoreFor:
    @pytest.mark.parametrize("uri", ["a.mp4", "/a.mp4", "file:///a.mp4", "C:\\a.mp4", "concat:a|b"])
    def test_paths_are_local(self, uri: str) -> None:
        assert store_for(uri) == LocalStore()

    @pytest.mark.parametrize("uri", ["rtsp://h/s", "data:,x", "ftp://h/a", "pipe://1"])
    def test_other_schemes_are_refused_by_name(self, uri: str) -> None:
        with pytest.raises(
            InvalidReferenceError, match="file://, http://, https://, .*s3://.*; no store serves"
        ):
            store_for(uri)


def place(uri: str, base: object, **options: bool) -> str:
    return location_of(uri, Access(base_dir=base, **options))  # type: ignore[arg-type]


class TestPlaces:
    def test_relative_paths_begin_at_the_base(self, tmp_path: Path) -> None:
        assert place("clips/a.mp4", tmp_path) == str(tmp_path / "clips/a.mp4")
        assert place("clips/a.mp4", f"file://{tmp_path}") == str(tmp_path / "clips/a.mp4")
        assert place("clips/../a.mp4", tmp_path) == str(tmp_path / "clips/../a.mp4")

    def test_what_lies_below_the_base_may_be_named_in_full(self, tmp_path: Path) -> None:
        for uri in (str(tmp_path / "a.mp4"), (tmp_path / "a.mp4").as_uri()):
            assert place(uri, tmp_path) == uri

    @pytest.mark.parametrize("uri", ["http://h/a.mp4", "data:,x", "s3://bucket/a.mp4"])
    def test_other_uris_are_left_alone(self, tmp_path: Path, uri: str) -> None:
        assert place(uri, tmp_path) == uri

    def test_without_a_base_nothing_changes(self) -> None:
        for uri in ("../a.mp4", "/a.mp4", "file:///a.mp4"):
            assert place(uri, None) == uri

    @pytest.mark.parametrize(
        "uri", ["../a.mp4", "clips/../../a.mp4", "link/a.mp4", "file.mp4", "/etc/a.mp4", "file:///etc/a.mp4"]
    )
    def test_nothing_leads_out_of_the_base(self, tmp_path: Path, uri: str) -> None:
        base = tmp_path / "base"
        base.mkdir()
        (tmp_path / "secret.mp4").touch()
        (base / "link").symlink_to(tmp_path)
        (base / "file.mp4").symlink_to(tmp_path / "secret.mp4")
        with pytest.raises(InvalidReferenceError, match=r"within base_dir.*allow_outside_base=True"):
            place(uri, base)
        assert place(uri, base, allow_outside_base=True).endswith(uri)

    def test_a_folder_whose_name_begins_like_the_base_lies_outside(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidReferenceError, match="within base_dir"):
            place("../base2/a.mp4", tmp_path / "base")

    def test_links_in_a_circle_lead_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        with pytest.raises(StoreError, match="cannot be read"):
            STORE.get(place("loop", tmp_path))

    def test_a_base_elsewhere_is_refused(self) -> None:
        with pytest.raises(InvalidReferenceError, match="expected a path or a file"):
            place("a.mp4", "s3://bucket")

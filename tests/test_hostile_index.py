"""Lance tables made to read what they may not, to take memory, or to wait for ever: errors, or a scan."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from _lance_tables import (
    change_data_file,
    change_fragment,
    change_manifest,
    encode,
    manifest_file,
    manifest_of,
    message_of,
    renamed,
)
from _media import Clip
from _oracle import linear_frames
from lance import DatasetBasePath

import mediaref_ursa
from mediaref_ursa import (
    FrameIndexInvalidError,
    FrameIndexMissingError,
    IndexLimits,
    LanceFrameIndex,
    LazyVideo,
    LimitExceededError,
    MediaRef,
    MediaRefError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._model.access import Access
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]
pytestmark = pytest.mark.filterwarnings("ignore::mediaref_ursa.FrameIndexWarning")
UNTRUSTED = Access(untrusted=True)
OUTSIDE = "allow_outside_index=True"


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    path = folder / "video.mp4"
    shutil.copy(clip("h264_idr_mp4").path, path)
    write_frame_index(str(path))
    return path


@pytest.fixture(autouse=True)
def _nothing_is_remembered() -> Iterator[None]:
    mediaref_ursa.cleanup_cache()
    yield
    mediaref_ursa.cleanup_cache()


def table_of(video: Path) -> Path:
    return Path(f"{video}.lance")


def refused(video: Path, match: str, access: Access = UNTRUSTED, **options: Any) -> None:
    """Hold that the index is an error for whoever opens it, and the video is scanned instead."""
    with pytest.raises(FrameIndexInvalidError, match=match):
        LanceFrameIndex.open(str(video), access=access).timestamps()
    ours = {"untrusted": access.untrusted, **options}
    frame = batch_decode([MediaRef(str(video), 0)], **ours)[0]
    assert np.array_equal(frame, linear_frames(video)[0].rgb)


ELSEWHERE: dict[str, Callable[[Path], None]] = {
    "a base path in S3": lambda table: change_manifest(
        table, lambda fields: [*fields, (18, encode([(1, 1), (3, 1), (4, b"s3://bucket/other")]))]
    ),
    "a base path without a path": lambda table: change_manifest(table, lambda fields: [*fields, (18, b"")]),
    "a data file below another base": lambda table: change_data_file(table, lambda fields: [*fields, (7, 1)]),
    "an absolute path": lambda table: change_data_file(table, lambda fields: renamed(fields, b"/etc/passwd")),
    "a path upwards": lambda table: change_data_file(
        table, lambda fields: renamed(fields, b"../../other.lance/data/x.lance")
    ),
    "a path with escapes": lambda table: change_data_file(
        table, lambda fields: renamed(fields, b"%2e%2e/%2e%2e/x.lance")
    ),
    "a URI": lambda table: change_data_file(table, lambda fields: renamed(fields, b"s3://bucket/x.lance")),
    "a hidden path": lambda table: change_data_file(table, lambda fields: renamed(fields, b"a/.../..")),
    "a path that is no text": lambda table: change_data_file(table, lambda fields: renamed(fields, b"\xff")),
    "deletions below another base": lambda table: change_fragment(
        table, lambda fields: [*fields, (3, encode([(2, 1), (4, 0), (7, 1)]))]
    ),
    "row ids in a file elsewhere": lambda table: change_fragment(
        table, lambda fields: [*fields, (6, encode([(1, b"../../ids"), (3, 8)]))]
    ),
    "an overlay elsewhere": lambda table: change_fragment(
        table, lambda fields: [*fields, (11, encode([(1, encode([(1, b"x.lance"), (7, 1)]))]))]
    ),
}

UNUSUAL: dict[str, Callable[[Path], None]] = {
    "deletions": lambda table: change_fragment(table, lambda fields: [*fields, (3, encode([(2, 1)]))]),
    "an overlay": lambda table: change_fragment(
        table, lambda fields: [*fields, (11, encode([(1, encode([(1, b"x.lance")]))]))]
    ),
    "row ids in a file": lambda table: change_fragment(
        table, lambda fields: [*fields, (6, encode([(1, b"ids"), (3, 8)]))]
    ),
    "a message that nobody knows": lambda table: change_manifest(table, lambda fields: [*fields, (99, b"x")]),
    "one in a fragment": lambda table: change_fragment(table, lambda fields: [*fields, (99, b"x")]),
    "one in a data file": lambda table: change_data_file(table, lambda fields: [*fields, (99, b"x")]),
    "flags that nobody knows": lambda table: change_manifest(table, lambda fields: [*fields, (9, 1 << 40)]),
    "the first file format": lambda table: change_manifest(
        table, lambda fields: [*fields, (15, encode([(1, b"lance"), (2, b"0.1")]))]
    ),
}


class TestFilesElsewhere:
    @pytest.mark.parametrize("untrusted", [True, False])
    @pytest.mark.parametrize("way", ELSEWHERE)
    def test_are_refused(self, way: str, untrusted: bool, video: Path) -> None:
        ELSEWHERE[way](table_of(video))
        refused(video, OUTSIDE, Access(untrusted=untrusted))

    @pytest.mark.parametrize("way", UNUSUAL)
    def test_other_layouts_are_refused_where_nobody_is_trusted(self, way: str, video: Path) -> None:
        UNUSUAL[way](table_of(video))
        refused(video, "expected a frame index such as mediaref-ursa writes|damaged")

    def test_a_number_that_nobody_knows_is_no_danger(self, video: Path) -> None:
        change_manifest(table_of(video), lambda fields: [*fields, (99, 7)])
        assert len(LanceFrameIndex.open(str(video), access=UNTRUSTED).timestamps())

    @pytest.mark.parametrize("way", ["open", "batch", "lazy", "decoder"])
    def test_those_of_lance_are_read_when_the_option_says_so(
        self, way: str, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        moved_to_base(video, tmp_path / "base")
        with pytest.raises(FrameIndexInvalidError, match=OUTSIDE):
            LanceFrameIndex.open(str(video))
        monkeypatch.setattr("mediaref_ursa._video.source.scan_video", lambda *_: pytest.fail("scanned"))
        if way == "open":
            index = LanceFrameIndex.open(str(video), access=Access(allow_outside_index=True))
            assert index.pts_table(0).size == len(index)
        elif way == "batch":
            assert batch_decode([MediaRef(str(video), 0)], allow_outside_index=True)[0].shape
            mediaref_ursa.cleanup_cache()
            options = {"untrusted": True, "base_dir": video.parent, "allow_outside_index": True}
            assert batch_decode([MediaRef("video.mp4", 0)], **options)[0].shape
        elif way == "lazy":
            assert LazyVideo.from_uri(str(video), allow_outside_index=True)[0].shape
        else:
            assert PyAVVideoDecoder(str(video), allow_outside_index=True)[0].shape

    def test_no_request_is_sent(self, video: Path, tmp_path: Path) -> None:
        """A base path in S3 would be asked for with the credentials of the environment."""
        moved_to_base(video, tmp_path / "s3__bucketxyz" / "p")
        own = str(tmp_path / "s3__bucketxyz" / "p").encode()
        s3 = b"s3://bucketxyz/" + b"p" * (len(own) - 15)
        for file in table_of(video).rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes().replace(own, s3))
        with listening() as (url, calls):
            environment = {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "key",
                "AWS_SECRET_ACCESS_KEY": "secret",
                "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true",
            }
            for options in ("untrusted=True", ""):
                said = in_a_process(
                    f"batch_decode([MediaRef({str(video)!r}, 0)], {options})[0].shape", environment
                )
                assert said.startswith("(")
            assert calls == []


def moved_to_base(video: Path, base: Path) -> None:
    """Have Lance write the index of a video with its rows in another folder."""
    table = table_of(video)
    dataset = lance.dataset(str(table))
    rows = dataset.to_table().replace_schema_metadata(dataset.schema.metadata)
    shutil.rmtree(table)
    base.mkdir(parents=True)
    lance.write_dataset(
        rows, str(table), initial_bases=[DatasetBasePath(str(base), name="b")], target_bases=["b"]
    )


class listening:
    """A server that notes who calls."""

    def __enter__(self) -> tuple[str, list[str]]:
        calls: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                calls.append(self.path)
                self.send_error(404)

            do_HEAD = do_PUT = do_POST = do_GET

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}", calls

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def in_a_process(expression: str, environment: dict[str, str] | None = None) -> str:
    """Return what a fresh process says of an expression, or the name of its error."""
    code = (
        "from mediaref_ursa import *\nfrom mediaref_ursa import MediaRefError\n"
        f"try: print({expression})\n"
        "except MediaRefError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, **(environment or {})},
    )
    return done.stdout


class TestFilesThatAreNone:
    @pytest.mark.parametrize("untrusted", [True, False])
    @pytest.mark.parametrize("kind", ["fifo", "device", "socket", "folder", "loop"])
    @pytest.mark.parametrize("which", ["manifest", "hint", "data"])
    def test_are_refused_at_once(
        self, which: str, kind: str, untrusted: bool, video: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = table_of(video)
        names = {
            "manifest": "_versions/*.manifest",
            "hint": "_versions/latest_version_hint.json",
            "data": "data/*.lance",
        }
        file = next(table.glob(names[which]), table / "_versions" / "latest_version_hint.json")
        file.unlink(missing_ok=True)
        if kind == "socket":
            monkeypatch.chdir(file.parent)  # the name of a socket may have about 100 letters
            with socket.socket(socket.AF_UNIX) as bound:
                bound.bind(file.name)
        else:
            make: dict[str, Callable[[], None]] = {
                "fifo": lambda: os.mkfifo(file),
                "device": lambda: file.symlink_to("/dev/zero"),
                "folder": file.mkdir,
                "loop": lambda: file.symlink_to(file.name),
            }
            make[kind]()
        refused(video, "damaged|no frame index|a link that leads out of there", Access(untrusted=untrusted))

    def test_the_table_itself(self, video: Path) -> None:
        table = table_of(video)
        for make in (
            lambda: os.mkfifo(table),
            lambda: table.symlink_to("/dev/zero"),
            lambda: table.write_text(""),
        ):
            shutil.rmtree(table) if table.is_dir() else table.unlink(missing_ok=True)
            make()
            refused(video, "damaged")

    def test_very_many_versions(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mediaref_ursa._lance.lance_files._MAX_NAMES", 20)
        for number in range(30):
            (table_of(video) / "_versions" / f"{number}.junk").touch()
        refused(video, "damaged.*more than 20 versions")


class TestLinks:
    @pytest.mark.parametrize("which", ["", "_versions", "data", "manifest", "file"])
    def test_lead_nowhere_else_where_a_base_or_a_folder_confines(
        self, which: str, video: Path, tmp_path: Path
    ) -> None:
        table = table_of(video)
        place = {"manifest": manifest_of(table), "file": next(table.glob("data/*"))}.get(which, table / which)
        moved = tmp_path / "elsewhere"
        shutil.move(place, moved)
        place.symlink_to(moved)
        assert len(LanceFrameIndex.open(str(video)).timestamps())  # as git-annex keeps files
        refused(video, "a link that leads out of there")
        based = Access(base_dir=str(video.parent))
        refused(video, "a link that leads out of there", based, base_dir=video.parent)
        for options in ({"allow_outside_base": True}, {"allow_outside_index": True}):
            access = Access(untrusted=True, base_dir=str(video.parent), **options)
            assert len(LanceFrameIndex.open(str(video), access=access).timestamps())

    def test_within_the_folder_they_are_followed(self, video: Path) -> None:
        file = next(table_of(video).glob("data/*"))
        shutil.move(file, video.parent / "annexed")
        file.symlink_to(video.parent / "annexed")
        assert len(LanceFrameIndex.open(str(video), access=UNTRUSTED).timestamps())


class TestDamagedManifests:
    def test_every_cut(self, video: Path) -> None:
        manifest = manifest_of(table_of(video))
        data = manifest.read_bytes()
        for size in {0, 1, 15, 16, 17, *range(20, len(data), 97)}:
            for cut in (data[:size], data[: max(0, size - 16)] + data[-16:]):
                if cut != data:
                    manifest.write_bytes(cut)
                    with pytest.raises(FrameIndexInvalidError, match="damaged"):
                        LanceFrameIndex.open(str(video))

    def test_random_bytes(self, video: Path) -> None:
        manifest = manifest_of(table_of(video))
        message = message_of(table_of(video))
        random = np.random.default_rng(7)
        for _ in range(150):
            changed = bytearray(message)
            for place in random.integers(0, len(message), random.integers(1, 6)):
                changed[place] = random.integers(0, 256)
            manifest.write_bytes(manifest_file(bytes(changed)))
            for access in (Access(), UNTRUSTED):
                with contextlib.suppress(MediaRefError):
                    LanceFrameIndex.open(str(video), access=access).timestamps()

    @pytest.mark.parametrize("untrusted", [True, False])
    def test_rows_without_number(self, untrusted: bool, video: Path) -> None:
        def enormous(fields: Any) -> Any:
            return [*(pair for pair in fields if pair[0] != 4), (4, 2**60)]

        change_fragment(table_of(video), enormous)
        refused(video, "damaged", Access(untrusted=untrusted))

    def test_fragments_without_number(self, video: Path) -> None:
        change_manifest(table_of(video), lambda fields: [*fields, *[(2, b"")] * 70_000])
        refused(video, "fragments")

    def test_parts_without_number(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mediaref_ursa._lance.lance_manifest._MAX_PARTS", 1000)
        change_manifest(table_of(video), lambda fields: [*fields, *[(19, b"")] * 1000])
        refused(video, "more than 1000 parts")

    def test_a_manifest_of_gigabytes(self, video: Path) -> None:
        with manifest_of(table_of(video)).open("r+b") as file:
            file.truncate(1 << 40)
        refused(video, "a manifest of 1099511627776 bytes")

    def test_two_of_one_version(self, video: Path) -> None:
        shutil.copy(manifest_of(table_of(video)), table_of(video) / "_versions" / "1.manifest")
        refused(video, "two manifests of version 1")

    def test_one_of_another_version(self, video: Path) -> None:
        manifest_of(table_of(video)).rename(table_of(video) / "_versions" / "7.manifest")
        refused(video, "the manifest of version 7")

    def test_a_cycle_of_base_paths(self, video: Path) -> None:
        base = encode([(1, 1), (3, 1), (4, bytes(table_of(video)))])
        change_manifest(table_of(video), lambda fields: [*fields, (18, base)])
        refused(video, OUTSIDE)
        change_manifest(table_of(video), lambda fields: [*fields, (18, encode([(4, b"/x" * 500_000)]))])
        refused(video, OUTSIDE)
        with pytest.raises(FrameIndexInvalidError) as caught:
            LanceFrameIndex.open(str(video))
        assert len(str(caught.value)) < 1500


def rewritten(video: Path, change: Callable[[pa.Table], pa.Table], version: str = "2.1", **said: Any) -> None:
    """Have Lance write the index of a video with other rows, and with other words about its segment."""
    table = table_of(video)
    dataset = lance.dataset(str(table))
    rows, metadata = dataset.to_table(), json.loads(dataset.schema.metadata[b"mediaref_ursa"])
    metadata["segments"][0].update(said)
    shutil.rmtree(table)
    rows = change(rows).replace_schema_metadata({"mediaref_ursa": json.dumps(metadata)} if said else None)
    lance.write_dataset(rows, str(table), data_storage_version=version)


def with_hidden(rows: pa.Table, count: int) -> pa.Table:
    """Attach very many packets that are all alike to the first row."""
    place = rows.schema.get_field_index("hidden_packets")
    field = rows.schema.field(place)
    columns = [pa.array(np.zeros(count, part.type.to_pandas_dtype())) for part in field.type.value_type]
    structs = pa.StructArray.from_arrays(columns, fields=list(field.type.value_type))
    ends = np.full(rows.num_rows + 1, count, dtype=np.int32)
    ends[0] = 0
    return rows.set_column(place, field, pa.ListArray.from_arrays(pa.array(ends), structs))


def base_rows(count: int) -> pa.Table:
    zeros = np.zeros(count, np.int64)
    return pa.table(
        {"segment_idx": zeros, "local_frame_idx": zeros, "pts": zeros, "timestamp": np.zeros(count)}
    )


def replaced(name: str, make: Callable[[int], pa.Array]) -> Callable[[pa.Table], pa.Table]:
    return lambda rows: rows.set_column(rows.schema.get_field_index(name), name, make(rows.num_rows))


class TestMoreRowsThanTheFileHolds:
    @pytest.mark.parametrize("untrusted", [True, False])
    def test_base_columns(self, untrusted: bool, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        rewritten(video, lambda _: base_rows(4_000_000))
        monkeypatch.setattr(
            "mediaref_ursa._index.lance_table.read",
            lambda *_, **__: pytest.fail("rows were read before they were counted"),
        )
        with pytest.raises(LimitExceededError, match="4000000"):
            batch_decode([MediaRef(str(video), 0)], untrusted=untrusted)

    def test_base_columns_by_every_way(self, video: Path) -> None:
        rewritten(video, lambda _: base_rows(2_000))
        limits = {"untrusted": True, "index_limits": IndexLimits(max_packets=1_000)}
        for use in (
            lambda: batch_decode([MediaRef(str(video), 0)], **limits),
            lambda: batch_decode([MediaRef(str(video), 0)], frame_index=str(video), **limits),
            lambda: LazyVideo.from_uri(str(video), **limits),
            lambda: LazyVideo(str(video), frame_index=str(video), **limits),
            lambda: PyAVVideoDecoder(str(video), **limits),
        ):
            with pytest.raises(LimitExceededError, match="2000"):
                use()

    @pytest.mark.parametrize("untrusted", [True, False])
    def test_hidden_packets_that_are_counted(
        self, untrusted: bool, video: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        frames = len(linear_frames(video))
        rewritten(
            video, lambda rows: with_hidden(rows, 3_000_000), packets=frames + 3_000_000, columns_crc32=None
        )
        monkeypatch.setattr(
            "mediaref_ursa._index.lance_table.read",
            lambda *_, **__: pytest.fail("rows were read before they were counted"),
        )
        with pytest.raises(LimitExceededError, match=str(frames + 3_000_000)):
            batch_decode([MediaRef(str(video), 0)], untrusted=untrusted)

    @pytest.mark.parametrize("version", ["2.0", "2.1", "2.2"])
    def test_hidden_packets_that_nobody_counted(self, version: str, video: Path) -> None:
        """What a list of a row holds is seen when it is read: by a process that may take little memory."""
        frames = len(linear_frames(video))
        rewritten(
            video, lambda rows: with_hidden(rows, 6_000_000), version, packets=frames + 1, columns_crc32=None
        )
        refused(video, "memory|at most")

    def test_a_length_that_the_file_does_not_have(self, video: Path) -> None:
        frames = len(linear_frames(video))
        rewritten(
            video,
            lambda rows: with_hidden(rows, 2_000_000),
            packets=frames + 2_000_000,
            length=2**50,
            columns_crc32=None,
        )
        read: list[object] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mediaref_ursa._index.lance_table.read", lambda *_, **__: read.append(1))
            assert batch_decode([MediaRef(str(video), 0)])[0].shape  # stale, so that it is scanned
        assert read == []

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
    def test_the_memory_that_it_takes(self, video: Path) -> None:
        frames = len(linear_frames(video))
        rewritten(video, lambda rows: with_hidden(rows, 8_000_000), packets=frames + 1, columns_crc32=None)
        used = (
            "open('/proc/self/status').read().split('VmHWM:')[1].split()[0], "
            "__import__('resource').getrusage(-1).ru_maxrss"
        )
        use = f"batch_decode([MediaRef({str(video)!r}, 0)], untrusted=True)[0].shape"
        own, childs = (int(text) for text in in_a_process(f"*(str({use}) and ({used}))").split())
        assert own < 500_000  # KiB
        assert childs < 900_000


TYPES: dict[str, Callable[[int], pa.Array]] = {
    "lists": lambda count: pa.array([[1] * 3] * count),
    "large lists": lambda count: pa.array([[1] * 3] * count, pa.large_list(pa.int64())),
    "fixed lists": lambda count: pa.array([[1] * 3] * count, pa.list_(pa.int64(), 3)),
    "dictionaries": lambda count: pa.array(["x" * 1000] * count).dictionary_encode(),
    "texts": lambda count: pa.array(["1" * 1000] * count),
    "structs": lambda count: pa.array([{"a": {"b": 1}}] * count),
    "bytes": lambda count: pa.array([b"x" * 1000] * count),
}


class TestColumns:
    @pytest.mark.parametrize(
        "name", ["pts", "timestamp", "decode_idx", "crc32", "hidden_packets", "is_corrupt"]
    )
    @pytest.mark.parametrize("kind", TYPES)
    def test_of_other_types_than_numbers(self, kind: str, name: str, video: Path) -> None:
        try:
            rewritten(video, replaced(name, TYPES[kind]), "2.0", columns_crc32=None)
        except (OSError, ValueError, BaseException) as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            pytest.skip(f"Lance does not write it: {error}")
        for access in (Access(), UNTRUSTED):
            with pytest.raises(FrameIndexInvalidError, match=f"the column {name}"):
                LanceFrameIndex.open(str(video), access=access)

    @pytest.mark.parametrize("version", ["2.1", "2.2"])
    def test_that_are_compressed(self, version: str, video: Path) -> None:
        """Rows that compress well are counted like others."""

        def compressed(_: pa.Table) -> pa.Table:
            rows = base_rows(1_500_000)
            packed = {"lance-encoding:compression": "zstd"}
            schema = pa.schema([field.with_metadata(packed) for field in rows.schema])
            return rows.cast(schema)

        rewritten(video, compressed, version)
        with pytest.raises(LimitExceededError, match="1500000"):
            batch_decode([MediaRef(str(video), 0)], untrusted=True)

    @pytest.mark.parametrize("timestamp", [np.nan, np.inf, -np.inf])
    def test_timestamps_that_are_none(self, timestamp: float, video: Path) -> None:
        def spoilt(count: int) -> pa.Array:
            values = np.arange(count, dtype=np.float64)
            values[count // 2] = timestamp
            return pa.array(values)

        rewritten(video, replaced("timestamp", spoilt), columns_crc32=None)
        for use in (
            lambda: LanceFrameIndex.open(str(video)).timestamps(),
            lambda: LazyVideo.from_uri(str(video)).timestamps,
            lambda: LazyVideo.from_uri(str(video))[0],
            lambda: LazyVideo.from_uri(str(video)).slice(0, 1),
        ):
            with pytest.raises(FrameIndexInvalidError, match="finite timestamps"):
                use()
        rewritten(video, lambda rows: rows.select(["segment_idx", "local_frame_idx", "pts", "timestamp"]))
        assert batch_decode([MediaRef(str(video), 0)])[0].shape


class TestTheProcessThatReads:
    def test_is_ended_at_the_deadline(
        self, video: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        slow = tmp_path / "slow"
        slow.write_text("#!/bin/sh\nexec sleep 600\n")
        slow.chmod(0o755)
        mediaref_ursa.cleanup_cache()
        monkeypatch.setattr(sys, "executable", str(slow))
        access = Access(untrusted=True, index_limits=IndexLimits(max_seconds=0.5))
        with pytest.raises(FrameIndexInvalidError, match="max_seconds"):
            LanceFrameIndex.open(str(video), access=access)

    def test_is_asked_again_where_it_was_killed(self, video: Path) -> None:
        from mediaref_ursa._lance.lance_process import sandboxed_processes

        LanceFrameIndex.open(str(video), access=UNTRUSTED).timestamps()
        for _, helper in sandboxed_processes._idle:
            helper._process.kill()
            helper._process.wait()
        LanceFrameIndex.open(str(video), access=UNTRUSTED).timestamps()

    def test_knows_no_credentials(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from mediaref_ursa._lance.lance_process import sandboxed_processes

        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
        LanceFrameIndex.open(str(video), access=UNTRUSTED)
        (_, helper), *_ = sandboxed_processes._idle
        environment = Path(f"/proc/{helper._process.pid}/environ")
        if environment.exists():
            assert b"s3cret" not in environment.read_bytes()

    def test_answers_many_threads_and_forked_processes(self, video: Path) -> None:
        found: list[int] = []

        def use() -> None:
            found.append(len(LanceFrameIndex.open(str(video), access=UNTRUSTED).timestamps()))

        threads = [threading.Thread(target=use) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        child = os.fork()
        if child == 0:
            try:
                use()
            finally:
                os._exit(0 if len(found) == 7 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert len(set(found)) == 1
        assert len(found) == 6

    def test_no_process_can_be_started(self, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        mediaref_ursa.cleanup_cache()
        monkeypatch.setattr(sys, "executable", "/nonexistent/python")
        batch = batch_decode([MediaRef(str(video), 0)], untrusted=True, on_error="none")
        assert "no process can be started" in str(batch.errors[0])


def test_a_missing_table_is_missing(video: Path) -> None:
    shutil.rmtree(table_of(video) / "_versions")
    with pytest.raises(FrameIndexMissingError):
        LanceFrameIndex.open(str(video))
    shutil.rmtree(table_of(video))
    for access in (Access(), UNTRUSTED):
        with pytest.raises(FrameIndexMissingError):
            LanceFrameIndex.open(str(video), access=access)

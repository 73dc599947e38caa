"""Collections that are damaged or made to mislead: one clear error each, and no file outside is read."""

from __future__ import annotations

import json
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from _media import Clip
from _oracle import linear_frames
from test_hostile_index import ELSEWHERE

from mediaref_ursa import (
    CollectionIndex,
    FrameIndexInvalidError,
    FrameIndexVersionError,
    IndexLimits,
    InvalidReferenceError,
    LimitExceededError,
    MediaRef,
    MediaRefError,
    batch_decode,
)
from mediaref_ursa._index.collection_schema import SCHEMA
from mediaref_ursa._lance import collection_calls
from mediaref_ursa._model.access import Access
from mediaref_ursa._model.index_metadata import encode_metadata

GetClip = Callable[[str], Clip]
UNTRUSTED = Access(untrusted=True)
HEAD = struct.Struct("<IIII")


@pytest.fixture
def folder(clip: GetClip, tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(clip("h264_idr_mp4").path, folder / name)
    collection = CollectionIndex.open(folder / "set.lance", create=True)
    collection.add([folder / "a.mp4", folder / "b.mp4", folder / "c.mp4"])
    collection.remove([folder / "c.mp4"])  # leaves a file of deleted rows
    return folder


def place_of(folder: Path) -> Path:
    return folder / "set.lance"


def value_of(folder: Path, name: str) -> bytes:
    rows = lance.dataset(place_of(folder)).to_table(filter=f"uri = '{name}'", columns=["segment"])
    value: bytes = rows.column("segment")[0].as_py()
    return value


def taken_apart(value: bytes) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    _, *sizes = HEAD.unpack_from(value)
    data = pa.decompress(value[HEAD.size :], sum(sizes), codec="zstd", asbytes=True)
    return (
        json.loads(data[: sizes[0]]),
        json.loads(data[sizes[0] : sizes[0] + sizes[1]]),
        data[sizes[0] + sizes[1] :],
    )


def put_together(row: Any, metadata: Any, columns: bytes, sizes: tuple[int, int, int] | None = None) -> bytes:
    texts = [json.dumps(part).encode() for part in (row, metadata)]
    packed = pa.compress(b"".join([*texts, columns]), codec="zstd", asbytes=True)
    head = struct.pack("<III", *(sizes or (len(texts[0]), len(texts[1]), len(columns))))
    return struct.pack("<I", zlib.crc32(head + packed)) + head + packed


def put_value(folder: Path, name: str, value: bytes) -> None:
    """Put a row in whose segment is any bytes, as a hostile writer would."""
    row = dict.fromkeys(SCHEMA.names) | {"uri": name, "segment_idx": 0, "segment": value}
    collection_calls.merge(str(place_of(folder)), {}, pa.Table.from_pylist([row], schema=SCHEMA))


Change = Callable[[dict[str, Any], dict[str, Any], bytes], bytes]


def with_segment(**changed: Any) -> Change:
    def change(row: dict[str, Any], metadata: dict[str, Any], columns: bytes) -> bytes:
        metadata["segments"][0].update(changed)
        return put_together(row, metadata, columns)

    return change


def with_row(**changed: Any) -> Change:
    return lambda row, metadata, columns: put_together(row | changed, metadata, columns)


MUTANTS: dict[str, tuple[Change, type[MediaRefError]]] = {
    "another key": (with_row(uri="b.mp4"), FrameIndexInvalidError),
    "no key": (with_row(uri=None), FrameIndexInvalidError),
    "a segment that is missing": (with_row(segment_count=2), FrameIndexInvalidError),
    "a million segments": (with_row(segment_count=10**6), FrameIndexInvalidError),
    "no segments": (with_row(segment_count=0), FrameIndexInvalidError),
    "another number": (with_row(segment_idx=-1), FrameIndexInvalidError),
    "a number that is none": (with_row(written_ns="x"), FrameIndexInvalidError),
    "a newer version": (
        lambda row, metadata, columns: put_together(row, metadata | {"version": "2.0"}, columns),
        FrameIndexVersionError,
    ),
    "two segments in one": (
        lambda row, metadata, columns: put_together(
            row, metadata | {"segments": metadata["segments"] * 2}, columns
        ),
        FrameIndexInvalidError,
    ),
    "metadata that are a list": (
        lambda row, metadata, columns: put_together(row, [], columns),
        FrameIndexInvalidError,
    ),
    "a row that is a list": (
        lambda row, metadata, columns: put_together([], metadata, columns),
        FrameIndexInvalidError,
    ),
    "more frames": (with_segment(frames=10**9), FrameIndexInvalidError),
    "fewer packets": (with_segment(packets=1), FrameIndexInvalidError),
    "another checksum": (with_segment(columns_crc32=1), FrameIndexInvalidError),
    "a huge time base": (with_segment(time_base=[10**400, 1]), FrameIndexInvalidError),
    "columns that are changed": (
        lambda row, metadata, columns: put_together(row, metadata, columns[:40] + b"x" + columns[41:]),
        FrameIndexInvalidError,
    ),
    "columns that are short": (
        lambda row, metadata, columns: put_together(row, metadata, columns[:-1]),
        FrameIndexInvalidError,
    ),
    "columns that claim four gigabytes": (
        lambda row, metadata, columns: put_together(row, metadata, columns, (1, 1, 2**32 - 1)),
        MediaRefError,
    ),
    "texts that claim four gigabytes": (
        lambda row, metadata, columns: put_together(row, metadata, columns, (2**32 - 1, 1, 1)),
        FrameIndexInvalidError,
    ),
    "no bytes": (lambda row, metadata, columns: b"", FrameIndexInvalidError),
    "one byte": (lambda row, metadata, columns: b"x", FrameIndexInvalidError),
    "a byte that is changed": (
        lambda row, metadata, columns: put_together(row, metadata, columns)[:-1] + b"?",
        FrameIndexInvalidError,
    ),
}


@pytest.mark.parametrize("access", [Access(), UNTRUSTED])
@pytest.mark.parametrize("name", MUTANTS)
def test_a_row_that_cannot_be_true_is_an_error(name: str, access: Access, folder: Path) -> None:
    change, error = MUTANTS[name]
    put_value(folder, "a.mp4", change(*taken_apart(value_of(folder, "a.mp4"))))
    collection = CollectionIndex.open(place_of(folder), access=access)

    with pytest.raises(error):
        collection.get(folder / "a.mp4").segment_table(0)
    with pytest.raises(error):
        batch_decode([MediaRef(str(folder / "a.mp4"), 0)], frame_index=collection)
    assert len(collection.get(folder / "b.mp4").segment_table(0))


@pytest.mark.parametrize("uri", ["../secret.mp4", "/etc/passwd", "s3://bucket/x.mp4", "http://127.0.0.1:9/x"])
def test_a_row_leads_nowhere_else(uri: str, folder: Path, clip: GetClip) -> None:
    shutil.copy(clip("h264_idr_mp4").path, folder.parent / "secret.mp4")
    put_value(folder, "a.mp4", with_segment(uri=uri)(*taken_apart(value_of(folder, "a.mp4"))))
    collection = CollectionIndex.open(place_of(folder), access=UNTRUSTED)

    for options in ({"untrusted": True}, {"untrusted": True, "base_dir": folder}):
        with pytest.raises(InvalidReferenceError):
            batch_decode([MediaRef(str(folder / "a.mp4"), 0)], frame_index=collection, **options)


def test_limits_hold(folder: Path) -> None:
    access = Access(index_limits=IndexLimits(max_packets=10))
    with pytest.raises(LimitExceededError, match="max_packets"):
        CollectionIndex.open(place_of(folder), access=access).get(folder / "a.mp4")


@pytest.mark.parametrize("access", [Access(), UNTRUSTED])
@pytest.mark.parametrize("way", ELSEWHERE)
def test_files_elsewhere_are_refused(way: str, access: Access, folder: Path) -> None:
    table = place_of(folder)
    for older in sorted(table.glob("_versions/*.manifest"))[1:]:  # their names count down
        older.unlink()
    ELSEWHERE[way](table)

    with pytest.raises(FrameIndexInvalidError, match="allow_outside_index=True|damaged"):
        CollectionIndex.open(table, access=access).get(folder / "a.mp4")


def test_an_honest_one_with_deleted_rows_is_read_where_its_writer_is_not_trusted(folder: Path) -> None:
    assert list(place_of(folder).glob("_deletions/*"))
    collection = CollectionIndex.open(place_of(folder), access=UNTRUSTED)

    assert sorted(collection) == [str(folder / "a.mp4"), str(folder / "b.mp4")]
    assert collection.missing([folder / "a.mp4", folder / "c.mp4"]) == [str(folder / "c.mp4")]
    refs = [MediaRef("a.mp4", 0), MediaRef("b.mp4", 0)]
    frames = batch_decode(refs, frame_index=collection, untrusted=True, base_dir=folder)
    assert all(np.array_equal(frame, linear_frames(folder / "a.mp4")[0].rgb) for frame in frames)


PROGRAM = """
import sys
from pathlib import Path
from mediaref_ursa import CollectionIndex, MediaRefError
folder = Path(sys.argv[1])
for damaged in sys.argv[2:]:
    file, at, value = damaged.rsplit(",", 2)
    whole = Path(file).read_bytes()
    Path(file).write_bytes(whole[: int(at)] + bytes([int(value)]) + whole[int(at) + 1 :])
    try:
        collection = CollectionIndex.open(folder / "set.lance")
        found = collection.get_many([folder / "a.mp4", folder / "b.mp4"])
        assert {index.segment_table(0).columns_crc32 for index in found.values()} <= {CRC}
        list(collection), len(collection)
    except MediaRefError:
        pass
    finally:
        Path(file).write_bytes(whole)
print("done")
"""


def test_damaged_files_are_an_error_and_never_a_crash(folder: Path) -> None:
    expected = CollectionIndex.open(place_of(folder)).get(folder / "a.mp4").segment_table(0).columns_crc32
    rng = random.Random(5)
    files = [path for path in place_of(folder).rglob("*") if path.is_file() and path.stat().st_size]
    damage = []
    for _ in range(300):
        file = rng.choice([path for path in files if path.parent.name != "_transactions"])
        damage.append(f"{file},{rng.randrange(file.stat().st_size)},{rng.randrange(256)}")

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("CRC", str(expected)), str(folder), *damage],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )

    assert done.stdout == "done\n", done.stderr[-2000:]


def test_the_metadata_are_those_of_a_sidecar(folder: Path) -> None:
    collection = CollectionIndex.open(place_of(folder))
    table = collection.get(folder / "a.mp4").segment_table(0)

    _, metadata, _ = taken_apart(value_of(folder, "a.mp4"))

    assert metadata == json.loads(encode_metadata([table], f"{folder / 'a.mp4'}.lance"))

"""Indexes are small, older ones stay readable, and no length that a compressed page claims is believed."""

from __future__ import annotations

import contextlib
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from _media import Clip
from _oracle import linear_frames
from _tables import packet_table, segment_table

from mediaref_ursa import FrameIndexInvalidError, LanceFrameIndex, MediaRef, batch_decode, write_frame_index
from mediaref_ursa._index import lance_table
from mediaref_ursa._index.lance_table import BASE_COLUMNS, SCHEMA, LanceIndexFile, write_index
from mediaref_ursa._lance import lance_calls
from mediaref_ursa._lance.lance_pages import decompressed_bytes
from mediaref_ursa._model.segment import SegmentTable

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
FRAMES = 6_000


@pytest.fixture
def video(clip: Callable[[str], Clip], tmp_path: Path) -> Path:
    return Path(shutil.copy(clip("h264_pyramid_mp4").path, tmp_path / "video.mp4"))


def long_table(frames: int, *, rate: int = 30, missing: int = 0) -> SegmentTable:
    """Return a table with packets as encoders make them: no size and no checksum follows from another."""
    random = np.random.default_rng(0)
    count = frames + missing
    numbers = np.arange(frames)
    size = random.gamma(2, 2000, count).astype(np.int64) + 30
    order = numbers.copy()
    for first in range(1, frames - 4, 4):
        order[first : first + 4] = first + np.array([2, 1, 3, 0])
    packets = packet_table(
        count,
        offset=48 + np.cumsum(size) - size,
        size=size,
        crc32=random.integers(0, 2**32, count),
        is_reference=(random.random(count) < 0.5).astype(np.int8),
        is_keyframe=np.arange(count) % 250 == 0,
    )
    tick = 3_003 if rate == 29 else 90_000 // rate
    return segment_table(
        (numbers * tick).tolist(),
        duration=tick,
        packet=order.tolist(),
        start=(order // 250 * 250).tolist(),
        packets=packets,
        length=int(size.sum()) + 1_000,
    )


def data_file(place: str | Path) -> Path:
    return next(Path(place).glob("data/*.lance"))


def size_of(place: str | Path) -> int:
    return sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file())


def written(tmp_path: Path, table: SegmentTable) -> str:
    place = str(tmp_path / "long.lance")
    write_index(place, [table])
    return place


# --- small -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [25, 29, 30, 60])
def test_a_frame_takes_at_most_twenty_bytes(rate: int, tmp_path: Path) -> None:
    place = written(tmp_path, long_table(FRAMES, rate=rate))
    assert size_of(place) <= 20 * FRAMES


def test_a_clock_that_follows_no_rule_takes_no_more(tmp_path: Path) -> None:
    seconds = 1_000 + np.cumsum(np.random.default_rng(0).uniform(0.01, 0.05, FRAMES))
    place = written(tmp_path, replace(long_table(FRAMES, rate=29), timestamp=seconds))
    assert size_of(place) <= 20 * FRAMES


def test_a_short_video_takes_less_than_it_did(video: Path) -> None:
    place = write_frame_index(video).place
    assert place is not None
    assert size_of(place) < 20_000


def test_columns_that_are_too_short_to_be_compressed_are_packed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = long_table(450, missing=0)
    packed = size_of(written(tmp_path / "packed", table))
    monkeypatch.setattr(lance_table, "_COMPRESSED_ROWS", 0)
    assert packed < 0.9 * size_of(written(tmp_path / "as_they_are", table))


def test_the_columns_keep_their_types(video: Path) -> None:
    place = write_frame_index(video).place
    schema = lance.dataset(place).schema
    assert [(field.name, field.type) for field in schema] == [(field.name, field.type) for field in SCHEMA]
    assert lance.dataset(place).data_storage_version == "2.2"


@pytest.mark.parametrize("missing", [0, 7])
@pytest.mark.parametrize("frames", [1, 2, 511, 512, 513, FRAMES])
def test_what_is_read_is_what_was_written(frames: int, missing: int, tmp_path: Path) -> None:
    table = long_table(frames, missing=missing)
    found = LanceIndexFile(written(tmp_path, table)).segment_tables(0)[0]
    for part in ("pts", "duration", "timestamp", "packet", "start"):
        np.testing.assert_array_equal(getattr(found, part), getattr(table, part), err_msg=part)
    for part in ("offset", "size", "crc32", "is_reference", "is_corrupt", "is_keyframe"):
        np.testing.assert_array_equal(
            getattr(found.packets, part), getattr(table.packets, part), err_msg=part
        )


# --- older ones ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_an_index_of_an_older_format_is_read_and_replaced(
    version: str, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(lance_calls, "_STORAGE_VERSION", version)
        patch.setattr(lance_table, "_COMPRESSED_SCHEMA", SCHEMA)
        place = write_frame_index(video).place
    assert lance.dataset(place).data_storage_version == version
    frame = batch_decode([MediaRef(str(video), 0)], frame_index=LanceFrameIndex.open(video))[0]
    np.testing.assert_array_equal(frame, linear_frames(video)[0].rgb)
    new = write_frame_index(video, if_exists="replace")
    assert lance.dataset(new.place).data_storage_version == "2.2"
    np.testing.assert_array_equal(new.timestamps(), LanceFrameIndex.open(video).timestamps())


def test_only_tables_that_claim_too_much_are_read_by_another_process(
    tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mediaref_ursa._lance.lance_calls.sandboxed_processes.ask",
        lambda *_: pytest.fail("a process was asked"),
    )
    place = written(tmp_path, long_table(FRAMES, missing=5))
    assert len(LanceIndexFile(place).segment_tables(0)[0]) == FRAMES
    kinds = {"timestamp": np.float64}
    zeros = pa.table({name: np.zeros(1, kinds.get(name, np.int64)) for name in BASE_COLUMNS})
    for version in ("2.0", "2.1", "2.2"):
        lance.write_dataset(zeros, str(tmp_path / version), data_storage_version=version)
        assert len(LanceIndexFile(str(tmp_path / version)).base_columns()[0]) == 1


# --- what is claimed -------------------------------------------------------------------------------------


def test_the_lengths_are_those_of_the_columns(tmp_path: Path) -> None:
    place = written(tmp_path, long_table(FRAMES))
    file = data_file(place).read_bytes()
    columns = 5 * 8 * FRAMES
    assert columns <= decompressed_bytes(file) <= columns + 4_096  # and dictionaries of a few values


@pytest.mark.parametrize("claimed", [2**63, 2**47, 2**40, 2**33])
@pytest.mark.parametrize("number", [0, 7, 40])
def test_a_bomb_is_an_error_and_takes_no_memory(claimed: int, number: int, tmp_path: Path) -> None:
    place = written(tmp_path, long_table(FRAMES))
    path = data_file(place)
    file = bytearray(path.read_bytes())
    frames = [at for at in range(len(file)) if file[at : at + 4] == ZSTD_MAGIC]
    file[frames[number] - 8 : frames[number]] = struct.pack("<Q", claimed)
    path.write_bytes(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FrameIndexInvalidError, match="damaged"):
        LanceIndexFile(place).segment_tables(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_frame_without_its_length_is_not_believed(tmp_path: Path) -> None:
    """Lance decompresses such a one for as long as it lasts."""
    path = data_file(written(tmp_path, long_table(FRAMES)))
    file = bytearray(path.read_bytes())
    at = file.index(ZSTD_MAGIC)
    file[at - 8 : at - 4] = ZSTD_MAGIC
    with pytest.raises(ValueError, match="without its length"):
        decompressed_bytes(bytes(file))


def test_every_cut_and_any_bytes_are_an_error_or_a_number(tmp_path: Path) -> None:
    file = data_file(written(tmp_path, long_table(700))).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(3_000):
        changed = bytearray(file)
        begin = len(file) - 5_000 if random.random() < 0.8 else 0
        for at in random.integers(begin, len(file), random.integers(1, 6)):
            changed[at] = random.integers(0, 256)
        with contextlib.suppress(ValueError):
            assert decompressed_bytes(bytes(changed)) >= 0
    for length in range(0, len(file), 997):
        with pytest.raises(ValueError, match="data file"):
            decompressed_bytes(file[:length])


_READ = """
import sys
import numpy as np
from pathlib import Path
from mediaref_ursa import FrameIndexInvalidError
from mediaref_ursa._index.lance_table import LanceIndexFile

place, path = sys.argv[1], Path(sys.argv[2])
file, random = path.read_bytes(), np.random.default_rng(int(sys.argv[3]))
prefixes = [at - 8 for at in range(len(file)) if file[at : at + 4] == bytes([0x28, 0xB5, 0x2F, 0xFD])]
good = LanceIndexFile(place).segment_tables(0)[0]
for number in range(40):
    changed = bytearray(file)
    if number % 2:
        begin = prefixes[random.integers(len(prefixes))]
        for at in begin + random.integers(0, 12, 2):
            changed[at] ^= 1 << random.integers(0, 8)
    else:
        for at in random.integers(0, len(file), random.integers(1, 17)):
            changed[at] ^= 1 << random.integers(0, 8)
    path.write_bytes(changed)
    try:
        found = LanceIndexFile(place).segment_tables(0)[0]
    except FrameIndexInvalidError:
        print("refused")
    else:
        assert found.columns_crc32 == good.columns_crc32
        print("right")
"""


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_index_is_right_or_an_error_and_never_the_end_of_the_process(
    seed: int, tmp_path: Path
) -> None:
    place = written(tmp_path, long_table(FRAMES))
    done = subprocess.run(
        [sys.executable, "-c", _READ, place, str(data_file(place)), str(seed)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("\n") == 40
    assert "refused" in done.stdout

"""The range cache on disk: what it gives back, what it keeps, and what it does when things go wrong."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import pickle
import random
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from loguru import logger

import mediaref_ursa
from mediaref_ursa import StoreError
from mediaref_ursa._cache import disk_usage, entry, range_cache, settings
from mediaref_ursa._cache.cached_ranges import Listing
from mediaref_ursa._cache.entry import BLOCK_BYTES, Span, disk_bytes
from mediaref_ursa._cache.settings import ObjectKey, RangeCache, parse_size, shared_range_cache

DATA = random.Random(7).randbytes(5 * BLOCK_BYTES + 321)
KEY = ObjectKey("https://host/a.mp4", '"1"')
OTHER = ObjectKey("https://host/a.mp4", '"2"')
MB = 10**6


class Source:
    """Bytes, and a list of the ranges that were fetched from them."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.fetched: list[tuple[int, int]] = []

    def __call__(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.fetched += ranges
        return [self.data[offset : offset + length] for offset, length in ranges]

    def nothing(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        raise AssertionError(f"fetched {ranges}")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "segments"


@pytest.fixture
def cache(directory: Path) -> RangeCache:
    return RangeCache(directory, 50 * MB)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    settings._reset_cache_for_tests()
    yield
    settings._reset_cache_for_tests()


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """The library's warnings."""
    heard: list[str] = []
    logger.enable("mediaref_ursa")
    sink = logger.add(lambda message: heard.append(str(message)), level="WARNING")
    yield heard
    logger.remove(sink)
    logger.disable("mediaref_ursa")


def entries(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "objects").glob("*/*") if path.name != "meta.json")


def bytes_in(directory: Path) -> int:
    """What all files of a directory take on disk, the directories of objects included."""
    found = 0
    for folder, folders, names in os.walk(directory / "objects"):  # which does not mind what is removed
        for name in folders + names:
            with contextlib.suppress(FileNotFoundError):
                found += -(-(Path(folder) / name).stat().st_size // 4096) * 4096
    return found


def used_at(path: Path, seconds: float) -> None:
    os.utime(path, (seconds, seconds))


def cut(ranges: Sequence[tuple[int, int]], data: bytes = DATA) -> list[bytes]:
    return [data[offset : offset + length] for offset, length in ranges]


# --- what it gives back -----------------------------------------------------------------------------


def test_what_was_fetched_is_not_fetched_again(cache: RangeCache, source: Source) -> None:
    ranges = [(0, 100), (70_000, 200_000), (len(DATA) - 1, 1)]

    assert cache.get_ranges(KEY, ranges, source) == cut(ranges)
    assert source.fetched == ranges
    assert cache.get_ranges(KEY, ranges, source.nothing) == cut(ranges)


def test_any_part_of_what_is_there_is_served(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, len(DATA))], source)
    parts = [(0, 1), (BLOCK_BYTES - 1, 2), (BLOCK_BYTES, BLOCK_BYTES), (3, len(DATA) - 3), (len(DATA) - 1, 1)]

    assert cache.get_ranges(KEY, parts, source.nothing) == cut(parts)


def test_several_ranges_together_cover_one(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, 100), (100, 100), (150, 200)], source)

    assert cache.get_ranges(KEY, [(20, 320)], source.nothing) == cut([(20, 320)])


def test_only_the_gaps_are_fetched(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(100, 50), (300, 50)], source)
    source.fetched.clear()

    assert cache.get_ranges(KEY, [(50, 400), (320, 200)], source) == cut([(50, 400), (320, 200)])
    assert source.fetched == [(50, 50), (150, 150), (350, 170)]


def test_no_bytes_need_no_fetch(cache: RangeCache, source: Source) -> None:
    assert cache.get_ranges(KEY, [(5, 0)], source.nothing) == [b""]
    assert cache.get_ranges(KEY, [], source.nothing) == []
    assert cache.get_ranges(KEY, [(5, 0), (1, 2)], source) == [b"", DATA[1:3]]


def test_a_new_etag_is_a_new_entry(cache: RangeCache, source: Source) -> None:
    newer = Source(DATA[::-1])
    cache.get_ranges(KEY, [(0, 100)], source)

    assert cache.get_ranges(OTHER, [(0, 100)], newer) == [DATA[::-1][:100]]
    assert cache.get_ranges(KEY, [(0, 100)], source.nothing) == [DATA[:100]]
    assert cache.info().objects == 2


def test_keys_do_not_run_together() -> None:
    assert ObjectKey("ab", "c").digest != ObjectKey("a", "bc").digest


def test_errors_of_the_fetch_come_through(cache: RangeCache, source: Source) -> None:
    def broken(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        raise StoreError("no such luck")

    with pytest.raises(StoreError, match="no such luck"):
        cache.get_ranges(KEY, [(0, 10)], broken)
    assert cache.get_ranges(KEY, [(0, 10)], source) == [DATA[:10]]


def test_a_fetch_of_another_length_is_an_error_and_not_kept(cache: RangeCache, source: Source) -> None:
    with pytest.raises(StoreError, match=r"expected \[10\] bytes, found \[3\]"):
        cache.get_ranges(KEY, [(0, 10)], lambda ranges: [b"abc"])
    assert cache.info().ranges == 0


def test_the_directory_says_what_it_holds_and_no_secret(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(ObjectKey("https://me:secret@host/a?sig=1", '"1"'), [(0, 10)], source)
    (meta,) = cache.directory.rglob("meta.json")

    assert "https://host/a" in meta.read_text()
    assert "secret" not in meta.read_text()
    assert "sig" not in meta.read_text()


def test_a_second_process_reads_what_the_first_one_fetched(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)
    code = (
        "import sys\n"
        "from mediaref_ursa._cache.settings import RangeCache, ObjectKey\n"
        "cache = RangeCache(sys.argv[1], 10**7)\n"
        "key = ObjectKey('https://host/a.mp4', '\"1\"')\n"
        "sys.stdout.write(cache.get_ranges(key, [(10, 20)], None)[0].hex())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(cache.directory)], capture_output=True, text=True, check=True
    )

    assert bytes.fromhex(done.stdout) == DATA[10:30]


def test_listing_covers_with_few_ranges() -> None:
    listing = Listing([Span(0, 10), Span(2, 4), Span(5, 30), Span(6, 8), Span(50, 60)])

    assert [held for _, held in listing.cover(Span(7, 70))] == [Span(5, 30), None, Span(50, 60), None]


# --- damage -----------------------------------------------------------------------------------------


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def _swap_blocks(path: Path) -> None:
    data = path.read_bytes()
    start = len(data) - len(DATA)
    first, second = data[start : start + BLOCK_BYTES], data[start + BLOCK_BYTES : start + 2 * BLOCK_BYTES]
    path.write_bytes(data[:start] + second + first + data[start + 2 * BLOCK_BYTES :])


DAMAGE = {
    "magic": lambda path: _flip(path, 0),
    "key": lambda path: _flip(path, 10),
    "offset": lambda path: _flip(path, 41),
    "length": lambda path: _flip(path, 49),
    "header checksum": lambda path: _flip(path, 57),
    "block checksum": lambda path: _flip(path, 61),
    "first byte": lambda path: _flip(path, -len(DATA)),
    "last byte": lambda path: _flip(path, -1),
    "swapped blocks": _swap_blocks,
    "cut short": lambda path: os.truncate(path, path.stat().st_size - 1),
    "too long": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "empty": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "header only": lambda path: os.truncate(path, 60),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_range_is_fetched_again(cache: RangeCache, source: Source, kind: str) -> None:
    cache.get_ranges(KEY, [(0, len(DATA))], source)
    (path,) = entries(cache.directory)
    DAMAGE[kind](path)
    source.fetched.clear()

    assert cache.get_ranges(KEY, [(0, len(DATA))], source) == [DATA]
    assert source.fetched == [(0, len(DATA))]
    assert cache.get_ranges(KEY, [(0, len(DATA))], source.nothing) == [DATA]


def test_a_range_under_another_name_or_object_is_not_served(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, 100), (200, 100)], source)
    cache.get_ranges(OTHER, [(500, 10)], Source(DATA[::-1]))
    first, second, _ = sorted(entries(cache.directory), key=lambda path: -path.stat().st_size)[:3]
    other = cache.directory / "objects" / OTHER.digest.hex()
    (other / "0-100").write_bytes(first.read_bytes())
    second.write_bytes(first.read_bytes())

    assert cache.get_ranges(OTHER, [(0, 100)], Source(DATA[::-1])) == [DATA[::-1][:100]]
    assert cache.get_ranges(KEY, [(0, 300)], source) == [DATA[:300]]


def test_damage_elsewhere_in_a_long_range_does_not_disturb_a_read(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, len(DATA))], source)
    (path,) = entries(cache.directory)
    _flip(path, -1)

    assert cache.get_ranges(KEY, [(0, BLOCK_BYTES)], source.nothing) == [DATA[:BLOCK_BYTES]]


def test_strange_names_are_left_alone(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)
    home = entries(cache.directory)[0].parent
    mine = [home / "notes.txt", home / "01-5", home / "7-0", cache.directory / "objects" / "letters"]
    mine += [cache.directory / "writing" / "novel.txt", cache.directory / "todo"]
    for path in mine:
        path.write_text("mine")
    (home / "9-9").mkdir()

    assert cache.get_ranges(KEY, [(0, 100)], source.nothing) == [DATA[:100]]
    assert cache.get_ranges(KEY, [(9, 9)], source) == [DATA[9:18]]
    cache.prune()
    assert all(path.read_text() == "mine" for path in mine)


def test_an_account_that_cannot_be_read_is_made_anew(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, 100_000)], source)
    for text in (b"", b"garbage", b"00000000 {}\n", b'ffffffff {"taken_bytes": -5}\n'):
        (cache.directory / "account").write_bytes(text)
        assert RangeCache(cache.directory, 50 * MB).get_ranges(KEY, [(0, 9)], source.nothing) == [DATA[:9]]
        assert _taken(cache) == cache.info().stored_bytes


def _taken(cache: RangeCache) -> int:
    return disk_usage.UsageFile.from_line((cache.directory / "account").read_bytes()).taken_bytes


# --- the quota --------------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(directory: Path, source: Source) -> None:
    cache = RangeCache(directory, 3 * disk_bytes(100_000))
    for number, offset in enumerate((0, 100_000)):
        cache.get_ranges(KEY, [(offset, 100_000)], source)
        used_at(directory / "objects" / KEY.digest.hex() / f"{offset}-100000", 1000 + number)
    cache.get_ranges(KEY, [(0, 10)], source.nothing)  # reading makes it the younger one
    cache.get_ranges(KEY, [(200_000, 100_000)], source)

    assert [path.name for path in entries(directory)] == ["0-100000", "200000-100000"]
    assert cache.info().evicted_ranges == 1


def test_a_read_is_noted_once_a_minute(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)
    (path,) = entries(cache.directory)
    used_at(path, time.time() - 30)
    before = path.stat().st_mtime_ns
    cache.get_ranges(KEY, [(0, 100)], source.nothing)
    assert path.stat().st_mtime_ns == before
    used_at(path, time.time() - 90)
    cache.get_ranges(KEY, [(0, 100)], source.nothing)
    assert time.time() - path.stat().st_mtime < 30


def test_the_quota_is_never_exceeded(directory: Path) -> None:
    quota_bytes = 300_000
    cache = RangeCache(directory, quota_bytes)
    rng = random.Random(3)
    for _ in range(150):
        key = ObjectKey("https://host/a", str(rng.randrange(5)))
        ranges = [(rng.randrange(200_000), rng.randrange(1, 60_000))]
        assert cache.get_ranges(key, ranges, Source()) == cut(ranges)
        assert bytes_in(directory) <= quota_bytes
        assert _taken(cache) >= cache.info().stored_bytes == bytes_in(directory)
    assert cache.info().evicted_ranges > 0


def test_what_is_larger_than_the_quota_is_not_kept_and_evicts_nothing(
    directory: Path, source: Source
) -> None:
    cache = RangeCache(directory, 100_000)
    cache.get_ranges(KEY, [(0, 10)], source)

    assert cache.get_ranges(KEY, [(10, 200_000)], source) == cut([(10, 200_000)])
    assert cache.info().ranges == 1


def test_a_quota_of_nothing_is_no_cache(directory: Path, source: Source) -> None:
    cache = RangeCache(directory, 0)

    assert cache.get_ranges(KEY, [(0, 10), (3, 0)], source) == [DATA[:10], b""]
    assert not directory.exists()
    with pytest.raises(ValueError, match="quota of 0 bytes or more"):
        RangeCache(directory, -1)


def test_a_smaller_quota_is_kept_from_the_next_start(directory: Path, source: Source) -> None:
    RangeCache(directory, 50 * MB).get_ranges(KEY, [(i * 10_000, 10_000) for i in range(20)], source)
    RangeCache(directory, 100_000).get_ranges(KEY, [(0, 0)], source)

    assert 0 < bytes_in(directory) <= 100_000


def test_a_reader_of_an_evicted_range_finishes(
    cache: RangeCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get_ranges(KEY, [(0, len(DATA))], source)
    check_header = entry._check_header

    def check_then_evict(*arguments: object) -> None:
        check_header(*arguments)  # type: ignore[arg-type]
        cache.clear()

    monkeypatch.setattr(entry, "_check_header", check_then_evict)

    assert cache.get_ranges(KEY, [(0, len(DATA))], source.nothing) == [DATA]
    assert entries(cache.directory) == []


def test_a_range_evicted_between_look_and_read_is_fetched(
    cache: RangeCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)
    time.sleep(0.15)
    cache.get_ranges(KEY, [(0, 100)], source.nothing)  # the listing is kept now
    read_entry = range_cache.read_entry

    def evict_then_read(*arguments: object) -> tuple[bytes, float]:
        cache.clear()
        return read_entry(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(range_cache, "read_entry", evict_then_read)

    assert cache.get_ranges(KEY, [(0, 100)], source) == [DATA[:100]]


def test_writers_reserve_before_they_write(
    directory: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RangeCache(directory, disk_bytes(100_000) + 8192)
    both = threading.Barrier(2, timeout=30)
    write_entry = range_cache.write_entry

    def write_together(*arguments: object) -> None:
        write_entry(*arguments)  # type: ignore[arg-type]
        both.wait()

    monkeypatch.setattr(range_cache, "write_entry", write_together)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cache.get_ranges, KEY, [(0, 100_000)], source)
        while not list(directory.glob("writing/*")):
            time.sleep(0.001)
        assert cache.get_ranges(OTHER, [(0, 100_000)], source) == [DATA[:100_000]]  # there is no room
        both.wait()
        assert first.result() == [DATA[:100_000]]
    assert [path.parent.name for path in entries(directory)] == [KEY.digest.hex()]


# --- processes that end in the middle ---------------------------------------------------------------


def _die_while_writing(directory: Path, where: str) -> None:
    """Kill this process in the middle of storing a range."""

    def die(*arguments: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if where == "half written":

        def write_half(descriptor: int, *arguments: object) -> None:
            os.write(descriptor, b"mruseg1\n" + bytes(500))
            die()

        range_cache.write_entry = write_half
    elif where == "before the rename":
        disk_usage.DiskUsage.commit = die
    elif where == "account held":
        disk_usage._make_home = die
    elif where == "object made":
        make_home = disk_usage._make_home
        disk_usage._make_home = lambda *arguments: die(make_home(*arguments))
    elif where == "evicting":
        disk_usage.remove_home = die
        RangeCache(directory, 10**8).clear()
    RangeCache(directory, 10**8).get_ranges(OTHER, [(0, 1000)], Source())


@pytest.mark.parametrize(
    "where", ["half written", "before the rename", "account held", "object made", "evicting"]
)
def test_a_killed_process_leaves_no_litter_after_the_next_start(
    cache: RangeCache, source: Source, where: str
) -> None:
    cache.get_ranges(KEY, [(0, 1000)], source)
    child = multiprocessing.get_context("fork").Process(
        target=_die_while_writing, args=(cache.directory, where)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL

    twin = RangeCache(cache.directory, 50 * MB)
    assert twin.get_ranges(OTHER, [(0, 1000)], source) == [DATA[:1000]]
    assert list(cache.directory.glob("writing/*")) == []
    assert {path.parent for path in entries(cache.directory)} == set((cache.directory / "objects").iterdir())
    assert _taken(twin) == twin.info().stored_bytes == bytes_in(cache.directory)


def test_files_that_are_being_written_are_no_litter(
    cache: RangeCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry = range_cache.write_entry

    def write_then_look(*arguments: object) -> None:
        write_entry(*arguments)  # type: ignore[arg-type]
        assert RangeCache(cache.directory, 50 * MB).prune().orphans == 0

    monkeypatch.setattr(range_cache, "write_entry", write_then_look)
    cache.get_ranges(KEY, [(0, 1000)], source)

    assert cache.get_ranges(KEY, [(0, 1000)], source.nothing) == [DATA[:1000]]


def test_a_removed_directory_is_made_again(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, 1000)], source)
    cache.directory.rename(cache.directory.with_name("moved"))

    for _ in range(3):
        assert cache.get_ranges(KEY, [(0, 1000)], source) == [DATA[:1000]]
    assert cache.get_ranges(KEY, [(0, 1000)], source.nothing) == [DATA[:1000]]


# --- directories that do not do ---------------------------------------------------------------------


def test_directories_are_made_for_the_user_alone(tmp_path: Path, source: Source) -> None:
    cache = RangeCache(tmp_path / "a" / "b" / "segments", 50 * MB)
    cache.get_ranges(KEY, [(0, 10)], source)

    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert len(made) >= 5
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700}
    assert {stat.S_IMODE(path.stat().st_mode) for path in entries(cache.directory)} == {0o600}


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o720])
def test_a_directory_that_others_may_write_is_refused(directory: Path, source: Source, mode: int) -> None:
    directory.mkdir()
    directory.chmod(mode)
    cache = RangeCache(directory, MB)
    for call in (lambda: cache.get_ranges(KEY, [(0, 10)], source), cache.info, cache.clear, cache.prune):
        with pytest.raises(StoreError, match=f"mode {mode:04o}: .*chmod go-w {directory}"):
            call()
    assert list(directory.iterdir()) == []
    directory.chmod(0o755)
    assert cache.get_ranges(KEY, [(0, 10)], source) == [DATA[:10]]


def test_a_shared_directory_is_not_to_be_changed(directory: Path, source: Source) -> None:
    directory.mkdir()
    directory.chmod(0o1777)

    with pytest.raises(StoreError, match="directory of its own within it"):
        RangeCache(directory, MB).get_ranges(KEY, [(0, 10)], source)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(directory: Path, source: Source) -> None:
    directory.mkdir(mode=0o700)
    os.chown(directory, 65534, 65534)

    with pytest.raises(StoreError, match="found one of user 65534"):
        RangeCache(directory, MB).get_ranges(KEY, [(0, 10)], source)


def test_no_directory_can_be_made(tmp_path: Path, source: Source, warnings: list[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    for _ in range(2):
        cache = RangeCache(tmp_path / "file" / "segments", MB)
        for _ in range(3):
            assert cache.get_ranges(KEY, [(0, 10)], source) == [DATA[:10]]

    assert len(warnings) == 1
    assert "reading goes on without it" in warnings[0]


def _read_as_nobody(directory: Path, answers: object) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    heard: list[str] = []
    logger.enable("mediaref_ursa")
    logger.add(lambda message: heard.append(str(message)), level="WARNING")
    cache, source = RangeCache(directory, MB), Source()
    found = [cache.get_ranges(KEY, [(n * 10, 10)], source) for n in range(5)]
    answers.put((found, source.fetched, len(heard)))  # type: ignore[attr-defined]


@pytest.mark.parametrize("is_filled", [True, False])
def test_a_directory_that_cannot_be_written_is_read(is_filled: bool, source: Source) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:  # tmp_path is closed to other users
        Path(name).chmod(0o755)
        directory = Path(name) / "segments"
        directory.mkdir(mode=0o700)
        if is_filled:
            RangeCache(directory, MB).get_ranges(KEY, [(0, 20)], source)
        for path in (directory, *directory.rglob("*")):
            if os.geteuid() == 0:
                os.chown(path, 65534, 65534)
            path.chmod(0o500 if path.is_dir() else 0o400)
        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        child = context.Process(target=_read_as_nobody, args=(directory, answers))
        child.start()
        child.join(60)
        assert child.exitcode == 0
        found, fetched, warned = answers.get()
        for path in (directory, *directory.rglob("*")):
            path.chmod(0o700)

    assert found == [[DATA[n * 10 : n * 10 + 10]] for n in range(5)]
    assert fetched == [(n * 10, 10) for n in range(2 if is_filled else 0, 5)]
    assert warned == 1


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("function", ["write", "fsync", "pwrite"])
def test_a_full_disk_is_no_cache_and_one_warning(
    cache: RangeCache,
    source: Source,
    warnings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    error: int,
    function: str,
) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)

    def fail(*arguments: object) -> int:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        for offset in range(0, 5000, 1000):
            assert cache.get_ranges(KEY, [(offset, 1000)], source) == [DATA[offset : offset + 1000]]
    assert len(warnings) == 1
    assert os.strerror(error) in warnings[0]
    assert list(cache.directory.glob("writing/*")) == [] or function == "pwrite"
    assert cache.get_ranges(KEY, [(0, 100)], source.nothing) == [DATA[:100]]  # what is there is still read
    monkeypatch.setattr(cache, "_read_only_until", 0.0)  # some time later there is room again
    for _ in range(2):
        cache.get_ranges(KEY, [(9000, 100)], source)
    assert cache.get_ranges(KEY, [(9000, 100)], source.nothing) == [DATA[9000:9100]]
    assert list(RangeCache(cache.directory, MB).directory.glob("writing/*")) == []


def test_a_reservation_that_cannot_be_noted_is_given_up(
    cache: RangeCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)
    make_home = disk_usage._make_home

    def fail(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    def fill_the_disk(*arguments: object) -> int:
        monkeypatch.setattr(os, "pwrite", fail)
        return make_home(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(disk_usage, "_make_home", fill_the_disk)
    assert cache.get_ranges(OTHER, [(0, 100)], source) == [DATA[:100]]
    monkeypatch.undo()

    twin = RangeCache(cache.directory, MB)
    assert twin.get_ranges(OTHER, [(0, 100)], source) == [DATA[:100]]
    assert list(cache.directory.glob("writing/*")) == []
    assert _taken(twin) == twin.info().stored_bytes == bytes_in(cache.directory)


def test_an_account_that_is_held_for_long_is_not_waited_for_again(
    cache: RangeCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)
    monkeypatch.setattr(disk_usage, "LOCK_TIMEOUT_SECONDS", 0.05)
    twin = RangeCache(cache.directory, MB)
    with cache._disk_usage.changing():
        for offset in range(0, 1000, 100):
            assert twin.get_ranges(KEY, [(offset, 100)], source) == [DATA[offset : offset + 100]]
        with pytest.raises(StoreError, match="in use by another process"):
            twin.clear()
    assert cache.info().ranges == 1


# --- threads and processes --------------------------------------------------------------------------


def test_threads_that_want_the_same_range_fetch_it_once(cache: RangeCache) -> None:
    source = Source()
    arrived = threading.Barrier(8, timeout=30)

    def slow(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        time.sleep(0.1)
        return source(ranges)

    def read() -> list[bytes]:
        arrived.wait()
        return cache.get_ranges(KEY, [(0, 1000), (5000, 1000)], slow)

    with ThreadPoolExecutor(8) as pool:
        found = [future.result() for future in [pool.submit(read) for _ in range(8)]]

    assert found == [[DATA[:1000], DATA[5000:6000]]] * 8
    assert sorted(source.fetched) == [(0, 1000), (5000, 1000)]


def test_a_thread_whose_neighbour_fails_fetches_for_itself(cache: RangeCache, source: Source) -> None:
    started = threading.Event()

    def fail(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        started.set()
        time.sleep(0.1)
        raise StoreError("gone")

    with ThreadPoolExecutor(1) as pool:
        failing = pool.submit(cache.get_ranges, KEY, [(0, 1000)], fail)
        started.wait(30)
        assert cache.get_ranges(KEY, [(0, 1000)], source) == [DATA[:1000]]
        with pytest.raises(StoreError, match="gone"):
            failing.result()


def test_threads_that_want_one_another_s_ranges_do_not_wait_for_ever(cache: RangeCache) -> None:
    def slow(ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        time.sleep(0.001)
        return cut(ranges)

    def read(seed: int) -> bool:
        rng = random.Random(seed)
        ranges = [(1000 * n, 1000) for n in rng.sample(range(20), 10)]
        return cache.get_ranges(KEY, ranges, slow) == cut(ranges)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, range(100)))


def _read_at_random(directory: Path, quota_bytes: int, seed: int, threads: int) -> None:
    cache = RangeCache(directory, quota_bytes)

    def work(number: int) -> None:
        rng = random.Random(seed * 100 + number)
        for _ in range(60):
            key, data = rng.choice([(KEY, DATA), (OTHER, DATA[::-1])])
            ranges = [(rng.randrange(8) * 30_000, rng.randrange(1, 90_000)) for _ in range(rng.randrange(4))]
            assert cache.get_ranges(key, ranges, Source(data)) == cut(ranges, data)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, range(threads)):
            pass


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_and_threads_share_a_directory(directory: Path, source: Source, method: str) -> None:
    quota_bytes = 400_000
    RangeCache(directory, quota_bytes).get_ranges(KEY, [(0, 10)], source)  # used before the fork
    context = multiprocessing.get_context(method)
    children = [
        context.Process(target=_read_at_random, args=(directory, quota_bytes, seed, 3)) for seed in range(3)
    ]
    for child in children:
        child.start()
    peak = 0
    while any(child.is_alive() for child in children):
        peak = max(peak, bytes_in(directory))
        time.sleep(0.002)
    for child in children:
        child.join(60)

    assert [child.exitcode for child in children] == [0, 0, 0]
    assert 0 < peak <= quota_bytes
    last = RangeCache(directory, quota_bytes)
    assert (last.prune().orphans, _taken(last)) == (0, bytes_in(directory))


def test_a_child_forked_while_locks_are_held_goes_on(
    cache: RangeCache, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)
    monkeypatch.setattr(disk_usage, "LOCK_TIMEOUT_SECONDS", 0.05)  # this process does hold the account
    with cache._disk_usage.changing(), cache._single_flight._lock, cache._listings._lock, cache._starting:
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            found = cache.get_ranges(KEY, [(0, 100)], source.nothing)
            os._exit(0 if found == [DATA[:100]] else 1)
        _, status = os.waitpid(child, 0)
    assert status == 0


def test_a_child_keeps_no_lock_of_a_parent_that_dies(cache: RangeCache, source: Source) -> None:
    """The child of a killed writer lives on; the writer's file is litter all the same."""
    reading, writing = os.pipe()
    writer = os.fork()
    if writer == 0:

        def fork_then_die(*arguments: object) -> None:
            if os.fork() == 0:
                os.write(writing, b"%d\n" % os.getpid())
                time.sleep(60)
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)

        range_cache.write_entry = fork_then_die
        cache.get_ranges(KEY, [(0, 1000)], source)
        os._exit(1)
    os.waitpid(writer, 0)
    grandchild = int(os.read(reading, 20))
    try:
        swept = RangeCache(cache.directory, MB)
        assert swept.get_ranges(OTHER, [(0, 10)], source) == [DATA[:10]]
        assert list(cache.directory.glob("writing/*")) == []
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(reading)
        os.close(writing)


def test_a_pickled_cache_is_its_directory_and_quota(cache: RangeCache, source: Source) -> None:
    cache.get_ranges(KEY, [(0, 100)], source)
    twin = pickle.loads(pickle.dumps(cache))

    assert repr(twin) == repr(cache)
    assert twin.get_ranges(KEY, [(0, 100)], source.nothing) == [DATA[:100]]


# --- the cache of the process -----------------------------------------------------------------------


def test_the_module_s_constants_are_read_at_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDIAREF_URSA_CACHE", raising=False)
    monkeypatch.delenv("MEDIAREF_URSA_CACHE_LIMIT", raising=False)
    assert shared_range_cache().directory.parts[-2:] == ("mediaref-ursa", "segments")
    assert shared_range_cache().quota_bytes == 50 * 10**9
    assert shared_range_cache() is shared_range_cache()

    monkeypatch.setenv("MEDIAREF_URSA_CACHE", str(tmp_path / "environment"))
    monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", "500MB")
    assert shared_range_cache().directory == tmp_path / "environment"
    assert shared_range_cache().quota_bytes == 500 * 10**6

    monkeypatch.setattr(settings, "_DEFAULT_CACHE_DIR", str(tmp_path / "patched"))
    monkeypatch.setattr(settings, "_DEFAULT_CACHE_QUOTA_GB", 0.25)
    assert shared_range_cache().directory == tmp_path / "patched"
    assert shared_range_cache().quota_bytes == 250 * 10**6


def test_a_user_without_a_home_has_a_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "_DEFAULT_CACHE_DIR", "~nobody-of-that-name/segments")

    assert shared_range_cache().directory.name == f"mediaref-ursa-segments-{os.geteuid()}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50GB", 50 * 10**9),
        ("500mb", 500 * 10**6),
        (" 2 TiB ", 2 << 40),
        ("1.5kb", 1500),
        ("0", 0),
        ("7B", 7),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["50", "GB", "-1GB", "1e3MB", "fifty", "5 PB", "5GBs", "٣GB"])
def test_sizes_that_are_none(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", text)

    with pytest.raises(StoreError, match="such as 50GB or 500MB.*MEDIAREF_URSA_CACHE_LIMIT"):
        shared_range_cache()


NO_HOME = """
import os, pwd, sys, warnings
os.environ.pop("HOME", None), os.environ.pop("XDG_CACHE_HOME", None)

def no_entry(*_):
    raise KeyError("uid not found")

pwd.getpwuid = no_entry
warnings.simplefilter("always")
from mediaref_ursa import CacheDirectoryWarning, MediaRefWarning
with warnings.catch_warnings(record=True) as given:
    warnings.simplefilter("always")
    from mediaref_ursa._cache.settings import cache_directory, shared_range_cache
    assert cache_directory() == cache_directory() == shared_range_cache().directory
assert [warning.category for warning in given] == [CacheDirectoryWarning], given
assert issubclass(CacheDirectoryWarning, MediaRefWarning)
assert os.environ["TMPDIR"] in str(cache_directory()) and "MEDIAREF_URSA_CACHE" in str(given[0].message)
os.environ["MEDIAREF_URSA_CACHE"] = sys.argv[1]
assert str(cache_directory()) == sys.argv[1]
"""


def test_a_user_without_a_home_has_a_temporary_cache(tmp_path: Path) -> None:
    """As in containers that run under a number that has no entry in the password database."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONHOME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, str(tmp_path / "named")],
        env={**environment, "TMPDIR": str(tmp_path)},
        cwd=Path(mediaref_ursa.__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr

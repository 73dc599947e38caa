"""The range cache under random reads, evictions, damage and killed writers: the bytes are always right."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mediaref_ursa._cache.cached_ranges import Listing
from mediaref_ursa._cache.entry import BLOCK_BYTES, Span
from mediaref_ursa._cache.range_cache import _union
from mediaref_ursa._cache.settings import RangeCache
from mediaref_ursa.store import ObjectInfo
from mediaref_ursa.store._cached import CachedStore

SIZE = 3 * BLOCK_BYTES + 1000
QUOTA_BYTES = 300_000
URIS = ("remote://host/a", "remote://host/b")
RANGES = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, 80_000)).map(
        lambda pair: (pair[0], min(pair[1], SIZE - pair[0]))
    ),
    max_size=4,
)
SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda p: Span(p[0], p[0] + p[1])))


class Objects:
    """A store of objects made from numbers; what it is asked for is counted."""

    def __init__(self) -> None:
        self.version = dict.fromkeys(URIS, 0)
        self.fetched: list[tuple[str, int, int]] = []

    def data(self, uri: str) -> bytes:
        return random.Random(f"{uri} {self.version[uri]}").randbytes(SIZE)

    def head(self, uri: str) -> ObjectInfo:
        return ObjectInfo(SIZE, f'"{self.version[uri]}"', None)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.fetched += [(uri, *pair) for pair in ranges]
        data = self.data(uri)
        return [data[offset : offset + length] for offset, length in ranges]

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        self.fetched.append((uri, 0, SIZE))
        return self.data(uri)


class CacheMachine(RuleBasedStateMachine):
    """One directory, used by one process after another."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp()) / "segments"
        self.objects = Objects()
        self.start_a_process()

    def teardown(self) -> None:
        shutil.rmtree(self.directory.parent)

    @rule()
    def start_a_process(self) -> None:
        self.cache = RangeCache(self.directory, QUOTA_BYTES)
        self.store = CachedStore(self.objects, self.cache)

    @rule(uri=st.sampled_from(URIS), ranges=RANGES)
    def read(self, uri: str, ranges: list[tuple[int, int]]) -> None:
        self.objects.fetched.clear()
        data = self.objects.data(uri)

        assert self.store.get_ranges(uri, ranges) == [data[start : start + size] for start, size in ranges]
        asked = {byte for start, size in ranges for byte in range(start, start + size)}
        fetched = [byte for _, start, size in self.objects.fetched for byte in range(start, start + size)]
        assert len(fetched) == len(set(fetched))
        assert asked.issuperset(fetched)

    @rule(uri=st.sampled_from(URIS))
    def read_all(self, uri: str) -> None:
        assert self.store.get(uri) == self.objects.data(uri)

    @rule(uri=st.sampled_from(URIS), version=st.integers(0, 2))
    def replace(self, uri: str, version: int) -> None:
        self.objects.version[uri] = version
        self.store.head(uri)

    @rule(keep_bytes=st.integers(0, QUOTA_BYTES))
    def evict(self, keep_bytes: int) -> None:
        self.cache.info()
        RangeCache(self.directory, keep_bytes).prune()

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(self.files()))
        start, length = map(int, path.name.split("-"))
        content = bytearray(path.read_bytes())
        match data.draw(st.sampled_from(["flip", "cut", "grow", "move", "remove", "replace"])):
            case "flip":
                content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
                path.write_bytes(content)
            case "cut":
                os.truncate(path, data.draw(st.integers(0, len(content) - 1)))
            case "grow":
                path.write_bytes(bytes(content) + b"\0" * 4096)
            case "move":
                path.rename(
                    path.with_name(f"{data.draw(st.integers(0, SIZE))}-{path.name.partition('-')[2]}")
                )
            case "remove":
                path.unlink()
            case "replace":
                path.write_bytes(data.draw(st.sampled_from(self.files())).read_bytes())
        self.start_a_process()  # what the account says of sizes may be wrong now: it counts again
        (self.directory / "account").unlink()
        for uri in URIS:
            self.read(uri, [(start, min(length, SIZE - start))] if start < SIZE else [])

    @precondition(lambda self: self.files())
    @rule(data=st.data())
    def kill_a_writer(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(self.files()))
        content = path.read_bytes()[: data.draw(st.integers(0, 70_000))]
        left = self.directory / "writing" / f"{path.parent.name}.{path.name}.1.{random.randbytes(4).hex()}"
        left.write_bytes(content)
        self.start_a_process()
        self.store.get_range(URIS[0], 0, 1)

        assert not left.exists()

    @rule(at=st.integers(0, 200), letter=st.integers(0, 255))
    def damage_the_account(self, at: int, letter: int) -> None:
        account = self.directory / "account"
        if account.exists():
            content = bytearray(account.read_bytes())
            content[at % len(content)] = letter
            account.write_bytes(content)

    @rule()
    def remove_the_directory(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    @invariant()
    def the_quota_is_kept(self) -> None:
        sizes = [-(-path.stat().st_size // 4096) * 4096 for path in self.files()]
        grown = 4096 * len(sizes)  # by what "damage" adds
        assert sum(sizes) <= QUOTA_BYTES + grown

    def files(self) -> list[Path]:
        return sorted(self.directory.glob("objects/*/*-*"))


CacheMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCacheMachine = CacheMachine.TestCase


@given(held=SPANS, start=st.integers(0, 90), length=st.integers(0, 40))
def test_pieces_lie_end_to_end_and_gaps_hold_nothing(held: list[Span], start: int, length: int) -> None:
    pieces = list(Listing(held).cover(Span(start, start + length)))
    on_disk = {byte for span in held for byte in range(span.start, span.stop)}

    assert [byte for piece, _ in pieces for byte in range(piece.start, piece.stop)] == [
        *range(start, start + length)
    ]
    for piece, span in pieces:
        inside = set(range(piece.start, piece.stop))
        if span is None:
            assert not inside & on_disk
        else:
            assert span in held
            assert inside <= set(range(span.start, span.stop))


@given(spans=SPANS)
def test_the_union_holds_each_byte_once(spans: list[Span]) -> None:
    merged = _union(spans)
    found = [byte for span in merged for byte in range(span.start, span.stop)]

    assert found == sorted({byte for span in spans for byte in range(span.start, span.stop)})
    assert all(any(m.start <= s.start and s.stop <= m.stop for m in merged) for s in spans)

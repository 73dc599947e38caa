"""Decoders between calls: where they can go on, how many are kept, and what a fork leaves of them."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from _media import Clip
from _oracle import OracleFrame, linear_frames

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, cleanup_cache, counting, plan_decode
from mediaref_ursa._decode import decoder_pool
from mediaref_ursa._decode.decoder_pool import DecoderKey, decoders
from mediaref_ursa._model.segment import EncodedPacket, SegmentTable
from mediaref_ursa._pyav.decoder import Decoder
from mediaref_ursa.store import MemoryStore
from mediaref_ursa.store._token import NO_STORE, tokens

GetClip = Callable[[str], Clip]


@pytest.fixture(autouse=True)
def _nothing_is_kept_from_before() -> Iterator[None]:
    cleanup_cache()
    yield
    cleanup_cache()


def opened(path: Path) -> tuple[list[MediaRef], list[OracleFrame], SegmentTable]:
    frames = linear_frames(path)
    refs = [MediaRef(str(path), -(-frame.time * 10**9 // 1)) for frame in frames]
    return refs, frames, plan_decode(refs[:1]).segments[0]


def packet(table: SegmentTable, data: bytes, number: int) -> EncodedPacket:
    offset, size = int(table.packets.offset[number]), int(table.packets.size[number])
    return EncodedPacket(number, data[offset : offset + size], bool(table.packets.is_keyframe[number]))


def slide(refs: list[MediaRef], frames: list[OracleFrame], length: int = 8, step: int = 4) -> list[int]:
    """Decode windows that slide; return the packets that each was fed."""
    fed = []
    for first in range(0, len(refs) - length, step):
        with counting() as counted:
            found = batch_decode(refs[first : first + length], max_workers=1)
        for pixels, frame in zip(found, frames[first : first + length], strict=True):
            assert np.array_equal(pixels, frame.rgb)
        fed.append(counted.packets_decoded)
    return fed


def test_leading_pictures_are_not_had_from_a_decoder_that_began_after_what_they_refer_to(
    clip: GetClip,
) -> None:
    path = clip("h264_open_gop_mp4").path
    _, _, table = opened(path)
    start = int(table.random_access_points[1])
    leading = [int(p) for p in table.packet[(table.packet > start) & (table.start < start)]]
    assert leading, "the clip has no open groups"
    decoder = Decoder(table.info, 2**24)
    decoder.begin()
    decoder.feed(packet(table, path.read_bytes(), start))
    assert decoder.can_reach(start, start + len(leading) + 1)
    assert not decoder.can_reach(int(table.start[table.frame_of_packet[leading[0]]]), leading[0])


def test_what_came_out_already_cannot_be_had_again(clip: GetClip) -> None:
    path = clip("h264_idr_mp4").path
    _, _, table = opened(path)
    data = path.read_bytes()
    decoder = Decoder(table.info, 2**24)
    decoder.begin()
    sure = [number for i in range(12) for number, _ in decoder.feed(packet(table, data, i))]
    assert sure
    assert not any(decoder.can_reach(0, number) for number in sure)
    assert all(decoder.can_reach(0, number) for number in decoder.pending)
    assert decoder.can_reach(0, 12)
    held = {number for number, _ in decoder.drain()}
    assert set(sure) | held == set(range(12))
    assert not decoder.can_resume


@pytest.mark.parametrize("name", ["h264_idr_mp4", "hevc_open_gop_mp4", "mpeg4_mp4", "av1_mp4"])
def test_sliding_windows_decode_what_is_new(name: str, clip: GetClip) -> None:
    refs, frames, _ = opened(clip(name).path)
    fed = slide(refs, frames)
    assert sum(fed[2:]) <= 4 * len(fed[2:]) + 12, fed


def test_frames_one_by_one_are_decoded_once(clip: GetClip) -> None:
    refs, frames, table = opened(clip("h264_idr_mp4").path)
    with counting() as counted:
        for ref, frame in zip(refs, frames, strict=True):
            assert np.array_equal(batch_decode([ref])[0], frame.rgb)
    assert counted.packets_decoded <= len(table.packets) + 12


def test_without_room_for_frames_two_decoders_take_turns(
    clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_pool, "MAX_KEPT_BYTES", 0)
    refs, frames, _ = opened(clip("h264_idr_mp4").path)
    fed = slide(refs, frames)
    assert max(fed[4:]) <= 8 + 4, fed
    assert decoders._kept_bytes == 0


def test_bounds_are_kept(clip: GetClip, monkeypatch: pytest.MonkeyPatch) -> None:
    refs, frames, table = opened(clip("h264_idr_mp4").path)
    nbytes = Decoder(table.info, 1).nbytes
    monkeypatch.setattr(decoder_pool, "MAX_IDLE_BYTES", 2 * nbytes)
    monkeypatch.setattr(decoder_pool, "MAX_KEPT_BYTES", 30_000)
    names = ["h264_idr_mp4", "h264_29_97_mp4", "hevc_open_gop_mp4", "av1_mp4", "mpeg4_mp4"]
    videos = [opened(clip(name).path)[:2] for name in names]
    for _ in range(3):
        for refs, frames in videos:
            slide(refs, frames, 6, 3)
            assert len(decoders._idle) <= 2
            assert decoders._kept_bytes <= 30_000
            assert decoders._kept_bytes == sum(nbytes for _, nbytes in decoders._kept.values())


def test_cleanup_lets_all_go(clip: GetClip) -> None:
    refs, frames, _ = opened(clip("h264_idr_mp4").path)
    slide(refs, frames)
    assert decoders._idle
    cleanup_cache()
    assert not decoders._idle
    assert not decoders._kept
    slide(refs, frames)


def test_a_store_that_is_gone_keeps_nothing_alive(clip: GetClip) -> None:
    path = clip("h264_idr_mp4").path
    refs, frames, _ = opened(path)
    index = LazyVideo(path)._recording.index
    objects = {"mem://a": path.read_bytes()}
    store = MemoryStore(objects)
    for first in (0, 2, 4, 6):
        refs_in_store = [MediaRef("mem://a", ref.pts_ns) for ref in refs[first : first + 6]]
        found = batch_decode(refs_in_store, store=store, frame_index={"mem://a": index})
        assert np.array_equal(found[0], frames[first].rgb)
    gone = weakref.ref(store)
    cleanup_cache()
    del store
    gc.collect()
    assert gone() is None


def test_another_store_of_the_same_identity_gives_its_own_frames(
    clip: GetClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, table = opened(clip("h264_idr_mp4").path)
    gone, store = MemoryStore(), MemoryStore()
    decoders.give_back(DecoderKey.from_table(table, gone, 1), Decoder(table.info, 1, can_resume=True))
    before = tokens.of(gone)
    # As if the new store stood where the one that is gone had been.
    monkeypatch.setattr(tokens, "_by_identity", {id(store): tokens._by_identity[id(gone)]})
    del gone
    assert tokens.of(store) != before
    assert not decoders.take_resumable(DecoderKey.from_table(table, store, 1))
    decoders.give_back(DecoderKey.from_table(table, store, 1), Decoder(table.info, 1, can_resume=True))
    assert [idle.key.store for idle in decoders._idle] == [tokens.of(store)]


def test_a_decoder_that_was_out_while_all_was_closed_is_not_kept(clip: GetClip) -> None:
    _, _, table = opened(clip("h264_idr_mp4").path)
    store = MemoryStore()
    key = DecoderKey.from_table(table, store, 1)
    cleanup_cache()
    decoders.give_back(key, Decoder(table.info, 1, can_resume=True))
    assert not decoders._idle


def test_many_readers_of_one_video(clip: GetClip) -> None:
    refs, frames, _ = opened(clip("h264_idr_mp4").path)
    failures: list[BaseException] = []

    def read(offset: int) -> None:
        try:
            for _ in range(3):
                slide(refs[offset:], frames[offset:], 6, 2)
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read, args=(offset,)) for offset in range(6)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(timeout=120)
    assert not failures


def test_a_child_that_is_forked_amid_decoding_reads_on(clip: GetClip) -> None:
    refs, frames, _ = opened(clip("h264_idr_mp4").path)
    slide(refs, frames)
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            slide(refs, frames)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for _ in range(5):
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    gc.collect()
                    slide(refs, frames)
                    cleanup_cache()
                    code = 0
                finally:
                    os._exit(code)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        stop.set()
        for reader in readers:
            reader.join(timeout=60)


def test_a_fork_closes_what_is_idle_and_the_child_has_nothing(clip: GetClip) -> None:
    refs, frames, _ = opened(clip("h264_idr_mp4").path)
    slide(refs, frames)
    assert decoders._idle
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_what_is_idle) == 0
    assert not decoders._idle


def _what_is_idle() -> int:
    return len(decoders._idle) + len(decoders._kept)


def test_a_changed_file_is_never_read_on_from_a_decoder(clip: GetClip, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip("h264_idr_mp4").path.read_bytes())
    slide(*opened(path)[:2])
    path.write_bytes(clip("h264_29_97_mp4").path.read_bytes())
    slide(*opened(path)[:2])


def test_a_bad_packet_ends_a_reader_as_it_ends_any_batch(clip: GetClip, tmp_path: Path) -> None:
    from mediaref_ursa import CorruptMediaError

    source = clip("h264_idr_mp4").path
    path = tmp_path / "a.mp4"
    data = bytearray(source.read_bytes())
    path.write_bytes(data)
    refs, frames, table = opened(path)
    index = LazyVideo(path)._recording.index
    bad = 14
    data[int(table.packets.offset[bad]) + 5] ^= 0xFF
    stat = path.stat()
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    for first in range(0, len(refs) - 8, 4):
        window = refs[first : first + 8]
        found = batch_decode(window, frame_index=index, on_error="none", max_workers=1)
        for place, pixels in enumerate(found):
            frame = first + place
            needs = plan_decode([refs[frame]], frame_index=index).runs[0].packets.tolist()
            if bad in needs:
                assert pixels is None or np.array_equal(pixels, frames[frame].rgb)
                assert pixels is not None or isinstance(found.errors[place], CorruptMediaError)
            else:
                assert np.array_equal(pixels, frames[frame].rgb), (first, place)


@pytest.mark.parametrize(
    "name",
    ["h264_idr_mp4", "h264_slices_mp4", "hevc_open_gop_mp4", "hevc_closed_gop_mp4", "av1_mp4", "mpeg4_mp4"],
)
def test_threads_within_decoders_give_the_same_frames_and_leave_nothing(name: str, clip: GetClip) -> None:
    refs, frames, _ = opened(clip(name).path)
    options = {"decoder": "pyav", "decoder_options": {"num_ffmpeg_threads": 3}}
    for first, stop, step in ((0, len(refs), 1), (3, 40, 7), (5, 20, 1), (6, 21, 1)):
        found = batch_decode(refs[first:stop:step], **options)
        for pixels, frame in zip(found, frames[first:stop:step], strict=True):
            assert np.array_equal(pixels, frame.rgb)
    assert not decoders._idle
    assert not decoders._kept


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_ffmpeg_threads": 0}, ValueError),
        ({"num_ffmpeg_threads": 1.5}, TypeError),
        ({"x": 1}, TypeError),
    ],
)
def test_decoder_options_that_are_wrong(
    options: dict[str, object], error: type[Exception], clip: GetClip
) -> None:
    with pytest.raises(error):
        batch_decode([MediaRef(str(clip("h264_idr_mp4").path), 0)], decoder="pyav", decoder_options=options)


def test_stores_that_are_gone_are_forgotten() -> None:
    held = [MemoryStore() for _ in range(3)]
    given = [tokens.of(store) for store in held]
    for _ in range(100):
        assert len({tokens.of(store) for store in [*held, *(MemoryStore() for _ in range(5))]}) == 8
    assert len(tokens._of_living) <= 64 + 2 * 8 + 5
    assert [tokens.of(store) for store in held] == given
    assert all(tokens.is_current(token) for token in given)


def test_a_store_that_cannot_be_weakly_referred_to_has_a_token() -> None:
    class Bare:
        __slots__ = ("objects",)

    stores = [Bare() for _ in range(100)]  # more than are held
    given = [tokens.of(store) for store in stores]  # type: ignore[arg-type]
    assert len(set(given)) == 100
    assert tokens.of(stores[-1]) == given[-1]  # type: ignore[arg-type]
    assert tokens.is_current(given[-1])
    assert not tokens.is_current(given[0])
    assert tokens.of(stores[0]) not in given  # type: ignore[arg-type]
    assert tokens.of(None) == NO_STORE

"""Containers that lie about how much they hold, and the process that scans what nobody vouches for."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _http_server import Fault, ObjectServer
from _media import Clip
from _oracle import linear_frames

import mediaref_ursa
from mediaref_ursa import (
    CorruptMediaError,
    IndexLimits,
    LazyVideo,
    LimitExceededError,
    MediaRef,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._model.access import TRUSTED, Access
from mediaref_ursa._scan.failed_scans import failed_scans
from mediaref_ursa._scan.options import ScanOptions
from mediaref_ursa._scan.sandbox import parent as guarded
from mediaref_ursa._scan.sandbox.child import decode_table, encode_table
from mediaref_ursa._scan.sandbox.parent import scan_video
from mediaref_ursa._scan.scan_uri import scan_uri
from mediaref_ursa.store import LocalStore, MemoryStore
from mediaref_ursa.store._cached import cached
from mediaref_ursa.store._open import open_store
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GetClip = Callable[[str], Clip]

UNTRUSTED = Access(untrusted=True)
MANY = 80_000_000
_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"}


def numbers(*values: int) -> bytes:
    return struct.pack(f">{len(values)}I", *values)


def box(kind: bytes, content: bytes) -> bytes:
    return numbers(8 + len(content)) + kind + content


def forged(data: bytes, changes: dict[bytes, bytes], more: dict[bytes, bytes] | None = None) -> bytes:
    """Return an MP4 file with boxes replaced, and with boxes added to others."""
    out, position = b"", 0
    while position + 8 <= len(data):
        size, kind = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        content = data[position + 8 : position + size]
        if kind in changes:
            out += changes[kind]
        elif kind in _CONTAINERS:
            out += box(kind, forged(content, changes, more) + (more or {}).get(kind, b""))
        else:
            out += data[position : position + size]
        position += size
    return out


SAMPLES = {
    b"stsz": box(b"stsz", numbers(0, 1, MANY)),
    b"stts": box(b"stts", numbers(0, 1, MANY, 512)),
    b"stsc": box(b"stsc", numbers(0, 1, 1, MANY, 1)),
    b"stco": box(b"stco", numbers(0, 1, 48)),
    b"ctts": box(b"ctts", numbers(0, 1, MANY, 5)),
}
SOUND = box(b"hdlr", numbers(0, 0) + b"soun" + bytes(13))


def described(data: bytes, more: bytes) -> bytes:
    """Return the sample descriptions of a file, with a box more in the only one."""
    at = data.find(b"stsd") - 4
    content = data[at + 8 : at + int.from_bytes(data[at : at + 4], "big")]
    entry = content[8:]
    return box(b"stsd", content[:8] + numbers(len(entry) + len(more)) + entry[4:] + more)


def bombs(clip: GetClip) -> dict[str, bytes]:
    """Return files of some kilobytes that made FFmpeg 8 take gigabytes."""
    plain, fragments = (clip(name).path.read_bytes() for name in ("h264_idr_mp4", "h264_fragmented_mp4"))
    run = box(b"trun", numbers(1, 20_000_000, 0x1000))
    sizes = SAMPLES[b"stsz"]
    no_table = {b"stsz": b""}
    return {
        "stsz": forged(plain, SAMPLES),
        "stsz of 64 bits": forged(
            plain, {**SAMPLES, b"stsz": numbers(1) + b"stsz" + numbers(0, 28) + sizes[8:]}
        ),
        "stsz to the end": forged(plain, no_table, {b"stbl": numbers(0) + sizes[4:]}),
        "stsz that is clipped": forged(plain, no_table, {b"stbl": numbers(0xFFFFFFF0) + sizes[4:]}),
        "stsz in a description": forged(plain, {b"stsd": described(plain, sizes)}),
        "chunks of sound": forged(
            plain,
            {
                **SAMPLES,
                b"hdlr": SOUND,
                b"stts": box(b"stts", numbers(0, 1, MANY, 1)),
                b"stsc": box(b"stsc", numbers(0, 1, 1, 2**32 - 1, 1)),
                b"stco": box(b"stco", numbers(0, 8, *range(48, 56))),
            },
        ),
        "trun": forged(fragments, {b"trun": box(b"trun", numbers(1, MANY, 0x1000))}),
        "trun with sizes": forged(fragments, {b"trun": box(b"trun", numbers(0x201, MANY, 0x1000))}),
        "several trun": forged(fragments, {b"trun": b""}, {b"traf": 5 * run}),
        "many small trun": forged(
            fragments, {b"trun": b""}, {b"traf": 400 * box(b"trun", numbers(1, len(fragments), 0x1000))}
        ),
    }


BOMBS = (
    *("stsz", "stsz of 64 bits", "stsz to the end", "stsz that is clipped", "stsz in a description"),
    *("chunks of sound", "trun", "trun with sizes", "several trun", "many small trun"),
)


def avi_bomb(streams: int = 20) -> bytes:
    """Return an AVI file whose index says that a packet of each audio stream is half a gigabyte long."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    def stream(kind: bytes, codec: bytes, sample_bytes: int, form: bytes) -> bytes:
        head = struct.pack(
            "<4s4sIHHIIIIIIIIHHHH", kind, codec, 0, 0, 0, 0, 1, 30, 0, 30, 0, 0, sample_bytes, *[0] * 4
        )
        return chunk(b"LIST", b"strl" + chunk(b"strh", head) + chunk(b"strf", form))

    video = struct.pack("<IiiHH4sIiiII", 40, 128, 96, 1, 24, b"FMP4", *[0] * 5)
    heads = stream(b"vids", b"FMP4", 0, video)
    heads += stream(b"auds", bytes(4), 1, struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)) * streams
    main = struct.pack("<14I", 33333, 0, 0, 0x10, 30, 0, 1 + streams, 0, 128, 96, *[0] * 4)
    entries = struct.pack("<4sIII", b"00dc", 0x10, 4, 4)
    entries += b"".join(
        struct.pack("<4sIII", b"%02dwb" % number, 0x10, 4 + 8 * number, 0x1FFFFF00)
        for number in range(1, streams + 1)
    )
    movie = chunk(b"LIST", b"movi" + chunk(b"00dc", b"abcd"))
    return chunk(
        b"RIFF",
        b"AVI " + chunk(b"LIST", b"hdrl" + chunk(b"avih", main) + heads) + movie + chunk(b"idx1", entries),
    )


def flv_bomb(data: bytes) -> bytes:
    metadata = b"\x02\x00\x0aonMetaData\x08" + numbers(1) + b"\x00\x09keyframes\x03"
    for name in (b"filepositions", b"times"):
        metadata += struct.pack(">H", len(name)) + name + b"\x0a" + numbers(2**28 - 1) + bytes(18)
    metadata += b"\x00\x00\x09" * 2
    tag = b"\x12" + len(metadata).to_bytes(3, "big") + bytes(7) + metadata
    return data[:13] + tag + numbers(len(tag)) + data[13:]


@contextmanager
def at_most_mib(count: int) -> Iterator[None]:
    """Fail if this process takes more memory meanwhile, at its highest."""
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    before = peak_kib()
    yield
    assert peak_kib() - before < count * 1024


def peak_kib() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@pytest.fixture
def video(clip: GetClip, tmp_path: Path) -> str:
    return str(shutil.copy(clip("h264_idr_mp4").path, tmp_path / "video.mp4"))


def assert_same(found: Any, expected: Any) -> None:
    assert found.info == expected.info
    assert found.columns_crc32 == expected.columns_crc32
    assert np.array_equal(found.timestamp, expected.timestamp)


class TestCounts:
    @pytest.mark.parametrize("name", BOMBS)
    def test_more_samples_than_the_file_can_hold(self, name: str, clip: GetClip, tmp_path: Path) -> None:
        path = tmp_path / "bomb.mp4"
        path.write_bytes(bombs(clip)[name])
        with at_most_mib(100), pytest.raises((LimitExceededError, CorruptMediaError)) as caught:
            batch_decode([MediaRef(str(path), 0)])
        assert isinstance(caught.value, LimitExceededError), caught.value
        assert "announces" in str(caught.value)

    def test_a_compressed_movie_box(self, clip: GetClip, tmp_path: Path) -> None:
        import zlib

        data = forged(clip("h264_idr_mp4").path.read_bytes(), SAMPLES)
        at = data.find(b"moov") - 4
        movie = data[at : at + int.from_bytes(data[at : at + 4], "big")]
        packed = box(b"cmvd", numbers(len(movie)) + zlib.compress(movie))
        path = tmp_path / "bomb.mov"
        path.write_bytes(data[:at] + box(b"moov", box(b"cmov", box(b"dcom", b"zlib") + packed)))
        with at_most_mib(100), pytest.raises(LimitExceededError, match="announces"):
            batch_decode([MediaRef(str(path), 0)])

    def test_a_list_of_key_frames_and_an_index_of_half_gigabytes(self, clip: GetClip, tmp_path: Path) -> None:
        flv = clip("flv1_flv").path.read_bytes()
        for name, data in (("a.avi", avi_bomb()), ("b.flv", flv_bomb(flv))):
            (tmp_path / name).write_bytes(data)
            with at_most_mib(100), pytest.raises(LimitExceededError, match="announces"):
                batch_decode([MediaRef(str(tmp_path / name), 0)])

    def test_pictures_that_only_decoding_tells_the_size_of(self, tmp_path: Path, clip: GetClip) -> None:
        video = str(clip("h264_idr_mp4").path)
        with pytest.raises(LimitExceededError, match="at most 100 pixels, found 96x64.*max_pixels="):
            scan_uri(video, LocalStore(), ScanOptions(max_pixels=100))
        path = tmp_path / "large.mkv"
        encode_gray(path, 7_000, 5_000)
        with pytest.raises(LimitExceededError, match=r"at most 33177600 pixels.*max_pixels="):
            batch_decode([MediaRef(str(path), 0)])
        found = batch_decode([MediaRef(str(path), 0)], max_pixels=35_000_000, colorspace="G")[0]
        assert found.shape == (5_000, 7_000, 1)


def encode_gray(path: Path, width: int, height: int) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        frame = av.VideoFrame(width, height, "gray")
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


class TestChild:
    @pytest.mark.parametrize(
        "name", ["h264_idr_mp4", "hevc_open_gop_mp4", "h264_mkv", "h264_ts", "mpeg4_avi", "vp9_alt_ref_webm"]
    )
    def test_finds_what_a_scan_here_finds(self, name: str, clip: GetClip) -> None:
        path = str(clip(name).path)
        assert_same(scan_video(path, LocalStore(), UNTRUSTED), scan_uri(path, LocalStore()))

    def test_reads_through_any_store(self, video: str, tmp_path: Path) -> None:
        data = Path(video).read_bytes()
        expected = scan_uri(video, LocalStore())
        held = scan_video("mem://a", MemoryStore({"mem://a": data}), UNTRUSTED)
        assert held.info == replace(expected.info, uri="mem://a", etag=held.info.etag)
        with ObjectServer({"/a.mp4": data}) as server:
            uri = server.url("/a.mp4?token=secret")
            options = {"untrusted": True, "allow_private_hosts": True}
            frames = batch_decode([MediaRef(uri, 0)], **options)  # type: ignore[arg-type]
            assert np.array_equal(frames[0], linear_frames(Path(video))[0].rgb)
            assert scan_video(uri, cached(open_store(uri)), UNTRUSTED).info.uri == uri

    def test_errors_are_those_of_a_scan_here(self, clip: GetClip, tmp_path: Path) -> None:
        (tmp_path / "text.mp4").write_text("no video")
        (tmp_path / "empty.mp4").touch()
        for name, kind in (("text.mp4", UnsupportedMediaError), ("empty.mp4", CorruptMediaError)):
            path = str(tmp_path / name)
            with pytest.raises(kind) as caught:
                scan_video(path, LocalStore(), UNTRUSTED)
            assert caught.value.uri == path
            assert not str(caught.value).startswith("video:")

    def test_errors_of_the_store_come_through(self, video: str) -> None:
        class Failing(MemoryStore):
            def get_ranges(self, uri: str, ranges: Any) -> list[bytes]:
                raise StoreError("out of order", uri=uri)

        with pytest.raises(StoreError, match="out of order"):
            scan_video("mem://a", Failing({"mem://a": Path(video).read_bytes()}), UNTRUSTED)

    @pytest.mark.parametrize(
        ("limits", "says"),
        [
            (IndexLimits(max_seconds=0.02), r"longer than 0.02 s.*IndexLimits\(max_seconds=\)"),
            (IndexLimits(max_packets=10), r"at most 10 packets.*IndexLimits\(max_packets=\)"),
        ],
    )
    def test_limits_are_kept_and_can_be_raised(self, limits: IndexLimits, says: str, video: str) -> None:
        refs = [MediaRef(video, 0)]
        with pytest.raises(LimitExceededError, match=says):
            batch_decode(refs, untrusted=True, index_limits=limits)
        with pytest.raises(LimitExceededError, match=says):
            LazyVideo(video, untrusted=True, index_limits=limits)
        with pytest.raises(LimitExceededError, match=says):
            PyAVVideoDecoder(video, untrusted=True, index_limits=limits)
        with pytest.raises(LimitExceededError, match=says):
            refs[0].to_ndarray(index_limits=limits)  # also without the switch
        assert batch_decode(refs, untrusted=True)[0].shape
        assert batch_decode(refs, untrusted=True, index_limits=IndexLimits(max_seconds=30))[0].shape

    def test_memory_is_limited(self, tmp_path: Path) -> None:
        path = tmp_path / "large.mkv"
        encode_gray(path, 7_000, 4_000)  # 28 million pixels: 28 MB as it is decoded, 84 MB in colours
        refs = [MediaRef(str(path), 0)]
        with pytest.raises((LimitExceededError, CorruptMediaError), match="index_limits="):
            batch_decode(refs, untrusted=True, index_limits=IndexLimits(max_memory_bytes=40 << 20))
        assert batch_decode(refs, untrusted=True, colorspace="G")[0].shape == (4_000, 7_000, 1)

    def test_an_index_spares_the_child(self, video: str, monkeypatch: pytest.MonkeyPatch) -> None:
        write_frame_index(video)
        monkeypatch.setattr(guarded, "_Scan", None)
        assert batch_decode([MediaRef(video, 0)], untrusted=True)[0].shape
        assert len(LazyVideo.from_uri(video, untrusted=True)[:2]) == 2

    def test_trusted_videos_are_scanned_here(self, video: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(guarded, "_Scan", None)
        assert len(scan_video(video, LocalStore(), TRUSTED))

    def test_a_slow_store_does_not_outlast_the_deadline(self, video: str) -> None:
        class Slow(MemoryStore):
            def get_ranges(self, uri: str, ranges: Any) -> list[bytes]:
                time.sleep(2)
                return super().get_ranges(uri, ranges)

        class Far:
            """Hides that it is at hand."""

            def __init__(self, inner: MemoryStore) -> None:
                self.head, self.get_ranges = inner.head, inner.get_ranges

        store: Any = Far(Slow({"far://a": Path(video).read_bytes()}))
        began = time.monotonic()
        with pytest.raises(LimitExceededError, match="longer than 0.8 s"):
            scan_video("far://a", store, Access(index_limits=IndexLimits(max_seconds=0.8)))
        assert time.monotonic() - began < 1.9

    def test_many_threads_and_a_forked_process(self, video: str) -> None:
        from concurrent.futures import ThreadPoolExecutor

        expected = scan_uri(video, LocalStore())
        with ThreadPoolExecutor(4) as pool:
            for found in pool.map(lambda _: scan_video(video, LocalStore(), UNTRUSTED), range(4)):
                assert_same(found, expected)
        with multiprocessing.get_context("fork").Pool(1) as forked:
            assert_same(forked.apply(scan_video, (video, LocalStore(), UNTRUSTED)), expected)


class TestWhatTheChildIsGiven:
    def run(self, code: str, monkeypatch: pytest.MonkeyPatch, **limits: float) -> Any:
        """Put other code in the child's place, and scan eight bytes."""
        monkeypatch.setattr(guarded, "_PROGRAM", f"import sys; sys.stdin.buffer.readline()\n{code}")
        store = MemoryStore({"mem://a": b"12345678"})
        failed_scans.close()  # the bytes are always the same
        return scan_video("mem://a", store, Access(index_limits=IndexLimits(**limits)))  # type: ignore[arg-type]

    def test_no_files_no_secrets(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
        seen = tmp_path / "seen"
        reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        code = (
            "import os\n"
            "fds = [n for n in os.listdir('/proc/self/fd') if os.path.exists('/proc/self/fd/' + n)]\n"
            f"open({str(seen)!r}, 'w').write(repr((sorted(fds), sys.argv, dict(os.environ))))"
        )
        try:
            with pytest.raises(CorruptMediaError):
                self.run(code, monkeypatch)
        finally:
            os.close(reader)
            os.close(writer)
        fds, argv, environment = eval(seen.read_text())
        assert (fds, argv) == (["0", "1", "2"], ["-c"])
        assert "a secret" not in str(environment)
        assert not any(name.startswith(("AWS", "PYTEST", "MEDIAREF")) for name in environment)

    def test_it_is_ended_at_the_deadline(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        place = tmp_path / "pid"
        code = f"import os, time\nopen({str(place)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
        began = time.monotonic()
        with pytest.raises(LimitExceededError, match="max_seconds="):
            self.run(code, monkeypatch, max_seconds=0.5)
        assert time.monotonic() - began < 3
        with pytest.raises(ProcessLookupError):
            os.kill(int(place.read_text()), 0)

    def test_the_limits_that_the_system_keeps(self) -> None:
        import subprocess
        import sys

        code = (
            "import resource; from mediaref_ursa._scan.sandbox.child import _limit_this_process\n"
            "_limit_this_process(1.5, 100 << 20)\n"
            "print(*(resource.getrlimit(r)[0] for r in (resource.RLIMIT_CPU, resource.RLIMIT_FSIZE)))\n"
            "try:\n    bytearray(200 << 20)\nexcept MemoryError:\n    print('refused')\n"
            "bytearray(50 << 20)\n"
            "while True: pass"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=30
        )
        assert done.stdout.split() == ["2", "0", "refused"]
        assert done.returncode in (-signal.SIGXCPU, -signal.SIGKILL)

    @pytest.mark.parametrize(
        "answer",
        [
            "b'garbage that is no message at all'",
            "b'\\xff' * 64",
            "message(b'5')",
            "message(b'{\"read\": [[0, 9]]}')",
            "message(b'{\"read\": [[-1, 2]]}')",
            "message(b'{\"read\": [[0, 2, 3]]}')",
            "message(b'{\"read\": 5}')",
            "message(b'{\"read\": [[0, 1e400]]}')",
            "message(b'{\"read\": [' + b'[0, 0], ' * 70000 + b'[0, 0]]}')",
            'message(b\'{"metadata": "x"}\')',
            "message(b'{}')",
            'message(b\'{"error": "SystemExit", "message": "x"}\')',
            'message(b\'{"error": "_rebuild", "message": "x"}\')',
            "message(b'[' * 100000)",
            "b''",
        ],
    )
    def test_what_it_answers_is_checked(self, answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
        code = (
            "import struct\n"
            "def message(text): return struct.pack('<QQ', len(text), 0) + text\n"
            f"sys.stdout.buffer.write({answer})\nsys.stdout.buffer.flush()\nsys.stdin.buffer.read(1)"
        )
        with pytest.raises(CorruptMediaError) as caught:
            self.run(code, monkeypatch, max_seconds=20)
        assert caught.value.uri == "mem://a"

    def test_a_crash_is_an_error(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(CorruptMediaError, match=r"status -11"):
            self.run("import os\nos.kill(os.getpid(), 11)", monkeypatch)
        with pytest.raises(LimitExceededError, match="max_memory_bytes="):
            self.run("import os\nos.kill(os.getpid(), 9)", monkeypatch)


def test_a_table_goes_over_as_it_is(video: str) -> None:
    table = scan_uri(video, LocalStore())
    header, parts = encode_table(replace(table, info=replace(table.info, uri="video")))
    found = decode_table(header, b"".join(parts))
    assert_same(replace(found, info=replace(found.info, uri=video)), table)
    for wrong in (b"".join(parts)[:-1], b"".join(parts) + b"\0", b""):
        with pytest.raises((ValueError, MediaRefError)):
            decode_table(header, wrong)


def test_limits_survive_pickling() -> None:
    limits = IndexLimits(max_seconds=3)
    assert pickle.loads(pickle.dumps(limits)) == limits == mediaref_ursa.IndexLimits(max_seconds=3.0)


def test_a_hostile_server_that_drips(video: str) -> None:
    with ObjectServer({"/a.mp4": Path(video).read_bytes()}) as server:
        uri = server.url("/a.mp4")
        assert server.put("/a.mp4", Path(video).read_bytes()) == uri
        server.fail_next(Fault(), Fault(delay_seconds=1.5, methods=("GET",)))
        began = time.monotonic()
        with pytest.raises(LimitExceededError, match="max_seconds="):
            LazyVideo(uri, index_limits=IndexLimits(max_seconds=0.7))
        assert time.monotonic() - began < 1.6


def test_the_child_imports_nothing_from_where_it_is_started(
    clip: Callable[[str], Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = clip("h264_idr_mp4").path.absolute()
    for name in ("json", "numpy", "av"):
        (tmp_path / f"{name}.py").write_text("open('imported', 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    frames = batch_decode([MediaRef(str(path), 0)], untrusted=True)
    assert frames[0].shape == (64, 96, 3)
    assert not (tmp_path / "imported").exists()

"""Indexing where the media lies: which stream, and how little of a remote file is read."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import pytest
from _containers import Sample, length_prefixed, padded, remux
from _encoding import Encoding, encode, make_picture
from _http_server import ObjectServer
from _media import CLIP_NAMES, Clip, describe_clip
from _oracle import linear_frames
from _special_clips import H264_IDR, x264
from _tables import PATIENT
from hypothesis import given, settings
from hypothesis import strategies as st

from mediaref_ursa import MediaRef, batch_decode, write_frame_index
from mediaref_ursa._containers.mp4 import media_extents
from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.errors import FrameIndexInvalidError, UnsupportedMediaError
from mediaref_ursa._model.index_metadata import decode_metadata, encode_metadata
from mediaref_ursa._model.segment import FULL, SPARSE, UNKNOWN, SegmentTable
from mediaref_ursa._pyav import demux
from mediaref_ursa._pyav.demuxed_packets import demuxed_packets
from mediaref_ursa._scan.options import ScanOptions
from mediaref_ursa._scan.scan_segment import scan_segment
from mediaref_ursa._scan.scan_uri import scan_uri
from mediaref_ursa.store import store_for
from mediaref_ursa.store._file_object import FileObjectStore
from mediaref_ursa.video_decoder import PyAVVideoDecoder

pytestmark = pytest.mark.skipif(
    int(av.__version__.split(".")[0]) < 17, reason="older PyAV does not tell what a sparse scan needs"
)

ClipFixture = Callable[[str], Clip]


def test_a_stream_of_several_is_indexed(clip: ClipFixture) -> None:
    uri = str(clip("two_videos_mp4").path)
    first, second, best = (
        scan_uri(uri, store_for(uri), ScanOptions(stream_index=0)),
        scan_uri(uri, store_for(uri), ScanOptions(stream_index=1)),
        scan_uri(uri, store_for(uri)),
    )
    assert (first.info.stream_index, second.info.stream_index, best.info.stream_index) == (0, 1, None)
    assert (second.info.width, second.info.height) == (128, 96) != (first.info.width, first.info.height)
    assert not set(first.packets.crc32.tolist()) & set(second.packets.crc32.tolist())
    np.testing.assert_array_equal(best.packets.crc32, second.packets.crc32)


@pytest.mark.parametrize("stream_index", [2, -1, 99])
def test_a_stream_that_is_not_there_is_named_with_those_that_are(
    clip: ClipFixture, stream_index: int
) -> None:
    uri = str(clip("two_videos_mp4").path)
    with pytest.raises(UnsupportedMediaError, match=r"one of \[0, 1\], found " + str(stream_index)):
        scan_uri(uri, store_for(uri), ScanOptions(stream_index=stream_index))


@pytest.mark.parametrize(
    ("name", "stream_index", "videos"),
    [
        ("cover_mp4", 1, [0]),
        ("cover_mkv", 1, [0]),
        ("audio_and_video_mp4", 0, [1]),
        ("audio_only_mp4", 0, []),
    ],
)
def test_covers_and_sound_are_no_video_streams(
    clip: ClipFixture, name: str, stream_index: int, videos: list[int]
) -> None:
    uri = str(clip(name).path)
    with pytest.raises(UnsupportedMediaError) as caught:
        scan_uri(uri, store_for(uri), ScanOptions(stream_index=stream_index))
    assert f"one of {videos}, found {stream_index}" in str(caught.value)


def test_the_stream_is_recorded_in_the_index(clip: ClipFixture) -> None:
    uri = str(clip("two_videos_mp4").path)
    for stream_index in (None, 0):
        table = scan_uri(uri, store_for(uri), ScanOptions(stream_index=stream_index))
        text = encode_metadata([table], f"{uri}.lance")
        assert decode_metadata(text, f"{uri}.lance")[0].info.stream_index == stream_index


@pytest.mark.parametrize("value", [-1, 2**31, "x", [1]])
def test_a_stream_index_that_none_can_have_is_refused(clip: ClipFixture, value: object) -> None:
    uri = str(clip("two_videos_mp4").path)
    text = json.loads(encode_metadata([scan_uri(uri, store_for(uri))], f"{uri}.lance"))
    text["segments"][0]["stream_index"] = value
    with pytest.raises(FrameIndexInvalidError):
        decode_metadata(json.dumps(text), f"{uri}.lance")


def test_packets_of_a_chosen_stream_come_through_a_demuxer(clip: ClipFixture) -> None:
    path = Path(clip("two_videos_mp4").path)
    table = scan_uri(str(path), store_for(str(path)), ScanOptions(stream_index=0))
    media = path.read_bytes()
    reader = RangeReader(lambda offset, length: media[offset : offset + length], len(media))
    rows = np.arange(len(table.packets))
    assert len(list(demuxed_packets(reader, table, rows))) == len(rows)


# --- a sparse scan and a full one -------------------------------------------------------------------

MP4_NAMES = [name for name in CLIP_NAMES if describe_clip(name, Path()).container in ("mp4", "mov")]
HEVC = Encoding(
    "libx265",
    "mp4",
    "mp4",
    "hevc",
    {"x265-params": "log-level=none:pools=none:keyint=12:min-keyint=12:scenecut=0:bframes=4:b-adapt=0"},
)
SEEN_AS_SUCH = {
    "h264_mbaff_mp4": "interlaced",
    "h264_fragmented_mp4": "moov alone",
    "h263_mov": "heads of h263",
    "png_alpha_mov": "heads of png",
    "qtrle_mov": "heads of qtrle",
    "h264_all_flagged_mp4": "no random access points",
    "hevc_all_flagged_mp4": "no random access points",
    "mpeg4_all_flagged_mp4": "no random access points",
    "mpeg2_all_flagged_mp4": "no random access points",
}
"""Clips of which the heads of flagged packets do not tell enough, and why."""


class CountedFile:
    """Bytes of which ranges are read; remembers which."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.read: list[tuple[int, int]] = []

    def reader(self, **options: int) -> RangeReader:
        return RangeReader(
            lambda offset, length: self.ranges([(offset, length)])[0],
            len(self.data),
            read_ranges=self.ranges,
            **options,
        )

    def ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        self.read += ranges
        return [self.data[offset : offset + length] for offset, length in ranges]

    @property
    def bytes_read(self) -> int:
        return sum(length for _, length in self.read)

    def with_nonsense_where_nothing_was_read(self) -> bytes:
        """Return the file with other bytes wherever it was never looked at."""
        nonsense = bytearray(np.random.default_rng(0).bytes(len(self.data)))
        for offset, length in self.read:
            nonsense[offset : offset + length] = self.data[offset : offset + length]
        return bytes(nonsense)


def sparse_scan(path: Path, full: bool | None = False) -> SegmentTable:
    return scan_segment(
        CountedFile(path.read_bytes()).reader(), uri=str(path), options=ScanOptions(full=full)
    )


def full_scan(path: Path) -> SegmentTable:
    return scan_segment(CountedFile(path.read_bytes()).reader(), uri=str(path))


def assert_same_frames(sparse: SegmentTable, full: SegmentTable) -> None:
    for name in ("pts", "duration", "timestamp", "start", "packet"):
        np.testing.assert_array_equal(getattr(sparse, name), getattr(full, name), err_msg=name)
    for name in ("offset", "size", "is_keyframe", "is_corrupt"):
        np.testing.assert_array_equal(
            getattr(sparse.packets, name), getattr(full.packets, name), err_msg=name
        )
    if sparse.info.verified == SPARSE:
        assert sparse.info == replace(full.info, verified=SPARSE, restartable=False)
        assert (sparse.packets.crc32 == UNKNOWN).all()
        assert (sparse.packets.is_reference == UNKNOWN).all()
    else:
        assert sparse.info == full.info
        np.testing.assert_array_equal(sparse.packets.crc32, full.packets.crc32)


@pytest.fixture
def small_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep FFmpeg from reading a whole small file ahead while it opens it."""
    monkeypatch.setattr(demux, "_BUFFER_BYTES", 4096)


@pytest.mark.parametrize("name", MP4_NAMES)
def test_a_sparse_scan_tells_the_frames_of_a_full_one(
    name: str, clip: ClipFixture, small_buffers: None
) -> None:
    path = clip(name).path
    sparse = sparse_scan(path)
    assert_same_frames(sparse, full_scan(path))
    assert sparse.info.verified == (FULL if name in SEEN_AS_SUCH else SPARSE)


def test_a_sparse_scan_of_real_files(shared_media: Path, small_buffers: None) -> None:
    paths = [path for path in shared_media.iterdir() if path.suffix in (".mp4", ".mov")]
    assert paths
    for path in paths:
        assert_same_frames(sparse_scan(path), full_scan(path))


LONG = {
    "h264": x264("keyint=12:min-keyint=12:scenecut=0:bframes=3"),
    "h264_open_gop": x264("keyint=12:min-keyint=12:scenecut=0:open-gop=1:bframes=3:b-adapt=0"),
    "h264_slices": x264("keyint=24:min-keyint=24:scenecut=0:slices=4:bframes=3"),
    "h264_edit_list": replace(H264_IDR, ticks=lambda number: number - 6),
    "hevc": HEVC,
    "vp9": Encoding("libvpx-vp9", "mp4", "mp4", "vp9", {"deadline": "realtime", "cpu-used": "8", "g": "32"}),
    "av1": Encoding(
        "libsvtav1", "mp4", "mp4", "av1", {"preset": "12", "crf": "40", "g": "32", "svtav1-params": "lp=1"}
    ),
    "mpeg2": Encoding("mpeg2video", "mp4", "mp4", "mpeg2video", {"qmax": "6"}, gop=12, b_frames=2),
    "mpeg4": Encoding("mpeg4", "mp4", "mp4", "mpeg4", {"qmax": "6"}, gop=12, b_frames=2),
    "mjpeg": Encoding("mjpeg", "mov", "mov", "mjpeg", pixel_format="yuvj420p"),
}
"""Videos of which FFmpeg reads no more than the beginning when it opens them."""


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("long")

    def get(name: str) -> Path:
        path = folder / f"{name}.{LONG[name].suffix}"
        if not path.exists():
            encode(path, replace(LONG[name], count=400, picture=lambda n, w, h: make_picture(n % 250, w, h)))
        return path

    return get


@pytest.mark.parametrize("name", list(LONG))
def test_what_was_not_read_does_not_count(
    name: str,
    long_video: Callable[[str], Path],
    tmp_path: Path,
    small_buffers: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bytes of the media that a sparse scan leaves out may be any."""
    monkeypatch.setattr("mediaref_ursa._containers.range_file._BLOCK_BYTES", 4096)
    monkeypatch.setattr("mediaref_ursa._scan.packet_prefixes.GAP_BYTES", 0)
    monkeypatch.setattr("mediaref_ursa._scan.packet_prefixes.PREFIX_BYTES", 512)
    path = long_video(name)
    file = CountedFile(path.read_bytes())
    sparse = scan_segment(file.reader(), uri=str(path), options=ScanOptions(full=False))
    assert sparse.info.verified == SPARSE
    assert_same_frames(sparse, full_scan(path))
    altered = file.with_nonsense_where_nothing_was_read()
    assert altered != file.data
    again = scan_segment(CountedFile(altered).reader(), uri=str(path), options=ScanOptions(full=False))
    assert again.info == sparse.info
    assert again.columns_crc32 == sparse.columns_crc32


# --- containers that lie ----------------------------------------------------------------------------


def assert_no_false_start(sparse: SegmentTable, full: SegmentTable) -> None:
    """Frames are those of a full scan; decoding begins at its random access points, perhaps earlier."""
    for name in ("pts", "duration", "packet"):
        np.testing.assert_array_equal(getattr(sparse, name), getattr(full, name))
    for name in ("offset", "size"):
        np.testing.assert_array_equal(getattr(sparse.packets, name), getattr(full.packets, name))
    assert set(sparse.start.tolist()) <= set(full.start.tolist()) | {0}
    assert (sparse.start <= full.start).all()


@settings(PATIENT, max_examples=12)
@given(data=st.data())
def test_flags_at_random(
    data: st.DataObject, long_video: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a container flags, no false random access point comes of it."""
    name = data.draw(st.sampled_from(["h264", "h264_open_gop", "hevc", "mpeg2"]), label="video")
    toggled = data.draw(st.sets(st.integers(0, 399), max_size=8), label="flags that are wrong")
    source = long_video(name)
    path = remux(
        source,
        tmp_path_factory.mktemp("flags") / source.name,
        lambda sample: (sample.data, sample.is_keyframe != (sample.number in toggled)),
    )
    full, sparse = full_scan(path), sparse_scan(path)
    assert_no_false_start(sparse, full)
    flagged = {*np.flatnonzero(full_scan(source).packets.is_keyframe).tolist()} ^ toggled
    if sparse.info.verified == SPARSE:
        assert set(full.start.tolist()) & flagged <= set(sparse.start.tolist())
    assert_exact(path, sparse)


def test_a_leading_picture_that_is_flagged(long_video: Callable[[str], Path], tmp_path: Path) -> None:
    """It was left out where the first packet was not flagged, as if the video began after it."""
    source, path = long_video("hevc"), tmp_path / "video.mp4"
    toggled = {0, 12}
    remux(source, path, lambda sample: (sample.data, sample.is_keyframe != (sample.number in toggled)))
    full, sparse = full_scan(path), sparse_scan(path)
    assert full.packets.is_keyframe[[0, 11, 12]].tolist() == [False, True, True]
    assert 12 in full.packet
    assert_same_frames(sparse, full)


def assert_exact(path: Path, table: SegmentTable) -> None:
    """Hold a few frames, decoded by a table, against a linear decode."""
    truth = linear_frames(path)
    assert table.pts.tolist() == [frame.pts for frame in truth]
    text = path.read_bytes()
    from mediaref_ursa._model.pixels import PixelSpec
    from mediaref_ursa._model.segment import EncodedPacket
    from mediaref_ursa._pyav.codec import decode_packets, open_context
    from mediaref_ursa._pyav.convert import FrameConverter

    for number in range(0, len(truth), 37):
        first, last = int(table.start[number]), int(table.packet[number])
        rows = range(first, last + 1)
        packets = [
            EncodedPacket(row, text[table.packets.offset[row] :][: table.packets.size[row]], row == first)
            for row in rows
        ]
        found = dict(decode_packets(open_context(table.info), packets, table.info, set()))
        rgb = FrameConverter(PixelSpec()).convert(found[last], table.info.rotation, uri="")
        np.testing.assert_array_equal(rgb, truth[number].rgb)


def test_many_false_flags_cost_little(long_video: Callable[[str], Path], tmp_path: Path) -> None:
    """A file that flags every packet is given up on soon, and read whole."""
    path = remux(long_video("h264"), tmp_path / "video.mp4", lambda sample: (sample.data, True))
    sparse = sparse_scan(path)
    assert sparse.info.verified == FULL
    assert_same_frames(sparse, full_scan(path))


END_OF_SEQUENCE, CRA, BLA = b"\x48\x01", 21, 16


def test_an_end_of_sequence_before_an_open_group(long_video: Callable[[str], Path], tmp_path: Path) -> None:
    """Decoders skip the pictures that lead the next group; only the packet before says so."""
    begins = int(full_scan(long_video("hevc")).random_access_points[12])

    def change(sample: Sample) -> tuple[bytes, bool]:
        tail = length_prefixed(END_OF_SEQUENCE) if sample.number == begins - 1 else b""
        return sample.data + tail, sample.is_keyframe

    path = remux(long_video("hevc"), tmp_path / "video.mp4", change)
    full = full_scan(path)
    assert len(full) < 400
    assert_same_frames(sparse_scan(path), full)


def test_a_broken_link(long_video: Callable[[str], Path], tmp_path: Path) -> None:
    begins = int(full_scan(long_video("hevc")).random_access_points[12])

    def change(sample: Sample) -> tuple[bytes, bool]:
        at = sample.data.find(bytes([CRA << 1, 1])) if sample.number == begins else -1
        data = sample.data if at < 0 else sample.data[:at] + bytes([BLA << 1]) + sample.data[at + 1 :]
        return data, sample.is_keyframe

    path = remux(long_video("hevc"), tmp_path / "video.mp4", change)
    full = full_scan(path)
    assert len(full) < 400
    assert_same_frames(sparse_scan(path), full)


def test_packets_that_hold_no_picture(long_video: Callable[[str], Path], tmp_path: Path) -> None:
    def change(sample: Sample) -> tuple[bytes, bool]:
        is_delimiter = sample.number == 203
        return length_prefixed(b"\x09\xf0") if is_delimiter else sample.data, sample.is_keyframe

    path = remux(long_video("h264"), tmp_path / "video.mp4", change)
    full = full_scan(path)
    assert len(full) == 399
    assert_same_frames(sparse_scan(path), full)


def test_parameter_sets_that_come_with_flagged_packets(
    long_video: Callable[[str], Path], tmp_path: Path
) -> None:
    """A set that is sent once and stays in force rules out the groups after it, as in a full scan."""
    extra = b"\x68\x58\xf2\x3c\xb2\x2c"  # a picture parameter set of a number that nobody uses

    def change(sample: Sample) -> tuple[bytes, bool]:
        return (length_prefixed(extra) if sample.number == 144 else b"") + sample.data, sample.is_keyframe

    path = remux(long_video("h264"), tmp_path / "video.mp4", change)
    full = full_scan(path)
    assert full.random_access_points.max() == 144
    sparse = sparse_scan(path)
    assert_same_frames(sparse, full)


def test_parameter_sets_that_come_between(
    long_video: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against ISO/IEC 14496-15; where one lies in a stretch that is read, all of the file is."""
    extra = b"\x68\x58\xf2\x3c\xb2\x2c"
    monkeypatch.setattr("mediaref_ursa._scan.sparse._STRETCHES_SHARE", 1)

    def change(sample: Sample) -> tuple[bytes, bool]:
        return (length_prefixed(extra) if sample.number == 3 else b"") + sample.data, sample.is_keyframe

    path = remux(long_video("h264"), tmp_path / "video.mp4", change)
    sparse = sparse_scan(path)
    assert sparse.info.verified == FULL
    assert_same_frames(sparse, full_scan(path))


@pytest.mark.parametrize("name", ["h264_faststart_mp4", "h264_idr_mp4"])
def test_files_that_are_cut_short_are_read_whole(name: str, clip: ClipFixture, tmp_path: Path) -> None:
    data = clip("h264_faststart_mp4").path.read_bytes()
    path = tmp_path / "short.mp4"
    path.write_bytes(data[: len(data) * 2 // 3])
    sparse = sparse_scan(path)
    assert sparse.info.cut_short
    assert_same_frames(sparse, full_scan(path))


def box(kind: bytes, content: bytes = b"", *, wide: bool = False, size: int | None = None) -> bytes:
    if wide:
        return b"\0\0\0\1" + kind + (16 + len(content)).to_bytes(8, "big") + content
    return (8 + len(content) if size is None else size).to_bytes(4, "big") + kind + content


@pytest.mark.parametrize(
    ("file", "extents"),
    [
        (box(b"ftyp", b"x" * 8) + box(b"mdat", b"y" * 5) + box(b"moov"), ((24, 29),)),
        (box(b"moov") + box(b"mdat", b"y" * 5, wide=True) + box(b"mdat", b"z"), ((24, 29), (37, 38))),
        (box(b"moov") + box(b"mdat", b"y" * 5, size=0), ((16, 21),)),
        (box(b"moov"), ()),
        (box(b"mdat", b"y"), None),
        (box(b"moov") + box(b"moof") + box(b"mdat", b"y"), None),
        (box(b"moov") + box(b"mdat", b"y", size=100), None),
        (box(b"moov") + box(b"mdat", b"y", size=4), None),
        (box(b"moov") + b"junk", None),
        (box(b"moov") + box(b"free") * 300, None),
        (b"", None),
    ],
)
def test_where_the_media_of_a_file_lies(file: bytes, extents: tuple[tuple[int, int], ...] | None) -> None:
    assert media_extents(len(file), lambda offset, length: file[offset : offset + length]) == extents


def test_samples_outside_the_media_are_read_whole(clip: ClipFixture, tmp_path: Path) -> None:
    """A box of another kind may hold them; then nothing may be left out."""
    path = tmp_path / "video.mp4"
    data = clip("h264_idr_mp4").path.read_bytes()
    path.write_bytes(data.replace(b"mdat", b"skip", 1))
    sparse = sparse_scan(path)
    assert sparse.info.verified == FULL
    assert_same_frames(sparse, full_scan(path))


@pytest.mark.parametrize(("value", "verified"), [("sparse", SPARSE), ("full", FULL), (None, FULL), (7, FULL)])
def test_what_was_read_is_recorded(value: object, verified: str, clip: ClipFixture) -> None:
    uri = str(clip("h264_idr_mp4").path)
    table = scan_uri(uri, store_for(uri), ScanOptions(full=False))
    text = encode_metadata([table], f"{uri}.lance")
    assert decode_metadata(text, f"{uri}.lance")[0].info.verified == SPARSE
    metadata = json.loads(text)
    metadata["segments"][0]["verified"] = value
    assert decode_metadata(json.dumps(metadata), f"{uri}.lance")[0].info.verified == verified


# --- over http --------------------------------------------------------------------------------------


def bytes_sent(server: ObjectServer) -> int:
    """Return how many bytes of ranges a server was asked for."""
    asked = [re.fullmatch(r"bytes=(\d+)-(\d+)", r.headers.get("Range", "")) for r in server.seen]
    return sum(int(match[2]) + 1 - int(match[1]) for match in asked if match)


@pytest.fixture(scope="module")
def large_video(long_video: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return padded(long_video("h264"), tmp_path_factory.mktemp("large") / "video.mp4", 80_000)


def test_little_of_a_remote_video_is_read(large_video: Path) -> None:
    data = large_video.read_bytes()
    full = full_scan(large_video)
    with ObjectServer({"/video.mp4": data}) as server:
        uri = server.url("/video.mp4")
        index = write_frame_index(uri)
        moved = bytes_sent(server)
        assert_same_frames(
            index.segment_table(0),
            replace(full, info=replace(full.info, uri=uri, etag=index.segments[0].etag)),
        )
        assert index.segments[0].verified == SPARSE
        assert moved < len(data) / 3
        truth = linear_frames(large_video)
        refs = [MediaRef(uri, round(truth[i].time * 10**9)) for i in (0, 17, 399)]
        frames = batch_decode(refs, frame_index=index)
        for frame, i in zip(frames, (0, 17, 399), strict=True):
            np.testing.assert_array_equal(frame, truth[i].rgb)


def test_all_of_it_is_read_when_asked(large_video: Path) -> None:
    data = large_video.read_bytes()
    with ObjectServer({"/video.mp4": data}) as server:
        index = write_frame_index(server.url("/video.mp4"), full=True)
        table = index.segment_table(0)
        assert index.segments[0].verified == FULL
        assert not (table.packets.crc32 == UNKNOWN).any()
        assert len(data) <= bytes_sent(server) <= 1.1 * len(data)
        assert len(server.seen) < 20


def test_local_files_are_read_whole(large_video: Path) -> None:
    uri = str(large_video)
    assert scan_uri(uri, store_for(uri)).info.verified == FULL
    assert scan_uri(uri, store_for(uri), ScanOptions(full=False)).info.verified == SPARSE


def test_little_of_a_file_object_is_read_unless_its_bytes_are_on_this_machine(large_video: Path) -> None:
    class Remote:
        """A file that is neither one of the system nor in memory, as fsspec opens them."""

        def __init__(self, file: BinaryIO) -> None:
            self.read, self.seek, self.tell = file.read, file.seek, file.tell

    with large_video.open("rb") as file:
        sources = (file, io.BytesIO(large_video.read_bytes()), Remote(file))
        tables = [scan_uri("file", FileObjectStore(source)) for source in sources]
        truth = linear_frames(large_video)
        frames = PyAVVideoDecoder(Remote(file)).get_frames_at([0, 17, 399]).data
        for frame, i in zip(frames, (0, 17, 399), strict=True):
            np.testing.assert_array_equal(frame.transpose(1, 2, 0), truth[i].rgb)
    assert [table.info.verified for table in tables] == [FULL, FULL, SPARSE]


def test_small_remote_files_are_read_whole(clip: ClipFixture) -> None:
    """Probing has read most of them already."""
    with ObjectServer({"/video.mp4": clip("h264_idr_mp4").path.read_bytes()}) as server:
        assert write_frame_index(server.url("/video.mp4")).segments[0].verified == FULL


@pytest.mark.parametrize("quota", ["0", "1GB"])
@pytest.mark.parametrize("suffix", ["mkv", "avi", "ts"])
def test_other_containers_are_streamed_once(
    suffix: str,
    quota: str,
    large_video: Path,
    long_video: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No byte is fetched twice but around jumps; requests grow to eight blocks."""
    monkeypatch.setenv("MEDIAREF_URSA_CACHE_LIMIT", quota)
    source, extra = (large_video, 0) if suffix != "avi" else (long_video("mjpeg"), 60_000)
    path = remux(
        source,
        tmp_path / f"video.{suffix}",
        lambda sample: (sample.data + bytes(extra), sample.is_keyframe),
    )
    data = path.read_bytes()
    with ObjectServer({"/video": data}) as server:
        index = write_frame_index(server.url("/video"))
        assert len(index) == 400
        assert bytes_sent(server) <= len(data) + (4 << 20)
        assert len(server.seen) <= 12 + len(data) // (4 << 20)


def test_a_reader_holds_a_bounded_part_of_the_file() -> None:
    file = CountedFile(bytes(100 << 20))
    reader = file.reader(blocks_kept=32, max_blocks_ahead=8)
    with reader.streaming():
        while reader.read(256 << 10):
            assert len(reader._blocks) <= 32
    assert file.bytes_read == len(file.data)
    assert [length >> 20 for _, length in file.read] == [1, 2, 4, *[8] * 11, 5]


def test_only_what_is_read_in_order_is_read_ahead() -> None:
    file = CountedFile(bytes(100 << 20))
    reader = file.reader(blocks_kept=32, max_blocks_ahead=8)
    for block in (0, 1, 2):
        reader.read_at(block << 20, 10)
    with reader.streaming():
        for block in (50, 7, 90, 30):
            reader.read_at(block << 20, 10)
    assert {length >> 20 for _, length in file.read} == {1}

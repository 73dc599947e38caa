"""What a decoder must have seen: no answer depends on what was asked before; all are the linear decode's."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from _containers import Sample, length_prefixed, remux
from _encoding import make_picture
from _history import assert_no_history, wrong_frames
from _oracle import linear_frames
from _tables import Bits, hevc, sei

from mediaref_ursa import LanceFrameIndex, MediaRef, batch_decode, write_frame_index

X264_UUID = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")
SIZE = (96, 64)
COUNT = 40


def encode(
    path: Path, codec: str, options: dict[str, str], *, pixel_format: str = "yuv420p", bit_rate: int = 0
) -> Path:
    """Encode pictures of the test sequence, a start every ten."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, pixel_format
        stream.codec_context.gop_size = 10
        if bit_rate:
            stream.bit_rate = bit_rate
        for number in range(COUNT):
            frame = av.VideoFrame.from_ndarray(make_picture(number, *SIZE), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def in_first_packet(unit: bytes) -> Callable[[Sample], tuple[bytes, bool]]:
    return lambda sample: (unit * (sample.number == 0) + sample.data, sample.is_keyframe)


# --- the encoder's build -------------------------------------------------------------------------


def of_old_x264(source: Path, target: Path) -> Path:
    """Call the encoder an older one: decoders then predict lossless 4:4:4 pictures in its way."""

    def change(sample: Sample) -> tuple[bytes, bool]:
        at = sample.data.find(X264_UUID + b"x264 - core ")
        end = at + len(X264_UUID) + len(b"x264 - core ")
        data = sample.data if at < 0 else sample.data[:end] + b"148" + sample.data[end + 3 :]
        return data, sample.is_keyframe

    return remux(source, target, change)


LOSSLESS = {"preset": "medium", "profile": "high444", "qp": "0", "x264-params": "scenecut=0:8x8dct=1:cabac=0"}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi", "flv"])
def test_the_build_of_x264_stands_in_the_first_packet_only(suffix: str, tmp_path: Path) -> None:
    whole = encode(tmp_path / "new.mp4", "libx264", LOSSLESS, pixel_format="yuv444p")
    path = of_old_x264(whole, tmp_path / f"old.{suffix}")
    new, old = linear_frames(whole), linear_frames(path)
    assert not np.array_equal(new[-1].rgb, old[-1].rgb), "the build must count for decoders"

    assert_no_history(path)

    points = LanceFrameIndex.open(str(path)).segment_table(0).random_access_points
    assert len(points) > 2, "starts are not lost"


# --- film grain ----------------------------------------------------------------------------------


def film_grain(*, is_hevc: bool, persists: bool = True) -> bytes:
    bits = Bits().u(1, 0).u(2, 0).u(1, 0).u(2, 0).u(4, 4).u(3, 0b100).u(8, 0).u(3, 2)
    bits.u(8, 0).u(8, 255).se(120).se(8).se(8)
    message = (19, (bits.u(1, persists) if is_hevc else bits.ue(int(persists))).payload())
    return length_prefixed(hevc(39, sei(message)[1:]) if is_hevc else sei(message))


OPEN_GROUPS = "keyint=10:min-keyint=10:scenecut=0:bframes=3:open-gop=1"


@pytest.mark.parametrize("persists", [True, False])
@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_film_grain_that_persists(codec: str, is_open: bool, persists: bool, tmp_path: Path) -> None:
    """Grain is seeded by a picture's number, which a decoder counts from where it began."""
    is_hevc = codec == "libx265"
    options = {
        "crf": "20",
        f"{codec[3:]}-params": OPEN_GROUPS.replace("open-gop=1", f"open-gop={int(is_open)}"),
    }
    if is_hevc:
        options["x265-params"] += ":log-level=error"
    whole = encode(tmp_path / "whole.mp4", codec, options)
    path = remux(
        whole, tmp_path / "video.mp4", in_first_packet(film_grain(is_hevc=is_hevc, persists=persists))
    )
    assert not np.array_equal(linear_frames(whole)[0].rgb, linear_frames(path)[0].rgb), "grain is shown"
    if persists and is_hevc:  # FFmpeg ends H.264's with the next IDR picture
        assert not np.array_equal(linear_frames(whole)[-1].rgb, linear_frames(path)[-1].rgb)

    assert_no_history(path)


# --- MPEG-4 part 2 -------------------------------------------------------------------------------

USER_DATA, VOP = b"\0\0\1\xb2", b"\0\0\1\xb6"


def without_user_data(data: bytes) -> bytes:
    at = data.find(USER_DATA)
    if at < 0:
        return data
    end = data.find(b"\0\0\1", at + 4)
    return without_user_data(data[:at] + (data[end:] if end >= 0 else b""))


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
def test_the_encoder_of_mpeg4_stands_in_the_first_packet_only(suffix: str, tmp_path: Path) -> None:
    """Decoders choose the inverse transform by it."""
    whole = encode(tmp_path / "whole.avi", "mpeg4", {"bf": "2"}, bit_rate=300_000)

    def change(sample: Sample) -> tuple[bytes, bool]:
        data = without_user_data(sample.data)
        if sample.number == 0:
            at = data.find(VOP)
            data = data[:at] + USER_DATA + b"XviD0046" + data[at:]
        return data, sample.is_keyframe

    path = remux(whole, tmp_path / f"video.{suffix}", change)
    assert not np.array_equal(linear_frames(whole)[-1].rgb, linear_frames(path)[-1].rgb), "it must count"

    assert_no_history(path)
    points = LanceFrameIndex.open(str(path)).segment_table(0).random_access_points
    assert len(points) > 2, "starts are not lost"


def not_coded(vop: bytes, kind: int | None = None) -> bytes:
    """Return a VOP that is not coded, of the time of another one and of its kind, unless one is named."""
    bits = f"{int.from_bytes(vop[:8], 'big'):064b}"
    zero = bits.index("0", 2)
    time_bits = 5  # of 25 ticks a second
    marker = zero + 1 + 1 + time_bits
    head = (bits[:2] if kind is None else f"{kind:02b}") + bits[2 : marker + 1] + "0" + "1"
    head += "0" * (-len(head) % 8)
    return VOP + int(head, 2).to_bytes(len(head) // 8, "big")


@pytest.mark.parametrize("suffix", ["avi", "mkv", "mp4"])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_vops_that_are_not_coded_are_no_starts(kind: int, suffix: str, tmp_path: Path) -> None:
    whole = encode(tmp_path / "whole.avi", "mpeg4", {"bf": "0"}, bit_rate=300_000)

    def change(sample: Sample) -> tuple[bytes, bool]:
        if sample.number % 7 != 5:
            return sample.data, sample.is_keyframe
        vop = sample.data[sample.data.find(VOP) + 4 :]
        return not_coded(vop, kind), True

    path = remux(whole, tmp_path / f"video.{suffix}", change)
    frames = linear_frames(path)
    assert len(frames) < COUNT

    assert_no_history(path)


@pytest.mark.parametrize("marked", [False, True])
def test_packed_vops(marked: bool, tmp_path: Path) -> None:
    """Two VOPs in one packet and one that is not coded in the next: a decoder keeps the second for later."""
    whole = encode(tmp_path / "whole.avi", "mpeg4", {"bf": "2", "b_strategy": "0"}, bit_rate=300_000)
    with av.open(str(whole)) as source:
        stream = source.streams.video[0]
        extradata = bytes(stream.codec_context.extradata or b"")
        packets = [bytes(packet) for packet in source.demux(stream) if packet.size]
    vops = [data[data.find(VOP) + 4 :] for data in packets]
    kinds = [vop[0] >> 6 for vop in vops]
    packed: list[bytes] = []
    for number, data in enumerate(packets):
        if kinds[number] == 2 and kinds[number - 1] != 2:
            packed[-1] += data
        elif kinds[number] == 2:
            packed.append(data)
        else:
            if number and kinds[number - 1] == 2:
                packed.append(not_coded(vops[number - 3 if number >= 3 else 0], 1))
            packed.append(data)
    if marked:
        packed[0] = USER_DATA + b"DivX503b1393p" + packed[0]
    path = tmp_path / "video.avi"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mpeg4", rate=25)
        stream.width, stream.height = SIZE
        stream.codec_context.extradata = extradata or None
        for number, data in enumerate(packed):
            packet = av.Packet(data)
            packet.pts = packet.dts = number
            packet.time_base = Fraction(1, 25)
            packet.is_keyframe = data.find(VOP) >= 0 and data[data.find(VOP) + 4] >> 6 == 0
            packet.stream = stream
            output.mux(packet)

    assert_no_history(path)


# --- start codes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("every", [1, 3])
def test_several_units_under_one_length(codec: str, suffix: str, every: int, tmp_path: Path) -> None:
    """Some cameras do so; decoders split the unit at its start codes."""
    params = "keyint=10:min-keyint=10:scenecut=0:bframes=3:slices=2"
    options = {"crf": "20", f"{codec[3:]}-params": params + ":log-level=error" * (codec == "libx265")}
    whole = encode(tmp_path / "whole.mp4", codec, options)
    delimiter = b"\x09\xf0" if codec == "libx264" else bytes([35 << 1, 1, 0x50])

    def change(sample: Sample) -> tuple[bytes, bool]:
        if sample.number % every:
            return sample.data, sample.is_keyframe
        units, position = [delimiter], 0
        while position < len(sample.data):
            size = int.from_bytes(sample.data[position : position + 4], "big")
            units.append(sample.data[position + 4 : position + 4 + size])
            position += 4 + size
        return length_prefixed(b"\0\0\0\1".join(units)), sample.is_keyframe

    path = remux(whole, tmp_path / f"video.{suffix}", change)

    assert len(assert_no_history(path)) == COUNT


# --- quantiser and entropy tables ----------------------------------------------------------------


def test_tables_of_jpeg_pictures_that_come_once(tmp_path: Path) -> None:
    """Cameras may send the tables with the first picture only."""
    whole = encode(
        tmp_path / "whole.avi", "mjpeg", {"huffman": "default"}, pixel_format="yuvj420p", bit_rate=900_000
    )

    def change(sample: Sample) -> tuple[bytes, bool]:
        data = sample.data
        if sample.number:
            at = data.find(b"\xff\xdb")
            while at >= 0:
                data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
                at = data.find(b"\xff\xdb")
        return data, sample.is_keyframe

    path = remux(whole, tmp_path / "video.avi", change)
    assert_no_history(path)


# --- colours and grain that later headers do not reset -------------------------------------------


def with_display_extension(sample: Sample, number: int) -> tuple[bytes, bool]:
    """Say BT.709 in the sequence display extension of one packet (ISO/IEC 13818-2, 6.2.2.4)."""
    data = sample.data
    if sample.number == number:
        bits = Bits().u(4, 2).u(3, 5).u(1, 1).u(8, 1).u(8, 1).u(8, 1).u(14, 96).u(1, 1).u(14, 64).u(3, 0)
        at = data.index(b"\0\0\1\xb8") if b"\0\0\1\xb8" in data else data.index(b"\0\0\1\0")
        data = data[:at] + b"\0\0\1\xb5" + bits.payload() + data[at:]
    return data, sample.is_keyframe


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize("number", [0, 20])
def test_colours_of_one_sequence_stay_in_force(number: int, suffix: str, tmp_path: Path) -> None:
    """Decoders keep them where later sequence headers say nothing of colours."""
    whole = encode(tmp_path / "whole.mkv", "mpeg2video", {"bf": "2"}, bit_rate=600_000)
    path = remux(whole, tmp_path / f"video.{suffix}", lambda sample: with_display_extension(sample, number))
    assert not np.array_equal(linear_frames(whole)[-1].rgb, linear_frames(path)[-1].rgb), "they must count"

    assert_no_history(path)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_film_grain_of_single_pictures(codec: str, every: int, tmp_path: Path) -> None:
    """It is seeded by a picture's number, which a decoder counts from where it began."""
    is_hevc = codec == "libx265"
    options = {"crf": "20", f"{codec[3:]}-params": OPEN_GROUPS + ":log-level=error" * is_hevc}
    grain = film_grain(is_hevc=is_hevc, persists=False)

    def change(sample: Sample) -> tuple[bytes, bool]:
        return grain * (sample.number % every == 0) + sample.data, sample.is_keyframe

    assert_no_history(remux(encode(tmp_path / "whole.mp4", codec, options), tmp_path / "video.mp4", change))


@pytest.mark.parametrize("number", [0, 20])
def test_comments_that_jpeg_decoders_heed(number: int, tmp_path: Path) -> None:
    whole = encode(
        tmp_path / "whole.avi",
        "mjpeg",
        {"huffman": "default"},
        pixel_format="yuvj420p",
        bit_rate=900_000,
    )
    text = b"Metasoft MJPEG Codec\0"
    comment = b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text

    def change(sample: Sample) -> tuple[bytes, bool]:
        data = sample.data
        return data[:2] + comment * (sample.number == number) + data[2:], sample.is_keyframe

    path = remux(whole, tmp_path / "video.avi", change)
    assert not np.array_equal(linear_frames(whole)[-1].rgb, linear_frames(path)[-1].rgb), "it must count"

    assert_no_history(path)


# --- an index of an earlier version --------------------------------------------------------------


def test_an_index_of_an_earlier_version_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mediaref_ursa._model import index_metadata

    path = of_old_x264(
        encode(tmp_path / "new.mp4", "libx264", LOSSLESS, pixel_format="yuv444p"), tmp_path / "old.mp4"
    )
    with monkeypatch.context() as patch:  # as an earlier version wrote it
        encode_metadata = index_metadata.encode_metadata
        patch.setattr(
            "mediaref_ursa._index.lance_table.encode_metadata",
            lambda tables, uri: (
                encode_metadata(tables, uri)
                .replace('"reader_version": 2', '"reader_version": 1')
                .replace('"start_headers"', '"earlier_key"')
            ),
        )
        write_frame_index(str(path))
    assert LanceFrameIndex.open(str(path)).segments[0].is_outdated

    frames = linear_frames(path)
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]

    assert not wrong_frames(frames, [ref.to_ndarray() for ref in refs])
    index = LanceFrameIndex.open(str(path))
    assert not wrong_frames(frames, batch_decode(refs, frame_index=index))

"""Alpha of VP8 and VP9, which Matroska stores beside each packet, and of codecs that code it themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import lance
import numpy as np
import pytest
from _containers import MatroskaBlock, MatroskaTrack, Sample, length_prefixed, remux, write_matroska
from _encoding import Encoding, RGBArray, encode, make_picture
from _http_server import ObjectServer

from mediaref_ursa import (
    FrameIndexStaleError,
    LazyVideo,
    MediaRef,
    batch_decode,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.errors import CorruptMediaError, UnsupportedMediaError
from mediaref_ursa._model.alpha import table_with_alpha
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._model.segment import ALPHA_UNKNOWN
from mediaref_ursa._pyav.convert import FrameConverter
from mediaref_ursa._scan.options import ScanOptions
from mediaref_ursa._scan.scan_segment import scan_segment
from mediaref_ursa.video_decoder import PyAVVideoDecoder

COUNT = 30
_OPTIONS = {
    "deadline": "realtime",
    "cpu-used": "8",
    "b": "200k",
    "g": "10",
    "auto-alt-ref": "0",
    "lag-in-frames": "0",
}
_VPX = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def alpha_picture(number: int, width: int, height: int) -> RGBArray:
    """Draw a plane of alpha whose ramp moves by five levels a frame."""
    ramp = (np.arange(width) * 2 + 5 * number) % 256
    return np.tile(ramp.astype(np.uint8), (height, 1))


def write_alpha(path: Path, codec: str, container: str = "webm", *, without: tuple[int, ...] = ()) -> Path:
    """Write numbered pictures with alpha; packets of ``without`` get none."""
    encoding = Encoding(
        _VPX[codec], container, container, codec, _OPTIONS, pixel_format="yuva420p", count=COUNT
    )
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(encoding.encoder, rate=25, options=dict(encoding.options))
        stream.width, stream.height, stream.pix_fmt = *encoding.size, encoding.pixel_format
        stream.codec_context.thread_count = 1
        for number in range(encoding.count):
            rgba = np.dstack([make_picture(number, *encoding.size), alpha_picture(number, *encoding.size)])
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format="yuva420p")
            frame.pts = number
            for packet in stream.encode(frame):
                output.mux(_bare(packet) if number in without else packet)
        for packet in stream.encode(None):
            output.mux(packet)
    return path


def _bare(packet: Any) -> Any:
    bare = av.Packet(bytes(packet))
    bare.pts, bare.dts, bare.time_base = packet.pts, packet.dts, packet.time_base
    bare.is_keyframe, bare.stream = packet.is_keyframe, packet.stream
    return bare


def linear_rgba(path: Path, spec: PixelSpec | None = None) -> dict[int, RGBArray]:
    """Decode a file with libvpx's own decoder, packet after packet: RGBA by pts in nanoseconds."""
    found = {}
    converter = FrameConverter(spec or PixelSpec(colorspace="RGBA"))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = av.CodecContext.create(_VPX[stream.codec_context.name], "r")
        context.thread_count = 1
        for packet in container.demux(stream):
            for frame in context.decode(packet if packet.size else None):
                assert frame.format.name == "yuva420p"
                time_ns = round(frame.pts * stream.time_base * 10**9)
                found[time_ns] = converter.convert(frame, 0, uri="")
    return found


def refs_of(path: Path, times: Any) -> list[MediaRef]:
    return [MediaRef(str(path), time) for time in times]


@pytest.fixture(scope="module", params=["vp8-webm", "vp9-webm", "vp9-matroska"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, container = request.param.split("-")
    return write_alpha(tmp_path_factory.mktemp("alpha") / f"alpha.{container}", codec, container)


def test_alpha_is_that_of_a_linear_decode_in_a_batch_alone_and_backwards(clip: Path) -> None:
    expected = linear_rgba(clip)
    assert len(expected) == COUNT
    assert all(np.ptp(pixels[..., 3]) > 100 for pixels in expected.values())
    for order in (list(expected), list(expected)[::-1], list(expected)[7:9] + list(expected)[20:24]):
        for time, pixels in zip(order, batch_decode(refs_of(clip, order), colorspace="RGBA"), strict=True):
            assert np.array_equal(pixels, expected[time])
    for time in list(expected)[::7]:
        assert np.array_equal(batch_decode(refs_of(clip, [time]), colorspace="RGBA")[0], expected[time])
        assert np.array_equal(MediaRef(str(clip), time).to_ndarray(format="rgba"), expected[time])


def test_alpha_is_in_every_way_of_reading(clip: Path) -> None:
    expected = np.stack(list(linear_rgba(clip).values()))
    video = LazyVideo.from_uri(str(clip), colorspace="RGBA", channel_format="NHWC")
    assert np.array_equal(video[:], expected)
    assert np.array_equal(video[11], expected[11])
    assert np.array_equal(np.stack(list(video)), expected)
    decoder = PyAVVideoDecoder(str(clip), colorspace="RGBA", dimension_order="NHWC")
    assert np.array_equal(decoder.get_frames_at([3, 17]).data, expected[[3, 17]])
    assert np.array_equal(np.stack(list(decoder)), expected)
    bgra = batch_decode(refs_of(clip, list(linear_rgba(clip))[:3]), colorspace="BGRA", channel_format="NCHW")
    assert np.array_equal(bgra[2], expected[2][..., [2, 1, 0, 3]].transpose(2, 0, 1))


def test_alpha_is_resized_with_the_picture(clip: Path) -> None:
    expected = linear_rgba(clip, PixelSpec(resize=(40, 56), colorspace="RGBA"))
    found = batch_decode(refs_of(clip, expected), colorspace="RGBA", resize=(40, 56))
    assert all(np.array_equal(a, b) for a, b in zip(found, expected.values(), strict=True))


def test_an_index_on_disk_has_the_alpha(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / clip.name
    copy.write_bytes(clip.read_bytes())
    write_frame_index(copy)
    expected = linear_rgba(copy)
    found = batch_decode(refs_of(copy, expected), colorspace="RGBA")
    assert all(np.array_equal(a, b) for a, b in zip(found, expected.values(), strict=True))


def without_alpha_key(video: Path) -> None:
    """Take from an index what an older version did not write."""
    place = f"{video}.lance"
    table = lance.dataset(place).to_table()
    value = json.loads(table.schema.metadata[b"mediaref_ursa"])
    for segment in value["segments"]:
        del segment["alpha"]
        segment.pop("alpha_packets", None)
    lance.write_dataset(
        table.replace_schema_metadata({b"mediaref_ursa": json.dumps(value).encode()}), place, mode="overwrite"
    )
    cleanup_cache()


def test_an_older_index_is_completed(clip: Path, tmp_path: Path) -> None:
    copy = tmp_path / clip.name
    copy.write_bytes(clip.read_bytes())
    index = write_frame_index(copy)
    assert index.segments[0].alpha != ALPHA_UNKNOWN
    without_alpha_key(copy)
    expected = linear_rgba(copy)
    found = batch_decode(refs_of(copy, expected), colorspace="RGBA")
    assert all(np.array_equal(a, b) for a, b in zip(found, expected.values(), strict=True))
    video = LazyVideo.from_uri(str(copy), colorspace="RGBA", channel_format="NHWC")
    assert np.array_equal(video[5:8], np.stack(list(expected.values())[5:8]))
    decoder = PyAVVideoDecoder(str(copy), colorspace="RGBA", dimension_order="NHWC")
    assert np.array_equal(decoder.get_frames_at([4]).data[0], list(expected.values())[4])


def test_rgb_of_a_video_with_alpha_stays_as_it_is(clip: Path) -> None:
    times = list(linear_rgba(clip))
    with av.open(str(clip)) as container:
        plain = [FrameConverter(PixelSpec()).convert(frame, 0, uri="") for frame in container.decode(video=0)]
    assert all(np.array_equal(a, b) for a, b in zip(batch_decode(refs_of(clip, times)), plain, strict=True))


def test_a_frame_without_alpha_beside_others_is_an_error(tmp_path: Path) -> None:
    clip = write_alpha(tmp_path / "gaps.webm", "vp9", without=(3, 14))
    expected = linear_rgba(clip)
    assert len(expected) == COUNT - 2  # libvpx shows none for these
    times = [40_000_000 * number for number in range(COUNT)]
    found = batch_decode(refs_of(clip, times), colorspace="RGBA", on_error="none")
    for time, pixels in zip(times, found, strict=True):
        if time in expected:
            assert np.array_equal(pixels, expected[time])
        else:
            assert pixels is None
    assert {type(error) for error in found.errors.values()} <= {CorruptMediaError, UnsupportedMediaError}


def test_damaged_alpha_is_an_error_and_the_colours_stay(tmp_path: Path) -> None:
    clip = write_alpha(tmp_path / "bad.webm", "vp9")
    index = write_frame_index(clip)
    table = index.segment_table(0)
    data = bytearray(clip.read_bytes())
    first = int(table.packets.offset[12] + table.packets.size[12])
    data[first + 30] ^= 0x55  # within its alpha: what follows the packet's own bytes
    clip.write_bytes(bytes(data))
    cleanup_cache()
    time = 12 * 40_000_000
    with pytest.raises(CorruptMediaError):
        batch_decode(refs_of(clip, [time]), colorspace="RGBA")
    assert batch_decode(refs_of(clip, [time]))[0].shape == (64, 96, 3)


@pytest.mark.parametrize("how", ["compressed", "before the packet", "as it should be"])
def test_alpha_that_is_not_where_it_can_be_addressed(tmp_path: Path, how: str) -> None:
    source = write_alpha(tmp_path / "source.webm", "vp9")
    with av.open(str(source)) as container:
        blocks = [
            MatroskaBlock(
                round(packet.pts * packet.time_base * 1000),
                (bytes(packet),),
                packet.is_keyframe,
                bytes(packet.get_sidedata("matroska_block_additional"))[8:],
                is_addition_first=how == "before the packet",
            )
            for packet in container.demux(video=0)
            if packet.size
        ]
    path = tmp_path / "clip.mkv"
    track = MatroskaTrack("V_VP9", b"", (96, 64), compression="zlib" if how == "compressed" else None)
    write_matroska(path, track, blocks)
    expected = linear_rgba(path)
    assert len(expected) == COUNT
    if how == "as it should be":
        found = batch_decode(refs_of(path, expected), colorspace="RGBA")
        assert all(np.array_equal(a, b) for a, b in zip(found, expected.values(), strict=True))
        return
    with pytest.raises(UnsupportedMediaError, match="alpha"):
        batch_decode(refs_of(path, expected), colorspace="RGBA")
    assert len(batch_decode(refs_of(path, expected))) == COUNT


@pytest.mark.parametrize("codec", ["vp8", "vp9"])
def test_alpha_whose_keyframes_are_not_those_of_the_colours(tmp_path: Path, codec: str) -> None:
    """Both streams are encoded apart; frames that no colours refer to may hold alpha that others need."""
    parts = []
    for gop, number in (("5", 0), ("7", 1)):
        part = tmp_path / f"{number}.webm"
        options = {**_OPTIONS, "g": gop, "error-resilient": "default"}
        encode(part, Encoding(_VPX[codec], "webm", "webm", codec, options, count=COUNT))
        with av.open(str(part)) as container:
            parts.append([p for p in container.demux(video=0) if p.size])
    blocks = [
        MatroskaBlock(40 * n, (bytes(color),), color.is_keyframe, bytes(alpha))
        for n, (color, alpha) in enumerate(zip(*parts, strict=True))
    ]
    path = tmp_path / "clip.mkv"
    write_matroska(path, MatroskaTrack(f"V_{codec.upper()}", b"", (96, 64)), blocks)
    expected = linear_rgba(path)
    assert len(expected) == COUNT
    for time in expected:
        cleanup_cache()
        assert np.array_equal(batch_decode(refs_of(path, [time]), colorspace="RGBA")[0], expected[time])
    video = LazyVideo.from_uri(str(path), colorspace="RGBA", channel_format="NHWC")
    for first in range(0, COUNT, 3):
        assert np.array_equal(video[first : first + 2], np.stack(list(expected.values())[first : first + 2]))


def test_the_torchcodec_engine_refuses_what_it_cannot_give(clip: Path) -> None:
    pytest.importorskip("torchcodec")
    with pytest.raises(UnsupportedMediaError, match="alpha"):
        batch_decode(refs_of(clip, [0]), colorspace="RGBA", decoder="torchcodec")
    assert batch_decode(refs_of(clip, [0]), decoder="torchcodec")[0].shape == (64, 96, 3)


@pytest.mark.parametrize(
    ("encoder", "container", "pixel_format"),
    [
        ("prores_ks", "mov", "yuva444p10le"),
        ("ffv1", "matroska", "bgra"),
        ("ffv1", "avi", "yuva420p"),
        ("png", "mov", "rgba"),
        ("qtrle", "mov", "argb"),
        ("utvideo", "avi", "gbrap"),
        ("huffyuv", "avi", "bgra"),
        ("ffvhuff", "avi", "yuva420p"),
        ("rawvideo", "avi", "bgra"),
    ],
)
def test_alpha_that_the_codec_itself_has(
    tmp_path: Path, encoder: str, container: str, pixel_format: str
) -> None:
    path = tmp_path / f"alpha.{container}"
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, pixel_format
        stream.codec_context.thread_count = 1
        for number in range(6):
            rgba = np.dstack([make_picture(number, 96, 64), alpha_picture(number, 96, 64)])
            frame = av.VideoFrame.from_ndarray(rgba, format="rgba").reformat(format=pixel_format)
            frame.pts = number
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    converter = FrameConverter(PixelSpec(colorspace="RGBA"))
    with av.open(str(path)) as source:
        stream = source.streams.video[0]
        expected = {
            round(frame.pts * stream.time_base * 10**9): converter.convert(frame, 0, uri="")
            for frame in source.decode(stream)
        }
    found = batch_decode(refs_of(path, expected), colorspace="RGBA")
    assert np.ptp(found[2][..., 3]) > 100
    assert all(np.array_equal(a, b) for a, b in zip(found, expected.values(), strict=True))


def test_an_index_whose_alpha_cannot_be_true_is_refused(clip: Path) -> None:
    index = write_frame_index(clip, overwrite=True)
    table = index.segment_table(0)
    from mediaref_ursa._core.errors import FrameIndexInvalidError
    from mediaref_ursa._model.alpha import table_with_alpha

    for wrong in (table.info.alpha_packets[:-1], b"", b"\xff" * len(table.info.alpha_packets)):
        with pytest.raises(FrameIndexInvalidError):
            table_with_alpha(replace(table, info=replace(table.info, alpha_packets=wrong)))


def test_an_older_index_of_another_file_of_the_same_length_is_stale(tmp_path: Path) -> None:
    clip = write_alpha(tmp_path / "one.webm", "vp9")
    index = write_frame_index(clip)
    without_alpha_key(clip)
    data = bytearray(clip.read_bytes())
    data[int(index.segment_table(0).packets.offset[17]) + 5] ^= 0x10
    clip.write_bytes(bytes(data))
    cleanup_cache()
    with pytest.raises((FrameIndexStaleError, CorruptMediaError)):
        batch_decode(refs_of(clip, [40_000_000 * n for n in range(COUNT)]), colorspace="RGBA")


def test_alpha_of_a_video_on_a_web_server(clip: Path) -> None:
    expected = linear_rgba(clip)
    with ObjectServer({"/clip.webm": clip.read_bytes()}) as server:
        uri = server.url("/clip.webm")
        refs = [MediaRef(uri, time) for time in expected]
        found = batch_decode(refs, colorspace="RGBA")
        assert all(np.array_equal(a, b) for a, b in zip(found, expected.values(), strict=True))


ALPHA_MESSAGE = bytes([39 << 1, 1, 165, 4, 0x00, 0x7F, 0x80, 0x10, 0x80])  # ITU-T H.265, F.14.2.8
CANCELLED = bytes([39 << 1, 1, 165, 1, 0x80, 0x80])


@pytest.mark.parametrize("message", [ALPHA_MESSAGE, CANCELLED], ids=["alpha", "cancelled"])
def test_alpha_in_a_layer_of_hevc_is_never_opaque(message: bytes, tmp_path: Path) -> None:
    """FFmpeg's decoder passes over the layer, or over the message alone, as it is here."""
    source, path = tmp_path / "source.mp4", tmp_path / "clip.mp4"
    options = {"x265-params": "log-level=none:pools=none"}
    encode(source, Encoding("libx265", "mp4", "mp4", "hevc", options))

    def with_message(sample: Sample) -> tuple[bytes, bool]:
        first = length_prefixed(message) if sample.is_keyframe else b""
        return first + sample.data, sample.is_keyframe

    remux(source, path, with_message)
    refs = [MediaRef(str(path), 0)]
    assert batch_decode(refs)[0].shape[2] == 3
    data = path.read_bytes()
    sparse = scan_segment(
        RangeReader(lambda at, size: data[at : at + size], len(data)),
        uri=str(path),
        options=ScanOptions(full=False),
    )
    assert sparse.info.verified == "sparse"
    if message is CANCELLED:
        assert (batch_decode(refs, colorspace="RGBA")[0][..., 3] == 255).all()
        assert table_with_alpha(sparse) is sparse
        return
    with pytest.raises(UnsupportedMediaError, match="alpha of this hevc video cannot be read"):
        table_with_alpha(sparse)
    for colorspace in ("RGBA", "BGRA"):
        with pytest.raises(UnsupportedMediaError, match="alpha of this hevc video cannot be read"):
            batch_decode(refs, colorspace=colorspace)


def test_a_configuration_that_says_so_is_seen_in_older_indexes(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encode(path, Encoding("libx265", "mp4", "mp4", "hevc", {"x265-params": "log-level=none:pools=none"}))
    table = write_frame_index(str(path)).segment_table(0)
    assert table_with_alpha(table) is table
    said = replace(
        table, info=replace(table.info, extradata=_with_array(table.info.extradata, ALPHA_MESSAGE))
    )
    with pytest.raises(UnsupportedMediaError, match="alpha of this hevc video cannot be read"):
        table_with_alpha(said)


def _with_array(record: bytes, nal: bytes) -> bytes:
    """Return an HEVC configuration record with one more array of NAL units."""
    array = bytes([nal[0] >> 1, 0, 1]) + len(nal).to_bytes(2, "big") + nal
    return record[:22] + bytes([record[22] + 1]) + record[23:] + array

"""``dtype="native"``: every bit of the media's samples, in every call."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from _cli_runner import run
from _media import CLIP_NAMES, Clip
from _oracle import linear_frames
from _raw_video import ENCODED, FULL, LIMITED, command_line, needs_ffmpeg, noise, raw_bytes, write_video
from _tiff import tiff
from PIL import Image

from mediaref_ursa import (
    BitDepthWarning,
    CorruptMediaError,
    DataURI,
    LazyVideo,
    MediaRef,
    UnsupportedMediaError,
    batch_decode,
    write_frame_index,
)
from mediaref_ursa._core.media_warnings import given_warnings
from mediaref_ursa._model.pixels import PixelSpec
from mediaref_ursa._pyav.convert import FrameConverter
from mediaref_ursa._pyav.sample_formats import sample_format
from mediaref_ursa.video_decoder import PyAVVideoDecoder

GRAY = ["gray9le", "gray10le", "gray12le", "gray14le", "gray16le", "gray16be", "gray10be"]
COLOURS = [
    "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv422p12le", "yuv444p12le", "yuv444p16le",
    "yuv420p9le", "p010le", "gbrp10le", "gbrp12le", "gbrp16le", "rgb48le",
]  # fmt: skip


def native(frame: Any, colorspace: str = "RGB", **spec: Any) -> np.ndarray:
    return FrameConverter(PixelSpec(colorspace=colorspace, dtype="native", **spec)).convert(frame, 0, uri="")


def stored_gray(frame: Any) -> np.ndarray:
    order = ">" if frame.format.name.endswith("be") else "<"
    return np.frombuffer(raw_bytes(frame), f"{order}u2").reshape(frame.height, frame.width)


def write_depth(path: Path, pixel_format: str, values: np.ndarray, encoder: str = "ffv1") -> Path:
    """Write gray frames ``(n, H, W)`` without loss."""
    with av.open(str(path), "w") as file:
        options = {"x265-params": "lossless=1:log-level=none:pools=none"} if encoder == "libx265" else {}
        stream: Any = file.add_stream(encoder, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *values.shape[1:], pixel_format
        for number, picture in enumerate(values):
            frame = av.VideoFrame(values.shape[2], values.shape[1], pixel_format)
            plane = frame.planes[0]
            rows = np.zeros((plane.height, plane.line_size // 2), np.uint16)
            rows[:, : picture.shape[1]] = picture
            plane.update(rows.tobytes())
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path


@pytest.fixture
def depth(tmp_path: Path) -> tuple[Path, np.ndarray]:
    random = np.random.default_rng(0)
    values = random.integers(0, 1 << 12, (5, 48, 66), dtype=np.uint16)
    return write_depth(tmp_path / "depth.mkv", "gray12le", values), values


@pytest.mark.parametrize("size", [(96, 64), (33, 31)], ids=str)
@pytest.mark.parametrize("pixel_format", GRAY)
def test_gray_is_the_stored_value(pixel_format: str, size: tuple[int, int]) -> None:
    frame = noise(pixel_format.replace("be", "le"), *size)
    if pixel_format.endswith("be"):
        frame = frame.reformat(format=pixel_format)
    for tag in (LIMITED, FULL):
        frame.color_range = tag
        found = native(frame, "G")
        assert found.dtype == np.uint16
        assert found.dtype.isnative
        assert np.array_equal(found[..., 0], stored_gray(frame))


@needs_ffmpeg
@pytest.mark.parametrize("size", [(96, 64), (98, 66), (33, 31)], ids=str)
@pytest.mark.parametrize("pixel_format", COLOURS + [name for name in GRAY if name.endswith("le")])
def test_colours_are_those_of_the_command_line(pixel_format: str, size: tuple[int, int]) -> None:
    width, height = size
    frame = noise(pixel_format, width, height)
    is_yuv = pixel_format.startswith(("yuv", "p0"))
    for matrix, tag in (("bt709", 1), ("bt2020nc", 9)) if is_yuv else (("bt709", 1),):
        frame.colorspace, frame.color_range = tag, LIMITED if is_yuv else FULL
        given = ["-f", "rawvideo", "-pix_fmt", pixel_format, "-s", f"{width}x{height}"]
        tags = ["-colorspace", matrix, "-color_range", "tv" if is_yuv else "pc"]
        expected = command_line([*given, *tags, "-i", "-"], raw_bytes(frame), (height, width, 3), "rgb48le")
        found = native(frame)
        assert found.dtype == np.uint16
        assert np.abs(found - expected).max() <= 1, matrix


@pytest.mark.parametrize("pixel_format", [*COLOURS, *GRAY[1:4], "yuva444p10le", "gbrap12le"])
def test_channel_orders_agree(pixel_format: str) -> None:
    for width, height in ((98, 66), (33, 31)):
        frame = noise(pixel_format, width, height)
        rgb = native(frame)
        assert np.array_equal(native(frame, "BGR"), rgb[..., ::-1])
        rgba = native(frame, "RGBA")
        assert np.array_equal(rgba[..., :3], rgb)
        assert np.array_equal(native(frame, "BGRA"), rgba[..., [2, 1, 0, 3]])
        if not sample_format(pixel_format).has_alpha:
            assert (rgba[..., 3] == 65535).all()
        assert np.array_equal(native(frame, channel_format="NCHW"), rgb.transpose(2, 0, 1))


def test_a_pixel_format_that_there_is_not() -> None:
    with pytest.raises(UnsupportedMediaError, match="expected a pixel format"):
        sample_format("yuv999")
    assert sample_format("bayer_rggb16le").bits == 16
    for name in ("vaapi", "pal8", "monow", "nv12", "yuvj420p"):
        assert not sample_format(name).is_deep


def test_samples_that_have_no_native_colours() -> None:
    frame = av.VideoFrame(32, 16, "gray32le")
    assert native(frame, "G").dtype == np.uint32
    with pytest.raises(UnsupportedMediaError, match="at most 16 bits"):
        native(frame)


def test_full_scale() -> None:
    for pixel_format, bits in (("gbrp10le", 10), ("gbrp12le", 12), ("gbrp16le", 16)):
        frame = noise(pixel_format, 64, 48)
        for plane in frame.planes:
            plane.update(np.full(plane.buffer_size // 2, (1 << bits) - 1, np.uint16).tobytes())
        assert (native(frame) == 65535).all()


@pytest.mark.parametrize("pixel_format", ["gbrpf32le", "gbrapf32le", "grayf32le"])
def test_floating_point_is_as_it_is_stored(pixel_format: str) -> None:
    frame = av.VideoFrame(33, 31, pixel_format)
    random = np.random.default_rng(1)
    for plane in frame.planes:
        plane.update(random.normal(size=plane.buffer_size // 4).astype(np.float32).tobytes())
    samples = [np.frombuffer(plane, np.float32).reshape(plane.height, -1)[:, :33] for plane in frame.planes]
    found = native(frame)
    assert found.dtype == np.float32
    if pixel_format == "grayf32le":
        assert np.array_equal(found, np.stack([samples[0]] * 3, axis=-1))
        assert np.array_equal(native(frame, "G")[..., 0], samples[0])
        assert (native(frame, "RGBA")[..., 3] == 1).all()
    else:
        assert np.array_equal(found, np.stack([samples[2], samples[0], samples[1]], axis=-1))
    if pixel_format == "gbrapf32le":
        assert np.array_equal(native(frame, "RGBA")[..., 3], samples[3])


@needs_ffmpeg
@pytest.mark.parametrize(("encoder", "pixel_format", "container", "options"), ENCODED)
def test_videos_of_every_depth(
    encoder: str, pixel_format: str, container: str, options: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / f"clip.{container}"
    try:
        write_video(path, encoder, pixel_format, FULL, options)
    except av.FFmpegError as error:
        pytest.skip(f"this FFmpeg does not encode {pixel_format} with {encoder}: {error}")
    is_deep = sample_format(pixel_format).is_deep
    expected = command_line(["-i", str(path)], None, (3, 96, 128, 3), "rgb48le" if is_deep else "rgb24")
    refs = [MediaRef.from_seconds(str(path), number / 25) for number in range(3)]
    found = batch_decode(refs, dtype="native", as_array=True)
    assert found.dtype == (np.uint16 if is_deep else np.uint8)
    assert np.abs(found - expected).max() <= 1
    decoded = PyAVVideoDecoder(path, dimension_order="NHWC", dtype="native")
    assert np.array_equal(decoded.get_all_frames().data, found)
    video = LazyVideo(path, channel_format="NHWC", dtype="native")
    assert np.array_equal(video[:], found)
    assert np.array_equal(list(video), found)
    assert video.as_series().frames.dtype == found.dtype
    for ref, pixels in zip(refs, found, strict=True):
        assert np.array_equal(ref.to_ndarray(dtype="native"), pixels)


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_native_of_8_bits_is_uint8(name: str, clip: Callable[[str], Clip], tmp_path: Path) -> None:
    path = clip(name).path
    try:
        frames = linear_frames(path)
    except LookupError:
        pytest.skip("no video")
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    found = batch_decode(refs, dtype="native", on_error="none")
    plain = batch_decode(refs, on_error="none")
    for number, (a, b) in enumerate(zip(found, plain, strict=True)):
        if b is None:
            assert type(found.errors[number]) is type(plain.errors[number])
        elif sample_format(frames[number].frame.format.name).is_deep:
            expected = native(frames[number].frame)
            assert np.array_equal(a, expected)
        else:
            assert np.array_equal(a, b)


def test_depth_in_every_call(depth: tuple[Path, np.ndarray]) -> None:
    path, values = depth
    refs = [MediaRef.from_seconds(str(path), number / 25) for number in range(5)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", BitDepthWarning)
        listed = batch_decode(refs, dtype="native", colorspace="G")
        assert np.array_equal(np.stack(listed)[..., 0], values)
        array = batch_decode(refs, dtype="native", colorspace="G", channel_format="NCHW", as_array=True)
        assert np.array_equal(array[:, 0], values)
        out = np.zeros((5, 48, 66, 1), np.uint16)
        assert batch_decode(refs, dtype="native", colorspace="G", out=out, as_array=True) is out
        assert np.array_equal(out[..., 0], values)
        bare = batch_decode(refs, output_format="native")
        assert [frame.shape for frame in bare] == [(48, 66)] * 5
        assert np.array_equal(np.stack(bare), values)
        assert np.array_equal(refs[2].to_ndarray(format="native"), values[2])
        assert np.array_equal(refs[2].to_ndarray(format="gray", dtype="native"), values[2])
        video = LazyVideo(path, frame_index=write_frame_index(str(path)), colorspace="G", dtype="native")
        assert np.array_equal(video[:][:, 0], values)
        series = video.as_series()
        assert series.__dict__["frames"].dtype == np.uint16
        assert series.slice(0.04, 0.12).frames.dtype == np.uint16
        assert video[5:5].dtype == np.uint16
        with PyAVVideoDecoder(path, colorspace="G", dtype="native") as decoder:
            assert np.array_equal(decoder.get_frames_at([4, 0]).data[:, 0], values[[4, 0]])
            assert decoder.get_frames_at([]).data.dtype == np.uint16


def test_a_series_keeps_its_type_in_hdf5(depth: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    temporaldata = pytest.importorskip("temporaldata")
    path, values = depth
    write_frame_index(str(path))
    series = LazyVideo.from_uri(path, colorspace="G", dtype="native", crop=(2, 4, 40, 50)).as_series()
    with h5py.File(tmp_path / "a.h5", "w") as file:
        series.to_hdf5(file)
    with h5py.File(tmp_path / "a.h5") as file:
        again = LazyVideo.from_series(temporaldata.IrregularTimeSeries.from_hdf5(file))
    assert np.array_equal(again[:][:, 0], values[:, 2:42, 4:54])


def test_inspect_says_the_depth(depth: tuple[Path, np.ndarray]) -> None:
    result = run("inspect", str(depth[0]), "--json")
    assert json.loads(result.stdout)["bits_per_sample"] == 12
    assert "gray12le, 12 bits a sample" in run("inspect", str(depth[0])).stdout


def test_uint8_of_deep_gray_still_warns(depth: tuple[Path, np.ndarray]) -> None:
    given_warnings.forget()
    with pytest.warns(BitDepthWarning):
        assert batch_decode([MediaRef(str(depth[0]), 0)])[0].dtype == np.uint8


def test_one_array_of_several_types_is_an_error(depth: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((48, 66, 3), np.uint8)).save(tmp_path / "a.png")
    refs = [MediaRef(str(depth[0]), 0), MediaRef(str(tmp_path / "a.png"))]
    assert [frame.dtype for frame in batch_decode(refs, dtype="native")] == [np.uint16, np.uint8]
    with pytest.raises(UnsupportedMediaError, match="expected frames of uint8 in one array, found uint16"):
        batch_decode(refs, dtype="native", as_array=True)
    out = np.zeros((1, 48, 66, 3), np.uint8)
    with pytest.raises(ValueError, match="uint16"):
        batch_decode(refs[:1], dtype="native", out=out)
    with pytest.raises(ValueError, match="rows of uint8"):
        batch_decode(refs[:1], out=np.zeros((1, 48, 66, 3), np.uint16))


def test_options_that_are_none() -> None:
    for options in ({"dtype": "uint16"}, {"output_format": "yuv"}, {"crop": (0, 0, 0, 1)}, {"crop": (1, 2)}):
        with pytest.raises(ValueError, match="expected"):
            batch_decode([MediaRef("clip.mp4", 0)], **options)
    with pytest.raises(ValueError, match="found both"):
        batch_decode([MediaRef("clip.mp4", 0)], output_format="native", colorspace="G")


def test_resized_depth_stays_in_its_range(depth: tuple[Path, np.ndarray]) -> None:
    (small,) = batch_decode([MediaRef(str(depth[0]), 0)], dtype="native", colorspace="G", resize=(24, 33))
    assert small.shape == (24, 33, 1)
    assert small.dtype == np.uint16
    assert abs(small.mean() - depth[1][0].mean()) < 20


def test_torchcodec_refuses_what_it_would_cut(depth: tuple[Path, np.ndarray]) -> None:
    pytest.importorskip("torchcodec")
    with pytest.raises(UnsupportedMediaError, match=r"8 bits a sample.*use decoder='pyav'"):
        batch_decode([MediaRef(str(depth[0]), 0)], dtype="native", decoder="torchcodec")


def test_tensors_of_16_bits(depth: tuple[Path, np.ndarray]) -> None:
    torch = pytest.importorskip("torch")
    (found,) = batch_decode(
        [MediaRef(str(depth[0]), 0)], dtype="native", colorspace="G", device="cpu", decoder="pyav"
    )
    assert found.dtype == torch.uint16
    assert np.array_equal(found.numpy()[..., 0], depth[1][0])


def png16(pixels: np.ndarray) -> bytes:
    """Return a PNG of 16 bits a channel, with 1, 3 or 4 channels."""
    form = {1: "gray16be", 3: "rgb48be", 4: "rgba64be"}[pixels.shape[2]]
    context: Any = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt = pixels.shape[1], pixels.shape[0], form
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame(pixels.shape[1], pixels.shape[0], form)
    plane = frame.planes[0]
    rows = np.zeros((plane.height, plane.line_size), np.uint8)
    data = pixels.astype(">u2").reshape(pixels.shape[0], -1).view(np.uint8)
    rows[:, : data.shape[1]] = data
    plane.update(rows.tobytes())
    return b"".join(bytes(packet) for packet in context.encode(frame) + context.encode(None))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_of_16_bits(channels: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 1 << 16, (31, 45, channels), dtype=np.uint16)
    path = tmp_path / "deep.png"
    path.write_bytes(png16(pixels))
    ref = MediaRef(str(path))
    found = ref.to_ndarray(format="native")
    assert found.dtype == np.uint16
    assert np.array_equal(
        found, pixels[..., 0] if channels == 1 else pixels[..., :3] if channels == 3 else pixels
    )
    rgb = batch_decode([ref], dtype="native", as_array=True)[0]
    assert np.array_equal(rgb, np.broadcast_to(pixels[..., :3], (31, 45, 3)))
    bgra = batch_decode([ref], dtype="native", colorspace="BGRA", channel_format="NCHW")[0]
    assert np.array_equal(bgra[:3], rgb[..., ::-1].transpose(2, 0, 1))
    assert np.array_equal(bgra[3], pixels[..., 3] if channels == 4 else np.full((31, 45), 65535))
    uri = DataURI.from_file(path)
    assert np.array_equal(uri.to_ndarray(format="native"), found)
    assert np.array_equal(batch_decode([MediaRef(str(path))], output_format="native")[0], found)


def test_tiff_of_16_bits_and_floating_point(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    gray = random.integers(0, 1 << 16, (21, 17), dtype=np.uint16)
    floats = random.normal(size=(21, 17)).astype(np.float32)
    for name, values in (("gray.tiff", gray), ("float.tiff", floats)):
        Image.fromarray(values).save(tmp_path / name)
        found = MediaRef(str(tmp_path / name)).to_ndarray(format="native")
        assert found.dtype == values.dtype
        assert np.array_equal(found, values)
        (three,) = batch_decode([MediaRef(str(tmp_path / name))], dtype="native")
        assert np.array_equal(three, np.stack([values] * 3, axis=-1))


def test_tiff_of_16_bit_colours(tmp_path: Path) -> None:
    pixels = np.random.default_rng(4).integers(0, 1 << 16, (20, 30, 3), dtype=np.uint16)
    path = tmp_path / "colour.tiff"
    path.write_bytes(still("tiff", "rgb48le", pixels))
    assert np.array_equal(MediaRef(str(path)).to_ndarray(format="native"), pixels)


def test_oriented_deep_images_are_turned(tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 1 << 16, (20, 30, 3), dtype=np.uint16)
    plain = png16(pixels)
    exif = Image.Exif()
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.png"
        chunk = exif.tobytes().removeprefix(b"Exif\0\0")
        path.write_bytes(_with_chunk(plain, b"eXIf", chunk))
        eight = np.asarray(MediaRef(str(path)).to_ndarray())
        found = MediaRef(str(path)).to_ndarray(dtype="native")
        assert np.array_equal(found >> 8, eight), orientation


def _with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    import struct
    import zlib

    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:33] + chunk + png[33:]


def test_damaged_deep_png_is_an_error(tmp_path: Path) -> None:
    pixels = np.random.default_rng(6).integers(0, 1 << 16, (64, 64, 3), dtype=np.uint16)
    data = png16(pixels)
    for cut in (len(data) // 2, len(data) - 30):
        path = tmp_path / "cut.png"
        path.write_bytes(data[:cut])
        with pytest.raises(CorruptMediaError):
            MediaRef(str(path)).to_ndarray(dtype="native")


def test_pil_images_of_16_bits(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint16).reshape(3, 4) * 1000
    Image.fromarray(values).save(tmp_path / "a.png")
    image = MediaRef(str(tmp_path / "a.png")).to_pil_image("gray", dtype="native")
    assert np.array_equal(np.asarray(image), values)
    with pytest.raises(UnsupportedMediaError, match="8 bits a channel"):
        MediaRef(str(tmp_path / "a.png")).to_pil_image("rgb", dtype="native")


def still(codec: str, pixel_format: str, pixels: np.ndarray) -> bytes:
    """Return an image that FFmpeg writes, of little-endian packed samples."""
    height, width = pixels.shape[:2]
    frame = av.VideoFrame(width, height, pixel_format)
    plane = frame.planes[0]
    rows = np.zeros((plane.height, plane.line_size), np.uint8)
    data = pixels.reshape(height, -1).view(np.uint8)
    rows[:, : data.shape[1]] = data
    plane.update(rows.tobytes())
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = (
        width,
        height,
        pixel_format,
        Fraction(1, 25),
    )
    return b"".join(bytes(packet) for packet in context.encode(frame) + context.encode(None))


def test_deep_jpeg_2000_of_gray_is_as_it_is_stored(tmp_path: Path) -> None:
    values = np.random.default_rng(7).integers(0, 1 << 16, (64, 64), dtype=np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG2000")
    (tmp_path / "16.jp2").write_bytes(buffer.getvalue())
    assert np.array_equal(MediaRef(str(tmp_path / "16.jp2")).to_ndarray(format="native"), values)


def test_deep_jpeg_2000_of_colours_is_an_error_and_not_cut(tmp_path: Path) -> None:
    values = np.random.default_rng(8).integers(0, 1 << 16, (64, 64, 3), dtype=np.uint16)
    (tmp_path / "a.j2k").write_bytes(still("jpeg2000", "rgb48le", values))
    ref = MediaRef(str(tmp_path / "a.j2k"))
    assert ref.to_ndarray().dtype == np.uint8
    for call in (lambda: ref.to_ndarray(format="native"), lambda: batch_decode([ref], dtype="native")):
        with pytest.raises(UnsupportedMediaError, match="JPEG2000 of 16 bits"):
            call()


def integers(kind: type[np.generic], *shape: int) -> np.ndarray:
    limits = np.iinfo(kind)  # type: ignore[type-var]
    values = np.random.default_rng(9).integers(limits.min, limits.max, shape, dtype=np.int64, endpoint=True)
    return values.astype(kind)


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.int32, np.uint32], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("is_small", [False, True], ids=["", "small values"])
def test_gray_tiff_has_the_type_of_its_samples(
    kind: type[np.generic], is_small: bool, tmp_path: Path
) -> None:
    values = integers(kind, 21, 17)
    values = np.abs(values % 99).astype(kind) if is_small else values
    (tmp_path / "a.tiff").write_bytes(tiff(values, 1))
    found = MediaRef(str(tmp_path / "a.tiff")).to_ndarray(format="native")
    assert found.dtype == (np.int32 if kind is np.int16 else kind)
    assert np.array_equal(found, values)


RGB16, RGBA16 = integers(np.uint16, 50, 45, 3), integers(np.uint16, 50, 45, 4)


@pytest.mark.parametrize("options", [{}, {"is_planar": True}], ids=str)
def test_colour_tiff_in_strips(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff(RGB16, 2, **options))
    assert np.array_equal(MediaRef(str(path)).to_ndarray(format="native"), RGB16)
    path.write_bytes(tiff(RGBA16, 2, extra=2, **options))
    assert np.array_equal(MediaRef(str(path)).to_ndarray(format="native"), RGBA16)


REFUSED = {
    "tiles": tiff(RGB16, 2, tile=16),
    "tiles of the picture's size": tiff(RGB16[:32, :32], 2, tile=32),
    "BigTIFF": tiff(RGB16, 2, is_big=True),
    "CMYK": tiff(RGBA16, 5),
    "associated alpha": tiff(RGBA16, 2, extra=1),
    "signed bytes": tiff(integers(np.int8, 20, 20), 1),
    "gray with alpha": tiff(RGBA16[..., :2].copy(), 1, extra=2),
    "doubles": tiff(np.ones((20, 20)), 1),
    "half floats": tiff(np.ones((20, 20), np.float16), 1),
    "colours of floating point": tiff(np.ones((20, 20, 3), np.float32), 2),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_tiff_that_would_lose_bits_is_an_error(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tiff").write_bytes(data)
    ref = MediaRef(str(tmp_path / "a.tiff"))
    for call in (lambda: ref.to_ndarray(format="native"), lambda: batch_decode([ref], dtype="native")):
        with pytest.raises(UnsupportedMediaError, match="(?i)tiff .*(convert|ask for)"):
            call()


def test_planar_tiff_of_16_bits_is_no_picture_of_8(tmp_path: Path) -> None:
    """Pillow takes its bytes for samples."""
    path = tmp_path / "a.tiff"
    path.write_bytes(tiff(RGB16, 2, is_planar=True))
    for call in (
        lambda: MediaRef(str(path)).to_ndarray(),
        lambda: batch_decode([MediaRef(str(path))]),
        lambda: DataURI.from_file(path).to_ndarray(),
    ):
        with pytest.raises(UnsupportedMediaError, match="3 unsigned .* RGB, planar; ask for dtype='native'"):
            call()
    eight = (RGB16 >> 8).astype(np.uint8)
    path.write_bytes(tiff(eight, 2, is_planar=True))
    assert np.array_equal(MediaRef(str(path)).to_ndarray(), eight)


@pytest.mark.parametrize("largest", [300, 1000, 4095, 65535])
def test_gray_pgm_is_as_it_is_stored(largest: int, tmp_path: Path) -> None:
    values = np.random.default_rng(largest).integers(0, largest + 1, (40, 30)).astype(np.uint16)
    values.flat[:2] = 0, largest
    (tmp_path / "a.pgm").write_bytes(b"P5 30 40 %d\n" % largest + values.astype(">u2").tobytes())
    found = MediaRef(str(tmp_path / "a.pgm")).to_ndarray(format="native")
    assert found.dtype == np.uint16
    assert np.array_equal(found, values)


@pytest.mark.parametrize("pixel_format", ["ya8", "ya16be"])
def test_gray_video_with_alpha_keeps_it(pixel_format: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    dtype = np.dtype(np.uint8 if pixel_format == "ya8" else ">u2")
    values = np.random.default_rng(3).integers(0, 1 << (8 * dtype.itemsize), (50, 66, 2)).astype(dtype)
    with av.open(str(path), "w") as output:
        stream: Any = output.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = 66, 50, pixel_format
        frame = av.VideoFrame(66, 50, pixel_format)
        rows = np.zeros((50, frame.planes[0].line_size), np.uint8)
        data = values.reshape(50, -1).view(np.uint8)
        rows[:, : data.shape[1]] = data
        frame.planes[0].update(rows.tobytes())
        frame.pts = 0
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    (found,) = batch_decode([MediaRef(str(path), 0)], output_format="native")
    assert found.dtype == dtype.newbyteorder("=")
    assert np.array_equal(found, np.stack([values[..., 0]] * 3 + [values[..., 1]], axis=-1))

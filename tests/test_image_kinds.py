"""Images that are referred to as videos, and videos as images: AVIF, HEIC and others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from _encoding import make_picture
from _oracle import linear_frames
from PIL import Image, features

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, write_frame_index
from mediaref_ursa._containers.image_kinds import image_format
from mediaref_ursa._core.errors import MissingExtraError, UnsupportedMediaError
from mediaref_ursa.video_decoder import PyAVVideoDecoder

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def picture(alpha: bool = False) -> Image.Image:
    image = Image.fromarray(make_picture(7, 96, 64))
    if alpha:
        image.putalpha(Image.fromarray(np.tile((np.arange(96) * 2).astype(np.uint8), (64, 1))))
    return image


def write_sequence(path: Path, count: int, *, alpha: bool = False) -> Path:
    pictures = []
    for number in range(count):
        image = Image.fromarray(make_picture(number, 96, 64))
        if alpha:
            image.putalpha(Image.fromarray(np.tile((np.arange(96) * 2).astype(np.uint8), (64, 1))))
        pictures.append(image)
    pictures[0].save(path, format="AVIF", save_all=True, append_images=pictures[1:], duration=40)
    return path


# --- a grid of two items in a HEIF file, made of the item that Pillow writes -----------------------------


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return (8 + len(content)).to_bytes(4, "big") + kind + content


def _full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return _box(kind, bytes([version]) + flags.to_bytes(3, "big"), *parts)


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big") or len(data) - at
        found.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    return found


def _u16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def _u32(*values: int) -> bytes:
    return b"".join(value.to_bytes(4, "big") for value in values)


def write_grid(path: Path, columns: int, rows: int) -> Path:
    """Write an AVIF image that is a grid of one 64 x 64 tile, repeated."""
    tile = io.BytesIO()
    Image.fromarray(make_picture(3, 64, 64)).save(tile, format="AVIF", quality=90)
    top = dict(_boxes(tile.getvalue()))
    meta = dict(_boxes(top[b"meta"][4:]))
    config = next(box for kind, box in _boxes(dict(_boxes(meta[b"iprp"]))[b"ipco"]) if kind == b"av1C")
    media, size, count = top[b"mdat"], (64 * columns, 64 * rows), columns * rows
    tiles = range(2, count + 2)
    grid = bytes([0, 0, rows - 1, columns - 1]) + _u16(*size)
    properties = _box(
        b"ipco",
        _full(b"ispe", _u32(64, 64)),
        _box(b"av1C", config),
        _full(b"pixi", bytes([3, 8, 8, 8])),
        _box(b"colr", b"nclx", _u16(1, 13, 6), b"\x80"),
        _full(b"ispe", _u32(*size)),
    )
    links = [_u16(1) + bytes([3, 5, 3, 4]), *(_u16(n) + bytes([4, 1, 0x82, 3, 4]) for n in tiles)]
    infos = [_full(b"infe", _u16(1, 0), b"grid\0", version=2)]
    infos += [_full(b"infe", _u16(n, 0), b"av01\0", version=2, flags=1) for n in tiles]

    def meta_box(media_at: int) -> bytes:
        extents = [_u16(1, 0, 0, 1) + _u32(media_at, len(grid))]
        extents += [_u16(n, 0, 0, 1) + _u32(media_at + len(grid), len(media)) for n in tiles]
        return _full(
            b"meta",
            _full(b"hdlr", b"\0\0\0\0pict", bytes(13)),
            _full(b"pitm", _u16(1)),
            _full(b"iloc", b"\x44\x00", _u16(count + 1), *extents, version=1),
            _full(b"iinf", _u16(count + 1), *infos),
            _full(b"iref", _box(b"dimg", _u16(1, count, *tiles))),
            _box(b"iprp", properties, _full(b"ipma", _u32(count + 1), *links)),
        )

    brand = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf")
    media_at = len(brand) + len(meta_box(0)) + 8
    path.write_bytes(brand + meta_box(media_at) + _box(b"mdat", grid, media))
    return path


def every_way(path: Path) -> list[Any]:
    """What reads the file as a video."""
    return [
        lambda: batch_decode([MediaRef(str(path), 0)]),
        lambda: MediaRef(str(path), 0).to_ndarray(),
        lambda: write_frame_index(str(path)),
        lambda: LazyVideo.from_uri(str(path)),
        lambda: PyAVVideoDecoder(str(path)),
        lambda: PyAVVideoDecoder(path.read_bytes()),
        lambda: PyAVVideoDecoder(str(path), stream_index=0),
        lambda: batch_decode([MediaRef(str(path), 0)], untrusted=True, allow_outside_base=True),
    ]


@needs_avif
@pytest.mark.parametrize("kind", ["plain", "alpha", "grid"])
def test_a_still_avif_is_no_video_and_the_error_says_how_to_load_it(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"{kind}.avif"
    if kind == "grid":
        write_grid(path, 2, 2)
    else:
        picture(kind == "alpha").save(path, format="AVIF")
    for read in every_way(path):
        with pytest.raises(UnsupportedMediaError, match=r"image \(AVIF\).*no pts_ns"):
            read()
    size = (128, 128, 3) if kind == "grid" else (64, 96, 3)
    assert MediaRef(str(path)).to_ndarray().shape == size


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1", b"heim", b"mif2"])
def test_a_still_of_any_heif_brand_is_no_video(tmp_path: Path, brand: bytes) -> None:
    path = tmp_path / "still.mp4"
    meta = _full(b"meta", _full(b"hdlr", b"\0\0\0\0pict", bytes(12), b"\0"))
    path.write_bytes(_box(b"ftyp", brand, bytes(4), b"mif1") + meta + _box(b"mdat", bytes(64)))
    for read in every_way(path):
        with pytest.raises(UnsupportedMediaError, match=r"image \(HEIC\).*no pts_ns"):
            read()


@needs_avif
@pytest.mark.parametrize("alpha", [False, True])
def test_an_avif_sequence_is_a_video_and_exact(tmp_path: Path, alpha: bool) -> None:
    path = write_sequence(tmp_path / "sequence.avif", 12, alpha=alpha)
    frames = linear_frames(path)
    assert len(frames) == 12
    refs = [MediaRef(str(path), round(frame.time * 10**9)) for frame in frames]
    assert all(np.array_equal(a, b.rgb) for a, b in zip(batch_decode(refs), frames, strict=True))
    for ref, frame in list(zip(refs, frames, strict=True))[::-3]:
        assert np.array_equal(batch_decode([ref])[0], frame.rgb)
    if not alpha:
        assert (batch_decode(refs[3:4], colorspace="RGBA")[0][..., 3] == 255).all()
        return
    with pytest.raises(UnsupportedMediaError, match="alpha"):
        batch_decode(refs, colorspace="RGBA")


@needs_avif
def test_the_item_beside_a_sequence_is_no_video(tmp_path: Path) -> None:
    path = write_sequence(tmp_path / "sequence.avif", 12)
    with av.open(str(path)) as container:
        items = [s.index for s in container.streams.video if s.duration is None]
    assert items
    for index in items:
        with pytest.raises(UnsupportedMediaError, match="image"):
            PyAVVideoDecoder(str(path), stream_index=index)


@pytest.mark.parametrize(
    ("format", "name"), [("PNG", "PNG"), ("JPEG", "JPEG"), ("WEBP", "WebP"), ("BMP", "BMP"), ("TIFF", "TIFF")]
)
def test_an_image_with_a_time_is_told_to_be_one(tmp_path: Path, format: str, name: str) -> None:
    path = tmp_path / "picture.mp4"
    more = {"save_all": True, "append_images": [picture()]} if format == "WEBP" else {}
    picture().save(path, format=format, **more)
    with pytest.raises(UnsupportedMediaError, match=rf"image \({name}\).*no pts_ns"):
        batch_decode([MediaRef(str(path), 0)])


@pytest.mark.parametrize("head", [b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_jpeg_xl_is_named(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "picture.jxl"
    path.write_bytes(head + bytes(200))
    with pytest.raises(UnsupportedMediaError, match=r"image \(JPEG XL\)"):
        batch_decode([MediaRef(str(path), 0)])
    with pytest.raises(UnsupportedMediaError, match="a JPEG XL image"):
        MediaRef(str(path)).to_ndarray()


def test_only_a_video_is_said_to_need_a_time(clip: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMediaError, match="needs a pts_ns"):
        MediaRef(str(clip("h264_idr_mp4").path)).to_ndarray()
    text = tmp_path / "text.png"
    text.write_bytes(b"no picture at all" * 9)
    with pytest.raises(UnsupportedMediaError) as raised:
        MediaRef(str(text)).to_ndarray()
    assert "pts_ns" not in str(raised.value)


# --- HEIC -------------------------------------------------------------------------------------------------


def heic_bytes(image: Image.Image, **options: Any) -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: the extra heif")
    target = io.BytesIO()
    heif.from_pillow(image).save(target, **options)
    return target.getvalue()


def test_without_pillow_heif_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    path = tmp_path / "photo.heic"
    path.write_bytes(_box(b"ftyp", b"heic", bytes(4), b"mif1heic") + bytes(64))
    with pytest.raises(MissingExtraError, match=r"pip install 'mediaref-ursa\[heif\]'") as raised:
        MediaRef(str(path)).to_ndarray()
    assert "pts_ns" not in str(raised.value)
    found = batch_decode([MediaRef(str(path))], on_error="none")
    assert isinstance(found.errors[0], MissingExtraError)


def test_a_heic_image_is_what_pillow_heif_gives(tmp_path: Path) -> None:
    path = tmp_path / "photo.heic"
    for image in (picture(), picture(alpha=True)):
        path.write_bytes(heic_bytes(image, quality=-1, chroma=444))
        pixels = MediaRef(str(path)).to_ndarray(format="rgba")
        assert pixels.shape == (64, 96, 4)
        assert np.abs(pixels[..., :3].astype(int) - np.asarray(image)[..., :3]).mean() < 3
        if image.mode == "RGBA":
            assert np.array_equal(pixels[..., 3], np.asarray(image)[..., 3])
        assert np.array_equal(batch_decode([MediaRef(str(path))], colorspace="BGR")[0], pixels[..., 2::-1])
    with pytest.raises(UnsupportedMediaError, match=r"image \(HEIC\)"):
        batch_decode([MediaRef(str(path), 0)])


def test_a_heic_image_is_turned_once(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "photo.heic"
    path.write_bytes(heic_bytes(picture(), quality=90, exif=exif.tobytes()))
    turned = MediaRef(str(path)).to_ndarray()
    assert turned.shape == (96, 64, 3)
    upright = np.asarray(picture().transpose(Image.Transpose.ROTATE_270))
    assert np.abs(turned.astype(int) - upright).mean() < 20


def test_a_damaged_or_huge_heic_image_is_a_typed_error(tmp_path: Path) -> None:
    from mediaref_ursa._core.errors import CorruptMediaError, LimitExceededError

    data = heic_bytes(picture(), quality=90)
    path = tmp_path / "photo.heic"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptMediaError):
        MediaRef(str(path)).to_ndarray()
    path.write_bytes(data)
    with pytest.raises(LimitExceededError):
        MediaRef(str(path)).to_ndarray(max_pixels=1000)


def test_a_heic_data_uri_is_an_image(tmp_path: Path) -> None:
    from mediaref_ursa import DataURI

    path = tmp_path / "photo.heic"
    path.write_bytes(heic_bytes(picture(), quality=90))
    uri = DataURI.from_file(path)
    assert str(uri).startswith("data:image/heic;base64,")
    assert uri.to_ndarray().shape == (64, 96, 3)


def test_formats_are_known_by_their_first_bytes() -> None:
    assert image_format(b"\0\0\0\x18ftypisom\0\0\0\0isommp42") is None
    assert image_format(b"\0\0\0\x18ftypmif1\0\0\0\0avifmif1") == "AVIF"
    assert image_format(b"RIFF\0\0\0\0AVI LIST") is None

"""Images of every mode to arrays and back, and bad ones to one clear error."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from mediaref_ursa import CorruptMediaError, LimitExceededError, MediaRefError, UnsupportedMediaError
from mediaref_ursa._images import pillow

pytestmark = pytest.mark.filterwarnings("ignore::mediaref_ursa.BitDepthWarning")

FORMATS = ("rgb", "bgr", "rgba", "bgra", "gray")
RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGBA = np.random.default_rng(1).integers(0, 256, (6, 9, 4), dtype=np.uint8)


def file_of(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


def pixels_of(data: bytes, format: str = "rgb") -> np.ndarray:
    return pillow.to_array(pillow.open_image(data), format)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


class TestFormats:
    @pytest.mark.parametrize("format", FORMATS)
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV",
                                      "I", "F", "I;16", "I;16B", "I;16L", "RGBX", "RGBa", "La"])  # fmt: skip
    def test_every_mode_has_every_format(self, mode: str, format: str) -> None:
        pixels = pillow.to_array(Image.new(mode, (9, 6)), format)
        channels = {"gray": (), "rgb": (3,), "bgr": (3,), "rgba": (4,), "bgra": (4,)}[format]
        assert pixels.shape == (6, 9, *channels)
        assert pixels.dtype == np.uint8
        assert pixels.flags["C_CONTIGUOUS"]
        assert pixels.flags["WRITEABLE"]

    def test_orders_of_channels(self) -> None:
        image = Image.fromarray(RGBA)
        assert np.array_equal(pillow.to_array(image, "rgba"), RGBA)
        assert np.array_equal(pillow.to_array(image, "bgra"), RGBA[..., [2, 1, 0, 3]])
        assert np.array_equal(pillow.to_array(image, "rgb"), RGBA[..., :3])
        assert np.array_equal(pillow.to_array(image, "bgr"), RGBA[..., 2::-1])

    def test_gray_is_bt601_luma(self) -> None:
        image = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9]]], np.uint8))
        assert pillow.to_array(image, "gray").tolist() == [[76, 150, 29, 9]]

    def test_without_alpha_it_is_opaque(self) -> None:
        assert (pillow.to_array(Image.fromarray(RGB), "rgba")[..., 3] == 255).all()

    def test_alpha_is_dropped_not_blended(self) -> None:
        clear = Image.new("RGBA", (1, 1), (10, 20, 30, 0))
        assert pillow.to_array(clear, "rgb").tolist() == [[[10, 20, 30]]]
        assert pillow.to_array(Image.new("LA", (1, 1), (10, 0)), "gray").tolist() == [[10]]

    def test_the_result_is_its_own_memory(self) -> None:
        image = Image.fromarray(RGB)
        pillow.to_array(image, "rgb")[:] = 0
        assert np.array_equal(pillow.to_array(image, "rgb"), RGB)

    def test_an_unknown_format(self) -> None:
        with pytest.raises(ValueError, match="expected one of rgb, bgr, rgba, bgra, gray, found 'RGB'"):
            pillow.to_array(Image.fromarray(RGB), "RGB")


class TestModes:
    def test_sixteen_bits_keep_the_upper_eight(self) -> None:
        deep = np.array([[0, 255, 256, 0x7FFF, 0xFFFF]], np.uint16)
        expected = [[0, 0, 1, 0x7F, 0xFF]]
        assert pixels_of(file_of(Image.fromarray(deep)), "gray").tolist() == expected
        assert pixels_of(file_of(Image.fromarray(deep), "TIFF"), "gray").tolist() == expected
        assert pillow.to_array(Image.fromarray(deep.astype(np.int32)), "gray").tolist() == expected
        assert pillow.to_array(Image.fromarray(deep.astype(np.int32)), "bgr")[0, 3].tolist() == [0x7F] * 3

    def test_values_beyond_sixteen_bits_are_cut(self) -> None:
        image = Image.fromarray(np.array([[-5, 2**20]], np.int32))
        assert pillow.to_array(image, "gray").tolist() == [[0, 255]]

    def test_floats_are_cut_to_a_byte(self) -> None:
        image = Image.fromarray(np.array([[-1.5, 0.0, 7.9, 255, 1e9, np.nan, np.inf]], np.float32))
        assert pillow.to_array(image, "gray").tolist() == [[0, 0, 7, 255, 255, 0, 255]]

    def test_transparency_of_sixteen_bits(self) -> None:
        deep = Image.fromarray(np.array([[256, 512]], np.uint16))
        deep.info["transparency"] = 512
        assert pillow.to_array(deep, "rgba").tolist() == [[[1, 1, 1, 255], [2, 2, 2, 0]]]

    def test_one_bit_is_black_and_white(self) -> None:
        image = Image.new("1", (2, 1))
        image.putpixel((1, 0), 1)
        assert pixels_of(file_of(image), "gray").tolist() == [[0, 255]]

    def test_a_palette_is_looked_up(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([1, 2, 3, 40, 50, 60])
        image.putpixel((1, 0), 1)
        assert pixels_of(file_of(image)).tolist() == [[[1, 2, 3], [40, 50, 60]]]

    @pytest.mark.parametrize("transparency", [1, b"\xff\x00"], ids=["index", "table"])
    def test_a_palette_with_transparency(self, transparency: int | bytes) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([1, 2, 3, 40, 50, 60])
        image.putpixel((1, 0), 1)
        data = file_of(image, transparency=transparency)
        assert pixels_of(data, "rgba").tolist() == [[[1, 2, 3, 255], [40, 50, 60, 0]]]
        assert pixels_of(data, "bgr").tolist() == [[[3, 2, 1], [60, 50, 40]]]

    @pytest.mark.parametrize(("mode", "color"), [("L", 7), ("RGB", (7, 7, 7))])
    def test_a_transparent_colour(self, mode: str, color: Any) -> None:
        image = Image.new(mode, (2, 1), color)
        image.putpixel((1, 0), 9 if mode == "L" else (9, 9, 9))
        data = file_of(image, transparency=color)
        assert pixels_of(data, "rgba").tolist() == [[[7, 7, 7, 0], [9, 9, 9, 255]]]
        assert pixels_of(data, "gray").tolist() == [[7, 9]]

    def test_cmyk(self) -> None:
        image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
        red = pixels_of(file_of(image, "JPEG", quality=95))[4, 4].astype(int)
        assert red[0] > 240
        assert red[1] < 15
        assert red[2] < 15

    def test_lab_and_hsv(self) -> None:
        lab = pillow.to_array(Image.new("LAB", (1, 1), (255, 128, 128)), "rgb")
        assert (lab > 240).all()
        assert pillow.to_array(Image.new("HSV", (1, 1), (0, 255, 255)), "rgb").tolist() == [[[255, 0, 0]]]


class TestOpenImage:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
    def test_exif_orientation_is_applied(self, orientation: int, format: str) -> None:
        upright = np.zeros((16, 24), np.uint8)
        upright[:8, :8] = 255
        # How a camera stores the picture: what undoes EXIF's instruction (rows, columns).
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.T,
            6: np.rot90(upright),
            7: upright[::-1, ::-1].T,
            8: np.rot90(upright, -1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lossless": True} if format == "WEBP" else {}
        data = file_of(
            Image.fromarray(np.ascontiguousarray(stored)).convert("RGB"), format, exif=exif, **options
        )
        pixels = pixels_of(data, "gray")
        assert pixels.shape == upright.shape
        assert np.abs(pixels.astype(int) - upright).max() <= (0 if format != "JPEG" else 12)

    @pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b""])
    def test_damaged_exif_says_nothing(self, exif: bytes) -> None:
        data = file_of(Image.fromarray(RGB), "JPEG", exif=exif)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of the block
            assert pixels_of(data).shape == RGB.shape

    @pytest.mark.parametrize("value", [99, 0])
    def test_an_orientation_that_is_none(self, value: Any) -> None:
        exif = Image.Exif()
        exif[0x0112] = value
        assert pixels_of(file_of(Image.fromarray(RGB), exif=exif)).shape == RGB.shape

    @pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
    def test_the_first_frame_of_an_animation(self, format: str) -> None:
        frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
        options = {"lossless": True} if format == "WEBP" else {}
        data = file_of(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert pixels_of(data)[0, 0].tolist() == [255, 0, 0]

    @pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000"])
    def test_formats(self, format: str) -> None:
        image = Image.new("RGB", (8, 8), (10, 200, 30))
        assert np.abs(pixels_of(file_of(image, format))[4, 4].astype(int) - [10, 200, 30]).max() <= 12

    def test_pixels_are_counted_before_decoding(self) -> None:
        with pytest.raises(LimitExceededError, match="at most 33177600 pixels, found 7680x4321"):
            pillow.open_image(png_header(7680, 4321), uri="a.png")
        data = file_of(Image.fromarray(RGB))
        assert pillow.open_image(data, max_pixels=54).size == (9, 6)
        with pytest.raises(LimitExceededError):
            pillow.open_image(data, max_pixels=53)

    @pytest.mark.parametrize("side", [10_000, 60_000])
    def test_a_bomb_is_an_error_before_memory_is_taken(self, side: int) -> None:
        with pytest.raises(LimitExceededError) as caught:
            pillow.open_image(png_header(side, side), uri="bomb.png")
        assert caught.value.uri == "bomb.png"

    def test_pillows_own_limit_stays(self) -> None:
        with pytest.raises(LimitExceededError, match="more pixels than Pillow takes"):
            pillow.open_image(png_header(60_000, 60_000), max_pixels=10**12)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"not an image",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
            bytes(64),
        ],
    )
    def test_what_is_no_image(self, data: bytes) -> None:
        with pytest.raises(
            UnsupportedMediaError, match=f"expected an image .*found {len(data)} bytes"
        ) as caught:
            pillow.open_image(data, uri="a.png")
        assert caught.value.uri == "a.png"
        assert isinstance(caught.value, ValueError)

    @pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "JPEG2000"])
    def test_truncated_anywhere_is_one_error(self, format: str) -> None:
        noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = file_of(Image.fromarray(noise), format)
        for length in range(0, len(data) - 16, max(1, len(data) // 23)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of damage before it gives up
                with pytest.raises((CorruptMediaError, UnsupportedMediaError)):
                    pillow.open_image(data[:length])

    @pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000"])
    def test_damaged_bytes_give_an_image_or_one_error(self, format: str) -> None:
        data = file_of(Image.fromarray(np.resize(RGB, (24, 24, 3))), format)
        rng = np.random.default_rng(3)
        for _ in range(150):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                damaged[place] ^= 1 << int(rng.integers(8))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    image = pillow.open_image(bytes(damaged), max_pixels=10_000)
                except MediaRefError:
                    continue
            assert pillow.to_array(image, "rgb").dtype == np.uint8

    @pytest.mark.parametrize(
        ("error", "kind"),
        [
            (Image.DecompressionBombError("x"), LimitExceededError),
            (Image.DecompressionBombWarning("x"), LimitExceededError),
            (MemoryError(), LimitExceededError),
            (UnidentifiedImageError("x"), UnsupportedMediaError),
            *[
                (error, CorruptMediaError)
                for error in (OSError("x"), SyntaxError("x"), ValueError("x"), EOFError(), KeyError(1),
                              struct.error("x"), zlib.error("x"), IndexError(), TypeError(), OverflowError())
            ],
        ],
        ids=repr,
    )  # fmt: skip
    def test_every_error_of_pillow_is_one_of_ours(self, error: Exception, kind: type[MediaRefError]) -> None:
        with pytest.raises(kind) as caught, pillow._mapped_errors("a.png", b""):
            raise error
        assert caught.value.__cause__ is error


def test_mimetypes_come_from_the_bytes() -> None:
    image = Image.fromarray(RGB)
    for format in ("png", "jpeg", "gif", "bmp", "webp", "tiff"):
        assert pillow.image_mimetype(file_of(image, format)) == f"image/{format}"
    assert pillow.image_mimetype(file_of(image, "MPO", save_all=True, append_images=[image])) == "image/jpeg"
    assert pillow.image_mimetype(b"text") is None


class TestResize:
    def test_even_colours_stay(self) -> None:
        for shape in ((4, 6), (4, 6, 3), (4, 6, 4)):
            resized = pillow.resize_array(np.full(shape, 77, np.uint8), (7, 5))
            assert resized.shape == (7, 5, *shape[2:])
            assert (resized == 77).all() or shape[2:] == (4,)
            assert resized.flags["WRITEABLE"]

    def test_is_bilinear(self) -> None:
        pixels = np.array([[0, 100]], np.uint8)
        assert pillow.resize_array(pixels, (1, 4)).tolist() == [[0, 25, 75, 100]]

    def test_the_same_size_is_the_same_array(self) -> None:
        assert pillow.resize_array(RGB, RGB.shape[:2]) is RGB

    @pytest.mark.parametrize("size", [(0, 5), (5, -1), (5,), (5, 5, 3), (2.5, 2), (True, 2)])
    def test_a_size_that_is_none(self, size: Any) -> None:
        with pytest.raises(ValueError, match=r"expected resize=\(height, width\)"):
            pillow.resize_array(RGB, size)


class TestEncode:
    @pytest.mark.parametrize("format", ["png", "bmp"])
    @pytest.mark.parametrize(
        ("input_format", "order"),
        [("rgb", [0, 1, 2]), ("bgr", [2, 1, 0]), ("rgba", [0, 1, 2, 3]), ("bgra", [2, 1, 0, 3])],
    )
    def test_input_formats(self, format: str, input_format: str, order: list[int]) -> None:
        data = pillow.encode(RGBA[..., order], format, None, input_format)
        alpha = "a" in input_format and format == "png"
        expected = RGBA if alpha else np.dstack([RGBA[..., :3], np.full((6, 9), 255, np.uint8)])
        assert np.array_equal(pixels_of(data, "rgba"), expected)

    def test_jpeg_drops_alpha_and_takes_a_quality(self) -> None:
        noise = np.random.default_rng(4).integers(0, 256, (64, 64, 4), dtype=np.uint8)
        sizes = [len(pillow.encode(noise, "jpeg", quality, "rgba")) for quality in (1, 50, None, 95, 100)]
        assert sizes == sorted(sizes)
        assert len(set(sizes)) == 5

    @pytest.mark.parametrize("quality", [0, 101, -1, True])
    @pytest.mark.parametrize("format", ["jpeg", "png"])
    def test_a_quality_out_of_bounds(self, quality: int, format: str) -> None:
        with pytest.raises(ValueError, match=r"Invalid quality: expected 1\.\.100"):
            pillow.encode(RGB, format, quality)

    @pytest.mark.parametrize("format", ["gif", "PNG", "", "jpg"])
    def test_an_unknown_format(self, format: str) -> None:
        with pytest.raises(ValueError, match="Unsupported format: expected one of png, jpeg, bmp"):
            pillow.encode(RGB, format)

    @pytest.mark.parametrize(
        ("pixels", "input_format"),
        [
            (RGB, "rgba"),
            (RGB, "bgra"),
            (RGBA, "gray"),
            (RGBA[..., :2], "rgb"),
            (RGB[..., :1], "rgb"),
            (RGB, "gray"),
        ],
    )
    def test_a_wrong_number_of_channels(self, pixels: np.ndarray, input_format: str) -> None:
        with pytest.raises(ValueError, match=r"^Invalid input_format"):
            pillow.encode(pixels, "png", None, input_format)

    @pytest.mark.parametrize(
        "pixels", [RGB[..., 0], RGB.astype(np.float32), RGB[None], RGB[:0], np.zeros((0, 5, 3), np.uint8)]
    )
    def test_arrays_that_are_no_image(self, pixels: np.ndarray) -> None:
        with pytest.raises(ValueError, match="expected"):
            pillow.encode(pixels)

    def test_arrays_with_gaps(self) -> None:
        assert np.array_equal(pixels_of(pillow.encode(RGB[::2, ::-1])), RGB[::2, ::-1])

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"])
    @pytest.mark.parametrize("format", ["png", "jpeg", "bmp"])
    def test_pil_images_of_every_mode(self, mode: str, format: str) -> None:
        assert pixels_of(pillow.encode(Image.new(mode, (9, 6)), format)).shape == (6, 9, 3)

    def test_png_keeps_sixteen_bits(self) -> None:
        deep = Image.fromarray(np.array([[1, 0xFFFF]], np.uint16))
        assert pillow.open_image(pillow.encode(deep, "png")).getpixel((0, 0)) == 1

    def test_a_size_that_the_format_cannot_hold(self) -> None:
        with pytest.raises(ValueError, match="70000x1 cannot be written"):
            pillow.encode(np.zeros((1, 70_000, 3), np.uint8), "jpeg")


def test_no_decoder_starts_another_program() -> None:
    assert "EPS" not in pillow._formats()
    assert set(pillow._formats()) >= {"PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"}

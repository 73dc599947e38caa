"""Media inside a URI: both ways, every field, and bad input as one clear error."""

from __future__ import annotations

import base64
import copy
import io
import os
import pickle
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from mediaref_ursa import (
    CorruptMediaError,
    DataURI,
    InvalidReferenceError,
    LimitExceededError,
    MediaNotFoundError,
    MediaRef,
    StoreError,
    UnsupportedMediaError,
)

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
RGBA = np.random.default_rng(1).integers(0, 256, (6, 9, 4), dtype=np.uint8)


def file_of(image: Image.Image, format: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, format, **options)
    return target.getvalue()


class TestFields:
    def test_of_a_constructed_uri(self) -> None:
        uri = DataURI(mimetype="image/png", data=b"aGk=")
        assert (uri.mimetype, uri.is_base64, uri.data, uri.parameters) == ("image/png", True, b"aGk=", ())
        assert uri.uri == str(uri) == "data:image/png;base64,aGk="
        assert len(uri) == len(uri.uri)
        assert uri.decoded_data == b"hi"
        assert uri.is_image

    def test_of_text(self) -> None:
        uri = DataURI(
            mimetype="text/plain", is_base64=False, data=b"caf%C3%A9", parameters=("charset=utf-8",)
        )
        assert uri.uri == "data:text/plain;charset=utf-8,caf%C3%A9"
        assert len(uri) == len(uri.uri)
        assert uri.decoded_data.decode() == "café"
        assert not uri.is_image

    @pytest.mark.parametrize(
        "fields",
        [
            {"mimetype": "image/png", "data": b"not base64!"},
            {"mimetype": "image/png", "data": b"aGk"},
            {"mimetype": "image", "data": b"aGk="},
            {"mimetype": "image/png;a=b", "data": b"aGk="},
            {"mimetype": "image/png", "data": b"aGk=", "parameters": ("a b",)},
            {"mimetype": "image/png", "data": b"aGk=", "parameters": ("base64",)},
            {"mimetype": "text/plain", "is_base64": False, "data": b"hello world"},
            {"mimetype": "text/plain", "is_base64": False, "data": b"100%"},
            {"mimetype": "text/plain", "is_base64": False, "data": "é".encode()},
        ],
    )
    def test_that_make_no_uri(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ValidationError, match="Malformed data URI"):
            DataURI(**fields)

    @pytest.mark.parametrize("text", ["a b", "a\nb", "a&b", "a=b", "a/b", "<svg>", "é", "100%"])
    def test_a_payload_that_was_not_quoted(self, text: str) -> None:
        with pytest.raises(ValidationError, match="it has unquoted characters"):
            DataURI(mimetype="text/plain", is_base64=False, data=text.encode())
        assert DataURI(mimetype="text/plain", is_base64=False, data=quote(text, safe="").encode())

    def test_a_uri_that_exists_is_taken_as_it_stands(self) -> None:
        uri = DataURI.from_uri("data:text/csv,a,b&c=d/e")
        assert uri.decoded_data == b"a,b&c=d/e"
        assert DataURI.model_validate(uri.model_dump()) == uri
        assert DataURI.model_validate_json(uri.model_dump_json()) == uri
        assert MediaRef(uri=uri).uri == uri.uri

    def test_a_keyword_that_is_no_field(self) -> None:
        fields: dict[str, Any] = {"mimetype": "image/png", "data": b"aGk="}
        with pytest.raises(
            TypeError, match="DataURI takes mimetype, is_base64, data, parameters, found params"
        ):
            DataURI(**fields, params=("a=b",))
        with pytest.raises(TypeError, match="found base64; .*DataURI.model_validate"):
            DataURI(**fields).model_copy(update={"base64": False})
        assert DataURI.model_validate({**fields, "params": 1}) == DataURI(**fields)

    def test_missing(self) -> None:
        with pytest.raises(ValidationError, match="Field required"):
            DataURI(mimetype="image/png")

    def test_are_frozen(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            DataURI.from_uri("data:,a").mimetype = "image/png"

    def test_equal_content_is_equal(self) -> None:
        one, two = DataURI.from_uri("data:;charset=x,a"), DataURI.from_uri("data:text/plain;charset=x,a")
        assert one == two
        assert hash(one) == hash(two)
        assert one != DataURI.from_uri("data:;charset=y,a")
        assert {one, two} == {one}
        built = DataURI(mimetype="text/plain", is_base64=False, data=b"a", parameters=("charset=x",))
        assert built == one
        assert hash(built) == hash(one)

    def test_survives_pickling_copying_and_json(self) -> None:
        uri = DataURI.from_uri("data:text/plain;charset=utf-8,caf%C3%A9")
        assert pickle.loads(pickle.dumps(uri)) == copy.deepcopy(uri) == uri
        assert DataURI.model_validate_json(uri.model_dump_json()) == uri
        assert DataURI.model_validate(uri.model_dump()) == uri

    def test_repr_is_short(self) -> None:
        uri = DataURI.from_image(np.random.default_rng(2).integers(0, 256, (500, 500, 3), dtype=np.uint8))
        assert len(uri) > 900_000
        assert len(repr(uri)) < 200
        assert f"({len(uri.data)} bytes)" in repr(uri)
        assert "mimetype='image/png'" in repr(uri)
        assert repr(DataURI.from_uri("data:;a=b,c")).endswith("data=b'c', parameters=('a=b',))")

    def test_errors_do_not_show_the_payload(self) -> None:
        with pytest.raises(ValidationError) as caught:
            DataURI(mimetype="image/png", data=b"secret!" * 1000)
        assert "secret" not in str(caught.value)


class TestFromUri:
    @pytest.mark.parametrize(
        "text",
        [
            "data:image/png;base64,aGk=",
            "data:image/png;base64,aGk%3D",
            "data:text/plain;charset=utf-8,a%20b,c",
            "data:text/plain;charset=utf-8;format=flowed;base64,aGk=",
            "data:image/svg+xml;utf8,%3Csvg%2F%3E",
            "data:text/plain,",
        ],
    )
    def test_comes_back_letter_for_letter(self, text: str) -> None:
        uri = DataURI.from_uri(text)
        assert uri.uri == text
        assert DataURI.from_uri(uri.uri) == uri

    def test_what_is_left_out_is_written_out(self) -> None:
        assert DataURI.from_uri("data:,a").uri == "data:text/plain;charset=US-ASCII,a"
        assert DataURI.from_uri("DATA:;BASE64,aGk=").uri == "data:text/plain;charset=US-ASCII;base64,aGk="

    @pytest.mark.parametrize(
        "text",
        ["", "a.png", "http://h/a", "data:", "data:image/png;base64", "data:image/png;base64,a", "data:x,a",
         "data:image/png;base64,aGk=\n", "data:text/plain,a b", "data:text/plain,%4"],
    )  # fmt: skip
    def test_malformed(self, text: str) -> None:
        with pytest.raises(ValueError, match="Malformed data URI"):
            DataURI.from_uri(text)

    def test_the_limit(self) -> None:
        text = "data:text/plain;base64," + base64.b64encode(bytes(1000)).decode()
        assert DataURI.from_uri(text, max_bytes=1000).decoded_data == bytes(1000)
        with pytest.raises(LimitExceededError):
            DataURI.from_uri(text, max_bytes=999)
        with pytest.raises(LimitExceededError, match="at most 67108864 bytes"):
            DataURI.from_uri("data:;base64," + "A" * (2**26 // 3 * 4 + 4))


class TestFromImage:
    @pytest.mark.parametrize(
        ("input_format", "order"),
        [("rgb", [0, 1, 2]), ("bgr", [2, 1, 0]), ("rgba", [0, 1, 2, 3]), ("bgra", [2, 1, 0, 3])],
    )
    def test_png_is_lossless_in_every_order(self, input_format: Any, order: list[int]) -> None:
        uri = DataURI.from_image(RGBA[..., order], "png", input_format=input_format)
        assert uri.mimetype == "image/png"
        assert uri.is_base64
        assert np.array_equal(uri.to_ndarray(input_format), RGBA[..., order])

    @pytest.mark.parametrize(("format", "tolerance"), [("jpeg", 40), ("bmp", 0)])
    def test_jpeg_and_bmp_drop_alpha(self, format: Any, tolerance: int) -> None:
        smooth = np.dstack([np.add.outer(np.arange(16), np.arange(16)).astype(np.uint8)] * 4)
        uri = DataURI.from_image(smooth, format, input_format="rgba")
        assert uri.mimetype == f"image/{format}"
        pixels = uri.to_ndarray("rgba")
        assert (pixels[..., 3] == 255).all()
        assert np.abs(pixels[..., :3].astype(int) - smooth[..., :3]).max() <= tolerance

    def test_pil_images(self) -> None:
        assert np.array_equal(DataURI.from_image(Image.fromarray(RGBA)).to_ndarray("rgba"), RGBA)
        assert DataURI.from_image(Image.new("P", (4, 3)), "jpeg").to_ndarray().shape == (3, 4, 3)

    def test_quality(self) -> None:
        sizes = [len(DataURI.from_image(np.resize(RGB, (64, 64, 3)), "jpeg", quality)) for quality in (5, 95)]
        assert sizes[0] < sizes[1]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"format": "gif"}, "Unsupported format"),
            ({"format": "jpeg", "quality": 0}, "Invalid quality"),
            ({"format": "jpeg", "quality": 101}, "Invalid quality"),
            ({"input_format": "rgba"}, "^Invalid input_format"),
            ({"input_format": "bgra"}, "^Invalid input_format"),
            ({"input_format": "xyz"}, "^Invalid input_format"),
        ],
    )
    def test_misuse(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            DataURI.from_image(RGB, **options)

    def test_four_channels_have_alpha_in_every_order(self) -> None:
        assert np.array_equal(DataURI.from_image(RGBA).to_ndarray("rgba"), RGBA)
        assert np.array_equal(DataURI.from_image(RGBA, input_format="bgr").to_ndarray("bgra"), RGBA)
        assert DataURI.from_image(RGBA, "jpeg").to_ndarray("rgba")[..., 3].min() == 255

    @pytest.mark.parametrize(
        ("pixels", "input_format", "message"),
        [
            (RGB, "rgba", "Invalid input_format 'rgba' for 3-channel array: expected rgb, bgr"),
            (RGBA, "xyz", "Invalid input_format 'xyz' for 4-channel array: expected rgb, bgr, rgba, bgra"),
            (RGBA[..., :2], "rgb", "for 2-channel array: expected 3 or 4 channels"),
        ],
    )
    def test_channels_that_do_not_fit(self, pixels: Any, input_format: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            DataURI.from_image(pixels, input_format=input_format)


class TestFromFile:
    def test_an_image_keeps_its_bytes(self, tmp_path: Path) -> None:
        for format in ("png", "jpeg", "gif", "webp"):
            data = file_of(Image.fromarray(RGB), format)
            path = tmp_path / "picture.dat"  # the name says nothing
            path.write_bytes(data)
            for wanted in (None, format, f"image/{format}"):
                uri = DataURI.from_file(path, wanted)
                assert uri.mimetype == f"image/{format}"
                assert uri.decoded_data == data

    def test_a_name_that_lies(self, tmp_path: Path) -> None:
        path = tmp_path / "picture.jpg"
        path.write_bytes(file_of(Image.fromarray(RGB), "PNG"))
        assert DataURI.from_file(path).mimetype == "image/png"

    def test_another_format_is_encoded_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "picture.png"
        path.write_bytes(file_of(Image.fromarray(RGB), "PNG"))
        assert np.array_equal(DataURI.from_file(path, "bmp").to_ndarray(), RGB)
        for name in ("jpeg", "jpg", "JPG", "image/jpeg"):
            uri = DataURI.from_file(path, format=name)
            assert uri.mimetype == "image/jpeg"
            assert uri.decoded_data.startswith(b"\xff\xd8")

    def test_a_turned_picture_is_encoded_upright(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        path = tmp_path / "picture.jpg"
        path.write_bytes(file_of(Image.fromarray(RGB), "JPEG", exif=exif))
        assert DataURI.from_file(path, "png").to_ndarray().shape == (9, 6, 3)
        assert DataURI.from_file(path).to_ndarray().shape == (9, 6, 3)

    @pytest.mark.parametrize(
        ("name", "format", "mimetype"),
        [
            ("note.txt", None, "text/plain"),
            ("drawing.svg", None, "image/svg+xml"),
            ("noname", None, "application/octet-stream"),
            ("noname", "text/csv", "text/csv"),
            ("noname", "svg+xml", "image/svg+xml"),
        ],
    )
    def test_anything_else_is_named(
        self, tmp_path: Path, name: str, format: str | None, mimetype: str
    ) -> None:
        (tmp_path / name).write_bytes(b"a,b\n")
        uri = DataURI.from_file(str(tmp_path / name), format)
        assert (uri.mimetype, uri.decoded_data) == (mimetype, b"a,b\n")

    def test_misuse(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").write_bytes(file_of(Image.fromarray(RGB), "PNG"))
        (tmp_path / "a.txt").write_bytes(b"text")
        with pytest.raises(ValueError, match="Unsupported format: expected one of png, jpeg, bmp"):
            DataURI.from_file(tmp_path / "a.png", "gif")
        with pytest.raises(UnsupportedMediaError, match="expected an image to write as png"):
            DataURI.from_file(tmp_path / "a.txt", "png")
        with pytest.raises(ValueError, match="a media type"):
            DataURI.from_file(tmp_path / "a.txt", "text/ plain")

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        with pytest.raises(MediaNotFoundError) as caught:
            DataURI.from_file(tmp_path / "gone.png")
        assert isinstance(caught.value, FileNotFoundError)
        with pytest.raises(StoreError, match="a directory"):
            DataURI.from_file(tmp_path)
        with pytest.raises(InvalidReferenceError):
            DataURI.from_file("http://host/a.png")

    def test_the_limit(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_bytes(b"12345")
        with pytest.raises(LimitExceededError):
            DataURI.from_file(tmp_path / "a.txt", max_bytes=4)
        (tmp_path / "large").touch()
        os.truncate(tmp_path / "large", 2**26 + 1)
        with pytest.raises(LimitExceededError):
            DataURI.from_file(tmp_path / "large")

    def test_file_uris(self, tmp_path: Path) -> None:
        (tmp_path / "a b.txt").write_bytes(b"text")
        assert DataURI.from_file(f"file://{tmp_path}/a%20b.txt").decoded_data == b"text"


class TestPixels:
    URI = DataURI.from_image(RGBA, input_format="rgba")

    @pytest.mark.parametrize(
        ("format", "expected"),
        [
            ("rgb", RGBA[..., :3]),
            ("bgr", RGBA[..., 2::-1]),
            ("rgba", RGBA),
            ("bgra", RGBA[..., [2, 1, 0, 3]]),
        ],
    )
    def test_formats(self, format: Any, expected: np.ndarray) -> None:
        assert np.array_equal(self.URI.to_ndarray(format), expected)

    def test_gray(self) -> None:
        assert self.URI.to_ndarray("gray").shape == (6, 9)

    def test_percent_encoded_pixels(self) -> None:
        data = "".join(f"%{byte:02X}" for byte in file_of(Image.fromarray(RGB), "PNG"))
        assert np.array_equal(DataURI.from_uri(f"data:image/png,{data}").to_ndarray(), RGB)

    @pytest.mark.parametrize(("format", "mode"), [("rgb", "RGB"), ("rgba", "RGBA"), ("gray", "L")])
    def test_pil_images(self, format: Any, mode: str) -> None:
        image = self.URI.to_pil_image(format)
        assert (image.mode, image.size) == (mode, (9, 6))
        assert self.URI.to_pil_image().mode == "RGB"

    def test_misuse(self) -> None:
        with pytest.raises(ValueError, match="Unsupported format"):
            self.URI.to_ndarray("yuv")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="a PIL image is 'rgb', 'rgba' or 'gray', found 'bgr'"):
            self.URI.to_pil_image("bgr")

    @pytest.mark.parametrize(
        ("text", "error"),
        [
            ("data:text/plain,a", UnsupportedMediaError),
            ("data:image/svg+xml,%3Csvg%2F%3E", UnsupportedMediaError),
            ("data:image/png,", UnsupportedMediaError),
        ],
    )
    def test_what_is_no_image(self, text: str, error: type[Exception]) -> None:
        uri = DataURI.from_uri(text)
        for call in (uri.to_ndarray, uri.to_pil_image):
            with pytest.raises(error):
                call()

    def test_a_damaged_image(self) -> None:
        noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        data = DataURI.from_image(noise).decoded_data[:-200]
        with pytest.raises(CorruptMediaError):
            DataURI(mimetype="image/png", data=base64.b64encode(data)).to_ndarray()

    def test_too_many_pixels(self) -> None:
        with pytest.raises(LimitExceededError):
            self.URI.to_ndarray(max_pixels=53)

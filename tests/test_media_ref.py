"""References: two fields, their checks, and the pixels behind them."""

from __future__ import annotations

import copy
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from _http_server import Fault, ObjectServer
from _media import Clip
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mediaref_ursa import (
    DataURI,
    InvalidReferenceError,
    LimitExceededError,
    MediaNotFoundError,
    MediaRef,
    StoreError,
    UnsupportedMediaError,
)
from mediaref_ursa._images.load import load_image
from mediaref_ursa.store._location import Location

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
EMBEDDED = DataURI.from_image(RGB).uri


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    Image.fromarray(RGB).save(path)
    return path


@pytest.fixture
def server(picture: Path) -> Iterator[ObjectServer]:
    with ObjectServer({"/a.png": picture.read_bytes()}) as running:
        yield running


class TestFields:
    def test_in_every_way_of_construction(self) -> None:
        ref = MediaRef(uri="a.mp4", pts_ns=5)
        assert ref == MediaRef("a.mp4", 5) == MediaRef("a.mp4", pts_ns=5)
        assert ref == MediaRef.model_validate({"uri": "a.mp4", "pts_ns": 5})
        assert (ref.uri, ref.pts_ns) == ("a.mp4", 5)
        assert MediaRef("a.png").pts_ns is None

    def test_dumps_are_exactly_two_fields(self) -> None:
        ref = MediaRef(uri="video.mp4", pts_ns=1_500_000_000)
        assert ref.model_dump() == {"uri": "video.mp4", "pts_ns": 1_500_000_000}
        assert list(ref.model_dump()) == ["uri", "pts_ns"]
        assert ref.model_dump_json() == '{"uri":"video.mp4","pts_ns":1500000000}'
        assert MediaRef("a.png").model_dump_json() == '{"uri":"a.png","pts_ns":null}'
        assert dict(ref) == ref.model_dump()

    def test_dumps_validate_back(self) -> None:
        for ref in (MediaRef("video.mp4", 2**63 - 1), MediaRef("a.png"), MediaRef("é\n\"'.mp4", -(2**63))):
            assert MediaRef.model_validate(ref.model_dump()) == ref
            assert MediaRef.model_validate_json(ref.model_dump_json()) == ref
            assert MediaRef(**ref.model_dump()) == ref
            assert MediaRef(**json.loads(ref.model_dump_json())) == ref

    def test_unknown_keys_are_dropped(self) -> None:
        fields = {"uri": "a.mp4", "pts_ns": 5, "note": "x", "self": 1, "values": 2}
        assert MediaRef.model_validate(fields).model_dump() == {"uri": "a.mp4", "pts_ns": 5}
        assert MediaRef.model_validate_json('{"uri":"a.mp4","x":[1]}') == MediaRef("a.mp4")

    @pytest.mark.parametrize("name", ["seconds", "pts", "PTS_NS", "url", "format"])
    def test_a_keyword_that_is_no_field(self, name: str) -> None:
        with pytest.raises(
            TypeError, match=rf"takes uri, pts_ns, found {name}; .*MediaRef.from_seconds\(uri"
        ):
            MediaRef("a.mp4", **{name: 5})
        with pytest.raises(TypeError, match=f"found {name}; .*model_validate"):
            MediaRef("a.mp4", 5).model_copy(update={name: 6})
        assert MediaRef("a.mp4", 5).model_copy(update={"pts_ns": 6}) == MediaRef("a.mp4", 6)
        assert MediaRef.model_validate({"uri": "a.mp4", "pts_ns": 5, name: 6}) == MediaRef("a.mp4", 5)
        assert MediaRef.model_validate_json(f'{{"uri":"a.mp4","{name}":6}}') == MediaRef("a.mp4")

    def test_subclasses_have_the_keywords_of_their_fields(self) -> None:
        class Labelled(MediaRef):
            label: str = Field(alias="Label")

        class Open(MediaRef):
            model_config = ConfigDict(extra="allow")

        class Closed(MediaRef):
            model_config = ConfigDict(extra="forbid")

        assert Labelled("a.mp4", 5, Label="x").label == "x"  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="Labelled takes uri, pts_ns, label, found other"):
            Labelled("a.mp4", 5, Label="x", other=1)  # type: ignore[call-arg]
        assert Open("a.mp4", other=1).other == 1  # type: ignore[call-arg, attr-defined]
        with pytest.raises(ValidationError, match="Extra inputs"):
            Closed("a.mp4", other=1)  # type: ignore[call-arg]

    def test_a_missing_time_is_null(self) -> None:
        assert MediaRef.model_validate({"uri": "a.png"}).pts_ns is None
        assert MediaRef.model_validate_json('{"uri":"a.png","pts_ns":null}').pts_ns is None

    @pytest.mark.parametrize("call", [MediaRef, lambda: MediaRef.model_validate({"pts_ns": 5})])
    def test_a_missing_uri(self, call: Callable[[], MediaRef]) -> None:
        with pytest.raises(ValidationError, match=r"uri\n  Field required"):
            call()

    def test_too_many_values(self) -> None:
        with pytest.raises(TypeError, match="uri and pts_ns, found 3 values"):
            MediaRef("a", 1, 2)  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="two values for uri"):
            MediaRef("a", uri="b")  # type: ignore[misc]

    def test_are_frozen(self) -> None:
        ref = MediaRef("a.mp4", 5)
        with pytest.raises(ValidationError, match="frozen"):
            ref.pts_ns = 6  # type: ignore[misc]

    def test_equal_references_are_one_key(self) -> None:
        assert (
            len({MediaRef("a", 5), MediaRef(uri="a", pts_ns=np.int64(5)), MediaRef("a"), MediaRef("b", 5)})
            == 3
        )

    def test_survive_pickling_and_copying(self) -> None:
        ref = MediaRef("a.mp4", 5)
        for twin in (pickle.loads(pickle.dumps(ref)), copy.copy(ref), copy.deepcopy(ref), ref.model_copy()):
            assert twin == ref
            assert hash(twin) == hash(ref)

    def test_fit_into_other_models(self) -> None:
        class Row(BaseModel):
            refs: list[MediaRef]

        row = Row.model_validate_json('{"refs":[{"uri":"a.mp4","pts_ns":5},{"uri":"b.png"}]}')
        assert row.refs == [MediaRef("a.mp4", 5), MediaRef("b.png")]
        assert Row.model_validate(row.model_dump()) == row

    def test_have_a_json_schema(self) -> None:
        schema = MediaRef.model_json_schema()
        assert schema["properties"]["uri"]["type"] == "string"
        assert schema["properties"]["pts_ns"]["anyOf"] == [{"type": "integer"}, {"type": "null"}]
        assert schema["required"] == ["uri"]


class TestUri:
    def test_a_data_uri_becomes_its_text(self) -> None:
        data = DataURI.from_image(RGB)
        for ref in (MediaRef(uri=data), MediaRef.model_validate({"uri": data})):
            assert ref.uri == data.uri
            assert type(ref.uri) is str

    @pytest.mark.parametrize("value", [Path("a.mp4"), np.str_("a.mp4"), pa.scalar("a.mp4")], ids=repr)
    def test_what_else_is_text(self, value: Any) -> None:
        ref = MediaRef(uri=value)
        assert ref.uri == "a.mp4"
        assert type(ref.uri) is str

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("", "found an empty string"),
            ("a\0b", "found a NUL byte"),
            (None, "type NoneType"),
            (5, "type int"),
            (b"a.mp4", "type bytes"),
            (Path, "type type"),
            (pa.scalar(None, pa.string()), "type StringScalar"),
            ("caf\udce9.mp4", "percent-encode them in a file:// URI"),
        ],
    )
    def test_what_is_none(self, value: Any, message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            MediaRef(uri=value)

    def test_a_surrogate_in_json(self) -> None:
        with pytest.raises(ValidationError):
            MediaRef.model_validate_json('{"uri":"a\\ud800"}')

    @pytest.mark.parametrize(
        ("uri", "true"),
        [
            ("a/b.mp4", {"is_relative_path"}),
            ("/a.mp4", set()),
            ("file:///a.mp4", set()),
            ("http://h/a.mp4", {"is_remote"}),
            ("HTTPS://h/a.mp4", {"is_remote"}),
            ("s3://b/a.mp4", {"is_cloud_uri"}),
            ("gs://b/a.mp4", {"is_cloud_uri"}),
            ("data:,x", {"is_embedded"}),
            ("DATA:,x", {"is_embedded"}),
        ],
    )
    def test_kinds(self, uri: str, true: set[str]) -> None:
        names = ("is_embedded", "is_remote", "is_cloud_uri", "is_relative_path")
        for pts_ns in (None, 0):
            ref = MediaRef(uri, pts_ns)
            assert {name for name in names if getattr(ref, name)} == true
            assert ref.is_video is (pts_ns is not None)


class TestTime:
    @pytest.mark.parametrize(
        "value",
        [5, np.int8(5), np.int64(5), np.uint64(5), np.array(5), pa.scalar(5), pa.scalar(5, pa.uint8())],
        ids=repr,
    )
    def test_integers_of_all_kinds(self, value: Any) -> None:
        for ref in (MediaRef("a", value), MediaRef.model_validate({"uri": "a", "pts_ns": value})):
            assert ref.pts_ns == 5
            assert type(ref.pts_ns) is int

    @pytest.mark.parametrize("value", [2**63 - 1, -(2**63), 0, -1])
    def test_the_whole_range(self, value: int) -> None:
        assert MediaRef("a", value).pts_ns == value
        assert MediaRef.model_validate_json(MediaRef("a", value).model_dump_json()).pts_ns == value

    @pytest.mark.parametrize("value", [None, pa.scalar(None, pa.int64()), pd.NA], ids=repr)
    def test_nulls_of_all_kinds(self, value: Any) -> None:
        assert MediaRef("a", value).pts_ns is None

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (True, "boolean"),
            (np.bool_(False), "boolean"),
            (pa.scalar(True), "boolean"),
            (1.5, "fraction 1.5"),
            (5.0, "fraction 5.0"),
            (float("nan"), "fraction nan"),
            (np.float32(1.5), "fraction 1.5"),
            (pa.scalar(1.5), "fraction 1.5"),
            (Fraction(1, 3), "fraction 1/3"),
            (Fraction(5), "fraction 5"),
            (Decimal("1.5"), "fraction 1.5"),
            ("5", "type str"),
            (b"5", "type bytes"),
            ([5], "type list"),
            (2**63, "overflow"),
            (-(2**63) - 1, "overflow"),
            (10**6000, "overflow"),
            (np.uint64(2**63), "overflow"),
        ],
        ids=lambda value: repr(value)[:30] if not isinstance(value, int) else hex(value)[:20],
    )
    def test_what_is_no_int64(self, value: Any, message: str) -> None:
        for call in (
            lambda: MediaRef("a", value),
            lambda: MediaRef.model_validate({"uri": "a", "pts_ns": value}),
        ):
            with pytest.raises(ValidationError, match=message):
                call()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1.5", "fraction"),
            ("5.0", "fraction"),
            ("1e3", "fraction"),
            ("true", "boolean"),
            ('"5"', "type str"),
            ("9223372036854775808", "overflow"),
            ("-9223372036854775809", "overflow"),
        ],
    )
    def test_what_is_no_int64_in_json(self, text: str, message: str) -> None:
        with pytest.raises(ValidationError, match=message):
            MediaRef.model_validate_json(f'{{"uri":"a","pts_ns":{text}}}')


class TestShown:
    def test_is_the_call_that_makes_it(self) -> None:
        ref = MediaRef("a.mp4", 5)
        assert repr(ref) == str(ref) == "MediaRef(uri='a.mp4', pts_ns=5)"
        assert eval(repr(ref)) == ref

    def test_never_a_megabyte_of_base64(self) -> None:
        ref = MediaRef("data:image/png;base64," + "A" * 2**20, 5)
        for text in (repr(ref), str(ref), f"{ref}", repr([ref])):
            assert len(text) < 200
            assert "data:image/png;base64,..." in text
        assert not hasattr(ref, "_repr_html_")
        assert len(repr(MediaRef("x" * 10_000))) < 300

    def test_errors_do_not_show_the_value(self) -> None:
        with pytest.raises(ValidationError) as caught:
            MediaRef("https://h/a?X-Signature=secret", True)
        assert "secret" not in str(caught.value)


class TestResolveRelativePath:
    @pytest.mark.parametrize("base", ["/data/set", Path("/data/set"), "file:///data/set", "/data/set/"])
    def test_a_relative_path_is_put_after_the_base(self, base: Any) -> None:
        ref = MediaRef("clips/a b.mp4", 5).resolve_relative_path(base)
        assert ref == MediaRef("/data/set/clips/a b.mp4", 5)
        assert MediaRef("a.png").resolve_relative_path("data").uri == "data/a.png"

    @pytest.mark.parametrize("uri", ["/data/a.mp4", "file:///data/a.mp4"])
    @pytest.mark.parametrize("mode", ["error", "warn", "ignore"])
    def test_an_absolute_path_stays(self, uri: str, mode: Any) -> None:
        assert MediaRef(uri, 5).resolve_relative_path("/base", mode) == MediaRef(uri, 5)

    @pytest.mark.parametrize("uri", ["http://h/a.mp4?sig=secret", "s3://b/a.mp4", EMBEDDED, "rtsp://h/a"])
    def test_what_has_no_path(self, uri: str) -> None:
        ref = MediaRef(uri, 5)
        assert ref.resolve_relative_path("/base", on_unresolvable="ignore") is ref
        with pytest.warns(UserWarning, match=r"^Cannot resolve unresolvable URI") as warned:
            assert ref.resolve_relative_path("/base") is ref
        assert warned[0].filename == __file__
        with pytest.raises(InvalidReferenceError, match=r"^Cannot resolve unresolvable URI") as caught:
            ref.resolve_relative_path("/base", on_unresolvable="error")
        assert isinstance(caught.value, ValueError)
        for text in (str(warned[0].message), str(caught.value)):
            assert "secret" not in text
            assert len(text) < 300

    def test_misuse(self) -> None:
        with pytest.raises(ValueError, match="'error', 'warn' or 'ignore'"):
            MediaRef("a").resolve_relative_path("/base", on_unresolvable="shout")  # type: ignore[arg-type]
        with pytest.raises(InvalidReferenceError):
            MediaRef("a").resolve_relative_path("s3://bucket")


class TestValidateUri:
    def test_files(self, picture: Path) -> None:
        assert MediaRef(str(picture)).validate_uri()
        assert MediaRef(picture.as_uri(), 5).validate_uri()
        assert not MediaRef(f"{picture}.gone").validate_uri()
        assert MediaRef(str(picture.parent)).validate_uri()
        assert MediaRef(picture.parent.as_uri()).validate_uri()

    def test_whatever_stands_there(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
        (tmp_path / "circle").symlink_to(tmp_path / "circle")
        (tmp_path / "line\nbreak").touch()
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(str(tmp_path / "socket"))
            for name in ("fifo", "socket", "line\nbreak"):
                assert MediaRef(str(tmp_path / name)).validate_uri() is True
                assert MediaRef(name).validate_uri(base_dir=tmp_path) is True
        (tmp_path / "closed").mkdir()
        (tmp_path / "closed" / "a").touch()
        (tmp_path / "closed" / "a").chmod(0)
        for name in ("dangling", "circle", "x" * 300, "fifo/a", "no\nsuch", " "):
            assert MediaRef(str(tmp_path / name)).validate_uri() is False
            assert MediaRef(name).validate_uri(base_dir=tmp_path) is False
        assert MediaRef(str(tmp_path / "closed" / "a")).validate_uri() is True
        for odd in ("file:///a%00b", "file://elsewhere/a", "file:a", "file:///%ff", "~", "http:/host/a"):
            assert MediaRef(odd).validate_uri() is False

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs a folder that this user may not look into")
    def test_a_folder_that_must_not_be_looked_into(self, tmp_path: Path) -> None:
        (tmp_path / "closed").mkdir()
        (tmp_path / "closed" / "a").touch()
        (tmp_path / "closed").chmod(0)
        tmp_path.chmod(0o755)
        child = os.fork()
        if child == 0:
            try:
                os.seteuid(65534)
                os._exit(MediaRef(str(tmp_path / "closed" / "a")).validate_uri() is not False)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_embedded(self) -> None:
        assert MediaRef(EMBEDDED).validate_uri()

    def test_remote(self, server: ObjectServer) -> None:
        assert MediaRef(server.url("/a.png")).validate_uri()
        assert not MediaRef(server.url("/gone.png")).validate_uri()
        for status in (401, 403, 418):
            server.always = Fault(status=status)
            assert MediaRef(server.url("/a.png")).validate_uri() is False
        for odd in ("http://", "http:///a", "http://[::1", "http://a b/c", "http://host:99999/a"):
            assert MediaRef(odd).validate_uri() is False

    def test_a_scheme_that_no_store_serves(self) -> None:
        with pytest.raises(InvalidReferenceError, match="no store serves the scheme 'rtsp'"):
            MediaRef("rtsp://host/a").validate_uri()


class TestImages:
    def test_come_from_everywhere(self, picture: Path, server: ObjectServer) -> None:
        for uri in (str(picture), picture.as_uri(), server.url("/a.png"), EMBEDDED):
            assert np.array_equal(MediaRef(uri).to_ndarray(), RGB)

    def test_relative_paths(self, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert np.array_equal(MediaRef(picture.name).to_ndarray(base_dir=picture.parent), RGB)
        with pytest.raises(InvalidReferenceError, match="within base_dir"):
            MediaRef(f"../{picture.name}").to_ndarray(base_dir=picture.parent / "sub")
        monkeypatch.chdir(picture.parent)
        assert np.array_equal(MediaRef(picture.name).to_ndarray(), RGB)

    @pytest.mark.parametrize(
        ("format", "shape"),
        [("rgb", (6, 9, 3)), ("bgr", (6, 9, 3)), ("rgba", (6, 9, 4)), ("bgra", (6, 9, 4)), ("gray", (6, 9))],
    )
    def test_formats(self, format: Any, shape: tuple[int, ...]) -> None:
        pixels = MediaRef(EMBEDDED).to_ndarray(format=format)
        assert pixels.shape == shape
        assert pixels.dtype == np.uint8
        assert pixels.flags["WRITEABLE"]
        if len(shape) == 3:
            order = [0, 1, 2] if format.startswith("rgb") else [2, 1, 0]
            assert np.array_equal(pixels[..., order], RGB)

    def test_options(self) -> None:
        ref = MediaRef(EMBEDDED)
        assert ref.to_ndarray(resize=(3, 4)).shape == (3, 4, 3)
        assert np.array_equal(ref.to_ndarray(keep_av_open=True, tolerance_ns=5, decoder="pyav"), RGB)
        with pytest.raises(LimitExceededError):
            ref.to_ndarray(max_pixels=53)
        with pytest.raises(LimitExceededError):
            ref.to_ndarray(max_data_uri_bytes=10)
        for name in ("channel_format", "colorspace"):
            with pytest.raises(TypeError, match=f"to_ndarray takes format instead of {name}"):
                ref.to_ndarray(**{name: "NCHW"})
        with pytest.raises(TypeError):
            ref.to_ndarray(nonsense=1)

    def test_an_unknown_format(self, tmp_path: Path) -> None:
        for ref in (MediaRef(EMBEDDED), MediaRef(str(tmp_path / "gone.png")), MediaRef("gone.mp4", 5)):
            with pytest.raises(ValueError, match="Unsupported format"):
                ref.to_ndarray(format="yuv")  # type: ignore[arg-type]

    @pytest.mark.parametrize(("format", "mode"), [("rgb", "RGB"), ("rgba", "RGBA"), ("gray", "L")])
    def test_pil_images(self, format: Any, mode: str) -> None:
        image = MediaRef(EMBEDDED).to_pil_image(format=format)
        assert (image.mode, image.size) == (mode, (9, 6))
        assert np.array_equal(np.asarray(MediaRef(EMBEDDED).to_pil_image()), RGB)
        assert MediaRef(EMBEDDED).to_pil_image(resize=(3, 4)).size == (4, 3)

    def test_pil_has_no_bgr(self) -> None:
        with pytest.raises(ValueError, match="a PIL image is 'rgb', 'rgba' or 'gray', found 'bgr'"):
            MediaRef(EMBEDDED).to_pil_image(format="bgr")  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("uri", "error"),
        [
            ("gone.png", MediaNotFoundError),
            ("rtsp://host/a", InvalidReferenceError),
            ("ftp://host/a.png", InvalidReferenceError),
            ("file://server/a.png", InvalidReferenceError),
            ("data:image/png;base64,!", InvalidReferenceError),
            ("data:image/png;base64", InvalidReferenceError),
            ("data:text/plain,a", UnsupportedMediaError),
            ("data:image/png,a", UnsupportedMediaError),
            ("/dev/null", StoreError),
        ],
    )
    def test_bad_references_name_themselves(self, uri: str, error: type[Exception]) -> None:
        with pytest.raises(error) as caught:
            MediaRef(uri).to_ndarray()
        assert caught.value.uri == uri  # type: ignore[attr-defined]

    def test_files_have_a_limit(self, picture: Path) -> None:
        with pytest.raises(LimitExceededError):
            load_image(Location(str(picture)), max_bytes=picture.stat().st_size - 1)

    def test_need_no_extra(self, picture: Path) -> None:
        script = (
            "import sys\n"
            "for name in ('av', 'lance', 'pyarrow', 'temporaldata'): sys.modules[name] = None\n"
            "from mediaref_ursa import MediaRef\n"
            "assert MediaRef(sys.argv[1]).to_ndarray().shape == (6, 9, 3)\n"
            "try: MediaRef(sys.argv[1], 5).to_ndarray()\n"
            "except ImportError as error: assert \"pip install 'mediaref-ursa[video]'\" in str(error)\n"
            "else: raise AssertionError\n"
        )
        subprocess.run([sys.executable, "-c", script, str(picture)], check=True)


class TestFrames:
    @pytest.fixture
    def ref(self, clip: Callable[[str], Clip]) -> MediaRef:
        return MediaRef(str(clip("h264_idr_mp4").path), 0)

    def test_are_those_of_batch_decode(self, ref: MediaRef) -> None:
        from mediaref_ursa import batch_decode

        for format, colorspace in (("rgb", "RGB"), ("bgr", "BGR"), ("rgba", "RGBA"), ("bgra", "BGRA")):
            frame = ref.to_ndarray(format=format)  # type: ignore[arg-type]
            assert np.array_equal(frame, batch_decode([ref], colorspace=colorspace)[0])
        gray = ref.to_ndarray(format="gray", keep_av_open=True)
        assert np.array_equal(gray, batch_decode([ref], colorspace="G")[0][..., 0])
        assert gray.ndim == 2

    def test_take_decode_options(self, ref: MediaRef) -> None:
        assert ref.to_ndarray(resize=(10, 20), tolerance_ns=0).shape == (10, 20, 3)
        name = Path(ref.uri).name
        relative = MediaRef(name, ref.pts_ns)
        assert np.array_equal(relative.to_ndarray(base_dir=Path(ref.uri).parent), ref.to_ndarray())

    def test_pil_images(self, ref: MediaRef) -> None:
        assert np.array_equal(np.asarray(ref.to_pil_image()), ref.to_ndarray())
        assert ref.to_pil_image(format="gray").mode == "L"


def test_references_load_neither_pillow_nor_requests() -> None:
    script = (
        "import sys\nfrom mediaref_ursa import MediaRef\nMediaRef('a.mp4', 5).model_dump_json()\n"
        "assert not {'PIL', 'requests', 'pyarrow', 'av', 'lance'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

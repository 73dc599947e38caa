"""URIs taken apart: schemes, local paths, data URIs, and where the index stands."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mediaref_ursa import (
    InvalidReferenceError,
    LazyVideo,
    LimitExceededError,
    MediaNotFoundError,
    MediaRef,
    batch_decode,
)
from mediaref_ursa._core import uris
from mediaref_ursa._core.uris import (
    MAX_DATA_URI_BYTES,
    decode_data_payload,
    is_remote,
    local_path,
    parse_data_uri,
    scheme_of,
    why_not_found,
)
from mediaref_ursa.layout import lance_frame_index_uri


def data_uri_bytes(uri: str, *, max_bytes: int | None = MAX_DATA_URI_BYTES) -> bytes:
    parts = parse_data_uri(uri, max_bytes=max_bytes)
    return decode_data_payload(parts.payload, is_base64=parts.is_base64)


@pytest.mark.parametrize(
    ("uri", "scheme"),
    [
        ("a.mp4", ""),
        ("/data/a.mp4", ""),
        ("", ""),
        ("C:/a.mp4", ""),
        ("c://a.mp4", ""),
        ("C:\\a.mp4", ""),
        ("concat:a.mp4|b.mp4", ""),
        ("subfile,,start,0:a.mp4", ""),
        ("12:30.mp4", ""),
        ("a/http://b", ""),
        ("1x://a", ""),
        ("http:/a", ""),
        ("file:///a", "file"),
        ("FILE:/a", "file"),
        ("file:a", "file"),
        ("data:,a", "data"),
        ("DATA:,a", "data"),
        ("database.mp4", ""),
        ("HTTPS://host/a", "https"),
        ("s3://bucket/a", "s3"),
        ("git+ssh://host/a", "git+ssh"),
    ],
)
def test_scheme_of(uri: str, scheme: str) -> None:
    assert scheme_of(uri) == scheme


@pytest.mark.parametrize(
    ("uri", "kinds"),
    [
        ("a.mp4", {"is_local", "is_relative_path"}),
        ("./what?.mp4", {"is_local", "is_relative_path"}),
        ("/a.mp4", {"is_local"}),
        ("file:///a.mp4", {"is_local"}),
        ("data:,x", {"is_data"}),
        ("http://h/a", {"is_remote"}),
        ("HTTPS://h/a", {"is_remote"}),
        ("s3://b/a", {"is_cloud"}),
        ("gs://b/a", {"is_cloud"}),
        ("az://b/a", {"is_cloud"}),
        ("R2://b/a", {"is_cloud"}),
        ("rtsp://h/a", set()),
    ],
)
def test_each_uri_is_of_one_kind(uri: str, kinds: set[str]) -> None:
    names = ("is_local", "is_data", "is_remote", "is_cloud", "is_relative_path")
    assert {name for name in names if getattr(uris, name)(uri)} == kinds


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("a%20b?#.mp4", "a%20b?#.mp4"),
        ("C:\\a.mp4", "C:\\a.mp4"),
        ("file:///a%20b%23%3F.mp4", "/a b#?.mp4"),
        ("file://localhost/a", "/a"),
        ("file://LOCALHOST/a", "/a"),
        ("file:/a", "/a"),
        ("FILE:///%E6%9D%B1.mp4", "/東.mp4"),
        ("file:///東.mp4", "/東.mp4"),
        ("file:///a.mp4?x=1#t=3", "/a.mp4"),
        ("file:///100%", "/100%"),
        ("file:///caf%E9", "/caf\udce9"),
    ],
)
def test_local_path(uri: str, path: str) -> None:
    assert local_path(uri) == path


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("http://h/a", "the scheme 'http'"),
        ("data:,a", "the scheme 'data'"),
        ("file://server/a", "the host 'server'"),
        ("file:a", "an absolute path after file://"),
        ("file:", "an absolute path after file://"),
        ("", "found an empty one"),
        ("a\0b", "found a NUL byte"),
        ("file:///a%00b", "found a NUL byte"),
    ],
)
def test_what_is_no_local_path(uri: str, message: str) -> None:
    with pytest.raises(InvalidReferenceError, match=message) as caught:
        local_path(uri)
    assert caught.value.uri == uri


ODD = {
    " http://host/a.mp4": "begins or ends with white space",
    "http://host/a.mp4 ": "begins or ends with white space",
    "a.mp4\n": "begins or ends with white space",
    "take\none.mp4": "line break",
    "take\x7fone.mp4": "control character",
    "'a.mp4'": "quotation marks",
    "http:/host/a.mp4": "'http:' is read as part of a path",
    "S3:/bucket/a.mp4": "'S3:' is read as part of a path",
    "videos/http://host/a.mp4": "'http:' is read as part of a path",
    "http:\\\\host\\a.mp4": "is read as part of a path",
    "clips\\a.mp4": "backslashes",
    "C:\\clips\\a.mp4": "backslashes",
    "~/a.mp4": "expanduser",
    "take%201.mp4": "percent-encoding",
}


@pytest.mark.parametrize(("uri", "cause"), ODD.items())
def test_a_file_that_is_not_there_for_a_reason(uri: str, cause: str) -> None:
    assert cause in why_not_found(uri)
    if not is_remote(uri):
        with pytest.raises(MediaNotFoundError, match=cause):
            MediaRef(uri).to_ndarray()
        with pytest.raises(MediaNotFoundError, match=cause):
            batch_decode([{"uri": uri, "pts_ns": 0}])
        with pytest.raises(MediaNotFoundError, match=cause):
            LazyVideo.from_uri(uri)


@pytest.mark.parametrize(
    "uri", ["a.mp4", "/data/take 1.mp4", "C:/a.mp4", "file:///a%20b.mp4", "https://host/a%20b", "12:30.mp4"]
)
def test_nothing_is_odd(uri: str) -> None:
    assert why_not_found(uri) == ""


def test_a_hint_shows_no_secret() -> None:
    with pytest.raises(MediaNotFoundError, match="white space") as caught:
        batch_decode([{"uri": " https://user:secret@host/a?key=secret", "pts_ns": 0}])
    assert "secret" not in str(caught.value)


def test_odd_names_of_files_that_are_there(tmp_path: Path) -> None:
    for name in (" a.png", "a.png\n", "a\nb.png", "'a.png'", "http:a", "a\\b.png", "~", "a%20b.png"):
        Image.new("RGB", (3, 2)).save(tmp_path / name, "png")
        assert MediaRef(str(tmp_path / name)).to_ndarray().shape == (2, 3, 3)


@pytest.mark.parametrize("scheme", ["FILE", "File"])
def test_schemes_in_upper_case(scheme: str, tmp_path: Path) -> None:
    Image.new("RGB", (3, 2)).save(tmp_path / "a.png")
    assert MediaRef(f"{scheme}://{tmp_path}/a.png").to_ndarray().shape == (2, 3, 3)


class TestParseDataUri:
    @pytest.mark.parametrize(
        ("uri", "mimetype", "parameters", "is_base64", "payload"),
        [
            ("data:,", "text/plain", ("charset=US-ASCII",), False, b""),
            ("data:,a,b", "text/plain", ("charset=US-ASCII",), False, b"a,b"),
            ("data:;base64,aGk=", "text/plain", ("charset=US-ASCII",), True, b"aGk="),
            ("data:;charset=utf-8,a", "text/plain", ("charset=utf-8",), False, b"a"),
            ("data:image/png;base64,aGk=", "image/png", (), True, b"aGk="),
            ("DATA:image/png;BASE64,aGk=", "image/png", (), True, b"aGk="),
            ("data:image/svg+xml;utf8,%3Csvg/%3E", "image/svg+xml", ("utf8",), False, b"%3Csvg/%3E"),
            ("data:text/x;a=1;b=;base64,", "text/x", ("a=1", "b="), True, b""),
        ],
    )
    def test_parts(
        self, uri: str, mimetype: str, parameters: tuple[str, ...], is_base64: bool, payload: bytes
    ) -> None:
        parts = parse_data_uri(uri)
        assert (parts.mimetype, parts.parameters) == (mimetype, parameters)
        assert (parts.is_base64, parts.payload) == (is_base64, payload)

    @pytest.mark.parametrize(
        ("uri", "message"),
        [
            ("http://h/a", "to begin with 'data:'"),
            ("data:image/png;base64", "a comma"),
            ("data:", "a comma"),
            ("data:image,a", "a media type such as"),
            ("data:image/,a", "a media type such as"),
            ("data:image/png/x,a", "a media type such as"),
            ("data: image/png,a", "a media type such as"),
            ("data:image/png; charset=x,a", "a parameter such as"),
            ("data:image/png;,a", "a parameter such as"),
            ("data:image/png;a=é,a", "a parameter such as"),
            ("data:image/png;base64;a=1,aGk=", "';base64' last"),
            ("data:image/png;base64;base64,aGk=", "';base64' last"),
            ("data:text/plain,é", "found 'é' at 0"),
        ],
    )
    def test_malformed(self, uri: str, message: str) -> None:
        with pytest.raises(ValueError, match=f"Malformed data URI: .*{message}"):
            parse_data_uri(uri)

    @pytest.mark.parametrize("payload", ["aGk=", "aGkh", "aGk%3D", "aA==", "aA%3d%3D", ""])
    def test_the_limit_is_exact_for_base64(self, payload: str) -> None:
        uri = f"data:text/plain;base64,{payload}"
        size = len(data_uri_bytes(uri, max_bytes=None))
        assert len(data_uri_bytes(uri, max_bytes=size)) == size
        with pytest.raises(LimitExceededError, match=f"at most {size - 1} bytes in a data URI, found {size}"):
            data_uri_bytes(uri, max_bytes=size - 1)

    def test_the_limit_is_exact_for_escapes(self) -> None:
        assert data_uri_bytes("data:,%20a%20", max_bytes=3) == b" a "
        with pytest.raises(LimitExceededError):
            parse_data_uri("data:,%20a%20", max_bytes=2)

    def test_the_limit_is_64_mib(self) -> None:
        data_uri_bytes("data:;base64," + "A" * (2**26 // 3 * 4))
        with pytest.raises(LimitExceededError) as caught:
            data_uri_bytes("data:;base64," + "A" * (2**26 // 3 * 4 + 4))
        assert len(str(caught.value)) < 300


class TestDecodeDataPayload:
    @pytest.mark.parametrize(
        ("payload", "is_base64", "data"),
        [
            (b"aGk=", True, b"hi"),
            (b"aGk%3D", True, b"hi"),
            (b"%2B%2F+/", True, b"\xfb\xff\xbf"[:3]),
            (b"", True, b""),
            (b"a%20b%00%FF", False, b"a b\0\xff"),
            (b"A-z0._~!$&'()*+,;=:@/?[]", False, b"A-z0._~!$&'()*+,;=:@/?[]"),
        ],
    )
    def test_good(self, payload: bytes, is_base64: bool, data: bytes) -> None:
        assert decode_data_payload(payload, is_base64=is_base64) == data

    @pytest.mark.parametrize(
        "payload", [b"a", b"aGk", b"aG k=", b"aGk=\n", b"a-_=", b"aGk=aGk=", b"====", b"\xff"]
    )
    def test_bad_base64(self, payload: bytes) -> None:
        with pytest.raises(ValueError, match="expected a payload in base64"):
            decode_data_payload(payload, is_base64=True)

    @pytest.mark.parametrize(
        ("payload", "place"),
        [
            (b"a b", "' ' at 1"),
            (b"100%", "'%' at 3"),
            (b"%2", "'%' at 0"),
            (b"%zz", "'%' at 0"),
            (b"a#b", "'#' at 1"),
            (b"a\nb", "at 1"),
            (b"<svg>", "'<' at 0"),
            (b"\xc3\xa9", "at 0"),
        ],
    )
    def test_bad_escapes(self, payload: bytes, place: str) -> None:
        with pytest.raises(ValueError, match=f"expected a percent-encoded payload, found .*{place}"):
            decode_data_payload(payload, is_base64=False)


class TestLayout:
    @pytest.mark.parametrize(
        ("uri", "index"),
        [
            ("a.mp4", "a.mp4.lance"),
            ("/data/what?#.mp4", "/data/what?#.mp4.lance"),
            ("file:///a%3F.mp4", "file:///a%3F.mp4.lance"),
            ("https://h/a.mp4", "https://h/a.mp4.lance"),
            ("https://h/a.mp4?sig=1", "https://h/a.mp4.lance"),
            ("https://h/a.mp4#t=1", "https://h/a.mp4.lance"),
            ("https://h/a.mp4?sig=1#t=1?x", "https://h/a.mp4.lance"),
            ("s3://b/a.mp4?versionId=1", "s3://b/a.mp4.lance"),
        ],
    )
    def test_the_index_stands_beside(self, uri: str, index: str) -> None:
        assert lance_frame_index_uri(uri) == index

    def test_nothing_stands_beside_a_data_uri(self) -> None:
        with pytest.raises(ValueError, match="found a data URI"):
            lance_frame_index_uri("data:video/mp4;base64,AAAA")

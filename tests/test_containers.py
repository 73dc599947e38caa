"""A container is known by its first bytes, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from _tables import PATIENT
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._containers import SNIFF_BYTES, sniff_container
from mediaref_ursa._errors import CorruptMediaError, MediaRefError, UnsupportedMediaError

URI = "https://host/a.mp4?sig=secret"


def ts(size: int, first: int, count: int) -> bytes:
    packet = bytes(first) + b"\x47" + bytes(size - first - 1)
    return (packet * count)[:SNIFF_BYTES]


CONTAINERS = {
    "MP4": (b"\0\0\0\x20ftypisom", "mov"),
    "QuickTime without ftyp": (b"\0\0\0\x08wide\0\0\0\0mdat", "mov"),
    "media before its description": (b"\0\0\1\0mdat", "mov"),
    "fragment": (b"\0\0\0\x18styp", "mov"),
    "Matroska": (bytes.fromhex("1a45dfa3"), "matroska"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST", "avi"),
    "OpenDML AVI": (b"RIFF\0\0\0\0AVIXLIST", "avi"),
    "FLV": (b"FLV\x01\x05", "flv"),
    "Ogg": (b"OggS\0\2", "ogg"),
    "IVF": (b"DKIF\0\0\x20\0AV01", "ivf"),
    "GIF 87": (b"GIF87a", "gif"),
    "GIF 89": (b"GIF89a", "gif"),
    "ASF": (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),
    "MPEG program stream": (b"\0\0\1\xba\x44", "mpeg"),
    "MPEG transport stream": (ts(188, 0, 4), "mpegts"),
    "Blu-ray transport stream": (ts(192, 4, 4), "mpegts"),
    "transport stream with parity": (ts(204, 0, 3), "mpegts"),
    "a transport stream of two packets": (ts(188, 0, 2), "mpegts"),
}

REFUSED = {
    "HLS playlist": b"#EXTM3U\n#EXT-X-VERSION:3\nhttp://inside/a.ts\n",
    "concat script": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "DASH manifest": b'<?xml version="1.0"?><MPD></MPD>',
    "HTML page": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "JSON": b'{"error": "access denied"}',
    "text": b"this is not a video\n" * 40,
    "text that begins like a transport stream": b"Good evening, this is no transport stream.\n",
    "SDP": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\n",
    "wave audio": b"RIFF\0\0\0\0WAVEfmt ",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "JPEG": b"\xff\xd8\xff\xe0\0\x10JFIF",
    "zip": b"PK\x03\x04",
    "zeros": bytes(SNIFF_BYTES),
    "one byte": b"\0",
    "a transport stream out of step": b"\x47" + bytes(188) + b"\x47" + bytes(400),
}


@pytest.mark.parametrize(("head", "name"), CONTAINERS.values(), ids=CONTAINERS)
def test_containers_are_known(head: bytes, name: str) -> None:
    assert sniff_container(head) == name
    assert sniff_container(head.ljust(64, b"\0")[:SNIFF_BYTES]) == name


@pytest.mark.parametrize("head", REFUSED.values(), ids=REFUSED)
def test_anything_else_is_refused(head: bytes) -> None:
    with pytest.raises(UnsupportedMediaError, match="expected a video") as caught:
        sniff_container(head, uri=URI)
    assert caught.value.uri == URI
    assert "secret" not in str(caught.value)


def test_an_empty_file_is_corrupt() -> None:
    with pytest.raises(CorruptMediaError, match="empty file") as caught:
        sniff_container(b"", uri=URI)
    assert caught.value.uri == URI


@PATIENT
@given(st.binary(max_size=SNIFF_BYTES))
def test_any_bytes_give_a_name_or_one_error(head: bytes) -> None:
    try:
        assert sniff_container(head) in {name for _, name in CONTAINERS.values()}
    except MediaRefError as error:
        assert isinstance(error, ValueError)


@PATIENT
@given(st.sampled_from(list(CONTAINERS.values())), st.binary(max_size=100))
def test_what_follows_the_signature_does_not_matter(container: tuple[bytes, str], rest: bytes) -> None:
    head, name = container
    if name != "mpegts":
        assert sniff_container(head + rest) == name

"""A container is known by its first bytes, and nothing else is taken for one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from _tables import PATIENT
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._containers.claimed_counts import CheckedReader
from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._containers.sniff import SNIFF_BYTES, is_cut_short, sniff_container
from mediaref_ursa._core.errors import CorruptMediaError, LimitExceededError, UnsupportedMediaError

URI = "https://host/a.mp4?sig=secret"


def ts(size: int, first: int, count: int) -> bytes:
    packet = bytes(first) + b"\x47" + bytes(size - first - 1)
    return (packet * count)[:SNIFF_BYTES]


CONTAINERS = {
    "MP4": (b"\0\0\0\x20ftypisom", "mov"),
    "QuickTime without ftyp": (b"\0\0\0\x08wide\0\0\0\0mdat", "mov"),
    "media before its description": (b"\0\0\1\0mdat", "mov"),
    "fragment": (b"\0\0\0\x18styp", "mov"),
    "Matroska": (bytes.fromhex("1a45dfa3 010000000000001f"), "matroska"),
    "AVI": (b"RIFF\0\0\0\0AVI LIST", "avi"),
    "OpenDML AVI": (b"RIFF\0\0\0\0AVIXLIST", "avi"),
    "FLV": (b"FLV\x01\x05\0\0\0\x09", "flv"),
    "Ogg": (b"OggS\0\2\0\0", "ogg"),
    "IVF": (b"DKIF\0\0\x20\0AV01", "ivf"),
    "GIF 87": (b"GIF87a\x10\0\x10\0", "gif"),
    "GIF 89": (b"GIF89a\x10\0\x10\0", "gif"),
    "ASF": (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),
    "MPEG program stream": (b"\0\0\1\xba\x44\0\4\0", "mpeg"),
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
    with suppress(UnsupportedMediaError, CorruptMediaError):
        assert sniff_container(head) in {name for _, name in CONTAINERS.values()}


@PATIENT
@given(st.sampled_from(list(CONTAINERS.values())), st.binary(max_size=100))
def test_what_follows_the_signature_does_not_matter(container: tuple[bytes, str], rest: bytes) -> None:
    head, name = container
    if name != "mpegts":
        assert sniff_container(head + rest) == name


def box(kind: bytes, size: int, *, wide: bool = False) -> bytes:
    head = (
        b"\0\0\0\1" + kind + (16 + size).to_bytes(8, "big") if wide else (8 + size).to_bytes(4, "big") + kind
    )
    return head + bytes(size)


def mkv(size: int, *, known: bool = True) -> bytes:
    length = (size | 1 << 56).to_bytes(8, "big") if known else b"\x01" + b"\xff" * 7
    return bytes.fromhex("1a45dfa3") + b"\x84" + bytes(4) + bytes.fromhex("18538067") + length + bytes(size)


def riff(kind: bytes, size: int) -> bytes:
    return b"RIFF" + (size + 4).to_bytes(4, "little") + kind + bytes(size)


WHOLE = {
    "MP4, description first": ("mov", box(b"ftyp", 12) + box(b"moov", 60) + box(b"mdat", 200)),
    "MP4, description last": ("mov", box(b"ftyp", 12) + box(b"mdat", 200) + box(b"moov", 60)),
    "MP4 with a large box": ("mov", box(b"ftyp", 12) + box(b"mdat", 200, wide=True) + box(b"moov", 60)),
    "fragmented MP4": ("mov", box(b"moov", 60) + (box(b"moof", 20) + box(b"mdat", 50)) * 3),
    "Matroska": ("matroska", mkv(200)),
    "AVI": ("avi", riff(b"AVI ", 200)),
    "AVI of odd length": ("avi", riff(b"AVI ", 201)),
    "OpenDML AVI": ("avi", riff(b"AVI ", 200) + riff(b"AVIX", 100)),
    "MPEG transport stream": ("mpegts", ts(188, 0, 3)),
    "Blu-ray transport stream": ("mpegts", ts(192, 4, 3)),
}


def cut_short(name: str, data: bytes) -> bool:
    def read_range(offset: int, length: int) -> bytes:
        assert 0 <= offset < offset + length <= len(data), "asked for bytes outside the file"
        return data[offset : offset + length]

    return is_cut_short(name, len(data), read_range)


@pytest.mark.parametrize(("name", "data"), WHOLE.values(), ids=WHOLE)
def test_a_whole_file_is_not_cut_short_and_a_part_of_its_last_element_is(name: str, data: bytes) -> None:
    assert not cut_short(name, data)
    assert [cut for cut in range(len(data) - 50, len(data) - 2) if not cut_short(name, data[:cut])] == []


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("mov", box(b"moov", 60) + b"\0\0\0\0mdat" + bytes(100)),
        ("matroska", mkv(200, known=False)),
        ("matroska", mkv(200, known=False)[:-50]),
        ("avi", b"RIFF\0\0\0\0AVI LIST" + bytes(100)),
        ("ogg", b"OggS" + bytes(100)),
    ],
)
def test_a_container_that_does_not_say_how_long_it_is(name: str, data: bytes) -> None:
    assert not cut_short(name, data)


@pytest.mark.parametrize("trailer", [b"SEFT trailer of a phone", bytes(5), b"\0\0\0\4", b"TAG" + bytes(125)])
def test_what_a_camera_appends_to_an_mp4_does_not_make_it_cut_short(trailer: bytes) -> None:
    """Its media is all there; only what is not MP4 follows."""
    assert not cut_short("mov", WHOLE["MP4, description first"][1] + trailer)


@PATIENT
@given(st.sampled_from(sorted({name for _, name in CONTAINERS.values()})), st.binary(min_size=1, max_size=80))
def test_any_bytes_are_cut_short_or_not(name: str, data: bytes) -> None:
    """No error, no end without end, no byte outside the file."""
    assert cut_short(name, data) in (True, False)


@pytest.mark.parametrize(
    ("name", "head", "unit"),
    [("mov", b"\0\0\0\x10ftypisom\0\0\0\0", b"\0\0\0\x08free"), ("avi", b"", b"RIFF\x02\0\0\0AV")],
)
def test_the_walk_over_tiny_boxes_has_a_bound(
    name: str, head: bytes, unit: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mediaref_ursa._containers.sniff._MAX_BOXES", 100)
    data = head + unit * 1000
    reads = []

    def read_range(offset: int, length: int) -> bytes:
        reads.append(offset)
        return data[offset : offset + length]

    assert not is_cut_short(name, len(data), read_range)
    assert len(reads) == 100


def test_more_boxes_than_any_movie_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mediaref_ursa._containers.claimed_counts._MAX_BOXES", 100)
    data = b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 1000
    reader = CheckedReader(RangeReader(lambda at, size: data[at : at + size], len(data)), "mov", URI)
    with pytest.raises(LimitExceededError, match="boxes"):
        reader.read()

"""The index's description of its segments: there and back, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from _tables import INFO, PATIENT, packet_table, segment_table, time_bases
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._core.errors import FrameIndexInvalidError, FrameIndexVersionError
from mediaref_ursa._model.index_metadata import VERSION, decode_metadata, encode_metadata
from mediaref_ursa._model.segment import SegmentInfo
from mediaref_ursa._model.stream_header import StreamHeader

INDEX = "/videos/a.mp4.lance"

ratios = st.none() | st.fractions(min_value=0, max_value=1000, max_denominator=1000)
numbers = st.none() | st.integers(-(2**62), 2**62)
headers = st.builds(
    StreamHeader,
    stream_index=st.integers(0, 9),
    color_primaries=st.integers(0, 22),
    color_transfer=st.integers(0, 18),
    sample_aspect_ratio=ratios,
    bit_rate=numbers,
    frame_rate=ratios,
    start_ticks=numbers,
    duration_ticks=numbers,
    frames=numbers,
)
infos = st.builds(
    SegmentInfo,
    uri=st.sampled_from(["/videos/a.mp4", "/videos/b c/ü.mov", "/elsewhere/a.mp4", "https://host/a.mp4"]),
    length=st.integers(0, 2**50),
    etag=st.none() | st.text(max_size=5),
    container=st.sampled_from(["mov", "matroska", "mpegts"]),
    codec=st.sampled_from(["h264", "hevc", "vp9"]),
    codec_tag=st.text(max_size=4),
    extradata=st.binary(max_size=40),
    time_base=time_bases(),
    width=st.integers(0, 8000),
    height=st.integers(0, 8000),
    pixel_format=st.sampled_from(["yuv420p", "yuv420p10le"]),
    colorspace=st.integers(0, 255),
    color_range=st.integers(0, 2),
    rotation=st.sampled_from([0, 90, 180, 270]),
    addressable=st.booleans(),
    cut_short=st.booleans(),
    lookahead_packets=st.integers(0, 40),
    bits_per_coded_sample=st.integers(0, 64),
    reorder_depth=st.integers(0, 16),
    header=st.none() | headers,
)


def described(index: str = INDEX, uri: str = INFO.uri, **changes: Any) -> dict[str, Any]:
    """Return the JSON value of one small segment, with some keys changed."""
    value: dict[str, Any] = json.loads(encode_metadata([segment_table([0, 1], uri=uri)], index))
    value["segments"][0].update(changes)
    return value


def decoded(value: Any, index: str = INDEX) -> SegmentInfo:
    return decode_metadata(json.dumps(value), index)[0].info


@PATIENT
@given(st.lists(infos, max_size=3))
def test_segments_come_back_as_they_were(found: list[SegmentInfo]) -> None:
    empty = replace(segment_table([]), packets=packet_table(0))
    tables = [replace(empty, info=info) for info in found]

    entries = decode_metadata(encode_metadata(tables, INDEX), INDEX)

    assert [entry.info for entry in entries] == found
    assert [(entry.frames, entry.packets) for entry in entries] == [(0, 0)] * len(found)


def test_frames_and_packets_are_counted() -> None:
    tables = [segment_table([0, 1], packets=packet_table(5)), segment_table([0])]

    entries = decode_metadata(encode_metadata(tables, INDEX), INDEX)

    assert [(entry.frames, entry.packets) for entry in entries] == [(2, 5), (1, 1)]


PLACES = {
    "beside": ("/videos/a.mp4", "/videos/a.mp4.lance", None),
    "beside, relative": ("a.mp4", "a.mp4.lance", None),
    "beside, on the web": ("https://h/v/a.mp4", "https://h/v/a.mp4.lance", None),
    "beside, in a bucket": ("s3://bucket/v/a.mp4", "s3://bucket/v/a.mp4.lance", None),
    "beside, as a file URI": ("file:///videos/a%20b.mp4", "file:///videos/a%20b.mp4.lance", None),
    "beside, with a question mark": ("/videos/what?.mp4", "/videos/what?.mp4.lance", None),
    "beside another": ("/videos/b.mp4", "/videos/a.mp4.lance", "b.mp4"),
    "below": ("/videos/day 1/b.mp4", "/videos/a.mp4.lance", "day 1/b.mp4"),
    "above": ("/b.mp4", "/videos/a.mp4.lance", "../b.mp4"),
    "relative paths": ("clips/b.mp4", "clips/a.mp4.lance", "b.mp4"),
    "one relative, one not": ("/videos/b.mp4", "clips/a.mp4.lance", "/videos/b.mp4"),
    "beside another, on the web": ("https://h/v/b.mp4", "https://h/v/a.mp4.lance", "b.mp4"),
    "below, on the web": ("https://h/v/w/b.mp4", "https://h/v/a.mp4.lance", "w/b.mp4"),
    "above, on the web": ("https://h/b.mp4", "https://h/v/a.mp4.lance", "https://h/b.mp4"),
    "on another host": ("https://other/v/a.mp4", "https://h/v/a.mp4.lance", "https://other/v/a.mp4"),
    "of another store": ("https://h/v/a.mp4", "/videos/a.mp4.lance", "https://h/v/a.mp4"),
    "a name with a question mark": ("/videos/what?.mp4", "/videos/a.mp4.lance", "what?.mp4"),
    "a name like a data URI": ("/videos/data:1.mp4", "/videos/a.mp4.lance", ...),
    "a name like a file URI": ("/videos/file:1.mp4", "/videos/a.mp4.lance", ...),
}


@pytest.mark.parametrize(("uri", "index", "stored"), PLACES.values(), ids=PLACES)
def test_uris_are_stored_relative_to_the_index(uri: str, index: str, stored: Any) -> None:
    value = described(index, uri)

    assert stored in (..., value["segments"][0]["uri"])
    assert decoded(value, index).uri == uri


def test_an_index_that_moves_or_is_renamed_with_its_video_finds_it() -> None:
    value = described("/videos/a.mp4.lance", "/videos/a.mp4")

    for uri in (
        "/archive/2024/a.mp4",
        "/videos/renamed.mp4",
        "https://host/v/a.mp4",
        "s3://bucket/a.mp4",
        "a.mp4",
    ):
        assert decoded(value, f"{uri}.lance").uri == uri


def test_segments_that_move_with_the_index_are_found() -> None:
    value = described("/videos/a.mp4.lance", "/videos/parts/1.mp4")

    assert decoded(value, "/archive/b.mp4.lance").uri == "/archive/parts/1.mp4"
    assert decoded(value, "https://host/v/a.mp4.lance").uri == "https://host/v/parts/1.mp4"
    assert decoded(value, "a.mp4.lance").uri == "parts/1.mp4"


def test_signatures_are_not_stored() -> None:
    text = encode_metadata(
        [segment_table([0], uri="https://h/v/a.mp4?sig=secret#t=3")], "https://h/v/a.mp4.lance"
    )

    assert "secret" not in text
    assert decode_metadata(text, "https://h/v/a.mp4.lance")[0].info.uri == "https://h/v/a.mp4"


def test_the_value_is_versioned_json() -> None:
    value = described()

    assert value["version"] == f"{VERSION[0]}.{VERSION[1]}"
    assert value["segments"][0]["time_base"] == [1, 90_000]


def test_unknown_keys_and_newer_minor_versions_are_read() -> None:
    value = {**described(hdr={"peak": 1000}), "version": f"{VERSION[0]}.99", "writer": "a later one"}

    assert decoded(value) == INFO


@pytest.mark.parametrize("key", ["etag", "codec_tag", "colorspace", "color_range", "lookahead_packets"])
def test_keys_that_an_older_minor_version_may_lack(key: str) -> None:
    value = described()
    del value["segments"][0][key]

    assert decoded(value).codec == "h264"


@pytest.mark.parametrize("version", ["2.0", "2", "17.3"])
def test_a_newer_major_version_is_its_own_error(version: str) -> None:
    with pytest.raises(FrameIndexVersionError, match=r"expected.*1\.x, found.*upgrade") as caught:
        decoded({"version": version, "segments": "not understood"})
    assert caught.value.uri == INDEX


NOT_METADATA = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "a number": "5",
    "null": "null",
    "no version": "{}",
    "a version that is no number": '{"version": "new"}',
    "no segments": '{"version": "1.0"}',
    "segments that are no list": '{"version": "1.0", "segments": 5}',
    "segments that are text": '{"version": "1.0", "segments": "text"}',
    "a segment that is null": '{"version": "1.0", "segments": [null]}',
    "a segment that is a list": '{"version": "1.0", "segments": [[]]}',
    "an infinite number": json.dumps(described(length=float("inf"))),
    "no number": json.dumps(described(length=float("nan"))),
    "nested without end": "[" * 100_000,
    "nested without end in a segment": '{"version": "1.0", "segments": [' + "[" * 100_000,
    "a number of very many digits": '{"version": "1.0", "segments": [{"time_base": ['
    + "9" * 10_000
    + ", 1]}]}",
}


@pytest.mark.parametrize("text", NOT_METADATA.values(), ids=NOT_METADATA)
def test_what_is_no_metadata(text: str) -> None:
    with pytest.raises(FrameIndexInvalidError, match="write it anew") as caught:
        decode_metadata(text, INDEX)
    assert caught.value.uri == INDEX


CANNOT_BE: dict[str, Callable[[], dict[str, Any]]] = {
    "a negative length": lambda: described(length=-1),
    "a negative count": lambda: described(frames=-1),
    "a time base of zero": lambda: described(time_base=[0, 1]),
    "a time base over zero": lambda: described(time_base=[1, 0]),
    "a negative time base": lambda: described(time_base=[-1, 1000]),
    "a time base of one number": lambda: described(time_base=[1]),
    "a rotation by an odd angle": lambda: described(rotation=45),
    "extradata that is no base64": lambda: described(extradata="*"),
    "extradata beyond ASCII": lambda: described(extradata="ü"),
    "extradata that is a number": lambda: described(extradata=5),
    "a colour space out of range": lambda: described(colorspace=256),
    "a negative lookahead": lambda: described(lookahead_packets=-1),
    "a width that is text": lambda: described(width="wide"),
    "a uri that is a number": lambda: described() | {"segments": [{**described()["segments"][0], "uri": 5}]},
    "an empty uri": lambda: described() | {"segments": [{**described()["segments"][0], "uri": ""}]},
    "a width that is a list": lambda: described(width=[640]),
}


@pytest.mark.parametrize("make", CANNOT_BE.values(), ids=CANNOT_BE)
def test_values_that_cannot_be_true(make: Callable[[], dict[str, Any]]) -> None:
    with pytest.raises(FrameIndexInvalidError, match="lacks or distorts"):
        decoded(make())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@PATIENT
@given(st.sampled_from(sorted(described()["segments"][0])), json_values)
def test_any_value_of_any_key_is_taken_or_refused(key: str, value: Any) -> None:
    text = described()
    text["segments"][0][key] = value
    with suppress(FrameIndexInvalidError):
        found = decoded(text)
        assert isinstance(found.time_base, Fraction)
        assert found.rotation in (0, 90, 180, 270)


@PATIENT
@given(json_values)
def test_any_json_is_taken_or_refused(value: Any) -> None:
    for shape in (value, {"version": "1.0", "segments": value}, {"version": value, "segments": []}):
        with suppress(FrameIndexInvalidError, FrameIndexVersionError):
            decode_metadata(json.dumps(shape), INDEX)


def test_reading_it_back_gives_plain_numbers() -> None:
    """Numbers from NumPy columns and from JSON compare alike, and a decoder takes them."""
    table = replace(segment_table([0]), info=replace(INFO, width=int(np.int64(640))))

    info = decode_metadata(encode_metadata([table], INDEX), INDEX)[0].info

    assert {type(value) for value in (info.length, info.width, info.height, info.rotation)} == {int}


@pytest.mark.parametrize(
    "header",
    [5, [], {}, {"stream_index": "x"}, {"stream_index": 2**70}, {"stream_index": 0, "frame_rate": [1]}],
)
def test_a_header_that_cannot_be(header: Any) -> None:
    with pytest.raises(FrameIndexInvalidError):
        decoded(described(header=header))


def test_an_index_without_a_header_is_one_of_an_earlier_version() -> None:
    value = described()
    del value["segments"][0]["header"]
    assert decoded(value).header is None

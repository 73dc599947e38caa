"""References and data URIs come back equal, however they were written down."""

from __future__ import annotations

import pickle
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydantic import ValidationError

from mediaref_ursa import DataURI, MediaRef
from mediaref_ursa._core.uris import decode_data_payload, local_path, parse_data_uri, scheme_of
from mediaref_ursa.store import MemoryStore
from mediaref_ursa.table import from_arrow, to_arrow

INT64 = st.integers(-(2**63), 2**63 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40)
URIS = TEXT | st.sampled_from(
    ["a.mp4", "/a.mp4", "file:///a%20b.mp4", "https://h/a?b#c", "data:,x", "s3://b/k"]
)
REFS = st.builds(MediaRef, uri=URIS, pts_ns=st.none() | INT64)


@given(REFS)
def test_one_reference_comes_back(ref: MediaRef) -> None:
    assert MediaRef.model_validate(ref.model_dump()) == ref
    assert MediaRef.model_validate_json(ref.model_dump_json()) == ref
    twin = pickle.loads(pickle.dumps(ref))
    assert twin == ref
    assert hash(twin) == hash(ref)
    assert len(repr(ref)) < 1000


@given(st.lists(REFS, max_size=20), st.data())
def test_columns_come_back(refs: list[MediaRef], data: st.DataObject) -> None:
    array = to_arrow(refs)
    cut = data.draw(st.integers(0, len(refs)))
    assert from_arrow(array) == refs
    assert from_arrow(pa.chunked_array([array[:cut], array[cut:]])) == refs
    assert from_arrow(array[cut:]) == refs[cut:]
    assert from_arrow(pa.array([ref.model_dump_json() for ref in refs], pa.string())) == refs


@given(st.integers())
def test_any_integer_is_kept_or_refused(value: int) -> None:
    if -(2**63) <= value < 2**63:
        assert MediaRef("a", value).pts_ns == value
    else:
        with pytest.raises(ValidationError, match="overflow"):
            MediaRef("a", value)


@given(st.floats() | st.fractions() | st.decimals() | st.booleans() | st.text() | st.binary())
def test_what_is_no_integer_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        MediaRef("a", value)  # type: ignore[arg-type]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.fixed_dictionaries({}, optional={"uri": URIS | JSON, "pts_ns": INT64 | JSON, "x": JSON}))
def test_the_fast_path_for_json_columns_agrees_with_the_model(fields: dict[str, object]) -> None:
    import json

    text = json.dumps(fields)
    try:
        expected = MediaRef.model_validate_json(text)
    except ValidationError:
        with pytest.raises(ValueError, match="at row 0"):
            from_arrow(pa.array([text]))
    else:
        assert from_arrow(pa.array([text])) == [expected]


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_travel_in_a_data_uri(data: bytes, is_base64: bool) -> None:
    import base64

    payload = base64.b64encode(data) if is_base64 else quote(data, safe="").encode()
    uri = DataURI(mimetype="application/x-test", is_base64=is_base64, data=payload, parameters=("a=b",))
    parts = parse_data_uri(uri.uri, max_bytes=len(data))
    assert uri.decoded_data == data == decode_data_payload(parts.payload, is_base64=parts.is_base64)
    assert len(uri) == len(uri.uri)
    assert DataURI.from_uri(uri.uri) == uri
    assert DataURI.from_uri(uri.uri).uri == uri.uri
    assert MediaRef(uri=uri).uri == str(uri)


@given(st.text(max_size=40) | st.text("data:image/png;base64,aGk=%20", max_size=40).map("data:".__add__))
def test_any_text_is_a_data_uri_or_a_value_error(text: str) -> None:
    try:
        uri = DataURI.from_uri(text)
    except ValueError:
        return
    assert DataURI.from_uri(uri.uri) == uri
    assert parse_data_uri(uri.uri).payload == uri.data


@given(
    npst.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(4))),
    st.sampled_from(["rgb", "bgr", "rgba", "bgra"]),
)
@settings(deadline=None)
def test_pixels_come_back_from_png(pixels: np.ndarray, order: str) -> None:
    given_pixels = pixels[..., : len(order)]
    uri = DataURI.from_image(given_pixels, "png", input_format=order)  # type: ignore[arg-type]
    assert np.array_equal(uri.to_ndarray(order), given_pixels)  # type: ignore[arg-type]
    assert np.array_equal(MediaRef(uri=uri).to_ndarray(order), given_pixels)  # type: ignore[arg-type]


@given(TEXT.map("/".__add__))
def test_file_uris_name_the_path_that_was_quoted(path: str) -> None:
    assert local_path(f"file://{quote(path)}") == path
    if scheme_of(path) == "":
        assert local_path(path) == path


@given(st.binary(max_size=100), st.lists(st.tuples(st.integers(0, 120), st.integers(0, 120)), max_size=8))
def test_ranges_are_slices_or_an_error(data: bytes, ranges: list[tuple[int, int]]) -> None:
    store = MemoryStore({"a": data})
    if all(offset + length <= len(data) for offset, length in ranges):
        assert store.get_ranges("a", ranges) == [data[offset : offset + length] for offset, length in ranges]
    else:
        with pytest.raises(OSError, match="the object has"):
            store.get_ranges("a", ranges)

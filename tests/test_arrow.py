"""Columns of references: whole columns both ways, and bad rows by their number."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from mediaref_ursa import InvalidReferenceError, LimitExceededError, MediaRef
from mediaref_ursa._references import arrow
from mediaref_ursa._references.arrow import STRUCT_TYPE, refs_to_struct_array, struct_array_to_columns
from mediaref_ursa.table import from_arrow, to_arrow

REFS = [
    MediaRef("a.mp4", 0),
    MediaRef("b.png"),
    MediaRef("a.mp4", 2**63 - 1),
    MediaRef("a.mp4", -(2**63)),
    MediaRef("data:,x"),
    MediaRef("東.mp4", 1),
]


def struct_of(uris: Any, pts: Any) -> pa.StructArray:
    return pa.StructArray.from_arrays([uris, pts], ["uri", "pts_ns"])


class TestRoundTrip:
    def test_is_exact(self) -> None:
        array = to_arrow(REFS)
        assert array.type == STRUCT_TYPE == pa.struct({"uri": pa.string(), "pts_ns": pa.int64()})
        assert array.null_count == 0
        assert array.to_pylist() == [ref.model_dump() for ref in REFS]
        assert from_arrow(array) == REFS

    def test_of_nothing(self) -> None:
        assert to_arrow([]).type == STRUCT_TYPE
        assert from_arrow(to_arrow([])) == []
        assert from_arrow(pa.chunked_array([], type=STRUCT_TYPE)) == []
        assert from_arrow(pa.chunked_array([], type=pa.string())) == []

    def test_takes_any_iterable(self) -> None:
        assert to_arrow(iter(REFS)) == to_arrow(tuple(REFS)) == to_arrow(REFS)

    def test_references_are_like_validated_ones(self) -> None:
        for made, given in zip(from_arrow(to_arrow(REFS)), REFS, strict=True):
            assert made == given
            assert hash(made) == hash(given)
            assert repr(made) == repr(given)
            assert made.model_dump_json() == given.model_dump_json()
            assert made.model_fields_set == {"uri", "pts_ns"}
            assert made.model_copy(update={"pts_ns": 7}).pts_ns == 7
            with pytest.raises(ValidationError, match="frozen"):
                made.uri = "b"  # type: ignore[misc]

    def test_equal_uris_share_their_text(self) -> None:
        refs = from_arrow(to_arrow([MediaRef("a.mp4", i) for i in range(100)]))
        assert len({id(ref.uri) for ref in refs}) == 1

    def test_the_collector_runs_afterwards(self) -> None:
        import gc

        from_arrow(to_arrow(REFS))
        assert gc.isenabled()
        gc.disable()
        try:
            from_arrow(to_arrow(REFS))
            assert not gc.isenabled()
        finally:
            gc.enable()


class TestColumnsTaken:
    def test_chunks_and_slices(self) -> None:
        array = to_arrow(REFS)
        assert from_arrow(pa.chunked_array([array[:2], array[2:2], array[2:]])) == REFS
        assert from_arrow(array[1:4]) == REFS[1:4]
        assert from_arrow(pa.chunked_array([array])[3:]) == REFS[3:]

    @pytest.mark.parametrize("uri_type", [pa.string(), pa.large_string(), pa.string_view()], ids=str)
    def test_strings_of_all_kinds(self, uri_type: pa.DataType) -> None:
        uris = pa.array([ref.uri for ref in REFS], uri_type)
        assert from_arrow(struct_of(uris, to_arrow(REFS).field("pts_ns"))) == REFS

    @pytest.mark.parametrize("value_type", [pa.string(), pa.large_string()], ids=str)
    def test_dictionary_encoded_strings(self, value_type: pa.DataType) -> None:
        def encoded(refs: list[MediaRef]) -> pa.StructArray:
            uris = pa.array([ref.uri for ref in refs], value_type).dictionary_encode()
            return struct_of(uris, to_arrow(refs).field("pts_ns"))

        assert from_arrow(encoded(REFS)) == REFS
        assert from_arrow(pa.chunked_array([encoded(REFS[:3]), encoded(REFS[3:])])) == REFS

    @pytest.mark.parametrize(
        "pts_type",
        [pa.int8(), pa.int32(), pa.uint8(), pa.uint64(), pa.duration("ns"), pa.timestamp("ns")],
        ids=str,
    )
    def test_times_of_all_kinds(self, pts_type: pa.DataType) -> None:
        array = struct_of(pa.array(["a", "b"]), pa.array([5, None], pts_type))
        assert from_arrow(array) == [MediaRef("a", 5), MediaRef("b")]

    def test_times_left_out_are_null(self) -> None:
        assert from_arrow(pa.array([{"uri": "a.png"}])) == [MediaRef("a.png")]
        assert from_arrow(struct_of(pa.array(["a.png"]), pa.nulls(1))) == [MediaRef("a.png")]

    def test_further_fields_are_dropped_in_any_order(self) -> None:
        array = pa.array([{"note": "x", "pts_ns": 5, "uri": "a"}])
        assert from_arrow(array) == [MediaRef("a", 5)]

    def test_a_registered_extension_type(self) -> None:
        class Reference(pa.ExtensionType):
            def __init__(self) -> None:
                super().__init__(STRUCT_TYPE, "test.reference")

            def __arrow_ext_serialize__(self) -> bytes:
                return b""

        array = pa.ExtensionArray.from_storage(Reference(), to_arrow(REFS))
        assert from_arrow(array) == REFS
        assert from_arrow(pa.chunked_array([array, array])) == REFS * 2

    def test_columns(self) -> None:
        uris, pts, is_null = struct_array_to_columns(to_arrow(REFS))
        assert uris == [ref.uri for ref in REFS]
        assert pts.dtype == np.int64
        assert pts.tolist() == [ref.pts_ns or 0 for ref in REFS]
        assert is_null.tolist() == [ref.pts_ns is None for ref in REFS]


class TestJsonColumns:
    def test_are_read(self) -> None:
        texts = [ref.model_dump_json() for ref in REFS]
        assert from_arrow(pa.array(texts)) == REFS
        assert from_arrow(pa.array(texts).dictionary_encode()) == REFS
        assert from_arrow(pa.chunked_array([texts[:2], texts[2:]])) == REFS
        assert from_arrow(pa.array(texts, pa.large_string())) == REFS
        assert from_arrow(pa.array(['{ "x": 1, "uri": "a" }'])) == [MediaRef("a")]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (None, "null row"),
            ("", "Invalid JSON"),
            ("{}", "Field required"),
            ("[]", "valid dictionary|object"),
            ("null", "valid dictionary|object"),
            ('"a"', "valid dictionary|object"),
            ('{"uri":""}', "empty string"),
            ('{"uri":"a\\u0000"}', "NUL byte"),
            ('{"uri":5}', "type int"),
            ('{"uri":"a","pts_ns":1.0}', "fraction"),
            ('{"uri":"a","pts_ns":true}', "boolean"),
            ('{"uri":"a","pts_ns":9223372036854775808}', "overflow"),
            ('{"uri":"a"}{"uri":"b"}', "Invalid JSON"),
        ],
    )
    def test_bad_rows(self, text: str | None, message: str) -> None:
        rows = pa.array(['{"uri":"a"}', text], pa.string())
        with pytest.raises(InvalidReferenceError, match=f"(?s)at row 1.*({message})|{message}.*at row 1"):
            from_arrow(rows)


class TestBadColumns:
    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (pa.array([{"uri": "a"}, None]), "a null row at row 1"),
            (pa.array([{"uri": "a"}, {"uri": None}]), "a null uri at row 1"),
            (pa.array([{"uri": "a"}, {"uri": ""}]), "an empty uri at row 1"),
            (pa.array([{"uri": "a"}, {"uri": "b\0"}]), "a NUL byte in the uri at row 1"),
            (pa.array([{"uri": 5}]), "uri to be a column of strings, found int64"),
            (pa.array([{"uri": b"a"}]), "uri to be a column of strings, found binary"),
            (pa.array([{"url": "a"}]), "expected struct<uri: string, pts_ns: int64>, found struct"),
            (pa.array([5]), "expected struct<uri: string, pts_ns: int64>, found int64"),
            (pa.array([{"uri": "a", "pts_ns": 1.0}]), "pts_ns to be int64 nanoseconds, found double"),
            (pa.array([{"uri": "a", "pts_ns": True}]), "pts_ns to be int64 nanoseconds, found bool"),
            (pa.array([{"uri": "a", "pts_ns": "5"}]), "pts_ns to be int64 nanoseconds, found string"),
            (struct_of(pa.array(["a"]), pa.array([5], pa.duration("us"))), "found duration"),
            (struct_of(pa.array(["a"]), pa.array([5], pa.timestamp("ms"))), "found timestamp"),
            (struct_of(pa.array(["a"]), pa.array([2**63], pa.uint64())), "holds no references: .*9223372"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_are_one_error(self, array: pa.Array, message: str) -> None:
        with pytest.raises(InvalidReferenceError, match=message):
            from_arrow(array)
        with pytest.raises(InvalidReferenceError, match=message):
            from_arrow(pa.chunked_array([array]))

    def test_a_null_behind_a_dictionary(self) -> None:
        uris = pa.DictionaryArray.from_arrays(pa.array([0, 1]), pa.array(["a", None]))
        with pytest.raises(InvalidReferenceError, match="a null uri at row 1"):
            from_arrow(struct_of(uris, pa.array([1, 2])))

    def test_bytes_that_are_no_text(self) -> None:
        uris = pa.array([b"\xff"], pa.binary()).view(pa.string())
        with pytest.raises(InvalidReferenceError, match="holds no references"):
            from_arrow(struct_of(uris, pa.array([1])))

    @pytest.mark.parametrize("value", [None, "a", b"a", 5, MediaRef("a.mp4")])
    def test_what_is_no_column(self, value: Any) -> None:
        with pytest.raises(TypeError, match="expected a sequence of references"):
            from_arrow(value)

    def test_rows_of_python_are_checked_as_references_are(self) -> None:
        with pytest.raises(ValueError, match="NUL"):
            from_arrow([{"uri": "a\0b.mp4", "pts_ns": 5}])


class TestBadReferences:
    @pytest.mark.parametrize("value", [{"uri": "a"}, "a", None])
    def test_what_is_no_reference(self, value: Any) -> None:
        with pytest.raises(TypeError, match="expected references, found"):
            to_arrow([MediaRef("a"), value])

    @pytest.mark.parametrize(
        ("uris", "pts"), [([5], [5]), (["a"], [2**63]), (["a"], ["x"]), (["\ud800"], [1])]
    )
    def test_values_that_do_not_fit(self, uris: Any, pts: Any) -> None:
        with pytest.raises(InvalidReferenceError):
            refs_to_struct_array(uris, pts)

    def test_more_text_than_one_array_holds(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = pa.array
        monkeypatch.setattr(arrow.pa, "array", lambda values, type: pa.chunked_array([real(values, type)]))
        with pytest.raises(LimitExceededError, match="2 GiB"):
            refs_to_struct_array(["a"], [1])


def test_a_missing_pyarrow_names_the_command() -> None:
    script = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "from mediaref_ursa import MediaRef\nfrom mediaref_ursa.table import from_arrow, to_arrow\n"
        "for call in (to_arrow, from_arrow):\n"
        "    try: call([])\n"
        "    except ImportError as error: assert \"pip install 'mediaref-ursa[video]'\" in str(error)\n"
        "    else: raise AssertionError\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

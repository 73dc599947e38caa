"""Any sequence of references becomes the same columns."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from _tables import PATIENT
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa import DataURI, InvalidReferenceError, MediaRef
from mediaref_ursa._references.columns import ReferenceColumns, reference_columns
from mediaref_ursa.table import from_arrow

PAIRS = [("a.mp4", 5), ("b.png", None), ("a.mp4", -7), ("c.mp4", 0), ("b.png", None), ("a.mp4", 5)]
ROWS = [{"uri": uri, "pts_ns": pts_ns} for uri, pts_ns in PAIRS]
REFS = [MediaRef(uri=uri, pts_ns=pts_ns) for uri, pts_ns in PAIRS]
STRUCT = pa.struct([("uri", pa.string()), ("pts_ns", pa.int64())])
Pair = namedtuple("Pair", "uri pts_ns")


def times(columns: ReferenceColumns) -> list[tuple[str, int | None]]:
    return [(uri, columns.time_of(slot)) for slot, uri in enumerate(columns.uris)]


FORMS: dict[str, Any] = {
    "a list": REFS,
    "a tuple": tuple(REFS),
    "an iterator": lambda: iter(REFS),
    "a generator": lambda: (ref for ref in REFS),
    "dicts": ROWS,
    "dicts that leave out a missing time": [{k: v for k, v in row.items() if v is not None} for row in ROWS],
    "dicts with more keys": [{**row, "label": 1} for row in ROWS],
    "named tuples": [Pair(*pair) for pair in PAIRS],
    "other objects": [SimpleNamespace(uri=uri, pts_ns=pts_ns) for uri, pts_ns in PAIRS],
    "a mixture": [REFS[0], ROWS[1], Pair(*PAIRS[2]), *REFS[3:]],
    "an object array": np.array(REFS, dtype=object),
    "a pandas column": pd.Series(REFS),
    "a pandas column of dicts": pd.Series(ROWS, index=range(10, 16)),
    "an Arrow array": pa.array(ROWS, type=STRUCT),
    "a slice of an Arrow array": pa.array([ROWS[3], *ROWS, ROWS[2]], type=STRUCT)[1:7],
    "a chunked Arrow array": pa.chunked_array(
        [pa.array(ROWS[:2], type=STRUCT), pa.array(ROWS[2:], type=STRUCT)]
    ),
    "named tuples of a table": list(
        pd.DataFrame(
            {"uri": [uri for uri, _ in PAIRS], "pts_ns": pd.array([time for _, time in PAIRS], dtype="Int64")}
        ).itertuples()
    ),
    "rows of an Arrow array": list(pa.array(ROWS, type=STRUCT)),
    "an Arrow table": pa.table({"label": range(6), "frame": pa.array(ROWS, type=STRUCT)}),
    "an Arrow table of chunks": pa.concat_tables(
        [pa.table({"frame": pa.array(rows, type=STRUCT)}) for rows in (ROWS[:2], ROWS[2:])]
    ),
    "an Arrow table of two columns": pa.table(pa.array(ROWS, type=STRUCT).flatten(), names=["uri", "pts_ns"]),
    "a record batch": pa.RecordBatch.from_pydict({"frame": pa.array(ROWS, type=STRUCT)}),
    "a record batch of two columns": pa.RecordBatch.from_pylist(ROWS),
    "a reader of batches": lambda: pa.RecordBatchReader.from_batches(
        pa.schema({"frame": STRUCT}), [pa.RecordBatch.from_pydict({"frame": pa.array(ROWS, type=STRUCT)})]
    ),
    "a table beside another uri": pa.table({"uri": ["x"] * 6, "frame": pa.array(ROWS, type=STRUCT)}),
    "a frame of references": pd.DataFrame({"label": range(6), "frame": REFS}),
    "a frame of dicts": pd.DataFrame({"frame": [*ROWS], "label": range(6)}, index=range(9, 15)),
    "a frame that begins with a null": lambda: pd.DataFrame({"frame": [None, *REFS]}).iloc[1:],
    "a frame of an Arrow column": pd.DataFrame(
        {"frame": pd.Series(ROWS, dtype=pd.ArrowDtype(STRUCT)), "label": range(6)}
    ),
    "a frame of two columns": pd.DataFrame(
        {"uri": [uri for uri, _ in PAIRS], "pts_ns": pd.array([time for _, time in PAIRS], dtype="Int64")}
    ),
    "a frame of two columns of Arrow": pa.table(
        pa.array(ROWS, type=STRUCT).flatten(), names=["uri", "pts_ns"]
    ).to_pandas(types_mapper=pd.ArrowDtype),
    "a dict of columns": {"uri": [uri for uri, _ in PAIRS], "pts_ns": [time for _, time in PAIRS]},
    "a dict of Arrow columns": dict(
        zip(("uri", "pts_ns"), pa.array(ROWS, type=STRUCT).flatten(), strict=True)
    ),
    "NumPy integers": [Pair(uri, None if pts_ns is None else np.int32(pts_ns)) for uri, pts_ns in PAIRS],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_columns(form: Any) -> None:
    columns = reference_columns(form() if callable(form) else form)

    assert times(columns) == PAIRS
    assert columns.pts_ns.dtype == np.int64
    assert columns.is_image.dtype == np.bool_
    assert columns.pts_ns.tolist() == [5, 0, -7, 0, 0, 5]
    assert len(columns) == 6


def test_videos_are_grouped_in_the_order_of_first_use_and_images_left_out() -> None:
    videos = reference_columns(REFS).videos()

    assert {uri: slots.tolist() for uri, slots in videos.items()} == {"a.mp4": [0, 2, 5], "c.mp4": [3]}
    assert list(videos) == ["a.mp4", "c.mp4"]
    assert all(slots.dtype == np.int64 for slots in videos.values())


@pytest.mark.parametrize(
    "empty", [[], (), iter([]), pa.array([], type=STRUCT), pa.chunked_array([], type=STRUCT)]
)
def test_no_references(empty: Iterable[Any]) -> None:
    columns = reference_columns(empty)

    assert len(columns) == 0
    assert columns.videos() == {}
    assert columns.pts_ns.dtype == np.int64
    assert columns.is_image.dtype == np.bool_


def test_embedded_images_become_their_uri() -> None:
    uri = "data:image/png;base64,iVBORw0KGgo="

    columns = reference_columns([MediaRef(uri=DataURI.from_uri(uri)), {"uri": uri}])

    assert columns.uris == [uri, uri]
    assert all(type(found) is str for found in columns.uris)


COLUMN = pa.array(ROWS, type=STRUCT)
NO_TABLES: dict[str, Any] = {
    "no references": pa.table({"label": [1], "name": ["a"]}),
    "two columns of references": pa.table({"left": COLUMN, "right": COLUMN}),
    "a column and rows": pa.table({"uri": ["x"] * 6, "pts_ns": range(6), "frame": COLUMN}),
    "a frame without": pd.DataFrame({"label": [1]}),
    "a frame with two": pd.DataFrame({"left": REFS, "right": REFS}),
}


@pytest.mark.parametrize("table", NO_TABLES.values(), ids=NO_TABLES)
def test_a_table_without_one_column_of_references(table: Any) -> None:
    with pytest.raises(InvalidReferenceError, match="expected a table with one column.*the column itself"):
        reference_columns(table)


def test_the_advice_about_tables_works() -> None:
    table = NO_TABLES["two columns of references"]
    with pytest.raises(InvalidReferenceError, match=r"among the columns left, right; .*table\['left'\]"):
        reference_columns(table)
    assert times(reference_columns(table["left"])) == PAIRS
    assert times(reference_columns([ROWS[0]])) == PAIRS[:1]
    assert times(reference_columns([MediaRef("a.mp4", 5)])) == PAIRS[:1]


@pytest.mark.parametrize(
    "table", [pd.DataFrame({"frame": REFS})[:0], pa.table({"frame": COLUMN})[:0], {"uri": [], "pts_ns": []}]
)
def test_a_table_without_rows(table: Any) -> None:
    assert len(reference_columns(table)) == 0


def test_a_column_of_uris_alone_names_images() -> None:
    for table in (pa.table({"uri": ["a", "b"]}), pd.DataFrame({"uri": ["a", "b"]}), {"uri": ("a", "b")}):
        assert times(reference_columns(table)) == [("a", None), ("b", None)]


def test_columns_that_hold_no_times() -> None:
    with pytest.raises(TypeError, match="at position 1, found 0.5; seconds .*pts_ns_from_seconds"):
        reference_columns(pd.DataFrame({"uri": ["a", "b"], "pts_ns": pd.Series([0, 0.5], dtype=object)}))
    with pytest.raises(TypeError, match="whole number at position 0, found 0.0"):
        reference_columns(pd.DataFrame({"uri": ["a", "b"], "pts_ns": [0, None]}))
    with pytest.raises(InvalidReferenceError, match="found double; seconds become such"):
        reference_columns(pa.table({"uri": ["a"], "pts_ns": [0.5]}))
    with pytest.raises(ValueError, match="as many pts_ns as uris, found 1 and 2"):
        reference_columns({"uri": ["a", "b"], "pts_ns": [0]})
    with pytest.raises(ValueError, match="a uri at position 1"):
        reference_columns(pd.DataFrame({"uri": ["a", None], "pts_ns": [0, 1]}))
    with pytest.raises(InvalidReferenceError, match="a null uri at row 1"):
        reference_columns(pa.table({"uri": ["a", None], "pts_ns": [0, 1]}))


def test_what_else_takes_tables() -> None:
    assert from_arrow(pa.table({"label": range(6), "frame": COLUMN})) == REFS
    assert from_arrow(pa.RecordBatch.from_pylist(ROWS)) == REFS


@pytest.mark.parametrize("one", [REFS[0], ROWS[0], Pair("a.mp4", 1), "a.mp4", b"a.mp4", 5, None])
def test_one_reference_is_no_sequence_of_them(one: Any) -> None:
    with pytest.raises(TypeError, match="expected a sequence of references, found"):
        reference_columns(one)


@pytest.mark.parametrize(
    "ref", [None, {}, {"uri": None}, {"uri": ""}, {"pts_ns": 5}, 7, "a.mp4", ("a.mp4", 5)]
)
def test_what_is_no_reference_is_named_by_its_place(ref: Any) -> None:
    with pytest.raises(ValueError, match="uri at position 1"):
        reference_columns([REFS[0], ref])


@pytest.mark.parametrize("pts_ns", [1.0, 1.5, True, np.True_, np.float64(1), float("nan"), "5", b"5", [5]])
def test_a_time_that_is_no_whole_number(pts_ns: Any) -> None:
    with pytest.raises(TypeError, match="whole number at position 1"):
        reference_columns([REFS[0], {"uri": "a.mp4", "pts_ns": pts_ns}])


@pytest.mark.parametrize("pts_ns", [2**63, -(2**63) - 1, np.uint64(2**63), 10**30])
def test_a_time_that_is_no_int64(pts_ns: Any) -> None:
    with pytest.raises(ValueError, match="int64 at position 0"):
        reference_columns([{"uri": "a.mp4", "pts_ns": pts_ns}])


@pytest.mark.parametrize("pts_ns", [2**63 - 1, -(2**63)])
def test_times_at_the_edge_of_int64(pts_ns: int) -> None:
    assert times(reference_columns([{"uri": "a.mp4", "pts_ns": pts_ns}])) == [("a.mp4", pts_ns)]


def test_an_error_about_a_reference_does_not_print_a_megabyte() -> None:
    with pytest.raises(ValueError) as caught:
        reference_columns([{"url": "data:image/png;base64," + "A" * 2**20}])
    assert len(str(caught.value)) < 1000


letters = st.characters(codec="utf-8", exclude_characters="\0")
pairs = st.lists(
    st.tuples(st.text(letters, min_size=1, max_size=5), st.none() | st.integers(-(2**63), 2**63 - 1))
)


@PATIENT
@given(pairs)
def test_arrow_and_objects_agree(found: list[tuple[str, int | None]]) -> None:
    rows = [{"uri": uri, "pts_ns": pts_ns} for uri, pts_ns in found]

    assert times(reference_columns(rows)) == found
    assert times(reference_columns(pa.array(rows, type=STRUCT))) == found

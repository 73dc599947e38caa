"""Tables of every kind: columns by name, JSON fields, lists of references, masks, and moved media."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from _encoding import encode
from _media import H264_IDR

from mediaref_ursa import (
    FrameOutsideVideoError,
    InvalidReferenceError,
    MediaNotFoundError,
    MediaRef,
    UnsupportedMediaError,
    batch_decode,
    plan_decode,
    rebase,
)
from mediaref_ursa._references.columns import ReferenceColumns, Selection, reference_columns
from mediaref_ursa.table import from_arrow, to_arrow

PAIRS = [("a.mp4", 5), ("b.png", None), ("a.mp4", -7), ("c.mp4", 0)]
REFS = [MediaRef(uri, pts_ns) for uri, pts_ns in PAIRS]
ROWS = [{"uri": uri, "pts_ns": pts_ns} for uri, pts_ns in PAIRS]
STRUCT = pa.struct([("uri", pa.string()), ("pts_ns", pa.int64())])
COLUMN = pa.array(ROWS, type=STRUCT)
JSON = [json.dumps({"label": 1, "media_ref": row}) for row in ROWS]


def pairs(refs: Any, **select: Any) -> list[tuple[str, int | None]]:
    columns = reference_columns(refs, Selection(**select))
    return [(uri, columns.time_of(slot)) for slot, uri in enumerate(columns.uris)]


class Stream:
    """An object that only has the Arrow PyCapsule interface."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._data.__arrow_c_stream__(requested_schema)


class OneArray:
    """An object with the interface of one array."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __arrow_c_array__(self, requested_schema: Any = None) -> Any:
        return self._data.__arrow_c_array__(requested_schema)


TABLE = pa.table({"left": COLUMN, "right": COLUMN, "n": range(4)})
NAMED: dict[str, tuple[Any, dict[str, Any]]] = {
    "an Arrow table": (TABLE, {"column": "left"}),
    "a record batch": (TABLE.to_batches()[0], {"column": "left"}),
    "a frame": (pd.DataFrame({"left": REFS, "right": REFS}), {"column": "left"}),
    "a frame of dicts": (pd.DataFrame({"left": ROWS, "right": ROWS}), {"column": "right"}),
    "a dict of columns": ({"left": REFS, "right": REFS}, {"column": "left"}),
    "records": ([{"obs": ref, "n": 1} for ref in REFS], {"column": "obs"}),
    "rows of itertuples": (list(pd.DataFrame({"obs": REFS}).itertuples()), {"column": "obs"}),
    "two named columns": (
        pa.table({"video": [uri for uri, _ in PAIRS], "t": pa.array([t for _, t in PAIRS], pa.int64())}),
        {"uri": "video", "pts_ns": "t"},
    ),
    "two named columns of a frame": (
        pd.DataFrame({"video": [u for u, _ in PAIRS], "t": pd.array([t for _, t in PAIRS], "Int64")}),
        {"uri": "video", "pts_ns": "t"},
    ),
    "records of two names": ([{"video": u, "t": t} for u, t in PAIRS], {"uri": "video", "pts_ns": "t"}),
    "itertuples of two names": (
        [namedtuple("Row", "video t")(*pair) for pair in PAIRS],
        {"uri": "video", "pts_ns": "t"},
    ),
    "a dict of two names": (
        {"video": [u for u, _ in PAIRS], "t": [t for _, t in PAIRS]},
        {"uri": "video", "pts_ns": "t"},
    ),
    "JSON with a path": (pa.array(JSON), {"path": "media_ref"}),
    "large JSON": (pa.array(JSON, pa.large_string()), {"path": "media_ref"}),
    "JSON strings in a list": (JSON, {"path": "media_ref"}),
    "JSON in a frame": (pd.DataFrame({"n": range(4), "msg": JSON}), {"path": "media_ref"}),
    "JSON in a named column": (pd.DataFrame({"a": JSON, "b": JSON}), {"column": "a", "path": "media_ref"}),
    "JSON in a table": (pa.table({"n": range(4), "msg": JSON}), {"path": "media_ref"}),
    "nested structs": (
        pa.array([{"media_ref": row} for row in ROWS], pa.struct([("media_ref", STRUCT)])),
        {"path": "media_ref"},
    ),
    "nested twice": ([{"a": {"b": row}} for row in ROWS], {"path": "a.b"}),
    "JSON without a path": (pa.array([json.dumps(row) for row in ROWS]), {}),
    "a stream of a table": (Stream(pa.table({"n": range(4), "frame": COLUMN})), {}),
    "a stream of two columns": (Stream(pa.table(COLUMN.flatten(), names=["uri", "pts_ns"])), {}),
    "a stream of a column": (Stream(pa.chunked_array([COLUMN[:2], COLUMN[2:]])), {}),
    "a stream with a name": (Stream(TABLE), {"column": "right"}),
    "an array": (OneArray(COLUMN), {}),
    "an array of a batch": (OneArray(pa.table({"n": range(4), "frame": COLUMN}).to_batches()[0]), {}),
    "a frame of one column": (pd.DataFrame({"n": range(4), "obs": REFS}), {}),
    "records with NA": ([{"uri": u, "pts_ns": pd.NA if t is None else t} for u, t in PAIRS], {}),
    "a list of JSON": ([json.dumps(row) for row in ROWS], {}),
    "a pandas column of JSON": (pd.Series([json.dumps(row) for row in ROWS]), {}),
    "dictionaries of structs": (pa.DictionaryArray.from_arrays(pa.array(range(4)), COLUMN), {}),
    "records with NaT": ([{"uri": u, "pts_ns": pd.NaT if t is None else t} for u, t in PAIRS], {}),
}


@pytest.mark.parametrize(("refs", "select"), NAMED.values(), ids=NAMED)
def test_every_kind_of_table(refs: Any, select: dict[str, Any]) -> None:
    assert pairs(refs, **select) == PAIRS
    assert from_arrow(refs, **select) == REFS
    assert plan_decode(refs, **select, on_error="none").errors.keys() == {0, 2, 3}  # of no media
    assert batch_decode(refs, **select, on_error="none") == [None] * 4


NESTED: dict[str, Any] = {
    "structs": pa.array([{"obs": ROWS[:2]}, {"obs": ROWS[2:]}], pa.struct([("obs", pa.list_(STRUCT))])),
    "dicts": [{"obs": ROWS[:2]}, {"obs": ROWS[2:]}],
    "JSON": pa.array([json.dumps({"obs": ROWS[:2]}), json.dumps({"obs": ROWS[2:]})]),
    "JSON in a list": [json.dumps({"obs": ROWS[:2]}), json.dumps({"obs": ROWS[2:]})],
    "JSON in a frame": pd.DataFrame(
        {"n": [1, 2], "m": [json.dumps({"obs": ROWS[:2]}), json.dumps({"obs": ROWS[2:]})]}
    ),
}


@pytest.mark.parametrize("rows", NESTED.values(), ids=NESTED)
def test_lists_in_a_nested_field(rows: Any) -> None:
    assert from_arrow(rows, path="obs") == [REFS[:2], REFS[2:]]


@pytest.mark.parametrize(
    "rows",
    [
        [[REFS[:1]], [REFS[1:]]],
        [[ROWS[:2], ROWS[2:]]],
        pa.array([[ROWS[:1]], [ROWS[1:]]], pa.list_(pa.list_(STRUCT))),
        pd.Series([[REFS[:1]], [REFS[1:]]]),
        pa.array([json.dumps([[row] for row in ROWS])]),
    ],
    ids=["references", "dicts", "Arrow", "pandas", "JSON"],
)
def test_lists_of_lists_are_refused(rows: Any) -> None:
    for call in (reference_columns, from_arrow, batch_decode, plan_decode):
        with pytest.raises(InvalidReferenceError, match="lists of lists; flatten"):
            call(rows)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(STRUCT), pa.large_list(STRUCT), pa.list_(STRUCT, 2)],
    ids=["list", "large_list", "fixed_size_list"],
)
def test_columns_of_lists(kind: pa.DataType) -> None:
    lists = [ROWS[:2], ROWS[2:]]
    array = pa.array(lists, type=kind)
    padded = pa.array([ROWS[:2], *lists, ROWS[:2]], type=kind)[1:3]
    for column in (array, padded, pa.chunked_array([array[:1], array[1:]]), Stream(pa.table({"obs": array}))):
        found = reference_columns(column)
        assert list(zip(found.uris, [found.time_of(i) for i in range(4)], strict=True)) == PAIRS
        assert found.lengths is not None
        assert found.lengths.tolist() == [2, 2]
    assert from_arrow(array) == [REFS[:2], REFS[2:]]
    assert from_arrow(pa.table({"n": [1, 2], "obs": array})) == [REFS[:2], REFS[2:]]


def test_lists_of_python_and_pandas() -> None:
    for rows in (
        [REFS[:3], REFS[3:]],
        [tuple(REFS[:3]), tuple(REFS[3:])],
        [ROWS[:3], ROWS[3:]],
        pd.Series([REFS[:3], REFS[3:]]),
        pd.DataFrame({"obs": [REFS[:3], REFS[3:]], "n": [1, 2]}),
        [np.array(REFS[:3], object), REFS[3:]],
    ):
        found = reference_columns(rows)
        assert found.lengths is not None
        assert found.lengths.tolist() == [3, 1]
        assert found.uris == [uri for uri, _ in PAIRS]
    assert reference_columns([[], REFS[:1]]).lengths.tolist() == [0, 1]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="a list of references at position 1"):
        reference_columns([REFS[:1], REFS[0]])


def test_a_null_is_a_null_in_every_kind() -> None:
    nulls: list[Any] = [
        [REFS[0], None],
        [REFS[0], pd.NA],
        [REFS[0], {"uri": pd.NA, "pts_ns": 5}],
        pd.Series([REFS[0], None]),
        pa.array([ROWS[0], None], STRUCT),
        pa.array([ROWS[0], {"uri": None, "pts_ns": 1}], STRUCT),
        pa.array([json.dumps(ROWS[0]), None]),
        pa.array([[ROWS[0]], None], pa.list_(STRUCT)),
        Stream(pa.table({"f": pa.array([ROWS[0], None], STRUCT)})),
    ]
    for refs in nulls:
        with pytest.raises(ValueError, match="(?i)reference|null|list"):
            reference_columns(refs)


def test_names_that_are_not_there_name_those_that_are() -> None:
    for table in (TABLE, pd.DataFrame({"left": REFS, "n": range(4)}), {"left": REFS, "n": [1]}):
        with pytest.raises(InvalidReferenceError, match=r"expected a column 'obs', found the columns left"):
            reference_columns(table, Selection(column="obs"))
    with pytest.raises(ValueError, match="rows with 'obs'"):
        reference_columns([{"x": 1}], Selection(column="obs"))
    with pytest.raises(InvalidReferenceError, match="structs with the field obs"):
        reference_columns(COLUMN, Selection(path="obs"))
    with pytest.raises(InvalidReferenceError, match="at row 1.*nothing at path='media_ref'"):
        reference_columns(pa.array([JSON[0], "{}"]), Selection(path="media_ref"))
    with pytest.raises(InvalidReferenceError, match="pass column='left'"):
        reference_columns(TABLE)
    for wrong in ({"column": "a", "uri": "b"}, {"pts_ns": "t"}, {"path": "a..b"}):
        with pytest.raises(ValueError, match="expected"):
            Selection(**wrong)
    with pytest.raises(TypeError, match="expected a table for column="):
        reference_columns(to_arrow(REFS), Selection(column="obs"))
    two: list[Any] = [{"u": u, "t": t} for u, t in PAIRS]
    for rows in (two, {"u": [u for u, _ in PAIRS], "t": [0] * 4}, pa.table({"u": ["a"], "t": [0]})):
        with pytest.raises(ValueError, match="'typo'"):
            reference_columns(rows, Selection(uri="u", pts_ns="typo"))
    with pytest.raises(InvalidReferenceError, match="binary; make text of it with cast"):
        reference_columns(pa.array([b"{}"]), Selection(path="media_ref"))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("tables") / "clip.mp4"
    encode(path, H264_IDR)
    return str(path)


def at(video: str, *numbers: int) -> list[MediaRef]:
    return [MediaRef(video, number * 40_000_000) for number in numbers]


def test_lists_are_decoded_as_lists_and_as_one_array(video: str) -> None:
    rows = [at(video, 0, 5), at(video, 7, 5), at(video, 9, 3)]
    flat = batch_decode([ref for row in rows for ref in row], as_array=True)
    lists = batch_decode(rows)
    assert [len(row) for row in lists] == [2, 2, 2]
    assert np.array_equal(np.array(lists), flat.reshape(3, 2, *flat.shape[1:]))
    assert lists.pts_ns.shape == (6,)
    column = pa.array([[{"uri": r.uri, "pts_ns": r.pts_ns} for r in row] for row in rows])
    windows = batch_decode(pa.table({"obs": column, "n": range(3)}), column="obs", as_array=True)
    assert windows.shape == (3, 2, 64, 96, 3)
    assert np.array_equal(windows.reshape(flat.shape), flat)
    uneven = [at(video, 0), at(video, 1, 2)]
    assert [len(row) for row in batch_decode(uneven)] == [1, 2]
    with pytest.raises(ValueError, match="lists of one length.*1 references in row 0 and 2 in row 1"):
        batch_decode(uneven, as_array=True)
    assert batch_decode([[], at(video, 1)])[0] == []


def test_a_mask_says_which_rows_have_frames(video: str) -> None:
    refs = [*at(video, 3), MediaRef("gone.mp4", 0), *at(video, 4), MediaRef(video, 10**15)]
    array, mask = batch_decode(refs, as_array=True, on_error="mask")
    assert mask.tolist() == [True, False, True, False]
    assert mask.dtype == np.bool_
    assert np.array_equal(array[[0, 2]], batch_decode(at(video, 3, 4), as_array=True))
    assert not array[~mask].any()
    windows, mask = batch_decode([refs[:2], refs[2:]], as_array=True, on_error="mask")
    assert windows.shape[:2] == mask.shape == (2, 2)
    nothing, mask = batch_decode(refs[1:2], as_array=True, on_error="mask", resize=(8, 10))
    assert nothing.shape == (1, 8, 10, 3)
    assert not nothing.any()
    assert not mask.any()
    whole, mask = batch_decode(at(video, 1), as_array=True, on_error="mask")
    assert mask.all()
    assert len(whole) == 1


def test_a_frame_of_another_size_is_no_masked_row(video: str, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (5, 4)).save(tmp_path / "small.png")
    refs = [*at(video, 0), MediaRef(str(tmp_path / "small.png"))]
    with pytest.raises(UnsupportedMediaError, match="expected frames of shape"):
        batch_decode(refs, as_array=True, on_error="mask")


def test_options_that_do_not_go_together(video: str) -> None:
    with pytest.raises(ValueError, match="as_array=True with on_error='mask'"):
        batch_decode(at(video, 0), on_error="mask")
    with pytest.raises(ValueError, match="on_error='raise' or 'mask' with as_array=True"):
        batch_decode(at(video, 0), on_error="none", as_array=True)


def test_a_plan_goes_round_what_fails(video: str) -> None:
    refs = [MediaRef("gone.mp4", 0), *at(video, 3), MediaRef(video, 10**15)]
    with pytest.raises(MediaNotFoundError):
        plan_decode(refs)
    plan = plan_decode(refs, on_error="none")
    assert plan.frames == 1
    assert [type(plan.errors[slot]) for slot in sorted(plan.errors)] == [
        MediaNotFoundError,
        FrameOutsideVideoError,
    ]
    table = pa.table({"a": to_arrow(refs), "b": to_arrow(refs)})
    assert plan_decode(table, column="a", on_error="none").frames == 1


RULES = {
    "/home/them/data": "media",
    "/home/them/data/raw": "s3://raw",
    "s3://old/a": "s3://new/b",
    "C:\\Users\\them": "win",
}
MOVED = [
    ("/home/them/data/a/b.mp4", "media/a/b.mp4"),
    ("/home/them/data", "media"),
    ("/home/them/database/a.mp4", "/home/them/database/a.mp4"),
    ("/home/them/data/raw/x.mp4", "s3://raw/x.mp4"),
    ("/home/them/data/rawest/x.mp4", "media/rawest/x.mp4"),
    ("file:///home/them/data/a%20b.mp4", "media/a b.mp4"),
    ("s3://old/a/1.mp4", "s3://new/b/1.mp4"),
    ("s3://old/ab/1.mp4", "s3://old/ab/1.mp4"),
    ("C:\\Users\\them\\day 1\\c.mp4", "win/day 1/c.mp4"),
    ("relative.mp4", "relative.mp4"),
    ("data:image/png;base64,iVBORw0KGgo=", "data:image/png;base64,iVBORw0KGgo="),
]


@pytest.mark.parametrize(("old", "new"), MOVED)
def test_rebase_of_one(old: str, new: str) -> None:
    assert rebase(old, RULES) == new
    assert rebase(MediaRef(old, 5), RULES) == MediaRef(new, 5)
    assert rebase({"uri": old, "n": 1}, RULES) == {"uri": new, "n": 1}


def test_rebase_of_columns_and_sequences() -> None:
    old, new = [u for u, _ in MOVED], [u for _, u in MOVED]
    refs, moved = [MediaRef(u, 5) for u in old], [MediaRef(u, 5) for u in new]
    assert rebase(refs, RULES) == moved
    assert from_arrow(rebase(to_arrow(refs), RULES)) == moved
    assert from_arrow(rebase(pa.chunked_array([to_arrow(refs)]), RULES)) == moved
    assert rebase(pa.array(old), RULES).to_pylist() == new
    assert rebase(pd.Series(refs), RULES).tolist() == moved
    assert rebase(pd.Series(old), RULES).tolist() == new
    with_more = pa.array([{"uri": old[0], "pts_ns": 5, "label": "x"}, None])
    assert rebase(with_more, RULES).to_pylist() == [{"uri": new[0], "pts_ns": 5, "label": "x"}, None]
    for wrong in (pa.table({"a": [1]}), pd.DataFrame({"a": [1]}), b"x", 5, [5], pa.array([1]), {"a": [1]}):
        with pytest.raises((TypeError, ValueError), match="expected"):
            rebase(wrong, RULES)
    with pytest.raises(TypeError, match="expected a dict from prefixes"):
        rebase("a", "b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="expected a table for column='obs'"):
        rebase(to_arrow(refs), RULES, column="obs")
    with pytest.raises(TypeError, match="prefixes"):
        rebase("a", {"a": 5})  # type: ignore[dict-item]


def test_rebase_of_json_and_lists() -> None:
    old, new = [u for u, _ in MOVED], [u for _, u in MOVED]
    refs, moved = [MediaRef(u, 5) for u in old], [MediaRef(u, 5) for u in new]
    texts = [ref.model_dump_json() for ref in refs]
    for rows in (texts, pa.array(texts), pd.Series(texts)):
        assert from_arrow(rebase(rows, RULES)) == moved
    assert rebase(texts, RULES) == [ref.model_dump_json() for ref in moved]
    assert rebase("{odd}.mp4", RULES) == "{odd}.mp4"
    lists = [refs[:3], refs[3:]]
    assert rebase(lists, RULES) == [moved[:3], moved[3:]]
    dumped = [[ref.model_dump() for ref in row] for row in lists]
    assert from_arrow(rebase(json.dumps(dumped[0]), RULES).splitlines()) == [moved[:3]]
    for kind in (pa.list_(STRUCT), pa.large_list(STRUCT)):
        column = rebase(pa.array([[], None, *dumped], kind)[1:], RULES)
        assert column.type == kind
        assert column.null_count == 1
        assert from_arrow(column[1:]) == [moved[:3], moved[3:]]
    pairs_of = pa.array([dumped[0][:2], dumped[1][:2]], pa.list_(STRUCT, 2))[1:]
    assert from_arrow(rebase(pairs_of, RULES)) == [moved[3:5]]


def test_rebase_of_tables() -> None:
    old, new = [u for u, _ in MOVED], [u for _, u in MOVED]
    refs, moved = [MediaRef(u, 5) for u in old], [MediaRef(u, 5) for u in new]
    column = to_arrow(refs)
    table = pa.table({"n": range(len(old)), "obs": column})
    for source in (table, Stream(table)):
        changed = rebase(source, RULES)
        assert changed.column_names == ["n", "obs"]
        assert from_arrow(changed) == moved
    several = rebase(pa.table({"a": column, "b": column}), RULES, column="b")
    assert from_arrow(several, column="a") == refs
    assert from_arrow(several, column="b") == moved
    two = pa.table({"uri": old, "pts_ns": [5] * len(old)})
    assert from_arrow(rebase(two, RULES)) == moved
    assert rebase({"uri": old, "pts_ns": [5]}, RULES) == {"uri": new, "pts_ns": [5]}
    frame = pd.DataFrame({"n": range(len(old)), "obs": refs})
    assert rebase(frame, RULES)["obs"].tolist() == moved
    assert frame["obs"].tolist() == refs
    assert from_arrow(rebase(two.to_pandas(), RULES)) == moved
    named = rebase(pd.DataFrame({"video": old}), RULES, column="video")
    assert named["video"].tolist() == new


def test_rebase_as_an_option_comes_before_what_is_allowed(video: str) -> None:
    folder = Path(video).parent
    refs = [MediaRef("/home/them/clip.mp4", 0)]
    (frame,) = batch_decode(refs, rebase={"/home/them": folder})
    assert np.array_equal(frame, batch_decode(at(video, 0))[0])
    (frame,) = batch_decode(refs, rebase={"/home/them": "."}, base_dir=folder)
    assert plan_decode(refs, rebase={"/home/them": folder}).frames == 1
    with pytest.raises(InvalidReferenceError):
        batch_decode([MediaRef("x/clip.mp4", 0)], rebase={"x": folder}, base_dir=folder / "other")


def test_torch_collates_references() -> None:
    data = pytest.importorskip("torch.utils.data")
    refs = [MediaRef("a.mp4", 0), MediaRef("b.mp4", 5)]
    assert data.default_collate(refs) == refs
    batch = data.default_collate([{"obs": ref, "n": 1} for ref in refs])
    assert batch["obs"] == refs
    assert reference_columns(batch["obs"]).uris == ["a.mp4", "b.mp4"]
    rows = data.default_collate([{"uri": ref.uri, "pts_ns": ref.pts_ns} for ref in refs])
    assert pairs(rows) == [("a.mp4", 0), ("b.mp4", 5)]
    loader = data.DataLoader(refs, batch_size=2)
    assert list(loader) == [refs]


def test_torch_collates_references_that_are_older_than_torch() -> None:
    pytest.importorskip("torch")
    code = """
import pickle
from mediaref_ursa import MediaRef
refs = [MediaRef("a.mp4", 0), MediaRef("b.mp4", 5)]
pickled = pickle.dumps(refs)
import torch.utils.data
{then}
assert torch.utils.data.default_collate(refs) == refs
"""
    for then in ("import mediaref_ursa.torch", "pickle.loads(pickled)", "MediaRef('c.mp4')"):
        subprocess.run([sys.executable, "-c", code.format(then=then)], check=True)


def test_columns_keep_their_form() -> None:
    assert isinstance(reference_columns(REFS), ReferenceColumns)
    assert reference_columns(REFS).lengths is None

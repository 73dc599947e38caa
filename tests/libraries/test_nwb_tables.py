"""``mediaref_ursa.nwb``: references in the tables of real NWB files, and the page about NWB."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from _nwb import TIMES, encode_parts, new_file, new_series, opened, write
from _oracle import linear_frames
from _pages import blocks_of, run_block

from mediaref_ursa import InvalidReferenceError, LazyVideo, MediaRef, StoreError, batch_decode
from mediaref_ursa.table import to_arrow

pytest.importorskip("pynwb", reason="pynwb is not installed")
h5py: Any = pytest.importorskip("h5py")
pytestmark = pytest.mark.filterwarnings("default")

from mediaref_ursa.nwb import add_refs, read_refs  # noqa: E402 - after what may be missing

PAGE = Path(__file__).parents[2] / "docs" / "nwb.md"
STRUCT = pa.struct([("uri", pa.string()), ("pts_ns", pa.int64())])
REFS = [MediaRef("a.mp4", 5), MediaRef("/é/b.png"), MediaRef("https://host/c.mp4", -7)]
LISTS = [REFS[:2], [], REFS[2:]]


def with_trials(rows: int = 3) -> Any:
    nwbfile = new_file()
    for number in range(rows):
        nwbfile.add_trial(start_time=float(number), stop_time=number + 0.5)
    return nwbfile


def round_trip(path: Path, refs: Any, **options: Any) -> Any:
    nwbfile = with_trials()
    add_refs(nwbfile.trials, refs)
    with opened(write(path, nwbfile)) as read:
        return read_refs(read.trials, **options)


def rows_of(refs: list[MediaRef], folder: Path) -> list[dict[str, Any]]:
    """Return references as Arrow has them, resolved next to a file in a folder."""
    return [
        {"uri": str(folder / ref.uri) if ref.is_relative_path else ref.uri, "pts_ns": ref.pts_ns}
        for ref in refs
    ]


KINDS = {
    "refs": REFS,
    "generator": (ref for ref in REFS),
    "dicts": [ref.model_dump() for ref in REFS],
    "JSON": [ref.model_dump_json() for ref in REFS],
    "Arrow": to_arrow(REFS),
    "chunks": pa.chunked_array([to_arrow(REFS[:1]), to_arrow(REFS[1:])]),
    "table": pa.table({"frame": to_arrow(REFS), "n": [1, 2, 3]}),
    "columns": {"uri": [ref.uri for ref in REFS], "pts_ns": [ref.pts_ns for ref in REFS]},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_of_references(kind: str, tmp_path: Path) -> None:
    found = round_trip(tmp_path / "a.nwb", KINDS[kind])

    assert found.type == STRUCT
    assert found.to_pylist() == rows_of(REFS, tmp_path)


@pytest.mark.parametrize("kind", ["lists", "Arrow"])
def test_a_ragged_column(kind: str, tmp_path: Path) -> None:
    given = (
        LISTS
        if kind == "lists"
        else pa.array([[ref.model_dump() for ref in row] for row in LISTS], pa.list_(STRUCT))
    )
    found = round_trip(tmp_path / "a.nwb", given)

    assert found.type == pa.list_(STRUCT)
    assert found.to_pylist() == [rows_of(row, tmp_path) for row in LISTS]


@pytest.mark.parametrize("kind", ["list", "Arrow", "pandas"])
def test_rows_without_a_reference(kind: str, tmp_path: Path) -> None:
    rows = [None, REFS[0], None]
    given: Any = rows
    if kind == "Arrow":
        given = pa.array([row and row.model_dump() for row in rows], STRUCT)
    elif kind == "pandas":
        given = pytest.importorskip("pandas").Series(rows, dtype=object)
    nwbfile = with_trials()
    add_refs(nwbfile.trials, given)
    with opened(write(tmp_path / "a.nwb", nwbfile)) as read:
        assert list(read.trials["media_ref"].data[:]) == ["", '{"uri":"a.mp4","pts_ns":5}', ""]
        found = read_refs(read.trials)

    assert found.to_pylist() == [None, *rows_of(REFS[:1], tmp_path), None]
    assert found.drop_null().to_pylist() == rows_of(REFS[:1], tmp_path)
    again = with_trials()
    add_refs(again.trials, found)
    assert read_refs(again.trials).equals(found)


def test_no_row_has_a_reference(tmp_path: Path) -> None:
    assert round_trip(tmp_path / "a.nwb", [None, None, None]).to_pylist() == [None, None, None]


def test_a_table_that_is_in_memory() -> None:
    nwbfile = with_trials()
    add_refs(nwbfile.trials, LISTS, "frames", "the frames of each trial")

    assert nwbfile.trials["frames"].target.description == "the frames of each trial"
    assert read_refs(nwbfile.trials, "frames").to_pylist() == [rows_of(row, Path.cwd()) for row in LISTS]


def test_a_column_is_added_to_a_file_that_is_there(tmp_path: Path) -> None:
    from pynwb import NWBHDF5IO

    path = write(tmp_path / "a.nwb", with_trials())
    with NWBHDF5IO(str(path), "r+") as io:
        nwbfile = io.read()
        add_refs(nwbfile.trials, REFS)
        add_refs(nwbfile.trials, LISTS, "window")
        io.write(nwbfile)
    with opened(path) as read:
        assert read_refs(read.trials).to_pylist() == rows_of(REFS, tmp_path)
        assert read_refs(read.trials, name="window").to_pylist()[1:] == [[], rows_of(REFS[2:], tmp_path)]
        assert "in nanoseconds in its file" in read.trials["media_ref"].description


def test_many_references_in_lists(tmp_path: Path) -> None:
    many = [[MediaRef("a.mp4", number) for number in range(400)], [], REFS[:1]]
    assert [len(row) for row in round_trip(tmp_path / "a.nwb", many).to_pylist()] == [400, 0, 1]


# --- decoding ---------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    encode_parts(tmp_path / "session")
    return tmp_path / "session"


def test_what_is_read_is_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nwbfile = with_trials(2)
    video = LazyVideo.from_nwb(new_series(), base_dir=folder)
    trials = [video.lazy_slice(TIMES[28], TIMES[32]), video.lazy_slice(TIMES[80], TIMES[81])]
    add_refs(nwbfile.trials, [window.refs() for window in trials], "frames")
    add_refs(nwbfile.trials, [window.refs()[0] for window in trials])
    with opened(write(folder / "a.nwb", nwbfile)) as read:
        assert "session" not in read.trials["media_ref"][0]  # relative, and moves with the folder
        lists, first = read_refs(read.trials, "frames"), read_refs(read.trials)
    monkeypatch.chdir("/")

    whole = [frame.rgb for number in range(3) for frame in linear_frames(folder / f"videos/part{number}.mp4")]
    found = batch_decode(lists)
    assert [len(row) for row in found] == [4, 1]
    assert np.array_equal(np.stack(found[0]), np.stack(whole[28:32]))
    assert np.array_equal(found[1][0], whole[80])
    assert np.array_equal(np.stack(batch_decode(first)), np.stack([whole[28], whole[80]]))


def test_base_dir(tmp_path: Path) -> None:
    refs = [MediaRef("a.mp4", 5), MediaRef("https://host/c.mp4", 1), MediaRef("sub/b.png")]
    found = round_trip(tmp_path / "a.nwb", refs, base_dir="/data")
    assert found.field("uri").to_pylist() == ["/data/a.mp4", "https://host/c.mp4", "/data/sub/b.png"]
    for uri in ("../a.mp4", "/etc/a.mp4"):
        refs[0] = MediaRef(uri, 5)
        with pytest.raises(InvalidReferenceError, match="leads out of it.*allow_outside_base=True"):
            round_trip(tmp_path / "a.nwb", refs, base_dir="/data")
    found = round_trip(tmp_path / "a.nwb", refs, base_dir="/data", allow_outside_base=True)
    assert found.field("uri")[0].as_py() == "/etc/a.mp4"


# --- input that is wrong ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refs", "error", "message"),
    [
        (REFS[:2], ValueError, "expected 3 references .* row of 'trials', found 2"),
        (LISTS[:2], ValueError, "expected 3 references or lists of them, .*, found 2"),
        ([*REFS, None], ValueError, "expected 3 .*, found 4"),
        ([REFS[0], 5, REFS[1]], ValueError, "expected a reference with a uri at position 1, found 5"),
        (["a.mp4", "b.mp4", "c.mp4"], ValueError, "expected a reference with a uri at position 0"),
        ([REFS, None, REFS], ValueError, "expected a list of references in every row, found none at row 1"),
        ([[], [], []], ValueError, "expected at least one reference in the lists, found none"),
        (REFS[0], TypeError, "expected a sequence of references, found MediaRef"),
        ("a.mp4", TypeError, "expected a sequence of references, found str"),
        (None, TypeError, "expected a sequence of references, found NoneType"),
        (pa.table({"n": [1, 2, 3]}), ValueError, "expected a table with one column of references"),
    ],
)
def test_no_references(refs: Any, error: type[Exception], message: str) -> None:
    trials = with_trials().trials
    with pytest.raises(error, match=message):
        add_refs(trials, refs)
    assert "media_ref" not in trials.colnames


def test_a_column_of_the_name() -> None:
    trials = with_trials().trials
    add_refs(trials, REFS)
    with pytest.raises(ValueError, match="a new column of 'trials', found 'media_ref' among .*start_time"):
        add_refs(trials, REFS)


@pytest.mark.parametrize("call", [lambda table: add_refs(table, REFS), read_refs])
def test_no_table(call: Any) -> None:
    with pytest.raises(TypeError, match=r"expected a DynamicTable, .*, found NoneType; .* no such table yet"):
        call(new_file().trials)
    with pytest.raises(TypeError, match="expected a DynamicTable, such as nwbfile.trials, found NWBFile"):
        call(with_trials())


def test_no_such_column(tmp_path: Path) -> None:
    with opened(write(tmp_path / "a.nwb", with_trials())) as read:
        with pytest.raises(
            InvalidReferenceError, match="column 'frame' of 'trials', found the columns start_time, stop_time"
        ) as e:
            read_refs(read.trials, "frame")
        assert e.value.uri == str(tmp_path / "a.nwb")


def test_columns_of_other_values(tmp_path: Path) -> None:
    nwbfile = with_trials()
    nwbfile.trials.add_column(name="pairs", description="-", data=np.zeros((3, 2)))
    nwbfile.trials.add_column(name="deep", description="-", data=[[["a"], ["b"]], [["c"]], [["d"]]], index=2)
    nwbfile.trials.add_column(name="texts", description="-", data=np.array([["a", "b"]] * 3))
    nwbfile.trials.add_column(name="kinds", description="-", data=[0, 1, 0], enum=["{}", "[]"])
    with opened(write(tmp_path / "a.nwb", nwbfile)) as read:
        for name, found in {
            "start_time": "values of type float64",
            "pairs": "values of type float64",
            "deep": "VectorIndex",
            "texts": r"values of type .* and shape \(3, 2\)",
            "kinds": "EnumData",
        }.items():
            with pytest.raises(
                InvalidReferenceError, match=f"column '{name}' of 'trials' to hold texts.*found {found}"
            ):
                read_refs(read.trials, name)


GOOD = REFS[0].model_dump_json()


@pytest.mark.parametrize(
    ("texts", "ends", "message"),
    [
        ([GOOD, "left", GOOD], None, "found at row 1: Invalid JSON"),
        ([GOOD, "", '{"pts_ns":5}'], None, "found at row 2: no uri"),
        ([GOOD, '{"uri":"a","pts_ns":0.5}', GOOD], None, "found at row 1: pts_ns 0.5: a fraction"),
        ([GOOD, GOOD, GOOD, "right"], [2, 2, 4], "found at row 2: Invalid JSON"),
    ],
)
def test_texts_that_are_no_references(texts: list[str], ends: Any, message: str, tmp_path: Path) -> None:
    nwbfile = with_trials()
    index = {} if ends is None else {"index": np.array(ends)}
    nwbfile.trials.add_column(name="media_ref", description="-", data=texts, **index)
    with (
        opened(write(tmp_path / "a.nwb", nwbfile)) as read,
        pytest.raises(InvalidReferenceError, match=message),
    ):
        read_refs(read.trials)


@pytest.mark.parametrize("ends", [[2, 1, 3], [1, 2, 9], [1, 1, 2]])
def test_a_damaged_index_of_a_ragged_column(ends: list[int], tmp_path: Path) -> None:
    nwbfile = with_trials()
    add_refs(nwbfile.trials, LISTS)
    with h5py.File(write(tmp_path / "a.nwb", nwbfile), "r+") as file:
        file["intervals/trials/media_ref_index"][:] = ends
    with (
        opened(tmp_path / "a.nwb") as read,
        pytest.raises(
            InvalidReferenceError, match="index of column 'media_ref' of 'trials' to ascend to its 3"
        ),
    ):
        read_refs(read.trials)


def test_what_pynwb_refuses() -> None:
    trials = with_trials().trials
    with pytest.raises(InvalidReferenceError, match="column 'media_ref' of 'trials' cannot be .*description"):
        add_refs(trials, REFS, description=5)  # type: ignore[arg-type]


def test_a_table_of_a_closed_file(tmp_path: Path) -> None:
    for refs in (REFS, LISTS):
        nwbfile = with_trials()
        add_refs(nwbfile.trials, refs)
        with opened(write(tmp_path / "a.nwb", nwbfile)) as read:
            trials = read.trials
        with pytest.raises(StoreError, match="'media_ref' of 'trials' in an NWB file that is open"):
            read_refs(trials)


def test_an_unknown_option() -> None:
    with pytest.raises(TypeError, match=r"read_refs\(\) got unexpected options basedir"):
        read_refs(with_trials().trials, basedir=".")  # type: ignore[call-arg]


# --- the page ---------------------------------------------------------------------------------


def test_the_page(example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "example"}
    blocks = [block for block in blocks_of(PAGE) if block.is_example or block.needs_libraries]
    assert sum(block.needs_libraries for block in blocks) == 5
    for block in blocks:
        run_block(block, namespace)

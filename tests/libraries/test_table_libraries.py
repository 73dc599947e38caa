"""Reference columns of Polars, DuckDB, nanoarrow and pandas, and messages of MCAP and ROS bags."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from _pages import blocks_of, run_block

from mediaref_ursa import MediaRef
from mediaref_ursa._references.columns import Selection, reference_columns
from mediaref_ursa.table import from_arrow, to_arrow

PAIRS = [("a.mp4", 5), ("b.png", None), ("a.mp4", -7), ("c.mp4", 0)]
REFS = [MediaRef(uri, pts_ns) for uri, pts_ns in PAIRS]
ROWS = [{"uri": uri, "pts_ns": pts_ns} for uri, pts_ns in PAIRS]
PAGE = Path(__file__).parents[2] / "docs" / "storing.md"
JSON = [json.dumps({"media_ref": row}) for row in ROWS]


def pairs(refs: Any, **select: Any) -> list[tuple[str, int | None]]:
    columns = reference_columns(refs, Selection(**select))
    return [(uri, columns.time_of(slot)) for slot, uri in enumerate(columns.uris)]


def test_polars() -> None:
    pl = pytest.importorskip("polars", reason="Polars is not installed")
    schema = {"obs": pl.Struct({"uri": pl.String, "pts_ns": pl.Int64}), "n": pl.Int64}
    frame = pl.DataFrame({"obs": ROWS, "n": range(4)}, schema=schema)
    assert pairs(frame) == PAIRS
    assert pairs(frame["obs"]) == PAIRS
    assert pairs(frame[1:]["obs"]) == PAIRS[1:]
    assert pairs(frame.with_columns(other=pl.col("obs")), column="other") == PAIRS
    assert from_arrow(frame) == from_arrow(frame["obs"]) == REFS
    flat = frame["obs"].struct.unnest()
    assert pairs(flat) == PAIRS
    assert pairs(flat.rename({"uri": "video", "pts_ns": "t"}), uri="video", pts_ns="t") == PAIRS
    assert pairs(flat.with_columns(pl.col("uri").cast(pl.Categorical))) == PAIRS
    assert pairs(pl.DataFrame({"msg": JSON}), path="media_ref") == PAIRS
    assert pairs(pl.Series(JSON), path="media_ref") == PAIRS
    lists = pl.DataFrame({"obs": [ROWS[:1], ROWS[1:]]}, schema={"obs": pl.List(schema["obs"])})
    assert reference_columns(lists).lengths.tolist() == [1, 3]  # type: ignore[union-attr]
    fixed = pl.DataFrame({"obs": [ROWS[:2], ROWS[2:]]}, schema={"obs": pl.Array(schema["obs"], 2)})
    assert from_arrow(fixed) == [REFS[:2], REFS[2:]]
    with pytest.raises(ValueError, match="null"):
        reference_columns(pl.DataFrame({"obs": [ROWS[0], None]}, schema={"obs": schema["obs"]}))


def test_duckdb() -> None:
    duckdb = pytest.importorskip("duckdb", reason="DuckDB is not installed")
    table = pa.table({"obs": to_arrow(REFS), "n": range(4)})
    relation = duckdb.from_arrow(table)
    assert pairs(relation) == PAIRS
    assert pairs(relation.select("obs")) == PAIRS
    assert pairs(relation.select("obs.uri as uri, obs.pts_ns as pts_ns")) == PAIRS
    assert pairs(relation.select("obs.uri as v, obs.pts_ns as t"), uri="v", pts_ns="t") == PAIRS
    assert from_arrow(relation, column="obs") == REFS
    rows = relation.aggregate("list(obs order by n) as window")
    assert from_arrow(rows) == [REFS]


def test_nanoarrow() -> None:
    na = pytest.importorskip("nanoarrow", reason="nanoarrow is not installed")
    assert pairs(na.Array(to_arrow(REFS))) == PAIRS
    assert pairs(na.ArrayStream(pa.table({"obs": to_arrow(REFS), "n": range(4)}))) == PAIRS
    assert pairs(na.c_array(to_arrow(REFS))) == PAIRS


def test_pandas() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    kind = pd.ArrowDtype(to_arrow(REFS).type)
    column = pd.Series(ROWS, dtype=kind)
    for table in (
        pd.DataFrame({"obs": column, "n": range(4)}),
        pd.DataFrame({"obs": REFS}),
        pd.DataFrame({"obs": ROWS, "label": ["x"] * 4}),
        pd.DataFrame({"msg": JSON}),
    ):
        assert pairs(table, path="media_ref" if "msg" in table else None) == PAIRS
    assert pairs(column) == PAIRS
    assert pairs(pd.Series(REFS)) == PAIRS
    assert pairs(list(pd.DataFrame({"obs": REFS}).itertuples()), column="obs") == PAIRS


def test_datasets() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    data = datasets.Dataset(pa.table({"obs": to_arrow(REFS), "n": range(4)}))
    assert pairs(data.with_format("arrow")[:], column="obs") == PAIRS
    assert pairs(data[:], column="obs") == PAIRS
    assert pairs(data["obs"][:] if not isinstance(data["obs"], list) else data["obs"]) == PAIRS


def write_mcap(path: Path, texts: Sequence[str] = JSON) -> Path:
    from mcap.writer import Writer

    with path.open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("ScreenCaptured", "jsonschema", b"{}")
        channel = writer.register_channel("screen", "json", schema)
        for number, text in enumerate(texts):
            writer.add_message(channel, log_time=number, data=text.encode(), publish_time=number)
        writer.finish()
    return path


def write_bag(path: Path, texts: Sequence[str] = JSON) -> None:
    from rosbags.rosbag2 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    kind = store.types["std_msgs/msg/String"]
    with Writer(path, version=9) as writer:
        connection = writer.add_connection("/frames", kind.__msgtype__, typestore=store)
        for number, text in enumerate(texts):
            writer.write(connection, number, store.serialize_cdr(kind(data=text), kind.__msgtype__))


def test_mcap(tmp_path: Path) -> None:
    pytest.importorskip("mcap", reason="mcap is not installed")
    from mcap.reader import make_reader

    path = write_mcap(tmp_path / "session.mcap")
    with path.open("rb") as file:
        texts = [
            message.data.decode() for _, _, message in make_reader(file).iter_messages(topics=["screen"])
        ]
    assert pairs(texts, path="media_ref") == PAIRS


def test_ros_bag(tmp_path: Path) -> None:
    pytest.importorskip("rosbags", reason="rosbags is not installed")
    from rosbags.rosbag2 import Reader
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_HUMBLE)
    write_bag(tmp_path / "bag")
    with Reader(tmp_path / "bag") as reader:
        texts = [store.deserialize_cdr(raw, c.msgtype).data for c, _, raw in reader.messages()]
    assert pairs(texts, path="media_ref") == PAIRS


def test_a_million_rows_are_read_in_columns() -> None:
    pl = pytest.importorskip("polars", reason="Polars is not installed")
    count = 100_000
    uris = [f"{number % 100}.mp4" for number in range(count)]
    frame = pl.DataFrame({"uri": uris, "pts_ns": np.arange(count)})
    found = reference_columns(frame)
    assert found.uris == uris
    assert found.pts_ns[-1] == count - 1
    assert len({id(uri) for uri in found.uris}) == 100


def test_the_page_on_tables(example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All examples of ``docs/storing.md``, those of other libraries included."""
    for name in ("polars", "duckdb", "mcap", "rosbags", "datasets"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    shutil.copytree(example_files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    texts = [json.dumps({"media_ref": {"uri": "clip.mp4", "pts_ns": number * 10**8}}) for number in range(3)]
    write_mcap(tmp_path / "session.mcap", texts)
    write_bag(tmp_path / "bag", texts)
    namespace: dict[str, Any] = {"__name__": "example"}
    blocks = [block for block in blocks_of(PAGE) if block.is_example or block.needs_libraries]
    assert sum(block.needs_libraries for block in blocks) == 5
    for block in blocks:
        run_block(block, namespace)

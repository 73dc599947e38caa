"""Catalogs of recordings, and the sessions that they open, of temporaldata and of torch_brain."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from _media import Clip
from _sessions import Recorded

from mediaref_ursa import (
    CorruptMediaError,
    FrameIndexMissingError,
    InvalidReferenceError,
    LazyVideo,
    MediaNotFoundError,
    counters,
)
from mediaref_ursa.catalog import Catalog, ModalityRow, StorageFormat, open_modality, to_arrow
from mediaref_ursa.store import MemoryStore

GetClip = Callable[[str], Clip]


@pytest.fixture
def recorded(clip: GetClip, tmp_path: Path, td: ModuleType) -> Recorded:
    return Recorded(tmp_path, clip("h264_29_97_mp4").path, td)


@pytest.fixture
def catalog(recorded: Recorded, package: str) -> Catalog:
    return Catalog(recorded.rows, channel_format="NHWC", package=package)


@pytest.mark.parametrize("lazy", [True, False])
def test_a_session_has_its_modalities_and_decodes_what_is_read(
    recorded: Recorded, catalog: Catalog, td: ModuleType, *, lazy: bool
) -> None:
    before = counters()
    session = catalog.materialize("day1", lazy=lazy)
    assert isinstance(session, td.Data)
    assert session.recording_id == "day1"
    assert sorted(session.keys()) == ["left", "recording_id", "right", "spikes"]
    trial = session.slice(100.6, 101.4, reset_origin=False)
    assert counters().packets_decoded == before.packets_decoded
    for camera in ("left", "right"):
        part = getattr(trial, camera)
        assert isinstance(part, td.IrregularTimeSeries)
        assert np.array_equal(part.frames, recorded.shown(camera, 100.6, 101.4))
    inside = (recorded.spikes >= 100.6) & (recorded.spikes < 101.4)
    assert np.array_equal(trial.spikes.timestamps, recorded.spikes[inside])
    assert np.array_equal(trial.spikes.unit, np.flatnonzero(inside))
    assert session.left.metadata == recorded.rows[0]


def test_the_domain_is_what_the_modalities_cover(recorded: Recorded, catalog: Catalog) -> None:
    domain = catalog.materialize("day1").domain
    last = open_modality(recorded.rows[1]).domain.end[0]
    assert domain.start.tolist() == [100.0]
    assert domain.end.tolist() == [last]


@pytest.mark.parametrize("lazy", [True, False])
def test_a_time_range_cuts_every_modality(recorded: Recorded, catalog: Catalog, *, lazy: bool) -> None:
    session = catalog.materialize("day1", lazy=lazy, time_range=(100.6, 101.4))
    assert (session.domain.start.tolist(), session.domain.end.tolist()) == ([100.6], [101.4])
    assert np.array_equal(session.right.frames, recorded.shown("right", 100.6, 101.4))
    inside = recorded.spikes[(recorded.spikes >= 100.6) & (recorded.spikes < 101.4)]
    assert np.array_equal(session.spikes.timestamps, inside)
    shorter = session.slice(100.5, 101.0, reset_origin=False)
    assert np.array_equal(shorter.spikes.timestamps, inside[inside < 101.0])
    assert np.array_equal(shorter.right.frames, recorded.shown("right", 100.6, 101.0))


def test_the_time_range_of_a_row_holds_too(recorded: Recorded, package: str) -> None:
    rows = [row.model_copy(update={"start_seconds": 100.8, "end_seconds": 101.2}) for row in recorded.rows]
    catalog = Catalog(rows, channel_format="NHWC", package=package)
    for time_range in (None, (100.0, 110.0)):
        session = catalog.materialize("day1", time_range=time_range)
        assert np.array_equal(session.left.frames, recorded.shown("left", 100.8, 101.2))
        inside = (recorded.spikes >= 100.8) & (recorded.spikes < 101.2)
        assert np.array_equal(session.spikes.unit, np.flatnonzero(inside))
    outside = catalog.materialize("day1", time_range=(50.0, 60.0))
    assert len(outside.left) == len(outside.spikes) == 0


def test_a_lazy_session_of_parts_equals_the_part_of_a_session(catalog: Catalog) -> None:
    rng = np.random.default_rng(7)
    whole = catalog.materialize("day1", lazy=False)
    for _ in range(12):
        start, end = np.sort(rng.uniform(99.5, 110.0, 2))
        part = catalog.materialize("day1", time_range=(start, end))
        cut = whole.slice(start, end, reset_origin=False)
        for name in ("left", "right", "spikes"):
            one, other = getattr(part, name), getattr(cut, name)
            assert one.timestamps.tolist() == other.timestamps.tolist()
        assert np.array_equal(part.left.frame_indices, cut.left.frame_indices)
        assert np.array_equal(part.spikes.unit, cut.spikes.unit)


def test_recordings_stream_in_order_and_open_one_by_one(
    recorded: Recorded, clip: GetClip, tmp_path: Path, td: ModuleType, package: str
) -> None:
    second = Recorded(tmp_path, clip("h264_29_97_mp4").path, td, "day2", 500.0)
    missing = ModalityRow(recording="day3", name="left", format="mp4_index", uri=str(tmp_path / "none.mp4"))
    catalog = Catalog([*second.rows, *recorded.rows, missing], package=package)
    assert catalog.recordings() == list(catalog) == ["day2", "day1", "day3"]
    assert len(catalog) == 3
    assert "day1" in catalog
    assert "day9" not in catalog
    before = counters()
    stream = catalog.stream(time_range=(500.0, 501.0))
    assert counters() == before
    first = next(stream)
    assert (first.recording_id, len(first.left), len(next(stream).left)) == ("day2", 25, 0)
    assert counters().packets_decoded == before.packets_decoded
    with pytest.raises(FrameIndexMissingError):
        next(stream)
    assert [session.recording_id for session in catalog.stream(["day1"])] == ["day1"]
    with pytest.raises(KeyError, match="day9"):
        list(catalog.stream(["day9"]))


def test_tables_of_every_kind_make_the_same_catalog(recorded: Recorded, tmp_path: Path) -> None:
    table = to_arrow(recorded.rows).append_column("mood", [["a"] * len(recorded.rows)])
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "many").mkdir()
    for number in range(table.num_rows):
        pq.write_table(table.slice(number, 1), tmp_path / "many" / f"{number}.parquet")
    lance.write_dataset(table.slice(0, 1), str(tmp_path / "rows.lance"))
    lance.write_dataset(table.slice(1), str(tmp_path / "rows.lance"), mode="append")
    held = MemoryStore({"memory://rows.parquet": (tmp_path / "rows.parquet").read_bytes()})
    catalogs = [
        Catalog(table),
        Catalog(table.to_reader()),
        Catalog(tmp_path / "rows.parquet"),
        Catalog(str(tmp_path / "many")),
        Catalog(tmp_path / "rows.lance"),
        Catalog(tmp_path / "rows.lance", untrusted=True),
        Catalog("memory://rows.parquet", held),
        pickle.loads(pickle.dumps(Catalog(tmp_path / "rows.parquet"))),
        pickle.loads(pickle.dumps(Catalog(table))),
    ]
    for catalog in catalogs:
        assert catalog.recordings() == ["day1"]
        assert catalog.rows("day1") == recorded.rows


def test_a_table_is_read_when_it_is_first_asked_for(recorded: Recorded, tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "rows.parquet")
    assert "not read yet" in repr(catalog)
    pq.write_table(to_arrow(recorded.rows), tmp_path / "rows.parquet")
    assert catalog.recordings() == ["day1"]
    assert f"rows={len(recorded.rows)}" in repr(catalog)
    assert Catalog(to_arrow([])).recordings() == []


@pytest.mark.parametrize("name", ["rows.parquet", "rows.lance", "folder"])
def test_what_is_no_catalog(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaNotFoundError):
        Catalog(tmp_path / name).recordings()
    other = pa.table({"x": [1]})
    if name == "rows.lance":
        lance.write_dataset(other, str(tmp_path / name))
    else:
        pq.write_table(other, tmp_path / name)
    with pytest.raises(CorruptMediaError, match="columns name, format and uri"):
        Catalog(tmp_path / name).recordings()
    with pytest.raises(CorruptMediaError, match="columns name, format and uri"):
        Catalog(other)
    if name != "rows.lance":
        (tmp_path / name).write_bytes(b"PAR1 and nothing else")
        with pytest.raises(CorruptMediaError, match="Parquet"):
            Catalog(tmp_path / name).recordings()


def test_rows_that_make_no_session(recorded: Recorded, tmp_path: Path) -> None:
    nameless = recorded.rows[0].model_copy(update={"recording": None})
    with pytest.raises(InvalidReferenceError, match="row 1"):
        Catalog([recorded.rows[0], nameless]).recordings()
    with pytest.raises(InvalidReferenceError, match="row 0"):
        Catalog(to_arrow([nameless]).drop_columns("recording")).recordings()
    with pytest.raises(ValueError, match=r"found \['left'\] more than once"):
        Catalog([recorded.rows[0]] * 2).materialize("day1")
    with pytest.raises(ValueError, match="domain"):
        Catalog([recorded.rows[0].model_copy(update={"name": "domain"})]).materialize("day1")
    with pytest.raises(TypeError, match="LanceDataset; pass its path"):
        Catalog(lance.write_dataset(to_arrow(recorded.rows), str(tmp_path / "rows.lance")))
    for time_range in ((2.0, 1.0), (float("nan"), 1.0), (1.0, 2.0, 3.0), 5.0):
        with pytest.raises(ValueError, match="time range"):
            Catalog(recorded.rows).materialize("day1", time_range=time_range)
    with pytest.raises(ValueError, match="'hdf5' only"):
        ModalityRow(name="x", format="video", uri="a.mp4", group="y")
    with pytest.raises(ValueError, match="modality of video"):
        open_modality(recorded.rows[2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"group": "none"}, "KeyError"),
        ({"group": None}, "found"),
    ],
)
def test_hdf5_files_without_the_object(
    recorded: Recorded, package: str, change: dict[str, Any], message: str
) -> None:
    row = recorded.rows[2].model_copy(update=change)
    with pytest.raises(CorruptMediaError, match=message):
        Catalog([row], package=package).materialize("day1")


def test_hdf5_files_that_are_none(recorded: Recorded, tmp_path: Path, package: str) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    row = recorded.rows[2].model_copy(update={"uri": str(tmp_path / "text.h5")})
    with pytest.raises(CorruptMediaError, match="HDF5"):
        Catalog([row], package=package).materialize("day1")
    gone = row.model_copy(update={"uri": str(tmp_path / "gone.h5")})
    with pytest.raises(MediaNotFoundError):
        Catalog([gone], package=package).materialize("day1")


def test_an_untrusted_catalog_opens_no_hdf5_and_nothing_outside(
    recorded: Recorded, tmp_path: Path, package: str
) -> None:
    with pytest.raises(InvalidReferenceError, match="untrusted writer"):
        Catalog(recorded.rows, untrusted=True, package=package).materialize("day1")
    (tmp_path / "inside").mkdir()
    confined = Catalog(recorded.rows, untrusted=True, base_dir=str(tmp_path / "inside"), package=package)
    with pytest.raises(InvalidReferenceError):
        confined.materialize("day1")
    spikes = Catalog(recorded.rows[2:], base_dir=str(tmp_path / "inside"), package=package)
    with pytest.raises(InvalidReferenceError):
        spikes.materialize("day1")


@pytest.mark.parametrize("lazy", [True, False])
def test_hdf5_from_a_store_and_references_in_it(
    recorded: Recorded, td: ModuleType, tmp_path: Path, package: str, *, lazy: bool
) -> None:
    camera = LazyVideo.from_uri(recorded.rows[0].uri, channel_format="NHWC")
    series = camera.as_series(package)
    nested = td.Data(camera=series, domain=series.domain)
    session = td.Data(camera=series, nested=nested, domain=series.domain)
    with h5py.File(tmp_path / "session.h5", "w") as file:
        session.to_hdf5(file)
    row = ModalityRow(
        recording="day1", name="all", format=StorageFormat.HDF5, uri=str(tmp_path / "session.h5")
    )
    loaded = Catalog([row], package=package).materialize("day1", lazy=lazy, time_range=(100.6, 101.4)).all
    for series in (loaded.camera, loaded.nested.camera):
        assert np.array_equal(series.frames, recorded.shown("left", 100.6, 101.4))
    held = MemoryStore({"memory://spikes": Path(recorded.rows[2].uri).read_bytes()})
    remote = recorded.rows[2].model_copy(update={"uri": "memory://spikes"})
    spikes = Catalog([remote], held, package=package).materialize("day1", lazy=lazy).spikes
    assert np.array_equal(spikes.timestamps, recorded.spikes)

"""References in the real ``datasets``, offline: decoded as a view, mapped, streamed, read, and the card."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
datasets: Any = pytest.importorskip("datasets", reason="datasets (Hugging Face) is not installed")

from _library_pages import run_library_page  # noqa: E402 - after what may be missing
from _media import make_clip  # noqa: E402
from PIL import Image  # noqa: E402

from mediaref_ursa import LazyVideo, MediaRef, batch_decode, write_frame_index  # noqa: E402
from mediaref_ursa.hf import DecodeRefs, MediaRefFeature, read_refs, write_card  # noqa: E402
from mediaref_ursa.table import to_arrow  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def refs(tmp_path_factory: pytest.TempPathFactory) -> list[MediaRef]:
    """Frames of two videos of one size, in a random order."""
    folder = tmp_path_factory.mktemp("videos")
    found = []
    for name in ("h264_idr_mp4", "hevc_open_gop_mp4"):
        video = str(make_clip(name, folder))
        write_frame_index(video)
        found += LazyVideo.from_uri(video).refs()[:20]
    return [found[position] for position in np.random.default_rng(0).permutation(len(found)).tolist()]


@pytest.fixture(scope="module")
def frames(refs: list[MediaRef]) -> list[Any]:
    return list(batch_decode(refs))


@pytest.fixture
def data(refs: list[MediaRef]) -> Any:
    return datasets.Dataset(pa.table({"frame": to_arrow(refs), "label": range(len(refs))}))


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf-cache")


def check(rows: Any, frames: list[Any], key: str = "frame") -> None:
    found = sorted(rows, key=lambda row: int(row["label"]))
    assert len(found) == len(frames)
    for row, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(row[key]), frame)


def test_a_view_decodes_what_is_looked_at(data: Any, frames: list[Any]) -> None:
    view = data.with_transform(DecodeRefs("frame"))
    check(view, frames)
    np.testing.assert_array_equal(view[3]["frame"], frames[3])
    batch = view[2:6]
    assert batch["label"] == [2, 3, 4, 5]
    for found, expected in zip(batch["frame"], frames[2:6], strict=True):
        np.testing.assert_array_equal(found, expected)
    assert data[3]["frame"].keys() == {"uri", "pts_ns"}
    data.set_transform(DecodeRefs({"pixels": "frame"}))
    assert data[3]["frame"].keys() == {"uri", "pts_ns"}
    check(data, frames, "pixels")


def test_a_view_of_a_data_set_that_was_stored(data: Any, frames: list[Any], tmp_path: Path) -> None:
    data.save_to_disk(str(tmp_path / "saved"))
    check(datasets.load_from_disk(str(tmp_path / "saved")).with_transform(DecodeRefs("frame")), frames)
    data.to_parquet(str(tmp_path / "table" / "train.parquet"))
    loaded = datasets.load_dataset(str(tmp_path / "table"), split="train")
    check(loaded.with_transform(DecodeRefs("frame")), frames)
    check(loaded.shuffle(seed=1).with_transform(DecodeRefs("frame")), frames)


@pytest.mark.parametrize("num_proc", [None, 2])
@pytest.mark.parametrize("batched", [True, False])
def test_map(data: Any, frames: list[Any], num_proc: Any, batched: bool) -> None:
    features = datasets.Features(
        {"frame": datasets.Array3D(shape=frames[0].shape, dtype="uint8"), "label": datasets.Value("int64")}
    )
    mapped = data.map(
        DecodeRefs("frame"), batched=batched, batch_size=7, num_proc=num_proc, features=features
    )
    check(mapped.with_format("numpy"), frames)


@pytest.mark.parametrize("kind", ["arrow", "pandas", "polars", "torch"])
def test_map_of_formatted_rows(data: Any, frames: list[Any], kind: str) -> None:
    pytest.importorskip(kind if kind != "arrow" else "pyarrow", reason=f"{kind} is not installed")
    mapped = data.with_format(kind).map(DecodeRefs({"image": "frame"}, output="png"), batched=True)
    images = mapped.with_format(None).cast_column("image", datasets.Image())
    check(images, frames, "image")


@pytest.mark.parametrize("output", ["pil", "png", "jpeg"])
def test_map_to_images(data: Any, frames: list[Any], output: Any) -> None:
    features = datasets.Features({**data.features, "image": datasets.Image()})
    mapped = data.map(DecodeRefs({"image": "frame"}, output=output), batched=True, features=features)
    assert mapped[0]["frame"].keys() == {"uri", "pts_ns"}
    if output == "jpeg":
        assert mapped[0]["image"].size == frames[0].shape[1::-1]
    else:
        check(mapped, frames, "image")


def test_streaming(data: Any, frames: list[Any], tmp_path: Path) -> None:
    data.to_parquet(str(tmp_path / "table" / "train.parquet"))
    stream = datasets.load_dataset(str(tmp_path / "table"), split="train", streaming=True)
    check(stream.map(DecodeRefs("frame"), batched=True, batch_size=7), frames)
    check(stream.shuffle(seed=0, buffer_size=10).map(DecodeRefs("frame")), frames)
    check(data.to_iterable_dataset(num_shards=2).map(DecodeRefs("frame"), batched=True), frames)


def test_concatenated_and_interleaved(data: Any, frames: list[Any]) -> None:
    first, second = data.select(range(20)), data.select(range(20, 40))
    joined = datasets.concatenate_datasets([first, second])
    check(joined.with_transform(DecodeRefs("frame")), frames)
    mixed = datasets.interleave_datasets([first, second])
    check(mixed.with_transform(DecodeRefs("frame")), frames)
    streams = [part.to_iterable_dataset() for part in (first, second)]
    stream = datasets.interleave_datasets(streams).map(DecodeRefs("frame"), batched=True)
    check(stream.take(10), frames[:5] + frames[20:25])


def test_windows(refs: list[MediaRef], frames: list[Any]) -> None:
    windows = [[ref.model_dump() for ref in refs[i : i + 3]] for i in range(6)]
    view = datasets.Dataset.from_dict({"obs": windows, "n": list(range(6))}).with_transform(DecodeRefs("obs"))
    for number in range(6):
        np.testing.assert_array_equal(view[number]["obs"], np.stack(frames[number : number + 3]))
    images = view.with_transform(DecodeRefs("obs", output="pil"))[1]["obs"]
    np.testing.assert_array_equal(np.asarray(images[2]), frames[3])


def test_tensors(data: Any, frames: list[Any]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    view = data.with_transform(DecodeRefs("frame", output="torch", channel_format="NCHW"))
    assert view[0]["frame"].dtype == torch.uint8
    np.testing.assert_array_equal(view[0]["frame"].permute(1, 2, 0).numpy(), frames[0])
    loader = torch.utils.data.DataLoader(view, batch_size=4, num_workers=2)
    found = torch.cat([batch["frame"] for batch in loader])
    np.testing.assert_array_equal(found.permute(0, 2, 3, 1).numpy(), np.stack(frames))


def test_rows_that_cannot_be_decoded(refs: list[MediaRef], frames: list[Any]) -> None:
    rows = {"frame": [refs[0].model_dump(), None, {"uri": "/gone.mp4", "pts_ns": 0}], "label": [0, 1, 2]}
    data = datasets.Dataset.from_dict(rows)
    found = data.with_transform(DecodeRefs("frame", on_error="none"))[:]
    np.testing.assert_array_equal(found["frame"][0], frames[0])
    assert found["frame"][1:] == [None, None]
    assert found["frame_error"][0] is None
    assert found["frame_error"][2].startswith("MediaNotFoundError")
    view = data.with_transform(DecodeRefs("frame"))
    with pytest.raises(ValueError, match="null in row 0 of the batch; pass on_error='none'"):
        view[1]
    with pytest.raises(FileNotFoundError, match=r"/gone\.mp4"):
        view[2]
    with pytest.raises(ValueError, match="expected the columns image, found frame, label"):
        data.with_transform(DecodeRefs("image"))[0]
    with pytest.raises(ValueError, match="expected names of new columns, found \\['label'\\]"):
        data.with_transform(DecodeRefs({"label": "frame"}))[0]
    with pytest.raises(ValueError, match="the column label holds no references"):
        data.with_transform(DecodeRefs("label"))[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "jax"}, "expected output to be one of"),
        ({"on_error": "mask"}, "expected on_error"),
        ({"output": "pil", "channel_format": "NCHW"}, "with output='pil', found"),
        ({"output": "jpeg", "colorspace": "RGBA"}, "expected colorspace of RGB or G"),
        ({"path": "ref"}, "as columns="),
    ],
)
def test_options_are_checked_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        DecodeRefs("frame", **options)


def test_it_pickles_and_has_one_fingerprint(refs: list[MediaRef], frames: list[Any]) -> None:
    import dill
    from datasets.fingerprint import Hasher

    decode = DecodeRefs("frame", resize=(8, 8), base_dir="/")
    assert Hasher.hash(decode) == Hasher.hash(DecodeRefs("frame", resize=(8, 8), base_dir="/"))
    assert Hasher.hash(decode) != Hasher.hash(DecodeRefs("frame", resize=(8, 9), base_dir="/"))
    code = (
        "from datasets.fingerprint import Hasher; from mediaref_ursa.hf import DecodeRefs\n"
        "print(Hasher.hash(DecodeRefs('frame', resize=(8, 8), base_dir='/')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == Hasher.hash(decode)
    rows = {"frame": [refs[0].model_dump()]}
    for copy in (
        pickle.loads(pickle.dumps(DecodeRefs("frame"))),
        dill.loads(dill.dumps(DecodeRefs("frame"))),
    ):
        np.testing.assert_array_equal(copy(rows)["frame"][0], frames[0])


def written_with_the_feature(refs: list[MediaRef], folder: Path) -> Any:
    features = datasets.Features({"frame": MediaRefFeature(), "label": datasets.Value("int64")})
    rows = {"frame": refs, "label": list(range(len(refs)))}
    data = datasets.Dataset.from_dict(rows, features=features)
    data.save_to_disk(str(folder / "saved"), num_shards=2)
    datasets.DatasetDict({"train": data, "test": data.select(range(2))}).save_to_disk(str(folder / "splits"))
    data.to_parquet(str(folder / "table.parquet"))
    return data


def test_tables_of_the_feature_are_read_where_it_is_not_registered(
    refs: list[MediaRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written_with_the_feature(refs, tmp_path)
    from datasets.features.features import _FEATURE_TYPES

    monkeypatch.delitem(_FEATURE_TYPES, "MediaRef")
    with pytest.raises(Exception):
        datasets.load_from_disk(str(tmp_path / "saved"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.arrow")}
    for path, options in (
        (tmp_path / "saved", {}),
        (tmp_path / "table.parquet", {}),
        (tmp_path / "splits", {"split": "train"}),
        (tmp_path / "splits" / "train", {}),
    ):
        table = read_refs(path, **options)
        assert table["frame"].to_pylist() == [ref.model_dump() for ref in refs]
        assert table.schema.metadata is None or b"huggingface" not in table.schema.metadata
        assert datasets.Dataset(table)[1] == {"frame": refs[1].model_dump(), "label": 1}
    assert read_refs(tmp_path / "saved", columns=["label"]).column_names == ["label"]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.arrow")} == before


def test_tables_that_cannot_be_read(refs: list[MediaRef], tmp_path: Path) -> None:
    written_with_the_feature(refs[:2], tmp_path)
    with pytest.raises(FileNotFoundError, match="found nothing there"):
        read_refs(tmp_path / "gone")
    with pytest.raises(ValueError, match="expected split= to be one of train, test, found None"):
        read_refs(tmp_path / "splits")
    with pytest.raises(ValueError, match="expected the columns n, found frame, label"):
        read_refs(tmp_path / "saved", columns=["n"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="expected Parquet or Arrow files in the folder, found none"):
        read_refs(tmp_path / "empty")
    broken = next((tmp_path / "saved").glob("*.arrow"))
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(ValueError, match="expected a table of Parquet or Arrow"):
        read_refs(tmp_path / "saved")
    (tmp_path / "saved" / "state.json").write_text('{"_data_files": [{"filename": "../table.parquet"}]}')
    with pytest.raises(ValueError, match="expected names of files within the folder"):
        read_refs(tmp_path / "saved")
    for text in (
        "[]",
        "null",
        '{"_data_files": [1]}',
        '{"_data_files": [{"filename": 1}]}',
        "[" * 100_000,
        "{",
    ):
        (tmp_path / "saved" / "state.json").write_text(text)
        with pytest.raises(ValueError, match="expected (the file of a data set|names of files)"):
            read_refs(tmp_path / "saved")
    (tmp_path / "splits" / "dataset_dict.json").write_text('{"splits": ["../saved"]}')
    with pytest.raises(ValueError, match="expected names of files within the folder"):
        read_refs(tmp_path / "splits", split="../saved")
    with pytest.raises(ValueError, match="expected no split= of a table without splits, found 'test'"):
        read_refs(tmp_path / "table.parquet", split="test")


@pytest.fixture
def folder(refs: list[MediaRef], tmp_path: Path) -> Path:
    """A folder with videos, indexes next to them, and tables in two splits."""
    folder = tmp_path / "set"
    folder.mkdir()
    for number in range(6):
        video = shutil.copy(refs[0].uri, folder / f"{number}.mp4")
        write_frame_index(str(video))
    table = pa.table({"frame": to_arrow(refs), "label": range(len(refs))})
    (folder / "data").mkdir()
    for name, rows in (("train-0", range(15)), ("train-1", range(15, 30)), ("test-0", range(30, 40))):
        pq.write_table(table.take(list(rows)), folder / "data" / f"{name}.parquet")
    return folder


def test_splits_of_folders_are_not_mixed(folder: Path) -> None:
    """Nor are files left out that are links, as in the cache of the Hub."""
    file = folder / "data" / "train-0.parquet"
    file.rename(folder.parent / "blob")
    file.symlink_to(folder.parent / "blob")
    assert [len(read_refs(folder, split=split)) for split in ("train", "test")] == [30, 10]
    for split in (None, "tset"):
        with pytest.raises(ValueError, match="expected split= to be one of"):
            read_refs(folder, split=split)
    (folder / "data" / "test-0.parquet").unlink()
    assert len(read_refs(folder)) == 30


@pytest.mark.parametrize("streaming", [True, False])
def test_the_card_names_tables_and_splits(folder: Path, frames: list[Any], streaming: bool) -> None:
    assert write_card(folder) == folder / "README.md"
    loaded = datasets.load_dataset(str(folder), streaming=streaming)
    assert set(loaded) == {"train", "test"}
    decode = DecodeRefs("frame")
    for split, count in (("train", 30), ("test", 10)):
        rows = loaded[split]
        rows = rows.map(decode, batched=True) if streaming else rows.with_transform(decode)
        found = list(rows)
        assert len(found) == count
        for row in found:
            np.testing.assert_array_equal(np.asarray(row["frame"]), frames[row["label"]])


def test_the_card_ends_the_guessing(folder: Path) -> None:
    """Names of splits are found by ``datasets`` itself; a table without one is lost among the indexes."""
    shutil.move(folder / "data" / "train-0.parquet", folder / "rows.parquet")
    shutil.rmtree(folder / "data")
    guessed = next(iter(datasets.load_dataset(str(folder), split="train", streaming=True)))
    assert "frame" not in guessed, "the frame indexes, taken for the data set"
    write_card(folder)
    found = next(iter(datasets.load_dataset(str(folder), split="train", streaming=True)))
    assert found.keys() == {"frame", "label"}


def test_patterns_of_a_card_match_what_was_found_alone(tmp_path: Path) -> None:
    for name in ("a", "b", "_tmp"):
        pq.write_table(pa.table({"name": [name]}), tmp_path / f"{name}.parquet")
    write_card(tmp_path)
    assert list(datasets.load_dataset(str(tmp_path), split="train")["name"]) == ["a", "b"]
    (tmp_path / "a.parquet").rename(tmp_path / "a[1].parquet")
    write_card(tmp_path, overwrite=True)
    assert list(datasets.load_dataset(str(tmp_path), split="train")["name"]) == ["a", "b"]


def test_cards(folder: Path) -> None:
    card = folder / "README.md"
    card.write_text("# Mine\n")
    with pytest.raises(
        OSError, match="put these lines at its beginning, or pass overwrite=True\n---\nconfigs:"
    ):
        write_card(folder)
    assert card.read_text() == "# Mine\n"
    write_card(folder, data_files="data/*.parquet", overwrite=True)
    assert set(datasets.load_dataset(str(folder))) == {"train"}
    write_card(
        folder, data_files={"train": "data/test-0.parquet", "extra": ["data/train-0.parquet"]}, overwrite=True
    )
    assert set(datasets.load_dataset(str(folder))) == {"train", "extra"}
    shutil.rmtree(folder / "data")
    with pytest.raises(FileNotFoundError, match="expected tables"):
        write_card(folder, overwrite=True)
    for pattern in ("*.parquet", "../x.parquet", "/x.parquet", []):
        with pytest.raises(ValueError, match="expected (a pattern|patterns)"):
            write_card(folder, data_files=pattern, overwrite=True)
    with pytest.raises(FileNotFoundError, match="expected a folder of a data set"):
        write_card(folder / "gone")


def test_images_of_a_card_are_bytes_of_a_file(refs: list[MediaRef], frames: list[Any]) -> None:
    row = DecodeRefs("frame", output="png")({"frame": refs[0].model_dump(), "label": 1})
    assert row["label"] == 1
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(row["frame"]["bytes"]))), frames[0])


def test_the_page(
    example_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    run_library_page("datasets.md", example_files, tmp_path, monkeypatch, capsys)

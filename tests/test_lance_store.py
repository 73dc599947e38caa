"""Blobs of Lance tables as media: found by key, in one version, out of good tables and bad ones."""

from __future__ import annotations

import io
import multiprocessing
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest
from _blob_tables import BlobTable
from _media import Clip
from _oracle import linear_frames
from lance import Blob, blob_array, blob_field
from PIL import Image

from mediaref_ursa import (
    Access,
    InvalidReferenceError,
    MediaChangedError,
    MediaNotFoundError,
    MediaRef,
    MediaRefError,
    StoreError,
    UnsupportedMediaError,
    batch_decode,
    blob_uri,
    cleanup_cache,
    write_frame_index,
)
from mediaref_ursa.store import LanceBlobStore, store_for

ONE, OTHER = b"one" * 1000, os.urandom(3000)


@pytest.fixture
def table(tmp_path: Path) -> BlobTable:
    return BlobTable(tmp_path / "set.lance")


@pytest.fixture
def store() -> LanceBlobStore:
    return LanceBlobStore(is_local=True)


def test_the_store_of_a_blob_is_chosen_by_its_uri(tmp_path: Path) -> None:
    assert isinstance(store_for("set.lance/@video/a.mp4"), LanceBlobStore)
    assert store_for("set.lance/@video/a.mp4").is_local  # type: ignore[attr-defined]
    assert not store_for("s3://bucket/set.lance/@video/a.mp4").is_local  # type: ignore[attr-defined]
    assert not isinstance(store_for("set.lance/data/a.mp4"), LanceBlobStore)


def encoded(pixels: np.ndarray) -> bytes:
    """Return a picture as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


class TestVersions:
    """The version of a row stands for an entity tag."""

    def test_other_rows_leave_it_as_it_is(self, table: BlobTable, store: LanceBlobStore) -> None:
        uri = table.put("a", ONE)
        before = store.head(uri)
        table.add({"b": OTHER, "c": b"x"})
        table.open().delete("key = 'c'")

        assert store.head(uri) == before
        assert store.get_ranges_of(uri, before, [(3, 3)]) == [b"one"]

    def test_compaction_moves_rows_and_changes_nothing(self, table: BlobTable, store: LanceBlobStore) -> None:
        for number in range(6):
            table.add({f"k{number}": bytes([number]) * 5000})
        table.add({"big": os.urandom(5_000_000)})
        uris = [blob_uri(table.uri, "video", f"k{number}") for number in range(6)]
        before = [store.head(uri) for uri in uris]
        table.open().delete("key = 'k0'")

        assert table.open().optimize.compact_files().fragments_removed > 0

        for number, (uri, info) in enumerate(zip(uris, before, strict=True)):
            if number:
                assert store.head(uri) == info
                assert store.get_ranges_of(uri, info, [(4990, 10)]) == [bytes([number]) * 10]
        with pytest.raises(MediaNotFoundError, match="no row of the Lance table has this key") as caught:
            store.get_ranges_of(uris[0], before[0], [(0, 1)])
        assert caught.value.uri == uris[0]

    def test_old_versions_that_are_cleaned_up_are_not_missed(
        self, table: BlobTable, store: LanceBlobStore
    ) -> None:
        uri = table.put("a", ONE)
        info = store.head(uri)
        table.add({"b": OTHER})
        table.open().optimize.compact_files()
        table.open().cleanup_old_versions(retain_versions=1, delete_unverified=True)

        assert store.get_ranges_of(uri, info, [(0, 3)]) == [b"one"]

    def test_a_row_that_is_written_anew_is_another_version(
        self, table: BlobTable, store: LanceBlobStore
    ) -> None:
        uri = table.put("a", ONE)
        info = store.head(uri)
        table.put("a", OTHER)

        assert store.head(uri) != info
        with pytest.raises(MediaChangedError, match="written anew"):
            store.get_ranges_of(uri, info, [(0, 3)])
        assert store.get(uri) == OTHER

    def test_a_table_without_stable_row_ids_is_one_version(
        self, tmp_path: Path, store: LanceBlobStore
    ) -> None:
        table = BlobTable(tmp_path / "plain.lance", stable=False)
        table.add({"a": ONE})
        uri = blob_uri(table.uri, "video", "a")
        info = store.head(uri)
        assert store.get_ranges_of(uri, info, [(0, 3)]) == [b"one"]
        table.add({"b": OTHER})

        with pytest.raises(MediaChangedError):
            store.get_ranges_of(uri, info, [(0, 3)])
        assert store.get(uri) == ONE

    def test_another_table_in_the_same_place_is_read_anew(
        self, table: BlobTable, store: LanceBlobStore, tmp_path: Path
    ) -> None:
        table.add({"a": ONE})
        uri = blob_uri(table.uri, "video", "a")
        assert store.get(uri) == ONE
        shutil.rmtree(table.uri)
        with pytest.raises(MediaNotFoundError, match="no Lance table here"):
            store.get(uri)
        BlobTable(table.uri).add({"a": OTHER})

        assert store.get(uri) == OTHER


class TestKeys:
    """Rows are found by a column of text or of whole numbers."""

    @pytest.mark.parametrize(
        "key", ["it's", "a\\b", "`x`", "a\nb", "%41", "' OR '1'='1", "Überblick/東京", "a//b/./c"]
    )
    def test_any_text_is_a_key(self, table: BlobTable, store: LanceBlobStore, key: str) -> None:
        table.add({"1": OTHER, key: ONE, "x": OTHER})

        assert store.get(blob_uri(table.uri, "video", key)) == ONE

    def test_a_column_of_numbers_and_names_of_any_kind(self, tmp_path: Path, store: LanceBlobStore) -> None:
        schema = pa.schema([pa.field("an id", pa.int32()), blob_field("the: im/age")])
        rows = pa.table([pa.array([7, -3], pa.int32()), blob_array([ONE, OTHER])], schema=schema)
        uri = str(tmp_path / "set.lance")
        lance.write_dataset(rows, uri, data_storage_version="2.2")

        assert store.get(blob_uri(uri, "the: im/age", 7, key_column="an id")) == ONE
        assert store.get(blob_uri(uri, "the: im/age", -3, key_column="an id")) == OTHER
        for other in ("8", "07", "x", "7.0", "9" * 30):
            with pytest.raises(MediaNotFoundError, match="no row"):
                store.get(blob_uri(uri, "the: im/age", other, key_column="an id"))

    def test_a_key_of_two_rows_is_an_error(self, table: BlobTable, store: LanceBlobStore) -> None:
        table.add({"a": ONE})
        table.add({"a": OTHER})

        with pytest.raises(StoreError, match="found several"):
            store.get(blob_uri(table.uri, "video", "a"))

    def test_an_index_of_the_keys_finds_the_same_rows(self, table: BlobTable, store: LanceBlobStore) -> None:
        media = {f"k/{number:03}": number.to_bytes(2, "big") * 100 for number in range(300)}
        table.add(media)
        table.open().create_scalar_index("key", "BTREE")
        table.add({"late": ONE})

        found = {key: store.get(blob_uri(table.uri, "video", key)) for key in [*media, "late"]}
        assert found == media | {"late": ONE}

    def test_blobs_of_the_first_kind_are_read_too(self, tmp_path: Path, store: LanceBlobStore) -> None:
        field = pa.field("video", pa.large_binary(), metadata={"lance-encoding:blob": "true"})
        rows = pa.table(
            [pa.array(["a"]), pa.array([ONE], pa.large_binary())],
            schema=pa.schema([pa.field("key", pa.string()), field]),
        )
        uri = str(tmp_path / "old.lance")
        lance.write_dataset(rows, uri, data_storage_version="2.0")

        assert store.get_ranges(blob_uri(uri, "video", "a"), [(0, 3), (2996, 4)]) == [ONE[:3], ONE[-4:]]


class TestManyRows:
    """The blobs that one call asks for are looked up together."""

    @pytest.fixture
    def look_ups(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        from mediaref_ursa._lance.lance_blobs import OpenTable

        counts: list[int] = []
        look_up = OpenTable._look_up

        def counted(self: OpenTable, column: str, key_column: str, keys: Any) -> Any:
            counts.append(len(keys))
            return look_up(self, column, key_column, keys)

        monkeypatch.setattr(OpenTable, "_look_up", counted)
        return counts

    def test_a_batch_is_one_look_up(
        self, table: BlobTable, clip: Callable[[str], Clip], look_ups: list[int]
    ) -> None:
        data = clip("h264_pyramid_mp4").path.read_bytes()
        table.add({f"k{number}": data for number in range(12)})
        refs = [MediaRef(blob_uri(table.uri, "video", f"k{number}"), 10**9) for number in range(12)]

        assert len(batch_decode(refs)) == 12
        assert look_ups == [12]

    def test_a_batch_of_images_is_one_look_up(self, table: BlobTable, look_ups: list[int]) -> None:
        pixels = np.random.default_rng(0).integers(0, 255, (12, 8, 10, 3), dtype=np.uint8)
        table.add({f"k{number}": encoded(picture) for number, picture in enumerate(pixels)})
        refs = [MediaRef(blob_uri(table.uri, "video", f"k{number}")) for number in range(12)]

        assert np.array_equal(batch_decode(refs, as_array=True), pixels)
        assert look_ups == [12]

    def test_each_gets_its_own_error(
        self, table: BlobTable, clip: Callable[[str], Clip], look_ups: list[int]
    ) -> None:
        """Also where one key has more rows than are read of all together."""
        data = clip("h264_pyramid_mp4").path.read_bytes()
        table.add({"null": None, "good": data, "bad": ONE})
        for _ in range(30):
            table.add({"twice": ONE})
        names = ["twice", "null", "good", "gone", "bad"]
        refs = [MediaRef(blob_uri(table.uri, "video", name), 10**9) for name in names]
        frames = batch_decode(refs, on_error="none")

        assert [frame is None for frame in frames] == [True, True, False, True, True]
        errors = [str(frames.errors[i]) for i in (0, 1, 3, 4)]
        for text, part in zip(errors, ("found several", "but null", "no row of", "expected"), strict=True):
            assert part in text
        assert max(look_ups) == 5


class TestBadInput:
    """One clear error each."""

    def error(self, uri: str, kind: type[MediaRefError], part: str, **options: Any) -> None:
        with pytest.raises(kind, match=part) as caught:
            batch_decode([MediaRef(uri, 0)], **options)
        assert caught.value.uri == uri
        with pytest.raises(kind, match=part):
            batch_decode([MediaRef(uri)], **options)

    def test_a_column_that_is_not_there(self, table: BlobTable) -> None:
        table.add({"a": ONE})
        uri = blob_uri(table.uri, "pictures", "a")
        self.error(uri, MediaNotFoundError, "no column 'pictures'; its columns of blobs: 'video'")

    def test_a_column_of_something_else(self, table: BlobTable) -> None:
        self.error(blob_uri(table.uri, "key", "a"), UnsupportedMediaError, "found one of string")

    def test_a_column_of_keys_that_is_none(self, table: BlobTable) -> None:
        table.add({"a": ONE})
        for column in ("nothing", "video"):
            uri = blob_uri(table.uri, "video", "a", key_column=column)
            self.error(uri, MediaNotFoundError, "expected a column of keys")

    def test_a_row_that_is_not_there(self, table: BlobTable) -> None:
        self.error(blob_uri(table.uri, "video", "a"), MediaNotFoundError, "no row of the Lance table")

    def test_a_row_without_media(self, table: BlobTable) -> None:
        table.add({"a": None, "empty": b""})
        self.error(blob_uri(table.uri, "video", "a"), MediaNotFoundError, "holds no media in its column")
        with pytest.raises(MediaRefError):
            batch_decode([MediaRef(blob_uri(table.uri, "video", "empty"), 0)])

    def test_a_blob_that_is_no_video(self, table: BlobTable) -> None:
        table.add({"a": ONE})
        uri = blob_uri(table.uri, "video", "a")
        with pytest.raises(UnsupportedMediaError) as caught:
            batch_decode([MediaRef(uri, 0)])
        assert caught.value.uri == uri

    def test_no_table(self, tmp_path: Path) -> None:
        (tmp_path / "folder.lance").mkdir()
        (tmp_path / "file.lance").write_bytes(b"x")
        for name in ("gone", "folder", "file"):
            uri = blob_uri(tmp_path / f"{name}.lance", "video", "a")
            self.error(uri, MediaNotFoundError, "no Lance table here")

    def test_a_damaged_table(self, table: BlobTable) -> None:
        table.add({"a": ONE})
        for manifest in Path(table.uri, "_versions").glob("*.manifest"):
            manifest.write_bytes(manifest.read_bytes()[:-40])
        self.error(blob_uri(table.uri, "video", "a"), StoreError, "the Lance table cannot be read")

    def test_a_table_behind_http(self) -> None:
        uri = "https://127.0.0.1/set.lance/@video/a"
        self.error(uri, InvalidReferenceError, "which Lance does not read")

    def test_percent_encoding_that_is_none(self, table: BlobTable) -> None:
        self.error(f"{table.uri}/@video/%ff", InvalidReferenceError, "percent-encoding of UTF-8")

    def test_a_name_of_a_column_is_no_code(self, table: BlobTable) -> None:
        uri = f"{table.uri}/@video:{'%60%20OR%201=1'}/a"
        self.error(uri, MediaNotFoundError, "expected a column of keys")

    def test_a_file_next_to_the_table_is_still_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "set.lance").mkdir()
        (tmp_path / "set.lance" / "@video").write_bytes(b"x")
        with pytest.raises(MediaNotFoundError, match="Lance table"):
            batch_decode([MediaRef(f"{tmp_path}/set.lance/@video/a", 0)])


class TestUntrusted:
    """No byte outside the table's folder, unless an option says so."""

    @pytest.fixture
    def secret(self, tmp_path: Path) -> Path:
        path = tmp_path / "elsewhere" / "secret.bin"
        path.parent.mkdir()
        path.write_bytes(ONE)
        return path

    @pytest.mark.parametrize("untrusted", [True, False])
    def test_blobs_that_are_elsewhere(self, table: BlobTable, secret: Path, untrusted: bool) -> None:
        external = Blob.from_uri(secret.as_uri(), position=3, size=6)
        table.add({"a": external}, allow_external_blob_outside_bases=True)
        uri = blob_uri(table.uri, "video", "a")
        access = Access(untrusted=untrusted)

        with pytest.raises(InvalidReferenceError, match="allow_outside_index=True"):
            store_for(uri, access=access).get(uri)
        assert store_for(uri, access=Access(allow_outside_index=True)).get(uri) == b"oneone"

    def test_links_among_the_blobs(self, table: BlobTable, secret: Path) -> None:
        table.add({"a": OTHER * 100})
        uri = blob_uri(table.uri, "video", "a")
        (blob,) = Path(table.uri, "data").glob("*/*.blob")
        secret.write_bytes(b"s" * blob.stat().st_size)
        blob.unlink()
        blob.symlink_to(secret)

        with pytest.raises(InvalidReferenceError, match="found a link that leads out"):
            store_for(uri, access=Access(untrusted=True)).get(uri)
        with pytest.raises(InvalidReferenceError, match="found a link that leads out"):
            store_for(uri, access=Access(base_dir=table.uri)).get(uri)

    def test_a_table_outside_base_dir(self, table: BlobTable, tmp_path: Path) -> None:
        base = tmp_path / "base"
        base.mkdir()
        (base / "link.lance").symlink_to(table.uri)
        for uri in (blob_uri(table.uri, "video", "a"), "../set.lance/@video/a", "link.lance/@video/a"):
            with pytest.raises(InvalidReferenceError, match="leads out of it"):
                batch_decode([MediaRef(uri, 0)], base_dir=base)

    def test_a_key_is_no_path(self, table: BlobTable) -> None:
        table.add({"../../etc/passwd": ONE})
        uri = blob_uri("set.lance", "video", "../../etc/passwd")
        base = Path(table.uri).parent

        with pytest.raises(UnsupportedMediaError):
            batch_decode([MediaRef(uri, 0)], base_dir=base, untrusted=True)

    def test_tables_whose_rows_were_deleted_and_changed(self, table: BlobTable) -> None:
        table.add({"a": ONE, "b": OTHER})
        table.put("a", OTHER)
        table.open().delete("key = 'b'")
        uri = blob_uri(table.uri, "video", "a")

        assert store_for(uri, access=Access(untrusted=True)).get(uri) == OTHER


@pytest.fixture
def packed(table: BlobTable, clip: Callable[[str], Clip]) -> tuple[str, list[Any]]:
    path = clip("h264_pyramid_mp4").path
    table.add({"takes/a b.mp4": path.read_bytes(), "other": ONE})
    return blob_uri(table.uri, "video", "takes/a b.mp4"), linear_frames(path)


def decoded(uri: str, time: float, **options: Any) -> Any:
    return batch_decode([MediaRef(uri, round(time * 10**9))], **options)[0]


@pytest.mark.parametrize("untrusted", [False, True])
def test_frames_are_those_of_the_file(packed: tuple[str, list[Any]], untrusted: bool) -> None:
    uri, truth = packed
    refs = [MediaRef(uri, round(frame.time * 10**9)) for frame in truth]
    for found, frame in zip(batch_decode(refs, untrusted=untrusted), truth, strict=True):
        np.testing.assert_array_equal(found, frame.rgb)


def test_a_video_whose_row_changes_between_calls_is_opened_anew(
    packed: tuple[str, list[Any]], table: BlobTable, clip: Callable[[str], Clip]
) -> None:
    uri, truth = packed
    np.testing.assert_array_equal(decoded(uri, truth[3].time), truth[3].rgb)
    other = clip("mpeg4_avi").path
    table.put("takes/a b.mp4", other.read_bytes())

    frame = linear_frames(other)[2]
    np.testing.assert_array_equal(decoded(uri, frame.time), frame.rgb)


def test_an_index_of_a_blob_is_kept_in_the_cache_directory(
    packed: tuple[str, list[Any]], table: BlobTable
) -> None:
    uri, truth = packed
    before = sorted(Path(table.uri).iterdir())
    index = write_frame_index(uri)
    assert index.location == "cache"
    assert sorted(Path(table.uri).iterdir()) == before
    np.testing.assert_array_equal(decoded(uri, truth[5].time, frame_index=index), truth[5].rgb)
    table.put("takes/a b.mp4", ONE)
    with pytest.raises(MediaRefError):
        decoded(uri, truth[5].time, frame_index=index)


def test_a_reference_tells_whether_its_blob_is_there(packed: tuple[str, list[Any]]) -> None:
    uri, _ = packed
    assert MediaRef(uri, 0).validate_uri()
    assert not MediaRef(uri + "x", 0).validate_uri()


def _child(uri: str, time: float, queue: Any) -> None:
    queue.put(decoded(uri, time))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_in_other_processes(packed: tuple[str, list[Any]], method: str) -> None:
    uri, truth = packed
    np.testing.assert_array_equal(decoded(uri, truth[1].time), truth[1].rgb)
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=_child, args=(uri, truth[i].time, queue)) for i in (0, 7)]
    for child in children:
        child.start()
    found = [queue.get(timeout=120) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    for i in (0, 7):
        assert any(np.array_equal(frame, truth[i].rgb) for frame in found)
    np.testing.assert_array_equal(decoded(uri, truth[2].time), truth[2].rgb)


def test_a_forked_child_calls_lance_in_a_process_of_its_own(
    packed: tuple[str, list[Any]], store: LanceBlobStore
) -> None:
    """Whatever was open is closed before the fork, so that the child does not even free it."""
    from mediaref_ursa._lance import lance_blobs

    uri, _ = packed
    store.head(uri)
    assert len(lance_blobs._tables._kept) > 0
    pid = os.fork()
    if pid == 0:
        ok = (
            not lance_blobs._tables._kept
            and store.get_range(uri, 4, 4) == b"ftyp"
            and not lance_blobs._tables._kept
        )
        os._exit(0 if ok else 1)
    assert os.waitpid(pid, 0)[1] == 0
    cleanup_cache()
    assert store.get_range(uri, 4, 4) == b"ftyp"


class TestImages:
    def test_an_image_in_a_blob_is_that_image(self, tmp_path: Path) -> None:
        from PIL import Image

        pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        path = tmp_path / "a.png"
        Image.fromarray(pixels).save(path)
        table = BlobTable(tmp_path / "set.lance")
        table.add({"a.png": path.read_bytes(), "b": ONE})
        ref = MediaRef(blob_uri(table.uri, "video", "a.png"))

        np.testing.assert_array_equal(ref.to_ndarray(), pixels)
        np.testing.assert_array_equal(batch_decode([ref], untrusted=True)[0], pixels)
        relative = MediaRef("set.lance/@video/a.png")
        np.testing.assert_array_equal(batch_decode([relative], base_dir=tmp_path)[0], pixels)
        with pytest.raises(UnsupportedMediaError):
            MediaRef(blob_uri(table.uri, "video", "b")).to_ndarray()

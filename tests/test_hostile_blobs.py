"""Lance tables of media whose manifests, files or rows lead elsewhere, or claim what is not so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import lance
import numpy as np
import pyarrow as pa
import pytest
from _blob_tables import BlobTable
from _lance_tables import BASE_PATHS, Fields, change_data_file, change_manifest, encode, manifest_of, renamed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lance import blob_array, blob_field

from mediaref_ursa import Access, InvalidReferenceError, MediaRef, MediaRefError, batch_decode, blob_uri
from mediaref_ursa.store import LanceBlobStore, store_for

DATA = os.urandom(5000)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of one version."""
    schema = pa.schema([pa.field("key", pa.string()), blob_field("video")])
    rows = pa.table([pa.array(["a", "b"]), blob_array([DATA, DATA * 100])], schema=schema)
    path = tmp_path / "set.lance"
    lance.write_dataset(rows, str(path), data_storage_version="2.2", enable_stable_row_ids=True)
    return path


def test_the_table_itself_is_read(table: Path) -> None:
    uri = blob_uri(table, "video", "b")
    assert store_for(uri, access=Access(untrusted=True)).get(uri) == DATA * 100


@pytest.mark.parametrize("untrusted", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda table: change_manifest(
            table, lambda fields: [*fields, (BASE_PATHS, encode([(1, 1), (4, b"/etc")]))]
        ),
        lambda table: change_data_file(table, lambda fields: renamed(fields, b"../../other.lance")),
        lambda table: change_data_file(table, lambda fields: renamed(fields, b"/etc/passwd")),
        lambda table: change_data_file(table, lambda fields: [*fields, (7, 1)]),
    ],
    ids=["base path", "dots", "absolute", "another base"],
)
def test_files_outside_the_table_are_refused(
    table: Path, change: Callable[[Path], None], untrusted: bool
) -> None:
    change(table)
    uri = blob_uri(table, "video", "b")

    with pytest.raises(InvalidReferenceError, match="files lie in its own folder") as caught:
        store_for(uri, access=Access(untrusted=untrusted)).get(uri)
    assert caught.value.uri == uri


def test_what_is_not_known_is_refused_from_an_untrusted_writer(table: Path) -> None:
    def unknown(fields: Fields) -> Fields:
        return [*fields, (77, b"https://example.com/x")]

    change_manifest(table, unknown)
    uri = blob_uri(table, "video", "b")
    with pytest.raises(MediaRefError, match="its writer is not trusted"):
        store_for(uri, access=Access(untrusted=True)).get(uri)


def test_links_and_fifos_among_the_files(table: Path, tmp_path: Path) -> None:
    uri = blob_uri(table, "video", "b")
    (data,) = (table / "data").glob("*.lance")
    outside = tmp_path / "outside.lance"
    data.rename(outside)
    data.symlink_to(outside)
    with pytest.raises(InvalidReferenceError, match="found a link"):
        store_for(uri, access=Access(untrusted=True)).get(uri)
    data.unlink()
    os.mkfifo(data)
    with pytest.raises(InvalidReferenceError, match="regular files"):
        store_for(uri).get(uri)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**6), value=st.integers(0, 255))
def test_a_damaged_manifest_is_an_error_or_the_same_bytes(table: Path, position: int, value: int) -> None:
    """Whatever byte is another: no crash, and never other bytes."""
    manifest = manifest_of(table)
    good = manifest.read_bytes()
    bad = bytearray(good)
    bad[position % len(bad)] = value
    uri = blob_uri(table, "video", "a")
    manifest.write_bytes(bytes(bad))
    try:
        found = store_for(uri, access=Access(untrusted=True)).get(uri, max_bytes=10**7)
    except MediaRefError:
        return
    finally:
        manifest.write_bytes(good)
    assert found == DATA


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 3000)), max_size=12))
def test_any_ranges_are_those_of_the_bytes(table: Path, ranges: list[tuple[int, int]]) -> None:
    store, uri = LanceBlobStore(is_local=True), blob_uri(table, "video", "b")
    whole = DATA * 100
    info = store.head(uri)

    expected = [whole[offset : offset + length] for offset, length in ranges]
    assert store.get_ranges(uri, ranges) == expected
    assert store.get_ranges_of(uri, info, ranges) == expected


def test_an_image_that_claims_to_be_huge_is_refused_before_it_is_read(tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((200, 300, 3), np.uint8)).save(tmp_path / "a.png")
    table = BlobTable(tmp_path / "set.lance")
    table.add({"a": (tmp_path / "a.png").read_bytes()})
    with pytest.raises(MediaRefError, match="at most 100 pixels"):
        batch_decode([MediaRef(blob_uri(table.uri, "video", "a"))], max_pixels=100)

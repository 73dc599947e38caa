"""URIs of blobs in Lance tables: made, taken apart, and left whole by what changes paths and URIs."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa import InvalidReferenceError, MediaRef, blob_uri, rebase
from mediaref_ursa._core.blob_uris import BlobUri
from mediaref_ursa._core.redaction import redact
from mediaref_ursa._core.uris import absolute_location, scheme_of, split_blob

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1) | st.text("ab./%?#@: '", min_size=1)
TABLES = [
    "set.lance",
    "/data/a b.lance",
    "file:///data/a%20b.lance",
    "s3://bucket/x/set.lance",
    "../set.lance",
]


@given(st.sampled_from(TABLES), KEYS, KEYS, KEYS)
def test_a_uri_taken_apart_gives_what_it_was_made_of(
    table: str, column: str, key: str, key_column: str
) -> None:
    uri = blob_uri(table, column, key, key_column=key_column)

    assert BlobUri.parse(uri) == BlobUri(table, column, key, key_column)


@given(KEYS)
def test_what_follows_the_table_is_a_path_of_uris(key: str) -> None:
    uri = blob_uri("s3://bucket/set.lance", "video", key)

    parts = urlsplit(uri)
    assert (parts.query, parts.fragment) == ("", "")
    assert uri.isascii()
    assert uri.isprintable()
    assert " " not in uri


@given(KEYS)
def test_paths_that_are_joined_or_made_absolute_keep_the_key(key: str) -> None:
    uri = blob_uri("set.lance", "video", key)
    joined = str(Path("/data") / uri)

    assert BlobUri.parse(joined) == BlobUri("/data/set.lance", "video", key)
    assert absolute_location(joined) == joined
    named = absolute_location(blob_uri("file:///data/a%20b.lance", "video", key))
    assert BlobUri.parse(named) == BlobUri("/data/a b.lance", "video", key)


@given(KEYS)
def test_a_table_that_moved_needs_another_prefix_and_nothing_else(key: str) -> None:
    ref = MediaRef(blob_uri("/data/set.lance", "video", key), 5)

    moved = rebase(ref, {"/data": "s3://bucket/sets"})

    assert BlobUri.parse(moved.uri) == BlobUri("s3://bucket/sets/set.lance", "video", key)
    assert rebase(ref, {"/data/set.lance": "b.lance"}).uri == blob_uri("b.lance", "video", key)


@pytest.mark.parametrize(
    "uri",
    [
        "set.lance",
        "set.lance/data/a.mp4",
        "set.lance/@video",
        "set.lance/@video/",
        "a/@video/b.mp4",
        "data:text/plain,set.lance/@video/a",
        "https://host/a?x=set.lance/@video/a",
        "",
    ],
)
def test_other_uris_name_no_blob(uri: str) -> None:
    assert split_blob(uri) is None
    with pytest.raises(InvalidReferenceError, match="expected a blob of a Lance table, such as"):
        BlobUri.parse(uri)


@pytest.mark.parametrize(
    "uri", ["s.lance/@v/%ff", "s.lance/@%ff/a", "s.lance/@:/a", "s.lance/@v:/a", "s.lance/@:k/a"]
)
def test_hostile_uris_are_one_error(uri: str) -> None:
    with pytest.raises(InvalidReferenceError, match="expected the") as caught:
        BlobUri.parse(uri)
    assert caught.value.uri == uri


@pytest.mark.parametrize(
    ("table", "column", "key", "key_column"),
    [
        ("set.parquet", "video", "a", "key"),
        ("s3://bucket/set.lance?version=1", "video", "a", "key"),
        ("x.lance/@video/set.lance", "video", "a", "key"),
        ("data:,set.lance", "video", "a", "key"),
        ("set.lance", "", "a", "key"),
        ("set.lance", "video", "", "key"),
        ("set.lance", "video", "a", ""),
        ("set.lance", "video", "\udc80", "key"),
    ],
)
def test_what_has_no_uri_is_misuse(table: str, column: str, key: str, key_column: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        blob_uri(table, column, key, key_column=key_column)


def test_the_scheme_is_that_of_the_table_so_that_rules_for_it_apply() -> None:
    assert scheme_of(blob_uri("s3://bucket/set.lance", "video", "a")) == "s3"
    assert scheme_of(blob_uri("set.lance", "video", "a://b")) == ""
    assert blob_uri(Path("set.lance"), "image", 7) == "set.lance/@image/7"


def test_messages_show_no_secrets_and_the_whole_blob() -> None:
    uri = blob_uri("s3://me:secret@bucket/set.lance", "video", "takes/a.mp4") + "?X-Amz-Signature=1"

    assert redact(uri) == "s3://bucket/set.lance/@video/takes/a.mp4"
    assert BlobUri.parse(uri).key == "takes/a.mp4"

"""Objects in memory."""

from __future__ import annotations

import pytest

from mediaref_ursa import MediaNotFoundError
from mediaref_ursa.store import MemoryStore


def test_the_tag_follows_the_content() -> None:
    store = MemoryStore({"a": b"one", "b": b"one", "c": b"two"})
    assert store.head("a").etag == store.head("b").etag != store.head("c").etag
    store.put("c", b"one")
    assert store.head("c").etag == store.head("a").etag


def test_what_is_put_is_a_copy() -> None:
    buffer = bytearray(b"abc")
    store = MemoryStore()
    store.put("a", buffer)
    buffer[0] = 0
    assert store.get("a") == b"abc"


def test_delete() -> None:
    store = MemoryStore({"a": b"one"})
    store.delete("a")
    store.delete("a")
    with pytest.raises(MediaNotFoundError):
        store.get("a")

"""Whether bytes are on this machine is what the store says; the URI's scheme only chooses a store."""

from collections.abc import Callable
from typing import Any

import pytest

from mediaref_ursa import MediaRef, batch_decode, plan_decode
from mediaref_ursa.store import MemoryStore
from mediaref_ursa.store._location import Location


class RemoteStore(MemoryStore):
    is_local = False


@pytest.fixture
def data(clip: Callable[[str], Any]) -> bytes:
    return clip("h264_idr_mp4").path.read_bytes()


def test_a_remote_store_of_the_callers_is_asked_by_requests(data: bytes) -> None:
    store = RemoteStore({"videos/a.mp4": data})
    plan = plan_decode([MediaRef("videos/a.mp4", 0)], store=store)
    assert plan.requests == 1
    assert "1 request" in plan.explain()


def test_a_local_store_of_the_callers_is_not(data: bytes) -> None:
    uri = "https://example.com/a.mp4"
    store = MemoryStore({uri: data})
    plan = plan_decode([MediaRef(uri, 0)], store=store)
    assert plan.requests == 0
    assert "local files" in plan.explain()


def test_many_videos_of_a_remote_store_open_at_once(data: bytes) -> None:
    store = RemoteStore({f"{i}.mp4": data for i in range(3)})
    refs = [MediaRef(f"{i}.mp4", 0) for i in range(3)]
    assert len(batch_decode(refs, store=store)) == 3


def test_the_scheme_decides_without_a_store_of_the_callers() -> None:
    assert Location("/data/a.mp4").is_local
    assert not Location("s3://bucket/a.mp4").is_local

"""The stores that are chosen by scheme are shared by threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from mediaref_ursa.store import LocalStore
from mediaref_ursa.store._open import _STORES_KEPT, _Stores


@pytest.fixture
def busy_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_with_more_stores_than_are_kept(busy_threads: None) -> None:
    stores, errors = _Stores(), []

    def work(first: int) -> None:
        try:
            for number in range(1500):
                stores.get((first + number % (_STORES_KEPT + 1),), LocalStore)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(stores._kept) <= _STORES_KEPT

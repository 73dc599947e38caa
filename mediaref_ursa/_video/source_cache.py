"""``SourceCache``: a cache of video sources, which threads share and a forked child keeps."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from mediaref_ursa._core.process_state import ProcessState
from mediaref_ursa._core.reentrancy import LongLock, ShortLock

T = TypeVar("T")


class SourceCache(ProcessState, Generic[T]):
    """Values by key, bounded in bytes, least recently used dropped first; each is built by one thread only.

    A forked child keeps them.

    Args:
        max_bytes: What the values may take in memory, the last one apart.
        nbytes: Returns what a value takes.
    """

    def __init__(self, max_bytes: int, nbytes: Callable[[T], int]) -> None:
        self._max_bytes = max_bytes
        self._nbytes = nbytes
        self._values: OrderedDict[object, T] = OrderedDict()
        self._bytes = 0
        self.forget()

    def forget(self) -> None:
        """Take new locks in a forked child, which keeps the values, since no thread was changing them."""
        self._lock = ShortLock()
        self._building: dict[object, LongLock] = {}

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()

    def close(self) -> None:
        with self._lock:
            self._values.clear()
            self._bytes = 0

    def put(self, key: object, value: T) -> None:
        self._add(key, value)

    def get(self, key: object, build: Callable[[], T]) -> T:
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
                return value
            building = self._building.setdefault(key, LongLock())
        try:
            with building.held():
                with self._lock:
                    value = self._values.get(key)
                if value is None:
                    value = build()
                    self._add(key, value)
        finally:
            with self._lock:
                self._building.pop(key, None)
        return value

    def _add(self, key: object, value: T) -> None:
        with self._lock:
            replaced = self._values.pop(key, None)
            self._bytes -= self._nbytes(replaced) if replaced is not None else 0
            self._values[key] = value
            self._bytes += self._nbytes(value)  # a source with two keys counts twice, which does no harm
            while self._bytes > self._max_bytes and len(self._values) > 1:
                _, dropped = self._values.popitem(last=False)
                self._bytes -= self._nbytes(dropped)

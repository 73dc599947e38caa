"""Dictionaries bounded in number or in bytes, the least recently used dropped first. Not locked."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class LruDict(OrderedDict[K, V]):
    """A dictionary that keeps the ``max_items`` that were set, or looked up with ``use``, last.

    Args:
        max_items: How many it keeps.

    >>> kept: LruDict[str, int] = LruDict(2)
    >>> kept["a"], kept["b"] = 1, 2
    >>> kept.use("a")
    1
    >>> kept["c"] = 3
    >>> list(kept)
    ['a', 'c']
    """

    def __init__(self, max_items: int) -> None:
        super().__init__()
        self._max_items = max_items

    def use(self, key: K) -> V | None:
        """Return the value of a key, now the most recently used, or None."""
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        while len(self) > self._max_items:
            self.popitem(last=False)


class LruBytes(Generic[K, V]):
    """Values of which the ``max_bytes`` that were put in, or looked up, last are kept; the last one always.

    Args:
        max_bytes: What the values may take in memory.

    >>> kept: LruBytes[str, int] = LruBytes(10)
    >>> kept.put("a", 1, 6), kept.put("b", 2, 6)
    (None, None)
    >>> kept.use("a"), kept.use("b")
    (None, 2)
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._bytes = 0

    def use(self, key: K) -> V | None:
        """Return the value of a key, now the most recently used, or None."""
        found = self._values.get(key)
        if found is None:
            return None
        self._values.move_to_end(key)
        return found[0]

    def put(self, key: K, value: V, nbytes: int) -> None:
        """Keep a value that takes some bytes."""
        _, replaced = self._values.pop(key, (None, 0))
        self._values[key] = value, nbytes
        self._bytes += nbytes - replaced
        while self._bytes > self._max_bytes and len(self._values) > 1:
            _, (_, dropped) = self._values.popitem(last=False)
            self._bytes -= dropped

    def clear(self) -> None:
        """Drop all."""
        self._values.clear()
        self._bytes = 0

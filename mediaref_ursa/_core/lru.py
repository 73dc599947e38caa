"""A dictionary bounded in number, the least recently used dropped first. Not locked."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

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

"""Tokens of stores for the keys of caches, since ``id`` is reused once a store is gone."""

from __future__ import annotations

import itertools
import weakref

from mediaref_ursa._core.lru import LruDict
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock
from mediaref_ursa.store._protocol import ObjectStore

NO_STORE = 0
"""The token where no store was given."""
_MAX_REFERENCES = 64  # then references to stores that no longer exist are removed
_MAX_HELD = 64


class StoreTokens(ProcessState):
    """The tokens of this process's stores, by weak references where a store allows them. Threads share it.

    Stores that cannot be weakly referred to are held, the last used of them.
    """

    def __init__(self) -> None:
        self._next = itertools.count(NO_STORE + 1)
        self.forget()
        self.close()

    def forget(self) -> None:
        """Take a new lock in a forked child, which keeps the tokens."""
        self._lock = ShortLock()

    def before_fork(self) -> None:
        self._lock.acquire()

    def after_fork(self) -> None:
        self._lock.release()

    def close(self) -> None:
        """Forget all tokens, so that cache entries under them are no longer found."""
        with self._lock:
            self._by_identity: dict[int, tuple[weakref.ref[ObjectStore], int]] = {}
            self._of_living: dict[int, weakref.ref[ObjectStore]] = {}
            self._held: LruDict[int, tuple[ObjectStore, int]] = LruDict(_MAX_HELD)
            self._drop_dead_at = _MAX_REFERENCES

    def of(self, store: ObjectStore | None) -> int:
        """Return the token of a store: constant while the store lives, and never reused for another.

        >>> from mediaref_ursa.store import MemoryStore
        >>> store = MemoryStore({})
        >>> tokens.of(store) == tokens.of(store), tokens.of(store) == tokens.of(MemoryStore({}))
        (True, False)
        """
        if store is None:
            return NO_STORE
        with self._lock:
            known = self._by_identity.get(id(store))
            if known is not None and known[0]() is store:
                return known[1]
            held = self._held.use(id(store))
            if held is not None:
                return held[1]
            token = next(self._next)
            try:
                reference = weakref.ref(store)
            except TypeError:
                self._held[id(store)] = store, token
                return token
            self._drop_dead()
            self._by_identity[id(store)] = reference, token
            self._of_living[token] = reference
            return token

    def is_current(self, token: int) -> bool:
        """Return whether a token belongs to a live store and was given since ``close``."""
        with self._lock:
            reference = self._of_living.get(token)
            if reference is not None:
                return reference() is not None
            return any(token == held for _, held in self._held.values())

    def _drop_dead(self) -> None:
        if len(self._of_living) < self._drop_dead_at:
            return
        self._of_living = {
            token: reference for token, reference in self._of_living.items() if reference() is not None
        }
        self._by_identity = {
            identity: known for identity, known in self._by_identity.items() if known[1] in self._of_living
        }
        self._drop_dead_at = _MAX_REFERENCES + 2 * len(self._of_living)


tokens = register(StoreTokens())
"""The store tokens of this process."""

"""``MemoryStore``: objects in memory, for tests and for programs that embed their media."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from mediaref_ursa._core.errors import MediaNotFoundError
from mediaref_ursa._core.public import set_module
from mediaref_ursa.store._protocol import ObjectInfo, check_range, past_the_end, too_large


@set_module("mediaref_ursa.store")
class MemoryStore:
    """A dictionary of URI to bytes; any text is a URI here.

    Entity tags come from the content. Threads may share a store; a pickled copy holds its own
    objects.

    >>> store = MemoryStore({"memory://a": b"abcdef"})
    >>> store.get_range("memory://a", 2, 3)
    b'cde'
    """

    is_local = True

    def __init__(self, objects: Mapping[str, bytes] | None = None) -> None:
        self._objects: dict[str, tuple[bytes, str]] = {}
        for uri, data in (objects or {}).items():
            self.put(uri, data)

    def put(self, uri: str, data: bytes) -> None:
        """Store ``data`` at ``uri``, replacing any object there."""
        content = bytes(data)
        self._objects[uri] = content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'

    def delete(self, uri: str) -> None:
        """Remove the object at ``uri``, if there is one."""
        self._objects.pop(uri, None)

    def head(self, uri: str) -> ObjectInfo:
        """Return the object's length and entity tag."""
        data, etag = self._find(uri)
        return ObjectInfo(size=len(data), etag=etag, modified=None)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order."""
        for offset, length in ranges:
            check_range(offset, length)
        data, _ = self._find(uri)
        for offset, length in ranges:
            if offset + length > len(data):
                raise past_the_end(uri, offset, length, len(data))
        return [data[offset : offset + length] for offset, length in ranges]

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole object, unless it is larger than ``max_bytes``."""
        data, _ = self._find(uri)
        if max_bytes is not None and len(data) > max_bytes:
            raise too_large(uri, len(data), max_bytes)
        return data

    def _find(self, uri: str) -> tuple[bytes, str]:
        try:
            return self._objects[uri]
        except KeyError:
            raise MediaNotFoundError("the store holds nothing under that name", uri=uri) from None

"""Which parameter sets are in force, and whether a decoder that begins at a packet would know them.

A stream may send parameter sets once, between pictures, and rely on them for ever. A decoder that
begins later knows only those of the container and of the packet it begins with; where that is not
all that is in force, decoding cannot begin there.
"""

from __future__ import annotations

Key = tuple[int, int]


class ParameterSets:
    """Parameter sets by NAL type and id, first those of the container.

    Attributes:
        ever_changed: Whether any packet did so.
        changed: Whether the last packet brought a set that was not in force before: then the packets
            after it need it, whatever its picture is.
    """

    def __init__(self) -> None:
        self.changed = self.ever_changed = False
        self._container: dict[Key, bytes] = {}
        self._in_force: dict[Key, bytes] = {}
        self._differs = False

    def add_container(self, key: Key, nal: bytes) -> None:
        """Record a parameter set of the codec configuration."""
        self._container[key] = nal
        self._in_force[key] = nal

    def begin_packet(self, found: dict[Key, bytes]) -> bool:
        """Take in the sets of the next packet; return whether decoding could begin with it."""
        self.changed = any(self._in_force.get(key) != nal for key, nal in found.items())
        if self.changed:
            self.ever_changed = True
            self._in_force.update(found)
            self._differs = self._in_force != self._container
        if not self._differs:
            return True
        return {**self._container, **found} == self._in_force

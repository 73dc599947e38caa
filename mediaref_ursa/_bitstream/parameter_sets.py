"""Parameter sets in force, and whether a decoder that begins at a packet would have received them.

A stream may send parameter sets once, between pictures, and rely on them for ever. A decoder that
begins later knows only those of the container and of the packet it begins with; where that is not
all that is in force, decoding cannot begin there.
"""

from __future__ import annotations

Key = tuple[int, int]


class ParameterSets:
    """Parameter sets by NAL type and id, first those of the container.

    Attributes:
        changed: Whether the last packet brought a set that was not in force before: then the packets
            after it need it, whatever its picture is.
    """

    def __init__(self) -> None:
        self.changed = False
        self._ever_changed: set[Key] = set()
        self._relied_on: set[Key] = set()
        self._container: dict[Key, bytes] = {}
        self._in_force: dict[Key, bytes] = {}
        self._differs = False
        self._seen: dict[int, set[bytes]] = {}

    def add_container(self, key: Key, nal: bytes) -> None:
        """Record a parameter set of the codec configuration."""
        self._seen.setdefault(key[0], set()).add(nal)
        self._container[key] = nal
        self._in_force[key] = nal

    def begin_packet(self, found: dict[Key, bytes]) -> bool:
        """Add the sets of the next packet; return whether decoding could begin with it."""
        changed = {key for key, nal in found.items() if self._in_force.get(key) != nal}
        self.changed = bool(changed)
        if self.changed:
            for key in changed:
                self._seen.setdefault(key[0], set()).add(found[key])
            self._ever_changed |= changed
            self._in_force.update(found)
            self._differs = self._in_force != self._container
        if not self._differs:
            return True
        return {**self._container, **found} == self._in_force

    def begin_at(self, found: dict[Key, bytes]) -> None:
        """Record that decoding may begin with a packet of these sets."""
        self._relied_on |= self._in_force.keys() - found.keys()

    def has_several(self, kind: int) -> bool:
        """Whether sets of a NAL type differ: decoders keep the colours of one where another states none."""
        return len(self._seen.get(kind, ())) > 1

    @property
    def restartable(self) -> bool:
        """Whether each random access point so far carries all parameter sets that change in the stream.

        Then a decoder that knows the sets of other packets learns theirs when it begins there.
        """
        return not self._ever_changed & self._relied_on

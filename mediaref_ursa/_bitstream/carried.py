"""Headers besides parameter sets that stay in force for later packets, since a decoder remembers them.

Encoders send some headers once, with the first packet: which encoder it was (decoders then work around its
faults), film grain, quantiser tables. A decoder that begins later has not seen them, and would give other
pixels. They are recorded, and fed in front of the packet that decoding begins with.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any


class CarriedHeaders:
    """Headers in force by kind; a later header replaces an earlier one of its kind.

    Attributes:
        changed: Whether the last packet brought a header that was not in force before: then the packets
            after it need it, whatever its picture is.
        restartable: Whether the same kinds have been in force since decoding could first begin: then what
            a decoder remembers of other packets is replaced wherever it begins anew.
    """

    def __init__(self) -> None:
        self.changed = False
        self.restartable = True
        self._has_started = False
        self._in_force: dict[Hashable, bytes] = {}

    @property
    def is_empty(self) -> bool:
        """Whether no header is in force."""
        return not any(self._in_force.values())

    def __contains__(self, kind: Hashable) -> bool:
        return bool(self._in_force.get(kind))

    def begin_packet(
        self, found: Mapping[Any, bytes], before_use: Mapping[Any, bytes] | None = None
    ) -> tuple[bytes, ...]:
        """Add the headers of the next packet.

        Args:
            found: Its headers by kind; empty bytes end what is in force of that kind.
            before_use: Those of them that stand before its picture; all of them without it.

        Returns:
            The headers in force that the packet itself lacks.
        """
        own = found if before_use is None else before_use
        missing = tuple(header for kind, header in self._in_force.items() if header and kind not in own)
        differing = {
            kind: header for kind, header in found.items() if self._in_force.get(kind, b"") != header
        }
        self.changed = bool(differing)
        if any(not (header and kind in self) for kind, header in differing.items()):
            self.restartable &= not self._has_started
        self._in_force.update(differing)
        return missing

    def begin_at(self) -> None:
        """Note that decoding may begin with the last packet."""
        self._has_started = True

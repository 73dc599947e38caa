"""``Traits``, the facts read from one packet's bits, and ``Inspector``, the protocol of bitstream readers."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Traits(NamedTuple):
    """Facts about one packet, read from its bits.

    Attributes:
        random_access: Decoding may begin here: every frame that follows in decode order and is not
            displayed before this one comes out bit-exact.
        displayed: The packet gives a displayed frame; never output packets are only decoded.
        discardable: No other frame of the same or a lower temporal layer is predicted from it; None
            where its bits were not read for that.
        layer: Temporal layer; a discardable packet may be left out only in the highest one.
        uncertain: Which packets give frames, or from which ones decoding can begin, cannot be known
            without decoding the segment once.
        has_gap: Packets before this one are missing.
        single_field: The packet holds one field of an interlaced frame, not the whole of it.
        depends_on_previous_state: Besides reference pictures, decoding uses state that the packet before
            this one left behind, so that the packet before cannot be left out.
        restartable: A decoder that has seen all up to here, and is flushed, decodes from a random access
            point on as a new one does.
        start_headers: Headers of earlier packets that stay in force and that the packet lacks: a decoder
            that begins here is fed them in front of it.
    """

    random_access: bool
    displayed: bool = True
    discardable: bool | None = None
    layer: int = 0
    uncertain: bool = False
    has_gap: bool = False
    single_field: bool = False
    depends_on_previous_state: bool = False
    restartable: bool = False
    start_headers: bytes = b""


class Inspector(Protocol):
    """Reads the packets of one stream, in decode order."""

    def inspect(self, data: memoryview) -> Traits:
        """Return the facts about the next packet."""
        ...

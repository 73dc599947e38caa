"""``PacketFeed``: the packets of a run, fed to a decoder one by one."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._model.segment import EncodedPacket


class PacketFeed:
    """Packets up to the first that cannot be read, whose error is kept: frames before it are still decoded.

    Attributes:
        error: Why packets ended early, or None.
        last: The number of the last packet that was given out, -1 before the first.
        count: How many were given out.
    """

    def __init__(self, packets: Iterator[EncodedPacket]) -> None:
        self._packets = packets
        self.error: MediaRefError | None = None
        self.last = -1
        self.count = 0

    def __iter__(self) -> Iterator[EncodedPacket]:
        try:
            for packet in self._packets:
                self.last = packet.number
                self.count += 1
                yield packet
        except MediaRefError as error:
            self.error = error

    def close(self) -> None:
        """Yield no more packets, and release the bytes fetched for them."""
        if isinstance(self._packets, Generator):
            self._packets.close()

    def completes(self, packet: int, lookahead_packets: int) -> bool:
        """Whether all packets of the frame of ``packet`` were fed."""
        return self.error is None or packet <= self.last - lookahead_packets

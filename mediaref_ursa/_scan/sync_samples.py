"""Sync samples that a container flags, checked against the first bytes of their packets.

A full scan reads every packet and believes no flag. A sparse one reads the prefixes of flagged packets.
This module classifies such a packet as the full scan would, or declines, if the answer depends on packets
that were not read. It relies on ISO/IEC 14496-15, by which a sync sample needs no parameter sets but those of
the sample entry and its own; spot checks of some stretches verify that.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

from mediaref_ursa._bitstream import Inspector, Traits, inspector_for
from mediaref_ursa._bitstream.h264 import H264Inspector
from mediaref_ursa._bitstream.intra import holds_all_tables
from mediaref_ursa._model.segment import SegmentInfo

_IDR, _LAST_H264_PICTURE = 5, 5
_SLICE_HEADER_BYTES = 64
_LAST_HEVC_PICTURE = 31
_BLA = (16, 17, 18)
_END_OF_SEQUENCE = (36, 37)
_MPEG_INTRA_PICTURE = bytes.fromhex("000001b3" + "00" * 8 + "00000100" + "0008")
_MPEG4_B_VOP = bytes.fromhex("000001b6" + "80" * 32)
_SEQUENCE_EXTENSION = b"\0\0\1\xb5"
_PROGRESSIVE = 8
_SMALLEST_PICTURES = {"h264": 12, "hevc": 12, "mpeg1video": 12, "mpeg2video": 12, "mpeg4": 25}


class DeclinedError(Exception):
    """A sparse scan is declined, since only a full scan can decide; the reason is logged."""


class SyncSampleChecker:
    """Classifies the flagged packets of one stream, in decode order.

    Args:
        info: What the stream is.

    Raises:
        DeclinedError: A codec whose packet prefixes are not enough.
    """

    def __init__(self, info: SegmentInfo) -> None:
        self._codec = info.codec
        self._length_size = 0
        inspector: Inspector | None
        if info.codec in ("h264", "hevc"):
            self._length_size = _length_size(info)
        inspector = _FrameH264(info.extradata) if info.codec == "h264" else None
        if info.codec in ("hevc", "av1", "vp9", "ffv1", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4"):
            inspector = inspector_for(info.codec, info.extradata)
        if inspector is None:
            raise DeclinedError(f"prefixes of {info.codec} packets are not enough")
        if info.codec == "mpeg4":
            inspector.inspect(memoryview(_MPEG4_B_VOP))  # as if B-VOPs had come: they bind interlaced video
        elif info.codec in ("mpeg1video", "mpeg2video"):
            inspector.inspect(memoryview(_MPEG_INTRA_PICTURE))  # as if sequence headers had come
        self._inspector: Inspector = inspector
        self._spot_check: Inspector | None = None

    @property
    def smallest_picture_bytes(self) -> int:
        """The least bytes of a packet with a picture; smaller ones may hold none, or an empty one."""
        return _SMALLEST_PICTURES.get(self._codec, 1)

    @property
    def wants_tails(self) -> bool:
        """Whether :meth:`classify` needs the last bytes of the packet before."""
        return self._codec == "hevc"

    def classify(
        self, prefix: bytes, size: int, tail_before: bytes, read_whole: Callable[[], bytes]
    ) -> Traits:
        """Return the traits that a full scan would give the next flagged packet.

        Args:
            prefix: Its first bytes.
            size: Bytes in all.
            tail_before: The last bytes of the packet before, where they are wanted.
            read_whole: Returns all of its bytes.

        Raises:
            DeclinedError: That hangs on other packets.
        """
        if self._codec == "hevc":
            self._refuse_skipped_pictures(prefix, tail_before)
        data, traits = self._from_prefix(prefix, size) if len(prefix) < size else (prefix, None)
        if traits is None:
            data = prefix if len(prefix) == size else read_whole()
            traits = self._inspector.inspect(memoryview(data))
        if traits.uncertain or traits.single_field or self._is_interlaced(data):
            raise DeclinedError("interlaced or packed pictures")
        if self._codec == "hevc" and not traits.displayed:
            # A leading picture is skipped by what came before its random access point (ITU-T H.265, 8.1.3).
            raise DeclinedError("a flagged leading picture")
        if self._codec.startswith("mpeg") and not traits.random_access:
            raise DeclinedError("flagged packets that are no random access points")
        if self._spot_check is not None:
            if self._spot_check.inspect(memoryview(data)).random_access != traits.random_access:
                raise DeclinedError("parameter sets between the flagged packets")
            self._spot_check = None
        return traits

    def spot_check(self, packets: list[bytes], *, is_adjacent: bool) -> None:
        """Read the packets after the last classified one as a full scan does, and compare.

        Args:
            packets: Those that follow in decode order.
            is_adjacent: Whether the next flagged packet follows them.

        Raises:
            DeclinedError: They are not what a sparse scan takes them for.
        """
        spot_check = copy.deepcopy(self._inspector)
        for data in packets:
            traits = spot_check.inspect(memoryview(data))
            if not traits.displayed or traits.uncertain or traits.single_field:
                raise DeclinedError("never output, packed or single-field pictures")
        self._spot_check = spot_check if is_adjacent else None

    def _from_prefix(self, prefix: bytes, size: int) -> tuple[bytes, Traits | None]:
        """Classify by the prefix alone; the traits are None if the whole packet must be read."""
        data = self._readable(prefix, size)
        if data is None:
            return b"", None
        inspector = copy.deepcopy(self._inspector)
        traits = inspector.inspect(memoryview(data))
        if not traits.random_access or not traits.displayed or traits.uncertain or traits.single_field:
            return b"", None
        self._inspector = inspector
        return data, traits

    def _readable(self, prefix: bytes, size: int) -> bytes | None:
        """Return the part of a packet that its reader needs, zeros for bytes after the prefix; or None."""
        if self._length_size:
            return self._up_to_first_picture(prefix, size)
        if self._codec == "av1":
            return prefix.ljust(size, b"\0")
        if self._codec == "vp9":
            return prefix + b"\0"  # no mark of a superframe
        if self._codec == "mjpeg" and not holds_all_tables(prefix):
            return None
        return prefix

    def _up_to_first_picture(self, prefix: bytes, size: int) -> bytes | None:
        """Return a packet up to the end of its first slice, if the rest does not matter.

        Parameter sets stand before the first slice (ITU-T H.264, 7.4.1.2.3; H.265, 7.4.2.4.4). All slices
        of an IDR picture are of that kind; whether another picture is intra, all of them say together.
        """
        for kind, begin, end in self._nals(prefix, size):
            if self._is_picture(kind):
                if len(prefix) - begin < min(_SLICE_HEADER_BYTES, end - begin):
                    return None
                if self._codec == "h264" and kind != _IDR and end < size:
                    return None
                return prefix[:end].ljust(end, b"\0")
            if end > len(prefix):
                return None
        return None

    def _nals(self, prefix: bytes, size: int) -> list[tuple[int, int, int]]:
        """Return the kind, begin and end of each NAL unit whose header lies in a packet's prefix."""
        found: list[tuple[int, int, int]] = []
        position = 0
        while position + self._length_size + 2 <= len(prefix):
            begin = position + self._length_size
            position = begin + int.from_bytes(prefix[position:begin], "big")
            if position > size:
                break
            if position > begin:
                found.append((self._kind(prefix, begin), begin, position))
        return found

    def _kind(self, prefix: bytes, begin: int) -> int:
        if self._codec == "h264":
            return prefix[begin] & 31
        is_base_layer = not ((prefix[begin] & 1) << 5 | prefix[begin + 1] >> 3)
        return prefix[begin] >> 1 & 63 if is_base_layer else -1

    def _is_picture(self, kind: int) -> bool:
        if self._codec == "h264":
            return 1 <= kind <= _LAST_H264_PICTURE
        return 0 <= kind <= _LAST_HEVC_PICTURE

    def _refuse_skipped_pictures(self, prefix: bytes, tail_before: bytes) -> None:
        """Refuse a random access point after which decoders skip pictures (ITU-T H.265, 8.1.3)."""
        ends = [bytes([0] * (self._length_size - 1) + [2, kind << 1]) for kind in _END_OF_SEQUENCE]
        kinds = [kind for kind, _, _ in self._nals(prefix, len(prefix) + (1 << 62))]
        if any(end in tail_before for end in ends) or any(k in (*_BLA, *_END_OF_SEQUENCE) for k in kinds):
            raise DeclinedError("broken links or ends of sequences")

    def _is_interlaced(self, data: bytes) -> bool:
        if isinstance(self._inspector, _FrameH264):
            return not self._inspector.frames_only
        if self._codec == "mpeg2video":
            at = data.find(_SEQUENCE_EXTENSION)
            return at >= 0 and data[at + 4] >> 4 == 1 and not data[at + 5] & _PROGRESSIVE
        return False


class _FrameH264(H264Inspector):
    """Reader of H.264 that also knows whether the stream may have fields in packets of their own."""

    @property
    def frames_only(self) -> bool:
        """Whether all sequence parameter sets so far have frame_mbs_only_flag."""
        return all(sps.frames_only for sps in self._sps.values())


def _length_size(info: SegmentInfo) -> int:
    """Return how many bytes the length of a NAL unit takes, as the configuration record says."""
    record = info.extradata
    position, min_length = (4, 7) if info.codec == "h264" else (21, 23)
    if record[:1] != b"\x01" or len(record) < min_length:
        raise DeclinedError("no configuration record")
    return (record[position] & 3) + 1

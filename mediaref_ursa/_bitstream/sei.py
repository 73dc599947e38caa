"""Supplemental enhancement information of H.264 and HEVC: the messages that decoding depends on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum

from mediaref_ursa._bitstream.bits import BitReader, escape

RECOVERY_POINT = 6
_USER_DATA_UNREGISTERED = 5
_FILM_GRAIN = 19
_DISPLAY_ORIENTATION = 47
_X264_UUID = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")
_X264_BUILD = re.compile(rb"x264 - core (\d{1,6})")
_LAST_ODD_X264_BUILD = 150  # FFmpeg's decoder works around faults of builds up to this one
_GRAIN_COMPONENTS = 3


class Carried(Enum):
    """Kinds of messages that stay in force."""

    X264_BUILD = _USER_DATA_UNREGISTERED
    FILM_GRAIN = _FILM_GRAIN
    DISPLAY_ORIENTATION = _DISPLAY_ORIENTATION


def sei_messages(payloads: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and payload of each message (ITU-T H.264, 7.3.2.3.1; H.265, 7.3.5).

    Args:
        payloads: An SEI NAL unit without its header and without emulation prevention.
    """
    position = 0
    while position + 2 <= len(payloads):
        kind, position = _number(payloads, position)
        size, position = _number(payloads, position)
        yield kind, payloads[position : position + size]
        position += size


def carried_message(kind: int, payload: bytes, *, is_hevc: bool) -> tuple[Carried, bytes] | None:
    """Return the kind of a message that stays in force, and the message; empty bytes where it ends one.

    Args:
        kind: Its payload type.
        payload: Its payload.
        is_hevc: Whether it is HEVC's; film grain is written otherwise there.
    """
    if kind == _USER_DATA_UNREGISTERED and payload.startswith(_X264_UUID):
        build = _X264_BUILD.match(payload, len(_X264_UUID))
        if build is not None:
            odd = int(build[1]) <= _LAST_ODD_X264_BUILD
            return Carried.X264_BUILD, _message(kind, payload[: build.end()]) if odd else b""
    if kind == _FILM_GRAIN:
        return Carried.FILM_GRAIN, _message(kind, payload) if _grain_persists(payload, is_hevc) else b""
    if kind == _DISPLAY_ORIENTATION and is_hevc and payload:  # FFmpeg's decoder of H.264 keeps none
        is_cancelled = payload[0] & 0x80
        return Carried.DISPLAY_ORIENTATION, b"" if is_cancelled else _message(kind, payload)
    return None


def sei_units(header: bytes, messages: Iterable[bytes], length_size: int) -> bytes | None:
    """Return a NAL unit for each message, in the form of a stream's packets.

    Args:
        header: Of the units.
        messages: As :func:`carried_message` returns them.
        length_size: Bytes of the field that says a unit's length; 0 where start codes stand between units.

    Returns:
        The units, or None where one is longer than its length field can say.
    """
    packed = b""
    for message in messages:
        unit = header + escape(message + b"\x80")
        if length_size and len(unit) >= 1 << 8 * length_size:
            return None
        packed += (len(unit).to_bytes(length_size, "big") if length_size else b"\0\0\0\1") + unit
    return packed


def _message(kind: int, payload: bytes) -> bytes:
    size = b"\xff" * (len(payload) // 255) + bytes([len(payload) % 255])
    return bytes([kind]) + size + payload


def _number(payloads: bytes, position: int) -> tuple[int, int]:
    total = 0
    while position < len(payloads) and payloads[position] == 255:
        total += 255
        position += 1
    return total + (payloads[position] if position < len(payloads) else 0), position + 1


def _grain_persists(payload: bytes, is_hevc: bool) -> bool:
    """Read film grain characteristics up to their persistence (ITU-T H.264, D.1.21; H.265, D.2.21)."""
    reader = BitReader(payload)
    if reader.bits(1):  # film_grain_characteristics_cancel_flag
        return False
    reader.bits(2)  # film_grain_model_id
    if reader.bits(1):  # separate_colour_description_present_flag
        reader.bits(6 + 1 + 24)  # bit depths, full range, colour description
    reader.bits(2 + 4)  # blending_mode_id, log2_scale_factor
    for present in [reader.bits(1) for _ in range(_GRAIN_COMPONENTS)]:
        if present:
            intervals, values = reader.bits(8) + 1, reader.bits(3) + 1
            for _ in range(intervals):
                reader.bits(16)  # the interval's bounds
                for _ in range(values):
                    reader.se()
    return bool(reader.bits(1)) if is_hevc else reader.ue() > 0

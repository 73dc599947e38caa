"""The sandboxed process: it sets its limits, scans one untrusted video, and answers with the table.

It is started with a fresh interpreter and two pipes. It never learns where the video is: it asks for byte
ranges, and gets bytes. What it says is JSON and the bytes of numpy columns.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mediaref_ursa._containers.range_file import RangeReader
from mediaref_ursa._core.errors import LimitExceededError, MediaRefError
from mediaref_ursa._core.pipe import receive, send
from mediaref_ursa._core.process_limits import address_space_bytes, lower_limit
from mediaref_ursa._model.index_metadata import decode_metadata, encode_metadata
from mediaref_ursa._model.segment import PacketTable, SegmentTable
from mediaref_ursa._scan.options import ScanOptions

VIDEO = "video"
"""The name of the video in the child, which does not know its URI."""

_FRAME_COLUMNS = ("pts", "duration", "timestamp", "packet", "start")
_PACKET_COLUMNS = ("offset", "size", "crc32", "is_reference", "is_corrupt", "is_keyframe")
_DTYPES = {
    **dict.fromkeys((*_FRAME_COLUMNS, *_PACKET_COLUMNS), "<i8"),
    "timestamp": "<f8",
    "is_reference": "|i1",
    "is_corrupt": "|b1",
    "is_keyframe": "|b1",
}
_SPARE_SECONDS = 5


def encode_table(table: SegmentTable) -> tuple[dict[str, Any], list[bytes]]:
    """Return a table as a JSON value and the bytes of its columns."""
    columns: list[npt.NDArray[Any]] = [getattr(table, name) for name in _FRAME_COLUMNS]
    columns += [getattr(table.packets, name) for name in _PACKET_COLUMNS]
    names = _FRAME_COLUMNS + _PACKET_COLUMNS
    parts = [
        column.astype(_DTYPES[name], copy=False).tobytes()
        for name, column in zip(names, columns, strict=True)
    ]
    return {"metadata": encode_metadata([table], f"{VIDEO}.lance")}, parts


def decode_table(header: dict[str, Any], payload: bytes) -> SegmentTable:
    """Return the table of :func:`encode_table`; it is checked as untrusted input.

    Raises:
        ValueError: It is none.
        FrameIndexInvalidError: Its columns cannot be true.
    """
    entries = decode_metadata(str(header["metadata"]), f"{VIDEO}.lance")
    if len(entries) != 1:
        raise ValueError(f"{len(entries)} segments")
    rows = dict.fromkeys(_FRAME_COLUMNS, entries[0].frames)
    rows |= dict.fromkeys(_PACKET_COLUMNS, entries[0].packets)
    if len(payload) != sum(np.dtype(_DTYPES[name]).itemsize * count for name, count in rows.items()):
        raise ValueError("columns of another length than it says")
    columns: dict[str, Any] = {}
    position = 0
    for name, count in rows.items():
        column = np.frombuffer(payload, _DTYPES[name], count, position)
        columns[name] = column.astype(column.dtype.newbyteorder("="))
        position += column.nbytes
    packets = PacketTable(**{name: columns[name] for name in _PACKET_COLUMNS})
    frames = {name: columns[name] for name in _FRAME_COLUMNS}
    return SegmentTable(info=entries[0].info, packets=packets, **frames)


def bytes_of_packets(count: int) -> int:
    """Return the bytes of the columns of a number of packets, all displayed."""
    return count * sum(np.dtype(dtype).itemsize for dtype in _DTYPES.values())


def serve() -> None:
    """Scan one video: the request comes on standard input, the answer goes to standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent, asked to stop, ends this process
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), sys.stdout.fileno())  # output of libraries must not mix with the answer
    with contextlib.suppress(OSError, EOFError):
        request, _ = receive(requests, 0)
        try:
            header, parts = _answer(request, requests, answers)
        except MemoryError:
            header, parts = _refusal(_memory_error(request)), []
        except MediaRefError as error:
            header, parts = _refusal(error), []
        send(answers, header, *parts)
    os._exit(0)  # at once: nothing is left to clean up, and libraries may exit slowly


def _answer(
    request: dict[str, Any], requests: BinaryIO, answers: BinaryIO
) -> tuple[dict[str, Any], list[bytes]]:
    from mediaref_ursa._scan.scan_segment import scan_segment

    _limit_this_process(float(request["max_seconds"]), int(request["max_memory_bytes"]))

    def read_ranges(ranges: Any) -> list[bytes]:
        send(answers, {"read": [[offset, length] for offset, length in ranges]})
        _, payload = receive(requests, sum(length for _, length in ranges))
        view, parts = memoryview(payload), []
        for _, length in ranges:
            parts.append(bytes(view[:length]))
            view = view[length:]
        return parts

    reader = RangeReader(
        lambda offset, length: read_ranges([(offset, length)])[0],
        int(request["length"]),
        read_ranges=read_ranges,
        blocks_kept=32,
        max_blocks_ahead=8,
    )
    table = scan_segment(
        reader,
        uri=VIDEO,
        options=ScanOptions.from_message(request["options"]),
        progress=_PacketCount(int(request["max_packets"])),
    )
    if len(table.packets) > request["max_packets"]:
        raise _too_many_packets(request["max_packets"])
    return encode_table(table)


class _PacketCount:
    """Progress callback that counts packets, to limit their number."""

    def __init__(self, max_packets: int) -> None:
        from mediaref_ursa._scan.scan_segment import PROGRESS_EVERY_PACKETS

        self._every, self._max_packets = PROGRESS_EVERY_PACKETS, max_packets
        self._calls, self._done_bytes = 0, 0

    def __call__(self, done_bytes: int, all_bytes: int) -> None:
        if done_bytes < self._done_bytes // 2:  # the scan has begun anew
            self._calls = 0
        self._done_bytes = done_bytes
        self._calls += 1
        if (self._calls - 1) * self._every > self._max_packets:  # the last call only reports the end
            raise _too_many_packets(self._max_packets)


def _too_many_packets(max_packets: int) -> LimitExceededError:
    return LimitExceededError(
        f"expected a video of at most {max_packets} packets, found more; "
        "allow more with index_limits=IndexLimits(max_packets=)"
    )


def _memory_error(request: dict[str, Any]) -> LimitExceededError:
    return LimitExceededError(
        f"scanning the video needs more than {request['max_memory_bytes']} bytes of memory; "
        "allow more with index_limits=IndexLimits(max_memory_bytes=)"
    )


def _refusal(error: MediaRefError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": error.message, "pts_ns": error.pts_ns}


def _limit_this_process(max_seconds: float, max_memory_bytes: int) -> None:
    """Set resource limits, by which the system ends this process, and forbid it to write files.

    It ends itself a little after its parent should have ended it, if that is no more.
    """
    seconds = math.ceil(max_seconds)
    signal.alarm(seconds + _SPARE_SECONDS)
    lower_limit(resource.RLIMIT_CPU, seconds)
    lower_limit(resource.RLIMIT_CORE, 0)
    lower_limit(resource.RLIMIT_FSIZE, 0)
    lower_limit(resource.RLIMIT_AS, address_space_bytes() + max_memory_bytes)

"""The sandbox of untrusted scans: a child process under limits, which reads bytes through this process.

A demuxer that reads hostile bytes may take all memory, or never end. So it runs in a fresh process, with
limits that the system enforces and a deadline that this process enforces. The parent reads the video's bytes
from its store and sends them: the child knows neither URI nor credentials, inherits no file but its two
pipes, and its answer is checked like any index.

This is not ``multiprocessing``, on purpose: daemonic workers may not start its children, its spawn method
runs the user's ``__main__`` again, and its pipes unpickle what a hostile child sends.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

from mediaref_ursa._core import errors
from mediaref_ursa._core.counters import in_this_context
from mediaref_ursa._core.errors import CorruptMediaError, LimitExceededError, MediaRefError, StoreError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.import_path import import_path
from mediaref_ursa._core.pipe import receive, send
from mediaref_ursa._core.process_limits import KEPT_ENVIRONMENT
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._model.access import Access, IndexLimits
from mediaref_ursa._model.damage import warn_of_problems
from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._scan.failed_scans import failed_scans
from mediaref_ursa._scan.sandbox.child import bytes_of_packets, decode_table
from mediaref_ursa.store import ObjectInfo, ObjectStore
from mediaref_ursa.store._protocol import ReadsOneVersion, is_local_store

with needs_extra("video"):
    from mediaref_ursa._scan.options import ScanOptions
    from mediaref_ursa._scan.scan_uri import options_for, scan_uri

Ranges = Sequence[tuple[int, int]]

_STOP_SECONDS = 5.0
_MAX_RANGES = 1 << 16
_MAX_LISTED = 2000
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline());"
    "from mediaref_ursa._scan.sandbox.child import serve; serve()"
)


def scan_video(
    uri: str,
    store: ObjectStore,
    access: Access,
    *,
    stream_index: int | None = None,
) -> SegmentTable:
    """Scan the video at ``uri``: in this process, or sandboxed if ``access`` sets limits.

    A video that could not be scanned is not scanned again for some minutes, as long as the store's
    entity tag or modification time is the same.

    Args:
        uri: The video.
        store: Where it is.
        access: The limits, and the largest picture.
        stream_index: The video stream, as ``scan_uri`` takes it.

    Raises:
        LimitExceededError: It takes more than a limit allows; the message names the option.
        MediaRefError: As ``scan_uri`` raises.

    Warns:
        DamagedMediaWarning: Frames of it are lost.
    """
    began = time.monotonic()
    info = store.head(uri)
    is_distinguished = info.etag is not None or info.modified is not None
    options = ScanOptions(stream_index=stream_index, max_pixels=access.max_pixels)
    key = (uri, info, access.scan_limits, options) if is_distinguished else None
    if key is not None:
        failed_scans.check(key)
    try:
        table = _scanned(uri, store, info, access.scan_limits, options, began)
    except MediaRefError as error:
        if key is not None:
            failed_scans.remember(key, error)
        raise
    warn_of_problems(uri, [table])
    return table


def _scanned(
    uri: str,
    store: ObjectStore,
    info: ObjectInfo,
    limits: IndexLimits | None,
    options: ScanOptions,
    began: float,
) -> SegmentTable:
    if limits is None:
        return scan_uri(uri, store, options, info=info)
    deadline = began + limits.max_seconds
    request = {
        "length": info.size,
        "options": options_for(store, options).to_message(),
        "max_seconds": limits.max_seconds,
        "max_memory_bytes": int(limits.max_memory_bytes),
        "max_packets": int(limits.max_packets),
    }
    scan = _Scan(uri, store, info, limits, deadline)
    with _slots.taken(scan):
        table = scan.answer_to(request)
    if table.info.length != info.size or len(table.packets) > limits.max_packets:
        raise CorruptMediaError("the process that scanned the video gave the index of another", uri=uri)
    return replace(
        table, info=replace(table.info, uri=uri, etag=info.etag, stream_index=options.stream_index)
    )


class _Scan:
    """One sandboxed scan: the child process, and the object that it reads."""

    def __init__(
        self, uri: str, store: ObjectStore, info: ObjectInfo, limits: IndexLimits, deadline: float
    ) -> None:
        self._uri, self._store, self._info, self._limits = uri, store, info, limits
        self._deadline = deadline
        self._is_late = False

    def answer_to(self, request: dict[str, Any]) -> SegmentTable:
        """Send a request to the child, serve its reads, and return its table."""
        with self._child() as (process, requests, answers):
            try:
                send(requests, request)
                while True:
                    header, payload = receive(answers, bytes_of_packets(int(self._limits.max_packets)))
                    if "read" in header:
                        send(requests, {}, *self._read(header["read"]))
                    elif "error" in header:
                        raise self._error_of(header)
                    else:
                        return decode_table(header, payload)
            except MediaRefError as error:
                if isinstance(error, errors.FrameIndexError):
                    raise self._misbehaved(error) from error
                raise
            except (OSError, EOFError) as error:
                raise self._ended(process) from error
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise self._misbehaved(error) from error

    @contextmanager
    def _child(self) -> Iterator[tuple[subprocess.Popen[bytes], BinaryIO, BinaryIO]]:
        """Start the child, kill it at the deadline, and clean up after it."""
        environment = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        with self._starting():
            process = subprocess.Popen(  # noqa: S603 - this interpreter and a module of this package
                [sys.executable, "-I", "-c", _PROGRAM],  # -I: nothing is imported from where it is started
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                close_fds=True,
                env={**environment, **_ONE_THREAD},
            )
        watch = threading.Timer(max(0.0, self._left_seconds()), self._end, (process,))
        watch.daemon = True
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with self._starting():
                watch.start()
            with contextlib.suppress(OSError):  # if the child is gone, reading its answer fails
                process.stdin.write(json.dumps(import_path(with_working_directory=False)).encode() + b"\n")
            yield process, process.stdin, process.stdout  # type: ignore[misc]
        finally:
            watch.cancel()
            process.kill()
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_SECONDS)

    @contextmanager
    def _starting(self) -> Iterator[None]:
        """Map the system's errors about too many processes or threads into the tree of errors."""
        try:
            yield
        except (OSError, RuntimeError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise StoreError(
                f"no process can be started to scan the video: {reason}; close files, or raise the limits of "
                "this process (ulimit -n, -u, -v), or write the index once, with: mediaref-ursa index",
                uri=self._uri,
            ) from error

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._is_late = True
        process.kill()

    def _left_seconds(self) -> float:
        return self._deadline - time.monotonic()

    def wait_for(self, free: threading.Semaphore) -> None:
        """Wait for a free slot of the scans that may run at once.

        Raises:
            LimitExceededError: It does not come before the deadline.
        """
        if not free.acquire(timeout=max(0.0, self._left_seconds())):
            raise self._too_late()

    def _read(self, wanted: Any) -> list[bytes]:
        """Return the byte ranges that the child requests, checked to lie in the file and to be bounded."""
        ranges = [(int(offset), int(length)) for offset, length in wanted]
        total = sum(length for _, length in ranges)
        if len(ranges) > _MAX_RANGES or total > self._limits.max_memory_bytes:
            raise ValueError(f"{len(ranges)} reads of {total} bytes at once")
        if any(offset < 0 or length < 0 or offset + length > self._info.size for offset, length in ranges):
            raise ValueError("reads outside the file")
        if is_local_store(self._store):
            return self._store.get_ranges(self._uri, ranges)
        return self._in_time(lambda: self._read_remote(ranges))

    def _read_remote(self, ranges: Ranges) -> list[bytes]:
        if isinstance(self._store, ReadsOneVersion):
            return self._store.get_ranges_of(self._uri, self._info, ranges)
        return self._store.get_ranges(self._uri, ranges)

    def _in_time(self, read: Callable[[], list[bytes]]) -> list[bytes]:
        """Read in another thread, which is abandoned at the deadline; the store has a deadline of its own."""
        answer: queue.SimpleQueue[list[bytes] | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                answer.put(read())
            except BaseException as error:
                answer.put(error)

        with self._starting():
            threading.Thread(target=in_this_context(work), name="mediaref-scan-read", daemon=True).start()
        try:
            found = answer.get(timeout=max(0.001, self._left_seconds()))
        except queue.Empty:
            raise self._too_late() from None
        if isinstance(found, BaseException):
            raise found
        return found

    def _error_of(self, header: dict[str, Any]) -> MediaRefError:
        kind = getattr(errors, str(header["error"]), None)
        message = str(header["message"])[:_MAX_LISTED]
        if not (isinstance(kind, type) and issubclass(kind, MediaRefError)):
            return CorruptMediaError(message, uri=self._uri)
        if kind is LimitExceededError and "not enough memory" in message:  # FFmpeg's own words for it
            return self._too_large()
        if kind is CorruptMediaError:  # FFmpeg's message if it gets no memory
            message += f" (scanned with {self._limits.max_memory_bytes} bytes of memory: index_limits=)"
        return kind(message, uri=self._uri)

    def _ended(self, process: subprocess.Popen[bytes]) -> MediaRefError:
        """Return the error for a child that ended without an answer."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        code = process.returncode
        if self._is_late or code in (-signal.SIGXCPU, -signal.SIGALRM):
            return self._too_late()
        if code == -signal.SIGKILL:  # the system itself, or its out-of-memory killer
            return self._too_large()
        return CorruptMediaError(
            f"the process that scanned the video ended without an answer (status {code}): its bytes crash a "
            "demuxer or a decoder, or it needs more memory than index_limits=IndexLimits(max_memory_bytes=) "
            "allows",
            uri=self._uri,
        )

    def _too_late(self) -> LimitExceededError:
        return LimitExceededError(
            f"scanning the video takes longer than {self._limits.max_seconds} s; write its index once, with: "
            "mediaref-ursa index, or allow more with index_limits=IndexLimits(max_seconds=)",
            uri=self._uri,
        )

    def _too_large(self) -> LimitExceededError:
        return LimitExceededError(
            f"scanning the video needs more than {self._limits.max_memory_bytes} bytes of memory; "
            "allow more with index_limits=IndexLimits(max_memory_bytes=)",
            uri=self._uri,
        )

    def _misbehaved(self, error: Exception) -> CorruptMediaError:
        return CorruptMediaError(
            f"the process that scanned the video gave an answer that cannot be true: {error!s:.200}",
            uri=self._uri,
        )


class _Slots(ProcessState):
    """Slots for scans that run at once, since each may take the whole memory limit of one scan."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset the slots in a forked child."""
        self._free = threading.BoundedSemaphore(max(1, math.ceil((os.cpu_count() or 1) / 2)))

    @contextmanager
    def taken(self, scan: _Scan) -> Iterator[None]:
        """Wait for a free slot, as long as the scan may take, and hold it."""
        free = self._free
        scan.wait_for(free)
        try:
            yield
        finally:
            free.release()


_slots = register(_Slots())

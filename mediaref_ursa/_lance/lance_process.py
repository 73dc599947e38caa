"""Worker processes that call Lance: for forked processes, and for tables of untrusted sources.

Requests and answers are JSON and Arrow IPC; nothing is unpickled. Written by hand on purpose: a daemonic
worker, of a data loader for instance, may not start ``multiprocessing`` children, and the spawn method runs
the user's ``__main__`` again.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import subprocess
import sys
import threading
import time
from typing import Any, BinaryIO

from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.import_path import import_path
from mediaref_ursa._core.pipe import receive, send
from mediaref_ursa._core.process_limits import KEPT_ENVIRONMENT
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock
from mediaref_ursa._core.uris import scheme_of
from mediaref_ursa._lance.lance_files import TableRefusedError
from mediaref_ursa._model.access import IndexLimits

with needs_extra("video"):
    import pyarrow as pa

_STOP_SECONDS = 5.0
_LANCE_BYTES = 256 << 20
_COPIES_OF_AN_ANSWER = 4
# Threads reserve address space, which is what the limit on memory counts.
_FEW_THREADS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MALLOC_ARENA_MAX"), "1"),
    **dict.fromkeys(("LANCE_CPU_THREADS", "LANCE_IO_THREADS", "TOKIO_WORKER_THREADS"), "1"),
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}

Answer = tuple[dict[str, Any], pa.Table | None]


class LanceCallError(Exception):
    """An error of Lance with its own message, raised in this process or a worker process."""


class LanceProcessError(LanceCallError):
    """The worker process ended or could not be started, so that nothing is known of the table."""


class TableTooLargeError(LanceCallError):
    """A worker process under limits that ended: a table needs more memory, or its bytes crash the reader."""


class TableProcess:
    """A worker process that answers requests one after another, started on the first one.

    Not for several threads at once.

    Args:
        environment: What it gets of the environment; all of this process's if None.
        sandboxed: It loses the rights that only writers need, and takes a limit on memory with each request.
    """

    def __init__(self, environment: dict[str, str] | None = None, *, sandboxed: bool = False) -> None:
        self._environment, self._sandboxed = environment, sandboxed
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the process was started, and was not seen to end."""
        return self._process is not None and self._process.poll() is None

    def ask_once(
        self, request: dict[str, Any], table: pa.Table | None, max_answer_bytes: int | None
    ) -> Answer:
        """Send a request and wait for its answer.

        Raises:
            LanceProcessError: The process ended, or cannot be started.
            LanceCallError: Lance's answer is an error.
            TableRefusedError: The table was refused.
        """
        if not self.is_running:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send_table(self._process.stdin, request, table)
            answer, found = receive_table(self._process.stdout, max_answer_bytes)
        except (OSError, EOFError, ValueError) as error:
            self._end()
            raise LanceProcessError(f"the process that reads tables ended: {error!r}") from error
        except BaseException:  # an unread answer would be taken for that of the next request
            self._end()
            raise
        if "refused" in answer:
            raise TableRefusedError(answer["refused"])
        if "error" in answer:
            raise LanceCallError(answer["error"])
        return answer, found

    def kill(self) -> None:
        """Kill the process at once, also while another thread waits for its answer."""
        process = self._process
        if process is not None:
            process.kill()

    def _end(self) -> None:
        self.kill()
        self.stop()

    def _start(self) -> None:
        self.stop()
        own = import_path(with_working_directory=not self._sandboxed)
        program = (
            f"import sys; sys.path[:] = {own!r}; from mediaref_ursa._lance.lance_calls import serve; "
            f"serve(sandboxed={self._sandboxed})"
        )
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this interpreter and this package
                [sys.executable, "-I", "-c", program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL if self._sandboxed else None,
                env=self._environment,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            raise LanceProcessError(f"no process can be started to read tables: {reason}") from error

    def stop(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is None or process.stdin is None or process.stdout is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()  # it ends by itself when its pipe is closed
        process.stdout.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)

    def forget(self) -> None:
        """Forget the parent's worker process; called in a forked child."""
        process, self._process = self._process, None
        if process is not None:
            process.returncode = 0  # a child of the parent, not of this process
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()


class SandboxedProcesses(ProcessState):
    """Worker processes that read tables of untrusted writers, under limits. Safe for many threads.

    Those that answered are kept for the next question. One that did not answer in time, or ended, is not.
    """

    def __init__(self) -> None:
        self._idle: list[tuple[bool, TableProcess]] = []
        self._begin()

    def _begin(self) -> None:
        self._lock = ShortLock()
        self._free = threading.BoundedSemaphore(max(1, math.ceil((os.cpu_count() or 1) / 2)))

    def ask(self, request: dict[str, Any], limits: IndexLimits, max_answer_bytes: int) -> Answer:
        """Send a request to an idle or new worker process, and return its answer.

        Raises:
            LanceCallError: It takes more than the limits allow, or Lance's answer is an error.
            LanceProcessError: No process can be started.
            TableRefusedError: The table was refused.
        """
        deadline = time.monotonic() + limits.max_seconds
        memory = min(int(limits.max_memory_bytes), _LANCE_BYTES + _COPIES_OF_AN_ANSWER * max_answer_bytes)
        free = self._free
        if not free.acquire(timeout=limits.max_seconds):
            raise _too_late(limits)
        try:
            is_local = scheme_of(request["uri"]) == ""
            process, is_used = self._take(is_local=is_local)
            try:
                return _ask_in_time(
                    process, {**request, "memory": memory}, limits, deadline, max_answer_bytes
                )
            except LanceProcessError:
                if not is_used:
                    raise
                # The process may have ended while it was idle.
                return _ask_in_time(
                    process, {**request, "memory": memory}, limits, deadline, max_answer_bytes
                )
            finally:
                if process.is_running:
                    with self._lock:
                        self._idle.append((is_local, process))
        except LanceProcessError as error:
            if isinstance(error.__cause__, OSError) and "no process can be started" in str(error):
                raise
            raise TableTooLargeError(
                f"the process that read it ended: it needs more than {memory} bytes of memory "
                "(index_limits=IndexLimits(max_memory_bytes=)), or its bytes crash the reader"
            ) from error
        finally:
            free.release()

    def _take(self, *, is_local: bool) -> tuple[TableProcess, bool]:
        with self._lock:
            for position, (kind, process) in enumerate(self._idle):
                if kind == is_local:
                    del self._idle[position]
                    return process, True
        kept = {name: os.environ[name] for name in KEPT_ENVIRONMENT if name in os.environ}
        # A table in a cloud store is read with the credentials of the environment; one on this machine
        # needs none.
        return TableProcess((kept if is_local else dict(os.environ)) | _FEW_THREADS, sandboxed=True), False

    def close(self) -> None:
        """End the idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, process in idle:
            process.stop()

    def forget(self) -> None:
        """Forget the parent's worker processes; called in a forked child."""
        idle, self._idle = self._idle, []
        for _, process in idle:
            process.forget()
        self._begin()


def _ask_in_time(
    process: TableProcess,
    request: dict[str, Any],
    limits: IndexLimits,
    deadline: float,
    max_answer_bytes: int,
) -> Answer:
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    watch = threading.Timer(max(0.001, deadline - time.monotonic()), end)
    watch.daemon = True
    try:
        watch.start()
    except RuntimeError as error:  # the system gives no more threads
        raise LanceProcessError(f"no process can be started to read tables: {error}") from OSError(str(error))
    try:
        return process.ask_once(request, None, max_answer_bytes)
    except LanceProcessError as error:
        raise _too_late(limits) if late.is_set() else error from error
    finally:
        watch.cancel()


def _too_late(limits: IndexLimits) -> LanceCallError:
    return LanceCallError(
        f"it takes longer than {limits.max_seconds} s; allow more with index_limits=IndexLimits(max_seconds=)"
    )


def send_table(pipe: BinaryIO | Any, header: dict[str, Any], table: pa.Table | None) -> None:
    """Send one message: a JSON object, and a table or none."""
    if table is None:
        send(pipe, header)
        return
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    send(pipe, header, memoryview(sink.getvalue()))


def receive_table(pipe: BinaryIO | Any, max_bytes: int | None = None) -> Answer:
    """Receive one message of :func:`send_table`; see :func:`mediaref_ursa._core.pipe.receive`."""
    header, payload = receive(pipe, max_bytes)
    return header, pa.ipc.open_stream(payload).read_all() if payload else None


sandboxed_processes = register(SandboxedProcesses())
atexit.register(sandboxed_processes.close)

"""Retries of transient errors, within the deadline of one operation.

All stores that reach over a network share this: pauses that double and vary, a number of attempts, and
a deadline that covers attempts, pauses and slow bodies.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from loguru import logger

from mediaref_ursa._core.counters import in_this_context
from mediaref_ursa._core.daemon_threads import DaemonThreads
from mediaref_ursa._core.errors import StoreError
from mediaref_ursa._core.redaction import redact

T = TypeVar("T")
Item = TypeVar("Item")

# An attempt that brought so many bytes was no failure: the count of attempts begins anew.
_GOOD_PROGRESS_BYTES = 2**20
_SLOWEST_BYTES_PER_SECOND = 1024
_POLL_SECONDS = 0.05  # several events cannot be waited for at once


class TransientError(Exception):
    """An error that a retry may cure; ``wait_seconds`` is the pause that the server asked for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class RetryPolicy:
    """The number of attempts of an operation, and its deadline.

    Attributes:
        attempts: How often in all.
        backoff_seconds: The pause after the first failure; it doubles with each, and a random half of it
            is left out, so that many workers do not come back at once.
        max_wait_seconds: The longest pause, unless the server asks for a longer one.
        deadline_seconds: When it fails, whatever has been reached.
    """

    attempts: int
    backoff_seconds: float
    max_wait_seconds: float
    deadline_seconds: float


# A store's methods have no argument for them: the protocol is public, and programs bring stores of their own.
_stops: ContextVar[tuple[threading.Event, ...]] = ContextVar("mediaref_ursa_stops", default=())


@contextmanager
def stopped_by(stop: threading.Event) -> Iterator[None]:
    """Stop retries in the block once its event, or that of an enclosing block, is set."""
    token = _stops.set((*_stops.get(), stop))
    try:
        yield
    finally:
        _stops.reset(token)


class Deadline:
    """The end of one operation: after some seconds, or as soon as one of its stop events is set.

    Args:
        seconds: How long the operation may take.
        stop: Set when the result is not wanted any more; counts besides those of ``stopped_by``.
    """

    def __init__(self, seconds: float, stop: threading.Event | None = None) -> None:
        self._ends_seconds = time.monotonic() + seconds
        self._stops = _stops.get() if stop is None else (*_stops.get(), stop)

    def left_seconds(self) -> float:
        """Return the time left for the operation, 0 if none."""
        if any(stop.is_set() for stop in self._stops):
            return 0.0
        return max(0.0, self._ends_seconds - time.monotonic())

    def check(self) -> None:
        """Raise a TransientError if no time is left, of which ``retried`` makes the final error."""
        if self.left_seconds() <= 0:
            raise TransientError("the answer did not come to an end")

    def pause(self, seconds: float) -> None:
        """Wait for some seconds, or until a stop event is set."""
        until = time.monotonic() + seconds
        while (left := min(until - time.monotonic(), self.left_seconds())) > 0:
            time.sleep(min(left, _POLL_SECONDS))


class LowSpeedLimit:
    """Limit on low speed: a body that arrives too slowly fails the attempt, so that another has time left.

    Args:
        window_seconds: Over which the speed is measured, from the first bytes on; None for no limit.
    """

    def __init__(self, window_seconds: float | None) -> None:
        self._window_seconds = window_seconds
        self._began_seconds = 0.0
        self._seen_bytes = 0

    def is_too_slow(self, new_bytes: int) -> bool:
        """Record received bytes; return whether too few arrived within the window."""
        now = time.monotonic()
        if self._window_seconds is None or not self._began_seconds:
            self._began_seconds = now
            return False
        self._seen_bytes += new_bytes
        if now - self._began_seconds < self._window_seconds:
            return False
        is_slow = self._seen_bytes < _SLOWEST_BYTES_PER_SECOND * (now - self._began_seconds)
        self._began_seconds, self._seen_bytes = now, 0
        return is_slow


def retried(
    uri: str,
    policy: RetryPolicy,
    attempt: Callable[[Deadline], T],
    *,
    stop: threading.Event | None = None,
    reached_bytes: Callable[[], int] = lambda: 0,
) -> T:
    """Return the result of ``attempt``, retried after transient errors.

    Args:
        uri: What is read, for messages.
        policy: How often and how long.
        attempt: Does it once, within the time of the deadline; a TransientError asks for another attempt.
        stop: Set where the result is not wanted any more.
        reached_bytes: How much the attempts have brought so far.

    Raises:
        StoreError: The attempts are used up, or the deadline has passed or would pass in the next pause.
        Exception: As ``attempt`` raises.
    """
    deadline = Deadline(policy.deadline_seconds, stop)
    failures = counted_bytes = 0
    while True:
        try:
            return attempt(deadline)
        except TransientError as error:
            if reached_bytes() - counted_bytes >= _GOOD_PROGRESS_BYTES:
                failures, counted_bytes = 0, reached_bytes()
            failures += 1
            wait_seconds = _wait_seconds(uri, policy, deadline, failures, error)
            logger.info("{}: {}; again in {:.1f} s", redact(uri), error.reason, wait_seconds)
        deadline.pause(wait_seconds)


def _wait_seconds(
    uri: str, policy: RetryPolicy, deadline: Deadline, failures: int, error: TransientError
) -> float:
    """Return the pause before the next attempt; raise if there is no other attempt."""
    if failures >= policy.attempts:
        raise StoreError(f"{error.reason} (attempt {failures}, the last)", uri=uri) from None
    left_seconds, limit = deadline.left_seconds(), f"{policy.deadline_seconds:g} s (deadline_seconds)"
    if error.wait_seconds is not None:
        if error.wait_seconds >= left_seconds:
            raise StoreError(
                f"{error.reason}; the server asks to wait {error.wait_seconds:.0f} s, and"
                f" {left_seconds:.0f} s are left of {limit}; come back later, or raise the deadline",
                uri=uri,
            ) from None
        return error.wait_seconds
    pause = min(policy.backoff_seconds * 2.0 ** (failures - 1), policy.max_wait_seconds)
    pause *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, is no secret
    if pause >= left_seconds:
        raise StoreError(f"{error.reason}; not done within {limit}, attempt {failures}", uri=uri) from None
    return pause


def retry_after_seconds(value: str | None) -> float | None:
    """Read the header Retry-After (RFC 9110, 10.2.3): seconds, or a date.

    >>> retry_after_seconds("7"), retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT")
    (7.0, 0.0)
    >>> retry_after_seconds("soon") is None
    True
    """
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    moment = timestamp(value)
    return None if moment is None else max(0.0, moment - time.time())


def timestamp(value: str | None) -> float | None:
    """Return a date of a header in seconds since the epoch, None where it is no date."""
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (TypeError, ValueError, OverflowError):
        return None


def each_at_once(
    items: Sequence[Item], read: Callable[[Item, threading.Event], T], max_workers: int, thread_name: str
) -> list[T]:
    """Read several items concurrently, and return the results in their order.

    The first error, in the order of the items, ends what has not begun, and stops what has begun, by the
    event that ``read`` is given. An interruption does so too, and does not wait.
    """
    stop = threading.Event()
    workers = min(max_workers, len(items))
    if workers <= 1:
        return [read(item, stop) for item in items]
    with DaemonThreads(workers, thread_name) as threads:
        try:
            futures = [threads.submit(in_this_context(read), item, stop) for item in items]
            return [future.result() for future in futures]
        except BaseException:
            stop.set()
            raise

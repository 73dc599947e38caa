"""Sessions of requests, shared by the threads of a process, and requests' errors in our words."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3

from mediaref_ursa._errors import InvalidReferenceError, MediaRefError, StoreError

_MAX_IDLE_SESSIONS = 16


class TransientError(Exception):
    """What went wrong may go right the next time; ``wait_seconds`` is what the server asked for."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.wait_seconds = wait_seconds


class _SessionPool:
    """Idle sessions of this process. A session is used by one thread at a time, then kept for the next."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew: in a forked child the connections, and a lock that was held, are the parent's."""
        self._lock = threading.Lock()
        self._idle: list[requests.Session] = []

    def take(self) -> requests.Session:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        session = requests.Session()
        # What one server sets is not for another reference's request.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        return session

    def give(self, session: requests.Session) -> None:
        with self._lock:
            if len(self._idle) < _MAX_IDLE_SESSIONS:
                self._idle.append(session)
                return
        session.close()

    def close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for session in idle:
            session.close()


_POOL = _SessionPool()
os.register_at_fork(after_in_child=_POOL.forget)


def close_idle_sessions() -> None:
    """Close the connections that no thread is using."""
    _POOL.close_idle()


@contextmanager
def borrowed_session() -> Iterator[requests.Session]:
    """Lend a session of this process to one thread."""
    session = _POOL.take()
    try:
        yield session
    finally:
        _POOL.give(session)


@contextmanager
def mapped_errors(uri: str) -> Iterator[None]:
    """Turn what requests raises into errors without its text, which holds the whole URL.

    Raises:
        TransientError: A connection, a time-out, a body that breaks off.
        InvalidReferenceError: No request can be made of the URL.
        StoreError: Anything else.
    """
    final: MediaRefError
    try:
        yield
        return
    except MediaRefError as error:
        error.uri = error.uri or uri
        raise
    except (requests.exceptions.SSLError, requests.exceptions.InvalidHeader) as error:
        final = StoreError(f"the request failed: {_reason(error)}", uri=uri)
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
        urllib3.exceptions.HTTPError,
    ) as error:
        raise TransientError(_reason(error)) from None
    except ValueError:  # InvalidURL, a port that is no number, a host that IDNA cannot encode
        final = InvalidReferenceError("expected a URL that can be requested; is its host right?", uri=uri)
    except OSError as error:  # the base of every error of requests
        final = StoreError(f"the request failed: {_reason(error)}", uri=uri)
    raise final from None


def _reason(error: BaseException) -> str:
    """Name a network error by its class and by what the system said, which never holds the URL."""
    name = type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException) and cause.strerror:
            return f"{name}: {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return name

"""Sessions of requests, shared by the threads of a process, and the mapping of requests' errors."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy

import requests
import urllib3

from mediaref_ursa._core.errors import InvalidReferenceError, MediaRefError, StoreError, causes_of
from mediaref_ursa._core.process_state import ProcessState, register
from mediaref_ursa._core.reentrancy import ShortLock
from mediaref_ursa.store._download.retry import TransientError
from mediaref_ursa.store._http.connections import TimedAdapter

_MAX_IDLE_SESSIONS = 16


_IN_WORDS = {
    "IncompleteRead": "the body ends early",
    "RemoteDisconnected": "the connection ended without an answer",
    "TimeoutError": "no bytes came in time",
}


class _SessionPool(ProcessState):
    """Idle sessions of this process. A session is used by one thread at a time, then kept for the next."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Reset to an empty pool in a forked child: connections, and a held lock, are the parent's."""
        self._lock = ShortLock()
        self._idle: dict[bool, list[requests.Session]] = {False: [], True: []}

    def take(self, *, public_only: bool) -> requests.Session:
        with self._lock:
            if self._idle[public_only]:
                return self._idle[public_only].pop()
        return _new_session(public_only=public_only)

    def give(self, session: requests.Session, *, public_only: bool) -> None:
        with self._lock:
            if len(self._idle[public_only]) < _MAX_IDLE_SESSIONS:
                self._idle[public_only].append(session)
                return
        session.close()

    def close(self) -> None:
        with self._lock:
            idle = [session for sessions in self._idle.values() for session in sessions]
            self._idle = {False: [], True: []}
        for session in idle:
            session.close()


def _new_session(*, public_only: bool) -> requests.Session:
    session = requests.Session()
    # Cookies of one server are not sent with another reference's request.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    # A .netrc would give its passwords to any host that a redirect leads to. HttpStore reads
    # the other variables, of proxies and certificates, itself.
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, TimedAdapter(public_only=public_only))
    return session


_POOL = register(_SessionPool())


@contextmanager
def borrowed_session(*, public_only: bool = False) -> Iterator[requests.Session]:
    """Lend a session of this process to one thread; a public-only one reaches the public network only."""
    session = _POOL.take(public_only=public_only)
    try:
        yield session
    finally:
        _POOL.give(session, public_only=public_only)


@contextmanager
def mapped_errors(uri: str) -> Iterator[None]:
    """Map errors of requests into the tree, without their text, which holds the whole URL.

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
    except (requests.exceptions.SSLError, urllib3.exceptions.SSLError) as error:
        if _is_cut_off(error):
            raise TransientError(_reason(error)) from None
        final = StoreError(f"the request failed: {_reason(error)}", uri=uri)
    except requests.exceptions.InvalidHeader as error:
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
    """Return a network error's class and system message, which never hold the URL."""
    name = type(error).__name__
    for cause in causes_of(error):
        if isinstance(cause, OSError) and not isinstance(cause, requests.RequestException) and cause.strerror:
            return f"{name}: {cause.strerror}"
    kinds = {kind.__name__ for cause in causes_of(error) for kind in type(cause).__mro__}
    return next((f"{name}: {words}" for kind, words in _IN_WORDS.items() if kind in kinds), name)


def _is_cut_off(error: BaseException) -> bool:
    """Return whether a TLS connection broke off, which a retry may cure, unlike a wrong certificate."""
    return any(isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError) for cause in causes_of(error))

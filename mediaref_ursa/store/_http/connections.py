"""urllib3 connections with a deadline, and public-only ones, which connect to checked addresses.

A time-out of a socket counts from one byte to the next, so that a server which sends a byte now and then
could hold a reader for ever, in the header as well as in the body. Here each wait ends at the deadline of
the operation that the thread is in.
"""

from __future__ import annotations

import http.client
import io
import select
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util.connection import create_connection

from mediaref_ursa._core.daemon_threads import DaemonThreads
from mediaref_ursa.store._download.retry import Deadline, LowSpeedLimit
from mediaref_ursa.store._http import addresses as addresses_module

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_operation = threading.local()
_LOOK_SECONDS = 0.2
"""Seconds between two checks of a waiting thread whether its operation was stopped."""


@contextmanager
def within(deadline: Deadline) -> Iterator[None]:
    """Limit each wait of this thread for bytes to the deadline."""
    before = getattr(_operation, "deadline", None)
    _operation.deadline = deadline
    try:
        yield
    finally:
        _operation.deadline = before


class _TimedReader(io.RawIOBase):
    """Reader of a socket, whose time-out is limited to the time left for the operation."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._limit_seconds = sock.gettimeout()
        self._low_speed_limit = LowSpeedLimit(self._limit_seconds)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        deadline: Deadline | None = getattr(_operation, "deadline", None)
        left_seconds = float("inf") if deadline is None else deadline.left_seconds()
        if left_seconds <= 0:
            raise TimeoutError("the deadline has passed")
        if deadline is not None and isinstance(self._socket, socket.socket):
            left_seconds = self._wait_for_bytes(deadline)
        if self._limit_seconds is not None and self._limit_seconds <= left_seconds:
            found = self._raw.readinto(buffer)
        else:
            found = self._read_for(left_seconds, buffer)
        if found and self._low_speed_limit.is_too_slow(found):
            raise TimeoutError("the bytes come too slowly")
        return found

    def _wait_for_bytes(self, deadline: Deadline) -> float:
        """Wait for bytes until the operation's deadline or stop; return the time left."""
        limit_seconds = float("inf") if self._limit_seconds is None else self._limit_seconds
        ends_seconds = time.monotonic() + limit_seconds
        while True:
            left_seconds = min(deadline.left_seconds(), ends_seconds - time.monotonic())
            if left_seconds <= 0:
                raise TimeoutError("no bytes came in time")
            if _has_bytes(self._socket, min(left_seconds, _LOOK_SECONDS)):
                return deadline.left_seconds() or left_seconds

    def _read_for(self, seconds: float, buffer: WriteableBuffer) -> int | None:
        """Read with a shorter time-out, and restore the longer one for the next request."""
        self._socket.settimeout(None if seconds == float("inf") else seconds)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._socket.settimeout(self._limit_seconds)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _has_bytes(sock: socket.socket, wait_seconds: float) -> bool:
    """Return whether a socket has bytes to read, or an error, now or within the wait."""
    if isinstance(sock, ssl.SSLSocket) and sock.pending():
        return True
    watch = select.poll()
    watch.register(sock, select.POLLIN)
    return bool(watch.poll(wait_seconds * 1000))


class _TimedSocket:
    """The part of a socket's interface that ``http.client`` needs to read an answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb"
        return io.BufferedReader(_TimedReader(self._socket))


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(_TimedSocket(sock), *args, **options)  # type: ignore[arg-type]


class _TimedConnection(HTTPConnection):
    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        return _connect(self, addresses_module.system_addresses, _open_socket)


class _TimedSecureConnection(HTTPSConnection):
    response_class = _TimedResponse

    def _new_conn(self) -> socket.socket:
        return _connect(self, addresses_module.system_addresses, _open_socket)


class _PublicConnection(_TimedConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self, addresses_module.checked_addresses, open_socket)


class _PublicSecureConnection(_TimedSecureConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(self, addresses_module.checked_addresses, open_socket)


def _connect(
    connection: HTTPConnection,
    look_up: Callable[[str, int], list[str]],
    open_one: Callable[..., socket.socket],
) -> socket.socket:
    """Connect to the first address of a host that answers, looking the name up once.

    The host's name stays what its certificate and its answer are for.

    Raises:
        InvalidReferenceError: An address of the host is not in the public network, where ``look_up`` checks.
    """
    try:
        addresses = _looked_up(partial(look_up, connection._dns_host.strip("[]"), connection.port))
        found = _first_that_answers(connection, addresses, open_one)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "no connection in time") from error
    except OSError as error:
        raise NewConnectionError(connection, f"no connection: {error}") from error
    sys.audit("http.client.connect", connection, connection.host, connection.port)
    return found


def _looked_up(look_up: Callable[[], list[str]]) -> list[str]:
    """Resolve a host in another thread: the system's resolver has no deadline and cannot be interrupted.

    Raises:
        TimeoutError: There is no answer as long as the operation is wanted.
        OSError: The host has no address.
    """
    deadline: Deadline | None = getattr(_operation, "deadline", None)
    if deadline is None:
        return look_up()
    threads = DaemonThreads(1, "mediaref-names")
    asked = threads.submit(look_up)
    threads.close_when_done()
    while deadline.left_seconds() > 0:
        if wait([asked], timeout=min(_LOOK_SECONDS, deadline.left_seconds())).done:
            return asked.result()
    raise TimeoutError("the host's name was not looked up in time")


def _first_that_answers(
    connection: HTTPConnection, addresses: list[str], open_one: Callable[..., socket.socket]
) -> socket.socket:
    """Connect to the first address that answers, within a time-out each and the deadline for all."""
    deadline: Deadline | None = getattr(_operation, "deadline", None)
    refusal: OSError = OSError("the host has no address")
    limit_seconds = connection.timeout
    for address in addresses:
        left_seconds = None if deadline is None else deadline.left_seconds()
        if left_seconds is not None and left_seconds <= 0:
            raise TimeoutError("the deadline has passed")
        try:
            found = open_one(
                address,
                connection.port,
                timeout=_shorter(limit_seconds, left_seconds),
                source_address=connection.source_address,
                socket_options=connection.socket_options,
            )
        except OSError as error:
            refusal = error
            continue
        if deadline is not None:  # encryption is agreed upon within this time
            found.settimeout(_shorter(limit_seconds, max(0.001, deadline.left_seconds())))
        return found
    raise refusal


def _shorter(limit_seconds: Any, left_seconds: float | None) -> Any:
    """Return the shorter of the time left and a time-out, which may be None or urllib3's default."""
    if left_seconds is None:
        return limit_seconds
    return min(limit_seconds, left_seconds) if isinstance(limit_seconds, int | float) else left_seconds


def _open_socket(address: str, port: int, **options: Any) -> socket.socket:
    return create_connection((address, port), **options)


def open_socket(address: str, port: int, **options: Any) -> socket.socket:
    """Connect to a checked IP address, so that no name is resolved again."""
    return _open_socket(address, port, **options)


class _TimedPool(HTTPConnectionPool):
    ConnectionCls = _TimedConnection


class _TimedSecurePool(HTTPSConnectionPool):
    ConnectionCls = _TimedSecureConnection


class _PublicPool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _PublicSecurePool(HTTPSConnectionPool):
    ConnectionCls = _PublicSecureConnection


_TIMED = {"http": _TimedPool, "https": _TimedSecurePool}
_PUBLIC_ONLY = {"http": _PublicPool, "https": _PublicSecurePool}


class TimedAdapter(HTTPAdapter):
    """Transport adapter of requests whose connections have a deadline.

    Args:
        public_only: Whether connections lead to checked addresses only. No proxy may be used then, since it
            would resolve names itself.
    """

    def __init__(self, *, public_only: bool) -> None:
        self._pools = _PUBLIC_ONLY if public_only else _TIMED
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make a pool manager with this module's connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Make a proxy manager with this module's connections; those of SOCKS are of another class."""
        assert self._pools is _TIMED
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = self._pools
        return manager

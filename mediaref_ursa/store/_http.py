"""Objects over http and https: exact ranges, verified replies, retries.

One exchange is: send, follow redirects by hand, check the
status, check what the reply says of itself, read its body with a limit. What a repetition may cure
(connections, time-outs, 429, 5xx, a body cut short) is repeated after a pause; all else is an error
at once. No message holds a query string, since that is where signatures stand.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from loguru import logger

from mediaref_ursa._errors import InvalidReferenceError, LimitExceededError, MediaNotFoundError, StoreError
from mediaref_ursa._uri_text import redact
from mediaref_ursa._uris import REMOTE_SCHEMES, scheme_of
from mediaref_ursa.store._protocol import ObjectInfo, check_range, past_the_end, too_large
from mediaref_ursa.store._sessions import TransientError, borrowed_session, mapped_errors

T = TypeVar("T")

_CHUNK_BYTES = 2**20
_CONTENT_RANGE = re.compile(r"bytes\s+(?:(\d+)-(\d+)|\*)/(\d+|\*)\s*", re.IGNORECASE)
_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_REDIRECTS = (301, 302, 303, 307, 308)
# Signed URLs are often signed for GET alone, and small servers know no HEAD.
_HEAD_REFUSED = (400, 403, 405, 501)


class _RangeIgnoredError(Exception):
    """The server answered a request for a range with the whole object."""


@dataclass(frozen=True)
class HttpStore:
    """``http://`` and ``https://`` URLs.

    Threads may share a store: connections are kept for the whole process, each used by one thread
    at a time, and forgotten after a fork.

    Attributes:
        connect_timeout_seconds: For the connection to stand.
        read_timeout_seconds: For the next bytes to come.
        attempts: How often a request is sent before it is given up.
        backoff_seconds: The pause after the first failure; it doubles with each, and a random half of
            it is left out, so that many workers do not come back at once.
        max_wait_seconds: The longest pause. A server that asks for more (Retry-After) is given up.
        max_redirects: How many redirects are followed.
        max_requests: How many ranges are fetched at once.
        max_whole_body_bytes: The largest object that is fetched whole to cut a range out of it, from a
            server that knows no ranges.
        headers: Sent to the origin of the URL only, never to where a redirect leads.
    """

    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 30.0
    attempts: int = 5
    backoff_seconds: float = 0.3
    max_wait_seconds: float = 30.0
    max_redirects: int = 5
    max_requests: int = 8
    max_whole_body_bytes: int = 64 * 2**20
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)

    def head(self, uri: str) -> ObjectInfo:
        """Return length, entity tag and time of change; by a ranged GET where HEAD is refused."""
        info = self._exchange("HEAD", uri, {}, _info_of_head)
        if info is not None:
            return info
        return self._exchange("GET", uri, {"Range": "bytes=0-0"}, _info_of_range)

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order; several requests run at once."""
        for offset, length in ranges:
            check_range(offset, length)
        try:
            return self._each_range(uri, ranges)
        except _RangeIgnoredError:
            return self._cut_from_whole(uri, ranges)

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole object; reading stops as soon as it turns out larger than ``max_bytes``."""
        return self._exchange("GET", uri, {}, lambda response: _whole_body(uri, response, max_bytes))

    def _each_range(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        workers = min(self.max_requests, len(ranges))
        if workers <= 1:
            return [self._one_range(uri, offset, length) for offset, length in ranges]
        with ThreadPoolExecutor(workers, thread_name_prefix="mediaref-http") as pool:
            # map cancels what has not begun as soon as one range fails
            return list(pool.map(lambda pair: self._one_range(uri, *pair), ranges))

    def _one_range(self, uri: str, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        wanted = {"Range": f"bytes={offset}-{offset + length - 1}"}
        return self._exchange(
            "GET", uri, wanted, lambda response: _ranged_body(uri, response, offset, length)
        )

    def _cut_from_whole(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        try:
            whole = self.get(uri, max_bytes=self.max_whole_body_bytes)
        except LimitExceededError as error:
            raise StoreError(
                "expected a server that serves byte ranges, found one that sends the whole object, and"
                f" that is larger than {self.max_whole_body_bytes} bytes (max_whole_body_bytes)",
                uri=uri,
            ) from error
        for offset, length in ranges:
            if offset + length > len(whole):
                raise past_the_end(uri, offset, length, len(whole))
        return [whole[offset : offset + length] for offset, length in ranges]

    def _exchange(
        self, method: str, uri: str, headers: Mapping[str, str], read: Callable[[requests.Response], T]
    ) -> T:
        """Send a request until ``read`` has a value, an error is final or the attempts are used up."""
        if scheme_of(uri) not in REMOTE_SCHEMES:
            raise InvalidReferenceError("expected an http:// or https:// URL", uri=uri)
        failures = 0
        while True:
            try:
                with borrowed_session() as session, mapped_errors(uri):
                    return self._one_attempt(session, method, uri, headers, read)
            except TransientError as error:
                failures += 1
                wait_seconds = self._wait_seconds(uri, failures, error)
                logger.info("{}: {}; again in {:.1f} s", redact(uri), error.reason, wait_seconds)
            time.sleep(wait_seconds)

    def _wait_seconds(self, uri: str, failures: int, error: TransientError) -> float:
        """Return the pause before the next attempt; raise where there is to be none."""
        if failures >= self.attempts:
            raise StoreError(f"{error.reason} (attempt {failures}, the last)", uri=uri) from None
        if error.wait_seconds is None:
            pause = min(self.backoff_seconds * float(2 ** (failures - 1)), self.max_wait_seconds)
            return pause * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        if error.wait_seconds > self.max_wait_seconds:
            raise StoreError(
                f"{error.reason}; the server asks to wait {error.wait_seconds:.0f} s,"
                f" longer than {self.max_wait_seconds:.0f} s (max_wait_seconds)",
                uri=uri,
            ) from None
        return error.wait_seconds

    def _one_attempt(
        self,
        session: requests.Session,
        method: str,
        uri: str,
        headers: Mapping[str, str],
        read: Callable[[requests.Response], T],
    ) -> T:
        response = self._follow(session, method, uri, headers)
        try:
            _check_status(uri, response, method)
            return read(response)
        finally:
            response.close()

    def _follow(
        self, session: requests.Session, method: str, uri: str, headers: Mapping[str, str]
    ) -> requests.Response:
        """Send to ``uri`` and to where it redirects; the caller's headers stay at their origin."""
        url = uri
        for _ in range(self.max_redirects + 1):
            own = self.headers if _origin(url) == _origin(uri) else {}
            response = session.request(
                method,
                url,
                headers={**own, **headers, "Accept-Encoding": "identity"},
                timeout=(self.connect_timeout_seconds, self.read_timeout_seconds),
                allow_redirects=False,
                stream=True,
            )
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or target is None:
                return response
            response.close()
            url = urljoin(url, target)
            if scheme_of(url) not in REMOTE_SCHEMES:
                raise StoreError(f"a redirect leads to the scheme '{scheme_of(url)}'", uri=uri)
        raise StoreError(f"expected at most {self.max_redirects} redirects, found more", uri=uri)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _check_status(uri: str, response: requests.Response, method: str) -> None:
    status = response.status_code
    if status in _GONE:
        raise MediaNotFoundError(f"the server has no such object (HTTP {status})", uri=uri)
    if method == "HEAD" and status in _HEAD_REFUSED:
        return
    if status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or status >= 500:
        raise TransientError(f"the server answered HTTP {status}", _retry_after_seconds(response))
    if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
        raise StoreError(f"the server answered HTTP {status}", uri=uri)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise StoreError(f"expected the bytes as they are, found Content-Encoding '{encoding}'", uri=uri)


def _retry_after_seconds(response: requests.Response) -> float | None:
    """Read Retry-After (RFC 9110, 10.2.3): seconds, or a date."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    moment = _timestamp(value)
    return None if moment is None else max(0.0, moment - time.time())


def _timestamp(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() if value else None
    except (TypeError, ValueError, OverflowError):
        return None


def _content_length(response: requests.Response) -> int | None:
    value = response.headers.get("Content-Length", "").strip()
    return int(value) if value.isascii() and value.isdigit() else None


def _info(response: requests.Response, size: int) -> ObjectInfo:
    headers = response.headers
    return ObjectInfo(size, headers.get("ETag"), _timestamp(headers.get("Last-Modified")))


def _info_of_head(response: requests.Response) -> ObjectInfo | None:
    """Return None where the reply does not answer the question."""
    size = _content_length(response)
    return _info(response, size) if response.status_code == HTTPStatus.OK and size is not None else None


def _info_of_range(response: requests.Response) -> ObjectInfo:
    if response.status_code == HTTPStatus.OK:
        size = _content_length(response)
    else:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        size = int(match[3]) if match and match[3] != "*" else None
    if size is None:
        raise StoreError("expected a Content-Length or Content-Range, found none: the length is unknown")
    return _info(response, size)


def _ranged_body(uri: str, response: requests.Response, offset: int, length: int) -> bytes:
    if response.status_code == HTTPStatus.OK:
        raise _RangeIgnoredError
    found = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(found)
    if match and match[3] != "*" and int(match[3]) < offset + length:
        raise past_the_end(uri, offset, length, int(match[3]))
    if match is None or (match[1], match[2]) != (str(offset), str(offset + length - 1)):
        raise StoreError(
            f"expected the bytes {offset}-{offset + length - 1}, found Content-Range '{found[:80]}'"
            f" (HTTP {response.status_code})",
            uri=uri,
        )
    body = _body(uri, response, max_bytes=length)
    if len(body) != length:
        raise TransientError(f"expected a body of {length} bytes, found {len(body)}")
    return body


def _whole_body(uri: str, response: requests.Response, max_bytes: int | None) -> bytes:
    if response.status_code != HTTPStatus.OK:
        raise StoreError(f"expected HTTP 200, found {response.status_code}", uri=uri)
    expected = _content_length(response)
    if expected is not None and max_bytes is not None and expected > max_bytes:
        raise too_large(uri, expected, max_bytes)
    body = _body(uri, response, max_bytes)
    if expected is not None and len(body) != expected:
        raise TransientError(f"expected a body of {expected} bytes, found {len(body)}")
    return body


def _body(uri: str, response: requests.Response, max_bytes: int | None) -> bytes:
    """Read the body, and never more than one chunk past ``max_bytes``."""
    chunks: list[bytes] = []
    size = 0
    for chunk in response.iter_content(_CHUNK_BYTES):
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise too_large(uri, size, max_bytes)
        chunks.append(chunk)
    return b"".join(chunks)

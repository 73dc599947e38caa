"""``HttpStore``: objects over http and https, with exact ranges, verified replies and retries.

One exchange is: send, follow redirects by hand, check the status, check the reply's headers, read its body
with a limit. Errors that a retry may cure (connections, time-outs, 429, 5xx, a body cut short) are retried
after a pause, from the byte that was reached; all others are raised at once. No message holds a query string,
which may contain a signature. Written by hand on purpose: retries of requests and urllib3 end with the
headers, and no library resumes a body that breaks off.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import NoReturn, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
from requests.utils import get_auth_from_url, get_environ_proxies

from mediaref_ursa._core.counters import count
from mediaref_ursa._core.errors import InvalidReferenceError, LimitExceededError, StoreError
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.uris import REMOTE_SCHEMES, scheme_of
from mediaref_ursa.store._download.range_download import (
    ObjectEndsError,
    ObjectVersion,
    RangeDownload,
    in_one_version,
    total_of,
)
from mediaref_ursa.store._download.retry import Deadline, RetryPolicy, TransientError, each_at_once, retried
from mediaref_ursa.store._http.connections import within
from mediaref_ursa.store._http.replies import (
    check_status,
    chunks_of,
    content_length,
    content_range,
    has_no_end,
    validators_of_reply,
)
from mediaref_ursa.store._http.sessions import borrowed_session, mapped_errors
from mediaref_ursa.store._protocol import ObjectInfo, check_range, check_within, past_the_end, too_large

T = TypeVar("T")

_REDIRECTS = (301, 302, 303, 307, 308)
_CREDENTIALS = re.compile(r"(?<=://)[^/?#]*@")


class _RangeIgnoredError(Exception):
    """The server answered a request for a range with the whole object."""


@set_module("mediaref_ursa.store")
@dataclass(frozen=True)
class HttpStore:
    """``http://`` and ``https://`` URLs.

    Threads may share a store: connections are kept for the whole process, each used by one thread
    at a time, and forgotten after a fork. Proxies and certificates are those of the environment; passwords
    of a ``.netrc`` are not used.

    Attributes:
        connect_timeout_seconds: For the connection to stand.
        read_timeout_seconds: For the next bytes to come; an answer that brings less than a kibibyte a second
            for so long fails too.
        attempts: How often a request is sent before it fails; an attempt that brought a
            mebibyte or more does not count.
        backoff_seconds: The pause after the first failure; it doubles with each, and a random half of
            it is left out, so that many workers do not come back at once.
        max_wait_seconds: The longest such pause. A server that asks for a longer one (Retry-After)
            gets it, unless it would pass the deadline.
        deadline_seconds: For each range, ``head`` or whole object: attempts, pauses and slow bodies together.
        max_redirects: How many redirects are followed.
        max_requests: How many ranges are fetched at once.
        max_whole_body_bytes: The largest object that is fetched whole to cut a range out of it, from a
            server that knows no ranges.
        allow_private_hosts: Whether hosts outside the public network may be read: private, loopback,
            link-local and reserved addresses. Without, each address is checked and connected to as it was
            checked, at each redirect too, and no proxy is used.
        redirect_schemes: Where redirects may lead: ``https`` alone keeps them from leading to http.
        headers: Sent to the origin of the URL only, never to where a redirect leads; so are user name and
            password of a URL.
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
    deadline_seconds: float = 120.0
    allow_private_hosts: bool = True
    redirect_schemes: frozenset[str] = frozenset(REMOTE_SCHEMES)

    def head(self, uri: str) -> ObjectInfo:
        """Return length, entity tag and time of change; by a ranged GET where HEAD is refused."""
        info = self._retried(uri, partial(self._head_if_reported, uri))
        if info is None:
            raise StoreError(
                "expected a Content-Length or Content-Range, found none: the length is unknown", uri=uri
            )
        return info

    def get_range(self, uri: str, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``offset`` on."""
        return self.get_ranges(uri, [(offset, length)])[0]

    def get_ranges(self, uri: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each ``(offset, length)``, in order; several requests run at once.

        They are all of one version of the object, as far as the server
        distinguishes its versions.
        """
        for offset, length in ranges:
            check_range(offset, length)
        return in_one_version(uri, lambda version: self._ranges(version, ranges), self.deadline_seconds)

    def get_ranges_of(self, uri: str, info: ObjectInfo, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the bytes of each range of the very object that ``info`` describes.

        Raises:
            MediaChangedError: Another version is there.
        """
        check_within(uri, info, ranges)
        return self._ranges(ObjectVersion(uri, info), ranges)

    def get(self, uri: str, max_bytes: int | None = None) -> bytes:
        """Return the whole object; reading stops as soon as it turns out larger than ``max_bytes``."""
        return in_one_version(uri, lambda version: self._whole(version, max_bytes), self.deadline_seconds)

    def _head_if_reported(self, uri: str, deadline: Deadline) -> ObjectInfo | None:
        found = self._reported("HEAD", uri, {}, deadline)
        return found or self._reported("GET", uri, {"Range": "bytes=0-0"}, deadline)

    def _ranges(self, version: ObjectVersion, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        try:
            return each_at_once(ranges, partial(self._one_range, version), self.max_requests, "mediaref-http")
        except _RangeIgnoredError:
            return self._cut_from_whole(version, ranges)

    def _one_range(self, version: ObjectVersion, span: tuple[int, int], stop: threading.Event) -> bytes:
        part = RangeDownload(*span)
        if part.length == 0:
            return b""
        try:
            return self._retried(version.uri, partial(self._read_range, version, part), part, stop)
        except ObjectEndsError as error:
            raise past_the_end(version.uri, part.offset, part.length, error.size) from None

    def _read_range(self, version: ObjectVersion, part: RangeDownload, deadline: Deadline) -> bytes:
        """Read the missing bytes of a range."""
        if not version.can_be_recognised:
            part.begin_again()
        headers = {"Range": part.range_header, **_condition(version, part)}
        with self._reply("GET", version.uri, headers, deadline) as response:
            version.admit(validators_of_reply(response))
            if response.status_code != HTTPStatus.OK:
                part.check_reply(response.status_code, content_range(response), content_length(response))
            elif part.offset == 0 and content_length(response) == part.length:
                part.begin_again()  # the range is the whole object, and that is what has come
            else:
                self._refuse_whole_body(response)
            for chunk in chunks_of(response, deadline):
                part.add(chunk)
            return part.joined()

    def _whole(self, version: ObjectVersion, max_bytes: int | None) -> bytes:
        part = RangeDownload(0, None)
        return self._retried(version.uri, partial(self._read_whole, version, part, max_bytes), part)

    def _read_whole(
        self, version: ObjectVersion, part: RangeDownload, max_bytes: int | None, deadline: Deadline
    ) -> bytes:
        """Read the missing bytes of the whole object.

        It is asked for as a range, since the answer to that says twice how long the object is.
        """
        if not (part.has_length and version.can_be_recognised):
            part.begin_again()
        wanted = part.range_header if part.held_bytes else "bytes=0-"
        headers = {"Range": wanted, **_condition(version, part)}
        with self._reply("GET", version.uri, headers, deadline) as response:
            if response.status_code == 416 and total_of(content_range(response)) == 0:
                return b""
            version.admit(validators_of_reply(response))
            is_whole = response.status_code == HTTPStatus.OK
            if is_whole:
                part.begin_again()
            part.end_at(content_length(response) if is_whole else _reported_total(response))
            if max_bytes is not None and part.length > max_bytes:
                raise too_large(version.uri, part.length, max_bytes)
            if not is_whole:
                part.check_reply(response.status_code, content_range(response), content_length(response))
            for chunk in chunks_of(response, deadline):
                part.add(chunk)
                if max_bytes is not None and part.held_bytes > max_bytes:
                    raise too_large(version.uri, part.held_bytes, max_bytes)
            is_open_ended = has_no_end(response)
        if is_open_ended and not part.has_length:
            info = self._head_if_reported(version.uri, deadline)
            part.end_at(None if info is None else info.size)
        return part.joined()

    def _refuse_whole_body(self, response: requests.Response) -> NoReturn:
        """Raise, so that the object is read whole if it is small enough, or the range is requested again."""
        if (content_length(response) or 0) > self.max_whole_body_bytes:
            raise TransientError(self._too_large_to_be_cut)
        raise _RangeIgnoredError

    @property
    def _too_large_to_be_cut(self) -> str:
        return (
            "expected a server that serves byte ranges, found one that sends the whole object, and"
            f" that is larger than {self.max_whole_body_bytes} bytes (max_whole_body_bytes)"
        )

    def _cut_from_whole(self, version: ObjectVersion, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        try:
            whole = self._whole(version, self.max_whole_body_bytes)
        except LimitExceededError as error:
            raise StoreError(self._too_large_to_be_cut, uri=version.uri) from error
        for offset, length in ranges:
            if offset + length > len(whole):
                raise past_the_end(version.uri, offset, length, len(whole))
        return [whole[offset : offset + length] for offset, length in ranges]

    def _reported(
        self, method: str, uri: str, headers: Mapping[str, str], deadline: Deadline
    ) -> ObjectInfo | None:
        """Return the object's facts by an answer's headers, None without its length."""
        with self._reply(method, uri, headers, deadline) as response:
            if method == "HEAD" and response.status_code != HTTPStatus.OK:
                return None
            validators = validators_of_reply(response)
            return (
                None
                if validators.size is None
                else ObjectInfo(validators.size, validators.etag, validators.modified)
            )

    def _retried(
        self,
        uri: str,
        attempt: Callable[[Deadline], T],
        part: RangeDownload | None = None,
        stop: threading.Event | None = None,
    ) -> T:
        if scheme_of(uri) not in REMOTE_SCHEMES:
            raise InvalidReferenceError("expected an http:// or https:// URL", uri=uri)
        policy = RetryPolicy(
            self.attempts, self.backoff_seconds, self.max_wait_seconds, self.deadline_seconds
        )
        return retried(uri, policy, attempt, stop=stop, reached_bytes=lambda: part.held_bytes if part else 0)

    @contextmanager
    def _reply(
        self, method: str, uri: str, headers: Mapping[str, str], deadline: Deadline
    ) -> Iterator[requests.Response]:
        """Send a request and yield the answer, its status checked."""
        public_only = not self.allow_private_hosts
        with borrowed_session(public_only=public_only) as session, mapped_errors(uri), within(deadline):
            response = self._follow(session, method, uri, headers, deadline)
            try:
                check_status(uri, response, method)
                yield response
            finally:
                response.close()

    def _follow(
        self, session: requests.Session, method: str, uri: str, headers: Mapping[str, str], deadline: Deadline
    ) -> requests.Response:
        """Send to ``uri`` and follow redirects; the caller's headers and credentials stay at their origin."""
        url, own, auth = uri, self.headers, _credentials(uri)
        for _ in range(self.max_redirects + 1):
            deadline.check()
            connect_seconds = max(0.001, min(self.connect_timeout_seconds, deadline.left_seconds()))
            count(requests=1)
            response = session.request(
                method,
                _CREDENTIALS.sub("", url, count=1),
                headers={**own, **headers, "Accept-Encoding": "identity"},
                auth=auth,
                proxies=get_environ_proxies(url, no_proxy=None) if self.allow_private_hosts else {},
                verify=_certificates(),
                timeout=(connect_seconds, self.read_timeout_seconds),
                allow_redirects=False,
                stream=True,
            )
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or target is None:
                return response
            response.close()
            url = urljoin(url, target)
            if scheme_of(url) not in self.redirect_schemes:
                raise StoreError(f"a redirect leads to the scheme '{scheme_of(url)}'", uri=uri)
            if _origin(url) != _origin(uri):  # and a redirect back does not bring them back
                own, auth = {}, None
        raise StoreError(f"expected at most {self.max_redirects} redirects, found more", uri=uri)


def _condition(version: ObjectVersion, part: RangeDownload) -> dict[str, str]:
    """Return the condition for one version: the caller's, or that of the bytes received so far."""
    if version.strong_etag is None or not (version.is_given or part.held_bytes):
        return {}
    return {"If-Match": version.strong_etag}


def _reported_total(response: requests.Response) -> int:
    """Return the object's length by the Content-Range of an answer."""
    found = total_of(content_range(response))
    if found is None:
        raise TransientError(
            f"expected the length of the whole object, found Content-Range"
            f" '{content_range(response)[:80]}' (HTTP {response.status_code})"
        )
    return found


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(scheme)


def _credentials(url: str) -> tuple[str, str] | None:
    """Return user name and password of a URL."""
    user, password = get_auth_from_url(url)
    return (user, password) if user or password else None


def _certificates() -> str | bool:
    """Return the CA certificates: those that the environment names, or those of certifi."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True

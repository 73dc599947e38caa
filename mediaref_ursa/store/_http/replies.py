"""Headers of HTTP answers, checked before the bodies are used."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus

import requests

from mediaref_ursa._core.counters import count
from mediaref_ursa._core.errors import MediaNotFoundError, StoreError
from mediaref_ursa._core.uris import why_not_found
from mediaref_ursa.store._download.range_download import CHUNK_BYTES, Validators, changed, total_of
from mediaref_ursa.store._download.retry import Deadline, TransientError, retry_after_seconds, timestamp

_GONE = (HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_EXPECTED = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
_TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
# Signed URLs are often signed for GET alone, and small servers know no HEAD.
_HEAD_REFUSED = (400, 403, 405, 501)


def check_status(uri: str, response: requests.Response, method: str) -> None:
    """Raise unless the answer is one of an object.

    Raises:
        MediaNotFoundError: There is none.
        MediaChangedError: Not the one that was asked for (If-Match).
        TransientError: The server is in trouble, or busy.
        StoreError: Anything else, or the body would be a compressed one.
    """
    status = response.status_code
    if status in _GONE:
        raise MediaNotFoundError(
            f"the server has no such object (HTTP {status}){why_not_found(uri)}", uri=uri
        )
    if status == HTTPStatus.PRECONDITION_FAILED:
        raise changed(uri, "the server has another version than the one asked for (HTTP 412)")
    if method == "HEAD" and status in _HEAD_REFUSED:
        return
    if status in _TRANSIENT or status >= 500:
        wait_seconds = retry_after_seconds(response.headers.get("Retry-After"))
        raise TransientError(f"the server answered HTTP {status}", wait_seconds)
    if status not in _EXPECTED:
        raise StoreError(f"the server answered HTTP {status}", uri=uri)
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise StoreError(f"expected the bytes as they are, found Content-Encoding '{encoding[:80]}'", uri=uri)


def content_length(response: requests.Response) -> int | None:
    """Return the Content-Length of an answer."""
    value = response.headers.get("Content-Length", "").strip()
    return int(value) if value.isascii() and value.isdigit() else None


def content_range(response: requests.Response) -> str:
    """Return the Content-Range of an answer."""
    return response.headers.get("Content-Range", "")


def validators_of_reply(response: requests.Response) -> Validators:
    """Return the validators in an answer's headers."""
    is_whole = response.status_code == HTTPStatus.OK
    size = content_length(response) if is_whole else total_of(content_range(response))
    etag = response.headers.get("ETag", "").strip()
    return Validators(size, etag or None, timestamp(response.headers.get("Last-Modified")))


def has_no_end(response: requests.Response) -> bool:
    """Return whether only the end of the connection ends the body, so that one cut short looks whole."""
    is_chunked = "chunked" in response.headers.get("Transfer-Encoding", "").lower()
    return content_length(response) is None and not is_chunked


def chunks_of(response: requests.Response, deadline: Deadline) -> Iterator[bytes]:
    """Yield the body as it arrives, until the deadline; bytes before an error are yielded first."""
    read = getattr(response.raw, "read1", response.raw.read)  # urllib3 1.26 waits for whole chunks
    while chunk := read(CHUNK_BYTES, decode_content=False):
        count(bytes_fetched=len(chunk))
        yield chunk
        deadline.check()

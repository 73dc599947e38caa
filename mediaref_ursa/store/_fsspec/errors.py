"""Mapping of errors of fsspec and the libraries below it into the tree of errors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mediaref_ursa._core.errors import MediaNotFoundError, MediaRefError, StoreError, causes_of
from mediaref_ursa._core.uris import why_not_found
from mediaref_ursa.store._download.range_download import changed
from mediaref_ursa.store._download.retry import TransientError, retry_after_seconds

_DISPLAYED_CHARACTERS = 300
# Libraries whose exceptions are errors of a store, though many are no OSError.
_LIBRARIES = (
    *("adlfs", "aiobotocore", "aiohttp", "azure", "boto3", "botocore", "fsspec", "gcsfs", "google"),
    *("httpcore", "httpx", "huggingface_hub", "oss2", "ossfs", "requests", "s3fs", "urllib3"),
)
_QUERY = re.compile(r"(\?|%3F)[^\s\"'<>]*", re.IGNORECASE)
_TRANSIENT_STATUS = (408, 425, 429)
_TRANSIENT_CODES = frozenset(
    {"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
)
_TRANSIENT_ERRNO = (errno.EBUSY, getattr(errno, "EREMOTEIO", errno.EIO), errno.ETIMEDOUT)
# By name, since most of the many libraries are not installed. A library's base class stands for all that
# derive from it.
_TRANSIENT_KINDS = frozenset(
    {
        *("ChunkedEncodingError", "ClientConnectionError", "ClientPayloadError", "ConnectionError"),
        *(
            "FlexibleChecksumError",
            "HTTPClientError",
            "IncompleteRead",
            "IncompleteReadError",
            "ProtocolError",
            "ResponseParserError",
        ),
        *("ResponseStreamingError", "ServiceRequestError", "ServiceResponseError", "Timeout"),
        *("TimeoutError", "TimeoutException", "TransportError"),
    }
)
_FINAL_KINDS = frozenset(
    {
        *("ClientConnectorCertificateError", "ClientSSLError", "InvalidProxiesConfigError", "InvalidURL"),
        *("SSLCertVerificationError", "SSLError", "ServerFingerprintMismatch", "TooManyRedirects"),
        "UnsupportedProtocol",
    }
)
_TIMEOUTS = (TimeoutError, asyncio.TimeoutError, concurrent.futures.TimeoutError)  # one class since 3.11


@contextmanager
def mapped_errors(uri: str, secrets: Collection[str] = ()) -> Iterator[None]:
    """Map errors that fsspec and the libraries below it raise inside the block into the tree of errors.

    Their own texts are shortened, without queries of URLs and without ``secrets`` (read when there is an
    error); and their tracebacks are left out, since those would show them.

    Raises:
        MediaNotFoundError: There is no such object, or no such bucket.
        MediaChangedError: Another one than was asked for (If-Match).
        TransientError: What may go right the next time.
        StoreError: Anything else that a store or the way to it objects to.
    """
    final: MediaRefError
    try:
        yield
        return
    except MediaRefError as error:
        error.uri = error.uri or uri
        raise
    except TransientError:
        raise
    except FileNotFoundError:
        final = MediaNotFoundError(
            f"the store has no such object, or no such bucket{why_not_found(uri)}", uri=uri
        )
    except PermissionError as error:
        final = StoreError(f"the store refuses access ({_reason(error, secrets)}); {_HINT}", uri=uri)
    except Exception as error:
        if not _is_of_a_store(error):
            raise
        if _status_of(error) == 412:
            raise changed(
                uri, "the store has another version than the one asked for (PreconditionFailed)"
            ) from None
        if _is_transient(error):
            reason = f"the store cannot be read: {_reason(error, secrets)}"
            raise TransientError(reason, _asked_wait_seconds(error)) from None
        hint = f"; {_HINT}" if "Credentials" in type(error).__name__ else ""
        final = StoreError(f"the store cannot be read: {_reason(error, secrets)}{hint}", uri=uri)
    raise final from None


_HINT = "are the credentials in storage_options or in the environment right?"


def _is_of_a_store(error: Exception) -> bool:
    """Return whether an error is the store's; other errors are bugs or misuse, and raised unchanged."""
    # fsspec raises NotImplementedError and RuntimeError for a wrong thread or event loop.
    if isinstance(error, (OSError, EOFError, ValueError, RuntimeError, *_TIMEOUTS)):
        return True
    libraries = {base.__module__.partition(".")[0] for base in type(error).__mro__}
    # httpx2 and httpcore2 are later generations, of the same errors under another name.
    return any(name in _LIBRARIES or name.rstrip("0123456789") in _LIBRARIES for name in libraries)


def is_past_the_end(error: BaseException) -> bool:
    """Return whether a store refused a range because it begins past the object's end."""
    if _status_of(error) == 416 or "InvalidRange" in _codes_of(error):
        return True
    if _status_of(error) is not None:
        return False
    return isinstance(error, OSError) and error.errno == errno.EINVAL and "range" in str(error).lower()


def _is_transient(error: BaseException) -> bool:
    """Return whether a retry may succeed, by the outermost error that indicates it."""
    kinds = [{kind.__name__ for kind in type(link).__mro__} for link in causes_of(error)]
    if not _FINAL_KINDS.isdisjoint(set().union(*kinds)) and "SSLEOFError" not in set().union(*kinds):
        return False
    for link, names in zip(causes_of(error), kinds, strict=True):
        status = _status_of_link(link)
        if status is not None:
            is_busy = status in _TRANSIENT_STATUS or status >= 500
            return is_busy or not _TRANSIENT_CODES.isdisjoint(_codes_of_link(link))
        if not _TRANSIENT_KINDS.isdisjoint(names):
            return True
    return isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNO


def _asked_wait_seconds(error: BaseException) -> float | None:
    """Return the seconds of the header Retry-After, if the library passes it on."""
    for link in causes_of(error):
        response = getattr(link, "response", None)
        if isinstance(response, Mapping):
            headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        else:
            headers = getattr(link, "headers", None) or getattr(response, "headers", None)
        if isinstance(headers, Mapping):
            found = {str(name).lower(): value for name, value in headers.items()}.get("retry-after")
            if found is not None:
                return retry_after_seconds(str(found))
    return None


def _status_of(error: BaseException) -> int | None:
    """Return the HTTP status that an error of one of many libraries stands for."""
    found = (_status_of_link(link) for link in causes_of(error))
    return next((status for status in found if status is not None), None)


def _status_of_link(link: BaseException) -> int | None:
    if type(link).__module__.startswith("aiohttp.http"):  # a broken answer, which these call 400
        return None
    response = getattr(link, "response", None)
    if isinstance(response, Mapping):
        found = [response.get("ResponseMetadata", {}).get("HTTPStatusCode")]
    else:
        found = [getattr(response, "status_code", None)]
    found += [_plain(link, name) for name in ("status_code", "status", "code", "error_code")]
    for value in map(str, (*found, *_codes_of_link(link))):
        if value.isascii() and value.isdigit() and 400 <= int(value) < 600:
            return int(value)
    return None


def _codes_of(error: BaseException) -> set[str]:
    """Return the services' error codes, ``SlowDown`` for instance."""
    return set().union(*map(_codes_of_link, causes_of(error)))


def _codes_of_link(link: BaseException) -> set[str]:
    response = getattr(link, "response", None)
    codes = {str(_plain(link, name)) for name in ("code", "error_code")}
    if isinstance(response, Mapping):
        codes.add(str(response.get("Error", {}).get("Code", "")))
    return codes


def _plain(error: BaseException, name: str) -> Any:
    """Return an attribute; no property, since some of those warn or raise."""
    is_property = isinstance(getattr(type(error), name, None), property)
    return None if is_property else getattr(error, name, None)


def _reason(error: BaseException, secrets: Collection[str]) -> str:
    """Return an error's class and the redacted first line of its text."""
    name = type(error).__name__
    try:
        text = getattr(error, "strerror", None) or str(error)
    except Exception:  # some classes have no text without the arguments that they were made with
        return name
    first = _QUERY.sub("", str(text).strip().partition("\n")[0])
    for secret in secrets:
        first = first.replace(secret, "***")
    return f"{name}: {first[:_DISPLAYED_CHARACTERS]}" if first else name

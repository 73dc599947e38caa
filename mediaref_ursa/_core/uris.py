"""URIs: their scheme, the local file that they name, and the content of data URIs.

Pure functions over strings, with no I/O. A *scheme* is only what is written ``x://``, and ``data:``
and ``file:``; everything else is a plain path, taken letter for letter. A scheme of one letter is
the drive of a Windows path.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from mediaref_ursa._core.errors import InvalidReferenceError, LimitExceededError, MediaNotFoundError

Many = TypeVar("Many")

REMOTE_SCHEMES = frozenset({"http", "https"})
CLOUD_SCHEMES = frozenset({"abfs", "abfss", "adl", "az", "gcs", "gs", "hf", "oss", "r2", "s3", "s3a"})
MAX_DATA_URI_BYTES = 64 * 2**20

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://|(data|file):", re.IGNORECASE)
_SCHEME_WITHIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:)(/{1,2}|\\\\+)")
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f]")
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_QUERY_OR_FRAGMENT = re.compile(r"[?#]")
_BLOB = re.compile(r"\.lance(/@[^/]+/.+)", re.DOTALL)
_MIMETYPE = re.compile(r"[A-Za-z0-9!#$&^_.+*'`|~-]+/[A-Za-z0-9!#$&^_.+*'`|~-]+")
_PARAMETER = re.compile(r"[A-Za-z0-9!#$&^_.+*'`|~-]+(?:=[^\s;,]*)?")
_NOT_QUOTED = re.compile(rb"[^A-Za-z0-9\-._~%]|%(?![0-9A-Fa-f]{2})")
_NOT_IN_PAYLOAD = re.compile(rb"[^A-Za-z0-9\-._~!$&'()*+,;=:@/?\[\]%]|%(?![0-9A-Fa-f]{2})")


def scheme_of(uri: str) -> str:
    """Return the scheme of ``uri`` in lower case, or ``""`` for a plain path.

    >>> scheme_of("HTTPS://host/a.mp4"), scheme_of("data:,x"), scheme_of("file:/a.mp4")
    ('https', 'data', 'file')
    >>> scheme_of("clips/a.mp4"), scheme_of("C://clips/a.mp4"), scheme_of("concat:a|b")
    ('', '', '')
    """
    match = _SCHEME.match(uri)
    return (match[1] or match[2]).lower() if match else ""


def is_data(uri: str) -> bool:
    """Return whether ``uri`` is a data URI, which contains its bytes (RFC 2397)."""
    return scheme_of(uri) == "data"


def is_local(uri: str) -> bool:
    """Return whether ``uri`` names a file of this machine: a plain path or ``file:``."""
    return scheme_of(uri) in ("", "file")


def is_remote(uri: str) -> bool:
    """Return whether ``uri`` is served over http or https."""
    return scheme_of(uri) in REMOTE_SCHEMES


def is_cloud(uri: str) -> bool:
    """Return whether ``uri`` names an object of a cloud store, such as ``s3://bucket/key``."""
    return scheme_of(uri) in CLOUD_SCHEMES


def is_path(uri: str) -> bool:
    """Return whether a local URI is one that names a path of this machine.

    >>> is_path("a b.mp4"), is_path("file:///a%00b"), is_path("file://other-host/a")
    (True, False, False)
    """
    try:
        return bool(local_path(uri))
    except InvalidReferenceError:
        return False


def is_relative_path(uri: str) -> bool:
    """Return whether ``uri`` is a plain path that is not absolute on this platform."""
    return scheme_of(uri) == "" and not Path(uri).is_absolute()


def why_not_found(uri: str) -> str:
    """Return a hint about a URI at which no object was found, to follow a message; ``""`` without one.

    All of it is legal in the name of a file, so that nothing is refused or changed before.

    Args:
        uri: As it was given, or the absolute path of it.

    >>> why_not_found(" http://host/a.mp4"), why_not_found("a.mp4")
    ('; it begins or ends with white space, or a part of the path does', '')
    """
    parts = uri.split("/")
    if any(part != part.strip() for part in parts):
        return "; it begins or ends with white space, or a part of the path does"
    if _CONTROL_CHARACTER.search(uri):
        return "; there is a line break or another control character in it"
    if parts[-1][-1:] in ("'", '"') and any(part[:1] == parts[-1][-1] for part in parts):
        return "; there are quotation marks around it"
    return _why_no_path(uri) if scheme_of(uri) == "" else ""


def _why_no_path(uri: str) -> str:
    scheme = _SCHEME_WITHIN.search(uri)
    if scheme:
        return (
            f"; {scheme[1]!r} is read as part of a path: a URI begins with its scheme and two slashes, and a "
            "path library may have taken one"
        )
    if "\\" in uri and os.sep == "/":
        return "; the backslashes are letters of a name here: write paths with /"
    if "~" in uri.split("/"):
        return "; '~' is a letter of a name here: expand it with os.path.expanduser"
    if _ESCAPE.search(uri):
        return "; percent-encoding is undone in file:// URIs only, a plain path is taken letter for letter"
    return ""


def without_query(uri: str) -> str:
    """Return ``uri`` without query and fragment; plain paths keep their ``?`` and ``#``.

    >>> without_query("https://host/a.mp4?sig=1#t=3"), without_query("takes/what?.mp4")
    ('https://host/a.mp4', 'takes/what?.mp4')
    """
    if scheme_of(uri) == "":
        return uri
    return _QUERY_OR_FRAGMENT.split(uri, maxsplit=1)[0]


def split_blob(uri: str) -> tuple[str, str] | None:
    """Return the table of a blob's URI, and the rest; None where ``uri`` names no blob of a Lance table.

    Query and fragment are left out. :mod:`mediaref_ursa._core.blob_uris` describes the rest.

    >>> split_blob("s3://bucket/set.lance/@video/a.mp4?versionId=1"), split_blob("set.lance/data/a")
    (('s3://bucket/set.lance', '/@video/a.mp4'), None)
    """
    if ".lance/@" not in uri or is_data(uri):
        return None
    path = without_query(uri)
    match = _BLOB.search(path)
    return None if match is None else (path[: match.start(1)], match[1])


def absolute_location(uri: str | os.PathLike[str]) -> str:
    """Return a local URI as an absolute plain path, and any other as it is: one name for one location.

    Raises:
        MediaNotFoundError: A relative path, and the working directory was removed.

    >>> absolute_location("file:///data/take%201.mp4"), absolute_location("s3://bucket/a.mp4")
    ('/data/take 1.mp4', 's3://bucket/a.mp4')
    """
    uri = os.fspath(uri)
    if not is_local(uri):
        return uri
    blob = split_blob(uri)
    if blob is not None:  # what follows the table is percent-encoded in a path, too
        return absolute_location(blob[0]) + blob[1]
    with in_working_directory(uri):
        return str(Path(local_path(uri)).absolute())


@contextmanager
def in_working_directory(uri: str) -> Iterator[None]:
    """Run a block that makes a path absolute; a working directory that is gone is an error of the tree.

    Raises:
        MediaNotFoundError: The block needs the working directory, and it was removed.
    """
    try:
        yield
    except FileNotFoundError as error:
        if isinstance(error, MediaNotFoundError):
            raise
        raise MediaNotFoundError(
            "expected an absolute path, found a relative one while the working directory is gone; change to "
            "a directory that exists (os.chdir), or name an absolute path",
            uri=uri,
        ) from error


def local_path(uri: str) -> str:
    """Return the path of the local file that ``uri`` names.

    A plain path comes back untouched. Of a ``file:`` URI (RFC 8089) the percent-encoding is
    decoded and query and fragment are left out; its host is empty or ``localhost``. Bytes that
    are no UTF-8 are kept as ``os.fsdecode`` keeps them.

    Raises:
        InvalidReferenceError: Another scheme, another host, a relative ``file:`` URI, an empty
            path, a NUL byte in it, or letters that no file name can have (lone surrogates).

    >>> local_path("file:///data/take%201.mp4"), local_path("take%201.mp4")
    ('/data/take 1.mp4', 'take%201.mp4')
    """
    scheme = scheme_of(uri)
    if scheme not in ("", "file"):
        raise InvalidReferenceError(f"expected a path or a file:// URI, found the scheme '{scheme}'", uri=uri)
    try:
        path = uri if scheme == "" else _path_of_file_uri(uri)
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise InvalidReferenceError("expected a path that the file system can encode", uri=uri) from error
    if not path:
        raise InvalidReferenceError("expected a path, found an empty one", uri=uri)
    if "\0" in path:
        raise InvalidReferenceError("expected a path, found a NUL byte in it", uri=uri)
    return path


def _path_of_file_uri(uri: str) -> str:
    rest = without_query(uri)[len("file:") :]
    host = ""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        rest = slash + path
    if host.lower() not in ("", "localhost"):
        raise InvalidReferenceError(f"expected a file of this machine, found the host '{host}'", uri=uri)
    if not rest.startswith("/"):
        raise InvalidReferenceError(
            "expected an absolute path after file://; write a relative one as a plain path", uri=uri
        )
    return os.fsdecode(unquote_to_bytes(os.fsencode(rest)))


@dataclass(frozen=True)
class DataUriParts:
    """A data URI taken apart, its payload not decoded.

    Attributes:
        mimetype: ``type/subtype``; ``text/plain`` where the URI has none.
        parameters: What stands between media type and payload, ``charset=utf-8`` and the like, in
            their order, without the ``base64`` flag.
        is_base64: Whether the payload is base64; else it is percent-encoded.
        payload: The payload's text as it stands in the URI, ASCII.
    """

    mimetype: str
    parameters: tuple[str, ...]
    is_base64: bool
    payload: bytes


def parse_data_uri(uri: str, *, max_bytes: int | None = None) -> DataUriParts:
    """Take a data URI apart by RFC 2397; the payload is not decoded.

    Args:
        uri: The URI. Neither media type nor parameters are the default of the RFC,
            ``text/plain;charset=US-ASCII``.
        max_bytes: The most bytes that the decoded payload may have, measured before decoding.

    Raises:
        ValueError: Not a data URI, no comma, a malformed media type or parameter, or a payload
            with letters that cannot stand in a URI.
        LimitExceededError: The payload is larger than ``max_bytes``.

    >>> parse_data_uri("data:text/plain;charset=utf-8,a%20b")
    DataUriParts(mimetype='text/plain', parameters=('charset=utf-8',), is_base64=False, payload=b'a%20b')
    """
    if not is_data(uri):
        raise ValueError(f"Malformed data URI: expected it to begin with 'data:', found {uri[:20]!r}")
    comma = uri.find(",")
    if comma < 0:
        raise ValueError("Malformed data URI: expected a comma before the payload, found none")
    mimetype, parameters, is_base64 = _split_header(uri[len("data:") : comma])
    _check_size(uri, comma, is_base64, max_bytes)
    try:
        payload = uri[comma + 1 :].encode("ascii")
    except UnicodeEncodeError as error:
        raise ValueError(_stray_letter(error.object[error.start], error.start)) from None
    return DataUriParts(mimetype, parameters, is_base64, payload)


def _split_header(header: str) -> tuple[str, tuple[str, ...], bool]:
    mimetype, *rest = header.split(";")
    is_base64 = bool(rest) and rest[-1].lower() == "base64"
    if is_base64:
        rest.pop()
    if not mimetype:
        return "text/plain", check_parameters(tuple(rest) or ("charset=US-ASCII",)), is_base64
    return check_mimetype(mimetype), check_parameters(tuple(rest)), is_base64


def check_mimetype(mimetype: str) -> str:
    """Return ``mimetype`` if it is ``type/subtype``; else raise a ValueError."""
    if not _MIMETYPE.fullmatch(mimetype):
        raise ValueError(
            f"Malformed data URI: expected a media type such as image/png, found {mimetype[:40]!r}"
        )
    return mimetype


def check_parameters(parameters: tuple[str, ...]) -> tuple[str, ...]:
    """Return ``parameters`` if each is ``name=value`` or a bare name; else raise a ValueError."""
    for parameter in parameters:
        if parameter.lower() == "base64":
            raise ValueError("Malformed data URI: expected ';base64' last before the comma, once")
        if not (_PARAMETER.fullmatch(parameter) and parameter.isascii()):
            raise ValueError(
                f"Malformed data URI: expected a parameter such as charset=utf-8, found {parameter[:40]!r}"
            )
    return parameters


def _check_size(uri: str, comma: int, is_base64: bool, max_bytes: int | None) -> None:
    """Count the decoded bytes without decoding: an escape is three letters a byte, base64 four for three."""
    if max_bytes is None:
        return
    size = len(uri) - comma - 1 - 2 * uri.count("%", comma + 1)
    if is_base64:
        ending = uri[-6:].upper().replace("%3D", "=")
        size = size * 3 // 4 - (len(ending) - len(ending.rstrip("=")))
    if size > max_bytes:
        raise LimitExceededError(
            f"expected at most {max_bytes} bytes in a data URI, found {size};"
            " store the media as a file, or allow more with max_data_uri_bytes=",
            uri=uri,
        )


def decode_data_payload(payload: bytes, *, is_base64: bool) -> bytes:
    """Decode the payload of a data URI.

    Args:
        payload: The text after the comma, ASCII. In base64 ``%2B`` and the like are undone first.
        is_base64: Whether it is base64; else it is percent-encoded.

    Raises:
        ValueError: A letter that cannot stand in a URI, a broken escape, or broken base64.

    >>> decode_data_payload(b"a%20b", is_base64=False), decode_data_payload(b"aGk%3D", is_base64=True)
    (b'a b', b'hi')
    """
    if not is_base64:
        stray = _NOT_IN_PAYLOAD.search(payload)
        if stray:
            raise ValueError(_stray_letter(stray[0].decode("latin-1"), stray.start()))
        return unquote_to_bytes(payload) if b"%" in payload else payload
    text = unquote_to_bytes(payload) if b"%" in payload else payload
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"Malformed data URI: expected a payload in base64: {error}") from None


def check_quoted(payload: bytes) -> None:
    """Refuse a payload with characters that ``urllib.parse.quote`` would percent-encode.

    A URI may hold ``&``, ``=`` and the like as they are; text that holds them was most likely not encoded.

    Raises:
        ValueError: The message has the first such letter.

    >>> check_quoted(b"a%20%26%20b")
    """
    stray = _NOT_QUOTED.search(payload)
    if stray:
        raise ValueError(_stray_letter(stray[0].decode("latin-1"), stray.start()))


def _stray_letter(letter: str, position: int) -> str:
    return (
        f"Malformed data URI: expected a percent-encoded payload, found {letter!r} at {position}: it has "
        "unquoted characters; encode it (urllib.parse.quote) or use base64"
    )


def several(uris: Many) -> Many:
    """Return the URIs of a call that takes several.

    Raises:
        TypeError: It is one, whose letters would be taken for URIs.

    >>> several(["a.mp4"])
    ['a.mp4']
    """
    if isinstance(uris, str | bytes | os.PathLike):
        raise TypeError(f"expected several paths or URIs, found one: {str(uris)!r:.100}; wrap it in a list")
    return uris

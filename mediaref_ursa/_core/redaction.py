"""Redaction of URIs for messages and log lines: short, and without secrets."""

from __future__ import annotations

import re

_DISPLAYED_CHARACTERS = 200
# Where an authority begins: also behind a blank, in a chain (``simplecache::s3://``), with a slash too few.
# One letter and a colon are the drive of a Windows path.
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}:/+|^\s*//+")
_PORT = re.compile(r"\d{0,5}")
_END_OF_AUTHORITY = re.compile(r"[/?#\\]")


def without_credentials(uri: str) -> str:
    """Return ``uri`` without user name and password, whatever characters these contain.

    >>> without_credentials("https://user:pass@host/a@b.mp4"), without_credentials("takes/a@b.mp4")
    ('https://host/a@b.mp4', 'takes/a@b.mp4')
    >>> without_credentials(" http://user:pa/ss?word@host/a.mp4")
    ' http://host/a.mp4'
    """
    parts, done = [], 0
    for match in _AUTHORITY.finditer(uri):
        if match.start() >= done:
            parts.append(uri[done : match.end()])
            done = match.end() + _credentials_length(uri[match.end() :])
    return "".join(parts) + uri[done:]


def _credentials_length(rest: str) -> int:
    """Return the length of user name and password after ``://``, the ``@`` included.

    A password may hold letters that end an authority: then what seems to be the port is no number.
    """
    end = _END_OF_AUTHORITY.search(rest)
    authority = rest if end is None else rest[: end.start()]
    if "@" in authority:
        return authority.rindex("@") + 1
    host, colon, port = authority.partition(":")
    if colon and not host.startswith("[") and not _PORT.fullmatch(port):
        return rest.rfind("@") + 1
    return 0


def redact(uri: str) -> str:
    """Return ``uri`` fit for a message: no credentials, query or fragment, no payload of a data URI.

    Only what has a scheme and ``//`` can carry a signature; in a plain path ``?`` and ``#`` are
    letters like any others.

    >>> redact("https://user:pass@host/a.mp4?X-Amz-Signature=1#t=3")
    'https://host/a.mp4'
    >>> redact(" https://host/a.mp4?signature=1")
    ' https://host/a.mp4'
    >>> redact("data:image/png;base64," + "A" * 1000)
    'data:image/png;base64,... (1022 characters)'
    """
    if uri.lstrip()[:5].lower() == "data:":
        header, comma, _ = uri[:_DISPLAYED_CHARACTERS].partition(",")
        return f"{header}{comma}... ({len(uri)} characters)"
    match = _AUTHORITY.search(uri)
    if match is not None:
        uri = without_credentials(uri)
        uri = uri[: match.end()] + re.split(r"[?#]", uri[match.end() :], maxsplit=1)[0]
    if len(uri) > _DISPLAYED_CHARACTERS:
        return f"{uri[:_DISPLAYED_CHARACTERS]}... ({len(uri)} characters)"
    return uri

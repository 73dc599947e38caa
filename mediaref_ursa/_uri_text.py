"""URIs as people see them in messages and log lines: short, and without secrets."""

from __future__ import annotations

import re

_SHOWN_CHARACTERS = 200
_AUTHORITY_SECRET = re.compile(r"(?<=://)[^/?#]*@")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


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
    if uri[:5].lower() == "data:":
        header, comma, _ = uri[:_SHOWN_CHARACTERS].partition(",")
        return f"{header}{comma}... ({len(uri)} characters)"
    if _SCHEME.match(uri.lstrip()):
        uri = _AUTHORITY_SECRET.sub("", re.split(r"[?#]", uri, maxsplit=1)[0])
    if len(uri) > _SHOWN_CHARACTERS:
        return f"{uri[:_SHOWN_CHARACTERS]}... ({len(uri)} characters)"
    return uri

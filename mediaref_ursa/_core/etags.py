"""Entity tags (RFC 9110, 8.8.3), as servers write them: quotes included."""

from __future__ import annotations

from typing import TypeGuard


def is_strong(etag: str | None) -> TypeGuard[str]:
    """Return whether there is an entity tag, and not a weak one.

    A weak one stays the same for other bytes that mean the same (RFC 9110, 8.8.1).

    >>> is_strong('"abc"'), is_strong('W/"abc"'), is_strong(None), is_strong("")
    (True, False, False, False)
    """
    return bool(etag) and not str(etag).startswith("W/")

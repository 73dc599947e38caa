"""Prefixes of URIs that are replaced: the rule of ``rebase``. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from mediaref_ursa._core.uris import is_data, local_path

Prefixes = Mapping[str, "str | os.PathLike[str]"]

_SEPARATORS = ("/", "\\")


def rebaser(prefixes: Prefixes) -> Callable[[str], str]:
    r"""Return the function that replaces the prefix of a URI.

    Raises:
        TypeError: A prefix or its replacement that is no text or path.

    >>> change = rebaser({"/data": "s3://a", "/data/raw": "raw"})
    >>> change("/data/x.mp4"), change("file:///data/raw/x.mp4"), change("/database/x.mp4")
    ('s3://a/x.mp4', 'raw/x.mp4', '/database/x.mp4')
    >>> rebaser({"C:\\them": "media"})("C:\\them\\day 1\\a.mp4")
    'media/day 1/a.mp4'
    """
    if not isinstance(prefixes, Mapping):
        raise TypeError(
            f"expected a dict from prefixes of URIs to their replacements, found {prefixes!r:.100}"
        )
    rules = sorted(
        ((_text(old).rstrip("/\\") or _text(old)[:1], _text(new)) for old, new in prefixes.items()),
        key=lambda rule: len(rule[0]),
        reverse=True,
    )

    def change(uri: str) -> str:
        if is_data(uri):
            return uri
        texts = [uri]
        if uri.startswith("file:"):
            texts.append(local_path(uri))
        for old, new in rules:
            for text in texts:
                rest = _rest(text, old)
                if rest is not None:
                    return _joined(new, rest.replace("\\", "/") if "\\" in old else rest)
        return uri

    return change


def _rest(uri: str, prefix: str) -> str | None:
    """Return what follows a prefix, without its separator; None where it is none."""
    if not uri.startswith(prefix):
        return None
    rest = uri[len(prefix) :]
    if not rest or prefix.endswith(_SEPARATORS):
        return rest
    return rest[1:] if rest.startswith(_SEPARATORS) else None


def _joined(new: str, rest: str) -> str:
    if not rest:
        return new
    return f"{new}{rest}" if not new or new.endswith(_SEPARATORS) else f"{new}/{rest}"


def _text(prefix: Any) -> str:
    if not isinstance(prefix, str | os.PathLike):
        raise TypeError(f"expected prefixes of URIs and their replacements, found {prefix!r}")
    return str(os.fspath(prefix))

"""Rows of JSON that hold references, perhaps in a nested field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any

from pydantic_core import from_json

from mediaref_ursa._core.errors import InvalidReferenceError

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


def path_parts(path: str | None) -> tuple[str, ...]:
    """Return the names of a nested field, which dots separate.

    Raises:
        ValueError: An empty name.

    >>> path_parts("data.media_ref"), path_parts(None)
    (('data', 'media_ref'), ())
    """
    if path is None:
        return ()
    parts = tuple(path.split("."))
    if not all(parts):
        raise ValueError(f"expected path='field' or 'field.field', found {path!r}")
    return parts


def json_references(
    rows: Iterable[Any], path: Sequence[str] = (), *, numbers: Iterable[int] | None = None
) -> tuple[list[str], list[int | None]]:
    """Return the URIs and times of JSON rows.

    Args:
        rows: Texts, each an object with ``uri`` and perhaps ``pts_ns``.
        path: The nested field of each that holds it.
        numbers: The number of each row in messages; counted from 0 without it.

    Raises:
        InvalidReferenceError: A null row, or one that holds no reference there.
    """
    uris: list[str] = []
    times: list[int | None] = []
    for number, text in zip(count() if numbers is None else numbers, rows, strict=False):
        uri, pts = _plain_fields(text, path) or _checked_fields(text, path, number)
        uris.append(uri)
        times.append(pts)
    return uris, times


def json_values(rows: Iterable[Any], path: Sequence[str] = (), first_row: int = 0) -> list[Any]:
    """Return the values of JSON rows at a path.

    Raises:
        InvalidReferenceError: A null row, one that is no JSON, or one without such a field; with its number,
            counted from ``first_row``.
    """
    return [_checked_at(text, path, number) for number, text in enumerate(rows, first_row)]


def holds_json_reference(text: Any, path: Sequence[str] = ()) -> bool:
    """Return whether a text is JSON that has a reference, or a list of them, at a path."""
    value = _found_at(text, path)
    value = value[0] if isinstance(value, list) and value else value
    return isinstance(value, dict) and "uri" in value


def holds_json_list(text: Any, path: Sequence[str] = ()) -> bool:
    """Return whether a text is JSON that has a list at a path."""
    return isinstance(_found_at(text, path), list)


def _found_at(text: Any, path: Sequence[str]) -> Any:
    """Return the value at a path of a JSON object or list; None of other texts."""
    if not isinstance(text, str) or not text.lstrip().startswith(("{", "[")):
        return None
    try:
        return _at(from_json(text), path)
    except (ValueError, TypeError, KeyError, IndexError):
        return None


def _checked_at(text: Any, path: Sequence[str], row: int) -> Any:
    """Return the value of a JSON row at a path, or raise an error with the row's number."""
    if text is None:
        raise InvalidReferenceError(f"expected a reference in every row, found a null row at row {row}")
    try:
        return _at(from_json(text), path)
    except ValueError as error:
        raise _bad_row(row, f"Invalid JSON: {error}") from error
    except (TypeError, KeyError, IndexError):
        raise _bad_row(row, f"nothing at path={'.'.join(path)!r}: {text:.100}") from None


def _at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value[name]
    return value


def _plain_fields(text: str, path: Sequence[str]) -> tuple[str, int | None] | None:
    try:
        fields = _at(from_json(text), path)
        uri, pts = fields["uri"], fields.get("pts_ns")
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    plain_uri = type(uri) is str and uri and "\0" not in uri
    plain_pts = pts is None or (type(pts) is int and _INT64_MIN <= pts <= _INT64_MAX)
    return (uri, pts) if plain_uri and plain_pts else None


def _checked_fields(text: Any, path: Sequence[str], row: int) -> tuple[str, int | None]:
    """Return the fields of a row that :func:`_plain_fields` does not take, or raise what is wrong with it."""
    fields = _checked_at(text, path, row)
    if not isinstance(fields, dict):
        raise _bad_row(row, f"{fields!r:.100}, where an object with uri and pts_ns should be")
    if "uri" not in fields:
        raise _bad_row(row, "no uri: Field required")
    problem = _problem(fields["uri"], fields.get("pts_ns"))
    if problem is not None:
        raise _bad_row(row, problem)
    return fields["uri"], int(fields["pts_ns"])


def _problem(uri: Any, pts_ns: Any) -> str | None:
    """Return what is wrong with the fields of a reference, None if nothing is."""
    if not isinstance(uri, str):
        return f"a uri of type {type(uri).__name__}: {uri!r:.100}"
    if not uri:
        return "an empty string as uri"
    if "\0" in uri:
        return "a NUL byte in the uri"
    if isinstance(pts_ns, bool):
        return f"a boolean as pts_ns: {pts_ns!r}"
    if not isinstance(pts_ns, int):
        what = "a fraction, where whole nanoseconds should be" if isinstance(pts_ns, float) else "no number"
        return f"pts_ns {pts_ns!r:.100}: {what}"
    return f"pts_ns {pts_ns}: an overflow, it does not fit into int64"


def _bad_row(row: int, what: str) -> InvalidReferenceError:
    return InvalidReferenceError(f"expected a reference in every row, found at row {row}: {what}")

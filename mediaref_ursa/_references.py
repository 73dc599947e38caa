"""Sequences of references as columns: what planning works on."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mediaref_ursa._time import Int64Array


@dataclass(frozen=True)
class ReferenceColumns:
    """References as columns.

    Attributes:
        uris: ``n`` URIs.
        pts_ns: int64 ``(n,)``; 0 where the reference is to an image.
        is_image: bool ``(n,)``.
    """

    uris: list[str]
    pts_ns: Int64Array
    is_image: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.uris)

    def time_of(self, slot: int) -> int | None:
        """Return a reference's ``pts_ns`` as the caller gave it."""
        return None if self.is_image[slot] else int(self.pts_ns[slot])

    def videos(self) -> dict[str, Int64Array]:
        """Return the places of the references to each video, by URI in the order of first use."""
        places: dict[str, list[int]] = {}
        for slot, (uri, image) in enumerate(zip(self.uris, self.is_image.tolist(), strict=True)):
            if not image:
                places.setdefault(uri, []).append(slot)
        return {uri: np.array(slots, dtype=np.int64) for uri, slots in places.items()}


def reference_columns(refs: Any) -> ReferenceColumns:
    """Take apart any sequence of references.

    Args:
        refs: Objects with ``uri`` and ``pts_ns``, or dicts of the two, in any iterable; an Arrow
            struct array or chunked array of the two.

    Raises:
        TypeError: Something else.
        ValueError: A reference that is None, or has no URI.
    """
    if _is_arrow(refs) and hasattr(refs, "type"):
        from mediaref_ursa._arrow import struct_array_to_columns

        uris, pts_ns, is_image = struct_array_to_columns(refs)
        return ReferenceColumns(uris, pts_ns, is_image)
    if (
        isinstance(refs, (str, bytes, Mapping))
        or hasattr(refs, "pts_ns")
        or _is_arrow(refs)
        or not isinstance(refs, Iterable)
    ):
        raise TypeError(f"expected a sequence of references, found {type(refs).__name__}; wrap one in a list")
    pairs = [_pair(ref, place) for place, ref in enumerate(refs)]
    uris = [uri for uri, _ in pairs]
    times = [pts for _, pts in pairs]
    return ReferenceColumns(
        uris,
        np.array([0 if time is None else time for time in times], dtype=np.int64),
        np.array([time is None for time in times], dtype=np.bool_),
    )


def _is_arrow(refs: Any) -> bool:
    return type(refs).__module__.partition(".")[0] == "pyarrow"


def _pair(ref: Any, place: int) -> tuple[str, int | None]:
    if isinstance(ref, Mapping):
        uri, pts_ns = ref.get("uri"), ref.get("pts_ns")
    else:
        uri, pts_ns = getattr(ref, "uri", None), getattr(ref, "pts_ns", None)
    if not uri or not isinstance(uri, str):
        raise ValueError(f"expected a reference with a uri at place {place}, found {ref!r:.200}")
    return uri, None if pts_ns is None else _whole(pts_ns, place)


def _whole(pts_ns: Any, place: int) -> int:
    """Return a time as an int: a fraction or a boolean is no time in nanoseconds."""
    if isinstance(pts_ns, bool):
        raise TypeError(f"expected pts_ns to be a whole number at place {place}, found {pts_ns!r}")
    try:
        value = operator.index(pts_ns)
    except TypeError:
        raise TypeError(f"expected pts_ns to be a whole number at place {place}, found {pts_ns!r}") from None
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"expected pts_ns to fit into int64 at place {place}, found {value}")
    return value

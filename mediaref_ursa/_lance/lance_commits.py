"""Commits to a Lance table that other writers commit to as well.

Lance merges what it can of two commits made at once, and refuses the second of the rest, of two changes of
one index for example: it has to be made anew, on the version that the first one left.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from mediaref_ursa._core.extras import needs_extra

with needs_extra("video"):
    import lance

VERSIONS_KEPT = 16
"""Old versions that stay whatever their age: readers may have opened the latest of them a moment ago."""

_ATTEMPTS = 20
_FIRST_WAIT_SECONDS = 0.02
_CONFLICTS = ("conflict", "too many concurrent writers", "already exists")


def latest(dataset: lance.LanceDataset) -> lance.LanceDataset:
    """Return a data set at the newest version of its table."""
    return dataset.checkout_version(dataset.latest_version)


def repeated(commit: Callable[[], object]) -> None:
    """Commit to the latest version, and try again for a while where another writer was first."""
    for attempt in range(_ATTEMPTS):
        try:
            commit()
        except (OSError, ValueError, RuntimeError) as error:
            if attempt + 1 == _ATTEMPTS or not _is_conflict(error):
                raise
            time.sleep(_FIRST_WAIT_SECONDS * (1 + attempt) * (1 + random.random()))  # noqa: S311
        else:
            return


def _is_conflict(error: Exception) -> bool:
    text = str(error).lower()
    return any(words in text for words in _CONFLICTS)

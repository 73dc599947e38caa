"""Optional dependencies: one error that names the command which installs what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mediaref_ursa._errors import MissingExtraError


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn the ImportError of an import inside the block into one that says what to install.

    Raises:
        MissingExtraError: A module of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == "mediaref_ursa":
            raise
        raise MissingExtraError(
            f"{error.name} is not installed; it comes with: pip install 'mediaref-ursa[{extra}]'"
        ) from error

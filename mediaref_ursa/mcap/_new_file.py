"""Files that are written under another name, and renamed when they are whole."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mediaref_ursa._core.errors import MediaRefError, StoreError


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the name of a temporary file next to ``path``, which is renamed to it when the block ends.

    An error of the block, or of writing, removes it and leaves ``path`` as it was.

    Raises:
        StoreError: There is a file already, and ``overwrite`` is false; there is no such folder, or it cannot
            be written to.
    """
    uri = str(path)
    temporary = path.with_name(f".mediaref-{secrets.token_hex(8)}.part")
    _check_free(path, overwrite=overwrite)
    try:
        yield temporary
        _check_free(path, overwrite=overwrite)
        temporary.replace(path)
    except MediaRefError:
        raise
    except OSError as error:
        raise StoreError(f"the file cannot be written: {error.strerror or error}", uri=uri) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _check_free(path: Path, *, overwrite: bool) -> None:
    """Refuse a name that may not be written to."""
    if path.is_dir():
        raise StoreError("expected the name of a file to write, found a folder", uri=str(path))
    if not overwrite and os.path.lexists(path):
        raise StoreError(
            "expected the name of a new file, found one that exists; pass overwrite=True to replace it",
            uri=str(path),
        )
    if not path.parent.is_dir():
        raise StoreError("expected a folder to write to, found none; make it first", uri=str(path.parent))

"""The folders of tables on this machine: made, moved, set aside and removed, under the lock of writers."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import ExitStack
from pathlib import Path

from mediaref_ursa._core.errors import StoreError
from mediaref_ursa._core.uris import local_path
from mediaref_ursa._index.folder_lock import FolderLock


def make_folder(folder: Path, uri: str) -> None:
    """Make the folder of an index: writers lock it, and agree by that."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(f"the frame index cannot be written here: {folder}: {reason}", uri=uri) from error


def move_index(uri: str, target: str) -> bool:
    """Move a local index, in one step, to replace the one that stands at ``target``.

    Returns:
        Whether it was moved; False where another process was first.

    Raises:
        StoreError: The file system does not permit it.
    """
    source, location = (Path(local_path(name)).absolute() for name in (uri, target))
    make_folder(location.parent, target)
    with ExitStack() as locks:
        for folder in sorted({source.parent, location.parent}):  # the same order for all who move
            locks.enter_context(FolderLock(folder)).exclude_others()
        replaced = set_aside(location, target) if os.path.lexists(location) else None
        try:
            source.rename(location)
        except FileNotFoundError:
            return False
        except OSError as error:
            reason = error.strerror or str(error)
            raise StoreError(f"the frame index cannot be moved to {target}: {reason}", uri=uri) from error
        finally:
            if replaced is not None:
                _put_back(replaced, location)
    return True


def _put_back(replaced: Path, location: Path) -> None:
    """Remove what was set aside, or put it back where nothing came in its place."""
    if os.path.lexists(location):
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        replaced.rename(location)


def remove_index(uri: str) -> None:
    """Remove a local index.

    Raises:
        StoreError: The file system does not permit it.
    """
    location = Path(local_path(uri)).absolute()
    with FolderLock(location.parent) as lock:
        lock.exclude_others()
        removed = set_aside(location, uri)
    if removed is not None:
        shutil.rmtree(removed, ignore_errors=True)


def set_aside(location: Path, uri: str, what: str = "frame index") -> Path | None:
    """Rename a table, so that it is out of the way; return its new path, None where there was none.

    Raises:
        StoreError: The file system does not permit it.
    """
    # The name of a process is not its own for ever: in a container each writer may be number 1.
    aside = location.with_name(f"{location.name}.replaced-{os.getpid()}-{secrets.token_hex(4)}")
    try:
        return location.rename(aside)
    except FileNotFoundError:  # another process removed it
        return None
    except OSError as error:
        raise StoreError(f"the {what} cannot be replaced: {error.strerror or error}", uri=uri) from error

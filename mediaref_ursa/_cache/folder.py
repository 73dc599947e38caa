"""The cache's directory: made for its user alone, refused where others may write."""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from mediaref_ursa._core.errors import StoreError

_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class CacheFolder:
    """Paths of the cache directory's parts.

    Attributes:
        root: The directory as the operator names it.
        allow_shared: Take a directory that belongs to another user, or in which others may write.
    """

    root: Path
    allow_shared: bool = False

    @property
    def objects(self) -> Path:
        """One directory an object."""
        return self.root / "objects"

    @property
    def writing(self) -> Path:
        """Files that are being written."""
        return self.root / "writing"

    @property
    def usage(self) -> Path:
        """The usage file: the writers' lock, and the bytes taken."""
        return self.root / "account"

    def of_object(self, digest: bytes) -> Path:
        """Return the directory of one object."""
        return self.objects / digest.hex()

    def check(self) -> None:
        """Refuse a directory in which other users may write: the cache would serve what they write.

        Raises:
            StoreError: It belongs to another user, or others may write in it.
            OSError: It is not there, or cannot be looked at.
        """
        for folder in (self.root, self.objects, self.writing):
            found = folder.stat()
            if not stat.S_ISDIR(found.st_mode):
                raise NotADirectoryError(f"not a directory: {folder}")
            if self.allow_shared:
                continue
            if found.st_uid != os.geteuid():
                raise StoreError(
                    f"expected a cache directory of your own (user {os.geteuid()}), found one of user "
                    f"{found.st_uid}: {folder}; name another in MEDIAREF_URSA_CACHE, or if you trust "
                    "them with what is decoded, allow it with allow_shared_cache_dir=True"
                )
            if found.st_mode & _OTHERS_MAY_WRITE:
                raise StoreError(
                    "expected a cache directory that only you may write in, found mode "
                    f"{stat.S_IMODE(found.st_mode):04o}: {folder}; {_remedy(folder, found.st_mode)}"
                )

    def make(self) -> None:
        """Make the missing directories, for this user alone, and check all of them.

        Raises:
            StoreError: As ``check`` raises.
            OSError: It cannot be made.
        """
        for folder in (*reversed(self.root.parents), self.root):
            _make_private(folder)
        found = self.root.stat()
        if not self.allow_shared and (found.st_mode & _OTHERS_MAY_WRITE or found.st_uid != os.geteuid()):
            self.check()  # nothing is written where other users may write
        for folder in (self.objects, self.writing):
            _make_private(folder)
        self.check()


def _remedy(folder: Path, mode: int) -> str:
    if mode & stat.S_ISVTX:  # such as /tmp, where other users may write by design
        return "name a directory of its own within it in MEDIAREF_URSA_CACHE"
    command = f"chmod go-w {shlex.quote(str(folder))}"
    return (
        f"mend it with: {command}, or name another in MEDIAREF_URSA_CACHE, or if you trust "
        "who may write there, allow it with allow_shared_cache_dir=True"
    )


def _make_private(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(mode=0o700, exist_ok=True)

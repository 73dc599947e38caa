"""The module search path of worker processes."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path


def import_path(*, with_working_directory: bool) -> list[str]:
    """Return the module search path of this process as absolute paths, this package's folder included.

    Args:
        with_working_directory: Keep the entry of the working directory, which may contain untrusted files.

    >>> all(Path(folder).is_absolute() for folder in import_path(with_working_directory=False))
    True
    """
    own = str(Path(__file__).resolve().parents[2])
    found = []
    for path in sys.path:
        if path or with_working_directory:
            with contextlib.suppress(OSError):  # a relative one, where the working directory is gone
                found.append(str(Path(path).absolute()))
    return found if own in found else [own, *found]

"""Optional dependencies: one error that names the command which installs the missing package.

Which extra serves which scheme is said in ``docs/remote.md`` too.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mediaref_ursa._core.errors import MissingExtraError

_MODULES = {"video": ("av", "lance", "pyarrow"), "cloud": ("fsspec",)}


def has_extra(extra: str) -> bool:
    """Return whether the packages of an extra are installed, without loading them.

    >>> has_extra("video")
    True
    """
    return all(_is_installed(module) for module in _MODULES[extra])


_SCHEMES = {
    **dict.fromkeys(("s3", "s3a", "r2"), ("s3fs", "cloud")),
    **dict.fromkeys(("gs", "gcs"), ("gcsfs", "gcs")),
    **dict.fromkeys(("az", "abfs", "abfss", "adl"), ("adlfs", "azure")),
    "hf": ("huggingface_hub", "hf"),
    "oss": ("ossfs", "oss"),
    "memory": ("fsspec", "cloud"),
}
# Packages of schemes that allow_schemes= may open; no extra has them.
_OTHER_PACKAGES = {
    **dict.fromkeys(("sftp", "ssh"), "paramiko"),
    **dict.fromkeys(("hdfs", "arrow_hdfs"), "pyarrow"),
    "smb": "smbprotocol",
    "git": "pygit2",
    "libarchive": "libarchive-c",
    "dropbox": "dropboxdrivefs",
    "webhdfs": "requests",
    "gdrive": "gdrive_fsspec",
}


def check_packages_of(scheme: str, uri: str) -> None:
    """Refuse a scheme whose package is not installed, before its store is used.

    The package is looked for, and not imported: reads from the range cache do not need it.

    Raises:
        MissingExtraError: With the command that installs it.
    """
    package, _ = _SCHEMES.get(scheme, ("fsspec", "cloud"))
    if not all(_is_installed(name) for name in ("fsspec", package)):
        raise missing_package(scheme, uri=uri)


def missing_package(scheme: str, why: str = "", *, uri: str | None = None) -> MissingExtraError:
    """Return the error for a scheme whose package cannot be imported.

    Args:
        scheme: That of the URI, or fsspec's name for its kind.
        why: What fsspec says of it.
        uri: What was to be read.
    """
    package, extra = _SCHEMES.get(scheme, (_OTHER_PACKAGES.get(scheme, "a package of its own"), ""))
    if extra:
        command = f"it comes with: pip install 'mediaref-ursa[{extra}]'"
    elif scheme in _OTHER_PACKAGES:
        command = f"it comes with: pip install 'mediaref-ursa[cloud]' {package}"
    else:
        command = f"fsspec says: {why}"
    return MissingExtraError(f"{scheme}:// needs {package}, which cannot be imported; {command}", uri=uri)


def _is_installed(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn an ImportError inside the block into a MissingExtraError that names the install command.

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

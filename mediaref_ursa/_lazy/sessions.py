"""Sessions: all that was recorded at once, as a ``Data`` of temporaldata or of torch_brain."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from mediaref_ursa._core.errors import (
    CorruptMediaError,
    InvalidReferenceError,
    MediaRefError,
    MissingExtraError,
)
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.uris import is_local, local_path
from mediaref_ursa._lazy.range_stream import RangeStream
from mediaref_ursa._lazy.series import REFERENCE_COLUMNS, interval, load_package
from mediaref_ursa.store._location import Location

Bounds = tuple[float, float]
"""Seconds on the recording's clock, inclusive and exclusive; infinite where there is no bound."""

_BEYOND = 1.0  # seconds beyond a domain, whose end may be the time of a sample


def make_session(fields: Mapping[str, Any], domain: Bounds, package: str) -> Any:
    """Return a ``Data`` of a package.

    Args:
        fields: Time series, intervals and values by name, whole.
        domain: The time that it covers.
        package: ``temporaldata`` or ``torch_brain``.
    """
    return load_package(package).Data(**fields, domain=interval(*domain, package=package))


def domain_of(field: Any) -> Bounds | None:
    """Return the time that an object of a package covers; None where it does not say, or covers none."""
    is_interval = hasattr(field, "start") and hasattr(field, "end") and not hasattr(field, "domain")
    domain = field if is_interval else getattr(field, "domain", None)
    if domain is None or not len(domain):
        return None
    start, end = float(np.min(domain.start)), float(np.max(domain.end))
    return (start, end) if end > start else None


def part_within(field: Any, bounds: Bounds) -> Any:
    """Return the part of an object of a package within some time, its times unchanged; a value as it is."""
    if bounds == (-math.inf, math.inf) or not hasattr(field, "slice"):
        return field
    own = domain_of(field)
    if own is None:
        return field
    start, end = max(bounds[0], own[0] - _BEYOND), min(bounds[1], own[1] + _BEYOND)
    part = field.slice(start, max(start, end), reset_origin=False)
    getattr(part, "timestamps", None)  # the packages' lazy series forget a bound when they are cut twice
    return part


def read_hdf5(
    file: Location, group: str | None, package: str, open_video: Callable[[Any], Any], *, lazy: bool
) -> Any:
    """Return an object of a package from an HDF5 file.

    Args:
        file: Where it is, checked to be permitted.
        group: The group that holds it; without it the ``Data`` of the whole file.
        package: ``temporaldata`` or ``torch_brain``.
        open_video: Makes the lazy series of a video of a series of references to its frames.
        lazy: Read arrays when they are used, from the file, which stays open.

    Raises:
        InvalidReferenceError: The access does not trust the file's writer.
        CorruptMediaError: It is no such file, or has no such object.
        StoreError: As the store raises.
    """
    if file.access.untrusted:
        raise InvalidReferenceError(
            "expected no HDF5 file of an untrusted writer, found one: a damaged one can end the process, and "
            "links in it lead to other files; if you trust it, open it without untrusted=True",
            uri=file.uri,
        )
    with needs_extra("video"):
        h5py = importlib.import_module("h5py")
    with _hdf5_errors(file.uri):
        opened = h5py.File(_source_of(file), "r")
        try:
            loaded = _object_in(opened if group is None else opened[group], package, lazy=lazy)
            loaded = _with_videos(loaded, open_video)
        except BaseException:
            opened.close()
            raise
        if not lazy:
            opened.close()
        return loaded


def _source_of(file: Location) -> Any:
    """Return what h5py opens: a path, or a stream of a store's bytes."""
    store = file.open_store()
    store.head(file.uri)  # an error of ours if nothing is there
    if file.store is None and is_local(file.uri):
        return local_path(file.uri)
    return RangeStream(store, file.uri)


def _object_in(group: Any, package: str, *, lazy: bool) -> Any:
    classes = load_package(package)
    name = group.attrs["object"]
    if name == "Data":
        return classes.Data.from_hdf5(group, lazy=lazy)
    return getattr(classes, f"Lazy{name}" if lazy else name).from_hdf5(group)


def _with_videos(field: Any, open_video: Callable[[Any], Any]) -> Any:
    """Return an object with a lazy video in place of each series of references to frames."""
    names = set(field.keys()) if hasattr(field, "keys") else set()
    if names >= set(REFERENCE_COLUMNS):
        return open_video(field)
    if hasattr(field, "_absolute_start"):  # a Data
        for name in names:
            setattr(field, name, _with_videos(getattr(field, name), open_video))
    return field


@contextmanager
def _hdf5_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except MediaRefError:
        raise
    except (OSError, KeyError, AttributeError, TypeError, ValueError, AssertionError) as error:
        raise CorruptMediaError(
            "expected an HDF5 file with an object of temporaldata or torch_brain, found "
            f"{type(error).__name__}: {error}",
            uri=uri,
        ) from error


class SessionDataset:
    """Mixin of data sets of sessions, added to torch_brain's ``Dataset``; see :func:`session_dataset`.

    Args:
        recordings: Their names.
        open_session: Returns the session of one, lazily.
        transform: Called with each sample.
        namespace_attributes: As torch_brain's ``Dataset`` takes them.
    """

    def __init__(
        self,
        recordings: Sequence[str],
        open_session: Callable[[str], Any],
        transform: Callable[[Any], Any] | None = None,
        namespace_attributes: list[str] | None = None,
    ) -> None:
        self._names = sorted(recordings)
        self._open_session = open_session
        self._sessions: dict[str, Any] = {}
        self.transform = transform
        self.namespace_attributes = namespace_attributes

    @property
    def recording_ids(self) -> list[str]:
        """The names of the recordings, sorted."""
        return self._names

    def get_recording(self, recording_id: str, _namespace: str = "") -> Any:
        """Return the session of a recording, a copy; it is opened once a process."""
        if recording_id not in self._sessions:
            self._sessions[recording_id] = self._open_session(recording_id)
        session = copy.deepcopy(self._sessions[recording_id])
        self.get_recording_hook(session)  # type: ignore[attr-defined]
        if _namespace:
            self.apply_namespace(session, f"{_namespace}/")  # type: ignore[attr-defined]
        return session

    def __reduce__(self) -> tuple[Any, ...]:
        return session_dataset, (self._names, self._open_session, self.transform, self.namespace_attributes)


@cache
def _dataset_class() -> Any:
    try:
        base = importlib.import_module("torch_brain.datasets").Dataset
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name} is not installed; data sets of torch_brain need: pip install torch_brain torch"
        ) from error
    return type("SessionDataset", (SessionDataset, base), {"__doc__": SessionDataset.__doc__})


def session_dataset(
    recordings: Sequence[str],
    open_session: Callable[[str], Any],
    transform: Callable[[Any], Any] | None = None,
    namespace_attributes: list[str] | None = None,
) -> Any:
    """Return a ``Dataset`` of torch_brain over sessions, for its samplers.

    Args:
        recordings: Their names.
        open_session: Returns the session of one, lazily.
        transform: Called with each sample.
        namespace_attributes: As torch_brain's ``Dataset`` takes them.

    Raises:
        MissingExtraError: torch_brain, or the torch that its data sets need, is not installed.
    """
    return _dataset_class()(recordings, open_session, transform, namespace_attributes)

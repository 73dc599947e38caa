"""``Catalog``: the recordings of a table of modalities, as sessions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mediaref_ursa._core.errors import CorruptMediaError, InvalidReferenceError
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.seconds import window_bounds
from mediaref_ursa._core.uris import without_query
from mediaref_ursa._model.access import Access
from mediaref_ursa.catalog._rows import ModalityRow, StorageFormat, from_arrow, open_modality, to_arrow
from mediaref_ursa.store._location import Location

if TYPE_CHECKING:
    import pyarrow as pa
    from typing_extensions import Unpack

    from mediaref_ursa._lazy.options import PixelOptions
    from mediaref_ursa.store import ObjectStore

TimeRange = tuple[float, float]
"""Seconds on the recording's clock: inclusive, exclusive."""

_RESERVED = frozenset({"domain", "recording_id"})


@set_module("mediaref_ursa.catalog")
class Catalog:
    """The recordings that a table describes, with a row for each modality of each recording.

    The table is read when a recording is first asked for, and nothing else is: a session of a recording reads
    the frame indexes of its videos, and no media but videos of the format ``video``, which have no index and
    are scanned. Safe to pickle, and to use after forks.

    Args:
        table: The path or URI of a Parquet file, or of a folder of them, or of a Lance table (``.lance``); an
            Arrow table, or what Arrow reads as one; or :class:`ModalityRow` objects. Columns that rows do not
            have are ignored.
        store: Where the bytes of media, and of a Parquet table, are; chosen by each URI's scheme without it.
        storage_options: For cloud stores, as fsspec and Lance take them.
        package: The package of sessions, ``temporaldata`` or ``torch_brain``; the one that is imported, or
            temporaldata, without it.
        **options: ``resize``, ``crop``, ``colorspace``, ``dtype``, ``channel_format``, ``fetch``, and what
            may be read, of :class:`mediaref_ursa.LazyVideo`: ``untrusted=True`` for a catalog of an untrusted
            writer. Relative paths in rows begin at ``base_dir``, the current folder without it.

    Example:
        >>> row = ModalityRow(recording="day1", name="camera", format="video", uri="clip.mp4")
        >>> catalog = Catalog([row], channel_format="NHWC")
        >>> catalog.recordings()
        ['day1']
        >>> session = catalog.materialize("day1", time_range=(0.5, 1.0))
        >>> session.recording_id, session.camera.frames.shape
        ('day1', (15, 96, 128, 3))
    """

    def __init__(
        self,
        table: Any,
        store: ObjectStore | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        package: str | None = None,
        **options: Unpack[PixelOptions],
    ) -> None:
        self._source = os.fspath(table) if isinstance(table, str | os.PathLike) else None
        self._store, self._storage_options = store, storage_options
        self._package = package
        self._options = options
        self._access = Access.from_options(dict(options))
        self._rows: pa.Table | None = None if self._source is not None else _table_of(table)
        self._positions: dict[str, list[int]] | None = None

    def recordings(self) -> list[str]:
        """Return the names of the recordings, in the order of the table.

        Raises:
            InvalidReferenceError: A row does not name its recording.
            MediaNotFoundError: There is no table.
            CorruptMediaError: It is no table of modalities.
            StoreError: As the store raises.
        """
        return list(self._by_recording())

    def __len__(self) -> int:
        return len(self._by_recording())

    def __contains__(self, recording: object) -> bool:
        return recording in self._by_recording()

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_recording())

    def rows(self, recording: str) -> list[ModalityRow]:
        """Return the rows of a recording.

        Raises:
            KeyError: There is no such recording.
            ValidationError: A value that no row can have.
        """
        positions = self._by_recording().get(recording)
        if positions is None:
            raise KeyError(
                f"expected a recording of the catalog, found {recording!r}; recordings() lists them"
            )
        return from_arrow(self._table().take(positions))

    def materialize(self, recording: str, lazy: bool = True, time_range: TimeRange | None = None) -> Any:
        """Return the session of a recording: a ``Data`` with a field for each of its modalities.

        Videos are time series with lazy ``frames``, as :meth:`mediaref_ursa.LazyVideo.as_series` gives them,
        in either case: their frames are decoded when they are read. A series of references to frames in an
        HDF5 file becomes such a video too. Times are those of the recording's clock.

        Args:
            recording: Its name.
            lazy: Read the arrays of HDF5 files when they are used. Their files stay open: such a session
                cannot be pickled. False reads them now.
            time_range: The part between two times, in seconds; all of it without it.

        Returns:
            A ``Data`` of temporaldata or torch_brain with ``recording_id``, a field for each modality, and a
            ``domain``: the time range, or from the first to the last time of any modality.

        Raises:
            KeyError: There is no such recording.
            ValueError: Two modalities of one name, or a time range that ends before it starts.
            MediaRefError: A modality cannot be opened.
        """
        from mediaref_ursa._lazy.series import default_package

        package = self._package or default_package()
        return self._materialize(recording, package=package, lazy=lazy, time_range=time_range)

    def _materialize(
        self, recording: str, *, package: str, lazy: bool = True, time_range: TimeRange | None = None
    ) -> Any:
        from mediaref_ursa._lazy import sessions

        bounds = None if time_range is None else _checked_range(time_range)
        rows = self.rows(recording)
        _check_names(recording, [row.name for row in rows])
        fields = {row.name: self._field(row, package, bounds, lazy=lazy) for row in rows}
        if bounds is None:
            own = [found for found in map(sessions.domain_of, fields.values()) if found is not None]
            bounds = (
                min((start for start, _ in own), default=0.0),
                max((end for _, end in own), default=0.0),
            )
        return sessions.make_session({"recording_id": recording, **fields}, bounds, package)

    def stream(
        self,
        recordings: Sequence[str] | None = None,
        *,
        lazy: bool = True,
        time_range: TimeRange | None = None,
    ) -> Iterator[Any]:
        """Iterate over the sessions of recordings, opening each when it is asked for.

        Args:
            recordings: Their names, in the order wanted; all, in the order of the table, without it.
            lazy: As :meth:`materialize` takes it.
            time_range: As :meth:`materialize` takes it.

        Raises:
            KeyError: There is no such recording.
            MediaRefError: As :meth:`materialize` raises, when that session is asked for.
        """
        for recording in self.recordings() if recordings is None else recordings:
            yield self.materialize(recording, lazy=lazy, time_range=time_range)

    def torch_brain_dataset(
        self,
        recordings: Sequence[str] | None = None,
        *,
        transform: Callable[[Any], Any] | None = None,
        namespace_attributes: list[str] | None = None,
    ) -> Any:
        """Return the sessions as a ``Dataset`` of torch_brain, for its samplers and torch's ``DataLoader``.

        A sample is a slice of a session; its frames are decoded when ``transform``, or whatever comes after,
        reads them. Each worker process opens the sessions that it uses.

        Args:
            recordings: Their names; all without it.
            transform: Called with each sample.
            namespace_attributes: As torch_brain's ``Dataset`` takes them.

        Raises:
            MissingExtraError: torch_brain, or the torch that its data sets need, is not installed.
        """
        from mediaref_ursa._lazy.sessions import session_dataset

        names = self.recordings() if recordings is None else list(recordings)
        open_session = partial(self._materialize, package="torch_brain")
        return session_dataset(names, open_session, transform, namespace_attributes)

    def __repr__(self) -> str:
        where = "" if self._source is None else f"{without_query(self._source)!r}, "
        read = "not read yet" if self._rows is None else f"rows={self._rows.num_rows}"
        return f"Catalog({where}{read})"

    def __getstate__(self) -> dict[str, Any]:
        rows = self._rows if self._source is None else None
        return {**self.__dict__, "_rows": rows, "_positions": None}

    def _field(self, row: ModalityRow, package: str, bounds: TimeRange | None, *, lazy: bool) -> Any:
        from mediaref_ursa._lazy import sessions

        wanted = row.bounds if bounds is None else _both(row.bounds, bounds)
        if row.format is not StorageFormat.HDF5:
            video = open_modality(row, self._store, storage_options=self._storage_options, **self._options)
            return video.lazy_slice(*wanted).as_series(package)
        file = Location(row.uri, self._store, self._storage_options, self._access).permitted()
        field = sessions.read_hdf5(file, row.group, package, self._video_of, lazy=lazy)
        return sessions.part_within(field, wanted)

    def _video_of(self, series: Any) -> Any:
        from mediaref_ursa._lazy.lazy_video import LazyVideo
        from mediaref_ursa._lazy.series import package_of

        video = LazyVideo.from_series(
            series, store=self._store, storage_options=self._storage_options, **self._options
        )
        return video.as_series(package_of(series))

    def _by_recording(self) -> dict[str, list[int]]:
        """Return the positions of the rows of each recording."""
        if self._positions is None:
            table = self._table()
            names = table.column("recording").to_pylist() if "recording" in table.column_names else []
            found: dict[str, list[int]] = {}
            for position, name in enumerate(names or [None] * table.num_rows):
                if name is None:
                    raise InvalidReferenceError(
                        f"expected a catalog whose rows name their recording, found none in row {position}",
                        uri=self._source or "",
                    )
                found.setdefault(name, []).append(position)
            self._positions = found
        return self._positions

    def _table(self) -> pa.Table:
        if self._rows is None:
            assert self._source is not None
            where = Location(self._source, self._store, self._storage_options, self._access)
            self._rows = _read_table(where.absolute())
        return self._rows


def _checked_range(time_range: TimeRange) -> TimeRange:
    try:
        start, end = time_range
    except (TypeError, ValueError):
        raise ValueError(
            f"expected a time range (start, end) in seconds, found {time_range!r:.100}"
        ) from None
    start, end = window_bounds(start, end)
    if not start <= end:
        raise ValueError(
            f"expected a time range of seconds that does not end before it starts, found {start} to {end}"
        )
    return start, end


def _both(one: TimeRange, other: TimeRange) -> TimeRange:
    start = max(one[0], other[0])
    return start, max(start, min(one[1], other[1]))


def _check_names(recording: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"expected modalities of different names in {recording!r}, found {twice} more than once"
        )
    if taken := sorted(_RESERVED & set(names)):
        raise ValueError(f"expected modalities of other names than {sorted(_RESERVED)}, found {taken}")


def _table_of(source: Any) -> pa.Table:
    """Return rows, or what Arrow reads as a table, as an Arrow table."""
    if isinstance(source, Sequence) and all(isinstance(row, ModalityRow) for row in source):
        return to_arrow(source)
    if hasattr(source, "to_table"):
        raise TypeError(
            f"expected a table in memory or a path, found {type(source).__name__}; pass its path, or what "
            "to_table() gives"
        )
    with needs_extra("video"):
        from mediaref_ursa._references.arrow import table_of
    return _checked_table(table_of(source), "")


def _read_table(table: Location) -> pa.Table:
    """Read the columns of rows from a Parquet or Lance table."""
    with needs_extra("video"):
        from mediaref_ursa._index.row_tables import read_rows
    return _checked_table(read_rows(table, list(ModalityRow.model_fields)), table.uri)


def _checked_table(table: pa.Table, uri: str) -> pa.Table:
    missing = [name for name in ("name", "format", "uri") if name not in table.column_names]
    if missing:
        raise CorruptMediaError(
            f"expected a catalog with the columns name, format and uri, found {table.column_names}", uri=uri
        )
    return table

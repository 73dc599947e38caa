"""``check_lerobot``: all references of a LeRobot data set, camera by camera."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.extras import needs_extra
from mediaref_ursa._core.public import set_module
from mediaref_ursa._core.redaction import redact
from mediaref_ursa.check import _report as kinds
from mediaref_ursa.check._check import check_refs
from mediaref_ursa.check._report import CheckReport, Findings
from mediaref_ursa.lerobot import LeRobotRefs

with needs_extra("video"):
    import pyarrow as pa

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from mediaref_ursa._model.access import AccessOptions


@set_module("mediaref_ursa.check")
def check_lerobot(
    root: str | os.PathLike[str],
    *,
    camera: str | Sequence[str] | None = None,
    revision: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    decode: int = 0,
    progress: Callable[[int, int], None] | None = None,
    **access: Unpack[AccessOptions],
) -> CheckReport:
    """Check the references of a LeRobot data set: as :func:`check_refs`, and each row's time.

    Rows without a frame at their time are errors, and so are rows whose frame is one of another episode: they
    overlap in a file. Rows are those of ``LeRobotRefs.refs``.

    Args:
        root: As :class:`mediaref_ursa.lerobot.LeRobotRefs` takes it.
        camera: A camera, or several; all without it.
        revision: Of the Hub.
        storage_options: For cloud stores, as fsspec takes them.
        decode: How many references of each camera to decode and to compare with a linear decode.
        progress: Called with how many cameras are done, and how many there are.
        **access: What may be read.

    Raises:
        MediaRefError: As :class:`mediaref_ursa.lerobot.LeRobotRefs` raises.
    """
    data = LeRobotRefs(root, revision=revision, storage_options=storage_options, **access)
    named = [camera] if isinstance(camera, str) else data.cameras if camera is None else list(camera)
    findings, reports = Findings(), []
    for done, name in enumerate(named, start=1):
        table, problems = data.rows_and_problems(camera=name)
        column = table.column(table.num_columns - 1).combine_chunks()
        missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        texts = [f"episode {problem.episode}: {problem.text}" for problem in problems]
        findings.add(kinds.NO_FRAME, missing, f"{name}: {texts[0] if texts else ''}")
        findings.add(kinds.OVERLAP, *_overlaps(table.column("episode_index").to_numpy(), column, name))
        rows = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        report = check_refs(
            column.take(pa.array(rows)), decode=decode, storage_options=storage_options, **access
        )
        reports.append(report)
        for finding in report.findings:
            found = rows[list(finding.rows)]
            findings.add(finding.kind, found, f"{name}: {finding.text}", count=finding.count)
        if progress is not None:
            progress(done, len(named))
    return CheckReport(
        references=sum(report.references for report in reports),
        videos=sum(report.videos for report in reports),
        images=0,
        decoded=sum(report.decoded for report in reports),
        findings=findings.sorted(),
    )


def _overlaps(episodes: Int64Array, column: pa.StructArray, camera: str) -> tuple[Int64Array, str]:
    """Return the rows whose frame is one of an earlier episode as well, and a text about the first."""
    uris = column.field("uri").dictionary_encode()
    files, times = uris.indices.to_numpy(), column.field("pts_ns").to_numpy()
    has_frame = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    order = has_frame[np.lexsort((episodes[has_frame], times[has_frame], files[has_frame]))]
    before, after = order[:-1], order[1:]
    is_shared = (files[before] == files[after]) & (times[before] == times[after])
    is_shared &= episodes[before] != episodes[after]
    rows = np.sort(after[is_shared])
    if not len(rows):
        return rows, ""
    first = int(np.flatnonzero(after == rows[0])[0])
    file = redact(uris.dictionary[int(files[rows[0]])].as_py())
    text = (
        f"{camera}: episodes {int(episodes[before[first]])} and {int(episodes[after[first]])} share frames "
        f"of {file}, the first at {int(times[rows[0]])} ns"
    )
    return rows, text

"""References decoded, and compared with a linear decode of their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mediaref_ursa._batch.batch_decode import batch_decode
from mediaref_ursa._core.array_types import Int64Array
from mediaref_ursa._core.errors import MediaRefError
from mediaref_ursa._decode.linear_decode import Wanted, check_frames
from mediaref_ursa._references.media_ref import MediaRef
from mediaref_ursa._video.source import open_source

if TYPE_CHECKING:
    from mediaref_ursa._batch.options import BatchOptions
    from mediaref_ursa._references.columns import ReferenceColumns


def wrong_pixels(
    columns: ReferenceColumns, slots: Int64Array, options: BatchOptions, rule: tuple[Any, int]
) -> dict[int, str]:
    """Return the difference of each reference whose frame is not that of a linear decode, by its slot.

    A file is decoded from its first packet on, once for all of its references.

    Args:
        columns: The references.
        slots: Which of them.
        options: By which they are read.
        rule: The rule by which times name frames, and its tolerance in nanoseconds.
    """
    wrong: dict[int, str] = {}
    for uri in dict.fromkeys(columns.uris[slot] for slot in slots.tolist()):
        its = [slot for slot in slots.tolist() if columns.uris[slot] == uri]
        try:
            wrong |= _wrong_of(uri, its, columns, options, rule)
        except MediaRefError as error:
            wrong |= dict.fromkeys(its, str(error))
    return wrong


def _wrong_of(
    uri: str, slots: list[int], columns: ReferenceColumns, options: BatchOptions, rule: tuple[Any, int]
) -> dict[int, str]:
    location = options.location(uri).permitted_video()
    sequence = open_source(location).sequence
    refs = [MediaRef(uri, int(columns.pts_ns[slot])) for slot in slots]
    segment, frame = sequence.resolve(columns.pts_ns[slots], rule[1], rule[0])
    wanted = []
    for slot, ref, part, number in zip(slots, refs, segment.tolist(), frame.tolist(), strict=True):
        table = sequence.tables[part]
        wanted.append(Wanted(str(slot), ref, table.info.uri, int(table.pts_ns[number])))
    frames = batch_decode(
        refs,
        match=rule[0],
        tolerance_ns=rule[1],
        store=options.store,
        storage_options=options.storage_options,
        access=options.access,
        on_error="none",
    )
    wrong = {slots[position]: str(error) for position, error in frames.errors.items()}
    good = [(one, frame) for one, frame in zip(wanted, frames, strict=True) if frame is not None]
    store = location.absolute().open_store()
    found = check_frames([one for one, _ in good], [frame for _, frame in good], store=store)
    return {**wrong, **{int(one.wanted.label): one.reason for one in found.wrong}}

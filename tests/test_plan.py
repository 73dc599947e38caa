"""Plans of small, hand-made streams: which packets are fed, who gets the frames, what the plan says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from _tables import PACKET_BYTES, packet_table, segment_table

from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.runs import BatchDecodingStrategy, Run, plan_runs

BLOCKS = BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK
SEPARATE = BatchDecodingStrategy.SEPARATE
SEQUENTIAL = BatchDecodingStrategy.SEQUENTIAL


def two_groups(**info: object) -> SegmentTable:
    """Ten frames in decode order, random access points at 0 and 5, odd packets needed by nobody."""
    starts = [0] * 5 + [5] * 5
    packets = packet_table(10, is_reference=[1, 0, 1, 0, 1, 1, 0, 1, 0, 1])
    return segment_table(range(10), start=starts, packets=packets, **info)


def open_group() -> SegmentTable:
    """I0 P1 P2 | I3, two leading pictures of it (packets 4 and 5), P6: shown as 0 1 2 4 5 3 6."""
    return segment_table(range(7), packet=[0, 1, 2, 4, 5, 3, 6], start=[0, 0, 0, 0, 0, 3, 3])


def plan(
    table: SegmentTable | Sequence[SegmentTable],
    frames: Sequence[int],
    strategy: BatchDecodingStrategy = BLOCKS,
    segment: Sequence[int] | None = None,
) -> tuple[Run, ...]:
    tables = [table] if isinstance(table, SegmentTable) else list(table)
    numbers = [0] * len(frames) if segment is None else segment
    columns = (np.array(values, dtype=np.int64) for values in (numbers, frames, range(len(frames))))
    return plan_runs(tables, *columns, strategy)


def fed(runs: Sequence[Run]) -> list[list[int]]:
    return [run.packets.tolist() for run in runs]


def test_one_frame_takes_the_references_before_it_and_itself() -> None:
    assert fed(plan(two_groups(), [3])) == [[0, 2, 3]]
    assert fed(plan(two_groups(), [5])) == [[5]]
    assert fed(plan(two_groups(), [8])) == [[5, 7, 8]]


def test_packets_of_which_it_is_not_known_are_fed() -> None:
    table = segment_table(range(4), packets=packet_table(4, is_reference=[1, -1, 0, 0]))

    assert fed(plan(table, [3])) == [[0, 1, 3]]


def test_hidden_packets_are_fed_if_others_need_them() -> None:
    table = segment_table([0, 1], packet=[0, 3], packets=packet_table(4, is_reference=[1, 1, 0, 0]))

    assert fed(plan(table, [1])) == [[0, 1, 3]]


def test_strategies_cut_runs_differently() -> None:
    table = two_groups()

    assert fed(plan(table, [1, 3, 6], SEPARATE)) == [[0, 1], [0, 2, 3], [5, 6]]
    assert fed(plan(table, [1, 3, 6], BLOCKS)) == [[0, 1, 2, 3], [5, 6]]
    assert fed(plan(table, [1, 3, 6], SEQUENTIAL)) == [[0, 1, 2, 3, 4, 5, 6]]


def test_a_leading_picture_is_decoded_from_the_group_before() -> None:
    assert fed(plan(open_group(), [3])) == [[0, 1, 2, 3, 4]]
    assert fed(plan(open_group(), [5])) == [[3]]


def test_runs_that_would_overlap_are_joined() -> None:
    """Frame 5 could begin at packet 3, but the run of frame 4 passes through there anyway."""
    runs = plan(open_group(), [5, 4])

    assert fed(runs) == [[0, 1, 2, 3, 4, 5]]
    assert runs[0].targets.tolist() == [3, 5]
    assert runs[0].frames.tolist() == [5, 4]


def test_runs_that_do_not_overlap_are_not_joined() -> None:
    assert fed(plan(open_group(), [2, 5])) == [[0, 1, 2], [3]]


@pytest.mark.parametrize("strategy", BatchDecodingStrategy)
def test_a_frame_asked_for_twice_is_decoded_once(strategy: BatchDecodingStrategy) -> None:
    runs = plan(two_groups(), [3, 8, 3, 3], strategy)

    targets = [
        (int(target), run.slots_of(i).tolist()) for run in runs for i, target in enumerate(run.targets)
    ]
    assert targets == [(3, [0, 2, 3]), (8, [1])]


def test_segments_are_planned_apart_in_their_order() -> None:
    tables = [two_groups(), open_group()]

    runs = plan(tables, [6, 1, 5, 0], segment=[1, 0, 1, 0])

    assert [run.segment for run in runs] == [0, 1]
    assert fed(runs) == [[0, 1], [3, 4, 5, 6]]
    assert [run.slots.tolist() for run in runs] == [[3, 1], [2, 0]]


def test_a_segment_of_which_nothing_is_wanted_has_no_run() -> None:
    runs = plan([two_groups(), open_group(), two_groups()], [0, 0], segment=[2, 0])

    assert [run.segment for run in runs] == [0, 2]


@pytest.mark.parametrize("strategy", BatchDecodingStrategy)
def test_nothing_wanted_is_no_run(strategy: BatchDecodingStrategy) -> None:
    assert plan(two_groups(), [], strategy) == ()


def test_frames_that_need_packets_after_their_own_get_them() -> None:
    table = two_groups(lookahead_packets=3)

    assert fed(plan(table, [1])) == [[0, 1, 2, 4]]
    assert fed(plan(table, [9])) == [[5, 7, 9]]


def test_intra_only_video_feeds_just_the_frames_wanted() -> None:
    table = segment_table(range(5), start=range(5), packets=packet_table(5, is_reference=[0] * 5))

    for strategy in (BLOCKS, SEPARATE):
        assert fed(plan(table, [1, 3], strategy)) == [[1], [3]]
    assert fed(plan(table, [1, 3], SEQUENTIAL)) == [[1, 3]]


def test_the_packet_that_a_run_starts_from_is_fed_even_if_no_picture_refers_to_it() -> None:
    """A recovery point may be a picture that nobody refers to; its parameter sets are still needed."""
    table = segment_table(range(3), packets=packet_table(3, is_reference=[0, 1, 1]))

    assert fed(plan(table, [2])) == [[0, 1, 2]]


def decode_plan(tables: Sequence[SegmentTable], runs: tuple[Run, ...], images: int = 0) -> DecodePlan:
    wanted = sum(len(run.slots) for run in runs)
    return DecodePlan(tuple(tables), runs, wanted + images, images, BLOCKS)


def test_a_plan_counts_what_it_will_do() -> None:
    table = two_groups()

    decoding = decode_plan([table], plan(table, [1, 3, 3, 6]), images=2)

    assert (decoding.frames, decoding.packets, decoding.bytes) == (3, 6, 6 * PACKET_BYTES)
    assert decoding.run_bytes(decoding.runs[0]) == 4 * PACKET_BYTES


def test_explain_names_the_totals_and_each_run() -> None:
    table = two_groups(uri="https://user:secret@host/a.mp4?sig=secret")

    text = decode_plan([table], plan(table, [1, 3, 3, 6]), images=2).explain()

    assert "6 references: 4 to video frames, 2 to images" in text
    assert "3 frames of 1 segment, 2 runs, sequential_per_keyframe_block" in text
    assert "6 packets (2.0 a frame), 600 bytes" in text
    assert "https://host/a.mp4: h264, 10 frames" in text
    assert "run from packet 0: 2 frames, 4 packets, 400 bytes" in text
    assert "run from packet 5: 1 frame, 2 packets, 200 bytes" in text
    assert "secret" not in text


def test_a_plan_prints_itself() -> None:
    table = two_groups()
    decoding = decode_plan([table], plan(table, [1, 3, 3, 6]), images=2)

    assert str(decoding) == decoding.explain()
    assert repr(decoding) == "<DecodePlan 6 references, 3 frames, 2 runs, 6 packets, 600 bytes>"


def test_explain_of_local_files_promises_no_request() -> None:
    local, far = two_groups(uri="/data/a.mp4"), two_groups(uri="https://host/b.mp4")
    one = plan(local, [1])

    assert "1 range of local files, 200 bytes" in decode_plan([local], one).explain()
    assert "request" not in decode_plan([local], one).explain()
    assert decode_plan([local], one).requests == 0
    assert "1 request, 200 bytes" in decode_plan([far], one).explain()
    assert "range" not in decode_plan([far], one).explain()
    assert decode_plan([far], one).requests == 1


def test_explain_of_an_empty_plan() -> None:
    assert "0 packets (0 a frame), 0 bytes" in decode_plan([], ()).explain()


def test_explain_of_very_many_runs_stays_short() -> None:
    table = segment_table(range(1000), start=range(1000))

    text = decode_plan([table], plan(table, range(1000))).explain()

    assert "1000 runs" in text
    assert len(text.splitlines()) < 50


def test_plans_and_runs_are_frozen() -> None:
    decoding = decode_plan([two_groups()], plan(two_groups(), [1]))

    with pytest.raises(FrozenInstanceError):
        decoding.images = 3  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        decoding.runs[0].segment = 3  # type: ignore[misc]


def test_the_strategies_are_told_by_their_value() -> None:
    assert BatchDecodingStrategy("separate") is SEPARATE
    assert BatchDecodingStrategy("sequential") is SEQUENTIAL
    assert BatchDecodingStrategy("sequential_per_keyframe_block") is BLOCKS

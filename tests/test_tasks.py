"""Joining runs that one decoder goes through without a stop, and runs that go on from where a decoder is."""

from __future__ import annotations

import numpy as np
import pytest
from _tables import PATIENT, packet_table, requests, segment_table, streams
from hypothesis import given
from hypothesis import strategies as st

from mediaref_ursa._model.segment import SegmentTable
from mediaref_ursa._plan.runs import BatchDecodingStrategy, Run, plan_runs
from mediaref_ursa._plan.tasks import DecodeTask, join_tasks

EVERYTHING = 10**9


def groups_of_two() -> SegmentTable:
    """Eight frames in decode order, a random access point at every second, the others needed by nobody."""
    packets = packet_table(8, is_reference=[1, 0] * 4)
    return segment_table(range(8), start=[0, 0, 2, 2, 4, 4, 6, 6], packets=packets)


def runs_of(
    table: SegmentTable, frames: list[int], strategy: str = "sequential_per_keyframe_block"
) -> list[Run]:
    columns = (np.array(values, dtype=np.int64) for values in ([0] * len(frames), frames, range(len(frames))))
    return list(plan_runs([table], *columns, BatchDecodingStrategy(strategy)))


def joined(table: SegmentTable, tasks: list[DecodeTask], max_packets: int = EVERYTHING) -> list[list[int]]:
    return [task.run.packets.tolist() for task in join_tasks(tasks, [table], max_packets)]


def test_neighbours_are_joined_and_others_are_not() -> None:
    table = groups_of_two()
    assert joined(table, [DecodeTask(run) for run in runs_of(table, [0, 1, 2, 3, 6])]) == [[0, 1, 2, 3], [6]]


def test_packets_that_nobody_needs_may_lie_between() -> None:
    table = groups_of_two()
    assert joined(table, [DecodeTask(run) for run in runs_of(table, [0, 2, 4])]) == [[0, 2, 4]]


def test_a_reference_between_keeps_them_apart() -> None:
    table = segment_table(range(6), start=[0, 0, 0, 3, 3, 3])
    assert joined(table, [DecodeTask(run) for run in runs_of(table, [1, 4])]) == [[0, 1], [3, 4]]


def test_joined_steps_have_so_many_packets_at_most() -> None:
    table = groups_of_two()
    tasks = [DecodeTask(run) for run in runs_of(table, list(range(8)))]
    assert joined(table, tasks, 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert joined(table, tasks, 3) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_steps_that_go_on_or_stay_are_ends_of_what_is_joined() -> None:
    table = groups_of_two()
    first, second, third, fourth = runs_of(table, list(range(8)))
    tasks = [
        DecodeTask(first, resumes=True),
        DecodeTask(second, stays=True),
        DecodeTask(third),
        DecodeTask(fourth, resumes=True),
    ]
    found = join_tasks(tasks, [table], EVERYTHING)
    assert [task.run.packets.tolist() for task in found] == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert [(task.resumes, task.stays) for task in found] == [(True, True), (False, False), (True, False)]


def test_segments_are_not_joined() -> None:
    table = groups_of_two()
    first, second = runs_of(table, [0, 2])
    other = Run(1, second.packets, second.targets, second.frames, second.slots, second.slot_ends)
    assert len(join_tasks([DecodeTask(first), DecodeTask(other)], [table, table], EVERYTHING)) == 2


@PATIENT
@given(data=st.data(), most=st.integers(1, 60))
def test_joining_loses_and_repeats_nothing(data: st.DataObject, most: int) -> None:
    table = data.draw(streams()).table
    frames = data.draw(requests(len(table)))
    runs = runs_of(table, frames)
    found = join_tasks([DecodeTask(run) for run in runs], [table], most)
    for name in ("packets", "targets", "frames", "slots"):
        parts = (
            [np.concatenate([getattr(run, name) for run in many]) for many in (runs, [s.run for s in found])]
            if runs
            else []
        )
        assert not parts or np.array_equal(*parts), name
    places = [
        (int(run.targets[i]), run.slots_of(i).tolist()) for run in runs for i in range(len(run.targets))
    ]
    again = [
        (int(task.run.targets[i]), task.run.slots_of(i).tolist())
        for task in found
        for i in range(len(task.run.targets))
    ]
    assert places == again
    for task in found:
        packets = task.run.packets
        assert (np.diff(packets) > 0).all()
        between = np.setdiff1d(np.arange(packets[0], packets[-1] + 1), packets)
        assert not table.packets.is_reference[between].any()


@PATIENT
@given(data=st.data())
def test_a_run_that_goes_on_is_fed_what_follows(data: st.DataObject) -> None:
    table = data.draw(streams()).table
    frames = data.draw(requests(len(table)))
    for run in runs_of(table, frames):
        position = data.draw(st.integers(max(0, int(run.packets[0]) - 1), int(run.packets[-1])))
        after = run.after(position, table)
        assert after.packets.tolist() == [packet for packet in run.packets.tolist() if packet > position]
        more = after.with_more(3, position, table)
        last = max(int(run.targets[-1]), position)
        ahead = [packet for packet in range(last + 1, last + 4) if packet < len(table.packets)]
        assert more.packets.tolist() == after.packets.tolist() + ahead


def test_a_decoder_before_a_run_is_fed_the_references_between() -> None:
    table = segment_table(
        range(6), start=[0] * 3 + [3] * 3, packets=packet_table(6, is_reference=[1, 0, 1, 1, 0, 1])
    )
    (run,) = runs_of(table, [5])
    assert run.packets.tolist() == [3, 5]
    assert run.after(0, table).packets.tolist() == [2, 3, 5]


def test_packets_ahead_end_before_one_that_is_damaged() -> None:
    damaged = np.array([False] * 4 + [True] + [False])
    table = segment_table(range(6), packets=packet_table(6, is_corrupt=damaged))
    (run,) = runs_of(table, [1])
    assert run.with_more(4, -1, table).packets.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_many_runs_are_planned_as_each_alone_is(count: int) -> None:
    table = groups_of_two()
    frames = [1, 3, 6][:count]
    alone = [runs_of(table, [frame])[0] for frame in frames]
    for one, of_many in zip(alone, runs_of(table, frames), strict=True):
        assert one.packets.tolist() == of_many.packets.tolist()

"""Plans against a naive model of what a decoder needs. No video is opened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from _tables import PACKET_BYTES, PATIENT, FakeStream, requests, streams
from hypothesis import assume, given
from hypothesis import strategies as st

from mediaref_ursa._core.wording import counted
from mediaref_ursa._plan.decode_plan import DecodePlan
from mediaref_ursa._plan.runs import BatchDecodingStrategy, Run, plan_runs

BLOCKS = BatchDecodingStrategy.SEQUENTIAL_PER_KEYFRAME_BLOCK
strategies = st.sampled_from(BatchDecodingStrategy)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[FakeStream], list[int], list[int]]:
    """Segments, and for each place of the output the segment and the frame wanted there."""
    lookahead = draw(st.sampled_from([0, 0, 0, 2]))
    segments = draw(st.lists(streams(lookahead_packets=lookahead), min_size=1, max_size=3))
    wanted = [
        (number, frame)
        for number, stream in enumerate(segments)
        for frame in draw(requests(len(stream.table)))
    ]
    wanted = draw(st.permutations(wanted))
    return segments, [number for number, _ in wanted], [frame for _, frame in wanted]


Batch = tuple[list[FakeStream], list[int], list[int]]


def plan(
    batch: Batch, strategy: BatchDecodingStrategy, slots: Sequence[int] | None = None
) -> tuple[Run, ...]:
    streams_, segment, frame = batch
    places = range(len(frame)) if slots is None else slots
    columns = (np.array(values, dtype=np.int64) for values in (segment, frame, places))
    return plan_runs([stream.table for stream in streams_], *columns, strategy)


@PATIENT
@given(batches(), strategies)
def test_every_frame_wanted_comes_out_exact(batch: Batch, strategy: BatchDecodingStrategy) -> None:
    """A decoder that has only the packets of the run has all that its targets need."""
    for run in plan(batch, strategy):
        exact = batch[0][run.segment].exact_after(run.packets.tolist())
        assert set(run.targets.tolist()) <= exact


@PATIENT
@given(batches(), strategies)
def test_a_run_feeds_what_is_needed_and_nothing_else(batch: Batch, strategy: BatchDecodingStrategy) -> None:
    """Its start, each reference from there to the last target, all targets; nothing later but lookahead."""
    for run in plan(batch, strategy):
        table = batch[0][run.segment].table
        packets, targets = run.packets.tolist(), run.targets.tolist()
        first = min(int(table.start[frame]) for frame in run.frames)
        last = min(max(targets) + table.info.lookahead_packets, len(table.packets) - 1)
        needed = {
            number
            for number in range(first, last + 1)
            if table.packets.is_reference[number] != 0 or number in targets
        }
        assert packets == sorted(needed)
        assert packets[0] == first


@PATIENT
@given(batches(), strategies, st.randoms(use_true_random=False))
def test_every_slot_gets_its_frame_once(batch: Batch, strategy: BatchDecodingStrategy, random) -> None:
    _, segment, frame = batch
    slots = random.sample(range(1000), len(frame))

    runs = plan(batch, strategy, slots)

    filled = [
        (int(slot), run.segment, int(run.frames[i]))
        for run in runs
        for i in range(len(run.targets))
        for slot in run.slots_of(i)
    ]
    assert sorted(filled) == sorted(zip(slots, segment, frame, strict=True))


@PATIENT
@given(batches(), strategies)
def test_targets_are_the_frames_packets_each_once_and_ascending(
    batch: Batch, strategy: BatchDecodingStrategy
) -> None:
    streams_, segment, frame = batch
    runs = plan(batch, strategy)

    for run in runs:
        table = streams_[run.segment].table
        assert run.targets.tolist() == table.packet[run.frames].tolist()
        assert (np.diff(run.targets) > 0).all()
        assert (np.diff(run.packets) > 0).all()
        assert (np.diff(run.slot_ends, prepend=0) > 0).all()
    decoded = [(run.segment, int(number)) for run in runs for number in run.frames]
    assert sorted(decoded) == sorted(set(zip(segment, frame, strict=True)))


@PATIENT
@given(batches())
def test_the_default_strategy_feeds_no_packet_twice(batch: Batch) -> None:
    """Runs whose packets would overlap are one run; what a lookahead adds is the exception."""
    assume(not batch[0][0].table.info.lookahead_packets)
    fed = [(run.segment, int(packet)) for run in plan(batch, BLOCKS) for packet in run.packets]

    assert len(fed) == len(set(fed))


@PATIENT
@given(batches())
def test_the_default_strategy_joins_runs_only_where_they_overlap(batch: Batch) -> None:
    """A run cannot be cut in two anywhere without feeding a packet of its first part again."""
    for run in plan(batch, BLOCKS):
        start = batch[0][run.segment].table.start[run.frames].tolist()
        targets = run.targets.tolist()
        for cut in range(1, len(targets)):
            assert min(start[cut:]) <= targets[cut - 1]


@PATIENT
@given(batches())
def test_the_default_strategy_is_never_more_work_than_the_others(batch: Batch) -> None:
    assume(not batch[0][0].table.info.lookahead_packets)
    work = {
        strategy: sum(len(run.packets) for run in plan(batch, strategy)) for strategy in BatchDecodingStrategy
    }

    assert work[BLOCKS] == min(work.values())


@PATIENT
@given(batches(), strategies, st.integers(0, 3))
def test_explain_mentions_the_totals(batch: Batch, strategy: BatchDecodingStrategy, images: int) -> None:
    tables = tuple(stream.table for stream in batch[0])
    runs = plan(batch, strategy)
    decoding = DecodePlan(tables, runs, len(batch[1]) + images, images, strategy)

    text = decoding.explain()

    packets = sum(len(run.packets) for run in runs)
    assert (decoding.packets, decoding.bytes) == (packets, packets * PACKET_BYTES)
    for total in (
        counted(len(batch[1]) + images, "reference"),
        counted(len(set(zip(batch[1], batch[2], strict=True))), "frame"),
        counted(len(runs), "run"),
        counted(packets, "packet"),
        f"{decoding.bytes} bytes",
        strategy.value,
    ):
        assert total in text

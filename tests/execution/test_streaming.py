"""Streaming: rows are reconstructed as soon as they are complete, once, and in the same chunks."""

import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit.library import real_amplitudes

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.execution import batching
from pilotcut.execution.streaming import MOST_CHUNKS, BatchTimes, complete_chunks, idle
from pilotcut.pilots.description import embedded

ROWS = 32


@st.composite
def pieces_of_some_fragments(draw):
    """Rows of 1 to 3 fragments, each cut evenly into pieces, some of them several times."""
    rows = draw(st.integers(1, 40))
    pieces = []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(1, rows))
        edges = [rows * k // count for k in range(count + 1)]
        ends = list(pairwise(edges))
        pieces += [slice(*e) for e in ends for _ in range(draw(st.integers(1, 3)))]
    return rows, pieces, draw(st.permutations(range(len(pieces))))


@given(pieces_of_some_fragments())
def test_every_row_is_handed_on_once_and_only_when_complete(case):
    rows, pieces, order = case
    missing = [sum(p.start <= row < p.stop for p in pieces) for row in range(rows)]

    def done():
        for number in order:
            piece = pieces[number]
            for row in range(piece.start, piece.stop):
                missing[row] -= 1
            yield piece, idle

    handed = []
    for chunk, _ in complete_chunks(pieces, rows, done()):
        assert not any(missing[chunk])
        handed.append(chunk)
    handed.sort(key=lambda chunk: chunk.start)
    assert [row for chunk in handed for row in range(rows)[chunk]] == list(range(rows))
    assert len(handed) <= MOST_CHUNKS
    again = [chunk for chunk, _ in complete_chunks(pieces, rows, ((p, idle) for p in pieces))]
    assert sorted(again, key=lambda chunk: chunk.start) == handed


def test_rows_without_pieces_are_handed_on_at_the_beginning():
    assert list(complete_chunks([], 7, ())) == [(slice(0, 7), idle)]


def test_what_is_hidden_is_told_from_what_is_waited_for():
    times = BatchTimes()
    pieces = [slice(0, 1), slice(1, 2)]
    done = zip(pieces, [lambda: True, lambda: False], strict=True)
    for _, busy in complete_chunks(pieces, 2, done):
        times.streamed(0.02, busy)
    assert (times.stream_s, times.hidden_s) == (0.04, 0.02)


class Gate:
    """A policy that holds back the last task until the rest of the batch is reconstructed."""

    def __init__(self):
        self.opened = threading.Event()

    def __call__(self, ready, pilots, now):
        some = ready if self.opened.is_set() else list(ready)[: max(0, len(ready) - 1)]
        free = [pilot.name for pilot in pilots for _ in range(pilot.free)]
        return [(task.id, name) for task, name in zip(some, free, strict=False)]


@pytest.mark.parametrize("mode", ["sampled", "counts"])
def test_complete_rows_are_contracted_while_the_last_bundle_has_not_even_begun(mode, monkeypatch):
    monkeypatch.setattr(batching, "TARGET_S", 0.02)
    circuit = real_amplitudes(4, entanglement="linear", reps=1)
    values = np.linspace(0, 1, ROWS * circuit.num_parameters).reshape(ROWS, -1)
    gate = Gate()
    contracted = []

    from pilotcut.execution.results import Contracting

    add = Contracting.add

    def add_and_open(self, rows, tensors):
        add(self, rows, tensors)
        contracted.append(rows)
        assert len(contracted) == 1 or gate.opened.is_set()
        gate.opened.set()

    monkeypatch.setattr(Contracting, "add", add_and_open)
    with (
        PilotManager(embedded(2)) as pilots,
        TaskManager(pilots, policy=gate) as tasks,
    ):
        estimator = CutEstimator(tasks, labels="ABCD", mode=mode, seed=3)
        gated = estimator.run([(circuit, "ZZZZ", values)]).result()[0].data
    assert len(contracted) > 1
    (batch,) = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
    assert batch["hidden_s"] > 0
    assert 0 <= batch["waits_s"] < batch["wall_s"]
    here = CutEstimator(labels="ABCD", mode=mode, seed=3).run([(circuit, "ZZZZ", values)])
    np.testing.assert_array_equal(here.result()[0].data.evs, gated.evs)
    np.testing.assert_array_equal(here.result()[0].data.stds, gated.stds)

"""Long calls: said once before they start, with what is quicker; refused beyond the limit."""

import io
import itertools
import math
import warnings

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutEstimator, CutGradient, Distribution, UserError, compile_plan
from pilotcut.errors import LongCallWarning
from pilotcut.execution import long_calls
from pilotcut.execution.duration import seconds_of
from pilotcut.execution.progress import shown
from pilotcut.execution.work_units import Request


def crossed(cuts, halves=4):
    """Return two halves with `cuts` free RZZ between them, each on two qubits of its own."""
    angles = ParameterVector("x", 2 * halves + cuts)
    circuit = QuantumCircuit(2 * halves)
    for qubit in range(2 * halves):
        circuit.ry(angles[qubit], qubit)
    for k in range(cuts):
        circuit.rzz(angles[2 * halves + k], k % halves, halves + (k + k // halves) % halves)
    return circuit


def requests(plan, rows=1, shots=1024):
    slots = np.zeros((rows, plan.program.num_slots))
    return [Request(f, f.angle_values(slots), shots) for f in plan.fragments]


@pytest.fixture
def noted(monkeypatch):
    """Everything above a millisecond is long."""
    monkeypatch.setattr(long_calls, "NOTE_S", 1e-3)


def test_eight_cuts_take_long_with_shots_and_not_without():
    plan = compile_plan(crossed(8), labels="AAAABBBB")
    counts, sampled = (seconds_of(requests(plan), mode) for mode in ("counts", "sampled"))
    assert counts > 100
    assert sampled > 100  # of 20,000 units, each with tensors of 4^8 branch pairs
    assert seconds_of(requests(plan, shots=0), "exact") < 2


@pytest.mark.parametrize("mode", ["counts", "sampled", "exact"])
def test_joint_cuts_are_forecast_in_every_mode(mode):
    plan = compile_plan(crossed(4), labels="AAAABBBB", joint_cuts=True)
    assert seconds_of(requests(plan, 2000), mode) > 1e-3


@pytest.mark.parametrize("mode", ["counts", "sampled", "exact"])
def test_rows_make_a_call_longer_in_proportion(mode):
    plan = compile_plan(crossed(3), labels="AAAABBBB")
    shots = 0 if mode == "exact" else 256
    few, many = (seconds_of(requests(plan, rows, shots), mode) for rows in (4000, 16_000))
    assert 3 < many / few < 5


def test_a_long_call_is_said_once_with_how_long_why_and_what_is_quicker(noted):
    estimator = CutEstimator(labels="AAAABBBB", shots=16, seed=1)
    circuit = crossed(2)
    pub = (circuit, "Z" * 8, np.zeros(circuit.num_parameters))
    with pytest.warns(LongCallWarning) as said:
        estimator.run([pub]).result()
    (one,) = said
    text = str(one.message)
    assert text.startswith("a batch of values is predicted to take ")
    assert "25 variants of 4 qubits in mode 'counts', for 1 parameter set; " in text
    assert "mode='exact' would take less than a second" in text
    assert "\n" not in text
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator.run([pub]).result()


def test_a_better_plan_is_named_where_one_is_found_quickly(noted):
    circuit = crossed(4)  # a qubit of one half and its partner of the other belong together
    estimator = CutEstimator(labels="AAAABBBB", shots=16, seed=1)
    contraction = estimator.compile_for(circuit, "Z" * 8)
    with pytest.warns(LongCallWarning, match="the plan of max_width=4 would take less than"):
        estimator.runner.expect_batch(contraction, np.zeros((1, circuit.num_parameters)))


def test_usual_calls_say_nothing():
    circuit = crossed(2)
    estimator = CutEstimator(labels="AAAABBBB", shots=64, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LongCallWarning)
        estimator.run([(circuit, "Z" * 8, np.zeros((4, circuit.num_parameters)))]).result()


def test_beyond_the_limit_a_call_is_refused_before_anything_runs():
    circuit = crossed(8)
    estimator = CutEstimator(labels="AAAABBBB", mode="sampled", max_seconds=30)
    with pytest.raises(UserError, match=r"mode='exact' would take .* \(max_seconds\)") as told:
        estimator.run([(circuit, "Z" * 8, np.zeros(circuit.num_parameters))])
    assert "expected at most 30 s" in str(told.value)
    assert "\n" not in str(told.value)
    assert estimator.stages.queries == 0


def test_states_that_are_beyond_floats_are_refused_in_a_line():
    circuit = QuantumCircuit(1100)
    circuit.h(0)
    for qubit in range(1099):
        circuit.cx(qubit, qubit + 1)
    with pytest.raises(UserError, match="predicted to take years: fragment A has 1 branches"):
        CutEstimator(mode="exact").run([(circuit, "Z" * 1100)])


def test_a_refusal_says_in_numbers_what_is_alike_in_words():
    estimator = CutEstimator(labels="AAAABBBB", mode="sampled", max_seconds=1e-9)
    circuit = crossed(1)
    with pytest.raises(UserError, match=r"that is 0\.0\d+ s, expected at most 1e-09 s") as told:
        estimator.run([(circuit, "Z" * 8, np.zeros(circuit.num_parameters))])
    assert "\n" not in str(told.value)


def test_derivatives_are_refused_where_their_shifts_take_too_long(monkeypatch):
    circuit = crossed(1)
    estimator = CutEstimator(labels="AAAABBBB", shots=64, max_seconds=math.inf, seed=1)
    monkeypatch.setattr(estimator.runner._long_calls, "_max_seconds", 0.03)
    gradient = CutGradient(estimator)
    values = np.zeros((1, circuit.num_parameters)).tolist()
    with pytest.raises(UserError, match="a batch of derivatives is predicted"):
        gradient.run([circuit], [SparsePauliOp("Z" * 8)], values).result()


def test_a_distribution_is_refused_too():
    circuit = crossed(8)
    plan = compile_plan(circuit, labels="AAAABBBB")
    with pytest.raises(UserError, match="a distribution is predicted to take"):
        Distribution(plan, np.zeros(circuit.num_parameters), mode="sampled", max_seconds=30)


@pytest.mark.parametrize("wrong", [0, -1, "an hour", math.nan, None])
def test_a_limit_that_is_none_is_refused(wrong):
    with pytest.raises(UserError, match=r"max_seconds is .* expected seconds above 0"):
        CutEstimator(max_seconds=wrong)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_shown_of_what_runs_long_and_taken_away_at_the_end():
    terminal, clock = Terminal(), itertools.count(step=10)
    found = list(shown(iter(range(8)), 8, terminal, lambda: float(next(clock))))
    assert found == list(range(8))
    lines = terminal.getvalue().split("\r")
    assert lines[1].startswith("1 of 8 parts, 70 s left")
    assert lines[-1].strip() == "\x1b[K"


def test_progress_of_short_calls_and_into_files_shows_nothing():
    terminal, clock = Terminal(), itertools.count()
    assert list(shown(iter(range(8)), 8, terminal, lambda: float(next(clock)))) == list(range(8))
    file, clock = io.StringIO(), itertools.count(step=10)
    assert list(shown(iter(range(8)), 8, file, lambda: float(next(clock)))) == list(range(8))
    assert terminal.getvalue() + file.getvalue() == ""

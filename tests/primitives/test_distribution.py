"""Distributions of cut circuits: probabilities, marginals, peaks and samples, in three modes."""

import tracemalloc

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import Statevector
from qiskit_addon_cutting.instructions import CutWire, Move
from support.circuits import brick, ghz
from support.exact import state_of_uncut

from pilotcut import (
    Distribution,
    UserError,
    compile_plan,
    most_probable,
    reconstruct_probabilities,
    sample,
)
from pilotcut.backends import sampled as sampled_backend
from pilotcut.reconstruction import open_network as network


def distance(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation distance."""
    return float(np.abs(p - q).sum() / 2)


def bernstein_vazirani(secret: str, block: int) -> QuantumCircuit:
    """The last qubit asks; its wire is cut after every `block` others. It ends in 1."""
    last = len(secret)
    circuit = QuantumCircuit(last + 1)
    circuit.x(last)
    circuit.h(range(last + 1))
    for qubit, bit in enumerate(reversed(secret)):
        if qubit and qubit % block == 0:
            circuit.append(CutWire(), [last])
        if bit == "1":
            circuit.cx(qubit, last)
    circuit.h(range(last + 1))
    return circuit


# -- all outcomes, exactly -------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_gate_cuts_change_nothing(seed):
    qubits = 3 + seed
    circuit = brick(qubits, 2 if qubits > 5 else 3, seed)
    labels = "".join("ABC"[3 * q // qubits] for q in range(qubits))
    exact = Statevector(circuit).probabilities()
    found = reconstruct_probabilities(compile_plan(circuit, labels=labels))
    assert found.shape == exact.shape
    assert distance(found, exact) < 1e-10


@pytest.mark.parametrize("seed", range(4))
def test_wire_cuts_change_nothing(seed):
    circuit = brick(4 + seed, 2, seed, cut=1 + seed)
    plan = compile_plan(circuit)
    assert plan.num_cuts == 1
    assert (
        distance(reconstruct_probabilities(plan), state_of_uncut(circuit).probabilities()) < 1e-10
    )


def test_moves_change_nothing_and_leave_their_source_in_zero():
    circuit, whole = QuantumCircuit(4), QuantumCircuit(4)
    for one in (circuit, whole):
        one.ry(0.7, 0)
        one.cx(0, 1)
        one.append(Move(), [1, 2]) if one is circuit else one.swap(1, 2)
        one.crx(1.1, 2, 3)
        one.h(2)
    plan = compile_plan(circuit, "IIIZ", labels="AABB")
    assert distance(reconstruct_probabilities(plan), Statevector(whole).probabilities()) < 1e-10


def test_parameters_are_bound_in_order_or_by_name():
    theta = ParameterVector("t", 3)
    circuit = QuantumCircuit(3)
    circuit.ry(theta[0], 0)
    circuit.rzz(2 * theta[1] + 0.3, 0, 1)
    circuit.rx(theta[0] * theta[2], [0, 1, 2])
    circuit.crx(theta[2], 1, 2)
    plan = compile_plan(circuit, "ZZZ", labels="ABA")
    values = [0.4, -1.3, 2.2]
    exact = Statevector(circuit.assign_parameters(values)).probabilities()
    named = dict(zip(theta, values, strict=True))
    for given in (values, np.array(values), named, {p.name: v for p, v in named.items()}):
        assert distance(reconstruct_probabilities(plan, given), exact) < 1e-10


def test_a_circuit_in_one_piece_and_one_in_pieces_that_never_meet():
    circuit = brick(4, 2, 0)
    exact = Statevector(circuit).probabilities()
    assert distance(reconstruct_probabilities(compile_plan(circuit)), exact) < 1e-10
    apart = QuantumCircuit(5)  # qubit 4 is idle
    apart.ry(0.3, range(4))
    apart.cx(0, 1)
    apart.cx(2, 3)
    found = reconstruct_probabilities(compile_plan(apart, labels="AABBC"))
    assert distance(found, Statevector(apart).probabilities()) < 1e-10


@pytest.mark.parametrize("seed", range(4))
def test_marginals_of_any_qubits_in_any_order(seed):
    circuit = brick(6, 2, seed)
    distribution = Distribution(compile_plan(circuit, labels="AABBCC"))
    state, rng = Statevector(circuit), np.random.default_rng(seed)
    for size in (0, 1, 2, 3, 5):
        qubits = rng.permutation(6)[:size].tolist()
        exact = state.probabilities(qubits) if size else np.ones(1)
        assert distance(distribution.probabilities(qubits), exact) < 1e-10


def test_given_bits_select_joint_probabilities():
    circuit = brick(5, 2, 3)
    distribution = Distribution(compile_plan(circuit, labels="AABBB"))
    whole = Statevector(circuit).probabilities([4, 0, 2, 1]).reshape(2, 2, 2, 2)
    found = distribution.probabilities([4, 0], given={2: 1, 1: 0})
    assert np.allclose(found, whole[0, 1].reshape(-1), atol=1e-12)  # axes: qubits 1, 2, 0, 4
    assert np.allclose(
        distribution.probabilities(given={2: 1}).sum(), whole[:, 1].sum(), atol=1e-12
    )


# -- wide circuits -----------------------------------------------------------------------


def test_ghz_of_40_qubits_has_two_peaks_and_no_2_to_the_n_numbers():
    plan = compile_plan(ghz(40), labels="A" * 8 + "B" * 8 + "C" * 8 + "D" * 8 + "E" * 8)
    tracemalloc.start()
    peaks = most_probable(plan, count=5)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert set(peaks.probabilities) == {"0" * 40, "1" * 40}
    assert np.allclose(list(peaks.probabilities.values()), 0.5, atol=1e-10)
    assert peaks.proven
    assert peaks.unresolved == 0
    assert peak_bytes < 64 * 2**20
    counts = sample(plan, 2000, seed=1)
    assert set(counts) == {"0" * 40, "1" * 40}
    assert abs(counts["0" * 40] - 1000) < 5 * np.sqrt(500)
    pair = reconstruct_probabilities(plan, qubits=[39, 0])
    assert np.allclose(pair, [0.5, 0, 0, 0.5], atol=1e-10)


@pytest.mark.parametrize("mode", ["exact", "sampled", "counts"])
def test_bernstein_vazirani_of_36_qubits_returns_its_secret(mode, monkeypatch):
    monkeypatch.setattr(network, "MOST_ENTRIES", 2**16)  # nothing near 2^36 is ever asked for
    secret = "10110011100011110000101101110010011"
    plan = compile_plan(bernstein_vazirani(secret, 12))
    assert plan.num_qubits == 36
    assert plan.num_cuts == 2
    peaks = most_probable(plan, mode=mode, shots=400, seed=5)
    ((found, probability),) = peaks.probabilities.items()
    assert found == "1" + secret
    assert probability == pytest.approx(1, abs=1e-10 if mode == "exact" else 0.3)
    assert peaks.proven == (mode == "exact")
    only = most_probable(plan, mode=mode, shots=400, seed=5, qubits=[3, 35])
    assert list(only.probabilities) == ["1" + secret[-4]]
    assert sample(plan, 10, mode=mode, subexperiment_shots=400, seed=3).most_frequent() == found


def test_qubits_that_meet_nowhere_in_their_fragment_are_not_multiplied():
    circuit = QuantumCircuit(10)  # 9 sites on 9 wires: multiplied, 2^9 outcomes x 4^9 pairs
    circuit.h(range(10))
    for qubit in range(9):
        circuit.rzz(0.1 * qubit + 0.2, qubit, 9)
        circuit.rx(0.3, qubit)
    found = reconstruct_probabilities(compile_plan(circuit, labels="A" * 9 + "B"))
    assert distance(found, Statevector(circuit).probabilities()) < 1e-10


# -- mistakes ----------------------------------------------------------------------------


def plan_of_three():
    circuit = QuantumCircuit(3)
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    return compile_plan(circuit, labels="AAB")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: reconstruct_probabilities(QuantumCircuit(2)), "plan is a QuantumCircuit"),
        (lambda p: reconstruct_probabilities(p), "expected (batch, 1)"),
        (lambda p: reconstruct_probabilities(p, [0.1, 0.2]), "expected (batch, 1)"),
        (lambda p: reconstruct_probabilities(p, ["x"]), "expected 1 numbers"),
        (lambda p: reconstruct_probabilities(p, [np.nan]), "expected a finite number"),
        (lambda p: reconstruct_probabilities(p, {"b": 0.1}), "missing or unknown: a, b"),
        (lambda p: reconstruct_probabilities(p, [0.1], mode="quick"), "mode is 'quick'"),
        (lambda p: reconstruct_probabilities(p, [0.1], mode="counts", shots=0), "shots is 0"),
        (lambda p: reconstruct_probabilities(p, [0.1], seed=-1), "seed is -1"),
        (lambda p: reconstruct_probabilities(p, [0.1], mode="counts", backend="x"), "backend is"),
        (lambda p: reconstruct_probabilities(p, [0.1], qubits=[3]), "qubit is 3"),
        (lambda p: reconstruct_probabilities(p, [0.1], qubits=[1, 1]), "each qubit once"),
        (lambda p: Distribution(p, [0.1]).probabilities([0], given={0: 1}), "each qubit once"),
        (lambda p: Distribution(p, [0.1]).probabilities([0], given={1: 2}), "bit of qubit 1 is 2"),
        (lambda p: most_probable(p, [0.1], count=0), "count is 0"),
        (lambda p: Distribution(p, [0.1]).most_probable(resolve=40), "resolve is 40"),
        (lambda p: sample(p, 0, [0.1]), "shots is 0"),
        (lambda p: sample(p, 10, [0.1], qubits=[]), "qubits are empty"),
    ],
)
def test_mistakes_are_told_in_one_line(call, message):
    with pytest.raises(UserError) as caught:
        call(plan_of_three())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused_and_says_what_to_do(monkeypatch):
    distribution = Distribution(compile_plan(ghz(40), labels="A" * 20 + "B" * 20))
    with pytest.raises(UserError, match=r"2\^40 outcomes.*most_probable or sample"):
        distribution.probabilities()
    monkeypatch.setattr(network, "MOST_ENTRIES", 2**12)
    monkeypatch.setattr(sampled_backend, "MOST_PROBABILITIES", 2**12)
    wide = ghz(9)
    for qubit in range(4):
        wide.cz(qubit, 8)
    plan = compile_plan(wide, labels="A" * 8 + "B")
    with pytest.raises(UserError, match=r"fragment A has an outcome tensor.*smaller fragments"):
        reconstruct_probabilities(plan)
    with pytest.raises(UserError, match=r"an outcome distribution.*mode='counts' or 'exact'"):
        reconstruct_probabilities(plan, qubits=[0], mode="sampled", shots=10)


# -- values of vectors -----------------------------------------------------------------


@pytest.fixture(scope="module")
def vectors():
    """A circuit of twelve elements, whose names do not sort as they count, and one angle."""
    vector, angle = ParameterVector("v", 12), Parameter("a")
    circuit = QuantumCircuit(3)
    for k in range(12):
        circuit.ry((k % 3 + 1) * vector[k], k % 3)
    circuit.cx(0, 1)
    circuit.rx(angle, 1)
    circuit.cx(1, 2)
    return circuit, vector, angle


def test_a_vector_takes_its_values_as_qiskit_assigns_them(vectors):
    """By the vector, by its name, by its elements, in any mixture with single parameters."""
    circuit, vector, angle = vectors
    x = np.linspace(0, 1, 12)
    want = Statevector(circuit.assign_parameters({vector: x, angle: 0.3})).probabilities()
    plan = compile_plan(circuit, labels="AAB")
    for values in (
        {vector: x, angle: 0.3},
        {"v": list(x), "a": 0.3},
        {angle: 0.3, vector: tuple(x)},
        dict(zip(vector, x, strict=True)) | {"a": 0.3},
    ):
        np.testing.assert_allclose(reconstruct_probabilities(plan, values), want, atol=1e-9)
    longer = ParameterVector("v", 14)  # of which the circuit has the first
    values = {longer: np.append(x, [7.0, 8.0]), angle: 0.3}
    np.testing.assert_allclose(reconstruct_probabilities(plan, values), want, atol=1e-9)


def test_values_that_fit_no_vector_are_one_line(vectors):
    circuit, vector, angle = vectors
    plan = compile_plan(circuit, labels="AAB")
    x = np.zeros(12)
    for values, said in (
        ({vector: x[:3], angle: 0}, r"vector 'v' has values of shape \(3,\), expected \(12,\)"),
        ({vector: [x], angle: 0}, r"vector 'v' has values of shape \(1, 12\), expected \(12,\)"),
        ({"v": 1.0, angle: 0}, r"vector 'v' has values of shape \(\), expected \(12,\)"),
        ({vector: x}, "name 12 parameters, expected the 13 .* missing or unknown: a"),
        ({vector: x, vector[1]: 1, angle: 0}, r"name v\[1\] twice"),
        ({vector: x, angle: 0, ParameterVector("w", 2): [1, 2]}, r"unknown: w\[0\], w\[1\]"),
        ({vector: x, angle: 0, "w": [1, 2]}, "unknown: w"),
        ({vector: ["one"] * 12, angle: 0}, "expected 13 numbers in radians"),
        ({vector: x, angle: [1, 2]}, "expected 13 numbers in radians"),
    ):
        with pytest.raises(UserError, match=said) as error:
            reconstruct_probabilities(plan, values)
        assert len(str(error.value).splitlines()) == 1
        assert len(str(error.value)) < 300

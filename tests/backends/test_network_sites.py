"""Networks of fragments with sites: the tensors of their branches' states, and cut equals uncut."""

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire
from support.circuits import CIRCUITS, OBSERVABLES, deep_beside_wide
from support.exact import exact

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.backends.exact import ExactEngine
from pilotcut.backends.network import NetworkEngine
from pilotcut.backends.statevector import StatevectorEngine

CPU = torch.device("cpu")


def _cut_circuit(seed, most=5):
    """Return a random circuit with marked wires, labels, observables and values."""
    rng = np.random.default_rng(seed)
    qubits = int(rng.integers(3, most + 1))
    circuit, values = QuantumCircuit(qubits), []

    def angle():
        if rng.random() < 0.3:
            return float(rng.uniform(-3, 3))
        values.append(rng.uniform(-3, 3))
        return Parameter(f"p{len(values):02}")

    labels = list(rng.choice(list("AB" if qubits < 4 else "ABC"), qubits))
    cuts = 0
    for _ in range(4 * qubits):
        a, b = (int(q) for q in rng.choice(qubits, 2, replace=False))
        cuts += labels[a] != labels[b]
        if cuts > 4 and labels[a] != labels[b]:
            continue
        kind = rng.choice(["cx", "cz", "rzz", "crx", "cp", "rxx", "iswap", "swap"], p=_OFTEN)
        angles = [angle()] if kind in ("rzz", "crx", "cp", "rxx") else []
        getattr(circuit, kind)(*angles, a, b)
        getattr(circuit, rng.choice(["rx", "ry", "rz"]))(angle(), a)
    letters = ["".join(rng.choice(list("IXYZ"), qubits)) for _ in range(3)]
    return circuit, "".join(labels), letters, np.array(values)


_OFTEN = [0.2, 0.2, 0.2, 0.15, 0.1, 0.05, 0.05, 0.05]


def _wires_cut(seed):
    """Return a random circuit whose wires are cut."""
    rng = np.random.default_rng(seed)
    circuit, values = QuantumCircuit(4), []
    for layer in range(3):
        for qubit in range(4):
            values.append(rng.uniform(-3, 3))
            circuit.ry(Parameter(f"p{len(values):02}"), qubit)
            circuit.rx(0.4, qubit)
        first = layer % 2
        circuit.cx(first, first + 1)
        if layer < 2:
            circuit.append(CutWire(), [first + 1])
        circuit.cz(first + 1, first + 2)
    return circuit, None, ["ZZZZ", "XIYI", "IIZX"], np.array(values)


def _values_of(circuit, observables, values):
    return exact(circuit.assign_parameters(values), observables)


def _slopes_of(circuit, observable, values, some=slice(None)):
    """Return derivatives, all or some, by differences of the fourth order, right to 1e-11."""

    def value(at):
        return exact(circuit.assign_parameters(at), [observable])[0]

    steps = 1e-3 * np.eye(len(values))[some]
    return [
        (
            8 * (value(values + s) - value(values - s))
            - value(values + 2 * s)
            + value(values - 2 * s)
        )
        / 12e-3
        for s in steps
    ]


def _fragments(seed):
    circuit, labels, letters, _ = _cut_circuit(seed) if seed % 3 else _wires_cut(seed)
    plan = compile_plan(circuit, sorted(set(letters)), labels=labels)
    return plan, [f for f in plan.fragments if f.sites]


@pytest.mark.parametrize("seed", range(12))
def test_the_tensor_and_its_derivatives_are_those_of_the_branches_states(seed):
    """With angles that rows share, by wanted angles, in sums over rows, and in torch."""
    rng = np.random.default_rng(seed)
    plan, fragments = _fragments(seed)
    for fragment in fragments:
        found = NetworkEngine(CPU).network(fragment)
        angles = fragment.angle_values(rng.uniform(-3, 3, (3, plan.program.num_slots)))
        angles[:, : angles.shape[1] // 2] = angles[0, : angles.shape[1] // 2]
        here, states = found.at(angles), StatevectorEngine().linearised(fragment, angles)
        np.testing.assert_allclose(here.values, states.values, atol=1e-12)
        in_torch = found.tensor(torch.as_tensor(angles)).numpy()
        np.testing.assert_allclose(in_torch, states.values, atol=1e-12)
        shape = (3, 2, states.values.shape[1], states.values[0, 0].size)
        cotangents = rng.normal(size=shape) + 1j * rng.normal(size=shape)
        wanted = rng.random(angles.shape[1]) < 0.7
        expected = states.pull_back(cotangents, wanted)[..., wanted]
        slopes = here.pull_back(cotangents, wanted)[..., wanted]
        np.testing.assert_allclose(slopes, expected, atol=1e-12)
        summed = here.pull_back(cotangents, wanted, summed=True)[..., wanted]
        np.testing.assert_allclose(summed, expected.sum(axis=0, keepdims=True), atol=1e-12)


@pytest.mark.parametrize("engine", ["network", "statevector"])
@pytest.mark.parametrize("seed", range(5))
def test_cut_equals_uncut_each_way(seed, engine):
    """Values to 1e-10 and derivatives to 1e-8, and the record says which way."""
    circuit, labels, letters, values = _cut_circuit(seed) if seed % 4 else _wires_cut(seed)
    plan = compile_plan(circuit, letters, labels=labels)
    estimator = CutEstimator(plan=plan, mode="exact", engine=engine)
    (found,) = estimator.run([(circuit, letters, values)]).result()
    np.testing.assert_allclose(
        found.data.evs, _values_of(circuit, letters, values), rtol=0, atol=1e-10
    )
    records = [r["engine"] for r in estimator.trace.records if r["kind"] == "query_batch"]
    assert records == [engine]
    estimator = CutEstimator(labels=labels, mode="exact", engine=engine)
    slopes = (
        CutGradient(estimator)
        .run([circuit], [SparsePauliOp(letters[0])], [values])
        .result()
        .gradients[0]
    )
    np.testing.assert_allclose(slopes, _slopes_of(circuit, letters[0], values), rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_kind_of_gate_is_cut_in_networks(name):
    estimator = CutEstimator(labels="AAB", mode="exact", engine="network")
    (found,) = estimator.run([(CIRCUITS[name], OBSERVABLES)]).result()
    np.testing.assert_allclose(found.data.evs, exact(CIRCUITS[name]), rtol=0, atol=1e-10)


# -- the choice ------------------------------------------------------------------------


def test_a_deep_fragment_is_computed_by_states_and_a_wide_one_by_its_network():
    """The wide one's states, of 2^41 amplitudes, would fit no memory."""
    circuit, labels = deep_beside_wide(40)
    fragments = compile_plan(circuit, ["Z" * 45], labels=labels).fragments
    engine = ExactEngine()
    assert [engine.network(fragment) is not None for fragment in fragments] == [False, True]
    assert engine.states.row_bytes(fragments[1]) > 2**40
    assert engine.rows_at_once(fragments[1]) > 1000


@pytest.mark.joined
@pytest.mark.parametrize("marked", [False, True])
def test_auto_takes_both_ways_in_one_plan(marked):
    """Values and derivatives near the cut against the state of a small circuit that sees as much,
    and a term of all qubits against the whole circuit's network."""
    circuit, labels = deep_beside_wide(40, marked)
    values = np.random.default_rng(1).uniform(-0.6, 0.6, circuit.num_parameters)
    near, whole = ["IIIIIIZIZIZ", "IIIIIIIXIZI"], "Z" * 45
    terms = [*("I" * 34 + one for one in near), whole]
    estimator = CutEstimator(labels=labels, mode="exact")
    (found,) = estimator.run([(circuit, terms, values)]).result()
    assert [r["engine"] for r in estimator.trace.records if "engine" in r] == [
        "statevector and network"
    ]
    small, _ = deep_beside_wide(6)
    kept = np.r_[0:12, 80 : len(values)]
    expected = exact(small.assign_parameters(values[kept]), near)
    np.testing.assert_allclose(found.data.evs[:2], expected, rtol=0, atol=1e-10)
    uncut = CutEstimator(mode="exact", engine="network")
    (joined,) = uncut.run([(deep_beside_wide(40)[0], whole, values)]).result()
    np.testing.assert_allclose(found.data.evs[2], joined.data.evs, rtol=0, atol=1e-10)
    operator = SparsePauliOp([terms[0], whole], [1, 0])
    slopes = CutGradient(estimator).run([circuit], [operator], [values]).result().gradients[0]
    some = [0, 1, 3, 12, 50, len(kept) - 1]
    expected = _slopes_of(small, near[0], values[kept], some)
    np.testing.assert_allclose(slopes[kept][some], expected, rtol=0, atol=1e-8)

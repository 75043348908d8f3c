"""Expectations of many Paulis at once: letters of equal flips share the products of branches."""

import numpy as np
import pytest
import torch
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import Pauli, SparsePauliOp, Statevector, pauli_basis, random_pauli_list

from pilotcut import CutEstimator, backends, compile_plan, cut_qnn
from pilotcut.backends import statevector_gram
from pilotcut.backends.exact import ExactEngine
from pilotcut.backends.statevector import StatevectorEngine
from pilotcut.backends.statevector_plan import StatevectorPlan
from pilotcut.options import EngineOptions

QUBITS = 6
CIRCUIT = real_amplitudes(QUBITS, reps=2, entanglement="linear")
VALUES = np.random.default_rng(3).uniform(-3, 3, CIRCUIT.num_parameters)

#: Every letter of two qubits beside each other, some strings of all, and the identity.
TERMS = [
    *(f"II{label}II" for label in pauli_basis(2).to_labels()),
    *dict.fromkeys(random_pauli_list(QUBITS, 40, seed=5, phase=False).to_labels()),
]


def uncut(terms):
    state = Statevector(CIRCUIT.assign_parameters(VALUES))
    return [state.expectation_value(Pauli(term)).real for term in terms]


@pytest.mark.parametrize("labels", [None, "AAABBB", "AABBCC"])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    "limits", [{}, {"MOST_INDEXED": 1}, {"MOST_AT_ONCE": 40}], ids=["usual", "flipped", "chunks"]
)
def test_every_letter_is_exact(labels, rows, limits, monkeypatch):
    """With none, some and many branches; looked up or flipped, in one piece or in many."""
    for name, value in limits.items():
        monkeypatch.setattr(statevector_gram, name, value)
    # Engines keep schedules by fingerprint, which the limits are no part of.
    engine = ExactEngine(options=EngineOptions("statevector"))
    monkeypatch.setattr(backends, "exact_engine", lambda options=None: engine)
    estimator = CutEstimator(labels=labels, mode="exact", engine="statevector")
    pub = (CIRCUIT, [[term] for term in TERMS], np.stack([VALUES] * rows))
    found = estimator.run([pub]).result()[0].data.evs
    np.testing.assert_allclose(found, np.stack([uncut(TERMS)] * rows, axis=1), atol=1e-12)


@pytest.mark.parametrize("labels", [None, "AAABBB"])
def test_gradients_of_many_terms_are_those_of_the_parameter_shift(labels):
    weights = np.random.default_rng(1).normal(size=len(TERMS))
    observable = SparsePauliOp(TERMS, weights)
    options = {"weight_params": CIRCUIT.parameters, "initial_weights": VALUES}
    network = cut_qnn(CIRCUIT, observable, **options, labels=labels, engine="statevector")
    network.double()
    network().sum().backward()
    shifts = np.pi / 2 * np.eye(len(VALUES))
    states = [
        Statevector(CIRCUIT.assign_parameters(row))
        for row in np.concatenate([VALUES + shifts, VALUES - shifts])
    ]
    up, down = np.split(np.array([s.expectation_value(observable).real for s in states]), 2)
    np.testing.assert_allclose(network.weights.grad.numpy(), (up - down) / 2, atol=1e-5)


def test_letters_of_equal_flips_share_their_products():
    """All 256 Paulis of a fragment of four wires flip bits in 16 ways."""
    circuit = real_amplitudes(8, reps=1, entanglement="linear")
    terms = [label + "IIII" for label in pauli_basis(4).to_labels()]
    fragment = compile_plan(circuit, terms, labels="AAAABBBB").fragments[1]
    (gram,) = StatevectorPlan.cheapest(fragment).grams
    assert (gram.letters, gram.flips, gram.branches, gram.amplitudes) == (256, 16, 2, 16)
    assert gram.products == 16 * 4 * 16
    assert gram.sums == 256 * 4 * 16
    many, one = (
        StatevectorEngine().seconds(some, 1)
        for some in (fragment, compile_plan(circuit, terms[-1:], labels="AAAABBBB").fragments[1])
    )
    assert one < many < 2 * one


def test_derivatives_of_second_order_pass_through_the_sums():
    """A Hessian by torch is symmetric and that of two parameter shifts."""
    observable = SparsePauliOp(["ZZIIII", "XXIIII", "YYIIII", "IXZIII"], [1.0, 0.5, -0.7, 0.3])
    names = [p.name for p in CIRCUIT.parameters]
    network = cut_qnn(
        CIRCUIT, observable, input_params=names, labels="AAABBB", engine="statevector"
    )
    point = torch.tensor(VALUES)
    hessian = torch.autograd.functional.hessian(lambda x: network(x[None]).sum(), point)
    torch.testing.assert_close(hessian, hessian.T)

    def value(shift):
        state = Statevector(CIRCUIT.assign_parameters(VALUES + shift))
        return state.expectation_value(observable).real

    a, b = np.eye(len(VALUES))[[7, 12]] * np.pi / 2
    shifted = (value(a + b) - value(a - b) - value(b - a) + value(-a - b)) / 4
    assert float(hessian[7, 12]) == pytest.approx(shifted, abs=1e-10)

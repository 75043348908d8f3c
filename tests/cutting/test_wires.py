"""Wires cut together: the bases, the identity they make up, and which wires are parallel."""

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire, Move

from pilotcut import compile_plan
from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.cutting.wires import basis_of_wires, joined, state_vector, unbiased_states
from pilotcut.errors import UserError

SIZES = (1, 2, 3)


def projectors(wires: int) -> np.ndarray:
    """The projectors of all states, (states, 2^n, 2^n)."""
    vectors = np.array([state_vector(state) for state in unbiased_states(wires)])
    return outer(vectors)


def outer(vectors: np.ndarray) -> np.ndarray:
    return vectors[:, :, None] * vectors[:, None, :].conj()


@pytest.mark.parametrize("wires", SIZES)
def test_bases_are_orthonormal_and_mutually_unbiased(wires):
    states = unbiased_states(wires)
    vectors = np.array([state_vector(state) for state in states])
    overlaps = np.abs(vectors.conj() @ vectors.T) ** 2
    for a, one in enumerate(states):
        for b, other in enumerate(states):
            expected = float(a == b) if one.basis == other.basis else 2.0**-wires
            assert overlaps[a, b] == pytest.approx(expected)


@pytest.mark.parametrize("wires", SIZES)
def test_what_is_found_times_what_is_prepared_is_the_identity(wires):
    """Also where prepared states have unequal shots, some none at all."""
    rng = np.random.default_rng(wires)
    found = projectors(wires)
    size = 2**wires
    rho = rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))
    chances = np.einsum("kij,ji->k", found, rho)
    shots = rng.integers(1, 50, len(found)).astype(float)
    few = shots.copy()
    few[[0, size + 1]] = 0
    apart = basis_of_wires(wires, communication=False).coefficients
    for matrix in (apart, *joined(wires, np.array([shots, few]))):
        assert np.allclose(np.einsum("k,kl,lij->ij", chances, matrix, found), rho)
    assert not joined(wires, few)[:, [0, size + 1]].any()
    basis = basis_of_wires(wires, communication=True)
    prepared = outer(np.array([state_vector(state) for state in basis.operations[1]]))
    again = np.einsum("k,kl,lij->ij", chances, basis.coefficients, prepared)
    assert np.allclose(again, rho)


def test_two_wires_have_all_their_stabilizer_states():
    """60 of them (arXiv:quant-ph/0406196), of which 20 are unbiased, in 15 bases."""
    basis = basis_of_wires(2, communication=True)
    assert basis.operations[1][:20] == unbiased_states(2)
    vectors = np.array([state_vector(state) for state in basis.operations[1]])
    overlaps = np.abs(vectors.conj() @ vectors.T) ** 2
    assert len(vectors) == 60
    assert np.isclose(overlaps[..., None], [0, 0.25, 0.5, 1]).any(axis=-1).all()
    assert np.isclose(overlaps, 1).sum() == 60


@pytest.mark.parametrize(("wires", "gamma"), [(1, 3), (2, 7), (3, 15)])
def test_gamma_is_that_of_the_papers(wires, gamma):
    """arXiv:2302.03366, and arXiv:2207.14734 without communication."""
    assert basis_of_wires(wires, communication=True).overhead == gamma**2
    assert basis_of_wires(wires, communication=False).overhead == (gamma + 2) ** 2


def layered(qubits: int, pairs: list[tuple[int, int]]) -> tuple[QuantumCircuit, Placement]:
    """The gates twice, with all wires cut between the two times."""
    circuit = QuantumCircuit(qubits)
    for pair in pairs * 2:
        circuit.iswap(*pair)  # commutes with nothing, so that none is moved to the other time
    degree = [sum(q in pair for pair in pairs) for q in range(qubits)]
    cuts = tuple(WireCut(q, degree[q], "B") for q in range(qubits))
    return circuit, Placement(("A",) * qubits, cuts)


RING = [(0, 1), (1, 2), (0, 2)]


def test_parallel_wires_are_one_bond_and_few_circuits():
    circuit, placement = layered(3, RING)
    plan = compile_plan(circuit, "ZZZ", placement=placement, wires="communication")
    (bond,) = plan.bonds
    assert (bond.gates, plan.num_cuts, plan.sampling_overhead) == (3, 3, 15.0**2)
    # 9 bases are measured, and all their states prepared.
    assert [f.num_subexperiments for f in plan.fragments] == [9, 72]
    plain = compile_plan(circuit, "ZZZ", placement=placement, wires="separate")
    assert (len(plain.bonds), plain.sampling_overhead) == (3, 16.0**3)
    assert plain.widths == plan.widths


def test_more_than_three_are_split():
    pairs = [(a, b) for a in range(5) for b in range(a)]
    circuit, placement = layered(5, pairs)
    plan = compile_plan(circuit, "ZZZZZ", placement=placement, wires="communication")
    assert sorted(bond.gates for bond in plan.bonds) == [2, 3]


def test_wires_are_cut_one_by_one_where_together_they_need_more_qubits():
    """Qubit 0 is left before 2 begins, unless both wait to be measured in one basis."""
    circuit, placement = layered(3, [(0, 1), (1, 2)])
    plan = compile_plan(circuit, "ZII", placement=placement, wires="communication")
    assert max(plan.widths) == 2
    assert [bond.gates for bond in plan.bonds] == [1, 1, 1]
    assert plan.sampling_overhead == 9.0**3


def test_wires_between_other_fragments_or_one_after_the_other_are_not_joined():
    circuit = QuantumCircuit(3)
    for pair in [(0, 1), (1, 2), (0, 1)]:
        circuit.cx(*pair)
    # 1 goes to B and comes back to A: the second cut waits for the first, and is the other way.
    there_and_back = Placement(("A", "A", "B"), (WireCut(1, 1, "B"), WireCut(1, 2, "A")))
    plan = compile_plan(circuit, "ZZZ", placement=there_and_back, wires="randomised")
    assert [bond.gates for bond in plan.bonds] == [1, 1]
    assert plan.sampling_overhead == 25.0**2


def test_markers_are_joined_where_they_lie_between_the_same_fragments():
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    for qubit in (0, 1):
        circuit.append(CutWire(), [qubit])
    circuit.cx(0, 2)
    circuit.cx(1, 2)
    plan = compile_plan(circuit, "ZZZ", wires="communication")
    assert [bond.gates for bond in plan.bonds] == [2]
    moved = QuantumCircuit(4)
    moved.cx(0, 1)
    for qubit in (0, 1):
        moved.append(Move(), [qubit, qubit + 2])
    moved.cx(2, 3)
    plan = compile_plan(moved, "ZZII", labels="AABB", wires="randomised")
    assert [bond.gates for bond in plan.bonds] == [2]
    assert plan.sampling_overhead == 81.0


def test_another_word_is_refused():
    with pytest.raises(UserError, match="wires is 'joint', expected"):
        compile_plan(QuantumCircuit(1), "Z", wires="joint")

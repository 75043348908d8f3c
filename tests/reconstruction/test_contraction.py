"""The contraction: values, environments and errors against direct sums over everything."""

import string
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire
from support.fresh_process import in_fresh_process

from pilotcut import compile_plan
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.reconstruction import contraction
from pilotcut.reconstruction.contraction import (
    SMALL_NETWORK,
    Contraction,
    sensitivities,
    standard_errors,
)

GRAPHS = {
    "one": (1, []),
    "pair": (2, [(0, 1)]),
    "double pair": (3, [(0, 1), (1, 2), (1, 0)]),
    "chain": (4, [(0, 1), (2, 1), (2, 3)]),
    "ring": (4, [(0, 1), (1, 2), (2, 3), (3, 0)]),
    "star": (4, [(0, 1), (2, 0), (0, 3)]),
    "grid": (6, [(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)]),
    "islands": (5, [(0, 1), (2, 3)]),
    "long ring": (9, [(k, (k + 1) % 9) for k in range(9)]),
}


def plan_of(pairs, width: int, terms, labels=None, gate: str = "cx") -> CutPlan:
    """A plan with a fragment for every qubit and a bond for every pair."""
    circuit = QuantumCircuit(width)
    for k, pair in enumerate(pairs):
        free = [Parameter(f"t{k}")] if gate == "rzz" else []
        getattr(circuit, gate)(*free, *pair)
        circuit.h(pair[0])  # else gates of one pair might commute with the others, and be one cut
    return compile_plan(circuit, terms, labels=labels or string.ascii_uppercase[:width])


def random_terms(width: int, count: int, seed: int) -> list[str]:
    """Different Pauli strings, so that fragments share sub-observables between terms."""
    rng = np.random.default_rng(seed)
    terms = {"".join(rng.choice(list("IXYZ"), width)) for _ in range(3 * count)}
    return sorted(terms)[:count]


def random_tensors(plan: CutPlan, batch: int, seed: int) -> list[FragmentTensor]:
    rng = np.random.default_rng(seed)
    return [
        FragmentTensor(
            rng.normal(size=(batch, len(f.observables), *f.site_shape)),
            tuple(np.zeros((batch, f.num_variants, len(g), len(g))) for g in f.groups),
        )
        for f in plan.fragments
    ]


def bond_matrices(plan: CutPlan, slots: np.ndarray) -> list[np.ndarray]:
    return [bond.matrix(slots) for bond in plan.bonds]


def direct(plan: CutPlan, tensors, bonds) -> np.ndarray:
    """(batch, terms) by one np.einsum a term, indices taken from the bonds' ends."""
    letters = iter(string.ascii_letters[1:])
    axes = [[""] * len(f.sites) for f in plan.fragments]
    joints = []
    for bond in plan.bonds:
        ends = next(letters), next(letters)
        for letter, (fragment, axis) in zip(ends, bond.ends, strict=True):
            axes[fragment][axis] = letter
        joints.append("".join(ends))
    equation = ",".join("a" + x for x in [*map("".join, axes), *joints]) + "->a"
    batch = len(tensors[0].values)
    spread = [np.repeat(b, batch, axis=0) if len(b) != batch else b for b in bonds]
    return np.stack(
        [
            np.einsum(
                equation,
                *(t.values[:, k] for t, k in zip(tensors, term, strict=True)),
                *spread,
                optimize="greedy",
            )
            for term in plan.term_index
        ],
        axis=1,
    )


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("gate", ["cx", "rzz"])
def test_values_equal_one_sum_over_all_indices(name, gate):
    """For any graph of fragments, bound or free bonds, a batch and several terms."""
    width, pairs = GRAPHS[name]
    plan = plan_of(pairs, width, random_terms(width, 4, 1), gate=gate)
    assert len(plan.bonds) == len(pairs)
    tensors = random_tensors(plan, 3, 2)
    slots = np.random.default_rng(3).uniform(-3, 3, (3, plan.program.num_slots))
    bonds = bond_matrices(plan, slots)
    contraction = Contraction.of(plan)
    operands = contraction.operands(tensors, bonds)
    values = contraction.values(operands)
    assert values.shape == (3, len(plan.terms))
    np.testing.assert_allclose(values, direct(plan, tensors, bonds), rtol=1e-9, atol=1e-9)
    again, _ = contraction.values_and_environments(operands)
    np.testing.assert_array_equal(again, values)


def test_the_long_ring_takes_the_path_for_large_networks():
    """The graphs stand on both sides of the switch from opt_einsum to cotengra."""
    sizes = [width + len(pairs) for width, pairs in GRAPHS.values()]
    assert min(sizes) <= SMALL_NETWORK < max(sizes)


def test_the_path_does_not_change_the_numbers(monkeypatch):
    """cotengra's path and opt_einsum's give the same values and environments."""
    width, pairs = GRAPHS["grid"]
    plan = plan_of(pairs, width, random_terms(width, 3, 1))
    tensors = random_tensors(plan, 2, 2)
    bonds = bond_matrices(plan, np.zeros((2, 0)))
    small = Contraction.of(plan)
    monkeypatch.setattr(contraction, "SMALL_NETWORK", 1)
    large = Contraction.of(plan)
    results = [c.values_and_environments(c.operands(tensors, bonds)) for c in (small, large)]
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-9)
    for one, two in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)


def long_ring_path() -> tuple[tuple[int, int], ...]:
    width, pairs = GRAPHS["long ring"]
    return Contraction.of(plan_of(pairs, width, random_terms(width, 2, 1))).path


def test_the_path_of_a_large_network_is_the_same_in_every_process():
    """The order of additions decides the last digits, so a run repeats only with its path."""
    assert in_fresh_process(long_ring_path) == long_ring_path()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("gate", ["cx", "rzz"])
def test_every_operand_times_its_environment_is_the_value(name, gate):
    """The value is linear in each fragment tensor and each bond matrix."""
    width, pairs = GRAPHS[name]
    plan = plan_of(pairs, width, random_terms(width, 3, 4), gate=gate)
    contraction = Contraction.of(plan)
    slots = np.random.default_rng(3).uniform(-3, 3, (2, plan.program.num_slots))
    operands = contraction.operands(random_tensors(plan, 2, 5), bond_matrices(plan, slots))
    values, environments = contraction.values_and_environments(operands)
    assert len(environments) == len(operands)
    for operand, environment in zip(operands, environments, strict=True):
        assert environment.shape == (*values.shape, *operand.shape[2:])
        product_sum = (operand * environment).reshape(*values.shape, -1).sum(axis=2)
        np.testing.assert_allclose(product_sum, values, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", ["pair", "double pair", "chain", "star", "ring", "grid"])
def test_environments_are_derivatives(name):
    """Changing one entry of one operand changes the value by its environment there."""
    width, pairs = GRAPHS[name]
    plan = plan_of(pairs, width, random_terms(width, 2, 6))
    contraction = Contraction.of(plan)
    operands = contraction.operands(random_tensors(plan, 2, 7), bond_matrices(plan, np.zeros(1)))
    values, environments = contraction.values_and_environments(operands)
    rng = np.random.default_rng(8)
    for k, operand in enumerate(operands):
        for _ in range(3):
            where = tuple(rng.integers(size) for size in operand.shape[2:])
            changed = [x.copy() for x in operands]
            changed[k][(slice(None), slice(None), *where)] += 1.0
            slope = contraction.values(changed) - values
            expected = environments[k][(slice(None), slice(None), *where)]
            np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-8)


@given(st.permutations(range(5)), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_numbering_qubits_and_fragments_otherwise_changes_nothing(order, seed):
    """The same tensors in other places of the list give the same values."""
    pairs = [(0, 1), (1, 2), (2, 0), (2, 3), (3, 4)]
    terms = random_terms(5, 3, seed)
    plan = plan_of(pairs, 5, terms)
    tensors = random_tensors(plan, 2, seed)
    letters = string.ascii_uppercase[:5]
    moved_labels, moved_terms = [""] * 5, [[""] * 5 for _ in terms]
    for qubit, new in enumerate(order):
        moved_labels[new] = letters[qubit]
        for term, moved in zip(terms, moved_terms, strict=True):
            moved[4 - new] = term[4 - qubit]
    moved_pairs = [(order[a], order[b]) for a, b in pairs]
    other = plan_of(moved_pairs, 5, ["".join(t) for t in moved_terms], moved_labels)
    assert sorted(f.label for f in other.fragments) == list(letters)
    by_label = {f.label: t for f, t in zip(plan.fragments, tensors, strict=True)}
    other_tensors = [by_label[f.label] for f in other.fragments]
    none = np.zeros((2, 0))
    results = [
        c.values(c.operands(t, bond_matrices(p, none)))
        for p, t in ((plan, tensors), (other, other_tensors))
        for c in [Contraction.of(p)]
    ]
    np.testing.assert_allclose(results[0], results[1], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("markers", [1, 2])
def test_a_bond_between_two_sites_of_one_fragment(markers):
    """A wire cut inside one label is a trace over the fragment's own axes."""
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    for _ in range(markers):
        circuit.append(CutWire(), [1])
        circuit.cx(1, 0)
    plan = compile_plan(circuit, ["ZZ", "XI", "YX"], labels="AA")
    assert {end[0] for bond in plan.bonds for end in bond.ends} == {0}
    tensors = random_tensors(plan, 2, 9)
    bonds = bond_matrices(plan, np.zeros((2, 0)))
    contraction = Contraction.of(plan)
    operands = contraction.operands(tensors, bonds)
    values, environments = contraction.values_and_environments(operands)
    np.testing.assert_allclose(values, direct(plan, tensors, bonds), rtol=1e-9, atol=1e-9)
    for operand, environment in zip(operands, environments, strict=True):
        total = (operand * environment).reshape(*values.shape, -1).sum(axis=2)
        np.testing.assert_allclose(total, values, rtol=1e-8, atol=1e-9)


def test_a_chain_costs_linear_time():
    """Forty cuts in a row never need an intermediate larger than two bonds."""
    width = 41
    plan = plan_of(
        [(k, k + 1) for k in range(width - 1)],
        width,
        ["Z" * width],
        labels=[f"L{k}" for k in range(width)],
    )
    tensors = random_tensors(plan, 1, 10)
    bonds = bond_matrices(plan, np.zeros((1, 0)))
    contraction = Contraction.of(plan)
    value = tensors[0].values[0, 0]
    for bond, tensor in zip(bonds, tensors[1:-1], strict=False):
        value = value @ bond[0] @ tensor.values[0, 0]
    value = value @ bonds[-1][0] @ tensors[-1].values[0, 0]
    result = contraction.values(contraction.operands(tensors, bonds))
    np.testing.assert_allclose(result, [[value]], rtol=1e-8)
    indices = list(contraction.indices)
    for a, b in contraction.path:
        left, right = indices[a][2:], indices[b][2:]
        indices.append((*indices[a][:2], *(set(left) ^ set(right))))
        assert len(set(left) | set(right)) <= 4


# -- errors ----------------------------------------------------------------------------


def noisy_plan() -> tuple[CutPlan, np.ndarray]:
    """Groups of several sub-observables in every fragment, and sums of terms."""
    circuit = QuantumCircuit(4)
    for pair in ((0, 1), (1, 2), (2, 3)):
        circuit.cx(*pair)
    plan = compile_plan(circuit, ["ZIZI", "ZZZZ", "IZIZ", "XXII", "IZZX"], labels="AABB")
    coefficients = np.array(
        [[1.0, -0.5, 0.3, 0, 0], [0, 2.0, 0, 1.0, 0.7], [1.0, 1.0, 0, 0, 0], [0, 0, 0, 0, 0]]
    )
    return plan, coefficients


def covariance_like(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Random covariances, strongly correlated."""
    factor = rng.normal(size=(*shape, shape[-1])) + 1.0
    return 1e-6 * factor @ np.swapaxes(factor, -1, -2)


def test_standard_errors_equal_the_spread_under_gaussian_noise():
    """Resampling every tensor from its covariances spreads the values by the errors."""
    plan, coefficients = noisy_plan()
    rng = np.random.default_rng(11)
    means = [t.values[0] for t in random_tensors(plan, 1, 12)]
    covariances = [
        tuple(covariance_like(rng, f.num_variants, len(g)) for g in f.groups)
        for f in plan.fragments
    ]
    assert max(len(g) for f in plan.fragments for g in f.groups) > 1
    draws = 20_000
    noisy = []
    for fragment, mean, spreads in zip(plan.fragments, means, covariances, strict=True):
        flat = np.repeat(mean.reshape(1, len(mean), -1), draws, axis=0)
        for group, spread in zip(fragment.groups, spreads, strict=True):
            factor = np.linalg.cholesky(spread + 1e-14 * np.eye(len(group)))
            normal = rng.normal(size=(draws, fragment.num_variants, len(group)))
            noise = np.einsum("vmn,dvn->dmv", factor, normal)
            flat[:, list(group)] += noise
        noisy.append(FragmentTensor(flat.reshape(draws, *mean.shape), ()))
    contraction = Contraction.of(plan)
    bonds = bond_matrices(plan, np.zeros((draws, 0)))
    sampled = contraction.values(contraction.operands(noisy, bonds)) @ coefficients.T

    tensors = [
        FragmentTensor(mean[None], tuple(s[None] for s in spreads))
        for mean, spreads in zip(means, covariances, strict=True)
    ]
    _, environments = contraction.values_and_environments(contraction.operands(tensors, bonds[:]))
    sensitivity = [
        sensitivities(plan.term_index[:, k], environments[k], coefficients)
        for k in range(len(plan.fragments))
    ]
    groups = [f.entries for f in plan.fragments]
    errors = standard_errors(groups, tensors, sensitivity)[0]
    np.testing.assert_allclose(sampled.std(axis=0)[:3], errors[:3], rtol=0.03)
    assert errors[3] == 0

    alone = [
        FragmentTensor(t.values, tuple(c * np.eye(c.shape[-1]) for c in t.covariances))
        for t in tensors
    ]
    without = standard_errors(groups, alone, sensitivity)[0]
    assert np.abs(without[:3] / errors[:3] - 1).max() > 0.06  # what leaving them out would do


def test_sensitivities_are_derivatives_of_sums_of_terms():
    """Terms that share a sub-observable add up, weighted by the coefficients."""
    plan, coefficients = noisy_plan()
    tensors = random_tensors(plan, 2, 13)
    contraction = Contraction.of(plan)
    bonds = bond_matrices(plan, np.zeros((2, 0)))

    def sums(of):
        return contraction.values(contraction.operands(of, bonds)) @ coefficients.T

    operands = contraction.operands(tensors, bonds)
    _, environments = contraction.values_and_environments(operands)
    base = sums(tensors)
    rng = np.random.default_rng(14)
    for k, fragment in enumerate(plan.fragments):
        result = sensitivities(plan.term_index[:, k], environments[k], coefficients)
        assert result.shape == (2, 4, len(fragment.observables), fragment.num_variants)
        for sub, _ in product(range(len(fragment.observables)), range(2)):
            variant = int(rng.integers(fragment.num_variants))
            changed = [FragmentTensor(t.values.copy(), ()) for t in tensors]
            changed[k].values.reshape(2, len(fragment.observables), -1)[:, sub, variant] += 1
            np.testing.assert_allclose(
                sums(changed) - base, result[:, :, sub, variant], rtol=1e-8, atol=1e-8
            )


def test_an_exactly_known_tensor_has_no_error():
    plan, coefficients = noisy_plan()
    tensors = random_tensors(plan, 2, 15)
    contraction = Contraction.of(plan)
    operands = contraction.operands(tensors, bond_matrices(plan, np.zeros((2, 0))))
    _, environments = contraction.values_and_environments(operands)
    sensitivity = [
        sensitivities(plan.term_index[:, k], environments[k], coefficients)
        for k in range(len(plan.fragments))
    ]
    errors = standard_errors([f.entries for f in plan.fragments], tensors, sensitivity)
    np.testing.assert_array_equal(errors, np.zeros((2, 4)))

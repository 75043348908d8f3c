"""Draws from exact distributions: the signs of commuting groups, of any variant of a fragment."""

from dataclasses import replace

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import PauliList, Statevector
from qiskit_addon_cutting.instructions import CutWire
from scipy.stats import chisquare

from pilotcut import CutEstimator, compile_plan
from pilotcut.backends import sampled, sign_tensors
from pilotcut.backends.sampled import SampledBackend, drawn
from pilotcut.backends.sign_tensors import MeasuredGroup, sign_tensor, walsh_hadamard
from pilotcut.backends.statevector import StatevectorEngine
from pilotcut.errors import ObservableError

TERMS = ["ZZIIZ", "IZZII", "ZIIII", "IIIZZ", "XXIXX", "IXXIX", "YIYIZ", "IYXZI", "IIIII"]


def chain(qubits=5, reps=2):
    return real_amplitudes(qubits, reps=reps, entanglement="linear")


def wired():
    """Two wires cut side by side, between two halves."""
    circuit = QuantumCircuit(5)
    for k in range(5):
        circuit.ry(Parameter(f"a{k}"), k)
    circuit.cx(0, 1), circuit.cx(1, 2), circuit.rz(Parameter("b"), 2), circuit.cx(0, 2)
    circuit.append(CutWire(), [1])
    circuit.append(CutWire(), [2])
    circuit.cx(1, 3), circuit.cx(2, 4), circuit.rx(Parameter("c"), 2), circuit.cx(3, 4)
    return circuit


def apart():
    """Fragments whose wires are entangled in pairs only, with cuts on both pairs."""
    circuit = QuantumCircuit(5)
    for k in range(5):
        circuit.ry(Parameter(f"a{k}"), k)
    circuit.cx(0, 1), circuit.cz(2, 3), circuit.rx(Parameter("b"), 1), circuit.rx(Parameter("c"), 2)
    circuit.cx(1, 4), circuit.cz(3, 4), circuit.ry(Parameter("d"), 3)
    return circuit


def resets():
    """Ancillas that are reset over and over: what is left of them is a density matrix."""
    circuit = QuantumCircuit(5)
    for k in range(5):
        circuit.ry(Parameter(f"a{k}"), k)
    for k in range(9):
        circuit.cx(k % 2, 2), circuit.rx(0.3 + k, 2), circuit.reset(2), circuit.cry(0.4, 0, 1)
    circuit.cx(1, 3), circuit.cx(2, 1), circuit.cx(3, 4)
    return circuit


def parallel():
    """Gates that are cut together."""
    circuit = QuantumCircuit(5)
    for k in range(5):
        circuit.ry(Parameter(f"a{k}"), k)
    circuit.cx(0, 1), circuit.rzz(0.7, 0, 3), circuit.rzz(1.1, 1, 4), circuit.rx(Parameter("b"), 3)
    circuit.cx(3, 4), circuit.cx(1, 2)
    return circuit


CASES = {
    "uncut": (chain(), {}),
    "two cuts": (chain(), {"labels": "AAABB"}),
    "three fragments": (chain(), {"labels": "ABBCC"}),
    "unentangled": (apart(), {"labels": "AAAAB"}),
    "resets": (resets(), {"labels": "AAABB"}),
    "joint": (parallel(), {"labels": "AAABB", "joint_cuts": True}),
    "wires": (wired(), {"wires": "separate"}),
    "wires together": (wired(), {"wires": "randomised"}),
    "wires with communication": (wired(), {"wires": "communication"}),
}


def by_products(engine, distribution, angles, group, choices, signed):
    """Return means of all products of a group's signs, each computed as an observable."""
    parities = group.parities
    products = np.zeros((group.bins, parities.shape[1]), dtype=bool)
    for u in range(group.bins):
        for k in range(len(parities)):
            products[u] ^= parities[k] & bool(u >> k & 1)
    x, z = products & (group.letters > 0), products & (group.letters != 1)
    whole = replace(distribution.observed, observables=PauliList.from_symplectic(z, x))
    tensor = engine.values(whole, angles)
    return distribution._expectations(choices, tensor, signed)


@pytest.mark.parametrize("name", CASES)
def test_the_signs_of_every_variant_are_distributed_as_their_products_say(name):
    """Walsh-Hadamard transforms of the distribution are the means of all products of signs."""
    circuit, options = CASES[name]
    plan = compile_plan(circuit, TERMS, **options)
    engine = StatevectorEngine()
    backend = SampledBackend(engine)
    slots = np.random.default_rng(2).uniform(-3, 3, (2, plan.program.num_slots))
    several = mixed = 0
    for fragment in plan.fragments:
        distribution = backend._distribution(fragment)
        angles = fragment.angle_values(slots)
        states = engine.branch_states(distribution.observed, angles)
        several += len(states) > 1
        mixed += any(some.mixed for some in states)
        for template in fragment.templates:
            group = distribution._groups[template.group]
            choices = distribution._all_choices(template.variants)
            tensor = sign_tensor(states, group)
            for signed in (False, True):
                found = walsh_hadamard(distribution._expectations(choices, tensor, signed))
                products = by_products(engine, distribution, angles, group, choices, signed)
                np.testing.assert_allclose(found, products, atol=1e-12)
            # A setting's outcomes are all that can happen, and their signs those of measurements.
            probabilities = distribution._probabilities(choices, tensor)
            shape = (2, -1, fragment.outcomes, *probabilities.shape[2:])
            total = probabilities.reshape(shape).sum(axis=(2, 4))
            np.testing.assert_allclose(total.sum(axis=-1), 1.0, atol=1e-12)
            if total.shape[-1] == 2 and not any(template.measured):
                np.testing.assert_allclose(total[..., 1], 0.0, atol=1e-12)
    assert several or name != "unentangled"
    assert mixed or name != "resets"


def test_an_uncut_group_is_distributed_as_its_bits():
    """Against Qiskit: each wire turned into its basis, bits counted by their parities."""
    circuit = chain(4, 1)
    values = np.random.default_rng(1).uniform(-3, 3, circuit.num_parameters)
    terms = ["XYZI", "IYZI", "XIIZ"]
    plan = compile_plan(circuit, terms)
    (fragment,) = plan.fragments
    group = MeasuredGroup.of(fragment.observables)
    engine = StatevectorEngine()
    states = engine.branch_states(sampled.observed(fragment), fragment.angle_values(values[None]))
    tensor = sign_tensor(states, group)[0].real
    turned = circuit.assign_parameters(values)
    turned.sdg(2), turned.h(2), turned.h(3)
    weights = Statevector(turned).probabilities()
    seen = fragment.observables.x | fragment.observables.z
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    expected = np.zeros(group.bins)
    odd = (group.parities.astype(int) @ bits.T) % 2
    np.add.at(expected, (1 << np.arange(len(odd))) @ odd, weights)
    np.testing.assert_allclose(tensor, expected, atol=1e-12)
    # ... and each member's sign is the parity of its own bits.
    means = walsh_hadamard(tensor)[group.members]
    signs = 1 - 2 * (seen.astype(int) @ bits.T % 2)
    np.testing.assert_allclose(means, signs @ weights, atol=1e-12)


@pytest.mark.parametrize("wires", [3, 7, 11])
def test_wires_are_turned_a_few_at_a_time(wires):
    rng = np.random.default_rng(wires)
    states = rng.normal(size=(2, 1, 2**wires)) + 1j * rng.normal(size=(2, 1, 2**wires))
    letters = rng.integers(0, 3, wires)
    one_by_one = states
    for place, letter in enumerate(letters):
        split = one_by_one.reshape(2, 2**place, 2, -1)
        turned = np.einsum("ij,rajb->raib", sign_tensors._TURNS[letter], split)
        one_by_one = turned.reshape(states.shape)
    np.testing.assert_allclose(sign_tensors._turned(states, letters, 2), one_by_one, atol=1e-12)


@pytest.mark.parametrize("few", [0, 10**6], ids=["looked up", "bin by bin"])
def test_draws_follow_the_distribution(few, monkeypatch):
    """Chi-square of many draws; rows and variants have numbers of shots of their own."""
    monkeypatch.setattr(sampled, "FEW_BINS", few)
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.ones(600), size=(2, 3))
    shots = np.array([[500, 0, 1], [300, 599, 7]])
    repeats = [drawn(probabilities, shots, rng) for _ in range(60)]
    counts = np.array(repeats)
    assert (counts.sum(axis=-1) == shots).all()
    for place, number in np.ndenumerate(shots):
        if number < 100:
            continue
        expected = probabilities[place] * number * len(repeats)
        found = counts[:, *place].sum(axis=0)
        kept = expected > 5
        found = np.append(found[kept], found[~kept].sum())
        expected = np.append(expected[kept], expected[~kept].sum())
        assert chisquare(found, expected).pvalue > 1e-4


@pytest.mark.parametrize("name", ["two cuts", "unentangled", "resets", "wires together"])
def test_estimates_have_the_covariances_that_are_said(name):
    """Of one group's members, over many rows of the same values."""
    circuit, options = CASES[name]
    values = np.random.default_rng(4).uniform(-3, 3, circuit.num_parameters)
    observables = [[{"ZZIIZ": 0.7, "IZZII": -0.4, "IIIZZ": 0.9, "ZIIII": 0.3}], [{"XXIXX": 1.0}]]
    estimator = CutEstimator(**options, mode="sampled", shots=400, seed=3)
    rows = np.stack([values] * 300)
    data = estimator.run([(circuit, observables, rows)]).result()[0].data
    exact = CutEstimator(mode="exact").run([(circuit, observables, values)]).result()[0].data.evs
    z = (data.evs - exact.reshape(-1, 1)) / data.stds
    assert np.abs(z.mean(axis=1)).max() < 0.3
    assert 0.85 < z.std(axis=1).min() <= z.std(axis=1).max() < 1.15


def test_rounding_errors_change_no_draw():
    """Zero and next to zero, a half and next to a half take the same random numbers."""
    shares = np.array([0.5, 0.0, 0.3, 0.2])
    shots = np.full((1, 50), 100)
    exactly, nearly = (
        drawn(np.broadcast_to(some, (1, 50, 4)), shots, np.random.default_rng(1))
        for some in (shares, shares + np.array([2e-16, 1e-16, -3e-16, -1e-16]))
    )
    np.testing.assert_array_equal(exactly, nearly)


def test_chunks_of_variants_and_rows_have_the_same_distribution(monkeypatch):
    """Every chunk of the work draws for its own variants, with their own shots."""
    monkeypatch.setattr(sampled, "MOST_NUMBERS", 300)
    circuit, options = CASES["two cuts"]
    values = np.random.default_rng(4).uniform(-3, 3, (40, circuit.num_parameters))
    estimator = CutEstimator(**options, mode="sampled", shots=20_000, seed=3)
    pub = (circuit, [["ZZIIZ"], ["IXXIX"]], values)
    data = estimator.run([pub]).result()[0].data
    exact = CutEstimator(mode="exact").run([pub]).result()[0].data.evs
    z = (data.evs - exact) / data.stds
    assert 0.8 < z.std() < 1.2
    assert np.abs(z).max() < 4.5


def test_too_many_signs_are_refused_with_what_does_without():
    circuit = QuantumCircuit(27)
    circuit.h(range(27))
    terms = ["I" * k + "Z" + "I" * (26 - k) for k in range(27)]
    estimator = CutEstimator(mode="sampled", seed=1)
    with pytest.raises(ObservableError, match=r"27 independent Paulis .* use mode='counts'"):
        estimator.run([(circuit, [[term] for term in terms])]).result()

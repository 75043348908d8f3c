"""Distributions of cut circuits: probabilities, marginals, peaks and samples, in three modes."""

import tracemalloc
from functools import cache

import numpy as np
import pytest
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.quantum_info import Statevector
from qiskit_addon_cutting.instructions import CutWire, Move
from scipy.stats import chi2, chisquare

from pilotcut import (
    Distribution,
    PilotManager,
    TaskManager,
    UserError,
    compile_plan,
    most_probable,
    reconstruct_probabilities,
    sample,
)
from pilotcut.backends import sampled as sampled_backend
from pilotcut.backends.outcomes import CountedOutcomes
from pilotcut.pilots.description import PilotDescription
from pilotcut.reconstruction import open_network as network
from pilotcut.reconstruction.dynamic_definition import Search, sampled

GATES = ("cx", "rzz", "swap", "crx")


def distance(p: np.ndarray, q: np.ndarray) -> float:
    """Total variation distance."""
    return float(np.abs(p - q).sum() / 2)


def brick(
    qubits: int, layers: int, seed: int, gates: tuple[str, ...] = GATES, cut: int | None = None
) -> QuantumCircuit:
    """Random rotations and two-qubit gates, with a wire cut in the middle if asked for."""
    rng = np.random.default_rng(seed)
    circuit = QuantumCircuit(qubits)
    for layer in range(layers):
        for qubit in range(qubits):
            circuit.u(*rng.uniform(-np.pi, np.pi, 3), qubit)
        for qubit in range(layer % 2, qubits - 1, 2):
            gate = str(rng.choice(gates))
            angles = [float(rng.uniform(-np.pi, np.pi))] if gate in ("rzz", "crx") else []
            getattr(circuit, gate)(*angles, qubit, qubit + 1)
        if cut is not None and layer == 0:
            circuit.append(CutWire(), [cut])
    return circuit


def uncut(circuit: QuantumCircuit) -> Statevector:
    """The state of a circuit without its markers."""
    plain = circuit.copy_empty_like()
    for instruction in circuit.data:
        if instruction.operation.name != "cut_wire":
            plain.append(instruction)
    return Statevector(plain)


def ghz(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits)
    circuit.h(0)
    for qubit in range(qubits - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit


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
    assert distance(reconstruct_probabilities(plan), uncut(circuit).probabilities()) < 1e-10


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
    law = Distribution(compile_plan(circuit, labels="AABBCC"))
    state, rng = Statevector(circuit), np.random.default_rng(seed)
    for size in (0, 1, 2, 3, 5):
        qubits = rng.permutation(6)[:size].tolist()
        exact = state.probabilities(qubits) if size else np.ones(1)
        assert distance(law.probabilities(qubits), exact) < 1e-10


def test_given_bits_select_joint_probabilities():
    circuit = brick(5, 2, 3)
    law = Distribution(compile_plan(circuit, labels="AABBB"))
    whole = Statevector(circuit).probabilities([4, 0, 2, 1]).reshape(2, 2, 2, 2)
    found = law.probabilities([4, 0], given={2: 1, 1: 0})
    assert np.allclose(found, whole[0, 1].reshape(-1), atol=1e-12)  # axes: qubits 1, 2, 0, 4
    assert np.allclose(law.probabilities(given={2: 1}).sum(), whole[:, 1].sum(), atol=1e-12)


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


# -- refinement --------------------------------------------------------------------------


@pytest.mark.parametrize("resolve", [1, 2, 3, 10])
def test_a_search_finds_the_most_probable_outcomes_in_order(resolve):
    circuit = brick(6, 3, 11)
    law = Distribution(compile_plan(circuit, labels="AABBBB"))
    exact = Statevector(circuit).probabilities_dict()
    best = sorted(exact, key=exact.get, reverse=True)[:7]
    found = law.most_probable(7, resolve=resolve)
    assert list(found.probabilities) == best
    assert np.allclose(list(found.probabilities.values()), [exact[b] for b in best], atol=1e-12)
    assert found.proven
    assert found.bound <= min(found.probabilities.values())


def test_a_search_that_is_cut_short_says_what_it_did_not_look_at():
    circuit = QuantumCircuit(8)
    circuit.h(range(8))
    circuit.cz(3, 4)
    circuit.ry(0.1, range(8))
    law = Distribution(compile_plan(circuit, labels="AAAABBBB"))
    found = law.most_probable(3, resolve=2, most_queries=2)
    assert len(found.probabilities) == 3
    assert not found.proven
    assert found.bound > min(found.probabilities.values())
    resolved = law.most_probable(3, resolve=2)
    assert resolved.proven
    assert max(found.probabilities.values()) <= max(resolved.probabilities.values()) + 1e-12
    exact = Statevector(circuit).probabilities_dict()
    assert all(abs(exact[bits] - p) < 1e-12 for bits, p in found.probabilities.items())
    every = law.most_probable(2**8, resolve=3)
    assert sum(every.probabilities.values()) + every.unresolved == pytest.approx(1)


def test_a_search_holds_only_what_its_queries_returned():
    circuit = QuantumCircuit(30)
    circuit.h(range(30))
    circuit.cz(range(29), range(1, 30))
    law = Distribution(compile_plan(circuit, labels="A" * 10 + "B" * 10 + "C" * 10))
    search = Search(law._network, list(range(30)), 4, 20)
    found = search.most_probable(2, exact=True)
    assert len(found.probabilities) == 2
    assert not found.proven
    assert sum(len(family.probabilities) for family in search._heap) <= 2**4 * 40
    assert found.unresolved == pytest.approx(1, abs=1e-6)


# -- sampling ----------------------------------------------------------------------------


@pytest.mark.parametrize("resolve", [1, 2, 10])
def test_samples_follow_the_exact_law(resolve, monkeypatch):
    monkeypatch.setattr(network, "BATCH_ENTRIES", 64)  # a few bins at a time
    circuit = brick(5, 3, 2)
    law = Distribution(compile_plan(circuit, labels="AABBB"))
    shots = 20_000
    rng = np.random.default_rng(3)
    counts = sampled(law._network, [0, 1, 2, 3, 4], shots, rng, resolve)
    exact = Statevector(circuit).probabilities()
    observed = np.zeros(32)
    for bits, number in counts.items():
        observed[int(bits, 2)] = number
    assert observed.sum() == shots
    assert chisquare(observed, exact / exact.sum() * shots).pvalue > 1e-4
    wrong = exact.reshape([2] * 5).transpose().reshape(-1)  # the bits in the wrong order
    assert chisquare(observed, wrong / wrong.sum() * shots).pvalue < 1e-10


def test_the_same_seed_gives_the_same_counts_and_the_next_call_others():
    plan = compile_plan(brick(4, 2, 1), labels="AABB")
    assert sample(plan, 500, seed=5) == sample(plan, 500, seed=5)
    assert sample(plan, 500, seed=5) != sample(plan, 500, seed=6)
    law = Distribution(plan, seed=5)
    first, second = law.sample(500), law.sample(500)
    assert first != second
    again = Distribution(plan, seed=5)
    assert [first, second] == [again.sample(500), again.sample(500)]
    for mode in ("counts", "sampled"):
        one, two, other = (
            reconstruct_probabilities(plan, mode=mode, shots=50, seed=s) for s in (1, 1, 2)
        )
        assert np.array_equal(one, two)
        assert not np.array_equal(one, other)


def test_samples_of_some_qubits_are_named_by_them():
    circuit = QuantumCircuit(3)
    circuit.x(2)
    circuit.cx(2, 0)
    plan = compile_plan(circuit, labels="ABA")
    assert dict(sample(plan, 10, qubits=[1, 2])) == {"10": 10}
    assert dict(sample(plan, 10, qubits=[2, 1])) == {"01": 10}


# -- from shots --------------------------------------------------------------------------


def two_parallel_gates() -> QuantumCircuit:
    circuit = brick(4, 1, 23, ("cx",))
    circuit.ry(0.3, [0, 2])
    circuit.rx(1.1, range(4))
    return circuit


CUTS = {
    "a gate": (brick(3, 2, 21, ("cx", "rzz")), {"labels": "ABB"}),
    "a wire": (brick(3, 2, 22, ("cx",), cut=1), {}),
    "two gates jointly": (two_parallel_gates(), {"labels": "ABAB", "joint_cuts": True}),
}


@cache
def repeated(mode: str, cut: str) -> list[Distribution]:
    """The same experiment, 24 times."""
    circuit, options = CUTS[cut]
    plan = compile_plan(circuit, **options)
    assert plan.num_cuts
    return [Distribution(plan, mode=mode, shots=500, seed=seed) for seed in range(24)]


@pytest.mark.parametrize("mode", ["counts", "sampled"])
@pytest.mark.parametrize("cut", CUTS)
def test_shots_agree_with_the_exact_law_within_their_errors(mode, cut):
    circuit, _ = CUTS[cut]
    runs = np.array([law.probabilities() for law in repeated(mode, cut)])
    exact = uncut(circuit).probabilities()
    error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    z = (runs.mean(axis=0) - exact) / error
    # Mean squares of t with 23 degrees of freedom are 23/21; outcomes are correlated.
    assert (z**2).mean() < chi2.isf(1e-6, 3) / 3 * 23 / 21
    assert error.max() < 0.02
    assert np.ptp(exact) > 10 * error.max()


@pytest.mark.parametrize("mode", ["counts", "sampled"])
@pytest.mark.parametrize("cut", CUTS)
def test_standard_errors_are_the_spread_of_repeated_runs(mode, cut):
    laws = repeated(mode, cut)
    for query in ((None, None), ([2, 0], None), ([0], {1: 1}), ([], {0: 0, 2: 1})):
        spread = np.var([law.probabilities(*query) for law in laws], axis=0, ddof=1).sum()
        told = np.mean([law.standard_errors(*query) ** 2 for law in laws], axis=0).sum()
        assert 0.45 < told / spread < 2.2  # a chi-square of 23 over 23 is there but for 1e-4
    assert not Distribution(laws[0].plan).standard_errors([0]).any()


@pytest.mark.parametrize("mode", ["counts", "sampled"])
def test_marginals_of_shots_are_sums_of_all_their_outcomes(mode):
    circuit = ghz(4)
    circuit.ry(0.1, range(4))
    law = Distribution(compile_plan(circuit, labels="AABB"), mode=mode, shots=200, seed=1)
    whole = law.probabilities().reshape([2] * 4)  # axes: qubits 3, 2, 1, 0
    assert whole.min() < 0  # quasi-probabilities stay as they are
    assert np.allclose(law.probabilities([1, 3]), whole.sum(axis=(1, 3)).reshape(-1))
    assert np.allclose(law.probabilities([0], given={2: 1}), whole[:, 1].sum(axis=(0, 1)))
    assert len(law.most_probable(16).probabilities) < 16
    assert min(law.most_probable(16).probabilities.values()) > 0
    assert sum(law.sample(100).values()) == 100


def test_tasks_give_the_same_numbers():
    here = PilotDescription(name="here", resource="inprocess", cores_per_node=2)
    theta = Parameter("t")
    circuit = brick(4, 2, 9, ("cx",))
    circuit.rx(theta, 1)
    plan = compile_plan(circuit, labels="AABB")
    with PilotManager([here]) as pilots, TaskManager(pilots) as tasks:
        for mode in ("exact", "counts", "sampled"):
            options = {"mode": mode, "shots": 300, "seed": 4}
            alone = reconstruct_probabilities(plan, [0.3], **options)
            assert np.array_equal(
                alone, reconstruct_probabilities(plan, [0.3], tasks=tasks, **options)
            )


def test_fragments_of_more_bits_than_a_machine_word():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (40, 90)).astype(np.uint8)
    variants, weights = rng.integers(0, 3, 40), rng.normal(size=40)
    some = CountedOutcomes(
        tuple(range(90)), (0,), (3,), variants, bits, weights, np.abs(weights), 100
    )
    given = np.unique(bits[:5, 10:], axis=0)
    found = some.tensor([4, 2], list(range(10, 90)), given)
    expected = np.zeros((len(given), 4, 3))
    for variant, row, weight in zip(some.variants, bits, some.weights, strict=True):
        for k, wanted in enumerate(given):
            if (row[10:] == wanted).all():
                expected[k, row[4] + 2 * row[2], variant] += weight
    assert np.count_nonzero(expected)
    assert np.allclose(found, expected)


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
    law = Distribution(compile_plan(ghz(40), labels="A" * 20 + "B" * 20))
    with pytest.raises(UserError, match=r"2\^40 outcomes.*most_probable or sample"):
        law.probabilities()
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

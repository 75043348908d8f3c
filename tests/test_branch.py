"""The exact engine: values and gradients to machine precision, and its memory limit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from test_exactness import CIRCUITS, OBSERVABLES, exact, scores
from test_gradient import OBSERVABLE, PLACES, between_rotations

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.backends.branch import BranchEngine
from pilotcut.errors import CutError
from pilotcut.training.model import classifier


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_cut_gate_is_exact(name):
    circuit = CIRCUITS[name]
    data = CutEstimator(labels="AAB", mode="exact").run([(circuit, OBSERVABLES)]).result()[0].data
    np.testing.assert_allclose(data.evs, exact(circuit), atol=1e-10)
    assert not data.stds.any()


def parameter_shift(circuit, observable, values):
    """Exact derivatives of the uncut circuit, one gate angle at a time, by complex steps of DFT.

    Every angle enters as a trigonometric polynomial of period 4 pi with frequencies up to 2 in
    half steps, so that nine equidistant points fix its derivative exactly.
    """
    points = 4 * np.pi * np.arange(9) / 9
    frequency = np.fft.fftfreq(9, 1 / 9) / 2

    def slope(k):
        def value(shift):
            shifted = np.array(values, dtype=float)
            shifted[k] += shift
            state = Statevector(circuit.assign_parameters(shifted))
            return state.expectation_value(observable).real

        modes = np.fft.fft([value(point) for point in points]) / 9
        return float((1j * frequency * modes).sum().real)

    return np.array([slope(k) for k in range(len(values))])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 6))
def test_random_circuits_random_cuts(seed, qubits):
    """Values to 1e-10 and gradients to 1e-8 of the uncut circuit."""
    rng = np.random.default_rng(seed)
    circuit, values = QuantumCircuit(qubits), []

    def angle():
        values.append(rng.uniform(-3, 3))
        return Parameter(f"p{len(values):02}")

    one, two = ["rx", "ry", "rz", "p"], ["rzz", "rxx", "ryy", "rzx", "crx", "cry", "crz", "cp"]
    fixed = ["cx", "cz", "swap", "ecr", "iswap"]
    for qubit in range(qubits):
        getattr(circuit, rng.choice(one))(angle(), qubit)
    for _ in range(qubits + 1):
        pair = [int(q) for q in rng.permutation(qubits)[:2]]
        if rng.random() < 0.6:
            getattr(circuit, rng.choice(two))(angle(), *pair)
        else:
            getattr(circuit, rng.choice(fixed))(*pair)
        getattr(circuit, rng.choice(one))(angle(), pair[0])
    labels = "".join(rng.choice(list("AB"), qubits))
    letters = ["".join(rng.choice(list("IXYZ"), qubits)) for _ in range(3)]
    observable = SparsePauliOp(letters, rng.uniform(-1, 1, 3))
    estimator = CutEstimator(labels=labels, mode="exact")
    value = estimator.run([(circuit, observable, values)]).result()[0].data.evs
    state = Statevector(circuit.assign_parameters(values))
    assert value == pytest.approx(state.expectation_value(observable).real, abs=1e-10)
    gradient = CutGradient(estimator).run([circuit], [observable], [values]).result().gradients[0]
    np.testing.assert_allclose(gradient, parameter_shift(circuit, observable, values), atol=1e-8)


@pytest.mark.parametrize("labels", ["AAA", "ABB", "ABC"])
@pytest.mark.parametrize("name", [n for n in PLACES if n not in ("u", "r")])
def test_shared_scaled_and_curved_angles(name, labels):
    circuit = between_rotations(PLACES[name])
    values = np.array([0.7, 1.2, 0.4])[: circuit.num_parameters]
    gradient = CutGradient(CutEstimator(labels=labels, mode="exact"))
    found = gradient.run([circuit], [OBSERVABLE], [values]).result().gradients[0]
    step = 1e-4 * np.eye(len(values))

    def value(v):
        return Statevector(circuit.assign_parameters(v)).expectation_value(OBSERVABLE).real

    # Richardson: the error of central differences is of the fourth order.
    by_difference = [
        (
            8 * (value(values + s) - value(values - s))
            - (value(values + 2 * s) - value(values - 2 * s))
        )
        / 12e-4
        for s in step
    ]
    np.testing.assert_allclose(found, by_difference, atol=1e-8)


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_the_angle_of_a_bound_cut_gate_is_no_matter_of_caches(mode):
    """Its operations are the same at any angle, its branches are not."""
    for angle in (0.3, 1.0, 2.0):
        circuit = QuantumCircuit(2)
        circuit.ry(0.7, 0)
        circuit.ry(1.1, 1)
        circuit.rzz(angle, 0, 1)
        circuit.rx(0.4, 0)
        circuit.rx(0.3, 1)
        estimator = CutEstimator(labels="AB", mode=mode, shots=10**7, seed=1)
        value = estimator.run([(circuit, "ZZ")]).result()[0].data.evs
        assert value == pytest.approx(exact(circuit, ["ZZ"])[0], abs=2e-3)


def test_chunks_of_rows_change_nothing():
    """A small memory limit splits the batch, and values and gradients stay the same."""
    model = classifier(6)
    plan = compile_plan(model.circuit, model.observable, cuts=1)
    fragment = plan.fragments[0]
    angles = torch.rand(10, len(fragment.angles), dtype=torch.float64, requires_grad=True)
    whole = BranchEngine()
    few = BranchEngine(memory_bytes=4000)
    assert 1 <= few.rows_at_once(fragment) < 10
    results = [engine.tensor(fragment, angles) for engine in (whole, few)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-14)
    slopes = [torch.autograd.grad(r.real.sum() + r.imag.sum(), angles)[0] for r in results]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


def test_single_precision_is_near_double():
    model = classifier(8)
    fragment = compile_plan(model.circuit, model.observable, cuts=1).fragments[0]
    angles = torch.rand(3, len(fragment.angles), dtype=torch.float64)
    double = BranchEngine().tensor(fragment, angles)
    single = BranchEngine(dtype=torch.complex64).tensor(fragment, angles)
    assert single.dtype == torch.complex64
    torch.testing.assert_close(single.to(double.dtype), double, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused_before_it_is_allocated():
    """The message has the numbers on both sides and a width that fits."""
    model = classifier(40)
    fragment = compile_plan(model.circuit, model.observable).fragments[0]
    with pytest.raises(
        CutError, match=r"40 qubits, 1 branches\) needs .* GiB .* at most 2 GiB"
    ) as e:
        BranchEngine().rows_at_once(fragment)
    width = int(str(e.value).rsplit("max_width=", 1)[1])
    narrow = compile_plan(model.circuit, model.observable, max_width=width)
    for piece in narrow.fragments:
        assert BranchEngine().rows_at_once(piece) >= 1


@pytest.mark.parametrize("name", ["0-cx", "8-swap", "17-rzz", "move"])
def test_sampled_draws_have_the_law_of_counts(name):
    """Two-sample tests: values of the two modes have the same mean and the same spread."""
    circuit, observables = CIRCUITS[name], OBSERVABLES[1:]
    values = {}
    for mode in ("sampled", "counts"):
        estimator = CutEstimator(labels="AAB", seed=5, mode=mode, shots=128)
        runs = estimator.run([(circuit, observables)] * 200).result()
        values[mode] = np.array([run.data.evs for run in runs])
        z = np.array([scores(run.data, circuit, observables) for run in runs])
        assert np.abs(z.mean(axis=0)).max() < 0.3
        covered = (np.abs(z) < 1.96).mean()
        assert 0.92 < covered < 0.98
    a, b = values["sampled"], values["counts"]
    pooled = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 200)
    assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4 * pooled).all()
    assert (np.abs(np.log(a.std(axis=0) / b.std(axis=0))) < 0.25).all()


def test_sampled_draws_keep_the_covariance_of_a_group():
    """ZI and IZ of a Bell state never disagree, so their difference has no spread."""
    bell = QuantumCircuit(3)
    bell.h(0)
    bell.cx(0, 1)
    bell.rx(0.3, 2)
    bell.cz(1, 2)
    difference = SparsePauliOp(["IZI", "IIZ"], [1, -1])
    data = CutEstimator(mode="sampled", seed=1).run([(bell, difference)]).result()[0].data
    assert data.evs == 0
    assert data.stds == pytest.approx(0, abs=1e-9)

"""The exact engine: values and gradients to machine precision, and its memory limit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp, Statevector
from support.circuits import CIRCUITS, OBSERVABLE, OBSERVABLES, PLACES, between_rotations
from support.exact import exact
from support.random_cuts import SharedAngles, random_case

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.backends.statevector import THREADED_AMPLITUDES, StatevectorEngine, threads_for
from pilotcut.errors import CutError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.tasks import TaskManager
from pilotcut.training.model import classifier


@pytest.mark.parametrize("name", CIRCUITS)
def test_every_cut_gate_is_exact(name):
    circuit = CIRCUITS[name]
    data = CutEstimator(labels="AAB", mode="exact").run([(circuit, OBSERVABLES)]).result()[0].data
    np.testing.assert_allclose(data.evs, exact(circuit), atol=1e-10)
    assert not data.stds.any()


def assert_cut_equals_uncut(case: SharedAngles, observable: SparsePauliOp, labels: str):
    """Values to 1e-10 and gradients to 1e-8."""
    estimator = CutEstimator(labels=labels, mode="exact")
    value = estimator.run([(case.circuit, observable, case.values)]).result()[0].data.evs
    job = CutGradient(estimator).run([case.circuit], [observable], [case.values])
    expected, slopes = case.exact(observable)
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(job.result().gradients[0], slopes, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", CIRCUITS)
def test_gradients_around_every_cut_gate_are_exact(name):
    """The rotations around it share parameters with the gate, if its own angle may be free."""
    rng = np.random.default_rng(list(CIRCUITS).index(name))
    case = SharedAngles.of(CIRCUITS[name], rng, share=0.5)
    assert_cut_equals_uncut(case, SparsePauliOp(OBSERVABLES, np.linspace(-1, 1, 6)), "AAB")


@pytest.mark.parametrize("qubits", range(3, 13))
def test_random_circuits_of_every_width(qubits):
    """Gates are cut in each of them, and some parameter has gates in several fragments."""
    spread = []
    for seed in range(2 if qubits < 9 else 1):
        case, observable, labels = random_case(seed, qubits)
        plan = compile_plan(case.circuit, observable, labels=labels)
        assert plan.num_cuts
        used = plan.binding.jacobian(case.values[None])[0] != 0  # (slots, parameters)
        inside = [used[[angle.slot for angle in f.angles]].any(axis=0) for f in plan.fragments]
        spread.append(np.sum(inside, axis=0).max())
        assert_cut_equals_uncut(case, observable, labels)
    assert max(spread) > 1


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 7))
def test_random_circuits_random_cuts(seed, qubits):
    assert_cut_equals_uncut(*random_case(seed, qubits))


@pytest.mark.parametrize(
    ("mode", "observables"), [("exact", ["ZZZZ"]), ("sampled", ["ZZZZ", "ZIZZ"])]
)
def test_fragments_that_differ_in_branches_only_are_kept_apart(mode, observables):
    """The control of a CX has the operations of a CZ's, and other branches."""
    circuit = QuantumCircuit(4)
    for control in (0, 2):
        circuit.rx(0.3, control)
        circuit.rx(0.5, control + 1)
    circuit.cx(0, 1)
    circuit.cz(2, 3)
    for control in (0, 2):
        circuit.ry(0.7, control)
        circuit.rx(0.9, control + 1)
    data = CutEstimator(labels="ABCD", mode=mode, seed=1).run([(circuit, observables)]).result()
    deviation = np.abs(data[0].data.evs - exact(circuit, observables))
    assert (deviation < 4 * data[0].data.stds + 1e-10).all()


def test_angles_that_no_observable_sees_have_no_slope():
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    circuit.rx(a, 0)
    circuit.ry(b, 1)
    gradient = CutGradient(CutEstimator(labels="AB", mode="exact"))
    found = gradient.run([circuit], [SparsePauliOp("IZ")], [[0.3, 0.4]]).result().gradients[0]
    np.testing.assert_allclose(found, [-np.sin(0.3), 0], atol=1e-12)


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
    whole = StatevectorEngine()
    few = StatevectorEngine(memory_bytes=4000)
    assert 1 <= few.rows_at_once(fragment) < 10
    results = [engine.tensor(fragment, angles) for engine in (whole, few)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-14)
    slopes = [torch.autograd.grad(r.real.sum() + r.imag.sum(), angles)[0] for r in results]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-12)


def threads_of_states():
    """Return how many threads work on small and on large states here."""
    found = []
    for amplitudes in (1, THREADED_AMPLITUDES):
        with threads_for(amplitudes):
            found.append(torch.get_num_threads())
    return found


@pytest.mark.parametrize("threads", [1, 2])
def test_large_states_take_the_threads_of_their_worker(threads):
    """Workers that are threads of a process do not take all that the process has."""
    (pilot,) = embedded(2, threads)
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        assert tasks.submit_task(threads_of_states).result() == [1, threads]


def test_single_precision_is_near_double():
    model = classifier(8)
    fragment = compile_plan(model.circuit, model.observable, cuts=1).fragments[0]
    angles = torch.rand(3, len(fragment.angles), dtype=torch.float64)
    double = StatevectorEngine().tensor(fragment, angles)
    single = StatevectorEngine(dtype=torch.complex64).tensor(fragment, angles)
    torch.testing.assert_close(single, double, rtol=0, atol=1e-5)
    assert not torch.equal(single, double)


def test_what_does_not_fit_is_refused_before_it_is_allocated():
    """The message has the numbers on both sides and a width that fits."""
    model = classifier(40)
    fragment = compile_plan(model.circuit, model.observable).fragments[0]
    with pytest.raises(
        CutError, match=r"40 qubits, 1 branches\) needs .* GiB .* at most 2 GiB"
    ) as e:
        StatevectorEngine().rows_at_once(fragment)
    width = int(str(e.value).rsplit("max_width=", 1)[1])
    narrow = compile_plan(model.circuit, model.observable, max_width=width)
    for piece in narrow.fragments:
        assert StatevectorEngine().rows_at_once(piece) >= 1


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

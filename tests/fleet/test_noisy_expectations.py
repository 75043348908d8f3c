"""Exact expectations of a noisy model, draws from them, and counts, which must agree with them."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp, Statevector
from qiskit.transpiler import InstructionProperties
from qiskit_aer import AerSimulator
from support.noisy_models import DEVICES, NOISY, device, on

from pilotcut.backends.noise_model import Device
from pilotcut.backends.qpu_target import device_of
from pilotcut.fleet import device_jobs, models
from pilotcut.fleet.engines import CountedCircuits, DrawnExpectations
from pilotcut.fleet.models import observed_qubits
from pilotcut.fleet.noisy_expectations import NoisyExpectations
from pilotcut.fleet.shifts import Shifts
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.training.model import Model

SILENT = {
    "qubits": 4,
    "infidelity_1q": 0.0,
    "infidelity_2q": 0.0,
    "t1_us": 1e12,
    "t2_us": 1e12,
    "topology": "star",
}

#: How often a test of counts against the exact distribution may fail on right code, over all
#: its values.
FALSE_ALARM = 1e-6


def parity(name: str, qubits: int, label: str) -> Model:
    return replace(models.model(name, qubits), observables=(SparsePauliOp(label),))


def angles(model: Model, samples: int = 3, seed: int = 0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-4, 4, len(model.weights)), rng.uniform(-3, 3, (samples, len(model.inputs)))


def bound(model: Model, weights, sample) -> dict[Parameter, float]:
    values = [*sample, *weights]
    return dict(zip([*model.inputs, *model.weights], map(float, values), strict=True))


def by_aer(model: Model, compilation, q: Device, weights, sample) -> float:
    """Return the parity that is read, from the density matrix of the whole device."""
    circuit = compilation.circuit.assign_parameters(bound(model, weights, sample))
    circuit.save_density_matrix()
    simulator = AerSimulator(noise_model=q.noise_on(range(q.qubits)), method="density_matrix")
    state = simulator.run(circuit).result().data()["density_matrix"]
    label, flips = ["I"] * q.qubits, 1.0
    for qubit in observed_qubits(model):
        place = compilation.final_layout[qubit]
        label[place] = "Z"
        flips *= 1 - 2 * q.target["measure"][(place,)].error
    return flips * float(np.real(state.expectation_value(SparsePauliOp("".join(label[::-1])))))


# The models.


def gates(model: Model):
    """Return (name, qubits) of every gate, and the parameters in their order."""
    found = model.circuit.data
    wires = [tuple(model.circuit.find_bit(q).index for q in i.qubits) for i in found]
    return list(zip((i.operation.name for i in found), wires, strict=True)), [
        i.operation.params[0] for i in found
    ]


def on_each(name):
    return [(name, (qubit,)) for qubit in range(4)]


# Sim et al., arXiv:1905.10876, figure 2: (control, target), from left to right.
RING = [(3, 0), (2, 3), (1, 2), (0, 1)]
OTHER_RING = [(3, 2), (0, 3), (1, 0), (2, 1)]
ALL = "32 31 30 23 21 20 13 12 10 03 02 01"


@pytest.mark.parametrize("gate", ["crz", "crx"])
def test_the_ring_models_are_circuits_13_and_14(gate):
    model = models.model(gate, 4)
    found, parameters = gates(model)
    assert found == [
        *on_each("rx"),
        *on_each("ry"),
        *((gate, pair) for pair in RING),
        *on_each("ry"),
        *((gate, pair) for pair in OTHER_RING),
    ]
    assert parameters == [*model.inputs, *model.weights]


def test_the_all_to_all_model_is_circuit_5():
    model = models.model("crz-all", 4)
    found, parameters = gates(model)
    assert found == [
        *on_each("rx"),
        *on_each("rx"),
        *on_each("rz"),
        *(("crz", (int(a), int(b))) for a, b in ALL.split()),
        *on_each("rx"),
        *on_each("rz"),
    ]
    assert parameters == [*model.inputs, *model.weights]


@pytest.mark.parametrize("qubits", [2, 3, 4, 6])
def test_the_ring_models_have_4n_weights_and_the_other_n_squared_and_3n(qubits):
    assert len(models.model("crz", qubits).weights) == 4 * qubits
    assert len(models.model("crx", qubits).weights) == 4 * qubits
    assert len(models.model("crz-all", qubits).weights) == qubits**2 + 3 * qubits
    assert observed_qubits(models.model("crz", qubits)) == [0]


# The exact expectations.


@pytest.mark.parametrize("name", ["crz", "crx", "crz-all"])
@pytest.mark.parametrize(("qubits", "label"), [(2, "ZZ"), (4, "IIIZ"), (4, "ZIZZ")])
def test_without_noise_the_expectation_is_the_state_s(name, qubits, label):
    model = parity(name, qubits, label)
    weights, samples = angles(model)
    noisy = NoisyExpectations(*on(device_of("s", QpuDescription(**SILENT)), model))
    expected = [
        Statevector(model.circuit.assign_parameters(bound(model, weights, sample)))
        .expectation_value(model.observable)
        .real
        for sample in samples
    ]
    np.testing.assert_allclose(noisy.values(weights, samples), expected, atol=1e-9)


@pytest.mark.parametrize("name", ["crz", "crx", "crz-all"])
@pytest.mark.parametrize("where", DEVICES)
def test_the_expectation_is_that_of_aer_s_density_matrix(where, name):
    for qubits, label in ((2, "IZ"), (4, "ZIZZ")):
        prepared = on(DEVICES[where], parity(name, qubits, label))
        weights, samples = angles(prepared[0])
        found = NoisyExpectations(*prepared).values(weights, samples)
        assert found[1] == pytest.approx(by_aer(*prepared, weights, samples[1]), abs=1e-6)


@pytest.mark.parametrize("where", DEVICES)
def test_a_shifted_row_is_the_value_at_the_shifted_weights(where):
    for name, qubits in (("crz", 3), ("crx", 4), ("crz-all", 2)):
        prepared = on(DEVICES[where], parity(name, qubits, "Z" * qubits))
        noisy, offsets = NoisyExpectations(*prepared), Shifts.of(prepared[0]).offsets
        weights, samples = angles(prepared[0], samples=2)
        one_by_one = [noisy.values(weights + offset, samples) for offset in offsets]
        np.testing.assert_allclose(noisy.shifted(weights, samples), one_by_one, atol=1e-12)


@pytest.mark.parametrize(
    ("where", "name"),
    [("line", "crz"), ("ring", "crx"), ("star", "crz-all"), ("grid", "crx"), ("manila", "crz")],
)
def test_shifts_give_the_slope_of_the_noisy_expectation(where, name):
    prepared = on(DEVICES[where], parity(name, 3, "ZIZ"))
    noisy, shifts = NoisyExpectations(*prepared), Shifts.of(prepared[0])
    weights, samples = angles(prepared[0], samples=2)
    slopes = shifts.coefficients.T @ noisy.shifted(weights, samples)
    steps = 1e-4 * np.eye(len(weights))
    differences = [
        (noisy.values(weights + step, samples) - noisy.values(weights - step, samples)) / 2e-4
        for step in steps
    ]
    np.testing.assert_allclose(slopes, differences, atol=1e-6)


def test_a_device_s_gradient_is_the_slope_of_its_loss():
    job = device_jobs.Job("q", QpuDescription(**NOISY), "crx", 2)
    weights, samples = angles(job.prepared.model, samples=5)
    labels = np.array([1.0, -1.0, -1.0, 1.0, -1.0])
    found = device_jobs.gradient(job, weights, samples, labels, shots=0, seed=0)

    def loss(at):
        return device_jobs.mean_loss(device_jobs.values(job, at, samples, 0, 0), labels)

    steps = 1e-4 * np.eye(len(weights))
    differences = [(loss(weights + step) - loss(weights - step)) / 2e-4 for step in steps]
    np.testing.assert_allclose(found.gradient, differences, atol=1e-6)
    assert found.loss == pytest.approx(loss(weights))
    np.testing.assert_allclose(found.values, device_jobs.values(job, weights, samples, 0, 0))


def test_inputs_may_be_entangled_before_and_after_the_rest_of_the_encoding():
    circuit, x, w = QuantumCircuit(3), ParameterVector("x", 4), ParameterVector("w", 3)
    circuit.h(0)
    circuit.rx(x[0], 0)
    circuit.rx(x[1], 2)
    circuit.cx(0, 2)
    circuit.rzz(x[2], 0, 1)
    circuit.ry(2 * x[3] + 1, 2)
    circuit.s(1)
    for k in range(3):
        circuit.crx(w[k], k, (k + 1) % 3)
        circuit.cx((k + 1) % 3, k)
    model = Model(circuit, tuple(x), tuple(w), (SparsePauliOp("ZZI"),))
    prepared = on(device(topology="full"), model)
    weights, samples = angles(model)
    found = NoisyExpectations(*prepared).values(weights, samples)
    expected = [by_aer(*prepared, weights, sample) for sample in samples]
    np.testing.assert_allclose(found, expected, atol=1e-6)


class Misread(InstructionProperties):
    """A measurement as some backends report it: 1 is misread more often than 0."""

    prob_meas1_prep0 = 0.02
    prob_meas0_prep1 = 0.2


def test_a_measurement_that_misreads_1_more_often_than_0_moves_the_expectation_and_the_counts():
    q = device(readout_error=0.0)
    for qubit in range(q.qubits):
        q.target.update_instruction_properties("measure", (qubit,), Misread(1e-6, 0.11))
    prepared = on(q, parity("crz", 2, "ZZ"))
    weights, samples = angles(prepared[0], samples=1)
    read_right = NoisyExpectations(*on(device(readout_error=0.0), parity("crz", 2, "ZZ")))
    single = [
        NoisyExpectations(*on(device(readout_error=0.0), parity("crz", 2, z))) for z in ("IZ", "ZI")
    ]
    # Each Z is read as 0.18 + 0.78 Z: P(0 | 1) - P(1 | 0), and 1 less both.
    expected = (
        0.18**2
        + 0.18 * 0.78 * sum(noisy.values(weights, samples) for noisy in single)
        + 0.78**2 * read_right.values(weights, samples)
    )
    noisy = NoisyExpectations(*prepared)
    np.testing.assert_allclose(noisy.values(weights, samples), expected, atol=1e-9)
    counted = CountedCircuits(*prepared).values(weights, samples, 4000, 1)
    assert_drawn_from(counted, noisy.values(weights, samples), 4000)


# Shots.


def assert_drawn_from(found: np.ndarray, expectations: np.ndarray, shots: int) -> None:
    """Test all against their normal distribution; together they may be wrong by `FALSE_ALARM`."""
    most = NormalDist().inv_cdf(1 - FALSE_ALARM / 2 / found.size)
    deviations = np.sqrt((1 - expectations**2) / shots)
    np.testing.assert_array_less(np.abs(found - expectations), most * deviations)


def test_draws_are_binomial_and_the_same_for_the_same_seed():
    prepared = on(DEVICES["ring"], models.model("crz", 2))
    noisy = NoisyExpectations(*prepared)
    weights, samples = angles(prepared[0], samples=1)
    many, shots = np.repeat(samples, 40_000, axis=0), 50
    drawn = DrawnExpectations(noisy).values(weights, many, shots, 7)
    (expectation,) = noisy.values(weights, samples)
    variance = (1 - expectation**2) / shots
    deviations = np.abs(drawn.mean() - expectation) / np.sqrt(variance / len(many))
    assert deviations < NormalDist().inv_cdf(1 - FALSE_ALARM / 2)
    # The variance of a variance is about 2 variance² / draws.
    assert abs(drawn.var() / variance - 1) < 5 * np.sqrt(2 / len(many))
    assert np.isin(np.round((drawn + 1) / 2 * shots, 9) % 1, [0, 1]).all()
    np.testing.assert_array_equal(drawn, DrawnExpectations(noisy).values(weights, many, shots, 7))
    assert (drawn != DrawnExpectations(noisy).values(weights, many, shots, 8)).any()
    exact = DrawnExpectations(noisy).shifted(weights, samples, 0, 7)
    np.testing.assert_array_equal(exact, noisy.shifted(weights, samples))


NOISY_BACKEND = GenericBackendV2(
    5, coupling_map=[[0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [3, 2], [3, 4], [4, 3]], seed=2
)


@pytest.mark.parametrize("simulate", [True, False])
def test_counts_are_drawn_from_the_exact_distribution_on_aer_and_on_a_backend_itself(simulate):
    like = QpuDescription(like=f"{__name__}:NOISY_BACKEND", simulate=simulate)
    q = device_of("b", like)
    assert (q.direct is None) == simulate
    prepared = on(q, parity("crx", 2, "ZZ"))
    weights, samples = angles(prepared[0], samples=2)
    noisy, engine, shots = NoisyExpectations(*prepared), CountedCircuits(*prepared), 2000
    counted = engine.shifted(weights, samples, shots, 3)
    assert_drawn_from(counted, noisy.shifted(weights, samples), shots)
    values = engine.values(weights, samples, shots, 4)
    assert_drawn_from(values, noisy.values(weights, samples), shots)
    np.testing.assert_array_equal(values, engine.values(weights, samples, shots, 4))


@pytest.mark.parametrize("label", ["IIZ", "ZIZ", "ZZZ"])
def test_counts_with_much_noise_are_drawn_from_the_exact_distribution(label):
    prepared = on(DEVICES["star"], parity("crz", 3, label))
    weights, samples = angles(prepared[0], samples=6)
    shots = 4000
    counted = CountedCircuits(*prepared).values(weights, samples, shots, 5)
    assert_drawn_from(counted, NoisyExpectations(*prepared).values(weights, samples), shots)


def test_of_a_large_device_only_what_the_model_touches_is_prepared_and_run(monkeypatch):
    large = device_of("large", QpuDescription(like="FakeSherbrooke"))
    prepared = on(large, models.model("crz", 4))
    touched = {qubit for step in prepared[1].steps for qubit in step.qubits}
    assert len(touched) < 7
    asked, ran = set(), []
    noise_of, run = Device.gate_noise, AerSimulator.run
    monkeypatch.setattr(
        Device, "gate_noise", lambda self, name, q: (asked.update(q), noise_of(self, name, q))[1]
    )
    monkeypatch.setattr(
        AerSimulator, "run", lambda self, c, **how: (ran.extend(c), run(self, c, **how))[1]
    )
    weights, samples = angles(prepared[0], samples=2)
    expected = NoisyExpectations(*prepared).values(weights, samples)
    counted = CountedCircuits(*prepared).values(weights, samples, 2000, 1)
    assert asked == touched
    assert [circuit.num_qubits for circuit in ran] == [len(touched)]
    assert_drawn_from(counted, expected, 2000)


# What neither takes.

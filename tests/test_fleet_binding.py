"""Cut models on devices: their noise, who gets which fragment, and recommendations by error."""

from contextlib import contextmanager

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Operator, SparsePauliOp, SuperOp
from test_plan import entangled, exact_tensor

from pilotcut import CutEstimator, CutGradient, compile_plan
from pilotcut.backends.base import Fit
from pilotcut.backends.device import Device, device_of
from pilotcut.backends.qpu import DeviceCompiler, QpuBackend, deferred
from pilotcut.binding import Part, bind
from pilotcut.cutting.fragment import Fragment, FragmentTensor
from pilotcut.descriptions import BackendDescription, PilotDescription
from pilotcut.descriptions.qpu import QpuDescription
from pilotcut.errors import CutError
from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager

SHOTS = 2000


def qpu(qubits: int = 4, error_1q=0.0, error_2q=0.0, readout=0.0, **more) -> QpuDescription:
    """A QPU of long T1 and T2: what errs is said here."""
    numbers = {"t1_us": 1e9, "t2_us": 1e9, "infidelity_1q": error_1q, "infidelity_2q": error_2q}
    return QpuDescription(qubits=qubits, readout_error=readout, **numbers, **more)


def device(*args, name: str = "q", **more) -> Device:
    return device_of(name, qpu(*args, **more))


def middle() -> Fragment:
    """A fragment of two wires, with a site that is followed by gates and one that is observed."""
    circuit = entangled([(0, 1), (1, 2), (2, 3), (1, 2)], 4)
    circuit.rx(Parameter("a"), 1)
    circuit.rzz(Parameter("b"), 1, 2)
    return compile_plan(circuit, ["ZZXZ", "ZIZZ", "XYYX"], labels="ABBC").fragments[1]


def measured(backend: QpuBackend, fragment: Fragment, angles, shots: int, seed: int):
    tensor = FragmentTensor.empty(fragment, len(angles))
    whole = slice(0, fragment.num_subexperiments)
    for block in backend.run(fragment, angles, whole, shots, seed).blocks:
        tensor.fill(fragment, slice(0, len(angles)), block)
    return tensor.values


def scores(values: np.ndarray, expected: np.ndarray, shots: int) -> np.ndarray:
    spread = np.sqrt(np.maximum(1 - expected**2, 0) / shots)
    certain = spread < 1e-6
    assert np.abs(values - expected)[certain].max(initial=0) < 1e-9
    return (values - expected)[~certain] / spread[~certain]


def noisy_mean(dev: Device, circuit: QuantumCircuit, mask: int) -> float:
    """The mean sign of bits of a device's circuit, from gates and channels one by one.

    Signs that are measured midway are projections; nothing here is Aer's simulation.
    """
    noise = dev.noise_model.to_dict()["errors"]
    readout = {e["gate_qubits"][0][0]: e["probabilities"] for e in noise if e["type"] == "roerror"}
    errors = dev.noise_model._local_quantum_errors
    rho = DensityMatrix.from_int(0, 2**circuit.num_qubits)
    z, one = np.diag([1.0, -1.0]), np.eye(2)
    for step in circuit.data:
        name = step.operation.name
        qubits = [circuit.find_bit(q).index for q in step.qubits]
        if name == "barrier":
            continue
        if name != "measure":
            rho = rho.evolve(Operator(step.operation), qubits)
            if error := errors.get(name, {}).get(tuple(qubits)):
                rho = rho.evolve(SuperOp(error.to_quantumchannel()), qubits)
            continue
        if not mask >> circuit.find_bit(step.clbits[0]).index & 1:
            continue  # summed over: what is measured for another member of the group
        (p00, p01), (p10, p11) = readout.get(qubits[0], [(1, 0), (0, 1)])
        # sign = (p00 - p01) P0 + (p10 - p11) P1, in place of P0 - P1
        plus, minus = (one + z) / 2, (one - z) / 2
        kept = [
            (weight, DensityMatrix(full @ rho.data @ full))
            for weight, part in ((p00 - p01, plus), (p10 - p11, minus))
            for full in [_on(part, qubits[0], circuit.num_qubits)]
        ]
        rho = DensityMatrix(sum(weight * some.data for weight, some in kept))
    return float(np.trace(rho.data).real)


def _on(matrix: np.ndarray, qubit: int, size: int) -> np.ndarray:
    return np.kron(np.eye(2 ** (size - 1 - qubit)), np.kron(matrix, np.eye(2**qubit)))


# -- the backend --------------------------------------------------------------------------


@pytest.mark.parametrize("topology", ["line", "star"])
def test_a_device_without_errors_samples_the_exact_tensor(topology):
    """z-scores of every entry, through couplings, gates and deferred signs, are about normal."""
    fragment = middle()
    angles = np.array([[0.7, -1.9], [2.2, 0.4]])
    backend = QpuBackend(DeviceCompiler(device(4, topology=topology)))
    values = measured(backend, fragment, angles, SHOTS, 3)
    exact = np.array([exact_tensor(fragment, row) for row in angles])
    z = scores(values, exact, SHOTS)
    assert np.abs(z).max() < 5
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / (len(z) / 2))


def test_a_noisy_device_gives_what_its_channels_give_one_by_one():
    """Entries equal a calculation gate by gate, with projections where Aer has ancillas."""
    fragment = middle()
    angles = np.array([[0.7, -1.9]])
    dev = device(3, 0.02, 0.06, 0.04)
    compiler = DeviceCompiler(dev)
    values = measured(QpuBackend(compiler), fragment, angles, 4 * SHOTS, 3)
    exact = exact_tensor(fragment, angles[0])
    expected, found, ideal = [], [], []
    for template in fragment.templates:
        built = compiler.template(fragment, template)
        for k in range(0, len(template.variants), 13):
            numbers = built.values(angles, template.choices[k : k + 1])[0]
            bound = built.circuit.assign_parameters(dict(zip(built.parameters, numbers)))
            where = np.unravel_index(template.variants[k], fragment.site_shape)
            for mask, member in zip(built.masks, fragment.groups[template.group], strict=True):
                expected.append(noisy_mean(dev, bound, mask))
                found.append(values[(0, member, *where)])
                ideal.append(exact[(member, *where)])
    z = scores(np.array(found), np.array(expected), 4 * SHOTS)
    assert len(z) > 20
    assert np.abs(z).max() < 4.5
    assert np.abs(scores(np.array(found), np.array(ideal), 4 * SHOTS)).max() > 10


def test_deferred_copies_are_read_as_wrongly_as_the_qubit_and_without_gate_error():
    """A sign measured midway and deferred has exactly the readout error of the measured qubit."""
    circuit = QuantumCircuit(2, 2)
    circuit.measure(1, 0)
    circuit.x(1)
    circuit.measure(1, 1)
    whole = deferred(circuit)
    assert whole.num_qubits == 4
    backend = QpuBackend(DeviceCompiler(device(2, 0.0, 0.5, 0.1)))
    (result,) = backend._simulated([whole], [{}], 20_000, 1).results
    counts = result.data.counts
    wrong = sum(n for key, n in counts.items() if int(key, 16) & 1) / 20_000
    assert wrong == pytest.approx(0.1, abs=0.011)


def test_a_fragment_too_wide_is_one_line_with_all_numbers():
    """The message names fragment, its qubits, the device and its qubits, and what to do."""
    fragment = compile_plan(entangled([(0, 1), (1, 2)], 3), ["ZZZ"]).fragments[0]
    backend = QpuBackend(DeviceCompiler(device(2, name="tiny")))
    with pytest.raises(CutError) as caught:
        measured(backend, fragment, np.zeros((1, 0)), 10, 1)
    assert str(caught.value) == (
        "fragment A needs 3 qubits, 'tiny' has 2; cut it narrower: more cuts, or max_width=2"
    )


def test_a_backend_that_runs_itself_gets_mid_circuit_measurements():
    """With simulate: false circuits go to the backend's own run, bound and as measured."""
    fragment = middle()
    angles = np.array([[0.7, -1.9]])
    description = QpuDescription(like="test_fleet_binding:aer_of_four", simulate=False)
    backend = QpuBackend(DeviceCompiler(device_of("own", description)))
    values = measured(backend, fragment, angles, 200, 3)
    z = scores(values[0], exact_tensor(fragment, angles[0]), 200)
    assert np.abs(z).max() < 5
    np.testing.assert_array_equal(values, measured(backend, fragment, angles, 200, 3))


def aer_of_four():
    """A BackendV2 of four ideal qubits."""
    from qiskit.providers.fake_provider import GenericBackendV2
    from qiskit_aer import AerSimulator

    return AerSimulator.from_backend(
        GenericBackendV2(4, basis_gates=["rz", "sx", "x", "cz"], noise_info=False, seed=1)
    )


# -- binding rules, pure ------------------------------------------------------------------


def fit(error: float, shot_s: float = 1e-4, lack: str = "") -> Fit:
    return Fit(error, shot_s, lack)


def some_parts(request: int, count: int, shots: int = 1000) -> list[Part]:
    return [Part(request, number, circuits=10, shots=shots) for number in range(count)]


def test_only_devices_near_the_best_take_part_and_share_the_load():
    """Within the tolerance the makespan is least; beyond it a device stays idle."""
    fits = {"best": fit(0.05), "near": fit(0.06), "far": fit(0.08)}
    found = bind(some_parts(0, 6), ["A"], [fits], tolerance=0.02)
    assert {s.pilot: s.circuits for s in found.shares} == {"best": 30, "near": 30}
    assert found.makespan_s == pytest.approx(0.3)
    assert found.errors == {"A": pytest.approx(0.055)}


def test_without_tolerance_the_best_device_takes_everything():
    """Tolerance 0 is error alone, whatever the load."""
    fits = {"near": fit(0.06), "best": fit(0.05, 9e-4)}
    found = bind(some_parts(0, 6), ["A"], [fits], tolerance=0.0)
    assert set(found.pilots.values()) == {"best"}


def test_a_slow_device_gets_fewer_parts():
    """Parts go where they are done first, by each device's seconds a shot."""
    fits = {"fast": fit(0.05, 1e-4), "slow": fit(0.05, 3e-4)}
    found = bind(some_parts(0, 8), ["A"], [fits])
    assert {s.pilot: s.circuits for s in found.shares} == {"fast": 60, "slow": 20}


def test_a_fragment_goes_only_where_it_fits():
    """The wide fragment has the large device to itself as far as the narrow one can help it."""
    large, small = fit(0.05), fit(0.05)
    wide = {"large": large, "small": fit(1.0, 0.0, "needs 5 qubits, 'small' has 3")}
    found = bind(
        [*some_parts(0, 3), *some_parts(1, 3)],
        ["wide", "narrow"],
        [wide, {"large": large, "small": small}],
    )
    assert {(s.fragment, s.pilot) for s in found.shares} == {("wide", "large"), ("narrow", "small")}
    assert found.infidelity == pytest.approx(1 - 0.95**2)


def test_binding_does_not_depend_on_the_order_of_the_parts():
    """The same parts in another order are bound alike."""
    fits = {"a": fit(0.05), "b": fit(0.05, 2e-4), "c": fit(0.055)}
    parts = [*some_parts(0, 5), *some_parts(1, 4, shots=700)]
    one = bind(parts, ["A", "B"], [fits, fits])
    assert dict(bind(parts[::-1], ["A", "B"], [fits, fits]).pilots) == dict(one.pilots)


def test_what_fits_nowhere_is_said_with_every_reason():
    """One line for the fragment, with what each device lacks."""
    fits = {"p": fit(1, 0, "needs 5 qubits, 'p' has 3"), "q": fit(1, 0, "needs 5 qubits, 'q' has 4")}
    with pytest.raises(CutError) as caught:
        bind(some_parts(0, 2), ["A"], [fits])
    assert caught.value.faults == (
        "fragment A needs 5 qubits, 'p' has 3; needs 5 qubits, 'q' has 4; cut it narrower (more "
        "cuts, or max_width), or describe a device that can run it",
    )


# -- the estimator on a fleet -------------------------------------------------------------


def pilot(name: str, *args, **more) -> PilotDescription:
    backend = BackendDescription(qpu=qpu(*args, **more))
    return PilotDescription(name=name, resource="inprocess", backend=backend)


FLEET = (
    pilot("fine", 3, 0.0005, 0.004, 0.005),
    pilot("small", 2, 0.0005, 0.004, 0.005),
    pilot("noisy", 3, 0.02, 0.08, 0.05),
)


@contextmanager
def tasks_on(*pilots: PilotDescription):
    with PilotManager(pilots) as manager, TaskManager(manager) as tasks:
        yield tasks


def chain() -> tuple[QuantumCircuit, str]:
    """Five qubits in a chain, of value near 1, cut into three and two."""
    circuit = QuantumCircuit(5)
    circuit.rx(Parameter("x"), 0)
    for k in range(4):
        circuit.cx(k, k + 1)
    return circuit, "IIIZZ"


def ghz() -> tuple[QuantumCircuit, str]:
    circuit = QuantumCircuit(5)
    circuit.h(0)
    for k in range(4):
        circuit.cx(k, k + 1)
    circuit.rz(Parameter("x"), 4)
    return circuit, "ZIIIZ"


def estimate(tasks, seed=3, circuit=ghz, **more):
    built, observable = circuit()
    estimator = CutEstimator(tasks, labels="AAABB", shots=512, seed=seed, **more)
    result = estimator.run([(built, observable, [[0.3], [0.8]])]).result()
    return result[0].data.evs, estimator


def test_fragments_run_on_their_devices_and_the_record_says_where():
    """The wide fragment avoids the small and the noisy device, and every task ran as bound."""
    with tasks_on(*FLEET) as tasks:
        _, estimator = estimate(tasks)
        events = [e for e in tasks.pilots.events.records if e["event"] == "task"]
    (record,) = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
    where = {(d["fragment"], d["pilot"]) for d in record["devices"]}
    assert where == {("A", "fine"), ("B", "small")}  # B within the tolerance of both
    assert sum(d["circuits"] for d in record["devices"]) == record["subexperiments"]
    assert all(0 < d["error"] < 0.1 and d["device_s"] > 0 for d in record["devices"])
    ran = {(e["task"][0], e["pilot"]) for e in events if e["state"] == "done"}
    assert ran == where
    assert "moved" not in record


def test_the_same_seed_gives_the_same_bits_on_a_fleet():
    """Twice the same fleet, plan and seed: equal numbers; another seed differs."""
    with tasks_on(*FLEET) as tasks:
        one, two, other = (estimate(tasks, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_noise_pulls_values_towards_zero_and_more_on_worse_devices():
    """A value of 1 is below 1 on a fine device, and further below on a noisy one."""
    values = []
    for fleet in ((FLEET[0],), (FLEET[2],)):
        with tasks_on(*fleet) as tasks:
            values.append(estimate(tasks)[0].mean())
    exact = estimate(None, mode="exact")[0].mean()
    assert exact == pytest.approx(1.0)
    assert values[0] == pytest.approx(0.9, abs=0.1)
    assert 0.1 < values[1] < values[0] - 0.15


def test_gradients_run_on_devices_too():
    """Fragment-wise shifts are bound like values, and recorded."""
    circuit, observable = chain()
    with tasks_on(*FLEET) as tasks:
        estimator = CutEstimator(tasks, labels="AAABB", shots=512, seed=1)
        gradient = CutGradient(estimator)
        found = gradient.run([circuit], [SparsePauliOp(observable)], [[1.2]]).result()
    records = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
    assert all(record["devices"] for record in records)
    shifts = CutGradient(CutEstimator(labels="AAABB", mode="exact"))
    exact = shifts.run([circuit], [SparsePauliOp(observable)], [[1.2]]).result()
    assert found.gradients[0] == pytest.approx(exact.gradients[0], abs=0.25)

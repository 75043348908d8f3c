"""Cut models on devices: their noise, who gets which fragment, and recommendations by error."""

import json
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Operator, SparsePauliOp, SuperOp
from support.calibrations import install
from support.circuits import entangled
from support.exact import exact_tensor
from typer.testing import CliRunner

from pilotcut import CutEstimator, CutGradient, compile_plan, recommend
from pilotcut.backends.base import DeviceFit
from pilotcut.backends.noise_model import Device
from pilotcut.backends.qpu import DeviceCompiler, QpuBackend, deferred
from pilotcut.backends.qpu_target import device_of
from pilotcut.cli import app
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.errors import CutError, PilotError, UserError
from pilotcut.execution.device_assignment import assign
from pilotcut.execution.query_store import load
from pilotcut.execution.work_units import CircuitUnit
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import BackendDescription, PilotDescription
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.primitives.distribution import Distribution
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


@lru_cache
def channels_of(dev: Device):
    """Superoperators by gate and qubits, and readout probabilities by qubit."""
    noise = dev.noise_model.to_dict()["errors"]
    readout = {e["gate_qubits"][0][0]: e["probabilities"] for e in noise if e["type"] == "roerror"}
    channels = {
        (name, qubits): SuperOp(error.to_quantumchannel())
        for name, some in dev.noise_model._local_quantum_errors.items()
        for qubits, error in some.items()
    }
    return channels, readout


def noisy_mean(dev: Device, circuit: QuantumCircuit, mask: int) -> float:
    """The mean sign of bits of a device's circuit, from gates and channels one by one.

    Signs that are measured midway are projections; nothing here is Aer's simulation.
    """
    channels, readout = channels_of(dev)
    rho = DensityMatrix.from_int(0, 2**circuit.num_qubits)
    z, one = np.diag([1.0, -1.0]), np.eye(2)
    for step in circuit.data:
        name = step.operation.name
        qubits = [circuit.find_bit(q).index for q in step.qubits]
        if name == "barrier":
            continue
        if name != "measure":
            rho = rho.evolve(Operator(step.operation), qubits)
            if (name, tuple(qubits)) in channels:
                rho = rho.evolve(channels[name, tuple(qubits)], qubits)
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
    values = measured(QpuBackend(compiler), fragment, angles, SHOTS, 3)
    exact = exact_tensor(fragment, angles[0])
    expected, found, ideal = [], [], []
    for template in fragment.templates:
        built = compiler.template(fragment, template)
        for k in range(0, len(template.variants), 5):
            numbers = built.values(angles, template.choices[k : k + 1])[0]
            bound = built.circuit.assign_parameters(
                dict(zip(built.parameters, numbers, strict=True))
            )
            where = np.unravel_index(template.variants[k], fragment.site_shape)
            for mask, member in zip(built.masks, fragment.groups[template.group], strict=True):
                expected.append(noisy_mean(dev, bound, mask))
                found.append(values[(0, member, *where)])
                ideal.append(exact[(member, *where)])
    z = scores(np.array(found), np.array(expected), SHOTS)
    assert len(z) > 20
    assert np.abs(z).max() < 4.5
    assert np.abs(scores(np.array(found), np.array(ideal), SHOTS)).max() > 10


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
        "fragment A needs 3 qubits, more than the 2 of 'tiny'; cut it narrower: more cuts, or "
        "max_width=2"
    )


@pytest.mark.filterwarnings("ignore:.*has no QubitProperties")
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


def test_the_predicted_error_is_one_minus_what_every_gate_leaves():
    """Gates, of the target's infidelities, and readouts multiply; rz is free; a shot adds up."""
    circuit = QuantumCircuit(2)
    circuit.x(0)
    circuit.rz(0.3, 0)
    circuit.cz(0, 1)
    fragment = compile_plan(circuit, ["ZZ"]).fragments[0]
    found = DeviceCompiler(device(2, 0.01, 0.05, 0.02)).fit(fragment)
    assert found.error == pytest.approx(1 - 0.99 * 0.95 * 0.98**2)
    assert found.shot_s == pytest.approx(30e-9 + 60e-9 + 1e-6 + 50e-6)


# -- binding rules, pure ------------------------------------------------------------------


def fit(error: float, shot_s: float = 1e-4, lack: str = "") -> DeviceFit:
    return DeviceFit(error, shot_s, lack)


def unit(request: int, number: int, circuits: int, shots: int) -> CircuitUnit:
    """A unit of so many circuits, with so many shots of each."""
    return CircuitUnit(
        request=request,
        number=number,
        rows=slice(0, 1),
        angles=np.zeros((1, 0)),
        cost_s=0.0,
        part=slice(0, circuits),
        shots=shots,
        seed=0,
        backend="aer",
    )


def some_units(request: int, count: int, shots: int = 100) -> list[CircuitUnit]:
    return [unit(request, number, circuits=10, shots=shots) for number in range(count)]


def test_only_devices_near_the_best_take_part_and_share_the_load():
    """Within the tolerance the makespan is least; beyond it a device stays idle."""
    fits = {"best": fit(0.05), "near": fit(0.06), "far": fit(0.08)}
    found = assign(some_units(0, 6), ["A"], [fits], tolerance=0.02)
    assert {s.pilot: s.circuits for s in found.shares} == {"best": 30, "near": 30}
    assert found.makespan_s == pytest.approx(0.3)
    assert found.errors == {"A": pytest.approx(0.055)}


def test_without_tolerance_the_best_device_takes_everything():
    """Tolerance 0 is error alone, whatever the load."""
    fits = {"near": fit(0.06), "best": fit(0.05, 9e-4)}
    found = assign(some_units(0, 6), ["A"], [fits], tolerance=0.0)
    assert set(found.pilots.values()) == {"best"}


def test_a_slow_device_gets_fewer_parts():
    """Parts go where they are done first, by each device's seconds a shot."""
    fits = {"fast": fit(0.05, 1e-4), "slow": fit(0.05, 3e-4)}
    found = assign(some_units(0, 8), ["A"], [fits])
    assert {s.pilot: s.circuits for s in found.shares} == {"fast": 60, "slow": 20}


def test_a_fragment_goes_only_where_it_fits():
    """The wide fragment has the large device to itself as far as the narrow one can help it."""
    large, small = fit(0.05), fit(0.05)
    wide = {"large": large, "small": fit(1.0, 0.0, "needs 5 qubits, more than the 3")}
    found = assign(
        [*some_units(0, 3), *some_units(1, 3)],
        ["wide", "narrow"],
        [wide, {"large": large, "small": small}],
    )
    assert {(s.fragment, s.pilot) for s in found.shares} == {("wide", "large"), ("narrow", "small")}
    assert found.infidelity == pytest.approx(1 - 0.95**2)


def test_binding_does_not_depend_on_the_order_of_the_units():
    """The same units in another order are bound alike."""
    fits = {"a": fit(0.05), "b": fit(0.05, 2e-4), "c": fit(0.055)}
    units = [*some_units(0, 5), *some_units(1, 4, shots=70)]
    one = assign(units, ["A", "B"], [fits, fits])
    assert dict(assign(units[::-1], ["A", "B"], [fits, fits]).pilots) == dict(one.pilots)


ERRORS = st.floats(0.0, 0.3)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5000)), min_size=1, max_size=12),
    st.lists(st.tuples(ERRORS, ERRORS, ERRORS, st.floats(1e-5, 1e-3)), min_size=1, max_size=5),
    st.floats(0.0, 0.1),
)
def test_every_unit_has_a_device_within_the_tolerance(some, devices, tolerance):
    """Any units on any devices: all bound, none beyond the tolerance, and no circuit is lost."""
    units = [unit(request, number, 1, shots) for number, (request, shots) in enumerate(some)]
    fits = [{f"d{k}": fit(d[f], d[3]) for k, d in enumerate(devices)} for f in range(3)]
    found = assign(units, ["A", "B", "C"], fits, tolerance)
    assert set(found.pilots) == {one.index for one in units}
    for (request, _), name in found.pilots.items():
        best = min(one.error for one in fits[request].values())
        assert fits[request][name].error <= best + tolerance
    assert sum(share.circuits for share in found.shares) == len(units)
    assert sum(share.shots for share in found.shares) == sum(one.shots for one in units)
    strict = assign(units, ["A", "B", "C"], fits, 0.0)
    assert strict.infidelity <= found.infidelity + 1e-12


def test_what_fits_nowhere_is_said_with_every_reason():
    """One line for the fragment, with what each device lacks."""
    wide = [f"needs 5 qubits, more than the {room}" for room in (3, 4)]
    fits = {"p": fit(1, 0, wide[0]), "q": fit(1, 0, wide[1]), "r": fit(1, 0, wide[0])}
    with pytest.raises(CutError) as caught:
        assign(some_units(0, 2), ["A"], [fits])
    assert caught.value.faults == (
        "fragment A needs 5 qubits, more than the 3 of 'p'; needs 5 qubits, more than the 4 of "
        "'q', and 1 more pilots are like it; cut it narrower (more cuts, or max_width), or "
        "describe a pilot whose backend.qpu can run it",
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


@contextmanager
def losing(name: str, tasks: TaskManager):
    """End a pilot once parts are bound to it, before its first one is there."""
    ends = next(one for one in tasks.pilots.pilots if one.name == name)
    submit = tasks.submit_task

    def submit_and_lose(*args, **kwargs):
        ends.close()
        return submit(*args, **kwargs)

    tasks.submit_task = submit_and_lose
    yield
    tasks.submit_task = submit


def test_a_batch_goes_on_without_a_device_that_has_gone():
    """Parts bound to a pilot that ends are bound to what is left, and the record says so."""
    twin = pilot("twin", 3, 0.0005, 0.004, 0.005)
    with tasks_on(FLEET[0], twin, FLEET[1]) as tasks:
        with losing("twin", tasks):
            values, estimator = estimate(tasks)
        (record,) = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
        assert {m["from"] for m in record["moved"]} == {"twin"}
        assert {m["to"] for m in record["moved"]} <= {"fine", "small"}
        assert values == pytest.approx(np.ones(2), abs=0.3)
        again = estimate(tasks)[1].trace.records[-1]  # which never counts on it
        assert {d["pilot"] for d in again["devices"]} == {"fine", "small"}
        assert "moved" not in again


def test_no_device_left_says_which_have_gone():
    """When the last device ends, the error names the pilots."""
    with tasks_on(FLEET[0]) as tasks:
        tasks.pilots.pilots[0].close()
        with pytest.raises(
            PilotError, match=r"no device is left, for these pilots have ended: 'fine'"
        ):
            estimate(tasks)


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_modes_without_noise_refuse_a_fleet_of_devices(mode):
    """One line says that the mode simulates no noise, and what to do."""
    with tasks_on(*FLEET) as tasks, pytest.raises(UserError) as caught:
        CutEstimator(tasks, mode=mode)
    assert str(caught.value) == (
        f"mode is {mode}, which simulates no noise, and all 3 pilots ('fine', ...) have a "
        f"backend.qpu; expected mode counts, or a pilot without backend.qpu"
    )


def test_modes_without_noise_leave_devices_alone_where_there_are_others():
    """On a mixed fleet exact fragments run on the pilots without a device only."""
    plain = PilotDescription(name="plain", resource="inprocess")
    with tasks_on(*FLEET, plain) as tasks:
        value, _ = estimate(tasks, mode="exact")
        events = [e for e in tasks.pilots.events.records if e["event"] == "task"]
        assert value == pytest.approx(np.ones(2))
        assert {e["pilot"] for e in events if e["state"] == "done"} == {"plain"}
        with pytest.raises(UserError, match=r"pilot 'fine' has a backend.qpu while pilot 'plain'"):
            CutEstimator(tasks)


def test_blocks_in_a_store_belong_to_their_device(tmp_path):
    """What one fleet measured is reread by the same fleet, and not by another."""
    plan = compile_plan(*ghz(), labels="AAABB")
    ran = []
    for fleet in (FLEET, FLEET, FLEET[2:]):
        with tasks_on(*fleet) as tasks:
            estimator = CutEstimator(tasks, plan=plan, shots=64, seed=1, store=tmp_path)
            estimator.run([(*ghz(), [[0.3]])]).result()
            events = [e for e in tasks.pilots.events.records if e["event"] == "task"]
        ran.append(sum(e["state"] == "done" for e in events))
    assert ran[0] > 0
    assert ran[1] == 0
    assert ran[2] == ran[0]
    stored = load(tmp_path, 0)
    assert not stored.missing()


def test_distributions_are_noisy_on_a_fleet():
    """Outcomes that a GHZ state never has appear on devices, and only there."""
    plan = compile_plan(ghz()[0], labels="AAABB")
    never = [k for k in range(32) if k not in (0, 31)]
    with tasks_on(FLEET[2]) as tasks:
        law = Distribution(plan, [0.1], mode="counts", shots=256, seed=1, tasks=tasks)
        noisy = law.probabilities()[never].sum()
    assert noisy > 0.2
    ideal = Distribution(plan, [0.1], mode="counts", shots=256, seed=1)
    assert abs(ideal.probabilities()[never].sum()) < 0.1


def test_distributions_go_on_without_a_device_that_has_gone():
    """What was bound to it is done by the others; with none left the error names the pilots."""
    plan = compile_plan(ghz()[0], labels="AAABB")
    wide, twin = FLEET[0], pilot("twin", 3, 0.0005, 0.004, 0.005)
    more = {"mode": "counts", "shots": 512, "seed": 1}
    with tasks_on(wide, twin) as tasks:
        with losing("twin", tasks):
            law = Distribution(plan, [0.1], tasks=tasks, **more)
        done = [e for e in tasks.pilots.events.records if e.get("state") == "done"]
        assert {e["pilot"] for e in done if e["event"] == "task"} == {"fine"}
        assert law.probabilities()[[0, 31]] == pytest.approx([0.5, 0.5], abs=0.1)
        with losing("fine", tasks), pytest.raises(PilotError, match="no device is left, for these"):
            Distribution(plan, [0.1], tasks=tasks, **more)


def test_the_tolerance_of_a_distribution_decides_between_error_and_load():
    """With 1 the noisy device takes parts too, with 0 never."""
    plan = compile_plan(ghz()[0], labels="AAABB")
    with tasks_on(FLEET[0], FLEET[2]) as tasks:
        pilots = {}
        for tolerance in (0.0, 1.0):
            seen = len(tasks.pilots.events.records)
            more = {"mode": "counts", "shots": 64, "error_tolerance": tolerance}
            Distribution(plan, [0.1], tasks=tasks, **more)
            new = tasks.pilots.events.records[seen:]
            pilots[tolerance] = {e["pilot"] for e in new if e["event"] == "task"} - {""}
    assert pilots[0.0] == {"fine"}
    assert pilots[1.0] == {"fine", "noisy"}


# -- recommendations ----------------------------------------------------------------------


def ladder() -> QuantumCircuit:
    """Five qubits with one weak link, and much to do on either side of it."""
    circuit = QuantumCircuit(5)
    for _ in range(4):
        for a, b in ((0, 1), (1, 2), (3, 4)):
            circuit.cx(a, b)
            circuit.ry(0.3, b)
    circuit.cx(2, 3)
    return circuit


def test_by_error_another_number_of_cuts_is_best_than_by_time():
    """A large noisy device is quickest; two cuts less noise, though shots cost more."""
    fleet = [pilot("wide", 5, 0.002, 0.03, 0.01), pilot("good", 3, 2e-4, 0.001, 0.001)]
    options = {"max_cuts": 2, "shots": 20_000, "queries": 10, "batch": 2}
    quick = recommend(ladder(), "ZZZZZ", fleet, **options)
    right = recommend(ladder(), "ZZZZZ", fleet, objective="error", **options)
    assert quick.chosen.cuts == 0
    assert right.chosen.cuts == 1
    assert quick.chosen.seconds < right.chosen.seconds
    for line in right.lines:
        assert line.value_error == pytest.approx(np.hypot(line.noise, line.error))
    uncut, cut = right.lines[0], right.lines[1]
    assert {share.pilot for share in uncut.shares} == {"wide"}
    assert {share.pilot for share in cut.shares} == {"good"}
    kept = np.prod([1 - share.error for share in cut.shares])
    assert cut.noise == pytest.approx(1 - kept)
    assert cut.noise < uncut.noise
    assert "values are predicted to be wrong by" in right.reason


def test_lines_that_no_device_can_run_say_why():
    """Few cuts leave fragments that are too wide; the recommendation is the first that fits."""
    fleet = [pilot("good", 3, 2e-4, 0.001, 0.001)]
    found = recommend(ladder(), "ZZZZZ", fleet, max_cuts=1, objective="error", queries=2)
    assert not found.lines[0].feasible
    assert found.lines[0].lacks == ("needs 5 qubits, more than the 3 of 'good'",)
    assert found.chosen.cuts == 1
    with pytest.raises(CutError, match="give --max-cuts 1"):
        recommend(ladder(), "ZZZZZ", fleet, max_cuts=0, queries=2)


def test_the_modelled_time_is_that_of_the_devices():
    """Seconds are shots times seconds of a shot, halved by a second device; nothing is measured."""
    one = [pilot("one", 5, 0.002, 0.03, 0.01)]
    two = [*one, pilot("two", 5, 0.002, 0.03, 0.01)]
    first, second = (
        recommend(ladder(), "ZZZZZ", f, max_cuts=0, shots=100, queries=64, batch=64)
        for f in (one, two)
    )
    (share,) = first.chosen.shares
    assert first.chosen.seconds == pytest.approx(share.device_s)
    assert share.shots == 6400
    assert share.device_s > 6400 * 51e-6  # readout and reset
    assert second.chosen.seconds == pytest.approx(first.chosen.seconds / 2)


FLEET_YAML = """
pilots:
  - name: wide
    resource: inprocess
    backend: {kind: aer, qpu: {qubits: 5, infidelity_1q: 0.002, infidelity_2q: 0.03,
              t1_us: 500, t2_us: 500, readout_error: 0.01}}
  - name: good
    resource: inprocess
    backend: {kind: aer, qpu: {qubits: 3, infidelity_1q: 0.0002, infidelity_2q: 0.001,
              t1_us: 500, t2_us: 500, readout_error: 0.001}}
"""


@pytest.fixture
def files(tmp_path):
    from qiskit import qasm2

    fleet, circuit = tmp_path / "fleet.yaml", tmp_path / "circuit.qasm"
    fleet.write_text(FLEET_YAML)
    circuit.write_text(qasm2.dumps(ladder()))
    return str(circuit), str(fleet)


def command(*words: str):
    return CliRunner().invoke(app, list(words))


def test_the_command_recommends_by_error_without_a_calibration(files):
    """`recommend --objective error` on devices asks for no calibration and prints both errors."""
    circuit, fleet = files
    asked = ["recommend", circuit, "--pilots", fleet, "--observable", "ZZZZZ", "--max-cuts", "1"]
    asked += ["--shots", "20000", "--queries", "10", "--json"]
    by_time, by_error = command(*asked), command(*asked, "--objective", "error")
    assert by_time.exit_code == 0, by_time.output
    first, second = json.loads(by_time.stdout), json.loads(by_error.stdout)
    assert (first["chosen"]["cuts"], second["chosen"]["cuts"]) == (0, 1)
    assert second["time"] == "modelled device time"
    assert {d["pilot"] for d in second["chosen"]["devices"]} == {"good"}
    shown = command(*asked[:-1], "--objective", "error")
    assert "noise" in shown.stdout
    assert "time modelled" in shown.stdout


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--objective", "speed"], "objective is 'speed', expected one of time, error"),
        (["--objective", "error", "--mode", "exact"], "objective is error with mode exact"),
        (["--mode", "exact"], "mode is exact, which simulates no noise, and all 2 pilots"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(files, options, line):
    """Exit code 2, and the fault in one line."""
    circuit, fleet = files
    with pytest.raises(UserError) as caught:
        command_raises("recommend", circuit, "--pilots", fleet, *options)
    assert len(caught.value.faults) == 1
    assert line in caught.value.faults[0]


def command_raises(*words: str) -> None:
    found = command(*words)
    assert found.exit_code != 0
    assert found.exception is not None
    raise found.exception


def test_a_device_is_not_calibrated(files):
    """`calibrate` says that a device's time is modelled."""
    with pytest.raises(UserError, match=r"has a backend.qpu, expected none: a device's time"):
        command_raises("calibrate", "--pilots", files[1], "--seconds", "2")


def test_without_devices_the_error_is_that_of_shots_alone(tmp_path, monkeypatch):
    """On pilots without a backend.qpu fewer cuts are less wrong, and the reason says what it is."""
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path))
    install(None)
    found = recommend(ladder(), "ZZZZZ", objective="error", max_cuts=1)
    assert found.chosen.cuts == 0
    assert found.chosen.value_error == found.chosen.error > 0
    assert "the standard error alone, for no pilot has a backend.qpu" in found.reason

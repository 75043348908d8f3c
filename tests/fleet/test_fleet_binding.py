"""Cut models on devices: their noise, who gets which fragment, and recommendations by error."""

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import DensityMatrix, Operator, SuperOp
from support.circuits import entangled
from support.exact import exact_tensor
from support.fleets import qpu
from support.qpus import measured, middle, scores

from pilotcut import compile_plan
from pilotcut.backends.base import DeviceFit
from pilotcut.backends.deferral import deferred
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.noise_model import Device
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.errors import CutError
from pilotcut.execution.device_assignment import assign
from pilotcut.execution.work_units import CircuitUnit
from pilotcut.pilots.description.qpu import QpuDescription

SHOTS = 2000


def device(*args, name: str = "q", **more) -> Device:
    return device_of(name, qpu(*args, **more))


@lru_cache
def channels_of(dev: Device):
    """Superoperators by gate and qubits, and readout probabilities by qubit."""
    noise = dev.noise_on(range(dev.qubits)).to_dict()["errors"]
    readout = {e["gate_qubits"][0][0]: e["probabilities"] for e in noise if e["type"] == "roerror"}
    channels = {
        (name, qubits): SuperOp(error.to_quantumchannel())
        for name, some in dev.noise_on(range(dev.qubits))._local_quantum_errors.items()
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
    circuit.sx([0, 1])
    circuit.rz(0.3, 0)
    circuit.cz(0, 1)
    circuit.sx(0)  # or the cz would only change phases of what is measured
    fragment = compile_plan(circuit, ["ZZ"]).fragments[0]
    found = DeviceCompiler(device(2, 0.01, 0.05, 0.02)).fit(fragment)
    assert found.error == pytest.approx(1 - 0.99**3 * 0.95 * 0.98**2)
    assert found.shot_s == pytest.approx(2 * 30e-9 + 60e-9 + 1e-6 + 50e-6)


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

"""Resets cost no qubit: widths, values in every mode, and how wires share qubits."""

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from support.circuits import rotated
from support.exact import exact_tensor, uncut

from pilotcut import CutEstimator, CutGradient, compile_plan, reconstruct_probabilities
from pilotcut.backends import aer
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.backends.seating import Seating
from pilotcut.backends.statevector_plan import StatevectorPlan
from pilotcut.backends.statevector_schedule import Schedule
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.liveness import lifetimes, shared
from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.errors import CutError
from pilotcut.pilots.description.qpu import QpuDescription

OBSERVABLES = ["ZZZ", "XIY", "IZI"]


def recycled(resets: int, qubits: int = 3) -> QuantumCircuit:
    """Layers of rotations and CX, each followed by a reset of a qubit that is entangled."""
    circuit = rotated(QuantumCircuit(qubits), resets)
    for k in range(resets):
        for qubit in range(qubits - 1):
            circuit.cx(qubit, qubit + 1)
        circuit.reset(k % qubits)
        rotated(circuit, k)
    return circuit


def ladder() -> QuantumCircuit:
    """A qubit after the other: only two are alive at a time, and the last is observed."""
    circuit = rotated(QuantumCircuit(5), 1)
    for qubit in range(4):
        circuit.cx(qubit, qubit + 1)
        circuit.ry(0.4 * qubit, qubit + 1)
    return circuit


def returning() -> tuple[QuantumCircuit, Placement]:
    """Qubit 1 goes over to B and comes back, where its old wire has ended; qubit 0 is reset."""
    circuit = rotated(QuantumCircuit(3), 4)
    circuit.cx(0, 1)
    circuit.reset(0)
    circuit.h(0)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    circuit.ry(0.7, 1)
    return circuit, Placement(("A", "A", "B"), (WireCut(1, 2, "B"), WireCut(1, 3, "A")))


CASES = {
    "uncut": (recycled(5), OBSERVABLES, {}, (3,)),
    "gate cuts": (recycled(2), OBSERVABLES, {"labels": "AAB"}, (2, 1)),
    "a qubit that returns": (returning()[0], OBSERVABLES, {"placement": returning()[1]}, (2, 2)),
    "ladder": (ladder(), ["ZIIII", "XIIII"], {}, (2,)),
}


def plan_of(name: str):
    circuit, observables, how, _ = CASES[name]
    return compile_plan(circuit, observables, **how)


def measured(backend, fragment, shots: int, seed: int) -> np.ndarray:
    tensor = FragmentTensor.empty(fragment, 1)
    whole = slice(0, fragment.num_subexperiments)
    for block in backend.run(fragment, np.zeros((1, 0)), whole, shots, seed).blocks:
        tensor.fill(fragment, slice(0, 1), block)
    return tensor.values


# -- widths ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_width_is_what_is_alive_at_a_time(name):
    plan = plan_of(name)
    assert plan.widths == CASES[name][3]
    for fragment in plan.fragments:
        for template in fragment.templates:
            assert Seating.shot_by_shot(fragment, template).qubits <= fragment.width


def test_a_wire_that_ended_leaves_its_qubit():
    lives = lifetimes([(0, 1), (1, 2), (2, 3)], np.array([False, False, False, True]))
    assert lives.peak == 2
    found = shared(lives, [0, 1, 2, 3], 0)
    assert found.qubit.tolist() == [0, 1, 0, 1]
    assert found.reused.tolist() == [False, False, True, True]
    assert found.handed_on.tolist() == [True, True, False, False]
    assert shared(lives, [0, 1, 2, 3], 3).qubit.tolist() == [0, 1, 2, 0]
    # A qubit that is reset goes on where it is, though others were never used.
    assert shared(lives, [0, 1, 2, 0], 4).qubit.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("mode", "backend"), [("exact", "aer"), ("counts", "aer"), ("sampled", "aer")]
)
def test_thirty_resets_of_three_qubits_run_on_three(mode, backend):
    circuit = recycled(30)
    plan = compile_plan(circuit, OBSERVABLES)
    assert plan.widths == (3,)
    found = CutEstimator(mode=mode, seed=1, shots=20_000).run([(circuit, OBSERVABLES)]).result()
    values, stds = found[0].data.evs, found[0].data.stds
    expected = uncut(circuit, OBSERVABLES)
    if mode == "exact":
        np.testing.assert_allclose(values, expected, atol=1e-10)
    else:
        assert np.abs((values - expected) / stds).max() < 5


def test_max_width_is_kept_by_a_circuit_with_resets():
    circuit = recycled(3)
    estimator = CutEstimator(mode="exact", max_width=2)
    assert max(compile_plan(circuit, OBSERVABLES, max_width=2).widths) <= 2
    found = estimator.run([(circuit, OBSERVABLES)]).result()[0].data.evs
    np.testing.assert_allclose(found, uncut(circuit, OBSERVABLES), atol=1e-10)


# -- exactly ---------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "network"])
@pytest.mark.parametrize("name", CASES)
def test_exact_mode_gives_the_uncut_value(name, engine):
    circuit, observables, _, _ = CASES[name]
    estimator = CutEstimator(plan=plan_of(name), mode="exact", engine=engine)
    found = estimator.run([(circuit, observables)]).result()[0].data.evs
    np.testing.assert_allclose(found, uncut(circuit, observables), atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_a_density_matrix_is_the_state_with_its_ended_wires(name):
    """Both plans of a fragment give one tensor, also where branches of cuts are open."""
    for fragment in plan_of(name).fragments:
        both = [
            Schedule(
                StatevectorPlan(fragment, mixing=mixing), torch.device("cpu"), torch.complex128
            ).run(torch.zeros((1, 0)))
            for mixing in (False, True)
        ]
        np.testing.assert_allclose(*both, atol=1e-12)


def test_many_resets_take_the_memory_of_few_qubits():
    fragment = compile_plan(recycled(60), OBSERVABLES).fragments[0]
    plan = StatevectorPlan.cheapest(fragment)
    assert plan.widest <= 4**4
    assert plan.amplitudes < 10**6


@pytest.mark.parametrize("resets", [2, 12])
def test_distributions_of_circuits_with_resets(resets):
    circuit = recycled(resets)
    found = reconstruct_probabilities(compile_plan(circuit))
    masks = {"III": 0, "IIZ": 1, "IZI": 2, "ZIZ": 5, "ZZZ": 7}
    for expected, mask in zip(uncut(circuit, masks), masks.values(), strict=True):
        signs = (-1.0) ** np.bitwise_count(np.arange(8) & mask)
        assert found @ signs == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("mode", "tolerance"), [("exact", 1e-7), ("counts", 0.05)])
def test_gradients_of_circuits_with_resets(mode, tolerance):
    """Through the density matrix in exact mode, by shifts of templates with resets in counts."""
    a, b = Parameter("a"), Parameter("b")
    circuit = QuantumCircuit(2)
    for _ in range(7):
        circuit.ry(a, 0)
        circuit.crx(b, 0, 1)
        circuit.reset(0)
        circuit.rx(0.3, 1)
    circuit.cx(1, 0)
    values = np.array([0.8, 1.3])
    plan = compile_plan(circuit, ["ZZ"])
    assert StatevectorPlan.cheapest(plan.fragments[0]).mixed
    gradient = CutGradient(CutEstimator(mode=mode, seed=1, shots=20_000))
    found = gradient.run([circuit], [SparsePauliOp("ZZ")], [values]).result().gradients[0]
    steps = 1e-4 * np.eye(2)
    slopes = [
        (uncut(circuit, ["ZZ"], values + s)[0] - uncut(circuit, ["ZZ"], values - s)[0]) / 2e-4
        for s in steps
    ]
    np.testing.assert_allclose(found, slopes, atol=tolerance)


# -- circuits with shots ---------------------------------------------------------------

WAYS = {
    "apart": Seating.apart,
    "density matrix": Seating.mixed_state,
    "shot by shot": Seating.shot_by_shot,
    "few resets": lambda fragment, template: Seating.shot_by_shot(fragment, template, most=3),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CASES)
def test_every_seating_measures_the_exact_tensor(name, way, monkeypatch):
    monkeypatch.setattr(aer, "simulated", lambda f, t, **_: WAYS[way](f, t))
    shots, scores = 200, []
    for number, fragment in enumerate(plan_of(name).fragments):
        exact = exact_tensor(fragment, np.zeros(0))
        found = measured(aer.AerBackend(), fragment, shots, 7 + number)[0]
        spread = np.sqrt((1 - exact**2).clip(0.0) / shots)
        certain = spread < 1e-6
        np.testing.assert_allclose(found[certain], exact[certain], atol=1e-9)
        scores.append(((found - exact)[~certain] / spread[~certain]).reshape(-1))
    z = np.concatenate(scores)
    assert np.abs(z).max() < 5
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / (len(z) / 2))


def test_a_device_as_wide_as_the_fragment_resets_its_qubits():
    """Three qubits with noise run what has thirty resets; weak noise keeps what is expected."""
    device = device_of(
        "q",
        QpuDescription(
            qubits=3, infidelity_1q=1e-6, infidelity_2q=1e-5, t1_us=1e6, t2_us=1e6, gate_1q_ns=1
        ),
    )
    fragment = compile_plan(recycled(30), OBSERVABLES).fragments[0]
    backend = QpuBackend(DeviceCompiler(device))
    found = measured(backend, fragment, 20_000, 3)[0]
    circuit = DeviceCompiler(device).template(fragment, fragment.templates[0]).circuit
    assert circuit.count_ops()["reset"] >= 29
    plan = compile_plan(recycled(30), OBSERVABLES)
    expected = uncut(recycled(30), plan.terms.to_labels())
    assert np.abs(found[plan.term_index[:, 0]] - expected).max() < 5 / np.sqrt(20_000) + 0.01


def test_a_device_that_cannot_reset_says_so():
    device = device_of(
        "q", QpuDescription(qubits=3, infidelity_1q=1e-4, infidelity_2q=1e-3, t1_us=100, t2_us=100)
    )
    device.target._gate_map.pop("reset", None)
    fragment = compile_plan(recycled(5), OBSERVABLES).fragments[0]
    with pytest.raises(CutError, match="cannot reset"):
        DeviceCompiler(device).template(fragment, fragment.templates[0])

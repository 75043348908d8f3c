"""Errors of devices taken out of fragments: weights of bits, folded gates, extrapolation."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.circuit.library import CZGate, RZGate, RZZGate, SXGate, iSwapGate
from qiskit.quantum_info import Operator
from qiskit.transpiler import InstructionProperties, Target
from support.noisy_fragments import device, pair, scores, sender, tensor

from pilotcut.backends import device_backend
from pilotcut.backends import qpu as qpu_module
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.extrapolation import dealt, linear
from pilotcut.backends.folding import folded
from pilotcut.backends.mitigated import Correction
from pilotcut.backends.noisy_draws import Drawable
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.backends.readout import Readout
from pilotcut.backends.weighted_counts import moments
from pilotcut.errors import CutError, DeviceError

WRONG = np.array([[0.02, 0.11], [0.07, 0.05], [0.0, 0.2]])


def reading(wrong=WRONG, errors=0.0) -> Readout:
    return Readout(tuple(range(len(wrong))), wrong, np.full_like(wrong, errors))


def confused(rng, truth: np.ndarray, runs: int, shots: int) -> list[dict[str, int]]:
    """Counts of runs that draw from `truth` (outcomes of 3 bits) and read each bit wrongly."""
    matrix = np.ones((1, 1))
    for ones, zeros in WRONG:  # bit 0 is the last factor
        matrix = np.kron([[1 - ones, zeros], [ones, 1 - zeros]], matrix)
    drawn = rng.multinomial(shots, matrix @ truth, runs)
    return [{hex(k): int(n) for k, n in enumerate(row) if n} for row in drawn]


# Weights of bits.


@pytest.mark.parametrize("outcomes", [0, 1])
def test_weighted_bits_are_unbiased_and_have_the_covariances_that_are_claimed(outcomes):
    rng = np.random.default_rng(1)
    truth = rng.dirichlet(np.ones(8))
    shots, runs, masks = 50, 4000, [0b011, 0b010]
    found = moments(
        confused(rng, truth, runs, shots), 3, masks, outcomes, reading().weights([0, 1, 2])
    )
    number = np.arange(8)
    columns = []
    for mask in masks:
        sign = 1.0 - 2.0 * (np.bitwise_count(number & mask) & 1)
        columns += [sign] if not outcomes else [sign * (number >> 2 == k) for k in (0, 1)]
    expected = np.array(columns) @ truth
    means = found.firsts / shots
    spread = np.cov(means.T)
    z = (means.mean(axis=0) - expected) / np.sqrt(np.diag(spread) / runs)
    assert np.abs(z).max() < 4
    claimed = found.seconds / shots - means[:, :, None] * means[:, None, :]
    np.testing.assert_allclose(claimed.mean(axis=0) / (shots - 1), spread, atol=0.08 * spread.max())


def test_slopes_of_weighted_bits_are_their_derivatives_by_the_readout():
    rng = np.random.default_rng(2)
    counts = confused(rng, rng.dirichlet(np.ones(8)), 2, 400)
    found = moments(counts, 3, [0b101, 0b001], 1, reading(errors=1e-3).weights([2, 0, 1]))
    for parameter in range(6):
        moved = []
        for sign in (1, -1):
            wrong = WRONG.copy()
            wrong[divmod(parameter, 2)] += sign * 1e-5
            weights = reading(wrong).weights([2, 0, 1])
            moved.append(moments(counts, 3, [0b101, 0b001], 1, weights).firsts)
        slope = (moved[0] - moved[1]) / 2e-5 * 1e-3
        np.testing.assert_allclose(found.slopes[:, parameter], slope, atol=1e-5)


def test_a_qubit_whose_bits_say_nothing_is_refused_by_name():
    with pytest.raises(DeviceError, match=r"^pilot 'lab': qubit 1 reads 0 as 1 in 45% and 1 as 0"):
        reading(np.array([[0.0, 0.1], [0.45, 0.41]])).check("lab")


# Fragments on devices.


FRAGMENTS = {"gates cut": pair, "wires with communication": sender}


@pytest.mark.parametrize("of", FRAGMENTS.values(), ids=FRAGMENTS)
def test_readout_that_was_measured_is_taken_out_of_fragments(of):
    fragment, qpu = of(), device(readout_error=0.08)
    calibrated = device_backend("q", qpu).calibrated(fragment, 50_000, 3)
    assert calibrated.shots == 100_000
    np.testing.assert_allclose(calibrated.wrong, 0.08, atol=0.006)
    plain = scores(*tensor(Correction(), qpu, fragment, 4000), fragment)
    mitigated = scores(*tensor(Correction(calibrated), qpu, fragment, 4000), fragment)
    assert np.abs(plain).max() > 6
    assert np.abs(mitigated).max() < 4.5
    assert 0.6 < np.sqrt((mitigated**2).mean()) < 1.4


def test_what_the_target_reports_of_readout_serves_without_a_shot():
    qpu = device(readout_error=0.08)
    found = device_backend("q", qpu).reported(pair())
    assert found.shots == 0
    np.testing.assert_array_equal(found.wrong, np.full((len(found.qubits), 2), 0.08))


def test_gates_without_noise_are_extrapolated_to_themselves():
    qpu, fragment = device(), pair()
    found = scores(*tensor(Correction(None, (1, 3, 5)), qpu, fragment, 4000), fragment)
    assert np.abs(found).max() < 4.5
    assert 0.6 < np.sqrt((found**2).mean()) < 1.4


@pytest.mark.parametrize("noise", [{"infidelity_1q": 1e-3}, {"infidelity_2q": 0.01}], ids=str)
def test_extrapolation_takes_most_of_the_gates_errors_out(noise):
    qpu, fragment = device(**noise), pair()
    off = []
    for factors in ((1,), (1, 3, 5), (1, 5)):
        found, exact = tensor(Correction(None, factors), qpu, fragment, 10**8)
        off.append(np.sqrt(((found.values[0] - exact) ** 2).mean()))
    assert max(off[1:]) < off[0] / 8


# Folding and extrapolation.


def native(gate=CZGate) -> Target:
    target = Target(num_qubits=2)
    theta = Parameter("t")
    target.add_instruction(RZGate(theta), {(0,): None, (1,): None})
    noisy = InstructionProperties(error=1e-3)
    target.add_instruction(SXGate(), {(0,): noisy, (1,): noisy})
    one = gate(Parameter("u")) if gate is RZZGate else gate()
    target.add_instruction(one, {(0, 1): None})
    return target


@pytest.mark.parametrize("gate", [CZGate(), RZZGate(Parameter("a"))], ids=["cz", "rzz"])
def test_a_folded_circuit_is_the_same_with_as_many_more_gates(gate):
    circuit = QuantumCircuit(2, 1)
    circuit.sx(0)
    circuit.append(gate, [0, 1])
    circuit.rz(0.3, 1)
    more = folded(circuit, 5, native(type(gate)), "q")
    assert more.count_ops()[gate.name] == 5
    assert more.count_ops()["sx"] == 5
    assert more.count_ops()["rz"] == 5  # four turn sx round, none is for itself
    bound = [c.assign_parameters([0.4] * len(c.parameters)) for c in (circuit, more)]
    assert Operator(bound[0]).equiv(Operator(bound[1]))
    circuit.measure(0, 0)
    circuit.append(gate, [0, 1])
    assert folded(circuit, 3, native(type(gate)), "q").count_ops()[gate.name] == 6


def test_a_gate_that_the_device_cannot_undo_is_refused_with_the_way_out():
    circuit = QuantumCircuit(2)
    circuit.iswap(0, 1)
    with pytest.raises(
        CutError, match=r"'lab' has a iswap and no iswap_dg .* take mitigation 'rea"
    ):
        folded(circuit, 3, native(iSwapGate), "lab")


@pytest.mark.parametrize("factors", [(1, 3), (1, 3, 5), (1, 5), (1, 3, 5, 7)])
def test_a_straight_line_is_extrapolated_exactly_and_shots_add_up(factors):
    coefficients = linear(factors)
    assert coefficients @ (3.0 - 0.2 * np.array(factors)) == pytest.approx(3.0)
    shots = np.array([[0, 1, 5, 17], [100, 999, 4096, 10**6]])
    parts = dealt(shots, coefficients)
    np.testing.assert_array_equal(sum(parts), shots)
    assert min(part.min() for part in parts) >= 0
    best = np.abs(coefficients) / np.abs(coefficients).sum()
    np.testing.assert_allclose([part[1, 3] for part in parts], best * 10**6, rtol=1e-3)


# Many shots at once.


def test_many_shots_are_drawn_from_the_law_that_aer_draws_one_by_one_from(monkeypatch):
    fragment = pair()
    qpu = device(infidelity_2q=0.1, infidelity_1q=0.02, readout_error=0.04)
    angles = np.array([[0.3], [2.0]])
    whole = slice(0, fragment.num_subexperiments)
    found = []
    for least in (4096, 10**9):
        monkeypatch.setattr(qpu_module, "DRAWN_SHOTS", least)
        backend = QpuBackend(DeviceCompiler(device_of("q", qpu)))
        found.append(backend.run(fragment, angles, whole, 8192, 3).blocks)
    for drawn, shot_by_shot in zip(*found, strict=True):
        spread = [np.diagonal(b.covariances, axis1=-2, axis2=-1) for b in (drawn, shot_by_shot)]
        off = drawn.means - shot_by_shot.means
        assert np.abs(off / np.sqrt(sum(spread))).max() < 4.5


def test_a_circuit_with_a_gate_behind_a_measurement_is_not_drawn():
    circuit = QuantumCircuit(2, 2)
    circuit.measure(0, 1)
    assert Drawable.of(circuit).bits == (1,)
    circuit.cx(0, 1)
    assert Drawable.of(circuit) is None

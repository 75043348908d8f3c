"""Noise of gates that is known, cancelled by circuits with signs: inverses, draws, error bars."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit.library import CXGate
from qiskit.quantum_info import PTM, Kraus, SuperOp
from qiskit_aer import AerSimulator
from qiskit_aer.noise import NoiseModel, coherent_unitary_error, depolarizing_error
from support.exact import exact_tensor
from support.noisy_fragments import device, narrow, pair, scores, sender, tensor

from pilotcut.backends import device_backend
from pilotcut.backends.cancellation import Cancellation, Inverses
from pilotcut.backends.cancelled_runs import Deal
from pilotcut.backends.inverse_noise import insertions_on, inverse_of, transfer_of
from pilotcut.backends.mitigated import Correction
from pilotcut.backends.noise_model import GateNoise
from pilotcut.backends.qpu_target import device_of, simulated_noise
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.errors import DeviceError
from pilotcut.pilots.description.qpu import QpuDescription

SHORT = ((30e-6, 20e-6), (20e-6, 35e-6))  # T1 and T2 of two qubits
NOISES = {
    "one qubit": GateNoise(200e-9, 0.01, SHORT[:1]),
    "two qubits": GateNoise(400e-9, 0.04, SHORT),
    "depolarising": GateNoise(0.0, 0.05, ((np.inf, np.inf),) * 2),
}

#: A simulator of Aer with a noise model of its own; the target knows nothing of its errors.
NOISY = NoiseModel()
NOISY.add_all_qubit_quantum_error(depolarizing_error(0.05, 2), ["cx"])
SIMULATOR = AerSimulator(
    noise_model=NOISY, basis_gates=["rz", "sx", "x", "cx"], n_qubits=4, coupling_map=None
)


@pytest.mark.parametrize("noise", NOISES.values(), ids=NOISES)
@pytest.mark.parametrize("insertions", ["perfect", "noisy"])
def test_the_inverse_of_noise_adds_up_with_the_noise_of_what_is_put_in(noise, insertions):
    single = {} if insertions == "perfect" else {"infidelity_1q": 0.01}
    one = device_of("q", device(**single))

    def noise_of(name, qubits):
        error = one.error_of(name, qubits)
        return None if error is None else transfer_of(SuperOp(error))

    qubits = range(len(noise.relaxation_s))
    channel = transfer_of(SuperOp(noise.error))
    inverse = inverse_of(channel, [insertions_on(q, one.target, noise_of) for q in qubits])
    assert inverse.weights.sum() == pytest.approx(1.0)
    assert not any(inverse.steps[0])
    whole = np.zeros_like(channel)
    for steps, weight in zip(inverse.steps, inverse.weights, strict=True):
        term = np.ones((1, 1))
        for qubit, own in enumerate(steps):
            each = np.eye(4)
            for step in own:
                more = noise_of(step.name, (qubit,))
                each = PTM(SuperOp(step)).data.real @ each
                each = each if more is None else more @ each
            term = np.kron(each, term)
        whole += weight * term
    np.testing.assert_allclose(whole @ channel, np.eye(len(channel)), atol=1e-8)
    assert 1.0 < inverse.overhead < 1.2


def test_damping_takes_a_reset_and_as_little_weight_as_is_known():
    damping = 0.1
    kraus = Kraus([np.diag([1, np.sqrt(1 - damping)]), [[0, np.sqrt(damping)], [0, 0]]])
    one = device_of("q", device())
    inverse = inverse_of(transfer_of(SuperOp(kraus)), [insertions_on(0, one.target, _nothing)])
    assert inverse.overhead == pytest.approx((1 + damping) / (1 - damping))  # arXiv:2005.07601


def _nothing(*_where):
    return None


def test_what_is_drawn_has_the_weights_of_the_sum():
    one = device_of("q", device(infidelity_2q=0.1, infidelity_1q=0.05))
    circuit = QuantumCircuit(2)
    circuit.sx(0)
    circuit.cz(0, 1)
    found = Cancellation.of(circuit, Inverses(one), "q")
    rng, samples = np.random.default_rng(3), 40_000
    exact = np.multiply.outer(*(one.weights for one in found.inverses.values()))
    for something in (True, False):
        terms, signs = found.drawn(rng, samples, something=something)
        drawn = np.zeros(exact.shape)
        np.add.at(drawn, tuple(terms.T), signs)
        weight = found.overhead - (found.kept if something else 0.0)
        drawn *= weight / samples
        drawn[0, 0] += found.kept * something
        np.testing.assert_allclose(drawn, exact, atol=4.5 * weight / np.sqrt(samples) / 2)
        assert terms.any(axis=1).all() == something


@pytest.mark.parametrize("shots", [1, 7, 8, 9, 100, 12_345])
@pytest.mark.parametrize(("overhead", "kept"), [(1.01, 1.005), (1.3, 1.1), (9.0, 0.1)])
def test_shots_add_up_and_each_part_that_counts_has_some(shots, overhead, kept):
    deal = Deal.of(np.array([shots, 0]), overhead, kept, 50)
    np.testing.assert_array_equal(deal.certain + deal.samples * deal.each, [shots, 0])
    assert deal.samples[0] <= max(50, 7)
    assert (deal.certain[0] > 0) == deal.parts[0] == (shots >= 8)


DEVICES = {
    "gates cut, T1 and T2 short": (pair, device(infidelity_2q=0.02, t1_us=30.0, t2_us=35.0)),
    "wires with communication": (sender, device(infidelity_2q=0.05, infidelity_1q=0.004)),
    "Manila": (pair, QpuDescription(like="FakeManilaV2")),
}


@pytest.mark.parametrize(("of", "qpu"), DEVICES.values(), ids=DEVICES)
def test_values_of_fragments_are_unbiased_and_as_far_off_as_they_say(of, qpu):
    fragment = of()
    readout = device_backend("q", qpu).reported(fragment)
    plain = scores(*tensor(Correction(readout), qpu, fragment, 400_000), fragment)
    assert np.abs(plain).max() > 7
    for shots in (500, 400_000):
        correction = Correction(readout, samples=16)
        found = scores(*tensor(correction, qpu, fragment, shots), fragment)
        assert np.abs(found).max() < 4.5
        assert 0.5 < np.sqrt((found**2).mean()) < 1.6


@pytest.mark.parametrize("shots", [0, 5, 400])
def test_a_fragment_without_noise_is_as_it_is_on_a_device_that_has_some(shots):
    fragment, qpu = narrow(), device(infidelity_2q=0.05)
    spreads = []
    for seed in range(12):  # what five shots say of their own spread is off by a third
        found, exact = tensor(Correction(samples=16), qpu, fragment, shots, seed)
        plain, _ = tensor(Correction(), qpu, fragment, shots, seed)
        assert np.abs(scores(found, exact, fragment)).max() < 4.5
        pairs = zip(found.covariances, plain.covariances, strict=True)
        spreads.append([[x.diagonal(axis1=-2, axis2=-1).mean() for x in pair] for pair in pairs])
    own, other = np.mean(spreads, axis=0).T
    assert own == pytest.approx(other, rel=0.3)


def test_few_shots_are_unbiased_on_average():
    fragment, qpu = pair(), device(infidelity_2q=0.1)
    angles = np.full((40, len(fragment.angles)), 0.7)
    whole = slice(0, fragment.num_subexperiments)
    devices = [device_backend("q", qpu)]
    found = FragmentTensor.empty(fragment, len(angles))
    for block in Correction(samples=60).run(devices, fragment, angles, whole, 5, 1).blocks:
        found.fill(fragment, slice(0, len(angles)), block)
    off = found.values - exact_tensor(fragment, angles[0])
    spread = off.std(axis=0)
    z = off.mean(axis=0)[spread > 0] / spread[spread > 0] * np.sqrt(len(angles))
    assert np.abs(z).max() < 4
    claimed = found.covariances[0].diagonal(axis1=2, axis2=3).mean()
    variances = (spread**2).reshape(-1)[fragment.entries[0]].mean()
    assert 0.75 < claimed / variances < 1.33


def test_a_simulator_that_runs_itself_has_the_noise_of_its_own_model():
    assert simulated_noise(SIMULATOR) is NOISY
    qpu = QpuDescription(like=f"{__name__}:SIMULATOR", simulate=False)
    one = device_of("q", qpu)
    assert one.error_of("cx", (0, 1)) == depolarizing_error(0.05, 2)
    assert one.error_of("sx", (0,)) is None
    circuit = QuantumCircuit(2)
    circuit.append(CXGate(), [0, 1])
    assert 1.05 < Cancellation.of(circuit, Inverses(one), "q").overhead < 1.2
    fake = QpuDescription(like="FakeManilaV2", simulate=False)
    assert device_of("q", fake).noise_known


def test_noise_that_turns_or_is_not_known_is_refused_by_name():
    turned = transfer_of(SuperOp(coherent_unitary_error(np.diag([1, np.exp(0.1j)]))))
    one = device_of("lab", device())
    assert inverse_of(turned, [insertions_on(0, one.target, _nothing)]) is None
    fragment = pair()
    coherent = device(infidelity_2q=0.02, coherent_2q=0.5)
    with pytest.raises(DeviceError, match=r"^pilot 'lab': mitigation 'pec' undoes relaxation and"):
        device_backend("lab", coherent)._compiler.overhead(fragment)
    sampler = QpuDescription(sampler="m:f", like="FakeManilaV2")
    with pytest.raises(DeviceError, match=r"^pilot 'lab': .* of a device that runs circuits itse"):
        device_backend("lab", sampler)._compiler.overhead(fragment)

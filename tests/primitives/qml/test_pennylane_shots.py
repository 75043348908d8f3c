"""PennyLane's device with shots: of the whole circuit in exact mode, of each subexperiment else."""

import numpy as np
import pennylane as qml
import pytest
import torch
from pennylane.exceptions import DeviceError

from pilotcut.primitives.pennylane.device import PilotcutDevice


def state(x):
    qml.RY(x, "a")
    qml.CNOT(["a", "b"])
    qml.RX(0.5, "c")


def node(measure, shots, **options):
    """Return a QNode of one angle over wires a, b and c."""
    options = {"cuts": 1, "seed": 7} | options
    device = PilotcutDevice(wires=["a", "b", "c"], **options)

    @qml.set_shots(shots)
    @qml.qnode(device)
    def found(x):
        state(x)
        return measure()

    return found


@pytest.mark.parametrize("mode", ["exact", "sampled", "counts"])
def test_samples_have_wires_in_the_order_asked_for_and_correlate_as_they_should(mode):
    samples = node(lambda: qml.sample(wires=["c", "b", "a"]), 2000, mode=mode)(1.2)
    assert samples.shape == (2000, 3)
    c, b, a = samples.T
    assert np.mean(a == b) > 0.97
    assert abs(np.mean(a) - np.sin(0.6) ** 2) < 0.06
    assert abs(np.mean(c) - np.sin(0.25) ** 2) < 0.06


def test_counts_and_samples_of_observables_are_pennylanes():
    def measure():
        return qml.counts(wires=["a", "b"]), qml.sample(qml.Z("b")), qml.expval(qml.X("c"))

    counts, samples, value = node(measure, 500)(1.2)
    assert set(counts) == {"00", "11"}
    assert sum(counts.values()) == 500
    assert set(np.unique(samples)) == {-1.0, 1.0}
    assert abs(value) < 0.2


def test_shots_in_exact_mode_are_of_the_whole_circuit():
    value = node(lambda: qml.expval(qml.Z("a") @ qml.Z("b")), 100)
    assert value(1.2) == 1.0  # each sample is: shots of fragments would scatter
    values = [node(lambda: qml.expval(qml.Z("a")), 400, seed=k)(1.2) for k in range(40)]
    deviation = np.sqrt((1 - np.cos(1.2) ** 2) / 400)
    assert 0.7 < np.std(values) / deviation < 1.35
    assert abs(np.mean(values) - np.cos(1.2)) < 4 * deviation / np.sqrt(40)


@pytest.mark.parametrize("mode", ["sampled", "counts"])
def test_shots_in_other_modes_are_of_each_subexperiment(mode):
    found = node(lambda: qml.expval(qml.Z("b")), 5000, mode=mode)
    assert abs(found(1.2) - np.cos(1.2)) < 0.2
    records = found.device.estimator.trace.records
    assert [one["shots"] for one in records if "shots" in one] == [5000]


def test_several_numbers_of_shots_give_several_results():
    for mode in ("exact", "sampled"):
        found = node(
            lambda: (qml.expval(qml.Z("a")), qml.probs(wires=["c"])), [100, 300], mode=mode
        )(0.3)
        assert len(found) == 2
        for value, probabilities in found:
            assert abs(value - np.cos(0.3)) < 0.4
            assert np.shape(probabilities) == (2,)


def test_broadcast_parameters_with_shots_are_rows():
    angles = np.array([0.0, np.pi, 0.0])
    for mode in ("exact", "sampled"):
        found = node(lambda: qml.expval(qml.Z("b")), 4000, mode=mode)(angles)
        assert np.allclose(found, [1, -1, 1], atol=0.2)
    samples = node(lambda: qml.sample(wires=["b"]), 5)(angles)
    assert np.shape(samples)[:2] == (3, 5)
    assert np.ravel(samples).tolist() == [0] * 5 + [1] * 5 + [0] * 5


def test_the_same_seed_gives_the_same_samples_and_the_next_call_others():
    def drawn():
        one = node(lambda: qml.sample(wires=["a", "c"]), 50)
        return one(1.2), one(1.2)

    first, again = drawn(), drawn()
    assert np.array_equal(first, again)
    assert not np.array_equal(*first)


def test_shots_have_derivatives_in_fragments_and_by_parameter_shift_of_the_whole():
    for mode, sources in (("sampled", {"forward", "shift"}), ("exact", set())):
        found = node(lambda: qml.expval(qml.Z("b")), 20_000, mode=mode)
        x = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(found(x), x)
        assert abs(slope + np.sin(1.2)) < 0.15
        records = found.device.estimator.trace.records
        assert {one["source"] for one in records if "source" in one} == sources


def test_two_forward_passes_with_shots_are_two_draws():
    found = node(lambda: qml.expval(qml.Z("b")), 200, mode="sampled")
    x = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    assert found(x) != found(x)


def test_fragments_without_shots_are_refused():
    for mode in ("counts", "sampled"):
        with pytest.raises(DeviceError, match=r"qml\.set_shots"):
            node(lambda: qml.expval(qml.Z("b")), None, mode=mode)(0.3)

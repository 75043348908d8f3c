"""Recommendations on devices know mitigation and derivatives: time, usage, errors."""

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter

from pilotcut import recommend
from pilotcut.errors import UserError
from pilotcut.pilots.description import PilotDescription

SHOTS = 20_000


def circuit() -> QuantumCircuit:
    found = QuantumCircuit(2)
    found.ry(Parameter("a"), 0)
    found.cx(0, 1)
    found.crx(Parameter("b"), 0, 1)
    return found


def found(mitigation=None, said="", **options):
    """Return the recommendation for the whole circuit on a device like Manila."""
    qpu = {"like": "FakeManilaV2"} | ({"mitigation": said} if said else {})
    pilot = PilotDescription(name="m", resource="inprocess", backend={"qpu": qpu})
    asked = {"max_cuts": 0, "shots": SHOTS, "queries": 8, "batch": 4, **options}
    return recommend(circuit(), "ZZ", [pilot], mitigation=mitigation, **asked)


def test_a_derivative_takes_its_shifts():
    values, both = found(), found(gradients=True)
    # ry has a rule of two shifts, crx one of four.
    assert both.usage[0] == pytest.approx(7 * values.usage[0])
    assert both.usage[1] == 7 * values.usage[1] == 7 * 8 * SHOTS


def test_mitigation_makes_circuits_longer_and_variances_larger_and_noise_less():
    plain, zne = found(), found("zne")
    assert zne.chosen.error == pytest.approx(1.5 * plain.chosen.error)
    assert zne.usage[1] == plain.usage[1]
    assert 1.005 * plain.usage[0] < zne.usage[0] < 1.1 * plain.usage[0]  # most is the reset
    assert zne.chosen.noise < plain.chosen.noise
    readout = found("readout")
    assert readout.usage[1] == plain.usage[1] + 2 * 10_000
    assert readout.chosen.noise < plain.chosen.noise / 1.5
    both = found("readout+zne")
    assert both.chosen.noise < readout.chosen.noise / 3
    cancelled = found("pec+readout")
    assert cancelled.chosen.noise == pytest.approx(0.0, abs=1e-12)
    assert 1.01 < cancelled.chosen.error / plain.chosen.error < 1.3


def test_auto_extrapolates_in_a_prediction_where_it_will():
    assert found("auto", shots=100).chosen.error == found(shots=100).chosen.error
    many = found("auto", shots=10**6).chosen.error
    assert many == pytest.approx(1.5 * found(shots=10**6).chosen.error)


def test_a_target_error_takes_the_shots_that_mitigation_takes():
    plain, zne = (found(m, target_error=0.01).chosen for m in (None, "zne"))
    assert zne.shots == pytest.approx(2.25 * plain.shots, rel=1e-3)
    assert zne.error <= 0.01


def test_what_a_description_says_holds_where_the_options_say_nothing():
    assert found(said="zne").chosen.error == found("zne").chosen.error
    assert found("none", said="zne").chosen.error == found().chosen.error


def test_what_cannot_be_mitigated_is_one_line():
    with pytest.raises(UserError, match="mitigation is 'redout', expected one of none"):
        found("redout")
    own = {"qubits": 2, "infidelity_1q": 0.0, "infidelity_2q": 0.1, "coherent_2q": 0.5}
    own |= {"t1_us": 100.0, "t2_us": 100.0}
    pilot = PilotDescription(name="m", resource="inprocess", backend={"qpu": own})
    with pytest.raises(UserError, match="mitigation 'pec' undoes relaxation and Pauli errors"):
        recommend(circuit(), "ZZ", [pilot], mitigation="pec", max_cuts=0)


def test_calibrations_of_the_target_take_no_shots():
    assert found("readout calibration=target").usage == found().usage
    assert np.isfinite(found("readout calibration=target").chosen.error)

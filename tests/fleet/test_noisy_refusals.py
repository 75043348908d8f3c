"""Models without exact expectations are refused in one line."""

from dataclasses import replace

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter, ParameterVector
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit.quantum_info import SparsePauliOp
from support.noisy_models import DEVICES, OBSERVABLES, device, on

from pilotcut.backends.noise_model import Device
from pilotcut.backends.qpu_target import device_of
from pilotcut.errors import UserError
from pilotcut.fleet import models
from pilotcut.fleet.engines import CountedCircuits
from pilotcut.fleet.noisy_expectations import NoisyExpectations
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.training.model import Model


def small(build) -> Model:
    circuit, x, w = QuantumCircuit(2), ParameterVector("x", 2), ParameterVector("w", 2)
    build(circuit, x, w)
    inputs = tuple(p for p in x if p in circuit.parameters)
    weights = tuple(p for p in w if p in circuit.parameters)
    return Model(circuit, inputs, weights, (SparsePauliOp("IZ"),))


def refused(model: Model, q: Device = DEVICES["grid"]) -> str:
    with pytest.raises(UserError) as caught:
        NoisyExpectations(*on(q, model))
    (line,) = str(caught.value).splitlines()
    return line


def after_weights(circuit, x, w):
    circuit.ry(w[0], 0)
    circuit.rx(x[0], 0)


def twice(circuit, x, w):
    circuit.ry(w[0], 0)
    circuit.ry(w[0], 1)


def doubled(circuit, x, w):
    circuit.ry(2 * w[0], 0)


def without_a_rule(circuit, x, w):
    circuit.u(w[0], 0.1, 0.2, 0)


def fast(circuit, x, w):
    circuit.rx(5 * x[0], 0)


def of_two(circuit, x, w):
    circuit.rx(x[0] + x[1], 0)


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (after_weights, "model encodes input 'x[0]' after weights on its qubit, expected all"),
        (twice, "weight 'w[0]' stands in ry(w[0]), ry(w[0]), expected as the plain angle of one"),
        (doubled, "weight 'w[0]' stands in ry(2*w[0]), expected as the plain angle"),
        (without_a_rule, "weight 'w[0]' stands in u(w[0], 0.1, 0.2), expected as the plain angle"),
        (fast, "gate 0 of the model turns faster than its parameter 'x[0]', expected the plain"),
        (of_two, "gate 0 of the model has parameters x[0], x[1], expected one at most"),
    ],
)
def test_a_model_that_has_no_exact_expectations_is_refused_in_one_line(build, expected):
    assert expected in refused(small(build))


def test_a_weight_that_no_gate_has_is_refused():
    model = models.model("crz", 2)
    spare = replace(model, weights=(*model.weights, Parameter("spare")))
    assert "weight 'spare' stands in no gate, expected" in refused(spare)


def test_more_qubits_than_exact_expectations_can_do_are_refused_and_say_what_can():
    large = device(qubits=10, topology="full")
    line = refused(models.model("crz", 10), large)
    assert "the model uses 10 qubits of device 'q', expected at most 9 for exact noise" in line
    assert "use engine damped, or counts" in line


@pytest.mark.parametrize("engine", [NoisyExpectations, CountedCircuits])
@pytest.mark.parametrize(("observable", "written"), OBSERVABLES)
def test_what_is_no_parity_is_refused_by_both_engines(engine, observable, written):
    model = replace(models.model("crz", 2), observables=(observable,))
    with pytest.raises(UserError, match="expected one string of I and Z") as caught:
        engine(*on(DEVICES["grid"], model))
    assert f"observable is {written}, " in str(caught.value)


def test_counts_without_shots_are_refused():
    engine = CountedCircuits(*on(DEVICES["grid"], models.model("crz", 2)))
    with pytest.raises(UserError, match="shots is 0, expected 1 or more for engine counts"):
        engine.values(np.zeros(8), np.zeros((1, 2)), 0, 0)


def test_gates_that_aer_does_not_have_are_refused_for_counts_and_not_for_exact_expectations():
    prepared = on(device_of("i", QpuDescription(like=f"{__name__}:ISWAPS")), models.model("crz", 2))
    assert np.isfinite(NoisyExpectations(*prepared).values(np.zeros(8), np.zeros((1, 2)))).all()
    with pytest.raises(UserError, match="the device has gates iswap, expected gates that Aer has"):
        CountedCircuits(*prepared)


def test_an_unknown_model_and_too_few_qubits_are_refused():
    with pytest.raises(UserError, match="did you mean 'crz-all'"):
        models.model("crz_all", 2)
    with pytest.raises(UserError, match="qubits is 1, expected 2 or more"):
        models.model("crz", 1)


ISWAPS = GenericBackendV2(3, ["rz", "sx", "iswap"], seed=3)

"""The exact mode in single precision: as the double one to 1e-5, at half the bytes."""

from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from support.any_circuits import circuit_of
from support.random_cuts import random_case

from pilotcut import CutEstimator, UserError, compile_plan, cut_qnn
from pilotcut.backends.exact import ExactEngine
from pilotcut.errors import CutError
from pilotcut.execution.batching import exact_units
from pilotcut.execution.work_units import requests_of
from pilotcut.options import DTYPES, ENGINES, MODES, SINGLE, EngineOptions
from pilotcut.training.config import TrainingConfig
from pilotcut.training.model import classifier


def value_and_slopes(circuit, observable, values, **options):
    """Return the value and its derivatives by all parameters, in double precision."""
    qnn = cut_qnn(
        circuit, observable, weight_params=circuit.parameters, initial_weights=values, **options
    ).double()
    value = qnn()
    value.sum().backward()
    return np.concatenate([value.detach().numpy(), qnn.weights.grad.numpy()])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("seed", range(4))
def test_values_and_slopes_are_those_of_double_precision(seed, engine):
    case, observable, labels = random_case(seed, 5)
    found, expected = (
        value_and_slopes(
            case.circuit, observable, case.values, labels=labels, engine=engine, dtype=dtype
        )
        for dtype in (SINGLE, "complex128")
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert not np.array_equal(found, expected)


@pytest.mark.parametrize("seed", range(12))
def test_any_circuit_in_single_precision(seed):
    """Density matrices and gates of every kind among them."""
    circuit, values = circuit_of(seed)
    terms = ["".join(np.random.default_rng(seed).choice(list("XYZ"), circuit.num_qubits))]
    found, expected = (
        CutEstimator(mode="exact", engine="statevector", dtype=dtype)
        .run([(circuit, terms, values)])
        .result()[0]
        .data.evs
        for dtype in (SINGLE, "complex128")
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", ["statevector", "network"])
def test_large_states_and_large_angles_lose_no_digits(engine):
    """Sums are in double precision, and so are angles: 1e5 has three decimals in single."""
    model = classifier(14)
    values = np.linspace(1e5, 1.1e5, model.circuit.num_parameters)
    terms = "I" * 13 + "Z"
    found, expected = (
        value_and_slopes(model.circuit, terms, values, engine=engine, dtype=dtype)
        for dtype in (SINGLE, "complex128")
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("angle", [1e-9, 1e-2, 1.0])
def test_branches_that_are_hard_to_go_back_through(angle):
    """The input of a site is kept where single precision would lose it."""
    circuit = QuantumCircuit(4)
    for qubit in range(4):
        circuit.ry(Parameter(f"a{qubit}"), qubit)
    circuit.cz(0, 1)
    circuit.rzz(angle, 1, 2)
    circuit.rx(0.4, 1)
    circuit.cx(1, 2)
    circuit.cz(2, 3)
    for qubit in range(4):
        circuit.rx(Parameter(f"b{qubit}"), qubit)
    values, options = np.linspace(-1, 2, 8), {"labels": "AABB", "engine": "statevector"}
    found, expected = (
        value_and_slopes(circuit, "YXZZ", values, **options, dtype=dtype)
        for dtype in (SINGLE, "complex128")
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("engine", ["statevector", "network"])
def test_second_derivatives_in_single_precision(engine):
    model = classifier(4)
    w = torch.linspace(-1, 1, model.circuit.num_parameters, dtype=torch.float64)

    def hessian(dtype):
        qnn = cut_qnn(
            model.circuit,
            model.observable,
            input_params=model.circuit.parameters,
            cuts=1,
            engine=engine,
            dtype=dtype,
        )
        return torch.autograd.functional.hessian(lambda v: qnn(v[None]).sum(), w)

    torch.testing.assert_close(*map(hessian, DTYPES), rtol=0, atol=1e-5)


@pytest.mark.parametrize("way", ["statevector", "network"])
def test_single_precision_takes_half_the_bytes(way):
    """And fits where double precision is refused."""
    model = classifier(8)
    (fragment,) = compile_plan(model.circuit, model.observable).fragments
    double, single = (ExactEngine(options=EngineOptions(way, dtype)) for dtype in DTYPES)
    assert single.row_bytes(fragment) == ceil(double.row_bytes(fragment) / 2)
    for engine in (double, single):
        engine.memory_bytes = single.row_bytes(fragment)
    assert single.rows_at_once(fragment) == 1
    with pytest.raises(CutError, match="for one parameter set"):
        double.rows_at_once(fragment)


def test_the_record_names_the_dtype():
    for dtype in DTYPES:
        estimator = CutEstimator(mode="exact", dtype=dtype)
        estimator.run([(QuantumCircuit(1), "Z")]).result()
        (record,) = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
        assert record["dtype"] == dtype


def test_a_store_tells_precisions_apart():
    """A run that goes on in another precision takes nothing from the store of the first."""
    plan = compile_plan(classifier(4).circuit, "ZZZZ", cuts=1)
    requests = requests_of(plan, np.zeros((1, plan.program.num_slots)), 0)
    double, single, joined = (
        [unit.key(requests[unit.request].fragment) for unit in exact_units(requests, engine=engine)]
        for engine in (EngineOptions(), EngineOptions(dtype=SINGLE), EngineOptions("statevector"))
    )
    assert double == joined
    assert not set(double) & set(single)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "exact"])
def test_single_precision_is_the_exact_modes_alone(mode):
    line = rf"dtype is 'complex64' with mode='{mode}', expected 'complex128'.*mode='exact'"
    with pytest.raises(UserError, match=line):
        CutEstimator(mode=mode, dtype="complex64")
    config = TrainingConfig("iris", mode=mode, dtype="complex64")
    with pytest.raises(UserError, match=line):
        config.check()
    replace(config, mode="exact").check()
    with pytest.raises(UserError, match="dtype is 'float32', expected one of complex128, complex6"):
        CutEstimator(mode="exact", dtype="float32")

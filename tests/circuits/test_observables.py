"""Observables as users give them: right against Qiskit's exact estimator, or one line."""

import numpy as np
import pytest
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import StatevectorEstimator
from qiskit.primitives.containers.observables_array import ObservablesArray
from qiskit.quantum_info import (
    Operator,
    Pauli,
    PauliList,
    SparseObservable,
    SparsePauliOp,
    Statevector,
)

from pilotcut import CutEstimator, compile_plan, cut_qnn, reconstruct_probabilities
from pilotcut.errors import ObservableError

C = Parameter("c")


def circuit() -> QuantumCircuit:
    made = QuantumCircuit(2)
    made.ry(0.7, 0)
    made.rx(-0.4, 1)
    made.cx(0, 1)
    made.ry(0.9, 1)
    return made


def objects(*some) -> np.ndarray:
    array = np.empty(len(some), dtype=object)
    array[:] = some
    return array


def network(observables, **options) -> torch.Tensor:
    return cut_qnn(circuit(), observables, labels="AB", **options).double()()


ZZ, XX = SparsePauliOp("ZZ"), SparsePauliOp("XX")
BOUND = SparsePauliOp(["ZZ", "XX"], np.array([C, 2 * C])).assign_parameters({C: 0.5})

# What is given, and the same as a list of sums.
RIGHT = {
    "a string": ("ZZ", ["ZZ"]),
    "a Pauli": (Pauli("-ZX"), [SparsePauliOp("ZX", [-1])]),
    "a Pauli's label with a sign": ("-ZX", [SparsePauliOp("ZX", [-1])]),
    "a sum": (SparsePauliOp(["ZZ", "XI"], [2, 0.5]), [SparsePauliOp(["ZZ", "XI"], [2, 0.5])]),
    "a list": (["ZZ", XX], [ZZ, XX]),
    "a tuple": (("ZZ", XX), [ZZ, XX]),
    "a PauliList is several": (PauliList(["ZZ", "-XX", "IY"]), ["ZZ", -1 * XX, "IY"]),
    "an array of objects": (objects(ZZ, XX), [ZZ, XX]),
    "an array of strings": (np.array(["ZZ", "XX"]), [ZZ, XX]),
    "an observables array": (ObservablesArray([ZZ, XX]), [ZZ, XX]),
    "a single one in an array": (ObservablesArray(ZZ), [ZZ]),
    "a dict": ({"ZZ": 2.0, Pauli("-XX"): 3}, [SparsePauliOp(["ZZ", "XX"], [2, -3])]),
    "dicts": ([{"ZZ": 1}, {"XX": np.float32(0.5)}], [ZZ, SparsePauliOp("XX", [0.5])]),
    "a sparse observable": (
        SparseObservable.from_list([("ZZ", 1), ("IX", -2)]),
        [SparsePauliOp(["ZZ", "IX"], [1, -2])],
    ),
    "projectors": ("0+", [SparsePauliOp(["II", "ZI", "IX", "ZX"], [0.25] * 4)]),
    "the identity": ("II", ["II"]),
    "identities beside others": (
        ["II", SparsePauliOp(["II", "ZZ"], [3, 1])],
        ["II", SparsePauliOp(["II", "ZZ"], [3, 1])],
    ),
    "terms that repeat": (SparsePauliOp(["ZZ", "XI", "ZZ"], [1, 1, 2]), [{"ZZ": 3, "XI": 1}]),
    "imaginary parts that cancel": (SparsePauliOp(["ZZ", "ZZ"], [1 + 1j, -1j]), [ZZ]),
    "bound coefficients": (BOUND, [SparsePauliOp(["ZZ", "XX"], [0.5, 1])]),
    "whole coefficients": (SparsePauliOp("ZZ", np.array([3])), [SparsePauliOp("ZZ", [3])]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_networks_mean_what_qiskits_estimator_means(name):
    given, sums = RIGHT[name]
    expected = [StatevectorEstimator().run([(circuit(), o)]).result()[0].data.evs for o in sums]
    torch.testing.assert_close(network(given), torch.tensor(np.array(expected)))


@pytest.mark.parametrize(
    "name", [name for name in RIGHT if name not in ("a tuple", "a Pauli's label with a sign")]
)
def test_estimators_and_networks_mean_the_same(name):
    """Qiskit takes no tuple of observables and no label with a sign."""
    given, _ = RIGHT[name]
    values = CutEstimator(labels="AB", mode="exact").run([(circuit(), given)]).result()[0].data.evs
    np.testing.assert_allclose(values.reshape(-1), network(given).detach().numpy(), atol=1e-12)


def test_generators_zero_and_none():
    """A generator is several; a sum whose coefficients are zero is 0; None is Z on every qubit."""
    expected = Statevector(circuit())
    found = network(o for o in ("ZZ", SparsePauliOp("XX", [0.0]), SparseObservable.zero(2)))
    zz = expected.expectation_value(ZZ).real
    torch.testing.assert_close(found, torch.tensor([zz, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(network(None), torch.tensor([zz], dtype=torch.float64))


NAN = float("nan")

WRONG = {
    "imaginary": (SparsePauliOp("ZZ", [1 + 1j]), r"complex coefficient \(1\+1j\) at ZZ"),
    "an imaginary Pauli": (Pauli("iZZ"), "complex coefficient 1j at ZZ"),
    "imaginary of several": (PauliList(["ZZ", "-iXX"]), r"complex coefficient .* at XX"),
    "imaginary in a dict": ({"ZZ": 1j}, "complex coefficient 1j at ZZ"),
    "nan": (SparsePauliOp(["ZZ", "XX"], [NAN, 1]), "has the coefficient .*nan"),
    "nan in a dict": ({"ZZ": NAN}, "has the coefficient nan, expected finite"),
    "nan in a sparse observable": (SparseObservable.from_list([("ZZ", NAN)]), "coefficient nan"),
    "infinite": (SparsePauliOp("ZZ", [-np.inf]), "has the coefficient .*inf"),
    "imaginary infinity": (SparsePauliOp("ZZ", [1 + 1j * np.inf]), "has the coefficient"),
    "free coefficients": (SparsePauliOp("ZZ", np.array([C])), r"free parameters \(c\)"),
    "free in a dict": ({"ZZ": 2 * C}, r"free parameters \(c\)"),
    "a matrix": (Operator(ZZ), "is of type Operator.*SparsePauliOp.from_operator"),
    "a state": (Statevector.from_label("00"), "is of type Statevector"),
    "a number": (3, "3 is not a Pauli string"),
    "pairs": ([("ZZ", 1.0)], "is of type tuple"),
    "other letters": ("QQ", "'QQ' is not a Pauli string"),
    "too few qubits": ("Z", "'Z' acts on 1 qubit, expected 2"),
    "too many qubits": (["ZZ", SparsePauliOp("ZZZ")], "'ZZZ' acts on 3 qubits, expected 2"),
    "a dict of several widths": ({"ZZ": 1, "Z": 2}, "'Z' acts on 1 qubit, expected 2"),
    "an empty dict": ({}, "empty dict"),
    "text as coefficient": ({"ZZ": "1"}, "has the coefficient '1', expected a real number"),
    "numbers as keys": ({3: 1.0}, "its key 3 is of type int"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_real_sum_is_one_line_everywhere(name):
    given, said = WRONG[name]
    ways = [
        lambda: cut_qnn(circuit(), given, labels="AB"),
        lambda: compile_plan(circuit(), given, labels="AB"),
        lambda: CutEstimator(labels="AB").run([(circuit(), given)]),
        lambda: reconstruct_probabilities(compile_plan(circuit(), given)),
    ]
    for way in ways:
        with pytest.raises(ObservableError, match=said) as caught:
            way()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "observables are empty"),
        (np.array([["ZZ", "XX"]]), r"shape \(1, 2\), expected one dimension"),
        ({"ZZ", "XX"}, "no order, expected a list"),
        (dict.fromkeys(["ZZ", "XX"]).keys(), None),
    ],
)
def test_what_has_no_order_or_is_a_table_has_no_outputs(given, said):
    """Keys of a dict do have an order."""
    if said is None:
        assert network(given).shape == (2,)
        return
    for way in (cut_qnn, compile_plan):
        with pytest.raises(ObservableError, match=said):
            way(circuit(), given)


def test_projectors_on_many_qubits_are_refused_before_they_are_written_out():
    wide = QuantumCircuit(40)
    for way in (
        lambda: cut_qnn(wide, "0" * 40),
        lambda: CutEstimator().run([(wide, "0" * 40)]),
    ):
        with pytest.raises(ObservableError, match=r"is 1.1e\+12 Pauli strings.*Distribution"):
            way()


def test_plans_of_identities_alone_are_compiled_ahead():
    assert CutEstimator(labels="AB").compile_for(circuit(), ["II", {"II": 2}]).plan.num_cuts == 1

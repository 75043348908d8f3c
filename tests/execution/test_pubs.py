"""Reading PUBs: few batches, every value answered exactly once, projectors and sums."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit
from qiskit.circuit.library import real_amplitudes, z_feature_map
from qiskit.quantum_info import SparseObservable, SparsePauliOp, Statevector
from qiskit_machine_learning.gradients import ParamShiftEstimatorGradient
from qiskit_machine_learning.neural_networks import EstimatorQNN

from pilotcut import CutEstimator
from pilotcut.errors import ObservableError, ParameterValueError, UserError
from pilotcut.execution.pubs import batches_of, coerce_pubs


def circuit_of(width: int = 2, name: str = "x") -> QuantumCircuit:
    circuit = QuantumCircuit(width)
    for qubit, parameter in enumerate(ParameterVector(name, width)):
        circuit.ry(parameter, qubit)
    for qubit in range(width - 1):
        circuit.cx(qubit, qubit + 1)
    return circuit


def batches(pubs, precision=None):
    return batches_of(coerce_pubs(pubs, precision))


def value_of(batch, row: int, k: int) -> float:
    """The exact value that a batch's row gives to its k-th observable."""
    circuit = QuantumCircuit(batch.program.num_qubits)
    for step in batch.program.steps:
        gate = step.gate
        if step.params:
            gate = gate.to_mutable()
            gate.params = [
                p if isinstance(p, float) else float(batch.slots[row, p.slot]) for p in step.params
            ]
        circuit.append(gate, step.qubits)
    state = Statevector(circuit)
    matrix, constant = batch.coefficients()
    values = [state.expectation_value(SparsePauliOp(term)).real for term in batch.terms]
    return float(matrix[k] @ np.array(values) + constant[k])


def answered(pubs) -> list[np.ndarray]:
    """The values of all PUBs from their batches, checking that each is given exactly once."""
    coerced = coerce_pubs(pubs, None)
    sizes = [int(np.prod(pub.shape, dtype=int)) for pub in coerced]
    results = np.full(sum(sizes), np.nan)
    for batch in batches_of(coerced):
        assert batch.places.shape == (len(batch.observables), len(batch.slots))
        assert len(set(batch.observables)) == len(batch.observables)
        for (k, row), place in np.ndenumerate(batch.places):
            assert np.isnan(results[place])
            results[place] = value_of(batch, row, k)
    assert not np.isnan(results).any()
    parts = np.split(results, np.cumsum(sizes)[:-1])
    return [part.reshape(pub.shape) for part, pub in zip(parts, coerced, strict=True)]


def expected(pub) -> np.ndarray:
    """The same by Qiskit's broadcasting and state vectors."""
    (pub,) = coerce_pubs([pub], None)
    observables, values = np.broadcast_arrays(
        pub.observables.sparse_observables_array(),
        np.arange(int(np.prod(pub.parameter_values.shape, dtype=int))).reshape(
            pub.parameter_values.shape
        ),
    )
    rows = pub.parameter_values.as_array(pub.circuit.parameters)
    rows = rows.reshape(-1, pub.circuit.num_parameters)
    result = np.empty(pub.shape)
    for where in np.ndindex(pub.shape):
        state = Statevector(pub.circuit.assign_parameters(rows[values[where]]))
        operator = SparsePauliOp.from_sparse_observable(observables[where].as_paulis())
        result[where] = state.expectation_value(operator).real
    return result


# -- merging ---------------------------------------------------------------------------


def test_hundreds_of_single_rows_become_one_batch():
    """PUBs of one row each, as gradients send them, are one batch in their order."""
    circuit = circuit_of()
    rows = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    (batch,) = batches([(circuit, "ZZ", row) for row in rows])
    assert batch.slots.shape == (300, 2)
    np.testing.assert_array_equal(batch.slots, rows)
    assert batch.places.tolist() == [list(range(300))]


def test_renamed_circuits_share_a_batch():
    """Circuits that differ in parameter names, or how angles are computed, run together."""
    x, y, z = (Parameter(name) for name in "xyz")
    one, two = QuantumCircuit(2), QuantumCircuit(2)
    for circuit, angle in ((one, x), (two, 2 * y + z)):
        circuit.ry(angle, 0)
        circuit.cx(0, 1)
    (batch,) = batches([(one, "ZZ", [0.3]), (two, "ZZ", [0.4, 0.1])])
    np.testing.assert_allclose(batch.slots, [[0.3], [0.9]])


def test_observables_at_the_same_rows_share_a_batch():
    """A PUB for each observable, as EstimatorQNN sends them, is one batch of all."""
    circuit = circuit_of()
    rows = np.random.default_rng(0).uniform(-1, 1, (5, 2))
    (batch,) = batches([(circuit, label, rows) for label in ("ZZ", "IZ", "XX")])
    assert batch.slots.shape == (5, 2)
    assert batch.terms == ("IZ", "XX", "ZZ")
    by_observable = dict(zip(batch.observables, batch.places.tolist(), strict=True))
    for number, label in enumerate(("ZZ", "IZ", "XX")):
        assert by_observable[(label, 1.0),] == [5 * number + k for k in range(5)]


def test_repeated_pubs_get_shots_of_their_own():
    """The same question asked three times is three rows, not one row read three times."""
    circuit = circuit_of()
    asked = [(circuit, "ZZ", [0.1, 0.2])] * 3
    made = batches(asked)
    assert sum(len(batch.slots) for batch in made) == 3
    answered(asked)
    results = CutEstimator(labels="AB", seed=3, shots=128).run(asked).result()
    assert len({float(result.data.evs) for result in results}) == 3


def test_equal_rows_of_one_pub_get_shots_of_their_own():
    circuit = circuit_of()
    data = CutEstimator(labels="AB", seed=3, shots=128).run([(circuit, "ZZ", [[0.1, 0.2]] * 4)])
    assert len(set(data.result()[0].data.evs)) == 4


@pytest.mark.parametrize(
    ("observables", "values"),
    [
        (["ZI", "ZI"], [0.3, 0.4]),
        ([["ZI"], ["ZI"]], [[0.3, 0.4], [0.5, 0.6], [0.7, 0.8]]),
        ([["ZI"], ["XX"], ["ZI"]], [[0.3, 0.4], [0.5, 0.6]]),
        ([SparsePauliOp("ZI"), SparsePauliOp(["ZI", "ZI"], [0.5, 0.5])], [0.3, 0.4]),
    ],
)
def test_one_observable_twice_in_one_pub(observables, values):
    """Asking for the same observable twice in a PUB answers both places."""
    pub = (circuit_of(), observables, values)
    np.testing.assert_allclose(answered([pub])[0], expected(pub), atol=1e-12)


def test_precisions_and_structures_are_kept_apart():
    """Different precisions, circuits or observables at different rows do not mix."""
    one, wide = circuit_of(2), circuit_of(3)
    made = batches(
        [
            (one, "ZZ", [0.1, 0.2], 0.1),
            (one, "ZZ", [0.1, 0.2], 0.01),
            (one, "ZZ", [0.1, 0.3]),
            (wide, "ZZZ", [0.1, 0.2, 0.3]),
        ],
        precision=0.1,
    )
    assert sorted((b.precision, len(b.slots), b.program.num_qubits) for b in made) == [
        (0.01, 1, 2),
        (0.1, 1, 3),
        (0.1, 2, 2),
    ]


class Recorder(CutEstimator):
    """Keeps the PUBs that others send."""

    def run(self, pubs, *, precision=None):
        self.sent = coerce_pubs(list(pubs), precision)
        return super().run(self.sent)


def test_a_qnn_of_qiskit_machine_learning_makes_one_batch_forward_and_one_backward():
    """EstimatorQNN's forward and parameter-shift PUBs merge, with two observables."""
    features, ansatz = z_feature_map(2), real_amplitudes(2, reps=1)
    circuit = features.compose(ansatz)
    estimator = Recorder(labels="AB", seed=1, shots=16)
    qnn = EstimatorQNN(
        circuit=circuit,
        observables=[SparsePauliOp("ZZ"), SparsePauliOp("IX")],
        input_params=features.parameters,
        weight_params=ansatz.parameters,
        estimator=estimator,
        gradient=ParamShiftEstimatorGradient(estimator),
        default_precision=None,
    )
    inputs = np.random.default_rng(0).uniform(0, 1, (6, 2))
    weights = np.full(ansatz.num_parameters, 0.3)
    qnn.forward(inputs, weights)
    made = batches_of(estimator.sent)
    assert [len(batch.slots) for batch in made] == [6]
    assert len(made[0].observables) == 2
    qnn.backward(inputs, weights)
    assert sum(int(np.prod(pub.shape)) for pub in estimator.sent) >= 2 * 6 * 2 * 4
    assert len(batches_of(estimator.sent)) <= 2


# -- broadcasting and observables ------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "observables"),
    [((5,), (3, 1)), ((), ()), ((), (4,)), ((4,), ()), ((2, 1, 3), (2, 1)), ((1,), (1, 1))],
)
def test_shapes_broadcast_like_numpy(params, observables):
    """Every combination of shapes is answered at the right place, exactly once."""
    rng = np.random.default_rng(1)
    circuit = circuit_of()
    labels = ["ZZ", "XI", "IZ", "XX", "YY"]
    size = int(np.prod(observables, dtype=int))
    asked = np.array(labels[:size], dtype=object).reshape(observables).tolist()
    pub = (circuit, asked, rng.uniform(-2, 2, (*params, 2)))
    (result,) = answered([pub])
    assert result.shape == np.broadcast_shapes(params, observables)
    np.testing.assert_allclose(result, expected(pub), atol=1e-12)


def test_a_diagonal_of_observables_and_rows():
    """Row k asks for observable k only; nothing else is run for it."""
    labels = ["ZZ", "XI", "ZZ"]
    pub = (circuit_of(), labels, [[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])
    (result,) = answered([pub])
    np.testing.assert_allclose(result, expected(pub), atol=1e-12)
    assert sum(len(b.slots) * len(b.observables) for b in batches([pub])) == 3


SUMS = st.dictionaries(
    st.text("IXYZ", min_size=2, max_size=2),
    st.sampled_from([-1.5, 0.25, 1.0]),  # Qiskit refuses a sum whose coefficients vanish
    min_size=1,
    max_size=4,
).map(lambda terms: SparsePauliOp(list(terms), list(terms.values())))


@st.composite
def pubs_of_two_circuits(draw):
    circuits = [circuit_of(2, "x"), circuit_of(2, "y").compose(circuit_of(2, "z"))]
    made = []
    for _ in range(draw(st.integers(1, 4))):
        circuit = draw(st.sampled_from(circuits))
        observables = draw(st.lists(SUMS, min_size=1, max_size=3))
        rows = draw(st.integers(1, 3))
        # Few values, so that rows and PUBs coincide.
        choose = st.lists(
            st.sampled_from([0.0, 0.7]),
            min_size=circuit.num_parameters,
            max_size=circuit.num_parameters,
        )
        values = [draw(choose) for _ in range(rows)]
        made.append((circuit, [[o] for o in observables], values))
    return made


@given(pubs_of_two_circuits())
@settings(max_examples=25, deadline=None)
def test_every_value_is_answered_exactly_once_and_right(pubs):
    """Whatever the PUBs: each place of each PUB gets the value it asked for."""
    for result, pub in zip(answered(pubs), pubs, strict=True):
        np.testing.assert_allclose(result, expected(pub), atol=1e-9)


def test_a_circuit_without_parameters():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.cx(0, 1)
    pub = (circuit, [["ZZ", "XX"], ["YY", "IZ"]])
    np.testing.assert_allclose(answered([pub])[0], [[1, 1], [-1, 0]], atol=1e-12)


@pytest.mark.parametrize("label", ["00", "+Z", "r1", "-I", "0X", "lr"])
def test_projectors_are_sums_of_paulis(label):
    """Observables of 0, 1, +, -, r and l letters expand to Paulis with the right signs."""
    pub = (circuit_of(), SparseObservable(label), [0.7, -1.1])
    np.testing.assert_allclose(answered([pub])[0], expected(pub), atol=1e-12)
    operator = SparseObservable(label)
    dense = SparsePauliOp.from_sparse_observable(operator).to_matrix()
    state = Statevector(circuit_of().assign_parameters([0.7, -1.1])).data
    assert expected(pub) == pytest.approx((state.conj() @ dense @ state).real)


def test_coefficients_and_constants():
    """The identity is a constant; equal strings add up; what cancels needs no circuit."""
    operator = SparsePauliOp(["ZZ", "II", "XI", "ZZ", "YY", "YY"], [0.5, 3.0, -1.0, 0.25, 1, -1])
    (batch,) = batches([(circuit_of(), operator, [0.1, 0.2])])
    matrix, constant = batch.coefficients()
    assert batch.terms == ("XI", "ZZ")
    np.testing.assert_allclose(matrix, [[-1.0, 0.75]])
    np.testing.assert_allclose(constant, [3.0])


# -- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pub", "kind", "message"),
    [
        (
            (circuit_of(), SparsePauliOp("ZZ", [1j]), [0.1, 0.2]),
            ObservableError,
            "[Cc]omplex|Hermitian",
        ),
        (
            (circuit_of(), SparsePauliOp(["ZZ", "XX"], [1, 1j]), [0.1, 0.2]),
            ObservableError,
            "[Cc]omplex|Hermitian",
        ),
        ((circuit_of(), "ZZZ", [0.1, 0.2]), ObservableError, "pub 1"),
        ((circuit_of(), "ZQ", [0.1, 0.2]), ObservableError, "pub 1"),
        ((circuit_of(), "ZZ"), ParameterValueError, "pub 1.*parameter"),
        ((circuit_of(), "ZZ", [0.1]), ParameterValueError, "pub 1.*parameter"),
        ((circuit_of(), "ZZ", [0.1, np.nan]), ParameterValueError, r"'x\[1\]' is nan in row 0"),
        ((circuit_of(), "ZZ", [0.1, 0.2], 0.0), UserError, "pub 1: precision is 0.0"),
        ((circuit_of(), "ZZ", [0.1, 0.2], -1.0), UserError, "precision"),
        ((circuit_of(), ["ZZ", "XX"], [[0.1, 0.2]] * 3), UserError, "pub 1"),
    ],
)
def test_bad_pubs_get_one_line(pub, kind, message):
    """A PUB that cannot be answered is a UserError of one line, which says which PUB."""
    with pytest.raises(kind, match=message) as error:
        batches([(circuit_of(), "ZZ", [0.1, 0.2]), pub])
    assert "\n" not in str(error.value)

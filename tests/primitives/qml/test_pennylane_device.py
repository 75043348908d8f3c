"""PennyLane's device: values of QNodes are default.qubit's, cut or not."""

from importlib.metadata import entry_points

import numpy as np
import pennylane as qml
import pytest
from pennylane.exceptions import DeviceError

from pilotcut import PilotManager, TaskManager, cut_qnn
from pilotcut.pilots.description import embedded
from pilotcut.primitives.pennylane.device import PilotcutDevice
from pilotcut.primitives.pennylane.tapes import from_tape

RNG = np.random.default_rng(11)

#: Ways to cut three wires; the last one computes its cuts as cuts.
WAYS = (
    {},
    {"labels": "AAB"},
    {"max_width": 2},
    {"max_width": 2, "engine": "statevector"},
)


def both(function, *args, wires=3, shots=None, **options):
    """Return a quantum function's results on our device and on PennyLane's own."""
    found = []
    ours = PilotcutDevice(wires=wires, **options)
    for device in (ours, qml.device("default.qubit", wires=wires)):
        found.append(qml.set_shots(qml.QNode(function, device), shots)(*args))
    return found


def flat(results):
    """Return results as one array."""
    some = results if isinstance(results, (tuple, list)) else (results,)
    return np.concatenate([np.ravel(qml.math.unwrap([one])[0]) for one in some])


def assert_equal(found, expected):
    assert np.shape(flat(found)) == np.shape(flat(expected))
    assert np.allclose(flat(found), flat(expected), atol=1e-8)


def layers(inputs, weights):
    qml.AngleEmbedding(inputs, range(3))
    qml.StronglyEntanglingLayers(weights, range(3))


def test_pennylane_finds_the_device_by_its_name():
    found = {one.name: one.value for one in entry_points(group="pennylane.plugins")}
    assert found["pilotcut"] == "pilotcut.primitives.pennylane.device:PilotcutDevice"
    assert isinstance(qml.device("pilotcut", wires=2, max_width=1), PilotcutDevice)


@pytest.mark.parametrize("options", WAYS, ids=str)
def test_values_of_all_measurements_are_default_qubits(options):
    hermitian = qml.Hermitian(np.array([[1, 0.5j], [-0.5j, -2]]), 1)

    def circuit(inputs, weights):
        layers(inputs, weights)
        return (
            qml.expval(qml.Z(0) @ qml.X(2)),
            qml.expval(0.4 * qml.Y(1) - 2 * (qml.Z(0) @ qml.Z(1)) + qml.Identity(0)),
            qml.expval(hermitian @ qml.Hadamard(2)),
            qml.expval(qml.Projector([1, 0], [2, 0])),
            qml.var(qml.X(1) + 0.3 * qml.Z(2)),
            qml.var(hermitian),
            qml.probs(wires=[2, 0]),
            qml.probs(),
            qml.probs(op=qml.X(1)),
        )

    args = RNG.uniform(-2, 2, 3), RNG.uniform(-2, 2, (2, 3, 3))
    found, expected = both(circuit, *args, **options)
    for one, other in zip(found, expected, strict=True):
        assert np.shape(one) == np.shape(other)
    assert_equal(found, expected)


@pytest.mark.parametrize("options", WAYS[:3], ids=str)
def test_broadcast_parameters_are_rows(options):
    def circuit(inputs, weights):
        layers(inputs, weights)
        return qml.expval(qml.Z(1)), qml.probs(wires=[0, 2]), qml.var(qml.Y(0))

    args = RNG.uniform(-2, 2, (5, 3)), RNG.uniform(-2, 2, (1, 3, 3))
    found, expected = both(circuit, *args, **options)
    assert [np.shape(one) for one in found] == [np.shape(one) for one in expected]
    assert_equal(found, expected)


def test_broadcast_parameters_are_one_batch_and_not_a_circuit_each():
    device = PilotcutDevice(wires=3, labels="AAB")
    node = qml.QNode(lambda x: (layers(x, np.ones((1, 3, 3))), qml.expval(qml.Z(0)))[1], device)
    node(RNG.uniform(-1, 1, (7, 3)))
    (query,) = [one for one in device.estimator.trace.records if one["kind"] == "query_batch"]
    assert query["queries"] == 7


def test_a_broadcast_matrix_is_taken_apart():
    matrices = np.stack([qml.matrix(qml.RX(angle, 0)) for angle in (0.1, 0.2)])

    def circuit():
        qml.QubitUnitary(matrices, 0)
        qml.CNOT([0, 1])
        return qml.expval(qml.Z(1))

    assert_equal(*both(circuit))


def test_wires_have_any_names_and_an_order_of_the_devices():
    names = ["q", 7, "aux", -1]

    def circuit():
        qml.RY(0.3, wires="aux")
        qml.CNOT(wires=["aux", 7])
        qml.RX(0.9, wires=-1)
        return qml.probs(wires=["aux", -1]), qml.probs(), qml.expval(qml.Z(7))

    assert_equal(*both(circuit, wires=names, max_width=2))


def test_without_wires_a_circuits_own_are_taken():
    def circuit():
        qml.RY(0.3, wires="b")
        qml.CNOT(wires=["b", "a"])
        return qml.expval(qml.Z("a"))

    assert_equal(*both(circuit, wires=None))


def test_templates_states_and_deferred_measurements_are_decomposed():
    state = RNG.normal(size=4) + 1j * RNG.normal(size=4)

    def circuit():
        qml.StatePrep(state, wires=[0, 1], normalize=True)
        qml.QFT(wires=[0, 1, 2])
        qml.ctrl(qml.RX(0.4, 3), control=[0, 1], control_values=[1, 0])
        outcome = qml.measure(2)
        qml.cond(outcome, qml.RY)(0.8, wires=1)
        qml.BasisRotation(wires=[0, 1], unitary_matrix=np.array([[0.6, -0.8], [0.8, 0.6]]))
        return qml.expval(qml.Z(1) @ qml.Z(3)), qml.probs(wires=[0, 1])

    assert_equal(*both(circuit, wires=5, max_width=3))


def test_a_batch_of_tapes_is_answered_tape_by_tape():
    device = PilotcutDevice(wires=2, labels="AB")
    tapes = [
        qml.tape.QuantumScript([qml.RX(x, 0), qml.CNOT([0, 1])], [measured])
        for x in (0.1, 0.2)
        for measured in (qml.expval(qml.Z(1)), qml.probs(wires=[1]))
    ]
    found = qml.execute(tapes, device)
    assert_equal(found, qml.execute(tapes, qml.device("default.qubit", wires=2)))
    batches = [one for one in device.estimator.trace.records if one["kind"] == "query_batch"]
    assert [one["queries"] for one in batches] == [2, 2]


def test_commuting_gates_in_another_order_keep_their_own_angles():
    device = PilotcutDevice(wires=2, labels="AB")

    def value(first, second):
        operators = [qml.RX(first[0], first[1]), qml.RX(second[0], second[1])]
        tape = qml.tape.QuantumScript(operators, [qml.expval(qml.Z(0)), qml.probs(wires=[1])])
        return qml.execute([tape], device)[0]

    assert_equal(value((0.3, 0), (1.1, 1)), value((1.1, 1), (0.3, 0)))


def test_wire_cuts_say_where_to_cut_unless_the_device_does():
    def circuit():
        qml.RX(0.4, 0)
        qml.CNOT([0, 1])
        qml.WireCut(1)
        qml.CNOT([1, 2])
        return qml.expval(qml.Z(2))

    device = PilotcutDevice(wires=3)
    value = qml.QNode(circuit, device)()
    compiled = [one for one in device.estimator.trace.records if one["kind"] == "compile"]
    assert [one["cuts"] for one in compiled] == [1]
    assert_equal(value, qml.QNode(circuit, qml.device("default.qubit", wires=3))())
    assert_equal(*both(circuit, max_width=2))


def test_the_probabilities_of_many_wires_come_from_the_distribution():
    def circuit(x):
        for wire in range(8):
            qml.RY(x * (wire + 1), wire)
        for wire in range(7):
            qml.CNOT([wire, wire + 1])
        return qml.probs(wires=range(7)), qml.expval(qml.Z(7))

    assert_equal(*both(circuit, 0.3, wires=8, cuts=1))
    assert_equal(*both(circuit, np.array([0.3, 0.9]), wires=8, cuts=1))


def cosine(x):
    qml.RX(x, 0)
    qml.CNOT([0, 1])
    return qml.expval(qml.Z(1))


def test_pilots_that_run_are_used_and_left_running():
    with PilotManager(embedded(workers=2)) as pilots, TaskManager(pilots) as tasks:
        for given in (pilots, tasks):
            device = PilotcutDevice(wires=2, labels="AB", pilots=given)
            assert abs(qml.QNode(cosine, device)(0.3) - np.cos(0.3)) < 1e-9
            device.close()
        assert pilots.slots == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "exactly"}, "mode is 'exactly'"),
        ({"cuts": 1, "max_width": 2}, "max_width"),
        ({"shotz": 3}, "shotz"),
        ({"cut": 1}, "did you mean 'cuts'"),
        ({"cutz": 1}, "expected one of pilots, wire_cuts, cuts, labels, max_width"),
        ({"num_samples": 10}, "num_samples"),
        ({"pilots": "nowhere.yaml"}, "nowhere.yaml"),
        ({"pilots": 3}, "pilots is"),
    ],
)
def test_options_that_do_not_fit_are_refused_when_the_device_is_made(options, words):
    with pytest.raises(DeviceError, match=words):
        PilotcutDevice(wires=2, **options)


def test_what_the_device_cannot_do_is_refused_in_pennylanes_words():
    device = PilotcutDevice(wires=2, cuts=1)

    def run(measured, *operators):
        tape = qml.tape.QuantumScript([qml.RX(0.1, 0), *operators], [measured])
        qml.execute([tape], device)

    with pytest.raises(DeviceError, match="not accepted for analytic simulation on pilotcut"):
        run(qml.state())
    with pytest.raises(DeviceError, match="not accepted for analytic simulation"):
        run(qml.vn_entropy(wires=[0]))
    with pytest.raises(DeviceError, match="not supported with pilotcut"):
        run(qml.expval(qml.Z(0)), qml.Displacement(0.1, 0.2, wires=0))
    with pytest.raises(qml.wires.WireError, match="wire"):
        run(qml.expval(qml.Z(7)))
    with pytest.raises(DeviceError, match="expected"):
        run(qml.expval(qml.Z(0) @ qml.Z(1)))  # no gate to cut


def test_a_tape_is_a_circuit_with_its_observables_and_numbers_for_cut_qnn():
    operators = [qml.AngleEmbedding([0.4, -0.3], ["a", "b"]), qml.CNOT(["a", "b"])]
    operators.append(qml.Rot(0.1, 0.2, 0.3, "b"))
    measured = [qml.expval(qml.Z("b") - 0.5 * qml.X("a")), qml.expval(qml.Y("b"))]
    tape = qml.tape.QuantumScript(operators, measured)
    circuit, observables, values = from_tape(tape)
    names = [f"x[{k}]" for k in range(5)]
    module = cut_qnn(circuit, observables, weight_params=names, initial_weights=values, cuts=1)
    expected = qml.execute([tape], qml.device("default.qubit"))
    assert np.allclose(module().detach().numpy(), expected[0], atol=1e-6)
    with pytest.raises(DeviceError, match="expectation values alone"):
        from_tape(qml.tape.QuantumScript(operators, [qml.probs(wires=["a"])]))

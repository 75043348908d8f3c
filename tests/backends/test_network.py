"""Networks of Pauli transfer matrices: values and derivatives as those of states, and few calls."""

import numpy as np
import pytest
import torch
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import Pauli
from support.any_circuits import circuit_of, state_of

from pilotcut import CutEstimator, compile_plan, cut_qnn
from pilotcut.backends import network, pauli_network
from pilotcut.backends.exact import ExactEngine
from pilotcut.backends.network import NetworkEngine
from pilotcut.backends.network_order import contraction_order, multiplications
from pilotcut.backends.statevector import StatevectorEngine
from pilotcut.errors import CutError, UserError
from pilotcut.training.model import classifier

CPU = torch.device("cpu")


def _network(circuit, observables):
    """Return the one fragment of an uncut circuit, with its network and the plan."""
    plan = compile_plan(circuit, observables)
    (fragment,) = plan.fragments
    return fragment, NetworkEngine(CPU).network(fragment), plan


def _paulis(rng, qubits, count):
    found = {"".join(rng.choice(list("IXYZ"), qubits)) for _ in range(count)}
    return sorted(found - {"I" * qubits}) or ["Z" * qubits]


@pytest.mark.parametrize("seed", [k for k in range(40) if k != 28])  # Qiskit refuses 28
def test_any_circuit_has_its_values(seed):
    circuit, values = circuit_of(seed)
    state = state_of(circuit, values)
    paulis = _paulis(np.random.default_rng(seed), circuit.num_qubits, 3)
    estimator = CutEstimator(mode="exact", engine="network")
    try:
        (result,) = estimator.run([(circuit, paulis, values)]).result()
    except UserError:
        return
    expected = [state.expectation_value(Pauli(p)).real for p in paulis]
    np.testing.assert_allclose(result.data.evs, expected, atol=1e-10)


def test_derivatives_are_those_of_the_states():
    circuit = classifier(5).circuit
    fragment, network, plan = _network(circuit, ["ZZZZZ", "XIYIZ", "IIIIZ"])
    rng = np.random.default_rng(3)
    angles = fragment.angle_values(rng.uniform(-3, 3, (4, plan.program.num_slots)))
    cotangents = rng.normal(size=(4, 2, 3, 1))
    found, states = network.at(angles), StatevectorEngine().linearised(fragment, angles)
    np.testing.assert_allclose(found.values, states.values, atol=1e-12)
    expected = states.pull_back(cotangents[..., 0].astype(complex))
    np.testing.assert_allclose(found.pull_back(cotangents), expected, atol=1e-12)


def _angles_of(rng, rows, number, shared):
    """Return angles (rows, number), some columns without spread."""
    angles = rng.uniform(-3, 3, (rows, number))
    equal = rng.random(number) < shared
    angles[:, equal] = angles[0, equal]
    return angles


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize("shared", [0.0, 0.3, 0.7, 1.0])
def test_what_rows_share_is_computed_once_and_wanted_angles_have_their_derivatives(
    rows, shared, monkeypatch
):
    """Whether or not it pays, whatever rows came before, and in sums over rows as in each."""
    monkeypatch.setattr(network, "_CALL_S", 0.0)
    for circuit, paulis in (
        (classifier(6).circuit, ["ZZZZZZ", "XIYIZI", "IIIIIZ"]),
        (_halves(), ["ZZZ", "XYI", "IIZ"]),
    ):
        fragment, found, _ = _network(circuit, paulis)
        rng = np.random.default_rng(rows)
        for _ in range(2):
            angles = _angles_of(rng, rows, len(fragment.angles), shared)
            here, states = found.at(angles), StatevectorEngine().linearised(fragment, angles)
            np.testing.assert_allclose(here.values, states.values, atol=1e-12)
            cotangents = rng.normal(size=(rows, 2, 3, 1))
            expected = states.pull_back(cotangents[..., 0].astype(complex))
            for part in (0.0, 0.2, 0.6, 1.0):
                wanted = rng.random(len(fragment.angles)) < part
                each = here.pull_back(cotangents, wanted)[..., wanted]
                np.testing.assert_allclose(each, expected[..., wanted], atol=1e-12)
                whole = here.pull_back(cotangents, wanted, summed=True)[..., wanted]
                of_all = expected.sum(axis=0, keepdims=True)
                np.testing.assert_allclose(whole, of_all[..., wanted], atol=1e-12)


def _halves():
    """Return gates with harmonics of half their angles, and an angle in two gates."""
    circuit, a = QuantumCircuit(3), ParameterVector("a", 6)
    for qubit in range(3):
        circuit.ry(a[qubit], qubit)
    circuit.crx(a[3], 0, 1)
    circuit.cp(a[4], 1, 2)
    circuit.ry(a[0], 1)
    circuit.rzz(a[5], 0, 2)
    circuit.h(range(3))
    return circuit


def test_a_batch_with_equal_weights_multiplies_less():
    fragment, found, plan = _network(classifier(12).circuit, ["Z" * 12])
    rng = np.random.default_rng(0)
    slots = rng.uniform(-3, 3, (16, plan.program.num_slots))
    slots[:, -12:] = slots[0, -12:]  # the last layer
    few = found.at(fragment.angle_values(slots)).found.values
    slots[0] += 1
    many = found.at(fragment.angle_values(slots)).found.values
    assert sum(array.size for array in few) < 0.7 * sum(array.size for array in many)


def test_angles_equal_by_chance_make_few_schedules(monkeypatch):
    """As black pixels do, which are others in each batch."""
    monkeypatch.setattr(network, "_CALL_S", 0.0)
    fragment, found, _ = _network(classifier(6).circuit, ["Z" * 6])
    rng = np.random.default_rng(0)
    schedules = {
        id(found.at(_angles_of(rng, 3, len(fragment.angles), rng.random())).schedule)
        for _ in range(200)
    }
    assert len(schedules) <= network.MOST_SCHEDULES + 1


def test_a_training_asks_for_the_weights_alone_and_for_their_sum(monkeypatch):
    """The loss's gradient is that of rows one by one, with and without inputs' derivatives."""
    asked = []
    original = network.Network.slopes

    def slopes(self, point, cotangents, wanted=None, summed=False):
        asked.append((int(wanted.sum()), summed))
        return original(self, point, cotangents, wanted, summed)

    monkeypatch.setattr(network.Network, "slopes", slopes)
    model = classifier(5)
    weights = np.linspace(-1, 1, len(model.weights))
    qnn = cut_qnn(
        model.circuit,
        model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        mode="exact",
        engine="network",
        initial_weights=weights,
    ).double()
    x = torch.linspace(0, 1, 15).reshape(3, 5).double()
    scale = torch.tensor([[1.0], [-2.0], [0.5]])

    def gradient(rows):
        qnn.weights.grad = None
        (qnn(x[rows]) * scale[rows]).sum().backward()
        return qnn.weights.grad.clone()

    whole = gradient(slice(None))
    number = len(model.weights)
    assert asked == [(number, True)]
    apart = sum(gradient(slice(k, k + 1)) for k in range(3))
    torch.testing.assert_close(whole, apart, atol=1e-12, rtol=0)
    x.requires_grad_()
    torch.testing.assert_close(gradient(slice(None)), whole, atol=1e-12, rtol=0)
    assert not asked[-1][1]


def test_torch_differentiates_twice():
    circuit = QuantumCircuit(2)
    angles = ParameterVector("a", 3)
    circuit.ry(angles[0], 0)
    circuit.crx(angles[1], 0, 1)
    circuit.rzz(angles[2], 0, 1)
    circuit.h(0)
    fragment, network, _ = _network(circuit, ["XZ"])
    at = torch.tensor([[0.3, 1.1, -0.4]], dtype=torch.float64)

    def value(slots):
        return network.tensor(slots).sum()

    def of_states(slots):
        return StatevectorEngine().tensor(fragment, slots).real.sum()

    found, expected = (torch.autograd.functional.hessian(f, at) for f in (value, of_states))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_a_chain_takes_as_many_calls_as_its_logarithm():
    calls = []
    for qubits in (16, 64):
        _, network, _ = _network(classifier(qubits).circuit, ["Z" * qubits])
        calls.append(len(network.plan.groups))
    assert calls[1] <= calls[0] + 10


def test_what_a_term_does_not_see_is_not_computed():
    angles = ParameterVector("a", 120)
    circuit = QuantumCircuit(40)
    for layer in range(3):
        for qubit in range(40):
            circuit.ry(angles[40 * layer + qubit], qubit)
        for qubit in range(layer % 2, 39, 2):
            circuit.cz(qubit, qubit + 1)
    _, near, _ = _network(circuit, ["I" * 19 + "Z" + "I" * 20])
    seen = {angle for group in near.plan.groups for angle in group.angles}
    assert len(seen) <= 2 + 4 + 6  # one more on each side, layer by layer


def test_an_order_of_a_ring_is_no_dearer_than_one_after_the_other():
    legs = [(k, (k + 1) % 12) for k in range(12)]
    sizes = dict.fromkeys(range(12), 4)
    pairs = contraction_order(legs, sizes)
    assert pairs[-1].legs == ()
    assert multiplications(legs, pairs, sizes) <= 11 * 4**3


def test_the_way_is_chosen_by_what_it_costs():
    wide, dense = classifier(30), QuantumCircuit(6)
    angles = ParameterVector("a", 360)
    for layer in range(60):
        for qubit in range(6):
            dense.ry(angles[6 * layer + qubit], qubit)
        for qubit in range(layer % 2, 5, 2):
            dense.cz(qubit, qubit + 1)
    engine = ExactEngine()
    for circuit, terms, by_network in (
        (wide.circuit, ["Z" * 30], True),
        (dense, ["ZIIIII", "IIXIII"], False),
    ):
        fragment = compile_plan(circuit, terms).fragments[0]
        assert (engine.network(fragment) is not None) == by_network


@pytest.mark.joined
@pytest.mark.parametrize("engine", ["auto", "statevector", "network"])
def test_engines_agree_and_the_record_names_them(engine):
    model = classifier(6)
    qnn = cut_qnn(
        model.circuit,
        model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        cuts=2,
        engine=engine,
        initial_weights=np.linspace(-1, 1, len(model.weights)),
    )
    x = torch.linspace(0, 1, 12).reshape(2, 6).double()
    qnn(x).sum().backward()
    assert qnn.plan.num_cuts == 2
    record = next(r for r in qnn.estimator.trace.records if r["kind"] == "query_batch")
    ways = {"auto": "joined network", "statevector": "statevector", "network": "joined network"}
    assert record["engine"] == ways[engine]
    uncut = CutEstimator(mode="exact", engine="statevector")
    values = np.hstack([x.numpy(), np.tile(qnn.weights.detach().numpy(), (2, 1))])
    order = [p.name for p in (*model.inputs, *model.weights)]
    columns = [order.index(p.name) for p in model.circuit.parameters]
    (result,) = uncut.run([(model.circuit, model.observable, values[:, columns])]).result()
    np.testing.assert_allclose(qnn(x).detach().numpy()[:, 0], result.data.evs, atol=1e-6)


def test_what_has_no_network_is_refused_in_one_line():
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    for _ in range(600):
        circuit.cx(0, 1)
        circuit.t(1)
    estimator = CutEstimator(mode="exact", engine="network")
    terms = ["ZZZZ", "XXXX"]
    with pytest.raises(CutError, match=r"engine is 'network'.*gates.*engine='statevector'"):
        estimator.run([(circuit, terms)])
    with pytest.raises(UserError, match=r"engine is 'tensor', expected"):
        CutEstimator(mode="exact", engine="tensor")


@pytest.mark.joined
def test_cuts_that_cost_more_than_the_circuit_are_left_out():
    """Ten cuts have two million branch pairs; the whole state has 1,024 amplitudes."""
    circuit = QuantumCircuit(10)
    for _ in range(2):
        for qubit in range(10):
            circuit.rx(0.3 + qubit, qubit)
        for qubit in range(5):
            circuit.rzz(0.7, qubit, qubit + 5)
    labels = "AAAAABBBBB"
    (found,) = CutEstimator(labels=labels, mode="exact").run([(circuit, "Z" * 10)]).result()
    (whole,) = CutEstimator(mode="exact", engine="statevector").run([(circuit, "Z" * 10)]).result()
    assert found.data.evs == pytest.approx(whole.data.evs, abs=1e-10)
    with pytest.raises(CutError, match="branch pairs"):
        CutEstimator(labels=labels, mode="exact", engine="statevector").run([(circuit, "Z" * 10)])


def _pairs():
    """Return twenty qubits that are entangled two by two."""
    circuit = QuantumCircuit(20)
    for k in range(20):
        circuit.ry(0.3, k)
    for k in range(0, 19, 2):
        circuit.cx(k, k + 1)
    return circuit


def test_a_network_is_looked_for_by_the_gates_that_terms_see(monkeypatch):
    """19 neighbours see at most 6 of the 30 gates each, and not all of them."""
    near = ["I" * k + "ZZ" + "I" * (18 - k) for k in range(19)]
    monkeypatch.setattr(network, "MOST_SEEN", 6 * len(near))
    assert _network(_pairs(), near)[1] is not None
    monkeypatch.setattr(network, "MOST_SEEN", 2 * len(near))
    assert _network(_pairs(), near)[1] is None


def test_gates_are_decomposed_once_for_all_terms(monkeypatch):
    """Of the 12 s that 500 terms took to compile, the transfer matrices of their gates were 11."""
    made = []
    original = pauli_network._transfer_matrix
    monkeypatch.setattr(
        pauli_network, "_transfer_matrix", lambda step: made.append(step) or original(step)
    )
    fragment, found, _ = _network(_pairs(), _paulis(np.random.default_rng(1), 20, 30))
    assert found is not None
    assert len(made) <= len(fragment.steps)

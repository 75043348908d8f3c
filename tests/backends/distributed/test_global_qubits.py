"""The planner of global qubits: every gate once, in an order that is right, with little sent."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.unlike_circuits import KINDS, unlike_circuit

from pilotcut.backends.distributed.gates import Reach, gates_of
from pilotcut.backends.distributed.grouping import grouped, ones
from pilotcut.backends.distributed.stages import plan_stages
from pilotcut.circuits.program import read_circuit
from pilotcut.study.motifs.state_vector import entangling_layers

QUBITS = 7


@st.composite
def reaches(draw):
    """Draw gates on one or two qubits that turn any of them."""
    pairs = draw(
        st.lists(st.lists(st.integers(0, QUBITS - 1), min_size=1, max_size=2), max_size=40)
    )
    bits = [sum({1 << qubit for qubit in pair}) for pair in pairs]
    return [Reach(own, own & draw(st.integers(0, 2**QUBITS - 1))) for own in bits]


def in_order(reaches, numbers):
    """Return whether gates that do not commute keep their order."""
    place = {number: at for at, number in enumerate(numbers)}
    return all(
        place[a] < place[b]
        for b in range(len(reaches))
        for a in range(b)
        if reaches[a].turned & reaches[b].qubits or reaches[a].qubits & reaches[b].turned
    )


@given(reaches(), st.integers(0, 3))
def test_every_gate_runs_once_where_what_it_turns_is_local(gates, num_global):
    plan = plan_stages(gates, QUBITS, num_global)
    numbers = [*plan.prepared, *(number for stage in plan.stages for number in stage.gates)]
    assert sorted(numbers) == list(range(len(gates)))
    assert in_order(gates, numbers)
    for stage in plan.stages:
        assert len(stage.global_qubits) == num_global
        for number in stage.gates:
            assert not set(ones(gates[number].turned)) & stage.global_qubits
    for number in plan.prepared:
        assert set(ones(gates[number].qubits)) <= plan.stages[0].global_qubits


@given(reaches(), st.integers(2, 5))
def test_groups_have_every_gate_once_within_their_qubits(gates, most):
    groups = grouped(gates, most)
    assert sorted(number for _, some in groups for number in some) == list(range(len(gates)))
    assert in_order(gates, [number for _, some in groups for number in some])
    for qubits, some in groups:
        assert qubits.bit_count() <= most
        assert all(not gates[number].qubits & ~qubits for number in some)


@pytest.mark.parametrize(("ranks", "sent"), [(2, 0.5), (4, 0.75), (8, 0.875)])
def test_two_entangling_layers_need_one_exchange(ranks, sent):
    gates = gates_of(read_circuit(entangling_layers(20, 2))[0])
    plan = plan_stages(gates.reaches, 20, ranks.bit_length() - 1)
    assert plan.volume == sent
    assert len(plan.stages) == 2


def test_diagonal_gates_and_controls_send_nothing():
    gates = gates_of(read_circuit(unlike_circuit("diagonal", qubits=10)[0])[0])
    before_the_end = gates.reaches[:-10]
    assert plan_stages(before_the_end, 10, 3).volume == 0


@pytest.mark.parametrize("kind", KINDS)
def test_swaps_are_names_only(kind):
    gates = gates_of(read_circuit(unlike_circuit(kind)[0])[0])
    swap = np.eye(4)[[0, 2, 1, 3]]
    assert not any(
        gate.matrix.shape == (4, 4) and np.allclose(gate.matrix, swap) for gate in gates.gates
    )
    assert sorted(gates.wire_of) == list(range(6))

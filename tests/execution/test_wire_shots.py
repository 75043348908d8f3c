"""Wires with communication: stages, shots that follow what was found, and the same total."""

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import CutEstimator, compile_plan
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.execution.query_store import load, numbers, reconstruct
from pilotcut.execution.wire_shots import FLOOR, WireShots, stages_of


def chain(qubits: int) -> QuantumCircuit:
    """CX in a row, the wire between any two cut: every fragment but the ends receives and sends."""
    circuit = QuantumCircuit(qubits)
    circuit.ry(0.7, 0)
    for q in range(qubits - 1):
        circuit.cx(q, q + 1)
        if q < qubits - 2:
            circuit.append(CutWire(), [q + 1])
    return circuit


def test_fragments_run_in_the_order_of_their_wires():
    plan = compile_plan(chain(4), "ZZZZ", wires="communication")
    assert stages_of(plan) == [[0], [1], [2]]
    assert stages_of(compile_plan(chain(4), "ZZZZ", wires="randomised")) == [[0, 1, 2]]


def test_of_fragments_that_send_to_each_other_the_sender_with_communication_starts():
    circuit = QuantumCircuit(3)
    for pair in [(0, 1), (1, 2), (0, 1)]:
        circuit.cx(*pair)
    placement = Placement(("A", "A", "B"), (WireCut(1, 1, "B"), WireCut(1, 2, "A")))
    plan = compile_plan(circuit, "ZZZ", placement=placement)
    sender = next(bond.ends[0][0] for bond in plan.bonds if bond.way == "communication")
    assert stages_of(plan) == [[sender], [1 - sender]]


def test_states_that_were_never_found_get_the_floor_alone():
    """The sender ends in |0>: of basis Z state 1 has no weight, and 0 has the most."""
    plan = compile_plan(chain(3), "ZZZ", wires="communication")
    sender = plan.fragments[0]
    dealing = WireShots(
        plan, 1, 1000, [b.matrix(np.zeros((1, plan.program.num_slots))) for b in plan.bonds]
    )
    values = np.zeros((1, len(sender.observables), *sender.variant_shape))
    values[..., :] = [1.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    dealing.learn([0], [FragmentTensor(values, ()), FragmentTensor(values, ())])
    shots = dealing.of_stage([1])
    assert not shots[0].any()
    first = shots[1][0, :6]
    assert first[0] > 0.8 * first.sum()
    assert FLOOR / 6 < first[1] / first.sum() < 2.5 * FLOOR / 6
    total = 1000 * plan.num_subexperiments
    both = dealing.of_stage([0])[0].sum() + shots[1].sum()
    assert both == pytest.approx(total, rel=0.03)


def test_runs_are_repeatable_and_a_store_gives_the_same_numbers(tmp_path):
    circuit, asked = chain(4), ["ZZZZ", "XXII"]
    options = {"wires": "communication", "mode": "sampled", "shots": 200, "seed": 3}
    plain = CutEstimator(**options).run([(circuit, asked)]).result()[0].data
    kept = CutEstimator(**options, store=tmp_path).run([(circuit, asked)]).result()[0].data
    assert np.array_equal(plain.evs, kept.evs)
    (batch,) = numbers(tmp_path)
    stored = load(tmp_path, batch)
    assert not stored.missing()
    values, errors = reconstruct(stored)
    assert np.allclose(sorted(values[0]), sorted(plain.evs))
    assert np.allclose(sorted(errors[0]), sorted(plain.stds))
    # What a run that was killed left is not run again, and gives the same.
    for path in (tmp_path / f"query-{batch:06d}" / "blocks").glob("2-*"):
        path.unlink()
    assert len(stored.missing()) > 0
    again = CutEstimator(**options, store=tmp_path).run([(circuit, asked)]).result()[0].data
    assert np.array_equal(plain.evs, again.evs)


def test_a_precision_is_reached():
    data = (
        CutEstimator(wires="communication", mode="sampled", seed=3)
        .run([(chain(3), ["ZZZ", "XXX"])], precision=0.02)
        .result()[0]
        .data
    )
    assert 0.012 < data.stds.max() < 0.021

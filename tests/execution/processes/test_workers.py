"""Batches on workers that are processes of their own: the same bits as here."""

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire
from support.circuits import halves, trained

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription

SUM = SparsePauliOp(["ZZII", "IZIZ", "IIZZ", "XIXI"], [1.0, -0.5, 0.8, 0.6])


def test_joint_cuts_have_the_same_bits_in_other_processes(workers):
    """Counts and draws of joint cuts, and sampled terms of them, on a local pilot."""
    circuit, values = trained()

    def found(tasks):
        results = []
        for more in ({}, {"mode": "sampled"}, {"mode": "sampled", "num_samples": 50}):
            estimator = CutEstimator(
                tasks, labels="AABB", joint_cuts=True, shots=20, seed=5, **more
            )
            data = estimator.run([(circuit, ["ZZZZ", SUM], values)]).result()[0].data
            results.append([data.evs, data.stds])
        return results

    np.testing.assert_array_equal(found(None), found(workers))


def test_wires_with_communication_have_the_same_bits_in_other_processes(workers, tmp_path):
    """A receiver's tasks follow its sender's, with and without a store that takes the results."""
    circuit = QuantumCircuit(4)
    circuit.ry(0.7, 0)
    for first, last in [(0, 1), (1, 2), (2, 3)]:
        circuit.cx(first, last)
        circuit.ry(0.4, last)
        if last < 3:
            circuit.append(CutWire(), [last])

    def found(tasks, **more):
        options = {"wires": "communication", "shots": 100, "seed": 5} | more
        data = CutEstimator(tasks, **options).run([(circuit, ["ZZZZ", "XXII"])]).result()[0].data
        return [data.evs, data.stds]

    here = found(None)
    np.testing.assert_array_equal(here, found(workers))
    np.testing.assert_array_equal(here, found(workers, store=tmp_path))


def test_sampled_terms_have_the_same_bits_in_other_processes(workers):
    circuit = halves(3, [0.5, 0.4, 0.3])
    values = np.zeros((3, 0))

    def found(tasks):
        options = {"labels": "AAABBB", "shots": 64, "num_samples": 100, "seed": 5}
        return CutEstimator(tasks, **options).run([(circuit, "ZIIIIZ", values)]).result()[0].data

    here, there = found(None), found(workers)
    np.testing.assert_array_equal(here.evs, there.evs)
    np.testing.assert_array_equal(here.stds, there.stds)
    assert len(set(here.evs)) == 3  # rows draw their own terms


def test_pilots_go_on_without_space_for_their_events(tmp_path, caplog):
    """Their record is for people: tasks end, and the log tells of it once."""
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "events.jsonl").symlink_to("/dev/full")
    pilot = PilotDescription(name="laptop", resource="local", cores_per_node=1)
    with PilotManager([pilot], run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
        assert tasks.submit_task(max, 3, 7).result(60) == 7
    assert caplog.text.count("events.jsonl: cannot be written") == 1

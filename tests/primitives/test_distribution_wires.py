"""Distributions of circuits whose wires communicate: shots follow what was found, unbiased."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire
from scipy.stats import chi2
from support.exact import state_of_uncut

from pilotcut import Distribution, PilotManager, TaskManager, compile_plan
from pilotcut.execution import executor as running
from pilotcut.pilots.description import PilotDescription


def halves(wires: int) -> QuantumCircuit:
    """Two halves that share so many qubits, each with one of its own."""
    circuit = QuantumCircuit(wires + 2)
    rng = np.random.default_rng(wires)
    for half in (0, 1):
        qubits = [*range(wires), wires + half]
        for qubit in qubits:
            circuit.ry(rng.uniform(-2, 2), qubit)
            circuit.rz(rng.uniform(-2, 2), qubit)
        for a, b in pairwise(qubits):
            circuit.cx(a, b)
        if not half:
            for qubit in range(wires):
                circuit.append(CutWire(), [qubit])
    return circuit


@cache
def repeated(wires: int, way: str, mode: str = "sampled", shots: int = 300) -> list[Distribution]:
    plan = compile_plan(halves(wires), wires=way)
    return [Distribution(plan, mode=mode, shots=shots, seed=seed) for seed in range(24)]


@pytest.mark.parametrize(("wires", "mode"), [(1, "counts"), (1, "sampled"), (2, "sampled")])
def test_values_and_errors_are_right(wires, mode):
    runs = repeated(wires, "auto", mode)
    found = np.array([run.probabilities() for run in runs])
    exact = state_of_uncut(halves(wires)).probabilities()
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    z = (found.mean(axis=0) - exact) / error
    assert (z**2).mean() < chi2.isf(1e-6, 3) / 3 * 23 / 21
    for query in ((None, None), ([0, wires], None), ([0], {wires + 1: 1})):
        spread = np.var([run.probabilities(*query) for run in runs], axis=0, ddof=1).sum()
        told = np.mean([run.standard_errors(*query) ** 2 for run in runs], axis=0).sum()
        assert 0.45 < told / spread < 2.2


def test_errors_are_smaller_than_without_communication():
    """Of two wires, per shot of all circuits."""
    errors = {}
    for way in ("auto", "randomised", "separate"):
        one = repeated(2, way)[0]
        total = 300 * one.plan.num_subexperiments
        squares = np.mean([run.standard_errors() ** 2 for run in repeated(2, way)], axis=0).sum()
        errors[way] = squares * total
    assert errors["auto"] < 0.75 * errors["randomised"] < 0.75 * errors["separate"]


def test_the_total_of_all_shots_is_what_was_asked(monkeypatch):
    plan = compile_plan(halves(2))
    asked = []
    tallies = running.Executor.tallies

    def kept(self, requests, seed):
        asked.append(sum(request.total_shots for request in requests))
        return tallies(self, requests, seed)

    monkeypatch.setattr(running.Executor, "tallies", kept)
    distribution = Distribution(plan, mode="sampled", shots=1000, seed=1)
    assert len(asked) == 2
    total = 1000 * distribution.plan.num_subexperiments
    assert sum(asked) == pytest.approx(total, rel=0.05)


def test_pilots_give_the_same_numbers():
    here = PilotDescription(name="here", resource="inprocess", cores_per_node=2)
    plan = compile_plan(halves(1))
    with PilotManager([here]) as pilots, TaskManager(pilots) as tasks:
        for mode in ("counts", "sampled"):
            alone, there = (
                Distribution(plan, mode=mode, shots=200, seed=4, tasks=t).probabilities()
                for t in (None, tasks)
            )
            assert np.array_equal(alone, there)

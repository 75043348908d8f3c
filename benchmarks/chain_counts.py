"""Counts of a chain of CX gates that is cut at each, as the addon's pipeline and ours take them.

Both get the same random outcomes, so that they have to come to the same value.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from math import prod

import numpy as np
from addon_baseline import qnn_circuit
from qiskit.circuit import Instruction
from qiskit.circuit.library import CXGate
from qiskit.primitives import BitArray, DataBin, PrimitiveResult, SamplerPubResult
from qiskit.quantum_info import PauliList
from qiskit_addon_cutting import partition_problem
from qiskit_addon_cutting.qpd import QPDBasis, WeightType

from pilotcut import compile_plan
from pilotcut.cutting.basis import LocalOperation, transfer_matrix, u_angles
from pilotcut.cutting.gate_basis import basis_of_gate

SHOTS = 1024
LETTERS = "ABCDEFGHIJKLMNOP"


class ChainCounts:
    """Random outcomes of every variant of every one-qubit fragment of a chain of CX gates.

    Bit 0 is the observable's, bit s + 1 the signed measurement of site s if there is one.
    """

    def __init__(self, cuts: int) -> None:
        circuit = qnn_circuit(cuts + 1)
        bound = circuit.assign_parameters(np.zeros(circuit.num_parameters))
        self.observables, self.labels = ["Z" * (cuts + 1)], LETTERS[: cuts + 1]
        self.bound, self.cuts = bound, cuts
        self.plan = compile_plan(bound, self.observables, labels=self.labels)
        rng = np.random.default_rng(cuts)
        self.outcomes = []  # of each fragment: (variants, shots) integers
        for fragment in self.plan.fragments:
            bits = np.ones((fragment.num_variants, 1), bool)
            bits = np.concatenate([bits, fragment._measured != 0], axis=1)
            ones = rng.random((SHOTS, *bits.shape)) < rng.random(bits.shape)
            weights = 2 ** np.arange(bits.shape[1])
            self.outcomes.append(((ones & bits) @ weights).T)
        self.dictionaries = [
            [
                dict(zip(map(hex, found[0]), map(int, found[1]), strict=True))
                for found in (np.unique(one, return_counts=True) for one in some)
            ]
            for some in self.outcomes
        ]

    def for_the_addon(self):
        """Return results, coefficients and sub-observables as the addon's pipeline does."""
        problem = partition_problem(self.bound, self.labels, PauliList(self.observables))
        sides = [self._sides(basis) for basis in problem.bases]
        terms = list(itertools.product(*(range(len(b.coeffs)) for b in problem.bases)))
        weights = [
            b.coeffs * np.prod(signs, axis=0)
            for b, (_, signs) in zip(problem.bases, sides, strict=True)
        ]
        coefficients = [
            (prod(w[k] for w, k in zip(weights, term, strict=True)), WeightType.EXACT)
            for term in terms
        ]
        results = {}
        for f, fragment in enumerate(self.plan.fragments):
            pubs = [self._pub(outcomes) for outcomes in self.outcomes[f]]
            ends = {
                axis: (number, side)
                for number, bond in enumerate(self.plan.bonds)
                for side, (where, axis) in enumerate(bond.ends)
                if where == f
            }
            chosen = []
            for term in terms:
                choice = [sides[n][0][s][term[n]] for _, (n, s) in sorted(ends.items())]
                chosen.append(pubs[int(np.ravel_multi_index(choice, fragment.site_shape))])
            results[fragment.label] = PrimitiveResult(chosen)
        return results, coefficients, problem.subobservables

    @staticmethod
    def _sides(basis: QPDBasis) -> tuple[list[list[int]], list[list[int]]]:
        """Return by side which of our operations of a CX each of the addon's terms has.

        And its sign: what one measures in a basis, the other may in the reversed one.
        """
        chosen, signs = [], []
        for side, operations in enumerate(basis_of_gate(CXGate()).operations):
            ours = np.array([transfer_matrix(one) for one in operations])
            both = np.concatenate([ours, -ours])
            theirs = [transfer_matrix(_operation(maps[side])) for maps in basis.maps]
            apart = [np.abs(both - one).max(axis=(1, 2)) for one in theirs]
            assert max(map(min, apart)) < 1e-9, "the addon's operations are ours"
            found = [int(one.argmin()) for one in apart]
            chosen.append([k % len(ours) for k in found])
            signs.append([1 if k < len(ours) else -1 for k in found])
        return chosen, signs

    @staticmethod
    def _pub(outcomes: np.ndarray) -> SamplerPubResult:
        observed, signs = outcomes & 1, outcomes >> 1
        arrays = [BitArray(x.astype(np.uint8)[:, None], 8) for x in (observed, signs)]
        data = DataBin(observable_measurements=arrays[0], qpd_measurements=arrays[1])
        return SamplerPubResult(data)


def _operation(gates: Sequence[Instruction]) -> LocalOperation:
    """Return one side of the addon's terms: gates, at most one measurement, gates."""
    before, after, measured = np.eye(2), np.eye(2), False
    for gate in gates:
        if gate.name == "qpd_measure":
            measured = True
        else:
            matrix = gate.to_matrix()
            before, after = (before, matrix @ after) if measured else (matrix @ before, after)
    return LocalOperation(u_angles(before), measured, u_angles(after))

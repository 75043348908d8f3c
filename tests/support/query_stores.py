"""One circuit whose tensors are kept, in blocks, by estimators of every mode."""

import numpy as np
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutEstimator

CIRCUIT = real_amplitudes(4, entanglement="linear", reps=1)


OBSERVABLES = [SparsePauliOp(["ZZZZ", "XIXI", "IIII"], [0.5, 2.0, 0.25]), SparsePauliOp("IZZI")]


VALUES = np.random.default_rng(5).normal(size=(6, 1, CIRCUIT.num_parameters))


def estimated(store=None, tasks=None, mode="counts", **options):
    estimator = CutEstimator(
        tasks, labels="AABB", mode=mode, shots=200, seed=11, store=store, **options
    )
    return estimator.run([(CIRCUIT, OBSERVABLES, VALUES)]).result()[0].data

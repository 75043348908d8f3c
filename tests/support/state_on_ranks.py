"""Run by ``mpiexec`` from test_state_over_ranks.py: every claim on all ranks of this start.

Rank 0 prints as JSON, for each claim, how far off the worst number was; and what memory it took.
"""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
from mpi4py import MPI

from pilotcut import DistributedStatevector
from support.unlike_circuits import KINDS, WIDTH, by_qiskit, unlike_circuit


def off(comm: MPI.Intracomm, kind: str) -> float:
    """Return how far values and gradients are off those of one process."""
    circuit, observables, values = unlike_circuit(kind)
    alone = DistributedStatevector(circuit).values_and_gradients(observables, values)
    state = DistributedStatevector(circuit, comm)
    together = state.values_and_gradients(observables, values)
    again = state.expectations(observables, values)
    wrong = max(float(np.abs(a - b).max()) for a, b in zip(alone, together, strict=True))
    truth = np.array([by_qiskit(circuit, observables, row) for row in values])
    return max(wrong, float(np.abs(again - truth).max()))


def peak_bytes(comm: MPI.Intracomm) -> int:
    """Return the most that a rank allocated for a gradient."""
    circuit, observables, values = unlike_circuit("layers", qubits=WIDTH)
    state = DistributedStatevector(circuit, comm)
    tracemalloc.start()
    state.values_and_gradients(observables[:1], values[:1])
    return comm.allreduce(tracemalloc.get_traced_memory()[1], MPI.MAX)


def main() -> None:
    """Check everything and print it."""
    comm = MPI.COMM_WORLD
    told = {kind: off(comm, kind) for kind in KINDS}
    found = {"ranks": comm.Get_size(), "off": told, "peak_bytes": peak_bytes(comm)}
    if comm.Get_rank() == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Tasks, a shared object and a cut circuit on mpi4py's pool: rank 0 is the manager.

    mpiexec -n 3 python -m mpi4py.futures tests/support/mpi_pool.py

prints what came of them.
"""

import json

import numpy as np
from mpi4py import MPI
from mpi4py.futures import MPIPoolExecutor
from qiskit.circuit.library import real_amplitudes
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutEstimator, PilotManager, TaskManager


def rank_of(_):
    return MPI.COMM_WORLD.Get_rank()


def shared_sum(shared):
    return sum(shared.get())


def fail():
    raise LookupError("not found")


def value(tasks):
    """Return the value of a circuit in two parts, each with its shots."""
    circuit, observable = real_amplitudes(4, reps=1), SparsePauliOp("ZZZZ")
    estimator = CutEstimator(tasks, cuts=1, mode="counts", shots=500, seed=3)
    return float(estimator.run([(circuit, observable, np.ones(8))]).result()[0].data.evs)


if __name__ == "__main__":
    with (
        MPIPoolExecutor() as executor,
        PilotManager.from_executor(executor) as pilots,
        TaskManager(pilots) as tasks,
    ):
        ran_on = [f.result(60) for f in [tasks.submit_task(rank_of, k) for k in range(200)]]
        total = tasks.submit_task(shared_sum, tasks.share(range(5))).result(60)
        error = repr(tasks.submit_task(fail).exception(60))
        there, slots = value(tasks), tasks.slots
    told = {"ranks": MPI.COMM_WORLD.Get_size(), "ran_on": sorted({*ran_on}), "total": total}
    print(json.dumps(told | {"slots": slots, "error": error, "same": there == value(None)}))

"""Motif B.2: one state vector over the ranks of MPI, with its adjoint gradient."""

from __future__ import annotations

import time
from importlib.util import find_spec
from typing import Any

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutEstimator, DistributedStatevector
from pilotcut.options import counted
from pilotcut.study.motifs.answer import Answer
from pilotcut.tasks import TaskManager

RIGHT = (
    "the same value and gradient on any number of ranks, and the value of the exact mode with some "
    "derivatives by shifts of angles"
)
SMALL: dict[str, Any] = {"qubits": 20, "layers": 2, "most_ranks": 2}
LARGE: dict[str, Any] = {"qubits": 30, "layers": 2, "most_ranks": 64}

#: What values and derivatives may differ by.
CLOSE = 1e-10
#: Wider circuits are beyond the exact mode: these are compared with each other alone.
WIDEST_CHECKED = 24
#: Derivatives that are computed by shifts too: about y, for those about z may vanish.
CHECKED = [1, 4]
#: What a rank's two states may take.
MOST_BYTES = 8 * 2**30


def entangling_layers(qubits: int, layers: int) -> QuantumCircuit:
    """Return strongly entangling layers: a rotation of each qubit, and a ring of CX.

    Layer k has CX from each qubit to the one k + 1 places on (arXiv:1804.00633).
    """
    circuit, angles = QuantumCircuit(qubits), ParameterVector("w", 3 * qubits * layers)
    free = iter(angles)
    for layer in range(layers):
        for qubit in range(qubits):
            circuit.rz(next(free), qubit)
            circuit.ry(next(free), qubit)
            circuit.rz(next(free), qubit)
        for qubit in range(qubits):
            circuit.cx(qubit, (qubit + layer % (qubits - 1) + 1) % qubits)
    return circuit


def neighbours(qubits: int) -> SparsePauliOp:
    """Return the mean of ZZ over neighbours on a ring."""
    pairs = [("ZZ", [k, (k + 1) % qubits], 1 / qubits) for k in range(qubits)]
    return SparsePauliOp.from_sparse_list(pairs, qubits)


def differentiate(
    circuit: QuantumCircuit, observable: SparsePauliOp, values: np.ndarray, ranks: int
) -> dict[str, Any]:
    """Return the value and the gradient, from all ranks of this process's world, and the time."""
    comm = None
    if ranks > 1:
        from mpi4py import MPI

        comm = MPI.COMM_WORLD
    state = DistributedStatevector(circuit, comm)
    if comm is not None:
        comm.Barrier()
    began = time.monotonic()
    value, slopes = state.values_and_gradients(observable, values)
    return {
        "ranks": state.ranks,
        "seconds": time.monotonic() - began,
        "amplitudes": state.amplitudes,
        "sent": state.plan.volume,
        "value": float(value[0, 0]),
        "slopes": slopes[0, 0],
    }


def numbers_of_ranks(tasks: TaskManager, most: int, qubits: int) -> list[int]:
    """Return the powers of two up to `most` that one of the pilots has ranks or cores for.

    Those whose parts would be too large are left out, unless they are the most.
    """
    offered = {1}
    for pilot in tasks.pilots.pilots:
        described = pilot.description
        if described.ranks > 1:
            offered.add(described.ranks)
        elif described.resource != "inprocess" and find_spec("mpi4py"):
            # Ranks of an ordinary pilot are started from a worker, on cores of its own.
            offered |= {2**k for k in range(1, 7) if 2**k <= described.cores_per_node}
    fitting = sorted(n for n in offered if n <= most and n & n - 1 == 0)
    return [n for n in fitting if 2 * 16 * 2**qubits / n <= MOST_BYTES] or fitting[-1:]


def exactly(
    tasks: TaskManager, circuit: QuantumCircuit, observable: SparsePauliOp, values: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the value, and the derivatives `CHECKED` by shifts, of the exact mode."""
    shifts = np.pi / 2 * np.eye(len(values))[CHECKED]
    rows = np.concatenate([values[None], values + shifts, values - shifts])
    (result,) = CutEstimator(tasks, mode="exact").run([(circuit, observable, rows)]).result()
    value, above, below = np.split(result.data.evs, [1, 1 + len(CHECKED)])
    return float(value[0]), (above - below) / 2


def run(tasks: TaskManager, *, qubits: int, layers: int, most_ranks: int) -> Answer:
    """Compute value and gradient of strongly entangling layers on one rank, two, four, ..."""
    circuit, observable = entangling_layers(qubits, layers), neighbours(qubits)
    values = np.random.default_rng(7).uniform(0, 2 * np.pi, circuit.num_parameters)
    found = [
        # One after the other: they are compared.
        tasks.submit_task(
            differentiate,
            circuit,
            observable,
            values,
            ranks,
            ranks=ranks,
            name=f"ranks.{ranks}",
        ).result()
        for ranks in numbers_of_ranks(tasks, most_ranks, qubits)
    ]
    expected, slopes = found[0]["value"], found[0]["slopes"]
    if qubits <= WIDEST_CHECKED:
        slopes = slopes.copy()
        expected, slopes[CHECKED] = exactly(tasks, circuit, observable, values)
    value_off = max(abs(f["value"] - expected) for f in found)
    slopes_off = max(float(np.abs(f["slopes"] - slopes).max()) for f in found)
    told = ", ".join(
        f"{counted(f['ranks'], 'rank')} {f['seconds']:.2f} s ({f['amplitudes'] * 16 / 2**20:.3g} "
        f"MiB of state each, {f['sent']:.3g} of it sent)"
        for f in found
    )
    others = "those of the exact mode" if qubits <= WIDEST_CHECKED else "each other"
    shifted = f" ({len(CHECKED)} of them by shifts too)" if qubits <= WIDEST_CHECKED else ""
    return Answer(
        f"{qubits} qubits, {circuit.num_parameters} derivatives: {told}; values at most "
        f"{value_off:.1e} off {others}, derivatives{shifted} {slopes_off:.1e} off each other",
        max(value_off, slopes_off) < CLOSE,
        {"ranks": [{key: f[key] for key in f if key != "slopes"} for f in found]},
    )

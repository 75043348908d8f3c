"""What a state over ranks asks of each of them, and seconds for that at measured rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import PauliList

from pilotcut.backends.distributed.distributed_statevector import (
    AMPLITUDE_BYTES,
    STATES_OF_GRADIENT,
    DistributedStatevector,
)
from pilotcut.backends.distributed.gates import gates_of
from pilotcut.backends.distributed.layout import Layout
from pilotcut.backends.distributed.paulis import Strings, applied
from pilotcut.backends.distributed.rank_program import RankProgram
from pilotcut.backends.distributed.stages import plan_stages
from pilotcut.circuits.program import Program

#: Local qubits of the states whose time is taken: more than the caches of a core hold.
MEASURED_QUBITS = 20


@dataclass(frozen=True)
class RankRates:
    """Seconds of one rank, while all of them work.

    Parameters
    ----------
    block_s, undo_s
        For an amplitude and a block of gates: applied, and taken back from ket and bra.
    string_s
        For an amplitude and strings of Paulis that flip the same bits.
    byte_s
        For a byte of an exchange.
    """

    block_s: float
    undo_s: float
    string_s: float
    byte_s: float


@dataclass(frozen=True)
class RankDemand:
    """What one state of a circuit asks of a rank.

    Parameters
    ----------
    amplitudes, blocks
        Of the rank that has most to do.
    flips
        Sets of bits that the observables' strings flip.
    volume
        What it sends, as a multiple of its part of the state.
    """

    amplitudes: int
    blocks: int
    flips: int
    volume: float

    def memory_bytes(self, gradients: bool) -> float:
        """Return what a rank holds."""
        return float(self.amplitudes) * AMPLITUDE_BYTES * (STATES_OF_GRADIENT if gradients else 1)

    def seconds(self, rates: RankRates, gradients: bool) -> float:
        """Return what the values of one parameter set take, with all derivatives of their sum."""
        back = 1 if gradients else 0
        each = self.blocks * (rates.block_s + back * rates.undo_s)
        each += self.flips * rates.string_s * (1 + back)
        each += self.volume * AMPLITUDE_BYTES * rates.byte_s * (1 + 2 * back)
        return self.amplitudes * each


class _OfRank:
    """Rank of a communicator that is not there."""

    def __init__(self, rank: int) -> None:
        self._rank = rank

    def Get_rank(self) -> int:  # noqa: N802 - mpi4py's name
        return self._rank


def demand_of(program: Program, terms: PauliList, ranks: int) -> RankDemand:
    """Return what a circuit's state asks of each of so many ranks, a power of two.

    Raises
    ------
    CutError
        For a circuit that has no state vector.
    """
    gates = gates_of(program)
    plan = plan_stages(gates.reaches, program.num_qubits, ranks.bit_length() - 1)
    # Where all global qubits are 1, all that they control is done.
    last: Any = _OfRank(ranks - 1)
    own = RankProgram(gates, plan, program.num_qubits, last)
    flips = len(set(Strings.of(terms, gates.wire_of).flips))
    return RankDemand(own.amplitudes, own.num_blocks, flips, plan.volume)


def measured_rates(qubits: int = MEASURED_QUBITS) -> RankRates:
    """Return the rates of this world's ranks, of the slowest where they differ; all call this."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    circuit = _layers(qubits)
    # Each has a state of its own, at the same time: ranks of a node share its memory.
    state = DistributedStatevector(circuit)
    own = state.program
    angles = np.linspace(0, 3, own.num_angles)
    size = own.amplitudes * own.num_blocks

    def slowest(work: Callable[[], Any]) -> float:
        work()
        comm.Barrier()
        began = time.perf_counter()
        work()
        return float(comm.allreduce(time.perf_counter() - began, MPI.MAX))

    ket = own.forward(angles)
    bra = ket.conj()
    strings = Strings.of(PauliList(["X" * qubits]), range(qubits))
    some = slowest(lambda: applied(strings, np.ones(1), ket, own.layout, bra))
    rank_bits = comm.Get_size().bit_length() - 1
    layout = Layout(list(range(qubits, qubits + rank_bits)), list(range(qubits)), comm)
    ways = [frozenset(range(rank_bits)), frozenset(range(qubits, qubits + rank_bits))]
    moved = own.amplitudes * AMPLITUDE_BYTES * (1 - 0.5**rank_bits)

    def there_and_back() -> None:
        for way in ways:
            if comm.Get_rank() >> rank_bits == 0:  # of three ranks the third has no partner
                layout.exchange(way, (ket,))

    exchanged = slowest(there_and_back) / 2
    return RankRates(
        block_s=slowest(lambda: own.forward(angles)) / size,
        undo_s=slowest(lambda: own.backward(angles, ket, bra)) / size,
        string_s=some / own.amplitudes,
        byte_s=exchanged / moved if moved else 0.0,
    )


def _layers(qubits: int) -> QuantumCircuit:
    """Return rotations and CX between neighbours, then between all of the same parity."""
    circuit = QuantumCircuit(qubits)
    angles = iter(ParameterVector("t", 4 * qubits))
    for reach in (1, 2):
        for qubit in range(qubits):
            circuit.ry(next(angles), qubit)
            circuit.rz(next(angles), qubit)
        for qubit in range(qubits):
            circuit.cx(qubit, (qubit + reach) % qubits)
    return circuit

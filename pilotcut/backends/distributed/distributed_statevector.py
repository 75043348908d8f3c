"""One state vector over the ranks of MPI: expectations and adjoint gradients of a whole circuit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from qiskit.circuit import QuantumCircuit

from pilotcut.backends.distributed.gates import gates_of
from pilotcut.backends.distributed.paulis import Strings, applied, expectations
from pilotcut.backends.distributed.rank_program import RankProgram
from pilotcut.backends.distributed.stages import StagePlan, plan_stages
from pilotcut.circuits.observables import Observables, pauli_sums, terms_of
from pilotcut.circuits.program import read_circuit
from pilotcut.errors import CutError, ParameterValueError
from pilotcut.options import counted

if TYPE_CHECKING:
    from mpi4py import MPI

#: Bytes of an amplitude, and states that a gradient holds.
AMPLITUDE_BYTES, STATES_OF_GRADIENT = 16, 2


class DistributedStatevector:
    """The state of a circuit, of which each of R ranks holds 2^n / R amplitudes.

    All ranks make one from the same circuit, and call the same methods with the same arguments;
    all get the results. In a task: ``tasks.submit_task(function, ranks=R)``.

    Parameters
    ----------
    circuit
        Of any gates, with free parameters; without measurements in mid-circuit and resets.
    comm
        Whose ranks, such as ``mpi4py.MPI.COMM_WORLD``: a power of two. None is this process alone,
        without MPI.

    Raises
    ------
    CutError
        For a circuit that has no state vector, or too few qubits for so many ranks.

    Examples
    --------
    >>> from qiskit.circuit.library import real_amplitudes
    >>> circuit = real_amplitudes(4, reps=1)
    >>> state = DistributedStatevector(circuit)
    >>> values, slopes = state.values_and_gradients("ZZII", np.zeros((3, 8)))
    >>> values.round(9).tolist(), slopes.shape
    ([[1.0], [1.0], [1.0]], (3, 1, 8))

    Notes
    -----
    Memory a rank: 16 bytes for each of its amplitudes, twice as many for gradients, and a few MB.

    Qubits that are global (bits of a rank's number) change places with local ones, several at a
    time, as `plan_stages` finds it best; gates that are diagonal on a global qubit, or controlled
    by it, need no communication.

    References
    ----------
    H. De Raedt et al., arXiv:1805.04708 and T. Häner and D. Steiger, arXiv:1704.01127: global
    and local qubits. T. Jones and J. Gacon, arXiv:2009.02823: the adjoint sweep.
    """

    def __init__(self, circuit: QuantumCircuit, comm: MPI.Intracomm | None = None) -> None:
        program, self._binding = read_circuit(circuit)
        self._comm = comm if comm is not None and comm.Get_size() > 1 else None
        self.num_qubits = circuit.num_qubits
        self.ranks = 1 if self._comm is None else self._comm.Get_size()
        _check_size(self.num_qubits, self.ranks)
        self._gates = gates_of(program)
        plan = plan_stages(self._gates.reaches, self.num_qubits, self.ranks.bit_length() - 1)
        #: Which qubits are global when; the same on all ranks.
        self.plan: StagePlan = plan if self._comm is None else self._comm.bcast(plan)
        #: What this rank does.
        self.program = RankProgram(self._gates, self.plan, self.num_qubits, self._comm)

    @property
    def amplitudes(self) -> int:
        """How many amplitudes each rank holds."""
        return self.program.amplitudes

    def expectations(self, observables: Observables, values: Any = None) -> np.ndarray:
        """Return the values of observables, (rows, observables).

        Parameters
        ----------
        observables
            As of `pilotcut.compile_plan`.
        values
            Of the circuit's parameters in Qiskit's order: one set, or several (rows, parameters).

        Raises
        ------
        UserError
            For observables and values that do not fit the circuit.
        """
        weights, strings = self._read(observables)
        rows = self._rows(values)
        found = np.zeros((len(rows), len(weights)))
        for row, angles in enumerate(self._angles(rows)):
            ket = self.program.forward(angles)
            found[row] = weights @ expectations(strings, ket, self.program.layout)
        return self._summed(found)

    def values_and_gradients(
        self, observables: Observables, values: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return values (rows, observables) and derivatives (rows, observables, parameters).

        One sweep forwards and one back for each row and observable: give a weighted sum as one
        observable where its derivatives are what is wanted.

        Parameters
        ----------
        observables, values
            As of `expectations`.

        Raises
        ------
        UserError
            As `expectations`, and where an angle has no derivative.
        """
        weights, strings = self._read(observables)
        rows = self._rows(values)
        found = np.zeros((len(rows), len(weights)))
        slopes = np.zeros((len(rows), len(weights), len(self._gates.offset)))
        program, bra = self.program, np.empty(self.amplitudes, dtype=complex)
        for row, angles in enumerate(self._angles(rows)):
            for number, of_terms in enumerate(weights):
                ket = program.forward(angles)
                if number == 0:
                    found[row] = weights @ expectations(strings, ket, program.layout)
                applied(strings, of_terms, ket, program.layout, bra)
                slopes[row, number] = program.backward(angles, ket, bra)
        by_slot = self._summed(slopes) @ self._gates.linear.T
        return self._summed(found), by_slot @ self._binding.jacobian(rows)

    def _angles(self, rows: np.ndarray) -> np.ndarray:
        return self._binding.slots(rows) @ self._gates.linear + self._gates.offset

    def _rows(self, values: Any) -> np.ndarray:
        if values is None:
            values = np.zeros((1, 0))
        try:
            return np.atleast_2d(np.asarray(values, dtype=float))
        except (TypeError, ValueError) as error:
            raise ParameterValueError(
                f"parameter values are no table of numbers ({error}), expected (rows, "
                f"{len(self._binding.names)}) in Qiskit's order; give angles in radians"
            ) from error

    def _read(self, observables: Observables) -> tuple[np.ndarray, Strings]:
        """Return coefficients (observables, terms), and the terms."""
        sums = pauli_sums(observables, self.num_qubits)
        terms = terms_of(sums)
        place = {label: k for k, label in enumerate(terms.to_labels())}
        weights = np.zeros((len(sums), len(terms)))
        for row, one in enumerate(sums):
            # A string may stand in a sum twice.
            np.add.at(weights[row], [place[x] for x in one.paulis.to_labels()], one.coeffs.real)
        return weights, Strings.of(terms, self._gates.wire_of)

    def _summed(self, part: np.ndarray) -> np.ndarray:
        if self._comm is not None:
            from mpi4py import MPI

            self._comm.Allreduce(MPI.IN_PLACE, part)
        return part


def _check_size(num_qubits: int, ranks: int) -> None:
    """Raise unless so many ranks can hold a state of so many qubits."""
    if ranks & ranks - 1:
        raise CutError(
            f"the state is over {counted(ranks, 'rank')}, expected a power of two: each global "
            f"qubit doubles them; give {1 << ranks.bit_length() - 1}"
        )
    least = ranks.bit_length() + 1 if ranks > 1 else 1
    if num_qubits < least:
        raise CutError(
            f"the circuit has {counted(num_qubits, 'qubit')}, expected at least {least} on "
            f"{counted(ranks, 'rank')}: two of them are local; give fewer ranks"
        )
    needed = STATES_OF_GRADIENT * AMPLITUDE_BYTES * 2.0**num_qubits / ranks
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise CutError(
            f"a state of {counted(num_qubits, 'qubit')} and its gradient take {needed / 2**30:.3g} "
            f"GiB on each of {counted(ranks, 'rank')}, more than the {memory / 2**30:.3g} GiB of "
            f"this machine, expected a narrower circuit; give more ranks, or cut it"
        )

"""Tapes as circuits, for those who go on with `pilotcut.cut_qnn` or an estimator."""

from __future__ import annotations

import numpy as np
from pennylane.devices.execution_config import ExecutionConfig
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP
from pennylane.tape import QuantumScript
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut.primitives.pennylane.measurements import sums_of
from pilotcut.primitives.pennylane.preprocessing import pipeline
from pilotcut.primitives.pennylane.reader import TapeReader


def from_tape(tape: QuantumScript) -> tuple[QuantumCircuit, list[SparsePauliOp], np.ndarray]:
    """Return a tape's circuit, its observables and its numbers.

    Parameters
    ----------
    tape
        Such as ``qml.workflow.construct_tape(qnode)(*args)``; templates are decomposed. Its
        measurements are expectation values, and its parameters not broadcast.

    Returns
    -------
    tuple
        The circuit, with the parameter ``x[k]`` for the k-th number of its gates and a qubit for
        each wire, in the order of the tape's wires; an observable each expectation value; and the
        numbers in radians, (parameters,).

    Raises
    ------
    DeviceError
        For what is no circuit of gates, or measures something else.

    Examples
    --------
    >>> import pennylane as qml
    >>> tape = qml.tape.QuantumScript([qml.RX(0.3, "a"), qml.CNOT(["a", "b"])],
    ...                               [qml.expval(qml.Z("b"))])
    >>> circuit, observables, values = from_tape(tape)
    >>> circuit.num_qubits, observables[0].paulis.to_labels(), values.tolist()
    (2, ['ZI'], [0.3])
    """
    if tape.batch_size is not None or tape.shots:
        raise DeviceError("tape has broadcast parameters or shots, expected one without either")
    ready, _ = pipeline(ExecutionConfig(), None, mode="exact", device_gradient=False)([tape])
    if len(ready) != 1 or not all(isinstance(m, ExpectationMP) for m in ready[0].measurements):
        raise DeviceError(
            f"tape measures {tape.measurements}, expected expectation values alone; "
            f"qml.device('pilotcut') runs others"
        )
    reading = TapeReader(None, use_all=False, marks=True).read(ready[0])
    circuit, place = reading.structure.circuit, reading.structure.place
    sums = [one for m in ready[0].measurements for one in sums_of(m, place, circuit.num_qubits)]
    return circuit, sums, reading.values[0]

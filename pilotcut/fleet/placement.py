"""A model on a device where it errs least: of several compilations the one with the least error.

Where the couplings' errors differ, the qubits are those that the estimators' circuits get, by
`pilotcut.backends.layouts`, and the error is theirs: so both have the same device before them.
Knows no noise but the target's errors.
"""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.circuit import QuantumCircuit
from qiskit.transpiler import Target
from qiskit.transpiler.exceptions import TranspilerError

from pilotcut.backends.layouts import Layouts, predicted_error
from pilotcut.errors import UserError
from pilotcut.fleet.transpile import Compilation, compile_on

#: Seeds of Sabre that are tried on these qubits.
_SEEDS = (0, 1, 2)


def placed(circuit: QuantumCircuit, target: Target, read: Sequence[int]) -> Compilation:
    """Return the compilation with the least predicted error, the usual one among equals.

    Parameters
    ----------
    circuit
        See `compile_on`.
    target
        Of the device, of which everything works.
    read
        The circuit's qubits that are measured.

    Raises
    ------
    UserError
        As `compile_on` does.
    """
    usual = compile_on(circuit, target)
    qubits = _least_error(circuit, target, read) if _errors_differ(target) else ()
    if len(qubits) < circuit.num_qubits:
        return usual
    found = [usual]
    for seed in _SEEDS:
        try:
            found.append(compile_on(circuit, target, seed=seed, among=qubits))
        except UserError:  # these qubits do not do without others
            continue
    return min(found, key=lambda one: error_of(one, target, read))


def error_of(compilation: Compilation, target: Target, read: Sequence[int]) -> float:
    """Return the predicted error of a compilation with its readout, as that of a fragment."""
    whole = QuantumCircuit(compilation.qubits, len(read))
    whole.compose(compilation.circuit, inplace=True)
    whole.measure([compilation.final_layout[q] for q in read], range(len(read)))
    return predicted_error(whole, target)


def _errors_differ(target: Target) -> bool:
    errors = {
        getattr(about, "error", None)
        for name in target.operation_names
        for where, about in target[name].items()
        if where is not None and len(where) == 2
    }
    return len(errors) > 1


def _least_error(circuit: QuantumCircuit, target: Target, read: Sequence[int]) -> tuple[int, ...]:
    """Return the qubits of the best layout of the circuit with its readout, () without one."""
    measured = QuantumCircuit(circuit.num_qubits, len(read))
    measured.compose(circuit, inplace=True)
    measured.measure(list(read), range(len(read)))
    try:
        found = Layouts(target).best(measured)
    except TranspilerError:
        return ()
    used = {q for step in found.data if step.operation.name != "barrier" for q in step.qubits}
    return tuple(sorted(found.find_bit(q).index for q in used))

"""Measurement map of a circuit: the qubits that its final measurements were of, if it had some.

A plan has no final measurements; a circuit may have them, of some qubits only or into bits of other
numbers. Of one from a file they are gone, and its metadata say so under `MEASURED`: that is what
survives copies, bound parameters, files and transpilation.
"""

from __future__ import annotations

from qiskit.circuit import QuantumCircuit

from pilotcut.circuits.files.final_measurements import removed

#: Key of a circuit's metadata: the qubits that are measured, of bit 0 first.
MEASURED = "pilotcut.measured"


def measured_qubits(circuit: QuantumCircuit) -> tuple[int, ...] | None:
    """Return the qubits whose bits an outcome has, bit 0 first; None for all in their order.

    Examples
    --------
    >>> measured_qubits(QuantumCircuit(2, metadata={MEASURED: [1, 0]}))
    (1, 0)
    """
    found = (circuit.metadata or {}).get(MEASURED)
    if not isinstance(found, (list, tuple)) or not found:
        _, measured = removed(circuit)
        plain = not measured.count or measured.is_plain(circuit.num_qubits)
        return None if plain else measured.qubits
    layout = circuit.layout
    if layout is not None:  # transpiled since: the numbers are of its qubits before
        places = layout.final_index_layout(filter_ancillas=False)
        found = [places[q] for q in found if q in range(len(places))]
    fits = all(q in range(circuit.num_qubits) for q in found) and len(set(found)) == len(found)
    return tuple(found) if fits else None

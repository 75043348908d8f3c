"""Models of ArbiterQ: angle encoding, then an ansatz of rotations and controlled rotations.

The paper names circuits 5 and 14 of Sim, Johnson and Aspuru-Guzik (arXiv:1905.10876) and gives
4n weights on n qubits for both models. Circuit 14 has 4n; circuit 5 has n² + 3n, which is 10, 28
and 54 on 2, 4 and 6 qubits. So ``crz`` is circuit 13, circuit 14 with CRZ in the place of CRX,
and ``crz-all`` is circuit 5 as it stands there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut.errors import UserError
from pilotcut.options import choice_fault
from pilotcut.training.model import Model

#: Qubits of each data set in the paper; digits stand for MNIST.
QUBITS = {"iris": 2, "wine": 4, "digits": 6}


def model(name: str, qubits: int, layers: int = 1) -> Model:
    """Return a model of the paper: RX(feature) on every qubit, the ansatz, and Z on qubit 0.

    Parameters
    ----------
    name
        ``"crz"``, ``"crx"`` or ``"crz-all"``.
    qubits
        From 2 up, one for each feature.
    layers
        How often the ansatz is repeated, each time with weights of its own.

    Raises
    ------
    UserError
        For another name, or fewer qubits.

    Examples
    --------
    >>> [len(model(name, 4).weights) for name in ("crz", "crx", "crz-all")]
    [16, 16, 28]
    >>> len(model("crx", 10, layers=5).weights)
    200
    """
    if name not in _ANSATZE:
        raise UserError(choice_fault("model", name, tuple(_ANSATZE)))
    if qubits < 2:
        raise UserError(f"qubits is {qubits}, expected 2 or more: the model entangles them")
    circuit = QuantumCircuit(qubits)
    inputs = ParameterVector("x", qubits)
    for qubit in range(qubits):
        circuit.rx(inputs[qubit], qubit)
    append, size = _ANSATZE[name]
    weights = ParameterVector("w", layers * size(qubits))
    fresh = iter(weights)
    for _ in range(layers):
        append(circuit, fresh)
    observable = SparsePauliOp.from_sparse_list([("Z", [0], 1.0)], num_qubits=qubits)
    return Model(circuit, tuple(inputs), tuple(weights), (observable,))


def observed_qubits(model: Model) -> list[int]:
    """Return the qubits whose parity a model's expectation is.

    Raises
    ------
    UserError
        If it is not the parity of some qubits.
    """
    strings = [string for observable in model.observables for string in observable.to_list()]
    label = strings[0][0]
    if len(strings) > 1 or set(label) - {"I", "Z"} or "Z" not in label or strings[0][1] != 1.0:
        found = ", ".join(f"{_plain(c):g} {string}" for string, c in strings)
        raise UserError(
            f"observable is {found}, expected one string of I and Z, such as {'Z' * len(label)}, "
            "with coefficient 1"
        )
    return [qubit for qubit, letter in enumerate(reversed(label)) if letter == "Z"]


def _plain(coefficient: complex) -> complex:
    return coefficient if coefficient.imag else coefficient.real


def _ring(circuit: QuantumCircuit, fresh: Iterator[object], gate: str) -> None:
    """Append circuit 13 or 14: RY, a ring of controlled rotations, RY, a ring the other way."""
    n = circuit.num_qubits
    controlled = getattr(circuit, gate)
    _on_all(circuit.ry, fresh, n)
    for control in reversed(range(n)):
        controlled(next(fresh), control, (control + 1) % n)
    _on_all(circuit.ry, fresh, n)
    for control in [n - 1, *range(n - 1)]:
        controlled(next(fresh), control, (control - 1) % n)


def _all_to_all(circuit: QuantumCircuit, fresh: Iterator[object]) -> None:
    """Append circuit 5: RX and RZ, CRZ of every qubit on every other, RX and RZ."""
    n = circuit.num_qubits
    _on_all(circuit.rx, fresh, n)
    _on_all(circuit.rz, fresh, n)
    for control in reversed(range(n)):
        for target in reversed(range(n)):
            if target != control:
                circuit.crz(next(fresh), control, target)
    _on_all(circuit.rx, fresh, n)
    _on_all(circuit.rz, fresh, n)


def _on_all(rotate: Callable[..., object], fresh: Iterator[object], qubits: int) -> None:
    for qubit in range(qubits):
        rotate(next(fresh), qubit)


#: What appends a layer, and how many weights it has on so many qubits.
_ANSATZE: dict[str, tuple[Callable[..., None], Callable[[int], int]]] = {
    "crz": (partial(_ring, gate="crz"), lambda n: 4 * n),
    "crx": (partial(_ring, gate="crx"), lambda n: 4 * n),
    "crz-all": (_all_to_all, lambda n: n * n + 3 * n),
}

#: Names of the models.
MODELS = tuple(_ANSATZE)

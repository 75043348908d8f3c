"""Inputs of OpenQASM 3 as parameters in the order in which the file's writer had them.

Qiskit writes the element ``w[3]`` of a vector as ``_w_3_`` (and puts ``_`` for other letters that
the language lacks, or a number behind names that it keeps for itself). Such names sort otherwise
than the vector does: ``_w_10_`` comes before ``_w_2_``, and values by position would reach other
gates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from qiskit.circuit import Parameter, ParameterVector, QuantumCircuit

from pilotcut.circuits.files.faults import check_bits, listed

_ELEMENT = re.compile(r"_(.+)_(0|[1-9]\d{0,8})_(_\d+)?")
_ESCAPE = re.compile(r"^_+|_\d+$")


def elements(names: Sequence[str], taken: set[str]) -> dict[str, Parameter]:
    """Return the vector elements that some of the names were written for.

    Parameters
    ----------
    names
        Of inputs that are single numbers.
    taken
        Names of inputs that are vectors already.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for name in names:
        match = _ELEMENT.fullmatch(name)
        # A number at the end: the name was taken, by a vector whose letters are written alike.
        base = match[1] + ("_2" if match[3] else "") if match else ""
        if match and base not in taken:
            found.setdefault(base, []).append((int(match[2]), name))
    restored: dict[str, Parameter] = {}
    for base, group in found.items():
        if group != sorted(group):  # Qiskit declares elements in their order
            continue
        size = max(group)[0] + 1
        check_bits(size, f"input {base}[{size}]")
        vector = ParameterVector(base, size)
        restored |= {name: vector[index] for index, name in group}
    return restored


def vectors_note(restored: Mapping[str, Parameter]) -> str:
    """Return in a line which names are elements of vectors."""
    vectors: dict[str, list[str]] = {}
    for name, parameter in restored.items():
        vectors.setdefault(parameter.vector.name, []).append(name)  # type: ignore[attr-defined]
    parts = [f"{listed(names, 2)} are the vector '{base}'" for base, names in vectors.items()]
    return "inputs " + "; ".join(parts) + ", in the order of its elements"


def in_order(
    circuit: QuantumCircuit, declared: Sequence[Parameter], tell: Callable[[str], object]
) -> QuantumCircuit:
    """Return the circuit with names that sort as the file declares them, if such can be found.

    Parameters
    ----------
    circuit, tell
        The circuit as read, and who is told what was done, or what could not be.
    declared
        All parameters, as the file declares them.
    """
    if len(declared) < 2 or _sorted(declared) == [p.name for p in declared]:
        return circuit
    renamed = [
        Parameter(_ESCAPE.sub("", p.name) or p.name) if _is_single(p) else p for p in declared
    ]
    names = [p.name for p in renamed]
    if len(set(names)) == len(names) and _sorted(renamed) == names:
        pairs = [
            (old, new) for old, new in zip(declared, renamed, strict=True) if old.name != new.name
        ]
        tell(
            "inputs "
            + listed([f"{old.name} is '{new.name}'" for old, new in pairs])
            + ", so that parameters keep the order of the file"
        )
        return circuit.assign_parameters(dict(pairs))
    tell(
        f"parameters are in the order of their names, {listed(_sorted(declared))}, and not as the "
        f"file declares them, {listed([p.name for p in declared])}; values by position follow "
        f"the names"
    )
    return circuit


def _is_single(parameter: Parameter) -> bool:
    return not hasattr(parameter, "vector")


def _sorted(parameters: Sequence[Parameter]) -> list[str]:
    """Return names in Qiskit's order."""
    scratch = QuantumCircuit(1)
    for parameter in parameters:
        scratch.rx(parameter, 0)
    return [p.name for p in scratch.parameters]

"""Meanings of the gates that an OpenQASM 2 program uses and does not define."""

from __future__ import annotations

from collections.abc import Callable

from qiskit import qasm2
from qiskit.circuit import Instruction

from pilotcut.circuits.files import gate_names
from pilotcut.circuits.files.qasm2.includes import HQSLIBS
from pilotcut.circuits.files.qasm2.program import Qasm2Program
from pilotcut.circuits.files.qasm2.tokens import Application, Token, fault_at
from pilotcut.options import counted

#: Gates that Qiskit itself knows: at once, or only as soon as qelib1.inc is included.
LEGACY = {one.name: one for one in qasm2.LEGACY_CUSTOM_INSTRUCTIONS if one.name != "u0"}
IN_QELIB = frozenset(name for name, one in LEGACY.items() if not one.builtin) - {"delay"}

#: A phase of the whole state is nobody's business where gates have no controls.
_UP_TO_PHASE = {
    name: gate_names.Known(name, 0, 1, gate_names.STANDARD[of].base_class)
    for name, of in (("v", "sx"), ("vdg", "sxdg"), ("vi", "sxdg"))
}

#: How many angles the gates take that fit any number of qubits.
_ANGLES = {
    "diag": lambda n: 2**n - 1,
    "mpry": lambda n: 2 ** (n - 1),
    "mprz": lambda n: 2 ** (n - 1),
}


def find_meanings(program: Qasm2Program) -> None:
    """Choose a meaning for every gate that is used and not defined."""
    program.custom = {
        name: LEGACY[name] for name in (*IN_QELIB, "delay") if name not in program.own
    }
    known: dict[str, gate_names.Known] = {**gate_names.COMMON, **_UP_TO_PHASE}
    if program.libraries & set(HQSLIBS):
        known |= gate_names.HQSLIB
    if program.is_qibo:
        known |= gate_names.QIBO
    for name, uses in program.uses.items():
        if name in program.own:
            continue
        if name in LEGACY and not (program.is_qibo and name in gate_names.QIBO):
            program.custom[name] = LEGACY[name]
        elif name in known:
            _add_known(program, known[name], uses)
        elif name in gate_names.AMBIGUOUS:
            raise fault_at(
                f"uses '{name}' without a definition, and writers mean different gates by it "
                f"({gate_names.AMBIGUOUS[name]}); define it in the file, as in "
                f"'gate {name} … {{ … }}', or have the writer decompose it",
                uses[0].name,
            )


def _add_known(program: Qasm2Program, known: gate_names.Known, uses: list[Application]) -> None:
    if known.note:
        program.tell(f"'{known.name}' is read as BQSKit's, {known.note}")
    sizes = {(len(use.params), len(use.arguments)) for use in uses}
    if known.num_params is not None and known.num_qubits is not None:
        sizes = {(known.num_params, known.num_qubits)}
    renamed: dict[int, Token] = {}
    for params, qubits in sorted(sizes):
        name = known.name if len(sizes) == 1 else f"{known.name}_{params}_{qubits}"
        _check_angles_of(known, params, qubits, uses)
        program.custom[name] = qasm2.CustomInstruction(
            name, params, qubits, _builder(known, qubits), builtin=name not in IN_QELIB
        )
        renamed |= {
            id(use.name): use.name.renamed(name)
            for use in uses
            if (len(use.params), len(use.arguments)) == (params, qubits)
        }
    if len(sizes) > 1:
        program.replace(renamed)


def _builder(known: gate_names.Known, num_qubits: int) -> Callable[..., Instruction]:
    return lambda *params: known.gate(num_qubits, *params)


def _check_angles_of(
    known: gate_names.Known, params: int, qubits: int, uses: list[Application]
) -> None:
    if known.num_qubits is not None:
        return
    wanted = known.num_params if known.num_params is not None else _ANGLES[known.name](qubits)
    if params != wanted or not qubits:
        raise fault_at(
            f"gives '{known.name}' on {counted(qubits, 'qubit')} {params} angles, expected "
            f"{wanted}; give "
            f"as many",
            uses[0].name,
        )

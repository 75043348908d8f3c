"""Gates that files use by name and do not define, and what they mean.

Owns the names: those of Qiskit's library, of its exporters and of other writers, and which of
them mean one thing. A name that means different gates with different writers has a meaning only
where the writer is known. What a file defines itself never comes here.

Qubit 0 is the first that a gate is applied to. All phases are exact, since a file of OpenQASM 3
may put a control on any gate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import pi
from typing import TypeAlias

import numpy as np
from qiskit.circuit import Gate, Instruction, ParameterExpression, QuantumCircuit
from qiskit.circuit import library as lib
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

Angle: TypeAlias = float | ParameterExpression

#: Qiskit's standard gates by name. Not those of its mapping that are no gates (reset), or that
#: have no qubits.
STANDARD: Mapping[str, Gate] = {
    name: gate
    for name, gate in get_standard_gate_name_mapping().items()
    if isinstance(gate, Gate) and gate.num_qubits
}


@dataclass(frozen=True)
class Known:
    """A gate by name: how many angles and qubits it takes (None: any), and what builds it.

    `build` gets the number of qubits first where `num_qubits` is None. `note` is what a user must
    know where the name says less than the gate.
    """

    name: str
    num_params: int | None
    num_qubits: int | None
    build: Callable[..., Instruction]
    note: str = ""

    def gate(self, num_qubits: int, *params: Angle) -> Instruction:
        """Return the gate; its definition is one two-qubit gate where that can be."""
        if self.num_qubits is None:
            return self.build(num_qubits, *params)
        return self.build(*params)


def made(name: str, num_qubits: int, *params: Angle, phase: Angle = 0.0) -> QuantumCircuit:
    """Return an empty circuit for the definition of a gate; its metadata is the gate to be."""
    return QuantumCircuit(
        num_qubits, name=name, global_phase=phase, metadata={"params": list(params)}
    )


def closed(circuit: QuantumCircuit) -> Instruction:
    """Return a definition as a gate: by its matrix where it has two qubits and no free angle.

    A cut through one gate by its matrix costs less than through several that make it.
    """
    numbers = not circuit.parameters
    entangling = sum(instruction.operation.num_qubits > 1 for instruction in circuit.data)
    if numbers and circuit.num_qubits == 2 and entangling > 1:
        return lib.UnitaryGate(Operator(circuit))
    gate = Gate(circuit.name, circuit.num_qubits, circuit.metadata["params"])
    gate.definition = circuit
    return gate


# -- meanings --------------------------------------------------------------------------


def _b() -> Instruction:
    """Return the Berkeley gate, exp(i (pi/4 XX + pi/8 YY))."""
    circuit = made("b", 2)
    circuit.rxx(-pi / 2, 0, 1)
    circuit.ryy(-pi / 4, 0, 1)
    return closed(circuit)


def _fsim(theta: Angle, phi: Angle) -> Instruction:
    circuit = made("fsim", 2, theta, phi)
    circuit.append(lib.XXPlusYYGate(2 * theta), [0, 1])
    circuit.cp(-phi, 0, 1)
    return closed(circuit)


def _pxz(x: Angle, z: Angle, axis: Angle) -> Instruction:
    """Return Z^-a X^x Z^(a + z) with exponents in half turns, the leftmost first (Cirq's)."""
    circuit = made("pxz", 1, x, z, axis, phase=pi / 2 * x)
    circuit.p(-pi * axis, 0)
    circuit.rx(pi * x, 0)
    circuit.p(pi * (axis + z), 0)
    return closed(circuit)


def _iccx() -> Instruction:
    circuit = made("iccx", 3)
    circuit.cs(0, 1)
    circuit.ccx(0, 1, 2)
    return closed(circuit)


def _diag(num_qubits: int, *angles: float) -> Instruction:
    """Return a diagonal of phases; the first entry is 1, the first qubit the highest bit."""
    phases = np.exp(1j * np.array([0.0, *angles]))
    circuit = made("diag", num_qubits, *angles)
    gate = lib.DiagonalGate(phases.tolist()) if num_qubits > 2 else lib.UnitaryGate(np.diag(phases))
    circuit.append(gate, range(num_qubits)[::-1])
    return closed(circuit)


def _multiplexed(name: str, rotation: type[Gate]) -> Callable[..., Instruction]:
    """Return a gate that turns the last qubit by an angle that the others choose."""

    def build(num_qubits: int, *angles: float) -> Instruction:
        circuit = made(name, num_qubits, *angles)
        circuit.append(rotation(list(angles)), range(num_qubits)[::-1])
        return closed(circuit)

    return build


def _controlled(gate: type[Gate], *, num_qubits: int, params: int = 0) -> Callable[..., Gate]:
    """Return a builder of a gate with as many controls as there are qubits left."""

    def build(width: int, *angles: Angle) -> Gate:
        return gate(*angles[:params], width - num_qubits)  # type: ignore[call-arg]

    return build


def _gpi(phi: Angle) -> Instruction:
    circuit = made("gpi", 1, phi, phase=pi / 2)
    circuit.r(pi, phi, 0)
    return closed(circuit)


def _gpi2(phi: Angle) -> Instruction:
    return lib.RGate(pi / 2, phi)


def _ms(phi_0: Angle, phi_1: Angle, theta: Angle) -> Instruction:
    circuit = made("ms", 2, phi_0, phi_1, theta)
    for qubit, phi in enumerate((phi_0, phi_1)):
        circuit.rz(-phi, qubit)
    circuit.rxx(theta, 0, 1)
    for qubit, phi in enumerate((phi_0, phi_1)):
        circuit.rz(phi, qubit)
    return closed(circuit)


def _phase_on(first: int, second: int) -> Callable[[Angle], Instruction]:
    """Return a gate that gives its phase to |first, second> alone."""

    def build(angle: Angle) -> Instruction:
        circuit = made(f"cphaseshift{first}{second}", 2, angle)
        flipped = [qubit for qubit, bit in enumerate((first, second)) if not bit]
        for qubit in flipped:
            circuit.x(qubit)
        circuit.cp(angle, 0, 1)
        for qubit in flipped:
            circuit.x(qubit)
        return closed(circuit)

    return build


def _pswap(angle: Angle) -> Instruction:
    circuit = made("pswap", 2, angle, phase=angle / 2)
    circuit.swap(0, 1)
    circuit.rzz(angle, 0, 1)
    return closed(circuit)


def _fswap() -> Instruction:
    circuit = made("fswap", 2)
    circuit.swap(0, 1)
    circuit.cz(0, 1)
    return closed(circuit)


def _canonical(alpha: Angle, beta: Angle, gamma: Angle) -> Instruction:
    circuit = made("Rxxyyzz", 2, alpha, beta, gamma)
    circuit.rxx(alpha, 0, 1)
    circuit.ryy(beta, 0, 1)
    circuit.rzz(gamma, 0, 1)
    return closed(circuit)


def _qibo_cu3(theta: Angle, phi: Angle, lam: Angle) -> Instruction:
    """Return the controlled gate of Qibo's u3, whose determinant is 1."""
    return lib.CUGate(theta, phi, lam, -(phi + lam) / 2)


def _idle(*_: Angle) -> Instruction:
    return lib.IGate()


# -- names -----------------------------------------------------------------------------


def _table(*known: Known) -> dict[str, Known]:
    return {one.name: one for one in known}


def _standard() -> dict[str, Known]:
    return _table(
        *(
            Known(name, len(gate.params), gate.num_qubits, gate.base_class)
            for name, gate in STANDARD.items()
        )
    )


def _alias(name: str, of: str) -> Known:
    gate = STANDARD[of]
    return Known(name, len(gate.params), gate.num_qubits, gate.base_class)


#: Names that every writer who uses them means alike.
COMMON: Mapping[str, Known] = _standard() | _table(
    # of Qiskit's exporters and of qelib1.inc
    Known("u0", 1, 1, _idle),
    Known("c3x", 0, 4, lib.C3XGate),
    Known("c4x", 0, 5, lib.C4XGate),
    Known("c3sx", 0, 4, lib.C3SXGate),
    Known("c3sqrtx", 0, 4, lib.C3SXGate),
    Known("rc3x", 0, 4, lib.RC3XGate),
    Known("mcx", 0, None, _controlled(lib.MCXGate, num_qubits=1)),
    Known("mcphase", 1, None, _controlled(lib.MCPhaseGate, num_qubits=1, params=1)),
    # spelled otherwise
    _alias("cnot", "cx"),
    _alias("ccnot", "ccx"),
    _alias("toffoli", "ccx"),
    _alias("phase", "p"),
    _alias("phaseshift", "p"),
    _alias("cphase", "cp"),
    _alias("cphaseshift", "cp"),
    _alias("i", "id"),
    _alias("si", "sdg"),
    _alias("ti", "tdg"),
    _alias("prx", "r"),
    _alias("U1q", "r"),
    # of BQSKit, Qibo, pytket and Braket
    Known("b", 0, 2, _b),
    Known("ccp", 1, 3, lambda angle: lib.MCPhaseGate(angle, 2)),
    Known("ct", 0, 2, lambda: lib.CPhaseGate(pi / 4)),
    Known("csxdg", 0, 2, lambda: lib.CUGate(-pi / 2, -pi / 2, pi / 2, -pi / 4)),
    Known("diag", None, None, _diag),
    Known("fsim", 2, 2, _fsim),
    Known("fswap", 0, 2, _fswap),
    Known("iccx", 0, 3, _iccx),
    Known(
        "mpry", None, None, _multiplexed("mpry", lib.UCRYGate), "which turns the last of its qubits"
    ),
    Known(
        "mprz", None, None, _multiplexed("mprz", lib.UCRZGate), "which turns the last of its qubits"
    ),
    Known("pxz", 3, 1, _pxz),
    Known("sqisw", 0, 2, lambda: lib.XXPlusYYGate(-pi / 2)),
    Known("st", 0, 1, lambda: lib.PhaseGate(pi / 8)),
    Known("syc", 0, 2, lambda: _fsim(pi / 2, pi / 6)),
    Known("cphaseshift00", 1, 2, _phase_on(0, 0)),
    Known("cphaseshift01", 1, 2, _phase_on(0, 1)),
    Known("cphaseshift10", 1, 2, _phase_on(1, 0)),
    Known("pswap", 1, 2, _pswap),
)

#: What pytket's ``hqslib1.inc`` adds to the gates of ``qelib1.inc``.
HQSLIB: Mapping[str, Known] = _table(
    _alias("U1q", "r"),
    _alias("Rz", "rz"),
    _alias("RZZ", "rzz"),
    Known("ZZ", 0, 2, lambda: lib.RZZGate(pi / 2)),
    Known("Rxxyyzz", 3, 2, _canonical),
)

#: What Amazon Braket writes, with what others mean otherwise.
BRAKET: Mapping[str, Known] = {
    name: COMMON[name]
    for name in (
        *("ccnot", "cnot", "cphaseshift", "cphaseshift00", "cphaseshift01", "cphaseshift10"),
        *("cswap", "cy", "cz", "ecr", "h", "i", "iswap", "phaseshift", "prx", "pswap", "rx", "ry"),
        *("rz", "s", "si", "swap", "t", "ti", "x", "y", "z"),
    )
} | _table(
    _alias("cv", "csx"),
    _alias("v", "sx"),
    _alias("vi", "sxdg"),
    _alias("xx", "rxx"),
    _alias("yy", "ryy"),
    _alias("zz", "rzz"),
    Known("gpi", 1, 1, _gpi),
    Known("gpi2", 1, 1, _gpi2),
    Known("ms", 3, 2, _ms),
    Known("xy", 1, 2, lambda angle: lib.XXPlusYYGate(-angle)),
)

#: What Qibo means otherwise than Qiskit, or than other writers.
QIBO: Mapping[str, Known] = _table(
    Known("cu3", 3, 2, _qibo_cu3),
    Known("gpi", 1, 1, _gpi),
    Known("gpi2", 1, 1, _gpi2),
    Known("ms", 3, 2, _ms),
)

#: Names that have no meaning without their writer, and why.
AMBIGUOUS: Mapping[str, str] = (
    dict.fromkeys(("gpi", "gpi2", "ms"), "angles are turns for IonQ and radians for Braket")
    | dict.fromkeys(("xx", "yy", "zz"), "one writer's has an angle, the other's is fixed")
    | dict.fromkeys(("cv", "cvdg"), "it controls SX or RX(pi/2), which differ by a phase")
    | dict.fromkeys(("v", "vdg", "vi"), "it is SX or RX(pi/2), which differ by a phase")
    | dict.fromkeys(
        ("xxphase", "yyphase", "zzphase", "xxphase3", "phasedx", "phasediswap", "tk1", "tk2"),
        "angles are half turns or radians",
    )
    | {"eswap": "angles are half turns or radians"}
    | dict.fromkeys(("zzmax", "iswapmax"), "signs differ")
    | {"xy": "signs differ", "givens": "signs differ", "cu2": "phases differ"}
)

"""Names that a circuit file may give: gates that are known, and the file's own."""

import numpy as np
import pytest
from qiskit.circuit import (
    QuantumCircuit,
)
from qiskit.circuit import library as lib
from qiskit.quantum_info import Operator, Statevector, random_unitary
from support.circuit_texts import QASM2, QASM3, circuit_of, same

from pilotcut import compile_plan, reconstruct_probabilities
from pilotcut.circuits.files import gate_names

OWN_DEFINITIONS = """
gate rz(t) a { U(t,0,0) a; }
gate h a { U(pi,0,pi) a; }
gate x a { gphase(0.4); U(0,0,pi) a; }
gate z a { U(pi,0,pi) a; barrier a; }
gate p(t) a { U(t,0,0) a; }
gate u(t) a { U(t,0,0) a; }
gate cx a, b { swap_ a, b; }
gate deep(t) a { rz(t) a; gphase(t); h a; }
gate wide(t) a, b, c { deep(t) a; cx a, b; x c; inv @ rz(0.2) b; }
"""
SWAP = "gate swap_ a, b { ctrl @ U(pi,0,pi) a, b; ctrl @ U(pi,0,pi) b, a; ctrl @ U(pi,0,pi) a, b; }"


def controlled(gate, num_controls=1, state=None):
    """Return the matrix of a gate that is applied where its controls, the lowest bits, say so."""
    size = 2**num_controls
    at = size - 1 if state is None else state
    chosen = np.diag(np.eye(size)[at])
    matrix = Operator(gate).data
    return np.kron(matrix, chosen) + np.kron(np.eye(len(matrix)), np.eye(size) - chosen)


@pytest.mark.parametrize("angle", ["0.8", "w"])
@pytest.mark.parametrize(
    ("modifiers", "name", "make"),
    [
        ("ctrl @", "rz(A)", lambda g: controlled(g)),
        ("negctrl @", "rz(A)", lambda g: controlled(g, 1, 0)),
        ("ctrl(2) @", "rz(A)", lambda g: controlled(g, 2)),
        ("negctrl @ ctrl @", "p(A)", lambda g: controlled(g, 2, 2)),
        ("ctrl @", "h", lambda g: controlled(g)),
        ("ctrl @", "x", lambda g: controlled(g)),
        ("negctrl(2) @", "z", lambda g: controlled(g, 2, 0)),
        ("ctrl @", "cx", lambda g: controlled(g)),
        ("ctrl @", "u(A)", lambda g: controlled(g)),
        ("ctrl @", "deep(A)", lambda g: controlled(g)),
        ("ctrl @", "wide(A)", lambda g: controlled(g)),
        ("ctrl @ inv @", "deep(A)", lambda g: controlled(Operator(g).adjoint())),
        ("inv @ ctrl @", "deep(A)", lambda g: controlled(Operator(g).adjoint())),
        ("ctrl @ pow(2) @", "x", lambda g: controlled(Operator(g).power(2))),
        ("pow(2) @ ctrl @", "h", lambda g: controlled(Operator(g).power(2))),
        ("ctrl @ pow(0.5) @", "p(0.8)", lambda g: controlled(Operator(g).power(0.5))),
    ],
)
def test_own_gates_are_controlled_by_what_they_do_and_not_by_name(
    load, modifiers, name, make, angle
):
    t = 0.8
    ry, x = lib.RYGate(t), lib.XGate()
    deep = Operator(x) @ Operator(ry) * np.exp(1j * t)
    phased = Operator(lib.ZGate()) * np.exp(0.4j)
    wide = Operator(np.eye(8)).compose(deep, [0]).compose(lib.SwapGate(), [0, 1])
    wide = wide.compose(phased, [2]).compose(lib.RYGate(-0.2), [1])
    gates_of = {"rz": ry, "p": ry, "u": ry, "h": x, "x": phased, "z": x}
    gates_of |= {"cx": lib.SwapGate(), "deep": deep, "wide": wide}
    expected = make(gates_of[name.split("(")[0]])
    size = len(expected).bit_length() - 1
    content = f"OPENQASM 3.0;\ninput float w;\n{SWAP}{OWN_DEFINITIONS}qubit[{size}] q;\n"
    operands = ", ".join(f"q[{k}]" for k in range(size))
    found, _ = load(f"{content}{modifiers} {name.replace('A', angle)} {operands};")
    found = found.assign_parameters([t]) if found.num_parameters else found
    assert Operator(found).equiv(Operator(expected))
    prepared = QuantumCircuit(size)
    for k in range(size):
        prepared.u(0.7 + 0.3 * k, 0.2 * k, 0.1, k)
    state = Statevector(prepared).evolve(Operator(expected))
    plan = compile_plan(prepared.compose(found))
    assert reconstruct_probabilities(plan) == pytest.approx(state.probabilities(), abs=1e-9)


def turn(*paulis_and_angles):
    """Return exp(-i/2 sum angle * Pauli), on the qubits that the letters count from the left."""
    letters = {"X": [[0, 1], [1, 0]], "Y": [[0, -1j], [1j, 0]], "Z": [[1, 0], [0, -1]]}
    total = 0
    for paulis, angle in paulis_and_angles:
        term = np.eye(1)
        for letter in paulis:
            term = np.kron(np.array(letters[letter]), term)
        total = total + angle * term
    values, vectors = np.linalg.eigh(total)
    return vectors @ np.diag(np.exp(-0.5j * values)) @ vectors.conj().T


def block(matrix):
    """Return a matrix of |01> and |10>, and 1 elsewhere."""
    whole = np.eye(4, dtype=complex)
    whole[1:3, 1:3] = matrix
    return whole


KNOWN = {
    "ryy(0.3)": turn(("YY", 0.3)),
    "ccz": np.diag([1, 1, 1, 1, 1, 1, 1, -1]),
    "iswap": block([[0, 1j], [1j, 0]]),
    "sqisw": block(np.array([[1, 1j], [1j, 1]]) / 2**0.5),
    "b": turn(("XX", -np.pi / 2), ("YY", -np.pi / 4)),
    "diag(0.1, 0.2, 0.3)": np.diag(np.exp(1j * np.array([0, 0.2, 0.1, 0.3]))),
    "mprz(0.1, 0.2)": np.diag(np.exp(0.5j * np.array([-0.1, -0.2, 0.1, 0.2]))),
    "fsim(0.3, 0.4)": block([[np.cos(0.3), -1j * np.sin(0.3)], [-1j * np.sin(0.3), np.cos(0.3)]])
    @ np.diag([1, 1, 1, np.exp(-0.4j)]),
    "syc": block([[0, -1j], [-1j, 0]]) @ np.diag([1, 1, 1, np.exp(-1j * np.pi / 6)]),
    "fswap": np.diag([1, 1, 1, -1]) @ block([[0, 1], [1, 0]]),
    "csxdg": Operator(lib.SXdgGate().control()).data,
    "sxdg": lib.SXdgGate().to_matrix(),
    "prx(0.3, 0.4)": lib.RGate(0.3, 0.4).to_matrix(),
    "pxz(0.1, 0.2, 0.3)": np.diag([1, np.exp(0.5j * np.pi)])
    @ (np.exp(0.05j * np.pi) * turn(("X", 0.1 * np.pi)))
    @ np.diag([1, np.exp(-0.3j * np.pi)]),
    "st": np.diag([1, np.exp(1j * np.pi / 8)]),
    "cphaseshift01(0.3)": np.diag([1, 1, np.exp(0.3j), 1]),
}


@pytest.mark.parametrize("language", ["2.0", "3.0"])
@pytest.mark.parametrize("used", KNOWN)
def test_a_gate_that_is_known_by_name_needs_no_definition(load, language, used):
    matrix = np.array(KNOWN[used])
    width = len(matrix).bit_length() - 1
    include, qubits = (
        ("qelib1", f"qreg q[{width}]") if language == "2.0" else ("stdgates", f"qubit[{width}] q")
    )
    operands = ", ".join(f"q[{k}]" for k in range(width))
    found, _ = load(
        f'OPENQASM {language};\ninclude "{include}.inc";\n{qubits};\n{used} {operands};'
    )
    assert Operator(found).equiv(Operator(matrix))


def test_braket_is_known_by_what_it_includes_and_calls(load):
    head = "OPENQASM 3.0;\nbit[2] b;\nqubit[2] q;\n"
    found, notes = load(head + "xx(0.3) q[0], q[1];\nctrl @ v q[0], q[1];\ngpi(0.2) q[0];")
    gpi = np.array([[0, np.exp(-0.2j)], [np.exp(0.2j), 0]])
    expected = QuantumCircuit(2)
    expected.rxx(0.3, 0, 1)
    expected.csx(0, 1)
    expected.unitary(gpi, 0)
    assert same(found, expected)
    assert notes == ["circuit.qasm: includes no gates; they are read as Amazon Braket's"]


def test_a_matrix_of_braket_has_its_first_qubit_highest(load):
    matrix = random_unitary(4, seed=5).data
    rows = ", ".join(
        "["
        + ", ".join(
            f"{z.real:.15f} {'+' if z.imag >= 0 else '-'} {abs(z.imag):.15f}im" for z in row
        )
        + "]"
        for row in matrix
    )
    found, _ = load(
        f"OPENQASM 3.0;\nqubit[2] q;\n#pragma braket unitary([{rows}]) q[0], q[1]\nh q[0];"
    )
    expected = circuit_of(2, (lib.UnitaryGate(matrix), [1, 0]), (lib.HGate(), [0]))
    assert same(found, expected)


def test_qibo_is_known_by_its_header(load):
    used = QASM2 + "h q[0];\ncu3(0.1, 0.2, 0.3) q[0], q[1];"
    found, _ = load("// Generated by QIBO 0.3.6\n" + used)
    of_qibo = circuit_of(2, (lib.HGate(), [0]), (lib.CUGate(0.1, 0.2, 0.3, -0.25), [0, 1]))
    assert same(found, of_qibo)
    found, _ = load(used)
    assert same(found, circuit_of(2, (lib.HGate(), [0]), (lib.CU3Gate(0.1, 0.2, 0.3), [0, 1])))


@pytest.mark.parametrize("name", sorted(gate_names.AMBIGUOUS))
@pytest.mark.parametrize("head", [QASM2, QASM3])
def test_a_name_that_writers_mean_differently_is_refused_with_the_reason(refused, head, name):
    if head == QASM2 and name in ("v", "vdg", "vi"):
        return  # a phase that nothing controls
    line = refused(head + f"{name}(0.1) q[0], q[1];")
    assert f"4: uses '{name}' without a definition, and writers mean different gates" in line
    assert "define it in the file" in line


@pytest.mark.parametrize("head", [QASM2, QASM3])
def test_a_definition_wins_over_a_known_name(load, head):
    found, _ = load(head + "gate iswap a, b { h a; }\niswap q[0], q[1];")
    assert same(found, circuit_of(2, (lib.HGate(), [0])))


def test_the_include_of_quantinuum_needs_no_file(load):
    found, _ = load(
        'OPENQASM 2.0;\ninclude "hqslib1.inc";\nqreg q[2];\nh q[0];\nU1q(0.3*pi, 0.2) q[0];\n'
        "ZZ q[0], q[1];\nRZZ(0.4) q[0], q[1];\nRxxyyzz(0.1, 0.2, 0.3) q[0], q[1];"
    )
    expected = circuit_of(
        2,
        (lib.HGate(), [0]),
        (lib.RGate(0.3 * np.pi, 0.2), [0]),
        (lib.RZZGate(np.pi / 2 + 0.4), [0, 1]),
        (lib.UnitaryGate(turn(("XX", 0.1), ("YY", 0.2), ("ZZ", 0.3))), [0, 1]),
    )
    assert same(found, expected)


def test_a_program_without_its_version_is_read_as_what_it_looks_like(load):
    found, notes = load("ry(0.3) q[0];\nrzz(0.4) q[0], q[2];\nmeasure q[2] -> c[0];")
    assert same(found, circuit_of(3, (lib.RYGate(0.3), [0]), (lib.RZZGate(0.4), [0, 2])))
    assert notes[0] == "circuit.qasm: has no version and is read as OpenQASM 2"
    assert "q[3], c[1] are as large as the bits that it uses" in notes[2]
    found, notes = load('include "stdgates.inc";\nqubit[2] q;\nh q[1];')
    assert same(found, circuit_of(2, (lib.HGate(), [1])))
    assert notes == ["circuit.qasm: has no version and is read as OpenQASM 3"]


def test_registers_may_be_called_like_gates(load):
    found, _ = load(
        'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg z[2];\nqreg swap[1];\ncreg x[1];\nz z[0];\n'
        "ry(0.3) swap[0];\ncx swap[0], z[1];\nh z;\nmeasure z[0] -> x[0];"
    )
    expected = circuit_of(3, (lib.ZGate(), [0]), (lib.RYGate(0.3), [2]), (lib.CXGate(), [2, 1]))
    expected.h([0, 1])
    assert same(found, expected)


def test_an_include_beside_the_file_may_have_angles_and_definitions(load):
    found, _ = load(
        'OPENQASM 2.0;\ninclude "qelib1.inc";\ninclude "angles.inc";\nqreg q[2];\nmine(0.3) q[0];',
        angles="OPENQASM 2.0;\ngate mine(t) a { ry(t/2) a; ry(t/2) a; }\n",
    )
    assert same(found, circuit_of(2, (lib.RYGate(0.3), [0])))

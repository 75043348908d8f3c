"""Circuit files mean what their writers mean: names, includes, inputs, bits; all within bounds."""

import copy
import io
import pickle
import random
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import qasm2, qasm3, qpy
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    InverseModifier,
    Parameter,
    ParameterVector,
    QuantumCircuit,
)
from qiskit.circuit import library as lib
from qiskit.quantum_info import Operator, Statevector, random_clifford, random_unitary

from pilotcut import compile_plan, reconstruct_probabilities, sample
from pilotcut.circuits.files import gate_names
from pilotcut.circuits.reader import load_circuit
from pilotcut.errors import CircuitFileError

QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\n'
QASM3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\n'


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """Return a function that loads content from a file, and returns circuit and notes."""
    folder = tmp_path_factory.mktemp("files")

    def run(content, name="circuit.qasm", **beside):
        for other, text in beside.items():
            (folder / f"{other}.inc").write_text(text)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        notes = []
        return load_circuit(folder / name, tell=notes.append), notes

    return run


@pytest.fixture
def refused(load):
    """Return a function that expects a refusal within seconds, and returns its one line."""

    def run(content, name="circuit.qasm", **beside):
        began = time.monotonic()
        with pytest.raises(CircuitFileError) as error:
            load(content, name, **beside)
        assert time.monotonic() - began < 20
        (line,) = error.value.faults
        assert "\n" not in line
        return line.split(f"{name}:", 1)[1]

    return run


def same(circuit, expected):
    return Operator(circuit).equiv(Operator(expected))


def circuit_of(num_qubits, *applied):
    """Return a circuit of (gate, qubits)."""
    circuit = QuantumCircuit(num_qubits)
    for gate, qubits in applied:
        circuit.append(gate, qubits)
    return circuit


def qpy_bytes(circuit):
    buffer = io.BytesIO()
    qpy.dump(circuit, buffer)
    return buffer.getvalue()


WRITERS = {
    "qasm2": (lambda c: qasm2.dumps(c).encode(), "circuit.qasm"),
    "qasm3": (lambda c: qasm3.dumps(c).encode(), "circuit.qasm"),
    "qpy": (qpy_bytes, "circuit.qpy"),
}


# -- a gate is what it does ----------------------------------------------------------------

NAMES = ("id", "delay", "barrier", "global_phase", "measure", "reset", "cut_wire", "move")


@pytest.mark.parametrize("name", [*NAMES, "h", "cx", "swap", "u", "unitary", "Measure", "RXGate"])
@pytest.mark.parametrize("kind", ["qasm3", "qpy"])
@pytest.mark.parametrize("width", [1, 2])
def test_an_own_gate_is_its_definition_whatever_its_name(load, name, kind, width):
    own = QuantumCircuit(width, name=name)
    own.rx(1, 0)
    if width == 2:
        own.cx(0, 1)
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.append(own.to_gate(), range(width))
    write, file = WRITERS[kind]
    found, notes = load(write(circuit), file)
    expected = Statevector(circuit).probabilities()
    assert notes == []
    assert reconstruct_probabilities(compile_plan(found)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["id", "delay", "global_phase", "cut_wire", "move", "mine"])
def test_a_gate_of_openqasm_2_is_its_definition_whatever_its_name(load, name):
    content = f"OPENQASM 2.0;\nqreg q[2];\ngate {name} a {{ U(1,0,0) a; }}\n{name} q[0];"
    found, _ = load(content)
    expected = circuit_of(2, (lib.RYGate(1), [0]))
    assert same(found, expected)
    assert reconstruct_probabilities(compile_plan(found)) == pytest.approx(
        Statevector(expected).probabilities(), abs=1e-9
    )


@pytest.mark.parametrize("head", [QASM2, QASM3])
def test_a_gate_called_move_that_swaps_is_a_swap(load, head):
    content = (
        head + "gate move a, b { cx a, b; cx b, a; cx a, b; }\nry(0.3) q[0];\nmove q[0], q[1];"
    )
    found, _ = load(content)
    expected = circuit_of(2, (lib.RYGate(0.3), [0]), (lib.SwapGate(), [0, 1]))
    assert reconstruct_probabilities(compile_plan(found)) == pytest.approx(
        Statevector(expected).probabilities(), abs=1e-9
    )


@pytest.mark.parametrize("head", [QASM2, QASM3])
def test_a_standard_name_is_a_standard_gate_only_where_it_is_equal(load, head):
    nearly = "gate ryy(t) a, b { rx(pi/2) a; rx(pi/2) b; cx a, b; rz(t) b; cx a, b; rx(-pi/2) a; "
    found, _ = load(head + nearly + "rx(-pi/2) b; }\nryy(0.3) q[0], q[1];")
    assert found.data[0].operation.base_class is lib.RYYGate
    found, _ = load(head + nearly + "rx(pi/2) b; }\nryy(0.3) q[0], q[1];")
    assert found.data[0].operation.base_class is not lib.RYYGate


def test_a_free_angle_is_compared_at_both_signs(load):
    angle, free = Parameter("t"), Parameter("a")
    body = QuantumCircuit(2, name="rzz")
    body.cx(0, 1)
    body.rz(abs(angle), 1)
    body.cx(0, 1)
    gate = body.to_gate()
    circuit = QuantumCircuit(2)
    circuit.append(gate, [0, 1])
    circuit = circuit.assign_parameters({angle: free})
    found, _ = load(qpy_bytes(circuit), "abs.qpy")
    assert same(found.assign_parameters([-0.7]), circuit_of(2, (lib.RZZGate(0.7), [0, 1])))


def test_parameters_of_a_gate_are_bound_in_the_order_of_its_definition(load):
    # qiskit-qasm3-import 0.6 takes them in the order of their names.
    found, _ = load(QASM3 + "gate g(b, a) q { rx(a) q; rz(b) q; }\ng(0.1, 0.2) q[0];")
    assert same(found, circuit_of(2, (lib.RXGate(0.2), [0]), (lib.RZGate(0.1), [0])))


def test_own_gates_are_copied_pickled_inverted_and_controlled(load):
    content = QASM3 + (
        "input float w;\ngate f(b) a { rx(b) a; t a; }\ngate g(b) a { f(2*b) a; s a; }\n"
        "inv @ g(0.3) q[0];\nctrl @ g(w) q[1], q[0];\n"
    )
    found, _ = load(content)
    expected = QuantumCircuit(2)
    expected.sdg(0)
    expected.tdg(0)
    expected.rx(-0.6, 0)
    for gate in (lib.RXGate(1.0), lib.TGate(), lib.SGate()):
        expected.append(gate.control(), [1, 0])
    for one in (found, copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert same(one.assign_parameters([0.5]), expected)


# -- names that are known ------------------------------------------------------------------


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


# -- inputs --------------------------------------------------------------------------------


def layered(parameters):
    circuit = QuantumCircuit(2)
    for number, parameter in enumerate(parameters):
        circuit.ry(0.3 * (number + 1) * parameter, number % 2)
        circuit.cx(0, 1)
        circuit.rx(parameter, number % 2)
    return circuit


VECTORS = {
    "twelve": lambda: ParameterVector("w", 12),
    "lone": lambda: ParameterVector("w", 1),
    "gaps": lambda: list(ParameterVector("w", 12))[::3],
    "two": lambda: [*ParameterVector("w", 11), *ParameterVector("x", 12)],
    "letters": lambda: [*ParameterVector("θ", 12), *ParameterVector("a b", 11)],
    "alike": lambda: [*ParameterVector("a.b", 11), *ParameterVector("a-b", 11)],
    "mixed": lambda: [*ParameterVector("w", 12), *map(Parameter, ("w", "a", "z", "Z"))],
    "gates": lambda: list(map(Parameter, ("x", "p", "p1", "h"))),
    "dash": lambda: list(map(Parameter, ("a-b", "a", "Z", "b"))),
    "scalars": lambda: list(map(Parameter, ("_w_0_", "_w_10_", "_w_2_"))),
}


@pytest.mark.parametrize("kind", VECTORS)
def test_values_by_position_reach_the_same_gates_as_before_the_export(load, kind):
    circuit = layered(VECTORS[kind]())
    values = np.random.default_rng(3).uniform(-2, 2, circuit.num_parameters)
    found, _ = load(qasm3.dumps(circuit))
    assert same(found.assign_parameters(values), circuit.assign_parameters(values))


def test_a_vector_of_openqasm_3_says_what_it_was(load):
    found, notes = load(qasm3.dumps(layered(ParameterVector("w", 12))))
    assert [p.name for p in found.parameters] == [f"w[{k}]" for k in range(12)]
    assert notes == [
        "circuit.qasm: inputs _w_0_, _w_1_, … 10 more are the vector 'w', in the order of its "
        "elements"
    ]


def test_an_input_that_is_an_array_is_a_vector(load):
    found, notes = load(
        "OPENQASM 3.0;\ninput array[float[64], 12] w;\ninput array[angle, 2, 2] v;\nqubit q;\n"
        "U(w[11], 0, 0) q;\nU(0, 0, 2*w[2]) q;\nU(v[1][0] + w[-1], 0, v[0, 1]) q;"
    )
    names = [p.name for p in found.parameters]
    assert names == [f"v[{k}]" for k in range(4)] + [f"w[{k}]" for k in range(12)]
    assert "input 'w' is a vector of 12 parameters" in notes[0]
    values = np.linspace(0.1, 1.6, 16)
    v, w = values[:4], values[4:]
    expected = QuantumCircuit(1)
    expected.u(w[11], 0, 0, 0)
    expected.u(0, 0, 2 * w[2], 0)
    expected.u(v[2] + w[11], 0, v[1], 0)
    assert same(found.assign_parameters(values), expected)


def test_inputs_that_are_not_declared_in_the_order_of_names_are_told(load):
    found, notes = load("OPENQASM 3.0;\ninput float b;\ninput float a;\nqubit q;\nU(a, b, 0) q;")
    assert [p.name for p in found.parameters] == ["a", "b"]
    assert "in the order of their names, a, b, and not as the file declares them, b, a" in notes[0]


def test_functions_powers_constants_and_loops_of_openqasm_3(load):
    found, _ = load(
        QASM3 + "input float w;\nconst float c = 0.5;\nrx(sin(w) * 2**0.5 + c) q[0];\n"
        "for int k in [0:1] { ry(k * 0.3) q[k]; }\nbox { cx q[1], q[0]; }\nh q[0:-1];\n"
        "gate g(b) a { rz(b*b) a; }\ng(sqrt(w)) q[1];\n"
    )
    expected = QuantumCircuit(2)
    expected.rx(np.sin(0.7) * 2**0.5 + 0.5, 0)
    expected.ry(0.3, 1)
    expected.cx(1, 0)
    expected.h([0, 1])
    expected.rz(0.7, 1)
    assert same(found.assign_parameters([0.7]), expected)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("rx(1/2) q[0];", "1/2 divides whole numbers"),
        ("h q[0:2];", "range 0:1:2 is not within 2 places"),
        ("h q[5];", "index out of range"),
        ("rx(sqrt(-1)) q[0];", "math domain error"),
        ("rx(erf(1)) q[0];", "function 'erf' is not known"),
        ("iswap(0.3) q[0], q[1];", "'iswap' takes 0 angles, found 1"),
    ],
)
def test_what_would_be_another_value_in_silence_is_refused(refused, statement, said):
    line = refused(QASM3 + statement)
    assert line.startswith("4: ")
    assert said in line


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("const uint[2] n = 5;", "'uint[2] n' does not hold 5"),
        ("const uint[2] n = -1;", "'uint[2] n' does not hold -1"),
        ("const uint n = -1;", "'uint n' does not hold -1"),
        ("const int[3] n = 4;", "'int[3] n' does not hold 4"),
        ("const int[3] n = -5;", "'int[3] n' does not hold -5"),
        ("const int none = 0; const int[none] n = 0;", "has 0 bits"),
        ("const angle[4] a = -0.3;", "from 0 to below 2*pi, found -0.3"),
        ("const angle[4] a = 2*pi;", "from 0 to below 2*pi, found 6.28319"),
        ("for uint k in [-1:1] { rx(k) q[0]; }", "'uint k' does not hold -1"),
        ("for uint[2] k in [0:4] { rx(k) q[0]; }", "'uint[2] k' does not hold 4"),
    ],
)
def test_a_number_that_its_declared_type_does_not_hold_is_refused(refused, declared, said):
    line = refused(QASM3 + declared)
    assert line.startswith("4: ")
    assert said in line


def test_constants_are_what_their_types_hold(load):
    found, notes = load(
        QASM3 + "const uint[2] n = 3;\nconst int[3] m = -4;\nconst int[3] l = 3;\n"
        "const angle[4] a = 0.3;\nconst angle[4] b = pi/8;\nconst angle c = -0.3;\n"
        "const float[32] d = 0.1;\nrx(n) q[0];\nry(m) q[0];\nrx(l) q[0];\n"
        "ry(a) q[0];\nrx(b) q[0];\nry(c) q[0];\nrx(d) q[0];\n"
    )
    expected = QuantumCircuit(2)
    for k, angle in enumerate((3, -4, 3, np.pi / 8, np.pi / 8, -0.3, 0.1)):
        (expected.ry if k % 2 else expected.rx)(angle, 0)
    assert same(found, expected)
    (note,) = notes  # of the angle that is not a multiple of 2*pi/16
    assert "'angle[4] a' is 0.392699" in note


# -- line ends -----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("head", [QASM2, QASM3])
def test_a_comment_ends_with_its_line_whatever_ends_that(load, refused, head, end):
    content = f'// made by hand\n{head}// turn\nrx(0.3) q[0]; // one\ninclude "beside.inc";\n'
    beside = f"// two{end}gate mine a {{ x a; }}{end}"
    if head is QASM3:  # which includes nothing but gates
        content, beside = content.replace('include "beside.inc";', "gate mine a { x a; }"), ""
    content = (content + "mine q[1];\n").replace("\n", end).encode()
    found, _ = load(content, "ends.qasm", beside=beside)
    assert same(found, circuit_of(2, (lib.RXGate(0.3), [0]), (lib.XGate(), [1])))
    assert refused(content + b"nowhere q[0];" + end.encode(), "ends.qasm").startswith("9:")
    assert refused(content + b"\xff" + end.encode(), "ends.qasm").startswith("9:")


# -- measurements --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measured", "bits"),
    [
        ([(0, 2), (1, 0), (2, 1)], (1, 2, 0)),
        ([(0, 0), (1, 1), (2, 2)], None),
        ([(2, 0)], (2,)),
        ([(1, 1), (2, 0)], (2, 1)),
        ([(0, 0), (1, 0), (2, 2)], (1, 2)),  # the last one that is written counts
    ],
)
@pytest.mark.parametrize("kind", WRITERS)
def test_bits_of_probabilities_and_samples_are_those_of_the_file(load, kind, measured, bits):
    circuit = QuantumCircuit(3, 3)
    for qubit, angle in enumerate((0.4, 1.1, 1.9)):
        circuit.ry(angle, qubit)
    circuit.cx(0, 1)
    state = Statevector(circuit.remove_final_measurements(inplace=False))
    for qubit, bit in measured:
        circuit.measure(qubit, bit)
    write, file = WRITERS[kind]
    found, notes = load(write(circuit), file)
    plan = compile_plan(found, labels="AAB")
    assert plan.measured == bits
    expected = state.probabilities(None if bits is None else list(bits))
    assert reconstruct_probabilities(plan) == pytest.approx(expected, abs=1e-9)
    assert {len(key) for key in sample(plan, 10, seed=1)} == {3 if bits is None else len(bits)}
    assert (len(notes) == 2) == (bits is not None)


def test_bits_of_a_file_outlive_copies_and_qpy(load):
    circuit = QuantumCircuit(2, 2)
    circuit.ry(0.3, 0)
    circuit.rx(Parameter("t"), 1)
    circuit.measure([0, 1], [1, 0])
    found, _ = load(qpy_bytes(circuit), "circuit.qpy")
    again, _ = load(qpy_bytes(found.copy().assign_parameters([0.4])), "again.qpy")
    assert compile_plan(again).measured == (1, 0)


# -- bounds --------------------------------------------------------------------------------


def doubling(levels, params=""):
    first = f"gate g0{params} a, b, c {{ h a; cx a, b; cx b, c; }}\n"
    rest = (
        f"gate g{k}{params} a, b, c {{ g{k - 1}{params} a, b, c; g{k - 1}{params} a, b, c; }}\n"
        for k in range(1, levels)
    )
    return first + "".join(rest)


@pytest.mark.parametrize("params", ["", "(t)"])
@pytest.mark.parametrize("head", [QASM2, QASM3])
def test_gates_that_double_are_counted_before_they_are_opened(refused, head, params):
    line = refused(head + doubling(60, params) + "h q[0];")
    assert "gate 'g17' is made of 393216 gates when its definitions are opened" in line


@pytest.mark.parametrize("head", [QASM2, QASM3])
def test_gates_of_two_qubits_that_double_cost_what_is_written(load, head):
    content = "gate g0(t) a, b { rx(t) a; cx a, b; }\n" + "".join(
        f"gate g{k}(t) a, b {{ g{k - 1}(t) a, b; g{k - 1}(t) a, b; }}\n" for k in range(1, 17)
    )
    found, _ = load(head + content + "g16(0.3) q[0], q[1];")
    one = Operator(circuit_of(2, (lib.RXGate(0.3), [0]), (lib.CXGate(), [0, 1]))).data
    assert np.allclose(found.data[0].operation.to_matrix(), np.linalg.matrix_power(one, 2**16))


def test_a_ring_of_includes_is_one_line(refused):
    line = refused('OPENQASM 2.0;\ninclude "circuit.qasm";\nqreg q[1];')
    assert line.startswith("2: is included by itself (circuit.qasm → circuit.qasm)")
    line = refused(
        'OPENQASM 2.0;\ninclude "one.inc";', one='include "two.inc";', two='include "one.inc";'
    )
    assert "includes two.inc, whose line 1 is included by itself (one.inc → two.inc → one" in line


def test_includes_that_double_are_one_line(refused):
    doubled = {f"d{k}": f'include "d{k + 1}.inc"; include "d{k + 1}.inc";' for k in range(25)}
    line = refused('OPENQASM 2.0;\ninclude "d0.inc";', **doubled, d25="")
    assert "includes more than 1000 files" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (QASM2 + "rx(" + "(" * 10**5 + "1" + ")" * 10**5 + ") q[0];", "4: has an angle of more"),
        (QASM2 + "rx(" + "-" * 10**5 + "1) q[0];", "has an angle of more than"),
        (
            QASM3 + "rx(" + "(" * 10**4 + "1" + ")" * 10**4 + ") q[0];",
            "4: has more than 50 brackets",
        ),
        (QASM3 + "rx(" + "-" * 10**5 + "1) q[0];", "or 1000 operators in a statement"),
        (QASM3 + "rx(" + "1+" * 900 + "1) q[0];", "is nested too deeply"),
        (QASM3 + "inv @ " * 10**4 + "x q[0];", "or 1000 operators in a statement"),
        (QASM3 + "for int i in [0:1000000000] { x q[0]; }", "4: has loops of more than"),
        (
            QASM3 + "for int i in [0:100000] { for int j in [0:100000] { } }",
            "4: has loops of more than",
        ),
        (QASM3 + "ctrl(100) @ x q[0], q[1];", "4: is not valid OpenQASM 3, or more of it than"),
        (QASM3 + "ctrl(1000000000) @ gphase(0.3) q[0];", "gphase has 1000000000 controls"),
        (QASM3 + "pow(1e9) @ x q[0];", "power 1e+09 leaves no digits of an angle"),
        ("OPENQASM 3.0;\nU(1, 0, 0) $4000000000;", "2: found '$4000000000', expected registers"),
        ("OPENQASM 3.0;\nqubit[2**40] q;", "2: found 'qubit[1099511627776] q', expected"),
        ("OPENQASM 3.0;\ninput array[float, 1000000000] w;\nqubit q;", "2: found 'array w of ["),
        ("OPENQASM 2.0;\nqreg a[100000];\nqreg b[100000];", "found '200000 qubits', expected"),
    ],
    ids=range(15),
)
def test_what_would_not_end_is_one_line(refused, content, said):
    assert said in refused(content)


def test_a_gate_that_waits_a_billion_times_is_read_at_once(load):
    assert load(QASM2 + "u0(1000000000) q[0];")[0].size() == 1


# -- Qiskit's library ----------------------------------------------------------------------

LIBRARY = [
    *(gate for gate in gate_names.STANDARD.values()),
    *(lib.MCXGate(3), lib.MCPhaseGate(0.3, 3), lib.QFTGate(3), lib.PermutationGate([2, 0, 1])),
    *(lib.DiagonalGate([1, 1j, -1, 1j]), lib.UCRZGate([0.1, 0.2, 0.3, 0.4]), lib.PauliGate("XYZ")),
    *(lib.UnitaryGate(random_unitary(8, seed=1)), lib.StatePreparation([0.6, 0.8])),
    *(random_clifford(3, seed=3), lib.LinearFunction([[1, 1], [0, 1]]), lib.HalfAdderGate(1)),
    AnnotatedOperation(lib.RYGate(0.3), [InverseModifier(), ControlModifier(2)]),
    lib.RYYGate(0.3).control(1, ctrl_state=0),
    lib.zz_feature_map(3).to_gate(),
]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_library_arrives_right_or_is_one_line(load, data):
    """Each gate of Qiskit's library through each of its exporters."""
    kind = data.draw(st.sampled_from(sorted(WRITERS)))
    gate = data.draw(st.sampled_from(LIBRARY))
    angles = st.floats(-7, 7) | st.sampled_from([Parameter("t"), 2 * Parameter("s") + 0.1])
    if (
        isinstance(gate, lib.Gate if hasattr(lib, "Gate") else object)
        and gate.name in gate_names.STANDARD
    ):
        gate = gate.base_class(*[data.draw(angles) for _ in gate.params])
    circuit = QuantumCircuit(gate.num_qubits)
    for qubit in range(gate.num_qubits):
        circuit.ry(0.4 + 0.3 * qubit, qubit)
    circuit.append(gate, data.draw(st.permutations(range(gate.num_qubits))))
    write, file = WRITERS[kind]
    try:
        content = write(circuit)
    except Exception:  # what Qiskit does not export is not ours to read
        return
    values = [0.3 + 0.4 * k for k in range(circuit.num_parameters)]
    try:
        found, _ = load(content, file)
    except CircuitFileError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017
        return
    state = Statevector(found.assign_parameters(values))
    assert abs(state.inner(Statevector(circuit.assign_parameters(values)))) == pytest.approx(1)
    compile_plan(found)


def test_damage_of_a_program_with_everything_is_never_more_than_one_line(load):
    good = (
        b'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput array[float, 3] w;\ninput float _v_0_;\n'
        b"qubit[3] q;\nbit[3] c;\nconst int n = 2;\n"
        b"gate g(a, b) i, j { rx(a*b) i; ctrl @ ry(b) i, j; }\n"
        b"for int i in [0:n-1] { g(w[i], _v_0_) q[i], q[i+1]; }\nbox { iswap q[0], q[1]; }\n"
        b"pow(0.5) @ h q[0];\nc = measure q;\n"
    )
    load(good)
    rng = random.Random(11)
    for _ in range(40):
        content = bytearray(good)
        place = rng.randrange(len(content))
        content[place : place + rng.randint(0, 4)] = bytes(
            rng.randrange(32, 127) for _ in range(rng.randint(0, 4))
        )
        try:
            load(bytes(content))
        except CircuitFileError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017

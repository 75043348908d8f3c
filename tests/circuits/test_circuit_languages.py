"""Circuit files mean what their writers mean: names, includes, inputs, bits; all within bounds."""

import copy
import pickle

import numpy as np
import pytest
from qiskit import qasm3
from qiskit.circuit import (
    Parameter,
    ParameterVector,
    QuantumCircuit,
)
from qiskit.circuit import library as lib
from qiskit.quantum_info import Statevector
from support.circuit_texts import QASM2, QASM3, WRITERS, circuit_of, qpy_bytes, same

from pilotcut import compile_plan, reconstruct_probabilities

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

"""What a circuit file may be: sizes, line ends, measurements, Qiskit's library."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import (
    AnnotatedOperation,
    ControlModifier,
    InverseModifier,
    Parameter,
    QuantumCircuit,
)
from qiskit.circuit import library as lib
from qiskit.quantum_info import Operator, Statevector, random_clifford, random_unitary
from support.circuit_texts import QASM2, QASM3, WRITERS, circuit_of, qpy_bytes, same

from pilotcut import compile_plan, reconstruct_probabilities, sample
from pilotcut.circuits.files import gate_names
from pilotcut.errors import CircuitFileError

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
        (QASM3 + "ctrl(1000000000) @ gphase(0.3) q[0];", "gphase has 1,000,000,000 controls"),
        (QASM3 + "pow(1e9) @ x q[0];", "power 1e+09 leaves no digits of an angle"),
        ("OPENQASM 3.0;\nU(1, 0, 0) $4000000000;", "2: found '$4000000000', expected registers"),
        ("OPENQASM 3.0;\nqubit[2**40] q;", "2: found 'qubit[1099511627776] q', expected"),
        ("OPENQASM 3.0;\ninput array[float, 1000000000] w;\nqubit q;", "2: found 'array w of ["),
        ("OPENQASM 2.0;\nqreg a[100000];\nqreg b[100000];", "found '200,000 qubits', expected"),
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

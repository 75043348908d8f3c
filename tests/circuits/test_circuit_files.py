"""Circuits from files: what is read, and one line with the place for whatever is wrong."""

import io
import os
import random
import sys

import pytest
from qiskit import qasm2, qasm3, qpy
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

from pilotcut.circuits.program import read_circuit
from pilotcut.circuits.reader import load_circuit
from pilotcut.cutting.plan import compile_plan
from pilotcut.errors import CircuitFileError

QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\n'
QASM3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\n'


def small(measured=False):
    circuit = QuantumCircuit(3, 3)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rzz(0.3, 1, 2)
    circuit.sxdg(2)
    if measured:
        circuit.measure(range(3), range(3))
    return circuit


def qpy_bytes(circuits, **options):
    buffer = io.BytesIO()
    qpy.dump(circuits, buffer, **options)
    return buffer.getvalue()


@pytest.fixture
def load(tmp_path):
    """Return a function that loads content from a file, and returns circuit and notes."""

    def run(content, name="circuit.qasm"):
        file = tmp_path / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        notes = []
        return load_circuit(file, tell=notes.append), notes

    return run


@pytest.fixture
def refused(load, tmp_path):
    """Return a function that expects a refusal, and returns its one line behind the file's name."""

    def run(content, name="circuit.qasm"):
        with pytest.raises(CircuitFileError) as error:
            load(content, name)
        (line,) = error.value.faults
        assert "\n" not in line
        assert line.startswith(f"{tmp_path / name}:")
        return line.removeprefix(f"{tmp_path / name}:")

    return run


# -- what is read ----------------------------------------------------------------------


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("circuit.qasm", lambda c: qasm2.dumps(c).encode()),
        ("circuit.QASM", lambda c: qasm3.dumps(c).encode()),
        ("circuit.qpy", qpy_bytes),
        ("old.qpy", lambda c: qpy_bytes(c, version=13)),
    ],
)
def test_what_qiskit_writes_is_read_without_final_measurements(load, name, write, measured):
    circuit, notes = load(write(small(measured)), name)
    assert Operator(circuit).equiv(Operator(small().remove_final_measurements(inplace=False)))
    assert notes == (
        [f"{name}: 3 final measurements are left out; observables say what is measured"]
        if measured
        else []
    )


def test_gates_that_qelib1_lacks_are_standard_gates(load):
    circuit, _ = load(QASM2 + "rxx(0.1) q[0],q[1];\ncsx q[0],q[1];\np(0.2) q[0];\n")
    assert [i.operation.name for i in circuit.data] == ["rxx", "csx", "p"]


EXPORTED = ("rzz", "ryy", "rzx", "cs", "ecr", "iswap", "dcx", "sxdg")


@pytest.mark.parametrize("dumps", [qasm2.dumps, qasm3.dumps])
def test_standard_gates_that_an_exporter_had_to_define_are_standard_again(load, dumps):
    circuit = QuantumCircuit(2)
    for name in EXPORTED:
        gate = get_standard_gate_name_mapping()[name]
        circuit.append(gate.base_class(*[0.3] * len(gate.params)), range(gate.num_qubits))
    found, _ = load(dumps(circuit))
    assert [i.operation.base_class for i in found.data] == [
        i.operation.base_class for i in circuit.data
    ]
    assert Operator(found).equiv(Operator(circuit))


def test_free_angles_of_exported_gates_stay_free(load):
    circuit = QuantumCircuit(2)
    circuit.rzz(2 * Parameter("a"), 0, 1)
    found, _ = load(qasm3.dumps(circuit))
    plan = compile_plan(found, labels="AB")
    assert (plan.num_cuts, plan.bonds[0].gate, len(plan.bonds[0].angles)) == (1, "rzz", 1)


@pytest.mark.parametrize(
    "content",
    [
        QASM2 + "gate rzz(t) a, b { h a; rx(t) b; }\nrzz(0.3) q[0], q[1];\n",
        QASM3 + "gate rzz(t) a, b { h a; rx(t) b; }\nrzz(0.3) q[0], q[1];\n",
        "OPENQASM 2.0;\nqreg q[2];\ngate rx(t) a { U(t,-pi/2,pi/2) a; }\n"
        "gate h a { U(pi/2,0,pi) a; }\ngate cx a, b { h a; rx(0.3) b; }\ncx q[0], q[1];\n",
    ],
)
def test_a_gate_means_what_the_file_says_whatever_its_name(load, content):
    circuit, _ = load(content)
    said = QuantumCircuit(2)
    said.h(0)
    said.rx(0.3, 1)
    assert Operator(circuit).equiv(Operator(said))
    assert compile_plan(circuit, labels="AB").num_cuts == 0


def test_inputs_of_openqasm_3_are_parameters(load):
    circuit, _ = load(QASM3 + "input float[64] theta;\nrx(2*theta) q[0];\ncx q[0], q[1];\n")
    assert [p.name for p in circuit.parameters] == ["theta"]


def test_parameters_of_qpy_files_stay_free(load):
    circuit = small()
    circuit.rx(2 * Parameter("a") + 1, 0)
    assert [p.name for p in load(qpy_bytes(circuit), "a.qpy")[0].parameters] == ["a"]


def test_includes_are_found_beside_the_file(load, tmp_path):
    # Qiskit's parser does not read angles in a file that is included.
    (tmp_path / "mine.inc").write_text("gate mine a, b { CX a, b; CX b, a; }\n")
    assert (
        load('OPENQASM 2.0;\ninclude "mine.inc";\nqreg q[2];\nmine q[0], q[1];')[0].num_qubits == 2
    )


# -- what is refused -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", " is empty"),
        (" \n\t", " is empty"),
        (b"\x93NUMPY\xff", "1: is not a text file (found byte 0x93)"),
        (QASM2.encode() + b"h q[0];\n\0", "6: is not a text file (found byte 0x00)"),
        ("hello\n", "1: found 'hello', expected 'OPENQASM 2.0;' or 'OPENQASM 3.0;' before all"),
        ("// one\n\n/* two */ qreg q[1];", "3: found 'qreg q[1];', expected"),
        ("\nOPENQASM 4.0;\n", "2: is OpenQASM 4, expected 2 or 3"),
        (QASM2 + "foo q[0];\n", "5: is not valid OpenQASM 2 ('foo' is not defined"),
        (QASM2 + "h q[0]\nh q[1];\n", "6: is not valid OpenQASM 2 (needed ';'"),
        (QASM2 + "h q[2];\n", "5: is not valid OpenQASM 2"),
        (QASM2 + "rx(1/0) q[0];", "5: is not valid OpenQASM 2 (cannot divide by zero)"),
        ("OPENQASM 2.0;\nqreg q[1];\nh q[0];", "3: is not valid OpenQASM 2 "),
        ('OPENQASM 2.0;\ninclude "no.inc";', "2: is not valid OpenQASM 2 (unable to find 'no.inc'"),
        ("OPENQASM 2.0;\n\nqreg q[4000000000];", "3: found 'qreg q[4000000000]', expected"),
        ("OPENQASM 3.0;\nqubit[4000000000] q;", "2: found 'qubit[4000000000]', expected"),
        (
            QASM3 + "foo q[0];\n",
            "5: is not valid OpenQASM 3, or more of it than Qiskit reads (gate",
        ),
        (QASM3 + "h q[0]\nh q[1];\n", "6: is not valid OpenQASM 3 (unexpected 'h')"),
        (QASM3 + "qubit[2 r;\n", "5: is not valid OpenQASM 3 (unexpected 'r')"),
        (QASM3 + "h q[0];\n§\n", "6: is not valid OpenQASM 3 (token recognition error"),
        # Exceptions of the importer that do not say where:
        (QASM3 + "h q[0];\nwhile (true) { x q[0]; }\n", "6: is not valid OpenQASM 3, or more"),
        (QASM3 + "h q[0];\nU(1/0, 0, 0) q[1];\nh q[0];\n", "6: is not valid OpenQASM 3, or more"),
        ("OPENQASM 3.0;\nbit[1] c;\n", " has no qubits"),
        ("OPENQASM 2.0;\n", " has no qubits"),
        (
            QASM2 + "opaque magic a;\nmagic q[1];\n",
            " instruction 'magic' on qubits (1,) has no def",
        ),
    ],
)
def test_a_broken_qasm_file_is_one_line_that_names_the_place(refused, capfd, content, said):
    assert refused(content).startswith(said)
    assert capfd.readouterr() == ("", "")


def newer(content):
    return content[:6] + bytes([qpy.common.QPY_VERSION + 1]) + content[7:]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"garbage", "is not a QPY file"),
        (QASM2.encode(), "is not a QPY file"),
        (qpy_bytes(small())[:12], "is not a QPY file"),
        (qpy_bytes(small())[:30], "cannot be read as QPY version"),
        (qpy_bytes(small())[:-20], "cannot be read as QPY version"),
        (qpy_bytes([small(), small()]), "holds 2 circuits, expected exactly one"),
        (newer(qpy_bytes(small())), f"is of QPY version {qpy.common.QPY_VERSION + 1}, written by"),
    ],
    ids=range(8),
)
def test_a_broken_qpy_file_is_one_line(refused, content, said):
    assert refused(content, "circuit.qpy").startswith(" " + said)


@pytest.mark.parametrize("sign", [b"", b"\x01"])
def test_damaged_counts_do_not_end_the_process(refused, capfd, sign):
    # The number of qubits, of the circuit and of a gate's definition.
    circuit = QuantumCircuit(2)
    circuit.append(QuantumCircuit(2, name="own").to_gate(), [0, 1])
    content = qpy_bytes(circuit)
    header = content.rindex(b"f\0\x08") if sign else content.index(b"f\0\x08")
    damaged = content[: header + 3] + b"\xff" * 4 + content[header + 7 :]
    assert " cannot be read as QPY " in refused(damaged, "circuit.qpy")
    assert capfd.readouterr() == ("", "")


def test_loops_that_measurements_end_are_named(refused):
    circuit = QuantumCircuit(1, 1)
    circuit.measure(0, 0)
    with circuit.while_loop((circuit.clbits[0], 1)):
        circuit.measure(0, 0)
    assert "'while_loop' on qubits (0,) goes on for as long" in refused(qpy_bytes(circuit), "l.qpy")


def dynamic_circuit() -> QuantumCircuit:
    """Measures, resets and controls; the last measurement is final."""
    circuit = QuantumCircuit(2, 2)
    circuit.ry(0.8, 0)
    circuit.measure(0, 0)
    circuit.reset(0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.rx(0.3, 1)
    circuit.h(0)
    circuit.measure(1, 1)
    return circuit


@pytest.mark.parametrize("suffix", ["2.qasm", "3.qasm", "qpy"])
def test_measurements_and_conditions_are_read_from_every_language(tmp_path, suffix):
    """In OpenQASM 2 a condition is of a whole register."""
    circuit = dynamic_circuit()
    path = tmp_path / f"dynamic.{suffix}"
    if suffix == "qpy":
        path.write_bytes(qpy_bytes(circuit))
    elif suffix == "3.qasm":
        path.write_text(qasm3.dumps(circuit))
    else:
        path.write_text(
            'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg a[1];\ncreg b[1];\nry(0.8) '
            "q[0];\nmeasure q[0] -> a[0];\nreset q[0];\nif (a == 1) rx(0.3) q[1];\nh q[0];\n"
            "measure q[1] -> b[0];\n"
        )
    told = []
    loaded = load_circuit(path, told.append)
    steps = read_circuit(loaded)[0].steps
    assert [(s.name, s.writes, s.reads) for s in steps] == [
        ("ry", None, ()),
        ("measure", 0, ()),
        ("reset", None, ()),
        ("rx", None, (0,)),
        ("h", None, ()),
    ]
    assert steps == read_circuit(circuit)[0].steps
    assert any("1 final measurement is left out" in line for line in told)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.qasm", "does not exist"),
        ("directory.qpy", "is a directory"),
        ("circuit.txt", "has suffix '.txt', expected .qasm (OpenQASM 2 or 3) or .qpy"),
        ("circuit", "has no suffix, expected .qasm"),
        ("nul\0.qasm", "cannot be read (embedded null byte)"),
        ("pipe.qasm", "is no regular file"),
    ],
)
def test_a_path_that_is_no_circuit_file_is_one_line(tmp_path, name, said):
    (tmp_path / "directory.qpy").mkdir()
    os.mkfifo(tmp_path / "pipe.qasm")
    with pytest.raises(CircuitFileError) as error:
        load_circuit(tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: {said}")


@pytest.mark.unprivileged
def test_a_file_without_rights_is_one_line(tmp_path):
    (tmp_path / "locked.qasm").touch(mode=0)
    with pytest.raises(CircuitFileError, match="cannot be read \\(Permission denied\\)"):
        load_circuit(tmp_path / "locked.qasm")


def test_openqasm_3_without_its_importer_says_what_to_install(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "qiskit_qasm3_import", None)
    assert "pip install qiskit-qasm3-import" in refused(QASM3)


@pytest.mark.parametrize("kind", ["qasm2", "qasm3", "qpy"])
def test_random_damage_is_never_more_than_one_line(tmp_path, kind):
    measured = small(measured=True)
    good = {
        "qasm2": qasm2.dumps(measured).encode(),
        "qasm3": qasm3.dumps(measured).encode(),
        "qpy": qpy_bytes(measured),
    }[kind]
    file = tmp_path / f"circuit.{'qpy' if kind == 'qpy' else 'qasm'}"
    rng = random.Random(7)
    outcomes = set()
    for _ in range(30):
        file.write_bytes(damaged(good, rng))
        try:
            load_circuit(file, tell=str)
            outcomes.add("read")
        except CircuitFileError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017
            outcomes.add("refused")
    assert "refused" in outcomes


def damaged(content, rng):
    """Return the content with some bytes replaced, removed, inserted or repeated."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        place = rng.randrange(len(content))
        length = rng.randint(0, 4)
        new = bytes(rng.choice([rng.randrange(256), rng.randrange(32, 127)]) for _ in range(length))
        content[place : place + rng.randint(0, 4)] = new
    return bytes(content)

"""`pilotcut plan`: a table or JSON on stdout, and one line for every mistake."""

import json

import pytest
from qiskit import QuantumCircuit, qpy
from qiskit_addon_cutting.instructions import CutWire
from support.circuits import deep_beside_wide

from pilotcut.options import WIRES

QASM = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[4];
h q[0];
cx q[0], q[1];
cx q[1], q[2];
rzz(0.3) q[0], q[3];
cx q[2], q[3];
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "circuit.qasm"
    path.write_text(QASM)
    return path


@pytest.fixture
def call(call):
    """Return a function that runs `pilotcut plan` here and returns code, stdout, stderr."""
    return lambda *arguments: call("plan", *arguments)


def test_json_tells_the_whole_plan_in_one_line(call, file):
    code, out, err = call(file, "--labels", "AABB", "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    plan = json.loads(out)
    fragment = {"width": 2, "sites": 2, "variants": 25, "subexperiments": 25}
    assert plan["fragments"] == [
        {"label": "A", "qubits": [0, 1], **fragment},
        {"label": "B", "qubits": [2, 3], **fragment},
    ]
    assert [(b["gates"], b["qubits"], b["fragments"]) for b in plan["bonds"]] == [
        (["rzz"], [[0, 3]], ["A", "B"]),
        (["cx"], [[1, 2]], ["A", "B"]),
    ]
    assert (plan["cuts"], plan["variants"], plan["subexperiments"]) == (2, 50, 50)
    product = plan["bonds"][0]["sampling_overhead"] * plan["bonds"][1]["sampling_overhead"]
    assert plan["sampling_overhead"] == pytest.approx(product)
    assert (plan["circuit"], plan["drawing"], plan["observables"]) == (str(file), None, ["ZZZZ"])


def test_tables_name_fragments_cuts_totals_and_the_drawing(call, file, tmp_path):
    drawing = tmp_path / ("[red]" + "long-name-" * 10 + ".png")  # is no markup
    code, out, err = call(file, "--labels", "AABB", "--draw", drawing)
    assert (code, err) == (0, "")
    for part in ("0–1", "2–3", "rzz", "0–3", "A–B", "25"):
        assert part in out
    assert (
        "2 cuts, 2 fragments, 50 variants, 50 subexperiments, sampling overhead γ² = 22.78" in out
    )
    assert f"drawing: {drawing}\n" in out
    assert drawing.read_bytes().startswith(b"\x89PNG")


def test_joint_cuts_stand_in_one_row(call, file):
    code, out, _ = call(file, "--labels", "AABB", "--joint-cuts")
    assert code == 0
    assert "rzz + cx" in out
    assert "0–3, 1–2" in out


@pytest.mark.parametrize(
    ("options", "cuts", "widths"),
    [
        ([], 0, [4]),
        (["--cuts", 2], 2, [2, 2]),
        (["--max-width", 1], 4, [1, 1, 1, 1]),
        (["--observable", "ZIIX", "--labels", "ABCD"], 4, [1, 1, 1, 1]),
    ],
)
def test_cuts_are_found_as_asked(call, file, options, cuts, widths):
    code, out, err = call(file, *options, "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["cuts"] == cuts
    assert [fragment["width"] for fragment in plan["fragments"]] == widths


def test_final_measurements_are_noted_on_stderr(call, file):
    file.write_text(QASM + "creg c[4];\nmeasure q -> c;\n")
    code, out, err = call(file, "--json")
    assert code == 0
    assert err.startswith("note: circuit.qasm: 4 final measurements are left out")
    assert json.loads(out)["qubits"] == 4


def test_plans_that_nobody_can_run_are_shown_all_the_same(call, file):
    file.write_text(QASM + "cx q[1], q[2];\ncx q[2], q[0];\n" * 170)
    code, out, err = call(file, "--labels", "AABB", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["cuts"] == 342
    assert plan["subexperiments"] is plan["fragments"][0]["subexperiments"] is None
    assert plan["sampling_overhead"] is None  # 9^342 is no number of JSON
    code, out, err = call(file, "--labels", "AABB")
    assert code == 0, err
    assert "342 cuts, 2 fragments, about 10^239 variants, too many subexperiments" in out
    assert "... and 292 more; all of them with --json" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--labels", "AAB"], "labels 'AAB' name 3 qubits, expected 4"),
        (["--labels", ""], "labels '' name 0 qubits, expected 4"),
        (["--observable", "ZZ"], "observable 'ZZ' acts on 2 qubits, expected 4"),
        (["--observable", "QQQQ"], "observable 'QQQQ' is not a Pauli string"),
        (["--observable", ""], "observable "),
        (["--cuts", 9], "cuts is 9, but to cut all gates of the circuit takes 4"),
        (["--cuts", -1], "cuts is -1, expected a whole number from 0"),
        (["--max-width", 0], "max_width is 0, expected a whole number from 1"),
        (["--labels", "AABB", "--cuts", 1], "cuts, labels, max_width and placement are given"),
        (["--draw", "a.gif"], "drawing: a.gif has suffix '.gif', expected one of"),
        (["--draw", "/no/such/a.png"], "drawing: /no/such/a.png has no directory to lie in"),
        (["--draw", "/proc/a.png"], "drawing: /proc/a.png cannot be written"),
        (["--cuts", "two"], "Invalid value for '--cuts'"),
        (["--bogus"], "No such option: --bogus"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(call, file, options, said):
    code, out, err = call(file, *options)
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert line.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("content", "place"),
    [(None, ": does not exist"), (b"\0\xff", ":1: is not a text"), (b"OPENQASM 2.0;\nx", ":2: ")],
)
def test_a_broken_file_is_one_line(call, tmp_path, content, place):
    file = tmp_path / "broken.qasm"
    if content is not None:
        file.write_bytes(content)
    code, out, err = call(file)
    (line,) = err.splitlines()
    assert (code, out) == (2, "")
    assert line.startswith(f"error: {file}{place}")


def test_explain_says_what_each_cut_is_and_what_else_was_looked_at(call, file):
    code, out, err = call(file, "--labels", "AABB", "--explain")
    assert (code, err) == (0, "")
    assert "bond 0, A–B: rzz on 0–3 (step 2)\n" in out
    assert "γ = 3, γ² = 9, 5 operations a side\n" in out
    assert "  joint cut: " in out
    assert "  wire cut: " in out
    assert "search at max_width=2: " in out
    assert "in exact mode: by joined " in out


def test_explain_says_that_exact_mode_computes_fragments_in_different_ways(call, tmp_path):
    circuit, labels = deep_beside_wide(40)
    file = tmp_path / "deep.qpy"
    with file.open("wb") as stream:
        qpy.dump(circuit, stream)
    code, out, _ = call(file, "--labels", labels, "--explain")
    assert code == 0
    assert "in exact mode: by statevector and network\n" in out


def test_explain_in_json_has_the_same_numbers(call, file):
    code, out, _ = call(file, "--labels", "AABB", "--explain", "--json")
    plan = json.loads(out)
    cuts = plan["explanation"]["cuts"]
    assert code == 0
    assert [cut["bond"] for cut in cuts] == [0, 1]
    assert cuts[1]["gates"] == [{"name": "cx", "qubits": [1, 2], "step": 3, "before": None}]
    assert [cut["overhead"] for cut in cuts] == [b["sampling_overhead"] for b in plan["bonds"]]
    assert cuts[1]["gamma"] == pytest.approx(3)
    assert cuts[1]["operations"] == [5, 5]
    assert plan["explanation"]["whole"]["form"] == "search at max_width=2"
    assert plan["explanation"]["exact"].startswith("by joined ")


def test_wires_are_cut_as_asked(call, tmp_path):
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.append(CutWire(), [1])
    circuit.cx(1, 2)
    path = tmp_path / "cut.qpy"
    with path.open("wb") as file:
        qpy.dump(circuit, file)
    found = [json.loads(call(str(path), "--json", "--wires", w)[1]) for w in WIRES]
    assert [one["sampling_overhead"] for one in found] == [9.0, 9.0, 25.0, 16.0]
    ways = [one["bonds"][0]["wires"] for one in found]
    assert ways == ["communication", *WIRES[1:]]
    code, _, error = call(str(path), "--wires", "jointly")
    assert code
    assert "wires is 'jointly', expected" in error


def test_wires_that_no_order_suits_are_told_where_communication_is_asked_for(call, tmp_path):
    """Qubit 1 leaves its fragment for itself."""
    circuit = QuantumCircuit(2)
    circuit.cx(0, 1)
    circuit.append(CutWire(), [1])
    circuit.cx(0, 1)
    path = tmp_path / "cut.qpy"
    with path.open("wb") as file:
        qpy.dump(circuit, file)
    code, _, error = call(str(path), "--wires", "communication")
    assert code
    assert "expected fragments in an order in which senders come first" in error
    code, shown, _ = call(str(path), "--explain")
    assert not code
    assert "communication: does not apply: it ends and begins in A" in shown
    assert "γ² = 16" in shown

"""Drawings of plans: where things stand, and that every cut and fragment can be seen."""

import os
import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire, Move

from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.cutting.plan import compile_plan
from pilotcut.errors import DrawingError
from pilotcut.report import plan_layout
from pilotcut.report.plan_drawing import draw_plan, figure_of, style_of, symbols_of
from pilotcut.report.plan_layout import segments
from pilotcut.report.words import ranges_of


def chain(qubits, layers=1):
    circuit = QuantumCircuit(qubits)
    for layer in range(layers):
        for qubit in range(qubits):
            circuit.ry(Parameter(f"t{layer}_{qubit}"), qubit)
        for qubit in range(qubits - 1):
            circuit.cx(qubit, qubit + 1)
    return circuit


def wire_cut(*, end=False):
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.append(CutWire(), [1])
    if not end:
        circuit.cx(1, 2)
    return circuit


def lines_of(plan):
    """Return each qubit's line as (start, end, label of the fragment)."""
    labels = [fragment.label for fragment in plan.fragments]
    return [[(s.start, s.end, labels[s.fragment]) for s in line] for line in segments(plan).lines]


def marks(figure, prefix):
    artists = figure.axes[0].get_children()
    return [artist for artist in artists if (artist.get_gid() or "").startswith(prefix)]


def styles(figure):
    chips = marks(figure, "fragment-")
    return {(chip.get_edgecolor(), chip.get_hatch() or "") for chip in chips}


# -- what stands where -----------------------------------------------------------------


def test_lines_of_a_gate_cut_keep_their_fragment():
    assert lines_of(compile_plan(chain(3), labels="AAB")) == [
        [(0, 3, "A")],
        [(0, 3, "A")],
        [(0, 3, "B")],
    ]


def test_a_line_changes_fragment_in_the_middle_of_its_cut():
    lines = lines_of(compile_plan(wire_cut()))
    assert lines == [[(0, 3, "A")], [(0, 1.5, "A"), (1.5, 3, "B")], [(0, 3, "B")]]


def test_a_cut_at_the_end_of_a_line_is_there_too():
    lines = lines_of(compile_plan(wire_cut(end=True)))
    assert lines[1] == [(0, 1.5, "A"), (1.5, 2, "C")]  # B is the idle qubit


def test_a_cut_move_leaves_one_line_and_enters_another():
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.append(Move(), [0, 1])
    circuit.cx(1, 2)
    plan = compile_plan(circuit, labels="ABB")
    assert lines_of(plan) == [[(0, 3, "A")], [(0, 3, "B")], [(0, 3, "B")]]
    (cut,) = (step for step in plan.layout if step.bond is not None)
    assert (cut.name, cut.qubits) == ("move", (0, 1))


def test_resets_and_moves_within_a_fragment_are_steps_without_a_cut():
    circuit = QuantumCircuit(3)
    circuit.h(0)
    circuit.append(Move(), [0, 1])
    circuit.reset(0)
    circuit.cx(0, 1)
    layout = compile_plan(circuit).layout
    assert [(step.name, step.bond) for step in layout] == [
        ("h", None),
        ("move", None),
        ("reset", None),
        ("cx", None),
    ]


def test_lines_of_a_placement_change_label_at_its_wire_cuts():
    cuts = (WireCut(1, 1, "B"), WireCut(1, 2, "A"), WireCut(1, 3, "B"))
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.cx(0, 1)
    plan = compile_plan(circuit, placement=Placement(("A", "A", "B"), cuts))
    assert plan.num_cuts == 3
    assert lines_of(plan)[1] == [(0, 1.5, "A"), (1.5, 3.5, "B"), (3.5, 5.5, "A"), (5.5, 6, "B")]
    assert len(marks(figure_of(plan), "cut-")) == 3


def test_gates_that_pass_over_a_qubit_have_their_column_to_themselves():
    circuit = QuantumCircuit(3)
    circuit.cx(0, 2)
    circuit.h(1)
    assert segments(compile_plan(circuit)).columns == (0, 1)


def test_joint_cuts_are_marked_gate_by_gate_under_one_bond():
    circuit = QuantumCircuit(4)
    circuit.cx(0, 2)
    circuit.cx(3, 1)
    plan = compile_plan(circuit, labels="AABB", joint_cuts=True)
    assert (plan.num_cuts, len(plan.bonds)) == (2, 1)
    assert [(step.name, step.qubits, step.bond) for step in plan.layout] == [
        ("cx", (0, 2), 0),
        ("cx", (3, 1), 0),
    ]


@st.composite
def plans(draw):
    qubits = draw(st.integers(2, 5))
    circuit = QuantumCircuit(qubits)
    for _ in range(draw(st.integers(0, 12))):
        first, second = draw(st.permutations(range(qubits)))[:2]
        kind = draw(st.sampled_from(["h", "cx", "rzz", "reset"]))
        {
            "h": lambda a, b: circuit.h(a),
            "cx": circuit.cx,
            "rzz": lambda a, b: circuit.rzz(0.3, a, b),
            "reset": lambda a, b: circuit.reset(a),
        }[kind](first, second)
    labels = draw(st.lists(st.sampled_from("ABC"), min_size=qubits, max_size=qubits))
    return compile_plan(circuit, labels=labels, joint_cuts=draw(st.booleans()))


@settings(max_examples=40, deadline=None)
@given(plans())
def test_every_step_stands_once_in_its_qubits_order_and_colours(plan):
    laid = segments(plan)
    assert sorted((s.name, s.qubits) for s in laid.steps) == sorted(
        (s.name, s.qubits) for s in plan.program.steps
    )
    # A run of gates may be one cut, and one that comes to local gates is none.
    assert {step.bond for step in laid.steps} - {None} == {bond.index for bond in plan.bonds}
    taken = set()
    for step, column in zip(laid.steps, laid.columns, strict=True):
        cells = {(column, q) for q in range(min(step.qubits), max(step.qubits) + 1)}
        assert not cells & taken
        taken |= cells
        assert step.bond is None or len(set(step.fragments)) > 1
        for qubit, fragment in zip(step.qubits, step.fragments, strict=True):
            assert plan.fragments[fragment].label == plan.labels[qubit]
    for qubit, line in enumerate(laid.lines):
        names = [s.name for s in plan.program.steps if qubit in s.qubits]
        assert [s.name for s in laid.steps if qubit in s.qubits] == names
        assert (line[0].start, line[-1].end) == (0, laid.width)
        assert all(a.end == b.start for a, b in pairwise(line))


# -- what can be seen ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "cuts", "fragments"),
    [
        (lambda: compile_plan(chain(2)), 0, 1),
        (lambda: compile_plan(chain(4, layers=2), labels="AABB"), 2, 2),
        (lambda: compile_plan(wire_cut()), 1, 2),
        (lambda: compile_plan(chain(9), labels="ABCDEFGHI"), 8, 9),  # more than colours
        (lambda: compile_plan(QuantumCircuit(2)), 0, 1),
    ],
    ids=["uncut", "gates", "wire", "many", "empty"],
)
def test_as_many_marks_as_cuts_and_styles_as_fragments(plan, cuts, fragments):
    plan = plan()
    figure = figure_of(plan)
    assert (plan.num_cuts, len(plan.fragments)) == (cuts, fragments)
    assert sorted(mark.get_gid() for mark in marks(figure, "cut-")) == [
        f"cut-{k}" for k in range(cuts)
    ]
    assert len(styles(figure)) == len(marks(figure, "fragment-")) == fragments
    texts = [text.get_text() for text in figure.axes[0].texts]
    title = f"{plan.num_qubits} qubits, {cuts} cut{'' if cuts == 1 else 's'}, {fragments} fragment"
    assert any(text.startswith(title) for text in texts)
    for label in {fragment.label for fragment in plan.fragments}:
        assert label in texts


def test_styles_of_49_fragments_differ():
    assert len({style_of(k) for k in range(49)}) == 49


def test_the_cuts_of_a_circuit_too_deep_to_draw_are_drawn(monkeypatch):
    monkeypatch.setattr(plan_layout, "_MOST_COLUMNS", 20)
    circuit = chain(2, layers=30)
    circuit.append(CutWire(), [1])
    figure = figure_of(compile_plan(circuit))
    assert len(marks(figure, "cut-")) == 1
    assert "41 more\ncolumns" in [text.get_text() for text in figure.axes[0].texts]


def test_cuts_that_have_no_room_are_told_in_the_title(monkeypatch):
    monkeypatch.setattr(plan_layout, "_MOST_COLUMNS", 20)
    figure = figure_of(compile_plan(chain(2, layers=30), labels="AB"))
    assert len(marks(figure, "cut-")) == 20
    assert any("(10 cuts left out)" in text.get_text() for text in figure.axes[0].texts)


def test_deep_circuits_are_folded_into_bands_that_fit_a_page():
    figure = figure_of(compile_plan(chain(2, layers=60), labels="AB"))
    width, height = figure.get_size_inches()
    assert len(marks(figure, "cut-")) == 60
    assert 0.5 < width / height < 3
    assert [text.get_text() for text in figure.axes[0].texts].count("q0") > 1


def test_gates_have_their_usual_signs():
    assert symbols_of("cx") == ("•", "⊕")
    assert symbols_of("crz") == ("•", "RZ")
    assert symbols_of("sdg")[0] == "S†"
    assert symbols_of("rzz") == ("RZZ", "RZZ")


def test_ranges_are_short():
    assert ranges_of([3]) == "3"
    assert ranges_of([0, 1, 2, 9]) == "0–2, 9"
    assert ranges_of(range(0, 100, 2)) == "0, 2, 4, 6, 8, 10, 12, 14, … (50)"


# -- files -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "begins"),
    [("a.png", b"\x89PNG\r\n"), ("a.PDF", b"%PDF-"), ("a.svg", b"<?xml")],
)
def test_files_are_what_their_suffix_says(tmp_path, name, begins):
    # A label may look like TeX, and be a letter that the font lacks.
    plan = compile_plan(chain(3), labels=["$x_", "$x_", "\u4e2d"])
    path = draw_plan(plan, tmp_path / name)
    content = path.read_bytes()
    assert content.startswith(begins)
    assert len(content) > 5000
    if name.endswith("png"):
        width, height = struct.unpack(">II", content[16:24])
        assert 500 < width < 2000
        assert 300 < height < 2000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.gif", "has suffix '.gif', expected one of .png, .pdf, .svg"),
        ("a", "has no suffix, expected one of"),
        ("there.png", "is a directory"),
        ("nowhere/a.png", "has no directory to lie in"),
        ("a" * 300 + ".png", "cannot be written (File name too long)"),
    ],
)
def test_a_path_that_cannot_be_drawn_to_is_one_line(tmp_path, name, said):
    (tmp_path / "there.png").mkdir()
    with pytest.raises(DrawingError) as error:
        draw_plan(compile_plan(chain(2)), tmp_path / name)
    assert str(error.value).startswith(f"drawing: {tmp_path / name} {said}")
    assert os.listdir(tmp_path) == ["there.png"]


def test_a_place_that_refuses_files_is_one_line():
    with pytest.raises(DrawingError, match=r"/proc/a.png cannot be written \("):
        draw_plan(compile_plan(chain(2)), "/proc/a.png")

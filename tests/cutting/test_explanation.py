"""Explanation: what each cut is, what it costs, and that what is said to be cheaper is so."""

from dataclasses import asdict

import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import compile_plan
from pilotcut.cutting.explanation import explain
from pilotcut.cutting.placement import Placement, WireCut
from pilotcut.errors import UserError


def of(cut, form):
    """Return the alternative of that form."""
    return next(one for one in cut.alternatives if one.form == form)


def ladder():
    """Return two parallel CX between the halves, then a free rotation and a swap."""
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.cx(0, 2)
    circuit.cx(1, 3)
    circuit.cx(0, 1)
    circuit.swap(1, 2)
    circuit.rzz(Parameter("x"), 0, 3)
    return circuit


def test_each_cut_has_its_gate_form_price_and_operations():
    explained = explain(compile_plan(ladder(), labels="AABB"))
    rows = [(str(*cut.gates), round(cut.overhead), cut.operations) for cut in explained.cuts]
    assert rows == [
        ("cx on 0–2 (step 4)", 9, (5, 5)),
        ("cx on 1–3 (step 5)", 9, (5, 5)),
        ("rzz on 0–3 (step 7)", 9, (5, 5)),
        ("swap on 1–2 (step 8)", 49, (22, 22)),
    ]
    assert [cut.form.split()[0] for cut in explained.cuts] == ["gate", "gate", "gate", "general"]
    assert "free angle" in explained.cuts[2].form


def test_a_joint_cut_that_would_be_cheaper_is_named_with_its_price():
    one_by_one = compile_plan(ladder(), labels="AABB")
    jointly = compile_plan(ladder(), labels="AABB", joint_cuts=True)
    first, _, last, swap = explain(one_by_one).cuts
    found = of(first, "joint cut")
    assert "cx on 1–3 (step 5): γ² = 49, not 81" in found.finding
    assert found.overhead == pytest.approx(jointly.sampling_overhead)
    assert of(swap, "joint cut").overhead is None
    assert "one rotation" in of(swap, "joint cut").finding
    assert "no gate between the two is parallel" in of(last, "joint cut").finding
    assert explain(jointly).cuts[0].form == "joint cut of 2 parallel gates"
    assert [g.step for g in explain(jointly).cuts[0].gates] == [4, 5]


def test_a_wire_cut_that_would_be_cheaper_has_the_price_of_that_plan():
    circuit = QuantumCircuit(4)
    circuit.cx(2, 3)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    circuit.cx(1, 3)
    plan = compile_plan(circuit, labels="AABB")
    first, second = explain(plan, max_width=3).cuts
    found = of(first, "wire cut")
    assert "qubit 1 changes over for steps 2 to 3: γ² = 9, not 81" in found.finding
    moved = Placement(tuple("AABB"), (WireCut(1, 1, "B"),))
    assert found.overhead == pytest.approx(compile_plan(circuit, placement=moved).sampling_overhead)
    assert of(second, "wire cut") == found
    narrow = of(explain(plan).cuts[0], "wire cut")
    assert narrow.overhead is None
    assert narrow.finding.startswith("too wide")


def test_a_single_gate_is_cheaper_than_a_wire_and_that_is_said():
    circuit = QuantumCircuit(4)
    for a, b in ((0, 1), (2, 3), (1, 2), (0, 1), (2, 3)):
        circuit.cx(a, b)
    (cut,) = explain(compile_plan(circuit, labels="AABB")).cuts
    assert of(cut, "wire cut").finding.startswith("not cheaper")
    assert "no other gate is cut" in of(cut, "joint cut").finding
    pair = QuantumCircuit(2)
    pair.cx(0, 1)
    (cut,) = explain(compile_plan(pair, labels="AB")).cuts
    assert "no gate on their own side" in of(cut, "wire cut").finding
    (cut,) = explain(compile_plan(pair, labels="AB"), max_width=2).cuts
    assert "changes over for ever" in of(cut, "wire cut").finding
    assert of(cut, "wire cut").overhead == pytest.approx(1)


def test_a_cheaper_plan_of_the_search_is_told_and_its_price_is_that_of_a_plan():
    circuit = QuantumCircuit(4)
    for a, b in ((0, 2), (0, 2), (1, 3)):
        circuit.cx(a, b)
        circuit.ry(0.3, range(4))
    whole = explain(compile_plan(circuit, labels="AABB")).whole
    assert whole.overhead == pytest.approx(1.0)  # 0 and 2 in one fragment, 1 and 3 in the other
    best = explain(compile_plan(circuit, labels="ABAB")).whole
    assert best.overhead is None
    assert "nothing cheaper" in best.finding


def test_markers_are_explained_and_the_search_says_why_it_does_not_apply():
    circuit = QuantumCircuit(2)
    circuit.h(0)
    circuit.append(CutWire(), [0])
    circuit.cx(0, 1)
    explained = explain(compile_plan(circuit))
    (cut,) = explained.cuts
    what = (str(*cut.gates), cut.form, round(cut.gamma))
    assert what == ("cut_wire on 0 (step 1)", "wire with communication", 3)
    assert cut.operations == (6, 6)
    assert explained.whole.finding.startswith("does not apply")


def test_wire_cuts_of_a_placement_stand_between_steps():
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    placement = Placement(("A", "A", "B"), (WireCut(1, 1, "B"),))
    (cut,) = explain(compile_plan(circuit, placement=placement)).cuts
    expected = {"name": "cut_wire", "qubits": (1, 1), "step": None, "before": 1}
    assert asdict(cut.gates[0]) == expected
    assert str(cut.gates[0]) == "cut_wire on 1 (before step 1)"


def test_a_plan_without_cuts_has_nothing_to_explain():
    explained = explain(compile_plan(QuantumCircuit(2)))
    assert explained.cuts == ()


def test_a_multi_controlled_gate_is_one_cut_with_the_prices_of_its_other_forms():
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.mcx([0, 1, 2], 3)
    circuit.cx(1, 2)
    plan = compile_plan(circuit, labels="AABB")
    gate, cx = explain(plan).cuts
    assert str(*gate.gates) == "mcx on 0–1–2–3 (step 4)"
    assert gate.form.startswith("multi-controlled gate as an RZZ between wires that hold")
    assert gate.overhead == pytest.approx(9)
    other = of(gate, "forms of the gate")
    assert other.finding.startswith("γ² = 9 with 2 ancillas, ")
    assert other.finding.endswith("γ² = 4.305e+07 by its definition")
    assert str(*cx.gates) == "cx on 1–2 (step 5)"


def test_wires_that_would_be_cheaper_together_are_named_with_that_price():
    circuit = QuantumCircuit(4)
    for a, b in ((0, 1), (1, 2), (0, 3), (2, 3), (0, 2)):
        circuit.cx(a, b)
    placement = Placement(tuple("AABB"), (WireCut(1, 1, "B"), WireCut(0, 1, "B")))
    apart = compile_plan(circuit, placement=placement, wires="separate")
    together = compile_plan(circuit, placement=placement)
    for cut in explain(apart).cuts:
        found = of(cut, "wires together")
        assert "γ² = 49, not 256" in found.finding
        assert found.overhead == pytest.approx(together.sampling_overhead)
    (both,) = explain(together).cuts
    assert both.form == "2 parallel wires together with communication"
    assert [gate.qubits for gate in both.gates] == [(0, 0), (1, 1)]
    assert both.alternatives == ()


def test_a_single_wire_is_cheaper_with_communication():
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.cx(1, 2)
    placement = Placement(("A", "A", "B"), (WireCut(1, 1, "B"),))
    (cut,) = explain(compile_plan(circuit, placement=placement, wires="separate")).cuts
    assert cut.form == "wire by Paulis"
    assert "wires='auto' cuts it: γ² = 9, not 16" in of(cut, "wires together").finding
    (cut,) = explain(compile_plan(circuit, placement=placement, wires="randomised")).cuts
    assert cut.form == "wire in randomised bases"
    assert "wires='auto' cuts it: γ² = 9, not 25" in of(cut, "wires together").finding
    for wires in ("auto", "communication"):
        (cut,) = explain(compile_plan(circuit, placement=placement, wires=wires)).cuts
        assert cut.form == "wire with communication"
        assert "no wire between the two" in of(cut, "wires together").finding


def test_a_wire_that_no_order_suits_says_who_waits_for_whom():
    circuit = QuantumCircuit(3)
    for pair in [(0, 1), (1, 2), (0, 1)]:
        circuit.cx(*pair)
    placement = Placement(("A", "A", "B"), (WireCut(1, 1, "B"), WireCut(1, 2, "A")))
    there, back = explain(compile_plan(circuit, placement=placement)).cuts
    forms = [there.form, back.form]
    assert sorted(forms) == ["wire by Paulis", "wire with communication"]
    one = there if there.form == "wire by Paulis" else back
    a, b = one.fragments
    why = f"does not apply: {a} waits for wires that come from {b}, so {b} cannot wait for it"
    assert of(one, "communication").finding == why


def test_what_stands_between_two_cuts_that_would_be_one_run_is_named():
    circuit = QuantumCircuit(3)
    circuit.cx(0, 1)
    circuit.ry(0.3, 1)
    circuit.cx(1, 2)
    circuit.ry(0.4, 1)
    circuit.cx(0, 1)
    apart = explain(compile_plan(circuit, labels="ABB")).cuts
    found = [of(cut, "one run") for cut in apart]
    assert "cx on 1–2 (step 2) stands between it and cx on 0–1 (step 4)" in found[0].finding
    assert "cx on 1–2 (step 2) stands between it and cx on 0–1 (step 0)" in found[1].finding
    del circuit.data[2]
    (run,) = explain(compile_plan(circuit, labels="AB" + "B")).cuts
    assert f"one run would be γ² = {run.overhead:.4g}, not 81" in found[0].finding
    assert all(one.form != "one run" for one in run.alternatives)


def test_a_run_with_a_free_angle_is_priced_at_the_worst_one():
    circuit = QuantumCircuit(3)
    circuit.swap(0, 1)
    circuit.swap(1, 2)
    circuit.rzz(Parameter("x"), 0, 1)
    swap, rzz = explain(compile_plan(circuit, labels="ABB")).cuts
    assert [cut.overhead for cut in (swap, rzz)] == pytest.approx([49, 9])
    assert "one run would be γ² = 74.94, not 441" in of(swap, "one run").finding


def test_a_form_for_which_a_fragment_has_no_room_is_told_with_the_width_it_takes():
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.mcx([0, 1, 2], 3)
    narrow = Placement(tuple("AABB"), max_width=2)
    cut, *_ = explain(compile_plan(circuit, placement=narrow)).cuts
    said = of(cut, "forms of the gate").finding
    assert "the first is too wide: with 1 further qubit in A and 1 further qubit in B" in said
    assert "A has 3 and B has 3 qubits, expected at most 2" in said
    cut, *_ = explain(compile_plan(circuit, labels="AABB")).cuts
    assert "too wide" not in of(cut, "forms of the gate").finding


@pytest.mark.parametrize(
    ("plan", "width", "line"),
    [
        ("AABB", None, "plan is 'AABB' .str., expected a plan; pilotcut.compile_plan makes one"),
        (compile_plan(QuantumCircuit(1)), 0, "max_width is 0, expected a whole number from 1 up"),
    ],
)
def test_what_cannot_be_explained_is_one_line(plan, width, line):
    with pytest.raises(UserError, match=line):
        explain(plan, width)

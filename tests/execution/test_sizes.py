"""Numbers beyond floats: what has too many cuts says so in a line, and names a way that helps."""

import json
import re
import warnings
from math import inf, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire
from support.calibrations import install

from pilotcut import CutEstimator, Distribution, compile_plan, cut_qnn, recommend
from pilotcut.backends.aer import AerBackend
from pilotcut.cli.plan import summary_of
from pilotcut.cutting.plan import MOST_LETTERS, check_overhead, check_size
from pilotcut.errors import CutError, UserError
from pilotcut.io.jsonl import JsonLines, read_jsonl
from pilotcut.io.large_numbers import digits, in_json, short_number, whole
from pilotcut.report.recommendation_plot import draw_recommendation


def knotted(gates: int, qubits: int = 3) -> QuantumCircuit:
    """Qubits that many gates join in turn, no two in a row the same ones."""
    circuit = QuantumCircuit(qubits)
    for k in range(gates):
        # Of three qubits the first meets the others in turn, of more each its neighbours.
        pair = (0, 1 + k % 2) if qubits == 3 else (k % (qubits - 1), k % (qubits - 1) + 1)
        circuit.cx(*pair)
        circuit.ry(0.1 + k, pair[0])  # else many of them would commute, and be cut as one
    return circuit


@pytest.fixture(scope="module")
def many():
    """450 cuts of one qubit from two: 5^450 variants a fragment, gamma^2 = 9^450."""
    return compile_plan(knotted(450), "ZZZ", labels="ABB")


def fault(call) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError) as error:
            call()
    (line,) = error.value.faults
    assert "\n" not in line
    assert len(line) < 400
    return line


@given(st.integers(0, 10**7), st.integers(0, 5000))
def test_numbers_of_any_size_are_told(first, power):
    number = first * 10**power
    for text in (digits(number), whole(number), short_number(number)):
        assert len(text) < 20
    assert float(digits(first)) == pytest.approx(first, rel=0.006)
    if first:
        told = re.fullmatch(r"(\d(?:\.\d+)?)e\+(\d+)", digits(number * 10**400))
        mantissa, exponent = float(told[1]), int(told[2])
        assert mantissa * 10 ** (exponent - 400 - power) == pytest.approx(first, rel=0.006)
    assert in_json(number) == (number if number < 2**1024 else None)


def test_a_plan_of_450_cuts_counts_itself(many):
    assert many.num_cuts == 450
    assert many.num_variants == 2 * 5**450
    assert many.num_subexperiments == 2 * 5**450  # Z is observed on both
    assert many.sampling_overhead == inf
    assert "450 cuts" in repr(many)
    assert "6.88e+314 variants" in repr(many)
    assert "variants" in repr(many.fragments[0])
    summary = json.loads(json.dumps(summary_of(many), allow_nan=False))
    assert summary["cuts"] == 450
    assert summary["variants"] is summary["sampling_overhead"] is None


def test_subexperiments_are_counted_as_they_are_listed():
    """In closed form as from the templates, which list every variant."""
    circuit = knotted(5, 3)
    circuit.append(CutWire(), [1])
    circuit.cx(1, 2)
    for plan in (
        compile_plan(circuit, ["ZII", "IIX"]),
        compile_plan(knotted(4, 3), ["ZII", "IIX", "IYZ"], labels="ABC"),
        compile_plan(knotted(4, 3), "IIZ", labels="ABB", joint_cuts=True),
    ):
        for fragment in plan.fragments:
            listed = sum(len(template.variants) for template in fragment.templates)
            assert fragment.num_subexperiments == listed
            assert fragment.num_variants == prod(fragment.site_shape)


@pytest.mark.parametrize(
    ("gates", "mode"), [(40, "counts"), (40, "sampled"), (40, "exact"), (450, "counts")]
)
def test_what_has_too_many_cuts_names_a_width_that_helps(gates, mode):
    """An estimator, a network, a distribution: the width of the message is one that runs."""
    circuit = knotted(gates)

    def network(**how):
        return cut_qnn(circuit, "ZZZ", input_params=[], weight_params=[], mode=mode, **how)

    def law(**how):
        return Distribution(compile_plan(circuit, **how), mode=mode, seed=1).probabilities()

    def values(**how):
        return CutEstimator(mode=mode, seed=1, **how).run([(circuit, "ZZZ")]).result()

    for ask in (values, network, law) if gates == 40 else (values,):
        line = fault(lambda ask=ask: ask(labels="ABB"))
        if "is predicted to take years" in line:  # said by those who ask first how long it takes
            continue
        assert "too many" in line or re.search(r"need \d\.\d+e\+\d+ (variants|branch pairs)", line)
        width = int(re.search(r"max_width=(\d+)", line)[1])
        assert width > 1
        ask(max_width=width)


def test_a_width_is_tried_before_it_is_named():
    """A ladder of 12 qubits, cut along its middle into two of 6."""
    ladder = QuantumCircuit(12)
    for _ in range(2):
        for q in range(11):
            ladder.cx(q, q + 1)
    line = fault(lambda: CutEstimator(labels="AB" * 6, mode="exact").run([(ladder, "Z" * 12)]))
    assert "max_width=6" in line
    check_size(compile_plan(ladder, "Z" * 12, max_width=6), coherent=True)


def test_a_circuit_with_markers_is_told_of_them():
    """Its cuts are those markers: no width would be taken."""
    circuit = QuantumCircuit(2)
    for _ in range(12):  # the other wire holds all pieces together
        circuit.cx(0, 1)
        circuit.append(CutWire(), [0])
    line = fault(lambda: CutEstimator(mode="counts").run([(circuit, "ZZ")]))
    assert "leave out some of the circuit's CutWire markers" in line
    assert "max_width" not in line


def test_terms_are_not_drawn_where_errors_are_beyond_floats(many):
    """At 9^450 the first square of an error is infinite; at 9^40 it is large, and said."""
    line = fault(lambda: check_overhead(many))
    assert "have a sampling overhead of inf, expected at most 1e+150" in line
    assert "num_samples" not in fault(lambda: check_size(many, coherent=True)) + line
    estimator = CutEstimator(labels="ABB", num_samples=100)
    assert "expected at most 1e+150" in fault(lambda: estimator.run([(knotted(160), "ZZZ")]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        estimator = CutEstimator(labels="ABB", num_samples=20, shots=4, seed=1)
        data = estimator.run([(knotted(40), "ZZZ")]).result()[0].data
    assert np.isfinite(data.evs)
    assert 1e15 < data.stds < 1e20


def test_ancillas_beyond_the_simulator_are_refused_with_a_width_that_helps():
    """Cuts that are measured each take an ancilla: of 40, Aer has too few."""
    circuit = knotted(40)
    fragment = compile_plan(circuit, "ZZZ", labels="ABB").fragments[0]
    measured = [[op.measured > 0 for op in s.operations].index(True) for s in fragment.sites]
    (template,) = fragment.listing(np.array([measured])).templates
    line = fault(lambda: AerBackend()._compile(fragment, template))
    assert "its cuts take 40 of them" in line
    width = int(re.search(r"max_width=(\d+)", line)[1])
    CutEstimator(max_width=width, shots=4).run([(circuit, "ZZZ")]).result()


def test_numbers_beyond_floats_leave_a_trace_of_json(many, tmp_path):
    """A plan that is compiled, and then refused or not, is in the record as JSON reads it."""
    with JsonLines(tmp_path / "trace.jsonl") as trace:
        estimator = CutEstimator(labels="ABB", num_samples=20, trace=trace)
        estimator.stages.compiled(many, 0.1)
    (record,) = read_jsonl(tmp_path / "trace.jsonl")
    assert record["sampling_overhead"] is record["variants"] is None
    assert "Infinity" not in (tmp_path / "trace.jsonl").read_text()


def test_plans_of_many_qubits_are_one_line_of_200_letters(many):
    """Whatever labels are called, and however many fragments there are."""
    wide = compile_plan(knotted(400, 300), labels=[f"part {q}\n" for q in range(300)])
    for plan in (many, wide, compile_plan(knotted(90, 80), max_width=4)):
        assert len(repr(plan)) <= MOST_LETTERS
        assert len(repr(plan).splitlines()) == 1
        assert f"{plan.num_cuts} cuts" in repr(plan)
    named = CutEstimator(labels=["part 1\n", *["part 2\n" * 50] * 2])
    assert "40 cuts (labels part 1?part" in fault(lambda: named.run([(knotted(40), "ZZZ")]))
    assert "labels 'part" in fault(lambda: compile_plan(knotted(3), labels=["part\n"] * 300))


def test_precisions_that_no_shots_reach_are_one_line():
    estimator = CutEstimator(mode="sampled", labels="ABB")
    for precision in (1e-6, 1e-200, 5e-324):
        line = fault(estimator.run([(knotted(2), "ZZZ")], precision=precision).result)
        assert "shots a subexperiment with 2 cuts, expected at most" in line


def test_recommendations_of_450_cuts_name_a_width_that_helps(tmp_path, monkeypatch):
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path))
    install()
    circuit = knotted(450)
    line = fault(lambda: recommend(circuit, max_width=1, max_cuts=450))
    assert "has 3.44e+314 variants" in line
    width = int(re.search(r"--max-width (\d+)", line)[1])
    found = recommend(circuit, max_width=width, max_cuts=450)
    assert found.chosen.cuts == 0
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    variants = [c["variants"] for c in told["candidates"]]
    assert (variants[0], variants[-1]) == (1, None)  # None: beyond floats
    draw_recommendation(found, tmp_path / "plot.svg")
    with pytest.raises(CutError, match="target_error is 1e-300, which takes 1e\\+15 shots"):
        recommend(knotted(3), target_error=1e-300)

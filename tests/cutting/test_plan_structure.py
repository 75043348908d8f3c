"""Observables, variants, templates and fingerprints of a plan."""

import string
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.circuit import (
    Parameter,
    QuantumCircuit,
)
from qiskit.quantum_info import (
    Pauli,
    PauliList,
    SparsePauliOp,
)
from support.circuits import entangled, small_circuit
from support.exact import exact_tensors
from support.fresh_process import in_fresh_process

from pilotcut import compile_plan
from pilotcut.cutting.plan import CutPlan

# -- observables -----------------------------------------------------------------------


def test_sub_observables_are_little_endian():
    """The last letter of a term is qubit 0's, and the last of a sub-observable is wire 0's."""
    circuit = entangled([(0, 1), (1, 2), (2, 3)], 4)
    plan = compile_plan(circuit, ["XYZI", "IIIX"], labels="BAAB")
    subs = {
        fragment.label: [
            fragment.observables[int(k)].to_label() for k in plan.term_index[:, fragment.index]
        ]
        for fragment in plan.fragments
    }
    assert subs == {"B": ["XI", "IX"], "A": ["YZ", "II"]}


def test_terms_are_distinct_and_without_phases():
    """Signs and coefficients are the user's affair; the plan yields bare Pauli strings."""
    circuit = QuantumCircuit(2)
    sums = [SparsePauliOp(["ZZ", "XI"], [0.5, -2.0]), "ZZ", Pauli("-XI"), Pauli("-YY")]
    assert compile_plan(circuit, sums).terms.to_labels() == ["ZZ", "XI", "YY"]
    assert compile_plan(circuit, PauliList(["-ZZ", "ZI"])).terms.to_labels() == ["ZZ", "ZI"]
    assert compile_plan(circuit, "XY").terms.to_labels() == ["XY"]


@given(st.lists(st.text("IXYZ", min_size=4, max_size=4), min_size=1, max_size=12))
@settings(max_examples=25, deadline=None)
def test_groups_of_sub_observables_partition_them_and_commute_qubit_wise(labels):
    """Each sub-observable is in one group; terms are rebuilt from sub-observables."""
    plan = compile_plan(QuantumCircuit(4), labels, labels="ABBA")
    for fragment in plan.fragments:
        members = sorted(k for group in fragment.groups for k in group)
        assert members == list(range(len(fragment.observables)))
        texts = fragment.observables.to_labels()
        assert len(set(texts)) == len(texts)
        for group in fragment.groups:
            for column in zip(*(texts[k] for k in group), strict=True):
                assert len(set(column) - {"I"}) <= 1
    for number, term in enumerate(plan.terms.to_labels()):
        letters = {}
        for fragment in plan.fragments:
            sub = fragment.observables[int(plan.term_index[number, fragment.index])].to_label()
            letters.update(zip(fragment.qubits, sub[::-1], strict=True))
        assert term == "".join(letters[q] for q in reversed(range(4)))


# -- variants and templates ------------------------------------------------------------


@pytest.mark.parametrize("sites", [0, 1, 2, 3])
def test_phase_variants_share_a_template_and_signed_measurements_have_another(sites):
    """k sites of CX: 5^k variants in 2^k templates of 4^(unmeasured) variants."""
    circuit = entangled([(0, k + 1) for k in range(sites)], sites + 1)
    labels = "A" + string.ascii_uppercase[1 : sites + 1]
    plan = compile_plan(circuit, "Z" * (sites + 1), labels=labels)
    hub = plan.fragments[0]
    assert hub.num_variants == 5**sites
    assert len(hub.templates) == 2**sites
    sizes = sorted(len(template.variants) for template in hub.templates)
    assert sizes == sorted(4 ** (sites - bin(k).count("1")) for k in range(2**sites))
    covered = np.sort(np.concatenate([template.variants for template in hub.templates]))
    np.testing.assert_array_equal(covered, np.arange(5**sites))
    for template in hub.templates:
        flat = np.array(np.unravel_index(template.variants, hub.site_shape)).T if sites else None
        if sites:
            np.testing.assert_array_equal(template.choices, flat)
        for choice in template.choices:
            flags = [hub.sites[s].operations[k].measured for s, k in enumerate(choice)]
            assert tuple(flags) == template.measured


def test_templates_and_trivial_entries_cover_every_entry():
    """What has no template is exactly 1, by the exact evaluation too."""
    circuit = entangled([(0, 1), (1, 2)], 3)
    plan = compile_plan(circuit, ["IIZ", "ZII", "IXI", "IIX"], labels="ABC")
    for fragment, tensor in zip(plan.fragments, exact_tensors(plan, np.zeros((1, 0))), strict=True):
        seen = fragment.trivial.reshape(len(fragment.observables), -1).astype(int)
        for template in fragment.templates:
            for member in fragment.groups[template.group]:
                seen[member, template.variants] += 1
        assert seen.min() == 1
        np.testing.assert_allclose(tensor.values[0][fragment.trivial], 1, atol=1e-12)


def test_identity_fragments_run_signed_measurements_only():
    """A fragment nobody observes needs no circuit for its unitary variants."""
    circuit = entangled([(0, 1)], 2)
    plan = compile_plan(circuit, "IZ", labels="AB")
    observed, silent = plan.fragments
    assert observed.num_subexperiments == 5
    assert silent.num_subexperiments == 1
    assert [template.measured for template in silent.templates] == [(True,)]


# -- what a plan says of itself --------------------------------------------------------


def test_a_plan_reads_well():
    """repr names qubits, labels, cuts, widths, variants, terms and the overhead."""
    plan = compile_plan(entangled([(0, 1), (1, 2), (2, 3)], 4), ["ZZZZ", "IIIX"], labels="AABC")
    text = repr(plan)
    assert text == (
        "CutPlan(4 qubits, labels AABC, 2 cuts, 3 fragments of widths (2, 1, 1), 35 variants, "
        "2 terms, sampling overhead 81)"
    )
    assert repr(plan.fragments[0]) == (
        "Fragment(A: 2 qubits, 1 site, 5 variants, 2 sub-observables)"
    )
    assert plan.num_variants == sum(prod(f.site_shape) for f in plan.fragments)


def fingerprints() -> list[str]:
    plan = compile_plan(small_circuit(), ["ZZZ", "XIY"], labels="AAB")
    return [plan.fingerprint, *(fragment.fingerprint for fragment in plan.fragments)]


def test_fingerprints_are_the_same_in_every_process():
    """A fresh interpreter with another hash seed computes the same fingerprints."""
    assert in_fresh_process(fingerprints) == fingerprints()


def test_fingerprints_do_not_depend_on_parameter_names():
    circuit = small_circuit()
    renamed = circuit.assign_parameters([Parameter("z"), Parameter("y")])
    one, two = (compile_plan(c, "ZZZ", labels="AAB") for c in (circuit, renamed))
    assert one.fingerprint == two.fingerprint


def variations() -> dict[str, CutPlan]:
    """Plans that give different tensors, terms or sums of them for the same slots."""

    def plan(terms=("ZZ", "XI"), labels="AB", angle=0.3, gate="cx", pairs=((0, 1),)):
        circuit = QuantumCircuit(2)
        circuit.rx(Parameter("x"), 0)
        circuit.rx(Parameter("y"), 1)
        for pair in pairs:
            getattr(circuit, gate)(*pair)
        circuit.ry(angle, 0)
        circuit.ry(angle, 1)
        return compile_plan(circuit, list(terms), labels=labels)

    return {
        "base": plan(),
        "uncut": plan(labels="AA"),
        "observable": plan(("ZZ", "IX")),
        "order of terms": plan(("XI", "ZZ")),
        "angle": plan(angle=0.31),
        "gate": plan(gate="cy"),
        "direction": plan(pairs=((1, 0),)),
        "twice": plan(pairs=((0, 1),) * 2),
    }


def test_fingerprints_tell_different_plans_apart():
    """Gate, angle, direction, cut, observable and order of terms all count."""
    prints = {name: plan.fingerprint for name, plan in variations().items()}
    same = {n for n, p in prints.items() if list(prints.values()).count(p) > 1}
    assert same == set()


def test_fingerprints_tell_apart_which_slot_an_angle_reads():
    """Two numberings of the qubits have the same fragments, but not for the same slots."""
    plans = []
    for (a, b, c, d), labels in (((0, 1, 2, 3), "AABB"), ((0, 2, 1, 3), "ABAB")):
        circuit = QuantumCircuit(4)
        for qubit in range(4):
            circuit.rx(Parameter(f"x{qubit}"), qubit)
        circuit.cx(a, b)
        circuit.cx(c, d)
        circuit.cz(a, c)
        plans.append(compile_plan(circuit, "ZZZZ", labels=labels))
    values = [[0.1, 0.7, 1.3, 2.9]]
    one, two = (exact_tensors(plan, np.array(values))[0].values for plan in plans)
    assert np.abs(one - two).max() > 0.1
    assert plans[0].fingerprint != plans[1].fingerprint

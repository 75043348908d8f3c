"""Template circuits, exactly; and what Aer makes of them, packed and unpacked."""

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import (
    CPhaseGate,
    CRXGate,
    CRYGate,
    CRZGate,
    CU1Gate,
    CU3Gate,
    CUGate,
    MCPhaseGate,
    PhaseGate,
    RGate,
    RXGate,
    RXXGate,
    RYGate,
    RYYGate,
    RZGate,
    RZXGate,
    RZZGate,
    U1Gate,
    U2Gate,
    U3Gate,
    UGate,
    XXMinusYYGate,
    XXPlusYYGate,
)
from qiskit.quantum_info import PauliList, Statevector, random_unitary
from qiskit_addon_cutting.instructions import CutWire, Move
from support.circuits import entangled, rotated
from support.exact import exact_tensor, outcome_probabilities, sign

from pilotcut import compile_plan
from pilotcut.backends.aer import AerBackend
from pilotcut.backends.template_circuits import build
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor


def cut_everything() -> tuple[QuantumCircuit, list[str], str]:
    """Gate cuts of two kinds, a wire cut, a Move, a reset, free angles, three groups."""
    circuit = entangled([(0, 1)], 4)
    circuit.append(CRXGate(Parameter("a")), [1, 2])
    circuit.swap(2, 3)
    circuit.append(CutWire(), [0])
    circuit.ry(2 * Parameter("b"), 0)
    circuit.cp(Parameter("c"), 1, 0)
    circuit.reset(3)
    circuit.append(Move(), [2, 3])
    return rotated(circuit, 8), ["ZZZZ", "IXIY", "YIXI", "IIIZ"], "AABB"


def cases() -> dict[str, tuple[QuantumCircuit, list[str], str]]:
    hub = entangled([(0, 1), (2, 0), (0, 1)], 3)
    last = rotated(QuantumCircuit(2), 1)
    last.cz(0, 1)
    swap = rotated(QuantumCircuit(2), 2)
    swap.swap(0, 1)
    rotated(swap, 3)
    wide = entangled([(0, 1), (1, 2), (2, 3)], 4)
    return {
        "hub": (hub, ["ZZZ", "XIY", "IYX"], "ABC"),
        "site last": (last, ["IZ", "XI"], "AB"),
        "middle": (wide, ["ZIIX", "IZZI", "XYXY"], "AABC"),
        "swap": (swap, ["XZ", "ZI"], "AB"),
        "everything": cut_everything(),
    }


CASES = cases()


def fragments(name: str):
    """The fragments of a case with random angles (rows, angles)."""
    circuit, observables, labels = CASES[name]
    plan = compile_plan(circuit, observables, labels=labels)
    slots = np.random.default_rng(1).uniform(-3, 3, (2, plan.program.num_slots))
    return [(fragment, fragment.angle_values(slots)) for fragment in plan.fragments]


@pytest.mark.parametrize("name", CASES)
def test_a_template_circuit_with_its_values_is_the_variant(name):
    """Parities of the exact outcome distribution equal the fragment's tensor, for every variant."""
    for fragment, angles in fragments(name):
        exact = [exact_tensor(fragment, row) for row in angles]
        for template in fragment.templates:
            built = build(fragment, template)
            chosen = np.arange(len(template.variants))
            if len(chosen) > 12:  # two sites or more have many; a part, in another order
                chosen = np.random.default_rng(2).permutation(chosen)[:12]
            values = built.values(
                np.repeat(angles, len(chosen), axis=0),
                np.tile(template.choices[chosen], (len(angles), 1)),
            )
            assert values.shape == (len(angles) * len(chosen), len(built.parameters))
            assert set(built.circuit.parameters) == set(built.parameters)
            for row in range(len(angles)):
                for k, choice in enumerate(chosen):
                    numbers = values[row * len(chosen) + k]
                    bound = built.circuit.assign_parameters(
                        dict(zip(built.parameters, numbers, strict=True))
                    )
                    probabilities = outcome_probabilities(bound)
                    members = fragment.groups[template.group]
                    for mask, member in zip(built.masks, members, strict=True):
                        mean = probabilities @ sign(mask, bound.num_clbits)
                        where = np.unravel_index(template.variants[choice], fragment.site_shape)
                        expected = exact[row][(member, *where)]
                        assert mean == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_measurements_come_last(name):
    """No gate follows a measurement on any qubit, and every outcome bit is written once."""
    for fragment, _ in fragments(name):
        for template in fragment.templates:
            circuit = build(fragment, template).circuit
            names = [instruction.operation.name for instruction in circuit.data]
            first = names.index("measure")
            assert set(names[first:]) == {"measure"}
            assert not {"reset", "if_else"} & set(names)
            assert names.count("measure") == circuit.num_clbits
            written = {circuit.find_bit(i.clbits[0]).index for i in circuit.data[first:]}
            assert written == set(range(circuit.num_clbits))


def test_an_ancilla_only_where_the_wire_goes_on_or_is_observed():
    """A signed measurement at the end of an unobserved wire is made on the wire itself."""
    circuit = QuantumCircuit(3)
    circuit.ry(0.3, 1)
    circuit.cz(0, 1)
    circuit.cx(1, 2)
    plan = compile_plan(circuit, ["IZI"], labels="ABC")
    needed = {}
    for fragment in plan.fragments:
        for template in fragment.templates:
            built = build(fragment, template)
            copies = [i for i in built.circuit.data if i.operation.name == "cx"]
            needed[fragment.label, template.measured] = len(copies)
    assert needed == {
        ("A", (True,)): 0,  # nothing follows
        ("B", (False, False)): 0,
        ("B", (True, False)): 1,  # the other site follows
        ("B", (False, True)): 1,  # the wire is observed
        ("B", (True, True)): 2,
        ("C", (True,)): 0,
    }


@pytest.mark.parametrize("name", CASES)
def test_no_qubit_is_idle_for_want_of_an_ancilla(name):
    """A template has the fragment's wires and the ancillas that it uses, no more."""
    for fragment, _ in fragments(name):
        for template in fragment.templates:
            circuit = build(fragment, template).circuit
            used = {
                circuit.find_bit(qubit).index
                for instruction in circuit.data
                for qubit in instruction.qubits
            }
            ancillas = range(fragment.num_wires, circuit.num_qubits)
            assert set(ancillas) <= used


@pytest.mark.parametrize("name", CASES)
def test_masks_read_the_member_and_every_sign(name):
    """Masks of one group share the sign bits and differ in the observed bits only."""
    for fragment, _ in fragments(name):
        for template in fragment.templates:
            built = build(fragment, template)
            members = fragment.observables[list(fragment.groups[template.group])]
            signs = sum(template.measured)
            observed = built.circuit.num_clbits - signs
            support = (members.x | members.z).any(axis=0)
            assert observed == support.sum()
            for mask, row in zip(built.masks, members.x | members.z, strict=True):
                assert mask >> observed == 2**signs - 1
                assert (mask & (2**observed - 1)).bit_count() == row.sum()


# -- Aer -------------------------------------------------------------------------------


def measured(backend: AerBackend, fragment: Fragment, angles, shots: int, seed: int):
    tensor = FragmentTensor.empty(fragment, len(angles))
    whole = slice(0, fragment.num_subexperiments)
    for block in backend.run(fragment, angles, whole, shots, seed).blocks:
        tensor.fill(fragment, slice(0, len(angles)), block)
    return tensor


SHOTS = 2000


def scores(values: np.ndarray, exact: np.ndarray, shots: int) -> np.ndarray:
    """z-scores by the exact variance; what has none must be exact."""
    spread = np.sqrt(np.maximum(1 - exact**2, 0) / shots)
    certain = spread < 1e-6
    assert np.abs(values - exact)[certain].max(initial=0) < 1e-9
    return (values - exact)[~certain] / spread[~certain]


@pytest.mark.parametrize("pack_qubits", [1, 8])
@pytest.mark.parametrize("name", ["middle", "swap", "everything"])
def test_aer_samples_the_exact_tensor_packed_or_not(name, pack_qubits):
    """z-scores of every entry have chi-square per entry about 1 and none beyond 5."""
    backend = AerBackend(pack_qubits=pack_qubits)
    for number, (fragment, angles) in enumerate(fragments(name)):
        tensor = measured(backend, fragment, angles, SHOTS, 10 + number)
        exact = np.array([exact_tensor(fragment, row) for row in angles])
        z = scores(tensor.values, exact, SHOTS)
        assert np.abs(z).max() < 5
        # Entries of one group are correlated: allow for fewer independent ones.
        assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / (len(z) / 2))


def test_covariances_from_aer_are_those_of_the_estimates():
    """Within a group they equal the spread of the estimates over many equal rows."""
    rows, shots = 1500, 64
    fragment = compile_plan(entangled([(0, 1)], 2), ["ZZ", "IZ", "ZI"]).fragments[0]
    assert [len(group) for group in fragment.groups] == [3]
    tensor = measured(AerBackend(), fragment, np.zeros((rows, 0)), shots, 3)
    estimated = tensor.covariances[0][:, 0].mean(axis=0)
    observed = np.cov(tensor.values[:, list(fragment.groups[0])].T)
    assert np.abs(observed - np.diag(np.diag(observed))).max() > 0.2 / shots
    np.testing.assert_allclose(estimated, observed, atol=5 * np.sqrt(2 / rows) / shots)


@pytest.mark.parametrize("pack_qubits", [1, 8])
def test_packed_copies_are_independent(pack_qubits):
    """Equal rows side by side in one circuit give uncorrelated, differing estimates."""
    circuit = rotated(QuantumCircuit(1), 3)
    fragment = compile_plan(circuit, ["Z", "X"]).fragments[0]
    rows, shots = 800, 64
    tensor = measured(AerBackend(pack_qubits=pack_qubits), fragment, np.zeros((rows, 0)), shots, 5)
    exact = exact_tensor(fragment, np.zeros(0))
    for k in range(2):
        z = (tensor.values[:, k] - exact[k]) / np.sqrt((1 - exact[k] ** 2) / shots)
        assert abs(z.mean()) < 4 / np.sqrt(rows)
        assert abs(z.var() - 1) < 4 * np.sqrt(2 / rows)
        for lag in (1, 2, 4, 8):
            assert abs(np.corrcoef(z[:-lag], z[lag:])[0, 1]) < 4 / np.sqrt(rows)
    across = np.corrcoef(tensor.values[:, 0], tensor.values[:, 1])[0, 1]
    assert abs(across) < 4 / np.sqrt(rows)


@pytest.mark.parametrize("rows", [1, 3, 7, 16])
def test_every_row_and_variant_lands_in_its_place(rows):
    """Packs of any fullness keep rows and variants apart: values that are exactly +-1."""
    circuit = QuantumCircuit(2)
    circuit.rx(Parameter("x"), 0)
    circuit.cx(0, 1)
    plan = compile_plan(circuit, ["ZI", "IZ"], labels="AB")
    flips = np.arange(rows) % 3 == 1
    fragment = plan.fragments[0]
    angles = fragment.angle_values(np.where(flips, np.pi, 0.0)[:, None])
    tensor = measured(AerBackend(), fragment, angles, 100, 5)
    exact = np.array([exact_tensor(fragment, row) for row in angles])
    certain = np.abs(np.abs(exact) - 1) < 1e-9
    assert certain.sum() > rows
    np.testing.assert_array_equal(tensor.values[certain], np.round(exact[certain]))


def test_a_part_of_the_subexperiments_fills_its_entries_only():
    """Bundles of parts cover the whole tensor, each entry from the part it belongs to."""
    fragment, angles = fragments("middle")[0]
    backend = AerBackend()
    exact = np.array([exact_tensor(fragment, row) for row in angles])
    tensor = FragmentTensor.empty(fragment, len(angles))
    step = 7
    for start in range(0, fragment.num_subexperiments, step):
        part = slice(start, min(start + step, fragment.num_subexperiments))
        blocks = backend.run(fragment, angles, part, SHOTS, start).blocks
        assert sum(len(block.variants) for block in blocks) == part.stop - part.start
        for block in blocks:
            tensor.fill(fragment, slice(0, len(angles)), block)
    assert not np.isnan(tensor.values).any()
    assert np.abs(scores(tensor.values, exact, SHOTS)).max() < 5


def test_the_same_seed_gives_the_same_counts():
    """A fresh backend with the same seed repeats the numbers; another seed does not."""
    fragment, angles = fragments("hub")[0]
    one, two, three = (measured(AerBackend(), fragment, angles, 256, s).values for s in (7, 7, 8))
    np.testing.assert_array_equal(one, two)
    assert (one != three).mean() > 0.5


A, B, C, D = (Parameter(name) for name in "abcd")
FREE = [
    *(CPhaseGate(A), CRXGate(A), CRYGate(A), CRZGate(A), CU1Gate(A), CU3Gate(A, B, C)),
    *(CUGate(A, B, C, D), RXXGate(A), RYYGate(A), RZZGate(A), RZXGate(A), MCPhaseGate(A, 2)),
    *(XXPlusYYGate(A, B), XXMinusYYGate(A, B), RXGate(A), RYGate(A), RZGate(A), PhaseGate(A)),
    *(UGate(A, B, C), U1Gate(A), U2Gate(A, B), U3Gate(A, B, C), RGate(A, B)),
    *(CPhaseGate(A, ctrl_state=0), CRXGate(A, ctrl_state=0), CRYGate(A, ctrl_state=0)),
    *(CRZGate(A, ctrl_state=0), CU1Gate(A, ctrl_state=0), CU3Gate(A, B, C, ctrl_state=0)),
    *(CUGate(A, B, C, D, ctrl_state=0), RXGate(A).control(2, annotated=False)),
]


@pytest.mark.parametrize("gate", FREE, ids=lambda gate: gate.name)
def test_aer_binds_every_gate_inside_a_fragment(gate):
    """Free angles reach Aer, which leaves some controlled rotations at zero in silence."""
    width = gate.num_qubits
    circuit = rotated(QuantumCircuit(width), 4)
    circuit.append(gate, range(width))
    rotated(circuit, 5)
    observables = ["Z" * width, "X" * width, "Y" * width]
    plan = compile_plan(circuit, observables)
    values = np.array([[1.1, -0.6, 0.4, 2.0], [-2.3, 1.7, 0.9, -1.0]])
    values = values[:, : circuit.num_parameters]
    fragment = plan.fragments[0]
    angles = fragment.angle_values(plan.binding.slots(values))
    tensor = measured(AerBackend(), fragment, angles, 20_000, 6)
    for row, bound in enumerate(values):
        state = Statevector(circuit.assign_parameters(bound))
        exact = np.array([state.expectation_value(p).real for p in PauliList(observables)])
        got = tensor.values[row, plan.term_index[:, 0]]
        assert np.abs(scores(got, exact, 20_000)).max() < 5


def test_aer_runs_matrices_and_many_qubits():
    """A fragment with a unitary matrix, wider than a pack."""
    circuit = entangled([(k, k + 1) for k in range(8)], 9)
    circuit.unitary(random_unitary(4, seed=2), [3, 7])
    plan = compile_plan(circuit, ["Z" * 9, "X" * 9])
    tensor = measured(AerBackend(), plan.fragments[0], np.zeros((1, 0)), 20_000, 6)
    state = Statevector(circuit)
    exact = np.array([state.expectation_value(p).real for p in plan.terms])
    assert np.abs(scores(tensor.values[0, plan.term_index[:, 0]], exact, 20_000)).max() < 5

"""Files that other tools wrote are read to the state that the tool itself computes."""

from pathlib import Path

import numpy as np
import pytest
from qiskit.quantum_info import Statevector

from pilotcut import compile_plan, reconstruct_probabilities, sample
from pilotcut.circuits.reader import load_circuit
from pilotcut.errors import CircuitFileError

FILES = sorted(
    path for path in (Path(__file__).parent / "files").glob("*.q*") if path.suffix != ".npy"
)

#: Qiskit 1 ran evolutions by their product formulas, as pilotcut does; Qiskit 2 states another.
FORMULAS = ["qpy_q124_evo", "qpy_q124_evot", "qpy_q14_evo"]

#: Read to other amplitudes than the writer's, for the reasons in the README beside them.
OTHERS = {"qpy_q124_expr", "tk_mapped", "br_noncont", "tk_peep"}


def read(name):
    """Return circuit and notes of a file; parameters are bound as the README says."""
    notes = []
    (path,) = (f for f in FILES if f.stem == name)
    circuit = load_circuit(path, tell=notes.append)
    names = sorted(circuit.parameters, key=lambda p: p.name)
    return circuit.assign_parameters({p: 0.1 * (k + 1) for k, p in enumerate(names)}), notes


def state(name):
    return np.load(Path(__file__).parent / "files" / f"{name}.npy")


def test_there_are_seventy_seven_files():
    assert len(FILES) == 77


@pytest.mark.parametrize(
    "name", [f.stem for f in FILES if f.stem not in OTHERS and f.stem not in FORMULAS]
)
def test_a_file_is_read_to_its_writers_state(name):
    circuit, _ = read(name)
    assert abs(np.vdot(state(name), Statevector(circuit).data)) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("name", FORMULAS)
def test_an_evolution_is_run_by_its_product_formula(name):
    circuit, _ = read(name)
    found = reconstruct_probabilities(compile_plan(circuit))
    assert found == pytest.approx(np.abs(state(name)) ** 2, abs=1e-9)


@pytest.mark.parametrize(("name", "qubits"), [("tk_mapped", "1, 2, 0"), ("br_noncont", "1, 5")])
def test_bits_of_a_file_are_those_of_its_measurements(name, qubits):
    circuit, notes = read(name)
    assert any(f"are, the rightmost first, of qubits {qubits}, as measured" in n for n in notes)
    plan = compile_plan(circuit, labels="AAB" if name == "tk_mapped" else "AAABBB")
    expected = np.abs(state(name)) ** 2
    assert reconstruct_probabilities(plan) == pytest.approx(expected, abs=1e-9)
    counts = sample(plan, 4000, seed=3)
    for bits, number in counts.items():
        assert number / 4000 == pytest.approx(expected[int(bits, 2)], abs=0.05)


def test_observables_count_the_qubits_of_the_file():
    circuit, _ = read("tk_mapped")
    bits = np.abs(state("tk_mapped").reshape(2, 2, 2)) ** 2  # (bit 2, bit 1, bit 0)
    qubit_0 = bits.sum((1, 2))  # measured into bit 2
    expected = Statevector(circuit).probabilities([0])
    assert expected == pytest.approx(qubit_0)


def test_an_old_qpy_file_with_expressions_names_the_package_that_it_wants():
    with pytest.raises(CircuitFileError, match=r"pip install 'symengine<0.14', or write the file"):
        read("qpy_q124_expr")

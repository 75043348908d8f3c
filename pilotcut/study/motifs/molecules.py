"""Hamiltonians of hydrogen molecules and chains, as numbers.

Integrals of PySCF 2.14 (STO-3G, restricted Hartree-Fock), in qubits by OpenFermion 1.8's
Jordan-Wigner transformation, spins side by side, the lowest orbital on qubit 0; energies in
hartree, with the repulsion of the nuclei; distances in angstrom.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from qiskit.quantum_info import SparsePauliOp

#: Hartree: 1 kcal/mol, beneath which an energy predicts chemistry.
CHEMICAL_ACCURACY = 1.6e-3


@dataclass(frozen=True)
class Molecule:
    """A molecule.

    Parameters
    ----------
    name
        What it is, with the distance of neighbours.
    electrons, qubits
        How many.
    hartree_fock, exact
        Energy of the best product of orbitals, and of the ground state.
    hamiltonian
        Of its electrons, with the nuclei as a constant.
    """

    name: str
    electrons: int
    qubits: int
    hartree_fock: float
    exact: float
    hamiltonian: SparsePauliOp


@cache
def _table() -> dict[str, dict]:
    return json.loads(files("pilotcut.study.motifs").joinpath("molecules.json").read_text("utf-8"))


def molecule(name: str) -> Molecule:
    """Return a molecule by its name.

    Examples
    --------
    >>> found = molecule("H2 0.735")
    >>> found.qubits, round(found.exact, 4), len(found.hamiltonian)
    (4, -1.1373, 15)
    """
    entry = _table()[name]
    return Molecule(
        name,
        entry["electrons"],
        entry["qubits"],
        entry["hartree_fock"],
        entry["exact"],
        SparsePauliOp.from_list(list(entry["terms"].items())),
    )


def distances(kind: str) -> list[float]:
    """Return the distances at which a kind of molecule is in the table.

    Examples
    --------
    >>> distances("H2")[:3]
    [0.4, 0.5, 0.6]
    """
    return [float(name.split()[1]) for name in _table() if name.split()[0] == kind]

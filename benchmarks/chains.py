"""Shots for an error of 0.05 against the number of cuts, on chains of one-qubit fragments.

Every qubit is a fragment of its own. Ours measured (`CutEstimator`, sampled mode) with all shots
of a query, beside gamma^2: what one random joint term a shot would need (arXiv:1909.07534). The
growth is fitted as b^k and as k^p over the numbers of cuts k.

    python benchmarks/chains.py [--quick]                 shots against cuts
    python benchmarks/chains.py --projection [--quick]    physical tensors, a prototype in numpy

Why it is not gamma^2: the error that one fragment adds is that of its tensor times what the rest
of the chain contracts to. The rest is a chain's expectation under some local operations, at most
1, times the two neighbouring bond matrices; no other bond enters. So to first order variances of
k + 1 fragments add up, none is multiplied by 9 for each cut, and k + 1 fragments share the shots:
k^2 in all. Products of errors of neighbours come in only at some c shots a circuit, as
(1 + c / N)^k. arXiv:2512.19623 proves a polynomial for trees.

The prototype measures the same variants by itself, contracts them as they are ("as measured"),
with the dependence between variants removed by least squares ("consistent"), and projected onto
physical fragments ("physical", after arXiv:2005.12702): both outcomes' Gram matrices of branches
positive semidefinite. It prints the root mean square error and the bias at the same shots.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from cut_engines import Answer, measure, pilotcut_sample
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import compile_plan

ERROR = 0.05
CUTS = (1, 2, 3, 4, 6, 8, 12, 16)


@dataclass(frozen=True)
class Chain:
    """A kind of chain and what is measured on it."""

    name: str
    gate: str
    observable: str  # "last" (Z on the last) or "all" (X on every qubit)
    rotated: bool = True
    wires: str = "separate"

    def circuit(self, cuts: int) -> QuantumCircuit:
        """Return the chain with so many cuts."""
        rng = np.random.default_rng(cuts)
        circuit = QuantumCircuit(1 if self.gate == "wire" else cuts + 1)
        if not self.rotated:
            circuit.h(range(cuts + 1) if self.gate == "rzz" else 0)
        for k in range(cuts + 1):
            qubit = 0 if self.gate == "wire" else k
            if self.rotated:
                circuit.ry(float(rng.uniform(0, np.pi)), qubit)
                circuit.rz(float(rng.uniform(0, np.pi)), qubit)
            if self.gate == "wire" and k < cuts:
                circuit.append(CutWire(), [0])
        for k in range(cuts if self.gate != "wire" else 0):
            if self.gate == "cx":
                circuit.cx(k, k + 1)
            else:
                circuit.rzz(0.3, k, k + 1)
            if self.rotated:
                circuit.ry(float(rng.uniform(0, np.pi)), k)
                circuit.ry(float(rng.uniform(0, np.pi)), k + 1)
        return circuit

    def pauli(self, qubits: int) -> str:
        """Return the observable."""
        last = "Z" + (qubits - 1) * "I"
        return last if self.observable == "last" else qubits * "X"


CHAINS = (
    Chain("CX, Z last", "cx", "last"),
    Chain("GHZ, X all", "cx", "all", rotated=False),
    Chain("RZZ(0.3), Z last", "rzz", "last"),
    Chain("RZZ(0.3), X all", "rzz", "all", rotated=False),
    Chain("wires, Z", "wire", "last"),
    Chain("wires, told, Z", "wire", "last", wires="communication"),
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--projection", action="store_true")
    options = parser.parse_args()
    if options.projection:
        for line in (*growths(), *projected(200 if options.quick else 1000)):
            print(line, flush=True)
    else:
        for line in growth(0.5 if options.quick else 3.0):
            print(line, flush=True)


def growth(budget_s: float) -> Iterator[str]:
    """Yield shots against cuts, and fits of the growth."""
    yield f"shots of a query for a standard error of {ERROR} (shots a circuit), gamma^2 / error^2"
    yield f"{'chain':18} {'':>8}" + "".join(f"{cuts:>15}" for cuts in CUTS)
    for chain in CHAINS:
        found, each, bounds = [], [], []
        for cuts in CUTS:
            answer, plan = measured(chain, cuts, budget_s)
            assert answer.shots is not None
            found.append(answer.shots)
            each.append(answer.shots / plan.num_subexperiments)
            bounds.append(plan.sampling_overhead / ERROR**2)
        cells = (f"{a:,.0f} ({b:,.0f})" for a, b in zip(found, each, strict=True))
        yield f"{chain.name:18} {'shots':>8}" + "".join(f"{cell:>15}" for cell in cells)
        yield f"{'':18} {'gamma^2':>8}" + "".join(f"{bound:15.1e}" for bound in bounds)
        yield f"{'':18} {fits(found)}"


def measured(chain: Chain, cuts: int, budget_s: float) -> tuple[Answer, object]:
    """Return the measured shots of one chain, and its plan."""
    circuit = chain.circuit(cuts)
    observable = chain.pauli(circuit.num_qubits)
    labels = None if chain.gate == "wire" else [f"L{k}" for k in range(circuit.num_qubits)]
    plan = compile_plan(circuit, observable, labels=labels, wires=chain.wires)
    answer = Answer(cuts, "now")
    measure(answer, pilotcut_sample(circuit, observable, plan, "uniform"), budget_s, ERROR)
    return answer, plan


def fits(found: Sequence[float]) -> str:
    """Return b of b^k and p of k^p, fitted to logarithms from two cuts on."""
    cuts, shots = np.array(CUTS[1:]), np.log(found[1:])
    base, _ = np.polyfit(cuts, shots, 1)
    power, _ = np.polyfit(np.log(cuts), shots, 1)
    rest = [np.std(shots - np.polyval(np.polyfit(x, shots, 1), x)) for x in (cuts, np.log(cuts))]
    return (
        f"b^k: b = {np.exp(base):.2f} (off by {rest[0]:.2f}); k^p: p = {power:.2f} "
        f"(off by {rest[1]:.2f}), in natural logarithms"
    )


# -- physical tensors, a prototype ---------------------------------------------------------

#: RZZ(pi/2) = (I I + Z Z) / 2 + (M (S - S*) + (S - S*) M) / 2 with M the signed measurement
#: (arXiv:1909.07534), over the operations of `SITE`.
BOND = np.zeros((5, 5))
BOND[0, 0] = BOND[1, 1] = BOND[2, 3] = BOND[3, 2] = 0.5
BOND[2, 4] = BOND[4, 2] = -0.5

#: What stands at a site: a diagonal unitary, or the signed measurement (None), on Z.
SITE = (np.array([1, 1]), np.array([1, -1]), None, np.array([1, 1j]), np.array([1, -1j]))


@dataclass(frozen=True)
class LinearCluster:
    """Qubits in a row, an RZZ(pi/2) between neighbours, and the product of all stabilisers.

    Its value is 1 or -1 where nothing is tilted. A fragment is one qubit with a site for each of
    its RZZ. With P_a the projectors on the bits of Z at its sites, |a c> = R3 P_c R2 P_a R1 |0>,
    and G_o[ac, a'c'] = <a'c'| outcome o |ac> all that can be known of it.
    """

    cuts: int
    tilt: float

    @property
    def grams(self) -> np.ndarray:
        """G: (fragments, 2 outcomes, 4, 4), the first bit that of the left site."""
        rng = np.random.default_rng(self.cuts)
        found = []
        for k in range(self.cuts + 1):
            bonds = 2 - (k in (0, self.cuts))
            tilts = [_ry(angle) for angle in rng.normal(0, self.tilt, 3)]
            # RZZ(pi/2) is CZ up to an S on both, of which a qubit undoes one for each of its own.
            undo = np.diag([1, (-1j) ** bonds * (-1j if bonds == 1 else 1)])
            after = HADAMARD @ tilts[2] @ undo
            states = []
            for a in (0, 1):
                for c in (0, 1):
                    state = _project(a, tilts[0] @ HADAMARD[:, 0], k > 0)
                    states.append(after @ _project(c, tilts[1] @ state, k < self.cuts))
            phi = np.array(states)
            found.append([np.outer(phi[:, o], phi[:, o].conj()) for o in (0, 1)])
        return np.array(found)


HADAMARD = np.array([[1, 1], [1, -1]]) / np.sqrt(2)


def _ry(angle: float) -> np.ndarray:
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    return np.array([[c, -s], [s, c]])


def _project(bit: int, state: np.ndarray, site: bool) -> np.ndarray:
    """Return the branch of a bit; without a site all is in the branch of bit 0."""
    if not site:
        return state * (bit == 0)
    return state * (np.arange(2) == bit)


def projected(repetitions: int) -> Iterator[str]:
    """Yield errors and biases of the three ways to contract what was measured."""
    yield f"linear cluster, root mean square error (bias +- its error), {repetitions} repetitions"
    ways = ("as measured", "consistent", "physical")
    head = f"{'tilt':>5} {'cuts':>4} {'shots':>6} {'value':>7} {'theory':>8}"
    yield head + "".join(f"{way:>27}" for way in ways)
    for tilt in (0.0, 0.1, 0.4):
        for cuts in (2, 4, 8, 16):
            grams = LinearCluster(cuts, tilt).grams
            value = contracted(grams[None, :, 0] - grams[None, :, 1])[0]
            for shots in (16, 64, 256, 1024):
                cells = []
                for values in estimates(grams, shots, repetitions):
                    bias, spread = np.mean(values) - value, np.std(values)
                    rmse = np.sqrt(np.mean((values - value) ** 2))
                    cells.append(f"{rmse:.4g} ({bias:+.4f}+-{spread / repetitions**0.5:.4f})")
                head = f"{tilt:5} {cuts:4} {shots:6} {value:7.3f} {predicted(grams, shots):8.4g}"
                yield head + "".join(f"{cell:>27}" for cell in cells)


def estimates(grams: np.ndarray, shots: int, repetitions: int) -> Iterator[np.ndarray]:
    """Yield the values (repetitions,) of the three ways from the same draws."""
    rng = np.random.default_rng(shots)
    raw, consistent, physical = [], [], []
    for k, gram in enumerate(grams):
        sites = (k > 0, k < len(grams) - 1)
        design, signs, variants = _design(sites)
        means, frequencies = _draws(gram, design, signs, variants, shots, repetitions, rng)
        raw.append(means)
        fitted = _fitted(frequencies, design)
        consistent.append(fitted[:, 0] - fitted[:, 1])
        nearest = _nearest_physical(fitted, sites)
        physical.append(nearest[:, 0] - nearest[:, 1])
    yield contracted_by_operations(raw)
    yield contracted(np.stack(consistent, axis=1))
    yield contracted(np.stack(physical, axis=1))


def _design(sites: tuple[bool, bool]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows w (rows, 4): p = w G w*; their signs; and which variant each is a bit of."""
    rows, signs, variants = [], [], []
    choices = [range(len(SITE)) if site else range(1) for site in sites]
    for number, (i, j) in enumerate((i, j) for i in choices[0] for j in choices[1]):
        for left, left_sign in _outcomes(i, sites[0]):
            for right, right_sign in _outcomes(j, sites[1]):
                rows.append(np.kron(left, right))
                signs.append(left_sign * right_sign)
                variants.append(number)
    return np.array(rows), np.array(signs), np.array(variants)


def _outcomes(operation: int, site: bool) -> list[tuple[np.ndarray, int]]:
    if not site:
        return [(np.array([1, 0]), 1)]
    diagonal = SITE[operation]
    if diagonal is None:
        return [(np.array([1, 0]), 1), (np.array([0, 1]), -1)]
    return [(diagonal, 1)]


def _draws(
    gram: np.ndarray,
    design: np.ndarray,
    signs: np.ndarray,
    variants: np.ndarray,
    shots: int,
    repetitions: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Return signed means (repetitions, variants), and frequencies (repetitions, 2, rows)."""
    exact = np.einsum("ri,oij,rj->or", design, gram, design.conj()).real
    frequencies = np.empty((repetitions, *exact.shape))
    means = np.empty((repetitions, variants[-1] + 1))
    for v in range(variants[-1] + 1):
        here = variants == v
        chances = np.clip(exact[:, here], 0, None).ravel()
        counts = rng.multinomial(shots, chances / chances.sum(), repetitions)
        frequencies[:, :, here] = (counts / shots).reshape(repetitions, 2, -1)
        means[:, v] = (frequencies[:, 0, here] - frequencies[:, 1, here]) @ signs[here]
    return means, frequencies


def _fitted(frequencies: np.ndarray, design: np.ndarray) -> np.ndarray:
    """Return the Gram matrices (repetitions, 2, 4, 4) that fit best, by least squares."""
    matrix = np.einsum("ri,rj->rij", design, design.conj()).reshape(len(design), 16)
    inverse = np.linalg.pinv(matrix, rcond=1e-9)
    flat = frequencies @ inverse.T
    found = flat.reshape(*flat.shape[:2], 4, 4)
    return (found + found.conj().swapaxes(-1, -2)) / 2


def _nearest_physical(grams: np.ndarray, sites: tuple[bool, bool], rounds: int = 60) -> np.ndarray:
    """Return the nearest positive pairs that sum to a state of what was measured (Dykstra)."""
    current, residue = grams, np.zeros_like(grams)
    for _ in range(rounds):
        shifted = current + residue
        weights, vectors = np.linalg.eigh(shifted)
        positive = np.einsum(
            "...ij,...j,...kj->...ik", vectors, np.clip(weights, 0, None), vectors.conj()
        )
        residue = shifted - positive
        current = _affine(positive, sites)
    return current


def _affine(grams: np.ndarray, sites: tuple[bool, bool]) -> np.ndarray:
    """Return the nearest pairs whose sum has trace 1 and no coherence that it cannot have.

    What follows the right site is unitary, so the sum over outcomes has no element between its
    bits; nor, summed over them, between those of the left site.
    """
    total = grams.sum(axis=1).reshape(-1, 2, 2, 2, 2)
    wanted = total.copy()
    if sites[1]:
        wanted[:, :, 0, :, 1] = wanted[:, :, 1, :, 0] = 0
    if sites[0]:
        for a, b in ((0, 1), (1, 0)):
            each = np.einsum("rcc->r", wanted[:, a, :, b, :]) / (2 if sites[1] else 1)
            for c in range(2 if sites[1] else 1):
                wanted[:, a, c, b, c] -= each
    wanted = wanted.reshape(-1, 4, 4)
    branches = (1 + sites[0]) * (1 + sites[1])
    alive = np.diag(np.kron([1, float(sites[0])], [1, float(sites[1])]))
    lacking = 1 - np.einsum("rii->r", wanted).real
    wanted = wanted + lacking[:, None, None] * alive / branches
    return grams + (wanted - total.reshape(-1, 4, 4))[:, None] / 2


def contracted(grams: np.ndarray) -> np.ndarray:
    """Return the values of chains (repetitions, fragments, 4, 4) over RZZ(pi/2)."""
    phases = np.exp(-0.25j * np.pi * np.array([[1, -1], [-1, 1]]))
    tensors = grams.reshape(*grams.shape[:2], 2, 2, 2, 2)  # a c a' c'
    state = tensors[:, 0, 0, :, 0, :]
    for k in range(1, grams.shape[1]):
        state = np.einsum("rcd,ca,db->rab", state, phases, phases.conj())
        tensor = tensors[:, k] if k < grams.shape[1] - 1 else tensors[:, k, :, :1, :, :1]
        state = np.einsum("rab,racbd->rcd", state, tensor)
    return state[:, 0, 0].real


def contracted_by_operations(means: Sequence[np.ndarray]) -> np.ndarray:
    """Return the values of chains of variants' means, with the bond matrix of the library."""
    state = means[0]
    for tensor in means[1:-1]:
        state = np.einsum("ri,ij,rjk->rk", state, BOND, tensor.reshape(-1, 5, 5))
    return np.einsum("ri,ij,rj->r", state, BOND, means[-1])


def predicted(grams: np.ndarray, shots: int) -> float:
    """Return the standard error of `contracted_by_operations` at so many shots a circuit.

    The second moment of a product of independent tensors is the product of their second moments,
    mean times mean plus variance.
    """
    value = moment = np.ones(1)
    for k, gram in enumerate(grams):
        sites = (k > 0, k < len(grams) - 1)
        means = _exact_means(gram, sites).reshape(5 if sites[0] else 1, -1)
        second = np.einsum("ij,kl->ikjl", means, means)
        rows, columns = (np.arange(size) for size in means.shape)
        second[rows[:, None], rows[:, None], columns, columns] += (1 - means**2) / shots
        if k:
            value = value @ BOND
            moment = moment @ np.kron(BOND, BOND)
        value = value @ means
        moment = moment @ second.reshape(means.shape[0] ** 2, -1)
    return float(np.sqrt(max(moment[0] - value[0] ** 2, 0)))


def growths() -> Iterator[str]:
    """Yield by what a cut multiplies the second moment, for few and for many shots a circuit."""
    gram = LinearCluster(2, 0.0).grams[1]
    means = _exact_means(gram, (True, True)).reshape(5, 5)
    yield "linear cluster: second moment for each cut (gamma^2: 9), by shots a circuit"
    for shots in (1, 2, 4, 8, 16, 64, 256, 1024):
        second = np.einsum("ij,kl->ikjl", means, means)
        place = np.arange(5)
        second[place[:, None], place[:, None], place, place] += (1 - means**2) / shots
        transfer = np.kron(BOND, BOND) @ second.reshape(25, 25)
        yield f"{shots:6}: {np.abs(np.linalg.eigvals(transfer)).max():.4f}"


def _exact_means(gram: np.ndarray, sites: tuple[bool, bool]) -> np.ndarray:
    design, signs, variants = _design(sites)
    exact = np.einsum("ri,oij,rj->or", design, gram, design.conj()).real
    return np.bincount(variants, (exact[0] - exact[1]) * signs)


if __name__ == "__main__":
    main()

"""Pauli networks: a term's value as a network of small real tensors, constant but for its angles.

A state is the vector of its expectations tr(P rho), a gate its Pauli transfer matrix, which is
real, and a term picks one entry at each wire's end. The matrix of a gate with a free angle t is
linear in ``(1, cos t, sin t)``, for controlled rotations also in cosine and sine of t/2: these
*harmonics* are all that a call brings along. Everything else is constant, and is contracted here as
far as that makes a call cheaper.

Only what the term can see is there: of gates outside its light cone nothing is left. A site, whose
branches do not cancel, is always seen; it is a core with an *open* leg, of pairs of its branches,
which the term's value keeps. Refuses to know in which order the rest is contracted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from heapq import heapify, heappop, heappush
from itertools import count
from math import prod

import numpy as np

from pilotcut.backends.native_gates import MatrixGate
from pilotcut.cutting.fragment import Site

#: Expectations of one qubit: those of I, X, Y and Z.
PAULIS = 4

#: Size of harmonics with (cos t/2, sin t/2) behind (1, cos t, sin t).
HALVES = 5

#: Entries of a constant tensor, at most.
MOST_ENTRIES = 2**14

#: What a product with one more tensor may cost in multiplications before two are made one: a
#: product's call takes as long as so many.
CALL_PRODUCTS = 100

#: Singular values below this, in parts of the largest, are rounding.
_RANK = 1e-13

_MATRICES = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])

# <a| P |b> / 2 (a, b, P), of a wire that ends with the expectations tr(P rho).
_ENDS = _MATRICES.transpose(1, 2, 0) / 2

# Place of a wire's letter among I, X, Y, Z, by its x and z.
_LETTER = {(False, False): 0, (True, False): 1, (True, True): 2, (False, True): 3}


@dataclass(frozen=True)
class Core:
    """A constant tensor (*harmonics, *legs).

    Parameters
    ----------
    angles
        The native angle of each of its harmonics.
    legs
        Names of its other axes; each name stands on two cores, but for those of open legs, which
        are negative (`open_leg`) and stand on one.
    values
        The entries.
    """

    angles: tuple[int, ...]
    legs: tuple[int, ...]
    values: np.ndarray

    @property
    def harmonics(self) -> int:
        """Products of harmonics that it is linear in, 1 where it is constant."""
        return prod(self.values.shape[: len(self.angles)])

    @property
    def size(self) -> int:
        """Entries for each product of harmonics."""
        return prod(self.values.shape[len(self.angles) :])

    def size_of(self, leg: int) -> int:
        """Return the size of one of its legs."""
        return int(self.values.shape[len(self.angles) + self.legs.index(leg)])

    def times(self, other: Core) -> Core:
        """Return the product over the legs that both have."""
        shared = [leg for leg in self.legs if leg in other.legs]
        own, others = len(self.angles), len(other.angles)
        values = np.tensordot(
            self.values,
            other.values,
            axes=(
                [own + self.legs.index(leg) for leg in shared],
                [others + other.legs.index(leg) for leg in shared],
            ),
        )
        # The other's harmonics come to stand behind its own.
        first = self.values.ndim - len(shared)
        order = [*range(own), *range(first, first + others), *range(own, first)]
        values = values.transpose(*order, *range(first + others, values.ndim))
        legs = (*self.legs, *other.legs)
        left = tuple(leg for leg in legs if leg not in shared)
        return Core(self.angles + other.angles, left, values)


@dataclass(frozen=True)
class GateTensors:
    """A gate as a real tensor, or as two with a leg between them, the same for all terms.

    Parameters
    ----------
    wires
        Its wires.
    angles
        Its native angle, none where it is constant.
    own
        (*harmonics, *out, *in), or of two wires the first's (out, in, bond).
    other
        Of two wires the second's (*harmonics, out, in, bond), else None.
    """

    wires: tuple[int, ...]
    angles: tuple[int, ...]
    own: np.ndarray
    other: np.ndarray | None = None

    @classmethod
    def of(cls, step: MatrixGate) -> GateTensors:
        """Return the tensors of a gate."""
        angles = () if step.angle is None else (step.angle,)
        matrix = _transfer_matrix(step)
        legs = len(step.wires)
        values = matrix.reshape(*matrix.shape[: len(angles)], *([PAULIS] * 2 * legs))
        if legs != 2:
            return cls(step.wires, angles, values)
        # (own out, own in) x (harmonics, other out, other in): of a CX and an RZZ 4 of 16 singular
        # values are not zero.
        first = len(angles)
        order = (first, first + 2, *range(first), first + 1, first + 3)
        moved = values.transpose(order)
        u, s, v = np.linalg.svd(moved.reshape(PAULIS**2, -1), full_matrices=False)
        rank = int(np.sum(s > _RANK * s[0]))
        root = np.sqrt(s[:rank])
        own = (u[:, :rank] * root).reshape(PAULIS, PAULIS, rank)
        other = (root[:, None] * v[:rank]).T.reshape(*moved.shape[2:], rank)
        return cls(step.wires, angles, own, other)

    def cores(self, before: list[int], behind: list[int], names: count[int]) -> list[Core]:
        """Return them with the names of its wires' legs."""
        if self.other is None:
            return [Core(self.angles, (*behind, *before), self.own)]
        bond = next(names)
        return [
            Core((), (behind[0], before[0], bond), self.own),
            Core(self.angles, (behind[1], before[1], bond), self.other),
        ]


@dataclass(frozen=True)
class SiteTensors:
    """A site as a real tensor: its branches in pairs, for ket and bra.

    The tensors of pairs (a, b) and (b, a) are each other's conjugates. In their place stand their
    *Hermitian combinations*, which are real: the real part for a <= b, the imaginary one for the
    other; `pairs_of` has the way back.

    Parameters
    ----------
    wires
        The wire that it stands on.
    axis
        Its place among the fragment's sites.
    kind
        See `pilotcut.cutting.fragment.Site`.
    values
        (R^2, out, in) of a gate's site, else (R^2, Paulis of the wire that starts or ends).
    """

    wires: tuple[int, ...]
    axis: int
    kind: str
    values: np.ndarray

    @classmethod
    def of(cls, site: Site) -> SiteTensors:
        """Return the tensor of a site."""
        if site.kind == "gate":
            pairs = np.array([[between(a, b) for b in site.branches] for a in site.branches])
        else:  # what starts as |a><b|, and <a| .. |b> of what ends
            pairs = _MATRICES.transpose(2, 1, 0) if site.kind == "start" else _ENDS
        rank = len(pairs)
        lower = np.tri(rank, k=-1, dtype=bool).reshape(rank, rank, *[1] * (pairs.ndim - 2))
        values = np.where(lower, -pairs.imag, pairs.real)
        return cls(site.wires, site.axis, site.kind, values.reshape(rank**2, *pairs.shape[2:]))

    def core(self, legs: Sequence[int]) -> Core:
        """Return it with the names of its wire's legs."""
        return Core((), (open_leg(self.axis), *legs), self.values)


def tensors_of(steps: Sequence[MatrixGate | Site]) -> list[GateTensors | SiteTensors]:
    """Return the tensors of a fragment's steps; gates of one matrix are decomposed once."""
    known: dict[tuple[tuple[int, ...], bytes], GateTensors] = {}
    found: list[GateTensors | SiteTensors] = []
    for step in steps:
        if isinstance(step, Site):
            found.append(SiteTensors.of(step))
            continue
        matrix = (step.matrix.shape, step.matrix.tobytes())
        if matrix not in known:
            known[matrix] = GateTensors.of(step)
        angles = () if step.angle is None else (step.angle,)
        found.append(replace(known[matrix], wires=step.wires, angles=angles))
    return found


def open_leg(axis: int) -> int:
    """Return the name of a site's leg: sites in order have names from the highest to the lowest."""
    return -1 - axis


def pairs_of(rank: int) -> np.ndarray:
    """Return the matrix (R^2, R^2) from Hermitian combinations to pairs of branches."""
    index = np.arange(rank**2).reshape(rank, rank)
    matrix = np.eye(rank**2, dtype=complex)
    for a, b in zip(*np.triu_indices(rank, 1), strict=True):
        both = [index[a, b], index[b, a]]
        matrix[np.ix_(both, both)] = [[1, 1j], [1, -1j]]
    return matrix


def cores_of(steps: Sequence[GateTensors | SiteTensors], letters: np.ndarray) -> list[Core]:
    """Return the network of one term, none where it sees no gate, no site and no wire.

    Parameters
    ----------
    steps
        The gates and sites in order.
    letters
        Boolean (2, wires): x and z of the term.
    """
    seen = set(np.flatnonzero(letters.any(axis=0)).tolist())
    cone = []
    for step in reversed(steps):
        # The others cancel between ket and bra.
        if isinstance(step, SiteTensors) or seen.intersection(step.wires):
            cone.append(step)
            seen.update(step.wires)
    opened = {s.wires[0] for s in cone if isinstance(s, SiteTensors) and s.kind == "start"}
    names = count()
    end = {wire: next(names) for wire in seen - opened}
    cores = [Core((), (end[wire],), np.array([1.0, 0.0, 0.0, 1.0])) for wire in sorted(end)]
    for step in reversed(cone):
        before = [end.pop(wire) for wire in step.wires if wire in end]
        ends = isinstance(step, SiteTensors) and step.kind == "end"
        behind = [] if ends else [next(names) for _ in step.wires]
        if isinstance(step, SiteTensors):
            cores.append(step.core([*behind, *before]))
        else:
            cores += step.cores(before, behind, names)
        end.update(zip(step.wires, behind, strict=not ends))
    for wire in sorted(end):
        picked = _LETTER[bool(letters[0, wire]), bool(letters[1, wire])]
        cores.append(Core((), (end[wire],), np.eye(PAULIS)[picked]))
    return _merged(cores)


def _transfer_matrix(step: MatrixGate) -> np.ndarray:
    """Return a gate's Pauli transfer matrix (D, D), of a free angle (harmonics, D, D)."""
    if step.angle is None:
        return between(step.matrix, step.matrix).real
    parts = [[between(a, b) for b in step.matrix] for a in step.matrix]
    # Of K0 + K1 cos t/2 + K2 sin t/2 between ket and bra: squares are cosines of t, products sines.
    whole = [
        parts[0][0] + (parts[1][1] + parts[2][2]) / 2,
        (parts[1][1] - parts[2][2]) / 2,
        (parts[1][2] + parts[2][1]) / 2,
    ]
    half = [parts[0][1] + parts[1][0], parts[0][2] + parts[2][0]]
    if np.abs(half).max() < _RANK:
        half = []
    return np.array(whole + half).real


def between(ket: np.ndarray, bra: np.ndarray) -> np.ndarray:
    """Return tr(P ket Q bra†) / d for all Paulis P and Q, which are ordered as the wires are."""
    paulis = _paulis(len(ket).bit_length() - 1)
    turned = ket @ paulis @ bra.conj().T
    return np.einsum("iab,jba->ij", paulis, turned) / len(ket)


@lru_cache(maxsize=4)
def _paulis(wires: int) -> np.ndarray:
    """Return all Paulis (4^wires, d, d) of some wires."""
    return reduce(_products, [_MATRICES] * wires)


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product = np.einsum("aij,bkl->abikjl", a, b)
    size = a.shape[1] * b.shape[1]
    return product.reshape(-1, size, size)


# -- constants, contracted ahead ---------------------------------------------------------


def _merged(cores: Sequence[Core]) -> list[Core]:
    """Return cores of which some are products of others, where a call then costs no more."""
    known = dict(enumerate(cores))
    owners: defaultdict[int, set[int]] = defaultdict(set)
    for number, core in known.items():
        for leg in core.legs:
            owners[leg].add(number)
    heap = [
        (cost, *pair)
        for pair in sorted({tuple(sorted(both)) for both in owners.values() if len(both) == 2})
        if (cost := _cost_as_one(*(known[k] for k in pair))) is not None
    ]
    heapify(heap)
    for number in count(len(known)):
        while heap and not (heap[0][1] in known and heap[0][2] in known):
            heappop(heap)
        if not heap:
            return list(known.values())
        _, a, b = heappop(heap)
        core = known[number] = known.pop(a).times(known.pop(b))
        for leg in core.legs:
            owners[leg] = owners[leg] - {a, b} | {number}
        for other in sorted({k for leg in core.legs for k in owners[leg]} - {number}):
            cost = _cost_as_one(known[other], core)
            if cost is not None:
                heappush(heap, (cost, other, number))
    raise AssertionError("unreachable")


def _cost_as_one(a: Core, b: Core) -> int | None:
    """Return a call's multiplications for the product of two cores, None if they stay apart."""
    shared = prod(a.size_of(leg) for leg in a.legs if leg in b.legs)
    size = a.size * b.size // shared**2
    entries = a.harmonics * b.harmonics * size
    if entries > MOST_ENTRIES:
        return None
    if not (a.angles or b.angles):  # free, but a large tensor makes what follows dear
        return 0 if size <= max(a.size, b.size) else None
    apart = sum(core.harmonics * core.size for core in (a, b) if core.angles)
    apart += size * shared + CALL_PRODUCTS
    return entries if entries <= apart else None

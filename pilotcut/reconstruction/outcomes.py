"""The same contraction with outcomes left open: joint probabilities of any qubits' bits.

A query keeps some qubits' bits open, gives others, and sums over all the rest *before*
anything is contracted. So it costs what its kept qubits cost, however wide the circuit: the
full distribution, marginals, refinement (arXiv:2012.02333) and sampling are all this one query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import cotengra
import numpy as np

from pilotcut.backends.outcomes import Outcomes, StateOutcomes
from pilotcut.cutting.fragment import Bond, Fragment
from pilotcut.errors import UserError

#: Numbers that the largest tensor of a query may have: 2^26 are 0.5 GiB.
MOST_ENTRIES = 2**26

#: Numbers that a batch of given bits should make at once.
BATCH_ENTRIES = 2**22

_ROWS = "rows"


@dataclass(frozen=True)
class Node:
    """Some wires' outcomes in the network.

    Parameters
    ----------
    label
        Of the fragment, for messages.
    outcomes
        The outcomes, open to queries.
    bonds
        The name of the index at each site.
    wire_of
        The wire that each of its qubits ends on.
    """

    label: str
    outcomes: Outcomes
    bonds: tuple[str, ...]
    wire_of: dict[int, int]

    @classmethod
    def of(cls, fragment: Fragment, outcomes: Outcomes) -> Node:
        """Return the node of a fragment, or of a group of its wires."""
        sites = [fragment.sites[s] for s in outcomes.sites]
        names = tuple(f"{site.bond}.{site.side}" for site in sites)
        return cls(fragment.label, outcomes, names, {fragment.qubits[w]: w for w in outcomes.wires})

    def tensor(self, keep: Sequence[int], given: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return the real tensor (rows, 2^keep, *sites) for qubits of this node."""
        kept, fixed = ([self.wire_of[q] for q in qubits] for qubits in (keep, given))
        tensor = self.outcomes.tensor(kept, fixed, bits)
        return _as_real(tensor) if isinstance(self.outcomes, StateOutcomes) else tensor


class OpenNetwork:
    """A plan's outcomes and bonds, open to queries of joint probabilities.

    Parameters
    ----------
    nodes
        Every qubit of the circuit is in one of them.
    bonds, matrices
        The bonds, and their matrices (d0, d1), of the coherent basis or the physical one.
    coherent
        Which of the two it is.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        bonds: Sequence[Bond],
        matrices: Sequence[np.ndarray],
        *,
        coherent: bool,
    ) -> None:
        self.nodes = tuple(nodes)
        self._matrices = [_real_bond(m) if coherent else m for m in matrices]
        self._bonds = [(f"{b.index}.0", f"{b.index}.1") for b in bonds]
        self._node_of = {q: k for k, node in enumerate(nodes) for q in node.wire_of}
        self._summed: dict[int, np.ndarray] = {}
        self._trees: dict[tuple[object, ...], cotengra.ContractionTree] = {}

    def ordered(self, qubits: Sequence[int]) -> list[int]:
        """Return qubits with those of one node side by side: queries then touch few nodes."""
        return [q for own in self._by_node(sorted(qubits)) for q in own]

    def rows_at_once(self, keep: Sequence[int]) -> int:
        """Return for how many rows of given bits `marginals` may be asked at once."""
        parts = self._by_node(keep)
        entries = [
            prod(n.outcomes.site_shape) << len(own)
            for n, own in zip(self.nodes, parts, strict=True)
        ]
        return max(1, BATCH_ENTRIES // max(*entries, 1 << len(keep)))

    def marginals(self, keep: Sequence[int], given: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return joint probabilities of kept and given bits, (rows, 2^keep).

        Parameters
        ----------
        keep
            Qubits whose bits stay open; the first is the lowest bit of the outcome.
        given, bits
            Qubits whose bits are given, (rows, given).

        Raises
        ------
        UserError
            If a tensor of the query does not fit.
        """
        kept, fixed = self._by_node(keep), self._by_node(given)
        column = {qubit: k for k, qubit in enumerate(given)}
        operands, indices = [], []
        for number, (node, own, theirs) in enumerate(zip(self.nodes, kept, fixed, strict=True)):
            tensor = self._operand(number, own, theirs, bits[:, [column[q] for q in theirs]])
            names = [*([_ROWS] if theirs else []), *([f"kept {number}"] if own else [])]
            operands.append(tensor)
            indices.append((*names, *node.bonds))
        output = ([_ROWS] if given else []) + [f"kept {n}" for n, own in enumerate(kept) if own]
        result = self._contract([*operands, *self._matrices], [*indices, *self._bonds], output)
        found = [qubit for own in kept for qubit in reversed(own)]  # axes, the highest bit first
        result = result.reshape(len(bits), *[2] * len(found))
        order = [1 + found.index(qubit) for qubit in reversed(keep)]
        return result.transpose(0, *order).reshape(len(bits), 1 << len(keep))

    def _by_node(self, qubits: Sequence[int]) -> list[list[int]]:
        parts: list[list[int]] = [[] for _ in self.nodes]
        for qubit in qubits:
            parts[self._node_of[qubit]].append(qubit)
        return parts

    def _operand(
        self, number: int, keep: Sequence[int], given: Sequence[int], bits: np.ndarray
    ) -> np.ndarray:
        """Return a node's tensor, without the axes of rows and outcome where it has none."""
        node = self.nodes[number]
        if not keep and not given:
            if number not in self._summed:
                self._summed[number] = node.tensor([], [], np.zeros((1, 0)))[0, 0]
            return self._summed[number]
        distinct, which = np.unique(bits, axis=0, return_inverse=True)
        self._check_size(node, len(keep), len(distinct))
        tensor = node.tensor(keep, given, distinct)
        tensor = tensor[which.reshape(-1)] if given else tensor[0]
        return tensor if keep else tensor[:, 0]

    def _check_size(self, node: Node, keep: int, rows: int) -> None:
        entries = rows * prod(node.outcomes.site_shape) << keep
        if entries > MOST_ENTRIES:
            raise UserError(
                f"fragment {node.label} has an outcome tensor of {entries:.3g} numbers for {keep} "
                f"of its qubits and {len(node.bonds)} sites, expected at most {MOST_ENTRIES:.3g}; "
                f"ask for the marginal of fewer qubits, for most_probable, or cut into smaller "
                f"fragments"
            )

    def _contract(
        self, operands: list[np.ndarray], indices: list[tuple[str, ...]], output: list[str]
    ) -> np.ndarray:
        pairs = zip(indices, operands, strict=True)
        sizes = {n: s for names, x in pairs for n, s in zip(names, x.shape, strict=True)}
        rowless = tuple((n, s) for n, s in sizes.items() if n != _ROWS)
        key = (tuple(indices), rowless)
        if key not in self._trees:  # the best path hardly depends on the number of rows
            self._trees[key] = cotengra.array_contract_tree(
                indices, output, sizes, optimize=_optimizer(bool(self._bonds))
            )
        tree = self._trees[key]
        if tree.max_size() > MOST_ENTRIES:
            raise UserError(
                f"the contraction makes a tensor of {tree.max_size():.3g} numbers, expected at "
                f"most {MOST_ENTRIES:.3g}; ask for the marginal of fewer qubits or for "
                f"most_probable, or choose fewer cuts"
            )
        return tree.contract(operands)


def _optimizer(bonds: bool) -> str | cotengra.RandomGreedyOptimizer:
    """Return how to search a path: seeded, in this process; outer products need no search."""
    if not bonds:
        return "greedy"
    return cotengra.RandomGreedyOptimizer(max_repeats=32, seed=0, parallel=False)


def _hermitian(rank: int) -> np.ndarray:
    """Return what turns the real numbers of a Hermitian matrix into its entries, (R^2, R^2).

    ``h_ab = t_ab + i t_ba`` and ``h_ba = t_ab - i t_ba`` for a < b.
    """
    result = np.zeros((rank, rank, rank, rank), dtype=complex)
    for a in range(rank):
        result[a, a, a, a] = 1
        for b in range(a + 1, rank):
            result[a, b, a, b] = result[b, a, a, b] = 1
            result[a, b, b, a], result[b, a, b, a] = 1j, -1j
    return result.reshape(rank**2, rank**2)


def _as_real(tensor: np.ndarray) -> np.ndarray:
    """Return the real numbers of a tensor (rows, outcomes, *sites) that is Hermitian.

    Exchanging ket and bra at all sites conjugates it, so half of what it holds is redundant.
    """
    for axis in range(2, tensor.ndim):
        inverse = np.linalg.inv(_hermitian(round(tensor.shape[axis] ** 0.5)))
        tensor = np.moveaxis(np.tensordot(tensor, inverse, axes=(axis, 1)), -1, axis)
    return np.ascontiguousarray(tensor.real)


def _real_bond(matrix: np.ndarray) -> np.ndarray:
    """Return the bond matrix between real numbers of Hermitian tensors."""
    left, right = (_hermitian(round(size**0.5)) for size in matrix.shape)
    return (left.T @ matrix @ right).real

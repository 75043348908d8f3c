"""Open network: the contraction with outcomes left open, for joint probabilities of any qubits.

A query keeps some qubits' bits open, gives others, and sums over all the rest *before*
anything is contracted. So it costs what its kept qubits cost, however wide the circuit: the
full distribution, marginals, refinement (arXiv:2012.02333) and sampling are all this one query.

Wires of a fragment that nothing entangled are nodes of their own: as one tensor they would have the
product of the branch pairs of all their sites.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import cotengra
import numpy as np

from pilotcut.backends.outcomes import CountedOutcomes, OutcomeTensor, StateOutcomes
from pilotcut.cutting.bond import Bond
from pilotcut.cutting.fragment import Fragment
from pilotcut.errors import UserError
from pilotcut.io.large_numbers import digits
from pilotcut.options import counted

#: Numbers that the largest tensor of a query may have: 2^26 are 0.5 GiB.
MOST_ENTRIES = 2**26

#: Numbers that a batch of given bits should make at once.
BATCH_ENTRIES = 2**22

_ROWS = "rows"

# Behind a site's name where its outcomes have an axis of their own.
_OUTCOME = ".outcome"


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
    outcomes: OutcomeTensor
    bonds: tuple[str, ...]
    wire_of: dict[int, int]

    @classmethod
    def of(cls, fragment: Fragment, outcomes: OutcomeTensor) -> Node:
        """Return the node of a fragment, or of a group of its wires."""
        sites = [fragment.sites[s] for s in outcomes.sites]
        names = tuple(f"{site.bond}.{site.side}" for site in sites)
        return cls(fragment.label, outcomes, names, {fragment.qubits[w]: w for w in outcomes.wires})

    def tensor(self, keep: Sequence[int], given: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return the real tensor (rows, 2^keep, *sites) for qubits of this node."""
        kept, fixed = ([self.wire_of[q] for q in qubits] for qubits in (keep, given))
        tensor = self.outcomes.tensor(kept, fixed, bits)
        return _as_real(tensor) if isinstance(self.outcomes, StateOutcomes) else tensor

    def squares(self, keep: Sequence[int], given: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return the mean squares of what shots add to `tensor`."""
        kept, fixed = ([self.wire_of[q] for q in qubits] for qubits in (keep, given))
        return self.counted.squares(kept, fixed, bits)

    @property
    def counted(self) -> CountedOutcomes:
        """The outcomes, which shots found."""
        assert isinstance(self.outcomes, CountedOutcomes)
        return self.outcomes


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
        operands, indices, found = self._operands(keep, given, bits)
        output = [*([_ROWS] if given else []), *found]
        result = self._contract([*operands, *self._matrices], [*indices, *self._bonds], output)
        return self._ordered(result, keep, len(bits))

    def variances(self, keep: Sequence[int], given: Sequence[int], bits: np.ndarray) -> np.ndarray:
        """Return the variances (2^keep,) of `marginals` from shots, for one row of given bits.

        To first order, and settings are independent: what a shot adds to the value is its entry's
        environment, open at the others' outcomes, and its variance is that of a setting.
        """
        total = np.zeros(1 << len(keep))
        operands, indices, found = self._operands(keep, given, bits)
        operands = [
            x[0] if _ROWS in names else x for x, names in zip(operands, indices, strict=True)
        ]
        indices = [tuple(n for n in names if n != _ROWS) for names in indices]
        for number, node in enumerate(self.nodes):
            own = _kept(number)
            others = [*operands[:number], *operands[number + 1 :], *self._matrices]
            theirs = [*indices[:number], *indices[number + 1 :], *self._bonds]
            output = [*node.bonds, *(n for n in found if n != own)]
            environment = self._contract(others, theirs, output) if others else np.ones(())
            squares = node.squares(*self._share(number, keep, given, bits))
            squares = squares.reshape(operands[number].shape)
            both = [tuple(output), indices[number]]
            result = self._spread(node, environment, (operands[number], squares), both, found)
            total += self._ordered(result, keep, 1)[0]
        return total.clip(0.0)

    def _spread(
        self,
        node: Node,
        environment: np.ndarray,
        moments: tuple[np.ndarray, np.ndarray],
        indices: list[tuple[str, ...]],
        found: list[str],
    ) -> np.ndarray:
        """Return the variances of the settings' means, summed over settings.

        `moments` are the means and mean squares of its tensor.
        """
        means, squares = moments
        spread = node.counted.spread.reshape(node.outcomes.site_shape)
        if max(node.counted.found, default=1) == 1:
            return self._contract([environment**2, (squares - means**2) * spread], indices, found)
        # Of outcomes one alone is found: E[(sum_k e_k x_k)^2] is sum_k e_k^2 E[x_k^2], and what
        # goes off is the square of the sum of their means.
        second = self._contract([environment**2, squares * spread], indices, found)
        (e, theirs), (m, own) = (
            _parted(x, names, node) for x, names in zip((environment, means), indices, strict=True)
        )
        settings = [n for n in own if n not in found and not n.endswith(_OUTCOME)]
        mean = self._contract([e, m], [theirs, own], [*settings, *found])
        first = spread[tuple(slice(None, None, each) for each in node.counted.found)]
        first = first.reshape(*first.shape, *[1] * (mean.ndim - first.ndim))
        return second - (mean**2 * first).sum(axis=tuple(range(len(settings))))

    def _operands(
        self, keep: Sequence[int], given: Sequence[int], bits: np.ndarray
    ) -> tuple[list[np.ndarray], list[tuple[str, ...]], list[str]]:
        """Return the nodes' tensors, their indices, and the indices of outcomes that are open."""
        operands, indices = [], []
        for number, node in enumerate(self.nodes):
            own, theirs, some = self._share(number, keep, given, bits)
            names = [*([_ROWS] if theirs else []), *([_kept(number)] if own else [])]
            operands.append(self._operand(number, own, theirs, some))
            indices.append((*names, *node.bonds))
        return operands, indices, [_kept(k) for k, own in enumerate(self._by_node(keep)) if own]

    def _share(
        self, number: int, keep: Sequence[int], given: Sequence[int], bits: np.ndarray
    ) -> tuple[list[int], list[int], np.ndarray]:
        """Return what a query asks of one node."""
        own, theirs = ([q for q in some if self._node_of[q] == number] for some in (keep, given))
        return own, theirs, bits[:, [list(given).index(q) for q in theirs]]

    def _ordered(self, result: np.ndarray, keep: Sequence[int], rows: int) -> np.ndarray:
        """Return outcomes, that lie node by node, as numbers over `keep`, (rows, 2^keep)."""
        found = [qubit for own in self._by_node(keep) for qubit in reversed(own)]
        result = result.reshape(rows, *[2] * len(found))  # the highest bit of a node first
        order = [1 + found.index(qubit) for qubit in reversed(keep)]
        return result.transpose(0, *order).reshape(rows, 1 << len(keep))

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
                # Also a node of which nothing is asked may have too many sites.
                self._check_size(node, 0, 1)
                self._summed[number] = node.tensor([], [], np.zeros((1, 0)))[0, 0]
            return self._summed[number]
        # Rows of a query often agree on the bits of one node: each of them is made once.
        distinct, which = np.unique(bits, axis=0, return_inverse=True)
        self._check_size(node, len(keep), len(distinct))
        tensor = node.tensor(keep, given, distinct)
        tensor = tensor[which.reshape(-1)] if given else tensor[0]
        return tensor if keep else tensor[:, 0]

    def _check_size(self, node: Node, keep: int, rows: int) -> None:
        entries = rows * prod(node.outcomes.site_shape) << keep
        if entries > MOST_ENTRIES:
            raise UserError(
                f"fragment {node.label} has an outcome tensor of {digits(entries)} numbers for "
                f"{keep} of its qubits and {counted(len(node.bonds), 'site')}, expected at most "
                f"{MOST_ENTRIES:.3g}; "
                f"ask for the marginal of fewer qubits, for most_probable, or cut into smaller "
                f"fragments"
            )

    def _contract(
        self, operands: list[np.ndarray], indices: list[tuple[str, ...]], output: list[str]
    ) -> np.ndarray:
        pairs = zip(indices, operands, strict=True)
        sizes = {n: s for names, x in pairs for n, s in zip(names, x.shape, strict=True)}
        rowless = tuple((n, s) for n, s in sizes.items() if n != _ROWS)
        key = (tuple(indices), tuple(output), rowless)
        if key not in self._trees:  # the best path hardly depends on the number of rows
            summed = bool(set(sizes) - set(output))
            self._trees[key] = cotengra.array_contract_tree(
                indices, output, sizes, optimize=_optimizer(summed)
            )
        tree = self._trees[key]
        if tree.max_size() > MOST_ENTRIES:
            raise UserError(
                f"the contraction makes a tensor of {digits(tree.max_size())} numbers, expected at "
                f"most {MOST_ENTRIES:.3g}; ask for the marginal of fewer qubits or for "
                f"most_probable, or choose fewer cuts"
            )
        return tree.contract(operands)


def _parted(
    array: np.ndarray, names: Sequence[str], node: Node
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return an array with the axis of a site as two: its settings, and outcomes of each."""
    found = dict(zip(node.bonds, node.counted.found, strict=True))
    shape, parted = [], []
    for name, size in zip(names, array.shape, strict=True):
        each = found.get(name, 1)
        shape += [size // each, each] if each > 1 else [size]
        parted += [name, name + _OUTCOME] if each > 1 else [name]
    return array.reshape(shape), tuple(parted)


def _kept(number: int) -> str:
    """Return the name of the index of a node's open outcomes."""
    return f"kept {number}"


def _optimizer(summed: bool) -> str | cotengra.RandomGreedyOptimizer:
    """Return how to search a path: seeded, in this process; outer products need no search."""
    if not summed:
        return "greedy"
    # Seeded and in this process: "auto" finds another path, and other last bits, each time.
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
    for size in tensor.shape[2:]:  # the first site's axis goes last, until all had their turn
        inverse = np.linalg.inv(_hermitian(round(size**0.5)))
        tensor = np.tensordot(tensor, inverse, axes=(2, 1))
    return np.ascontiguousarray(tensor.real)


def _real_bond(matrix: np.ndarray) -> np.ndarray:
    """Return the bond matrix between real numbers of Hermitian tensors."""
    left, right = (_hermitian(round(size**0.5)) for size in matrix.shape)
    return (left.T @ matrix @ right).real

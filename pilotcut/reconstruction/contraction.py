"""Contraction of fragment tensors and bond matrices: the values of a plan, and their environments.

The value of a term is a small tensor network over the fragment graph: fragment tensors
are the nodes, bond matrices the edges. Its cost is the graph's treewidth and not
6^cuts; a chain is linear in the number of cuts. One reverse sweep over the same pairwise
contractions gives every fragment's *environment*, the derivative of the value with
respect to the fragment's tensor, from which errors and gradients follow. Refuses to know where
tensors come from, and what is made of the values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import cotengra
import numpy as np
import opt_einsum

from pilotcut.backends.network_order import numbered
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan

#: Networks with more operands than this get their path from cotengra.
SMALL_NETWORK = 16

#: Names of the two indices that stand on every operand and are never summed.
BATCH, TERM = "batch", "term"


# By identity and not by value: arrays have no hash, and `slicing.divide` is cached by contraction.
@dataclass(frozen=True, eq=False)
class Contraction:
    """Pairwise contraction of a plan's tensors: indices of each operand, and the path.

    Parameters
    ----------
    indices
        For each operand (fragments, then bonds) the names of its axes: `BATCH`, `TERM`, sites.
    path
        Pairs of positions in the list of operands, each result appended to it.
    term_index
        Integer array (terms, fragments): the fragment's sub-observable in each term.
    sizes
        How many values each site index takes.
    of_plan
        The plan, if it is of one and not only of a network.
    asked
        The plan that this one stands for, if it is another: one with cuts.
    """

    indices: tuple[tuple[str, ...], ...]
    path: tuple[tuple[int, int], ...]
    term_index: np.ndarray
    sizes: Mapping[str, int]
    of_plan: CutPlan | None = field(default=None, repr=False)
    asked: CutPlan | None = field(default=None, repr=False)

    @classmethod
    def of(cls, plan: CutPlan, *, coherent: bool = False) -> Contraction:
        """Return the contraction of a plan in one of its two bases, with its path searched."""
        return replace(cls.of_network(*_network(plan, coherent), plan.term_index), of_plan=plan)

    @classmethod
    def of_network(
        cls,
        indices: tuple[tuple[str, ...], ...],
        sizes: Mapping[str, int],
        term_index: np.ndarray,
    ) -> Contraction:
        """Return the contraction of operands with these indices, with its path searched."""
        return cls(indices, _path(indices, sizes), term_index, sizes)

    def __deepcopy__(self, memo: dict[int, Any]) -> Contraction:
        return self  # nothing in it ever changes, and its plan is large

    @property
    def plan(self) -> CutPlan:
        """The plan that the operands are of."""
        assert self.of_plan is not None, "ranks and networks have no plan"
        return self.of_plan

    @property
    def named_plan(self) -> CutPlan:
        """The plan that was asked for, by which users know it."""
        return self.plan if self.asked is None else self.asked

    def without_plan(self) -> Contraction:
        """Return it for ranks, which contract what they are given: a plan need not travel."""
        return replace(self, of_plan=None, asked=None)

    @property
    def steps(self) -> Iterator[tuple[int, int, tuple[str, ...]]]:
        """The pairs of the path, each with the indices of its result."""
        nodes = list(self.indices)
        for a, b in self.path:
            nodes.append(_joined(nodes[a], nodes[b]))
            yield a, b, nodes[-1]

    def operands(
        self, tensors: Sequence[FragmentTensor], bonds: Sequence[np.ndarray]
    ) -> list[np.ndarray]:
        """Return arrays (batch, terms, *sites) of fragments and (batch, 1, d0, d1) of bonds."""
        gathered = [t.values[:, self.term_index[:, f]] for f, t in enumerate(tensors)]
        return [*gathered, *(bond[:, None] for bond in bonds)]

    def values(self, operands: Sequence[np.ndarray]) -> np.ndarray:
        """Return the value of every term, (batch, terms)."""
        return self._forward(operands, keep=False)[-1][1]

    def values_and_environments(
        self, operands: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return (batch, terms) values and, shaped as each operand, d value / d operand.

        The environment of a bond keeps batch and term axes: (batch, terms, d0, d1).
        """
        nodes = self._forward(operands, keep=True)
        value = nodes[-1][1]
        adjoints = {len(nodes) - 1: np.ones_like(value)}
        for a, b in reversed(self.path):
            top = adjoints.pop(len(nodes) - 1)  # used once: its memory is free again
            out = nodes.pop()[0]
            adjoints[a] = _pair(top, out, nodes[b][1], nodes[b][0], nodes[a][0])
            adjoints[b] = _pair(top, out, nodes[a][1], nodes[a][0], nodes[b][0])
        return value, [adjoints[k] for k in range(len(operands))]

    def _forward(
        self, operands: Sequence[np.ndarray], *, keep: bool
    ) -> list[tuple[tuple[str, ...], np.ndarray]]:
        """Return all operands and results in order; without `keep`, used ones are empty."""
        nodes = list(zip(self.indices, operands, strict=True))
        for a, b in self.path:
            (ia, x), (ib, y) = nodes[a], nodes[b]
            out = _joined(ia, ib)
            nodes.append((out, _pair(x, ia, y, ib, out)))
            if not keep:
                nodes[a] = nodes[b] = _USED
        return nodes


_USED: tuple[tuple[str, ...], np.ndarray] = ((), np.empty(0))


def _joined(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    """Return the indices of a product: a site index stands on two operands, so is summed here."""
    return (*a[:2], *(i for i in (*a[2:], *b[2:]) if (i in a) != (i in b)))


def _pair(
    x: np.ndarray, ix: tuple[str, ...], y: np.ndarray, iy: tuple[str, ...], out: tuple[str, ...]
) -> np.ndarray:
    """Contract two operands over the indices that `out` lacks, as one batched product."""
    # Small operands cost numpy's calls, some 25 us a pair, and not flops (benchmarks/README.md): so
    # a pair is transposed to one batched matrix product, whatever its indices.
    left = [i for i in ix[2:] if i in out]
    right = [i for i in iy[2:] if i in out]
    inner = [i for i in ix[2:] if i not in out]
    mx = _matrix(x, ix, left, inner)
    my = _matrix(y, iy, inner, right)
    product = mx @ my
    size = dict(zip(ix, x.shape, strict=True)) | dict(zip(iy, y.shape, strict=True))
    product = product.reshape(*product.shape[:2], *(size[i] for i in (*left, *right)))
    order = [(*left, *right).index(i) + 2 for i in out[2:]]
    return product.transpose(0, 1, *order)


def _matrix(
    x: np.ndarray, indices: tuple[str, ...], rows: list[str], columns: list[str]
) -> np.ndarray:
    axes = [indices.index(i) for i in (*rows, *columns)]
    moved = x.transpose(0, 1, *axes)
    height = int(np.prod(moved.shape[2 : 2 + len(rows)], dtype=int))
    # Without rows nothing tells reshape how long the last axis is.
    return moved.reshape(*moved.shape[:2], height, -1) if moved.size else moved


def _network(plan: CutPlan, coherent: bool) -> tuple[tuple[tuple[str, ...], ...], dict[str, int]]:
    fragments: list[list[str]] = [[""] * len(f.sites) for f in plan.fragments]
    bonds = []
    sizes = {}
    for bond in plan.bonds:
        names = (f"{bond.index}.0", f"{bond.index}.1")
        rank = bond.amplitudes.shape[-1]
        shape = (rank**2, rank**2) if coherent else bond.coefficients.shape[-2:]
        for name, (fragment, axis), size in zip(names, bond.ends, shape, strict=True):
            fragments[fragment][axis] = name
            sizes[name] = size
        bonds.append(names)
    return tuple((BATCH, TERM, *names) for names in (*fragments, *bonds)), sizes


def _path(
    indices: tuple[tuple[str, ...], ...], sizes: Mapping[str, int]
) -> tuple[tuple[int, int], ...]:
    """Search a pairwise path and number its results after the operands (SSA form)."""
    inner = [names[2:] for names in indices]
    if len(inner) == 1:
        return ()
    if len(inner) <= SMALL_NETWORK:
        symbols = {name: opt_einsum.get_symbol(k) for k, name in enumerate(sizes)}
        equation = ",".join("".join(symbols[n] for n in names) for names in inner) + "->"
        shapes = [tuple(sizes[n] for n in names) for names in inner]
        path, _ = opt_einsum.contract_path(equation, *shapes, shapes=True, optimize="auto")
    else:
        # Seeded and in this process: "auto" finds another path, and other last bits, each time.
        search = cotengra.RandomGreedyOptimizer(max_repeats=32, seed=0, parallel=False)
        path = cotengra.array_contract_path(
            inner, output=(), size_dict=dict(sizes), optimize=search
        )
    return numbered(path, len(inner))


def sensitivities(
    term_index: np.ndarray,
    environment: np.ndarray,
    coefficients: np.ndarray,
    observables: int | None = None,
) -> np.ndarray:
    """Return d (sums of terms) / d (one fragment's tensor).

    Parameters
    ----------
    term_index
        (terms,): the fragment's sub-observable in each term.
    environment
        The fragment's, (batch, terms, *sites).
    coefficients
        (observables, terms), or (batch, observables, terms).
    observables
        How many sub-observables the fragment has; None where all of its terms are here.

    Returns
    -------
    np.ndarray
        (batch, observables, sub-observables, variants), site axes flattened.
    """
    count = term_index.max() + 1 if observables is None else observables
    # A sub-observable stands in many terms; its derivative sums over them, before variants come in.
    uses = term_index[None, :] == np.arange(count)[:, None]
    weights = coefficients[..., :, None, :] * uses
    flat = environment.reshape(*environment.shape[:2], -1)
    tall = weights.reshape(*weights.shape[:-3], -1, weights.shape[-1])
    return (tall @ flat).reshape(len(flat), *weights.shape[-3:-1], -1)


def standard_errors(
    entries: Sequence[Sequence[np.ndarray]],
    tensors: Sequence[FragmentTensor],
    sensitivity: Sequence[np.ndarray],
) -> np.ndarray:
    """Return the standard errors (batch, observables) of sums of terms, to first order.

    ``Var = sum_f sum_settings s^T Cov s`` with s the sensitivities: estimates of different
    settings are independent, those of one group come from the same shots and bring their
    covariance.

    Parameters
    ----------
    entries
        For each fragment, what is estimated together (`Fragment.entries`).
    tensors, sensitivity
        For each fragment, its tensor and its `sensitivities`.
    """
    batch, observables = sensitivity[0].shape[:2]
    variance = np.zeros((batch, observables))
    for f, tensor in enumerate(tensors):
        # Its size in full: a rank may have no rows, which tell -1 nothing.
        flat = sensitivity[f].reshape(batch, observables, prod(sensitivity[f].shape[2:]))
        for places, covariance in zip(entries[f], tensor.covariances, strict=True):
            s = flat[:, :, places]
            variance += np.einsum("bovm,bvmn,bovn->bo", s, covariance, s, optimize=True)
    return np.sqrt(np.maximum(variance, 0.0))

"""Random fragment graphs with random tensors, for tests of the contraction."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from hypothesis import strategies as st

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.reconstruction.contraction import (
    BATCH,
    TERM,
    Contraction,
    sensitivities,
    standard_errors,
)

#: Kind of graph -> number of fragments, and which pairs of them are joined.
GRAPHS = {
    "chain": (5, [(k, k + 1) for k in range(4)]),
    "ring": (5, [(k, (k + 1) % 5) for k in range(5)]),
    "star": (5, [(0, k) for k in range(1, 5)]),
    "grid": (6, [(0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)]),
    "complete": (4, [(a, b) for a in range(4) for b in range(a)]),
}


@dataclass(frozen=True)
class Network:
    """A contraction with everything that goes into it."""

    contraction: Contraction
    entries: list[list[np.ndarray]]
    tensors: list[FragmentTensor]
    bonds: list[np.ndarray]
    coefficients: np.ndarray

    @property
    def operands(self) -> list[np.ndarray]:
        return self.contraction.operands(self.tensors, self.bonds)


@dataclass(frozen=True)
class Sums:
    """The serial result, and how large the sums are that rounding errors come from."""

    values: np.ndarray
    environments: list[np.ndarray]
    totals: np.ndarray
    errors: np.ndarray


def serial(network: Network) -> Sums:
    """Contract without any division."""
    contraction, coefficients = network.contraction, network.coefficients
    values, environments = contraction.values_and_environments(network.operands)
    weights = np.broadcast_to(coefficients, (len(values), *coefficients.shape[-2:]))
    totals = np.einsum("rot,rt->ro", weights, values.real)
    errors = np.zeros_like(totals)
    if network.tensors[0].covariances:
        index = contraction.term_index
        slopes = [
            sensitivities(index[:, f], environments[f], coefficients)
            for f in range(len(network.tensors))
        ]
        errors = standard_errors(network.entries, network.tensors, slopes)
    return Sums(values, environments, totals, errors)


def assert_equal(result: np.ndarray, expected: np.ndarray) -> None:
    """Compare to 1e-12 of the largest entry."""
    assert result.shape == expected.shape
    largest = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12 * largest)


@st.composite
def networks(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(GRAPHS)) -> Network:
    """A graph of some kind with bonds of random sizes; some joined twice, some complex."""
    fragments, pairs = GRAPHS[draw(st.sampled_from(kinds))]
    pairs = pairs + draw(st.lists(st.sampled_from(pairs), max_size=1))
    shapes = [draw(st.tuples(*[st.integers(1, 4)] * 2)) for _ in pairs]
    rows, terms, subs = (draw(st.integers(1, most)) for most in (5, 3, 3))
    free = [draw(st.booleans()) for _ in pairs]
    return random_network(
        fragments,
        pairs,
        shapes,
        rows=rows,
        terms=terms,
        subs=subs,
        free=free,
        exact=draw(st.booleans()),
        own_weights=draw(st.booleans()),
        seed=draw(st.integers(0, 2**32 - 1)),
    )


def random_network(
    fragments: int,
    pairs: list[tuple[int, int]],
    shapes: list[tuple[int, int]],
    *,
    rows: int = 1,
    terms: int = 1,
    subs: int = 1,
    free: list[bool] | None = None,
    exact: bool = False,
    own_weights: bool = False,
    seed: int = 0,
) -> Network:
    """Random tensors on a graph: `free` bonds have a batch, `exact` ones are complex."""
    rng = np.random.default_rng(seed)
    sites: list[list[str]] = [[] for _ in range(fragments)]
    sizes = {}
    for number, (pair, shape) in enumerate(zip(pairs, shapes, strict=True)):
        for side in range(2):
            sites[pair[side]].append(f"{number}.{side}")
            sizes[f"{number}.{side}"] = shape[side]
    ends = [(f"{number}.0", f"{number}.1") for number in range(len(pairs))]
    indices = tuple((BATCH, TERM, *names) for names in (*sites, *ends))
    term_index = rng.integers(subs, size=(terms, fragments))
    contraction = Contraction.of_network(indices, sizes, term_index)
    counts = term_index.max(axis=0) + 1

    def numbers(*shape: int) -> np.ndarray:
        real = rng.normal(size=shape)
        return real + 1j * rng.normal(size=shape) if exact else real

    tensors, entries = [], []
    for names, count in zip(sites, counts, strict=True):
        shape = [sizes[name] for name in names]
        members = [tuple(range(count))] if count < 3 else [(0, 2), (1,)]
        factors = [rng.normal(size=(rows, prod(shape), len(g), len(g))) for g in members]
        covariances = () if exact else tuple(f @ f.swapaxes(-1, -2) for f in factors)
        tensors.append(FragmentTensor(numbers(rows, count, *shape), covariances))
        variants = np.arange(prod(shape))[:, None]
        entries.append([np.array(some) * len(variants) + variants for some in members])
    many = free or [False] * len(pairs)
    bonds = [numbers(rows if one else 1, *shape) for one, shape in zip(many, shapes, strict=True)]
    coefficients = rng.normal(size=(rows, 2, terms) if own_weights else (2, terms))
    return Network(contraction, entries, tensors, bonds, coefficients)

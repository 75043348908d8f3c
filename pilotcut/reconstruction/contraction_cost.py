"""Cost of a contraction in one process: flops, memory and pairwise products, before any is done.

Counted along the path that `Contraction` takes; nothing is contracted, and nothing is measured
but the two constants that turn counts into seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from pilotcut.reconstruction.boxes import Box
from pilotcut.reconstruction.contraction import BATCH, TERM, Contraction

#: What one core does, roughly: seconds of a pairwise product whatever its size, and flops a
#: second of large ones (measured with numpy's OpenBLAS, benchmarks/reconstruction.py).
PRODUCT_S, FLOPS_PER_S = 20e-6, 5e9


@dataclass(frozen=True)
class ContractionCost:
    """Predicted cost of contracting in one process.

    Parameters
    ----------
    flops
        Multiplications and additions of numbers, real or complex.
    bytes
        Most bytes of arrays at any time, operands included.
    products
        Number of pairwise products.
    """

    flops: float
    bytes: int
    products: int

    @property
    def seconds(self) -> float:
        """Seconds on one core, within a factor of about three."""
        return self.products * PRODUCT_S + self.flops / FLOPS_PER_S


def cost_of_batch(
    contraction: Contraction, rows: int, environments: bool = False, itemsize: int = 8
) -> ContractionCost:
    """Return what the serial contraction of a batch takes.

    Parameters
    ----------
    contraction
        What is contracted.
    rows
        Size of the batch.
    environments
        Whether environments are wanted as well: three times the flops, and all results of
        the forward sweep are kept.
    itemsize
        Bytes of a number: 8 if real, 16 if complex.
    """
    whole = {BATCH: slice(0, rows), TERM: slice(0, len(contraction.term_index))}
    return cost_of_box(contraction, whole, environments, itemsize)


def cost_of_box(
    contraction: Contraction, box: Box, environments: bool = False, itemsize: int = 8
) -> ContractionCost:
    """Return what contracting one box takes; see `cost_of_batch`."""
    lengths = dict(contraction.sizes) | {i: one.stop - one.start for i, one in box.items()}
    return _cost(contraction, lengths, environments, itemsize)


def _cost(
    contraction: Contraction, lengths: Mapping[str, int], environments: bool, itemsize: int
) -> ContractionCost:
    """Walk the path as `Contraction` does, and add up what lives at each moment.

    A product copies both factors into the order of a matrix product. Bonds are counted as
    having no batch axis.
    """
    fragments = contraction.term_index.shape[1]
    sizes = [
        prod(lengths[i] for i in (names if k < fragments else names[2:]))
        for k, names in enumerate(contraction.indices)
    ]
    live = most = sum(sizes)
    flops = 0
    names = list(contraction.indices)
    for a, b, out in contraction.steps:
        flops += 2 * prod(lengths[i] for i in {*names[a], *names[b]})
        names.append(out)
        sizes.append(prod(lengths[i] for i in out))
        most = max(most, live + sizes[a] + sizes[b] + sizes[-1])
        live += sizes[-1]
        if not environments:
            live -= sum(sizes[k] for k in (a, b) if k >= len(contraction.indices))
    if environments:
        # An environment takes a product for each of the two operands of every pair.
        flops *= 3
        full = [prod(lengths[i] for i in one) for one in names]  # a bond's has batch and terms
        live += full[-1]
        for number, (a, b) in reversed(list(enumerate(contraction.path))):
            top = full[len(contraction.indices) + number]
            live -= top  # the forward result; its adjoint is still needed
            most = max(
                most,
                live + top + sizes[b] + full[a],
                live + full[a] + top + sizes[a] + full[b],
            )
            live += full[a] + full[b] - top
    products = len(contraction.path) * (3 if environments else 1)
    return ContractionCost(float(flops), most * itemsize, products)

"""Load of statevectors: gates times amplitudes of a fragment's branches, and draws.

What `pilotcut.backends.statevector` will do is read from its plan, operation by operation;
nothing is run. "sampled" is the same engine, whose distributions are then drawn from.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from pilotcut.backends.sampled import measured_groups, observed
from pilotcut.backends.statevector_blocks import BlockPlan, StateBlock
from pilotcut.backends.statevector_plan import MOST_AT_ONCE, StatevectorPlan, TensorOperation
from pilotcut.cutting.fragment import Fragment
from pilotcut.io.large_numbers import bounded
from pilotcut.perfmodel.load import STATES, FragmentWork, loads_of

#: Bytes of a state, all rows together, above which it is counted as out of the caches.
CACHE_BYTES = 2**23

#: How much longer a copy takes where a state exceeds the caches (see `copy_weight`).
FAR_COPY = 3.5

#: Terms of sums over pairs of branches that take as long as one product of amplitudes.
SUMS_OF_A_PRODUCT = 8


def draw_work(fragment: Fragment, rows: int, shots: int) -> FragmentWork:
    """Return the work of shots drawn from a fragment's exact distributions."""
    counter = DrawCounter(fragment)
    loads = loads_of(fragment, rows, shots, counter.amounts)
    return FragmentWork(loads, len(fragment.steps), bounded(counter.states.plan.row_bytes))


class DrawCounter:
    """Counter of draws: each call computes the distributions of its rows, and draws."""

    def __init__(self, fragment: Fragment) -> None:
        self.states = StatevectorCounter(observed(fragment))
        groups = measured_groups(fragment)
        # Of each group's Gram matrices there are as many amplitudes as of one observable's.
        self._grams = np.array(
            [("gram" in name) * max(0, len(groups) - 1) + 1.0 for name in STATES]
        )
        signs = 2 if fragment.sites else 1  # with those of measurements
        bins = [signs * group.bins for group in groups]
        self._bins = sum(bins) / len(bins) if bins else 1.0

    def amounts(self, rows: int, part: slice) -> np.ndarray:
        """Return the amounts of one call; `part` is its subexperiments."""
        drawn = rows * float(part.stop - part.start)
        exact = self.states.amounts(rows) * self._grams
        return np.append(exact, [drawn, drawn * self._bins])


class StatevectorCounter:
    """Counter of a fragment's statevectors.

    Parameters
    ----------
    fragment
        Whose plan (`plan`) is walked through once; `amounts` are then sums.
    """

    def __init__(self, fragment: Fragment) -> None:
        self.plan = StatevectorPlan.cheapest(fragment)
        applied = [op for op in self.plan.operations if op.matrix is not None]
        self._blocks = [] if self.plan.mixed else BlockPlan(self.plan).blocks
        self._operations = len(self._blocks or self.plan.operations)
        self._steps = [_Application.of_block(b) for b in self._blocks if b.kind == "apply"]
        self._fusing = sum(map(_fusing_products, self._blocks))
        if self.plan.mixed:
            self._steps = [_Application.of(op) for op in applied]
        # Measured: an amplitude of a real state takes half as long as one of a complex state.
        self._weight = 0.5 if self.plan.real and not self.plan.mixed else 1.0
        self._joins = self._joined_sizes()
        matrices = [op.matrix for op in applied if op.matrix is not None]
        alike = list({matrix.pattern: matrix.factors for matrix in matrices}.values())
        free = [sum(f.constant is None for f in factors) for factors in alike]
        self._free, self._fixed = sum(free), sum(map(len, alike)) - sum(free)
        self._factors = sum(len(matrix.factors) for matrix in matrices)
        self._sizes = sum(bool(some) for some in self.plan.angles.values())

    def _joined_sizes(self) -> list[float]:
        """Return the amplitudes of each state that two others were joined to."""
        sizes: dict[int, float] = {}
        joined = []
        for op in self.plan.operations:
            if op.kind == "join":
                a, b = op.sources
                sizes[op.group] = sizes[a] * sizes[b]
                joined.append(sizes[op.group])
            elif op.kind in ("apply", "mix"):
                both = op.mixed or op.kind == "mix"
                sizes[op.group] = bounded(prod(op.shape) ** (2 if both else 1))
            elif op.kind == "trace":
                sizes[op.group] /= 4.0 ** len(op.order)
            else:
                sizes[op.group] = 2.0 if op.kind == "start" else 4.0
        return joined

    def amounts(self, rows: int) -> np.ndarray:
        """Return the amounts of one call for `rows` parameter sets."""
        weight = self._weight
        total = dict.fromkeys(STATES, 0.0)
        total |= {"calls": 1.0, "operations": self._operations}
        total |= {"free_factors": self._free, "fixed_factors": self._fixed}
        total |= {"row_factors": rows * self._factors, "row_operations": rows * len(self._steps)}
        total["free_sizes"] = self._sizes
        for step in self._steps:
            # By what is read or written, whichever is larger: a site's branches make states grow.
            where = self._where(rows * max(step.read, step.written))
            total[f"{where}_products"] += weight * rows * step.products
            copies = rows * step.copies * (FAR_COPY if where == "far" else 1.0)
            total["copies"] += weight * copies
        for size in self._joins:
            total[f"{self._where(rows * size)}_products"] += weight * 4 * rows * size
        for gram in self.plan.grams:
            made = rows * gram.flips * gram.branches * gram.amplitudes
            where = self._where(rows * gram.branches * gram.amplitudes)
            total["grams"] += ceil(rows * gram.products / MOST_AT_ONCE)
            total[f"{where}_gram_amplitudes"] += weight * made
            products = gram.products + gram.sums / SUMS_OF_A_PRODUCT
            total["gram_products"] += weight * rows * products
        total["near_products"] += weight * rows * self._fusing
        return np.array(list(total.values()))

    def _where(self, amplitudes: float) -> str:
        return "far" if self._weight * amplitudes * 16 > CACHE_BYTES else "near"


@dataclass(frozen=True)
class _Application:
    """Product of a gate with a state, for one parameter set.

    Parameters
    ----------
    read, written
        Amplitudes.
    products
        Multiplications.
    copies
        Amplitudes that are copied into the order of the product, times their `copy_weight`.
    """

    read: float
    written: float
    products: float
    copies: float

    @classmethod
    def of_block(cls, block: StateBlock) -> _Application:
        """Return a block's, whose wires are brought to the front."""
        above, below = block.size
        read = bounded(prod(block.shape))
        written = read / below * above
        moved = block.order != tuple(range(len(block.order)))
        # Its wires last: a product takes that as it is.
        copied = read if moved and len(block.order) > 2 else 0.0
        if copied:
            *_, before, last = (block.shape[k] for k in block.order)
            stays = block.order[-1] == len(block.order) - 1
            copied *= copy_weight(last, before) if stays else copy_weight(1, last)
        return cls(read, written, written * below, copied)

    @classmethod
    def of(cls, operation: TensorOperation) -> _Application:
        assert operation.matrix is not None
        wires = len(operation.matrix.before)
        written = bounded(prod(operation.shape))
        new = len(operation.shape) - len(operation.order)
        rest = operation.shape[new + wires :]
        read = 2.0**wires * prod(rest)
        pieces: list[float] = []  # sizes of neighbouring axes that stay neighbours, from the end
        before = -2
        for axis, size in zip(reversed(operation.order[wires:]), reversed(rest), strict=True):
            if axis == before - 1:
                pieces[-1] *= size
            else:
                pieces.append(float(size))
            before = axis
        ordered = list(operation.order) == sorted(operation.order)
        # In order, or the gate's wires last: a product takes that as it is.
        copied = 0.0 if ordered or len(pieces) < 2 else read * copy_weight(pieces[0], pieces[1])
        # A density matrix has a row of bras for each ket, and is multiplied from both sides.
        times = 2 * written if operation.mixed else 1.0
        return cls(times * read, times * written, times * written * 2**wires, times * copied)


def _fusing_products(block: StateBlock) -> float:
    """Return the multiplications of a block's matrices with each other."""
    if len(block.numbers) < 2:
        return 0.0
    return float(sum(block.size[1] ** 2 * 2 ** len(wires) for wires in block.places))


def copy_weight(run: float, runs: float) -> float:
    """Return what copying an amplitude in torch costs, about 1 where many stay together.

    Parameters
    ----------
    run
        Amplitudes that stay neighbours.
    runs
        Runs at equal distances, which are copied in one loop.

    Notes
    -----
    Measured with torch 2.13 on states of 2^14 and 2^16 amplitudes: 1.2 ns an amplitude, 2.4 a run
    and 42 a loop; three times as much where states exceed the caches. Only the ratios are used.
    """
    return 1.0 + 2.0 / run + 35.0 / (run * runs)

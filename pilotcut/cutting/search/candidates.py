"""Candidates: partitions as placements with their figures, and the Pareto front of these.

Engines propose labels for the ends of `Interactions`; here they become placements with the
figures that decide between them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, inf, prod

import numpy as np

from pilotcut.cutting.placement import Placement, WireCut, letter
from pilotcut.cutting.prices import UNCUTTABLE, Price, wire_price
from pilotcut.cutting.search.chains import Chains, CutChain
from pilotcut.cutting.search.interaction_graph import Interactions
from pilotcut.cutting.search.wire_groups import WireGroups


@dataclass(frozen=True)
class FragmentShape:
    """Figures of a fragment that its cost depends on.

    Parameters
    ----------
    width
        Number of wires.
    gates
        Number of gates that stay in it, local ones of cut gates included.
    sites
        Number of its ends of cuts.
    variants
        Number of ways to fill the sites with physical operations.
    branches
        Number of ways to fill them with branches of the coherent basis.
    """

    width: int
    gates: int
    sites: int
    variants: int
    branches: int


#: Predicted cost of a fragment, additive over fragments, in whatever unit.
Cost = Callable[[FragmentShape], float]


def proxy_cost(shape: FragmentShape) -> float:
    """Return variants x gates x 2^width, the work of simulating every variant."""
    return float(shape.variants) * (1 + shape.gates) * 2.0**shape.width


@dataclass(frozen=True)
class Candidate:
    """A way to cut a circuit.

    Parameters
    ----------
    placement
        What `pilotcut.compile_plan` needs.
    gate_cuts, wire_cuts
        How many of each.
    shapes
        Its fragments.
    log_overhead
        log gamma^2 of all cuts (arXiv:1909.07534), to a billionth: what is equal compares equal.
        Parallel wires are counted together; a plan has more where that would make a fragment
        wider, or where two groups wait for each other.
    cost
        The sum over fragments of the cost that was asked for.
    """

    placement: Placement
    gate_cuts: int
    wire_cuts: int
    shapes: tuple[FragmentShape, ...]
    log_overhead: float
    cost: float

    @property
    def cuts(self) -> int:
        """Number of cuts."""
        return self.gate_cuts + self.wire_cuts

    @property
    def overhead(self) -> float:
        """Sampling overhead gamma^2 of all cuts; infinite where it is beyond floats."""
        # exp overflows a float at 709.8.
        return exp(self.log_overhead) if self.log_overhead < 700 else inf

    @property
    def max_width(self) -> int:
        """Number of wires of the widest fragment."""
        return max(shape.width for shape in self.shapes)

    @cached_property
    def variants(self) -> int:
        """Number of distinct variants, over all fragments."""
        return sum(shape.variants for shape in self.shapes)

    @property
    def figures(self) -> tuple[float, ...]:
        """Figures to minimise: (max width, variants, log gamma^2, cost)."""
        return (self.max_width, self.variants, self.log_overhead, self.cost)

    @property
    def spelled(self) -> tuple[object, ...]:
        """Its placement in an order of its own, so that of equals it is always the same one."""
        cuts = tuple((c.qubit, c.after, c.label) for c in self.placement.wire_cuts)
        return (self.placement.labels, cuts)


# -- from labels to candidates -----------------------------------------------------------


@dataclass(frozen=True)
class _Cut:
    """What a partition cuts, and how wide its parts are then, (parts,)."""

    blocks: np.ndarray
    wires: np.ndarray
    chains: Sequence[CutChain]
    widths: np.ndarray
    # The parts on both sides of what is cut of wires, and its price: groups of `wires`, then
    # visits of chains, then moves. None where it cannot be had.
    sent: Sequence[tuple[tuple[int, int], Price]] | None


class Evaluator:
    """Turns labels of ends into candidates, each partition once.

    Parameters
    ----------
    graph
        The ends and what joins them.
    cost
        Of a fragment.
    max_width
        Parts without cuts are put together up to this many wires only; None for any number.
    """

    def __init__(self, graph: Interactions, cost: Cost, max_width: int | None = None) -> None:
        self.graph = graph
        self._cost = cost
        self._widest = inf if max_width is None else max_width
        self._costs: dict[FragmentShape, float] = {}
        self._first = graph.first
        self._gates = graph.gates
        self._uncuttable = graph.log_overheads >= UNCUTTABLE
        self._wire = wire_price(graph.cut_as)  # engines may be given another
        self._groups = WireGroups(graph)
        self._chains = Chains(graph)
        self._seen: dict[bytes, Candidate | None] = {}

    def cost_of(self, shape: FragmentShape) -> float:
        """Return the cost of a fragment."""
        if shape not in self._costs:
            try:
                self._costs[shape] = float(self._cost(shape))
            except OverflowError:  # more variants than a float can count
                self._costs[shape] = inf
        return self._costs[shape]

    def look(self, labels: np.ndarray) -> tuple[Candidate, np.ndarray] | None:
        """Return a partition as a candidate, and its parts (ends,).

        None where a gate would be cut that cannot be.
        """
        parts = self._parts(self._chains.settled(np.asarray(labels)))
        key = parts.astype(np.int16).tobytes()
        if key not in self._seen:
            cut = self._cut(parts)
            possible = not self._uncuttable[cut.blocks].any()
            possible &= all(chain.form.log_overhead < UNCUTTABLE for chain in cut.chains)
            possible &= cut.sent is not None
            self._seen[key] = self._candidate(parts, cut) if possible else None
        candidate = self._seen[key]
        return None if candidate is None else (candidate, parts)

    def add(self, labels: Iterable[np.ndarray]) -> None:
        """Look at many partitions, each an integer array (ends,)."""
        for some in labels:
            self.look(some)

    def partitions(self) -> Iterator[tuple[Candidate, np.ndarray]]:
        """Yield all candidates that were seen, and their parts (ends,)."""
        for key, candidate in self._seen.items():
            if candidate is not None:
                yield candidate, np.frombuffer(key, dtype=np.int16).astype(int)

    def _parts(self, labels: np.ndarray) -> np.ndarray:
        """Return the connected parts, (ends,): what nothing joins is a fragment for free."""
        starts = self._first.copy()
        starts |= self.graph.fresh
        starts[1:] |= labels[1:] != labels[:-1]
        wire = np.cumsum(starts) - 1  # of each end; gates join wires
        parent = list(range(int(wire[-1]) + 1))
        ends = self._chains.joins
        # Union-find with halved paths, written out: this runs for every partition that is looked
        # at.
        for a, b in wire[ends[labels[ends[:, 0]] == labels[ends[:, 1]]]].tolist():
            while parent[a] != a:
                parent[a] = a = parent[parent[a]]
            while parent[b] != b:
                parent[b] = b = parent[parent[b]]
            parent[max(a, b)] = min(a, b)
        for k, above in enumerate(parent):
            parent[k] = parent[above]  # roots come first
        return self._in_order(parent, wire)

    def _in_order(self, parts: list[int], wire: np.ndarray) -> np.ndarray:
        """Return parts numbered by appearance: first wires, qubit by qubit, then the others.

        They are given for each wire, and the wire for each end.
        """
        names: dict[int, int] = {}
        for k in [*wire[self._first].tolist(), *range(len(parts))]:
            names.setdefault(parts[k], len(names))
        return np.array([names[part] for part in parts], dtype=int)[wire]

    def _merged(self, parts: np.ndarray, shapes: list[FragmentShape]) -> np.ndarray:
        """Put fragments without sites together where that costs less than apart."""
        # Only those without sites: variants of others would multiply.
        loose = [k for k, shape in enumerate(shapes) if not shape.sites]
        new = parts.copy()
        host, into = shapes[loose[0]], loose[0]
        for k in loose[1:]:
            both = FragmentShape(
                host.width + shapes[k].width, host.gates + shapes[k].gates, 0, 1, 1
            )
            cheaper = self.cost_of(both) < self.cost_of(host) + self.cost_of(shapes[k])
            if cheaper and both.width <= self._widest:
                new[parts == k] = into
                host = both
            else:
                host, into = shapes[k], k
        return self._in_order(new.tolist(), np.arange(len(new)))

    def _log_overhead(self, cut: _Cut) -> float:
        """Return log gamma^2 of cutting these; engines add up edge by edge."""
        logs = self.graph.log_overheads[cut.blocks].sum()
        logs -= len(self._moves(cut.blocks)) * self._wire.log_overhead  # among `sent` instead
        logs += sum(
            one.price.log_overhead
            for chain in cut.chains
            for one in chain.form.cuts
            if not one.is_wire
        )
        logs += sum(price.log_overhead for _, price in cut.sent or ())
        # Sums in another order differ in their last digits.
        return round(float(logs), 9)

    def _cut(self, parts: np.ndarray) -> _Cut:
        """Return what a partition cuts."""
        graph, size = self.graph, int(parts.max()) + 1
        a, b = graph.blocks.T
        blocks = np.flatnonzero((parts[a] != parts[b]) & self._chains.alone)
        wires = graph.wires[parts[graph.wires] != parts[graph.wires + 1]]
        widths = graph.widths(parts)
        chains = self._chains.cut(parts, widths, self._widest)
        further = np.zeros(size)
        for chain in chains:
            for side, part in enumerate(chain.parts):
                # One gate's ancillas serve the next.
                further[part] = max(further[part], chain.form.further_wires(side))
        visits = [
            (chain.parts[one.sides[0]], chain.parts[one.sides[1]])
            for chain in chains
            for one in chain.form.cuts
            if one.is_wire
        ]
        moves = [(int(parts[a]), int(parts[b])) for _, a, b in self._moves(blocks)]
        sent = self._groups.priced(parts, wires.tolist(), [*visits, *moves])
        return _Cut(blocks, wires, chains, widths + further, sent)

    def _room(self, cut: _Cut) -> int | None:
        """Return how wide a fragment of the plan may be, where it matters."""
        if self._widest < inf and (cut.chains or len(cut.wires) > 1):
            return int(self._widest)
        return int(cut.widths.max()) if len(cut.wires) > 1 else None

    def _moves(self, blocks: np.ndarray) -> list[tuple[int, int, int]]:
        """Return the moves among blocks that are cut."""
        if not self.graph.moves:
            return []
        cut = set(blocks.tolist())
        return [move for move in self.graph.moves if move[0] in cut]

    def _shapes(self, parts: np.ndarray, cut: _Cut) -> list[FragmentShape]:
        graph, size = self.graph, len(cut.widths)
        gates = np.bincount(parts, graph.riding, size)
        whole = self._chains.alone.copy()
        whole[cut.blocks] = False
        gates += np.bincount(parts[graph.blocks[whole, 0]], self._gates[whole], size)
        for chain in self._chains.chains:
            # Of one that is cut, each part has about its share.
            share = chain.size // len(chain.ends)
            gates += share * np.bincount(parts[chain.ends], minlength=size)
        operations: list[list[int]] = [[] for _ in range(size)]
        ranks: list[list[int]] = [[] for _ in range(size)]

        def add(price: Price, pair: Iterable[int]) -> None:
            for side, part in enumerate(pair):
                operations[part].append(price.operations[side])
                ranks[part].append(price.rank)
                gates[part] += price.locals[side]

        for block in cut.blocks:
            for price in graph.prices[block]:
                add(price, parts[graph.blocks[block]])
        # Moves are among the blocks.
        sent = cut.sent or ()
        for pair, price in sent[: len(sent) - len(self._moves(cut.blocks))]:
            add(price, pair)
        for between in cut.chains:
            for one in between.form.cuts:
                if not one.is_wire:
                    add(one.price, (between.parts[side] for side in one.sides))
        return [
            FragmentShape(int(w), int(g), len(ops), prod(ops), prod(some))
            for w, g, ops, some in zip(cut.widths, gates, operations, ranks, strict=True)
        ]

    def _candidate(self, parts: np.ndarray, cut: _Cut) -> Candidate:
        shapes = self._shapes(parts, cut)
        if sum(not shape.sites for shape in shapes) > 1:
            parts = self._merged(parts, shapes)
            cut = self._cut(parts)
            shapes = self._shapes(parts, cut)
        names = [letter(k) for k in range(int(parts.max()) + 1)]
        after, qubit = self.graph.after, self.graph.qubit
        # Among them those behind a reset, which cut nothing.
        changes = np.flatnonzero(~self._first[1:] & (parts[1:] != parts[:-1])) + 1
        placement = Placement(
            tuple(names[k] for k in parts[self._first]),
            tuple(WireCut(int(qubit[w]), int(after[w]), names[parts[w]]) for w in changes),
            self._room(cut),
        )
        moves = sum(one.is_wire for chain in cut.chains for one in chain.form.cuts)
        cuts = sum(len(chain.form.cuts) for chain in cut.chains)
        return Candidate(
            placement=placement,
            gate_cuts=int(self.graph.cuts[cut.blocks].sum()) + cuts - moves,
            wire_cuts=len(cut.wires) + moves,
            shapes=tuple(shapes),
            log_overhead=self._log_overhead(cut),
            cost=sum(map(self.cost_of, shapes)),
        )


# -- the choice --------------------------------------------------------------------------


def pareto(candidates: Sequence[Candidate], per_cuts: int) -> tuple[Candidate, ...]:
    """Return for each number of cuts the non-dominated candidates, `per_cuts` at most.

    The cheapest and the narrowest are always among them, then those of least overhead and
    fewest variants.
    """
    by_cuts: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        by_cuts.setdefault(candidate.cuts, []).append(candidate)
    return tuple(c for cuts in sorted(by_cuts) for c in _best_of(by_cuts[cuts], per_cuts))


def undominated(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that none other beats in all figures, the cheapest first."""
    front: list[Candidate] = []
    # Spelled out last, so that of equals it is always the same that stays.
    for one in sorted(candidates, key=lambda c: (c.cost, c.figures, c.spelled)):
        if not any(_dominates(other.figures, one.figures) for other in front):
            front.append(one)
    return front


def _best_of(candidates: list[Candidate], most: int) -> list[Candidate]:
    front = undominated(candidates)
    # Cheapest and narrowest first, so that they are in even where `most` is 2.
    kept: dict[int, Candidate] = {}
    for figure in (3, 0, 2, 1):  # cost, width, overhead, variants
        best = min(range(len(front)), key=lambda k: (front[k].figures[figure], k))
        kept[best] = front[best]
    for k, one in enumerate(front):
        kept.setdefault(k, one)
    return sorted(list(kept.values())[:most], key=lambda c: (c.cost, c.figures, c.spelled))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether `one` is nowhere worse; ranked first, it also stands for its equals."""
    return all(a <= b for a, b in zip(one, other, strict=True))

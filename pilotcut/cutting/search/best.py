"""The one plan for a number of cuts or for a width, for those who do not want to choose.

Owns which of the plans that the search finds answers such a question; refuses to know how they
are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import log

from qiskit.quantum_info import PauliList

from pilotcut.circuits.program import Program
from pilotcut.cutting.fragmenter import Fragmenter
from pilotcut.cutting.placement import Placement
from pilotcut.cutting.prices import UNCUTTABLE
from pilotcut.cutting.search.candidates import Candidate, Cost, Evaluator, FragmentShape
from pilotcut.cutting.search.goal import Goal
from pilotcut.cutting.search.interaction_graph import Interactions, interactions_of
from pilotcut.cutting.search.portfolio import fitting, together, with_another_ancilla
from pilotcut.cutting.walks import walked
from pilotcut.errors import CutError
from pilotcut.options import AUTO, SEPARATE, WIRES, check, choice_fault, counted, whole_fault

#: Plans that are walked to see what they cost.
MOST_WALKED = 8

#: The same of plans with an ancilla more than is counted room for.
MOST_ROOMY = 32

#: Cuts beyond which blocks of an order will do, where some have that many: nobody runs such plans
#: for their overhead, and all engines take seconds for what are the same widths in the end.
MOST_SEARCHED = 48


def best_placement(
    program: Program,
    *,
    cuts: int | None = None,
    max_width: int | None = None,
    wires: str = AUTO,
) -> Placement:
    """Return the best plan of exactly `cuts` cuts, or with fragments of at most `max_width`.

    Gates and wires are cut. With `max_width` it is the plan of least sampling overhead that the
    search knows, of equals the one of fewest variants. With `cuts` the fragments are as narrow
    as that number of cuts allows, the widest first, then the next; of equals the overhead
    decides. What fits whole stays whole. `wires` is how the plan will cut wires, one of
    `pilotcut.options.WIRES`, and says what they cost, see `pilotcut.cutting.wire_ways`.

    Raises
    ------
    CutError
        If the circuit has no plan with that many cuts, or none so narrow.
    """
    # Checked before the cache, where 2.0 is as good as 2.
    if cuts is not None:
        fault = whole_fault("cuts", cuts, 0, advice="0 means uncut")
    else:
        fault = whole_fault("max_width", max_width, 1, advice="leave it out to cut nothing")
    if fault:
        raise CutError(fault)
    check(choice_fault("wires", wires, WIRES))
    return _best(_Structure(program), cuts, max_width, wires)


class _Structure:
    """A program that is equal to others that one plan can serve."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __hash__(self) -> int:
        return hash(self.program.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Structure) and self.program.key == other.program.key


# An estimator compiles a circuit again for other observables, and a refusal looks for advice.
@lru_cache(maxsize=16)
def _best(structure: _Structure, cuts: int | None, max_width: int | None, wires: str) -> Placement:
    graph = interactions_of(structure.program, wires)
    if cuts is not None:
        return _with_cuts(graph, cuts)
    assert max_width is not None
    return _with_width(structure, graph, max_width)


def _with_width(structure: _Structure, graph: Interactions, max_width: int) -> Placement:
    if max_width >= graph.num_qubits:
        return _whole(graph)
    walks = _Walks(structure.program, graph.cut_as)
    best = walks.least(together(graph, Goal(None, max_width)))
    if graph.cut_as == AUTO:
        # Engines take it that an order suits all wires. Where none does, they may miss what is
        # cheaper without one.
        other = _best(structure, None, max_width, SEPARATE)
        if other.wire_cuts and walks.log_overhead(other) < walks.log_overhead(best) - 1e-6:
            best = other
    return walks.least_fitting(with_another_ancilla(graph, max_width), best, max_width)


class _Walks:
    """What plans of a program cost, as they are walked."""

    def __init__(self, program: Program, wires: str) -> None:
        self._program, self._wires = program, wires
        self._terms = PauliList(["Z" * program.num_qubits])

    def log_overhead(self, placement: Placement) -> float:
        """Return log gamma^2 of a plan."""
        return _log_overhead(self._walk(placement))

    def _walk(self, placement: Placement) -> Fragmenter:
        return walked(self._program, self._terms, placement, False, self._wires)

    def least(self, found: Sequence[Candidate]) -> Placement:
        """Return the plan of least sampling overhead.

        Candidates have an estimate from below where several wires are cut: plans are walked, the
        most promising first, until none that is left can be better.
        """

        def key(one: Candidate, logs: float) -> tuple[object, ...]:
            return (round(logs, 6), one.variants, _widths(one), one.spelled)

        ranked = sorted(found, key=lambda one: key(one, one.log_overhead))
        best: tuple[tuple[object, ...], Candidate] | None = None
        for one in ranked[:MOST_WALKED]:
            if best is not None and best[0] <= key(one, one.log_overhead):
                break
            logs = one.log_overhead
            if one.wire_cuts > 1 and self._wires != SEPARATE:
                logs = max(logs, self.log_overhead(one.placement))
            if best is None or key(one, logs) < best[0]:
                best = key(one, logs), one
        assert best is not None, "something fits"
        return best[1].placement

    def least_fitting(
        self, found: Sequence[Candidate], best: Placement, max_width: int
    ) -> Placement:
        """Return the cheapest of plans that turn out to fit, or `best` if none is cheaper.

        Their estimates are from below, as for `least`.
        """
        if not found:
            return best
        least = self.log_overhead(best)
        ranked = sorted(found, key=lambda one: (one.log_overhead, one.variants, one.spelled))
        for one in ranked[:MOST_ROOMY]:
            if one.log_overhead >= least - 1e-6:
                break
            walk = self._walk(one.placement)
            logs = _log_overhead(walk)
            if logs < least - 1e-6 and _width(walk) <= max_width:
                best, least = one.placement, logs
        return best


def _log_overhead(walk: Fragmenter) -> float:
    return sum(log(bond.overhead) for bond in walk.bonds())


def _width(walk: Fragmenter) -> int:
    return max(fragment.width for fragment in walk.fragments()[0])


def _with_cuts(graph: Interactions, cuts: int) -> Placement:
    if cuts == 0:
        return _whole(graph)
    total = _all_gates(graph)
    if cuts > total:
        raise CutError(
            f"cuts is {cuts}, but to cut all gates of the circuit takes {total}, expected at most "
            f"{total}; ask for fewer cuts"
        )
    goal = Goal(cuts, None, _narrow(graph), narrow=True)
    engines = ("auto",) if cuts <= MOST_SEARCHED else ("contiguous", "auto")
    found: list[Candidate] = []
    for engine in engines:
        found = found or [c for c in fitting(graph, goal, engine) if c.cuts == cuts]
    if not found:
        raise CutError(_no_such_cuts(graph, cuts, total))
    best = min(found, key=lambda c: (_widths(c), c.log_overhead, c.variants, c.spelled))
    return best.placement


def _all_gates(graph: Interactions) -> int:
    """Return how many cuts it takes to cut all gates: enough to have every qubit by itself."""
    if graph.chains:  # between many parts a multi-controlled gate takes more cuts than it has links
        apart = Evaluator(graph, _narrow(graph)).look(graph.qubit)
        if apart is not None:
            return apart[0].cuts
    return int(graph.cuts[graph.log_overheads < UNCUTTABLE].sum())


def _widths(candidate: Candidate) -> list[int]:
    """Return the widths of the fragments, the widest first."""
    return sorted((shape.width for shape in candidate.shapes), reverse=True)


def _whole(graph: Interactions) -> Placement:
    return Placement(("A",) * graph.num_qubits)


def _narrow(graph: Interactions) -> Cost:
    """Return a cost by which the widest fragments decide, and among equals the next."""
    # One fragment of w + 1 wires costs as much as 16 of w, as far as floats go.
    base = min(16.0, 1e300 ** (1 / (graph.num_ends + 1)))

    def cost(shape: FragmentShape) -> float:
        return base**shape.width

    return cost


def _no_such_cuts(graph: Interactions, cuts: int, total: int) -> str:
    """Return the message for a number of cuts that no plan has, with numbers that some have."""
    # Blocks of an order are enough to name some, and so are all gates.
    some = Goal(min(total, 2 * cuts + 8), None, _narrow(graph))
    possible = {c.cuts for c in fitting(graph, some, "contiguous")} - {0} | {total}
    possible.discard(cuts)
    near = sorted(possible, key=lambda k: (abs(k - cuts), k))[:4]
    return (
        f"cuts is {cuts}, but no plan has exactly {counted(cuts, 'cut')}, expected one of "
        f"{', '.join(map(str, sorted(near)))}; choose one of these, or give labels"
    )

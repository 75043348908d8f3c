"""Portfolio of the cut search: engines propose partitions, the non-dominated ones are kept.

Owns which engine is asked when, and what the user may ask. What a partition costs is weighed in
`candidates`; nothing here builds a plan. Budgets are numbers of moves and never clocks, so that
a seed decides all: equal questions get equal answers on any machine.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse.csgraph import connected_components

from pilotcut.circuits.program import Program
from pilotcut.cutting.prices import wire_price
from pilotcut.cutting.search.branch_and_bound import MOST_QUBITS, exact, walked
from pilotcut.cutting.search.candidates import (
    Candidate,
    Cost,
    Evaluator,
    pareto,
    proxy_cost,
    undominated,
)
from pilotcut.cutting.search.contiguous import contiguous, qubit_graph
from pilotcut.cutting.search.goal import Engine, Goal
from pilotcut.cutting.search.hypergraph import hypergraph
from pilotcut.cutting.search.interaction_graph import Interactions, interactions_of
from pilotcut.cutting.search.local_search import polish
from pilotcut.cutting.search.refinement import refined
from pilotcut.cutting.wire_ways import cheapest_way, log_overhead_of_wires
from pilotcut.cutting.wires import MOST_WIRES
from pilotcut.errors import CutError
from pilotcut.options import (
    AUTO,
    SEPARATE,
    WIRES,
    check,
    check_seed,
    choice_fault,
    counted,
    whole_fault,
)

#: Engines by name, each on its own.
ENGINES: dict[str, Engine] = {"exact": exact, "contiguous": contiguous, "hypergraph": hypergraph}

#: Of wider circuits engines are asked once more for two wires in parallel, and not for three.
MOST_ASKED_TWICE = 40

#: Widths that are tried at once between the narrowest plan and what could be, and how often.
AIMS, ROUNDS = 4, 3


def search(
    program: Program,
    *,
    max_cuts: int | None = None,
    max_width: int | None = None,
    cost: Cost | None = None,
    wire_cuts: bool = True,
    wires: str = AUTO,
    engine: str | Engine = "auto",
    seed: int = 0,
    per_cuts: int = 4,
) -> tuple[Candidate, ...]:
    """Return the best ways to cut a program, fewest cuts first and then the cheapest.

    Parameters
    ----------
    program
        From `pilotcut.circuits.program.read_circuit`.
    max_cuts
        The most cuts. None looks for the least sampling overhead within `max_width`.
    max_width
        The most wires of a fragment; None for any.
    cost
        Predicted cost of a fragment, additive over fragments; None takes
        variants x gates x 2^width.
    wire_cuts
        Whether wires may be cut beside gates.
    wires
        How the plan will cut wires, one of `pilotcut.options.WIRES`, which decides what they cost,
        parallel ones together; see `Candidate.log_overhead`.
    engine
        "auto" for all of them, one of `ENGINES` alone, or an engine of your own: what yields
        labels of ends for a graph and a goal.
    seed
        Of all that is drawn; the same seed gives the same candidates.
    per_cuts
        The most candidates of one number of cuts.

    Returns
    -------
    tuple[Candidate, ...]
        For each number of cuts those that none other beats in (max width, variants, overhead,
        cost), `per_cuts` at most; the cheapest and the narrowest are always among them. Without
        `max_cuts`, those that none beats whatever the number of cuts; the one of least
        `overhead` answers the question. The circuit without cuts is there if it is narrow
        enough, in as many fragments as it has parts that no gate joins.

    Raises
    ------
    CutError
        If the circuit has cut markers of its own, or no plan is narrow enough.

    Examples
    --------
    >>> from qiskit.circuit import QuantumCircuit
    >>> from pilotcut.circuits.program import read_circuit
    >>> circuit = QuantumCircuit(4)
    >>> for q in range(3): _ = circuit.cx(q, q + 1)
    >>> [(c.cuts, c.max_width) for c in search(read_circuit(circuit)[0], max_cuts=1)]
    [(0, 4), (1, 2)]
    """
    check(choice_fault("wires", wires, WIRES))
    goal = _goal(max_cuts, max_width, cost, wire_cuts, seed)
    graph = interactions_of(program, wires)
    least = max_cuts is None and engine == "auto"
    found = together(graph, goal) if least else fitting(graph, goal, engine)
    return pareto(undominated(found) if max_cuts is None else found, per_cuts)


def together(graph: Interactions, goal: Goal) -> list[Candidate]:
    """Return all candidates of least overhead that engines propose for parallel wires, too.

    Engines add up cuts one by one, so they are asked again with a wire as cheap as each of several
    in parallel is. What a candidate costs is known either way.

    Raises
    ------
    CutError
        If there are none.
    """
    found = fitting(graph, goal)
    if graph.cut_as != SEPARATE:
        way = cheapest_way(graph.cut_as)
        most = MOST_WIRES if graph.num_qubits <= MOST_ASKED_TWICE else 2
        for number in range(2, most + 1):
            each = replace(graph.wire, log_overhead=log_overhead_of_wires(way, number) / number)
            found += fitting(replace(graph, wire=each), goal)
    return found


def with_another_ancilla(graph: Interactions, max_width: int) -> list[Candidate]:
    """Return candidates that have an ancilla more than `max_width` has room for.

    A candidate counts all qubits and ancillas of a part, a plan those that are alive together: an
    ancilla leaves its qubit to what begins behind its gate. Who walks them sees which fit.
    """
    if not graph.chains:
        return []
    goal = Goal(None, max_width)
    evaluator = Evaluator(graph, goal.cost, max_width)
    _ask_all(evaluator, goal)
    roomy = Evaluator(graph, goal.cost, max_width + 1)
    roomy.add(parts for _, parts in evaluator.partitions())
    return [one for one, _ in roomy.partitions() if one.max_width > max_width]


def fitting(graph: Interactions, goal: Goal, engine: str | Engine = "auto") -> list[Candidate]:
    """Return all candidates that were looked at and are within the limits of a goal.

    Raises
    ------
    CutError
        If there are none.
    """
    evaluator = Evaluator(graph, goal.cost, goal.max_width)
    if engine == "auto":
        _ask_all(evaluator, goal)
    else:
        evaluator.add(_proposals(engine, graph, goal))
    found = [candidate for candidate, _ in evaluator.partitions()]
    narrow = [c for c in found if goal.max_width is None or c.max_width <= goal.max_width]
    few = [c for c in narrow if goal.max_cuts is None or c.cuts <= goal.max_cuts]
    if not few:
        raise CutError(_nothing_fits(found, goal))
    return few


def _goal(
    max_cuts: int | None,
    max_width: int | None,
    cost: Cost | None,
    wire_cuts: bool,
    seed: int,
) -> Goal:
    for name, value, least in (("max_cuts", max_cuts, 0), ("max_width", max_width, 1)):
        if value is not None and (fault := whole_fault(name, value, least)):
            raise CutError(fault)
    if max_cuts is None and max_width is None:
        raise CutError("max_cuts and max_width are both None, expected one of them; give a limit")
    check_seed(seed)
    return Goal(max_cuts, max_width, cost or proxy_cost, wire_cuts, seed)


def _nothing_fits(found: list[Candidate], goal: Goal) -> str:
    narrowest = min(found, key=lambda c: (c.max_width, c.cuts))
    within = "" if goal.max_cuts is None else f" and max_cuts {goal.max_cuts}"
    return (
        f"max_width is {goal.max_width}{within}, expected limits that a plan can keep: the "
        f"narrowest found has {counted(narrowest.cuts, 'cut')} and fragments of "
        f"{narrowest.max_width}; "
        f"allow more of either"
    )


def _uncut(graph: Interactions) -> np.ndarray:
    """Return the partition that is always looked at; parts that nothing joins fall apart."""
    return np.zeros(graph.num_ends, dtype=int)


def _ask_all(evaluator: Evaluator, goal: Goal) -> None:
    """Look at what all engines propose, or the exact one alone where it gets through."""
    # Together they found 188 of 189 optima that CP-SAT proved for circuits of up to 12 qubits; the
    # addon's find_cuts, with 4 s each, found 174 of 196 (benchmarks/README.md).
    graph = evaluator.graph
    some, complete = walked(graph, goal)
    found = [_uncut(graph), *some]
    if complete and not graph.chains:
        evaluator.add(found)
        return
    if graph.chains and goal.max_width and goal.max_width > 1:
        # Engines know nothing of ancillas: parts that are narrower leave room for one.
        narrower = replace(goal, max_width=goal.max_width - 1)
        found += [*walked(graph, narrower)[0], *contiguous(graph, narrower)]
    found += contiguous(graph, goal)
    evaluator.add(found)
    if _is_best(evaluator, goal):
        return
    # Smaller circuits have had the exact search.
    if graph.num_qubits > MOST_QUBITS:
        found += hypergraph(graph, goal)
    evaluator.add([*found, *refined(graph, goal, found)])
    if goal.narrow:
        _narrow(evaluator, goal, found)
    # Without a limit on cuts the least overhead is asked for, which the annealing lowers by itself;
    # this descent goes by the cost.
    if goal.max_cuts is not None:
        polish(evaluator, goal)


def _narrow(evaluator: Evaluator, goal: Goal, found: list[np.ndarray]) -> None:
    """Aim at the widths between the narrowest plan so far and what its cuts could do at best."""
    graph = evaluator.graph
    least = -(-graph.num_qubits // (goal.least_cuts + _parts(graph)))
    reached = graph.num_qubits
    for _ in range(ROUNDS):
        good = [(c, p) for c, p in evaluator.partitions() if c.cuts == goal.least_cuts]
        before, reached = reached, min((c.max_width for c, _ in good), default=reached)
        if reached in (before, least):
            return
        aims = np.unique(np.linspace(least, reached - 1, AIMS).round().astype(int)).tolist()
        some = [p for c, p in good if c.max_width <= reached + 1]
        evaluator.add(refined(graph, goal, [*found, *some], aims))


def _parts(graph: Interactions) -> int:
    """Return how many parts a circuit has that no gate joins."""
    return int(connected_components(qubit_graph(graph), directed=False)[0])


def _is_best(evaluator: Evaluator, goal: Goal) -> bool:
    """Whether some partition is as good as any can be, as those of chains are.

    There are as many fragments as it takes to hold all qubits, and they hang together by a cut
    each where the circuit does.
    """
    if goal.max_cuts is not None and not goal.narrow:
        return False
    graph = evaluator.graph
    if graph.fresh.any():  # parts may hang together by fewer cuts
        return False
    if goal.narrow:
        cuts, width = goal.least_cuts, -(-graph.num_qubits // (goal.least_cuts + _parts(graph)))
    else:
        assert goal.max_width is not None
        cuts, width = -(-graph.num_qubits // goal.max_width) - _parts(graph), goal.max_width
    # Also of parallel wires: two parts that hang together do so by one cut at least.
    prices = [wire_price(graph.cut_as).log_overhead, *graph.log_overheads.tolist()]
    return any(
        c.cuts == cuts and c.max_width <= width and c.log_overhead <= cuts * min(prices) + 1e-6
        for c, _ in evaluator.partitions()
    )


def _proposals(engine: str | Engine, graph: Interactions, goal: Goal) -> list[np.ndarray]:
    """Return what one engine proposes."""
    if isinstance(engine, str) and engine not in ENGINES:
        known = ", ".join(["auto", *ENGINES])
        raise CutError(
            f"engine is '{engine}', expected one of {known}, or a function; leave it out for 'auto'"
        )
    propose = ENGINES[engine] if isinstance(engine, str) else engine
    found = [_uncut(graph), *propose(graph, goal)]
    # Partitioners know nothing of the wires that wire cuts begin: by themselves they are too wide.
    return [*found, *refined(graph, goal, found)] if engine == "hypergraph" else found

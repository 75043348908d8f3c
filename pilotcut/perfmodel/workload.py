"""What a plan has to do, counted before any of it is done.

`work_of` counts what a batch of a plan asks of workers, call by call as the estimator will
make them, and of the process that puts results together. Nothing is run, and nothing here
knows how long anything takes: see `pilotcut.perfmodel.costmodel`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

import numpy as np
from qiskit.circuit import QuantumCircuit

from pilotcut.backends.aer import PACK_QUBITS
from pilotcut.backends.late_binding import BINDABLE
from pilotcut.backends.sampled import extended
from pilotcut.backends.statevector_plan import BranchPlan, Operation
from pilotcut.backends.templates import measured_in_place
from pilotcut.circuits.program import Angle, Program, Step, read_circuit
from pilotcut.cutting.fragment import Fragment, Site, Template
from pilotcut.cutting.plan import CutPlan
from pilotcut.execution.batching import Request, row_bundles, split
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.slicing import predicted

#: What a call of circuits with shots is made of, in the order of `Load.amounts`.
COUNTS = (
    "calls",
    "circuits",  # different ones, bound to many values
    "circuit_gates",
    "runs",
    "run_gates",
    "amplitude_gates",  # gates times amplitudes, up to `FUSED_QUBITS`
    "amplitude_passes",  # above, where Aer fuses gates, `passes_of` them times amplitudes
    "shots",
    "shot_bits",
    "tableau_bits",  # those of Clifford circuits, which Aer simulates by a tableau
    "outcomes",  # distinct ones at most, which are read one by one
    "values",  # numbers bound to parameters
)

#: What a call of the exact engine is made of. "near" states fit the caches, "far" ones do not.
EXACT = (
    "calls",
    "operations",
    "free_sizes",  # 1 or 2 where gates of one or two qubits have free angles
    "free_factors",  # of gate matrices that are multiplied, all alike at once
    "fixed_factors",
    "row_factors",
    "row_operations",
    "near_products",  # multiplications of gates with states, and of joined ones
    "far_products",
    "copies",  # amplitudes brought into the order of a product, weighted by `copy_weight`
    "grams",
    "near_gram_amplitudes",
    "far_gram_amplitudes",
    "gram_products",
)

#: What a call that draws from the exact law is made of: the engine's work, and the draws.
SAMPLED = (*EXACT, "laws", "draws")

#: The amounts that calls of a mode are counted in.
KINDS = {"counts": COUNTS, "sampled": SAMPLED, "exact": EXACT}

#: Aer fuses gates of circuits with more qubits than this.
FUSED_QUBITS = 14

#: Bytes of a state, all rows together, above which it is counted as out of the caches.
CACHE_BYTES = 2**23

#: How much longer a copy takes where a state exceeds the caches (see `copy_weight`).
FAR_COPY = 3.5

#: Calls that are counted one by one; of more, so many are, evenly chosen.
MOST_COUNTED = 256

# Aer 0.18's defaults: qubits of a fused block, and the base of its cost.
_BLOCK, _COST = 5, 1.8

_DIAGONAL = frozenset(
    {"rz", "p", "u1", "z", "s", "sdg", "t", "tdg", "cz", "cp", "cu1", "crz", "rzz"}
)

_CLIFFORD = frozenset(
    {"h", "s", "sdg", "x", "y", "z", "cx", "cy", "cz", "swap", "id", "sx", "sxdg", "ecr"}
)


@dataclass(frozen=True)
class Load:
    """Calls that are alike.

    Parameters
    ----------
    amounts
        Of one call, in the order of its mode's `KINDS`.
    number
        How many such calls there are.
    """

    amounts: np.ndarray
    number: float = 1.0


@dataclass(frozen=True)
class Work:
    """What one batch of a plan asks for.

    Parameters
    ----------
    mode, rows, shots
        Of the batch; shots of each subexperiment, 0 in exact mode.
    loads
        What workers do.
    steps, terms
        Instructions of the circuit, and Pauli strings.
    templates, template_gates
        What workers compile once: different circuits, and their gates.
    subexperiments
        Circuits, or statevectors of branches, of the whole batch.
    amplitudes
        Numbers that workers go through.
    memory_bytes
        What one worker needs for its largest state.
    contraction_s, contraction_bytes, flops
        What putting together takes (`pilotcut.reconstruction.slicing.predicted`).
    transfer_bytes
        What travels back to the process that puts together.
    """

    mode: str
    rows: int
    shots: int
    loads: tuple[Load, ...] = field(repr=False)
    steps: int
    terms: int
    templates: int
    template_gates: int
    subexperiments: float
    amplitudes: float
    memory_bytes: float
    contraction_s: float
    contraction_bytes: float
    flops: float
    transfer_bytes: float

    @cached_property
    def calls(self) -> float:
        """Number of calls."""
        return sum(load.number for load in self.loads)


@dataclass(frozen=True)
class CircuitProfile:
    """What a circuit is made of.

    Examples
    --------
    >>> circuit = QuantumCircuit(3); _ = circuit.h(0); _ = circuit.cx(0, 1)
    >>> profile = profile_of(circuit)
    >>> profile.gates, profile.interactions
    ({'h': 1, 'cx': 1}, {(0, 1): 1})
    """

    qubits: int
    depth: int
    parameters: int
    gates: dict[str, int]
    interactions: dict[tuple[int, int], int]


def profile_of(circuit: QuantumCircuit) -> CircuitProfile:
    """Return qubits, depth, gate mix and interaction graph of a circuit."""
    program, binding = read_circuit(circuit)
    pairs = Counter((min(s.qubits), max(s.qubits)) for s in program.steps if len(s.qubits) == 2)
    return CircuitProfile(
        qubits=circuit.num_qubits,
        depth=_depth(program),
        parameters=len(binding.names),
        gates=dict(Counter(step.name for step in program.steps)),
        interactions=dict(pairs),
    )


def _depth(program: Program) -> int:
    layer: Counter[int] = Counter()
    for step in program.steps:
        top = max(layer[q] for q in step.qubits) + 1
        layer.update({q: top - layer[q] for q in step.qubits})
    return max(layer.values(), default=0)


def work_of(
    plan: CutPlan, mode: str, rows: int, shots: int = 1024, contraction: Contraction | None = None
) -> Work:
    """Return what a batch of `rows` parameter sets asks for.

    Parameters
    ----------
    plan
        What is run.
    mode
        "counts", "sampled" or "exact".
    rows
        Parameter sets.
    shots
        Of each subexperiment; without meaning in exact mode.
    contraction
        The plan's in the basis of its mode, if somebody has searched its path already.
    """
    exact = mode == "exact"
    shots = 0 if exact else shots
    whole = contraction or Contraction.of(plan, coherent=exact)
    counted = [_FragmentWork.of(f, mode, rows, shots) for f in plan.fragments]
    together = predicted(whole, rows, environments=True, itemsize=16 if exact else 8)
    entries = [
        rows * len(f.observables) * prod(s.rank**2 if exact else len(s.operations) for s in f.sites)
        for f in plan.fragments
    ]
    return Work(
        mode=mode,
        rows=rows,
        shots=shots,
        loads=tuple(load for one in counted for load in one.loads),
        steps=len(plan.program.steps),
        terms=len(plan.terms),
        templates=sum(one.templates for one in counted),
        template_gates=sum(one.template_gates for one in counted),
        subexperiments=sum(one.subexperiments for one in counted),
        amplitudes=sum(one.amplitudes for one in counted),
        memory_bytes=max(one.memory_bytes for one in counted),
        contraction_s=together.seconds,
        contraction_bytes=together.bytes,
        flops=together.flops,
        transfer_bytes=16.0 * sum(entries),
    )


@dataclass(frozen=True)
class _FragmentWork:
    """What a batch asks for of one fragment; see `Work`."""

    loads: tuple[Load, ...]
    templates: int
    template_gates: int
    subexperiments: float
    amplitudes: float
    memory_bytes: float

    @classmethod
    def of(cls, fragment: Fragment, mode: str, rows: int, shots: int) -> _FragmentWork:
        if mode == "counts":
            return _of_circuits(fragment, rows, shots)
        if mode == "sampled":
            return _of_draws(fragment, rows, shots)
        return _of_branches(fragment, rows)


# -- the exact engine --------------------------------------------------------------------


def _of_branches(fragment: Fragment, rows: int) -> _FragmentWork:
    counter = BranchCounter(fragment)
    sizes = Counter(piece.stop - piece.start for piece in row_bundles(fragment, rows))
    loads = tuple(Load(counter.amounts(size), n) for size, n in sizes.items())
    return _FragmentWork(
        loads=loads,
        templates=1,
        template_gates=len(fragment.steps),
        subexperiments=rows * prod(site.rank for site in fragment.sites),
        amplitudes=rows * counter.plan.amplitudes,
        memory_bytes=16.0 * counter.plan.amplitudes,
    )


def _of_draws(fragment: Fragment, rows: int, shots: int) -> _FragmentWork:
    counter = DrawCounter(fragment, shots)
    loads = tuple(
        Load(counter.amounts(size, slice(first, last)), number)
        for (size, first, last), number in _shares(fragment, rows, shots)
    )
    amplitudes = counter.branches.plan.amplitudes
    return _FragmentWork(
        loads=loads,
        templates=1,
        template_gates=len(fragment.steps),
        subexperiments=rows * fragment.num_subexperiments,
        amplitudes=rows * amplitudes,
        memory_bytes=16.0 * amplitudes,
    )


class DrawCounter:
    """Counts draws from the exact law: each call asks for its rows' law, and draws its part."""

    def __init__(self, fragment: Fragment, shots: int) -> None:
        self.branches = BranchCounter(extended(fragment))
        self._products = max(1, len(self.branches.plan.fragment.observables))

    def amounts(self, rows: int, part: slice) -> np.ndarray:
        """Return the amounts of one call; see `CircuitCounter.amounts`."""
        drawn = rows * float(part.stop - part.start)
        return np.append(self.branches.amounts(rows), [drawn, drawn * self._products])


class BranchCounter:
    """Counts what the exact engine does for a fragment."""

    def __init__(self, fragment: Fragment) -> None:
        self.plan = BranchPlan(fragment)
        applied = [op for op in self.plan.operations if op.matrix is not None]
        self._steps = [_Application.of(op) for op in applied]
        self._joins = self._joined_sizes()
        matrices = [op.matrix for op in applied if op.matrix is not None]
        alike = list({matrix.pattern: matrix.factors for matrix in matrices}.values())
        free = [sum(f.constant is None for f in factors) for factors in alike]
        self._free, self._fixed = sum(free), sum(map(len, alike)) - sum(free)
        self._factors = sum(len(matrix.factors) for matrix in matrices)
        self._sizes = sum(bool(some) for some in self.plan.angles.values())
        self._grams = list(self._gram_sizes(fragment))

    def _joined_sizes(self) -> list[float]:
        """Return the amplitudes of each state that two others were joined to."""
        sizes: dict[int, float] = {}
        joined = []
        for op in self.plan.operations:
            if op.kind == "join":
                a, b = op.sources
                sizes[op.group] = sizes[a] * sizes[b]
                joined.append(sizes[op.group])
            elif op.kind == "apply":
                sizes[op.group] = float(prod(op.shape))
            else:
                sizes[op.group] = 2.0 if op.kind == "start" else 4.0
        return joined

    def _gram_sizes(self, fragment: Fragment) -> Iterator[tuple[int, int, float]]:
        """Yield letters, branches and amplitudes of each group of wires."""
        x, z = fragment.observables.x, fragment.observables.z
        for axes in self.plan.axes.values():
            wires = [k for kind, k in axes if kind == "wire"]
            branches = prod(fragment.sites[k].rank for kind, k in axes if kind == "site")
            letters = np.unique(np.hstack([x[:, wires], z[:, wires]]), axis=0)
            some = int(letters.any(axis=1).sum()) if branches == 1 else len(letters)
            yield some, branches, 2.0 ** len(wires)

    def amounts(self, rows: int) -> np.ndarray:
        """Return the amounts of one call for `rows` parameter sets."""
        total = dict.fromkeys(EXACT, 0.0)
        total |= {"calls": 1.0, "operations": len(self.plan.operations)}
        total |= {"free_factors": self._free, "fixed_factors": self._fixed}
        total |= {"row_factors": rows * self._factors, "row_operations": rows * len(self._steps)}
        total["free_sizes"] = self._sizes
        for step in self._steps:
            where = "far" if rows * max(step.read, step.written) * 16 > CACHE_BYTES else "near"
            total[f"{where}_products"] += rows * step.products
            total["copies"] += rows * step.copies * (FAR_COPY if where == "far" else 1.0)
        for size in self._joins:
            where = "far" if rows * size * 16 > CACHE_BYTES else "near"
            total[f"{where}_products"] += 4 * rows * size
        for letters, branches, size in self._grams:
            where = "far" if rows * branches * size * 16 > CACHE_BYTES else "near"
            total["grams"] += letters
            total[f"{where}_gram_amplitudes"] += rows * letters * branches * size
            total["gram_products"] += rows * letters * branches**2 * size
        return np.array(list(total.values()))


@dataclass(frozen=True)
class _Application:
    """A gate's product with a state, for one row.

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
    def of(cls, operation: Operation) -> _Application:
        assert operation.matrix is not None
        wires = len(operation.matrix.before)
        written = float(prod(operation.shape))
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
        return cls(read, written, written * 2**wires, copied)


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


# -- circuits with shots -----------------------------------------------------------------


def _of_circuits(fragment: Fragment, rows: int, shots: int) -> _FragmentWork:
    counter = CircuitCounter(fragment, shots)
    loads = tuple(
        Load(counter.amounts(size, slice(first, last)), number)
        for (size, first, last), number in _shares(fragment, rows, shots)
    )
    sizes = [t.qubits * max(1, PACK_QUBITS // t.qubits) for t in counter.templates]
    applied = [COUNTS.index("amplitude_gates"), COUNTS.index("amplitude_passes")]
    return _FragmentWork(
        loads=loads,
        templates=len(counter.templates),
        template_gates=sum(t.gates for t in counter.templates),
        subexperiments=rows * fragment.num_subexperiments,
        amplitudes=sum(load.number * float(load.amounts[applied].sum()) for load in loads),
        memory_bytes=16.0 * 2.0 ** max(sizes, default=1),
    )


# Rows of a bundle, and its part of the subexperiments from the first to the last.
_Share = tuple[int, int, int]


def _shares(fragment: Fragment, rows: int, shots: int) -> list[tuple[_Share, float]]:
    """Return the different bundles of a request, and how many there are of each.

    Of very many, some stand for the others.
    """
    bundles = split(0, Request(fragment, np.zeros((rows, 0)), shots))
    shares = Counter((b.rows.stop - b.rows.start, b.part.start, b.part.stop) for b in bundles)
    chosen = list(shares.items())[:: max(1, len(shares) // MOST_COUNTED)]
    scale = shares.total() / max(1, sum(number for _, number in chosen))
    return [(share, number * scale) for share, number in chosen]


@dataclass(frozen=True)
class _TemplateShape:
    """One template as a circuit, without building it."""

    variants: int
    qubits: int
    gates: int
    passes: float
    values: int
    bits: int
    clifford: bool


class CircuitCounter:
    """Counts what circuits with shots do for a fragment."""

    def __init__(self, fragment: Fragment, shots: int) -> None:
        self._shots = shots
        gates = [step for step in fragment.steps if isinstance(step, Step)]
        self._gates = sum(_opened(step) for step in gates)
        self._passes = passes_of([(step.qubits, step.name in _DIAGONAL) for step in gates])
        self._clifford = all(step.name in _CLIFFORD for step in gates)
        self._used = len({p.slot for step in gates for p in step.params if isinstance(p, Angle)})
        self._in_place: dict[int, list[bool]] = {}
        self.templates = [self._shape(fragment, t) for t in fragment.templates]
        self._first = np.cumsum([0, *(t.variants for t in self.templates)])

    def _shape(self, fragment: Fragment, template: Template) -> _TemplateShape:
        group, measured = template.group, template.measured
        members = fragment.observables[list(fragment.groups[group])]
        support = members.x.any(axis=0) | members.z.any(axis=0)
        if group not in self._in_place:
            self._in_place[group] = measured_in_place(fragment, support)
        in_place = self._in_place[group]
        ancillas = sum(bool(m) and not p for m, p in zip(measured, in_place, strict=True))
        free = sum(not m for m in measured)
        chosen = sum(
            _chosen_values(site, m, place)
            for site, m, place in zip(fragment.sites, measured, in_place, strict=True)
        )
        joint = sum(len(site.wires) > 1 for site in fragment.sites)
        return _TemplateShape(
            variants=len(template.variants),
            qubits=fragment.width + ancillas,
            gates=self._gates + free + ancillas + 4 * joint + int(members.x.any(axis=0).sum()),
            passes=self._passes + ancillas + free,
            values=self._used + chosen,
            bits=int(support.sum()) + sum(bool(m) for m in measured),
            clifford=self._clifford and not free,
        )

    def amounts(self, rows: int, part: slice) -> np.ndarray:
        """Return the amounts of one call for `rows` parameter sets and some subexperiments."""
        total = np.zeros(len(COUNTS))
        total[0] = 1.0
        low = int(np.searchsorted(self._first, part.start, side="right")) - 1
        for k in range(max(low, 0), len(self.templates)):
            first, last = max(part.start, self._first[k]), min(part.stop, self._first[k + 1])
            if first >= part.stop:
                break
            if first < last:
                total += self._of_template(self.templates[k], rows * int(last - first))
        return total

    def _of_template(self, template: _TemplateShape, number: int) -> np.ndarray:
        total = np.zeros(len(COUNTS))
        for copies, runs in packs(number, template.qubits):
            qubits, gates = copies * template.qubits, copies * template.gates
            bits = float(runs) * self._shots * copies * template.bits
            fused = qubits > FUSED_QUBITS
            circuits = 1 if template.values else runs
            total += [
                0.0,
                circuits,
                circuits * gates,
                runs,
                runs * gates,
                0.0 if fused or template.clifford else runs * gates * 2.0**qubits,
                runs * template.passes * 2.0**qubits if fused and not template.clifford else 0.0,
                runs * self._shots,
                bits,
                bits * template.clifford,
                runs * min(self._shots, 2.0 ** min(60, copies * template.bits)),
                runs * copies * template.values,
            ]
        return total


def _chosen_values(site: Site, measured: int, in_place: bool) -> int:
    """Return how many parameters of a template choose among a site's operations."""
    if site.joint_operations:
        possible = [op.rotations for op in site.joint_operations if op.measured == measured]
        return int((np.ptp(possible, axis=0) > 0).sum())
    some = [op for op in site.local_operations if op.measured == measured]
    tables = [[op.before for op in some]]
    if measured and not in_place:
        tables.append([op.after for op in some])
    return sum(3 for table in tables if np.ptp(table, axis=0).max() > 0)


def passes_of(gates: Sequence[tuple[tuple[int, ...], bool]]) -> float:
    """Return what gates cost once Aer has fused them, in passes over the state.

    As Aer's cost-based fusion does: the cheapest way to divide the sequence into blocks of at most
    five qubits, where a block of diagonal gates costs 1 and any other of k qubits 1.8^(k-2), at
    least 1.8.

    Parameters
    ----------
    gates
        (qubits, whether it is diagonal) of each gate, in order.

    Examples
    --------
    >>> passes_of([((0,), False), ((1,), False), ((0, 1), True)])
    1.8
    """
    best = [0.0]
    for last in range(len(gates)):
        qubits: set[int] = set()
        diagonal, least = True, float("inf")
        for first in range(last, -1, -1):
            qubits.update(gates[first][0])
            diagonal = diagonal and gates[first][1]
            if len(qubits) > _BLOCK:
                break
            cost = 1.0 if diagonal else _COST ** max(len(qubits) - 2, 1)
            least = min(least, best[first] + cost)
        best.append(least)
    return best[-1]


def _opened(step: Step) -> int:
    """Return how many gates a step becomes; see `pilotcut.backends.late_binding`."""
    free = any(isinstance(p, Angle) for p in step.params)
    return len(step.gate.definition.data) if free and step.name not in BINDABLE else 1


def packs(number: int, qubits: int) -> Iterator[tuple[int, int]]:
    """Yield (copies, runs) as the Aer backend packs so many subexperiments."""
    copies = min(max(1, PACK_QUBITS // qubits), max(1, number))
    while number > 0:
        copies = min(copies, number)
        yield copies, number // copies
        number, copies = number % copies, max(1, copies // 2)

"""The cut search: share of proven optima, time on wide circuits, and the addon beside it.

Run ``python benchmarks/search.py`` (about 40 minutes, most of it CP-SAT and the addon), or a
part of it: ``wide``, ``optima``, ``groups``. ``--instances 20 --addon-s 5`` is a quick look.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import log
from pathlib import Path
from time import perf_counter

import networkx as nx
import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import efficient_su2
from qiskit_addon_cutting.automated_cut_finding import (
    DeviceConstraints,
    OptimizationParameters,
    find_cuts,
)

from pilotcut.circuits.program import Program, read_circuit
from pilotcut.cutting.prices import wire_price
from pilotcut.cutting.search import search
from pilotcut.cutting.search.goal import Engine, Goal
from pilotcut.cutting.search.interaction_graph import Interactions, interactions_of
from pilotcut.cutting.search.portfolio import fitting, together
from pilotcut.cutting.wires import MOST_WIRES
from pilotcut.options import AUTO, SEPARATE

# The oracle and the outside competitor are the tests' own.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from support.addon_finder import stand_in
from support.cp_sat import optimum

# -- random instances --------------------------------------------------------------------


def instance(seed: int) -> tuple[QuantumCircuit, int]:
    """Return a random circuit of 4 to 12 qubits and a width from half of them up.

    Gates: 60 % CX, 20 % RZZ of a random angle, 10 % SWAP, 10 % RZZ of a free angle; from the
    sparse to the dense.
    """
    rng = np.random.default_rng(seed)
    width = int(rng.integers(4, 13))
    gates = int(rng.integers(width, 5 * width // 2 + 1))
    pairs = [(a, b) for a in range(width) for b in range(a)]
    count = min(len(pairs), int(rng.integers(width, 4 * width)))
    some = [pairs[k] for k in rng.choice(len(pairs), count, replace=False)]
    circuit = QuantumCircuit(width)
    for k in range(gates):
        a, b = some[rng.integers(len(some))]
        kind = rng.choice(4, p=(0.6, 0.2, 0.1, 0.1))
        if kind == 0:
            circuit.cx(a, b)
        elif kind == 1:
            circuit.rzz(float(rng.uniform(0.2, 1.5)), a, b)
        elif kind == 2:
            circuit.swap(a, b)
        else:
            circuit.rzz(Parameter(f"t{k}"), a, b)
        circuit.ry(0.3, a)
    return circuit, int(rng.integers(-(-width // 2), width))


def optima(instances: int, addon_s: float, patience_s: float) -> None:
    """Print the share of instances on which each finds the proven optimum, wires one by one.

    The addon's finder and the model of CP-SAT price every wire alike: so `separate` is what is
    compared.
    """
    found = {"pilotcut": 0, "addon": 0}
    times: dict[str, list[float]] = {"pilotcut": [], "cp-sat": [], "addon": []}
    proven = 0
    for seed in range(instances):
        circuit, width = instance(seed)
        program, _ = read_circuit(circuit)
        graph = interactions_of(program, SEPARATE)
        best, seconds = timed(optimum, graph, max_width=width, patience_s=patience_s)
        assert best is not None
        times["cp-sat"].append(seconds)
        ours, seconds = timed(least, graph, width)
        times["pilotcut"].append(seconds)
        theirs, seconds = limited(partial(addon_least, program, width), addon_s)
        times["addon"].append(seconds)
        if not best.proven:
            print(f"{seed}: not proven in {patience_s:g} s ({best.log_overhead:.3f}; {ours:.3f})")
            continue
        proven += 1
        assert ours > best.log_overhead - 1e-3, "better than the proven optimum"
        found["pilotcut"] += ours < best.log_overhead + 1e-3
        found["addon"] += theirs is not None and theirs < best.log_overhead + 1e-3
        if ours > best.log_overhead + 1e-3:
            print(f"{seed}: missed, {ours:.3f} instead of {best.log_overhead:.3f}", flush=True)
    print(f"{instances} instances, {proven} with a proven optimum (wires='{SEPARATE}')")
    for name, count in found.items():
        print(f"  {name}: optimum found on {count} of {proven} ({count / proven:.1%})")
    report_times(times)


def groups(instances: int, patience_s: float) -> None:
    """Print how often the search finds the least price of groups of wires, and how often less.

    What parallel wires cost together is no sum over wires, as CP-SAT's model needs it. At the
    share that one has of the cheapest group it proves a lower bound. Its partitions for that price,
    and for that of wires by themselves, priced as plans, are what the search must not be behind.
    """
    counts = {"proven": 0, "not behind": 0, "behind": 0}
    times: dict[str, list[float]] = {"pilotcut": [], "cp-sat": []}
    for seed in range(instances):
        circuit, width = instance(seed)
        graph = interactions_of(read_circuit(circuit)[0], AUTO)
        ours, seconds = timed(least, graph, width)
        times["pilotcut"].append(seconds)
        logs = [wire_price(AUTO, n).log_overhead / n for n in range(1, MOST_WIRES + 1)]
        started, some = perf_counter(), []
        for log_of_wire in (logs[0], min(logs)):
            wire = replace(graph.wire, log_overhead=log_of_wire)
            priced = replace(graph, wire=wire)
            some.append(optimum(priced, max_width=width, patience_s=patience_s))
        times["cp-sat"].append(perf_counter() - started)
        labels = [one.labels for one in some if one is not None]
        theirs = least(graph, width, lambda *_, labels=labels: iter(labels))
        bound = some[-1].log_overhead if some[-1] and some[-1].proven else 0.0
        if ours > theirs + 1e-3:
            counts["behind"] += 1
            print(f"{seed}: behind, {ours:.3f} instead of {theirs:.3f} (bound {bound:.3f})")
        else:
            counts["proven" if ours < bound + 1e-3 else "not behind"] += 1
    print(f"{instances} instances (wires='{AUTO}'):")
    print("  " + ", ".join(f"{name} on {count}" for name, count in counts.items()))
    report_times(times)


def least(graph: Interactions, width: int, engine: Engine | None = None) -> float:
    """Return log gamma^2 of the best plan that the search finds, or of those an engine proposes."""
    goal = Goal(None, width)
    found = together(graph, goal) if engine is None else fitting(graph, goal, engine)
    return min(c.log_overhead for c in found)


def report_times(times: dict[str, list[float]]) -> None:
    """Print medians and the longest."""
    for name, some in times.items():
        print(f"  {name}: median {np.median(some):.3f} s, longest {max(some):.3f} s")


def addon_least(program: Program, width: int) -> float:
    """Return log gamma^2 of the plan that the addon's finder returns."""
    logging.disable(logging.CRITICAL)
    options = OptimizationParameters(seed=0, max_gamma=1e9)
    limits = DeviceConstraints(qubits_per_subcircuit=width)
    _, about = find_cuts(stand_in(interactions_of(program)), options, limits)
    return log(float(about["sampling_overhead"]))


# -- wide circuits -----------------------------------------------------------------------


def qnn(width: int, reps: int = 2) -> QuantumCircuit:
    """Return a hardware-efficient ansatz."""
    return efficient_su2(width, reps=reps, entanglement="linear")


def qaoa(width: int, layers: int = 1) -> QuantumCircuit:
    """Return QAOA on a random 3-regular graph."""
    edges = sorted(nx.random_regular_graph(3, width, seed=1).edges)
    circuit = QuantumCircuit(width)
    circuit.h(range(width))
    for layer in range(layers):
        for a, b in edges:
            circuit.rzz(Parameter(f"g{layer}_{a}_{b}"), a, b)
        for qubit in range(width):
            circuit.rx(Parameter(f"b{layer}_{qubit}"), qubit)
    return circuit


def star(width: int) -> QuantumCircuit:
    """Return a GHZ state from one hub, where a wire cut wins."""
    circuit = QuantumCircuit(width)
    circuit.h(0)
    for qubit in range(1, width):
        circuit.cx(0, qubit)
    return circuit


WIDE = {
    "QNN, 36 qubits, width 12": (lambda: qnn(36), {"max_width": 12}),
    "QNN, 36 qubits, 8 cuts": (lambda: qnn(36), {"max_cuts": 8}),
    "QNN, 60 qubits, width 10": (lambda: qnn(60), {"max_width": 10}),
    "QNN, 100 qubits, width 12": (lambda: qnn(100), {"max_width": 12}),
    "QNN, 100 qubits, 8 cuts": (lambda: qnn(100), {"max_cuts": 8}),
    "QAOA, 36 qubits, width 14": (lambda: qaoa(36), {"max_width": 14}),
    "QAOA, 36 qubits, 8 cuts": (lambda: qaoa(36), {"max_cuts": 8}),
    "QAOA, 60 qubits, width 20": (lambda: qaoa(60), {"max_width": 20}),
    "star, 12 qubits, width 7": (lambda: star(12), {"max_width": 7}),
    "star, 40 qubits, width 11": (lambda: star(40), {"max_width": 11}),
}


def wide(addon_s: float, rounds: int = 3) -> None:
    """Print time and result of the search on wide circuits, and of the addon's finder."""
    print("circuit | search, s | cuts (gates + wires) | widths | log10 gamma^2 | addon")
    for name, (build, how) in WIDE.items():
        program, _ = read_circuit(build())
        runs = [timed(search, program, **how) for _ in range(rounds)]
        found = runs[0][0]
        best = min(found, key=lambda c: c.overhead if "max_width" in how else c.cost)
        widths = ",".join(str(w) for w in sorted(s.width for s in best.shapes))
        theirs = "-"
        if "max_width" in how:
            value, seconds = limited(partial(addon_least, program, how["max_width"]), addon_s)
            answer = "no answer" if value is None else f"{value / log(10):.2f}"
            theirs = f"{answer} in {seconds:.1f} s"
        times = "/".join(f"{seconds:.2f}" for _, seconds in sorted(runs, key=lambda run: run[1]))
        print(
            f"{name} | {times} | {best.cuts} ({best.gate_cuts} + {best.wire_cuts}) | {widths} | "
            f"{log(best.overhead) / log(10):.2f} | {theirs}",
            flush=True,
        )


# -- clocks ------------------------------------------------------------------------------


def timed(function: Callable, *arguments, **options):
    """Return what a function returns, and the seconds it took."""
    started = perf_counter()
    result = function(*arguments, **options)
    return result, perf_counter() - started


def limited(function: Callable[[], float], limit_s: float) -> tuple[float | None, float]:
    """Return what a function returns in a process of its own, or None after so many seconds."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_send, args=(function, sender))
    started = perf_counter()
    process.start()
    answer = receiver.recv() if receiver.poll(limit_s) else None
    process.kill()
    process.join()
    return answer, perf_counter() - started


def _send(function: Callable[[], float], sender) -> None:
    try:
        sender.send(function())
    except ValueError:  # the addon found nothing
        sender.send(None)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=["wide", "optima", "groups"])
    parser.add_argument("--instances", type=int, default=200)
    parser.add_argument("--addon-s", type=float, default=10.0, help="limit of the addon's finder")
    parser.add_argument("--patience-s", type=float, default=120.0, help="limit of CP-SAT")
    asked = parser.parse_args()
    search(read_circuit(qnn(4))[0], max_cuts=1)  # imports and caches
    if asked.part in (None, "wide"):
        wide(asked.addon_s)
    if asked.part in (None, "optima"):
        optima(asked.instances, asked.addon_s, asked.patience_s)
    if asked.part in (None, "groups"):
        groups(asked.instances, asked.patience_s)


if __name__ == "__main__":
    main()

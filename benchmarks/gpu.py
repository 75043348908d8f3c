"""The exact engine on CPU and on a CUDA GPU, each way: the same numbers, and how long they take.

Value and gradient of all fragments of a case (`step_cases.py`): by statevectors of the branches, as
they are cut, and by the network of the whole circuit where there is one; in double and single
precision. Beside it Aer's uncut value alone, on the CPU and, where qiskit-aer-gpu is installed, on
the GPU. Says plainly when there is no GPU; nothing else depends on one.

    python benchmarks/gpu.py [--cases chain-20 chain-36 dense-cz-16 brick-24 brick-32]
        [--repeats 5] [--cpu-alone]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from math import prod

import numpy as np
import torch
from qiskit_aer import AerSimulator
from qiskit_aer.primitives import EstimatorV2 as AerEstimator
from step_cases import CASES, Case

from pilotcut import compile_plan
from pilotcut.backends.exact import ExactEngine
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.plan import CutPlan
from pilotcut.errors import CutError
from pilotcut.options import DOUBLE, NETWORK, SINGLE, STATEVECTOR, EngineOptions

USUAL = ("chain-20", "chain-36", "dense-cz-16", "brick-24", "brick-32")

#: Aer's value is not asked for where its state takes more than this.
MOST_AER_QUBITS = 28

#: What engines may take on either device.
MEMORY_BYTES = 16 * 2**30


def main() -> None:
    """Print the table, or that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=USUAL, choices=list(CASES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpu-alone", action="store_true", help="without a GPU")
    options = parser.parse_args()
    if not torch.cuda.is_available() and not options.cpu_alone:
        print("no GPU: torch sees no CUDA device here, so nothing was measured")
        return
    devices = ["cpu"] if options.cpu_alone else ["cpu", "cuda"]
    if not options.cpu_alone:
        print(f"device: {torch.cuda.get_device_name()}; {torch.get_num_threads()} CPU threads")
    print(f"{'case':14} {'way':24}" + "".join(f"{d + ' ms':>11}" for d in devices) + "  apart")
    for name in options.cases:
        for way, calls in ways(CASES[name](), devices):
            print(f"{name:14} {way:24}{compared(calls, options.repeats)}", flush=True)


Call = Callable[[], Sequence[np.ndarray]]


def ways(case: Case, devices: Sequence[str]) -> Iterator[tuple[str, list[Call | None]]]:
    """Yield the ways of a case, with a call for each device, None where it cannot run."""
    cut = compile_plan(case.circuit, case.observable, **case.cut)
    whole = compile_plan(case.circuit, case.observable)
    for plan, way, dtype in (
        (cut, STATEVECTOR, DOUBLE),
        (cut, STATEVECTOR, SINGLE),
        (whole, NETWORK, DOUBLE),
    ):
        engines = [engine(device, EngineOptions(way, dtype)) for device in devices]
        if way == NETWORK and not all(engines[0].network(f) for f in plan.fragments):
            continue
        yield f"{way}, {dtype}", [of_engine(one, plan, case) for one in engines]
    if case.circuit.num_qubits <= MOST_AER_QUBITS:
        yield "Aer, uncut, value alone", [of_aer(device, case) for device in devices]


def engine(device: str, options: EngineOptions) -> ExactEngine:
    """Return an engine with room."""
    made = ExactEngine(device, options)
    made.memory_bytes = MEMORY_BYTES
    return made


def of_engine(exact: ExactEngine, plan: CutPlan, case: Case) -> Call | None:
    """Return a call for all fragments' tensors and the derivatives of a sum of their entries."""
    slots = np.random.default_rng(0).uniform(0, 1.5, (case.batch, plan.program.num_slots))
    angles = [fragment.angle_values(slots) for fragment in plan.fragments]
    try:
        for fragment in plan.fragments:
            exact.rows_at_once(fragment)
    except CutError:
        return None

    def call() -> list[np.ndarray]:
        found = []
        for fragment, some in zip(plan.fragments, angles, strict=True):
            values = exact.values(fragment, some)
            found += [values, exact.pull_back(fragment, some, cotangents(fragment, len(some)))]
        return found

    return call


def cotangents(fragment: Fragment, rows: int) -> np.ndarray:
    """Return derivatives of one output by the tensor, all 1."""
    pairs = prod(site.rank**2 for site in fragment.sites)
    return np.ones((rows, 1, len(fragment.observables), pairs), complex)


def of_aer(device: str, case: Case) -> Call | None:
    """Return a call for Aer's exact values, None where it has no such device."""
    name = "GPU" if device == "cuda" else "CPU"
    if name not in AerSimulator().available_devices():
        return None
    settings = {"device": name, "method": "statevector"}
    estimator = AerEstimator(options={"backend_options": settings})
    pub = (case.circuit, case.observable, case.rows())
    return lambda: [estimator.run([pub], precision=0.0).result()[0].data.evs]


def compared(calls: Sequence[Call | None], repeats: int) -> str:
    """Return each device's median of calls in turns, and how far results are apart at most."""
    results = [None if call is None else call() for call in calls]  # they warm up, too
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, times in zip(calls, taken, strict=True):
            if call is not None:
                started = time.perf_counter()
                call()
                times.append(time.perf_counter() - started)
    cells = (
        f"{1e3 * statistics.median(times):11.2f}" if times else f"{'-':>11}" for times in taken
    )
    found = [result for result in results if result is not None]
    apart = max(
        (float(np.abs(a - b).max()) for a, b in zip(found[0], found[-1], strict=True)), default=0.0
    )
    return "".join(cells) + f"  {apart:.1e}"


if __name__ == "__main__":
    main()

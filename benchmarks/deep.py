"""Values and all derivatives of deep cut circuits in exact mode: time and memory of two trees.

Every tree runs the same cases in processes of its own, in turns; a case is a QNN's forward and
backward pass. Values and derivatives must agree to 1e-8 (of single precision to 1e-5), or the line
says so.

    python benchmarks/deep.py [--before CHECKOUT] [--single] [--threads 1 2] [--only brick-32]
                              [--repeats 5] [--turns 3]

`--before` is another checkout of this package, such as `git worktree add ../before 37be6ec`;
without it this tree is measured alone. `--single` measures it in complex64 too, and `--threads`
with each number of threads. "first" is the first call, which plans; peak is the process's, of which
importing torch and Qiskit takes 0.35 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
from step_cases import Case, brickwork, chain

HERE = Path(__file__).resolve().parents[1]

CASES = {
    "brick-24": partial(brickwork, 24, 20),
    "brick-32": partial(brickwork, 32, 24),
    "brick-24, complex": partial(brickwork, 24, 20, ("rx", "rz")),
    "brick-16, 16 rows": partial(brickwork, 16, 12, batch=16),
    "chain-20, 16 rows": partial(chain, 20, 1, 16),
    "chain-36": partial(chain, 36, 2, 1),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--only", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--repeats", type=int, default=5, help="calls of a process")
    parser.add_argument("--turns", type=int, default=3, help="processes of a tree")
    parser.add_argument("--single", action="store_true", help="measure complex64 too")
    parser.add_argument("--threads", type=int, nargs="*", default=[1], metavar="N")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options.child, options.repeats, options.single)))
        return
    ways = [(HERE, False, threads) for threads in options.threads]
    if options.single:
        ways += [(HERE, True, threads) for threads in options.threads]
    if options.before:
        ways.insert(0, (options.before, False, options.threads[0]))
    print(f"{'case':20} {'tree':14} {'ms':>9} {'min-max':>17} {'first':>7} {'peak GB':>8}")
    for case in options.only:
        found: list[list[dict[str, object]]] = [[] for _ in ways]
        for _ in range(options.turns):
            for way, runs in zip(ways, found, strict=True):
                runs.append(in_process(case, *way, options.repeats))
        expected = found[ways.index((HERE, False, options.threads[0]))][0]["found"]
        for way, runs in zip(ways, found, strict=True):
            print(line(case, way, runs, expected), flush=True)


def in_process(
    case: str, tree: Path, single: bool, threads: int, repeats: int
) -> dict[str, object]:
    """Measure a case in a process that imports a tree."""
    command = [sys.executable, __file__, "--child", case, "--repeats", str(repeats)]
    command += ["--single"] if single else []
    environment = os.environ | {
        "PYTHONPATH": str(tree.resolve()),
        "OMP_NUM_THREADS": str(threads),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def line(case: str, way: tuple[Path, bool, int], runs: list[dict], expected: object) -> str:
    """Format one tree's runs of a case."""
    tree, single, threads = way
    name = f"{'single' if single else 'now' if tree is HERE else 'before'}, {threads} thr."
    ms = [1e3 * s for run in runs for s in run["seconds"]]
    first = statistics.median(run["first"] for run in runs)
    peak = max(run["peak"] for run in runs)
    spread = f"{min(ms):.1f}-{max(ms):.1f}"
    agrees = np.allclose(runs[0]["found"], expected, rtol=0, atol=1e-5 if single else 1e-8)
    ends = f"{spread:>17} {first:6.2f}s {peak:8.2f}"
    text = f"{case:20} {name:14} {statistics.median(ms):9.1f} {ends}"
    return text if agrees else text + "  disagrees"


def measured(case: str, repeats: int, single: bool = False) -> dict[str, object]:
    """Return seconds of calls, the peak memory in GB, and values with derivatives."""
    options = {"dtype": "complex64"} if single else {}  # which older trees do not know
    call = call_of(CASES[case](), **options)
    started = time.perf_counter()
    found = call()
    first, seconds = time.perf_counter() - started, []
    for _ in range(repeats):
        started = time.perf_counter()
        found = call()
        seconds.append(time.perf_counter() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"seconds": seconds, "first": first, "peak": peak, "found": found}


def call_of(case: Case, **options):
    """Return a call that gives a value and all derivatives."""
    import torch

    from pilotcut import cut_qnn

    rng = np.random.default_rng(0)
    start = rng.uniform(-3, 3, len(case.weights))
    shape = (case.batch, len(case.inputs))
    inputs = torch.tensor(rng.uniform(0, 1.5, shape), requires_grad=True)
    qnn = cut_qnn(
        case.circuit,
        case.observable,
        input_params=case.inputs,
        weight_params=case.weights,
        mode="exact",
        initial_weights=start,
        **case.cut,
        **options,
    ).double()

    def call() -> list[float]:
        inputs.grad = qnn.weights.grad = None
        value = qnn(inputs).sum()
        value.backward()
        slopes = torch.cat([inputs.grad.flatten(), qnn.weights.grad.flatten()])
        return [float(value.detach()), *slopes.tolist()]

    return call


if __name__ == "__main__":
    main()

"""One training step, forward, loss, backward and Adam, in one run with all competitors.

Medians of 15 with min-max. Every column trains the same circuit from the same weights and must
agree on the loss, and on the norm of its gradient, to six digits, or its line says so. "Uncut"
columns simulate the whole circuit: they are there so that nobody is misled about when cutting wins.

    python benchmarks/training_step.py [--repeats 15] [--cases chain dense brick many] [--networks]
        [--statevectors] [--jax] [--limit-s 200] [--limit-gb 12]

The cases are those of `step_cases.py`, by name or by a name's beginning, such as dense-cz:

- "chain": ZFeatureMap + RealAmplitudes(reps=1), <Z...Z>, of 4 to 60 qubits;
- "dense": two clusters of 8 qubits, all pairs entangled four times, one CZ between them is cut;
- "brick": deep brickwork of 24 and 32 qubits, two cuts;
- "many": more cuts than a small state is worth, where exact mode is to cost what no cut costs.

What is done once for a circuit is outside the clock of a step in every column: compiling and
cutting, quimb's search for a contraction path, torch's tracing, the first step (for quimb the
first four: torch optimises a traced function while it runs). It stands beside it, as "first", and
"1000" is the first step with 999 others. For the chain quimb runs the fastest of the four ways in
`tensor_network.py` (`--networks` measures the other three beside it), for other cases the network
of all gates (`circuit_network.py`). `--statevectors` measures ours by the states of all branches,
and `--jax` tensorcircuit-ng, compiled by JAX, in an environment of its own that is made with pinned
versions (`tensorcircuit_step.py`; minutes for deep circuits).

Every column runs in a process of its own, with `--limit-s` seconds and `--limit-gb` of address
space, but for ours and what is nearest to it (quimb's for the chain, elsewhere ours uncut), which
take turns in one, a step of each, so that they can be compared to a few percent. A column whose
state alone is larger is not run. Columns "value alone" compute the loss without its gradient, which
for Aer would be a shift of every weight. Not run are PennyLane's backprop above 12 qubits, which
keeps every state of the batch, 22 GB at 20, and above 4 what takes minutes there.
The addon's step is computed from one measured query, and marked "est.": its parameter shift needs
1 + 2p queries a sample (p weights).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from math import isclose
from pathlib import Path
from typing import Any

from environments import HOME, python_with
from step_cases import CASES, Case, chain

HERE = Path(__file__).resolve().parent

#: What tensorcircuit-ng runs with, and XLA's flags for one thread.
JAX = ("tensorcircuit-ng==1.10.0", "jax==0.10.2", "jaxlib==0.10.2", "optax==0.2.8", "numpy==2.4.6")
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

#: tensorcircuit-ng's columns, and whether it contracts the state first.
TENSORCIRCUIT = {
    "tensorcircuit-ng, JAX jit, uncut": False,
    "tensorcircuit-ng state, JAX jit, uncut": True,
}

#: Beginnings of the names of columns that hold the whole circuit's state.
WHOLE_STATES = ("PennyLane", "Aer", "Qiskit", "tensorcircuit-ng state")

#: Seconds after which a column's steps are not repeated; a first step that is longer is not either.
BUDGET_S = 20.0

#: A column's result: loss, slope (the gradient's norm) and seconds, the first step's first.
Found = dict[str, Any]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--cases", nargs="*", default=["chain"], help="beginnings of their names")
    parser.add_argument("--networks", action="store_true", help="quimb in all four ways")
    parser.add_argument("--statevectors", action="store_true", help="ours by branch states, too")
    parser.add_argument("--jax", action="store_true", help="tensorcircuit-ng with JAX, too")
    parser.add_argument("--limit-s", type=float, default=200.0, help="seconds of a column")
    parser.add_argument("--limit-gb", type=float, default=12.0, help="address space of a column")
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measured(options.cases[0], options.child, options.repeats)))
        return
    head = f"{'case':17} {'cuts':>4} {'batch':>5}  {'column':36} {'ms':>10} {'min-max':>19}"
    print(f"{head} {'first':>7} {'1000':>7}  loss")
    for name in CASES:
        if any(f"{name}-".startswith(f"{asked}-") for asked in options.cases):
            compare(name, options)


def compare(name: str, options: argparse.Namespace) -> None:
    """Measure every column of one case."""
    case = CASES[name]()
    head = f"{name:17} {case.cuts:4} {case.batch:5}  "
    reference: Found = {}
    for group in groups(name, case, options):
        if group[0].startswith(WHOLE_STATES):
            size = 16 * 2**case.circuit.num_qubits / 2**30
            if size > options.limit_gb:
                print(f"{head}{group[0]:36} does not fit: a state takes {size:.0f} GiB", flush=True)
                continue
        try:
            found = in_process(name, case, group, options)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{head}{group[0]:36} {failure(error, options)}", flush=True)
            continue
        reference = reference or found[0]
        for column, one in zip(group, found, strict=True):
            print(head + line(column, one, reference), flush=True)
    if name == "chain-4":
        addon_estimate(head, case)


def groups(name: str, case: Case, options: argparse.Namespace) -> list[list[str]]:
    """Return the columns of a case, those together that take turns in one process."""
    qubits, kind = case.circuit.num_qubits, name.split("-")[0]
    if kind == "many":
        return [["pilotcut exact, cut", "pilotcut exact, uncut, states"]]
    ours = ["pilotcut exact, cut", *(["pilotcut exact, uncut"] if qubits <= 20 else [])]
    states = [["pilotcut exact, cut, states"]] if options.statevectors else []
    jax = [[one] for one in TENSORCIRCUIT] if options.jax else []
    if kind != "chain":
        alone = ["Aer EstimatorV2, uncut, value alone", "PennyLane lightning.qubit, uncut"]
        return [ours, *states, *([one] for one in alone), ["quimb traced, uncut"], *jax]
    from step_columns import QUIMB_CHAIN, WAYS

    # What differs least takes turns, and a step of milliseconds is slowed by a long one before it.
    found = [[ours[0], QUIMB_CHAIN], *([one] for one in ours[1:]), *states]
    if qubits <= 4:
        found += [[f"pilotcut {mode} 1024 shots, cut"] for mode in ("sampled", "counts")]
        found += [["Qiskit ML + Aer EstimatorV2, uncut"]]
    found += [["PennyLane default.qubit, uncut"]] if qubits <= 12 else []
    found += [["PennyLane lightning.qubit, uncut"]] if qubits <= 20 else []
    if options.networks:
        found += [[f"quimb {way}, uncut"] for way in WAYS if f"quimb {way}, uncut" != QUIMB_CHAIN]
    return found + jax[:1]


# -- measuring ---------------------------------------------------------------------------


def in_process(name: str, case: Case, group: list[str], options: argparse.Namespace) -> list[Found]:
    """Measure columns in a process with limits of time and address space."""
    repeats = str(options.repeats)
    command = [sys.executable, __file__, "--cases", name, "--repeats", repeats, "--child", *group]
    given, environment = "", dict(os.environ)
    if group[0] in TENSORCIRCUIT:
        python = python_with(HOME / "pilotcut-jax", JAX)
        command = [python, str(HERE / "tensorcircuit_step.py")]
        given = json.dumps(tensorcircuit_case(case, group[0], options))
        environment["XLA_FLAGS"] = ONE_THREAD
    size = int(options.limit_gb * 2**30)
    done = subprocess.run(
        command,
        input=given,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=options.limit_s,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return found if isinstance(found, list) else [found]


def tensorcircuit_case(case: Case, column: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what tensorcircuit-ng's process is given."""
    inputs, targets, weights = case.data()
    return {
        "qubits": case.circuit.num_qubits,
        "gates": case.gates,
        "terms": case.terms,
        "inputs": inputs.tolist(),
        "targets": targets[:, 0].tolist(),
        "weights": weights.tolist(),
        "state": TENSORCIRCUIT[column],
        "repeats": options.repeats,
        "budget_s": BUDGET_S,
    }


def measured(name: str, group: list[str], repeats: int) -> list[Found]:
    """Return the columns' results, a step of each in turns."""
    import torch
    from step_columns import columns

    torch.set_num_threads(1)
    case, known = CASES[name](), columns()
    steps, found = [], []
    for column in group:
        known[column](chain(3, 1, 2)).run()  # loads what a process loads once
        started = time.perf_counter()
        step = known[column](case)  # builds, compiles, allocates
        ran = time.perf_counter()
        loss = step.run()
        ended = time.perf_counter()
        seconds = [ended - started]
        seconds += [ended - ran] if ended - ran > BUDGET_S else []
        steps.append(step)
        found.append({"loss": loss, "slope": step.slope(), "seconds": seconds})
    for _ in range(repeats):
        for step, one in zip(steps, found, strict=True):
            if sum(one["seconds"][1:]) < BUDGET_S:
                started = time.perf_counter()
                step.run()
                one["seconds"].append(time.perf_counter() - started)
    return found


# -- printing ----------------------------------------------------------------------------


def line(column: str, found: Found, reference: Found) -> str:
    """Format one column's times and its loss."""
    first_s, *seconds = found["seconds"]
    ms = [1e3 * s for s in seconds]
    median = statistics.median(ms)
    thousand = first_s + 0.999 * median
    spread = f"{min(ms):.2f}-{max(ms):.2f}"
    text = f"{column:36} {median:10.2f} {spread:>19} {first_s:7.2f} {thousand:7.1f}"
    text += f"  {found['loss']:.6f}"
    for what in () if "shots" in column else ("loss", "slope"):
        if found[what] is not None and not isclose(found[what], reference[what], rel_tol=1e-6):
            text += f"  {what} is {found[what]:.8g}, of the first column {reference[what]:.8g}"
    return text


def failure(error: Exception, options: argparse.Namespace) -> str:
    """Return in words why a column has no times."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"more than {options.limit_s:.0f} s"
    told = str(getattr(error, "stderr", "")).strip().splitlines() or [str(error)]
    words = ("MemoryError", "allocate", "out of memory", "RESOURCE_EXHAUSTED", "bad_alloc")
    if any(word in text for text in told for word in words):
        return f"more than {options.limit_gb:.0f} GiB"
    return f"fails: {told[-1][:100]}"


def addon_estimate(head: str, case: Case) -> None:
    """Print the addon's step with Qiskit ML's parameter shift, from one measured query."""
    import numpy as np
    from addon_baseline import addon_query

    inputs, _, weights = case.data()
    started = time.perf_counter()
    # The circuit's parameters are sorted by name: weights w before inputs x.
    addon_query(case.circuit, np.hstack([weights, inputs[0]]), ["ZZZZ"], "ABCD", 1024, 1)
    query = time.perf_counter() - started
    step = len(inputs) * (1 + 2 * len(weights)) * query
    print(
        f"{head}{'addon, parameter shift (est.)':36} {1e3 * step:10.0f} "
        f"{f'one query {query:.2f} s':>19}",
        flush=True,
    )


if __name__ == "__main__":
    main()

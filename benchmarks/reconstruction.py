"""Reconstruction alone: against the addon's, up to 12 cuts, and over MPI ranks.

Three tables, `--tables addon,cuts,ranks`:

- "addon": ours against qiskit-addon-cutting's `reconstruct_expectation_values` on the same
  counts, of a chain of one-qubit fragments with 1 to 4 cuts (5 with `--long`: minutes). Nothing
  is simulated: every distinct subexperiment gets random outcomes, which the addon receives as
  the results of a SamplerV2 and we as Aer's dictionaries of counts. Both start from counts and
  end with values that must agree; ours has standard errors and environments as well.
- "cuts": ours alone, 2 to 12 cuts in chain, ring and grid, a batch of 16: seconds and peak
  memory beside predicted flops and bytes.
- "ranks": four fragments, each joined with each, over `mpiexec -n 2` of this script against
  the serial contraction on rank 0 of the same start, in turns; by rows and by slices. "by CPU"
  is the same ratio of CPU seconds, of the rank with the most, which other work on the machine
  disturbs less; a rank that waits in MPI takes CPU time too. And the peak memory of the rank
  with the most, with 1, 2 and 4 ranks, tensors from a store, as `tracemalloc` counts.

    python benchmarks/reconstruction.py [--tables addon,cuts,ranks] [--rounds 5] [--long]

One BLAS thread a process.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from chain_counts import SHOTS, ChainCounts
from qiskit.circuit import QuantumCircuit
from qiskit_addon_cutting import reconstruct_expectation_values

from pilotcut import compile_plan
from pilotcut.backends.counts import covariances, parities
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.reconstruction.contraction import (
    BATCH,
    TERM,
    Contraction,
    sensitivities,
    standard_errors,
)
from pilotcut.reconstruction.contraction_cost import cost_of_batch
from pilotcut.reconstruction.tensor_store import TensorStore

LETTERS = "ABCDEFGHIJKLMNOP"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", default="addon,cuts,ranks", help="which, with commas")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each number")
    parser.add_argument("--long", action="store_true", help="run the addon with 5 cuts as well")
    parser.add_argument("--on-rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.on_rank:
        on_rank(options.on_rank, options.rounds)
        return
    print(f"load {os.getloadavg()[0]:.1f}")
    tables = {"addon": addon_table, "cuts": cuts_table, "ranks": ranks_table}
    for name in options.tables.split(","):
        tables[name](options)


def timed(work: Callable[..., object], *arguments: object) -> float:
    """Return wall seconds."""
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


def spread(seconds: list[float], scale: float = 1e3) -> str:
    """Return median (min-max), in milliseconds unless scaled otherwise."""
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    return f"{scale * middle:.4g} ({scale * low:.4g}-{scale * high:.4g})"


# -- the addon -------------------------------------------------------------------------


def addon_table(options: argparse.Namespace) -> None:
    """Compare on the same counts."""
    print(f"{'cuts':>4} {'results':>8} {'addon ms':>28} {'ours ms':>24} {'ratio':>8} {'differ':>8}")
    for cuts in range(1, 6 if options.long else 5):
        rounds = options.rounds if cuts < 4 else min(2, options.rounds) if cuts < 5 else 1
        counts = ChainCounts(cuts)
        for_the_addon = counts.for_the_addon()
        contraction = Contraction.of(counts.plan)
        bonds = [bond.matrix(np.zeros((1, 0))) for bond in counts.plan.bonds]
        ours_s, addon_s = [], []
        for _ in range(rounds):
            ours_s.append(timed(ours, counts, contraction, bonds))
            addon_s.append(timed(addons, *for_the_addon, found := []))
        differ = abs(found[0] - ours(counts, contraction, bonds)[0])
        ratio = statistics.median(a / b for a, b in zip(addon_s, ours_s, strict=True))
        print(
            f"{cuts:4} {6**cuts * (cuts + 1):8} {spread(addon_s):>28} "
            f"{spread(ours_s):>24} {ratio:8.0f} {differ:8.1e}",
            flush=True,
        )


def addons(results, coefficients, observables, found: list[float]) -> None:
    """Put the value by the addon into `found`."""
    found += reconstruct_expectation_values(results, coefficients, observables)


def ours(
    counts: ChainCounts, contraction: Contraction, bonds: list[np.ndarray]
) -> tuple[float, float]:
    """Return value and standard error from counts."""
    plan, tensors = counts.plan, []
    for fragment, dictionaries in zip(plan.fragments, counts.dictionaries, strict=True):
        means = parities(dictionaries, [~0 & 0xFFFF], SHOTS)
        spreads = covariances(means, np.ones((*means.shape, 1)), SHOTS)
        tensors.append(
            FragmentTensor(means.T.reshape(1, 1, *fragment.site_shape), (spreads[None],))
        )
    value, environments = contraction.values_and_environments(contraction.operands(tensors, bonds))
    index, one = plan.term_index, np.ones((1, 1))
    slopes = [sensitivities(index[:, f], environments[f], one) for f in range(len(tensors))]
    errors = standard_errors([f.entries for f in plan.fragments], tensors, slopes)
    return float(value[0, 0]), float(errors[0, 0])


# -- many cuts -------------------------------------------------------------------------


def cuts_table(options: argparse.Namespace) -> None:
    """Measure ours on graphs of one-qubit fragments joined by CX gates."""
    rows = 16
    print(
        f"{'graph':6} {'cuts':>4} {'entries':>8} {'values ms':>24} {'Mflops':>8} {'GF/s':>5} "
        f"{'MB':>7} {'pred.':>7} {'+ environments ms':>24} {'MB':>7} {'pred.':>7}"
    )
    for name, pairs in graphs():
        plan = plan_of(pairs)
        tensors, bonds = random_tensors(plan, rows)
        contraction = Contraction.of(plan)
        operands = contraction.operands(tensors, bonds)
        held = sum(x.nbytes for x in operands)
        cells = []
        for environments in (False, True):
            work = contraction.values_and_environments if environments else contraction.values
            work(operands)
            seconds = [timed(work, operands) for _ in range(options.rounds)]
            expected = cost_of_batch(contraction, rows, environments)
            cells.append((seconds, expected, held + peak(work, operands)))
        (seconds, expected, bytes_), (more, also, more_bytes) = cells
        rate = expected.flops / statistics.median(seconds) / 1e9
        entries = sum(f.num_variants for f in plan.fragments)
        print(
            f"{name:6} {len(pairs):4} {entries:8} {spread(seconds):>24} "
            f"{expected.flops / 1e6:8.2f} {rate:5.2f} {bytes_ / 1e6:7.2f} "
            f"{expected.bytes / 1e6:7.2f} {spread(more):>24} {more_bytes / 1e6:7.2f} "
            f"{also.bytes / 1e6:7.2f}",
            flush=True,
        )


def graphs() -> list[tuple[str, list[tuple[int, int]]]]:
    """Return graphs of 2 to 12 edges."""
    found = []
    for cuts in (2, 4, 8, 12):
        found.append(("chain", [(k, k + 1) for k in range(cuts)]))
    for cuts in (4, 8, 12):
        found.append(("ring", [(k, (k + 1) % cuts) for k in range(cuts)]))
    for width, height in ((2, 2), (3, 2), (3, 3)):
        across = [
            (y * width + x, y * width + x + 1) for y in range(height) for x in range(width - 1)
        ]
        down = [
            (y * width + x, (y + 1) * width + x) for y in range(height - 1) for x in range(width)
        ]
        found.append(("grid", across + down))
    return found


def plan_of(pairs: list[tuple[int, int]]) -> CutPlan:
    """Return a plan with a fragment for each qubit and a CX for each pair, all cut."""
    width = 1 + max(map(max, pairs))
    circuit = QuantumCircuit(width)
    for pair in pairs:
        circuit.cx(*pair)
    return compile_plan(circuit, ["Z" * width], labels=LETTERS[:width])


def random_tensors(plan: CutPlan, rows: int) -> tuple[list[FragmentTensor], list[np.ndarray]]:
    """Return tensors of random expectations, and the plan's bond matrices."""
    rng = np.random.default_rng(0)
    tensors = [
        FragmentTensor(rng.uniform(-1, 1, (rows, len(f.observables), *f.site_shape)), ())
        for f in plan.fragments
    ]
    return tensors, [bond.matrix(np.zeros((rows, 0))) for bond in plan.bonds]


def peak(work: Callable[..., object], *arguments: object) -> int:
    """Return the most bytes that were allocated at a time."""
    tracemalloc.start()
    work(*arguments)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


# -- ranks -----------------------------------------------------------------------------

#: Name -> rows of the batch, and how many CX gates join each pair of four fragments.
CASES = {"rows": (128, (2,) * 6), "slices": (1, (3, 3, 3, 3, 3, 2))}


def ranks_table(options: argparse.Namespace) -> None:
    """Start this script under mpiexec and print what its rank 0 says."""
    print(
        f"{'case':8} {'':14} {'serial s':>22} {'2 ranks s':>22} {'speed-up':>20} {'by CPU':>6} "
        f"{'MB of a rank with 1, 2, 4 ranks':>32}"
    )
    for case in CASES:
        two = launched(2, f"time {case}", options)
        memory = [launched(n, f"memory {case}", options) for n in (1, 2, 4)]
        for kind in ("values", "environments", "errors"):
            serial, ranks, alone_cpu, ranks_cpu = two[kind]
            ratios = [a / b for a, b in zip(serial, ranks, strict=True)]
            by_cpu = statistics.median(a / b for a, b in zip(alone_cpu, ranks_cpu, strict=True))
            most = [max(one[kind]) / 1e6 for one in memory]
            told = ", ".join(f"{m:.0f}" for m in most) + f" ({most[2] / most[0]:.2f})"
            print(
                f"{case:8} {kind:14} {spread(serial, 1):>22} {spread(ranks, 1):>22} "
                f"{spread(ratios, 1):>20} {by_cpu:6.2f} {told:>32}",
                flush=True,
            )


def launched(ranks: int, what: str, options: argparse.Namespace) -> dict[str, list]:
    """Run this script on some ranks; return what rank 0 prints."""
    beside = Path(sys.executable).with_name("mpiexec")
    mpiexec = str(beside) if beside.exists() else shutil.which("mpiexec")
    if mpiexec is None:
        sys.exit("there is no mpiexec here; install it with: pip install mpi4py mpich")
    script = [sys.executable, "-m", "mpi4py", __file__, "--on-rank", what]
    command = [mpiexec, "-n", str(ranks), *script, "--rounds", str(options.rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def on_rank(what: str, rounds: int) -> None:
    """Measure on this rank; rank 0 prints."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    measure, case = what.split()
    question = Question(case) if comm.rank == 0 else None
    directory = comm.bcast(tempfile.mkdtemp() if comm.rank == 0 else None)
    try:
        told = (in_turns if measure == "time" else peaks)(comm, question, rounds, directory)
    finally:
        if comm.rank == 0:
            shutil.rmtree(directory)
    if comm.rank == 0:
        print(json.dumps(told))


class Question:
    """Four fragments, each joined with each: a contraction, random tensors and bonds."""

    def __init__(self, case: str, size: int = 5) -> None:
        rows, joined = CASES[case]
        pairs = [
            p
            for p, n in zip(itertools.combinations(range(4), 2), joined, strict=True)
            for _ in range(n)
        ]
        sites = [[f"{n}.{p.index(f)}" for n, p in enumerate(pairs) if f in p] for f in range(4)]
        bonds = [(f"{n}.0", f"{n}.1") for n in range(len(pairs))]
        indices = tuple((BATCH, TERM, *names) for names in (*sites, *bonds))
        sizes = dict.fromkeys(itertools.chain(*bonds), size)
        index = np.zeros((1, 4), int)
        self.contraction = Contraction.of_network(indices, sizes, index)
        rng = np.random.default_rng(0)
        self.tensors = []
        for names in sites:
            values = rng.uniform(-1, 1, (rows, 1, *[size] * len(names)))
            spreads = (1 - values.reshape(rows, -1, 1, 1) ** 2) / SHOTS
            self.tensors.append(FragmentTensor(values, (spreads,)))
        self.bonds = [rng.normal(size=(1, size, size)) / size for _ in bonds]
        self.entries = [[np.arange(size ** len(names))[:, None]] for names in sites]
        self.coefficients = np.ones((1, 1))

    def serial(self, kind: str) -> object:
        """Return what is asked without MPI."""
        operands = self.contraction.operands(self.tensors, self.bonds)
        if kind == "values":
            return self.contraction.values(operands)
        values, environments = self.contraction.values_and_environments(operands)
        if kind == "environments":
            return values, environments
        index = self.contraction.term_index
        slopes = [sensitivities(index[:, f], environments[f], self.coefficients) for f in range(4)]
        return values, standard_errors(self.entries, self.tensors, slopes)


def asked(comm, question: Question | None, kind: str, store: TensorStore | None = None) -> object:
    """Return what is asked from all ranks."""
    from pilotcut.reconstruction.mpi_contraction import contract, estimate

    if question is None:  # rank 0 asks
        return estimate(*[None] * 5, comm) if kind == "errors" else contract(None, None, comm)
    tensors, bonds = store or question.tensors, question.bonds
    if kind == "errors":
        about = (question.entries, tensors, bonds, question.coefficients)
        return estimate(question.contraction, *about, comm)
    operands = store or question.contraction.operands(tensors, bonds)
    return contract(question.contraction, operands, comm, environments=kind == "environments")


def in_turns(comm, question: Question | None, rounds: int, _: str) -> dict[str, list]:
    """Return seconds of serial and of all ranks, from arrays on rank 0, by turns."""
    from mpi4py import MPI

    told: dict[str, list] = {}
    for kind in ("values", "environments", "errors"):
        asked(comm, question, kind)  # the division is found once
        pairs = []
        for _ in range(rounds):
            used = time.process_time()
            alone = timed(question.serial, kind) if question else 0.0
            alone_cpu = time.process_time() - used
            quiet(comm)
            used = time.process_time()
            together = timed(asked, comm, question, kind)
            most = comm.allreduce(time.process_time() - used, MPI.MAX)
            pairs.append((alone, together, alone_cpu, most))
        told[kind] = [list(one) for one in zip(*pairs, strict=True)]
    return told


def quiet(comm) -> None:
    """Wait for all ranks, asleep: a rank that waits in MPI takes a core's whole time."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(0.001)


def peaks(comm, question: Question | None, _: int, directory: str) -> dict[str, list] | None:
    """Return for each kind the most bytes of arrays of every rank, tensors from a store."""
    store = None
    if question:
        store = TensorStore.write(directory, question.tensors, question.bonds)
        question.tensors, question.bonds = [], []
    told = {}
    for kind in ("values", "environments", "errors"):
        asked(comm, question, kind, store)
        told[kind] = comm.gather(peak(asked, comm, question, kind, store))
    return told


if __name__ == "__main__":
    main()

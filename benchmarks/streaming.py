"""How much of a training run waits for reconstruction, on one worker and on two.

The training that `pilotcut train` does (Iris, 3 cuts, counts mode), one local worker and two
taking turns, one thread each. Of every batch the trace says how long it took, for how long the
query waited for the contraction, and how much of that was hidden behind other bundles. Turning
counts into expectations happens inside the tasks, on the workers; it is shown beside.

    python benchmarks/streaming.py [--rounds 3] [--epochs 1] [--cuts 3] [--qubits 4]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from scaleout import local

from pilotcut import TaskManager
from pilotcut.io.jsonl import read_jsonl
from pilotcut.training.config import TrainingConfig
from pilotcut.training.run import TrainingRun
from pilotcut.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Run:
    """Seconds of one training run."""

    wall_s: float
    batches_s: float
    waits_s: float
    hidden_s: float
    reduce_share: float


def main() -> None:
    """Print a line for each number of workers, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--qubits", type=int, default=4)
    options = parser.parse_args()
    runs: dict[int, list[Run]] = {1: [], 2: []}
    with (
        local(1) as one,
        local(2) as two,
        TaskManager(one) as tasks1,
        TaskManager(two) as tasks2,
        tempfile.TemporaryDirectory() as place,
    ):
        for turn in range(options.rounds + 1):
            for workers, tasks in ((1, tasks1), (2, tasks2)):
                run = train(Path(place) / f"{turn}-{workers}", options, tasks)
                if turn:  # the first turn imports and compiles on the workers
                    runs[workers].append(run)
    print("workers  training s         spread  waits  hidden  counts to expectations")
    for workers, some in runs.items():
        taken = [run.wall_s for run in some]
        waits = statistics.median(run.waits_s / run.batches_s for run in some)
        hidden = statistics.median(run.hidden_s / (run.hidden_s + run.waits_s) for run in some)
        reduce = statistics.median(run.reduce_share for run in some)
        print(
            f"{workers:7}  {statistics.median(taken):10.2f}  {min(taken):6.2f}-{max(taken):6.2f}"
            f"  {waits:5.2%}  {hidden:6.0%}  {reduce:21.1%}"
        )
    ratios = [a.wall_s / b.wall_s for a, b in zip(runs[1], runs[2], strict=True)]
    print(f"speed-up: median {statistics.median(ratios):.2f}, {min(ratios):.2f}-{max(ratios):.2f}")


def train(place: Path, options: argparse.Namespace, tasks: TaskManager) -> Run:
    """Train once and return what the trace says."""
    config = TrainingConfig(
        "iris", cuts=options.cuts, epochs=options.epochs, qubits=options.qubits, seed=7
    )
    run = RunDirectory(place)
    trainer = TrainingRun(config, run, tasks)
    started = perf_counter()
    trainer.train()
    wall_s = perf_counter() - started
    records = [r for r in read_jsonl(run.trace) if r["kind"] == "query_batch"]
    batches_s = sum(r["wall_s"] for r in records)
    hidden_s, waits_s = sum(r["hidden_s"] for r in records), sum(r["waits_s"] for r in records)
    reconstruct_s = sum(r["stage_seconds"]["reconstruct"] for r in records)
    reduce_share = (reconstruct_s - hidden_s - waits_s) / batches_s
    return Run(wall_s, batches_s, waits_s, hidden_s, reduce_share)


if __name__ == "__main__":
    main()

"""How long a report of a long run takes, and how big its page is.

    python benchmarks/report.py [--records 100000] [--keep DIR]

Makes a run directory of so many batches of queries, and of as many tasks on 16 workers of two
pilots with stragglers, retries and duplicates, and calls the command line as a user would.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def make_run(directory: Path, records: int) -> None:
    """Write the files of a run: `records` batches, and `records` tasks."""
    random = np.random.default_rng(0)
    (directory / "config.yaml").write_text(
        "dataset: iris\nqubits: 4\ncuts: 2\nmode: counts\nshots: 1024\nepochs: 400\n"
    )
    write(directory / "trace.jsonl", trace(random, records))
    write(directory / "events.jsonl", events(random, records))
    epochs = range(1, 401)
    write(
        directory / "metrics.jsonl",
        (
            {"epoch": k, "loss": 1 / k**0.5, "train_accuracy": 1 - 0.5 / k, "accuracy": 1 - 0.6 / k,
             "seconds": 20.0}
            for k in epochs
        ),
    )  # fmt: skip


def write(path, records):
    """Write one record a line."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def trace(random, records):
    """Yield a compilation and batches, with predictions."""
    yield {"kind": "compile", "plan": "0" * 16, "labels": "AABC", "cuts": 2, "widths": [2, 1, 1],
           "variants": 35, "terms": 1, "sampling_overhead": 81.0, "partition_s": 0.01,
           "time": 1e9}  # fmt: skip
    began = 1e9
    for k in range(records):
        wall = float(random.lognormal(-2.5, 0.4))
        share = float(random.beta(2, 30))
        stages = {"partition": 0.0, "generate": 0.01 * wall, "execute": (0.99 - share) * wall,
                  "reconstruct": share * wall}  # fmt: skip
        yield {"kind": "query_batch", "batch": k, "time": began, "queries": 16,
               "source": ("forward", "gradient", "shift")[k % 3], "subexperiments": 560,
               "shots": 1024, "mode": "counts", "workers": 16, "policy": "eager",
               "plan": "0" * 16, "labels": "AABC", "cuts": 2, "bundles": 4, "seed": [7, k],
               "stage_seconds": stages, "hidden_s": 0.0, "waits_s": 0.5 * share * wall,
               "wall_s": wall, "worker_s": 8 * wall,
               "predicted_s": wall * float(random.lognormal(0, 0.2))}  # fmt: skip
        began += wall


def events(random, records):
    """Yield what two pilots and their 16 workers do, one task after the other on each."""
    for pilot in ("alpha", "beta"):
        yield {"time": 1e9 - 5, "event": "pilot", "pilot": pilot, "state": "pending", "reason": ""}
        yield {"time": 1e9, "event": "pilot", "pilot": pilot, "state": "active", "reason": ""}
    free = [1e9] * 16
    for k in range(records):
        worker = k % 16
        pilot = ("alpha", "beta")[worker // 8]
        name, started = f"{'ABC'[k % 3]}.{k % 7}", free[worker] + 0.001
        ran = float(random.lognormal(-2.5, 0.2)) * (8 if random.random() < 0.002 else 1)
        free[worker] = started + ran
        task = {"event": "task", "id": k, "task": name, "pilot": pilot}
        yield {"time": started - 0.002, **task, "state": "bound"}
        if random.random() < 0.001:
            yield {"time": started + ran / 2, **task, "state": "bound",
                   "reason": "the worker died"}  # fmt: skip
        yield {"time": free[worker], **task, "state": "done", "worker": f"{pilot}-{worker % 8}",
               "started": started, "finished": free[worker]}  # fmt: skip


def main() -> None:
    """Make the run and its report, and print seconds and megabytes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--keep", type=Path, help="keep run and page there")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        directory = asked.keep or Path(scratch)
        run = directory / "run"
        run.mkdir(parents=True, exist_ok=True)
        make_run(run, asked.records)
        page, chrome = directory / "page.html", directory / "trace.json"
        for extra in ([], ["--chrome-trace", str(chrome)]):
            command = [sys.executable, "-m", "pilotcut.cli", "report", str(run), f"--out={page}"]
            started = time.perf_counter()
            subprocess.run([*command, *extra], check=True)
            seconds = time.perf_counter() - started
            what = (
                f"{asked.records:,} batches, {asked.records:,} tasks{', and trace' * bool(extra)}"
            )
            print(f"{what}: {seconds:.1f} s, page {page.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

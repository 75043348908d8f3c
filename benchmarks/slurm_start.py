"""Time from asking for a Slurm pilot to its first task, and to its first reason while pending.

    eval "$(slurm/testbed/slurm-testbed env)"; export PILOTCUT_HOST=127.0.0.1
    python benchmarks/slurm_start.py [--rounds 3] [--queue cpu]

On the testbed (`slurm/testbed/slurm-testbed up`) or wherever sbatch is. Times count from before
the scheduler's start; "reason" is the first change of the pending pilot that comes from Slurm.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from time import time

from pilotcut import PilotManager, TaskManager
from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots.description import PilotDescription


def main() -> None:
    """Print a line for each round, and medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queue", default=None)
    options = parser.parse_args()
    rounds = [start_once(options.queue) for _ in range(options.rounds)]
    print("submitted s  reason after submission s  active s  first task s")
    for times in [*rounds, [statistics.median(column) for column in zip(*rounds, strict=True)]]:
        submitted, reason, active, first = times
        print(f"{submitted:11.2f}  {reason:25.2f}  {active:8.2f}  {first:12.2f}")
    print("(the last line: medians)")


def start_once(queue: str | None) -> list[float]:
    """Return the seconds of one start."""
    described = PilotDescription(name="p", resource="slurm", queue=queue, walltime="00:05:00")
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        begun = time()
        with PilotManager([described], run_dir=place) as pilots, TaskManager(pilots) as tasks:
            tasks.submit_task(max, 1, 2).result(120)
            first = time() - begun
        events = [e for e in read_jsonl(Path(place) / "events.jsonl") if e["event"] == "pilot"]
    submitted = events[0]["time"]
    told = next(e["time"] for e in events[1:])
    active = next(e["time"] for e in events if e["state"] == "active")
    return [submitted - begun, told - submitted, active - begun, first]


if __name__ == "__main__":
    main()

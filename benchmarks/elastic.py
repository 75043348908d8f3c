"""Elastic pilots against fixed ones: core-seconds held and time taken, over three phases of load.

A burst of tasks, a pause, and a trickle of single tasks, on pilots of one slot each: up to `most`
that follow the load, beside as many that are there all the time. Tasks sleep: what is compared is
who holds cores, not how fast they are. Times are scaled for a run of minutes: where a site would
say idle_s 120 and wait_s 30, it is 12 and 3 here (a tenth). Starts of jobs are not scaled.

    python benchmarks/elastic.py [--resource local|slurm] [--queue cpu] [--most 8] [--runs 1]

Time begins with the first submission: with `slurm` the pilots, fixed ones too, are in the queue
then, on a cluster of their own such as that of slurm/testbed. Prints the core-seconds that the
pilots held and tasks used (`PilotManager.usage`, from the events), the time to the last result, and
the most changes of one pilot within half of idle_s, in all and while the trickle is even.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from pilotcut.io.jsonl import read_jsonl
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.description.elastic import ElasticDescription
from pilotcut.tasks import TaskManager, wait

#: Seconds: of a task in the burst and of one in the trickle, of the pause, between two of the
#: trickle; and how many there are of each.
BURST_S, TRICKLE_S, PAUSE_S, EVERY_S = 0.5, 0.5, 60.0, 1.0
IDLE_S, WAIT_S = 12.0, 3.0


@dataclass(frozen=True)
class Outcome:
    """What one run gave."""

    held: float
    used: float
    took_s: float
    ended: int
    changes: int
    steady_changes: int
    burst_s: float


def main() -> None:
    """Print a line for each kind of pilots."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resource", choices=["local", "slurm"], default="local")
    parser.add_argument("--queue", default="cpu")
    parser.add_argument("--most", type=int, default=8)
    parser.add_argument("--burst", type=int, default=640, help="tasks in the burst")
    parser.add_argument("--trickle", type=int, default=80, help="tasks in the trickle")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    print(
        f"{options.burst} tasks of {BURST_S} s at once, a pause of {PAUSE_S:g} s, "
        f"{options.trickle} tasks of {TRICKLE_S} s every {EVERY_S:g} s; "
        f"pilots of one core, {options.resource}; idle_s {IDLE_S:g}, wait_s {WAIT_S:g} (scaled)"
    )
    print(f"{'pilots':>16} {'held':>8} {'used':>8} {'time':>8} {'burst':>7} {'done':>6} changes")
    fixed = show(
        f"fixed {options.most}", [play(options, fixed=options.most) for _ in range(options.runs)]
    )
    elastic = show("elastic", [play(options, fixed=0) for _ in range(options.runs)])
    print(
        f"elastic holds {1 - elastic.held / fixed.held:.1%} fewer core-seconds than {options.most} "
        f"fixed ones, in {elastic.took_s / fixed.took_s:.3f} times the time"
    )


def show(name: str, played: list[Outcome]) -> Outcome:
    """Print the median of runs, and return it."""
    middle = Outcome(
        *(
            statistics.median(getattr(one, field) for one in played)
            for field in Outcome.__annotations__
        )
    )
    print(
        f"{name:>16} {middle.held:8.1f} {middle.used:8.1f} {middle.took_s:8.2f} "
        f"{middle.burst_s:7.2f} {middle.ended:6g} {middle.changes} "
        f"(steady {middle.steady_changes})",
        flush=True,
    )
    return middle


def play(options: argparse.Namespace, fixed: int) -> Outcome:
    """Run the three phases on fixed pilots, or on elastic ones."""
    entry = {"resource": options.resource, "walltime": "00:30:00"}
    if options.resource == "slurm":
        entry["queue"] = options.queue
    rule = ElasticDescription(most=options.most, idle_s=IDLE_S, wait_s=WAIT_S)
    names = [{"name": f"fixed-{k}"} for k in range(fixed)] or [{"name": "elastic", "elastic": rule}]
    described = [PilotDescription(**entry, **name) for name in names]
    with tempfile.TemporaryDirectory(prefix="elastic-", dir=Path.cwd()) as folder:
        run_dir = Path(folder) / "run"
        with PilotManager(described, run_dir=run_dir) as pilots, TaskManager(pilots) as tasks:
            began, clock = time.monotonic(), time.time()
            futures = [
                tasks.submit_task(time.sleep, BURST_S, cost_s=BURST_S) for _ in range(options.burst)
            ]
            wait(futures)
            burst_s = time.monotonic() - began
            time.sleep(PAUSE_S)
            steady = time.time()
            for _ in range(options.trickle):
                futures.append(tasks.submit_task(time.sleep, TRICKLE_S, cost_s=TRICKLE_S))
                time.sleep(EVERY_S)
            wait(futures)
            took_s, end = time.monotonic() - began, time.time()
        changes = changes_by_pilot(run_dir)
        return Outcome(
            pilots.usage.allocated_core_s(), pilots.usage.used_core_s, took_s,
            sum(future.exception() is None for future in futures),
            most_within(changes, IDLE_S / 2, clock, end),
            most_within(changes, IDLE_S / 2, steady + IDLE_S, end),
            burst_s,
        )  # fmt: skip


def changes_by_pilot(run_dir: Path) -> dict[str, list[float]]:
    """Return when each pilot was asked for, canceled or released."""
    found = defaultdict(list)
    for event in read_jsonl(run_dir / "events.jsonl"):
        starts = event.get("state") in ("pending", "starting") and event.get("event") == "pilot"
        is_end = "not needed" in event.get("reason", "") and event["state"] == "draining"
        if starts or is_end:
            last = found[event["pilot"]]
            kind = "start" if starts else "end"
            if not last or last[-1][1] != kind:
                last.append((event["time"], kind))
    return {name: [when for when, _ in of] for name, of in found.items()}


def most_within(changes: dict[str, list[float]], seconds: float, begin: float, end: float) -> int:
    """Return the most changes of one pilot within some seconds, between two times."""
    kept = [[t for t in of if begin <= t < end] for of in changes.values()]
    return max((sum(t <= u < t + seconds for u in of) for of in kept for t in of), default=0)


if __name__ == "__main__":
    main()

"""What duplicates of stragglers bring, and what they cost where there are none.

64 tasks of 0.2 s on 8 slots; each run of a task is delayed with probability 0.2 by five times
its own time, drawn anew for a duplicate. With and without duplicates take turns on the same
seeds. The bound is the work of the first runs, delays included, over the slots: no schedule
that runs every task once ends earlier. Tasks sleep, so two cores are enough for 8 slots.

    python benchmarks/stragglers.py [--seeds 10] [--pilots inprocess local]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scaleout import local

from pilotcut import PilotManager, TaskManager
from pilotcut.pilots.description import embedded
from pilotcut.tasks import launch_number, wait

TASKS, SLOTS, TASK_S = 64, 8, 0.2
#: How likely a delay is, and how long in times of the task's own time.
PROBABILITY, DELAY = 0.2, 5.0
#: What is wanted: the share of the excess removed, the cost without stragglers.
SHARE, COST = 0.5, 0.02


@dataclass(frozen=True)
class Both:
    """Seconds of the same tasks without and with duplicates, and the bound."""

    bound_s: float
    without_s: float
    with_s: float

    @property
    def share(self) -> float:
        """The part of the excess over the bound that duplicates removed."""
        return (self.without_s - self.with_s) / (self.without_s - self.bound_s)

    @property
    def cost(self) -> float:
        """How much longer it took with duplicates."""
        return self.with_s / self.without_s - 1


def main() -> None:
    """Print a table for each kind of pilot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--pilots", nargs="+", choices=PILOTS, default=list(PILOTS))
    options = parser.parse_args()
    for kind in options.pilots:
        print(f"pilot of {SLOTS} workers: {kind}")
        with PILOTS[kind]() as pilots:
            run(pilots, -1, PROBABILITY, duplicates=True)  # imports on the workers
            print_delayed(pilots, range(options.seeds))
            print_undelayed(pilots, range(options.seeds))


PILOTS = {"inprocess": lambda: PilotManager(embedded(SLOTS)), "local": lambda: local(SLOTS)}


def print_delayed(pilots: PilotManager, seeds: Sequence[int]) -> None:
    """Print what duplicates remove of the excess, seed by seed."""
    print("    seed  bound s  without s  with s  excess removed")
    shares = []
    for seed in seeds:
        both = compare(pilots, seed, PROBABILITY)
        shares.append(both.share)
        print(
            f"    {seed:4d}{both.bound_s:9.2f}{both.without_s:11.2f}{both.with_s:8.2f}"
            f"{both.share:16.0%}"
        )
    print(
        f"    excess removed: median {statistics.median(shares):.0%}, "
        f"{min(shares):.0%} to {max(shares):.0%}; at least {SHARE:.0%} is wanted"
    )


def print_undelayed(pilots: PilotManager, seeds: Sequence[int]) -> None:
    """Print what duplicates cost where nothing straggles."""
    pairs = [compare(pilots, seed, 0.0) for seed in seeds]
    costs = [both.cost for both in pairs]
    print(
        f"    without stragglers: {statistics.median(b.without_s for b in pairs):.3f} s, "
        f"with duplicates {statistics.median(b.with_s for b in pairs):.3f} s; "
        f"cost median {statistics.median(costs):+.1%}, {min(costs):+.1%} to {max(costs):+.1%}; "
        f"under {COST:.0%} is wanted"
    )


def compare(pilots: PilotManager, seed: int, probability: float) -> Both:
    """Run the tasks of a seed both ways, either one first."""
    seconds = {}
    for duplicates in (False, True) if seed % 2 else (True, False):
        seconds[duplicates] = run(pilots, seed, probability, duplicates)
    work = sum(duration(seed, task, 0, probability) for task in range(TASKS))
    return Both(work / SLOTS, seconds[False], seconds[True])


def run(pilots: PilotManager, seed: int, probability: float, duplicates: bool) -> float:
    """Return the seconds from the first submission to the last result."""
    with TaskManager(pilots, duplicates=duplicates) as tasks:
        started = time.perf_counter()
        futures = [tasks.submit_task(work, seed, task, probability) for task in range(TASKS)]
        wait(futures)
        seconds = time.perf_counter() - started
        # The manager forgets what was outrun, the slots do not; all must be free again.
        time.sleep((1 + DELAY) * TASK_S)
    return seconds


def work(seed: int, task: int, probability: float) -> None:
    """Sleep as long as this run of the task takes."""
    time.sleep(duration(seed, task, launch_number(), probability))


def duration(seed: int, task: int, number: int, probability: float) -> float:
    """Return how long run `number` of a task takes in seconds."""
    delayed = np.random.default_rng((seed + 1, task, number)).random() < probability
    return TASK_S * (1 + DELAY * delayed)


if __name__ == "__main__":
    main()

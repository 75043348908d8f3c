"""Late binding in virtual time: policies against the lower bound, without a cluster.

Plays 10,000 tasks on 1 to 256 slots of pilots with different rates through the policy
functions that `TaskManager` runs, and prints makespan / max(total work / total rate,
longest task on the fastest pilot), and the processor time of the policy for each binding.

    python benchmarks/late_binding.py [--costs lognormal|pareto|uniform|equal] [--prefetch 0]
                                      [--error 0.0] [--seeds 0 1 2] [--tasks 10000]
"""

from __future__ import annotations

import argparse
import platform
import statistics

import numpy as np
from virtual_pilots import Played, lower_bound_s, preemptive_bound_s, simulate

from pilotcut.tasks.snapshots import PilotView, TaskView

SLOTS = (1, 4, 16, 64, 256)
RATES = {
    "equal": (1.0, 1.0, 1.0, 1.0),
    "1:2": (1.0, 1.0, 2.0, 2.0),
    "1:2:4:8": (1.0, 2.0, 4.0, 8.0),
    "8 random": tuple(np.random.default_rng(8).uniform(0.25, 4.0, 8).round(2)),
}
POLICIES = ("eager", "staggered", "longest_first", "cost_aware")
COSTS = {
    "lognormal": lambda rng, n: rng.lognormal(0.0, 1.0, n),
    "pareto": lambda rng, n: 0.5 * (1.0 + rng.pareto(2.0, n)),
    "uniform": lambda rng, n: rng.uniform(0.5, 2.0, n),
    "equal": lambda rng, n: np.ones(n),
}


def main() -> None:
    """Print one line for each number of slots and spread of rates."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--costs", choices=COSTS, default="lognormal")
    parser.add_argument("--prefetch", type=int, default=0, help="tasks in line for each slot")
    parser.add_argument("--error", type=float, default=0.0, help="sigma of log(truth / guess)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", type=int, default=10_000)
    options = parser.parse_args()
    print(
        f"{options.tasks} tasks, {options.costs} costs, prefetch {options.prefetch}, "
        f"error of guesses {options.error}, seeds {options.seeds}, Python "
        f"{platform.python_version()}\nmakespan / bound, the worst of the seeds, and us of "
        "policy for each binding, the median; 'ideal' may move running tasks"
    )
    columns = "".join(f"{policy:>20}" for policy in POLICIES)
    print(f"{'slots':>5} {'rates':>9} {'ideal':>7}{columns}")
    for slots in SLOTS:
        for name, rates in RATES.items():
            played = [line(slots, rates, seed, options) for seed in options.seeds]
            ideal = max(ideal for ideal, _ in played)
            cells = ""
            for at in range(len(POLICIES)):
                worst = max(cell[at][0] for _, cell in played)
                micros = statistics.median(cell[at][1] for _, cell in played)
                cells += f"{worst:11.3f} {micros:5.0f} us"
            print(f"{slots:5} {name:>9} {ideal:7.3f}{cells}", flush=True)


def line(
    slots: int, rates: tuple[float, ...], seed: int, options: argparse.Namespace
) -> tuple[float, list[tuple[float, float]]]:
    """Return what the ideal schedule takes, and each policy's makespan and microseconds."""
    rng = np.random.default_rng(seed)
    costs = COSTS[options.costs](rng, options.tasks)
    told = costs * np.exp(rng.normal(0.0, options.error, options.tasks))
    truth = [TaskView(i, cost_s=float(cost)) for i, cost in enumerate(costs)]
    tasks = [
        TaskView(i, cost_s=float(c), group=f"F{i * 8 // len(told)}") for i, c in enumerate(told)
    ]
    pilots = shared_out(slots, rates, options.prefetch)
    bound_s = lower_bound_s(truth, pilots)
    cells = []
    for policy in POLICIES:
        played = simulate(
            tasks, pilots, policy, run_s=lambda task, pilot: costs[task.id] / pilot.rate
        )
        cells.append((played.makespan_s / bound_s, micros(played)))
    return preemptive_bound_s(truth, pilots) / bound_s, cells


def shared_out(slots: int, rates: tuple[float, ...], prefetch: int) -> list[PilotView]:
    """Return pilots with as many slots in all, the slower ones first."""
    counts = [len(range(at, slots, len(rates))) for at in range(len(rates))]
    return [
        PilotView(f"pilot-{at}", count, count, prefetch * count, rate=float(rate))
        for at, (rate, count) in enumerate(zip(sorted(rates), counts, strict=True))
        if count
    ]


def micros(played: Played) -> float:
    """Return microseconds of policy for each binding."""
    return 1e6 * played.policy_s / len(played.runs)


if __name__ == "__main__":
    main()

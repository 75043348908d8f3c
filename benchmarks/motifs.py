"""What the middleware takes of a motif's time, on pilots of ours and on executors of others.

    python benchmarks/motifs.py [--rounds 3] [--engines ours pool parsl ray] [--slots 2 4 8]
    python benchmarks/motifs.py --motifs

The first is about tasks of known length, in the shapes of motif B.1 (a bag of tasks, `circuits`)
and of motif C.3 (iterations, each of which waits for all of the one before, `curve`): they wait, as
for a device, so that 8 slots have nothing to share on a machine of two cores. Beside them are the
motifs themselves on as many slots as there are cores. The second is every motif that asks for no
pilots or ranks of its own, on local pilots.

Columns. "tasks/s". "own work": what tasks' own functions took of the slots' time, less than 1 also
where tasks wait for the application or do not fill the last round. "bound": the time in which
slots that never wait would have run the same tasks, submitted at the same moments of the same
iterations, over the time it took; iterations are told apart by the moments at which nothing is
under way. "middleware": the share of the wall time that is beyond this bound. "application": the
share in which no task was under way, for the program had yet to submit it. "CPU ms": of all
processes for a task; tasks that wait use none, so it is the middleware's.

Each cell is measured in a process of its own, and engines take turns in every round. Parsl and Ray
run in environments of their own beside ours, which are made at the first call (300 MB).
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
from environments import HOME, python_beside
from other_engines import ENGINES, PACKAGES

from pilotcut import PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription
from pilotcut.study.motifs.answer import MOTIFS, motif

#: Lengths of the tasks that wait, and how long a case lasts without middleware, in seconds.
LENGTHS, CASE_S = (0.05, 0.1, 0.2), 3.2
#: Tasks of an iteration, for any number of slots.
ITERATION = 8
#: Sizes of the motifs that are run on every engine.
SIZES = {"circuits": {"circuits": 256, "widest": 20}, "curve": {"points": 5}}
#: Motifs that ask for no pilots or ranks of their own.
ON_ANY_PILOTS = ("circuits", "cutting", "variational", "curve", "generative")
#: How often a measurement is begun: Ray gives up when its start takes 30 s, on a busy machine.
STARTS = 3
#: The variable by which all processes of a measurement are known, whoever has started them.
TOKEN = "PILOTCUT_BENCHMARK"


@dataclass(frozen=True)
class Run:
    """One task: seconds since the epoch, on one clock."""

    submitted: float
    started: float
    finished: float
    settled: float


@dataclass(frozen=True)
class Measured:
    """What a case came to, as `motifs.py` explains in its head."""

    tasks: int
    wall_s: float
    own_work: float
    bound: float
    middleware: float
    application: float
    cpu_ms: float

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return self.tasks / self.wall_s


class Recording(TaskManager):
    """A task manager that keeps the futures."""

    def __init__(self, pilots: PilotManager) -> None:
        super().__init__(pilots)
        self.futures: list[Any] = []

    def submit_task(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Submit a task and keep its future."""
        future = super().submit_task(fn, *args, **kwargs)
        self.futures.append(future)
        return future


# -- the bound -------------------------------------------------------------------------


def ideal_s(runs: Sequence[Run], slots: int) -> float:
    """Return how long slots that never wait take for these runs, from the first submission.

    Examples
    --------
    >>> at = [Run(0.0, 0.1, 1.1, 1.2), Run(0.0, 0.1, 1.1, 1.2), Run(0.5, 1.2, 2.2, 2.3)]
    >>> round(ideal_s(at, slots=2), 6)
    2.0
    """
    began = min(run.submitted for run in runs)
    free = [began] * slots
    for run in sorted(runs, key=lambda run: run.started):
        at = max(heapq.heappop(free), run.submitted)
        heapq.heappush(free, at + run.finished - run.started)
    return max(free) - began


def iterations(runs: Sequence[Run]) -> Iterator[list[Run]]:
    """Yield runs in groups between which nothing was under way.

    Examples
    --------
    >>> one, two, three = Run(0, 1, 2, 3), Run(2, 3, 4, 5), Run(6, 7, 8, 9)
    >>> [len(group) for group in iterations([three, one, two])]
    [2, 1]
    """
    group: list[Run] = []
    for run in sorted(runs, key=lambda run: run.submitted):
        if group and run.submitted >= max(other.settled for other in group):
            yield group
            group = []
        group.append(run)
    yield group


def measured(runs: Sequence[Run], slots: int, wall_s: float, cpu_s: float) -> Measured:
    """Return what runs of a case say."""
    groups = list(iterations(runs))
    busy_s = sum(
        max(run.settled for run in group) - min(run.submitted for run in group) for group in groups
    )
    least_s = sum(ideal_s(group, slots) for group in groups)
    return Measured(
        tasks=len(runs),
        wall_s=wall_s,
        own_work=sum(run.finished - run.started for run in runs) / (slots * wall_s),
        bound=least_s / busy_s,
        middleware=(busy_s - least_s) / wall_s,
        application=1.0 - busy_s / wall_s,
        cpu_ms=1e3 * cpu_s / len(runs),
    )


# -- one engine, in a process of its own --------------------------------------------------


def wait(seconds: float) -> None:
    """Do what a device does to its caller."""
    time.sleep(seconds)


def bag(tasks: TaskManager, slots: int, seconds: float) -> None:
    """Submit tasks that wait, all at once."""
    count = round(slots * CASE_S / seconds)
    for future in [tasks.submit_task(wait, seconds, cost_s=seconds) for _ in range(count)]:
        future.result()


def waves(tasks: TaskManager, slots: int, seconds: float) -> None:
    """Submit tasks that wait, an iteration after the other."""
    for _ in range(round(CASE_S / (seconds * -(-ITERATION // slots)))):
        futures = [tasks.submit_task(wait, seconds, cost_s=seconds) for _ in range(ITERATION)]
        for future in futures:
            future.result()


def run_motif(name: str) -> Callable[..., None]:
    """Return a case that runs a motif."""

    def run(tasks: TaskManager, slots: int, **sizes: Any) -> None:
        answer = motif(name).run(tasks, **sizes)
        assert answer.right, answer.sentence

    return run


SHAPES = {"bag": bag, "waves": waves}


def cases_of(what: str) -> dict[str, tuple[Callable[..., None], dict[str, Any]]]:
    """Return what is measured in one process: a function of tasks and slots, and its options."""
    if what in MOTIFS:
        return {what: (run_motif(what), SIZES.get(what) or dict(motif(what).sizes["small"]))}
    return {
        f"{what} {1e3 * seconds:.0f} ms": (SHAPES[what], {"seconds": seconds})
        for seconds in LENGTHS
    }


@contextlib.contextmanager
def managed(engine: str, slots: int, scratch: Path) -> Iterator[PilotManager]:
    """Yield pilots of so many slots."""
    run_dir = scratch / "run"
    if engine == "ours":
        here = PilotDescription(
            name="here", resource="local", cores_per_node=slots, workers_per_node=slots
        )
        with PilotManager([here], run_dir=run_dir) as pilots:
            yield pilots
    else:
        with (
            ENGINES[engine](slots, scratch / engine) as executor,
            PilotManager.from_executor(executor, slots=slots, run_dir=run_dir) as pilots,
        ):
            yield pilots


def measure(engine: str, slots: int, what: str) -> dict[str, dict[str, Any]]:
    """Return what each case came to."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as stack:
        pilots = stack.enter_context(managed(engine, slots, Path(scratch)))
        tasks = stack.enter_context(Recording(pilots))
        warm_up(tasks, slots, what)
        for name, (case, options) in cases_of(what).items():
            tasks.futures.clear()
            cpu_s, began = cpu_time(), time.time()
            case(tasks, slots, **options)
            wall_s, cpu_s = time.time() - began, cpu_time() - cpu_s
            runs = recorded(tasks, Path(scratch) / "run" / "events.jsonl")
            found[name] = asdict(measured(runs, slots, wall_s, cpu_s))
    return found


def warm_up(tasks: TaskManager, slots: int, what: str) -> None:
    """Have every worker import what it needs, and know how long tasks take."""
    if what not in MOTIFS:
        bag(tasks, slots, CASE_S / 20)
        return
    small = {"circuits": {"circuits": 8 * slots, "widest": 4}, "curve": {"points": 3}}
    sizes = small.get(what)
    if sizes is not None:
        motif(what).run(tasks, **sizes)


def recorded(tasks: Recording, events: Path) -> list[Run]:
    """Return the runs of a case, with the moments at which the manager knew of their ends."""
    settled = {}
    for line in events.read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "task" and event["state"] == "done":
            settled[event["id"]] = event["time"]
    done = [future.task for future in tasks.futures]
    return [Run(t.submitted, t.started, t.finished, settled[t.id]) for t in done]


def cpu_time() -> float:
    """Return the CPU seconds of all processes of this measurement, whoever has started them."""
    total, mark = 0.0, os.environ.get(TOKEN)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(TOKEN) == mark:
                times = process.cpu_times()
                total += times.user + times.system
    return total


# -- all of them -----------------------------------------------------------------------


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", choices=["ours", *ENGINES])
    parser.add_argument("--slots", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--cases", nargs="+", default=[*SHAPES, *SIZES], choices=[*SHAPES, *SIZES])
    parser.add_argument("--motifs", action="store_true", help="motifs, on local pilots")
    parser.add_argument("--environments", type=Path, default=HOME / "pilotcut-engines")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        engine, slots, what = options.child
        print(json.dumps(measure(engine, int(slots), what)))
        return
    cores = len(os.sched_getaffinity(0))
    wanted = options.engines or (["ours"] if options.motifs else ["ours", *ENGINES])
    pythons = {
        engine: python_beside(options.environments / engine, PACKAGES[engine])
        if engine in PACKAGES
        else sys.executable
        for engine in wanted
    }
    for what in ON_ANY_PILOTS if options.motifs else options.cases:
        for slots in options.slots if what in SHAPES else [cores]:
            cells = in_turns(pythons, slots, what, options.rounds)
            print_table(cells, slots)


def in_turns(
    pythons: dict[str, str], slots: int, what: str, rounds: int
) -> dict[tuple[str, str], list[Measured]]:
    """Measure cases on all engines in turns; return the rounds by case and engine."""
    cells: dict[tuple[str, str], list[Measured]] = {}
    for turn in range(rounds):
        for engine in list(pythons) if turn % 2 else reversed(pythons):
            for case, found in child(pythons[engine], engine, slots, what).items():
                cells.setdefault((case, engine), []).append(Measured(**found))
    order = list(pythons)
    return dict(sorted(cells.items(), key=lambda cell: order.index(cell[0][1])))


def child(python: str, engine: str, slots: int, what: str) -> dict[str, dict[str, Any]]:
    """Measure in a process of its own."""
    root = Path(__file__).parents[1]
    env = os.environ | {
        TOKEN: f"{os.getpid()}-{time.time()}",
        "PYTHONPATH": os.pathsep.join([str(root), str(root / "benchmarks")]),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    command = [python, __file__, "--child", engine, str(slots), what]
    for more in reversed(range(STARTS)):
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=not more, env=env)
        if not answer.returncode:
            break
    found: dict[str, dict[str, Any]] = json.loads(answer.stdout.splitlines()[-1])
    return found


def print_table(cells: dict[tuple[str, str], list[Measured]], slots: int) -> None:
    """Print a line for each case on each engine: medians of the rounds, and their spread."""
    print(
        f"\n{slots} slots".ljust(15) + f"{'engine':8s}{'tasks':>6s}{'tasks/s':>9s}{'own work':>10s}"
        f"{'bound':>7s}{'middleware':>20s}{'application':>13s}{'CPU ms':>8s}"
    )
    for case in dict.fromkeys(case for case, _ in cells):
        for (name, engine), rounds in cells.items():
            if name != case:
                continue
            middle = {
                field: statistics.median(getattr(one, field) for one in rounds)
                for field in ("rate", "own_work", "bound", "middleware", "application", "cpu_ms")
            }
            shares = [one.middleware for one in rounds]
            spread = f"{middle['middleware']:.1%} ({min(shares):.1%}-{max(shares):.1%})"
            print(
                f"{case:14s}{engine:8s}{rounds[0].tasks:6d}{middle['rate']:9.1f}"
                f"{middle['own_work']:10.3f}{middle['bound']:7.3f}{spread:>20s}"
                f"{middle['application']:13.1%}{middle['cpu_ms']:8.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()

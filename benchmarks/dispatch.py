"""No-op tasks a second: ours beside plain dask, one by one and sixteen to a task.

Two workers of one thread each, in processes of their own, on either side. All columns take
turns in every round, so that a drift of the machine hits all of them; a ratio is the median
over the rounds, not a ratio of medians. A time goes from the first submission until all
results are here. Ours encrypts and authenticates every connection (TLS); plain dask does not,
and the column "dask tls" shows what dask does with it (up to 4,096 tasks: beyond, its client
lost the connection here). Ours runs its scheduler in a process of its own, a LocalCluster in
the caller's. CPU time counts all processes of the benchmark, less what they use while idle; on
a machine that others use too, it says more than the clock.

    python benchmarks/dispatch.py [--rounds 5] [--sizes 256 1024 ...] [--no-tls]

With `--load` it is about tasks that take a while, and about memory and big arguments: each case
of `dispatch_cases.py` in a process of its own, with this build, with another one that a worktree
holds (`--before`) and with plain dask, which take turns.

    python benchmarks/dispatch.py --load [--before WORKTREE] [--rounds 3] [--cases NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
from scaleout import local

from pilotcut import PilotManager, TaskManager
from pilotcut.pilots.description import PilotDescription

SIZES = (256, 1024, 4096, 8192, 32768)
#: No-ops in a task of the columns "x16".
BUNDLE = 16
#: Flat means within this of the mean, from this size on.
FLAT, FLAT_FROM = 0.15, 1024
#: Most tasks for dask with TLS.
MOST_TLS = 4096
#: What all ratios refer to.
REFERENCE = "dask submit"

#: Cases under load: what `dispatch_cases.py` is told, and which sides take part.
CASES = {
    "2 slots x 10 ms": (("sleep", 2, 0.01, 1000), ("ours", "before", "dask", "dask-tls")),
    "2 slots x 50 ms": (("sleep", 2, 0.05, 200), ("ours", "before", "dask", "dask-tls")),
    "2 slots x 200 ms": (("sleep", 2, 0.2, 60), ("ours", "before", "dask", "dask-tls")),
    "48 slots x 200 ms": (("sleep", 48, 0.2, 1920), ("ours", "before")),
    "64 hollow slots x 1 s": (("hollow", 64, 1.0, 640), ("ours", "before")),
    "1000 hollow slots x 1 s": (("hollow", 1000, 1.0, 10000), ("ours",)),
    "100,000 queued": (("queued", 100_000), ("ours", "before")),
    "100 MB argument": (("argument", 100, 5), ("ours", "before", "dask", "dask-tls")),
    "100 MB, another machine": (("far_argument", 100, 5), ("ours",)),
}

Column = Callable[[int], int]
#: One number for each round, by column and size.
Samples = dict[str, dict[int, list[float]]]

_numbers = itertools.count()


def main() -> None:
    """Print tasks a second, ratios, flatness, and the time to the first task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--no-tls", action="store_true", help="leave out dask with TLS")
    parser.add_argument("--starts", type=int, default=3, help="how often each side is started")
    parser.add_argument("--start", choices=STARTS, help=argparse.SUPPRESS)
    parser.add_argument("--load", action="store_true", help="cases under load")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--before", help="a worktree with another build, for --load")
    options = parser.parse_args()
    if options.load:
        print_load(options.cases, options.before, options.rounds)
        return
    if options.start:
        print(STARTS[options.start]())
        return
    print_starts(options.starts)
    with contextlib.ExitStack() as stack:
        columns = all_columns(stack, tls=not options.no_tls)
        for column in columns.values():  # imports, connections, what is known of run times
            column(512)
        rates, cpu_ms = measure(columns, options.sizes, options.rounds)
    print_rates(rates, options.sizes)
    print_cpu(cpu_ms, options.sizes)


# -- what is measured ------------------------------------------------------------------


def noop(number: int) -> int:
    """Do nothing."""
    return number


def noops(numbers: range) -> int:
    """Do nothing several times."""
    return sum(noop(number) >= 0 for number in numbers)


def fresh(count: int) -> range:
    """Return numbers never used before: dask would not run equal tasks twice."""
    first = next(_numbers) * 1_000_000
    return range(first, first + count)


def bundles(count: int) -> list[range]:
    """Return as many numbers in slices."""
    numbers = fresh(count)
    return [numbers[k : k + BUNDLE] for k in range(0, count, BUNDLE)]


def all_columns(stack: contextlib.ExitStack, tls: bool) -> dict[str, Column]:
    """Start both sides and return the columns by name."""
    logging.disable(logging.CRITICAL)  # dask tells of every event loop that was held up
    plain = stack.enter_context(dask_client())
    columns = dask_columns("dask", plain)
    if tls:
        encrypted = stack.enter_context(dask_client(security=True, protocol="tls"))
        columns |= {"dask tls submit": dask_columns("dask tls", encrypted)["dask tls submit"]}
    run_dir = stack.enter_context(tempfile.TemporaryDirectory())
    silent = stack.enter_context(TaskManager(stack.enter_context(local(2))))
    telling = stack.enter_context(TaskManager(stack.enter_context(with_events(run_dir))))
    columns |= our_columns("ours", silent)
    columns |= {"ours events submit": our_columns("ours events", telling)["ours events submit"]}
    return columns


@contextlib.contextmanager
def dask_client(**options: Any) -> Any:
    """Yield a client of a cluster as a user would start one."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", **options
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def with_events(run_dir: str) -> PilotManager:
    """Return two workers whose manager writes events.jsonl, which it does in a run directory."""
    described = PilotDescription(name="local2", resource="local", cores_per_node=2)
    return PilotManager([described], run_dir=run_dir)


def dask_columns(name: str, client: Any) -> dict[str, Column]:
    """Return what a user of dask would write."""

    def submit(count: int) -> int:
        return len(client.gather([client.submit(noop, k) for k in fresh(count)]))

    def map_(count: int) -> int:
        return len(client.gather(client.map(noop, fresh(count))))

    def bundled(count: int) -> int:
        return sum(client.gather([client.submit(noops, numbers) for numbers in bundles(count)]))

    return {f"{name} submit": submit, f"{name} map": map_, f"{name} x{BUNDLE}": bundled}


def our_columns(name: str, tasks: TaskManager) -> dict[str, Column]:
    """Return what a user of ours would write."""

    def submit(count: int) -> int:
        futures = [tasks.submit_task(noop, k) for k in fresh(count)]
        return len([future.result() for future in futures])

    def bundled(count: int) -> int:
        futures = [tasks.submit_task(noops, numbers) for numbers in bundles(count)]
        return sum(future.result() for future in futures)

    return {f"{name} submit": submit, f"{name} x{BUNDLE}": bundled}


def measure(columns: dict[str, Column], sizes: list[int], rounds: int) -> tuple[Samples, Samples]:
    """Return no-ops a second, and CPU time of each in milliseconds, one for each round."""
    rates: Samples = {name: {size: [] for size in sizes} for name in columns}
    cpu_ms: Samples = {name: {size: [] for size in sizes} for name in columns}
    idle = idle_load()
    for turn in range(rounds):
        for size in sizes:
            for name in list(columns) if turn % 2 else reversed(columns):
                if "tls" in name and size > MOST_TLS:
                    continue
                cpu_s, started = cpu_time(), time.perf_counter()
                done = columns[name](size)
                seconds = time.perf_counter() - started
                rates[name][size].append(size / seconds)
                cpu_ms[name][size].append(1e3 * (cpu_time() - cpu_s - idle * seconds) / size)
                assert done == size
                time.sleep(0.2)  # what was released is still being forgotten
        print(f"round {turn + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return rates, cpu_ms


def idle_load() -> float:
    """Return the CPU seconds a second that all sides use while nothing runs."""
    cpu_s, started = cpu_time(), time.perf_counter()
    time.sleep(5.0)
    return (cpu_time() - cpu_s) / (time.perf_counter() - started)


def cpu_time() -> float:
    """Return the CPU seconds that this process and all below it have used."""
    total = 0.0
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


# -- the time to the first task --------------------------------------------------------


def _first_of_ours() -> float:
    started = time.perf_counter()
    with local(2) as pilots, TaskManager(pilots) as tasks:
        tasks.submit_task(noop, 1).result()
        return time.perf_counter() - started


def _first_of_dask() -> float:
    started = time.perf_counter()
    with dask_client() as client:
        client.submit(noop, 1).result()
        return time.perf_counter() - started


STARTS = {"ours": _first_of_ours, "dask": _first_of_dask}


def print_starts(times: int) -> None:
    """Print the time to the first result in a fresh process each, taking turns."""
    seconds: dict[str, list[float]] = {side: [] for side in STARTS}
    for _ in range(times):
        for side, taken in seconds.items():
            command = [sys.executable, __file__, "--start", side]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            taken.append(float(answer.stdout))
    print("first result after, in seconds, imports of dask included:")
    for side, taken in seconds.items():
        print(f"    {side:5s} {statistics.median(taken):5.2f}  {min(taken):.2f}-{max(taken):.2f}")


# -- under load ------------------------------------------------------------------------


def print_load(cases: list[str], before: str | None, rounds: int) -> None:
    """Print what each side needs for each case: median and spread of the rounds."""
    for name in cases:
        (words, sides), found = CASES[name], {}
        for turn in range(rounds):
            for side in sides if turn % 2 else reversed(sides):
                if side != "before" or before:
                    found.setdefault(side, []).append(run_case(words, side, before))
        for side in filter(found.__contains__, sides):
            cells = [
                f"{number} {spread([told[number] for told in found[side]], 3)}"
                for number in found[side][0]
            ]
            print(f"{name:24s} {side:9s} " + "  ".join(cells), flush=True)


def run_case(words: tuple[Any, ...], side: str, before: str | None) -> dict[str, float]:
    """Run a case in a process of its own and return what it measured."""
    program = str(Path(__file__).with_name("dispatch_cases.py"))
    env = dict(os.environ)
    if side == "before":
        side, env["PYTHONPATH"] = "ours", str(before)
    command = [sys.executable, program, words[0], side, *map(str, words[1:])]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    return json.loads(answer.stdout.splitlines()[-1])


# -- tables ----------------------------------------------------------------------------


def print_rates(rates: Samples, sizes: list[int]) -> None:
    """Print medians, spreads, ratios and how flat each column is."""
    print("\nno-ops a second: median (min-max)")
    print_table(rates, sizes, 0, more=("flatness", flatness))
    print(f"\ntimes {REFERENCE}: median of the rounds (min-max)")
    base = rates[REFERENCE]
    ratios = {
        name: {n: [a / b for a, b in zip(by_size[n], base[n], strict=False)] for n in sizes}
        for name, by_size in rates.items()
    }
    print_table(ratios, sizes, 1)
    print(
        f"\nflatness: the largest distance of a median from their mean, from {FLAT_FROM:,} tasks "
        f"on; at most {FLAT:.0%} is wanted.\nOurs speaks TLS, 'dask' does not."
    )


def print_cpu(cpu_ms: Samples, sizes: list[int]) -> None:
    """Print the CPU time of a no-op."""
    print("\nCPU time of a no-op in ms, all processes: median (min-max)")
    print_table(cpu_ms, sizes, 2)


def print_table(
    samples: Samples,
    sizes: list[int],
    digits: int,
    more: tuple[str, Callable[[dict[int, list[float]]], str]] | None = None,
) -> None:
    """Print a line for each column of the benchmark."""
    heads = [f"{size:,}" for size in sizes]
    print(f"{'':20s}" + "".join(f"{h:>20s}" for h in [*heads, *([more[0]] if more else [])]))
    for name, by_size in samples.items():
        cells = [spread(by_size[size], digits) for size in sizes]
        cells += [more[1](by_size)] if more else []
        print(f"{name:20s}" + "".join(f"{cell:>20s}" for cell in cells))


def spread(values: list[float], digits: int) -> str:
    """Return median, least and greatest."""
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def flatness(by_size: dict[int, list[float]]) -> str:
    """Return how far the medians lie from their mean."""
    medians = [statistics.median(r) for size, r in by_size.items() if size >= FLAT_FROM and r]
    if len(medians) < 2:
        return "-"
    mean = statistics.mean(medians)
    return f"{max(abs(median - mean) for median in medians) / mean:.0%}"


if __name__ == "__main__":
    main()

"""No-op tasks a second: ours beside plain dask, one by one and sixteen to a task.

Two workers of one thread each, in processes of their own, on either side. All columns take
turns in every round, so that a drift of the machine hits all of them; a ratio is the median
over the rounds, not a ratio of medians. A time goes from the first submission until all
results are here. Ours encrypts and authenticates every connection (TLS); plain dask does not,
and the columns "tls" show what dask does with it. Ours runs its scheduler in a process of its
own, a LocalCluster in the caller's.

    python benchmarks/dispatch.py [--rounds 5] [--sizes 256 1024 ...] [--no-tls]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from scaleout import local

from pilotcut import PilotManager, TaskManager
from pilotcut.descriptions import PilotDescription

SIZES = (256, 1024, 4096, 8192, 32768)
#: No-ops in a task of the columns "x16".
BUNDLE = 16
#: Flat means within this of the mean, from this size on.
FLAT, FLAT_FROM = 0.15, 1024
#: What all ratios refer to.
REFERENCE = "dask submit"

Column = Callable[[int], int]

_numbers = itertools.count()


def main() -> None:
    """Print tasks a second, ratios, flatness, and the time to the first task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--no-tls", action="store_true", help="leave out dask with TLS")
    parser.add_argument("--starts", type=int, default=3, help="how often each side is started")
    parser.add_argument("--start", choices=STARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.start:
        print(STARTS[options.start]())
        return
    print_starts(options.starts)
    with contextlib.ExitStack() as stack:
        columns = all_columns(stack, tls=not options.no_tls)
        for column in columns.values():  # imports, connections, what is known of run times
            column(512)
        rates = measure(columns, options.sizes, options.rounds)
    print_rates(rates, options.sizes)


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
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
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


def measure(
    columns: dict[str, Column], sizes: list[int], rounds: int
) -> dict[str, dict[int, list[float]]]:
    """Return no-ops a second, by column and size, one for each round."""
    rates: dict[str, dict[int, list[float]]] = {c: {n: [] for n in sizes} for c in columns}
    for turn in range(rounds):
        for size in sizes:
            order = list(columns) if turn % 2 else list(reversed(columns))
            for name in order:
                started = time.perf_counter()
                done = columns[name](size)
                rates[name][size].append(size / (time.perf_counter() - started))
                assert done == size
                time.sleep(0.2)  # released keys are still being forgotten
        print(f"round {turn + 1} of {rounds}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    return rates


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


# -- tables ----------------------------------------------------------------------------


def print_rates(rates: dict[str, dict[int, list[float]]], sizes: list[int]) -> None:
    """Print medians, spreads, ratios and how flat each column is."""
    head = "".join(f"{size:>20,}" for size in sizes)
    print(f"\nno-ops a second: median (min-max)\n{'':20s}{head}{'flatness':>10s}")
    for name, by_size in rates.items():
        cells = "".join(f"{spread(by_size[size]):>20s}" for size in sizes)
        print(f"{name:20s}{cells}{flatness(by_size):>10s}")
    print(f"\ntimes {REFERENCE}: median of the rounds (min-max)\n{'':20s}{head}")
    for name, by_size in rates.items():
        ratios = {
            n: [a / b for a, b in zip(by_size[n], rates[REFERENCE][n], strict=True)] for n in sizes
        }
        print(f"{name:20s}" + "".join(f"{spread(ratios[n], 1):>20s}" for n in sizes))
    print(
        f"\nflatness: the largest distance of a median from their mean, from {FLAT_FROM:,} tasks "
        f"on; at most {FLAT:.0%} is wanted.\nOurs speaks TLS, 'dask' does not."
    )


def spread(values: list[float], digits: int = 0) -> str:
    """Return median, least and greatest."""
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def flatness(by_size: dict[int, list[float]]) -> str:
    """Return how far the medians lie from their mean."""
    medians = [statistics.median(rate) for size, rate in by_size.items() if size >= FLAT_FROM]
    if not medians:
        return "-"
    mean = statistics.mean(medians)
    return f"{max(abs(median - mean) for median in medians) / mean:.0%}"


if __name__ == "__main__":
    main()

"""Executors of other engines, as their users would start them on this machine.

Each is a context manager that yields a `concurrent.futures.Executor` of so many slots. Parsl and
Ray are imported here only; `motifs.py` makes the environments that have them.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def process_pool(slots: int, scratch: Path) -> Iterator[Executor]:
    """Yield Python's own."""
    with ProcessPoolExecutor(slots, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@contextlib.contextmanager
def parsl(slots: int, scratch: Path) -> Iterator[Executor]:
    """Yield Parsl's, on its executor for high throughput."""
    from parsl.concurrent import ParslPoolExecutor
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    # It starts programs of its own by their names.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    executor = HighThroughputExecutor(
        label="htex",
        address="127.0.0.1",
        max_workers_per_node=slots,
        cores_per_worker=1e-3,  # or it starts no more workers than there are cores
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    with ParslPoolExecutor(Config(executors=[executor], run_dir=str(scratch))) as pool:
        yield pool


class RayExecutor(Executor):
    """Ray's tasks as an executor."""

    def __init__(self, slots: int) -> None:
        import ray

        self.max_workers = slots
        self._run = ray.remote(num_cpus=1, max_retries=0)(_called)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function as a task of Ray's."""
        return self._run.remote(fn, args, kwargs).future()


def _called(fn: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return fn(*args, **kwargs)


@contextlib.contextmanager
def ray(slots: int, scratch: Path) -> Iterator[Executor]:
    """Yield Ray's tasks."""
    import ray

    ray.init(num_cpus=slots, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        yield RayExecutor(slots)
    finally:
        ray.shutdown()


ENGINES = {"pool": process_pool, "parsl": parsl, "ray": ray}
#: What has to be installed for them; the versions that were compared.
PACKAGES = {"parsl": ["parsl==2026.10.26"], "ray": ["ray==2.60.0"]}

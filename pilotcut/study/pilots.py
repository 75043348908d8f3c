"""Pilots that a study runs on: of all workers, and of fewer where scaling is the question.

Started when first asked for and kept to the end, with workers that have imported all they need,
so that no start is inside a measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from pilotcut.errors import UserError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.tasks import TaskManager, wait
from pilotcut.training.model import classifier


class StudyPilots:
    """Pilots as described, and the same with fewer workers.

    Parameters
    ----------
    descriptions
        What there is at most; MPI pilots are left out, since they take no circuits.
    directory
        Where their files go.
    """

    def __init__(self, descriptions: Sequence[PilotDescription], directory: Path) -> None:
        self._descriptions = [d for d in descriptions if d.ranks == 1]
        if not self._descriptions:
            raise UserError(
                "pilots have no worker that takes circuits, only MPI ranks; expected one pilot "
                "without ranks; try laptop"
            )
        self._directory = directory
        self._open: dict[int, tuple[PilotManager, TaskManager]] = {}
        self._threads: dict[int, PilotManager] = {}
        # Closed in reverse: every task manager before its pilots.
        self._ends = ExitStack()

    @property
    def workers(self) -> int:
        """Number of workers of all pilots."""
        return sum(one.slots for one in self._descriptions)

    @staticmethod
    def steps_of(descriptions: Sequence[PilotDescription]) -> list[int]:
        """Return the numbers of workers to compare on these pilots: 1, 2, 4, … and all."""
        return steps_to(sum(one.slots for one in descriptions if one.ranks == 1))

    def manager(self, workers: int | None = None) -> PilotManager:
        """Return active pilots of so many workers, all if None."""
        return self._opened(workers)[0]

    def tasks(self, workers: int | None = None) -> TaskManager:
        """Return a task manager over them, of the eager policy."""
        return self._opened(workers)[1]

    def threads(self, count: int) -> PilotManager:
        """Return a pilot of so many slots in this process, for tasks that wait more than work."""
        if count not in self._threads:
            where = self._directory / f"threads-{count}"
            manager = PilotManager(embedded(count), run_dir=where)
            self._threads[count] = self._ends.enter_context(manager)
        return self._threads[count]

    def _opened(self, workers: int | None) -> tuple[PilotManager, TaskManager]:
        count = workers or self.workers
        if count not in self._open:
            where = self._directory / f"workers-{count}"
            manager = self._ends.enter_context(
                PilotManager(scaled(self._descriptions, count), run_dir=where)
            )
            tasks = self._ends.enter_context(TaskManager(manager))
            warm_up(tasks)
            self._open[count] = (manager, tasks)
        return self._open[count]

    def __enter__(self) -> StudyPilots:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open.clear()
        self._threads.clear()
        self._ends.close()


def steps_to(workers: int) -> list[int]:
    """Return 1, 2, 4, … up to and with `workers`.

    Examples
    --------
    >>> steps_to(6)
    [1, 2, 4, 6]
    """
    doubled = [2**k for k in range(workers.bit_length()) if 2**k < workers]
    return [*doubled, workers]


def scaled(descriptions: Sequence[PilotDescription], workers: int) -> list[PilotDescription]:
    """Return what to ask for to have so many workers of these pilots, the first ones first.

    Whole nodes as far as they go, then a part of one as a pilot of its own.

    Examples
    --------
    >>> pilot = PilotDescription(name="p", resource="slurm", nodes=2, workers_per_node=4)
    >>> [(d.name, d.nodes, d.workers_per_node) for d in scaled([pilot], 6)]
    [('p', 1, 4), ('p-part', 1, 2)]
    """
    kept: list[PilotDescription] = []
    left = workers
    for one in descriptions:
        nodes, rest = divmod(min(left, one.slots), one.workers_per_node)
        if nodes:
            kept.append(one.model_copy(update={"nodes": nodes}))
        if rest:
            name = f"{one.name}-part" if nodes else one.name
            layout = {"workers_per_node": rest, "cores_per_node": rest * one.threads_per_worker}
            kept.append(one.model_copy(update={"name": name, "nodes": 1} | layout))
        left -= nodes * one.workers_per_node + rest
    return kept


def warm_up(tasks: TaskManager) -> None:
    """Have every worker import what it will need and translate a circuit."""
    # Twice as many as slots, so that none is left out where one is quick.
    wait([tasks.submit_task(_one_query, name=f"warm-up.{k}") for k in range(2 * tasks.slots)])


def _one_query() -> None:
    """Run a small cut query in this process."""
    model = classifier(2)
    for mode in ("counts", "exact"):
        estimator = CutEstimator(cuts=1, mode=mode, shots=16, seed=0)
        estimator.run([(model.circuit, "ZZ", [0.1] * model.circuit.num_parameters)]).result()

"""Task manager: the public face of the tasks, which run late on whichever pilot has room.

It checks what is submitted and makes records of it. It refuses to know when and where tasks run:
that is the `Binder`'s, on a thread of its own.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from pilotcut.errors import UserError
from pilotcut.io.unpicklable import Unpicklable
from pilotcut.pilots.manager import PilotManager
from pilotcut.pilots.pilot import Pilot
from pilotcut.tasks.binder import Binder
from pilotcut.tasks.groups import group_of, label_of, own_pilots, takers
from pilotcut.tasks.load import pilot_names
from pilotcut.tasks.policies import as_policy, name_of
from pilotcut.tasks.policy_base import Policy
from pilotcut.tasks.result_store import ResultStore
from pilotcut.tasks.shared import Shared, SharedObjects
from pilotcut.tasks.snapshots import TaskView
from pilotcut.tasks.task import TaskFuture, futures_in
from pilotcut.tasks.task_record import TaskRecord
from pilotcut.tasks.validation import (
    argument_faults,
    function_name,
    futures_after,
    kind_of,
    placement_faults,
    text_fault,
)

T = TypeVar("T")


class TaskManager(Unpicklable):
    """Runs functions on pilots, each bound to a pilot only when that has room.

    Parameters
    ----------
    pilots
        The pilots to run on; started if they are not.
    policy
        ``"eager"``, ``"longest-first"``, ``"cost-aware"``, ``"batched:size=64,delay_s=0.2"``,
        ``"staggered:spacing_s=0.1"``, or a callable such as `pilotcut.tasks.policies.eager`.
    duplicates
        Start a second run of a straggler on a free slot, when no task waits; the first
        result wins. Tasks must then bear running twice at the same time.
    most_preemptions
        How often a task is run again because its whole pilot went: canceled, at its time
        limit, or with its node.
    store
        Directory of results of tasks with a `key`: a program that is started again on it does not
        run those again. None stores nothing.

    Examples
    --------
    >>> from pilotcut.pilots.description import embedded
    >>> with PilotManager(embedded()) as pilots, TaskManager(pilots) as tasks:
    ...     tasks.submit_task(max, 3, 7).result()
    7
    """

    _instead = (
        "of a model save its state_dict(), or let its estimator run here first: estimator.use(None)"
    )

    def __init__(
        self,
        pilots: PilotManager,
        *,
        policy: str | Policy = "eager",
        duplicates: bool = True,
        most_preemptions: int = 20,
        store: str | os.PathLike[str] | None = None,
    ) -> None:
        choose = as_policy(policy)
        results = None if store is None else ResultStore.open(store)
        self.policy = name_of(choose)
        pilots.start()
        self._pilots = pilots
        self._most_preemptions = most_preemptions
        self._stage: str | None = None
        # Tasks are submitted from many threads: next() of a count needs no lock.
        self._numbers = itertools.count()
        self._shared = SharedObjects(pilots)
        self._binder = Binder(pilots, choose, duplicates=duplicates, store=results)

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time, those of other groups included."""
        if self._stage is None:
            return self._pilots.slots
        return sum(pilot.slots for pilot in self.takers if not pilot.state.final)

    @property
    def pilots(self) -> PilotManager:
        """The pilots that the tasks run on."""
        return self._pilots

    @property
    def takers(self) -> tuple[Pilot, ...]:
        """The pilots on which tasks run that name neither one nor a group."""
        return takers(self._stage, self._pilots.pilots)

    def stage(self, group: str) -> Self:
        """Return this manager as a stage of a graph: its tasks belong to a group.

        It can be given to whatever takes a task manager, an estimator for example, whose tasks then
        run on the pilots of that group. Closing it leaves everything as it is.

        Examples
        --------
        >>> from pilotcut.pilots.description import embedded
        >>> with PilotManager(embedded()) as pilots, TaskManager(pilots) as tasks:
        ...     tasks.stage("encode").submit_task(max, 3, 7).task.name
        'encode.0'
        """
        if fault := text_fault("group", "" if group is None else group):
            raise UserError(fault)
        found = object.__new__(type(self))
        found.__dict__.update(self.__dict__, _stage=group)
        return found

    def submit_task(
        self,
        fn: Callable[..., Any] | Sequence[str],
        /,
        *args: Any,
        name: str | None = None,
        group: str | None = None,
        key: str | None = None,
        cores: int = 1,
        gpus: int = 0,
        ranks: int = 1,
        pilot: str | Iterable[str] | None = None,
        after: TaskFuture | Iterable[TaskFuture] | None = None,
        retries: int = 2,
        error_retries: int = 0,
        cost_s: float | Mapping[str, float] | None = None,
        duplicated: bool = True,
        **kwargs: Any,
    ) -> TaskFuture:
        """Return the future of ``fn(*args, **kwargs)``, to run on a pilot.

        Task futures among the arguments, also inside lists, tuples and dicts, are
        replaced by their results first.

        Parameters
        ----------
        fn
            Any function, or with `ranks` a command. It may run more than once, if a worker
            dies or straggles.
        name
            What messages call the task; the function's name and a number if None, or its group
            and a number. Tasks named GROUP.NUMBER belong to that group.
        group
            What it belongs to: reports fold graphs of tasks by it, some policies keep a group
            together, and it runs on pilots whose descriptions name it in `groups`, if any do.
        key
            What its result is stored under, where the task manager has a store: a text that says
            what is computed. Where a result of the same function and the same arguments is there,
            the task does not run; where it cannot be read, or is of other work, that is logged,
            and it runs. A key that two tasks of one manager have for different work is refused.
            The results of tasks among the arguments count, and so do those named in `after`.
        cores, gpus
            What the task needs of one node, each rank of it.
        ranks
            Number of MPI processes that run `fn`, which finds the others in
            ``mpi4py.MPI.COMM_WORLD``; the result is that of rank 0. They are those of an MPI
            pilot if one with exactly so many is active, and else are started by srun or
            mpiexec from a worker of an ordinary pilot, as are those of a command, whose result
            is what it writes to stdout. On an MPI pilot an exception on any rank is that of
            the task.
        pilot
            Name or names of the pilots it may run on, None for any. A task of one rank runs
            on an MPI pilot only if that is named here: on its rank 0, while the others wait.
        after
            A task, or several, that must have succeeded before.
        retries
            How often the task is run again when the worker that held it died. A task that
            was alone with three workers when they died is quarantined in any case, unless
            workers die everywhere. The end of a whole pilot does not count here.
        error_retries
            How often it is run again when `fn` raises; then the exception is the result.
        cost_s
            A guess of the run time in seconds, for policies, or one for each pilot by name.
            A single guess need not be right, only proportional: how fast each pilot works
            guesses off is measured while tasks run.
        duplicated
            Whether it may run a second time beside itself where it straggles; not what costs
            money each time.

        Raises
        ------
        UserError
            If no pilot could ever run the task: for want of cores, of GPUs, of ranks or of
            walltime, of which it needs 1.2 times its cost.
        """
        number = next(self._numbers)
        group = self._stage if group is None else group
        texts = {"name": name, "group": group, "key": key}
        called = function_name(fn)
        _check(f"{called}-{number}", [text_fault(*text) for text in texts.items()])
        label = label_of(name, group, called, number)
        accounts = self._binder.known_accounts()
        names = pilot_names(pilot, accounts)
        before = futures_after(after)
        budgets = (retries, error_retries, self._most_preemptions)
        _check(label, argument_faults(fn, cores, gpus, names, before, ranks, *budgets[:2], cost_s))
        group = group_of(label, group)
        if names is None and (own := own_pilots(group, (a.pilot for a in accounts.values()))):
            names = tuple(pilot.name for pilot in own)
        costs = cost_s if isinstance(cost_s, Mapping) else None
        view = TaskView(
            number,
            cores * ranks,
            gpus,
            None if names is None else frozenset(names),
            None if cost_s is None or isinstance(cost_s, Mapping) else float(cost_s),
            time.time(),
            group=group,
            costs=None if costs is None else {name: float(s) for name, s in costs.items()},
            ranks=ranks,
        )
        _check(label, placement_faults(view, accounts))
        record = TaskRecord(label, view, fn, args, kwargs, kind_of(fn, view), *budgets)
        record.may_be_duplicated, record.key, record.after = duplicated, key, before
        record.dependencies = _all_before(label, before, args, kwargs)
        return self._binder.submit(record)

    def share(self, obj: T, key: str | None = None) -> Shared[T]:
        """Return a handle of `obj`, which travels once to each worker and stays there.

        Parameters
        ----------
        obj
            A read-only object; changes made by a task stay in that task's process.
        key
            Its identity: a key shared before gives the same handle, and nothing
            travels. The identity of the Python object if None.
        """
        return self._shared.share(obj, key)

    def close(self, *, wait: bool = True) -> None:
        """Take no more tasks and finish; does nothing a second time.

        Parameters
        ----------
        wait
            Wait for all tasks. If False, tasks that are not bound are canceled, and
            those that are fail with a `TaskError`.
        """
        if self._stage is None and self._binder.close(wait=wait):
            self._shared.drop()

    def __enter__(self) -> TaskManager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(wait=error is None)


def _check(label: str, faults: Sequence[str]) -> None:
    if found := [*filter(None, faults)]:
        raise UserError([f"task '{label}': {fault}" for fault in found])


def _all_before(
    label: str, before: Sequence[TaskFuture], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[TaskFuture]:
    """Return what a task waits for: each once, in their order."""
    try:
        found = [*before, *futures_in(args), *futures_in(kwargs)]
    except RecursionError:
        raise UserError(
            f"task '{label}': an argument is nested more deeply than Python can follow, or holds "
            f"itself, expected lists, tuples and dicts in which futures can be looked for; give it "
            f"as a class of yours"
        ) from None
    return list(dict.fromkeys(found))

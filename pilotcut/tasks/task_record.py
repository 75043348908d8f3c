"""Record of a task: what the binder knows of it, from its submission to its end."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pilotcut.pilots.mpi.launch import run_ranks
from pilotcut.pilots.worker.payload import Call, pack_call
from pilotcut.tasks.snapshots import TaskView
from pilotcut.tasks.task import Task, TaskFuture, TaskState


# With slots: a dict of more than 30 attributes shares no keys, and takes 1.4 KB more a task.
@dataclass(eq=False, slots=True)
class TaskRecord:
    """One task; read by other threads through `snapshot`.

    Attributes
    ----------
    most_retries, most_errors, most_preemptions
        Budgets: how often it is run again after the loss of a worker, after an exception of
        its own, and after the loss of a whole pilot.
    kills
        Workers that died while they held this task alone.
    copies
        Launches that have not reported yet: more than one while it is duplicated.
    launches, launch
        How often it was launched, and the number of the launch that it ended with.
    may_be_duplicated
        Whether a second run may start beside the first.
    key, work, after
        What its result is stored under; the digest of what it computes, '' until that is known;
        tasks that it runs after.
    is_ending, was_stored
        Whether it has a result that is being stored; whether that was stored before it could run.
    cut_by
        The task whose failure keeps it from running, '' as long as there is none.
    before, cut
        Ids of the tasks that it depends on; how many of each group its failure has cut off.
    is_known
        Whether there is an event of it.
    """

    name: str
    view: TaskView
    fn: Callable[..., Any] | Sequence[str]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    kind: tuple[str, str]
    most_retries: int
    most_errors: int
    most_preemptions: int
    future: TaskFuture | None = None
    dependencies: list[TaskFuture] = field(default_factory=list)
    missing: int = 0
    state: TaskState = TaskState.WAITING
    pilot: str | None = None
    worker: str | None = None
    submitted: float = field(default_factory=time.time)
    bound: float | None = None
    started: float | None = None
    finished: float | None = None
    retries: int = 0
    errors: int = 0
    preemptions: int = 0
    kills: int = 0
    copies: int = 0
    launches: int = 0
    launch: int | None = None
    may_be_duplicated: bool = True
    key: str | None = None
    work: str = ""
    after: Sequence[TaskFuture] = ()
    is_ending: bool = False
    was_stored: bool = False
    cut_by: str = ""
    before: Sequence[int] = ()
    is_known: bool = False
    cut: Mapping[str, int] | None = None

    @property
    def attempts(self) -> int:
        """How often it was run again."""
        return self.retries + self.errors + self.preemptions

    @property
    def fingerprint(self) -> str:
        """Hash of the function and its arguments, to know the task again."""
        packed = self._packed()
        if not isinstance(packed, bytes):
            packed = repr(packed).encode()
        return hashlib.sha256(packed).hexdigest()[:12]

    def call(self, has_ranks: bool = False) -> Call:
        """Return what the next launch runs; ranks are started from a worker unless it has them."""
        if self.view.ranks > 1 and has_ranks and callable(self.fn):
            return Call(self.fn, self.args, self.kwargs, self.view.gpus, self.view.ranks)
        if self.view.ranks > 1:
            return Call(run_ranks, (self._packed(), self.view.ranks), gpus=self.view.gpus)
        assert callable(self.fn)
        return Call(self.fn, self.args, self.kwargs, self.view.gpus, launch=self.launches)

    def _packed(self) -> bytes | Sequence[str]:
        if callable(self.fn):
            return pack_call(Call(self.fn, self.args, self.kwargs))
        return self.fn

    @property
    def is_plain(self) -> bool:
        """Whether nothing keeps the task from sharing a parcel."""
        # One that is run again goes by itself, so that a worker's death can be laid at its door;
        # so does one that may not be run again: others would end it by theirs.
        if self.attempts or not self.most_retries or self.view.ranks > 1:
            return False
        return self.view.cores == 1 and self.view.gpus == 0

    def bind(self, pilot: str) -> None:
        """Give the task to a pilot."""
        self.state, self.pilot, self.bound = TaskState.BOUND, pilot, time.time()
        self.worker = self.started = self.finished = None  # those of an attempt before

    def end(self, state: TaskState) -> TaskFuture:
        """Enter a final state; let go of arguments and future, which may be big."""
        assert self.future is not None
        future, self.future = self.future, None
        self.state = state
        self.finished = self.finished or time.time()
        self.args, self.kwargs, self.dependencies, self.after = (), {}, [], ()
        return future

    def snapshot(self) -> Task:
        """Return what others may know of it."""
        return Task(
            id=self.view.id,
            name=self.name,
            state=self.state,
            pilot=self.pilot,
            worker=self.worker,
            submitted=self.submitted,
            bound=self.bound,
            started=self.started,
            finished=self.finished,
            retries=self.attempts,
            launches=self.launches,
            launch=self.launch,
            group=self.view.group,
            was_stored=self.was_stored,
            cut_by=self.cut_by,
        )

"""Validation of a submission: arguments, and whether any pilot could ever run the task."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pilotcut.options import did_you_mean, number_fault, whole_fault
from pilotcut.tasks.groups import reserved_fault
from pilotcut.tasks.runtime_estimates import SHORT_S, Kind
from pilotcut.tasks.slot_accounting import SlotAccount
from pilotcut.tasks.snapshots import WALLTIME_MARGIN, PilotView, TaskView
from pilotcut.tasks.task import TaskFuture


def futures_after(after: Any) -> tuple[Any, ...]:
    """Return what `after` names one by one; what is no future either is a fault by and by."""
    if after is None:
        return ()
    is_several = isinstance(after, Iterable) and not isinstance(after, (str, bytes, TaskFuture))
    return tuple(after) if is_several else (after,)


def argument_faults(
    fn: object,
    cores: object,
    gpus: object,
    names: Sequence[str] | None,
    before: Sequence[object],
    ranks: object,
    retries: object,
    error_retries: object,
    cost_s: object,
) -> list[str]:
    """Return what is wrong with the arguments of `submit_task` by themselves."""
    faults = [
        whole_fault("cores", cores, 1),
        whole_fault("gpus", gpus, 0),
        whole_fault("ranks", ranks, 1),
        whole_fault("retries", retries, 0),
        whole_fault("error_retries", error_retries, 0),
    ]
    is_command = isinstance(fn, (list, tuple)) and fn and all(isinstance(w, str) for w in fn)
    if not callable(fn) and not (is_command and ranks != 1):
        expected = "a function" if ranks == 1 else "a function or a command, as a list of texts"
        faults.append(f"fn is {fn!r}, expected {expected}")
    if names is not None and not names:
        faults.append("pilot is an empty list, expected at least one name, or None for any")
    if not all(isinstance(name, str) for name in names or ()):
        faults.append(f"pilot is {names!r}, expected names of pilots")
    faults += [
        f"after has {other!r:.60}, expected futures from submit_task"
        for other in before
        if not isinstance(other, TaskFuture)
    ]
    costs = cost_s.values() if isinstance(cost_s, Mapping) else [] if cost_s is None else [cost_s]
    expected = "seconds, a finite number from 0 up, or a dict of them by name of the pilot"
    if any(number_fault("cost_s", cost, _is_duration, expected) for cost in costs):
        faults.append(f"cost_s is {cost_s!r}, expected {expected}")
    return [fault for fault in faults if fault]


def text_fault(name: str, value: object) -> str:
    """Return the line about a `name`, `group` or `key` that is none, '' if it is one, or None."""
    if value is None or (isinstance(value, str) and value.strip()):
        return ""
    return (
        f"{name} is {value!r:.60}, expected a text that is not empty; an argument of fn that is "
        f"called {name} goes by functools.partial"
    )


def _is_duration(value: Any) -> bool:
    try:
        return 0.0 <= float(value) < math.inf
    except OverflowError:  # of a whole number beyond floats
        return False


def placement_faults(view: TaskView, accounts: Mapping[str, SlotAccount]) -> list[str]:
    """Return why no pilot, of those there are, could ever run a task."""
    named = {"pilot": view.pilots or frozenset(), "cost_s": frozenset(view.costs or {})}
    known = ", ".join(f"'{name}'" for name in accounts)
    unknown = [
        f"{field} names pilot '{name}', expected one of {known}{did_you_mean(name, accounts)}"
        for field, names in named.items()
        for name in sorted(names - set(accounts))
    ]
    if unknown:
        return unknown
    asked = [r for r in accounts.values() if view.pilots is None or r.pilot.name in view.pilots]
    # Idle views only: what runs now is the binder's to look at, on its own thread.
    able = [account for account in asked if account.suits(view)]
    if not able:
        if view.pilots is None and (fault := reserved_fault(view.group, asked)):
            return [fault]
        views = [account.idle for account in asked]
        fit = [v for v in views if v.suits(replace(view, cores=1, gpus=0))]
        if len(fit) < len(views) and (fault := _ranks_fault(view, views)):
            return [fault]
        have = "; ".join(
            f"pilot '{v.name}' has {v.slots * v.cores_per_slot} cores, "
            f"{v.gpus_per_slot} GPUs a worker"
            for v in fit
        )
        return [f"cores is {view.cores} and gpus is {view.gpus}, more than any pilot has: {have}"]
    return _walltime_faults(view, able)


def _ranks_fault(view: TaskView, pilots: Sequence[PilotView]) -> str:
    """Return that it is for want of ranks that no pilot could run a task; '' if it is not."""
    mpi = [pilot for pilot in pilots if pilot.ranks > 1]
    if any(pilot.ranks == view.ranks for pilot in mpi):
        return ""
    if view.ranks == 1:
        if len(mpi) < len(pilots):
            return ""
        return (
            f"ranks is 1, and there are only MPI pilots, which run such tasks on rank 0 if they "
            f"are named; say pilot='{mpi[0].name}', or ranks={mpi[0].ranks}"
        )
    have = [f"pilot '{pilot.name}' has {pilot.ranks}" for pilot in mpi]
    have += [
        f"pilot '{pilot.name}' could start them on {pilot.slots * pilot.cores_per_slot} cores"
        for pilot in pilots
        if pilot.ranks == 1 and pilot.starts_ranks
    ]
    if not have:
        return (
            f"ranks is {view.ranks}, expected 1: an executor's workers start no ranks; use pilots "
            f"of resource local or slurm"
        )
    return f"ranks is {view.ranks}, expected as many as a pilot has: {'; '.join(have)}"


def _walltime_faults(view: TaskView, able: Sequence[SlotAccount]) -> list[str]:
    """Return that a task is longer than the walltime of every pilot that has one."""
    too_long = []
    for account in able:
        cost_s = account.idle.cost_s(view)
        if cost_s is None or WALLTIME_MARGIN * cost_s <= account.walltime_s:
            return []
        too_long.append(
            f"pilot '{account.pilot.name}' lives for {account.walltime_s:g} s, the task would need "
            f"{WALLTIME_MARGIN * cost_s:.4g} s there, with a margin of {WALLTIME_MARGIN - 1:.0%}"
        )
    return [
        f"cost_s is {view.length_s:g}, more than the walltime of any pilot that could run it: "
        f"{'; '.join(too_long)}; ask for a longer walltime or divide the task"
    ]


def kind_of(fn: object, view: TaskView) -> Kind:
    """Return what tells tasks of similar run time apart."""
    if view.length_s > SHORT_S:
        return (f"about {view.length_s:.1g} s", function_name(fn))
    return (getattr(fn, "__module__", None) or "", function_name(fn))


def function_name(fn: object) -> str:
    """Return what messages call a function, or a command."""
    if isinstance(fn, (list, tuple)):
        return str(fn[0]) if fn else "command"
    fn = getattr(fn, "func", fn)  # functools.partial
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__

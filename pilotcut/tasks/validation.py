"""What a submission must satisfy, and what a task is called and known by."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Real

from pilotcut.options import did_you_mean
from pilotcut.tasks.runtime_estimates import SHORT_S, Kind
from pilotcut.tasks.slot_accounting import Room
from pilotcut.tasks.snapshots import WALLTIME_MARGIN, PilotView, TaskView
from pilotcut.tasks.task import TaskFuture


def faults_of(
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
    counts = {"cores": (cores, 1), "gpus": (gpus, 0), "ranks": (ranks, 1)}
    counts |= {"retries": (retries, 0), "error_retries": (error_retries, 0)}
    faults = [
        f"{what} is {value!r}, expected a whole number from {least} up"
        for what, (value, least) in counts.items()
        if not isinstance(value, int) or isinstance(value, bool) or value < least
    ]
    is_command = isinstance(fn, (list, tuple)) and fn and all(isinstance(w, str) for w in fn)
    if not callable(fn) and not (is_command and ranks != 1):
        expected = "a function" if ranks == 1 else "a function or a command, as a list of texts"
        faults.append(f"fn is {fn!r}, expected {expected}")
    if names is not None and not names:
        faults.append("pilot is an empty list, expected at least one name, or None for any")
    if not all(isinstance(future, TaskFuture) for future in before):
        faults.append(f"after is {before!r}, expected futures from submit_task")
    costs = cost_s.values() if isinstance(cost_s, Mapping) else [] if cost_s is None else [cost_s]
    if not all(_is_duration(cost) for cost in costs):
        faults.append(
            f"cost_s is {cost_s!r}, expected seconds, a finite number from 0 up, or a dict of them "
            f"by name of the pilot"
        )
    return faults


def _is_duration(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    try:
        return 0.0 <= float(value) < math.inf
    except OverflowError:
        return False


def placement_faults(view: TaskView, rooms: Mapping[str, Room]) -> list[str]:
    """Return why no pilot, of those there are, could ever run a task."""
    named = {"pilot": view.pilots or frozenset(), "cost_s": frozenset(view.costs or {})}
    known = ", ".join(f"'{name}'" for name in rooms)
    unknown = [
        f"{field} names pilot '{name}', expected one of {known}{did_you_mean(name, rooms)}"
        for field, names in named.items()
        for name in sorted(names - set(rooms))
    ]
    if unknown:
        return unknown
    asked = [r for r in rooms.values() if view.pilots is None or r.pilot.name in view.pilots]
    able = [room for room in asked if room.idle.suits(view)]
    if not able:
        views = [room.idle for room in asked]
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
        if pilot.ranks == 1
    ]
    return f"ranks is {view.ranks}, expected as many as a pilot has: {'; '.join(have)}"


def _walltime_faults(view: TaskView, able: Sequence[Room]) -> list[str]:
    """Return that a task is longer than the walltime of every pilot that has one."""
    too_long = []
    for room in able:
        cost_s = room.idle.cost_s(view)
        if cost_s is None or WALLTIME_MARGIN * cost_s <= room.walltime_s:
            return []
        too_long.append(
            f"pilot '{room.pilot.name}' lives for {room.walltime_s:g} s, the task would need "
            f"{WALLTIME_MARGIN * cost_s:.4g} s there, with a margin of {WALLTIME_MARGIN - 1:.0%}"
        )
    return [
        f"cost_s is {view.length_s:g}, more than the walltime of any pilot that could run it: "
        f"{'; '.join(too_long)}; ask for a longer walltime or divide the task"
    ]


def kind_of(fn: object, view: TaskView) -> Kind:
    """Return what tells tasks of similar run time apart."""
    if view.length_s > SHORT_S:
        return (f"about {view.length_s:.1g} s", name_of(fn))
    return (getattr(fn, "__module__", None) or "", name_of(fn))


def name_of(fn: object) -> str:
    """Return what messages call a function, or a command."""
    if isinstance(fn, (list, tuple)):
        return str(fn[0]) if fn else "command"
    fn = getattr(fn, "func", fn)  # functools.partial
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def unique(futures: Iterable[TaskFuture]) -> list[TaskFuture]:
    """Return the futures, each once."""
    return list({id(future): future for future in futures}.values())

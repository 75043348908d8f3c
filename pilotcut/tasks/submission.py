"""What a submission must satisfy, and what a task is called and known by."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from pilotcut.errors import UserError
from pilotcut.tasks.policies import POLICIES, Policy, TaskView
from pilotcut.tasks.room import Room
from pilotcut.tasks.runtimes import SHORT_S, Kind
from pilotcut.tasks.task import TaskFuture


def policy_of(policy: str | Policy) -> Policy:
    """Return the policy of that name, or the callable itself."""
    if callable(policy):
        return policy
    if policy not in POLICIES:
        known = ", ".join(f"'{name}'" for name in POLICIES)
        hint = _did_you_mean(str(policy), POLICIES)
        raise UserError(f"policy is {policy!r}, expected {known} or a callable{hint}")
    return POLICIES[policy]


def faults_of(
    fn: object,
    cores: object,
    gpus: object,
    names: Sequence[str] | None,
    before: Sequence[object],
    ranks: object,
    retries: object,
    error_retries: object,
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
    return faults


def placement_faults(view: TaskView, rooms: Mapping[str, Room]) -> list[str]:
    """Return why no pilot, of those there are, could ever run a task."""
    unknown = sorted((view.pilots or frozenset()) - set(rooms))
    if unknown:
        known = ", ".join(f"'{name}'" for name in rooms)
        return [
            f"pilot is '{name}', expected one of {known}{_did_you_mean(name, rooms)}"
            for name in unknown
        ]
    asked = [r for r in rooms.values() if view.pilots is None or r.pilot.name in view.pilots]
    if any(room.view().suits(view) for room in asked):
        return []
    have = "; ".join(
        f"pilot '{v.name}' has {v.slots * v.cores_per_slot} cores, {v.gpus_per_slot} GPUs a worker"
        for v in (room.view() for room in asked)
    )
    return [f"cores is {view.cores} and gpus is {view.gpus}, more than any pilot has: {have}"]


def kind_of(fn: object, cost_s: float | None) -> Kind:
    """Return what tells tasks of similar run time apart."""
    if cost_s is not None and cost_s > SHORT_S:
        return (f"about {cost_s:.1g} s", name_of(fn))
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


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""

"""Explanation why a task waits, in one line: a pure function of what policies see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from pilotcut.options import counted
from pilotcut.tasks.policies import CostAware, as_policy, longest_first, name_of
from pilotcut.tasks.policy_base import Policy, in_words
from pilotcut.tasks.snapshots import WALLTIME_MARGIN, PilotView, TaskView, by_length


def explain(
    task: TaskView,
    ready: Sequence[TaskView],
    pilots: Sequence[PilotView],
    now: float,
    policy: str | Policy = "eager",
) -> str:
    """Return in one line why `task` is not bound now.

    Parameters
    ----------
    task
        A ready task.
    ready, pilots, now
        What the policy is given.
    policy
        The policy.

    Examples
    --------
    >>> tasks = [TaskView(1), TaskView(2, gpus=2)]
    >>> pilots = [PilotView("a", 1, 0), PilotView("g", 1, 1, gpus_per_slot=2, gpus_free=1)]
    >>> explain(tasks[0], tasks, pilots[:1], 0.0)
    "the slot of pilot 'a' is taken; it is the next in line"
    >>> explain(tasks[1], tasks, pilots, 0.0)
    "only pilot 'g' can run it; needs 2 GPUs, pilot 'g' has 1 free; 1 task before it"
    """
    policy = as_policy(policy)
    if not pilots:
        return "no pilot is active"
    suited = [pilot for pilot in pilots if pilot.suits(task)]
    if not suited:
        return "no active pilot suits it: " + "; ".join(_unsuited(task, pilots))
    lasting = [pilot for pilot in suited if pilot.outlasts(task, now)]
    if not lasting:
        return "; ".join(_too_short(task, pilot, now) for pilot in suited)
    reasons = []
    if len(suited) < len(pilots):
        names = ", ".join(f"'{pilot.name}'" for pilot in suited)
        reasons.append(f"only pilot{'s' if len(suited) > 1 else ''} {names} can run it")
    if not any(pilot.has_room(task) for pilot in lasting):
        reasons += [_no_room(task, pilot) for pilot in lasting]
        reasons += [_too_short(task, pilot, now) for pilot in suited if pilot not in lasting]
        return "; ".join([*reasons, _before(task, ready, suited, policy)])
    # Policies are pure functions: to ask one once more changes nothing.
    if task.id in dict(policy(ready, pilots, now)):
        return f"it is bound next: policy '{name_of(policy)}' has just chosen it"
    why = getattr(policy, "why", lambda *_: None)(task, ready, pilots, now)
    reasons.append(why or _before(task, ready, suited, policy))
    return f"policy '{name_of(policy)}': " + "; ".join(reasons)


def _unsuited(task: TaskView, pilots: Sequence[PilotView]) -> Iterator[str]:
    if task.pilots is not None:
        wanted = [pilot for pilot in pilots if pilot.name in task.pilots]
        if not wanted:
            names = " or ".join(f"'{name}'" for name in sorted(task.pilots))
            active = ", ".join(f"'{pilot.name}'" for pilot in pilots)
            yield f"it may run on {names} alone, active is {active}"
        pilots = wanted
    for pilot in pilots:
        if task.gpus > pilot.gpus_per_slot:
            has = counted(pilot.gpus_per_slot, "GPU")
            yield f"needs {counted(task.gpus, 'GPU')}, a worker of pilot '{pilot.name}' has {has}"
        elif pilot.groups and task.pilots is None:
            groups = ", ".join(sorted(pilot.groups))
            yield f"pilot '{pilot.name}' is for tasks of {groups} alone"
        elif pilot.ranks > 1 and task.ranks != pilot.ranks:
            has = counted(pilot.ranks, "rank")
            yield f"needs {counted(task.ranks, 'rank')}, pilot '{pilot.name}' has {has}"
        else:
            has = counted(pilot.slots * pilot.cores_per_slot, "core")
            yield f"needs {counted(task.cores, 'core')}, pilot '{pilot.name}' has {has}"


def _too_short(task: TaskView, pilot: PilotView, now: float) -> str:
    assert pilot.ends_s is not None
    cost_s = pilot.cost_s(task)
    start_s = pilot.start_s(task, now)
    wait = f" and cannot start for {in_words(start_s)}" if start_s > 0 else ""
    left = in_words(max(0.0, pilot.ends_s - now))
    if cost_s is None:
        return f"walltime left on pilot '{pilot.name}' is {left}"
    margin = f"{WALLTIME_MARGIN - 1:.0%} kept in reserve"
    return (
        f"walltime left on pilot '{pilot.name}' is {left}, the task takes {in_words(cost_s)} "
        f"({margin}){wait}"
    )


def _no_room(task: TaskView, pilot: PilotView) -> str:
    width = pilot.width(task)
    if task.gpus > pilot.gpus_free:
        return (
            f"needs {counted(task.gpus, 'GPU')}, pilot '{pilot.name}' has "
            f"{max(0, pilot.gpus_free)} free"
        )
    if width > 1:
        return (
            f"needs {counted(width, 'slot')} at a time, pilot '{pilot.name}' has {pilot.free} free"
        )
    if task.isolated and pilot.prefetch > 0:
        return (
            f"must not stand in line since a worker died with it, and pilot '{pilot.name}' "
            "has no idle slot"
        )
    if pilot.slots == 1:
        return f"the slot of pilot '{pilot.name}' is taken"
    return f"all {counted(pilot.slots, 'slot')} of pilot '{pilot.name}' are taken"


def _before(
    task: TaskView, ready: Sequence[TaskView], suited: Sequence[PilotView], policy: Policy
) -> str:
    """Say how many tasks have the first claim on the same pilots."""
    tasks: Iterable[TaskView] = ready
    if policy is longest_first or isinstance(policy, CostAware):
        tasks = sorted(ready, key=by_length)
    before = sum(
        any(pilot.suits(other) for pilot in suited)
        for other in takewhile(lambda other: other.id != task.id, tasks)
    )
    if not before:
        return "it is the next in line"
    return f"{counted(before, 'task')} before it"

"""Groups of tasks: what belongs together in a graph, and the pilots that are a group's own.

Pure functions of names and accounts. Refuses to know what a group computes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pilotcut.options import did_you_mean
from pilotcut.pilots.pilot import Pilot
from pilotcut.tasks.slot_accounting import SlotAccount


def label_of(name: str | None, group: str | None, called: str, number: int) -> str:
    """Return what messages call a task.

    Examples
    --------
    >>> label_of(None, None, "work", 7), label_of(None, "sweep", "work", 7)
    ('work-7', 'sweep.7')
    >>> label_of("first", "sweep", "work", 7)
    'first'
    """
    if name is not None:
        return name
    return f"{called}-{number}" if group is None else f"{group}.{number}"


def group_of(label: str, group: str | None) -> str | None:
    """Return the group of a task: the one that is given, or that in a name GROUP.NUMBER."""
    return group if group is not None else label.rpartition(".")[0] or None


def own_pilots(group: str | None, pilots: Iterable[Pilot]) -> tuple[Pilot, ...]:
    """Return the pilots whose descriptions name a group."""
    return tuple(one for one in pilots if group is not None and group in one.description.groups)


def takers(group: str | None, pilots: Sequence[Pilot]) -> tuple[Pilot, ...]:
    """Return the pilots that tasks of a group run on: its own, or those that are nobody's."""
    nobodys = (one for one in pilots if not one.description.groups)
    return own_pilots(group, pilots) or tuple(nobodys)


def reserved_fault(group: str | None, accounts: Iterable[SlotAccount]) -> str:
    """Return that all these pilots are those of other groups; '' if some are for any task."""
    views = [account.idle for account in accounts]
    if not views or not all(view.groups for view in views):
        return ""
    known = list(dict.fromkeys(name for view in views for name in sorted(view.groups)))
    found = "None" if group is None else f"'{group}'"
    hint = did_you_mean(group, known) if group else ""
    return (
        f"group is {found}, expected one that a pilot takes: {', '.join(known)}"
        f"{hint or '; a pilot without groups in its description takes any task'}"
    )

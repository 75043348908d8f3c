"""Protocol of dispatch policies: which ready task goes to which pilot.

A policy is any callable ``choose(ready, pilots, now) -> [(task id, pilot name), ...]``.
It sees the ready tasks in order of submission and what room each pilot has; it starts
nothing, reads no clock and remembers nothing: what it has to know of the past, such as
when tasks were last bound, stands in the snapshots. It is also asked for explanations, so a
count of its own would run ahead.

Free slots come before prefetch: room beyond the free slots is partly for short tasks only, a
long task that is bound there is dropped, and a pure function would bind it there again.

A policy that leaves tasks waiting on purpose may also have

- ``wake_s(ready, pilots, now)``, the time at which to ask it again if nothing happens
  before, None if there is no need;
- ``why(task, ready, pilots, now)``, in a few words what it holds `task` back for, None if
  nothing; `explain` quotes it.

The policies themselves are in `pilotcut.tasks.policies`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from pilotcut.errors import UserError
from pilotcut.options import did_you_mean
from pilotcut.tasks.snapshots import PilotView, TaskView

#: A task too wide for the room there is waits this long before its pilot is kept clear.
PATIENCE_S = 5.0

Bindings = list[tuple[int, str]]
Policy = Callable[[Sequence[TaskView], Sequence[PilotView], float], Bindings]

_KINDS = {int: "a whole number", float: "a number"}


def wake_s(
    policy: Policy, ready: Sequence[TaskView], pilots: Sequence[PilotView], now: float
) -> float | None:
    """Return when to ask `policy` again if nothing happens before; None if there is no need."""
    ask = getattr(policy, "wake_s", None)
    return None if ask is None else ask(ready, pilots, now)


def in_words(seconds: float) -> str:
    """Return some seconds as text, for messages."""
    seconds = max(0.0, seconds)
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


# -- options of a policy -------------------------------------------------------------------


def check_options(policy: Any, **least: int) -> None:
    """Raise UserError unless the fields of a policy are numbers from a least value up."""
    name = type(policy).__name__.lower()
    faults = []
    for option in dataclasses.fields(policy):
        value, kind = getattr(policy, option.name), type(option.default)
        good = isinstance(value, int) or (kind is float and isinstance(value, float))
        if not good or not least[option.name] <= value < math.inf:
            expected = f"{_KINDS[kind]} from {least[option.name]} up"
            faults.append(f"policy '{name}': {option.name} is {value!r}, expected {expected}")
    if faults:
        raise UserError(faults)


def parse_options(text: str, kinds: dict[str, type]) -> tuple[dict[str, Any], list[str]]:
    """Return the values in ``a=1,b=2``, and what is wrong with them."""
    values: dict[str, Any] = {}
    faults: list[str] = []
    known = " and ".join(kinds) or "none"
    for option in text.split(","):
        name, equals, value = (part.strip() for part in option.partition("="))
        if not equals:
            faults.append(f"option is '{option}', expected NAME=VALUE, where names are {known}")
        elif name not in kinds:
            hint = did_you_mean(name, kinds)
            faults.append(f"option is '{name}', expected {known}{hint}")
        else:
            try:
                values[name] = kinds[name](value)
            except ValueError:
                faults.append(f"{name} is '{value}', expected {_KINDS[kinds[name]]}")
    return values, faults

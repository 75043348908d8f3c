"""Elastic pilots of a manager: started, canceled and released by what `elastic.decide` says.

Owns which pilots are asked for, and the thread on which they are started and ended: sbatch may take
a minute, and pilots are looked at meanwhile. Refuses to know when there are too few.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pilotcut.errors import PilotError
from pilotcut.pilots.dask_pilot import DaskPilot
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.elastic import Change, Member, Needed, Standing, decide, slots_needed
from pilotcut.pilots.load_board import LoadBoard
from pilotcut.pilots.pilot import Pilot, PilotState
from pilotcut.pilots.slurm.array import groups_of

_log = logging.getLogger(__name__)

#: What a pilot says that could be asked for.
STANDBY = "stands by: is asked for when work would wait"
#: Other programs hear this late that a pilot drains, and bind no task to it afterwards.
HEARSAY_S = 3.0

_STANDING: dict[PilotState, Standing] = {
    PilotState.NEW: "pending",
    PilotState.PENDING: "pending",
    PilotState.STARTING: "starting",
    PilotState.ACTIVE: "active",
}


def members_of(descriptions: Iterable[PilotDescription]) -> Iterator[PilotDescription]:
    """Yield the descriptions, with all that there may be of an elastic one in its place."""
    for described in descriptions:
        if described.elastic is None:
            yield described
        else:
            for number in range(described.elastic.most):
                yield described.model_copy(update={"name": f"{described.name}-{number}"})


class ElasticPilots:
    """Asks for pilots, and lets go of them.

    Parameters
    ----------
    start
        Starts pilots that are submitted together.
    loads
        What the load is.
    """

    def __init__(self, start: Callable[[Sequence[DaskPilot]], None], loads: LoadBoard) -> None:
        self._start = start
        self._loads = loads
        self._asked: set[Pilot] = set()
        self._retired: dict[DaskPilot, float] = {}
        self._needed: dict[str, Needed] = {}
        self._thread: ThreadPoolExecutor | None = None

    def is_standby(self, pilot: Pilot) -> bool:
        """Return whether a pilot could be asked for, and is not."""
        is_new = pilot.state is PilotState.NEW and pilot not in self._asked
        return is_new and pilot.description.elastic is not None and not _has_job(pilot)

    def ask_for_least(self, pilots: Iterable[Pilot]) -> None:
        """Take it that as many are started with the manager as are there whatever the load."""
        for group in _entries(pilots).values():
            rule = group[0].description.elastic
            assert rule is not None
            # Those that another manager has left with their jobs go on.
            left = [pilot for pilot in group if _has_job(pilot)]
            new = [pilot for pilot in group if not _has_job(pilot)]
            self._asked.update((left + new)[: max(rule.least, len(left))])

    def look(self, pilots: Sequence[Pilot], now: float) -> None:
        """Ask for pilots and let go of others, as the load says."""
        entries = _entries(pilots)
        self._asked = {pilot for pilot in self._asked if not pilot.state.final}
        for name, group in entries.items():
            self._look_at(name, group, now)
        self._end_idle(now)
        if entries:
            self._loads.ask()  # for the next look

    def _look_at(self, name: str, group: Sequence[DaskPilot], now: float) -> None:
        rule = group[0].description.elastic
        assert rule is not None
        load = self._loads.of(name)
        by_name = {pilot.name: pilot for pilot in group if pilot.state in _STANDING}
        members = [self._member(pilot, now) for pilot in by_name.values()]
        needed = self._needed.setdefault(name, Needed())
        needed.add(now, slots_needed(members, load), rule.idle_s)
        change = decide(rule, members, load, needed, now)
        if change != Change():
            self._apply(change, by_name, now)

    def _member(self, pilot: DaskPilot, now: float) -> Member:
        standing = "standby" if self.is_standby(pilot) else _STANDING[pilot.state]
        left_s = math.inf if pilot.ends is None else pilot.ends - now
        is_second = pilot.generation > 0
        rested_s = now - pilot.since[PilotState.NEW] if is_second else math.inf
        return Member(pilot.name, pilot.slots, standing, left_s, rested_s)

    def _apply(self, change: Change, pilots: dict[str, DaskPilot], now: float) -> None:
        asked = [pilots[name] for name in change.ask]
        self._asked.update(asked)
        for group in groups_of(asked):
            self._do(self._try_to_start, group)
        for name in change.cancel:
            pilots[name].retire("not needed any more")
            self._do(_close, [pilots[name]])
        for name in change.release:
            pilots[name].retire("released: not needed any more")
            self._retired[pilots[name]] = now

    def _end_idle(self, now: float) -> None:
        """End released pilots once nothing runs on them."""
        for pilot, since in list(self._retired.items()):
            if pilot.state.final:
                del self._retired[pilot]
            elif not pilot.has_calls and not self._may_be_used(pilot, now - since):
                del self._retired[pilot]
                self._do(_close, [pilot])

    def _may_be_used(self, pilot: DaskPilot, for_s: float) -> bool:
        """Return whether another program may have a task there, or bind one."""
        if not self._loads.has_others:
            return False
        load = self._loads.of(pilot.description.kind)
        return for_s < HEARSAY_S or load.busy.get(pilot.name, 0) > 0

    def _try_to_start(self, pilots: Sequence[DaskPilot]) -> None:
        try:
            self._start(pilots)
        except (PilotError, OSError) as error:  # a full disk, say
            _fail(pilots, error)

    def _do(self, act: Callable[[Sequence[DaskPilot]], None], pilots: Sequence[DaskPilot]) -> None:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="elastic-pilots")
        self._thread.submit(self._guarded, act, pilots)

    def _guarded(
        self, act: Callable[[Sequence[DaskPilot]], None], pilots: Sequence[DaskPilot]
    ) -> None:
        try:
            act(pilots)
        except Exception as error:
            _log.warning("pilot '%s': %s", pilots[0].name, error, exc_info=True)
            _fail(pilots, error)

    def give_up(self, pilots: Iterable[Pilot], of: Pilot, reason: str) -> None:
        """Ask for no more of an entry: tasks that wait for them must not wait for ever."""
        why = f"{reason}, the last because {of.reason}" if of.reason else reason
        for pilot in _entries(pilots).get(of.description.kind, ()):
            if self.is_standby(pilot):
                self._asked.add(pilot)
                pilot.is_retired = True
                pilot.move(PilotState.FAILED, why)

    def close(self) -> None:
        """Ask for nothing more; what is being submitted is submitted afterwards."""
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)


def _close(pilots: Sequence[DaskPilot]) -> None:
    for pilot in pilots:
        pilot.close()


def _fail(pilots: Sequence[DaskPilot], error: Exception) -> None:
    for number, pilot in enumerate(pilots):
        pilot.is_retired = number > 0  # one submission that fails is one failure
        pilot.move(PilotState.FAILED, str(error))


def _has_job(pilot: Pilot) -> bool:
    return getattr(pilot, "job", None) is not None


def _entries(pilots: Iterable[Pilot]) -> dict[str, list[DaskPilot]]:
    """Return the elastic pilots by the entry of the description file."""
    found: dict[str, list[DaskPilot]] = {}
    for pilot in pilots:
        if pilot.description.elastic is not None and isinstance(pilot, DaskPilot):
            found.setdefault(pilot.description.kind, []).append(pilot)
    for group in found.values():
        # First asked for is who has stood by for longest, so that none comes and goes all the time.
        group.sort(key=lambda pilot: pilot.since[PilotState.NEW])
    return found

"""Replacements of pilots that have ended: how often, and when there is no use in it any more."""

from __future__ import annotations

from collections import Counter

from pilotcut.pilots.pilot import Pilot, PilotState

#: Pilots of one description that fail in a row, without ever being active, before no more
#: are asked for.
MOST_FAILURES = 3


class Replacements:
    """Counts of ends and replacements, by the entry of the description file (`kind`)."""

    def __init__(self) -> None:
        self._replaced: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._ended: set[Pilot] = set()
        self._handled: set[Pilot] = set()

    def count_end(self, pilot: Pilot) -> None:
        """Count early ends in a row; to be called before any other watcher hears of one.

        Who then asks `is_due` is not told again if the answer turns to no.
        """
        if pilot.state.final and pilot not in self._ended and not pilot.is_retired:
            self._ended.add(pilot)
            kind = pilot.description.kind
            failed_early = PilotState.ACTIVE not in pilot.since
            self._failures[kind] = self._failures[kind] + 1 if failed_early else 0

    def is_due(self, pilot: Pilot) -> bool:
        """Return whether another pilot may come in place of one that has ended."""
        return may_be_followed(pilot) and not self.refusal(pilot)

    def refusal(self, pilot: Pilot) -> str:
        """Return why there is no use in another pilot in place of one; '' if there is."""
        kind = pilot.description.kind
        if self._failures[kind] >= MOST_FAILURES:
            return f"no more are asked for: {MOST_FAILURES} failed in a row"
        if pilot.description.elastic is not None:
            return ""  # how many there are is for the load to say
        if self._replaced[kind] >= pilot.description.most_replacements:
            return f"no more are asked for: {self._replaced[kind]} were replaced"
        return ""

    def count_replacement(self, pilot: Pilot) -> None:
        """Count a pilot that takes the place of another."""
        self._replaced[pilot.description.kind] += 1

    def is_new_end(self, pilot: Pilot) -> bool:
        """Return whether a pilot has ended since this was asked last."""
        is_new = pilot.state.final and pilot not in self._handled
        if is_new:
            self._handled.add(pilot)
        return is_new


def may_be_followed(pilot: Pilot) -> bool:
    """Return whether its description wants others after it."""
    return pilot.description.replace or pilot.description.elastic is not None

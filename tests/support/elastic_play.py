"""Elastic pilots in virtual time: tasks on pilots that come and go by `decide`, without a clock."""

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass, field

from pilotcut.pilots.elastic import Member, Needed, PilotLoad, decide, slots_needed

STEP_S = 0.5


@dataclass
class Played:
    """What happened: changes as (time, pilot, kind), ends of tasks, pilots there at each step."""

    changes: list = field(default_factory=list)
    ended: list = field(default_factory=list)
    there: list = field(default_factory=list)
    held_slot_s: float = 0.0

    def most_changes(self, begin, end, within=60.0):
        """Return the most changes of one pilot within a while, between two times."""
        times = defaultdict(list)
        for when, name, _ in self.changes:
            if begin <= when < end:
                times[name].append(when)
        return max(
            (sum(t <= u < t + within for u in of) for of in times.values() for t in of), default=0
        )


def play(rule, tasks, *, slots=2, start_s=3.0, walltime_s=math.inf, until=None, known=True):
    """Play tasks, (arrival, seconds) each, on the pilots of one entry.

    A pilot pends for `start_s` and is active then; idle slots take tasks in their order, those of
    the pilot with the most of them first, as the worst policy for letting go of pilots would do.
    It ends when all is done and no more pilots are there than always, or at `until`.
    """
    played, needed = Played(), Needed()
    arrivals = sorted(tasks)
    ready, running, since, last = [], [], {}, until or 5000.0
    names = [f"p-{k}" for k in range(rule.most)]
    retired, now, count = set(), 0.0, len(arrivals)
    gone = {}

    free = dict.fromkeys(names, slots)

    while now < last and (until or len(played.ended) < count or len(since) > rule.least):
        while running and running[0][0] <= now:
            end, name, cost = heapq.heappop(running)
            free[name] += 1
            played.ended.append((end, cost))
        for name in [n for n in retired if free[n] == slots]:
            retired.discard(name)
            since.pop(name)
            stand_last(names, gone, name, now)
        for name in [n for n, t in since.items() if now - t >= start_s + walltime_s]:
            ready[:0] = [cost for _, n, cost in running if n == name]  # lost, and run again
            running = [one for one in running if one[1] != name]
            heapq.heapify(running)
            free[name] = slots
            since.pop(name)
            stand_last(names, gone, name, now)
            retired.discard(name)
        while arrivals and arrivals[0][0] <= now:
            ready.append(arrivals.pop(0)[1])
        active = [n for n, t in since.items() if now - t >= start_s and n not in retired]
        while ready and active and free[best := max(active, key=free.get)]:
            heapq.heappush(running, (now + ready[0], best, ready.pop(0)))
            free[best] -= 1
        members = [
            Member(
                n,
                slots,
                standing(n, since, start_s, now),
                since.get(n, math.inf) + walltime_s - now,
                now - gone.get(n, -math.inf),
            )
            for n in names
            if n not in retired
        ]
        load = load_of(rule, ready, running, now, known)
        needed.add(now, slots_needed(members, load), rule.idle_s)
        change = decide(rule, members, load, needed, now)
        for name in change.ask:
            since[name] = now
        for name in change.cancel:
            since.pop(name)
            stand_last(names, gone, name, now)
        retired |= set(change.release)
        for kind in ("ask", "cancel", "release"):
            played.changes += [(now, name, kind) for name in getattr(change, kind)]
        held = [n for n, t in since.items() if now - t >= start_s]
        played.held_slot_s += STEP_S * slots * len(held)
        played.there.append(len(since))
        now += STEP_S
    return played


def stand_last(names, gone, name, now):
    gone[name] = now
    names.remove(name)
    names.append(name)


def standing(name, since, start_s, now):
    if name not in since:
        return "standby"
    return "active" if now - since[name] >= start_s else "pending"


def load_of(rule, ready, running, now, known):
    busy, held = defaultdict(int), defaultdict(float)
    for end, name, _ in running:
        busy[name] += 1
        held[name] += min(1.0, (end - now) / rule.wait_s) if known else 1.0
    slots = sum(min(cost, rule.wait_s) for cost in ready) / rule.wait_s
    return PilotLoad(slots, 1.2 * max(ready, default=0.0), dict(busy), dict(held))

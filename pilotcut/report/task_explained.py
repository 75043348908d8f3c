"""What a task, or a group of them, waits for and what waits for it, in lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pilotcut.options import counted, did_you_mean
from pilotcut.report.numbers import known_number
from pilotcut.report.run_follower import Follower, Tail, waiting_of
from pilotcut.report.run_record import TaskGraph
from pilotcut.report.task_graph import GraphReader
from pilotcut.report.words import joined
from pilotcut.tasks.branches import in_words

#: Tasks and groups that a line names.
_MOST_NAMED = 6
_OPEN = ("bound", "ready", "waiting")
_SAID = {
    "bound": "runs, or is next in line",
    "waiting": "waits for other tasks",
    "stored": "did not run: its result was stored",
    "failed": "has failed",
    "cut off": "did not run: one that it depends on has failed",
    "canceled": "was canceled",
}


def explained(run_dir: Path, name: str | None) -> list[str]:
    """Return why tasks wait, and of one that is named, or a group, where it stands in the graph.

    Raises
    ------
    UserError
        If there is nothing of ours in the directory.
    """
    Follower(run_dir)
    graph, cuts = _read(run_dir / "events.jsonl")
    # The file outlives its tasks.
    standings = dict(zip(graph.names, graph.standings, strict=True))
    waiting = [w for w in waiting_of(run_dir) if standings.get(w["task"], "ready") in _OPEN]
    if name is None:
        found = [f"{one['task']}: {one['reason']}" for one in waiting]
        left = [*_waiting_for_others(graph)]
        return [*(found or left or ["no task waits"]), *(left if found else ()), *cuts]
    found = [f"{one['task']}: {one['reason']}" for one in waiting if one["task"] == name]
    places = [place for place, one in enumerate(graph.names) if one == name]
    if places:
        return [*found, *_of_task(graph, places[-1])]
    places = [place for place, one in enumerate(graph.groups) if one == name]
    if places:
        return [*_of_group(graph, name, places)]
    hint = did_you_mean(name, {*graph.names, *graph.groups})
    unknown = f"task '{name}' is not known: it has not begun, and is none of the first that wait"
    return found or [f"{unknown}{hint}"]


def _read(path: Path) -> tuple[TaskGraph, list[str]]:
    reader = GraphReader()
    cuts: list[str] = []
    for event in Tail(path).read()[1]:
        if event.get("event") != "task":
            continue
        reader.add(event)
        cut = event.get("cut_off")
        if event.get("state") == "failed" and isinstance(cut, dict) and not event.get("cut_by"):
            numbers = {str(group): int(known_number(cut, group) or 0) for group in cut}
            cuts.append(in_words(str(event.get("task")), numbers))
    return reader.graph(), cuts


def _waiting_for_others(graph: TaskGraph) -> Iterator[str]:
    found = [place for place, one in enumerate(graph.standings) if one == "waiting"]
    if found:
        groups = _in_groups(graph, found)
        verb = "waits" if len(found) == 1 else "wait"
        yield f"{counted(len(found), 'task')} {verb} for other tasks: {groups}"


def _of_task(graph: TaskGraph, place: int) -> Iterator[str]:
    standing = graph.standings[place]
    name = f"task '{graph.names[place]}' of group {graph.groups[place]}"
    yield f"{name} {_SAID.get(standing, f'is {standing}')}"
    before, after = graph.before[place], graph.after
    if before:
        left = [one for one in before if graph.standings[one] in _OPEN]
        state = f"{len(left)} of them have not ended: " if left else "all have ended: "
        yield f"  it is after {counted(len(before), 'task')}, {state}" + _named(
            graph, left or before
        )
    if after[place]:
        number = len(after[place])
        verb = "is" if number == 1 else "are"
        yield f"  {counted(number, 'task')} {verb} after it: {_named(graph, after[place])}"
        behind = _behind(after, place)
        yield f"  behind it, also by way of others: {_in_groups(graph, behind)}"


def _of_group(graph: TaskGraph, name: str, places: Sequence[int]) -> Iterator[str]:
    counts = Counter(graph.standings[place] for place in places)
    said = ", ".join(f"{number:,} {standing}" for standing, number in counts.most_common())
    yield f"group '{name}': {counted(len(places), 'task')}, {said}"
    here, after = set(places), graph.after
    before = [one for place in places for one in graph.before[place] if one not in here]
    left = [one for one in dict.fromkeys(before) if graph.standings[one] in _OPEN]
    if before:
        ended = f"it waits for {_in_groups(graph, left)}" if left else "all of them have ended"
        yield f"  it is after {_in_groups(graph, list(dict.fromkeys(before)))}; {ended}"
    behind = dict.fromkeys(one for place in places for one in after[place] if one not in here)
    if behind:
        yield f"  after it: {_in_groups(graph, list(behind))}"


def _behind(after: Sequence[Sequence[int]], place: int) -> list[int]:
    found, front = {place}, [place]
    while front:
        for one in after[front.pop()]:
            if one not in found:
                found.add(one)
                front.append(one)
    return sorted(found - {place})


def _named(graph: TaskGraph, places: Sequence[int]) -> str:
    names = [f"{graph.names[place]} ({graph.standings[place]})" for place in places[:_MOST_NAMED]]
    more = len(places) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def _in_groups(graph: TaskGraph, places: Sequence[int]) -> str:
    counts = Counter(graph.groups[place] for place in places).most_common()
    words = [f"{number:,} of {group}" for group, number in counts[:_MOST_NAMED]]
    if len(counts) > _MOST_NAMED:
        words.append(counted(len(counts) - _MOST_NAMED, "group") + " more")
    return joined(words)

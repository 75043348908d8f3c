"""Graph of tasks of a run, out of its events, and folded to what fits a picture.

Pure functions of events and graphs; nothing here draws. Tasks of one group, and of one layer where
there are few, become one box.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pilotcut.report.measures import group_of
from pilotcut.report.run_record import STANDINGS, TaskGraph

#: Boxes and columns of a picture.
MOST_BOXES, MOST_COLUMNS = 48, 24
#: What is left of a task that nothing tells more of.
_UNKNOWN = "?"


class GraphReader:
    """Graph of tasks, from their events one by one."""

    def __init__(self) -> None:
        # A program that is started again submits the same tasks under the same numbers.
        self._tasks: dict[tuple[int, str], dict[str, Any]] = {}
        self._latest: dict[int, tuple[int, str]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Take in an event of a task, whatever else it holds."""
        number, name = event.get("id"), str(event.get("task", _UNKNOWN))
        if type(number) is not int:
            return
        task = self._tasks.setdefault((number, name), {"group": group_of(name), "after": ()})
        self._latest[number] = (number, name)
        if isinstance(event.get("group"), str):
            task["group"] = event["group"]
        if isinstance(event.get("after"), list):
            task["after"] = [one for one in event["after"] if type(one) is int and one < number]
        task["standing"] = _standing(event)

    def result(self) -> TaskGraph | None:
        """Return the graph, None if there is none: no task depends on another."""
        if not any(task["after"] for task in self._tasks.values()):
            return None
        return self.graph()

    def graph(self) -> TaskGraph:
        """Return the graph, with or without dependencies."""
        keys = sorted(self._tasks)
        places = {key: place for place, key in enumerate(keys)}
        before: list[tuple[int, ...]] = []
        layers: list[int] = []
        for key in keys:
            wanted = (self._latest.get(number) for number in self._tasks[key]["after"])
            found = tuple(places[one] for one in wanted if one is not None)
            before.append(found)
            layers.append(1 + max((layers[place] for place in found), default=-1))
        return TaskGraph(
            names=tuple(name for _, name in keys),
            groups=tuple(self._tasks[key]["group"] for key in keys),
            standings=tuple(self._tasks[key]["standing"] for key in keys),
            before=tuple(before),
            layers=tuple(layers),
        )


def _standing(event: Mapping[str, Any]) -> str:
    if event.get("stored"):
        return "stored"
    if event.get("cut_by"):
        return "cut off"
    state = str(event.get("state"))
    return state if state in STANDINGS else "waiting"


# -- folding ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Box:
    """Tasks that are drawn as one.

    Parameters
    ----------
    name
        Of the group, or of several.
    column, row
        Where it stands.
    standings
        How many tasks there are of each standing.
    deep
        Layers that its tasks lie in.
    """

    name: str
    column: int
    row: int
    standings: Mapping[str, int]
    deep: int

    @property
    def count(self) -> int:
        """How many tasks there are."""
        return sum(self.standings.values())


@dataclass(frozen=True)
class FoldedGraph:
    """Boxes, and how many dependencies there are from one to another, by their places.

    `is_whole` tells whether each box is of one group, or less.
    """

    boxes: tuple[Box, ...]
    edges: Mapping[tuple[int, int], int]
    is_whole: bool


def folded(graph: TaskGraph) -> FoldedGraph:
    """Return a graph folded as finely as a picture has room for."""
    stems = tuple(_stem(group) for group in graph.groups)
    common = {stem for stem, _ in Counter(stems).most_common(MOST_BOXES - 1)}
    ways: Sequence[Callable[[int], tuple[str, int]]] = (
        lambda place: (graph.groups[place], graph.layers[place]),
        lambda place: (graph.groups[place], 0),
        lambda place: (stems[place], 0),
        lambda place: (stems[place] if stems[place] in common else "others", 0),
    )
    for number, way in enumerate(ways):
        keys = [way(place) for place in range(len(graph))]
        if len(set(keys)) <= MOST_BOXES:
            found = _boxes(graph, keys, is_whole=number < 2)
            if max(box.column for box in found.boxes) < MOST_COLUMNS:
                return found
    return found


def _stem(group: str) -> str:
    """Return what groups have in common that differ by a number at their end.

    Examples
    --------
    >>> _stem("layer-12"), _stem("sweep"), _stem("7")
    ('layer-*', 'sweep', '*')
    """
    return re.sub(r"[0-9]+\Z", "*", group)


def _boxes(graph: TaskGraph, keys: Sequence[tuple[str, int]], is_whole: bool) -> FoldedGraph:
    members: dict[tuple[str, int], list[int]] = {}
    for place, key in enumerate(keys):
        members.setdefault(key, []).append(place)
    middle = {k: sum(graph.layers[p] for p in some) / len(some) for k, some in members.items()}
    order = sorted(members, key=lambda key: (middle[key], members[key][0]))
    rank = {key: place for place, key in enumerate(order)}
    edges: Counter[tuple[int, int]] = Counter()
    for place, before in enumerate(graph.before):
        for other in before:
            edges[rank[keys[other]], rank[keys[place]]] += 1
    columns = _columns(len(order), edges)
    rows: Counter[int] = Counter()
    boxes = []
    for key, column in zip(order, columns, strict=True):
        standings = Counter(graph.standings[place] for place in members[key])
        deep = len({graph.layers[place] for place in members[key]})
        boxes.append(Box(key[0], column, rows[column], standings, deep))
        rows[column] += 1
    return FoldedGraph(tuple(boxes), edges, is_whole)


def _columns(count: int, edges: Mapping[tuple[int, int], int]) -> list[int]:
    """Return the column of each box: behind all whose edges come to it from before it."""
    columns = [0] * count
    for first, last in sorted(edges):
        if first < last:  # groups may depend on each other in turns
            columns[last] = max(columns[last], columns[first] + 1)
    return columns

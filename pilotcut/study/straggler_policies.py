"""Straggler policies (RQ3): what stragglers cost under each, with duplicates and without.

`stragglers` measures, `slowdown` compares; here stands how much of it the study asks for, and
what is said of it. It takes four slots of the pilots, or where they have fewer, four in this
process: each run waits for a simulated device, so that slots may be more than cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from pilotcut.io.jsonl import JsonLines
from pilotcut.pilots import PilotManager
from pilotcut.study import published, slowdown, stragglers
from pilotcut.study.cells import Cell, StudyDirectory
from pilotcut.study.findings import CellResult, Findings, Plot, PlotSeries, Table, Verdict
from pilotcut.study.pilots import StudyPilots
from pilotcut.study.profiles import Profile
from pilotcut.study.slowdown import Row
from pilotcut.study.stragglers import Condition, Setting, Workload

NAME, TITLE = "rq3", "RQ3: what do stragglers cost, and what brings them back?"

#: The share of the excess that duplicates are to remove.
REMOVED = 0.5

_NAMES = {specification: name for name, specification in stragglers.POLICIES.items()}
_NAMES[slowdown.ALL] = "all policies"


def cells(profile: Profile) -> list[Cell]:
    """Return all conditions, round by round, in an order that each round draws."""
    every = stragglers.conditions(probabilities=profile.probabilities)
    found = []
    for number in range(profile.straggler_rounds):
        # At random, so that a drift within a round favours no condition.
        order = np.random.default_rng((number, 3)).permutation(len(every))
        found += [_cell(every[k], number, profile) for k in order]
    return found


def _cell(condition: Condition, number: int, profile: Profile) -> Cell:
    copies = "duplicates" if condition.duplicates else "alone"
    name = f"{_NAMES[condition.policy]}-p{condition.probability:g}-{copies}-round{number}"
    settings = {
        "policy": condition.policy,
        "probability": condition.probability,
        "duplicates": condition.duplicates,
        "round": number,
        "delay_s": profile.delay_s,
        "qubits": profile.qubits,
        "batches": profile.straggler_batches,
    }
    return Cell(NAME, name, settings)


def run(cell: Cell, study: StudyDirectory, pilots: StudyPilots) -> dict[str, Any]:
    """Measure a condition in a round."""
    settings = cell.settings
    condition = Condition(settings["policy"], settings["probability"], settings["duplicates"])
    setting = Setting(delay_s=settings["delay_s"], qubits=settings["qubits"])
    record = stragglers.measure(
        _pilots(pilots),
        condition,
        _workload(setting),
        seed=settings["round"],
        batches=settings["batches"],
    )
    place = study.fresh_run_dir(cell)
    place.mkdir()
    with JsonLines(place / "trace.jsonl") as trace:
        trace.write(record)
    return record


def _pilots(pilots: StudyPilots) -> PilotManager:
    """Return pilots of just the study's slots, warm."""
    enough = pilots.workers >= stragglers.SLOTS
    manager = pilots.manager(stragglers.SLOTS) if enough else pilots.threads(stragglers.SLOTS)
    _warm_up(manager)
    return manager


@cache
def _warm_up(pilots: PilotManager) -> None:
    """Measure once for nothing: the first batch of a process takes seconds."""
    stragglers.measure(
        pilots, Condition("eager", 0.0, False), _workload(Setting()), seed=0, batches=1
    )


@cache
def _workload(setting: Setting) -> Workload:
    return Workload.of(setting)


def findings(results: Sequence[CellResult]) -> Findings:
    """Return what the conditions say of stragglers and duplicates."""
    rows, pooled = _rows(results), _rows(results, pooled=True)
    setting = results[0].values if results else {}
    where = (
        f"sampled mode on {setting['slots']} slots that wait {1e3 * setting['device_s']:.0f} ms a "
        f"task for a simulated device"
        if setting
        else "sampled mode"
    )
    return Findings(
        question=NAME,
        title=TITLE,
        mode=where,
        answer=_answer(rows, pooled),
        published=published.STRAGGLERS,
        verdicts=_verdicts([*pooled, *rows]),
        tables=[_table([*pooled, *rows])] if rows else [],
        plots=_plots(rows),
    )


def _rows(results: Sequence[CellResult], *, pooled: bool = False) -> list[Row]:
    """Return the conditions that can be compared: those with a p = 0 in the same rounds."""
    records = [result.values for result in results]
    bases = {
        (r["policy"], r["seed"]) for r in records if r["probability"] == 0 and not r["duplicates"]
    }
    kept = [r for r in records if (r["policy"], r["seed"]) in bases]
    return slowdown.compare(kept, pooled=pooled)


def _answer(rows: Sequence[Row], pooled: Sequence[Row]) -> str:
    delayed = [row for row in rows if row.probability > 0]
    if not delayed:
        return "Not answered yet: measurements with stragglers are missing."
    worst = max(row.probability for row in delayed)
    alone = [row for row in delayed if row.probability == worst and not row.duplicates]
    paired = [row for row in delayed if row.probability == worst and row.duplicates]
    removed = [f"{row.removed:.0%} at p = {row.probability:g}" for row in pooled if row.removed]
    return (
        f"At p = {worst:g} a batch takes {_range([row.slowdown for row in alone])} times as long "
        f"as without stragglers, with duplicates {_range([row.slowdown for row in paired])} times, "
        f"where the work-conserving bound is {_range([row.bound for row in alone])}; over all "
        f"policies duplicates remove {', '.join(removed) or 'nothing'} of the excess over it."
    )


def _range(values: Sequence[float]) -> str:
    low, high = min(values, default=float("nan")), max(values, default=float("nan"))
    return f"{low:.2f}" if f"{low:.2f}" == f"{high:.2f}" else f"{low:.2f} to {high:.2f}"


def _verdicts(rows: Sequence[Row]) -> list[Verdict]:
    verdicts = []
    for row in rows:
        if row.removed is None:
            continue
        interval = (
            f" (95 % {row.removed_low:.0%} to {row.removed_high:.0%})"
            if row.removed_low is not None
            else ""
        )
        claim = (
            f"{_NAMES[row.policy]}, p = {row.probability:g}: duplicates remove at least "
            f"{REMOVED:.0%} of the excess over the bound"
        )
        verdicts.append(Verdict(claim, f"{row.removed:.0%}{interval}", row.removed >= REMOVED))
    return verdicts


def _table(rows: Sequence[Row]) -> Table:
    columns = {
        "policy": (lambda row: _NAMES[row.policy], ""),
        "p": (lambda row: row.probability, "g"),
        "duplicates": (lambda row: row.duplicates, ""),
        "ms a batch": (lambda row: 1e3 * row.median_s, ".0f"),
        "p95 ms": (lambda row: 1e3 * row.p95_s, ".0f"),
        "t, ms": (lambda row: 1e3 * row.task_s, ".1f"),
        "slowdown": (lambda row: row.slowdown, ".2f"),
        "bound": (lambda row: row.bound, ".2f"),
        "bound as drawn": (lambda row: row.drawn, ".2f"),
        "over it": (lambda row: row.over_bound, ".2f"),
        "removed": (lambda row: row.removed, ".0%"),
        "delayed": (lambda row: row.delayed, ""),
        "duplicated": (lambda row: row.duplicated, ""),
        "won": (lambda row: row.won, ""),
    }
    return Table(
        "stragglers",
        "Slowdown by stragglers",
        list(columns),
        [[value(row) for value, _ in columns.values()] for row in rows],
        {name: spec for name, (_, spec) in columns.items()},
        "Slowdown: from the first submission of a batch to the end of its last task, over the "
        "same without stragglers and duplicates under the same policy. Bound: 1 + p x delay / t, "
        "the work with delays over that without, which no schedule that runs every task once "
        "beats; 'as drawn': for as many delays as were drawn. Removed: the share of the excess "
        "over that one that duplicates took away.",
    )


def _plots(rows: Sequence[Row]) -> list[Plot]:
    series = []
    for policy in dict.fromkeys(row.policy for row in rows):
        for copies in (False, True):
            some = [row for row in rows if row.policy == policy and row.duplicates == copies]
            name = f"{_NAMES[policy]}{', duplicates' if copies else ''}"
            chances = [row.probability for row in some]
            series.append(PlotSeries(name, chances, [row.slowdown for row in some]))
    alone = [row for row in rows if not row.duplicates]
    first = [row for row in alone if row.policy == alone[0].policy] if alone else []
    if first:
        bounds = [row.bound for row in first]
        series.append(PlotSeries("bound", [row.probability for row in first], bounds))
    label = "probability of a delay"
    return [Plot("slowdown", "Slowdown over p", label, "slowdown", series)] if series else []

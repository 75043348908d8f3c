"""Study as a whole: cells that are not measured yet are measured, then findings are written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.io.directory_lock import locked
from pilotcut.pilots.description import PilotDescription
from pilotcut.study import (
    accuracy,
    baseline,
    figures,
    fleet,
    fleet_findings,
    reconstruction_share,
    robustness,
    straggler_policies,
    tables,
    training_time,
)
from pilotcut.study.cells import Cell, StudyDirectory
from pilotcut.study.findings import CellResult, Findings
from pilotcut.study.pilots import StudyPilots
from pilotcut.study.profiles import Profile
from pilotcut.tasks import TaskManager, as_completed

#: Those of arXiv:2602.16233, and beside them that of ArbiterQ.
PAPER = ("rq1", "rq2", "rq3", "rq4", "rq5")
QUESTIONS = (*PAPER, fleet.NAME)

#: Measured one after the other with nothing beside them, since they are timed. Their cells go round
#: by round or seed by seed over all conditions, so that a drift of the machine meets all of them.
TIMED = {
    module.NAME: module.run
    for module in (training_time, reconstruction_share, straggler_policies, baseline)
}
#: One task on a pilot each, as many at a time as there are workers.
SIDE_BY_SIDE = {
    accuracy.NAME: accuracy.work,
    robustness.NAME: robustness.work,
    fleet.NAME: fleet.measure,
}


#: What results say, question by question; of those that are timed also beside the addon's.
BESIDE_ADDON = {module.NAME: module.findings for module in (training_time, reconstruction_share)}
FINDINGS = {
    straggler_policies.NAME: straggler_policies.findings,
    accuracy.NAME: accuracy.findings,
    robustness.NAME: robustness.findings,
    fleet.NAME: fleet_findings.findings,
}


#: What of a pilot no record has: the values of a sampler's options.
_HIDDEN: Any = {"backend": {"qpu": {"options": True, "runtime": {"options"}}}}


@dataclass(frozen=True)
class StudyRequest:
    """Questions that a study is to answer, and on what.

    Parameters
    ----------
    questions
        Some of `QUESTIONS`.
    profile
        How much of it.
    descriptions
        The pilots.
    addon
        Whether the addon's pipeline is measured beside ours.
    fleet
        The QPUs of the question of that name.
    """

    questions: Sequence[str]
    profile: Profile
    descriptions: Sequence[PilotDescription]
    addon: bool = False
    fleet: Sequence[PilotDescription] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What must be the same when a study is continued."""
        settings = {
            "profile": self.profile.name,
            "settings of the profile": asdict(self.profile),
            "pilots": [one.model_dump(mode="json", exclude=_HIDDEN) for one in self.descriptions],
        }
        return dict(json.loads(json.dumps(settings)))


@dataclass(frozen=True)
class Failure:
    """A cell that could not be measured, and why."""

    cell: Cell
    reason: str


#: Called with a cell when it begins, and again when it has ended: (cell, done, of how many).
Notice = Callable[[Cell, int, int], None]


def cells_of(request: StudyRequest) -> dict[str, list[Cell]]:
    """Return the cells of each question, in the order in which they are measured."""
    profile, workers = request.profile, StudyPilots.steps_of(request.descriptions)
    made: dict[str, list[Cell]] = {
        "rq1": training_time.cells(profile),
        "rq2": reconstruction_share.cells(profile, workers),
        "rq3": straggler_policies.cells(profile),
        "rq4": accuracy.cells(profile),
        "rq5": robustness.cells(profile),
        fleet.NAME: fleet.cells(profile, request.fleet) if request.fleet else [],
    }
    wanted = {name: cells for name, cells in made.items() if name in request.questions}
    if "rq5" in wanted and "rq4" not in wanted:  # which evaluates the networks of that one
        wanted = {"rq4": accuracy.curves(profile)} | wanted
    if request.addon and {"rq1", "rq2"} & wanted.keys():
        wanted = {baseline.NAME: baseline.cells(profile)} | wanted
    for cells in wanted.values():
        names = {cell.name for cell in cells}
        assert len(names) == len(cells), "two cells of one name would share a directory"
    return wanted


def measure(
    request: StudyRequest, study: StudyDirectory, notice: Notice = lambda cell, done, total: None
) -> list[Failure]:
    """Measure the cells that are not done, and return those that failed.

    Raises
    ------
    UserError
        If the study in the directory is another one, or no pilot can be started.
    """
    study.open(request.settings)
    groups = cells_of(request)
    failures: list[Failure] = []
    if not any(study.missing(cells) for cells in groups.values()):
        return failures
    with locked(study.path), StudyPilots(request.descriptions, study.path / "pilots") as pilots:
        for name, cells in groups.items():
            measure_all = _one_by_one if name in TIMED else _side_by_side
            failures += measure_all(name, cells, study, pilots, notice)
    return failures


def _one_by_one(
    name: str, cells: Sequence[Cell], study: StudyDirectory, pilots: StudyPilots, notice: Notice
) -> list[Failure]:
    missing = study.missing(cells)
    done = len(cells) - len(missing)
    failures = []
    for cell in missing:
        notice(cell, done, len(cells))
        try:
            study.save(cell, TIMED[name](cell, study, pilots))
            done += 1
        except (UserError, TaskError, PilotError) as error:
            failures.append(Failure(cell, str(error)))
    if missing:
        notice(missing[-1], done, len(cells))
    return failures


def _side_by_side(
    name: str, cells: Sequence[Cell], study: StudyDirectory, pilots: StudyPilots, notice: Notice
) -> list[Failure]:
    missing = study.missing(cells)
    done = len(cells) - len(missing)
    failures: list[Failure] = []
    if not missing:
        return failures
    notice(missing[0], done, len(cells))
    for cell in missing:
        study.run_dir(cell).parent.mkdir(parents=True, exist_ok=True)
    # No duplicates: two trainings must not share a run directory.
    with TaskManager(pilots.manager(), duplicates=False) as tasks:
        futures = {
            tasks.submit_task(
                SIDE_BY_SIDE[name],
                cell,
                # Workers may have another working directory.
                study.run_dir(cell).resolve(),
                study.place(cell).resolve(),
                name=f"{name}.{cell.name}",
            ): cell
            for cell in missing
        }
        for future in as_completed(futures):
            error = future.exception()
            if error is None:
                done += 1
            else:
                failures.append(Failure(futures[future], _short(error)))
            notice(futures[future], done, len(cells))
    return failures


def _short(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1] if lines else type(error).__name__


def conclude(request: StudyRequest, study: StudyDirectory) -> list[Findings]:
    """Return what the results say that are there, and write it beside them.

    Written is also what the study has answered before and is not asked now, so that a report loses
    nothing when another question joins.
    """
    addon = study.results(baseline.cells(request.profile))
    found = []
    for name, cells in cells_of(replace(request, questions=QUESTIONS)).items():
        is_asked = name in request.questions
        if is_asked or (cells and name in QUESTIONS and _is_answered(cells, study)):
            found.append(_answer(name, cells, study, addon))
    save(found, study.path, request.profile)
    return [one for one in found if one.question in request.questions]


def _is_answered(cells: Sequence[Cell], study: StudyDirectory) -> bool:
    try:
        return not study.missing(cells)
    except UserError:  # of another version, which is no fault of what is asked now
        return False


def _answer(
    name: str, cells: Sequence[Cell], study: StudyDirectory, addon: Sequence[CellResult]
) -> Findings:
    results = study.results(cells)
    return replace(_findings(name, results, addon), missing=len(cells) - len(results))


def _findings(name: str, results: Sequence[CellResult], addon: Sequence[CellResult]) -> Findings:
    if name in BESIDE_ADDON:
        return BESIDE_ADDON[name](results, addon)
    return FINDINGS[name](results)


def save(found: Iterable[Findings], out: Path, profile: Profile) -> None:
    """Write tables, pictures, `report.md` and `report.html`."""
    from pilotcut.study.page import save_page  # loads Bokeh, which measuring needs not

    found = list(found)
    for one in found:
        place = out / one.question
        place.mkdir(parents=True, exist_ok=True)
        for table in one.tables:
            tables.save_csv(table, place / f"{table.name}.csv")
            (place / f"{table.name}.md").write_text(tables.markdown(table) + "\n", encoding="utf-8")
        for plot in one.plots:
            figures.save_picture(plot, place / f"{plot.name}.png")
    heading, about = "The study of arXiv:2602.16233 on pilotcut", _about(profile)
    document = tables.document(found, heading, about)
    (out / "report.md").write_text(document, encoding="utf-8")
    save_page(found, heading, about, out / "report.html")


def _about(profile: Profile) -> str:
    return (
        f"Profile {profile.name}: {profile.qubits} qubits, ZFeatureMap and RealAmplitudes(reps=1), "
        f"Z on every qubit, {profile.shots:,} shots a subexperiment, batches of "
        f"{profile.batch_size}. Every question names the mode it was measured in."
    )

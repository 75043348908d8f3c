"""A study that is killed and goes on."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.commands import Command
from support.studies import TINY

from pilotcut.pilots.description import embedded
from pilotcut.study.cells import StudyDirectory
from pilotcut.study.run import StudyRequest, cells_of, measure

DRIVER = """
import sys
from dataclasses import replace
from pathlib import Path
from pilotcut.pilots.description import embedded
from pilotcut.study.cells import StudyDirectory
from pilotcut.study.run import StudyRequest, measure
from tests_profile import TINY
request = StudyRequest(sys.argv[2].split(","), TINY, embedded(2))
failures = measure(request, StudyDirectory(Path(sys.argv[1])))
assert not failures, failures
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """Return a function that starts a study of the tiny profile in a process of its own."""
    place = tmp_path_factory.mktemp("driver")
    fields = {name: getattr(TINY, name) for name in TINY.__dataclass_fields__}
    (place / "tests_profile.py").write_text(
        f"from pilotcut.study.profiles import Profile\nTINY = Profile(**{fields!r})\n"
    )
    (place / "driver.py").write_text(DRIVER)
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(place), str(root)])

    def start(out: Path, questions: str) -> Command:
        return Command(
            [sys.executable, str(place / "driver.py"), str(out), questions],
            env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        )

    return start


def _finished(out: Path) -> dict[Path, tuple[int, int]]:
    """Return the results that are there, each with what tells a file from its successor."""
    return {p: (p.stat().st_ino, p.stat().st_mtime_ns) for p in out.glob("rq*/*.json")}


# Timed cells, and both kinds that run side by side.
QUESTIONS = "rq1,rq4,rq5"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_study_repeats_no_finished_cell_and_loses_none(tmp_path, driver):
    request = StudyRequest(QUESTIONS.split(","), TINY, embedded(2))
    cells = [cell for group in cells_of(request).values() for cell in group]
    out, chance = tmp_path / "out", random.Random(5)
    with driver(out, QUESTIONS) as process:
        while len(_finished(out)) < 0.5 * len(cells) and process.poll() is None:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
    seen = _finished(out)
    assert 0 < len(seen) < len(cells)
    assert measure(request, StudyDirectory(out)) == []
    end = _finished(out)
    assert seen.items() <= end.items(), "a finished cell was measured again"
    assert len(end) == len(cells)
    assert not StudyDirectory(out).missing(cells)

    # What was interrupted in the middle has come to what it would have come to.
    whole = tmp_path / "whole"
    assert measure(replace(request, questions=["rq4"]), StudyDirectory(whole)) == []
    for cell in cells_of(request)["rq4"]:
        twice = [json.loads(StudyDirectory(o).place(cell).read_text()) for o in (out, whole)]
        for name in ("loss", "accuracy"):
            assert twice[0]["values"][name] == twice[1]["values"][name], cell.name

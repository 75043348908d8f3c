"""pilotcut study as a user meets it: what it refuses, what it lists, and where it goes on."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rq9"], "question is 'rq9', expected one of rq1, rq2, rq3, rq4, rq5, fleet, all"),
        (["--profile", "fulll"], "profile is 'fulll', expected one of quick, full; did you mean"),
        (["--baseline", "adon"], "baseline is 'adon', expected one of none, addon; did you mean"),
        (["--pilots", "nowhere.yaml"], "nowhere.yaml"),
        (["--data-dir", "nowhere"], "data_dir"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(call, tmp_path, arguments, said):
    code, out, err = call("study", *arguments, "--out", str(tmp_path / "out"))
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_all_mistakes_are_told_at_once(call):
    code, _, err = call("study", "rq0", "--profile", "x", "--baseline", "y")
    assert code == 2
    assert [line.split()[1] for line in err.strip().splitlines()] == [
        "question",
        "baseline",
        "profile",
    ]


def test_a_place_with_something_else_in_it_is_refused(call, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, _, err = call("study", "rq1", "--out", str(tmp_path))
    assert code == 2
    assert "holds something else" in err
    assert len(err.splitlines()) == 1  # no empty one of a progress bar
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_list_says_what_is_done_and_measures_nothing(call, tmp_path):
    from pilotcut.study import training_time
    from pilotcut.study.cells import StudyDirectory
    from pilotcut.study.profiles import QUICK

    first, *others = training_time.cells(QUICK)
    StudyDirectory(tmp_path).save(first, {})
    code, out, _ = call("study", "rq1", "--out", str(tmp_path), "--list")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"rq1: {len(others) + 1} cells, {len(others)} to measure"
    assert [line for line in lines if line.startswith("  done")] == [f"  done   {first.name}"]
    assert not (tmp_path / "study.json").exists()


def test_another_profile_in_the_same_place_is_refused(call, tmp_path):
    from pilotcut.pilots.description import embedded
    from pilotcut.study.profiles import QUICK
    from pilotcut.study.run import StudyRequest

    settings = StudyRequest(["rq1"], QUICK, embedded(1)).settings
    (tmp_path / "study.json").write_text(json.dumps(settings))
    code, _, err = call("study", "rq1", "--profile", "full", "--out", str(tmp_path))
    assert code == 2
    assert "profile is 'full', but" in err
    assert "started with 'quick'" in err
    assert len(err.strip().splitlines()) == 1

"""What other programs read: `--json` of every command, and what shells complete."""

import json
import os
import subprocess
import sys

import pytest
from typer.main import get_command

from pilotcut.cli import app

#: Commands whose stdout is another program's.
WITHOUT = {"run", "pilots attach"}


def commands(group=None, path=()):
    group = group or get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_command_says_its_result_as_json():
    without = {
        name
        for name, command in commands()
        if not any("--json" in option.opts for option in command.params)
    }
    assert without == WITHOUT


@pytest.fixture
def said(call):
    """Return a function that gives what a command says as JSON, and nothing else."""

    def run(*arguments):
        code, out, err = call(*arguments, "--json")
        assert code == 0, err
        assert out.count("\n") == 1
        return json.loads(out)

    return run


def test_pilots_are_shown_with_their_job_scripts(said, tmp_path):
    path = tmp_path / "pilots.yaml"
    slurm = "{name: far, resource: slurm, walltime: '01:00:00', sizes: [{nodes: 4}, {nodes: 1}]}"
    path.write_text(f"pilots: [{{name: near, resource: local}}, {slurm}]\n")
    found = said("pilots", "show", path)
    assert [pilot["name"] for pilot in found["pilots"]] == ["near", "far"]
    assert [job["pilots"] for job in found["jobs"]] == [["far"], ["far"]]
    assert [("--nodes=4" in j["script"], "--nodes=1" in j["script"]) for j in found["jobs"]] == [
        (True, False),
        (False, True),
    ]


def test_runs_are_told_and_reported(said, tmp_path):
    """`status`, `tasks explain` and `report` of one run directory."""
    run = tmp_path / "run"
    run.mkdir()
    task = {"event": "task", "id": 1, "task": "t", "time": 5.0}
    states = [task | {"state": state} for state in ("ready", "bound", "done")]
    (run / "events.jsonl").write_text("".join(json.dumps(one) + "\n" for one in states))
    status = said("status", run)
    assert (status["name"], status["tasks"], status["pilots"]) == ("run", {"done": 1}, [])
    assert status["is_over"] is False
    assert said("tasks", "explain", run) == {"task": None, "lines": ["no task waits"]}
    page = tmp_path / "page.html"
    found = said("report", run, "--out", page)
    assert found == {"report": str(page), "bytes": page.stat().st_size, "chrome_trace": None}


def test_motifs_and_cells_of_a_study_are_listed(said):
    assert "cutting" in said("motif")
    cells = said("study", "rq3", "--list")
    assert set(cells) == {"rq3"}
    assert set(cells["rq3"].values()) == {"to do"}


def test_watch_and_json_exclude_each_other(call, tmp_path):
    code, out, err = call("status", tmp_path, "--watch", "--json")
    assert (code, out) == (2, "")
    assert "--watch and --json are both given" in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pilotcut rec", ["recommend", "reconstruct"]),
        ("pilotcut motif c", ["circuits", "cutting", "curve"]),
        ("pilotcut train iris --mode s", ["sampled"]),
    ],
)
def test_shells_complete_commands_and_choices(line, words):
    ask = {"_PILOTCUT_COMPLETE": "complete_bash", "COMP_WORDS": line}
    done = subprocess.run(
        [sys.executable, "-m", "pilotcut.cli"],
        env=os.environ | ask | {"COMP_CWORD": str(line.count(" "))},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == words

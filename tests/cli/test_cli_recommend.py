"""`pilotcut calibrate`, `pilotcut recommend` and `pilotcut train --cuts auto`."""

import json
import shutil
from dataclasses import replace

import pytest
from support.calibrations import install, made_up

from pilotcut.cli import recommend
from pilotcut.io.jsonl import read_jsonl
from pilotcut.perfmodel import calibrate
from pilotcut.perfmodel.calibration_files import load, path_of, save
from pilotcut.pilots.description import load_descriptions

QASM = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[4];
h q[0];
cx q[0], q[1];
cx q[1], q[2];
cx q[2], q[3];
"""

#: A training run of a few seconds whose circuit must be cut.
TRAIN = ["iris", "--qubits", 2, "--epochs", 1, "--batch-size", 64, "--mode", "exact"]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def refused(call):
    """Return a function that expects a refusal and returns its lines, without 'error: '."""

    def run(*arguments):
        code, out, err = call(*arguments)
        assert (code, out) == (2, ""), err
        lines = err.splitlines()
        assert all(line.startswith("error: ") for line in lines), err
        return [line.removeprefix("error: ") for line in lines]

    return run


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "circuit.qasm"
    path.write_text(QASM)
    return path


def wide(tmp_path, qubits):
    """Return the file of a chain."""
    path = tmp_path / f"chain{qubits}.qasm"
    gates = [f"cx q[{q}], q[{q + 1}];" for q in range(qubits - 1)]
    head = f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[{qubits}];\nh q[0];\n'
    path.write_text(head + "\n".join(gates))
    return path


@pytest.fixture
def pilots(tmp_path):
    """Return the file of a Slurm pilot that exists nowhere, with a calibration."""
    path = tmp_path / "pilots.yaml"
    path.write_text("pilots: [{name: far, resource: slurm, memory_per_node: 600 MB}]\n")
    install(load_descriptions(path)[0])
    return path


# -- recommend -------------------------------------------------------------------------


def test_json_tells_all_candidates_in_one_line(call, file):
    install()
    code, out, err = call("recommend", file, "--json", "--max-cuts", 2)
    assert (code, err, out.count("\n")) == (0, "", 1)
    found = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert found["circuit"] == str(file)
    assert (found["mode"], found["queries"]) == ("counts", 1000)
    (pilot,) = found["pilots"]
    assert (pilot["name"], pilot["slots"], pilot["memory_bytes"] > 2**28) == ("here", 1, True)
    assert [line["cuts"] for line in found["candidates"]] == [0, 1, 2]
    assert found["chosen"] == found["candidates"][0]
    assert found["reason"].startswith("do not cut")
    for line in found["candidates"]:
        assert line["low_s"] < line["seconds"] < line["high_s"]
        assert line["feasible"]


def test_a_table_marks_the_recommended_line_and_gives_its_reason(call, tmp_path, pilots):
    code, out, err = call("recommend", wide(tmp_path, 30), "--pilots", pilots, "--max-cuts", 1)
    assert (code, err) == (0, "")
    assert "recommended: 1 cut into 15+15 qubits: uncut, the circuit needs 16 GiB" in out
    assert "labels: AAAAAAAAAAAAAAABBBBBBBBBBBBBBB" in out
    assert "1000 parameter sets in batches of 16, mode counts, on far" in " ".join(out.split())


def test_no_cut_is_told_as_such(call, file):
    install()
    code, out, _ = call("recommend", file, "--mode", "exact")
    assert code == 0
    assert "recommended: do not cut" in out
    assert "shots" not in out


def test_wire_cuts_say_that_labels_are_not_enough(call, tmp_path):
    install()
    path = tmp_path / "star.qasm"
    gates = "\n".join(f"cx q[0], q[{q}];" for q in range(1, 12))
    path.write_text(f'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[12];\n{gates}\n')
    code, out, _ = call("recommend", path, "--max-width", 7, "--max-cuts", 1)
    assert code == 0
    assert "wires are cut as well" in out


def test_drawings_are_written(call, file, tmp_path):
    install()
    plot, draw = tmp_path / "plot.png", tmp_path / "plan.svg"
    code, _, err = call("recommend", file, "--plot", plot, "--draw", draw, "--max-width", 2)
    assert code == 0, err
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in draw.read_bytes()


def test_shots_follow_from_a_target_error(call, file):
    install()
    options = ["--target-error", 0.01, "--max-cuts", 2, "--observable", "ZIIZ", "--json"]
    code, out, _ = call("recommend", file, *options)
    assert code == 0
    lines = json.loads(out)["candidates"]
    assert all(line["standard_error"] <= 0.01 for line in lines)
    assert lines[0]["shots"] < lines[-1]["shots"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-cuts", -1], "max_cuts is -1, expected a whole number from 0"),
        (["--max-width", 0], "max_width is 0, expected a whole number from 1"),
        (["--mode", "count"], "mode is 'count', expected one of counts, sampled, exact"),
        (["--target-error", 2], "target_error is 2.0, expected a number in (0, 1)"),
        (["--target-error", "nan"], "target_error is nan"),
        (["--target-error", 0.1, "--shots", 5], "shots is 5 and target_error is 0.1"),
        (["--target-error", 0.1, "--mode", "exact"], "target_error is 0.1 with mode exact"),
        (["--shots", 0], "shots is 0"),
        (["--queries", 0], "queries is 0"),
        (["--seed", -1], "seed is -1"),
        (["--observable", "ZZ"], "observable 'ZZ' acts on 2 qubits, expected 4"),
        (["--plot", "a.gif"], "drawing: a.gif has suffix '.gif'"),
        (["--draw", "/no/such/a.png"], "drawing: /no/such/a.png has no directory"),
        (["--pilots", "/no/such.yaml"], "/no/such.yaml: does not exist"),
        (["--queries", "many"], "Invalid value for '--queries'"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(refused, file, options, said):
    install()
    (line,) = refused("recommend", file, *options)
    assert line.startswith(said)


def test_mistakes_are_told_before_anything_is_measured(refused, file, tmp_path, monkeypatch):
    """Options and unreadable circuits, with the line; also where a measurement is asked for."""
    monkeypatch.setattr(recommend, "measure", None)
    (line,) = refused("recommend", file, "--calibrate", "--max-cuts", -1)
    assert line.startswith("max_cuts is -1")
    file.write_text(QASM + "cy q[0], q[9];\n")
    (line,) = refused("recommend", file, "--calibrate")
    assert line.startswith(f"{file}:8: ")
    (line,) = refused("recommend", tmp_path / "none.qasm", "--calibrate")
    assert line.startswith(f"{tmp_path / 'none.qasm'}: does not exist")


def test_missing_and_stale_calibrations_are_told_and_nobody_is_asked(refused, file, tmp_path):
    """A line for each kind; without a terminal there is no question that waits for an answer."""
    (line,) = refused("recommend", file)
    assert line.startswith("this process has no calibration, expected one at ")
    assert "run pilotcut calibrate" in line
    save(replace(made_up(), versions={}), path_of(None))
    (line,) = refused("recommend", file)
    assert line.startswith("calibration of this process is stale: ")
    install(modes=("exact",))
    (line,) = refused("recommend", file)
    assert "has no mode 'counts', only exact" in line
    path_of(None).write_text("{")
    (line,) = refused("recommend", file)
    assert "cannot be read" in line
    several = tmp_path / "several.yaml"
    several.write_text(
        "pilots:\n- {name: a, resource: slurm}\n- {name: b, resource: slurm, nodes: 2}\n"
    )
    lines = refused("recommend", file, "--pilots", several)
    assert [line.split(" has ")[0] for line in lines] == ["pilot 'a'", "pilot 'b'"]


def test_circuits_that_nothing_makes_feasible_name_the_next_number(refused, tmp_path, pilots):
    path = wide(tmp_path, 60)
    (line,) = refused("recommend", path, "--pilots", pilots, "--max-cuts", 1)
    assert "a worker of 'far' has 72.2 MiB; expected at least 2 cuts" in line
    assert "give --max-cuts 2" in line


def test_pilots_of_ranks_only_are_one_line(refused, file, tmp_path):
    mpi = tmp_path / "mpi.yaml"
    mpi.write_text("pilots: [{name: mpi, resource: local, ranks: 2}]\n")
    for command in (["recommend", file], ["calibrate"]):
        (line,) = refused(*command, "--pilots", mpi)
        assert line.startswith("pilots: 'mpi' has 2 ranks, expected at least one")


# -- calibrate -------------------------------------------------------------------------


@pytest.mark.usefixtures("few_sizes")
def test_this_process_is_measured_and_then_recommended_for(call, file):
    """In a second; with --calibrate it happens on the way."""
    code, out, err = call("calibrate", "--mode", "exact", "--seconds", 1, "--json")
    assert code == 0, err
    (made,) = json.loads(out)
    assert (made["pilot"], made["slots"], list(made["modes"])) == ("here", 1, ["exact"])
    assert made["modes"]["exact"]["calls"] > 0
    assert made["modes"]["exact"]["spread"] > 0
    assert load(path_of(None)).made == made["made"]
    code, out, err = call("recommend", file, "--mode", "exact")
    assert code == 0, err
    assert "recommended: " in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seconds", 0], "seconds is 0.0, expected a number from 1"),
        (["--seconds", 1e-9], "seconds is 1e-09, expected a number from 1"),
        (["--seconds", "nan"], "seconds is nan"),
        (["--seconds", "inf"], "seconds is inf"),
        (["--mode", "x"], "mode is 'x', expected one of"),
        (["--run-dir", "/no/such"], "this process has no calibration"),
        (["--run-dir", "/no/such", "--pilots", "kinds.yaml"], "run_dir is given with 2 kinds of"),
        (["--pilots", "/no/such.yaml"], "/no/such.yaml: does not exist"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_a_calibration_that_makes_no_sense_is_one_line(
    refused, options, said, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kinds.yaml").write_text(
        "pilots:\n- {name: a, resource: slurm}\n- {name: b, resource: slurm, nodes: 2}\n"
    )
    (line,) = refused("calibrate", *options)
    assert line.startswith(said)


def test_a_place_that_cannot_be_written_is_one_line(refused, monkeypatch, tmp_path):
    (tmp_path / "taken").touch()
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path / "taken"))
    (line,) = refused("calibrate", "--mode", "exact", "--seconds", 1)
    assert line.startswith("calibrations cannot be kept in ")


# -- train -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    return tmp_path_factory.mktemp("once") / "run"


@pytest.fixture
def trained(call, once, tmp_path):
    """Return the directory, each test's own, and the summary of a run with automatic cuts."""
    install()
    said = once.with_name("summary.json")
    if not said.exists():
        code, out, err = call("train", *TRAIN, "--cuts", "auto", "--run-dir", once, "--json")
        assert code == 0, err
        said.write_text(out)
    return shutil.copytree(once, tmp_path / "run"), json.loads(said.read_text())


def test_a_run_keeps_the_choice_and_the_prediction_beside_what_was_measured(trained):
    """In the directory, in the trace and in the summary."""
    run, summary = trained
    kept = json.loads((run / "recommendation.json").read_text())
    first, *others = read_jsonl(run / "trace.jsonl")
    assert first == {"kind": "recommendation"} | kept
    assert kept["chosen"]["cuts"] == summary["cuts"] == others[0]["cuts"]
    assert (kept["mode"], kept["batch"], kept["queries"]) == ("exact", 64, 100)
    forward = [r for r in others if r.get("source") == "forward"]
    assert forward
    assert all(r["predicted_s"] > 0 and r["wall_s"] > 0 for r in forward)
    predicted = summary["predicted"]
    assert predicted["batches"] == len([r for r in others if "predicted_s" in r])
    assert predicted["measured_s"] == pytest.approx(
        sum(r["wall_s"] for r in others if "predicted_s" in r)
    )


def test_a_resumed_run_keeps_its_cuts_whatever_the_calibration_says_now(call, trained, monkeypatch):
    """Also where there is none any more; a lost recommendation is told."""
    run, summary = trained
    path_of(None).unlink()
    monkeypatch.setattr(calibrate, "calibrate", None)
    resume = ["train", "iris", "--resume", "--run-dir", run]
    code, out, err = call(*resume, "--epochs", 2, "--json")
    assert code == 0, err
    assert json.loads(out)["cuts"] == summary["cuts"]
    assert "resume" in [record["kind"] for record in read_jsonl(run / "trace.jsonl")]
    (run / "recommendation.json").unlink()
    code, out, err = call(*resume, "--epochs", 3)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {run / 'recommendation.json'}: cannot be read")


def test_a_run_that_died_before_its_first_epoch_keeps_what_it_is_told_on_resume(call, trained):
    """Its choice is made anew, and kept for the next time."""
    run, _ = trained
    for name in ("recommendation.json", "checkpoint.pt"):
        (run / name).unlink()
    code, _, err = call("train", "iris", "--resume", "--run-dir", run)
    assert code == 0, err
    assert "chosen" in json.loads((run / "recommendation.json").read_text())


@pytest.mark.parametrize("content", ["", "{}", '{"chosen": {"labels": "AB"}}', "[]"])
def test_a_damaged_recommendation_is_one_line(refused, trained, content):
    run, _ = trained
    (run / "recommendation.json").write_text(content)
    (line,) = refused("train", "iris", "--resume", "--run-dir", run)
    assert line.startswith(f"{run / 'recommendation.json'}: cannot be read")


def test_calibrations_learn_from_a_run(call, trained):
    run, summary = trained
    before = load(path_of(None)).modes["exact"].batches
    code, out, err = call("calibrate", "--run-dir", run, "--json")
    assert code == 0, err
    after = load(path_of(None)).modes["exact"].batches
    assert len(after) - len(before) == min(32, summary["predicted"]["batches"])
    assert json.loads(out)[0]["modes"]["exact"]["batches"] == len(after)


def test_automatic_cuts_go_with_no_labels_and_no_other_word(refused, tmp_path):
    for options, said in (
        (["--cuts", "autp"], "cuts is 'autp', expected a whole number from 0, or 'auto'"),
        (["--cuts", "auto", "--labels", "AB"], "cuts is auto and labels is 'AB'"),
    ):
        (line,) = refused("train", *TRAIN, *options, "--run-dir", tmp_path / "run")
        assert line.startswith(said)
    assert not (tmp_path / "run").exists()


def test_a_summary_for_people_compares_prediction_and_measurement(call, tmp_path):
    install()
    code, out, err = call("train", *TRAIN, "--cuts", "auto", "--run-dir", tmp_path / "run")
    assert code == 0, err
    assert "batches: predicted " in out

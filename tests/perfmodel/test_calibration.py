"""Calibrations: kept, found again, named when stale, learnt from runs, and made for real."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import isfinite

import numpy as np
import pytest
from support.calibrations import install, known_costs, made_up, observations

from pilotcut import PilotManager, compile_plan
from pilotcut.errors import UserError
from pilotcut.io.jsonl import JsonLines
from pilotcut.perfmodel import calibrate
from pilotcut.perfmodel.calibration import LEAST_SPREAD, MODEL, key_of, observation, versions
from pilotcut.perfmodel.calibration_files import (
    MOST_LEARNT,
    directory,
    learnt,
    load,
    merged,
    path_of,
    save,
)
from pilotcut.perfmodel.costmodel import predict
from pilotcut.perfmodel.known_pilots import calibration_of, views_of
from pilotcut.perfmodel.load import KINDS
from pilotcut.perfmodel.measure import measure
from pilotcut.perfmodel.resources import machine
from pilotcut.perfmodel.sample_circuits import network
from pilotcut.perfmodel.workload import work_of
from pilotcut.pilots.description import PilotDescription


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def one_line(error) -> str:
    (fault,) = error.value.faults
    assert "\n" not in fault
    return fault


# -- costs -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", KINDS)
def test_costs_predict_what_they_were_made_from(mode):
    """Circuits that were never seen are predicted within 15 % of the known costs."""
    found = made_up().costs(mode)
    for qubits, cuts, rows in ((5, 1, 3), (10, 2, 16), (14, 0, 2)):
        work = work_of(compile_plan(network(qubits), "Z" * qubits, cuts=cuts), mode, rows)
        mine, right = predict(work, found, 1, 100), predict(work, known_costs(mode), 1, 100)
        assert mine.seconds == pytest.approx(right.seconds, rel=0.15)


def test_the_spread_says_how_well_unseen_families_are_predicted():
    """Next to nothing for exact times, more for noisy ones, and never better than the least."""
    still = observations("counts")
    rng = np.random.default_rng(2)

    def shaken(times):
        return tuple(replace(o, seconds=o.seconds * float(np.exp(rng.normal()))) for o in times)

    noisy = replace(still, calls=shaken(still.calls), batches=shaken(still.batches))
    assert still.costs(1).spread == pytest.approx(LEAST_SPREAD)
    assert 0.5 < noisy.costs(1).spread < 3


def test_one_family_alone_says_little():
    """With nothing to leave out the spread is wide."""
    some = observations("exact")
    alone = replace(
        some,
        calls=tuple(o for o in some.calls if o.family == "brickwork"),
        batches=tuple(o for o in some.batches if o.family == "brickwork"),
    )
    assert alone.costs(1).spread == 0.5


# -- files -----------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded():
    made = made_up()
    path = path_of(None)
    save(made, path)
    assert load(path) == made
    assert load(path).costs("exact") == made.costs("exact")
    assert [file.name for file in directory().iterdir()] == ["here.json"], "nothing is left beside"


def test_places_follow_the_environment(monkeypatch, tmp_path):
    """PILOTCUT_CACHE_DIR, else XDG_CACHE_HOME, else the home directory."""
    assert directory() == tmp_path / "cache" / "calibrations"
    monkeypatch.delenv("PILOTCUT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert directory() == tmp_path / "xdg" / "pilotcut" / "calibrations"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert directory() == tmp_path / ".cache" / "pilotcut" / "calibrations"


def test_a_kind_of_pilot_is_what_decides_its_speed():
    """Pilots of one entry share a calibration; threads, devices and queues have their own."""
    one = PilotDescription(name="a-0", resource="local", cores_per_node=2)
    twin = PilotDescription(name="a-1", resource="local", cores_per_node=2, walltime="02:00:00")
    others = [
        PilotDescription(name="a-0", resource="local", cores_per_node=4),
        PilotDescription(name="a-0", resource="local", cores_per_node=2, threads_per_worker=2),
        PilotDescription(name="a-0", resource="slurm", cores_per_node=2),
        PilotDescription(name="a-0", resource="slurm", cores_per_node=2, queue="fast"),
        PilotDescription(
            name="a-0", resource="slurm", cores_per_node=2, gpus_per_node=1,
            backend={"device": "GPU"},
        ),
    ]  # fmt: skip
    assert path_of(one) == path_of(twin)
    assert len({key_of(pilot) for pilot in (one, *others)}) == 6
    assert key_of(None) == "here"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"null", b"{}", b'{"modes": {}}', b'{"modes": []}', "half"],
    ids=repr,
)
def test_a_damaged_file_is_one_line(content):
    """With the file and what to do; it is never taken for a calibration."""
    install()
    path = path_of(None)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    with pytest.raises(UserError) as error:
        load(path)
    assert one_line(error).startswith(f"calibration {path} cannot be read")
    assert "calibrate again" in one_line(error)


def test_a_directory_in_its_place_is_one_line():
    path_of(None).mkdir(parents=True)
    with pytest.raises(UserError) as error:
        calibration_of(None, machine())
    assert "cannot be read" in one_line(error)


def test_amounts_of_another_model_are_not_taken():
    """A file whose calls count fewer things is refused, whatever its model says."""
    install()
    path = path_of(None)
    data = json.loads(path.read_text())
    for one in data["modes"]["counts"]["calls"]:
        one["amounts"].pop()
    path.write_text(json.dumps(data))
    with pytest.raises(UserError):
        load(path)


# -- stale ones ------------------------------------------------------------------------


@pytest.mark.usefixtures("few_sizes")
def test_a_pilot_of_a_group_is_measured_as_any():
    own = PilotDescription(name="p", resource="inprocess", groups=("encode",))
    assert set(measure(own, ["sampled"], {"sampled": 0.1}).modes) == {"sampled"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"machine": "Abacus 1"}, "it was made on Abacus 1, here is "),
        ({"model": MODEL + 1}, f"its model is {MODEL + 1}, here it is {MODEL}"),
        ({"versions": versions() | {"torch": "0.1"}}, "torch was 0.1, here it is "),
        ({"versions": {}}, "numpy was none, here it is "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_stale_calibration_is_named_in_one_line(change, said):
    """With what was, what is, and what to do."""
    save(replace(made_up(), **change), path_of(None))
    with pytest.raises(UserError) as error:
        calibration_of(None, machine())
    assert one_line(error).startswith("calibration of this process is stale: ")
    assert said in one_line(error)
    assert "run pilotcut calibrate again" in one_line(error)


def test_an_executor_without_a_calibration_is_told_how_to_make_one():
    with ThreadPoolExecutor(2) as pool:
        pilots = PilotManager.from_executor(pool)
        with pytest.raises(UserError) as error:
            views_of(pilots, "exact")
    assert one_line(error).startswith("pilot 'executor' has no calibration, expected one at ")
    assert one_line(error).endswith(
        'run an estimator with cuts="auto" on it once, which measures it'
    )


def test_a_missing_calibration_offers_to_make_one():
    pilot = PilotDescription(name="far", resource="slurm")
    with pytest.raises(UserError) as error:
        calibration_of(pilot, "")
    assert one_line(error).startswith("pilot 'far' has no calibration, expected one at ")
    assert "--calibrate" in one_line(error)


def test_the_machine_of_a_slurm_pilot_is_not_asked_for():
    """Nobody knows here what nodes it will get."""
    pilot = PilotDescription(name="far", resource="slurm")
    save(replace(made_up(pilot), machine="node of theirs"), path_of(pilot))
    assert calibration_of(pilot, "").machine == "node of theirs"


def test_a_mode_that_was_not_measured_is_named():
    with pytest.raises(UserError) as error:
        made_up(modes=("exact",)).costs("counts")
    assert "has no mode 'counts', only exact" in one_line(error)
    assert "--mode counts" in one_line(error)


# -- more than one measurement ---------------------------------------------------------


def test_modes_that_are_not_measured_again_are_kept():
    """And those that are, are replaced."""
    install(modes=("counts", "exact"))
    new = merged(path_of(None), made_up(modes=("exact", "sampled"), factor=3.0))
    assert set(new.modes) == {"counts", "exact", "sampled"}
    assert new.modes["exact"] == observations("exact", factor=3.0)
    assert new.modes["counts"] == observations("counts")


@pytest.mark.parametrize("old", ["stale", "damaged", "none"])
def test_nothing_is_kept_of_what_cannot_be_used(old):
    path = path_of(None)
    if old == "stale":
        save(replace(made_up(), versions={}), path)
    elif old == "damaged":
        path.parent.mkdir(parents=True)
        path.write_text("x")
    made = made_up(modes=("exact",))
    assert merged(path, made) == made


@pytest.mark.parametrize("place", ["file", "locked"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(
    monkeypatch, tmp_path, place
):
    if place == "file":
        target = tmp_path / "file"
        target.touch()
    elif os.geteuid() == 0:
        target = "/proc/nothing"  # even root writes nothing there
    else:
        target = tmp_path / "locked"
        target.mkdir(mode=0o500)
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(target))
    monkeypatch.setattr(calibrate, "measure", None)
    with pytest.raises(UserError) as error:
        calibrate.calibrate(None, None, ["exact"])
    assert one_line(error).startswith(f"calibrations cannot be kept in {target}")
    assert "PILOTCUT_CACHE_DIR" in one_line(error)


# -- runs ------------------------------------------------------------------------------


def run_of(path, number: int, factor: float, mode: str = "exact", slots: int = 1):
    """Write the trace of a run whose batches took `factor` times the known costs."""
    path.mkdir()
    work = work_of(compile_plan(network(6), "Z" * 6, cuts=2), mode, 16)
    seconds = factor * predict(work, known_costs(mode), slots).seconds
    seen = observation("", work, 0.0)
    with JsonLines(path / "trace.jsonl") as trace:
        trace.write({"kind": "compile"})
        trace.write({"kind": "query_batch", "mode": mode, "wall_s": 9.9})  # not counted
        for _ in range(number):
            kept = {"calls": seen.calls, "amounts": seen.amounts}
            record = {"kind": "query_batch", "mode": mode, "workers": slots, "wall_s": seconds}
            trace.write(record | {"work": kept})
    return path, work, seconds


def test_predictions_move_towards_a_run_that_was_slower(tmp_path):
    """Batches of a real run pull the costs of batches to what they took."""
    run, work, seconds = run_of(tmp_path / "run", 30, factor=2.5)
    before = made_up()
    after = learnt(before, run)
    errors = [
        abs(np.log(predict(work, made.costs("exact"), 1).seconds / seconds))
        for made in (before, after)
    ]
    assert errors[1] < 0.7 * errors[0]
    assert after.modes["counts"] == before.modes["counts"]


def test_a_run_on_more_slots_is_refused(tmp_path):
    """What four slots took says nothing of one."""
    run, _, _ = run_of(tmp_path / "run", 30, factor=1.0, mode="counts", slots=4)
    with pytest.raises(UserError, match="on 4 slots of the same kind of pilot, expected 1"):
        learnt(made_up(), run)


def test_a_run_adds_a_family_and_not_more_than_it_may(tmp_path):
    """Of many batches some are kept, evenly; what is learnt survives the file."""
    run, _, _ = run_of(tmp_path / "run", 5 * MOST_LEARNT + 3, factor=1.0)
    before = made_up()
    after = learnt(before, run)
    new = after.modes["exact"].batches[len(before.modes["exact"].batches) :]
    assert len(new) == MOST_LEARNT
    assert {one.family for one in new} == {str(run)}
    save(after, path_of(None))
    assert load(path_of(None)) == after


def test_a_run_that_says_nothing_is_one_line(tmp_path):
    """No trace, an empty one, and one without counted work."""
    with pytest.raises(UserError) as error:
        learnt(made_up(), tmp_path)
    assert "has no trace.jsonl" in one_line(error)
    (tmp_path / "trace.jsonl").write_text("")
    with pytest.raises(UserError) as error:
        learnt(made_up(), tmp_path)
    assert "train with --cuts auto" in one_line(error)


# -- for real --------------------------------------------------------------------------


@pytest.mark.usefixtures("few_sizes")
def test_this_process_can_be_measured_in_a_second():
    """A tiny budget still gives costs that predict something, and a file."""
    made = measure(None, ["exact"], {"exact": 1.0})
    assert (made.pilot, made.slots, made.machine) == ("here", 1, machine())
    assert made.differences(machine()) == []
    costs = made.costs("exact")
    assert min(costs.call) >= 0
    work = work_of(compile_plan(network(4), "ZZZZ", cuts=1), "exact", 4)
    found = predict(work, costs, 1, batches=10)
    assert isfinite(found.high_s)
    assert found.seconds > 0
    save(made, path_of(None))
    assert load(path_of(None)) == made

"""Fleet trainings in run directories: resumed to the same bits, or refused."""

import json
import pickle

import numpy as np
import pytest
from support.fleets import ALL, QPUS, On, config, contents, described, stop_at

from pilotcut.errors import PilotError, RunDirectoryError, UserError
from pilotcut.fleet.fleet import jobs_of, load_fleet
from pilotcut.fleet.run import FleetRun
from pilotcut.fleet.submission import here


@pytest.mark.parametrize("name", ALL)
def test_a_run_stopped_after_any_epoch_goes_on_to_the_same_bits(name, quick, tmp_path):
    whole = FleetRun(tmp_path / "whole")
    summary = whole.train(config(name, **quick))
    for epoch in range(4):
        run = FleetRun(tmp_path / str(epoch))
        with pytest.raises(KeyboardInterrupt):
            run.train(config(name, **quick), tell=stop_at(epoch))
        again = run.train(run.resumed({}), resume=True)
        assert contents(run) == contents(whole)
        assert again | {"run_dir": ""} == summary | {"run_dir": ""}


def test_a_kill_between_record_and_checkpoint_or_within_a_line_repeats_the_epoch(quick, tmp_path):
    whole, torn = FleetRun(tmp_path / "whole"), FleetRun(tmp_path / "torn")
    whole.train(config("arbiterq", **quick))
    with pytest.raises(KeyboardInterrupt):
        torn.train(config("arbiterq", **quick), tell=stop_at(1))
    with torn.records.open("a") as records:
        records.write(whole.records.read_text().splitlines(keepends=True)[2] + '{"epoch": 3, "l')
    torn.train(torn.resumed({}), resume=True)
    assert contents(torn) == contents(whole)


def test_a_run_that_lost_its_last_device_goes_on_to_the_same_bits(quick, tmp_path):
    whole, run = FleetRun(tmp_path / "whole"), FleetRun(tmp_path / "run")
    whole.train(config("all-sharing", **quick))
    calls, lost = iter(range(1000)), PilotError("gone")

    def submit(device, fn, *arguments):
        if next(calls) > 15:
            raise lost
        return here(device, fn, *arguments)

    with pytest.raises(UserError, match="no device is left in epoch 2"):
        run.train(config("all-sharing", **quick), On(submit))
    run.train(run.resumed({}), resume=True)
    assert contents(run) == contents(whole)


def test_more_epochs_may_be_added_and_fewer_are_refused(quick, tmp_path):
    whole, run = FleetRun(tmp_path / "whole"), FleetRun(tmp_path / "run")
    whole.train(config("eqc", **quick))
    run.train(config("eqc", **(quick | {"epochs": 2})))
    run.train(run.resumed({"epochs": 3}), resume=True)
    assert contents(run) == contents(whole)
    with pytest.raises(RunDirectoryError, match="has 3 epochs, and epochs is 1, expected 3"):
        run.train(run.resumed({"epochs": 1}), resume=True)


def test_a_run_is_not_resumed_with_other_settings_or_on_other_devices(quick, tmp_path):
    run = FleetRun(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run.train(config("eqc", **quick), tell=stop_at(1))
    with pytest.raises(UserError, match=r"strategy is single and the run in .* has eqc"):
        run.resumed({"strategy": "single"})
    with pytest.raises(UserError, match="epochs is -1"):
        run.resumed({"epochs": -1})
    other = described(tmp_path / "other.yaml")
    other.write_text(other.read_text().replace("name: beta", "name: delta"))
    with pytest.raises(UserError, match="devices are alpha, delta, gamma and were alpha, beta"):
        run.train(run.resumed({"fleet": str(other)}), resume=True)


@pytest.mark.parametrize("damage", [b"", b"junk", b"PK\x03\x04", pickle.dumps({"done": 1})])
def test_a_damaged_checkpoint_is_one_line(damage, quick, tmp_path):
    run = FleetRun(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run.train(config("eqc", **quick), tell=stop_at(1))
    run.checkpoint.write_bytes(damage)
    with pytest.raises(RunDirectoryError, match="is damaged") as told:
        run.train(run.resumed({}), resume=True)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("name", "array", "value"),
    [
        ("eqc", "done", None),
        ("eqc", "strategy.weights", None),
        ("eqc", "strategy.weights", np.zeros((3, 7))),
        ("eqc", "strategy.weights", np.full((3, 8), np.nan)),
        ("eqc", "strategy.online", np.array([0, 3])),
        ("eqc", "clock_s", np.zeros(2)),
        ("eqc", "away", np.array([len, len, len], dtype=object)),
        ("local-steps", "strategy.taken", np.array(["a", "b", "c"])),
        ("all-sharing", "strategy.reporters", np.array([1])),
        ("arbiterq", "strategy.buffers", np.array([[0, 9]])),
    ],
)
def test_a_checkpoint_that_lacks_or_twists_an_array_is_one_line(
    name, array, value, quick, tmp_path
):
    run = FleetRun(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run.train(config(name, **quick), tell=stop_at(1))
    with np.load(run.checkpoint) as kept:
        arrays = dict(kept)
    assert array in arrays
    arrays |= {array: value}
    np.savez(run.checkpoint, **{k: found for k, found in arrays.items() if found is not None})
    with pytest.raises(RunDirectoryError, match="is damaged") as told:
        run.train(run.resumed({}), resume=True)
    assert "\n" not in str(told.value)


def test_records_say_who_was_there_and_what_happened(quick, tmp_path):
    run = FleetRun(tmp_path / "run")
    run.train(config("arbiterq", **quick))
    records = [json.loads(line) for line in run.records.read_text().splitlines()]
    assert [r["epoch"] for r in records] == [0, 1, 2, 3]
    assert records[2]["losses"]["beta"] is None
    assert [e["what"] for r in records for e in r["events"]] == ["left", "came back"]
    assert records[3]["online"] == list(QPUS)


def test_jobs_that_only_show_have_no_engine_yet(tmp_path):
    odd = {name: {"infidelity_1q": 0.00123} for name in QPUS}
    fleet = load_fleet(described(tmp_path / "fleet.yaml", **odd))
    shown = jobs_of(fleet, "crx", 2, "law", runs=False)
    assert not any("engine" in job.prepared.__dict__ for job in shown)
    assert all("engine" in job.prepared.__dict__ for job in jobs_of(fleet, "crx", 2, "law"))

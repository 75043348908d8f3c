"""Calibrations that move: what devices become, who sees it, and what models do about it."""

from dataclasses import replace

import numpy as np
import pytest
from support.fleets import ALL, QPUS, config, contents, described, jobs, train, weights
from support.refreshing import backend

from pilotcut.errors import DescriptionError, UserError
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.drift import Drift, moved
from pilotcut.fleet.fleet import OnPilots, jobs_of, load_fleet
from pilotcut.fleet.run import FleetRun, dataset_of, trainer_of
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.tasks import TaskManager

DRIFTING = {"drift": 1.0, "calibrate_every": 2}
#: The same errors everywhere, so that only calibrations tell devices apart.
SAME = {"infidelity_2q": 0.01, "topology": "line", "qubits": 2}


# -- what devices become ---------------------------------------------------------------


def test_a_device_follows_the_calibrations_of_its_description():
    later = [{"epoch": 3, "infidelity_2q": 0.02}, {"epoch": 5, "t2_us": 50.0}]
    qpu = QpuDescription(**QPUS["alpha"], calibrations=later)
    assert qpu.at(2) is qpu
    assert qpu.at(4) == QpuDescription(**QPUS["alpha"] | {"infidelity_2q": 0.02})
    assert qpu.at(9) == QpuDescription(**QPUS["alpha"] | {"infidelity_2q": 0.02, "t2_us": 50.0})


@pytest.mark.parametrize(
    ("calibrations", "fault"),
    [
        ([{"epoch": 5}, {"epoch": 2}], "in the order of their epochs"),
        ([{"epoch": 0}], "a whole number from 1 up"),
        ([{"epoch": 2, "infidelity_2q": 2.0}], "a number from 0 to 0.75"),
        ([{"epoch": 2, "t2_us": 900.0}], "t2_us in epoch 2 to be at most 2 t1_us"),
        ([{"epoch": 2, "qubits": 3}], "qubits is an unknown key"),
        ([{"t2_us": 50.0}], r"calibrations\[0\].epoch is missing, expected a whole number"),
    ],
)
def test_calibrations_that_cannot_be_are_one_line(tmp_path, calibrations, fault):
    path = described(tmp_path / "fleet.yaml", beta={"calibrations": calibrations})
    with pytest.raises(DescriptionError, match=fault) as caught:
        load_fleet(path)
    assert len(caught.value.faults) == 1


def test_a_drift_moves_each_device_its_own_way_and_the_same_way_each_time():
    drift = Drift(0.5, every=2, seed=3)
    (job, *_) = jobs()
    assert drift.job(job, 0, 1) is job
    assert drift.job(job, 0, 2) == drift.job(job, 0, 3) != job
    assert drift.job(job, 0, 2).qpu != drift.job(job, 1, 2).qpu
    assert drift.job(job, 0, 2) != drift.job(job, 0, 4)
    assert Drift(0.0, every=2).job(job, 0, 4) is job


def test_a_turn_of_one_doubles_the_infidelity_and_half_of_it_is_that_turn():
    qpu = QpuDescription(**QPUS["alpha"])
    found = moved(qpu, np.array([0.0, 1.0]), np.zeros(3))
    assert found.infidelity_2q == pytest.approx(2 * qpu.infidelity_2q)
    assert found.coherent_2q == pytest.approx(0.5)
    back = moved(found, np.array([0.0, -np.sqrt(0.5)]), np.zeros(3))
    assert back.coherent_2q == pytest.approx(0.0, abs=1e-9)


def test_a_device_that_runs_circuits_itself_is_asked_anew():
    qpu = QpuDescription(like="support.refreshing:backend", simulate=False)
    job = Job("real", qpu, "crx", 2, "counts")
    first = job.prepared.vector
    later = Drift(every=5).job(job, 0, 5)
    assert (later.prepared.vector > first).all() or later.prepared.success < job.prepared.success
    assert backend.infidelity == 0.004
    assert Drift().job(job, 0, 5) == job


# -- who sees it -----------------------------------------------------------------------


def test_strategies_see_what_devices_have_become_unless_it_is_ignored(data):
    # beta becomes what gamma is not: groups by behaviour change.
    changed = {"beta": {"calibrations": [{"epoch": 1, "infidelity_2q": 0.05}]}}
    seen = {}
    for upkeep in ("retune", "ignore"):
        trainer, epochs = train("arbiterq", data, of=jobs(**changed), upkeep=upkeep)
        seen[upkeep] = trainer.strategy.facts.success[1]
        events = [(e.epoch, e.device, e.what) for epoch in epochs for e in epoch.events]
        assert events == ([(1, "beta", "was calibrated")] if upkeep == "retune" else [])
    assert seen["retune"] < seen["ignore"]


def test_a_device_that_has_moved_goes_on_from_the_model_of_the_one_that_it_is_like_now():
    turning = {"infidelity_1q": 0.05, "infidelity_2q": 0.2, "coherent_1q": 1.0, "coherent_2q": 1.0}
    changed = {
        "alpha": SAME | turning,
        "beta": SAME | {"calibrations": [{"epoch": 11, **turning}]},
        "gamma": SAME,
    }
    settings = {"epochs": 10, "service": 1, "shots": 0, "learning_rate": 2.0}
    data = dataset_of(config("single"))
    _, epochs = train("single", data, of=jobs(**changed), **settings)
    ((epoch, device, why),) = [(e.epoch, e.device, e.why) for e in epochs[-1].events[1:]]
    assert (epoch, device, why) == (11, "beta", "from the model of 'alpha'")
    alpha, beta, _ = epochs[-1].train_losses
    assert beta == pytest.approx(alpha, abs=0.01)


@pytest.mark.parametrize("name", ALL)
def test_in_service_nothing_moves_a_model_but_a_calibration(name, data):
    still, epochs = train(name, data, service=2)
    assert epochs[-1].circuits == epochs[2].circuits
    moving, after = train(name, data, service=2, local_steps=1, **DRIFTING)
    assert after[-1].circuits > after[2].circuits
    assert (weights(moving.strategy) != weights(still.strategy)).any()


def test_retuning_loses_at_most_half_of_the_accuracy_that_ignoring_loses():
    about = {"dataset": "wine", "epochs": 8, "service": 8, "shots": 0, "batch_size": 52}
    about |= {"learning_rate": 4.0, "retune_batches": 4}
    qpus = [QpuDescription(**q | {"qubits": 4, "infidelity_2q": 0.02}) for q in QPUS.values()]
    fleet = [Job(f"q{k}", qpu, "crx", 4) for k, qpu in enumerate(qpus)]
    found = {}
    for name, more in {
        "still": {},
        "ignore": {"drift": 1.0, "calibrate_every": 2, "upkeep": "ignore"},
        "retune": {"drift": 1.0, "calibrate_every": 2},
    }.items():
        settings = config("arbiterq", **about, **more)
        epochs = list(trainer_of(settings, fleet, dataset_of(settings)).run())
        found[name] = np.mean([epoch.accuracy for epoch in epochs[-8:]])
    lost = {name: found["still"] - found[name] for name in ("ignore", "retune")}
    assert lost["ignore"] > 0.02
    assert lost["retune"] <= lost["ignore"] / 2, found


# -- runs ------------------------------------------------------------------------------


def test_a_drifting_run_that_is_continued_is_the_run_that_was_not_interrupted(tmp_path, quick):
    whole, run = FleetRun(tmp_path / "whole"), FleetRun(tmp_path / "run")
    given = quick | DRIFTING
    whole.train(config("arbiterq", **given, service=2))
    run.train(config("arbiterq", **given))
    run.train(run.resumed({"service": 2}), resume=True)
    assert contents(run) == contents(whole)


def test_a_run_s_devices_at_its_end_are_known_by_their_names(tmp_path, quick):
    run = FleetRun(tmp_path / "run")
    settings = config("single", **quick | DRIFTING)
    run.train(settings)
    of = jobs_of(load_fleet(settings.fleet), settings.model, settings.qubits, settings.engine)
    last = [Drift(1.0, 2, settings.seed).job(job, k, settings.last) for k, job in enumerate(of)]
    assert run.jobs_at_end(of[1:], settings) == last[1:]
    with np.load(run.weights_file) as kept:
        np.testing.assert_array_equal(kept["vectors"], [job.prepared.vector for job in last])


def test_drifting_devices_are_the_same_on_pilots(tmp_path, data):
    fleet = load_fleet(described(tmp_path / "fleet.yaml"))
    settings = config("arbiterq", service=2, **DRIFTING)
    of = jobs_of(fleet, settings.model, settings.qubits, settings.engine)
    with PilotManager(fleet) as pilots, TaskManager(pilots) as tasks:
        there = trainer_of(settings, of, data, OnPilots(tasks))
        last = list(there.run())[-1]
    here = list(trainer_of(settings, of, data).run())[-1]
    np.testing.assert_array_equal(last.losses, here.losses)


def test_a_drift_without_calibrations_is_refused():
    with pytest.raises(UserError, match=r"calibrate_every is 0 with drift 0\.5"):
        config("single", drift=0.5)
    with pytest.raises(UserError, match="upkeep is 'mend', expected"):
        config("single", upkeep="mend")


def test_layers_repeat_the_ansatz_with_weights_of_their_own():
    (job, *_) = jobs()
    assert len(replace(job, layers=3).prepared.model.weights) == 24

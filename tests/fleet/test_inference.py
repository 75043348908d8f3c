"""Inference on a fleet: schedules run on devices, and shots of who fails are run by others."""

import numpy as np
import pytest

from pilotcut.errors import PilotError, UserError
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.inference_run import TrainedFleet
from pilotcut.fleet.submission import here
from pilotcut.pilots.description.qpu import QpuDescription

NUMBERS = {"infidelity_1q": 0.001, "infidelity_2q": 0.01, "t1_us": 100.0, "t2_us": 80.0}
NAMES = ("alpha", "beta", "gamma")
SAMPLES = np.random.default_rng(1).uniform(0, np.pi, (10, 2))
WEIGHTS = np.random.default_rng(2).uniform(0, 2 * np.pi, (3, 8))


@pytest.fixture(scope="module")
def jobs():
    slow = [50.0, 20.0, 100.0]
    qpus = [QpuDescription(qubits=2, reset_us=reset, **NUMBERS) for reset in slow]
    return [Job(name, qpu, "crx", 2) for name, qpu in zip(NAMES, qpus, strict=True)]


def failing(*devices, error=None):
    """Return a submit, and the shots that each device was asked for, by which devices fail."""
    asked = {name: [] for name in NAMES}

    def submit(device, fn, job, weights, samples, shots, seed):
        asked[device].append(int(shots.sum()))
        if device in devices:
            raise error or PilotError("its pilot is failed: killed\nmore")
        return here(device, fn, job, weights, samples, shots, seed)

    return submit, asked


def exact(job, weights):
    return job.prepared.engine.values(weights, SAMPLES, 0, 0)


@pytest.mark.parametrize("way", ["batch_based", "shot_oriented"])
def test_the_same_seed_gives_the_same_values_and_another_one_others(jobs, way):
    def values(seed):
        return getattr(TrainedFleet(jobs, WEIGHTS), way)(SAMPLES, 64, seed).values

    np.testing.assert_array_equal(values(3), values(3))
    assert (values(3) != values(4)).any()


def test_batches_are_the_values_of_each_device_in_turn(jobs):
    found = TrainedFleet(jobs, WEIGHTS).batch_based(SAMPLES, 10**7, seed=1)
    parts = np.array_split(np.arange(10), 3)
    for job, weights, part in zip(jobs, WEIGHTS, parts, strict=True):
        np.testing.assert_allclose(found.values[part], exact(job, weights)[part], atol=2e-3)
    rows = zip(jobs, parts, strict=True)
    busy_s = [len(part) * 10**7 * job.prepared.shot_s for job, part in rows]
    assert found.makespan_s == pytest.approx(max(busy_s))


def test_shots_of_a_torus_are_pooled_by_their_number(jobs):
    found = TrainedFleet(jobs, WEIGHTS).shot_oriented(SAMPLES, 10**7, seed=1)
    every = np.stack([exact(job, weights) for job, weights in zip(jobs, WEIGHTS, strict=True)])
    shares = found.schedule.shots / found.schedule.shots_of_task[:, None]
    np.testing.assert_allclose(found.values, (shares * every.T).sum(axis=1), atol=2e-3)
    assert found.schedule.shots_of_task.tolist() == [10**7] * 10


def test_the_same_time_is_what_is_given_and_no_more(jobs):
    fleet = TrainedFleet(jobs, WEIGHTS)
    batch = fleet.batch_based(SAMPLES, 1000, seed=1)
    found = fleet.shot_oriented(SAMPLES, 1000, seed=1, makespan_s=batch.makespan_s)
    assert 0.95 * batch.makespan_s < found.makespan_s <= batch.makespan_s * (1 + 1e-12)


@pytest.mark.parametrize("way", ["batch_based", "shot_oriented"])
def test_shots_of_a_device_that_fails_are_run_by_the_others_and_it_is_named(jobs, way):
    submit, asked = failing("beta")
    fleet = TrainedFleet(jobs, WEIGHTS, submit)
    found = getattr(fleet, way)(SAMPLES, 100, seed=1)
    assert fleet.lost == {"beta": "its pilot is failed: killed"}
    assert len(asked["beta"]) == 1, "who has failed is not asked again"
    assert sum(asked["alpha"]) + sum(asked["gamma"]) == 10 * 100
    assert (np.abs(found.values) <= 1).all()
    untouched = TrainedFleet(jobs, WEIGHTS).batch_based(SAMPLES, 100, seed=1)
    if way == "batch_based":
        kept = untouched.schedule.shots[:, 1] == 0
        np.testing.assert_array_equal(found.values[kept], untouched.values[kept])
    assert found.makespan_s > 0


def test_a_device_that_fails_among_others_leaves_its_part_of_each_sample_to_them(jobs):
    weights = np.tile(WEIGHTS[0], (3, 1))
    fleet = TrainedFleet(jobs, weights)
    whole = fleet.shot_oriented(SAMPLES, 10**6, seed=1)
    calls = []

    def submit(device, *arguments):
        calls.append(device)
        if calls.count("alpha") == 2 and device == "alpha":  # not in the warm-up
            raise PilotError("gone")
        return here(device, *arguments)

    found = TrainedFleet(jobs, weights, submit).shot_oriented(SAMPLES, 10**6, seed=1)
    assert calls.count("alpha") == 2
    np.testing.assert_allclose(found.values, whole.values, atol=0.02)
    assert found.makespan_s > whole.makespan_s


def test_garbage_is_not_pooled(jobs, monkeypatch):
    class Broken:
        def values(self, weights, samples, shots, seed):
            return np.full(len(samples), np.nan)

    monkeypatch.setitem(jobs[2].prepared.__dict__, "engine", Broken())
    fleet = TrainedFleet(jobs, WEIGHTS)
    found = fleet.batch_based(SAMPLES, 100, seed=1)
    assert fleet.lost == {"gamma": "its expectations are not between -1 and 1"}
    assert np.isfinite(found.values).all()


def test_when_all_have_failed_one_line_names_them_and_why(jobs):
    submit, _ = failing(*NAMES, error=RuntimeError("closed"))
    with pytest.raises(UserError, match="'gamma': RuntimeError: closed") as told:
        TrainedFleet(jobs, WEIGHTS, submit).batch_based(SAMPLES, 100, seed=1)
    assert "no device is left" in str(told.value)
    assert "\n" not in str(told.value)


def test_who_is_away_is_asked_for_nothing(jobs):
    submit, asked = failing()
    TrainedFleet(jobs, WEIGHTS, submit, [True, False, True]).shot_oriented(SAMPLES, 50, seed=1)
    assert asked["beta"] == []
    with pytest.raises(UserError, match="online: none of 3 devices is"):
        TrainedFleet(jobs, WEIGHTS, submit, [False] * 3).batch_based(SAMPLES, 50, seed=1)


def test_shots_that_the_warm_up_would_use_up_are_refused(jobs):
    with pytest.raises(UserError, match="shots is 1, of which the warm-up takes 1"):
        TrainedFleet(jobs, WEIGHTS).shot_oriented(SAMPLES, 1, seed=1)

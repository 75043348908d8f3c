"""Training on a fleet: strategies by hand, and trainings that lose devices and no progress."""

import random
import time
from dataclasses import replace

import numpy as np
import pytest
from support.fleets import ALL, QPUS, On, bits, described, jobs, train, weights

from pilotcut.errors import UserError
from pilotcut.fleet import device_jobs
from pilotcut.fleet.fleet import OnPilots, load_fleet
from pilotcut.fleet.submission import here
from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager

# -- similarity ------------------------------------------------------------------------


# -- strategies by hand ----------------------------------------------------------------


# -- trainings -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_with_one_device_every_strategy_is_plain_gradient_descent(name, data):
    one = jobs()[:1]
    trainer, _ = train(name, data, of=one, shots=0, epochs=2)
    w = np.random.default_rng(7).uniform(0, 2 * np.pi, 8)
    for epoch in (1, 2):
        rows = np.random.default_rng([7, epoch, 0]).permutation(24)
        for batch in np.array_split(rows, 3):
            w -= (
                0.5
                * device_jobs.gradient(
                    one[0], w, data.x_train[batch], data.y_train[batch], 0, 0
                ).gradient
            )
    np.testing.assert_array_equal(trainer.strategy.weights_of(0), w)


@pytest.mark.parametrize("name", ALL)
def test_training_lowers_the_loss_of_every_device(name, data):
    _, epochs = train(name, data, epochs=6)
    assert (epochs[-1].train_losses < epochs[0].train_losses - 0.02).all()
    assert [e.epoch for e in epochs] == list(range(7))


def test_all_strategies_run_the_same_circuits(data):
    def calls(name):
        seen = []

        def submit(device, fn, job, weights, samples, *rest):
            if fn is device_jobs.gradient:
                seen.append((device, samples.tobytes(), *map(repr, rest)))
            return here(device, fn, job, weights, samples, *rest)

        _, epochs = train(name, data, On(submit))
        return sorted(seen), epochs[-1].circuits

    expected = calls("single")
    # A gradient: 8 weights of 4 single and 4 controlled rotations, with 2 and 4 shifts each.
    assert expected[1] == 3 * 2 * 24 * (1 + 4 * 2 + 4 * 4)
    assert all(calls(name) == expected for name in ALL)


@pytest.mark.parametrize("name", ALL)
def test_dealt_samples_are_gone_through_once_an_epoch_by_the_fleet(name, data):
    rows = []

    def submit(device, fn, job, weights, samples, *rest):
        if fn is device_jobs.gradient:
            rows.extend(map(bytes, samples))
        return here(device, fn, job, weights, samples, *rest)

    _, epochs = train(name, data, On(submit), dealt=True, epochs=1, local_steps=1)
    assert sorted(rows) == sorted(map(bytes, data.x_train))
    assert (epochs[-1].train_losses != epochs[0].train_losses).all(), "all devices have moved"


def test_dealing_fewer_samples_than_devices_is_refused(data):
    few = replace(data, x_train=data.x_train[:2], y_train=data.y_train[:2])
    with pytest.raises(UserError, match="2 samples for 3 devices"):
        train("eqc", few, dealt=True)


def test_a_slow_device_delays_all_that_wait_for_it_and_nobody_else(data):
    step_s = {job.device: 8 * 25 * 64 * job.prepared.shot_s for job in jobs()}
    ready = {name: train(name, data, epochs=1)[1][-1].clocks_s for name in ALL}
    alone = [3 * step_s[name] for name in QPUS]
    for name in ("single", "eqc", "arbiterq"):
        np.testing.assert_allclose(ready[name], alone)
    np.testing.assert_allclose(ready["all-sharing"], alone[2])
    # An average after two steps; then a step alone.
    np.testing.assert_allclose(
        ready["local-steps"],
        [2 * step_s["gamma"] + step_s[name] for name in QPUS],
    )


# -- the same bits wherever it runs ----------------------------------------------------


def jittered(submit):
    rng = random.Random(3)

    def late(*arguments):
        time.sleep(rng.random() * 0.004)
        return submit(*arguments)

    return late


def test_the_numbers_are_the_same_here_and_on_threads_whatever_the_timing(tmp_path, data):
    fleet = load_fleet(described(tmp_path / "fleet.yaml"))
    with PilotManager(fleet) as pilots, TaskManager(pilots) as tasks:
        on = OnPilots(tasks)
        on.submit = jittered(on.submit)
        for name in ALL:
            assert bits(*train(name, data, on)) == bits(*train(name, data)), name


def test_circuits_with_counts_train_too(data):
    few = replace(data, x_train=data.x_train[:4], y_train=data.y_train[:4], x_test=data.x_test[:4])
    few = replace(few, y_test=few.y_test[:4])
    trainer, epochs = train("arbiterq", few, of=jobs("counts"), engine="counts", epochs=1, shots=16)
    assert np.isfinite(weights(trainer.strategy)).all()
    assert (np.abs(epochs[-1].losses - 0.5) <= 0.5).all()
    assert bits(trainer, epochs) == bits(
        *train("arbiterq", few, of=jobs("counts"), engine="counts", epochs=1, shots=16)
    )


# -- devices that go -------------------------------------------------------------------


# -- runs in directories ---------------------------------------------------------------

"""Training on a fleet: strategies by hand, and trainings that lose devices and no progress."""

import json
import os
import pickle
import random
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotcut.errors import PilotError, RunDirectoryError, UserError
from pilotcut.fleet import device_jobs
from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.fleet import OnPilots, jobs_of, load_fleet
from pilotcut.fleet.run import FleetRun, dataset_of, trainer_of
from pilotcut.fleet.strategies import STRATEGIES, FleetFacts, Settings, groups, similarity, strategy
from pilotcut.fleet.submission import here
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.tasks import TaskManager

ALL = tuple(STRATEGIES)
ALIKE = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]])
G = np.eye(3)  # a gradient for each device


def make(name, alike=ALIKE, success=(0.9, 0.8, 0.7), start=(0.0, 0.0, 0.0), **fields):
    facts = FleetFacts(np.asarray(alike), np.asarray(success))
    fields = {"lr": 1.0, "threshold": 0.1} | fields
    return strategy(name, np.asarray(start), facts, Settings(**fields))


def weights(strategy):
    return np.stack([strategy.weights_of(k) for k in range(strategy.facts.devices)])


# -- similarity ------------------------------------------------------------------------


def test_similarity_falls_with_the_distance_by_the_length_of_the_vectors():
    vectors = np.array([[0.0, 0.0, 0.0, 0.0], [3e-4, 0.0, 4e-4, 0.0]])
    expected = np.exp(-20000 * 5e-4 / 4)
    np.testing.assert_allclose(similarity(vectors, 20000), [[1, expected], [expected, 1]])
    assert (similarity(vectors, 0.0) == 1.0).all()


def test_groups_are_the_chains_of_similarity_whatever_the_order():
    chain = np.eye(4)
    for i, j in ((0, 2), (2, 3)):
        chain[i, j] = chain[j, i] = 0.6
    assert groups(chain, 0.5) == ((0, 2, 3), (1,))
    assert groups(chain, 0.7) == ((0,), (1,), (2,), (3,))
    assert groups(chain, 0.0) == ((0, 1, 2, 3),)


# -- strategies by hand ----------------------------------------------------------------


def test_single_moves_only_the_device_itself():
    s = make("single")
    assert tuple(s.received(1, G[1])) == (1,)
    np.testing.assert_array_equal(weights(s), [[0, 0, 0], [0, -1, 0], [0, 0, 0]])
    s.left(2)
    s.joined(2)
    assert s.online == {0, 1, 2}
    np.testing.assert_array_equal(s.weights_of(2), 0)


def test_all_sharing_waits_for_all_and_moves_all_by_the_mean():
    s = make("all-sharing", lr=3.0)
    assert not s.received(2, G[2])
    assert not s.received(0, G[0])
    np.testing.assert_array_equal(weights(s), 0)
    assert tuple(s.received(1, G[1])) == (0, 1, 2)
    np.testing.assert_allclose(weights(s), -1)


def test_all_sharing_goes_on_without_who_leaves_and_counts_what_it_has_reported():
    s = make("all-sharing", lr=2.0)
    s.received(0, G[0])
    s.received(1, G[1])
    assert tuple(s.left(2)) == (0, 1)
    np.testing.assert_allclose(weights(s), [[-1, -1, 0]] * 3)
    s.joined(2)
    s.received(2, G[2])
    assert not s.left(2)
    s.received(0, G[0])
    assert tuple(s.received(1, G[1])) == (0, 1)
    np.testing.assert_allclose(weights(s), [[-5 / 3, -5 / 3, -2 / 3]] * 3)


def test_all_sharing_keeps_both_gradients_of_a_device_that_came_back_in_between():
    s = make("all-sharing", lr=3.0)
    s.received(0, G[0])
    assert not s.left(0)
    s.joined(0)
    s.received(1, G[1])
    assert not s.received(2, G[2]), "device 0 is under way again"
    assert tuple(s.received(0, 2 * G[0])) == (0, 1, 2)
    np.testing.assert_allclose(weights(s), [[-9 / 4, -3 / 4, -3 / 4]] * 3)


def test_eqc_moves_the_one_model_at_once_by_the_success_of_the_device():
    s = make("eqc", success=(0.9, 0.8, 0.7))
    np.testing.assert_allclose(s.trust, [1.5, 1.0, 0.5])
    before = s.weights_of(2)
    assert tuple(s.received(0, G[0])) == (0,)
    np.testing.assert_allclose(weights(s), [[-1.5, 0, 0]] * 3)
    np.testing.assert_array_equal(before, 0)  # the weights that device 2 works with are older
    s.received(2, G[2])
    np.testing.assert_allclose(weights(s), [[-1.5, 0, -0.5]] * 3)
    s.left(1)
    s.received(0, G[0])
    s.joined(1)
    np.testing.assert_allclose(s.weights_of(1), [-3, 0, -0.5])


def test_eqc_trusts_devices_of_the_same_success_alike():
    np.testing.assert_array_equal(make("eqc", success=(0.8, 0.8, 0.8)).trust, 1.0)


def test_local_steps_averages_all_weights_after_so_many_steps():
    s = make("local-steps", lr=1.0, local_steps=2)
    for k in (0, 1, 2):
        assert tuple(s.received(k, G[k])) == (k,)
    np.testing.assert_array_equal(weights(s), -G)
    assert not s.received(1, G[1])
    assert not s.received(0, G[0])
    assert tuple(s.received(2, G[2])) == (0, 1, 2)
    np.testing.assert_allclose(weights(s), -2 / 3)


def test_local_steps_gives_the_average_to_who_is_away_and_has_it_back_in_step():
    s = make("local-steps", lr=1.0, local_steps=2)
    s.received(2, 100 * G[2])  # not shared before it leaves
    s.left(2)
    for k in (0, 1):
        s.received(k, G[k])
    s.received(0, G[0])
    assert tuple(s.received(1, G[1])) == (0, 1)
    np.testing.assert_allclose(weights(s), [[-1, -1, 0]] * 3)
    s.received(0, 0 * G[0])
    s.received(0, 0 * G[0])  # waits
    s.received(1, 0 * G[1])
    s.joined(2)
    assert not s.received(2, 0 * G[2]), "one step, since the others have gone as far"
    assert tuple(s.received(1, 0 * G[1])) == (0, 1, 2)


def test_arbiterq_weights_neighbours_by_similarity_and_uses_each_gradient_once():
    s = make("arbiterq")
    assert s.groups == ((0, 1), (2,))
    s.received(0, G[0])
    np.testing.assert_allclose(weights(s), [[-1, 0, 0], [0, 0, 0], [0, 0, 0]])
    s.received(1, G[1])  # with what 0 has sent
    np.testing.assert_allclose(s.weights_of(1), [-0.5 / 1.5, -1 / 1.5, 0])
    s.received(1, G[1])  # which is used up
    np.testing.assert_allclose(s.weights_of(1), [-0.5 / 1.5, -1 / 1.5 - 1, 0])
    s.received(2, G[2])
    np.testing.assert_allclose(s.weights_of(2), [0, 0, -1])
    np.testing.assert_allclose(s.weights_of(0), [-1, 0, 0])


def test_arbiterq_sums_without_dividing():
    s = make("arbiterq", combine="sum")
    s.received(0, G[0])
    s.received(1, G[1])
    np.testing.assert_allclose(s.weights_of(1), [-0.5, -1, 0])


def test_arbiterq_keeps_every_gradient_for_a_slow_neighbour():
    s = make("arbiterq")
    for factor in (1, 2, 3):
        s.received(0, factor * G[0])
    s.received(1, G[1])
    np.testing.assert_allclose(s.weights_of(1), [-2 * 0.5 / 1.5, -1 / 1.5, 0])


def test_arbiterq_moves_who_is_away_once_for_each_round_of_its_neighbours():
    alike = [[1, 0.5, 0.75], [0.5, 1, 0.5], [0.75, 0.5, 1]]
    s = make("arbiterq", alike=alike)
    s.left(0)
    s.received(1, G[1])
    s.received(2, G[2])
    np.testing.assert_array_equal(s.weights_of(0), 0)
    s.received(1, G[1])  # the next round: the first one is complete
    np.testing.assert_allclose(s.weights_of(0), [0, -0.5 / 1.25, -0.75 / 1.25])
    s.joined(0)  # with what is left, of a neighbour that is not wholly like it
    np.testing.assert_allclose(s.weights_of(0), [0, -0.5 / 1.25 - 0.5, -0.75 / 1.25])
    s.received(0, G[0])
    assert s.weights_of(0)[0] == -1


def test_arbiterq_stays_finite_where_a_chain_joins_devices_that_have_nothing_in_common():
    s = make("arbiterq", alike=np.eye(3), threshold=0.0)
    s.left(0)
    for _ in range(3):
        s.received(1, G[1])
    s.joined(0)
    np.testing.assert_array_equal(s.weights_of(0), 0)


def test_arbiterq_of_identical_devices_is_all_sharing_where_all_gradients_are_alike():
    one, all_sharing = make("arbiterq", alike=np.ones((3, 3))), make("all-sharing")
    gradient = np.array([0.5, -0.25, 1.0])
    for _ in range(5):
        for k in (2, 0, 1):
            one.received(k, gradient)
            all_sharing.received(k, gradient)
    np.testing.assert_allclose(weights(one), weights(all_sharing), atol=1e-15)
    np.testing.assert_allclose(weights(one), -5 * np.stack([gradient] * 3))


def test_an_unknown_strategy_is_one_line_with_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'arbiterq'"):
        make("arbiter")


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(ALL),
    moves=st.lists(st.tuples(st.sampled_from("aaaalj"), st.integers(0, 2)), max_size=60),
    local_steps=st.integers(1, 4),
    combine=st.sampled_from(["mean", "sum"]),
)
def test_whatever_arrives_leaves_or_joins_nobody_is_forgotten(name, moves, local_steps, combine):
    s = make(name, lr=0.1, local_steps=local_steps, combine=combine)
    busy = {0, 1, 2}  # computing a gradient; the others that are online wait to be released

    def release(devices):
        assert not busy & {*devices}, "nobody is asked twice"
        assert {*devices} <= s.online
        busy.update(devices)

    def arrive(k):
        busy.remove(k)
        release(s.received(k, G[k]))

    for move, k in moves:
        if move == "a" and k in busy:
            arrive(k)
        elif move == "l" and k in s.online:
            busy.discard(k)
            release(s.left(k))
        elif move == "j" and k not in s.online:
            s.joined(k)
            release([k])
    released = dict.fromkeys(s.online, 0)
    for _ in range(20):
        assert busy or not s.online, "all wait for each other"
        for k in sorted(busy):
            arrive(k)
            released[k] += 1
    assert all(turns >= 3 for turns in released.values())
    assert np.isfinite(weights(s)).all()


# -- trainings -------------------------------------------------------------------------

NUMBERS = {"infidelity_1q": 0.001, "infidelity_2q": 0.01, "t1_us": 100.0, "t2_us": 80.0}
QPUS = {
    "alpha": {"qubits": 2, **NUMBERS},
    "beta": {"qubits": 3, **NUMBERS, "infidelity_2q": 0.0101},
    "gamma": {"qubits": 3, "topology": "star", **NUMBERS, "reset_us": 500.0},
}


def jobs(engine="law", **changes):
    """Return jobs of three devices; changes are fields of devices by name."""
    qpus = {name: QpuDescription(**(qpu | changes.get(name, {}))) for name, qpu in QPUS.items()}
    return [Job(name, qpu, "crx", 2, engine) for name, qpu in qpus.items()]


def config(strategy, **fields):
    quick = {"epochs": 2, "batch_size": 8, "shots": 64, "kappa": 2000.0, "local_steps": 2}
    return FleetConfig.of({"dataset": "iris", "fleet": "", "strategy": strategy} | quick | fields)


@pytest.fixture(scope="module")
def data():
    some = dataset_of(config("single"))
    return replace(some, x_train=some.x_train[:24], y_train=some.y_train[:24])


class On:
    """Work here, except where a test says otherwise."""

    def __init__(self, instead=here, absent=()):
        self.submit, self.absent = instead, absent

    def present(self):
        return set(QPUS) - set(self.absent)


def train(strategy, data, on=None, of=None, **fields):
    """Return the trainer and its epochs."""
    trainer = trainer_of(config(strategy, **fields), of or jobs(), data, on)
    return trainer, list(trainer.run())


def failing(device, error, calls):
    """Return a submit by which some calls to a device, numbered from 0, raise."""
    count = iter(range(10**6))

    def submit(name, fn, *arguments):
        if name == device and fn is device_jobs.gradient and next(count) in calls:
            raise error
        return here(name, fn, *arguments)

    return submit


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


def described(path, *, local=(), **changes):
    """Write the description of the fleet; some devices are processes, and replaced if they end."""
    pilots = [
        {
            "name": name,
            "resource": "local" if name in local else "inprocess",
            "replace": name in local,
            "walltime": "01:00:00",
            "backend": {"kind": "aer", "qpu": qpu | changes.get(name, {})},
        }
        for name, qpu in QPUS.items()
    ]
    path.write_text(yaml.safe_dump({"pilots": pilots}))
    return path


def bits(trainer, epochs):
    numbers = [np.stack([e.losses, e.accuracies, e.train_losses, e.clocks_s]) for e in epochs]
    return weights(trainer.strategy).tobytes(), np.stack(numbers).tobytes()


def test_the_numbers_are_the_same_here_and_on_threads_whatever_the_timing(tmp_path, data):
    fleet = load_fleet(described(tmp_path / "fleet.yaml"))
    with PilotManager(fleet) as pilots, TaskManager(pilots) as tasks:
        on = OnPilots(tasks)
        on.submit = jittered(on.submit)
        for name in ALL:
            assert bits(*train(name, data, on)) == bits(*train(name, data)), name


def test_on_processes_of_their_own_too_and_one_that_is_killed_is_back_once_it_is_replaced(
    tmp_path, data
):
    described(tmp_path / "fleet.yaml", local=("alpha", "beta"))
    with PilotManager(load_fleet(tmp_path / "fleet.yaml")) as pilots, TaskManager(pilots) as tasks:
        on = OnPilots(tasks)
        for name in ("all-sharing", "arbiterq"):
            assert bits(*train(name, data, on)) == bits(*train(name, data)), name
        submit, count = on.submit, iter(range(100))

        def kill_beta(device, *arguments):
            result = submit(device, *arguments)
            if device == "beta" and next(count) == 2:  # after an evaluation and a gradient
                os.kill(on.pilots["beta"]._agent.process.pid, signal.SIGKILL)
            return result

        on.submit = kill_beta
        epochs = trainer_of(config("all-sharing"), jobs(), data, on).run()
        next(epochs)
        without = next(epochs)
        limit = time.monotonic() + 40
        while "beta" not in on.present() and time.monotonic() < limit:
            time.sleep(0.1)
        back = next(epochs)
    (event,) = without.events
    assert (event.device, event.what, event.epoch) == ("beta", "left", 1)
    assert without.online == ("alpha", "gamma")
    assert np.isnan(without.losses[1])
    assert [(e.device, e.what) for e in back.events] == [("beta", "came back")]
    assert back.losses[0] < without.losses[0]
    assert np.isfinite(back.losses).all()


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


@pytest.mark.parametrize("name", ALL)
def test_a_device_that_was_offline_has_what_was_shared_when_it_is_back(name, data):
    away = jobs(beta={"offline": ((1, 3),)})
    trainer, epochs = train(name, data, of=away, epochs=2)
    assert [e.online for e in epochs] == [tuple(QPUS), ("alpha", "gamma"), ("alpha", "gamma")]
    assert [(e.device, e.what, e.why) for e in epochs[1].events] == [
        ("beta", "left", "it is offline by its schedule")
    ]
    start = np.random.default_rng(7).uniform(0, 2 * np.pi, 8)
    trainer.strategy.joined(1)
    mine, *others = (trainer.strategy.weights_of(k) for k in (1, 0, 2))
    if name == "single":
        np.testing.assert_array_equal(mine, start)
    elif name == "arbiterq":
        assert trainer.strategy.groups == ((0, 1, 2),)
        assert np.linalg.norm(mine - start) > 0.3 * np.linalg.norm(others[0] - start)
    elif name != "local-steps":  # in which the others have taken steps alone since
        np.testing.assert_array_equal(others, [mine, mine])
    else:
        assert np.linalg.norm(mine - start) > 0.1


def test_a_device_comes_back_by_its_schedule_and_is_told_of(data):
    _, epochs = train("all-sharing", data, of=jobs(beta={"offline": ((1, 2),)}), epochs=2)
    assert [(e.device, e.what) for e in epochs[2].events] == [("beta", "came back")]
    assert epochs[2].online == tuple(QPUS)
    assert np.isnan([epochs[1].losses[1], epochs[1].accuracies[1], epochs[1].train_losses[1]]).all()
    assert np.isfinite(epochs[2].losses).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("call", [0, 1])
def test_a_device_lost_in_the_middle_is_named_and_back_in_the_next_epoch(name, call, data):
    lost = PilotError("task 'beta.gradient': no pilot is left\nand a traceback")
    _, epochs = train(name, data, On(failing("beta", lost, {call})))
    (event,) = epochs[1].events
    assert (event.device, event.what) == ("beta", "left")
    assert event.why == "task 'beta.gradient': no pilot is left"
    assert epochs[1].online == ("alpha", "gamma")
    assert [(e.device, e.what) for e in epochs[2].events] == [("beta", "came back")]
    assert (epochs[2].train_losses < epochs[0].train_losses)[[0, 2]].all()


def test_an_error_of_the_device_itself_is_told_in_one_line(data):
    error = RuntimeError("the queue is closed\n  more")
    _, epochs = train("eqc", data, On(failing("beta", error, {0})), epochs=1)
    assert epochs[1].events[0].why == "RuntimeError: the queue is closed"


class Garbage:
    """An engine gone wrong."""

    def __init__(self, engine, spoil):
        self._engine, self._spoil = engine, spoil

    def shifted(self, *arguments):
        return self._spoil(self._engine.shifted(*arguments))

    def values(self, *arguments):
        return self._engine.values(*arguments)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda found: found * np.nan, "its expectations are not between -1 and 1"),
        (lambda found: found + 1.5, "its expectations are not between -1 and 1"),
        (  # of a shifted circuit alone
            lambda found: np.concatenate([found[:-1], found[-1:] + 2.5]),
            "its expectations are not between -1 and 1",
        ),
        (lambda found: found[:, :1], "its expectations have shape (25, 1), expected (25, 8)"),
        (lambda found: found[1:], "its expectations have shape (24, 8), expected (25, 8)"),
    ],
)
@pytest.mark.parametrize("name", ["all-sharing", "arbiterq"])
def test_a_device_that_returns_garbage_is_fenced_off_for_good(name, spoil, why, data, monkeypatch):
    prepared = jobs()[1].prepared
    monkeypatch.setitem(prepared.__dict__, "engine", Garbage(prepared.engine, spoil))
    trainer, epochs = train(name, data)
    assert [(e.device, e.what, e.why) for e in epochs[1].events] == [
        ("beta", "was fenced off", why)
    ]
    assert not epochs[2].events
    assert epochs[2].online == ("alpha", "gamma")
    assert np.isfinite(weights(trainer.strategy)).all()
    without = jobs(beta={"offline": ((1, 9),)})
    np.testing.assert_array_equal(epochs[2].losses, train(name, data, of=without)[1][2].losses)


def test_garbage_in_an_evaluation_fences_off_too(data, monkeypatch):
    prepared = jobs()[2].prepared
    broken = Garbage(prepared.engine, lambda found: found)
    broken.values = lambda *arguments: np.zeros(3)
    monkeypatch.setitem(prepared.__dict__, "engine", broken)
    _, epochs = train("single", data, epochs=1)
    assert epochs[0].events[0].what == "was fenced off"
    assert epochs[0].events[0].why == "its expectations have shape (3,), expected (44,)"
    assert epochs[0].online == epochs[1].online == ("alpha", "beta")
    assert np.isnan(epochs[0].accuracies[2])


def test_when_the_last_device_is_gone_one_line_names_all_and_why(data):
    on = On(failing("alpha", PilotError("its pilot is failed: killed"), {1}), ["beta"])
    with pytest.raises(UserError) as told:
        train("arbiterq", data, on, of=jobs(gamma={"offline": ((1, 9),)}))
    assert str(told.value) == (
        "no device is left in epoch 1, expected one at least ('alpha': its pilot is failed: "
        "killed; 'beta': its pilot is not active; 'gamma': it is offline by its schedule); bring "
        "one back and resume the run"
    )


# -- runs in directories ---------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Return the settings of a run on a fleet in which a device goes and comes back."""
    path = tmp_path_factory.mktemp("fleet") / "fleet.yaml"
    described(path, beta={"offline": [[2, 3]]})
    return {"fleet": str(path), "epochs": 3, "batch_size": 40}


def stop_at(epoch):
    def tell(known):
        if known.epoch == epoch:
            raise KeyboardInterrupt

    return tell


def contents(run):
    with np.load(run.weights_file) as kept:
        return run.records.read_bytes(), kept["weights"].tobytes(), kept["vectors"].tobytes()


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

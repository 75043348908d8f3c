"""Devices that go offline, are lost, err or return garbage, and come back."""

import numpy as np
import pytest
from support.fleets import ALL, QPUS, On, failing, jobs, train, weights

from pilotcut.errors import PilotError, UserError


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

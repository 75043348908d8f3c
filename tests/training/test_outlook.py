"""Outlook of a training: all its steps in one line, where they take long."""

import warnings
from dataclasses import replace

import pytest
from support.training_runs import SMALL

from pilotcut.cli import train as command
from pilotcut.errors import LongCallWarning, UserError
from pilotcut.training.config import TrainingConfig
from pilotcut.training.outlook import Steps, outlook
from pilotcut.training.run import TrainingRun

STEPS = Steps(epochs=10, batch_size=16, trained=80, watched=20, gradient=True)


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    config = TrainingConfig("iris", cuts=2, reps=2)
    return TrainingRun(config, tmp_path_factory.mktemp("run")).plan


def line(plan, mode="counts", steps=STEPS, shots=1024, workers=1):
    weights = range(plan.program.num_slots)
    return outlook(plan, mode, shots, steps, weights, workers)


def test_a_long_training_says_how_long_in_steps_and_what_is_quicker(plan):
    text = line(plan)
    assert text.startswith("the training is predicted to take ")
    assert "10 epochs of 5 steps" in text
    assert "a step in mode 'counts'" in text
    assert "mode='exact' would take" in text
    assert "\n" not in text


def test_a_short_one_says_nothing(plan):
    assert line(plan, "exact") == ""
    assert line(plan, steps=replace(STEPS, epochs=1), shots=16, workers=64) == ""


def test_without_gradients_an_epoch_is_one_evaluation(plan):
    steps = replace(STEPS, gradient=False, epochs=1000)
    assert (steps.batch, steps.number) == (80, 1)
    assert "1,000 epochs of 1 step," in line(plan, steps=steps)


def test_a_training_says_it_before_its_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr("pilotcut.training.run.outlook", lambda *_: "it takes long")
    run = TrainingRun(replace(SMALL, epochs=1), tmp_path / "run")
    monkeypatch.setattr(run, "_fit", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.warns(LongCallWarning, match="it takes long"), pytest.raises(KeyboardInterrupt):
        run.train()


def test_a_limit_reaches_the_estimator_and_may_change_when_a_run_goes_on(tmp_path):
    config = replace(SMALL, epochs=1, max_seconds=1e-6)
    with pytest.raises(UserError, match="max_seconds"):
        TrainingRun(config, tmp_path / "run").train()
    with warnings.catch_warnings():
        warnings.simplefilter("error", LongCallWarning)
        TrainingRun(replace(config, max_seconds=float("inf")), tmp_path / "run").train()
    again = replace(config, max_seconds=3600.0, epochs=2)
    assert TrainingRun(again, tmp_path / "run").train(resume=True)["epochs"] == 2
    assert "max_seconds" in command.train.__annotations__

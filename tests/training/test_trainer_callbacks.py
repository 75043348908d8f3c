"""Callbacks of a trainer, and mistakes that show before it starts."""

import builtins
import sys

import pytest
import torch
from support.trainers import Breaks, Notes, StopsAfter, loader, model, noise, samples
from support.training_runs import StopError
from torch.utils.data import DataLoader, TensorDataset

from pilotcut import Trainer, UserError
from pilotcut.training.callbacks import ProgressBar, TensorBoard

# -- callbacks -------------------------------------------------------------------------


def test_callbacks_are_told_in_order():
    notes = Notes()
    Trainer(model(), callbacks=[notes]).fit(loader(batch=16), epochs=2)
    expected = ["begin", (1, 1, 2), (1, 2, 2), 1, (2, 1, 2), (2, 2, 2), 2, "end"]
    assert notes.told == expected
    search = Notes()
    Trainer(model(), optimizer="cobyla", callbacks=[search]).fit(loader(batch=16), epochs=2)
    assert search.told == expected


def test_the_end_is_told_also_where_an_error_ends_it():
    notes = Notes()
    with pytest.raises(StopError):
        Trainer(model(), callbacks=[notes, Breaks(1)]).fit(loader(), epochs=2)
    assert notes.told == ["begin", (1, 1, 3), "end"]


@pytest.mark.parametrize("name", ["adam", "cobyla"])
def test_a_callback_ends_a_training(name):
    trainer = Trainer(model(), optimizer=name, callbacks=[StopsAfter(3)])
    history = trainer.fit(loader(), epochs=9)
    assert len(history.epochs) == 3
    assert history.stopped_early


def test_a_progress_bar_names_epoch_loss_and_time_left(capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    Trainer(model(), callbacks=[ProgressBar()]).fit(loader(), epochs=2)
    err = capfd.readouterr().err
    assert "epoch 2/2" in err
    assert "6/6" in err
    assert "loss" in err
    assert "left" in err


def test_a_log_says_where_a_training_stands_before_it_ends(capfd):
    """A bar is not seen in the log of a job: a line says the first epoch, and not each of many."""
    Trainer(model(), callbacks=[ProgressBar()]).fit(loader(), epochs=5)
    err = capfd.readouterr().err
    assert "epoch 1/5: loss " in err
    assert "epoch 2/5: loss " not in err  # within ten seconds of the first


def test_tensorboard_gets_a_point_an_epoch(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = Trainer(model(), directory=tmp_path, tensorboard=True, schedule="exponential")
    history = trainer.fit(loader(), noise(2), test=noise(3), epochs=3)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    columns = {
        "loss/train": "loss",
        "loss/validation": "val_loss",
        "accuracy/train": "train_accuracy",
        "accuracy/validation": "val_accuracy",
        "accuracy/test": "accuracy",
        "learning_rate": "learning_rate",
    }
    assert set(events.Tags()["scalars"]) == set(columns)
    for tag, name in columns.items():
        assert [e.step for e in events.Scalars(tag)] == [1, 2, 3]
        found = [e.value for e in events.Scalars(tag)]
        assert found == pytest.approx([getattr(e, name) for e in history.epochs])


def test_without_its_package_tensorboard_is_one_line(tmp_path, monkeypatch):
    real = builtins.__import__

    def missing(name, *rest, **options):
        if name.split(".")[0] == "tensorboard":
            raise ModuleNotFoundError("No module named 'tensorboard'")
        return real(name, *rest, **options)

    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install 'pilotcut\[tensorboard\]'") as said:
        TensorBoard(tmp_path)
    assert "\n" not in str(said.value)


# -- mistakes --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "adm"}, "optimizer is 'adm', expected one of adam, .*'adam'"),
        ({"loss": "mes"}, "loss is 'mes', expected one of mse, .*did you mean 'mse'"),
        ({"schedule": "cosin"}, "schedule is 'cosin', expected one of .*did you mean 'cosine'"),
        ({"learning_rate": 0}, "learning_rate is 0, expected a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"patience": 0}, "patience is 0, expected a whole number from 1"),
        ({"seed": -1}, "seed is -1, expected a whole number from 0"),
        ({"optimizer": "SPSA", "schedule": "step"}, "schedule is 'step' with optimizer 'SPSA'"),
        ({"tensorboard": True}, "without a directory"),
    ],
)
def test_an_option_that_makes_no_sense_is_one_line(options, said):
    with pytest.raises(UserError, match=said) as error:
        Trainer(model(), **options)
    assert len(error.value.faults) == 1


def test_all_options_that_make_no_sense_are_told_at_once():
    with pytest.raises(UserError) as error:
        Trainer(model(), optimizer="x", schedule="y", learning_rate=-1)
    assert len(error.value.faults) == 3


def test_what_fit_is_given_is_checked_at_once():
    with pytest.raises(UserError) as error:
        Trainer(model(), patience=2).fit(loader(), epochs=0, resume=True)
    assert [fault.split()[0] for fault in error.value.faults] == ["epochs", "patience", "resume"]


@pytest.mark.parametrize(
    ("loss", "targets", "said"),
    [
        ("hinge", torch.zeros(24), "hinge has .* expected one output and a target -1.0 or 1.0"),
        ("bce", torch.full((24,), 0.5), "bce has .* a target -1.0 or 1.0"),
        ("mse", torch.ones(24, 3), "mse has outputs .*, expected floating targets of the outputs'"),
        ("cross_entropy", torch.ones(24), "cross_entropy has .* expected class indices"),
        ("cross_entropy", torch.arange(24), "targets from 0 to 23, expected 0 to 0"),
    ],
)
def test_targets_that_do_not_fit_the_loss_are_one_line(loss, targets, said):
    x, _ = samples()
    with pytest.raises(UserError, match=said):
        Trainer(model(), loss=loss).evaluate(DataLoader(TensorDataset(x, targets), batch_size=24))


def test_a_batch_is_inputs_and_targets():
    x, _ = samples()
    with pytest.raises(UserError, match="has 1 parts, expected inputs and targets"):
        Trainer(model()).fit(DataLoader(TensorDataset(x)), epochs=1)
    with pytest.raises(UserError, match="no parameters to train"):
        Trainer(torch.nn.Tanh()).fit(loader(), epochs=1)
    with pytest.raises(UserError, match="no samples"):
        Trainer(model()).fit([], epochs=1)

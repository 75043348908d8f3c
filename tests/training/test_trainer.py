"""The Trainer: plain torch underneath, resumed bit for bit, and it leaves no trace in globals."""

import numpy as np
import pytest
import torch
from qiskit_machine_learning.utils import algorithm_globals
from support.trainers import Breaks, loader, model, noise, samples
from support.training_runs import StopError
from torch.utils.data import DataLoader, TensorDataset

from pilotcut import Trainer, cut_qnn
from pilotcut.errors import RunDirectoryError
from pilotcut.io.jsonl import read_jsonl
from pilotcut.training.model import classifier

OPTIMIZERS = ["adam", "sgd", "lbfgs", "cobyla", "spsa"]


def quantum(mode="sampled"):
    network = classifier(2)
    return cut_qnn(
        network.circuit,
        network.observables,
        input_params=network.inputs,
        weight_params=network.weights,
        cuts=1,
        mode=mode,
        shots=64,
        seed=3,
    )


def weights(module):
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def without_times(history):
    return [epoch.metrics | {"seconds": 0} for epoch in history.epochs]


# -- plain torch -----------------------------------------------------------------------


def test_adam_is_the_loop_that_anybody_would_write():
    ours, theirs = model(), model()
    trainer = Trainer(ours, learning_rate=0.05)
    history = trainer.fit(loader(shuffle=False), epochs=3)
    optimizer, losses = torch.optim.Adam(theirs.parameters(), lr=0.05), []
    for _ in range(3):
        total = 0.0
        for x, y in loader(shuffle=False):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(theirs(x)[:, 0], y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(x) / 24
        losses.append(total)
    assert torch.equal(weights(ours), weights(theirs))
    assert [epoch.loss for epoch in history.epochs] == pytest.approx(losses)


@pytest.mark.parametrize("name", ["Adam", "SGD", "LBFGS", "COBYLA", "SPSA"])
def test_every_optimiser_lowers_the_loss_and_names_have_no_case(name):
    trainer = Trainer(model(), optimizer=name)
    history = trainer.fit(loader(), epochs=60 if name in ("COBYLA", "SPSA") else 15)
    assert history.kept.loss < 0.8 * history.epochs[0].loss
    assert history.kept.train_accuracy > 0.8


def test_an_optimiser_of_the_users_own_is_used_as_it_is():
    network = model()
    rmsprop = torch.optim.RMSprop(network.parameters(), lr=0.02)
    trainer = Trainer(network, optimizer=rmsprop)
    history = trainer.fit(loader(), epochs=10)
    assert trainer.optimizer is rmsprop
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert history.epochs[0].learning_rate == 0.02


def test_a_loss_may_be_a_function():
    def worst(outputs, targets):
        return (outputs - targets).abs().max()

    one = Trainer(model(), loss=worst).fit(loader(batch=24, shuffle=False), epochs=1)
    with torch.no_grad():
        x, y = samples()
        assert one.epochs[0].loss == pytest.approx(float(worst(model()(x)[:, 0], y)))


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("mse", lambda o, y: torch.nn.functional.mse_loss(o, y)),
        ("hinge", lambda o, y: torch.clamp(1 - o * y, min=0).mean()),
        (
            "bce",
            lambda o, y: torch.nn.functional.binary_cross_entropy_with_logits(o, (y + 1) / 2),
        ),
    ],
)
def test_losses_of_two_classes_are_those_of_torch(loss, expected):
    """Also hinge and the cross entropy, which torch writes for targets 0 and 1."""
    network = model()
    scores = Trainer(network, loss=loss).evaluate(loader(batch=10))
    with torch.no_grad():
        x, y = samples()
        outputs = network(x)[:, 0]
    assert scores.loss == pytest.approx(float(expected(outputs, y)), rel=1e-6)
    assert scores.accuracy == pytest.approx(float((outputs * y > 0).float().mean()))


def test_class_indices_are_told_by_the_largest_output():
    torch.manual_seed(1)
    network = torch.nn.Linear(2, 3)
    x, _ = samples()
    y = torch.arange(24) % 3
    scores = Trainer(network, loss="cross_entropy").evaluate(
        DataLoader(TensorDataset(x, y), batch_size=7)
    )
    with torch.no_grad():
        outputs = network(x)
    assert scores.accuracy == pytest.approx(float((outputs.argmax(1) == y).float().mean()))
    assert scores.loss == pytest.approx(float(torch.nn.functional.cross_entropy(outputs, y)))


def test_targets_that_name_no_classes_have_no_accuracy():
    x, y = samples()
    scores = Trainer(model()).evaluate(DataLoader(TensorDataset(x, 3 * y)))
    assert scores.accuracy is None


# -- resumed ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["classical", "quantum"])
def test_a_broken_training_resumes_to_the_same_bits(tmp_path, name, kind):
    """With dropout, a shuffling loader and shots: all that is drawn is drawn again."""

    def fit(path, *callbacks, resume=False):
        module = model(0.3) if kind == "classical" else quantum()
        trainer = Trainer(
            module,
            optimizer=name,
            learning_rate=None if name in ("cobyla", "spsa") else 0.05,
            schedule="constant" if name in ("cobyla", "spsa") else "exponential",
            directory=path,
            seed=11,
            callbacks=callbacks,
        )
        # A generator of the loader's own advances from epoch to epoch.
        own = torch.Generator().manual_seed(2) if kind == "classical" else None
        history = trainer.fit(
            loader(generator=own), loader(16, 16, seed=1), epochs=5, resume=resume
        )
        return weights(module), history

    undisturbed, history = fit(tmp_path / "whole")
    with pytest.raises(StopError):
        fit(tmp_path / "run", Breaks(2, 2))
    with pytest.raises(StopError):
        fit(tmp_path / "run", Breaks(4), resume=True)
    torch.rand(3)  # the global generator is somewhere else by now
    resumed, again = fit(tmp_path / "run", resume=True)
    assert torch.equal(resumed, undisturbed)
    assert without_times(again) == without_times(history)
    lines = read_jsonl(tmp_path / "run" / "metrics.jsonl")
    assert [line | {"seconds": 0} for line in lines] == without_times(history)
    kept = torch.load(tmp_path / "run" / "weights.pt")
    assert torch.equal(torch.cat([v.reshape(-1) for v in kept.values()]), resumed)


def test_a_finished_training_is_resumed_by_more_epochs(tmp_path):
    for name in OPTIMIZERS:
        whole = model()
        Trainer(whole, optimizer=name).fit(loader(), epochs=6)
        path = tmp_path / name
        Trainer(model(), optimizer=name, directory=path).fit(loader(), epochs=2, resume=True)
        more = model()
        Trainer(more, optimizer=name, directory=path).fit(loader(), epochs=6, resume=True)
        assert torch.equal(weights(more), weights(whole)), name


def test_a_directory_that_holds_a_training_is_not_written_over(tmp_path):
    Trainer(model(), directory=tmp_path).fit(loader(), epochs=2)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(RunDirectoryError, match="already holds a training"):
        Trainer(model(), directory=tmp_path).fit(loader(), epochs=2)
    with pytest.raises(RunDirectoryError, match=r"epochs is 1, but .* has done 2"):
        Trainer(model(), directory=tmp_path).fit(loader(), epochs=1, resume=True)
    with pytest.raises(RunDirectoryError, match="cannot be read"):
        Trainer(torch.nn.Linear(2, 1), directory=tmp_path).fit(loader(), epochs=3, resume=True)
    other = Trainer(model(), optimizer="sgd", learning_rate=0.2, seed=1, directory=tmp_path)
    with pytest.raises(RunDirectoryError) as error:
        other.fit(loader(), epochs=3, resume=True)
    refused = ["optimizer", "learning_rate", "seed"]
    assert [fault.split(" is ")[0] for fault in error.value.faults] == refused
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_a_cosine_schedule_ends_where_it_was_to_end(tmp_path):
    Trainer(model(), schedule="cosine", directory=tmp_path).fit(loader(), epochs=2)
    longer = Trainer(model(), schedule="cosine", directory=tmp_path)
    with pytest.raises(RunDirectoryError, match=r"epochs is 5, but the cosine schedule .* with 2"):
        longer.fit(loader(), epochs=5, resume=True)


# -- seeds and globals -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["adam", "spsa"])
def test_the_seed_alone_decides_and_globals_stay_as_they_were(name):
    algorithm_globals.random_seed = 123
    algorithm_globals.random.random(3)
    state = algorithm_globals.random.bit_generator.state
    ended = {}
    for label, seed, before in (("one", 1, 0), ("again", 1, 99), ("other", 2, 0)):
        module = model(0.3)
        torch.manual_seed(before)
        expected = torch.get_rng_state()
        Trainer(module, optimizer=name, seed=seed).fit(loader(), epochs=4)
        assert torch.equal(torch.get_rng_state(), expected)
        ended[label] = weights(module)
    assert algorithm_globals.random_seed == 123
    assert algorithm_globals.random.bit_generator.state == state
    assert torch.equal(ended["one"], ended["again"])
    assert not torch.equal(ended["one"], ended["other"])


# -- validation, patience, schedules ---------------------------------------------------


def test_patience_ends_a_training_with_the_best_weights(tmp_path):
    network = model()
    trainer = Trainer(network, patience=3, learning_rate=0.05, directory=tmp_path)
    history = trainer.fit(noise(1), noise(2), epochs=200)
    losses = [epoch.val_loss for epoch in history.epochs]
    assert history.stopped_early
    assert len(losses) == history.kept.epoch + 3
    assert history.kept.val_loss == min(losses)
    assert losses[-1] > min(losses)
    assert trainer.evaluate(noise(2)).loss == min(losses)
    again = Trainer(model(), patience=3, learning_rate=0.05, directory=tmp_path)
    assert again.fit(noise(1), noise(2), epochs=200, resume=True) == history
    # More patience goes on from the last epoch, not from the best.
    longer, whole = model(), model()
    Trainer(longer, patience=5, learning_rate=0.05, directory=tmp_path).fit(
        noise(1), noise(2), epochs=200, resume=True
    )
    Trainer(whole, patience=5, learning_rate=0.05).fit(noise(1), noise(2), epochs=200)
    assert torch.equal(weights(longer), weights(whole))


def test_without_patience_the_last_weights_are_kept():
    network = model()
    history = Trainer(network, learning_rate=0.05).fit(noise(1), noise(2), epochs=30)
    assert history.kept == history.epochs[-1]
    assert not history.stopped_early
    assert history.kept.val_loss > min(epoch.val_loss for epoch in history.epochs)


def test_a_search_ends_with_the_best_weights_it_has_seen():
    network = model()
    history = Trainer(network, optimizer="spsa").fit(loader(), epochs=20)
    assert history.kept.loss == min(epoch.loss for epoch in history.epochs)
    assert history.kept != history.epochs[-1]
    assert Trainer(network).evaluate(loader()).loss == pytest.approx(history.kept.loss, rel=1e-5)


def test_a_search_that_has_converged_ends():
    """COBYLA stops asking where its trust region is small enough."""
    line = torch.nn.Linear(1, 1, bias=False)
    x = torch.ones(4, 1)
    history = Trainer(line, optimizer="cobyla").fit(
        DataLoader(TensorDataset(x, x[:, 0])), epochs=500
    )
    assert history.stopped_early
    assert len(history.epochs) < 100
    assert float(line.weight.detach()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [0.1] * 4),
        ("cosine", [0.1 * (1 + np.cos(np.pi * k / 4)) / 2 for k in range(4)]),
        ("exponential", [0.1 * 0.95**k for k in range(4)]),
        (lambda o: torch.optim.lr_scheduler.StepLR(o, 2, 0.1), [0.1, 0.1, 0.01, 0.01]),
    ],
)
def test_schedules_change_the_rate_after_every_epoch(schedule, rates):
    history = Trainer(model(), schedule=schedule).fit(loader(), epochs=4)
    assert [epoch.learning_rate for epoch in history.epochs] == pytest.approx(rates)


def test_step_halves_after_ten_epochs():
    history = Trainer(model(), schedule="step").fit(loader(), epochs=11)
    assert [history.epochs[k].learning_rate for k in (9, 10)] == pytest.approx([0.1, 0.05])


def test_plateau_watches_the_validation_loss():
    history = Trainer(model(), schedule="plateau").fit(noise(1), noise(2), epochs=40)
    watched = [epoch.val_loss for epoch in history.epochs]
    best = int(np.argmin(watched))
    halved = next(k for k, epoch in enumerate(history.epochs) if epoch.learning_rate < 0.1)
    assert halved == best + 7  # more than 5 epochs without a lower one
    assert history.epochs[halved - 1].loss < history.epochs[best].loss  # while training goes on

"""Data-parallel schedules: the same as one process where they say so, and bounded where not."""

import functools
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qiskit_machine_learning.connectors import TorchConnector
from qiskit_machine_learning.neural_networks import EstimatorQNN
from support.data_parallel import START, Pairs, X, Y, adam, quantum, sgd, train, weights

from pilotcut import CutEstimator, CutGradient, UserError
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import embedded
from pilotcut.tasks import TaskManager
from pilotcut.training.model import classifier
from pilotcut.training.parallel import BoundedStaleness, DataParallel, LocalSteps, Synchronous
from pilotcut.training.parallel.schedules import may_be_next


@pytest.fixture(scope="module")
def here():
    with PilotManager(embedded(3)) as pilots, TaskManager(pilots) as manager:
        yield manager


def qiskit_network():
    """A network of Qiskit Machine Learning, whose estimator is not seeded by the builder."""
    model = classifier(4)
    estimator = CutEstimator(cuts=1, mode="sampled", shots=64)
    network = EstimatorQNN(
        circuit=model.circuit,
        estimator=estimator,
        observables=model.observable,
        input_params=model.inputs,
        weight_params=model.weights,
        gradient=CutGradient(estimator),
        default_precision=None,
    )
    return TorchConnector(network, initial_weights=START)


def classical(dropout=0.0):
    return torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Dropout(dropout), torch.nn.Linear(5, 1)
    ).double()


def one_process(build, optimizer, epochs, batch_size, x=X, y=Y):
    """Return weights and mean losses of a plain torch loop over the same batches."""
    torch.manual_seed(0)
    model, order = build(), torch.Generator().manual_seed(0)
    optimizer = optimizer(model.parameters())
    losses = []
    for _ in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(x), generator=order).split(batch_size):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        losses.append(total / len(x))
    return weights(model), losses


class Noisy(torch.nn.Module):
    """Draws from torch's generator, in dropout and beside it."""

    def __init__(self):
        super().__init__()
        self.dropout, self.weight = (
            torch.nn.Dropout(0.5),
            torch.nn.Parameter(torch.ones(4).double()),
        )

    def forward(self, x):
        return self.dropout(x + torch.rand(4)) @ self.weight


class Reseeded(torch.nn.Module):
    """Draws from a generator of its own."""

    def __init__(self):
        super().__init__()
        self.inner, self.random = quantum(), None

    def reseed(self, seed):
        self.random = np.random.default_rng(seed)

    def forward(self, x):
        return self.inner(x) + torch.as_tensor(self.random.normal(size=(len(x), 1)))


# -- synchronous -------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [1, 3, 6])  # 13 rows in fours: uneven, and one of one row
def test_synchronous_is_the_plain_loop(here, replicas):
    """Weights and losses of two epochs agree to 1e-12 in double precision."""
    expected, losses = one_process(quantum, adam, epochs=2, batch_size=4)
    found, history = train(quantum, here, Synchronous(), replicas=replicas)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(history.losses, losses, atol=1e-12)
    assert history.staleness == (0,) * 8


def test_synchronous_is_the_plain_loop_in_single_precision(here):
    """Float32 weights agree to 1e-5, and stay float32."""

    def build():
        return classical().float()

    expected, _ = one_process(build, sgd, 3, 5, X.float(), Y.float())
    found, _ = train(build, here, epochs=3, batch_size=5, data=(X.float(), Y.float()),
                     optimizer=sgd, replicas=2)  # fmt: skip
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("build", "schedule"),
    [
        (functools.partial(quantum, "sampled"), Synchronous()),
        (functools.partial(quantum, "counts"), Synchronous()),
        (qiskit_network, LocalSteps(2)),
        (Noisy, BoundedStaleness(1, ordered=True)),
        (Reseeded, Synchronous()),
    ],
    ids=["sampled", "counts", "qiskit", "torch", "reseed"],
)
def test_random_numbers_follow_step_and_replica_and_not_the_worker(here, one, build, schedule):
    """Shots and dropout are the same on one thread and on three, and change with the seed."""
    options = {"schedule": schedule, "replicas": 2, "epochs": 1, "optimizer": sgd}
    options["shuffle"] = False  # so that a seed decides nothing but the random numbers
    alone, _ = train(build, one, **options)
    together, _ = train(build, here, **options)
    other, _ = train(build, here, **options | {"seed": 1})
    assert torch.equal(alone, together)
    assert not torch.equal(alone, other)


# -- local steps -------------------------------------------------------------------------


@pytest.mark.parametrize("replicas", [2, 3])
def test_one_local_step_of_sgd_is_synchronous_sgd(here, replicas):
    """The identity holds for uneven shards too, since weights are averaged by samples."""
    synchronous, _ = train(quantum, here, Synchronous(), optimizer=sgd, replicas=replicas)
    local, _ = train(quantum, here, LocalSteps(1), optimizer=sgd, replicas=replicas)
    torch.testing.assert_close(local, synchronous, rtol=0, atol=1e-12)


def test_local_steps_are_those_of_a_loop_written_by_hand(here):
    """Two replicas, three Adam steps each on shards of their own, then averaged; twice over."""
    x, y = X[:12], Y[:12]
    torch.manual_seed(0)
    models = [quantum(), quantum()]
    optimizers = [adam(model.parameters()) for model in models]
    for start in (0, 6):
        for first in range(start, start + 6, 2):
            for replica, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
                row = slice(first + replica, first + replica + 1)
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(model(x[row]), y[row]).backward()
                optimizer.step()
        mean = (weights(models[0]) + weights(models[1])) / 2
        for model in models:
            model.weights.data.copy_(mean)
    trainer = DataParallel(quantum, here, schedule=LocalSteps(3), replicas=2)
    history = trainer.fit((x, y), epochs=1, batch_size=2, shuffle=False)
    torch.testing.assert_close(weights(trainer.model), mean, rtol=0, atol=1e-12)
    assert len(history.staleness) == 2


def test_what_only_counts_is_not_averaged(here):
    """Three replicas' thirds of a whole number would add up to less than it."""

    def build():
        module = classical()
        module.register_buffer("count", torch.tensor(3))
        return module

    trainer = DataParallel(build, here, schedule=LocalSteps(2), replicas=3)
    trainer.fit((X, Y), epochs=1, batch_size=13)
    assert trainer.model.count == 3


def test_a_mistake_in_a_local_step_names_that_step(here):
    """Weights that are no numbers after step 0 are found by the network in step 1."""
    trainer = DataParallel(quantum, here, schedule=LocalSteps(3), replicas=2, optimizer=to_nowhere)
    with pytest.raises(UserError, match=r"^replica 0, step 1: .*nan"):
        trainer.fit((X, Y), epochs=1, batch_size=4)


class Nowhere(torch.optim.SGD):
    def step(self, closure=None):
        for parameter in self.param_groups[0]["params"]:
            parameter.data.fill_(float("nan"))


def to_nowhere(parameters):
    return Nowhere(parameters, lr=0.1)


def test_a_replica_without_rows_has_no_part_in_the_average(here):
    """Five replicas for batches of two: as with two."""
    many, _ = train(quantum, here, LocalSteps(2), batch_size=2, replicas=5)
    two, _ = train(quantum, here, LocalSteps(2), batch_size=2, replicas=2)
    torch.testing.assert_close(many, two, rtol=0, atol=1e-12)


# -- bounded staleness -------------------------------------------------------------------


def test_without_staleness_it_is_sgd_in_sequence(here):
    expected, losses = one_process(quantum, adam, epochs=2, batch_size=3)
    found, history = train(quantum, here, BoundedStaleness(0), batch_size=3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(history.losses, losses, atol=1e-12)
    assert history.staleness == (0,) * 10


class Slow(torch.nn.Module):
    """Takes longer for some samples than for others."""

    def __init__(self):
        super().__init__()
        self.inner = classical()

    def forward(self, x):
        time.sleep(0.03 * float(x[0, 0] > 0.7))
        return self.inner(x)


@pytest.mark.parametrize("bound", [1, 2, 5])
def test_no_gradient_is_older_than_the_bound(here, bound):
    """Recorded over replicas of unequal speed; and staleness does occur."""
    _, history = train(Slow, here, BoundedStaleness(bound), epochs=3, batch_size=1, replicas=3)
    assert len(history.staleness) == 39
    assert 1 <= max(history.staleness) <= bound


@given(
    bound=st.integers(0, 5),
    replicas=st.integers(1, 6),
    choices=st.lists(st.integers(0, 100), max_size=40),
)
def test_whatever_the_order_of_arrivals_all_can_be_applied_in_time(bound, replicas, choices):
    """Any choice among those that may be next leaves none too old and never nothing to do."""
    flight = []
    for version, choice in enumerate(choices):
        flight += [version] * (min(replicas, bound + 1) - len(flight))
        allowed = may_be_next(flight, version, bound)
        assert allowed
        assert version - flight.pop(allowed[choice % len(allowed)]) <= bound


def test_in_order_numbers_are_the_same_in_every_run(here, one):
    schedule = BoundedStaleness(2, ordered=True)
    some, history = train(Slow, here, schedule, batch_size=2, replicas=3)
    again, _ = train(Slow, one, schedule, batch_size=2, replicas=3)
    assert torch.equal(some, again)
    assert history.staleness == (0, 1, 2, 2, 2, 2, 2) * 2


# -- what a user sees --------------------------------------------------------------------


@pytest.mark.parametrize("schedule", [Synchronous(), LocalSteps(3), BoundedStaleness(2)])
def test_every_schedule_learns(here, schedule):
    x = torch.rand(40, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    data = (x, x.sum(dim=1))
    _, history = train(classical, here, schedule, 15, 8, data, learning_rate=0.05, replicas=2)
    assert history.losses[-1] < 0.3 * history.losses[0]


def test_history_and_callback_tell_of_every_epoch(here):
    told = []
    trainer = DataParallel(classical, here, replicas=2)
    history = trainer.fit(
        (X, Y), epochs=2, batch_size=5, on_epoch=lambda *about: told.append(about)
    )
    assert told == [(e.epoch, e.loss, trainer.model) for e in history.epochs]
    assert all(epoch.seconds > 0 for epoch in history.epochs)
    numbers = sum(p.numel() for p in trainer.model.parameters())
    # three batches to two replicas: weights and 13 row numbers out, gradients back
    assert history.epochs[0].bytes_sent == 8 * (6 * numbers + 13)
    assert history.epochs[0].bytes_received == 8 * 6 * numbers
    assert trainer.fit((X, Y), epochs=1, batch_size=5).epochs[0].epoch == 3


class Augmented(Pairs):
    def __getitem__(self, row):
        return X[row] + torch.rand(4), Y[row]


def test_samples_that_are_augmented_at_random_do_not_depend_on_the_worker(here, one):
    options = {"data": Augmented(), "replicas": 3, "epochs": 1}
    assert torch.equal(train(Slow, one, **options)[0], train(Slow, here, **options)[0])


def test_frozen_and_unused_parameters_stay(here):
    def build():
        module = classical()
        module[0].bias.requires_grad_(False)
        module[3].register_parameter("unused", torch.nn.Parameter(torch.ones(2)))
        return module

    decaying = functools.partial(torch.optim.SGD, lr=0.1, weight_decay=0.5)
    expected, _ = one_process(build, decaying, 1, 4)
    found, _ = train(build, here, epochs=1, optimizer=decaying, replicas=2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_a_second_trainer_on_the_same_builder_starts_anew(here):
    first, _ = train(classical, here, replicas=2)
    assert torch.equal(first, train(classical, here, replicas=2)[0])


# -- mistakes ----------------------------------------------------------------------------


def broken_loss(output, target):
    return ((output - target) ** 2).mean(dim=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adm"}, "optimizer is 'adm', .*did you mean 'adam'"),
        ({"optimizer": torch.optim.LBFGS}, "optimizer: it returned an object of type LBFGS"),
        ({"optimizer": torch.optim.Adam([torch.ones(1)])}, "optimizer is of type Adam, expected"),
        ({"loss": "mes"}, "loss is 'mes', .*did you mean 'mse'"),
        ({"loss": torch.nn.MSELoss(reduction="sum")}, "reduction is 'sum', expected 'mean'"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"replicas": 0}, "replicas is 0, expected a whole number from 1 up"),
        ({"schedule": LocalSteps}, r"expected Synchronous\(\)"),
        ({"task_options": {"pilots": "gpu"}}, "task_options has 'pilots'"),
        (
            {"build": lambda: 3},
            "build: it returned an object of type int, expected a torch.nn.Module",
        ),
        ({"build": torch.nn.Linear(1, 1)}, "build is of type Linear, expected a function"),
        ({"build": torch.nn.Tanh}, "build: its module has no parameters"),
        ({"build": lambda: torch.nn.BatchNorm1d(4)}, "keeps running statistics"),
        ({"tasks": None}, "tasks is of type NoneType, expected a TaskManager"),
    ],
)
def test_mistakes_show_before_training(here, options, message):
    options = {"build": classical, "tasks": here} | options
    with pytest.raises(UserError, match=message) as caught:
        DataParallel(options.pop("build"), options.pop("tasks"), **options)
    assert "\n" not in str(caught.value)


def test_a_builder_that_holds_a_task_manager_cannot_travel(here):
    with pytest.raises(UserError, match=r"build: it cannot be pickled.*without a task manager"):
        DataParallel(lambda: (here, classical())[1], here)


@pytest.mark.parametrize("make", [lambda: BoundedStaleness(-1), lambda: LocalSteps(0)])
def test_impossible_schedules_are_refused(make):
    with pytest.raises(UserError, match="expected a whole number from"):
        make()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y[:-1]), "y has 12 rows, expected 13"),
        (torch.utils.data.DataLoader(Pairs()), "found type DataLoader, expected a torch Dataset"),
        (X, "sample 0 is of type Tensor, expected a pair"),
        ((X[:0], Y[:0]), "found no samples"),
        ((X, Y, Y), "found a tuple of 3, expected two arrays"),
        ((X, "labels"), "x or y is no array"),
        ({"x": X, "y": Y}, r"sample 0 cannot be read \(KeyError: 0\)"),
        (list(zip(X, "abcdefghijklm", strict=True)), "sample 0 is of type tuple, expected a pair"),
        ((X, torch.rand(13, 2)), "replica 0, step 0: labels have shape"),
    ],
)
def test_data_that_does_not_fit_is_told_in_a_line(here, data, message):
    trainer = DataParallel(quantum, here, replicas=2)
    with pytest.raises(UserError, match=message) as caught:
        trainer.fit(data, epochs=1, batch_size=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("schedule", [Synchronous(), LocalSteps(3), BoundedStaleness(0)])
def test_a_loss_that_is_no_number_names_replica_and_step(here, schedule):
    """The labels of batch 1 hold a nan; the module learns nothing from it."""
    y = Y.clone()
    y[5] = float("nan")
    trainer = DataParallel(classical, here, schedule=schedule, replicas=2)
    with pytest.raises(UserError, match=r"replica 0, step 1: the loss is nan.*samples 4, 5"):
        trainer.fit((X, y), epochs=1, batch_size=4, shuffle=False)
    assert torch.isfinite(weights(trainer.model)).all()


def test_weights_that_run_away_are_told(here):
    with pytest.raises(UserError, match=r"replica \d, step \d+: the (loss|gradient|weights)"):
        train(classical, here, optimizer="sgd", learning_rate=1e200, epochs=5)


def test_a_loss_by_sample_and_a_module_built_once_are_refused(here):
    with pytest.raises(UserError, match=r"loss: it returned .*expected one number"):
        train(quantum, here, loss=broken_loss)
    module = classical()
    with pytest.raises(UserError, match="build: it returned the same module twice"):
        train(lambda: module, here)

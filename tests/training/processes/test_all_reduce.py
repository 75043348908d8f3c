"""Replicas on the ranks of an MPI pilot: the parameter server's weights, by an all-reduce."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.data_parallel import X, Y, adam, quantum, train, weights

from pilotcut import PilotManager, TaskManager, UserError
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.pilots.description.elastic import ElasticDescription
from pilotcut.tasks.groups import takers
from pilotcut.training.parallel import BoundedStaleness, DataParallel, Synchronous
from pilotcut.training.parallel.trainer import _on_ranks

pytest.importorskip("mpi4py", reason="mpi4py is not installed")

pytestmark = pytest.mark.mpi

TOGETHER = {"communication": "allreduce"}


@pytest.fixture(scope="module")
def ranks():
    pilot = PilotDescription(name="ranks", resource="local", ranks=2)
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        yield tasks


@pytest.fixture(scope="module")
def here():
    with PilotManager(embedded(2)) as pilots, TaskManager(pilots) as tasks:
        yield tasks


def classical():
    """Return a network that draws at random, with a parameter that nothing depends on."""
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.Dropout(0.2), torch.nn.Linear(5, 1)
    ).double()
    network.register_parameter("idle", torch.nn.Parameter(torch.ones(2)))
    return network


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_weights_are_those_of_the_parameter_server_to_rounding(here, ranks, replicas):
    """13 rows in batches of 4: shards of unlike sizes, and one row for several replicas."""
    options = {"optimizer": adam, "replicas": replicas, "epochs": 3}
    expected, history = train(classical, here, **options)
    found, together = train(classical, ranks, **options, **TOGETHER)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)
    assert np.allclose(together.losses, history.losses, rtol=0, atol=1e-12)
    assert together.epochs[0].staleness == (0,) * 4


def test_two_runs_are_equal_to_the_last_bit(ranks):
    one, two = (train(classical, ranks, optimizer=adam, **TOGETHER)[0] for _ in range(2))
    assert torch.equal(one, two)


def test_a_quantum_network_trains_the_same_with_its_shots(here, ranks):
    options = {"epochs": 1, "batch_size": 6, "replicas": 2}

    def build():
        return quantum("sampled")

    expected, _ = train(build, here, **options)
    found, _ = train(build, ranks, **options, **TOGETHER)
    assert torch.allclose(found, expected, rtol=0, atol=1e-12)


def test_a_second_fit_goes_on_with_the_optimizer_of_the_first(here, ranks):
    both = []
    for tasks, more in ((here, {}), (ranks, TOGETHER)):
        trainer = DataParallel(classical, tasks, optimizer=adam, replicas=2, **more)
        trainer.fit((X, Y), epochs=1, batch_size=5)
        for group in trainer.optimizer.param_groups:
            group["lr"] = 0.01
        trainer.fit((X, Y), epochs=1, batch_size=5)
        both.append(weights(trainer.model))
    assert torch.allclose(*both, rtol=0, atol=1e-12)


def test_a_loss_that_is_none_names_replica_step_and_samples(ranks):
    with pytest.raises(UserError, match=r"replica 1, step 0: the loss is nan, .*look at samples"):
        train(classical, ranks, data=(X, torch.where(X[:, :1] == X[12, 0], torch.nan, Y)),
              shuffle=False, batch_size=13, **TOGETHER)  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "options", "expected"),
    [
        ("learn", {}, (3, ("own-0", "own-1"))),
        (None, {}, (2, ("anyones",))),
        ("neither", {}, (2, ("anyones",))),
        ("learn", {"pilot": "others"}, (4, ("others",))),
        (None, {"pilot": "own"}, (3, ("own-0", "own-1"))),
    ],
)
def test_ranks_are_those_of_the_stages_own_pilots_unless_others_are_named(stage, options, expected):
    rule = ElasticDescription(least=0, most=2)
    pilots = PilotManager(
        [
            PilotDescription(
                name="own", resource="local", ranks=3, groups=("learn",), elastic=rule
            ),
            PilotDescription(name="others", resource="local", ranks=4, groups=("other",)),
            PilotDescription(name="anyones", resource="local", ranks=2),
            PilotDescription(name="plain", resource="local"),
        ]
    )  # never started
    tasks = SimpleNamespace(pilots=pilots, takers=takers(stage, pilots.pilots))
    found = _on_ranks(tasks, Synchronous(), options)
    assert (found.ranks, found.pilots) == expected


def test_without_ranks_one_line_says_what_to_add(here, ranks):
    with pytest.raises(UserError, match="expected a pilot with ranks of 2 or more among 'here'"):
        DataParallel(classical, here, **TOGETHER)
    with pytest.raises(UserError, match="'allreduce' with schedule BoundedStaleness"):
        DataParallel(classical, ranks, schedule=BoundedStaleness(1), **TOGETHER)
    with pytest.raises(UserError, match="communication is 'ring', expected"):
        DataParallel(classical, ranks, communication="ring")

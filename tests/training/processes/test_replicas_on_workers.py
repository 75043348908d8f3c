"""Replicas on workers in processes of their own: the bits of one thread, also if one dies."""

import functools
import os
import signal

import torch
from support.data_parallel import Pairs, X, Y, quantum, train


class Deadly(torch.nn.Module):
    """Ends its process at the fourth evaluation there, unless some process has ended so."""

    def __init__(self, path):
        super().__init__()
        self.inner, self.path, self.calls = quantum(), path, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == 4 and not os.path.exists(self.path):
            open(self.path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return self.inner(x)


def test_a_worker_that_dies_in_between_changes_no_bit(workers, one, tmp_path):
    """Two local workers, one killed inside a gradient, give the bits of one undisturbed thread."""
    marker = tmp_path / "died"
    calm, _ = train(quantum, one, epochs=3, replicas=2)
    stormy, _ = train(lambda: Deadly(str(marker)), workers, epochs=3, replicas=2)
    assert marker.exists()
    assert torch.equal(calm, stormy)


def test_shots_are_the_same_on_workers_of_their_own(workers, one):
    build = functools.partial(quantum, "sampled")
    assert torch.equal(
        train(build, one, replicas=2, epochs=1)[0], train(build, workers, replicas=2, epochs=1)[0]
    )


def test_a_dataset_and_its_arrays_give_the_same(workers, one):
    """Read by workers sample by sample, in processes of their own."""
    there, _ = train(quantum, workers, data=Pairs(), replicas=2, epochs=1)
    arrays, _ = train(quantum, one, data=(X.numpy(), Y.numpy()), replicas=2, epochs=1)
    assert torch.equal(there, arrays)

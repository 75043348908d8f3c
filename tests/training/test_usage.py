"""A training ends cleanly where devices may be used no longer."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from pilotcut import Trainer
from pilotcut.errors import UsageError

X = torch.linspace(-1, 1, 8)[:, None]
LOADER = DataLoader(TensorDataset(X, X.sign()), batch_size=4)


class Paid(torch.nn.Linear):
    """A network that may be asked so many times."""

    def __init__(self, times):
        super().__init__(1, 1)
        torch.nn.init.constant_(self.weight, 0.1)
        torch.nn.init.constant_(self.bias, 0.1)
        self.times = times

    def forward(self, x):
        if not self.times:
            raise UsageError("max_usage is 5 s, 4.9 s of devices are used")
        self.times -= 1
        return super().forward(x)


def test_the_training_stops_after_its_last_whole_epoch_and_can_be_resumed(tmp_path):
    found = Trainer(model := Paid(5), directory=tmp_path).fit(LOADER, epochs=4)
    assert found.reason == "max_usage is 5 s, 4.9 s of devices are used"
    assert (len(found.epochs), found.stopped_early) == (2, True)
    two = Paid(100)
    Trainer(two).fit(LOADER, epochs=2)
    assert torch.equal(model.weight, two.weight)  # the fifth batch, of an epoch, has no say
    again = Trainer(Paid(100), directory=tmp_path).fit(LOADER, epochs=4, resume=True)
    assert (len(again.epochs), again.reason) == (4, "")


def test_a_training_that_may_not_begin_is_refused(tmp_path):
    with pytest.raises(UsageError):
        Trainer(Paid(1), directory=tmp_path).fit(LOADER, epochs=4)

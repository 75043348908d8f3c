"""Trainer of a fleet's models: who computes what when, on modelled clocks.

A device's work takes as long as its circuits would on it (gate times, readout, reset, shots), and
results are taken in the order in which they would be ready, whatever the machine that simulates
them does. So a run has the same numbers on any pilots, while all devices' tasks are under way at
the same time. An epoch is over when every device that is online has gone through the training
samples once: that is every strategy's budget.

A device whose work fails, with its pilot or without, is left out until the next epoch in which its
pilot is there; so is one that is away by its schedule. One that returns garbage is fenced off, and
named, for the rest of the run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pilotcut.errors import UserError
from pilotcut.fleet import device_jobs
from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_jobs import GarbageError, Job
from pilotcut.fleet.engines import seed_of
from pilotcut.fleet.epochs import Event, FleetEpoch
from pilotcut.fleet.strategies import Strategy
from pilotcut.fleet.submission import PendingResult, Submit, here, one_line, submitted
from pilotcut.fleet.upkeep import Upkeep
from pilotcut.options import counted
from pilotcut.training.data import Dataset

#: Prefix of what in a trainer's state is its strategy's.
_SHARED = "strategy."


@dataclass
class _Device:
    """A device in a run.

    Parameters
    ----------
    job
        Its work.
    clock_s
        When it is ready for more, in modelled seconds.
    todo
        Rows of the samples of each gradient that is left in this epoch.
    step
        Gradients asked for so far, over all epochs.
    fenced
        Whether it is fenced off.
    away
        Why it is not there, in words, while it is not.
    """

    job: Job
    clock_s: float = 0.0
    todo: list[np.ndarray] = field(default_factory=list)
    step: int = 0
    fenced: bool = False
    away: str = ""

    def absence(self, epoch: int, present: set[str]) -> str:
        """Return why it takes no part in an epoch; empty if it does."""
        if self.fenced:
            return self.away
        if not self.job.prepared.device.is_online(epoch):
            return "it is offline by its schedule"
        return "" if self.job.device in present else "its pilot is not active"


class FleetTrainer:
    """Trains the models of a fleet's devices by one strategy.

    Parameters
    ----------
    jobs
        One for each device.
    strategy
        Whose gradients move whose weights.
    data
        What to learn.
    config
        Epochs, batches, shots and the seed.
    submit
        Starts work on a device's pilot; None does it here.
    present
        Returns the names of the devices whose pilots are there; None for all.

    Attributes
    ----------
    done
        Epochs that are finished; -1 before the first weights have been evaluated.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        strategy: Strategy,
        data: Dataset,
        config: FleetConfig,
        submit: Submit | None = None,
        present: Callable[[], set[str]] | None = None,
    ) -> None:
        self.strategy, self.data, self.config = strategy, data, config
        self._devices = [_Device(job) for job in jobs]
        self._submit = submit or here
        self._present = present or (lambda: {job.device for job in jobs})
        self._upkeep = Upkeep(jobs, config)
        self._circuits = 0
        self.done = -1
        self._events: list[Event] = []
        if config.dealt and len(data.x_train) < len(jobs):
            raise UserError(
                f"dealt is true with {counted(len(data.x_train), 'sample')} for "
                f"{counted(len(jobs), 'device')}, expected "
                f"one at least for each; leave it out, or take fewer devices"
            )

    def run(self) -> Iterator[FleetEpoch]:
        """Yield what is known before the first epoch, and after each; or after the one before.

        Raises
        ------
        UserError
            If no device is left. The epoch in which that happens does not count.
        """
        for number in range(self.done + 1, self.config.last + 1):
            self._events = []
            self._calibrate(number)
            self._call_roll(number)
            if number:
                self._go_through(number)
            known = self._known(number)
            self.done = number
            yield known

    def state(self) -> dict[str, np.ndarray]:
        """Return what a trainer that goes on after this epoch needs, as arrays."""
        devices = self._devices
        return {
            "done": np.array(self.done),
            "circuits": np.array(self._circuits),
            "names": np.array([device.job.device for device in devices]),
            "clock_s": np.array([device.clock_s for device in devices]),
            "step": np.array([device.step for device in devices]),
            "fenced": np.array([device.fenced for device in devices]),
            "away": np.array([device.away for device in devices]),
            "tuned": self._upkeep.tuned.copy(),
            **{f"{_SHARED}{name}": found for name, found in self.strategy.state().items()},
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where another trainer was.

        Raises
        ------
        UserError
            If that one had other devices.
        ValueError, KeyError
            If it is no state of a trainer.
        """
        names = [device.job.device for device in self._devices]
        known = state["names"].tolist()
        if known != names:
            raise UserError(
                f"devices are {', '.join(names)} and were {', '.join(known)}, expected "
                f"the same in the same order; give the fleet that the run began with"
            )
        self.strategy.restore(
            {k.removeprefix(_SHARED): found for k, found in state.items() if k.startswith(_SHARED)}
        )
        columns = [state[name].tolist() for name in ("clock_s", "step", "fenced", "away")]
        for device, *values in zip(self._devices, *columns, strict=True):
            device.clock_s, device.step, device.fenced, device.away = values
        self.done, self._circuits = int(state["done"]), int(state["circuits"])
        self._calibrate(max(self.done, 0))
        if "tuned" in state:  # not in runs of older versions
            self._upkeep.tuned[:] = state["tuned"]

    # -- one epoch ---------------------------------------------------------------------

    @property
    def jobs(self) -> list[Job]:
        """The devices' work as they are calibrated now."""
        return [device.job for device in self._devices]

    def _calibrate(self, epoch: int) -> None:
        """Take what the devices have become; whether it is noticed is a question of upkeep."""
        moved = []
        for k, device in enumerate(self._devices):
            job = self._upkeep.job(k, epoch)
            if job != device.job:
                device.job = job
                moved.append(k)
        if not moved or not self._upkeep.noticed:
            return
        self.strategy.see(self._upkeep.facts(self.jobs))
        for k in moved:
            job = self._devices[k].job
            like = f"it is {self._upkeep.likeness(k, job):.2g} like what its model was trained for"
            self._events.append(Event(epoch, job.device, "was calibrated", like))

    def _call_roll(self, epoch: int) -> None:
        """Have devices leave and come back as their schedules and pilots say."""
        present = self._present()
        for k, device in enumerate(self._devices):
            absence = device.absence(epoch, present)
            if absence and k in self.strategy.online:
                self._leave(epoch, k, "left", absence)
            elif absence:
                device.away = absence
            elif k not in self.strategy.online:
                self._join(epoch, k)
        self._check_left(epoch)

    def _join(self, epoch: int, k: int) -> None:
        device = self._devices[k]
        device.away = ""
        self.strategy.joined(k)
        self._events.append(Event(epoch, device.job.device, "came back", "it is online again"))

    def _leave(self, epoch: int, k: int, what: str, why: str) -> Sequence[int]:
        """Do without a device; return those that may go on without it."""
        device = self._devices[k]
        device.away = why
        self._events.append(Event(epoch, device.job.device, what, why))
        return self.strategy.left(k)

    def _check_left(self, epoch: int) -> None:
        if not self.strategy.online:
            reasons = "; ".join(f"'{d.job.device}': {d.away}" for d in self._devices)
            raise UserError(
                f"no device is left in epoch {epoch}, expected one at least ({reasons}); bring one "
                f"back and resume the run"
            )

    def _now(self) -> float:
        return max(device.clock_s for device in self._devices)

    def _go_through(self, epoch: int) -> None:
        """Let every device that is there go through the training samples once, or its upkeep."""
        due = self._due(epoch)
        now = self._now()
        flight: list[tuple[float, int, PendingResult]] = []
        for k, batches in due.items():
            device = self._devices[k]
            device.clock_s, device.todo = now, batches
            self._start(k, flight)
        # By modelled clocks, not by arrivals, so that the numbers are the same on any pilots; a
        # result that is not there yet is waited for while the others' work goes on.
        while flight:
            ready_s, k, pending = heapq.heappop(flight)
            for other in self._take(epoch, k, pending):
                self._devices[other].clock_s = max(self._devices[other].clock_s, ready_s)
                if self._devices[other].todo:
                    self._start(other, flight)
        self._check_left(epoch)

    def _due(self, epoch: int) -> dict[int, list[np.ndarray]]:
        """Return the rows of the batches of all devices that train in an epoch."""
        online = sorted(self.strategy.online)
        if epoch <= self.config.epochs:
            return {k: self._batches(epoch, k) for k in online}
        moved = [k for k in online if self._upkeep.has_moved(k, self._devices[k].job)]
        if not moved or not self._upkeep.noticed:
            return {}
        if self.strategy.personal and self._upkeep.from_near:
            self._go_on_from_near(epoch, moved)
        elif self.strategy.together:
            moved = online
        left = [k for k in moved if k in self.strategy.online]
        return {k: self._batches(epoch, k)[: self.config.retune_batches] for k in left}

    def _go_on_from_near(self, epoch: int, moved: Sequence[int]) -> None:
        """Have devices that have moved take the nearest device's model, where it is better there.

        A vector knows how large errors are, and neither their kind nor their sign. So both models
        are asked about one batch, on the device as it is now.
        """
        data, asked = self.data, {}
        for k in moved:
            near = self._upkeep.nearest(k, self._devices[k].job)
            if near == k:
                continue
            rows = self._batches(epoch, k)[0]
            weights = {j: self.strategy.weights_of(j) for j in (k, near)}
            seed = seed_of(self.config.seed, k, epoch, 2)
            pending = [
                self._ask(k, device_jobs.values, own, data.x_train[rows], self.config.shots, seed)
                for own in weights.values()
            ]
            self._circuits += 2 * len(rows)
            asked[k] = near, weights[near], data.y_train[rows], pending
        for k, (near, weights_near, labels, both) in asked.items():
            try:
                own, other = (device_jobs.mean_loss(one.result(), labels) for one in both)
            except Exception as error:
                self._lose(epoch, k, error)
                continue
            if other < own:
                self.strategy.adopt(k, weights_near)
                why = f"from the model of '{self._devices[near].job.device}'"
                self._events.append(Event(epoch, self._devices[k].job.device, "goes on", why))

    def _batches(self, epoch: int, device: int) -> list[np.ndarray]:
        """Return the rows of a device's batches, in an order of its own."""
        size = self.config.batch_size
        if not self.config.dealt:
            rows = self._shuffled(epoch, device)
            return np.array_split(rows, -(-len(rows) // size))
        # The same number of batches for all, lest a device waits for one that has no more.
        online = sorted(self.strategy.online)
        shares = np.array_split(self._shuffled(epoch, 0), len(online))
        batches = -(-len(shares[-1]) // size)
        return np.array_split(shares[online.index(device)], batches)

    def _shuffled(self, epoch: int, order: int) -> np.ndarray:
        rng = np.random.default_rng([self.config.seed, epoch, order])
        return rng.permutation(len(self.data.x_train))

    def _start(self, k: int, flight: list[tuple[float, int, PendingResult]]) -> None:
        """Ask a device for its next gradient, at the weights that it has now."""
        device, shots = self._devices[k], self.config.shots
        rows = device.todo.pop(0)
        samples, labels = self.data.x_train[rows], self.data.y_train[rows]
        arguments = (self.strategy.weights_of(k), samples, labels, shots)
        pending = self._ask(
            k, device_jobs.gradient, *arguments, seed_of(self.config.seed, k, device.step)
        )
        device.step += 1
        circuits = device.job.prepared.shifts.circuits * len(rows)
        self._circuits += circuits
        # Without shots clocks go on as with one, so that devices of unlike speed still differ.
        device.clock_s += circuits * max(shots, 1) * device.job.prepared.shot_s
        # A device has one gradient under way at most, so k decides a tie and results are never
        # compared.
        heapq.heappush(flight, (device.clock_s, k, pending))

    def _ask(self, k: int, fn: Callable[..., Any], *arguments: Any) -> PendingResult:
        """Start a device's work."""
        job = self._devices[k].job
        return submitted(self._submit, job.device, fn, job, *arguments)

    def _take(self, epoch: int, k: int, pending: PendingResult) -> Sequence[int]:
        """Take a gradient; return the devices whose turn is next."""
        try:
            found = pending.result()
        except Exception as error:
            return self._lose(epoch, k, error)
        self._upkeep.trained(k, self._devices[k].job)
        return self.strategy.received(k, found.gradient)

    def _lose(self, epoch: int, k: int, error: Exception) -> Sequence[int]:
        """Do without a device whose work has failed; return those that may go on without it."""
        fenced = isinstance(error, GarbageError)
        self._devices[k].fenced = fenced
        return self._leave(epoch, k, "was fenced off" if fenced else "left", one_line(error))

    # -- what is known -----------------------------------------------------------------

    def _known(self, number: int) -> FleetEpoch:
        data = self.data
        # In one task for each device: a second one would cost another way to the pilot and back.
        both = self._values(np.concatenate([data.x_test, data.x_train]), number)
        test, train = zip(*(np.split(v, [len(data.x_test)]) for v in both), strict=True)
        self._check_left(number)
        train_losses = np.array([device_jobs.mean_loss(v, data.y_train) for v in train])
        accuracies = np.array([_accuracy(v, data.y_test) for v in test])
        return FleetEpoch(
            epoch=number,
            loss=float(np.nanmean(train_losses)),
            accuracy=float(np.nanmean(accuracies)),
            losses=np.array([device_jobs.mean_loss(v, data.y_test) for v in test]),
            accuracies=accuracies,
            train_losses=train_losses,
            modelled_s=self._now(),
            circuits=self._circuits,
            online=tuple(self._devices[k].job.device for k in sorted(self.strategy.online)),
            events=tuple(self._events),
            clocks_s=tuple(device.clock_s for device in self._devices),
        )

    def _values(self, samples: np.ndarray, number: int) -> list[np.ndarray]:
        """Return the expectations of each device's model there, (samples,); NaN if it is away."""
        # What is learnt is told without shot noise wherever exact values can be had.
        shots = self.config.shots if self._devices[0].job.engine == "counts" else 0
        asked = {}
        for k in sorted(self.strategy.online):
            arguments = (self.strategy.weights_of(k), samples, shots)
            asked[k] = self._ask(
                k, device_jobs.values, *arguments, seed_of(self.config.seed, k, number, 1)
            )
        found = [np.full(len(samples), np.nan) for _ in self._devices]
        for k, pending in asked.items():
            try:
                found[k] = pending.result()
            except Exception as error:
                self._lose(number, k, error)
        return found


def _accuracy(values: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of samples that are classified right; NaN if there are no values."""
    return float("nan") if np.isnan(values).any() else float(np.mean((values > 0) == (labels > 0)))

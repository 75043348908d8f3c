"""Training on a fleet: who computes what when, on modelled clocks.

A device's work takes as long as its circuits would on it (gate times, readout, reset, shots), and
results are taken in the order in which they would be ready, whatever the machine that simulates
them does. So a run has the same numbers on any pilots, while all devices' tasks are under way at
the same time. An epoch is over when every device that is online has gone through the training
samples once: that is every strategy's budget.

A device whose pilot is lost, or that is away by its schedule, is left out until it is back; one
that returns garbage is fenced off, and named, for the rest of the run.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from pilotcut.errors import PilotError, TaskError, UserError
from pilotcut.fleet import work
from pilotcut.fleet.sharing import Strategy
from pilotcut.fleet.work import Gradient, Job
from pilotcut.training.data import Dataset


class Result(Protocol):
    """A result to come."""

    def result(self) -> Any:
        """Wait for it, and return it or raise."""
        ...


#: Starts a function of a job on the pilot of a device: (device, function, *arguments).
Submit = Callable[..., Result]


@dataclass(frozen=True)
class Plan:
    """How long and how finely to train; what it may be is checked by `pilotcut.fleet.config`.

    Parameters
    ----------
    epochs
        How often every device goes through the training samples.
    batch_size
        Samples of a gradient.
    shots
        Of every circuit; 0 for none, exact.
    seed
        Decides batches and shots.
    dealt
        Deal the training samples to the devices, so that the fleet goes through them once an
        epoch, as EQC counts epochs (arXiv:2111.14940); otherwise every device does.
    """

    epochs: int = 30
    batch_size: int = 16
    shots: int = 1024
    seed: int = 0
    dealt: bool = False


@dataclass(frozen=True)
class Event:
    """That a device left, came back, or was fenced off, and why."""

    epoch: int
    device: str
    what: str
    why: str


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch; before the first one it has number 0.

    Parameters
    ----------
    number
        From 1.
    losses, accuracies
        Of each device's model on that device, over the test samples, without shots where the
        engine can do without; (devices,).
    train_losses
        The same over the training samples.
    modelled_s
        Seconds that the fleet would have taken since the start.
    circuits
        Circuits that were run since the start, by all devices.
    online
        Names of the devices that took part.
    events
        What happened in the epoch.
    """

    number: int
    losses: np.ndarray
    accuracies: np.ndarray
    train_losses: np.ndarray
    modelled_s: float
    circuits: int
    online: tuple[str, ...]
    events: tuple[Event, ...] = ()


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
        Gradients left in this epoch.
    step
        Gradients asked for so far, over all epochs.
    fenced
        Why it is fenced off, None while it is not.
    """

    job: Job
    clock_s: float = 0.0
    todo: int = 0
    step: int = 0
    fenced: str | None = None
    batches: list[np.ndarray] = field(default_factory=list)

    def is_online(self, epoch: int) -> bool:
        """Return whether it takes part in an epoch."""
        return self.fenced is None and self.job.prepared.device.is_online(epoch)


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
    plan
        How long and how finely.
    submit
        Starts work on a device's pilot; None does it here.
    present
        Returns the names of the devices whose pilots are there; None for all.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        strategy: Strategy,
        data: Dataset,
        plan: Plan,
        submit: Submit | None = None,
        present: Callable[[], set[str]] | None = None,
    ) -> None:
        self.strategy, self.data, self.plan = strategy, data, plan
        self._devices = [_Device(job) for job in jobs]
        self._submit = submit or here
        self._present = present or (lambda: {job.device for job in jobs})
        self._circuits = 0
        self._done = 0
        self._events: list[Event] = []

    def run(self) -> Iterator[Epoch]:
        """Yield what is known before the first epoch, and after each; or after the one before.

        Raises
        ------
        UserError
            If no device is left.
        """
        if not self._done:
            self._call_roll(0)
            yield self._known(0)
        for number in range(self._done + 1, self.plan.epochs + 1):
            self._events = []
            self._call_roll(number)
            self._go_through(number)
            known = self._known(number)
            self._done = number
            yield known

    def state(self) -> dict[str, Any]:
        """Return what a trainer that goes on after this epoch needs; it can be pickled."""
        return {
            "done": self._done,
            "circuits": self._circuits,
            "strategy": self.strategy,
            "devices": [(d.clock_s, d.step, d.fenced) for d in self._devices],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where another trainer was."""
        self._done, self._circuits = state["done"], state["circuits"]
        self.strategy = state["strategy"]
        for device, known in zip(self._devices, state["devices"], strict=True):
            device.clock_s, device.step, device.fenced = known

    # -- one epoch ---------------------------------------------------------------------

    def _call_roll(self, epoch: int) -> None:
        """Have devices leave and come back as their schedules say."""
        present = self._present()
        for k, device in enumerate(self._devices):
            scheduled, has_pilot = device.is_online(epoch), device.job.device in present
            was_there = k in self.strategy.online
            if scheduled and has_pilot and not was_there:
                device.clock_s = self._now()
                self.strategy.joined(k)
                self._tell(epoch, device, "came back", "it is online again")
            elif was_there and not (scheduled and has_pilot):
                self.strategy.left(k)
                why = "its pilot is not active" if scheduled else "it is offline by its schedule"
                self._tell(epoch, device, "left", why)
        if not self.strategy.online:
            reasons = [f"'{d.job.device}' {d.fenced or 'is offline'}" for d in self._devices]
            raise UserError(
                f"no device is left in epoch {epoch}, expected at least one: {'; '.join(reasons)}"
            )

    def _now(self) -> float:
        return max(device.clock_s for device in self._devices)

    def _go_through(self, epoch: int) -> None:
        """Let every device that is there go through the training samples once."""
        now = self._now()
        flight: list[tuple[float, int, Result]] = []
        for k in sorted(self.strategy.online):
            device = self._devices[k]
            device.clock_s, device.batches = now, self._batches(epoch, k)
            device.todo = len(device.batches)
            if device.todo:
                self._start(k, flight)
        while flight:
            ready_s, k, pending = heapq.heappop(flight)
            for other in self._take(epoch, k, pending):
                self._devices[other].clock_s = max(self._devices[other].clock_s, ready_s)
                if self._devices[other].todo:
                    self._start(other, flight)

    def _batches(self, epoch: int, device: int) -> list[np.ndarray]:
        """Return the rows of a device's batches, in an order of its own."""
        dealt = self.plan.dealt
        rng = np.random.default_rng([self.plan.seed, epoch, 0 if dealt else device])
        rows = rng.permutation(len(self.data.x_train))
        batches = np.array_split(rows, -(-len(rows) // self.plan.batch_size))
        if not dealt:
            return batches
        online = sorted(self.strategy.online)
        turn = (online.index(device) + epoch) % len(online)
        return batches[turn :: len(online)]

    def _start(self, k: int, flight: list[tuple[float, int, Result]]) -> None:
        """Ask a device for its next gradient, at the weights that it has now."""
        device, plan = self._devices[k], self.plan
        rows = device.batches[len(device.batches) - device.todo]
        device.todo -= 1
        seed = np.random.SeedSequence([plan.seed, k, device.step]).generate_state(1)[0]
        device.step += 1
        circuits = device.job.prepared.shifts.circuits * len(rows)
        self._circuits += circuits
        pending = self._submit(
            device.job.device,
            work.gradient,
            device.job,
            self.strategy.weights_of(k),
            self.data.x_train[rows],
            self.data.y_train[rows],
            plan.shots,
            int(seed),
        )
        device.clock_s += circuits * max(plan.shots, 1) * device.job.prepared.shot_s
        heapq.heappush(flight, (device.clock_s, k, pending))

    def _take(self, epoch: int, k: int, pending: Result) -> Sequence[int]:
        """Take a gradient; return the devices whose turn is next."""
        device = self._devices[k]
        try:
            found = pending.result()
        except (PilotError, TaskError) as error:
            self._tell(epoch, device, "left", str(error).splitlines()[0])
            return self.strategy.left(k)
        if k not in self.strategy.online:
            return ()
        fault = fault_of(found, len(self.strategy.weights_of(k)))
        if fault is not None:
            device.fenced = f"is fenced off: {fault}"
            self._tell(epoch, device, "was fenced off", fault)
            return self.strategy.left(k)
        return self.strategy.received(k, found.gradient)

    def _tell(self, epoch: int, device: _Device, what: str, why: str) -> None:
        self._events.append(Event(epoch, device.job.device, what, why))

    # -- what is known -----------------------------------------------------------------

    def _known(self, number: int) -> Epoch:
        data = self.data
        test = self._values(data.x_test, number)
        train = self._values(data.x_train, number)
        return Epoch(
            number=number,
            losses=np.array([work.mean_loss(v, data.y_test) for v in test]),
            accuracies=np.array([np.mean((v > 0) == (data.y_test > 0)) for v in test]),
            train_losses=np.array([work.mean_loss(v, data.y_train) for v in train]),
            modelled_s=self._now(),
            circuits=self._circuits,
            online=tuple(self._devices[k].job.device for k in sorted(self.strategy.online)),
            events=tuple(self._events),
        )

    def _values(self, samples: np.ndarray, number: int) -> list[np.ndarray]:
        """Return the expectations of each device's model there, (samples,); NaN if it is away."""
        shots = 0 if self._devices[0].job.engine == "law" else self.plan.shots
        asked: Mapping[int, Result] = {
            k: self._submit(
                self._devices[k].job.device,
                work.values,
                self._devices[k].job,
                self.strategy.weights_of(k),
                samples,
                shots,
                int(np.random.SeedSequence([self.plan.seed, k, number, 1]).generate_state(1)[0]),
            )
            for k in sorted(self.strategy.online)
        }
        nothing = np.full(len(samples), np.nan)
        return [asked[k].result() if k in asked else nothing for k in range(len(self._devices))]


def fault_of(found: Any, weights: int) -> str | None:
    """Return what is wrong with a device's gradient, None if nothing is."""
    if not isinstance(found, Gradient) or np.shape(found.gradient) != (weights,):
        return f"it returned no gradient of {weights} weights"
    if not (np.isfinite(found.loss) and np.isfinite(found.gradient).all()):
        return "its gradient is not finite"
    if not (np.abs(found.values) <= 1.0 + 1e-9).all():
        return "its expectations are not between -1 and 1"
    return None


@dataclass(frozen=True)
class Done:
    """A result that is there."""

    value: Any

    def result(self) -> Any:
        """Return it."""
        return self.value


def here(device: str, fn: Callable[..., Any], *arguments: Any) -> Result:
    """Do the work of any device in this process, at once."""
    return Done(fn(*arguments))

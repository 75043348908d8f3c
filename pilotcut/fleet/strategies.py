"""Strategies of training on a fleet: whose gradients move whose weights, behind one interface.

A strategy owns the weights of all devices and knows nothing of circuits, pilots or clocks: it is
called when a device's gradient has arrived, when one has left or has joined, and says whose
turn is next. ArbiterQ (DAC 2025) and its rivals are such objects, so the same trainer runs them
with the same data, seeds and budget.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pilotcut.errors import UserError
from pilotcut.fleet.similarity import groups
from pilotcut.options import choice_fault


@dataclass(frozen=True)
class FleetFacts:
    """Facts about the devices, all that a strategy may know of them.

    Parameters
    ----------
    alike
        (devices, devices), see `pilotcut.fleet.similarity.similarity`.
    success
        (devices,), the probability that a run of the model's circuit has no error.
    """

    alike: np.ndarray
    success: np.ndarray

    @property
    def devices(self) -> int:
        """Number of devices."""
        return len(self.success)


#: Weights of the gradients of the device with the lowest and with the highest probability of
#: success; arXiv:2111.14940 has these among its choices.
EQC_BOUNDS = (0.5, 1.5)

#: How a device's own gradient and its neighbours' are put together.
COMBINE = ("mean", "sum")


@dataclass(frozen=True)
class Settings:
    """Numbers of the strategies; what they may be is checked by `pilotcut.fleet.config`.

    Parameters
    ----------
    lr
        Learning rate of plain gradient descent.
    threshold
        Least similarity of devices that share (arbiterq).
    combine
        ``"mean"`` weights gradients by similarity and divides by the sum of the weights where
        that is above 1; ``"sum"`` does not divide, so that more neighbours mean longer steps
        (arbiterq).
    local_steps
        Steps between averages (local-steps).
    """

    lr: float = 0.1
    threshold: float = 0.1
    combine: str = "mean"
    local_steps: int = 5


class Strategy(ABC):
    """Weights of all devices, and how gradients move them.

    Parameters
    ----------
    start
        (weights,), the same for all devices.
    facts, settings
        See there.

    Attributes
    ----------
    personal
        Whether devices have models of their own.
    together
        Whether nobody goes on before all have reported.
    """

    personal = False
    together = False

    def __init__(self, start: np.ndarray, facts: FleetFacts, settings: Settings) -> None:
        self.facts, self.settings = facts, settings
        self.online = set(range(facts.devices))
        self._weights = np.tile(np.asarray(start, dtype=float), (facts.devices, 1))

    def _stacked(self, gradients: Sequence[np.ndarray]) -> np.ndarray:
        """Return gradients as one array, (gradients, weights)."""
        return np.array(gradients, dtype=float).reshape(-1, self._weights.shape[1])

    def weights_of(self, device: int) -> np.ndarray:
        """Return a copy of the weights that a device has now, (weights,)."""
        return self._weights[device].copy()

    @abstractmethod
    def received(self, device: int, gradient: np.ndarray) -> Sequence[int]:
        """Take a gradient of a device that is online; return the devices whose turn is next."""

    def left(self, device: int) -> Sequence[int]:
        """Do without a device; return those that waited for it and may go on."""
        self.online.discard(device)
        return ()

    def joined(self, device: int) -> None:
        """Have a device back, with what was shared while it was away."""
        self.online.add(device)

    def see(self, facts: FleetFacts) -> None:
        """Take what the devices have become by a calibration."""
        self.facts = facts

    def adopt(self, device: int, weights: np.ndarray) -> None:
        """Have a device go on from other weights; for devices with models of their own."""
        self._weights[device] = weights

    def state(self) -> dict[str, np.ndarray]:
        """Return what has come of the gradients so far, as arrays."""
        return {"weights": self._weights.copy(), "online": _devices(self.online)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where another of its kind was.

        Raises
        ------
        ValueError
            If that one had other devices or weights.
        """
        self._weights[:] = _shaped(state["weights"], self._weights.shape)
        self.online = set(_known(state["online"], self.facts.devices))


class Single(Strategy):
    """Every device trains a model of its own, alone."""

    personal = True

    def received(self, device: int, gradient: np.ndarray) -> Sequence[int]:
        """Move the device's own weights."""
        self._weights[device] -= self.settings.lr * gradient
        return (device,)


class _Together(Strategy):
    """Devices that wait for each other: nobody goes on before all have reported."""

    together = True

    def __init__(self, start: np.ndarray, facts: FleetFacts, settings: Settings) -> None:
        super().__init__(start, facts, settings)
        self._reports: list[tuple[int, np.ndarray]] = []
        self._waiting: set[int] = set()

    def received(self, device: int, gradient: np.ndarray) -> Sequence[int]:
        """Keep the gradient until the others' are there."""
        self._reports.append((device, gradient))
        self._waiting.add(device)
        return self._go_on()

    def left(self, device: int) -> Sequence[int]:
        """Wait no longer for a device; what it has reported counts."""
        super().left(device)
        self._waiting.discard(device)
        return self._go_on()

    def state(self) -> dict[str, np.ndarray]:
        """Return also who waits, and what has been reported."""
        return super().state() | {
            "waiting": _devices(self._waiting),
            "reporters": np.array([device for device, _ in self._reports], dtype=int),
            "reports": self._stacked([gradient for _, gradient in self._reports]),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where another of its kind was."""
        super().restore(state)
        self._waiting = set(_known(state["waiting"], self.facts.devices))
        reporters = _known(state["reporters"], self.facts.devices)
        reports = _shaped(state["reports"], (len(reporters), self._weights.shape[1]))
        self._reports = list(zip(reporters, reports, strict=True))

    def _go_on(self) -> Sequence[int]:
        if not self._reports or self._waiting != self.online:
            return ()
        # Reports are kept apart from who waits: a device that leaves after it has reported is not
        # waited for, and its gradient still counts.
        released, reports = tuple(sorted(self._waiting)), self._reports
        self._waiting, self._reports = set(), []
        self._step(sorted(reports, key=lambda report: report[0]))
        return released

    @abstractmethod
    def _step(self, reports: list[tuple[int, np.ndarray]]) -> None: ...


class AllSharing(_Together):
    """One model for all: the mean of all gradients moves it."""

    def _step(self, reports: list[tuple[int, np.ndarray]]) -> None:
        self._weights -= self.settings.lr * np.mean([gradient for _, gradient in reports], axis=0)


class LocalSgd(_Together):
    """Devices take some steps alone; then their weights are averaged (arXiv:1805.09767).

    The average goes to devices that are away, too. Steps that a device took alone before it
    left are in no average: they were not shared yet.
    """

    def __init__(self, start: np.ndarray, facts: FleetFacts, settings: Settings) -> None:
        super().__init__(start, facts, settings)
        self._taken = np.zeros(facts.devices, dtype=int)

    def received(self, device: int, gradient: np.ndarray) -> Sequence[int]:
        """Move the device's own weights; after enough steps it waits for the average."""
        self._weights[device] -= self.settings.lr * gradient
        self._taken[device] += 1
        if self._taken[device] < self.settings.local_steps:
            return (device,)
        return super().received(device, gradient)

    def joined(self, device: int) -> None:
        """Have a device back, in step with the others: who waits does so for a step at most."""
        self._taken[device] = self._taken[sorted(self.online)].max(initial=0)
        super().joined(device)

    def state(self) -> dict[str, np.ndarray]:
        """Return also how many steps each has taken alone."""
        return super().state() | {"taken": self._taken.copy()}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where another of its kind was."""
        super().restore(state)
        self._taken[:] = _shaped(state["taken"], self._taken.shape)

    def _step(self, reports: list[tuple[int, np.ndarray]]) -> None:
        self._weights[:] = self._weights[sorted({device for device, _ in reports})].mean(axis=0)
        self._taken[:] = 0


class Eqc(Strategy):
    """One model for all, moved by each gradient as it comes, by the device's quality (EQC).

    Gradients are computed from weights that others have moved since. A device's weight grows
    linearly with its probability of success, from the lower to the upper bound
    (arXiv:2111.14940, which sends a parameter at a time to a device; here it is a gradient).
    """

    def __init__(self, start: np.ndarray, facts: FleetFacts, settings: Settings) -> None:
        super().__init__(start, facts, settings)
        self.see(facts)

    def see(self, facts: FleetFacts) -> None:
        """Trust the devices by what they have become."""
        super().see(facts)
        low, high = facts.success.min(), facts.success.max()
        # Devices that are all alike stand in the middle, where a gradient counts once.
        place = (facts.success - low) / (high - low) if high > low else np.full(facts.devices, 0.5)
        first, last = EQC_BOUNDS
        self.trust = first + (last - first) * place

    def received(self, device: int, gradient: np.ndarray) -> Sequence[int]:
        """Move the model."""
        self._weights -= self.settings.lr * self.trust[device] * gradient
        return (device,)


class ArbiterQ(Strategy):
    """A model for every device, moved by its own gradients and by those of devices like it.

    A device's step is the mean of its own gradient and its neighbours', weighted by similarity.
    Nobody waits: gradients lie in the neighbours' buffers until their next step, and each is used
    once by each; of a neighbour that has sent several by then it is their mean. A device that is
    away has its buffer too: what its neighbours learn meanwhile moves its weights, one step for
    each round of theirs.
    """

    personal = True

    def __init__(self, start: np.ndarray, facts: FleetFacts, settings: Settings) -> None:
        super().__init__(start, facts, settings)
        self.see(facts)
        self._buffers: list[dict[int, list[np.ndarray]]] = [{} for _ in range(facts.devices)]

    def see(self, facts: FleetFacts) -> None:
        """Group the devices by what they have become."""
        super().see(facts)
        self.groups = groups(facts.alike, self.settings.threshold)
        self._group_of = {device: group for group in self.groups for device in group}

    def adopt(self, device: int, weights: np.ndarray) -> None:
        """Have a device go on from other weights, without what was sent to the ones it had."""
        super().adopt(device, weights)
        self._buffers[device] = {}

    def received(self, device: int, gradient: np.ndarray) -> Sequence[int]:
        """Share the gradient, and take the device's step."""
        for other in self._group_of[device]:
            if other not in self.online and device in self._buffers[other]:
                self._move(other)  # a round of its neighbours is complete
            self._buffers[other].setdefault(device, []).append(gradient)
        self._move(device)
        return (device,)

    def joined(self, device: int) -> None:
        """Have a device back, moved by what is left in its buffer."""
        self._move(device)
        super().joined(device)

    def state(self) -> dict[str, np.ndarray]:
        """Return also the gradients in the buffers: of whom, from whom, in order."""
        lying = [
            (device, sender, gradient)
            for device, buffer in enumerate(self._buffers)
            for sender, gradients in buffer.items()
            for gradient in gradients
        ]
        return super().state() | {
            "buffers": np.array([one[:2] for one in lying], dtype=int).reshape(-1, 2),
            "gradients": self._stacked([gradient for *_, gradient in lying]),
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where another of its kind was."""
        super().restore(state)
        places = _shaped(state["buffers"], (len(state["buffers"]), 2))
        gradients = _shaped(state["gradients"], (len(places), self._weights.shape[1]))
        self._buffers = [{} for _ in range(self.facts.devices)]
        for place, gradient in zip(places, gradients, strict=True):
            device, sender = _known(place, self.facts.devices)
            self._buffers[device].setdefault(sender, []).append(gradient)

    def _move(self, device: int) -> None:
        """Take a step with what is in a device's buffer, and empty it."""
        buffer, self._buffers[device] = self._buffers[device], {}
        others = sorted(buffer)
        if not others:
            return
        shares = self.facts.alike[device, others]
        if self.settings.combine == "mean":
            # Below 1 the device itself is away, and nobody there is much like it.
            shares = shares / max(1.0, shares.sum())
        means = np.stack([np.mean(buffer[other], axis=0) for other in others])
        self._weights[device] -= self.settings.lr * shares @ means


def _devices(some: Iterable[int]) -> np.ndarray:
    return np.array(sorted(some), dtype=int)


def _known(found: np.ndarray, devices: int) -> list[int]:
    """Return numbers of devices, if they are."""
    numbers = _shaped(found, (len(found),)).tolist()
    if any(type(number) is not int or not 0 <= number < devices for number in numbers):
        raise ValueError(f"devices are {numbers}, expected numbers below {devices}")
    return numbers


def _shaped(found: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return finite numbers, if they have a shape."""
    if found.shape != shape or found.dtype.kind not in "if" or not np.isfinite(found).all():
        raise ValueError(f"{found.dtype} of shape {found.shape}, expected numbers of shape {shape}")
    return found


STRATEGIES: dict[str, type[Strategy]] = {
    "single": Single,
    "all-sharing": AllSharing,
    "eqc": Eqc,
    "local-steps": LocalSgd,
    "arbiterq": ArbiterQ,
}


def strategy(name: str, start: np.ndarray, facts: FleetFacts, settings: Settings) -> Strategy:
    """Return a strategy by its name.

    Raises
    ------
    UserError
        For an unknown name.
    """
    if name not in STRATEGIES:
        raise UserError(choice_fault("strategy", name, tuple(STRATEGIES)))
    return STRATEGIES[name](start, facts, settings)

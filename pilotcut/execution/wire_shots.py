"""Wires with classical communication: what a receiver prepares gets shots as its sender found it.

Fragments are measured in the order of their wires. What a sender found says which weight each
state has that its receiver may prepare, and shots are dealt by these weights; the bond is then the
best one for these shots (`pilotcut.cutting.wires.joined`). Whatever is dealt, nothing is biased:
the bond is exact for any shots, and these depend on the sender's outcomes alone.

The protocol of arXiv:2302.03366 sends each outcome on to one shot of the receiver. Here the
frequencies of all outcomes are sent on to all shots, so no device needs feed-forward, and noise
of the draw of states is no part of the error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pilotcut.cutting.bond import Bond
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.wires import joined
from pilotcut.options import COMMUNICATION

#: Share of a receiver's shots that all states get alike: gradients and errors need all of them.
FLOOR = 0.1

#: Shots are dealt in multiples of this: Aer runs a job for every binary digit.
QUANTUM = 16

#: With fewer shots of a subexperiment what a sender found says too little to deal by.
LEAST_DEALT = 64

# Weights follow from a bond, and the best bond from the weights: found in turn, so many times.
_ROUNDS = 6

# States of a smaller share are not prepared: each is a circuit.
_LEAST_SHARE = 0.01


def stages_of(plan: CutPlan) -> list[list[int]]:
    """Return the fragments in the order in which they are measured, those of a stage together.

    A receiver comes behind its senders, as far as their wires communicate: a plan has an order for
    these (`pilotcut.cutting.wire_ways`).
    """
    senders: dict[int, set[int]] = {f: set() for f in range(len(plan.fragments))}
    for bond in _wire_bonds(plan):
        (sender, _), (receiver, _) = bond.ends
        senders[receiver].add(sender)
    stages: list[list[int]] = []
    left = list(senders)
    while left:
        free = [f for f in left if not senders[f] & set(left)]
        assert free, "wires communicate where fragments have an order"
        stages.append(free)
        left = [f for f in left if f not in free]
    return stages


def _wire_bonds(plan: CutPlan) -> list[Bond]:
    """Return the bonds of wires with communication."""
    return [bond for bond in plan.bonds if bond.way == COMMUNICATION]


@dataclass
class WireShots:
    """Shots of a batch, dealt stage by stage.

    Parameters
    ----------
    plan
        The plan.
    rows
        Number of parameter sets.
    shots
        Mean shots of a subexperiment.
    matrices
        The bond matrices, (rows or 1, d0, d1); those of wires are replaced as shots are dealt.
    """

    plan: CutPlan
    rows: int
    shots: int
    matrices: list[np.ndarray]
    stages: list[list[int]] = field(init=False)
    _shares: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.stages = stages_of(self.plan)
        self._dealt = _wire_bonds(self.plan)

    def of_stage(self, stage: Sequence[int]) -> list[np.ndarray]:
        """Return shots (rows, subexperiments) of each fragment, 0 where it is another's turn."""
        return [
            self._of(f) if f.index in stage else np.zeros((self.rows, f.num_subexperiments), int)
            for f in self.plan.fragments
        ]

    def _of(self, fragment: Fragment) -> np.ndarray:
        fragments = self.plan.fragments
        total = self.shots * sum(f.num_subexperiments for f in fragments)
        budget = total * self._size(fragment) / sum(map(self._size, fragments))
        weight = self._weights(fragment)
        exact = budget * weight / weight.sum(axis=1, keepdims=True)
        step = QUANTUM if self.shots >= LEAST_DEALT else 1
        # What has no share has no shots: its weight in the bond is 0.
        least = np.where(weight > 0, step, 0)
        return np.maximum(least, np.rint(exact / step).astype(int) * step)

    def prepared(self, fragment: Fragment) -> np.ndarray:
        """Return which subexperiments have a weight, boolean (rows, subexperiments)."""
        return self._weights(fragment) > 0

    def _weights(self, fragment: Fragment) -> np.ndarray:
        """Return the shares of what each subexperiment prepares, (rows, subexperiments)."""
        columns = [t.choices for t in fragment.templates]
        choices = np.concatenate(columns) if columns else np.zeros((0, len(fragment.sites)), int)
        weight = np.ones((self.rows, len(choices)))
        for bond in self._into(fragment):
            weight *= self._shares[bond.index][:, choices[:, bond.ends[1][1]]]
        return weight

    def _into(self, fragment: Fragment) -> list[Bond]:
        """Return the bonds of the wires that a fragment receives and whose shots are dealt."""
        return [bond for bond in self._dealt if bond.ends[1][0] == fragment.index]

    def _size(self, fragment: Fragment) -> float:
        """Return a fragment's share of the shots, up to a factor: its number of subexperiments.

        A receiver counts as many as its sender: it prepares few of the states that it may.
        """
        size = float(fragment.num_subexperiments)
        for bond in self._into(fragment):
            states = self.matrices[bond.index].shape[-1]
            size *= (2.0**bond.gates + 1) / states
        return size

    def learn(
        self, stage: Sequence[int], tensors: Sequence[FragmentTensor] | Mapping[int, FragmentTensor]
    ) -> None:
        """Deal by what the fragments of a stage found: shares of states, and the bond for them."""
        for bond in self._dealt:
            sender, axis = bond.ends[0]
            if sender in stage:
                weights = self._configurations(sender, axis, tensors[sender].values)
                share = _shares(bond.gates, weights, self.matrices[bond.index].shape[-1])
                self._shares[bond.index] = share
                self.matrices[bond.index] = joined(bond.gates, share)

    def _configurations(self, sender: int, axis: int, values: np.ndarray) -> np.ndarray:
        """Return what a sender found at a site, (rows, configurations, entries).

        A configuration is a sub-observable and an operation at each other site, whose weight in
        the contraction is estimated by the bond there.
        """
        for bond in self.plan.bonds:
            for side, (fragment, other) in enumerate(bond.ends):
                if fragment != sender or other == axis:
                    continue
                weight = np.sqrt((self.matrices[bond.index] ** 2).sum(axis=2 - side))
                if side == 1 and bond.index in self._shares:
                    weight = self._shares[bond.index]
                shape = [len(weight), *[1] * (values.ndim - 1)]
                shape[2 + other] = -1
                values = values * weight.reshape(shape)
        moved = np.moveaxis(values, 2 + axis, -1)
        return moved.reshape(self.rows, -1, moved.shape[-1])


def _shares(wires: int, found: np.ndarray, count: int) -> np.ndarray:
    """Return shares of shots (rows, count) for what senders found, (rows, configurations, entries).

    Of a state that is prepared N times the variance falls as ``w^2 / N`` with w its weight, so N is
    proportional to ``|w|``. The floor is for the unbiased states, which come first and span all
    operators; of the others those of little weight are not prepared.
    """
    floor = np.zeros(count)
    floor[: found.shape[-1]] = FLOOR / found.shape[-1]
    share = np.full((len(found), count), 1 / count)
    for _ in range(_ROUNDS):
        weight = np.sqrt(((found @ joined(wires, share)) ** 2).sum(axis=1))
        total = weight.sum(axis=1, keepdims=True)
        even = np.full_like(weight, 1 / count)
        dealt = np.divide(weight, total, out=even, where=total > 0)
        share = floor + (1 - FLOOR) * dealt
    share[(share < _LEAST_SHARE) & (floor == 0)] = 0.0
    return share / share.sum(axis=1, keepdims=True)

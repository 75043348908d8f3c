"""Stages: a batch whose fragments run one after the other, in the order of its wires.

Owns which fragments run when, and puts their tensors together. What is dealt between two stages is
`pilotcut.execution.wire_shots`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.execution.executor import Executor, Keep
from pilotcut.execution.query_store import Outputs, Query, begun, writer
from pilotcut.execution.results import Contracting, Evaluation
from pilotcut.execution.streaming import BatchTimes, RowsReady
from pilotcut.execution.wire_shots import WireShots
from pilotcut.execution.work_units import Request, WorkUnit
from pilotcut.reconstruction.block_store import BlockStore
from pilotcut.reconstruction.contraction import Contraction


@dataclass
class Stages:
    """A batch that runs in stages.

    Parameters
    ----------
    executor
        Runs the fragments of a stage.
    dealing
        Deals the shots of each stage by what those before it found.
    angles
        For each fragment (rows, angles).

    Attributes
    ----------
    requests
        What was asked of each fragment so far.
    units
        What ran for it.
    """

    executor: Executor
    dealing: WireShots
    angles: Sequence[np.ndarray]
    requests: list[Request] = field(default_factory=list)
    units: list[WorkUnit] = field(default_factory=list)
    _tensors: dict[int, FragmentTensor] = field(default_factory=dict)
    _times: BatchTimes = field(default_factory=BatchTimes)

    def evaluate(
        self,
        seed: np.random.SeedSequence,
        contracting: Callable[[], Contracting],
        root: Path | None,
        outputs: Outputs | None,
    ) -> tuple[Evaluation, BatchTimes]:
        """Run all stages and put the batch together; return also where the time went.

        Parameters
        ----------
        seed
            The same seed gives the same numbers on any worker.
        contracting
            Called once all shots are dealt; takes rows of the last stage as they are complete.
        root
            Directory of all queries of a run; None keeps nothing.
        outputs
            Coefficients and constants of what is asked, for what is kept.
        """
        (batch,) = seed.spawn_key
        *first, last = self.dealing.stages
        kept = None if root is None else begun(root, batch)
        for stage in first:
            found = self._run(stage, self._asked(stage), seed, None, lambda _: kept)
            self.dealing.learn(stage, found)
        requests = self._asked(last)
        ending = contracting()
        keep: Keep | None = None
        if root is not None:
            assert isinstance(ending.contraction, Contraction), "sampled terms are in no store"
            asked = (ending.contraction, self.requests, (), ending.matrices, False)
            keep = writer(root, Query(*asked, *(outputs or (None, None))), batch, self.units)

        def ready(rows: slice, some: Sequence[FragmentTensor]) -> None:
            ending.add(rows, self._whole(some, last))

        found = self._run(last, requests, seed, ready, keep)
        dealt = [np.asarray(request.shots) for request in self.requests]
        evaluation = ending.evaluation(self._whole(found, last))
        return replace(evaluation, shots=self.dealing.shots, dealt=dealt), self._times

    def _run(
        self,
        stage: Sequence[int],
        requests: Sequence[Request],
        seed: np.random.SeedSequence,
        ready: RowsReady | None,
        keep: Keep | None,
    ) -> list[FragmentTensor]:
        def noting(units: Sequence[WorkUnit]) -> BlockStore | None:
            known = {unit.index for unit in units}  # they may have moved meanwhile
            self.units[:] = [one for one in self.units if one.index not in known] + [*units]
            return None if keep is None else keep(units)

        found, times = self.executor.evaluate(requests, seed, ready, noting)
        self._times.add(times)
        self._tensors |= {f: found[f] for f in stage}
        return found

    def _whole(self, found: Sequence[FragmentTensor], stage: Sequence[int]) -> list[FragmentTensor]:
        """Return the tensors of all fragments, of which some are those of a stage."""
        return [one if f in stage else self._tensors[f] for f, one in enumerate(found)]

    def _asked(self, stage: Sequence[int]) -> list[Request]:
        """Return what is asked in a stage: of the fragments of other stages nothing."""
        fragments = self.dealing.plan.fragments
        dealt = self.dealing.of_stage(stage)
        requests = [
            Request(f, angles, shots)
            for f, angles, shots in zip(fragments, self.angles, dealt, strict=True)
        ]
        before = self.requests or requests
        self.requests = [one if f in stage else before[f] for f, one in enumerate(requests)]
        return requests

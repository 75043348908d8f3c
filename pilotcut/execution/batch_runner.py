"""Batch runner: a compiled plan and parameter values in, an evaluation and a record out.

The recipe of every batch is the same: requests, execution with a stream of random numbers of its
own, reconstruction, record. On it rest the ways to spend shots: alike, by what they add to the
error, until a precision is reached, or on samples of terms. Refuses to know observables, PUBs and
how a plan came about.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.errors import UserError
from pilotcut.execution.batch_log import BatchLog
from pilotcut.execution.contraction_target import contracting_for
from pilotcut.execution.contractions import way_of
from pilotcut.execution.devices import fleet_of
from pilotcut.execution.executor import Executor
from pilotcut.execution.long_calls import LongCalls
from pilotcut.execution.mitigating import check_devices, growth_of
from pilotcut.execution.query_store import Outputs, Query, writer
from pilotcut.execution.results import Contracting, Evaluation, RowEvaluations, contracted
from pilotcut.execution.shot_allocation import dealt_after, merge, weighted_shots
from pilotcut.execution.stages import Stages
from pilotcut.execution.streaming import BatchTimes
from pilotcut.execution.usage import UsageBudget
from pilotcut.execution.wire_shots import LEAST_DEALT, WireShots, stages_of
from pilotcut.execution.work_units import Request, about_of, requests_of
from pilotcut.options import MOST_SHOTS, EngineOptions, counted
from pilotcut.pilots.description.mitigation import Mitigation
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.term_sampling import TermSample
from pilotcut.tasks import TaskManager

if TYPE_CHECKING:
    from pilotcut.backends.statevector import Linearised

Measured = TypeVar("Measured")
Result = TypeVar("Result")

#: Returns what was predicted of a batch (plan, rows, shots), for its record.
Forecast = Callable[[CutPlan, int, int], dict[str, Any]]

#: With fewer shots a pilot round says too little to deal by, and with fewer still nothing is dealt.
LEAST_OPTIMAL, LEAST_WEIGHTED = 32, 8

#: Shots of the round that measures how many shots a precision needs, and the margin on
#: its error, which is itself known to a few percent only.
PILOT_SHOTS, PILOT_MARGIN = 256, 1.1

#: Calls in words, for what is said of long ones.
VALUES, SLOPES = "a batch of values", "a batch of derivatives"


class BatchRunner:
    """Runs batches of compiled plans, one after the other, and records them.

    Parameters
    ----------
    log
        Streams of random numbers, records and totals.
    mode, shots, backend, error_tolerance, num_samples, reconstruction, store
        As in `pilotcut.CutEstimator`, checked; `shots` are 0 in exact mode.
    allocation
        See `shot_allocation` of `pilotcut.CutEstimator`.
    max_seconds, max_usage
        See `pilotcut.execution.long_calls.LongCalls`, and `UsageBudget`.
    engine, mitigation
        How the exact mode computes; what is done about the errors of devices.

    Attributes
    ----------
    forecast
        Says what was predicted of a batch; None where nobody did.
    """

    def __init__(
        self,
        log: BatchLog,
        *,
        mode: str,
        shots: int,
        backend: str,
        error_tolerance: float,
        allocation: str,
        num_samples: int | None,
        reconstruction: str,
        store: Path | None,
        max_seconds: float,
        max_usage: float | None = None,
        engine: EngineOptions,
        mitigation: Mitigation | None = None,
    ) -> None:
        self.log = log
        self.mode = mode
        self.shots = shots
        self._backend, self._error_tolerance = backend, error_tolerance
        self._allocation, self._num_samples = allocation, num_samples
        self._reconstruction, self._store = reconstruction, store
        self.forecast: Forecast | None = None
        self._engine, self.mitigation = engine, mitigation
        self._max_usage = max_usage
        self._long_calls = LongCalls(mode, max_seconds, engine)
        self.use(None)

    def __getstate__(self) -> dict[str, Any]:
        # A store is for one to write: two that number their batches alike would mix them.
        # And what a copy uses of devices is on its own account, from that of the first.
        log, executor = copy.copy(self.log), copy.copy(self.executor)
        executor.budget = UsageBudget(self._max_usage, log)
        return self.__dict__ | {"log": log, "executor": executor, "_store": None}

    @property
    def exact(self) -> bool:
        """Whether values come from statevectors and not from shots."""
        return self.mode == "exact"

    def use(self, tasks: TaskManager | None) -> None:
        """Run circuits through `tasks` from now on, or in this process."""
        how = (self._backend, self._error_tolerance, self._engine)
        self.executor = Executor(
            tasks, *how, UsageBudget(self._max_usage, self.log), self.mitigation
        )

    # -- how long it will take -----------------------------------------------------------

    def expect(
        self,
        plan: CutPlan,
        requests: Sequence[Request],
        what: str,
        *,
        contraction: Contraction | None = None,
        pulled: int = 0,
    ) -> None:
        """Say what is predicted to take minutes, and refuse what takes longer than allowed.

        Parameters
        ----------
        plan, requests, what, contraction, pulled
            See `pilotcut.execution.long_calls.LongCalls`.
        """
        fleet = fleet_of(self.executor.tasks, self.mode)
        check_devices(self.mitigation, fleet)
        if fleet.devices:
            return  # they take the time that they take
        self._long_calls.expect(
            plan,
            requests,
            what,
            workers=self.executor.workers,
            contraction=contraction,
            pulled=pulled,
        )

    def expect_batch(
        self, contraction: Contraction, slots: np.ndarray, shots: int | None = None
    ) -> None:
        """Do so for the values of a batch (rows, slots), ahead of it."""
        if self._num_samples is None:  # which terms are drawn is not known yet
            number = self.shots if shots is None else shots
            requests = requests_of(contraction.plan, slots, number)
            self.expect(contraction.plan, requests, VALUES, contraction=contraction)

    # -- what a batch is run for ---------------------------------------------------------

    def estimate(
        self,
        contraction: Contraction,
        slots: np.ndarray,
        outputs: Outputs,
        shots: int | None = None,
        keep: bool = False,
    ) -> Evaluation | RowEvaluations:
        """Return the evaluation of a batch (rows, slots), with shots dealt as the options say.

        Parameters
        ----------
        contraction, slots
            What to run, with its plan, and for which slot values.
        outputs
            Coefficients (observables, terms) and constants (observables,) of what is wanted.
        shots
            Of each subexperiment; None for the runner's own.
        keep
            Keep what derivatives need where that is possible.
        """
        number = self.shots if shots is None else shots
        self.expect_batch(contraction, slots, number)
        if self._num_samples is not None:
            return self.evaluate(contraction, slots)
        if self._allocation == "optimal" and not self.exact and number >= LEAST_OPTIMAL:
            dealt = self._evaluate_optimally(contraction, slots, outputs[0], number)
            return replace(dealt, shots=number)  # of a derivative's circuits: all alike
        # Wires with communication deal by what their senders found, which says more.
        unknown = not self.exact and len(stages_of(contraction.plan)) == 1
        if self._allocation != "uniform" and unknown and number >= LEAST_WEIGHTED:
            weighted = weighted_shots(contraction, slots, outputs[0], number, slopes=keep)
            return self._evaluate_all(contraction, slots, number, outputs=outputs, dealt=weighted)
        return self._evaluate_evenly(contraction, slots, number, keep=keep, outputs=outputs)

    def evaluate(
        self,
        contraction: Contraction,
        slots: np.ndarray,
        source: str = "forward",
        keep: bool = False,
    ) -> Evaluation | RowEvaluations:
        """Return the evaluation of a batch (rows, slots), shots alike; `source` is for the record.

        The rest as for `estimate`.
        """
        if self._num_samples is not None:
            matrices = [bond.matrix(slots) for bond in contraction.plan.bonds]
            return self.evaluate_terms(contraction.plan, slots, matrices, source)
        self.expect_batch(contraction, slots)
        return self._evaluate_evenly(contraction, slots, self.shots, source, keep)

    def shots_for(
        self,
        contraction: Contraction,
        slots: np.ndarray,
        coefficients: np.ndarray,
        precision: float,
    ) -> int:
        """Return shots per subexperiment for a standard error of `precision` on every row.

        A pilot round measures the error; errors fall with the square root of the shots.

        Raises
        ------
        UserError
            If they are more than can be asked for.
        """
        pilot = self._evaluate_evenly(contraction, slots, PILOT_SHOTS, "pilot")
        error = float(pilot.errors(coefficients).max())
        times = PILOT_MARGIN * error / precision
        shots = PILOT_SHOTS * times * times  # infinite where a power would overflow
        shots *= growth_of(self.mitigation, pilot.mitigation, shots)
        if not shots <= MOST_SHOTS:
            cuts = counted(contraction.plan.num_cuts, "cut")
            raise UserError(
                f"precision {precision} needs {shots:.3g} shots a subexperiment with {cuts}, "
                f"expected at most {MOST_SHOTS:,}; ask for less precision or fewer cuts"
            )
        return max(1, ceil(shots))

    def evaluate_terms(
        self,
        plan: CutPlan,
        slots: np.ndarray,
        bonds: Sequence[np.ndarray],
        source: str = "forward",
    ) -> RowEvaluations:
        """Run a fresh sample of terms for every row, drawn by `bonds` (rows or 1, d0, d1)."""
        assert self._num_samples is not None
        # Terms draw from a stream of their own; the shots draw from that which `run` takes.
        rng = np.random.default_rng(self.log.stream(self.log.next_batch()))
        samples = [
            TermSample.draw(plan, [b[row % len(b)] for b in bonds], self._num_samples, rng)
            for row in range(len(slots))
        ]
        requests = [
            Request(f, f.angle_values(slots[row : row + 1]), self.shots)
            for row, sample in enumerate(samples)
            for f in sample.plan.fragments
        ]
        each = len(plan.fragments)
        self.expect(plan, requests, VALUES if source == "forward" else SLOPES)

        def execute(batch: int) -> tuple[list[FragmentTensor], BatchTimes]:
            return self.executor.evaluate(requests, self.log.stream(batch))

        def contract(tensors: list[FragmentTensor]) -> RowEvaluations:
            rows = []
            for k, sample in enumerate(samples):
                some = tensors[k * each : (k + 1) * each]
                row = contracted(sample, self._matrices(sample.plan, slots[k : k + 1]), some)
                rows.append(replace(row, shots=self.shots))
            return RowEvaluations(rows)

        # A request has one row here, so `about_of` would count one query.
        about = about_of(requests, source, exact=self.exact) | {"queries": len(slots)}
        about["reconstruction"] = self._contracting(samples[0], [], 1).reason
        return self.run(plan, execute, contract, about)

    def run(
        self,
        plan: CutPlan,
        execute: Callable[[int], tuple[Measured, BatchTimes]],
        reconstruct: Callable[[Measured], Result],
        about: dict[str, Any],
    ) -> Result:
        """Execute one batch, reconstruct, and record where the time went.

        Parameters
        ----------
        plan
            Named in the record.
        execute
            Runs the batch of a number, by which the log has a stream of random numbers for it.
        reconstruct
            Turns what was measured into the result.
        about
            Queries, subexperiments, and what else is to be recorded.
        """
        started = perf_counter()
        batch = self.log.next_batch()
        measured, times = execute(batch)
        executed = perf_counter()
        result = reconstruct(measured)
        if times.mitigation and isinstance(result, Evaluation):
            result = replace(result, mitigation=times.mitigation)
        ended = perf_counter()
        how = {
            "mode": self.mode,
            "workers": self.executor.workers,
            "policy": self.executor.policy,
        }
        seconds = {"contract_s": ended - executed, "wall_s": ended - started}
        self.log.record(plan, batch, about | how, times, **seconds)
        return result

    # -- how -----------------------------------------------------------------------------

    def _evaluate_optimally(
        self, contraction: Contraction, slots: np.ndarray, coefficients: np.ndarray, shots: int
    ) -> Evaluation:
        """Spend the same shots where they lower the error most; the pilot's counts are kept."""
        first = max(shots // 8, min(8, shots // 4))
        fragments = contraction.plan.fragments
        weighted = weighted_shots(contraction, slots, coefficients, first)
        pilot = self._evaluate_all(contraction, slots, first, "pilot", dealt=weighted)
        matrices = self._matrices(contraction.plan, slots)
        dealt, matrices = dealt_after(pilot, matrices, coefficients, weighted, shots - first)
        rest = self._evaluate_all(contraction, slots, shots - first, dealt=dealt)
        both = (fragments, pilot.tensors, rest.tensors, weighted, dealt)
        return contracted(contraction, matrices, list(map(merge, *both)))

    def _evaluate_evenly(
        self,
        contraction: Contraction,
        slots: np.ndarray,
        shots: int,
        source: str = "forward",
        keep: bool = False,
        outputs: Outputs | None = None,
    ) -> Evaluation:
        """Run a batch with shots alike, but for wires whose receivers follow their senders."""
        if not self.exact and shots >= LEAST_DEALT and len(stages_of(contraction.plan)) > 1:
            return self._evaluate_in_order(contraction, slots, shots, source, outputs)
        return self._evaluate_all(contraction, slots, shots, source, keep, outputs)

    def _evaluate_in_order(
        self,
        contraction: Contraction,
        slots: np.ndarray,
        shots: int,
        source: str,
        outputs: Outputs | None,
    ) -> Evaluation:
        """Run fragments in the order of wires; what a sender found deals its receiver's shots."""
        plan = contraction.plan
        dealing = WireShots(plan, len(slots), shots, self._matrices(plan, slots))
        stages = Stages(self.executor, dealing, [f.angle_values(slots) for f in plan.fragments])
        about = self.forecast(plan, len(slots), shots).copy() if self.forecast else {}

        def contracting() -> Contracting:
            # What is run, and how it is put together, is known only now.
            found = self._contracting(contraction, dealing.matrices, len(slots))
            about.update(about_of(stages.requests, source), reconstruction=found.reason)
            return found

        def execute(batch: int) -> tuple[Evaluation, BatchTimes]:
            return stages.evaluate(self.log.stream(batch), contracting, self._store, outputs)

        return self.run(plan, execute, lambda found: found, about)

    def _evaluate_all(
        self,
        contraction: Contraction,
        slots: np.ndarray,
        shots: int,
        source: str = "forward",
        keep: bool = False,
        outputs: Outputs | None = None,
        dealt: Sequence[np.ndarray] = (),
    ) -> Evaluation:
        """Run every subexperiment of a batch with so many shots, alike or on average.

        `outputs` are coefficients (observables, terms) and constants, for what is kept of it;
        `dealt` shots (rows, subexperiments) of each fragment.
        """
        requests = requests_of(contraction.plan, slots, dealt or shots)
        kept: list[Linearised] = []
        matrices = self._matrices(contraction.plan, slots)
        contracting = self._contracting(contraction, matrices, len(slots))

        def execute(batch: int) -> tuple[list[FragmentTensor], BatchTimes]:
            # A store holds values; the graphs that derivatives go back through are in no block.
            may_keep = self.exact and keep and self._store is None
            if may_keep and (found := self.executor.linearised(requests)):
                kept.extend(found[0])
                tensors = [FragmentTensor(one.values, ()) for one in kept]
                contracting.add(slice(0, len(slots)), tensors)
                return tensors, found[1]
            store = None
            if self._store is not None:
                asked = outputs or (None, None)
                query = Query(contraction, requests, (), matrices, self.exact, *asked)
                store = writer(self._store, query, batch)
            if self.exact:
                return self.executor.exact(requests, contracting.add, store)
            return self.executor.evaluate(requests, self.log.stream(batch), contracting.add, store)

        def contract(tensors: list[FragmentTensor]) -> Evaluation:
            found = contracting.evaluation(tensors)
            return replace(found, shots=shots, dealt=dealt, requests=requests, kept=kept)

        about = about_of(requests, source, exact=self.exact) | {
            "reconstruction": contracting.reason
        }
        takes_more = self.exact and keep  # than the values, which the forecast is of
        if self.forecast is not None and not takes_more:
            about |= self.forecast(contraction.named_plan, len(slots), shots)
        if self.exact:
            way = way_of(contraction, self._engine)
            about |= {"engine": way, "dtype": self._engine.dtype}
        return self.run(contraction.named_plan, execute, contract, about)

    def _contracting(
        self, contraction: Contraction | TermSample, matrices: Sequence[np.ndarray], rows: int
    ) -> Contracting:
        tasks, wanted = self.executor.tasks, self._reconstruction
        return contracting_for(wanted, tasks, contraction, matrices, rows=rows, exact=self.exact)

    def _matrices(self, plan: CutPlan, slots: np.ndarray) -> list[np.ndarray]:
        """Return the bond matrices, each (rows, d0, d1) or (1, d0, d1)."""
        return [(b.coherent_matrix if self.exact else b.matrix)(slots) for b in plan.bonds]

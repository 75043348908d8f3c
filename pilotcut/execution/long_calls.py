"""Long calls: what is predicted to take minutes says so before it starts, hours are refused.

Owns what is said, once for each plan, and what else is proposed: another mode, or another plan
where one is found quickly. How long something takes is `pilotcut.execution.duration`'s.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pilotcut.backends.statevector_plan import MEMORY_BYTES
from pilotcut.cutting.plan import CutPlan, build_plan, check_size
from pilotcut.cutting.search import best_placement
from pilotcut.cutting.walks import MOST_VARIANTS
from pilotcut.errors import CutError, LongCallWarning, UserError
from pilotcut.execution.duration import seconds_of, state_bytes
from pilotcut.execution.work_units import Request
from pilotcut.io.extras import has
from pilotcut.io.large_numbers import short_number
from pilotcut.options import MODES, USUAL_ENGINE, EngineOptions, counted
from pilotcut.reconstruction.contraction import Contraction
from pilotcut.reconstruction.contraction_cost import cost_of_batch

#: From so many predicted seconds on a call says how long it will take.
NOTE_S = 60.0

# Another mode or plan is named where it takes at most this share of the time.
_QUICKER = 0.5

# A better plan is looked for where that takes no more than a second or two.
_MOST_QUBITS, _MOST_STEPS = 16, 200

#: Shots that other modes are asked about where an exact call has none.
USUAL_SHOTS = 1024


class LongCalls:
    """Forecasts of one estimator's calls: those that take long are said once, or refused.

    Parameters
    ----------
    mode
        "counts", "sampled" or "exact".
    max_seconds
        What is predicted to take longer is refused; infinite for no limit.
    engine
        How the exact mode computes.
    """

    def __init__(self, mode: str, max_seconds: float, engine: EngineOptions = USUAL_ENGINE) -> None:
        self._mode, self._max_seconds, self._engine = mode, max_seconds, engine
        self._known: dict[tuple[object, ...], tuple[float, str]] = {}

    def expect(
        self,
        plan: CutPlan,
        requests: Sequence[Request],
        what: str,
        *,
        workers: int = 1,
        contraction: Contraction | None = None,
        pulled: int = 0,
        outcomes: bool = False,
    ) -> float:
        """Return the predicted seconds of a call; if they are many, say so the first time.

        Parameters
        ----------
        plan, requests
            What is to be run.
        what
            The call in words, such as "a query".
        workers
            How many work units run at a time.
        contraction
            What is contracted afterwards, in this process.
        pulled, outcomes
            See `pilotcut.execution.duration.seconds_of`.

        Raises
        ------
        UserError
            If they are more than are allowed.
        """
        if not requests:
            return 0.0
        rows = sum(len(request.angles) for request in requests)
        shots = requests[0].shots if isinstance(requests[0].shots, int) else 0
        key = (plan.fingerprint, what, len(requests), rows, shots, workers, pulled)
        if (known := self._known.get(key)) is None:
            call = _Call(plan, requests, workers, pulled, outcomes, self._engine)
            seconds = call.seconds(self._mode)
            if contraction is not None:
                size = 16 if self._mode == "exact" else 8
                each = len(requests[0].angles)
                seconds += cost_of_batch(contraction, each, True, size).seconds
            long = seconds >= min(NOTE_S, self._max_seconds)
            text = call.text(self._mode, what, seconds) if long else ""
            known = self._known[key] = (seconds, text)
            if NOTE_S <= seconds <= self._max_seconds:
                warnings.warn(text, LongCallWarning, stacklevel=2)
        seconds, text = known
        if seconds > self._max_seconds:
            found = float(f"{seconds:.2g}")
            raise UserError(
                # In numbers too: in words what is found and what is allowed may be the same.
                f"{text}; that is {found:,g} s, expected at most {self._max_seconds:,g} s "
                f"(max_seconds); or raise max_seconds, inf is no limit"
            )
        return seconds


class _Call:
    """A call, and what it would take in other modes and as other plans."""

    def __init__(
        self,
        plan: CutPlan,
        requests: Sequence[Request],
        workers: int,
        pulled: int,
        outcomes: bool,
        engine: EngineOptions,
    ) -> None:
        self._plan, self._requests, self._workers = plan, requests, workers
        self._pulled, self._outcomes, self._engine = pulled, outcomes, engine

    def seconds(self, mode: str, requests: Sequence[Request] | None = None) -> float:
        """Return predicted seconds of a mode, of these requests or others in their place."""
        some = self._requests if requests is None else requests
        pulled = self._pulled if mode == "exact" else 0
        seconds = seconds_of(
            some, mode, pulled=pulled, outcomes=self._outcomes, engine=self._engine
        )
        return seconds / self._workers

    def text(self, mode: str, what: str, seconds: float) -> str:
        """Return the line about a call that takes long: how long, why, and what is quicker."""
        slowest = max(self._requests, key=lambda request: self.seconds(mode, [request]))
        fragment, rows = slowest.fragment, len(slowest.angles)
        made_of = (
            f"{short_number(fragment.num_variants)} variants"
            if mode != "exact"
            else f"{short_number(int(np.prod([s.rank for s in fragment.sites])))} branches"
        )
        why = (
            f"fragment {fragment.label} has {made_of} of {counted(fragment.width, 'qubit')} in "
            f"mode '{mode}', "
            f"for {rows:,} parameter set{'' if rows == 1 else 's'}"
        )
        ways = [*self._other_modes(mode, seconds), *self._other_plans(mode, seconds)]
        advice = ", ".join(ways) or "fewer cuts or parameter sets would be quicker"
        return f"{what} is predicted to take {readable(seconds)}: {why}; {advice}"

    def _other_modes(self, mode: str, seconds: float) -> Iterator[str]:
        shots = self._requests[0].shots or USUAL_SHOTS
        for other in MODES:
            if other == mode or not self._runs(other):
                continue
            asked = [replace(request, shots=shots) for request in self._requests]
            if mode != "exact" and other != "exact":
                asked = list(self._requests)
            yield from quicker(f"mode='{other}'", self.seconds(other, asked), seconds)

    def _runs(self, mode: str) -> bool:
        """Return whether a mode can run the plan at all."""
        try:
            check_size(self._plan, coherent=mode != "counts")
            if mode != "exact":
                check_size(self._plan, coherent=False)
        except CutError:
            return False
        if mode == "counts":
            return True
        if not has("torch"):
            return False
        return max(state_bytes(request.fragment) for request in self._requests) <= MEMORY_BYTES

    def _other_plans(self, mode: str, seconds: float) -> Iterator[str]:
        plan, width = self._plan, max(self._plan.widths)
        steps = len(plan.program.steps)
        if plan.requested is None or plan.num_qubits > _MOST_QUBITS or steps > _MOST_STEPS:
            return
        try:
            placement = best_placement(plan.program, max_width=width, wires=plan.wires)
        except CutError:
            return
        other = build_plan(
            plan.program, plan.binding, plan.terms, placement, plan.joint_cuts, plan.wires
        )
        if other.num_variants > MOST_VARIANTS:
            return
        rows, shots = len(self._requests[0].angles), self._requests[0].shots
        requests = [
            Request(f, np.zeros((rows, len(f.angles))), shots if isinstance(shots, int) else 0)
            for f in other.fragments
        ]
        yield from quicker(f"the plan of max_width={width}", self.seconds(mode, requests), seconds)


def quicker(way: str, its: float, seconds: float) -> Iterator[str]:
    """Yield how long another way would take, if that is much less than `seconds`."""
    if its < _QUICKER * seconds:
        yield f"{way} would take {readable(its)}"


def readable(seconds: float) -> str:
    """Return a rough time in words.

    Examples
    --------
    >>> [readable(s) for s in (0.02, 7.4, 80.0, 5400.0, 4e5, 1e12)]
    ['less than a second', '7 s', '1 min', '2 h', '5 days', 'years']
    """
    if seconds < 1:
        return "less than a second"
    for size, unit in ((60, "s"), (3600, "min"), (2 * 86400, "h"), (365 * 86400, "days")):
        if seconds < size:
            of = {"s": 1, "min": 60, "h": 3600, "days": 86400}[unit]
            return f"{round(seconds / of)} {unit}"
    return "years"

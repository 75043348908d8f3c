"""Batch log: random streams for every batch, totals, and a record of where time went.

Owns the seed of an estimator and the number of its next batch, so that a resumed run draws on from
the same place. Refuses to know how a batch is run.
"""

from __future__ import annotations

import threading
from dataclasses import asdict
from time import time
from typing import Any

import numpy as np

from pilotcut.backends.job_usage import NOTHING, Usage
from pilotcut.cutting.plan import CutPlan
from pilotcut.execution.streaming import BatchTimes
from pilotcut.io.jsonl import STAGES, JsonLines
from pilotcut.io.large_numbers import in_json
from pilotcut.options import check_seed


class BatchLog:
    """Streams of random numbers for batches, their records, and the totals.

    Parameters
    ----------
    trace
        Where records go.
    seed
        Every batch draws from a stream of its own that derives from it; None for any.

    Attributes
    ----------
    queries, subexperiments
        Parameter sets and circuits so far.
    seconds
        Wall time so far by stage.
    usage
        Of devices that run circuits themselves, so far.
    """

    def __init__(self, trace: JsonLines, seed: int | None) -> None:
        self.trace = trace
        self.queries = 0
        self.subexperiments = 0
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self.usage = NOTHING
        if seed is not None:
            check_seed(seed)
        # Of None too, so that the record of a run without a seed tells how to repeat it.
        self._seed = int(np.random.SeedSequence(seed).entropy)  # type: ignore[arg-type]
        self._batches = 0
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            state = self.__dict__ | {"seconds": dict(self.seconds)}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def attach(self, trace: JsonLines) -> None:
        """Write to `trace` from now on, first what was recorded so far."""
        for record in self.trace.records:
            trace.write(record)
        self.trace = trace

    def next_batch(self) -> int:
        """Return the number of a batch, which no other has."""
        with self._lock:
            batch = self._batches
            self._batches += 1
        return batch

    def stream(self, batch: int) -> np.random.SeedSequence:
        """Return a batch's stream of random numbers, that no other draws from."""
        return np.random.SeedSequence(self._seed, spawn_key=(batch,))

    def compiled(self, plan: CutPlan, seconds: float) -> None:
        """Record that a plan was compiled."""
        self.seconds["partition"] += seconds
        self.trace.write(
            {
                "kind": "compile",
                "time": time() - seconds,
                "plan": plan.fingerprint,
                "labels": "".join(plan.labels),
                "cuts": plan.num_cuts,
                "widths": plan.widths,
                "variants": in_json(plan.num_variants),
                "terms": len(plan.terms),
                "sampling_overhead": in_json(plan.sampling_overhead),
                "partition_s": seconds,
                # The labels above are those of last wires, which do not say where wires are cut.
                **_placement(plan),
                **({"notes": list(plan.program.notes)} if plan.program.notes else {}),
            }
        )

    def record(
        self,
        plan: CutPlan,
        batch: int,
        about: dict[str, Any],
        times: BatchTimes,
        *,
        contract_s: float,
        wall_s: float,
    ) -> None:
        """Write the record of a batch that has just ended, and add to the totals.

        Parameters
        ----------
        plan
            What was run.
        batch
            Its number.
        about
            Queries, subexperiments, and what else is to be recorded.
        times
            What executing it took.
        contract_s, wall_s
            Seconds of the reconstruction after it, and of everything.

        Notes
        -----
        Turning counts into expectations happens on the workers, but it is reconstruction:
        its share of their time is moved from the execute to the reconstruct stage. Of what
        happens here, `hidden_s` passed while workers ran other units; for the rest,
        `waits_s`, the query had to wait.
        """
        busy = times.run_s + times.reduce_s
        reduce_s = times.execute_s * times.reduce_s / busy if busy else 0.0
        seconds = {
            "partition": 0.0,
            "generate": times.generate_s,
            "execute": times.execute_s - reduce_s,
            "reconstruct": contract_s + reduce_s + times.fill_s + times.stream_s,
        }
        with self._lock:
            for stage in STAGES:
                self.seconds[stage] += seconds[stage]
            self.queries += about["queries"]
            self.subexperiments += about["subexperiments"]
            if times.usage is not NOTHING:  # a step of a small network would notice the sum
                self.usage += times.usage
        devices = {"devices": times.devices} if times.devices else {}
        moved = {"moved": times.moved} if times.moved else {}
        mitigated = {"mitigation": times.mitigation} if times.mitigation else {}
        self.trace.write(
            {
                "kind": "query_batch",
                "batch": batch,
                "time": time() - wall_s,
                **about,
                **devices,
                **moved,
                **({"queues": times.queues} if times.queues else {}),
                **usage_in_record(times.usage),
                **mitigated,
                "plan": plan.fingerprint,
                "labels": "".join(plan.labels),
                "cuts": plan.num_cuts,
                "bundles": times.units,  # their name in records, which old runs have too
                "seed": [self._seed, batch],
                "stage_seconds": seconds,
                "hidden_s": times.hidden_s,
                "waits_s": contract_s + times.fill_s + times.stream_s - times.hidden_s,
                "wall_s": wall_s,
                "worker_s": busy,
            }
        )

    # -- checkpoints ---------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to draw the same numbers, and the totals so far."""
        return {
            "seed": self._seed,
            "batches": self._batches,
            "queries": self.queries,
            "subexperiments": self.subexperiments,
            "seconds": dict(self.seconds),
            "usage": asdict(self.usage),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict`."""
        self._seed, self._batches = state["seed"], state["batches"]
        self.queries, self.subexperiments = state["queries"], state["subexperiments"]
        self.seconds.update(state["seconds"])
        self.usage = Usage(**state.get("usage", {}))  # runs before there was usage have none


def _placement(plan: CutPlan) -> dict[str, Any]:
    """Return where a plan was cut, for its record, if its labels do not say it."""
    asked = plan.requested
    return {"placement": asked.to_dict()} if asked is not None and asked.wire_cuts else {}


def usage_in_record(usage: Usage) -> dict[str, Any]:
    """Return what a batch's record says of its usage; nothing without devices of their own."""
    if not usage.units:
        return {}
    kept = ("jobs", "fetched", "shots", "device_s", "predicted_s", "cost")
    return {"usage": {name: getattr(usage, name) for name in kept}}

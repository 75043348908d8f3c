"""How many jobs there are and of which size: the fields `elastic`, `sizes` and `hetjob`.

This module refuses to know when more pilots are asked for, which is `pilotcut.pilots.elastic`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pilotcut.pilots.description.faults import misfit


def _seconds(value: Any) -> Any:
    # YAML reads 120 as a whole number where seconds are floats; true is none.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


_Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, le=1e6, allow_inf_nan=False)]


class ElasticDescription(BaseModel):
    """How many pilots of an entry there may be, and what decides how many there are.

    Attributes
    ----------
    least, most
        Pilots that are there whatever the load, and at most.
    idle_s
        Seconds after which a pilot that nothing needed is released; one that stands in a queue
        is canceled after half of them.
    wait_s
        Seconds that work may wait: where, by what is predicted, it would wait longer on the
        pilots there are, more are asked for.
    done_s
        Of pilots with `groups`: seconds after which one is released once no task of them is left.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    least: int = Field(default=0, ge=0)
    most: int = Field(ge=1, le=1000)
    idle_s: _Seconds = 120.0
    wait_s: _Seconds = 30.0
    done_s: _Seconds = 5.0

    @model_validator(mode="after")
    def _check_bounds(self) -> ElasticDescription:
        if self.least > self.most:
            raise misfit(f"least of at most most, which is {self.most}")
        return self


class SizeDescription(BaseModel):
    """One of several sizes of a job; what is left out is the pilot's own.

    Attributes
    ----------
    nodes, walltime
        As those of a pilot.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    nodes: int | None = Field(default=None, ge=1)
    walltime: str | None = None


def check_sizes(sizes: Sequence[SizeDescription], given: dict[str, Any]) -> None:
    """Raise a fault of sizes that are none, or of other fields that do not go with them."""
    if given["resource"] != "slurm":
        raise misfit(f"none with resource {given['resource']}, which submits no jobs")
    if len(sizes) == 1:
        raise misfit("two or more sizes; of one, say nodes and walltime of the pilot")
    own = (given.get("nodes"), given.get("walltime"))
    if len({(size.nodes or own[0], size.walltime or own[1]) for size in sizes}) < len(sizes):
        raise misfit("sizes that differ; what is left out is the pilot's own")
    for beside in ("elastic", "array"):
        if given.get(beside):
            raise misfit(f"no {beside} beside it")
    if given.get("ranks", 1) > 1:
        raise misfit("no ranks beside it: their number would not fit the nodes")


def check_hetjob(given: dict[str, Any]) -> None:
    """Raise a fault of other fields that do not go with `hetjob`."""
    if given["resource"] != "slurm":
        raise misfit(f"none with resource {given['resource']}, which submits no jobs")
    for beside in ("replace", "elastic", "array", "sizes"):
        if given.get(beside):
            raise misfit(f"no {beside} beside it: components come and go together")
    if given.get("ranks", 1) > 1:
        raise misfit("no ranks beside it: they are started by a srun of their own")


def check_elastic(rule: ElasticDescription, given: dict[str, Any]) -> None:
    """Raise a fault of other fields that do not go with `elastic`."""
    # Not by what was given: the registry writes every field down.
    if rule.done_s != ElasticDescription(most=1).done_s and not given.get("groups"):
        raise misfit("no done_s without groups, whose last task it counts from; use idle_s")
    if given["resource"] not in ("local", "slurm"):
        raise misfit(f"none with resource {given['resource']}; use local or slurm")
    if given.get("count", 1) > 1:
        raise misfit("no count beside it: most says how many there may be")
    if given.get("replace"):
        raise misfit("no replace beside it: another pilot is asked for where one is needed")
    backend = given.get("backend")
    if backend is not None and backend.qpu is not None:
        raise misfit("none beside backend.qpu: a device does not become two")

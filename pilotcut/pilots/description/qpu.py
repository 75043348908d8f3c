"""Description of a QPU: its size, couplings, gates, errors, times and absences.

This module owns the fields under ``backend.qpu`` and what counts as a fault in them. What they
mean as a Qiskit target and as a noise model is known to `pilotcut.backends.noise_model`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pilotcut.pilots.description.faults import misfit
from pilotcut.pilots.description.runtime import RuntimeDescription, check_options

Topology = Literal["line", "ring", "star", "grid", "full"]

#: Gates that a described QPU may have, by the number of qubits they act on; Aer has them all.
ONE_QUBIT = ("rz", "p", "sx", "sxdg", "x", "h", "rx", "ry", "u")
TWO_QUBITS = ("cz", "cx", "ecr", "rzz")

#: Gates that only move the phase of the control electronics: no time, no error.
VIRTUAL = ("rz", "p")

#: One-qubit gates into which Qiskit translates any other: all of one of these.
_COMPLETE = (
    {"u"},
    *({phase, turn} for phase in VIRTUAL for turn in ("sx", "sxdg", "h", "rx")),
    *({"rx", turn} for turn in ("ry", "h")),
)

#: What has to be said of a QPU that is not like a known one.
_NEEDED = ("qubits", "infidelity_1q", "infidelity_2q", "t1_us", "t2_us")

_LIKE = re.compile(r"[A-Za-z_][\w.]*(?::[A-Za-z_]\w*)?")


class QpuDescription(BaseModel):
    """A QPU, in numbers or by the name of one that Qiskit knows.

    Attributes
    ----------
    like
        A backend's name: a class of Qiskit's ``fake_provider`` such as ``FakeManilaV2``, or
        ``module:attribute`` of a `BackendV2` or of what makes one. No numbers beside it, except
        ``reset_us`` and ``offline``.
    simulate
        Whether Aer plays the backend of that name, from its target; otherwise it runs itself,
        with the errors that it has: Qiskit's fake backends know more than their target says.
    sampler, options
        ``module:factory`` of a Qiskit `BaseSamplerV2` that runs the circuits; the factory gets
        the options as keywords. Beside it ``like`` or numbers for the target, or nothing: then
        that of the sampler's own backend.
    runtime
        The same for qiskit-ibm-runtime, see `RuntimeDescription`.
    qubits, topology
        How many, and how they are coupled.
    basis_gates
        Names of Qiskit's gates; ``rz`` and ``p`` take no time and make no error.
    infidelity_1q, infidelity_2q
        Average gate infidelity of one- and two-qubit gates.
    coherent_1q, coherent_2q
        How much of what is not relaxation in the infidelity is a turn too far, always by the same
        angle about X on one qubit and about ZZ on two: from 0, all of it is depolarisation, to
        1; with a minus sign the gate does not turn far enough.
    t1_us, t2_us
        Relaxation and decoherence time, in microseconds.
    gate_1q_ns, gate_2q_ns
        Duration of a gate, in nanoseconds.
    readout_us, reset_us, readout_error
        Duration of a measurement and of the reset after it, in microseconds, and the
        probability that a measured bit is wrong.
    offline
        Pairs of epochs: from the first, up to and without the second, the QPU is away.

    Examples
    --------
    >>> QpuDescription(like="FakeManilaV2").simulate
    True
    """

    # strict: "2" is not 2 and true is not 1; YAML already has types.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    like: str | None = None
    simulate: bool = True
    sampler: str | None = None
    options: dict[str, Any] = Field(default_factory=dict, repr=False)
    runtime: RuntimeDescription | None = None
    qubits: int | None = Field(default=None, ge=1, le=64)
    topology: Topology = "line"
    basis_gates: tuple[str, ...] = ("rz", "sx", "x", "cz")
    # A device that only depolarises has an average gate fidelity of 1/d, so an infidelity of 1/2 on
    # one qubit and of 3/4 on two is the most there is.
    infidelity_1q: float | None = Field(default=None, ge=0.0, le=0.5)
    infidelity_2q: float | None = Field(default=None, ge=0.0, le=0.75)
    coherent_1q: float = Field(default=0.0, ge=-1.0, le=1.0)
    coherent_2q: float = Field(default=0.0, ge=-1.0, le=1.0)
    t1_us: float | None = Field(default=None, gt=0.0)
    t2_us: float | None = Field(default=None, gt=0.0)
    gate_1q_ns: float = Field(default=30.0, ge=0.0)
    gate_2q_ns: float = Field(default=60.0, ge=0.0)
    readout_us: float = Field(default=1.0, ge=0.0)
    reset_us: float = Field(default=50.0, ge=0.0)
    readout_error: float = Field(default=0.0, ge=0.0, le=0.5)
    offline: tuple[tuple[int, int], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _lists_are_tuples(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        return {key: _frozen(v) if key != "options" else v for key, v in data.items()}

    def __str__(self) -> str:
        """Return what a table shows of it."""
        if self.runtime is not None:
            return self.runtime.backend
        return self.sampler or self.like or f"{self.qubits} qubits, {self.topology}"

    def __hash__(self) -> int:
        """Return the same for equal descriptions; options are a dict, which has none."""
        return hash(self.model_dump_json())

    @field_validator("like")
    @classmethod
    def _check_like(cls, value: str | None) -> str | None:
        if value is not None and not _LIKE.fullmatch(value):
            raise misfit("a name such as FakeManilaV2, or module:attribute")
        return value

    @field_validator("sampler")
    @classmethod
    def _check_sampler(cls, value: str | None) -> str | None:
        if value is not None and (":" not in value or not _LIKE.fullmatch(value)):
            raise misfit("module:factory of a Qiskit BaseSamplerV2")
        return value

    @field_validator("options")
    @classmethod
    def _check_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        check_options(value, info.data.get("sampler") or "")
        return value

    @field_validator("basis_gates")
    @classmethod
    def _check_gates(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [gate for gate in value if gate not in (*ONE_QUBIT, *TWO_QUBITS)]
        if unknown:
            raise misfit(f"gates out of {', '.join((*ONE_QUBIT, *TWO_QUBITS))}")
        if not any(gate in TWO_QUBITS for gate in value):
            raise misfit(f"one of {', '.join(TWO_QUBITS)} among them")
        if not any(gates <= {*value} for gates in _COMPLETE):
            raise misfit("u, rz and sx, or rx and ry among them, to make any one-qubit gate of")
        return value

    @field_validator("t2_us")
    @classmethod
    def _check_t2(cls, value: float | None, info: ValidationInfo) -> float | None:
        t1_us = info.data.get("t1_us")
        # 1/T2 = 1/(2 T1) + 1/Tphi, and pure dephasing cannot be less than none.
        if value and t1_us and value > 2 * t1_us:
            raise misfit(f"at most 2 t1_us, which is {2 * t1_us:g}")
        return value

    @field_validator("offline")
    @classmethod
    def _check_offline(cls, value: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if any(not 0 <= first < last for first, last in value):
            raise misfit("pairs of epochs such as [[5, 10]], from 0 up, the second the larger")
        return value

    @model_validator(mode="after")
    def _check_whole(self) -> QpuDescription:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if self.runtime is not None:
            _nothing_beside("runtime", given - {"reset_us", "offline"})
            return self
        if self.sampler is not None:
            if "simulate" in given:
                raise misfit("no simulate beside sampler, which runs circuits itself")
            given -= {"sampler", "options", "reset_us", "offline"}
            if not given:
                return self
        elif "options" in given:
            raise misfit("sampler: module:factory beside options, which are the factory's")
        if self.like is not None:
            _nothing_beside("like", given - {"simulate", "reset_us", "offline"})
            return self
        if not self.simulate:
            raise misfit("like: NAME of a backend beside simulate: false, which runs that itself")
        if missing := [field for field in _NEEDED if getattr(self, field) is None]:
            raise misfit(f"{', '.join(missing)} too, or like: NAME of a backend")
        return self


def _nothing_beside(name: str, given: set[str]) -> None:
    if beside := sorted(given - {name}):
        raise misfit(f"no {', '.join(beside)} beside {name}, which brings its own")


def _frozen(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    # YAML reads 20 as a whole number where a float is wanted; the fields sort that out.
    return value

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
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pilotcut.pilots.description.access import (
    ACCESS_FIELDS,
    FREE,
    NO_LIMITS,
    Access,
    DevicePrice,
    JobLimits,
)
from pilotcut.pilots.description.calibration import QpuCalibration
from pilotcut.pilots.description.faults import misfit
from pilotcut.pilots.description.mitigation import MITIGATIONS, mitigation_faults
from pilotcut.pilots.description.runtime import (
    RuntimeDescription,
    VendorDescription,
    check_options,
)

#: Vendors that have a short form, by the field's name.
VENDORS = ("qrmi", "iqm", "aqt", "braket")

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

_SLURM = re.compile(r"(?:qpu|gres)=[A-Za-z0-9_.:,-]+")
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
    qrmi, iqm, aqt, braket
        The same for devices of these vendors, see `VendorDescription`.
    python
        Path of the interpreter, of another environment, that has the vendor's packages; beside
        ``iqm``, ``aqt``, ``braket``, or ``like`` and ``simulate: false``.
    mid_circuit
        Whether the device measures before a circuit's end; None leaves it to the vendor: AQT's
        and Braket's do not.
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
    calibrations
        What of a QPU in numbers is other from an epoch of a training on, see `QpuCalibration`.
    mitigation
        What is done about its errors where an estimator does not say, see `Mitigation`.
    access
        How the device is had, see `pilotcut.pilots.description.access`; left out it follows
        ``runtime.mode``, and is ``shared`` without one.
    limits
        What a job may hold, see `JobLimits`.
    wait_s
        Seconds that a job may stand in the queue before its task is bound elsewhere; None for
        as long as it takes.
    job_s
        Seconds that a job may run before it is cancelled and its task bound elsewhere; None for
        as long as it takes.
    instead
        ``simulator``: tasks that wait too long, and that no other device takes, are played by
        Aer with the noise of the device's target.
    slurm
        ``qpu=NAME`` or ``gres=qpu:1``: what the job of a Slurm pilot asks for.
    price
        What the device costs, see `DevicePrice`.

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
    qrmi: VendorDescription | None = None
    iqm: VendorDescription | None = None
    aqt: VendorDescription | None = None
    braket: VendorDescription | None = None
    python: str | None = None
    mid_circuit: bool | None = None
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
    calibrations: tuple[QpuCalibration, ...] = ()
    mitigation: str | None = None
    access: Access | None = None
    limits: JobLimits = NO_LIMITS
    wait_s: float | None = Field(default=None, gt=0.0)
    job_s: float | None = Field(default=None, gt=0.0)
    instead: Literal["simulator"] | None = None
    slurm: str | None = None
    price: DevicePrice = FREE

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
        if self.vendor is not None:
            name, what = self.vendor
            return what.backend or name
        return self.sampler or self.like or f"{self.qubits} qubits, {self.topology}"

    def __hash__(self) -> int:
        """Return the same for equal descriptions; options are a dict, which has none."""
        return hash(self.model_dump_json())

    def at(self, epoch: int) -> QpuDescription:
        """Return the QPU as it is calibrated in an epoch."""
        past = [one for one in self.calibrations if one.epoch <= epoch]
        if not past:
            return self
        said = self.model_dump(exclude_unset=True, exclude={"calibrations"})
        for one in past:
            said |= one.changes
        return QpuDescription(**said)

    @property
    def vendor(self) -> tuple[str, VendorDescription] | None:
        """The vendor's name and what is said of its device, None without a short form of one."""
        given = ((name, getattr(self, name)) for name in VENDORS)
        return next(((name, what) for name, what in given if what is not None), None)

    @field_validator("python")
    @classmethod
    def _check_python(cls, value: str | None) -> str | None:
        if value is not None and ("\n" in value or not value.strip()):
            raise misfit("the path of an interpreter")
        return value

    @field_validator("iqm", "aqt", "braket")
    @classmethod
    def _check_named(cls, value: VendorDescription | None) -> VendorDescription | None:
        if value is not None and value.backend is None:
            raise misfit("a mapping with backend: NAME")
        return value

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

    @property
    def way(self) -> Access:
        """How the device is had."""
        mode = self.runtime.mode if self.runtime is not None else "job"
        return self.access or ("shared" if mode == "job" else mode)

    @property
    def keeps_session(self) -> bool:
        """Whether sessions or batches are opened for its workers; local ones cannot be shared."""
        fake = self.runtime is not None and self.runtime.backend.startswith("Fake")
        return self.way in ("session", "batch") and self.runs_itself and not fake

    @property
    def opened_runtime(self) -> RuntimeDescription | None:
        """What qiskit-ibm-runtime is opened with: its mode follows `access`."""
        if self.runtime is None or self.access not in ("session", "batch"):
            return self.runtime
        return self.runtime.model_copy(update={"mode": self.access})

    @property
    def runs_itself(self) -> bool:
        """Whether the device runs circuits, and Aer does not play it."""
        opens = self.sampler or self.runtime or self.vendor
        return opens is not None or not self.simulate

    @field_validator("slurm")
    @classmethod
    def _check_slurm(cls, value: str | None) -> str | None:
        if value is not None and not _SLURM.fullmatch(value):
            raise misfit("qpu=NAME or gres=qpu:1, an option of sbatch without its dashes")
        return value

    @field_validator("options")
    @classmethod
    def _check_options(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        check_options(value, info.data.get("sampler") or "")
        return value

    @field_validator("mitigation")
    @classmethod
    def _check_mitigation(cls, value: str | None) -> str | None:
        faults = mitigation_faults(value)
        if of_options := [fault for fault in faults if fault.startswith("mitigation's")]:
            raise misfit(f"options that are right: {of_options[0]}")
        if faults:
            raise misfit(f"{', '.join(MITIGATIONS)}, with options such as 'zne factors=1,3'")
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

    @field_validator("calibrations")
    @classmethod
    def _check_calibrations(cls, value: tuple[QpuCalibration, ...]) -> tuple[QpuCalibration, ...]:
        epochs = [one.epoch for one in value]
        if epochs != sorted(set(epochs)):
            raise misfit("calibrations in the order of their epochs, one an epoch")
        return value

    @model_validator(mode="after")
    def _check_whole(self) -> QpuDescription:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None}
        self._check_access(given & ACCESS_FIELDS)
        given -= ACCESS_FIELDS | {"mitigation"}
        if self.runtime is not None:
            _nothing_beside("runtime", given - {"reset_us", "offline", "mid_circuit"})
            return self
        if self.vendor is not None:
            name, _ = self.vendor
            own = {"python"} if name != "qrmi" else set()
            _nothing_beside(name, given - {"reset_us", "offline", "mid_circuit"} - own)
            return self
        if self.python is not None and (self.like is None or self.simulate):
            raise misfit("python: beside iqm, aqt, braket, or like: and simulate: false")
        if self.sampler is not None:
            if "simulate" in given:
                raise misfit("no simulate beside sampler, which runs circuits itself")
            given -= {"sampler", "options", "reset_us", "offline", "mid_circuit"}
            if not given:
                return self
        elif "options" in given:
            raise misfit("sampler: module:factory beside options, which are the factory's")
        if self.like is not None:
            _nothing_beside(
                "like", given - {"simulate", "reset_us", "offline", "python", "mid_circuit"}
            )
            return self
        if not self.simulate:
            raise misfit("like: NAME of a backend beside simulate: false, which runs that itself")
        if missing := [field for field in _NEEDED if getattr(self, field) is None]:
            raise misfit(f"{', '.join(missing)} too, or like: NAME of a backend")
        for one in self.calibrations:
            try:
                self.at(one.epoch)
            except ValidationError as error:
                where = ".".join(map(str, error.errors()[0]["loc"]))
                wanted = error.errors()[0]["msg"]
                raise misfit(f"{where} in epoch {one.epoch} to be {wanted}") from None
        return self

    def _check_access(self, given: set[str]) -> None:
        if given and not self.runs_itself:
            raise misfit(f"no {', '.join(sorted(given))} for a device that Aer plays, at once")
        mode = self.runtime.mode if self.runtime is not None else None
        if self.access is not None and self.runtime and "mode" in self.runtime.model_fields_set:
            fitting = {"job": ("shared", "dedicated")}.get(str(mode), (mode,))
            if self.access not in fitting:
                raise misfit(f"no access {self.access} beside runtime.mode {mode}; leave one out")
        if self.instead is not None and self.wait_s is None and self.job_s is None:
            raise misfit("wait_s: SECONDS beside instead, which says when")


def _nothing_beside(name: str, given: set[str]) -> None:
    if beside := sorted(given - {name}):
        raise misfit(f"no {', '.join(beside)} beside {name}, which brings its own")


def _frozen(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(item) for item in value)
    # YAML reads 20 as a whole number where a float is wanted; the fields sort that out.
    return value

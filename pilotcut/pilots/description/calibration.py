"""Calibration of a QPU that is described in numbers: what is so from an epoch on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class QpuCalibration(BaseModel):
    """Numbers of a QPU that are other from an epoch on; see `QpuDescription` for them.

    Attributes
    ----------
    epoch
        The first one in which they are so; before the first calibration the QPU is as described.
    infidelity_1q, infidelity_2q, coherent_1q, coherent_2q
        Errors of gates.
    t1_us, t2_us, gate_1q_ns, gate_2q_ns, readout_us, reset_us, readout_error
        Decoherence, durations and readout.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    epoch: int = Field(ge=1)
    infidelity_1q: float | None = Field(default=None, ge=0.0, le=0.5)
    infidelity_2q: float | None = Field(default=None, ge=0.0, le=0.75)
    coherent_1q: float | None = Field(default=None, ge=-1.0, le=1.0)
    coherent_2q: float | None = Field(default=None, ge=-1.0, le=1.0)
    t1_us: float | None = Field(default=None, gt=0.0)
    t2_us: float | None = Field(default=None, gt=0.0)
    gate_1q_ns: float | None = Field(default=None, ge=0.0)
    gate_2q_ns: float | None = Field(default=None, ge=0.0)
    readout_us: float | None = Field(default=None, ge=0.0)
    reset_us: float | None = Field(default=None, ge=0.0)
    readout_error: float | None = Field(default=None, ge=0.0, le=0.5)

    @property
    def changes(self) -> dict[str, float]:
        """What is other, by name."""
        return self.model_dump(exclude_none=True, exclude={"epoch"})

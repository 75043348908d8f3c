"""Descriptions of QPUs that a vendor's client runs circuits on: the short forms.

This module owns the fields under ``backend.qpu.runtime``, ``qrmi``, ``iqm``, ``aqt`` and
``braket``, and the checks of options that any client is given. What opens them is
`pilotcut.backends.samplers` and `pilotcut.backends.vendors`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from pilotcut.pilots.description.credentials import credentials_in, kept_where
from pilotcut.pilots.description.faults import credential, misfit

_BACKEND = re.compile(r"[A-Za-z][\w.-]*")
#: Braket's have addresses such as ``arn:aws:braket:::device/...``, and names with spaces.
_DEVICE = re.compile(r"[A-Za-z][\w.:/ -]*")


class RuntimeDescription(BaseModel):
    """A QPU of IBM's, by qiskit-ibm-runtime.

    Attributes
    ----------
    backend
        Its name, such as ``ibm_fez``; ``FakeManilaV2`` runs in the client's local mode, offline.
    instance
        Name or CRN of the service's instance; None leaves it to the account that is saved.
    mode
        ``job``: each job waits by itself. ``session`` and ``batch``: as ``access`` of the QPU.
    sampler
        ``Sampler``, which the client runs itself (`executor_sampler`), or the older
        ``SamplerV2``; ``auto`` takes the first where the client has it.
    options
        What that sampler takes as options.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    backend: str
    instance: str | None = None
    mode: Literal["job", "session", "batch"] = "job"
    sampler: Literal["auto", "Sampler", "SamplerV2"] = "auto"
    options: dict[str, Any] = Field(default_factory=dict, repr=False)

    @field_validator("backend")
    @classmethod
    def _check_backend(cls, value: str) -> str:
        if not _BACKEND.fullmatch(value):
            raise misfit("a backend's name such as ibm_fez, or FakeManilaV2 to try it offline")
        return value

    @field_validator("options")
    @classmethod
    def _check_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_options(value, "qiskit_ibm_runtime")
        simulator = value.get("simulator")
        if isinstance(simulator, Mapping) and simulator.get("seed_simulator") is not None:
            raise misfit("no simulator.seed_simulator: each circuit would draw the same shots")
        return value

    def __hash__(self) -> int:
        """Return the same for equal descriptions; options are a dict, which has none."""
        return hash(self.model_dump_json())


class VendorDescription(BaseModel):
    """A QPU of IQM's, AQT's, Braket's, or one that Slurm's plugin QRMI has given the job.

    Attributes
    ----------
    backend
        Its name in the vendor's client; None, for QRMI alone, takes the first of the job's.
    options
        What the client takes to find it, such as ``{url: ...}`` of an IQM server or
        ``{workspace: ...}`` of AQT's; for QRMI the sampler's options.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )

    backend: str | None = None
    options: dict[str, Any] = Field(default_factory=dict, repr=False)

    @field_validator("backend")
    @classmethod
    def _check_backend(cls, value: str | None) -> str | None:
        if value is not None and not _DEVICE.fullmatch(value):
            raise misfit("a backend's name such as IQMFakeAdonis")
        return value

    @field_validator("options")
    @classmethod
    def _check_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_options(value, "")
        return value

    def __hash__(self) -> int:
        """Return the same for equal descriptions; options are a dict, which has none."""
        return hash(self.model_dump_json())


def check_options(options: Mapping[str, Any], module: str) -> None:
    """Raise a fault of options that hold a credential, or what no file can hold.

    Parameters
    ----------
    options
        What a sampler is to be given.
    module
        Where its client is from, which decides where credentials belong.
    """
    for name in credentials_in(options):
        raise credential(name, kept_where(module))
    try:
        json.dumps(options, allow_nan=False)
    except (TypeError, ValueError):
        raise misfit("a mapping of texts, numbers, lists and mappings") from None

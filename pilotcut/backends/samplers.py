"""Samplers: opened from a description, with the target of the device behind them.

Credentials are never among what is passed: each vendor's client takes them from where it keeps
them. Knows qiskit-ibm-runtime and QRMI, and of all others that a factory returns a Qiskit
`BaseSamplerV2`.
"""

from __future__ import annotations

import importlib
import weakref
from typing import Any

from qiskit.primitives import BaseSamplerV2
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from pilotcut.backends.device_sessions import attach
from pilotcut.backends.known_backends import known_backend
from pilotcut.errors import DescriptionError
from pilotcut.pilots.description.credentials import kept_where
from pilotcut.pilots.description.qpu import QpuDescription
from pilotcut.pilots.description.runtime import RuntimeDescription, VendorDescription
from pilotcut.pilots.worker.sessions import session_of

_CLIENT = "qiskit_ibm_runtime"

#: These clients want other versions of Qiskit, or of cloudpickle, than pilotcut.
_APART = "say {0}: and python: in place of sampler:, as its client wants an environment of its own"

#: What to do about the packages that vendors' factories are in.
_PACKAGES = {
    "qiskit_ibm_runtime": "pip install 'pilotcut[ibm]'",
    "iqm": _APART.format("iqm"),
    "qiskit_aqt_provider": _APART.format("aqt"),
    "qiskit_braket_provider": _APART.format("braket"),
    "qrmi": "pip install 'pilotcut[qrmi]'",
}


def sampler_of(name: str, qpu: QpuDescription) -> BaseSamplerV2:
    """Return a new sampler of a pilot's device.

    Raises
    ------
    DescriptionError
        If the description names none.
    """
    if qpu.runtime is not None:
        runtime = qpu.opened_runtime or qpu.runtime
        return _runtime_sampler(name, runtime, runtime_backend(name, runtime))
    if qpu.qrmi is not None:
        return _qrmi_sampler(name, qpu.qrmi)
    assert qpu.sampler is not None
    module, _, attribute = qpu.sampler.partition(":")
    place = f"pilot '{name}': backend.qpu.sampler is '{qpu.sampler}', expected"
    factory = getattr(_imported(module, place), attribute, None)
    if not callable(factory):
        raise DescriptionError(f"{place} a function in that module; there is no such one")
    try:
        sampler = factory(**qpu.options)
    except (Exception, SystemExit) as error:  # it is the user's function
        # Its text may have the options' values in it.
        raise DescriptionError(
            f"{place} a factory that takes {_names(qpu.options)}; it raised "
            f"{type(error).__name__}. Credentials belong in {kept_where(module)}"
        ) from error
    if not isinstance(sampler, BaseSamplerV2):
        raise DescriptionError(
            f"{place} a factory of a Qiskit BaseSamplerV2; it returned a {type(sampler).__name__}"
        )
    attach(name, sampler)
    return sampler


def target_behind(name: str, qpu: QpuDescription, sampler: BaseSamplerV2) -> Target:
    """Return the target of the backend that a sampler has.

    Raises
    ------
    DescriptionError
        If it has none that says what it is.
    """
    for attribute in ("backend", "_backend", "mode", "_mode"):
        found = getattr(sampler, attribute, None)
        if callable(found) and not hasattr(found, "target"):
            found = found()
        for one in (found, getattr(found, "_backend", None)):
            target = getattr(one, "target", None)
            if isinstance(target, Target):
                return target
    raise DescriptionError(
        f"pilot '{name}': backend.qpu.sampler is '{qpu.sampler}', expected a sampler whose backend "
        "has a target; say like: NAME of a backend beside it, or the device's numbers"
    )


def runtime_backend(name: str, runtime: RuntimeDescription) -> BackendV2:
    """Return a backend of IBM's by its name, or a fake one.

    Raises
    ------
    DescriptionError
        If there is none, or no account.
    """
    if runtime.backend.startswith("Fake"):
        return known_backend(name, runtime.backend, "runtime.backend")
    place = f"pilot '{name}': backend.qpu.runtime.backend is '{runtime.backend}', expected"
    client = _imported(_CLIENT, place)
    try:
        service = client.QiskitRuntimeService(instance=runtime.instance)
        return service.backend(runtime.backend)
    except Exception as error:  # many, and their text is the service's
        raise DescriptionError(
            f"{place} a backend of the account that qiskit-ibm-runtime has here "
            f"({type(error).__name__}); keep that in {kept_where(_CLIENT)}"
        ) from error


def qrmi_backend(name: str, qrmi: VendorDescription) -> BackendV2:
    """Return the backend of a QPU that Slurm's plugin has given the job.

    Raises
    ------
    DescriptionError
        If the job has none of that name.
    """
    resource, place = _qrmi_resource(name, qrmi)
    try:
        found: BackendV2 = _imported("qrmi.primitives.ibm", place).get_backend(resource)
    except Exception as error:  # the client's, and its text is the service's
        raise DescriptionError(
            f"{place} a resource that says what it is ({type(error).__name__}); see its "
            "configuration, or say like: NAME of a backend with a sampler of your own"
        ) from error
    return found


def _qrmi_sampler(name: str, qrmi: VendorDescription) -> BaseSamplerV2:
    resource, place = _qrmi_resource(name, qrmi)
    client = _imported("qrmi.primitives.ibm", place)
    try:
        sampler: BaseSamplerV2 = client.SamplerV2(resource, options=qrmi.options or None)
    except Exception as error:
        raise DescriptionError(
            f"pilot '{name}': backend.qpu.qrmi.options are {_names(qrmi.options)}, expected what "
            f"SamplerV2 of qrmi takes ({type(error).__name__})"
        ) from error
    return sampler


def _qrmi_resource(name: str, qrmi: VendorDescription) -> tuple[Any, str]:
    """Return a QPU of the job's, and how a message about it begins.

    QRMI takes names and types from QRMI_JOB_QPU_RESOURCES and _TYPES, or else from what Slurm's
    plugin leaves in SLURM_JOB_QPU_RESOURCES and _TYPES.
    """
    wanted = qrmi.backend
    place = f"pilot '{name}': backend.qpu.qrmi.backend is {wanted or 'left out'}, expected"
    client = _imported("qrmi.primitives", place)
    try:
        service = client.QRMIService()
        # A stranger's name, asked for alone, is None.
        found = service.resource(wanted) if wanted else next(iter(service.resources()), None)
        has = [one.resource_id() for one in service.resources()] if found is None else []
    except Exception as error:  # each of its resources has its own
        raise DescriptionError(
            f"{place} a QPU that the job has ({type(error).__name__}); ask Slurm for one "
            "(--qpu=NAME), or set QRMI_JOB_QPU_RESOURCES and QRMI_JOB_QPU_TYPES"
        ) from error
    if found is None:
        raise DescriptionError(
            f"{place} a QPU that the job has: {', '.join(has) or 'it has none'}; ask Slurm for one "
            "(--qpu=NAME), or set QRMI_JOB_QPU_RESOURCES and QRMI_JOB_QPU_TYPES"
        )
    return found, place


def is_ibm_s(backend: BackendV2) -> bool:
    """Return whether a backend is one of IBM's own, which runs no circuits."""
    return type(backend).__module__.startswith(f"{_CLIENT}.ibm_backend")


def sampler_for(name: str, backend: BackendV2) -> BaseSamplerV2 | BackendV2:
    """Return what runs circuits on a backend: itself, or IBM's sampler where it no longer does."""
    if is_ibm_s(backend):
        return _runtime_sampler(name, RuntimeDescription(backend=backend.name), backend)
    return backend


def _runtime_sampler(name: str, runtime: RuntimeDescription, backend: BackendV2) -> BaseSamplerV2:
    place = f"pilot '{name}': backend.qpu.runtime"
    client = _imported(_CLIENT, f"{place} needs")
    kind = _kind_of_sampler(client, runtime.sampler, place)
    # Passed as it is: `with Session(...)` is not seen by other threads.
    mode: Any = backend
    kept = None if runtime.mode == "job" else session_of(name)
    if kept is not None:
        kind_of_mode = client.Batch if runtime.mode == "batch" else client.Session
        mode = kind_of_mode.from_id(kept, backend.service)
    elif runtime.mode != "job":
        mode = {"session": client.Session, "batch": client.Batch}[runtime.mode](backend=backend)
    try:
        sampler: BaseSamplerV2 = kind(mode=mode, options=runtime.options or None)
    except Exception as error:
        if mode is not backend and kept is None:
            mode.close()
        raise DescriptionError(
            f"{place}.options are {_names(runtime.options)}, expected what {kind.__name__} of "
            f"qiskit-ibm-runtime takes ({type(error).__name__})"
        ) from error
    if mode is not backend and kept is None:
        # Also at the end of the process. One that is killed leaves it to the session's own limit.
        weakref.finalize(sampler, mode.close)
    return sampler


def _kind_of_sampler(client: Any, wanted: str, place: str) -> Any:
    """Return the class: the successor of SamplerV2 came with 0.50, and is told by its module."""
    if wanted != "SamplerV2":
        try:
            return importlib.import_module(f"{_CLIENT}.executor_sampler").Sampler
        except ImportError:
            if wanted == "Sampler":
                raise DescriptionError(
                    f"{place}.sampler is Sampler, expected SamplerV2 with qiskit-ibm-runtime "
                    f"{client.__version__}; Sampler came with 0.50"
                ) from None
    return client.SamplerV2


def _imported(module: str, place: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        advice = _PACKAGES.get(module.split(".")[0], "install it, or put it on PYTHONPATH")
        raise DescriptionError(
            f"{place} a module that can be imported ({error}); {advice}"
        ) from error
    except (Exception, SystemExit) as error:  # the module is the user's
        raise DescriptionError(
            f"{place} a module that can be imported; it raised {type(error).__name__}. "
            f"`python -c 'import {module}'` shows where"
        ) from error


def _names(options: dict[str, Any]) -> str:
    return f"the options {', '.join(options)}" if options else "no options"

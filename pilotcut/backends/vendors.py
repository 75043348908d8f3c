"""Devices of IQM, AQT, Braket and of any backend whose client wants an interpreter of its own.

This end of `pilotcut.backends.vendor_worker`: either its functions, called here, or a process of
another interpreter that runs that file. Knows what a vendor's short form means; refuses to know
what circuits are of, and what is done with counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any, Protocol

from qiskit.circuit import IfElseOp, Parameter, QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.providers import BackendV2, Options, QubitProperties
from qiskit.result import Result
from qiskit.transpiler import InstructionProperties, Target

from pilotcut.backends import vendor_worker
from pilotcut.errors import DescriptionError, DeviceError
from pilotcut.pilots.description.credentials import hidden, kept_where
from pilotcut.pilots.description.qpu import QpuDescription

#: Packages that vendors' backends are in, and what installs them.
PACKAGES = {
    "iqm": (
        "iqm",
        "pip install 'iqm-client[qiskit]' in an environment of its own, and python: "
        "PATH of its interpreter beside it, as it wants another Qiskit",
    ),
    "aqt": (
        "qiskit_aqt_provider",
        "pip install qiskit-aqt-provider in an environment of its own, "
        "and python: PATH of its interpreter beside it, as it wants another Qiskit",
    ),
    # amazon-braket-sdk (1.127) has cloudpickle 2.2.1 and no other, dask needs 3.
    "braket": (
        "qiskit_braket_provider",
        "pip install qiskit-braket-provider in an environment of its own, "
        "and python: PATH of its interpreter beside it, as it wants an older cloudpickle than dask",
    ),
}


class VendorBackend(BackendV2):
    """A vendor's backend, whose target is known here, wherever it is opened.

    Parameters
    ----------
    place
        What messages call it: pilot and field.
    spec
        What `vendor_worker.opened` takes, and the interpreter under ``python``, None for this one.
    """

    def __init__(self, place: str, spec: Mapping[str, Any]) -> None:
        super().__init__(name=str(spec["backend"]))
        self._link = _link(place, json.dumps(spec, sort_keys=True))
        self._target = target_from(self._link.device)

    @property
    def target(self) -> Target:
        """What it says of itself."""
        return self._target

    @property
    def max_circuits(self) -> int | None:
        """Most circuits of a job."""
        found: int | None = self._link.device["max_circuits"]
        return found

    @property
    def max_shots(self) -> int | None:
        """Most shots of a job's circuits."""
        found: int | None = self._link.device["max_shots"]
        return found

    @classmethod
    def _default_options(cls) -> Options:
        return Options(shots=1024, seed_simulator=None)

    def run(self, run_input: Sequence[QuantumCircuit], **options: Any) -> Any:
        """Return a job that is done, with each circuit's counts."""
        shots, seed = int(options["shots"]), int(options.get("seed_simulator") or 0)
        if self.max_shots is not None and shots > self.max_shots:
            raise ValueError(f"{shots} shots, more than the {self.max_shots} that it takes")
        counts = self._link.run(list(run_input), shots, seed)
        pairs = zip(run_input, counts, strict=True)
        results = [
            {
                "shots": shots,
                "success": True,
                "data": {"counts": {hex(int(text, 2)): n for text, n in one.items()}},
                "header": {"memory_slots": circuit.num_clbits},
            }
            for circuit, one in pairs
        ]
        whole = {"backend_name": self.name, "success": True, "results": results}
        result = Result.from_dict(whole | {"job_id": "", "backend_version": "", "qobj_id": ""})
        return SimpleNamespace(result=lambda: result)


def vendor_backend(name: str, qpu: QpuDescription) -> VendorBackend:
    """Return the backend of a vendor's short form, or of ``like:`` in another interpreter.

    Raises
    ------
    DescriptionError
        If it cannot be opened.
    """
    vendor, what = qpu.vendor or ("", None)
    spec = {
        "vendor": vendor,
        "backend": what.backend if what is not None else qpu.like,
        "options": what.options if what is not None else {},
        "python": qpu.python,
    }
    field = f"{vendor}.backend" if vendor else "like"
    return VendorBackend(f"pilot '{name}': backend.qpu.{field} is '{spec['backend']}'", spec)


def target_from(device: Mapping[str, Any]) -> Target:
    """Return the target that a backend has described in numbers.

    Operations that Qiskit has no name for are left out, and so are those that take some angles
    only: transpilers here would not mind them.
    """
    times = [QubitProperties(t1=t1, t2=t2) for t1, t2 in device["times"]]
    target = Target(num_qubits=device["qubits"], qubit_properties=times, dt=device["dt"])
    known = get_standard_gate_name_mapping()
    for name, places in device["gates"]:
        if name == "if_else":
            target.add_instruction(IfElseOp, name=name)
        elif name in known and name not in device["angles"] and known[name].num_qubits in (1, 2):
            given = None
            if places is not None:
                given = {
                    tuple(where): InstructionProperties(duration=duration, error=error)
                    for where, error, duration in places
                }
            target.add_instruction(_with_parameters(known[name]), given)
    return target


def _with_parameters(gate: Any) -> Any:
    """Return a gate with parameters that stand for any."""
    if not gate.params or all(isinstance(one, Parameter) for one in gate.params):
        return gate
    return type(gate)(*(Parameter(f"p{k}") for k in range(len(gate.params))))


class _Link(Protocol):
    """Where a backend is open."""

    device: dict[str, Any]

    def run(
        self, circuits: Sequence[QuantumCircuit], shots: int, seed: int
    ) -> list[dict[str, int]]: ...


# A process is kept for each device, as opening one takes seconds.
@lru_cache(maxsize=16)
def _link(place: str, spec: str) -> _Link:
    asked = json.loads(spec)
    python = asked.pop("python")
    return _Here(place, asked) if python is None else _Elsewhere(place, asked, python)


class _Here:
    """A backend that is opened in this process."""

    def __init__(self, place: str, asked: dict[str, Any]) -> None:
        self._vendor = asked["vendor"]
        try:
            self._backend = vendor_worker.opened(**asked)
            self.device = vendor_worker.described(self._vendor, self._backend)
        except Exception as error:  # it is the vendor's
            said = next(iter(str(error).splitlines()), "")[:300]
            raise _unopened(place, asked, type(error).__name__, said) from error

    def run(
        self, circuits: Sequence[QuantumCircuit], shots: int, seed: int
    ) -> list[dict[str, int]]:
        return vendor_worker.run(self._vendor, self._backend, circuits, shots, seed)


class _Elsewhere:
    """A backend that is opened in a process of another interpreter.

    The process ends with its input, which is this process's end of a pipe.
    """

    def __init__(self, place: str, asked: dict[str, Any], python: str) -> None:
        self._place, self._asked, self._python = place, asked, os.path.expanduser(python)
        self._lock = Lock()
        self._process: subprocess.Popen[str] | None = None
        with self._lock:
            self.device = self._started()

    def run(
        self, circuits: Sequence[QuantumCircuit], shots: int, seed: int
    ) -> list[dict[str, int]]:
        asked = {"circuits": vendor_worker.as_text(circuits), "shots": shots, "seed": seed}
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._started()
            answer = self._answer(asked)
        if "error" in answer:
            raise RuntimeError(f"{answer['error']}: {answer['said']}")
        counts: list[dict[str, int]] = answer["counts"]
        return counts

    def _started(self) -> dict[str, Any]:
        """Start the process, and return what its device says of itself."""
        script = str(Path(vendor_worker.__file__).resolve())
        # Its packages are its own: nothing that is meant for this interpreter.
        clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
        self._said = tempfile.TemporaryFile()  # noqa: SIM115, it is read when the process ends
        try:
            self._process = subprocess.Popen(
                [self._python, "-u", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
                env=clean,
            )
        except OSError as error:
            raise DescriptionError(
                f"{self._place}, expected python: PATH of an interpreter that has its packages "
                f"({error.strerror}: {self._python})"
            ) from error
        weakref.finalize(self, _end, self._process)
        answer = self._answer({"open": self._asked})
        if "error" in answer:
            raise _unopened(self._place, self._asked, answer["error"], answer["said"])
        device: dict[str, Any] = answer["device"]
        return device

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(asked) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise ValueError
        except ValueError:
            _end(process)
            raise DeviceError(
                f"{self._place}: its process ended ({hidden(self._last_words())}), expected an "
                f"answer; check that {self._python} has Qiskit and what the device needs"
            ) from None
        return answer

    def _last_words(self) -> str:
        self._said.seek(0, os.SEEK_END)
        self._said.seek(max(0, self._said.tell() - 4096))
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else "it said nothing"


def _end(process: subprocess.Popen[str]) -> None:
    """End a process by closing its input; kill it if it does not mind that."""
    with suppress(OSError):
        if process.stdin is not None:
            process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(2)
        return
    process.kill()
    process.wait()


def _unopened(place: str, asked: Mapping[str, Any], error: str, said: str) -> DescriptionError:
    """Return the fault of a device that cannot be opened; options' values are not in it."""
    package, advice = PACKAGES.get(asked["vendor"], ("", "check that it can be imported there"))
    for value in asked["options"].values():
        said = said.replace(str(value), "...")
    if error in ("ModuleNotFoundError", "ImportError"):
        return DescriptionError(f"{place}, expected its client ({hidden(said)}); {advice}")
    return DescriptionError(
        f"{place}, expected one that its client opens ({error}: {hidden(said)}); credentials "
        f"belong in {kept_where(package)}"
    )

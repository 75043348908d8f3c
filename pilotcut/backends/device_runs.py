"""Circuits on a device itself, by a sampler or a backend's own run, and results that are checked.

Knows what Qiskit's samplers and backends take and return; refuses to know what the circuits are
of, and how a sampler is opened (`pilotcut.backends.samplers`). Nothing that a device returns is
believed before it is looked at: number of results, registers, widths and shots of each, and with a
device's first job whether qubits that nothing is done to read 0, and those that are flipped 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseSamplerV2, BitArray
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from pilotcut.backends.first_job import Probe, probes
from pilotcut.errors import DeviceError
from pilotcut.pilots.description.credentials import hidden

#: Outcomes as hexadecimal numbers, as Aer's own counts have them.
Counts = dict[str, int]


@dataclass(frozen=True)
class CircuitRuns:
    """A circuit of the device's gates, and how often it runs.

    Parameters
    ----------
    circuit
        With a bit at least.
    values
        (runs, parameters) in the order of `QuantumCircuit.parameters`; without parameters
        (1, 0).
    """

    circuit: QuantumCircuit
    values: np.ndarray

    @classmethod
    def of(
        cls, circuit: QuantumCircuit, columns: Mapping[Parameter, Sequence[float]]
    ) -> CircuitRuns:
        """Return the runs for columns of values, () for one without parameters."""
        if not circuit.parameters:
            return cls(circuit, np.zeros((1, 0)))
        return cls(circuit, np.stack([columns[p] for p in circuit.parameters], axis=1))

    @property
    def bound(self) -> list[QuantumCircuit]:
        """A circuit for every run."""
        if not self.circuit.parameters:
            return [self.circuit] * len(self.values)
        return [self.circuit.assign_parameters(row) for row in self.values]


class DeviceRuns:
    """A device that runs circuits itself.

    Parameters
    ----------
    name
        Of its pilot, for messages.
    target
        The device's, for the first job's expectations.
    opener
        Returns the sampler or the backend; called with the first circuit. It travels to other
        processes, what it returns does not.
    opened
        What it has returned already.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        opener: Callable[[], BaseSamplerV2 | BackendV2],
        opened: BaseSamplerV2 | BackendV2 | None = None,
    ) -> None:
        self._name, self._target, self._opener = name, target, opener
        self._opened = opened
        self._lock = Lock()
        self._believed = False
        self._fault = ""
        self._binds: bool | None = None  # whether the sampler binds values; None until it is tried

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._name, self._target, self._opener)

    def counts(self, runs: Sequence[CircuitRuns], shots: int, seed: int) -> list[list[Counts]]:
        """Return the counts of every run of every circuit.

        Parameters
        ----------
        runs
            Circuits, which are one job where the device takes that.
        shots
            Of each run.
        seed
            Of backends that take one, simulators; devices and samplers draw as they do.

        Raises
        ------
        DeviceError
            If nothing comes back, or what cannot be counts of these circuits, or if the device's
            first job does not read what it should.
        """
        if not runs:
            return []
        with self._lock:  # so that threads of a pilot open one sampler
            _ = self.opened
            self._believe(runs[0].circuit, seed)
        return self._run(runs, shots, seed)

    def _believe(self, circuit: QuantumCircuit, seed: int) -> None:
        """Run the device's first job, once a process, on qubits that the circuit reads."""
        if self._believed:
            return
        if not self._fault:
            asked = probes(circuit, self._target)
            some = [CircuitRuns.of(probe.circuit, {}) for probe in asked]
            found = self._run(some, Probe.shots, seed) if some else []
            faults = [p.fault(one) for p, (one,) in zip(asked, found, strict=True)]
            self._fault = next(filter(None, faults), "")
        if self._fault:
            raise DeviceError(f"pilot '{self._name}': {self._fault}")
        self._believed = True

    @property
    def opened(self) -> BaseSamplerV2 | BackendV2:
        """The sampler or the backend."""
        if self._opened is None:
            self._opened = self._opener()
        return self._opened

    def _run(self, runs: Sequence[CircuitRuns], shots: int, seed: int) -> list[list[Counts]]:
        if isinstance(self.opened, BackendV2):
            found = self._by_backend(self.opened, runs, shots, seed)
        else:
            found = self._by_sampler(self.opened, runs, shots)
        for one in (one for each in found for one in each):
            if sum(one.values()) != shots:
                raise self._wrong(f"{sum(one.values())} shots", f"{shots}")
        return found

    # By a sampler.

    def _by_sampler(
        self, sampler: BaseSamplerV2, runs: Sequence[CircuitRuns], shots: int
    ) -> list[list[Counts]]:
        if self._binds is False or not any(one.circuit.parameters for one in runs):
            return self._bound_by_sampler(sampler, runs, shots)
        pubs = [
            (one.circuit, one.values if one.circuit.parameters else None, shots) for one in runs
        ]
        try:
            raw = self._ran(sampler, pubs)
        except DeviceError:
            # Some take no parameters, and each says so in its own way. Once they were taken it is
            # something else, and bound circuits would be paid a second time.
            if self._binds:
                raise
            found = self._bound_by_sampler(sampler, runs, shots)
            self._binds = False
            return found
        self._binds = True
        results = self._results(raw, len(pubs))
        return [self._read(one, each, shots) for one, each in zip(runs, results, strict=True)]

    def _bound_by_sampler(
        self, sampler: BaseSamplerV2, runs: Sequence[CircuitRuns], shots: int
    ) -> list[list[Counts]]:
        flat = [CircuitRuns.of(circuit, {}) for one in runs for circuit in one.bound]
        raw = self._ran(sampler, [(one.circuit, None, shots) for one in flat])
        results = self._results(raw, len(flat))
        found = iter(
            [self._read(one, each, shots)[0] for one, each in zip(flat, results, strict=True)]
        )
        return [[next(found) for _ in one.values] for one in runs]

    def _ran(self, sampler: BaseSamplerV2, pubs: Sequence[Any]) -> Any:
        """Return what comes back for a job's PUBs."""
        with self._in_one_line():
            # The job is held until its result is there: some end with their object.
            job = sampler.run(pubs)
            return job.result()

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        """Raise what a vendor's client raises as one line with the device's name."""
        try:
            yield
        except Exception as error:  # each client has its own
            said = hidden(next(iter(str(error).splitlines()), "")[:300])
            raise DeviceError(
                f"pilot '{self._name}': its device raised {type(error).__name__} ({said}), "
                "expected a result; if its limits or its account are not the reason, leave the "
                "pilot out"
            ) from error

    def _results(self, raw: Any, number: int) -> list[Any]:
        """Return the results of so many PUBs."""
        if isinstance(raw, (dict, str)) or not isinstance(raw, Iterable):
            raise self._wrong(f"a {type(raw).__name__}", "a PrimitiveResult")
        results = list(raw)
        if len(results) != number:
            raise self._wrong(f"{len(results)} results", f"{number}, one a circuit")
        return results

    def _read(self, runs: CircuitRuns, result: Any, shots: int) -> list[Counts]:
        """Return the counts of a PUB's runs, the registers joined in their order."""
        circuit = runs.circuit
        shape = (len(runs.values),) if circuit.parameters else ()
        registers = []
        for register in circuit.cregs:
            bits = getattr(result.data, register.name, None)
            if not isinstance(bits, BitArray):
                has = ", ".join(getattr(result.data, "keys", list)()) or "none"
                raise self._wrong(f"registers {has}", f"bits of '{register.name}' among them")
            if (bits.num_bits, bits.num_shots, bits.shape) != (register.size, shots, shape):
                raise self._wrong(
                    f"{bits.num_bits} bits of '{register.name}' in {bits.num_shots} shots, shape "
                    f"{bits.shape}",
                    f"{register.size} bits in {shots} shots, shape {shape}",
                )
            registers.append(bits)
        whole = BitArray.concatenate_bits(registers)
        each = range(len(runs.values)) if shape else [None]
        return [_hexadecimal(whole.get_int_counts(one)) for one in each]

    # By a backend's own run.

    def _by_backend(
        self, backend: BackendV2, runs: Sequence[CircuitRuns], shots: int, seed: int
    ) -> list[list[Counts]]:
        circuits = [circuit for one in runs for circuit in one.bound]
        options: dict[str, Any] = {"shots": shots}
        if hasattr(backend.options, "seed_simulator"):
            options["seed_simulator"] = seed % 2**31
        most = backend.max_circuits or len(circuits)
        found: list[Counts] = []
        for first in range(0, len(circuits), most):
            some = circuits[first : first + most]
            with self._in_one_line():
                result = backend.run(some, **options).result()
            found += self._counted(result, some)
        counts = iter(found)
        return [[next(counts) for _ in one.values] for one in runs]

    def _counted(self, result: Any, circuits: Sequence[QuantumCircuit]) -> list[Counts]:
        """Return a job's counts. Memory is not asked for: some backends have counts alone."""
        if len(result.results) != len(circuits):
            raise self._wrong(f"{len(result.results)} results", f"{len(circuits)}, one a circuit")
        found = []
        for k, circuit in enumerate(circuits):
            try:
                texts = result.get_counts(k)
            except Exception as error:  # it is Qiskit's word for "none"
                raise self._wrong("no counts", "counts of every circuit") from error
            counts: Counts = {}
            for text, number in texts.items():
                bits = text.replace(" ", "")
                if len(bits) != circuit.num_clbits or set(bits) - {"0", "1"}:
                    raise self._wrong(f"an outcome {text!r}", f"{circuit.num_clbits} bits")
                counts[hex(int(bits, 2))] = int(number)
            found.append(counts)
        return found

    def _wrong(self, found: str, expected: str) -> DeviceError:
        return DeviceError(
            f"pilot '{self._name}': what its device returned is {found}, expected {expected}; "
            "check its sampler, or leave the pilot out"
        )


def _hexadecimal(counts: dict[int, int]) -> Counts:
    return {hex(outcome): number for outcome, number in counts.items()}

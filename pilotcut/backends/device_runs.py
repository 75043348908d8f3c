"""Circuits on a device itself, by a sampler or a backend's own run, and results that are checked.

Knows what Qiskit's samplers and backends take and return; refuses to know what the circuits are
of, and how a sampler is opened (`pilotcut.backends.samplers`). Nothing that a device returns is
believed before it is looked at: number of results, registers, widths and shots of each, and with a
device's first job whether qubits that nothing is done to read 0, and those that are flipped 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from threading import RLock
from typing import Any

from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BaseSamplerV2, BitArray
from qiskit.providers import BackendV2
from qiskit.transpiler import Target

from pilotcut.backends.circuit_runs import CircuitRuns, Counts
from pilotcut.backends.device_client import DeviceClient
from pilotcut.backends.device_jobs import DeviceJobs, JobRequest, JobRules
from pilotcut.backends.first_job import Probe, probes
from pilotcut.backends.job_journal import written_down
from pilotcut.backends.job_packing import PackedJob, content_of, joined, packed
from pilotcut.backends.job_usage import current_meter, metered
from pilotcut.errors import DeviceError, QueueWaitError
from pilotcut.pilots.description.access import JobLimits
from pilotcut.pilots.description.credentials import without_credentials
from pilotcut.pilots.worker.sessions import current_query

USUAL_RULES = JobRules()

#: Samplers of queries that are kept, for the threads of a pilot.
_KEPT_QUERIES = 4


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
    rules
        How its jobs are to be run.
    renew
        Told a sampler or a backend that fails; returns whether a new one has a new session.
    """

    def __init__(
        self,
        name: str,
        target: Target,
        opener: Callable[[], BaseSamplerV2 | BackendV2],
        opened: BaseSamplerV2 | BackendV2 | None = None,
        rules: JobRules = USUAL_RULES,
        renew: Callable[[Any], bool] | None = None,
    ) -> None:
        self._name, self._target, self._opener = name, target, opener
        # By query, where each has a batch; the newest last.
        self._by_query: dict[str, Any] = {} if opened is None else {"": opened}
        self._rules = rules
        self._renew = renew
        self._jobs = DeviceJobs(name, rules, lambda: self.opened, self._renewed)
        self._lock = RLock()
        self._believed = False
        self._fault = ""
        self._binds: bool | None = None  # whether the sampler binds values; None until it is tried

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._name, self._target, self._opener, None, self._rules, self._renew)

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
            with written_down(None), metered() as first:
                self._believe(runs[0].circuit, seed)
            # It is paid, but no job of these circuits.
            current_meter().add(replace(first.usage, jobs=0, told=0))
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
        """The sampler or the backend, of this query where each has a batch."""
        query = self._query
        with self._lock:
            if query not in self._by_query:
                self._by_query[query] = self._opener()
                # What another thread's query had is opened anew, in its batch.
                for old in [one for one in self._by_query if one][:-_KEPT_QUERIES]:
                    del self._by_query[old]
            return self._by_query[query]

    @property
    def _query(self) -> str:
        return current_query() if self._rules.batches else ""

    def _run(self, runs: Sequence[CircuitRuns], shots: int, seed: int) -> list[list[Counts]]:
        if isinstance(self.opened, BackendV2):
            found = self._by_backend(self.opened, runs, shots, seed)
        else:
            found = self._by_sampler(runs, shots)
        for one in (one for each in found for one in each):
            if sum(one.values()) != shots:
                raise self._wrong(f"{sum(one.values())} shots", f"{shots}")
        return found

    @property
    def client(self) -> DeviceClient:
        """What the client can do beside running circuits."""
        return DeviceClient(self.opened)

    @property
    def _limits(self) -> JobLimits:
        """What a job may hold: as described, else as the client says."""
        circuits, shots = self.client.limits()
        own = self._rules.limits
        return JobLimits(
            circuits=own.circuits or circuits,
            shots=own.shots or shots,
            executions=own.executions,
        )

    def _renewed(self, failed: Any) -> bool:
        """Return whether there is another sampler than one that failed, with a new session."""
        with self._lock:
            if failed is not self._by_query.get(self._query):  # another thread was quicker
                return True
            if self._renew is None or not self._renew(failed):
                return False
            del self._by_query[self._query]
            return True

    # By a sampler.

    def _by_sampler(self, runs: Sequence[CircuitRuns], shots: int) -> list[list[Counts]]:
        if self._binds is False or not any(one.circuit.parameters for one in runs):
            return self._bound_by_sampler(runs, shots)
        try:
            found = self._ran(runs, shots)
        except QueueWaitError:
            raise
        except DeviceError:
            # Some take no parameters, and each says so in its own way. Once they were taken it is
            # something else, and bound circuits would be paid a second time.
            if self._binds:
                raise
            found = self._bound_by_sampler(runs, shots)
            self._binds = False
            return found
        return found

    def _bound_by_sampler(self, runs: Sequence[CircuitRuns], shots: int) -> list[list[Counts]]:
        flat = [CircuitRuns.of(circuit, {}) for one in runs for circuit in one.bound]
        found = iter([counts for (counts,) in self._ran(flat, shots)])
        return [[next(found) for _ in one.values] for one in runs]

    def _ran(self, runs: Sequence[CircuitRuns], shots: int) -> list[list[Counts]]:
        """Return the counts of circuits as they are, in as few jobs as limits allow."""

        def submit(job: PackedJob) -> Any:
            # Held until its result is there: some jobs end with their object.
            runs = [part.runs for part in job.parts]
            values = [one.values if one.circuit.parameters else None for one in runs]
            pubs = zip([one.circuit for one in runs], values, [job.shots] * len(runs), strict=True)
            return self.opened.run(list(pubs))

        def read(job: PackedJob, raw: Any) -> list[list[Counts]]:
            if any(part.runs.circuit.parameters for part in job.parts):
                self._binds = True
            results = self._results(raw, len(job.parts))
            return [
                self._read(part.runs, each, job.shots)
                for part, each in zip(job.parts, results, strict=True)
            ]

        return self._in_jobs(runs, shots, submit, read)

    def _in_jobs(
        self,
        runs: Sequence[CircuitRuns],
        shots: int,
        submit: Callable[[PackedJob], Any],
        read: Callable[[PackedJob, Any], list[list[Counts]]],
    ) -> list[list[Counts]]:
        jobs = packed(runs, shots, self._limits)
        requests = [
            JobRequest(
                submit=partial(submit, job),
                content=partial(content_of, job),
                results=job.circuits if isinstance(self.opened, BackendV2) else len(job.parts),
                shots=job.circuits * job.shots,
            )
            for job in jobs
        ]
        # One before the others, as long as it is not known whether the sampler takes parameters.
        first = 1 if self._binds is None and len(jobs) > 1 else len(jobs)
        found: list[list[list[Counts]]] = []
        for some in (slice(0, first), slice(first, len(jobs))):
            raw = self._jobs.results(requests[some], self.client, self._worded)
            found += [read(job, one) for job, one in zip(jobs[some], raw, strict=True)]
        return joined(runs, jobs, found)

    def _worded(self, error: BaseException) -> DeviceError:
        """Return what a vendor's client raises as one line with the device's name."""
        said = without_credentials(next(iter(str(error).splitlines()), ""))[:300]
        return DeviceError(
            f"pilot '{self._name}': its device raised {type(error).__name__} ({said}), "
            "expected a result; if its limits or its account are not the reason, leave the "
            "pilot out"
        )

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
        data = getattr(result, "data", None)
        if data is None:
            raise self._wrong(f"a {type(result).__name__} for a circuit", "its data, with bits")
        for register in circuit.cregs:
            bits = getattr(data, register.name, None)
            if not isinstance(bits, BitArray):
                has = ", ".join(map(str, getattr(data, "keys", list)())) or "none"
                raise self._wrong(f"registers {has}", f"bits of '{register.name}' among them")
            if (bits.num_bits, bits.shape) != (register.size, shape) or bits.num_shots < shots:
                raise self._wrong(
                    f"{bits.num_bits} bits of '{register.name}' in {bits.num_shots} shots, shape "
                    f"{bits.shape}",
                    f"{register.size} bits in {shots} shots, shape {shape}",
                )
            # A sampler that twirls rounds up to whole randomisations: all shots are alike.
            registers.append(bits.slice_shots(range(shots)) if bits.num_shots > shots else bits)
        whole = BitArray.concatenate_bits(registers)
        each = range(len(runs.values)) if shape else [None]
        return [_hexadecimal(whole.get_int_counts(one)) for one in each]

    # By a backend's own run.

    def _by_backend(
        self, backend: BackendV2, runs: Sequence[CircuitRuns], shots: int, seed: int
    ) -> list[list[Counts]]:
        options: dict[str, Any] = {}
        if hasattr(backend.options, "seed_simulator"):
            options["seed_simulator"] = seed % 2**31

        def submit(job: PackedJob) -> Any:
            circuits = [part.runs.circuit for part in job.parts]
            return backend.run(circuits, shots=job.shots, **options)

        def read(job: PackedJob, raw: Any) -> list[list[Counts]]:
            counts = self._counted(raw, [part.runs.circuit for part in job.parts])
            return [[one] for one in counts]

        flat = [CircuitRuns.of(circuit, {}) for one in runs for circuit in one.bound]
        found = iter([counts for (counts,) in self._in_jobs(flat, shots, submit, read)])
        return [[next(found) for _ in one.values] for one in runs]

    def _counted(self, result: Any, circuits: Sequence[QuantumCircuit]) -> list[Counts]:
        """Return a job's counts. Memory is not asked for: some backends have counts alone."""
        results = getattr(result, "results", None)
        if not isinstance(results, Sequence):
            raise self._wrong(f"a {type(result).__name__}", "a Result of Qiskit's")
        if len(results) != len(circuits):
            raise self._wrong(f"{len(results)} results", f"{len(circuits)}, one a circuit")
        found = []
        for k, circuit in enumerate(circuits):
            try:
                texts = result.get_counts(k)
            except Exception as error:  # it is Qiskit's word for "none"
                raise self._wrong("no counts", "counts of every circuit") from error
            if not isinstance(texts, Mapping):
                raise self._wrong(f"a {type(texts).__name__} for counts", "a mapping")
            counts: Counts = {}
            for text, number in texts.items():
                bits = str(text).replace(" ", "")
                if len(bits) != circuit.num_clbits or set(bits) - {"0", "1"}:
                    raise self._wrong(f"an outcome {text!r}", f"{circuit.num_clbits} bits")
                if not (isinstance(number, (int, float)) and number >= 0 and number % 1 == 0):
                    raise self._wrong(f"a count of {number!r}", "a whole number from 0 up")
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

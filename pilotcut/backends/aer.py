"""Counts from Aer, on CPU or GPU: templates transpiled once, batches as parameter binds.

Owns Aer's jobs, and how counts become means and covariances. How a template's circuit looks is
`pilotcut.backends.template_circuits`'s, how several share one `pilotcut.backends.packing`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.result import Result
from qiskit.transpiler.preset_passmanagers.common import generate_translation_passmanager
from qiskit_aer import AerSimulator

from pilotcut.backends.base import Measurement, Shots, shots_of, templates_in
from pilotcut.backends.cache import Cache
from pilotcut.backends.outcomes import Tally
from pilotcut.backends.packing import Pack
from pilotcut.backends.seating import simulated
from pilotcut.backends.template_circuits import TemplateCircuit, build
from pilotcut.backends.template_runs import TemplateRun, rounds_of
from pilotcut.cutting.fragment import Fragment, Template
from pilotcut.errors import CutError, UserError
from pilotcut.io import env_variables
from pilotcut.options import (
    check,
    choice_fault,
    counted,
)

#: Qubits that packed subexperiments may take together. Measured with 1,024 shots, per
#: one-qubit subexperiment: 0.80 ms alone, 0.22 ms with 6 to 10 qubits, 0.28 ms with 12.
PACK_QUBITS = 8

# Number of the job with density matrices, far from those of rounds.
_MIXED_JOB = 2**20

#: Compiled templates kept by one process.
CACHED_TEMPLATES = 4096


class AerBackend:
    """Runs fragments on `AerSimulator`.

    Parameters
    ----------
    device
        "CPU" or "GPU".
    method
        A simulation method of Aer.
    threads
        Threads of this process; default OMP_NUM_THREADS (which pilots set), else 1.
    pack_qubits
        See `PACK_QUBITS`; 1 turns packing off.
    """

    name = "aer"

    def __init__(
        self,
        device: str = "CPU",
        method: str = "automatic",
        threads: int | None = None,
        pack_qubits: int = PACK_QUBITS,
    ) -> None:
        threads = threads or env_variables.threads()
        available = AerSimulator().available_devices()
        if device not in available:
            raise UserError(
                f"backend device is {device}, but Aer here has only {', '.join(available)}; "
                f"install qiskit-aer-gpu on the pilot's nodes, or describe it with device: CPU"
            )
        methods = AerSimulator().available_methods()
        check(choice_fault("backend method", method, methods, "leave it out for automatic"))
        self._simulator = AerSimulator(
            device=device,
            method=method,
            # Aer would take all cores: two processes with more threads than there are cores were 13
            # times slower than with their share.
            max_parallel_threads=threads,
            max_parallel_experiments=1,
        )
        # One pass manager for all: building it anew takes 400 times as long as using it. A preset
        # one would load all plugins that are installed, which takes a second, to route nothing.
        self._translate = generate_translation_passmanager(
            self._simulator.target, approximation_degree=1.0
        )
        self._automatic = method == "automatic"
        self._pack_qubits = pack_qubits
        self._cache: Cache[tuple[object, ...], TemplateCircuit] = Cache(CACHED_TEMPLATES)

    def run(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Measurement:
        """Run a part of the fragment's subexperiments; see `Backend.run`.

        Aer takes one number of shots a job: unequal ones are run in rounds.
        """
        return self._measured(self._runs(fragment, part, shots, len(angles)), angles, shots, seed)

    def _measured(
        self, runs: Sequence[TemplateRun], angles: np.ndarray, shots: Shots, seed: int
    ) -> Measurement:
        """Run the circuits of some templates, and reduce what they find."""
        started = perf_counter()
        reduce_s = 0.0
        for number, one in enumerate(rounds_of(shots)):
            packs = [run.packs(angles, one, self._pack_qubits) for run in runs]
            flat = [pack for some in packs for pack in some]
            counts = iter(self._counts(flat, one.shots, _seed(seed, number)))
            # Timed apart: reading counts is reconstruction in records, though workers do it.
            counted = perf_counter()
            for run, some in zip(runs, packs, strict=True):
                run.add(some, [next(counts) for _ in some], one)
            reduce_s += perf_counter() - counted
        blocks = tuple(run.block() for run in runs)
        return Measurement(blocks, perf_counter() - started - reduce_s, reduce_s)

    def tally(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Tally:
        """Run a part of the fragment's subexperiments for its final bits; see `Backend.tally`."""
        found = []
        runs = self._runs(fragment, part, shots, len(angles))
        for number, one in enumerate(rounds_of(shots)):
            packs = [run.packs(angles, one, self._pack_qubits) for run in runs]
            flat = [pack for some in packs for pack in some]
            counts = iter(self._counts(flat, one.shots, _seed(seed, number)))
            for run, some in zip(runs, packs, strict=True):
                found.append(run.tally(some, [next(counts) for _ in some], one))
        return Tally.joined([one for one in found if one is not None])

    def _runs(self, fragment: Fragment, part: slice, shots: Shots, rows: int) -> list[TemplateRun]:
        return [
            TemplateRun(
                self._compiled(fragment, template),
                template,
                fragment.outcome_variants,
                shots_of(shots, rows, place),
            )
            for template, place in templates_in(fragment, part)
        ]

    def _compiled(self, fragment: Fragment, template: Template) -> TemplateCircuit:
        # Not the variants: any choice of operations with this pattern is a value of the one
        # circuit.
        key = (fragment.fingerprint, template.group, template.measured)
        return self._cache.get(key, lambda: self._compile(fragment, template))

    def _compile(self, fragment: Fragment, template: Template) -> TemplateCircuit:
        most = self._simulator.target.num_qubits
        seating = simulated(fragment, template, most=most, automatic=self._automatic)
        draft = build(fragment, template, seating)
        if draft.circuit.num_qubits > most:
            raise CutError(
                f"fragment {fragment.label} needs {counted(draft.circuit.num_qubits, 'qubit')} "
                "with its "
                f"ancillas, but Aer on this machine simulates at most {most}; "
                f"{_way_to_fit(fragment.width, int(np.count_nonzero(template.measured)), most)}"
            )
        return replace(draft, circuit=self._translate.run(draft.circuit))

    def _counts(self, packs: Sequence[Pack], shots: int, seed: int) -> list[list[dict[str, int]]]:
        """Run all packs and return the counts of each pack's circuits."""
        if not any(pack.mixed for pack in packs):
            return self._job(packs, shots, seed)
        # One job has one method. Only density matrices reset a qubit for all shots at once.
        found = {
            mixed: iter(
                self._job(
                    [pack for pack in packs if pack.mixed == mixed],
                    shots,
                    _seed(seed, _MIXED_JOB if mixed else 0),
                    **({"method": "density_matrix"} if mixed else {}),
                )
            )
            for mixed in (False, True)
        }
        return [next(found[pack.mixed]) for pack in packs]

    def _job(
        self, packs: Sequence[Pack], shots: int, seed: int, **options: str
    ) -> list[list[dict[str, int]]]:
        circuits = [circuit for pack in packs for circuit in pack.circuits]
        if not circuits:
            return []
        binds = [bind for pack in packs for bind in pack.binds]
        result = self._simulated(circuits, binds, shots, seed, **options)
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        # Where Aer binds nothing it runs a circuit once, at angle zero: see `aer_parameters`.
        if len(result.results) != sum(pack.runs for pack in packs):
            raise RuntimeError(
                f"Aer returned {len(result.results)} results, expected "
                f"{sum(pack.runs for pack in packs)}: it did not bind all parameters"
            )
        # Not get_counts(), which writes every outcome anew as a string of bits.
        counts = iter([r.data.counts for r in result.results])
        return [[next(counts) for _ in range(pack.runs)] for pack in packs]

    def _simulated(
        self,
        circuits: list[QuantumCircuit],
        binds: list[dict[Parameter, list[float]]],
        shots: int,
        seed: int,
        **options: str,
    ) -> Result:
        return self._simulator.run(
            circuits, parameter_binds=binds, shots=shots, seed_simulator=seed, **options
        ).result()


def _way_to_fit(width: int, ancillas: int, most: int) -> str:
    """Return how a circuit is cut so that a fragment fits with an ancilla for each measured cut."""
    if width > ancillas and most > ancillas:
        return f"cut it narrower: more cuts, or max_width={most - ancillas}"
    # A fragment of that width has room for some.
    return f"its cuts take {ancillas} of them: cut it less, or max_width={max(1, 4 * most // 5)}"


def _seed(seed: int, number: int) -> int:
    """Return a seed for another job; Aer counts circuits up from it, so it must be far."""
    if number == 0:
        return seed
    # Not seed + number: neighbouring seeds of Aer gave nearly the same trajectories.
    child = np.random.SeedSequence(seed, spawn_key=(number,))
    return int(child.generate_state(1, np.uint64)[0] >> np.uint64(2))

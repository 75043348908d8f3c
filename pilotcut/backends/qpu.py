"""Counts from a QPU: templates in its own gates, with its noise on Aer, or on itself.

A template is transpiled once (`pilotcut.backends.device_compiler`), with its mid-circuit
measurements, which hardware has. Where Aer plays the device they are deferred afterwards: a CX
copies the bit to a qubit that the device does not have, so that no error of the noise model can
meet it, and what is read there is as wrong as what the measured qubit reads. Nothing is packed:
a device runs one circuit at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.result import Result
from qiskit_aer.noise import NoiseModel

from pilotcut.backends.aer import CACHED_TEMPLATES, AerBackend
from pilotcut.backends.aer_parameters import aer_binds_all
from pilotcut.backends.base import Measurement, Shots, shots_of, templates_in
from pilotcut.backends.cache import Cache
from pilotcut.backends.cancelled_runs import CancelledRun
from pilotcut.backends.circuit_runs import CircuitRuns
from pilotcut.backends.deferral import deferred
from pilotcut.backends.device_compiler import DeviceCompiler, used_qubits
from pilotcut.backends.first_job import flipping
from pilotcut.backends.folding import folded
from pilotcut.backends.job_usage import metered
from pilotcut.backends.noisy_draws import DRAWN_SHOTS, Drawable, drawables
from pilotcut.backends.outcomes import Tally
from pilotcut.backends.packing import Pack
from pilotcut.backends.readout import Readout, wrongly_read
from pilotcut.backends.template_circuits import TemplateCircuit
from pilotcut.backends.template_runs import TemplateRun, WeightedRun
from pilotcut.cutting.fragment import Fragment, Template

#: Up to so many qubits, ancillas included, noise is simulated in density matrices; above, shot
#: by shot. Measured with 1,024 shots on one core: 5 ms and 0.6 s for 5 qubits and 80 gates, 2.7
#: and 4.6 s for 10 qubits, 11 and 8 s for 11.
DENSITY_QUBITS = 10

#: Noise models of some of a device's qubits that are kept.
KEPT_NOISE = 256

# Number of the random stream that circuits are drawn from, far from those of rounds.
_DRAWS = 2**21


class QpuBackend(AerBackend):
    """Runs fragments on a device, which Aer plays with its noise, or which runs itself.

    Parameters
    ----------
    compiler
        Knows the device, and its circuits.
    device, method, threads
        Of Aer, see `AerBackend`; "automatic" takes density matrices where they are small.
    factor
        How many times the noise of gates, see `pilotcut.backends.folding`.
    """

    name = "qpu"

    def __init__(
        self,
        compiler: DeviceCompiler,
        device: str = "CPU",
        method: str = "automatic",
        threads: int | None = None,
        factor: int = 1,
    ) -> None:
        super().__init__(device, method, threads, pack_qubits=1)
        self._factor = factor
        self._compiler, self._device = compiler, compiler.device
        self._cancelled: Cache[tuple[object, ...], TemplateCircuit] = Cache(CACHED_TEMPLATES)
        self._noise: Cache[frozenset[int], NoiseModel] = Cache(KEPT_NOISE)  # by qubits in use

    def run(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Measurement:
        """Run a part of the fragment's subexperiments, and take note of what it takes."""
        with metered() as meter:
            found = super().run(fragment, angles, part, shots, seed)
        return replace(found, usage=meter.usage)

    def tally(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Tally:
        """Run a part for its final bits, and take note of what it takes."""
        with metered() as meter:
            found = super().tally(fragment, angles, part, shots, seed)
        return replace(found, usage=meter.usage)

    def _compile(self, fragment: Fragment, template: Template) -> TemplateCircuit:
        found = self._compiler.template(fragment, template)
        circuit = folded(found.circuit, self._factor, self._device.target, self._device.name)
        return replace(found, circuit=self._finished(circuit, fragment))

    def _finished(self, circuit: QuantumCircuit, fragment: Fragment) -> QuantumCircuit:
        if self._device.direct is not None or fragment.num_values:
            return circuit  # what is measured in mid-circuit is to be seen there
        return deferred(circuit)

    def run_read(
        self,
        fragment: Fragment,
        angles: np.ndarray,
        part: slice,
        shots: Shots,
        seed: int,
        readout: Readout | None,
    ) -> Measurement:
        """Do so without a note, and with a readout by bits whose means are unbiased."""
        if readout is None:
            return super().run(fragment, angles, part, shots, seed)
        runs: list[TemplateRun] = []
        for template, place in templates_in(fragment, part):
            compiled = self._compiled(fragment, template)
            weights = readout.weights(self._read_qubits(compiled.circuit))
            some = (fragment.outcome_variants, shots_of(shots, len(angles), place))
            runs.append(WeightedRun(weights, compiled, template, *some))
        return self._measured(runs, angles, shots, seed)

    def run_cancelled(
        self,
        fragment: Fragment,
        angles: np.ndarray,
        part: slice,
        shots: Shots,
        seed: int,
        readout: Readout | None,
        samples: int,
    ) -> Measurement:
        """Do so with the noise of gates cancelled, by at most so many circuits for each."""
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_DRAWS,)))
        wholes = []
        for template, place in templates_in(fragment, part):
            some = shots_of(shots, len(angles), place)
            run_of = partial(self._with_terms, fragment, template, readout)
            cancellation = self._compiler.cancellation(fragment, template)
            wholes.append(CancelledRun(cancellation, some, samples, run_of, rng))
        runs = [run for one in wholes for run in one.runs]
        numbers = np.concatenate([some.reshape(-1) for one in wholes for some in one.shots])
        found = self._measured(runs, angles, numbers, seed)
        blocks = iter(found.blocks)
        whole = tuple(one.block([next(blocks) for _ in one.runs]) for one in wholes)
        return replace(found, blocks=whole)

    def _with_terms(
        self,
        fragment: Fragment,
        template: Template,
        readout: Readout | None,
        terms: np.ndarray,
        shots: np.ndarray,
        nothing: bool,
    ) -> TemplateRun:
        """Return the run of a template's circuit with something put in behind its gates."""
        key = (fragment.fingerprint, template.group, template.measured, terms.tobytes())
        compiled = self._cancelled.get(key, lambda: self._with(fragment, template, terms))
        some = (compiled, template, fragment.outcome_variants, shots)
        if readout is None:
            return TemplateRun(*some)
        if not nothing:  # all share the readout's errors, and what the weights come to is 1
            readout = replace(readout, errors=np.zeros_like(readout.errors))
        return WeightedRun(readout.weights(self._read_qubits(compiled.circuit)), *some)

    def _with(self, fragment: Fragment, template: Template, terms: np.ndarray) -> TemplateCircuit:
        circuit = self._compiler.cancellation(fragment, template).with_terms(terms)
        found = self._compiler.template(fragment, template)
        return replace(found, circuit=self._finished(circuit, fragment))

    def calibrated(self, fragment: Fragment, shots: int, seed: int) -> Readout:
        """Return how the qubits read that a fragment's circuits measure, by circuits that say so.

        Parameters
        ----------
        fragment
            The fragment.
        shots
            Of each of two circuits, which prepare 0 and 1 on all of these qubits. (Aer takes some
            qubits at a time, which in its noise models read independently.)
        seed
            Of simulators.
        """
        qubits = self._all_read(fragment)
        most = DENSITY_QUBITS if self._device.direct is None else max(1, len(qubits))
        parts = [qubits[k : k + most] for k in range(0, len(qubits), most)]
        asked = [
            c
            for some in parts
            for c in flipping(
                [(False,) * len(some), (True,) * len(some)], some, self._device.target
            )
        ]
        packs = [Pack(1, 1, [circuit], [{}]) for circuit in asked]
        counts = iter([one for (one,) in self._counts(packs, shots, seed)])
        found = [wrongly_read(len(some), next(counts), next(counts)) for some in parts]
        readout = Readout.counted(qubits, np.concatenate([np.zeros((0, 2)), *found]), shots)
        readout.check(self._device.name)
        return readout

    def reported(self, fragment: Fragment) -> Readout:
        """Return the same as the device's target has it, without a shot."""
        qubits = self._all_read(fragment)
        wrong = np.array([self._device.readout_errors(q) for q in qubits]).reshape(-1, 2)
        readout = Readout(tuple(qubits), wrong, np.zeros_like(wrong))
        readout.check(self._device.name)
        return readout

    def _all_read(self, fragment: Fragment) -> list[int]:
        """Return the device's qubits that a fragment's circuits read."""
        circuits = [self._compiled(fragment, t).circuit for t in fragment.templates]
        return sorted({q for c in circuits for q in self._read_qubits(c)} - {-1})

    def _read_qubits(self, circuit: QuantumCircuit) -> list[int]:
        """Return the device's qubit that each bit is read from; ancillas read as their originals.

        Bits that the circuit measures under a condition have none, -1.
        """
        qubits = [-1] * circuit.num_clbits
        for step in circuit.data:
            if step.operation.name == "measure":
                qubit = circuit.find_bit(step.qubits[0]).index
                qubits[circuit.find_bit(step.clbits[0]).index] = qubit % self._device.qubits
        return qubits

    def _counts(self, packs: Sequence[Pack], shots: int, seed: int) -> list[list[dict[str, int]]]:
        if self._device.direct is not None:
            return self._counts_of_device(packs, shots, seed)
        bindable = [pack if aer_binds_all(pack.circuits[0]) else _bound(pack) for pack in packs]
        return super()._counts(bindable, shots, seed)

    def _job(
        self, packs: Sequence[Pack], shots: int, seed: int, **options: str
    ) -> list[list[dict[str, int]]]:
        circuits = [circuit for pack in packs for circuit in pack.circuits]
        small = max(map(len, map(used_qubits, circuits)), default=0) <= DENSITY_QUBITS
        if shots >= DRAWN_SHOTS and self._automatic and small and (some := drawables(circuits)):
            return self._drawn(packs, some, shots, seed)
        return super()._job(packs, shots, seed, **options)

    def _drawn(
        self, packs: Sequence[Pack], circuits: Sequence[Drawable], shots: int, seed: int
    ) -> list[list[dict[str, int]]]:
        """Run circuits once, in density matrices, and draw all shots from what they give."""
        binds = [bind for pack in packs for bind in pack.binds]
        result = self._simulated([one.circuit for one in circuits], binds, 1, seed)
        runs, own = iter(result.results), iter(circuits)
        rng = np.random.default_rng(seed)

        def read(qubit: int) -> tuple[float, float]:
            return self._device.readout_errors(qubit % self._device.qubits)

        found = []
        for pack in packs:
            some = [next(own) for _ in pack.circuits]  # one, or one for each run
            laws = [next(runs).data.probabilities for _ in range(pack.runs)]
            each = zip(some * (pack.runs // len(some)), laws, strict=True)
            found.append([one.counts(law, read, shots, rng) for one, law in each])
        return found

    def _simulated(
        self,
        circuits: list[QuantumCircuit],
        binds: list[dict[Parameter, list[float]]],
        shots: int,
        seed: int,
        **options: str,
    ) -> Result:
        used = frozenset().union(*map(used_qubits, circuits))
        small = max(len(used_qubits(circuit)) for circuit in circuits) <= DENSITY_QUBITS
        # Shot by shot a density matrix only takes longer.
        alone = any(circuit.has_control_flow_op() for circuit in circuits)
        if self._automatic and small and not alone:
            options |= {"method": "density_matrix"}
        job = self._simulator.run(
            circuits,
            parameter_binds=binds,
            shots=shots,
            seed_simulator=seed,
            noise_model=self._noise_on(used),
            **options,
        )
        return job.result()

    def _noise_on(self, qubits: frozenset[int]) -> NoiseModel:
        # Aer reads a noise model anew with every job: that of the qubits in use alone makes jobs on
        # a device of 127 qubits 18 times as fast.
        return self._noise.get(qubits, lambda: self._device.noise_among(qubits))

    def _counts_of_device(
        self, packs: Sequence[Pack], shots: int, seed: int
    ) -> list[list[dict[str, int]]]:
        """Run circuits on the device itself; only a simulator knows what to do with the seed."""
        assert self._device.direct is not None
        runs = [
            CircuitRuns.of(circuit, bind)
            for pack in packs
            for circuit, bind in zip(pack.circuits, pack.binds, strict=True)
        ]
        found = iter(self._device.direct.counts(runs, shots, seed))
        return [[one for _ in pack.circuits for one in next(found)] for pack in packs]


def _bound(pack: Pack) -> Pack:
    """Return the pack with a circuit for every run, all angles bound."""
    if not pack.binds[0]:
        return pack
    (circuit,), (bind,) = pack.circuits, pack.binds
    circuits = [
        circuit.assign_parameters({p: values[run] for p, values in bind.items()})
        for run in range(pack.runs)
    ]
    return Pack(pack.copies, pack.runs, circuits, [{}] * pack.runs)

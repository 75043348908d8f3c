"""Counts from a QPU: templates in its own gates, with its noise on Aer, or on itself.

A template is transpiled once, onto the device's couplings and gates, with its mid-circuit
measurements, which hardware has. Where Aer plays the device they are deferred afterwards: a CX
copies the bit to a qubit that the device does not have, so that no error of the noise model can
meet it, and what is read there is as wrong as what the measured qubit reads. Nothing is packed:
a device runs one circuit at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.result import Result
from qiskit.transpiler.exceptions import TranspilerError
from qiskit_aer.noise import NoiseModel

from pilotcut.backends.aer import CACHED_TEMPLATES, AerBackend
from pilotcut.backends.aer_parameters import aer_binds_all
from pilotcut.backends.base import DeviceFit, Measurement, Shots, shots_of, templates_in
from pilotcut.backends.cache import Cache
from pilotcut.backends.circuit_runs import CircuitRuns
from pilotcut.backends.deferral import deferred
from pilotcut.backends.first_job import flipping
from pilotcut.backends.folding import folded
from pilotcut.backends.job_usage import metered
from pilotcut.backends.layouts import Layouts, predicted_error
from pilotcut.backends.noise_model import Device
from pilotcut.backends.noisy_draws import DRAWN_SHOTS, Drawable, drawables
from pilotcut.backends.packing import Pack
from pilotcut.backends.readout import Readout, wrongly_read
from pilotcut.backends.seating import Seating
from pilotcut.backends.template_circuits import TemplateCircuit, build
from pilotcut.backends.template_runs import TemplateRun, WeightedRun
from pilotcut.circuits.program import Step
from pilotcut.cutting.fragment import Fragment, Template
from pilotcut.errors import CutError

#: Up to so many qubits, ancillas included, noise is simulated in density matrices; above, shot
#: by shot. Measured with 1,024 shots on one core: 5 ms and 0.6 s for 5 qubits and 80 gates, 2.7
#: and 4.6 s for 10 qubits, 11 and 8 s for 11.
DENSITY_QUBITS = 10

#: Noise models of some of a device's qubits that are kept.
KEPT_NOISE = 256


class DeviceCompiler:
    """Templates of fragments in a device's own gates, each transpiled once.

    Parameters
    ----------
    device
        The device.
    """

    def __init__(self, device: Device) -> None:
        self.device = device
        self._templates: Cache[tuple[object, ...], TemplateCircuit] = Cache(CACHED_TEMPLATES)
        self._fits: Cache[str, DeviceFit] = Cache(CACHED_TEMPLATES)

    def played(self) -> DeviceCompiler:
        """Return the compiler of the same device, played by Aer; templates are the same."""
        found = copy(self)
        found.device = replace(self.device, direct=None)
        return found

    @cached_property
    def _layouts(self) -> Layouts:
        return Layouts(self.device.target)

    def template(self, fragment: Fragment, template: Template) -> TemplateCircuit:
        """Return a template on the device's qubits.

        Raises
        ------
        CutError
            If it has more qubits than the device, or cannot be said in its gates.
        """
        key = (fragment.fingerprint, template.group, template.measured)
        return self._templates.get(key, lambda: self._transpiled(fragment, template))

    def _transpiled(self, fragment: Fragment, template: Template) -> TemplateCircuit:
        if lack := self._too_wide(fragment):
            raise CutError(
                f"fragment {fragment.label} {lack} of '{self.device.name}'; cut it narrower: more "
                f"cuts, or max_width={self._layouts.room}"
            )
        draft = build(fragment, template, self._seating(fragment, template))
        try:
            circuit = self._layouts.best(draft.circuit, self._near(fragment, template))
        except TranspilerError as error:
            raise CutError(
                f"fragment {fragment.label} {self._in_vain} of '{self.device.name}'; expected "
                f"gates that make up any circuit, such as rz, sx, x, cz, and qubits that are all "
                f"connected"
            ) from error
        used = circuit.parameters  # transpilation may find that an angle does not matter
        return replace(
            draft,
            circuit=circuit,
            angles={p: k for p, k in draft.angles.items() if p in used},
            choices={p: choice for p, choice in draft.choices.items() if p in used},
        )

    def _near(self, fragment: Fragment, template: Template) -> tuple[int, ...]:
        """Return the qubits of the fragment's usual circuit: the others are like it."""
        usual = representative(fragment)
        if (usual.group, usual.measured) == (template.group, template.measured):
            return ()
        return tuple(sorted(_used_qubits(self.template(fragment, usual).circuit)))

    def _seating(self, fragment: Fragment, template: Template) -> Seating:
        if self._defers(fragment):
            apart = Seating.apart(fragment, template)
            if apart.qubits <= self._layouts.room or not self._resets or fragment.num_values:
                return apart
            return Seating.mixed_state(fragment, template)
        if not self._resets:
            return Seating.apart(fragment, template, mid_circuit=True)
        room = self._layouts.room - _parities(fragment)
        return Seating.shot_by_shot(fragment, template, most=room)

    def _defers(self, fragment: Fragment) -> bool:
        """Return whether what is measured before the end is copied to ancillas, read at the end."""
        return not self.device.mid_circuit or self._lacks_control(fragment)

    def _lacks_control(self, fragment: Fragment) -> bool:
        """Return whether a fragment needs classical control, and the device has none."""
        return "if_else" not in self.device.target.operation_names and any(
            isinstance(step, Step) and step.condition is not None for step in fragment.steps
        )

    @property
    def _resets(self) -> bool:
        return "reset" in self.device.target.operation_names

    @property
    def _in_vain(self) -> str:
        gates = ", ".join(
            sorted(set(self.device.target.operation_names) - {"measure", "reset", "if_else"})
        )
        return f"cannot be translated to the gates and couplings ({gates})"

    def _too_wide(self, fragment: Fragment) -> str:
        """Return that a fragment has too many qubits, '' if it has not."""
        room = self._layouts.room
        some = "" if room == self.device.qubits else " that work and are connected"
        if self._defers(fragment):
            needed = self._deferred_qubits(fragment)
            lacks = "measures at the end alone"
            if self.device.mid_circuit:
                lacks = "has no if_else"
            why = f", where what is measured before the end takes ancillas, as the device {lacks}"
            return f"needs {needed} qubits{why}, more than the {room}{some}" * (needed > room)
        wires = fragment.width if self._resets else fragment.num_wires
        parities = _parities(fragment)
        if wires + parities <= room:
            return ""
        beside = f" ({parities} of them for the parities of joint cuts)" if parities else ""
        other = "" if wires == fragment.width else ", as it cannot reset them"
        return f"needs {wires + parities} qubits{beside}{other}, more than the {room}{some}"

    def _deferred_qubits(self, fragment: Fragment) -> int:
        """Return the most qubits that a template takes with everything measured at the end."""
        return max(self._seating(fragment, one).qubits for one in _most_measured(fragment))

    def fit(self, fragment: Fragment) -> DeviceFit:
        """Return how well a fragment does on the device, by one of its circuits.

        Gates err independently, each with the infidelity of the target, see `predicted_error`.
        The circuit is the one with most variants. Those that measure at other sites differ by a
        few gates.
        """
        return self._fits.get(fragment.fingerprint, lambda: self._fit(fragment))

    def _fit(self, fragment: Fragment) -> DeviceFit:
        if lack := self._too_wide(fragment):
            return DeviceFit(1.0, 0.0, lack)
        try:
            circuit = self.template(fragment, representative(fragment)).circuit
        except CutError:
            return DeviceFit(1.0, 0.0, self._in_vain)
        target = self.device.target
        errors = [predicted_error(circuit, target, without) for without in ("", "measure")]
        return DeviceFit(errors[0], self.device.shot_s(circuit), gate_error=errors[1])


def _parities(fragment: Fragment) -> int:
    """Return the ancillas that a fragment takes on a device, one for each parity it measures."""
    return sum(any(op.measured for op in site.joint_operations) for site in fragment.sites)


def _most_measured(fragment: Fragment) -> Iterator[Template]:
    """Yield for each group the template that measures at every site where any does."""
    measured = tuple(max(op.measured for op in site.operations) for site in fragment.sites)
    nothing = np.zeros((0, len(fragment.sites)), dtype=int)
    for group in range(len(fragment.groups)):
        yield Template(group, measured, nothing, np.zeros(0, dtype=int))


def representative(fragment: Fragment) -> Template:
    """Return the template that most variants have in common, of the group with most members."""
    patterns = [Counter(op.measured for op in site.operations) for site in fragment.sites]
    # Sorted, so that a tie has the same winner in every process.
    measured = tuple(max(sorted(p), key=p.__getitem__) for p in patterns)
    groups = fragment.groups
    largest = max(range(len(groups)), key=lambda k: (_observed(fragment, groups[k]), -k))
    nothing = np.zeros((0, len(fragment.sites)), dtype=int)
    return Template(largest, measured, nothing, np.zeros(0, dtype=int))


def _observed(fragment: Fragment, members: tuple[int, ...]) -> int:
    """Return how many wires a group observes."""
    paulis = fragment.observables[list(members)]
    return int((paulis.x | paulis.z).any(axis=0).sum())


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
        self._noise: Cache[frozenset[int], NoiseModel] = Cache(KEPT_NOISE)  # by qubits in use

    def run(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: Shots, seed: int
    ) -> Measurement:
        """Run a part of the fragment's subexperiments, and take note of what it takes."""
        with metered() as meter:
            found = super().run(fragment, angles, part, shots, seed)
        return replace(found, usage=meter.usage)

    def _compile(self, fragment: Fragment, template: Template) -> TemplateCircuit:
        found = self._compiler.template(fragment, template)
        circuit = folded(found.circuit, self._factor, self._device.target, self._device.name)
        found = replace(found, circuit=circuit)
        if self._device.direct is not None or fragment.num_values:
            return found  # what is measured in mid-circuit is to be seen there
        return replace(found, circuit=deferred(found.circuit))

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
        small = max(map(len, map(_used_qubits, circuits)), default=0) <= DENSITY_QUBITS
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
        used = frozenset().union(*map(_used_qubits, circuits))
        small = max(len(_used_qubits(circuit)) for circuit in circuits) <= DENSITY_QUBITS
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


def _used_qubits(circuit: QuantumCircuit) -> frozenset[int]:
    used = {qubit for instruction in circuit.data for qubit in instruction.qubits}
    return frozenset(circuit.find_bit(qubit).index for qubit in used)

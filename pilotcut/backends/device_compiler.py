"""Templates of fragments in a device's own gates, and how well fragments do there.

A template is transpiled once, onto the device's couplings and gates, with its mid-circuit
measurements, which hardware has. Refuses to know who runs the circuits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from copy import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
from qiskit.circuit import QuantumCircuit
from qiskit.transpiler.exceptions import TranspilerError

from pilotcut.backends.aer import CACHED_TEMPLATES
from pilotcut.backends.base import DeviceFit
from pilotcut.backends.cache import Cache
from pilotcut.backends.cancellation import Cancellation, Inverses
from pilotcut.backends.folding import folded
from pilotcut.backends.layouts import Layouts, predicted_error
from pilotcut.backends.noise_model import Device
from pilotcut.backends.seating import Seating
from pilotcut.backends.template_circuits import TemplateCircuit, build
from pilotcut.circuits.program import Step
from pilotcut.cutting.fragment import Fragment, Template
from pilotcut.errors import CutError


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
        self._times: Cache[tuple[str, int], float] = Cache(CACHED_TEMPLATES)
        self._inverses = Inverses(device)
        self._cancellations: Cache[tuple[object, ...], Cancellation] = Cache(CACHED_TEMPLATES)

    @cached_property
    def played(self) -> DeviceCompiler:
        """The compiler of the same device, played by Aer; templates are the same."""
        found = copy(self)
        found.device = replace(self.device, direct=None)
        found._inverses = Inverses(found.device)
        found._cancellations = Cache(CACHED_TEMPLATES)
        return found

    def cancellation(self, fragment: Fragment, template: Template) -> Cancellation:
        """Return how the noise of a template's circuit is cancelled.

        Raises
        ------
        DeviceError
            If it is not known, or cannot be undone.
        """
        key = (fragment.fingerprint, template.group, template.measured)

        def made() -> Cancellation:
            circuit = self.template(fragment, template).circuit
            return Cancellation.of(circuit, self._inverses, self.device.name)

        return self._cancellations.get(key, made)

    def overhead(self, fragment: Fragment) -> float:
        """Return how many times as large errors are with the noise of a fragment cancelled."""
        return self.cancellation(fragment, representative(fragment)).overhead

    def shot_s(self, fragment: Fragment, factor: int) -> float:
        """Return the seconds of a shot of a fragment's circuit with so many times the noise."""

        def made() -> float:
            circuit = self.template(fragment, representative(fragment)).circuit
            longer = folded(circuit, factor, self.device.target, self.device.name)
            return self.device.shot_s(longer)

        return self._times.get((fragment.fingerprint, factor), made)

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
        return tuple(sorted(used_qubits(self.template(fragment, usual).circuit)))

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


def used_qubits(circuit: QuantumCircuit) -> frozenset[int]:
    """Return the qubits that a circuit does anything to."""
    used = {qubit for instruction in circuit.data for qubit in instruction.qubits}
    return frozenset(circuit.find_bit(qubit).index for qubit in used)

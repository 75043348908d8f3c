"""Counts from Aer, on CPU or GPU: templates transpiled once, batches as parameter binds.

A mid-circuit measurement makes Aer simulate shot by shot (20 to 160 times slower), so
the signed measurement of a cut is deferred: a CX copies the bit to an ancilla that is
measured at the end with all the others. Where nothing follows on the wire, the wire
itself is measured at the end and no ancilla is needed.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from time import perf_counter

import numpy as np
from qiskit import transpile
from qiskit.circuit import ClassicalRegister, Instruction, Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit.library import UGate
from qiskit.quantum_info import PauliList
from qiskit_aer import AerSimulator

from pilotcut.backends.base import Measurement
from pilotcut.backends.counts import covariances, parities
from pilotcut.cutting.fragment import Block, Fragment, SiteStep, Template
from pilotcut.cutting.program import Angle, Step

#: Gates that Aer 0.18 leaves at angle zero under `parameter_binds`, in silence; they are
#: replaced by their definitions.
UNBINDABLE = frozenset({"cp", "crx", "cry", "crz", "cu1", "cu3"})

#: Compiled fragments kept by one process.
CACHED_FRAGMENTS = 64


@dataclass(frozen=True)
class _Compiled:
    """A template ready for Aer.

    Parameters
    ----------
    circuit
        The transpiled circuit, with every bit measured at the end.
    angles
        Its parameters for the fragment's angles, by column.
    choices
        Its parameters for the sites' operations: parameter -> (variants,) values.
    masks
        For each sub-observable of the group, the bits whose parity is its sign.
    """

    circuit: QuantumCircuit
    angles: Mapping[Parameter, int]
    choices: Mapping[Parameter, np.ndarray]
    masks: tuple[int, ...]


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
    """

    name = "aer"

    def __init__(
        self, device: str = "CPU", method: str = "automatic", threads: int | None = None
    ) -> None:
        threads = threads or int(os.environ.get("OMP_NUM_THREADS", "1"))
        self._simulator = AerSimulator(
            device=device,
            method=method,
            max_parallel_threads=threads,
            max_parallel_experiments=1,
        )
        self._cache: OrderedDict[str, tuple[_Compiled, ...]] = OrderedDict()

    def run(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: int, seed: int
    ) -> Measurement:
        """Run a part of the fragment's subexperiments; see `Backend.run`."""
        started = perf_counter()
        compiled = self._compiled(fragment)
        pieces = list(_pieces(fragment.templates, part))
        circuits = [compiled[t].circuit for t, _ in pieces]
        binds = [_binds(compiled[t], angles, chosen) for t, chosen in pieces]
        result = self._simulator.run(
            circuits, parameter_binds=binds, shots=shots, seed_simulator=seed
        ).result()
        if not result.success:
            raise RuntimeError(f"Aer failed on {fragment!r}: {result.status}")
        expected = sum(len(chosen) for _, chosen in pieces) * len(angles)
        if len(result.results) != expected:
            raise RuntimeError(
                f"Aer returned {len(result.results)} results, expected {expected}: it did not bind "
                f"the parameters of {fragment!r}"
            )
        counted = perf_counter()
        counts = iter([r.data.counts for r in result.results])
        blocks = tuple(
            _block(fragment.templates[t], chosen, compiled[t].masks, len(angles), shots, counts)
            for t, chosen in pieces
        )
        return Measurement(blocks, counted - started, perf_counter() - counted)

    def _compiled(self, fragment: Fragment) -> tuple[_Compiled, ...]:
        key = fragment.fingerprint
        if key not in self._cache:
            self._cache[key] = tuple(self._compile(fragment, t) for t in fragment.templates)
            if len(self._cache) > CACHED_FRAGMENTS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _compile(self, fragment: Fragment, template: Template) -> _Compiled:
        draft = _Draft(fragment, template)
        circuit = transpile(draft.circuit, self._simulator, optimization_level=0)
        return _Compiled(circuit, draft.angles, draft.choices, draft.masks)


# -- building a template's circuit -----------------------------------------------------


class _Draft:
    """Builds one template: gates, sites with deferred measurements, final measurements."""

    def __init__(self, fragment: Fragment, template: Template) -> None:
        self._fragment = fragment
        self._template = template
        members = fragment.observables[list(fragment.groups[template.group])]
        self._support = members.x.any(axis=0) | members.z.any(axis=0)
        self.angles: dict[Parameter, int] = {}
        self.choices: dict[Parameter, np.ndarray] = {}
        self._columns = [Parameter(f"a{k}") for k in range(len(fragment.angles))]
        self._sign_qubits: list[int] = []
        ancillas = sum(template.measured)
        self.circuit = QuantumCircuit(fragment.width + ancillas)
        self._last = _last_steps(fragment)
        for position, step in enumerate(fragment.steps):
            if isinstance(step, SiteStep):
                self._site(step.site, position)
            else:
                self._gate(step)
        self.masks = self._measure(members)

    def _gate(self, step: Step) -> None:
        gate = step.gate
        if step.params:
            gate = gate.to_mutable()
            gate.params = [self._param(p) for p in step.params]
        self._append(gate, step.qubits)

    def _append(self, gate: Instruction, qubits: Sequence[int]) -> None:
        free = any(isinstance(p, ParameterExpression) for p in gate.params)
        if gate.name not in UNBINDABLE or not free:
            self.circuit.append(gate, qubits)
            return
        for inner in gate.definition.data:
            where = [gate.definition.find_bit(q).index for q in inner.qubits]
            self._append(inner.operation, [qubits[k] for k in where])

    def _param(self, param: object) -> object:
        if not isinstance(param, Angle):
            return param
        parameter = self._columns[param.slot]
        self.angles[parameter] = param.slot
        return parameter

    def _site(self, index: int, position: int) -> None:
        site = self._fragment.sites[index]
        chosen = [site.operations[k] for k in self._template.choices[:, index]]
        self._local([op.before for op in chosen], site.wire, f"s{index}b")
        if self._template.measured[index]:
            ends = self._last[site.wire] == position and not self._support[site.wire]
            self._sign(site.wire, in_place=ends)
            if not ends:
                self._local([op.after for op in chosen], site.wire, f"s{index}a")

    def _local(self, angles: Sequence[tuple[float, float, float]], wire: int, name: str) -> None:
        """Append ``U``: with numbers where all variants agree, else with parameters."""
        table = np.array(angles)
        if np.ptp(table, axis=0).max() > 0:
            parameters = [Parameter(f"{name}{k}") for k in range(3)]
            self.choices.update(zip(parameters, table.T, strict=True))
            self.circuit.append(UGate(*parameters), [wire])
        elif table[0].any():
            self.circuit.append(UGate(*table[0]), [wire])

    def _sign(self, wire: int, *, in_place: bool) -> None:
        if in_place:
            self._sign_qubits.append(wire)
            return
        ancilla = self._fragment.width + len(self._sign_qubits)
        self.circuit.cx(wire, ancilla)
        self._sign_qubits.append(ancilla)

    def _measure(self, members: PauliList) -> tuple[int, ...]:
        """Measure the group's Paulis and the signs; return each member's parity mask."""
        observed = np.flatnonzero(self._support)
        x, z = members.x.any(axis=0), members.z.any(axis=0)
        for wire in observed:
            if x[wire]:
                if z[wire]:
                    self.circuit.sdg(wire)
                self.circuit.h(wire)
        measured = [*map(int, observed), *self._sign_qubits]
        self.circuit.add_register(ClassicalRegister(len(measured)))
        self.circuit.measure(measured, range(len(measured)))
        signs = sum(1 << k for k in range(len(observed), len(measured)))
        letters = members.x | members.z
        return tuple(
            signs | sum(1 << k for k, wire in enumerate(observed) if row[wire]) for row in letters
        )


def _last_steps(fragment: Fragment) -> dict[int, int]:
    """Return the position of the last step on each wire."""
    last = {}
    for position, step in enumerate(fragment.steps):
        wires = (
            (fragment.sites[step.site].wire,) if isinstance(step, SiteStep) else step.qubits
        )
        last.update(dict.fromkeys(wires, position))
    return last


# -- running ---------------------------------------------------------------------------


def _pieces(
    templates: Sequence[Template], part: slice
) -> Iterable[tuple[int, np.ndarray]]:
    """Yield (template, positions among its variants) for a part of all subexperiments."""
    start = 0
    for number, template in enumerate(templates):
        size = len(template.variants)
        first, last = max(part.start - start, 0), min(part.stop - start, size)
        if first < last:
            yield number, np.arange(first, last)
        start += size


def _binds(
    compiled: _Compiled, angles: np.ndarray, chosen: np.ndarray
) -> dict[Parameter, list[float]]:
    """Return values for every (row, variant), rows outermost."""
    rows = len(angles)
    binds = {p: np.repeat(angles[:, k], len(chosen)).tolist() for p, k in compiled.angles.items()}
    binds |= {p: np.tile(table[chosen], rows).tolist() for p, table in compiled.choices.items()}
    return binds


def _block(
    template: Template,
    chosen: np.ndarray,
    masks: tuple[int, ...],
    rows: int,
    shots: int,
    counts: Iterator[Mapping[str, int]],
) -> Block:
    """Reduce the counts of one template's circuits, (rows, variants) of them."""
    g = len(masks)
    upper = [(i, j) for i in range(g) for j in range(i + 1, g)]
    # The signs of two commuting members multiply to the parity of the bits they do not share.
    wanted = [*masks, *(masks[i] ^ masks[j] for i, j in upper)]
    mine = list(islice(counts, rows * len(chosen)))
    signs = parities(mine, wanted, shots).reshape(rows, len(chosen), len(wanted))
    means = signs[..., :g]
    products = np.ones((rows, len(chosen), g, g))
    for k, (i, j) in enumerate(upper):
        products[..., i, j] = products[..., j, i] = signs[..., g + k]
    return Block(
        template.group, template.variants[chosen], means, covariances(means, products, shots)
    )

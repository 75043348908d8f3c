"""Counts from Aer, on CPU or GPU: templates transpiled once, batches as parameter binds.

For circuits of a few qubits Aer's time goes into every shot and not into the state, and
a shot of eight qubits costs hardly twice a shot of one. So small subexperiments are
packed side by side into one circuit: they share no gate, their outcomes are independent,
and each has all its shots.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import perf_counter

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.transpiler import generate_preset_pass_manager
from qiskit_aer import AerSimulator

from pilotcut.backends.base import Measurement, pieces_of
from pilotcut.backends.counts import covariances, parities
from pilotcut.backends.templates import TemplateCircuit, build
from pilotcut.cutting.fragment import Block, Fragment, Template
from pilotcut.errors import CutError, UserError

#: Qubits that packed subexperiments may take together. Measured with 1,024 shots, per
#: one-qubit subexperiment: 0.80 ms alone, 0.22 ms with 6 to 10 qubits, 0.28 ms with 12.
PACK_QUBITS = 8

#: Compiled fragments kept by one process.
CACHED_FRAGMENTS = 64


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
        threads = threads or int(os.environ.get("OMP_NUM_THREADS", "1"))
        available = AerSimulator().available_devices()
        if device not in available:
            raise UserError(
                f"backend device is {device}, but Aer here has only {', '.join(available)}; "
                f"install qiskit-aer-gpu on the pilot's nodes, or describe it with device: CPU"
            )
        methods = AerSimulator().available_methods()
        if method not in methods:
            raise UserError(
                f"backend method is '{method}', expected one of {', '.join(methods)}; leave it out "
                f"for automatic"
            )
        self._simulator = AerSimulator(
            device=device,
            method=method,
            max_parallel_threads=threads,
            max_parallel_experiments=1,
        )
        # One pass manager for all: building it anew takes 400 times as long as using it.
        self._translate = generate_preset_pass_manager(0, target=self._simulator.target)
        self._pack_qubits = pack_qubits
        self._cache: OrderedDict[str, tuple[_Packable, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def run(
        self, fragment: Fragment, angles: np.ndarray, part: slice, shots: int, seed: int
    ) -> Measurement:
        """Run a part of the fragment's subexperiments; see `Backend.run`."""
        started = perf_counter()
        compiled = self._compiled(fragment)
        pieces = [
            _Piece(fragment.templates[k], compiled[k], chosen, len(angles))
            for k, chosen in pieces_of(fragment, part)
        ]
        packs = [pack for piece in pieces for pack in piece.packs(angles, self._pack_qubits)]
        counts = self._counts(packs, shots, seed)
        counted = perf_counter()
        blocks = tuple(piece.block(packs, counts, shots) for piece in pieces)
        return Measurement(blocks, counted - started, perf_counter() - counted)

    def _compiled(self, fragment: Fragment) -> tuple[_Packable, ...]:
        with self._lock:
            key = fragment.fingerprint
            if key not in self._cache:
                self._cache[key] = tuple(self._compile(fragment, t) for t in fragment.templates)
                if len(self._cache) > CACHED_FRAGMENTS:
                    self._cache.popitem(last=False)
            self._cache.move_to_end(key)
            return self._cache[key]

    def _compile(self, fragment: Fragment, template: Template) -> _Packable:
        draft = build(fragment, template)
        most = self._simulator.target.num_qubits
        if draft.circuit.num_qubits > most:
            raise CutError(
                f"fragment {fragment.label} needs {draft.circuit.num_qubits} qubits with its "
                f"ancillas, but Aer on this machine simulates at most {most}; cut it narrower: "
                f"more cuts, or max_width={most - sum(template.measured)}"
            )
        return _Packable(replace(draft, circuit=self._translate.run(draft.circuit)))

    def _counts(self, packs: Sequence[_Pack], shots: int, seed: int) -> list[list[dict[str, int]]]:
        """Run all packs as one job and return the counts of each pack's circuits."""
        circuits = [circuit for pack in packs for circuit in pack.circuits]
        binds = [bind for pack in packs for bind in pack.binds]
        result = self._simulator.run(
            circuits, parameter_binds=binds, shots=shots, seed_simulator=seed
        ).result()
        if not result.success:
            raise RuntimeError(f"Aer failed: {result.status}")
        if len(result.results) != sum(pack.runs for pack in packs):
            raise RuntimeError(
                f"Aer returned {len(result.results)} results, expected "
                f"{sum(pack.runs for pack in packs)}: it did not bind all parameters"
            )
        counts = iter([r.data.counts for r in result.results])
        return [[next(counts) for _ in range(pack.runs)] for pack in packs]


@dataclass(frozen=True)
class _Pack:
    """Runs of one circuit that holds several subexperiments side by side.

    Parameters
    ----------
    copies
        Subexperiments in the circuit.
    runs
        How often it runs, each time for the next `copies` subexperiments.
    circuits, binds
        What Aer is given: one circuit with a list of values for each parameter, or, without
        parameters, a circuit for every run.
    """

    copies: int
    runs: int
    circuits: list[QuantumCircuit]
    binds: list[dict[Parameter, list[float]]]


class _Packable:
    """A transpiled template, and its packed forms as they are needed."""

    def __init__(self, template: TemplateCircuit) -> None:
        self.template = template
        self._packed: dict[int, tuple[QuantumCircuit, list[list[Parameter]]]] = {}

    def most_copies(self, qubits: int) -> int:
        """Return how many copies fit side by side."""
        return max(1, qubits // self.template.circuit.num_qubits)

    def packed(self, copies: int) -> tuple[QuantumCircuit, list[list[Parameter]]]:
        """Return copies side by side, and the parameters of each copy."""
        if copies not in self._packed:
            self._packed[copies] = self._pack(copies)
        return self._packed[copies]

    def _pack(self, copies: int) -> tuple[QuantumCircuit, list[list[Parameter]]]:
        one, own = self.template.circuit, self.template.parameters
        if copies == 1:
            return one, [own]
        whole = QuantumCircuit(one.num_qubits * copies, one.num_clbits * copies)
        parameters = []
        for copy in range(copies):
            fresh = [Parameter(f"{p.name}.{copy}") for p in own]
            parameters.append(fresh)
            renamed = one.assign_parameters(dict(zip(own, fresh, strict=True)))
            qubits = range(copy * one.num_qubits, (copy + 1) * one.num_qubits)
            clbits = range(copy * one.num_clbits, (copy + 1) * one.num_clbits)
            whole.compose(renamed, qubits=qubits, clbits=clbits, inplace=True)
        return whole, parameters

    def pack(self, values: np.ndarray, copies: int) -> _Pack:
        """Return the pack for values (runs * copies, parameters)."""
        circuit, parameters = self.packed(copies)
        runs = len(values) // copies
        if not self.template.parameters:
            return _Pack(copies, runs, [circuit] * runs, [{}] * runs)
        bind = {
            parameter: values[copy::copies, k].tolist()
            for copy, own in enumerate(parameters)
            for k, parameter in enumerate(own)
        }
        return _Pack(copies, runs, [circuit], [bind])


class _Piece:
    """Some variants of one template, for all rows of a bundle."""

    def __init__(
        self, template: Template, compiled: _Packable, chosen: np.ndarray, rows: int
    ) -> None:
        self._template = template
        self._compiled = compiled
        self._chosen = chosen
        self._rows = rows
        self._packs: list[_Pack] = []

    def packs(self, angles: np.ndarray, qubits: int) -> list[_Pack]:
        """Return the packs that run all (row, variant) pairs, the fullest first."""
        values = self._compiled.template.values(angles, self._chosen)
        copies, first = self._compiled.most_copies(qubits), 0
        while first < len(values):
            copies = min(copies, len(values) - first)
            last = first + (len(values) - first) // copies * copies
            self._packs.append(self._compiled.pack(values[first:last], copies))
            first, copies = last, max(1, copies // 2)
        return self._packs

    def block(
        self, packs: Sequence[_Pack], counts: Sequence[list[dict[str, int]]], shots: int
    ) -> Block:
        """Reduce the counts of this piece's packs."""
        masks = self._compiled.template.masks
        g = len(masks)
        upper = [(i, j) for i in range(g) for j in range(i + 1, g)]
        # The signs of two commuting members multiply to the parity of the bits not shared.
        wanted = [*masks, *(masks[i] ^ masks[j] for i, j in upper)]
        mine = {id(pack) for pack in self._packs}
        signs = np.concatenate(
            [
                self._signs(pack, one, wanted, shots)
                for pack, one in zip(packs, counts, strict=True)
                if id(pack) in mine
            ]
        ).reshape(self._rows, len(self._chosen), len(wanted))
        products = np.ones((*signs.shape[:2], g, g))
        for k, (i, j) in enumerate(upper):
            products[..., i, j] = products[..., j, i] = signs[..., g + k]
        means = signs[..., :g]
        return Block(
            self._template.group,
            self._template.variants[self._chosen],
            means,
            covariances(means, products, shots),
        )

    def _signs(
        self, pack: _Pack, counts: list[dict[str, int]], wanted: Sequence[int], shots: int
    ) -> np.ndarray:
        """Return mean signs (subexperiments, wanted), each copy read from its own bits."""
        bits = self._compiled.template.circuit.num_clbits
        shifted = [mask << (bits * copy) for copy in range(pack.copies) for mask in wanted]
        return parities(counts, shifted, shots).reshape(-1, len(wanted))

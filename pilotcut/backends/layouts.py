"""Transpilation to a device with an eye on its errors: of several layouts the one that errs least.

Qiskit's level 2 takes layouts by errors, but scores places, and where SWAPs are needed a seed
decides. So it is tried several times, and the error of the whole circuit decides: on FakeTorino
four seeds gave 0.26 to 0.31 for 8 qubits. Knows targets and circuits; refuses to know fragments.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from qiskit.circuit import QuantumCircuit, QuantumRegister
from qiskit.transpiler import PassManager, Target, generate_preset_pass_manager
from qiskit.transpiler.exceptions import TranspilerError

from pilotcut.backends.cache import Cache
from pilotcut.backends.usable import connected, couplers, part_of

#: Qiskit's level and seed of each try: one device always gets the same circuits. Level 1 is there
#: since now and then it finds less error. On up to FEW_QUBITS layouts without SWAPs are all looked
#: at, and two tries are enough.
TRIES, FEW_QUBITS = ((2, 1), (1, 1), (2, 2), (2, 3), (2, 4)), 8
FEW_TRIES = TRIES[:2]

#: Parts of a device that are not connected with each other, of which layouts are tried.
MOST_PARTS = 2

#: Pass managers that are kept: building one takes as long as using it.
KEPT_PASSES = 64


class Layouts:
    """Circuits on a device, each where it errs least.

    Parameters
    ----------
    target
        Of the device, of which everything works.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._parts = connected(target)
        self._passes: Cache[tuple[object, ...], tuple[Target, PassManager]] = Cache(KEPT_PASSES)

    @property
    def room(self) -> int:
        """Most qubits that work and are connected."""
        return len(self._parts[0])

    def best(self, circuit: QuantumCircuit, near: Sequence[int] = ()) -> QuantumCircuit:
        """Return the circuit on the device's qubits and in its gates.

        Parameters
        ----------
        circuit
            Of at most `room` qubits.
        near
            Qubits that a circuit like it is on, where it is looked for first.

        Raises
        ------
        TranspilerError
            If it cannot be said in the device's gates.
        """
        if len(near) >= circuit.num_qubits:
            found = self._least(circuit, [tuple(near)], FEW_TRIES)
            if found is not None:
                return found
        tries = TRIES if self._target.num_qubits > FEW_QUBITS else FEW_TRIES
        ways = [self._least(circuit, self._parts[:MOST_PARTS], tries), *self._by_one_gate(circuit)]
        found = [one for one in ways if one is not None]
        if not found:
            raise TranspilerError("no layout on this device can be translated to its gates")
        return min(found, key=lambda one: predicted_error(one, self._target))

    def _by_one_gate(self, circuit: QuantumCircuit) -> Iterator[QuantumCircuit | None]:
        """Yield it on parts whose couplings all have the same gate, if the device's do not.

        Where some have a cx and some an ecr, each in one direction, as on FakeCairoV2, Qiskit
        2.6 often finds no way to turn one round.
        """
        names = couplers(self._target)
        if len({*names.values()}) < 2:
            return
        for name in names:
            parts = connected(self._target, name)[:MOST_PARTS]
            yield self._least(circuit, parts, FEW_TRIES, frozenset({*names} - {name}))

    def _least(
        self,
        circuit: QuantumCircuit,
        parts: Iterable[tuple[int, ...]],
        tries: Sequence[tuple[int, int]],
        without: frozenset[str] = frozenset(),
    ) -> QuantumCircuit | None:
        """Return the one with the least error, the first of equal ones, None if all are in vain."""
        best, least = None, float("inf")
        for part in parts:
            for level, seed in tries if len(part) >= circuit.num_qubits else ():
                target, passes = self._on(part, level, seed, without)
                try:
                    found = passes.run(circuit)
                except TranspilerError:
                    continue
                error = predicted_error(found, target)
                if error < least:
                    best, least = self._placed(found, part), error
        return best

    def _on(
        self, part: tuple[int, ...], level: int, seed: int, without: frozenset[str]
    ) -> tuple[Target, PassManager]:
        def made() -> tuple[Target, PassManager]:
            target = part_of(self._target, part, without)
            return target, generate_preset_pass_manager(level, target=target, seed_transpiler=seed)

        return self._passes.get((part, level, seed, without), made)

    def _placed(self, circuit: QuantumCircuit, part: tuple[int, ...]) -> QuantumCircuit:
        """Return a circuit on a part of the device on all its qubits."""
        size = self._target.num_qubits
        if part == tuple(range(size)):
            return circuit
        whole = QuantumCircuit(QuantumRegister(size, "q"), circuit.clbits)
        for register in circuit.cregs:
            whole.add_register(register)
        return whole.compose(circuit, qubits=part, clbits=circuit.clbits, copy=False)


def predicted_error(circuit: QuantumCircuit, target: Target, without: str = "") -> float:
    """Return the probability that a gate or a measurement goes wrong, each by itself.

    ``1 - prod(1 - error of each gate and measurement)``, with the infidelities of the target, and
    without operations of one name.
    """
    kept = 1.0
    for instruction in circuit.data:
        name = instruction.operation.name
        if name == without:
            continue
        qubits = tuple(circuit.find_bit(q).index for q in instruction.qubits)
        known = target[name].get(qubits) if name in target else None
        kept *= 1.0 - min(1.0, (known and known.error) or 0.0)
    return 1.0 - kept

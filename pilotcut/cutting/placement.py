"""Placements: where a circuit is cut, as a label for every wire.

A qubit starts on one wire, and goes on with another behind each wire cut. Gates between
wires of different labels are cut, and wires of one label make up a fragment. Nothing here
chooses anything (`pilotcut.cutting.search`) or builds anything (`pilotcut.cutting.fragmenter`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pilotcut.circuits.program import Program, parts_of
from pilotcut.errors import CutError
from pilotcut.options import counted


@dataclass(frozen=True)
class WireCut:
    """A cut through a qubit between two of its steps.

    Parameters
    ----------
    qubit
        The qubit whose wire ends here and that goes on with another.
    after
        How many of the qubit's steps, in the program's order, stand before the cut. Those of a
        multi-controlled gate are counted one by one (`pilotcut.circuits.program.Program.opened`);
        a gate with a cut among them is opened.
    label
        Label of the wire behind the cut.
    """

    qubit: int
    after: int
    label: str


@dataclass(frozen=True)
class Placement:
    """Labels of all wires of a circuit.

    Parameters
    ----------
    labels
        Label of each qubit's first wire, label 0 for qubit 0.
    wire_cuts
        Where a qubit goes on with another wire, at most one cut in a place.
    max_width
        Wires that a fragment may have with ancillas of multi-controlled gates, which are cut at a
        higher price where it has no room for them, and with wires that are cut together. None for
        any number of the first, and as many as if they were cut one by one of the second.
    """

    labels: tuple[str, ...]
    wire_cuts: tuple[WireCut, ...] = ()
    max_width: int | None = None

    def label_behind(self) -> dict[tuple[int, int], str]:
        """Return the label behind each wire cut, by (qubit, steps before it)."""
        return {(cut.qubit, cut.after): cut.label for cut in self.wire_cuts}

    def to_dict(self) -> dict[str, Any]:
        """Return the placement as records of runs have it."""
        return {
            "labels": list(self.labels),
            "wire_cuts": [asdict(cut) for cut in self.wire_cuts],
            "ancilla_width": self.max_width,
        }

    @classmethod
    def of_dict(cls, record: Mapping[str, Any]) -> Placement:
        """Return the placement that `to_dict` wrote, whatever else stands beside it.

        Raises
        ------
        KeyError, TypeError
            If it is no such record.
        """
        wires = tuple(WireCut(**cut) for cut in record["wire_cuts"])
        return cls(tuple(map(str, record["labels"])), wires, record.get("ancilla_width"))


def placement_of(
    labels: str | Sequence[str] | Placement | None, program: Program
) -> Placement | None:
    """Return labels as a placement that fits the program; None stays None.

    Raises
    ------
    CutError
        For another number of labels than qubits, and wire cuts where there is no wire.
    """
    if labels is None:
        return None
    placement = labels if isinstance(labels, Placement) else Placement(tuple(map(str, labels)))
    if len(placement.labels) != program.num_qubits:
        raise CutError(
            f"labels '{label_text(placement.labels)}' name "
            f"{counted(len(placement.labels), 'qubit')}, "
            f"expected {program.num_qubits}, one letter a qubit; label 0 is qubit 0"
        )
    _check_wire_cuts(placement, program)
    return placement


def letter(index: int) -> str:
    """Return the label of the fragment of that number: A to Z, then F26 and on."""
    return chr(ord("A") + index) if index < 26 else f"F{index}"


def label_text(labels: Sequence[str], most: int = 60) -> str:
    """Return labels as one word of a message, on one line and not for ever."""
    word = "".join(c if c.isprintable() else "?" for label in labels for c in label)
    return word if len(word) <= most else f"{word[: most - 1]}…"


def _check_wire_cuts(placement: Placement, program: Program) -> None:
    steps = Counter(q for step in program.opened.steps for q in step.qubits)
    places = Counter((cut.qubit, cut.after) for cut in placement.wire_cuts)
    for cut in placement.wire_cuts:
        if not 0 <= cut.qubit < program.num_qubits:
            raise CutError(
                f"wire cut of qubit {cut.qubit}, expected a qubit from 0 to "
                f"{program.num_qubits - 1}; qubits are numbered as in the circuit"
            )
        if not 0 <= cut.after <= steps[cut.qubit]:
            raise CutError(
                f"wire cut of qubit {cut.qubit} after {counted(cut.after, 'step')}, expected 0 to "
                f"{steps[cut.qubit]}, as many as act on it; count them in the program's order"
            )
        if places[cut.qubit, cut.after] > 1:
            raise CutError(
                f"qubit {cut.qubit} is cut {places[cut.qubit, cut.after]} times after "
                f"{counted(cut.after, 'step')}, expected once; leave out all but the last"
            )


def labels_of_steps(placement: Placement, program: Program) -> list[tuple[str, ...]]:
    """Return for each step the labels of the wires that it begins on."""
    label = list(placement.labels)
    behind = placement.label_behind()
    passed: Counter[int] = Counter()
    found = []

    def reach(qubits: Sequence[int]) -> None:
        for qubit in qubits:
            label[qubit] = behind.get((qubit, passed[qubit]), label[qubit])

    for step in program.steps:
        reach(step.qubits)
        found.append(tuple(label[q] for q in step.qubits))
        for part in parts_of(step):
            reach(part.qubits)
            passed.update(part.qubits)
    return found

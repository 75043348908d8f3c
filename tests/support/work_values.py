"""Values of many kinds, as arguments of work that is to be the same in another process.

    python -m support.work_values

prints the digests of all of them.
"""

import datetime
import enum
import functools
import json
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.library import PauliEvolutionGate, efficient_su2
from qiskit.quantum_info import SparsePauliOp

from pilotcut.tasks.work_identity import work_of


class Colour(enum.Enum):
    RED = 1


@dataclass(frozen=True)
class Settings:
    rate: float
    names: dict = field(default_factory=dict)

    @functools.cached_property
    def double(self):
        return 2 * self.rate


class Slotted:
    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(2, 1)
        torch.nn.init.ones_(self.inner.weight)
        torch.nn.init.zeros_(self.inner.bias)


@functools.cache
def remembered(x):
    return x + 1


def work(x):
    return remembered(x) + len(Settings(x).names)


def circuit():
    first, second = Parameter("first"), Parameter("second")
    found = QuantumCircuit(3, 2)
    found.rx(2 * first + second * first - 1, 0)
    found.mcx([0, 1], 2, ctrl_state=1)
    found.unitary(np.eye(4), [0, 1])
    inner = QuantumCircuit(2)
    inner.cx(0, 1)
    found.append(inner.to_gate(), [0, 1])
    found.append(PauliEvolutionGate(SparsePauliOp(["ZZ"]), 0.3), [0, 1])
    found.measure(0, 0)
    with found.if_test((found.clbits[0], 1)):
        found.x(1)
    return found


def values():
    return {
        "set": {"a", "b", "c"},
        "settings": Settings(0.1, {"x": frozenset("abc")}),
        "enum": Colour.RED,
        "slots": Slotted(3),
        "function": work,
        "method": Settings(0.1).__repr__,
        "partial": functools.partial(work, 3),
        "path": Path("/a/b"),
        "date": datetime.datetime(2026, 1, 2),
        "random": random.Random(3),
        "generator": np.random.default_rng(3),
        "objects": np.array(["a", None], dtype=object),
        "tensor": torch.arange(4.0),
        "model": Net(),
        "circuit": circuit(),
        "ansatz": efficient_su2(4, reps=1),
        "parameters": {Parameter("a"): 1.0},
        "operator": SparsePauliOp(["ZZ", "XX"], [1.0, 2.0]),
    }


def digests():
    return {name: work_of(max, (value,), {}) for name, value in values().items()}


if __name__ == "__main__":
    # As it is called where it is imported: what stands in a script has no module's name.
    from support import work_values

    print(json.dumps(work_values.digests()))

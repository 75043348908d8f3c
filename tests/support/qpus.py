"""Devices that run circuits themselves, and fragments to run there."""

import numpy as np
from qiskit.circuit import Parameter
from qiskit.providers import BackendV2, Options

from pilotcut import compile_plan
from pilotcut.backends.base import Backend
from pilotcut.cutting.fragment import Fragment
from pilotcut.cutting.fragment_tensor import FragmentTensor
from support.circuits import entangled

NATIVE = ["rz", "sx", "x", "cz"]


def middle() -> Fragment:
    """A fragment of two wires, with a site that is followed by gates and one that is observed."""
    circuit = entangled([(0, 1), (1, 2), (2, 3), (1, 2)], 4)
    circuit.rx(Parameter("a"), 1)
    circuit.rzz(Parameter("b"), 1, 2)
    return compile_plan(circuit, ["ZZXZ", "ZIZZ", "XYYX"], labels="ABBC").fragments[1]


def small() -> Fragment:
    """A fragment of one wire with a site and an angle, in six variants."""
    circuit = entangled([(0, 1)], 2)
    circuit.rx(Parameter("a"), 0)
    return compile_plan(circuit, ["ZZ", "XI"], labels="AB").fragments[0]


def measured(backend: Backend, fragment: Fragment, angles, shots: int, seed: int):
    """Return the fragment tensor (rows, ...) by a backend."""
    tensor = FragmentTensor.empty(fragment, len(angles))
    whole = slice(0, fragment.num_subexperiments)
    for block in backend.run(fragment, angles, whole, shots, seed).blocks:
        tensor.fill(fragment, slice(0, len(angles)), block)
    return tensor.values


def scores(values: np.ndarray, expected: np.ndarray, shots: int) -> np.ndarray:
    """Return differences in standard errors; what is certain is asserted to be equal."""
    spread = np.sqrt(np.maximum(1 - expected**2, 0) / shots)
    certain = spread < 1e-6
    assert np.abs(values - expected)[certain].max(initial=0) < 1e-9
    return (values - expected)[~certain] / spread[~certain]


class CountsOnly(BackendV2):
    """A backend that returns counts and no memory, as IQM's fakes do."""

    def __init__(self, inner: BackendV2) -> None:
        super().__init__(name="counts only")
        self._inner = inner

    @property
    def target(self):
        return self._inner.target

    @property
    def max_circuits(self):
        return 5

    @classmethod
    def _default_options(cls):
        return Options(shots=1024)

    def run(self, run_input, **options):
        # Aer keeps no memory where none is asked for.
        return self._inner.run(run_input, shots=options["shots"], seed_simulator=5)

"""Random circuits of whatever Qiskit has, and of gates that people write, with their states.

Every gate class of `qiskit.circuit.library` is here, or in `NOT_GATES` with the reason; own gates
have random names (all of Qiskit's among them), labels, matrices, definitions and controls; angles
are random expressions of parameters. A circuit is a function of a seed.
"""

from dataclasses import dataclass, field

import numpy as np
from qiskit import QuantumCircuit
from qiskit.circuit import (
    AnnotatedOperation,
    ControlledGate,
    ControlModifier,
    Gate,
    InverseModifier,
    Parameter,
    ParameterExpression,
    ParameterVector,
    PowerModifier,
)
from qiskit.circuit import library as lib
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import (
    DensityMatrix,
    Pauli,
    SparsePauliOp,
    Statevector,
    random_clifford,
    random_hermitian,
    random_unitary,
)

#: Qubits of a circuit at most.
WIDEST = 6

#: What the library has that is no gate of a circuit without measurements.
NOT_GATES = {
    "Measure": "measures",
    "PauliProductMeasurement": "measures",
}

#: Names for own gates: all of Qiskit's, those of markers, and some that mean nothing.
NAMES = (
    *sorted(get_standard_gate_name_mapping()),
    *("barrier", "measure", "cut_wire", "move", "unitary", "mcphase", "circuit", "qpd_measure"),
    *("my", "U", "CX", "gphase", "if_else", "pauli", "Q_1"),
)

_STANDARD = {
    name: gate for name, gate in get_standard_gate_name_mapping().items() if isinstance(gate, Gate)
}


@dataclass
class Draw:
    """A circuit in the making."""

    rng: np.random.Generator
    params: list[Parameter]
    values: dict[Parameter, float] = field(default_factory=dict)

    def number(self):
        """Return an angle that is a number."""
        return float(self.rng.choice([self.rng.uniform(-4, 4), 0.0, np.pi / 2, np.pi, -0.3]))

    def angle(self):
        """Return an angle: a number, a parameter or an expression."""
        kind = self.rng.integers(8)
        if kind < 3 or not self.params:
            return self.number()
        x, y = (self.params[k] for k in self.rng.integers(len(self.params), size=2))
        a = float(self.rng.uniform(0.3, 2))
        simple = [x, -x, a * x + 1, x + y, (np.pi - x) * (np.pi - y), x - a * y / 3]
        wild = [x * x, x * y * x, a**x, 1.5 ** (x * y), x * x / x, x.sign() + y, x.abs() - 1]
        wild += [x.sin() * y, (x * y + 1).log(), x.exp(), (x / 2).arcsin(), x / y, x**0.5, x.tan()]
        wild += [(x - y).abs(), x.conjugate(), (x / 2).arccos(), x.arctan(), x.cos() ** 2, 1 / x]
        some = simple if kind < 6 else wild
        return some[self.rng.integers(len(some))]

    def maybe_label(self):
        return None if self.rng.random() < 0.6 else str(self.rng.choice(NAMES))


def _standard(draw, widest):
    fitting = [n for n, g in _STANDARD.items() if g.num_qubits <= widest and g.num_qubits]
    gate = _STANDARD[str(draw.rng.choice(fitting))]
    kind = gate.base_class
    angles = [draw.angle() for _ in gate.params]
    label = draw.maybe_label()
    if isinstance(gate, ControlledGate) and draw.rng.random() < 0.3:
        return kind(*angles, label=label, ctrl_state=0)
    return kind(*angles, label=label)


def _amplitudes(rng, qubits):
    state = rng.normal(size=2**qubits) + 1j * rng.normal(size=2**qubits)
    return state / np.linalg.norm(state)


def _pauli(rng, qubits):
    return "".join(rng.choice(list("IXYZ"), qubits)) or "Z"


def _sum(rng, qubits):
    terms = [_pauli(rng, qubits) for _ in range(rng.integers(1, 4))]
    return SparsePauliOp(terms, rng.uniform(-1, 1, len(terms)).round(2))


def _adjacency(rng, n):
    upper = np.triu(rng.integers(0, 2, (n, n)), 1)
    return upper + upper.T


def _invertible(rng, n):
    while True:
        matrix = rng.integers(0, 2, (n, n)).astype(bool)
        if round(np.linalg.det(matrix.astype(int))) % 2:
            return matrix


def _isometry(rng, n):
    columns = 2 ** int(rng.integers(0, n + 1))
    return random_unitary(2**n, seed=rng).data[:, :columns]


def _n(rng, widest, least=1, most=3):
    return int(rng.integers(least, min(widest, most) + 1)) if widest >= least else None


# name -> function of (draw, rng, number of qubits at most); None where the qubits do not suffice.
LIBRARY = {
    "AndGate": lambda d, r, w: lib.AndGate(2, [1, -1]) if w >= 3 else None,
    "OrGate": lambda d, r, w: lib.OrGate(2) if w >= 3 else None,
    "Barrier": lambda d, r, w: lib.Barrier(_n(r, w)),
    "BitFlipOracleGate": lambda d, r, w: lib.BitFlipOracleGate("(a & ~b)") if w >= 3 else None,
    "PhaseOracleGate": lambda d, r, w: lib.PhaseOracleGate("(a ^ b) & a") if w >= 2 else None,
    "BitwiseXorGate": lambda d, r, w: lib.BitwiseXorGate(_n(r, w), 1),
    "DiagonalGate": lambda d, r, w: lib.DiagonalGate(
        list(np.exp(1j * r.uniform(0, 6, 2 ** _n(r, w))))
    ),
    "ExactReciprocalGate": lambda d, r, w: lib.ExactReciprocalGate(2, 0.3) if w >= 3 else None,
    "FullAdderGate": lambda d, r, w: lib.FullAdderGate(1) if w >= 4 else None,
    "HalfAdderGate": lambda d, r, w: lib.HalfAdderGate(1) if w >= 3 else None,
    "ModularAdderGate": lambda d, r, w: lib.ModularAdderGate(_n(r, w // 2)) if w >= 2 else None,
    "MultiplierGate": lambda d, r, w: lib.MultiplierGate(1) if w >= 4 else None,
    "GraphStateGate": lambda d, r, w: lib.GraphStateGate(_adjacency(r, _n(r, w))),
    "HamiltonianGate": lambda d, r, w: lib.HamiltonianGate(
        random_hermitian(2 ** _n(r, w), seed=r).data, d.angle(), label=d.maybe_label()
    ),
    "Initialize": lambda d, r, w: lib.Initialize(_amplitudes(r, _n(r, w, most=2))),
    "StatePreparation": lambda d, r, w: lib.StatePreparation(
        _amplitudes(r, _n(r, w)), inverse=bool(r.integers(2))
    ),
    "InnerProductGate": lambda d, r, w: lib.InnerProductGate(1) if w >= 2 else None,
    "IntegerComparatorGate": lambda d, r, w: (
        lib.IntegerComparatorGate(2, 2, geq=bool(r.integers(2))) if w >= 3 else None
    ),
    "Isometry": lambda d, r, w: lib.Isometry(_isometry(r, _n(r, w)), 0, 0),
    "LinearAmplitudeFunctionGate": lambda d, r, w: (
        lib.LinearAmplitudeFunctionGate(2, 1.0, 0.1, (0, 1), (0, 2)) if w >= 3 else None
    ),
    "LinearFunction": lambda d, r, w: lib.LinearFunction(_invertible(r, _n(r, w))),
    "LinearPauliRotationsGate": lambda d, r, w: (
        lib.LinearPauliRotationsGate(2, 0.7, 0.2, basis=str(r.choice(list("XYZ"))))
        if w >= 3
        else None
    ),
    "PolynomialPauliRotationsGate": lambda d, r, w: (
        lib.PolynomialPauliRotationsGate(2, [0.3, 0.2, 0.1]) if w >= 3 else None
    ),
    "PiecewiseLinearPauliRotationsGate": lambda d, r, w: (
        lib.PiecewiseLinearPauliRotationsGate(2, [0, 2], [0.3, -0.2], [0.1, 0.4])
        if w >= 4
        else None
    ),
    "PiecewisePolynomialPauliRotationsGate": lambda d, r, w: (
        lib.PiecewisePolynomialPauliRotationsGate(2, [0, 2], [[0.3, 0.1], [0.2]])
        if w >= 4
        else None
    ),
    "PiecewiseChebyshevGate": lambda d, r, w: (
        lib.PiecewiseChebyshevGate(lambda x: 0.3 * x, 2, 1, [0, 3]) if w >= 3 else None
    ),
    "MCGupDiag": lambda d, r, w: (
        lib.MCGupDiag(random_unitary(2, seed=r).data, 1, 0, 0) if w >= 2 else None
    ),
    "MCMTGate": lambda d, r, w: (
        lib.MCMTGate(lib.RYGate(d.angle()), 1, _n(r, w - 1)) if w >= 2 else None
    ),
    "MCPhaseGate": lambda d, r, w: (
        lib.MCPhaseGate(d.angle(), _n(r, w - 1), label=d.maybe_label()) if w >= 2 else None
    ),
    "MCU1Gate": lambda d, r, w: lib.MCU1Gate(d.angle(), _n(r, w - 1)) if w >= 2 else None,
    "MCXGate": lambda d, r, w: lib.MCXGate(_n(r, w - 1), ctrl_state=0) if w >= 2 else None,
    "MCXGrayCode": lambda d, r, w: lib.MCXGrayCode(3) if w >= 4 else None,
    "MCXRecursive": lambda d, r, w: lib.MCXRecursive(3) if w >= 4 else None,
    "MCXVChain": lambda d, r, w: lib.MCXVChain(3, dirty_ancillas=True) if w >= 5 else None,
    "MSGate": lambda d, r, w: lib.MSGate(_n(r, w, 2), d.angle()) if w >= 2 else None,
    "PauliEvolutionGate": lambda d, r, w: lib.PauliEvolutionGate(_sum(r, _n(r, w)), d.angle()),
    "PauliGate": lambda d, r, w: lib.PauliGate(_pauli(r, _n(r, w))),
    "PauliProductRotationGate": lambda d, r, w: lib.PauliProductRotationGate(
        Pauli(_pauli(r, _n(r, w))), d.angle()
    ),
    "PermutationGate": lambda d, r, w: lib.PermutationGate(
        [int(k) for k in r.permutation(_n(r, w))]
    ),
    "QFTGate": lambda d, r, w: lib.QFTGate(_n(r, w)),
    "QuadraticFormGate": lambda d, r, w: (
        lib.QuadraticFormGate(2, [[1, 0], [0, 1]], [1, -1], 0.5) if w >= 4 else None
    ),
    "Reset": lambda d, r, w: lib.Reset(),
    "UCGate": lambda d, r, w: (
        lib.UCGate([random_unitary(2, seed=r).data for _ in range(2)]) if w >= 2 else None
    ),
    "UCPauliRotGate": lambda d, r, w: (
        lib.UCPauliRotGate(list(r.uniform(-2, 2, 4)), str(r.choice(list("XYZ"))))
        if w >= 3
        else None
    ),
    "UCRXGate": lambda d, r, w: lib.UCRXGate(list(r.uniform(-2, 2, 2))) if w >= 2 else None,
    "UCRYGate": lambda d, r, w: lib.UCRYGate(list(r.uniform(-2, 2, 4))) if w >= 3 else None,
    "UCRZGate": lambda d, r, w: lib.UCRZGate(list(r.uniform(-2, 2, 2))) if w >= 2 else None,
    "UniformSuperpositionGate": lambda d, r, w: (
        lib.UniformSuperpositionGate(3, 2) if w >= 2 else None
    ),
    "UnitaryGate": lambda d, r, w: lib.UnitaryGate(
        random_unitary(2 ** _n(r, w), seed=r).data, label=d.maybe_label()
    ),
    "WeightedSumGate": lambda d, r, w: lib.WeightedSumGate(2, [1, 1]) if w >= 5 else None,
    "RVGate": lambda d, r, w: lib.RVGate(*r.uniform(-1, 1, 3)),
    "GlobalPhaseGate": lambda d, r, w: lib.GlobalPhaseGate(d.angle()),
}


class Stated(Gate):
    """Somebody's gate that states a matrix and has no parameters."""

    def __init__(self, name, matrix, label=None):
        super().__init__(name, int(np.log2(len(matrix))), [], label=label)
        self.matrix = matrix

    def __array__(self, dtype=None, copy=None):
        return np.array(self.matrix, dtype=dtype)


class Defined(Gate):
    """Somebody's gate that has a definition, and keeps its angles to itself or as `params`."""

    def __init__(self, name, circuit, params=(), label=None):
        super().__init__(name, circuit.num_qubits, list(params), label=label)
        self.circuit = circuit

    def _define(self):
        self.definition = self.circuit


def _own(draw, widest, depth):
    rng, name, label = draw.rng, str(draw.rng.choice(NAMES)), draw.maybe_label()
    width = _n(rng, widest)
    kind = rng.integers(6)
    if kind == 0:
        return Stated(name, random_unitary(2 ** _n(rng, widest, most=2), seed=rng).data, label)
    if kind == 1:
        bound = Draw(rng, [])
        inner = _circuit(bound, width, 2, depth - 1, reversible=True)
        return Defined(name, inner, label=label)
    inner = _circuit(draw, width, 2, depth - 1, reversible=True)
    inner.name = name
    made = inner.to_gate(label=label)
    if kind == 2:
        return made
    if kind == 3:
        return made.inverse()
    if kind == 4 and width < widest:
        return made.control(1, ctrl_state=int(rng.integers(2)), annotated=bool(rng.integers(2)))
    modifiers = [InverseModifier(), PowerModifier(2)]
    base = _standard(draw, widest - 1 if widest > 1 else 1)
    some = [modifiers[rng.integers(2)]]
    if base.num_qubits < widest:
        some.append(ControlModifier(1, int(rng.integers(2))))
    return AnnotatedOperation(base, some)


def gate(draw, widest, depth):
    """Return an operation on at most so many qubits."""
    kind = draw.rng.random()
    if kind < 0.45:
        return _standard(draw, widest)
    if kind < 0.8 or depth < 1:
        names = list(LIBRARY)
        while True:
            made = LIBRARY[names[draw.rng.integers(len(names))]](draw, draw.rng, widest)
            if made is not None:
                return made
    if kind < 0.84:
        return random_clifford(_n(draw.rng, widest), seed=draw.rng)
    return _own(draw, widest, depth)


def _circuit(draw, width, length, depth, reversible=False):
    circuit = QuantumCircuit(width)
    while len(circuit.data) < length:
        made = gate(draw, width, depth)
        if reversible and not isinstance(made, Gate):
            continue
        where = [int(q) for q in draw.rng.permutation(width)[: made.num_qubits]]
        circuit.append(made, where)
    return circuit


def circuit_of(seed, most=5):
    """Return a circuit of 2 to 6 qubits, and a value for each of its parameters.

    Values are such that all expressions of `Draw.angle` are real.
    """
    rng = np.random.default_rng(seed)
    vector, lone = ParameterVector("w", int(rng.integers(1, 13))), Parameter("zeta")
    draw = Draw(rng, [] if rng.random() < 0.25 else [lone, *vector])
    width = int(rng.integers(2, WIDEST + 1))
    circuit = QuantumCircuit(width)
    for qubit in range(width):  # no qubit is in a state that hides what happens to it
        circuit.u(*rng.uniform(0.3, 2, 3), qubit)
    inner = _circuit(draw, width, int(rng.integers(1, most + 1)), 2)
    circuit.compose(inner, inplace=True)
    for qubit in range(width):
        circuit.u(*rng.uniform(0.3, 2, 3), qubit)
    return circuit, {p: float(rng.uniform(0.2, 1.3)) for p in circuit.parameters}


def state_of(circuit, values):
    """Return the state that Qiskit computes, with evolutions by their product formulas."""
    bound = _with_product_formulas(circuit.assign_parameters(values))
    # A Statevector draws what a reset leaves.
    resets = any(isinstance(i.operation, (lib.Reset, lib.Initialize)) for i in bound.data)
    return DensityMatrix(bound if resets else Statevector(bound))


def _with_product_formulas(circuit):
    found = circuit.copy_empty_like()
    for instruction in circuit.data:
        operation = _with_product_formula(instruction.operation)
        found.append(operation, instruction.qubits, instruction.clbits)
    return found


def _with_product_formula(operation):
    if isinstance(operation, AnnotatedOperation):
        return AnnotatedOperation(_with_product_formula(operation.base_op), operation.modifiers)
    if not isinstance(operation, lib.PauliEvolutionGate) and not _holds_evolution(operation):
        return operation
    inner = _with_product_formulas(operation.definition)
    return inner.to_gate() if isinstance(operation, Gate) else inner.to_instruction()


def _holds_evolution(operation):
    if hasattr(operation, "__array__") or not isinstance(operation, Gate):
        return False
    return operation.definition is not None and any(
        isinstance(i.operation, lib.PauliEvolutionGate) or _holds_evolution(i.operation)
        for i in operation.definition.data
    )


def is_real(expression, values):
    """Whether an expression is a finite real number at some values."""
    if not isinstance(expression, ParameterExpression):
        return True
    try:
        found = expression.bind_all({p: values[p] for p in expression.parameters})
    except Exception:
        return False
    return not isinstance(found, complex) and bool(np.isfinite(found))

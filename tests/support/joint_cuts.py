"""Plans with joint cuts, worked out by Kraus operators and density matrices."""

import numpy as np
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import Operator, Pauli, SparsePauliOp
from qiskit_addon_cutting.instructions import CutWire, Move

from pilotcut import CutEstimator, compile_plan
from pilotcut.circuits.program import Angle
from pilotcut.cutting.basis import BasisState, JointOperation, LocalOperation, u_matrix
from pilotcut.cutting.fragment import Fragment, Site
from pilotcut.cutting.fragment_tensor import FragmentTensor
from pilotcut.cutting.plan import CutPlan
from pilotcut.reconstruction.contraction import Contraction
from support.circuits import parallel, rotated
from support.exact import acted, exact, found_or_prepared

TURNED = ["rzz", "rxx", "ryy", "rzx", "crx", "cry", "crz", "cp"]

CROSSING = ["cx", "rzz", "crx free", "ecr", "rxx free", "swap"]


def placed(circuit: QuantumCircuit, kind: str, pair, values: list[float]) -> None:
    """Append a gate of the kind; a free angle's value is added to `values`."""
    name, _, free = kind.partition(" ")
    angle = 0.7 + 0.9 * len(circuit.data) % 5
    if not free:
        getattr(circuit, name)(*([angle] if name in TURNED else []), *pair)
        return
    getattr(circuit, name)(1.5 * Parameter(f"p{len(values):02}") - 0.2, *pair)
    values.append(angle)


def random_circuit(seed: int, width: int) -> tuple[QuantumCircuit, list[float], str]:
    """Gates in random places, at most four cuts; also resets, moves and wire cuts.

    Returns the circuit, the values of free angles, and labels.
    """
    rng = np.random.default_rng(seed)
    labels = "".join(rng.permutation(list(rng.choice(["AABBA", "AABBC"]))[:width]))
    circuit, values = rotated(QuantumCircuit(width), seed), []
    left = 4  # cuts, a swap counted as two of them
    spare = 2 if width < 5 else 1  # fresh wires
    for _ in range(8):
        order = [int(q) for q in rng.permutation(width)]
        for pair in zip(order[::2], order[1::2], strict=False):
            if rng.random() < 0.3:
                continue
            if labels[pair[0]] != labels[pair[1]]:
                kind = str(rng.choice(CROSSING, p=[0.3, 0.2, 0.2, 0.1, 0.15, 0.05]))
                if left >= (cost := 2 if kind == "swap" else 1):
                    placed(circuit, kind, pair, values)
                    left -= cost
                continue
            what = rng.integers(9) if spare else 9
            spare -= what < 3
            if what == 0:
                circuit.append(Move(), pair)
            elif what == 1:
                circuit.reset(pair[0])
            elif what == 2 and left:
                circuit.append(CutWire(), [pair[0]])
                left -= 1
            else:
                circuit.cx(*pair)
        circuit.u(*rng.uniform(-3, 3, 3), order[0])
    return circuit, values, labels


def gates_of(plan: CutPlan) -> list[int]:
    """How many gates each bond cuts."""
    return [bond.gates for bond in plan.bonds]


def z_string(subset: int, wires: int) -> np.ndarray:
    """The diagonal of Z on a set of wires; wire k is bit k of both."""
    return np.array([(-1.0) ** (subset & basis).bit_count() for basis in range(2**wires)])


def signed_kraus(operation: JointOperation, wires: int) -> list[tuple[int, np.ndarray]]:
    """Signs and Kraus operators: the rotations, then P+ . P+ - P- . P- of the parity."""
    assert len(operation.rotations) == 2**wires - 1
    phase = sum(
        angle / 2 * z_string(subset, wires)
        for subset, angle in enumerate(operation.rotations, start=1)
    )
    rotation = np.diag(np.exp(-1j * phase))
    if not operation.measured:
        return [(1, rotation)]
    parity = np.diag(z_string(operation.measured, wires))
    identity = np.eye(2**wires)
    return [(s, (identity + s * parity) / 2 @ rotation) for s in (1, -1)]


def after(rho: np.ndarray, site: Site, operation) -> np.ndarray:
    """A site's operation on a stack of states (states, *kets, *bras)."""
    if isinstance(operation, JointOperation):
        kraus = signed_kraus(operation, len(site.wires))
        return sum(s * acted(rho, k, site.wires) for s, k in kraus)
    if isinstance(operation, BasisState):
        return acted(rho, found_or_prepared(operation, site), site.wires)
    assert isinstance(operation, LocalOperation)
    rho = acted(rho, u_matrix(operation.before), site.wires)
    if operation.measured:
        zero, one = (acted(rho, np.diag(p), site.wires) for p in ([1.0, 0.0], [0.0, 1.0]))
        rho = acted(zero - one, u_matrix(operation.after), site.wires)
    return rho


def exact_tensor(fragment: Fragment, angles: np.ndarray) -> np.ndarray:
    """The fragment's tensor (observables, *sites) for one row of its angles."""
    width = fragment.num_wires
    rho = np.zeros((1, *[2] * (2 * width)), dtype=complex)
    rho[(0,) * rho.ndim] = 1
    for step in fragment.steps:
        if isinstance(step, Site):
            branches = [after(rho, step, operation) for operation in step.operations]
            rho = np.stack(branches, axis=1).reshape(-1, *rho.shape[1:])
        else:
            numbers = [float(angles[p.slot]) if isinstance(p, Angle) else p for p in step.params]
            rho = acted(rho, np.asarray(Operator(step.gate_with(numbers)).data), step.qubits)
    matrices = rho.reshape(len(rho), 2**width, 2**width)
    # Wire 0 is the first axis here, and the last letter of a Pauli string.
    paulis = [Pauli(label[::-1]).to_matrix() for label in fragment.observables.to_labels()]
    values = np.einsum("oab,vba->ov", np.array(paulis), matrices).real
    return values.reshape(len(paulis), *fragment.site_shape)


def reconstructed(plan: CutPlan, values=()) -> np.ndarray:
    """The plan's terms, (terms,), without shots."""
    slots = plan.binding.slots(np.array([values], dtype=float).reshape(1, -1))
    tensors = [
        FragmentTensor(exact_tensor(f, f.angle_values(slots)[0])[None], ()) for f in plan.fragments
    ]
    contraction = Contraction.of(plan)
    bonds = [bond.matrix(slots) for bond in plan.bonds]
    return contraction.values(contraction.operands(tensors, bonds))[0]


def assert_exact(circuit, values, observables, sizes=None, **how) -> CutPlan:
    plan = compile_plan(circuit, observables, joint_cuts=True, **how)
    bound = circuit.assign_parameters(values) if values else circuit
    expected = exact(bound, plan.terms.to_labels())
    np.testing.assert_allclose(reconstructed(plan, values), expected, atol=1e-9)
    if sizes is not None:
        assert gates_of(plan) == sizes
    return plan


TWO = parallel(2, [("cx",), ("crx", 1.1)])

THREE = parallel(3, [("cx",), ("ryy", 0.9), ("cz",)])

SUM = SparsePauliOp(["ZZII", "IZIZ", "IIZZ", "XIXI"], [1.0, -0.5, 0.8, 0.6])

SUM3 = SparsePauliOp(["ZZIIII", "IZIZIZ", "IIIZZI", "XIIXII"], [1.0, -0.5, 0.8, 0.6])


def standardised(circuit, observables, rows, values=(), **options) -> np.ndarray:
    """Deviations in standard errors of independent rows, (rows, observables)."""
    estimator = CutEstimator(joint_cuts=True, **options)
    bindings = np.tile(np.array(values, dtype=float), (rows, 1, 1))
    data = estimator.run([(circuit, observables, bindings)]).result()[0].data
    bound = circuit.assign_parameters(values) if len(values) else circuit
    expected = [exact(bound, o.paulis) @ o.coeffs.real for o in map(SparsePauliOp, observables)]
    assert np.isfinite(data.stds).all()
    return (data.evs - expected) / data.stds

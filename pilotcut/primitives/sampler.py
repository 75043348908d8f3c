"""A Qiskit sampler for circuits that are too wide to run whole.

Owns registers: which qubit each classical bit is measured from. Refuses to know how outcomes come
about, see `pilotcut.primitives.distribution`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from qiskit.circuit import Barrier, ControlFlowOp, Measure, QuantumCircuit
from qiskit.primitives import (
    BaseSamplerV2,
    BitArray,
    DataBin,
    PrimitiveJob,
    PrimitiveResult,
    SamplerPubResult,
)
from qiskit.primitives.containers import SamplerPubLike
from qiskit.primitives.containers.sampler_pub import SamplerPub

from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.plan import CutPlan
from pilotcut.errors import CutError, UserError
from pilotcut.options import check_seed
from pilotcut.primitives.distribution import Distribution
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.tasks import TaskManager


class CutSampler(BaseSamplerV2):
    """Samples final bits of cut circuits; drops in where a SamplerV2 is wanted.

    Parameters
    ----------
    tasks
        Where to run; None runs in this process.
    mode
        "exact": outcomes of the whole circuit, drawn from its exact distribution. "counts" and
        "sampled": drawn from what the fragments found with `subexperiment_shots`.
    default_shots
        Outcomes of a circuit for which no number is given.
    subexperiment_shots
        Shots of each subexperiment; without meaning in exact mode.
    seed
        The same seed gives the same outcomes.
    options
        How to cut: `cuts`, `labels`, `max_width`, `wires`, `joint_cuts` of `CutEstimator`.

    Notes
    -----
    Bits are those of final measurements: what depends on a bit, or follows a measurement on its
    qubit, is refused. Bits that nothing is measured into are 0.

    Examples
    --------
    >>> circuit = QuantumCircuit(2, 2); _ = circuit.h(0); _ = circuit.cx(0, 1)
    >>> _ = circuit.measure([0, 1], [0, 1])
    >>> result = CutSampler(cuts=1, seed=7).run([circuit], shots=100).result()
    >>> sorted(result[0].data.c.get_counts())
    ['00', '11']
    """

    def __init__(
        self,
        tasks: TaskManager | None = None,
        *,
        mode: str = "exact",
        default_shots: int = 1024,
        subexperiment_shots: int = 1024,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        self._estimator = CutEstimator(tasks, mode=mode, shots=subexperiment_shots, **options)
        if seed is not None:
            check_seed(seed)
        self._shots, self._own_shots = default_shots, subexperiment_shots
        self._seeds = np.random.default_rng(seed)

    def run(
        self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None
    ) -> PrimitiveJob[PrimitiveResult[SamplerPubResult]]:
        """Sample all PUBs; mistakes in their measurements raise here, before anything runs."""
        try:
            asked = self._shots if shots is None else shots
            coerced = [SamplerPub.coerce(pub, asked) for pub in pubs]
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{error}; expected (circuit, values for every parameter[, shots])"
            ) from error
        sources = [_sources(pub.circuit) for pub in coerced]
        job: PrimitiveJob[PrimitiveResult[SamplerPubResult]] = PrimitiveJob(
            self._answer, coerced, sources
        )
        job._submit()
        return job

    def _answer(
        self, pubs: list[SamplerPub], sources: list[dict[int, int]]
    ) -> PrimitiveResult[SamplerPubResult]:
        results = [self._sampled(pub, own) for pub, own in zip(pubs, sources, strict=True)]
        return PrimitiveResult(results, metadata={"version": 2})

    def _sampled(self, pub: SamplerPub, sources: dict[int, int]) -> SamplerPubResult:
        circuit = pub.circuit
        plan = plan_of_bits(self._estimator, circuit)
        values = pub.parameter_values.as_array(circuit.parameters)
        bits = np.zeros((*pub.shape, pub.shots, circuit.num_clbits), dtype=bool)
        for index in np.ndindex(pub.shape):
            if sources:
                drawn = self._drawn(plan, values[index], pub.shots, list(sources.values()))
                bits[index][:, list(sources)] = drawn
        place = {bit: k for k, bit in enumerate(circuit.clbits)}
        registers = {
            one.name: BitArray.from_bool_array(bits[..., [place[b] for b in one]], order="little")
            for one in circuit.cregs
        }
        about = {"shots": pub.shots, "circuit_metadata": circuit.metadata}
        return SamplerPubResult(DataBin(**registers, shape=pub.shape), metadata=about)

    def _drawn(self, plan: CutPlan, row: np.ndarray, shots: int, qubits: list[int]) -> np.ndarray:
        """Return outcomes (shots, qubits) in random order."""
        distribution = Distribution(
            plan,
            row,
            mode=self._estimator.mode,
            shots=self._own_shots,
            seed=int(self._seeds.integers(2**63)),
            tasks=self._estimator.runner.executor.tasks,
        )
        # A qubit may be measured into several bits.
        distinct = list(dict.fromkeys(qubits))
        drawn = outcomes_of(distribution, shots, distinct, self._seeds)
        return drawn[:, [distinct.index(q) for q in qubits]]


def plan_of_bits(estimator: CutEstimator, circuit: QuantumCircuit) -> CutPlan:
    """Return the plan for distributions of all final bits of a circuit, cut as an estimator cuts.

    Measurements of the circuit are left out. A plan serves every circuit of its structure, whose
    parameters may be called otherwise: its binding is this circuit's.
    """
    program, binding = read_circuit(circuit)
    plan = estimator.compile(program, binding, ["Z" * circuit.num_qubits]).named_plan
    return replace(plan, binding=binding, measured=None)


def outcomes_of(
    distribution: Distribution, shots: int, qubits: Sequence[int], seeds: np.random.Generator
) -> np.ndarray:
    """Return drawn bits (shots, qubits) in random order, in the order of the qubits."""
    counts = distribution.sample(shots, qubits=qubits)
    rows = np.array([[bit == "1" for bit in reversed(one)] for one in counts])
    return seeds.permutation(np.repeat(rows, list(counts.values()), axis=0))


def _sources(circuit: QuantumCircuit) -> dict[int, int]:
    """Return the qubit that each classical bit is measured from at the end of a circuit."""
    found: dict[int, int] = {}
    for instruction in circuit.data:
        qubits = [circuit.find_bit(q).index for q in instruction.qubits]
        operation = instruction.operation
        is_measure = isinstance(operation, Measure)
        if isinstance(operation, ControlFlowOp) or (instruction.clbits and not is_measure):
            raise CutError(
                f"'{operation.name}' on qubits {qubits} depends on bits, expected final "
                f"measurements alone; sample with another sampler, or defer measurements"
            )
        if is_measure:
            found[circuit.find_bit(instruction.clbits[0]).index] = qubits[0]
        elif not isinstance(operation, Barrier) and set(qubits) & set(found.values()):
            raise CutError(
                f"'{operation.name}' on qubits {qubits} follows a measurement there, expected "
                f"final measurements alone; defer measurements to qubits of their own"
            )
    return found

"""What is counted before a plan runs is what is there when it runs."""

from dataclasses import replace

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from support.circuits import deep_beside_wide, star

from pilotcut import CutEstimator, compile_plan
from pilotcut.backends.aer import PACK_QUBITS, AerBackend
from pilotcut.backends.seating import simulated
from pilotcut.backends.template_circuits import TemplateCircuit, build
from pilotcut.circuits.program import read_circuit
from pilotcut.cutting.fragment import Fragment, Template
from pilotcut.cutting.plan import CutPlan
from pilotcut.cutting.search import search
from pilotcut.execution.batching import circuit_units, exact_units
from pilotcut.execution.contractions import contraction_of
from pilotcut.execution.work_units import Request
from pilotcut.options import STATEVECTOR, USUAL_ENGINE, EngineOptions
from pilotcut.perfmodel.circuit_load import MOST_SIMULATED, CircuitCounter, packs
from pilotcut.perfmodel.costmodel import BATCH, batch_amounts
from pilotcut.perfmodel.load import COUNTS, KINDS, MOST_COUNTED
from pilotcut.perfmodel.sample_circuits import brickwork, network, qaoa_ring
from pilotcut.perfmodel.workload import work_of
from pilotcut.primitives.derivative import requests_of_shifts

STATES = EngineOptions(STATEVECTOR)


def crossing() -> QuantumCircuit:
    """Return two parallel RZZ and a controlled rotation between two pairs of qubits."""
    circuit = QuantumCircuit(4)
    circuit.h(range(4))
    circuit.rzz(Parameter("a"), 0, 2)
    circuit.cx(1, 3)
    circuit.crx(Parameter("b"), 0, 1)
    circuit.ry(0.3, range(4))
    return circuit


def wire_cut_star() -> CutPlan:
    program, _ = read_circuit(star(5))
    best = min(search(program, max_width=4), key=lambda c: c.overhead)
    assert best.wire_cuts
    return compile_plan(star(5), ["ZIIIII", "IXIIIZ"], placement=best.placement)


PLANS = {
    "uncut": lambda: compile_plan(network(4), "ZZZZ"),
    "one cut": lambda: compile_plan(network(5), "ZZZZZ", cuts=1),
    "several observables": lambda: compile_plan(brickwork(4), ["ZIIZ", "XXII", "IYIX"], cuts=2),
    "ring": lambda: compile_plan(qaoa_ring(6), SparsePauliOp(["ZZIIII", "IZZIII"]), cuts=3),
    "fixed angles": lambda: compile_plan(
        network(4).assign_parameters(np.ones(16)), "ZZZZ", labels="AABB"
    ),
    "two gates one by one": lambda: compile_plan(crossing(), "ZZZZ", labels="AABB"),
    "joint": lambda: compile_plan(crossing(), "ZZZZ", labels="AABB", joint_cuts=True),
    "wire": wire_cut_star,
    "density matrices": lambda: compile_plan(network(28), "Z" + 26 * "I" + "Z", cuts=1),
}


@pytest.fixture(params=PLANS)
def plan(request):
    return PLANS[request.param]()


class Watched(AerBackend):
    """Keeps what Aer was given."""

    def _counts(self, packs, shots, seed):
        self.packs = packs
        return super()._counts(packs, shots, seed)


# -- circuits with shots ---------------------------------------------------------------


def as_simulated(fragment: Fragment, template: Template) -> TemplateCircuit:
    """Return a template's circuit as Aer is given it."""
    return build(fragment, template, simulated(fragment, template, most=MOST_SIMULATED))


def test_template_shapes_are_those_of_the_built_circuits(plan):
    """Variants, qubits and bits of each template are counted without building it."""
    for fragment in plan.fragments:
        shapes = CircuitCounter(fragment, shots=10).templates
        built = [as_simulated(fragment, template).circuit for template in fragment.templates]
        assert [(s.qubits, s.bits) for s in shapes] == [(c.num_qubits, c.num_clbits) for c in built]
        assert [s.variants for s in shapes] == [len(t.variants) for t in fragment.templates]


def test_template_gates_and_values_are_about_those_of_the_built_circuits(plan):
    """Gates and bound numbers of each template are right to a factor of two."""
    for fragment in plan.fragments:
        for shape, template in zip(
            CircuitCounter(fragment, shots=10).templates, fragment.templates, strict=True
        ):
            built = as_simulated(fragment, template)
            gates = built.circuit.size() - built.circuit.num_clbits
            assert gates / 2 - 2 <= shape.gates <= 2 * gates + 2
            assert shape.values == len(built.parameters)


def test_runs_are_those_that_aer_is_given(plan):
    """Runs, circuits and values of a bundle agree with the jobs that the backend makes."""
    backend, shots, rows = Watched(), 7, 3
    for fragment in plan.fragments:
        number = fragment.num_subexperiments
        for part in (slice(0, number), slice(number // 3, number - number // 4)):
            backend.run(fragment, np.ones((rows, len(fragment.angles))), part, shots, seed=5)
            counted = dict(
                zip(COUNTS, CircuitCounter(fragment, shots).amounts(rows, part), strict=True)
            )
            assert counted["calls"] == 1
            assert counted["runs"] == sum(pack.runs for pack in backend.packs)
            assert counted["circuits"] == sum(len(pack.circuits) for pack in backend.packs)
            assert counted["shots"] == shots * counted["runs"]
            # Side by side, density matrices would have the square of the square of the amplitudes.
            assert all(pack.copies == 1 for pack in backend.packs if pack.mixed)
            assert counted["shot_bits"] == shots * sum(
                pack.runs * pack.circuits[0].num_clbits for pack in backend.packs
            )


@pytest.mark.parametrize(("number", "qubits"), [(1, 3), (5, 2), (17, 1), (6, 9), (16, 8), (7, 4)])
def test_packs_hold_every_subexperiment_once(number, qubits):
    """Copies times runs add up, and none is wider than the backend packs."""
    found = list(packs(number, qubits))
    assert sum(copies * runs for copies, runs in found) == number
    assert all(copies == 1 or copies * qubits <= PACK_QUBITS for copies, _ in found)
    assert [copies for copies, _ in found] == sorted((c for c, _ in found), reverse=True)


# -- batches ---------------------------------------------------------------------------


def test_a_receiver_waits_for_its_sender():
    """A batch of two stages takes the makespans of both, one after the other."""
    plan = wire_cut_star()
    work = work_of(plan, "sampled", 3, 200)
    assert sorted({load.stage for load in work.loads}) == [0, 1]
    assert not any(load.stage for load in work_of(plan, "exact", 3).loads)
    costs = np.ones(len(KINDS["sampled"]))
    span = BATCH.index("makespan_s")
    own = [
        batch_amounts(replace(work, loads=tuple(x for x in work.loads if x.stage == k)), costs, 64)
        for k in (0, 1)
    ]
    assert batch_amounts(work, costs, 64)[span] == pytest.approx(own[0][span] + own[1][span])


@pytest.mark.parametrize(
    ("mode", "engine"), [*((mode, USUAL_ENGINE) for mode in KINDS), ("exact", STATES)]
)
@pytest.mark.parametrize("rows", [1, 16, 200])
def test_calls_are_as_many_as_the_estimator_makes(plan, mode, engine, rows):
    """In each mode, for few and many parameter sets, and for derivatives."""
    if mode == "exact" and plan.joint_cuts:
        return
    slots = range(plan.program.num_slots)
    work = work_of(plan, mode, rows, engine=engine, slots=slots)
    values = np.zeros((rows, plan.program.num_slots))
    if mode == "exact":
        run = contraction_of(plan, mode, engine=engine).plan
        requests = [Request(f, f.angle_values(values)) for f in run.fragments]
        free = [request for request in requests if request.fragment.angles]
        calls = exact_units(requests, engine=engine)
        slopes = exact_units(free, engine=engine)
    else:
        requests = [Request(f, f.angle_values(values), 1024) for f in plan.fragments]
        shifted = requests_of_shifts(plan, values, 1024, set(slots))
        seed = np.random.SeedSequence(1)
        calls, slopes = (circuit_units(some, seed, "aer") for some in (requests, shifted))
    assert work.calls == pytest.approx(len(calls))
    assert work.slope_calls == pytest.approx(len(slopes), rel=1e-9)


@pytest.mark.parametrize("mode", KINDS)
def test_what_is_counted_is_what_the_trace_records(mode):
    """Shots and bundles of a batch."""
    circuit = network(4)
    estimator = CutEstimator(cuts=1, mode=mode, shots=32, seed=1)
    values = np.ones((3, circuit.num_parameters))
    estimator.run([(circuit, "ZZZZ", values)]).result()
    (record,) = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
    plan = compile_plan(circuit, "ZZZZ", cuts=1)
    work = work_of(plan, mode, rows=3, shots=32)
    assert work.calls == record["bundles"]
    assert work.shots == record["shots"]
    assert (work.mode, work.rows) == (mode, 3)


def test_calls_of_very_many_stand_for_all_of_them():
    """Where not every call is counted, their number and shots still add up."""
    plan = compile_plan(network(5), "Z" * 5, labels="ABABA")
    shots = 1_000_000
    work = work_of(plan, "counts", rows=1, shots=shots)
    requests = [Request(f, np.zeros((1, len(f.angles))), shots) for f in plan.fragments]
    calls = circuit_units(requests, np.random.SeedSequence(1), "aer")
    assert len(calls) > 2 * MOST_COUNTED >= len(work.loads) / 2
    assert work.calls == pytest.approx(len(calls), rel=1e-9)
    counted = sum(load.number * load.amounts[COUNTS.index("shots")] for load in work.loads)
    assert counted == pytest.approx(shots * plan.num_subexperiments, rel=0.05)


@pytest.mark.parametrize(("qubits", "cuts"), [(9, 0), (16, 1), (20, 0), (36, 0)])
def test_memory_is_that_of_the_widest_template(qubits, cuts):
    """16 bytes an amplitude, ancillas included, and 1 TiB for 36 qubits."""
    plan = compile_plan(network(qubits), "X" * qubits, cuts=cuts)
    widest = max(
        build(f, template).circuit.num_qubits for f in plan.fragments for template in f.templates
    )
    assert widest > PACK_QUBITS, "narrower ones are packed, which takes a few KiB at most"
    assert work_of(plan, "counts", rows=1).memory_bytes == 16 * 2**widest
    assert (qubits, widest) != (36, 36) or 16 * 2**widest == 2**40


def test_exact_mode_counts_states_of_one_fragment_and_the_network_of_another():
    circuit, labels = deep_beside_wide(40)
    work = work_of(compile_plan(circuit, "Z" * 45, labels=labels), "exact", rows=16)
    assert work.way == "statevector and network"
    groups = KINDS["exact"].index("network_groups")
    made = KINDS["exact"].index("operations")
    by_states, by_network = sorted(work.loads, key=lambda load: load.amounts[groups])
    assert (by_states.amounts[groups], by_network.amounts[made]) == (0, 0)
    assert min(by_states.amounts[made], by_network.amounts[groups]) > 0
    assert work.memory_bytes < 2**20


def test_memory_does_not_grow_with_rows_or_shots():
    """It is that of one state, of one parameter set."""
    plan = compile_plan(network(12), "Z" * 12, cuts=1)
    for mode in KINDS:
        sizes = {
            work_of(plan, mode, rows, shots).memory_bytes for rows in (1, 9) for shots in (1, 999)
        }
        assert len(sizes) == 1


@pytest.mark.parametrize("mode", KINDS)
def test_more_rows_are_more_work(plan, mode):
    """No amount falls, and the sum of all calls' main amounts grows with the rows."""
    if mode == "exact" and plan.joint_cuts:
        return

    def total(rows):
        work = work_of(plan, mode, rows, engine=STATES)
        return sum(load.amounts * load.number for load in work.loads)

    few, many = total(2), total(32)
    assert (many >= few - 1e-9).all()
    assert many.sum() > 2 * few.sum()


def test_identities_are_no_work():
    """Without cuts, an observable that measures nothing asks for no circuit."""
    work = work_of(compile_plan(network(3), "III"), "counts", rows=4)
    assert work.calls == 0

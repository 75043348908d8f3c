"""What tasks cost: guesses that are refused, guesses that are corrected, and who makes them."""

import threading
import time
from fractions import Fraction

import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import SparsePauliOp

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.errors import UserError
from pilotcut.pilots.description import PilotDescription
from pilotcut.pilots.slurm.pilot import SlurmPilot
from pilotcut.tasks import wait
from pilotcut.tasks.runtime_estimates import PilotRates
from pilotcut.tasks.slot_accounting import SlotAccount
from pilotcut.tasks.snapshots import TaskView
from pilotcut.tasks.validation import placement_faults


def threads(name, count=1):
    return PilotDescription(name=name, resource="inprocess", cores_per_node=count)


@pytest.fixture
def two_pilots():
    with PilotManager([threads("slow"), threads("fast")]) as pilots:
        yield pilots


@pytest.mark.parametrize(
    "cost_s",
    [float("nan"), float("inf"), 10**400, -1.0, "3", True, {"slow": -1.0}, {"slow": None}, [1.0]],
)
def test_a_cost_that_is_no_duration_is_refused(two_pilots, cost_s):
    with (
        TaskManager(two_pilots) as tasks,
        pytest.raises(UserError, match=r"cost_s is .*, expected"),
    ):
        tasks.submit_task(max, 1, 2, cost_s=cost_s)


def test_a_cost_on_a_pilot_that_does_not_exist_is_refused(two_pilots):
    with TaskManager(two_pilots) as tasks, pytest.raises(UserError, match="did you mean 'fast'"):
        tasks.submit_task(max, 1, 2, cost_s={"slow": 1.0, "fats": 1.0})


@pytest.mark.parametrize(
    "cost_s", [0, 2, np.float32(0.5), Fraction(1, 2), {}, {"slow": 3, "fast": 1.0}]
)
def test_a_cost_that_is_one_is_taken(two_pilots, cost_s):
    with TaskManager(two_pilots, policy="cost-aware") as tasks:
        assert tasks.submit_task(max, 1, 2, cost_s=cost_s).result(10) == 2


def slurm_room(name, walltime, rates=None):
    described = PilotDescription(name=name, resource="slurm", walltime=walltime)
    return SlotAccount(SlurmPilot(described), rates or PilotRates())


def test_a_task_longer_than_every_walltime_is_refused():
    rooms = {name: slurm_room(name, t) for name, t in {"a": "00:30:00", "b": "01:00:00"}.items()}
    assert placement_faults(TaskView(0, cost_s=2900.0), rooms) == []  # with its margin 3480 s
    (fault,) = placement_faults(TaskView(0, cost_s=3100.0), rooms)
    assert "cost_s is 3100" in fault
    assert "pilot 'b' lives for 3600 s, the task would need 3720 s there" in fault
    (fault,) = placement_faults(TaskView(0, cost_s=2900.0, pilots=frozenset("a")), rooms)
    assert "'b'" not in fault
    assert placement_faults(TaskView(0), rooms) == []  # unknown: given a try
    assert placement_faults(TaskView(0, costs={"a": 9e9, "b": 1.0}), rooms) == []


def test_walltimes_are_compared_with_what_is_known_of_guesses():
    rates = PilotRates()
    for _ in range(50):
        rates.add("a", 100.0, 1.0)  # guesses are a hundred times too long
    rooms = {"a": slurm_room("a", "00:30:00", rates)}
    assert placement_faults(TaskView(0, cost_s=2900.0), rooms) == []


def test_rates_are_learned_and_forgotten():
    rates = PilotRates()
    assert rates.of("a") == 1.0
    for _ in range(200):
        rates.add("a", 3.0, 1.0)
    assert rates.of("a") == pytest.approx(3.0)
    assert rates.of("b") == pytest.approx(3.0)  # of which nothing is known
    rates.add("b", 1.0, 1.0)
    assert 1.2 < rates.of("b") < 3.0  # one run is little to go by
    for _ in range(20):
        rates.add("b", 1.0, 1.0)
    assert rates.of("b") == pytest.approx(1.0, rel=0.2)
    for _ in range(200):
        rates.add("a", 1.0, 1.0)
    assert rates.of("a") == pytest.approx(1.0)
    rates.add("a", 0.0, 1.0)
    rates.add("a", 1.0, 0.0)
    assert rates.of("a") == pytest.approx(1.0)


def test_failures_say_nothing_of_how_fast_a_pilot_is(two_pilots):
    with TaskManager(two_pilots) as tasks:
        for _ in range(5):
            assert tasks.submit_task(divmod, 1, 0, cost_s=1e6).exception(10)
        assert tasks._binder._rates.of("slow") == tasks._binder._rates.of("fast") == 1.0


def test_who_submits_does_not_look_at_places_that_the_binder_gives_away(monkeypatch):
    rooms = {"a": slurm_room("a", "00:30:00")}
    monkeypatch.setattr(
        SlotAccount, "view", None
    )  # it walks over what is held, in the binder's thread
    assert placement_faults(TaskView(0, cost_s=1.0), rooms) == []
    assert len(placement_faults(TaskView(0, cost_s=1.0, cores=99), rooms)) == 1
    assert len(placement_faults(TaskView(0, cost_s=9e9), rooms)) == 1


def nap(fast_s, slow_s):
    time.sleep(fast_s if threading.current_thread().name.startswith("fast") else slow_s)


def test_cost_aware_learns_which_pilot_is_the_fast_one(two_pilots):
    with TaskManager(two_pilots, policy="cost-aware", duplicates=False) as tasks:
        for _ in range(10):  # each alone, wherever it is free: both become known
            for pilot in ("slow", "fast"):
                tasks.submit_task(nap, 0.005, 0.1, cost_s=0.05, pilot=pilot).result(10)
        # Six tasks end on the fast pilot before one has on the slow one.
        last = [tasks.submit_task(nap, 0.005, 0.1, cost_s=0.05) for _ in range(6)]
        wait(last)
        assert [future.task.pilot for future in last] == ["fast"] * 6


def test_bundles_say_what_they_cost_and_to_which_fragment_they_belong():
    seen = {}

    def eager_and_watching(ready, pilots, now):
        seen.update({task.id: task for task in ready})
        free = [pilot.name for pilot in pilots for _ in range(pilot.free)]
        return [(task.id, name) for task, name in zip(ready, free, strict=False)]

    circuit = QuantumCircuit(4)
    for qubit in range(3):
        circuit.h(qubit)
        circuit.cx(qubit, qubit + 1)
    with (
        PilotManager([threads("p")]) as pilots,
        TaskManager(pilots, policy=eager_and_watching) as tasks,
    ):
        for mode in ("counts", "exact"):
            estimator = CutEstimator(tasks, labels="AABB", mode=mode, engine="statevector", seed=1)
            seen.clear()
            estimator.run([(circuit, SparsePauliOp("ZZZZ"))]).result()
            assert {task.group for task in seen.values()} == {"A", "B"}
            costs = [task.cost_s for task in seen.values()]
            assert all(0 < cost_s < 1 for cost_s in costs), (mode, costs)

"""Cut models on devices: estimators on a fleet, and recommendations by error."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info import SparsePauliOp
from support.calibrations import install
from support.fleets import qpu
from typer.testing import CliRunner

from pilotcut import CutEstimator, CutGradient, compile_plan, recommend
from pilotcut.cli import app
from pilotcut.errors import CutError, PilotError, UserError
from pilotcut.execution.query_store import load
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import BackendDescription, PilotDescription
from pilotcut.primitives.distribution import Distribution
from pilotcut.tasks import TaskManager

# -- the estimator on a fleet -------------------------------------------------------------


def pilot(name: str, *args, **more) -> PilotDescription:
    backend = BackendDescription(qpu=qpu(*args, **more))
    return PilotDescription(name=name, resource="inprocess", backend=backend)


FLEET = (
    pilot("fine", 3, 0.0005, 0.004, 0.005),
    pilot("small", 2, 0.0005, 0.004, 0.005),
    pilot("noisy", 3, 0.02, 0.08, 0.05),
)


@contextmanager
def tasks_on(*pilots: PilotDescription):
    with PilotManager(pilots) as manager, TaskManager(manager) as tasks:
        yield tasks


def chain() -> tuple[QuantumCircuit, str]:
    """Five qubits in a chain, of value near 1, cut into three and two."""
    circuit = QuantumCircuit(5)
    circuit.rx(Parameter("x"), 0)
    for k in range(4):
        circuit.cx(k, k + 1)
    return circuit, "IIIZZ"


def ghz() -> tuple[QuantumCircuit, str]:
    circuit = QuantumCircuit(5)
    circuit.h(0)
    for k in range(4):
        circuit.cx(k, k + 1)
    circuit.rz(Parameter("x"), 4)
    return circuit, "ZIIIZ"


def estimate(tasks, seed=3, circuit=ghz, **more):
    built, observable = circuit()
    estimator = CutEstimator(tasks, labels="AAABB", shots=512, seed=seed, **more)
    result = estimator.run([(built, observable, [[0.3], [0.8]])]).result()
    return result[0].data.evs, estimator


def test_fragments_run_on_their_devices_and_the_record_says_where():
    """The wide fragment avoids the small and the noisy device, and every task ran as bound."""
    with tasks_on(*FLEET) as tasks:
        _, estimator = estimate(tasks)
        events = [e for e in tasks.pilots.events.records if e["event"] == "task"]
    (record,) = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
    where = {(d["fragment"], d["pilot"]) for d in record["devices"]}
    assert where == {("A", "fine"), ("B", "small")}  # B within the tolerance of both
    assert sum(d["circuits"] for d in record["devices"]) == record["subexperiments"]
    assert all(0 < d["error"] < 0.1 and d["device_s"] > 0 for d in record["devices"])
    ran = {(e["task"][0], e["pilot"]) for e in events if e["state"] == "done"}
    assert ran == where
    assert "moved" not in record


def test_the_same_seed_gives_the_same_bits_on_a_fleet():
    """Twice the same fleet, plan and seed: equal numbers; another seed differs."""
    with tasks_on(*FLEET) as tasks:
        one, two, other = (estimate(tasks, seed)[0] for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_noise_pulls_values_towards_zero_and_more_on_worse_devices():
    """A value of 1 is below 1 on a fine device, and further below on a noisy one."""
    values = []
    for fleet in ((FLEET[0],), (FLEET[2],)):
        with tasks_on(*fleet) as tasks:
            values.append(estimate(tasks)[0].mean())
    exact = estimate(None, mode="exact")[0].mean()
    assert exact == pytest.approx(1.0)
    assert values[0] == pytest.approx(0.9, abs=0.1)
    assert 0.1 < values[1] < values[0] - 0.15


def test_gradients_run_on_devices_too():
    """Fragment-wise shifts are bound like values, and recorded."""
    circuit, observable = chain()
    with tasks_on(*FLEET) as tasks:
        estimator = CutEstimator(tasks, labels="AAABB", shots=512, seed=1)
        gradient = CutGradient(estimator)
        found = gradient.run([circuit], [SparsePauliOp(observable)], [[1.2]]).result()
    records = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
    assert all(record["devices"] for record in records)
    shifts = CutGradient(CutEstimator(labels="AAABB", mode="exact"))
    exact = shifts.run([circuit], [SparsePauliOp(observable)], [[1.2]]).result()
    assert found.gradients[0] == pytest.approx(exact.gradients[0], abs=0.25)


@contextmanager
def losing(name: str, tasks: TaskManager):
    """End a pilot once parts are bound to it, before its first one is there."""
    ends = next(one for one in tasks.pilots.pilots if one.name == name)
    submit = tasks.submit_task

    def submit_and_lose(*args, **kwargs):
        ends.close()
        return submit(*args, **kwargs)

    tasks.submit_task = submit_and_lose
    yield
    tasks.submit_task = submit


def test_a_batch_goes_on_without_a_device_that_has_gone():
    """Parts bound to a pilot that ends are bound to what is left, and the record says so."""
    twin = pilot("twin", 3, 0.0005, 0.004, 0.005)
    with tasks_on(FLEET[0], twin, FLEET[1]) as tasks:
        with losing("twin", tasks):
            values, estimator = estimate(tasks)
        (record,) = [r for r in estimator.trace.records if r["kind"] == "query_batch"]
        assert {m["from"] for m in record["moved"]} == {"twin"}
        assert {m["to"] for m in record["moved"]} <= {"fine", "small"}
        assert values == pytest.approx(np.ones(2), abs=0.3)
        again = estimate(tasks)[1].trace.records[-1]  # which never counts on it
        assert {d["pilot"] for d in again["devices"]} == {"fine", "small"}
        assert "moved" not in again


def test_no_device_left_says_which_have_gone():
    """When the last device ends, the error names the pilots."""
    with tasks_on(FLEET[0]) as tasks:
        tasks.pilots.pilots[0].close()
        with pytest.raises(
            PilotError, match=r"no device is left, for these pilots have ended: 'fine'"
        ):
            estimate(tasks)


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_modes_without_noise_refuse_a_fleet_of_devices(mode):
    """One line says that the mode simulates no noise, and what to do."""
    with tasks_on(*FLEET) as tasks, pytest.raises(UserError) as caught:
        CutEstimator(tasks, mode=mode)
    assert str(caught.value) == (
        f"mode is {mode}, which simulates no noise, and all 3 pilots ('fine', ...) have a "
        f"backend.qpu; expected mode counts, or a pilot without backend.qpu"
    )


def test_modes_without_noise_leave_devices_alone_where_there_are_others():
    """On a mixed fleet exact fragments run on the pilots without a device only."""
    plain = PilotDescription(name="plain", resource="inprocess")
    with tasks_on(*FLEET, plain) as tasks:
        value, _ = estimate(tasks, mode="exact")
        events = [e for e in tasks.pilots.events.records if e["event"] == "task"]
        assert value == pytest.approx(np.ones(2))
        assert {e["pilot"] for e in events if e["state"] == "done"} == {"plain"}
        with pytest.raises(UserError, match=r"pilot 'fine' has a backend.qpu while pilot 'plain'"):
            CutEstimator(tasks)


def test_blocks_in_a_store_belong_to_their_device(tmp_path):
    """What one fleet measured is reread by the same fleet, and not by another."""
    plan = compile_plan(*ghz(), labels="AAABB")
    ran = []
    for fleet in (FLEET, FLEET, FLEET[2:]):
        with tasks_on(*fleet) as tasks:
            estimator = CutEstimator(tasks, plan=plan, shots=64, seed=1, store=tmp_path)
            estimator.run([(*ghz(), [[0.3]])]).result()
            events = [e for e in tasks.pilots.events.records if e["event"] == "task"]
        ran.append(sum(e["state"] == "done" for e in events))
    assert ran[0] > 0
    assert ran[1] == 0
    assert ran[2] == ran[0]
    stored = load(tmp_path, 0)
    assert not stored.missing()


def test_distributions_are_noisy_on_a_fleet():
    """Outcomes that a GHZ state never has appear on devices, and only there."""
    plan = compile_plan(ghz()[0], labels="AAABB")
    never = [k for k in range(32) if k not in (0, 31)]
    with tasks_on(FLEET[2]) as tasks:
        law = Distribution(plan, [0.1], mode="counts", shots=256, seed=1, tasks=tasks)
        noisy = law.probabilities()[never].sum()
    assert noisy > 0.2
    ideal = Distribution(plan, [0.1], mode="counts", shots=256, seed=1)
    assert abs(ideal.probabilities()[never].sum()) < 0.1


def test_distributions_go_on_without_a_device_that_has_gone():
    """What was bound to it is done by the others; with none left the error names the pilots."""
    plan = compile_plan(ghz()[0], labels="AAABB")
    wide, twin = FLEET[0], pilot("twin", 3, 0.0005, 0.004, 0.005)
    more = {"mode": "counts", "shots": 512, "seed": 1}
    with tasks_on(wide, twin) as tasks:
        with losing("twin", tasks):
            law = Distribution(plan, [0.1], tasks=tasks, **more)
        done = [e for e in tasks.pilots.events.records if e.get("state") == "done"]
        assert {e["pilot"] for e in done if e["event"] == "task"} == {"fine"}
        assert law.probabilities()[[0, 31]] == pytest.approx([0.5, 0.5], abs=0.1)
        with losing("fine", tasks), pytest.raises(PilotError, match="no device is left, for these"):
            Distribution(plan, [0.1], tasks=tasks, **more)


def test_the_tolerance_of_a_distribution_decides_between_error_and_load():
    """With 1 the noisy device takes parts too, with 0 never."""
    plan = compile_plan(ghz()[0], labels="AAABB")
    with tasks_on(FLEET[0], FLEET[2]) as tasks:
        pilots = {}
        for tolerance in (0.0, 1.0):
            seen = len(tasks.pilots.events.records)
            more = {"mode": "counts", "shots": 64, "error_tolerance": tolerance}
            Distribution(plan, [0.1], tasks=tasks, **more)
            new = tasks.pilots.events.records[seen:]
            pilots[tolerance] = {e["pilot"] for e in new if e["event"] == "task"} - {""}
    assert pilots[0.0] == {"fine"}
    assert pilots[1.0] == {"fine", "noisy"}


# -- recommendations ----------------------------------------------------------------------


def ladder() -> QuantumCircuit:
    """Five qubits with one weak link, and much to do on either side of it."""
    circuit = QuantumCircuit(5)
    for _ in range(4):
        for a, b in ((0, 1), (1, 2), (3, 4)):
            circuit.cx(a, b)
            circuit.ry(0.3, b)
    circuit.cx(2, 3)
    return circuit


def test_by_error_another_number_of_cuts_is_best_than_by_time():
    """A large noisy device is quickest; two cuts less noise, though shots cost more."""
    fleet = [pilot("wide", 5, 0.002, 0.03, 0.01), pilot("good", 3, 2e-4, 0.001, 0.001)]
    options = {"max_cuts": 2, "shots": 20_000, "queries": 10, "batch": 2}
    quick = recommend(ladder(), "ZZZZZ", fleet, **options)
    right = recommend(ladder(), "ZZZZZ", fleet, objective="error", **options)
    assert quick.chosen.cuts == 0
    assert right.chosen.cuts == 1
    assert quick.chosen.seconds < right.chosen.seconds
    for line in right.lines:
        assert line.value_error == pytest.approx(np.hypot(line.noise, line.error))
    uncut, cut = right.lines[0], right.lines[1]
    assert {share.pilot for share in uncut.shares} == {"wide"}
    assert {share.pilot for share in cut.shares} == {"good"}
    kept = np.prod([1 - share.error for share in cut.shares])
    assert cut.noise == pytest.approx(1 - kept)
    assert cut.noise < uncut.noise
    assert "values are predicted to be wrong by" in right.reason


def test_lines_that_no_device_can_run_say_why():
    """Few cuts leave fragments that are too wide; the recommendation is the first that fits."""
    fleet = [pilot("good", 3, 2e-4, 0.001, 0.001)]
    found = recommend(ladder(), "ZZZZZ", fleet, max_cuts=1, objective="error", queries=2)
    assert not found.lines[0].feasible
    assert found.lines[0].lacks == ("needs 5 qubits, more than the 3 of 'good'",)
    assert found.chosen.cuts == 1
    with pytest.raises(CutError, match="give --max-cuts 1"):
        recommend(ladder(), "ZZZZZ", fleet, max_cuts=0, queries=2)


def test_the_modelled_time_is_that_of_the_devices():
    """Seconds are shots times seconds of a shot, halved by a second device; nothing is measured."""
    one = [pilot("one", 5, 0.002, 0.03, 0.01)]
    two = [*one, pilot("two", 5, 0.002, 0.03, 0.01)]
    first, second = (
        recommend(ladder(), "ZZZZZ", f, max_cuts=0, shots=100, queries=64, batch=64)
        for f in (one, two)
    )
    (share,) = first.chosen.shares
    assert first.chosen.seconds == pytest.approx(share.device_s)
    assert share.shots == 6400
    assert share.device_s > 6400 * 51e-6  # readout and reset
    assert second.chosen.seconds == pytest.approx(first.chosen.seconds / 2)


FLEET_YAML = """
pilots:
  - name: wide
    resource: inprocess
    backend: {kind: aer, qpu: {qubits: 5, infidelity_1q: 0.002, infidelity_2q: 0.03,
              t1_us: 500, t2_us: 500, readout_error: 0.01}}
  - name: good
    resource: inprocess
    backend: {kind: aer, qpu: {qubits: 3, infidelity_1q: 0.0002, infidelity_2q: 0.001,
              t1_us: 500, t2_us: 500, readout_error: 0.001}}
"""


@pytest.fixture
def files(tmp_path):
    from qiskit import qasm2

    fleet, circuit = tmp_path / "fleet.yaml", tmp_path / "circuit.qasm"
    fleet.write_text(FLEET_YAML)
    circuit.write_text(qasm2.dumps(ladder()))
    return str(circuit), str(fleet)


def command(*words: str):
    return CliRunner().invoke(app, list(words))


def test_the_command_recommends_by_error_without_a_calibration(files):
    """`recommend --objective error` on devices asks for no calibration and prints both errors."""
    circuit, fleet = files
    asked = ["recommend", circuit, "--pilots", fleet, "--observable", "ZZZZZ", "--max-cuts", "1"]
    asked += ["--shots", "20000", "--queries", "10", "--json"]
    by_time, by_error = command(*asked), command(*asked, "--objective", "error")
    assert by_time.exit_code == 0, by_time.output
    first, second = json.loads(by_time.stdout), json.loads(by_error.stdout)
    assert (first["chosen"]["cuts"], second["chosen"]["cuts"]) == (0, 1)
    assert second["time"] == "modelled device time"
    assert {d["pilot"] for d in second["chosen"]["devices"]} == {"good"}
    shown = command(*asked[:-1], "--objective", "error")
    assert "noise" in shown.stdout
    assert "time modelled" in shown.stdout


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--objective", "speed"], "objective is 'speed', expected one of time, error"),
        (["--objective", "error", "--mode", "exact"], "objective is error with mode exact"),
        (["--mode", "exact"], "mode is exact, which simulates no noise, and all 2 pilots"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(files, options, line):
    """Exit code 2, and the fault in one line."""
    circuit, fleet = files
    with pytest.raises(UserError) as caught:
        command_raises("recommend", circuit, "--pilots", fleet, *options)
    assert len(caught.value.faults) == 1
    assert line in caught.value.faults[0]


def command_raises(*words: str) -> None:
    found = command(*words)
    assert found.exit_code != 0
    assert found.exception is not None
    raise found.exception


def test_a_device_is_not_calibrated(files):
    """`calibrate` says that a device's time is modelled."""
    with pytest.raises(UserError, match=r"has a backend.qpu, expected none: a device's time"):
        command_raises("calibrate", "--pilots", files[1], "--seconds", "2")


def test_without_devices_the_error_is_that_of_shots_alone(tmp_path, monkeypatch):
    """On pilots without a backend.qpu fewer cuts are less wrong, and the reason says what it is."""
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path))
    install(None)
    found = recommend(ladder(), "ZZZZZ", objective="error", max_cuts=1)
    assert found.chosen.cuts == 0
    assert found.chosen.value_error == found.chosen.error > 0
    assert "the standard error alone, for no pilot has a backend.qpu" in found.reason

"""Mitigation of batches: what is decided, calibrated by the devices' pilots, recorded, refused."""

from concurrent.futures import Future

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit_addon_cutting.instructions import CutWire

from pilotcut import CutEstimator, PilotManager, TaskManager, cut_qnn
from pilotcut.errors import DeviceError, PilotError, UsageError, UserError
from pilotcut.pilots.description import PilotDescription

NOISY = {
    "qubits": 2,
    "infidelity_1q": 0.0,
    "infidelity_2q": 0.02,
    "t1_us": 1e6,
    "t2_us": 1e6,
    "readout_error": 0.05,
}


def circuit() -> QuantumCircuit:
    found = QuantumCircuit(3)
    found.rx(Parameter("x"), 0)
    found.cx(0, 1)
    found.ry(Parameter("w"), 1)
    found.cx(1, 2)
    return found


ANGLES = [0.4, 0.9]  # of w and of x


def pilot(name="q", **fields) -> PilotDescription:
    qpu = {**NOISY, **fields}
    return PilotDescription(name=name, resource="inprocess", backend={"kind": "aer", "qpu": qpu})


@pytest.fixture(scope="module")
def device():
    with PilotManager([pilot()]) as pilots, TaskManager(pilots) as tasks:
        yield tasks


def estimator(tasks, **options) -> CutEstimator:
    return CutEstimator(tasks, labels="AAB", **{"shots": 500, "seed": 3, **options})


@pytest.fixture
def submitted(device, monkeypatch):
    """Return a list to which the name of every task is added."""
    names, submit = [], device.submit_task

    def noting(fn, *args, name, **options):
        names.append(name)
        return submit(fn, *args, name=name, **options)

    monkeypatch.setattr(device, "submit_task", noting)
    return names


def answer(tasks, **options):
    one = estimator(tasks, **options)
    return one, one.run([(circuit(), "ZZZ", ANGLES)]).result()[0]


def test_readout_is_calibrated_once_a_fragment_and_said_in_the_record(device, submitted):
    one, first = answer(device, mitigation="readout calibration_shots=2000")
    assert [(m["fragment"], m["pilot"], m["readout"]) for m in first.metadata["mitigation"]] == [
        ("A", "q", "measured"),
        ("B", "q", "measured"),
    ]
    one.run([(circuit(), "ZZZ", ANGLES)]).result()
    calibrations = [name for name in submitted if name.endswith("calibration")]
    assert sorted(calibrations) == ["A.calibration", "B.calibration"]
    (record, _) = [r for r in one.trace.records if r["kind"] == "query_batch"]
    assert record["mitigation"] == list(first.metadata["mitigation"])
    assert {m["calibration_shots"] for m in record["mitigation"]} == {4000}


def test_auto_extrapolates_where_the_predicted_bias_exceeds_the_shot_noise(device):
    for shots, factors in ((100, [1]), (60_000, [1, 5])):
        one = estimator(device, mitigation="auto", shots=shots)
        said = one.run([(circuit(), "ZZZ", ANGLES)]).result()[0].metadata["mitigation"]
        wide, narrow = said
        assert wide["factors"] == factors
        assert (wide["bias"] > wide["noise"]) == (len(factors) > 1)
        assert narrow["factors"] == [1]  # no gates on two qubits


def test_mitigated_values_are_nearer_and_as_far_off_as_they_say(device):
    angles = np.random.default_rng(4).uniform(-np.pi, np.pi, (16, 2))
    ideal = estimator(None, mode="exact").run([(circuit(), "ZZZ", angles)]).result()[0].data.evs
    off, spread = [], []
    for mitigation in (None, "readout+zne"):
        one = estimator(device, mitigation=mitigation, shots=8192 * 4)
        data = one.run([(circuit(), "ZZZ", angles)]).result()[0].data
        off.append(data.evs - ideal)
        spread.append(data.stds)
    raw, mitigated = (np.sqrt((one**2).mean()) for one in off)
    assert mitigated < raw / 3
    assert 0.6 < np.sqrt(((off[1] / spread[1]) ** 2).mean()) < 1.5


def test_noise_that_is_known_is_cancelled_within_the_standard_errors(device):
    angles = np.random.default_rng(4).uniform(-np.pi, np.pi, (6, 2))
    ideal = estimator(None, mode="exact").run([(circuit(), "ZZZ", angles)]).result()[0].data.evs
    off = {}
    for mitigation in (None, "readout+pec samples=10"):
        one = estimator(device, mitigation=mitigation, shots=100_000)
        result = one.run([(circuit(), "ZZZ", angles)]).result()[0]
        off[mitigation] = (result.data.evs - ideal) / result.data.stds
    assert np.abs(off[None]).max() > 8
    assert 0.5 < np.sqrt((off["readout+pec samples=10"] ** 2).mean()) < 1.7
    wide, narrow = result.metadata["mitigation"]
    assert (wide["samples"], wide["factors"], wide["readout"]) == (10, [1], "measured")
    assert 1.02 < wide["overhead"] < 1.2
    assert narrow["overhead"] == pytest.approx(1.0, abs=1e-6)  # no gates on two qubits
    assert narrow["noise"] < wide["noise"] / 100


@pytest.mark.parametrize(
    ("qpu", "line"),
    [
        ({"infidelity_2q": 0.7}, "takes 743 times as many shots for the same error, expected"),
        ({"coherent_2q": 0.5}, "noise of c. on qubits 0 and 1 is not of that kind"),
        (
            {"like": "FakeManilaV2", "sampler": "m:f"},
            "of a device that runs circuits itself is not; expected a device that is simulated",
        ),
    ],
    ids=["hopeless", "turns", "unknown"],
)
def test_noise_that_cannot_be_cancelled_is_refused_by_name_before_anything_runs(qpu, line):
    backend = {"kind": "aer", "qpu": qpu if "like" in qpu else {**NOISY, **qpu}}
    own = PilotDescription(name="lab", resource="inprocess", backend=backend)
    refused = pytest.raises(DeviceError, match=rf"^pilot 'lab': mitigation 'pec' .*{line}")
    with PilotManager([own]) as pilots, TaskManager(pilots) as tasks, refused:
        answer(tasks, mitigation="pec")


@pytest.mark.parametrize("mitigation", ["readout", "readout+zne"])
def test_errors_of_a_calibration_are_in_the_standard_errors(device, mitigation):
    angles = np.random.default_rng(5).uniform(-np.pi, np.pi, (4, 2))
    found = []
    for seed in range(10):
        one = estimator(device, mitigation=mitigation, shots=10**8, seed=seed)
        data = one.run([(circuit(), "ZZZ", angles)]).result()[0].data
        found.append([data.evs, data.stds])
    spread = np.std(found, axis=0)[0]
    claimed = np.mean(found, axis=0)[1]
    assert 0.7 < np.sqrt((claimed**2).mean() / (spread**2).mean()) < 1.4


def test_the_same_seed_gives_the_same_numbers_and_another_correction_others(device):
    asked = ["readout", "readout", "readout+zne", "readout factors=1,3", "pec", "pec"]
    values = [float(answer(device, mitigation=m)[1].data.evs) for m in asked]
    assert values[0] == values[1] == values[3]
    assert values[4] == values[5]
    assert len({*values}) == 3


def test_a_store_tells_corrected_blocks_from_others(device, submitted, tmp_path):
    seen = []
    for mitigation in ("readout", "readout", None, "zne"):
        one = estimator(device, mitigation=mitigation, store=tmp_path, seed=3)
        submitted.clear()
        seen.append(float(one.run([(circuit(), "ZZZ", ANGLES)]).result()[0].data.evs))
        ran = [name for name in submitted if not name.endswith("calibration")]
        assert bool(ran) == (len(seen) != 2)
    assert seen[0] == seen[1]
    assert len({*seen}) == 3


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"mitigation": "redout"},
            "mitigation is 'redout', expected one of none, readout, zne, re",
        ),
        ({"mitigation": "zne factors=1,2"}, "mitigation's factors is (1, 2), expected odd numbers"),
        ({"mitigation": "zne factor=1,3"}, "an option of mitigation is 'factor', expected one of"),
        ({"mitigation": {"method": "zne", "factors": [3, 5]}}, "factors is (3, 5), expected odd"),
        ({"mitigation": 3}, "mitigation is 3 (int), expected one of none, readout"),
        ({"mitigation": "readout calibration_shots=9"}, "calibration_shots is 9, expected a whole"),
        (
            {"mitigation": "readout calibration=guess"},
            "calibration is 'guess', expected one of mea",
        ),
        ({"mitigation": "readout", "mode": "exact"}, "mitigation is 'readout' with mode='exact', "),
        ({"mitigation": "zne", "num_samples": 9}, "mitigation is given with num_samples=9, expec"),
        ({"mitigation": "zne", "mode": "sampled"}, "mitigation is 'zne' with mode='sampled', exp"),
    ],
)
def test_what_makes_no_sense_is_one_line(options, line):
    with pytest.raises(UserError) as caught:
        estimator(None, **options)
    (fault,) = caught.value.faults
    assert line in fault


def test_without_a_device_there_is_nothing_to_mitigate_and_auto_does_nothing():
    with pytest.raises(
        UserError, match=r"no pilot has a backend\.qpu, expected a device with noise"
    ):
        answer(None, mitigation="readout")
    plain = answer(None)[1].data.evs
    assert answer(None, mitigation="auto")[1].data.evs == plain
    assert "mitigation" not in answer(None, mitigation="auto")[1].metadata


def test_a_device_that_ends_before_it_is_calibrated_leaves_its_work_to_others(monkeypatch):
    with PilotManager([pilot("a"), pilot("b")]) as pilots, TaskManager(pilots) as tasks:
        submit = tasks.submit_task

        def without_a(fn, *args, name, pilot, **options):
            if name.endswith("calibration") and pilot == "a":
                gone: Future[None] = Future()
                gone.set_exception(PilotError("pilot 'a' has ended"))
                return gone
            assert pilot == "b"
            return submit(fn, *args, name=name, pilot=pilot, **options)

        monkeypatch.setattr(tasks, "submit_task", without_a)
        one, result = answer(tasks, mitigation="readout calibration_shots=1000")
    assert {m["pilot"] for m in result.metadata["mitigation"]} == {"b"}
    (record,) = [r for r in one.trace.records if r["kind"] == "query_batch"]
    assert {(move["from"], move["to"]) for move in record["moved"]} == {("a", "b")}


def test_a_device_says_what_is_done_where_the_estimator_does_not():
    own = pilot(mitigation="readout calibration_shots=1000")
    with PilotManager([own]) as pilots, TaskManager(pilots) as tasks:
        said = answer(tasks)[1].metadata["mitigation"]
        assert {m["calibration_shots"] for m in said} == {2000}
        assert "mitigation" not in answer(tasks, mitigation="none")[1].metadata
        assert {*answer(tasks, mitigation="zne")[1].metadata["mitigation"][0]["factors"]} == {1, 5}
        with pytest.raises(UserError, match="with num_samples, expected none"):
            answer(tasks, num_samples=4)


@pytest.mark.parametrize("allocation", ["uniform", "optimal"])
def test_wires_with_communication_are_mitigated_stage_by_stage(device, allocation):
    wired = QuantumCircuit(3)
    wired.rx(Parameter("x"), 0)
    wired.cx(0, 1)
    wired.append(CutWire(), [1])
    wired.ry(Parameter("w"), 1)
    wired.cx(1, 2)
    angles = np.random.default_rng(6).uniform(-np.pi, np.pi, (4, 2))
    off = {}
    for tasks, mitigation in ((device, None), (device, "readout+zne")):
        one = CutEstimator(
            tasks,
            wires="communication",
            shots=16_384,
            seed=1,
            mitigation=mitigation,
            shot_allocation=allocation,
        )
        data = one.run([(wired, "ZZZ", angles)]).result()[0].data
        ideal = CutEstimator(mode="exact").run([(wired, "ZZZ", angles)]).result()[0].data.evs
        off[mitigation] = np.sqrt(((data.evs - ideal) ** 2).mean())
    assert off["readout+zne"] < off[None] / 3


def test_a_precision_is_kept_where_auto_extrapolates(device):
    one = estimator(device, mitigation="auto calibration_shots=4000000")
    data = one.run([(circuit(), "ZZZ", ANGLES)], precision=0.004).result()[0]
    assert data.metadata["mitigation"][0]["factors"] == [1, 5]
    assert data.data.stds < 0.0042


def test_gradients_are_mitigated_as_values_are(device):
    step = []
    for tasks, options in ((None, {"mode": "exact"}), (device, {"mitigation": "readout+zne"})):
        torch = pytest.importorskip("torch")
        qnn = cut_qnn(
            circuit(),
            "ZZZ",
            input_params=["x"],
            weight_params=["w"],
            initial_weights=[0.4],
            labels="AAB",
            tasks=tasks,
            seed=2,
            **({"mode": "counts", "shots": 200_000} | options),
        )
        at = torch.tensor([[0.9]], requires_grad=True)
        qnn(at).sum().backward()
        step.append([float(at.grad), float(qnn.weights.grad)])
    np.testing.assert_allclose(step[1], step[0], atol=0.03)


def test_calibrations_of_a_device_itself_are_in_its_usage_and_its_budget():
    qpu = {"like": "FakeManilaV2", "simulate": False}
    itself = PilotDescription(name="m", resource="inprocess", backend={"kind": "aer", "qpu": qpu})
    with PilotManager([itself]) as pilots, TaskManager(pilots) as tasks:
        answer(tasks, shots=100)  # its first job is not ours
        one = estimator(tasks, shots=100, mitigation="readout calibration_shots=500")
        for _ in range(2):
            one.run([(circuit(), "ZZZ", ANGLES)]).result()
        shots = [r["usage"]["shots"] for r in one.trace.records if r["kind"] == "query_batch"]
        assert shots[0] - shots[1] == 2 * 2 * 500
        with pytest.raises(UsageError, match="max_usage is 1 s, the next batch is predicted to"):
            answer(tasks, shots=100, mitigation="readout calibration_shots=20000", max_usage=1.0)


@pytest.mark.parametrize("most", [0.12, 3.0])
def test_a_step_is_not_begun_whose_derivatives_would_go_beyond_what_is_allowed(most):
    torch = pytest.importorskip("torch")
    qpu = {"like": "FakeManilaV2", "simulate": False}
    itself = PilotDescription(name="m", resource="inprocess", backend={"kind": "aer", "qpu": qpu})
    names = {"input_params": ["x"], "weight_params": ["w"], "labels": "AAB"}
    with PilotManager([itself]) as pilots, TaskManager(pilots) as tasks:
        qnn = cut_qnn(
            circuit(), "ZZZ", **names, tasks=tasks, mode="counts", shots=100, max_usage=most
        )
        at = torch.tensor([[0.9]])
        with torch.no_grad():
            qnn(at)  # values alone fit
        taken = qnn._function.runner.log.usage.seconds
        if most < 1:
            with pytest.raises(UsageError, match="the next step, with its derivatives, is pred"):
                qnn(at)
            assert qnn._function.runner.log.usage.seconds == taken
        else:
            qnn(at).sum().backward()
            assert qnn._function.runner.log.usage.seconds > 2 * taken

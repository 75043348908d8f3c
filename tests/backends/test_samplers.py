"""Devices that run circuits themselves: samplers and backends, and results that are looked at."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest
import qiskit_ibm_runtime
import yaml
from qiskit import QuantumCircuit
from qiskit.circuit import ClassicalRegister
from qiskit.primitives import BackendSamplerV2, BaseSamplerV2, BitArray, DataBin, StatevectorSampler
from qiskit.providers.fake_provider import GenericBackendV2
from qiskit_aer import AerSimulator
from qiskit_ibm_runtime import SamplerV2, Session
from support.circuits import entangled
from support.exact import exact_tensor
from support.qpus import NATIVE, CountsOnly, measured, middle, scores, small

from pilotcut import CutEstimator, PilotManager, TaskManager
from pilotcut.backends.circuit_runs import CircuitRuns
from pilotcut.backends.device_compiler import DeviceCompiler
from pilotcut.backends.qpu import QpuBackend
from pilotcut.backends.qpu_target import device_of
from pilotcut.backends.samplers import sampler_for, sampler_of
from pilotcut.errors import DescriptionError, DeviceError
from pilotcut.pilots.description.qpu import QpuDescription

try:
    from qiskit_ibm_runtime.executor_sampler import Sampler
except ImportError:  # it came with 0.50
    Sampler = None

successor = pytest.mark.skipif(Sampler is None, reason="qiskit-ibm-runtime before 0.50")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*has no QubitProperties", "ignore:The SamplerV2 class is deprecated"
)

SHOTS = 400
ANGLES = np.array([[0.7, -1.9]])


def ideal():
    return AerSimulator.from_backend(
        GenericBackendV2(4, basis_gates=NATIVE, noise_info=False, seed=1)
    )


# What a description may name.


class Recorded(BackendSamplerV2):
    """A sampler that keeps what it was given."""

    def __init__(self, refuses=False):
        super().__init__(backend=ideal(), options={"seed_simulator": 7})
        self.jobs, self.refuses = [], refuses

    def run(self, pubs, *, shots=None):
        self.jobs.append(pubs)
        if self.refuses and any(circuit.parameters for circuit, *_ in pubs):
            raise ValueError("no parameters here")
        return super().run(pubs, shots=shots)


def recorded(refuses=False):
    return Recorded(refuses)


def statevector():
    return StatevectorSampler(seed=3)


def needs_a_word(word):
    raise ValueError(f"{word} is wrong")


def not_a_sampler():
    return 3


def leaves():
    raise SystemExit("xyzzy")


def running(**fields) -> QpuBackend:
    return QpuBackend(DeviceCompiler(device_of("q", QpuDescription(**fields))))


@pytest.mark.parametrize("refuses", [False, True])
def test_any_sampler_runs_fragments_with_parameters_or_with_bound_circuits(refuses):
    backend = running(sampler=f"{__name__}:recorded", options={"refuses": refuses})
    fragment, angles = small(), ANGLES[:, :1]
    values = measured(backend, fragment, angles, SHOTS, 3)
    assert np.abs(scores(values[0], exact_tensor(fragment, angles[0]), SHOTS)).max() < 5
    first, *others = backend._device.direct.opened.jobs
    assert {shots for _, _, shots in first} == {200}
    assert {shots for job in others for _, _, shots in job} == {SHOTS}
    bound = [not any(circuit.parameters for circuit, *_ in job) for job in others]
    assert bound == ([False, True] if refuses else [False])
    measured(backend, fragment, angles, SHOTS, 4)  # and it is not tried again
    assert len(backend._device.direct.opened.jobs) == (4 if refuses else 3)


def test_a_sampler_without_a_backend_takes_its_target_from_what_stands_beside_it():
    numbers = {"qubits": 4, "infidelity_1q": 0.0, "infidelity_2q": 0.0, "t1_us": 1.0, "t2_us": 1.0}
    name = f"{__name__}:statevector"
    for beside in (numbers, {"like": "FakeManilaV2"}):
        device = device_of("q", QpuDescription(sampler=name, **beside))
        assert isinstance(device.direct.opened, StatevectorSampler)
        assert device.qubits == (4 if beside is numbers else 5)
    with pytest.raises(DescriptionError) as caught:
        device_of("q", QpuDescription(sampler=name))
    assert "expected a sampler whose backend has a target; say like:" in str(caught.value)


def test_registers_are_joined_in_their_order():
    device = device_of("q", QpuDescription(sampler=f"{__name__}:recorded"))
    circuit = QuantumCircuit(4)
    for size, name in ((1, "b"), (2, "a")):
        circuit.add_register(ClassicalRegister(size, name))
    circuit.x(1)
    circuit.measure([0, 1, 2], [0, 1, 2])
    assert device.direct.counts([CircuitRuns.of(circuit, {})], 50, 1) == [[{"0x2": 50}]]


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        ("no_such_package.x:make", "No module named 'no_such_package'); install it, or put it on"),
        ("iqm.qiskit_iqm:make", "(No module named 'iqm'); say iqm: and python: in place of sam"),
        ("qrmi.primitives:make", "pip install 'pilotcut[qrmi]'"),
        (f"{__name__}:absent", "expected a function in that module; there is no such one"),
        (f"{__name__}:not_a_sampler", "a factory of a Qiskit BaseSamplerV2; it returned a int"),
        (f"{__name__}:needs_a_word", "a factory that takes the options word; it raised ValueError"),
        (f"{__name__}:leaves", "a factory that takes no options; it raised SystemExit"),
    ],
)
def test_a_sampler_that_cannot_be_opened_is_one_line_without_its_options_values(sampler, expected):
    options = {"word": "xyzzy"} if "word" in sampler else {}
    with pytest.raises(DescriptionError) as caught:
        sampler_of("q", QpuDescription(sampler=sampler, options=options))
    (line,) = caught.value.faults
    assert line.startswith(f"pilot 'q': backend.qpu.sampler is '{sampler}', expected ")
    assert expected in line
    assert "\n" not in line
    assert "xyzzy" not in line


@pytest.mark.parametrize("field", ["sampler", "like"])
def test_a_module_that_raises_when_it_is_imported_is_one_line(tmp_path, monkeypatch, field):
    (tmp_path / "raising_lab.py").write_text("raise ZeroDivisionError('xyzzy')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(DescriptionError) as caught:
        device_of("q", QpuDescription(**{field: "raising_lab:make"}))
    assert [*caught.value.faults] == [
        f"pilot 'q': backend.qpu.{field} is 'raising_lab:make', expected a module that can be "
        "imported; it raised ZeroDivisionError. `python -c 'import raising_lab'` shows where"
    ]


# qiskit-ibm-runtime, in its local mode.


@pytest.mark.parametrize("sampler", [pytest.param("Sampler", marks=successor), "SamplerV2"])
@pytest.mark.parametrize("mode", ["job", "session", "batch"])
def test_both_samplers_of_qiskit_ibm_runtime_run_fragments_in_every_mode(sampler, mode):
    backend = running(runtime={"backend": "FakeManilaV2", "mode": mode, "sampler": sampler})
    fragment, angles = small(), ANGLES[:, :1]
    values = measured(backend, fragment, angles, SHOTS, 3)
    error = backend._compiler.fit(fragment).error
    far = np.abs(values[0] - exact_tensor(fragment, angles[0]))
    assert far.max() < 2 * error + 5 / np.sqrt(SHOTS)
    opened = backend._device.direct.opened
    assert isinstance(opened, SamplerV2 if sampler == "SamplerV2" else Sampler)
    assert (opened.mode is None) == (mode == "job")


@successor
def test_the_successor_is_taken_where_the_client_has_it():
    device = device_of("q", QpuDescription(runtime={"backend": "FakeManilaV2"}))
    assert isinstance(device.direct.opened, Sampler)
    assert device.qubits == 5


def test_a_sampler_that_twirls_and_rounds_shots_up_gives_as_many_as_were_asked_for():
    # With gates alone the client's local mode leaves X out of most randomisations.
    twirling = {"enable_gates": True, "enable_measure": True}
    backend = running(runtime={"backend": "FakeManilaV2", "options": {"twirling": twirling}})
    circuit = QuantumCircuit(4, 4)
    circuit.x(1)
    circuit.measure(range(4), range(4))
    ((counts,),) = run(backend, circuit)
    assert sum(counts.values()) == 100
    assert counts["0x2"] > 70


def test_a_session_ends_with_its_sampler(monkeypatch):
    closed = []
    monkeypatch.setattr(Session, "close", lambda session: closed.append(session))
    qpu = QpuDescription(runtime={"backend": "FakeManilaV2", "mode": "session"})
    sampler = sampler_of("q", qpu)
    assert closed == []
    del sampler
    gc.collect()
    assert len(closed) == 1


def test_what_the_client_refuses_is_one_line():
    qpu = QpuDescription(runtime={"backend": "FakeManilaV2", "options": {"no_such": "xyzzy"}})
    with pytest.raises(DescriptionError) as caught:
        sampler_of("q", qpu)
    assert "runtime.options are the options no_such, expected what Sampler" in str(caught.value)
    assert "xyzzy" not in str(caught.value)
    with pytest.raises(DescriptionError) as caught:
        device_of("q", QpuDescription(runtime={"backend": "FakeManilla"}))
    assert "backend.qpu.runtime.backend is 'FakeManilla', expected a backend of" in str(
        caught.value
    )


def test_without_an_account_the_line_says_where_one_is_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QISKIT_IBM_TOKEN", raising=False)

    def none(**_):
        raise ValueError("secret words")

    monkeypatch.setattr(qiskit_ibm_runtime, "QiskitRuntimeService", none)
    with pytest.raises(DescriptionError) as caught:
        device_of("q", QpuDescription(runtime={"backend": "ibm_x", "instance": "i"}))
    assert str(caught.value) == (
        "pilot 'q': backend.qpu.runtime.backend is 'ibm_x', expected a backend of the account that "
        "qiskit-ibm-runtime has here (ValueError); keep that in "
        "QiskitRuntimeService.save_account(...), or QISKIT_IBM_TOKEN"
    )


def test_a_backend_of_ibm_s_which_no_longer_runs_circuits_gets_their_sampler():
    class Remote(GenericBackendV2):
        __module__ = "qiskit_ibm_runtime.ibm_backend"

    remote, local = Remote(2), GenericBackendV2(2)
    assert isinstance(sampler_for("q", remote), Sampler or SamplerV2)
    assert sampler_for("q", local) is local


def test_a_cut_circuit_runs_on_a_pilot_that_a_file_describes(tmp_path):
    file = tmp_path / "pilots.yaml"
    file.write_text(
        "pilots: [{name: ibm, resource: inprocess, backend: {qpu: {runtime: "
        "{backend: FakeManilaV2, mode: session, options: {default_shots: 77}}}}}]"
    )
    circuit = entangled([(0, 1)], 2)
    with PilotManager.from_yaml(file) as pilots, TaskManager(pilots) as tasks:
        assert "default_shots" not in repr(pilots.pilots[0].description)
        estimator = CutEstimator(tasks, cuts=1, mode="counts", shots=500, seed=1)
        result = estimator.run([(circuit, "ZZ")]).result()[0]
        exact = CutEstimator(cuts=0, mode="exact").run([(circuit, "ZZ")]).result()[0]
    assert abs(result.data.evs - exact.data.evs) < 0.15 + 5 * result.data.stds


def aer_with(word):
    return BackendSamplerV2(backend=ideal())


def test_values_of_options_are_in_no_record_of_a_run(tmp_path):
    file, runs = tmp_path / "pilots.yaml", tmp_path / "run"
    qpu = {"sampler": f"{__name__}:aer_with", "options": {"word": "xyzzy-word"}}
    pilot = {"name": "lab", "resource": "inprocess", "backend": {"qpu": qpu}}
    file.write_text(yaml.safe_dump({"pilots": [pilot]}))
    log = tmp_path / "queries.jsonl"
    with PilotManager.from_yaml(file, run_dir=runs) as pilots, TaskManager(pilots) as tasks:
        estimator = CutEstimator(tasks, cuts=1, mode="counts", shots=100, seed=1, trace=log)
        estimator.run([(entangled([(0, 1)], 2), "ZZ")]).result()
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert log in written
    assert {p.name for p in written if b"xyzzy-word" in p.read_bytes()} <= {"pilots.json"}


# Results that are not believed.


def test_counts_without_memory_are_read():
    fragment = middle()
    backend = running(like=f"{__name__}:counts_only", simulate=False)
    values = measured(backend, fragment, ANGLES, SHOTS, 3)
    assert np.abs(scores(values[0], exact_tensor(fragment, ANGLES[0]), SHOTS)).max() < 5


def counts_only():
    return CountsOnly(ideal())


def zeros():
    """Qiskit's sampler over a backend with counts alone: zeros of everything."""
    return BackendSamplerV2(backend=counts_only())


class Changed(BackendSamplerV2):
    """A sampler with results that something is wrong with."""

    def __init__(self, how):
        super().__init__(backend=ideal())
        self.how = how

    def run(self, pubs, *, shots=None):
        result = super().run(pubs, shots=shots).result()
        return SimpleNamespace(result=lambda: self.changed(result, pubs[0][0].cregs[0].name))

    def changed(self, result, name):
        if self.how == "failed":
            return {"status": "failed"}
        if self.how == "few":
            return [*result][:-1]
        if self.how == "numbers":
            return [1.0 for _ in result]
        found = []
        for one in result:
            bits = getattr(one.data, name)
            if self.how == "shots":
                bits = bits.slice_shots(range(bits.num_shots // 2))
            elif self.how == "wide":
                bits = BitArray.concatenate_bits([bits, bits])
            elif self.how == "reversed":
                bits = bits.slice_bits(range(bits.num_bits)[::-1])
            register = "meas" if self.how == "register" else name
            data = DataBin(**{register: bits}, shape=bits.shape)
            found.append(SimpleNamespace(data=data))
        return found


def changed(how):
    return Changed(how)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("failed", "is a dict, expected a PrimitiveResult"),
        ("few", "is 2 results, expected 3, one a circuit"),
        ("numbers", "is a float for a circuit, expected its data, with bits"),
        ("shots", "in 100 shots, shape (), expected 4 bits in 200 shots"),
        ("wide", "is 8 bits of 'first' in 200 shots"),
        ("register", "is registers meas, expected bits of 'first' among them"),
        ("reversed", "with X before it is measured reads 0 in 100% of the shots, expected about 0"),
    ],
)
def test_results_that_cannot_be_right_are_one_line_that_names_the_device(how, expected):
    backend = running(sampler=f"{__name__}:changed", options={"how": how})
    assert isinstance(backend._device.direct.opened, BaseSamplerV2)
    circuit = QuantumCircuit(4, 4)
    circuit.measure(range(4), range(4))
    with pytest.raises(DeviceError) as caught:
        run(backend, circuit)
    (line,) = caught.value.faults
    assert line.startswith("pilot 'q': ")
    assert expected in line
    assert "\n" not in line


def run(backend, circuit):
    return backend._device.direct.counts([CircuitRuns.of(circuit, {})], 100, 1)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (3, "is a int, expected a Result of Qiskit's"),
        ([3], "is a int for counts, expected a mapping"),
        ([{0: 200}], "is an outcome 0, expected 2 bits"),
        ([{"00": float("nan")}], "is a count of nan, expected a whole number from 0 up"),
        ([{"00": "200"}], "is a count of '200', expected a whole number from 0 up"),
        ([{"00": 205, "11": -5}], "is a count of -5, expected a whole number from 0 up"),
    ],
)
def test_counts_that_cannot_be_right_are_one_line_that_names_the_device(result, expected):
    given = SimpleNamespace(results=result, get_counts=lambda k: result[k])
    direct = running(like="FakeManilaV2", simulate=False)._device.direct
    with pytest.raises(DeviceError) as caught:
        direct._counted(given if isinstance(result, list) else result, [QuantumCircuit(2, 2)])
    (line,) = caught.value.faults
    assert line.startswith("pilot 'q': what its device returned ")
    assert expected in line


def test_a_sampler_that_makes_zeros_of_everything_is_refused_with_the_first_job():
    backend = running(sampler=f"{__name__}:zeros")
    for _ in range(2):
        with pytest.raises(DeviceError) as caught:
            measured(backend, middle(), ANGLES, SHOTS, 3)
        assert str(caught.value).startswith(
            "pilot 'q': its first job is not believed: qubit 0 with X before it is measured reads "
            "0 in 100% of the shots, expected about 0%; check its sampler"
        )


class Closed(BackendSamplerV2):
    """A sampler whose service refuses all."""

    def run(self, pubs, *, shots=None):
        raise RuntimeError("queue is closed at https://me:hunter2@example.org\nand more")


def closed(word):
    return Closed(backend=ideal())


def test_what_a_vendor_s_client_raises_is_one_line_without_credentials():
    backend = running(sampler=f"{__name__}:closed", options={"word": "w"})
    with pytest.raises(DeviceError) as caught:
        measured(backend, small(), ANGLES[:, :1], SHOTS, 3)
    assert str(caught.value) == (
        "pilot 'q': its device raised RuntimeError (queue is closed at https://...@example.org), "
        "expected a result; if its limits or its account are not the reason, leave the pilot out"
    )
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_garbage_for_circuits_with_parameters_is_not_paid_a_second_time():
    backend = running(sampler=f"{__name__}:recorded")
    device = backend._device.direct
    measured(backend, small(), ANGLES[:, :1], SHOTS, 3)
    device._binds, jobs = None, len(device.opened.jobs)
    device.opened.run = lambda pubs, shots=None: SimpleNamespace(result=lambda: jobs)
    with pytest.raises(DeviceError, match="is a int, expected a PrimitiveResult"):
        measured(backend, small(), ANGLES[:, :1], SHOTS, 4)

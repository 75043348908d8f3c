"""Descriptions of devices that run circuits themselves: faults are lines, and credentials none."""

import pickle

import pytest
import yaml
from pydantic import ValidationError

from pilotcut.errors import DescriptionError
from pilotcut.pilots.description import load_descriptions
from pilotcut.pilots.description.credentials import credentials_in
from pilotcut.pilots.description.qpu import QpuDescription

SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    "options",
    [
        {"token": SECRET},
        {"apiKey": SECRET},
        {"api_key": SECRET},
        {"client_secret": SECRET},
        {"Authorization": SECRET},
        {"channel": {"iam_token": SECRET}},
        {"servers": [{"name": "a"}, {"password": SECRET}]},
        {"url": f"https://me:{SECRET}@example.org"},
        {"aws_secret_access_key": SECRET},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("runtime", [False, True])
def test_credentials_are_refused_and_never_shown(tmp_path, options, runtime):
    fields = {"sampler": "iqm.qiskit_iqm:make", "options": options}
    if runtime:
        fields = {"runtime": {"backend": "ibm_x", "options": options}}
    file = tmp_path / "pilots.yaml"
    pilot = {"name": "q", "resource": "inprocess", "backend": {"qpu": fields}}
    file.write_text(yaml.safe_dump({"pilots": [pilot]}))
    with pytest.raises(DescriptionError) as caught:
        load_descriptions(file)
    (line,) = caught.value.faults
    assert "looks like a credential, expected none in a description; keep it in " in line
    assert ("save_account" if runtime else "IQM_TOKEN") in line
    with pytest.raises(ValidationError) as invalid:
        QpuDescription(**fields)
    assert SECRET not in str(caught.value) + str(invalid.value)


def test_ordinary_options_are_no_credentials():
    names = ("shots", "monkey", "keyboard", "default_shots", "author", "key", "registry_key")
    assert list(credentials_in(dict.fromkeys(names, "x"))) == []


@pytest.mark.parametrize(
    ("qpu", "expected"),
    [
        ("{sampler: 'm', like: FakeManilaV2}", "sampler is 'm', expected module:factory of a Q"),
        ("{sampler: 'm:f', simulate: false}", "expected no simulate beside sampler"),
        ("{sampler: 'm:f', qubits: 3}", "expected infidelity_1q, infidelity_2q, t1_us, t2_us too"),
        ("{like: FakeManilaV2, options: {a: 1}}", "expected sampler: module:factory beside opti"),
        ("{runtime: {backend: ibm_x}, like: FakeManilaV2}", "expected no like beside runtime"),
        ("{runtime: {mode: job}}", "runtime.backend is missing, expected a backend's name"),
        ("{runtime: {backend: ibm_x, mode: jobs}}", "did you mean 'job'?"),
        ("{runtime: {backend: ibm_x, tokn: 3}}", "runtime.tokn is an unknown key"),
        ("{runtime: {backend: ibm_x, options: 3}}", "runtime.options is 3, expected a mapping"),
        (
            "{runtime: {backend: ibm_x, options: {simulator: {seed_simulator: 3}}}}",
            "expected no simulator.seed_simulator: each circuit would draw the same shots",
        ),
        ("{runtime: ibm_x}", "runtime is 'ibm_x', expected a mapping such as {backend: ibm_fez"),
        ("{runtime: {token: hunter2}, options: 3}", "options is 3, expected a mapping"),
        ("{iqm: {}}", "iqm is {}, expected a mapping with backend: NAME"),
        ("{iqm: {backend: 3}}", "iqm.backend is 3, expected a backend's name"),
        ("{aqt: {backend: x, shots: 3}}", "aqt.shots is an unknown key"),
        ("{braket: {backend: x}, like: FakeManilaV2}", "expected no like beside braket"),
        ("{qrmi: {}, python: p}", "expected no python beside qrmi"),
        ("{iqm: {backend: x}, aqt: {backend: x}}", "expected no aqt beside iqm"),
        ("{like: FakeManilaV2, python: p}", "expected python: beside iqm, aqt, braket, or like:"),
        ("{like: FakeManilaV2, mid_circuit: 1}", "mid_circuit is 1, expected true or false"),
        ("{iqm: {backend: x, options: {token: hunter2}}}", "iqm.options.token looks like a cred"),
    ],
)
def test_faults_of_a_sampler_s_description_are_lines(tmp_path, qpu, expected):
    file = tmp_path / "pilots.yaml"
    file.write_text(f"pilots: [{{name: q, resource: inprocess, backend: {{qpu: {qpu}}}}}]")
    with pytest.raises(DescriptionError) as caught:
        load_descriptions(file)
    assert any(expected in fault for fault in caught.value.faults), caught.value.faults
    assert "hunter2" not in str(caught.value)


def test_a_description_with_options_travels_is_a_key_and_shows_none_of_them():
    qpu = QpuDescription(sampler="m:f", options={"word": ["xyzzy", {"a": 1}]})
    again = QpuDescription.model_validate_json(qpu.model_dump_json(exclude_unset=True))
    assert {qpu: 1}[again] == 1
    assert pickle.loads(pickle.dumps(qpu)) == qpu
    assert qpu != QpuDescription(sampler="m:f", options={"word": "y"})
    assert "xyzzy" not in repr(qpu) + str(qpu)

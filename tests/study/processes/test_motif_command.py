"""The command `pilotcut motif`, with pilots of its own."""

import json


def test_a_motif_says_what_it_found_and_leaves_a_run_directory(call, tmp_path, monkeypatch):
    from pilotcut.study.motifs import circuit_execution

    monkeypatch.setattr(circuit_execution, "SMALL", {"circuits": 40, "widest": 6})
    run = tmp_path / "run"
    code, out, err = call("motif", "circuits", "--out", run, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["right"]
    assert found["found"].startswith("40 circuits of 2 to 6 qubits")
    assert 0 < found["efficiency"] <= 1
    assert json.loads((run / "motif.json").read_text()) == found
    code, _, err = call("report", run, "--out", tmp_path / "page.html")
    assert code == 0, err


def test_without_a_name_all_are_listed_and_mistakes_make_no_directory(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = call("motif")
    assert code == 0
    assert "C.3 synchronous parallel" in out
    for wrong in (["qaoa"], ["circuits", "--size", "huge"], ["circuits", "--pilots", "no.yaml"]):
        code, out, err = call("motif", *wrong)
        assert (code, out) == (2, "")
        assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())

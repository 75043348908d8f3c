"""The command `pilotcut motif`, with pilots of its own."""

import json
import subprocess
import sys
import time

from pilotcut.study.motifs import pipeline


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


def test_a_run_that_was_killed_goes_on_with_what_it_has_stored(call, tmp_path, monkeypatch):
    size = {"images": 180, "side": 8, "layers": 3, "shots": 4096}
    run = tmp_path / "run"
    script = (
        "import sys; from pilotcut import cli; from pilotcut.study.motifs import pipeline\n"
        f"pipeline.SMALL = {size}\n"
        f"sys.argv = ['pilotcut', 'motif', 'pipeline', '--out', {str(run)!r}]\n"
        "cli.main()\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE)
    try:
        stored = wait_for(lambda: len(list((run / "results").glob("*.result"))), at_least=4)
    finally:
        killed.kill()
        killed.communicate()
    monkeypatch.setattr(pipeline, "SMALL", size)
    code, out, err = call("motif", "pipeline", "--out", run, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["stored"] >= stored
    assert found["stored"] + found["tasks"] == 3 * 12 + 1
    assert found["measures"]["images_per_s"] is None


def wait_for(number, *, at_least):
    """Wait until a number is large enough; return it."""
    for _ in range(15_000):
        if (found := number()) >= at_least:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{found} after five minutes")


def test_a_directory_of_something_else_is_left_alone(call, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    other.chmod(0o755)
    (other / "config.yaml").touch()
    code, out, err = call("motif", "curve", "--out", other)
    assert (code, out) == (2, "")
    assert "holds 'config.yaml' and no motif, expected a new or empty one" in err
    assert other.stat().st_mode & 0o777 == 0o755
    (other / "config.yaml").unlink()
    (other / "motif.json").write_text('{"motif": "circuits", "size": "large"}')
    code, out, err = call("motif", "curve", "--out", other)
    assert (code, out) == (2, "")
    assert "holds motif 'circuits' at size 'large', expected 'curve' at size 'small'" in err


def test_the_list_is_json_where_that_is_asked_for(call, tmp_path):
    code, out, _ = call("motif", "--json")
    assert (code, json.loads(out)["curve"][:3]) == (0, "C.3")
    code, out, err = call("motif", "--out", tmp_path / "run")
    assert (code, out) == (2, "")
    assert err.startswith("error: name is left out, expected one of circuits")

"""The study: its cells, what it makes of their results, and that nothing is lost or repeated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.studies import TINY

from pilotcut.errors import RunDirectoryError, UserError
from pilotcut.io.directory_lock import locked
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.report.read import read_run
from pilotcut.study import accuracy as rq4
from pilotcut.study import baseline, reconstruction_share, straggler_policies, training_time
from pilotcut.study.cells import Cell, StudyDirectory
from pilotcut.study.findings import CellResult, Table
from pilotcut.study.pilots import StudyPilots, scaled, steps_to
from pilotcut.study.profiles import FULL, QUICK, profile_of
from pilotcut.study.run import TIMED, StudyRequest, cells_of, conclude, measure
from pilotcut.study.tables import markdown, save_csv
from pilotcut.study.trend import trend

# -- trend ------------------------------------------------------------------------


@given(
    slope=st.floats(-3, 3),
    levels=st.lists(st.floats(-5, 5), min_size=2, max_size=4),
)
def test_a_line_has_its_slope_whatever_the_level_of_each_block(slope, levels):
    x = [0, 1, 2, 3] * len(levels)
    blocks = [k for k in range(len(levels)) for _ in range(4)]
    y = [levels[b] + slope * c for c, b in zip(x, blocks, strict=True)]
    found = trend(x, y, blocks)
    assert found is not None
    assert found.slope == pytest.approx(slope, abs=1e-9)


def test_a_trend_is_claimed_in_five_percent_of_cases_where_there_is_none():
    draw = np.random.default_rng(3)
    x, blocks = [0, 1, 2, 3] * 5, np.repeat(range(5), 4)
    claims = [trend(x, draw.normal(size=20), blocks).exists for _ in range(1000)]
    assert 0.03 < np.mean(claims) < 0.07


def test_the_interval_of_a_slope_holds_the_true_one_in_95_percent_of_cases():
    draw = np.random.default_rng(4)
    x, blocks = np.array([0, 1, 2, 3] * 3), np.repeat(range(3), 4)
    found = [trend(x, 0.3 * x + blocks + draw.normal(size=12), blocks) for _ in range(1000)]
    assert 0.93 < np.mean([f.low < 0.3 < f.high for f in found]) < 0.97


def test_too_few_points_have_no_trend():
    assert trend([0, 1], [1, 2], [0, 0]) is None
    assert trend([1, 1, 1], [1, 2, 3], [0, 0, 0]) is None


# -- pilots -----------------------------------------------------------------------


def test_numbers_of_workers_double_up_to_all():
    assert [steps_to(n) for n in (1, 2, 3, 8)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8]]


@given(
    nodes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    each=st.integers(1, 4),
    data=st.data(),
)
def test_scaled_pilots_have_just_the_workers_asked_for(nodes, each, data):
    pilots = [
        PilotDescription(name=f"p{k}", resource="slurm", nodes=n, workers_per_node=each)
        for k, n in enumerate(nodes)
    ]
    wanted = data.draw(st.integers(1, sum(p.slots for p in pilots)))
    found = scaled(pilots, wanted)
    assert sum(p.slots for p in found) == wanted
    assert len({p.name for p in found}) == len(found)
    assert all(p == PilotDescription(**p.model_dump(exclude_unset=False)) for p in found)


def test_mpi_pilots_alone_are_no_place_for_a_study():
    mpi = PilotDescription(name="mpi", resource="local", ranks=2)
    with pytest.raises(UserError, match="only MPI ranks"):
        StudyPilots([mpi], Path("nowhere"))


# -- cells ------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [QUICK, FULL, TINY])
def test_every_cell_of_a_profile_has_a_name_of_its_own(profile):
    groups = cells_of(StudyRequest(["rq1", "rq2", "rq3", "rq4", "rq5"], profile, embedded(2), True))
    names = [(c.question, c.name) for cells in groups.values() for c in cells]
    assert len(set(names)) == len(names)


def test_the_full_profile_has_five_seeds_and_the_reps_qubits_and_classes_of_the_plan():
    assert len(FULL.seeds) >= 5
    extensions = [c.settings for c in rq4.cells(FULL) if c.settings["kind"] != rq4.CURVE]
    assert {s["reps"] for s in extensions if s["kind"] == "reps"} == {1, 2, 3, 4}
    assert {s["qubits"] for s in extensions if s["kind"] == "qubits"} == {6, 8, 12}
    classes = {(s["dataset"], s["classes"]) for s in extensions if s["kind"] == "classes"}
    assert classes == {("iris", 3), ("digits", 4)}


def test_robustness_alone_trains_the_networks_that_it_needs():
    groups = cells_of(StudyRequest(["rq5"], TINY, embedded(1)))
    assert list(groups) == ["rq4", "rq5"]
    assert {c.name for c in groups["rq4"]} == {c.name for c in groups["rq5"]}


def test_a_result_is_read_back_and_a_torn_one_is_measured_again(tmp_path):
    study, cell = StudyDirectory(tmp_path), Cell("rq1", "one", {"cuts": 1, "list": (1, 2)})
    assert study.result(cell) is None
    study.save(cell, {"s": 0.5})
    assert study.result(cell)["s"] == 0.5
    text = study.place(cell).read_text()
    study.place(cell).write_text(text[: len(text) // 2])
    assert study.missing([cell]) == [cell]


def test_a_result_of_other_settings_is_refused_and_not_taken(tmp_path):
    study = StudyDirectory(tmp_path)
    study.save(Cell("rq1", "one", {"cuts": 1}), {})
    with pytest.raises(RunDirectoryError, match="was measured with"):
        study.result(Cell("rq1", "one", {"cuts": 2}))


def test_a_result_without_its_values_is_measured_again_or_refused_in_words(tmp_path):
    study, cell = StudyDirectory(tmp_path), Cell("rq1", "one", {"cuts": 1})
    study.save(cell, {})
    with pytest.raises(UserError, match=r"with \{'cuts': 1\} holds no 'epoch_s', expected"):
        study.result(cell)["epoch_s"]
    study.place(cell).write_text('{"settings": {"cuts": 1}, "values": null}')
    assert study.missing([cell]) == [cell]


def test_a_study_is_not_continued_with_another_profile_or_other_pilots(tmp_path):
    study = StudyDirectory(tmp_path / "out")
    study.open(StudyRequest(["rq1"], TINY, embedded(1)).settings)
    study.open(StudyRequest(["rq2"], TINY, embedded(1)).settings)  # another question may join
    with pytest.raises(RunDirectoryError, match="profile is 'quick'"):
        study.open(StudyRequest(["rq1"], QUICK, embedded(1)).settings)
    with pytest.raises(RunDirectoryError, match="pilots differ"):
        study.open(StudyRequest(["rq1"], TINY, embedded(2)).settings)


def test_two_processes_do_not_measure_one_study(tmp_path):
    with locked(tmp_path), pytest.raises(RunDirectoryError, match="another process"):
        measure(StudyRequest(["rq1"], TINY, embedded(1)), StudyDirectory(tmp_path))
    with locked(tmp_path):
        pass  # the lock went with the first


@pytest.mark.parametrize("left", ["study.json.123.tmp", "study.json"])
def test_what_a_kill_left_of_the_first_file_does_not_stand_in_the_way(tmp_path, left):
    (tmp_path / left).write_text('{"profile": "ti')
    request = StudyRequest(["rq1"], TINY, embedded(1))
    StudyDirectory(tmp_path).open(request.settings)
    assert json.loads((tmp_path / "study.json").read_text()) == request.settings


def test_a_report_of_a_study_names_its_own_page(tmp_path):
    StudyDirectory(tmp_path).open(StudyRequest(["rq1"], TINY, embedded(1)).settings)
    with pytest.raises(RunDirectoryError, match=r"open report\.html in it"):
        read_run(tmp_path)


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunDirectoryError, match="holds something else"):
        StudyDirectory(tmp_path).open({})


def test_an_unknown_profile_is_named_with_the_next_best():
    with pytest.raises(UserError, match="did you mean 'quick'"):
        profile_of("quik")


# -- findings ---------------------------------------------------------------------


def _trainings(times: dict[tuple[str, int], list[float]], circuits: dict[int, int]):
    return [
        CellResult(
            {"dataset": "iris", "mode": mode, "cuts": cuts, "seed": 0},
            {
                "epoch_s": seconds,
                "circuits": circuits[cuts],
                "fragments": cuts + 1,
                "variants": 5,
                "training_samples": 48,
                "test_samples": 12,
                "weights": 8,
            },
        )
        for (mode, cuts), seconds in times.items()
    ]


def test_training_time_is_judged_by_the_ratio_of_circuits():
    times = {
        ("counts", 0): [1.0, 1.2, 1.1],
        ("counts", 3): [11.0, 9.9, 12.0],
        ("exact", 0): [1.0],
        ("exact", 3): [1.6],
    }
    found = training_time.findings(_trainings(times, {0: 10, 3: 200}), [])
    assert [v.met for v in found.verdicts] == [True, False]
    assert "10.0 times as long" in found.answer
    assert "20.0 times as many" in found.answer
    assert "the uncut circuit is the faster one" in found.answer
    quick = training_time.findings(_trainings(times | {("exact", 3): [0.8]}, {0: 10, 3: 200}), [])
    assert "faster" not in quick.answer
    slow = training_time.findings(_trainings(times, {0: 10, 3: 90}), [])
    assert not slow.verdicts[0].met


def test_an_epoch_of_the_addon_is_its_counted_queries_times_a_measured_one():
    (training,) = _trainings({("counts", 2): [1.0]}, {2: 1})
    addon = [CellResult({"cuts": 2}, {"query_s": [2.0, 3.0, 4.0], "reconstruction_share": [0.2]})]
    assert baseline.epoch_s(addon, training) == 3.0 * (48 * (1 + 2 * 8) + 12)
    assert baseline.epoch_s([], training) is None


def test_speed_up_compares_workers_within_a_round():
    def batch(workers, number, seconds, share):
        return CellResult(
            {"cuts": 1, "workers": workers, "round": number, "batch_size": 16},
            {"wall_s": [seconds], "shares": [share], "waits": [0.0]},
        )

    results = [
        batch(1, 0, 4.0, 0.03),
        batch(2, 0, 2.0, 0.02),
        batch(1, 1, 8.0, 0.08),
        batch(2, 1, 4.0, 0.04),
    ]
    found = reconstruction_share.findings(results, [])
    row = dict(zip(found.tables[0].columns, found.tables[0].rows[1], strict=True))
    assert (row["workers"], row["speed-up"]) == (2, 2.0)
    assert row["published"] == 0.43
    assert not found.verdicts[0].met  # 5.5 % with one worker
    assert "3.0%" in found.answer


def _delayed(policy, probability, duplicates, number, span_s):
    record = {
        "policy": policy,
        "probability": probability,
        "duplicates": duplicates,
        "seed": number,
        "delay_s": 0.1,
        "device_s": 0.02,
        "mode": "sampled",
        "qubits": 4,
        "cuts": 2,
        "rows": 16,
        "shots": 64,
        "slots": 6,
        "batches": 1,
        "tasks": 12,
        "task_s": 0.02,
        "delayed": round(12 * probability),
        "duplicated": 0,
        "won": 0,
        "wall_s": [span_s],
        "span_s": [span_s],
    }
    return CellResult({}, record)


def test_stragglers_are_judged_by_what_duplicates_remove_of_the_excess():
    def cells(policy, with_duplicates):
        times = {
            (0.0, False): 0.1,
            (0.0, True): 0.1,
            (0.25, False): 0.4,
            (0.25, True): with_duplicates,
        }
        return [_delayed(policy, *key, n, s) for n in range(4) for key, s in times.items()]

    # The bound as drawn is 1 + 3 x 0.1 / (12 x 0.02) = 2.25, the excess 4 - 2.25.
    found = straggler_policies.findings(cells("eager", 0.3) + cells("cost-aware", 0.35))
    met = {v.claim.split(",")[0]: (v.met, v.measured.split()[0]) for v in found.verdicts}
    assert met == {
        "all policies": (False, "43%"),
        "eager": (True, "57%"),
        "cost-aware": (False, "29%"),
    }
    assert "bound is 2.25" in found.answer
    unpaired = [r for r in cells("eager", 0.3) if r["probability"] > 0]
    assert "Not answered yet" in straggler_policies.findings(unpaired).answer


def _curve(dataset, cuts, seed, accuracy):
    values = {"accuracy": [0.5, accuracy], "loss": [1.0, 0.5], "epoch_s": [1.0, 1.0]}
    chosen = {"kind": rq4.CURVE, "dataset": dataset, "cuts": cuts, "seed": seed}
    return CellResult(chosen, values | {"test_samples": 20})


def test_iris_must_be_the_same_at_all_cuts_and_digits_without_a_trend():
    same = [_curve("iris", c, s, 0.9 + 0.05 * s) for c in range(4) for s in range(2)]
    falling = [_curve("digits", c, s, 1 - 0.1 * c + 0.01 * s) for c in range(4) for s in range(2)]
    met = [(v.claim.split(":")[0], v.met) for v in rq4.findings(same + falling).verdicts]
    assert met == [("iris", True), ("iris", True), ("digits", False)]
    one_off = [*same[:-1], _curve("iris", 3, 1, 0.9)]
    assert not rq4.findings(one_off).verdicts[0].met


def test_a_report_keeps_what_was_answered_before_another_question_joined(tmp_path):
    study = StudyDirectory(tmp_path)
    before, now = (StudyRequest([q], TINY, embedded(1)) for q in ("rq2", "rq1"))
    batches = {"wall_s": [1.0], "shares": [0.02], "waits": [0.0]}
    cells = cells_of(before)["rq2"]
    for cell in cells:
        study.save(cell, batches)
    assert [one.question for one in conclude(now, study)] == ["rq1"]
    assert "## RQ2" in (tmp_path / "report.md").read_text()
    study.place(cells[0]).unlink()
    conclude(now, study)
    assert "## RQ2" not in (tmp_path / "report.md").read_text()


def test_findings_of_nothing_say_so_and_do_not_fail(tmp_path):
    request = StudyRequest(["rq1", "rq2", "rq3", "rq4", "rq5"], TINY, embedded(1))
    found = conclude(request, StudyDirectory(tmp_path))
    assert all("Not answered yet" in one.answer and one.missing for one in found)
    assert "Not answered yet" in (tmp_path / "report.md").read_text()


def test_tables_keep_full_numbers_for_programs_and_round_for_people(tmp_path):
    table = Table("t", "T", ["a|b", "n"], [["x", 1 / 3], ["y", None]], {"n": ".2f"})
    save_csv(table, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        assert list(csv.reader(file)) == [["a|b", "n"], ["x", str(1 / 3)], ["y", ""]]
    assert "| x | 0.33 |" in markdown(table)
    assert "a\\|b" in markdown(table)


# -- the addon --------------------------------------------------------------------


def test_the_baseline_estimates_the_same_value_as_the_uncut_circuit():
    from qiskit.quantum_info import Pauli, Statevector

    from pilotcut.training.model import classifier

    circuit = classifier(3).circuit
    values = np.random.default_rng(2).uniform(0, 1.5, circuit.num_parameters)
    exact = Statevector(circuit.assign_parameters(values)).expectation_value(Pauli("ZZZ")).real
    cut, stages, _ = baseline.addon_query(circuit, values, ["ZZZ"], "AAB", 4000, 1)
    whole, _, _ = baseline.uncut_query(circuit, values, ["ZZZ"], 4000, 1)
    assert cut[0] == pytest.approx(exact, abs=0.2)
    assert whole[0] == pytest.approx(exact, abs=0.06)
    assert set(stages) == {"generate", "execute", "reconstruct"}


# -- the whole --------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_writes_a_table_and_a_picture_for_every_question(tmp_path):
    request = StudyRequest(["rq1", "rq2", "rq4", "rq5"], TINY, embedded(1), addon=True)
    study = StudyDirectory(tmp_path)
    assert measure(request, study) == []
    found = conclude(request, study)
    for one in found:
        assert not one.missing
        assert "Not answered" not in one.answer
        for table in one.tables:
            assert (tmp_path / one.question / f"{table.name}.csv").stat().st_size
            assert (tmp_path / one.question / f"{table.name}.md").stat().st_size
        assert one.plots
        for plot in one.plots:
            assert (tmp_path / one.question / f"{plot.name}.png").stat().st_size > 5000
    page = (tmp_path / "report.html").read_text()
    assert all(one.answer.split(";")[0][:40] in page for one in found)
    traces = list(tmp_path.glob("rq1/*/trace.jsonl")) + list(tmp_path.glob("rq4/*/trace.jsonl"))
    assert len(traces) == len(training_time.cells(TINY)) + len(rq4.cells(TINY))


def test_a_cell_that_fails_is_named_and_the_others_are_measured(tmp_path, monkeypatch):
    def fail(cell, study, pilots):
        if cell.settings["cuts"] == 1:
            raise UserError("no such luck")
        return {}

    monkeypatch.setitem(TIMED, "rq1", fail)
    request = StudyRequest(["rq1"], TINY, embedded(1))
    failures = measure(request, StudyDirectory(tmp_path))
    assert {f.cell.settings["cuts"] for f in failures} == {1}
    assert {f.reason for f in failures} == {"no such luck"}
    left = StudyDirectory(tmp_path).missing(training_time.cells(TINY))
    assert {cell.settings["cuts"] for cell in left} == {1}


def test_noise_and_attacks_of_no_size_change_nothing():
    import torch

    from pilotcut.training.robustness import fgsm, gaussian_noise

    x = torch.rand(5, 3)
    network = torch.nn.Linear(3, 1)
    y = torch.ones(5, 1)
    loss = torch.nn.functional.mse_loss
    assert torch.equal(gaussian_noise(x, 0.0, torch.Generator(), (0, 1)), x)
    assert torch.equal(fgsm(network, loss, x, y, 0.0, (0, 1)), x)


@settings(max_examples=20, deadline=None)
@given(size=st.floats(0.01, 2), seed=st.integers(0, 99))
def test_perturbed_inputs_stay_in_range_and_an_attack_raises_the_loss(size, seed):
    import torch

    from pilotcut.training.robustness import fgsm, gaussian_noise

    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(6, 3, generator=generator)
    y = torch.randn(6, 1, generator=generator)
    network, loss = torch.nn.Linear(3, 1), torch.nn.functional.mse_loss
    noisy = gaussian_noise(x, size, generator, (0, 1))
    attacked = fgsm(network, loss, x, y, size, (0, 1))
    for moved in (noisy, attacked):
        assert moved.min() >= 0
        assert moved.max() <= 1
    # The loss is convex in x: a step along its gradient's signs can only raise it, and
    # clipping only shortens the step of single features.
    assert loss(network(attacked), y) >= loss(network(x), y) - 1e-6
    assert network.weight.grad is None

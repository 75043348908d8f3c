"""Recommendations for pilots, in words and in an estimator."""

import json
from dataclasses import replace
from math import inf

import numpy as np
import pytest
from support.calibrations import SMALL, fault, install, made_up

from pilotcut import CutEstimator
from pilotcut.errors import DrawingError, UserError
from pilotcut.perfmodel import calibrate
from pilotcut.perfmodel.calibration_files import path_of, save
from pilotcut.perfmodel.known_pilots import descriptions_of
from pilotcut.perfmodel.recommend import recommend
from pilotcut.perfmodel.sample_circuits import network
from pilotcut.pilots import PilotManager
from pilotcut.pilots.description import PilotDescription, embedded
from pilotcut.report.recommendation_plot import draw_recommendation
from pilotcut.tasks import TaskManager

pytestmark = pytest.mark.usefixtures("known_pilots")

# -- pilots ----------------------------------------------------------------------------


def test_pilots_of_different_kinds_share_the_work():
    """A slow pilot beside a fast one: between the two alone, with the slots of both."""
    fast = PilotDescription(name="fast", resource="slurm", cores_per_node=2)
    slow = PilotDescription(name="slow", resource="slurm", cores_per_node=2, queue="old")
    install(fast, modes=("counts",))
    install(slow, modes=("counts",), factor=4.0)
    each = [recommend(network(8), pilots=[p], queries=10**5).chosen.seconds for p in (fast, slow)]
    both = recommend(network(8), pilots=[fast, slow], queries=10**5)
    assert each[0] < each[1]
    assert both.forecaster.slots == 4
    assert both.chosen.seconds < each[1]
    assert both.pilots == ("fast", "slow")


def test_mpi_pilots_take_no_circuits():
    """They count neither as slots nor in memory, and alone they are not enough."""
    mpi = PilotDescription(name="mpi", resource="local", ranks=4)
    assert [p.name for p in descriptions_of([mpi, SMALL])] == ["small"]
    with pytest.raises(UserError, match="'mpi' has 4 ranks") as error:
        recommend(network(4), pilots=[mpi])
    fault(error)


@pytest.mark.parametrize("pilots", [[], [None], 3, ["small"]], ids=str)
def test_pilots_that_are_none_are_one_line(pilots):
    with pytest.raises(UserError, match=r"^pilots: ") as error:
        recommend(network(4), pilots=pilots)
    fault(error)


def test_every_kind_without_a_calibration_is_named_once(tmp_path):
    """Two entries, one of them with two pilots: two lines."""
    file = tmp_path / "pilots.yaml"
    file.write_text(
        "pilots:\n- {name: new, resource: slurm, nodes: 3, count: 2}\n"
        "- {name: newer, resource: slurm, gpus_per_node: 1, backend: {device: GPU}}\n"
    )
    with pytest.raises(UserError) as error:
        recommend(network(4), pilots=file)
    assert [line.split(" has no")[0] for line in error.value.faults] == [
        "pilot 'new'",
        "pilot 'newer'",
    ]


def test_a_slurm_description_is_enough_without_any_slurm(tmp_path):
    """With count 2 there are two pilots, and their slots add up."""
    file = tmp_path / "pilots.yaml"
    file.write_text("pilots: [{name: far, resource: slurm, cores_per_node: 8, count: 2}]\n")
    install(descriptions_of(file)[0], modes=("counts",))
    found = recommend(network(4), pilots=file)
    assert found.pilots == ("far-0", "far-1")
    assert found.forecaster.slots == 16


def test_a_calibration_of_another_machine_is_not_used():
    local = PilotDescription(name="copied", resource="local")
    save(replace(made_up(local), machine="Their CPU, Linux x86_64"), path_of(local))
    with pytest.raises(UserError) as error:
        recommend(network(4), pilots=[local])
    assert "was made on Their CPU, Linux x86_64, here is " in fault(error)


# -- what it looks like ----------------------------------------------------------------


def test_json_has_no_infinite_numbers():
    """Neither for candidates that are not built, nor for an overhead beyond all numbers."""
    found = recommend(network(36), max_cuts=2)
    wild = replace(found.lines[0], overhead=inf, prediction=None, work=None)
    for line in (*found.lines, wild):
        json.dumps(line.to_dict(), allow_nan=False)
    assert wild.to_dict()["sampling_overhead"] is None
    assert json.loads(json.dumps(found.to_dict()))["chosen"]["cuts"] == found.chosen.cuts


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_drawing_shows_every_candidate(tmp_path, suffix):
    found = recommend(network(36), max_cuts=2)
    path = draw_recommendation(found, tmp_path / f"plot{suffix}")
    assert path.stat().st_size > 1000
    with pytest.raises(DrawingError, match="suffix"):
        draw_recommendation(found, tmp_path / "plot.gif")


# -- in an estimator -------------------------------------------------------------------


def batches(estimator):
    return [r for r in estimator.trace.records if r["kind"] == "query_batch"]


@pytest.mark.parametrize("mode", ["counts", "sampled", "exact"])
def test_an_estimator_takes_the_recommended_plan(mode):
    """Its trace has the choice, and beside each batch what was predicted of it."""
    circuit = network(4)
    estimator = CutEstimator(cuts="auto", max_width=3, mode=mode, shots=64, seed=1)
    estimator.run([(circuit, "ZZZZ", np.ones((3, 16)))]).result()
    kinds = [record["kind"] for record in estimator.trace.records]
    assert kinds == ["recommendation", "compile", "query_batch"]
    assert estimator.recommendation.chosen.cuts == estimator.trace.records[1]["cuts"] >= 1
    (record,) = batches(estimator)
    assert 0 < record["predicted_s"] < 100
    assert record["work"]["calls"]
    for line in estimator.trace.records:
        json.dumps(line, allow_nan=False, default=lambda value: np.asarray(value).tolist())


def test_rounds_of_other_shots_are_predicted_with_these():
    """A precision takes a round of 256 shots and one of many more; both are foreseen so."""
    circuit = network(3)
    estimator = CutEstimator(cuts="auto", seed=1)
    estimator.run([(circuit, "ZZZ", np.ones(12))], precision=0.003).result()
    pilot, rest = batches(estimator)
    assert rest["shots"] > 4 * pilot["shots"]
    assert rest["predicted_s"] > 1.5 * pilot["predicted_s"]


@pytest.mark.parametrize("where", ["here", "pilots", "kinds"])
def test_what_was_never_measured_is_measured_first(monkeypatch, tmp_path, where):
    """Through running pilots if these are all of one kind, and each kind by itself otherwise."""
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path))
    measured = []

    def alone(pilot, modes, budget_s):
        measured.append(("alone", pilot and pilot.name, modes))
        return made_up(pilot, modes=tuple(modes))

    def through(tasks, pilot, modes, budget_s):
        measured.append(("through", pilot.name, modes))
        return made_up(pilot, modes=tuple(modes))

    monkeypatch.setattr(calibrate, "measure", alone)
    monkeypatch.setattr(calibrate, "measure_through", through)
    one, other = embedded()[0], PilotDescription(name="two", resource="inprocess", cores_per_node=2)
    pub = (network(2), "ZZ", np.zeros(8))
    for _ in range(2):  # and the second time it is known
        if where == "here":
            CutEstimator(cuts="auto", mode="exact").run([pub]).result()
            continue
        with (
            PilotManager([one] if where == "pilots" else [one, other]) as manager,
            TaskManager(manager) as tasks,
        ):
            CutEstimator(tasks, cuts="auto", mode="exact").run([pub]).result()
    assert (
        measured
        == {
            "here": [("alone", None, ["exact"])],
            "pilots": [("through", "here", ["exact"])],
            "kinds": [("alone", "here", ["exact"]), ("alone", "two", ["exact"])],
        }[where]
    )


def test_automatic_cuts_go_with_a_store(tmp_path):
    """What is kept of a batch is what a plain estimator keeps."""
    estimator = CutEstimator(cuts="auto", store=tmp_path / "kept", shots=16, seed=1)
    estimator.run([(network(2), "ZZ", np.zeros(8))]).result()
    assert any((tmp_path / "kept").iterdir())


def test_an_estimator_runs_on_pilots_that_were_measured():
    """In-process pilots through a task manager; the prediction is for their slots."""
    pilots = embedded(workers=2)
    install(pilots[0])
    with PilotManager(pilots) as manager, TaskManager(manager) as tasks:
        estimator = CutEstimator(tasks, cuts="auto", mode="exact")
        value = estimator.run([(network(3), "ZZZ", np.zeros(12))]).result()[0].data.evs
    assert value == pytest.approx(1.0)
    assert estimator.recommendation.forecaster.slots == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cuts": "autos"}, "cuts is 'autos', expected a whole number from 0, or 'auto'"),
        ({"cuts": True}, "cuts is True, expected a whole number"),
        ({"auto": {}}, "auto is given and cuts is None"),
        ({"cuts": 2, "auto": {"max_cuts": 3}}, "auto is given and cuts is 2"),
        ({"cuts": "auto", "labels": "AB"}, "are given together"),
        ({"cuts": "auto", "auto": {"mode": "exact"}}, "auto has 'mode'"),
        ({"cuts": "auto", "auto": {"shots": 3}}, "auto has 'shots'"),
        ({"cuts": "auto", "num_samples": 100}, "cuts is 'auto' with num_samples=100"),
        ({"cuts": "auto", "auto": {"bogus": 1}}, "auto has 'bogus', expected some of max_cuts"),
        ({"cuts": "auto", "auto": {"max_cuts": -2}}, "max_cuts is -2"),
        ({"cuts": "auto", "max_width": 0}, "max_width is 0"),
    ],
    ids=str,
)
def test_estimator_options_that_make_no_sense_are_one_line(options, said):
    with pytest.raises(UserError) as error:
        CutEstimator(**options).run([(network(2), "ZZ", np.ones(8))])
    assert said in fault(error)

"""Each motif finds what is right, at a size of seconds, on two workers."""

import json
from contextlib import ExitStack

import numpy as np
import pytest
from support.calibrations import install

from pilotcut import PilotManager, TaskManager
from pilotcut.errors import UserError
from pilotcut.pilots.description import embedded
from pilotcut.study.motifs import state_vector
from pilotcut.study.motifs.answer import MOTIFS, SIZES, Answer, Motif, motif
from pilotcut.study.motifs.molecules import _table, molecule
from pilotcut.study.motifs.run import opened, run_motif
from pilotcut.study.motifs.time_spent import TimeSpent, time_spent

TINY = {
    "circuits": {"circuits": 70, "widest": 6},
    "statevector": {"qubits": 8, "layers": 2, "most_ranks": 2},
    "cutting": {"qubits": 10, "most_cuts": 2, "rows": 1, "shots": 256},
    "mitigation": {"qubits": 4, "rows": 3, "shots": 32768},
    "pipeline": {"images": 180, "side": 8, "layers": 3, "shots": 4096},
    "variational": {"name": "H2 0.735", "reps": 1, "iterations": 60, "nodes": 6},
    "curve": {"points": 3},
    "ensemble": {"dataset": "iris", "devices": 3, "epochs": 6, "samples": 60},
    "generative": {"generations": 12, "size": 20, "length": 8},
}


@pytest.fixture
def tasks_of(request):
    """Return a function from a motif to tasks: on workers, or on its devices in this process."""
    with ExitStack() as stack:

        def found(of):
            if not any(pilot.backend.qpu for pilot in of.pilots):
                return request.getfixturevalue("workers")
            own = [pilot.model_copy(update={"resource": "inprocess"}) for pilot in of.pilots]
            return stack.enter_context(TaskManager(stack.enter_context(PilotManager(own))))

        yield found


# Where commands run: `workers` are started there for other tests too.
@pytest.mark.xdist_group("commands")
@pytest.mark.parametrize("name", MOTIFS)
def test_it_finds_what_is_right(name, tasks_of):
    answer = motif(name).run(tasks_of(motif(name)), **TINY[name])
    assert answer.right, answer.sentence
    json.dumps(answer.measures, allow_nan=False)


def test_cuts_are_timed_on_each_number_of_workers_beside_what_is_predicted(tmp_path, monkeypatch):
    monkeypatch.setenv("PILOTCUT_CACHE_DIR", str(tmp_path))
    of = motif("cutting")
    own = [pilot.model_copy(update={"resource": "inprocess"}) for pilot in of.pilots]
    for pilot in own:
        install(pilot)
    with PilotManager(own) as pilots, TaskManager(pilots) as tasks:
        answer = of.run(tasks, **TINY["cutting"])
    assert answer.right, answer.sentence
    timed = [(one["workers"], one["cuts"]) for one in answer.measures["cuts"]]
    assert timed == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert all(one["predicted_s"] > 0 for one in answer.measures["cuts"])


def test_a_wrong_gradient_is_found_on_one_rank_too(monkeypatch):
    whole = state_vector.differentiate

    def wrong(*arguments):
        found = whole(*arguments)
        return found | {"slopes": 1.01 * found["slopes"]}

    monkeypatch.setattr(state_vector, "differentiate", wrong)
    with PilotManager(embedded(1)) as pilots, TaskManager(pilots) as tasks:
        answer = state_vector.run(tasks, **TINY["statevector"])
    assert not answer.right
    assert len(answer.measures["ranks"]) == 1


@pytest.mark.parametrize("name", MOTIFS)
def test_it_has_all_sizes_with_the_same_options(name):
    sizes = motif(name).sizes
    assert set(sizes) == set(SIZES)
    assert set(sizes["small"]) == set(sizes["large"]) == set(TINY[name])


def test_a_name_that_is_none_is_one_line():
    with pytest.raises(UserError, match="motif is 'qaoa', expected"):
        motif("qaoa")


@pytest.mark.parametrize("name", _table())
def test_a_molecule_has_the_energy_that_is_known_for_it(name):
    of = molecule(name)
    lowest = np.linalg.eigvalsh(of.hamiltonian.to_matrix())[0]
    assert lowest == pytest.approx(of.exact, abs=1e-9)
    filled = np.zeros(2**of.qubits)
    filled[2**of.electrons - 1] = 1.0  # the lowest orbitals
    assert filled @ of.hamiltonian.to_matrix() @ filled == pytest.approx(of.hartree_fock, abs=1e-9)


def test_efficiency_is_work_over_what_slots_had():
    spent = TimeSpent(tasks=8, work_s=6.0, wall_s=4.0, slots=2)
    assert spent.efficiency == 0.75
    assert "8 tasks on 2 slots in 4.0 s (2.0 tasks/s)" in str(spent)
    assert TimeSpent(0, 0.0, 0.0, 2).efficiency == 0.0


def test_a_second_run_in_a_directory_counts_its_own_tasks_alone(tmp_path):
    def play(tasks):
        values = [tasks.submit_task(max, 3, k).result() for k in (7, 8)]
        return Answer(f"found {values}", values == [7, 8])

    own = Motif("own", "two tasks", "7 and 8", play, {"small": {}})
    for _ in range(2):
        with (
            opened(own, "small", tmp_path),
            PilotManager(embedded(2), run_dir=tmp_path) as pilots,
            TaskManager(pilots) as tasks,
        ):
            run = run_motif(own, tasks, "small", tmp_path)
        assert (run.spent.tasks, run.spent.stored) == (2, 0)
        assert run.spent.wall_s < run.seconds


def test_a_task_of_two_ranks_fills_two_slots_of_one_core():
    ran = {"event": "task", "time": 9.0, "state": "done", "pilot": "here", "cores": 2}
    ran |= {"id": 0, "task": "ranks.2", "started": 1.0, "finished": 4.0}
    for threads, expected in ((1, 6.0), (2, 3.0)):
        (pilot,) = embedded(4 // threads)
        pilot = pilot.model_copy(update={"threads_per_worker": threads})
        assert time_spent([ran], [pilot], 2).work_s == expected

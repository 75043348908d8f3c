"""The uncut circuit over a pilot's ranks: memory, width and time, beside the lines with cuts."""

import json
from math import log2

import pytest
from qiskit.quantum_info import PauliList
from support.calibrations import SMALL, install

from pilotcut.backends.distributed.demand import RankRates, demand_of
from pilotcut.circuits.program import read_circuit
from pilotcut.errors import CutError, UserError
from pilotcut.perfmodel.rank_forecast import USUAL_RATES, _path_of, known_rates, rank_forecasts
from pilotcut.perfmodel.recommend import recommend
from pilotcut.perfmodel.sample_circuits import network
from pilotcut.pilots.description import PilotDescription
from pilotcut.study.motifs.state_vector import entangling_layers

pytestmark = pytest.mark.usefixtures("known_pilots")

CIRCUIT = entangling_layers(30, 2)
PROGRAM = read_circuit(CIRCUIT)[0]
Z = PauliList(["Z" * 30])


def mpi(ranks, **fields):
    """Return a pilot of one rank a node, each with 64 GB."""
    fields = {"resource": "slurm", "nodes": ranks, "memory_per_node": "64GB"} | fields
    return PilotDescription(name="mpi", ranks=ranks, **fields)


def forecast(ranks, gradients=False, **fields):
    (found,) = rank_forecasts(PROGRAM, Z, [mpi(ranks, **fields)], gradients)
    return found


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_the_width_that_fits_grows_by_the_logarithm_of_the_ranks(ranks):
    fits = {number: forecast(number).widest for number in (2, ranks)}
    assert fits[ranks] - fits[2] == log2(ranks) - 1
    assert 16 * 2 ** (fits[2] - 1) < 64e9 < 16 * 2 ** (fits[2] + 1)
    assert forecast(ranks).memory_bytes == 16 * 2**30 / ranks
    assert forecast(ranks, gradients=True).widest == fits[ranks] - 1


def test_what_does_not_fit_says_what_is_needed_and_what_is_there():
    found = forecast(2, memory_per_node="4GB")
    assert "needs 8 GiB on each, which has 3.2" in str(found)
    assert "fit" in str(found)
    assert found.lack


def test_ranks_that_are_no_power_of_two_are_told():
    assert "of 3 ranks so many would be used" in str(forecast(3))


def test_time_is_what_ranks_do_at_their_rates():
    demand = demand_of(PROGRAM, Z, 4)
    rates = RankRates(block_s=1.0, undo_s=10.0, string_s=100.0, byte_s=0.0)
    assert demand.seconds(rates, gradients=False) == demand.amplitudes * (demand.blocks + 100)
    assert demand.seconds(rates, gradients=True) == demand.amplitudes * (11 * demand.blocks + 200)
    only_sent = RankRates(block_s=0.0, undo_s=0.0, string_s=0.0, byte_s=1.0)
    assert demand.seconds(only_sent, gradients=False) == 0.75 * 16 * 2**28
    assert demand.seconds(USUAL_RATES, False) < 0.6 * demand_of(PROGRAM, Z, 2).seconds(
        USUAL_RATES, False
    )


def test_a_circuit_that_measures_in_between_has_no_state_vector():
    circuit = entangling_layers(4, 1)
    circuit.measure_all()
    circuit.rx(0.1, 0)
    assert rank_forecasts(read_circuit(circuit)[0], PauliList(["ZZZZ"]), [mpi(2)], False) == ()


def test_it_stands_beside_the_lines_of_a_recommendation():
    install(SMALL, modes=("counts",))
    found = recommend(network(8), pilots=[SMALL, mpi(2)])
    (beside,) = found.on_ranks
    assert beside.ranks == 2
    assert beside.memory_bytes == 16 * 2**7
    assert json.loads(json.dumps(found.to_dict()))["uncut_on_ranks"][0]["pilot"] == "mpi"
    assert found.chosen in found.lines


def test_pilots_may_be_any_iterable_which_is_read_once():
    pilots = (SMALL, mpi(4))
    given = recommend(network(6), pilots=iter(pilots), max_cuts=1)
    assert given.on_ranks == recommend(network(6), pilots=pilots, max_cuts=1).on_ranks != ()


def test_where_nothing_else_is_feasible_the_ranks_are_named():
    install(SMALL, modes=("exact",))
    wide = entangling_layers(40, 4)
    with pytest.raises(CutError, match=r"uncut on 64 ranks of 'mpi' .*: 256 GiB a rank"):
        recommend(wide, pilots=[SMALL, mpi(64, memory_per_node="900GB")], mode="exact", max_cuts=1)


def test_rates_that_make_no_sense_are_one_line():
    path = _path_of(mpi(2))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"block_s": 1}')
    with pytest.raises(UserError, match="remove it and calibrate again"):
        known_rates(mpi(2))

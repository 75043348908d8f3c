"""Readings of ArbiterQ's table I: trainings that differ in what they say, and tables of them."""

import numpy as np
import pytest
from support.fleets import QPUS

from pilotcut.study import arbiterq, tables


def curve(speed, end=0.1, epochs=30):
    """A loss that falls to an end, the quicker the larger the speed."""
    return (end + 0.2 * np.exp(-speed * np.arange(epochs + 1))).tolist()


def test_convergence_is_read_off_a_curve_s_own_plateau():
    quick, slow = (arbiterq.own_convergence(curve(speed)) for speed in (2.0, 0.5))
    # 5 % of the way is left after ln(20) / speed, but linear between epochs.
    assert quick == pytest.approx(np.log(20) / 2.0, abs=0.3)
    assert slow == pytest.approx(np.log(20) / 0.5, abs=0.3)


def test_tables_show_what_was_published_beside_each_reading_that_was_measured():
    speeds = dict.fromkeys(arbiterq.FEW, 0.5) | {"arbiterq, wide sum": 2.0}
    curves = {
        ("iris", "crx", variant, 0.2): [curve(speed)] * 5 for variant, speed in speeds.items()
    }
    curves |= {("iris", "crx", variant, 2.0): [curve(2.0)] * 5 for variant in arbiterq.LONGER}
    found = arbiterq.readings_table(curves, {"iris": 0.2})
    names = [row[1] for row in found.rows]
    assert names[0] == "published"
    assert [r.title for r in arbiterq.READINGS if r.title in names] == names[1:]
    assert len(names) == 3, "two readings have all their variants"
    ratios = [row[6] for row in found.rows]
    assert ratios[0] == pytest.approx(20 / 3)
    assert ratios[1] == pytest.approx(1.0)
    assert ratios[2] == pytest.approx(4.0, abs=0.6)
    steps = arbiterq.steps_table(curves, {"iris": 0.2})
    assert steps.rows[0][3] == steps.rows[0][4], "as quick as ten times the rate"
    assert "1.7 (1.7–1.7)" in tables.markdown(steps)
    assert arbiterq.rates_table(curves).rows


def test_a_rate_s_trainings_are_all_variants_and_some_at_ten_times_it():
    found = list(arbiterq.trainings("iris", 0.2, range(2), 3))
    assert len(found) == 2 * 2 * (len(arbiterq.VARIANTS) + len(arbiterq.LONGER))
    assert {one.rate for one in found if one.variant == "single"} == {0.2, 2.0}
    assert {one.rate for one in found if one.variant == "eqc"} == {0.2}


def test_with_gradients_of_all_added_steps_are_longer():
    moves = {}
    for variant in ("arbiterq, wide", "arbiterq, wide sum"):
        run = arbiterq.StrategyRun("iris", "crx", variant, 0.05, 0, 1)
        curves = run.curves(QPUS)
        moves[variant] = curves["train"][0] - curves["train"][1]
    assert moves["arbiterq, wide sum"] > 1.5 * moves["arbiterq, wide"] > 0.0

"""From work to seconds: pure functions, against brute force and by hand."""

from dataclasses import replace
from itertools import product
from math import ceil, exp

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotcut import compile_plan
from pilotcut.options import STATEVECTOR, EngineOptions
from pilotcut.perfmodel.costmodel import (
    BATCH,
    MOST_DEALT,
    STAGES,
    WIDTH,
    Costs,
    batch_amounts,
    fit,
    makespan,
    predict,
    with_interval,
)
from pilotcut.perfmodel.load import EXACT, KINDS, Load
from pilotcut.perfmodel.sample_circuits import network
from pilotcut.perfmodel.workload import work_of

seconds = st.floats(1e-4, 10.0)

# -- slots -----------------------------------------------------------------------------


def shortest(calls: list[float], slots: int) -> float:
    """Return the least makespan of all ways to deal calls."""
    return min(
        max(sum(c for c, s in zip(calls, deal, strict=True) if s == slot) for slot in range(slots))
        for deal in product(range(slots), repeat=len(calls))
    )


@given(st.lists(seconds, min_size=1, max_size=7), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_longest_first_is_within_a_third_of_the_optimum(calls, slots):
    """Never below the best of all deals, and at most 4/3 - 1/(3 slots) of it (Graham)."""
    best = shortest(calls, slots)
    found = makespan([(c, 1) for c in calls], slots)
    assert best * (1 - 1e-9) <= found <= best * (4 / 3 - 1 / (3 * slots)) * (1 + 1e-9)


@given(st.lists(st.tuples(seconds, st.integers(1, 5)), min_size=1, max_size=6), st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_makespans_lie_between_their_bounds(calls, slots):
    """At least the mean of the slots and the longest call, at most their sum; order is nothing."""
    found = makespan(calls, slots)
    total, longest = sum(s * n for s, n in calls), max(s for s, _ in calls)
    assert max(total / slots, longest) * (1 - 1e-9) <= found
    assert found <= min(total, total / slots + longest) * (1 + 1e-9)
    assert found == pytest.approx(makespan(calls[::-1], slots))
    assert makespan(calls, 1) == pytest.approx(total)
    assert found == pytest.approx(makespan([(s, 1) for s, n in calls for _ in range(n)], slots))


def test_very_many_calls_take_their_mean_and_the_last_one():
    """Beyond `MOST_DEALT` a bound stands for the deal, and it is close."""
    number = MOST_DEALT + 1
    assert makespan([(0.01, number)], 4) == pytest.approx(0.01 * ceil(number / 4), rel=1e-3)
    assert makespan([], 4) == 0.0


# -- predictions -----------------------------------------------------------------------


STATES = EngineOptions(STATEVECTOR)


def costs(**given: object) -> Costs:
    call = tuple(1.0 if name == "calls" else 0.0 for name in EXACT)
    of = {"call": call, "batch": (0.0,) * len(BATCH), "spread": 0.2}
    return Costs(**(of | {"compile_step_s": 0.0, "compile_gate_s": 0.0} | given))


def test_a_prediction_is_the_sum_of_its_stages_by_hand():
    """One call of a second in each of two fragments, 3 batches, and compilation once."""
    work = work_of(
        compile_plan(network(4), "ZZZZ", cuts=1), "exact", rows=1, engine=EngineOptions(STATEVECTOR)
    )
    assert work.calls == 2
    batch = dict.fromkeys(BATCH, 0.0) | {"batches": 0.5, "makespan_s": 2.0, "calls": 0.25}
    some = costs(batch=tuple(batch.values()), compile_step_s=0.01, compile_gate_s=0.1)
    found = predict(work, some, slots=2, batches=3)
    assert found.stages == pytest.approx(
        {
            "partition": 0.01 * work.steps,
            "generate": 3 * 0.5 + 0.1 * work.template_gates,
            "dispatch": 3 * 0.25 * 2,
            "execute": 3 * 2.0 * 1.0,
            "transfer": 0.0,
            "reconstruct": 0.0,
        }
    )
    assert tuple(found.stages) == STAGES
    assert found.seconds == pytest.approx(sum(found.stages.values()))
    one_slot = predict(work, some, slots=1, batches=3)
    assert one_slot.stages["execute"] == pytest.approx(3 * 2.0 * 2.0)


def test_no_batches_are_compilation_alone():
    """With 0 batches only planning and compiling are left."""
    work = work_of(compile_plan(network(3), "ZZZ"), "exact", rows=1)
    found = predict(work, costs(compile_step_s=0.01, batch=(1.0,) * len(BATCH)), 1, batches=0)
    assert found.seconds == pytest.approx(0.01 * work.steps)


@pytest.mark.parametrize("mode", KINDS)
def test_more_slots_are_never_slower(mode):
    """And more batches take proportionally longer."""
    work = work_of(compile_plan(network(6), "Z" * 6, cuts=2), mode, rows=64)
    call = tuple(1e-3 for _ in KINDS[mode])
    some = costs(call=call, batch=tuple(float(name == "makespan_s") for name in BATCH))
    times = [predict(work, some, slots).seconds for slots in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert predict(work, some, 2, batches=10).seconds == pytest.approx(10 * times[1])


def test_amounts_of_a_batch_are_in_their_order():
    """Batches, steps, makespan, calls, entries, contraction."""
    work = work_of(
        compile_plan(network(4), "ZZZZ", cuts=1), "exact", rows=1, engine=EngineOptions(STATEVECTOR)
    )
    amounts = dict(zip(BATCH, batch_amounts(work, costs().call, 1), strict=True))
    assert amounts["batches"] == 1
    assert amounts["steps"] == work.steps
    assert amounts["makespan_s"] == amounts["calls"] == work.calls
    assert amounts["entries"] == work.entries
    assert amounts["contraction_s"] == work.contraction_s


def test_a_call_takes_its_amounts_times_their_costs():
    work = work_of(compile_plan(network(4), "ZZZZ"), "exact", rows=1)
    one_call = replace(work, loads=(Load(np.arange(len(EXACT), dtype=float)),))
    amounts = batch_amounts(one_call, range(len(EXACT)), slots=1)
    expected = sum(k * k for k in range(len(EXACT)))
    assert amounts[BATCH.index("makespan_s")] == pytest.approx(expected)


@given(st.floats(1e-3, 1e6), st.floats(0.0, 2.0))
def test_intervals_hold_their_middle(total, spread):
    """They are symmetric in the logarithm, 1.645 standard deviations on each side."""
    found = with_interval({"execute": total}, spread)
    assert found.low_s <= found.seconds <= found.high_s
    assert found.high_s / found.seconds == pytest.approx(exp(WIDTH * spread))
    assert found.low_s * found.high_s == pytest.approx(found.seconds**2)


# -- fitting ---------------------------------------------------------------------------


def measured(seed: int, number: int = 60, noise: float = 0.0):
    rng = np.random.default_rng(seed)
    known = np.array([1e-3, 2e-6, 0.0, 5e-9])
    amounts = np.stack(
        [
            np.ones(number),
            10 ** rng.uniform(0, 4, number),
            rng.uniform(0, 1, number),
            10 ** rng.uniform(3, 8, number),
        ],
        axis=1,
    )
    return known, amounts, (amounts @ known) * np.exp(noise * rng.normal(size=number))


@pytest.mark.parametrize("seed", range(4))
def test_a_fit_recovers_exact_costs(seed):
    """Whatever their size, and a cost of nothing is nothing."""
    known, amounts, times = measured(seed)
    np.testing.assert_allclose(fit(amounts, times), known, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_a_fit_withstands_noise_and_outliers(seed):
    """With 10 % noise, and every eighth measurement five times too slow, within a quarter."""
    known, amounts, times = measured(seed, 120, noise=0.1)
    times[::8] *= 5
    found = fit(amounts, times)
    np.testing.assert_allclose((amounts @ found), (amounts @ known), rtol=0.25)


@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_a_fit_is_never_negative(seed, observations, kinds):
    """For any amounts, fewer observations than costs, and columns of zeros among them."""
    rng = np.random.default_rng(seed)
    amounts = rng.exponential(size=(observations, kinds)) * (rng.random(kinds) > 0.2)
    found = fit(amounts, rng.exponential(size=observations) + 1e-6)
    assert found.shape == (kinds,)
    assert np.isfinite(found).all()
    assert (found >= 0).all()

"""Tori are made of unlike devices of like models, and their schedules are fair and exact."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pilotcut.errors import UserError
from pilotcut.fleet.inference_schedule import batch_based, difficulty, shot_oriented
from pilotcut.fleet.shot_schedule import ShotSchedule, combine, equal_time
from pilotcut.fleet.torus import Torus, one_dimension, period, phases, spectrum, tori

SEEDS = st.integers(0, 2**32 - 1)


def vectors(seed, devices, columns=4):
    return np.random.default_rng(seed).normal(size=(devices, columns))


def periodic_fleet(seed, devices, turns):
    """Behaviour along a line in five dimensions, models that repeat `turns` times along it."""
    rng = np.random.default_rng(seed)
    place = (np.arange(devices) + rng.uniform(-0.3, 0.3, devices)) / (devices - 1)
    wave = np.sin(2 * np.pi * turns * place + rng.uniform(0, 2 * np.pi))
    behaviour = np.outer(place, rng.normal(size=5)) + 0.003 * rng.normal(size=(devices, 5))
    models = np.outer(wave, rng.normal(size=7)) + 0.01 * rng.normal(size=(devices, 7))
    order = rng.permutation(devices)
    return behaviour[order], models[order]


def distance_inside(groups, vectors):
    """Mean distance of two devices of the same group."""
    pairs = [p for group in groups for p in itertools.combinations(group, 2)]
    return np.mean([np.linalg.norm(vectors[a] - vectors[b]) for a, b in pairs])


def as_sets(parts):
    return {frozenset(t.devices) for t in parts}


# -- one dimension -----------------------------------------------------------------------


@given(SEEDS, st.integers(2, 12), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_positions_are_those_of_torgersons_scaling(seed, devices, columns):
    """They are the first eigenvector of the doubly centred squared distances, to its root."""
    points = vectors(seed, devices, columns)
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    centre = np.eye(devices) - 1 / devices
    values, basis = np.linalg.eigh(-centre @ squares @ centre / 2)
    expected = basis[:, -1] * math.sqrt(max(values[-1], 0))
    found = one_dimension(points)
    np.testing.assert_allclose(np.outer(found, found), np.outer(expected, expected), atol=1e-8)


@given(SEEDS, st.integers(2, 12))
@settings(max_examples=40, deadline=None)
def test_points_on_a_line_keep_their_distances_and_their_direction(seed, devices):
    """In the direction of the component that varies most, wherever the line lies."""
    rng = np.random.default_rng(seed)
    place, axis = rng.uniform(-3, 3, devices), rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    sign = np.sign(axis[np.argmax(np.abs(axis))])
    found = one_dimension(np.outer(place, axis) + rng.normal(size=3))
    np.testing.assert_allclose(found, sign * (place - place.mean()), atol=1e-10)


def test_a_symmetric_fleet_has_a_sign_whatever_the_order_of_its_devices():
    """Positions -1, 0, 1 say nothing of the sign, the vectors' components do."""
    points = np.array([[-1.0, 1.0], [0.0, 0.0], [1.0, -1.0]])
    for order in itertools.permutations(range(3)):
        found = one_dimension(points[list(order)])
        np.testing.assert_allclose(found, points[list(order), 0] * math.sqrt(2), atol=1e-12)


@pytest.mark.parametrize("shape", [(1, 3), (5, 3), (4, 0)])
def test_equal_vectors_are_all_at_zero(shape):
    """Also where 0.1 is not a sum of powers of two."""
    assert not one_dimension(np.full(shape, 0.1)).any()


# -- the period --------------------------------------------------------------------------


def test_at_even_positions_the_transform_is_the_discrete_one():
    """Of the values without their mean."""
    values = np.random.default_rng(0).normal(size=16)
    found = spectrum(np.arange(16), values, np.arange(16) / 16)
    np.testing.assert_allclose(found, np.fft.fft(values - values.mean()), atol=1e-12)


@given(SEEDS, st.floats(-50, 50))
@settings(max_examples=30, deadline=None)
def test_a_shift_of_the_positions_turns_the_transform_only(seed, shift):
    """By exp(-2 pi i f shift), so that strengths stay."""
    rng = np.random.default_rng(seed)
    x, y, f = rng.normal(size=9), rng.normal(size=9), rng.uniform(0, 3, 5)
    turned = spectrum(x, y, f) * np.exp(-2j * np.pi * f * shift)
    np.testing.assert_allclose(spectrum(x + shift, y, f), turned, atol=1e-9)


@given(SEEDS, st.integers(16, 40), st.floats(2.5, 5.5))
@settings(max_examples=60, deadline=None)
def test_a_known_period_is_found_at_uneven_positions(seed, devices, turns):
    """Its number of turns is right to half of one; a span resolves one."""
    behaviour, models = periodic_fleet(seed, devices, turns)
    x = one_dimension(behaviour)
    assert np.ptp(x) / period(x, one_dimension(models)) == pytest.approx(turns, abs=0.5)


def test_a_trend_has_the_longest_period_that_is_allowed():
    """Half the span: with the whole span the ring would be the line itself."""
    x = np.linspace(0, 6, 20)
    assert period(x, x**2) == pytest.approx(3.0)
    assert period(x, x**2, least_turns=1) == pytest.approx(6.0)


def test_where_there_is_no_cycle_the_period_is_the_stated_one():
    """Equal models: half the span. Few devices: two mean spacings. No span: infinite."""
    x = np.linspace(0, 6, 7)
    assert period(x, np.full(7, 0.1)) == pytest.approx(3.0)
    assert period(np.array([0.0, 5.0]), np.array([1.0, 2.0])) == pytest.approx(10.0)
    assert period(np.array([0.0, 2.0, 5.0]), np.array([1.0, 2.0, 0.0])) == pytest.approx(5.0)
    assert period(np.array([4.0]), np.array([1.0])) == math.inf
    assert period(np.full(5, 4.0), np.arange(5.0)) == math.inf


def test_whole_turns_are_the_same_place_in_spite_of_rounding():
    """0.3 is three turns of 0.1, and not three less a rounding error."""
    assert phases(np.array([0.0, 0.1, 0.3, 0.6, 0.7]), 0.1).tolist() == [0.0] * 5
    assert phases(np.array([-1.0, 2.0]), math.inf).tolist() == [0.0, 0.0]


# -- tori --------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 30), st.data())
@settings(max_examples=60, deadline=None)
def test_every_device_is_in_one_torus_and_sizes_are_even(seed, devices, data):
    """Whatever the number of tori, asked for or not; and the answer is the same again."""
    count = data.draw(st.none() | st.integers(1, devices))
    behaviour, models = vectors(seed, devices), vectors(seed + 1, devices)
    parts = tori(behaviour, models, count)
    assert sorted(d for t in parts for d in t.devices) == list(range(devices))
    assert len(parts) == (count or max(1, math.isqrt(devices)))
    sizes = [len(t.devices) for t in parts]
    assert max(sizes) - min(sizes) <= 1
    assert parts == tori(behaviour, models, count)


@given(SEEDS, st.integers(2, 20))
@example(14, 14)  # the span is a whole number of turns: both ends have phase 0
@settings(max_examples=60, deadline=None)
def test_tori_do_not_depend_on_the_order_of_devices_nor_on_the_origin(seed, devices):
    """Renumbered devices have the renumbered tori; a constant added to all vectors, the same."""
    behaviour, models = vectors(seed, devices), vectors(seed + 1, devices)
    parts = tori(behaviour, models)
    order = np.random.default_rng(seed).permutation(devices)
    renumbered = tori(behaviour[order], models[order])
    assert {frozenset(order[list(t.devices)].tolist()) for t in renumbered} == as_sets(parts)
    assert as_sets(tori(behaviour + 3.7, models - 1.3)) == as_sets(parts)
    assert as_sets(tori(behaviour * 250, models / 40)) == as_sets(parts)


@given(SEEDS, st.integers(12, 30), st.floats(2.5, 4.0))
@settings(max_examples=60, deadline=None)
def test_in_a_periodic_fleet_a_torus_has_unlike_devices_of_like_models(seed, devices, turns):
    """Their behaviour is 1.5 times further apart than neighbours', their models are nearer."""
    behaviour, models = periodic_fleet(seed, devices, turns)
    inside = [t.devices for t in tori(behaviour, models)]
    line = np.argsort(one_dimension(behaviour))
    neighbours = [g.tolist() for g in np.array_split(line, len(inside))]
    everyone = [range(devices)]
    assert distance_inside(inside, behaviour) > 1.5 * distance_inside(neighbours, behaviour)
    assert distance_inside(inside, models) < 0.9 * distance_inside(everyone, models)


def test_the_ring_is_cut_at_its_widest_gaps():
    """Also where a cluster lies across the place where phases begin."""
    turn = np.array([0.95, 0.05, 0.0, 0.45, 0.5, 0.55])
    line = np.concatenate([turn + k for k in range(3)])[:, None]
    parts = tori(line, np.cos(2 * np.pi * line), count=2)
    near_zero = {d for d in range(18) if d % 6 < 3}
    assert as_sets(parts) == {frozenset(near_zero), frozenset(range(18)) - near_zero}


def test_fleets_of_equal_devices_still_have_tori():
    """By number, as nothing else tells them apart."""
    parts = tori(np.ones((5, 2)), np.ones((5, 3)))
    assert parts == (Torus((0, 1, 2)), Torus((3, 4)))
    assert tori(np.ones((1, 2)), np.zeros((1, 0))) == (Torus((0,)),)


@pytest.mark.parametrize(
    ("behaviour", "models", "count", "line"),
    [
        (np.ones((3, 2)), np.ones((2, 2)), None, "models: has 2 vectors, expected 3"),
        (np.ones((3, 2)), np.ones((3, 2)), 4, "count is 4 tori of 3 devices"),
        (np.ones((3, 2)), np.ones((3, 2)), 0, "count is 0 tori of 3 devices"),
        (np.ones((3, 2)), np.ones((3, 2)), 1.5, "count is 1.5 tori of 3 devices"),
        (np.ones(3), np.ones((3, 2)), None, r"behaviour: has shape \(3,\)"),
        (np.ones((0, 2)), np.ones((0, 2)), None, r"behaviour: has shape \(0, 2\)"),
        (np.ones((2, 1)), np.array([[1.0], [np.nan]]), None, "models: the vector of device 1"),
    ],
)
def test_what_is_no_fleet_is_refused_in_one_line(behaviour, models, count, line):
    """With what was found and what was expected."""
    with pytest.raises(UserError, match=line):
        tori(behaviour, models, count)


# -- schedules ---------------------------------------------------------------------------


@st.composite
def fleets(draw):
    """Arguments of `shot_oriented`: some devices may be offline and have no numbers."""
    devices = draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(SEEDS))
    parts = np.array_split(rng.permutation(devices), draw(st.integers(1, devices)))
    mask = rng.random(devices) < draw(st.sampled_from([0.3, 0.7, 1.0]))
    mask[rng.integers(devices)] = True
    rates = rng.uniform(1, draw(st.sampled_from([1.0, 2.0, 50.0])), devices)
    return {
        "tori": tuple(Torus(tuple(sorted(p.tolist()))) for p in parts),
        "difficulty": rng.permutation(draw(st.integers(0, 25))) / 25,
        "accuracy": np.where(mask, rng.uniform(0.5, 1, devices), np.nan),
        "throughput": np.where(mask, rates, np.nan),
        "shots": draw(st.integers(1, 300)),
        "online": mask,
    }


@given(fleets())
@settings(max_examples=150, deadline=None)
def test_every_task_has_its_shots_shared_by_the_online_devices_of_one_torus(fleet):
    """Exactly its shots, each device its proportion to less than one, none offline."""
    table = shot_oriented(**fleet).shots
    mask, rates = fleet["online"], np.nan_to_num(fleet["throughput"])
    assert (table.sum(axis=1) == fleet["shots"]).all()
    assert not table[:, ~mask].any()
    member = np.zeros((len(fleet["tori"]), len(mask)))
    for k, torus in enumerate(fleet["tori"]):
        member[k, list(torus.devices)] = 1
    for row in table:
        (used,) = np.flatnonzero(member @ (row > 0))
        weights = member[used] * rates
        assert (np.abs(row - fleet["shots"] * weights / weights.sum()) < 1 + 1e-9).all()


@given(fleets())
@settings(max_examples=150, deadline=None)
def test_the_harder_task_is_never_on_the_less_accurate_torus(fleet):
    """A torus has tasks in proportion to its rate to less than one, the hardest first."""
    table = shot_oriented(**fleet).shots
    mask, rates = fleet["online"], fleet["throughput"]
    parts = [[d for d in t.devices if mask[d]] for t in fleet["tori"]]
    parts = [p for p in parts if p]
    own = [np.flatnonzero(table[:, p].sum(axis=1)) for p in parts]
    accuracy = [(fleet["accuracy"][p] * rates[p]).sum() / rates[p].sum() for p in parts]
    for p, tasks in zip(parts, own, strict=True):
        quota = len(table) * rates[p].sum() / rates[mask].sum()
        assert abs(len(tasks) - quota) < 1 + 1e-9
    for a, b in itertools.permutations(range(len(parts)), 2):
        if accuracy[a] > accuracy[b] and len(own[a]) and len(own[b]):
            assert fleet["difficulty"][own[a]].min() > fleet["difficulty"][own[b]].max()


@given(fleets())
@settings(max_examples=150, deadline=None)
def test_shot_oriented_is_no_longer_than_batch_based_but_for_rounding(fleet):
    """At equal circuits, to less than a task of a torus and a shot of each of its tasks."""
    oriented, mask = shot_oriented(**fleet), fleet["online"]
    tasks, shots, rates = len(fleet["difficulty"]), fleet["shots"], fleet["throughput"]
    batched = batch_based(tasks, shots, mask, len(mask))
    bounds = [0.0]
    for torus in fleet["tori"]:
        members = [d for d in torus.devices if mask[d]]
        if members:
            own = np.count_nonzero(oriented.shots[:, members].sum(axis=1))
            bounds.append(shots / rates[members].sum() + own / rates[members].min())
    shot_s = 1 / rates
    shortest = tasks * shots / rates[mask].sum()
    assert oriented.makespan_s(shot_s) <= (shortest + max(bounds)) * (1 + 1e-12)
    assert shortest <= batched.makespan_s(shot_s) * (1 + 1e-12)


def test_with_unequal_devices_shot_oriented_is_done_much_sooner():
    """Rates 1 to 4: equal batches wait for the slowest, 2.5 times as long as even work takes."""
    rates = np.array([1.0, 2.0, 3.0, 4.0])
    parts = (Torus((0, 3)), Torus((1, 2)))
    oriented = shot_oriented(parts, np.linspace(0, 1, 40), np.ones(4), rates, 1000, range(4))
    batched = batch_based(40, 1000, range(4), 4)
    assert batched.makespan_s(1 / rates) == pytest.approx(10_000)
    assert oriented.makespan_s(1 / rates) == pytest.approx(4000, rel=0.001)


@given(st.integers(1, 60), st.integers(1, 40), SEEDS, st.integers(2, 8))
@settings(max_examples=80, deadline=None)
def test_odd_shots_do_not_add_up_on_a_device(tasks, shots, seed, devices):
    """Over all tasks a device is off its proportion by at most 2 shots, not by one a task."""
    rates = np.random.default_rng(seed).uniform(1, 9, devices)
    parts = (Torus(tuple(range(devices))),)
    schedule = shot_oriented(parts, np.zeros(tasks), np.ones(devices), rates, shots, range(devices))
    quota = tasks * shots * rates / rates.sum()
    assert np.abs(schedule.shots.sum(axis=0) - quota).max() < 2


def test_a_torus_that_is_offline_has_no_tasks():
    """And a torus is as accurate as its devices that are online."""
    parts = (Torus((0, 1)), Torus((2, 3)), Torus((4,)))
    table = shot_oriented(
        parts, [0.9, 0.1], [0.99, 0.5, 0.8, 0.8, 1.0], [1, 1, 1, 1, 1], 8, [1, 2]
    ).shots
    assert table.tolist() == [[0, 0, 8, 0, 0], [0, 8, 0, 0, 0]]


@given(st.integers(0, 30), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_batches_are_contiguous_equal_and_whole(tasks, devices, data):
    """Every task is on one online device, which has a run of neighbours, to one task equal."""
    online = data.draw(st.lists(st.integers(0, devices - 1), min_size=1, unique=True))
    schedule = batch_based(tasks, 7, online, devices)
    assert np.array_equal(schedule.shots_of_task, np.full(tasks, 7))
    assert ((schedule.shots > 0).sum(axis=1) == 1).all()
    owners = schedule.shots.argmax(axis=1)
    assert (np.diff(owners) >= 0).all()
    sizes = np.bincount(owners, minlength=devices)
    assert np.ptp(sizes[sorted(online)]) <= 1
    assert sizes[sorted(online)].sum() == tasks
    mask = np.isin(np.arange(devices), online)
    assert np.array_equal(batch_based(tasks, 7, mask, devices).shots, schedule.shots)
    assert np.array_equal(batch_based(tasks, 7, mask.tolist(), devices).shots, schedule.shots)


def test_a_device_is_busy_for_its_shots_whatever_idle_ones_would_take():
    """Seconds for each device, or for each task and device; NaN where nothing is run."""
    schedule = ShotSchedule(np.array([[10, 0, 0], [5, 20, 0]]))
    assert schedule.shots_of_task.tolist() == [10, 25]
    assert schedule.device_s(np.array([0.5, 0.1, np.nan])).tolist() == [7.5, 2.0, 0.0]
    each = np.array([[0.5, np.inf, 1.0], [1.0, 0.5, 1.0]])
    assert schedule.device_s(each).tolist() == [10.0, 10.0, 0.0]
    assert schedule.makespan_s(each) == 10.0


@given(fleets(), st.floats(0.05, 20) | st.integers(1, 20))
@settings(max_examples=100, deadline=None)
def test_a_scaled_schedule_keeps_its_pairs_and_the_time(fleet, factor):
    """It is at most as long as asked, and one shot more of each pair would be too long."""
    schedule, shot_s = shot_oriented(**fleet), 1 / fleet["throughput"]
    time_s = schedule.makespan_s(shot_s)
    used = schedule.shots > 0
    least_s = ShotSchedule(used.astype(int)).makespan_s(shot_s)
    asked_s = max(factor * time_s, least_s)
    scaled = equal_time(schedule, shot_s, asked_s)
    assert np.array_equal(scaled.shots > 0, used)
    assert scaled.makespan_s(shot_s) <= asked_s
    if used.any():
        assert ShotSchedule(scaled.shots + used).makespan_s(shot_s) > asked_s * (1 - 1e-12)
    assert np.array_equal(equal_time(schedule, shot_s, time_s).shots, schedule.shots)


def test_a_whole_factor_loses_no_shot_to_rounding():
    """Three times the time of 5 shots is that of 15, though the quotient is just below 3."""
    shot_s = 1 / np.array([1.3])
    schedule = ShotSchedule(np.array([[5]]))
    assert equal_time(schedule, shot_s, 3 * schedule.makespan_s(shot_s)).shots == [[15]]


def test_single_shots_that_stay_are_paid_for_by_the_others():
    """Scaled by 0.2, tasks of one shot are still run, so the long one is cut below 20."""
    schedule = ShotSchedule(np.array([[100]] + [[1]] * 10))
    scaled = equal_time(schedule, np.array([1.0]), 22.0)
    assert scaled.shots[:, 0].tolist() == [12] + [1] * 10
    with pytest.raises(UserError, match="makespan_s is 10, expected from 11, which"):
        equal_time(schedule, np.array([1.0]), 10.0)


# -- before and after --------------------------------------------------------------------


def test_tasks_near_the_boundary_are_hard():
    """Their difficulty falls with the distance from it; estimates beyond 1 are easy."""
    assert difficulty(np.array([0.0, -0.25, 0.5, 1.0, -1.3])).tolist() == [1, 0.75, 0.5, 0, 0]


@given(fleets())
@settings(max_examples=60, deadline=None)
def test_the_pooled_mean_is_that_of_all_outcomes(fleet):
    """As if the shots of all devices had been put in one heap; idle devices may say NaN."""
    schedule = shot_oriented(**fleet)
    rng = np.random.default_rng(0)
    means, pooled = np.full(schedule.shots.shape, np.nan), []
    for task, row in enumerate(schedule.shots):
        outcomes = [rng.choice([-1.0, 1.0], n) for n in row]
        pooled.append(np.concatenate(outcomes).mean())
        for device in np.flatnonzero(row):
            means[task, device] = outcomes[device].mean()
    np.testing.assert_allclose(combine(schedule, means), pooled, atol=1e-12)


PAIR = (Torus((0,)), Torus((1,)))
TABLE = ShotSchedule(np.array([[3, 1], [0, 2]]))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: batch_based(3, 10, [], 2), "online: none of 2 devices is"),
        (lambda: batch_based(3, 10, [False, False], 2), "online: none of 2 devices is"),
        (lambda: batch_based(3, 10, [2], 2), r"online is \[2\], expected whole numbers from 0"),
        (lambda: batch_based(3, 10, [-1], 2), r"online is \[-1\]"),
        (lambda: batch_based(3, 10, [True], 2), r"online: has shape \(1,\), expected \(2,\)"),
        (lambda: batch_based(3, 0, [0], 2), "shots is 0 for 3 tasks"),
        (lambda: shot_oriented(PAIR, [1], [1, 1], [1, 1], 5, []), "online: none of 2 devices"),
        (lambda: shot_oriented(PAIR, [1], [1, 1], [1, 0], 5, [1]), "throughput: is 0 for device 1"),
        (lambda: shot_oriented(PAIR, [1], [1, np.nan], [1, 1], 5, [1]), "accuracy: is nan for dev"),
        (lambda: shot_oriented(PAIR, [1], [1], [1, 1], 5, [1]), r"accuracy: has shape \(1,\)"),
        (lambda: shot_oriented(PAIR, [np.nan], [1, 1], [1, 1], 5, [1]), "difficulty: of task 0 is"),
        (lambda: shot_oriented(PAIR[1:], [1], [1], [1], 5, [0]), "tori: hold the devices"),
        (lambda: shot_oriented(PAIR * 2, [1], [1] * 4, [1] * 4, 5, [1]), "tori: hold the devices"),
        (lambda: difficulty([0.1, np.nan]), "expectations: of task 1 is nan"),
        (lambda: combine(TABLE, np.array([[1, 1], [0, np.nan]])), "means: is nan for device 1"),
        (lambda: combine(TABLE, np.ones((2, 3))), r"means: has shape \(2, 3\)"),
        (
            lambda: combine(ShotSchedule(np.array([[1], [0]])), np.ones((2, 1))),
            "task 1 has no shots",
        ),
        (lambda: TABLE.makespan_s([1.0, np.nan]), "shot_s: is nan for device 1"),
        (lambda: TABLE.makespan_s([0.0, 1.0]), "shot_s: is 0 for device 0"),
        (lambda: TABLE.makespan_s([1.0]), r"shot_s: has shape \(1,\), expected \(2,\) or \(2, 2\)"),
        (lambda: equal_time(TABLE, [1.0, 1.0], np.nan), "makespan_s is nan"),
        (lambda: equal_time(TABLE, [1.0, 1.0], np.inf), "makespan_s is inf"),
        (lambda: equal_time(TABLE, [1.0, 1.0], 1e300), r"makespan_s is 1e\+300"),
        (lambda: shot_oriented(PAIR, 0.5, [1, 1], [1, 1], 5, [1]), "difficulty: is 0-D"),
        (lambda: shot_oriented(PAIR, [1], [1, 1], 3, 5, [1]), r"throughput: has shape \(\)"),
        (lambda: shot_oriented((), [1], [], [], 5, []), "online: none of 0 devices"),
        (lambda: ShotSchedule(np.array([[-1]])), "shots: is an array of int64"),
        (lambda: ShotSchedule(np.array([[0.5]])), "shots: is an array of float64"),
    ],
)
def test_what_cannot_be_scheduled_is_refused_in_one_line(call, line):
    """With what was found, where, and what was expected."""
    with pytest.raises(UserError, match=line) as caught:
        call()
    assert "\n" not in str(caught.value)

"""Identity of work: what is equal in another process, and whatever changes a result is not."""

import functools
import threading
import types
from dataclasses import dataclass

import numpy as np
import pytest

from pilotcut.tasks.work_identity import IncomparableError, work_of

PROGRAM = """
import functools
SCALE = {scale}
TABLE = [1, 2]
def helper(x):
    return x {operator} SCALE
class Model:
    def __init__(self, rate): self.rate = rate
    def step(self, x): return helper(x) + {constant}
    @functools.cached_property
    def double(self): return self.rate * {factor}
    @property
    def half(self): return self.rate / {factor}
    @staticmethod
    def plain(): return {static}
@functools.cache
def known(x): return x + {cached}
def decorated(fn):
    @functools.wraps(fn)
    def inner(*args): return fn(*args)
    return inner
@decorated
def wrapped(x): return known(x) - {within}
def work(x, y={default}):
    return [helper(k) for k in range(x)], TABLE[0], (lambda z: z + {inner})(y)
"""
USUAL = {"scale": 3, "operator": "*", "default": 0, "inner": 1, "constant": 1}
USUAL |= {"factor": 2, "static": 5, "cached": 6, "within": 7}


def program(**changes):
    """Return a module as another run of a program has it."""
    module = types.ModuleType("__main__")
    exec(compile(PROGRAM.format(**USUAL | changes), "program.py", "exec"), vars(module))
    return module


def of(fn, *args, **kwargs):
    return work_of(fn, args, kwargs)


@dataclass
class Settings:
    rate: float
    names: frozenset


def test_the_same_program_in_another_process_is_the_same_work():
    first, second = program(), program()
    assert of(first.work, 3, y=2) == of(second.work, 3, y=2)
    assert of(first.Model(0.1).step, 3) == of(second.Model(0.1).step, 3)


@pytest.mark.parametrize(
    "changes", [{"scale": 4}, {"operator": "+"}, {"default": 1}, {"inner": 2}, {"scale": 3.0}]
)
def test_another_body_default_inner_function_helper_or_value_of_the_module_is_other_work(changes):
    assert of(program().work, 3) != of(program(**changes).work, 3)


def test_a_value_of_the_module_that_was_changed_in_place_is_other_work():
    other = program()
    other.TABLE[0] = 7
    assert of(program().work, 3) != of(other.work, 3)


def test_a_method_another_state_of_its_object_or_another_class_is_other_work():
    assert of(program().Model(0.1).step, 3) != of(program().Model(0.2).step, 3)
    assert of(program().Model(0.1).step, 3) != of(program(constant=2).Model(0.1).step, 3)


@pytest.mark.parametrize("changes", [{"factor": 3}, {"static": 6}, {"constant": 2}])
def test_properties_and_methods_without_an_object_count_too(changes):
    assert of(program().Model(0.1).step, 3) != of(program(**changes).Model(0.1).step, 3)


@pytest.mark.parametrize("changes", [{"cached": 7}, {"within": 8}])
def test_what_a_decorator_wraps_counts(changes):
    assert of(program().wrapped, 3) == of(program().wrapped, 3)
    assert of(program().wrapped, 3) != of(program(**changes).wrapped, 3)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("a", b"a"),
        ([1, 2], (1, 2)),
        ([[1], 2], [[1, 2]]),
        ({"a": 1}, {"a": 2}),
        (np.zeros(3), np.zeros(3, dtype=np.float32)),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.array([1.0, 2.0]), np.array([1.0, np.nextafter(2.0, 3.0)])),
        (Settings(0.1, frozenset("ab")), Settings(0.2, frozenset("ab"))),
        (functools.partial(pow, 2), functools.partial(pow, 3)),
        (0.0, -0.0),
    ],
)
def test_other_arguments_are_other_work(one, other):
    assert of(max, one) != of(max, other)
    assert of(max, 1, key=one) != of(max, 1, key=other)


def test_equal_arguments_are_equal_whoever_made_them():
    text = "".join(["a", "b"])
    assert of(max, ["ab", "ab"]) == of(max, [text, "ab"])
    assert of(max, {"b", "a", "c"}) == of(max, {"c", "b", "a"})
    assert of(max, np.arange(6).reshape(2, 3).T) == of(max, np.array([[0, 3], [1, 4], [2, 5]]))
    assert of(max, Settings(0.1, frozenset("ba"))) == of(max, Settings(0.1, frozenset("ab")))
    assert of(max, 1, key=2, default=3) == of(max, 1, default=3, key=2)


def test_a_list_that_holds_itself_and_a_function_that_calls_itself_come_to_an_end():
    knot = [1]
    knot.append(knot)
    assert of(max, knot) == of(max, knot)

    def down(x):
        return down(x - 1) if x else 0

    assert of(down, 1) == of(down, 1)


def test_ranks_and_the_work_of_tasks_before_count():
    assert work_of(max, [1], {}, ranks=2) != work_of(max, [1], {})
    assert work_of(max, [1], {}, after=["a"]) != work_of(max, [1], {}, after=["b"])


def test_what_cannot_be_compared_is_named():
    with pytest.raises(IncomparableError, match="a lock: "):
        of(max, [threading.Lock()])


def test_a_function_that_numba_compiles_is_its_code_and_options():
    numba = pytest.importorskip("numba")

    def compiled(factor, **options):
        made = program(inner=factor)
        made.fast = numba.njit(**options)(eval(f"lambda x: x * {factor}"))
        exec("def work(x): return fast(x)", vars(made))
        return made

    before = compiled(2)
    same = of(before.work, 3)
    before.fast(3)  # compiles it
    assert same == of(before.work, 3) == of(compiled(2).work, 3)
    assert len({same, of(compiled(3).work, 3), of(compiled(2, fastmath=True).work, 3)}) == 3

"""Code that work imports in its body, or reaches past what has no digest, counts as its own."""

import subprocess
import sys

import pytest

PACKAGE = {
    "own/__init__.py": "",
    "own/inner.py": "from . import deeper\ndef scale(x): return deeper.FACTOR * x\n",
    "own/deeper.py": "FACTOR = {factor}\n",
    "alone.py": "import own.inner\ndef scale(x): return own.inner.scale(x)\n",
    "program.py": """
import functools, threading
import own.inner
import numpy as np

def by_a_package(x): return own.inner.scale(x)
def in_its_body(x):
    import alone
    return alone.scale(x)
def from_a_module(x):
    from own.inner import scale
    return scale(x)
def from_a_package(x):
    from own import inner as named
    return named.scale(x)
def within_a_function(x):
    def one():
        from own import inner
        return inner.scale(x)
    return one()

@functools.singledispatch
def kind(x): return "any"
@kind.register
def _(x: int): return {factor}
def by_dispatch(x): return kind(x)

def locked(fn):
    lock = threading.Lock()
    @functools.wraps(fn)
    def inner(x):
        with lock:
            return fn(x)
    return inner
@locked
def behind(x): return {factor} * x
def by_a_decorator(x): return behind(x)

TABLE = {{"rule": lambda x: {factor} * x, "lock": threading.Lock()}}
def by_a_table(x): return TABLE["rule"](x)

class Scaler:
    def __init__(self, factor): self.factor, self.lock = factor, threading.Lock()
    def __call__(self, x): return self.factor * x
SCALER = Scaler({factor})
def by_an_object(x): return SCALER(x)

def by_what_is_installed(x):
    import json
    return np.sum(json.loads("[1]"))
def by_nothing_there(x):
    import not_there_at_all
    from ... import neither

if __name__ == "__main__":
    import sys
    from pilotcut.tasks.work_identity import work_of
    for name, fn in [*globals().items()]:
        if name.startswith(("by_", "in_", "from_", "within_")):
            print(name, work_of(fn, (1,), {{}}))
    print("a_module", work_of(max, (own.inner,), {{}}))
    assert "alone" not in sys.modules and "not_there_at_all" not in sys.modules
""",
}
#: What does not depend on the factor.
_SAME = {"by_what_is_installed", "by_nothing_there"}


def works(directory, factor):
    """Return the digest of each function, as a process finds it."""
    for name, text in PACKAGE.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text.format(factor=factor))
    done = subprocess.run(
        [sys.executable, "-B", "program.py"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    directory = tmp_path_factory.mktemp("program")
    return works(directory, 2), works(directory, 2), works(directory, 3)


def test_the_same_files_are_the_same_work_in_another_process(found):
    assert len(found[0]) == 12
    assert found[0] == found[1]


def test_a_value_that_code_reaches_by_any_way_makes_other_work(found):
    before, _, after = found
    assert {name for name in before if before[name] == after[name]} == _SAME

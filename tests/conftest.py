"""Fixtures and settings of all tests.

`pytest -n 3 --dist loadgroup` runs tests that start workers, schedulers or commands one by one,
and the others beside them. Which is which, the folder says (`GROUPS`).
"""

import functools
import gc
import os
import sys

import pytest
import typer.main
from hypothesis import settings
from support import browser, kinds

if "PYTEST_XDIST_WORKER" in os.environ:  # two processes with all cores each would be far slower
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where Python is told to keep no bytecode, as in images of containers, each process that a test
# starts would compile pilotcut anew; `make clean` removes it.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

#: Folders, at any depth, whose tests start processes, and the group in which they run one at a
#: time: beside each other they would be late for each other's deadlines, where a machine has two
#: cores. On Slurm they mostly wait for its daemons, which take turns with anything.
GROUPS = {"processes": "processes", "chaos": "processes", "slurm": "slurm"}
#: Those of pilots and tasks have deadlines; the others, mostly commands, take turns in a group of
#: their own, or the one long row of all would last longer than everything else.
WITH_DEADLINES = ("chaos", "pilots", "tasks")

#: How many times as many examples of each property are drawn, at random: `make fuzz`. Otherwise
#: they are the same ones every time, and a change is never refused for what it did not touch.
FUZZ = int(os.environ.get("PILOTCUT_FUZZ", "0"))
settings.register_profile("same", derandomize=True)
settings.load_profile("default" if FUZZ else "same")

# Qiskit's circuits and hypothesis' examples are many small objects: the collector would look at
# them after each 700, for a fifteenth of the time.
gc.set_threshold(50_000, 20, 20)


def pytest_configure(config):
    """Count tests by kind, and let them skip only where this machine cannot run them."""
    config.pluginmanager.register(kinds)


def pytest_itemcollected(item):
    """Keep tests of processes on one worker of pytest-xdist; draw more examples where asked."""
    folders = item.path.relative_to(item.config.rootpath).parent.parts
    for folder in folders:
        if (group := GROUPS.get(folder)) is not None:
            if group == "processes" and folders[1] not in WITH_DEADLINES:
                group = "commands"
            item.add_marker(pytest.mark.xdist_group(group))
    function = getattr(item, "obj", None)
    if FUZZ and hasattr(function, "hypothesis"):
        drawn = function._hypothesis_internal_use_settings
        more = settings(drawn, max_examples=FUZZ * drawn.max_examples)
        function._hypothesis_internal_use_settings = more


_NO_BROWSER = pytest.StashKey[str]()


def pytest_collection_finish(session):
    """Install Chromium before the first test: its time limit is not for apt-get."""
    wanted = any(item.get_closest_marker("browser") for item in session.items)
    if wanted and not session.config.option.collectonly:
        if not browser.find():
            session.config.get_terminal_writer().line("installing Chromium for its tests ...")
        session.config.stash[_NO_BROWSER] = browser.why_not()


@pytest.fixture(scope="module")
def chromium(request):
    """Start a headless Chromium; tests skip where there is none."""
    if reason := request.config.stash[_NO_BROWSER]:
        pytest.skip(reason)
    with browser.Browser() as running:
        yield running


@pytest.fixture(scope="session")
def workers():
    """Return tasks on a local pilot of two workers, for tests of numbers and not of pilots."""
    from pilotcut import PilotManager, TaskManager
    from pilotcut.pilots.description import PilotDescription

    pilot = PilotDescription(name="laptop", resource="local", cores_per_node=2, workers_per_node=2)
    with PilotManager([pilot]) as pilots, TaskManager(pilots) as tasks:
        yield tasks


#: Folders whose tests are about cuts: in exact mode these are computed as cuts, also where the
#: circuit joined would be quicker and a wrong cut would not be seen.
OF_CUTS = ("backends", "circuits", "cutting", "execution", "primitives", "reconstruction")


@pytest.fixture(autouse=True)
def as_cut(request, monkeypatch):
    """Compute cuts as cuts, unless the test is marked "joined"."""
    first, folder, *_ = request.path.relative_to(request.config.rootpath).parts
    if first == "tests" and folder in OF_CUTS and not request.node.get_closest_marker("joined"):
        monkeypatch.setattr("pilotcut.execution.contractions._is_quicker", lambda *_: False)


@pytest.fixture
def few_sizes(monkeypatch):
    """Measure pilots by few circuits: all of them are compiled first, for seconds."""
    from pilotcut.perfmodel import measure

    for mode, sizes in measure.SIZES.items():
        monkeypatch.setitem(measure.SIZES, mode, sizes[:8])


#: Typer makes all commands anew for each line: longer than most of these lines take.
_command_of = functools.cache(typer.main.get_command)


@pytest.fixture
def call(monkeypatch, capfd):
    """Return a function that runs the command line here and returns code, stdout, stderr."""
    from pilotcut import cli

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["pilotcut", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return ended.value.code or 0, out, err

    # 80 columns, as in a pipe: lines that are longer must not be broken.
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("typer.main.get_command", _command_of)
    return run

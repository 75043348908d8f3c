"""Kinds of pilots of other packages: declared, described by their name, and run."""

import os
import sys
import textwrap

import pytest

from pilotcut.errors import DescriptionError, PilotError, UserError
from pilotcut.pilots import PilotManager, registry
from pilotcut.pilots.description import PilotDescription, load_descriptions
from pilotcut.tasks import TaskManager

MODULE = """
    from concurrent.futures import ThreadPoolExecutor
    from pilotcut.pilots.pilot import InProcessPilot

    made = []

    def pool(description):
        made.append(ThreadPoolExecutor(description.slots))
        return made[-1]

    class Own(InProcessPilot):
        pass

    def raises(description):
        raise OSError("no such queue")

    def none(description):
        return None

    class Half:  # a pilot's own executor is shut down with it
        def __init__(self, description):
            pass
        def submit(self, fn, *args):
            raise AssertionError

    number = 7
"""


@pytest.fixture
def declare(tmp_path, monkeypatch):
    """Return a function that installs a package with entry points, and what is in its module."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def install(package, points, module=MODULE):
        (tmp_path / f"{package}.py").write_text(textwrap.dedent(module))
        info = tmp_path / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {package}:{what}" for name, what in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[pilotcut.pilots]", *lines, ""]))

    yield install
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def described(tmp_path, **fields):
    path = tmp_path / "pilots.yaml"
    entry = {"name": "p", **fields}
    path.write_text(f"pilots: [{{{', '.join(f'{k}: {v}' for k, v in entry.items())}}}]")
    return load_descriptions(path)


@pytest.mark.parametrize("what", ["pool", "Own"])
def test_a_package_declares_a_kind_and_descriptions_name_it(declare, tmp_path, what):
    declare("site_pilots", {"site": what})
    descriptions = described(tmp_path, resource="site", workers_per_node=3)
    with PilotManager(descriptions) as pilots, TaskManager(pilots) as tasks:
        assert tasks.slots == 3
        assert tasks.submit_task(os.getpid).result() == os.getpid()
    if what == "pool":  # made for the pilot, and so closed with it
        with pytest.raises(RuntimeError, match="after shutdown"):
            sys.modules["site_pilots"].made[0].submit(max, 1, 2)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("raises", "pilot 'p': resource 'site' has made no executor of it: OSError: no such queue"),
        ("none", r"pilot 'p': resource 'site' has made None of it, expected an object .*Executor"),
        ("Half", r"resource 'site' has made <.*Half object .*>* of it, expected an object .*Exec"),
    ],
)
def test_a_package_that_makes_no_executor_is_told_in_one_line(declare, tmp_path, what, told):
    declare("site_pilots", {"site": what})
    pilots = PilotManager(described(tmp_path, resource="site"))
    with pytest.raises(PilotError, match=told):
        pilots.start()
    pilots.close()


def test_a_pilot_that_is_never_started_makes_no_executor(declare, tmp_path):
    declare("site_pilots", {"site": "pool"})
    PilotManager(described(tmp_path, resource="site")).close()
    assert sys.modules["site_pilots"].made == []


def test_unknown_kinds_are_told_all_there_are(declare, tmp_path):
    declare("site_pilots", {"site": "pool"})
    with pytest.raises(DescriptionError) as caught:
        described(tmp_path, resource="sitee")
    assert str(caught.value).endswith(
        "pilot 'p': resource is 'sitee', expected inprocess, local, slurm, allocation or site; did "
        "you mean 'site'?"
    )


def test_an_executor_cannot_be_described(tmp_path):
    with pytest.raises(DescriptionError, match=r"'executor', .*use PilotManager.from_executor"):
        described(tmp_path, resource="executor")


@pytest.mark.parametrize(
    ("points", "module", "told"),
    [
        (
            {"site": "pool"},
            "import nothing_of_that_name",
            "resource is 'site', which bad_site declares as 'bad_site:pool', and that cannot be "
            "loaded: ModuleNotFoundError: No module named 'nothing_of_that_name'; mend",
        ),
        ({"site": "poool"}, MODULE, "that cannot be loaded: AttributeError: "),
        (
            {"site": "number"},
            MODULE,
            "declared as 7, expected a subclass of DaskPilot or DirectPilo",
        ),
    ],
)
def test_what_cannot_be_loaded_is_one_line(declare, tmp_path, points, module, told):
    declare("bad_site", points, module)
    descriptions = described(tmp_path, resource="site")
    with pytest.raises(UserError) as caught:
        PilotManager(descriptions)
    assert str(caught.value).startswith("pilot 'p': resource is 'site', ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_kind_that_two_packages_declare_is_refused(declare, tmp_path):
    declare("one_site", {"site": "pool"})
    declare("two_site", {"site": "pool"})
    descriptions = described(tmp_path, resource="site")
    with pytest.raises(UserError, match=r"which one.site and two.site declare, expected one"):
        PilotManager(descriptions)


def test_no_package_takes_over_a_kind_of_ours(declare, tmp_path):
    declare("site_pilots", {"inprocess": "number", "executor": "pool"})
    with PilotManager(described(tmp_path, resource="inprocess")) as pilots:
        assert type(pilots.pilots[0]).__name__ == "InProcessPilot"
    with pytest.raises(DescriptionError, match="resource is 'executor'"):
        described(tmp_path, resource="executor")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"ranks": 2}, "ranks is 2, expected 1 with resource site, whose workers are those of an"),
        ({"gpus_per_node": 1}, "gpus_per_node is 1, expected 0 with resource site"),
        ({"replace": "true"}, "replace is True, expected false with resource site"),
    ],
)
def test_what_an_executor_does_not_have_is_refused(declare, tmp_path, fields, told):
    declare("site_pilots", {"site": "pool"})
    descriptions = described(tmp_path, resource="site", **fields)
    with pytest.raises(UserError, match=told):
        PilotManager(descriptions)


def test_who_reads_of_others_pilots_need_not_have_their_kind(declare, tmp_path, monkeypatch):
    declare("site_pilots", {"site": "pool"})
    pilots = PilotManager(described(tmp_path, resource="site")).pilots
    registry.write(tmp_path / "pilots.json", pilots)
    monkeypatch.setattr(sys, "path", sys.path[1:])
    (entry,) = registry.read(tmp_path / "pilots.json")
    assert entry.description.resource == "site"
    with pytest.raises(ValueError, match="inprocess, local, slurm or allocation"):
        PilotDescription(name="p", resource="site")

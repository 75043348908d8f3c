"""What a machine can run does not skip in CI, and other apt-gets are waited for."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from support import apt, kinds

TESTS = Path(__file__).parents[1]
SCRIPT = TESTS.parent / "slurm" / "testbed" / "slurm-testbed"

SUITE = """
import pytest
from hypothesis import given, strategies as st

@pytest.mark.{kind}
def test_cannot_be_installed():
    pytest.skip("the mirror is away")

@pytest.fixture
def cluster():
    pytest.skip("it does not start")

def test_has_no_cluster(cluster):
    pass

@pytest.mark.skipif(True, reason="there is no mpiexec")
@pytest.mark.mpi
@pytest.mark.slow
def test_has_no_launcher():
    pass

@pytest.mark.gpu
def test_has_no_gpu():
    pytest.skip("there is no GPU")

@pytest.mark.unprivileged
def test_of_rights():
    pass

@pytest.mark.xfail(reason="known")
def test_that_is_known_to_fail():
    assert False

@given(st.integers())
def test_property(number):
    pass
"""

ABSENT = """
import pytest
pytest.importorskip("a_package_that_is_not_there")

def test_with_it():
    pass
"""

# The fakes stand for the machine: one without GPU, where the user is root, and Slurm is possible.
CONFTEST = """
from support import kinds
kinds._LACKING.update(gpu=lambda: "no GPU", slurm=lambda: "", browser=lambda: "only root may")
kinds._is_root = kinds._LACKING["unprivileged"] = lambda: "root may do everything"

def pytest_configure(config):
    for kind in (*kinds.KINDS, "unprivileged"):
        config.addinivalue_line("markers", kind)
"""


@pytest.fixture
def suite(tmp_path):
    """Return a function that runs tests of such kinds, and returns pytest's status and words."""

    def run(*flags, must, kind="slurm", **files):
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_it.py").write_text(SUITE.format(kind=kind))
        for name, text in files.items():
            (tmp_path / f"{name}.py").write_text(text)
        (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra --strict-markers\n")
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-p",
                "support.kinds",
                "-p",
                "no:cacheprovider",
                *flags,
            ],
            cwd=tmp_path,
            env=os.environ | {"PILOTCUT_MUST_RUN": must, "PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
            timeout=100,
        )
        return done.returncode, done.stdout

    return run


def rows(said):
    """Return how many tests of each kind have run and skipped."""
    found = re.findall(r"^(\w+) +(\d+) +(\d+)$", said, re.MULTILINE)
    return {kind: (int(run), int(skipped)) for kind, run, skipped in found}


def test_what_this_machine_can_run_fails_where_it_skips(suite):
    code, said = suite("-n", "1", must="1")
    assert code == 1
    failed = set(re.findall(r"^(?:FAILED|ERROR) test_it.py::(\w+)", said, re.MULTILINE))
    assert failed == {"test_cannot_be_installed", "test_has_no_cluster", "test_has_no_launcher"}
    assert "the mirror is away\nIt must not skip: this machine can run it." in said
    skipped = re.findall(r"^SKIPPED .*: (.*)$", said, re.MULTILINE)
    assert sorted(skipped) == ["root may do everything", "there is no GPU"]
    assert rows(said) == {
        "slurm": (0, 1), "mpi": (0, 1), "browser": (0, 0), "gpu": (0, 1), "vendors": (0, 0),
        "slow": (0, 1), "hypothesis": (1, 0), "other": (1, 2), "all": (2, 5),
    }  # fmt: skip
    last = said.splitlines()[-1]
    assert re.match(r"=+ 1 failed, 1 passed, 2 skipped, 1 xfailed, 2 errors in ", last)


def test_what_this_machine_cannot_run_may_skip(suite):
    code, said = suite("-p", "no:xdist", "-k", "installed or gpu", must="1", kind="browser")
    assert code == 0
    assert rows(said)["browser"] == rows(said)["gpu"] == (0, 1)


def test_elsewhere_tests_skip_and_say_why(suite):
    code, said = suite("-n", "1", must="0", test_absent=ABSENT)  # as `make test` does
    assert code == 0
    assert said.count("SKIPPED") == 6
    assert rows(said)["all"] == (2, 5)


def test_a_module_that_skips_while_it_is_collected_fails(suite):
    code, said = suite("-p", "no:xdist", "-k", "gpu", must="1", test_absent=ABSENT)
    assert code != 0
    assert re.search("^ERROR test_absent.py", said, re.MULTILINE)
    assert "a_package_that_is_not_there" in said


@pytest.mark.parametrize("installed", [True, False])
@pytest.mark.parametrize("problem", ["", "only root may install it"])
def test_slurm_and_a_browser_are_lacking_where_they_are_not_and_cannot_be_installed(
    monkeypatch, installed, problem
):
    from slurm import testbed

    monkeypatch.setattr(testbed, "is_installed", lambda: installed)
    monkeypatch.setattr(kinds.browser, "find", lambda: installed)
    monkeypatch.setattr(apt, "why_not", lambda: problem)
    for kind in ("slurm", "browser"):
        item = SimpleNamespace(get_closest_marker=lambda name, kind=kind: name == kind)
        assert kinds.lacking(item) == ("" if installed else problem)


def test_ci_asks_for_all_that_can_be_run():
    script = (TESTS.parent / ".ci" / "run").read_text()
    assert script.index("export PILOTCUT_MUST_RUN=1") < script.index("make test")


# -- other apt-gets ----------------------------------------------------------------------

#: One that finds a lock held as often as the test says, and writes down what it has done.
APT_GET = """#!/bin/bash
left=$(cat '{home}/held' 2>/dev/null || echo 0)
if ((left > 0)); then
    echo $((left - 1)) > '{home}/held'
    cat '{home}/lock' >&2
    exit 100
fi
echo "$*" >> '{home}/done'
[[ $* != *install* || $* == *--download-only* ]] || touch '{home}/installed'
"""

LOCKS = [
    "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 17 (apt-get)\n"
    "E: Unable to lock directory /var/lib/apt/lists/",
    "E: Could not get lock /var/cache/apt/archives/lock. It is held by process 17 (apt-get)",
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 17 (apt-get)\n"
    "E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), is another "
    "process using it?",
    "dpkg: error: dpkg frontend lock was locked by another process with pid 17\n"
    "E: Sub-process /usr/bin/dpkg returned an error code (2)",
]


@pytest.fixture
def held(tmp_path, monkeypatch):
    """Return a function that says how often apt-get, which is not the real one, is locked."""

    def hold(times, lock=LOCKS[0]):
        (tmp_path / "held").write_text(str(times))
        (tmp_path / "lock").write_text(lock + "\n")
        return tmp_path

    scripts = {
        "apt-get": APT_GET.format(home=tmp_path),
        "sudo": '#!/bin/bash\nexec "${@:2}"\n',
        "sleep": "#!/bin/bash\nexec /bin/sleep 0.05\n",
    } | dict.fromkeys(("slurmd", "munged"), "#!/bin/bash\necho slurm\n")
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(apt, "_PAUSE_S", 0.05)
    return hold


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_of_another_apt_get_is_waited_for(held, lock):
    home = held(3, lock)
    assert apt.install("chromium") == ""
    update, install = (home / "done").read_text().splitlines()
    assert update.endswith(" update")
    assert install.endswith(" install -y --no-install-recommends chromium")


def test_there_is_a_bound_to_that_and_it_is_said(held, monkeypatch):
    held(9_999)
    monkeypatch.setattr(apt, "LOCK_S", 0.2)
    began = time.monotonic()
    said = apt.install("chromium")
    assert time.monotonic() - began < 10
    assert said == (
        "others had the locks of apt-get for more than 0.2 s: E: Could not get lock "
        "/var/lib/apt/lists/lock. It is held by process 17 (apt-get)"
    )


def test_any_other_fault_of_apt_get_is_not_waited_for(held):
    denied = "E: Could not open lock file /var/lib/apt/lists/lock - open (13: Permission denied)"
    home = held(2, denied)  # an update that fails does no harm, an installation does
    assert apt.install("chromium") == f"apt-get failed: {denied}"
    assert not (home / "done").exists()


def install_slurm(home, **environment):
    """Run the testbed's installation on a machine that seems to have nothing yet."""
    command = f'() {{ [[ $2 == apt-get || -e "{home}/installed" ]]; }}'  # for `command -v`
    return subprocess.run(
        [SCRIPT, "install"],
        env=os.environ | {"BASH_FUNC_command%%": command} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("lock", LOCKS)
def test_so_does_the_testbed_of_slurm(held, lock):
    home = held(3, lock)
    done = install_slurm(home)
    assert (done.returncode, done.stderr) == (0, "")
    update, fetch, install = (home / "done").read_text().splitlines()
    assert update.endswith(" update")
    assert "--download-only slurmctld" in fetch
    assert "--no-download slurmctld" in install


def test_and_within_a_bound(held):
    home = held(9_999)
    done = install_slurm(home, SLURM_TESTBED_LOCK_S="1")
    assert done.returncode == 1
    assert done.stderr == (
        "slurm-testbed: others had the locks of apt-get for 1 s: E: Could not get lock "
        "/var/lib/apt/lists/lock. It is held by process 17 (apt-get)\n"
    )
    assert not (home / "done").exists()

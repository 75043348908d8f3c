"""Kinds of tests: which of them this machine can run, whether it did, and how many there were.

A plugin of pytest, registered by `conftest.py`. With PILOTCUT_MUST_RUN set, as in `.ci/run`, a
test that skips although this machine can run its kind fails, and so does a module that skips
while it is collected: a run is not green because something could not be installed.
"""

import os
from itertools import chain

import pytest

from support import apt, browser, openmpi, vendor_stacks

#: Markers that are counted; what has none of them is `other`.
KINDS = ("slurm", "mpi", "browser", "gpu", "vendors", "slow", "hypothesis")

# Read now: tests on Slurm take all variables of ours away.
MUST_RUN = os.environ.get("PILOTCUT_MUST_RUN", "") not in ("", "0")


def lacking(item):
    """Return why this machine cannot run a test, whatever is installed on it; or ''."""
    found = (why() for kind, why in _LACKING.items() if item.get_closest_marker(kind))
    return next(filter(None, found), "")


def _no_slurm():
    from slurm import testbed

    return "" if testbed.is_installed() else apt.why_not()


def _no_open_mpi():
    return "" if openmpi.is_installed() else apt.why_not()


def _no_browser():
    return "" if browser.find() else apt.why_not()


def _no_gpu():
    from qiskit_aer import AerSimulator

    return "" if "GPU" in AerSimulator().available_devices() else "Aer sees no GPU"


def _is_root():
    return "root may do everything" if os.geteuid() == 0 else ""


_LACKING = {
    "slurm": _no_slurm,
    "openmpi": _no_open_mpi,
    "browser": _no_browser,
    "gpu": _no_gpu,
    "unprivileged": _is_root,
    "vendors": vendor_stacks.why_not,
}


def pytest_runtest_setup(item):
    """Skip what means nothing to root, and what needs environments that are made apart."""
    for kind in ("unprivileged", "vendors"):
        if item.get_closest_marker(kind) and (reason := _LACKING[kind]()):
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item):
    """Say of each report what kinds of test it is of; fail what must not skip."""
    report = yield
    report.kinds = [kind for kind in KINDS if item.get_closest_marker(kind)]
    report.has_skipped = report.skipped and not hasattr(report, "wasxfail")
    if MUST_RUN and report.has_skipped and not lacking(item):
        _fail(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report():
    """Fail what skips before it is known which tests there are."""
    report = yield
    if MUST_RUN and report.skipped:
        _fail(report)
    return report


def _fail(report):
    path, line, reason = report.longrepr
    report.outcome = "failed"
    report.longrepr = f"{path}:{line}: {reason}\nIt must not skip: this machine can run it."


def pytest_terminal_summary(terminalreporter, config):
    """Print how many tests of each kind there were, where that may be asked later."""
    asked = MUST_RUN or getattr(config.option, "numprocesses", None)
    if not asked or config.option.collectonly:
        return
    terminalreporter.section("tests by kind")
    for line in table(chain.from_iterable(terminalreporter.stats.values())):
        terminalreporter.line(line)


def table(reports):
    """Return lines with how many tests of each kind have run and skipped, out of all reports."""
    kinds, skipped = {}, set()
    for report in reports:
        if hasattr(report, "kinds"):
            kinds[report.nodeid] = report.kinds or ["other"]
            skipped |= {report.nodeid} if report.has_skipped else set()
    rows = [("kind", "run", "skipped")]
    for kind in (*KINDS, "other", "all"):
        tests = {test for test, its in kinds.items() if kind in (*its, "all")}
        rows.append((kind, len(tests - skipped), len(tests & skipped)))
    return [f"{kind:<10} {run:>7} {skips:>7}" for kind, run, skips in rows]

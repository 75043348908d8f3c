"""PennyLane's own tests of devices, run on ours: how many pass, and what the others say.

    python tests/support/pennylane_suite.py [PART ...]

runs them whole (or files of theirs by name, such as test_wires) uncut and with max_width=2, and
prints for each how many passed, were refused by a `DeviceError` that names what is not supported,
failed otherwise, and were skipped as they ask for something else, such as shots. Minutes.
"""

import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

#: What a device says of what it does not do, in PennyLane's words and in ours.
REFUSALS = re.compile(r"DeviceError.*(not accepted|not supported|expected)", re.DOTALL)


def run(parts=(), **options):
    """Return how many tests passed, were refused, failed and were skipped; and what failed."""
    from pennylane.devices.tests import get_device_tests

    folder = Path(get_device_tests())
    files = [str(folder / f"{part}.py") for part in parts] or [str(folder)]
    own = [f"{name}={value}" for name, value in options.items()]
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        command = [sys.executable, "-m", "pytest", *files, "-c", str(folder / "pytest.ini")]
        command += ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-flaky-report"]
        command += ["--device=pilotcut", "--skip-ops", "--tb=line", f"--junitxml={report}"]
        command += ["--device-kwargs", *own] if own else []
        subprocess.run(command, check=False, capture_output=True, cwd=scratch)
        return counted(ElementTree.parse(report))


def counted(report):
    """Return numbers by outcome, and names and messages of what failed."""
    numbers, failed = Counter(), []
    for case in report.iter("testcase"):
        found = [one for kind in ("failure", "error", "skipped") for one in case.iter(kind)]
        message = (found[0].get("message") or "") + (found[0].text or "") if found else ""
        outcome = "passed"
        if found and found[0].tag == "skipped":
            outcome = "refused" if "xfail" in found[0].get("type", "") else "skipped"
        elif found:
            outcome = "refused" if REFUSALS.search(message) else "failed"
            if outcome == "failed":
                failed.append((case.get("name"), message.splitlines()[0]))
        numbers[outcome] += 1
    return numbers, failed


if __name__ == "__main__":
    for chosen in ({}, {"max_width": 2}, {"max_width": 2, "engine": "statevector"}):
        totals, wrong = run(sys.argv[1:], **chosen)
        listed = ", ".join(
            f"{totals[kind]} {kind}" for kind in ("passed", "refused", "failed", "skipped")
        )
        print(f"{chosen or 'uncut'}: {listed} of {totals.total()}", flush=True)
        for each in wrong:
            print("   ", *each)

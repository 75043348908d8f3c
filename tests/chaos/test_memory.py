"""Ten thousand tasks wait, and run, in little memory."""

import subprocess
import sys
import textwrap

import pytest

TASKS = 10_000
MOST_MIB = 300

# In a process of its own: what other tests left behind is not to be measured. VmHWM is the
# peak of this program; getrusage would also know that of the process that started it.
SCRIPT = """
    import re, sys, time
    from pathlib import Path

    from pilotcut import PilotManager, TaskManager
    from pilotcut.descriptions import PilotDescription

    def resident_mib(what="VmRSS"):
        status = Path("/proc/self/status").read_text()
        return int(re.search(what + r":\\s+(\\d+) kB", status)[1]) / 1024

    def hold(path):
        while not Path(path).exists():
            time.sleep(0.01)

    def length(data):
        return len(data)

    gate, count, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pilot = PilotDescription(name="p", resource="local")
    with PilotManager([pilot]) as pilots, TaskManager(pilots, duplicates=False) as tasks:
        assert tasks.submit_task(length, b"").result() == 0  # dask and all is imported
        held = tasks.submit_task(hold, gate)
        before = resident_mib()
        futures = [tasks.submit_task(length, k.to_bytes(8, "big") + bytes(size)) for k in range(count)]
        tasks.submit_task(length, b"", after=held)  # now the binder has seen them all
        queued = resident_mib()
        Path(gate).touch()
        assert [future.result() for future in futures] == [size + 8] * count
        print(queued - before, resident_mib("VmHWM"))
"""


@pytest.mark.parametrize("argument_bytes", [0, 4096])
def test_ten_thousand_tasks_fit(tmp_path, argument_bytes):
    wishes = [str(tmp_path / "gate"), str(TASKS), str(argument_bytes)]
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), *wishes]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    queued, peak = map(float, answer.stdout.split())
    print(f"\n{TASKS} tasks of {argument_bytes} bytes: {queued:.0f} MiB more, peak {peak:.0f} MiB")
    assert peak < MOST_MIB

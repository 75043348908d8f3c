"""Ten thousand tasks wait, and run, in little memory."""

import subprocess
import sys
import textwrap

TASKS = 10_000
#: A bundle of ours carries some angles and a seed.
ARGUMENT_BYTES = 1024
MOST_MIB = 300

# In a process of its own: what other tests left behind is not to be measured. VmHWM is the
# peak of this program; getrusage would also know that of the process that started it.
SCRIPT = """
    import os, re, sys, time
    from pathlib import Path

    from pilotcut import PilotManager, TaskManager
    from pilotcut.pilots.description import PilotDescription
    from pilotcut.tasks import TaskState

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
        tasks.submit_task(hold, gate)
        before = resident_mib()
        futures = [tasks.submit_task(length, os.urandom(size)) for k in range(count)]
        while futures[-1].task.state is TaskState.WAITING:  # in the binder's inbox
            time.sleep(0.01)
        queued = resident_mib()
        Path(gate).touch()
        assert [future.result() for future in futures] == [size] * count
        print(queued - before, resident_mib("VmHWM"))
"""


def test_ten_thousand_tasks_fit_in_the_manager(tmp_path):
    wishes = [str(tmp_path / "gate"), str(TASKS), str(ARGUMENT_BYTES)]
    command = [sys.executable, "-c", textwrap.dedent(SCRIPT), *wishes]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    queued, peak = map(float, answer.stdout.split())
    print(f"\n{TASKS} tasks waiting: {queued:.0f} MiB more; peak of all {peak:.0f} MiB")
    assert peak < MOST_MIB

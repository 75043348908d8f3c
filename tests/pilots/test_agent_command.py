"""What agents are started with."""

import os
import subprocess
import sys

from pilotcut.pilots.agent.command import provide_package, search_path


def test_pilotcut_alone_is_what_another_python_finds(tmp_path):
    for _ in range(2):  # of each pilot
        provide_package("/other/python", tmp_path)
    path = search_path("/other/python", tmp_path)
    assert os.listdir(path) == ["pilotcut"]
    code = "import pilotcut; print(pilotcut.__file__)"
    found = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(f"{path}/pilotcut/")

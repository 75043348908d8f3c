"""What several tests of pilots start from."""

import os
import shlex

import pytest
from support.slurm_commands import Commands


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Return the commands of a cluster, which stand before all others."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Commands(tmp_path)


@pytest.fixture
def stub(tmp_path):
    """Make programs that write down how they were called."""

    def make(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "#!/bin/bash\n"
            f"printf '%s\\0' \"$@\" > {shlex.quote(str(tmp_path / 'arguments'))}\n"
            f"env -0 > {shlex.quote(str(tmp_path / 'environment'))}\n"
        )
        path.chmod(0o755)
        return str(path)

    return make

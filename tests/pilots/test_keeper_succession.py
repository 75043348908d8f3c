"""What a scheduler does about keepers that come and go between two of its looks."""

import asyncio
import json
import subprocess
import sys

import pytest

from pilotcut.pilots.agent import keepers

#: A process that becomes the keeper and ends, one that is killed before, one that refuses.
SCRIPTS = {
    "dies as the keeper": "import json, os; open('keeper.json', 'w').write("
    "json.dumps({'pid': os.getpid(), 'started': 0}))",
    "is killed before": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "refuses": "raise SystemExit(1)",
}


@pytest.mark.parametrize("what", SCRIPTS)
def test_a_keeper_that_dies_at_once_is_followed_and_one_that_refuses_is_not(
    what, tmp_path, monkeypatch
):
    started = []

    def start_next(run_dir):
        if len(started) < 3:
            started.append(subprocess.Popen([sys.executable, "-c", SCRIPTS[what]], cwd=run_dir))
            return started[-1]
        ended.set()
        return None

    async def outlive():
        nonlocal ended
        ended = asyncio.Event()
        await asyncio.wait_for(keepers.outlive(tmp_path, "tls://a:1", ended, 2.0), 20.0)

    ended = None
    (tmp_path / "connection.json").touch()
    (tmp_path / "keeper.json").write_text(json.dumps({"pid": 2**22 + 1, "started": 0}))
    monkeypatch.setattr(keepers, "_WATCH_S", 0.02)
    monkeypatch.setattr(keepers, "start_next", start_next)
    asyncio.run(outlive())
    for process in started:
        process.wait(10)
    assert len(started) == (1 if what == "refuses" else 3)

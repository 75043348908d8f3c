"""What goes wrong: a thread that kills workers and ends pilots at random, and brings new ones."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import psutil

from pilotcut.pilots import PilotManager, PilotState
from pilotcut.pilots.description import PilotDescription

#: How many pilots there are to be, and how many must stay whatever comes.
PILOTS, LEAST = 4, 2
#: What happens, and how often compared with the others.
DISASTERS = {"kill a worker": 6, "cancel a pilot": 1, "kill a pilot": 1}


class Storm:
    """Ends workers and pilots of a manager for some time, with one seed always the same ones.

    Local pilots are not replaced, so new ones attach themselves, as a user's hand would.

    Parameters
    ----------
    pilots
        The manager, started, with local pilots.
    seed
        Of what happens when; the machine's speed has a part in it too.
    pause_s
        Mean time between two disasters.
    """

    def __init__(self, pilots: PilotManager, seed: int, pause_s: float) -> None:
        self.happened: Counter[str] = Counter()
        self._pilots = pilots
        self._rng = random.Random(seed)
        self._pause_s = pause_s
        self._attached: dict[str, subprocess.Popen[bytes]] = {}
        self._ended: set[str] = set()  # by us: the manager may not know yet
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._rage, name="storm")

    def __enter__(self) -> Storm:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.abate()
        for process in self._attached.values():
            _kill_group(process.pid)
            process.wait()

    def abate(self) -> None:
        """End nothing any more; what is left goes on."""
        self._over.set()
        self._thread.join()

    def processes(self) -> list[psutil.Process]:
        """Return all processes below this one, and those of attached pilots."""
        return psutil.Process().children(recursive=True)

    def _rage(self) -> None:
        while not self._over.wait(self._rng.expovariate(1 / self._pause_s)):
            self._keep_pilots_coming()
            weights = list(DISASTERS.values())
            (disaster,) = self._rng.choices(list(DISASTERS), weights)
            alive = self._alive()
            if disaster == "kill a worker":
                self._kill_a_worker(self._rng.choice(alive))
            elif len(alive) > LEAST:
                victim = self._rng.choice(alive)
                self._ended.add(victim)
                self.happened[disaster] += 1
                (self._cancel if disaster == "cancel a pilot" else self._kill)(victim)

    def _alive(self) -> list[str]:
        """Return the names of the pilots that are in use and really there."""
        return [
            pilot.name
            for pilot in self._pilots.pilots
            if pilot.state is PilotState.ACTIVE and pilot.name not in self._ended
        ]

    def _agent(self, name: str) -> int | None:
        if name in self._attached:
            return self._attached[name].pid
        (pilot,) = (pilot for pilot in self._pilots.pilots if pilot.name == name)
        agent = getattr(pilot, "_agent", None)
        return agent.process.pid if agent is not None else None

    def _kill_a_worker(self, name: str) -> None:
        agent = self._agent(name)
        workers = _workers_below(agent) if agent is not None else []
        if workers:
            self.happened["kill a worker"] += 1
            _kill(self._rng.choice(workers))

    def _cancel(self, name: str) -> None:
        if name in self._attached:
            self._attached[name].terminate()
        else:
            (pilot,) = (pilot for pilot in self._pilots.pilots if pilot.name == name)
            pilot.close()

    def _kill(self, name: str) -> None:
        agent = self._agent(name)
        assert agent is not None
        _kill(agent)

    def _keep_pilots_coming(self) -> None:
        coming = [n for n in self._attached if n not in self._ended and n not in self._alive()]
        for _ in range(PILOTS - len(self._alive()) - len(coming)):
            name = f"new{len(self._attached)}"
            self.happened["attach a pilot"] += 1
            self._attached[name] = _attach(
                name, self._rng.choice([1, 2]), self._pilots.connection_file
            )


def described(rng: random.Random) -> list[PilotDescription]:
    """Return the pilots to begin with, of one or two workers each."""
    return [
        PilotDescription(name=f"old{k}", resource="local", cores_per_node=rng.choice([1, 2]))
        for k in range(PILOTS)
    ]


def _attach(name: str, workers: int, connection: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pilotcut.cli", "pilots", "attach"]
    wishes = ["--name", name, "--workers", str(workers), "--connection", str(connection)]
    # The workers must find what the tests send them.
    search = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with (Path(str(connection)).parent / "logs" / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [*command, *wishes],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | search,
            start_new_session=True,
        )


def _below(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _workers_below(pid: int) -> list[int]:
    """Return the dask workers that an agent nurses, and none of Python's own helpers."""
    return [child for child in _below(pid) if "spawn_main" in _command(child)]


def _command(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)

"""A fleet whose devices are processes of their own."""

import time

import numpy as np
import psutil
from support.fleets import bits, config, described, jobs, train

from pilotcut.fleet.fleet import OnPilots, load_fleet
from pilotcut.fleet.run import trainer_of
from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager


def test_on_processes_of_their_own_too_and_one_that_is_killed_is_back_once_it_is_replaced(
    tmp_path, data
):
    described(tmp_path / "fleet.yaml", local=("alpha", "beta"))
    with PilotManager(load_fleet(tmp_path / "fleet.yaml")) as pilots, TaskManager(pilots) as tasks:
        on = OnPilots(tasks)
        for name in ("all-sharing", "arbiterq"):
            assert bits(*train(name, data, on)) == bits(*train(name, data)), name
        submit, count = on.submit, iter(range(100))

        def kill_beta(device, *arguments):
            result = submit(device, *arguments)
            if device == "beta" and next(count) == 2:  # after an evaluation and a gradient
                agent = psutil.Process(on.pilots["beta"]._agent.process.pid)
                # Its workers too: one that lives on for a moment may end this very call.
                for process in (agent, *agent.children(recursive=True)):
                    process.kill()
            return result

        on.submit = kill_beta
        epochs = trainer_of(config("all-sharing"), jobs(), data, on).run()
        next(epochs)
        without = next(epochs)
        limit = time.monotonic() + 40
        while "beta" not in on.present() and time.monotonic() < limit:
            time.sleep(0.1)
        back = next(epochs)
    (event,) = without.events
    assert (event.device, event.what, event.epoch) == ("beta", "left", 1)
    assert without.online == ("alpha", "gamma")
    assert np.isnan(without.losses[1])
    assert [(e.device, e.what) for e in back.events] == [("beta", "came back")]
    assert back.losses[0] < without.losses[0]
    assert np.isfinite(back.losses).all()

"""A fleet of three small devices, and short trainings on it."""

import numpy as np
import yaml

from pilotcut.fleet import device_jobs
from pilotcut.fleet.config import FleetConfig
from pilotcut.fleet.device_jobs import Job
from pilotcut.fleet.run import trainer_of
from pilotcut.fleet.strategies import STRATEGIES
from pilotcut.fleet.submission import here
from pilotcut.pilots.description.qpu import QpuDescription

ALL = tuple(STRATEGIES)


def weights(strategy):
    return np.stack([strategy.weights_of(k) for k in range(strategy.facts.devices)])


NUMBERS = {"infidelity_1q": 0.001, "infidelity_2q": 0.01, "t1_us": 100.0, "t2_us": 80.0}


QPUS = {
    "alpha": {"qubits": 2, **NUMBERS},
    "beta": {"qubits": 3, **NUMBERS, "infidelity_2q": 0.0101},
    "gamma": {"qubits": 3, "topology": "star", **NUMBERS, "reset_us": 500.0},
}


def jobs(engine="law", **changes):
    """Return jobs of three devices; changes are fields of devices by name."""
    qpus = {name: QpuDescription(**(qpu | changes.get(name, {}))) for name, qpu in QPUS.items()}
    return [Job(name, qpu, "crx", 2, engine) for name, qpu in qpus.items()]


def config(strategy, **fields):
    quick = {"epochs": 2, "batch_size": 8, "shots": 64, "kappa": 2000.0, "local_steps": 2}
    return FleetConfig.of({"dataset": "iris", "fleet": "", "strategy": strategy} | quick | fields)


class On:
    """Work here, except where a test says otherwise."""

    def __init__(self, instead=here, absent=()):
        self.submit, self.absent = instead, absent

    def present(self):
        return set(QPUS) - set(self.absent)


def train(strategy, data, on=None, of=None, **fields):
    """Return the trainer and its epochs."""
    trainer = trainer_of(config(strategy, **fields), of or jobs(), data, on)
    return trainer, list(trainer.run())


def failing(device, error, calls):
    """Return a submit by which some calls to a device, numbered from 0, raise."""
    count = iter(range(10**6))

    def submit(name, fn, *arguments):
        if name == device and fn is device_jobs.gradient and next(count) in calls:
            raise error
        return here(name, fn, *arguments)

    return submit


def described(path, *, local=(), **changes):
    """Write the description of the fleet; some devices are processes, and replaced if they end."""
    pilots = [
        {
            "name": name,
            "resource": "local" if name in local else "inprocess",
            "replace": name in local,
            "walltime": "01:00:00",
            "backend": {"kind": "aer", "qpu": qpu | changes.get(name, {})},
        }
        for name, qpu in QPUS.items()
    ]
    path.write_text(yaml.safe_dump({"pilots": pilots}))
    return path


def bits(trainer, epochs):
    numbers = [np.stack([e.losses, e.accuracies, e.train_losses, e.clocks_s]) for e in epochs]
    return weights(trainer.strategy).tobytes(), np.stack(numbers).tobytes()


def stop_at(epoch):
    def tell(known):
        if known.epoch == epoch:
            raise KeyboardInterrupt

    return tell


def contents(run):
    with np.load(run.weights_file) as kept:
        return run.records.read_bytes(), kept["weights"].tobytes(), kept["vectors"].tobytes()


def qpu(qubits: int = 4, error_1q=0.0, error_2q=0.0, readout=0.0, **more) -> QpuDescription:
    """A QPU of long T1 and T2: what errs is said here."""
    numbers = {"t1_us": 1e9, "t2_us": 1e9, "infidelity_1q": error_1q, "infidelity_2q": error_2q}
    return QpuDescription(qubits=qubits, readout_error=readout, **numbers, **more)

"""A backend whose calibration is another one each time it is read."""

from qiskit.providers import BackendV2, Options

from pilotcut.backends.qpu_target import target_of
from pilotcut.pilots.description.qpu import QpuDescription


class Refreshing(BackendV2):
    """Twice the errors with each refresh."""

    def __init__(self):
        super().__init__(name="refreshing")
        self.infidelity = 0.002

    @classmethod
    def _default_options(cls):
        return Options()

    def refresh(self):
        self.infidelity *= 2

    @property
    def target(self):
        numbers = {"infidelity_1q": 1e-3, "infidelity_2q": self.infidelity}
        return target_of(QpuDescription(qubits=2, t1_us=100.0, t2_us=100.0, **numbers))

    @property
    def max_circuits(self):
        return None

    def run(self, circuits, **options):
        raise NotImplementedError


backend = Refreshing()

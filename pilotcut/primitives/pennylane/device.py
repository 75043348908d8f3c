"""PennyLane's device ``pilotcut``: QNodes whose circuits are cut, and run on pilots."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter, signature
from typing import Any

from pennylane.devices import Device
from pennylane.devices.execution_config import ExecutionConfig
from pennylane.devices.modifiers import simulator_tracking, single_tape_support
from pennylane.exceptions import DeviceError
from pennylane.tape import QuantumScript
from pennylane.transforms.core import CompilePipeline

from pilotcut.errors import UserError
from pilotcut.options import choice_fault
from pilotcut.primitives.estimator import CutEstimator
from pilotcut.primitives.pennylane.evaluator import TapeEvaluator
from pilotcut.primitives.pennylane.nesting import check_first_order
from pilotcut.primitives.pennylane.preprocessing import NAME, has_derivatives, pipeline
from pilotcut.primitives.pennylane.reader import TapeReader
from pilotcut.primitives.pennylane.sampler import TapeSampler
from pilotcut.primitives.pennylane.session import Pilots, PilotSession

_METHODS = ("best", "device")

#: Options of an estimator that a device has in other words, or not at all.
_OTHERWISE = {
    "shots": "use qml.set_shots on the QNode",
    "plan": "give cuts, labels or max_width",
    "num_samples": "leave it out",
    "store": "leave it out",
}


#: Options that are the device's own, or those of an estimator.
_KNOWN = ["pilots", "wire_cuts"]
_KNOWN += [
    name
    for name, parameter in signature(CutEstimator).parameters.items()
    if parameter.kind is Parameter.KEYWORD_ONLY and name not in {"wires", *_OTHERWISE}
]


@simulator_tracking
@single_tape_support
class PilotcutDevice(Device):
    """Device that cuts circuits and runs their fragments on pilots.

    Parameters
    ----------
    wires
        How many, or their labels, in the order of qubits; None for those of each circuit.
    shots
        Deprecated by PennyLane; use `qml.set_shots`. In exact mode they are of the whole circuit,
        as on PennyLane's simulators; in the other modes of each subexperiment.
    pilots
        Where fragments run: the path of a pilot description, descriptions, a `PilotManager` or a
        `TaskManager`. None runs in this process. Pilots start with the first circuit, and end
        with the device, or by `close`.
    mode
        "exact": no shots in fragments. "counts" and "sampled" want shots.
    seed
        The same seed gives the same numbers; None draws one.
    wire_cuts
        How wires are cut, `wires` of `pilotcut.CutEstimator`.
    options
        Those of `pilotcut.CutEstimator`: `cuts`, `labels`, `max_width`, `auto`, `joint_cuts`,
        `engine`, `dtype`, `backend`, `error_tolerance`, `mitigation`, `shot_allocation`,
        `reconstruction`, `max_seconds`, `max_usage`, `trace`. Without `cuts`, `labels` and
        `max_width` a circuit is cut at its `qml.WireCut`, or not at all.

    Raises
    ------
    DeviceError
        For options that do not fit.

    Examples
    --------
    >>> import pennylane as qml
    >>> device = PilotcutDevice(wires=2, labels="AB")
    >>> @qml.qnode(device)
    ... def circuit(x):
    ...     qml.RX(x, 0)
    ...     qml.CNOT([0, 1])
    ...     return qml.expval(qml.Z(1))
    >>> round(float(circuit(0.0)), 9)
    1.0
    """

    def __init__(
        self,
        wires: Any = None,
        shots: Any = None,
        *,
        pilots: Pilots = None,
        mode: str = "exact",
        seed: int | None = None,
        wire_cuts: str = "auto",
        **options: Any,
    ) -> None:
        super().__init__(wires=wires, shots=shots)
        _check_names(options)
        with _as_device_error():
            self._session = PilotSession(pilots)
            self._estimator = CutEstimator(mode=mode, seed=seed, wires=wire_cuts, **options)
        self._mode = mode
        kept = ("backend", "error_tolerance", "max_seconds", "max_usage")
        own = {name: options[name] for name in kept if name in options} | {"mode": mode}
        sampler = TapeSampler(self._estimator, own, seed)
        # Markers are PennyLane's hint; who says how to cut has chosen.
        marks = all(options.get(name) is None for name in ("cuts", "labels", "max_width"))
        labels = isinstance(options.get("labels"), Sequence)  # one a wire, used or not
        reader = TapeReader(self.wires, use_all=labels, marks=marks)
        self._evaluator = TapeEvaluator(self._estimator, reader, sampler)

    @property
    def name(self) -> str:
        """The name that `qml.device` knows it by."""
        return NAME

    @property
    def estimator(self) -> CutEstimator:
        """The estimator behind it, with its trace and stage times."""
        return self._estimator

    def close(self) -> None:
        """End the pilots that the device has started; a later circuit starts them again."""
        self._estimator.use(None)
        self._session.close()

    # -- what PennyLane asks before it runs anything -----------------------------------

    def supports_derivatives(
        self,
        execution_config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> bool:
        """Whether first derivatives of a circuit are the device's own."""
        if execution_config is None:
            return True
        if execution_config.gradient_method not in _METHODS:
            return False
        if execution_config.derivative_order > 1:
            return False
        return circuit is None or has_derivatives(circuit, mode=self._mode)

    def supports_vjp(
        self,
        execution_config: ExecutionConfig | None = None,
        circuit: QuantumScript | None = None,
    ) -> bool:
        """Whether vector-Jacobian products of a circuit are the device's own."""
        return self.supports_derivatives(execution_config, circuit)

    def setup_execution_config(
        self, config: ExecutionConfig | None = None, circuit: QuantumScript | None = None
    ) -> ExecutionConfig:
        """Return a configuration with what was left open."""
        config = config or ExecutionConfig()
        for option in config.device_options:
            raise DeviceError(f"device option {option} not present on {self}")
        method = config.mcm_config.mcm_method
        if method not in (None, "deferred"):
            raise DeviceError(
                f"mcm_method {method} not supported on {NAME}. Supported methods are {{'deferred'}}"
            )
        changed: dict[str, Any] = {
            "mcm_config": replace(config.mcm_config, mcm_method="deferred"),
        }
        if self.supports_derivatives(config, circuit):
            # Vector-Jacobian products whatever is asked: a Jacobian would be their stack.
            changed |= {
                "gradient_method": "device",
                "use_device_gradient": True,
                "use_device_jacobian_product": True,
                "grad_on_execution": False,
            }
        return replace(config, **changed)

    def preprocess_transforms(
        self, execution_config: ExecutionConfig | None = None
    ) -> CompilePipeline:
        """Return the transforms of every tape."""
        config = execution_config or ExecutionConfig()
        own = config.gradient_method == "device"
        return pipeline(config, self.wires, mode=self._mode, device_gradient=own)

    # -- what PennyLane runs -----------------------------------------------------------

    def execute(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
        """Return the results of preprocessed tapes, one a tape."""
        keep = execution_config is not None and execution_config.gradient_method == "device"
        with self._running():
            return tuple(self._evaluator.results(circuits, keep))

    def compute_vjp(
        self,
        circuits: Sequence[QuantumScript],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, ...]:
        """Return vector-Jacobian products of tapes by their trainable parameters."""
        check_first_order(execution_config)
        with self._running():
            return tuple(self._evaluator.pulled_back(circuits, cotangents))

    def execute_and_compute_vjp(
        self,
        circuits: Sequence[QuantumScript],
        cotangents: Sequence[Any],
        execution_config: ExecutionConfig | None = None,
    ) -> tuple[Any, Any]:
        """Return results and vector-Jacobian products."""
        config = replace(execution_config or ExecutionConfig(), gradient_method="device")
        results = self.execute(circuits, config)
        return results, self.compute_vjp(circuits, cotangents, config)

    def compute_derivatives(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, ...]:
        """Return Jacobians of tapes by their trainable parameters."""
        check_first_order(execution_config)
        with self._running():
            return tuple(self._evaluator.jacobians(circuits))

    def execute_and_compute_derivatives(
        self, circuits: Sequence[QuantumScript], execution_config: ExecutionConfig | None = None
    ) -> tuple[Any, Any]:
        """Return results and Jacobians."""
        config = replace(execution_config or ExecutionConfig(), gradient_method="device")
        return self.execute(circuits, config), self.compute_derivatives(circuits, config)

    @contextmanager
    def _running(self) -> Any:
        with _as_device_error():
            tasks = self._session.tasks
            if tasks is not self._estimator.runner.executor.tasks:
                self._estimator.use(tasks)
            yield


def _check_names(options: dict[str, Any]) -> None:
    for name in sorted(options.keys() & _OTHERWISE.keys()):
        raise DeviceError(f"{name} is no option of {NAME}; {_OTHERWISE[name]}")
    for name in options:
        if fault := choice_fault(f"option of {NAME}", name, _KNOWN):
            raise DeviceError(fault)


@contextmanager
def _as_device_error() -> Any:
    """Say what users can mend as PennyLane's devices do."""
    try:
        yield
    except UserError as error:
        raise DeviceError(str(error)) from error

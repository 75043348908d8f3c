"""pilotcut trains quantum neural networks whose circuits are too big for one device.

Names are imported on first use: workers and schedulers import this package too, and do
not need Qiskit to start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotcut.backends.distributed.distributed_statevector import DistributedStatevector
    from pilotcut.circuits.markers import CutWire, Move
    from pilotcut.cutting.explanation import explain
    from pilotcut.cutting.plan import CutPlan, compile_plan
    from pilotcut.errors import UserError
    from pilotcut.perfmodel.recommend import recommend
    from pilotcut.pilots import PilotManager
    from pilotcut.primitives.distribution import Distribution
    from pilotcut.primitives.estimator import CutEstimator
    from pilotcut.primitives.gradient import CutGradient
    from pilotcut.primitives.probabilities import (
        most_probable,
        reconstruct_probabilities,
        sample,
    )
    from pilotcut.primitives.qnn import CutQNN, cut_qnn
    from pilotcut.primitives.sampler import CutSampler
    from pilotcut.tasks import TaskManager
    from pilotcut.training.callbacks import Callback
    from pilotcut.training.parallel import (
        BoundedStaleness,
        DataParallel,
        LocalSteps,
        Synchronous,
    )
    from pilotcut.training.run import TrainingRun
    from pilotcut.training.trained import trained
    from pilotcut.training.trainer import Trainer

__version__ = "0.1.0"

__all__ = [
    "BoundedStaleness",
    "Callback",
    "CutEstimator",
    "CutGradient",
    "CutPlan",
    "CutQNN",
    "CutSampler",
    "CutWire",
    "DataParallel",
    "DistributedStatevector",
    "Distribution",
    "LocalSteps",
    "Move",
    "PilotManager",
    "Synchronous",
    "TaskManager",
    "Trainer",
    "TrainingRun",
    "UserError",
    "__version__",
    "compile_plan",
    "cut_qnn",
    "explain",
    "most_probable",
    "recommend",
    "reconstruct_probabilities",
    "sample",
    "trained",
]

_HOME = {
    "Callback": "pilotcut.training.callbacks",
    "BoundedStaleness": "pilotcut.training.parallel",
    "CutEstimator": "pilotcut.primitives.estimator",
    "CutGradient": "pilotcut.primitives.gradient",
    "CutPlan": "pilotcut.cutting.plan",
    "CutQNN": "pilotcut.primitives.qnn",
    "CutSampler": "pilotcut.primitives.sampler",
    "CutWire": "pilotcut.circuits.markers",
    "DataParallel": "pilotcut.training.parallel",
    "DistributedStatevector": "pilotcut.backends.distributed.distributed_statevector",
    "Distribution": "pilotcut.primitives.distribution",
    "LocalSteps": "pilotcut.training.parallel",
    "Move": "pilotcut.circuits.markers",
    "PilotManager": "pilotcut.pilots",
    "Synchronous": "pilotcut.training.parallel",
    "TaskManager": "pilotcut.tasks",
    "Trainer": "pilotcut.training.trainer",
    "TrainingRun": "pilotcut.training.run",
    "UserError": "pilotcut.errors",
    "compile_plan": "pilotcut.cutting.plan",
    "cut_qnn": "pilotcut.primitives.qnn",
    "explain": "pilotcut.cutting.explanation",
    "most_probable": "pilotcut.primitives.probabilities",
    "recommend": "pilotcut.perfmodel.recommend",
    "reconstruct_probabilities": "pilotcut.primitives.probabilities",
    "sample": "pilotcut.primitives.probabilities",
    "trained": "pilotcut.training.trained",
}


#: The extra that a name needs.
_EXTRA = {
    **dict.fromkeys(("CutQNN", "cut_qnn"), "torch"),
    **dict.fromkeys(("CutGradient", "Callback", "Trainer", "TrainingRun", "trained"), "train"),
    **dict.fromkeys(("BoundedStaleness", "DataParallel", "LocalSteps", "Synchronous"), "train"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'pilotcut' has no attribute '{name}'")
    if name in _EXTRA:
        import_module("pilotcut.io.extras").require(name, _EXTRA[name])
    return getattr(import_module(_HOME[name]), name)

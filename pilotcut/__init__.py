"""pilotcut trains quantum neural networks whose circuits are too big for one device."""

from pilotcut.cutting.plan import CutPlan, compile_plan
from pilotcut.errors import UserError
from pilotcut.estimator import CutEstimator
from pilotcut.pilots import PilotManager
from pilotcut.tasks import TaskManager

__version__ = "0.1.0"

__all__ = [
    "CutEstimator",
    "CutPlan",
    "PilotManager",
    "TaskManager",
    "UserError",
    "__version__",
    "compile_plan",
]

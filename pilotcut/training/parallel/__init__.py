"""Data-parallel training over pilots, where the data set is the bottleneck.

Replicas of a torch module live in worker processes; weights and row numbers travel there,
gradients back. What to do with them is a schedule's affair.

References
----------
L. Pira and C. Ferrie, "An invitation to distributed quantum neural networks" (2023).
"""

from pilotcut.training.parallel.schedules import BoundedStaleness, LocalSteps, Synchronous
from pilotcut.training.parallel.trainer import DataParallel

__all__ = [
    "BoundedStaleness",
    "DataParallel",
    "LocalSteps",
    "Synchronous",
]

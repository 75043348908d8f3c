"""Tasks: functions bound late to whichever pilot has room for them."""

from concurrent.futures import wait

from pilotcut.pilots.worker.payload import launch_number
from pilotcut.tasks.manager import TaskManager
from pilotcut.tasks.policies import Batched, Staggered, cost_aware, eager, longest_first
from pilotcut.tasks.policy_base import Policy
from pilotcut.tasks.shared import Shared
from pilotcut.tasks.snapshots import PilotView, TaskView
from pilotcut.tasks.task import Task, TaskFuture, TaskState, as_completed

__all__ = [
    "Batched",
    "PilotView",
    "Policy",
    "Shared",
    "Staggered",
    "Task",
    "TaskFuture",
    "TaskManager",
    "TaskState",
    "TaskView",
    "as_completed",
    "cost_aware",
    "eager",
    "launch_number",
    "longest_first",
    "wait",
]

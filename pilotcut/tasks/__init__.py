"""Tasks: functions bound late to whichever pilot has room for them."""

from concurrent.futures import wait

from pilotcut.tasks.manager import TaskManager
from pilotcut.tasks.policies import PilotView, Policy, TaskView, eager, longest_first
from pilotcut.tasks.task import Shared, Task, TaskFuture, TaskState, as_completed

__all__ = [
    "PilotView",
    "Policy",
    "Shared",
    "Task",
    "TaskFuture",
    "TaskManager",
    "TaskState",
    "TaskView",
    "as_completed",
    "eager",
    "longest_first",
    "wait",
]

"""Task, Command, CommandHost: what is to run, in which steps, and what came of it on each host."""

from tasks_app.models.command import Command, CommandKind, OnFailure
from tasks_app.models.command_host import CommandHost, CommandHostAttempt, CommandOutput
from tasks_app.models.task import OfflinePolicy, SweepTick, Task, TaskWindow

__all__ = [
    "Command",
    "CommandHost",
    "CommandHostAttempt",
    "CommandKind",
    "CommandOutput",
    "OfflinePolicy",
    "OnFailure",
    "SweepTick",
    "Task",
    "TaskWindow",
]

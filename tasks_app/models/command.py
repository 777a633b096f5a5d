"""Command: one step of a task."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from devops_manager.lib.ids import uuid7
from devops_manager.lib.indexes import PostgresIndex
from devops_manager.lib.one_line import visible_text
from hosts_app.models import Host
from tasks_app.models.task import Task
from tasks_app.states import (
    CommandStatus,
    RowStatus,
)


class CommandKind(models.TextChoices):
    """What a command's body is."""

    COMMAND = "command", _("Command line")
    SCRIPT = "script", _("Script")


class OnFailure(models.TextChoices):
    """What a host does when a step did not complete there."""

    STOP = "stop", _("Skip the steps that follow on that host")
    CONTINUE = "continue", _("Go on with the next step")


class Command(models.Model):
    """One step of a task. ``host`` null: on every target; set: on that host only.

    The ``*_rows`` counts are its rows by state and move in the transaction that moves the rows.
    """

    command_id = models.UUIDField(_("command id"), default=uuid7, unique=True, editable=False)
    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        related_name="commands",
        db_index=False,
        verbose_name=_("task"),
    )
    host = models.ForeignKey(
        Host,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_index=False,
        verbose_name=_("only on host"),
    )
    position = models.PositiveSmallIntegerField(_("step"))
    name = models.CharField(_("name"), max_length=200, blank=True, default="")
    kind = models.CharField(
        _("kind"), max_length=8, choices=CommandKind.choices, default=CommandKind.COMMAND
    )
    body = models.TextField(_("command or script"))
    interpreter = models.CharField(_("interpreter"), max_length=200, blank=True, default="")
    parameters = models.JSONField(_("parameters"), default=list, blank=True)
    environment = models.JSONField(_("environment"), default=dict, blank=True)
    working_directory = models.CharField(
        _("working directory"), max_length=1000, blank=True, default=""
    )
    run_as = models.CharField(_("run as"), max_length=64, blank=True, default="")
    timeout_seconds = models.PositiveIntegerField(_("timeout (s)"), default=300)
    on_failure = models.CharField(
        _("on failure"), max_length=8, choices=OnFailure.choices, default=OnFailure.STOP
    )
    status = models.CharField(
        _("status"), max_length=16, choices=CommandStatus.choices, default=CommandStatus.PENDING
    )
    blocked_rows = models.IntegerField(default=0)
    pending_rows = models.IntegerField(default=0)
    claimed_rows = models.IntegerField(default=0)
    running_rows = models.IntegerField(default=0)
    completed_rows = models.IntegerField(default=0)
    failed_rows = models.IntegerField(default=0)
    timeout_rows = models.IntegerField(default=0)
    dispatch_failed_rows = models.IntegerField(default=0)
    canceled_rows = models.IntegerField(default=0)
    interrupted_rows = models.IntegerField(default=0)
    lost_rows = models.IntegerField(default=0)
    skipped_rows = models.IntegerField(default=0)

    class Meta:
        db_table = "commands"
        verbose_name = _("command")
        verbose_name_plural = _("commands")
        indexes: ClassVar = [
            # the steps of a task, in order
            PostgresIndex(fields=["task", "position"], name="idx_commands_task_id"),
            # steps pinned to a host
            PostgresIndex(fields=["host"], name="idx_commands_host_id"),
            # the admin's list by state
            PostgresIndex(fields=["status"], name="idx_commands_status"),
            # the steps of a task that are in one state
            PostgresIndex(fields=["task", "status"], name="idx_commands_task_status"),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["task", "position"], name="uniq_commands_task_position"
            ),
            models.CheckConstraint(
                condition=Q(status__in=CommandStatus.values), name="commands_status_known"
            ),
            models.CheckConstraint(
                condition=Q(**{f"{status}_rows__gte": 0 for status in RowStatus.values}),
                name="commands_rows_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return visible_text(self.name) or f"{self.task_id}/{self.position}"

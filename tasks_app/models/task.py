"""Task and its frozen targets: what is to be done, and on which hosts."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now, Upper
from django.utils.translation import gettext_lazy as _

from devops_manager.lib.ids import uuid7
from devops_manager.lib.indexes import PostgresIndex
from devops_manager.lib.one_line import visible_text
from tasks_app.states import (
    TASK_TERMINAL,
    Priority,
    TaskStatus,
)


class OfflinePolicy(models.TextChoices):
    """What to do with a target that is offline."""

    WAIT = "wait", _("Wait until it is back, within the delivery time")
    FAIL = "fail", _("Fail at once")


class Task(models.Model):
    """One thing to be done on a set of hosts, in one or more steps.

    The ``*_hosts`` counts move in the transaction that moves the rows; when the task closes, the
    outcomes sum to ``total_hosts``.
    """

    task_id = models.UUIDField(_("task id"), default=uuid7, unique=True, editable=False)
    name = models.CharField(_("name"), max_length=200)
    description = models.TextField(_("description"), blank=True, default="")
    status = models.CharField(
        _("status"), max_length=16, choices=TaskStatus.choices, default=TaskStatus.PENDING
    )
    priority = models.SmallIntegerField(
        _("priority"), choices=Priority.choices, default=Priority.NORMAL
    )
    target = models.JSONField(_("target"), default=dict)
    # whose hosts the target may reach: null all, else the groups granted to the creator at creation
    allowed_groups = ArrayField(models.BigIntegerField(), null=True, editable=False)
    # hosts whose grant was revoked before the start: {"count", "hosts": [{"host_id", "hostname"}]}
    left_out = models.JSONField(_("left out"), null=True, editable=False)
    total_hosts = models.PositiveIntegerField(_("hosts"), default=0)
    pinned_only_hosts = models.PositiveIntegerField(
        default=0,
        db_default=0,
        help_text=_("Of these, hosts that run only what is pinned to them."),
    )
    completed_hosts = models.PositiveIntegerField(_("completed"), default=0)
    failed_hosts = models.PositiveIntegerField(_("failed"), default=0)
    lost_hosts = models.PositiveIntegerField(_("unknown"), default=0)
    canceled_hosts = models.PositiveIntegerField(_("canceled"), default=0)
    skipped_hosts = models.PositiveIntegerField(_("skipped"), default=0)
    revision = models.BigIntegerField(default=0, help_text=_("Up with every batch that ends rows."))

    offline_policy = models.CharField(
        _("offline hosts"), max_length=8, choices=OfflinePolicy.choices, default=OfflinePolicy.WAIT
    )
    delivery_seconds = models.PositiveIntegerField(_("delivery time (s)"), default=3600)
    failure_limit = models.PositiveIntegerField(_("failure limit"), null=True, blank=True)
    wave_size = models.PositiveIntegerField(_("wave size"), null=True, blank=True)
    current_wave = models.PositiveIntegerField(_("wave"), default=0)
    exclusive = models.BooleanField(_("exclusive"), default=False)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="retries"
    )
    template_version = models.CharField(max_length=64, blank=True, default="")

    created_by = models.ForeignKey(
        "access.User",
        null=True,
        on_delete=models.SET_NULL,
        related_name="tasks",
        verbose_name=_("created by"),
        db_index=False,
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    queued_at = models.DateTimeField(_("queued at"), null=True, editable=False)
    started_at = models.DateTimeField(_("started at"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)
    paused_at = models.DateTimeField(_("paused at"), null=True, editable=False)
    stop_requested_at = models.DateTimeField(_("stop requested at"), null=True, editable=False)
    cancel_requested_at = models.DateTimeField(_("cancel requested at"), null=True, editable=False)
    error_code = models.CharField(max_length=64, blank=True, default="")
    error_message = models.CharField(max_length=500, blank=True, default="")

    class Meta:
        db_table = "tasks"
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        indexes: ClassVar = [
            # the list by state, newest first; the count of running tasks at admission
            PostgresIndex(fields=["status", "-id"], name="idx_tasks_status"),
            # "my tasks", newest first
            PostgresIndex(fields=["created_by", "-id"], name="idx_tasks_created_by"),
            # ranges of time, and retention
            PostgresIndex(fields=["created_at", "id"], name="idx_tasks_created_at"),
            # the next task to admit: priority, then age
            PostgresIndex(
                fields=["-priority", "queued_at", "id"],
                name="idx_tasks_queue",
                condition=Q(status=TaskStatus.QUEUED),
            ),
            # "contains" searches by name
            GinIndex(OpClass(Upper("name"), name="gin_trgm_ops"), name="idx_tasks_name_trgm"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(status__in=TaskStatus.values), name="tasks_status_known"
            ),
            models.CheckConstraint(
                condition=Q(status__in=TASK_TERMINAL, finished_at__isnull=False)
                | (~Q(status__in=TASK_TERMINAL) & Q(finished_at__isnull=True)),
                name="tasks_finished_at_with_terminal",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=(TaskStatus.RUNNING, TaskStatus.PAUSED))
                | Q(started_at__isnull=False),
                name="tasks_started_at_when_running",
            ),
            models.CheckConstraint(
                condition=Q(priority__in=Priority.values), name="tasks_priority_known"
            ),
        ]

    def __str__(self) -> str:
        return visible_text(self.name)


class TaskWindow(models.Model):
    """Up to DM_BATCH_SIZE frozen targets; ``done`` when their rows exist or never will.

    ``pinned_ids`` are those of them that the target does not name: they are there for the steps
    that are pinned to them, and run no others.
    """

    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="windows")
    no = models.PositiveIntegerField()
    host_ids = ArrayField(models.BigIntegerField())
    pinned_ids = ArrayField(
        models.BigIntegerField(),
        default=list,
        db_default=Value([], ArrayField(models.BigIntegerField())),
    )
    done = models.BooleanField(default=False)

    class Meta:
        db_table = "task_windows"
        verbose_name = _("target window")
        verbose_name_plural = _("target windows")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["task", "no"], name="uniq_task_windows_task_no"),
        ]
        indexes: ClassVar = [
            # half-done fan-outs, for the sweep and for closing a task
            PostgresIndex(
                fields=["task", "no"], name="idx_task_windows_open", condition=Q(done=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id}/{self.no}"


class SweepTick(models.Model):
    """When each sweep last ran, in database time: after a stall nothing is expired in haste."""

    name = models.CharField(max_length=64, primary_key=True)
    ticked_at = models.DateTimeField()
    # until when this sweep judges nobody: set when it finds that it stood still too long
    grace_until = models.DateTimeField(null=True)

    class Meta:
        db_table = "sweep_ticks"
        verbose_name = _("sweep tick")
        verbose_name_plural = _("sweep ticks")

    def __str__(self) -> str:
        return self.name

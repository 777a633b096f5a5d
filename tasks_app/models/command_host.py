"""CommandHost: one command on one host, its earlier attempts and its output."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from devops_manager.lib.indexes import PostgresIndex
from hosts_app.models import Host
from tasks_app.models.command import Command
from tasks_app.models.task import Task
from tasks_app.states import (
    ROW_IN_FLIGHT,
    ROW_TERMINAL,
    ROW_WITH_DEADLINE,
    CancelState,
    Priority,
    RowStatus,
)


class CommandHost(models.Model):
    """One command on one host: the row that is claimed, run and reported.

    ``fence`` is the attempt's own id, the row's key and chance (``queue/fences.py``): a result
    counts only where it still matches.
    ``revision`` is the id of the transaction that last moved the row (see docs/architecture.md).
    """

    command = models.ForeignKey(
        Command,
        on_delete=models.CASCADE,
        related_name="rows",
        db_index=False,
        verbose_name=_("command"),
    )
    # Checked when a host is deleted, by a trigger, and not for each row that is made: see migration
    # 0007_hosts_with_rows_stay.
    host = models.ForeignKey(
        Host,
        on_delete=models.PROTECT,
        related_name="rows",
        db_index=False,
        db_constraint=False,
        verbose_name=_("host"),
    )
    # The command's task and position, copied so that the claim and the lock order need no join. The
    # command's own reference keeps the task there; a second one from here would be checked for
    # each row that is made, and by reading every row there is when a task is deleted.
    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        related_name="rows",
        db_index=False,
        db_constraint=False,
        verbose_name=_("task"),
    )
    position = models.PositiveSmallIntegerField(_("step"))
    status = models.CharField(_("status"), max_length=16, choices=RowStatus.choices)
    attempt = models.PositiveIntegerField(_("attempt"), default=0)
    fence = models.UUIDField(_("fence"), null=True)
    exit_code = models.IntegerField(_("exit code"), null=True)
    output_digest = models.BinaryField(max_length=32, null=True)
    output_digest_normalized = models.BinaryField(max_length=32, null=True)
    result_digest = models.BinaryField(max_length=32, null=True)
    error_code = models.CharField(_("error code"), max_length=64, blank=True, default="")
    error_message = models.CharField(_("error"), max_length=2000, blank=True, default="")
    execution_time = models.BigIntegerField(_("execution time (ms)"), null=True)
    priority = models.SmallIntegerField(_("priority"), choices=Priority.choices)
    wave = models.PositiveIntegerField(_("wave"), default=0)
    not_before = models.DateTimeField(_("not before"), null=True)
    created_at = models.DateTimeField(_("created at"), db_default=Now())
    claimed_at = models.DateTimeField(_("delivered at"), null=True)
    started_at = models.DateTimeField(_("started at"), null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    deadline = models.DateTimeField(_("deadline"), null=True)
    delivery_deadline = models.DateTimeField(
        _("to be delivered by"), null=True, help_text=_("Release plus the task's delivery time.")
    )
    cancel_requested_at = models.DateTimeField(_("cancel requested at"), null=True)
    cancel_state = models.CharField(
        _("cancel"),
        max_length=16,
        choices=CancelState.choices,
        default=CancelState.NONE,
        blank=True,
    )
    revision = models.BigIntegerField(default=0)
    # the poll that the delivery answered
    delivered_journal = models.UUIDField(null=True)
    delivered_instance = models.UUIDField(null=True)
    delivered_run = models.BigIntegerField(null=True)
    delivered_seq = models.BigIntegerField(null=True)

    class Meta:
        db_table = "commands_hosts"
        verbose_name = _("command on a host")
        verbose_name_plural = _("commands on hosts")
        indexes: ClassVar = [
            # What went wrong, of all tasks: the admin's list by state. Every index is written anew
            # whenever a row moves, so this leaves out where most rows pass and end; those with a
            # deadline have an index of their own, and the newest completed ones are found by id.
            PostgresIndex(
                fields=["status", "id"],
                name="idx_command_hosts_status",
                condition=~Q(status__in=[*ROW_WITH_DEADLINE, RowStatus.COMPLETED]),
            ),
            # what a host did, newest first
            PostgresIndex(fields=["host", "-id"], name="idx_command_hosts_host_id"),
            # ranges of time, and retention: rows lie in the order of time, so it need not know each
            BrinIndex(fields=["created_at"], name="idx_command_hosts_created_at"),
            # the rows of a step by state: lists, cancel. Those that completed are most of its rows,
            # and found as quickly by host.
            PostgresIndex(
                fields=["command", "status"],
                name="idx_command_hosts_command_status",
                condition=~Q(status=RowStatus.COMPLETED),
            ),
            # the claim: what a host may run next
            PostgresIndex(
                fields=["host", "-priority", "id"],
                name="idx_command_hosts_claimable",
                condition=Q(status=RowStatus.PENDING),
            ),
            # The claim and reconciliation: what a host has in hand, which is what is claimed or
            # running. Said without the state: with statistics of a quiet hour, when nothing is in
            # flight, the planner took every index that has the state for as good as this one.
            PostgresIndex(
                fields=["host"],
                name="idx_command_hosts_in_flight",
                condition=Q(fence__isnull=False, finished_at__isnull=True),
            ),
            # expiry: which deadlines have passed
            PostgresIndex(
                fields=["deadline"],
                name="idx_command_hosts_deadline",
                condition=Q(status__in=ROW_WITH_DEADLINE),
            ),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["command", "host"], name="uniq_command_hosts_command_host"
            ),
            models.CheckConstraint(
                condition=Q(status__in=RowStatus.values), name="command_hosts_status_known"
            ),
            models.CheckConstraint(
                condition=Q(status__in=ROW_TERMINAL, finished_at__isnull=False)
                | (~Q(status__in=ROW_TERMINAL) & Q(finished_at__isnull=True)),
                name="command_hosts_finished_at_with_terminal",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=ROW_IN_FLIGHT)
                | Q(fence__isnull=False, claimed_at__isnull=False, delivered_seq__isnull=False),
                name="command_hosts_fence_in_flight",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=ROW_WITH_DEADLINE) | Q(deadline__isnull=False),
                name="command_hosts_deadline_when_timed",
            ),
            models.CheckConstraint(
                condition=~Q(status=RowStatus.RUNNING) | Q(started_at__isnull=False),
                name="command_hosts_started_at_when_running",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.command_id}@{self.host_id}"


class CommandHostAttempt(models.Model):
    """An attempt that a retry put away, and the result that came for it late, if one did."""

    command_host = models.ForeignKey(CommandHost, on_delete=models.CASCADE, related_name="attempts")
    attempt = models.PositiveIntegerField()
    fence = models.UUIDField(unique=True)
    status = models.CharField(max_length=16, choices=RowStatus.choices)
    exit_code = models.IntegerField(null=True)
    output_digest = models.BinaryField(max_length=32, null=True)
    output_digest_normalized = models.BinaryField(max_length=32, null=True)
    result_digest = models.BinaryField(max_length=32, null=True)
    error_code = models.CharField(max_length=64, blank=True, default="")
    error_message = models.CharField(max_length=2000, blank=True, default="")
    execution_time = models.BigIntegerField(null=True)
    claimed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    late_result_at = models.DateTimeField(
        null=True, help_text=_("When a result came after the retry; it changed nothing else.")
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "command_host_attempts"
        verbose_name = _("earlier attempt")
        verbose_name_plural = _("earlier attempts")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["command_host", "attempt"], name="uniq_command_host_attempt"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.command_host_id}#{self.attempt}"


class CommandOutput(models.Model):
    """stdout and stderr of one attempt on one host: exact head and tail, exact dropped counts.

    Range-partitioned by day on ``created_at``, which equals the row's ``finished_at``; made by
    migration 0002 and the sweep, so Django does not manage it.
    """

    pk = models.CompositePrimaryKey("command_host_id", "attempt", "created_at")
    command_host = models.ForeignKey(
        CommandHost, on_delete=models.DO_NOTHING, db_constraint=False, related_name="outputs"
    )
    attempt = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    stdout_head = models.BinaryField()
    stdout_tail = models.BinaryField()
    stdout_dropped_bytes = models.BigIntegerField()
    stderr_head = models.BinaryField()
    stderr_tail = models.BinaryField()
    stderr_dropped_bytes = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "command_outputs"
        verbose_name = _("output")
        verbose_name_plural = _("outputs")

    def __str__(self) -> str:
        return f"{self.command_host_id}#{self.attempt}"

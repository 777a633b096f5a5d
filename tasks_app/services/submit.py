"""Creates tasks, one or in bulk, and edits and deletes those that have not started."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import transaction
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.lib.errors import Conflict, DomainError, Forbidden, InvalidInput
from devops_manager.lib.parsers import join_path
from devops_manager.lib.versions import ANY, Expected
from hosts_app.selectors import allowed_group_ids, resolve_names, resolve_target, usable_hosts
from hosts_app.targets import Target, to_json
from tasks_app import cache
from tasks_app.models import Task
from tasks_app.queue import submit as queue
from tasks_app.selectors.tasks import no_such_task, task_as_draft, task_version
from tasks_app.services.drafts import (
    CommandDraft,
    TaskDraft,
    draft_as_json,
    draft_warnings,
    parse_changes,
    parse_task,
)
from tasks_app.services.ownership import require_owner
from tasks_app.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from devops_manager.access.actors import Actor
    from tasks_app.script_text import Warned


@dataclass(frozen=True, slots=True)
class CreatedTask:
    """One task that now exists: its id, and how many hosts its target names at this moment.

    ``warnings``: what is likely not meant, under paths of the request.
    """

    task_id: UUID
    name: str
    status: TaskStatus
    target_hosts: int
    warnings: list[Warned]


def create_task(*, actor: Actor, draft: TaskDraft) -> CreatedTask:
    """Store one task, pending. Raises as ``create_tasks`` does, with paths from its own top."""
    return _create(actor, [draft], paths=[""])[0]


def create_tasks(*, actor: Actor, drafts: Sequence[TaskDraft]) -> list[CreatedTask]:
    """Store all of the drafts as pending tasks, in their order, or none of them.

    Targets and pinned hosts are looked up now; which groups the creator may reach is frozen with
    the task. Raises InvalidInput (``unknown_target``, ``empty_target``) naming hosts, groups, tags
    under ``tasks[n].target…`` and ``tasks[n].commands[m].host``, and Forbidden for a group that is
    not granted. One INSERT for all; one audit event for the whole batch.
    """
    return _create(actor, drafts, paths=[join_path("tasks", at) for at in range(len(drafts))])


def update_task(
    *, actor: Actor, task_id: UUID, value: object, partial: bool, expected: Expected = ANY
) -> None:
    """Change a task that has not started: ``partial`` puts the given fields over what is stored.

    ``value`` is the JSON of a draft. Steps get new ids when ``commands`` is given. Raises NotFound,
    Forbidden, Conflict ``illegal_transition`` when the task has started, PreconditionFailed unless
    it is as ``expected``, and InvalidInput as ``create_tasks`` does. Holds the task's lock: a
    start either comes first or sees all of it.
    """
    with transaction.atomic():
        task = _lock_pending(actor, task_id)
        expected.require(task_version(task.revision))
        stored = task_as_draft(task)
        draft = parse_changes(value, current=stored) if partial else parse_task(value)
        given = set(value) if isinstance(value, dict) else set()
        allowed = task.allowed_groups
        target = draft.target
        if given & {"target", "commands"}:
            # What an administrator changes still reaches no further than its creator does.
            if task.created_by_id == actor.user_id:
                allowed = allowed_group_ids(actor)
            lookup = _Lookup(allowed)
            lookup.find_pinned([draft])
            target = lookup.resolve(draft, "").target
            if "commands" in given:
                ids = iter(queue.new_ids(len(draft.commands)))
                queue.replace_commands(task.pk, lookup.new_commands(draft, ids))
        Task.objects.filter(pk=task.pk, status=TaskStatus.PENDING).update(
            name=draft.name,
            description=draft.description,
            priority=draft.priority,
            target=to_json(target),
            allowed_groups=allowed,
            offline_policy=draft.offline_policy,
            delivery_seconds=draft.delivery_seconds,
            revision=task.revision + 1,
        )
        audit.record(
            actor=actor,
            action="task.update",
            object_type="task",
            object_ids=[str(task_id)],
            before=summary(stored),
            after=summary(draft_as_json(draft)),
        )
        cache.tasks_changed()


def delete_task(*, actor: Actor, task_id: UUID, expected: Expected = ANY) -> None:
    """Delete a task that has not started, with its steps.

    Raises NotFound, Forbidden, Conflict ``illegal_transition`` when it has started,
    PreconditionFailed unless it is as ``expected``.
    """
    with transaction.atomic():
        task = _lock_pending(actor, task_id)
        expected.require(task_version(task.revision))
        audit.record(
            actor=actor,
            action="task.delete",
            object_type="task",
            object_ids=[str(task_id)],
            before=summary(task_as_draft(task)),
        )
        if not queue.delete_pending(task.pk):
            raise _has_started(task.status)
        cache.tasks_changed()


def summary(draft: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the audit trail keeps of a draft's JSON: digests of bodies, no secret values."""
    kept = ("name", "priority", "target", "offline_policy", "delivery_seconds")
    return {
        **{name: draft[name] for name in kept},
        "commands": [
            {
                **{name: command[name] for name in ("name", "kind", "run_as", "timeout_seconds")},
                "body_sha256": hashlib.sha256(command["body"].encode()).hexdigest(),
                "environment_names": sorted(command["environment"]),
            }
            for command in draft["commands"]
        ],
    }


def _create(
    actor: Actor, drafts: Sequence[TaskDraft], *, paths: Sequence[str]
) -> list[CreatedTask]:
    with transaction.atomic():
        allowed = allowed_group_ids(actor)
        lookup = _Lookup(allowed)
        lookup.find_pinned(drafts)
        targets = [lookup.resolve(draft, path) for draft, path in zip(drafts, paths, strict=True)]
        commands = sum(len(draft.commands) for draft in drafts)
        ids = queue.new_ids(len(drafts) + commands)
        command_ids = iter(ids[len(drafts) :])
        rows = [
            queue.NewTask(
                task_id=task_id,
                name=draft.name,
                target=target.encoded,
                delivery_seconds=draft.delivery_seconds,
                commands=lookup.new_commands(draft, command_ids),
                description=draft.description,
                priority=draft.priority,
                offline_policy=draft.offline_policy,
            )
            for task_id, draft, target in zip(ids, drafts, targets, strict=False)
        ]
        queue.insert_tasks(rows, created_by=actor.user_id, allowed_groups=allowed)
        _record_creation(actor, ids[: len(drafts)], drafts)
        cache.tasks_changed()
    return [
        CreatedTask(
            UUID(task_id),
            draft.name,
            TaskStatus.PENDING,
            len(target.hosts),
            draft_warnings(draft=draft, path=path),
        )
        for task_id, draft, target, path in zip(ids, drafts, targets, paths, strict=False)
    ]


def _record_creation(actor: Actor, ids: Sequence[str], drafts: Sequence[TaskDraft]) -> None:
    if len(drafts) == 1:
        audit.record(
            actor=actor,
            action="task.create",
            object_type="task",
            object_ids=ids,
            after=summary(draft_as_json(drafts[0])),
        )
        return
    # One act, one event: 500 of them would take as long as the tasks themselves.
    audit.record(
        actor=actor,
        action="task.create",
        object_type="task_batch",
        object_ids=ids[:1],
        after={"count": len(ids), "task_ids": list(ids)},
    )


class _Resolved(NamedTuple):
    """The hosts that have steps now, the target with ids for names, and that target as JSON."""

    hosts: frozenset[int]
    target: Target
    encoded: msgspec.Raw


class _Lookup:
    """Looks targets up, each different one once, and pinned hosts, all in one statement."""

    def __init__(self, allowed_groups: Sequence[int] | None) -> None:
        self._allowed = allowed_groups
        self._targets: dict[Target, _Resolved] = {}
        self._pinned: dict[UUID, int] = {}

    def find_pinned(self, drafts: Sequence[TaskDraft]) -> None:
        """Look up every host that a step of these drafts is pinned to."""
        named = {command.host for draft in drafts for command in draft.commands if command.host}
        self._pinned = usable_hosts(named, allowed_groups=self._allowed)

    def resolve(self, draft: TaskDraft, path: str) -> _Resolved:
        """Return the hosts that a draft is for. Raises InvalidInput, Forbidden under ``path``."""
        target = self._targets.get(draft.target)
        if target is None:
            try:
                named = resolve_names(target=draft.target, allowed_groups=self._allowed)
                found = resolve_target(target=named, allowed_groups=self._allowed)
            except DomainError as error:
                raise _moved(error, path) from None
            encoded = msgspec.Raw(msgspec.json.encode(to_json(named)))
            target = self._targets[draft.target] = _Resolved(frozenset(found), named, encoded)
        if all(command.host is None for command in draft.commands):
            return target
        hosts, pinned = target.hosts, self._pinned_of(draft, path)
        if None not in {command.host for command in draft.commands} and hosts - pinned:
            raise InvalidInput(
                _("The target is not valid."),
                fields={
                    join_path(path, "target"): [
                        _("Each step is for one host only; %(count)d of the hosts have none.")
                        % {"count": len(hosts - pinned)}
                    ]
                },
            )
        return _Resolved(hosts | pinned, target.target, target.encoded)

    def new_commands(self, draft: TaskDraft, ids: Iterator[str]) -> list[queue.NewCommand]:
        """Return a draft's steps as the queue inserts them; each takes the next of ``ids``."""
        return [
            _new_command(
                next(ids), at, command, self._pinned[command.host] if command.host else None
            )
            for at, command in enumerate(draft.commands, start=1)
        ]

    def _pinned_of(self, draft: TaskDraft, path: str) -> frozenset[int]:
        unknown = {
            join_path(join_path(path, "commands"), at) + ".host": [
                _("unknown host, or not one that you may use now: %s") % command.host
            ]
            for at, command in enumerate(draft.commands)
            if command.host is not None and command.host not in self._pinned
        }
        if unknown:
            raise InvalidInput(
                _("The task names hosts that cannot be found."),
                code="unknown_target",
                fields=unknown,
            )
        return frozenset(self._pinned[c.host] for c in draft.commands if c.host is not None)


def _moved(error: DomainError, path: str) -> DomainError:
    """Return the same error with its fields under ``path``."""
    kind = Forbidden if isinstance(error, Forbidden) else InvalidInput
    fields = {join_path(path, name): sentences for name, sentences in error.fields.items()}
    return kind(error.detail, code=error.code, fields=fields)


def _new_command(
    command_id: str, position: int, draft: CommandDraft, host: int | None
) -> queue.NewCommand:
    return queue.NewCommand(
        command_id=command_id,
        position=position,
        body=draft.body,
        timeout_seconds=draft.timeout_seconds,
        host=host,
        name=draft.name,
        kind=draft.kind,
        interpreter=draft.interpreter,
        parameters=draft.parameters,
        environment=draft.environment,
        working_directory=draft.working_directory,
        run_as=draft.run_as,
        on_failure=draft.on_failure,
    )


def _lock_pending(actor: Actor, task_id: UUID) -> Task:
    task = Task.objects.select_for_update(no_key=True).filter(task_id=task_id).first()
    if task is None:
        raise no_such_task()
    require_owner(actor=actor, created_by_id=task.created_by_id)
    if task.status != TaskStatus.PENDING:
        raise _has_started(task.status)
    return task


def _has_started(status: str) -> Conflict:
    return Conflict(
        _("Only a task that has not started can be changed or deleted; this one is: %(status)s.")
        % {"status": TaskStatus(status).label},
        code="illegal_transition",
    )

"""Making, changing, copying and deleting a task. Nothing that was typed is ever lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devops_manager.access.permissions import OPERATORS
from devops_manager.lib.errors import (
    Conflict,
    DomainError,
    Forbidden,
    InvalidInput,
    NotFound,
    PreconditionFailed,
)
from devops_manager.lib.versions import ANY, Expected
from devops_manager.pages import reads
from devops_manager.pages.forms import lines
from devops_manager.pages.forms.task import (
    Entry,
    blank_entry,
    draw,
    entry_from,
    entry_of,
    payload_of,
    target_of,
)
from devops_manager.pages.gate import act, page, sentences, show
from devops_manager.pages.once import make_once
from hosts_app.selectors import allowed_group_ids, preview_plan
from hosts_app.targets import parse_pins, parse_target
from tasks_app.selectors.environment import masked, may_see_environment
from tasks_app.selectors.plans import count_offline
from tasks_app.selectors.tasks import no_such_task, task_as_draft, task_version
from tasks_app.services.drafts import draft_warnings, parse_task
from tasks_app.services.ownership import require_owner
from tasks_app.services.submit import create_task, delete_task, update_task
from tasks_app.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor
    from tasks_app.models import Task
    from tasks_app.services.drafts import TaskDraft

PREVIEW_AT_MOST = 100
_PICKER_LABELS = {
    "hosts": gettext_lazy("Single hosts"),
    "exclude_hosts": gettext_lazy("Not these hosts"),
    "groups": gettext_lazy("Groups"),
    "exclude_groups": gettext_lazy("Not these groups"),
}
_HOST_PICKERS = ("hosts", "exclude_hosts")
_OVERWRITE = gettext_lazy("What you typed is below; saving it again replaces what they saved.")
Faults = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Picker:
    """One list to tick from. Hosts: ``chosen`` first, then what a search ``found``."""

    name: str
    label: Any
    chosen: Sequence[Any]
    found: Sequence[Any] = ()
    query: str = ""
    names: str = ""
    searched: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """Which hosts a target means now, and how many of them run each step.

    ``pinned_only``: the names of hosts that run only what is pinned to them.
    """

    count: int
    offline: int
    hosts: Sequence[reads.HostChoice]
    steps: Sequence[int] = ()
    pinned_only: Sequence[str] = ()

    @property
    def more(self) -> int:
        """Return how many hosts are not shown."""
        return self.count - len(self.hosts)


@page("GET", "HEAD", "POST", roles=OPERATORS, keeps_form=True)
def new(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Make a task; ``?copy=<task id>`` begins with what another one was."""
    if request.method != "POST":
        copied = request.GET.get("copy", "")
        entry = _copy_of(request, actor, copied) if copied else blank_entry()
        return _show_form(request, actor, entry, heading=_("New task"))
    return _handle(request, actor, task=None)


@page("GET", "HEAD", "POST", roles=OPERATORS, keeps_form=True)
def edit(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Change a task that has not started."""
    task = reads.task_of(task_id)
    require_owner(actor=actor, created_by_id=task.created_by_id)
    if task.status != TaskStatus.PENDING:
        messages.warning(request, _("The task has started; copy it to run something else."))
        return redirect("task_detail", task_id=task_id)
    if request.method != "POST":
        return _show_form(
            request, actor, entry_of(task_as_draft(task)), heading=_("Change the task"), task=task
        )
    return _handle(request, actor, task=task)


@page("POST", roles=OPERATORS)
def delete(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Delete a task that has not started."""
    return act(
        request,
        lambda: delete_task(actor=actor, task_id=task_id),
        done=_("The task was deleted."),
        back_to="task_list",
    )


@page("POST", roles=OPERATORS)
def preview(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Answer the form's script: which hosts the target means now, as it stands in the form."""
    entry = entry_from(request.POST)
    shown, faults = _preview(actor, entry)
    wrong = sentences(faults.values()) if target_of(entry) else []
    context = {"preview": shown, "preview_faults": wrong}
    return show(request, "parts/target_preview.html", context)


@page("POST", roles=OPERATORS)
def pick_hosts(request: HttpRequest, actor: Actor, name: str) -> HttpResponse:
    """Answer a search in one of the host pickers, with what is ticked kept."""
    if name not in _HOST_PICKERS:
        raise NotFound(_("There is no such list."))
    entry = entry_from(request.POST)
    picker = _host_picker(request, actor, entry, name)
    return show(request, "parts/host_choices.html", {"picker": picker})


def _copy_of(request: HttpRequest, actor: Actor, text: str) -> Entry:
    """Return the form filled with another task; environments as the actor may see them."""
    try:
        task = reads.task_of(UUID(text))
    except ValueError:
        raise no_such_task() from None
    payload = task_as_draft(task)
    if not may_see_environment(reader=actor, task=task):
        hidden = [command for command in payload["commands"] if command["environment"]]
        for command in hidden:
            command["environment"] = masked(command["environment"])
        if hidden:
            messages.warning(
                request,
                _("The values of the environment are not yours to see: write your own for ***."),
            )
    return entry_of(payload)


def _handle(request: HttpRequest, actor: Actor, *, task: Task | None) -> HttpResponse:
    entry = entry_from(request.POST)
    heading = _("Change the task") if task else _("New task")
    wanted = request.POST.get("act", "stay")
    faults = _add_names(request, actor, entry)
    if wanted not in {"save", "save-start"}:
        shown = None
        if not faults:
            _rearrange(entry, wanted)
            if wanted == "preview":
                shown, faults = _preview(actor, entry)
        return _show_form(
            request,
            actor,
            entry,
            heading=heading,
            task=task,
            faults=faults,
            shown=shown,
            version=request.POST.get("version", ""),
        )
    failed = _("See what is marked below.") if faults else ""
    version = request.POST.get("version", "")
    if not faults:
        try:
            return _save(request, actor, entry, task=task, start=wanted == "save-start")
        except PreconditionFailed as error:
            failed = " ".join([str(error.detail), str(_OVERWRITE)])
            version = ""  # now it is drawn with the other's: who saves again, means it
        except (InvalidInput, Forbidden, Conflict) as error:
            failed = _("See what is marked below.") if error.fields else str(error.detail)
            faults = {name: list(texts) for name, texts in error.fields.items()}
    return _show_form(
        request,
        actor,
        entry,
        heading=heading,
        task=task,
        faults=faults,
        failed=failed,
        version=version,
        status=400,
    )


def _save(
    request: HttpRequest, actor: Actor, entry: Entry, *, task: Task | None, start: bool
) -> HttpResponse:
    payload, draft = _checked(entry)
    if task is None:
        task_id, created = make_once(
            actor=actor,
            form_id=entry.form_id,
            payload=payload,
            make=lambda: create_task(actor=actor, draft=draft).task_id,
        )
        if not created:
            messages.info(request, _("This form was sent before; this is the task it made."))
            return redirect("task_detail", task_id=task_id)
        done = _("The task was created.")
    else:
        task_id = task.task_id
        update_task(
            actor=actor,
            task_id=task_id,
            value=payload,
            partial=False,
            expected=_version_edited(request),
        )
        done = _("The task was changed.")
    for warned in draft_warnings(draft=draft):
        messages.warning(request, warned.text)
    messages.success(request, done)
    # The start is agreed to on a page of its own, which says first where the task will run.
    return redirect("task_start" if start else "task_detail", task_id=task_id)


def _version_edited(request: HttpRequest) -> Expected:
    """Return the version that the form was drawn with: a later editor is told, not obeyed."""
    version = request.POST.get("version", "")
    return Expected(frozenset({version})) if version else ANY


def _checked(entry: Entry) -> tuple[dict[str, Any], TaskDraft]:
    """Return what is typed as JSON and as a draft. Raises InvalidInput with every mistake in it."""
    payload, wrong = payload_of(entry)
    try:
        draft = parse_task(payload)
    except InvalidInput as error:
        raise InvalidInput(error.detail, fields={**error.fields, **wrong}) from None
    if wrong:
        raise InvalidInput(_("The task is not valid."), fields=wrong)
    return payload, draft


def _rearrange(entry: Entry, wanted: str) -> None:
    verb, _dash, number = wanted.partition("-")
    at = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else -1
    if verb == "add":
        entry.add_step()
    elif verb == "remove":
        entry.remove(at)
    elif verb in {"up", "down"}:
        entry.move(at, -1 if verb == "up" else 1)


def _add_names(request: HttpRequest, actor: Actor, entry: Entry) -> Faults:
    """Tick the hosts whose names were pasted; a name of no host, or of several, is a fault."""
    faults: Faults = {}
    for name in _HOST_PICKERS:
        pasted = lines.words(request.POST.get(f"{name}_names", ""))
        if not pasted:
            continue
        named = reads.hosts_by_name(actor=actor, names=pasted)
        entry.picked[name] = list(dict.fromkeys([*entry.picked[name], *named.found]))
        entry.pasted[name] = "\n".join([*named.unknown, *named.doubtful])
        wrong = [_("no active host has the name: %s") % text for text in named.unknown]
        wrong += [
            _("several hosts have the name; tick the right one: %s") % text
            for text in named.doubtful
        ]
        if wrong:
            faults["target.exclude.hosts" if name.startswith("ex") else "target.hosts"] = wrong
    return faults


def _preview(actor: Actor, entry: Entry) -> tuple[Preview | None, Faults]:
    try:
        found = preview_plan(
            target=parse_target(target_of(entry)),
            pins=parse_pins(entry.steps),
            allowed_groups=allowed_group_ids(actor),
        )
    except DomainError as error:
        return None, {name: list(texts) for name, texts in error.fields.items()}
    keys = found.plan.hosts
    return (
        Preview(
            count=len(keys),
            offline=count_offline(keys),
            hosts=reads.hosts_by_key(keys, most=PREVIEW_AT_MOST),
            steps=found.plan.step_hosts,
            pinned_only=[host.hostname for host in found.pinned_only],
        ),
        {},
    )


def _host_picker(request: HttpRequest, actor: Actor, entry: Entry, name: str) -> Picker:
    query = request.POST.get(f"{name}_q", "").strip()[:253]
    chosen = entry.picked[name]
    return Picker(
        name=name,
        label=_PICKER_LABELS[name],
        chosen=reads.hosts_by_id(chosen),
        found=reads.search_hosts(actor=actor, text=query, without=chosen) if query else (),
        query=query,
        names=entry.pasted.get(name, ""),
        searched=bool(query),
    )


def _pickers(
    request: HttpRequest, actor: Actor, entry: Entry, faults: Mapping[str, Sequence[Any]]
) -> dict[str, Picker]:
    groups = reads.group_names(actor=actor)
    pickers = {name: _host_picker(request, actor, entry, name) for name in _HOST_PICKERS}
    for name in ("groups", "exclude_groups"):
        chosen = entry.picked[name]
        pickers[name] = Picker(
            name=name,
            label=_PICKER_LABELS[name],
            chosen=chosen,
            found=[group for group in groups if group not in set(chosen)],
        )
    return pickers


def _show_form(
    request: HttpRequest,
    actor: Actor,
    entry: Entry,
    *,
    heading: str,
    task: Task | None = None,
    faults: Faults | None = None,
    failed: str = "",
    shown: Preview | None = None,
    version: str = "",
    status: int = 200,
) -> HttpResponse:
    excluded = entry.picked["exclude_hosts"] or entry.picked["exclude_groups"]
    context = {
        "section": "tasks",
        "heading": heading,
        "task": task,
        "version": version or (task_version(task.revision) if task else ""),
        "forms": draw(entry, faults),
        "form_id": entry.form_id,
        "pickers": _pickers(request, actor, entry, faults or {}),
        "known_tags": reads.known_tags(),
        "excluding": bool(excluded or entry.values["exclude_tags"]),
        "failed": failed,
        "preview": shown,
        "unsaved": request.method == "POST",
    }
    return show(request, "pages/task_form.html", context, status=status)

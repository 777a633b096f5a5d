"""The form of a task: what is typed, as the JSON that scripts send, checked by the same rules."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devops_manager.lib.wording import labeled
from devops_manager.pages.forms import lines
from tasks_app.models import CommandKind, OfflinePolicy, OnFailure
from tasks_app.states import Priority

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.http import QueryDict

_STEP_PATH = re.compile(r"commands\[(\d+)\](?:\.(\w+))?(.*)")
_ENTRY = re.compile(r"^\[(\d+)\]$")
_TARGET_FIELDS = {
    "target.hosts": "hosts",
    "target.groups": "groups",
    "target.tags": "tags",
    "target.exclude.hosts": "exclude_hosts",
    "target.exclude.groups": "exclude_groups",
    "target.exclude.tags": "exclude_tags",
}


def _line(label: Any, *, help_text: Any = "", **attributes: str) -> forms.CharField:
    widget = forms.TextInput(attrs={"autocomplete": "off", **attributes})
    return forms.CharField(label=label, required=False, widget=widget, help_text=help_text)


def _number(label: Any, *, help_text: Any = "") -> forms.CharField:
    """Return a field for a number that keeps what was typed, were it "abc"."""
    widget = forms.TextInput(attrs={"inputmode": "numeric", "autocomplete": "off"})
    return forms.CharField(label=label, required=False, widget=widget, help_text=help_text)


def _area(label: Any, *, rows: int, code: bool = True, help_text: Any = "") -> forms.CharField:
    attributes = {"rows": str(rows), "spellcheck": "false"}
    if code:
        attributes["class"] = "code"
    return forms.CharField(
        label=label,
        required=False,
        strip=False,
        widget=forms.Textarea(attrs=attributes),
        help_text=help_text,
    )


class StepForm(forms.Form):
    """One step."""

    name = _line(gettext_lazy("Step name"), help_text=gettext_lazy("May be left empty."))
    kind = forms.ChoiceField(
        label=gettext_lazy("Kind"), choices=CommandKind.choices, required=False
    )
    body = _area(gettext_lazy("Command or script"), rows=4)
    interpreter = _line(
        gettext_lazy("Interpreter"),
        help_text=gettext_lazy(
            "For a script. Empty: what its first line (#!…) names, else /bin/sh."
        ),
        list="interpreters",
    )
    parameters = _area(
        gettext_lazy("Parameters"),
        rows=2,
        help_text=gettext_lazy(
            "One a line; $1, $2… of the command or script. A line in double quotes is read as a "
            "JSON string."
        ),
    )
    environment = _area(
        gettext_lazy("Environment"),
        rows=2,
        help_text=gettext_lazy("One NAME=value a line."),
    )
    working_directory = _line(gettext_lazy("Working directory"), placeholder="/")
    run_as = _line(
        gettext_lazy("Run as"),
        help_text=gettext_lazy(
            "A name or uid on the host, user@domain, DOM\\user. Empty: the agent's own user."
        ),
    )
    timeout_seconds = _number(gettext_lazy("Timeout (seconds)"))
    on_failure = forms.ChoiceField(
        label=gettext_lazy("If it fails on a host"), choices=OnFailure.choices, required=False
    )
    host = forms.CharField(required=False, widget=forms.HiddenInput)


class TaskForm(forms.Form):
    """All of a task but its steps. The lists of hosts are drawn by the host picker."""

    name = _line(gettext_lazy("Name"))
    description = _area(gettext_lazy("Description"), rows=2, code=False)
    priority = forms.ChoiceField(
        label=gettext_lazy("Priority"), choices=Priority.choices, required=False
    )
    offline_policy = forms.ChoiceField(
        label=gettext_lazy("Hosts that are offline"), choices=OfflinePolicy.choices, required=False
    )
    delivery_seconds = _number(
        gettext_lazy("Delivery time (seconds)"),
        help_text=gettext_lazy("A host that has not taken a step by then counts as failed."),
    )
    all = forms.BooleanField(label=gettext_lazy("All active hosts"), required=False)
    tags = _line(
        gettext_lazy("Tags"),
        help_text=gettext_lazy("Separated by commas; hosts with any of them."),
        list="known-tags",
    )
    exclude_tags = _line(gettext_lazy("Not with these tags"), list="known-tags")


SIMPLE = ("name", "description", "priority", "offline_policy", "delivery_seconds", "tags",
          "exclude_tags")  # fmt: skip
STEP_FIELDS = tuple(StepForm.base_fields)
PICKED = ("hosts", "groups", "exclude_hosts", "exclude_groups")


@dataclass(slots=True)
class Entry:
    """What stands in the form: texts as typed, ids and group names as ticked.

    ``pasted``: of the host names pasted into a picker, those that are not ticked by it.
    ``form_id`` stays with the form from its first drawing on.
    """

    values: dict[str, Any]
    picked: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in PICKED})
    steps: list[dict[str, str]] = field(default_factory=list)
    pasted: dict[str, str] = field(default_factory=dict)
    form_id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def move(self, at: int, by: int) -> None:
        """Move a step up (-1) or down (1); at the end it stays."""
        to = at + by
        if 0 <= at < len(self.steps) and 0 <= to < len(self.steps):
            self.steps[at], self.steps[to] = self.steps[to], self.steps[at]

    def remove(self, at: int) -> None:
        """Remove a step; the last one is emptied instead."""
        if 0 <= at < len(self.steps):
            del self.steps[at]
        if not self.steps:
            self.steps.append(blank_step())

    def add_step(self) -> None:
        """Add an empty step, as long as more are allowed."""
        if len(self.steps) < settings.DM_MAX_COMMANDS_PER_TASK:
            self.steps.append(blank_step())


def blank_step() -> dict[str, str]:
    """Return a step with nothing in it but the usual."""
    return {
        **dict.fromkeys(STEP_FIELDS, ""),
        "kind": CommandKind.COMMAND.value,
        "timeout_seconds": str(settings.DM_DEFAULT_TIMEOUT_SECONDS),
        "on_failure": OnFailure.STOP.value,
    }


def blank_entry() -> Entry:
    """Return an empty form."""
    return Entry(
        values={
            **dict.fromkeys(SIMPLE, ""),
            "priority": str(Priority.NORMAL.value),
            "offline_policy": OfflinePolicy.WAIT.value,
            "delivery_seconds": str(int(settings.DM_DELIVERY_SECONDS)),
            "all": False,
        },
        steps=[blank_step()],
    )


def entry_of(payload: Mapping[str, Any]) -> Entry:
    """Return the form of a task that exists, from the JSON that would make it again."""
    target = payload.get("target", {})
    exclude = target.get("exclude", {})
    entry = blank_entry()
    entry.values |= {
        "name": payload["name"],
        "description": payload.get("description", ""),
        "priority": str(payload.get("priority", Priority.NORMAL.value)),
        "offline_policy": payload.get("offline_policy", OfflinePolicy.WAIT.value),
        "delivery_seconds": str(payload.get("delivery_seconds", "")),
        "all": bool(target.get("all")),
        "tags": ", ".join(target.get("tags", [])),
        "exclude_tags": ", ".join(exclude.get("tags", [])),
    }
    for name in ("hosts", "groups"):
        entry.picked[name] = list(target.get(name, []))
        entry.picked[f"exclude_{name}"] = list(exclude.get(name, []))
    entry.steps = [_step_of(command) for command in payload["commands"]] or [blank_step()]
    return entry


def _step_of(command: Mapping[str, Any]) -> dict[str, str]:
    step = {name: str(command.get(name) or "") for name in STEP_FIELDS}
    step["parameters"] = lines.to_lines(command.get("parameters") or [])
    step["environment"] = lines.to_assignments(command.get("environment") or {})
    return step


def entry_from(data: QueryDict) -> Entry:
    """Return what was sent. Browsers send line breaks as CR LF; scripts must get LF."""
    values: dict[str, Any] = {name: _unix(data.get(name, "")) for name in SIMPLE}
    values["all"] = data.get("all") in {"on", "true", "1"}
    count = data.get("steps", "1")
    number = int(count) if count.isascii() and count.isdigit() and len(count) < 5 else 1
    number = min(max(1, number), settings.DM_MAX_COMMANDS_PER_TASK)
    return Entry(
        values=values,
        form_id=_form_id(data.get("form", "")),
        picked={name: list(dict.fromkeys(data.getlist(name))) for name in PICKED},
        steps=[
            {name: _unix(data.get(f"s{at}-{name}", "")) for name in STEP_FIELDS}
            for at in range(number)
        ],
    )


def _form_id(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return str(uuid.uuid4())


def _unix(text: str) -> str:
    return text.replace("\r\n", "\n")


def payload_of(entry: Entry) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return the JSON that a script would send, and what the lines of the form itself get wrong."""
    wrong: dict[str, list[str]] = {}
    commands = [_command(step, at, wrong) for at, step in enumerate(entry.steps)]
    target = target_of(entry)
    if not target:
        wrong["target"] = [_("Choose hosts, groups or tags, or all active hosts.")]
    return {
        "name": entry.values["name"].strip(),
        "description": entry.values["description"].strip(),
        "priority": _whole(entry.values["priority"]),
        "offline_policy": entry.values["offline_policy"],
        "delivery_seconds": _whole(entry.values["delivery_seconds"]),
        "target": target,
        "commands": commands,
    }, wrong


def target_of(entry: Entry) -> dict[str, Any]:
    """Return the target as JSON: what is ticked and typed, and no more."""
    target: dict[str, Any] = {
        "hosts": entry.picked["hosts"],
        "groups": entry.picked["groups"],
        "tags": lines.words(entry.values["tags"]),
    }
    exclude = {
        "hosts": entry.picked["exclude_hosts"],
        "groups": entry.picked["exclude_groups"],
        "tags": lines.words(entry.values["exclude_tags"]),
    }
    target = {name: value for name, value in target.items() if value}
    if entry.values["all"]:
        target["all"] = True
    if any(exclude.values()):
        target["exclude"] = {name: value for name, value in exclude.items() if value}
    return target


def _command(step: Mapping[str, str], at: int, wrong: dict[str, list[str]]) -> dict[str, Any]:
    environment, unread = lines.from_assignments(step["environment"])
    if unread:
        wrong[f"commands[{at}].environment"] = [
            _("not NAME=value, or named twice: %(line)s") % {"line": line[:80]} for line in unread
        ]
    command: dict[str, Any] = {
        name: step[name].strip()
        for name in ("name", "kind", "interpreter", "working_directory", "run_as", "on_failure")
    }
    if command["kind"] != CommandKind.SCRIPT:
        command["interpreter"] = ""
    command["body"] = step["body"]
    command["parameters"] = lines.from_lines(step["parameters"])
    command["environment"] = environment
    command["timeout_seconds"] = _whole(step["timeout_seconds"])
    if step["host"]:
        command["host"] = step["host"]
    return command


def _whole(text: str) -> int | str:
    stripped = text.strip()
    return (
        int(stripped) if stripped.isascii() and stripped.isdigit() and len(stripped) < 10 else text
    )


@dataclass(frozen=True, slots=True)
class Forms:
    """The forms to draw, with what is wrong beside each field."""

    task: TaskForm
    steps: tuple[StepForm, ...]
    picker_errors: Mapping[str, Sequence[str]]
    errors: Sequence[str]


def draw(entry: Entry, faults: Mapping[str, Sequence[Any]] | None = None) -> Forms:
    """Return the forms of an entry. ``faults``: sentences by path, as InvalidInput names them."""
    task = TaskForm(initial=entry.values)
    steps = [StepForm(initial=step, prefix=f"s{at}") for at, step in enumerate(entry.steps)]
    if not faults:
        return Forms(task=task, steps=tuple(steps), picker_errors={}, errors=())
    task = TaskForm(_bound(entry.values))
    steps = [
        StepForm({f"s{at}-{name}": text for name, text in step.items()}, prefix=f"s{at}")
        for at, step in enumerate(entry.steps)
    ]
    picker: dict[str, list[str]] = {}
    rest: list[str] = []
    for path, texts in faults.items():
        sentences = [str(text) for text in texts]
        if not _place_in_step(path, sentences, steps):
            _place_in_task(path, sentences, task, picker, rest)
    return Forms(task=task, steps=tuple(steps), picker_errors=picker, errors=rest)


def _bound(values: Mapping[str, Any]) -> dict[str, Any]:
    bound = dict(values)
    if not bound["all"]:
        del bound["all"]
    return bound


def _place_in_step(path: str, sentences: list[str], steps: list[StepForm]) -> bool:
    """Put sentences beside the field that a path names; a line of a list is named by number."""
    found = _STEP_PATH.fullmatch(path)
    if found is None or int(found[1]) >= len(steps):
        return False
    form, name, rest = steps[int(found[1])], found[2], found[3]
    entry = _ENTRY.match(rest)
    if entry:
        where = _("line %(number)d") % {"number": int(entry[1]) + 1}
        sentences = [labeled(where, sentence) for sentence in sentences]
    elif rest:
        sentences = [labeled(rest.lstrip("."), sentence) for sentence in sentences]
    for sentence in sentences:
        form.add_error(name if name in form.fields else None, sentence)
    return True


def _place_in_task(
    path: str,
    sentences: list[str],
    task: TaskForm,
    picker: dict[str, list[str]],
    rest: list[str],
) -> None:
    stem = path.partition("[")[0]
    name = _TARGET_FIELDS.get(stem, stem)
    if name in PICKED:
        picker.setdefault(name, []).extend(sentences)
    elif name == "target" or name.startswith("target."):
        picker.setdefault("target", []).extend(sentences)
    elif name in task.fields:
        for sentence in sentences:
            task.add_error(name, sentence)
    else:
        rest.extend(sentences)

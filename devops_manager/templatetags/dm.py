"""Tags and filters of the pages: states, progress bars, lengths of time, form fields."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django import forms, template
from django.template.defaultfilters import linebreaksbr
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from devops_manager.lib import wording
from devops_manager.lib.one_line import visible_text
from devops_manager.lib.parsers import join_path
from devops_manager.lib.requests import current_request_id
from devops_manager.pages import acts, looks, reasons
from tasks_app.script_text import runner_of
from tasks_app.states import Priority

if TYPE_CHECKING:
    from django.forms import BoundField
    from django.utils.safestring import SafeString

    from devops_manager.access.models import AuditEvent
    from tasks_app.selectors.shapes import CommandDetail, TaskDetail

register = template.Library()
# Less than this says more about the network than about the clock.
SKEW_TOLERATED_MS = 2000
# Not passwords: those are no such inputs.
_TEXT_BOXES = (forms.TextInput, forms.Textarea)


@register.simple_tag
def state(kind: str, name: str) -> SafeString:
    """Show a state of a task, command, row, host or outcome, in words and with a mark."""
    shown = looks.badge(kind, name)
    return format_html(
        '<span class="state {}" data-state="{}">{}</span>', shown.look, shown.name, shown.label
    )


@register.filter
def state_label(name: str, kind: str) -> str:
    """Return the word for a state: ``{{ name|state_label:"row" }}``."""
    return looks.badge(kind, name).label


@register.inclusion_tag("parts/bar.html")
def task_bar(task: Any) -> dict[str, Any]:
    """Draw how many of a task's hosts have ended, by outcome."""
    return {"bar": looks.task_bar(task)}


@register.inclusion_tag("parts/bar.html")
def rows_bar(rows: Any) -> dict[str, Any]:
    """Draw how many of a step's rows have ended, by state."""
    return {"bar": looks.rows_bar(rows)}


@register.filter
def row_counts(rows: Any) -> list[tuple[looks.Badge, int]]:
    """Return a step's rows by state, those without rows left out."""
    return looks.row_counts(rows)


@register.filter
def inert(text: object) -> str:
    """Show what an agent or a person wrote: whatever would hide or act on the screen is seen."""
    return "" if text is None else visible_text(str(text))


@register.filter
def inert_lines(text: str) -> SafeString:
    """Show a text of several lines as ``inert`` does; a form's line ends are line ends."""
    return linebreaksbr(visible_text(text.replace("\r\n", "\n")), autoescape=True)


@register.simple_tag
def reason(row: Any) -> SafeString | str:
    """Say why a row ended as it did; an agent's own English words stand behind a translation."""
    why = reasons.reason(row.error_code, row.error_message)
    said = format_html('<span lang="en">{}</span>', why.said) if why.said else ""
    return (
        format_html("{} {}", why.sentence, said) if why.sentence and said else why.sentence or said
    )


@register.filter
def runs_by(step: CommandDetail) -> str:
    """Name the program that runs a script."""
    return runner_of(interpreter=step.interpreter, body=step.body)


@register.filter
def step_warned(task: TaskDetail, step: CommandDetail) -> list[str]:
    """Return the warnings about one step of a task."""
    begin = join_path("commands", step.position - 1) + "."
    return [warned.text for warned in task.warnings if warned.path.startswith(begin)]


@register.filter
def act(action: str) -> str:
    """Return the words for an action of the audit trail."""
    return acts.act_label(action)


@register.filter
def status_change(event: AuditEvent) -> str:
    """Return the states before and after an act, in words."""
    return acts.status_change(event)


@register.filter
def labeled(label: object, text: object) -> str:
    """Return ``label: text`` with the colon of the reader's language."""
    return wording.labeled(label, text)


@register.filter
def span(milliseconds: float | None) -> str:
    """Return milliseconds as a length of time for people."""
    return looks.span_words(milliseconds)


@register.filter
def seconds_span(seconds: float | None) -> str:
    """Return seconds as a length of time for people."""
    return looks.span_words(None if seconds is None else seconds * 1000)


@register.simple_tag
def took(start: dt.datetime | None, end: dt.datetime | None = None) -> str:
    """Return the time from ``start`` to ``end``, or to now."""
    if start is None:
        return ""
    return looks.span_words(((end or timezone.now()) - start).total_seconds() * 1000)


@register.filter
def moment(at: object) -> SafeString | str:
    """Show a time with its date; the exact one, with zone, is in the title."""
    if not isinstance(at, dt.datetime):
        return "–"
    local = timezone.localtime(at)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="milliseconds"),
        local.strftime("%Y-%m-%d %H:%M:%S.%f %Z"),
        local.strftime("%Y-%m-%d %H:%M:%S"),
    )


@register.filter
def ago(at: object) -> SafeString | str:
    """Show how long ago something was; the exact time is in the title."""
    if not isinstance(at, dt.datetime):
        return "–"
    local, now = timezone.localtime(at), timezone.now()
    if now - at < dt.timedelta(seconds=60):
        words = _("%(n)d s ago") % {"n": max(0, int((now - at).total_seconds()))}
    else:
        words = _("%(span)s ago") % {"span": timesince(at, now, depth=1)}
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(timespec="seconds"),
        local.strftime("%Y-%m-%d %H:%M:%S %Z"),
        words,
    )


@register.simple_tag
def request_id() -> str:
    """Return the id of this request, by which its log lines are found."""
    return current_request_id()


@register.simple_tag
def priority(name: str) -> str:
    """Return the word for a priority's name."""
    return str(Priority[name.upper()].label)


@register.simple_tag
def clock_skew(milliseconds: int | None) -> SafeString | str:
    """Say how far a host's clock is from the server's."""
    if milliseconds is None:
        return "–"
    if abs(milliseconds) < SKEW_TOLERATED_MS:
        return _("right (within %(span)s)") % {"span": looks.span_words(SKEW_TOLERATED_MS)}
    words = _("%(span)s ahead") if milliseconds > 0 else _("%(span)s behind")
    span_text = looks.span_words(abs(milliseconds))
    return format_html('<span class="state warn">{}</span>', words % {"span": span_text})


@register.inclusion_tag("parts/field.html")
def field(bound: BoundField, label: str = "") -> dict[str, Any]:
    """Draw a form field with its label, its help and what is wrong with it."""
    described = " ".join(
        name
        for name, wanted in (
            (f"{bound.id_for_label}-help", bound.help_text),
            (f"{bound.id_for_label}-errors", bound.errors),
        )
        if wanted
    )
    attributes: dict[str, str | bool] = {"aria-describedby": described} if described else {}
    if bound.errors:
        attributes["aria-invalid"] = "true"
    return {
        "bound": bound,
        "widget": bound.as_widget(attrs=attributes),
        "label": label or bound.label,
        "unseen": _unseen(bound),
        "is_check": getattr(bound.field.widget, "input_type", "") == "checkbox"
        and not bound.field.widget.__class__.__name__.endswith("Multiple"),
    }


def _unseen(bound: BoundField) -> str:
    """Return what a box for text holds, made visible, if some of it would not be seen there."""
    value = bound.value()
    if not isinstance(value, str) or not isinstance(bound.field.widget, _TEXT_BOXES):
        return ""
    text = value.replace("\r\n", "\n")
    shown = visible_text(text)
    return "" if shown == text else shown

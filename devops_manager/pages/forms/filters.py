"""The filters above lists. A wrong value is said beside its field; nothing is guessed."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from devops_manager.lib.moments import EARLIEST, LATEST
from hosts_app.states import HostStatus
from tasks_app.selectors.rows import OPEN
from tasks_app.selectors.tasks import TaskFilter
from tasks_app.states import Outcome, RowStatus, TaskStatus

_ANY = ("", _("Any"))


def _text(label: Any, **attributes: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        max_length=200,
        widget=forms.TextInput(attrs={"autocomplete": "off", **attributes}),
    )


def _choice(label: Any, choices: Any) -> forms.ChoiceField:
    return forms.ChoiceField(label=label, required=False, choices=[_ANY, *choices])


def _day(label: Any) -> forms.DateField:
    return forms.DateField(
        label=label,
        required=False,
        widget=forms.DateInput(format="%Y-%m-%d", attrs={"type": "date"}),
        input_formats=["%Y-%m-%d"],
        # A day more or less must still be a date, in any time zone.
        validators=[
            MinValueValidator(EARLIEST.date() + dt.timedelta(days=1)),
            MaxValueValidator(LATEST.date() - dt.timedelta(days=1)),
        ],
    )


def _start_of(day: dt.date | None) -> dt.datetime | None:
    if day is None:
        return None
    return timezone.make_aware(dt.datetime.combine(day, dt.time()))


class TaskListFilter(forms.Form):
    """Tasks by state, name, creator, day of creation (in the server's time zone)."""

    status = _choice(_("Status"), TaskStatus.choices)
    name = _text(_("Name contains"))
    creator = _text(_("Created by"))
    since = _day(_("From day"))
    until = _day(_("To day"))

    def narrowed(self) -> TaskFilter:
        """Return what the selector takes; the last day is included."""
        data = self.cleaned_data
        until = data["until"]
        return TaskFilter(
            statuses=(data["status"],) if data["status"] else (),
            name=data["name"],
            created_by=data["creator"],
            created_from=_start_of(data["since"]),
            created_to=_start_of(until + dt.timedelta(days=1) if until else None),
        )


class HostsOfTaskFilter(forms.Form):
    """A task's hosts by outcome, by a state of one of their steps, by name."""

    outcome = _choice(_("Outcome"), [(OPEN, _("Not ended")), *Outcome.choices])
    state = _choice(_("A step is"), RowStatus.choices)
    hostname = _text(_("Host name contains"))

    def narrowed(self) -> dict[str, Any]:
        """Return what the selector takes."""
        data = self.cleaned_data
        return {
            "outcomes": [data["outcome"]] if data["outcome"] else [],
            "states": [data["state"]] if data["state"] else [],
            "hostname": data["hostname"],
        }


class HostListFilter(forms.Form):
    """Hosts by approval, by being heard, by group, tag and name."""

    status = _choice(_("Status"), HostStatus.choices)
    online = _choice(
        _("Connection"),
        [
            ("yes", _("Online")),
            ("no", _("Offline")),
            ("draining", _("Draining")),
            ("quarantined", _("Quarantined")),
        ],
    )
    group = _text(_("Group"), list="group-names")
    tag = _text(_("Tag"), list="tags")
    search = _text(_("Name contains, or IP address"))

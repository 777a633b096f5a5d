"""What every admin page keeps to: roles decide, no table is counted whole, each act is audited."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db import models
from django.template.response import TemplateResponse
from django.utils.encoding import force_str

from devops_manager.access import audit
from devops_manager.access.actors import actor_of, role_of
from devops_manager.access.models import Role, User
from devops_manager.lib.one_line import visible_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.forms import ModelForm
    from django.http import HttpRequest, HttpResponse

COUNT_AT_MOST = 10_000
# Values that no audit entry may hold.
_SECRET_FIELDS = frozenset({"password", "secret_hash"})


# Of rendered HTML, in which no text has a quote or an angle bracket of its own.
_BOXES = re.compile(r'(<textarea[^<>]*+>[^<]*+</textarea>|\bvalue="[^"]*+")')


class BoundedPaginator(Paginator[Any]):
    """Counts no further than 10,000 rows: long lists end there, filters find the rest."""

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most 10,000."""
        rows = self.object_list
        if isinstance(rows, models.QuerySet):
            return rows.order_by()[:COUNT_AT_MOST].count()
        return len(rows)


class RecordAdmin(admin.ModelAdmin[Any]):
    """An administrator may see and change; every change is written to the audit trail."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 200
    empty_value_display = "–"

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the list with every character in it visible."""
        return _made_visible(super().changelist_view(request, *args, **kwargs))

    def history_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show a record's history with every character in it visible."""
        return _made_visible(super().history_view(request, *args, **kwargs))

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Ask before a deletion with every character in it visible."""
        return _made_visible(super().delete_view(request, *args, **kwargs))

    def render_change_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show a record with every character in it visible."""
        return _made_visible(super().render_change_form(request, *args, **kwargs))

    def _is_administrator(self, request: HttpRequest) -> bool:
        user = request.user
        return (
            isinstance(user, User)
            and user.is_active
            and user.is_staff
            and not user.must_change_password
            and role_of(user) == Role.ADMIN
        )

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Administrators of staff see the app."""
        return self._is_administrator(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Administrators of staff see records."""
        return self._is_administrator(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Administrators of staff add records."""
        return self._is_administrator(request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Administrators of staff change records."""
        return self._is_administrator(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Administrators of staff delete records."""
        return self._is_administrator(request)

    def save_model(
        self, request: HttpRequest, obj: Any, form: ModelForm[Any], change: bool
    ) -> None:
        """Save, and write what changed to the audit trail, in the admin's transaction."""
        super().save_model(request, obj, form, change)
        # Only fields of the record: a form may have others, such as a new password in plain text.
        stored = {field.name for field in obj._meta.get_fields()} - _SECRET_FIELDS
        names = [name for name in form.changed_data if name in stored]
        self._audit(
            request,
            obj,
            verb="update" if change else "create",
            before={name: _plain(form.initial.get(name)) for name in names} if change else None,
            after={name: _plain(form.cleaned_data.get(name)) for name in names},
        )

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete, and say so in the audit trail."""
        self._audit(request, obj, verb="delete", before={"name": str(obj)}, after=None)
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet[Any]) -> None:
        """Delete what was ticked, and say so in the audit trail."""
        for obj in queryset:
            self._audit(request, obj, verb="delete", before={"name": str(obj)}, after=None)
        super().delete_queryset(request, queryset)

    def _audit(
        self,
        request: HttpRequest,
        obj: Any,
        *,
        verb: str,
        before: Mapping[str, Any] | None,
        after: Mapping[str, Any] | None,
    ) -> None:
        kind = str(self.model._meta.model_name)
        audit.record(
            actor=actor_of(request),
            action=f"{kind}.{verb}"[:64],
            object_type=kind[:32],
            object_ids=[_public_id(obj)],
            before=before,
            after=after,
        )


class ReadOnlyAdmin(RecordAdmin):
    """Records that only the machine writes: to be looked at and nothing else."""

    actions: Any = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody does."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody does."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody does."""
        return False


def _made_visible(response: HttpResponse) -> HttpResponse:
    """Let nothing in a page hide; boxes go on holding the exact text of what is changed there."""

    def make(rendered: HttpResponse) -> None:
        parts = _BOXES.split(rendered.content.decode())
        # What the pattern catches stands at every second place.
        parts[::2] = [visible_text(part) for part in parts[::2]]
        rendered.content = "".join(parts).encode()

    if isinstance(response, TemplateResponse):
        response.add_post_render_callback(make)
    return response


def _public_id(obj: Any) -> str:
    """Return the id that people and scripts know, else the primary key."""
    for name in ("task_id", "command_id", "host_id", "group_id", "token_id"):
        field = next((field for field in obj._meta.concrete_fields if field.name == name), None)
        if isinstance(field, models.UUIDField):
            return str(getattr(obj, name))
    return str(obj.pk)


def _plain(value: Any) -> Any:
    """Return a form's value as JSON can hold it."""
    if value is None or isinstance(value, (bool, int, float, str, list, dict)):
        return value if not isinstance(value, list) else [_plain(item) for item in value]
    if isinstance(value, models.QuerySet):
        return [str(item) for item in value]
    return force_str(value)

"""Admin actions that ask before they act: a page counts and names the records affected."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.functional import _StrPromise

    Run = Callable[[Any, HttpRequest, QuerySet[Any]], None]
    Ask = Callable[[Any, HttpRequest, QuerySet[Any]], TemplateResponse | None]

CONFIRMED = "confirmed"
NAMED_AT_MOST = 20
# The question carries the ids, so that what was named is what is done. A form of more fields than
# DATA_UPLOAD_MAX_NUMBER_FIELDS (1000) would be refused.
AT_ONCE = 500


def confirmed_action(
    *,
    description: _StrPromise,
    question: Any,
    consequence: _StrPromise,
    details: Callable[[QuerySet[Any]], Sequence[str]] | None = None,
) -> Callable[[Run], Ask]:
    """Make an admin action that runs only after its question was answered.

    ``description`` names the action in the list and on the button. ``question`` is an
    ``ngettext_lazy(…, "count")`` with ``%(count)d``, ``consequence`` a sentence about the effects,
    ``details`` returns more sentences about the chosen records, such as how many of them run. The
    names of the records are their ``str``. The action is for at most 500 records.
    """

    def decorate(run: Run) -> Ask:
        @admin.action(description=description)
        @functools.wraps(run)
        def ask_or_run(
            self: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Any]
        ) -> TemplateResponse | None:
            if request.POST.get(CONFIRMED) == "yes":
                run(self, request, queryset)
                return None
            records = list(queryset[: AT_ONCE + 1])
            if len(records) > AT_ONCE:
                sentence = _("Choose at most %(most)d at once; a filter makes the list shorter.")
                self.message_user(request, sentence % {"most": AT_ONCE}, messages.ERROR)
                return None
            chosen = queryset.model._default_manager.filter(pk__in=[one.pk for one in records])
            context = {
                **self.admin_site.each_context(request),
                "opts": self.model._meta,
                "title": question % {"count": len(records)},
                "consequence": consequence,
                "details": details(chosen) if details is not None else (),
                "names": [str(one) for one in records[:NAMED_AT_MOST]],
                "more": max(0, len(records) - NAMED_AT_MOST),
                "ids": [one.pk for one in records],
                "checkbox": ACTION_CHECKBOX_NAME,
                "action": run.__name__,
                "button": description,
                "back_to": request.get_full_path(),
            }
            return TemplateResponse(request, "admin/confirm_action.html", context)

        return ask_or_run

    return decorate

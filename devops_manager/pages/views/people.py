"""People: the list, one of them, and what an administrator may change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from devops_manager.access import services
from devops_manager.access.actors import role_of
from devops_manager.access.models import Role, User
from devops_manager.access.permissions import ADMINS
from devops_manager.access.selectors import listed_people, named_like, person_of
from devops_manager.lib.compression import keep_plain
from devops_manager.lib.errors import DomainError
from devops_manager.pages import group_reads, reads
from devops_manager.pages.forms.people import (
    GrantForm,
    NewPasswordForm,
    NewPersonForm,
    PeopleFilter,
    PersonForm,
)
from devops_manager.pages.gate import act, page, show
from devops_manager.pages.listing import list_rows
from devops_manager.pages.views.tokens import refuse
from hosts_app.selectors import group_of, listed_groups
from hosts_app.services import grant_group, revoke_grant

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet
    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor
    from devops_manager.access.person_change import NewPassword

_FORM_FIELDS = ("language", "first_name", "last_name", "email", "is_staff")


@page("GET", "HEAD", "POST", roles=ADMINS)
def people(request: HttpRequest, actor: Actor) -> HttpResponse:
    """List people, and add one; a generated password is shown this once."""
    form = NewPersonForm(request.POST or None, initial={"role": Role.VIEWER})
    made: NewPassword | None = None
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_person(
                actor=actor,
                username=form.cleaned_data["username"],
                change=form.change(),
                password=form.cleaned_data["password"] or None,
            )
        except DomainError as error:
            refuse(form, error)
        else:
            form = NewPersonForm(initial={"role": Role.VIEWER})
    status = 200 if request.method != "POST" else 201 if made else 400
    narrowed = PeopleFilter(request.GET)
    valid = narrowed.is_valid()
    context = {
        "section": "people",
        "made": made,
        "add_form": form,
        "form": narrowed,
        "filtered": bool(narrowed.changed_data),
        "listing": list_rows(_narrow(narrowed.cleaned_data), request.GET) if valid else None,
    }
    response = show(request, "pages/people.html", context, status=status if valid else 400)
    return keep_plain(response) if made else response


def _narrow(asked: dict[str, Any]) -> QuerySet[User]:
    found = listed_people()
    if asked["search"]:
        found = found.filter(named_like(asked["search"]))
    if asked["role"]:
        found = found.filter(role=asked["role"])
    if asked["active"]:
        found = found.filter(is_active=asked["active"] == "yes")
    return found


@page(roles=ADMINS)
def person_detail(request: HttpRequest, actor: Actor, person_id: int) -> HttpResponse:
    """Show one person: what they may do, on which hosts, and what was changed about them."""
    return _show_person(request, actor, person_of(person_id))


@page("POST", roles=ADMINS)
def person_change(request: HttpRequest, actor: Actor, person_id: int) -> HttpResponse:
    """Change a person's role, language, names or address."""
    person = person_of(person_id)
    form = PersonForm(request.POST)
    if form.is_valid():
        try:
            services.update_person(actor=actor, person_id=person_id, change=form.change())
        except DomainError as error:
            refuse(form, error)
        else:
            messages.success(request, _("The person was changed."))
            return redirect("person_detail", person_id=person_id)
    return _show_person(request, actor, person, status=400, form=form)


@page("POST", roles=ADMINS)
def person_reset(request: HttpRequest, actor: Actor, person_id: int) -> HttpResponse:
    """Give a person a new password; a generated one is shown this once."""
    form = NewPasswordForm(request.POST)
    if form.is_valid():
        try:
            made = services.reset_password(
                actor=actor,
                person_id=person_id,
                revoke_tokens=_wants_tokens_revoked(request),
                password=form.cleaned_data["password"] or None,
            )
        except DomainError as error:
            refuse(form, error)
        else:
            return _show_person(request, actor, person_of(person_id), made=made)
    return _show_person(request, actor, person_of(person_id), status=400, password_form=form)


@page("POST", roles=ADMINS)
def person_deactivate(request: HttpRequest, actor: Actor, person_id: int) -> HttpResponse:
    """End a person's sessions, and refuse their sign-in and tokens."""
    return _one(
        request,
        person_id,
        lambda: services.deactivate_person(
            actor=actor, person_id=person_id, revoke_tokens=_wants_tokens_revoked(request)
        ),
        _("The account is deactivated: its sessions have ended, sign-in and tokens are refused."),
    )


@page("POST", roles=ADMINS)
def person_reactivate(request: HttpRequest, actor: Actor, person_id: int) -> HttpResponse:
    """Let a person sign in again."""
    return _one(
        request,
        person_id,
        lambda: services.reactivate_person(actor=actor, person_id=person_id),
        _("The person may sign in again."),
    )


@page("POST", roles=ADMINS)
def person_grant(request: HttpRequest, actor: Actor, person_id: int) -> HttpResponse:
    """Let a person act on the hosts of a group."""
    group_id, username = _group_id(request), person_of(person_id).username
    return _one(
        request,
        person_id,
        lambda: grant_group(actor=actor, group_id=group_id, username=username),
        _("The group is granted."),
    )


@page("POST", roles=ADMINS)
def person_revoke(request: HttpRequest, actor: Actor, person_id: int) -> HttpResponse:
    """Take a group back from a person."""
    group_id, username = _group_id(request), person_of(person_id).username
    return _one(
        request,
        person_id,
        lambda: revoke_grant(actor=actor, group_id=group_id, username=username),
        _("The grant was taken back."),
    )


def _group_id(request: HttpRequest) -> UUID:
    """Return the group that the form names. Raises NotFound."""
    try:
        group_id = UUID(request.POST.get("group", ""))
    except ValueError:
        group_id = UUID(int=0)
    return group_of(group_id).group_id


def _wants_tokens_revoked(request: HttpRequest) -> bool:
    return request.POST.get("revoke_tokens") in {"on", "yes", "true", "1"}


def _one(
    request: HttpRequest, person_id: int, service: Callable[[], object], done: str
) -> HttpResponse:
    back_to = reverse("person_detail", args=[person_id])
    return act(request, service, done=done, back_to=back_to)


def _show_person(
    request: HttpRequest,
    actor: Actor,
    person: User,
    *,
    status: int = 200,
    form: PersonForm | None = None,
    password_form: NewPasswordForm | None = None,
    made: NewPassword | None = None,
) -> HttpResponse:
    granted = group_reads.grants_of(person)
    names = {group.pk for group in granted}
    choices = [
        (str(group.group_id), group.name)
        for group in listed_groups()[: reads.GROUPS_AT_MOST]
        if group.pk not in names
    ]
    context = {
        "section": "people",
        "person": person,
        "own": person.pk == actor.user_id,
        "form": form or _form(person),
        "password_form": password_form or NewPasswordForm(),
        "made": made,
        "granted": granted,
        "grant_form": GrantForm(groups=choices) if choices else None,
        "events": reads.trail_of(object_type="user", object_id=person.pk, most=20),
    }
    response = show(request, "pages/person.html", context, status=status)
    return keep_plain(response) if made else response


def _form(person: User) -> PersonForm:
    initial = {name: getattr(person, name) for name in _FORM_FIELDS}
    return PersonForm(initial={**initial, "role": role_of(person)})

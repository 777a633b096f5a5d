"""Groups of hosts: the list, one of them, its hosts, and who may act on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devops_manager.access.models import Role
from devops_manager.access.permissions import ADMINS
from devops_manager.access.selectors import operators
from devops_manager.lib.errors import DomainError, Forbidden
from devops_manager.pages import group_reads, reads
from devops_manager.pages.forms.groups import AddHostsForm, GroupForm
from devops_manager.pages.forms.hosts import ticked
from devops_manager.pages.gate import act, page, show
from devops_manager.pages.listing import list_rows
from devops_manager.pages.views.tokens import refuse
from hosts_app import services
from hosts_app.selectors import count_tags, group_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor
    from hosts_app.models import HostGroup


@page("GET", "HEAD", "POST")
def group_list(request: HttpRequest, actor: Actor) -> HttpResponse:
    """List groups and tags with their hosts; administrators make groups here."""
    form = GroupForm(request.POST or None)
    if request.method == "POST":
        if actor.role != Role.ADMIN:
            raise Forbidden(_("Your role does not allow it."))
        if form.is_valid():
            try:
                group = services.create_group(actor=actor, **form.cleaned_data)
            except DomainError as error:
                refuse(form, error)
            else:
                messages.success(request, _("The group was made."))
                return redirect("group_detail", group_id=group.group_id)
    search = request.GET.get("name", "")[:128].replace("\0", "")
    tags = count_tags()
    context = {
        "section": "groups",
        "form": form,
        "search": search,
        "listing": list_rows(group_reads.group_list(search), request.GET),
        "tags": tags[: reads.TAGS_AT_MOST],
        "more_tags": max(0, len(tags) - reads.TAGS_AT_MOST),
    }
    status = 400 if request.method == "POST" else 200
    return show(request, "pages/group_list.html", context, status=status)


@page()
def group_detail(request: HttpRequest, actor: Actor, group_id: UUID) -> HttpResponse:
    """Show one group: its hosts, and to administrators who may act on them."""
    return _show_group(request, actor, group_of(group_id))


@page("POST", roles=ADMINS)
def group_change(request: HttpRequest, actor: Actor, group_id: UUID) -> HttpResponse:
    """Change a group's name or description."""
    group = group_of(group_id)
    form = GroupForm(request.POST)
    if form.is_valid():
        try:
            services.update_group(actor=actor, group_id=group_id, **form.cleaned_data)
        except DomainError as error:
            refuse(form, error)
        else:
            messages.success(request, _("The group was changed."))
            return redirect("group_detail", group_id=group_id)
    return _show_group(request, actor, group, status=400, form=form)


@page("POST", roles=ADMINS)
def group_delete(request: HttpRequest, actor: Actor, group_id: UUID) -> HttpResponse:
    """Delete a group; its hosts stay."""
    return act(
        request,
        lambda: services.delete_group(actor=actor, group_id=group_id),
        done=_("The group was deleted; its hosts stay."),
        back_to=reverse("group_list"),
    )


@page("POST", roles=ADMINS)
def group_add_hosts(request: HttpRequest, actor: Actor, group_id: UUID) -> HttpResponse:
    """Put hosts into a group, by name, id or tag; an unknown name adds none."""
    group = group_of(group_id)
    form = AddHostsForm(request.POST)
    hosts = _asked_hosts(form) if form.is_valid() else []
    if form.errors:
        return _show_group(request, actor, group, status=400, add_form=form)
    added = services.add_hosts(actor=actor, group_id=group_id, host_ids=hosts)
    done = ngettext("%(count)d host was added.", "%(count)d hosts were added.", added)
    messages.success(request, done % {"count": added})
    return redirect("group_detail", group_id=group_id)


def _asked_hosts(form: AddHostsForm) -> list[UUID]:
    """Return the hosts that a form names; what is wrong stands beside its fields then."""
    names, tag = form.cleaned_data["names"], form.cleaned_data["tag"].strip()
    found = group_reads.named_hosts(names)
    for sentence, texts in (
        (_("No host is called: %s"), found.unknown),
        (_("Several hosts are called: %s; give their ids."), found.doubtful),
    ):
        if texts:
            form.add_error("names", sentence % ", ".join(texts[:20]))
    tagged = group_reads.tagged_hosts(tag) if tag else []
    if tag and not tagged:
        form.add_error("tag", _("No host has this tag."))
    return list(dict.fromkeys([*found.found, *tagged]))


@page("POST", roles=ADMINS)
def group_remove_hosts(request: HttpRequest, actor: Actor, group_id: UUID) -> HttpResponse:
    """Take the ticked hosts out of a group."""
    hosts = ticked(request.POST.getlist("host"))
    if not hosts:
        messages.warning(request, _("Tick at least one host."))
        return redirect("group_detail", group_id=group_id)
    done = ngettext("%(count)d host was taken out.", "%(count)d hosts were taken out.", len(hosts))
    return _one(
        request,
        group_id,
        lambda: services.remove_hosts(actor=actor, group_id=group_id, host_ids=hosts),
        done % {"count": len(hosts)},
    )


@page("POST", roles=ADMINS)
def group_grant(request: HttpRequest, actor: Actor, group_id: UUID) -> HttpResponse:
    """Let a person act on the hosts of a group."""
    username = request.POST.get("username", "").strip().replace("\0", "")
    return _one(
        request,
        group_id,
        lambda: services.grant_group(actor=actor, group_id=group_id, username=username),
        _("The group is granted."),
    )


@page("POST", roles=ADMINS)
def group_revoke(request: HttpRequest, actor: Actor, group_id: UUID) -> HttpResponse:
    """Take a grant back."""
    username = request.POST.get("username", "").replace("\0", "")
    return _one(
        request,
        group_id,
        lambda: services.revoke_grant(actor=actor, group_id=group_id, username=username),
        _("The grant was taken back."),
    )


def _one(
    request: HttpRequest, group_id: UUID, service: Callable[[], object], done: str
) -> HttpResponse:
    back_to = reverse("group_detail", args=[group_id])
    return act(request, service, done=done, back_to=back_to)


def _show_group(
    request: HttpRequest,
    actor: Actor,
    group: HostGroup,
    *,
    status: int = 200,
    form: GroupForm | None = None,
    add_form: AddHostsForm | None = None,
) -> HttpResponse:
    context: dict[str, object] = {
        "section": "groups",
        "group": group,
        "listing": list_rows(group_reads.members(group), request.GET),
    }
    if actor.role == Role.ADMIN:
        initial = {"name": group.name, "description": group.description}
        context |= {
            "form": form or GroupForm(initial=initial),
            "add_form": add_form or AddHostsForm(),
            "grants": group_reads.grants_on(group),
            "operators": operators()[: group_reads.GRANTS_AT_MOST],
            "waiting_tasks": group_reads.waiting_tasks(group),
            "known_tags": reads.known_tags(),
            "events": reads.trail_of(object_type="group", object_id=group.group_id, most=20),
        }
    return show(request, "pages/group.html", context, status=status)

"""Hosts: the list, one of them, and letting new ones in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from agents_app.selectors import set_aside_requests
from devops_manager.access.permissions import ADMINS, APPROVERS
from devops_manager.lib.errors import DomainError, NotFound, PreconditionFailed
from devops_manager.lib.versions import ANY, Expected
from devops_manager.pages import host_reads, reads
from devops_manager.pages.forms.filters import HostListFilter
from devops_manager.pages.forms.hosts import HostForm, ticked
from devops_manager.pages.gate import act, page, sentences, show
from devops_manager.pages.listing import asked_page, list_rows, listing_of
from devops_manager.pages.live import OTHERWISE
from hosts_app import services
from hosts_app.selectors import host_version, same_machine
from tasks_app.selectors.rows import host_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor
    from hosts_app.models import Host


@page()
def host_list(request: HttpRequest, _actor: Actor) -> HttpResponse:
    """List hosts by name; those that wait for approval are counted above the list."""
    form = HostListFilter(request.GET)
    valid = form.is_valid()
    context = {
        "section": "hosts",
        "every": OTHERWISE,
        "form": form,
        "filtered": bool(form.changed_data),
        "waiting": host_reads.count_waiting(),
        "groups": reads.group_names(actor=_actor),
        "known_tags": reads.known_tags(),
        "listing": list_rows(host_reads.host_list(form.cleaned_data), request.GET)
        if valid
        else None,
    }
    return show(request, "pages/host_list.html", context, status=200 if valid else 400)


@page()
def host_detail(request: HttpRequest, actor: Actor, host_id: UUID) -> HttpResponse:
    """Show one host: what it is, when it was heard, what it was given."""
    host = _host(host_id)
    return _show_host(request, actor, host, _form(actor, host))


@page("POST", roles=ADMINS)
def host_change(request: HttpRequest, actor: Actor, host_id: UUID) -> HttpResponse:
    """Change a host's tags, groups and limit."""
    host = _host(host_id)
    form = HostForm(request.POST, groups=_group_names(actor, host))
    version = request.POST.get("version", "")
    if form.is_valid():
        expected = Expected(frozenset({version})) if version else ANY
        try:
            services.update_host(
                actor=actor, host_id=host_id, change=form.change(), expected=expected
            )
        except PreconditionFailed as error:
            form.add_error(None, str(error.detail))
            version = ""  # now it is drawn with the other's: who saves again, means it
        except DomainError as error:
            for text in sentences(error.fields.values()) or [str(error.detail)]:
                form.add_error(None, text)
        else:
            messages.success(request, _("The host was changed."))
            return redirect("host_detail", host_id=host_id)
    return _show_host(request, actor, host, form, version=version, status=400)


def _host(host_id: UUID) -> Host:
    host = host_reads.one_host(host_id)
    if host is None:
        raise NotFound(_("There is no such host."))
    return host


def _group_names(actor: Actor, host: Host) -> list[str]:
    return sorted({*reads.group_names(actor=actor), *(group.name for group in host.groups.all())})


def _form(actor: Actor, host: Host) -> HostForm:
    return HostForm(
        groups=_group_names(actor, host),
        initial={
            "tags": ", ".join(map(str, host.tags)),
            "groups": [group.name for group in host.groups.all()],
            "max_concurrency": host.max_concurrency,
            "display_name": host.display_name,
            "output_charset": host.output_charset,
        },
    )


def _show_host(
    request: HttpRequest,
    actor: Actor,
    host: Host,
    form: HostForm,
    *,
    version: str = "",
    status: int = 200,
) -> HttpResponse:
    given = host_tasks(
        host_id=host.host_id, asked=asked_page({"page": request.GET.get("page", "")})
    )
    context = {
        "section": "hosts",
        "every": OTHERWISE,
        "host": host,
        "heartbeat": getattr(host, "heartbeat", None),
        "facts": sorted((str(key), value) for key, value in (host.facts or {}).items()),
        "form": form,
        "same_machine": same_machine(host),
        "version": version or host_version(host),
        "listing": listing_of(given),
        "set_aside": set_aside_requests(host_id=host.host_id),
        "events": reads.trail_of(object_type="host", object_id=host.host_id, most=20),
    }
    return show(request, "pages/host_detail.html", context, status=status)


@page("POST", roles=APPROVERS)
def host_approve(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Let the ticked hosts in."""
    ids = _chosen(request)
    done = ngettext("%(count)d host may work now.", "%(count)d hosts may work now.", len(ids))
    return _decide(request, ids, lambda: services.approve_hosts(actor=actor, host_ids=ids), done)


@page("POST", roles=APPROVERS)
def host_reject(request: HttpRequest, actor: Actor) -> HttpResponse:
    """Turn the ticked hosts away."""
    ids = _chosen(request)
    done = ngettext("%(count)d host was rejected.", "%(count)d hosts were rejected.", len(ids))
    return _decide(request, ids, lambda: services.reject_hosts(actor=actor, host_ids=ids), done)


def _chosen(request: HttpRequest) -> list[UUID]:
    """Return the hosts that were ticked, or all that the page showed when that was asked for."""
    return ticked(request.POST.getlist("shown" if request.POST.get("which") == "shown" else "host"))


def _decide(
    request: HttpRequest, ids: list[UUID], service: Callable[[], object], done: str
) -> HttpResponse:
    back_to = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back_to, allowed_hosts={request.get_host()}):
        back_to = reverse("host_list")
    if not ids:
        messages.warning(request, _("Tick at least one host."))
        return redirect(back_to)
    return act(request, service, done=done % {"count": len(ids)}, back_to=back_to)


def _one(
    request: HttpRequest, actor: Actor, host_id: UUID, service: Callable[..., object], done: str
) -> HttpResponse:
    return act(
        request,
        lambda: service(actor=actor, host_id=host_id),
        done=done,
        back_to=reverse("host_detail", args=[host_id]),
    )


@page("POST", roles=ADMINS)
def host_disable(request: HttpRequest, actor: Actor, host_id: UUID) -> HttpResponse:
    """Give the host no more work."""
    done = _("The host is disabled: it is given no more work.")
    return _one(request, actor, host_id, services.disable_host, done)


@page("POST", roles=ADMINS)
def host_enable(request: HttpRequest, actor: Actor, host_id: UUID) -> HttpResponse:
    """Let a disabled host work again."""
    return _one(request, actor, host_id, services.enable_host, _("The host may work again."))


@page("POST", roles=ADMINS)
def host_release(request: HttpRequest, actor: Actor, host_id: UUID) -> HttpResponse:
    """End the quarantine of a host."""
    done = _("The quarantine has ended.")
    return _one(request, actor, host_id, services.release_quarantine, done)


@page("POST", roles=ADMINS)
def host_revoke(request: HttpRequest, actor: Actor, host_id: UUID) -> HttpResponse:
    """Refuse the host's credential from now on."""
    done = _("The credential is refused from now on; enrol the agent again to let it back in.")
    return _one(request, actor, host_id, services.revoke_credential, done)


@page("POST", roles=ADMINS)
def host_retire(request: HttpRequest, actor: Actor, host_id: UUID) -> HttpResponse:
    """Take the host out for good; its history stays."""
    done = _("The host is retired: it is in no list and no target any more.")
    return _one(request, actor, host_id, services.retire_host, done)


@page("POST", roles=ADMINS)
def host_unretire(request: HttpRequest, actor: Actor, host_id: UUID) -> HttpResponse:
    """Bring a retired host back."""
    done = _("The host is back, in the state that it had before it was retired.")
    return _one(request, actor, host_id, services.unretire_host, done)


@page("POST", roles=ADMINS)
def host_replace(
    request: HttpRequest, actor: Actor, host_id: UUID, replaced_id: UUID
) -> HttpResponse:
    """Let the host take the place of an older record of its machine."""
    return act(
        request,
        lambda: services.replace_host(actor=actor, host_id=host_id, replaced_id=replaced_id),
        done=_("The older record is retired; what it had was carried over."),
        back_to=reverse("host_detail", args=[host_id]),
    )

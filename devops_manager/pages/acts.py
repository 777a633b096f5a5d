"""What the audit trail says was done, in words; the pages show trails of tasks and of hosts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext_lazy as _

from devops_manager.pages import looks
from devops_manager.pages.terminal_text import inert_text

if TYPE_CHECKING:
    from devops_manager.access.models import AuditEvent

ACTS: dict[str, Any] = {
    "task.create": _("Created the task"),
    "task.update": _("Changed the task"),
    "task.delete": _("Deleted the task"),
    "task.start": _("Started the task"),
    "task.leave_out": _("Left hosts out whose grant was revoked"),
    "task.fail": _("Ended the task: it could not run in its turn"),
    "task.stop": _("Stopped the task"),
    "task.cancel": _("Canceled the task"),
    "host.enroll": _("Enrolled the host"),
    "host.enroll_again": _("Enrolled the host again"),
    "host.enroll_refused": _("Refused an enrollment"),
    "host.approve": _("Approved the host"),
    "host.reject": _("Rejected the host"),
    "host.update": _("Changed the host"),
    "host.delete": _("Deleted the host"),
    "host.disable": _("Disabled the host"),
    "host.enable": _("Enabled the host"),
    "host.quarantine": _("Quarantined the host"),
    "host.release": _("Released the host from quarantine"),
    "host.revoke_credential": _("Revoked the host's credential"),
    "host.rename": _("Has another name now"),
    "host.retire": _("Retired the host"),
    "host.unretire": _("Brought the host back"),
    "host.replace": _("Let the host replace an older record"),
    "host.events_counted": _("Caused more events than are written, by their number"),
    "host.foreign_fence": _("Reported on another host's command"),
    "gateway.set_aside": _("Set aside what two gateways ended of"),
    "group.create": _("Made the group"),
    "group.update": _("Changed the group"),
    "group.delete": _("Deleted the group"),
    "group.add_hosts": _("Added hosts"),
    "group.remove_hosts": _("Took hosts out"),
    "group.grant": _("Granted the group"),
    "group.revoke_grant": _("Took a grant back"),
    "user.create": _("Added the person"),
    "user.update": _("Changed the person"),
    "user.deactivate": _("Deactivated the account"),
    "user.reactivate": _("Reactivated the account"),
    "user.reset_password": _("Set a new password"),
    "user.change_password": _("Changed the password"),
    "user.sign_in": _("Signed in"),
    "user.sign_out": _("Signed out"),
    "result.conflict": _("Reported a second, different result"),
}


def act_label(action: str) -> str:
    """Return what was done, in words; an action that is not known as it is recorded."""
    return str(ACTS.get(action, action))


def status_change(event: AuditEvent) -> str:
    """Return what an act changed: states in words, names, a number; nothing when it was neither."""
    if event.action == "host.events_counted":
        return str((event.after or {}).get("count", ""))
    if event.action == "host.rename":
        names = [
            inert_text(str((side or {}).get("hostname", "")))
            for side in (event.before, event.after)
        ]
        return " → ".join(names)
    before, after = (
        _status_label(event.object_type, (values or {}).get("status"))
        for values in (event.before, event.after)
    )
    if not after:
        return before
    return f"{before} → {after}" if before else f"→ {after}"


def _status_label(kind: str, status: object) -> str:
    if not status:
        return ""
    choices = looks.KINDS.get(kind)
    if choices is None or status not in choices.values:
        return str(status)
    return str(choices(status).label)

"""Why a command or a task ended as it did, in the reader's language: from code and message."""

from __future__ import annotations

from typing import NamedTuple

from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_noop as _

# By error code, for the pages and the API. The server keeps no sentence for what it ends itself;
# agents send one in English, which names what the code does not: a signal, a user, a pid.
SENTENCES = {
    # of the server, for a command
    "delivery_time_over": _("It could not be delivered within its delivery time."),
    "host_offline": _("The host was offline, and the task does not wait for such hosts."),
    "no_report": _("It was delivered, and no result came in time."),
    "not_accounted_for": _("The agent no longer knows of it."),
    "result_set_aside": _(
        "A defect of the server: its result ended two gateways and is set aside. It is not known"
        " how the command ended."
    ),
    # of the server, for a task
    "empty_target": _("No host was left in the target when the task's turn came."),
    "unknown_target": _("Something that the target names was gone when the task's turn came."),
    "ambiguous_target": _("Several hosts had a name in the target when the task's turn came."),
    "group_not_granted": _("The target names groups that are not granted to the task's creator."),
    "grants_revoked": _("No host is left: the grants of the task's creator were revoked."),
    "creator_gone": _("The task's creator is gone; copy the task."),
    "creator_inactive": _("The task's creator is not active any more; copy the task."),
    "creator_may_not_run": _("The task's creator may not run tasks any more; copy the task."),
    # of the agent
    "agent_error": _("The agent failed while it ran the command; its log says why."),
    "agent_restarted": _("The agent restarted while the command ran."),
    "agent_stopped": _("The agent was stopped, which ended the command."),
    "canceled": _("It was canceled."),
    "exec_failed": _("It could not be started."),
    "host_restarted": _("The host restarted while the command ran."),
    "interrupted": _("It was interrupted."),
    "invalid_command": _("The agent cannot run such a command."),
    "journal_failed": _("It was not started: the agent's journal could not be written."),
    "run_as_failed": _("It could not be run as the user that the step names."),
    "script_not_written": _("It was not started: its text could not be written on the host."),
    "signal": _("It was ended by a signal."),
    "timeout": _("It ran longer than its time limit and was ended."),
    "working_directory_missing": _("Its working directory cannot be entered on the host."),
    # ended by the agent, and there is more that the agent cannot end
    "agent_stopped_work_may_go_on": _(
        "The agent was stopped, which ended the command. What the command gave to another service "
        "may go on."
    ),
    "canceled_work_may_go_on": _(
        "It was canceled. What the command gave to another service may go on."
    ),
    "timeout_work_may_go_on": _(
        "It ran longer than its time limit and was ended. What the command gave to another service "
        "may go on."
    ),
}

# What agents say that needs no code to be understood.
SAID = frozenset(
    {
        _("It was never started."),
        _("Its output is missing: the agent's disk was full."),
    }
)


class Reason(NamedTuple):
    """What the reader is told: a sentence in the reader's language, and what was said in English.

    Either may be empty. ``said`` is as it came: pages make it harmless first.
    """

    sentence: str
    said: str

    def __str__(self) -> str:
        """Return both in a row."""
        return " ".join(filter(None, self))


def reason(code: str, message: str) -> Reason:
    """Return why something ended, from its error code and the message that came with it.

    Readers of English are given the message alone if there is one: it says the same and more.
    """
    said = message
    if said and (get_language() or "en").startswith("en"):
        return Reason("", said)
    if said in SAID:
        return Reason(gettext(said), "")
    known = SENTENCES.get(code)
    if known is None:
        return Reason("" if said else code, said)
    return Reason(gettext(known), "" if said == known else said)

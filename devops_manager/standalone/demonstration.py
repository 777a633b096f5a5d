"""One real task of three steps on the three agents, and whether it came out as it should."""

from __future__ import annotations

from typing import Any

from devops_manager.embedded.language import gettext as _
from devops_manager.standalone.agents import NODES
from devops_manager.standalone.children import Children
from devops_manager.standalone.client import Api
from devops_manager.standalone.terminal import progress
from devops_manager.standalone.words import task_state

FAILING_NODE = NODES[-1]
FAILING_STATUS = 3
TASK_SECONDS = 120.0
_ENDED = {"completed", "partial", "failed", "canceled"}
_OUTCOMES = ("completed", "failed", "lost", "canceled", "skipped")

_SCRIPT = """\
set -eu
echo "Hello from $1"
i=1
while [ "$i" -le 3 ]; do
    echo "line $i of a script with parameters"
    i=$((i + 1))
done
"""

# The three agents share one machine, so `hostname` cannot tell them apart; their names can, or the
# directories in which they keep their scripts.
_FAILING_SCRIPT = f"""\
case "${{DM_HOSTNAME:-$0}}" in
*{FAILING_NODE}*)
    echo "this step fails on {FAILING_NODE} on purpose" >&2
    exit {FAILING_STATUS}
    ;;
esac
echo "all is well"
"""


def steps() -> list[dict[str, Any]]:
    """Return the three commands of the task, as the API takes them."""
    return [
        {
            "name": _("System report"),
            "kind": "command",
            "body": "uname -a; df -h /",
            "timeout_seconds": 30,
        },
        {
            "name": _("A script with a parameter"),
            "kind": "script",
            "body": _SCRIPT,
            "interpreter": "/bin/sh",
            "parameters": ["DevOps Manager"],
            "timeout_seconds": 30,
        },
        {
            "name": _("A step that fails on one host"),
            "kind": "script",
            "body": _FAILING_SCRIPT,
            "timeout_seconds": 30,
        },
    ]


def run_task(children: Children, api: Api, host_ids: dict[str, str]) -> str:
    """Create and start the task, show its progress until it ended, and return its id."""
    body = {
        "name": _("First task: a report from %(count)d hosts") % {"count": len(host_ids)},
        "target": {"hosts": list(host_ids.values())},
        "commands": steps(),
    }
    task_id = str(api.post("tasks", body)["task_id"])
    progress(_("Created task %(task)s; starting it") % {"task": task_id})
    api.post(f"tasks/{task_id}/start")
    shown = ""

    def ended() -> bool:
        nonlocal shown
        state = api.get(f"tasks/{task_id}/status")
        line = _("Task: %(status)s, %(done)d of %(total)d hosts done") % {
            "status": task_state(state["status"]),
            "done": sum(state[f"{outcome}_hosts"] for outcome in _OUTCOMES),
            "total": state["total_hosts"],
        }
        if line != shown:
            progress(line)
            shown = line
        return state["status"] in _ENDED

    children.wait_for(_("the task to end"), ended, seconds=TASK_SECONDS)
    return task_id

"""The results of the demonstration: alike ones grouped, and judged against the plan."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from devops_manager.embedded.language import gettext as _
from devops_manager.standalone.client import Api
from devops_manager.standalone.demonstration import FAILING_NODE, FAILING_STATUS, steps
from devops_manager.standalone.terminal import show
from devops_manager.standalone.words import row_state, task_state

_EXPECTED_TASK_STATUS = "partial"
_SHOWN_LINES = 12


@dataclass(frozen=True)
class Result:
    """One step on one node, as the API tells it."""

    node: str
    position: int
    step: str
    status: str
    exit_code: int | None
    stdout: str
    stderr: str

    @property
    def signature(self) -> tuple[str, int | None, str, str]:
        """What results must share to be shown as one."""
        return (self.status, self.exit_code, self.stdout, self.stderr)


def show_and_judge(api: Api, task_id: str, host_ids: dict[str, str]) -> str:
    """Print every result and return why the outcome is not the expected one; empty if it is."""
    nodes = {host_id: node for node, host_id in host_ids.items()}
    names = {step["position"]: step["name"] for step in api.get(f"tasks/{task_id}/commands")}
    results = [_result(entry, nodes, names) for entry in api.every(f"tasks/{task_id}/logs")]
    for line in describe(results):
        show(line)
    return judge(
        status=str(api.get(f"tasks/{task_id}/status")["status"]),
        results=results,
        nodes=list(host_ids),
    )


def _result(entry: dict[str, Any], nodes: dict[str, str], names: dict[int, str]) -> Result:
    row = entry["row"]
    return Result(
        node=nodes.get(row["host_id"], row["hostname"]),
        position=row["position"],
        step=names[row["position"]],
        status=row["status"],
        exit_code=row["exit_code"],
        stdout=_text(entry["stdout"]),
        stderr=_text(entry["stderr"]),
    )


def _text(stream: dict[str, Any] | None) -> str:
    """Return what is kept of a stream; the gap between head and tail is said."""
    if stream is None:
        return ""
    head, tail, omitted = (stream[name] for name in ("head", "tail", "omitted_bytes"))
    gap = "\n" + _("[%(count)d bytes left out]") % {"count": omitted} + "\n" if omitted else ""
    return f"{head}{gap}{tail}"


def group(results: list[Result]) -> list[tuple[Result, list[str]]]:
    """Return for each step its different outcomes with the nodes that share each, in step order."""
    shared: dict[tuple[object, ...], list[Result]] = defaultdict(list)
    for result in sorted(results, key=lambda one: (one.position, one.node)):
        shared[(result.position, *result.signature)].append(result)
    return [(alike[0], [one.node for one in alike]) for alike in shared.values()]


def describe(results: list[Result]) -> list[str]:
    """Return the lines that show all results, identical ones once."""
    lines: list[str] = []
    position: int | None = None
    for result, nodes in group(results):
        if result.position != position:
            position = result.position
            lines += ["", _("Step %(position)d: %(step)s") % vars(result)]
        detail = {
            "nodes": ", ".join(nodes),
            "status": row_state(result.status),
            "exit_code": result.exit_code,
        }
        lines.append("  " + _("%(nodes)s: %(status)s, exit code %(exit_code)s") % detail)
        for text in (result.stdout, result.stderr):
            lines += [f"      {line}" for line in text.splitlines()[:_SHOWN_LINES]]
    lines.append("")
    return lines


def judge(*, status: str, results: list[Result], nodes: list[str]) -> str:
    """Return why this is not the planned outcome, or an empty text."""
    planned = {
        (node, position): ("failed", FAILING_STATUS)
        if node == FAILING_NODE and position == len(steps())
        else ("completed", 0)
        for node in nodes
        for position in range(1, len(steps()) + 1)
    }
    found = {(one.node, one.position): (one.status, one.exit_code) for one in results}
    reasons = [
        _("step %(position)d on %(node)s should be %(planned)s and is %(found)s")
        % {
            "position": position,
            "node": node,
            "planned": _words(planned[node, position]),
            "found": _words(found.get((node, position))),
        }
        for node, position in planned
        if found.get((node, position)) != planned[node, position]
    ]
    if status != _EXPECTED_TASK_STATUS:
        reasons.append(
            _("the task should be %(planned)s and is %(found)s")
            % {"planned": task_state(_EXPECTED_TASK_STATUS), "found": task_state(status)}
        )
    return "; ".join(reasons)


def _words(outcome: tuple[str, int | None] | None) -> str:
    return _("missing") if outcome is None else f"{row_state(outcome[0])} ({outcome[1]})"

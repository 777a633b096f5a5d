"""How `make run` groups results and judges them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devops_manager.standalone.agents import NODES
from devops_manager.standalone.demonstration import FAILING_NODE, FAILING_STATUS, steps
from devops_manager.standalone.outcome import Result, describe, group, judge


def as_planned() -> list[Result]:
    results = []
    for node in NODES:
        for position, step in enumerate(steps(), start=1):
            fails = node == FAILING_NODE and position == len(steps())
            results.append(
                Result(
                    node=node,
                    position=position,
                    step=step["name"],
                    status="failed" if fails else "completed",
                    exit_code=FAILING_STATUS if fails else 0,
                    stdout="" if fails else "fine\n",
                    stderr="on purpose\n" if fails else "",
                )
            )
    return results


def verdict(results: list[Result], status: str = "partial") -> str:
    return judge(status=status, results=results, nodes=list(NODES))


def test_the_planned_failure_is_a_good_outcome() -> None:
    assert verdict(as_planned()) == ""


def test_the_task_must_be_partial() -> None:
    assert verdict(as_planned(), "completed") == (
        "the task should be Partly completed and is Completed"
    )


@pytest.mark.parametrize("changed", range(9))
def test_every_other_result_is_named(changed: int) -> None:
    results = as_planned()
    one = results[changed]
    results[changed] = replace(one, status="timeout", exit_code=None)
    reason = verdict(results)
    assert f"step {one.position} on {one.node}" in reason
    assert "Timed out (None)" in reason


def test_a_missing_result_is_named() -> None:
    assert "missing" in verdict(as_planned()[1:])


def test_a_failure_that_did_not_happen_is_named() -> None:
    results = [replace(one, status="completed", exit_code=0) for one in as_planned()]
    assert verdict(results) == (
        f"step 3 on {FAILING_NODE} should be Execution failed (3) and is Completed successfully (0)"
    )


def test_alike_results_are_grouped_by_step() -> None:
    groups = [(result.position, nodes) for result, nodes in group(as_planned())]
    assert groups == [
        (1, list(NODES)),
        (2, list(NODES)),
        (3, list(NODES[:-1])),
        (3, [FAILING_NODE]),
    ]


def test_the_output_is_shown_once_for_each_group() -> None:
    text = "\n".join(describe(as_planned()))
    assert text.count("fine") == 3
    assert text.count("on purpose") == 1
    assert f"{FAILING_NODE}: Execution failed, exit code {FAILING_STATUS}" in text

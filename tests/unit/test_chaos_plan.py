"""The plan of faults is the seed's, whole and in order, and breaks nothing that is broken."""

from __future__ import annotations

from tests.chaos.plan import deck, draw_plan, fingerprint

SECONDS = 1200.0


def test_the_same_seed_gives_the_same_plan_and_a_shorter_run_its_beginning() -> None:
    plan = draw_plan(7, SECONDS)
    assert plan == draw_plan(7, SECONDS)
    assert draw_plan(7, 300.0) == [fault for fault in plan if fault.at_seconds < 300]
    assert fingerprint(plan) == fingerprint(draw_plan(7, SECONDS))
    assert fingerprint(plan) != fingerprint(draw_plan(8, SECONDS))
    # Written down once: another Python, or a changed order of drawing, would make old seeds lie.
    assert fingerprint(draw_plan(7, 60.0)) == "4478517997e4"


def test_every_kind_of_fault_comes_on_every_target() -> None:
    dealt = {(fault.kind, fault.target) for fault in draw_plan(1, SECONDS)}
    assert dealt == {(card.kind, card.target) for card in deck()}


def test_nothing_breaks_that_is_broken_already() -> None:
    needs = {(card.kind, card.target): card.needs for card in deck()}
    whole_at: dict[str, float] = {}
    for fault in draw_plan(3, SECONDS):
        for need in needs[fault.kind, fault.target]:
            assert whole_at.get(need, 0.0) <= fault.at_seconds
            whole_at[need] = fault.at_seconds + fault.lasts_seconds

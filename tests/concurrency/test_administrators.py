"""Administrators who take each other's rights away at the same time: one of them stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devops_manager.access.models import Role, User
from devops_manager.access.person_change import PersonChange
from devops_manager.access.selectors import active_administrators
from devops_manager.access.services import deactivate_person, update_person
from devops_manager.lib.errors import DomainError
from tests.task_factories import actor_for, make_user
from tests.together import together

pytestmark = pytest.mark.django_db(transaction=True)


def take_away(by: User, of: User, *, demote: bool) -> Callable[[], str]:
    """Return a call that takes a person's rights away, and tells why not."""
    actor = actor_for(by)

    def call() -> str:
        try:
            if demote:
                change = PersonChange(role=Role.VIEWER)
                update_person(actor=actor, person_id=of.pk, change=change)
            else:
                deactivate_person(actor=actor, person_id=of.pk, revoke_tokens=False)
        except DomainError as error:
            return error.code
        return ""

    return call


@pytest.mark.parametrize("demote", [True, False])
def test_one_administrator_stays_whoever_comes_first(demote: bool) -> None:
    for round_number in range(5):
        User.objects.all().delete()
        people = [make_user(Role.ADMIN, f"{round_number}-{at}") for at in range(4)]
        ring = zip(people, people[1:] + people[:1], strict=True)
        answers = together([take_away(one, other, demote=demote) for one, other in ring])
        left = active_administrators().count()
        assert left >= 1
        assert answers.count("") == 4 - left
        assert set(answers) <= {"", "forbidden", "last_administrator"}

"""The language that a person reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devops_manager.access.models import User

if TYPE_CHECKING:
    from devops_manager.access.actors import Actor


def choose_language(*, actor: Actor, language: str) -> None:
    """Remember the language for the person's next sign-in; a preference, so not audited."""
    if actor.user_id is not None:
        person = User.objects.filter(pk=actor.user_id)
        person.exclude(language=language).update(language=language)

"""What crosses the boundary of devops_manager.access: plain and frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devops_manager.access.models import Role, User


@dataclass(frozen=True, slots=True)
class PersonChange:
    """New values of a person; None leaves one as it is.

    ``language`` is one of settings.LANGUAGES, or empty for the browser's. ``is_staff`` opens the
    raw records (Django's administration) to an administrator.
    """

    role: Role | None = None
    language: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None
    is_staff: bool | None = None


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A person, and the password that was generated for them; None when somebody chose it."""

    person: User
    generated: str | None = field(repr=False)

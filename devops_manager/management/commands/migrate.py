"""Django's ``migrate``, as the owner of the tables where there is one."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DEFAULT_DB_ALIAS, ProgrammingError
from django.utils.translation import gettext as _
from psycopg.errors import InsufficientPrivilege

from devops_manager import database_roles


class Command(migrate.Command):
    """Migrates as ``DATABASE_OWNER_URL`` says, and gives the processes' role its rights after.

    Without that variable it does what it always did, as the role in ``DATABASE_URL``, and warns of
    what this role can do.
    """

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run with the right role; the checks before the migrations ask the database too."""
        if options["database"] != DEFAULT_DB_ALIAS or settings.DATABASE_OWNER is None:
            return self._as_the_only_role(*args, **options)
        try:
            with database_roles.as_owner() as (role, password):
                return self._as_owner(role, password, *args, **options)
        except database_roles.RoleError as error:
            raise CommandError(str(error)) from None

    def _as_owner(self, role: str, password: str, *args: Any, **options: Any) -> str | None:
        changes = not (options.get("plan") or options.get("check_unapplied"))
        if changes:
            database_roles.make_role(role, password)
        answer: str | None = super().execute(*args, **options)
        if changes:
            try:
                database_roles.grant_rights(role)
            except ProgrammingError as error:
                raise CommandError(_not_the_owner(error)) from None
            self._warn(role, options)
        return answer

    def _as_the_only_role(self, *args: Any, **options: Any) -> str | None:
        try:
            answer: str | None = super().execute(*args, **options)
        except ProgrammingError as error:
            if not isinstance(error.__cause__, InsufficientPrivilege):
                raise
            raise CommandError(_not_the_owner(error)) from None
        if options["database"] == DEFAULT_DB_ALIAS:
            self._warn(database_roles.current_role(), options)
        return answer

    def _warn(self, role: str, options: dict[str, Any]) -> None:
        powers = database_roles.powers_over_the_trail(role) if options["verbosity"] else []
        for power in powers:
            self.stderr.write(
                self.style.WARNING(
                    _("The role %(role)s can change the audit trail: %(power)s (docs/deploy.md).")
                    % {"role": role, "power": power}
                )
            )


def _not_the_owner(error: ProgrammingError) -> str:
    return _(
        "%(error)s\nMigrations need the role that owns the tables: set DATABASE_OWNER_URL "
        "(docs/deploy.md)."
    ) % {"error": str(error).strip()}

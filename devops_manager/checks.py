"""What ``manage.py check --deploy`` looks at beside Django's own checks."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db import Error
from django.utils.translation import gettext as _

from devops_manager import database_roles


@checks.register(checks.Tags.security, deploy=True)
def check_database_role(**_options: Any) -> list[checks.CheckMessage]:
    """Warn of a role that could change or empty the audit trail."""
    try:
        role = database_roles.current_role()
        powers = database_roles.powers_over_the_trail(role)
    except Error:
        text = _("The database cannot be reached, so nothing is known of its role.")
        return [checks.Info(text, id="devops_manager.I001")]
    hint = _("Give the tables an owner of their own: docs/deploy.md, DATABASE_OWNER_URL.")
    return [
        checks.Warning(
            _("The role %(role)s can change the audit trail: %(power)s.")
            % {"role": role, "power": power},
            hint=hint,
            id="devops_manager.W001",
        )
        for power in powers
    ]

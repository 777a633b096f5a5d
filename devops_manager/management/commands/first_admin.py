"""Makes the first administrator, for a new installation and for ``make run``."""

from __future__ import annotations

import json
import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.access.actors import SYSTEM, Actor, role_of
from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.access.services import create_token, revoke_token
from devops_manager.lib.one_line import is_one_line, not_one_line

PASSWORD_VARIABLE = "DM_ADMIN_PASSWORD"  # noqa: S105 - a variable's name
TOKEN_NAME = "first_admin"  # noqa: S105 - a record's name


class Command(BaseCommand):
    """Creates an administrator unless the name exists, and a new API token in place of its last.

    The password comes from the environment, never from the command line, which everyone on the
    machine may read. Prints one line of JSON. A person whose password was changed keeps it.
    """

    help = "Create the first administrator; the password is taken from DM_ADMIN_PASSWORD."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--no-token", action="store_true", help="make no API token")

    def handle(self, *_args: Any, **options: Any) -> None:
        password = os.environ.get(PASSWORD_VARIABLE, "")
        if not password:
            raise CommandError(_("Set %(name)s to the password.") % {"name": PASSWORD_VARIABLE})
        with transaction.atomic():
            user = self._ensure_user(options["username"], password)
            token, revoked = ("", 0) if options["no_token"] else self._new_token(user)
        answer = {
            "username": user.username,
            "password_is_current": user.check_password(password),
            "token": token,
            "tokens_revoked": revoked,
        }
        self.stdout.write(json.dumps(answer))

    def _ensure_user(self, username: str, password: str) -> User:
        user = User.objects.filter(username=username).first()
        if user is not None:
            return user
        if not is_one_line(username):
            raise CommandError(not_one_line())
        user = User.objects.create_superuser(username, password=password, role=Role.ADMIN)
        audit.record(
            actor=SYSTEM,
            action="user.create",
            object_type="user",
            object_ids=[str(user.pk)],
            after={"username": username, "role": str(Role.ADMIN)},
        )
        return user

    def _new_token(self, user: User) -> tuple[str, int]:
        """Return a new token's secret, and how many earlier ones it takes the place of."""
        actor = Actor(
            kind=AuditEvent.ActorKind.SYSTEM,
            name=SYSTEM.name,
            role=role_of(user),
            user_id=user.pk,
        )
        last = ApiToken.objects.filter(owner=user, name=TOKEN_NAME, revoked_at=None)
        revoked = list(last.values_list("token_id", flat=True))
        for token_id in revoked:
            revoke_token(actor=actor, token_id=token_id)
        _token, secret = create_token(
            actor=actor, name=TOKEN_NAME, role=role_of(user), expires_at=None
        )
        return secret, len(revoked)

"""People: adding, changing, deactivating, new passwords. Each function is one transaction, audited.

Only an administrator's own session does this, never a token: what a stolen token made would outlive
the token. No call leaves the installation without an active administrator, and nobody takes their
own rights away.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.core.validators import EmailValidator
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.access.models import AuditEvent, Role, User
from devops_manager.access.person_change import NewPassword, PersonChange
from devops_manager.access.selectors import active_administrators
from devops_manager.access.services.tokens import revoke_tokens_of
from devops_manager.lib.errors import Conflict, Forbidden, InvalidInput, NotFound
from devops_manager.lib.one_line import require_one_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from devops_manager.access.actors import Actor

# Without the characters that are taken for one another when read aloud or from paper.
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
_CHANGEABLE = ("role", "language", "first_name", "last_name", "email", "is_staff")


def generate_password() -> str:
    """Return a random password of 79 bits in four groups, to be read out and typed once."""
    groups = ("".join(secrets.choice(_ALPHABET) for _at in range(4)) for _group in range(4))
    return "-".join(groups)


@transaction.atomic
def create_person(
    *,
    actor: Actor,
    username: str,
    change: PersonChange,
    password: str | None = None,
) -> NewPassword:
    """Add a person, a viewer unless ``change`` names a role.

    Without ``password`` one is generated and returned, which is kept nowhere. Either way the person
    must change it after the first sign-in. Raises Forbidden, InvalidInput naming the fields, and
    Conflict ``name_taken`` naming ``username``; names that differ only in case are the same.
    """
    require_administrator(actor)
    person = User(username=User.normalize_username(username.strip()), must_change_password=True)
    for name in _CHANGEABLE:
        value = getattr(change, name)
        if value is not None:
            setattr(person, name, value)
    _require_valid(person, require_username=True)
    generated = _set_password(person, password)
    if User.objects.filter(username__iexact=person.username).exists():
        raise _name_taken()
    try:
        with transaction.atomic():
            person.save(force_insert=True)
    except IntegrityError:
        raise _name_taken() from None
    after = {"username": person.username, **_values(person)}
    _audit(actor, person, "user.create", after=after)
    return NewPassword(person=person, generated=generated)


@transaction.atomic
def update_person(*, actor: Actor, person_id: int, change: PersonChange) -> User:
    """Change a person; what ``change`` leaves None stays.

    A new role holds from the person's next request on. Who is no administrator any more loses the
    raw records too. Raises NotFound, Forbidden, InvalidInput, and Conflict ``own_account`` or
    ``last_administrator``.
    """
    person = _lock_person(actor, person_id)
    before = _values(person)
    for name in _CHANGEABLE:
        value = getattr(change, name)
        if value is not None:
            setattr(person, name, value)
    if change.role is not None and change.role != Role.ADMIN:
        _refuse_to_lose(actor, person)
        person.is_superuser = False
        person.is_staff = bool(change.is_staff)
    _require_valid(person)
    after = {name: value for name, value in _values(person).items() if value != before[name]}
    if after:
        person.save(update_fields=[*_CHANGEABLE, "is_superuser"])
        _audit(
            actor, person, "user.update", before={name: before[name] for name in after}, after=after
        )
    return person


@transaction.atomic
def deactivate_person(*, actor: Actor, person_id: int, revoke_tokens: bool) -> User:
    """End a person's sessions and refuse their sign-in and tokens; what they did stays theirs.

    With ``revoke_tokens`` their API tokens end for good, else they work again after a reactivation.
    Doing so again changes nothing. Raises as ``update_person`` does.
    """
    person = _lock_person(actor, person_id)
    _refuse_to_lose(actor, person)
    revoked = revoke_tokens_of(actor=actor, user=person) if revoke_tokens else 0
    if person.is_active or revoked:
        person.is_active = False
        person.save(update_fields=["is_active"])
        _audit(actor, person, "user.deactivate", after={"revoked_tokens": revoked})
    return person


@transaction.atomic
def reactivate_person(*, actor: Actor, person_id: int) -> User:
    """Let a person sign in again; doing so again changes nothing. Raises NotFound, Forbidden."""
    person = _lock_person(actor, person_id)
    if not person.is_active:
        person.is_active = True
        person.save(update_fields=["is_active"])
        _audit(actor, person, "user.reactivate")
    return person


@transaction.atomic
def reset_password(
    *, actor: Actor, person_id: int, revoke_tokens: bool, password: str | None = None
) -> NewPassword:
    """Give a person a new password, which ends their sessions and must be changed by them.

    Without ``password`` one is generated. Raises NotFound, Forbidden, InvalidInput naming
    ``password``, and Conflict ``own_account``: one's own is changed with the old one.
    """
    person = _lock_person(actor, person_id)
    if person.pk == actor.user_id:
        raise _own_account(_("Change your own password on its page, with the old one."))
    generated = _set_password(person, password)
    person.must_change_password = True
    person.save(update_fields=["password", "must_change_password"])
    revoked = revoke_tokens_of(actor=actor, user=person) if revoke_tokens else 0
    _audit(actor, person, "user.reset_password", after={"revoked_tokens": revoked})
    return NewPassword(person=person, generated=generated)


def require_administrator(actor: Actor) -> None:
    """Raise Forbidden for everybody but an administrator's session and the system itself."""
    if actor.role != Role.ADMIN:
        raise Forbidden(_("Only administrators administer people."))
    if actor.kind not in {AuditEvent.ActorKind.PERSON, AuditEvent.ActorKind.SYSTEM}:
        raise Forbidden(_("Tokens do not administer people; sign in."), code="session_required")


def _lock_person(actor: Actor, person_id: int) -> User:
    """Lock all administrators, then the person, and see that the actor still is one of the former.

    Two administrators who take each other's rights away at the same time meet here: the second one
    is no administrator any more when the locks are theirs.
    """
    require_administrator(actor)
    administrators = active_administrators().select_for_update(no_key=True)
    keys = set(administrators.order_by("pk").values_list("pk", flat=True))
    if actor.user_id is not None and actor.user_id not in keys:
        raise Forbidden(_("Only administrators administer people."))
    person = User.objects.select_for_update(no_key=True).filter(pk=person_id).first()
    if person is None:
        raise NotFound(_("There is no such person."))
    return person


def _refuse_to_lose(actor: Actor, person: User) -> None:
    """Refuse to take away one's own rights, or those of the last active administrator."""
    if person.pk == actor.user_id:
        raise _own_account(_("Nobody takes their own rights away; ask another administrator."))
    others = active_administrators().exclude(pk=person.pk)
    # One without a password cannot sign in to make another.
    others = others.exclude(password__startswith=UNUSABLE_PASSWORD_PREFIX)
    if active_administrators().filter(pk=person.pk).exists() and not others.exists():
        raise Conflict(
            _("This is the last active administrator; make another one first."),
            code="last_administrator",
        )


def _require_valid(person: User, *, require_username: bool = False) -> None:
    names = {name: getattr(person, name) for name in ("first_name", "last_name", "email")}
    if require_username:
        names["username"] = person.username
    require_one_line(names)
    wrong: dict[str, list[str]] = {}
    if require_username:
        _check(wrong, "username", UnicodeUsernameValidator(), person.username)
    if person.email:
        _check(wrong, "email", EmailValidator(), person.email)
    if person.language and person.language not in dict(settings.LANGUAGES):
        wrong["language"] = [_("There is no such language.")]
    if person.is_staff and person.role != Role.ADMIN and not person.is_superuser:
        wrong["is_staff"] = [_("Only administrators see the raw records.")]
    if wrong:
        raise InvalidInput(_("The person cannot be saved like this."), fields=wrong)


def _check(
    wrong: dict[str, list[str]], name: str, validator: Callable[[str], None], value: str
) -> None:
    try:
        validator(value)
    except ValidationError as error:
        wrong[name] = error.messages


def _set_password(person: User, password: str | None) -> str | None:
    """Set the password, or a generated one, which is returned. Raises InvalidInput."""
    generated = generate_password() if password is None else None
    try:
        if password is not None:
            validate_password(password, person)
    except ValidationError as error:
        sentence = _("The password is not good enough.")
        raise InvalidInput(sentence, fields={"password": error.messages}) from None
    person.set_password(generated or password)
    return generated


def _values(person: User) -> dict[str, Any]:
    return {name: getattr(person, name) for name in _CHANGEABLE}


def _audit(
    actor: Actor,
    person: User,
    action: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    audit.record(
        actor=actor,
        action=action,
        object_type="user",
        object_ids=[str(person.pk)],
        before=before,
        after=after,
    )


def _own_account(sentence: str) -> Conflict:
    return Conflict(sentence, code="own_account")


def _name_taken() -> Conflict:
    return Conflict(
        _("There is a person of this name already."),
        code="name_taken",
        fields={"username": [_("Taken.")]},
    )

"""How many wrong passwords are taken, and from whom; django-axes asks, and keeps the counts.

Three counts, each for DM_LOGIN_LOCK_SECONDS from its first failure, and from the moment its limit
is reached; tries while it is locked change nothing:

- of a name from one address: DM_LOGIN_FAILURE_LIMIT. Other addresses are not affected;
- of an address over all names: DM_LOGIN_ADDRESS_LIMIT, against trying one password on many names.
  An IPv6 client chooses its addresses from a /64, which counts as one;
- of a name in a browser where that person signed in before: DM_LOGIN_FAILURE_LIMIT, in place of the
  other two (``devices``).
"""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from axes.handlers.database import AxesDatabaseHandler
from axes.handlers.proxy import AxesProxyHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.db.models import Q
from django.utils import timezone

from devops_manager.access import bounded_audit
from devops_manager.access.devices import known_device, remember_device
from devops_manager.access.models import AuditEvent, User
from devops_manager.lib import sql
from devops_manager.lib.client_address import neighborhood, parse_address

if TYPE_CHECKING:
    from django.http import HttpRequest

SQL = Path(__file__).parent / "sql"
# Of a client without an address: over a Unix socket, from a proxy that is not trusted to name it.
_NO_ADDRESS = "::"
_SECONDS_LEFT = "dm_seconds_locked"


class Bucket(NamedTuple):
    """One count; ``kind`` tells apart those of one name and address."""

    name: str
    username: str
    address: str
    kind: str
    limit: int


def seconds_locked(request: HttpRequest, username: str) -> int:
    """Return for how long no password is taken any more for this name from there; 0 if it is."""
    now = timezone.now()
    lock = timedelta(seconds=settings.DM_LOGIN_LOCK_SECONDS)
    full = Q()
    for bucket in _buckets(request, username):
        full |= Q(
            username=bucket.username,
            ip_address=bucket.address,
            user_agent=bucket.kind,
            failures_since_start__gte=bucket.limit,
        )
    since = AccessAttempt.objects.filter(full, attempt_time__gt=now - lock)
    ends = [begun + lock for begun in since.values_list("attempt_time", flat=True)]
    return max((math.ceil((end - now).total_seconds()) for end in ends), default=0)


def seconds_left(request: HttpRequest) -> int:
    """Return for how long the lock that this request met still lasts."""
    return int(getattr(request, _SECONDS_LEFT, settings.DM_LOGIN_LOCK_SECONDS))


def refuse_if_locked(request: HttpRequest, username: str) -> bool:
    """Tell whether a password may not even be looked at; the request is then answered with 429."""
    return not AxesProxyHandler.is_allowed(request, {"username": username})


def note_wrong_password(request: HttpRequest, username: str) -> None:
    """Count a wrong password that was asked for elsewhere than at the sign-in."""
    user_login_failed.send(__name__, credentials={"username": username}, request=request)


class SignInLimits(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no types
    """``AXES_HANDLER``."""

    def is_locked(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> bool:
        """Tell whether a limit is reached, and mark the request for ``AxesMiddleware``."""
        left = seconds_locked(request, _username(request, credentials))
        if left:
            setattr(request, _SECONDS_LEFT, left)
            request.axes_locked_out = True  # type: ignore[attr-defined]
        return left > 0

    def user_login_failed(
        self, _sender: Any, credentials: dict[str, Any], request: Any = None, **_kwargs: Any
    ) -> None:
        """Count and audit a wrong password; one during a lock was not even looked at."""
        if request is None or request.axes_locked_out:
            return
        username = _username(request, credentials)
        reached = [bucket.name for bucket in _buckets(request, username) if _count(bucket)]
        person = User.objects.filter(username=username).values_list("pk", flat=True).first()
        _audit(request, "user.sign_in_failed", username, person, {})
        if reached:
            request.axes_locked_out = True
            setattr(request, _SECONDS_LEFT, math.ceil(settings.DM_LOGIN_LOCK_SECONDS))
            _audit(request, "user.lock_out", username, person, {"by": reached})

    def user_logged_in(self, sender: Any, request: Any, user: Any, **kwargs: Any) -> None:
        """Forget the failures of this name from there, and remember the browser."""
        super().user_logged_in(sender, request, user, **kwargs)
        for bucket in _buckets(request, user.get_username()):
            if bucket.username:  # the address's own count stays: another name may be tried there
                AccessAttempt.objects.filter(
                    username=bucket.username, ip_address=bucket.address, user_agent=bucket.kind
                ).delete()
        remember_device(request, user)


def _username(request: HttpRequest, credentials: dict[str, Any] | None) -> str:
    return str(get_client_username(request, credentials) or "")[:255]


def _buckets(request: HttpRequest, username: str) -> list[Bucket]:
    device = known_device(request, username)
    limit = settings.AXES_FAILURE_LIMIT
    if device is not None:
        return [Bucket("device", username, _NO_ADDRESS, f"device {device}", limit)]
    address = parse_address(request.META.get("REMOTE_ADDR"))
    here = str(address or _NO_ADDRESS)
    around = neighborhood(here) or _NO_ADDRESS
    return [
        Bucket("name", username, here, "", limit),
        Bucket("address", "", around, "any name", settings.DM_LOGIN_ADDRESS_LIMIT),
    ]


def _count(bucket: Bucket) -> bool:
    """Count a failure; tell whether the limit is reached."""
    rows = sql.run(
        SQL,
        "count_failure",
        {
            "username": bucket.username,
            "address": bucket.address,
            "kind": bucket.kind,
            "limit": bucket.limit,
            "seconds": settings.DM_LOGIN_LOCK_SECONDS,
        },
    )
    return bool(rows[0].failures >= bucket.limit)


def _audit(
    request: HttpRequest, action: str, username: str, person: int | None, after: dict[str, Any]
) -> None:
    """Write it, or count it. A name that nobody has is left out: it may be a password."""
    address = parse_address(request.META.get("REMOTE_ADDR"))
    source_ip = None if address is None else str(address)
    bounded_audit.record_bounded(
        actor=bounded_audit.stranger(AuditEvent.ActorKind.PERSON, source_ip),
        action=action,
        object_type="user",
        object_id=str(person or ""),
        source=neighborhood(source_ip) or "",
        after={"username": username if person else None, **after},
    )

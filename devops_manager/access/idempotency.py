"""``Idempotency-Key``: the same request under the same key is done once and answered the same.

Act and answer are one transaction, and it locks the key: a crash leaves both or neither.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils.translation import gettext as _
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from devops_manager.access.actors import actor_of
from devops_manager.access.models import IdempotencyKey
from devops_manager.lib import versions
from devops_manager.lib.errors import Conflict, InvalidInput
from devops_manager.lib.retries import retry_transaction

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
_SHOWN_ONCE = "secret"
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,200}")
_JSON = "application/json"
_RETRY_SECONDS = 1
KEPT_FOR = timedelta(days=1)
# "dm", 2: chosen once, for this database only, beside the lock of admission.
_LOCK_SEED = 0x646D_0002


def key_of(request: Request) -> str | None:
    """Return the request's key, or None without one. Raises InvalidInput naming the header."""
    key = request.headers.get(HEADER)
    if key is not None and not _ACCEPTABLE.fullmatch(key):
        raise InvalidInput(
            _("The idempotency key is not valid."),
            fields={HEADER: [_("Must be 1 to 200 printable ASCII characters.")]},
        )
    return key


def answer_once(
    request: Request,
    key: str,
    *,
    act: Callable[[], HttpResponse],
    secret: bool = False,
    replay: Callable[[], HttpResponse] | None = None,
) -> HttpResponse:
    """Do ``act`` unless it was done under this key, and return its answer.

    Only successes are kept: an error did nothing, and its key is free again. ``secret``: the answer
    carries one, which is not kept; asked again, the caller is told so. ``replay`` gives the answer
    anew, of which nothing is kept then.
    Raises Conflict ``idempotency_key_reused`` for another request under a known key,
    ``idempotency_in_progress`` (Retry-After) while the first one is at work, and
    ``secret_not_kept``.
    """
    digest = _digest(request)

    def once() -> HttpResponse:
        return _answer_once(
            _Asked(actor_of(request).name, key, digest, secret), act=act, replay=replay
        )

    return retry_transaction(f"{request.method} {request.path}", once)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One request under a key."""

    actor: str
    key: str
    digest: bytes
    secret: bool


def _answer_once(
    asked: _Asked, *, act: Callable[[], HttpResponse], replay: Callable[[], HttpResponse] | None
) -> HttpResponse:
    with transaction.atomic():
        locked = _lock(asked.actor, asked.key)
        # A statement of its own: it sees what the one that had the lock before has committed. And
        # asked even without the lock, which another who only wants the answer may have.
        known = IdempotencyKey.objects.filter(actor=asked.actor, key=asked.key).first()
        if known is not None:
            return _again(known, asked, replay)
        if not locked:
            raise _in_progress()
        response = act()
        if response.status_code >= 400:
            transaction.set_rollback(True)
        else:
            IdempotencyKey.objects.create(
                actor=asked.actor,
                key=asked.key,
                request_digest=asked.digest,
                response_status=response.status_code,
                response_body=b"" if replay else _body_to_keep(response, secret=asked.secret),
                response_location=response.headers.get("Location", ""),
            )
    return response


def _body_to_keep(response: HttpResponse, *, secret: bool) -> bytes:
    if not isinstance(response, Response):
        return response.content
    body = response.data
    if secret:
        body = {name: value for name, value in body.items() if name != _SHOWN_ONCE}
    return JSONRenderer().render(body)


def _lock(actor: str, key: str) -> bool:
    """Lock the key until the end of the transaction; False when another transaction has it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, %s))",
            [f"{key} {actor}", _LOCK_SEED],
        )
        return bool(cursor.fetchone()[0])


def _again(
    known: IdempotencyKey, asked: _Asked, replay: Callable[[], HttpResponse] | None
) -> HttpResponse:
    """Return the answer that belongs to the key."""
    if bytes(known.request_digest) != asked.digest:
        raise Conflict(
            _("This idempotency key was used for another request."),
            code="idempotency_key_reused",
            fields={HEADER: [_("Take a new key for a new request.")]},
        )
    if asked.secret:
        raise _secret_not_kept(bytes(known.response_body or b"{}"))
    if replay is not None:
        response = replay()
    else:
        body = bytes(known.response_body or b"")
        response = HttpResponse(body, status=known.response_status, content_type=_JSON)
    response.headers[REPLAYED] = "true"
    if known.response_location:
        response.headers["Location"] = known.response_location
    return response


def _secret_not_kept(body: bytes) -> Conflict:
    """Say which thing was made, so that it can be revoked if its secret never arrived."""
    made = json.loads(body)
    told = ", ".join(f"{name} {made[name]}" for name in ("token_id", "prefix") if name in made)
    return Conflict(
        _("This was done under this key, and its secret was shown then: it is not kept."),
        code="secret_not_kept",
        fields={
            HEADER: [_("If the answer was lost, revoke this one and make another: %s.") % told]
        },
    )


def _in_progress() -> Conflict:
    return Conflict(
        _("The first request under this idempotency key is still at work."),
        code="idempotency_in_progress",
        retry_after_seconds=_RETRY_SECONDS,
    )


def sweep_idempotency_keys() -> int:
    """Forget keys older than a day; return how many. Safe to run at the same time as itself."""
    deleted, _by_model = IdempotencyKey.objects.filter(created_at__lt=Now() - KEPT_FOR).delete()
    return deleted


def _digest(request: Request) -> bytes:
    body = json.dumps(request.data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    text = "\n".join((request.method or "", request.get_full_path(), body))
    if versions.HEADER in request.headers:
        text += f"\n{request.headers[versions.HEADER]}"
    return hashlib.sha256(text.encode()).digest()

"""``Idempotency-Key``: the same request under the same key is done once and answered the same.

Act and answer are one transaction, and it locks the key: a crash leaves both or neither.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

from django.db import connection, transaction
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from devops_manager.access.actors import actor_of
from devops_manager.access.models import IdempotencyKey
from devops_manager.lib.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from rest_framework.request import Request
    from rest_framework.views import APIView

_P = ParamSpec("_P")
_V = TypeVar("_V", bound="APIView")

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
PARAMETER = OpenApiParameter(
    HEADER,
    str,
    OpenApiParameter.HEADER,
    description="Up to 200 printable characters; the same request under it is done only once.",
)
_ACCEPTABLE = re.compile(r"[\x21-\x7e]{1,200}")
_RETRY_SECONDS = 1
KEPT_FOR = timedelta(days=1)
# "dm", 2: chosen once, for this database only, beside the lock of admission.
_LOCK_SEED = 0x646D_0002


def idempotent(
    method: Callable[Concatenate[_V, Request, _P], Response],
) -> Callable[Concatenate[_V, Request, _P], HttpResponse]:
    """Make a view's method honour ``Idempotency-Key``; without the header nothing changes.

    Only successes are kept: an error did nothing, and its key is free again. Not for answers that
    carry a secret: they would be stored.
    Raises Conflict ``idempotency_key_reused`` for another request under a known key, Conflict
    ``idempotency_in_progress`` (Retry-After) while the first one is at work.
    """

    @wraps(method)
    def once(view: _V, request: Request, *args: _P.args, **kwargs: _P.kwargs) -> HttpResponse:
        key = request.headers.get(HEADER)
        if key is None:
            return method(view, request, *args, **kwargs)
        if not _ACCEPTABLE.fullmatch(key):
            raise InvalidInput(
                _("The idempotency key is not valid."),
                fields={HEADER: [_("Must be 1 to 200 printable ASCII characters.")]},
            )
        return _answer_once(request, key, lambda: method(view, request, *args, **kwargs))

    return cast("Callable[Concatenate[_V, Request, _P], HttpResponse]", once)


def _answer_once(request: Request, key: str, act: Callable[[], Response]) -> HttpResponse:
    actor, digest = actor_of(request).name, _digest(request)
    with transaction.atomic():
        locked = _lock(actor, key)
        # A statement of its own: it sees what the one that had the lock before has committed. And
        # asked even without the lock, which another who only wants the answer may have.
        known = IdempotencyKey.objects.filter(actor=actor, key=key).first()
        if known is not None:
            return _again(known, digest)
        if not locked:
            raise _in_progress()
        response = act()
        if response.status_code >= 400:
            transaction.set_rollback(True)
        else:
            IdempotencyKey.objects.create(
                actor=actor,
                key=key,
                request_digest=digest,
                response_status=response.status_code,
                response_body=JSONRenderer().render(response.data),
                response_location=response.headers.get("Location", ""),
            )
    return response


def _lock(actor: str, key: str) -> bool:
    """Lock the key until the end of the transaction; False when another transaction has it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, %s))",
            [f"{key} {actor}", _LOCK_SEED],
        )
        return bool(cursor.fetchone()[0])


def _again(known: IdempotencyKey, digest: bytes) -> HttpResponse:
    """Return the answer that is stored under the key."""
    if bytes(known.request_digest) != digest:
        raise Conflict(
            _("This idempotency key was used for another request."),
            code="idempotency_key_reused",
            fields={HEADER: [_("Take a new key for a new request.")]},
        )
    headers = {REPLAYED: "true"}
    if known.response_location:
        headers["Location"] = known.response_location
    return HttpResponse(
        bytes(known.response_body or b""),
        status=known.response_status,
        content_type="application/json",
        headers=headers,
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
    return hashlib.sha256(text.encode()).digest()

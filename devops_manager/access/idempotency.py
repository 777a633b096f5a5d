"""``Idempotency-Key``: the same request under the same key is done once and answered the same.

The claim of a key is committed first, so that a second request sees it at work. What the request
does and its stored answer are one transaction: after a crash either both are there or neither is,
and the key may be taken over. Only successes are kept: an error did nothing, its key is free again.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
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
# A first request still at work after this long has died with its process, or is about to find out
# that its key was taken over.
_ABANDONED_AFTER = timedelta(seconds=120)
_RETRY_SECONDS = 1
KEPT_FOR = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class _Claim:
    pk: int
    claimed_at: datetime


def idempotent(
    method: Callable[Concatenate[_V, Request, _P], Response],
) -> Callable[Concatenate[_V, Request, _P], HttpResponse]:
    """Make a view's method honour ``Idempotency-Key``; without the header nothing changes.

    Not for answers that carry a secret: they would be stored.
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
    claim = _claim(actor_of(request).name, key, _digest(request))
    if isinstance(claim, HttpResponse):
        return claim
    try:
        with transaction.atomic():
            response = act()
            if response.status_code >= 400:
                transaction.set_rollback(True)
            else:
                _store(claim, response)
    except BaseException:
        _release(claim)
        raise
    if response.status_code >= 400:
        _release(claim)
    return response


def _claim(actor: str, key: str, digest: bytes) -> _Claim | HttpResponse:
    """Return a new claim of the key, or the answer that is stored under it."""
    claim = _insert(actor, key, digest)
    if claim is not None:
        return claim
    known = IdempotencyKey.objects.filter(actor=actor, key=key).first()
    if known is None:  # released between the two statements
        raise _in_progress()
    if bytes(known.request_digest) != digest:
        raise Conflict(
            _("This idempotency key was used for another request."),
            code="idempotency_key_reused",
            fields={HEADER: [_("Take a new key for a new request.")]},
        )
    if known.response_status is None:
        return _take_over(known)
    body = bytes(known.response_body or b"")
    return HttpResponse(
        body,
        status=known.response_status,
        content_type="application/json",
        headers={REPLAYED: "true"},
    )


def _insert(actor: str, key: str, digest: bytes) -> _Claim | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO idempotency_keys (actor, key, request_digest) VALUES (%s, %s, %s)"
            " ON CONFLICT (actor, key) DO NOTHING RETURNING id, created_at",
            [actor, key, digest],
        )
        row = cursor.fetchone()
    return None if row is None else _Claim(pk=row[0], claimed_at=row[1])


def _take_over(known: IdempotencyKey) -> _Claim:
    """Claim the key of a request that died; the one of several that comes first gets it."""
    abandoned = IdempotencyKey.objects.filter(
        pk=known.pk,
        response_status=None,
        created_at=known.created_at,
        created_at__lt=Now() - _ABANDONED_AFTER,
    )
    if not abandoned.update(created_at=Now()):
        raise _in_progress()
    claimed_at = IdempotencyKey.objects.values_list("created_at", flat=True).get(pk=known.pk)
    return _Claim(pk=known.pk, claimed_at=claimed_at)


def _store(claim: _Claim, response: Response) -> None:
    """Keep the answer, in the transaction of the act; undo the act when the key was taken over."""
    body = JSONRenderer().render(response.data)
    kept = IdempotencyKey.objects.filter(
        pk=claim.pk, created_at=claim.claimed_at, response_status=None
    ).update(response_status=response.status_code, response_body=body)
    if not kept:
        raise _in_progress()


def _release(claim: _Claim) -> None:
    IdempotencyKey.objects.filter(
        pk=claim.pk, created_at=claim.claimed_at, response_status=None
    ).delete()


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

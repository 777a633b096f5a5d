"""A form that was sent twice (a double click, a reload) makes one thing, not two."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction

from devops_manager.access.models import IdempotencyKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from devops_manager.access.actors import Actor

_SEE_OTHER = 303


@transaction.atomic
def make_once(
    *, actor: Actor, form_id: str, payload: Mapping[str, Any], make: Callable[[], UUID]
) -> tuple[UUID, bool]:
    """Return the id of what the form makes, and whether this call made it.

    ``form_id`` is drawn with the form; the same content sent again under it answers with the first
    one's id, other content makes another thing. A second sending at the same time waits for the
    first one's transaction. What is made and its key are committed together, so an error leaves
    neither. Keys go with those of the API, after a day.
    """
    text = json.dumps(payload, sort_keys=True, ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).digest()
    key = IdempotencyKey(
        actor=actor.name,
        key=f"form:{form_id}:{digest.hex()}",
        request_digest=digest,
        response_status=_SEE_OTHER,
    )
    # Waits for a transaction that holds the same key; inserts nothing when that one commits.
    IdempotencyKey.objects.bulk_create([key], ignore_conflicts=True)
    mine = IdempotencyKey.objects.select_for_update().get(actor=key.actor, key=key.key)
    if mine.response_body is not None:
        return UUID(bytes=bytes(mine.response_body)), False
    made = make()
    IdempotencyKey.objects.filter(pk=mine.pk).update(response_body=made.bytes)
    return made, True

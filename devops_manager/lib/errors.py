"""Errors of the domain: a stable code, a sentence for people, the fields at fault.

They know nothing of HTTP; ``devops_manager.lib.problem`` maps each class to a status in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.utils.functional import _StrPromise

# An answer names at most so many places, or a body of wrong entries would come back tenfold.
# One more is collected, to know that there are more.
MAX_ERRORS = 100


def is_full(fields: Mapping[str, object]) -> bool:
    """Tell whether more mistakes were found than an answer names; then none need be looked for."""
    return len(fields) > MAX_ERRORS


class DomainError(Exception):
    """What went wrong, in words for the caller. Subclasses say what kind it is."""

    code = "error"

    def __init__(
        self,
        detail: str | _StrPromise,
        *,
        code: str | None = None,
        fields: Mapping[str, Sequence[str | _StrPromise]] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        """Keep the sentence, a code of its own if any, and field → sentences."""
        super().__init__(str(detail))
        self.detail = detail
        self.code = code or self.code
        self.fields = dict(fields or {})
        self.retry_after_seconds = retry_after_seconds


class InvalidInput(DomainError):
    """The request cannot be meant as it is (400)."""

    code = "invalid_request"


class NotFound(DomainError):
    """There is no such thing, or the caller may not know that there is (404)."""

    code = "not_found"


class Forbidden(DomainError):
    """The caller is known and may not do this (403)."""

    code = "forbidden"


class Conflict(DomainError):
    """The thing is in a state that does not allow this (409)."""

    code = "conflict"


class LimitReached(DomainError):
    """A limit holds now; the same request may succeed later (429, ``Retry-After``)."""

    code = "limit_reached"


class Unavailable(DomainError):
    """Something that this needs is away for now (503, ``Retry-After``)."""

    code = "unavailable"


class TooLarge(DomainError):
    """The request is larger than a limit allows (413)."""

    code = "too_large"


class PreconditionFailed(DomainError):
    """The thing is no longer as the caller last saw it (412)."""

    code = "precondition_failed"


class AddressTooLong(DomainError):
    """Path and query are longer than any of ours (414)."""

    code = "address_too_long"


class Unauthenticated(DomainError):
    """Nobody knows who asks, or the proof is wrong (401)."""

    code = "credentials_invalid"

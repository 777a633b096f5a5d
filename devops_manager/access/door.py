"""The door of every call of the API: what a view does not say that it takes is refused.

Bodies, query parameters and preconditions are refused by default, and every call that changes
something takes an ``Idempotency-Key``. A test walks every address and sees that no view stands
beside this door.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.utils.translation import gettext as _
from rest_framework.permissions import SAFE_METHODS
from rest_framework.views import APIView

from devops_manager.access import idempotency
from devops_manager.access.permissions import act_of
from devops_manager.lib import versions
from devops_manager.lib.errors import MAX_ERRORS, InvalidInput
from devops_manager.lib.filters import refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.http import HttpResponse
    from rest_framework.request import Request

_SHOWN_CHARACTERS = 100


class Guarded(APIView):
    """A view behind the door. Each set names acts, as ``permissions`` does: actions or methods."""

    # Whose body the view reads, with strict serializers or drafts; others must be empty.
    bodies: ClassVar[frozenset[str]] = frozenset()
    # Acts that change something and yet read query parameters; reading acts look at theirs.
    queries: ClassVar[frozenset[str]] = frozenset()
    # Acts that hold their change against ``If-Match``.
    conditional: ClassVar[frozenset[str]] = frozenset()
    # Acts whose answer carries a secret, which is kept nowhere.
    secret: ClassVar[frozenset[str]] = frozenset()
    # Acts that answer as ``retrieve`` does: asked again, they tell how it is now.
    afresh: ClassVar[frozenset[str]] = frozenset()
    # Acts of people whom nobody knows yet or any more: they may simply be sent again.
    keyless: ClassVar[frozenset[str]] = frozenset()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let in who may, and refuse what the view does not take."""
        super().initial(request, *args, **kwargs)
        act = act_of(request, self)
        if act not in self.bodies:
            _refuse_body(request)
        if request.method in SAFE_METHODS:
            return
        if act not in self.queries:
            refuse_unknown(request, (), paged=False)
        if versions.HEADER in request.headers and act not in self.conditional:
            raise InvalidInput(
                _("The request is not valid."),
                fields={versions.HEADER: [_("Nothing is compared here.")]},
            )
        key = idempotency.key_of(request)
        if key is not None and act not in self.keyless:
            self._do_once(request, act, key)

    def _do_once(self, request: Request, act: str, key: str) -> None:
        """Put the key around the handler, which DRF looks up after this."""
        name = (request.method or "").lower()
        handler: Callable[..., HttpResponse] = getattr(self, name)
        replay = getattr(self, "retrieve", None) if act in self.afresh else None

        def once(request: Request, *args: Any, **kwargs: UUID) -> HttpResponse:
            return idempotency.answer_once(
                request,
                key,
                act=lambda: handler(request, *args, **kwargs),
                secret=act in self.secret,
                replay=(lambda: replay(request, *args, **kwargs)) if replay else None,
            )

        setattr(self, name, once)


def _refuse_body(request: Request) -> None:
    """Raise InvalidInput for a body that says anything: nobody would read it."""
    if request.META.get("CONTENT_LENGTH") in {None, "", "0"}:
        return
    value = request.data
    if value == {}:
        return
    fields = {"body": [_("Must be empty.")]}
    if isinstance(value, dict):
        names = list(value)[: MAX_ERRORS + 1]
        fields = {name[:_SHOWN_CHARACTERS]: [_("Unknown field.")] for name in names}
    raise InvalidInput(_("The request takes no fields."), fields=fields)

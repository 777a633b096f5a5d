"""``ETag`` and ``If-Match``: whoever changes what another changed meanwhile is told, not obeyed."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from devops_manager.lib.errors import InvalidInput, PreconditionFailed

if TYPE_CHECKING:
    from collections.abc import Mapping

HEADER = "If-Match"
# Without the quotes, too: a shell takes them away easily, and then it is clear all the same.
_TAG = r'(?:(?:W/)?"[\x21\x23-\x7e]{1,100}"|[A-Za-z0-9._-]{1,100})'
_TAGS = re.compile(rf"{_TAG}(?:\s*,\s*{_TAG})*")
_VERSION = re.compile(r'(?:W/)?"([^"]*)"|([A-Za-z0-9._-]+)')
_HIGH = 1000


@dataclass(frozen=True, slots=True)
class Expected:
    """The versions that a caller would change; ``None`` stands for any that exists (``*``)."""

    versions: frozenset[str] | None

    def require(self, version: str) -> None:
        """Raise PreconditionFailed unless ``version`` is one of them.

        Call it under the lock under which the change is made.
        """
        if self.versions is not None and version not in self.versions:
            raise PreconditionFailed(
                _("Somebody else has changed it since you looked. Look again, and decide anew."),
                fields={HEADER: [_("Now it is %(etag)s.") % {"etag": f'"{version}"'}]},
            )


ANY = Expected(None)


def version_of(*parts: Any) -> str:
    """Return a short name for these JSON values, the same wherever they are the same."""
    text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


def etag(version: str) -> dict[str, str]:
    """Return the header that tells a version."""
    return {"ETag": f'"{version}"'}


def expected_version(headers: Mapping[str, str]) -> Expected:
    """Return what a request's ``If-Match`` asks for; ``ANY`` without one.

    Raises InvalidInput naming the header when it cannot be read. Weak tags count like strong ones:
    proxies that compress make them weak.
    """
    given = headers.get(HEADER)
    if given is None or given.strip() == "*":
        return ANY
    if len(given) > _HIGH or not _TAGS.fullmatch(given.strip()):
        raise InvalidInput(
            _("The request cannot be read."),
            fields={HEADER: [_('Must be * or ETags such as "7".')]},
        )
    return Expected(frozenset(quoted or bare for quoted, bare in _VERSION.findall(given)))

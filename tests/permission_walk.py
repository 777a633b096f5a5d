"""Walks every address of the web process with every method, as every role, and tells who got in."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from devops_manager.access.models import Role
from tests.task_factories import make_user

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "permissions.md"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
WALKERS = ("anyone", *Role.values)
# Django's own admin asks for is_staff and has tests of its own.
NOT_WALKED = ("/admin/", "/^api")
_ID = re.compile(r"<uuid:\w+>")
_SLUG = re.compile(r"<slug:\w+>")
_NUMBER = re.compile(r"<int:\w+>")
_ROW = re.compile(r"\| `(?P<address>/\S*)` \| (?P<method>[A-Z]+) \|(?P<marks>.*)\|")


@dataclass(frozen=True, order=True)
class Step:
    """One address, as its route is written, and one method."""

    address: str
    method: str

    @property
    def path(self) -> str:
        """Return the address with ids that nothing has."""
        path = _SLUG.sub("stdout", _ID.sub(str(uuid.UUID(int=1)), self.address))
        return _NUMBER.sub("999999999", path)


def steps() -> list[Step]:
    """Return everything there is to walk."""
    found = set(_addresses("/", get_resolver().url_patterns))
    walked = [address for address in sorted(found) if not address.startswith(NOT_WALKED)]
    return [Step(address, method) for address in walked for method in METHODS]


def _addresses(prefix: str, patterns: list[URLPattern | URLResolver]) -> Iterator[str]:
    for one in patterns:
        here = prefix + str(one.pattern)
        if isinstance(one, URLResolver):
            yield from _addresses(here, one.url_patterns)
        else:
            yield here


class Walker:
    """Somebody of a role, or nobody."""

    def __init__(self, role: str) -> None:
        self.user = None if role == "anyone" else make_user(Role(role), f"walker-{role}")
        self.client = Client()
        self._sign_in()

    def _sign_in(self) -> None:
        if self.user is not None:
            self.client.force_login(self.user, "django.contrib.auth.backends.ModelBackend")

    def gets_in(self, step: Step) -> bool:
        """Tell whether the role may; a method that is not served lets nobody in."""
        response = self.client.generic(step.method, step.path, "{}", "application/json")
        if "logout" in step.path:
            self._sign_in()
        sent_away = response.status_code == 302 and "?next=" in response["Location"]
        return not sent_away and response.status_code not in {401, 403, 405}


def documented() -> dict[Step, set[str]]:
    """Return who may take which step, as docs/permissions.md says."""
    rows: dict[Step, set[str]] = {}
    for match in _ROW.finditer(DOCUMENT.read_text(encoding="utf-8")):
        marks = [mark.strip() for mark in match["marks"].split("|")]
        assert len(marks) == len(WALKERS), match[0]
        step = Step(match["address"], match["method"])
        assert step not in rows, step
        rows[step] = {who for who, mark in zip(WALKERS, marks, strict=True) if mark == "yes"}
    return rows

"""Target: which hosts a task is for, as it was written; checked for form, not yet looked up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils.translation import gettext as _

from devops_manager.lib.errors import InvalidInput, is_full
from devops_manager.lib.one_line import is_one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_HOSTS = 10_000
MAX_NAMES = 500
NAME_CHARACTERS = 253
_LISTS = ("hosts", "groups", "tags")


@dataclass(frozen=True, slots=True)
class Selection:
    """Hosts by public id or exact name, by the names of their groups, by tag; all together."""

    hosts: tuple[UUID, ...] = ()
    names: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether it names anything."""
        return bool(self.hosts or self.names or self.groups or self.tags)


@dataclass(frozen=True, slots=True)
class Target(Selection):
    """A selection, or ``all`` hosts, less what ``exclude`` names."""

    all: bool = False
    exclude: Selection = field(default_factory=Selection)

    def __bool__(self) -> bool:
        """Tell whether it names anything."""
        return self.all or Selection.__bool__(self)


def parse_target(value: object) -> Target:
    """Return the target that a JSON value writes.

    ``{"hosts": [ids or names], "groups": [names], "tags": [tags], "all": false, "exclude": {…}}``
    with the same lists in ``exclude``; everything may be left out. Repeated entries count once, in
    the order given.
    Raises InvalidInput whose fields name each wrong place (``target.hosts[2]``).
    """
    wrong: dict[str, list[str]] = {}
    given = _object(value, "target", {*_LISTS, "all", "exclude"}, wrong)
    chosen = _selection(given, "target", wrong)
    everything = given.get("all", False)
    if not isinstance(everything, bool):
        wrong["target.all"] = [_("Must be true or false.")]
    excluded = given.get("exclude")
    left_out = _object({} if excluded is None else excluded, "target.exclude", set(_LISTS), wrong)
    exclude = _selection(left_out, "target.exclude", wrong)
    if wrong:
        raise InvalidInput(_("The target is not valid."), fields=wrong)
    return Target(
        hosts=chosen.hosts,
        names=chosen.names,
        groups=chosen.groups,
        tags=chosen.tags,
        all=everything is True,
        exclude=exclude,
    )


def parse_pins(commands: Sequence[Mapping[str, Any]]) -> tuple[UUID | None, ...]:
    """Return for each step of a task's JSON the only host that it is for, or None.

    Raises InvalidInput naming each wrong place (``commands[2].host``).
    """
    pins: list[UUID | None] = []
    wrong: dict[str, list[str]] = {}
    for at, command in enumerate(commands):
        host = command.get("host")
        try:
            pins.append(UUID(host) if isinstance(host, str) and host else None)
            known = host is None or isinstance(host, str)
        except ValueError:
            known = False
        if not known:
            wrong[f"commands[{at}].host"] = [_("Not a host id.")]
    if wrong:
        raise InvalidInput(_("The target is not valid."), fields=wrong)
    return tuple(pins)


def to_json(target: Target) -> dict[str, Any]:
    """Return the canonical JSON of a target, as ``Task.target`` keeps it: only what it names."""
    written = _lists(target)
    if target.all:
        written["all"] = True
    if target.exclude:
        written["exclude"] = _lists(target.exclude)
    return written


def _lists(selection: Selection) -> dict[str, Any]:
    lists: dict[str, Any] = {
        "hosts": [*(str(host) for host in selection.hosts), *selection.names],
        "groups": list(selection.groups),
        "tags": list(selection.tags),
    }
    return {name: entries for name, entries in lists.items() if entries}


def _object(
    value: object, path: str, known: set[str], wrong: dict[str, list[str]]
) -> dict[str, Any]:
    if not isinstance(value, dict):
        wrong[path] = [_("Must be an object.")]
        return {}
    for key in value:
        if is_full(wrong):
            break
        if key not in known:
            wrong[f"{path}.{key}"] = [_("Unknown field.")]
    return value


def _selection(given: dict[str, Any], path: str, wrong: dict[str, list[str]]) -> Selection:
    texts = {
        name: _texts(given.get(name), f"{path}.{name}", wrong, high=high)
        for name, high in (("hosts", MAX_HOSTS), ("groups", MAX_NAMES), ("tags", MAX_NAMES))
    }
    hosts: list[UUID] = []
    names: list[str] = []
    for at, text in enumerate(texts["hosts"]):
        if is_full(wrong):
            break
        try:
            hosts.append(UUID(text))
        except ValueError:
            names.append(text)
            if len(text) > NAME_CHARACTERS or text != text.strip() or not is_one_line(text):
                wrong[f"{path}.hosts[{at}]"] = [_("Neither the id nor the name of a host.")]
    return Selection(
        hosts=tuple(dict.fromkeys(hosts)),
        names=tuple(dict.fromkeys(names)),
        groups=tuple(dict.fromkeys(texts["groups"])),
        tags=tuple(dict.fromkeys(texts["tags"])),
    )


def _texts(value: object, path: str, wrong: dict[str, list[str]], *, high: int) -> list[str]:
    if value is None:
        return []
    if not isinstance(value, list):
        wrong[path] = [_("Must be a list.")]
        return []
    if len(value) > high:
        wrong[path] = [_("At most %(high)d entries.") % {"high": high}]
        return []
    for at, entry in enumerate(value):
        if is_full(wrong):
            break
        if not isinstance(entry, str) or not entry.strip():
            wrong[f"{path}[{at}]"] = [_("Must be a text that is not empty.")]
    return [entry if isinstance(entry, str) else "" for entry in value] if path not in wrong else []

"""What crosses hosts_app's boundary: plain and frozen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HostChange:
    """What to change of a host; None leaves it as it is. ``groups`` are names, all of them.

    An empty ``display_name`` lets the host be shown under its own name again. ``output_charset`` is
    one of CHARSETS by any of its names; empty: UTF-8.
    """

    tags: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    max_concurrency: int | None = None
    display_name: str | None = None
    output_charset: str | None = None


@dataclass(frozen=True, slots=True)
class TagCount:
    """One tag and the number of hosts that have it."""

    tag: str
    hosts: int

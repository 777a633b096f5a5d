"""Which hosts run which steps: the rule, apart from where hosts and steps come from.

A step that is pinned to a host runs there and nowhere else. Every other step runs on the hosts that
the target names. A host that is there for its pinned steps only runs nothing else, whatever keeps
it out of the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence


@dataclass(frozen=True, slots=True)
class Plan:
    """Hosts by primary key, in order. ``pins`` has for each step its only host, or None."""

    hosts: tuple[int, ...]
    pinned_only: tuple[int, ...]
    pins: tuple[int | None, ...]

    @property
    def step_hosts(self) -> tuple[int, ...]:
        """Return the number of hosts of each step."""
        common, present = len(self.hosts) - len(self.pinned_only), set(self.hosts)
        return tuple(common if pin is None else int(pin in present) for pin in self.pins)

    def within(self, kept: Collection[int]) -> Plan:
        """Return the plan without the hosts that are not among ``kept``."""
        left = set(kept)
        return Plan(
            hosts=tuple(host for host in self.hosts if host in left),
            pinned_only=tuple(host for host in self.pinned_only if host in left),
            pins=self.pins,
        )


def plan_steps(*, targets: Collection[int], pins: Sequence[int | None]) -> Plan:
    """Return which hosts have steps to run. ``pins``: for each step its only host, or None.

    Where every step is pinned the target's hosts have none of their own.
    """
    pinned = {pin for pin in pins if pin is not None}
    common = set(targets) if None in pins else set()
    return Plan(
        hosts=tuple(sorted(common | pinned)),
        pinned_only=tuple(sorted(pinned - common)),
        pins=tuple(pins),
    )

"""The plan of faults: what breaks, on what, when and for how long; drawn from the seed alone.

The same seed gives the same faults in the same order and spacing, however long the run is: a longer
run only goes on where a shorter one ended.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tests.e2e.stack import NODES

GATEWAYS = ("gateway", "gateway-2")
SERVERS = ("web", *GATEWAYS, "worker", "beat")
PROCESSES = (*SERVERS, *NODES)
# These restart a killed child by themselves.
PARENTS = ("web", *GATEWAYS, "worker")

# Who talks to whom; "*" stands for everybody who talks to that.
AGENT_LINES = tuple(f"{node}>gateways" for node in NODES)
FRONT_LINES = tuple(f"agents>{gateway}" for gateway in GATEWAYS)
POSTGRES_LINES = tuple(f"{name}>postgres" for name in SERVERS)
REDIS_LINES = tuple(f"{name}>redis" for name in SERVERS)
ALL_LINES = {
    "*>gateways": AGENT_LINES,
    "*>postgres": POSTGRES_LINES,
    "*>redis": REDIS_LINES,
}
LINES = (*AGENT_LINES, *FRONT_LINES, *POSTGRES_LINES, *REDIS_LINES)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    ``lasts_seconds`` is 0 for what mends itself. ``pick`` (0 to 1) chooses among what is only known
    when it happens, such as the children of a process.
    """

    at_seconds: float
    kind: str
    target: str
    lasts_seconds: float
    pick: float


@dataclass(frozen=True, slots=True)
class Card:
    """A kind of fault and its target; ``needs`` must not be broken already."""

    kind: str
    target: str
    needs: frozenset[str]
    lasts: bool = True


def _card(kind: str, target: str, *needs: str, lasts: bool = True) -> Card:
    return Card(kind, target, frozenset(needs or (target,)), lasts)


def deck() -> list[Card]:
    """Return each kind of fault on each target, those that matter most several times."""
    cards = [_card(kind, name) for name in PROCESSES for kind in ("kill", "stop", "pause")]
    cards += [_card("kill", name) for name in (*NODES, *GATEWAYS)]
    cards += [_card("kill child", name, lasts=False) for name in PARENTS]
    for line in LINES:
        cards += [_card("cut", line), _card("freeze", line)]
    for every, lines in ALL_LINES.items():
        cards += [_card("cut", every, *lines), _card("freeze", every, *lines)]
    for name in (*SERVERS, "everybody"):
        cards.append(_card("end connections", name, "postgres", lasts=False))
    cards += [_card("crash", "postgres")] * 3
    cards.append(_card("stop", "postgres"))
    cards += [_card("kill child", "postgres", lasts=False)] * 2
    cards += [_card(kind, "redis") for kind in ("kill", "stop", "pause")]
    cards += [_card("empty", "redis", lasts=False)] * 2
    return cards


def draw_plan(seed: int, seconds: float) -> list[Fault]:
    """Return the faults of the first ``seconds`` of this seed's plan."""
    dice = random.Random(f"faults of {seed}")
    dealer = _Dealer(dice)
    return list(_faults(dice, dealer, seconds))


def fingerprint(plan: list[Fault]) -> str:
    """Return a few characters by which two plans can be compared at a glance."""
    return hashlib.sha256(repr(plan).encode()).hexdigest()[:12]


def _faults(dice: random.Random, dealer: _Dealer, seconds: float) -> Iterator[Fault]:
    at = 0.0
    while True:
        at = round(at + _gap(dice), 2)
        if at >= seconds:
            return
        card = dealer.next_free(at)
        lasts = _duration(dice, card) if card is not None else 0.0
        pick = round(dice.random(), 3)
        if card is not None:
            dealer.occupy(card, until=at + lasts)
            yield Fault(at, card.kind, card.target, lasts, pick)


def _gap(dice: random.Random) -> float:
    """Now and then several at once, now and then time to get on with the work."""
    low, high = dice.choices([(0.0, 0.2), (0.5, 3.0), (3.0, 8.0)], weights=[25, 55, 20])[0]
    return dice.uniform(low, high)


def _duration(dice: random.Random, card: Card) -> float:
    """Mostly short; sometimes long, for agents long enough that what they run counts as lost."""
    if not card.lasts:
        return 0.0
    long = (20.0, 35.0) if card.needs & {*NODES, *AGENT_LINES} else (8.0, 18.0)
    low, high = dice.choices([(0.2, 2.0), (2.0, 6.0), long], weights=[60, 28, 12])[0]
    return round(dice.uniform(low, high), 2)


class _Dealer:
    """Deals the shuffled deck out, and a new one when it is used up, so that nothing is left out.

    What cannot break now, because it is broken already, stays on top for the next time.
    """

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._cards: list[Card] = []
        self._busy: dict[str, float] = {}

    def next_free(self, at: float) -> Card | None:
        """Take the first card whose needs are whole at this time; None when there is none."""
        if not self._cards:
            self._cards = deck()
            self._dice.shuffle(self._cards)
        for number, card in enumerate(self._cards):
            if all(self._busy.get(need, 0.0) <= at for need in card.needs):
                return self._cards.pop(number)
        return None

    def occupy(self, card: Card, *, until: float) -> None:
        """Count what the card breaks as broken until then."""
        self._busy.update(dict.fromkeys(card.needs, until))

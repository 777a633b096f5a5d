"""The commands of the load: what each does, what it prints, and how it may end.

Each first writes one line to its host's file of marks: proof that it ran, and under which fence.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The agent never sees more than this of a stream: half from its beginning, half from its end.
CAP_BYTES = 262_144
PRINTED_BYTES = 300_000

_OPENING = (
    "set -e\n"
    'echo "$DM_TASK_ID $DM_COMMAND_ID $DM_ATTEMPT $DM_FENCE" >> "$CHAOS_MARKS/$DM_HOSTNAME"\n'
    'echo "ran $DM_FENCE"\n'
)
# A child, and a grandchild that has left the session, all of them deaf to TERM.
_DEAF = "trap '' TERM; (trap '' TERM; exec sleep {seconds}) & setsid sleep {seconds} & wait\n"


@dataclass(frozen=True, slots=True)
class Step:
    """One command. ``ends`` is its state when nothing comes between; ``printed`` follows the fence.

    Those that outlive their time sleep for longer than they may run.
    """

    name: str
    body: str
    ends: str = "completed"
    exit_code: int | None = 0
    timeout_seconds: int = 10
    printed: bytes = b""

    def as_json(self, *, marks: Path, run: str, on_failure: str) -> dict[str, Any]:
        """Return the step as the API takes it; ``run`` is in the environment of all it starts."""
        return {
            "name": self.name,
            "kind": "command",
            "body": _OPENING + self.body,
            "timeout_seconds": self.timeout_seconds,
            "on_failure": on_failure,
            "environment": {"CHAOS_MARKS": str(marks), "CHAOS_RUN": run},
        }

    def output(self, fence: str) -> bytes:
        """Return all that it prints when it runs to its end."""
        return f"ran {fence}\n".encode() + self.printed


def kept(output: bytes) -> tuple[bytes, int]:
    """Return what the server keeps of an output, and how many bytes are dropped."""
    if len(output) <= CAP_BYTES:
        return output, 0
    half = CAP_BYTES // 2
    return output[:half] + output[-half:], len(output) - CAP_BYTES


QUICK = Step("quick", "")
WORKS = Step("works", "sleep 0.5\n")
SLOW = Step("slow", "sleep 4\n")
FAILS = Step("fails", "exit 7\n", ends="failed", exit_code=7)
PRINTS = Step(
    "prints",
    f"head -c {PRINTED_BYTES} /dev/zero | tr '\\0' x\n",
    printed=b"x" * PRINTED_BYTES,
)
# What has held up gateways or readers, or hides what stands behind it.
BLANKS = Step(
    "blanks",
    f"head -c {PRINTED_BYTES} /dev/zero | tr '\\0' ' '\n",
    printed=b" " * PRINTED_BYTES,
)
ESCAPES = Step(
    "escapes",
    "yes \"$(printf '\\033]0;a\\033[\\r')\" | head -n 20000\n",
    printed=b"\x1b]0;a\x1b[\r\n" * 20_000,
)
NO_TEXT = Step(
    "no text",
    "printf '\\000\\377\\304\\343\\303\\033]0;build\\nFAILED\\342\\200\\256'\n",
    printed=b"\x00\xff\xc4\xe3\xc3\x1b]0;build\nFAILED\xe2\x80\xae",
)
LEAVES_A_CHILD = Step("leaves a child", "sleep 3 > /dev/null 2>&1 &\n")
OVERTIME = Step("overtime", "exec sleep 40\n", ends="timeout", timeout_seconds=1)
DEAF = Step("deaf", _DEAF.format(seconds=40), ends="timeout", timeout_seconds=2)
DEAF_FOR_A_WHILE = Step("deaf for a while", _DEAF.format(seconds=5))

STEPS = {
    step.name: step
    for step in (
        *(QUICK, WORKS, SLOW, FAILS, PRINTS, BLANKS, ESCAPES, NO_TEXT, LEAVES_A_CHILD),
        *(OVERTIME, DEAF, DEAF_FOR_A_WHILE),
    )
}
_ORDINARY = (QUICK, QUICK, WORKS, WORKS, PRINTS, BLANKS, ESCAPES, NO_TEXT, LEAVES_A_CHILD)


def draw_steps(dice: random.Random) -> list[Step]:
    """Return the steps of one task: one or many, some that fail, overrun or are hard to end."""
    shape = dice.choices(["one", "many", "fails", "overruns", "long"], weights=[35, 25, 12, 13, 15])
    match shape[0]:
        case "one":
            return [dice.choice(_ORDINARY)]
        case "many":
            return dice.choices(_ORDINARY, k=dice.randint(2, 5))
        case "fails":
            return [dice.choice(_ORDINARY), FAILS, dice.choice(_ORDINARY)]
        case "overruns":
            return [dice.choice((OVERTIME, DEAF)), QUICK]
        case _:
            return [dice.choice((SLOW, DEAF_FOR_A_WHILE)), QUICK]

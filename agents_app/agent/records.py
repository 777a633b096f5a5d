"""The final record of a run, as the journal keeps it and a report carries it."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable

from agents_app.agent.output import Capture, JsonDict, combined_digest
from agents_app.protocol import RESULT_COMPLETED, RESULT_FAILED

LONGEST_MESSAGE = 2000
OUTPUT_DID_NOT_FIT = "Its output is missing: the agent's disk was full."


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended. Times are Unix seconds, None where the command was never started."""

    status: str
    exit_code: int | None = None
    error_code: str = ""
    error_message: str = ""
    execution_time_ms: int = 0
    started_at: float | None = None
    finished_at: float | None = None


def exit_outcome(return_code: int) -> Outcome:
    """The outcome of a process that ended by itself. ``-n`` means killed by signal n.

    A signal gives the exit code that a shell would show, 128 + n.
    """
    if return_code == 0:
        return Outcome(RESULT_COMPLETED, exit_code=0)
    if return_code > 0:
        return Outcome(RESULT_FAILED, exit_code=return_code)
    try:
        name = signal.Signals(-return_code).name
    except ValueError:
        name = f"signal {-return_code}"
    return Outcome(
        RESULT_FAILED,
        exit_code=128 - return_code,
        error_code="signal",
        error_message=f"The process was ended by {name}.",
    )


def build_record(
    fence: str, outcome: Outcome, stdout: Capture | None = None, stderr: Capture | None = None
) -> str:
    """The JSON text of a result. It is computed once and never again."""
    out, err = stdout or Capture(2), stderr or Capture(2)
    record: JsonDict = {"fence": fence}
    record.update(dataclasses.asdict(outcome))
    # PostgreSQL stores neither lone surrogates nor NUL in text.
    message = outcome.error_message.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    record["error_message"] = message[:LONGEST_MESSAGE]
    record["output_digest"] = combined_digest(out.digest(), err.digest())
    record["stdout"] = out.as_record()
    record["stderr"] = err.as_record()
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


def reduce_record(record: str) -> str:
    """The same result without text and output: all bytes count as dropped, the digest stays."""
    return _without_output(record, lambda _: "")


def truncate_record(record: str) -> str:
    """The same result without output, and why: for a disk that has no room for the whole."""
    return _without_output(record, lambda message: message or OUTPUT_DID_NOT_FIT)


def _without_output(record: str, message_from: Callable[[str], str]) -> str:
    fields = json.loads(record)
    fields["error_message"] = message_from(fields["error_message"])
    for stream in ("stdout", "stderr"):
        total = fields[stream]["total_bytes"]
        fields[stream] = {
            "encoding": "utf-8",
            "head": "",
            "tail": "",
            "dropped_bytes": total,
            "total_bytes": total,
        }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))

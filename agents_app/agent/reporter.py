"""The report loop: results until they are answered, live output when there is time."""

from __future__ import annotations

import json
import logging
import threading
import time
from typing import Any

from agents_app.agent import faults
from agents_app.agent.backoff import Backoff
from agents_app.agent.config import Settings
from agents_app.agent.journal import Journal, JournalError
from agents_app.agent.live import Chunk, LiveFeed
from agents_app.agent.records import reduce_record
from agents_app.agent.session import CredentialSource, Outage, delay_after
from agents_app.agent.transport import Channel, Refused, StaleConnectionError, TransportError
from agents_app.protocol import (
    MAX_CHUNKS_PER_REPORT,
    MAX_REPORT_BYTES,
    MAX_RESULTS_PER_REPORT,
    VERDICT_INVALID,
)

log = logging.getLogger(__name__)

# Half of what a report may hold: the next result is added before its size is known for certain.
BATCH_BYTES = MAX_REPORT_BYTES // 2
# After a report was refused as a whole, so many go with one result each, to find the culprit.
CAREFUL_REPORTS = 2 * MAX_RESULTS_PER_REPORT
# A report with one result that was refused so often as a whole is sent without its text.
MOST_REFUSALS = 3
FLUSH_SECONDS = 3.0

Results = list[tuple[str, str, bool]]


class ReportLoop:
    """Sends what is finished. Runs in a thread of its own; ``wake`` may be called from any."""

    def __init__(
        self, *, settings: Settings, journal: Journal, feed: LiveFeed, credentials: CredentialSource
    ) -> None:
        """The loop does nothing until ``run``."""
        self._settings = settings
        self._journal = journal
        self._feed = feed
        self._credentials = credentials
        self._channel = Channel(settings)
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._careful = 0
        self._stale = False
        self._failing = ""
        self._reduced: set[str] = set()
        self._refusals: dict[str, int] = {}
        self._put_off: dict[str, float] = {}
        self._backoff = Backoff(
            first_seconds=settings.retry_first_seconds,
            longest_seconds=settings.retry_longest_seconds,
        )
        self._outage = Outage(self._backoff)

    def wake(self) -> None:
        """There may be a result or output to send."""
        self._wake.set()

    def stop(self) -> None:
        """Send what is there once more, if the server answers, and end the loop."""
        self._stopping.set()
        self._wake.set()

    def abort(self) -> None:
        """End the loop without waiting for the server."""
        self._stopping.set()
        self._wake.set()
        self._channel.abort()

    def run(self) -> None:
        """Report until stopped, and then until there is nothing to send or sending fails."""
        while True:
            self._wake.clear()
            results, chunks = self._collect()
            if results or chunks:
                delay = self._step(results, chunks)
                if self._stopping.is_set() and delay > 0:
                    break
                if delay > 0:
                    self._stopping.wait(delay)
            elif self._stopping.is_set():
                break
            else:
                self._wake.wait(self._seconds_to_sleep())
        self._channel.close()

    def _seconds_to_sleep(self) -> float | None:
        waits = [until - time.monotonic() for until in self._put_off.values()]
        due = self._feed.seconds_until_due()
        if due is not None:
            waits.append(due)
        return max(min(waits), 0.01) if waits else None

    def _collect(self) -> tuple[Results, list[Chunk]]:
        now = time.monotonic()
        self._put_off = {fence: until for fence, until in self._put_off.items() if until > now}
        results = self._journal.unanswered(
            limit=1 if self._careful else MAX_RESULTS_PER_REPORT,
            limit_bytes=BATCH_BYTES,
            leave_out=self._put_off,
        )
        due = self._feed.seconds_until_due()
        if self._stopping.is_set() or self._careful or due is None or due > 0:
            return results, []
        return results, self._feed.collect(
            limit=MAX_CHUNKS_PER_REPORT, limit_bytes=BATCH_BYTES // 2
        )

    def _step(self, results: Results, chunks: list[Chunk]) -> float:
        """Send one report. How long to wait before the next, in seconds."""
        try:
            self._apply(self._send(results, chunks), results, chunks)
        except StaleConnectionError as error:
            if not self._stale:
                self._stale = True
                return 0.0
            return self._failed(str(error), self._outage.delay())
        except TransportError as error:
            return self._failed(str(error), self._outage.delay())
        except Refused as refused:
            return self._failed(str(refused), self._refused(refused, results, chunks))
        except Exception:
            # A defect met by one answer must not keep every later result from being sent.
            log.exception("the report loop failed")
            return self._backoff.longest()
        self._stale = False
        self._careful = max(self._careful - 1, 0)
        self._backoff.reset()
        self._outage.over()
        if self._failing:
            log.info("reporting works again")
            self._failing = ""
        return 0.0

    def _failed(self, reason: str, delay: float) -> float:
        if reason != self._failing:
            log.warning("report: %s; trying again", reason)
            self._failing = reason
        return delay

    def _send(self, results: Results, chunks: list[Chunk]) -> dict[str, Any]:
        records = [
            reduce_record(record) if reduced or fence in self._reduced else record
            for fence, record, reduced in results
        ]
        output = json.dumps([chunk.message for chunk in chunks], ensure_ascii=False)
        # The journal's text goes out as it is: a result is computed once.
        body = f'{{"results":[{",".join(records)}],"output":{output}}}'.encode()
        timeout = FLUSH_SECONDS if self._stopping.is_set() else None
        answer = self._channel.post(
            "report",
            body,
            credential=self._credentials.current(),
            timeout_seconds=timeout or self._settings.request_timeout_seconds,
        )
        if faults.drops("drop_report_answer"):
            raise TransportError("the answer was lost (a test wants it so)")
        return answer

    def _apply(self, answer: dict[str, Any], results: Results, chunks: list[Chunk]) -> None:
        if not isinstance(answer.get("results"), list):
            raise TransportError("the answer is JSON, but not the gateway's")
        verdicts = {item["fence"]: item for item in _items(answer, "results")}
        answered = 0
        for fence, record, reduced in results:
            item = verdicts.get(fence)
            if item is None:
                continue
            answered += 1
            self._settle(fence, record, reduced, item)
        if results and not answered:
            raise TransportError("the answer has no verdict on any result")
        states = {(item["fence"], item.get("stream")): item for item in _items(answer, "output")}
        for chunk in chunks:
            item = states.get((chunk.fence, chunk.stream), {})
            self._feed.settle(chunk, item.get("verdict"), item.get("offset"))

    def _settle(self, fence: str, record: str, reduced: bool, item: dict[str, Any]) -> None:
        verdict = item.get("verdict")
        if verdict == VERDICT_INVALID and not reduced and fence not in self._reduced:
            log.warning("result of %s is invalid; sending it without text", fence)
            self._reduce(fence)
            return
        log.info("result of %s: %s", fence, verdict)
        self._reduced.discard(fence)
        self._refusals.pop(fence, None)
        self._journal.forget(fence, reduce_record(record))

    def _reduce(self, fence: str) -> None:
        """From now on send the result without text; remembered in memory if the disk is full."""
        self._reduced.add(fence)
        try:
            self._journal.mark_reduced(fence)
        except JournalError:
            log.warning("%s is marked as reduced in memory only", fence)

    def _refused(self, refused: Refused, results: Results, chunks: list[Chunk]) -> float:
        # A proxy's 413 counts: smaller reports get past it. Its 400 says nothing of the results.
        if refused.status != 413 and not (refused.of_gateway and refused.status == 400):
            return delay_after(refused, self._backoff, self._outage, self._credentials)
        for chunk in chunks:
            self._feed.stop_stream(chunk)
        if chunks or len(results) > 1:
            self._careful = CAREFUL_REPORTS
            return 0.0
        for fence, _, reduced in results:
            self._refusals[fence] = self._refusals.get(fence, 0) + 1
            if self._refusals[fence] >= MOST_REFUSALS and not reduced:
                self._reduce(fence)
            # It waits, and lets the others pass.
            self._put_off[fence] = time.monotonic() + self._backoff.next_seconds()
        return 0.0


def _items(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = answer.get(name)
    if not isinstance(items, list):
        return []
    return [item for item in items if isinstance(item, dict) and isinstance(item.get("fence"), str)]

"""The poll loop: one open poll at a time, its answer journaled and started before the next."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agents_app.agent import AGENT_VERSION, faults
from agents_app.agent.backoff import Backoff
from agents_app.agent.config import Settings
from agents_app.agent.executor import Executor
from agents_app.agent.facts import LoadReader, reportable_name
from agents_app.agent.identity import is_draining
from agents_app.agent.journal import Journal, JournalError
from agents_app.agent.live import LiveFeed
from agents_app.agent.messages import PollAnswer, parse_poll_answer
from agents_app.agent.patience import Patience
from agents_app.agent.session import CredentialSource, Outage, delay_after
from agents_app.agent.transport import (
    Channel,
    CutError,
    Refused,
    StaleConnectionError,
    TransportError,
    encode,
)
from agents_app.protocol import (
    CODE_HOST_DISABLED,
    CODE_HOST_PENDING,
    CODE_HOST_QUARANTINED,
    CODE_POLL_SUPERSEDED,
    HELD_FINISHED,
    MAX_HOLDING,
)

log = logging.getLogger(__name__)

# The gateway's hold and this much more without a word: the connection is dead.
ANSWER_SECONDS = 15.0
# So many results that nobody took are a reason to take no more work.
MOST_UNANSWERED = 500
# How often a journal that could not be written is tried again.
UNWRITABLE_SECONDS = 5.0
# A server that answers at once, so often in a row, with nothing to do is not to be hammered.
EMPTY_ANSWERS = 5
EMPTY_PAUSE_SECONDS = 1.0
# How often it is looked whether the host has changed: another kernel, more memory, a new address.
DESCRIBE_SECONDS = 3600.0
# Statuses by which a proxy says that it gave up waiting.
GAVE_UP = (408, 504, 524)
# What the gateway says while a person has to decide: it is asked with the whole hold then.
WAITING_CODES = (CODE_HOST_PENDING, CODE_HOST_DISABLED, CODE_HOST_QUARANTINED)


@dataclasses.dataclass(frozen=True)
class Standing:
    """What a poll depends on and a person may change while it is held."""

    draining: bool
    in_place: bool
    credential: str = dataclasses.field(repr=False)


class PollLoop:
    """Asks for work until stopped. Runs in a thread of its own."""

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        executor: Executor,
        feed: LiveFeed,
        credentials: CredentialSource,
        boot_id: str,
        describe: Callable[[], dict[str, object]],
    ) -> None:
        """The loop does nothing until ``run``. ``describe`` says what the host is like now."""
        self._settings = settings
        self._journal = journal
        self._executor = executor
        self._feed = feed
        self._credentials = credentials
        self._boot_id = boot_id
        self._describe = describe
        self._described: dict[str, object] = {}
        self._described_at = 0.0
        self._told: dict[str, object] = {}
        self._channel = Channel(settings)
        self._load = LoadReader(settings.state_dir)
        self._state_path = Path(settings.state_dir)
        self._instance_id = str(uuid.uuid4())
        self._seq = 0
        self._superseded = 0
        self._empty_answers = 0
        self._stale = False
        self._noted_slots: int | None = -1
        self._failing = ""
        self._waits_for_a_person = False
        self._open: Standing | None = None
        self._interrupted = False
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._patience = Patience(settings.poll_wait_seconds)
        self._backoff = Backoff(
            first_seconds=settings.retry_first_seconds,
            longest_seconds=settings.retry_longest_seconds,
        )
        self._outage = Outage(self._backoff)

    def stop(self) -> None:
        """Give up the open poll and end the loop soon."""
        self._stop.set()
        self._wake.set()
        self._channel.abort()

    def refresh(self) -> None:
        """Poll anew, and at once, if what the open poll said is not so any more.

        For the thread that watches the state directory.
        """
        if self._credentials.reload_if_replaced():
            self._wake.set()
        told = self._open
        if told is not None and told != self._standing():
            self._interrupted = True
            self._channel.interrupt()

    def run(self) -> None:
        """Poll until stopped. No failure ends the loop."""
        while not self._stop.is_set():
            self._wake.clear()
            delay = self._step()
            if delay > 0 and not self._stop.is_set():
                self._wake.wait(delay)
        self._channel.close()

    def _step(self) -> float:
        """One poll. How long to wait before the next, in seconds."""
        self._interrupted = False
        message: dict[str, Any] = {}
        try:
            pause = self._poll(message)
        except TransportError as error:
            return self._unanswered(error, message.get("wait_seconds", 0.0))
        except Refused as refused:
            return self._refused(refused, message.get("wait_seconds", 0.0))
        except JournalError:
            return self._failed("the journal cannot be written", self._backoff.next_seconds())
        except Exception:
            # A defect met by one answer must not end an agent that nobody can reach otherwise.
            log.exception("the poll loop failed")
            return self._backoff.longest()
        finally:
            self._open = None
        self._stale = False
        self._waits_for_a_person = False
        self._superseded = 0
        self._backoff.reset()
        self._outage.over()
        if self._failing:
            log.info("polling works again")
            self._failing = ""
        return pause

    def _failed(self, reason: str, delay: float) -> float:
        if self._stop.is_set():
            return 0.0
        if reason != self._failing:
            log.warning("poll: %s; trying again", reason)
            self._failing = reason
        return delay

    def _unanswered(self, error: TransportError, asked_seconds: float) -> float:
        if self._interrupted:
            return 0.0
        if isinstance(error, StaleConnectionError) and not self._stale:
            self._stale = True
            return 0.0
        if isinstance(error, CutError) and self._was_cut(asked_seconds, "it closes", certain=False):
            return 0.0
        return self._failed(str(error), self._outage.delay())

    def _was_cut(self, asked_seconds: float, how: str, *, certain: bool) -> bool:
        waited, now = self._channel.waited_seconds, time.monotonic()
        return self._patience.cut(asked_seconds, waited, now, certain=certain, how=how)

    def _refused(self, refused: Refused, asked_seconds: float) -> float:
        status = refused.status
        if refused.of_gateway:
            self._waits_for_a_person = status == 403 and refused.code in WAITING_CODES
        elif status >= 500 or status == 408:
            certain = status in GAVE_UP
            if self._was_cut(asked_seconds, f"it answers {status}", certain=certain):
                return 0.0
        if status == 409 and refused.code == CODE_POLL_SUPERSEDED:
            return self._failed(str(refused), self._replace_journal_id())
        delay = delay_after(refused, self._backoff, self._outage, self._credentials)
        return self._failed(str(refused), delay)

    def _replace_journal_id(self) -> float:
        try:
            self._journal.replace_id()
        except JournalError:
            return self._backoff.next_seconds()
        self._superseded += 1
        return 0.0 if self._superseded == 1 else self._backoff.next_seconds()

    def _poll(self, message: dict[str, Any]) -> float:
        """Send a poll and apply the answer. How long to wait before the next: almost always 0.

        ``message`` is filled in: a caller knows by it what was asked when this raises.
        """
        if not self._journal.run:
            self._journal.begin_run()
        if not self._journal.writable:
            self._journal.try_again()
        standing = self._standing()
        message.update(self._message(standing))
        began = time.monotonic()
        self._open = standing
        answer = self._channel.post(
            "poll",
            encode(message),
            credential=standing.credential,
            timeout_seconds=message["wait_seconds"] + ANSWER_SECONDS,
        )
        self._open = None
        if faults.drops("drop_poll_answer"):
            raise TransportError("the answer was lost (a test wants it so)")
        if self._stop.is_set():
            return 0.0
        parsed = parse_poll_answer(answer)
        if parsed is None:
            raise TransportError("the answer is JSON, but not the gateway's")
        self._patience.answered(self._channel.waited_seconds)
        self._told = message.get("host", self._told)
        self._feed.configuration = parsed.configuration
        if parsed.configuration.hostname:
            self._executor.name_host(parsed.configuration.hostname)
        self._executor.accept(parsed.commands, parsed.cancel)
        self._note_slots(message.get("slots"))
        return self._pause(parsed, message["wait_seconds"], time.monotonic() - began)

    def _pause(self, answer: PollAnswer, wait_seconds: float, took_seconds: float) -> float:
        if answer.commands or took_seconds >= min(wait_seconds, EMPTY_PAUSE_SECONDS):
            self._empty_answers = 0
            return 0.0
        self._empty_answers += 1
        return EMPTY_PAUSE_SECONDS if self._empty_answers > EMPTY_ANSWERS else 0.0

    def _standing(self) -> Standing:
        return Standing(
            draining=is_draining(self._state_path),
            in_place=self._journal.in_place,
            credential=self._credentials.current(),
        )

    def _message(self, standing: Standing) -> dict[str, Any]:
        """The next poll. ``holding`` is read last, so it knows all that was delivered before."""
        slots = self._slots(standing)
        self._seq += 1
        message: dict[str, Any] = {
            "journal_id": self._journal.journal_id,
            "run": self._journal.run,
            "instance_id": self._instance_id,
            "seq": self._seq,
            "boot_id": self._boot_id,
            "time": time.time(),
            "agent_version": AGENT_VERSION,
            "load": self._load.read(running=self._executor.running_count()),
            "wait_seconds": self._wait_seconds(slots),
            "draining": standing.draining,
        }
        if slots is not None:
            message["slots"] = slots
        host = self._host_news()
        if host:
            message["host"] = host
        holding = self._journal.holding()
        message["holding"] = [{"fence": fence, "state": state} for fence, state in holding]
        return message

    def _host_news(self) -> dict[str, object] | None:
        """What the host is like, as long as the server has not heard it."""
        now = time.monotonic()
        renamed = self._described.get("hostname", "") != reportable_name(self._settings)
        if not self._described or renamed or now - self._described_at >= DESCRIBE_SECONDS:
            self._described, self._described_at = self._describe(), now
        return self._described if self._described != self._told else None

    def _wait_seconds(self, slots: int | None) -> float:
        """No hold where the answer decides something: what to start, or that the drain is known."""
        hold = self._patience.hold_seconds(time.monotonic())
        if not self._journal.takes_work:
            return min(UNWRITABLE_SECONDS, hold)
        if self._waits_for_a_person:
            return hold
        if self._executor.has_recovered or (slots == 0 and self._noted_slots != 0):
            return 0.0
        return hold

    def _slots(self, standing: Standing) -> int | None:
        """0 while nothing may be handed out, else the agent's own limit, None if it has none."""
        holding = self._journal.holding()
        unanswered = sum(state == HELD_FINISHED for _, state in holding)
        slots: int | None = self._settings.max_concurrency or None
        full = unanswered >= MOST_UNANSWERED or len(holding) >= MAX_HOLDING // 2
        if full or not self._journal.takes_work or standing.draining or not standing.in_place:
            slots = 0
        return slots

    def _note_slots(self, slots: int | None) -> None:
        """After a poll that offered no slots was answered, ``devops-agent drain`` may know it."""
        if slots != self._noted_slots and self._journal.writable:
            self._journal.set_meta("slots", "" if slots is None else str(slots))
            self._noted_slots = slots

"""Enrolment: a token for a credential, which is stored and never shown."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from agents_app.agent import AGENT_VERSION
from agents_app.agent.backoff import Backoff
from agents_app.agent.config import ConfigError, Settings
from agents_app.agent.facts import host_facts
from agents_app.agent.identity import Identity, write_identity
from agents_app.agent.transport import Channel, Refused, TransportError, encode
from agents_app.protocol import CODE_ENROLLMENT_TOKEN_INVALID, CREDENTIAL_PREFIX

log = logging.getLogger(__name__)


def read_token(settings: Settings) -> str:
    """The enrolment token from the settings or its file; empty if there is none. ConfigError."""
    if settings.enrollment_token:
        return settings.enrollment_token
    if not settings.enrollment_token_file:
        return ""
    path = Path(settings.enrollment_token_file)
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read enrollment_token_file {path}: {error}") from error
    if not token:
        raise ConfigError(f"enrollment_token_file {path} is empty")
    return token


def enroll_once(settings: Settings, token: str) -> tuple[Identity, str]:
    """Enrol and store the credential. Gives the identity and the host's status.

    Raises Refused, TransportError, or ConfigError where the answer makes no sense.
    """
    channel = Channel(settings)
    message = {"token": token, "agent_version": AGENT_VERSION, **host_facts(settings)}
    try:
        answer = channel.post(
            "enroll", encode(message), timeout_seconds=settings.request_timeout_seconds
        )
    finally:
        channel.close()
    credential, host_id = answer.get("credential"), answer.get("host_id")
    if not isinstance(credential, str) or not isinstance(host_id, str):
        raise ConfigError(f"{settings.server} does not answer like a gateway")
    if not credential.startswith(CREDENTIAL_PREFIX):
        raise ConfigError(f"{settings.server} gave a credential of an unknown kind")
    identity = Identity(host_id=host_id, credential=credential)
    write_identity(settings.state_path, identity)
    return identity, str(answer.get("status", ""))


def enroll_until_done(settings: Settings, token: str, stop: threading.Event) -> Identity | None:
    """Enrol at the first start, waiting for a server that is away. None if stopped meanwhile.

    Raises ConfigError for a token that the server refuses: only a person can put that right.
    """
    backoff = Backoff(
        first_seconds=settings.retry_first_seconds,
        longest_seconds=settings.retry_longest_seconds,
    )
    while not stop.is_set():
        identity, delay = _try_to_enroll(settings, token, backoff)
        if identity is not None:
            return identity
        stop.wait(delay)
    return None


def _try_to_enroll(
    settings: Settings, token: str, backoff: Backoff
) -> tuple[Identity | None, float]:
    """The identity, or None and how long to wait."""
    try:
        identity, status = enroll_once(settings, token)
    except TransportError as error:
        log.warning("enrol: %s; trying again", error)
        return None, backoff.next_seconds()
    except Refused as refused:
        if refused.status == 429 or refused.status >= 500:
            log.warning("enrol: %s; trying again", refused)
            return None, backoff.asked_for(refused.retry_after_seconds)
        raise ConfigError(describe_refusal(settings, refused)) from refused
    log.info("enrolled as %s (%s)", identity.host_id, status)
    return identity, 0.0


def describe_refusal(settings: Settings, refused: Refused) -> str:
    """One line for the person who enrols the host."""
    if refused.code == CODE_ENROLLMENT_TOKEN_INVALID:
        return "the enrolment token is wrong, expired, revoked or used up: ask for a new one"
    if refused.status == 404:
        return f"there is no gateway at {settings.server}: check the server setting"
    return f"the gateway refused to enrol this host: {refused}"

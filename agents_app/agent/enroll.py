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
from agents_app.agent.session import Outage
from agents_app.agent.transport import Channel, Refused, TransportError, encode
from agents_app.protocol import CODE_ENROLLMENT_TOKEN_INVALID, CREDENTIAL_PREFIX

log = logging.getLogger(__name__)

# A gateway that comes up is found within a minute: its front may keep a request as long as
# request_timeout_seconds before it answers in the gateway's stead.
LONGEST_DELAY_SECONDS = 15.0
# What the gateway says of one moment only.
_PASSING = (408, 425, 429)


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

    Raises Refused, TransportError, or ConfigError where the credential cannot be kept.
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
        raise TransportError(f"{settings.server} does not answer like a gateway")
    if not credential.startswith(CREDENTIAL_PREFIX):
        raise TransportError(f"{settings.server} gave a credential of an unknown kind")
    identity = Identity(host_id=host_id, credential=credential)
    write_identity(settings.state_path, identity)
    return identity, str(answer.get("status", ""))


def enroll_until_done(settings: Settings, token: str, stop: threading.Event) -> Identity | None:
    """Enroll at the first start, waiting for a server that is away. None if stopped meanwhile.

    Only an answer of the gateway itself is final: what proxies, ingresses and captive portals
    answer in its stead is waited out. Raises ConfigError for a token that the server refuses: only
    a person can put that right.
    """
    backoff = Backoff(
        first_seconds=settings.retry_first_seconds,
        longest_seconds=min(settings.retry_longest_seconds, LONGEST_DELAY_SECONDS),
    )
    outage, said = Outage(backoff), ""
    while not stop.is_set():
        try:
            identity, status = enroll_once(settings, token)
        except TransportError as error:
            reason, delay = str(error), outage.delay()
        except Refused as refused:
            if is_final(refused):
                raise ConfigError(describe_refusal(settings, refused)) from refused
            reason, delay = str(refused), _delay_after(refused, backoff, outage)
        else:
            log.info("enrolled as %s (%s)", identity.host_id, status)
            return identity
        if reason != said:
            log.warning("enroll: %s; trying again", reason)
            said = reason
        stop.wait(delay)
    return None


def credential_is_good(settings: Settings, identity: Identity) -> bool | None:
    """Whether the server still takes the credential; None if the gateway does not say."""
    channel = Channel(settings)
    try:
        channel.post(
            "heartbeat",
            encode({}),
            credential=identity.credential,
            timeout_seconds=settings.request_timeout_seconds,
        )
    except TransportError:
        return None
    except Refused as refused:
        if not refused.of_gateway or refused.status not in (401, 403):
            return None
        # 403: approval is waited for, or a person disabled the host; the credential is its.
        return refused.status == 403
    finally:
        channel.close()
    return True


def is_final(refused: Refused) -> bool:
    """Whether the gateway itself refuses, and will refuse the same again."""
    return refused.of_gateway and refused.status < 500 and refused.status not in _PASSING


def _delay_after(refused: Refused, backoff: Backoff, outage: Outage) -> float:
    if not refused.of_gateway:
        return outage.delay()
    outage.over()
    return backoff.asked_for(refused.retry_after_seconds)


def describe_refusal(settings: Settings, refused: Refused) -> str:
    """One line for the person who enrolls the host."""
    if refused.code == CODE_ENROLLMENT_TOKEN_INVALID:
        return "the enrolment token is wrong, expired, revoked or used up: ask for a new one"
    if refused.of_gateway and refused.status == 404:
        return f"there is no gateway at {settings.server}: check the server setting"
    if not refused.of_gateway:
        return f"something else than a gateway answers at {settings.server}: {refused}"
    return f"the gateway refused to enrol this host: {refused}"

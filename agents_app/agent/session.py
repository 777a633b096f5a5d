"""What both loops share: the credential, and how long to wait after which refusal."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from agents_app.agent.backoff import Backoff
from agents_app.agent.config import ConfigError
from agents_app.agent.identity import Identity, credential_stamp, read_identity
from agents_app.agent.transport import Refused

log = logging.getLogger(__name__)


class CredentialSource:
    """The credential, read again from disk after the server refused it."""

    def __init__(self, state_dir: Path, identity: Identity) -> None:
        """Begin with the identity that was read at the start."""
        self._state_dir = state_dir
        self._identity = identity
        self._lock = threading.Lock()
        self._stamp = credential_stamp(state_dir)

    def current(self) -> str:
        """The credential to send."""
        return self._identity.credential

    def reload_if_replaced(self) -> bool:
        """Read the file again if it is another than it was. True if the credential changed."""
        stamp = credential_stamp(self._state_dir)
        if stamp is None or stamp == self._stamp:
            return False
        self._stamp = stamp
        return self.reload()

    def reload(self) -> bool:
        """Read the file again, for a person may have enrolled the host anew. True if it changed."""
        with self._lock:
            try:
                found = read_identity(self._state_dir)
            except ConfigError as error:
                log.error("%s", error)
                return False
            if found is None or found == self._identity:
                return False
            self._identity = found
            log.info("this host was enrolled anew as %s", found.host_id)
            return True


class Outage:
    """How long the server has been away, as one loop sees it: what delays grow with."""

    def __init__(self, backoff: Backoff) -> None:
        """Begin with a server that is there."""
        self._backoff = backoff
        self._since: float | None = None

    def over(self) -> None:
        """The gateway answered, whatever it said."""
        self._since = None

    def delay(self) -> float:
        """Seconds to wait after one more request that the gateway did not answer."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
        return self._backoff.soon(now - self._since)


def delay_after(
    refused: Refused, backoff: Backoff, outage: Outage, credentials: CredentialSource
) -> float:
    """Seconds to wait after a refusal. None is final for an agent: a person may put it right.

    What a proxy or an ingress answers in the gateway's stead is an outage, whatever its status is:
    it says nothing about the credential.
    """
    if not refused.of_gateway:
        return outage.delay()
    outage.over()
    if refused.status == 401:
        return 0.0 if credentials.reload() else backoff.longest()
    if refused.status in (403, 429) or refused.status >= 500:
        return backoff.asked_for(refused.retry_after_seconds)
    if refused.status == 404:
        return backoff.longest()
    return backoff.next_seconds()

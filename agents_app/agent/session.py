"""What both loops share: the credential, and how long to wait after which refusal."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from agents_app.agent.backoff import Backoff
from agents_app.agent.config import ConfigError
from agents_app.agent.identity import Identity, read_identity
from agents_app.agent.transport import Refused

log = logging.getLogger(__name__)


class CredentialSource:
    """The credential, read again from disk after the server refused it."""

    def __init__(self, state_dir: Path, identity: Identity) -> None:
        """Begin with the identity that was read at the start."""
        self._state_dir = state_dir
        self._identity = identity
        self._lock = threading.Lock()

    def current(self) -> str:
        """The credential to send."""
        return self._identity.credential

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


def delay_after(refused: Refused, backoff: Backoff, credentials: CredentialSource) -> float:
    """Seconds to wait after a refusal. None is final for an agent: a person may put it right."""
    if refused.status == 401:
        return 0.0 if credentials.reload() else backoff.longest()
    if refused.status in (403, 429) or refused.status >= 500:
        return backoff.asked_for(refused.retry_after_seconds)
    if refused.status == 404 or 300 <= refused.status < 400:
        return backoff.longest()
    return backoff.next_seconds()

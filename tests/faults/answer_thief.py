"""A proxy for HTTP that lets requests through and keeps some of their answers to itself."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tests.proxy import Proxy


class AnswerThief(Proxy):
    """Drops the next ``steal`` answers to ``POST path`` and breaks their connections.

    The server has done what was asked and sent its answer; the client learns nothing of it.
    """

    def __init__(self, port: int, path: str, steal: int) -> None:
        self._request = f"POST {path} ".encode()
        self._left = steal
        self._counting = threading.Lock()
        self.stolen = 0
        super().__init__("127.0.0.1", port)

    def _steals(self) -> bool:
        with self._counting:
            if self._left == 0:
                return False
            self._left -= 1
            self.stolen += 1
            return True

    def _judge(self) -> Callable[[bool, bytes], bool]:
        asked = b""

        def goes_on(from_client: bool, data: bytes) -> bool:
            nonlocal asked
            if from_client:
                # A request begins with its own segment: the client waits for each answer.
                asked = data if data.startswith(b"POST ") else asked
                return True
            return not (asked.startswith(self._request) and self._steals())

        return goes_on

"""A proxy for HTTP that lets requests through and keeps some of their answers to itself."""

from __future__ import annotations

import select
import socket
import threading

from tests.proxy import Proxy

_CHUNK = 65_536


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

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        asked = b""
        while True:
            readable, _, _ = select.select([client, server], [], [])
            self._flowing.wait()
            for end in readable:
                data = end.recv(_CHUNK)
                if not data:
                    return
                if end is client:
                    # A request begins with its own segment: the client waits for each answer.
                    asked = data if data.startswith(b"POST ") else asked
                    server.sendall(data)
                elif asked.startswith(self._request) and self._steals():
                    return
                else:
                    client.sendall(data)

"""The gunicorn worker that serves the gateway: uvicorn's, with connections of our own."""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

from uvicorn_worker import UvicornWorker

from agents_app.gateway.connections import AgentConnection

logger = logging.getLogger(__name__)


class GatewayWorker(UvicornWorker):  # type: ignore[misc]  # it has no types
    """``gunicorn -k agents_app.gateway.worker.GatewayWorker devops_manager.asgi:application``."""

    CONFIG_KWARGS: dict[str, Any] = {
        "loop": "uvloop",
        "http": AgentConnection,
        "ws": "none",
        "lifespan": "on",
        # uvicorn believes the loopback address; DM_TRUSTED_PROXIES alone says who is believed
        "proxy_headers": False,
        # what it says of itself is nobody's business
        "server_header": False,
    }

    async def callback_notify(self) -> None:
        """Tell gunicorn that this worker lives; end when gunicorn does not live any more.

        Its other workers do that by themselves. Left alone, this one would keep the port from the
        next gunicorn. Called every half of ``--timeout``.
        """
        await super().callback_notify()
        if os.getppid() != self.ppid:
            logger.warning("gunicorn is gone, its worker ends")
            os.kill(os.getpid(), signal.SIGTERM)

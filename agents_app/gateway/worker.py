"""The gunicorn worker that serves the gateway: uvicorn's, with connections of our own."""

from __future__ import annotations

from typing import Any

from uvicorn_worker import UvicornWorker

from agents_app.gateway.connections import AgentConnection


class GatewayWorker(UvicornWorker):  # type: ignore[misc]  # it has no types
    """``gunicorn -k agents_app.gateway.worker.GatewayWorker devops_manager.asgi:application``."""

    CONFIG_KWARGS: dict[str, Any] = {
        "loop": "uvloop",
        "http": AgentConnection,
        "ws": "none",
        "lifespan": "on",
        # what it says of itself is nobody's business
        "server_header": False,
    }
